//! The rules that packets of a question meet, answers and later packets included.

use super::prove::{Budget, Prover};
use super::route::Lane;
use crate::intent::{Claim, Question};
use firewarden_engine::{Detail, Flow, OutOfBudget, Peeler, StepKind};
use firewarden_network::{Journey, Outcome};
use firewarden_packet::{PacketBox, Point};
use firewarden_ruleset::ir::{Policy, RuleRef};
use std::collections::BTreeSet;

/// Sets of packets taken apart for one question, at most.
const REGIONS: u64 = 20_000;
/// Rules looked at for one question, at most.
const STEPS: u64 = 5_000_000;

/// The rules that an intent needs: those that its packets meet, of packets that mustn't arrive those that refuse them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesUsed {
    /// The host's number and the rule. A chain's policy is the rule behind its last one.
    pub rules: BTreeSet<(usize, RuleRef)>,
    /// A limit ended the search, so that further rules may be used.
    pub more: bool,
}

/// Adds the rules that packets of a question meet. Exact up to the limits: the packets are taken apart until all of a part
/// meet the same rules.
pub(super) fn collect(prover: &Prover<'_>, question: &Question, lanes: &[Lane], used: &mut RulesUsed) {
    let mut budget = Budget { steps: STEPS, regions: REGIONS };
    for part in prover.parts(question, lanes) {
        let mut peeler = Peeler::new([part.region]);
        while let Some(piece) = peeler.piece() {
            let piece = piece.clone();
            let Ok(met) = meet(prover, question, &part.path, &piece, &mut budget, used) else {
                used.more = true;
                return;
            };
            peeler.cut(&met, prover.atoms);
        }
    }
}

/// Follows one packet of a piece; gives the packets that meet the same rules.
fn meet(
    prover: &Prover<'_>,
    question: &Question,
    path: &firewarden_network::Path,
    piece: &PacketBox,
    budget: &mut Budget,
    used: &mut RulesUsed,
) -> Result<PacketBox, OutOfBudget> {
    budget.regions = budget.regions.checked_sub(1).ok_or(OutOfBudget)?;
    let point = Point::in_box(piece, &Point::default());
    let mut flow = Flow::new(piece.clone(), point, prover.atoms);
    let journey = prover.network.send(&mut flow, path, Detail::Rules, &mut budget.steps)?;
    if question.claim == Claim::NeverArrives {
        // What keeps a packet out is the rule that refuses it; those that let it pass until then don't.
        let refuses =
            |kind| matches!(kind, StepKind::Dropped | StepKind::Rejected(_) | StepKind::Policy(Policy::Drop));
        let refusing = journey.steps.iter().filter(|step| refuses(step.step.kind));
        used.rules.extend(refusing.map(|step| (step.host.0, step.step.rule)));
        return Ok(flow.region().clone());
    }
    note(&journey, used);
    if !matches!(journey.outcome, Outcome::Delivered(_) | Outcome::Left) {
        return Ok(flow.region().clone());
    }
    let answered = prover.network.answer(&mut flow, &journey, Detail::Rules, &mut budget.steps)?;
    let Some((mut answer, back)) = answered else { return Ok(flow.region().clone()) };
    note(&back, used);
    if !matches!(back.outcome, Outcome::Delivered(_) | Outcome::Left) {
        return Ok(answer.region().clone());
    }
    let network = prover.network;
    let (later, on) =
        network.continue_original(&mut answer, &journey, &back, Detail::Rules, &mut budget.steps)?;
    note(&on, used);
    Ok(later.region().clone())
}

fn note(journey: &Journey, used: &mut RulesUsed) {
    used.rules.extend(journey.steps.iter().map(|step| (step.host.0, step.step.rule)));
}
