//! Matches of nft rules, for a place in the ruleset.

use super::Knobs;
use super::words::{
    FLAGS, HOSTS4, HOSTS6, INTERFACES, MARKS, MASKS, NETWORKS4, NETWORKS6, PORT_RANGES, PORTS, RANGES4,
    STATES, braces, disjoint, operand,
};
use crate::random::Random;

/// What a rule's place allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// The hook of the base chains from which the chain may be reached.
    pub hook: &'static str,
    /// Named sets of the table, with what they hold.
    pub sets: &'p [(String, SetKind)],
    pub knobs: &'p Knobs,
    /// The chain is long: its rules must be particular, or packets never come to the later ones.
    pub long: bool,
}

/// What a named set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind {
    Addresses4,
    Addresses6,
    Ports,
    Interfaces,
    Pairs,
    States,
}

impl Place<'_> {
    pub(super) fn ipv4(&self) -> bool {
        self.family != "ip6"
    }

    pub(super) fn ipv6(&self) -> bool {
        self.family != "ip"
    }

    fn has_input(&self) -> bool {
        self.hook != "output"
    }

    fn has_output(&self) -> bool {
        matches!(self.hook, "forward" | "output" | "postrouting")
    }
}

/// A match: something that a rule asks of the packet.
pub(super) fn any_match(random: &mut Random, place: &Place<'_>) -> String {
    loop {
        let found = match random.below(23) {
            0..=2 => address(random, place),
            3..=5 => port(random),
            6 => tcp_flags(random),
            7 => icmp(random, place),
            8 => interface(random, place),
            9 | 10 => state(random),
            11 => connection(random, place),
            12 => mark(random),
            13 => protocol(random, place),
            14 => header(random, place),
            15 => fib(random, place),
            16 => link(random, place),
            17 | 18 => concatenation(random, place),
            19 | 20 => named_set(random, place),
            21 => atom(random, place),
            _ => flags_word(random),
        };
        if let Some(found) = found {
            return found;
        }
    }
}

fn side(random: &mut Random) -> &'static str {
    random.pick(&["saddr", "daddr"])
}

fn address(random: &mut Random, place: &Place<'_>) -> Option<String> {
    let side = side(random);
    let four = place.ipv4() && (!place.ipv6() || random.chance(60));
    let (word, singles, ranges) = if four {
        ("ip", &NETWORKS4[..], &RANGES4[..])
    } else {
        ("ip6", &NETWORKS6[..], &["2001:db8:1::5-2001:db8:2::9"][..])
    };
    if random.chance(35) {
        let elements = disjoint(random, singles, 4);
        let not = if random.chance(30) { "!= " } else { "" };
        return Some(format!("{word} {side} {not}{}", braces(&elements)));
    }
    let negation = if random.chance(25) { "!= " } else { "" };
    let value = if random.chance(30) { random.pick(ranges) } else { random.pick(singles) };
    if four && random.chance(10) {
        return Some(format!("ip {side} & 255.0.255.0 == 10.0.1.0"));
    }
    Some(format!("{word} {side} {negation}{value}"))
}

fn port(random: &mut Random) -> Option<String> {
    let protocol = random.pick(&["tcp", "tcp", "tcp", "udp", "udp", "sctp", "udplite", "dccp"]);
    let side = random.pick(&["dport", "dport", "dport", "sport"]);
    Some(match random.below(6) {
        0 => {
            format!("{protocol} {side} {} {}", random.pick(&["<", ">", "<=", ">="]), random.pick(&PORTS[..]))
        }
        1 => format!(
            "meta l4proto {} th {side} {}",
            braces(&["tcp", "udp"]),
            operand(random, &PORTS, &PORT_RANGES)
        ),
        2 => {
            let elements = disjoint(random, &[&PORTS[..], &PORT_RANGES[..]].concat(), 4);
            format!("{protocol} {side} {}", braces(&elements))
        }
        _ => format!("{protocol} {side} {}", operand(random, &PORTS, &PORT_RANGES)),
    })
}

fn flag_list(random: &mut Random, separator: &str) -> String {
    random.some(&FLAGS, 1, 3).join(separator)
}

fn tcp_flags(random: &mut Random) -> Option<String> {
    Some(match random.below(8) {
        0 => format!("tcp flags {}", random.pick(&FLAGS[..])),
        1 => format!(
            "tcp flags & (fin | syn | rst | ack) == {}",
            random.pick(&["syn", "ack", "0x0", "syn | ack"])
        ),
        2 => "tcp flags & (fin | syn) == fin | syn".to_owned(),
        3 => format!("tcp flags {}", braces(&["syn", "syn | ack", "rst", "ack"][..random.between(2, 4)])),
        4 => format!("tcp flags == {}", flag_list(random, " | ")),
        5 => format!("tcp flags != {}", random.pick(&FLAGS[..])),
        6 => format!("tcp flags & {} != 0x0", random.pick(&FLAGS[..])),
        _ => format!("tcp flags & (syn | rst) {} syn", random.pick(&["==", "!="])),
    })
}

fn icmp(random: &mut Random, place: &Place<'_>) -> Option<String> {
    if place.ipv4() && (!place.ipv6() || random.chance(60)) {
        let types = ["echo-request", "echo-reply", "destination-unreachable", "time-exceeded", "redirect"];
        return Some(match random.below(4) {
            0 => format!(
                "icmp type destination-unreachable icmp code {}",
                random.pick(&["0", "1", "3", "!= 4"])
            ),
            1 => format!("ip protocol icmp icmp type {}", random.pick(&types[..])),
            _ => format!("icmp type {}", operand(random, &types, &[])),
        });
    }
    let types = [
        "echo-request",
        "echo-reply",
        "packet-too-big",
        "mld-listener-query",
        "nd-router-advert",
        "nd-neighbor-solicit",
        "nd-redirect",
        "mld2-listener-report",
        "152",
    ];
    Some(format!("icmpv6 type {}", operand(random, &types, &[])))
}

fn interface(random: &mut Random, place: &Place<'_>) -> Option<String> {
    let word = match (place.has_input(), place.has_output()) {
        (true, true) => random.pick(&["iifname", "oifname"]),
        (true, false) => "iifname",
        _ => "oifname",
    };
    Some(match random.below(5) {
        0 => format!("{word} \"{}*\"", random.pick(&["eth", "lan", "e"])),
        1 => format!("{word} {}", braces(&random.some(&INTERFACES, 2, 3))),
        2 => format!("{word} != \"{}\"", random.pick(&INTERFACES[..])),
        _ => format!("{word} \"{}\"", random.pick(&INTERFACES[..])),
    })
}

fn state(random: &mut Random) -> Option<String> {
    Some(match random.below(6) {
        0 => "ct state established,related".to_owned(),
        1 => format!("ct state {}", braces(&random.some(&STATES, 2, 3))),
        2 => format!("ct state != {}", random.pick(&STATES[..])),
        3 => "ct state & (established | related) != 0x0".to_owned(),
        _ => format!("ct state {}", random.some(&STATES, 1, 2).join(",")),
    })
}

fn connection(random: &mut Random, place: &Place<'_>) -> Option<String> {
    Some(match random.below(7) {
        0 => format!("ct status {}", random.pick(&["dnat", "snat", "assured", "seen-reply", "expected"])),
        1 => format!("ct status & {} == 0x0", random.pick(&["dnat", "snat", "assured"])),
        2 => format!("ct direction {}", random.pick(&["original", "reply"])),
        3 => format!("ct mark {}{}", random.pick(&["", "!= "]), random.pick(&MARKS[..])),
        4 => format!("ct mark & {} == {}", random.pick(&MASKS[..]), random.pick(&["0x0", "0x1"])),
        5 if place.ipv4() => {
            format!(
                "ct original ip {} {}{}",
                side(random),
                random.pick(&["", "!= "]),
                random.pick(&NETWORKS4[..])
            )
        }
        _ => {
            let transport = random.pick(&["tcp", "udp"]);
            format!(
                "meta l4proto {transport} ct original proto-dst {}",
                operand(random, &PORTS, &PORT_RANGES)
            )
        }
    })
}

fn mark(random: &mut Random) -> Option<String> {
    Some(match random.below(4) {
        0 => format!(
            "meta mark & {} {} {}",
            random.pick(&MASKS[..]),
            random.pick(&["==", "!="]),
            random.pick(&["0x0", "0x1"])
        ),
        1 => format!("meta mark {}", braces(&random.some(&MARKS, 2, 3))),
        2 => "meta mark 0x10-0xff".to_owned(),
        _ => format!("meta mark {}{}", random.pick(&["", "!= "]), random.pick(&MARKS[..])),
    })
}

fn protocol(random: &mut Random, place: &Place<'_>) -> Option<String> {
    let names = ["tcp", "udp", "sctp", "gre", "esp"];
    Some(match random.below(4) {
        0 if place.family == "inet" => format!("meta nfproto {}", random.pick(&["ipv4", "ipv6"])),
        1 if place.ipv4() => format!("ip protocol {}", operand(random, &names, &[])),
        2 if place.ipv6() => format!("ip6 nexthdr {}", operand(random, &names, &[])),
        _ => format!("meta l4proto {}", operand(random, &names, &["6-17"])),
    })
}

fn header(random: &mut Random, place: &Place<'_>) -> Option<String> {
    let number = random.pick(&["60", "100", "40-80", "!= 64", "> 64", "< 128"]);
    Some(match random.below(5) {
        0 => format!("meta length {number}"),
        1 if place.ipv4() => format!("ip ttl {number}"),
        2 if place.ipv6() => format!("ip6 hoplimit {number}"),
        3 if place.ipv4() => {
            format!("ip dscp {}", random.pick(&["cs1", "ef", "!= cs0", "{ cs1, ef, af11 }", "0x08-0x10"]))
        }
        4 if place.ipv6() => format!("ip6 dscp {}", random.pick(&["cs1", "ef", "!= cs0"])),
        _ => return None,
    })
}

fn fib(random: &mut Random, place: &Place<'_>) -> Option<String> {
    if place.hook == "postrouting" {
        return None;
    }
    let types =
        random.pick(&["local", "unicast", "{ local, unicast }", "!= local", "broadcast", "multicast"]);
    Some(format!("fib {} type {types}", random.pick(&["daddr", "daddr", "saddr"])))
}

fn link(random: &mut Random, place: &Place<'_>) -> Option<String> {
    if !matches!(place.hook, "prerouting" | "input") {
        return None;
    }
    Some(match random.below(3) {
        0 => format!("ether saddr {}02:00:00:00:00:01", random.pick(&["", "!= "])),
        1 => "ether saddr { 02:00:00:00:00:01, 02:00:00:00:00:02 }".to_owned(),
        _ => format!(
            "meta pkttype {}",
            random.pick(&["host", "broadcast", "{ broadcast, multicast }", "!= multicast"])
        ),
    })
}

/// Elements of pairs: products of an address and a port that don't overlap, since their addresses don't.
pub(super) fn pairs(random: &mut Random, addresses: &[&str]) -> Vec<String> {
    let chosen = disjoint(random, addresses, 4);
    chosen
        .into_iter()
        .map(|address| format!("{address} . {}", random.pick(&[&PORTS[..], &PORT_RANGES[..]].concat())))
        .collect()
}

fn concatenation(random: &mut Random, place: &Place<'_>) -> Option<String> {
    let four = place.ipv4() && (!place.ipv6() || random.chance(60));
    let (word, networks, hosts) =
        if four { ("ip", &NETWORKS4[..], &HOSTS4[..]) } else { ("ip6", &NETWORKS6[..], &HOSTS6[..]) };
    let not = if random.chance(25) { "!= " } else { "" };
    let side = side(random);
    Some(match random.below(4) {
        0 => {
            let elements: Vec<String> = random
                .some(hosts, 1, 3)
                .iter()
                .map(|host| format!("{host} . {}", random.pick(&PORTS[..])))
                .collect();
            format!("{word} {side} . tcp dport {not}{{ {} }}", elements.join(", "))
        }
        1 => {
            let elements: Vec<String> = random
                .some(&PORTS, 1, 4)
                .iter()
                .map(|port| format!("{} . {port}", random.pick(&["tcp", "udp"])))
                .collect();
            format!("meta l4proto . th dport {not}{{ {} }}", elements.join(", "))
        }
        2 => {
            let elements: Vec<String> = random
                .some(hosts, 1, 3)
                .iter()
                .map(|host| format!("{host} . {} . {}", random.pick(hosts), random.pick(&PORTS[..])))
                .collect();
            format!("{word} saddr . {word} daddr . udp dport {not}{{ {} }}", elements.join(", "))
        }
        _ => format!("{word} {side} . tcp dport {not}{{ {} }}", pairs(random, networks).join(", ")),
    })
}

fn named_set(random: &mut Random, place: &Place<'_>) -> Option<String> {
    if place.sets.is_empty() {
        return None;
    }
    let (name, kind) = &place.sets[random.below(place.sets.len())];
    let not = if random.chance(25) { "!= " } else { "" };
    let side = side(random);
    Some(match kind {
        SetKind::Addresses4 => format!("ip {side} {not}@{name}"),
        SetKind::Addresses6 => format!("ip6 {side} {not}@{name}"),
        SetKind::Ports => {
            format!("{} {} {not}@{name}", random.pick(&["tcp", "udp"]), random.pick(&["dport", "sport"]))
        }
        SetKind::Interfaces if place.has_input() => format!("iifname {not}@{name}"),
        SetKind::Interfaces => format!("oifname {not}@{name}"),
        SetKind::Pairs if place.ipv4() => format!("ip {side} . tcp dport {not}@{name}"),
        SetKind::Pairs => return None,
        SetKind::States => format!("ct state {not}@{name}"),
    })
}

fn atom(random: &mut Random, place: &Place<'_>) -> Option<String> {
    if !place.knobs.atoms {
        return None;
    }
    Some(
        random
            .pick(&[
                "limit rate 5/second",
                "limit rate over 10/minute burst 3 packets",
                "meta cpu 1",
                "quota over 10 mbytes",
            ])
            .to_owned(),
    )
}

/// Words of bits tested in ways that are easy to get wrong.
fn flags_word(random: &mut Random) -> Option<String> {
    Some(match random.below(3) {
        0 => format!("ct mark & 0xf0 {} 0x10-0x30", random.pick(&["==", "!="])),
        1 => "meta mark > 0x10".to_owned(),
        _ => format!("tcp flags & (fin | syn | rst | psh | ack | urg) == {}", flag_list(random, " | ")),
    })
}
