//! Sets and maps, prepared for lookups at a point and around it. Products are never expanded.

use crate::condition::Around;
use firewarden_packet::{Dim, Field, FieldKind, IntervalSet, Point};
use firewarden_ruleset::ir::{MapId, Product, Ruleset, SetId};
use smallvec::SmallVec;

/// All sets and maps of a ruleset.
#[derive(Debug)]
pub(crate) struct Tables {
    sets: Vec<Keys>,
    maps: Vec<Keys>,
    none: Keys,
}

impl Tables {
    /// O(n log n) in the number of elements.
    pub(crate) fn new(ruleset: &Ruleset) -> Tables {
        let sets = ruleset.sets.iter().map(|set| Keys::new(set.elements.iter().map(|element| &element.key)));
        let maps = ruleset.maps.iter().map(|map| Keys::new(map.entries.iter().map(|entry| &entry.key)));
        Tables { sets: sets.collect(), maps: maps.collect(), none: Keys::new(std::iter::empty()) }
    }

    pub(crate) fn set(&self, id: SetId) -> &Keys {
        self.sets.get(id.0 as usize).unwrap_or(&self.none)
    }

    pub(crate) fn map(&self, id: MapId) -> &Keys {
        self.maps.get(id.0 as usize).unwrap_or(&self.none)
    }
}

/// The keys of one set or map.
#[derive(Debug)]
pub(crate) struct Keys {
    /// In the order of the source; the lookup's answer is an index into it.
    products: Vec<Product>,
    /// Indexes of `products`, sorted by the first component's low end.
    by_first: Vec<u32>,
    /// For each place in `by_first`, the largest high end of the first component up to and including it.
    reach: Vec<u128>,
    /// The union of the first components: all that is needed for keys of one field.
    first: IntervalSet,
    single: bool,
}

impl Keys {
    fn new<'a>(keys: impl Iterator<Item = &'a Product>) -> Keys {
        let products: Vec<Product> = keys.cloned().collect();
        let first_of =
            |index: u32| products.get(index as usize).and_then(|key| key.first()).copied().unwrap_or((1, 0));
        let mut by_first: Vec<u32> = (0..products.len() as u32).collect();
        by_first.sort_by_key(|&index| first_of(index));
        let mut reach = Vec::with_capacity(by_first.len());
        let mut so_far = 0;
        for &index in &by_first {
            so_far = first_of(index).1.max(so_far);
            reach.push(so_far);
        }
        let first = by_first.iter().map(|&index| first_of(index)).collect();
        let single = products.iter().all(|key| key.len() == 1);
        Keys { products, by_first, reach, first, single }
    }

    fn key(&self, index: u32) -> &[(u128, u128)] {
        self.products.get(index as usize).map_or(&[], |key| key.as_slice())
    }

    /// Calls `visit` for each product whose first component meets `low..=high`, until it returns false.
    /// O(log n + products met), where first components don't nest deeply.
    fn near(&self, low: u128, high: u128, mut visit: impl FnMut(u32, &[(u128, u128)]) -> bool) {
        let from = self.reach.partition_point(|&reach| reach < low);
        for &index in self.by_first.get(from..).unwrap_or_default() {
            let key = self.key(index);
            let Some(&(key_low, key_high)) = key.first() else { continue };
            if key_low > high {
                break;
            }
            if key_high >= low && !visit(index, key) {
                break;
            }
        }
    }

    /// The first product, in source order, that holds the point's values of the key's fields.
    pub(crate) fn find(&self, key: &[Field], at: &Point) -> Option<u32> {
        let first = at.get(*key.first()?);
        let mut found: Option<u32> = None;
        self.near(first, first, |index, product| {
            let inside = product.iter().zip(key).all(|(&(low, high), &field)| {
                let value = at.get(field);
                low <= value && value <= high
            });
            if inside && found.is_none_or(|best| index < best) {
                found = Some(index);
            }
            true
        });
        found
    }

    /// Around a point, the restrictions within which [`Keys::find`] gives the same answer.
    pub(crate) fn around(&self, key: &[Field], at: &Point, image: &dyn Fn(Field) -> Dim) -> Around {
        let Some(&first_field) = key.first() else { return Around::new() };
        let first = at.get(first_field);
        let found = self.find(key, at);
        let mut bounds: SmallVec<[(u128, u128); 4]> = key.iter().map(|_| (0, u128::MAX)).collect();
        let earlier_than = match found {
            Some(index) => {
                for (bound, &component) in bounds.iter_mut().zip(self.key(index)) {
                    *bound = component;
                }
                if self.single {
                    return dims(key, &bounds, at);
                }
                index
            }
            None if self.single => {
                let stretch = self.first.stretch(first);
                return dims(key, &[stretch], at);
            }
            None => u32::MAX,
        };
        // A product that comes before the answer must be kept out of the box: cut where most is left.
        let mut start = bounds.clone();
        for (bound, &field) in start.iter_mut().zip(key) {
            if let Dim::Range(low, high) = image(field) {
                *bound = (bound.0.max(low), bound.1.min(high));
            }
        }
        if !self.first.contains(first) && found.is_none() {
            let stretch = self.first.stretch(first);
            if let Some(bound) = bounds.first_mut() {
                *bound = stretch;
            }
            return dims(key.get(..1).unwrap_or_default(), &bounds, at);
        }
        let (low, high) = start.first().copied().unwrap_or((0, u128::MAX));
        // The first component shrinks to the values that meet the same products as the point, so that only these matter.
        let mut elementary = (low, high);
        self.near(low, high, |_, product| {
            if let Some(&(key_low, key_high)) = product.first() {
                if key_high < first {
                    elementary.0 = elementary.0.max(key_high + 1);
                } else if key_low > first {
                    elementary.1 = elementary.1.min(key_low - 1);
                } else {
                    elementary = (elementary.0.max(key_low), elementary.1.min(key_high));
                }
            }
            true
        });
        let meeting_many = {
            let mut count = 0;
            self.near(low, high, |_, _| {
                count += 1;
                count <= 64
            });
            count > 64
        };
        if meeting_many && let Some(bound) = bounds.first_mut() {
            *bound = (bound.0.max(elementary.0), bound.1.min(elementary.1));
        }
        let (low, high) = bounds.first().copied().unwrap_or((0, u128::MAX));
        let mut cut = start.clone();
        if let Some(bound) = cut.first_mut() {
            *bound = (bound.0.max(low), bound.1.min(high));
        }
        let (low, high) = cut.first().copied().unwrap_or((0, u128::MAX));
        self.near(low, high, |index, product| {
            if index >= earlier_than && found.is_some() {
                return true;
            }
            let meets = product.iter().zip(&cut).all(|(&(a, b), &(c, d))| a <= d && c <= b);
            if meets {
                exclude(product, key, at, &mut cut, &mut bounds);
            }
            true
        });
        dims(key, &bounds, at)
    }

    /// True where some key may be in the image; exact for intervals.
    pub(crate) fn overlaps(&self, key: &[Field], image: &dyn Fn(Field) -> Dim) -> bool {
        let Some(&first) = key.first() else { return false };
        let (low, high) = hull(image(first), first);
        if self.single {
            return self.first.overlaps(low, high);
        }
        let others: SmallVec<[(u128, u128); 4]> =
            key.iter().map(|&field| hull(image(field), field)).collect();
        let mut found = false;
        self.near(low, high, |_, product| {
            found = product.iter().zip(&others).all(|(&(a, b), &(c, d))| a <= d && c <= b);
            !found
        });
        found
    }

    /// True only where every key of the image is in the set.
    pub(crate) fn covers(&self, key: &[Field], image: &dyn Fn(Field) -> Dim) -> bool {
        let Some(&first) = key.first() else { return false };
        let (low, high) = hull(image(first), first);
        if self.single {
            return self.first.covers(low, high);
        }
        let others: SmallVec<[(u128, u128); 4]> =
            key.iter().map(|&field| hull(image(field), field)).collect();
        let mut found = false;
        self.near(low, high, |_, product| {
            found = product.iter().zip(&others).all(|(&(a, b), &(c, d))| a <= c && d <= b);
            !found
        });
        found
    }

    /// The smallest product that holds all keys, for the index; `None` for the empty set.
    pub(crate) fn hull(&self) -> Option<Product> {
        let mut products = self.products.iter();
        let mut hull = products.next()?.clone();
        for product in products {
            for (bound, component) in hull.iter_mut().zip(product) {
                *bound = (bound.0.min(component.0), bound.1.max(component.1));
            }
        }
        Some(hull)
    }
}

/// Shrinks `cut` and `bounds` along the one component where the product doesn't hold the point and most is left.
fn exclude(
    product: &[(u128, u128)],
    key: &[Field],
    at: &Point,
    cut: &mut SmallVec<[(u128, u128); 4]>,
    bounds: &mut SmallVec<[(u128, u128); 4]>,
) {
    let mut best: Option<(f64, usize, (u128, u128))> = None;
    for (component, ((&(low, high), &field), &(from, to))) in
        product.iter().zip(key).zip(cut.iter()).enumerate()
    {
        let value = at.get(field);
        let left = if value < low {
            (from, low - 1)
        } else if value > high {
            (high + 1, to)
        } else {
            continue;
        };
        let kept = ((left.1 - left.0) as f64 + 1.0) / ((to - from) as f64 + 1.0);
        if best.is_none_or(|(most, ..)| kept > most) {
            best = Some((kept, component, left));
        }
    }
    if let Some((_, component, left)) = best
        && let (Some(cut), Some(bound)) = (cut.get_mut(component), bounds.get_mut(component))
    {
        *cut = left;
        *bound = (bound.0.max(left.0), bound.1.min(left.1));
    }
}

/// Bounds as dims. A field of flag bits keeps just the point's own word where it is bounded at all.
fn dims(key: &[Field], bounds: &[(u128, u128)], at: &Point) -> Around {
    key.iter()
        .zip(bounds)
        .filter(|(_, bound)| **bound != (0, u128::MAX))
        .map(|(&field, &(low, high))| match field.kind() {
            FieldKind::Range => (field, Dim::Range(low, high)),
            FieldKind::Bits if low == 0 && high >= field.max_value() => {
                (field, Dim::Bits(firewarden_packet::Cube { mask: 0, value: 0 }))
            }
            FieldKind::Bits => (field, Dim::single(FieldKind::Bits, field.max_value(), at.get(field))),
        })
        .collect()
}

/// The smallest interval around a dim.
fn hull(dim: Dim, field: Field) -> (u128, u128) {
    match dim {
        Dim::Range(low, high) => (low, high),
        Dim::Bits(cube) => (cube.value, cube.value | (!cube.mask & field.max_value())),
    }
}
