//! Entries: one thing that happened.

use crate::Hash;
use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;

/// The longest text of a field, in bytes.
pub const LONGEST_FIELD: usize = 1 << 20;

/// Makes the enumeration, its names and the list of all from one table.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$kind,)+];

            /// Its name, as it is stored and shown.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A plan was made.
    Planned = "planned",
    /// A change was proposed.
    Proposed = "proposed",
    /// A change was reviewed, before or afterwards.
    Reviewed = "reviewed",
    /// A change was approved.
    Approved = "approved",
    /// A command refused to do what it was asked to.
    Refused = "refused",
    /// Something was done under the rules for emergencies; a review has to follow.
    Emergency = "emergency",
    /// The guard stands by with the way back.
    Armed = "armed",
    /// New rules are being loaded.
    Applying = "applying",
    /// The kernel runs the new rules, until they are confirmed or the deadline passes.
    Applied = "applied",
    /// A new connection didn't fare as it should.
    ProbeFailed = "probe-failed",
    /// The new rules stay.
    Confirmed = "confirmed",
    /// The confirmed rules are in the files that the next boot loads.
    Persisted = "persisted",
    /// The old rules are being loaded.
    Reverting = "reverting",
    /// The kernel runs the old rules again.
    Reverted = "reverted",
    /// The kernel couldn't be brought back to the old rules.
    Stuck = "stuck",
    /// The last confirmed rules were loaded at boot.
    Recovered = "recovered",
    /// The last confirmed rules were loaded by hand.
    Restored = "restored",
    /// A command of somebody else ran under guard.
    GuardedCommand = "guarded-command",
    /// Something that was to last for a time came to its end.
    Expired = "expired",
    /// A signed checkpoint was written out.
    Checkpoint = "checkpoint",
}

impl Kind {
    /// Whether nothing follows in the trial that it belongs to, or an operator is needed.
    pub fn ends_a_trial(self) -> bool {
        matches!(
            self,
            Kind::Confirmed
                | Kind::Persisted
                | Kind::Reverted
                | Kind::Stuck
                | Kind::Recovered
                | Kind::Restored
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// There is no kind of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind of entry named `{0}`")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Kind, UnknownKind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// Who did it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user's name, or `firewarden` where nobody asked for it.
    pub user: String,
    /// The number of the user that the process ran as.
    pub uid: Option<u32>,
    /// Where the user came from, such as the value of `SSH_CONNECTION`.
    pub session: Option<String>,
    /// The process, such as `firewarden apply [4711]`.
    pub process: Option<String>,
}

/// Something that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// When it happened, UTC. Kept to the microsecond.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// The trial that it belongs to.
    pub trial: Option<String>,
    /// The change that it belongs to.
    pub change: Option<String>,
    /// Who did it.
    pub actor: Actor,
    /// The state of the kernel's rules: generation, boot and network namespace, in the words of whoever read it.
    pub generation: Option<String>,
    /// One sentence for people.
    pub text: String,
    /// Everything else, for programs. A record that belongs to the entry is kept here, so that both commit together.
    pub details: Option<serde_json::Value>,
    /// A name for what is told here, such as `trial 7 phase 3`. A second entry of the same name is not added, so that the
    /// same state can be told again after a crash.
    pub source: Option<String>,
}

impl NewEntry {
    /// An entry that belongs to nothing, and has no details.
    pub fn new(time: Timestamp, kind: Kind, actor: Actor, text: impl Into<String>) -> NewEntry {
        let text = text.into();
        NewEntry {
            time,
            kind,
            trial: None,
            change: None,
            actor,
            generation: None,
            text,
            details: None,
            source: None,
        }
    }
}

/// An entry can't be added as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {field} of a journal entry {reason}")]
pub struct Invalid {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// An entry as it is stored. Nothing of it was checked: [`crate::chain`] does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened: the name of a [`Kind`], or one that a later version knows.
    pub kind: String,
    /// The trial that it belongs to.
    pub trial: Option<String>,
    /// The change that it belongs to.
    pub change: Option<String>,
    /// Who did it.
    pub actor: Actor,
    /// The state of the kernel's rules.
    pub generation: Option<String>,
    /// One sentence.
    pub text: String,
    /// JSON without spaces, its keys sorted.
    pub details: Option<String>,
    /// The name of what is told.
    pub source: Option<String>,
    /// The hash of the entry before, or what the journal begins with.
    pub previous: Hash,
    /// Its own hash.
    pub hash: Hash,
}

impl Entry {
    /// The entry that `new` becomes after another one.
    ///
    /// # Errors
    /// A text that is longer than a mebibyte or has a NUL, which SQLite would cut the text at.
    pub fn following(new: &NewEntry, sequence: u64, previous: Hash) -> Result<Entry, Invalid> {
        let mut entry = Entry {
            sequence,
            // To the microsecond, as it is stored.
            time: Timestamp::from_microsecond(new.time.as_microsecond()).unwrap_or(new.time),
            kind: new.kind.name().to_owned(),
            trial: new.trial.clone(),
            change: new.change.clone(),
            actor: new.actor.clone(),
            generation: new.generation.clone(),
            text: new.text.clone(),
            details: new.details.as_ref().map(serde_json::Value::to_string),
            source: new.source.clone(),
            previous,
            hash: previous,
        };
        for (field, text) in entry.texts() {
            let invalid = |reason| Invalid { field, reason };
            if text.len() > LONGEST_FIELD {
                return Err(invalid("is longer than a mebibyte"));
            }
            if text.contains('\0') {
                return Err(invalid("contains a NUL"));
            }
        }
        entry.hash = crate::chain::hash(&entry);
        Ok(entry)
    }

    /// The fields that are texts and there, by name.
    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("trial", self.trial.as_deref()),
            ("change", self.change.as_deref()),
            ("user", Some(self.actor.user.as_str())),
            ("session", self.actor.session.as_deref()),
            ("process", self.actor.process.as_deref()),
            ("generation", self.generation.as_deref()),
            ("text", Some(self.text.as_str())),
            ("details", self.details.as_deref()),
            ("source", self.source.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
    }
}
