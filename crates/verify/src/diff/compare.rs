//! Peels the packets that may fare differently with both rulesets at once.

use super::changed::{Questions, Way, limited};
use super::cross::{Crossed, Crossing, Direction, Ending};
use super::seen::{Seen, seen};
use crate::address::packets_of;
use firewarden_engine::{Detail, Flow, OutOfBudget, Step, StepKind};
use firewarden_network::Host;
use firewarden_packet::{
    AtomTable, Dim, Field, InterfaceName, PacketBox, Point, ct_state, fib_type, tcp_flag,
};
use firewarden_ruleset::ir::{ChainType, Hook, RuleRef, Ruleset};
use std::collections::BTreeMap;

/// What limits a comparison.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions {
    /// Rules looked at for one host, at most.
    pub steps: u64,
    /// Sets of packets compared for one host, at most.
    pub regions: u64,
    /// Sets of packets into which one difference is split by the rules that decide, at most; beyond, the rules of its
    /// first packet stand for all of it.
    pub split: usize,
}

impl Default for DiffOptions {
    fn default() -> DiffOptions {
        DiffOptions { steps: 200_000_000, regions: 100_000, split: 256 }
    }
}

/// How the fate of packets changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// They passed before.
    Blocked,
    /// They didn't pass before.
    Allowed,
    /// They passed and pass, with another value in this field, or to another place (`None`).
    Rewritten(Option<Field>),
    /// They were and are refused, but dropped instead of rejected, or the reverse.
    RefusedOtherwise,
}

/// The rule that decides about packets, on one side of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decider {
    /// The hook.
    pub hook: Hook,
    /// The rule; its index is the number of the chain's rules where the policy decides.
    pub rule: RuleRef,
}

/// Packets whose fate changes alike, by the same rules.
#[derive(Clone, Debug)]
pub struct Change {
    /// What becomes of them.
    pub effect: Effect,
    /// Where they were going.
    pub direction: Direction,
    /// How their way ended before, and ends after.
    pub endings: (Ending, Ending),
    /// The rules that decided before, and decide after; `None` where no rule had a say.
    pub deciders: (Option<Decider>, Option<Decider>),
    /// One of them, as it came.
    pub witness: Point,
    /// The witness as it left, before and after.
    pub results: (Point, Point),
    /// All of them: boxes that don't overlap, in the packet as it came.
    pub packets: Vec<PacketBox>,
    /// For each box, where its packets arrive on the side where they pass.
    pub arrivals: Vec<Arrival>,
    /// True where the rewritten value varies with the packet or the kernel's choice, so that some packets of the boxes
    /// may happen to get the same value before and after. They are told of with the others.
    pub coincidences: bool,
}

/// Where packets arrive that are let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// At the address and port that they were sent to.
    AsSent,
    /// Translated to this address and port; `None` where it is the one that they were sent to.
    At {
        /// The address.
        address: Option<u128>,
        /// The port.
        port: Option<u128>,
    },
    /// Translated to several, as the packet or the kernel decides.
    Several,
}

/// What differs on one host.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// In the order in which they were found.
    pub changes: Vec<Change>,
    /// Packets that weren't compared, because a limit ended. Empty when the answer is complete.
    pub undecided: Vec<PacketBox>,
    /// How many sets of packets were compared.
    pub regions: u64,
    /// A difference that only the engine sees: the packet and what each side says. A mistake in Firewarden.
    pub unconfirmed: Option<String>,
}

/// What changes are put together by.
type Group = (Effect, bool, Direction, Option<Decider>, Option<Decider>);

pub(super) struct Comparison<'c> {
    pub before: &'c Crossed<'c>,
    pub after: &'c Crossed<'c>,
    pub atoms: &'c AtomTable,
    pub options: DiffOptions,
    /// Rules that may still be looked at.
    pub budget: u64,
    pub found: Compared,
    pub groups: BTreeMap<Group, usize>,
}

/// Both sides of one region.
struct Met {
    region: PacketBox,
    point: Point,
    before: Crossing,
    after: Crossing,
    results: (Point, Point),
    effect: Option<Effect>,
    coincidences: bool,
    arrival: Arrival,
}

impl Comparison<'_> {
    /// Compares all packets of the questions. Each region costs two runs through the hooks.
    pub fn run(&mut self, questions: Questions) {
        for ((way, nfproto), boxes) in questions {
            let mut asked: Vec<PacketBox> = Vec::new();
            for packets in limited(boxes, self.atoms) {
                for universe in self.universe(way, nfproto) {
                    let Some(packets) = universe.intersect(&packets) else { continue };
                    let mut pieces = vec![packets.clone()];
                    for known in asked.iter().filter(|known| known.overlaps(&packets)) {
                        pieces = pieces.iter().flat_map(|piece| piece.subtract(known, self.atoms)).collect();
                    }
                    self.peel(way, pieces);
                    asked.push(packets);
                }
            }
        }
    }

    /// The packets that there can be.
    fn universe(&self, way: Way, nfproto: u128) -> Vec<PacketBox> {
        let mut packets = packets_of(nfproto);
        match way {
            Way::Arriving => packets.set(Field::IIFNAME, Dim::Range(1, u128::MAX)),
            Way::Leaving => {
                packets.set(Field::IIFNAME, Dim::Range(0, 0));
                packets.set(Field::OIFNAME, Dim::Range(1, u128::MAX));
            }
        }
        let own = self.after.host.own(nfproto).union(&self.before.host.own(nfproto));
        if way == Way::Arriving || !self.after.known || own.is_empty() {
            return vec![packets];
        }
        let sources = own.ranges().iter();
        sources.map(|(low, high)| packets.clone().with(Field::SADDR, Dim::Range(*low, *high))).collect()
    }

    fn peel(&mut self, way: Way, pieces: Vec<PacketBox>) {
        let mut pieces = pieces;
        while let Some(piece) = pieces.pop() {
            if self.found.unconfirmed.is_some() {
                return;
            }
            if self.found.regions >= self.options.regions {
                self.found.undecided.push(piece);
                continue;
            }
            self.found.regions += 1;
            match self.meet(way, &piece, Detail::Verdict) {
                Ok(met) => {
                    let region = met.region.clone();
                    if met.effect.is_some() {
                        self.split(way, met);
                    }
                    pieces.extend(piece.subtract(&region, self.atoms));
                }
                Err(OutOfBudget) => self.found.undecided.push(piece),
            }
        }
    }

    /// Splits a region that differs by the rules that decide.
    fn split(&mut self, way: Way, met: Met) {
        let mut pieces = vec![met.region.clone()];
        let mut parts = 0;
        while let Some(piece) = pieces.pop() {
            parts += 1;
            let part = (parts <= self.options.split).then(|| self.meet(way, &piece, Detail::Rules));
            match part {
                Some(Ok(part)) => {
                    pieces.extend(piece.subtract(&part.region, self.atoms));
                    self.tell(way, part);
                }
                _ => {
                    let rest = Met {
                        region: piece,
                        point: met.point.clone(),
                        before: met.before.clone(),
                        after: met.after.clone(),
                        results: met.results.clone(),
                        effect: met.effect,
                        coincidences: met.coincidences,
                        arrival: met.arrival,
                    };
                    self.tell(way, rest);
                }
            }
        }
    }

    /// Follows a point of a piece before and after; the region is what fares like it on both sides.
    fn meet(&mut self, way: Way, piece: &PacketBox, detail: Detail) -> Result<Met, OutOfBudget> {
        let mut piece = piece.clone();
        let mut point = Point::in_box(&piece, &self.preferred(&piece));
        let elsewhere = is_own(&point, self.after.host) == Some(false);
        let unicast = piece.get(Field::FIB_DADDR_TYPE).is_none_or(|dim| dim.contains(fib_type::UNICAST));
        if elsewhere && unicast && point.get(Field::FIB_DADDR_TYPE) == fib_type::LOCAL {
            point.set(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        }
        let mut is_second = false;
        loop {
            let mut first = Flow::new(piece, point, self.atoms);
            let before = self.before.cross(way, &mut first, detail, &mut self.budget)?;
            let mut second = Flow::new(first.region().clone(), first.origin().clone(), self.atoms);
            let after = self.after.cross(way, &mut second, detail, &mut self.budget)?;
            let seen = seen(&before, &after, &mut first, &mut second, is_second);
            second.keep_shared(&first);
            let (effect, coincidences) = match seen {
                Seen::Same => (None, false),
                Seen::Differs(effect) => (Some(effect), false),
                Seen::Mostly(field) => (Some(Effect::Rewritten(Some(field))), true),
                Seen::At(other) => {
                    (piece, point, is_second) = (second.region().clone(), *other, true);
                    continue;
                }
            };
            let arrival = match effect {
                None => Arrival::AsSent,
                Some(Effect::Blocked) => arrival(&first),
                Some(_) => arrival(&second),
            };
            return Ok(Met {
                region: second.region().clone(),
                point: second.origin().clone(),
                before,
                after,
                results: (first.now().clone(), second.now().clone()),
                effect,
                coincidences,
                arrival,
            });
        }
    }

    /// Adds a region to what is known of its rules, after the interpreter has seen the difference too.
    fn tell(&mut self, way: Way, met: Met) {
        let Some(effect) = met.effect else { return };
        let endings = (met.before.ending, met.after.ending);
        let deciders = (
            decider(&met.before, effect, &self.before.host.ruleset),
            decider(&met.after, effect, &self.after.host.ruleset),
        );
        let direction = direction(endings.1).or(direction(endings.0)).unwrap_or(Direction::Input);
        let group = (effect, met.coincidences, direction, deciders.0, deciders.1);
        let known = self.groups.get(&group).copied();
        if let Some(change) = known.and_then(|at| self.found.changes.get_mut(at)) {
            change.packets.push(met.region.clone());
            change.arrivals.push(met.arrival);
            let of = |point: &Point| example_rank(point, self.after.host);
            if of(&change.witness) <= of(&met.point) {
                return;
            }
        }
        let told = [(self.before, endings.0, &met.results.0), (self.after, endings.1, &met.results.1)];
        for (side, ending, result) in told {
            let (replayed, last) = side.replay(way, &met.point, self.atoms);
            let same_field = match effect {
                Effect::Rewritten(Some(field)) => last.get(field) == result.get(field),
                _ => true,
            };
            if replayed != ending || !same_field {
                let packet = firewarden_packet::text::format(&met.point, self.atoms);
                self.found.unconfirmed =
                    Some(format!("`{packet}`: the engine says {ending:?}, the interpreter {replayed:?}"));
                return;
            }
        }
        if let Some(change) = known.and_then(|at| self.found.changes.get_mut(at)) {
            change.witness = met.point;
            change.endings = endings;
            change.results = met.results;
            return;
        }
        self.groups.insert(group, self.found.changes.len());
        self.found.changes.push(Change {
            effect,
            direction,
            endings,
            deciders,
            witness: met.point,
            results: met.results,
            packets: vec![met.region],
            arrivals: vec![met.arrival],
            coincidences: met.coincidences,
        });
    }

    /// The values that make a packet readable.
    fn preferred(&self, piece: &PacketBox) -> Point {
        let mut point = Point::default();
        let nfproto = piece.get(Field::NFPROTO).map_or(2, Dim::first);
        point.set(Field::NFPROTO, nfproto);
        let addresses: [u128; 2] = match nfproto {
            10 => [(0x2001_0db8 << 96) | 7, (0x2001_0db8 << 96) | 1],
            _ => [0xC633_6407, 0xC000_0201],
        };
        let own = self.after.host.own(nfproto);
        let own = own.ranges().first().map(|(low, _)| *low);
        point.set(Field::SADDR, addresses[0]);
        point.set(Field::DADDR, own.unwrap_or(addresses[1]));
        if nfproto == 10 && piece.get(Field::L4PROTO).is_some_and(|dim| *dim == Dim::Range(58, 58)) {
            point.set(Field::ICMP_TYPE, 128);
        }
        for (field, names) in
            [(Field::IIFNAME, ["eth0", "wan0", "a0"]), (Field::OIFNAME, ["eth1", "wan1", "a1"])]
        {
            let dim = piece.get(field);
            let declared = self.after.host.interfaces.iter().map(|interface| interface.name);
            let names = names.iter().filter_map(|name| InterfaceName::new(name).ok());
            let fitting = declared.chain(names).find(|name| dim.is_none_or(|dim| dim.contains(name.0)));
            if let Some(InterfaceName(value)) = fitting {
                point.set(field, value);
            }
        }
        point
    }
}

/// Whether a packet is sent to the host itself; `None` where its addresses aren't known.
fn is_own(point: &Point, host: &Host) -> Option<bool> {
    let own = host.own(point.get(Field::NFPROTO));
    (host.addresses_known || !own.is_empty()).then(|| own.contains(point.get(Field::DADDR)))
}

/// Which of two packets is the better example, the smaller one: it begins a connection, and as programs do it; it is
/// addressed as the host's routing table would have it.
fn example_rank(point: &Point, host: &Host) -> (bool, bool, bool) {
    let state = point.get(Field::CT_STATE);
    let is_tcp = point.get(Field::L4PROTO) == 6;
    let usual = if state == ct_state::NEW { tcp_flag::SYN } else { tcp_flag::ACK };
    let local = point.get(Field::FIB_DADDR_TYPE) == fib_type::LOCAL;
    (
        state != ct_state::NEW,
        is_tcp && point.get(Field::TCP_FLAGS) != usual,
        is_own(point, host).is_some_and(|own| own != local),
    )
}

/// Where a packet that passed arrives, for all packets of its region.
fn arrival(flow: &Flow<'_>) -> Arrival {
    let sent = flow.sibling();
    let end = |field: Field| {
        let (now, then) = (flow.take(field), sent.take(field));
        if now == then {
            return Some(None);
        }
        now.is_constant().then_some(Some(now.value()))
    };
    match (end(Field::DADDR), end(Field::DPORT)) {
        (Some(None), Some(None)) => Arrival::AsSent,
        (Some(address), Some(port)) => Arrival::At { address, port },
        _ => Arrival::Several,
    }
}

fn direction(ending: Ending) -> Option<Direction> {
    match ending {
        Ending::Passes(direction) | Ending::Refused { direction, .. } => Some(direction),
        Ending::NotForwarded => Some(Direction::Forward),
        Ending::Impossible => None,
    }
}

/// The rule that an ending comes down to.
fn decider(crossing: &Crossing, effect: Effect, ruleset: &Ruleset) -> Option<Decider> {
    let decider = |(hook, step): &(Hook, Step)| Decider { hook: *hook, rule: step.rule };
    if matches!(crossing.ending, Ending::Refused { .. }) {
        return crossing.steps.last().map(decider);
    }
    if let Effect::Rewritten(field) = effect {
        let wrote = |(_, step): &&(Hook, Step)| match step.kind {
            StepKind::Translated => field.is_none_or(|field| ENDS.contains(&field)),
            StepKind::Wrote(other) => Some(other) == field,
            StepKind::Untracked => field == Some(Field::CT_STATE),
            _ => false,
        };
        return crossing.steps.iter().rfind(wrote).map(decider);
    }
    let of_filter = |hook: Hook, step: &Step| {
        matches!(hook, Hook::Input | Hook::Forward | Hook::Output)
            && ruleset.chain(step.rule.chain).is_some_and(|chain| {
                chain.base.as_ref().is_none_or(|base| base.chain_type == ChainType::Filter)
            })
    };
    let accepted = |(hook, step): &&(Hook, Step)| of_filter(*hook, step) && step.kind == StepKind::Accepted;
    let policy =
        |(hook, step): &&(Hook, Step)| of_filter(*hook, step) && matches!(step.kind, StepKind::Policy(_));
    let steps = || crossing.steps.iter();
    steps().rfind(accepted).or_else(|| steps().rfind(policy)).or_else(|| crossing.steps.last()).map(decider)
}

const ENDS: [Field; 4] = [Field::DADDR, Field::DPORT, Field::SADDR, Field::SPORT];
