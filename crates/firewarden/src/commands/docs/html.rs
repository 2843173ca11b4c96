//! Everything on one page: no scripts, nothing loaded from elsewhere, light and dark.

use super::book::{Book, ChainPart, HostPage, IntentRow, Place};
use super::{MADE, TITLE};
use firewarden_diagnostic::Verdict;
use firewarden_diagnostic::render::text::html;
use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b2430; --soft: #52606f; --ground: #ffffff; --line: #d5dbe3; --head: #f3f6fa;
  --good: #1b6e3c; --bad: #b3261e; --only: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf4; --soft: #a5b1c2; --ground: #10151c; --line: #2f3a48;
  --head: #1a222d; --good: #7fd19b; --bad: #ff8a80; --only: #7cb7ff; } }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; } a { color: var(--only); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; }
th, td { border: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; }
thead th, tbody th { background: var(--head); } code { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere; }
.soft, .change { color: var(--soft); } .deny, .fails { color: var(--bad); } .allow, .holds { color: var(--good); }
.only { color: var(--only); } .matrix td div, .flows td:first-child { white-space: nowrap; } svg { max-width: 100%; height: auto; }
";

/// The page.
pub fn page(book: &Book, svg: &str) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<!-- {MADE} -->\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{TITLE}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{TITLE}</h1>\n\
         <p>Rows send, columns receive. <b class=\"only\">only</b> also means that nobody else may; what has no entry was \
         not declared.</p>\n"
    );
    matrix(book, &mut out);
    out += "<h2>Hosts, links and flows</h2>\n<div class=\"wide\">\n";
    out += svg;
    out += "</div>\n";
    flows(book, &mut out);
    for host in &book.hosts {
        rules(book, host, &mut out);
    }
    if !book.incomplete.is_empty() {
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "<p>A limit ended the search for rules that these need, so that more may: {}.</p>",
            html(&book.incomplete.join(", "))
        );
    }
    out += "</body>\n</html>\n";
    out
}

fn matrix(book: &Book, out: &mut String) {
    out.push_str(
        "<div class=\"wide\">\n<table class=\"matrix\">\n<thead><tr><th scope=\"col\">from ↓ to →</th>",
    );
    for name in &book.matrix.destinations {
        let _ = write!(out, "<th scope=\"col\">{}</th>", html(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (row, source) in book.matrix.sources.iter().enumerate() {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", html(source));
        for column in 0..book.matrix.destinations.len() {
            out.push_str("<td>");
            let here = book.matrix.cells.get(&(row, column)).map(Vec::as_slice).unwrap_or_default();
            for (index, intent) in here.iter().filter_map(|&index| Some((index, book.intents.get(index)?))) {
                let word = intent.expectation;
                let _ = write!(
                    out,
                    "<div><a href=\"#flow-{index}\"><span class=\"{word}\">{word}</span> <code>{}</code></a>{}</div>",
                    html(&intent.services),
                    if intent.verdict == Verdict::Pass {
                        ""
                    } else {
                        " <b class=\"fails\" title=\"it doesn't hold\">⚠</b>"
                    }
                );
            }
            out.push_str("</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn flows(book: &Book, out: &mut String) {
    out.push_str("<h2>Flows</h2>\n<div class=\"wide\">\n<table class=\"flows\">\n<thead><tr><th>flow</th><th>name</th><th>answer</th><th>owner</th><th>why</th><th>declared</th><th>last change</th></tr></thead>\n<tbody>\n");
    for (index, intent) in book.intents.iter().enumerate() {
        let _ = writeln!(
            out,
            "<tr id=\"flow-{index}\"><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"change\">{}</td></tr>",
            html(&intent.text),
            html(&intent.name),
            answer(intent),
            html(intent.owner.as_deref().unwrap_or("nobody")),
            html(intent.because.as_deref().unwrap_or_default()),
            link(&intent.place),
            html(&intent.change)
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn answer(intent: &IntentRow) -> String {
    let detail = intent.detail.as_ref().map(|detail| format!(" ({})", html(detail))).unwrap_or_default();
    match intent.verdict {
        Verdict::Pass => format!("<span class=\"holds\">holds</span>{detail}"),
        other => format!("<b class=\"fails\">{}</b>{detail}", other.word()),
    }
}

fn rules(book: &Book, host: &HostPage, out: &mut String) {
    let _ = writeln!(out, "<h2 id=\"rules-{0}\">Rules of {0}</h2>", html(&host.name));
    if host.chains.is_empty() {
        out.push_str("<p>It has no rules: everything is accepted.</p>\n");
    }
    for chain in &host.chains {
        let _ = writeln!(out, "<h3>{}</h3>", html(&chain.title));
        if let Some(about) = &chain.about {
            let _ = writeln!(out, "<p class=\"soft\">{}{}</p>", html(about), policy(book, chain));
        }
        if chain.rules.is_empty() {
            continue;
        }
        out.push_str("<div class=\"wide\">\n<table>\n<thead><tr><th>line</th><th>rule</th><th>needed by</th><th>owner</th><th>manager</th><th>last change</th></tr></thead>\n<tbody>\n");
        for rule in &chain.rules {
            let comment = rule.comment.as_ref().filter(|comment| !rule.text.contains(comment.as_str()));
            let comment = comment
                .map(|comment| format!("<div class=\"soft\">{}</div>", html(comment)))
                .unwrap_or_default();
            let needed =
                if rule.intents.is_empty() { "no intent".to_owned() } else { named(book, &rule.intents) };
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td><code>{}</code>{comment}</td><td>{needed}</td><td>{}</td><td>{}</td><td class=\"change\">{}</td></tr>",
                link(&rule.place),
                html(&rule.text),
                html(&book.owners(&rule.intents).join(", ")),
                html(rule.manager.as_deref().unwrap_or_default()),
                html(&rule.change)
            );
        }
        out.push_str("</tbody>\n</table>\n</div>\n");
    }
}

fn policy(book: &Book, chain: &ChainPart) -> String {
    if chain.policy.is_empty() {
        String::new()
    } else {
        format!("; the policy decides for {}", named(book, &chain.policy))
    }
}

/// Links to intents; their reasons show where the pointer rests, and in the table of flows.
fn named(book: &Book, intents: &[usize]) -> String {
    let links = intents.iter().filter_map(|&index| {
        let intent = book.intents.get(index)?;
        let why =
            intent.because.as_deref().map(|why| format!(" title=\"{}\"", html(why))).unwrap_or_default();
        Some(format!("<a href=\"#flow-{index}\"{why}>{}</a>", html(&intent.name)))
    });
    links.collect::<Vec<_>>().join(", ")
}

fn link(place: &Place) -> String {
    if place.link.is_empty() {
        return html(&place.text);
    }
    // A browser shows a file, but no line of it.
    let target = place.link.split("#L").next().unwrap_or_default();
    format!("<a href=\"{}\">{}</a>", html(&target.replace(' ', "%20")), html(&place.text))
}
