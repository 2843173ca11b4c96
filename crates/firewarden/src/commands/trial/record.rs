//! What trials leave in the journal, and in the folder of the change that they carry out.

use super::launcher;
use super::link::Link;
use crate::commands::journal::{actor, failed};
use firewarden_change::plan::{Evidence, Finding, hex};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::guard::{self, Home, Job, Status, TakenOver};
use firewarden_store::{Journal, Kind, NewEntry, Store, Timestamp, of_trial};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

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
    details: Value,
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

/// The most bytes of evidence in one entry, well within what the journal takes.
const EVIDENCE_BYTES: usize = 512 << 10;
/// Findings that a summary names, and the characters of each.
const FINDINGS: usize = 100;
const FINDING_CHARACTERS: usize = 500;

/// A plan's evidence for the journal: whole, or where that is very long its hash, how much of each there is, and what speaks
/// against the plan. The whole is in the plan, which the trial's folder keeps.
pub fn evidence(evidence: &Evidence) -> Value {
    let whole = json!(evidence);
    let text = whole.to_string();
    if text.len() <= EVIDENCE_BYTES {
        return whole;
    }
    let clipped =
        |finding: &Finding<'_>| finding.to_string().chars().take(FINDING_CHARACTERS).collect::<String>();
    let against: Vec<String> = evidence.findings().iter().take(FINDINGS).map(clipped).collect();
    json!({
        "sha256": hex(&Sha256::digest(text.as_bytes())),
        "changes": evidence.changes.len(),
        "intents": evidence.intents.len(),
        "cut": evidence.cut.len(),
        "notes": evidence.notes.len(),
        "against": against,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_evidence_is_summed_up() {
        let mut long = Evidence { notes: vec!["short".to_owned()], ..Evidence::default() };
        assert_eq!(evidence(&long), json!(long));
        long.changes = vec!["x".repeat(1000); 3000];
        long.own_session = Some("y".repeat(100_000));
        let told = evidence(&long);
        assert_eq!(told["changes"], 3000);
        assert_eq!(told["sha256"], hex(&Sha256::digest(json!(long).to_string().as_bytes())));
        assert!(told["against"][0].as_str().is_some_and(|text| text.starts_with("the new rules would cut")));
        assert!(told.to_string().len() < 100_000);
    }
}
