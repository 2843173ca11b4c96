//! Rulesets that nobody here wrote. Skipped where `FIREWARDEN_CORPUS` isn't set.

use super::support::{corpus, files, lines, parse_text};

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
