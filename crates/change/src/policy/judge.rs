//! May it be applied, here and now?

use super::Policy;
use crate::approval::{Standing, Tally, Vote, tally};
use crate::calendar::Season;
use crate::record::{Change, EventKind, EvidenceVerdict};
use jiff::{SignedDuration, Timestamp};

/// How far the files that decide can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Policy and signers are in files that only root can write.
    Enforced,
    /// They aren't, or there are none, so that the answer is advice; why.
    Advisory(String),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The change.
    pub change: &'q Change,
    /// Its approvals, checked.
    pub votes: &'q [Vote],
    /// The rules.
    pub policy: &'q Policy,
    /// How far all that can be relied on.
    pub trust: &'q Trust,
    /// When.
    pub now: Timestamp,
    /// The host and the hash of the plan that is to be applied; `None` where the question is about the change as a whole.
    pub plan: Option<(&'q str, &'q str)>,
    /// Emergencies whose review is overdue, this change not among them.
    pub overdue: &'q [String],
}

/// It may be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whose approvals count.
    pub approvers: Vec<String>,
    /// It goes the emergency's way, and must have its review by then.
    pub review_by: Option<Timestamp>,
    /// Why nobody enforces it, where nobody does.
    pub advisory: Option<String>,
    /// What the operator is told.
    pub warnings: Vec<String>,
}

/// A reason why it may not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The plan isn't one of the record's.
    #[error("the plan `{plan}` for {host} is none of this change's")]
    OtherPlan {
        /// The host.
        host: String,
        /// Its hash.
        plan: String,
    },
    /// There is nothing to apply.
    #[error("the change has neither a plan nor a tracked file")]
    Draft,
    /// The policy asks for approved changes, and nobody can say who approved.
    #[error("the policy takes only approved changes, and approvals can't be relied on: {0}")]
    Unenforceable(String),
    /// Too few people approved.
    #[error("{have} of {need} approvals are there{}", told(.ignored))]
    Approvals {
        /// How many count.
        have: usize,
        /// How many are needed.
        need: u32,
        /// Those that don't count, with the reason.
        ignored: Vec<(String, String)>,
    },
    /// Too few people of a group approved.
    #[error("{have} of {need} approvals of the group {group} are there, and {why}")]
    Group {
        /// The group.
        group: String,
        /// How many count.
        have: usize,
        /// How many are needed.
        need: u32,
        /// Why it is asked for.
        why: String,
    },
    /// The author didn't sign.
    #[error("the author {0} has not signed the proposal")]
    Author(String),
    /// Somebody asked for another version.
    #[error("{by} asked for another version: {text}")]
    ChangesRequested {
        /// Who.
        by: String,
        /// Their words.
        text: String,
    },
    /// Evidence that has to pass doesn't.
    #[error("the evidence of `{of}` is {verdict}: {summary}")]
    Evidence {
        /// The command.
        of: &'static str,
        /// How it ended.
        verdict: &'static str,
        /// In one line.
        summary: String,
    },
    /// Evidence that has to be there isn't.
    #[error("there is no evidence of `{0}`")]
    NoEvidence(&'static str),
    /// There is no ticket.
    #[error("no ticket is named")]
    Ticket,
    /// Outside the windows of the policy.
    #[error("changes are made in windows, and none is open now{}", when(.next))]
    Closed {
        /// When the next one opens, in words.
        next: Option<String>,
    },
    /// In a freeze.
    #[error("changes are frozen: {reason}{}", when(.next))]
    Frozen {
        /// Why.
        reason: String,
        /// When changes may be made again, in words.
        next: Option<String>,
    },
    /// Outside the record's own window.
    #[error("the change is to be applied from {from} to {to}")]
    OutsideSlot {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
    /// Its temporary rules should be gone already.
    #[error("its rules were to be there until {0}")]
    Expired(jiff::civil::Date),
    /// Emergencies wait for their review.
    #[error("the review of the emergency {} is overdue", .0.join(", "))]
    OverdueReview(Vec<String>),
}

fn told(ignored: &[(String, String)]) -> String {
    ignored.iter().map(|(who, why)| format!("; that of {who} doesn't count: {why}")).collect()
}

fn when(next: &Option<String>) -> String {
    next.as_ref().map(|at| format!("; the next time is {at}")).unwrap_or_default()
}

impl Refusal {
    /// A stable id.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::OtherPlan { .. } => "change-other-plan",
            Refusal::Draft => "change-draft",
            Refusal::Unenforceable(_) => "change-unenforceable",
            Refusal::Approvals { .. } => "change-approvals",
            Refusal::Group { .. } => "change-group",
            Refusal::Author(_) => "change-author",
            Refusal::ChangesRequested { .. } => "change-requested",
            Refusal::Evidence { .. } => "change-evidence",
            Refusal::NoEvidence(_) => "change-no-evidence",
            Refusal::Ticket => "change-ticket",
            Refusal::Closed { .. } => "change-closed",
            Refusal::Frozen { .. } => "change-frozen",
            Refusal::OutsideSlot { .. } => "change-window",
            Refusal::Expired(_) => "change-expired",
            Refusal::OverdueReview(_) => "change-overdue-review",
        }
    }

    /// What to do about it; `id` is the change's.
    pub fn help(&self, id: &str) -> String {
        match self {
            Refusal::OtherPlan { .. } => {
                format!(
                    "take it in with `firewarden change propose --amend {id} --plan FILE`, and have it approved"
                )
            }
            Refusal::Draft => format!("add a plan: `firewarden change propose --amend {id} --plan FILE`"),
            Refusal::Unenforceable(_) => {
                "write `/etc/firewarden/allowed_signers` as root, and let nobody else write to it".to_owned()
            }
            Refusal::Approvals { .. } | Refusal::Group { .. } => {
                format!(
                    "ask for it: `firewarden change approve {id} --key FILE`, by somebody other than the author"
                )
            }
            Refusal::Author(_) => format!("sign it: `firewarden change propose --amend {id} --key FILE`"),
            Refusal::ChangesRequested { .. } => {
                format!(
                    "amend it with `firewarden change propose --amend {id}`, or have them approve it after all"
                )
            }
            Refusal::Evidence { .. } | Refusal::NoEvidence(_) => {
                format!(
                    "correct the rules or what is expected, then `firewarden change propose --amend {id}`"
                )
            }
            Refusal::Ticket => format!("name it: `firewarden change propose --amend {id} --ticket TICKET`"),
            Refusal::Closed { .. } | Refusal::Frozen { .. } => {
                "wait, or propose it as an emergency, which is reviewed afterwards: `--emergency REASON`"
                    .to_owned()
            }
            Refusal::OutsideSlot { .. } => {
                format!(
                    "wait, or give it another window: `firewarden change propose --amend {id} --from … --to …`"
                )
            }
            Refusal::Expired(_) => {
                format!("give it a later day: `firewarden change propose --amend {id} --expires …`")
            }
            Refusal::OverdueReview(ids) => {
                let first = ids.first().map_or("ID", String::as_str);
                format!("have it approved afterwards: `firewarden change approve {first} --key FILE`")
            }
        }
    }
}

/// May it be applied? Everything that speaks against it is told, in a fixed order. O(approvals × requirements).
///
/// # Errors
/// The reasons why not; never empty.
pub fn judge(question: &Question<'_>) -> Result<Permit, Vec<Refusal>> {
    let Question { change, policy, .. } = *question;
    let record = &change.record;
    let tally = tally(&record.author, question.votes);
    let emergency = record.emergency.is_some();
    let mut against = Vec::new();
    let mut warnings = Vec::new();
    if record.plans.is_empty() && record.files.is_empty() {
        against.push(Refusal::Draft);
    }
    if let Some((host, plan)) = question.plan
        && !record.plans.iter().any(|known| known.host == host && known.hash == plan)
    {
        against.push(Refusal::OtherPlan { host: host.to_owned(), plan: plan.to_owned() });
    }
    if let Trust::Advisory(why) = question.trust
        && policy.required
    {
        against.push(Refusal::Unenforceable(why.clone()));
    }
    let host = question.plan.map(|(host, _)| host);
    let (approvals, rules) = (approvals(question, &tally, host), evidence_and_ticket(question));
    if emergency {
        warnings.extend(approvals.iter().chain(&rules).map(Refusal::to_string));
        let have = tally.approvers.len();
        if have < policy.emergency.approvers as usize {
            let ignored = tally.ignored.clone();
            against.push(Refusal::Approvals { have, need: policy.emergency.approvers, ignored });
        }
    } else {
        against.extend(approvals);
        against.extend(rules);
        against.extend(season(question));
        if !question.overdue.is_empty() {
            match policy.emergency.overdue_refuses {
                true => against.push(Refusal::OverdueReview(question.overdue.to_vec())),
                false => warnings.push(Refusal::OverdueReview(question.overdue.to_vec()).to_string()),
            }
        }
    }
    if let Some(slot) = record.window
        && !(slot.from <= question.now && question.now < slot.to)
    {
        against.push(Refusal::OutsideSlot { from: slot.from, to: slot.to });
    }
    let today = policy.calendar.zone.to_datetime(question.now).date();
    if let Some(last) = record.expires.filter(|last| *last < today) {
        against.push(Refusal::Expired(last));
    }
    if !against.is_empty() {
        return Err(against);
    }
    let review_by = emergency.then(|| review_due(question)).flatten();
    let advisory = match question.trust {
        Trust::Enforced => None,
        Trust::Advisory(why) => Some(why.clone()),
    };
    Ok(Permit { approvers: tally.approvers, review_by, advisory, warnings })
}

/// What is missing of approvals, as the policy wants them of any change that isn't an emergency.
fn approvals(question: &Question<'_>, tally: &Tally, host: Option<&str>) -> Vec<Refusal> {
    let Question { change, policy, .. } = *question;
    let mut missing = Vec::new();
    let have = tally.approvers.len();
    if have < policy.approvers as usize {
        missing.push(Refusal::Approvals { have, need: policy.approvers, ignored: tally.ignored.clone() });
    }
    for requirement in policy.require.iter().filter(|require| require.concerns(&change.record, host)) {
        let members = policy.groups.get(&requirement.group).map(Vec::as_slice).unwrap_or_default();
        let have = tally.approvers.iter().filter(|who| members.contains(who)).count();
        if have < requirement.approvers as usize {
            missing.push(Refusal::Group {
                group: requirement.group.clone(),
                have,
                need: requirement.approvers,
                why: requirement.reason(),
            });
        }
    }
    if policy.signed_author && !tally.author_signed {
        missing.push(Refusal::Author(change.record.author.clone()));
    }
    for review in change.wants_another_version(question.votes) {
        missing.push(Refusal::ChangesRequested { by: review.by.clone(), text: review.text.clone() });
    }
    missing
}

fn evidence_and_ticket(question: &Question<'_>) -> Vec<Refusal> {
    let Question { change, policy, .. } = *question;
    let mut missing = Vec::new();
    // A change of tracked files alone has no rules that could be checked.
    let of_rules = !change.record.plans.is_empty() || !change.record.hosts.is_empty();
    for of in policy.must_pass.iter().filter(|_| of_rules) {
        match change.record.evidence_of(*of) {
            None => missing.push(Refusal::NoEvidence(of.word())),
            Some(found) if found.verdict != EvidenceVerdict::Pass => missing.push(Refusal::Evidence {
                of: of.word(),
                verdict: found.verdict.word(),
                summary: found.summary.clone(),
            }),
            Some(_) => {}
        }
    }
    if policy.ticket && change.record.ticket.as_ref().is_none_or(|ticket| ticket.trim().is_empty()) {
        missing.push(Refusal::Ticket);
    }
    missing
}

fn season(question: &Question<'_>) -> Option<Refusal> {
    let calendar = &question.policy.calendar;
    let told = |next: Option<Timestamp>| next.map(|at| calendar.told(at));
    match calendar.season(question.now) {
        Season::Open => None,
        Season::Closed { next } => Some(Refusal::Closed { next: told(next) }),
        Season::Frozen { reason, next } => Some(Refusal::Frozen { reason, next: told(next) }),
    }
}

/// How far the later review of an emergency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// It was no emergency, or wasn't applied.
    NotNeeded,
    /// It has the approvals that it would have needed.
    Done,
    /// It has to have them by then.
    Due(Timestamp),
    /// It should have had them by then.
    Overdue(Timestamp),
}

/// How far the later review of a change is. Approvals that nobody checked don't end it.
pub fn later_review(change: &Change, votes: &[Vote], policy: &Policy, now: Timestamp) -> Later {
    if change.record.emergency.is_none() || change.events.is_empty() {
        return Later::NotNeeded;
    }
    let question = Question { change, votes, policy, trust: &Trust::Enforced, now, plan: None, overdue: &[] };
    let checked: Vec<Vote> =
        votes.iter().filter(|vote| matches!(vote.standing, Standing::Good { .. })).cloned().collect();
    let tally = tally(&change.record.author, &checked);
    if approvals(&question, &tally, None).is_empty() {
        return Later::Done;
    }
    match review_due(&question) {
        Some(due) if now < due => Later::Due(due),
        Some(due) => Later::Overdue(due),
        None => Later::Overdue(now),
    }
}

/// When the review of an emergency is due: so many hours after it was first applied, or after now where it wasn't yet.
fn review_due(question: &Question<'_>) -> Option<Timestamp> {
    let applied = question.change.events.iter().filter(|event| event.kind == EventKind::Applied);
    let from = applied.chain(&question.change.events).map(|event| event.at).min().unwrap_or(question.now);
    let hours = i64::from(question.policy.emergency.review_hours);
    from.checked_add(SignedDuration::from_hours(hours)).ok()
}
