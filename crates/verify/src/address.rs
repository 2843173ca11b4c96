//! Addresses, prefixes and ranges as people write them.

use firewarden_packet::{Dim, Field, IntervalSet, PacketBox};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// All packets of a family (2 or 10): addresses of IPv4 have 32 bits.
pub(crate) fn packets_of(nfproto: u128) -> PacketBox {
    let mut packets = PacketBox::all().with_value(Field::NFPROTO, nfproto);
    if nfproto == 2 {
        for field in [Field::SADDR, Field::DADDR, Field::CT_ORIGINAL_SADDR, Field::CT_ORIGINAL_DADDR] {
            packets.set(field, Dim::Range(0, u128::from(u32::MAX)));
        }
    }
    packets
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The NFPROTO number, as in [`firewarden_packet::Field::NFPROTO`].
    pub fn nfproto(self) -> u128 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Bits of an address.
    pub fn width(self) -> u32 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The largest address as a number.
    pub fn max(self) -> u128 {
        match self {
            Family::V4 => 0xFFFF_FFFF,
            Family::V6 => u128::MAX,
        }
    }
}

impl fmt::Display for Family {
    /// `IPv4` or `IPv6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Consecutive addresses of one family, both ends included; IPv4 addresses are in the low 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The family.
    pub family: Family,
    /// The first address.
    pub low: u128,
    /// The last address.
    pub high: u128,
}

impl AddressRange {
    /// The addresses of a prefix; bits behind `length` are ignored. Lengths past the width are the width.
    pub const fn prefix(family: Family, address: u128, length: u32) -> AddressRange {
        let (width, max): (u32, u128) = match family {
            Family::V4 => (32, 0xFFFF_FFFF),
            Family::V6 => (128, u128::MAX),
        };
        let free_bits = width.saturating_sub(length);
        let free = if free_bits == 128 { u128::MAX } else { (1 << free_bits) - 1 };
        AddressRange { family, low: address & max & !free, high: (address & max) | free }
    }

    /// One address.
    pub fn single(address: IpAddr) -> AddressRange {
        let (family, value) = number(address);
        AddressRange { family, low: value, high: value }
    }
}

impl fmt::Display for AddressRange {
    /// An address, a prefix where the range is one, else `low-high`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = address(self.family, self.low);
        if self.low == self.high {
            return write!(f, "{low}");
        }
        let free = self.low ^ self.high;
        if free & free.wrapping_add(1) == 0 && self.low & free == 0 {
            return write!(f, "{low}/{}", self.family.width() - free.count_ones());
        }
        write!(f, "{low}-{}", address(self.family, self.high))
    }
}

/// Address intervals of a family as text, the first `limit` of them, then how many more there are.
pub fn format_set(family: Family, set: &IntervalSet, limit: usize) -> String {
    let ranges = set.ranges();
    let mut parts: Vec<String> = ranges
        .iter()
        .take(limit)
        .map(|&(low, high)| AddressRange { family, low, high }.to_string())
        .collect();
    if ranges.len() > limit {
        parts.push(format!("{} more", ranges.len() - limit));
    }
    parts.join(", ")
}

/// The number of an address, and its family.
pub fn number(address: IpAddr) -> (Family, u128) {
    match address {
        IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (Family::V6, address.to_bits()),
    }
}

/// The address of a number; of an IPv4 number the low 32 bits count.
pub fn address(family: Family, value: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits((value & 0xFFFF_FFFF) as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(value)),
    }
}

/// Why a text isn't an address, a prefix or a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// One sentence, lower case.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl AddressError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> AddressError {
        AddressError { message: message.into(), help: help.into() }
    }
}

/// True where a text can only be meant as an address, prefix or range: it begins like one, so that a mistake in it is
/// told as such rather than as an unknown name.
pub fn looks_like_address(text: &str) -> bool {
    let numeric =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let first = text.split(['/', '-']).next().unwrap_or_default();
    first.contains(':') || (numeric(first) && first.contains('.')) || (text.contains('/') && numeric(first))
}

/// Reads one address, `[` `]` around it allowed.
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        let shown = shorten(text);
        let octets: Vec<&str> = bare.split('.').collect();
        let help = match octets.iter().find(|octet| octet.parse::<u32>().is_ok_and(|n| n > 255)) {
            Some(octet) if octets.len() == 4 => format!("`{}` is above 255", shorten(octet)),
            _ if octets.iter().any(|octet| octet.len() > 1 && octet.starts_with('0')) => {
                "write the four numbers without leading zeros".to_owned()
            }
            _ => "write it like `10.0.1.10` or `2001:db8::10`".to_owned(),
        };
        AddressError::new(format!("`{shown}` is not an IP address"), help)
    })
}

/// Reads an address with a prefix length; `None` where no length is written.
pub fn parse_with_length(text: &str) -> Result<(IpAddr, Option<u32>), AddressError> {
    let Some((base, length)) = text.split_once('/') else { return Ok((parse_address(text)?, None)) };
    let address = parse_address(base)?;
    let width = number(address).0.width();
    let length = length.parse().ok().filter(|&length| length <= width).ok_or_else(|| {
        AddressError::new(
            format!("`/{}` is not a prefix length", shorten(length)),
            format!("the length is a number from 0 to {width}"),
        )
    })?;
    Ok((address, Some(length)))
}

/// Reads `10.0.0.1`, `10.0.0.0/8` or `10.0.0.1-10.0.0.9`, or the same of IPv6. A prefix with bits set behind its
/// length is refused, since it is unclear whether the host or the network is meant.
pub fn parse_range(text: &str) -> Result<AddressRange, AddressError> {
    if let Some((low, high)) = text.split_once('-') {
        let ((family, low_number), (high_family, high_number)) =
            (number(parse_address(low)?), number(parse_address(high)?));
        if family != high_family {
            return Err(AddressError::new(
                format!("the ends of `{}` are of different families", shorten(text)),
                "write two IPv4 or two IPv6 addresses",
            ));
        }
        if low_number > high_number {
            return Err(AddressError::new(
                format!("the range `{}` ends before it begins", shorten(text)),
                format!("did you mean `{high}-{low}`?"),
            ));
        }
        return Ok(AddressRange { family, low: low_number, high: high_number });
    }
    let (base, length) = parse_with_length(text)?;
    let (family, value) = number(base);
    let range = AddressRange::prefix(family, value, length.unwrap_or(family.width()));
    if range.low != value {
        return Err(AddressError::new(
            format!("`{}` has bits set behind its prefix length", shorten(text)),
            format!("did you mean the network `{range}` or the host `{base}`?"),
        ));
    }
    Ok(range)
}

/// The beginning of a text that goes into a message: a line of megabytes must not.
pub fn shorten(text: &str) -> String {
    const LIMIT: usize = 80;
    match text.char_indices().nth(LIMIT) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()).replace('`', "'"),
        None => text.replace('`', "'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
            ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
            ("::1", "::1"),
            ("10.0.0.1/32", "10.0.0.1"),
        ] {
            assert_eq!(parse_range(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_a_remedy() {
        for (text, message, help) in [
            ("10.0.0.300", "not an IP address", "above 255"),
            ("10.0.0", "not an IP address", "write it like"),
            ("10.0.0.1/33", "not a prefix length", "0 to 32"),
            ("10.0.0.1/24", "bits set behind", "`10.0.0.0/24`"),
            ("10.0.0.9-10.0.0.1", "ends before", "10.0.0.1-10.0.0.9"),
            ("10.0.0.9-::1", "different families", "two IPv4"),
            ("010.0.0.1", "not an IP address", "leading zeros"),
        ] {
            let error = parse_range(text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
            assert!(error.help.contains(help), "{text}: {}", error.help);
        }
    }
}
