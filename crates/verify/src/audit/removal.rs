//! Rules that change nothing: with and without them every packet meets the same fate and is rewritten alike.

use super::reach::{Met, Prober};
use super::space::Way;
use firewarden_engine::{Decision, Detail, Fate, Flow, Focus, Peeler, StepKind};
use firewarden_packet::{Field, PacketBox, Point};
use firewarden_ruleset::ir::{Hook, Neutral, Rule, RuleRef, Statement};
use std::collections::BTreeSet;

/// What removing a rule does.
#[derive(Clone, Debug)]
pub enum Removal {
    /// Some packet fares differently.
    Matters,
    /// None does. These decide instead; a chain's policy stands behind its last rule.
    ChangesNothing(BTreeSet<RuleRef>),
    /// A limit ended the comparison.
    Unknown,
}

/// True for rules that are there for something else than what becomes of packets: they log, or do what nobody models.
pub fn has_other_purpose(rule: &Rule) -> bool {
    rule.statements.iter().any(|statement| {
        matches!(statement, Statement::Neutral(Neutral::Log | Neutral::Other) | Statement::Opaque { .. })
    })
}

impl Prober<'_> {
    /// Compares the ruleset without the rules of `gone` with the one that lacks `at` too. `probes` are packets for which
    /// the rule may matter, to be tried first.
    pub fn removal(&mut self, at: RuleRef, probes: &[Met], gone: &mut BTreeSet<RuleRef>) -> Removal {
        let before = self.allowance();
        let mut budget = before;
        let removal = self.compare(at, probes, gone, &mut budget).unwrap_or(Removal::Unknown);
        self.spend(before - budget);
        removal
    }

    fn compare(
        &self,
        at: RuleRef,
        probes: &[Met],
        gone: &mut BTreeSet<RuleRef>,
        budget: &mut u64,
    ) -> Option<Removal> {
        // The packets at hand settle it for almost every rule that matters.
        for met in probes {
            if self.differs(at, met, gone, budget)? {
                return Some(Removal::Matters);
            }
        }
        let mut instead = BTreeSet::new();
        let ways = self.space.ways(at.chain)?;
        let roots;
        let ways = match ways.more {
            false => ways.known.as_slice(),
            true => {
                let root = |base| Way { base, calls: Vec::new() };
                roots = self.space.roots(at.chain).into_iter().map(root).collect::<Vec<_>>();
                roots.as_slice()
            }
        };
        let mut regions = 0;
        for rule in self.space.unit(at).filter_map(|member| self.host.ruleset.rule(member)) {
            for way in ways {
                let Some((hook, families)) = self.space.base(way.base) else { continue };
                for &nfproto in families {
                    let mut peeler = Peeler::new(self.space.boxes(way, rule, nfproto));
                    while let Some(part) = peeler.piece() {
                        regions += 1;
                        if regions > self.most_regions() {
                            return Some(Removal::Unknown);
                        }
                        let point = self.space.aim(part, way, rule);
                        match self.alike(at, hook, part, point, gone, &mut instead, budget)? {
                            Some(region) => peeler.cut(&region, self.atoms),
                            None => return Some(Removal::Matters),
                        }
                    }
                }
            }
        }
        Some(Removal::ChangesNothing(instead))
    }

    /// Whether one packet fares differently; `None` where the budget ended.
    fn differs(
        &self,
        at: RuleRef,
        met: &Met,
        gone: &mut BTreeSet<RuleRef>,
        budget: &mut u64,
    ) -> Option<bool> {
        let mut run = |without: &BTreeSet<RuleRef>| {
            let mut flow = Flow::new(PacketBox::all(), met.packet.clone(), self.atoms);
            let focus = Focus { without, packet_only: true, ..Focus::default() };
            let decided =
                self.engine.run_hook_about(met.hook, &mut flow, self.host, Detail::Verdict, budget, &focus);
            decided.ok().map(|decision| (decision.fate, flow))
        };
        let left = run(gone);
        gone.extend(self.space.unit(at));
        let right = run(gone);
        for rule in self.space.unit(at) {
            gone.remove(&rule);
        }
        let ((left_fate, left), (right_fate, right)) = (left?, right?);
        let rewritten = || {
            let differs = |&field: &Field| left.now().get(field) != right.now().get(field);
            self.space.rewrites(met.hook) && Field::ALL_FIXED.iter().any(differs)
        };
        Some(left_fate != right_fate || left_fate == Fate::Accepted && rewritten())
    }

    /// The region around a point in which both do the same, `Some(None)` where they differ; `None` where the budget
    /// ended. What decides without the rule is added to `instead`.
    #[expect(clippy::too_many_arguments, reason = "one step of a search that holds all of this")]
    fn alike(
        &self,
        at: RuleRef,
        hook: Hook,
        part: &PacketBox,
        point: Point,
        gone: &mut BTreeSet<RuleRef>,
        instead: &mut BTreeSet<RuleRef>,
        budget: &mut u64,
    ) -> Option<Option<PacketBox>> {
        let mut run = |flow: &mut Flow<'_>, without: &BTreeSet<RuleRef>| {
            let focus = Focus { without, ..Focus::default() };
            self.engine.run_hook_about(hook, flow, self.host, Detail::Verdict, budget, &focus).ok()
        };
        let mut left = Flow::new(part.clone(), point, self.atoms);
        let first: Decision = run(&mut left, gone)?;
        let mut right = Flow::new(left.region().clone(), left.origin().clone(), self.atoms);
        gone.extend(self.space.unit(at));
        let second = run(&mut right, gone);
        for rule in self.space.unit(at) {
            gone.remove(&rule);
        }
        let second: Decision = second?;
        if first.fate != second.fate {
            return Some(None);
        }
        if first.fate == Fate::Accepted && self.space.rewrites(hook) {
            for &field in Field::ALL_FIXED {
                let (from_left, from_right) = (left.take(field), right.take(field));
                if from_left == from_right {
                    continue;
                }
                if from_left.value() != from_right.value() {
                    return Some(None);
                }
                // Equal here by different ways: what is left is where it stays equal.
                left.hold(field);
                right.hold(field);
            }
        }
        if first.steps != second.steps {
            let decides = |kind: &StepKind| {
                matches!(
                    kind,
                    StepKind::Accepted | StepKind::Dropped | StepKind::Rejected(_) | StepKind::Policy(_)
                )
            };
            instead.extend(second.steps.iter().filter(|step| decides(&step.kind)).map(|step| step.rule));
        }
        let region = left.region().intersect(right.region()).unwrap_or_default();
        Some(Some(region))
    }
}
