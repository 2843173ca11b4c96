//! Conditions at a point and around it: whether a test holds, and how far around the point it keeps its answer.

use crate::lookup::Tables;
use firewarden_packet::{Cube, Dim, Field, Point};
use firewarden_ruleset::ir::Test;
use smallvec::SmallVec;

/// Restrictions that keep an answer the same, in the coordinates of the packet as it is at this moment.
pub(crate) type Around = SmallVec<[(Field, Dim); 2]>;

/// Whether a test holds at a point. O(log elements).
pub(crate) fn holds(test: &Test, at: &Point, tables: &Tables) -> bool {
    match test {
        Test::Range { field, set } => set.contains(at.get(*field)),
        Test::Bits { field, cubes, negated } => {
            let word = at.get(*field);
            cubes.iter().any(|cube| cube.contains(word)) != *negated
        }
        Test::Masked { field, mask, set } => set.contains(at.get(*field) & **mask),
        Test::Lookup { key, set, negated } => tables.set(*set).find(key, at).is_some() != *negated,
        Test::Atom { atom, negated } => (at.get(*atom) != 0) != *negated,
    }
}

/// The restrictions around a point within which the test keeps the answer it has at the point. `image` is the part of
/// the space that is still of interest: restrictions that it meets already are preferred.
/// O(log elements) for one field, O(elements near the point) for products.
pub(crate) fn around(test: &Test, at: &Point, tables: &Tables, image: &dyn Fn(Field) -> Dim) -> Around {
    match test {
        Test::Range { field, set } => {
            let (low, high) = set.stretch(at.get(*field));
            SmallVec::from_slice(&[(*field, Dim::Range(low, high))])
        }
        Test::Bits { field, cubes, .. } => bits_around(*field, cubes, at.get(*field), image),
        Test::Masked { field, mask, .. } => {
            let value = at.get(*field);
            let free = match mask.trailing_zeros() {
                128 => u128::MAX,
                zeros => (1u128 << zeros) - 1,
            };
            SmallVec::from_slice(&[(*field, Dim::Range(value & !free, value | free))])
        }
        Test::Lookup { key, set, .. } => tables.set(*set).around(key, at, image),
        Test::Atom { atom, .. } => {
            let value = at.get(*atom);
            SmallVec::from_slice(&[(*atom, Dim::Range(value, value))])
        }
    }
}

/// In a cube: that cube. In none of them: for each cube one bit that differs, preferably one that is fixed already.
fn bits_around(field: Field, cubes: &[Cube], word: u128, image: &dyn Fn(Field) -> Dim) -> Around {
    let known = match image(field) {
        Dim::Bits(cube) => cube,
        Dim::Range(..) => Cube { mask: 0, value: 0 },
    };
    let inside = cubes.iter().filter(|cube| cube.contains(word));
    if let Some(cube) = inside.min_by_key(|cube| (cube.mask & !known.mask).count_ones()) {
        return SmallVec::from_slice(&[(field, Dim::Bits(*cube))]);
    }
    let mut fixed = 0;
    for cube in cubes {
        let differing = (word ^ cube.value) & cube.mask;
        if differing & (fixed | known.mask) == 0 {
            fixed |= differing & differing.wrapping_neg();
        }
    }
    // Bits that the image fixes already tell the cubes apart too; naming them again costs nothing.
    let mask = fixed | known.mask;
    SmallVec::from_slice(&[(field, Dim::Bits(Cube::new(mask, word)))])
}

/// True only where the test surely fails everywhere in the image; may miss cases, which costs time and nothing else.
pub(crate) fn fails_everywhere(test: &Test, tables: &Tables, image: &dyn Fn(Field) -> Dim) -> bool {
    match test {
        Test::Range { field, set } => match image(*field) {
            Dim::Range(low, high) => !set.overlaps(low, high),
            Dim::Bits(_) => false,
        },
        Test::Bits { field, cubes, negated } => match image(*field) {
            Dim::Bits(part) if *negated => cubes.iter().any(|cube| cube.covers(part)),
            Dim::Bits(part) => !cubes.iter().any(|cube| cube.overlaps(part)),
            Dim::Range(..) => false,
        },
        Test::Masked { field, mask, set } => match image(*field) {
            Dim::Range(low, high) if low == high => !set.contains(low & **mask),
            _ => false,
        },
        Test::Lookup { key, set, negated } => {
            let set = tables.set(*set);
            if *negated { set.covers(key, image) } else { !set.overlaps(key, image) }
        }
        Test::Atom { atom, negated } => match image(*atom) {
            Dim::Range(low, high) if low == high => (low != 0) == *negated,
            _ => false,
        },
    }
}

/// The part of a box that a list of restrictions leaves, as a measure for choosing among cuts: the sum of what each
/// restriction loses, in bits. 0 means that nothing is lost.
pub(crate) fn loss(around: &Around, image: &dyn Fn(Field) -> Dim) -> f32 {
    around
        .iter()
        .map(|(field, dim)| {
            let own = image(*field);
            match own.intersect(dim) {
                Some(common) if common == own => 0.0,
                Some(common) => (own.log2_size(field.width()) - common.log2_size(field.width())).max(0.000_1),
                None => f32::INFINITY,
            }
        })
        .sum()
}
