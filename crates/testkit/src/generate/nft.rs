//! Rulesets in nft's language.

use super::nft_match::{Place, SetKind, any_match, pairs};
use super::words::{
    HOSTS4, HOSTS6, INTERFACES, MARKS, MASKS, NETWORKS4, NETWORKS6, PORT_RANGES, PORTS, STATES, disjoint,
};
use super::{Generated, Knobs, Line, Syntax};
use crate::random::Random;

struct Writer {
    lines: Vec<Line>,
}

impl Writer {
    fn fixed(&mut self, text: impl Into<String>) {
        self.lines.push(Line { text: text.into(), removable: false });
    }

    fn rule(&mut self, text: String) {
        self.lines.push(Line { text: format!("\t\t{text}"), removable: true });
    }
}

/// A base chain to be written.
struct Base {
    hook: &'static str,
    kind: &'static str,
    priority: String,
    policy: &'static str,
}

/// How many times longer a long chain is.
const LONG: usize = 20;

/// One to three tables, each with chains on one hook path.
pub(super) fn generate(random: &mut Random, knobs: &Knobs) -> Generated {
    let mut writer = Writer { lines: Vec::new() };
    for number in 0..random.between(1, 3) {
        table(random, knobs, number, &mut writer);
    }
    Generated { syntax: Syntax::Nft, lines: writer.lines }
}

fn table(random: &mut Random, knobs: &Knobs, number: usize, writer: &mut Writer) {
    let family = random.pick(&["inet", "inet", "ip", "ip6"]);
    writer.fixed(format!("table {family} t{number} {{"));
    if random.chance(3) {
        writer.fixed("\tflags dormant");
    }
    let sets = sets(random, family, number, writer);
    let place = Place { family, hook: "input", sets: &sets, knobs, long: false };
    let ports = verdict_map(random, number, writer);
    // Chains that are called; each calls only earlier ones, so that there is no ring.
    let mut callable: Vec<String> = Vec::new();
    for index in 0..random.below(4) {
        let name = format!("sub{number}_{index}");
        writer.fixed(format!("\tchain {name} {{"));
        for _ in 0..random.below(knobs.rules) {
            // Such a chain may be called from any hook, so it asks nothing that only some hooks can tell.
            let place = Place { hook: "called", ..place };
            let rule = rule(random, &place, &callable, ports.as_deref());
            writer.rule(rule);
        }
        writer.fixed("\t}");
        callable.push(name);
    }
    for index in 0..random.between(1, 4) {
        let base = base(random, index + number * 4);
        writer.fixed(format!("\tchain base{number}_{index} {{"));
        writer.fixed(format!(
            "\t\ttype {} hook {} priority {}; policy {};",
            base.kind, base.hook, base.priority, base.policy
        ));
        // Long chains, since engines may treat them in another way.
        let long = base.kind != "nat" && random.chance(6);
        let place = Place { hook: base.hook, long, ..place };
        let most = if long { knobs.rules * LONG } else { knobs.rules };
        for _ in 0..random.between(1, most) {
            let rule = match base.kind {
                "nat" => nat_rule(random, &place),
                _ => {
                    let early = base.priority.starts_with("-3");
                    if early && random.chance(20) {
                        format!("{}notrack", matches(random, &place))
                    } else {
                        rule(random, &place, &callable, ports.as_deref())
                    }
                }
            };
            writer.rule(rule);
        }
        writer.fixed("\t}");
    }
    writer.fixed("}");
}

/// No two base chains have the same priority: the kernel doesn't say which of them runs first.
fn base(random: &mut Random, unique: usize) -> Base {
    let nat = random.chance(25);
    let hook = match nat {
        true => random.pick(&["prerouting", "prerouting", "postrouting", "postrouting", "output", "input"]),
        false => random.pick(&[
            "prerouting",
            "input",
            "input",
            "input",
            "forward",
            "forward",
            "output",
            "postrouting",
        ]),
    };
    let early = matches!(hook, "prerouting" | "output") && random.chance(40);
    let start: i32 = match (nat, early) {
        // Nat chains run at -100 or 100, whatever they say; chains of filters stand in between.
        (true, _) if matches!(hook, "prerouting" | "output") => random.of(&[-100, -100, 150]),
        (true, _) => random.of(&[100, 100, -60, 350]),
        (_, true) => -300,
        _ => random.of(&[-150, 0, 0, 50, 200]),
    };
    Base {
        hook,
        kind: if nat { "nat" } else { "filter" },
        priority: (start + unique as i32 * 2 + 1).to_string(),
        policy: if !nat && random.chance(30) { "drop" } else { "accept" },
    }
}

fn sets(random: &mut Random, family: &str, number: usize, writer: &mut Writer) -> Vec<(String, SetKind)> {
    let mut kinds = vec![SetKind::Ports, SetKind::Interfaces, SetKind::States];
    if family != "ip6" {
        kinds.extend([SetKind::Addresses4, SetKind::Pairs]);
    }
    if family != "ip" {
        kinds.push(SetKind::Addresses6);
    }
    let mut made = Vec::new();
    for (index, kind) in random.some(&kinds, 0, 3).into_iter().enumerate() {
        let name = format!("set{number}_{index}");
        let owned = |items: Vec<&str>| -> Vec<String> { items.into_iter().map(str::to_owned).collect() };
        let (header, elements) = match kind {
            SetKind::Addresses4 => {
                ("type ipv4_addr; flags interval;", owned(disjoint(random, &NETWORKS4, 5)))
            }
            SetKind::Addresses6 => {
                ("type ipv6_addr; flags interval;", owned(disjoint(random, &NETWORKS6, 5)))
            }
            SetKind::Ports if random.chance(50) => {
                let all = [&PORTS[..], &PORT_RANGES[..]].concat();
                ("type inet_service; flags interval;", owned(disjoint(random, &all, 4)))
            }
            SetKind::Ports => ("type inet_service;", owned(random.some(&PORTS, 1, 5))),
            SetKind::Interfaces => ("type ifname;", owned(random.some(&INTERFACES, 1, 3))),
            SetKind::States => ("type ct_state;", owned(random.some(&STATES, 1, 3))),
            SetKind::Pairs => ("type ipv4_addr . inet_service; flags interval;", pairs(random, &NETWORKS4)),
        };
        writer.fixed(format!("\tset {name} {{"));
        writer.fixed(format!("\t\t{header}"));
        if random.chance(90) {
            writer.fixed(format!("\t\telements = {{ {} }}", elements.join(", ")));
        }
        writer.fixed("\t}");
        made.push((name, kind));
    }
    made
}

/// A named verdict map of ports; its name.
fn verdict_map(random: &mut Random, number: usize, writer: &mut Writer) -> Option<String> {
    if !random.chance(40) {
        return None;
    }
    let name = format!("map{number}");
    let elements: Vec<String> = random
        .some(&PORTS, 1, 4)
        .iter()
        .map(|port| format!("{port} : {}", random.pick(&["accept", "drop", "continue", "return"])))
        .collect();
    writer.fixed(format!("\tmap {name} {{"));
    writer.fixed("\t\ttype inet_service : verdict");
    writer.fixed(format!("\t\telements = {{ {} }}", elements.join(", ")));
    writer.fixed("\t}");
    Some(name)
}

/// None to three matches, each with a space behind it.
fn matches(random: &mut Random, place: &Place<'_>) -> String {
    let count = if place.long { random.of(&[2, 2, 3]) } else { random.of(&[0, 1, 1, 1, 2, 2, 3]) };
    (0..count).map(|_| any_match(random, place) + " ").collect()
}

fn rule(random: &mut Random, place: &Place<'_>, callable: &[String], ports: Option<&str>) -> String {
    let mut text = loop {
        // The protocols of several matches may contradict each other, which nft refuses at once.
        let text = matches(random, place);
        if consistent(&text) {
            break text;
        }
    };
    match random.below(10) {
        0 => text += "counter ",
        1 => {
            text +=
                random.pick(&["log prefix \"x\" ", "log ", "counter log level debug ", "meta nftrace set 1 "])
        }
        2 | 3 => {
            let assignment = assignment(random, place);
            if consistent(&(text.clone() + &assignment)) {
                text += &assignment;
            }
        }
        _ => {}
    }
    if text.contains("set ") && random.chance(25) {
        // A test behind an effect: the effect stays.
        let later = any_match(random, place) + " ";
        if consistent(&(text.clone() + &later)) {
            text += &later;
        }
    }
    text += &ending(random, place, callable, ports, &text.clone());
    if text.trim().is_empty() { "counter".to_owned() } else { text.trim_end().to_owned() }
}

/// At most one transport protocol and one family is named.
fn consistent(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let transports = [
        has(&["tcp"]) as usize,
        has(&["udp"]) as usize,
        has(&["sctp"]) as usize,
        has(&["udplite"]) as usize,
        has(&["dccp"]) as usize,
        has(&["icmp"]) as usize,
        has(&["icmpv6"]) as usize,
        has(&["l4proto", "protocol", "nexthdr"]) as usize,
    ];
    // `ct original ip saddr` names a family too.
    let families = has(&["ip", "ipv4"]) as usize + has(&["ip6", "ipv6"]) as usize;
    let icmp_family = (has(&["icmp"]) && has(&["ip6", "ipv6"])) || (has(&["icmpv6"]) && has(&["ip", "ipv4"]));
    transports.iter().sum::<usize>() <= 1 && families <= 1 && !icmp_family
}

fn assignment(random: &mut Random, place: &Place<'_>) -> String {
    let mark = random.pick(&MARKS[..]);
    let mask = random.pick(&MASKS[..]);
    match random.below(12) {
        0 | 1 => format!("meta mark set {mark} "),
        2 => format!("ct mark set {mark} "),
        3 => "meta mark set ct mark ".to_owned(),
        4 => "ct mark set meta mark ".to_owned(),
        5 => format!("meta mark set meta mark & {mask} "),
        6 => format!("meta mark set meta mark | {mark} "),
        7 => format!("ct mark set ct mark ^ {mask} "),
        8 => format!("meta mark set meta mark and 0xffffff00 or {} ", random.pick(&["0x1", "0xf"])),
        9 if place.ipv4() => {
            format!(
                "meta mark set ip saddr map {{ {} : 0x1, {} : 0x2 }} ",
                HOSTS4[0],
                HOSTS4[random.between(1, 5)]
            )
        }
        10 if place.family == "ip" => random.pick(&["ip dscp set cs1 ", "ip ttl set 9 "]).to_owned(),
        10 if place.family == "ip6" => random.pick(&["ip6 dscp set ef ", "ip6 hoplimit set 9 "]).to_owned(),
        _ => format!("meta mark set tcp dport map {{ 22 : 0x1, 80 : {mark}, 443 : 0xff }} "),
    }
}

fn ending(
    random: &mut Random,
    place: &Place<'_>,
    callable: &[String],
    ports: Option<&str>,
    so_far: &str,
) -> String {
    let tcp_allowed = consistent(&format!("{so_far} tcp"));
    match random.below(16) {
        0..=4 => "accept".to_owned(),
        5..=7 => "drop".to_owned(),
        8 if matches!(place.hook, "input" | "forward" | "output") => {
            reject(random, place, so_far, tcp_allowed)
        }
        9 => "return".to_owned(),
        10 if !callable.is_empty() => {
            format!("{} {}", random.pick(&["jump", "jump", "goto"]), callable[random.below(callable.len())])
        }
        11 => {
            let inner: Vec<String> = (0..random.between(1, 3))
                .map(|_| {
                    format!(
                        "{} {}",
                        any_match(random, place),
                        random.pick(&["accept", "drop", "return", "counter"])
                    )
                })
                .collect();
            format!("{} {{ {}; }}", random.pick(&["jump", "goto"]), inner.join("; "))
        }
        12 if tcp_allowed => match ports {
            Some(name) => format!("tcp dport vmap @{name}"),
            None => "tcp dport vmap { 22 : accept, 80-443 : drop, 8080 : continue }".to_owned(),
        },
        13 if place.ipv4() && consistent(&format!("{so_far} ip")) => match callable.first() {
            Some(name) => format!("ip saddr vmap {{ 10.0.1.0/24 : jump {name}, 192.0.2.0/24 : drop }}"),
            None => "ip daddr vmap { 10.0.0.0/8 : return, 192.0.2.1 : accept }".to_owned(),
        },
        14 => "ct state vmap { established : accept, related : accept, invalid : drop }".to_owned(),
        15 => "continue".to_owned(),
        _ => String::new(),
    }
}

fn reject(random: &mut Random, place: &Place<'_>, so_far: &str, tcp_allowed: bool) -> String {
    match random.below(4) {
        0 if tcp_allowed && !so_far.contains("tcp ") => "meta l4proto tcp reject with tcp reset".to_owned(),
        1 if place.family == "inet" && !names_family(so_far) => {
            "reject with icmpx type admin-prohibited".to_owned()
        }
        2 if place.family == "ip" => "reject with icmp type host-prohibited".to_owned(),
        3 if place.family == "ip6" => "reject with icmpv6 type admin-prohibited".to_owned(),
        _ => "reject".to_owned(),
    }
}

fn names_family(text: &str) -> bool {
    text.split_whitespace().any(|word| matches!(word, "ip" | "ip6" | "ipv4" | "ipv6" | "icmp" | "icmpv6"))
}

/// A rule of a nat chain: matches and a translation, sometimes just a verdict.
fn nat_rule(random: &mut Random, place: &Place<'_>) -> String {
    let four = place.ipv4() && (!place.ipv6() || random.chance(65));
    let family = if place.family == "inet" { if four { "ip " } else { "ip6 " } } else { "" };
    let destination = matches!(place.hook, "prerouting" | "output");
    let transport = random.pick(&["tcp", "udp"]);
    let ported = random.chance(60);
    let port_match = format!("{transport} dport {} ", super::words::operand(random, &PORTS, &PORT_RANGES));
    let host = if four { random.pick(&HOSTS4[..]) } else { random.pick(&HOSTS6[..]) };
    let end = if four { host.to_owned() } else { format!("[{host}]") };
    let port = random.pick(&PORTS[..]);
    let mut text = if ported {
        port_match
    } else {
        loop {
            let text = matches(random, place);
            if consistent(&text) && consistent(&format!("{text} {family}")) {
                break text;
            }
        }
    };
    if random.chance(12) {
        return text + random.pick(&["accept", "return", "counter"]);
    }
    text += &match (destination, random.below(6)) {
        (true, 0) if ported => format!("redirect to :{port}"),
        (true, 1) => "redirect".to_owned(),
        (true, 2) if four && ported => {
            format!("dnat {family}to {transport} dport map {{ 22 : 10.0.2.20, 80 : 10.0.1.7 }}")
        }
        (true, 3) if four && ported => {
            format!(
                "dnat ip addr . port to {transport} dport map {{ 80 : 10.0.2.20 . 8080, 443 : 10.0.1.7 . 22 }}"
            )
        }
        (true, _) if ported => format!("dnat {family}to {end}:{port}"),
        (true, _) => format!("dnat {family}to {host}"),
        (false, 0) if place.hook == "postrouting" => "masquerade".to_owned(),
        (false, 1) if place.hook == "postrouting" && ported => "masquerade to :50000".to_owned(),
        (false, 2) if ported => format!("snat {family}to {end}:{port}"),
        (false, _) => format!("snat {family}to {host}"),
    };
    text
}
