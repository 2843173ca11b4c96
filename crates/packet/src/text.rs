//! Packets as text, the way people write and read them.
//!
//! ```text
//! tcp 10.0.1.10:40000 -> 10.0.2.20:8080 in eth0 ct new
//! icmp echo-request 10.0.0.1 -> 10.0.0.2 out wan
//! udp [2001:db8::1]:5353 -> [2001:db8::2]:53 ct established where "limit rate 5/second" is false
//! ```
//!
//! A packet begins with its protocol and its two ends. Everything after that is a field with its value, in any order,
//! and may be left out: it then has the value that is usual for such a packet (see [`parse`]). [`format()`] leaves out
//! exactly what [`parse`] would put back, so that a packet that was printed can be given to `trace` as it is.

mod format;
mod names;
mod parse;
mod value;

pub use format::format;
pub use parse::{ParseError, parse, parse_with_atoms};
pub use value::value;

use crate::{Field, Point, ct_state, fib_type, tcp_flag};

/// Protocols whose header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
fn has_ports(l4proto: u128) -> bool {
    matches!(l4proto, 6 | 17 | 33 | 132 | 136)
}

/// The fields that the first words of a packet's text give, and the state, from which the rest is guessed.
const STATED: [Field; 7] =
    [Field::NFPROTO, Field::SADDR, Field::DADDR, Field::L4PROTO, Field::SPORT, Field::DPORT, Field::CT_STATE];

/// The fields of the connection's first packet, with the fields of a packet in the original direction and in the
/// reply direction that have the same value where nothing is translated.
const ORIGINAL: [(Field, Field, Field); 4] = [
    (Field::CT_ORIGINAL_SADDR, Field::SADDR, Field::DADDR),
    (Field::CT_ORIGINAL_DADDR, Field::DADDR, Field::SADDR),
    (Field::CT_ORIGINAL_SPORT, Field::SPORT, Field::DPORT),
    (Field::CT_ORIGINAL_DPORT, Field::DPORT, Field::SPORT),
];

/// A packet with the stated fields of `stated` and the usual values of all others. `set` tells which further fields
/// of `stated` are known too, since a guess may rest on them.
fn usual(stated: &Point, set: impl Fn(Field) -> bool) -> Point {
    let mut point = Point::default();
    for field in STATED {
        point.set(field, stated.get(field));
    }
    for &field in Field::ALL_FIXED {
        if set(field) {
            point.set(field, stated.get(field));
        }
    }
    let mut guess = |field: Field, value: u128| {
        if !set(field) {
            point.set(field, value);
        }
    };
    let state = stated.get(Field::CT_STATE);
    let opens = !matches!(state, ct_state::ESTABLISHED | ct_state::INVALID);
    guess(Field::TCP_FLAGS, if opens { tcp_flag::SYN } else { tcp_flag::ACK });
    if stated.get(Field::L4PROTO) == 58 {
        guess(Field::ICMP_TYPE, 128);
    }
    let forwarded = set(Field::OIFNAME) && stated.get(Field::OIFNAME) != 0;
    guess(Field::FIB_DADDR_TYPE, if forwarded { fib_type::UNICAST } else { fib_type::LOCAL });
    let tracked = !matches!(state, ct_state::INVALID | ct_state::UNTRACKED);
    let reply = set(Field::CT_DIRECTION) && stated.get(Field::CT_DIRECTION) == 1;
    for (field, original, other) in ORIGINAL {
        let own = stated.get(if reply { other } else { original });
        guess(field, if tracked { own } else { 0 });
    }
    point
}
