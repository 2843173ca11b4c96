//! For people at a terminal.

use std::fmt::Write;

use annotate_snippets::renderer::Renderer;
use anstyle::{AnsiColor, Effects};

use crate::render::place::Place;
use crate::render::snippet::{self, Footer};
use crate::render::text::quote;
use crate::{About, Diagnostic, Finding, Report, ResultItem, Severity, SourceMap, Step, Verdict, Witness};

/// Whether terminal escapes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    #[default]
    Plain,
    /// With ANSI colours.
    Color,
}

/// How [`render_human`] writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HumanOptions {
    /// With or without colours.
    pub style: Style,
    /// Whether the questions that passed are listed, one line each.
    pub passes: bool,
}

/// The most diagnostics about the inputs that are written out; the rest is counted.
const MOST_DIAGNOSTICS: usize = 100;
/// The most steps of a path that are written out: this many from its start and from its end.
const STEPS_AT_EACH_END: usize = 16;
/// The longest sentence, packet or rule in a list, in characters.
const LONGEST_SENTENCE: usize = 600;
const LONGEST_PACKET: usize = 300;
const LONGEST_RULE: usize = 90;
/// Width of the words in front of the lists.
const WORD: usize = 8;

/// The whole report: diagnostics about the inputs, each finding with the rule's line, the packet, its path,
/// why, and what to change; then a summary line. O(what is shown).
pub fn render_human(report: &Report, sources: &SourceMap, options: HumanOptions) -> String {
    let mut human = Human { sources, style: options.style, out: String::new() };
    human.diagnostics(&report.diagnostics);
    let declared = report.about == About::Intents;
    for result in &report.results {
        for finding in result.shown().iter() {
            human.finding(declared.then_some(result), finding);
        }
    }
    if options.passes && declared {
        human.passes(report);
    }
    for remark in &report.remarks {
        let remark = quote(remark, LONGEST_SENTENCE);
        human.line(&remark);
    }
    human.summary(report);
    human.out
}

/// Diagnostics alone, for inputs that stop a run before it has a report.
pub fn render_diagnostics(diagnostics: &[Diagnostic], sources: &SourceMap, style: Style) -> String {
    let mut human = Human { sources, style, out: String::new() };
    human.diagnostics(diagnostics);
    human.out
}

struct Human<'a> {
    sources: &'a SourceMap,
    style: Style,
    out: String,
}

impl Human<'_> {
    fn renderer(&self) -> Renderer {
        match self.style {
            Style::Plain => Renderer::plain(),
            Style::Color => Renderer::styled(),
        }
    }

    fn paint(&self, text: &str, style: anstyle::Style) -> String {
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Color => format!("{style}{text}{style:#}"),
        }
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn diagnostics(&mut self, diagnostics: &[Diagnostic]) {
        let renderer = self.renderer();
        for diagnostic in diagnostics.iter().take(MOST_DIAGNOSTICS) {
            let shown = snippet::render(diagnostic, self.sources, &renderer, Footer::Shown);
            self.line(&shown);
            self.out.push('\n');
        }
        if let Some(more @ 1..) = diagnostics.len().checked_sub(MOST_DIAGNOSTICS) {
            let more = format!("... and {more} more about the inputs (all of them: `--format concise`)\n");
            self.line(&more);
        }
    }

    fn finding(&mut self, result: Option<&ResultItem>, finding: &Finding) {
        let shown = snippet::render(&finding.diagnostic, self.sources, &self.renderer(), Footer::Left);
        self.line(&shown);
        self.out.push('\n');
        if let Some(result) = result {
            self.intent(result);
        }
        for witness in &finding.witnesses {
            self.witness(witness, finding.diagnostic.severity);
        }
        for atom in &finding.depends_on {
            let place = atom.span.and_then(|span| Place::of(span, self.sources)).map(|place| place.short());
            let text = quote(&atom.text, LONGEST_RULE);
            let place = place.unwrap_or_default();
            self.item("depends", &format!("{}  {place}  {text}", quote(&atom.name, LONGEST_RULE)));
            if let Some(assumption) = &atom.assumption {
                self.item("", &format!("to settle it: {}", quote(assumption, LONGEST_SENTENCE)));
            }
        }
        self.sentences("why", &finding.diagnostic.notes);
        self.sentences("assumed", &finding.assumptions);
        if let Some(help) = &finding.diagnostic.help {
            self.item("change", &quote(help, LONGEST_SENTENCE));
        }
        if let Some(manager) = &finding.manager {
            let edit = quote(&manager.edit, LONGEST_SENTENCE);
            self.item("manager", &format!("{}: {edit}", quote(&manager.name, LONGEST_RULE)));
        }
        self.out.push('\n');
    }

    fn intent(&mut self, result: &ResultItem) {
        let mut intent = quote(&result.intent, LONGEST_PACKET);
        let mut facts = Vec::new();
        if result.name != result.intent {
            facts.push(quote(&result.name, LONGEST_RULE));
        }
        facts.extend(result.owner.iter().map(|owner| format!("owner {}", quote(owner, LONGEST_RULE))));
        if result.proposed {
            facts.push("proposed".to_owned());
        }
        if !facts.is_empty() {
            let _ = write!(intent, "  ({})", facts.join(", "));
        }
        self.item("intent", &intent);
        if let Some(because) = &result.because {
            self.item("", &format!("because {}", quote(because, LONGEST_SENTENCE)));
        }
    }

    fn witness(&mut self, witness: &Witness, severity: Severity) {
        let outcome = quote(&witness.outcome, LONGEST_RULE);
        let outcome = if outcome.is_empty() { outcome } else { format!("  => {outcome}") };
        self.item("packet", &format!("{}{outcome}", quote(&witness.packet, LONGEST_PACKET)));
        self.sentences("given", &witness.given);
        self.path(&witness.path, severity);
    }

    /// The steps as a table: number, host, place, file and line, action, rule. `>` marks what decides.
    fn path(&mut self, path: &[Step], severity: Severity) {
        let cells: Vec<[String; 4]> = path
            .iter()
            .map(|step| {
                let place = step.span.and_then(|span| Place::of(span, self.sources));
                [
                    quote(&step.host, LONGEST_RULE),
                    quote(&step.place, LONGEST_RULE),
                    place.map(|place| place.short()).unwrap_or_default(),
                    quote(&step.action, LONGEST_RULE),
                ]
            })
            .collect();
        let widths: [usize; 4] = std::array::from_fn(|column| {
            cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let number_width = path.len().to_string().len();
        let decides = severity_style(severity);
        for (index, (step, row)) in path.iter().zip(&cells).enumerate() {
            if index >= STEPS_AT_EACH_END && index + STEPS_AT_EACH_END < path.len() {
                if index == STEPS_AT_EACH_END {
                    self.item("", &format!("  ... {} more steps", path.len() - 2 * STEPS_AT_EACH_END));
                }
                continue;
            }
            let mark = if step.decides { '>' } else { ' ' };
            let mut line = format!("{mark} {:>number_width$}", index + 1);
            for (cell, width) in row.iter().zip(widths).filter(|(_, width)| *width > 0) {
                let _ = write!(line, "  {cell:<width$}");
            }
            let _ = write!(line, "  {}", quote(&step.rule, LONGEST_RULE));
            let line = line.trim_end();
            let line = if step.decides { self.paint(line, decides) } else { line.to_owned() };
            self.item(if index == 0 { "path" } else { "" }, &line);
        }
    }

    fn sentences(&mut self, word: &str, sentences: &[String]) {
        for (index, sentence) in sentences.iter().enumerate() {
            self.item(if index == 0 { word } else { "" }, &quote(sentence, LONGEST_SENTENCE));
        }
    }

    fn item(&mut self, word: &str, text: &str) {
        let word = self.paint(&format!("{word:<WORD$}"), Effects::BOLD.into());
        self.line(&format!("  {word}{text}"));
    }

    fn passes(&mut self, report: &Report) {
        let passes: Vec<&ResultItem> = report.results.iter().filter(|r| r.verdict == Verdict::Pass).collect();
        let names: Vec<String> = passes.iter().map(|result| quote(&result.name, LONGEST_RULE)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(40);
        for (result, name) in passes.iter().zip(&names) {
            let word = self.paint("pass", verdict_style(Verdict::Pass));
            let intent = quote(&result.intent, LONGEST_PACKET);
            let intent = if result.name == result.intent { String::new() } else { intent };
            let detail = result.detail.as_ref();
            let detail =
                detail.map_or(String::new(), |detail| format!("  ({})", quote(detail, LONGEST_SENTENCE)));
            self.line(&format!("{word}  {name:<width$}  {intent}{detail}"));
        }
        if !passes.is_empty() {
            self.out.push('\n');
        }
    }

    /// The last line, such as `check examples/webstack: 12 intents: 11 pass, 1 fails`.
    fn summary(&mut self, report: &Report) {
        let summary = report.summary();
        let mut counts: Vec<String> = Verdict::ALL
            .iter()
            .filter(|verdict| summary.of(**verdict) > 0)
            .map(|&verdict| {
                self.paint(&format!("{} {}", summary.of(verdict), verdict.word()), verdict_style(verdict))
            })
            .collect();
        let plural = |count: usize, what: &str| {
            (count > 0).then(|| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        };
        counts.extend(plural(summary.input_errors, "error").map(|count| format!("{count} in the inputs")));
        counts.extend(
            plural(summary.input_warnings, "warning").map(|count| format!("{count} about the inputs")),
        );
        let word = report.about.word();
        let total = plural(summary.total(), word).unwrap_or_else(|| format!("no {word}s"));
        let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
        let command = quote(&report.command, LONGEST_RULE);
        let subject = quote(&report.subject, LONGEST_PACKET);
        self.line(&format!("{command} {subject}: {total}{counts}"));
    }
}

fn severity_style(severity: Severity) -> anstyle::Style {
    let color = match severity {
        Severity::Error => AnsiColor::BrightRed,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Note => AnsiColor::BrightGreen,
    };
    color.on_default().effects(Effects::BOLD)
}

fn verdict_style(verdict: Verdict) -> anstyle::Style {
    match verdict {
        Verdict::Pass => AnsiColor::BrightGreen.on_default(),
        Verdict::Fail | Verdict::Error => severity_style(Severity::Error),
        Verdict::Depends | Verdict::Undetermined | Verdict::Vacuous => severity_style(Severity::Warning),
    }
}
