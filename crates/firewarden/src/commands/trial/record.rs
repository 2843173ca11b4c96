//! What trials leave in the journal, and in the folder of the change that they carry out.

use super::launcher;
use super::link::Link;
use crate::commands::journal::{actor, failed};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::guard::{self, Home, Job, Status, TakenOver};
use firewarden_store::{Journal, Kind, NewEntry, Store, Timestamp, of_trial};

/// What an entry is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub trial: &'a str,
    pub change: Option<&'a str>,
}

impl<'a> About<'a> {
    /// A trial that is of no change.
    pub fn trial(trial: &'a str) -> About<'a> {
        About { trial, change: None }
    }
}

/// Adds an entry about a trial, or nothing where an entry of the same trial and kind is there.
///
/// # Errors
/// What is wrong with the journal.
pub fn add(
    home: &Home,
    command: &str,
    kind: Kind,
    about: About<'_>,
    text: &str,
    details: serde_json::Value,
) -> Result<(), Diagnostic> {
    let mut entry = NewEntry::new(Timestamp::now(), kind, actor(command), text);
    entry.trial = Some(about.trial.to_owned());
    entry.change = about.change.map(str::to_owned);
    entry.details = Some(details);
    entry.source = Some(format!("trial {} {}", about.trial, kind.name()));
    write(home, &[entry])
}

fn write(home: &Home, entries: &[NewEntry]) -> Result<(), Diagnostic> {
    let mut journal = Journal::open(home.path()).map_err(|error| failed(&error))?;
    journal.append_all(entries).map(|_| ()).map_err(|error| failed(&error))
}

/// What every command does first: looks after a trial that nobody guards any more, and records what became of it. Gives
/// what the operator is told of that.
///
/// # Errors
/// No guard can be started.
pub fn settle(home: &Home) -> Result<Vec<String>, Diagnostic> {
    let taken = guard::take_over(home, &launcher()?).map_err(|error| super::failed(&error))?;
    let mut told = match taken {
        TakenOver::Nothing => Vec::new(),
        TakenOver::Guard => vec!["no guard lived: another one was started, which goes on".to_owned()],
        TakenOver::Discarded => {
            vec!["a trial whose guard never stood was put aside; it had changed nothing".to_owned()]
        }
    };
    told.extend(ingest(home));
    Ok(told)
}

/// Puts what the guard of the present trial has saved into the journal and the change's folder, where it isn't yet: the guard
/// itself opens neither. Gives what went wrong, in sentences.
pub fn ingest(home: &Home) -> Vec<String> {
    let status = match guard::status(home) {
        Ok(Some(status)) => status,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![error.to_string()],
    };
    let Some(record) = &status.record else { return Vec::new() };
    let trial = &status.terms.id;
    let link = Link::read(home, trial);
    let mut problems = Vec::new();
    let change = link.as_ref().map(|link| link.change.as_str());
    if let Err(problem) = write(home, &of_trial(trial, change, record, Timestamp::now())) {
        problems.push(format!("the journal does not have this trial's state: {}", problem.message));
    }
    if let Some(Err(stopped)) = link.map(|link| link.tell(&record.phase)) {
        let why = stopped.diagnostics.first().map(|problem| problem.message.clone()).unwrap_or_default();
        problems.push(format!(
            "the change's folder does not have what became of it (add it with `firewarden change outcome`): {why}"
        ));
    }
    problems
}

/// What a trial is about, in a few words.
pub fn about(status: &Status) -> String {
    match &status.terms.job {
        Job::Plan { hash, .. } => format!("plan {}", hash.get(..12).unwrap_or(hash)),
        Job::Command { words } => format!("`{}`", words.join(" ")),
    }
}
