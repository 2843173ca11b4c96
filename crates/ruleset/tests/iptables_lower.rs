//! What rules of iptables mean: each rule beside its lowered form, and how whole texts are put together.

use firewarden_diagnostic::{Diagnostic, FileId, Severity};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::dump::dump;
use firewarden_ruleset::lower::iptables::{LowerOptions, lower};
use firewarden_ruleset::syntax::{ipset, iptables};

/// A text and sets, lowered: the dump, and all diagnostics.
fn lowered(text: &str, sets: &str) -> (String, Vec<Diagnostic>) {
    let (save, mut diagnostics) = iptables::parse(FileId(0), text);
    let (sets, more) = ipset::parse(FileId(1), sets);
    diagnostics.extend(more);
    let mut atoms = AtomTable::default();
    let (ruleset, more) = lower(&[save], &[sets], &LowerOptions::default(), &mut atoms);
    diagnostics.extend(more);
    (dump(&ruleset, &atoms), diagnostics)
}

/// The rules of the first chain of the dump that has any.
fn rules(dump: &str) -> Vec<&str> {
    dump.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

#[track_caller]
fn check(table: &str, chain: &str, rule: &str, expected: &[&str]) {
    let text = format!("*{table}\n:x - [0:0]\n-A {chain} {rule}\nCOMMIT\n");
    let (dump, diagnostics) = lowered(&text, SETS);
    let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{rule}: {errors:?}");
    assert_eq!(rules(&dump), expected, "{rule}");
}

const SETS: &str = "\
create web hash:ip,port family inet hashsize 1024 maxelem 65536
add web 10.0.0.1,tcp:80
add web 10.0.0.2-10.0.0.5,udp:53
create nets hash:net family inet
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
add nets 10.1.2.0/24
create hosts hash:ip family inet
add hosts 192.0.2.1
create both list:set size 8
add both nets
add both hosts
create banned hash:ip timeout 60
create overlaps hash:net,port
add overlaps 10.0.0.0/8,tcp:80
add overlaps 10.1.0.0/16,tcp:80-90
create ports bitmap:port range 0-1024
add ports 22
create six hash:net family inet6
add six 2001:db8::/32
";

#[test]
fn the_rule_itself() {
    let filter = |rule: &str, expected: &[&str]| check("filter", "FORWARD", rule, expected);
    filter("-i lo -j ACCEPT", &["iifname \"lo\"; accept"]);
    filter("-i eth+ -o + -j DROP", &["iifname eth*; drop"]);
    filter(
        "! -s 10.0.0.0/8 -p tcp -j RETURN",
        &["saddr 0.0.0.0-9.255.255.255,11.0.0.0-255.255.255.255; meta l4proto tcp; return"],
    );
    filter("-s 10.0.0.0/9,10.128.0.0/9 -j x", &["saddr 10.0.0.0/8; jump x"]);
    filter("-d 10.0.0.1/255.0.255.0 -g x", &["daddr & 0xff00ff00 0xa000000; goto x"]);
    filter("-f -j DROP", &["ip frag-off not 0; drop"]);
    filter("-p all -m comment --comment \"a b\"", &[""]);
    filter("--protocol=udp --jump=ACCEPT", &["meta l4proto udp; accept"]);
}

#[test]
fn ports_and_flags() {
    let filter = |rule: &str, expected: &[&str]| check("filter", "INPUT", rule, expected);
    filter("-p tcp --dport ssh -j ACCEPT", &["meta l4proto tcp; dport 22; accept"]);
    filter("-p udp -m udp ! --sport 1024: -j DROP", &["meta l4proto udp; sport 0-1023; drop"]);
    filter("-p tcp -m multiport --dport 80,443 -j ACCEPT", &["meta l4proto tcp; dport 80,443; accept"]);
    filter(
        "-p tcp -m multiport --ports 80,1000:2000 -j ACCEPT",
        &[
            "meta l4proto tcp; sport 80,1000-2000; accept",
            "meta l4proto tcp; sport not 80,1000-2000; dport 80,1000-2000; accept",
        ],
    );
    filter("-p tcp --syn -j DROP", &["meta l4proto tcp; tcp flags !fin,syn,!rst,!ack; drop"]);
    filter("-p tcp -m tcp --tcp-flags SYN,ACK SYN -j DROP", &["meta l4proto tcp; tcp flags syn,!ack; drop"]);
    filter("-p icmp -m icmp --icmp-type echo-request -j ACCEPT", &["meta l4proto icmp; icmp type 8; accept"]);
    filter("-p icmp -m icmp --icmp-type any -j ACCEPT", &["meta l4proto icmp; accept"]);
    filter(
        "-p icmp -m icmp ! --icmp-type 3/4 -j DROP",
        &[
            "meta l4proto icmp; icmp type not 3; drop",
            "meta l4proto icmp; icmp type 3; icmp code not 4; drop",
        ],
    );
}

#[test]
fn connection_tracking() {
    let filter = |rule: &str, expected: &[&str]| check("filter", "INPUT", rule, expected);
    filter("-m state --state RELATED,ESTABLISHED -j ACCEPT", &["ct state established-related; accept"]);
    filter("-m conntrack ! --ctstate INVALID -j ACCEPT", &["ct state established-untracked; accept"]);
    filter("-m conntrack --ctstate DNAT -j ACCEPT", &["ct status dnat; accept"]);
    filter(
        "-m conntrack --ctstate NEW,DNAT -j ACCEPT",
        &["ct state new; accept", "ct state established-related; ct status dnat; accept"],
    );
    // Of a packet without a connection nothing but the state is asked.
    filter(
        "-m conntrack --ctstate NEW,UNTRACKED --ctproto 17 -j ACCEPT",
        &["ct state new; meta l4proto udp; accept", "ct state untracked; accept"],
    );
    filter("-m conntrack --ctstate INVALID --ctproto 17 -j DROP", &["ct state invalid; drop"]);
    filter(
        "-m conntrack ! --ctstate DNAT --ctdir REPLY -j DROP",
        &[
            "ct state established-new; ct status not dnat; ct direction not original; drop",
            "ct state invalid,untracked; drop",
        ],
    );
    filter(
        "-m conntrack --ctorigdstport 67 -j ACCEPT",
        &["ct state established-new; ct original proto-dst 67; accept"],
    );
    filter(
        "-p icmp -m conntrack ! --ctorigdstport 67 -j ACCEPT",
        &["meta l4proto icmp; ct state established-new; not <-m conntrack --ctorigdstport 67>; accept"],
    );
    filter(
        "-m conntrack --ctstate NEW --ctproto 17 --ctorigdstport 67 -j ACCEPT",
        &["ct state new; meta l4proto udp; ct original proto-dst 67; accept"],
    );
    filter("-m connmark ! --mark 2 -j DROP", &["ct state established-new; ct mark not 0x2; drop"]);
    // What a packet without a connection does not have: labels and helpers are none, bytes are asked of nothing.
    filter(
        "-m helper --helper sip -j ACCEPT",
        &["ct state established-new; <-m helper --helper sip>; accept"],
    );
    filter(
        "-m connlabel ! --label 40 -j ACCEPT",
        &[
            "ct state invalid,untracked; accept",
            "ct state established-new; not <-m connlabel --label 40>; accept",
        ],
    );
    filter(
        "-m connbytes ! --connbytes 200:600 --connbytes-dir both --connbytes-mode bytes -j DROP",
        &[
            "ct state established-new; <-m connbytes ! --connbytes 200:600 --connbytes-dir both --connbytes-mode bytes>; drop",
        ],
    );
    filter("-m mark --mark 0x1/0xff -j DROP", &["meta mark 0x1/0xff; drop"]);
}

#[test]
fn atoms_and_their_negation() {
    check(
        "filter",
        "OUTPUT",
        "-m owner ! --uid-owner 5 -j ACCEPT",
        &["not <-m owner --uid-owner 5>; accept"],
    );
    let input = |rule: &str, expected: &[&str]| check("filter", "INPUT", rule, expected);
    input("-m limit --limit 5/sec -j LOG --log-prefix \"x: \"", &["<-m limit --limit 5/sec>; log"]);
    input("-m recent --set --name x --rsource", &["neutral"]);
    input(
        "-m recent ! --update --seconds 60 --name x -j DROP",
        &["not <-m recent --update --seconds 60 --name x>; drop"],
    );
    input("-m ttl --ttl-lt 5 -j NFQUEUE --queue-num 3", &["ip ttl 0-4; verdict <-j NFQUEUE --queue-num 3>"]);
    input("-s foo.example.com -j DROP", &["<--source foo.example.com>; drop"]);
    input("-p esp -m esp --espspi : -j DROP", &["meta l4proto 50; drop"]);
    input("-m addrtype --dst-type LOCAL,BROADCAST -j DROP", &["fib daddr type local-broadcast; drop"]);
    input("-m tos --tos 0x10 -j DROP", &["ip dscp 4; ip ecn 0; drop"]);
}

#[test]
fn sets() {
    let input = |rule: &str, expected: &[&str]| check("filter", "INPUT", rule, expected);
    let nets = "@nets{10.0.0.0/16, 10.1.2.0/24, 10.2.0.0-10.255.255.255}";
    input(
        "-m set --match-set web src,dst -j ACCEPT",
        &["saddr . meta l4proto . dport in @web{10.0.0.1 . tcp . 80, 10.0.0.2-10.0.0.5 . udp . 53}; accept"],
    );
    input("-m set ! --match-set nets src -j DROP", &[&format!("saddr not in {nets}; drop")]);
    input(
        "-m set --match-set both dst -j DROP",
        &[
            &format!("daddr in {nets}; drop"),
            &format!("daddr not in {nets}; daddr in @hosts{{192.0.2.1}}; drop"),
        ],
    );
    input("-m set --match-set banned src -j DROP", &["<-m set --match-set banned src>; drop"]);
    input("-m set --match-set absent src -j DROP", &["<-m set --match-set absent src>; drop"]);
    input(
        "-m set --match-set overlaps src,dst -j DROP",
        &[
            "saddr . meta l4proto . dport in @overlaps{10.0.0.0/8 . tcp . 80, 10.1.0.0/16 . tcp . 81-90}; drop",
        ],
    );
    input(
        "-m set --match-set ports dst -j DROP",
        &["meta l4proto . dport in @ports{tcp . 22, udp . 22}; drop"],
    );
    // A set of the other IP version has no member among this table's packets.
    input("-m set --match-set six src -j DROP", &["meta l4proto nothing; drop"]);
}

#[test]
fn changes_to_packets() {
    let nat = |chain: &str, rule: &str, expected: &[&str]| check("nat", chain, rule, expected);
    nat(
        "PREROUTING",
        "-p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080",
        &["meta l4proto tcp; dport 80; dnat ip 10.0.0.1 port 8080"],
    );
    nat(
        "PREROUTING",
        "-d 192.0.2.0/24 -j NETMAP --to 10.0.0.0/24",
        &["daddr 192.0.2.0/24; dnat ip daddr & 0xff ^ 0xa000000"],
    );
    nat(
        "PREROUTING",
        "-p tcp -j REDIRECT --to-ports 3128",
        &["meta l4proto tcp; dnat ip redirect port 3128"],
    );
    nat("POSTROUTING", "-o wan -j MASQUERADE", &["oifname \"wan\"; snat ip masquerade"]);
    nat("POSTROUTING", "-j SNAT --to-source 192.0.2.1-192.0.2.9", &["snat ip choice 192.0.2.1-192.0.2.9"]);
    let mangle = |rule: &str, expected: &[&str]| check("mangle", "PREROUTING", rule, expected);
    mangle("-j MARK --set-xmark 0x1/0xff", &["meta mark := meta mark & 0xffffff00 ^ 0x1"]);
    mangle("-j MARK --set-mark 7", &["meta mark := 0x7"]);
    mangle("-j MARK --or-mark 4", &["meta mark := meta mark & 0xfffffffb ^ 0x4"]);
    mangle("-j CONNMARK --restore-mark", &["ct state established-new; meta mark := ct mark & 0xffffffff"]);
    mangle(
        "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xff",
        &["ct state established-new; ct mark := ct mark & 0xffffff00 ^ meta mark & 0xffffffff"],
    );
    mangle(
        "-j CONNMARK --set-xmark 0x1/0xff --left-shift-mark 3",
        &["ct state established-new; \
             opaque(ct mark := <-j CONNMARK --set-xmark 0x1/0xff --left-shift-mark 3>)"],
    );
    // Alternatives stay apart by their ports whatever the mark becomes.
    mangle(
        "-p udp -m multiport --ports 53 -m mark ! --mark 1 -j MARK --set-mark 2",
        &[
            "meta l4proto udp; sport 53; meta mark not 0x1; meta mark := 0x2",
            "meta l4proto udp; sport not 53; dport 53; meta mark not 0x1; meta mark := 0x2",
        ],
    );
    mangle("-j TOS --set-tos 0x10/0x3f", &["ip dscp := ip dscp & 0x30 ^ 0x4; ip ecn := 0"]);
    mangle("-j TTL --ttl-inc 1", &["opaque(ip ttl := <-j TTL --ttl-inc 1>)"]);
    check("raw", "PREROUTING", "-j CT --notrack", &["notrack"]);
    check(
        "filter",
        "INPUT",
        "-p tcp -j REJECT --reject-with tcp-reset",
        &["meta l4proto tcp; reject tcp-reset"],
    );
}

#[test]
fn a_rule_that_is_not_understood_stays() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m frobnicate --foo 3 -j DROP\n-A INPUT -j NOWHERE\n-A INPUT -p tcp --dprot 22 -j ACCEPT\nCOMMIT\n";
    let (dump, diagnostics) = lowered(text, "");
    assert_eq!(
        rules(&dump),
        [
            "<-m frobnicate>; <-A INPUT -m frobnicate --foo 3 -j DROP>; drop",
            "<-A INPUT -j NOWHERE>; verdict <-j NOWHERE>",
            "meta l4proto tcp; <-A INPUT -p tcp --dprot 22 -j ACCEPT>; accept",
        ]
    );
    assert_eq!(
        diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(),
        ["unknown-match", "unknown-option", "unknown-chain"]
    );
    assert_eq!(diagnostics[1].help.as_deref(), Some("did you mean `--dport`?"));
}

#[test]
fn jumps_in_a_circle_are_cut() {
    let text = "*filter\n:a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A a -g b\n-A b -j a\nCOMMIT\n";
    let (dump, diagnostics) = lowered(text, "");
    assert!(dump.contains("verdict <jump loop>"), "{dump}");
    assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["jump-loop"]);
}

#[test]
fn commands_are_carried_out() {
    let text = "\
sudo iptables -P INPUT DROP
iptables -N web
/sbin/iptables -A INPUT -p tcp --dport 80 \\
    -j web   # the shop
iptables -I INPUT -i lo -j ACCEPT
iptables -A INPUT -j LOG
iptables -D INPUT -j LOG
iptables -A web -j ACCEPT
iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
";
    let (dump, diagnostics) = lowered(text, "");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let wanted = "\
table Ip filter
  chain INPUT filter input 0 drop
    iifname \"lo\"; accept
    meta l4proto tcp; dport 80; jump web
  chain web
    accept
";
    assert!(dump.starts_with(wanted), "{dump}");
    assert!(dump.contains("table Ip nat") && dump.contains("table Ip6 filter"), "{dump}");
}

#[test]
fn commands_change_what_was_restored() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\niptables -A INPUT -p tcp --dport 22 -j ACCEPT\n";
    let (dump, diagnostics) = lowered(text, "");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert_eq!(rules(&dump), ["iifname \"lo\"; accept", "meta l4proto tcp; dport 22; accept"]);
}

#[test]
fn two_outputs_in_one_text() {
    let text = "\
# Generated by iptables-save v1.8.9 on Mon Jan  1 00:00:00 2024
*filter
:INPUT DROP [0:0]
[12:345] -A INPUT -s 10.0.0.1/32 -j ACCEPT
COMMIT
# Generated by ip6tables-save v1.8.9 on Mon Jan  1 00:00:00 2024
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j DROP
COMMIT
";
    let (dump, diagnostics) = lowered(text, "");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert!(
        dump.contains("table Ip filter\n  chain INPUT filter input 0 drop\n    saddr 10.0.0.1; accept"),
        "{dump}"
    );
    assert!(dump.contains("table Ip6 filter\n  chain INPUT filter input 0 accept\n    drop"), "{dump}");
    let (save, _) = iptables::parse(FileId(0), text);
    assert_eq!(save.rules[0].counters, Some((12, 345)));
    assert_eq!(save.rules[0].at.raw(text), "[12:345] -A INPUT -s 10.0.0.1/32 -j ACCEPT");
}

#[test]
fn a_table_that_is_there_twice_is_no_answer() {
    let pasted = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";
    // The second counts for IPv4, too, and the first for IPv4 alone.
    let part = "*filter\n-A INPUT -p icmp -j ACCEPT\nCOMMIT\n*filter\n-4 -A INPUT -j DROP\n-6 -A INPUT -j DROP\nCOMMIT\n";
    for text in [pasted, part] {
        let (_, diagnostics) = lowered(text, "");
        let found = diagnostics.iter().find(|found| found.code == "repeated-table").unwrap();
        assert_eq!(found.severity, Severity::Error, "{text}");
        assert_eq!(found.labels.len(), 2);
        assert!(found.help.as_ref().unwrap().contains("# Generated by ip6tables-save"));
    }
}

#[test]
fn one_text_for_both_versions() {
    let text = "*filter\n-4 -A INPUT -p icmp -j ACCEPT\n-6 -A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n";
    let (dump, diagnostics) = lowered(text, "");
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert_eq!(rules(&dump), ["meta l4proto icmp; accept", "drop", "meta l4proto icmpv6; accept", "drop"]);
}

#[test]
fn bad_texts_are_told_with_a_place_and_a_remedy() {
    for (text, code) in [
        ("*fliter\nCOMMIT\n", "unknown-table"),
        ("*filter\n-A INPUT -s 10.0.0.300 -j ACCEPT\nCOMMIT\n", "bad-value"),
        ("*filter\n-A INPUT -s ${NET} -j ACCEPT\nCOMMIT\n", "template"),
        ("*filter\n-A INPUT -m comment --comment \"x -j ACCEPT\nCOMMIT\n", "open-quote"),
        ("*filter\n-A INPUT -s 10.0.0.1 -d ::1 -j ACCEPT\nCOMMIT\n", "wrong-family"),
        ("*filter\n-A INPUT -j ACCEPT\n", "missing-commit"),
        ("-A INPUT --dport 22 -j ACCEPT\n", "unknown-option"),
        ("hello\n", "unknown-line"),
        ("\u{0}\u{1}PNG\n", "unknown-line"),
        ("*filter\n:INPUT DENY [0:0]\nCOMMIT\n", "bad-policy"),
        ("*filter\n-A INPUT -j DROP -s\nCOMMIT\n", "missing-value"),
        ("*nat\n-A PREROUTING -j MASQUERADE\nCOMMIT\n", "wrong-chain"),
    ] {
        let (_, diagnostics) = lowered(text, "");
        let found = diagnostics.iter().find(|d| d.code == code);
        let found = found.unwrap_or_else(|| panic!("{text}: {diagnostics:?}"));
        assert!(found.span().is_some() && found.help.is_some(), "{found:?}");
    }
}
