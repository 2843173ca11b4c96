//! A diff for people, and as Markdown for a pull request.

use super::names::Cut;
use super::{Answer, HostAnswer, IntentChange, json};
use crate::output::AnswerFormat;
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::render::markdown::{cell as escaped_cell, code as code_span, prose};
use firewarden_diagnostic::render::text::{clip, one_line};
use firewarden_diagnostic::{SourceMap, Span, Verdict};
use firewarden_packet::AtomTable;
use firewarden_verify::diff::{Effect, ToldChange, ToldRule, Words};
use std::fmt::Write;

/// The longest rule or set that is shown, in characters.
const LONGEST: usize = 140;
/// Changes of one host that are written out for people; the rest is counted.
const MOST_CHANGES: usize = 50;
/// Sets of one change that are written out for people.
const MOST_SETS: usize = 4;

/// Said of changes whose packets may happen to get the same value on both sides.
const COINCIDENCES: &str = "those whose values happen to be equal before and after";

/// The answer in a format.
pub fn render(
    answer: &Answer,
    atoms: &AtomTable,
    sources: &SourceMap,
    format: AnswerFormat,
    style: Style,
) -> String {
    match format {
        AnswerFormat::Human => Human { sources, style, out: String::new() }.answer(answer),
        AnswerFormat::Markdown => markdown(answer, sources),
        AnswerFormat::Json => json::render(answer, atoms, sources),
    }
}

/// `edge.nft:14`; empty where there is no place.
pub fn place(span: Option<Span>, sources: &SourceMap) -> String {
    let Some(span) = span else { return String::new() };
    let Some(file) = sources.get(span.file) else { return String::new() };
    format!("{}:{}", one_line(&file.name), file.line_column(span.start).line)
}

fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// One sentence about a host.
fn summary(host: &HostAnswer) -> String {
    if let Some(side) = host.only {
        return format!("the host is in the version {side} only");
    }
    let rules = match (host.touched.removed, host.touched.added) {
        (0, 0) => "no rule differs".to_owned(),
        (removed, added) => format!("{} removed or moved, {added} added", count(removed, "rule")),
    };
    let open = match host.undecided.len() {
        0 => String::new(),
        sets => format!(
            "; {} not compared, because a limit ended",
            if sets == 1 { "1 set of packets".to_owned() } else { format!("{sets} sets of packets") }
        ),
    };
    if host.changes.is_empty() {
        let same = if host.is_complete() {
            "same meaning"
        } else if host.undecided.is_empty() {
            "the same meaning, but for what isn't compared"
        } else {
            "no difference found so far"
        };
        return format!("{same} ({rules}){open}");
    }
    let mut parts = Vec::new();
    for (effect, word) in [(Effect::Blocked, "newly blocked"), (Effect::Allowed, "newly allowed")] {
        let number = host.changes.iter().filter(|change| change.effect == effect).count();
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    let rest = host.changes.len()
        - host
            .changes
            .iter()
            .filter(|change| matches!(change.effect, Effect::Blocked | Effect::Allowed))
            .count();
    if rest > 0 {
        parts.push(format!("{rest} otherwise"));
    }
    format!("{}: {} ({rules}){open}", count(host.changes.len(), "change"), parts.join(", "))
}

/// What the packets are that change, beside source, destination and service.
fn states(change: &ToldChange) -> &'static str {
    if change.new { "new connections" } else { "packets of existing connections, or without one" }
}

fn set_words(set: &Words) -> String {
    let words: Vec<String> = set.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if words.is_empty() { "every packet".to_owned() } else { words.join("; ") }
}

/// How what stands beside the hull is related to it.
fn beside_word(change: &ToldChange) -> &'static str {
    if change.except.is_empty() { "of these" } else { "but not" }
}

/// How many sets aren't written out.
fn more_sets(change: &ToldChange) -> Option<usize> {
    change.beside_hull.len().checked_sub(MOST_SETS).filter(|more| *more > 0)
}

fn verdict_change(change: &IntentChange) -> &'static str {
    match (change.before, change.after) {
        (_, Verdict::Fail) => "breaks",
        (Verdict::Fail, Verdict::Pass) => "repairs",
        (_, Verdict::Pass) => "settles",
        _ => "changes",
    }
}

struct Human<'h> {
    sources: &'h SourceMap,
    style: Style,
    out: String,
}

impl Human<'_> {
    fn painted(&self, color: AnsiColor, text: &str) -> String {
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Color => {
                let style = Ansi::new().bold().fg_color(Some(color.into()));
                format!("{style}{text}{style:#}")
            }
        }
    }

    fn line(&mut self, word: &str, text: &str) {
        let _ = writeln!(self.out, "  {word:<8} {text}");
    }

    fn answer(mut self, answer: &Answer) -> String {
        self.intents(answer);
        let several = answer.hosts.len() > 1;
        let same = |host: &&HostAnswer| host.changes.is_empty() && host.is_complete() && host.only.is_none();
        let quiet: Vec<&str> = answer.hosts.iter().filter(same).map(|host| host.name.as_str()).collect();
        for host in answer.hosts.iter().filter(|host| !several || !same(host)) {
            let name = if several { format!("{}: ", one_line(&host.name)) } else { String::new() };
            let _ = writeln!(self.out, "{name}{}", summary(host));
            for (change, listeners) in host.changes.iter().zip(&host.listeners).take(MOST_CHANGES) {
                self.change(change);
                if !listeners.is_empty() {
                    self.line("listens", &clip(&one_line(&listeners.join(", ")), LONGEST));
                }
            }
            if let Some(more) = host.changes.len().checked_sub(MOST_CHANGES).filter(|more| *more > 0) {
                let _ =
                    writeln!(self.out, "\n{} more; `--format json` has all of them", count(more, "change"));
            }
            for open in &host.not_compared {
                let place = place(open.span, self.sources);
                let text = format!("not compared  {} ({place}): {}", one_line(&open.what), open.why);
                let painted = self.painted(AnsiColor::Yellow, &text);
                let _ = writeln!(self.out, "\n{painted}");
            }
            for cut in &host.cuts {
                self.cut(cut);
            }
            self.out.push('\n');
        }
        if several && !quiet.is_empty() {
            let _ = writeln!(self.out, "same meaning: {}", quiet.join(", "));
        }
        self.out
    }

    /// What people declared comes first.
    fn intents(&mut self, answer: &Answer) {
        for change in answer.changed_intents() {
            let color = if change.after == Verdict::Fail { AnsiColor::Red } else { AnsiColor::Green };
            let word = self.painted(color, verdict_change(change));
            let owner = change.owner.as_ref().map(|owner| format!(" (owner {owner})")).unwrap_or_default();
            let _ = writeln!(
                self.out,
                "{word} `{}`{owner}: {} before, {} after",
                one_line(&change.intent),
                change.before.word(),
                change.after.word()
            );
            if let Some(why) = &change.why {
                let _ = writeln!(self.out, "  {}", clip(&one_line(why), 4 * LONGEST));
            }
        }
        for text in &answer.withdrawn {
            let word = self.painted(AnsiColor::Yellow, "no longer declared");
            let _ = writeln!(self.out, "{word} `{}`", one_line(text));
        }
        if !answer.intents.is_empty() && answer.changed_intents().next().is_none() {
            let _ = writeln!(
                self.out,
                "{} asked before and after: every verdict is the same",
                count(answer.intents.len(), "intent")
            );
        }
        if !answer.intents.is_empty() || !answer.withdrawn.is_empty() {
            self.out.push('\n');
        }
    }

    fn change(&mut self, change: &ToldChange) {
        let color = match change.effect {
            Effect::Blocked => AnsiColor::Red,
            Effect::Allowed => AnsiColor::Yellow,
            _ => AnsiColor::Cyan,
        };
        let title = self.painted(color, &change.title);
        let _ = writeln!(
            self.out,
            "\n{title}  {}  ({}, {})",
            clip(&one_line(&change.headline), LONGEST),
            change.direction.word(),
            states(change)
        );
        self.side("before", &change.before, &change.outcome_before);
        self.side("after", &change.after, &change.outcome_after);
        self.line("packets", &clip(&one_line(&set_words(&change.hull)), 2 * LONGEST));
        let word = beside_word(change);
        for set in change.beside_hull.iter().take(MOST_SETS) {
            self.line(word, &clip(&one_line(&set_words(set)), 2 * LONGEST));
        }
        if let Some(more) = more_sets(change) {
            self.line("", &format!("and {more} more; `--format json` has all of them"));
        }
        if change.coincidences {
            self.line("but not", COINCIDENCES);
        }
        if !change.given.is_empty() {
            self.line("given", &clip(&one_line(&change.given.join("; ")), 2 * LONGEST));
        }
        self.line("example", &change.witness);
    }

    fn side(&mut self, word: &str, rule: &ToldRule, outcome: &str) {
        let place = place(rule.span, self.sources);
        let manager = rule
            .manager
            .as_ref()
            .map(|manager| format!("  [{}: {}]", manager.name, manager.edit))
            .unwrap_or_default();
        let text = format!("{outcome} by {place}  {}{manager}", clip(&one_line(&rule.text), LONGEST));
        self.line(word, text.trim_end());
    }

    fn cut(&mut self, cut: &Cut) {
        let place = place(cut.rule.span, self.sources);
        let own = if cut.own_session { ", your own session among them" } else { "" };
        let text = if cut.now {
            format!(
                "cuts {} {}{own}: {place}  {}",
                count(cut.count, "live connection"),
                cut.flow,
                cut.rule.text
            )
        } else {
            format!(
                "{} {} go on, but can't be opened again{own}: {place}  {}",
                count(cut.count, "live connection"),
                cut.flow,
                cut.rule.text
            )
        };
        let color = if cut.now { AnsiColor::Red } else { AnsiColor::Yellow };
        let painted = self.painted(color, &clip(&one_line(&text), 2 * LONGEST));
        let _ = writeln!(self.out, "\n{painted}");
    }
}

/// For a pull request: a summary, a table of the changes, and the rules folded away.
fn markdown(answer: &Answer, sources: &SourceMap) -> String {
    let cell = |text: &str| escaped_cell(&prose(text));
    let code = |text: &str| escaped_cell(&code_span(text));
    let mut out = String::new();
    let _ = writeln!(
        out,
        "### What this change does to packets\n\nFrom {} to {}.\n",
        code(&answer.before),
        code(&answer.after)
    );
    for change in answer.changed_intents() {
        let owner =
            change.owner.as_ref().map(|owner| format!(" (owner {})", cell(owner))).unwrap_or_default();
        let _ = writeln!(
            out,
            "- **{}** {}{owner}: {} before, {} after. {}",
            verdict_change(change),
            code(&change.intent),
            change.before.word(),
            change.after.word(),
            change.why.as_deref().map(cell).unwrap_or_default()
        );
    }
    for text in &answer.withdrawn {
        let _ = writeln!(out, "- **no longer declared** {}", code(text));
    }
    if !answer.intents.is_empty() && answer.changed_intents().next().is_none() {
        let _ = writeln!(
            out,
            "{} asked before and after: every verdict is the same.",
            count(answer.intents.len(), "intent")
        );
    }
    if !answer.intents.is_empty() || !answer.withdrawn.is_empty() {
        out.push('\n');
    }
    for host in &answer.hosts {
        let _ = writeln!(out, "**{}**: {}\n", cell(&host.name), cell(&summary(host)));
        for open in &host.not_compared {
            let _ = writeln!(
                out,
                "- not compared: {} ({}): {}",
                cell(&open.what),
                cell(&place(open.span, sources)),
                open.why
            );
        }
        if host.changes.is_empty() {
            continue;
        }
        out.push_str("| | packets | before | after | example |\n|---|---|---|---|---|\n");
        for change in host.changes.iter().take(MOST_CHANGES) {
            let side = |rule: &ToldRule, outcome: &str| {
                format!(
                    "{outcome}: {} {}",
                    cell(&place(rule.span, sources)),
                    code(&clip(&one_line(&rule.text), LONGEST))
                )
            };
            let beside = |change: &ToldChange| {
                let word = beside_word(change);
                let shown = change.beside_hull.iter().take(MOST_SETS);
                let sets: Vec<String> = shown
                    .map(|set| format!("<br>{word} {}", cell(&clip(&one_line(&set_words(set)), LONGEST))))
                    .collect();
                let more = more_sets(change).map(|more| format!("<br>and {more} more"));
                sets.into_iter().chain(more).collect::<String>()
            };
            let _ = writeln!(
                out,
                "| **{}** | {} ({}, {}){} | {} | {} | {} |",
                cell(&change.title),
                code(&change.headline),
                change.direction.word(),
                [states(change).to_owned()]
                    .into_iter()
                    .chain(change.coincidences.then(|| format!("but not {COINCIDENCES}")))
                    .chain(change.given.iter().map(|given| format!("given {}", cell(given))))
                    .collect::<Vec<_>>()
                    .join(", "),
                beside(change),
                side(&change.before, &change.outcome_before),
                side(&change.after, &change.outcome_after),
                code(&change.witness)
            );
        }
        if let Some(more) = host.changes.len().checked_sub(MOST_CHANGES).filter(|more| *more > 0) {
            let _ = writeln!(out, "\n{} more.", count(more, "change"));
        }
        for cut in &host.cuts {
            let what = if cut.now { "cuts" } else { "lets go on, but not open again," };
            let _ = writeln!(
                out,
                "\n- {what} {} {}: {} {}",
                count(cut.count, "live connection"),
                code(&cut.flow),
                cell(&place(cut.rule.span, sources)),
                code(&cut.rule.text)
            );
        }
        out.push('\n');
    }
    out
}
