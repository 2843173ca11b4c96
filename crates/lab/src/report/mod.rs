//! What came of drills: one [`Drill`] is a scenario with all its runs, as a page, as JUnit, as JSON, and as journals in the
//! fields of Chaos Toolkit.
//!
//! Durations are computed from moments here, never given; where there are several runs all are shown, and their median.
//! The types are the published format (`docs/schema/drill-report-v1.json`), so they derive `Serialize`.

mod chart;
mod figures;
mod journal;
mod junit;
mod page;
mod tables;
mod words;

pub use figures::{Figures, Spread};
pub use journal::journal;
pub use junit::junit;
pub use page::{headline, page};
pub use words::{duration, percent};

use crate::series::Series;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is due so shortly before the fault may have been sent after it, in milliseconds; what is due so shortly after it, the
/// other way round.
pub const HEAD: u64 = 250;

/// The version of [`Drill`] as JSON.
pub const FORMAT_VERSION: u32 = 1;

/// A scenario and its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "firewarden drill report")]
pub struct Drill {
    /// The version of this format: 1.
    pub version: u32,
    /// The scenario's name, such as `003`.
    pub scenario: String,
    /// What happens, in a few words.
    pub title: String,
    /// What happens, in a sentence or some.
    pub about: String,
    /// Whether a firewall's rules are the fault; if not, nothing may be refused.
    pub firewall_to_blame: bool,
    /// The change, as a difference of texts or as commands; empty where the fault is no change of rules.
    pub change: String,
    /// The outage as it was.
    pub postmortem: Option<Postmortem>,
    /// What ends a run early, beside time; null where the scenario names nothing.
    #[serde(default)]
    pub stop: Option<String>,
    /// Where it ran: kernel, processors, version of the program.
    pub place: String,
    /// The runs, in the order in which they were made.
    pub runs: Vec<Run>,
}

/// How a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The gate has to refuse the change.
    Prevent,
    /// The change is let through on purpose; probes have to fail, and it has to be reverted.
    Apply,
    /// Nothing protects the service: the outage itself, for some seconds.
    Observe,
}

impl Mode {
    /// All, in the order in which they are shown.
    pub const ALL: [Mode; 3] = [Mode::Prevent, Mode::Apply, Mode::Observe];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Prevent => "prevent",
            Mode::Apply => "apply",
            Mode::Observe => "observe",
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The run's number, from 1.
    pub number: u32,
    /// How it was made.
    pub mode: Mode,
    /// When it began, UTC, RFC 3339.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Whether it went as the scenario expects.
    pub verdict: Verdict,
    /// What was found, a sentence each: why the verdict isn't `passed`, or what it rests on.
    pub findings: Vec<String>,
    /// What happened when, in the order of time.
    pub moments: Vec<Moment>,
    /// What refused the change.
    pub refusal: Option<Refusal>,
    /// What users saw; null where no load ran.
    pub series: Option<Series>,
}

/// Whether a run went as the scenario expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It did.
    Passed,
    /// It didn't: not refused, not reverted, not the symptom that was expected, or a false refusal.
    Failed,
    /// It was stopped, because more broke than was meant to.
    Stopped,
    /// It couldn't be made: the steady state wasn't steady, or something of the lab failed.
    Error,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Stopped => "stopped",
            Verdict::Error => "error",
        }
    }
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// When: milliseconds since the start of the run's series, or of the run where there is none.
    pub at: u64,
    /// What.
    pub what: What,
    /// More about it, such as the probe that failed; may be empty.
    #[serde(default)]
    pub detail: String,
}

/// What happened at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The service was seen to work, before anything was done.
    Steady,
    /// The change was given to the gate.
    Proposed,
    /// The gate refused it.
    Refused,
    /// The kernel got the change by way of `apply`.
    Committed,
    /// The fault was made, with nothing to protect the service.
    Injected,
    /// The first request of a user that failed.
    FirstUserError,
    /// The first probe of the change that failed.
    FirstFailingProbe,
    /// The kernel holds the rules from before again.
    Reverted,
    /// The run was stopped.
    Stopped,
    /// Every user was served again.
    Restored,
}

impl What {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            What::Steady => "steady",
            What::Proposed => "change proposed",
            What::Refused => "refused",
            What::Committed => "committed",
            What::Injected => "fault injected",
            What::FirstUserError => "first user error",
            What::FirstFailingProbe => "first failing probe",
            What::Reverted => "reverted",
            What::Stopped => "stopped",
            What::Restored => "restored",
        }
    }
}

/// What refused a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The finding, in its own words.
    pub message: String,
    /// Where the deciding rule is, such as `app.rules:19`.
    pub place: Option<String>,
    /// The deciding rule as written.
    pub rule: Option<String>,
    /// A packet that shows it.
    pub packet: Option<String>,
    /// The intents that would break.
    pub intents: Vec<String>,
}

/// An outage that happened, by its own times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postmortem {
    /// When it began, UTC, RFC 3339.
    pub began: Timestamp,
    /// When it was noticed.
    pub detected: Option<Timestamp>,
    /// When the rule was known to be the cause.
    pub cause_known: Option<Timestamp>,
    /// When the service was back.
    pub resolved: Timestamp,
    /// Who was hit, such as `80 % of users`.
    pub impact: String,
    /// Where the time went, such as `seven hours on the database`; may be empty.
    #[serde(default)]
    pub lost_on: String,
}

impl Run {
    /// When something first happened, in milliseconds. O(moments).
    pub fn at(&self, what: What) -> Option<u64> {
        self.moments.iter().filter(|moment| moment.what == what).map(|moment| moment.at).min()
    }

    /// When the fault was there: committed, or injected.
    pub fn fault(&self) -> Option<u64> {
        self.at(What::Committed).or_else(|| self.at(What::Injected))
    }

    /// From one moment to another in milliseconds; `None` where one is missing or they are out of order.
    fn between(&self, from: Option<u64>, until: What) -> Option<u64> {
        self.at(until)?.checked_sub(from?)
    }

    /// How long the gate took to refuse, in milliseconds.
    pub fn to_refused(&self) -> Option<u64> {
        self.between(self.at(What::Proposed), What::Refused)
    }

    /// From the fault to the first failing probe, in milliseconds.
    pub fn to_noticed(&self) -> Option<u64> {
        self.between(self.fault(), What::FirstFailingProbe)
    }

    /// From the fault to the old rules in the kernel, in milliseconds.
    pub fn to_reverted(&self) -> Option<u64> {
        self.between(self.fault(), What::Reverted)
    }

    /// From the fault until every user was served again, in milliseconds.
    pub fn to_restored(&self) -> Option<u64> {
        self.between(self.fault(), What::Restored)
    }
}

impl Drill {
    /// The runs of a mode.
    pub fn runs_of(&self, mode: Mode) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.mode == mode)
    }

    /// Whether every run went as expected.
    pub fn passed(&self) -> bool {
        self.runs.iter().all(|run| run.verdict == Verdict::Passed)
    }

    /// The report as JSON, which ends with a line break.
    pub fn json(&self) -> String {
        // Made of strings, numbers and lists, which always serialize.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The JSON Schema of [`Drill`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Drill).to_value()
}
