//! Whether two rulesets do the same to every packet.
//!
//! A question is peeled with both engines at once: a point is followed through the hook of the first ruleset, and then,
//! within the region that shares its fate, through that of the second. In what is left both sides treat all packets
//! alike, so that one comparison settles it. A difference is replayed by the interpreter before it is told.

#[cfg(test)]
mod tests;

use firewarden_engine::{Detail, Engine, Fate, Flow, Peeler};
use firewarden_packet::{AtomTable, Dim, Field, PacketBox, Point};
use firewarden_ruleset::Unknown;
use firewarden_ruleset::interpreter::{Interpreter, Outcome, Walk};
use firewarden_ruleset::ir::{Hook, RuleRef, Ruleset};

/// What is asked: all packets of a box on a hook.
#[derive(Clone, Debug)]
pub struct Question {
    /// The hook.
    pub hook: Hook,
    /// The packets, of one family.
    pub packets: PacketBox,
}

/// How much work a comparison may make, and how finely it looks.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Regions, over all questions.
    pub regions: u64,
    /// Rules looked at, over all questions.
    pub rules: u64,
    /// With [`Detail::Rules`], dropped and rejected packets differ; with [`Detail::Fate`] both are refused.
    pub detail: Detail,
}

/// What came of a comparison.
#[derive(Clone, Debug)]
pub enum Equivalence {
    /// Every packet of the questions meets the same fate, and is rewritten alike.
    Equivalent {
        /// How many regions it took.
        regions: u64,
    },
    /// A packet is treated differently; the interpreter says so too.
    Differs(Box<Difference>),
    /// Not known.
    Undetermined(Reason),
}

/// Why a comparison has no answer.
#[derive(Clone, Debug)]
pub enum Reason {
    /// The limit of regions ended; this many were alike.
    Regions(u64),
    /// The limit of rules ended; this many regions were alike.
    Rules(u64),
    /// The engine found a difference that the interpreter doesn't see: a bug of one of them.
    Unconfirmed(Box<Difference>),
}

/// A packet that two rulesets treat differently.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The hook.
    pub hook: Hook,
    /// The packet, with its atoms.
    pub packet: Point,
    /// The packets for which the answers are these.
    pub region: PacketBox,
    /// A field that is rewritten differently; `None` where the fates differ.
    pub field: Option<Field>,
    /// What the first ruleset does.
    pub left: Side,
    /// What the second one does.
    pub right: Side,
}

/// What one ruleset does to a packet.
#[derive(Clone, Debug)]
pub struct Side {
    /// Whether it passes.
    pub fate: Fate,
    /// The packet after the hook.
    pub after: Point,
    /// The rules on its way.
    pub rules: Vec<RuleRef>,
}

/// All packets of each hook on which one of the rulesets has a base chain: IPv4 and IPv6, in every state of connection
/// tracking.
pub fn questions(rulesets: &[&Ruleset]) -> Vec<Question> {
    let mut all = Vec::new();
    for hook in Hook::ALL {
        for nfproto in [2, 10] {
            if rulesets.iter().any(|ruleset| !ruleset.base_chains(hook, nfproto).is_empty()) {
                all.push(Question { hook, packets: packets(hook, nfproto) });
            }
        }
    }
    all
}

/// All packets of a family (2 or 10) that a hook can see: without an interface where there is none yet, or none any more.
pub fn packets(hook: Hook, nfproto: u128) -> PacketBox {
    let mut packets = PacketBox::all().with_value(Field::NFPROTO, nfproto);
    if nfproto == 2 {
        for field in [Field::SADDR, Field::DADDR, Field::CT_ORIGINAL_SADDR, Field::CT_ORIGINAL_DADDR] {
            packets.set(field, Dim::Range(0, u128::from(u32::MAX)));
        }
    }
    let interfaces = match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Input => (true, false),
        Hook::Forward => (true, true),
        Hook::Output | Hook::Egress | Hook::Postrouting => (false, true),
    };
    for (field, present) in [(Field::IIFNAME, interfaces.0), (Field::OIFNAME, interfaces.1)] {
        let dim = match present {
            true => Dim::Range(1, u128::MAX),
            false => Dim::Range(0, 0),
        };
        // A forwarded packet has an input interface in postrouting, one made here has none.
        if present || hook != Hook::Postrouting {
            packets.set(field, dim);
        }
    }
    packets
}

/// Compares two rulesets whose dynamic fields are from one table. Stateful atoms of the two are different ones: see
/// [`align`]. Each region costs two runs of the hook.
pub fn compare(
    left: &Ruleset,
    right: &Ruleset,
    atoms: &AtomTable,
    questions: &[Question],
    limits: Limits,
) -> Equivalence {
    let engines = [Engine::new(left), Engine::new(right)];
    let mut rules = limits.rules;
    let mut regions = 0;
    for question in questions {
        let mut peeler = Peeler::new([question.packets.clone()]);
        while let Some(piece) = peeler.piece().cloned() {
            if regions == limits.regions {
                return Equivalence::Undetermined(Reason::Regions(regions));
            }
            regions += 1;
            match compare_at(&engines, question.hook, piece, atoms, limits.detail, &mut rules) {
                Some(Ok(region)) => peeler.cut(&region, atoms),
                Some(Err(difference)) => {
                    return match confirmed(left, right, atoms, &difference, limits.detail) {
                        true => Equivalence::Differs(difference),
                        false => Equivalence::Undetermined(Reason::Unconfirmed(difference)),
                    };
                }
                None => return Equivalence::Undetermined(Reason::Rules(regions)),
            }
        }
    }
    Equivalence::Equivalent { regions }
}

/// The region around a point of `piece` in which both do the same; or what they do differently. `None` where the rules
/// that may be looked at ended.
fn compare_at(
    engines: &[Engine<'_>; 2],
    hook: Hook,
    piece: PacketBox,
    atoms: &AtomTable,
    detail: Detail,
    rules: &mut u64,
) -> Option<Result<PacketBox, Box<Difference>>> {
    let [left, right] = engines;
    let point = Point::in_box(&piece, &Point::default());
    let mut left_flow = Flow::new(piece, point, atoms);
    let left_decision = left.run_hook(hook, &mut left_flow, &Unknown, detail, rules).ok()?;
    let mut right_flow = Flow::new(left_flow.region().clone(), left_flow.origin().clone(), atoms);
    let right_decision = right.run_hook(hook, &mut right_flow, &Unknown, detail, rules).ok()?;
    let mut differing = None;
    let same_fate = alike(left_decision.fate, right_decision.fate, detail);
    if same_fate && left_decision.fate == Fate::Accepted {
        for &field in Field::ALL_FIXED {
            let (from_left, from_right) = (left_flow.take(field), right_flow.take(field));
            if from_left == from_right {
                continue;
            }
            if from_left.value() != from_right.value() {
                differing = Some(field);
                break;
            }
            // Equal here by different ways: what is left is where it stays equal.
            left_flow.hold(field);
            right_flow.hold(field);
        }
    }
    let region = left_flow.region().intersect(right_flow.region()).unwrap_or_default();
    if same_fate && differing.is_none() {
        return Some(Ok(region));
    }
    let side = |fate, flow: &Flow<'_>, steps: Vec<firewarden_engine::Step>| Side {
        fate,
        after: flow.now().clone(),
        rules: steps.into_iter().map(|step| step.rule).collect(),
    };
    Some(Err(Box::new(Difference {
        hook,
        packet: right_flow.origin().clone(),
        region,
        field: differing,
        left: side(left_decision.fate, &left_flow, left_decision.steps),
        right: side(right_decision.fate, &right_flow, right_decision.steps),
    })))
}

/// Whether the interpreter sees the difference too.
fn confirmed(
    left: &Ruleset,
    right: &Ruleset,
    atoms: &AtomTable,
    difference: &Difference,
    detail: Detail,
) -> bool {
    let run = |ruleset: &Ruleset| {
        let mut walk = Walk::new(difference.packet.clone());
        let result = Interpreter::new(ruleset, atoms).run_hook(difference.hook, &mut walk, &Unknown);
        let fate = match result.outcome {
            Outcome::Accepted => Fate::Accepted,
            Outcome::Dropped => Fate::Dropped,
            Outcome::Rejected(with) => Fate::Rejected(with),
        };
        (fate, walk.now)
    };
    let ((left_fate, left_after), (right_fate, right_after)) = (run(left), run(right));
    match difference.field {
        None => {
            !alike(left_fate, right_fate, detail)
                && alike(left_fate, difference.left.fate, detail)
                && alike(right_fate, difference.right.fate, detail)
        }
        Some(field) => {
            left_after.get(field) == difference.left.after.get(field)
                && right_after.get(field) == difference.right.after.get(field)
        }
    }
}

fn alike(left: Fate, right: Fate, detail: Detail) -> bool {
    match detail {
        Detail::Rules | Detail::Verdict => left == right,
        Detail::Fate => (left == Fate::Accepted) == (right == Fate::Accepted),
    }
}
