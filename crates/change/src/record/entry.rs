//! What is added to a change later: reviews, and what became of it. Each is a file of its own.

use super::read::Reader;
use super::{is_hash, yaml};
use firewarden_diagnostic::{Diagnostic, FileId};
use firewarden_verify::yaml::{self as tree, Kind, Node};
use jiff::Timestamp;
use serde::Serialize;

const REVIEW: Kind = Kind { name: "the review", ..super::RECORD };
const EVENT: Kind = Kind { name: "the event", ..super::RECORD };

/// What somebody says about a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Review {
    /// Who.
    pub by: String,
    /// When, UTC.
    pub at: Timestamp,
    /// What it asks for.
    pub kind: ReviewKind,
    /// Their words.
    pub text: String,
    /// The hash of the record that they speak of.
    pub record: String,
}

/// What a review asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewKind {
    /// Nothing.
    Comment,
    /// Another version; until there is one, it isn't applied.
    ChangesRequested,
}

impl ReviewKind {
    const ALL: [ReviewKind; 2] = [ReviewKind::Comment, ReviewKind::ChangesRequested];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            ReviewKind::Comment => "comment",
            ReviewKind::ChangesRequested => "changes-requested",
        }
    }
}

/// Something that became of a change on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When, UTC.
    pub at: Timestamp,
    /// On which host.
    pub host: String,
    /// The hash of the plan; missing for tracked files alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Who did it, as the host knows them.
    pub by: String,
    /// Why, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It was loaded and is on trial.
    Applied,
    /// It stays.
    Confirmed,
    /// The rules before it are back.
    Reverted,
    /// The host has neither.
    Stuck,
}

impl EventKind {
    const ALL: [EventKind; 4] =
        [EventKind::Applied, EventKind::Confirmed, EventKind::Reverted, EventKind::Stuck];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Applied => "applied",
            EventKind::Confirmed => "confirmed",
            EventKind::Reverted => "reverted",
            EventKind::Stuck => "stuck",
        }
    }
}

impl Review {
    /// The text of its file.
    pub fn write(&self) -> String {
        yaml(self)
    }

    /// The name of its file in `reviews/`: those of different people or times don't meet.
    pub fn file_name(&self) -> String {
        format!("{}-{}.yaml", compact(self.at), self.by)
    }
}

impl Event {
    /// The text of its file.
    pub fn write(&self) -> String {
        yaml(self)
    }

    /// The name of its file in `events/`.
    pub fn file_name(&self) -> String {
        let host: String = self
            .host
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
            .collect();
        format!("{}-{host}-{}.yaml", compact(self.at), self.kind.word())
    }
}

/// A moment as a part of a file's name, which sorts by time: `20261121T080000.123Z`.
fn compact(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S.%3fZ").to_string()
}

/// Reads a review.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn read_review(file: FileId, text: &str) -> Result<Review, Vec<Diagnostic>> {
    read_whole(REVIEW, file, text, |reader, root| {
        const WHAT: &str = "a review";
        let fields = reader.values.fields(root, WHAT, &["by", "at", "kind", "text", "record"])?;
        let by = reader.needed(&fields, WHAT, "by", "bob@example.org");
        let by = reader.person(by);
        let at = reader.needed(&fields, WHAT, "at", "2026-11-21T08:00:00Z");
        let at = reader.moment(at);
        let kind = reader.needed(&fields, WHAT, "kind", "comment");
        let kind = reader.one_of(kind, &ReviewKind::ALL, ReviewKind::word);
        let text = reader.needed(&fields, WHAT, "text", "please narrow the source");
        let record = reader.needed(&fields, WHAT, "record", "…");
        let record = reader.valid(record, is_hash, "a SHA-256", "write the hash of the record");
        Some(Review { by: by?, at: at?, kind: kind?, text: text?.value, record: record? })
    })
}

/// Reads an event.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn read_event(file: FileId, text: &str) -> Result<Event, Vec<Diagnostic>> {
    read_whole(EVENT, file, text, |reader, root| {
        const WHAT: &str = "an event";
        let fields = reader.values.fields(root, WHAT, &["kind", "at", "host", "plan", "by", "why"])?;
        let kind = reader.needed(&fields, WHAT, "kind", "confirmed");
        let kind = reader.one_of(kind, &EventKind::ALL, EventKind::word);
        let at = reader.needed(&fields, WHAT, "at", "2026-11-21T08:00:00Z");
        let at = reader.moment(at);
        let host = reader.needed(&fields, WHAT, "host", "edge");
        let by = reader.needed(&fields, WHAT, "by", "alice");
        let plan = reader.values.text(&fields, "plan");
        let plan = reader.valid(plan, is_hash, "a SHA-256", "write the hash of the plan");
        let why = reader.values.text(&fields, "why").map(|text| text.value);
        Some(Event { kind: kind?, at: at?, host: host?.value, plan, by: by?.value, why })
    })
}

/// Reads a file that is either right as a whole or not taken.
pub(crate) fn read_whole<T>(
    kind: Kind,
    file: FileId,
    text: &str,
    take: impl FnOnce(&mut Reader, &Node) -> Option<T>,
) -> Result<T, Vec<Diagnostic>> {
    let root = tree::parse(kind, file, text).map_err(|problem| vec![*problem])?;
    let mut reader = Reader::new(kind);
    let taken = take(&mut reader, &root);
    match (taken, reader.finish()) {
        (Some(taken), problems) if problems.is_empty() => Ok(taken),
        (_, problems) => Err(problems),
    }
}
