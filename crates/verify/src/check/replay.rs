//! A packet's way once more, by the interpreter: nothing is told to a person that only the engine believes.
//!
//! Follows the same declarations as `firewarden-network`, packet by packet and without its code, so that a mistake in
//! either shows as a disagreement.

mod back;

use super::model::loopback;
use super::prove::Breach;
use super::ways::{self, Asked, Direction};
use firewarden_network::{Host, HostId, Path, Via, hop_limit};
use firewarden_packet::{AtomTable, Field, InterfaceName, Point, ct_state, ct_status, fib_type, tcp_flag};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::interpreter::{End, Event, Interpreter, Outcome as HookOutcome, Translation, Walk};
use firewarden_ruleset::ir::{Hook, RejectWith};
use std::collections::VecDeque;

/// Where a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Delivered to a host.
    Delivered(HostId),
    /// Passed on to an address that no declared host has.
    Left,
    /// Dropped, or rejected with this.
    Refused(HostId, Hook, Option<RejectWith>),
    /// A host that doesn't forward got it.
    NotForwarded(HostId),
    /// A host has no route to the destination.
    NoRoute(HostId),
    /// A host reaches the source another way, or is the source itself.
    ReversePath(HostId),
    /// It went round.
    Loop(HostId),
    /// An answer that isn't part of the connection where it came to.
    Astray(HostId),
}

/// What a rule did on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Happening {
    pub host: HostId,
    pub hook: Hook,
    pub event: Event,
}

/// The way of one packet.
#[derive(Clone, Debug)]
pub(crate) struct Trip {
    pub ending: Ending,
    pub happenings: Vec<Happening>,
    /// The packet as the last hook saw it before its rules.
    pub before_last: Point,
    /// The packet at the end.
    pub last: Point,
    /// Of a later packet: how it came to each host.
    pub arrivals: Vec<Arrival>,
    hops: Vec<Hop>,
    /// Of an answer: which of the first packet's hops it met.
    met: Vec<usize>,
}

/// A later packet of a connection before a host.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub host: HostId,
    /// With both interfaces, as far as there are any.
    pub packet: Point,
    /// The host translates the connection.
    pub translated: bool,
}

impl Trip {
    /// A trip that was made by other means.
    pub fn made(ending: Ending, happenings: Vec<Happening>, last: Point) -> Trip {
        Trip {
            ending,
            happenings,
            before_last: last.clone(),
            last,
            arrivals: Vec::new(),
            hops: Vec::new(),
            met: Vec::new(),
        }
    }
}

/// What the first packet left behind on a host.
#[derive(Clone, Debug)]
struct Hop {
    host: HostId,
    way: Way,
    entry: (End, End),
    middle: (End, End),
    exit: (End, End),
    state: u128,
    mark: u128,
    status: u128,
    input: u128,
    output: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    Through,
    In,
}

/// A later packet at a host.
#[derive(Clone, Copy)]
struct Place {
    host: HostId,
    way: Way,
    input: u128,
    output: u128,
}

/// Where a packet goes from a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onward {
    /// Where the path says.
    Planned,
    /// Over an interface to a router.
    Router((u128, u128), Option<InterfaceName>),
    /// To whoever has its destination, on a link.
    Link,
}

/// Hosts, and how to ask them.
pub(crate) struct Replay<'r> {
    pub hosts: &'r [Host],
    pub atoms: &'r AtomTable,
}

impl Replay<'_> {
    /// The first packet of a connection, or one that belongs to none.
    pub fn send(&self, packet: &Point, path: &Path) -> Trip {
        let mut traveller = Traveller {
            replay: self,
            walk: Walk::new(packet.clone()),
            state: packet.get(Field::CT_STATE),
            trip: Trip {
                ending: Ending::Left,
                happenings: Vec::new(),
                before_last: packet.clone(),
                last: packet.clone(),
                arrivals: Vec::new(),
                hops: Vec::new(),
                met: Vec::new(),
            },
        };
        traveller.trip.ending = traveller.run(path);
        traveller.trip.last = traveller.walk.now.clone();
        traveller.trip
    }

    /// The answer to a packet that was delivered. `None` for packets that have none.
    pub fn answer(&self, packet: &Point, trip: &Trip) -> Option<Trip> {
        let mut answer = packet.clone();
        match (packet.get(Field::L4PROTO), packet.get(Field::ICMP_TYPE)) {
            (6, _) => answer.set(Field::TCP_FLAGS, tcp_flag::SYN | tcp_flag::ACK),
            (1, 8) => answer.set(Field::ICMP_TYPE, 0),
            (58, 128) => answer.set(Field::ICMP_TYPE, 129),
            (1 | 58, _) => return None,
            _ => {}
        }
        if matches!(packet.get(Field::L4PROTO), 1 | 58) {
            answer.set(Field::ICMP_CODE, 0);
        }
        Some(self.back(answer, &trip.hops))
    }

    /// A later packet in the direction of the first, after the answer.
    pub fn later(&self, packet: &Point, trip: &Trip, back: &Trip) -> Trip {
        let mut now = packet.clone();
        let tcp = packet.get(Field::L4PROTO) == 6;
        if tcp {
            now.set(Field::TCP_FLAGS, tcp_flag::ACK);
        }
        let mut later = Trip::made(trip.ending, Vec::new(), now.clone());
        for (number, hop) in trip.hops.iter().enumerate() {
            let mut walk = later_packet(now, hop, false);
            let tracked = walk.now.get(Field::CT_STATE) == ct_state::ESTABLISHED;
            if tracked && !back.met.contains(&number) {
                // The host has seen one direction only.
                if tcp {
                    walk.translation = Translation::default();
                }
                walk.now.set(Field::CT_STATE, if tcp { ct_state::INVALID } else { ct_state::NEW });
                walk.now.set(Field::CT_STATUS, hop.status);
            }
            let place = Place { host: hop.host, way: hop.way, input: hop.input, output: hop.output };
            if let Some(refused) = self.hooks(place, hooks_of(hop.way), &mut walk, &mut later) {
                later.ending = refused;
                later.last = walk.now;
                return later;
            }
            now = walk.now;
        }
        later.last = now;
        later
    }

    /// What the interpreter thinks of a packet that is to arrive, answers included: how it breaks the claim, and the trip
    /// that shows it (the last one where nothing does).
    pub fn arrives(
        &self,
        packet: &Point,
        path: &Path,
        reached: &dyn Fn(Ending) -> bool,
    ) -> (Option<Breach>, Trip) {
        let trip = self.send(packet, path);
        if !reached(trip.ending) {
            return (Some(Breach::NotDelivered), trip);
        }
        if let Some(back) = self.answer(packet, &trip) {
            if !matches!(back.ending, Ending::Delivered(_) | Ending::Left) {
                return (Some(Breach::AnswerLost), back);
            }
            let later = self.later(packet, &trip, &back);
            if later.ending != trip.ending {
                return (Some(Breach::LaterLost), later);
            }
        }
        (None, trip)
    }

    /// Runs a later packet through hooks of a host.
    fn hooks(&self, place: Place, hooks: &[Hook], walk: &mut Walk, trip: &mut Trip) -> Option<Ending> {
        let host = self.hosts.get(place.host.0)?;
        let local = |is: bool| if is { fib_type::LOCAL } else { fib_type::UNICAST };
        for &hook in hooks {
            let leaves = matches!(hook, Hook::Output | Hook::Forward | Hook::Postrouting | Hook::Egress);
            walk.now.set(Field::IIFNAME, if place.way == Way::Out { 0 } else { place.input });
            walk.now.set(Field::OIFNAME, if leaves { place.output } else { 0 });
            walk.now.set(Field::FIB_DADDR_TYPE, local(place.way == Way::In));
            walk.now.set(Field::FIB_SADDR_TYPE, local(place.way == Way::Out));
            walk.now.set(Field::FIB_REVERSE_PATH, 1);
            trip.before_last = walk.now.clone();
            let refused = self.hook(place.host, host, hook, walk, &mut trip.happenings);
            if refused.is_some() {
                return refused;
            }
        }
        None
    }

    fn hook(
        &self,
        id: HostId,
        host: &Host,
        hook: Hook,
        walk: &mut Walk,
        happenings: &mut Vec<Happening>,
    ) -> Option<Ending> {
        let result = Interpreter::new(&host.ruleset, self.atoms).run_hook(hook, walk, host);
        happenings.extend(result.events.iter().map(|&event| Happening { host: id, hook, event }));
        match result.outcome {
            HookOutcome::Accepted => None,
            HookOutcome::Dropped => Some(Ending::Refused(id, hook, None)),
            HookOutcome::Rejected(with) => Some(Ending::Refused(id, hook, Some(with))),
        }
    }
}

fn hooks_of(way: Way) -> &'static [Hook] {
    match way {
        Way::Out => &[Hook::Output, Hook::Postrouting, Hook::Egress],
        Way::In => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
        Way::Through => &[Hook::Ingress, Hook::Prerouting, Hook::Forward, Hook::Postrouting, Hook::Egress],
    }
}

/// A later packet of a connection before a host that saw the first one.
fn later_packet(mut now: Point, hop: &Hop, reply: bool) -> Walk {
    let (source, destination) = if reply { (hop.exit.1, hop.exit.0) } else { hop.entry };
    now.set(Field::SADDR, source.address);
    now.set(Field::SPORT, source.port);
    now.set(Field::DADDR, destination.address);
    now.set(Field::DPORT, destination.port);
    now.set(Field::CT_DIRECTION, u128::from(reply));
    now.set(Field::MARK, 0);
    let tracked = matches!(hop.state, ct_state::NEW | ct_state::RELATED | ct_state::ESTABLISHED);
    let mut translation = Translation::default();
    if tracked {
        translation = if reply {
            Translation { destination: Some(hop.middle.0), source: Some(hop.entry.1) }
        } else {
            Translation { destination: Some(hop.middle.1), source: Some(hop.exit.0) }
        };
        now.set(Field::CT_STATE, ct_state::ESTABLISHED);
        now.set(Field::CT_MARK, hop.mark);
        let seen = ct_status::SEEN_REPLY | ct_status::ASSURED | ct_status::CONFIRMED;
        now.set(Field::CT_STATUS, hop.status | seen);
        now.set(Field::CT_ORIGINAL_SADDR, hop.entry.0.address);
        now.set(Field::CT_ORIGINAL_SPORT, hop.entry.0.port);
        now.set(Field::CT_ORIGINAL_DADDR, hop.entry.1.address);
        now.set(Field::CT_ORIGINAL_DPORT, hop.entry.1.port);
    } else {
        let datagram = matches!(now.get(Field::L4PROTO), 17 | 136);
        now.set(Field::CT_STATE, if datagram { ct_state::NEW } else { ct_state::INVALID });
    }
    let mut walk = Walk::new(now);
    walk.translation = translation;
    walk
}

struct Traveller<'t, 'r> {
    replay: &'t Replay<'r>,
    walk: Walk,
    /// What conntrack says of the packet on each host that hasn't exempted it.
    state: u128,
    trip: Trip,
}

impl Traveller<'_, '_> {
    fn host(&self, id: HostId) -> Option<&'_ Host> {
        self.replay.hosts.get(id.0)
    }

    fn nfproto(&self) -> u128 {
        self.walk.now.get(Field::NFPROTO)
    }

    fn destination(&self) -> u128 {
        self.walk.now.get(Field::DADDR)
    }

    fn run(&mut self, path: &Path) -> Ending {
        let mut to_itself = false;
        let mut onward = Onward::Planned;
        let mut here = path.source;
        if let Some(source) = path.source {
            let Some(host) = self.replay.hosts.get(source.0) else { return Ending::Left };
            to_itself = host.own(self.nfproto()).contains(self.destination());
            match self.leave(source, to_itself) {
                Ok(found) => onward = found,
                Err(ending) => return ending,
            }
        }
        let mut plan = path.via.iter().copied().collect::<VecDeque<Via>>();
        let mut input = path.input;
        loop {
            if let Some(id) = here
                && self.trip.hops.len() > hop_limit(self.replay.hosts.len())
            {
                return Ending::Loop(id);
            }
            let routed = match onward {
                Onward::Router(router, output) if !path.declared => {
                    let via = here.and_then(|id| ways::router(self.replay.hosts, id, output, router));
                    if let Some(via) = via
                        && let Some(known) = plan.iter().position(|planned| planned.host == via.host)
                    {
                        plan.drain(..=known);
                    }
                    via.or_else(|| plan.pop_front())
                }
                Onward::Link if !path.declared => {
                    plan.clear();
                    None
                }
                _ => plan.pop_front(),
            };
            let via = match routed {
                Some(via) => via,
                None => {
                    let Some(via) = self.owner(input, to_itself) else { return Ending::Left };
                    input = None;
                    to_itself = false;
                    via
                }
            };
            here = Some(via.host);
            match self.pass(via) {
                Ok(found) => onward = found,
                Err(ending) => return ending,
            }
        }
    }

    /// Whoever has the destination, with the interface by which it gets the packet.
    fn owner(&self, input: Option<InterfaceName>, to_itself: bool) -> Option<Via> {
        let (nfproto, destination) = (self.nfproto(), self.destination());
        let owner = self.replay.hosts.iter().position(|host| host.own(nfproto).contains(destination))?;
        let host = self.replay.hosts.get(owner)?;
        let has = |address: &firewarden_network::Address| address.value == destination;
        let on = host.interfaces.iter().find(|interface| interface.addresses.iter().any(has));
        let only = if host.interfaces.len() == 1 { host.interfaces.first() } else { None };
        let input = if to_itself { Some(loopback()) } else { input.or(on.or(only).map(|found| found.name)) };
        Some(Via { host: HostId(owner), input, output: None })
    }

    /// Where the host sends the packet.
    fn onward(&self, id: HostId, local: bool) -> Result<(Option<InterfaceName>, Onward), Direction> {
        let Some(host) = self.host(id) else { return Ok((None, Onward::Planned)) };
        let now = &self.walk.now;
        let asked = Asked {
            packet: now,
            from: now.get(Field::SADDR),
            to: now.get(Field::DADDR),
            input: (!local).then(|| now.get(Field::IIFNAME)),
            mark: now.get(Field::MARK),
            answer: false,
        };
        match ways::direction(host, &asked, self.replay.atoms) {
            Direction::Unknown => {
                let towards = host.interface_towards(self.nfproto(), self.destination());
                Ok((towards.map(|found| found.name), Onward::Planned))
            }
            Direction::Out { output, router } => {
                Ok((output, router.map_or(Onward::Link, |router| Onward::Router(router, output))))
            }
            other => Err(other),
        }
    }

    /// Each host starts anew.
    fn start(&mut self) {
        self.walk = Walk::new(self.walk.now.clone());
        self.walk.now.set(Field::CT_STATE, self.state);
        for field in [Field::MARK, Field::CT_MARK, Field::CT_STATUS, Field::CT_DIRECTION] {
            self.walk.now.set(field, 0);
        }
    }

    fn address_types(&mut self, id: HostId) {
        let Some(host) = self.replay.hosts.get(id.0) else { return };
        for (address, kind) in [(Field::SADDR, Field::FIB_SADDR_TYPE), (Field::DADDR, Field::FIB_DADDR_TYPE)]
        {
            if let Some((found, _)) = host.address_type(self.nfproto(), self.walk.now.get(address)) {
                self.walk.now.set(kind, found);
            }
        }
    }

    /// The value of an undeclared circumstance of a host, from the packet.
    fn unknown(&self, id: HostId, kind: &str, text: &str) -> u128 {
        let name = self.host(id).map_or("", |host| host.name.as_str());
        let field = self
            .replay
            .atoms
            .iter()
            .find(|(_, info)| &*info.scope == name && &*info.kind == kind && &*info.text == text);
        field.map_or(0, |(field, info)| self.walk.now.get(field).clamp(info.domain.0, info.domain.1))
    }

    fn hook(&mut self, id: HostId, hook: Hook) -> Option<Ending> {
        let host = self.replay.hosts.get(id.0)?;
        self.trip.before_last = self.walk.now.clone();
        self.replay.hook(id, host, hook, &mut self.walk, &mut self.trip.happenings)
    }

    fn ends(&self) -> (End, End) {
        let now = &self.walk.now;
        (
            End { address: now.get(Field::SADDR), port: now.get(Field::SPORT) },
            End { address: now.get(Field::DADDR), port: now.get(Field::DPORT) },
        )
    }

    fn record(&mut self, host: HostId, way: Way, entry: (End, End), middle: (End, End)) {
        let now = &self.walk.now;
        let hop = Hop {
            host,
            way,
            entry,
            middle,
            exit: self.ends(),
            state: now.get(Field::CT_STATE),
            mark: now.get(Field::CT_MARK),
            status: now.get(Field::CT_STATUS),
            input: now.get(Field::IIFNAME),
            output: now.get(Field::OIFNAME),
        };
        self.trip.hops.push(hop);
    }

    fn set_output(&mut self, id: HostId, output: Option<InterfaceName>) {
        let value = output.map_or_else(|| self.unknown(id, "interface", "oifname"), |name| name.0);
        self.walk.now.set(Field::OIFNAME, value);
    }

    fn leave(&mut self, id: HostId, to_itself: bool) -> Result<Onward, Ending> {
        self.start();
        self.walk.now.set(Field::IIFNAME, 0);
        let routed = self.host(id).is_some_and(|host| host.routing.is_some()) && !to_itself;
        let first = if to_itself { Ok((Some(loopback()), Onward::Planned)) } else { self.onward(id, true) };
        let Ok((output, mut onward)) = first else { return Err(Ending::NoRoute(id)) };
        self.set_output(id, output);
        self.walk.now.set(Field::FIB_SADDR_TYPE, fib_type::LOCAL);
        self.walk.now.set(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        self.address_types(id);
        let entry = self.ends();
        if let Some(ending) = self.hook(id, Hook::Output) {
            return Err(ending);
        }
        let middle = self.ends();
        if routed {
            match self.onward(id, true) {
                Ok((output, found)) => {
                    self.set_output(id, output);
                    onward = found;
                }
                Err(Direction::Here) => {
                    self.set_output(id, Some(loopback()));
                    onward = Onward::Link;
                }
                Err(_) => return Err(Ending::NoRoute(id)),
            }
        }
        for hook in [Hook::Postrouting, Hook::Egress] {
            if let Some(ending) = self.hook(id, hook) {
                return Err(ending);
            }
        }
        self.record(id, Way::Out, entry, middle);
        Ok(onward)
    }

    /// Past a host, or to its end there.
    fn pass(&mut self, via: Via) -> Result<Onward, Ending> {
        let id = via.host;
        self.start();
        let input = via.input.map_or_else(|| self.unknown(id, "interface", "iifname"), |name| name.0);
        for (field, value) in [
            (Field::IIFNAME, input),
            (Field::OIFNAME, 0),
            (Field::ETHER_SADDR, self.unknown(id, "link address", "ether saddr")),
            (Field::ETHER_DADDR, self.unknown(id, "link address", "ether daddr")),
            (Field::PKTTYPE, self.unknown(id, "link", "meta pkttype")),
            (Field::FIB_REVERSE_PATH, 1),
            (Field::FIB_SADDR_TYPE, fib_type::UNICAST),
        ] {
            self.walk.now.set(field, value);
        }
        self.address_types(id);
        let entry = self.ends();
        for hook in [Hook::Ingress, Hook::Prerouting] {
            if let Some(ending) = self.hook(id, hook) {
                return Err(ending);
            }
        }
        let Some(host) = self.replay.hosts.get(id.0) else { return Ok(Onward::Planned) };
        if ways::refuses_source(host, &self.walk.now, self.replay.atoms) {
            return Err(Ending::ReversePath(id));
        }
        let local = host.own(self.nfproto()).contains(self.destination()) || self.walk.redirected;
        let found = if local { Err(Direction::Here) } else { self.onward(id, false) };
        let (output, onward) = match found {
            Ok(found) => found,
            Err(Direction::Here) => {
                self.walk.now.set(Field::OIFNAME, 0);
                self.walk.now.set(Field::FIB_DADDR_TYPE, fib_type::LOCAL);
                let middle = self.ends();
                if let Some(ending) = self.hook(id, Hook::Input) {
                    return Err(ending);
                }
                self.record(id, Way::In, entry, middle);
                return Err(Ending::Delivered(id));
            }
            Err(_) => return Err(Ending::NoRoute(id)),
        };
        if !host.passes_on(self.nfproto()) {
            return Err(Ending::NotForwarded(id));
        }
        self.set_output(id, output.or(via.output));
        self.walk.now.set(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        let middle = self.ends();
        for hook in [Hook::Forward, Hook::Postrouting, Hook::Egress] {
            if let Some(ending) = self.hook(id, hook) {
                return Err(ending);
            }
        }
        self.record(id, Way::Through, entry, middle);
        Ok(onward)
    }
}
