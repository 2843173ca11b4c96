//! The wires of a lab, as texts for `ip -batch`. Pure: what the commands do to the kernel is told in `supervisor`.
//!
//! ```text
//!  client  ──┐                              ┌── lb
//!  office  ──┼── internet ── wan [edge] lan ┼── app1, app2
//!  partner ──┘                              └── db
//! ```
//!
//! The supervisor's own network namespace is the internet's router on one side, and the switch `lan` on the other.

use crate::layout::{INSIDE, Layout, Machine, ONLY, Prefix, UPLINK};
use crate::outside;
use std::fmt::Write;

/// What is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The machine, or `None` for the supervisor's own namespace.
    pub machine: Option<String>,
    /// Lines for `ip -batch -`.
    pub commands: String,
}

/// The commands, in the order in which they have to run: first all the wires, then the ends of each.
pub fn batches(layout: &Layout) -> Vec<Batch> {
    let mut batches = vec![Batch { machine: None, commands: middle(layout) }];
    for machine in &layout.machines {
        batches.push(Batch { machine: Some(machine.name.clone()), commands: machine_side(machine, layout) });
    }
    for name in outside::MACHINES {
        let interface = outside::interface(name);
        let addresses = interface.map(|interface| interface.addresses).unwrap_or_default();
        let mut commands = String::new();
        end_of(&mut commands, ONLY, &addresses);
        for router in first_of_each_family(&addresses) {
            line(&mut commands, format_args!("route add default via {}", router.last()));
        }
        batches.push(Batch { machine: Some(name.to_owned()), commands });
    }
    batches.push(Batch { machine: None, commands: to_the_stack(layout) });
    batches
}

/// The router's way to what is behind the edge. IPv4 is translated there, and the internet knows no way behind it; IPv6 is
/// routed.
fn to_the_stack(layout: &Layout) -> String {
    let mut commands = String::new();
    let Some(edge) = layout.machine("edge") else { return commands };
    let Some(via) = edge.prefixes(UPLINK).iter().find(|prefix| prefix.address.is_ipv6()) else {
        return commands;
    };
    for inside in edge.prefixes(INSIDE).iter().filter(|prefix| prefix.address.is_ipv6()) {
        line(&mut commands, format_args!("route add {} via {}", inside.network(), via.address));
    }
    commands
}

/// The router and the switch between the machines.
fn middle(layout: &Layout) -> String {
    let mut commands = String::from(
        "link set lo up\nlink add name lan type bridge\nlink set lan addrgenmode none\nlink set lan up\n",
    );
    let Some(edge) = layout.machine("edge") else { return commands };
    line(&mut commands, format_args!("link add {UPLINK} type veth peer name {UPLINK} netns edge"));
    let beyond: Vec<Prefix> = edge
        .prefixes(UPLINK)
        .iter()
        .map(|prefix| Prefix { address: prefix.last(), length: prefix.length })
        .collect();
    end_of(&mut commands, UPLINK, &beyond);
    line(&mut commands, format_args!("link add edge-lan type veth peer name {INSIDE} netns edge"));
    attach(&mut commands, "edge-lan");
    for machine in layout.machines.iter().filter(|machine| machine.host != "edge") {
        let name = &machine.name;
        let interface = machine.interfaces.first().map_or(ONLY, |interface| interface.name.as_str());
        line(&mut commands, format_args!("link add {name} type veth peer name {interface} netns {name}"));
        attach(&mut commands, name);
    }
    for name in outside::MACHINES {
        line(&mut commands, format_args!("link add {name} type veth peer name {ONLY} netns {name}"));
        let interface = outside::interface(name);
        let addresses = interface.map(|interface| interface.addresses).unwrap_or_default();
        let routers: Vec<Prefix> = first_of_each_family(&addresses)
            .map(|prefix| Prefix { address: prefix.last(), length: prefix.length })
            .collect();
        end_of(&mut commands, name, &routers);
    }
    commands
}

fn attach(commands: &mut String, port: &str) {
    line(commands, format_args!("link set {port} addrgenmode none"));
    line(commands, format_args!("link set {port} master lan up"));
}

/// A machine's interfaces, addresses and default route.
fn machine_side(machine: &Machine, layout: &Layout) -> String {
    let mut commands = String::new();
    for interface in &machine.interfaces {
        end_of(&mut commands, &interface.name, &interface.addresses);
    }
    let routers: Vec<_> = match machine.host.as_str() {
        "edge" => first_of_each_family(machine.prefixes(UPLINK)).map(|prefix| prefix.last()).collect(),
        _ => {
            let edge = layout.machine("edge");
            let inside = edge.map(|edge| edge.prefixes(INSIDE)).unwrap_or_default();
            first_of_each_family(inside).map(|prefix| prefix.address).collect()
        }
    };
    for router in routers {
        line(&mut commands, format_args!("route add default via {router}"));
    }
    commands
}

/// An interface that is up with its addresses. Nobody else can have them, so that nothing has to wait for the answer to
/// whether somebody does (RFC 4862, 5.4).
fn end_of(commands: &mut String, interface: &str, addresses: &[Prefix]) {
    for prefix in addresses {
        let nodad = if prefix.address.is_ipv6() { " nodad" } else { "" };
        line(commands, format_args!("address add {prefix} dev {interface}{nodad}"));
    }
    line(commands, format_args!("link set {interface} up"));
    line(commands, format_args!("link set lo up"));
}

fn first_of_each_family(addresses: &[Prefix]) -> impl Iterator<Item = Prefix> {
    let first = |v6: bool| addresses.iter().find(|prefix| prefix.address.is_ipv6() == v6).copied();
    [first(false), first(true)].into_iter().flatten()
}

fn line(commands: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = commands.write_fmt(text);
    commands.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Declared, Interface};

    #[test]
    fn every_machine_has_a_wire_and_a_way_out() {
        let prefix = |address: &str, length| Prefix { address: address.parse().unwrap(), length };
        let side = |name: &str, addresses: &[Prefix]| Interface {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
        };
        let host = |name: &str, addresses: &[&str]| Declared {
            name: name.to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ..Declared::default()
        };
        let mut edge = host("edge", &[]);
        edge.interfaces = vec![
            side(UPLINK, &[prefix("203.0.113.1", 24), prefix("2001:db8:ff::1", 64)]),
            side(INSIDE, &[prefix("10.0.0.1", 16), prefix("2001:db8:0:1::1", 64)]),
        ];
        let mut db = host("db", &["10.0.3.30", "2001:db8:0:1::30"]);
        db.interfaces = vec![side("ens3", &[])];
        let hosts = [
            edge,
            host("lb", &["10.0.1.10", "2001:db8:0:1::10"]),
            host("app", &["10.0.2.20", "2001:db8:0:1::20"]),
            db,
        ];
        let batches = batches(&Layout::new(&hosts).unwrap());
        let of = |machine: &str| {
            let found = batches.iter().find(|batch| batch.machine.as_deref() == Some(machine));
            found.unwrap().commands.as_str()
        };
        assert_eq!(
            of("db"),
            "address add 10.0.3.30/16 dev ens3\naddress add 2001:db8:0:1::30/64 dev ens3 nodad\nlink set ens3 up\n\
             link set lo up\nroute add default via 10.0.0.1\nroute add default via 2001:db8:0:1::1\n"
        );
        assert!(
            of("edge")
                .ends_with("route add default via 203.0.113.254\nroute add default via 2001:db8:ff::fe\n")
        );
        assert!(of(outside::OFFICE).contains("route add default via 198.51.100.254\n"));
        let (first, last) = (&batches[0], &batches[batches.len() - 1]);
        assert!(
            first.commands.contains("link add db type veth peer name ens3 netns db\n"),
            "{}",
            first.commands
        );
        // The internet doesn't know the way to private addresses.
        assert_eq!(last.commands, "route add 2001:db8:0:1::/64 via 2001:db8:ff::1\n");
        assert!(batches.iter().all(|batch| !batch.commands.contains("add 10.0.0.0/16")));
    }
}
