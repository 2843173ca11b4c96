//! The figures of a drill: all runs and the median, in words that people read.

use super::{Drill, HEAD, Mode, Postmortem, Run};
use crate::series::{Connections, median, share};

/// What runs of one mode give.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// How long the gate took to refuse, in milliseconds.
    pub refused: Spread,
    /// From the fault to the first failing probe, in milliseconds.
    pub noticed: Spread,
    /// From the fault to the old rules, in milliseconds.
    pub reverted: Spread,
    /// From the fault until every user was served again, in milliseconds.
    pub restored: Spread,
    /// The share of users with a failed request since the fault, from 0 to 1.
    pub users: Spread,
}

impl Figures {
    /// The figures of a drill's runs of one mode. O(runs · users).
    pub fn of(drill: &Drill, mode: Mode) -> Figures {
        let over = |value: fn(&Run) -> Option<f64>| Spread::of(drill.runs_of(mode).map(value));
        Figures {
            refused: over(|run| run.to_refused().map(|time| time as f64)),
            noticed: over(|run| run.to_noticed().map(|time| time as f64)),
            reverted: over(|run| run.to_reverted().map(|time| time as f64)),
            restored: over(|run| run.to_restored().map(|time| time as f64)),
            users: over(|run| users_affected(run, None).map(|(hit, all)| share(hit, all))),
        }
    }
}

/// How many users of a kind, or of all, had a failed request since the fault, and how many there are. What failed while the
/// service came up is not the fault's doing. `None` without users, or without a fault. O(users).
pub fn users_affected(run: &Run, kind: Option<Connections>) -> Option<(u64, u64)> {
    let (series, fault) = (run.series.as_ref()?, run.fault()?);
    let from = fault.saturating_sub(HEAD);
    Some((series.users_affected_since(kind, from), series.users_of(kind).count() as u64))
}

/// One figure over several runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The value of each run that has one, in the order of the runs.
    pub values: Vec<f64>,
    /// How many runs have none.
    pub missing: usize,
}

impl Spread {
    fn of(values: impl Iterator<Item = Option<f64>>) -> Spread {
        let (some, none): (Vec<_>, Vec<_>) = values.partition(Option::is_some);
        Spread { values: some.into_iter().flatten().collect(), missing: none.len() }
    }

    /// The middle value of those there are. A run without a value has none that could be counted: look at `missing`.
    pub fn median(&self) -> Option<f64> {
        median(&self.values)
    }
}

impl Postmortem {
    /// How long it lasted, in milliseconds.
    pub fn lasted(&self) -> f64 {
        milliseconds(self.began, self.resolved)
    }

    /// How long until it was noticed, in milliseconds.
    pub fn to_detected(&self) -> Option<f64> {
        self.detected.map(|time| milliseconds(self.began, time))
    }

    /// How long until the cause was known, in milliseconds.
    pub fn to_cause(&self) -> Option<f64> {
        self.cause_known.map(|time| milliseconds(self.began, time))
    }
}

fn milliseconds(from: jiff::Timestamp, until: jiff::Timestamp) -> f64 {
    until.duration_since(from).as_secs_f64() * 1000.0
}
