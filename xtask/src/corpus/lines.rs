//! The test lines of iptables and nft: what they accept is accepted, what they refuse is refused.

use super::load::{Language, load};
use super::{Section, files, percent, shown};
use firewarden_packet::AtomTable;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Lines on which we differ, and why.
const EXPLAINED: &[(&str, &str)] = &[
    ("-j SET ", "the set isn't in the text"),
    ("-m set ", "the set isn't in the text"),
    ("-m nfacct --nfacct-name wrong", "the accounting object isn't in the text"),
    ("icmp code != 1 icmp type 2 icmp mtu 5", "nft can't put the tests into an order; each of them is fine"),
];

#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    wrong: Vec<String>,
    unexplained: usize,
}

impl Tally {
    /// Counts a line; `error` is what we said of it.
    fn add(&mut self, place: &str, line: &str, ok: bool, error: Option<String>) {
        match (ok, error) {
            (true, None) => self.accepted += 1,
            (false, Some(_)) => self.refused += 1,
            (_, error) => {
                let explained = EXPLAINED.iter().find(|(part, _)| line.contains(part));
                self.unexplained += usize::from(explained.is_none());
                let what = match &error {
                    Some(error) => format!("refused: {error}"),
                    None => "accepted".to_owned(),
                };
                let why = explained.map_or(String::new(), |(_, why)| format!(" ({why})"));
                let text = format!("- `{place}`: `{line}` is {what}{why}");
                if !self.wrong.contains(&text) {
                    self.wrong.push(text);
                }
            }
        }
    }

    fn right(&self) -> usize {
        self.accepted + self.refused
    }
}

/// Parses and lowers each line in the chains it is for.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    section.text.push_str(
        "## Test lines\n\nLines of the projects' own test suites, each as often as it has chains or families.\n\n\
         | | lines | right | accepted as it should be | refused as it should be |\n|---|---|---|---|---|\n",
    );
    let mut listed = String::new();
    for (name, tally, total, share) in [iptables(folder), nft(folder), ipset(folder)] {
        let _ = writeln!(
            section.text,
            "| {name} | {total} | {} | {} | {} |",
            percent(tally.right(), total),
            tally.accepted,
            tally.refused
        );
        if tally.right() * 100 < total * share {
            section.failures.push(format!("{name}: {} of {total} lines", tally.right()));
        }
        match share {
            0 => section.details.extend(tally.wrong),
            _ => tally.wrong.iter().for_each(|line| listed.push_str(&format!("{line}\n"))),
        }
    }
    if !listed.is_empty() {
        let _ = write!(
            section.text,
            "\nThe others of iptables and nft:\n\n{listed}\nThose of ipset are commands that no saved file has: deleting \
             a part of what was added, and what the kernel refuses of a set's contents (`--list` shows them).\n"
        );
    }
    section
}

/// The first error that a text gets.
fn error_of(text: &str, language: Language) -> Option<String> {
    let loaded = load(text, language, Path::new(""), &mut AtomTable::default());
    let error = loaded.errors().next()?;
    Some(format!("{} [{}]", error.message, error.code))
}

/// A name, what came of the lines, how many there are, and how many percent must be right.
type Lines = (&'static str, Tally, usize, usize);

fn iptables(folder: &Path) -> Lines {
    let (mut tally, mut total) = (Tally::default(), 0);
    for path in files(&folder.join("iptables/matches")) {
        let name = shown(&path, folder);
        let file = name.rsplit('/').next().unwrap_or_default();
        if !file.ends_with(".t") || file.starts_with("libebt") || file.starts_with("libarpt") {
            continue;
        }
        let languages: &[Language] = match () {
            () if file.starts_with("libip6t") => &[Language::Iptables6],
            () if file.starts_with("libipt") => &[Language::Iptables4],
            () => &[Language::Iptables4, Language::Iptables6],
        };
        let (mut chains, mut table) = (vec!["INPUT"], "filter");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines() {
            if let Some(list) = line.strip_prefix(':') {
                chains = list.split(',').collect();
            } else if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if !line.starts_with(['#', '@', '%']) {
                let fields: Vec<&str> = line.split(';').collect();
                // A fourth field is a result of one of the two backends: either answer is right.
                let [rule, _, expected] = fields.as_slice() else { continue };
                for (chain, language) in
                    chains.iter().flat_map(|chain| languages.iter().map(move |language| (chain, *language)))
                {
                    total += 1;
                    let text = format!("*{table}\n:{chain} ACCEPT [0:0]\n-A {chain} {rule}\nCOMMIT\n");
                    tally.add(&name, rule, *expected == "OK", error_of(&text, language));
                }
            }
        }
    }
    ("iptables/matches, `.t`", tally, total, 97)
}

fn nft(folder: &Path) -> Lines {
    let mut tally = Tally::default();
    for path in files(&folder.join("nft/upstream-py")) {
        let name = shown(&path, folder);
        if name.ends_with(".t") {
            nft_file(&name, &std::fs::read_to_string(&path).unwrap_or_default(), &mut tally);
        }
    }
    let total = tally.right() + tally.wrong.len();
    ("nft/upstream-py", tally, total, 97)
}

fn nft_file(name: &str, text: &str, tally: &mut Tally) {
    let mut specs: BTreeMap<&str, &str> = BTreeMap::new();
    let mut tables: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    let mut steps: Vec<(&str, bool)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '-'])) {
        if let Some((chain, spec)) = line.strip_prefix(':').and_then(|rest| rest.split_once(';')) {
            specs.insert(chain, spec);
        } else if let Some(rest) = line.strip_prefix('*') {
            let mut parts = rest.split(';');
            if let (Some(family), Some(table), Some(chains)) = (parts.next(), parts.next(), parts.next()) {
                tables.push((family, table, chains.split(',').map(str::trim).collect()));
            }
        } else {
            steps.extend(expected(line));
        }
    }
    for (family, table, chains) in tables {
        let mut declared: Vec<String> = Vec::new();
        let head: String = chains
            .iter()
            .map(|chain| format!("chain {chain} {{ {}; }}\n", specs.get(chain).copied().unwrap_or_default()))
            .collect();
        let mut elements = String::new();
        let ruleset = |declared: &[String], elements: &str, more: &str| {
            let named: String = declared.iter().map(|block| format!("{block} }}\n")).collect();
            format!("table {family} {table} {{\n{head}{named}{more}}}\n{elements}")
        };
        for &(step, ok) in &steps {
            let place = format!("{name} {family}");
            match step.split_at_checked(1) {
                Some((kind @ ("!" | "%"), spec)) => {
                    let block = if kind == "!" { set_block(spec) } else { object_block(spec) };
                    let error =
                        error_of(&ruleset(&declared, &elements, &format!("{block} }}\n")), Language::Nft);
                    if ok && error.is_none() {
                        declared.push(block);
                    }
                    tally.add(&place, step, ok, error);
                }
                Some(("?", spec)) => {
                    let (set, values) = spec.split_once(' ').unwrap_or((spec, ""));
                    let command = format!("add element {family} {table} {set} {{ {values} }}\n");
                    let error =
                        error_of(&format!("{}{command}", ruleset(&declared, &elements, "")), Language::Nft);
                    if ok && error.is_none() {
                        elements.push_str(&command);
                    }
                    tally.add(&place, step, ok, error);
                }
                _ => {
                    let chain = chains.first().copied().unwrap_or_default();
                    let command = format!("add rule {family} {table} {chain} {step}\n");
                    let error =
                        error_of(&format!("{}{command}", ruleset(&declared, &elements, "")), Language::Nft);
                    tally.add(&place, step, ok, error);
                }
            }
        }
    }
}

/// Commands of ipset's test scripts, each after those before it that were accepted. Lines that do more than one thing, or
/// something else than change sets, are left out.
fn ipset(folder: &Path) -> Lines {
    const CHANGES: [&str; 16] = [
        "create", "add", "del", "flush", "destroy", "new", "n", "a", "d", "x", "f", "-N", "-A", "-D", "-F",
        "-X",
    ];
    let (mut tally, mut total) = (Tally::default(), 0);
    for path in files(&folder.join("ipset")) {
        let name = shown(&path, folder);
        if !name.ends_with(".t") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let (mut accepted, mut known) = (String::new(), 0);
        for line in text.lines() {
            let Some((expected, command)) =
                line.split_once(" ipset ").filter(|(n, _)| ["0", "1"].contains(n))
            else {
                continue;
            };
            let change = command.split_whitespace().next().is_some_and(|word| CHANGES.contains(&word));
            if !change || command.contains(['|', ';', '$', '`', '<', '>', '&']) {
                continue;
            }
            total += 1;
            let command = written_out(command);
            let tried = format!("{accepted}{command}\n");
            let loaded = load(&tried, Language::Ipset, Path::new(""), &mut AtomTable::default());
            let errors: Vec<String> =
                loaded.errors().map(|error| format!("{} [{}]", error.message, error.code)).collect();
            let error = errors.get(known).cloned();
            if expected == "0" {
                accepted = tried;
                known = errors.len();
            }
            tally.add(&name, &command, expected == "0", error);
        }
    }
    ("ipset", tally, total, 0)
}

/// A command with its short name written out, as it stands in a saved file.
fn written_out(command: &str) -> String {
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    let name = match name {
        "new" | "n" => "create",
        "d" => "del",
        "f" => "flush",
        other => other,
    };
    format!("{name} {rest}")
}

/// A line without its expected result, and the result.
fn expected(line: &str) -> Option<(&str, bool)> {
    let ends = [(";ok", true), (";fail", false)];
    let found = ends.iter().flat_map(|(end, ok)| {
        line.match_indices(end).filter_map(move |(at, _)| {
            let rest = line.get(at + end.len()..)?;
            (rest.is_empty() || rest.starts_with(';')).then_some((at, *ok))
        })
    });
    let (at, ok) = found.min()?;
    Some((line.get(..at)?, ok))
}

/// `name type ipv4_addr : mark flags interval` as a block, without its closing brace.
fn set_block(spec: &str) -> String {
    let (name, rest) = spec.split_once(' ').unwrap_or((spec, ""));
    let kind = if rest.contains(" : ") { "map" } else { "set" };
    let rest = rest.replace(" flags ", "; flags ").replace(" timeout ", "; timeout ");
    format!("{kind} {name} {{ {rest};")
}

/// `name type counter …` as a block, without its closing brace.
fn object_block(spec: &str) -> String {
    let (name, rest) = spec.split_once(" type ").unwrap_or((spec, ""));
    let kinds = ["ct helper", "ct timeout", "ct expectation", "counter", "quota", "limit", "synproxy"];
    let kind = kinds.into_iter().find(|kind| rest.starts_with(kind)).unwrap_or("counter");
    let body = rest.strip_prefix(kind).unwrap_or(rest).trim();
    let body = body.strip_prefix('{').and_then(|body| body.strip_suffix('}')).unwrap_or(body).trim();
    let body = body.trim_end_matches(';').replace(';', ";\n").replace("};\n", "}\n");
    let end = if body.is_empty() { "" } else { ";" };
    format!("{kind} {name} {{ {body}{end}")
}
