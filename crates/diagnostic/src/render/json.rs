//! The JSON report, version 1. Its types are written down in the schema that [`report_schema`] generates;
//! fields may be added to version 1, but none removed or given another meaning.

use schemars::JsonSchema;
use serde::Serialize;

use crate::render::concise::severity_word;
use crate::render::place;
use crate::render::text::{LONGEST_QUOTE, clip, escape_json};
use crate::{Diagnostic, Finding, Report, ResultItem, SourceMap, Span, Step, Verdict, Witness};

/// The report as indented JSON with a line end. Text is as in the inputs, cut to 2,000 characters a field;
/// characters that a terminal acts on are written as escapes. O(report).
pub fn render_json(report: &Report, sources: &SourceMap) -> String {
    let wire = wire_report(report, sources);
    // Strings, numbers and lists always serialize.
    let mut json = serde_json::to_string_pretty(&wire).unwrap_or_default();
    json.push('\n');
    escape_json(json)
}

/// The JSON Schema (draft 2020-12) of [`render_json`]'s output.
pub fn report_schema() -> serde_json::Value {
    schemars::schema_for!(WireReport).to_value()
}

/// What one run of firewarden found.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Firewarden report, version 1")]
struct WireReport {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// The program that made the report.
    tool: WireTool,
    /// The command, such as `check`.
    command: String,
    /// What it was run on: a folder, a file, or `-` for standard input.
    subject: String,
    /// How many results ended with each verdict.
    summary: WireSummary,
    /// What is wrong with the inputs, or worth knowing about them.
    diagnostics: Vec<WireDiagnostic>,
    /// One for each question, in the order in which they were declared.
    results: Vec<WireResult>,
    /// What there is to say about the run as a whole.
    remarks: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct WireTool {
    /// Always `firewarden`.
    name: String,
    /// Its version.
    version: String,
}

#[derive(Serialize, JsonSchema)]
struct WireSummary {
    /// The number of results.
    total: usize,
    /// Proved to hold.
    pass: usize,
    /// Proved not to hold.
    fail: usize,
    /// Decided by parts of the rulesets that are not interpreted.
    depends: usize,
    /// A budget ended first.
    undetermined: usize,
    /// No packets to ask about, so nothing was proved.
    vacuous: usize,
    /// Could not be asked, because an input is wrong.
    error: usize,
    /// Diagnostics about the inputs with severity error.
    input_errors: usize,
    /// Diagnostics about the inputs with severity warning.
    input_warnings: usize,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum WireVerdict {
    Pass,
    Fail,
    Depends,
    Undetermined,
    Vacuous,
    Error,
}

#[derive(Serialize, JsonSchema)]
struct WireResult {
    /// Stable id, unique in the report.
    id: String,
    /// What people call it.
    name: String,
    /// The question, such as `allow lb -> app tcp/8080`.
    intent: String,
    /// Where it was declared; null when it came from the command line.
    declared: Option<WirePlace>,
    /// Who answers for it.
    owner: Option<String>,
    /// Why it was declared.
    because: Option<String>,
    /// Nobody has accepted the question yet, so that the answer counts for nothing.
    proposed: bool,
    /// The answer.
    verdict: WireVerdict,
    /// One sentence about the answer.
    detail: Option<String>,
    /// What shows the answer.
    findings: Vec<WireFinding>,
}

#[derive(Serialize, JsonSchema)]
struct WireFinding {
    /// What is wrong and where; `notes` say why, `help` says what to change.
    #[serde(flatten)]
    diagnostic: WireDiagnostic,
    /// The packets that prove it: one for a failure, one for each side when it depends.
    witnesses: Vec<WireWitness>,
    /// Who manages the rule, and where to edit it.
    manager: Option<WireManager>,
    /// The uninterpreted parts that decide.
    depends_on: Vec<WireDependency>,
    /// What was taken for granted.
    assumptions: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct WireDiagnostic {
    /// Stable id in kebab-case, never reused with another meaning.
    code: String,
    /// `error`, `warning` or `note`.
    severity: String,
    /// One sentence.
    message: String,
    /// The place; null where there is none.
    place: Option<WirePlace>,
    /// All places with what is to be said there.
    labels: Vec<WireLabel>,
    /// Why.
    notes: Vec<String>,
    /// What to do about it.
    help: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct WireLabel {
    /// Where.
    place: WirePlace,
    /// What; may be empty.
    message: String,
    /// Whether it is the place of the diagnostic rather than context.
    primary: bool,
}

#[derive(Serialize, JsonSchema)]
struct WirePlace {
    /// The file as it was given.
    file: String,
    /// Line of the first character, from 1.
    line: u32,
    /// Column of the first character, in characters from 1.
    column: u32,
    /// Line of the last character.
    end_line: u32,
    /// Column one past the last character.
    end_column: u32,
    /// The text there, cut to 2,000 characters.
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct WireWitness {
    /// The packet as `firewarden trace` reads it.
    packet: String,
    /// Its fields in order.
    fields: Vec<WireField>,
    /// What becomes of it.
    outcome: String,
    /// What the uninterpreted parts are taken to be for it.
    given: Vec<String>,
    /// Every step on the way, in order.
    path: Vec<WireStep>,
}

#[derive(Serialize, JsonSchema)]
struct WireField {
    /// Such as `tcp.dport`.
    name: String,
    /// Such as `443`.
    value: String,
}

#[derive(Serialize, JsonSchema)]
struct WireStep {
    /// The host it happens on.
    host: String,
    /// Hook and chain.
    at: String,
    /// The rule's place; null where there is no rule.
    place: Option<WirePlace>,
    /// The rule's text.
    rule: String,
    /// What happens.
    action: String,
    /// Whether the finding comes down to this step.
    decides: bool,
}

#[derive(Serialize, JsonSchema)]
struct WireManager {
    /// Docker, ufw, firewalld, ...
    name: String,
    /// Where to make the change.
    edit: String,
}

#[derive(Serialize, JsonSchema)]
struct WireDependency {
    /// The atom's name.
    name: String,
    /// Where it stands.
    place: Option<WirePlace>,
    /// Its text in the ruleset.
    text: String,
    /// An assumption that can be written down to settle it.
    assumption: Option<String>,
}

fn wire_report(report: &Report, sources: &SourceMap) -> WireReport {
    let summary = report.summary();
    WireReport {
        schema_version: 1,
        tool: WireTool { name: "firewarden".to_owned(), version: report.tool_version.clone() },
        command: report.command.clone(),
        subject: report.subject.clone(),
        summary: WireSummary {
            total: summary.total(),
            pass: summary.of(Verdict::Pass),
            fail: summary.of(Verdict::Fail),
            depends: summary.of(Verdict::Depends),
            undetermined: summary.of(Verdict::Undetermined),
            vacuous: summary.of(Verdict::Vacuous),
            error: summary.of(Verdict::Error),
            input_errors: summary.input_errors,
            input_warnings: summary.input_warnings,
        },
        diagnostics: report.diagnostics.iter().map(|d| wire_diagnostic(d, sources)).collect(),
        results: report.results.iter().map(|result| wire_result(result, sources)).collect(),
        remarks: report.remarks.iter().map(|remark| cut(remark)).collect(),
    }
}

fn wire_result(result: &ResultItem, sources: &SourceMap) -> WireResult {
    WireResult {
        id: cut(&result.id),
        name: cut(&result.name),
        intent: cut(&result.intent),
        declared: wire_place(result.declared, sources),
        owner: result.owner.as_deref().map(cut),
        because: result.because.as_deref().map(cut),
        proposed: result.proposed,
        verdict: match result.verdict {
            Verdict::Pass => WireVerdict::Pass,
            Verdict::Fail => WireVerdict::Fail,
            Verdict::Depends => WireVerdict::Depends,
            Verdict::Undetermined => WireVerdict::Undetermined,
            Verdict::Vacuous => WireVerdict::Vacuous,
            Verdict::Error => WireVerdict::Error,
        },
        detail: result.detail.as_deref().map(cut),
        findings: result.shown().iter().map(|finding| wire_finding(finding, sources)).collect(),
    }
}

fn wire_finding(finding: &Finding, sources: &SourceMap) -> WireFinding {
    WireFinding {
        diagnostic: wire_diagnostic(&finding.diagnostic, sources),
        witnesses: finding.witnesses.iter().map(|witness| wire_witness(witness, sources)).collect(),
        manager: finding
            .manager
            .as_ref()
            .map(|manager| WireManager { name: cut(&manager.name), edit: cut(&manager.edit) }),
        depends_on: finding
            .depends_on
            .iter()
            .map(|atom| WireDependency {
                name: cut(&atom.name),
                place: wire_place(atom.span, sources),
                text: cut(&atom.text),
                assumption: atom.assumption.as_deref().map(cut),
            })
            .collect(),
        assumptions: finding.assumptions.iter().map(|text| cut(text)).collect(),
    }
}

fn wire_diagnostic(diagnostic: &Diagnostic, sources: &SourceMap) -> WireDiagnostic {
    let labels = diagnostic.labels.iter().filter_map(|label| {
        let place = wire_place(Some(label.span), sources)?;
        Some(WireLabel { place, message: cut(&label.message), primary: label.primary })
    });
    WireDiagnostic {
        code: diagnostic.code.to_owned(),
        severity: severity_word(diagnostic.severity).to_owned(),
        message: cut(&diagnostic.message),
        place: wire_place(diagnostic.span(), sources),
        labels: labels.collect(),
        notes: diagnostic.notes.iter().map(|text| cut(text)).collect(),
        help: diagnostic.help.as_deref().map(cut),
    }
}

fn wire_witness(witness: &Witness, sources: &SourceMap) -> WireWitness {
    let field = |(name, value): &(String, String)| WireField { name: cut(name), value: cut(value) };
    WireWitness {
        packet: cut(&witness.packet),
        fields: witness.fields.iter().map(field).collect(),
        outcome: cut(&witness.outcome),
        given: witness.given.iter().map(|text| cut(text)).collect(),
        path: witness.path.iter().map(|step| wire_step(step, sources)).collect(),
    }
}

fn wire_step(step: &Step, sources: &SourceMap) -> WireStep {
    WireStep {
        host: cut(&step.host),
        at: cut(&step.place),
        place: wire_place(step.span, sources),
        rule: cut(&step.rule),
        action: cut(&step.action),
        decides: step.decides,
    }
}

fn wire_place(span: Option<Span>, sources: &SourceMap) -> Option<WirePlace> {
    let span = span?;
    let place = place::Place::of(span, sources)?;
    Some(WirePlace {
        file: place.file,
        line: place.line,
        column: place.column,
        end_line: place.end_line,
        end_column: place.end_column,
        text: cut(sources.slice(span)),
    })
}

fn cut(text: &str) -> String {
    clip(text, LONGEST_QUOTE).into_owned()
}
