//! Where two rulesets may differ: boxes outside of which every packet meets the same rules before and after.

use super::canonical::Canonical;
use super::pairing::{ChainPair, Pairing};
use firewarden_packet::{AtomTable, Dim, Field, FieldKind, PacketBox, ct_state};
use firewarden_ruleset::ir::{
    BaseChain, ChainId, ChainType, Family, Hook, MapData, MapId, NatDirection, Policy, Product, Rule,
    RuleRef, Ruleset, SetId, Statement, Test, Value, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// From where a packet comes to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    /// From outside, to the host or through it.
    Arriving,
    /// From the host itself.
    Leaving,
}

/// The packets to compare, by way and family (2 or 10). Boxes may overlap.
pub(super) type Questions = BTreeMap<(Way, u128), Vec<PacketBox>>;

/// More boxes than this for one way are joined to their hull, so that comparing them with one another stays cheap.
const MOST_BOXES: usize = 4_096;

/// More members of one set than this are taken as their hull.
const MOST_MEMBERS: usize = 1_024;

/// The packets that may fare differently. O(size of the rulesets).
pub(super) fn changed(before: &Ruleset, after: &Ruleset, atoms: &AtomTable, pairing: &Pairing) -> Questions {
    let mut finder = Finder { questions: Questions::new() };
    let sides = [Side::new(before, after, atoms), Side::new(after, before, atoms)];
    let [old, new] = &sides;
    for hook in Hook::ALL {
        for nfproto in [2, 10] {
            finder.base_chains(hook, nfproto, old, new);
        }
    }
    for pair in &pairing.chains {
        finder.rules(old, pair.before, &pair.removed);
        finder.rules(new, pair.after, &pair.added);
    }
    finder.members(old, new, &pairing.chains);
    finder.questions
}

/// One of the two rulesets, with what is asked of it again and again.
struct Side<'s> {
    ruleset: &'s Ruleset,
    canonical: Canonical<'s>,
    /// For each chain, the base chains from which it can be reached.
    bases: Vec<BTreeSet<ChainId>>,
    /// For each chain, a box around the packets that are sent there, in fields that nothing writes.
    callers: Vec<PacketBox>,
    /// Fields that some rule of either ruleset writes, NAT aside.
    written: BTreeSet<Field>,
    /// Whether some rule of either ruleset translates destinations, or sources.
    translates: (bool, bool),
}

impl<'s> Side<'s> {
    fn new(ruleset: &'s Ruleset, other: &Ruleset, atoms: &'s AtomTable) -> Side<'s> {
        let mut side = Side {
            ruleset,
            canonical: Canonical { ruleset, atoms },
            bases: vec![BTreeSet::new(); ruleset.chains.len()],
            callers: Vec::new(),
            written: BTreeSet::new(),
            translates: (false, false),
        };
        for statement in statements(ruleset).chain(statements(other)) {
            match statement {
                Statement::Assign { field, .. } => {
                    side.written.insert(*field);
                }
                Statement::Opaque { fields } => side.written.extend(fields.iter().map(|(field, _)| *field)),
                Statement::Notrack => {
                    side.written.insert(Field::CT_STATE);
                }
                Statement::Nat(nat) => match nat.direction {
                    NatDirection::Destination => side.translates.0 = true,
                    NatDirection::Source => side.translates.1 = true,
                },
                Statement::Test(_)
                | Statement::Verdict(_)
                | Statement::VerdictMap { .. }
                | Statement::Neutral(_) => {}
            }
        }
        side.find_bases();
        side.find_callers();
        side
    }

    /// O(chains × calls), since a chain may come before those that call it.
    fn find_bases(&mut self) {
        let mut waiting: Vec<(ChainId, ChainId)> = Vec::new();
        let chains = self.ruleset.chains.iter().enumerate();
        waiting.extend(
            chains
                .filter(|(_, chain)| chain.base.is_some())
                .map(|(index, _)| (ChainId(index as u32), ChainId(index as u32))),
        );
        while let Some((chain, base)) = waiting.pop() {
            let Some(known) = self.bases.get_mut(chain.0 as usize) else { continue };
            if !known.insert(base) {
                continue;
            }
            for rule in self.ruleset.chain(chain).map_or(&[][..], |chain| &chain.rules) {
                each_call(rule, self.ruleset, &mut |target| waiting.push((target, base)));
            }
        }
    }

    /// Chains that one rule calls, from a chain whose own callers are known: the box of that rule. Others: all packets.
    fn find_callers(&mut self) {
        let mut calls: Vec<Vec<RuleRef>> = vec![Vec::new(); self.ruleset.chains.len()];
        for (chain, index, rule) in rules(self.ruleset) {
            each_call(rule, self.ruleset, &mut |target| {
                if let Some(calls) = calls.get_mut(target.0 as usize) {
                    calls.push(RuleRef { chain, index });
                }
            });
        }
        let count = self.ruleset.chains.len();
        self.callers = vec![PacketBox::all(); count];
        for index in 0..count {
            // From the chain up to its base chain, as long as there is one caller; calls make no ring.
            let mut at = ChainId(index as u32);
            let mut around = PacketBox::all();
            for _ in 0..count {
                let Some([caller]) = calls.get(at.0 as usize).map(Vec::as_slice) else { break };
                let Some(rule) = self.ruleset.rule(*caller) else { break };
                let Some(hull) = self.hull(rule, caller.chain) else { break };
                let Some(common) = around.intersect(&hull) else { break };
                around = common;
                at = caller.chain;
            }
            if let Some(slot) = self.callers.get_mut(index) {
                *slot = around;
            }
        }
    }

    /// Whether a rule of this chain that asks for these values of a field is met only by packets that came with them.
    fn tells(&self, field: Field, dim: &Dim, chain: ChainId) -> bool {
        // Conntrack calls packets of neighbour discovery untracked, whatever they came as.
        let set_by_conntrack = field == Field::CT_STATE && dim.contains(ct_state::UNTRACKED);
        !set_by_conntrack && self.is_original(field, chain)
    }

    /// Fields whose value at a rule of this chain is the one the packet came with.
    fn is_original(&self, field: Field, chain: ChainId) -> bool {
        if field.is_dynamic() {
            return !self.written.contains(&field);
        }
        if self.written.contains(&field) {
            return false;
        }
        let bases = self.bases.get(chain.0 as usize).into_iter().flatten();
        let mut bases = bases.filter_map(|id| self.ruleset.chain(*id)?.base.as_ref());
        bases.all(|base| match field {
            Field::NFPROTO | Field::L4PROTO | Field::TCP_FLAGS | Field::ICMP_TYPE | Field::ICMP_CODE => true,
            Field::IIFNAME => true,
            Field::OIFNAME => {
                matches!(base.hook, Hook::Forward | Hook::Output | Hook::Postrouting | Hook::Egress)
            }
            Field::DADDR | Field::DPORT => {
                !self.translates.0 || before_translation(base, NatDirection::Destination)
            }
            Field::SADDR | Field::SPORT => {
                !self.translates.1 || before_translation(base, NatDirection::Source)
            }
            Field::CT_STATE => match base.hook {
                Hook::Prerouting | Hook::Output => base.effective_priority() >= -200,
                Hook::Ingress => false,
                _ => true,
            },
            _ => false,
        })
    }

    /// A box around the packets on which a rule of a chain may act, in fields that nothing writes before. `None` where
    /// there are none.
    fn hull(&self, rule: &Rule, chain: ChainId) -> Option<PacketBox> {
        let mut hull = PacketBox::all();
        for statement in &rule.statements {
            match statement {
                Statement::Test(test) => {
                    if !self.narrow(&mut hull, test, chain) {
                        return None;
                    }
                }
                Statement::Neutral(_) => {}
                // Tests behind an effect don't keep the effect away.
                _ => break,
            }
        }
        Some(hull)
    }

    fn narrow(&self, hull: &mut PacketBox, test: &Test, chain: ChainId) -> bool {
        let mut keep = |field: Field, dim: Dim| !self.tells(field, &dim, chain) || hull.restrict(field, dim);
        match test {
            Test::Range { field, set } => match set.hull() {
                Some((low, high)) => keep(*field, Dim::Range(low, high)),
                None => false,
            },
            Test::Bits { field, cubes, negated: false } => match cubes.as_slice() {
                [cube] => keep(*field, Dim::Bits(*cube)),
                _ => true,
            },
            Test::Lookup { key, set, negated: false } => {
                let Some(set) = self.ruleset.set(*set) else { return true };
                let members: Vec<&Product> = set.elements.iter().map(|element| &element.key).collect();
                match hull_of(&members) {
                    Some(sides) => key.iter().zip(sides).all(|(field, side)| keep(*field, side)),
                    None => false,
                }
            }
            Test::Atom { atom, negated } => {
                let value = u128::from(!negated);
                keep(*atom, Dim::Range(value, value))
            }
            Test::Bits { .. } | Test::Masked { .. } | Test::Lookup { .. } => true,
        }
    }
}

fn before_translation(base: &BaseChain, direction: NatDirection) -> bool {
    let priority = base.effective_priority();
    match (direction, base.hook) {
        (_, Hook::Ingress) => true,
        (NatDirection::Destination, Hook::Prerouting | Hook::Output) => {
            priority < -100 || base.chain_type == ChainType::Nat
        }
        (NatDirection::Destination, _) => false,
        (NatDirection::Source, Hook::Postrouting | Hook::Input) => {
            priority < 100 || base.chain_type == ChainType::Nat
        }
        (NatDirection::Source, Hook::Egress) => false,
        (NatDirection::Source, _) => true,
    }
}

/// The smallest product around others, one dim for each field; `None` where there is none.
fn hull_of(members: &[&Product]) -> Option<Vec<Dim>> {
    let mut sides: Vec<(u128, u128)> = members.first()?.to_vec();
    for member in members {
        for (side, (low, high)) in sides.iter_mut().zip(member.iter()) {
            *side = (side.0.min(*low), side.1.max(*high));
        }
    }
    Some(sides.into_iter().map(|(low, high)| Dim::Range(low, high)).collect())
}

struct Finder {
    questions: Questions,
}

impl Finder {
    /// All packets that meet a hook.
    fn everything(&mut self, hook: Hook, nfproto: u128) {
        for way in ways(hook) {
            self.add(*way, nfproto, PacketBox::all());
        }
    }

    fn add(&mut self, way: Way, nfproto: u128, packets: PacketBox) {
        let mut packets = packets;
        if packets.restrict(Field::NFPROTO, Dim::Range(nfproto, nfproto)) {
            self.questions.entry((way, nfproto)).or_default().push(packets);
        }
    }

    /// Base chains that are new, gone, moved or have another policy.
    fn base_chains(&mut self, hook: Hook, nfproto: u128, old: &Side<'_>, new: &Side<'_>) {
        let (mut first, mut second) = (described(old, hook, nfproto), described(new, hook, nfproto));
        let names = |chains: &[Described]| -> BTreeSet<Named> {
            chains.iter().map(|chain| chain.key.clone()).collect()
        };
        let (in_first, in_second) = (names(&first), names(&second));
        for (side, chains, others) in [(old, &mut first, &in_second), (new, &mut second, &in_first)] {
            chains.retain(|chain| {
                if others.contains(&chain.key) {
                    return true;
                }
                if chain.drops {
                    self.everything(hook, nfproto);
                } else {
                    let count = side.ruleset.chain(chain.id).map_or(0, |chain| chain.rules.len());
                    self.rules(side, chain.id, &(0..count as u32).collect::<Vec<_>>());
                }
                false
            });
        }
        if first.iter().map(|chain| &chain.what).ne(second.iter().map(|chain| &chain.what)) {
            self.everything(hook, nfproto);
        }
    }

    /// Rules that only one side has.
    fn rules(&mut self, side: &Side<'_>, chain: ChainId, indexes: &[u32]) {
        for &index in indexes {
            let Some(rule) = side.ruleset.rule(RuleRef { chain, index }) else { continue };
            if acts(rule)
                && let Some(hull) = side.hull(rule, chain)
            {
                self.rule(side, chain, hull);
            }
        }
    }

    /// Packets at a rule of a chain.
    fn rule(&mut self, side: &Side<'_>, chain: ChainId, packets: PacketBox) {
        let around = side.callers.get(chain.0 as usize);
        let Some(packets) = around.map_or(Some(packets.clone()), |around| around.intersect(&packets)) else {
            return;
        };
        let mut asked: BTreeSet<(Way, u128)> = BTreeSet::new();
        for id in side.bases.get(chain.0 as usize).into_iter().flatten() {
            let Some(base) = side.ruleset.chain(*id).and_then(|chain| chain.base.as_ref()) else { continue };
            let families: &[u128] = match side.ruleset.table_of(*id).map(|table| table.family) {
                Some(Family::Ip) => &[2],
                Some(Family::Ip6) => &[10],
                Some(Family::Inet | Family::Netdev) => &[2, 10],
                _ => &[],
            };
            asked
                .extend(ways(base.hook).iter().flat_map(|way| families.iter().map(|family| (*way, *family))));
        }
        for (way, family) in asked {
            let mut packets = packets.clone();
            // A packet on its way out has no input interface, whichever rule asks for one.
            if way == Way::Leaving {
                if !packets.restrict(Field::IIFNAME, Dim::Range(0, 0)) {
                    continue;
                }
                packets.clear(Field::IIFNAME);
            }
            self.add(way, family, packets);
        }
    }

    /// Rules that are the same but look up a named set or map whose members changed.
    fn members(&mut self, old: &Side<'_>, new: &Side<'_>, pairs: &[ChainPair]) {
        let sets = changed_sets(old.ruleset, new.ruleset);
        let maps = changed_maps(old, new);
        if sets.is_empty() && maps.is_empty() {
            return;
        }
        for pair in pairs {
            for (index, _) in &pair.kept {
                let Some(rule) = old.ruleset.rule(RuleRef { chain: pair.before, index: *index }) else {
                    continue;
                };
                self.members_of(old, pair.before, rule, &sets, &maps);
            }
        }
    }

    fn members_of(
        &mut self,
        side: &Side<'_>,
        chain: ChainId,
        rule: &Rule,
        sets: &BTreeMap<SetId, Vec<Product>>,
        maps: &BTreeMap<MapId, Vec<Product>>,
    ) {
        let mut hull = PacketBox::all();
        let mut acted = false;
        for statement in &rule.statements {
            let looked_up = match statement {
                Statement::Test(Test::Lookup { key, set, .. }) => {
                    sets.get(set).map(|members| (key.as_slice(), members))
                }
                Statement::VerdictMap { key, map } => maps.get(map).map(|members| (key.as_slice(), members)),
                Statement::Assign { value, .. } => map_of(value, maps),
                Statement::Nat(nat) => nat_values(nat).find_map(|value| map_of(value, maps)),
                _ => None,
            };
            if let Some((key, members)) = looked_up {
                let refs: Vec<&Product> = members.iter().collect();
                let products: Vec<Vec<Dim>> = if refs.len() > MOST_MEMBERS {
                    hull_of(&refs).into_iter().collect()
                } else {
                    refs.iter().filter_map(|member| hull_of(&[member])).collect()
                };
                for product in products {
                    let mut packets = hull.clone();
                    let fits = key.iter().zip(product).all(|(field, side_dim)| {
                        !side.tells(*field, &side_dim, chain) || packets.restrict(*field, side_dim)
                    });
                    if fits {
                        self.rule(side, chain, packets);
                    }
                }
            }
            match statement {
                // A test of a changed set narrows by what either side has: not at all, here.
                Statement::Test(Test::Lookup { set, .. }) if sets.contains_key(set) => {}
                Statement::Test(test) if !acted => {
                    if !side.narrow(&mut hull, test, chain) {
                        return;
                    }
                }
                Statement::Test(_) | Statement::Neutral(_) => {}
                _ => acted = true,
            }
        }
    }
}

/// Joins boxes where there are too many of them to be compared with one another.
pub(super) fn limited(boxes: Vec<PacketBox>, atoms: &AtomTable) -> Vec<PacketBox> {
    if boxes.len() <= MOST_BOXES {
        return boxes;
    }
    let mut boxes = boxes.into_iter();
    let Some(mut hull) = boxes.next() else { return Vec::new() };
    for other in boxes {
        let fields: Vec<Field> = hull.dims().iter().map(|(field, _)| *field).collect();
        for field in fields {
            match (field.kind(), hull.dim(field, atoms), other.dim(field, atoms)) {
                (FieldKind::Range, Dim::Range(a, b), Dim::Range(c, d)) => {
                    hull.set(field, Dim::Range(a.min(c), b.max(d)));
                }
                (_, own, others) if own == others => {}
                _ => hull.clear(field),
            }
        }
    }
    vec![hull]
}

/// Family, table and chain.
type Named = (Family, String, String);

/// What matters of a base chain for those beside it.
#[derive(Debug)]
struct Described {
    id: ChainId,
    key: Named,
    drops: bool,
    what: (ChainType, i32, i32, Policy, Vec<Box<str>>, Named),
}

fn described(side: &Side<'_>, hook: Hook, nfproto: u128) -> Vec<Described> {
    let chains = side.ruleset.base_chains(hook, nfproto).into_iter();
    chains
        .filter_map(|id| {
            let chain = side.ruleset.chain(id)?;
            let table = side.ruleset.table_of(id)?;
            let base = chain.base.as_ref()?;
            let key = (table.family, table.name.to_string(), chain.name.to_string());
            Some(Described {
                id,
                key: key.clone(),
                drops: base.policy == Policy::Drop,
                what: (
                    base.chain_type,
                    base.effective_priority(),
                    base.priority,
                    base.policy,
                    base.devices.clone(),
                    key,
                ),
            })
        })
        .collect()
}

fn ways(hook: Hook) -> &'static [Way] {
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Input | Hook::Forward => &[Way::Arriving],
        Hook::Output => &[Way::Leaving],
        Hook::Postrouting | Hook::Egress => &[Way::Arriving, Way::Leaving],
    }
}

/// True where a rule does anything but test.
fn acts(rule: &Rule) -> bool {
    rule.statements.iter().any(|statement| {
        !matches!(
            statement,
            Statement::Test(_) | Statement::Neutral(_) | Statement::Verdict(Verdict::Continue)
        )
    })
}

fn statements(ruleset: &Ruleset) -> impl Iterator<Item = &Statement> {
    ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| rule.statements.iter())
}

fn rules(ruleset: &Ruleset) -> impl Iterator<Item = (ChainId, u32, &Rule)> {
    ruleset.chains.iter().enumerate().flat_map(|(chain, content)| {
        let numbered = content.rules.iter().enumerate();
        numbered.map(move |(index, rule)| (ChainId(chain as u32), index as u32, rule))
    })
}

/// Visits the chains that a rule may call.
fn each_call(rule: &Rule, ruleset: &Ruleset, visit: &mut dyn FnMut(ChainId)) {
    for statement in &rule.statements {
        match statement {
            Statement::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => visit(*chain),
            Statement::VerdictMap { map, .. } => {
                for entry in ruleset.map(*map).map_or(&[][..], |map| &map.entries) {
                    if let MapData::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) = &entry.data {
                        visit(*chain);
                    }
                }
            }
            _ => {}
        }
    }
}

fn map_of<'m>(
    value: &'m Value,
    maps: &'m BTreeMap<MapId, Vec<Product>>,
) -> Option<(&'m [Field], &'m Vec<Product>)> {
    match value {
        Value::Map { key, map, .. } => maps.get(map).map(|members| (key.as_slice(), members)),
        _ => None,
    }
}

fn nat_values(nat: &firewarden_ruleset::ir::Nat) -> impl Iterator<Item = &Value> {
    let address = match &nat.address {
        firewarden_ruleset::ir::NatAddress::To(value) => Some(value),
        _ => None,
    };
    address.into_iter().chain(nat.port.as_ref())
}

/// Named sets of the first ruleset, with the members that only one of the two has.
fn changed_sets(old: &Ruleset, new: &Ruleset) -> BTreeMap<SetId, Vec<Product>> {
    let key = |ruleset: &Ruleset, table, name: &str| {
        ruleset.table(table).map(|table| (table.family, table.name.to_string(), name.to_owned()))
    };
    let others: BTreeMap<_, _> = new
        .sets
        .iter()
        .filter(|set| !set.name.is_empty())
        .filter_map(|set| Some((key(new, set.table, &set.name)?, set)))
        .collect();
    let mut changed = BTreeMap::new();
    for (index, set) in old.sets.iter().enumerate().filter(|(_, set)| !set.name.is_empty()) {
        let Some(other) = key(old, set.table, &set.name).and_then(|key| others.get(&key)) else { continue };
        let own: BTreeSet<&Product> = set.elements.iter().map(|element| &element.key).collect();
        let theirs: BTreeSet<&Product> = other.elements.iter().map(|element| &element.key).collect();
        let differing: Vec<Product> =
            own.symmetric_difference(&theirs).map(|member| (*member).clone()).collect();
        if !differing.is_empty() {
            changed.insert(SetId(index as u32), differing);
        }
    }
    changed
}

/// Named maps of the first ruleset, with the keys that don't map to the same in both, or stand in another order.
fn changed_maps(old: &Side<'_>, new: &Side<'_>) -> BTreeMap<MapId, Vec<Product>> {
    let key = |side: &Side<'_>, table, name: &str| {
        side.ruleset.table(table).map(|table| (table.family, table.name.to_string(), name.to_owned()))
    };
    let entries = |side: &Side<'_>, map: &firewarden_ruleset::ir::Map| -> Vec<(Product, Vec<u8>)> {
        let entry_bytes = |data: &MapData| {
            let mut bytes = Vec::new();
            side.canonical.data(data, &mut bytes);
            bytes
        };
        map.entries.iter().map(|entry| (entry.key.clone(), entry_bytes(&entry.data))).collect()
    };
    let others: BTreeMap<_, _> = new
        .ruleset
        .maps
        .iter()
        .filter(|map| !map.name.is_empty())
        .filter_map(|map| Some((key(new, map.table, &map.name)?, map)))
        .collect();
    let mut changed = BTreeMap::new();
    for (index, map) in old.ruleset.maps.iter().enumerate().filter(|(_, map)| !map.name.is_empty()) {
        let Some(other) = key(old, map.table, &map.name).and_then(|key| others.get(&key)) else { continue };
        let (own, theirs) = (entries(old, map), entries(new, other));
        if own == theirs {
            continue;
        }
        let (first, second): (BTreeSet<_>, BTreeSet<_>) = (own.iter().collect(), theirs.iter().collect());
        let mut differing: Vec<Product> =
            first.symmetric_difference(&second).map(|(key, _)| key.clone()).collect();
        if differing.is_empty() {
            // The same entries in another order, which decides where keys overlap.
            differing = own.into_iter().map(|(key, _)| key).collect();
        }
        changed.insert(MapId(index as u32), differing);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::{Product, hull_of};
    use firewarden_packet::Dim;

    #[test]
    fn the_hull_holds_every_member() {
        let members: Vec<Product> =
            vec![[(5, 6), (80, 80)].into_iter().collect(), [(1, 2), (443, 443)].into_iter().collect()];
        let refs: Vec<&Product> = members.iter().collect();
        assert_eq!(hull_of(&refs), Some(vec![Dim::Range(1, 6), Dim::Range(80, 443)]));
        assert_eq!(hull_of(&[]), None);
    }
}
