//! What the text parser makes of texts, good and bad.

use super::support::{Texts, lines, parse_text, without_places};
use firewarden_ruleset::syntax::nft::ast::*;
use proptest::prelude::*;

/// The script of a text that has no errors.
fn good(text: &str) -> Script {
    let (script, diagnostics) = parse_text(text);
    assert_eq!(lines(text, &diagnostics), Vec::<String>::new(), "{text}");
    script
}

/// The statements of a rule, in a chain.
fn statements(rule: &str) -> Vec<Statement> {
    let script = good(&format!("add rule inet t c {rule}"));
    match script.commands.into_iter().next().unwrap().target {
        Target::Rule(rule) => rule.rule.unwrap().statements,
        other => panic!("{other:?}"),
    }
}

fn tables(script: &Script) -> Vec<&Table> {
    let commands = script.commands.iter();
    commands
        .filter_map(|c| if let Target::Table(table) = &c.target { Some(&**table) } else { None })
        .collect()
}

fn chains(table: &Table) -> Vec<&Chain> {
    table
        .items
        .iter()
        .filter_map(|item| if let Item::Chain(chain) = item { Some(chain) } else { None })
        .collect()
}

/// A text and the diagnostics it gets.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let (_, diagnostics) = parse_text(text);
    assert_eq!(lines(text, &diagnostics), expected, "{text}");
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    for (text, expected) in [
        ("add rule ip t c tcp dpor 22", "1:21 unknown-word: `dpor` is not a field of `tcp`"),
        ("add rule ip t c acept", "1:17 unknown-word: `acept` is not an expression or statement"),
        ("add rule ip t c dport 22", "1:17 unknown-word: `dport` is not an expression or statement"),
        ("add rule ip t c tcp dport", "1:26 syntax: expected a value, found the end of the file"),
        (
            "add rule ip t c ip saddr 300.1.1.1 drop",
            "1:26 bad-address: `300.1.1.1` is not an address: 300 is more than 255",
        ),
        (
            "add rule ip t c ip6 saddr 1:2:3:4 drop",
            "1:27 bad-address: `1:2:3:4` is not an address: it has 4 groups, an IPv6 address eight and a hardware address six",
        ),
        ("add rule ip t c ip saddr 10.0.0.0/999", "1:26 bad-prefix: `/999` is longer than any address"),
        ("add rule ip t c ip saddr $net", "1:26 undefined-variable: variable `$net` is not defined"),
        ("add rule ip t c log prefix \"x", "1:28 unclosed-quote: a quoted string has no end"),
        (
            "add rule ip t c accept comment \"a\" drop",
            "1:36 syntax: expected the end of the rule after its comment, found `drop`",
        ),
        ("tabel inet t { }", "1:1 unknown-word: `tabel` is not a command"),
        ("chain c {\n}", "1:7 outside-table: `chain c` stands outside of a table"),
        ("table inet t {\nchain c {\naccept\n", "2:9 unclosed-block: a block has no end"),
        ("}", "1:1 unmatched-brace: this `}` closes nothing"),
        ("define a = 1\ndefine a = 2", "2:8 redefinition: variable `a` is defined twice"),
        ("add rule ip t c accept\r\n", "1:23 crlf: lines end with carriage returns, which nft refuses"),
        ("add rule ip t c fib saddr . daddr oif 1", "1:21 bad-fib: `fib` needs either `saddr` or `daddr`"),
        ("add rule ip t c ct stat new", "1:20 unknown-word: `stat` is not a key of `ct`"),
        ("add rule ip t c \u{2028}accept", "1:17 unexpected-character: `\u{2028}` has no place here"),
    ] {
        let (_, diagnostics) = parse_text(text);
        let found = lines(text, &diagnostics);
        let expected = expected.replace("`$net`", "`net`");
        assert_eq!(found.first().map(String::as_str), Some(expected.as_str()), "{text}: {found:?}");
    }
    let help = |text: &str| parse_text(text).1.first().and_then(|d| d.help.clone()).unwrap_or_default();
    assert_eq!(help("add rule ip t c tcp dpor 22"), "did you mean `dport`?");
    assert_eq!(help("add rule ip t c dport 22"), "write `tcp dport`, `udp dport` or `th dport`");
    assert_eq!(help("tabel inet t { }"), "did you mean `table`?");
    assert_eq!(help("define lan = 1\nadd rule ip t c ip saddr $lann"), "did you mean `$lan`?");
    assert_eq!(
        help("define lan = 1\nadd rule ip t c ip saddr $lan/24"),
        "write a space after the name: `$lan /24`"
    );
}

#[test]
fn an_error_ends_its_rule_and_nothing_else() {
    let text = "table inet t {\n\
                chain c {\n\
                type filter hook input priority filter - 5; policy drop;\n\
                ip saddr 1.2.3.4 tcp dprt { 22, 23 } accept\n\
                tcp dport 22 accept; bogus; udp dport 53 accept\n\
                polcy accept\n\
                }\n\
                set s { typ ipv4_addr; flags interval }\n\
                sett x { }\n\
                }\n\
                add rule inet t c accept\n";
    let (script, diagnostics) = parse_text(text);
    assert_eq!(
        lines(text, &diagnostics),
        [
            "4:22 unknown-word: `dprt` is not a field of `tcp`",
            "5:22 unknown-word: `bogus` is not an expression or statement",
            "6:1 unknown-word: `polcy` is not an expression or statement",
            "8:9 unknown-word: `typ` is not a line of a set",
            "9:1 unknown-word: `sett` is not a line of a table",
        ]
    );
    let table = tables(&script)[0];
    let rules = &chains(table)[0].rules;
    let kinds: Vec<Vec<bool>> = rules
        .iter()
        .map(|rule| rule.statements.iter().map(|s| matches!(s.kind, StatementKind::Invalid(_))).collect())
        .collect();
    // The address test is kept, and the rest of that rule is one invalid statement.
    assert_eq!(kinds, [vec![false, true], vec![false, false], vec![true], vec![false, false], vec![true]]);
    assert!(table.items.iter().any(|item| matches!(item, Item::Invalid(_))));
    assert!(table.items.iter().any(|item| matches!(item, Item::Set(set) if set.invalid.len() == 1)));
    assert_eq!(script.commands.len(), 2);
    assert_eq!(chains(table)[0].base.as_ref().unwrap().priority.offset, -5);
}

#[test]
fn places_cover_what_they_name() {
    let text = "add rule inet t c ip saddr { 10.0.0.0/8, 1.2.3.4 } tcp dport != 22-25 accept comment \"hi\"";
    let script = good(text);
    let Target::Rule(rule) = &script.commands[0].target else { panic!() };
    let rule = rule.rule.as_ref().unwrap();
    let slice = |span: firewarden_diagnostic::Span| &text[span.start as usize..span.end as usize];
    let found: Vec<&str> = rule.statements.iter().map(|s| slice(s.span)).collect();
    assert_eq!(found, ["ip saddr { 10.0.0.0/8, 1.2.3.4 }", "tcp dport != 22-25", "accept"]);
    let StatementKind::Match(test) = &rule.statements[0].kind else { panic!() };
    assert_eq!(slice(test.left.span), "ip saddr");
    let ExprKind::Set(set) = &test.right.kind else { panic!() };
    assert_eq!(set.elements.iter().map(|e| slice(e.span)).collect::<Vec<_>>(), ["10.0.0.0/8", "1.2.3.4"]);
    assert_eq!(rule.comment.as_deref(), Some("hi"));
}

#[test]
fn handles_of_listings_are_read() {
    let text = "table inet t { # handle 4\n\tset s { # handle 3\n\t\ttype ipv4_addr\n\t}\n\n\tchain c { # handle 1\n\
                \t\ttcp dport 22 accept # handle 5\n\t\tdrop # handle 6\n\t}\n\n\tchain d { # handle 2\n\t}\n}\n";
    let script = good(text);
    let table = tables(&script)[0];
    assert_eq!(table.handle, Some(4));
    assert!(matches!(&table.items[0], Item::Set(set) if set.handle == Some(3)));
    let chains = chains(table);
    assert_eq!((chains[0].handle, chains[1].handle), (Some(1), Some(2)));
    assert_eq!(chains[0].rules.iter().map(|rule| rule.handle).collect::<Vec<_>>(), [Some(5), Some(6)]);
}

#[test]
fn the_rest_of_a_rule_after_an_xt_comment_is_read() {
    let listed = "table ip t {\nchain c {\nmeta l4proto tcp # xt_recent counter packets 1 bytes 2 drop\n\
                  # xt_recent counter packets 0 bytes 0 drop\n# xt_recent is what I need\n}\n}\n";
    let script = good(listed);
    let rules = &chains(tables(&script)[0])[0].rules;
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0].statements.len(), 4);
    assert_eq!(rules[1].statements.len(), 3);
    let [found] = &statements("xt match \"recent\"")[..] else { panic!() };
    assert!(
        matches!(&found.kind, StatementKind::Xt(xt) if xt.kind == Some(XtKind::Match) && &*xt.name == "recent")
    );
}

#[test]
fn variables_have_scopes_and_keep_both_places() {
    let text = "define net = 10.0.0.0/8\n\
                define nets = { $net, 1.2.3.4 }\n\
                table inet t {\n\
                define port = 22\n\
                chain c {\n\
                ip saddr $nets tcp dport $port accept\n\
                redefine port = 23\n\
                tcp dport $port log prefix \"$who: \" accept\n\
                }\n\
                chain d { tcp dport $port accept\n }\n\
                }\n\
                add rule inet t c tcp dport $port accept\n";
    let (script, diagnostics) = parse_text(text);
    assert_eq!(
        lines(text, &diagnostics),
        [
            "8:28 undefined-variable: variable `who` is not defined",
            "13:29 undefined-variable: variable `port` is not defined"
        ]
    );
    let table = tables(&script)[0];
    let value = |chain: usize, rule: usize, statement: usize| {
        let StatementKind::Match(test) = &chains(table)[chain].rules[rule].statements[statement].kind else {
            panic!()
        };
        (
            without_places(&test.right.resolved().kind),
            &text[test.right.span.start as usize..test.right.span.end as usize],
        )
    };
    assert_eq!(value(0, 0, 1), ("Number(22)".to_owned(), "$port"));
    assert_eq!(value(0, 1, 0), ("Number(23)".to_owned(), "$port"));
    // `redefine` in a chain shadows for the rest of the chain only.
    assert_eq!(value(1, 0, 0), ("Number(22)".to_owned(), "$port"));
    assert_eq!(value(0, 0, 0).1, "$nets");
}

#[test]
fn variables_cannot_grow_without_bound() {
    let mut doubling = String::from("define a0 = { 1.1.1.1, 2.2.2.2 }\n");
    for level in 1..40 {
        doubling.push_str(&format!("define a{level} = {{ $a{0}, $a{0} }}\n", level - 1));
    }
    let (_, diagnostics) = parse_text(&doubling);
    assert_eq!(diagnostics.first().map(|d| d.code), Some("variable-too-large"));
    let mut deep = String::from("define a0 = 1\n");
    for level in 1..100 {
        deep.push_str(&format!("define a{level} = {{ $a{} }}\n", level - 1));
    }
    let (_, diagnostics) = parse_text(&deep);
    assert_eq!(diagnostics.first().map(|d| d.code), Some("nesting-too-deep"));
}

#[test]
fn includes_stand_in_their_place() {
    let mut texts = Texts::new(&[
        (
            "main",
            "include \"defs\"\ntable inet t {\nchain c {\ninclude \"rules/*\"\ndrop\n}\n}\ninclude \"none/*\"\n",
        ),
        ("defs", "define ssh = 22\nadd table ip x\n"),
        ("rules/1", "tcp dport $ssh accept\n"),
        ("rules/2", "tcp dport 80 accept\n"),
        ("cycle", "include \"cycle2\"\nadd table ip y\n"),
        ("cycle2", "add table ip x\ninclude \"cycle\"\n"),
        ("missing", "include \"nowhere\"\nadd table ip z\n"),
    ]);
    let (script, diagnostics) = texts.parse("main");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert_eq!(chains(tables(&script)[1])[0].rules.len(), 3);
    let kinds: Vec<&str> = script
        .commands
        .iter()
        .map(|command| match &command.target {
            Target::Include { .. } => "include",
            Target::Define(_) => "define",
            Target::Table(_) => "table",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["include", "define", "table", "table", "include"]);

    let (script, diagnostics) = texts.parse("cycle");
    assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["include-cycle"]);
    assert_eq!(diagnostics[0].labels.len(), 2, "the chain of includes is shown");
    assert_eq!(tables(&script).len(), 2);

    let (script, diagnostics) = texts.parse("missing");
    assert_eq!(diagnostics[0].message, "cannot include `nowhere`: there is no such file");
    assert_eq!(tables(&script).len(), 1);
}

#[test]
fn templates_get_one_diagnostic() {
    for text in [
        "table inet t {\nchain c {\n{% for x in y %}\nip saddr {{ x }} accept\n{% endfor %}\n}\n}\n",
        "<% if x %>\ntable inet t {\n}\n<% end %>\n",
        "add rule inet t c iifname \"{{ wan }}\" accept\n",
        "add rule inet t c ip saddr ${NET} accept\n",
    ] {
        let (_, diagnostics) = parse_text(text);
        assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["template"], "{text}");
    }
    good("# {{ ansible_managed }}\ntable inet t {\n}\n");
}

#[test]
fn small_things() {
    check("#!/usr/sbin/nft -f\nflush ruleset\nflush ruleset inet\n", &[]);
    check("list ruleset\nreset counters\nmonitor\ndestroy table inet t\ndelete table ip handle 4\n", &[]);
    check("add chain inet t c { type filter hook input priority 0; policy drop; }\ninet t c accept\n", &[]);
    check(
        "insert rule t c index 3 accept\nreplace rule ip t c handle 4 drop\ndelete rule ip t c handle 5\n",
        &[],
    );
    check("rename chain ip t a b\nadd element ip t s { 1.2.3.4 timeout 5m comment \"x\", 5.6.7.8 }\n", &[]);
    check("table inet t {\n  chain c {\n    tcp dport { 22,\n 80 } \\\n  # why\n    accept\n  }\n}", &[]);
    check("add rule inet t c jump { tcp dport 22 accept; goto { drop; }; }", &[]);
    assert_eq!(without_places(&statements("meta iifname eth0")), without_places(&statements("iifname eth0")));
    assert_eq!(without_places(&statements("tcp dport 0x16")), without_places(&statements("tcp dport 22")));
    let precedence = "meta mark set meta mark & 0xff | 1 << 4";
    let [Statement { kind: StatementKind::Mangle(mangle), .. }] = &statements(precedence)[..] else {
        panic!()
    };
    let ExprKind::Binary(or) = &mangle.value.kind else { panic!() };
    assert_eq!(or.op, BinaryOp::Or);
    assert!(matches!(&or.left.kind, ExprKind::Binary(and) if and.op == BinaryOp::And));
    assert!(matches!(&or.right.kind, ExprKind::Binary(shift) if shift.op == BinaryOp::ShiftLeft));
}

#[test]
fn bounds_hold() {
    let nested = format!("add rule ip t c meta mark {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(parse_text(&nested).1[0].code, "nesting-too-deep");
    let jumps = format!("add rule ip t c {}accept{}", "jump { ".repeat(5000), " }".repeat(5000));
    assert_eq!(parse_text(&jumps).1[0].code, "nesting-too-deep");
    let sets = format!("add rule ip t c tcp dport {}1{}", "{".repeat(5000), "}".repeat(5000));
    assert!(!parse_text(&sets).1.is_empty());
    let chain = format!("add rule ip t c meta mark & 1{} == 1", " | 1".repeat(5000));
    assert_eq!(parse_text(&chain).1[0].code, "nesting-too-deep");
    let errors = "bogus here\n".repeat(100_000);
    assert_eq!(parse_text(&errors).1.len(), 101);
    // Runs that look like addresses, words or times, of a megabyte on one line.
    for unit in [
        "1:", "a:", "1.", "1s", "a", "1", ":", "::", "[a", "\"", "# x", "$a", "{", "(", "jump {", "1-", ",",
        "1,",
    ] {
        let text = format!("add rule ip t c tcp dport {{ {}", unit.repeat(1_000_000 / unit.len()));
        parse_text(&text);
    }
}

/// Pieces of rulesets, and of what isn't one.
const PIECES: &[&str] = &[
    "table inet t {",
    "chain c {",
    "type filter hook input priority filter; policy drop;",
    "}",
    "{",
    "(",
    ")",
    "\n",
    ";",
    ",",
    " ",
    ".",
    ":",
    "ip saddr",
    "tcp dport",
    "ct state",
    "meta mark",
    "set",
    "vmap",
    "map",
    "@s",
    "$x",
    "define x =",
    "{ 1, 2 }",
    "10.0.0.0/8",
    "fe80::1",
    "22-25",
    "accept",
    "jump",
    "goto d",
    "limit rate 5/second",
    "counter",
    "log prefix \"a\"",
    "dnat to 1.2.3.4:80",
    "include \"f\"",
    "elements = {",
    "add element ip t s",
    "add rule ip t c",
    "and",
    "&",
    "|",
    "!=",
    "timeout 5s",
    "comment \"x\"",
    "# handle 4",
    "# xt_recent",
    "\"",
    "\\\n",
    "\u{e9}",
    "0x",
    "999999999999999999999999",
    "add @s {",
    "update",
    "meter m {",
    "fib daddr type",
    "*",
    "typeof",
    "flags interval",
    "reject with tcp reset",
    "queue num 1-3 bypass",
    "/",
    "-",
    "rt0 addr[",
    "[fe80::1]",
    "vxlan",
    "ip6",
    "{{",
    "1d2h",
];

proptest! {
    #[test]
    fn nothing_panics(pieces in prop::collection::vec((0..PIECES.len(), any::<bool>()), 0..60), cut in any::<u16>()) {
        let mut text = String::new();
        for (piece, blank) in pieces {
            text.push_str(PIECES[piece]);
            if blank {
                text.push(' ');
            }
        }
        let at = (0..=usize::from(cut) % (text.len() + 1)).rev().find(|&at| text.is_char_boundary(at)).unwrap();
        for text in [text.as_str(), &text[..at], &text[at..]] {
            let (_, diagnostics) = parse_text(text);
            for diagnostic in diagnostics {
                for label in diagnostic.labels {
                    prop_assert!(label.span.start <= label.span.end && label.span.end as usize <= text.len() + 2);
                }
            }
        }
    }

    #[test]
    fn nothing_panics_on_any_text(text in any::<String>()) {
        parse_text(&text);
    }
}
