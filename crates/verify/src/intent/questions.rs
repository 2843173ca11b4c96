//! From resolved intents to boxes of packets.

use super::protocols::{ICMP, ICMPV6, TCP, UDP, has_ports, opening_types};
use super::resolve::{Addresses, Resolved, own_addresses};
use super::senders::Senders;
use super::special::receivable;
use super::{Expectation, Service};
use crate::address::Family;
use crate::located::Located;
use crate::stack::StackFile;
use firewarden_packet::{Cube, Dim, Field, IntervalSet, PacketBox, ct_state, tcp_flag};
use std::collections::BTreeMap;

/// What is to be proved of every packet of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It arrives, and its answer comes back.
    Arrives,
    /// It doesn't arrive.
    NeverArrives,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A declared host by its number: its own output rules are passed first.
    Host(usize),
    /// Somebody else.
    Outside,
}

/// Where packets of a question must, or must not, end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A declared host by its number.
    Host(usize),
    /// Whoever has the destination address, none of the declared hosts.
    Elsewhere,
}

/// Something to be proved: a set of packets, and what must become of them.
#[derive(Clone, Debug)]
pub struct Question {
    /// What must become of them.
    pub claim: Claim,
    /// Their family.
    pub family: Family,
    /// Who sends them.
    pub origin: Origin,
    /// Where they count as arrived.
    pub target: Target,
    /// Source addresses.
    pub sources: IntervalSet,
    /// Destination addresses as the sender writes them; an address of another host where that one may translate.
    pub destinations: IntervalSet,
    /// The destination isn't the target's own address: it arrives only if it is translated, so that the services are
    /// those of the packet that arrives, and not of the packet that is sent.
    pub translated: bool,
    /// Protocols, ports, flags and states; disjoint. To be combined with the addresses.
    pub services: Vec<PacketBox>,
    /// Which packets count where they arrive, for `translated`; the same services without states and source ports.
    pub arriving: Vec<PacketBox>,
    /// Sets of the rulesets whose members are carved out of the sources.
    pub sets: Vec<Located<Box<str>>>,
}

/// The questions that an intent asks. `translators` are the numbers of hosts whose rules rewrite destinations; a denied
/// flow is also asked of packets to their addresses. `senders` are hosts that are asked for their own packets too, where
/// a source written as a prefix, `any` or `internet` holds their addresses.
///
/// None where no family has both sources and destinations.
pub fn questions(
    resolved: &Resolved,
    stack: &StackFile,
    translators: &[usize],
    senders: &Senders,
) -> Vec<Question> {
    let builder = Builder { resolved, stack, translators, senders };
    let mut found = Vec::new();
    for family in Family::BOTH {
        if matches!(resolved.expectation, Expectation::Allow | Expectation::Only) {
            builder.allowed(family, &mut found);
        }
        let denied = match resolved.expectation {
            Expectation::Allow => continue,
            Expectation::Deny => resolved.source.all(),
            Expectation::Only => Addresses::of(receivable).subtract(&resolved.source.all()),
        };
        builder.denied(family, &denied, &mut found);
    }
    found.retain(|question| {
        !question.sources.is_empty() && !question.destinations.is_empty() && !question.services.is_empty()
    });
    found
}

struct Builder<'b> {
    resolved: &'b Resolved,
    stack: &'b StackFile,
    translators: &'b [usize],
    senders: &'b Senders,
}

impl Builder<'_> {
    fn question(&self, claim: Claim, family: Family, origin: Origin, target: Target) -> Question {
        let loose = match target {
            Target::Host(index) => self.stack.hosts.get(index).is_none_or(|host| host.tcp_loose),
            Target::Elsewhere => true,
        };
        Question {
            claim,
            family,
            origin,
            target,
            sources: IntervalSet::empty(),
            destinations: IntervalSet::empty(),
            translated: false,
            services: service_boxes(&self.resolved.services, family, claim, loose),
            arriving: Vec::new(),
            sets: self.resolved.source.sets.clone(),
        }
    }

    /// The destinations with their addresses.
    fn targets(&self, family: Family) -> Vec<(Target, IntervalSet)> {
        let destination = &self.resolved.destination;
        let hosts = destination
            .hosts
            .iter()
            .map(|(index, addresses)| (Target::Host(*index), addresses.get(family).clone()));
        let other = destination.other.get(family).clone();
        hosts.chain([(Target::Elsewhere, other)]).filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    fn allowed(&self, family: Family, found: &mut Vec<Question>) {
        for (target, destinations) in self.targets(family) {
            for (index, addresses) in &self.resolved.source.hosts {
                found.push(Question {
                    sources: addresses.get(family).clone(),
                    destinations: destinations.clone(),
                    ..self.question(Claim::Arrives, family, Origin::Host(*index), target)
                });
            }
            let mut outside = self.resolved.source.other.get(family).clone();
            if outside.is_empty() {
                continue;
            }
            let question = self.question(Claim::Arrives, family, Origin::Outside, target);
            let published = self.published(family, target);
            let everywhere = IntervalSet::range(0, family.max());
            let near = if published.is_empty() { everywhere.clone() } else { self.near(family, target) };
            for (index, own) in self.senders_in(family, &outside, target) {
                outside = outside.subtract(&own);
                let named = self.resolved.source.host(index).map(|named| named.get(family));
                let sources = named.map_or_else(|| own.clone(), |named| own.subtract(named));
                // The host that carries the published address translates what others send to it.
                let near = if self.carries(family, index, &published) { &everywhere } else { &near };
                let origin = Origin::Host(index);
                found.push(Question {
                    origin,
                    sources: sources.intersect(near),
                    destinations: destinations.clone(),
                    ..question.clone()
                });
                found.push(Question {
                    origin,
                    sources: sources.subtract(near),
                    destinations: published.clone(),
                    ..question.clone()
                });
            }
            let near = outside.intersect(&near);
            let far = outside.subtract(&near);
            if !far.is_empty() && !published.is_empty() {
                found.push(Question { sources: near, destinations, ..question.clone() });
                found.push(Question { sources: far, destinations: published, ..question });
            } else {
                found.push(Question { sources: near, destinations, ..question });
            }
        }
    }

    fn denied(&self, family: Family, sources: &Addresses, found: &mut Vec<Question>) {
        for (target, destinations) in self.targets(family) {
            let mut groups = Vec::new();
            if self.resolved.expectation == Expectation::Deny {
                for (index, addresses) in &self.resolved.source.hosts {
                    groups.push((Origin::Host(*index), addresses.get(family).clone()));
                }
            }
            let outside = match self.resolved.expectation {
                Expectation::Deny => self.resolved.source.other.get(family),
                _ => sources.get(family),
            };
            groups.push((Origin::Outside, outside.clone()));
            // Their addresses stay among those from elsewhere too: others may write them into packets.
            for (index, own) in self.senders_in(family, outside, target) {
                groups.push((Origin::Host(index), own));
            }
            let elsewhere = self.translated_destinations(family, target).subtract(&destinations);
            for (origin, sources) in groups.into_iter().filter(|(_, sources)| !sources.is_empty()) {
                let question = self.question(Claim::NeverArrives, family, origin, target);
                if !elsewhere.is_empty() {
                    let loose = match target {
                        Target::Host(index) => self.stack.hosts.get(index).is_none_or(|host| host.tcp_loose),
                        Target::Elsewhere => true,
                    };
                    found.push(Question {
                        sources: sources.clone(),
                        destinations: elsewhere.clone(),
                        translated: true,
                        services: translatable_boxes(&self.resolved.services, family, loose),
                        arriving: arriving_boxes(&self.resolved.services, family),
                        ..question.clone()
                    });
                }
                found.push(Question { sources, destinations: destinations.clone(), ..question });
            }
        }
    }

    /// The senders with an address in the sources, and which those are. Not the target: what a host sends to itself is
    /// asked where it is named. Nor hosts of `via`, whose own packets don't come that way.
    fn senders_in(
        &self,
        family: Family,
        sources: &IntervalSet,
        target: Target,
    ) -> impl Iterator<Item = (usize, IntervalSet)> + use<> {
        let mut found = self.senders.within(family, sources);
        found.retain(|index, _| Target::Host(*index) != target && !self.resolved.via.contains(index));
        found.into_iter().map(|(index, values)| (index, values.into_iter().collect()))
    }

    /// True where a host has one of these addresses itself.
    fn carries(&self, family: Family, index: usize, addresses: &IntervalSet) -> bool {
        let own = self.stack.hosts.get(index).map(own_addresses);
        own.is_some_and(|own| !own.get(family).intersect(addresses).is_empty())
    }

    /// Addresses under which a declared host is reached by translation, as the stack file says.
    fn published(&self, family: Family, target: Target) -> IntervalSet {
        let Target::Host(index) = target else { return IntervalSet::empty() };
        let Some(host) = self.stack.hosts.get(index) else { return IntervalSet::empty() };
        Addresses::from_ips(host.published.iter().map(|address| &address.value)).get(family).clone()
    }

    /// The subnets that a declared host has an address in: from there it is reached under its own address.
    fn near(&self, family: Family, target: Target) -> IntervalSet {
        let Target::Host(index) = target else { return IntervalSet::empty() };
        let Some(host) = self.stack.hosts.get(index) else { return IntervalSet::empty() };
        let own = own_addresses(host);
        let interfaces = self.stack.hosts.iter().flat_map(|host| &host.interfaces);
        interfaces
            .flat_map(|interface| &interface.addresses)
            .filter_map(|at| {
                let (of, value) = crate::address::number(at.value.address);
                let range = crate::address::AddressRange::prefix(of, value, at.value.prefix_length);
                (of == family && own.get(family).overlaps(range.low, range.high))
                    .then_some((range.low, range.high))
            })
            .collect()
    }

    /// Addresses, not the target's own, that some rule may translate to it.
    fn translated_destinations(&self, family: Family, target: Target) -> IntervalSet {
        let Target::Host(index) = target else { return IntervalSet::empty() };
        let translators = self.translators.iter().filter(|&&other| other != index);
        let hosts = translators.filter_map(|&other| self.stack.hosts.get(other));
        hosts.fold(self.published(family, target), |all, host| all.union(own_addresses(host).get(family)))
    }
}

/// Kernel's choice of ephemeral ports begins above the well-known ones; RFC 6056.
const CLIENT_PORTS: Dim = Dim::Range(1024, 65535);

fn range(low: u8, high: u8) -> Dim {
    Dim::Range(u128::from(low), u128::from(high))
}

/// The bits of a SYN that starts a connection: URG, PSH, ECE and CWR are free for a denied flow, and URG and PSH not
/// set for an allowed one (a SYN with explicit congestion notification sets ECE and CWR, RFC 3168).
fn syn(claim: Claim) -> Dim {
    let mut fixed = tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST | tcp_flag::FIN;
    if claim == Claim::Arrives {
        fixed |= tcp_flag::PSH | tcp_flag::URG;
    }
    Dim::Bits(Cube::new(fixed, tcp_flag::SYN))
}

/// The bits of a packet in the middle of a connection, which starts one where `tcp_loose` is set.
fn stray_ack() -> Dim {
    Dim::Bits(Cube::new(tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST | tcp_flag::FIN, tcp_flag::ACK))
}

/// The packets of services, with everything but addresses: what the claim speaks of.
///
/// An allowed flow is the first packet of a connection: state new, from a port above 1023, a SYN of TCP, a request of
/// ICMP. A denied one is whatever is new or invalid, with any source port: of TCP also stray acknowledgements where
/// the host is loose about them. Packets of neighbour discovery and multicast listener discovery, which conntrack
/// leaves untracked and no router passes on, belong to no flow. Neither do later fragments, which are put together
/// before any rule of a host with connection tracking sees them.
pub(crate) fn service_boxes(
    services: &[Service],
    family: Family,
    claim: Claim,
    loose: bool,
) -> Vec<PacketBox> {
    let mut boxes = Vec::new();
    for selection in selections(services, family) {
        match claim {
            Claim::Arrives => allowed_boxes(&selection, family, &mut boxes),
            Claim::NeverArrives => denied_boxes(&selection, family, loose, &mut boxes),
        }
    }
    boxes
}

/// The packets that may be translated into one of the services: the same protocols with any destination port.
fn translatable_boxes(services: &[Service], family: Family, loose: bool) -> Vec<PacketBox> {
    let protocols = services.iter().map(|service| match service {
        Service::Ports { protocol, .. } => Service::Protocol(*protocol),
        other => other.clone(),
    });
    service_boxes(&protocols.collect::<Vec<_>>(), family, Claim::NeverArrives, loose)
}

/// What packets of the services look like where they arrive.
pub(crate) fn arriving_boxes(services: &[Service], family: Family) -> Vec<PacketBox> {
    selections(services, family).into_iter().map(|selection| selection.header).collect()
}

/// Packets of one protocol or of several that need no telling apart.
struct Selection {
    /// First and last protocol.
    protocols: (u8, u8),
    /// The protocols, and ports or types where they are restricted.
    header: PacketBox,
}

/// Services as disjoint selections, each of one kind of protocol.
fn selections(services: &[Service], family: Family) -> Vec<Selection> {
    // For each protocol: None is all of it, else the destination ports or ICMP types.
    let mut chosen: BTreeMap<u8, Option<IntervalSet>> = BTreeMap::new();
    let mut add = |protocol: u8, values: Option<(u128, u128)>| {
        let entry = chosen.entry(protocol).or_insert_with(|| Some(IntervalSet::empty()));
        *entry = match (entry.take(), values) {
            (Some(known), Some((low, high))) => Some(known.union(&IntervalSet::range(low, high))),
            _ => None,
        };
    };
    let foreign = if family == Family::V4 { ICMPV6 } else { ICMP };
    for service in services {
        match service {
            Service::Any => (0..=255).for_each(|protocol| add(protocol, None)),
            Service::Protocol(protocol) if *protocol != foreign => add(*protocol, None),
            Service::Ports { protocol, low, high } => {
                add(*protocol, Some((u128::from(*low), u128::from(*high))));
            }
            Service::Icmp { protocol, icmp_type } if *protocol != foreign => {
                add(*protocol, Some((u128::from(*icmp_type), u128::from(*icmp_type))));
            }
            // The other family's ICMP has no packets here; names are replaced before.
            Service::Protocol(_) | Service::Icmp { .. } | Service::Named(_) => {}
        }
    }
    let mut selections: Vec<Selection> = Vec::new();
    for (protocol, values) in chosen {
        let alone = matches!(protocol, TCP | ICMP | ICMPV6) || has_ports(protocol);
        let Some(values) = values else {
            // Unrestricted protocols without ports, one after the other, make one box.
            match selections.last_mut() {
                Some(last)
                    if !alone && last.protocols.1.checked_add(1) == Some(protocol) && last.is_mergeable() =>
                {
                    last.protocols.1 = protocol;
                    last.header.set(Field::L4PROTO, range(last.protocols.0, protocol));
                }
                _ => selections.push(Selection {
                    protocols: (protocol, protocol),
                    header: PacketBox::all().with(Field::L4PROTO, range(protocol, protocol)),
                }),
            }
            continue;
        };
        let field = if has_ports(protocol) { Field::DPORT } else { Field::ICMP_TYPE };
        for &(low, high) in values.ranges() {
            let header = PacketBox::all()
                .with(Field::L4PROTO, range(protocol, protocol))
                .with(field, Dim::Range(low, high));
            selections.push(Selection { protocols: (protocol, protocol), header });
        }
    }
    selections
}

impl Selection {
    fn is_mergeable(&self) -> bool {
        let (low, _) = self.protocols;
        self.header.dims().len() == 1 && !matches!(low, TCP | ICMP | ICMPV6) && !has_ports(low)
    }
}

/// Restricts the ICMP types of a selection to those of `types` it has.
fn with_types(header: &PacketBox, types: &IntervalSet) -> Vec<PacketBox> {
    let mut boxes = Vec::new();
    for &(low, high) in types.ranges() {
        let mut part = header.clone();
        if part.restrict(Field::ICMP_TYPE, Dim::Range(low, high)) {
            boxes.push(part);
        }
    }
    boxes
}

fn allowed_boxes(selection: &Selection, family: Family, boxes: &mut Vec<PacketBox>) {
    let (protocol, _) = selection.protocols;
    let header = selection
        .header
        .clone()
        .with_value(Field::CT_STATE, ct_state::NEW)
        .with_value(Field::FRAGMENT_OFFSET, 0);
    match protocol {
        TCP => {
            boxes.push(header.with(Field::SPORT, CLIENT_PORTS).with(Field::TCP_FLAGS, syn(Claim::Arrives)))
        }
        ICMP | ICMPV6 => {
            // What was asked for by its type is taken as it is; of the rest only what begins a conversation.
            if header.get(Field::ICMP_TYPE).is_some() {
                boxes.push(header);
            } else if (protocol == ICMP) == (family == Family::V4) {
                let types = opening_types(protocol).iter().map(|&of| (u128::from(of), u128::from(of)));
                boxes.extend(with_types(&header, &types.collect()));
            }
        }
        _ if has_ports(protocol) => boxes.push(header.with(Field::SPORT, CLIENT_PORTS)),
        // IPv6 extension headers are no protocols (RFC 8200).
        0 | 43 | 44 | 60 if family == Family::V6 && selection.protocols.0 == selection.protocols.1 => {}
        _ => boxes.push(header),
    }
}

fn denied_boxes(selection: &Selection, family: Family, loose: bool, boxes: &mut Vec<PacketBox>) {
    let (protocol, _) = selection.protocols;
    let whole = selection.header.clone().with_value(Field::FRAGMENT_OFFSET, 0);
    let new = whole.clone().with_value(Field::CT_STATE, ct_state::NEW);
    let invalid = whole.with_value(Field::CT_STATE, ct_state::INVALID);
    match protocol {
        TCP => {
            boxes.push(new.clone().with(Field::TCP_FLAGS, syn(Claim::NeverArrives)));
            if loose {
                boxes.push(new.with(Field::TCP_FLAGS, stray_ack()));
            }
            boxes.push(invalid);
        }
        ICMP | ICMPV6 if (protocol == ICMP) == (family == Family::V4) => {
            let opening: IntervalSet =
                opening_types(protocol).iter().map(|&of| (u128::from(of), u128::from(of))).collect();
            boxes.extend(with_types(&new, &opening));
            let untracked: IntervalSet = if protocol == ICMPV6 {
                [(130, 137), (143, 143)].into_iter().collect()
            } else {
                IntervalSet::empty()
            };
            boxes.extend(with_types(&invalid, &untracked.complement(255)));
        }
        UDP => {
            boxes.push(new);
            boxes.push(invalid);
        }
        _ => {
            boxes.push(new);
            boxes.push(invalid);
        }
    }
}
