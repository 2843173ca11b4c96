//! From points to text.

use super::{ORIGINAL, STATED, has_ports, names, usual};
use crate::{AtomTable, Field, InterfaceName, Point, ct_state, fib_type, tcp_flag};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A packet as text that [`super::parse_with_atoms`] reads back as the same point.
///
/// Fields with their usual values are left out, and so is the connection's original tuple where it was never set
/// (all zero) or is what the packet's own addresses say. Dynamic fields that `atoms` doesn't know are left out.
/// O(fields · atoms).
pub fn format(point: &Point, atoms: &AtomTable) -> String {
    let mut text = String::new();
    let (l4proto, nfproto) = (point.get(Field::L4PROTO), point.get(Field::NFPROTO));
    match names::protocol_name(l4proto) {
        Some(name) => text.push_str(name),
        None => push(&mut text, format_args!("protocol {l4proto}")),
    }
    if l4proto == 1 || l4proto == 58 {
        let number = point.get(Field::ICMP_TYPE);
        match names::icmp_name(l4proto, number) {
            Some(name) => push(&mut text, format_args!(" {name}")),
            None => push(&mut text, format_args!(" type {number}")),
        }
    }
    let ends = Ends::of(point);
    push(&mut text, format_args!(" {} -> {}", ends.source(), ends.destination()));
    if nfproto != ends.nfproto() {
        push(&mut text, format_args!(" nfproto {nfproto}"));
    }
    for (keyword, field) in [("in", Field::IIFNAME), ("out", Field::OIFNAME)] {
        if point.get(field) != 0 {
            push(&mut text, format_args!(" {keyword} {}", interface(point.get(field))));
        }
    }
    let state = point.get(Field::CT_STATE);
    match ct_state::NAMES.get(usize::try_from(state).unwrap_or(usize::MAX)) {
        Some(name) => push(&mut text, format_args!(" ct {name}")),
        None => push(&mut text, format_args!(" ct state {state}")),
    }
    unusual_fields(point, ends.with_ports, &mut text);
    original(point, &ends, &mut text);
    conditions(point, atoms, &mut text);
    text
}

/// Appends to a string, which can't fail.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// The two ends of a packet, in one notation.
struct Ends<'a> {
    point: &'a Point,
    ipv4: bool,
    with_ports: bool,
}

impl Ends<'_> {
    fn of(point: &Point) -> Ends<'_> {
        let short = |field| point.get(field) <= u128::from(u32::MAX);
        let original_too = short(Field::CT_ORIGINAL_SADDR) && short(Field::CT_ORIGINAL_DADDR);
        let ipv4 =
            point.get(Field::NFPROTO) == 2 && short(Field::SADDR) && short(Field::DADDR) && original_too;
        Ends { point, ipv4, with_ports: has_ports(point.get(Field::L4PROTO)) }
    }

    /// The family that the notation implies.
    fn nfproto(&self) -> u128 {
        if self.ipv4 { 2 } else { 10 }
    }

    fn source(&self) -> String {
        self.end(Field::SADDR, Field::SPORT)
    }

    fn destination(&self) -> String {
        self.end(Field::DADDR, Field::DPORT)
    }

    fn end(&self, address: Field, port: Field) -> String {
        let address = self.point.get(address);
        let plain = match u32::try_from(address) {
            Ok(short) if self.ipv4 => Ipv4Addr::from(short).to_string(),
            _ => Ipv6Addr::from(address).to_string(),
        };
        match (self.with_ports, self.ipv4) {
            (false, _) => plain,
            (true, true) => format!("{plain}:{}", self.point.get(port)),
            (true, false) => format!("[{plain}]:{}", self.point.get(port)),
        }
    }
}

/// A name that reads back as the same number, or the number.
pub(super) fn interface(number: u128) -> String {
    let name = InterfaceName(number).to_string();
    let ambiguous = name.starts_with("0x") || name.contains(['"', '\\']);
    if InterfaceName::new(&name) == Ok(InterfaceName(number)) && !ambiguous && !name.is_empty() {
        name
    } else {
        format!("{number:#x}")
    }
}

pub(super) fn mac(number: u128) -> String {
    let bytes = number.to_be_bytes();
    let parts: Vec<String> = bytes.iter().skip(10).map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

/// The names of the bits of a word, and the rest of it as a number.
fn bits(word: u128, names: impl Iterator<Item = (u128, &'static str)>) -> String {
    let (mut parts, mut rest) = (Vec::new(), word);
    for (bit, name) in names {
        if word & bit != 0 {
            parts.push(name.to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(",") }
}

pub(super) fn named(number: u128, names: &[&'static str]) -> String {
    match usize::try_from(number).ok().and_then(|at| names.get(at)) {
        Some(name) => (*name).to_owned(),
        None => number.to_string(),
    }
}

/// Whatever differs from the usual packet, but for what the first words and `ct original` say.
fn unusual_fields(point: &Point, with_ports: bool, text: &mut String) {
    let expected = usual(point, |field| matches!(field, Field::OIFNAME | Field::CT_DIRECTION));
    let icmp = matches!(point.get(Field::L4PROTO), 1 | 58);
    let plain = Point::default();
    for &field in Field::ALL_FIXED {
        let value = point.get(field);
        let usual_value = match field {
            Field::SPORT | Field::DPORT if with_ports => continue,
            Field::SPORT | Field::DPORT => plain.get(field),
            Field::ICMP_TYPE if icmp => continue,
            Field::IIFNAME | Field::OIFNAME => continue,
            Field::CT_DIRECTION => plain.get(field),
            _ if STATED.contains(&field) || ORIGINAL.iter().any(|entry| entry.0 == field) => continue,
            _ => expected.get(field),
        };
        if value == usual_value {
            continue;
        }
        let written = match field {
            Field::TCP_FLAGS => {
                let names = tcp_flag::NAMES.iter().enumerate().map(|(bit, name)| (1 << bit, *name));
                format!("flags {}", bits(value, names))
            }
            Field::CT_STATUS => format!("ct status {}", bits(value, names::STATUS_BITS.into_iter())),
            Field::CT_DIRECTION => format!("ct direction {}", named(value, &["original", "reply"])),
            Field::CT_MARK => format!("ct mark {value:#x}"),
            Field::MARK => format!("mark {value:#x}"),
            Field::ETHER_SADDR => format!("ether saddr {}", mac(value)),
            Field::ETHER_DADDR => format!("ether daddr {}", mac(value)),
            Field::PKTTYPE => format!("pkttype {}", named(value, &names::PACKET_TYPES)),
            Field::FIB_SADDR_TYPE => format!("saddr type {}", named(value, &fib_type::NAMES)),
            Field::FIB_DADDR_TYPE => format!("daddr type {}", named(value, &fib_type::NAMES)),
            Field::FIB_REVERSE_PATH => format!("reverse-path {}", named(value, &["missing", "present"])),
            Field::ICMP_TYPE => format!("type {value}"),
            Field::ICMP_CODE => format!("code {value}"),
            Field::SPORT => format!("sport {value}"),
            Field::DPORT => format!("dport {value}"),
            Field::LENGTH => format!("length {value}"),
            Field::TTL => format!("ttl {value}"),
            Field::DSCP => format!("dscp {value}"),
            Field::ECN => format!("ecn {value}"),
            Field::FRAGMENT_OFFSET => format!("fragment {value}"),
            _ => continue,
        };
        push(text, format_args!(" {written}"));
    }
}

/// The connection's original tuple, where it was set and isn't what the packet itself says.
fn original(point: &Point, ends: &Ends<'_>, text: &mut String) {
    let expected = usual(point, |field| field == Field::CT_DIRECTION);
    let unset = ORIGINAL.iter().all(|entry| point.get(entry.0) == 0);
    if unset || ORIGINAL.iter().all(|entry| point.get(entry.0) == expected.get(entry.0)) {
        return;
    }
    let with_ports = Ends { with_ports: true, ..*ends };
    let source = with_ports.end(Field::CT_ORIGINAL_SADDR, Field::CT_ORIGINAL_SPORT);
    let destination = with_ports.end(Field::CT_ORIGINAL_DADDR, Field::CT_ORIGINAL_DPORT);
    push(text, format_args!(" ct original {source} -> {destination}"));
}

/// The atoms and choices that the point gives a value.
fn conditions(point: &Point, atoms: &AtomTable, text: &mut String) {
    let mut first = true;
    for (field, value) in point.dynamic() {
        let Some(info) = atoms.get(field) else { continue };
        push(text, format_args!(" {} {}", if first { "where" } else { "and" }, quote(&info.text)));
        first = false;
        let earlier = atoms
            .iter()
            .take_while(|(other, _)| *other < field)
            .filter(|(_, other)| other.text == info.text && other.scope == info.scope)
            .count();
        if earlier > 0 {
            push(text, format_args!(" #{}", earlier + 1));
        }
        if !info.scope.is_empty() {
            push(text, format_args!(" on {}", quote(&info.scope)));
        }
        push(text, format_args!(" is {}", super::value(info, value)));
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}
