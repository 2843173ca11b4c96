//! Making flows known to connection tracking through ctnetlink (linux/netfilter/nfnetlink_conntrack.h), so
//! that a single packet is seen in the state that a question asks for.

use std::io;

use crate::packet::{SCTP_TAG, protocol};
use crate::wire::Class;
use firewarden_netlink::{ACK, CREATE, REQUEST, Request, Socket};

const SUBSYSTEM: u8 = 1;
const NEW: u8 = 0;
const DELETE: u8 = 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_STATE: u16 = 4;
const TIMEOUT: u16 = 7;
const TUPLE_MASTER: u16 = 14;

/// IPS_SEEN_REPLY, IPS_ASSURED and IPS_CONFIRMED.
const STATUS_ESTABLISHED: u32 = 0xe;
/// IPS_CONFIRMED alone.
const STATUS_FRESH: u32 = 0x8;
const TIMEOUT_SECONDS: u32 = 600;
const TCP_ESTABLISHED: u8 = 3;
const SCTP_ESTABLISHED: u8 = 4;
/// Bytes of messages to send at once; below the smallest default send buffer.
const CHUNK_BYTES: usize = 32 << 10;

/// What identifies a flow: the packet's addresses, and ports or echo identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    src: Vec<u8>,
    dst: Vec<u8>,
    protocol: u8,
    /// Ports, or the identifier twice.
    ports: (u16, u16),
}

impl Flow {
    /// The flow of an IP packet made by this crate (no IP options); `None` if it has no ports and isn't an
    /// echo message.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (src, dst, number, body) = match packet.first()? >> 4 {
            4 => (packet.get(12..16)?, packet.get(16..20)?, *packet.get(9)?, packet.get(20..)?),
            _ => (packet.get(8..24)?, packet.get(24..40)?, *packet.get(6)?, packet.get(40..)?),
        };
        let word = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk::<2>()?));
        let ports = match number {
            protocol::TCP | protocol::UDP | protocol::SCTP => (word(0)?, word(2)?),
            protocol::ICMP | protocol::ICMPV6 => (word(4)?, word(4)?),
            _ => return None,
        };
        Some(Self { src: src.to_vec(), dst: dst.to_vec(), protocol: number, ports })
    }

    /// The flow in the other direction.
    pub fn reversed(&self) -> Self {
        Self {
            src: self.dst.clone(),
            dst: self.src.clone(),
            protocol: self.protocol,
            ports: (self.ports.1, self.ports.0),
        }
    }

    /// The same for both directions of a flow.
    pub fn undirected(&self) -> Self {
        let reversed = self.reversed();
        if (&reversed.src, reversed.ports) < (&self.src, self.ports) { reversed } else { self.clone() }
    }

    fn family(&self) -> u8 {
        if self.src.len() == 4 { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
    }

    fn write(&self, request: &mut Request, kind: u16, reply: bool) {
        let v4 = self.src.len() == 4;
        request.nest(kind, |request| {
            request.nest(1, |request| {
                request.attribute(if v4 { 1 } else { 3 }, &self.src);
                request.attribute(if v4 { 2 } else { 4 }, &self.dst);
            });
            request.nest(2, |request| {
                request.attribute(1, &[self.protocol]);
                match self.protocol {
                    protocol::ICMP => {
                        request.attribute(4, &self.ports.0.to_be_bytes());
                        request.attribute(5, &[if reply { 0 } else { 8 }]);
                        request.attribute(6, &[0]);
                    }
                    protocol::ICMPV6 => {
                        request.attribute(7, &self.ports.0.to_be_bytes());
                        request.attribute(8, &[if reply { 129 } else { 128 }]);
                        request.attribute(9, &[0]);
                    }
                    _ => {
                        request.attribute(2, &self.ports.0.to_be_bytes());
                        request.attribute(3, &self.ports.1.to_be_bytes());
                    }
                }
            });
        });
    }

    /// Addresses reserved for documentation: nobody asks about this flow by accident.
    fn master(v4: bool) -> Self {
        let (src, dst) = if v4 {
            (vec![192, 0, 2, 253], vec![192, 0, 2, 254])
        } else {
            let address = |last| [&[0x20, 1, 0x0d, 0xb8, 0xff, 0xff][..], &[0; 9], &[last]].concat();
            (address(1), address(2))
        };
        Self { src, dst, protocol: protocol::TCP, ports: (65_533, 65_534) }
    }
}

fn append(request: &mut Request, sequence: u32, flow: &Flow, status: u32, master: Option<&Flow>) {
    request.begin(SUBSYSTEM, NEW, REQUEST | CREATE, flow.family(), 0, sequence);
    flow.write(request, TUPLE_ORIGINAL, false);
    flow.reversed().write(request, TUPLE_REPLY, true);
    request.attribute(STATUS, &status.to_be_bytes());
    request.attribute(TIMEOUT, &TIMEOUT_SECONDS.to_be_bytes());
    match flow.protocol {
        protocol::TCP => request.nest(PROTOCOL_STATE, |request| {
            request.nest(1, |request| request.attribute(1, &[TCP_ESTABLISHED]));
        }),
        protocol::SCTP => request.nest(PROTOCOL_STATE, |request| {
            request.nest(3, |request| {
                request.attribute(1, &[SCTP_ESTABLISHED]);
                request.attribute(2, &SCTP_TAG.to_be_bytes());
                request.attribute(3, &SCTP_TAG.to_be_bytes());
            });
        }),
        _ => {}
    }
    if let Some(master) = master {
        master.write(request, TUPLE_MASTER, false);
    }
    request.end();
}

/// Makes the flows of these packets known, each in the way its class wants.
pub fn create<'a>(socket: &mut Socket, packets: impl Iterator<Item = (Class, &'a Flow)>) -> io::Result<()> {
    let mut request = Request::default();
    let mut masters = [false; 2];
    // Failures are answered anyway; one receipt at the end is enough for the rest.
    let flush = |socket: &mut Socket, request: &mut Request| {
        let mut full = std::mem::take(request);
        if full.is_empty() {
            return Ok(());
        }
        let sequence = socket.next_sequence();
        full.end_with_receipt(sequence);
        socket.call(&full, sequence, |_| {})
    };
    for (class, flow) in packets {
        let sequence = socket.next_sequence();
        match class {
            Class::Plain => continue,
            Class::Established => append(&mut request, sequence, flow, STATUS_ESTABLISHED, None),
            Class::Reply => append(&mut request, sequence, &flow.reversed(), STATUS_ESTABLISHED, None),
            Class::Related => {
                let v4 = flow.src.len() == 4;
                let master = Flow::master(v4);
                if !std::mem::replace(&mut masters[usize::from(v4)], true) {
                    append(&mut request, sequence, &master, STATUS_ESTABLISHED, None);
                }
                append(&mut request, sequence, flow, STATUS_FRESH, Some(&master));
            }
        }
        if request.len() > CHUNK_BYTES {
            flush(socket, &mut request)?;
        }
    }
    flush(socket, &mut request)
}

/// Forgets every flow of the namespace.
pub fn forget_all(socket: &mut Socket) -> io::Result<()> {
    let mut request = Request::default();
    let sequence = socket.next_sequence();
    request.begin(SUBSYSTEM, DELETE, REQUEST | ACK, 0, 0, sequence);
    request.end();
    socket.call(&request, sequence, |_| {})
}
