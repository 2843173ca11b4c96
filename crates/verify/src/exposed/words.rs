//! Sets of addresses and interfaces in the words that people use for them.

use super::ask::senders;
use firewarden_packet::{Cube, InterfaceName, IntervalSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A set in words: these, or all but these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Words {
    /// All but the list.
    pub except: bool,
    /// Prefixes, ranges, names.
    pub list: Vec<String>,
}

impl Words {
    /// Everything.
    pub fn is_all(&self) -> bool {
        self.except && self.list.is_empty()
    }
}

pub fn range(low: u128, high: u128) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn ip(value: u128, nfproto: u128) -> String {
    match u32::try_from(value) {
        Ok(short) if nfproto == 2 => Ipv4Addr::from(short).to_string(),
        _ => Ipv6Addr::from(value).to_string(),
    }
}

/// Where packets go; the port only where it changes.
pub fn end(address: u128, port: Option<u128>, nfproto: u128) -> String {
    let address = ip(address, nfproto);
    match port {
        None => address,
        Some(port) if nfproto == 2 => format!("{address}:{port}"),
        Some(port) => format!("[{address}]:{port}"),
    }
}

/// Addresses: as they are, or what is missing, whichever are fewer.
pub fn address_words(set: &IntervalSet, nfproto: u128) -> Words {
    let rest = senders(nfproto).subtract(set);
    let size = |set: &IntervalSet| {
        set.ranges().iter().fold(0_u128, |sum, &(low, high)| sum.saturating_add(high - low))
    };
    let except = size(&rest) < size(set);
    Words { except, list: prefixes(if except { &rest } else { set }, nfproto) }
}

/// The prefixes whose union a set is; an interval that takes more than two is written as such.
pub fn prefixes(set: &IntervalSet, nfproto: u128) -> Vec<String> {
    let width: u32 = if nfproto == 2 { 32 } else { 128 };
    let mut words = Vec::new();
    for &(low, high) in set.ranges() {
        let cubes = Cube::of_range(low, high, width);
        if cubes.len() > 2 {
            words.push(format!("{}-{}", ip(low, nfproto), ip(high, nfproto)));
            continue;
        }
        for cube in cubes {
            let length = cube.mask.count_ones();
            let address = ip(cube.value, nfproto);
            words.push(if length == width { address } else { format!("{address}/{length}") });
        }
    }
    words
}

/// Interfaces by name. Intervals between names are what is left when rules name others.
pub fn interface_words(set: &IntervalSet) -> Words {
    let loopback = InterfaceName::new("lo").unwrap_or(InterfaceName::NONE).0;
    let whole = IntervalSet::from_ranges([(1, loopback - 1), (loopback + 1, u128::MAX)]);
    let word = |&(low, high): &(u128, u128)| -> Option<String> {
        let name = InterfaceName(low).to_string();
        if low == high {
            return Some(name);
        }
        (InterfaceName::prefix(&name) == Ok((low, high))).then(|| format!("{name}*"))
    };
    let rest = whole.subtract(set);
    let missing: Option<Vec<String>> = rest.ranges().iter().map(word).collect();
    if let Some(list) = missing {
        return Words { except: true, list };
    }
    // Beside names, the set may hold what lies between others' names.
    let names: Vec<String> = set.ranges().iter().filter_map(word).collect();
    let more = names.len() < set.ranges().len();
    Words { except: false, list: names.into_iter().chain(more.then(|| "others".to_owned())).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_in_words() {
        let v4 =
            |ranges: &[(u128, u128)]| address_words(&IntervalSet::from_ranges(ranges.iter().copied()), 2);
        assert!(v4(&[(0, 0xFFFF_FFFF)]).is_all());
        assert_eq!(
            v4(&[(0x0A00_0000, 0x0AFF_FFFF)]),
            Words { except: false, list: vec!["10.0.0.0/8".into()] }
        );
        assert_eq!(
            v4(&[(0, 0x09FF_FFFF), (0x0B00_0000, 0xFFFF_FFFF)]),
            Words { except: true, list: vec!["10.0.0.0/8".into()] }
        );
        let wan = InterfaceName::new("wan").unwrap().0;
        assert_eq!(interface_words(&IntervalSet::single(wan)).list, ["wan"]);
        assert!(interface_words(&IntervalSet::from_ranges([(0, u128::MAX)])).is_all());
    }
}
