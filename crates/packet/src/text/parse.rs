//! From text to points.

use super::{ORIGINAL, has_ports, names, usual};
use crate::{AtomTable, Field, InterfaceName, Point, ct_state, fib_type, tcp_flag};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The text isn't a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The byte where the text stops making sense; its length where something is missing at the end.
    pub offset: usize,
    /// What is wrong: one sentence, lower case.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads a packet whose text has no `where`. See [`parse_with_atoms`].
///
/// # Errors
/// The first place that doesn't make sense.
pub fn parse(text: &str) -> Result<Point, ParseError> {
    parse_with_atoms(text, &AtomTable::default())
}

/// Reads a packet.
///
/// A packet begins with a protocol (a name, `protocol NUMBER`, for ICMP a type after it) and `SOURCE -> DESTINATION`:
/// addresses, with ports for protocols that have them, IPv6 in brackets then. The rest is optional and in any order:
/// `in IF`, `out IF`, `ct STATE`, `ct mark N`, `ct status BITS`, `ct direction original|reply`,
/// `ct original A:P -> B:P`, `flags BITS`, `mark N`, `ttl N`, `length N`, `dscp N`, `ecn N`, `fragment N`, `code N`,
/// `type N`, `sport N`, `dport N`, `nfproto N`, `ether saddr|daddr MAC`, `pkttype TYPE`, `saddr|daddr type TYPE`,
/// `reverse-path present|missing`, and at the end `where "CONDITION" is true and …` with conditions of `atoms`.
///
/// What is left out: source port 40000; state `new`; TCP flags SYN, for `established` and `invalid` ACK;
/// destination type `local`, with an output interface `unicast`; the connection's original tuple is the packet's own;
/// otherwise as in [`Point::default`]. O(length + conditions · atoms).
///
/// # Errors
/// The first place that doesn't make sense.
pub fn parse_with_atoms(text: &str, atoms: &AtomTable) -> Result<Point, ParseError> {
    let mut parser = Parser {
        text,
        at: 0,
        atoms,
        point: Point::default(),
        set: BTreeSet::new(),
        conditions: Vec::new(),
        ipv4: true,
    };
    parser.packet()?;
    let set = parser.set;
    let mut point = usual(&parser.point, |field| set.contains(&field));
    for (field, value) in parser.conditions {
        point.set(field, value);
    }
    Ok(point)
}

/// One word, or one quoted text without its quotes.
struct Word<'a> {
    offset: usize,
    text: &'a str,
    quoted: bool,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    atoms: &'a AtomTable,
    point: Point,
    set: BTreeSet<Field>,
    conditions: Vec<(Field, u128)>,
    ipv4: bool,
}

/// User input for a message, cut where it is long.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

const FORM: &str = "write a packet like `tcp 10.0.1.10:40000 -> 10.0.2.20:8080 in eth0 ct new`";

fn fail<T>(offset: usize, message: impl Into<String>, help: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError { offset, message: message.into(), help: help.into() })
}

/// Six bytes in hexadecimal digits, with colons between them.
pub(super) fn mac_number(text: &str) -> Option<u128> {
    let (mut value, mut count) = (0, 0);
    for part in text.split(':') {
        if !(1..=2).contains(&part.len()) || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        value = value << 8 | u128::from(u8::from_str_radix(part, 16).ok()?);
        count += 1;
    }
    (count == 6).then_some(value & 0xFFFF_FFFF_FFFF)
}

/// A number in decimal or after `0x` in hexadecimal, at most `max`.
pub(super) fn number(text: &str, max: u128) -> Option<u128> {
    let digits = match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None if text.starts_with('+') => return None,
        None => text.parse(),
    };
    digits.ok().filter(|&value| value <= max)
}

impl<'a> Parser<'a> {
    /// The next word without taking it. Quotes only begin a text at the start of a word.
    fn peek(&self) -> Option<Word<'a>> {
        let rest = self.text.get(self.at..)?;
        let trimmed = rest.trim_start();
        let offset = self.text.len() - trimmed.len();
        if trimmed.is_empty() {
            return None;
        }
        if let Some(inner) = trimmed.strip_prefix('"') {
            let mut escaped = false;
            for (at, letter) in inner.char_indices() {
                match letter {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => return Some(Word { offset, text: inner.get(..at)?, quoted: true }),
                    _ => {}
                }
            }
        }
        let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
        Some(Word { offset, text: trimmed.get(..end)?, quoted: false })
    }

    fn take(&mut self, word: &Word<'a>) {
        self.at = word.offset + word.text.len() + if word.quoted { 2 } else { 0 };
    }

    fn next(&mut self, wanted: &str, help: &str) -> Result<Word<'a>, ParseError> {
        match self.peek() {
            Some(word) => {
                self.take(&word);
                Ok(word)
            }
            None => fail(self.text.len(), format!("the packet ends where {wanted} should follow"), help),
        }
    }

    fn give(&mut self, field: Field, value: u128) {
        self.point.set(field, value);
        self.set.insert(field);
    }

    fn packet(&mut self) -> Result<(), ParseError> {
        self.protocol()?;
        self.ends()?;
        while let Some(word) = self.peek() {
            self.take(&word);
            if word.text == "where" && !word.quoted {
                return self.conditions();
            }
            self.option(&word)?;
        }
        Ok(())
    }

    fn protocol(&mut self) -> Result<(), ParseError> {
        let word = self.next("a protocol", FORM)?;
        let (mut place, mut text) = (word.offset, word.text);
        if text == "protocol" {
            let word = self.next("the protocol's number", "write its IANA number, such as `protocol 47`")?;
            (place, text) = (word.offset, word.text);
        }
        let known = names::protocol_number(text).or_else(|| number(text, 255));
        let Some(l4proto) = known else {
            return fail(
                place,
                format!("`{}` is not a protocol", shown(text)),
                format!("begin with a protocol, such as `tcp`, `udp`, `icmp` or `protocol 47`: {FORM}"),
            );
        };
        self.give(Field::L4PROTO, l4proto);
        if l4proto != 1 && l4proto != 58 {
            return Ok(());
        }
        let Some(word) = self.peek() else { return Ok(()) };
        let named = names::icmp_number(l4proto, word.text);
        if named.is_some() || word.text == "type" {
            self.take(&word);
            let value = match named {
                Some(value) => value,
                None => self.icmp_type(l4proto)?,
            };
            self.give(Field::ICMP_TYPE, value);
        }
        Ok(())
    }

    fn icmp_type(&mut self, l4proto: u128) -> Result<u128, ParseError> {
        let help = "write a number from 0 to 255 or a name such as `echo-request`";
        let word = self.next("an icmp type", help)?;
        match names::icmp_number(l4proto, word.text).or_else(|| number(word.text, 255)) {
            Some(value) => Ok(value),
            None => fail(word.offset, format!("`{}` is not an icmp type", shown(word.text)), help),
        }
    }

    fn ends(&mut self) -> Result<(), ParseError> {
        let ports = has_ports(self.point.get(Field::L4PROTO));
        let place = self.peek().map_or(self.text.len(), |word| word.offset);
        let (source, source_port, ipv4) = self.end("the source address", ports)?;
        self.arrow()?;
        let second = self.peek().map_or(self.text.len(), |word| word.offset);
        let (destination, destination_port, also_ipv4) = self.end("the destination address", ports)?;
        if ipv4 != also_ipv4 {
            return fail(
                place,
                "source and destination are of two address families",
                "write two IPv4 addresses or two IPv6 addresses",
            );
        }
        if ports && destination_port.is_none() {
            let help = if ipv4 { "write `10.0.2.20:8080`" } else { "write `[2001:db8::20]:8080`" };
            return fail(second, "the destination has no port", help);
        }
        self.ipv4 = ipv4;
        self.give(Field::NFPROTO, if ipv4 { 2 } else { 10 });
        self.give(Field::SADDR, source);
        self.give(Field::DADDR, destination);
        for (field, port) in [(Field::SPORT, source_port), (Field::DPORT, destination_port)] {
            if let Some(port) = port {
                self.give(field, port);
            }
        }
        Ok(())
    }

    fn arrow(&mut self) -> Result<(), ParseError> {
        let help = format!("put ` -> ` between source and destination: {FORM}");
        let arrow = self.next("`->`", &help)?;
        if arrow.text == "->" {
            return Ok(());
        }
        fail(arrow.offset, format!("`{}` stands where `->` should", shown(arrow.text)), help)
    }

    /// An address, perhaps with a port; true where it is IPv4.
    fn end(&mut self, wanted: &str, ports: bool) -> Result<(u128, Option<u128>, bool), ParseError> {
        let word = self.next(wanted, FORM)?;
        let text = word.text;
        let (address, port) = if let Some(inner) = text.strip_prefix('[') {
            match inner.split_once(']') {
                Some((address, "")) => (address, None),
                Some((address, port)) => (address, port.strip_prefix(':').or(Some(port))),
                None => (text, None),
            }
        } else if text.bytes().filter(|&byte| byte == b':').count() == 1 {
            text.split_once(':').map_or((text, None), |(address, port)| (address, Some(port)))
        } else {
            (text, None)
        };
        let parsed = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
            (Ok(short), _) => (u128::from(u32::from(short)), true),
            (_, Ok(long)) => (u128::from(long), false),
            _ => {
                return fail(
                    word.offset,
                    format!("`{}` is not an address", shown(address)),
                    "write an IPv4 address such as `10.0.1.10:40000` or an IPv6 address such as `[2001:db8::1]:40000`",
                );
            }
        };
        let Some(port) = port else { return Ok((parsed.0, None, parsed.1)) };
        if !ports {
            return fail(word.offset, "this protocol has no ports", "leave the port out");
        }
        match number(port, 0xffff) {
            Some(port) => Ok((parsed.0, Some(port), parsed.1)),
            None => fail(
                word.offset,
                format!("`{}` is not a port", shown(port)),
                "write a number from 0 to 65535 after the colon",
            ),
        }
    }

    fn option(&mut self, word: &Word<'a>) -> Result<(), ParseError> {
        let simple = match word.text {
            "in" => return self.interface(Field::IIFNAME),
            "out" => return self.interface(Field::OIFNAME),
            "ct" => return self.connection(),
            "flags" => {
                let names: Vec<(u128, &str)> =
                    tcp_flag::NAMES.iter().enumerate().map(|(bit, name)| (1 << bit, *name)).collect();
                return self.bits(Field::TCP_FLAGS, &names);
            }
            "ether" => return self.mac(),
            "saddr" => return self.address_type(Field::FIB_SADDR_TYPE),
            "daddr" => return self.address_type(Field::FIB_DADDR_TYPE),
            "pkttype" => return self.one_of(Field::PKTTYPE, &names::PACKET_TYPES),
            "reverse-path" => return self.one_of(Field::FIB_REVERSE_PATH, &["missing", "present"]),
            "type" => {
                let value = self.icmp_type(self.point.get(Field::L4PROTO))?;
                self.give(Field::ICMP_TYPE, value);
                return Ok(());
            }
            "mark" => Field::MARK,
            "ttl" => Field::TTL,
            "length" => Field::LENGTH,
            "dscp" => Field::DSCP,
            "ecn" => Field::ECN,
            "fragment" => Field::FRAGMENT_OFFSET,
            "code" => Field::ICMP_CODE,
            "sport" => Field::SPORT,
            "dport" => Field::DPORT,
            "nfproto" => Field::NFPROTO,
            _ => {
                return fail(
                    word.offset,
                    format!("`{}` is not a field of a packet", shown(word.text)),
                    "after the addresses come fields such as `in eth0`, `out eth1`, `ct new`, `flags syn,ack`, \
                     `mark 0x1`, `ttl 64` or `length 60`",
                );
            }
        };
        self.number(simple, word.text)
    }

    fn number(&mut self, field: Field, keyword: &str) -> Result<(), ParseError> {
        let max = field.max_value();
        let help = format!("write a number from 0 to {max}, decimal or as 0x…");
        let word = self.next(&format!("the value of `{keyword}`"), &help)?;
        match number(word.text, max) {
            Some(value) => {
                self.give(field, value);
                Ok(())
            }
            None => fail(word.offset, format!("`{}` is not a value of `{keyword}`", shown(word.text)), help),
        }
    }

    fn interface(&mut self, field: Field) -> Result<(), ParseError> {
        let help = "write the name of an interface, such as `eth0`";
        let word = self.next("an interface", help)?;
        let hexadecimal = word.text.starts_with("0x") && !word.quoted;
        if let Some(value) = number(word.text, u128::MAX).filter(|_| hexadecimal) {
            self.give(field, value);
            return Ok(());
        }
        match InterfaceName::new(word.text) {
            Ok(InterfaceName(value)) => {
                self.give(field, value);
                Ok(())
            }
            Err(_) => fail(
                word.offset,
                format!("`{}` is too long for the name of an interface", shown(word.text)),
                "names of interfaces have at most 15 bytes",
            ),
        }
    }

    fn connection(&mut self) -> Result<(), ParseError> {
        let help = "write `ct new`, `ct established`, `ct related`, `ct invalid`, `ct untracked`, `ct mark 0x1`, \
                    `ct status dnat`, `ct direction reply` or `ct original 10.0.0.1:40000 -> 10.0.0.2:80`";
        let word = self.next("a connection state", help)?;
        match word.text {
            "mark" => return self.number(Field::CT_MARK, "ct mark"),
            "status" => return self.bits(Field::CT_STATUS, &names::STATUS_BITS),
            "direction" => return self.one_of(Field::CT_DIRECTION, &["original", "reply"]),
            "original" => return self.original(),
            "state" => return self.one_of(Field::CT_STATE, &ct_state::NAMES),
            _ => {}
        }
        match ct_state::NAMES.iter().position(|name| *name == word.text) {
            Some(value) => {
                self.give(Field::CT_STATE, value as u128);
                Ok(())
            }
            None => fail(word.offset, format!("`{}` is not a connection state", shown(word.text)), help),
        }
    }

    fn original(&mut self) -> Result<(), ParseError> {
        let place = self.peek().map_or(self.text.len(), |word| word.offset);
        let (source, source_port, ipv4) = self.end("the original source address", true)?;
        self.arrow()?;
        let (destination, destination_port, also_ipv4) =
            self.end("the original destination address", true)?;
        if ipv4 != self.ipv4 || also_ipv4 != self.ipv4 {
            return fail(
                place,
                "the original addresses are of another family than the packet's",
                "write all addresses in the notation of the packet's own",
            );
        }
        let ports = [
            source_port.unwrap_or(self.point.get(Field::SPORT)),
            destination_port.unwrap_or(self.point.get(Field::DPORT)),
        ];
        for (entry, value) in ORIGINAL.iter().zip([source, destination, ports[0], ports[1]]) {
            self.give(entry.0, value);
        }
        Ok(())
    }

    /// `none`, or names and numbers joined with commas.
    fn bits(&mut self, field: Field, names: &[(u128, &str)]) -> Result<(), ParseError> {
        let known: Vec<&str> = names.iter().map(|entry| entry.1).collect();
        let help = format!("write `none`, or names joined with commas: {}", known.join(", "));
        let word = self.next("the bits that are set", &help)?;
        let mut value = 0;
        for part in word.text.split(',').filter(|_| word.text != "none") {
            match names.iter().find(|entry| entry.1 == part) {
                Some((bit, _)) => value |= bit,
                None => match number(part, field.max_value()) {
                    Some(bits) => value |= bits,
                    None => {
                        return fail(
                            word.offset,
                            format!("`{}` is not the name of a bit of {}", shown(part), field.name()),
                            help,
                        );
                    }
                },
            }
        }
        self.give(field, value);
        Ok(())
    }

    fn one_of(&mut self, field: Field, names: &[&str]) -> Result<(), ParseError> {
        let help = format!("write one of {}", names.join(", "));
        let word = self.next("a value", &help)?;
        let named = names.iter().position(|name| *name == word.text).map(|at| at as u128);
        match named.or_else(|| number(word.text, field.max_value())) {
            Some(value) => {
                self.give(field, value);
                Ok(())
            }
            None => fail(word.offset, format!("`{}` is not one of its values", shown(word.text)), help),
        }
    }

    fn mac(&mut self) -> Result<(), ParseError> {
        let help = "write `ether saddr 02:00:00:00:00:01` or `ether daddr 02:00:00:00:00:01`";
        let which = self.next("`saddr` or `daddr`", help)?;
        let field = match which.text {
            "saddr" => Field::ETHER_SADDR,
            "daddr" => Field::ETHER_DADDR,
            other => {
                return fail(which.offset, format!("`{}` is not an end of a frame", shown(other)), help);
            }
        };
        let word = self.next("a link-layer address", help)?;
        let Some(value) = mac_number(word.text) else {
            return fail(word.offset, format!("`{}` is not a link-layer address", shown(word.text)), help);
        };
        self.give(field, value);
        Ok(())
    }

    fn address_type(&mut self, field: Field) -> Result<(), ParseError> {
        let help = "write `saddr type unicast` or `daddr type local`";
        let word = self.next("`type`", help)?;
        if word.text != "type" {
            return fail(word.offset, format!("`{}` stands where `type` should", shown(word.text)), help);
        }
        self.one_of(field, &fib_type::NAMES)
    }

    fn conditions(&mut self) -> Result<(), ParseError> {
        loop {
            self.condition()?;
            let Some(word) = self.peek() else { return Ok(()) };
            self.take(&word);
            if word.text != "and" {
                return fail(
                    word.offset,
                    format!("`{}` stands where `and` or the end should", shown(word.text)),
                    "conditions come last and are joined with `and`",
                );
            }
        }
    }

    fn condition(&mut self) -> Result<(), ParseError> {
        let help =
            "write `where \"limit rate 5/second\" is false`, with the text of a construct of the ruleset";
        let word = self.next("a condition", help)?;
        let text = unquote(&word);
        let (mut occurrence, mut scope) = (1, None);
        let value = loop {
            let next = self.next("`is true` or `is false`", help)?;
            match (next.text, next.text.strip_prefix('#').map(str::parse)) {
                ("is", _) => break self.next("`true`, `false` or a value", help)?,
                ("on", _) => scope = Some(unquote(&self.next("the name of a host", help)?)),
                (_, Some(Ok(count))) => occurrence = count,
                _ => {
                    return fail(
                        next.offset,
                        format!("`{}` stands where `is` should", shown(next.text)),
                        help,
                    );
                }
            }
        };
        let mut named = self.atoms.iter().filter(|(_, info)| {
            *info.text == *text && scope.as_ref().is_none_or(|scope| *info.scope == **scope)
        });
        let Some((field, info)) = usize::checked_sub(occurrence, 1).and_then(|skip| named.nth(skip)) else {
            return fail(
                word.offset,
                format!("no opaque condition `{}` is in the ruleset", shown(&text)),
                "only constructs that the model leaves open can be given a value, under the text that findings show",
            );
        };
        match super::value::read(info, value.text) {
            Some(value) => {
                self.conditions.push((field, value));
                Ok(())
            }
            None => {
                let help = match info.domain {
                    (0, 1) => "write `true` or `false`".to_owned(),
                    (low, high) => format!("write a number from {low} to {high}"),
                };
                fail(value.offset, format!("`{}` is not a value of this condition", shown(value.text)), help)
            }
        }
    }
}

/// The text of a word, without the backslashes of a quoted one.
fn unquote(word: &Word<'_>) -> String {
    if !word.quoted {
        return word.text.to_owned();
    }
    let mut text = String::with_capacity(word.text.len());
    let mut escaped = false;
    for letter in word.text.chars() {
        if letter == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(letter);
            escaped = false;
        }
    }
    text
}
