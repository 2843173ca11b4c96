//! Members of named sets and maps that only one of two rulesets has.

use super::side::Side;
use firewarden_ruleset::ir::{MapData, MapId, Product, Ruleset, SetId};
use std::collections::{BTreeMap, BTreeSet};

/// Named sets of the first ruleset, with the members that only one of the two has.
pub(super) fn changed_sets(old: &Ruleset, new: &Ruleset) -> BTreeMap<SetId, Vec<Product>> {
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
pub(super) fn changed_maps(old: &Side<'_>, new: &Side<'_>) -> BTreeMap<MapId, Vec<Product>> {
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
