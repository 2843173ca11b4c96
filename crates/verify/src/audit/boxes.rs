//! Boxes that hold everything a rule can match, and packets of them that the rule is aimed at.
//!
//! The boxes are exact or too large, never too small: only tests of fields that nothing has written before the rule
//! restrict them. A rule that no packet of them meets is therefore met by no packet at all.

use super::bases::Base;
use super::space::{Space, Way};
use firewarden_packet::{Cube, Dim, Field, PacketBox, Point, ct_state};
use firewarden_ruleset::ir::{MapId, Product, Rule, Statement, Test};

/// The most boxes that one way to a rule is cut into; beyond that the hull of a set is taken.
const MOST_BOXES: usize = 32;

/// The most elements of a set that are tried for a packet.
const MOST_TRIED: usize = 64;

impl Space<'_> {
    /// Boxes that don't overlap and hold every packet that can come this way and meet the conditions of a rule.
    pub fn boxes(&self, way: &Way, rule: &Rule, nfproto: u128) -> Vec<PacketBox> {
        let Some(base) = self.bases.get(&way.base) else { return Vec::new() };
        let all = base.families.iter().zip(&base.packets).find(|(family, _)| **family == nfproto);
        let Some((_, all)) = all else { return Vec::new() };
        let mut boxes = vec![all.clone()];
        let rules = way.calls.iter().filter_map(|&at| self.ruleset.rule(at)).chain([rule]);
        for statement in rules.flat_map(conditions) {
            if boxes.is_empty() {
                break;
            }
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
                if let [(low, high)] = set.ranges() {
                    boxes.retain_mut(|part| part.restrict(*field, Dim::Range(*low, *high)));
                    return;
                }
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

/// The statements of a rule before its first effect: its conditions, and what doesn't matter.
fn conditions(rule: &Rule) -> impl Iterator<Item = &Statement> {
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
