//! Each format of one report, as a whole; then what must hold of all of them.

#[path = "common/mod.rs"]
mod common;

use common::{hostile, web_stack};
use firewarden_diagnostic::render::{self, HumanOptions, Style, text};
use firewarden_diagnostic::{Diagnostic, Report, SourceMap, Span, Verdict};

type Renderer = fn(&Report, &SourceMap) -> String;

fn human(report: &Report, sources: &SourceMap) -> String {
    render::render_human(report, sources, HumanOptions { style: Style::Plain, passes: true })
}

const TEXT: [(&str, Renderer); 5] = [
    ("human", human),
    ("concise", render::render_concise),
    ("github", render::render_github),
    ("junit", render::render_junit),
    ("markdown", render::render_markdown),
];
const JSON: [(&str, Renderer); 2] = [("json", render::render_json), ("sarif", render::render_sarif)];

#[test]
fn every_format() {
    let (report, sources) = web_stack();
    for (name, renderer) in TEXT.into_iter().chain(JSON) {
        insta::assert_snapshot!(name, renderer(&report, &sources));
    }
}

#[test]
fn hostile_text() {
    let (report, sources) = hostile();
    for (name, renderer) in TEXT {
        let out = renderer(&report, &sources);
        let bad = out.chars().find(|&c| c != '\n' && text::visible(c).is_some());
        assert_eq!(bad, None, "{name}:\n{out}");
        assert!(!out.contains("##["), "{name}:\n{out}");
        if name != "github" {
            let command = out.lines().find(|line| line.trim_start().starts_with("::"));
            assert_eq!(command, None, "{name}:\n{out}");
        }
        insta::assert_snapshot!(format!("hostile_{name}"), out);
    }
    for (name, renderer) in JSON {
        let out = renderer(&report, &sources);
        assert_eq!(out.chars().find(|&c| c != '\n' && text::visible(c).is_some()), None, "{name}:\n{out}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
    }
}

#[test]
fn colour_only_when_asked() {
    let (report, sources) = web_stack();
    let colored = render::render_human(&report, &sources, HumanOptions { style: Style::Color, passes: true });
    assert!(colored.contains("\x1b["));
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(trimmed(&plain), trimmed(&human(&report, &sources)));
}

#[test]
fn a_line_of_ten_megabytes_is_not_repeated() {
    let mut sources = SourceMap::default();
    let line = "a ".repeat(5_000_000);
    let file = sources.add("long.nft", line.as_str());
    let mut report = Report::new("0.1.0", "check", "long.nft");
    let everywhere = Span::new(file, 0, line.len());
    report.diagnostics.push(Diagnostic::error("syntax", line.as_str()).at(everywhere, line.as_str()));
    for at in (0..1000).map(|n| n * 10_000) {
        report.diagnostics.push(Diagnostic::error("syntax", "m").at(Span::new(file, at, line.len()), "here"));
    }
    for (name, renderer) in TEXT.into_iter().chain(JSON) {
        let out = renderer(&report, &sources);
        assert!(out.len() < 10_000_000, "{name}: {} bytes", out.len());
        // JSON holds text twice; people get one screen's width or so.
        let longest = out.lines().map(str::len).max().unwrap();
        assert!(longest < 4_500, "{name}: a line of {longest} bytes");
    }
}

#[test]
fn a_cut_line_keeps_its_column() {
    let mut sources = SourceMap::default();
    let file = sources.add("long.nft", format!("\n{}drop", "é".repeat(1000)));
    let diagnostic = Diagnostic::error("e", "m").at(Span::new(file, 2001, 2005), "here");
    let out = render::render_diagnostics(&[diagnostic], &sources, Style::Plain);
    assert!(out.contains("--> long.nft:2:1001\n"), "{out}");
}

#[test]
fn spans_anywhere() {
    let text = "a\r\n\n  b é\n\u{202e}\tc";
    let mut sources = SourceMap::default();
    let file = sources.add("x", text);
    let empty = sources.add("empty", "");
    let mut report = Report::new("0.1.0", "check", "x");
    for start in 0..text.len() + 3 {
        for end in 0..text.len() + 3 {
            let other = Span::new(empty, start, end);
            let diagnostic = Diagnostic::error("e", "m").at(Span::new(file, start, end), "l").see(other, "o");
            report.diagnostics.push(diagnostic);
        }
    }
    for chunk in report.diagnostics.clone().chunks(50) {
        report.diagnostics = chunk.to_vec();
        for (_, renderer) in TEXT.into_iter().chain(JSON) {
            renderer(&report, &sources);
        }
    }
}

#[test]
fn columns_far_into_a_line() {
    let mut sources = SourceMap::default();
    let file = sources.add("x", format!("first\n{}z\nlast", "é".repeat(5000)));
    let place = |start| sources.get(file).unwrap().line_column(start);
    assert_eq!((place(6).line, place(6).column), (2, 1));
    assert_eq!((place(10_006).line, place(10_006).column), (2, 5001));
    assert_eq!((place(10_008).line, place(10_008).column), (3, 1));
    assert_eq!((place(99_999).line, place(99_999).column), (3, 5));
}

#[test]
fn nothing_unproved_exits_with_zero() {
    let (report, _) = web_stack();
    let exit = |verdict| {
        let mut report = report.clone();
        report.results.retain(|result| result.verdict == verdict);
        report.exit_code()
    };
    assert_eq!(Verdict::ALL.map(exit), [0, 1, 3, 3, 3, 2]);
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn json_meets_its_schema() {
    let schema = render::report_schema();
    for (report, sources) in [web_stack(), hostile(), (Report::default(), SourceMap::default())] {
        let json: serde_json::Value = serde_json::from_str(&render::render_json(&report, &sources)).unwrap();
        meets(&json, &schema, &schema, "$");
    }
}

/// Checks a value against the parts of JSON Schema that ours uses, and that the schema names every key.
fn meets(value: &serde_json::Value, schema: &serde_json::Value, root: &serde_json::Value, at: &str) {
    use serde_json::Value;
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return meets(value, root.pointer(reference.trim_start_matches('#')).unwrap(), root, at);
    }
    if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
        let wanted = options.iter().find(|o| value.is_null() == (o.get("type") == Some(&"null".into())));
        return meets(value, wanted.unwrap_or_else(|| panic!("{at}: no option for {value}")), root, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match schema.get("type") {
        Some(Value::String(wanted)) => assert_eq!(kind, wanted, "{at}"),
        Some(Value::Array(wanted)) => assert!(wanted.contains(&kind.into()), "{at}: {value}"),
        _ => assert!(schema.get("enum").or(schema.get("oneOf")).is_some(), "{at}: {schema}"),
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        assert!(words.contains(value), "{at}: {value}");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        meets(item, schema.get("items").unwrap(), root, &format!("{at}[{index}]"));
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at} lacks {name}");
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let known = schema.pointer(&format!("/properties/{key}"));
        meets(
            item,
            known.unwrap_or_else(|| panic!("{at}.{key} is not in the schema")),
            root,
            &format!("{at}.{key}"),
        );
    }
}

#[test]
fn sarif_is_what_the_standard_asks_for() {
    for (report, sources) in [web_stack(), hostile(), (Report::default(), SourceMap::default())] {
        let log: serde_json::Value = serde_json::from_str(&render::render_sarif(&report, &sources)).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert_eq!(run["columnKind"], "unicodeCodePoints");
        for result in run["results"].as_array().unwrap() {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            assert!(!result["partialFingerprints"].as_object().unwrap().is_empty());
            for location in result["locations"].as_array().unwrap() {
                let region = &location["physicalLocation"]["region"];
                let number = |key: &str| region[key].as_u64().unwrap();
                assert!(number("startLine") >= 1 && number("startColumn") >= 1);
                assert!(
                    (number("endLine"), number("endColumn")) >= (number("startLine"), number("startColumn"))
                );
                let uri = location["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
                assert!(uri.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&b)), "{uri}");
            }
        }
    }
}
