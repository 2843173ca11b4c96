//! The packet a question is about, and the bytes that the kernel gets for it.

use std::net::IpAddr;

/// IP protocol numbers this crate builds headers for.
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// DCCP (RFC 4340); only the ports are filled in.
    pub const DCCP: u8 = 33;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828); only ports and coverage are filled in.
    pub const UDPLITE: u8 = 136;
}

/// TCP flag bits as they stand in the header.
pub mod tcp_flag {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE.
    pub const ECE: u8 = 0x40;
    /// CWR.
    pub const CWR: u8 = 0x80;
}

/// The connection tracking state that the packet shall have when the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// First packet of a flow: a TCP SYN, any UDP packet, an echo request.
    New,
    /// A packet in the original direction of a flow that has seen replies.
    Established,
    /// A packet in the reply direction of a flow that has seen replies (`ct direction reply`).
    EstablishedReply,
    /// First packet of a flow that another flow announced (an FTP data connection).
    Related,
    /// A packet that connection tracking refuses to put into a flow.
    Invalid,
    /// A packet that connection tracking leaves alone: because it is told to before any rule of the ruleset sees the
    /// packet, or by itself (see [`Packet::natural_state`]), which rules before it don't see yet.
    Untracked,
}

/// A packet. Fields that the protocol does not have are ignored. Both addresses must be of one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number; for IPv6 the next header, without extension headers.
    pub protocol: u8,
    /// Source port (TCP, UDP, UDP-Lite, DCCP, SCTP).
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flag bits, see [`tcp_flag`].
    pub tcp_flags: u8,
    /// ICMP or ICMPv6 type.
    pub icmp_type: u8,
    /// ICMP or ICMPv6 code.
    pub icmp_code: u8,
    /// Identifier of an echo message.
    pub icmp_id: u16,
    /// Time to live or hop limit. At 1 a router does not forward the packet.
    pub ttl: u8,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// Bytes after the transport header (after the IP header for protocols without one), at most 1,400.
    pub payload: u16,
    /// Fragment offset in units of 8 bytes (IPv4 only).
    pub fragment_offset: u16,
    /// The "more fragments" bit (IPv4 only).
    pub more_fragments: bool,
    /// Interface the packet comes in by; not used for the output hook.
    pub iif: String,
    /// Interface the packet shall leave by, where the configuration leaves routing to the question
    /// ([`Destinations::AsAsked`](crate::Destinations)): forward and output hooks.
    pub oif: Option<String>,
    /// Source MAC address, a locally administered one by default.
    pub mac: [u8; 6],
    /// Wanted connection tracking state.
    pub state: State,
}

/// First IPv4 identification of packets that the harness exempts from connection tracking; the last is 0xffff.
pub(crate) const UNTRACKED_ID: u16 = 0xf000;
/// First IPv6 flow label of packets that the harness exempts from connection tracking; there are 4096.
pub(crate) const UNTRACKED_LABEL: u32 = 0xf_1000;
/// Bits of the identification or flow label that number the packets of a batch.
const TAG: u16 = 0xfff;
/// SCTP verification tag of every packet but an INIT.
pub(crate) const SCTP_TAG: u32 = 0x6669_7265;
const MAX_PAYLOAD_BYTES: u16 = 1400;

impl Packet {
    /// A new packet of a protocol between two addresses: ports 40000 and 0, a SYN for TCP, an echo request
    /// for ICMP, TTL 64, no payload, interface `eth0`.
    pub fn new(src: IpAddr, dst: IpAddr, protocol: u8) -> Self {
        Self {
            src,
            dst,
            protocol,
            sport: 40_000,
            dport: 0,
            tcp_flags: tcp_flag::SYN,
            icmp_type: if protocol == protocol::ICMPV6 { 128 } else { 8 },
            icmp_code: 0,
            icmp_id: 1,
            ttl: 64,
            dscp: 0,
            payload: 0,
            fragment_offset: 0,
            more_fragments: false,
            iif: "eth0".into(),
            oif: None,
            mac: [0x02, 0, 0, 0, 0, 0x01],
            state: State::New,
        }
    }

    /// A TCP SYN to a port.
    pub fn tcp(src: IpAddr, dst: IpAddr, dport: u16) -> Self {
        Self { dport, ..Self::new(src, dst, protocol::TCP) }
    }

    /// A UDP packet to a port.
    pub fn udp(src: IpAddr, dst: IpAddr, dport: u16) -> Self {
        Self { dport, ..Self::new(src, dst, protocol::UDP) }
    }

    /// An echo request of the addresses' family.
    pub fn ping(src: IpAddr, dst: IpAddr) -> Self {
        Self::new(src, dst, if src.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 })
    }

    /// The state that connection tracking gives to this packet when it has not seen any other.
    /// `tcp_loose` is the sysctl `net.netfilter.nf_conntrack_tcp_loose`.
    pub fn natural_state(&self, tcp_loose: bool) -> State {
        use tcp_flag::{ACK, FIN, RST, SYN, URG};
        match (self.protocol, self.src.is_ipv4()) {
            (protocol::TCP, _) => match self.tcp_flags & (FIN | SYN | RST | ACK | URG) {
                flags if flags & !URG == SYN => State::New,
                flags if flags & !URG == ACK && tcp_loose => State::New,
                _ => State::Invalid,
            },
            (protocol::ICMP, true) => match self.icmp_type {
                8 | 13 | 15 | 17 => State::New,
                _ => State::Invalid,
            },
            (protocol::ICMPV6, false) => match self.icmp_type {
                128 | 139 => State::New,
                // Multicast listeners, neighbour discovery and multicast router discovery (nf_conntrack_proto_icmpv6.c).
                130..=136 | 143 | 151 | 152 => State::Untracked,
                _ => State::Invalid,
            },
            // ICMP of the other family never makes a flow.
            (protocol::ICMP | protocol::ICMPV6, _) => State::Invalid,
            _ => State::New,
        }
    }

    /// Whether the oracle can give the packet the state that it wants; the reason if it can't.
    pub fn state_possible(&self, tcp_loose: bool) -> Result<(), &'static str> {
        let natural = self.natural_state(tcp_loose);
        let tracked = matches!(
            (self.protocol, self.src.is_ipv4()),
            (protocol::TCP | protocol::UDP | protocol::SCTP, _)
        );
        let echo = match (self.protocol, self.src.is_ipv4()) {
            (protocol::ICMP, true) => matches!(self.icmp_type, 0 | 8),
            (protocol::ICMPV6, false) => matches!(self.icmp_type, 128 | 129),
            _ => false,
        };
        let reply = echo && matches!(self.icmp_type, 0 | 129);
        match self.state {
            State::New if natural == State::New => Ok(()),
            State::New => Err("connection tracking does not call such a packet new"),
            State::Untracked => Ok(()),
            State::Invalid if natural == State::Invalid || tracked => Ok(()),
            State::Invalid => Err("connection tracking never calls such a packet invalid"),
            State::Established | State::Related if reply => {
                Err("an echo reply travels in the reply direction of its flow")
            }
            State::EstablishedReply if echo && !reply => {
                Err("an echo request travels in the original direction of its flow")
            }
            State::Related if echo => Err("no helper announces echo requests"),
            State::Established | State::EstablishedReply | State::Related => {
                if self.protocol == protocol::TCP && !self.flags_fit_flow() {
                    Err("connection tracking refuses this set of TCP flags in such a flow")
                } else if tracked || echo {
                    Ok(())
                } else {
                    Err("only TCP, UDP, SCTP and echo messages can be put into a flow")
                }
            }
        }
    }

    /// Whether TCP connection tracking takes the flags in an established flow, in the packet's direction (the
    /// tables `tcp_valid_flags` and `tcp_conntracks` of the kernel).
    fn flags_fit_flow(&self) -> bool {
        use tcp_flag::{ACK, FIN, RST, SYN, URG};
        let flags = self.tcp_flags & (FIN | SYN | RST | ACK | URG);
        let reply = self.state == State::EstablishedReply;
        match flags {
            _ if flags == SYN || flags == SYN | URG => !reply,
            _ if flags == SYN | ACK => reply,
            _ if flags == RST || flags == RST | ACK => true,
            _ => flags & !(URG | FIN) == ACK,
        }
    }

    /// The packet as bytes from the IP header on, with all lengths and checksums right, except that a packet
    /// that wants to be invalid carries an impossible TCP or UDP length where nothing else makes it invalid.
    /// Fails if the families differ or the payload is too long.
    pub fn to_bytes(&self, tcp_loose: bool) -> Result<Vec<u8>, String> {
        self.tagged_bytes(tcp_loose, 1)
    }

    /// Like [`Packet::to_bytes`], with a number of 12 bits in the IP header and the TCP sequence number, by which
    /// [`tag`] and [`answer_tag`] recognise the packet and answers to it.
    pub(crate) fn tagged_bytes(&self, tcp_loose: bool, number: usize) -> Result<Vec<u8>, String> {
        let tag = number as u16 & TAG;
        if self.payload > MAX_PAYLOAD_BYTES {
            return Err(format!("payload of {} bytes, at most {MAX_PAYLOAD_BYTES} fit", self.payload));
        }
        let natural = self.natural_state(tcp_loose);
        let spoil = self.state == State::Invalid && natural != State::Invalid;
        let exempt = self.state == State::Untracked && natural != State::Untracked;
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (src, dst) = (src.octets(), dst.octets());
                let body = self.transport(&src, &dst, spoil, tag);
                let mut bytes = Vec::with_capacity(20 + body.len());
                bytes.extend_from_slice(&[0x45, self.dscp << 2]);
                bytes.extend_from_slice(&((20 + body.len()) as u16).to_be_bytes());
                // Raw sockets replace an identification of 0.
                let id = if exempt { UNTRACKED_ID } else { 0x1000 } | tag;
                bytes.extend_from_slice(&id.to_be_bytes());
                let fragment = self.fragment_offset & 0x1fff | u16::from(self.more_fragments) << 13;
                bytes.extend_from_slice(&fragment.to_be_bytes());
                bytes.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
                bytes.extend_from_slice(&src);
                bytes.extend_from_slice(&dst);
                let sum = checksum(&[&bytes]);
                put16(&mut bytes, 10, sum);
                bytes.extend_from_slice(&body);
                Ok(bytes)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (src, dst) = (src.octets(), dst.octets());
                let body = self.transport(&src, &dst, spoil, tag);
                let mut bytes = Vec::with_capacity(40 + body.len());
                let label = if exempt { UNTRACKED_LABEL } else { 0 } | u32::from(tag);
                let word = 6 << 28 | u32::from(self.dscp & 0x3f) << 22 | label;
                bytes.extend_from_slice(&word.to_be_bytes());
                bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&[self.protocol, self.ttl]);
                bytes.extend_from_slice(&src);
                bytes.extend_from_slice(&dst);
                bytes.extend_from_slice(&body);
                Ok(bytes)
            }
            _ => Err(format!("`{}` and `{}` are of different families", self.src, self.dst)),
        }
    }

    /// Transport header and payload.
    fn transport(&self, src: &[u8], dst: &[u8], spoil: bool, tag: u16) -> Vec<u8> {
        let mut body = Vec::with_capacity(40 + usize::from(self.payload));
        let ports = |body: &mut Vec<u8>| {
            body.extend_from_slice(&self.sport.to_be_bytes());
            body.extend_from_slice(&self.dport.to_be_bytes());
        };
        let fill = usize::from(self.payload);
        // Where the checksum stands, and whether it covers the pseudo header.
        let sum_at = match (self.protocol, self.src.is_ipv4()) {
            (protocol::TCP, _) => {
                ports(&mut body);
                // A reset repeats one of the two, plus or minus a length, which stays in the lower half.
                let sequence = u32::from(tag) << 16 | 0x8000;
                body.extend_from_slice(&sequence.to_be_bytes());
                let ack = if self.tcp_flags & tcp_flag::ACK != 0 { sequence } else { 0 };
                body.extend_from_slice(&ack.to_be_bytes());
                // A header longer than the packet makes connection tracking call it invalid.
                body.extend_from_slice(&[
                    if spoil { 0xf0 } else { 0x50 },
                    self.tcp_flags,
                    0xff,
                    0xff,
                    0,
                    0,
                    0,
                    0,
                ]);
                body.resize(body.len() + fill, 0);
                Some((16, true))
            }
            (protocol::UDP | protocol::UDPLITE, _) => {
                ports(&mut body);
                let length = 8 + self.payload + u16::from(spoil);
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(&[0, 0]);
                body.resize(body.len() + fill, 0);
                Some((6, true))
            }
            (protocol::DCCP, _) => {
                ports(&mut body);
                // Data offset 5 words, type REQUEST, extended sequence numbers; service code 0.
                body.extend_from_slice(&[5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
                body.resize(body.len() + fill, 0);
                Some((6, true))
            }
            (protocol::SCTP, _) => {
                ports(&mut body);
                let (tag, chunk): (u32, &[u8]) = if matches!(self.state, State::New | State::Untracked) {
                    // INIT: tag, receive window, streams, first sequence number.
                    (0, &[1, 0, 0, 20, 0x66, 0x69, 0x72, 0x65, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1])
                } else {
                    // A DATA chunk with four bytes.
                    (SCTP_TAG, &[0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                };
                body.extend_from_slice(&tag.to_be_bytes());
                body.extend_from_slice(&[0; 4]);
                body.extend_from_slice(chunk);
                let sum = crc32c(&body).to_le_bytes();
                if let Some(slot) = body.get_mut(8..12) {
                    slot.copy_from_slice(&sum);
                }
                None
            }
            (protocol::ICMP, true) | (protocol::ICMPV6, false) => {
                body.extend_from_slice(&[self.icmp_type, self.icmp_code, 0, 0]);
                body.extend_from_slice(&self.icmp_id.to_be_bytes());
                body.extend_from_slice(&1u16.to_be_bytes());
                body.resize(body.len() + fill, 0);
                Some((2, self.protocol == protocol::ICMPV6))
            }
            _ => {
                body.resize(fill.max(4), 0);
                None
            }
        };
        if let Some((at, pseudo)) = sum_at {
            let sum = if pseudo {
                let length = (body.len() as u32).to_be_bytes();
                checksum(&[src, dst, &length, &[0, self.protocol], &body])
            } else {
                checksum(&[&body])
            };
            // Zero means "no checksum" in UDP (RFC 768), so a computed zero is sent as all ones.
            let udp = matches!(self.protocol, protocol::UDP | protocol::UDPLITE);
            put16(&mut body, at, if sum == 0 && udp { 0xffff } else { sum });
        }
        body
    }

    /// This packet with the fields that a firewall may rewrite taken from `bytes`, an IP packet that may be
    /// cut short. Unreadable bytes leave the packet as it is.
    pub(crate) fn rewritten(&self, bytes: &[u8]) -> Self {
        self.try_rewritten(bytes).unwrap_or_else(|| self.clone())
    }

    fn try_rewritten(&self, bytes: &[u8]) -> Option<Self> {
        let mut packet = self.clone();
        let body = match bytes.first()? >> 4 {
            4 => {
                packet.dscp = bytes.get(1)? >> 2;
                packet.ttl = *bytes.get(8)?;
                packet.src = IpAddr::from(*bytes.get(12..)?.first_chunk::<4>()?);
                packet.dst = IpAddr::from(*bytes.get(16..)?.first_chunk::<4>()?);
                bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?
            }
            _ => {
                packet.dscp = ((u16::from_be_bytes(*bytes.first_chunk::<2>()?) >> 6) & 0x3f) as u8;
                packet.ttl = *bytes.get(7)?;
                packet.src = IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?);
                packet.dst = IpAddr::from(*bytes.get(24..)?.first_chunk::<16>()?);
                bytes.get(40..)?
            }
        };
        if self.fragment_offset == 0 {
            match (self.protocol, self.src.is_ipv4()) {
                (protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::DCCP | protocol::SCTP, _) => {
                    packet.sport = u16::from_be_bytes(*body.first_chunk::<2>()?);
                    packet.dport = u16::from_be_bytes(*body.get(2..)?.first_chunk::<2>()?);
                    if self.protocol == protocol::TCP {
                        packet.tcp_flags = *body.get(13)?;
                    }
                }
                (protocol::ICMP, true) | (protocol::ICMPV6, false) => {
                    packet.icmp_id = u16::from_be_bytes(*body.get(4..)?.first_chunk::<2>()?);
                }
                _ => {}
            }
        }
        Some(packet)
    }
}

/// The number of a packet made by [`Packet::tagged_bytes`].
pub(crate) fn tag(bytes: &[u8]) -> Option<u16> {
    let at = if bytes.first()? >> 4 == 4 { 4 } else { 2 };
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?) & TAG)
}

/// The number of the packet that a TCP reset or an ICMP error answers.
pub(crate) fn answer_tag(bytes: &[u8]) -> Option<u16> {
    let v4 = bytes.first()? >> 4 == 4;
    let (number, body) = if v4 {
        (*bytes.get(9)?, bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?)
    } else {
        (*bytes.get(6)?, bytes.get(40..)?)
    };
    if number != protocol::TCP {
        return tag(body.get(8..)?);
    }
    // A segment without ACK is answered with ACK set, one with ACK by its own acknowledgement number.
    let at = if body.get(13)? & tcp_flag::ACK != 0 { 8 } else { 4 };
    Some(u16::from_be_bytes(*body.get(at..)?.first_chunk::<2>()?) & TAG)
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(slot) = bytes.get_mut(at..at + 2) {
        slot.copy_from_slice(&value.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071) over the parts one after another; all but the last must be of even
/// length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let mut words = part.chunks_exact(2);
        for word in &mut words {
            sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            sum += u64::from(*last) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: SCTP packets here have 32 bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_published_vectors() {
        // RFC 1071, section 3: the words sum to ddf2.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        // RFC 3720, appendix B.4: 32 bytes of zeroes.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn bytes_give_the_packet_back() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
            for number in [protocol::TCP, protocol::UDP, protocol::SCTP, protocol::ICMP, 47] {
                let packet = Packet { dport: 443, dscp: 46, ttl: 9, ..Packet::new(src, dst, number) };
                let bytes = packet.to_bytes(false).unwrap();
                let other = Packet { dport: 1, dscp: 0, ttl: 64, ..Packet::new(dst, src, number) };
                let back = other.rewritten(&bytes);
                assert_eq!((back.src, back.dst, back.dscp, back.ttl), (src, dst, 46, 9));
                for end in 0..bytes.len() {
                    let _ = packet.rewritten(&bytes[..end]);
                }
            }
        }
    }
}
