//! The picture of a stack: hosts, the links between them, and the declared flows.

use super::{services, word, words};
use crate::address::{AddressRange, Family};
use crate::intent::{Expectation, Peers};
use crate::stack::StackFile;
use firewarden_network::Host;
use std::collections::{BTreeMap, BTreeSet};

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// A declared host.
    Host,
    /// A network that hosts are on.
    Link,
    /// Somebody else that intents name: `internet`, a group, addresses.
    Party,
}

/// A node of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
    /// What else there is to say of it: interfaces and addresses.
    pub lines: Vec<String>,
}

/// What an edge stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// A host is on a link; without direction.
    Wire,
    /// Flows that are expected.
    Flow(Expectation),
}

/// An edge of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The number of the node it begins at.
    pub from: usize,
    /// The number of the node it leads to.
    pub to: usize,
    /// What it is.
    pub kind: EdgeKind,
    /// The services.
    pub label: Vec<String>,
}

/// Nodes and edges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Hosts in the order declared, then links, then others in the order in which intents name them.
    pub nodes: Vec<Node>,
    /// Wires, then flows in the order of intents; flows of the same kind between the same two are one.
    pub edges: Vec<Edge>,
}

/// Makes the picture. Hosts must be in the order of the stack file, and completed (see [`crate::complete_hosts`]).
/// O(hosts · links + pairs that intents name · log).
pub fn topology(stack: &StackFile, hosts: &[Host]) -> Topology {
    let mut drawing = Topology::default();
    for (host, declared) in hosts.iter().zip(&stack.hosts) {
        let mut lines: Vec<String> = Vec::new();
        let mut told = BTreeSet::new();
        for interface in &host.interfaces {
            let own: Vec<String> =
                interface.addresses.iter().filter(|own| !link_local(own)).map(address).collect();
            told.extend(own.iter().cloned());
            let uplink = if interface.uplink { " (uplink)" } else { "" };
            lines.extend(own.iter().map(|own| format!("{} {own}{uplink}", interface.name)));
        }
        let rest = declared.addresses.iter().map(|own| own.value.to_string());
        lines.extend(rest.filter(|own| !told.contains(own)));
        drawing.nodes.push(Node { kind: NodeKind::Host, name: declared.name.value.clone(), lines });
    }
    links(hosts, &mut drawing);
    flows(stack, &mut drawing);
    let uplinks: Vec<usize> = (0..hosts.len())
        .filter(|&index| hosts.get(index).is_some_and(|host| host.interfaces.iter().any(|own| own.uplink)))
        .collect();
    if let Some(internet) =
        drawing.nodes.iter().position(|node| node.kind == NodeKind::Party && node.name == "internet")
    {
        let wires = uplinks.into_iter().map(|to| Edge {
            from: internet,
            to,
            kind: EdgeKind::Wire,
            label: Vec::new(),
        });
        drawing.edges.splice(0..0, wires);
    }
    drawing
}

fn family(nfproto: u128) -> Family {
    if nfproto == 2 { Family::V4 } else { Family::V6 }
}

fn address(own: &firewarden_network::Address) -> String {
    crate::address::address(family(own.nfproto), own.value).to_string()
}

fn link_local(own: &firewarden_network::Address) -> bool {
    own.nfproto == 10 && own.value >> 118 == 0xFE80 >> 6
}

/// Subnets that two hosts or more are on. Subnets with the same hosts are one link.
fn links(hosts: &[Host], drawing: &mut Topology) {
    let mut subnets: BTreeSet<AddressRange> = BTreeSet::new();
    for own in hosts.iter().flat_map(|host| &host.interfaces).flat_map(|interface| &interface.addresses) {
        let family = family(own.nfproto);
        if own.prefix < family.width() && !link_local(own) {
            subnets.insert(AddressRange::prefix(family, own.value, own.prefix));
        }
    }
    let mut by_hosts: BTreeMap<Vec<usize>, Vec<String>> = BTreeMap::new();
    for subnet in subnets {
        let on_it = |host: &Host| {
            let own = host.own(subnet.family.nfproto());
            own.ranges().iter().any(|&(low, high)| low <= subnet.high && subnet.low <= high)
        };
        let inside: Vec<usize> =
            (0..hosts.len()).filter(|&index| hosts.get(index).is_some_and(on_it)).collect();
        if inside.len() > 1 {
            by_hosts.entry(inside).or_default().push(subnet.to_string());
        }
    }
    for (inside, mut names) in by_hosts {
        let link = drawing.nodes.len();
        let name = names.remove(0);
        drawing.nodes.push(Node { kind: NodeKind::Link, name, lines: names });
        for host in inside {
            // A router leads to the link, and the link to everybody else on it.
            let forwards = hosts.get(host).is_some_and(|host| host.forwards);
            let (from, to) = if forwards { (host, link) } else { (link, host) };
            drawing.edges.push(Edge { from, to, kind: EdgeKind::Wire, label: Vec::new() });
        }
    }
}

fn flows(stack: &StackFile, drawing: &mut Topology) {
    let mut nodes: BTreeMap<String, usize> =
        stack.hosts.iter().enumerate().map(|(index, host)| (host.name.value.clone(), index)).collect();
    let mut flows: Vec<Edge> = Vec::new();
    let mut known: BTreeMap<(usize, usize, EdgeKind), usize> = BTreeMap::new();
    for declared in &stack.intents {
        let label = services(&declared.intent);
        let kind = EdgeKind::Flow(declared.intent.expectation);
        let mut ends = |peers: &Peers| -> Vec<usize> {
            words(peers).into_iter().map(|name| node(name, stack, &mut nodes, drawing)).collect()
        };
        let (sources, destinations) = (ends(&declared.intent.source), ends(&declared.intent.destination));
        for &from in &sources {
            // A node that only talks to itself is drawn without it.
            for &to in destinations.iter().filter(|&&to| to != from) {
                let at = *known.entry((from, to, kind)).or_insert_with(|| {
                    flows.push(Edge { from, to, kind, label: Vec::new() });
                    flows.len() - 1
                });
                if let Some(edge) = flows.get_mut(at).filter(|edge| !edge.label.contains(&label)) {
                    edge.label.push(label.clone());
                }
            }
        }
    }
    drawing.edges.extend(flows);
}

/// The node of a party, made where it isn't there yet.
fn node(
    name: String,
    stack: &StackFile,
    nodes: &mut BTreeMap<String, usize>,
    drawing: &mut Topology,
) -> usize {
    if let Some(&known) = nodes.get(&name) {
        return known;
    }
    let members: Vec<String> = stack
        .group(&name)
        .map(|group| group.members.iter().map(|member| word(&member.value)).collect())
        .unwrap_or_default();
    let lines = match members.len() {
        0..=3 => members,
        more => members.into_iter().take(2).chain([format!("{} more", more - 2)]).collect(),
    };
    drawing.nodes.push(Node { kind: NodeKind::Party, name: name.clone(), lines });
    nodes.insert(name, drawing.nodes.len() - 1);
    drawing.nodes.len() - 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::stack;
    use super::*;
    use firewarden_network::{Address, Interface};
    use firewarden_packet::InterfaceName;

    #[test]
    fn hosts_links_and_flows() {
        let at = |value, prefix| Address { nfproto: 2, value, prefix };
        let interface = |name: &str, own, uplink| Interface {
            name: InterfaceName::new(name).unwrap(),
            addresses: vec![own],
            uplink,
        };
        let edge = Host {
            interfaces: vec![
                interface("wan", at(0xCB00_7101, 24), true),
                interface("lan", at(0x0A00_0001, 16), false),
            ],
            forwards: true,
            ..Host::default()
        };
        let host = |value| Host { addresses: vec![at(value, 32)], ..Host::default() };
        let drawn = topology(&stack(), &[edge, host(0x0A00_010A), host(0x0A00_031E)]);
        let names: Vec<&str> = drawn.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["edge", "lb", "db", "10.0.0.0/16", "internet", "office"]);
        assert_eq!(drawn.nodes[0].lines, ["wan 203.0.113.1 (uplink)", "lan 10.0.0.1"]);
        let wires: Vec<(usize, usize)> = drawn
            .edges
            .iter()
            .filter(|edge| edge.kind == EdgeKind::Wire)
            .map(|edge| (edge.from, edge.to))
            .collect();
        assert_eq!(wires, [(4, 0), (0, 3), (3, 1), (3, 2)]);
        let flows: Vec<(usize, usize, String)> = drawn
            .edges
            .iter()
            .filter(|edge| edge.kind != EdgeKind::Wire)
            .map(|edge| (edge.from, edge.to, edge.label.join(" ")))
            .collect();
        let expected =
            [(4, 1, "tcp/80,443"), (1, 2, "tcp/5432, icmp"), (5, 2, "tcp/5432, icmp"), (4, 2, "any")];
        assert_eq!(flows, expected.map(|(from, to, label)| (from, to, label.to_owned())));
    }
}
