//! Taking a question apart until it is answered.

use super::model::{Model, loopback};
use super::route::Lane;
use crate::intent::{Claim, Question, Target};
use firewarden_engine::{Detail, Flow, OutOfBudget, Peeler};
use firewarden_network::{Host, HostId, Journey, Network, Outcome, Path};
use firewarden_packet::{AtomTable, Dim, Field, InterfaceName, IntervalSet, PacketBox, Point};

/// Regions that break the claim only under some values of atoms, looked at more closely for a packet that breaks it
/// under all, at most. Past it the answer may be `depends` where `fail` could be shown; it is never a pass.
const DOUBTFUL_LIMIT: usize = 64;

/// How much work a question may take. One unit is about one rule looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub steps: u64,
    pub regions: u64,
}

/// What became of a packet of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// The packet is refused or ends elsewhere.
    NotDelivered,
    /// Its answer is refused.
    AnswerLost,
    /// A later packet of the connection is refused.
    LaterLost,
    /// It arrives though it mustn't.
    Arrives,
}

/// A packet that shows something.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub point: Point,
    pub path: Path,
    /// `None` where the claim holds for it.
    pub breach: Option<Breach>,
    /// Where the engine says the first packet ends.
    pub outcome: Outcome,
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The claim holds for every packet, whatever the atoms are.
    Holds,
    /// Some packet breaks it, whatever the atoms are.
    Broken(Box<Example>),
    /// Some packet breaks it for some values of these atoms, and none breaks it for all.
    Depends { breaks: Box<Example>, holds: Option<Box<Example>>, on: Vec<Field> },
    /// The budget ended.
    Undetermined,
    /// There are no packets.
    Vacuous,
}

/// The addresses of all hosts.
#[derive(Debug)]
pub(crate) struct OwnAddresses {
    /// Protocol family and address, sorted.
    sorted: Vec<(u128, u128)>,
}

impl OwnAddresses {
    /// O(addresses × log addresses).
    pub fn new(hosts: &[Host]) -> OwnAddresses {
        let of_interfaces = hosts.iter().flat_map(|host| &host.interfaces);
        let all = hosts.iter().flat_map(|host| &host.addresses);
        let all = all.chain(of_interfaces.flat_map(|interface| &interface.addresses));
        let mut sorted: Vec<(u128, u128)> = all.map(|address| (address.nfproto, address.value)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        OwnAddresses { sorted }
    }

    /// The lowest within `low..=high`.
    fn first_within(&self, nfproto: u128, low: u128, high: u128) -> Option<u128> {
        let at = self.sorted.partition_point(|&known| known < (nfproto, low));
        self.sorted.get(at).filter(|&&(of, value)| of == nfproto && value <= high).map(|&(_, value)| value)
    }
}

pub(crate) struct Prover<'p> {
    pub model: &'p Model<'p>,
    pub network: &'p Network<'p>,
    pub atoms: &'p AtomTable,
    pub own: &'p OwnAddresses,
    /// Values of atoms that are taken for granted.
    pub assumed: Vec<(Field, u128)>,
}

/// A part of the question with its way.
pub(crate) struct Part {
    pub region: PacketBox,
    pub path: Path,
}

impl Prover<'_> {
    /// Answers a question. Lanes are looked at in order; the first definite breach ends the search.
    pub fn answer(&self, question: &Question, lanes: &[Lane], budget: &mut Budget) -> Answer {
        let parts = self.parts(question, lanes);
        if parts.is_empty() {
            return Answer::Vacuous;
        }
        let mut doubtful: Vec<(PacketBox, Example)> = Vec::new();
        let mut held = None;
        for part in &parts {
            let mut peeler = Peeler::new([part.region.clone()]);
            while let Some(piece) = peeler.piece() {
                let piece = piece.clone();
                let Ok((region, example)) = self.decide(question, &part.path, &piece, budget) else {
                    return Answer::Undetermined;
                };
                match example.breach {
                    Some(_) if !self.has_doubt(&region) => return Answer::Broken(Box::new(example)),
                    Some(_) if doubtful.len() < DOUBTFUL_LIMIT => doubtful.push((region.clone(), example)),
                    Some(_) => {}
                    None => held = held.or(Some(example)),
                }
                peeler.cut(&region, self.atoms);
            }
        }
        if doubtful.is_empty() {
            return if held.is_some() { Answer::Holds } else { Answer::Vacuous };
        }
        for (region, example) in &doubtful {
            match self.breaks_for_all(question, region, &example.path, budget) {
                Ok(Some(found)) => return Answer::Broken(Box::new(found)),
                Ok(None) => {}
                Err(OutOfBudget) => return Answer::Undetermined,
            }
        }
        let Some((region, breaks)) = doubtful.into_iter().next() else { return Answer::Undetermined };
        let on = self.told_doubts(&region);
        let holds = self.counterpart(question, &breaks, &self.doubts(&region), budget);
        Answer::Depends { breaks: Box::new(breaks), holds: holds.map(Box::new), on }
    }

    /// The question as boxes. Nothing comes in by `lo` where the interface isn't known.
    pub fn parts(&self, question: &Question, lanes: &[Lane]) -> Vec<Part> {
        let mut parts = Vec::new();
        for lane in lanes {
            let mut bases = vec![
                PacketBox::all()
                    .with_value(Field::NFPROTO, question.family.nfproto())
                    .with(Field::SADDR, Dim::Range(lane.sources.0, lane.sources.1))
                    .with(Field::DADDR, Dim::Range(lane.destinations.0, lane.destinations.1)),
            ];
            for field in self.unknown_inputs(&lane.path, question) {
                bases = bases.iter().flat_map(|base| self.without_loopback(base, field)).collect();
            }
            for base in &bases {
                for service in &question.services {
                    let Some(mut region) = base.intersect(service) else { continue };
                    let possible = self
                        .assumed
                        .iter()
                        .all(|&(field, value)| region.restrict(field, Dim::Range(value, value)));
                    if possible {
                        parts.push(Part { region, path: lane.path.clone() });
                    }
                }
            }
        }
        parts
    }

    /// The fields that stand for input interfaces nobody declared, of the hosts the packet may meet.
    fn unknown_inputs(&self, path: &Path, question: &Question) -> Vec<Field> {
        let mut fields = Vec::new();
        let target = match question.target {
            Target::Host(index) => Some(HostId(index)),
            Target::Elsewhere => None,
        };
        let known = |id: HostId| self.model.host(id.0).is_some_and(|host| !host.interfaces.is_empty());
        for via in path.via.iter().filter(|via| via.input.is_none()) {
            fields.extend(self.network.unknown_input(via.host));
        }
        if let Some(id) = target.filter(|&id| !known(id) && path.source != Some(id)) {
            fields.extend(self.network.unknown_input(id));
        }
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn without_loopback(&self, base: &PacketBox, field: Field) -> Vec<PacketBox> {
        let InterfaceName(lo) = loopback();
        let (low, high) = self.atoms.domain(field);
        [(low, lo.saturating_sub(1)), (lo.saturating_add(1), high)]
            .into_iter()
            .filter(|(low, high)| low <= high)
            .map(|(low, high)| base.clone().with(field, Dim::Range(low, high)))
            .collect()
    }

    /// Decides a point of a piece, and how much of the piece shares its fate.
    fn decide(
        &self,
        question: &Question,
        path: &Path,
        piece: &PacketBox,
        budget: &mut Budget,
    ) -> Result<(PacketBox, Example), OutOfBudget> {
        budget.regions = budget.regions.checked_sub(1).ok_or(OutOfBudget)?;
        let point = Point::in_box(piece, &self.preferred(piece));
        let mut flow = Flow::new(piece.clone(), point.clone(), self.atoms);
        let journey = self.network.send(&mut flow, path, Detail::Fate, &mut budget.steps)?;
        let (breach, region) = match question.claim {
            Claim::Arrives => self.arrives(question, flow, &journey, budget)?,
            Claim::NeverArrives => {
                let breach = self.violates(question, &mut flow, &journey).then_some(Breach::Arrives);
                (breach, flow.region().clone())
            }
        };
        Ok((region, Example { point, path: path.clone(), breach, outcome: journey.outcome }))
    }

    fn arrives(
        &self,
        question: &Question,
        mut flow: Flow<'_>,
        journey: &Journey,
        budget: &mut Budget,
    ) -> Result<(Option<Breach>, PacketBox), OutOfBudget> {
        if !self.reached(question, journey.outcome) {
            return Ok((Some(Breach::NotDelivered), flow.region().clone()));
        }
        let answered = self.network.answer(&mut flow, journey, Detail::Fate, &mut budget.steps)?;
        let Some((mut answer, back)) = answered else { return Ok((None, flow.region().clone())) };
        if !matches!(back.outcome, Outcome::Delivered(_) | Outcome::Left) {
            return Ok((Some(Breach::AnswerLost), answer.region().clone()));
        }
        let (later, on) =
            self.network.continue_original(&mut answer, journey, &back, Detail::Fate, &mut budget.steps)?;
        let lost = on.outcome != journey.outcome;
        Ok((lost.then_some(Breach::LaterLost), later.region().clone()))
    }

    /// True where a packet that ended like this got to the question's target.
    fn reached(&self, question: &Question, outcome: Outcome) -> bool {
        match (question.target, outcome) {
            (Target::Host(index), Outcome::Delivered(HostId(to))) => index == to,
            // A bare ruleset translated it to somebody of whom nothing is known: that is who serves the address.
            (Target::Host(_), Outcome::Left) => self.model.single,
            (Target::Elsewhere, Outcome::Left) => true,
            _ => false,
        }
    }

    /// Whether a packet that mustn't arrive does. Cuts the region to those of which the same is true.
    fn violates(&self, question: &Question, flow: &mut Flow<'_>, journey: &Journey) -> bool {
        if !self.reached(question, journey.outcome) {
            return false;
        }
        if !question.translated {
            return true;
        }
        let ranges_of = |field: Field, boxes: &mut dyn Iterator<Item = &PacketBox>| -> IntervalSet {
            boxes
                .map(|region| match region.dim(field, self.atoms) {
                    Dim::Range(low, high) => (low, high),
                    Dim::Bits(_) => (0, u128::MAX),
                })
                .collect()
        };
        let protocol = flow.now().get(Field::L4PROTO);
        let protocols = ranges_of(Field::L4PROTO, &mut question.arriving.iter());
        if !protocols.contains(protocol) {
            let (low, high) = protocols.stretch(protocol);
            flow.restrict(Field::L4PROTO, Dim::Range(low, high));
            return false;
        }
        flow.hold(Field::L4PROTO);
        let mut of_protocol = question
            .arriving
            .iter()
            .filter(|region| region.dim(Field::L4PROTO, self.atoms).contains(protocol));
        let ports = ranges_of(Field::DPORT, &mut of_protocol);
        let port = flow.now().get(Field::DPORT);
        let (low, high) = ports.stretch(port);
        flow.restrict(Field::DPORT, Dim::Range(low, high));
        ports.contains(port)
    }

    /// True for fields of which nobody knows the value: atoms and undeclared interfaces. A choice that the kernel rolls
    /// dice for (a port or an address of a translation's range) isn't one: every outcome happens.
    fn is_doubt(&self, field: Field) -> bool {
        field.is_dynamic()
            && self.atoms.get(field).is_some_and(|info| {
                !matches!(
                    &*info.kind,
                    "nat range" | "nat port" | "nat address" | "numgen" | "jhash" | "symhash" | "next hop"
                )
            })
    }

    fn doubts(&self, region: &PacketBox) -> Vec<Field> {
        let assumed = |field: &Field| self.assumed.iter().any(|(known, _)| known == field);
        let whole = |field: Field, dim: &Dim| {
            let (low, high) = self.atoms.domain(field);
            dim.covers(&Dim::Range(low, high))
        };
        region
            .dims()
            .iter()
            .filter(|(field, dim)| self.is_doubt(*field) && !assumed(field) && !whole(*field, dim))
            .map(|(field, _)| *field)
            .collect()
    }

    /// The doubts that a person is told of: not that an interface is on one side of `lo`, which is how questions are
    /// put.
    fn told_doubts(&self, region: &PacketBox) -> Vec<Field> {
        let InterfaceName(lo) = loopback();
        let is_side = |field: Field| {
            let (low, high) = self.atoms.domain(field);
            let dim = region.get(field);
            dim == Some(&Dim::Range(low, lo.saturating_sub(1)))
                || dim == Some(&Dim::Range(lo.saturating_add(1), high))
        };
        let doubts = self.doubts(region);
        let told: Vec<Field> = doubts.iter().copied().filter(|&field| !is_side(field)).collect();
        if told.is_empty() { doubts } else { told }
    }

    fn has_doubt(&self, region: &PacketBox) -> bool {
        !self.doubts(region).is_empty()
    }

    /// The packets of a region, whatever the atoms.
    fn without_doubts(&self, region: &PacketBox) -> PacketBox {
        let mut packets = region.clone();
        for field in self.doubts(region) {
            packets.clear(field);
        }
        packets
    }

    /// A packet of the region that breaks the claim for all values of the atoms. Exact: all values for which some packet
    /// of the region keeps the claim are peeled off, and their packets taken away.
    fn breaks_for_all(
        &self,
        question: &Question,
        region: &PacketBox,
        path: &Path,
        budget: &mut Budget,
    ) -> Result<Option<Example>, OutOfBudget> {
        let packets = self.without_doubts(region);
        let mut candidates = vec![packets.clone()];
        let mut wholes = vec![packets];
        for field in self.unknown_inputs(path, question) {
            if self.doubts(region).contains(&field) {
                wholes = wholes.iter().flat_map(|whole| self.without_loopback(whole, field)).collect();
            }
        }
        let mut peeler = Peeler::new(wholes);
        while let Some(piece) = peeler.piece() {
            let piece = piece.clone();
            // Packets that are no candidates any more need no answer.
            if !candidates.iter().any(|candidate| candidate.overlaps(&piece)) {
                peeler.skip();
                continue;
            }
            let (decided, example) = self.decide(question, path, &piece, budget)?;
            if example.breach.is_none() {
                let kept = self.without_doubts(&decided);
                candidates =
                    candidates.iter().flat_map(|candidate| candidate.subtract(&kept, self.atoms)).collect();
                if candidates.is_empty() {
                    return Ok(None);
                }
            }
            peeler.cut(&decided, self.atoms);
        }
        let Some(candidate) = candidates.first() else { return Ok(None) };
        let (_, example) = self.decide(question, path, candidate, budget)?;
        Ok(example.breach.is_some().then_some(example))
    }

    /// The same packet with other atoms, for which the claim holds.
    fn counterpart(
        &self,
        question: &Question,
        breaks: &Example,
        on: &[Field],
        budget: &mut Budget,
    ) -> Option<Example> {
        let mut region = PacketBox::all();
        for &field in Field::ALL_FIXED {
            region.set(field, Dim::single(field.kind(), field.max_value(), breaks.point.get(field)));
        }
        for (field, value) in breaks.point.dynamic() {
            if !on.contains(&field) {
                region.set(field, Dim::Range(value, value));
            }
        }
        let mut peeler = Peeler::new([region]);
        while let Some(piece) = peeler.piece() {
            let piece = piece.clone();
            let (decided, example) = self.decide(question, &breaks.path, &piece, budget).ok()?;
            if example.breach.is_none() {
                return Some(example);
            }
            peeler.cut(&decided, self.atoms);
        }
        None
    }

    /// The values that make a packet readable.
    pub fn preferred(&self, piece: &PacketBox) -> Point {
        let mut point = Point::default();
        let nfproto = piece.get(Field::NFPROTO).map_or(2, Dim::first);
        point.set(Field::NFPROTO, nfproto);
        let candidates: &[u128] = if nfproto == 2 {
            // 198.51.100.7 and its neighbour outside of the documentation block.
            &[0xC633_6407, 0xC633_6507, 0x0808_0808]
        } else {
            &[
                0x2001_0db8_0000_0000_0000_0000_0000_0007,
                0x2001_4860_4860_0000_0000_0000_0000_8888,
                0x2001_0db9 << 96 | 7,
            ]
        };
        if let Some(source) = piece.get(Field::SADDR) {
            let fitting = candidates.iter().find(|&&value| source.contains(value));
            let first_host = source.first().checked_add(7).filter(|&value| source.contains(value));
            let single = self.declared_in(nfproto, source);
            let value = single.or(fitting.copied()).or(first_host).unwrap_or_else(|| source.first());
            point.set(Field::SADDR, value);
        }
        if let Some(destination) = piece.get(Field::DADDR) {
            let fitting = candidates.iter().find(|&&value| destination.contains(value));
            let value = self.declared_in(nfproto, destination).or(fitting.copied());
            point.set(Field::DADDR, value.unwrap_or_else(|| destination.first()));
        }
        if nfproto == 10 && piece.get(Field::L4PROTO).is_some_and(|dim| dim.first() == 58) {
            point.set(Field::ICMP_TYPE, 128);
        }
        for host in 0..self.model.hosts.len() {
            for (field, name) in [
                (self.network.unknown_input(HostId(host)), "eth0"),
                (self.network.unknown_output(HostId(host)), "eth1"),
            ] {
                if let (Some(field), Ok(InterfaceName(value))) = (field, InterfaceName::new(name)) {
                    point.set(field, value);
                }
            }
        }
        point
    }

    /// A declared address of a host within a dim that isn't wide. O(log addresses).
    fn declared_in(&self, nfproto: u128, dim: &Dim) -> Option<u128> {
        match dim {
            Dim::Range(low, high) if high - low > 0xFF_FFFF => None,
            Dim::Range(low, high) => self.own.first_within(nfproto, *low, *high),
            Dim::Bits(_) => None,
        }
    }
}
