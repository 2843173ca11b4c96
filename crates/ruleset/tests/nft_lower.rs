//! nft text and the statements it lowers to, as one table: what is written on the left is the rule, below it the
//! compact dump of its lowered form.

use firewarden_diagnostic::{Diagnostic, Severity, SourceMap};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Ruleset, dump};
use firewarden_ruleset::lower::nft::{LowerOptions, lower};
use firewarden_ruleset::syntax::nft::text::{NoIncludes, parse};

fn lowered(text: &str) -> (Ruleset, AtomTable, Vec<Diagnostic>) {
    let mut sources = SourceMap::default();
    let file = sources.add("test.nft", text);
    let (script, mut diagnostics) = parse(file, text, &mut NoIncludes);
    let mut atoms = AtomTable::default();
    let (ruleset, more) = lower(vec![script], &LowerOptions { scope: "host" }, &mut atoms);
    diagnostics.extend(more);
    (ruleset, atoms, diagnostics)
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| format!("{}: {}", diagnostic.code, diagnostic.message))
        .collect()
}

/// The dump of the rules of one chain, one line for each.
fn rules(text: &str) -> String {
    let (ruleset, atoms, diagnostics) = lowered(text);
    let chain = ruleset.chains.iter().find(|chain| &*chain.name == "c").expect("a chain `c`");
    let mut lines: Vec<String> =
        chain.rules.iter().map(|rule| dump::dump_rule(rule, &ruleset, &atoms)).collect();
    lines.extend(errors(&diagnostics).into_iter().map(|error| format!("! {error}")));
    lines.join("\n")
}

/// A table of a family with a chain `c` on a hook, and what else the table holds.
fn in_chain(family: &str, kind: &str, hook: &str, rest: &str, rule: &str) -> String {
    format!(
        "table {family} t {{\n {rest}\n chain other {{ }}\n chain c {{ type {kind} hook {hook} priority 0;\n {rule}\n }}\n}}\n"
    )
}

fn check_all(family: &str, kind: &str, hook: &str, rest: &str, cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (rule, expected) in cases {
        let found = rules(&in_chain(family, kind, hook, rest, rule));
        if found != *expected {
            wrong.push_str(&format!("\n{rule}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn tests_of_fields() {
    check_all(
        "inet",
        "filter",
        "input",
        "",
        &[
            ("tcp dport 22 accept", "meta l4proto tcp; dport 22; accept"),
            (
                "tcp dport ssh tcp sport 1024-65535 accept",
                "meta l4proto tcp; dport 22; sport not 0-1023; accept",
            ),
            ("tcp dport != 22", "meta l4proto tcp; dport not 22"),
            ("tcp dport { 80, 443, 8000-8010 } accept", "meta l4proto tcp; dport 80,443,8000-8010; accept"),
            ("udp dport < 1024 drop", "meta l4proto udp; dport 0-1023; drop"),
            ("udp dport >= 1024 drop", "meta l4proto udp; dport not 0-1023; drop"),
            ("th dport 53", "dport 53"),
            ("@th,16,16 53", "dport 53"),
            ("meta l4proto { tcp, udp } th dport 53 accept", "meta l4proto tcp,udp; dport 53; accept"),
            (
                "ip saddr 10.0.0.0/8 tcp dport 22 accept",
                "meta nfproto ipv4; saddr 10.0.0.0/8; meta l4proto tcp; dport 22; accept",
            ),
            (
                "ip saddr != { 10.0.0.0/8, 192.168.0.0/16 } drop",
                "meta nfproto ipv4; saddr not 10.0.0.0/8,192.168.0.0/16; drop",
            ),
            (
                "ip saddr 10.0.0.5-10.0.0.9 ip daddr 10.1.1.1",
                "meta nfproto ipv4; saddr 10.0.0.5-10.0.0.9; daddr 10.1.1.1",
            ),
            ("ip saddr & 255.255.0.0 == 10.1.0.0", "meta nfproto ipv4; saddr 10.1.0.0/16"),
            ("ip saddr & 255.255.0.255 == 10.0.0.5", "meta nfproto ipv4; saddr & 0xffff00ff 0xa000005"),
            ("ip saddr & 0.0.0.255 < 127", "meta nfproto ipv4; saddr & 0xff 0x0-0x7e"),
            ("ip6 saddr fe80::/10 accept", "meta nfproto ipv6; saddr fe80::/10; accept"),
            ("meta nfproto ipv4 ip saddr 1.2.3.4", "meta nfproto ipv4; saddr 1.2.3.4"),
            ("meta nfproto ipv6 tcp dport 22", "meta nfproto ipv6; meta l4proto tcp; dport 22"),
            ("ip protocol tcp tcp dport 22", "meta nfproto ipv4; meta l4proto tcp; dport 22"),
            ("ip protocol { icmp, udp } accept", "meta nfproto ipv4; meta l4proto icmp,udp; accept"),
            ("ip6 nexthdr icmpv6 accept", "meta nfproto ipv6; meta l4proto icmpv6; accept"),
            ("meta protocol ip accept", "meta nfproto ipv4; accept"),
            ("ether type ip6 accept", "meta nfproto ipv6; accept"),
            ("ether type arp accept", "meta nfproto nothing; accept"),
            ("icmp type echo-request accept", "meta nfproto ipv4; meta l4proto icmp; icmp type 8; accept"),
            (
                "icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept",
                "meta nfproto ipv6; meta l4proto icmpv6; icmp type 134-135; accept",
            ),
            (
                "meta nfproto ipv6 icmpv6 type 1 icmpv6 code no-route",
                "meta nfproto ipv6; meta l4proto icmpv6; icmp type 1; icmp code 0",
            ),
            ("iif lo accept", "iifname \"lo\"; accept"),
            ("iif 1 accept", "iifname \"lo\"; accept"),
            ("meta iiftype loopback accept", "iifname \"lo\"; accept"),
            ("iifname \"eth*\" accept", "iifname eth*; accept"),
            (
                "iifname { \"eth0\", \"wg*\" } oifname != \"lo\" accept",
                "iifname \"eth0\",wg*; oifname not \"lo\"; accept",
            ),
            ("meta length > 1000 drop", "meta length not 0-1000; drop"),
            ("ip ttl 1 drop", "meta nfproto ipv4; ip ttl 1; drop"),
            ("ip6 hoplimit != 255 drop", "meta nfproto ipv6; ip ttl 0-254; drop"),
            ("ip dscp cs1", "meta nfproto ipv4; ip dscp 8"),
            ("ip frag-off & 0x1fff != 0 drop", "meta nfproto ipv4; ip frag-off not 0; drop"),
            ("ip frag-off & 0x2000 != 0 drop", "meta nfproto ipv4; not <ip frag-off & 8192 0>; drop"),
            ("meta pkttype { broadcast, multicast } drop", "meta pkttype broadcast-multicast; drop"),
            ("ether saddr 00:0f:54:0c:11:04 accept", "ether saddr 0xf540c1104; accept"),
        ],
    );
}

/// The most frequent mistake with nft: a bare flag is a bit test, an operator or a set is exact.
#[test]
fn flags_states_and_marks() {
    check_all(
        "inet",
        "filter",
        "input",
        "",
        &[
            ("tcp flags syn", "meta l4proto tcp; tcp flags not !syn"),
            ("tcp flags syn,ack", "meta l4proto tcp; tcp flags not !syn,!ack"),
            ("tcp flags == syn", "meta l4proto tcp; tcp flags !fin,syn,!rst,!psh,!ack,!urg,!ecn,!cwr"),
            ("tcp flags != syn", "meta l4proto tcp; tcp flags not !fin,syn,!rst,!psh,!ack,!urg,!ecn,!cwr"),
            ("tcp flags ! syn", "meta l4proto tcp; tcp flags !syn"),
            (
                "tcp flags { syn, ack }",
                "meta l4proto tcp; tcp flags !fin,syn,!rst,!psh,!ack,!urg,!ecn,!cwr | !fin,!syn,!rst,!psh,ack,!urg,!ecn,!cwr",
            ),
            (
                "tcp flags { syn, syn | ack }",
                "meta l4proto tcp; tcp flags !fin,syn,!rst,!psh,!ack,!urg,!ecn,!cwr | !fin,syn,!rst,!psh,ack,!urg,!ecn,!cwr",
            ),
            ("tcp flags & (fin|syn|rst|ack) == syn", "meta l4proto tcp; tcp flags !fin,syn,!rst,!ack"),
            ("tcp flags & (fin|syn|rst|ack) syn", "meta l4proto tcp; tcp flags !fin,syn,!rst,!ack"),
            ("tcp flags syn / fin,syn,rst,ack", "meta l4proto tcp; tcp flags !fin,syn,!rst,!ack"),
            ("tcp flags != syn / fin,syn", "meta l4proto tcp; tcp flags not !fin,syn"),
            ("tcp flags & (syn | ack) != 0", "meta l4proto tcp; tcp flags not !syn,!ack"),
            ("tcp flags & syn == 0", "meta l4proto tcp; tcp flags !syn"),
            ("tcp flags & (fin | syn) == { fin, syn }", "meta l4proto tcp; tcp flags fin,!syn | !fin,syn"),
            ("ct state established,related accept", "ct state established-related; accept"),
            ("ct state { established, related } accept", "ct state established-related; accept"),
            ("ct state != { established, related } drop", "ct state invalid,new-untracked; drop"),
            ("ct state invalid drop", "ct state invalid; drop"),
            ("ct state 8 accept", "ct state new; accept"),
            ("ct state != new drop", "ct state invalid-related,untracked; drop"),
            ("ct state != established,related drop", "ct state invalid-untracked; drop"),
            ("ct state ! established,related drop", "ct state invalid,new-untracked; drop"),
            ("ct state == established,related drop", "ct state nothing; drop"),
            ("ct status dnat accept", "ct status not !dnat; accept"),
            ("ct status ! dnat accept", "ct status !dnat; accept"),
            ("ct status { snat, dnat }", "ct status 0x10 | 0x20"),
            ("ct direction reply accept", "ct direction not original; accept"),
            ("meta mark 0x10", "meta mark 0x10"),
            ("meta mark != 0x10", "meta mark not 0x10"),
            ("meta mark & 0xff == 0x10", "meta mark 0x10/0xff"),
            ("meta mark and 0x0f != 0", "meta mark not 0x0/0xf"),
            ("meta mark 16-47", "meta mark 0x10/0xfffffff0 | 0x20/0xfffffff0"),
            ("meta mark 0xffffff00/24", "meta mark 0xffffff00/0xffffff00"),
            ("meta mark xor 0x3 == 0x1", "meta mark 0x2"),
            ("meta mark or 0x3 == 0x1", "meta mark nothing"),
            ("meta mark >> 8 == 1", "meta mark 0x100/0xffffff00"),
            ("ct mark { 1, 2 }", "ct mark 0x1 | 0x2"),
            (
                "ct mark & 0xff > 10",
                "ct mark 0xb/0xff | 0xc/0xfc | 0x10/0xf0 | 0x20/0xe0 | 0x40/0xc0 | 0x80/0x80",
            ),
            ("ct original ip saddr 1.2.3.4", "meta nfproto ipv4; ct original saddr 1.2.3.4"),
        ],
    );
}

#[test]
fn opaque_conditions() {
    check_all(
        "inet",
        "filter",
        "input",
        "",
        &[
            ("limit rate 5/second accept", "<limit rate 5/second>; accept"),
            (
                "limit rate over 5/minute burst 10 packets drop",
                "not <limit rate 5/minute burst 10 packets>; drop",
            ),
            ("quota over 25 mbytes drop", "not <quota 26214400 bytes>; drop"),
            ("ct count over 3 drop", "not <ct count 3>; drop"),
            ("meta skuid 0 accept", "<meta skuid 0>; accept"),
            ("meta skuid != 0 accept", "not <meta skuid 0>; accept"),
            ("meta skuid > 999 accept", "not <meta skuid 0-999>; accept"),
            ("meta skuid < 1000 accept", "<meta skuid 0-999>; accept"),
            ("meta skuid \"www-data\" accept", "<meta skuid www-data>; accept"),
            ("meta hour \"17:00\"-\"19:00\" accept", "<meta hour 17:00-19:00>; accept"),
            ("meta day { Saturday, Sunday } drop", "<meta day { Sunday, Saturday }>; drop"),
            ("socket transparent 1 accept", "<socket transparent exists>; accept"),
            ("tcp option maxseg size 1-500 drop", "meta l4proto tcp; <tcp option maxseg size 1-500>; drop"),
            ("vlan id 5 accept", "<vlan id 5>; accept"),
            // Without a connection the rule ends, whichever way it asks.
            ("ct helper \"ftp\" accept", "ct state established-new; <ct helper ftp>; accept"),
            ("ct helper != \"ftp\" accept", "ct state established-new; not <ct helper ftp>; accept"),
            (
                "ct reply ip saddr 192.0.2.1 accept",
                "meta nfproto ipv4; ct state established-new; <ct reply ip saddr 192.0.2.1>; accept",
            ),
            ("exthdr frag exists drop", "meta nfproto ipv6; <exthdr frag exists>; drop"),
            ("queue num 2", "verdict <queue to 2>"),
            ("meta random > 1000 drop", "not <meta random < 1001>; drop"),
            (
                "ip saddr . meta skuid { 1.1.1.1 . 0 } accept",
                "meta nfproto ipv4; saddr . <meta skuid> in @{1.1.1.1 . 0}; accept",
            ),
        ],
    );
}

#[test]
fn routes() {
    check_all(
        "inet",
        "filter",
        "prerouting",
        "",
        &[
            ("fib daddr type local accept", "fib daddr type local; accept"),
            ("fib saddr type != unicast drop", "fib saddr type not unicast; drop"),
            ("fib saddr . iif oif missing drop", "fib saddr . iif oif 0; drop"),
            ("fib saddr . iif oif exists accept", "fib saddr . iif oif not 0; accept"),
            ("fib saddr . iif oif eq 0 drop", "fib saddr . iif oif 0; drop"),
            ("fib saddr . iif oif != 0 accept", "fib saddr . iif oif not 0; accept"),
            ("fib daddr . iif type local accept", "<fib daddr . iif type local>; accept"),
            ("fib daddr oif exists", "<fib daddr oif exists>"),
        ],
    );
}

#[test]
fn verdicts_and_effects() {
    let rest = "chain x { }\n counter hits { }\n limit slow { rate 1/second }\n";
    check_all(
        "inet",
        "filter",
        "input",
        rest,
        &[
            ("counter log prefix \"x\" drop", "counter; log; drop"),
            ("jump x", "jump x"),
            ("tcp dport 1 goto x", "meta l4proto tcp; dport 1; goto x"),
            (
                "tcp dport 2 jump { ip saddr 1.1.1.1 accept\n drop\n }",
                "meta l4proto tcp; dport 2; jump { meta nfproto ipv4; saddr 1.1.1.1; accept / drop }",
            ),
            ("continue", "continue"),
            ("return", "return"),
            ("reject", "reject icmp"),
            ("reject with tcp reset", "meta l4proto tcp; reject tcp-reset"),
            ("reject with icmp host-unreachable", "meta nfproto ipv4; reject icmp"),
            ("reject with icmpx admin-prohibited", "reject icmp"),
            ("counter name hits accept", "counter; accept"),
            ("limit name slow accept", "<limit slow>; accept"),
            ("notrack", "notrack"),
            ("meta mark set 0x10", "meta mark := 0x10"),
            ("meta mark set mark and 0xff", "meta mark := meta mark & 0xff"),
            ("meta mark set meta mark or 0x10", "meta mark := meta mark & 0xffffffef ^ 0x10"),
            ("meta mark set mark and 0xffff0000 xor 0x55", "meta mark := meta mark & 0xffff0000 ^ 0x55"),
            ("meta mark set ct mark", "meta mark := ct mark & 0xffffffff"),
            ("ct mark set meta mark", "ct mark := meta mark & 0xffffffff"),
            ("ct mark set (meta mark | 0x10) << 8", "ct mark := choice any"),
            (
                "meta mark set ip saddr map { 1.1.1.1 : 1, 2.2.2.0/24 : 2 }",
                "meta nfproto ipv4; meta mark := saddr map @{1.1.1.1: 0x1, 2.2.2.0/24: 0x2}",
            ),
            ("meta mark set numgen inc mod 4", "meta mark := choice 0x0-0x3"),
            ("ip ttl set 64", "meta nfproto ipv4; ip ttl := 64"),
            ("ip6 hoplimit set 64", "meta nfproto ipv6; ip ttl := 64"),
            ("ip dscp set af23", "meta nfproto ipv4; ip dscp := 22"),
            ("tcp option maxseg size set rt mtu", "meta l4proto tcp; neutral"),
            ("meta priority set 1:10", "neutral"),
            ("synproxy mss 1460", "meta l4proto tcp; verdict <synproxy>"),
        ],
    );
}

#[test]
fn sets_and_maps() {
    let rest = "\
        set hosts { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1 } }\n\
        set banned { type ipv4_addr; flags dynamic, timeout; timeout 1h; }\n\
        set pairs { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80, 10.0.0.2 . 443 } }\n\
        set states { type ct_state; elements = { new, related } }\n\
        set ifs { type ifname; elements = { eth0, wg0 } }\n\
        map dispatch { type inet_service : verdict; elements = { 22 : accept, 80 : jump other } }\n\
        map marks { type ipv4_addr : mark; elements = { 10.0.0.1 : 7 } }\n";
    check_all(
        "inet",
        "filter",
        "input",
        rest,
        &[
            ("ip saddr @hosts accept", "meta nfproto ipv4; saddr in @hosts{10.0.0.0/8, 192.168.1.1}; accept"),
            (
                "ip saddr != @hosts drop",
                "meta nfproto ipv4; saddr not in @hosts{10.0.0.0/8, 192.168.1.1}; drop",
            ),
            ("ip saddr & 255.255.255.0 == @hosts drop", "meta nfproto ipv4; saddr 10.0.0.0/8; drop"),
            ("ip saddr @banned drop", "meta nfproto ipv4; <ip saddr @banned in table inet t>; drop"),
            (
                "ip saddr != @banned accept",
                "meta nfproto ipv4; not <ip saddr @banned in table inet t>; accept",
            ),
            (
                "ip saddr . tcp dport @pairs accept",
                "meta nfproto ipv4; meta l4proto tcp; saddr . dport in @pairs{10.0.0.1 . 80, 10.0.0.2 . 443}; accept",
            ),
            (
                "ip saddr . tcp dport { 10.0.0.0/8 . 22, 10.0.0.1-10.0.0.9 . 80-90 } accept",
                "meta nfproto ipv4; meta l4proto tcp; saddr . dport in @{10.0.0.0/8 . 22, 10.0.0.1-10.0.0.9 . 80-90}; accept",
            ),
            (
                "ip saddr . tcp dport != { 10.0.0.1 . 22 } drop",
                "meta nfproto ipv4; meta l4proto tcp; saddr . dport not in @{10.0.0.1 . 22}; drop",
            ),
            ("ct state @states accept", "ct state in @states{related, new}; accept"),
            ("iifname @ifs accept", "iifname in @ifs{\"eth0\", \"wg0\"}; accept"),
            ("add @banned { ip saddr }", "meta nfproto ipv4; neutral"),
            (
                "update @banned { ip saddr limit rate over 10/second } drop",
                "meta nfproto ipv4; not <@banned { ip saddr } limit rate 10/second>; drop",
            ),
            (
                "tcp dport vmap @dispatch",
                "meta l4proto tcp; dport vmap @dispatch{22: accept, 80: jump other}",
            ),
            (
                "tcp dport vmap { 22 : accept, 23-25 : drop }",
                "meta l4proto tcp; dport vmap @{22: accept, 23-25: drop}",
            ),
            (
                "ip saddr vmap { 1.1.1.1 : drop, * : accept }",
                "meta nfproto ipv4; saddr vmap @{0.0.0.0-1.1.1.0: accept, 1.1.1.1: drop, 1.1.1.2-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff: accept}",
            ),
            (
                "ct state vmap { established : accept, invalid : drop }",
                "ct state vmap @{invalid: drop, established: accept}",
            ),
            (
                "meta l4proto . th dport vmap { tcp . 22 : accept, udp . 53 : jump other }",
                "meta l4proto . dport vmap @{tcp . 22: accept, udp . 53: jump other}",
            ),
            (
                "iifname . ip saddr vmap { \"eth0\" . 1.1.1.1 : accept }",
                "meta nfproto ipv4; iifname . saddr vmap @{\"eth0\" . 1.1.1.1: accept}",
            ),
            (
                "meta mark set ip saddr map @marks",
                "meta nfproto ipv4; meta mark := saddr map @marks{10.0.0.1: 0x7}",
            ),
            (
                "numgen random mod 2 vmap { 0 : accept, 1 : drop }",
                "<numgen random mod 2> vmap @{0: accept, 1: drop}",
            ),
            (
                "meta protocol vmap { ip : jump other, ip6 : drop }",
                "meta nfproto vmap @{ipv4: jump other, ipv6: drop}",
            ),
        ],
    );
}

#[test]
fn translation() {
    check_all(
        "inet",
        "nat",
        "prerouting",
        "",
        &[
            ("tcp dport 80 redirect to :8080", "meta l4proto tcp; dport 80; dnat redirect port 8080"),
            ("tcp dport 443 dnat ip to 192.168.3.2", "meta l4proto tcp; dport 443; dnat ip 192.168.3.2"),
            (
                "tcp dport 443 dnat ip6 to [dead::beef]:4443",
                "meta l4proto tcp; dport 443; dnat ip6 dead::beef port 4443",
            ),
            (
                "ip daddr 1.1.1.1 tcp dport 81 dnat to 192.168.3.2:8080-8999",
                "meta nfproto ipv4; daddr 1.1.1.1; meta l4proto tcp; dport 81; dnat ip 192.168.3.2 port choice 8080-8999",
            ),
            ("meta l4proto tcp dnat to :80", "meta l4proto tcp; dnat keep port 80"),
            (
                "ip daddr 1.1.1.1 dnat to 10.0.0.1-10.0.0.4",
                "meta nfproto ipv4; daddr 1.1.1.1; dnat ip choice 10.0.0.1-10.0.0.4",
            ),
            (
                "dnat ip prefix to ip daddr map { 10.141.11.0/24 : 192.168.2.0/24 }",
                "meta nfproto ipv4; dnat ip daddr map @{10.141.11.0/24: daddr & 0xff ^ 0xc0a80200}",
            ),
            (
                "dnat ip to ip saddr . tcp dport map { 192.168.1.2 . 80 : 10.141.10.2 . 8888 }",
                "meta nfproto ipv4; meta l4proto tcp; dnat ip saddr . dport map @{192.168.1.2 . 80: 0xa8d0a02 . 0x22b8} port saddr . dport map @{192.168.1.2 . 80: 0xa8d0a02 . 0x22b8} part 1",
            ),
            (
                "ip saddr 1.1.1.1 dnat to numgen inc mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }",
                "meta nfproto ipv4; saddr 1.1.1.1; dnat ip <numgen inc mod 2> map @{0: 0xa000001, 1: 0xa000002}",
            ),
            (
                "redirect to :tcp dport map { 22 : 8000, 80 : 8080 }",
                "meta l4proto tcp; dnat redirect port dport map @{22: 0x1f40, 80: 0x1f90}",
            ),
        ],
    );
    check_all(
        "ip",
        "nat",
        "postrouting",
        "",
        &[
            ("oifname \"wan\" masquerade", "oifname \"wan\"; snat ip masquerade"),
            (
                "ip saddr 10.0.0.0/8 masquerade random",
                "saddr 10.0.0.0/8; snat ip masquerade port choice 1-65535",
            ),
            (
                "ip protocol 6 masquerade to :1024-2048",
                "meta l4proto tcp; snat ip masquerade port choice 1024-2048",
            ),
            ("ip saddr 10.0.0.0/8 snat to 203.0.113.1", "saddr 10.0.0.0/8; snat ip 203.0.113.1"),
            ("snat to 192.168.3.0/24", "snat ip choice 192.168.3.0/24"),
            ("snat prefix to 192.0.2.0/24", "snat ip saddr & 0xff ^ 0xc0000200"),
        ],
    );
}

#[test]
fn what_nft_refuses() {
    check_all(
        "inet",
        "filter",
        "input",
        "set s { type ipv6_addr; }",
        &[
            (
                "ip saddr 1.1.1.1 ip6 saddr ::1 accept",
                "meta nfproto ipv4; saddr 1.1.1.1; <ip6 saddr …>; accept\n! conflicting-protocols: conflicting protocols: ip and ip6",
            ),
            (
                "tcp dport 1 udp dport 2 accept",
                "meta l4proto tcp; dport 1; <udp dport …>; accept\n! conflicting-protocols: conflicting protocols: tcp and udp",
            ),
            (
                "meta l4proto { tcp, udp } tcp dport 2 accept",
                "meta l4proto tcp,udp; <tcp dport …>; accept\n! conflicting-protocols: conflicting protocols: several transport protocols and tcp",
            ),
            (
                "tcp dport htttp accept",
                "meta l4proto tcp; <tcp dport …>; accept\n! unknown-symbol: `htttp` is not a value of type inet_service",
            ),
            (
                "tcp dport 65536 accept",
                "meta l4proto tcp; <tcp dport …>; accept\n! out-of-range: the value 65536 is out of range for inet_service",
            ),
            (
                "ip saddr ::1 accept",
                "meta nfproto ipv4; <ip saddr …>; accept\n! wrong-type: an IPv6 address can't be used as ipv4_addr",
            ),
            (
                "ip saddr 10.0.0.0/33 accept",
                "meta nfproto ipv4; <ip saddr …>; accept\n! bad-prefix: the prefix length 33 is more than the 32 bits of ipv4_addr",
            ),
            ("ip saddr @s accept", "<ip saddr …>; accept\n! wrong-type: `@s` holds ipv6_addr, not ipv4_addr"),
            ("ip saddr @t accept", "<ip saddr …>; accept\n! unknown-set: the table `t` has no set `t`"),
            (
                "ct state estabilshed accept",
                "<ct state …>; accept\n! unknown-symbol: `estabilshed` is not a value of type ct_state",
            ),
            ("jump othr", "verdict <statement …>\n! unknown-chain: the table `t` has no chain `othr`"),
            (
                "jump c",
                "verdict <statement …>\n! jump-to-base-chain: `c` is called by the kernel and can't be jumped to",
            ),
            ("accept counter", "accept\n! statement-after-end: this statement is never reached"),
            (
                "masquerade",
                "snat masquerade\n! wrong-hook: `masquerade` works in nat chains on postrouting only",
            ),
            (
                "meta l4proto udp reject with tcp reset",
                "meta l4proto udp; verdict <statement …>\n! conflicting-protocols: a TCP reset can't answer a packet of udp",
            ),
            (
                "ip saddr vmap { 10.0.0.0/8 : accept, 10.0.0.1 : drop }",
                "meta nfproto ipv4; saddr vmap @{10.0.0.0/8: accept}\n! overlapping-elements: two elements overlap",
            ),
            (
                "meta mark set { 1, 2 }",
                "<meta mark set { 1, 2 }>; verdict <meta mark set { 1, 2 }>\n! syntax: expected a value or an expression, found `{`",
            ),
            (
                "tcp dport 90-80 accept",
                "meta l4proto tcp; <tcp dport …>; accept\n! empty-range: the range ends before it begins",
            ),
        ],
    );
}

fn first_error(text: &str) -> String {
    errors(&lowered(text).2).into_iter().next().unwrap_or_default()
}

#[test]
fn jumps_that_make_a_loop_are_cut() {
    let text = "table ip t {\n chain c { type filter hook input priority 0\n jump a\n }\n chain a {\n jump b\n }\n chain b {\n tcp dport vmap { 1 : goto a }\n }\n}\n";
    assert_eq!(first_error(text), "jump-loop: jumps form a loop: `a` → `b` → `a`");
    let (ruleset, atoms, _) = lowered(text);
    assert!(dump::dump(&ruleset, &atoms).contains("1: verdict <a jump that can't be>"));
    let mut deep = String::from("table ip t {\n chain c { type filter hook input priority 0\n jump c0\n }\n");
    for number in 0..20 {
        deep.push_str(&format!(" chain c{number} {{\n jump c{}\n }}\n", number + 1));
    }
    deep.push_str(" chain c20 {\n }\n}\n");
    assert_eq!(first_error(&deep), "jump-too-deep: jumps are nested more than 16 chains deep");
}

#[test]
fn commands_run_in_order() {
    let text = "\
table inet old {
 chain c {
 }
}
flush ruleset
add table inet t
add chain inet t c { type filter hook input priority filter - 5; policy drop; }
add rule inet t c tcp dport 1 accept
add rule inet t c tcp dport 2 accept
insert rule inet t c tcp dport 3 accept
add rule inet t c index 0 tcp dport 4 accept
insert rule inet t c index 1 tcp dport 5 accept
delete rule inet t c index 4
add set inet t s { type ipv4_addr; elements = { 1.1.1.1, 2.2.2.2 }; }
add element inet t s { 3.3.3.3 }
delete element inet t s { 1.1.1.1 }
add rule inet t c ip saddr @s drop
table inet t {
 chain c {
  udp dport 9 accept
 }
 chain d {
 }
}
rename chain inet t d e
delete chain inet t e
";
    let (ruleset, atoms, diagnostics) = lowered(text);
    assert_eq!(errors(&diagnostics), Vec::<String>::new());
    assert_eq!(
        dump::dump(&ruleset, &atoms),
        "\
table Inet t
  chain c filter input -5 drop
    meta l4proto tcp; dport 3; accept
    meta l4proto tcp; dport 5; accept
    meta l4proto tcp; dport 4; accept
    meta l4proto tcp; dport 1; accept
    meta nfproto ipv4; saddr in @s{2.2.2.2, 3.3.3.3}; drop
    meta l4proto udp; dport 9; accept
"
    );
}

#[test]
fn priorities_by_name() {
    for (family, hook, name, number) in [
        ("ip", "prerouting", "raw", -300),
        ("inet", "output", "mangle + 5", -145),
        ("ip6", "prerouting", "dstnat", -100),
        ("inet", "input", "security", 50),
        ("ip", "postrouting", "srcnat", 100),
        ("bridge", "prerouting", "dstnat", -300),
        ("bridge", "forward", "filter", -200),
        ("bridge", "output", "out", 100),
        ("bridge", "postrouting", "srcnat", 300),
    ] {
        let text =
            format!("table {family} t {{\n chain c {{ type filter hook {hook} priority {name}; }}\n}}\n");
        let (ruleset, _, diagnostics) = lowered(&text);
        assert_eq!(errors(&diagnostics), Vec::<String>::new(), "{text}");
        assert_eq!(ruleset.chains[0].base.as_ref().unwrap().priority, number, "{text}");
    }
    let wrong = "table ip t {\n chain c { type filter hook input priority srcnat - 1; }\n}\n";
    assert_eq!(first_error(wrong), "");
    let wrong = "table ip t {\n chain c { type filter hook forward priority dstnat; }\n}\n";
    assert!(first_error(wrong).starts_with("unknown-priority"));
    let wrong = "table ip t {\n chain c { type nat hook forward priority 0; }\n}\n";
    assert!(first_error(wrong).starts_with("wrong-hook"));
}

#[test]
fn pure_atoms_are_shared_and_stateful_ones_are_not() {
    let (ruleset, atoms, _) = lowered(
        "table ip t {\n chain c { type filter hook output priority 0\n meta skuid 0 accept\n meta skuid != 0 drop\n limit rate 1/second accept\n limit rate 1/second accept\n }\n}\n",
    );
    let kinds: Vec<&str> = atoms.iter().map(|(_, info)| &*info.kind).collect();
    assert_eq!(kinds, ["owner", "limit", "limit"], "{}", dump::dump(&ruleset, &atoms));
}

/// Prints times; run it in release to see what they are.
#[test]
fn large_inputs_take_linear_time() {
    use std::fmt::Write;
    use std::time::Instant;
    let count = if cfg!(debug_assertions) { 20_000u32 } else { 100_000 };
    let mut text =
        String::from("table inet t {\n set s {\n  type ipv4_addr\n  flags interval\n  elements = { ");
    for number in 0..count {
        let _ = write!(text, "10.{}.{}.{}/31, ", number >> 15, number >> 7 & 255, number << 1 & 255);
    }
    text.push_str(" }\n }\n chain c {\n  type filter hook input priority 0\n");
    for number in 0..count {
        let _ = writeln!(
            text,
            "  ip saddr 10.{}.{}.0/24 ip daddr 192.0.2.{} tcp dport {} accept",
            number >> 8 & 255,
            number & 255,
            number % 251,
            number % 60_000
        );
    }
    text.push_str(" }\n}\n");
    let mut sources = SourceMap::default();
    let file = sources.add("large.nft", text.as_str());
    let start = Instant::now();
    let (script, problems) = parse(file, &text, &mut NoIncludes);
    let parsed = start.elapsed();
    let start = Instant::now();
    let mut atoms = AtomTable::default();
    let (ruleset, diagnostics) = lower(vec![script], &LowerOptions { scope: "host" }, &mut atoms);
    println!("{} bytes: parsed in {parsed:?}, lowered in {:?}", text.len(), start.elapsed());
    assert!(problems.is_empty() && diagnostics.is_empty());
    assert_eq!(ruleset.chains.iter().map(|chain| chain.rules.len()).sum::<usize>(), count as usize);
    assert_eq!(ruleset.sets.iter().map(|set| set.elements.len()).sum::<usize>(), count as usize);
}

/// A text with everything in it, cut short and with bytes changed in every place: never a panic.
#[test]
fn damaged_texts_are_survived() {
    let text = "\
define net = { 10.0.0.0/8, 192.168.0.0/16 }
table inet t {
 set s { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90, 1.1.1.1 . 22 }
 }
 map m { type inet_service : verdict; elements = { 22 : jump x, 80-90 : accept }
 }
 limit l { rate 10/second
 }
 chain x {
  ip saddr $net tcp flags & (fin | syn) == syn meta mark set mark and 0xff or 0x10
  iifname \"eth*\" ct state != { new, related } limit rate over 5/second drop
  meta mark & 0xff >= 0x10 ct mark set (meta mark << 4) | 1
 }
 chain c { type nat hook prerouting priority dstnat + 5; policy accept;
  ip saddr . tcp dport @s jump { ip daddr 1.1.1.1/32 meta l4proto tcp dnat to 10.0.0.1-10.0.0.9:80-90 }
  tcp dport vmap @m
  fib saddr . iif oif missing drop
  dnat ip prefix to ip daddr map { 10.141.11.0/24 : 192.168.2.0/24 }
  add @s { ip saddr . tcp dport timeout 5s }
  limit name l log prefix \"x\" reject with icmpx port-unreachable
 }
}
delete element inet t s { 1.1.1.1 . 22 }
add rule inet t x index 1 ip6 saddr fe80::/10 icmpv6 type { 1, 2-5 } counter
";
    assert!(errors(&lowered(text).2).is_empty(), "{:?}", errors(&lowered(text).2));
    for at in 0..text.len() {
        lowered(&text[..at]);
        let bytes = ["}", "{", "0", "/", "-", " ", "@", ":", "255", "\u{fffd}"];
        for byte in bytes.iter().skip(at % 5).step_by(5) {
            lowered(&format!("{}{byte}{}", &text[..at], &text[at + 1..]));
        }
    }
}
