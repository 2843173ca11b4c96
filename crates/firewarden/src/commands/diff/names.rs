//! What people call addresses, and the connections that a change cuts, in those names.

use firewarden_network::{Connection, Host, ListenAddress};
use firewarden_packet::{AtomTable, Field, PacketBox};
use firewarden_verify::diff::{
    CutConnection, Direction, Names, Telling, ToldChange, ToldRule, cut_connections,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connections that a change cuts.
pub struct Cut {
    /// `app -> db tcp/5432`.
    pub flow: String,
    /// How many.
    pub count: usize,
    /// Each of them, once as a socket and once as a tracked connection where it is both.
    #[cfg(feature = "apply")]
    pub connections: Vec<Connection>,
    /// False where they go on, but couldn't be opened again.
    pub now: bool,
    /// The rule that refuses them.
    pub rule: ToldRule,
    /// The operator's own session is among them.
    pub own_session: bool,
}

/// The names of all hosts by their addresses; where the two versions differ, the later one counts.
pub fn of(after: &[Host], before: &[Host]) -> Names {
    let mut names = Names::new();
    for host in before.iter().chain(after) {
        let on_links = host.interfaces.iter().flat_map(|interface| &interface.addresses);
        for own in host.addresses.iter().chain(on_links) {
            names.insert(shown(own.nfproto, own.value), host.name.clone());
            if own.nfproto == 2 && own.prefix < 31 {
                names.insert_broadcast(own.subnet().1);
            }
        }
    }
    names
}

fn shown(nfproto: u128, value: u128) -> String {
    match u32::try_from(value) {
        Ok(short) if nfproto == 2 => Ipv4Addr::from(short).to_string(),
        _ => Ipv6Addr::from(value).to_string(),
    }
}

/// The connections that are cut, those of one flow and rule together. `session` is the far end of the operator's own.
pub fn cuts(
    telling: &Telling<'_>,
    atoms: &AtomTable,
    names: &Names,
    session: Option<(IpAddr, u16)>,
) -> Vec<Cut> {
    let cut = cut_connections(telling.before, telling.after, &telling.before.connections, atoms);
    let mut groups: BTreeMap<(bool, String, String), Cut> = BTreeMap::new();
    // The host's sockets and its connection tracking tell of the same connection, each in its own way.
    let mut counted = BTreeSet::new();
    for CutConnection { connection, now, decider } in cut {
        let flow = flow(&connection, names);
        let rule = telling.rule(decider, telling.after);
        let key = (!now, flow.clone(), format!("{:?}", decider));
        let group = groups.entry(key).or_insert(Cut {
            flow,
            count: 0,
            #[cfg(feature = "apply")]
            connections: Vec::new(),
            now,
            rule,
            own_session: false,
        });
        #[cfg(feature = "apply")]
        group.connections.push(connection);
        let ends = (connection.nfproto, connection.protocol, connection.source, connection.destination);
        if counted.insert((!now, ends)) {
            group.count += 1;
        }
        group.own_session |= session.is_some_and(|session| is_of(&connection, session));
    }
    let mut cuts: Vec<Cut> = groups.into_values().collect();
    cuts.sort_by_key(|cut| (!cut.own_session, !cut.now, usize::MAX - cut.count));
    cuts
}

/// The sockets that wait for the packets of a change: `tcp/5432 (postgres)`. Empty where nobody looked.
pub fn listeners(host: &Host, change: &ToldChange) -> Vec<String> {
    if change.direction != Direction::Input {
        return Vec::new();
    }
    let mut found: Vec<String> = Vec::new();
    for listener in host.listening.iter().flatten() {
        let takes = |packets: &PacketBox| {
            let has = |field: Field, value: u128| packets.get(field).is_none_or(|dim| dim.contains(value));
            let bound = match listener.at {
                ListenAddress::Any => true,
                ListenAddress::Family(family) => has(Field::NFPROTO, family),
                ListenAddress::One(family, address) => {
                    has(Field::NFPROTO, family) && has(Field::DADDR, address)
                }
            };
            bound
                && has(Field::L4PROTO, u128::from(listener.protocol))
                && has(Field::DPORT, u128::from(listener.port))
        };
        if !change.packets.iter().any(takes) {
            continue;
        }
        let protocol = if listener.protocol == 6 { "tcp" } else { "udp" };
        let programs = match listener.programs.as_slice() {
            [] => String::new(),
            programs => format!(" ({})", programs.join(", ")),
        };
        let text = format!("{protocol}/{}{programs}", listener.port);
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn flow(connection: &Connection, names: &Names) -> String {
    let name = |(address, _): (u128, u16)| {
        let text = shown(connection.nfproto, address);
        names.get(&text).cloned().unwrap_or(text)
    };
    let protocol = match connection.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    };
    let (source, destination) = (name(connection.source), name(connection.destination));
    format!("{source} -> {destination} {protocol}/{}", connection.destination.1)
}

fn is_of(connection: &Connection, (address, port): (IpAddr, u16)) -> bool {
    let (nfproto, value) = match address {
        IpAddr::V4(short) => (2, u128::from(u32::from(short))),
        IpAddr::V6(long) => (10, u128::from(long)),
    };
    connection.nfproto == nfproto && connection.protocol == 6 && connection.source == (value, port)
}

/// Where the operator sits: address and port of the ssh client whose session this is.
pub fn session() -> Option<(IpAddr, u16)> {
    let text = firewarden_host::actor::Actor::current().connection?;
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
