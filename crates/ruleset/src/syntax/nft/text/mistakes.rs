//! What is wrong with a text that is nearly an address or a number.

use firewarden_diagnostic::{Diagnostic, Span};
use std::net::Ipv4Addr;

/// Bytes looked at on each side of a mistake: more than any address has.
const REACH: usize = 64;

fn belongs(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_')
}

/// The ends of what is written without a blank around `at`, where it begins with an address or a number that goes on as
/// something else: `1:2:3:4:5:6:7:8:9`, `0xgg`. `None` where a token begins at `at` that belongs to nothing before it.
pub(super) fn glued(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.as_bytes().get(at.saturating_sub(REACH)..at)?;
    let start = at - before.iter().rev().take_while(|&&byte| belongs(byte)).count();
    let after = text.as_bytes().get(at..)?;
    let end = at + after.iter().take(REACH).take_while(|&&byte| belongs(byte)).count();
    let whole = text.get(start..end)?;
    let colons = whole.bytes().filter(|&byte| byte == b':').count();
    let fits = start < at && (whole.starts_with(|first: char| first.is_ascii_digit()) || colons > 1);
    fits.then_some((start, end))
}

/// The error about a text that [`glued`] found.
pub(super) fn nearly(written: &str, span: Span) -> Diagnostic {
    if written.contains([':', '.']) {
        return bad_address(written, span);
    }
    Diagnostic::error("bad-number", format!("`{written}` is not a number"))
        .at(span, "a number and something else without a blank between")
        .help("write decimal digits, or `0x` and hexadecimal ones; separate what follows by a blank")
}

/// The error about a text that looks like an address and is none.
pub(super) fn bad_address(written: &str, span: Span) -> Diagnostic {
    let (what, help) = if written.contains(':') { with_colons(written) } else { dotted(written) };
    let shown = if written.len() > 50 {
        let end = (0..=50).rev().find(|&at| written.is_char_boundary(at)).unwrap_or(0);
        format!("{}...", written.get(..end).unwrap_or_default())
    } else {
        written.to_owned()
    };
    Diagnostic::error("bad-address", format!("`{shown}` is not an address: {what}")).at(span, "").help(help)
}

fn dotted(written: &str) -> (String, String) {
    let parts: Vec<&str> = written.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return (
            "a number is missing beside a dot".to_owned(),
            "write four numbers from 0 to 255".to_owned(),
        );
    }
    if parts.len() != 4 {
        let what = format!("it has {} numbers, an IPv4 address four", parts.len());
        let numbers: Vec<&str> = parts.iter().copied().chain(["0"; 4]).take(4).collect();
        let completed = numbers.join(".");
        return match completed.parse::<Ipv4Addr>() {
            Ok(_) if parts.len() < 4 => {
                (what, format!("write all four, such as `{completed}`, and a prefix length for a network"))
            }
            _ => (what, "write four numbers from 0 to 255".to_owned()),
        };
    }
    let large = parts.iter().find(|part| part.parse::<u8>().is_err());
    let what = match large {
        Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => format!("{part} is more than 255"),
        Some(part) => format!("`{part}` is not a number"),
        None => "a number has more than three digits".to_owned(),
    };
    (what, "write four numbers from 0 to 255".to_owned())
}

fn with_colons(written: &str) -> (String, String) {
    let groups: Vec<&str> = written.split(':').collect();
    let filled = groups.iter().filter(|group| !group.is_empty()).count();
    let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(group) = groups.iter().find(|group| group.contains('.'))
        && group.parse::<Ipv4Addr>().is_err()
    {
        let (what, help) = dotted(group);
        return (format!("at its end, {what}"), help);
    }
    if let Some(group) = groups.iter().find(|group| !group.contains('.') && !is_hex(group)) {
        return (
            format!("`{group}` is not hexadecimal"),
            "write groups of hexadecimal digits, and a blank before what follows the address".to_owned(),
        );
    }
    if let Some(group) = groups.iter().find(|group| !group.contains('.') && group.len() > 4) {
        return (
            format!("the group `{group}` has more than four digits"),
            "write groups of one to four hexadecimal digits".to_owned(),
        );
    }
    if written.contains(":::") {
        return (
            "there are three colons in a row".to_owned(),
            "write `::` once for groups of zeros".to_owned(),
        );
    }
    if written.matches("::").count() > 1 {
        return (
            "`::` stands twice, so that nobody knows how many zeros each is".to_owned(),
            "write the zeros of one of the two".to_owned(),
        );
    }
    let short = written.contains("::");
    if filled > 7 {
        let room = if short { "with `::` at most seven" } else { "an IPv6 address eight" };
        return (
            format!("it has {filled} groups, {room}"),
            "remove what is too much, or put a blank before what follows the address".to_owned(),
        );
    }
    let lone = |end: Option<&&str>| end.is_some_and(|group| group.is_empty()) && !short;
    if lone(groups.first()) || lone(groups.last()) {
        return (
            "a single colon stands at its end".to_owned(),
            "write `::` for groups of zeros, or remove the colon".to_owned(),
        );
    }
    (
        format!("it has {filled} groups, an IPv6 address eight and a hardware address six"),
        "write all groups, or `::` once for groups of zeros".to_owned(),
    )
}

/// The error about a netmask where the length of a prefix stands.
pub(super) fn netmask(written: &str, span: Span) -> Diagnostic {
    let length = written.parse::<Ipv4Addr>().ok().map(u32::from).and_then(|mask| {
        let ones = mask.leading_ones();
        (ones + mask.trailing_zeros() >= 32).then_some(ones)
    });
    let help = match length {
        Some(length) => format!("write `/{length}`"),
        None => "write the number of leading bits, from 0 to 32; or test bits with `&`".to_owned(),
    };
    Diagnostic::error("bad-prefix", format!("`{written}` is not the length of a prefix"))
        .at(span, "nft takes no netmasks")
        .help(help)
}
