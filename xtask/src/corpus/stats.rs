//! How much of each folder is understood.

use super::load::{Language, atoms_of, load, read};
use super::{Section, files, percent, shown};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::dump::dump_rule;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// A folder, which of its files are rulesets, and their language.
type Folder = (&'static str, fn(&str, &str) -> bool, fn(&str) -> Language);

const FOLDERS: &[Folder] = &[
    ("iptables/real", |_, _| true, |_| Language::Iptables),
    ("iptables/semantics", saved_tables, iptables_version),
    ("iptables/goldens", saved_tables, iptables_version),
    ("nft/real", |_, _| true, |_| Language::Nft),
    ("nft/goldens", |_, _| true, |_| Language::Nft),
    ("nft/upstream-dumps", |name, _| name.ends_with(".nft"), |_| Language::Nft),
    ("nft/upstream-dumps", |name, _| name.ends_with(".json-nft"), |_| Language::Json),
    ("ipset", |name, _| name.contains(".restore") || name.contains(".saved"), |_| Language::Ipset),
    ("changes/iptables", |_, _| true, |_| Language::Iptables),
    ("changes/nft", |_, _| true, |_| Language::Nft),
];

/// Longest time that one file may take, parsing and lowering.
const SLOW: Duration = Duration::from_secs(1);

/// Kinds of atoms that no model of single packets can do without: what earlier packets, the clock, dice, the contents of
/// the packet, the process behind it, or the members that packets and programs put into a set decide.
const INHERENT: &[&str] = &[
    "limit",
    "hashlimit",
    "quota",
    "quota2",
    "connlimit",
    "connection limit",
    "connbytes",
    "recent",
    "statistic",
    "random",
    "numgen",
    "nth",
    "string",
    "u32",
    "bpf",
    "time",
    "owner",
    "cgroup",
    "socket",
    "set membership",
];

/// True for kinds of [`INHERENT`].
pub fn inherent(kind: &str) -> bool {
    INHERENT.contains(&kind)
}

/// The folder also has listings, scripts and notes; what iptables-save wrote has a line that opens a table.
fn saved_tables(_: &str, text: &str) -> bool {
    text.lines().any(|line| line.starts_with('*')) && !text.starts_with("==")
}

fn iptables_version(name: &str) -> Language {
    let file = name.rsplit('/').next().unwrap_or(name);
    if file.contains("ip6tables") { Language::Iptables6 } else { Language::Iptables4 }
}

#[derive(Default)]
struct Count {
    files: usize,
    clean: usize,
    rules: usize,
    with_atom: usize,
    beyond: usize,
    broken_rules: usize,
    broken_beyond: usize,
    kinds: BTreeMap<String, usize>,
    errors: BTreeMap<&'static str, usize>,
}

/// Parses and lowers every file.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let mut kinds_text = String::new();
    let mut errors_text = String::new();
    section.text.push_str(HEAD);
    for (name, wanted, language) in FOLDERS {
        let mut count = Count::default();
        for path in files(&folder.join(name)) {
            let file = shown(&path, folder);
            let text = read(&path);
            if wanted(&file, &text) {
                one(&mut count, &path, &text, &file, language(&file), &mut section);
            }
        }
        let label = match language("") {
            Language::Json => format!("{name} (JSON)"),
            _ => (*name).to_owned(),
        };
        let _ = writeln!(
            section.text,
            "| {label} | {} | {} | {} | {} | {} | {} | {} | {} |",
            count.files,
            count.clean,
            count.rules,
            percent(count.with_atom, count.rules),
            count.beyond,
            percent(count.rules - count.beyond, count.rules),
            count.broken_rules,
            percent(count.broken_rules - count.broken_beyond, count.broken_rules),
        );
        let wanted_share = match *name {
            "iptables/real" => 0.99,
            "nft/real" => 0.98,
            _ => 0.0,
        };
        if ((count.rules - count.beyond) as f64) < wanted_share * count.rules as f64 {
            section.failures.push(format!("{label}: {} of {} rules have an atom", count.beyond, count.rules));
        }
        let _ = writeln!(kinds_text, "- {label}: {}", top(&count.kinds, 12));
        if !count.errors.is_empty() {
            let _ = writeln!(errors_text, "- {label}: {}", top(&count.errors, 8));
        }
    }
    let _ = write!(
        section.text,
        "\nAtoms that remain, with the number of rules they are in:\n\n{kinds_text}\n\
         Errors by code, with the number of files they are in:\n\n{errors_text}"
    );
    section
}

const HEAD: &str = "## Folders

Rules are counted in files without an error; the others are templates, fragments, and texts with mistakes in them.
*Modelled* are rules without an atom, and rules whose atoms are limits, counters of earlier packets, dice, the clock,
packet contents, the owning process, or sets whose members come and go.

| folder | files | without error | rules | with an atom | with another atom | modelled | rules in other files | modelled |
|---|---|---|---|---|---|---|---|---|
";

fn one(count: &mut Count, path: &Path, text: &str, file: &str, language: Language, section: &mut Section) {
    let mut atoms = AtomTable::default();
    let start = Instant::now();
    let loaded =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| load(text, language, path, &mut atoms)));
    let time = start.elapsed();
    count.files += 1;
    let Ok(loaded) = loaded else {
        section.failures.push(format!("{file}: panic"));
        return;
    };
    if time > SLOW {
        section.failures.push(format!("{file}: {time:?}"));
    }
    let mut codes: Vec<&'static str> = Vec::new();
    for error in loaded.errors() {
        let start = error.span().map_or(0, |span| span.start as usize);
        let line = text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
        section.details.push(format!("{file}:{line}: {} [{}]", error.message, error.code));
        codes.push(error.code);
    }
    let clean = codes.is_empty();
    count.clean += usize::from(clean);
    codes.sort_unstable();
    codes.dedup();
    for code in codes {
        *count.errors.entry(code).or_default() += 1;
    }
    for rule in loaded.ruleset.chains.iter().flat_map(|chain| &chain.rules) {
        let found = atoms_of(rule, &loaded.ruleset);
        let mut kinds: Vec<&str> = found.iter().filter_map(|atom| Some(&*atoms.get(*atom)?.kind)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let beyond = kinds.iter().any(|kind| !inherent(kind));
        if !clean {
            count.broken_rules += 1;
            count.broken_beyond += usize::from(beyond);
            continue;
        }
        count.rules += 1;
        count.with_atom += usize::from(!found.is_empty());
        if beyond {
            count.beyond += 1;
            let line = dump_rule(rule, &loaded.ruleset, &atoms);
            section.details.push(format!("{file}: {}: {line}", kinds.join(", ")));
        }
        for kind in kinds {
            *count.kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }
}

fn top<K: std::fmt::Display>(counts: &BTreeMap<K, usize>, most: usize) -> String {
    let mut sorted: Vec<(&K, &usize)> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut parts: Vec<String> =
        sorted.iter().take(most).map(|(kind, count)| format!("{kind} {count}")).collect();
    if sorted.len() > most {
        parts.push(format!("{} more kinds", sorted.len() - most));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
