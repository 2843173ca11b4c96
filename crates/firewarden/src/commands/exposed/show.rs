//! What is exposed as text, JSON and Markdown.

use crate::output::AnswerFormat;
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::render::Style;
use firewarden_diagnostic::render::markdown::{cell, code, prose};
use firewarden_diagnostic::render::text::{clip, one_line};
use firewarden_verify::exposed::{Exposed, Kind, Row, Unfinished, Way, Who, Words};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write;

/// The longest rule that is shown, in characters.
const LONGEST_RULE: usize = 100;

/// The most addresses or interfaces that are listed in one line.
const MOST_WORDS: usize = 4;

/// The width of the IPv4 column, in characters.
const COLUMN: std::ops::RangeInclusive<usize> = 12..=44;

/// The most port ranges that are listed in one line.
const MOST_RANGES: usize = 12;

/// The JSON Schema of the answer.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(WireExposed).to_value()
}

/// Who may reach which port.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Firewarden exposure, version 1")]
struct WireExposed {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// The hosts, in the order of the stack file.
    hosts: Vec<WireHost>,
}

/// What one host lets in, and through.
#[derive(Serialize, JsonSchema)]
struct WireHost {
    /// Its name.
    name: String,
    /// False where a limit ended the search, so that there may be more.
    complete: bool,
    /// Where a limit ended the search: an empty list there doesn't mean that nobody gets through.
    unfinished: Vec<WireUnfinished>,
    /// It has no chain on the forward hook: whatever it routes passes.
    unfiltered_forwarding: bool,
    /// One for each group of ports that the same packets reach. Ports that nobody reaches are left out.
    exposed: Vec<WireRow>,
}

/// Packets of which it isn't known what becomes of all of them.
#[derive(Serialize, JsonSchema)]
struct WireUnfinished {
    /// `input` (to the host itself) or `forward` (to others).
    way: String,
    /// `tcp`, `udp`, `echo-request`, or `other`.
    protocol: String,
    /// `ipv4` or `ipv6`.
    family: String,
}

/// Ports, and who reaches them.
#[derive(Serialize, JsonSchema)]
struct WireRow {
    /// `input` (the host itself) or `forward` (through it).
    way: String,
    /// `tcp`, `udp`, `echo-request`, or `other`.
    protocol: String,
    /// Ports; of `other`, protocol numbers; of `echo-request`, none.
    ports: Vec<WireRange>,
    /// Who reaches them by IPv4; nobody where it is empty, unless `unfinished` names it.
    ipv4: Vec<WireWho>,
    /// Who reaches them by IPv6.
    ipv6: Vec<WireWho>,
}

/// Numbers, both ends included.
#[derive(Serialize, JsonSchema)]
struct WireRange {
    /// The lowest.
    first: u16,
    /// The highest.
    last: u16,
}

/// Packets that one rule lets through.
#[derive(Serialize, JsonSchema)]
struct WireWho {
    /// Prefixes and ranges.
    sources: WireWords,
    /// The interfaces they come in by.
    interfaces: WireWords,
    /// The interfaces they leave by.
    leaves_by: WireWords,
    /// Destination addresses.
    destinations: WireWords,
    /// Where they are translated to; empty where they aren't.
    translated_to: String,
    /// What else decides, such as a rate limit.
    conditions: Vec<String>,
    /// The rule or policy that lets them through.
    rule: String,
    /// Its file.
    file: String,
    /// Its line, from 1; 0 where there is none.
    line: u32,
}

/// A set: what the list names, or everything else.
#[derive(Serialize, JsonSchema)]
struct WireWords {
    /// Everything but the list; with an empty list, everything.
    except: bool,
    /// Prefixes, ranges, names.
    list: Vec<String>,
}

/// The answer in a format.
pub fn render(hosts: &[Exposed], format: AnswerFormat, style: Style) -> String {
    match format {
        AnswerFormat::Human => human(hosts, style),
        AnswerFormat::Json => {
            let wire = WireExposed { schema_version: 1, hosts: hosts.iter().map(wire_host).collect() };
            // Strings, numbers and lists always serialize.
            let text = serde_json::to_string_pretty(&wire).unwrap_or_default();
            format!("{text}\n")
        }
        AnswerFormat::Markdown => markdown(hosts),
    }
}

fn wire_host(host: &Exposed) -> WireHost {
    WireHost {
        name: host.name.clone(),
        complete: host.complete(),
        unfinished: host.unfinished.iter().map(wire_unfinished).collect(),
        unfiltered_forwarding: host.open_forward,
        exposed: host.rows.iter().map(wire_row).collect(),
    }
}

fn way_word(way: Way) -> &'static str {
    match way {
        Way::Input => "input",
        Way::Forward => "forward",
    }
}

fn protocol_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Tcp => "tcp",
        Kind::Udp => "udp",
        Kind::Echo => "echo-request",
        Kind::Other => "other",
    }
}

fn family_word(nfproto: u128) -> &'static str {
    if nfproto == 2 { "IPv4" } else { "IPv6" }
}

fn wire_unfinished(open: &Unfinished) -> WireUnfinished {
    WireUnfinished {
        way: way_word(open.way).to_owned(),
        protocol: protocol_word(open.kind).to_owned(),
        family: family_word(open.nfproto).to_lowercase(),
    }
}

fn wire_row(row: &Row) -> WireRow {
    let number = |value: u128| u16::try_from(value).unwrap_or(u16::MAX);
    let ports = row.ports.iter().map(|&(first, last)| WireRange { first: number(first), last: number(last) });
    WireRow {
        way: way_word(row.way).to_owned(),
        protocol: protocol_word(row.kind).to_owned(),
        ports: if row.kind == Kind::Echo { Vec::new() } else { ports.collect() },
        ipv4: row.ipv4.iter().map(wire_who).collect(),
        ipv6: row.ipv6.iter().map(wire_who).collect(),
    }
}

fn wire_who(who: &Who) -> WireWho {
    WireWho {
        sources: wire_words(&who.sources),
        interfaces: wire_words(&who.interfaces),
        leaves_by: wire_words(&who.leaves_by),
        destinations: wire_words(&who.destinations),
        translated_to: who.translated.clone(),
        conditions: who.conditions.clone(),
        rule: who.rule.clone(),
        file: who.file.clone(),
        line: who.line,
    }
}

fn wire_words(words: &Words) -> WireWords {
    WireWords { except: words.except, list: words.list.clone() }
}

/// A set in one phrase; empty for everything where `all` is.
fn phrase(words: &Words, all: &str) -> String {
    if words.is_all() {
        return all.to_owned();
    }
    let shown = words.list.iter().take(MOST_WORDS).cloned().collect::<Vec<String>>().join(", ");
    let list = match words.list.len().saturating_sub(MOST_WORDS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    };
    match (words.except, all) {
        (false, _) => list,
        (true, "") => format!("any but {list}"),
        (true, all) => format!("{all} but {list}"),
    }
}

/// What a row is about: `tcp/22`, `tcp/80,443`, `ping`, `other protocols`.
fn subject(row: &Row) -> String {
    let ranges = |word: &str, all: (u128, u128)| {
        if row.ports == [all] {
            return word.to_owned();
        }
        let range =
            |&(low, high): &(u128, u128)| if low == high { low.to_string() } else { format!("{low}-{high}") };
        let shown: Vec<String> = row.ports.iter().take(MOST_RANGES).map(range).collect();
        let more = if row.ports.len() > MOST_RANGES { ",…" } else { "" };
        format!("{word}/{}{more}", shown.join(","))
    };
    match row.kind {
        Kind::Tcp => ranges("tcp", (0, 65_535)),
        Kind::Udp => ranges("udp", (0, 65_535)),
        Kind::Echo => "ping".to_owned(),
        Kind::Other => ranges("protocol", (0, 255)).replace("protocol/", "protocols "),
    }
}

/// One line for each who of a row, without its rule.
fn words(host: &Exposed, row: &Row, nfproto: u128) -> Vec<String> {
    let all = if nfproto == 2 { &row.ipv4 } else { &row.ipv6 };
    if all.is_empty() {
        let decided = host.decided(row.way, row.kind, nfproto);
        return vec![if decided { "nobody" } else { "not known" }.to_owned()];
    }
    let line = |who: &Who| {
        let mut text = phrase(&who.sources, "anyone");
        for (word, part) in [
            ("in", phrase(&who.interfaces, "")),
            ("out", phrase(&who.leaves_by, "")),
            ("to", phrase(&who.destinations, "")),
            ("becoming", who.translated.clone()),
        ] {
            if !part.is_empty() {
                text.push_str(&format!(" {word} {part}"));
            }
        }
        if !who.conditions.is_empty() {
            text.push_str(&format!(" if {}", who.conditions.join(" and ")));
        }
        text
    };
    let mut lines: Vec<String> = Vec::new();
    for text in all.iter().map(line) {
        if !lines.contains(&text) {
            lines.push(text);
        }
    }
    lines
}

/// Lines that fit into a column, broken between words.
fn wrapped(lines: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for line in lines {
        let mut current = String::new();
        for word in line.split(' ') {
            let width = current.chars().count() + 1 + word.chars().count();
            if !current.trim().is_empty() && width > *COLUMN.end() {
                out.push(std::mem::replace(&mut current, "  ".to_owned()));
            }
            if !current.is_empty() && !current.ends_with("  ") {
                current.push(' ');
            }
            current.push_str(word);
        }
        out.push(current);
    }
    out
}

/// A rule and its place; the place of what isn't written anywhere is empty.
#[derive(PartialEq)]
struct RuleLine {
    place: String,
    text: String,
}

impl RuleLine {
    fn plain(&self) -> String {
        if self.place.is_empty() { self.text.clone() } else { format!("{}  {}", self.place, self.text) }
    }

    /// For a cell of a table.
    fn markdown(&self) -> String {
        match self.place.is_empty() {
            true => cell(&prose(&self.text)),
            false => cell(&format!("{} {}", code(&self.place), code(&self.text))),
        }
    }
}

/// The rules of a row with their places, each once.
fn rules(row: &Row) -> Vec<RuleLine> {
    let mut lines = Vec::new();
    for who in row.ipv4.iter().chain(&row.ipv6) {
        let line = match who.line {
            0 => RuleLine { place: String::new(), text: who.rule.clone() },
            line => RuleLine {
                place: format!("{}:{line}", who.file),
                text: clip(&who.rule, LONGEST_RULE).to_string(),
            },
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn heading(way: Way) -> &'static str {
    match way {
        Way::Input => "reaches the host",
        Way::Forward => "passes through it",
    }
}

fn human(hosts: &[Exposed], style: Style) -> String {
    let paint = |text: &str, ansi: Ansi| match style {
        Style::Plain => text.to_owned(),
        Style::Color => format!("{ansi}{text}{ansi:#}"),
    };
    let bold = Ansi::new().bold();
    let dim = Ansi::new().dimmed();
    let mut out = String::new();
    for (index, host) in hosts.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        push(&mut out, format_args!("{}\n", paint(&one_line(&host.name), bold)));
        for way in [Way::Input, Way::Forward] {
            let rows: Vec<&Row> = host.rows.iter().filter(|row| row.way == way).collect();
            if rows.is_empty() {
                let decided =
                    Kind::ALL.iter().all(|&kind| host.decided(way, kind, 2) && host.decided(way, kind, 10));
                if way == Way::Input && decided {
                    out.push_str("  nothing new reaches the host\n");
                }
                continue;
            }
            let lefts: Vec<String> = rows.iter().map(|row| subject(row)).collect();
            let left = lefts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(10);
            let wide = |row: &Row, nfproto: u128| wrapped(&words(host, row, nfproto));
            let longest = rows.iter().flat_map(|row| wide(row, 2)).map(|text| text.chars().count()).max();
            let middle = longest.unwrap_or(0).clamp(*COLUMN.start(), *COLUMN.end());
            push(&mut out, format_args!("\n  {}\n", paint(heading(way), bold)));
            push(&mut out, format_args!("  {:left$}  {:middle$}  IPv6\n", "", "IPv4"));
            for (row, subject) in rows.iter().zip(&lefts) {
                let (ipv4, ipv6) = (wide(row, 2), wide(row, 10));
                for line in 0..ipv4.len().max(ipv6.len()) {
                    let cell = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
                    let first = if line == 0 { subject.as_str() } else { "" };
                    let text = format!("  {:left$}  {:middle$}  {}", first, cell(&ipv4), cell(&ipv6));
                    let anyone = row.way == Way::Input && text.contains("anyone");
                    let ansi = if anyone {
                        Ansi::new().fg_color(Some(AnsiColor::Yellow.into()))
                    } else {
                        Ansi::new()
                    };
                    push(&mut out, format_args!("{}\n", paint(text.trim_end(), ansi)));
                }
                for rule in rules(row) {
                    push(&mut out, format_args!("  {:left$}    {}\n", "", paint(&rule.plain(), dim)));
                }
            }
        }
        notes(host, &mut out);
    }
    out
}

fn notes(host: &Exposed, out: &mut String) {
    if host.open_forward {
        out.push_str("\n  no chain on the forward hook: if this host routes, everything passes through it\n");
    }
    if !host.complete() {
        let open = |open: &Unfinished| {
            let way = match open.way {
                Way::Input => "to the host",
                Way::Forward => "to others",
            };
            let protocol = match open.kind {
                Kind::Echo => "pings",
                Kind::Other => "other protocols",
                kind => protocol_word(kind),
            };
            format!("{protocol} {way} by {}", family_word(open.nfproto))
        };
        let all: Vec<String> = host.unfinished.iter().map(open).collect();
        push(
            out,
            format_args!(
                "\n  not complete: the search ended at its limit, so there may be more: {}\n",
                all.join(", ")
            ),
        );
    }
}

fn markdown(hosts: &[Exposed]) -> String {
    let several =
        |lines: &[String]| lines.iter().map(|line| cell(&prose(line))).collect::<Vec<_>>().join("<br>");
    let mut out = String::new();
    for host in hosts {
        push(&mut out, format_args!("## {}\n", prose(&host.name)));
        for way in [Way::Input, Way::Forward] {
            let rows: Vec<&Row> = host.rows.iter().filter(|row| row.way == way).collect();
            if rows.is_empty() {
                continue;
            }
            push(&mut out, format_args!("\n| {} | IPv4 | IPv6 | rule |\n|---|---|---|---|\n", heading(way)));
            for row in rows {
                let (ipv4, ipv6) = (several(&words(host, row, 2)), several(&words(host, row, 10)));
                let rules: Vec<String> = rules(row).iter().map(RuleLine::markdown).collect();
                push(
                    &mut out,
                    format_args!("| {} | {ipv4} | {ipv6} | {} |\n", subject(row), rules.join("<br>")),
                );
            }
        }
        notes(host, &mut out);
        out.push('\n');
    }
    out
}

/// Appends to a string, which can't fail.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}
