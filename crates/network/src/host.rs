//! Hosts: what is known of them beside their rulesets.

use crate::routing::Routing;
use crate::sockets::{Connection, Listener};
use firewarden_packet::{InterfaceName, IntervalSet, fib_type};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::ir::Ruleset;
use std::collections::BTreeMap;

/// A host of a [`crate::Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// An address with its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// 2 for IPv4, 10 for IPv6.
    pub nfproto: u128,
    /// The address; an IPv4 address is in the low 32 bits.
    pub value: u128,
    /// Length of the prefix that is on the link; the full width where nothing is known of the link.
    pub prefix: u32,
}

impl Address {
    /// The addresses of the subnet.
    pub fn subnet(&self) -> (u128, u128) {
        let width = if self.nfproto == 2 { 32 } else { 128 };
        let free = match width - self.prefix.min(width) {
            128 => u128::MAX,
            bits => (1u128 << bits) - 1,
        };
        (self.value & !free, self.value | free)
    }

    /// True where the other address is on the same link, as far as the prefix tells.
    pub fn reaches(&self, nfproto: u128, value: u128) -> bool {
        let (low, high) = self.subnet();
        self.nfproto == nfproto && low <= value && value <= high
    }
}

/// An interface of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: InterfaceName,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// It leads to everything that no other interface leads to (the default route).
    pub uplink: bool,
}

/// A host: its ruleset and what its ruleset's meaning needs.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// As declared.
    pub name: String,
    /// What its kernel runs. A host without rules accepts everything.
    pub ruleset: Ruleset,
    /// Declared interfaces; empty where nothing is known of them.
    pub interfaces: Vec<Interface>,
    /// Its own addresses of the link-less kind (`address: 10.0.1.10`). Those of interfaces are own addresses as well.
    pub addresses: Vec<Address>,
    /// It passes packets on that aren't for itself.
    pub forwards: bool,
    /// True where the list of addresses is complete, so that any other address isn't local.
    pub addresses_known: bool,
    /// Whether it passes IPv6 packets on, where that is known to be otherwise than `forwards` says.
    pub forwards_ipv6: Option<bool>,
    /// Its routing tables; `None` where nothing is known of them, so that the links of its interfaces tell the way.
    pub routing: Option<Routing>,
    /// How strictly it looks at the sources of IPv4 packets, by input interface (`rp_filter`); interfaces that aren't
    /// listed don't look at all.
    pub reverse_path: BTreeMap<InterfaceName, ReversePath>,
    /// It takes packets in that come from elsewhere with one of its own addresses as their source (`accept_local`).
    pub accepts_own_sources: bool,
    /// What it listens on; `None` where nobody looked.
    pub listening: Option<Vec<Listener>>,
    /// The connections it had when somebody looked.
    pub connections: Vec<Connection>,
}

/// The sysctl `net.ipv4.conf.*.rp_filter` (kernel documentation, `ip-sysctl`; RFC 3704).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// A packet back to the source must leave by the interface that the packet came in by.
    Strict,
    /// There must be some way back to the source.
    Loose,
}

impl Host {
    /// All own addresses of one family.
    pub fn own(&self, nfproto: u128) -> IntervalSet {
        let of_interfaces = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        let all = self.addresses.iter().chain(of_interfaces).filter(|address| address.nfproto == nfproto);
        let own: IntervalSet = all.map(|address| (address.value, address.value)).collect();
        match &self.routing {
            Some(routing) => own.union(&routing.local(nfproto)),
            None => own,
        }
    }

    /// Whether it passes packets of a family on.
    pub fn passes_on(&self, nfproto: u128) -> bool {
        match self.forwards_ipv6 {
            Some(told) if nfproto == 10 => told,
            _ => self.forwards,
        }
    }

    /// The interface on whose link an address is, else the uplink, else the only one; `None` where it isn't known.
    pub fn interface_towards(&self, nfproto: u128, address: u128) -> Option<&Interface> {
        let on_link =
            |interface: &&Interface| interface.addresses.iter().any(|own| own.reaches(nfproto, address));
        let best = self.interfaces.iter().filter(on_link).max_by_key(|interface| {
            interface.addresses.iter().filter(|own| own.reaches(nfproto, address)).map(|own| own.prefix).max()
        });
        best.or_else(|| self.interfaces.iter().find(|interface| interface.uplink)).or(only(&self.interfaces))
    }
}

/// The interface of a host that has just one.
pub(crate) fn only(interfaces: &[Interface]) -> Option<&Interface> {
    match interfaces {
        [only] => Some(only),
        _ => None,
    }
}

impl Surroundings for Host {
    fn interface_address(&self, interface: InterfaceName, nfproto: u128) -> Option<u128> {
        let known = self.interfaces.iter().find(|own| own.name == interface)?;
        known.addresses.iter().find(|address| address.nfproto == nfproto).map(|address| address.value)
    }

    fn address_type(&self, nfproto: u128, address: u128) -> Option<(u128, (u128, u128))> {
        let loopback = if nfproto == 2 { (0x7F00_0000, 0x7FFF_FFFF) } else { (1, 1) };
        let multicast = if nfproto == 2 { (0xE000_0000, 0xEFFF_FFFF) } else { (0xFF << 120, u128::MAX) };
        let local = self.own(nfproto).union(&IntervalSet::range(loopback.0, loopback.1));
        if local.contains(address) {
            return Some((fib_type::LOCAL, local.stretch(address)));
        }
        if (multicast.0..=multicast.1).contains(&address) {
            return Some((fib_type::MULTICAST, multicast));
        }
        if !self.addresses_known {
            return None;
        }
        let mut special = vec![multicast];
        if nfproto == 2 {
            special.push((0xFFFF_FFFF, 0xFFFF_FFFF));
            for interface in self.interfaces.iter().flat_map(|interface| &interface.addresses) {
                if interface.nfproto == 2 && interface.prefix < 31 {
                    let (_, broadcast) = interface.subnet();
                    special.push((broadcast, broadcast));
                }
            }
            let broadcast: IntervalSet = special.iter().skip(1).copied().collect();
            if broadcast.contains(address) {
                return Some((fib_type::BROADCAST, broadcast.stretch(address)));
            }
        }
        let other = local.union(&special.into_iter().collect());
        Some((fib_type::UNICAST, other.stretch(address)))
    }
}
