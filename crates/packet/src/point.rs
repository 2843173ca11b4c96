//! Points: one packet with everything that decides its fate.

use crate::{Field, PacketBox, fib_type, tcp_flag};
use std::collections::BTreeMap;

/// A value for every field. Dynamic fields that were never set read as 0, which is
/// false for an atom; whoever reads a choice takes the nearest value of its domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    fixed: [u128; Field::FIXED],
    dynamic: BTreeMap<Field, u128>,
}

impl Default for Point {
    /// A plain IPv4 TCP SYN with the readable values that a question doesn't care about.
    fn default() -> Point {
        let mut point = Point { fixed: [0; Field::FIXED], dynamic: BTreeMap::new() };
        for (field, value) in [
            (Field::NFPROTO, 2),
            (Field::SADDR, 0xC633_6407), // 198.51.100.7 (RFC 5737)
            (Field::DADDR, 0xC000_0201), // 192.0.2.1 (RFC 5737)
            (Field::L4PROTO, 6),
            (Field::SPORT, 40_000),
            (Field::DPORT, 443),
            (Field::TCP_FLAGS, tcp_flag::SYN),
            (Field::ICMP_TYPE, 8),
            (Field::CT_STATE, crate::ct_state::NEW),
            (Field::FIB_SADDR_TYPE, fib_type::UNICAST),
            (Field::FIB_DADDR_TYPE, fib_type::LOCAL),
            (Field::FIB_REVERSE_PATH, 1),
            (Field::LENGTH, 60),
            (Field::TTL, 64),
        ] {
            point.set(field, value);
        }
        point
    }
}

impl Point {
    /// The value of a field.
    pub fn get(&self, field: Field) -> u128 {
        match self.fixed.get(field.index()) {
            Some(&value) => value,
            None => self.dynamic.get(&field).copied().unwrap_or(0),
        }
    }

    /// Sets a field.
    pub fn set(&mut self, field: Field, value: u128) {
        match self.fixed.get_mut(field.index()) {
            Some(slot) => *slot = value,
            None => {
                self.dynamic.insert(field, value);
            }
        }
    }

    /// The point with a field set; for building.
    #[must_use]
    pub fn with(mut self, field: Field, value: u128) -> Point {
        self.set(field, value);
        self
    }

    /// The dynamic fields that were set, in order.
    pub fn dynamic(&self) -> impl Iterator<Item = (Field, u128)> + '_ {
        self.dynamic.iter().map(|(&field, &value)| (field, value))
    }

    /// A point of a box: the values of `preferred` where the box allows them, else the nearest value it does allow.
    /// O(fields).
    pub fn in_box(region: &PacketBox, preferred: &Point) -> Point {
        let mut point = preferred.clone();
        for (field, dim) in region.dims() {
            let wanted = point.get(*field);
            if !dim.contains(wanted) {
                point.set(*field, dim.nearest(wanted));
            }
        }
        point
    }
}
