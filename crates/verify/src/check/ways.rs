//! Routes once more, for replays: read straight from a host's listing, packet by packet, without the tables that
//! `firewarden-network` prepares.

use firewarden_network::{
    Address, Host, HostId, NextHop, ReversePath, Route, RouteAction, RoutingRule, RuleAction, Via,
};
use firewarden_packet::{AtomTable, Field, InterfaceName, Point};

/// Where a host sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Nothing is known of its routes.
    Unknown,
    /// To the router with this family and address, or to the destination itself.
    Out { output: Option<InterfaceName>, router: Option<(u128, u128)> },
    /// It is for the host.
    Here,
    /// There is no route, or one that refuses.
    Nowhere,
}

/// A packet that a host looks for a way for.
pub(super) struct Asked<'a> {
    pub packet: &'a Point,
    pub from: u128,
    pub to: u128,
    /// `None` for packets that the host made.
    pub input: Option<u128>,
    pub mark: u128,
    pub answer: bool,
}

/// What a host's routes say.
pub(super) fn direction(host: &Host, asked: &Asked<'_>, atoms: &AtomTable) -> Direction {
    let Some(found) = found(host, asked, atoms) else {
        return if host.routing.is_none() { Direction::Unknown } else { Direction::Nowhere };
    };
    let ways = match &found.action {
        RouteAction::Forward(ways) => ways,
        RouteAction::Local | RouteAction::Group => return Direction::Here,
        RouteAction::Refuse | RouteAction::Throw => return Direction::Nowhere,
    };
    let text = if asked.answer { "next hop of answers" } else { "next hop" };
    let chosen = value(host, "next hop", text, asked.packet, atoms);
    let at = usize::try_from(chosen).unwrap_or(usize::MAX).min(ways.len().saturating_sub(1));
    let Some(NextHop { gateway, interface }) = ways.get(at).copied() else { return Direction::Nowhere };
    let by_link = || {
        let (nfproto, address) = gateway?;
        host.interface_towards(nfproto, address).map(|found| found.name)
    };
    Direction::Out { output: interface.or_else(by_link), router: gateway }
}

fn found<'h>(host: &'h Host, asked: &Asked<'_>, atoms: &AtomTable) -> Option<&'h Route> {
    let routing = host.routing.as_ref()?;
    let nfproto = asked.packet.get(Field::NFPROTO);
    let mut at_least = 0;
    for rule in routing.rules.iter().filter(|rule| rule.nfproto == nfproto) {
        if rule.priority < at_least || matches(host, rule, asked, atoms) == rule.inverted {
            continue;
        }
        let table = match rule.action {
            RuleAction::Nothing => continue,
            RuleAction::Refuse => return None,
            RuleAction::Goto(priority) => {
                at_least = priority;
                continue;
            }
            RuleAction::Table(table) => table,
        };
        let holds = |route: &&Route| {
            route.table == table
                && route.destination.reaches(nfproto, asked.to)
                && route
                    .opaque
                    .as_deref()
                    .is_none_or(|text| value(host, "route", text, asked.packet, atoms) == 1)
        };
        // Of equal ones the first listed is used.
        let better = |best: &'h Route, other: &'h Route| {
            let longer = other.destination.prefix > best.destination.prefix;
            let nearer = other.destination.prefix == best.destination.prefix && other.metric < best.metric;
            if longer || nearer { other } else { best }
        };
        let Some(best) = routing.routes.iter().filter(holds).reduce(better) else { continue };
        let suppressed = rule.suppressed.is_some_and(|most| best.destination.prefix <= most);
        if suppressed || best.action == RouteAction::Throw {
            continue;
        }
        return Some(best);
    }
    None
}

fn matches(host: &Host, rule: &RoutingRule, asked: &Asked<'_>, atoms: &AtomTable) -> bool {
    let inside = |range: Option<(u128, u128)>, address: u128| {
        range.is_none_or(|(low, high)| (low..=high).contains(&address))
    };
    let marked =
        rule.mark.is_none_or(|(mark, mask)| asked.mark & u128::from(mask) == u128::from(mark & mask));
    let input = asked.input.unwrap_or_else(|| super::model::loopback().0);
    inside(rule.from, asked.from)
        && inside(rule.to, asked.to)
        && marked
        && rule.input.is_none_or(|InterfaceName(name)| name == input)
        && rule
            .opaque
            .as_deref()
            .is_none_or(|text| value(host, "routing rule", text, asked.packet, atoms) == 1)
}

/// What the packet says of something that the host's listing leaves open.
fn value(host: &Host, kind: &str, text: &str, packet: &Point, atoms: &AtomTable) -> u128 {
    let known = atoms
        .iter()
        .find(|(_, info)| *info.scope == *host.name && &*info.kind == kind && &*info.text == text);
    known.map_or(0, |(field, _)| packet.get(field))
}

/// Whether a host drops an IPv4 packet because of its source.
pub(super) fn refuses_source(host: &Host, packet: &Point, atoms: &AtomTable) -> bool {
    let (source, input) = (packet.get(Field::SADDR), packet.get(Field::IIFNAME));
    let looks = host.routing.is_some() && packet.get(Field::NFPROTO) == 2;
    if !looks || input == super::model::loopback().0 {
        return false;
    }
    if host.own(2).contains(source) {
        return !host.accepts_own_sources;
    }
    let Some(mode) = host.reverse_path.get(&InterfaceName(input)) else { return false };
    let asked =
        Asked { packet, from: packet.get(Field::DADDR), to: source, input: None, mark: 0, answer: false };
    let back = found(host, &asked, atoms).map(|route| &route.action);
    let Some(RouteAction::Forward(ways)) = back else { return true };
    *mode == ReversePath::Strict && !ways.iter().any(|way| way.interface == Some(InterfaceName(input)))
}

/// The declared host that a router's address belongs to, and the interface that has it.
pub(super) fn router(
    hosts: &[Host],
    from: HostId,
    output: Option<InterfaceName>,
    (nfproto, address): (u128, u128),
) -> Option<Via> {
    let link: Vec<&Address> = hosts
        .get(from.0)
        .into_iter()
        .flat_map(|host| &host.interfaces)
        .filter(|interface| Some(interface.name) == output)
        .flat_map(|interface| &interface.addresses)
        .collect();
    let is = |own: &Address| own.nfproto == nfproto && own.value == address;
    let mut candidates = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        if index == from.0 {
            continue;
        }
        for interface in &host.interfaces {
            if interface.addresses.iter().any(is) {
                let near = interface
                    .addresses
                    .iter()
                    .any(|own| link.iter().any(|mine| mine.reaches(own.nfproto, own.value)));
                candidates
                    .push((near, Via { host: HostId(index), input: Some(interface.name), output: None }));
            }
        }
        if candidates.is_empty() && host.addresses.iter().any(is) {
            candidates.push((false, Via { host: HostId(index), input: None, output: None }));
        }
    }
    let link_local = nfproto == 10 && address >> 118 == 0xFE80 >> 6;
    let near = candidates.iter().find(|(near, _)| *near);
    near.or_else(|| candidates.first().filter(|_| !link_local)).map(|(_, via)| *via)
}
