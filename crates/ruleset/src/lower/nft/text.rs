//! Expressions and statements as one canonical text, by which atoms are named and compared: the same whether they
//! come from nft text or JSON, with variables replaced by what they stand for.

use super::types::Type;
use super::value::Want;
use crate::syntax::nft::ast::{
    BinaryOp, ChainTarget, Direction, Element, Expr, ExprKind, Family, Fib, HeaderOption, Limit, MapLookup,
    ObjectKind, OptionHeader, Quota, SetLiteral, TimeUnit, Verdict,
};
use firewarden_packet::InterfaceName;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest text of an atom in bytes: what is longer is cut, and told apart by a number made of all of it.
const LONGEST: usize = 240;

/// The text of an expression.
pub(super) fn expr(expr: &Expr) -> String {
    let mut out = String::new();
    write_expr(&mut out, expr);
    out
}

/// Cuts a text that is too long to read, keeping different texts different.
pub(super) fn bounded(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // FNV-1a: only tells texts apart, no secret depends on it.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{}… ({} bytes, {hash:016x})", text.get(..end).unwrap_or_default(), text.len())
}

fn write_expr(out: &mut String, expr: &Expr) {
    match &expr.resolved().kind {
        ExprKind::Number(number) => push(out, format_args!("{number}")),
        ExprKind::Bool(value) => out.push_str(if *value { "exists" } else { "missing" }),
        ExprKind::Symbol(word) | ExprKind::String(word) => out.push_str(word),
        ExprKind::Ipv4(bytes) => push(out, format_args!("{}", Ipv4Addr::from(*bytes))),
        ExprKind::Ipv6(bytes) => push(out, format_args!("{}", Ipv6Addr::from(*bytes))),
        ExprKind::Mac(bytes) => {
            let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            out.push_str(&parts.join(":"));
        }
        ExprKind::Wildcard => out.push('*'),
        ExprKind::Prefix(base, length) => {
            write_expr(out, base);
            push(out, format_args!("/{length}"));
        }
        ExprKind::Range(ends) => {
            write_expr(out, &ends[0]);
            out.push('-');
            write_expr(out, &ends[1]);
        }
        ExprKind::Concat(parts) => write_list(out, parts, " . "),
        ExprKind::List(parts) => write_list(out, parts, ","),
        ExprKind::Masked(parts) => {
            write_expr(out, &parts[0]);
            out.push_str(" / ");
            write_expr(out, &parts[1]);
        }
        ExprKind::Set(set) => write_set(out, set),
        ExprKind::SetRef(name) => push(out, format_args!("@{name}")),
        ExprKind::Map(lookup) => write_map(out, lookup),
        ExprKind::Binary(binary) => {
            write_expr(out, &binary.left);
            out.push_str(match binary.op {
                BinaryOp::And => " & ",
                BinaryOp::Or => " | ",
                BinaryOp::Xor => " ^ ",
                BinaryOp::ShiftLeft => " << ",
                BinaryOp::ShiftRight => " >> ",
            });
            write_expr(out, &binary.right);
        }
        ExprKind::Verdict(verdict) => write_verdict(out, verdict),
        ExprKind::Variable(_) => {}
        ExprKind::Payload(field) | ExprKind::Exthdr(field) => {
            push(out, format_args!("{} {}", field.protocol, field.name));
        }
        ExprKind::RawPayload(raw) => push(out, format_args!("@{},{},{}", raw.base, raw.offset, raw.length)),
        ExprKind::Inner(inner) => {
            push(out, format_args!("{} ", inner.tunnel));
            write_expr(out, &inner.expr);
        }
        ExprKind::ExthdrExists(name) => push(out, format_args!("exthdr {name}")),
        ExprKind::HeaderOption(option) => write_option(out, option),
        ExprKind::Meta(key) => push(out, format_args!("meta {key}")),
        ExprKind::Ct { key, direction } => {
            out.push_str(match direction {
                None => "ct ",
                Some(Direction::Original) => "ct original ",
                Some(Direction::Reply) => "ct reply ",
            });
            out.push_str(key);
        }
        ExprKind::Tunnel(key) => push(out, format_args!("tunnel {key}")),
        ExprKind::Rt { key, family } => {
            out.push_str(match family {
                Some(Family::Ip) => "rt ip ",
                Some(Family::Ip6) => "rt ip6 ",
                _ => "rt ",
            });
            out.push_str(key);
        }
        ExprKind::Socket { key, level } if *key == "cgroupv2" => {
            push(out, format_args!("socket cgroupv2 level {level}"));
        }
        ExprKind::Socket { key, .. } => push(out, format_args!("socket {key}")),
        ExprKind::Osf(osf) => {
            out.push_str("osf ");
            if let Some(ttl) = osf.ttl {
                push(out, format_args!("ttl {ttl} "));
            }
            out.push_str(osf.key);
        }
        ExprKind::Fib(fib) => write_fib(out, fib),
        ExprKind::Numgen(numgen) => {
            push(out, format_args!("numgen {} mod {}", numgen.mode, numgen.modulus));
            if numgen.offset != 0 {
                push(out, format_args!(" offset {}", numgen.offset));
            }
        }
        ExprKind::Hash(hash) => {
            match &hash.expr {
                Some(of) => {
                    out.push_str("jhash ");
                    write_expr(out, of);
                }
                None => out.push_str("symhash"),
            }
            push(out, format_args!(" mod {}", hash.modulus));
            if let Some(seed) = hash.seed.filter(|seed| *seed != 0) {
                push(out, format_args!(" seed {seed}"));
            }
            if hash.offset != 0 {
                push(out, format_args!(" offset {}", hash.offset));
            }
        }
        ExprKind::Ipsec(ipsec) => {
            push(out, format_args!("ipsec {} ", ipsec.direction));
            if ipsec.spnum != 0 {
                push(out, format_args!("spnum {} ", ipsec.spnum));
            }
            out.push_str(ipsec.key);
        }
        ExprKind::Opaque(text) => out.push_str(text),
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn write_list(out: &mut String, parts: &[Expr], between: &str) {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push_str(between);
        }
        write_expr(out, part);
    }
}

fn write_option(out: &mut String, option: &HeaderOption) {
    out.push_str(match option.header {
        OptionHeader::Tcp => "tcp option ",
        OptionHeader::Ip => "ip option ",
        OptionHeader::Sctp => "sctp chunk ",
        OptionHeader::Dccp => "dccp option ",
    });
    match option.raw {
        Some((offset, length)) => push(out, format_args!("@{},{offset},{length}", option.option)),
        None => out.push_str(&option.option),
    }
    if let Some(field) = option.field {
        push(out, format_args!(" {field}"));
    }
}

fn write_fib(out: &mut String, fib: &Fib) {
    push(out, format_args!("fib {} {}", fib.selectors.join(" . "), fib.result));
}

fn write_set(out: &mut String, set: &SetLiteral) {
    out.push_str("{ ");
    for (at, element) in set.elements.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_element(out, element);
    }
    out.push_str(" }");
}

fn write_element(out: &mut String, element: &Element) {
    write_expr(out, &element.key);
    if let Some(data) = &element.data {
        out.push_str(" : ");
        write_expr(out, data);
    }
}

fn write_map(out: &mut String, lookup: &MapLookup) {
    write_expr(out, &lookup.key);
    out.push_str(" map ");
    write_expr(out, &lookup.map);
}

fn write_verdict(out: &mut String, verdict: &Verdict) {
    let (word, target) = match verdict {
        Verdict::Accept => ("accept", None),
        Verdict::Drop => ("drop", None),
        Verdict::Continue => ("continue", None),
        Verdict::Return => ("return", None),
        Verdict::Break => ("break", None),
        Verdict::Jump(target) => ("jump", Some(target)),
        Verdict::Goto(target) => ("goto", Some(target)),
    };
    out.push_str(word);
    match target {
        Some(ChainTarget::Named(name)) => push(out, format_args!(" {}", name.text)),
        Some(ChainTarget::Anonymous(_)) => out.push_str(" { … }"),
        None => {}
    }
}

/// `limit rate 10/second burst 20 packets`, without `over`.
pub(super) fn limit(limit: &Limit) -> String {
    let unit = match limit.unit {
        TimeUnit::Second => "second",
        TimeUnit::Minute => "minute",
        TimeUnit::Hour => "hour",
        TimeUnit::Day => "day",
        TimeUnit::Week => "week",
    };
    let mut text = if limit.per_byte {
        format!("limit rate {} bytes/{unit}", limit.rate)
    } else {
        format!("limit rate {}/{unit}", limit.rate)
    };
    match limit.burst {
        // What the kernel shows where nothing was written.
        None | Some(0) => {}
        Some(5) if !limit.per_byte => {}
        Some(burst) if limit.per_byte => push(&mut text, format_args!(" burst {burst} bytes")),
        Some(burst) => push(&mut text, format_args!(" burst {burst} packets")),
    }
    text
}

/// `quota 1000 bytes`, without `over`.
pub(super) fn quota(quota: &Quota) -> String {
    format!("quota {} bytes", quota.bytes)
}

/// nft's word for a kind of object.
pub(super) fn object_kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Counter => "counter",
        ObjectKind::Quota => "quota",
        ObjectKind::Limit => "limit",
        ObjectKind::CtHelper => "ct helper",
        ObjectKind::CtTimeout => "ct timeout",
        ObjectKind::CtExpectation => "ct expectation",
        ObjectKind::Secmark => "secmark",
        ObjectKind::Synproxy => "synproxy",
        ObjectKind::Tunnel => "tunnel",
    }
}

/// Values as nft would list them: `1`, `33-45`, `{ 1, 5-9 }`.
pub(super) fn values(want: Want, ranges: &[(u128, u128)]) -> String {
    let one = |&(low, high): &(u128, u128)| {
        if low == high {
            value(want.ty, low)
        } else if low == 0 && want.ty == Type::Integer {
            format!("< {}", high.saturating_add(1))
        } else {
            format!("{}-{}", value(want.ty, low), value(want.ty, high))
        }
    };
    match ranges {
        [single] => one(single),
        several => format!("{{ {} }}", several.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

fn value(ty: Type, value: u128) -> String {
    match ty {
        Type::Ipv4 => u32::try_from(value)
            .map_or_else(|_| value.to_string(), |address| Ipv4Addr::from(address).to_string()),
        Type::Ipv6 => Ipv6Addr::from(value).to_string(),
        Type::Ether | Type::LinkAddress => {
            let bytes = value.to_be_bytes();
            let parts: Vec<String> = bytes.iter().skip(10).map(|byte| format!("{byte:02x}")).collect();
            parts.join(":")
        }
        Type::InterfaceName | Type::InterfaceIndex => InterfaceName(value).to_string(),
        Type::Mark => format!("{value:#x}"),
        // Names of these two come from tables of the system.
        Type::Service | Type::Protocol | Type::User | Type::Group => value.to_string(),
        _ => ty
            .symbols()
            .into_iter()
            .find(|name| ty.symbol(name) == Some(value))
            .map_or_else(|| value.to_string(), str::to_owned),
    }
}
