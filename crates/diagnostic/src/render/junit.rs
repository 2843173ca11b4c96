//! JUnit XML, which CI systems list as tests: one test case for each intent.
//!
//! Anything that wasn't proved is a failure here too. That includes vacuous questions: a skipped test is
//! green in most lists, and an intent that asks about no packets is a mistake to be seen.

use std::fmt::Write;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::render::place::Place;
use crate::render::text::quote;
use crate::{Finding, Report, ResultItem, Severity, SourceMap, Verdict};

/// The longest sentence, packet or rule, in characters.
const LONGEST: usize = 600;

/// The report as JUnit XML without times, so that equal reports give equal text. O(findings).
pub fn render_junit(report: &Report, sources: &SourceMap) -> String {
    let mut suite = TestSuite::new(quote(&format!("{} {}", report.command, report.subject), LONGEST));
    let class = format!("firewarden.{}", quote(&report.command, LONGEST));
    for result in &report.results {
        let mut case = TestCase::new(quote(&result.name, LONGEST), status(result, sources));
        case.set_classname(class.as_str());
        case.add_property(("intent", quote(&result.intent, LONGEST).as_str()));
        if let Some(owner) = &result.owner {
            case.add_property(("owner", quote(owner, LONGEST).as_str()));
        }
        suite.add_test_case(case);
    }
    // Inputs that are wrong must be seen even when no question could be asked.
    for diagnostic in report.diagnostics.iter().filter(|d| d.severity == Severity::Error) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let finding = Finding::from(diagnostic.clone());
        status.set_type(diagnostic.code).set_message(quote(&diagnostic.message, LONGEST));
        status.set_description(description(&[finding], sources));
        let mut case = TestCase::new(format!("input {}", place(diagnostic.span(), sources)).trim(), status);
        case.set_classname(class.as_str());
        suite.add_test_case(case);
    }
    let mut junit = quick_junit::Report::new("firewarden");
    junit.add_test_suite(suite);
    // Writing to memory doesn't fail, and every string was made valid for XML above.
    junit.to_string().unwrap_or_else(|error| format!("<!-- {} -->\n", error.to_string().replace("--", "- ")))
}

fn status(result: &ResultItem, sources: &SourceMap) -> TestCaseStatus {
    let kind = match result.verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        Verdict::Error => NonSuccessKind::Error,
        // Nobody has accepted it, so that it fails nothing.
        _ if result.proposed => return skipped(result),
        Verdict::Fail | Verdict::Depends | Verdict::Undetermined | Verdict::Vacuous => {
            NonSuccessKind::Failure
        }
    };
    let findings = result.shown();
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(result.verdict.word());
    if let Some(finding) = findings.first() {
        status.set_message(quote(&finding.diagnostic.message, LONGEST));
    }
    status.set_description(description(&findings, sources));
    status
}

fn skipped(result: &ResultItem) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    let told = result.shown().first().map(|finding| quote(&finding.diagnostic.message, LONGEST));
    status.set_message(format!("proposed, and not accepted yet: {}", told.unwrap_or_default()));
    status
}

fn place(span: Option<crate::Span>, sources: &SourceMap) -> String {
    span.and_then(|span| Place::of(span, sources)).map(|place| place.short()).unwrap_or_default()
}

fn description(findings: &[Finding], sources: &SourceMap) -> String {
    let mut out = String::new();
    for finding in findings {
        let diagnostic = &finding.diagnostic;
        let place = place(diagnostic.span(), sources);
        let message = format!("{place} [{}] {}", diagnostic.code, quote(&diagnostic.message, LONGEST));
        let _ = writeln!(out, "{}", message.trim_start());
        for witness in &finding.witnesses {
            let (packet, outcome) = (quote(&witness.packet, LONGEST), quote(&witness.outcome, LONGEST));
            let _ = writeln!(out, "packet: {packet} => {outcome}");
            for step in witness.path.iter().filter(|step| step.decides) {
                let at = self::place(step.span, sources);
                let (host, action) = (quote(&step.host, LONGEST), quote(&step.action, LONGEST));
                let _ = writeln!(out, "decided on {host} by {at} {}: {action}", quote(&step.rule, LONGEST));
            }
        }
        for note in &diagnostic.notes {
            let _ = writeln!(out, "why: {}", quote(note, LONGEST));
        }
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(out, "change: {}", quote(help, LONGEST));
        }
        if let Some(manager) = &finding.manager {
            let (name, edit) = (quote(&manager.name, LONGEST), quote(&manager.edit, LONGEST));
            let _ = writeln!(out, "{name}: {edit}");
        }
    }
    out
}
