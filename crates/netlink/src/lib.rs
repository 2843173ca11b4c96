//! Netlink messages of netfilter: building requests, walking attributes, and one socket per use (linux/netlink.h,
//! linux/netfilter/nfnetlink.h). Whoever sends them knows what the numbers mean.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

/// Header flags.
pub const REQUEST: u16 = 1;
/// Ask for an answer to this message even on success.
pub const ACK: u16 = 4;
/// Tell the sender what became of this message.
pub const ECHO: u16 = 8;
/// Return the whole table.
pub const DUMP: u16 = 0x300;
/// Create the object if it does not exist.
pub const CREATE: u16 = 0x400;
/// Add the object behind the others.
pub const APPEND: u16 = 0x800;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEADER_BYTES: usize = 16;
/// Bytes of `struct nfgenmsg`.
const GENERIC_BYTES: usize = 4;

/// One or more netfilter messages being built in one buffer.
#[derive(Default)]
pub struct Request {
    bytes: Vec<u8>,
    start: usize,
}

impl Request {
    /// Starts a message of a netfilter subsystem; `resource` is the `res_id` of `nfgenmsg`.
    pub fn begin(
        &mut self,
        subsystem: u8,
        message: u8,
        flags: u16,
        family: u8,
        resource: u16,
        sequence: u32,
    ) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&(u16::from(subsystem) << 8 | u16::from(message)).to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute that contains the attributes which `fill` appends.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        if let Some(slot) = self.bytes.get_mut(at..at + 2) {
            slot.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// Appends a message that does nothing but ask for an answer with this number.
    pub fn end_with_receipt(&mut self, sequence: u32) {
        self.bytes.extend_from_slice(&(HEADER_BYTES as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&NLMSG_NOOP.to_ne_bytes());
        self.bytes.extend_from_slice(&(REQUEST | ACK).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
    }

    /// Ends the message begun last by filling in its length.
    pub fn end(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        if let Some(slot) = self.bytes.get_mut(self.start..self.start + 4) {
            slot.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// Appends a message as it was made by [`Request::bytes`].
    pub fn messages(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The messages.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A netlink socket of the netfilter family.
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread that receives the events of these
    /// multicast groups (bit n for group n + 1).
    pub fn open(groups: u32) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // More room than the system's limit needs privilege over the host; what we get is enough, since the
        // socket is drained after every packet and losses are detected.
        if setsockopt(&fd, sockopt::RcvBufForce, &(8 << 20)).is_err() {
            let _ = setsockopt(&fd, sockopt::RcvBuf, &(8 << 20));
        }
        Ok(Self { fd, sequence: 0 })
    }

    /// The descriptor, for receiving events.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A number that no request on this socket has had.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends a buffer of messages and handles every answer until the one numbered `last` is acknowledged or
    /// its dump is complete. Returns the first error that any message of the buffer got. `each` sees every
    /// data message.
    pub fn call(
        &mut self,
        request: &Request,
        last: u32,
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        send(self.fd.as_raw_fd(), &request.bytes, MsgFlags::empty())?;
        let mut buffer = vec![0u8; 64 << 10];
        let mut failure = None;
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            for message in Messages(buffer.get(..length).unwrap_or_default()) {
                match message.kind {
                    NLMSG_ERROR => {
                        let code = message.body.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
                        if code != 0 && failure.is_none() {
                            failure = Some(io::Error::from_raw_os_error(-code));
                        }
                    }
                    NLMSG_DONE => {}
                    _ => each(&message),
                }
                if message.sequence == last && matches!(message.kind, NLMSG_ERROR | NLMSG_DONE) {
                    return failure.map_or(Ok(()), Err);
                }
            }
        }
    }
}

/// One message of a datagram.
pub struct Message<'a> {
    /// Subsystem in the high byte, message in the low one.
    pub kind: u16,
    sequence: u32,
    /// Everything after the netlink header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family of a netfilter message, from `nfgenmsg`.
    pub fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or_default()
    }

    /// The attributes of a netfilter message, after `nfgenmsg`.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(GENERIC_BYTES..).unwrap_or_default())
    }
}

/// Iterates over the messages of a datagram.
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(*self.0.first_chunk::<4>()?) as usize;
        let kind = u16::from_ne_bytes(*self.0.get(4..)?.first_chunk::<2>()?);
        let sequence = u32::from_ne_bytes(*self.0.get(8..)?.first_chunk::<4>()?);
        let body = self.0.get(HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, body })
    }
}

/// Iterates over attributes as (type without flags, value).
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk::<2>()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk::<2>()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    }
}

/// A text attribute without its terminating zero.
pub fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

/// A big-endian number of an attribute, `None` if it is too short.
pub fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))
}

/// A big-endian number of an attribute, `None` if it is too short.
pub fn be64(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|b| u64::from_be_bytes(*b))
}
