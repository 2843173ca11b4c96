//! Which addresses `internet` and `any` mean.
//!
//! From the IANA registries "IPv4 Special-Purpose Address Space" and "IPv6 Special-Purpose Address Space" (RFC 6890
//! and its updates), and "IPv6 Global Unicast Address Space".

use crate::address::{AddressRange, Family};
use firewarden_packet::IntervalSet;

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u32) -> AddressRange {
    AddressRange::prefix(Family::V4, u32::from_be_bytes([a, b, c, d]) as u128, length)
}

const fn v6(groups: [u16; 4], length: u32) -> AddressRange {
    let [a, b, c, d] = groups;
    let high = (a as u128) << 48 | (b as u128) << 32 | (c as u128) << 16 | d as u128;
    AddressRange::prefix(Family::V6, high << 64, length)
}

/// IPv4 blocks that aren't globally reachable, deprecated ones and multicast.
const V4_NOT_PUBLIC: [AddressRange; 15] = [
    v4(0, 0, 0, 0, 8),       // this network, RFC 791
    v4(10, 0, 0, 0, 8),      // private, RFC 1918
    v4(100, 64, 0, 0, 10),   // shared (carrier-grade NAT), RFC 6598
    v4(127, 0, 0, 0, 8),     // loopback, RFC 1122
    v4(169, 254, 0, 0, 16),  // link local, RFC 3927
    v4(172, 16, 0, 0, 12),   // private, RFC 1918
    v4(192, 0, 0, 0, 24),    // protocol assignments, RFC 6890
    v4(192, 0, 2, 0, 24),    // documentation, RFC 5737
    v4(192, 88, 99, 0, 24),  // deprecated 6to4 relay, RFC 7526
    v4(192, 168, 0, 0, 16),  // private, RFC 1918
    v4(198, 18, 0, 0, 15),   // benchmarking, RFC 2544
    v4(198, 51, 100, 0, 24), // documentation, RFC 5737
    v4(203, 0, 113, 0, 24),  // documentation, RFC 5737
    v4(224, 0, 0, 0, 4),     // multicast, RFC 5771
    v4(240, 0, 0, 0, 4),     // reserved and limited broadcast, RFC 1112
];

/// Globally reachable addresses within [`V4_NOT_PUBLIC`].
const V4_PUBLIC_AFTER_ALL: [AddressRange; 2] = [
    v4(192, 0, 0, 9, 32),  // port control protocol anycast, RFC 7723
    v4(192, 0, 0, 10, 32), // TURN anycast, RFC 8155
];

/// What is public of IPv6: global unicast space, and the well-known translation prefix.
const V6_PUBLIC: [AddressRange; 2] = [
    v6([0x2000, 0, 0, 0], 3),
    v6([0x64, 0xff9b, 0, 0], 96), // RFC 6052
];

/// Blocks of [`V6_PUBLIC`] that aren't globally reachable. 2001::/32 (Teredo) and 2002::/16 (6to4), of which the
/// registry says neither, are left in: packets with such sources exist.
const V6_NOT_PUBLIC: [AddressRange; 3] = [
    v6([0x2001, 0, 0, 0], 23),     // protocol assignments, RFC 2928
    v6([0x2001, 0xdb8, 0, 0], 32), // documentation, RFC 3849
    v6([0x3fff, 0, 0, 0], 20),     // documentation, RFC 9637
];

/// Globally reachable blocks within [`V6_NOT_PUBLIC`].
const V6_PUBLIC_AFTER_ALL: [AddressRange; 6] = [
    v6([0x2001, 0, 0, 0], 32), // Teredo, RFC 4380 (see above)
    AddressRange {
        family: Family::V6, // port control protocol, TURN and DNS-SD anycast: 2001:1::1 to ::3, RFC 7723, 8155, 9665
        low: 0x2001_0001_0000_0000_0000_0000_0000_0001,
        high: 0x2001_0001_0000_0000_0000_0000_0000_0003,
    },
    v6([0x2001, 3, 0, 0], 32),     // AMT, RFC 7450
    v6([0x2001, 4, 0x112, 0], 48), // AS112, RFC 7535
    v6([0x2001, 0x20, 0, 0], 28),  // ORCHIDv2, RFC 7343
    v6([0x2001, 0x30, 0, 0], 28),  // drone remote identification, RFC 9374
];

/// IPv4 sources with which no packet gets past the kernel's own checks (`fib_validate_source`, `ip_route_input`): this
/// network, loopback, multicast, limited broadcast.
const V4_NEVER_RECEIVED: [AddressRange; 4] =
    [v4(0, 0, 0, 0, 8), v4(127, 0, 0, 0, 8), v4(224, 0, 0, 0, 4), v4(255, 255, 255, 255, 32)];

/// The same of IPv6 (`ip6_rcv_core`): unspecified, loopback, IPv4-mapped, multicast.
const V6_NEVER_RECEIVED: [AddressRange; 3] = [
    AddressRange { family: Family::V6, low: 0, high: 1 },
    AddressRange { family: Family::V6, low: 0xFFFF_0000_0000, high: 0xFFFF_FFFF_FFFF },
    v6([0xff00, 0, 0, 0], 8),
];

fn set(ranges: &[AddressRange]) -> IntervalSet {
    ranges.iter().map(|range| (range.low, range.high)).collect()
}

/// Public unicast addresses. Declared hosts are not taken out.
pub fn internet(family: Family) -> IntervalSet {
    match family {
        Family::V4 => set(&V4_NOT_PUBLIC).complement(family.max()).union(&set(&V4_PUBLIC_AFTER_ALL)),
        Family::V6 => set(&V6_PUBLIC).subtract(&set(&V6_NOT_PUBLIC)).union(&set(&V6_PUBLIC_AFTER_ALL)),
    }
}

/// The sources with which a packet from the network can reach the rules at all: what `any` means.
pub fn receivable(family: Family) -> IntervalSet {
    let never = match family {
        Family::V4 => set(&V4_NEVER_RECEIVED),
        Family::V6 => set(&V6_NEVER_RECEIVED),
    };
    never.complement(family.max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{number, parse_address};

    #[test]
    fn internet_is_what_the_registries_call_globally_reachable() {
        for (text, public) in [
            ("1.1.1.1", true),
            ("8.8.8.8", true),
            ("9.255.255.255", true),
            ("10.0.0.0", false),
            ("100.63.255.255", true),
            ("100.64.0.0", false),
            ("172.15.255.255", true),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.0.0.9", true),
            ("192.0.0.10", true),
            ("192.0.0.170", false),
            ("192.31.196.1", true),
            ("198.51.100.7", false),
            ("203.0.113.1", false),
            ("223.255.255.255", true),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("2001:db8::1", false),
            ("2001::1", true),
            ("2001:2::1", false),
            ("2001:1::1", true),
            ("2001:1::3", true),
            ("2001:1::4", false),
            ("2001:20::1", true),
            ("2001:200::1", true),
            ("2002::1", true),
            ("3fff::1", false),
            ("3fff:1000::1", true),
            ("64:ff9b::1", true),
            ("64:ff9b:1::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("::1", false),
            ("ff02::1", false),
            ("5f00::1", false),
        ] {
            let (family, value) = number(parse_address(text).unwrap());
            assert_eq!(internet(family).contains(value), public, "{text}");
        }
    }

    #[test]
    fn any_is_what_the_kernel_receives() {
        for (text, received) in [
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.0.0.1", true),
            ("240.0.0.1", true),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", true),
            ("ff02::1", false),
        ] {
            let (family, value) = number(parse_address(text).unwrap());
            assert_eq!(receivable(family).contains(value), received, "{text}");
        }
    }
}
