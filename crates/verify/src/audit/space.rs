//! The packets that a rule is asked about: how chains are reached, and boxes that hold everything a rule can match.
//!
//! The boxes are exact or too large, never too small: only tests of fields that nothing has written before the rule
//! restrict them. A rule that no packet of them meets is therefore met by no packet at all.

use firewarden_diagnostic::Span;
use firewarden_packet::{AtomTable, Cube, Dim, Field, PacketBox, Point, ct_state};
use firewarden_ruleset::ir::{
    ChainId, Family, Hook, MapData, MapId, Product, Rule, RuleRef, Ruleset, Statement, Test, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most ways into one chain that are told apart.
const MOST_WAYS: usize = 16;

/// The most boxes that one way to a rule is cut into; beyond that the hull of a set is taken.
const MOST_BOXES: usize = 32;

/// The most elements of a set that are tried for a packet.
const MOST_TRIED: usize = 64;

/// All hooks.
pub const HOOKS: [Hook; 7] = [
    Hook::Ingress,
    Hook::Prerouting,
    Hook::Input,
    Hook::Forward,
    Hook::Output,
    Hook::Postrouting,
    Hook::Egress,
];

/// All packets of a family (2 or 10) that a hook can see: without an interface where there is none yet, or none any
/// more.
pub fn packets(hook: Hook, nfproto: u128) -> PacketBox {
    let mut packets = PacketBox::all().with_value(Field::NFPROTO, nfproto);
    if nfproto == 2 {
        for field in [Field::SADDR, Field::DADDR, Field::CT_ORIGINAL_SADDR, Field::CT_ORIGINAL_DADDR] {
            packets.set(field, Dim::Range(0, u128::from(u32::MAX)));
        }
    }
    let present = Dim::Range(1, u128::MAX);
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Input => {
            packets.set(Field::IIFNAME, present);
            packets.set(Field::OIFNAME, Dim::Range(0, 0));
        }
        Hook::Forward => {
            packets.set(Field::IIFNAME, present);
            packets.set(Field::OIFNAME, present);
        }
        Hook::Output | Hook::Egress => {
            packets.set(Field::IIFNAME, Dim::Range(0, 0));
            packets.set(Field::OIFNAME, present);
        }
        // A forwarded packet has an input interface here, one made on the host has none.
        Hook::Postrouting => packets.set(Field::OIFNAME, present),
    }
    packets
}

/// A way from a base chain into a chain: the rules that call, outermost first.
#[derive(Clone, Debug)]
pub struct Way {
    /// The base chain.
    pub base: ChainId,
    /// Rules that jump or go, each in the chain that the one before it calls.
    pub calls: Vec<RuleRef>,
}

/// The ways into one chain.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// None for a chain that no base chain comes to.
    pub known: Vec<Way>,
    /// There are more.
    pub more: bool,
}

/// How the chains of a ruleset hang together.
#[derive(Debug)]
pub struct Space<'r> {
    ruleset: &'r Ruleset,
    /// For each chain.
    ways: Vec<Ways>,
    /// For each chain, the rules that call it.
    callers: Vec<Vec<RuleRef>>,
    /// For each base chain that some packet meets: its hook, its families, and the fields that may be written before
    /// or within it, one bit for each.
    bases: BTreeMap<ChainId, Base>,
    /// Every chain after those that call it.
    order: Vec<ChainId>,
    /// For each chain and rule, the first rule of those that were written as one.
    units: Vec<Vec<u32>>,
}

/// For each rule of a chain, the first of the run of rules that were written as one: a condition that takes several
/// rules to say stands in one place of the text.
fn units(rules: &[Rule]) -> Vec<u32> {
    let mut firsts: Vec<u32> = Vec::with_capacity(rules.len());
    for (index, rule) in rules.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| Some((rules.get(at)?, firsts.get(at)?)));
        let first = match before {
            Some((before, first)) if before.span == rule.span && rule.span != Span::default() => *first,
            _ => index as u32,
        };
        firsts.push(first);
    }
    firsts
}

#[derive(Clone, Debug)]
struct Base {
    hook: Hook,
    families: Vec<u128>,
    written: u32,
    /// Some rule of it changes packets, if only as it ends the chain.
    rewrites: bool,
    before_tracking: bool,
}

/// The chains that a rule calls.
pub fn called(rule: &Rule, ruleset: &Ruleset) -> Vec<ChainId> {
    let of = |verdict: &Verdict| match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => Some(*to),
        _ => None,
    };
    let mut found = Vec::new();
    for statement in &rule.statements {
        match statement {
            Statement::Verdict(verdict) => found.extend(of(verdict)),
            Statement::VerdictMap { map, .. } => {
                for entry in ruleset.map(*map).map_or(&[][..], |map| &map.entries) {
                    if let MapData::Verdict(verdict) = &entry.data {
                        found.extend(of(verdict));
                    }
                }
            }
            _ => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl<'r> Space<'r> {
    /// O(size of the ruleset).
    pub fn new(ruleset: &'r Ruleset) -> Space<'r> {
        let count = ruleset.chains.len();
        let mut callers: Vec<Vec<RuleRef>> = vec![Vec::new(); count];
        let mut calls: Vec<BTreeSet<ChainId>> = vec![BTreeSet::new(); count];
        for (number, chain) in ruleset.chains.iter().enumerate() {
            for (index, rule) in chain.rules.iter().enumerate() {
                for to in called(rule, ruleset) {
                    if let (Some(of), Some(out)) = (callers.get_mut(to.0 as usize), calls.get_mut(number)) {
                        of.push(RuleRef { chain: ChainId(number as u32), index: index as u32 });
                        out.insert(to);
                    }
                }
            }
        }
        let bases = bases(ruleset, &calls);
        let units = ruleset.chains.iter().map(|chain| units(&chain.rules)).collect();
        let mut space =
            Space { ruleset, ways: vec![Ways::default(); count], callers, bases, order: Vec::new(), units };
        space.find_ways(&calls);
        space
    }

    /// Callers before the called: jumps form no ring.
    fn find_ways(&mut self, calls: &[BTreeSet<ChainId>]) {
        let mut waiting: Vec<usize> = vec![0; calls.len()];
        for to in calls.iter().flatten() {
            if let Some(count) = waiting.get_mut(to.0 as usize) {
                *count += 1;
            }
        }
        let mut ready: Vec<usize> =
            (0..calls.len()).rev().filter(|&at| waiting.get(at) == Some(&0)).collect();
        while let Some(number) = ready.pop() {
            self.order.push(ChainId(number as u32));
            let ways = self.ways_into(ChainId(number as u32));
            if let Some(slot) = self.ways.get_mut(number) {
                *slot = ways;
            }
            for to in calls.get(number).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(to.0 as usize) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(to.0 as usize);
                    }
                }
            }
        }
    }

    fn ways_into(&self, chain: ChainId) -> Ways {
        let mut ways = Ways::default();
        if self.bases.contains_key(&chain) {
            ways.known.push(Way { base: chain, calls: Vec::new() });
        }
        for caller in self.callers.get(chain.0 as usize).into_iter().flatten() {
            let Some(outer) = self.ways.get(caller.chain.0 as usize) else { continue };
            ways.more |= outer.more;
            for way in &outer.known {
                if ways.known.len() == MOST_WAYS {
                    ways.more = true;
                    return ways;
                }
                let mut calls = way.calls.clone();
                calls.push(*caller);
                ways.known.push(Way { base: way.base, calls });
            }
        }
        ways
    }

    /// All chains, each after those that call it.
    pub fn order(&self) -> &[ChainId] {
        &self.order
    }

    /// The rules that were written as one with this rule, the first one first.
    pub fn unit(&self, at: RuleRef) -> impl Iterator<Item = RuleRef> + use<> {
        let firsts = self.units.get(at.chain.0 as usize).map_or(&[][..], Vec::as_slice);
        let first = firsts.get(at.index as usize).copied().unwrap_or(at.index);
        let rest = firsts.get(first as usize + 1..).unwrap_or_default();
        let end = first + 1 + rest.iter().take_while(|&&other| other == first).count() as u32;
        (first..end).map(move |index| RuleRef { chain: at.chain, index })
    }

    /// The first of the rules that were written as one with this rule.
    pub fn first(&self, at: RuleRef) -> RuleRef {
        let firsts = self.units.get(at.chain.0 as usize);
        let index = firsts.and_then(|firsts| firsts.get(at.index as usize)).copied().unwrap_or(at.index);
        RuleRef { chain: at.chain, index }
    }

    /// The ways into a chain.
    pub fn ways(&self, chain: ChainId) -> Option<&Ways> {
        self.ways.get(chain.0 as usize)
    }

    /// The rules that call a chain.
    pub fn callers(&self, chain: ChainId) -> &[RuleRef] {
        self.callers.get(chain.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The hook of a base chain, and the families that it sees.
    pub fn base(&self, chain: ChainId) -> Option<(Hook, &[u128])> {
        self.bases.get(&chain).map(|base| (base.hook, base.families.as_slice()))
    }

    /// True where some rule on the hook may change a packet.
    pub fn rewrites(&self, hook: Hook) -> bool {
        self.bases.values().any(|base| base.hook == hook && base.rewrites)
    }

    /// The base chains from which a chain is reached, where its ways are too many to tell apart.
    pub fn roots(&self, chain: ChainId) -> Vec<ChainId> {
        let mut seen = BTreeSet::from([chain]);
        let mut open = vec![chain];
        while let Some(next) = open.pop() {
            for caller in self.callers(next) {
                if seen.insert(caller.chain) {
                    open.push(caller.chain);
                }
            }
        }
        seen.into_iter().filter(|chain| self.bases.contains_key(chain)).collect()
    }

    /// Boxes that don't overlap and hold every packet that can come this way and meet the conditions of a rule.
    pub fn boxes(&self, way: &Way, rule: &Rule, nfproto: u128) -> Vec<PacketBox> {
        let Some(base) = self.bases.get(&way.base) else { return Vec::new() };
        let mut boxes = vec![packets(base.hook, nfproto)];
        let rules = way.calls.iter().filter_map(|&at| self.ruleset.rule(at)).chain([rule]);
        for statement in rules.flat_map(conditions) {
            match statement {
                Statement::Test(test) => self.restrict(&mut boxes, test, base),
                Statement::VerdictMap { key, map } if key.iter().all(|field| base.steady(*field)) => {
                    let entries = self.ruleset.map(*map).map_or(&[][..], |map| &map.entries);
                    split(&mut boxes, key, entries.len(), || entries.iter().map(|entry| &entry.key));
                }
                _ => {}
            }
        }
        boxes
    }

    fn restrict(&self, boxes: &mut Vec<PacketBox>, test: &Test, base: &Base) {
        match test {
            Test::Range { field: Field::CT_STATE, set }
                if !base.state_is_steady(set.contains(ct_state::UNTRACKED)) => {}
            Test::Range { field, set } if base.steady(*field) => {
                let ranges: Vec<Product> =
                    set.ranges().iter().map(|&range| Product::from_elem(range, 1)).collect();
                split(boxes, &[*field], ranges.len(), || ranges.iter());
            }
            Test::Lookup { key, set, negated: false } if key.iter().all(|field| base.steady(*field)) => {
                let elements = self.ruleset.set(*set).map_or(&[][..], |set| &set.elements);
                split(boxes, key, elements.len(), || elements.iter().map(|element| &element.key));
            }
            Test::Bits { field, cubes, negated } if base.steady(*field) => {
                if let [cube] = cubes.as_slice() {
                    let dim = match (negated, cube.mask.count_ones()) {
                        (false, _) => Dim::Bits(*cube),
                        (true, 1) => Dim::Bits(Cube::new(cube.mask, cube.value ^ cube.mask)),
                        _ => return,
                    };
                    boxes.retain_mut(|part| part.restrict(*field, dim));
                }
            }
            Test::Atom { atom, negated } => {
                let value = u128::from(!negated);
                boxes.retain_mut(|part| part.restrict(*atom, Dim::Range(value, value)));
            }
            _ => {}
        }
    }

    /// A packet of a box that meets the conditions of the rules on the way and of the rule itself, as far as one is
    /// found. O(conditions).
    pub fn aim(&self, part: &PacketBox, way: &Way, rule: &Rule) -> Point {
        let mut point = Point::in_box(part, &readable(part));
        let rules = way.calls.iter().filter_map(|&at| self.ruleset.rule(at)).chain([rule]);
        for statement in rules.flat_map(conditions) {
            match statement {
                Statement::Test(test) => self.meet(test, part, &mut point),
                Statement::VerdictMap { key, map } => self.entry(key, *map, part, &mut point),
                _ => {}
            }
        }
        point
    }

    fn meet(&self, test: &Test, part: &PacketBox, point: &mut Point) {
        match test {
            Test::Range { field, set } if !set.contains(point.get(*field)) => {
                put(part, point, &[*field], set.ranges().iter().map(std::slice::from_ref));
            }
            Test::Lookup { key, set, negated: false } => {
                let elements = self.ruleset.set(*set).map_or(&[][..], |set| &set.elements);
                put(part, point, key, elements.iter().take(MOST_TRIED).map(|element| element.key.as_slice()));
            }
            Test::Bits { field, cubes, negated } => {
                let word = point.get(*field);
                let inside = cubes.iter().find(|cube| cube.contains(word));
                let wanted = match (negated, inside) {
                    (false, Some(_)) | (true, None) => return,
                    (false, None) => {
                        let fits = |cube: &&Cube| {
                            let value = (word & !cube.mask) | cube.value;
                            part.get(*field).is_none_or(|dim| dim.contains(value))
                        };
                        cubes.iter().find(fits).map(|cube| (word & !cube.mask) | cube.value)
                    }
                    (true, Some(cube)) => {
                        let bits = (0..field.width().min(127)).map(|bit| 1u128 << bit);
                        let flips = bits.filter(|bit| cube.mask & bit != 0).map(|bit| word ^ bit);
                        flips
                            .into_iter()
                            .find(|value| part.get(*field).is_none_or(|dim| dim.contains(*value)))
                    }
                };
                if let Some(value) = wanted {
                    point.set(*field, value);
                }
            }
            Test::Atom { atom, negated } => {
                let value = u128::from(!negated);
                if part.get(*atom).is_none_or(|dim| dim.contains(value)) {
                    point.set(*atom, value);
                }
            }
            _ => {}
        }
    }

    fn entry(&self, key: &[Field], map: MapId, part: &PacketBox, point: &mut Point) {
        let entries = self.ruleset.map(map).map_or(&[][..], |map| &map.entries);
        put(part, point, key, entries.iter().take(MOST_TRIED).map(|entry| entry.key.as_slice()));
    }
}

impl Base {
    /// Nothing writes the field before or within the base chain.
    fn steady(&self, field: Field) -> bool {
        field.is_dynamic() || self.written & bit(field) == 0
    }

    /// Whether `ct state` reads as in the question for those packets that a test of it lets through.
    fn state_is_steady(&self, untracked: bool) -> bool {
        let tracks = matches!(self.hook, Hook::Prerouting | Hook::Output);
        self.steady(Field::CT_STATE) && !self.before_tracking && !(tracks && untracked)
    }
}

/// The statements of a rule before its first effect: its conditions, and what doesn't matter.
pub fn conditions(rule: &Rule) -> impl Iterator<Item = &Statement> {
    let effect = |statement: &&Statement| {
        matches!(statement, Statement::Test(_) | Statement::Neutral(_) | Statement::VerdictMap { .. })
    };
    let end =
        rule.statements.iter().position(|statement| !effect(&statement)).unwrap_or(rule.statements.len());
    let end = rule
        .statements
        .iter()
        .position(|statement| matches!(statement, Statement::VerdictMap { .. }))
        .map_or(end, |map| end.min(map + 1));
    rule.statements.iter().take(end)
}

fn bit(field: Field) -> u32 {
    u32::try_from(field.index()).ok().and_then(|at| 1u32.checked_shl(at)).unwrap_or(0)
}

/// A packet as people know them, of the family of a box.
fn readable(part: &PacketBox) -> Point {
    let point = Point::default();
    match part.get(Field::NFPROTO) {
        Some(Dim::Range(10, _)) => point
            .with(Field::NFPROTO, 10)
            .with(Field::SADDR, 0x2001_0db8 << 96 | 7)
            .with(Field::DADDR, 0x2001_0db8 << 96 | 1),
        _ => point,
    }
}

/// Cuts boxes to the products of a set, or to their hull where that would make too many.
fn split<'a, I: Iterator<Item = &'a Product>>(
    boxes: &mut Vec<PacketBox>,
    key: &[Field],
    count: usize,
    products: impl Fn() -> I,
) {
    if count.saturating_mul(boxes.len()) <= MOST_BOXES {
        let mut parts = Vec::new();
        for part in boxes.iter() {
            for product in products() {
                parts.extend(within(part, key, product));
            }
        }
        *boxes = parts;
        return;
    }
    let mut hull: Option<Product> = None;
    for product in products() {
        match &mut hull {
            None => hull = Some(product.clone()),
            Some(hull) => {
                for (all, own) in hull.iter_mut().zip(product) {
                    *all = (all.0.min(own.0), all.1.max(own.1));
                }
            }
        }
    }
    let hull = hull.unwrap_or_default();
    *boxes = boxes.iter().filter_map(|part| within(part, key, &hull)).collect();
}

fn within(part: &PacketBox, key: &[Field], product: &[(u128, u128)]) -> Option<PacketBox> {
    let mut part = part.clone();
    for (&field, &(low, high)) in key.iter().zip(product) {
        if !part.restrict(field, Dim::Range(low, high)) {
            return None;
        }
    }
    Some(part)
}

/// Moves a point to the first of the products that meets the box.
fn put<'a>(
    part: &PacketBox,
    point: &mut Point,
    key: &[Field],
    products: impl Iterator<Item = &'a [(u128, u128)]>,
) {
    let mut first = None;
    for product in products {
        let mut values = Vec::new();
        for (&field, &(low, high)) in key.iter().zip(product) {
            let range = Dim::Range(low, high);
            let common = match part.get(field) {
                Some(dim) => dim.intersect(&range),
                None => Some(range),
            };
            match common {
                Some(common) => values.push((field, common.nearest(point.get(field)))),
                None => break,
            }
        }
        if values.len() != key.len() {
            continue;
        }
        let here = values.iter().all(|&(field, value)| point.get(field) == value);
        if here {
            return;
        }
        first.get_or_insert(values);
    }
    for (field, value) in first.into_iter().flatten() {
        point.set(field, value);
    }
}

/// The base chains that some packet meets, with what may be written up to their end.
fn bases(ruleset: &Ruleset, calls: &[BTreeSet<ChainId>]) -> BTreeMap<ChainId, Base> {
    let own: Vec<(u32, u32)> = ruleset.chains.iter().map(|chain| writes(&chain.rules)).collect();
    let mut found: BTreeMap<ChainId, Base> = BTreeMap::new();
    for hook in HOOKS {
        // What earlier base chains of the hook have written, for each family.
        for nfproto in [2, 10] {
            let mut before = 0;
            let order = ruleset.base_chains(hook, nfproto);
            for id in order {
                let Some(base) = ruleset.chain(id).and_then(|chain| chain.base.as_ref()) else { continue };
                let (mut within, mut all) = (0, 0);
                for chain in below(id, calls) {
                    let (passing, ending) = own.get(chain.0 as usize).copied().unwrap_or_default();
                    within |= passing;
                    all |= passing | ending;
                }
                let mut written = before | within;
                if matches!(hook, Hook::Prerouting | Hook::Output) {
                    for field in [
                        Field::CT_DIRECTION,
                        Field::CT_ORIGINAL_SADDR,
                        Field::CT_ORIGINAL_DADDR,
                        Field::CT_ORIGINAL_SPORT,
                        Field::CT_ORIGINAL_DPORT,
                    ] {
                        written |= bit(field);
                    }
                }
                let known = found.entry(id).or_insert_with(|| Base {
                    hook,
                    families: Vec::new(),
                    written: 0,
                    rewrites: false,
                    before_tracking: matches!(hook, Hook::Prerouting | Hook::Output | Hook::Ingress)
                        && base.effective_priority() < -200,
                });
                known.written |= written;
                known.rewrites |= all != 0;
                known.families.push(nfproto);
                before |= all;
            }
        }
    }
    // Conntrack hasn't seen a frame on ingress.
    for base in found.values_mut().filter(|base| base.hook == Hook::Ingress) {
        base.before_tracking = true;
    }
    found
}

/// A chain and all that it calls.
fn below(chain: ChainId, calls: &[BTreeSet<ChainId>]) -> BTreeSet<ChainId> {
    let mut seen = BTreeSet::from([chain]);
    let mut open = vec![chain];
    while let Some(next) = open.pop() {
        for &to in calls.get(next.0 as usize).into_iter().flatten() {
            if seen.insert(to) {
                open.push(to);
            }
        }
    }
    seen
}

/// The fields that rules write: those that later rules of the base chain see, and those that only later chains see.
fn writes(rules: &[Rule]) -> (u32, u32) {
    let (mut passing, mut ending) = (0, 0);
    let types = bit(Field::FIB_SADDR_TYPE) | bit(Field::FIB_DADDR_TYPE) | bit(Field::FIB_REVERSE_PATH);
    for statement in rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Assign { field, .. } => passing |= bit(*field) | types,
            Statement::Opaque { fields } => {
                passing |= fields.iter().fold(types, |all, (field, _)| all | bit(*field));
            }
            Statement::Notrack => passing |= bit(Field::CT_STATE),
            Statement::Nat(_) => {
                for field in [Field::SADDR, Field::DADDR, Field::SPORT, Field::DPORT, Field::CT_STATUS] {
                    ending |= bit(field);
                }
                ending |= types;
            }
            _ => {}
        }
    }
    (passing, ending)
}

/// True where a table's packets can be of the family.
pub fn sees(family: Family, nfproto: u128) -> bool {
    match family {
        Family::Ip => nfproto == 2,
        Family::Ip6 => nfproto == 10,
        Family::Inet | Family::Netdev => true,
        Family::Arp | Family::Bridge => false,
    }
}

/// The atom table is asked whether a rule rolls dice or remembers packets.
pub fn remembers(rule: &Rule, atoms: &AtomTable) -> bool {
    rule.statements.iter().any(|statement| match statement {
        Statement::Test(Test::Atom { atom, .. }) => {
            atoms.get(*atom).is_some_and(|info| info.purity == firewarden_packet::Purity::Stateful)
        }
        _ => false,
    })
}
