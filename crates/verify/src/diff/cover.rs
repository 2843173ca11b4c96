//! A set of packets as few, large products: what all of it has in common, and then either its parts or what of that isn't
//! in it, whichever is shorter to read. Parts may overlap; their union is exact.

use super::sets::{PacketSet, Values, is_address};
use firewarden_packet::{AtomTable, Field, IntervalSet};
use std::collections::BTreeSet;

/// More products than this aren't made larger, and nothing is subtracted from them.
const MOST_PARTS: usize = 128;
/// More pieces than this while one product is taken from others: what is asked isn't found out.
const MOST_PIECES: usize = 1_024;

/// How a set of packets is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The smallest product that all packets are in.
    pub hull: PacketSet,
    /// Their union is the set.
    pub parts: Vec<PacketSet>,
    /// Where that is shorter: the union of these is what of the hull isn't in the set. Empty otherwise.
    pub except: Vec<PacketSet>,
}

impl Summary {
    /// Of products whose union is the set. O(parts³ × fields) for few parts; linear for many.
    pub fn of(sets: Vec<PacketSet>, atoms: &AtomTable) -> Summary {
        let hull = hull(&sets, atoms);
        if sets.len() < 2 || sets.len() > MOST_PARTS {
            return Summary { hull, parts: sets, except: Vec::new() };
        }
        let parts = enlarged(sets, &hull, atoms);
        // Of addresses of both families there is no common product.
        let rest = (parts.len() > 1).then(|| subtract_all(&hull, &parts, atoms)).flatten();
        let except = match rest {
            Some(rest) if rest.len() <= MOST_PARTS => enlarged(rest, &hull, atoms),
            _ => Vec::new(),
        };
        let is_shorter = length(&except) < length(&parts);
        Summary { hull, parts, except: if is_shorter { except } else { Vec::new() } }
    }

    /// True where the set is all of the hull.
    pub fn is_product(&self) -> bool {
        self.parts.len() < 2
    }

    /// What of a part is told beside the hull: the fields with other values than it has, and what family addresses are of.
    pub fn beside_hull(&self, part: &PacketSet) -> PacketSet {
        let hull = &self.hull.fields;
        let differs = |field: Field| hull.get(&field) != part.fields.get(&field);
        let has_addresses = part.fields.keys().any(|field| is_address(*field) && differs(*field));
        let fields = part
            .fields
            .iter()
            .filter(|(field, _)| differs(**field) || (**field == Field::NFPROTO && has_addresses));
        PacketSet { fields: fields.map(|(field, values)| (*field, values.clone())).collect() }
    }
}

/// How much there is to read: lines, then intervals.
fn length(sets: &[PacketSet]) -> (usize, usize) {
    let intervals = |values: &Values| match values {
        Values::Numbers(ranges) => ranges.len(),
        Values::Bits(cubes) => cubes.len(),
    };
    (sets.len(), sets.iter().flat_map(|set| set.fields.values()).map(intervals).sum())
}

/// The smallest product around products. Addresses of several families have none in common but all.
fn hull(sets: &[PacketSet], atoms: &AtomTable) -> PacketSet {
    let Some((first, rest)) = sets.split_first() else { return PacketSet::default() };
    let one_family = rest.iter().all(|set| set.nfproto() == first.nfproto());
    let mut hull = PacketSet::default();
    for (&field, values) in &first.fields {
        if is_address(field) && !one_family {
            continue;
        }
        let mut others = rest.iter().map(|set| set.fields.get(&field));
        let union = others.try_fold(values.clone(), |union, other| union.union(other?.clone()));
        if let Some(union) = union {
            hull.insert(field, union, atoms);
        }
    }
    hull
}

/// Makes every product as large as it can be within the union of all, and leaves out those that others contain.
fn enlarged(mut sets: Vec<PacketSet>, hull: &PacketSet, atoms: &AtomTable) -> Vec<PacketSet> {
    for index in 0..sets.len() {
        let fields = sets.get(index).map(|set| set.fields.keys().copied().collect::<Vec<_>>());
        for field in fields.unwrap_or_default() {
            let Some(larger) = sets.get(index).and_then(|set| stretched(set, field, hull, &sets, atoms))
            else {
                continue;
            };
            if let Some(set) = sets.get_mut(index) {
                *set = larger;
            }
        }
    }
    sets.sort_unstable();
    sets.dedup();
    // The smaller ones first: what a large one contains isn't told.
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sets.get(*index).map_or(0, |set| set.fields.len())));
    let mut left: BTreeSet<usize> = order.iter().copied().collect();
    for index in order {
        let others: Vec<PacketSet> = left
            .iter()
            .filter(|other| **other != index)
            .filter_map(|other| sets.get(*other).cloned())
            .collect();
        let set = sets.get(index);
        if set.and_then(|set| subtract_all(set, &others, atoms)).is_some_and(|rest| rest.is_empty()) {
            left.remove(&index);
        }
    }
    let mut kept = Vec::new();
    for index in left {
        kept.extend(sets.get(index).cloned());
    }
    kept
}

/// The product with all the values of one field, of those the hull has, with which it is still within the union.
fn stretched(
    set: &PacketSet,
    field: Field,
    hull: &PacketSet,
    union: &[PacketSet],
    atoms: &AtomTable,
) -> Option<PacketSet> {
    // A number is another address in the other family.
    if field == Field::NFPROTO && set.fields.keys().any(|field| is_address(*field)) {
        return None;
    }
    let Values::Numbers(own) = set.fields.get(&field)? else { return None };
    let mut wide = set.clone();
    wide.fields.remove(&field);
    if let Some(values) = hull.fields.get(&field) {
        wide.fields.insert(field, values.clone());
    }
    let whole = wide.values(field, atoms)?;
    if whole.ranges() == own.as_slice() {
        return None;
    }
    let mut outside = IntervalSet::empty();
    for piece in subtract_all(&wide, union, atoms)? {
        outside = outside.union(&piece.values(field, atoms)?);
    }
    let allowed = whole.subtract(&outside);
    if allowed.ranges() == own.as_slice() {
        return None;
    }
    wide.fields.remove(&field);
    wide.insert(field, Values::Numbers(allowed.ranges().to_vec()), atoms);
    Some(wide)
}

/// What of a product is in none of the others; `None` where it falls into too many pieces, or where flag words keep it
/// from being said.
fn subtract_all(set: &PacketSet, others: &[PacketSet], atoms: &AtomTable) -> Option<Vec<PacketSet>> {
    let mut pieces = vec![set.clone()];
    for other in others {
        let mut left = Vec::new();
        for piece in pieces {
            subtract(piece, other, atoms, &mut left)?;
            if left.len() > MOST_PIECES {
                return None;
            }
        }
        pieces = left;
    }
    Some(pieces)
}

/// What of `set` isn't in `other`, as products that don't overlap.
fn subtract(set: PacketSet, other: &PacketSet, atoms: &AtomTable, out: &mut Vec<PacketSet>) -> Option<()> {
    let mut inner = set.clone();
    let mut pieces = Vec::new();
    for (&field, values) in &other.fields {
        if inner.fields.get(&field) == Some(values) {
            continue;
        }
        let Values::Numbers(cut) = values else { return None };
        let own = inner.values(field, atoms)?;
        let cut: IntervalSet = cut.iter().copied().collect();
        let common = own.intersect(&cut);
        if common.is_empty() {
            out.push(set);
            return Some(());
        }
        let rest = own.subtract(&cut);
        if !rest.is_empty() {
            let mut piece = inner.clone();
            piece.insert(field, Values::Numbers(rest.ranges().to_vec()), atoms);
            pieces.push(piece);
        }
        inner.insert(field, Values::Numbers(common.ranges().to_vec()), atoms);
    }
    out.append(&mut pieces);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::sets::products;
    use super::*;
    use firewarden_packet::PacketBox;

    #[test]
    fn all_but_some_ports_is_told_as_such() {
        let atoms = AtomTable::default();
        // Everything, without tcp/22 and udp/53.
        let mut pieces = vec![PacketBox::all().with_value(Field::NFPROTO, 2)];
        for (protocol, port) in [(6, 22), (17, 53)] {
            let hole = PacketBox::all().with_value(Field::L4PROTO, protocol).with_value(Field::DPORT, port);
            pieces = pieces.iter().flat_map(|piece| piece.subtract(&hole, &atoms)).collect();
        }
        let summary = Summary::of(products(&pieces, &atoms), &atoms);
        let names = super::super::Names::new();
        let words = |sets: &[PacketSet]| -> Vec<Vec<(String, String)>> {
            sets.iter().map(|set| set.words(&atoms, 6, &names)).collect()
        };
        assert_eq!(words(std::slice::from_ref(&summary.hull)), [[("family".to_owned(), "IPv4".to_owned())]]);
        let said = |protocol: &str, port: &str| {
            vec![
                ("family".to_owned(), "IPv4".to_owned()),
                ("protocol".to_owned(), protocol.to_owned()),
                ("port".to_owned(), port.to_owned()),
            ]
        };
        assert_eq!(words(&summary.except), [said("tcp", "22"), said("udp", "53")]);
    }
}
