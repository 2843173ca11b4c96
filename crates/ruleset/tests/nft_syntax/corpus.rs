//! Rulesets that nobody here wrote. Skipped where `FIREWARDEN_CORPUS` isn't set.

use super::normal::normal;
use super::support::{corpus, files, lines, parse_text};
use firewarden_diagnostic::FileId;
use firewarden_ruleset::syntax::nft::json;

/// The lines of nft's own rule tests as commands of a script, with what nft makes of them.
fn rule_tests() -> Option<Vec<(String, String, bool)>> {
    let mut tests = Vec::new();
    for file in files(&corpus("nft/upstream-py")?, "t") {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", file.file_name().unwrap().to_string_lossy(), number + 1);
            let line = line.trim();
            let Some(first) = line.chars().next().filter(|first| !matches!(first, '#' | ':' | '*' | '-'))
            else {
                continue;
            };
            let rest = &line[first.len_utf8()..];
            let (body, verdict) = match first {
                // A set has its verdict at the end; objects have `;` inside their braces.
                '!' | '?' | '%' => rest.rsplit_once(';').unwrap(),
                _ => {
                    let at = line.find(";ok").or(line.find(";fail")).unwrap();
                    (&line[..at], &line[at + 1..])
                }
            };
            let ok = verdict.starts_with("ok");
            let (name, settings) = body.split_once(' ').unwrap_or((body, ""));
            let command = match first {
                '!' => {
                    let kind = if settings.contains(" : ") { "map" } else { "set" };
                    let settings = settings.replace(" timeout", "; timeout").replace(" flags", "; flags");
                    format!("add {kind} ip t {name} {{ {settings}; }}")
                }
                '?' => format!("add element ip t {name} {{ {settings} }}"),
                '%' => {
                    let settings = settings.trim_start_matches("type ");
                    let at = settings.find([' ', '{']).unwrap_or(settings.len());
                    let (kind, settings) = settings.split_at(at);
                    match settings.trim_start().split_once(' ') {
                        Some((word, settings)) if kind == "ct" => {
                            format!("add ct {word} ip t {name} {settings}")
                        }
                        _ => format!("add {kind} ip t {name} {settings}"),
                    }
                }
                _ => format!("add rule ip t c {body}"),
            };
            tests.push((place.clone(), command, ok));
            // `rule;ok;how it is listed`.
            if let (Some(listed), false) = (verdict.strip_prefix("ok;"), matches!(first, '!' | '?' | '%')) {
                tests.push((place, format!("add rule ip t c {listed}"), true));
            }
        }
    }
    Some(tests)
}

#[test]
fn rule_tests_of_nft_are_read() {
    let Some(tests) = rule_tests() else { return };
    let (mut refused, mut accepted, mut fail, mut ok) = (Vec::new(), Vec::new(), 0, 0);
    for (place, command, good) in &tests {
        let (_, diagnostics) = parse_text(command);
        match (good, diagnostics.is_empty()) {
            (true, true) => ok += 1,
            (true, false) => {
                refused.push(format!("{place} {command}\n    {:?}", lines(command, &diagnostics)))
            }
            (false, false) => fail += 1,
            (false, true) => accepted.push(format!("{place} {command}")),
        }
    }
    println!("{ok} of {} good lines read", ok + refused.len());
    println!(
        "{fail} of {} bad lines refused here; lowering has to refuse the others:",
        fail + accepted.len()
    );
    println!("{}", accepted.join("\n"));
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
    assert!(ok > 2000, "the corpus has too few lines: {ok}");
}

#[test]
fn listings_as_text_and_as_json_are_the_same_tree() {
    let Some(folder) = corpus("nft/upstream-dumps") else { return };
    let (mut equal, mut different) = (0, Vec::new());
    for file in files(&folder, "json-nft") {
        let source = std::fs::read_to_string(&file).unwrap();
        let Ok(text) = std::fs::read_to_string(file.with_extension("nft")) else { continue };
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        let (from_json, json_errors) = json::parse(FileId(0), &source);
        let (from_text, text_errors) = parse_text(&text);
        assert!(json_errors.is_empty(), "{name}: {:?}", lines(&source, &json_errors));
        assert!(text_errors.is_empty(), "{name}: {:?}", lines(&text, &text_errors));
        let (from_json, from_text) = (normal(from_json), normal(from_text));
        if from_json == from_text {
            equal += 1;
            continue;
        }
        different.push(name);
        for (table, entries) in &from_text {
            for (key, lines) in entries {
                let others = from_json.get(table).and_then(|entries| entries.get(key));
                if others != Some(lines) {
                    println!("{} {table} {key}:", different.last().unwrap());
                    let others = others.map_or(&[][..], Vec::as_slice);
                    for at in 0..lines.len().max(others.len()) {
                        if lines.get(at) != others.get(at) {
                            println!("  text {:?}", lines.get(at));
                            println!("  json {:?}", others.get(at));
                            break;
                        }
                    }
                }
            }
        }
    }
    println!("{equal} listings are equal, {} differ", different.len());
    assert!(different.is_empty(), "{different:?}");
}

/// Files that nft refuses for their syntax too, and what is wrong with each.
const REFUSED: &[(&str, &str)] = &[
    ("017.nft", "chains outside of a table"),
    ("043.nft", "`level` after another statement"),
    ("078.nft", "`redirect` with an address"),
    ("087.nft", "chains outside of a table"),
    ("090.nft", "shell text after a command"),
    ("093.nft", "`dport` without a protocol"),
    ("094.nft", "`dport` without a protocol"),
    ("108.nft", "placeholders in addresses"),
    ("111.nft", "placeholders"),
    ("112.nft", "placeholders"),
    ("113.nft", "placeholders"),
    ("136.nft", "a `}` too many"),
    ("144.nft", "placeholders"),
    ("158.nft", "a set as a rate"),
    ("159.nft", "a set as a rate"),
    ("180.nft", "`inet` in a rule"),
    ("182.nft", "`oifname` without a value"),
    ("183.nft", "placeholders"),
    ("203.nft", "`counter` with a bare name"),
    ("221.nft", "a stray digit"),
];

#[test]
fn real_files_are_read() {
    let Some(folder) = corpus("nft/real") else { return };
    // The file stands alone here: what it includes, and the variables from there, are missing.
    let alone = ["include", "undefined-variable", "template", "crlf"];
    let (mut clean, mut incomplete, mut wrong) = (0, 0, Vec::new());
    for file in files(&folder, "nft") {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let (_, diagnostics) = parse_text(&text);
        if diagnostics.is_empty() {
            clean += 1;
        } else if diagnostics.iter().all(|d| alone.contains(&d.code)) {
            incomplete += 1;
        } else if !REFUSED.iter().any(|(refused, _)| *refused == name) {
            wrong.push(format!("{name}: {:#?}", lines(&text, &diagnostics)));
        }
    }
    println!("{clean} files read, {incomplete} are templates, have carriage returns or need other files");
    println!("{} have errors of syntax: {REFUSED:#?}", REFUSED.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
