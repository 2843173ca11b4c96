//! Packets from a seed, near the constants of a ruleset: a boundary that is off by one is found by the values beside it.

use crate::host::{INTERFACES, Way, World};
use crate::random::Random;
use firewarden_packet::{AtomTable, Field, FieldKind, InterfaceName, Point, ct_state, ct_status, tcp_flag};
use firewarden_ruleset::ir::{MapData, Nat, NatAddress, Ruleset, Statement, Test, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The constants that a ruleset compares fields with, and their neighbours.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    of: BTreeMap<Field, Vec<u128>>,
}

/// No more constants of a field are kept than this: of large sets, a sample evenly spread.
const MOST_CONSTANTS: usize = 2000;

impl Constants {
    /// All constants of a ruleset. O(size).
    pub fn of(ruleset: &Ruleset) -> Constants {
        let mut found: BTreeMap<Field, BTreeSet<u128>> = BTreeMap::new();
        for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
            for statement in &rule.statements {
                of_statement(statement, ruleset, &mut found);
            }
        }
        // Whatever names the source may meet the destination, the original packet's addresses as well.
        for group in [
            &[Field::SADDR, Field::DADDR, Field::CT_ORIGINAL_SADDR, Field::CT_ORIGINAL_DADDR][..],
            &[Field::SPORT, Field::DPORT, Field::CT_ORIGINAL_SPORT, Field::CT_ORIGINAL_DPORT],
            &[Field::MARK, Field::CT_MARK],
        ] {
            let all: BTreeSet<u128> =
                group.iter().filter_map(|field| found.get(field)).flatten().copied().collect();
            for &field in group {
                found.insert(field, all.clone());
            }
        }
        let of = found.into_iter().map(|(field, values)| (field, sample(values))).collect();
        Constants { of }
    }

    /// One of the constants of a field, or a neighbour.
    fn pick(&self, random: &mut Random, field: Field) -> Option<u128> {
        let values = self.of.get(&field).filter(|values| !values.is_empty())?;
        Some(random.of(values))
    }
}

fn sample(values: BTreeSet<u128>) -> Vec<u128> {
    let step = values.len().div_ceil(MOST_CONSTANTS).max(1);
    values.into_iter().step_by(step).collect()
}

fn of_statement(statement: &Statement, ruleset: &Ruleset, found: &mut BTreeMap<Field, BTreeSet<u128>>) {
    let mut near = |field: Field, low: u128, high: u128| {
        let values = found.entry(field).or_default();
        let beside =
            [low.checked_sub(1), Some(low), Some(high), high.checked_add(1), Some(low / 2 + high / 2)];
        values.extend(beside.into_iter().flatten());
    };
    let mut keys = |fields: &[Field], key: &[(u128, u128)]| {
        for (field, (low, high)) in fields.iter().zip(key) {
            near(*field, *low, *high);
        }
    };
    match statement {
        Statement::Test(Test::Range { field, set } | Test::Masked { field, set, .. }) => {
            set.ranges().iter().for_each(|range| keys(&[*field], &[*range]));
        }
        Statement::Test(Test::Bits { field, cubes, .. }) => {
            for cube in cubes {
                keys(&[*field], &[(cube.value, cube.value)]);
                let all = cube.value | (field.max_value() & !cube.mask);
                keys(&[*field], &[(all, all)]);
                keys(&[*field], &[(cube.value ^ cube.mask, cube.value ^ cube.mask)]);
            }
        }
        Statement::Test(Test::Lookup { key, set, .. }) => {
            let elements = ruleset.set(*set).map_or(&[][..], |set| &set.elements);
            elements.iter().for_each(|element| keys(key, &element.key));
        }
        Statement::VerdictMap { key, map } => of_map(key, *map, ruleset, &mut keys),
        Statement::Assign { field, value } => of_value(*field, value, ruleset, &mut keys),
        Statement::Nat(nat) => {
            let Nat { address, port, .. } = &**nat;
            if let NatAddress::To(value) = address {
                of_value(Field::DADDR, value, ruleset, &mut keys);
            }
            if let Some(port) = port {
                of_value(Field::DPORT, port, ruleset, &mut keys);
            }
        }
        _ => {}
    }
}

fn of_map(
    key: &[Field],
    map: firewarden_ruleset::ir::MapId,
    ruleset: &Ruleset,
    keys: &mut impl FnMut(&[Field], &[(u128, u128)]),
) {
    let entries = ruleset.map(map).map_or(&[][..], |map| &map.entries);
    for entry in entries {
        keys(key, &entry.key);
        if let MapData::Values(values) = &entry.data
            && let Some(Value::Const(number)) = values.first()
        {
            keys(&[Field::DADDR], &[(*number, *number)]);
        }
    }
}

fn of_value(
    field: Field,
    value: &Value,
    ruleset: &Ruleset,
    keys: &mut impl FnMut(&[Field], &[(u128, u128)]),
) {
    match value {
        Value::Const(number) => keys(&[field], &[(*number, *number)]),
        Value::Map { key, map, .. } => of_map(key, *map, ruleset, keys),
        Value::Mix { .. } | Value::Choice(_) => {}
    }
}

const HOSTS4: [u128; 4] = [0x0a00_0107, 0xc000_0201, 0xc633_6407, 0xcb00_7146];
const HOSTS6: [u128; 3] = [0x2001_0db8_0001 << 80 | 7, 0x2001_0db8_0002 << 80 | 0x20, 0xfd00_0001 << 96 | 1];
const STATES: [u128; 10] = [
    ct_state::NEW,
    ct_state::NEW,
    ct_state::NEW,
    ct_state::NEW,
    ct_state::NEW,
    ct_state::ESTABLISHED,
    ct_state::ESTABLISHED,
    ct_state::RELATED,
    ct_state::INVALID,
    ct_state::UNTRACKED,
];

/// A packet on a way of the simulated host. Its fields make sense together, as far as a kernel would see to it, but
/// for marks and connection fields, which are free.
pub fn packet(random: &mut Random, world: &World, constants: &Constants, way: Way) -> Point {
    let mut point = Point::default();
    let ipv4 = random.chance(65);
    point.set(Field::NFPROTO, if ipv4 { 2 } else { 10 });
    for field in [Field::SADDR, Field::DADDR, Field::CT_ORIGINAL_SADDR, Field::CT_ORIGINAL_DADDR] {
        point.set(field, address(random, constants, field, ipv4));
    }
    if !ipv4 && random.chance(3) {
        // Redirected to an address of its own scope.
        point.set(Field::DADDR, random.of(&[0xfe80 << 112 | 7, 0xff02 << 112 | 1]));
    }
    for field in [Field::SPORT, Field::DPORT, Field::CT_ORIGINAL_SPORT, Field::CT_ORIGINAL_DPORT] {
        let free = random.bits() as u128 & 0xffff;
        let port = constants.pick(random, field).filter(|port| *port <= 0xffff).unwrap_or(free);
        point.set(field, port);
    }
    let icmp = if ipv4 { 1 } else { 58 };
    let protocol = random.of(&[6, 6, 6, 6, 6, 6, 17, 17, 17, icmp, icmp, 132, 136, 33, 47, 50]);
    let protocol = match constants.pick(random, Field::L4PROTO) {
        Some(constant) if random.chance(15) => constant & 0xff,
        _ => protocol,
    };
    point.set(Field::L4PROTO, protocol);
    for (field, usual) in [
        (Field::TCP_FLAGS, tcp_flag::SYN),
        (Field::ICMP_TYPE, if ipv4 { 8 } else { 128 }),
        (Field::ICMP_CODE, 0),
        (Field::LENGTH, 60),
        (Field::TTL, 64),
        (Field::DSCP, 0),
        (Field::MARK, 0),
        (Field::CT_MARK, 0),
    ] {
        let constant = constants.pick(random, field).map(|value| value & field.max_value());
        let value = match random.below(6) {
            0 => random.wide() & field.max_value(),
            1 | 2 => constant.unwrap_or(usual),
            _ => usual,
        };
        point.set(field, value);
    }
    if !ipv4 && random.chance(25) {
        // Around the messages that conntrack leaves alone.
        point.set(
            Field::ICMP_TYPE,
            random.of(&[129, 130, 134, 135, 136, 137, 142, 143, 144, 150, 151, 152, 153]),
        );
    }
    // A router throws a packet away that has no hop left, before any rule of the forward hook sees it.
    point.set(Field::TTL, point.get(Field::TTL).max(2));
    point.set(Field::CT_STATE, random.of(&STATES));
    point.set(Field::CT_DIRECTION, u128::from(random.chance(30)));
    let bits = [0, ct_status::SEEN_REPLY, ct_status::ASSURED, ct_status::DNAT, ct_status::SNAT];
    point.set(Field::CT_STATUS, random.of(&bits) | random.of(&bits));
    for field in [Field::IIFNAME, Field::OIFNAME] {
        let name = InterfaceName::new(random.pick(&INTERFACES[..])).map_or(0, |name| name.0);
        point.set(field, name);
    }
    point.set(Field::ETHER_SADDR, random.of(&[0x0200_0000_0001, 0x0200_0000_0001, 0x0200_0000_0002]));
    point.set(Field::ETHER_DADDR, 0x0200_0000_00fe);
    let around = crate::host::Around(way);
    for (field, of) in [(Field::FIB_SADDR_TYPE, Field::SADDR), (Field::FIB_DADDR_TYPE, Field::DADDR)] {
        let known =
            firewarden_ruleset::Surroundings::address_type(&around, point.get(Field::NFPROTO), point.get(of));
        point.set(field, known.map_or(0, |known| known.0));
    }
    set_atoms(random, &world.atoms, &mut point);
    point
}

fn set_atoms(random: &mut Random, atoms: &AtomTable, point: &mut Point) {
    for (field, info) in atoms.iter() {
        let (low, high) = info.domain;
        let inside = match high.wrapping_sub(low).checked_add(1) {
            Some(count) => low + random.wide() % count,
            None => random.wide(),
        };
        point.set(field, random.of(&[low, high, inside]));
    }
}

fn address(random: &mut Random, constants: &Constants, field: Field, ipv4: bool) -> u128 {
    let fits = |address: u128| (address >> 32 == 0) == ipv4;
    for _ in 0..4 {
        let constant = constants.pick(random, field).filter(|constant| fits(*constant));
        if let Some(constant) = constant.filter(|constant| sendable(*constant, ipv4))
            && random.chance(80)
        {
            return constant;
        }
    }
    if ipv4 { random.of(&HOSTS4) } else { random.of(&HOSTS6) }
}

/// Addresses that hosts really send from and to: no packet with another one gets as far as to a rule.
pub(crate) fn sendable(address: u128, ipv4: bool) -> bool {
    match ipv4 {
        true => !matches!(address >> 24, 0 | 127 | 224..),
        // Not link-local nor site-local: such destinations are translated to addresses of their own scope only.
        false => address > 1 && address >> 120 != 0xff && !matches!(address >> 118, 0x3fa | 0x3fb),
    }
}

/// Another packet that differs from `point` in a few fields, for looking around in a region.
pub fn variant(
    random: &mut Random,
    world: &World,
    constants: &Constants,
    point: &Point,
    other: &Point,
) -> Point {
    let mut variant = point.clone();
    for &field in Field::ALL_FIXED {
        if field == Field::NFPROTO || !random.chance(30) {
            continue;
        }
        let (low, high) = world.atoms.domain(field);
        let constant = constants.pick(random, field).unwrap_or(other.get(field));
        let value = random.of(&[constant, other.get(field), random.clone().wide() & field.max_value()]);
        let value =
            if field.kind() == FieldKind::Range { value.clamp(low, high) } else { value & field.max_value() };
        variant.set(field, value);
    }
    for (field, _) in world.atoms.iter() {
        if random.chance(50) {
            variant.set(field, other.get(field));
        }
    }
    variant
}
