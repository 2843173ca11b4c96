//! Markdown for pull requests and job summaries: a table of the intents, then a section for each finding.

use std::fmt::Write;

use crate::render::concise::severity_word;
use crate::render::place::Place;
use crate::render::text::{clip, one_line, quote};
use crate::{About, Diagnostic, Finding, Report, SourceMap, Verdict};

/// The longest sentence and the longest quoted line, in characters.
const LONGEST: usize = 600;
/// The most diagnostics about the inputs that are written out, to stay within what such pages accept.
const MOST_DIAGNOSTICS: usize = 100;

/// The report as GitHub-flavoured Markdown. O(findings).
pub fn render_markdown(report: &Report, sources: &SourceMap) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {} {}\n", prose(&report.command), code(&report.subject));
    summary(&mut out, report);
    for remark in &report.remarks {
        let _ = writeln!(out, "\n{}", prose(remark));
    }
    if report.about == About::Intents && !report.results.is_empty() {
        out.push_str("\n| verdict | intent | name | owner |\n|---|---|---|---|\n");
        for result in &report.results {
            let owner = result.owner.as_deref().map(prose).unwrap_or_default();
            let (intent, name) = (cell(&code(&result.intent)), cell(&prose(&result.name)));
            let verdict = match result.verdict {
                Verdict::Pass => "pass".to_owned(),
                other => format!("**{}**", other.word()),
            };
            let _ = writeln!(out, "| {verdict} | {intent} | {name} | {} |", cell(&owner));
        }
    }
    for result in &report.results {
        for finding in result.shown().iter() {
            let _ = writeln!(out, "\n## {}: {}\n", result.verdict.word(), prose(&result.name));
            if let Some(because) = &result.because {
                let _ = writeln!(out, "Declared because {}.\n", prose(because.trim_end_matches('.')));
            }
            section(&mut out, finding, sources);
        }
    }
    if !report.diagnostics.is_empty() {
        out.push_str("\n## Inputs\n");
        for diagnostic in report.diagnostics.iter().take(MOST_DIAGNOSTICS) {
            out.push('\n');
            section(&mut out, &Finding::from(diagnostic.clone()), sources);
        }
        if let Some(more @ 1..) = report.diagnostics.len().checked_sub(MOST_DIAGNOSTICS) {
            let _ = writeln!(out, "\n... and {more} more.");
        }
    }
    out
}

fn summary(out: &mut String, report: &Report) {
    let summary = report.summary();
    let counts: Vec<String> = Verdict::ALL
        .iter()
        .filter(|verdict| summary.of(**verdict) > 0)
        .map(|&verdict| format!("{} {}", summary.of(verdict), verdict.word()))
        .collect();
    let counts = if counts.is_empty() { format!("no {}s", report.about.word()) } else { counts.join(", ") };
    let _ = writeln!(out, "{counts}");
}

fn section(out: &mut String, finding: &Finding, sources: &SourceMap) {
    let diagnostic = &finding.diagnostic;
    let severity = severity_word(diagnostic.severity);
    let _ = writeln!(out, "**{severity}** `{}`: {}", diagnostic.code, prose(&diagnostic.message));
    rule(out, diagnostic, sources);
    for witness in &finding.witnesses {
        let (packet, outcome) = (code(&witness.packet), prose(&witness.outcome));
        let _ = writeln!(out, "\nPacket {packet}: {outcome}");
        for given in &witness.given {
            let _ = writeln!(out, "\nGiven {}", prose(given));
        }
        for (index, step) in witness.path.iter().enumerate() {
            if index == 0 {
                out.push_str("\n| | host | where | rule | |\n|---|---|---|---|---|\n");
            }
            let at = step.span.and_then(|span| Place::of(span, sources));
            let at = at.map(|at| format!(" {}", code(&at.short()))).unwrap_or_default();
            let place = cell(&format!("{}{at}", prose(&step.place)));
            let (host, rule, action) =
                (cell(&prose(&step.host)), cell(&code(&step.rule)), cell(&prose(&step.action)));
            let action = if step.decides { format!("**{action}**") } else { action };
            let _ = writeln!(out, "| {} | {host} | {place} | {rule} | {action} |", index + 1);
        }
    }
    let mut items = Vec::new();
    for atom in &finding.depends_on {
        let settle = atom.assumption.as_ref();
        let settle = settle.map(|text| format!("; to settle it: {}", prose(text))).unwrap_or_default();
        items.push(format!("Depends on {}: {}{settle}", code(&atom.name), code(&atom.text)));
    }
    items.extend(diagnostic.notes.iter().map(|note| format!("Why: {}", prose(note))));
    items.extend(finding.assumptions.iter().map(|assumed| format!("Assumed: {}", prose(assumed))));
    items.extend(diagnostic.help.iter().map(|help| format!("Change: {}", prose(help))));
    items.extend(
        finding.manager.iter().map(|manager| format!("{}: {}", prose(&manager.name), prose(&manager.edit))),
    );
    if !items.is_empty() {
        let _ = writeln!(out, "\n- {}", items.join("\n- "));
    }
}

/// The line of the finding's place in a fence.
fn rule(out: &mut String, diagnostic: &Diagnostic, sources: &SourceMap) {
    let Some(span) = diagnostic.span() else { return };
    let (Some(place), Some(file)) = (Place::of(span, sources), sources.get(span.file)) else { return };
    let line = file.line(place.line).unwrap_or_default();
    let line = if line.chars().nth(LONGEST).is_some() { sources.slice(span) } else { line };
    let line = clip(line, LONGEST);
    let line = one_line(line.lines().next().unwrap_or_default());
    // A fence ends at a run of at least as many backticks.
    let fence = "`".repeat(longest_run(&line).max(2) + 1);
    let _ = writeln!(
        out,
        "\n{}:\n\n{fence}text\n{line}\n{fence}",
        code(&format!("{}:{}", place.file, place.line))
    );
}

/// The length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A code span, in which Markdown acts on nothing. Empty text gives none.
pub fn code(text: &str) -> String {
    let text = quote(text, LONGEST);
    if text.is_empty() {
        return text;
    }
    let ticks = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// A sentence: what stands between backticks becomes a code span, all else is escaped.
pub fn prose(text: &str) -> String {
    let text = quote(text, LONGEST);
    let parts: Vec<&str> = text.split('`').collect();
    let mut out = String::new();
    for (index, part) in parts.iter().enumerate() {
        let closed = index + 1 < parts.len();
        match index % 2 {
            1 if closed => out.push_str(&code(part)),
            1 => out.push_str(&escape(&format!("`{part}"))),
            _ => out.push_str(&escape(part)),
        }
    }
    out
}

/// Escapes everything that Markdown, HTML or GitHub's mentions and references act on.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.char_indices() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // In a code span a mention notifies nobody; a backslash doesn't help.
            '@' => out.push_str("`@`"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '|' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // Only a line's first character could start a list, a rule or a heading.
            '-' | '+' | '=' if index == 0 => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    // Bare addresses are made links without any markup.
    out.replace("://", "&#58;//").replace("www.", "www&#46;")
}

/// A finished piece of Markdown for a table's cell: a bar ends a cell, even within a code span.
pub fn cell(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len());
    let mut escaped = false;
    for c in markdown.chars() {
        if c == '|' && !escaped {
            out.push('\\');
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
    }
    out
}
