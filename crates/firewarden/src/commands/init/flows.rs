//! From observed connections to flows: who began what, with whom, on which port.

use firewarden_network::{Connection, Host};
use firewarden_verify::address::{AddressRange, Family};
use firewarden_verify::intent::internet;
use std::collections::{BTreeMap, BTreeSet};

/// From how many addresses of a network on, the network is named instead of them.
const ADDRESSES_BEFORE_A_NETWORK: usize = 5;
/// Where Linux takes the ports of clients from by default (`net.ipv4.ip_local_port_range`): a connection to such a port, on
/// which nobody is known to listen, doesn't tell who serves whom.
const FIRST_CLIENT_PORT: u16 = 32_768;

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Public addresses of nobody declared.
    Internet,
    /// A host by its number.
    Host(usize),
    /// Addresses that no host has.
    Range(AddressRange),
}

/// Connections of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Who begins them.
    pub source: Party,
    /// Who answers.
    pub destination: Party,
    /// 6 for TCP, 17 for UDP, 132 for SCTP.
    pub protocol: u8,
    /// The port that they go to.
    pub port: u16,
}

/// One connection, with the host that answers where an address of another one stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The family.
    pub family: Family,
    /// 6 for TCP, 17 for UDP, 132 for SCTP.
    pub protocol: u8,
    /// Who began it.
    pub source: (u128, u16),
    /// Whom it was sent to.
    pub destination: (u128, u16),
    /// The host that answers, by its number.
    pub server: Option<usize>,
}

/// What the connections of all hosts say.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Each connection once, however many hosts know it.
    pub connections: BTreeSet<Seen>,
    /// Addresses under which a host is reached by translation elsewhere.
    pub published: BTreeSet<(usize, AddressRange)>,
    /// Connections to a port of clients, which tell nothing.
    pub unclear: usize,
    /// Connections that were translated to another port.
    pub moved: usize,
}

/// Takes the connections of hosts together. Loopback, multicast, link-local traffic and that of a host with itself is left
/// out.
pub fn observe(hosts: &[Host]) -> Observed {
    let mut observed = Observed::default();
    let (mut unclear, mut moved) = (BTreeSet::new(), BTreeSet::new());
    for connection in hosts.iter().flat_map(|host| &host.connections) {
        let Some(family) = family_of(connection) else { continue };
        let (source, destination) = (connection.source, connection.destination);
        if is_special(family, source.0) || is_special(family, destination.0) {
            continue;
        }
        let mut server = owner(hosts, family, destination.0);
        let mut published = None;
        if let Some(((address, port), _)) = connection.answered
            && address != destination.0
            && let Some(behind) = owner(hosts, family, address)
        {
            if port != destination.1 {
                moved.insert(*connection);
                continue;
            }
            server = Some(behind);
            published = Some((behind, AddressRange { family, low: destination.0, high: destination.0 }));
        }
        if server.is_some() && server == owner(hosts, family, source.0) {
            continue;
        }
        let listens = server.and_then(|index| hosts.get(index)).is_some_and(|host| {
            let takes = |socket: &firewarden_network::Listener| {
                (socket.protocol, socket.port) == (connection.protocol, destination.1)
            };
            host.listening.iter().flatten().any(takes)
        });
        if destination.1 >= FIRST_CLIENT_PORT && !listens {
            unclear.insert(*connection);
            continue;
        }
        observed.published.extend(published);
        let protocol = connection.protocol;
        observed.connections.insert(Seen { family, protocol, source, destination, server });
    }
    observed.unclear = unclear.len();
    observed.moved = moved.len();
    observed
}

/// Groups connections by source, destination, protocol and port; how many there are of each.
pub fn group(connections: &BTreeSet<Seen>, hosts: &[Host]) -> BTreeMap<Flow, usize> {
    let mut strangers: BTreeMap<AddressRange, BTreeSet<u128>> = BTreeMap::new();
    for seen in connections {
        for address in [seen.source.0, seen.destination.0] {
            if owner(hosts, seen.family, address).is_none() {
                strangers.entry(network_of(hosts, seen.family, address)).or_default().insert(address);
            }
        }
    }
    let party = |family: Family, address: u128| {
        if let Some(index) = owner(hosts, family, address) {
            return Party::Host(index);
        }
        if internet(family).contains(address) {
            return Party::Internet;
        }
        let network = network_of(hosts, family, address);
        let many = strangers.get(&network).is_some_and(|seen| seen.len() >= ADDRESSES_BEFORE_A_NETWORK);
        Party::Range(if many { network } else { AddressRange { family, low: address, high: address } })
    };
    let mut flows = BTreeMap::new();
    for seen in connections {
        let flow = Flow {
            source: party(seen.family, seen.source.0),
            destination: match seen.server {
                Some(index) => Party::Host(index),
                None => party(seen.family, seen.destination.0),
            },
            protocol: seen.protocol,
            port: seen.destination.1,
        };
        *flows.entry(flow).or_insert(0) += 1;
    }
    flows
}

/// The family of a connection whose protocol has ports that an intent can name.
fn family_of(connection: &Connection) -> Option<Family> {
    if !matches!(connection.protocol, 6 | 17 | 132) {
        return None;
    }
    match connection.nfproto {
        2 => Some(Family::V4),
        10 => Some(Family::V6),
        _ => None,
    }
}

fn owner(hosts: &[Host], family: Family, address: u128) -> Option<usize> {
    hosts.iter().position(|host| host.own(family.nfproto()).contains(address))
}

/// Unspecified, loopback, link-local, multicast and broadcast addresses.
fn is_special(family: Family, address: u128) -> bool {
    match family {
        Family::V4 => {
            let first = address >> 24;
            matches!(first, 0 | 127 | 224..) || address >> 16 == 0xA9FE
        }
        Family::V6 => address <= 1 || address >> 118 == 0xFE80 >> 6 || address >> 120 == 0xFF,
    }
}

/// The network of an address: a link that some host is on, else what is usual for one.
fn network_of(hosts: &[Host], family: Family, address: u128) -> AddressRange {
    let (usual, widest) = if family == Family::V4 { (24, 8) } else { (64, 32) };
    let links = hosts.iter().flat_map(|host| &host.interfaces).flat_map(|interface| &interface.addresses);
    let length = links
        .filter(|own| own.reaches(family.nfproto(), address))
        .map(|own| own.prefix)
        .filter(|&prefix| prefix >= widest && prefix < family.width())
        .max();
    AddressRange::prefix(family, address, length.unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_network::{Address, ConnectionPlace, Interface, ListenAddress, Listener};
    use firewarden_packet::InterfaceName;

    fn host(name: &str, address: u128, ports: &[u16]) -> Host {
        let own = Address { nfproto: 2, value: address, prefix: 24 };
        let eth0 = InterfaceName::new("eth0").unwrap();
        let socket = |&port: &u16| Listener {
            protocol: 6,
            at: ListenAddress::Any,
            port,
            interface: None,
            programs: Vec::new(),
        };
        Host {
            name: name.to_owned(),
            interfaces: vec![Interface { name: eth0, addresses: vec![own], uplink: false }],
            listening: Some(ports.iter().map(socket).collect()),
            ..Host::default()
        }
    }

    fn tcp(source: (u128, u16), destination: (u128, u16)) -> Connection {
        let place = ConnectionPlace::Tracked;
        Connection { nfproto: 2, protocol: 6, source, destination, answered: None, place }
    }

    const WEB: u128 = 0x0A00_0001;
    const DB: u128 = 0x0A00_0002;

    #[test]
    fn what_both_ends_know_counts_once() {
        let mut hosts = [host("web", WEB, &[443]), host("db", DB, &[5432])];
        let one = tcp((WEB, 40_000), (DB, 5432));
        hosts[0].connections =
            vec![one, tcp((0x0808_0808, 5000), (WEB, 443)), tcp((WEB, 40_001), (0x7F00_0001, 80))];
        hosts[1].connections =
            vec![Connection { place: ConnectionPlace::Incoming, ..one }, tcp((WEB, 40_002), (DB, 5432))];
        let observed = observe(&hosts);
        let flows = group(&observed.connections, &hosts);
        let expected = [
            (Flow { source: Party::Internet, destination: Party::Host(0), protocol: 6, port: 443 }, 1),
            (Flow { source: Party::Host(0), destination: Party::Host(1), protocol: 6, port: 5432 }, 2),
        ];
        assert_eq!(flows.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn translation_names_who_answers() {
        let mut hosts = [host("edge", 0x0A00_00FE, &[]), host("web", WEB, &[443])];
        let public = 0xCB00_7101;
        hosts[0].addresses.push(Address { nfproto: 2, value: public, prefix: 32 });
        let client = (0x0808_0808, 5000);
        let through =
            |port| Connection { answered: Some(((WEB, port), client)), ..tcp(client, (public, 443)) };
        hosts[0].connections = vec![through(443)];
        let observed = observe(&hosts);
        assert_eq!(observed.connections.first().unwrap().server, Some(1));
        assert_eq!(observed.published.first().unwrap().0, 1);
        hosts[0].connections = vec![through(8443)];
        let observed = observe(&hosts);
        assert_eq!((observed.connections.len(), observed.moved), (0, 1));
    }

    #[test]
    fn many_of_a_network_are_the_network() {
        let mut hosts = [host("db", DB, &[5432, 40_000])];
        let clients =
            |count: u128| (0..count).map(|at| tcp((0x0A00_0010 + at, 50_000), (DB, 5432))).collect();
        hosts[0].connections = clients(4);
        assert_eq!(group(&observe(&hosts).connections, &hosts).len(), 4);
        hosts[0].connections = clients(5);
        let flows = group(&observe(&hosts).connections, &hosts);
        let network = AddressRange::prefix(Family::V4, 0x0A00_0000, 24);
        assert_eq!(flows.keys().map(|flow| flow.source).collect::<Vec<_>>(), [Party::Range(network)]);
        // A port of clients counts where somebody listens on it.
        hosts[0].connections =
            vec![tcp((0x0A00_0010, 50_000), (DB, 40_000)), tcp((0x0A00_0010, 50_000), (DB, 40_001))];
        let observed = observe(&hosts);
        assert_eq!((observed.connections.len(), observed.unclear), (1, 1));
    }
}
