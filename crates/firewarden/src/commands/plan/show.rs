//! A plan for people, and as Markdown for a review.

use super::Made;
use crate::commands::diff::Cut;
use crate::output::AnswerFormat;
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_change::delta::EditLine;
use firewarden_change::plan::{ProbeTarget, Switch};
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::render::text::{clip, one_line};
use std::fmt::Write;
use std::path::Path;

/// The longest line that is shown, in characters.
const LONGEST: usize = 160;
/// Lines of one place that are shown; the rest is counted.
const MOST_LINES: usize = 20;

/// One sentence about connections that are cut.
pub fn cut(cut: &Cut) -> String {
    let own = if cut.own_session { ", your own session among them" } else { "" };
    let how = if cut.now { "cut" } else { "go on, but can't be opened again" };
    format!("{} live connections {}{own} {how}: {}", cut.count, cut.flow, cut.rule.text)
}

fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    fn painted(&self, color: AnsiColor, text: &str) -> String {
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Color => {
                let style = Ansi::new().fg_color(Some(color.into()));
                format!("{style}{text}{style:#}")
            }
        }
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn colored(&mut self, color: AnsiColor, text: &str) {
        let text = self.painted(color, &clip(&one_line(text), LONGEST));
        self.line(&text);
    }

    fn edits(&mut self, made: &Made) {
        for edit in &made.edits {
            self.line(&format!("  {}", one_line(&edit.place)));
            for line in edit.lines.iter().take(MOST_LINES) {
                match line {
                    EditLine::Added(text) => self.colored(AnsiColor::Green, &format!("    + {text}")),
                    EditLine::Removed(text) => self.colored(AnsiColor::Red, &format!("    - {text}")),
                    EditLine::Changed(text) => self.colored(AnsiColor::Yellow, &format!("    ~ {text}")),
                }
            }
            if let Some(more) = edit.lines.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
                self.line(&format!("    and {more} more"));
            }
        }
    }
}

/// How many rules and so on come, go, and become others.
fn totals(made: &Made) -> String {
    let lines = || made.edits.iter().flat_map(|edit| &edit.lines);
    let of = |kind: fn(&EditLine) -> bool| lines().filter(|line| kind(line)).count();
    format!(
        "{} to add, {} to remove, {} to change",
        of(|line| matches!(line, EditLine::Added(_))),
        of(|line| matches!(line, EditLine::Removed(_))),
        of(|line| matches!(line, EditLine::Changed(_)))
    )
}

fn probe_words(made: &Made) -> Vec<String> {
    let words = |target: &ProbeTarget| match target {
        ProbeTarget::Tcp(address) => format!("tcp {address}"),
        ProbeTarget::Url(url) => url.clone(),
    };
    let line = |expected| if expected { "has to connect" } else { "must not connect" };
    made.plan
        .probes
        .iter()
        .map(|probe| format!("{} {} (`{}`)", words(&probe.target), line(probe.expected), probe.intent))
        .collect()
}

fn way_back(made: &Made) -> Vec<String> {
    let plan = &made.plan;
    let scripts = count(plan.rollback.len(), "script");
    let mut lines = vec![match plan.inverse.is_empty() {
        true => format!("rollback by {scripts}; no quick inverse"),
        false => {
            format!("quick inverse of {}, and whole rollback by {scripts}", count(plan.inverse.len(), "step"))
        }
    }];
    lines.push(match &plan.switch {
        Switch::Kernel { .. } => "held by the kernel: the old rules come back by themselves".to_owned(),
        Switch::Guard(why) => format!("held by the guard process ({why})"),
    });
    lines.push(format!("the old rules come back after {} s unless it is confirmed", plan.window_seconds));
    if let Some(persist) = &plan.persist {
        lines.push(format!("once confirmed, `{}` is written for the next boot", persist.path));
    }
    lines
}

/// The plan for people.
pub fn human(made: &Made, out: Option<&Path>, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    let hash = made.plan.hash();
    page.line(&format!("Plan {} for {}", hash.get(..12).unwrap_or_default(), one_line(&made.plan.host)));
    if made.plan.forward.is_empty() {
        page.line("\nNothing to do: the running rules are what the candidate makes of them.");
    } else {
        page.line(&format!("\nRules: {}", totals(made)));
        page.edits(made);
    }
    page.line("\nMeaning:");
    let told = made.comparison.render(AnswerFormat::Human, style);
    for line in told.trim_end().lines() {
        page.line(&if line.is_empty() { String::new() } else { format!("  {line}") });
    }
    let evidence = &made.plan.evidence;
    if evidence.intents.is_empty() {
        page.line(
            "\nIntents: none asked (without --stack there are none, and where nothing differs none changes)",
        );
    } else {
        page.line(&format!("\nIntents: {} asked before and after", evidence.intents.len()));
        for intent in
            evidence.intents.iter().filter(|intent| intent.before != intent.after || intent.after != "pass")
        {
            let color = if intent.after == "pass" { AnsiColor::Green } else { AnsiColor::Red };
            page.colored(
                color,
                &format!("  {}: {} before, {} after", intent.intent, intent.before, intent.after),
            );
        }
    }
    let probes = probe_words(made);
    page.line(&format!(
        "\nProbes: {}",
        if probes.is_empty() { "none" } else { "new connections from this host" }
    ));
    probes.iter().for_each(|probe| page.line(&format!("  {}", one_line(probe))));
    page.line("\nWay back (loaded in a throwaway namespace, leads back):");
    way_back(made).iter().for_each(|line| page.line(&format!("  {line}")));
    if !evidence.notes.is_empty() {
        page.line("\nNotes:");
        evidence.notes.iter().for_each(|note| page.line(&format!("  {}", one_line(note))));
    }
    for broken in &made.broken {
        page.out.push('\n');
        page.colored(AnsiColor::Red, &format!("breaks  {broken}"));
    }
    for depends in &made.depends {
        page.out.push('\n');
        page.colored(AnsiColor::Yellow, &format!("newly depends  {depends}"));
    }
    match out {
        Some(path) => page.line(&format!("\nWritten to {}; `firewarden apply` takes it.", path.display())),
        None => page.line("\nWith --out FILE it is written down for `firewarden apply`."),
    }
    page.out
}

/// The plan for a review.
pub fn markdown(made: &Made) -> String {
    let mut out = String::new();
    let plan = &made.plan;
    let _ = writeln!(
        out,
        "## Plan `{}` for {}\n",
        plan.hash().get(..12).unwrap_or_default(),
        one_line(&plan.host)
    );
    for broken in &made.broken {
        let _ = writeln!(out, "- **breaks** {}", one_line(broken));
    }
    for depends in &made.depends {
        let _ = writeln!(out, "- **newly depends** {}", one_line(depends));
    }
    let mut page = Page { out: String::new(), style: Style::Plain };
    page.edits(made);
    let _ = writeln!(out, "\n{}\n\n```diff\n{}```\n", totals(made), diff_lines(&page.out));
    let told = made.comparison.render(AnswerFormat::Markdown, Style::Plain);
    let _ = writeln!(out, "{}\n", told.trim_end());
    if !plan.evidence.intents.is_empty() {
        let _ = writeln!(out, "| intent | before | after |\n|---|---|---|");
        for intent in &plan.evidence.intents {
            let text = one_line(&intent.intent).replace('|', "\\|");
            let _ = writeln!(out, "| `{text}` | {} | {} |", intent.before, intent.after);
        }
        out.push('\n');
    }
    let lists =
        [("Probes", probe_words(made)), ("Way back", way_back(made)), ("Notes", plan.evidence.notes.clone())];
    for (title, lines) in lists {
        if !lines.is_empty() {
            let _ = writeln!(out, "### {title}\n");
            lines.iter().for_each(|line| out.push_str(&format!("- {}\n", one_line(line))));
            out.push('\n');
        }
    }
    out
}

/// Lines such that a `diff` block colours them.
fn diff_lines(text: &str) -> String {
    let line = |line: &str| match line.trim_start() {
        changed if changed.starts_with("+ ") || changed.starts_with("- ") => format!("{changed}\n"),
        other => format!("{other}\n"),
    };
    text.lines().map(line).collect::<String>().replace("```", "'''")
}
