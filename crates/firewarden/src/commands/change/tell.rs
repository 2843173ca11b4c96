//! Changes as lists and stories.

use super::book::{Book, Entry};
use super::rules::Rules;
use super::verify::told;
use super::{FINDINGS, Stopped, now};
use crate::cli::change::{List, Log, Show};
use crate::output::{self, Color};
use firewarden_change::approval::tally;
use firewarden_change::policy::{Later, later_review};
use firewarden_change::record::{Change, expired};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use jiff::Timestamp;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Lists changes, and says what is due.
pub fn list(options: &List, changes: &Path, color: Color) -> Result<ExitCode, Stopped> {
    let (entries, broken) = read(changes)?;
    output::complain(&broken.0, &broken.1, color);
    let rules = Rules::load(&options.rules, changes)?;
    let now = now();
    let today = rules.policy.calendar.zone.to_datetime(now).date();
    let all: Vec<Change> = entries.into_iter().map(|entry| entry.change).collect();
    let late: Vec<&str> = expired(&all, today).into_iter().map(|change| change.record.id.as_str()).collect();
    let mut due: Vec<Diagnostic> = Vec::new();
    let mut rows: Vec<[String; 5]> = Vec::new();
    for change in &all {
        let record = &change.record;
        let id = record.id.clone();
        let votes = rules.votes(change)?;
        let is_late = late.contains(&id.as_str());
        let mut notes = Vec::new();
        if let Some(day) = record.expires {
            notes.push(format!("{} {day}", if is_late { "expired" } else { "until" }));
        }
        match later_review(change, &votes, &rules.policy, now) {
            Later::Overdue(at) => {
                notes.push(format!("review overdue since {at}"));
                due.push(
                    Diagnostic::error(
                        "change-overdue-review",
                        format!("the review of the emergency `{id}` is overdue since {at}"),
                    )
                    .help(format!(
                        "have it approved afterwards: `firewarden change approve {id} --key FILE`"
                    )),
                );
            }
            Later::Due(at) => notes.push(format!("review due by {at}")),
            Later::NotNeeded | Later::Done => {}
        }
        if is_late {
            let day = record.expires.map(|day| day.to_string()).unwrap_or_default();
            due.push(
                Diagnostic::error(
                    "change-expired",
                    format!("the temporary rules of `{id}` were to be there until {day}"),
                )
                .help(format!("take them out, and propose that with `--ends {id}`")),
            );
        }
        if options.expired && !is_late {
            continue;
        }
        let approvals = tally(&record.author, &votes).approvers.len();
        rows.push([
            id,
            rules.status(change, &votes, now).word().to_owned(),
            record.author.clone(),
            format!("{approvals}/{}", rules.policy.approvers),
            notes.join(", "),
        ]);
    }
    output::print(&table(&["CHANGE", "STATE", "AUTHOR", "APPROVALS", ""], &rows))?;
    output::complain(&due, &SourceMap::default(), color);
    Ok(ExitCode::from(match (broken.0.is_empty(), due.is_empty()) {
        (false, _) => crate::commands::INPUT_ERROR,
        (true, false) => FINDINGS,
        (true, true) => 0,
    }))
}

type Broken = (Vec<Diagnostic>, SourceMap);

/// Every change, and those that can't be read. A folder that isn't there has none.
fn read(changes: &Path) -> Result<(Vec<Entry>, Broken), Stopped> {
    let mut sources = SourceMap::default();
    if !changes.exists() {
        return Ok((Vec::new(), (Vec::new(), sources)));
    }
    let (entries, problems) = Book::open(changes)?.all(&mut sources)?;
    Ok((entries, (problems, sources)))
}

/// Columns, as wide as what is in them.
fn table(heads: &[&str; 5], rows: &[[String; 5]]) -> String {
    if rows.is_empty() {
        return "no changes\n".to_owned();
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(heads.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// Shows one change.
pub fn show(options: &Show, changes: &Path) -> Result<ExitCode, Stopped> {
    let book = Book::open(changes)?;
    let entry = book.one(&options.id)?;
    let rules = Rules::load(&options.rules, changes)?;
    let votes = rules.votes(&entry.change)?;
    let Change { record, .. } = &entry.change;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Appending to a string can't fail.
        let _ = writeln!(text, "{name:>10}  {}", value.trim_end().replace('\n', &format!("\n{:>10}  ", "")));
    };
    line("change", &record.id);
    line("state", rules.status(&entry.change, &votes, now()).word());
    line("author", &format!("{}, {}", record.author, record.created));
    line("reason", &record.reason);
    for (name, value) in [("ticket", &record.ticket), ("emergency", &record.emergency)] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    line("impact", &record.impact);
    for expected in &record.expect {
        line("expect", expected);
    }
    line("risk", record.risk.word());
    line("hosts", &record.hosts.join(", "));
    for plan in &record.plans {
        line("plan", &format!("{} {}", plan.host, plan.hash));
    }
    for owner in &record.owners {
        line("touches", &format!("{}: {}", owner.owner, owner.intents.join("; ")));
    }
    if let Some(slot) = record.window {
        line("window", &format!("{} to {}", slot.from, slot.to));
    }
    if let Some(day) = record.expires {
        line("until", &day.to_string());
    }
    for id in &record.ends {
        line("ends", id);
    }
    for file in &record.files {
        line("file", &format!("{} {}", file.path, file.sha256.as_deref().unwrap_or("removed")));
    }
    for piece in &record.evidence {
        line(piece.of.word(), &format!("{} ({}), {}", piece.verdict.word(), piece.summary, piece.file));
    }
    line("back-out", &record.back_out);
    for vote in &votes {
        line(vote.role.word(), &format!("{}: {}", vote.by, told(vote)));
    }
    for (_, story) in story(&entry.change) {
        line("", &story);
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what happened, in the order of time.
pub fn log(options: &Log, changes: &Path, color: Color) -> Result<ExitCode, Stopped> {
    let (entries, broken) = match &options.id {
        Some(id) => (vec![Book::open(changes)?.one(id)?], (Vec::new(), SourceMap::default())),
        None => read(changes)?,
    };
    output::complain(&broken.0, &broken.1, color);
    let mut lines: Vec<(Timestamp, String, String)> = Vec::new();
    for Entry { change, .. } in &entries {
        let id = &change.record.id;
        lines.extend(story(change).into_iter().map(|(at, what)| (at, id.clone(), what)));
    }
    lines.sort();
    let text: String = lines.into_iter().map(|(_, id, what)| format!("{id}  {what}\n")).collect();
    output::print(&text)?;
    Ok(ExitCode::from(if broken.0.is_empty() { 0 } else { crate::commands::INPUT_ERROR }))
}

/// What happened to a change, each with its time.
fn story(change: &Change) -> Vec<(Timestamp, String)> {
    let record = &change.record;
    let mut lines = vec![(record.created, format!("{} {} proposed it", record.created, record.author))];
    for review in &change.reviews {
        lines.push((
            review.at,
            format!("{} {} {}: {}", review.at, review.by, review.kind.word(), review.text.trim_end()),
        ));
    }
    for approval in &change.approvals {
        lines.push((
            approval.at,
            format!("{} {} signed it as {}", approval.at, approval.by, approval.role.word()),
        ));
    }
    for event in &change.events {
        let why = event.why.as_ref().map(|why| format!(": {}", why.trim_end())).unwrap_or_default();
        lines.push((
            event.at,
            format!("{} {} on {} by {}{why}", event.at, event.kind.word(), event.host, event.by),
        ));
    }
    lines.sort();
    lines
}
