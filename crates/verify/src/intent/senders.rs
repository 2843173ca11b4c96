//! Which declared hosts send packets with a source that an intent names as a prefix.

use crate::address::{Family, number};
use crate::stack::StackFile;
use firewarden_packet::IntervalSet;
use std::collections::BTreeMap;

/// Declared hosts that are asked for the packets they send themselves, by their addresses.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    /// Family, address and number of the host; sorted.
    addresses: Vec<(Family, u128, usize)>,
}

impl Senders {
    /// Prepares hosts by their numbers. O(addresses × log addresses).
    pub fn new(stack: &StackFile, hosts: &[usize]) -> Senders {
        let mut addresses = Vec::new();
        for &index in hosts {
            let own = stack.hosts.get(index).into_iter().flat_map(|host| &host.addresses);
            addresses.extend(own.map(|address| {
                let (family, value) = number(address.value);
                (family, value, index)
            }));
        }
        addresses.sort_unstable();
        addresses.dedup();
        Senders { addresses }
    }

    /// The hosts with addresses in a set, with these addresses as ranges of one. O(ranges × log addresses + found).
    pub(super) fn within(&self, family: Family, set: &IntervalSet) -> BTreeMap<usize, Vec<(u128, u128)>> {
        let mut found: BTreeMap<usize, Vec<(u128, u128)>> = BTreeMap::new();
        for &(low, high) in set.ranges() {
            let from = self.addresses.partition_point(|&(of, value, _)| (of, value) < (family, low));
            let rest = self.addresses.iter().skip(from);
            for &(_, value, index) in rest.take_while(|&&(of, value, _)| of == family && value <= high) {
                found.entry(index).or_default().push((value, value));
            }
        }
        found
    }
}
