//! Hiding a snapshot's addresses and words, with everything that rules can tell apart kept apart.

use crate::snapshot::Snapshot;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges that are special, and whether the addresses in them stay as they are. An address outside of all never becomes
/// one inside (RFC 6890 and what it refers to).
const SPECIAL_V4: [(u32, u32, bool); 10] = [
    (0x0000_0000, 8, true),
    (0x0A00_0000, 8, false),
    (0x6440_0000, 10, false),
    (0x7F00_0000, 8, true),
    (0xA9FE_0000, 16, false),
    (0xAC10_0000, 12, false),
    (0xC0A8_0000, 16, false),
    (0xC612_0000, 15, false),
    (0xE000_0000, 4, true),
    (0xF000_0000, 4, true),
];

/// The same for IPv6.
const SPECIAL_V6: [(u128, u32, bool); 6] = [
    (0, 96, true),
    (0xFFFF << 32, 96, true),
    (0x2000 << 112, 3, false),
    (0xFC00 << 112, 7, false),
    (0xFE80 << 112, 10, false),
    (0xFF00 << 112, 8, true),
];

/// Bits of an IPv4 address that stay: which host of its /24 it is, so that the first and the last one stay what they are.
const KEPT_V4: u32 = 8;

/// Replaces addresses and link addresses, and drops comments, texts of logs, and what identifies the machine. Two addresses
/// share as many leading bits afterwards as before, so that every prefix is still one; private, multicast and other special
/// ranges stay themselves. The key is made up anew in each run and kept nowhere, so that the result can't be turned back.
///
/// Kept are: the last byte of IPv4 addresses, small IPv6 interface numbers, the addresses within a range that is written
/// with two ends, ports, and the names of interfaces, chains, sets and programs.
///
/// The host is called `name` then, wherever one of `known_as` stands in the texts.
pub fn anonymize(snapshot: &Snapshot, known_as: &[String], name: &str) -> Snapshot {
    let mut mapping = Mapping { key: RandomState::new(), kept: Vec::new() };
    for text in snapshot.files.values() {
        each_address(text, &mut |_, found| {
            if let Token::Range(IpAddr::V4(low), IpAddr::V4(high)) = found {
                mapping.keep(wide(low), wide(high), 96);
            } else if let Token::Range(IpAddr::V6(low), IpAddr::V6(high)) = found {
                mapping.keep(u128::from(low), u128::from(high), 0);
            }
            None
        });
    }
    // Shorter names would be found in words that have nothing to do with them.
    let long = known_as.iter().filter(|known| known.len() > 2 && *known != name).collect::<Vec<_>>();
    let renamed =
        |text: &str| long.iter().fold(text.to_owned(), |text, known| replace_word(&text, known, name));
    let mut changed = snapshot.clone();
    for (file, text) in &mut changed.files {
        let rules = [".nft", ".rules", ".save"].iter().any(|end| file.ends_with(end));
        let bare = if rules { without_words(text) } else { text.clone() };
        *text = each_address(&renamed(&bare), &mut |text, found| mapping.replaced(text, found));
    }
    let manifest = &mut changed.manifest;
    manifest.host = name.to_owned();
    manifest.anonymized = true;
    manifest.boot_id = None;
    manifest.namespace = None;
    for why in manifest.missing.values_mut() {
        *why = each_address(&renamed(why), &mut |text, found| mapping.replaced(text, found));
    }
    changed
}

/// An address in a text.
#[derive(Clone, Copy)]
enum Token {
    Address(IpAddr),
    Prefix(IpAddr, u32),
    /// `10.0.0.5-10.0.0.20`
    Range(IpAddr, IpAddr),
    /// A link address of six bytes.
    Link([u8; 6]),
}

struct Mapping {
    key: RandomState,
    /// Prefixes below which addresses stay as they are, so that ranges stay ranges: bits from the left, and how many. IPv4
    /// addresses stand behind 96 bits that no IPv6 address has.
    kept: Vec<(u128, u32)>,
}

/// An IPv4 address beside the IPv6 ones.
fn wide(address: Ipv4Addr) -> u128 {
    1 << 127 | u128::from(u32::from(address))
}

impl Mapping {
    fn keep(&mut self, low: u128, high: u128, from: u32) {
        let common = (low ^ high).leading_zeros();
        // What is wider than a /8 would keep nearly everything; its ends are mapped like others.
        if common >= from + 8 {
            self.kept.push((low, common));
        }
    }

    fn replaced(&self, text: &str, token: Token) -> Option<String> {
        Some(match token {
            Token::Address(address) => self.address(address).to_string(),
            Token::Prefix(address, length) => {
                let mapped = self.address(address);
                // A network stays one: what was zero behind the prefix is zero again.
                let mapped = match (address, mapped) {
                    (IpAddr::V4(old), IpAddr::V4(new)) => {
                        let mask = u32::MAX.checked_shr(length).unwrap_or(0);
                        let zero = u32::from(old) & mask == 0;
                        IpAddr::V4(if zero { (u32::from(new) & !mask).into() } else { new })
                    }
                    (IpAddr::V6(old), IpAddr::V6(new)) => {
                        let mask = u128::MAX.checked_shr(length).unwrap_or(0);
                        let zero = u128::from(old) & mask == 0;
                        IpAddr::V6(if zero { (u128::from(new) & !mask).into() } else { new })
                    }
                    (_, other) => other,
                };
                format!("{mapped}/{length}")
            }
            Token::Range(low, high) => format!("{}-{}", self.address(low), self.address(high)),
            Token::Link(bytes) => {
                let special = bytes == [0; 6] || bytes.first().is_some_and(|first| first & 1 == 1);
                if special {
                    return None;
                }
                let [.., a, b, c] = self.key.hash_one(("link", bytes)).to_be_bytes();
                let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
                let mapped = format!("02:00:00:{a:02x}:{b:02x}:{c:02x}");
                if upper { mapped.to_ascii_uppercase() } else { mapped }
            }
        })
    }

    fn address(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => IpAddr::V4(self.v4(v4)),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V6(self.v4(v4).to_ipv6_mapped()),
                None => IpAddr::V6(self.v6(v6)),
            },
        }
    }

    fn v4(&self, address: Ipv4Addr) -> Ipv4Addr {
        let value = u32::from(address);
        let special = SPECIAL_V4.map(|(low, length, stays)| (u128::from(low) << 96, length, stays));
        let place = wide(address);
        let mapped = self
            .bits(u128::from(value) << 96, 32 - KEPT_V4, &special, "v4", |done| self.stays(place, 96 + done));
        Ipv4Addr::from((mapped >> 96) as u32)
    }

    fn v6(&self, address: Ipv6Addr) -> Ipv6Addr {
        let value = u128::from(address);
        // Small numbers of interfaces stay: no bit of the second half is turned before the first that is set.
        let small = |done: u32| {
            done >= 64 && value & (u128::MAX >> 64) & !(u128::MAX.checked_shr(done).unwrap_or(0)) == 0
        };
        let mapped = self.bits(value, 128, &SPECIAL_V6, "v6", |done| small(done) || self.stays(value, done));
        Ipv6Addr::from(mapped)
    }

    /// True where the bit behind so many bits is within a range whose addresses stay.
    fn stays(&self, value: u128, done: u32) -> bool {
        self.kept.iter().any(|&(low, length)| done >= length && (value ^ low).leading_zeros() >= length)
    }

    /// Turns each of the first `width` bits or not, as the bits before it say: addresses with the same beginning keep one.
    fn bits(
        &self,
        value: u128,
        width: u32,
        special: &[(u128, u32, bool)],
        family: &str,
        stays: impl Fn(u32) -> bool,
    ) -> u128 {
        let mut mapped = value;
        for done in 0..width {
            let before = value & !(u128::MAX.checked_shr(done).unwrap_or(0));
            let on_the_way = special.iter().any(|&(low, length, fixed)| {
                let shared = (value ^ low).leading_zeros();
                shared >= done.min(length) && (done < length || fixed)
            });
            if on_the_way || stays(done) {
                continue;
            }
            if self.key.hash_one((family, before, done)) & 1 == 1 {
                mapped ^= 1 << (127 - done);
            }
        }
        mapped
    }
}

/// Goes through the addresses of a text; gives it with those replaced for which `replace` has something else.
fn each_address(text: &str, replace: &mut dyn FnMut(&str, Token) -> Option<String>) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let starts = byte.is_ascii_hexdigit() || byte == b':';
        let inside = at
            .checked_sub(1)
            .and_then(|before| bytes.get(before))
            .is_some_and(|&before| before.is_ascii_alphanumeric() || matches!(before, b'_' | b'.' | b':'));
        if !starts || inside {
            at += 1;
            continue;
        }
        let Some((token, length)) = text.get(at..).and_then(token) else {
            at += 1;
            continue;
        };
        let found = text.get(at..at + length).unwrap_or_default();
        if let Some(new) = replace(found, token) {
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str(&new);
            copied = at + length;
        }
        at += length;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

/// The address that a text begins with, and its length in bytes.
fn token(text: &str) -> Option<(Token, usize)> {
    let run = |of: &str| {
        of.find(|letter: char| !(letter.is_ascii_hexdigit() || matches!(letter, '.' | ':')))
            .unwrap_or(of.len())
    };
    let word = text.get(..run(text))?.trim_end_matches('.');
    let (address, length) = match word.parse::<IpAddr>() {
        Ok(address) => (address, word.len()),
        Err(_) => {
            if let Some(link) = link_address(word) {
                return Some((Token::Link(link), word.len()));
            }
            // With a port behind it, or a colon that belongs to the sentence.
            let head = match word.split_once(':') {
                Some((head, _)) if head.contains('.') => head,
                _ => word.strip_suffix(':')?,
            };
            (head.parse::<IpAddr>().ok()?, head.len())
        }
    };
    let rest = text.get(length..)?;
    if let Some(after) = rest.strip_prefix('/') {
        let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
        let most = if address.is_ipv4() { 32 } else { 128 };
        if let Some(bits) =
            after.get(..digits).and_then(|digits| digits.parse::<u32>().ok()).filter(|&bits| bits <= most)
        {
            return Some((Token::Prefix(address, bits), length + 1 + digits));
        }
    }
    if let Some(after) = rest.strip_prefix('-') {
        let other = after.get(..run(after))?;
        let other = match other.split_once(':') {
            Some((head, _)) if head.contains('.') => head,
            _ => other,
        };
        if let Ok(high) = other.parse::<IpAddr>()
            && high.is_ipv4() == address.is_ipv4()
        {
            return Some((Token::Range(address, high), length + 1 + other.len()));
        }
    }
    Some((Token::Address(address), length))
}

fn link_address(word: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = word.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Rules without comments and without the texts that they write to logs.
fn without_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let mut line = line.to_owned();
        for marker in ["-m comment --comment ", "comment "] {
            line = without_quoted(&line, marker, "");
        }
        for marker in ["--log-prefix ", "--nflog-prefix ", "log prefix "] {
            line = without_quoted(&line, marker, &format!("{marker}\"-\""));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A line in which the marker and the word or quoted text behind it are replaced.
fn without_quoted(line: &str, marker: &str, with: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(marker) {
        let (before, after) =
            (rest.get(..at).unwrap_or_default(), rest.get(at + marker.len()..).unwrap_or_default());
        let length = quoted(after);
        let word =
            before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_');
        if word || (marker == "comment " && !after.starts_with('"')) {
            out.push_str(rest.get(..at + marker.len()).unwrap_or_default());
            rest = after;
            continue;
        }
        out.push_str(before);
        out.push_str(with);
        let left = after.get(length..).unwrap_or_default();
        rest = if with.is_empty() { left.strip_prefix(' ').unwrap_or(left) } else { left };
    }
    out + rest
}

/// The length of a word, or of a text in quotes in which `\` stands before a quote.
fn quoted(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find(char::is_whitespace).unwrap_or(text.len());
    }
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// A text in which a word stands for another, where it stands alone.
fn replace_word(text: &str, old: &str, new: &str) -> String {
    let part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = (!old.is_empty()).then(|| rest.find(old)).flatten() {
        let (before, after) =
            (rest.get(..at).unwrap_or_default(), rest.get(at + old.len()..).unwrap_or_default());
        let alone = !part(before.chars().next_back()) && !part(after.chars().next());
        out.push_str(before);
        out.push_str(if alone { new } else { old });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Manifest, RULESET};
    use std::collections::BTreeMap;

    fn mapping() -> Mapping {
        Mapping { key: RandomState::new(), kept: Vec::new() }
    }

    #[test]
    fn prefixes_stay_prefixes_and_special_ranges_themselves() {
        let mapping = mapping();
        let samples: Vec<Ipv4Addr> = [
            "10.0.0.1",
            "10.0.0.200",
            "10.0.7.1",
            "10.200.0.1",
            "8.8.8.8",
            "8.8.4.4",
            "11.0.0.1",
            "172.16.0.1",
            "172.32.0.1",
            "192.168.1.1",
            "192.169.1.1",
            "198.51.100.7",
            "100.64.3.4",
            "128.0.0.1",
            "223.255.255.255",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec();
        let special = |value: u32| {
            SPECIAL_V4.iter().position(|(low, length, _)| (value ^ low).leading_zeros() >= *length)
        };
        for &left in &samples {
            let mapped = mapping.v4(left);
            assert_eq!(special(left.into()), special(mapped.into()), "{left} {mapped}");
            assert_eq!(left.octets()[3], mapped.octets()[3]);
            for &right in &samples {
                let shared = |a: Ipv4Addr, b: Ipv4Addr| (u32::from(a) ^ u32::from(b)).leading_zeros();
                assert_eq!(shared(left, right), shared(mapped, mapping.v4(right)), "{left} {right}");
            }
        }
        for same in ["127.0.0.1", "0.0.0.0", "224.0.0.251", "255.255.255.255", "::1", "ff02::1", "::"] {
            let address: IpAddr = same.parse().unwrap();
            assert_eq!(mapping.address(address), address);
        }
        let six = |text: &str| mapping.v6(text.parse().unwrap());
        assert_eq!(six("fe80::1").segments()[0] >> 6, 0xFE80 >> 6);
        assert_eq!(six("2001:db8::1").segments()[7], 1);
        assert_eq!(six("2001:db8::1").segments()[0] >> 13, 1);
    }

    #[test]
    fn different_runs_map_differently() {
        let address: Ipv4Addr = "203.0.113.9".parse().unwrap();
        let results: std::collections::BTreeSet<_> = (0..20).map(|_| mapping().v4(address)).collect();
        assert!(results.len() > 5, "{results:?}");
    }

    #[test]
    fn texts_keep_their_shape() {
        let ruleset = "\
# a note about customer X
table inet f {
\tset s {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 198.51.100.0/24, 203.0.112.10-203.0.113.20 }
\t}
\tchain input { # handle 1
\t\ttype filter hook input priority filter; policy drop;
\t\tip saddr 198.51.100.7 tcp dport 22 accept comment \"Jane's home\" # handle 4
\t\tip6 daddr 2001:db8::/32 log prefix \"from office: \" ether saddr 52:54:00:12:34:56 drop
\t\tdnat ip to 203.0.112.15:8080
\t}
}
";
        let snapshot = Snapshot {
            manifest: Manifest {
                host: "fw1".to_owned(),
                boot_id: Some("x".to_owned()),
                ..Manifest::default()
            },
            files: BTreeMap::from([(RULESET.to_owned(), ruleset.to_owned())]),
        };
        let hidden = anonymize(&snapshot, &["fw1".to_owned()], "host");
        let text = &hidden.files[RULESET];
        for word in ["customer", "Jane", "office", "198.51.100.7", "52:54:00", "203.0.112.15", "2001:db8::"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        for word in ["# handle 4", "tcp dport 22 accept", "ether saddr 02:00:00:", ".7 tcp", "::/32", ":8080"]
        {
            assert!(text.contains(word), "{word} not in {text}");
        }
        assert_eq!(text.lines().count(), ruleset.lines().count() - 1);
        let addresses = |line: &str| {
            let mut found = Vec::new();
            each_address(line, &mut |_, token| {
                found.push(token);
                None
            });
            found
        };
        let mapped = addresses(text);
        let Token::Prefix(IpAddr::V4(net), 24) = mapped[0] else { panic!() };
        let Token::Range(IpAddr::V4(low), IpAddr::V4(high)) = mapped[1] else { panic!() };
        assert_eq!(u32::from(high) - u32::from(low), 256 + 10, "a range stays as long as it was");
        let Token::Address(IpAddr::V4(one)) = mapped[2] else { panic!() };
        assert_eq!(net.octets()[..3], one.octets()[..3]);
        let Token::Address(IpAddr::V4(inside)) = *mapped.last().unwrap() else { panic!() };
        assert!(low <= inside && inside <= high);
        assert!(hidden.manifest.anonymized && hidden.manifest.boot_id.is_none());
    }
}
