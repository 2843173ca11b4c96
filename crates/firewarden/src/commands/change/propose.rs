//! A change is written down, with its evidence.

use super::book::{self, Book};
use super::evidence::{self, Evidence, count};
use super::{FINDINGS, OPEN, Stopped, now, person, sign, stop, tracked};
use crate::cli::Diff;
use crate::cli::change::Propose;
use crate::commands::diff::{Versions, find_versions};
use crate::output::{self, AnswerFormat, Color};
use firewarden_change::plan::Plan;
use firewarden_change::record::{EvidenceVerdict, FileRef, PlanRef, Record, Risk, Role, Slot, id_of, is_id};
use firewarden_diagnostic::Diagnostic;
use firewarden_verify::stack::StackFile;
use jiff::Timestamp;
use jiff::civil::Date;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a change with a plan is undone.
const BY_ROLLBACK: &str =
    "the plan's rollback, which is loaded at the deadline unless the change is confirmed";
/// How one without a plan is.
const BY_REVERT: &str = "revert the commit, and propose that as a change";

/// Runs the command.
pub fn run(options: &Propose, changes: &Path, color: Color) -> Result<ExitCode, Stopped> {
    let author = person(options.author.as_deref(), changes)?;
    let plans = plans(&options.plan)?;
    let old = match &options.amend {
        Some(id) => Some(Book::open(changes)?.one(id)?),
        None => None,
    };
    let expect = match &old {
        Some(old) if options.expect.is_empty() => old.change.record.expect.clone(),
        _ => options.expect.clone(),
    };
    let versions = versions(options, old.as_ref().and_then(|old| old.change.record.base.as_deref()))?;
    let evidence = evidence::gather(&versions, &options.include_paths, &expect, color)?;
    let files = files(&evidence, &versions)?;
    let mut fresh = fresh(options, author, expect, &plans, &evidence, files)?;
    fresh.base = versions.commit.clone();
    let record = match &old {
        Some(old) => amended(options, &old.change.record, fresh),
        None => fresh,
    };
    if record.hosts.is_empty() && record.files.is_empty() && record.plans.is_empty() {
        return Err(stop(
            "change-nothing",
            format!("nothing differs between {} and {}", versions.names.0, versions.names.1),
            "change the rules or a tracked file first, or name what it was with `--before` or `--git`",
        ));
    }
    let book = Book::make(changes)?;
    let added;
    let (folder, held) = match &old {
        Some(old) => (&old.folder, Some(old.hold(&book)?)),
        None => {
            added = book.add(&record.id)?;
            (&added, None)
        }
    };
    for (piece, text) in &evidence.pieces {
        let name = piece.file.rsplit('/').next().unwrap_or_default();
        book::write_evidence(folder, name, text)?;
    }
    for (plan, text) in &plans {
        book::write_plan(folder, &plan.host, text)?;
    }
    book::write_record(folder, &record)?;
    drop(held);
    if let Some(key) = &options.key {
        let entry = book.one(&record.id)?;
        sign::add_signature(&book, &entry, &record.author, Role::Author, key)?;
    }
    output::print(&told(&record, &evidence, changes, old.is_some()))?;
    Ok(ExitCode::from(match evidence.verdict() {
        EvidenceVerdict::Pass => 0,
        EvidenceVerdict::Fail => FINDINGS,
        EvidenceVerdict::Open => OPEN,
    }))
}

/// The two versions that are compared; `base` is the commit that an amended change was compared with.
fn versions(options: &Propose, base: Option<&str>) -> Result<Versions, Diagnostic> {
    let paths = match &options.before {
        Some(before) => vec![before.clone(), options.path.clone()],
        None => vec![options.path.clone()],
    };
    find_versions(&Diff {
        paths,
        git: options.before.is_none().then(|| options.git.as_deref().or(base).unwrap_or("HEAD").to_owned()),
        running: false,
        host: None,
        include_paths: options.include_paths.clone(),
        format: AnswerFormat::Markdown,
        budget: None,
    })
}

/// The plans, each with its text.
fn plans(paths: &[PathBuf]) -> Result<Vec<(PlanRef, String)>, Stopped> {
    let mut found: Vec<(PlanRef, String)> = Vec::new();
    for path in paths {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            stop(
                "unreadable",
                format!("cannot read `{shown}`: {error}"),
                "give a plan that `firewarden plan` has made",
            )
        })?;
        let plan = Plan::read(&text).map_err(|error| {
            stop(
                "change-plan",
                format!("`{shown}` can't be taken: {error}"),
                "make it again with `firewarden plan`",
            )
        })?;
        if found.iter().any(|(known, _)| known.host == plan.host) {
            return Err(stop(
                "change-plan",
                format!("two plans are for the host {}", plan.host),
                "a change has one plan for each host: give the newer one",
            ));
        }
        found.push((PlanRef { host: plan.host.clone(), hash: plan.hash() }, text));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Tracked files that differ between the versions.
fn files(evidence: &Evidence, versions: &Versions) -> Result<Vec<FileRef>, Stopped> {
    let hashes = |stack: &Option<StackFile>, paths: &[PathBuf]| match (stack, paths) {
        (Some(stack), [path]) => tracked::hashes(stack, &folder_of(path)),
        _ => Ok(Default::default()),
    };
    let [before, after] = &evidence.stacks;
    let mut known = hashes(before, &versions.before)?;
    let new = hashes(after, &versions.after)?;
    // A file that is tracked only from now on may have been there before.
    if let (Some(after), [path]) = (after, versions.before.as_slice()) {
        for (path, hash) in tracked::hashes(after, &folder_of(path))? {
            known.entry(path).or_insert(hash);
        }
    }
    Ok(tracked::changed(&known, &new))
}

/// The folder of a stack file, which is named by itself or by its folder.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !path.is_dir() => match parent.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => parent.to_path_buf(),
        },
        _ => path.to_path_buf(),
    }
}

/// The record as the options say it.
fn fresh(
    options: &Propose,
    author: String,
    expect: Vec<String>,
    plans: &[(PlanRef, String)],
    evidence: &Evidence,
    files: Vec<FileRef>,
) -> Result<Record, Stopped> {
    let created = now();
    let reason = options.reason.clone().unwrap_or_default();
    if options.amend.is_none() && reason.trim().is_empty() {
        return Err(stop(
            "change-reason",
            "the reason is empty",
            "say why the change is needed: `--reason TEXT`",
        ));
    }
    if options.emergency.as_ref().is_some_and(|why| why.trim().is_empty()) {
        return Err(stop("change-reason", "the emergency has no reason", "say why it can't wait"));
    }
    let id = match &options.id {
        Some(id) if is_id(id) => id.clone(),
        Some(id) => {
            return Err(stop(
                "change-id",
                format!("`{}` can't be the id of a change", id.replace('`', "'")),
                "write a day and lower-case words: `2026-11-21-allow-metrics`",
            ));
        }
        None => id_of(day_of(created), &reason),
    };
    if let Some(id) = options.ends.iter().find(|id| !is_id(id)) {
        let message = format!("`{}` is not the id of a change", id.replace('`', "'"));
        return Err(stop("change-id", message, "see `firewarden change list`"));
    }
    let plans: Vec<PlanRef> = plans.iter().map(|(plan, _)| plan.clone()).collect();
    let back_out = if plans.is_empty() { BY_REVERT } else { BY_ROLLBACK };
    Ok(Record {
        id,
        author,
        created,
        reason,
        ticket: options.ticket.clone(),
        impact: options.impact.clone().unwrap_or_else(|| evidence.impact.clone()),
        expect,
        risk: options.risk.map(Risk::from).unwrap_or_default(),
        base: None,
        hosts: evidence.hosts.clone(),
        plans,
        owners: evidence.owners.clone(),
        window: window(options)?,
        expires: options.expires.as_deref().map(|text| last_day(text, created)).transpose()?,
        ends: options.ends.clone(),
        emergency: options.emergency.clone(),
        files,
        evidence: evidence.pieces.iter().map(|(piece, _)| piece.clone()).collect(),
        back_out: options.back_out.clone().unwrap_or_else(|| back_out.to_owned()),
    })
}

/// Another version: what isn't given stays. Whoever writes it is its author.
fn amended(options: &Propose, old: &Record, fresh: Record) -> Record {
    let plans = match fresh.plans.is_empty() {
        true => old.plans.clone(),
        false => {
            let mut plans = fresh.plans;
            let kept = old.plans.iter().filter(|plan| !plans.iter().any(|new| new.host == plan.host));
            let kept: Vec<PlanRef> = kept.cloned().collect();
            plans.extend(kept);
            plans.sort();
            plans
        }
    };
    let usual = if plans.is_empty() { BY_REVERT } else { BY_ROLLBACK };
    let back_out = match (&options.back_out, old.back_out.as_str()) {
        (Some(given), _) => given.clone(),
        (None, BY_REVERT | BY_ROLLBACK) => usual.to_owned(),
        (None, other) => other.to_owned(),
    };
    Record {
        id: old.id.clone(),
        created: old.created,
        reason: options.reason.clone().unwrap_or_else(|| old.reason.clone()),
        ticket: fresh.ticket.or_else(|| old.ticket.clone()),
        risk: options.risk.map_or(old.risk, Risk::from),
        plans,
        window: fresh.window.or(old.window),
        expires: fresh.expires.or(old.expires),
        ends: if fresh.ends.is_empty() { old.ends.clone() } else { fresh.ends },
        emergency: fresh.emergency.or_else(|| old.emergency.clone()),
        back_out,
        ..fresh
    }
}

fn day_of(at: Timestamp) -> Date {
    jiff::tz::TimeZone::UTC.to_datetime(at).date()
}

fn window(options: &Propose) -> Result<Option<Slot>, Stopped> {
    let moment = |text: &str| -> Result<Timestamp, Stopped> {
        text.parse().map_err(|_| {
            stop(
                "change-value",
                format!("`{}` is not a moment", text.replace('`', "'")),
                "write it like `2026-11-21T20:00:00Z` or `2026-11-21T21:00:00+01:00`",
            )
        })
    };
    let (Some(from), Some(to)) = (&options.from, &options.to) else { return Ok(None) };
    let (from, to) = (moment(from)?, moment(to)?);
    match from < to {
        true => Ok(Some(Slot { from, to })),
        false => Err(stop("change-value", "the window ends before it begins", "give `--to` a later moment")),
    }
}

fn last_day(text: &str, now: Timestamp) -> Result<Date, Stopped> {
    let day = text.parse::<Date>().ok().filter(|day| day.to_string() == text);
    let shown = text.replace('`', "'");
    let Some(day) = day else {
        let message = format!("`{shown}` is not a date");
        return Err(stop("change-value", message, "write it as year, month and day: `2026-12-31`"));
    };
    match day < day_of(now) {
        true => Err(stop(
            "change-value",
            format!("`{shown}` is past"),
            "give a day to come, or leave `--expires` out",
        )),
        false => Ok(day),
    }
}

/// What was written, whom to tell, and what comes next.
fn told(record: &Record, evidence: &Evidence, changes: &Path, amended: bool) -> String {
    let mut text = String::new();
    let id = &record.id;
    // Appending to a string can't fail.
    let _ = writeln!(text, "{} {}", if amended { "amended" } else { "proposed" }, changes.join(id).display());
    let _ = writeln!(text, "  impact: {}", record.impact);
    for (piece, _) in &evidence.pieces {
        let _ = writeln!(text, "  {}: {} ({})", piece.of.word(), piece.verdict.word(), piece.summary);
    }
    for file in &record.files {
        let _ = writeln!(text, "  tracked file: {}", file.path);
    }
    for owner in &record.owners {
        let what = count(owner.intents.len(), "intent");
        match owner.owner.as_str() {
            evidence::NOBODY => {
                let _ = writeln!(text, "  nobody owns {what} that it touches: {}", owner.intents.join("; "));
            }
            name => {
                let _ = writeln!(
                    text,
                    "  tell {name}: it touches {what} of theirs: {}",
                    owner.intents.join("; ")
                );
            }
        }
    }
    if evidence.verdict() != EvidenceVerdict::Pass {
        text.push_str("\nthe check doesn't pass:\n");
        for line in evidence.check.lines() {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(
            text,
            "correct it and run `firewarden change propose --amend {id}`; approvers are warned until then"
        );
    }
    match record.plans.is_empty() && !record.hosts.is_empty() {
        true => {
            let _ = writeln!(
                text,
                "next: commit it, make a plan on the host, and add it with `firewarden change propose --amend {id} --plan FILE`"
            );
        }
        false => {
            let _ = writeln!(
                text,
                "next: commit it; others approve with `firewarden change approve {id} --key FILE`"
            );
        }
    }
    text
}
