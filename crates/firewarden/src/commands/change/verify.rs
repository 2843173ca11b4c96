//! Do signatures, evidence and tracked files bear out what a change says, and may it be applied?

use super::book::{Book, Entry};
use super::propose::folder_of;
use super::rules::{Rules, may_apply};
use super::{FINDINGS, OPEN, Stopped, now, stopped, tracked};
use crate::cli::change::Verify;
use crate::load::{self, Files, Subject};
use crate::output::{self, Color};
use firewarden_change::approval::{Standing, Vote};
use firewarden_change::plan::Plan;
use firewarden_change::policy::Trust;
use firewarden_change::record::{Change, sha256, unrecorded};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_verify::stack::{StackFile, read_stack};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub fn run(options: &Verify, changes: &Path, color: Color) -> Result<ExitCode, Stopped> {
    let book = Book::open(changes)?;
    let entry = book.one(&options.id)?;
    let rules = Rules::load(&options.rules, changes)?;
    let votes = rules.votes(&entry.change)?;
    let mut text = heading(&entry.change, &rules);
    let mut findings: Vec<Diagnostic> = Vec::new();
    for vote in &votes {
        // Appending to a string can't fail.
        let _ = writeln!(text, "  {} {}: {}", vote.role.word(), vote.by, told(vote));
        if let Standing::Refused(why) = &vote.standing {
            let message = format!("the signature of {} doesn't count: {why}", vote.by);
            findings.push(
                Diagnostic::error("change-signature", message)
                    .help("have them approve once more, with a key that `allowed_signers` has for them"),
            );
        }
    }
    findings.extend(evidence(&entry));
    findings.extend(plans(&entry));
    findings.extend(watch(options, &book, &entry)?);
    let decision = may_apply(&book, &rules, &entry, None, now())?;
    let allowed = decision.is_ok();
    match decision {
        Ok(permit) => {
            let who =
                if permit.approvers.is_empty() { "nobody".to_owned() } else { permit.approvers.join(", ") };
            let _ = writeln!(text, "it may be applied now; approved by {who}");
            for warning in permit.warnings {
                let _ = writeln!(text, "  beware: {warning}");
            }
            if let Some(due) = permit.review_by {
                let _ = writeln!(text, "  it is an emergency, and its review is due by {due}");
            }
        }
        Err(refusals) => {
            let _ = writeln!(text, "it may not be applied now");
            findings.extend(refusals.iter().map(|refusal| {
                Diagnostic::error(refusal.code(), refusal.to_string()).help(refusal.help(&options.id))
            }));
        }
    }
    output::print(&text)?;
    output::complain(&findings, &SourceMap::default(), color);
    let failing = findings.iter().any(|found| found.severity == firewarden_diagnostic::Severity::Error);
    Ok(ExitCode::from(match (allowed && !failing, &rules.trust) {
        (false, _) => FINDINGS,
        (true, Trust::Advisory(_)) => OPEN,
        (true, Trust::Enforced) => 0,
    }))
}

/// What it is, and how far the answer can be relied on.
fn heading(change: &Change, rules: &Rules) -> String {
    let mut text =
        format!("{}\n", change.record.statement(firewarden_change::record::Role::Approver).trim_end());
    let policy = match &rules.policy_file {
        Some(path) => path.display().to_string(),
        None => "none, so one approval is asked for".to_owned(),
    };
    let _ = writeln!(text, "policy: {policy}");
    if let Trust::Advisory(why) = &rules.trust {
        let _ = writeln!(text, "advisory: {why}");
    }
    text
}

/// What is known of a signature, in words.
pub fn told(vote: &Vote) -> String {
    match &vote.standing {
        Standing::Good { key } => format!("good, by {key}"),
        Standing::Void => "void: the plan or the record changed since".to_owned(),
        Standing::Refused(why) => format!("refused: {why}"),
        Standing::Unchecked => "not checked, since there is no `allowed_signers`".to_owned(),
    }
}

/// The files of the evidence are those of the record.
fn evidence(entry: &Entry) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for piece in &entry.change.record.evidence {
        let name = piece.file.rsplit('/').next().unwrap_or_default();
        let problem = match entry.evidence(name) {
            Ok(bytes) if sha256(&bytes) == piece.sha256 => continue,
            Ok(_) => format!("`{}` isn't what the record says: it was changed afterwards", piece.file),
            Err(error) => format!("the evidence of `{}` can't be read: {error}", piece.of.word()),
        };
        found.push(Diagnostic::error("change-evidence-changed", problem).help(format!(
            "take it back from git, or make it anew with `firewarden change propose --amend {}`",
            entry.change.record.id
        )));
    }
    found
}

/// The plans beside the record are those that it names.
fn plans(entry: &Entry) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for plan in &entry.change.record.plans {
        let problem = match entry.plan(&plan.host).map(|text| Plan::read(&text)) {
            Ok(Ok(read)) if read.hash() == plan.hash && read.host == plan.host => continue,
            Ok(Ok(_)) => format!("the plan for {} isn't the one that the record names", plan.host),
            Ok(Err(error)) => format!("the plan for {} can't be taken: {error}", plan.host),
            Err(error) => format!("the plan for {} can't be read: {error}", plan.host),
        };
        found.push(Diagnostic::error("change-plan", problem).help(format!(
            "take it back from git, or add it anew with `firewarden change propose --amend {} --plan FILE`",
            entry.change.record.id
        )));
    }
    found
}

/// The hash watch: tracked files hold what this change or one that is in says.
fn watch(options: &Verify, book: &Book, entry: &Entry) -> Result<Vec<Diagnostic>, Stopped> {
    let Some(stack) = stack(&options.stack)? else { return Ok(Vec::new()) };
    let hashes = tracked::hashes(&stack, &folder_of(&options.stack))?;
    let mut sources = SourceMap::default();
    let (all, problems) = book.all(&mut sources)?;
    if !problems.is_empty() {
        return Err(stopped(problems, sources));
    }
    let changes: Vec<Change> = all.into_iter().map(|entry| entry.change).collect();
    let proposed = |path: &str, now: &Option<String>| {
        entry.change.record.files.iter().any(|file| file.path == *path && file.sha256 == *now)
    };
    let found = unrecorded(&hashes, &changes);
    Ok(found
        .into_iter()
        .filter(|file| !proposed(&file.path, &file.sha256))
        .map(|file| match file.last {
            Some(id) => Diagnostic::error(
                "tracked-file",
                format!(
                    "the tracked file `{}` holds something else than `{id}` and every other change says",
                    file.path
                ),
            )
            .help("find out who changed it; take it back, or propose what it holds as a change"),
            None => Diagnostic::note(
                "tracked-file",
                format!("no change that is in speaks of the tracked file `{}`", file.path),
            )
            .help("the first change of it is where its history begins"),
        })
        .collect())
}

/// The stack file at a path, where there is one.
fn stack(path: &Path) -> Result<Option<StackFile>, Stopped> {
    if path.is_dir() && !path.join("firewarden.yaml").exists() {
        return Ok(None);
    }
    let mut files = Files::default();
    match load::subject(&[path.to_path_buf()], &mut files)? {
        Subject::Stack(file) => {
            let (stack, problems) = read_stack(file, files.text(file));
            match load::has_errors(&problems) {
                true => Err(stopped(problems, files.sources)),
                false => Ok(Some(stack)),
            }
        }
        Subject::Rulesets(_) | Subject::Snapshots(_) => Ok(None),
    }
}
