//! The evidence of a proposal: what diff, check and audit say of it, and whose intents it touches.

use super::{Stopped, stop, stopped};
use crate::cli::{Audit, Check, Diff, Input};
use crate::commands::diff::{Comparison, HostAnswer, Versions};
use crate::commands::{audit, check, diff};
use crate::load::Texts;
use crate::output::{self, AnswerFormat, Color, Format};
use firewarden_change::record::{EvidenceOf, EvidenceRef, EvidenceVerdict, Owner, sha256};
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::{Report, SourceMap, Verdict};
use firewarden_packet::PacketBox;
use firewarden_verify::Disagreement;
use firewarden_verify::stack::StackFile;
use firewarden_verify::touched::touched;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The most changes that the impact is made of; the diff has them all.
const MOST_CHANGES: usize = 5;
/// What people call intents without an owner.
pub const NOBODY: &str = "nobody";

/// Everything that was found out.
pub struct Evidence {
    /// With the text of each file.
    pub pieces: Vec<(EvidenceRef, String)>,
    /// The hosts whose rules differ.
    pub hosts: Vec<String>,
    /// Who answers for the intents that are touched.
    pub owners: Vec<Owner>,
    /// What it means, in one line.
    pub impact: String,
    /// The check's report, for the terminal.
    pub check: String,
    /// The stack files before and after, where there are any.
    pub stacks: [Option<StackFile>; 2],
}

impl Evidence {
    /// How the check ended.
    pub fn verdict(&self) -> EvidenceVerdict {
        let check = self.pieces.iter().find(|(piece, _)| piece.of == EvidenceOf::Check);
        check.map_or(EvidenceVerdict::Open, |(piece, _)| piece.verdict)
    }
}

/// Asks diff, check and audit.
pub fn gather(
    versions: &Versions,
    include_paths: &[PathBuf],
    expect: &[String],
    color: Color,
) -> Result<Evidence, Stopped> {
    let options = Diff {
        paths: versions.after.clone(),
        git: None,
        running: false,
        host: None,
        include_paths: include_paths.to_vec(),
        format: AnswerFormat::Markdown,
        budget: None,
    };
    let comparison = diff::compare(&options, versions, color)?.map_err(|what| internal(&what))?;
    let mut pieces = vec![of_diff(&comparison)];
    let differing: Vec<&HostAnswer> = comparison.answer.hosts.iter().filter(|host| differs(host)).collect();
    let hosts: Vec<String> = differing.iter().map(|host| host.name.clone()).collect();
    let input = || Input {
        paths: versions.after.clone(),
        host: None,
        include_paths: include_paths.to_vec(),
        renamed: versions.renamed.clone(),
        texts: Texts::new(),
    };
    let asked = Check {
        input: input(),
        allow: Vec::new(),
        deny: Vec::new(),
        only: Vec::new(),
        syntax: false,
        before: versions.before.first().cloned(),
        expect: expect.to_vec(),
        format: Format::Markdown,
        confirm: None,
        budget: None,
    };
    let (report, sources) = check::answer(&asked).map_err(|disagreement| disagrees(&disagreement))?;
    let shown = output::render(&report, &sources, Format::Concise, Style::Plain);
    pieces.push(of_report(EvidenceOf::Check, report, sources)?);
    let asked = Audit {
        input: input(),
        format: Format::Markdown,
        baseline: None,
        write_baseline: None,
        budget: None,
    };
    let (report, sources) = audit::answer(&asked).map_err(|disagreement| disagrees(&disagreement))?;
    pieces.push(of_report(EvidenceOf::Audit, report, sources)?);
    Ok(Evidence {
        pieces,
        hosts,
        owners: owners(&comparison),
        impact: impact(&comparison),
        check: shown,
        stacks: comparison.stacks().map(|stack| stack.cloned()),
    })
}

fn internal(what: &str) -> Stopped {
    stop(
        "internal-error",
        format!("there is no evidence: {what}"),
        "this is a mistake in firewarden: report it with the rulesets, made anonymous with `capture --anonymize`",
    )
}

fn disagrees(disagreement: &Disagreement) -> Stopped {
    internal(&disagreement.to_string())
}

fn differs(host: &HostAnswer) -> bool {
    host.touched.added + host.touched.removed > 0
        || !host.changes.is_empty()
        || !host.is_complete()
        || host.only.is_some()
}

fn piece(of: EvidenceOf, verdict: EvidenceVerdict, summary: String, text: String) -> (EvidenceRef, String) {
    let (file, sha256) = (format!("evidence/{}.md", of.word()), sha256(text.as_bytes()));
    (EvidenceRef { of, verdict, summary, file, sha256 }, text)
}

fn of_diff(comparison: &Comparison) -> (EvidenceRef, String) {
    let answer = &comparison.answer;
    let verdict = match answer.exit_code() {
        0 | 1 => EvidenceVerdict::Pass,
        _ => EvidenceVerdict::Open,
    };
    let open = answer.hosts.iter().filter(|host| !host.is_complete()).count();
    // A change that is told beside something that wasn't compared isn't all there is.
    let verdict = if open > 0 { EvidenceVerdict::Open } else { verdict };
    let changes: usize = answer.hosts.iter().map(|host| host.changes.len()).sum();
    let on = answer.hosts.iter().filter(|host| !host.changes.is_empty()).count();
    let mut summary = match changes {
        0 => "no packet fares differently".to_owned(),
        _ => format!("{} on {}", count(changes, "change"), count(on, "host")),
    };
    if open > 0 {
        summary.push_str(&format!("; not everything was compared on {}", count(open, "host")));
    }
    piece(EvidenceOf::Diff, verdict, summary, comparison.render(AnswerFormat::Markdown, Style::Plain))
}

/// The evidence of a report. Wrong input is none: nothing is proposed that can't be read.
fn of_report(of: EvidenceOf, report: Report, sources: SourceMap) -> Result<(EvidenceRef, String), Stopped> {
    let verdict = match report.exit_code() {
        0 => EvidenceVerdict::Pass,
        1 => EvidenceVerdict::Fail,
        3 => EvidenceVerdict::Open,
        _ => return Err(stopped(report.diagnostics, sources)),
    };
    let counts = report.summary();
    let told: Vec<String> = Verdict::ALL
        .iter()
        .filter(|verdict| counts.of(**verdict) > 0)
        .map(|verdict| format!("{} {}", counts.of(*verdict), verdict.word()))
        .collect();
    let summary = if told.is_empty() { "nothing found".to_owned() } else { told.join(", ") };
    Ok(piece(of, verdict, summary, output::render(&report, &sources, Format::Markdown, Style::Plain)))
}

fn impact(comparison: &Comparison) -> String {
    let mut told = Vec::new();
    for host in &comparison.answer.hosts {
        if let Some(side) = host.only {
            told.push(format!("the host {} is there only {side}", host.name));
        }
        told.extend(
            host.changes
                .iter()
                .map(|change| format!("{} on {}: {}", change.title, host.name, change.headline)),
        );
    }
    // IPv4 and IPv6 are two changes that read alike.
    told.dedup();
    let more = told.len().saturating_sub(MOST_CHANGES);
    told.truncate(MOST_CHANGES);
    if more > 0 {
        told.push(format!("and {}", count(more, "other change")));
    }
    match told.is_empty() {
        true => "no packet fares differently".to_owned(),
        false => told.join("; "),
    }
}

/// The owners of intents that are touched: packets of theirs, or answers to them, fare differently, or their verdict changes.
fn owners(comparison: &Comparison) -> Vec<Owner> {
    let answer = &comparison.answer;
    let packets: Vec<PacketBox> = answer
        .hosts
        .iter()
        .flat_map(|host| &host.changes)
        .flat_map(|change| change.packets.clone())
        .collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |owner: Option<&str>, intent: String| {
        found.entry(owner.unwrap_or(NOBODY).to_owned()).or_default().insert(intent);
    };
    for stack in comparison.stacks().into_iter().flatten() {
        let hit = touched(&stack.intents, stack, &packets);
        for (declared, _) in stack.intents.iter().zip(hit).filter(|(_, hit)| *hit) {
            let text = declared.intent.full_text();
            add(declared.owner.as_deref(), text);
        }
    }
    for change in answer.changed_intents() {
        add(change.owner.as_deref(), change.intent.clone());
    }
    found
        .into_iter()
        .map(|(owner, intents)| Owner { owner, intents: intents.into_iter().collect() })
        .collect()
}

/// A number with its word.
pub fn count(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}
