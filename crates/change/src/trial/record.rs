//! What a trial saves, and what people are told about it.

use serde::{Deserialize, Serialize};

/// The most bytes of one text in a record, so that every record fits its slot.
const TEXT_BYTES: usize = 240;

/// What a guard needs to go on, and what the operator is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The run of the system in which it was armed (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// When the old rules come back, in milliseconds since that boot (CLOCK_BOOTTIME).
    pub deadline: u64,
    /// How far it is.
    pub phase: Phase,
    /// Why the last request was refused; where a command was taken back, what else there is to know about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far a trial is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The guard stands. The kernel holds the old rules.
    Armed,
    /// The forward scripts are being loaded. The kernel holds the old rules or new ones, or some of each.
    Applying,
    /// The kernel holds the new rules, until the deadline.
    Applied {
        /// Their digest as read back; `None` where a command makes them.
        holds: Option<String>,
    },
    /// The new rules stay. They are being written for the next boot.
    Confirmed {
        /// Who decided.
        asker: Asker,
        /// The digest of the rules as read back.
        ruleset: String,
        /// Whether tables that the change doesn't touch were changed by others meanwhile.
        foreign: bool,
    },
    /// The old rules are being brought back.
    Reverting {
        /// Why.
        reason: Reason,
        /// By which way.
        attempt: Attempt,
    },
    /// The old rules could not be brought back; it is tried again and again.
    Stuck {
        /// Why they should have come back.
        reason: Reason,
        /// What the kernel holds, or why that can't be told.
        holds: Result<Reading, String>,
    },
    /// It is over.
    Done(Outcome),
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The kernel holds the new rules.
    Confirmed {
        /// Who decided.
        asker: Asker,
        /// The digest of the rules as read back.
        ruleset: String,
        /// Whether tables that the change doesn't touch were changed by others meanwhile.
        foreign: bool,
        /// Why they couldn't be written for the next boot, which will load older ones.
        trouble: Option<String>,
    },
    /// The kernel holds the old rules, as read back. (After a reboot: the last confirmed ones, which the boot loads.)
    Reverted {
        /// Why.
        reason: Reason,
        /// Whether tables that the change doesn't touch were changed by others meanwhile.
        foreign: bool,
    },
    /// The old rules could not be brought back, and the operator takes it from here.
    Abandoned {
        /// Who decided.
        asker: Asker,
        /// Why the old rules should have come back.
        reason: Reason,
        /// What the kernel holds, or why that can't be told.
        holds: Result<Reading, String>,
    },
}

/// Why the old rules come back, or stayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nobody confirmed in time.
    Deadline,
    /// Somebody asked for it.
    Asked(Asker),
    /// Before anything was loaded: the kernel doesn't hold the rules that the plan was made from.
    Stale {
        /// What it holds, or why that can't be told.
        holds: Result<Reading, String>,
    },
    /// A forward script was refused.
    Refused {
        /// The loader's words.
        words: String,
    },
    /// The forward scripts weren't loaded when the deadline was there.
    TooSlow {
        /// What was stopped.
        words: String,
    },
    /// After the forward scripts, the kernel didn't hold what the plan says.
    Mismatch {
        /// What it held, or why that can't be told.
        holds: Result<Reading, String>,
    },
    /// The guard died while it loaded the forward scripts.
    GuardDied,
    /// The state of the trial could not be written to disk.
    NotRecorded,
    /// The system was started anew.
    Reboot,
}

/// A way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// Touches nothing but what the change touched.
    Inverse,
    /// Holds whatever state the change left.
    Whole,
}

/// Which rules the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// Those from before the change, in every table that it touches.
    Old,
    /// Those that the plan says, in every table that it touches.
    New,
    /// Both: the kernel itself goes back to the old ones when their time is over ([`crate::switch`]).
    Staged,
    /// Neither.
    Other,
}

/// What the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// SHA-256 of the canonical text of the whole ruleset, in hexadecimal.
    pub digest: String,
    /// Which rules these are.
    pub rules: Rules,
    /// Whether tables that the change doesn't touch aren't as before.
    pub foreign: bool,
}

/// Somebody who asks for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Who.
    pub who: String,
    /// When, UTC, as `2026-11-21T08:00:00Z`.
    pub when: String,
    /// Why.
    pub why: String,
}

impl Asker {
    /// One whose texts fit a record.
    pub fn new(who: &str, when: &str, why: &str) -> Asker {
        Asker { who: clip(who), when: clip(when), why: clip(why) }
    }
}

/// The beginning of a text, as much as fits a record; characters that JSON would have to escape become spaces.
pub fn clip(text: &str) -> String {
    let mut clipped = String::new();
    for character in text.trim().chars() {
        let character = match character {
            '"' => '\'',
            '\\' => '/',
            other if other.is_control() => ' ',
            other => other,
        };
        if clipped.len() + character.len_utf8() > TEXT_BYTES {
            break;
        }
        clipped.push(character);
    }
    clipped
}

impl Phase {
    /// Its name: one word.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Armed => "armed",
            Phase::Applying => "applying",
            Phase::Applied { .. } => "applied",
            Phase::Confirmed { .. } => "confirmed",
            Phase::Reverting { .. } => "reverting",
            Phase::Stuck { .. } => "stuck",
            Phase::Done(_) => "done",
        }
    }

    /// Whether nothing comes after it.
    pub fn is_done(&self) -> bool {
        matches!(self, Phase::Done(_))
    }
}
