//! The pages as GitHub-flavoured Markdown.

use super::book::{Book, ChainPart, HostPage, IntentRow, Place, RuleRow};
use super::{MADE, TITLE, page_of};
use std::fmt::Write;

/// The most intents that are named at one rule.
const MOST_NAMED: usize = 4;

/// Who may talk to whom.
pub fn matrix(book: &Book) -> String {
    let mut out = format!("<!-- {MADE} -->\n# {TITLE}\n\n");
    out += "![hosts, links and flows](topology.svg)\n\n";
    out += "Rows send, columns receive. **only** also means that nobody else may; what has no entry was not declared.\n\n";
    let columns: Vec<String> = book.matrix.destinations.iter().map(|name| cell(&prose(name))).collect();
    // Writing to a string can't fail.
    let _ = writeln!(out, "| from ↓ to → | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for (row, source) in book.matrix.sources.iter().enumerate() {
        let mut line = format!("| **{}** |", cell(&prose(source)));
        for column in 0..columns.len() {
            let here = book.matrix.cells.get(&(row, column)).map(Vec::as_slice).unwrap_or_default();
            let said = here.iter().filter_map(|&index| book.intents.get(index)).map(|intent| {
                let failing =
                    if intent.verdict == firewarden_diagnostic::Verdict::Pass { "" } else { " ⚠" };
                format!("{} {}{failing}", intent.expectation, code(&intent.services))
            });
            let _ = write!(line, " {} |", cell(&said.collect::<Vec<_>>().join("<br>")));
        }
        let _ = writeln!(out, "{line}");
    }
    out += "\n## Flows\n\n| flow | name | answer | owner | why | declared | last change |\n|---|---|---|---|---|---|---|\n";
    for intent in &book.intents {
        let _ = writeln!(out, "{}", flow(intent));
    }
    out += "\n## Rules\n\n";
    for host in &book.hosts {
        let count: usize = host.chains.iter().map(|chain| chain.rules.len()).sum();
        let plural = if count == 1 { "" } else { "s" };
        let _ = writeln!(out, "- [{}]({}): {count} rule{plural}", prose(&host.name), page_of(&host.name));
    }
    out
}

fn flow(intent: &IntentRow) -> String {
    let cells = [
        code(&intent.text),
        prose(&intent.name),
        answer(intent),
        prose(intent.owner.as_deref().unwrap_or("nobody")),
        prose(intent.because.as_deref().unwrap_or_default()),
        link(&intent.place),
        prose(&intent.change),
    ];
    format!("| {} |", cells.map(|text| cell(&text)).join(" | "))
}

/// Whether an intent holds, in words.
fn answer(intent: &IntentRow) -> String {
    let detail = intent.detail.as_ref().map(|detail| format!(" ({})", prose(detail))).unwrap_or_default();
    match intent.verdict {
        firewarden_diagnostic::Verdict::Pass => format!("holds{detail}"),
        other => format!("**{}**{detail}", other.word()),
    }
}

/// The rules of one host.
pub fn host(book: &Book, host: &HostPage) -> String {
    let mut out = format!("<!-- {MADE} -->\n# Rules of {}\n\n[{TITLE}](matrix.md)\n", prose(&host.name));
    if host.chains.is_empty() {
        out += "\nIt has no rules: everything is accepted.\n";
    }
    for chain in &host.chains {
        let _ = writeln!(out, "\n## {}\n", prose(&chain.title));
        if let Some(about) = &chain.about {
            let _ = writeln!(out, "{}{}\n", prose(about), policy(book, chain));
        }
        if chain.rules.is_empty() {
            continue;
        }
        out += "| line | rule | needed by | owner | why | manager | last change |\n|---|---|---|---|---|---|---|\n";
        for rule in &chain.rules {
            let _ = writeln!(out, "{}", row(book, rule));
        }
    }
    if !book.incomplete.is_empty() {
        let _ = writeln!(
            out,
            "\nA limit ended the search for rules that these need, so that more may: {}.",
            prose(&book.incomplete.join(", "))
        );
    }
    out
}

fn policy(book: &Book, chain: &ChainPart) -> String {
    if chain.policy.is_empty() {
        String::new()
    } else {
        format!("; the policy decides for {}", named(book, &chain.policy))
    }
}

fn row(book: &Book, rule: &RuleRow) -> String {
    let comment = rule.comment.as_ref().filter(|comment| !rule.text.contains(comment.as_str()));
    let comment = comment.map(|comment| format!("<br>{}", prose(comment))).unwrap_or_default();
    let reasons = book.reasons(&rule.intents);
    let reasons = if reasons.len() > MOST_NAMED { String::new() } else { reasons.join("; ") };
    let cells = [
        link(&rule.place),
        format!("{}{comment}", code(&rule.text)),
        if rule.intents.is_empty() { "no intent".to_owned() } else { named(book, &rule.intents) },
        prose(&book.owners(&rule.intents).join(", ")),
        prose(&reasons),
        prose(rule.manager.as_deref().unwrap_or_default()),
        prose(&rule.change),
    ];
    format!("| {} |", cells.map(|text| cell(&text)).join(" | "))
}

fn named(book: &Book, intents: &[usize]) -> String {
    let names = intents.iter().filter_map(|&index| book.intents.get(index)).map(|intent| prose(&intent.name));
    let mut shown: Vec<String> = names.take(MOST_NAMED).collect();
    if intents.len() > MOST_NAMED {
        shown.push(format!("{} more", intents.len() - MOST_NAMED));
    }
    shown.join(", ")
}

fn link(place: &Place) -> String {
    if place.link.is_empty() {
        return prose(&place.text);
    }
    format!("[{}]({})", prose(&place.text), place.link.replace(' ', "%20").replace(['(', ')', '<', '>'], "_"))
}

/// A text that means nothing to Markdown or HTML.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' => out.extend(['\\', letter]),
            // `_` inside a word means nothing.
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// A text as code.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let runs = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(runs + 1);
    let space = if runs > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A text inside a table, where `|` would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
