//! A change with everything that was added to it, and how far it has come.

use super::{EventKind, Record, Review, ReviewKind};
use crate::approval::{Approval, Vote};
use crate::record::Event;
use jiff::civil::Date;
use std::collections::BTreeMap;

/// The folder of a change, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `change.yaml`.
    pub record: Record,
    /// By their files' names, which begin with the time.
    pub reviews: Vec<Review>,
    /// By their files' names.
    pub approvals: Vec<Approval>,
    /// By their files' names, which begin with the time.
    pub events: Vec<Event>,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It has neither a plan nor a tracked file, so that nothing of it can be applied.
    Draft,
    /// It waits for approvals.
    Proposed,
    /// Somebody wants another version.
    ChangesRequested,
    /// It has the approvals that the policy asks for.
    Approved,
    /// It is on trial, or only some of its hosts have it.
    Applied,
    /// It is in.
    Confirmed,
    /// It was applied, and the rules before it are back.
    Reverted,
    /// A host has neither it nor the rules before it.
    Stuck,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Proposed => "proposed",
            Status::ChangesRequested => "changes requested",
            Status::Approved => "approved",
            Status::Applied => "applied",
            Status::Confirmed => "confirmed",
            Status::Reverted => "reverted",
            Status::Stuck => "stuck",
        }
    }
}

impl Change {
    /// How far it has come; `approved` says whether its approvals are enough (see [`crate::policy::judge`]).
    pub fn status(&self, votes: &[Vote], approved: bool) -> Status {
        if let Some(status) = self.outcome() {
            return status;
        }
        if self.record.plans.is_empty() && self.record.files.is_empty() {
            return Status::Draft;
        }
        if !self.wants_another_version(votes).is_empty() {
            return Status::ChangesRequested;
        }
        if approved { Status::Approved } else { Status::Proposed }
    }

    /// What became of this version on its hosts; `None` where it wasn't applied.
    pub fn outcome(&self) -> Option<Status> {
        let mut last: BTreeMap<&str, EventKind> = BTreeMap::new();
        let mut events: Vec<&Event> = self.events_of_this_version().collect();
        events.sort_by_key(|event| event.at);
        for event in events {
            last.insert(&event.host, event.kind);
        }
        let has = |kind: EventKind| last.values().any(|found| *found == kind);
        let missing = self.record.plans.iter().any(|plan| !last.contains_key(plan.host.as_str()));
        match () {
            () if last.is_empty() => None,
            () if has(EventKind::Stuck) => Some(Status::Stuck),
            () if has(EventKind::Applied) => Some(Status::Applied),
            () if has(EventKind::Reverted) => Some(Status::Reverted),
            () if missing => Some(Status::Applied),
            () => Some(Status::Confirmed),
        }
    }

    /// Events of plans that the record has now, and of tracked files.
    pub fn events_of_this_version(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| match &event.plan {
            Some(plan) => self.record.plans.iter().any(|known| known.hash == *plan),
            None => true,
        })
    }

    /// Who asked for another version of this record, and hasn't approved it since.
    pub fn wants_another_version(&self, votes: &[Vote]) -> Vec<&Review> {
        let hash = self.record.hash();
        let settled = |review: &Review| {
            votes.iter().any(|vote| vote.by == review.by && vote.at >= review.at && vote.may_count())
        };
        self.reviews
            .iter()
            .filter(|review| review.kind == ReviewKind::ChangesRequested && review.record == hash)
            .filter(|review| !settled(review))
            .collect()
    }
}

/// Changes that are in, whose temporary rules should be gone by now, and that no confirmed change ended.
pub fn expired<'c>(changes: &'c [Change], today: Date) -> Vec<&'c Change> {
    let confirmed = |change: &&Change| change.outcome() == Some(Status::Confirmed);
    let is_in = |change: &&'c Change| {
        matches!(change.outcome(), Some(Status::Confirmed | Status::Applied | Status::Stuck))
    };
    let ended = |id: &str| {
        changes.iter().filter(confirmed).any(|other| other.record.ends.iter().any(|end| end == id))
    };
    changes
        .iter()
        .filter(|change| change.record.expires.is_some_and(|last| last < today))
        .filter(is_in)
        .filter(|change| !ended(&change.record.id))
        .collect()
}
