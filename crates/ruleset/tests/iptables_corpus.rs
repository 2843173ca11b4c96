//! iptables' own test lines and real iptables-save files, from the corpus that `FIREWARDEN_CORPUS` points to.

use firewarden_diagnostic::{Diagnostic, FileId, Severity};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Statement, Test, Verdict};
use firewarden_ruleset::lower::iptables::{LowerOptions, lower};
use firewarden_ruleset::syntax::iptables::{Versions, parse, parse_as};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The corpus, or `None` after saying that the test is skipped.
fn corpus(part: &str) -> Option<PathBuf> {
    match std::env::var_os("FIREWARDEN_CORPUS")
        .map(|root| Path::new(&root).join(part))
        .filter(|path| path.is_dir())
    {
        Some(path) => Some(path),
        None => {
            println!("skipped: FIREWARDEN_CORPUS isn't set, or has no {part}");
            None
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect()
}

/// Lines of the `.t` files on which we differ from iptables, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("-j SET --add-set foo src,dst", "refused for want of the set, which is not in the text"),
    ("-m set --match-set foo src,dst", "refused for want of the set, which is not in the text"),
    ("-m nfacct --nfacct-name wrong", "refused for want of the accounting object, which is not in the text"),
];

#[test]
fn upstream_lines_are_accepted_and_refused_as_iptables_does() {
    let Some(folder) = corpus("iptables/matches") else { return };
    let (mut right, mut total) = (0, 0);
    let mut wrong = Vec::new();
    for path in files(&folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".t") || name.starts_with("libebt") || name.starts_with("libarpt") {
            continue;
        }
        let versions: &[Versions] = match () {
            () if name.starts_with("libip6t") => &[Versions::V6],
            () if name.starts_with("libipt") => &[Versions::V4],
            () => &[Versions::V4, Versions::V6],
        };
        let (mut chains, mut table) = (vec!["INPUT".to_owned()], "filter".to_owned());
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if line.starts_with(['#', '@', '%']) || line.is_empty() {
                continue;
            }
            if let Some(list) = line.strip_prefix(':') {
                chains = list.split(',').map(str::to_owned).collect();
                continue;
            }
            if let Some(name) = line.strip_prefix('*') {
                table = name.to_owned();
                continue;
            }
            let fields: Vec<&str> = line.split(';').collect();
            let (rule, expected) = (fields[0], fields[2] == "OK");
            // A result for one of the two variants only: either answer is right.
            let either = fields.len() > 3;
            for version in versions {
                for chain in &chains {
                    total += 1;
                    let text = format!("*{table}\n:{chain} ACCEPT [0:0]\n-A {chain} {rule}\nCOMMIT\n");
                    let (_, diagnostics) = parse_as(FileId(0), &text, Some(*version));
                    let accepted = errors(&diagnostics).is_empty();
                    if accepted == expected || either {
                        right += 1;
                    } else {
                        let why =
                            diagnostics.iter().map(|d| d.message.as_str()).collect::<Vec<_>>().join("; ");
                        wrong.push(format!(
                            "{name} {table} {chain} {version:?}: {rule} (should be {}): {why}",
                            fields[2]
                        ));
                    }
                }
            }
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    println!(
        "iptables .t lines: {right} of {total} as iptables ({:.2} %)",
        100.0 * right as f64 / total as f64
    );
    for line in wrong {
        assert!(EXCEPTIONS.iter().any(|(rule, _)| line.contains(rule)), "unexplained: {line}");
    }
    assert!(right * 100 >= total * 97);
}

#[test]
fn real_files_parse_without_loss() {
    let Some(folder) = corpus("iptables/real") else { return };
    let (mut rules, mut incomplete, mut clean) = (0, 0, 0);
    let all = files(&folder);
    for path in &all {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        // Addresses are masked in the published dumps.
        let text = text.replace("XX:XX:XX:XX:XX:XX", "02:00:00:00:00:01");
        let (save, diagnostics) = parse(FileId(0), &text);
        let wrong = errors(&diagnostics);
        clean += usize::from(wrong.is_empty());
        rules += save.rules.len();
        incomplete += save.rules.iter().filter(|rule| rule.incomplete).count();
        for diagnostic in wrong.iter().take(4) {
            let span = diagnostic.span().unwrap_or_default();
            let line = text[..span.start as usize].lines().count().max(1);
            println!(
                "{}:{line}: {} [{}]",
                path.file_name().unwrap().to_string_lossy(),
                diagnostic.message,
                diagnostic.code
            );
        }
    }
    println!(
        "iptables/real: {} files, {clean} without errors, {rules} rules, {incomplete} incomplete",
        all.len()
    );
    assert!(incomplete * 100 <= rules);
}

/// Kinds of atoms that no model of a single packet could know.
const EXPECTED_ATOMS: &[&str] = &[
    "limit",
    "hashlimit",
    "recent",
    "string",
    "time",
    "owner",
    "connlimit",
    "connbytes",
    "quota",
    "statistic",
    "rateest",
    "cgroup",
    "u32",
    "bpf",
    "socket",
    "policy",
    "physdev",
];

#[test]
fn real_files_lower_with_few_atoms() {
    let Some(folder) = corpus("iptables/real") else { return };
    let (mut rules, mut with_atoms, mut seconds) = (0usize, 0usize, 0.0);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for path in files(&folder) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let text = text.replace("XX:XX:XX:XX:XX:XX", "02:00:00:00:00:01");
        let start = std::time::Instant::now();
        let (save, _) = parse(FileId(0), &text);
        let mut atoms = AtomTable::default();
        let (ruleset, _) = lower(&[save], &[], &LowerOptions::default(), &mut atoms);
        seconds += start.elapsed().as_secs_f64();
        for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
            rules += 1;
            let mut unexpected = false;
            for statement in &rule.statements {
                let atom = match statement {
                    Statement::Test(Test::Atom { atom, .. }) => *atom,
                    Statement::Verdict(Verdict::Opaque { atom }) => *atom,
                    Statement::Opaque { fields } => fields[0].1,
                    _ => continue,
                };
                let info = atoms.get(atom).unwrap();
                *kinds.entry(info.kind.to_string()).or_default() += 1;
                if !EXPECTED_ATOMS.contains(&&*info.kind) {
                    unexpected = true;
                }
            }
            with_atoms += usize::from(unexpected);
        }
    }
    let share = 100.0 * (rules - with_atoms) as f64 / rules as f64;
    println!(
        "iptables/real: {rules} rules lowered in {seconds:.3} s, {share:.2} % without atoms beyond {EXPECTED_ATOMS:?}"
    );
    println!("atoms by kind: {kinds:?}");
    assert!(share >= 99.0);
}
