//! Workflow annotations of GitHub Actions, which show findings beside the changed lines of a pull request.

use std::fmt::Write;

use crate::render::place::Place;
use crate::render::text::{one_line, quote};
use crate::{Diagnostic, Finding, Report, ResultItem, Severity, SourceMap};

/// The longest sentence in an annotation, in characters.
const LONGEST_SENTENCE: usize = 600;

/// One `::error file=...,line=...,col=...,title=...::message` line for each diagnostic and finding.
/// O(findings).
pub fn render_github(report: &Report, sources: &SourceMap) -> String {
    let mut out = String::new();
    for diagnostic in &report.diagnostics {
        annotation(&mut out, None, &Finding::from(diagnostic.clone()), sources);
    }
    for result in &report.results {
        for finding in result.shown().iter() {
            annotation(&mut out, Some(result), finding, sources);
        }
    }
    out
}

fn annotation(out: &mut String, result: Option<&ResultItem>, finding: &Finding, sources: &SourceMap) {
    let diagnostic = &finding.diagnostic;
    let command = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let mut properties = String::new();
    if let Some(place) = diagnostic.span().and_then(|span| Place::of(span, sources)) {
        let file = property(&one_line(&place.file));
        let _ = write!(properties, "file={file},line={},col={},", place.line, place.column);
        // The end column only means something on the line where the annotation starts.
        let (end_line, end_column) = (place.end_line, place.end_column);
        let _ = match end_line == place.line {
            true => write!(properties, "endColumn={end_column},"),
            false => write!(properties, "endLine={end_line},"),
        };
    }
    let title = match result {
        Some(result) => format!("{} ({})", quote(&result.name, LONGEST_SENTENCE), diagnostic.code),
        None => diagnostic.code.to_owned(),
    };
    let message = data(&message(diagnostic, finding));
    let _ = writeln!(out, "::{command} {properties}title={}::{message}", property(&title));
}

fn message(diagnostic: &Diagnostic, finding: &Finding) -> String {
    let mut lines = vec![quote(&diagnostic.message, LONGEST_SENTENCE)];
    for witness in &finding.witnesses {
        let (packet, outcome) =
            (quote(&witness.packet, LONGEST_SENTENCE), quote(&witness.outcome, LONGEST_SENTENCE));
        lines.push(format!("packet: {packet} => {outcome}"));
    }
    lines.extend(diagnostic.notes.iter().map(|note| quote(note, LONGEST_SENTENCE)));
    lines.extend(diagnostic.help.iter().map(|help| format!("change: {}", quote(help, LONGEST_SENTENCE))));
    lines.extend(finding.manager.iter().map(|manager| {
        format!("{}: {}", quote(&manager.name, LONGEST_SENTENCE), quote(&manager.edit, LONGEST_SENTENCE))
    }));
    lines.join("\n")
}

/// Escapes the message of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
