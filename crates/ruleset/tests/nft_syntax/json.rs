//! What the JSON reader makes of texts, good and bad.

use super::normal::normal;
use super::support::{lines, parse_text};
use firewarden_diagnostic::FileId;
use firewarden_ruleset::syntax::nft::ast::*;
use firewarden_ruleset::syntax::nft::json;
use proptest::prelude::*;

/// The statements of a rule in JSON; there must be no diagnostic.
fn statements(json: &str) -> Vec<Statement> {
    let text = format!(
        r#"{{"nftables": [{{"rule": {{"family": "inet", "table": "t", "chain": "c", "handle": 7, "expr": [{json}]}}}}]}}"#
    );
    let (script, diagnostics) = json::parse(FileId(0), &text);
    assert!(diagnostics.is_empty(), "{json}: {:?}", lines(&text, &diagnostics));
    match script.commands.into_iter().next().unwrap().target {
        Target::Rule(rule) => rule.rule.unwrap().statements,
        other => panic!("{other:?}"),
    }
}

/// A rule as text, and its statements in JSON, give the same tree.
#[track_caller]
fn check(text: &str, statements: &str) {
    let source = format!(
        r#"{{"nftables": [{{"add": {{"rule": {{"family": "inet", "table": "t", "chain": "c", "expr": [{statements}]}}}}}}]}}"#
    );
    let (from_json, json_errors) = json::parse(FileId(0), &source);
    let (from_text, text_errors) = parse_text(&format!("add rule inet t c {text}"));
    assert!(json_errors.is_empty() && text_errors.is_empty(), "{text}: {json_errors:?} {text_errors:?}");
    assert_eq!(normal(from_text), normal(from_json), "{text}");
}

#[test]
fn rules_are_the_same_as_in_text() {
    let flags = r#"{"payload": {"protocol": "tcp", "field": "flags"}}"#;
    let saddr = r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#;
    for (text, json) in [
        ("accept", r#"{"accept": null}"#.to_owned()),
        ("jump x", r#"{"jump": {"target": "x"}}"#.to_owned()),
        ("tcp flags syn,ack", format!(r#"{{"match": {{"op": "in", "left": {flags}, "right": ["syn", "ack"]}}}}"#)),
        ("tcp flags syn,ack", format!(r#"{{"match": {{"op": "in", "left": {flags}, "right": {{"|": ["syn", "ack"]}}}}}}"#)),
        ("tcp flags == syn", format!(r#"{{"match": {{"op": "==", "left": {flags}, "right": "syn"}}}}"#)),
        ("tcp flags ! syn", format!(r#"{{"match": {{"op": "!", "left": {flags}, "right": "syn"}}}}"#)),
        (
            "tcp flags syn / syn,ack",
            format!(r#"{{"match": {{"op": "==", "left": {{"&": [{flags}, ["syn", "ack"]]}}, "right": "syn"}}}}"#),
        ),
        (
            "tcp flags { fin, syn | ack }",
            format!(r#"{{"match": {{"op": "==", "left": {flags}, "right": {{"set": ["fin", {{"|": ["syn", "ack"]}}]}}}}}}"#),
        ),
        ("ip saddr @s", format!(r#"{{"match": {{"op": "==", "left": {saddr}, "right": "@s"}}}}"#)),
        (
            "ip saddr != 10.0.0.0/8",
            format!(r#"{{"match": {{"op": "!=", "left": {saddr}, "right": {{"prefix": {{"addr": "10.0.0.0", "len": 8}}}}}}}}"#),
        ),
        (
            "ip saddr . tcp dport vmap { 1.2.3.4 . 1-5 : drop, * : goto d }",
            format!(
                r#"{{"vmap": {{"key": {{"concat": [{saddr}, {{"payload": {{"protocol": "tcp", "field": "dport"}}}}]}},
                    "data": {{"set": [[{{"concat": ["1.2.3.4", {{"range": [1, 5]}}]}}, {{"drop": null}}],
                                      ["*", {{"goto": {{"target": "d"}}}}]]}}}}}}"#
            ),
        ),
        (
            "meta mark set meta mark & 0xff | 0x10",
            r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"&": [{"meta": {"key": "mark"}}, 255]}, 16]}}}"#
                .to_owned(),
        ),
        ("fib saddr . iif oif missing", r#"{"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "right": false}}"#.to_owned()),
        ("ct original ip saddr 1.2.3.4", r#"{"match": {"op": "==", "left": {"ct": {"key": "ip saddr", "dir": "original"}}, "right": "1.2.3.4"}}"#.to_owned()),
        ("exthdr frag exists", r#"{"match": {"op": "==", "left": {"exthdr": {"name": "frag"}}, "right": true}}"#.to_owned()),
        ("tcp option maxseg size set 1360", r#"{"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1360}}"#.to_owned()),
        ("dnat ip to 10.0.0.1:80 persistent", r#"{"dnat": {"family": "ip", "addr": "10.0.0.1", "port": 80, "flags": "persistent"}}"#.to_owned()),
        ("masquerade random,fully-random", r#"{"masquerade": {"flags": ["random", "fully-random"]}}"#.to_owned()),
        ("redirect to :8080", r#"{"redirect": {"port": 8080}}"#.to_owned()),
        ("reject with icmpx port-unreachable", r#"{"reject": {"type": "icmpx", "expr": "port-unreachable"}}"#.to_owned()),
        ("limit rate over 10 kbytes/second burst 5 kbytes", r#"{"limit": {"rate": 10, "burst": 5, "per": "second", "inv": true, "rate_unit": "kbytes", "burst_unit": "kbytes"}}"#.to_owned()),
        ("quota over 10 mbytes", r#"{"quota": {"val": 10, "val_unit": "mbytes", "inv": true}}"#.to_owned()),
        ("ct count over 3", r#"{"ct count": {"val": 3, "inv": true}}"#.to_owned()),
        ("log prefix \"a\\b\" level warn flags tcp sequence,options", r#"{"log": {"prefix": "a\\b", "level": "warn", "flags": ["tcp sequence", "tcp options"]}}"#.to_owned()),
        ("add @s { ip saddr timeout 5m limit rate 5/minute }", format!(r#"{{"set": {{"op": "add", "elem": {{"elem": {{"val": {saddr}, "timeout": 300}}}}, "set": "@s", "stmt": [{{"limit": {{"rate": 5, "per": "minute", "burst": 5}}}}]}}}}"#)),
        ("counter name \"c\"", r#"{"counter": "c"}"#.to_owned()),
        ("reset tcp option sack", r#"{"reset": {"tcp option": {"name": "sack"}}}"#.to_owned()),
        ("xt match \"recent\"", r#"{"xt": {"type": "match", "name": "recent"}}"#.to_owned()),
        ("vxlan ip saddr 1.2.3.4", r#"{"match": {"op": "==", "left": {"payload": {"tunnel": "vxlan", "protocol": "ip", "field": "saddr"}}, "right": "1.2.3.4"}}"#.to_owned()),
        ("rt0 addr[1] ::1", r#"{"match": {"op": "==", "left": {"exthdr": {"name": "rt0", "field": "addr[1]"}}, "right": "::1"}}"#.to_owned()),
        ("jump {\n tcp dport 22 accept comment \"a\"\n drop\n }", r#""jump {\n\t\t\ttcp dport 22 accept comment \"a\"\n\t\t\tdrop\n\t\t}""#.to_owned()),
    ] {
        check(text, &json);
    }
}

#[test]
fn what_is_not_known_is_kept() {
    let found = statements(
        r#"{"newthing": {"a": 1}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "nofield"}}, "right": 5}},
           "jump {\n cut off", {"accept": null}"#,
    );
    let kinds: Vec<&StatementKind> = found.iter().map(|statement| &statement.kind).collect();
    let [
        StatementKind::Opaque(new),
        StatementKind::Match(test),
        StatementKind::Opaque(cut),
        StatementKind::Verdict(_),
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(&*new.text, r#"{"newthing": {"a": 1}}"#);
    assert!(matches!(&test.left.kind, ExprKind::Opaque(text) if text.contains("nofield")));
    assert!(cut.text.contains("cut off"));
}

#[test]
fn commands_are_read() {
    let text = r#"{"nftables": [
        {"metainfo": {"version": "1.1.3"}},
        {"flush": {"ruleset": null}},
        {"add": {"table": {"family": "inet", "name": "t"}}},
        {"create": {"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": -5, "policy": "drop"}}},
        {"insert": {"rule": {"family": "inet", "table": "t", "chain": "c", "index": 2, "expr": [{"drop": null}]}}},
        {"delete": {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 9}}},
        {"rename": {"chain": {"family": "inet", "table": "t", "name": "c", "newname": "d"}}},
        {"add": {"element": {"family": "inet", "table": "t", "name": "m", "elem": [["1.2.3.4", 5]]}}},
        {"list": {"ruleset": null}}
    ]}"#;
    let (script, diagnostics) = json::parse(FileId(0), text);
    assert!(diagnostics.is_empty(), "{:?}", lines(text, &diagnostics));
    let verbs: Vec<Verb> = script.commands.iter().map(|command| command.verb).collect();
    use Verb::{Add, Create, Delete, Flush, Insert, Rename, Show};
    assert_eq!(verbs, [Flush, Add, Create, Insert, Delete, Rename, Add, Show]);
    let Target::Rule(rule) = &script.commands[3].target else { panic!() };
    assert_eq!(rule.position, Some(Position::Index(2)));
    let place = rule.rule.as_ref().unwrap().statements[0].span;
    assert_eq!(&text[place.start as usize..place.end as usize], r#"{"drop": null}"#);
    let Target::Elements { elements, .. } = &script.commands[6].target else { panic!() };
    assert!(elements[0].data.is_some());
}

#[test]
fn errors_name_the_place() {
    for (text, expected) in [
        ("[1, 2]", "1:1 json: this JSON is not a ruleset: there is no list `nftables`"),
        ("{\"nftables\": [", "1:15 json: the text ends too early"),
        (
            "{\"nftables\": [{\"table\": {\"family\": \"inet\"}}]}",
            "1:15 json-object: this table needs a `name`",
        ),
        (
            "{\"nftables\": [{\"tabel\": {\"family\": \"inet\"}}]}",
            "1:15 json-object: `tabel` is not a command or an object",
        ),
        (
            "{\"nftables\": [{\"table\": {\"family\": \"x\", \"name\": \"t\"}}]}",
            "1:15 json-object: this table needs a `family`",
        ),
        ("{\"nftables\": [nul]}", "1:15 json: expected a value"),
        ("{\"nftables\": [\"a\\q\"]}", "1:18 json: not an escape of JSON"),
        ("{\"nftables\": []} x", "1:18 json: there is more text after the end"),
    ] {
        let (_, diagnostics) = json::parse(FileId(0), text);
        assert_eq!(lines(text, &diagnostics), [expected], "{text}");
    }
    let deep = format!("{{\"nftables\": [{}", "[".repeat(100_000));
    assert_eq!(json::parse(FileId(0), &deep).1[0].message, "nested too deep");
    let not = r#"{"&": ["#.repeat(90);
    let deep =
        format!(r#"{{"nftables": [{{"rule": {{"family": "ip", "table": "t", "chain": "c", "expr": [{not}"#);
    assert!(!json::parse(FileId(0), &deep).1.is_empty());
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"nftables\"",
    "\"rule\"",
    "\"expr\"",
    "\"match\"",
    "\"left\"",
    "\"op\"",
    "\"==\"",
    "\"payload\"",
    "1",
    "-5",
    "null",
    "true",
    "\"\\u00e9\"",
    "\"a\\",
    "\"set\"",
    "\"elem\"",
    "\"val\"",
    "\"&\"",
    "{\"nftables\": [",
    "{\"rule\": {\"table\": \"t\", \"chain\": \"c\", \"expr\": [",
    "{\"accept\": null}",
    "1e9",
    "\u{e9}",
    "{\"table\": {\"name\": \"t\"}}",
    "{\"chain\": {\"table\": \"t\", \"name\": \"c\", \"hook\": \"input\"}}",
    "{\"meta\":",
];

proptest! {
    #[test]
    fn nothing_panics(pieces in prop::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        json::parse(FileId(0), &text);
    }

    #[test]
    fn nothing_panics_on_any_text(text in any::<String>()) {
        json::parse(FileId(0), &text);
    }
}
