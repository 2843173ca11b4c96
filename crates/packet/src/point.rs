//! Points: one packet with everything that decides its fate.

use crate::{Field, PacketBox, fib_type, tcp_flag};
use smallvec::SmallVec;

/// A value for every field. Dynamic fields that were never set read as 0, which is
/// false for an atom; whoever reads a choice takes the nearest value of its domain.
#[derive(Debug, PartialEq, Eq)]
pub struct Point {
    fixed: [u128; Field::FIXED],
    /// Sorted by field. Most packets have a few: what nobody declared of the hosts they pass.
    dynamic: SmallVec<[(Field, u128); 4]>,
}

// Copies the entries as they are; the derived one would go through them one by one.
impl Clone for Point {
    fn clone(&self) -> Point {
        Point { fixed: self.fixed, dynamic: SmallVec::from_slice(&self.dynamic) }
    }
}

impl Default for Point {
    /// A plain IPv4 TCP SYN with the readable values that a question doesn't care about.
    fn default() -> Point {
        let mut point = Point { fixed: [0; Field::FIXED], dynamic: SmallVec::new() };
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
    /// The value of a field. O(1), of a dynamic one O(log set dynamic fields).
    #[inline]
    pub fn get(&self, field: Field) -> u128 {
        match self.fixed.get(field.index()) {
            Some(&value) => value,
            None => self.place(field).ok().and_then(|at| self.dynamic.get(at)).map_or(0, |entry| entry.1),
        }
    }

    /// Sets a field. O(1), a dynamic one O(set dynamic fields).
    #[inline]
    pub fn set(&mut self, field: Field, value: u128) {
        if let Some(slot) = self.fixed.get_mut(field.index()) {
            *slot = value;
            return;
        }
        match self.place(field) {
            Ok(at) => {
                if let Some(entry) = self.dynamic.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => self.dynamic.insert(at, (field, value)),
        }
    }

    fn place(&self, field: Field) -> Result<usize, usize> {
        self.dynamic.binary_search_by_key(&field, |entry| entry.0)
    }

    /// The point with a field set; for building.
    #[must_use]
    pub fn with(mut self, field: Field, value: u128) -> Point {
        self.set(field, value);
        self
    }

    /// The dynamic fields that were set, in order.
    pub fn dynamic(&self) -> impl Iterator<Item = (Field, u128)> + '_ {
        self.dynamic.iter().copied()
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
