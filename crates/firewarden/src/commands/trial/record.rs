//! What trials leave in the journal.

use super::outcome;
use crate::commands::journal::{actor, failed};
use firewarden_change::trial::{Outcome, Phase};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::guard::{self, Home, Job, Status};
use firewarden_store::{Journal, Kind, NewEntry, Store, Timestamp};
use serde_json::json;

/// Adds an entry about a trial, or nothing where an entry of the same trial and kind is there.
///
/// # Errors
/// What is wrong with the journal.
pub fn add(
    home: &Home,
    command: &str,
    kind: Kind,
    trial: &str,
    text: &str,
    details: serde_json::Value,
) -> Result<(), Diagnostic> {
    let mut entry = NewEntry::new(Timestamp::now(), kind, actor(command), text);
    entry.trial = Some(trial.to_owned());
    entry.details = Some(details);
    entry.source = Some(format!("trial {trial} {}", kind.name()));
    let mut journal = Journal::open(home.path()).map_err(|error| failed(&error))?;
    journal.append_all(&[entry]).map(|_| ()).map_err(|error| failed(&error))
}

/// Puts what the guard of the present trial has saved into the journal, where that isn't in it already: the guard itself
/// opens no database. Gives what went wrong, in sentences.
pub fn ingest(home: &Home) -> Vec<String> {
    let status = match guard::status(home) {
        Ok(Some(status)) => status,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![error.to_string()],
    };
    let Some(kind) = status.record.as_ref().and_then(|record| kind_of(&record.phase)) else {
        return Vec::new();
    };
    let text = status.record.as_ref().map(|record| outcome::phase(&record.phase)).unwrap_or_default();
    let details = json!({ "record": status.record, "about": about(&status) });
    match add(home, "guard-process", kind, &status.terms.id, &text, details) {
        Ok(()) => Vec::new(),
        Err(problem) => vec![format!("the journal does not have the end of this trial: {}", problem.message)],
    }
}

/// What a trial is about, in a few words.
pub fn about(status: &Status) -> String {
    match &status.terms.job {
        Job::Plan { hash, .. } => format!("plan {}", hash.get(..12).unwrap_or(hash)),
        Job::Command { words } => format!("`{}`", words.join(" ")),
    }
}

/// The kind of entry for a phase that is worth one.
fn kind_of(phase: &Phase) -> Option<Kind> {
    Some(match phase {
        Phase::Armed | Phase::Applying => return None,
        Phase::Applied { .. } => Kind::Applied,
        Phase::Confirmed { .. } | Phase::Done(Outcome::Confirmed { .. }) => Kind::Confirmed,
        Phase::Reverting { .. } => Kind::Reverting,
        Phase::Done(Outcome::Reverted { .. }) => Kind::Reverted,
        Phase::Stuck { .. } | Phase::Done(Outcome::Abandoned { .. }) => Kind::Stuck,
    })
}
