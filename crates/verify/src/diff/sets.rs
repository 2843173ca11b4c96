//! Boxes put together to products of sets, as people read them: these sources, to these destinations, on these ports.

use crate::exposed::ask::senders;
use crate::exposed::words::{prefixes, range};
use firewarden_packet::{
    AtomTable, Cube, Dim, Field, InterfaceName, IntervalSet, PacketBox, Point, ct_state, fib_type, tcp_flag,
    text,
};
use std::collections::BTreeMap;

/// The values of one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Values {
    Numbers(Vec<(u128, u128)>),
    /// Words that agree with one of the cubes.
    Bits(Vec<Cube>),
}

/// A product of sets: for each field the values it may have; fields that aren't named may have any.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketSet {
    pub(super) fields: BTreeMap<Field, Values>,
}

/// Intervals with more addresses than this are shown as such, even if all of them have names.
const MOST_NAMED: u128 = 16;

/// How values are told by those that are missing.
const ANY_BUT: &str = "any but ";

/// What people call addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By their text.
    of: BTreeMap<String, String>,
    /// Addresses of IPv4 that all hosts of a network take, by the interfaces of hosts.
    broadcast: IntervalSet,
}

impl Names {
    /// None yet.
    pub fn new() -> Names {
        Names::default()
    }

    /// An address, as its text, and what people call it. The last one counts.
    pub fn insert(&mut self, address: String, name: String) {
        self.of.insert(address, name);
    }

    /// What people call an address.
    pub fn get(&self, address: &str) -> Option<&String> {
        self.of.get(address)
    }

    /// A broadcast address of IPv4: that a host takes it along with its own says nothing.
    pub fn insert_broadcast(&mut self, address: u128) {
        self.broadcast = self.broadcast.union(&IntervalSet::single(address));
    }
}

/// More boxes than this aren't put together, but shown one by one as far as they are shown at all.
const MOST_JOINED: usize = 8_192;

/// Puts disjoint boxes together where they differ in one field only, again and again, until none do. The union is the
/// same. O(fields² × n log n).
pub fn products(boxes: &[PacketBox], atoms: &AtomTable) -> Vec<PacketSet> {
    let mut sets: Vec<PacketSet> = boxes.iter().map(|packets| PacketSet::of(packets, atoms)).collect();
    if sets.len() > MOST_JOINED {
        return sets;
    }
    loop {
        let before = sets.len();
        let mut fields: Vec<Field> = sets.iter().flat_map(|set| set.fields.keys().copied()).collect();
        fields.sort_unstable();
        fields.dedup();
        for field in fields {
            sets = joined(sets, field, atoms);
        }
        if sets.len() == before {
            return sets;
        }
    }
}

/// Joins sets that differ in `field` only.
fn joined(sets: Vec<PacketSet>, field: Field, atoms: &AtomTable) -> Vec<PacketSet> {
    let mut groups: BTreeMap<BTreeMap<Field, Values>, Vec<Option<Values>>> = BTreeMap::new();
    let mut all = Vec::new();
    for mut set in sets {
        // The same number is another address in the other family.
        if field == Field::NFPROTO && set.fields.keys().any(|field| is_address(*field)) {
            all.push(set);
            continue;
        }
        let own = set.fields.remove(&field);
        groups.entry(set.fields).or_default().push(own);
    }
    for (fields, values) in groups {
        // Where one of them takes every value, so does the union.
        let union = values.into_iter().reduce(|one, other| one?.union(other?));
        let mut set = PacketSet { fields };
        if let Some(values) = union.flatten() {
            set.insert(field, values, atoms);
        }
        all.push(set);
    }
    all
}

impl Values {
    /// The union; `None` where the two aren't of a kind.
    pub(super) fn union(self, other: Values) -> Option<Values> {
        match (self, other) {
            (Values::Numbers(mut one), Values::Numbers(other)) => {
                one.extend(other);
                let union: IntervalSet = one.into_iter().collect();
                Some(Values::Numbers(union.ranges().to_vec()))
            }
            (Values::Bits(one), Values::Bits(other)) => Some(Values::Bits(join_cubes(one, other))),
            _ => None,
        }
    }
}

/// The union of cubes; two that differ in one fixed bit become one.
fn join_cubes(one: Vec<Cube>, other: Vec<Cube>) -> Vec<Cube> {
    let mut cubes = one;
    cubes.extend(other);
    loop {
        let pair = (0..cubes.len()).find_map(|left| {
            let right = (left + 1..cubes.len()).find(|right| {
                let (a, b) = (cubes[left], cubes[*right]);
                a.mask == b.mask && (a.value ^ b.value).is_power_of_two()
            })?;
            Some((left, right))
        });
        let Some((left, right)) = pair else { break };
        let second = cubes.remove(right);
        let first = &mut cubes[left];
        let free = first.value ^ second.value;
        *first = Cube::new(first.mask & !free, first.value);
    }
    cubes.sort_unstable();
    cubes
}

impl PacketSet {
    fn of(packets: &PacketBox, atoms: &AtomTable) -> PacketSet {
        let values = |field: Field, dim: &Dim| match (dim, PacketBox::full(field, atoms)) {
            (Dim::Range(low, high), _) if field == Field::NFPROTO => {
                Values::Numbers(families().intersect(&IntervalSet::range(*low, *high)).ranges().to_vec())
            }
            // Cuts may reach beyond the values that there are.
            (Dim::Range(low, high), Dim::Range(_, most)) => Values::Numbers(vec![(*low, *high.min(&most))]),
            (Dim::Range(low, high), Dim::Bits(_)) => Values::Numbers(vec![(*low, *high)]),
            (Dim::Bits(cube), _) => Values::Bits(vec![*cube]),
        };
        // Every IPv4 address is no restriction, so that what holds for both families is said once.
        let whole = Dim::Range(0, u128::from(u32::MAX));
        let is_ipv4 = packets.get(Field::NFPROTO) == Some(&Dim::Range(2, 2));
        let says = |field: Field, dim: &Dim| !(is_ipv4 && *dim == whole && is_address(field));
        let dims = packets.dims().iter().filter(|(field, dim)| says(*field, dim));
        PacketSet { fields: dims.map(|(field, dim)| (*field, values(*field, dim))).collect() }
    }

    /// Restricts a field to values; to all there are is no restriction, and neither are all addresses of IPv4 where
    /// nothing else is meant.
    pub(super) fn insert(&mut self, field: Field, values: Values, atoms: &AtomTable) {
        let is_whole = match &values {
            Values::Numbers(ranges) => {
                self.all(field, atoms).is_some_and(|all| all.ranges() == ranges.as_slice())
            }
            Values::Bits(cubes) => cubes.iter().any(|cube| cube.mask == 0),
        };
        if is_whole {
            self.fields.remove(&field);
        } else {
            self.fields.insert(field, values);
        }
    }

    /// The values of a field of numbers, all there are where it isn't restricted; `None` of flag words.
    pub(super) fn values(&self, field: Field, atoms: &AtomTable) -> Option<IntervalSet> {
        match self.fields.get(&field) {
            Some(Values::Numbers(ranges)) => Some(ranges.iter().copied().collect()),
            Some(Values::Bits(_)) => None,
            None => self.all(field, atoms),
        }
    }

    /// All values that a field of numbers has in the family of these packets.
    fn all(&self, field: Field, atoms: &AtomTable) -> Option<IntervalSet> {
        match PacketBox::full(field, atoms) {
            _ if field == Field::NFPROTO => Some(families()),
            Dim::Range(low, _) if is_address(field) && self.nfproto() == Some(2) => {
                Some(IntervalSet::range(low, u128::from(u32::MAX)))
            }
            Dim::Range(low, high) => Some(IntervalSet::range(low, high)),
            Dim::Bits(_) => None,
        }
    }

    /// The intervals of a field of numbers; `None` where it may have any value.
    pub fn numbers(&self, field: Field) -> Option<&[(u128, u128)]> {
        match self.fields.get(&field)? {
            Values::Numbers(ranges) => Some(ranges),
            Values::Bits(_) => None,
        }
    }

    /// Membership.
    pub fn contains(&self, point: &Point) -> bool {
        self.fields.iter().all(|(field, values)| match values {
            Values::Numbers(ranges) => {
                let value = point.get(*field);
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
            }
            Values::Bits(cubes) => cubes.iter().any(|cube| cube.contains(point.get(*field))),
        })
    }

    /// The atoms that it hangs on, in words: `limit rate 5/second matches`.
    pub fn conditions(&self, atoms: &AtomTable) -> Vec<String> {
        let dynamic = self.fields.iter().filter_map(|(field, values)| Some((atoms.get(*field)?, values)));
        dynamic
            .map(|(info, values)| atom_words(info, values))
            .map(|(text, value)| format!("`{text}` {value}"))
            .collect()
    }

    /// 2 or 10, where it is one of them.
    pub fn nfproto(&self) -> Option<u128> {
        match self.numbers(Field::NFPROTO)? {
            [(low, high)] if low == high => Some(*low),
            _ => None,
        }
    }

    /// The set in words, a field each: name and values, those that say most first. `limit` is how many members of a set
    /// are written out; `names` says what people call addresses.
    pub fn words(&self, atoms: &AtomTable, limit: usize, names: &Names) -> Vec<(String, String)> {
        const FIRST: [Field; 8] = [
            Field::SADDR,
            Field::DADDR,
            Field::L4PROTO,
            Field::DPORT,
            Field::SPORT,
            Field::IIFNAME,
            Field::OIFNAME,
            Field::CT_STATE,
        ];
        let rest = self.fields.keys().filter(|field| !FIRST.contains(field) && **field != Field::NFPROTO);
        let fields = FIRST.iter().filter(|field| self.fields.contains_key(field)).chain(rest);
        let mut words = Vec::new();
        let addresses = [Field::SADDR, Field::DADDR];
        if !addresses.iter().any(|field| self.fields.contains_key(field)) {
            match self.nfproto() {
                Some(2) => words.push(("family".to_owned(), "IPv4".to_owned())),
                Some(10) => words.push(("family".to_owned(), "IPv6".to_owned())),
                _ => {}
            }
        }
        for &field in fields {
            let Some(values) = self.fields.get(&field) else { continue };
            if let Some(info) = atoms.get(field) {
                words.push(atom_words(info, values));
            } else if let Some(text) = self.field_words(field, values, atoms, limit, names) {
                words.push((field_name(field, self.nfproto()), text));
            }
        }
        words
    }

    /// Source, destination and service on one line.
    pub fn headline(&self, atoms: &AtomTable, limit: usize, names: &Names) -> String {
        let words: BTreeMap<String, String> = self.words(atoms, limit, names).into_iter().collect();
        let get = |name: &str| words.get(name).map(String::as_str);
        let protocol = get("protocol");
        let port = get("port");
        let any = if self.nfproto() == Some(10) { "any IPv6" } else { "any" };
        let end = |field, name: &str| -> String {
            self.named(field, names)
                .or_else(|| get(name).map(str::to_owned))
                .unwrap_or_else(|| any.to_owned())
        };
        let mut text = format!("{} -> {}", end(Field::SADDR, "source"), end(Field::DADDR, "destination"));
        match (protocol, port) {
            (Some(protocol), Some(port)) => text.push_str(&format!(" {protocol}/{port}")),
            (Some(protocol), None) if protocol.starts_with(ANY_BUT) => {
                text.push_str(&format!(", protocol {protocol}"));
            }
            (Some(protocol), None) => text.push_str(&format!(" {protocol}")),
            (None, Some(port)) => text.push_str(&format!(" port {port}")),
            (None, None) => {}
        }
        text
    }

    /// True where one of the ends has a name.
    pub fn is_named(&self, names: &Names) -> bool {
        [Field::SADDR, Field::DADDR].iter().any(|field| self.named(*field, names).is_some())
    }

    /// The names of addresses, where all have one: those that a host takes from everybody (loopback, multicast and
    /// broadcast) aside.
    fn named(&self, field: Field, names: &Names) -> Option<String> {
        let nfproto = self.nfproto()?;
        let everybody = match nfproto {
            10 => IntervalSet::from_ranges([(1, 1), (0xFF << 120, u128::MAX)]),
            _ => IntervalSet::from_ranges([
                (0x7F00_0000, 0x7FFF_FFFF),
                (0xE000_0000, 0xEFFF_FFFF),
                (0xFFFF_FFFF, 0xFFFF_FFFF),
            ])
            .union(&names.broadcast),
        };
        let set: IntervalSet = self.numbers(field)?.iter().copied().collect();
        let mut found: Vec<&String> = Vec::new();
        for &(low, high) in set.subtract(&everybody).ranges() {
            if high - low >= MOST_NAMED {
                return None;
            }
            for value in low..=high {
                let name = names.get(prefixes(&IntervalSet::single(value), nfproto).first()?)?;
                if !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        let found: Vec<&str> = found.into_iter().map(String::as_str).collect();
        (!found.is_empty()).then(|| found.join(", "))
    }

    fn field_words(
        &self,
        field: Field,
        values: &Values,
        atoms: &AtomTable,
        limit: usize,
        names: &Names,
    ) -> Option<String> {
        let ranges = match values {
            Values::Bits(cubes) => return Some(bits_words(field, cubes)),
            Values::Numbers(ranges) => ranges,
        };
        let nfproto = self.nfproto().unwrap_or(2);
        let is_address = is_address(field);
        let max = match PacketBox::full(field, atoms) {
            Dim::Range(_, high) if !(is_address && nfproto == 2) => high,
            Dim::Range(..) => u128::from(u32::MAX),
            Dim::Bits(_) => u128::MAX,
        };
        let low = match field {
            // No interface is no value of those that have one.
            Field::IIFNAME | Field::OIFNAME => 1,
            _ => 0,
        };
        let set: IntervalSet = ranges.iter().copied().collect();
        let whole = IntervalSet::range(low, max);
        let rest = whole.subtract(&set);
        if rest.is_empty() {
            return None;
        }
        // Nobody sends from the addresses that no packet may come from.
        let rest = match rest.subtract(&senders(nfproto).complement(max)) {
            _ if field != Field::SADDR => rest,
            left if left.is_empty() => rest,
            left => left,
        };
        let one = |set: &IntervalSet| -> Vec<String> {
            match field {
                _ if is_address => prefixes(set, nfproto)
                    .into_iter()
                    .map(|address| names.get(&address).cloned().unwrap_or(address))
                    .collect(),
                Field::IIFNAME | Field::OIFNAME => set.ranges().iter().map(interface).collect(),
                _ => set.ranges().iter().flat_map(|&(low, high)| number_words(field, low, high)).collect(),
            }
        };
        let (here, missing) = (one(&set), one(&rest));
        // What lies between two names is no name.
        let nameless = |words: &[String]| words.iter().any(|word| word.contains(".."));
        let few = missing.len() < here.len() || (missing.len() == 1 && ranges.len() > 1) || nameless(&here);
        if few && !nameless(&missing) {
            return Some(format!("{ANY_BUT}{}", listed(&missing, limit)));
        }
        Some(listed(&here, limit))
    }
}

/// IPv4 and IPv6.
fn families() -> IntervalSet {
    IntervalSet::from_ranges([(2, 2), (10, 10)])
}

pub(super) fn is_address(field: Field) -> bool {
    matches!(field, Field::SADDR | Field::DADDR | Field::CT_ORIGINAL_SADDR | Field::CT_ORIGINAL_DADDR)
}

/// Some words, and how many more there are.
fn listed(words: &[String], limit: usize) -> String {
    let shown = words.get(..limit.min(words.len())).unwrap_or(words);
    let mut text = shown.join(", ");
    if words.len() > shown.len() {
        text.push_str(&format!(" and {} more", words.len() - shown.len()));
    }
    text
}

fn interface(range: &(u128, u128)) -> String {
    let (low, high) = *range;
    let name = InterfaceName(low).to_string();
    if low == high {
        return if low == 0 { "none".to_owned() } else { name };
    }
    if InterfaceName::prefix(&name) == Ok((low, high)) {
        return format!("{name}*");
    }
    format!("{name}..{}", InterfaceName(high))
}

fn number_words(field: Field, low: u128, high: u128) -> Vec<String> {
    let named = |names: &'static [&'static str]| -> Vec<String> {
        (low..=high.min(low + 64))
            .map(|value| {
                names.get(value as usize).map_or_else(|| value.to_string(), |name| (*name).to_owned())
            })
            .collect()
    };
    match field {
        Field::CT_STATE => named(&ct_state::NAMES),
        Field::FIB_DADDR_TYPE if (low, high) == (fib_type::LOCAL, fib_type::MULTICAST) => {
            vec!["this host".to_owned()]
        }
        Field::FIB_DADDR_TYPE if (low, high) == (fib_type::UNICAST, fib_type::UNICAST) => {
            vec!["another host".to_owned()]
        }
        Field::FIB_REVERSE_PATH if low == high => {
            vec![if low == 0 { "missing" } else { "exists" }.to_owned()]
        }
        Field::FIB_SADDR_TYPE | Field::FIB_DADDR_TYPE => named(&fib_type::NAMES),
        Field::L4PROTO if low == high => {
            let known = crate::intent::protocol_name(low);
            vec![known.map_or_else(|| low.to_string(), str::to_owned)]
        }
        _ => vec![range(low, high)],
    }
}

fn field_name(field: Field, nfproto: Option<u128>) -> String {
    match field {
        Field::SADDR => "source",
        Field::DADDR => "destination",
        Field::L4PROTO => "protocol",
        Field::DPORT => "port",
        Field::SPORT => "source port",
        Field::IIFNAME => "in",
        Field::OIFNAME => "out",
        Field::FIB_DADDR_TYPE => "addressed to",
        Field::FIB_REVERSE_PATH => "route back",
        Field::ICMP_TYPE if nfproto == Some(10) => "icmpv6 type",
        other => other.name(),
    }
    .to_owned()
}

fn bits_words(field: Field, cubes: &[Cube]) -> String {
    let flags = |bits: u128| -> String {
        let names: Vec<&str> = (0..8)
            .filter(|bit| bits & (1 << bit) != 0)
            .filter_map(|bit| tcp_flag::NAMES.get(bit).copied())
            .collect();
        names.join(",")
    };
    let one = |cube: &Cube| match field {
        Field::TCP_FLAGS => {
            let (set, clear) = (cube.value, cube.mask & !cube.value);
            match (set, clear) {
                (0, _) => format!("not {}", flags(clear)),
                (_, 0) => flags(set),
                _ => format!("{} and not {}", flags(set), flags(clear)),
            }
        }
        _ if cube.mask == field.max_value() => format!("{:#x}", cube.value),
        _ => format!("{:#x}/{:#x}", cube.value, cube.mask),
    };
    cubes.iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn atom_words(info: &firewarden_packet::AtomInfo, values: &Values) -> (String, String) {
    let text = info.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let value = match (info.domain, values) {
        ((0, 1), Values::Numbers(ranges)) => {
            if ranges.as_slice() == [(1, 1)] {
                "matches".to_owned()
            } else {
                "doesn't match".to_owned()
            }
        }
        (_, Values::Numbers(ranges)) => {
            let one = |&(low, high): &(u128, u128)| match text::value(info, low) {
                word if low == high => word,
                word => format!("{word}-{}", text::value(info, high)),
            };
            ranges.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        (_, Values::Bits(_)) => "some bits".to_owned(),
    };
    (text, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(port: (u128, u128), source: (u128, u128)) -> PacketBox {
        PacketBox::all()
            .with_value(Field::NFPROTO, 2)
            .with_value(Field::L4PROTO, 6)
            .with(Field::DPORT, Dim::Range(port.0, port.1))
            .with(Field::SADDR, Dim::Range(source.0, source.1))
    }

    #[test]
    fn boxes_that_differ_in_one_field_become_one_product() {
        let atoms = AtomTable::default();
        let ten = (0x0A00_0000, 0x0AFF_FFFF);
        let one = (0xC0A8_0001, 0xC0A8_0001);
        let boxes = [tcp((22, 22), ten), tcp((80, 81), ten), tcp((22, 22), one), tcp((80, 81), one)];
        let sets = products(&boxes, &atoms);
        assert_eq!(sets.len(), 1, "{sets:?}");
        assert_eq!(
            sets[0].headline(&atoms, 8, &Names::new()),
            "10.0.0.0/8, 192.168.0.1 -> any tcp/22, 80-81"
        );
    }

    #[test]
    fn addresses_that_every_host_takes_keep_no_name_from_being_told() {
        let atoms = AtomTable::default();
        let to = |destination| {
            tcp((22, 22), (0x0A00_0003, 0x0A00_0003)).with(Field::DADDR, Dim::Range(destination, destination))
        };
        let boxes = [to(0x0A00_0001), to(0x0AFF_FFFF), to(0xFFFF_FFFF)];
        let sets = products(&boxes, &atoms);
        let mut names = Names::new();
        names.insert("10.0.0.1".into(), "db".into());
        names.insert("10.0.0.3".into(), "app".into());
        assert_eq!(sets[0].headline(&atoms, 8, &names), "app -> db, 10.255.255.255, 255.255.255.255 tcp/22");
        names.insert_broadcast(0x0AFF_FFFF);
        assert_eq!(sets[0].headline(&atoms, 8, &names), "app -> db tcp/22");
    }

    #[test]
    fn a_field_with_every_value_is_not_named() {
        let atoms = AtomTable::default();
        let all = (0, u128::from(u32::MAX));
        let sets = products(&[tcp((0, 79), all), tcp((80, 65535), all)], &atoms);
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].headline(&atoms, 8, &Names::new()), "any -> any tcp");
    }

    #[test]
    fn families_are_one_only_where_no_address_is_named() {
        let atoms = AtomTable::default();
        let packets =
            |nfproto| PacketBox::all().with_value(Field::NFPROTO, nfproto).with_value(Field::L4PROTO, 6);
        assert_eq!(products(&[packets(2), packets(10)], &atoms).len(), 1);
        let one = |nfproto| packets(nfproto).with_value(Field::SADDR, 1);
        let sets = products(&[one(2), one(10)], &atoms);
        let lines: Vec<String> = sets.iter().map(|set| set.headline(&atoms, 8, &Names::new())).collect();
        assert!(lines.contains(&"0.0.0.1 -> any tcp".to_owned()), "{lines:?}");
        assert!(lines.contains(&"::1 -> any IPv6 tcp".to_owned()), "{lines:?}");
    }

    #[test]
    fn most_is_said_by_what_is_missing() {
        let atoms = AtomTable::default();
        let all = (0, u128::from(u32::MAX));
        let sets = products(&[tcp((0, 21), all), tcp((23, 65535), all)], &atoms);
        assert_eq!(sets[0].headline(&atoms, 8, &Names::new()), "any -> any tcp/any but 22");
    }

    #[test]
    fn flags_are_joined_bit_by_bit() {
        let syn = Cube::new(0b10, 0b10);
        let joined = join_cubes(vec![Cube::new(0b11, 0b10)], vec![Cube::new(0b11, 0b11)]);
        assert_eq!(joined, vec![syn]);
    }
}
