//! Constants on the right-hand side of tests, in sets and as data: what number a word, an address or a flag list is
//! for a given type.

use super::types::Type;
use crate::syntax::nft::ast::{BinaryOp, Element, Expr, ExprKind};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::InterfaceName;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why an expression has no number.
#[derive(Debug)]
pub(super) enum Fail {
    /// nft refuses it.
    Invalid(Box<Diagnostic>),
    /// It may be right, but isn't a number in the model (a user's name, another field of the packet, …).
    Unmodelled,
}

impl From<Box<Diagnostic>> for Fail {
    fn from(diagnostic: Box<Diagnostic>) -> Fail {
        Fail::Invalid(diagnostic)
    }
}

/// The type that a constant is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) ty: Type,
    pub(super) bits: u32,
}

impl Want {
    /// The largest value.
    pub(super) fn max(self) -> u128 {
        if self.bits >= 128 { u128::MAX } else { (1 << self.bits) - 1 }
    }
}

/// A refusal with its place.
pub(super) fn invalid<T>(
    code: &'static str,
    span: Span,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, Fail> {
    Err(Fail::Invalid(Box::new(Diagnostic::error(code, message).at(span, "").help(help))))
}

/// The number of an expression that stands for one value. O(size of the expression).
pub(super) fn constant(expr: &Expr, want: Want) -> Result<u128, Fail> {
    let place = expr.span;
    let expr = expr.resolved();
    match &expr.kind {
        ExprKind::Number(number) => from_number(u128::from(*number), want, place),
        ExprKind::Bool(value) if matches!(want.ty, Type::Boolean | Type::Integer) => Ok(u128::from(*value)),
        ExprKind::Symbol(word) | ExprKind::String(word) => from_word(word, want, place),
        ExprKind::Ipv4(bytes) if want.ty == Type::Ipv4 => Ok(u128::from(u32::from_be_bytes(*bytes))),
        ExprKind::Ipv6(bytes) if want.ty == Type::Ipv6 => Ok(u128::from_be_bytes(*bytes)),
        ExprKind::Mac(bytes) if matches!(want.ty, Type::Ether | Type::LinkAddress) => {
            Ok(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
        }
        ExprKind::Ipv4(_) | ExprKind::Ipv6(_) | ExprKind::Mac(_) | ExprKind::Bool(_) => {
            wrong_type(kind_name(&expr.kind), want, place)
        }
        ExprKind::Binary(binary) => {
            let left = constant(&binary.left, want)?;
            let max = want.max();
            if matches!(binary.op, BinaryOp::ShiftLeft | BinaryOp::ShiftRight) {
                let count = constant(&binary.right, Want { ty: Type::Integer, bits: 32 })?;
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                let shifted = match binary.op {
                    BinaryOp::ShiftLeft => left.checked_shl(count),
                    _ => left.checked_shr(count),
                };
                return Ok(shifted.unwrap_or(0) & max);
            }
            let right = constant(&binary.right, want)?;
            Ok(match binary.op {
                BinaryOp::And => left & right,
                BinaryOp::Or => left | right,
                _ => left ^ right,
            })
        }
        ExprKind::List(items) if want.ty.is_flags() => {
            let mut word = 0;
            for item in items {
                word |= constant(item, want)?;
            }
            Ok(word)
        }
        ExprKind::List(_) => invalid(
            "list-without-braces",
            place,
            format!("a list of {} values needs braces", want.ty.name()),
            "write `{ a, b }`",
        ),
        ExprKind::Wildcard | ExprKind::Prefix(..) | ExprKind::Range(_) | ExprKind::Set(_) => invalid(
            "single-value-expected",
            place,
            format!("one {} value is expected here, not {}", want.ty.name(), kind_name(&expr.kind)),
            "give a single value",
        ),
        ExprKind::Concat(_) | ExprKind::Verdict(_) | ExprKind::Masked(_) => {
            wrong_type(kind_name(&expr.kind), want, place)
        }
        _ => Err(Fail::Unmodelled),
    }
}

/// The values that an expression stands for, where it is a value, prefix, range or name with a star.
pub(super) fn interval(expr: &Expr, want: Want) -> Result<(u128, u128), Fail> {
    let place = expr.span;
    let inner = expr.resolved();
    match &inner.kind {
        ExprKind::Range(ends) => {
            let (low, high) = (constant(&ends[0], want)?, constant(&ends[1], want)?);
            if low > high {
                return invalid("empty-range", place, "the range ends before it begins", "swap its two ends");
            }
            Ok((low, high))
        }
        ExprKind::Prefix(base, length) => {
            let length = u32::from(*length);
            if length > want.bits {
                return invalid(
                    "bad-prefix",
                    place,
                    format!(
                        "the prefix length {length} is more than the {} bits of {}",
                        want.bits,
                        want.ty.name()
                    ),
                    format!("use a length from 0 to {}", want.bits),
                );
            }
            let base = constant(base, want)?;
            let free = host_mask(want, length);
            Ok((base & !free, base | free))
        }
        ExprKind::Wildcard => Ok((0, want.max())),
        ExprKind::String(word) | ExprKind::Symbol(word) if want.ty == Type::InterfaceName => {
            match word.strip_suffix('*') {
                Some(prefix) if !prefix.ends_with('\\') => match InterfaceName::prefix(prefix) {
                    Ok(range) => Ok(range),
                    Err(_) => name_too_long(word, place),
                },
                _ => constant(expr, want).map(|value| (value, value)),
            }
        }
        _ => constant(expr, want).map(|value| (value, value)),
    }
}

/// The bits that a prefix of this length leaves free.
pub(super) fn host_mask(want: Want, length: u32) -> u128 {
    match want.bits.saturating_sub(length) {
        0 => 0,
        free if free >= 128 => u128::MAX,
        free => (1 << free) - 1,
    }
}

/// Calls `each` with every element of a set literal: sets inside sets and variables that hold sets are looked
/// through, and so are lists. Recursion is bounded by the depth of the syntax tree.
pub(super) fn each_element<'a>(
    elements: &'a [Element],
    each: &mut dyn FnMut(&'a Expr, &'a Element) -> Result<(), Fail>,
) -> Result<(), Fail> {
    for element in elements {
        each_key(&element.key, element, each)?;
    }
    Ok(())
}

fn each_key<'a>(
    key: &'a Expr,
    element: &'a Element,
    each: &mut dyn FnMut(&'a Expr, &'a Element) -> Result<(), Fail>,
) -> Result<(), Fail> {
    match &key.resolved().kind {
        ExprKind::Set(inner) if element.data.is_none() => {
            for nested in &inner.elements {
                each_key(&nested.key, nested, each)?;
            }
            Ok(())
        }
        ExprKind::Set(inner) => {
            for nested in &inner.elements {
                each_key(&nested.key, element, each)?;
            }
            Ok(())
        }
        ExprKind::List(items) => {
            for item in items {
                each_key(item, element, each)?;
            }
            Ok(())
        }
        _ => each(key, element),
    }
}

/// Calls `each` with every value of a part of a concatenation that may itself be a set.
pub(super) fn each_key_value(
    expr: &Expr,
    each: &mut dyn FnMut(&Expr) -> Result<(), Fail>,
) -> Result<(), Fail> {
    match &expr.resolved().kind {
        ExprKind::Set(inner) => {
            for element in &inner.elements {
                each_key_value(&element.key, each)?;
            }
            Ok(())
        }
        _ => each(expr),
    }
}

fn from_number(number: u128, want: Want, place: Span) -> Result<u128, Fail> {
    let (number, max) = match want.ty {
        // nft reads a bare number as seconds.
        Type::Duration => (number.saturating_mul(1000), want.max()),
        Type::Day => (number, 6),
        Type::Hour => (number, 86_399),
        Type::InterfaceName => return from_word(&number.to_string(), want, place),
        // The loopback device is the first of every network namespace.
        Type::InterfaceIndex if number == 1 => return from_word("lo", want, place),
        Type::InterfaceIndex | Type::Text | Type::Cgroup => return Err(Fail::Unmodelled),
        Type::Ipv6 | Type::Ether | Type::LinkAddress => return wrong_type("a number", want, place),
        Type::CtLabel if number <= 127 => return Ok(1 << number),
        Type::CtLabel => (number, 127),
        _ => (number, want.max()),
    };
    if number > max {
        return invalid(
            "out-of-range",
            place,
            format!("the value {number} is out of range for {}", want.ty.name()),
            format!("use a value from 0 to {max}"),
        );
    }
    if want.ty.is_text() { Err(Fail::Unmodelled) } else { Ok(number) }
}

fn from_word(word: &str, want: Want, place: Span) -> Result<u128, Fail> {
    if let Some(value) = want.ty.symbol(word) {
        return Ok(value);
    }
    match want.ty {
        Type::InterfaceName | Type::InterfaceIndex => return interface(word, want, place),
        Type::Text => {
            if word.is_empty() || word.len() > 16 {
                return invalid(
                    "bad-name",
                    place,
                    format!("`{word}` is not a name of 1 to 16 characters"),
                    "use a shorter name that isn't empty",
                );
            }
            return Err(Fail::Unmodelled);
        }
        Type::Cgroup => return Err(Fail::Unmodelled),
        Type::Time if is_date(word) => return Err(Fail::Unmodelled),
        Type::Hour if is_time_of_day(word) => return Err(Fail::Unmodelled),
        Type::ClassId => {
            if let Some(value) = class_id(word) {
                return Ok(value);
            }
        }
        Type::Duration => {
            if let Some(value) = duration(word) {
                return Ok(value);
            }
        }
        Type::Ipv4 => {
            if let Ok(address) = word.parse::<Ipv4Addr>() {
                return Ok(u128::from(u32::from(address)));
            }
            return host_name(word, place);
        }
        Type::Ipv6 => {
            if let Ok(address) = word.parse::<Ipv6Addr>() {
                return Ok(u128::from(address));
            }
            return host_name(word, place);
        }
        Type::Ether | Type::LinkAddress => {
            if let Some(value) = mac(word) {
                return Ok(value);
            }
        }
        _ => {}
    }
    if let Some(number) = number(word) {
        return from_number(number, want, place);
    }
    match want.ty {
        // The machine that loads the rules knows these names; the model keeps them as text.
        Type::User | Type::Group | Type::Realm | Type::DeviceGroup | Type::CtLabel if is_identifier(word) => {
            return Err(Fail::Unmodelled);
        }
        _ => {}
    }
    let mut diagnostic =
        Diagnostic::error("unknown-symbol", format!("`{word}` is not a value of type {}", want.ty.name()))
            .at(place, "");
    diagnostic = match closest(word, want.ty.symbols()) {
        Some(known) => diagnostic.help(format!("did you mean `{known}`?")),
        None => diagnostic.help(format!("`nft describe {}` lists the values it knows", want.ty.name())),
    };
    Err(Fail::Invalid(Box::new(diagnostic)))
}

fn interface(word: &str, want: Want, place: Span) -> Result<u128, Fail> {
    if word.is_empty() {
        return invalid("bad-name", place, "an interface name can't be empty", "give the interface's name");
    }
    let name = match word.strip_suffix("\\*") {
        Some(start) => format!("{start}*"),
        None => word.to_owned(),
    };
    if want.ty == Type::InterfaceIndex && word.ends_with('*') {
        return invalid(
            "bad-name",
            place,
            format!("`{word}` is a pattern, and `iif` and `oif` take one interface"),
            "use `iifname` or `oifname` for patterns",
        );
    }
    match InterfaceName::new(&name) {
        Ok(InterfaceName(value)) => Ok(value),
        Err(_) => name_too_long(word, place),
    }
}

fn name_too_long<T>(word: &str, place: Span) -> Result<T, Fail> {
    invalid(
        "bad-name",
        place,
        format!("the interface name `{word}` has more than 15 characters"),
        "no interface can have this name; shorten it",
    )
}

fn host_name<T>(word: &str, place: Span) -> Result<T, Fail> {
    invalid(
        "not-an-address",
        place,
        format!("`{word}` is not an address"),
        "write the address in numbers; host names aren't looked up",
    )
}

fn wrong_type<T>(what: &str, want: Want, place: Span) -> Result<T, Fail> {
    invalid(
        "wrong-type",
        place,
        format!("{what} can't be used as {}", want.ty.name()),
        format!("give a value of type {}", want.ty.name()),
    )
}

/// What an expression is, for messages.
pub(super) fn kind_name(kind: &ExprKind) -> &'static str {
    match kind {
        ExprKind::Number(_) => "a number",
        ExprKind::Bool(_) => "a boolean",
        ExprKind::Symbol(_) | ExprKind::String(_) => "a word",
        ExprKind::Ipv4(_) => "an IPv4 address",
        ExprKind::Ipv6(_) => "an IPv6 address",
        ExprKind::Mac(_) => "a MAC address",
        ExprKind::Wildcard => "`*`",
        ExprKind::Prefix(..) => "a prefix",
        ExprKind::Range(_) => "a range",
        ExprKind::Concat(_) => "a concatenation",
        ExprKind::List(_) => "a list",
        ExprKind::Masked(_) => "a value with a mask",
        ExprKind::Set(_) | ExprKind::SetRef(_) => "a set",
        ExprKind::Map(_) => "a map",
        ExprKind::Verdict(_) => "a verdict",
        _ => "an expression",
    }
}

fn is_identifier(word: &str) -> bool {
    word.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// A number of any size: decimal, hexadecimal with `0x`, octal with a leading 0.
pub(super) fn number(word: &str) -> Option<u128> {
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return u128::from_str_radix(digits, 16).ok();
    }
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match word.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u128::from_str_radix(digits, 8).ok(),
        _ => word.parse().ok(),
    }
}

/// `major:minor` in hexadecimal.
fn class_id(word: &str) -> Option<u128> {
    let (major, minor) = word.split_once(':')?;
    let half = |text: &str| if text.is_empty() { Some(0) } else { u16::from_str_radix(text, 16).ok() };
    Some(u128::from(half(major)?) << 16 | u128::from(half(minor)?))
}

fn mac(word: &str) -> Option<u128> {
    let mut value = 0u128;
    let mut count = 0;
    for part in word.split(':') {
        value = value << 8 | u128::from(u8::from_str_radix(part, 16).ok()?);
        count += 1;
    }
    (count == 6).then_some(value)
}

/// `1d2h3m4s`, `30000ms`, `30`: milliseconds.
fn duration(word: &str) -> Option<u128> {
    let mut rest = word;
    let mut total = 0u128;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: u128 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let factor = match rest.get(..unit)? {
            "ms" => 1,
            "s" | "" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(amount.checked_mul(factor)?)?;
        rest = rest.get(unit..)?;
    }
    (!word.is_empty()).then_some(total)
}

/// `2019-06-21`, `2019-06-21 17:00`, `2019-06-21 17:00:00`. What comes after the time is not looked at, as in nft.
fn is_date(word: &str) -> bool {
    let (date, time) = word.split_once(' ').unwrap_or((word, "00:00"));
    let end = time.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b':').count();
    let time = time.get(..end).unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let number = |at: usize, max: u32| {
        parts
            .get(at)
            .and_then(|part| part.parse::<u32>().ok())
            .is_some_and(|value| value >= 1 && value <= max)
    };
    parts.len() == 3 && number(0, 9999) && number(1, 12) && number(2, 31) && is_time_of_day(time)
}

/// `17:00`, `17:00:30`.
fn is_time_of_day(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    let below = |at: usize, end: u32| {
        parts.get(at).is_none_or(|part| part.len() <= 2 && part.parse::<u32>().is_ok_and(|value| value < end))
    };
    (2..=3).contains(&parts.len()) && below(0, 24) && below(1, 60) && below(2, 60)
}

/// Known words that are compared with a misspelt one.
const KNOWN_LIMIT: usize = 1_000;

/// Letters of a misspelt word that is worth comparing.
const WORD_LIMIT: usize = 64;

/// The known word that differs least from `word`, if it differs by little; only the first [`KNOWN_LIMIT`] are looked
/// at. O(words · length), and most words are done after a few letters.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.len() {
        0..=2 => 1,
        3..=6 => 2,
        7..=WORD_LIMIT => 3,
        _ => return None,
    };
    known
        .into_iter()
        .take(KNOWN_LIMIT)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .filter_map(|candidate| Some((distance(word, candidate, limit)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many bytes must be changed, added, removed or swapped with their neighbour; `None` where it is more than
/// `limit`. Bytes rather than letters: the words are ASCII. O(length · limit).
fn distance(left: &str, right: &str, limit: usize) -> Option<usize> {
    const FAR: usize = usize::MAX / 2;
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(FAR);
    let mut lines = [[FAR; WORD_LIMIT + 8]; 3];
    let [before, last, line] = &mut lines;
    let (mut before, mut last, mut line) = (before, last, line);
    (0..=limit).zip(last.iter_mut()).for_each(|(index, cell)| *cell = index);
    for (row, a) in left.iter().enumerate() {
        line.fill(FAR);
        let mut least = FAR;
        if let (Some(first), true) = (line.first_mut(), row < limit) {
            *first = row + 1;
            least = row + 1;
        }
        let columns = right.iter().enumerate().take(row + limit + 1).skip(row.saturating_sub(limit));
        for (column, b) in columns {
            let diagonal = at(last, column) + usize::from(a != b);
            let mut best = diagonal.min(at(last, column + 1) + 1).min(at(line, column) + 1);
            let swapped =
                row > 0 && column > 0 && left.get(row - 1) == Some(b) && right.get(column - 1) == Some(a);
            if swapped {
                best = best.min(at(before, column - 1) + 1);
            }
            if let Some(cell) = line.get_mut(column + 1) {
                *cell = best;
            }
            least = least.min(best);
        }
        // A swap looks two lines back, so one line beyond the limit decides nothing yet.
        if least > limit + 1 {
            return None;
        }
        (before, last, line) = (last, line, before);
    }
    Some(at(last, right.len())).filter(|&distance| distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_dates_and_numbers() {
        assert_eq!(duration("1h2m"), Some(3_720_000));
        assert_eq!(duration("30000ms"), Some(30_000));
        assert_eq!(duration("1x"), None);
        assert!(is_date("2019-06-21 17:00:00") && !is_date("meh"));
        assert!(is_time_of_day("17:00") && !is_time_of_day("24:00"));
        assert_eq!(
            (number("0x10"), number("010"), number("8"), number("x")),
            (Some(16), Some(8), Some(8), None)
        );
        assert_eq!(class_id("1:1234"), Some(0x1_1234));
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(closest("estabilshed", ["established", "related"]), Some("established"));
        assert_eq!(closest("sssh", ["ssh", "smtp"]), Some("ssh"));
        assert_eq!(closest("zzz", ["ssh", "smtp"]), None);
    }
}
