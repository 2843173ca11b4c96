//! Entries: `10.0.0.1,tcp:80,10.1.0.0/16`.

use super::{Component, Set};
use crate::syntax::iptables::args::{self, Address, Network};
use crate::syntax::iptables::{Text, names};
use smallvec::SmallVec;

/// An entry of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The element, without the options behind it.
    pub at: Text,
    /// One for each component of the set's type.
    pub parts: SmallVec<[Part; 2]>,
    /// An exception: packets that it matches don't match the set.
    pub nomatch: bool,
}

/// The value of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// First and last address.
    Addresses(u128, u128),
    /// Protocol, first and last port; of ICMP, type << 8 | code.
    Ports(u8, u16, u16),
    /// First and last port of `bitmap:port`.
    BarePorts(u16, u16),
    /// A MAC address.
    Mac(u64),
    /// Any MAC address (`bitmap:ip,mac` without one).
    AnyMac,
    /// A mark.
    Mark(u32),
    /// An interface's name, and whether it names a bridge port (`physdev:`).
    Interface(Text, bool),
    /// A set's name.
    Set(Text),
}

/// The parts of an element; `None` where it isn't one of the set's type.
pub(super) fn element(set: &Set<'_>, text: &str, at: Text) -> Option<SmallVec<[Part; 2]>> {
    let raw = at.raw(text);
    let mut parts = SmallVec::new();
    let mut offset = at.start;
    let mut pieces = raw.split(',');
    for (index, component) in set.components.iter().enumerate() {
        let Some(piece) = pieces.next() else {
            // The MAC address of bitmap:ip,mac may come later, from a packet.
            if *component == Component::Mac && index == 1 && set.range.is_some() {
                parts.push(Part::AnyMac);
                continue;
            }
            return None;
        };
        let place = Text { start: offset, end: offset + piece.len() as u32, escaped: false };
        offset = place.end + 1;
        parts.push(part(set, *component, piece, place)?);
    }
    pieces.next().is_none().then_some(parts)
}

fn part(set: &Set<'_>, component: Component, piece: &str, at: Text) -> Option<Part> {
    Some(match component {
        Component::Address | Component::Network => {
            let (low, high) = addresses(piece, set.v6)?;
            let (low, high) = (low & set.address_mask, high & set.address_mask);
            let width = if set.v6 { u128::MAX } else { u128::from(u32::MAX) };
            if set.range.is_some_and(|(first, last)| low < first & set.address_mask || high > last) {
                return None;
            }
            Part::Addresses(low, high | (width & !set.address_mask))
        }
        Component::Port => {
            let (protocol, low, high) = ports(piece)?;
            Part::Ports(protocol, low, high)
        }
        Component::BarePort => {
            let (low, high) =
                bare_ports(piece.strip_prefix("tcp:").or(piece.strip_prefix("udp:")).unwrap_or(piece))?;
            if set.range.is_some_and(|(first, last)| u128::from(low) < first || u128::from(high) > last) {
                return None;
            }
            Part::BarePorts(low, high)
        }
        Component::Mac => Part::Mac(args::mac(piece)?),
        Component::Mark => Part::Mark(args::number(piece, u64::from(u32::MAX))? as u32),
        Component::Interface => {
            let name = piece.strip_prefix("physdev:");
            let length = name.unwrap_or(piece).len();
            if length == 0 || length > 15 {
                return None;
            }
            Part::Interface(Text { start: at.end - length as u32, ..at }, name.is_some())
        }
        Component::Set => {
            if piece.is_empty() || piece.len() > 31 {
                return None;
            }
            Part::Set(at)
        }
    })
}

/// An address, a prefix, or a range, of the given version.
pub(super) fn addresses(text: &str, v6: bool) -> Option<(u128, u128)> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if text == "0/0" {
        return Some((0, if v6 { u128::MAX } else { u128::from(u32::MAX) }));
    }
    if let Some((low, high)) = text.split_once('-') {
        return match (args::address(low)?, args::address(high)?) {
            (Address::V4(low), Address::V4(high)) if !v6 => {
                Some((u128::from(low.min(high)), u128::from(low.max(high))))
            }
            (Address::V6(low), Address::V6(high)) if v6 => Some((low.min(high), low.max(high))),
            _ => None,
        };
    }
    if text.split_once('/').is_some_and(|(_, mask)| mask.contains(['.', ':'])) {
        return None;
    }
    match args::network(text)? {
        Network::V4(address, mask) if !v6 => Some((u128::from(address), u128::from(address | !mask))),
        Network::V6(address, mask) if v6 => Some((address, address | !mask)),
        _ => None,
    }
}

fn bare_ports(text: &str) -> Option<(u16, u16)> {
    let (low, high) = match args::port(text) {
        Some(port) => (port, port),
        None => {
            let (low, high) = text.split_once('-')?;
            (args::port(low)?, args::port(high)?)
        }
    };
    Some((low.min(high), low.max(high)))
}

/// `80`, `tcp:80-90`, `icmp:echo-request`, `icmp:8/0`, `gre:0`.
fn ports(text: &str) -> Option<(u8, u16, u16)> {
    let Some((protocol, rest)) = text.split_once(':') else {
        return bare_ports(text).map(|(low, high)| (6, low, high));
    };
    let protocol = args::protocol(protocol).filter(|&protocol| protocol != 0)?;
    match protocol {
        1 | 58 => {
            let (kind, low, _) = match rest.split_once('/') {
                Some((kind, code)) => {
                    (Some(args::number(kind, 255)? as u8), args::number(code, 255)? as u8, 0)
                }
                None if rest.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (Some(args::number(rest, 255)? as u8), 0, 0)
                }
                None => names::icmp_type(rest, protocol == 58)?,
            };
            let value = u16::from(kind?) << 8 | u16::from(low);
            Some((protocol, value, value))
        }
        6 | 17 | 132 | 136 => bare_ports(rest).map(|(low, high)| (protocol, low, high)),
        _ => (rest == "0").then_some((protocol, 0, 0)),
    }
}
