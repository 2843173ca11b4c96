//! The constants of generated rulesets: few, so that rules overlap.

use crate::random::Random;

/// Interfaces of the simulated host.
pub const INTERFACES: [&str; 4] = ["eth0", "eth1", "lan0", "wan0"];

/// IPv4 prefixes; some contain others.
pub const NETWORKS4: [&str; 8] = [
    "10.0.0.0/8",
    "10.0.1.0/24",
    "10.0.1.7",
    "10.0.2.0/23",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "198.51.100.7",
    "203.0.113.64/26",
];

/// Ranges of IPv4 addresses that are no prefixes.
pub const RANGES4: [&str; 3] = ["10.0.1.5-10.0.2.9", "192.0.2.1-192.0.2.200", "198.51.100.0-198.51.100.7"];

/// Single IPv4 addresses.
pub const HOSTS4: [&str; 6] =
    ["10.0.1.7", "10.0.2.20", "192.0.2.1", "192.0.2.129", "198.51.100.7", "203.0.113.70"];

/// IPv6 prefixes; some contain others.
pub const NETWORKS6: [&str; 6] =
    ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::7", "2001:db8:2::/64", "fd00::/8", "fd00:1::1"];

/// Single IPv6 addresses.
pub const HOSTS6: [&str; 4] = ["2001:db8:1::7", "2001:db8:2::20", "fd00:1::1", "2001:db8:9::9"];

/// Ports.
pub const PORTS: [&str; 8] = ["22", "53", "80", "443", "1024", "8080", "40000", "65535"];

/// Ranges of ports.
pub const PORT_RANGES: [&str; 4] = ["0-1023", "80-443", "1024-65535", "8000-8100"];

/// Marks.
pub const MARKS: [&str; 5] = ["0x1", "0x2", "0x10", "0xff", "0x80000000"];

/// Masks of marks.
pub const MASKS: [&str; 4] = ["0x1", "0xf", "0xff", "0xff00"];

/// Connection tracking states.
pub const STATES: [&str; 5] = ["new", "established", "related", "invalid", "untracked"];

/// Names of TCP flags in nft.
pub const FLAGS: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];

/// `a,b,c` in braces, for an anonymous set of nft.
pub fn braces(items: &[&str]) -> String {
    format!("{{ {} }}", items.join(", "))
}

/// An operand for a value with these singles and ranges: one, a range, a set, with or without negation.
pub fn operand(random: &mut Random, singles: &[&str], ranges: &[&str]) -> String {
    let negation = if random.chance(25) { "!= " } else { "" };
    let value = match random.below(4) {
        0 if !ranges.is_empty() => random.pick(ranges).to_owned(),
        1 | 2 if singles.len() > 2 => braces(&random.some(singles, 2, 4)),
        _ => random.pick(singles).to_owned(),
    };
    format!("{negation}{value}")
}

/// Elements of an interval set that don't overlap, of prefixes or ranges that may: the first ones that fit.
pub fn disjoint<'a>(random: &mut Random, items: &[&'a str], most: usize) -> Vec<&'a str> {
    let mut chosen: Vec<&str> = Vec::new();
    for item in random.some(items, 1, items.len()) {
        if chosen.len() < most && chosen.iter().all(|other| !meet(other, item)) {
            chosen.push(item);
        }
    }
    chosen
}

/// Whether two address expressions of this module overlap.
fn meet(left: &str, right: &str) -> bool {
    match (bounds(left), bounds(right)) {
        (Some((a, b)), Some((c, d))) => a <= d && c <= b,
        _ => true,
    }
}

/// The interval of `address`, `address/length` or `address-address`.
fn bounds(text: &str) -> Option<(u128, u128)> {
    let number = |text: &str| -> Option<(u128, u32)> {
        if let Ok(short) = text.parse::<std::net::Ipv4Addr>() {
            return Some((u128::from(u32::from(short)), 32));
        }
        if let Ok(long) = text.parse::<std::net::Ipv6Addr>() {
            return Some((u128::from(long), 128));
        }
        text.parse().ok().map(|number: u128| (number, 128))
    };
    if let Some((low, high)) = text.split_once('-') {
        return Some((number(low)?.0, number(high)?.0));
    }
    match text.split_once('/') {
        Some((address, length)) => {
            let (value, width) = number(address)?;
            let free = width - length.parse::<u32>().ok()?;
            Some((value, value | ((1u128 << free) - 1)))
        }
        None => number(text).map(|(value, _)| (value, value)),
    }
}
