//! Dumps of iptables-save and ip6tables-save.

use super::words::{HOSTS4, HOSTS6, INTERFACES, MARKS, MASKS, NETWORKS4, NETWORKS6};
use super::{Generated, Knobs, Line, Syntax};
use crate::random::Random;

struct Place<'p> {
    ipv6: bool,
    table: &'static str,
    chain: String,
    own_chains: &'p [String],
    knobs: &'p Knobs,
}

/// A dump with one to four tables.
pub(super) fn generate(random: &mut Random, knobs: &Knobs, ipv6: bool) -> Generated {
    let mut lines = Vec::new();
    let all = ["raw", "mangle", "nat", "filter"];
    let chosen = random.some(&all, 1, 4);
    for table in chosen {
        write_table(random, knobs, ipv6, table, &mut lines);
    }
    Generated { syntax: if ipv6 { Syntax::Ip6tables } else { Syntax::Iptables }, lines }
}

fn built_in(table: &str) -> &'static [&'static str] {
    match table {
        "raw" => &["PREROUTING", "OUTPUT"],
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    }
}

fn write_table(random: &mut Random, knobs: &Knobs, ipv6: bool, table: &'static str, lines: &mut Vec<Line>) {
    let mut fixed = |text: String| lines.push(Line { text, removable: false });
    fixed(format!("*{table}"));
    for chain in built_in(table) {
        let policy = if table == "filter" && random.chance(30) { "DROP" } else { "ACCEPT" };
        fixed(format!(":{chain} {policy} [0:0]"));
    }
    let own: Vec<String> = match table {
        "filter" | "mangle" => (0..random.below(3)).map(|index| format!("{table}-own{index}")).collect(),
        _ => Vec::new(),
    };
    for chain in &own {
        fixed(format!(":{chain} - [0:0]"));
    }
    let mut write = |random: &mut Random, chain: &str, callable: &[String]| {
        let place = Place { ipv6, table, chain: chain.to_owned(), own_chains: callable, knobs };
        for _ in 0..random.below(knobs.rules) {
            lines.push(Line { text: rule(random, &place), removable: true });
        }
    };
    for chain in built_in(table) {
        write(random, chain, &own);
    }
    for (index, chain) in own.iter().enumerate() {
        write(random, chain, &own[..index]);
    }
    lines.push(Line { text: "COMMIT".to_owned(), removable: false });
}

fn not(random: &mut Random) -> &'static str {
    if random.chance(20) { "! " } else { "" }
}

fn port(random: &mut Random) -> &'static str {
    random.pick(&["22", "80", "443", "0:1023", "8000:8100", "1024:65535", "53"])
}

fn rule(random: &mut Random, place: &Place<'_>) -> String {
    let mut text = format!("-A {}", place.chain);
    let networks = if place.ipv6 { &NETWORKS6[..] } else { &NETWORKS4[..] };
    for flag in ["-s", "-d"] {
        if random.chance(25) {
            text += &format!(" {}{flag} {}", not(random), random.pick(networks));
        }
    }
    let own_chain = place.chain.contains("-own");
    let input = !own_chain && matches!(place.chain.as_str(), "PREROUTING" | "INPUT" | "FORWARD");
    let output = !own_chain && matches!(place.chain.as_str(), "POSTROUTING" | "OUTPUT" | "FORWARD");
    if input && random.chance(20) {
        text += &format!(" {}-i {}", not(random), random.pick(&["eth0", "eth1", "lan+", "eth+", "wan0"]));
    }
    if output && random.chance(20) {
        text += &format!(" {}-o {}", not(random), random.pick(&INTERFACES[..]));
    }
    let transport = if place.table == "nat" && random.chance(60) {
        Some(random.pick(&["tcp", "udp"]))
    } else if random.chance(60) {
        Some(random.pick(&["tcp", "tcp", "tcp", "udp", "icmp", "sctp"]))
    } else {
        None
    };
    if let Some(transport) = transport {
        text += &transport_match(random, transport, place.ipv6);
    }
    if random.chance(45) {
        text += &module(random, place, input);
    }
    text + &target(random, place, transport)
}

fn transport_match(random: &mut Random, transport: &str, ipv6: bool) -> String {
    if transport == "icmp" {
        let types = if ipv6 {
            random.pick(&["echo-request", "packet-too-big", "135", "137", "143", "destination-unreachable"])
        } else {
            random.pick(&["echo-request", "8", "destination-unreachable", "3/1", "time-exceeded"])
        };
        return match (ipv6, random.chance(70)) {
            (true, true) => format!(" -p ipv6-icmp -m icmp6 {}--icmpv6-type {types}", not(random)),
            (true, false) => " -p ipv6-icmp".to_owned(),
            (false, true) => format!(" -p icmp -m icmp {}--icmp-type {types}", not(random)),
            (false, false) => " -p icmp".to_owned(),
        };
    }
    let mut text = format!(" -p {transport}");
    match random.below(6) {
        0 if transport != "sctp" => {
            let list = random.pick(&["22,80,443", "22,8000:8100", "53"]);
            let side = random.pick(&["dports", "sports", "ports"]);
            text += &format!(" -m multiport {}--{side} {list}", not(random));
        }
        1 if transport == "tcp" => {
            let flags = random.pick(&[
                "--tcp-flags FIN,SYN,RST,ACK SYN",
                "--tcp-flags SYN,RST SYN,RST",
                "--tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
                "--tcp-flags ALL FIN,PSH,URG",
                "--syn",
            ]);
            text += &format!(" -m tcp {}{flags}", not(random));
        }
        2 => {}
        _ => {
            let side = random.pick(&["dport", "dport", "sport"]);
            text += &format!(" -m {transport} {}--{side} {}", not(random), port(random));
        }
    }
    text
}

fn module(random: &mut Random, place: &Place<'_>, input: bool) -> String {
    let not = not(random);
    let tracked = place.table != "raw";
    match random.below(17) {
        0 | 1 if tracked => {
            let states =
                random.pick(&["NEW", "RELATED,ESTABLISHED", "INVALID", "NEW,UNTRACKED", "DNAT", "SNAT"]);
            format!(" -m conntrack {not}--ctstate {states}")
        }
        2 if tracked => format!(" -m state --state {}", random.pick(&["NEW", "ESTABLISHED", "INVALID"])),
        3 | 14..=16 => {
            // Marks that the mangle table sets, so that it matters which table runs first.
            let marks = ["0x1/0x1", "0x2/0xff", "0x10/0xff", "0xff/0xff", "0x0/0xff", "0x1/0xffffffff"];
            format!(" -m mark {not}--mark {}", random.pick(&marks[..]))
        }
        4 if tracked => format!(" -m connmark {not}--mark {}/0xff", random.pick(&["0x1", "0x10"])),
        5 => {
            let side = random.pick(&["src", "dst"]);
            // IPv6 has no broadcast, and `UNICAST` there asks what the address looks like, not the routing table.
            let kinds = if place.ipv6 { &["LOCAL"][..] } else { &["LOCAL", "UNICAST", "BROADCAST"] };
            format!(" -m addrtype {not}--{side}-type {}", random.pick(kinds))
        }
        6 => format!(" -m length {not}--length {}", random.pick(&["0:60", "60", "100:1500"])),
        7 if place.ipv6 => format!(" -m hl --hl-{}", random.pick(&["eq 64", "lt 64", "gt 1"])),
        7 => format!(" -m ttl --ttl-{}", random.pick(&["eq 64", "lt 64", "gt 1"])),
        8 => format!(" -m dscp {not}--dscp {}", random.pick(&["0x08", "0x2e", "0x00"])),
        9 if !place.ipv6 => {
            let side = random.pick(&["src", "dst"]);
            format!(" -m iprange {not}--{side}-range 10.0.1.5-10.0.2.9")
        }
        10 if input && place.chain != "FORWARD" => format!(" -m mac {not}--mac-source 02:00:00:00:00:01"),
        11 if input => format!(" -m pkttype {not}--pkt-type {}", random.pick(&["unicast", "broadcast"])),
        12 if tracked => {
            let option = random.pick(&[
                "--ctdir ORIGINAL",
                "--ctstatus SEEN_REPLY",
                "--ctproto 6 --ctorigdstport 80",
                "! --ctstate DNAT --ctproto 6",
                "! --ctstate NEW,DNAT --ctdir ORIGINAL",
                "--ctstate INVALID,DNAT --ctproto 17",
                "--ctstate NEW,UNTRACKED --ctproto 6",
                "--ctstate INVALID,ESTABLISHED --ctstatus SEEN_REPLY",
                "! --ctstate ESTABLISHED --ctdir ORIGINAL",
                if place.knobs.atoms { "--ctorigdstport 80" } else { "--ctdir REPLY" },
            ]);
            format!(" -m conntrack {option}")
        }
        13 if place.knobs.atoms => " -m limit --limit 5/sec".to_owned(),
        _ => " -m comment --comment \"a rule\"".to_owned(),
    }
}

fn target(random: &mut Random, place: &Place<'_>, transport: Option<&str>) -> String {
    let mark = random.pick(&MARKS[..]);
    let mask = random.pick(&MASKS[..]);
    let ported = matches!(transport, Some("tcp" | "udp"));
    let host = if place.ipv6 { random.pick(&HOSTS6[..]) } else { random.pick(&HOSTS4[..]) };
    let end = if place.ipv6 { format!("[{host}]") } else { host.to_owned() };
    let port = random.pick(&["80", "8080", "40000"]);
    match (place.table, random.below(12)) {
        ("raw", 0..=3) => " -j CT --notrack".to_owned(),
        ("nat", 0..=6) => match place.chain.as_str() {
            "PREROUTING" | "OUTPUT" => match random.below(4) {
                0 if ported => format!(" -j REDIRECT --to-ports {port}"),
                1 if ported => format!(" -j DNAT --to-destination {end}:{port}"),
                _ => format!(" -j DNAT --to-destination {host}"),
            },
            "POSTROUTING" if random.chance(40) => " -j MASQUERADE".to_owned(),
            _ if ported && random.chance(50) => format!(" -j SNAT --to-source {end}:{port}"),
            _ => format!(" -j SNAT --to-source {host}"),
        },
        ("mangle", 0..=1 | 9) => format!(" -j MARK --set-xmark {mark}/{mask}"),
        ("mangle", 2) => format!(" -j CONNMARK --set-xmark {mark}/{mask}"),
        ("mangle", 3) if place.knobs.atoms && random.chance(30) => {
            " -j CONNMARK --restore-mark --left-shift-mark 2".to_owned()
        }
        ("mangle", 3) => " -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff".to_owned(),
        ("mangle", 4) => " -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff".to_owned(),
        ("mangle", 5) => " -j DSCP --set-dscp 0x08".to_owned(),
        ("mangle", 6) if place.ipv6 => " -j HL --hl-set 9".to_owned(),
        ("mangle", 6) => " -j TTL --ttl-set 9".to_owned(),
        ("filter", 0..=1) => match random.below(3) {
            0 if transport == Some("tcp") => " -j REJECT --reject-with tcp-reset".to_owned(),
            _ if place.ipv6 => " -j REJECT --reject-with icmp6-adm-prohibited".to_owned(),
            _ => " -j REJECT --reject-with icmp-port-unreachable".to_owned(),
        },
        (_, 7) if !place.own_chains.is_empty() => {
            let chain = &place.own_chains[random.below(place.own_chains.len())];
            format!(" {} {chain}", random.pick(&["-j", "-j", "-g"]))
        }
        (_, 8) => " -j RETURN".to_owned(),
        (_, 9) => " -j LOG --log-prefix \"x \"".to_owned(),
        (_, 10) => String::new(),
        ("filter" | "mangle" | "raw", 11) => " -j DROP".to_owned(),
        ("filter", _) => random.pick(&[" -j ACCEPT", " -j DROP"]).to_owned(),
        _ => " -j ACCEPT".to_owned(),
    }
}
