//! What a change of the rules that this host runs means: the evidence for going on with it.

use super::diff::{self, Comparison, Cut, HostAnswer, Versions};
use super::rules::with_rules;
use super::{Stopped, hosts};
use crate::cli::Diff;
use crate::load::Files;
use crate::output::{AnswerFormat, Color};
use firewarden_change::plan::{Evidence, IntentVerdicts, Probe, ProbeTarget};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::state::State;
use firewarden_host::{CaptureOptions, snapshot};
use firewarden_verify::probes::{Target, attempts};
use std::path::{Path, PathBuf};

/// What is changed: this host, and where it stands among others.
pub struct Subject {
    stack: Option<PathBuf>,
    host: String,
    probes: Vec<Probe>,
}

impl Subject {
    /// This host, in a stack file where one is given. Its name there is `host`, or the system's.
    ///
    /// # Errors
    /// A stack file that can't be used, or doesn't know the host.
    pub fn of(stack: Option<&Path>, host: Option<&str>) -> Result<Subject, Stopped> {
        let host = host.map_or_else(firewarden_host::host_name, str::to_owned);
        let mut probes = Vec::new();
        if let Some(stack) = stack {
            let mut files = Files::with_include_paths(&[]);
            let declared = hosts::declared_stack(stack, &mut files)?;
            let known: Vec<&str> = declared.hosts.iter().map(|host| host.name.value.as_str()).collect();
            if !known.contains(&host.as_str()) {
                return Err(Stopped::from(
                    hosts::unknown(&host, &known).help("say which one this is with `--host`"),
                ));
            }
            probes = attempts(&declared, &host).into_iter().map(probe).collect();
        }
        Ok(Subject { stack: stack.map(Path::to_path_buf), host, probes })
    }

    /// New connections of this host that its intents speak of.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// What it means to go from one ruleset to another one on this host, as it is now: addresses, routes, sockets and
    /// connections are the live ones.
    ///
    /// # Errors
    /// The host can't be captured, or a ruleset can't be read.
    pub fn evidence(&self, before: &State, after: &State, color: Color) -> Result<Evidence, Stopped> {
        let comparison = self.compare(before, after, color)?;
        let mut evidence = Evidence::default();
        for host in &comparison.answer.hosts {
            describe(host, &mut evidence);
        }
        let verdicts = comparison.answer.intents.iter();
        evidence.intents.extend(verdicts.map(|intent| IntentVerdicts {
            intent: intent.intent.clone(),
            before: intent.before.word().to_owned(),
            after: intent.after.word().to_owned(),
        }));
        Ok(evidence)
    }

    /// The connections that are open now, and that one ruleset admits and the other one doesn't.
    ///
    /// # Errors
    /// As [`Subject::evidence`].
    pub fn cuts(&self, before: &State, after: &State, color: Color) -> Result<Vec<Cut>, Stopped> {
        let comparison = self.compare(before, after, color)?;
        Ok(comparison.answer.hosts.into_iter().flat_map(|host| host.cuts).collect())
    }

    fn compare(&self, before: &State, after: &State, color: Color) -> Result<Comparison, Stopped> {
        let folder = tempfile::tempdir().map_err(|error| {
            Diagnostic::error("temporary-folder", format!("no temporary folder can be made: {error}"))
                .help("set TMPDIR to a folder that can be written")
        })?;
        let options = CaptureOptions { host: Some(self.host.clone()), namespace: None, without_rules: false };
        let live = firewarden_host::capture(&options).map_err(|error| {
            Diagnostic::error("not-captured", format!("this host cannot be captured: {error}"))
                .help("run it as root")
        })?;
        let place = |side: &str, state: &State| -> Result<PathBuf, Diagnostic> {
            snapshot::write(&with_rules(live.clone(), state), &folder.path().join(side), true).map_err(
                |error| {
                    Diagnostic::error("temporary-folder", error.to_string())
                        .help("make room in the temporary folder")
                },
            )
        };
        let versions = Versions::live(
            (place("before", before)?, place("after", after)?),
            ("the running rules".to_owned(), "the new ones".to_owned()),
            (self.stack.clone(), self.host.clone()),
        );
        let options = Diff {
            paths: Vec::new(),
            git: None,
            running: false,
            host: Some(self.host.clone()),
            include_paths: Vec::new(),
            format: AnswerFormat::Human,
            budget: None,
        };
        diff::compare(&options, &versions, color)?.map_err(|what| {
            Diagnostic::error("internal-error", format!("the change cannot be judged: {what}"))
                .help("please report this; nothing was changed")
                .into()
        })
    }
}

/// Adds what differs on a host.
fn describe(host: &HostAnswer, evidence: &mut Evidence) {
    for change in &host.changes {
        // Several sets of packets may have one headline, which is all that is told here.
        let line = format!("{}: {}", change.title, change.headline);
        if !evidence.changes.contains(&line) {
            evidence.changes.push(line);
        }
    }
    for cut in &host.cuts {
        let manner = if cut.now { "cut" } else { "goes on, but could not be opened again" };
        let rule = if cut.rule.text.is_empty() { String::new() } else { format!(" by `{}`", cut.rule.text) };
        let text = format!("{} ({}): {manner}{rule}", cut.flow, count(cut.count, "connection"));
        if cut.own_session {
            evidence.own_session = Some(text.clone());
        }
        evidence.cut.push(text);
    }
    if !host.undecided.is_empty() {
        evidence.notes.push(format!(
            "{} not compared, because a limit ended",
            count(host.undecided.len(), "set of packets")
        ));
    }
    for open in &host.not_compared {
        evidence.notes.push(format!("{} differs and isn't compared by meaning: {}", open.what, open.why));
    }
}

/// A number with its word.
fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// A connection to try, as a plan writes it down.
pub fn probe(attempt: firewarden_verify::probes::Attempt) -> Probe {
    let target = match attempt.target {
        Target::Tcp(address) => ProbeTarget::Tcp(address.to_string()),
        Target::Url(url) => ProbeTarget::Url(url),
    };
    Probe { intent: attempt.intent, target, expected: attempt.expected }
}
