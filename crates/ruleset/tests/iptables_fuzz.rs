//! No text makes the parsers or the lowering panic, and no rule gets lost on the way.

use firewarden_diagnostic::FileId;
use firewarden_packet::AtomTable;
use firewarden_ruleset::lower::iptables::{LowerOptions, lower};
use firewarden_ruleset::syntax::{ipset, iptables};
use proptest::prelude::*;

const WORDS: &[&str] = &[
    "-A",
    "-I",
    "-D",
    "-R",
    "-N",
    "-X",
    "-F",
    "-P",
    "-t",
    "nat",
    "filter",
    "mangle",
    "INPUT",
    "FORWARD",
    "PREROUTING",
    "x",
    "y",
    "-j",
    "-g",
    "-m",
    "-p",
    "-s",
    "-d",
    "-i",
    "-o",
    "-f",
    "!",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "multiport",
    "--dport",
    "--dports",
    "--ports",
    "80",
    "80,443",
    "1:2",
    "conntrack",
    "--ctstate",
    "NEW,DNAT",
    "--ctproto",
    "6",
    "set",
    "--match-set",
    "s",
    "l",
    "src,dst",
    "src",
    "10.0.0.0/8",
    "10.0.0.1/255.0.255.0,10.0.0.2/255.0.254.0",
    "::1",
    "eth+",
    "ACCEPT",
    "DROP",
    "REJECT",
    "LOG",
    "MARK",
    "--set-xmark",
    "0x1/0xff",
    "DNAT",
    "--to-destination",
    "[::1]:80",
    "10.0.0.1:80-90",
    "NETMAP",
    "--to",
    "recent",
    "--set",
    "--update",
    "limit",
    "--limit",
    "5/sec",
    "tos",
    "--tos",
    "0x10",
    "TOS",
    "--xor-tos",
    "-4",
    "-6",
    "\"a b\"",
    "\"",
    "\\",
    "'",
    "$X",
    "{{",
    "1",
    "0",
    "99999999999",
    "-",
    "--",
    "",
    "é",
    "\u{0}",
    "CONNMARK",
    "--restore-mark",
    "--nfmask",
    "0",
    "ttl",
    "--ttl-gt",
    "255",
    "owner",
    "--uid-owner",
    "root",
    "TTL",
    "--ttl-inc",
    "ah",
    "*filter",
    "COMMIT",
    ":x",
    "[1:2]",
    "iptables",
    "ip6tables",
    "sudo",
    "SET",
    "--add-set",
];

const SETS: &str = "create s hash:ip,port\nadd s 10.0.0.1,80\ncreate l list:set\nadd l s\nadd l l\n";

fn run(text: &str, sets: &str) -> usize {
    let (save, _) = iptables::parse(FileId(0), text);
    let (sets, _) = ipset::parse(FileId(1), sets);
    let mut atoms = AtomTable::default();
    let kept: usize = save.tables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum();
    let (ruleset, _) = lower(&[save], &[sets], &LowerOptions::default(), &mut atoms);
    let _ = firewarden_ruleset::ir::dump::dump(&ruleset, &atoms);
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}", sets in "\\PC{0,100}") {
        run(&text, &sets);
    }

    #[test]
    fn any_words(lines in prop::collection::vec(prop::collection::vec(prop::sample::select(WORDS), 0..12), 0..8)) {
        let text: String = lines.iter().map(|line| line.join(" ") + "\n").collect();
        run(&text, SETS);
    }

    #[test]
    fn any_rule_is_kept(words in prop::collection::vec(prop::sample::select(&WORDS[15..]), 0..12)) {
        let line = words.join(" ");
        // Words that would make another command of the line.
        prop_assume!(!line.contains("-A") && !line.contains('\n'));
        prop_assert_eq!(run(&format!("*filter\n:x - [0:0]\n-A x {line}\nCOMMIT\n"), SETS), 1);
    }

    #[test]
    fn any_entry(words in prop::collection::vec(prop::sample::select(vec![
        "create", "add", "del", "swap", "rename", "destroy", "a", "b", "hash:ip", "hash:ip,port", "hash:net", "hash:net,iface", "bitmap:port",
        "list:set", "family", "inet6", "range", "0-5", "netmask", "bitmask", "255.0.255.0", "24", "0", "10.0.0.1", "10.0.0.1,80", "::1",
        "0.0.0.0/0", "10.0.0.0/8,eth0", "nomatch", "timeout", "5", "\n", "\n", "\n", "comment", "\"x\"", "markmask",
    ]), 0..40)) {
        let text = words.join(" ");
        run("*filter\n-A INPUT -m set --match-set a src,dst -j DROP\n-A INPUT -m set --match-set b src -j DROP\nCOMMIT\n", &text);
    }
}

#[test]
fn ten_megabytes_on_one_line() {
    for unit in ["-s 10.0.0.1 ", "-m tcp ", "x", "\"", "-j ", "! ", "a,", "\\"] {
        let line = unit.repeat(10_000_000 / unit.len());
        run(&format!("*filter\n-A INPUT {line}\nCOMMIT\n"), &line);
    }
}
