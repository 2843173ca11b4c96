//! Which rules some packet meets, and what keeps packets from the others.
//!
//! Both are questions to the engine: the packets that a rule could match are taken apart until one of them meets the
//! rule, or until none is left.

use super::AuditOptions;
use super::space::{Space, Way};
use super::words::Effect;
use firewarden_engine::{Detail, Engine, Flow, Focus, Peeler, StepKind};
use firewarden_network::Host;
use firewarden_packet::{AtomTable, PacketBox, Point};
use firewarden_ruleset::ir::{Hook, Rule, RuleRef, Statement, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The most rules that are tried while a cover is made smaller.
const MOST_CANDIDATES: usize = 48;

/// A host's rules, ready to be asked about one by one.
pub struct Prober<'a> {
    /// The host.
    pub host: &'a Host,
    /// Answers for its ruleset.
    pub engine: &'a Engine<'a>,
    /// How its chains hang together.
    pub space: &'a Space<'a>,
    /// The dynamic fields.
    pub atoms: &'a AtomTable,
    options: AuditOptions,
    /// Rules that may still be looked at, over the whole audit.
    left: u64,
}

/// A packet that a rule acts on.
#[derive(Clone, Debug)]
pub struct Met {
    /// The packet as the hook gets it.
    pub packet: Point,
    /// Where.
    pub hook: Hook,
}

/// What is known of a rule.
#[derive(Clone, Debug)]
pub enum Life {
    /// It acts on some packet.
    Live(Box<Met>),
    /// It acts on none. These rules decide about the packets that it could match, as far as any does.
    Dead(Deciders),
    /// A limit ended the search.
    Unknown,
}

/// Rules that decided about packets, with what they did to them.
pub type Deciders = BTreeMap<RuleRef, Effect>;

/// Earlier rules that leave nothing to a rule.
#[derive(Clone, Debug)]
pub struct Cover {
    /// None where no packet that comes there could match in the first place.
    pub rules: Vec<(RuleRef, Effect)>,
    /// False where there were too many to try leaving out each.
    pub minimal: bool,
}

/// What all packets of one piece of a question do.
enum Piece {
    Met(Box<Met>),
    /// The piece to be cut off.
    Passed(Box<PacketBox>),
}

impl<'a> Prober<'a> {
    /// Asks about the rules of a host.
    pub fn new(
        host: &'a Host,
        engine: &'a Engine<'a>,
        space: &'a Space<'a>,
        atoms: &'a AtomTable,
        options: AuditOptions,
    ) -> Prober<'a> {
        Prober { host, engine, space, atoms, options, left: options.steps }
    }

    /// How many rules may still be looked at for one question.
    pub fn allowance(&self) -> u64 {
        self.left.min(self.options.steps_for_rule)
    }

    /// Takes what a question spent.
    pub fn spend(&mut self, spent: u64) {
        self.left = self.left.saturating_sub(spent);
    }

    /// The most regions that one question may fall into.
    pub fn most_regions(&self) -> usize {
        self.options.regions
    }

    /// Whether some packet meets a rule, or one of those that were written as one with it, with other rules left out.
    pub fn life(&mut self, at: RuleRef, without: &BTreeSet<RuleRef>) -> Life {
        let before = self.allowance();
        let mut budget = before;
        let mut all = Deciders::new();
        let mut known = true;
        let mut alive = None;
        for member in self.space.unit(at) {
            let Some(rule) = self.host.ruleset.rule(member) else { continue };
            match self.search(member, rule, without, &mut budget) {
                Life::Live(met) => {
                    alive = Some(met);
                    break;
                }
                Life::Dead(deciders) => {
                    deciders
                        .into_iter()
                        .for_each(|(rule, effect)| note(&mut all, self.space.first(rule), effect));
                }
                Life::Unknown => known = false,
            }
        }
        self.spend(before - budget);
        match alive {
            Some(met) => Life::Live(met),
            None if !known => Life::Unknown,
            None => {
                all.remove(&self.space.first(at));
                Life::Dead(all)
            }
        }
    }

    fn search(&self, at: RuleRef, rule: &Rule, without: &BTreeSet<RuleRef>, budget: &mut u64) -> Life {
        let Some(ways) = self.space.ways(at.chain) else { return Life::Dead(Deciders::new()) };
        let mut deciders = Deciders::new();
        let roots: Vec<Way>;
        let ways = if ways.more {
            // Each way that is known has its chance of a packet; the proof then takes all packets of the rule itself.
            for (way, hook, nfproto) in self.asked(&ways.known) {
                for part in self.space.boxes(way, rule, nfproto).iter().take(4) {
                    match self.piece(at, rule, way, hook, part, without, &mut deciders, budget) {
                        Some(Piece::Met(met)) => return Life::Live(met),
                        Some(Piece::Passed(_)) => {}
                        None => return Life::Unknown,
                    }
                }
            }
            deciders.clear();
            let root = |base| Way { base, calls: Vec::new() };
            roots = self.space.roots(at.chain).into_iter().map(root).collect();
            &roots
        } else {
            &ways.known
        };
        let mut regions = 0;
        for (way, hook, nfproto) in self.asked(ways) {
            let mut peeler = Peeler::new(self.space.boxes(way, rule, nfproto));
            while let Some(part) = peeler.piece() {
                regions += 1;
                if regions > self.options.regions {
                    return Life::Unknown;
                }
                match self.piece(at, rule, way, hook, part, without, &mut deciders, budget) {
                    Some(Piece::Met(met)) => return Life::Live(met),
                    Some(Piece::Passed(region)) => peeler.cut(&region, self.atoms),
                    None => return Life::Unknown,
                }
            }
        }
        Life::Dead(deciders)
    }

    /// Each way with its hook, once for each family that comes there.
    fn asked<'w>(&'w self, ways: &'w [Way]) -> impl Iterator<Item = (&'w Way, Hook, u128)> {
        ways.iter()
            .filter_map(|way| Some((way, self.space.base(way.base)?)))
            .flat_map(|(way, (hook, families))| families.iter().map(move |&nfproto| (way, hook, nfproto)))
    }

    /// Follows one packet of a piece. `None` where the budget ended.
    #[expect(clippy::too_many_arguments, reason = "one step of a search that holds all of this")]
    fn piece(
        &self,
        at: RuleRef,
        rule: &Rule,
        way: &Way,
        hook: Hook,
        part: &PacketBox,
        without: &BTreeSet<RuleRef>,
        deciders: &mut Deciders,
        budget: &mut u64,
    ) -> Option<Piece> {
        let point = self.space.aim(part, way, rule);
        let mut flow = Flow::new(part.clone(), point, self.atoms);
        let focus = Focus { watch: Some(at), only_by: Some(way.base), without, ..Focus::default() };
        let decision =
            self.engine.run_hook_about(hook, &mut flow, self.host, Detail::Fate, budget, &focus).ok()?;
        if decision.met {
            return Some(Piece::Met(Box::new(Met { packet: flow.origin().clone(), hook })));
        }
        for step in decision.steps {
            let takes = match step.kind {
                StepKind::Policy(_) => false,
                StepKind::Jumped(_) => self.goes_away(step.rule) && !way.calls.contains(&step.rule),
                _ => true,
            };
            // A later rule of the same chain can't have kept anything from this one.
            if takes && !(step.rule.chain == at.chain && step.rule.index > at.index) {
                let effect = match step.kind {
                    StepKind::Accepted => Effect::Accepts,
                    StepKind::Dropped | StepKind::Rejected(_) => Effect::Denies,
                    _ => Effect::Other,
                };
                note(deciders, step.rule, effect);
            }
        }
        Some(Piece::Passed(Box::new(flow.region().clone())))
    }

    /// True for `goto`, after which the packet doesn't come back.
    fn goes_away(&self, at: RuleRef) -> bool {
        let last = self.host.ruleset.rule(at).and_then(|rule| rule.statements.last());
        matches!(last, Some(Statement::Verdict(Verdict::Goto(_))))
    }

    /// A smallest set of the deciders that still leaves nothing to the rule: without any one of them, some packet would
    /// meet it. Costs one search for each decider.
    pub fn cover(&mut self, at: RuleRef, deciders: Deciders) -> Cover {
        let mut left_out: BTreeSet<RuleRef> = BTreeSet::new();
        let mut needed: BTreeSet<RuleRef> = BTreeSet::new();
        let mut present = deciders;
        let mut minimal = true;
        for _ in 0..MOST_CANDIDATES {
            // Later rules go first: the earliest ones are what people look for.
            let Some(&candidate) = present.keys().rev().find(|rule| !needed.contains(rule)) else {
                return Cover { rules: present.into_iter().collect(), minimal };
            };
            left_out.extend(self.space.unit(candidate));
            match self.life(at, &left_out) {
                Life::Dead(others) => present = others,
                life => {
                    minimal &= matches!(life, Life::Live(_));
                    for rule in self.space.unit(candidate) {
                        left_out.remove(&rule);
                    }
                    needed.insert(candidate);
                }
            }
        }
        minimal &= present.keys().all(|rule| needed.contains(rule));
        Cover { rules: present.into_iter().collect(), minimal }
    }
}

/// Takes a decision down; a translation accepts too, and a rule that did both this and that has no single effect.
fn note(deciders: &mut Deciders, rule: RuleRef, effect: Effect) {
    deciders
        .entry(rule)
        .and_modify(|known| *known = if *known == effect { effect } else { Effect::Other })
        .or_insert(effect);
}
