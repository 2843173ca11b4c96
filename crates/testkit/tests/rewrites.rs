//! What `nft -o` makes of rules: where it changes the meaning, diff names the rule and the kernel confirms packets; where
//! it doesn't, diff says that nothing changed, and the kernel treats every packet alike.
//!
//! `nft -o` runs in a network namespace that is made for it and thrown away.

use firewarden_packet::{Field, ct_status, tcp_flag};
use firewarden_testkit::change::Change;
use firewarden_testkit::generate::{Generated, Syntax};
use firewarden_testkit::kernel::Kernel;
use firewarden_testkit::kernel::changes::ChangeTally;
use firewarden_verify::diff::{Compared, DiffOptions, Effect};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const PACKETS: u64 = 400;

fn filter(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
    format!(
        "table inet filter {{\n  chain input {{\n    type filter hook input priority filter; policy drop;\n\
         {rules}  }}\n}}\n"
    )
}

/// What `nft -o` loads instead of a text.
fn optimised(text: &str) -> Result<String, String> {
    // The tests of this file run at the same time.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("firewarden-rewrite-{}-{number}.nft", std::process::id()));
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let listed = listed(&file);
    std::fs::remove_file(&file).map_err(|error| error.to_string())?;
    listed
}

/// As root, and for others in a namespace of users, too.
fn listed(file: &Path) -> Result<String, String> {
    unshared(&["--net"], file).or_else(|_| unshared(&["--user", "--map-root-user", "--net"], file))
}

fn unshared(namespaces: &[&str], file: &Path) -> Result<String, String> {
    let script = "nft -o -f \"$1\" >&2 && nft list ruleset";
    let output = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-c", script, "sh"])
        .arg(file)
        .output()
        .map_err(|error| format!("`unshare` can't be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// The kernel; `None` where there is none, which CI doesn't put up with.
fn kernel() -> Option<Kernel> {
    let ready = optimised("table inet t { }\n").and_then(|_| Kernel::start());
    match ready {
        Ok(kernel) => Some(kernel),
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "nft and the oracle must run in CI: {why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

fn generated(text: &str) -> Generated {
    Generated::fixed(Syntax::Nft, text)
}

fn diff(before: &str, after: &str) -> Compared {
    let change = Change::of(&generated(before), &generated(after)).unwrap();
    let found = change.compare(DiffOptions::default());
    assert!(found.undecided.is_empty() && found.unconfirmed.is_none(), "{found:?}");
    change.hold(&found, 1, 300).unwrap();
    found
}

/// Sends packets with both; gives how many there were, and of how many the diff tells.
fn confirm(kernel: &mut Kernel, before: &str, after: &str) -> (u64, u64) {
    let mut tally = ChangeTally::default();
    kernel
        .hold_change(&generated(before), &generated(after), PACKETS, &mut tally)
        .unwrap_or_else(|problem| panic!("{problem}\n{before}{after}"));
    (tally.packets, tally.told)
}

/// Rules that `nft -o` makes a set of, which asks for exactly its members where the rules test bits.
const CHANGED: [(&[&str], Field, u128); 3] = [
    (&["tcp flags syn accept", "tcp flags ack accept"], Field::TCP_FLAGS, tcp_flag::SYN | tcp_flag::ACK),
    (
        &["ct status assured accept", "ct status dnat accept"],
        Field::CT_STATUS,
        ct_status::ASSURED | ct_status::DNAT,
    ),
    (
        &["tcp flags syn tcp dport 22 accept", "tcp flags ack tcp dport 80 accept"],
        Field::TCP_FLAGS,
        tcp_flag::SYN | tcp_flag::ACK,
    ),
];

#[test]
fn rewrites_that_change_the_meaning_are_found() {
    let Some(mut kernel) = kernel() else { return };
    let (mut sent, mut differing) = (0, 0);
    for (rules, field, bits) in CHANGED {
        let before = filter(rules);
        let after = optimised(&before).unwrap();
        assert!(after.contains('{') && !after.contains(rules[0]), "nothing was merged:\n{after}");
        let found = diff(&before, &after);
        assert!(!found.changes.is_empty(), "{rules:?}");
        for change in &found.changes {
            // A rule of the two accepted them, and the policy, which stands behind the last rule, drops them now.
            assert_eq!(change.effect, Effect::Blocked, "{rules:?}");
            let (Some(accepted), Some(dropped)) = change.deciders else { panic!("{change:?}") };
            assert!(accepted.rule.index < 2 && dropped.rule.index == 1, "{change:?}");
            let value = change.witness.get(field);
            assert!(value & bits != 0 && value.count_ones() > 1, "{rules:?}: {value:#x}");
        }
        let (packets, told) = confirm(&mut kernel, &before, &after);
        assert!(told > 0, "{rules:?}: the kernel saw none of the packets");
        sent += packets;
        differing += told;
    }
    println!("{sent} kernel packets, {differing} of which fare differently");
}

const UNCHANGED: [&[&str]; 8] = [
    &["ct state established accept", "ct state related accept"],
    &["tcp dport 22 accept", "tcp dport 80-90 accept"],
    &["tcp dport 22 accept", "tcp dport 80 drop", "tcp dport 443 accept"],
    &["ip saddr 10.0.0.1 tcp dport 22 accept", "ip saddr 10.0.0.2 tcp dport 80 accept"],
    &["ip saddr 10.0.0.1 tcp dport 22 accept", "ip saddr 10.0.0.2 tcp dport 80 drop"],
    &["iifname \"eth0\" udp dport 53 accept", "iifname \"lan0\" udp dport 123 accept"],
    &["ip6 saddr 2001:db8:1::7 accept", "ip6 saddr 2001:db8:2::/48 accept"],
    &["tcp flags == syn accept", "tcp flags == ack accept"],
];

#[test]
fn rewrites_that_are_right_mean_the_same() {
    let Some(mut kernel) = kernel() else { return };
    let mut sent = 0;
    for rules in UNCHANGED {
        let before = filter(rules);
        let after = optimised(&before).unwrap();
        assert!(after.contains('{') && !after.contains(rules[0]), "nothing was merged:\n{after}");
        let found = diff(&before, &after);
        assert!(found.changes.is_empty(), "{rules:?}: {:?}", found.changes);
        let (packets, told) = confirm(&mut kernel, &before, &after);
        assert!(packets > 0 && told == 0, "{rules:?}: {packets} packets");
        sent += packets;
    }
    println!("{sent} kernel packets, all of which fare alike");
}

/// The two rulesets of the section on rewrites.
fn documented() -> (String, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/semantics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("## Is this rewrite equivalent?").expect("the section");
    let mut blocks =
        section.split("```nft\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut next = || blocks.next().expect("a ruleset before and after").to_owned();
    (next(), next())
}

#[test]
fn the_rewrite_of_the_documentation_is_what_nft_makes() {
    let (before, after) = documented();
    assert!(!diff(&before, &after).changes.is_empty());
    let Some(mut kernel) = kernel() else { return };
    let made = optimised(&before).unwrap();
    let found = diff(&made, &after);
    assert!(found.changes.is_empty() && found.regions == 0, "nft makes this of it:\n{made}");
    let (_, told) = confirm(&mut kernel, &before, &after);
    assert!(told > 0);
}
