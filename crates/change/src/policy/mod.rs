//! Who has to approve a change, and when it may be made.
//!
//! [`judge`] is the decision that `apply` takes before it touches anything: a [`Permit`], or every reason why not.

mod judge;
mod read;
mod schema;

pub use judge::{Later, Permit, Question, Refusal, Trust, judge, later_review};
pub use read::read_policy;
pub use schema::policy_schema;

use crate::calendar::Calendar;
use crate::record::{EvidenceOf, Record, Risk};
use std::collections::BTreeMap;

/// A policy, as `policy.yaml` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Only approved changes are applied.
    pub required: bool,
    /// How many people beside the author have to approve.
    pub approvers: u32,
    /// The author has to sign the proposal.
    pub signed_author: bool,
    /// A ticket has to be named.
    pub ticket: bool,
    /// Evidence that has to be there and to pass.
    pub must_pass: Vec<EvidenceOf>,
    /// People by group.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Approvals of certain groups for certain changes.
    pub require: Vec<Requirement>,
    /// When changes may be made.
    pub calendar: Calendar,
    /// The way past all that, for the time being.
    pub emergency: Emergency,
}

/// Approvals that certain changes need of a group. Every condition that is given has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Where an intent of this owner is touched.
    pub owner: Option<String>,
    /// Where rules of this host change.
    pub host: Option<String>,
    /// Where the risk is at least this.
    pub risk: Option<Risk>,
    /// Whose approval it takes.
    pub group: String,
    /// How many of them.
    pub approvers: u32,
}

/// What holds for changes that can't wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emergency {
    /// How many people beside the author have to approve.
    pub approvers: u32,
    /// Within so many hours it has to have the approvals that it would have needed.
    pub review_hours: u32,
    /// Where it hasn't: whether other changes are refused until it has.
    pub overdue_refuses: bool,
}

impl Default for Policy {
    /// Where there is no policy: changes are applied as they are; where there is a record, one approval is asked for, and a
    /// check that passes.
    fn default() -> Policy {
        Policy {
            required: false,
            approvers: 1,
            signed_author: false,
            ticket: false,
            must_pass: vec![EvidenceOf::Check],
            groups: BTreeMap::new(),
            require: Vec::new(),
            calendar: Calendar::default(),
            emergency: Emergency { approvers: 0, review_hours: 48, overdue_refuses: true },
        }
    }
}

impl Requirement {
    /// Whether it speaks of a change that is applied to a host.
    fn concerns(&self, record: &Record, host: Option<&str>) -> bool {
        let owner = |name: &String| record.owners.iter().any(|owner| owner.owner == *name);
        let on = |name: &String| {
            host == Some(name.as_str())
                || record.hosts.contains(name)
                || record.plans.iter().any(|plan| plan.host == *name)
        };
        self.owner.as_ref().is_none_or(owner)
            && self.host.as_ref().is_none_or(on)
            && self.risk.is_none_or(|risk| record.risk >= risk)
    }

    /// Why it is asked for, in words: `the owner web-team, a risk of high`.
    fn reason(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.owner.as_ref().map(|owner| format!("intents of {owner} are touched")));
        parts.extend(self.host.as_ref().map(|host| format!("rules of {host} change")));
        parts.extend(self.risk.map(|risk| format!("the risk is {} or more", risk.word())));
        match parts.is_empty() {
            true => "every change needs it".to_owned(),
            false => parts.join(" and "),
        }
    }
}

#[cfg(test)]
mod tests;
