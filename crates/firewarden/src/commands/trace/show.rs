//! The way of a packet as text, JSON and Markdown.

use crate::output::AnswerFormat;
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::render::text::{clip, one_line};
use firewarden_diagnostic::{SourceMap, Span};
use firewarden_verify::Traced;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write;

/// The longest rule that is shown, in characters.
const LONGEST_RULE: usize = 160;

/// The JSON Schema of the answer.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(WireTrace).to_value()
}

/// The way of one packet.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Firewarden trace, version 1")]
struct WireTrace {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// The packet that was asked about.
    packet: String,
    /// Whether it gets through.
    accepted: bool,
    /// What becomes of it in words, such as `dropped by lb`.
    outcome: String,
    /// The packet at the end, where rules changed it.
    rewritten: Option<String>,
    /// What happened, in order. Rules that don't match, and those that only count, aren't among it.
    steps: Vec<WireStep>,
    /// What was taken for granted of constructs that aren't modelled.
    given: Vec<String>,
}

/// Something that happened.
#[derive(Serialize, JsonSchema)]
struct WireStep {
    /// The host.
    host: String,
    /// Family, table, chain or hook, such as `inet filter input`.
    place: String,
    /// The rule's text; empty for a policy.
    rule: String,
    /// What it did: `accept`, `drop`, `jump web`, `dnat to 10.0.1.10:443`, `policy drop`.
    action: String,
    /// Whether the outcome comes down to it.
    decides: bool,
    /// The file of the rule; empty where there is none.
    file: String,
    /// Its line, from 1; 0 where there is none.
    line: u32,
    /// Its column in characters, from 1; 0 where there is none.
    column: u32,
}

/// The answer in a format.
pub fn render(traced: &Traced, sources: &SourceMap, format: AnswerFormat, style: Style) -> String {
    let wire = wire(traced, sources);
    match format {
        AnswerFormat::Human => human(&wire, style),
        AnswerFormat::Json => {
            // Strings, numbers and lists always serialize.
            let text = serde_json::to_string_pretty(&wire).unwrap_or_default();
            format!("{text}\n")
        }
        AnswerFormat::Markdown => markdown(&wire),
    }
}

fn wire(traced: &Traced, sources: &SourceMap) -> WireTrace {
    let steps = traced.steps.iter().map(|step| {
        let (file, line, column) = step.span.map(|span| place(span, sources)).unwrap_or_default();
        WireStep {
            host: step.host.clone(),
            place: step.place.clone(),
            rule: step.rule.clone(),
            action: step.action.clone(),
            decides: step.decides,
            file,
            line,
            column,
        }
    });
    WireTrace {
        schema_version: 1,
        packet: traced.packet.clone(),
        accepted: traced.accepted,
        outcome: traced.outcome.clone(),
        rewritten: traced.rewritten.clone(),
        steps: steps.collect(),
        given: traced.given.clone(),
    }
}

fn place(span: Span, sources: &SourceMap) -> (String, u32, u32) {
    match sources.get(span.file) {
        Some(file) => {
            let at = file.line_column(span.start);
            (file.name.clone(), at.line, at.column)
        }
        None => (String::new(), 0, 0),
    }
}

fn human(wire: &WireTrace, style: Style) -> String {
    let paint = |text: &str, color: AnsiColor| match style {
        Style::Plain => text.to_owned(),
        Style::Color => {
            let ansi = Ansi::new().bold().fg_color(Some(color.into()));
            format!("{ansi}{text}{ansi:#}")
        }
    };
    let mut out = String::new();
    push(&mut out, format_args!("{}\n", one_line(&wire.packet)));
    let several =
        wire.steps.iter().any(|step| wire.steps.first().is_some_and(|first| first.host != step.host));
    let mut shown = None;
    for step in &wire.steps {
        if shown != Some((&step.host, &step.place)) {
            let host = if several { format!("{}: ", one_line(&step.host)) } else { String::new() };
            push(&mut out, format_args!("\n{host}{}\n", one_line(&step.place)));
            shown = Some((&step.host, &step.place));
        }
        let refuses = step.action.contains("drop") || step.action.contains("reject");
        let color = match (refuses, step.action.contains("accept")) {
            (true, _) => AnsiColor::Red,
            (_, true) => AnsiColor::Green,
            _ => AnsiColor::Cyan,
        };
        let mark = if step.decides { ">" } else { " " };
        push(&mut out, format_args!("{mark} {}\n", paint(&one_line(&step.action), color)));
        let rule = if step.rule.is_empty() { "the chain's policy" } else { &step.rule };
        let rule = clip(rule, LONGEST_RULE);
        push(&mut out, format_args!("    {}:{}  {}\n", one_line(&step.file), step.line, one_line(&rule)));
    }
    if wire.steps.is_empty() {
        out.push_str("\nno rule and no policy had anything to do with it\n");
    }
    out.push('\n');
    for given in &wire.given {
        push(
            &mut out,
            format_args!("given that {}; say otherwise with `where` in the packet\n", one_line(given)),
        );
    }
    let color = if wire.accepted { AnsiColor::Green } else { AnsiColor::Red };
    push(&mut out, format_args!("{}", paint(&one_line(&wire.outcome), color)));
    if let Some(rewritten) = &wire.rewritten {
        push(&mut out, format_args!(", as {}", one_line(rewritten)));
    }
    out.push('\n');
    out
}

fn markdown(wire: &WireTrace) -> String {
    let cell =
        |text: &str| clip(&one_line(text).replace('|', "\\|").replace('`', "'"), LONGEST_RULE).into_owned();
    let mut out = format!("**{}**: `{}`\n\n", cell(&wire.outcome), cell(&wire.packet));
    out.push_str("| host | chain | place | rule | action |\n|---|---|---|---|---|\n");
    for step in &wire.steps {
        push(
            &mut out,
            format_args!(
                "| {} | `{}` | `{}:{}` | `{}` | {} |\n",
                cell(&step.host),
                cell(&step.place),
                cell(&step.file),
                step.line,
                cell(if step.rule.is_empty() { "policy" } else { &step.rule }),
                cell(&step.action),
            ),
        );
    }
    for given in &wire.given {
        push(&mut out, format_args!("\nGiven that {}.\n", cell(given)));
    }
    out
}

/// Appends to a string, which can't fail.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}
