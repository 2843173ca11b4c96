//! Which hosts the packets of a question pass, from the declared links.

use super::model::Model;
use crate::address::Family;
use crate::intent::{Origin, Question, Target};
use firewarden_network::{HostId, Interface, Path, Via};
use firewarden_packet::{InterfaceName, IntervalSet};
use std::collections::{BTreeSet, VecDeque};

/// Packets that take the same way: sources and destinations, as a product.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub path: Path,
    pub sources: (u128, u128),
    pub destinations: (u128, u128),
}

/// A network that hosts are on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Link {
    /// A subnet.
    Subnet(u128, u128),
    /// Everything that is on no declared subnet.
    Outside,
}

fn source_host(origin: Origin) -> Option<HostId> {
    match origin {
        Origin::Host(index) => Some(HostId(index)),
        Origin::Outside => None,
    }
}

/// The way that `via` names.
fn explicit(model: &Model<'_>, question: &Question, via: &[usize], from: u128, to: u128) -> Path {
    let nfproto = question.family.nfproto();
    let via = via.iter().map(|&index| Path::through(model.hosts, HostId(index), nfproto, from, to)).collect();
    Path { source: source_host(question.origin), via, input: None, declared: true }
}

/// The way of one packet, from its addresses.
pub(crate) fn path_of(model: &Model<'_>, family: Family, from: u128, to: u128) -> Path {
    let owner = model.hosts.iter().position(|host| host.own(family.nfproto()).contains(from));
    let origin = owner.map_or(Origin::Outside, Origin::Host);
    Router::new(model, family).path(origin, from, to, Target::Elsewhere)
}

/// The links of both families.
pub(crate) struct Routers<'r> {
    v4: Router<'r>,
    v6: Router<'r>,
}

impl<'r> Routers<'r> {
    pub fn new(model: &'r Model<'r>) -> Routers<'r> {
        Routers { v4: Router::new(model, Family::V4), v6: Router::new(model, Family::V6) }
    }

    pub fn of(&self, family: Family) -> &Router<'r> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

pub(crate) struct Router<'r> {
    model: &'r Model<'r>,
    nfproto: u128,
    /// Where a piece of an address set must begin, so that all of it lies on the same links.
    cuts: BTreeSet<u128>,
    /// Link, host, interface.
    legs: Vec<(Link, usize, &'r Interface)>,
}

impl<'r> Router<'r> {
    fn new(model: &'r Model<'r>, family: Family) -> Router<'r> {
        let nfproto = family.nfproto();
        let mut legs = Vec::new();
        let mut cuts = BTreeSet::new();
        let known = if model.single { &[][..] } else { model.hosts };
        for (index, host) in known.iter().enumerate() {
            for interface in &host.interfaces {
                for own in interface.addresses.iter().filter(|own| own.nfproto == nfproto) {
                    let (low, high) = own.subnet();
                    cuts.insert(low);
                    cuts.extend(high.checked_add(1));
                    legs.push((Link::Subnet(low, high), index, interface));
                }
                if interface.uplink {
                    legs.push((Link::Outside, index, interface));
                }
            }
            if host.passes_on(nfproto) {
                for &(low, high) in host.own(nfproto).ranges() {
                    cuts.insert(low);
                    cuts.extend(high.checked_add(1));
                }
            }
        }
        Router { model, nfproto, cuts, legs }
    }

    /// Takes a question apart by the way its packets take. Packets from an address to itself are left out where the sender
    /// is somebody else: a kernel refuses its own addresses as sources from elsewhere. So are packets that pass no host.
    pub(crate) fn lanes(
        &self,
        question: &Question,
        via: &[usize],
        input: Option<InterfaceName>,
    ) -> Vec<Lane> {
        let sources = self.cut(&question.sources);
        let destinations = self.cut(&question.destinations);
        let mut lanes: Vec<Lane> = Vec::new();
        for &destination in &destinations {
            for &source in &sources {
                let mut parts = IntervalSet::range(source.0, source.1);
                if question.origin == Origin::Outside && destination.0 == destination.1 {
                    parts = parts.subtract(&IntervalSet::single(destination.0));
                }
                for &part in parts.ranges() {
                    let mut path = if via.is_empty() {
                        self.path(question.origin, part.0, destination.0, question.target)
                    } else {
                        explicit(self.model, question, via, part.0, destination.0)
                    };
                    if let Some(name) = input {
                        match path.via.first_mut() {
                            Some(first) => first.input = Some(name),
                            None => path.input = Some(name),
                        }
                    }
                    let asks_nobody =
                        question.target == Target::Elsewhere && path.source.is_none() && path.via.is_empty();
                    if asks_nobody {
                        continue;
                    }
                    match lanes.last_mut() {
                        Some(last)
                            if last.path == path
                                && last.destinations == destination
                                && last.sources.1.checked_add(1) == Some(part.0) =>
                        {
                            last.sources.1 = part.1;
                        }
                        _ => lanes.push(Lane { path, sources: part, destinations: destination }),
                    }
                }
            }
        }
        lanes
    }

    /// The intervals of a set, cut where the way may change.
    fn cut(&self, set: &IntervalSet) -> Vec<(u128, u128)> {
        let mut pieces = Vec::new();
        for &(low, high) in set.ranges() {
            let mut from = low;
            if let Some(after) = low.checked_add(1).filter(|&after| after <= high) {
                for &cut in self.cuts.range(after..=high) {
                    pieces.push((from, cut - 1));
                    from = cut;
                }
            }
            pieces.push((from, high));
        }
        pieces
    }

    /// The links of an address; outside where it is on none.
    fn links_of(&self, address: u128) -> BTreeSet<Link> {
        let mut links = BTreeSet::new();
        for (link, ..) in &self.legs {
            if let Link::Subnet(low, high) = *link
                && low <= address
                && address <= high
            {
                links.insert(*link);
            }
        }
        if links.is_empty() {
            links.insert(Link::Outside);
        }
        links
    }

    /// The shortest way over declared links, of equally short ones the one by the hosts declared first. Where the links
    /// don't connect the two, straight: nothing is known of what lies between.
    fn path(&self, origin: Origin, from: u128, to: u128, target: Target) -> Path {
        let source = source_host(origin);
        let mut path = Path { source, via: Vec::new(), input: None, declared: false };
        if self.model.single {
            // A bare ruleset: what isn't for the host itself passes through it.
            let to_host = matches!(target, Target::Host(_));
            if source.is_none() && !to_host && !self.model.hosts.is_empty() {
                path.via.push(Via { host: HostId(0), input: None, output: None });
            }
            return path;
        }
        let goal = self.links_of(to);
        let mut start = self.links_of(from);
        if let Some(HostId(index)) = source {
            start.extend(self.legs.iter().filter(|(_, host, _)| *host == index).map(|(link, ..)| *link));
        }
        let mut seen: BTreeSet<Link> = start.clone();
        let mut queue: VecDeque<(Link, Vec<Via>)> =
            start.into_iter().map(|link| (link, Vec::new())).collect();
        while let Some((link, via)) = queue.pop_front() {
            if goal.contains(&link) {
                path.via = via;
                return path;
            }
            for (_, index, interface) in self.legs.iter().filter(|(on, ..)| *on == link) {
                let id = HostId(*index);
                let Some(host) = self.model.host(*index) else { continue };
                if !host.passes_on(self.nfproto)
                    || Some(id) == source
                    || via.iter().any(|passed| passed.host == id)
                {
                    continue;
                }
                let mut via = via.clone();
                via.push(Via { host: id, input: Some(interface.name), output: None });
                if host.own(self.nfproto).contains(to) {
                    path.via = via;
                    return path;
                }
                for (next, _, output) in self.legs.iter().filter(|(_, host, _)| host == index) {
                    if seen.insert(*next) {
                        let mut via = via.clone();
                        if let Some(last) = via.last_mut() {
                            last.output = Some(output.name);
                        }
                        queue.push_back((*next, via));
                    }
                }
            }
        }
        path
    }
}
