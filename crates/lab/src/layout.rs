//! The machines of a lab, as a stack file declares them: what stands where, under which addresses, with which rules.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The hosts that a stack has to declare.
pub const DECLARED: [&str; 4] = ["edge", "lb", "app", "db"];
/// The interface of the edge towards the internet, and that towards the stack.
pub const UPLINK: &str = "wan";
/// See [`UPLINK`].
pub const INSIDE: &str = "lan";
/// The interface of every other machine, where the stack file doesn't name it.
pub const ONLY: &str = "eth0";

/// A host of a stack file.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its interfaces, where it has any.
    pub interfaces: Vec<Interface>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The files with its rules, in the order in which they are loaded.
    pub rules: Vec<RulesFile>,
}

/// A file with rules, and what takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesFile {
    /// The file.
    pub path: PathBuf,
    /// What loads it.
    pub loader: Loader,
}

/// A program that loads rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// `nft -f FILE`.
    Nft,
    /// `iptables-restore FILE`.
    Iptables,
    /// `ip6tables-restore FILE`.
    Ip6tables,
    /// `ipset restore -file FILE`.
    Ipset,
}

/// An interface with its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<Prefix>,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// How many bits are the network's.
    pub length: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl Prefix {
    /// Whether an address is in the network.
    pub fn holds(&self, other: IpAddr) -> bool {
        let shift = |bits: u32| bits.saturating_sub(u32::from(self.length));
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The network, without the machine's own bits.
    pub fn network(&self) -> Prefix {
        let host_bits = |bits: u32| bits.saturating_sub(u32::from(self.length));
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(host_bits(32)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(host_bits(128)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Prefix { address, length: self.length }
    }

    /// The last address of the network that a machine can have, where the router beyond it stands.
    pub fn last(&self) -> IpAddr {
        let host_bits = |bits: u32| bits.saturating_sub(u32::from(self.length));
        match self.address {
            IpAddr::V4(address) => {
                let mask = 1_u32.checked_shl(host_bits(32)).map_or(u32::MAX, |bit| bit - 1);
                IpAddr::V4(((address.to_bits() | mask) & !1).into())
            }
            // A round number reads better than sixteen digits f.
            IpAddr::V6(address) => {
                let mask = 1_u128.checked_shl(host_bits(128)).map_or(u128::MAX, |bit| bit - 1);
                IpAddr::V6(((address.to_bits() & !mask) | (0xfe & mask)).into())
            }
        }
    }
}

/// A machine of the lab: a network namespace with services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name in the lab.
    pub name: String,
    /// The name of the stack file's host that it is one of; the same but for `app1`, `app2`, ... of `app`.
    pub host: String,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// What it loads.
    pub rules: Vec<RulesFile>,
}

impl Machine {
    /// Its addresses, in the order of its interfaces.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.interfaces.iter().flat_map(|interface| &interface.addresses).map(|prefix| prefix.address)
    }

    /// Its addresses in an interface's network.
    pub fn prefixes(&self, interface: &str) -> &[Prefix] {
        let found = self.interfaces.iter().find(|candidate| candidate.name == interface);
        found.map(|interface| interface.addresses.as_slice()).unwrap_or_default()
    }
}

/// The machines of the stack: first the edge, then those behind it in the order of the stack file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The machines.
    pub machines: Vec<Machine>,
}

/// Why a stack can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A host is missing.
    #[error("the stack has no host `{0}`")]
    Missing(&'static str),
    /// A host that has no place.
    #[error("the lab has no machine for the host `{0}`")]
    Unknown(String),
    /// The edge lacks a side.
    #[error("the host `edge` has no interface `{0}` with an IPv4 and an IPv6 address")]
    Side(&'static str),
    /// A host without addresses, or with other numbers of them in the two families.
    #[error("the host `{0}` needs as many IPv6 addresses as IPv4 addresses, one of each for a machine")]
    Addresses(String),
    /// More interfaces than the lab has wires for.
    #[error("the host `{0}` has several interfaces; behind the edge, the lab has one wire for each machine")]
    Interfaces(String),
    /// An address that can't be reached.
    #[error("the address `{address}` of the host `{host}` is not in a network of the edge's interface `lan`")]
    Outside {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// The same address for two.
    #[error("the address `{0}` is declared more than once")]
    Twice(IpAddr),
}

impl Layout {
    /// The machines of a stack's hosts. Linear in the addresses but for an ordered set.
    ///
    /// # Errors
    /// [`LayoutError`]: a host is missing, unknown, or has addresses that don't fit.
    pub fn new(declared: &[Declared]) -> Result<Layout, LayoutError> {
        for name in DECLARED {
            if !declared.iter().any(|host| host.name == name) {
                return Err(LayoutError::Missing(name));
            }
        }
        let Some(edge) = declared.iter().find(|host| host.name == "edge") else {
            return Err(LayoutError::Missing("edge"));
        };
        let mut machines = vec![Machine {
            name: edge.name.clone(),
            host: edge.name.clone(),
            interfaces: [UPLINK, INSIDE].iter().map(|side| side_of(edge, side)).collect::<Result<_, _>>()?,
            rules: edge.rules.clone(),
        }];
        let inside = side_of(edge, INSIDE)?.addresses;
        for host in declared.iter().filter(|host| host.name != "edge") {
            machines.extend(behind(host, &inside)?);
        }
        let mut seen = BTreeSet::new();
        for address in machines.iter().flat_map(Machine::addresses) {
            if !seen.insert(address) {
                return Err(LayoutError::Twice(address));
            }
        }
        Ok(Layout { machines })
    }

    /// The machine of a name.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// The machines of a host of the stack file.
    pub fn of_host<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Machine> {
        self.machines.iter().filter(move |machine| machine.host == host)
    }

    /// Every file with rules.
    pub fn rules_mut(&mut self) -> impl Iterator<Item = &mut RulesFile> {
        self.machines.iter_mut().flat_map(|machine| &mut machine.rules)
    }
}

fn side_of(edge: &Declared, side: &'static str) -> Result<Interface, LayoutError> {
    let found = edge.interfaces.iter().find(|interface| interface.name == side);
    let both = |interface: &&Interface| {
        let any = |v6: bool| interface.addresses.iter().any(|prefix| prefix.address.is_ipv6() == v6);
        any(false) && any(true)
    };
    found.filter(both).cloned().ok_or(LayoutError::Side(side))
}

/// The machines of a host behind the edge: one for each pair of an IPv4 and an IPv6 address.
fn behind(host: &Declared, inside: &[Prefix]) -> Result<Vec<Machine>, LayoutError> {
    if !DECLARED.contains(&host.name.as_str()) {
        return Err(LayoutError::Unknown(host.name.clone()));
    }
    let family = |v6: bool| host.addresses.iter().copied().filter(move |address| address.is_ipv6() == v6);
    let pairs: Vec<(IpAddr, IpAddr)> = family(false).zip(family(true)).collect();
    let several = host.name == "app";
    if pairs.is_empty() || pairs.len() * 2 != host.addresses.len() || (pairs.len() > 1 && !several) {
        return Err(LayoutError::Addresses(host.name.clone()));
    }
    let interface = match host.interfaces.as_slice() {
        [] => ONLY,
        [only] => only.name.as_str(),
        _ => return Err(LayoutError::Interfaces(host.name.clone())),
    };
    let prefix = |address: IpAddr| {
        let network = inside.iter().find(|network| network.holds(address));
        network
            .map(|network| Prefix { address, length: network.length })
            .ok_or(LayoutError::Outside { host: host.name.clone(), address })
    };
    pairs
        .into_iter()
        .enumerate()
        .map(|(index, (v4, v6))| {
            let name = if several { format!("{}{}", host.name, index + 1) } else { host.name.clone() };
            let addresses = vec![prefix(v4)?, prefix(v6)?];
            let interfaces = vec![Interface { name: interface.to_owned(), addresses }];
            Ok(Machine { name, host: host.name.clone(), interfaces, rules: host.rules.clone() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Prefix {
        Prefix { address: address.parse().unwrap(), length }
    }

    fn host(name: &str, addresses: &[&str]) -> Declared {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Declared { name: name.to_owned(), addresses, ..Declared::default() }
    }

    fn stack() -> Vec<Declared> {
        let side = |name: &str, addresses| Interface { name: name.to_owned(), addresses };
        let mut edge = host("edge", &[]);
        edge.interfaces = vec![
            side("wan", vec![prefix("203.0.113.1", 24), prefix("2001:db8:ff::1", 64)]),
            side("lan", vec![prefix("10.0.0.1", 16), prefix("2001:db8:0:1::1", 64)]),
        ];
        vec![
            host("lb", &["10.0.1.10", "2001:db8:0:1::10"]),
            edge,
            host("app", &["10.0.2.20", "10.0.2.21", "2001:db8:0:1::20", "2001:db8:0:1::21"]),
            host("db", &["10.0.3.30", "2001:db8:0:1::30"]),
        ]
    }

    #[test]
    fn the_web_stack_has_five_machines() {
        let layout = Layout::new(&stack()).unwrap();
        let names: Vec<&str> = layout.machines.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(names, ["edge", "lb", "app1", "app2", "db"]);
        let app2 = layout.machine("app2").unwrap();
        assert_eq!(
            (app2.host.as_str(), app2.prefixes(ONLY)),
            ("app", &[prefix("10.0.2.21", 16), prefix("2001:db8:0:1::21", 64)][..])
        );
        assert_eq!(layout.of_host("app").count(), 2);
    }

    #[test]
    fn an_interface_is_called_as_the_stack_file_says() {
        let mut stack = stack();
        stack[3].interfaces = vec![Interface { name: "ens3".to_owned(), addresses: Vec::new() }];
        let layout = Layout::new(&stack).unwrap();
        assert_eq!(layout.machine("db").unwrap().prefixes("ens3").len(), 2);
        assert_eq!(layout.machine("lb").unwrap().prefixes(ONLY).len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let changed = |change: fn(&mut Vec<Declared>)| {
            let mut stack = stack();
            change(&mut stack);
            Layout::new(&stack).unwrap_err()
        };
        assert_eq!(changed(|stack| stack.truncate(3)), LayoutError::Missing("db"));
        assert_eq!(changed(|stack| stack.push(host("cache", &[]))), LayoutError::Unknown("cache".into()));
        assert_eq!(changed(|stack| stack[1].interfaces.truncate(1)), LayoutError::Side("lan"));
        assert_eq!(changed(|stack| stack[3].addresses.truncate(1)), LayoutError::Addresses("db".into()));
        assert_eq!(
            changed(|stack| stack[3].addresses = stack[2].addresses.clone()),
            LayoutError::Addresses("db".into())
        );
        assert_eq!(
            changed(|stack| stack[3].addresses = stack[0].addresses.clone()),
            LayoutError::Twice("10.0.1.10".parse().unwrap())
        );
        let wires = |stack: &mut Vec<Declared>| stack[0].interfaces = stack[1].interfaces.clone();
        assert_eq!(changed(wires), LayoutError::Interfaces("lb".into()));
        let outside = changed(|stack| stack[3] = host("db", &["10.1.0.1", "2001:db8:0:1::30"]));
        assert_eq!(outside, LayoutError::Outside { host: "db".into(), address: "10.1.0.1".parse().unwrap() });
    }

    #[test]
    fn networks() {
        assert!(prefix("10.0.0.1", 16).holds("10.0.255.255".parse().unwrap()));
        assert!(!prefix("10.0.0.1", 16).holds("10.1.0.0".parse().unwrap()));
        assert!(prefix("10.0.0.1", 0).holds("8.8.8.8".parse().unwrap()));
        assert!(!prefix("::", 0).holds("8.8.8.8".parse().unwrap()));
        assert_eq!(prefix("10.0.0.1", 16).network(), prefix("10.0.0.0", 16));
        assert_eq!(prefix("2001:db8:0:1::1", 64).network(), prefix("2001:db8:0:1::", 64));
        assert_eq!(prefix("203.0.113.1", 24).last().to_string(), "203.0.113.254");
        assert_eq!(prefix("2001:db8:ff::1", 64).last().to_string(), "2001:db8:ff::fe");
        for length in [0, 31, 32, 128, 255] {
            // Odd lengths come from files; they must not panic.
            let _ = (prefix("1.2.3.4", length).last(), prefix("::1", length).last());
            let _ = (
                prefix("1.2.3.4", length).holds("1.2.3.5".parse().unwrap()),
                prefix("::1", length).holds("::2".parse().unwrap()),
            );
        }
    }
}
