//! Taking "every new packet" apart until it is known which ones a host lets in.

use super::{ExposedOptions, Kind, Unfinished, Way};
use crate::address::Family;
use crate::intent::receivable;
use firewarden_engine::{Detail, Engine, Fate, Flow, Peeler, Step, StepKind};
use firewarden_network::Host;
use firewarden_packet::{
    AtomTable, Cube, Dim, Field, InterfaceName, IntervalSet, PacketBox, Point, ct_state, fib_type, tcp_flag,
};
use firewarden_ruleset::ir::{ChainType, Hook, RuleRef, Statement, Test};
use std::collections::BTreeSet;

/// The most cuts between names of interfaces: at each, all packets are asked about anew.
const MOST_INTERFACES: usize = 64;

/// The addresses that packets on the wire can come from.
pub fn senders(nfproto: u128) -> IntervalSet {
    receivable(if nfproto == 2 { Family::V4 } else { Family::V6 })
}

impl Kind {
    /// Its packets of a family. TCP, UDP and both ICMPs don't count among the others.
    fn boxes(self, nfproto: u128) -> Vec<PacketBox> {
        let icmp = if nfproto == 2 { 1 } else { 58 };
        let base = PacketBox::all()
            .with_value(Field::NFPROTO, nfproto)
            .with_value(Field::CT_STATE, ct_state::NEW)
            .with_value(Field::FRAGMENT_OFFSET, 0);
        // What clients send from (RFC 6056).
        let client = Dim::Range(1024, 65_535);
        match self {
            Kind::Tcp => {
                let tested = tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST | tcp_flag::FIN;
                let syn = Dim::Bits(Cube::new(tested, tcp_flag::SYN));
                vec![
                    base.with_value(Field::L4PROTO, 6).with(Field::TCP_FLAGS, syn).with(Field::SPORT, client),
                ]
            }
            Kind::Udp => vec![base.with_value(Field::L4PROTO, 17).with(Field::SPORT, client)],
            Kind::Echo => {
                let echo = if nfproto == 2 { 8 } else { 128 };
                vec![base.with_value(Field::L4PROTO, icmp).with_value(Field::ICMP_TYPE, echo)]
            }
            Kind::Other => {
                let mut boxes = Vec::new();
                let mut low = 0;
                for number in [1, 6, 17, 58] {
                    boxes.push(base.clone().with(Field::L4PROTO, Dim::Range(low, number - 1)));
                    low = number + 1;
                }
                boxes.push(base.with(Field::L4PROTO, Dim::Range(low, 255)));
                boxes
            }
        }
    }
}

/// Packets that are let through, all of them alike.
#[derive(Clone, Debug)]
pub struct Exposure {
    /// To the host or through it.
    pub way: Way,
    /// 2 or 10.
    pub nfproto: u128,
    /// Of which protocol.
    pub kind: Kind,
    /// The packets as they come in.
    pub region: PacketBox,
    /// The rule that lets them through; the policy where its index is the number of rules.
    pub rule: Option<RuleRef>,
    /// The address to which they are translated, and the port where it changes.
    pub translated: Option<(u128, Option<u128>)>,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// Disjoint for each way.
    pub exposures: Vec<Exposure>,
    /// What a limit left open: the way that was asked about, the protocol, and the family.
    pub unfinished: Vec<Unfinished>,
    /// The host has no chain on the forward hook: whatever it routes passes.
    pub open_forward: bool,
}

impl Found {
    /// Nothing yet.
    pub fn new(open_forward: bool) -> Found {
        Found { exposures: Vec::new(), unfinished: Vec::new(), open_forward }
    }

    /// False where a limit ended the search.
    pub fn complete(&self) -> bool {
        self.unfinished.is_empty()
    }
}

/// Everything new that a host lets in, and through.
pub fn ask(host: &Host, atoms: &AtomTable, options: &ExposedOptions) -> Found {
    let engine = Engine::new(&host.ruleset);
    let filters = |nfproto| !host.ruleset.base_chains(Hook::Forward, nfproto).is_empty();
    let open_forward = !filters(2) && !filters(10);
    let mut found = Found::new(open_forward);
    for way in [Way::Input, Way::Forward] {
        for kind in Kind::ALL {
            for nfproto in [2, 10] {
                if way == Way::Forward && (open_forward || !host.passes_on(nfproto)) {
                    continue;
                }
                Asker { host, engine: &engine, atoms, options, way, kind, nfproto }.ask(&mut found);
            }
        }
    }
    found
}

/// One question: new packets of a kind and a family, on one way.
pub(crate) struct Asker<'a> {
    pub(crate) host: &'a Host,
    pub(crate) engine: &'a Engine<'a>,
    pub(crate) atoms: &'a AtomTable,
    pub(crate) options: &'a ExposedOptions,
    pub(crate) way: Way,
    pub(crate) kind: Kind,
    pub(crate) nfproto: u128,
}

impl Asker<'_> {
    fn ask(&self, found: &mut Found) {
        self.explore(self.question(), found);
    }

    /// Takes a part of the question apart.
    pub(crate) fn explore(&self, question: Vec<PacketBox>, found: &mut Found) {
        let mut peeler = Peeler::new(question);
        let (mut regions, mut budget) = (0, self.options.steps);
        while let Some(piece) = peeler.piece() {
            regions += 1;
            let piece = piece.clone();
            let decided =
                if regions > self.options.regions { None } else { self.decide(&piece, &mut budget) };
            let Some((region, part)) = decided else {
                let Asker { way, kind, nfproto, .. } = *self;
                found.unfinished.push(Unfinished { way, kind, nfproto });
                return;
            };
            found.exposures.extend(part);
            peeler.cut(&region, self.atoms);
        }
    }

    /// Every new packet that comes in by an interface other than the loopback.
    pub(crate) fn question(&self) -> Vec<PacketBox> {
        self.question_by(&self.interfaces())
    }

    /// The same for packets that come in by some interfaces.
    pub(crate) fn question_by(&self, interfaces: &[Dim]) -> Vec<PacketBox> {
        let mut boxes = self.kind.boxes(self.nfproto);
        let within = |boxes: &[PacketBox], field: Field, set: &IntervalSet| -> Vec<PacketBox> {
            let part = |region: &PacketBox, &(low, high): &(u128, u128)| {
                region.clone().with(field, Dim::Range(low, high))
            };
            boxes.iter().flat_map(|region| set.ranges().iter().map(|range| part(region, range))).collect()
        };
        let sources = senders(self.nfproto);
        boxes = within(&boxes, Field::SADDR, &sources);
        let own = self.host.own(self.nfproto);
        let destinations = match (self.host.addresses_known, self.way) {
            (false, _) => sources,
            (true, Way::Input) => own,
            (true, Way::Forward) => sources.subtract(&own),
        };
        boxes = within(&boxes, Field::DADDR, &destinations);
        let by = |region: &PacketBox| -> Vec<PacketBox> {
            interfaces.iter().map(|side| region.clone().with(Field::IIFNAME, *side)).collect()
        };
        boxes.iter().flat_map(by).collect()
    }

    /// All names of interfaces but the loopback's, cut where rules tell them apart, so that the answer is one for each
    /// interface; not cut where there are too many.
    pub(crate) fn interfaces(&self) -> Vec<Dim> {
        let loopback = InterfaceName::new("lo").unwrap_or(InterfaceName::NONE).0;
        let mut cuts = BTreeSet::from([1, loopback, loopback + 1]);
        let rules = self.host.ruleset.chains.iter().flat_map(|chain| &chain.rules);
        for statement in rules.flat_map(|rule| &rule.statements) {
            if let Statement::Test(Test::Range { field: Field::IIFNAME, set }) = statement {
                for &(low, high) in set.ranges() {
                    cuts.insert(low.max(1));
                    cuts.extend(high.checked_add(1));
                }
            }
        }
        if cuts.len() > MOST_INTERFACES {
            cuts = BTreeSet::from([1, loopback, loopback + 1]);
        }
        let ends = cuts.iter().skip(1).map(|&next| next - 1).chain([u128::MAX]);
        let sides = cuts.iter().copied().zip(ends).filter(|&(low, _)| low != loopback);
        sides.map(|(low, high)| Dim::Range(low, high)).collect()
    }

    /// The part of a piece that fares as its most readable packet does, and what it is where it is let through this
    /// way. `None` where the budget ended.
    fn decide(&self, piece: &PacketBox, budget: &mut u64) -> Option<(PacketBox, Option<Exposure>)> {
        let mut flow = Flow::new(piece.clone(), Point::in_box(piece, &Point::default()), self.atoms);
        let local = self.way == Way::Input;
        let output = flow.take(Field::OIFNAME);
        // What a packet that comes off the wire can't carry: marks, and the status of a connection that begins with it.
        for field in [Field::MARK, Field::CT_MARK, Field::CT_STATUS, Field::CT_DIRECTION] {
            flow.put_value(field, 0);
        }
        flow.put_value(Field::OIFNAME, 0);
        flow.put_value(Field::FIB_DADDR_TYPE, if local { fib_type::LOCAL } else { fib_type::UNICAST });
        flow.put_value(Field::FIB_SADDR_TYPE, fib_type::UNICAST);
        flow.put_value(Field::FIB_REVERSE_PATH, 1);
        let before = flow.end(Field::DADDR, Field::DPORT);
        let mut rule = None;
        for hook in [Hook::Ingress, Hook::Prerouting] {
            if !self.hook(hook, &mut flow, budget, &mut rule)? {
                return Some((flow.region().clone(), None));
            }
        }
        let moved = flow.end(Field::DADDR, Field::DPORT) != before;
        let elsewhere = flow.now().get(Field::DADDR) != flow.origin().get(Field::DADDR) && !flow.redirected();
        let through: &[Hook] = &[Hook::Forward, Hook::Postrouting, Hook::Egress];
        let (way, hooks) = match (local, elsewhere) {
            (true, false) => (Way::Input, [Hook::Input].as_slice()),
            // Addressed to this host and translated to another one, as Docker publishes ports: it passes through.
            (true, true) => (Way::Forward, through),
            // The same, found already by asking for packets to this host, whatever its addresses are.
            (false, true) if !self.host.addresses_known => return Some((flow.region().clone(), None)),
            (false, _) => (Way::Forward, through),
        };
        if way == Way::Forward {
            if flow.redirected() {
                return Some((flow.region().clone(), None));
            }
            flow.put(Field::OIFNAME, output);
        }
        let kind_of_destination = if way == Way::Input { fib_type::LOCAL } else { fib_type::UNICAST };
        flow.put_value(Field::FIB_DADDR_TYPE, kind_of_destination);
        let port = Some(flow.now().get(Field::DPORT)).filter(|&port| port != flow.origin().get(Field::DPORT));
        let translated = moved.then(|| (flow.now().get(Field::DADDR), port));
        rule = None;
        for &hook in hooks {
            let mut of_hook = None;
            if !self.hook(hook, &mut flow, budget, &mut of_hook)? {
                return Some((flow.region().clone(), None));
            }
            rule = rule.or(of_hook);
        }
        let region = flow.region().clone();
        let exposure = Exposure {
            way,
            nfproto: self.nfproto,
            kind: self.kind,
            region: region.clone(),
            rule,
            translated,
        };
        Some((region, Some(exposure)))
    }

    /// Runs a hook; false where it refuses. `rule` is set to what accepted last.
    fn hook(
        &self,
        hook: Hook,
        flow: &mut Flow<'_>,
        budget: &mut u64,
        rule: &mut Option<RuleRef>,
    ) -> Option<bool> {
        let decision = self.engine.run_hook(hook, flow, self.host, Detail::Rules, budget).ok()?;
        // A rule says more than a policy, and a filter more than a translation.
        let weight = |step: &&Step| {
            let base = self.host.ruleset.chain(step.rule.chain).and_then(|chain| chain.base.as_ref());
            let nat = base.is_some_and(|base| base.chain_type == ChainType::Nat);
            match step.kind {
                StepKind::Accepted if !nat => 3,
                StepKind::Policy(_) if !nat => 2,
                StepKind::Accepted | StepKind::Policy(_) => 1,
                _ => 0,
            }
        };
        let best = decision.steps.iter().filter(|step| weight(step) > 0).max_by_key(weight);
        *rule = best.map(|step| step.rule).or(*rule);
        Some(decision.fate == Fate::Accepted)
    }
}
