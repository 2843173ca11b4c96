use super::*;
use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::process::{Command, Stdio};

/// Does something in a network namespace of its own, which ends with it.
pub(crate) fn in_namespace(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                let in_ci = std::env::var("CI").as_deref() == Ok("true");
                assert!(!in_ci, "network namespaces are needed in CI: {error}");
                eprintln!("skipped, as there are no network namespaces here: {error}");
                return;
            }
            work();
        });
        worker.join().unwrap();
    });
}

pub(crate) fn nft(arguments: &[&str], input: &str) -> String {
    let mut child =
        Command::new("nft").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn load(script: &str) {
    nft(&["-f", "-"], script);
}

const RULES: &str = "
table inet filter {
  counter hits { packets 5 bytes 10 }
  quota month { over 25 mbytes used 3 mbytes }
  set bans { type ipv4_addr; flags dynamic,timeout; timeout 1h; elements = { 192.0.2.1 } }
  set offices { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 203.0.113.0/24 } }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    ip saddr @bans drop
    tcp dport { 22, 23 } ip saddr @offices counter packets 7 bytes 77 accept comment \"ssh\"
    add @bans { ip saddr timeout 1m }
    quota over 5 mbytes used 1 mbytes drop
    jump services
  }
  chain services {
    tcp dport vmap { 80 : accept, 443 : accept }
    counter name hits
  }
}
table ip6 other {
  chain c { type filter hook output priority 5; ip6 daddr { 2001:db8::/32, fd00::/8 } drop; }
}
";

#[test]
fn equal_rules_have_equal_fingerprints_and_others_do_not() {
    in_namespace(|| {
        assert!(Fingerprint::read().unwrap().tables.is_empty());
        load(RULES);
        let first = Fingerprint::read().unwrap();
        assert_eq!(first.tables.keys().collect::<Vec<_>>(), ["inet filter", "ip6 other"]);
        // Loaded again, sets without names have other numbers, and everything has other handles.
        load(&format!("flush ruleset\n{RULES}"));
        let second = Fingerprint::read().unwrap();
        assert_eq!(first.tables, second.tables);
        assert_ne!(first.generation, second.generation);
        // What packets do to a ruleset isn't a change of it.
        load("reset counter inet filter hits\nreset quota inet filter month\n");
        load(
            "add element inet filter bans { 192.0.2.77 timeout 5m }\ndelete element inet filter bans { 192.0.2.1 }\n",
        );
        let other = RULES
            .replace("packets 7 bytes 77", "packets 8 bytes 88")
            .replace("used 1 mbytes", "used 2 mbytes");
        load(&format!("flush ruleset\n{other}"));
        assert_eq!(Fingerprint::read().unwrap().tables, first.tables);
        for (from, to) in [
            ("policy drop", "policy accept"),
            ("{ 22, 23 }", "{ 22, 24 }"),
            ("80 : accept", "80 : drop"),
            ("over 5 mbytes", "over 6 mbytes"),
            ("over 25 mbytes", "over 26 mbytes"),
            ("comment \"ssh\"", "comment \"telnet\""),
            ("198.51.100.0/24, ", ""),
            ("flags dynamic,timeout; timeout 1h", "flags dynamic,timeout; timeout 2h"),
            ("jump services\n", "goto services\n"),
            ("counter name hits\n", ""),
            ("priority filter", "priority filter - 1"),
            ("ip saddr @bans drop\n", "ip saddr @bans drop; ip saddr @bans drop\n"),
            ("chain services {", "chain unused { }\n  chain services {"),
            ("counter hits {", "counter misses { }\n  counter hits {"),
        ] {
            let changed = RULES.replacen(from, to, 1);
            assert_ne!(changed, RULES, "{from}");
            load(&format!("flush ruleset\n{changed}"));
            let now = Fingerprint::read().unwrap().tables;
            assert_ne!(now["inet filter"], first.tables["inet filter"], "{from} -> {to}");
            assert_eq!(now["ip6 other"], first.tables["ip6 other"], "{from} -> {to}");
        }
    });
}

/// The chain `inet filter input`.
fn chain() -> ChainName {
    ChainName { family: "inet".into(), table: "filter".into(), chain: "input".into() }
}

/// What is counted stays in the listing, handles go.
fn listing() -> String {
    let text = nft(&["-a", "list", "table", "inet", "filter"], "");
    text.lines()
        .map(|line| line.split(" # handle ").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn rules_that_went_come_back_to_their_place_with_what_they_counted() {
    let rule = |number: usize| {
        format!(
            "ip saddr 10.0.0.{number} tcp dport {} counter packets {number} bytes 40 accept comment \"r{number}\"",
            1000 + number
        )
    };
    let rules: String =
        (0..12).map(|number| format!("add rule inet filter input {}\n", rule(number))).collect();
    let script = format!(
        "add table inet filter\nadd chain inet filter input {{ type filter hook input priority 0; policy accept; }}\n{rules}"
    );
    for seed in 0..60_usize {
        in_namespace(|| {
            load(&script);
            let (before, listed) = (rules_of(&chain()), listing());
            // Which rules go, and behind which one comes: from the bits of the seed.
            let mut change = String::new();
            for (number, rule) in before.iter().enumerate() {
                let bits =
                    seed.wrapping_mul(2_654_435_761).wrapping_add(number.wrapping_mul(40_503) << 7) >> 9;
                match bits % 4 {
                    0 => change += &format!("delete rule inet filter input handle {}\n", rule.handle),
                    1 => {
                        change += &format!(
                            "add rule inet filter input position {} tcp dport {{ 1, 2 }} drop\n",
                            rule.handle
                        )
                    }
                    2 => change += &format!("insert rule inet filter input position {} drop\n", rule.handle),
                    _ => {}
                }
            }
            change += "insert rule inet filter input tcp dport 7 drop\nadd rule inet filter input tcp dport 8 drop\n";
            load(&change);
            assert_ne!(listing(), listed, "seed {seed}");
            let messages = undo(&[(chain(), before, rules_of(&chain()))]).unwrap();
            transact(&messages, None).unwrap();
            assert_eq!(listing(), listed, "seed {seed}");
        });
    }
}

fn rules_of(chain: &ChainName) -> Vec<RawRule> {
    rules(chain).unwrap()
}

#[test]
fn what_cannot_be_undone_so_is_said_and_a_refusal_changes_nothing() {
    in_namespace(|| {
        load(RULES);
        let before = rules_of(&chain());
        assert_eq!(before.len(), 6);
        let of = |what: &str| {
            let listed = nft(&["-a", "list", "chain", "inet", "filter", "input"], "");
            let line = listed.lines().find(|line| line.contains(what)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        // Its ports are a set that went with it.
        load(&format!("delete rule inet filter input handle {}\n", of("dport { 22, 23 }")));
        assert_eq!(undo(&[(chain(), before.clone(), rules_of(&chain()))]), None);
        // A rule with a named set comes back, but not when that is gone.
        load(&format!("flush ruleset\n{RULES}"));
        let before = rules_of(&chain());
        load(&format!("delete rule inet filter input handle {}\n", of("@bans drop")));
        let messages = undo(&[(chain(), before, rules_of(&chain()))]).unwrap();
        transact(&messages, None).unwrap();
        assert!(nft(&["list", "chain", "inet", "filter", "input"], "").contains("ip saddr @bans drop"));
        load("flush chain inet filter input\ndelete set inet filter bans\n");
        let empty = listing();
        assert!(transact(&messages, None).is_err());
        assert_eq!(listing(), empty);
        transact(&[], None).unwrap();
    });
}
