//! Change records: what is changed, why, by whom, with which evidence; files meant for git.
//!
//! A change is a folder that is named like its id. `change.yaml` in it is the [`Record`]; what people and hosts add later
//! (reviews, approvals, events) are files of their own beside it, so that two branches that add to one change can be
//! merged, and nothing that was signed is written to again.

mod entry;
mod read;
mod status;
mod watch;

pub(crate) use entry::read_whole;
pub use entry::{Event, EventKind, Review, ReviewKind, read_event, read_review};
pub(crate) use read::Reader;
pub use read::{RECORD, read_record};
pub use status::{Change, Status, expired};
pub use watch::{Unrecorded, unrecorded};

pub use crate::plan::sha256;
use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Serialize;

/// The namespace of signatures (ssh-keygen(1), `-n`): none that was made for anything else counts.
pub const NAMESPACE: &str = "firewarden-change";

/// The longest id, in bytes.
const LONGEST_ID: usize = 80;
/// The longest name of a person, in bytes.
const LONGEST_NAME: usize = 64;

/// A change of rules or tracked files, as `change.yaml` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(title = "change.yaml", deny_unknown_fields)]
pub struct Record {
    /// The day and a few words: `2026-11-21-allow-metrics`; also the name of the folder.
    pub id: String,
    /// Who proposes it, as `allowed_signers` names them.
    pub author: String,
    /// When it was proposed, UTC.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// Why it is needed.
    pub reason: String,
    /// Where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What it means for those who use the network.
    pub impact: String,
    /// What it is to bring about, as `check --expect` takes it; nothing else may change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub expect: Vec<String>,
    /// How much can go wrong.
    pub risk: Risk,
    /// The commit of git that it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The hosts whose rules differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub hosts: Vec<String>,
    /// What will be loaded: one plan for each host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub plans: Vec<PlanRef>,
    /// Who answers for the intents that it touches, and has to be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub owners: Vec<Owner>,
    /// When it is to be applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Slot>,
    /// The last day of rules that are temporary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires: Option<Date>,
    /// Earlier changes whose temporary rules this one takes out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub ends: Vec<String>,
    /// Why it can't wait for its approvals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    /// Tracked files that it changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub files: Vec<FileRef>,
    /// What was found out about it before anybody was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub evidence: Vec<EvidenceRef>,
    /// How it is undone.
    pub back_out: String,
}

/// How much can go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Little.
    #[default]
    Low,
    /// Something.
    Medium,
    /// Much.
    High,
}

impl Risk {
    /// From the least to the greatest.
    pub const ALL: [Risk; 3] = [Risk::Low, Risk::Medium, Risk::High];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
    }
}

/// A plan that belongs to a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PlanRef {
    /// The host that it is for.
    pub host: String,
    /// The plan's hash.
    pub hash: String,
}

/// Somebody who answers for intents that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Owner {
    /// As the intents name them.
    pub owner: String,
    /// The intents, as written.
    pub intents: Vec<String>,
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Slot {
    /// Not before this moment.
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// Before this moment.
    #[schemars(with = "String")]
    pub to: Timestamp,
}

/// A tracked file and what it holds once the change is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FileRef {
    /// As the stack file names it.
    pub path: String,
    /// SHA-256 of what it held before, in hexadecimal; missing where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// SHA-256 of what it holds, in hexadecimal; missing where it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What one of the commands found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EvidenceRef {
    /// The command.
    pub of: EvidenceOf,
    /// How it ended.
    pub verdict: EvidenceVerdict,
    /// In one line.
    pub summary: String,
    /// The whole answer, in the change's folder.
    pub file: String,
    /// SHA-256 of that file, in hexadecimal.
    pub sha256: String,
}

/// The command that evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceOf {
    /// Every intent, and what is expected of the change and nothing else.
    Check,
    /// What it means.
    Diff,
    /// The rules for themselves.
    Audit,
}

impl EvidenceOf {
    /// In the order in which they are made.
    pub const ALL: [EvidenceOf; 3] = [EvidenceOf::Check, EvidenceOf::Diff, EvidenceOf::Audit];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            EvidenceOf::Check => "check",
            EvidenceOf::Diff => "diff",
            EvidenceOf::Audit => "audit",
        }
    }
}

/// How a command ended, after its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceVerdict {
    /// Everything holds; of a diff: it was compared as a whole, whether or not something differs.
    Pass,
    /// Something doesn't hold.
    Fail,
    /// Something hangs on what isn't modelled, or wasn't decided.
    Open,
}

impl EvidenceVerdict {
    /// From the best to the worst.
    pub const ALL: [EvidenceVerdict; 3] =
        [EvidenceVerdict::Pass, EvidenceVerdict::Open, EvidenceVerdict::Fail];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            EvidenceVerdict::Pass => "pass",
            EvidenceVerdict::Fail => "fail",
            EvidenceVerdict::Open => "open",
        }
    }
}

/// In which role somebody signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever proposes it.
    Author,
    /// Whoever takes responsibility for it beside the author.
    Approver,
}

impl Role {
    /// Both.
    pub const ALL: [Role; 2] = [Role::Author, Role::Approver];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Author => "author",
            Role::Approver => "approver",
        }
    }
}

impl Record {
    /// The hash of everything it says, which layout and comments of the file aren't part of: SHA-256 of its JSON, in
    /// hexadecimal. O(n) in its size.
    pub fn hash(&self) -> String {
        // A record holds only texts, lists and moments, which JSON has words for.
        sha256(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// What is signed: one line that names the change, its plans, and all that the record says. It changes with the
    /// plan and with the record, which is how a signature becomes void.
    pub fn statement(&self, role: Role) -> String {
        let word = match role {
            Role::Author => "proposal",
            Role::Approver => "change",
        };
        let mut plans: Vec<&PlanRef> = self.plans.iter().collect();
        plans.sort_unstable();
        let plans = match plans.as_slice() {
            [] => "none".to_owned(),
            plans => plans.iter().map(|plan| plan.hash.as_str()).collect::<Vec<_>>().join(","),
        };
        format!("firewarden {word} {} plan {plans} record {}\n", self.id, self.hash())
    }

    /// The text of `change.yaml`.
    pub fn write(&self) -> String {
        yaml(self)
    }

    /// What was found out by one of the commands.
    pub fn evidence_of(&self, of: EvidenceOf) -> Option<&EvidenceRef> {
        self.evidence.iter().find(|evidence| evidence.of == of)
    }
}

/// Any of the files of a change as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> String {
    // They hold only texts, lists and maps, which YAML has words for.
    serde_saphyr::to_string(value).unwrap_or_default()
}

/// The JSON Schema of version 1 of `change.yaml`.
pub fn record_schema() -> serde_json::Value {
    schemars::schema_for!(Record).to_value()
}

/// Whether a text can be the id of a change: a day and lower-case words, `2026-11-21-allow-metrics`. It is the name of a
/// folder, so that nothing else may be in it.
pub fn is_id(text: &str) -> bool {
    let (Some(day), Some(words)) = (text.get(..10), text.get(10..)) else { return false };
    text.len() <= LONGEST_ID
        && day.parse::<Date>().is_ok_and(|date| date.to_string() == day)
        && words.len() > 1
        && words.starts_with('-')
        && !words.ends_with('-')
        && words.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a text can name a person: letters, digits, `.`, `_`, `+`, `-` and `@`, as user names and addresses are made of.
/// It becomes the name of a file and an argument of ssh-keygen.
pub fn is_person(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-@".contains(&byte))
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The id that a day and a reason make: the reason's first words.
pub fn id_of(day: Date, words: &str) -> String {
    const MOST_WORDS: usize = 6;
    let lower = words.to_lowercase();
    let parts = lower.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let mut id = day.to_string();
    for part in parts.take(MOST_WORDS) {
        if id.len() + 1 + part.len() > LONGEST_ID {
            break;
        }
        id.push('-');
        id.push_str(part);
    }
    if is_id(&id) { id } else { format!("{day}-change") }
}

#[cfg(test)]
pub(crate) mod tests;
