//! Arguments of options: their checks, and the values that lowering takes from them.

use super::names;
use super::spec::Arg;

/// Whether a word is a value of an option.
pub(super) type Check = fn(&str) -> bool;

fn never(_: &str) -> bool {
    false
}

const fn arg(check: Check, expects: &'static str) -> Arg {
    Arg { words: 1, optional: false, check, second: never, expects, shows_version: false }
}

const fn version_arg(check: Check, expects: &'static str) -> Arg {
    Arg { words: 1, optional: false, check, second: never, expects, shows_version: true }
}

pub(super) const NOTHING: Arg =
    Arg { words: 0, optional: false, check: never, second: never, expects: "nothing", shows_version: false };
pub(super) const TEXT: Arg = arg(|_| true, "a text");
pub(super) const NAME: Arg = arg(|s| !s.is_empty() && s.len() < 64, "a name of up to 63 characters");
pub(super) const COMMENT: Arg = arg(|s| s.len() < 256, "a text of up to 255 bytes");
pub(super) const PATTERN: Arg = arg(|s| !s.is_empty() && s.len() <= 128, "a text of 1 to 128 bytes");
pub(super) const ADDRESS_LIST: Arg =
    arg(|s| list(s, |w| matches!(address(w), Some(Address::V6(_)))), "a list of IPv6 addresses");
pub(super) const HEX_PATTERN: Arg =
    arg(hex_pattern, "a text with bytes in hexadecimal between bars, up to 128 bytes");
pub(super) const U8: Arg = arg(|s| number(s, 0xFF).is_some(), "a number from 0 to 255");
pub(super) const POSITIVE_U8: Arg = arg(|s| number(s, 0xFF).is_some_and(|n| n > 0), "a number from 1 to 255");
pub(super) const U16: Arg = arg(|s| number(s, 0xFFFF).is_some(), "a number from 0 to 65535");
pub(super) const U32: Arg = arg(|s| number(s, U32_MAX).is_some(), "a number from 0 to 4294967295");
pub(super) const U64: Arg = arg(|s| number(s, u64::MAX).is_some(), "a number of 64 bits");
pub(super) const UP_TO_2: Arg = arg(|s| number(s, 2).is_some(), "0, 1 or 2");
pub(super) const UP_TO_3: Arg = arg(|s| number(s, 3).is_some(), "a number from 0 to 3");
pub(super) const DSCP: Arg = arg(|s| number(s, 0x3F).is_some(), "a number from 0 to 0x3f");
pub(super) const DSCP_CLASS: Arg =
    arg(|s| names::dscp_class(s).is_some(), "a class such as CS1, AF11, BE or EF");
pub(super) const U8_RANGE: Arg = arg(|s| range(s, 0xFF).is_some(), "a number or a range `a:b` up to 255");
pub(super) const U16_RANGE: Arg =
    arg(|s| range(s, 0xFFFF).is_some(), "a number or a range `a:b` up to 65535");
pub(super) const U32_RANGE: Arg =
    arg(|s| range(s, U32_MAX).is_some(), "a number or a range `a:b` up to 4294967295");
pub(super) const U64_RANGE: Arg =
    arg(|s| range(s, u64::MAX).is_some(), "a number or a range `a:b` of 64 bits");
pub(super) const PORT: Arg = arg(|s| port(s).is_some(), "a port from 0 to 65535 or the name of a service");
pub(super) const PORTS: Arg = arg(|s| port_range(s, ':').is_some(), "a port, a service, or a range `a:b`");
pub(super) const PORT_LIST: Arg =
    arg(|s| port_list(s).is_some(), "up to 15 ports, with a range `a:b` as two");
pub(super) const NAT_PORTS: Arg = arg(|s| nat_ports(s, false).is_some(), "a port or a range `a-b`");
pub(super) const MARK: Arg = arg(|s| masked(s, U32_MAX).is_some(), "a number, or `value/mask`, of 32 bits");
pub(super) const TOS: Arg =
    arg(|s| tos(s).is_some(), "a number from 0 to 255, `value/mask`, or a name such as Minimize-Delay");
pub(super) const REALM: Arg = arg(|s| masked(s, U32_MAX).is_some() || word(s), "a realm, or `value/mask`");
pub(super) const STATES: Arg = arg(
    |s| list(s, |w| names::CT_STATES.iter().any(|known| known.eq_ignore_ascii_case(w))),
    "a list of NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED, SNAT, DNAT",
);
pub(super) const PLAIN_STATES: Arg = arg(
    |s| list(s, |w| names::CT_STATES.iter().take(5).any(|known| known.eq_ignore_ascii_case(w))),
    "a list of NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED",
);
pub(super) const CT_STATUS: Arg = arg(
    |s| list(s, |w| one_of(w, &["NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"])),
    "a list of NONE, EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED",
);
pub(super) const DIRECTION: Arg = arg(|s| one_of(s, &["ORIGINAL", "REPLY"]), "ORIGINAL or REPLY");
pub(super) const PROTOCOL: Arg =
    arg(|s| protocol(s).is_some(), "a protocol by name, or a number from 0 to 255");
pub(super) const REAL_PROTOCOL: Arg =
    arg(|s| protocol(s).is_some_and(|n| n != 0), "a protocol by name, or a number from 1 to 255");
pub(super) const NETWORK: Arg = version_arg(
    |s| list(s, |w| network(w).is_some()),
    "an address, `address/mask`, a host name, or a list of these",
);
pub(super) const ONE_NETWORK: Arg = version_arg(|s| network(s).is_some(), "an address or `address/mask`");
pub(super) const ADDRESS: Arg = version_arg(|s| address(s).is_some(), "an address");
pub(super) const PREFIX: Arg =
    version_arg(|s| s.contains('/') && networks(s).is_some(), "a prefix `address/length`");
pub(super) const ADDRESS_RANGE: Arg =
    version_arg(|s| address_range(s).is_some(), "a range `first-last` of addresses");
pub(super) const NAT_TO: Arg =
    version_arg(|s| nat_to(s).is_some(), "`address[-address][:port[-port]]`, IPv6 addresses in brackets");
pub(super) const REJECT_WITH: Arg = version_arg(
    |s| names::reject(s).is_some(),
    "an error such as icmp-port-unreachable, icmp6-adm-prohibited, tcp-reset",
);
pub(super) const INTERFACE: Arg = arg(interface, "an interface name of up to 15 characters");
pub(super) const MAC: Arg = arg(|s| mac(s).is_some(), "six bytes in hexadecimal, `02:00:00:00:00:01`");
pub(super) const RATE: Arg = arg(rate, "a rate such as 5/second or 10/minute");
pub(super) const HASH_RATE: Arg = arg(|s| rate(s) || byte_rate(s), "a rate such as 5/second or 512kb/s");
pub(super) const BURST: Arg =
    arg(|s| number(s, U32_MAX).is_some() || byte_count(s), "a number, or bytes such as 1mb");
pub(super) const HASH_MODE: Arg = arg(
    |s| list(s, |w| one_of(w, &["srcip", "srcport", "dstip", "dstport"])),
    "a list of srcip, srcport, dstip, dstport",
);
pub(super) const ICMP_TYPE: Arg =
    arg(|s| names::icmp_type(s, false).is_some(), "a type, `type/code`, or a name");
pub(super) const ICMP6_TYPE: Arg =
    arg(|s| names::icmp_type(s, true).is_some(), "a type, `type/code`, or a name");
pub(super) const ADDR_TYPE: Arg =
    arg(|s| list(s, |w| names::addr_type(w).is_some()), "a list of types such as LOCAL, UNICAST, BROADCAST");
pub(super) const LOG_LEVEL: Arg = arg(
    |s| {
        number(s, 7).is_some()
            || one_of(
                s,
                &[
                    "emerg", "panic", "alert", "crit", "err", "error", "warn", "warning", "notice", "info",
                    "debug",
                ],
            )
    },
    "a level from 0 to 7 or its name",
);
pub(super) const CLASS: Arg = arg(class, "`major:minor` in hexadecimal");
pub(super) const BALANCE: Arg = arg(balance, "a range `a:b` of queues, a below b");
pub(super) const ID_RANGE: Arg = arg(id_range, "a user or group, by name or number, or a range `a-b`");
pub(super) const PROBABILITY: Arg =
    arg(|s| s.parse::<f64>().is_ok_and(|p| (0.0..=1.0).contains(&p)), "a number from 0 to 1");
pub(super) const SET_FLAGS: Arg = Arg {
    words: 2,
    second: |s| list(s, |w| one_of(w, &["src", "dst"])),
    expects: "the name of a set and up to six of `src`, `dst`",
    ..NAME
};
pub(super) const TCP_FLAGS: Arg = Arg {
    words: 2,
    second: |s| names::tcp_flags(s).is_some(),
    ..arg(|s| names::tcp_flags(s).is_some(), "two lists of SYN, ACK, FIN, RST, URG, PSH, ALL, NONE")
};
pub(super) const CHUNKS: Arg = Arg {
    words: 2,
    second: |s| {
        list(s, |w| {
            names::SCTP_CHUNKS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(w.split(':').next().unwrap_or(w)))
        })
    },
    ..arg(|s| one_of(s, &["all", "any", "only"]), "`all`, `any` or `only`, and a list of chunk types")
};
pub(super) const DCCP_TYPES: Arg = arg(
    |s| list(s, |w| names::DCCP_TYPES.iter().any(|known| known.eq_ignore_ascii_case(w))),
    "a list of packet types",
);
pub(super) const TCP_OPTIONS: Arg = arg(
    |s| {
        list(s, |w| {
            number(w, 255).is_some_and(|n| n > 1)
                || one_of(w, &["wscale", "mss", "sack-permitted", "sack", "timestamp", "md5"])
        })
    },
    "a list of option numbers from 2 on, or names",
);
pub(super) const OPTIONAL_RATE: Arg = Arg { optional: true, ..arg(|s| !s.is_empty(), "a rate") };
pub(super) const HEADER_OPTIONS: Arg = arg(
    |s| {
        list(s, |w| {
            w.split_once(':')
                .map_or(number(w, 255), |(kind, length)| number(kind, 255).and(number(length, 255)))
                .is_some()
        })
    },
    "a list of `type:length`",
);
pub(super) const IPV6_HEADERS: Arg = arg(
    |s| list(s, |w| names::IPV6_HEADERS.contains(&w) || number(w, 255).is_some()),
    "a list of extension headers such as hop-by-hop, route, frag",
);
pub(super) const TIME_OF_DAY: Arg =
    arg(|s| s.split(':').count() <= 3 && s.split(':').all(|n| number(n, 59).is_some()), "`hh:mm[:ss]`");
pub(super) const DATE: Arg = arg(
    |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit() || b"-T:".contains(&b)),
    "a date `YYYY-MM-DDThh:mm:ss`",
);
pub(super) const WEEKDAYS: Arg = arg(
    |s| {
        list(s, |w| {
            number(w, 7).is_some_and(|n| n > 0)
                || names::WEEKDAYS
                    .iter()
                    .any(|day| w.len() >= 2 && w.get(..2).is_some_and(|two| two.eq_ignore_ascii_case(day)))
        })
    },
    "a list of days, Mon to Sun or 1 to 7",
);
pub(super) const MONTH_DAYS: Arg = arg(
    |s| list(s, |w| number(w.trim_end_matches(['s', 't', 'n', 'd', 'r', 'h']), 31).is_some_and(|n| n > 0)),
    "a list of days from 1 to 31",
);
pub(super) const LABEL: Arg = arg(|s| number(s, 127).is_some(), "a label from 0 to 127");

/// An argument that is one of some words, in any case.
macro_rules! choice {
    ($name:ident, $expects:literal, $($word:literal),+) => {
        pub(super) const $name: Arg = arg(|s| one_of(s, &[$($word),+]), $expects);
    };
}

choice!(PKT_TYPE, "unicast, broadcast or multicast", "unicast", "host", "broadcast", "multicast", "any");
choice!(CONNBYTES_MODE, "packets, bytes or avgpkt", "packets", "bytes", "avgpkt");
choice!(CONNBYTES_DIR, "original, reply or both", "original", "reply", "both");
choice!(POLICY_DIR, "in or out", "in", "out");
choice!(POLICY_POL, "none or ipsec", "none", "ipsec");
choice!(POLICY_MODE, "transport or tunnel", "transport", "tunnel");
choice!(AUDIT_TYPE, "accept, drop or reject", "accept", "drop", "reject");
choice!(STATISTIC_MODE, "random or nth", "random", "nth");
choice!(ALGO, "bm or kmp", "bm", "kmp");
choice!(VMETHOD, "GATE, IPIP or MASQ", "GATE", "IPIP", "MASQ");
choice!(CT_DIR_ZONE, "a zone, or `mark`", "mark");

pub(super) const ZONE: Arg =
    arg(|s| number(s, 0xFFFF).is_some() || (CT_DIR_ZONE.check)(s), "a zone from 0 to 65535, or `mark`");

const U32_MAX: u64 = u32::MAX as u64;

fn one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn list(words: &str, check: impl Fn(&str) -> bool) -> bool {
    words.split(',').all(check)
}

fn word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A number as strtoul reads it with base 0: decimal, 0x… hexadecimal, 0… octal.
pub(crate) fn number(text: &str, max: u64) -> Option<u64> {
    let value = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => radix(text.get(2..)?, 16),
        [b'0', _, ..] => radix(text.get(1..)?, 8),
        _ => radix(text, 10),
    };
    value.filter(|&value| value <= max)
}

/// Unlike `from_str_radix`, without a sign.
fn radix(digits: &str, radix: u32) -> Option<u64> {
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// `a`, `a:b`, `:b`, `a:` or `:`, with `a` not above `b`.
pub(crate) fn range(text: &str, max: u64) -> Option<(u64, u64)> {
    let Some((low, high)) = text.split_once(':') else {
        let value = number(text, max)?;
        return Some((value, value));
    };
    let low = if low.is_empty() { 0 } else { number(low, max)? };
    let high = if high.is_empty() { max } else { number(high, max)? };
    (low <= high).then_some((low, high))
}

/// A port by number or by the name of its service.
pub(crate) fn port(text: &str) -> Option<u16> {
    if text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
        // Ports are always decimal to people; iptables reads 010 as 8.
        number(text, 0xFFFF).map(|port| port as u16)
    } else {
        names::service(text)
    }
}

/// A port, or two with a separator between them.
pub(crate) fn port_range(text: &str, separator: char) -> Option<(u16, u16)> {
    if let Some(port) = port(text) {
        return Some((port, port));
    }
    let (low, high) = text.split_once(separator)?;
    let low = if low.is_empty() { 0 } else { port(low)? };
    let high = if high.is_empty() { u16::MAX } else { port(high)? };
    (low <= high).then_some((low, high))
}

/// multiport's list: at most 15 ports, a range counts as two.
pub(crate) fn port_list(text: &str) -> Option<Vec<(u16, u16)>> {
    let mut ports = Vec::new();
    let mut slots = 0;
    for part in text.split(',') {
        let range = port_range(part, ':')?;
        slots += if part.contains(':') { 2 } else { 1 };
        ports.push(range);
    }
    (slots <= 15).then_some(ports)
}

/// Ports of REDIRECT and the like: `a` or `a-b`, for DNAT and SNAT also `a-b/base`. Both ends, and the base.
pub(crate) fn nat_ports(text: &str, with_base: bool) -> Option<(u16, u16, Option<u16>)> {
    if let Some(port) = port(text) {
        return Some((port, port, None));
    }
    let (range, base) = match text.split_once('/') {
        Some((range, base)) if with_base => (range, Some(port(base).filter(|&base| base > 0)?)),
        Some(_) => return None,
        None => (text, None),
    };
    let (low, high) = range.split_once('-')?;
    let (low, high) = (number(low, 0xFFFF)?, number(high, 0xFFFF)?);
    (low <= high).then_some((low as u16, high as u16, base))
}

/// `value` or `value/mask`.
pub(crate) fn masked(text: &str, max: u64) -> Option<(u64, Option<u64>)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value, max)?, Some(number(mask, max)?))),
        None => Some((number(text, max)?, None)),
    }
}

/// A TOS value and mask: names have the mask 0x3f, bare numbers 0xff.
pub(crate) fn tos(text: &str) -> Option<(u8, u8)> {
    if let Some(value) = names::tos(text) {
        return Some((value, 0x3F));
    }
    let (value, mask) = masked(text, 0xFF)?;
    Some((value as u8, mask.unwrap_or(0xFF) as u8))
}

/// A protocol number; `all` is 0.
pub(crate) fn protocol(text: &str) -> Option<u8> {
    match text.bytes().next()? {
        b'0'..=b'9' => number(text, 0xFF).map(|number| number as u8),
        _ => names::protocol(text),
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// IPv4.
    V4(u32),
    /// IPv6.
    V6(u128),
}

/// What `-s` and `-d` take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network<'t> {
    /// Address and mask; bits outside the mask don't count.
    V4(u32, u32),
    /// The same in IPv6.
    V6(u128, u128),
    /// A host name, resolved when the rule is loaded.
    Name(&'t str),
}

/// A literal address.
pub(crate) fn address(text: &str) -> Option<Address> {
    if text.contains(':') {
        text.parse::<std::net::Ipv6Addr>().ok().map(|address| Address::V6(address.to_bits()))
    } else {
        text.parse::<std::net::Ipv4Addr>().ok().map(|address| Address::V4(address.to_bits()))
    }
}

/// An address with or without mask, or a host name.
pub(crate) fn network(text: &str) -> Option<Network<'_>> {
    let (host, mask) = match text.split_once('/') {
        Some((host, mask)) => (host, Some(mask)),
        None => (text, None),
    };
    match address(host) {
        Some(Address::V4(address)) => {
            let mask = match mask {
                None => u32::MAX,
                Some(mask) if mask.contains('.') => match self::address(mask)? {
                    Address::V4(mask) => mask,
                    Address::V6(_) => return None,
                },
                Some(length) => u32::MAX.checked_shl(32 - number(length, 32)? as u32).unwrap_or(0),
            };
            Some(Network::V4(address & mask, mask))
        }
        Some(Address::V6(address)) => {
            let mask = match mask {
                None => u128::MAX,
                Some(mask) if mask.contains(':') => match self::address(mask)? {
                    Address::V6(mask) => mask,
                    Address::V4(_) => return None,
                },
                Some(length) => u128::MAX.checked_shl(128 - number(length, 128)? as u32).unwrap_or(0),
            };
            Some(Network::V6(address & mask, mask))
        }
        None if host_name(host) => Some(Network::Name(text)),
        None => None,
    }
}

/// A list of networks.
pub(crate) fn networks(text: &str) -> Option<Vec<Network<'_>>> {
    text.split(',').map(network).collect()
}

/// A name that a resolver could know; not a misspelt address.
fn host_name(text: &str) -> bool {
    word(text)
        && text.len() < 254
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.starts_with(['-', '.'])
}

/// `first-last`, or one address.
pub(crate) fn address_range(text: &str) -> Option<(Address, Address)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (address(low)?, address(high)?) {
        (Address::V4(a), Address::V4(b)) if a <= b => Some((Address::V4(a), Address::V4(b))),
        (Address::V6(a), Address::V6(b)) if a <= b => Some((Address::V6(a), Address::V6(b))),
        _ => None,
    }
}

/// What DNAT and SNAT write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NatTo {
    /// First and last address; `None` keeps the packet's.
    pub addresses: Option<(Address, Address)>,
    /// First and last port, and the base of a port mapping; `None` keeps the packet's.
    pub ports: Option<(u16, u16, Option<u16>)>,
}

/// `address[-address][:ports]`, `[address[-address]]:ports`, `:ports`.
pub(crate) fn nat_to(text: &str) -> Option<NatTo> {
    let (addresses, ports) = if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        (inside, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else if text.bytes().filter(|&byte| byte == b':').nth(1).is_some() {
        (text, None)
    } else {
        text.split_once(':').map_or((text, None), |(addresses, ports)| (addresses, Some(ports)))
    };
    let addresses = if addresses.is_empty() { None } else { Some(address_range(addresses)?) };
    let ports = match ports {
        Some(ports) => Some(nat_ports(ports, true)?),
        None => None,
    };
    (addresses.is_some() || ports.is_some()).then_some(NatTo { addresses, ports })
}

/// Six bytes as one number.
pub(crate) fn mac(text: &str) -> Option<u64> {
    let mut value = 0;
    let mut count = 0;
    for part in text.split(':') {
        if part.is_empty() || part.len() > 2 {
            return None;
        }
        value = value << 8 | radix(part, 16)?;
        count += 1;
        if count > 6 {
            return None;
        }
    }
    (count == 6).then_some(value)
}

fn interface(name: &str) -> bool {
    !name.is_empty() && name.len() <= 15 && !name.contains('/') && !name.contains(char::is_whitespace)
}

fn rate(text: &str) -> bool {
    let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
    let unit = unit.to_ascii_lowercase();
    number(count, U32_MAX).is_some_and(|count| count > 0)
        && !unit.is_empty()
        && ["second", "minute", "hour", "day"].iter().any(|known| known.starts_with(&unit))
}

fn byte_rate(text: &str) -> bool {
    text.strip_suffix("/s")
        .or(text.strip_suffix("/sec"))
        .or(text.strip_suffix("/second"))
        .is_some_and(byte_count)
}

fn byte_count(text: &str) -> bool {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    number(digits, U32_MAX).is_some_and(|count| count > 0) && matches!(unit, "b" | "kb" | "mb")
}

fn class(text: &str) -> bool {
    text.split_once(':').is_some_and(|(major, minor)| {
        radix(major, 16).is_some_and(|n| n <= 0xFFFF) && radix(minor, 16).is_some_and(|n| n <= U32_MAX)
    })
}

fn balance(text: &str) -> bool {
    let Some((low, high)) = text.split_once(':') else { return false };
    let low = if low.is_empty() { Some(0) } else { number(low, 65534) };
    let high = if high.is_empty() { Some(65534) } else { number(high, 65534) };
    matches!((low, high), (Some(low), Some(high)) if low < high)
}

fn id_range(text: &str) -> bool {
    if text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        matches!((number(low, U32_MAX), number(high, U32_MAX)), (Some(low), Some(high)) if low <= high)
    } else {
        word(text.trim_end_matches('$'))
    }
}

fn hex_pattern(text: &str) -> bool {
    let mut length = 0;
    for (index, part) in text.split('|').enumerate() {
        if index % 2 == 0 {
            length += part.len();
            continue;
        }
        let digits = part.bytes().filter(|byte| !byte.is_ascii_whitespace());
        let mut count = 0;
        for digit in digits {
            if !digit.is_ascii_hexdigit() {
                return false;
            }
            count += 1;
        }
        if count % 2 != 0 {
            return false;
        }
        length += count / 2;
    }
    (1..=128).contains(&length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        assert_eq!(number("0x1F", 255), Some(31));
        assert_eq!(number("010", 255), Some(8));
        assert_eq!(number("-1", 255), None);
        assert_eq!(number("+1", 255), None);
        assert_eq!(range(":", 9), Some((0, 9)));
        assert_eq!(range("4:3", 9), None);
        assert_eq!(port_range("ftp-data", '-'), Some((20, 20)));
        assert_eq!(port_range("1024:", ':'), Some((1024, 65535)));
    }

    #[test]
    fn addresses() {
        assert_eq!(network("10.1.2.3/255.0.255.0"), Some(Network::V4(0x0A00_0200, 0xFF00_FF00)));
        assert_eq!(network("10.1.2.300"), None);
        assert_eq!(network("::1/0"), Some(Network::V6(0, 0)));
        assert_eq!(network("db.example.org"), Some(Network::Name("db.example.org")));
        assert_eq!(nat_to("[2001:db8::1]:80-90/5").and_then(|to| to.ports), Some((80, 90, Some(5))));
        assert_eq!(nat_to("2001:db8::1").and_then(|to| to.ports), None);
        assert_eq!(nat_to("10.0.0.1:echo-ssh"), None);
        assert_eq!(mac("02:00:00:00:00"), None);
        assert_eq!(mac("00:00:00:00:01:ff"), Some(0x1FF));
    }
}
