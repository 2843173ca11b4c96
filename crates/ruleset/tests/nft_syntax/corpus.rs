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
