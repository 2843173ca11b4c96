//! Lowering held against the corpus of real rulesets and nft's own test lines. Skipped where it is absent.

use firewarden_diagnostic::{Diagnostic, FileId, Severity, SourceMap};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Ruleset, Statement, Test, Value, Verdict};
use firewarden_ruleset::lower::nft::{LowerOptions, lower};
use firewarden_ruleset::syntax::nft::text::{SourceProvider, parse};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

fn corpus(folder: &str) -> Option<PathBuf> {
    match std::env::var_os("FIREWARDEN_CORPUS") {
        Some(root) => Some(PathBuf::from(root).join(folder)).filter(|path| path.is_dir()),
        None => {
            println!("skipped: FIREWARDEN_CORPUS isn't set, so {folder} can't be read");
            None
        }
    }
}

/// Patterns stand for no file, as in an empty folder; files aren't there.
struct EmptyFolders;

impl SourceProvider for EmptyFolders {
    fn open(&mut self, _: FileId, pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String> {
        if pattern.contains('*') { Ok(Vec::new()) } else { Err("there is no such file".to_owned()) }
    }
}

fn lowered(text: &str) -> (Ruleset, AtomTable, Vec<Diagnostic>) {
    let mut sources = SourceMap::default();
    let file = sources.add("test.nft", text);
    let (script, mut diagnostics) = parse(file, text, &mut EmptyFolders);
    let mut atoms = AtomTable::default();
    let (ruleset, more) = lower(vec![script], &LowerOptions { scope: "host" }, &mut atoms);
    diagnostics.extend(more);
    (ruleset, atoms, diagnostics)
}

/// One of nft's own test files: chains, tables, and lines with what nft makes of them.
#[derive(Default)]
struct Lines {
    chains: BTreeMap<String, String>,
    tables: Vec<(String, String, Vec<String>)>,
    /// Declarations before a line, by table in the order written; then the line, and whether it is accepted.
    steps: Vec<Step>,
}

enum Step {
    Set(String, bool),
    Element(String, bool),
    Object(String, bool),
    Rule(String, bool),
}

fn read_lines(text: &str) -> Lines {
    let mut lines = Lines::default();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '-']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix(':') {
            if let Some((name, spec)) = rest.split_once(';') {
                lines.chains.insert(name.to_owned(), spec.to_owned());
            }
        } else if let Some(rest) = line.strip_prefix('*') {
            let mut parts = rest.split(';');
            let (Some(family), Some(name), Some(chains)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let chains = chains.split(',').map(|chain| chain.trim().to_owned()).collect();
            lines.tables.push((family.to_owned(), name.to_owned(), chains));
        } else if let Some(step) = read_step(line) {
            lines.steps.push(step);
        }
    }
    lines
}

fn read_step(line: &str) -> Option<Step> {
    let verdict_at = |line: &str| {
        [";ok", ";fail"]
            .iter()
            .filter_map(|end| {
                line.match_indices(end)
                    .find(|(at, _)| {
                        let rest = &line[at + end.len()..];
                        rest.is_empty() || rest.starts_with(';')
                    })
                    .map(|(at, _)| (at, *end == ";ok"))
            })
            .min()
    };
    let (at, ok) = verdict_at(line)?;
    let body = &line[..at];
    Some(match body.as_bytes().first()? {
        b'!' => Step::Set(body[1..].to_owned(), ok),
        b'?' => Step::Element(body[1..].to_owned(), ok),
        b'%' => Step::Object(body[1..].to_owned(), ok),
        _ => Step::Rule(body.to_owned(), ok),
    })
}

/// `name type ipv4_addr : mark flags interval` as a block.
fn set_block(spec: &str) -> String {
    let (name, rest) = spec.split_once(' ').unwrap_or((spec, ""));
    let kind = if rest.contains(" : ") { "map" } else { "set" };
    let rest = rest.replace(" flags ", "; flags ").replace(" timeout ", "; timeout ");
    format!("{kind} {name} {{ {rest}; }}\n")
}

/// `name type counter …` as a block.
fn object_block(spec: &str) -> String {
    let (name, rest) = spec.split_once(" type ").unwrap_or((spec, ""));
    for kind in ["ct helper", "ct timeout", "ct expectation", "counter", "quota", "limit", "synproxy"] {
        if let Some(body) = rest.strip_prefix(kind) {
            let body = body.trim().trim_start_matches('{').trim_end_matches('}').trim();
            let body =
                if body.is_empty() || body.ends_with(';') { body.to_owned() } else { format!("{body};") };
            return format!("{kind} {name} {{ {} }}\n", body.replace(';', ";\n").replace("};\n", "}\n"));
        }
    }
    String::new()
}

fn has_error(text: &str) -> Option<String> {
    let (_, _, diagnostics) = lowered(text);
    diagnostics
        .into_iter()
        .find(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| format!("{}: {}", diagnostic.code, diagnostic.message))
}

#[test]
fn nft_own_test_lines() {
    let Some(root) = corpus("nft/upstream-py") else { return };
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path()) {
        if let Ok(entries) = std::fs::read_dir(&folder) {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    files.sort();
    let (mut right, mut accepted, mut refused, mut wrong) = (0u32, 0u32, 0u32, Vec::new());
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "t")) {
        let lines = read_lines(&std::fs::read_to_string(path).unwrap());
        let place = path.strip_prefix(&root).unwrap().display().to_string();
        for (family, table, chains) in &lines.tables {
            let mut declarations = String::new();
            for chain in chains {
                let spec = lines.chains.get(chain).map_or("", String::as_str);
                let spec = spec.replace("hook ingress device lo", "hook ingress device \"lo\"");
                declarations.push_str(&format!("chain {chain} {{ {spec}; }}\n"));
            }
            // Declarations count once each; rules once for each table, in its first chain.
            for step in &lines.steps {
                let head = format!("table {family} {table} {{\n{declarations}}}\n");
                let (text, ok, keep, shown) = match step {
                    Step::Set(spec, ok) => {
                        let block = set_block(spec);
                        let text = format!("table {family} {table} {{\n{declarations}{block}}}\n");
                        (text, *ok, Some(block), format!("!{spec}"))
                    }
                    Step::Object(spec, ok) => {
                        let block = object_block(spec);
                        let text = format!("table {family} {table} {{\n{declarations}{block}}}\n");
                        (text, *ok, Some(block), format!("%{spec}"))
                    }
                    Step::Element(spec, ok) => {
                        let (set, elements) = spec.split_once(' ').unwrap_or((spec, ""));
                        let text = format!("{head}add element {family} {table} {set} {{ {elements} }}\n");
                        let kept = ok.then(|| (set.to_owned(), elements.to_owned()));
                        let keep =
                            kept.and_then(|(set, elements)| with_elements(&declarations, &set, &elements));
                        if let Some(new) = keep {
                            let result = has_error(&text);
                            tally(&mut right, &mut accepted, &mut refused, &mut wrong, *ok, result, || {
                                format!("{place} {family}: ?{spec}")
                            });
                            declarations = new;
                            continue;
                        }
                        (text, *ok, None, format!("?{spec}"))
                    }
                    Step::Rule(rule, ok) => {
                        let chain = chains.first().map_or("", String::as_str);
                        (format!("{head}add rule {family} {table} {chain} {rule}\n"), *ok, None, rule.clone())
                    }
                };
                let result = has_error(&text);
                if let (Some(block), None, true) = (keep, &result, ok) {
                    declarations.push_str(&block);
                }
                tally(&mut right, &mut accepted, &mut refused, &mut wrong, ok, result, || {
                    format!("{place} {family}: {shown}")
                });
            }
        }
    }
    let total = right + wrong.len() as u32;
    println!("nft's own lines: {total}; {accepted} accepted as nft does, {refused} refused as nft does");
    for line in &wrong {
        println!("  {line}");
    }
    assert!(f64::from(right) >= 0.97 * f64::from(total), "{right} of {total}");
}

fn tally(
    right: &mut u32,
    accepted: &mut u32,
    refused: &mut u32,
    wrong: &mut Vec<String>,
    ok: bool,
    result: Option<String>,
    place: impl FnOnce() -> String,
) {
    match (ok, result) {
        (true, None) => {
            *right += 1;
            *accepted += 1;
        }
        (false, Some(_)) => {
            *right += 1;
            *refused += 1;
        }
        (true, Some(error)) => wrong.push(format!("refused  {}   [{error}]", place())),
        (false, None) => wrong.push(format!("accepted {}", place())),
    }
}

/// The declarations with elements put into a set.
fn with_elements(declarations: &str, set: &str, elements: &str) -> Option<String> {
    let start = declarations.find(&format!(" {set} {{"))?;
    let end = start + declarations[start..].find('\n')?;
    let line = &declarations[start..end];
    let new = match line.find("elements = { ") {
        Some(at) => {
            let at = start + at + "elements = { ".len();
            format!("{}{elements}, {}", &declarations[..at], &declarations[at..])
        }
        None => {
            let close = start + line.rfind('}')?;
            format!("{}elements = {{ {elements} }}; {}", &declarations[..close], &declarations[close..])
        }
    };
    Some(new)
}

/// The kinds of atoms in a rule.
fn kinds<'t>(
    ruleset: &'t Ruleset,
    rule: &firewarden_ruleset::ir::Rule,
    atoms: &'t AtomTable,
) -> Vec<&'t str> {
    let kind = |field| atoms.get(field).map(|info| &*info.kind);
    let mut found = Vec::new();
    for statement in &rule.statements {
        match statement {
            Statement::Test(Test::Atom { atom, .. }) => found.extend(kind(*atom)),
            Statement::Test(Test::Lookup { key, .. }) | Statement::VerdictMap { key, .. } => {
                found.extend(key.iter().filter_map(|field| kind(*field)));
            }
            Statement::Verdict(Verdict::Opaque { atom }) => found.extend(kind(*atom)),
            Statement::Assign { value: Value::Choice(field), .. } => found.extend(kind(*field)),
            Statement::Opaque { fields } => {
                found.extend(fields.iter().filter_map(|(_, choice)| kind(*choice)));
            }
            _ => {}
        }
    }
    let _ = ruleset;
    found
}

#[test]
fn real_rulesets() {
    let Some(root) = corpus("nft/real") else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    let (mut rules, mut with_atoms, mut with_foreign) = (0u32, 0u32, 0u32);
    let mut by_kind: BTreeMap<String, u32> = BTreeMap::new();
    let mut clean = 0;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let (ruleset, atoms, diagnostics) = lowered(&text);
        let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        if errors.is_empty() {
            clean += 1;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for error in errors.iter().take(4) {
            println!("{name}: {}: {}", error.code, error.message);
        }
        // Templates, fragments and files with mistakes aren't rulesets: nft refuses them too.
        if !errors.is_empty() {
            continue;
        }
        for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
            rules += 1;
            let kinds = kinds(&ruleset, rule, &atoms);
            with_atoms += u32::from(!kinds.is_empty());
            let foreign = kinds.iter().any(|kind| {
                !matches!(
                    *kind,
                    "limit"
                        | "quota"
                        | "connection limit"
                        | "time"
                        | "owner"
                        | "cgroup"
                        | "set membership"
                        | "numgen"
                        | "random"
                )
            });
            with_foreign += u32::from(foreign);
            if foreign {
                println!("{name}: {}", firewarden_ruleset::ir::dump::dump_rule(rule, &ruleset, &atoms));
            }
            for kind in kinds {
                *by_kind.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
    println!("{} files, {clean} without errors, {rules} rules", files.len());
    println!(
        "{with_atoms} rules with atoms, {with_foreign} with atoms that aren't limits, times, owners or dynamic sets"
    );
    println!("{by_kind:?}");
    assert!(f64::from(rules - with_foreign) >= 0.98 * f64::from(rules));
}

fn files_below(root: &std::path::Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files_below(&path, out);
        } else {
            out.push(path);
        }
    }
}

#[test]
fn generated_rulesets() {
    let Some(root) = corpus("nft/goldens") else { return };
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files.sort();
    let mut clean = 0;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let (_, _, diagnostics) = lowered(&text);
        let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        clean += u32::from(errors.is_empty());
        for error in errors.iter().take(3) {
            println!("{}: {}: {}", path.strip_prefix(&root).unwrap().display(), error.code, error.message);
        }
    }
    println!("{} generated files, {clean} without errors", files.len());
}

/// A listing as text and as JSON is the same ruleset.
#[test]
fn text_and_json_are_the_same() {
    let Some(root) = corpus("nft/upstream-dumps") else { return };
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files.sort();
    let (mut pairs, mut equal, mut refused, mut different) = (0u32, 0u32, 0u32, Vec::new());
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "nft")) {
        let json = path.with_extension("json-nft");
        let (Ok(text), Ok(json)) = (std::fs::read_to_string(path), std::fs::read_to_string(json)) else {
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        pairs += 1;
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let (from_text, text_atoms, diagnostics) = lowered(&text);
        if let Some(error) = diagnostics.iter().find(|d| d.severity == Severity::Error) {
            refused += 1;
            println!("{name}: {}: {}", error.code, error.message);
        }
        let mut sources = SourceMap::default();
        let file = sources.add("test.json", json.as_str());
        let (script, problems) = firewarden_ruleset::syntax::nft::json::parse(file, &json);
        let mut json_atoms = AtomTable::default();
        let options = LowerOptions { scope: "host" };
        let (from_json, more) = lower(vec![script], &options, &mut json_atoms);
        let left = firewarden_ruleset::ir::dump::dump(&from_text, &text_atoms);
        let right = firewarden_ruleset::ir::dump::dump(&from_json, &json_atoms);
        if left == right {
            equal += 1;
            continue;
        }
        let pair = left
            .lines()
            .map(Some)
            .chain(std::iter::repeat(None))
            .zip(right.lines().map(Some).chain(std::iter::repeat(None)))
            .take_while(|(a, b)| a.is_some() || b.is_some())
            .find(|(a, b)| a != b);
        let error = problems.iter().chain(&more).find(|d| d.severity == Severity::Error);
        different.push(format!(
            "{name}\n    text {:?}\n    json {:?}\n    {:?}",
            pair.and_then(|(a, _)| a),
            pair.and_then(|(_, b)| b),
            error.map(|error| &error.message)
        ));
    }
    println!("{pairs} listings as text and JSON, {equal} equal, {refused} texts refused");
    for line in &different {
        println!("  {line}");
    }
    assert!(f64::from(equal) >= 0.95 * f64::from(pairs));
}
