//! What a host listens on, and which connections it has.

use firewarden_packet::InterfaceName;

/// A socket that waits for packets or connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// 6 for TCP, 17 for UDP; the protocol numbers of IANA.
    pub protocol: u8,
    /// The address it is bound to.
    pub at: ListenAddress,
    /// The port.
    pub port: u16,
    /// The interface it is bound to.
    pub interface: Option<InterfaceName>,
    /// The names of the programs that have it open; empty where the listing doesn't tell.
    pub programs: Vec<String>,
}

/// The address a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddress {
    /// Every address of both families.
    Any,
    /// Every address of a family.
    Family(u128),
    /// This address of this family.
    One(u128, u128),
}

impl Listener {
    /// True where a packet to this address and port reaches the socket.
    pub fn takes(&self, protocol: u8, nfproto: u128, address: u128, port: u16) -> bool {
        let bound = match self.at {
            ListenAddress::Any => true,
            ListenAddress::Family(family) => family == nfproto,
            ListenAddress::One(family, own) => (family, own) == (nfproto, address),
        };
        bound && (self.protocol, self.port) == (protocol, port)
    }
}

/// A connection that was there when a host was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The family: 2 for IPv4, 10 for IPv6.
    pub nfproto: u128,
    /// 6 for TCP, 17 for UDP; the protocol numbers of IANA.
    pub protocol: u8,
    /// Address and port of whoever began it, as the first packet came.
    pub source: (u128, u16),
    /// Address and port that it was sent to, before any translation.
    pub destination: (u128, u16),
    /// Who answers, and to whom, as the host's conntrack has it; `None` where only the socket is known.
    pub answered: Option<((u128, u16), (u128, u16))>,
    /// Whether this host passes it on, as far as is known.
    pub place: ConnectionPlace,
}

/// What a host has to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionPlace {
    /// One of its sockets began it.
    Outgoing,
    /// One of its sockets accepted it.
    Incoming,
    /// It is known from conntrack: from, to, or through the host.
    Tracked,
}
