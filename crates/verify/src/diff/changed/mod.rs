//! Where two rulesets may differ: boxes outside of which every packet meets the same rules before and after.

mod members;
mod side;

use super::pairing::{ChainPair, Pairing};
use firewarden_packet::{AtomTable, Dim, Field, FieldKind, PacketBox};
use firewarden_ruleset::ir::{
    ChainId, ChainType, Family, Hook, MapId, Policy, Product, Rule, RuleRef, Ruleset, SetId, Statement, Test,
    Value, Verdict,
};
use members::{changed_maps, changed_sets};
use side::{Side, hull_of};
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
    let [old, new] = &Side::both(before, after, atoms);
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
