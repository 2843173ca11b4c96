//! Rules that change nothing: with and without them every packet meets the same fate and is rewritten alike.

use super::reach::{Met, Prober};
use super::space::Way;
use firewarden_engine::{Decision, Detail, Fate, Flow, Focus, Peeler, StepKind};
use firewarden_packet::{Field, PacketBox, Point};
use firewarden_ruleset::ir::{ChainId, Hook, Neutral, Rule, RuleRef, Statement, Verdict};
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
        for (number, met) in probes.iter().enumerate() {
            // The first one meets the rule itself.
            let with_rule = if number == 0 { self.fate_by(at, met.hook) } else { None };
            if self.differs(at, met, with_rule, gone, budget)? {
                return Some(Removal::Matters);
            }
        }
        let mut instead = BTreeSet::new();
        if self.only_calls_nothing(at, gone) {
            return Some(Removal::ChangesNothing(instead));
        }
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
                let fate = self.fate_by(at, hook);
                for &nfproto in families {
                    let mut peeler = Peeler::new(self.space.boxes(way, rule, nfproto));
                    while let Some(part) = peeler.piece() {
                        regions += 1;
                        if regions > self.most_regions() {
                            return Some(Removal::Unknown);
                        }
                        let point = self.space.aim(part, way, rule);
                        let alike = match fate {
                            Some(fate) => {
                                self.alike_to(fate, at, way.base, part, point, gone, &mut instead, budget)
                            }
                            None => self.alike(at, hook, part, point, gone, &mut instead, budget),
                        };
                        match alike? {
                            Some(region) => peeler.cut(&region, self.atoms),
                            None => return Some(Removal::Matters),
                        }
                    }
                }
            }
        }
        Some(Removal::ChangesNothing(instead))
    }

    /// True where all that a rule does is to jump to a chain in which no rule is left, as in the empty chains that ufw and
    /// its like keep for others: its packets need not be taken apart.
    fn only_calls_nothing(&self, at: RuleRef, gone: &BTreeSet<RuleRef>) -> bool {
        self.space.unit(at).all(|member| {
            let Some(rule) = self.host.ruleset.rule(member) else { return false };
            let Some((Statement::Verdict(Verdict::Jump(chain)), conditions)) = rule.statements.split_last()
            else {
                return false;
            };
            let is_empty = self.host.ruleset.chain(*chain).is_some_and(|called| {
                (0..called.rules.len() as u32).all(|index| gone.contains(&RuleRef { chain: *chain, index }))
            });
            is_empty
                && conditions
                    .iter()
                    .all(|statement| matches!(statement, Statement::Test(_) | Statement::Neutral(_)))
        })
    }

    /// What becomes of the packets on a hook that meet a rule, where the rule alone says so and nobody sees what they were
    /// rewritten to.
    fn fate_by(&self, at: RuleRef, hook: Hook) -> Option<Fate> {
        if self.space.unit(at).count() > 1 {
            return None;
        }
        let (last, conditions) = self.host.ruleset.rule(at)?.statements.split_last()?;
        let only_tests = |statement| matches!(statement, &Statement::Test(_) | &Statement::Neutral(_));
        match last {
            _ if !conditions.iter().all(only_tests) => None,
            Statement::Verdict(Verdict::Drop) => Some(Fate::Dropped),
            Statement::Verdict(Verdict::Reject(with)) => Some(Fate::Rejected(*with)),
            // Later base chains may refuse what this one accepts.
            Statement::Verdict(Verdict::Accept)
                if self.space.stands_alone(hook) && !self.space.rewrites(hook) =>
            {
                Some(Fate::Accepted)
            }
            _ => None,
        }
    }

    /// Whether one packet fares differently; `None` where the budget ended. `with_rule` is its fate with the rule, where
    /// that is known: rules that are gone don't change it.
    fn differs(
        &self,
        at: RuleRef,
        met: &Met,
        with_rule: Option<Fate>,
        gone: &mut BTreeSet<RuleRef>,
        budget: &mut u64,
    ) -> Option<bool> {
        let rewrites = self.space.rewrites(met.hook);
        // What a refused packet was rewritten to doesn't matter.
        let mut run = |without: &BTreeSet<RuleRef>| {
            let mut flow = Flow::new(PacketBox::all(), met.packet.clone(), self.atoms);
            let focus = Focus { without, packet_only: true, ..Focus::default() };
            let decided =
                self.engine.run_hook_about(met.hook, &mut flow, self.host, Detail::Verdict, budget, &focus);
            let fate = decided.ok()?.fate;
            Some((fate, (rewrites && fate == Fate::Accepted).then(|| Box::new(flow.now().clone()))))
        };
        let left = match with_rule {
            Some(fate) => Some((fate, None)),
            None => run(gone),
        };
        gone.extend(self.space.unit(at));
        let right = run(gone);
        for rule in self.space.unit(at) {
            gone.remove(&rule);
        }
        let ((left_fate, left), (right_fate, right)) = (left?, right?);
        let rewritten = match (left, right) {
            (Some(left), Some(right)) => {
                Field::ALL_FIXED.iter().any(|&field| left.get(field) != right.get(field))
            }
            _ => false,
        };
        Some(left_fate != right_fate || rewritten)
    }

    /// As [`Prober::alike`], for a rule that alone decides the fate of the packets that meet it: those that don't meet it
    /// fare alike without it, and of the others only the fate without it is asked. One run tells both.
    #[expect(clippy::too_many_arguments, reason = "one step of a search that holds all of this")]
    fn alike_to(
        &self,
        fate: Fate,
        at: RuleRef,
        base: ChainId,
        part: &PacketBox,
        point: Point,
        gone: &BTreeSet<RuleRef>,
        instead: &mut BTreeSet<RuleRef>,
        budget: &mut u64,
    ) -> Option<Option<PacketBox>> {
        let (hook, _) = self.space.base(base)?;
        let mut flow = Flow::new(part.clone(), point, self.atoms);
        let focus = Focus {
            watch: Some(at),
            only_by: Some(base),
            watched_is_idle: true,
            without: gone,
            packet_only: false,
        };
        let decided = self.engine.run_hook_about(hook, &mut flow, self.host, Detail::Verdict, budget, &focus);
        let decision = decided.ok()?;
        if decision.met {
            if decision.fate != fate {
                return Some(None);
            }
            instead.extend(deciders(&decision));
        }
        Some(Some(flow.region().clone()))
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
            instead.extend(deciders(&second));
        }
        let region = left.region().intersect(right.region()).unwrap_or_default();
        Some(Some(region))
    }
}

/// The rules that decided about a packet.
fn deciders(decision: &Decision) -> impl Iterator<Item = RuleRef> {
    let decides = |kind: &StepKind| {
        matches!(kind, StepKind::Accepted | StepKind::Dropped | StepKind::Rejected(_) | StepKind::Policy(_))
    };
    decision.steps.iter().filter(move |step| decides(&step.kind)).map(|step| step.rule)
}
