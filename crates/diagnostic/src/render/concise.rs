//! One line for each finding, as compilers print them, for editors and `grep`.

use crate::render::place::Place;
use crate::render::text::{one_line, quote};
use crate::{Diagnostic, Report, Severity, SourceMap};

/// The longest message on a line, in characters.
const LONGEST_MESSAGE: usize = 600;

/// `file:line:column: severity[code]: message` for each diagnostic and finding. A finding without a place
/// stands under the report's subject. O(findings).
pub fn render_concise(report: &Report, sources: &SourceMap) -> String {
    let mut out = String::new();
    for diagnostic in &report.diagnostics {
        line(&mut out, diagnostic, "", report, sources);
    }
    for result in &report.results {
        for finding in result.shown().iter() {
            let packet = finding.witnesses.first().map(|witness| quote(&witness.packet, LONGEST_MESSAGE));
            let packet = packet.map(|packet| format!(" ({packet})")).unwrap_or_default();
            line(&mut out, &finding.diagnostic, &packet, report, sources);
        }
    }
    out
}

fn line(out: &mut String, diagnostic: &Diagnostic, tail: &str, report: &Report, sources: &SourceMap) {
    let place = match diagnostic.span().and_then(|span| Place::of(span, sources)) {
        Some(place) => format!("{}:{}", place.short(), place.column),
        None => one_line(&report.subject).into_owned(),
    };
    // A line that begins with two colons would be a workflow command in a log of GitHub Actions.
    let guard = if place.trim_start().starts_with("::") { "./" } else { "" };
    let message = quote(&diagnostic.message, LONGEST_MESSAGE);
    let (severity, code) = (severity_word(diagnostic.severity), diagnostic.code);
    out.push_str(&format!("{guard}{place}: {severity}[{code}]: {message}{tail}\n"));
}

/// The word for a severity in every format.
pub(crate) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}
