//! Input from strangers, good and bad: truncated, huge, nested, cyclic, binary. Whatever it is, there is an answer:
//! errors with a place and a remedy, a bounded number of them, and no panic.

use firewarden_diagnostic::{Diagnostic, FileId, Severity, SourceMap};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::Ruleset;
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::nft::text::{NoIncludes, SourceProvider};
use firewarden_ruleset::syntax::{ipset, iptables, nft};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Diagnostics that the steps together may give: bounded, whatever the input.
const DIAGNOSTICS_LIMIT: usize = 2_500;

/// How many a million are: fewer without optimisation, where the tests would take long.
const MILLION: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

const NFT: &str = r#"#!/usr/sbin/nft -f
flush ruleset
define lan = 10.0.0.0/8
table inet filter {
    set bad { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 80-90, 10.0.0.2 . 443 } }
    map ports { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 443 : 10.0.0.2 } }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state vmap { established : accept, related : accept, invalid : drop }
        ip saddr $lan tcp dport { 22, 8000-8010 } counter limit rate 5/minute accept comment "x"
        ip saddr . tcp dport @bad drop
        meta mark & 0xff == 0x1 jump own
    }
    chain own { tcp flags & (syn | ack) == syn log prefix "new: " reject with tcp reset; return }
}
add rule inet filter own icmp type echo-request accept
"#;

const IPTABLES: &str = "*filter\n:INPUT DROP [0:0]\n:own - [0:0]\n\
    -A INPUT -i lo -j ACCEPT\n[1:2] -A INPUT -s 10.0.0.0/8 ! -d 10.1.1.1/32 -p tcp -m tcp --dport 22:25 -j own\n\
    -A own -m conntrack --ctstate NEW,RELATED -m comment --comment \"a \\\" b\" -j REJECT --reject-with tcp-reset\n\
    -A own -m set --match-set bad src -j DROP\nCOMMIT\n";

const IPSET: &str =
    "create bad hash:net,port family inet hashsize 1024 maxelem 65536\nadd bad 10.0.0.0/8,tcp:80 nomatch\n";

/// Files by the name that `include` gives them.
struct Files(BTreeMap<&'static str, (FileId, Arc<str>)>);

impl SourceProvider for Files {
    fn open(&mut self, _from: FileId, pattern: &str) -> Result<Vec<(FileId, Arc<str>)>, String> {
        self.0.get(pattern).map(|file| vec![file.clone()]).ok_or("there is no such file".to_owned())
    }
}

/// Everything that is said about a text, one line each: `place code [marked]: message | help`.
fn shown(diagnostics: &[Diagnostic], sources: &SourceMap) -> Vec<String> {
    assert!(diagnostics.len() <= DIAGNOSTICS_LIMIT, "{} diagnostics", diagnostics.len());
    let one = |diagnostic: &Diagnostic| {
        let (place, marked) = diagnostic
            .span()
            .map(|span| (sources.place(span), sources.slice(span).chars().take(60).collect::<String>()))
            .unwrap_or_default();
        let help = diagnostic.help.as_deref().unwrap_or("-");
        format!("{place} {} [{marked}]: {} | {help}", diagnostic.code, diagnostic.message)
    };
    diagnostics.iter().filter(|diagnostic| diagnostic.severity != Severity::Note).map(one).collect()
}

fn lower_nft(script: nft::ast::Script, diagnostics: &mut Vec<Diagnostic>) -> Ruleset {
    let options = lower::nft::LowerOptions { scope: "host" };
    let (ruleset, found) = lower::nft::lower(vec![script], &options, &mut AtomTable::default());
    diagnostics.extend(found);
    ruleset
}

fn nft_text(text: &str) -> (Ruleset, Vec<String>) {
    let mut sources = SourceMap::default();
    let file = sources.add("in", text);
    let (script, mut diagnostics) = nft::text::parse(file, text, &mut NoIncludes);
    let ruleset = lower_nft(script, &mut diagnostics);
    (ruleset, shown(&diagnostics, &sources))
}

fn nft_json(text: &str) -> (Ruleset, Vec<String>) {
    let mut sources = SourceMap::default();
    let file = sources.add("in", text);
    let (script, mut diagnostics) = nft::json::parse(file, text);
    let ruleset = lower_nft(script, &mut diagnostics);
    (ruleset, shown(&diagnostics, &sources))
}

fn iptables_save(text: &str) -> (Ruleset, Vec<String>) {
    let mut sources = SourceMap::default();
    let file = sources.add("in", text);
    let (save, mut diagnostics) = iptables::parse(file, text);
    let options = lower::iptables::LowerOptions { scope: "host", ..Default::default() };
    let (ruleset, found) = lower::iptables::lower(&[save], &[], &options, &mut AtomTable::default());
    diagnostics.extend(found);
    (ruleset, shown(&diagnostics, &sources))
}

fn ipset_save(text: &str) -> Vec<String> {
    let mut sources = SourceMap::default();
    let file = sources.add("in", text);
    let (_, diagnostics) = ipset::parse(file, text);
    shown(&diagnostics, &sources)
}

fn rule_count(ruleset: &Ruleset) -> usize {
    ruleset.chains.iter().map(|chain| chain.rules.len()).sum()
}

/// Checks that one of the lines holds all words, and a remedy.
#[track_caller]
fn says(said: &[String], words: &[&str]) {
    let fits = |line: &&String| words.iter().all(|word| line.contains(word));
    let line = said.iter().find(fits).unwrap_or_else(|| panic!("nothing with {words:?} in {said:#?}"));
    assert!(!line.ends_with("| -"), "no remedy: {line}");
}

/// A chain with these rules.
fn chain(rules: &str) -> String {
    format!("table ip t {{ chain c {{ {rules} }} }}\n")
}

/// Every prefix that ends where a word or a sign does.
fn prefixes(text: &str) -> impl Iterator<Item = &str> {
    let mut before = ' ';
    text.char_indices().filter_map(move |(at, now)| {
        let inside = before.is_alphanumeric() && now.is_alphanumeric();
        before = now;
        if inside { None } else { text.get(..at) }
    })
}

#[test]
fn truncated_texts() {
    let (_, said) = nft_text(NFT);
    assert!(said.is_empty(), "{said:#?}");
    for prefix in prefixes(NFT) {
        let (_, said) = nft_text(prefix);
        let open = prefix.matches('{').count() != prefix.matches('}').count();
        assert!(!open || !said.is_empty(), "an open block and nothing said: {prefix}");
    }
    for prefix in prefixes(IPTABLES) {
        let (_, said) = iptables_save(prefix);
        let open = prefix.contains("*filter\n") && !prefix.contains("COMMIT");
        assert!(!open || !said.is_empty(), "no COMMIT and nothing said: {prefix}");
    }
    for prefix in prefixes(IPSET) {
        ipset_save(prefix);
    }
    let json = r#"{"nftables": [{"table": {"family": "ip", "name": "t", "handle": 1}}, {"chain": {"family": "ip", "table": "t", "name": "c"}}]}"#;
    for prefix in prefixes(json) {
        let (_, said) = nft_json(prefix);
        assert!(!said.is_empty(), "nothing said: {prefix}");
    }
}

#[test]
fn binary_and_line_ends() {
    let noise: String =
        (0..20_000u32).filter_map(|n| char::from_u32(n.wrapping_mul(2_654_435_761) % 0x3000)).collect();
    let (_, said) = nft_text(&noise);
    says(&said, &["in:1:"]);
    let (_, said) = iptables_save(&noise);
    says(&said, &["in:1:"]);
    says(&ipset_save(&noise), &["in:1:"]);
    let (_, said) = nft_json(&noise);
    says(&said, &["in:1:1 json"]);
    let (_, said) = nft_json("\u{feff}[]");
    says(&said, &["in:1:2 json [[]"]);
    let (_, said) = nft_text(&"\0".repeat(1_000_000));
    assert!(!said.is_empty());
    let (ruleset, said) = iptables_save(&IPTABLES.replace('\n', "\r\n"));
    assert_eq!(rule_count(&ruleset), 4, "{said:#?}");
}

#[test]
fn marks_of_editors_and_stray_bytes() {
    // A byte order mark is taken away where files are read; one that is left changes no meaning in silence.
    let (ruleset, said) = nft_text(&format!("\u{feff}{NFT}"));
    assert_eq!((said.len(), rule_count(&ruleset)), (0, rule_count(&nft_text(NFT).0)));
    let (_, said) = iptables_save(&format!("\u{feff}{IPTABLES}"));
    says(&said, &["in:1:1 unknown-line"]);
    says(&ipset_save(&format!("\u{feff}{IPSET}")), &["in:1:1 unknown-line", "did you mean `create`"]);
    // Carriage returns: nft refuses them, iptables-restore and ipset don't.
    let (ruleset, said) = nft_text(&NFT.replace('\n', "\r\n"));
    says(&said, &["crlf", "dos2unix"]);
    assert_eq!((said.len(), rule_count(&ruleset)), (1, rule_count(&nft_text(NFT).0)));
    let (_, said) =
        nft_json("{\"nftables\": [\r\n{\"table\": {\"family\": \"ip\", \"name\": \"t\"}}\r\n]}\r\n");
    assert_eq!(said, [""; 0]);
    // One bad byte in a rule costs that rule, and no other. U+FFFD is what a byte becomes that isn't UTF-8.
    for bad in ["\0", "\u{1b}", "\u{fffd}", "\u{202e}"] {
        let (ruleset, said) =
            nft_text(&format!("table ip t {{ chain c {{\naccept\ntcp dport {bad}22 accept\ndrop\n}} }}"));
        says(&said, &["in:3:11 "]);
        assert_eq!(rule_count(&ruleset), 3, "{said:#?}");
        let (ruleset, said) = iptables_save(&format!(
            "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport {bad}22 -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n"
        ));
        says(&said, &["in:3:"]);
        assert_eq!(rule_count(&ruleset), 2, "{said:#?}");
        says(&ipset_save(&format!("create a hash:ip\nadd a 10.0.0.{bad}1\n")), &["in:2:"]);
    }
}

#[test]
fn nesting() {
    const DEEP: usize = MILLION;
    for text in [
        "{".repeat(DEEP),
        "table t {".repeat(DEEP),
        chain(&format!("ip saddr {}", "{".repeat(DEEP))),
        chain(&format!("mark {}", "(".repeat(DEEP))),
        chain(&format!("mark {}", "! ".repeat(DEEP))),
        chain(&format!("mark {}", "-".repeat(DEEP))),
        chain(&format!("mark {}1", "1 | ".repeat(DEEP))),
        chain(&format!("ip saddr {}", ". tcp dport ".repeat(DEEP))),
        chain(&"jump { ".repeat(DEEP)),
    ] {
        let (_, said) = nft_text(&text);
        assert!(!said.is_empty(), "{}", text.get(..80).unwrap_or_default());
    }
    for text in ["[".repeat(DEEP), "{\"a\":".repeat(DEEP), format!("{{\"nftables\":{}", "[".repeat(DEEP))] {
        let (_, said) = nft_json(&text);
        says(&said, &["json"]);
    }
}

#[test]
fn ten_megabytes_on_one_line() {
    let (ruleset, said) = nft_text(&chain(&"tcp dport 22 accept; ".repeat(500_000)));
    assert!(said.is_empty(), "{said:#?}");
    assert_eq!(rule_count(&ruleset), 500_000);
    for text in ["x".repeat(10_000_000), chain(&format!("log prefix \"{}\"", "x".repeat(10_000_000)))] {
        let (_, said) = nft_text(&text);
        let bytes: usize = said.iter().map(String::len).sum();
        assert!(bytes < 10_000, "{bytes} bytes of diagnostics");
    }
    let words = "-m comment --comment x ".repeat(450_000);
    let (_, said) =
        iptables_save(&format!("*filter\n:INPUT DROP [0:0]\n-A INPUT {words}-j ACCEPT\nCOMMIT\n"));
    says(&said, &["4096 words"]);
}

#[test]
fn a_million_elements() {
    let elements: String =
        (0..MILLION as u32).map(|n| format!("{}, ", std::net::Ipv4Addr::from(n * 3))).collect();
    let (ruleset, said) =
        nft_text(&format!("table ip t {{ set s {{ type ipv4_addr; elements = {{ {elements} }} }} }}"));
    assert!(said.is_empty(), "{said:#?}");
    assert_eq!(ruleset.sets.first().map(|set| set.elements.len()), Some(MILLION));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "a million rules want a release build")]
fn a_million_rules() {
    let (ruleset, said) = nft_text(&chain(&"tcp dport 22 accept\n".repeat(1_000_000)));
    assert!(said.is_empty(), "{said:#?}");
    assert_eq!(rule_count(&ruleset), 1_000_000);
    let rules = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n".repeat(1_000_000);
    let (ruleset, said) = iptables_save(&format!("*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n"));
    assert!(said.is_empty(), "{said:#?}");
    assert_eq!(rule_count(&ruleset), 1_000_000);
}

#[test]
fn includes_in_a_circle() {
    let mut sources = SourceMap::default();
    let mut files = BTreeMap::new();
    for (name, text) in [("a", "include \"b\"\n"), ("b", "include \"a\"\n"), ("self", "include \"self\"\n")] {
        files.insert(name, (sources.add(name, text), Arc::<str>::from(text)));
    }
    for (name, place) in [("a", "b:1:"), ("self", "self:1:")] {
        let (file, text) = files.get(name).cloned().unwrap();
        let (_, diagnostics) = nft::text::parse(file, &text, &mut Files(files.clone()));
        says(&shown(&diagnostics, &sources), &[place, "include"]);
    }
}

#[test]
fn jumps_in_a_circle() {
    let (_, said) = nft_text("table ip t { chain a { jump a; } }");
    says(&said, &["in:1:", "jump"]);
    let (_, said) = nft_text("table ip t { chain a { jump b; }\n chain b { goto a; } }");
    says(&said, &["in:", "jump"]);
    let (_, said) = iptables_save("*filter\n:a - [0:0]\n:b - [0:0]\n-A a -j b\n-A b -j a\nCOMMIT\n");
    says(&said, &["jump-loop"]);
    let (_, said) = iptables_save("*filter\n:a - [0:0]\n-A a -g a\nCOMMIT\n");
    says(&said, &["jump-loop"]);
}

#[test]
fn a_long_chain_of_jumps() {
    let chains: String = (0..10_000).map(|n| format!("chain c{n} {{ jump c{}; }}\n", n + 1)).collect();
    let (_, said) = nft_text(&format!(
        "table ip t {{ chain c10000 {{ }}\n {chains} chain b {{ type filter hook input priority 0; jump c0; }} }}"
    ));
    assert!(said.len() <= 101, "{}", said.len());
    let heads: String = (0..=10_000).map(|n| format!(":c{n} - [0:0]\n")).collect();
    let rules: String = (0..10_000).map(|n| format!("-A c{n} -j c{}\n", n + 1)).collect();
    iptables_save(&format!("*filter\n:INPUT DROP [0:0]\n{heads}-A INPUT -j c0\n{rules}COMMIT\n"));
}

/// Each unknown name is compared with the known ones, to say what was meant: not for every one of many.
#[test]
fn many_unknown_names_beside_many_known_ones() {
    let rules: String =
        (0..10_000).map(|n| format!("jump nowhere{n}\n ip saddr @nothing{n} drop\n")).collect();
    let known: String = (0..10_000)
        .map(|n| format!("chain somewhere{n} {{ }}\n set something{n} {{ type ipv4_addr; }}\n"))
        .collect();
    let (_, said) = nft_text(&format!("table ip t {{ {known} chain c {{ {rules} }} }}"));
    says(&said, &["unknown-chain"]);
    says(&said, &["more errors are not shown"]);
    assert!(said.len() <= 101, "{}", said.len());
}

/// An error behind more warnings than are shown still makes the text a bad one.
#[test]
fn errors_do_not_hide_behind_warnings() {
    let warnings: String = (0..2_000).map(|n| format!("-A INPUT -j undeclared{n}\n")).collect();
    let text = format!("*filter\n:INPUT DROP [0:0]\n{warnings}-A INPUT -s 10.0.0.999 -j DROP\nCOMMIT\n");
    let (_, diagnostics) = iptables::parse(FileId(0), &text);
    assert!(diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
}

#[test]
fn names_that_are_not_there() {
    let (_, said) = nft_text(&chain("jump nowhere"));
    says(&said, &["in:1:", "unknown-chain [nowhere]"]);
    let (_, said) = nft_text(&chain("ip saddr @nowhere drop"));
    says(&said, &["in:1:", "nowhere", "unknown-set"]);
    let (_, said) = nft_text("add rule ip nowhere c accept\n");
    says(&said, &["in:1:13 unknown-table [nowhere]"]);
    let (_, said) = nft_text("table ip t { }\nadd rule ip t nowhere accept\n");
    says(&said, &["in:2:", "[nowhere]"]);
    let (_, said) = nft_text(&chain("ip saddr $nowhere drop"));
    says(&said, &["in:1:", "nowhere"]);
    let (_, said) = nft_text("define a = $a\n");
    says(&said, &["in:1:", "$a"]);
    let (_, said) = nft_text("define a = $b\ndefine b = $a\n");
    says(&said, &["in:1:", "$b"]);
    let (_, said) = iptables_save("*filter\n:INPUT DROP [0:0]\n-A nowhere -j DROP\nCOMMIT\n");
    says(&said, &["in:3:4", "nowhere"]);
    let (_, said) = iptables_save("*nowhere\nCOMMIT\n");
    says(&said, &["in:1:", "nowhere"]);
    says(&ipset_save("add nowhere 10.0.0.1\n"), &["in:1:5", "nowhere"]);
}

#[test]
fn values_that_are_none() {
    for (rule, marked) in [
        ("ip saddr 10.0.0.999 drop", "10.0.0.999"),
        ("ip saddr 10.0.0.0/33 drop", "33"),
        ("tcp dport 65536 drop", "65536"),
        ("tcp dport 90-80 drop", "90-80"),
        ("tcp dport 99999999999999999999999999 drop", "9999"),
        ("meta mark 0xfffffffff drop", "0xfffffffff"),
        ("ip saddr 10.0.0.9-10.0.0.1 drop", "10.0.0.9-10.0.0.1"),
        ("ip ttl 256 drop", "256"),
    ] {
        let (_, said) = nft_text(&chain(rule));
        says(&said, &["in:1:", marked]);
    }
    // The whole of what is wrong is marked, what is wrong with it is said, and what would be right.
    for (rule, words) in [
        ("ip6 saddr 1:2:3:4:5:6:7:8:9 drop", &["[1:2:3:4:5:6:7:8:9]", "it has 9 groups"][..]),
        ("ip6 saddr ::1:2:3:4:5:6:7:8 drop", &["[::1:2:3:4:5:6:7:8]", "at most seven"]),
        ("ip6 saddr 1::2::3 drop", &["[1::2::3]", "`::` stands twice"]),
        ("ip6 saddr fe80::g drop", &["[fe80::g]", "`g` is not hexadecimal"]),
        ("ip6 saddr 12345::1 drop", &["[12345::1]", "`12345` has more than four digits"]),
        ("ip6 saddr ::ffff:10.0.0.256 drop", &["[::ffff:10.0.0.256]", "256 is more than 255"]),
        ("ip6 saddr fe80:::1 drop", &["[fe80:::1]", "three colons"]),
        ("ether saddr 00:11:22:33:44 drop", &["[00:11:22:33:44]", "a hardware address six"]),
        ("ip saddr 10.0.0.256 drop", &["[10.0.0.256]", "256 is more than 255"]),
        ("ip saddr 10.0.0/33 drop", &["[10.0.0]", "it has 3 numbers", "`10.0.0.0`"]),
        ("ip saddr 1.2.3.4.5 drop", &["[1.2.3.4.5]", "it has 5 numbers"]),
        ("ip saddr 10.0..1 drop", &["[10.0..1]", "a number is missing"]),
        ("ip saddr 10.0.0.0/255.255.255.0 drop", &["[255.255.255.0]", "write `/24`"]),
        ("ip saddr 10.0.0.0/255.0.255.0 drop", &["[255.0.255.0]", "from 0 to 32"]),
        ("ip6 saddr fe80::/129 drop", &["fe80::/129", "0 to 128"]),
        ("tcp dport 70000 drop", &["[70000]", "from 0 to 65535"]),
        ("tcp dport 80x drop", &["[80x]", "is not a number"]),
        ("meta mark 0xgg drop", &["[0xgg]", "hexadecimal"]),
        ("tcp dport htp drop", &["[htp]", "did you mean"]),
        ("ct state nw drop", &["[nw]", "did you mean `new`"]),
        ("icmp type echo-requst drop", &["[echo-requst]", "did you mean `echo-request`"]),
        ("iifname abcdefghijklmnopqrs drop", &["[abcdefghijklmnopqrs]", "more than 15"]),
        ("ip saddr @x drop", &["[@x]", "unknown-set", "`x`"]),
        ("tcp dprt 80 drop", &["[dprt]", "did you mean `dport`"]),
        ("jmp other", &["[jmp]", "did you mean `jump`"]),
    ] {
        let (_, said) = nft_text(&chain(rule).replace("ip t", "inet t"));
        says(said.get(..1).unwrap_or_default(), words);
    }
    for (text, words) in [
        (
            "chain c { type filter hook input priority 0; policy dorp; }",
            &["[dorp]", "did you mean `drop`"][..],
        ),
        ("chain c { type filtr hook input priority 0; }", &["[filtr]", "did you mean `filter`"]),
        ("chain c { type filter hook inptu priority 0; }", &["[inptu]", "did you mean `input`"]),
        ("chain c { type filter hook input priority filtr; }", &["[filtr]", "did you mean `filter`"]),
        ("set s { type ipv4_adr; }", &["[ipv4_adr]", "did you mean `ipv4_addr`"]),
        (
            "chain c { type filter hook input priority 0; }\n chain c { type filter hook forward priority 0; }",
            &["in:2:", "already-exists", "`c`"],
        ),
    ] {
        let (_, said) = nft_text(&format!("table inet t {{ {text} }}"));
        says(&said, words);
    }
    // A verdict that follows an address without a blank is one.
    let (_, said) = nft_text(
        &chain("ip6 saddr vmap { fe80::1 : accept, 1:2:3:4:5:6:7:8:drop }").replace("ip t", "inet t"),
    );
    assert_eq!(said, [""; 0]);
    let (_, said) = nft_text("table ip t { chain c { type filter hook input priority 99999999999; } }");
    says(&said, &["in:1:", "99999999999"]);
    for (rule, marked) in [
        ("-s 10.0.0.999", "10.0.0.999"),
        ("-s 10.0.0.0/33", "33"),
        ("-p tcp -m tcp --dport 65536", "65536"),
        ("-p tcp -m tcp --dport 90:80", "90:80"),
        ("-m mark --mark 0xfffffffff", "0xfffffffff"),
        ("-p 256", "256"),
    ] {
        let (_, said) =
            iptables_save(&format!("*filter\n:INPUT DROP [0:0]\n-A INPUT {rule} -j DROP\nCOMMIT\n"));
        says(&said, &["in:3:", marked]);
    }
    let set = "create a hash:ip family inet\n";
    says(&ipset_save(&format!("{set}add a 10.0.0.999\n")), &["in:2:", "10.0.0.999"]);
    // The kernel exchanges the ends of a bitmap's range.
    assert_eq!(ipset_save("create a bitmap:ip range 10.0.0.9-10.0.0.1\n"), [""; 0]);
}

#[test]
fn keys_that_stand_twice() {
    let (_, said) = nft_json(r#"{"nftables": [{"table": {"family": "ip", "name": "t", "name": "u"}}]}"#);
    says(&said, &["in:1:63 json [\"u\"]: this key stands twice"]);
    let (_, said) = nft_json(r#"{"nftables": [], "nftables": []}"#);
    says(&said, &["in:1:", "`nftables` stands here a second time"]);
}

#[test]
fn a_concatenation_of_very_many_parts() {
    let types = vec!["inet_service"; 1_000].join(" . ");
    let (_, said) = nft_text(&format!("table ip t {{ set s {{ type {types}; }} }}"));
    says(&said, &["key-too-long", "4000 bytes"]);
}

/// Variables that double: what they stand for is counted, not built.
#[test]
fn variables_that_double() {
    let defines: String = (0..60).map(|n| format!("define v{} = {{ $v{n}, $v{n} }}\n", n + 1)).collect();
    let (_, said) = nft_text(&format!("define v0 = {{ 1, 2 }}\n{defines}{}", chain("tcp dport $v60 accept")));
    says(&said, &["in:"]);
}
