//! SARIF 2.1.0 (OASIS), for code scanning services and editors.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::render::place::Place;
use crate::render::text::{LONGEST_QUOTE, clip, escape_json, quote};
use crate::{Diagnostic, Finding, Report, ResultItem, Severity, SourceMap, Span, Witness};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const HOME: &str = "https://github.com/firewarden/firewarden";

/// The report as one SARIF run: a rule for each code, a result for each finding, the packet's path as a code
/// flow. Questions that passed give no result: a code scanning service would show them as alerts. O(report).
pub fn render_sarif(report: &Report, sources: &SourceMap) -> String {
    let mut results = Vec::new();
    for diagnostic in &report.diagnostics {
        results.push(result(None, &Finding::from(diagnostic.clone()), sources));
    }
    for item in &report.results {
        results.extend(item.shown().iter().map(|finding| result(Some(item), finding, sources)));
    }
    // Rules in the order of their codes, so that their indexes don't depend on what came first.
    let mut levels: BTreeMap<&'static str, &'static str> = BTreeMap::new();
    for result in &results {
        let known = levels.entry(result.rule_id).or_insert(result.level);
        if rank(result.level) < rank(known) {
            *known = result.level;
        }
    }
    let codes: Vec<&'static str> = levels.keys().copied().collect();
    for result in &mut results {
        result.rule_index = codes.binary_search(&result.rule_id).unwrap_or(0);
    }
    let rules = levels.into_iter().map(|(code, level)| Rule {
        id: code,
        name: code,
        short_description: text(code.replace('-', " ")),
        default_configuration: Configuration { level },
    });
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "firewarden",
                    version: report.tool_version.clone(),
                    information_uri: HOME,
                    rules: rules.collect(),
                },
            },
            invocations: [Invocation { execution_successful: report.summary().input_errors == 0 }],
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    // Strings, numbers and lists always serialize.
    let mut json = serde_json::to_string_pretty(&log).unwrap_or_default();
    json.push('\n');
    escape_json(json)
}

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<SarifResult>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    version: String,
    information_uri: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    name: &'static str,
    short_description: Text,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    code_flows: Vec<CodeFlow>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
    snippet: Text,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CodeFlow {
    message: Text,
    thread_flows: [ThreadFlow; 1],
}

#[derive(Serialize)]
struct ThreadFlow {
    locations: Vec<FlowLocation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlowLocation {
    location: Location,
    execution_order: usize,
    importance: &'static str,
}

fn result(item: Option<&ResultItem>, finding: &Finding, sources: &SourceMap) -> SarifResult {
    let diagnostic = &finding.diagnostic;
    let place = diagnostic.span().or(item.and_then(|item| item.declared));
    let related = diagnostic.labels.iter().filter(|label| Some(label.span) != place);
    let related_locations = related.enumerate().map(|(index, label)| Location {
        id: Some(index + 1),
        physical_location: physical(Some(label.span), sources),
        message: (!label.message.is_empty()).then(|| text(one(&label.message))),
    });
    let mut properties = BTreeMap::new();
    if let Some(item) = item {
        properties.insert("intent", one(&item.intent));
        properties.insert("name", one(&item.name));
        properties.insert("verdict", item.verdict.word().to_owned());
        properties.extend(item.owner.as_ref().map(|owner| ("owner", one(owner))));
    }
    if let Some(manager) = &finding.manager {
        properties.insert("manager", one(&manager.name));
    }
    SarifResult {
        rule_id: diagnostic.code,
        rule_index: 0,
        // The kind stays `fail`, which is the default: with any other, 3.27.10 allows no level but `none`,
        // and services sort by level.
        level: level(diagnostic.severity),
        message: text(message(finding)),
        locations: physical(place, sources)
            .map(|at| Location { id: None, physical_location: Some(at), message: None })
            .into_iter()
            .collect(),
        related_locations: related_locations.filter(|at| at.physical_location.is_some()).collect(),
        code_flows: finding.witnesses.iter().filter_map(|witness| code_flow(witness, sources)).collect(),
        partial_fingerprints: BTreeMap::from([(
            "firewardenFinding/v1",
            fingerprint(item, diagnostic, sources),
        )]),
        properties,
    }
}

fn message(finding: &Finding) -> String {
    let diagnostic = &finding.diagnostic;
    let mut lines = vec![one(&diagnostic.message)];
    lines.extend(
        finding.witnesses.iter().map(|w| format!("packet: {} => {}", one(&w.packet), one(&w.outcome))),
    );
    lines.extend(diagnostic.notes.iter().map(|note| one(note)));
    lines.extend(diagnostic.help.iter().map(|help| format!("change: {}", one(help))));
    lines.extend(finding.manager.iter().map(|m| format!("{}: {}", one(&m.name), one(&m.edit))));
    lines.join("\n")
}

/// `None` for a packet without a path: a flow must have locations.
fn code_flow(witness: &Witness, sources: &SourceMap) -> Option<CodeFlow> {
    let locations: Vec<FlowLocation> = witness
        .path
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let parts = [&step.host, &step.place, &step.rule].map(|part| one(part));
            let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            FlowLocation {
                location: Location {
                    id: None,
                    physical_location: physical(step.span, sources),
                    message: Some(text(format!("{}: {}", parts.join(" · "), one(&step.action)))),
                },
                execution_order: index + 1,
                importance: if step.decides { "essential" } else { "important" },
            }
        })
        .collect();
    let message = text(format!("{} => {}", one(&witness.packet), one(&witness.outcome)));
    (!locations.is_empty()).then_some(CodeFlow { message, thread_flows: [ThreadFlow { locations }] })
}

fn physical(span: Option<Span>, sources: &SourceMap) -> Option<PhysicalLocation> {
    let span = span?;
    let place = Place::of(span, sources)?;
    Some(PhysicalLocation {
        artifact_location: ArtifactLocation { uri: uri(&place.file) },
        region: Region {
            start_line: place.line,
            start_column: place.column,
            end_line: place.end_line,
            end_column: place.end_column,
            snippet: text(clip(sources.slice(span), LONGEST_QUOTE).into_owned()),
        },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn rank(level: &str) -> usize {
    ["error", "warning", "note"].iter().position(|known| *known == level).unwrap_or(3)
}

fn text(text: String) -> Text {
    Text { text }
}

/// One line that holds no embedded link (SARIF 3.11.6), which is what `[text](target)` would be.
fn one(text: &str) -> String {
    quote(text, LONGEST_QUOTE).replace("](", "] (")
}

/// A file name as a URI reference (RFC 3986): relative as given, absolute with the `file` scheme.
fn uri(file: &str) -> String {
    let mut uri = String::from(if file.starts_with('/') { "file://" } else { "" });
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte as char)
            }
            // Writing to a string can't fail.
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

/// What makes a finding the same one after lines moved: its code, its intent, its file and the start of the
/// rule's text. FNV-1a in 64 bits, as it need only tell findings of one repository apart.
fn fingerprint(item: Option<&ResultItem>, diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let span = diagnostic.span();
    let file = span.and_then(|span| sources.get(span.file)).map_or("", |file| file.name.as_str());
    let rule = span.map_or("", |span| sources.slice(span));
    let rule = clip(rule, LONGEST_QUOTE);
    let id = item.map_or("", |item| item.id.as_str());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [diagnostic.code, id, file, &rule] {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}
