//! One side of a box: the values that a field may take.

use crate::FieldKind;
use smallvec::SmallVec;

/// Some bits fixed, the others free: `value & mask == self.value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cube {
    /// The fixed bits.
    pub mask: u128,
    /// Their values; no bit outside `mask`.
    pub value: u128,
}

impl Cube {
    /// The cube of words that agree with `value` on `mask`.
    pub fn new(mask: u128, value: u128) -> Cube {
        Cube { mask, value: value & mask }
    }

    /// Membership.
    pub fn contains(self, word: u128) -> bool {
        word & self.mask == self.value
    }

    /// True where some word is in both.
    pub fn overlaps(self, other: Cube) -> bool {
        (self.value ^ other.value) & self.mask & other.mask == 0
    }

    /// True where every word of `other` is in `self`.
    pub fn covers(self, other: Cube) -> bool {
        self.mask & !other.mask == 0 && other.value & self.mask == self.value
    }

    /// The cubes whose union is `low..=high` within `width` bits: at most `2 * width`. The usual split into prefixes.
    pub fn of_range(low: u128, high: u128, width: u32) -> Vec<Cube> {
        let full = if width >= 128 { u128::MAX } else { (1 << width) - 1 };
        let mut cubes = Vec::new();
        let (mut from, high) = (low, high.min(full));
        while from <= high {
            let mut free_bits = from.trailing_zeros().min(width);
            while free_bits > 0 && (free_bits >= 128 || (from | ((1 << free_bits) - 1)) > high) {
                free_bits -= 1;
            }
            let free = (1u128 << free_bits) - 1;
            cubes.push(Cube::new(full & !free, from));
            match (from | free).checked_add(1) {
                Some(next) => from = next,
                None => break,
            }
        }
        cubes
    }
}

/// The values of one field in a box: an interval or a cube, by the field's [`FieldKind`]. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// From the first to the second, both included.
    Range(u128, u128),
    /// Some bits fixed.
    Bits(Cube),
}

impl Dim {
    /// Just one value of a field of this kind and width.
    #[inline]
    pub fn single(kind: FieldKind, max: u128, value: u128) -> Dim {
        match kind {
            FieldKind::Range => Dim::Range(value, value),
            FieldKind::Bits => Dim::Bits(Cube::new(max, value)),
        }
    }

    /// Membership.
    #[inline]
    pub fn contains(&self, value: u128) -> bool {
        match *self {
            Dim::Range(low, high) => low <= value && value <= high,
            Dim::Bits(cube) => cube.contains(value),
        }
    }

    /// The values in both; `None` where there are none. Dims of one field are of one kind; where they aren't, `None`.
    #[inline]
    pub fn intersect(&self, other: &Dim) -> Option<Dim> {
        match (*self, *other) {
            (Dim::Range(a, b), Dim::Range(c, d)) => {
                let (low, high) = (a.max(c), b.min(d));
                (low <= high).then_some(Dim::Range(low, high))
            }
            (Dim::Bits(a), Dim::Bits(b)) => {
                a.overlaps(b).then_some(Dim::Bits(Cube { mask: a.mask | b.mask, value: a.value | b.value }))
            }
            _ => None,
        }
    }

    /// True where every value of `other` is in `self`.
    pub fn covers(&self, other: &Dim) -> bool {
        match (*self, *other) {
            (Dim::Range(a, b), Dim::Range(c, d)) => a <= c && d <= b,
            (Dim::Bits(a), Dim::Bits(b)) => a.covers(b),
            _ => false,
        }
    }

    /// `self` without `other`, as disjoint dims: at most two intervals, or one cube for each bit. O(bits).
    pub fn subtract(&self, other: &Dim) -> SmallVec<[Dim; 2]> {
        let Some(common) = self.intersect(other) else { return SmallVec::from_elem(*self, 1) };
        let mut rest = SmallVec::new();
        match (*self, common) {
            (Dim::Range(low, high), Dim::Range(cut_low, cut_high)) => {
                if low < cut_low {
                    rest.push(Dim::Range(low, cut_low - 1));
                }
                if cut_high < high {
                    rest.push(Dim::Range(cut_high + 1, high));
                }
            }
            (Dim::Bits(own), Dim::Bits(cut)) => {
                let mut fixed = own;
                let mut bits = cut.mask & !own.mask;
                while bits != 0 {
                    let bit = bits & bits.wrapping_neg();
                    bits &= !bit;
                    rest.push(Dim::Bits(Cube {
                        mask: fixed.mask | bit,
                        value: fixed.value | (!cut.value & bit),
                    }));
                    fixed = Cube { mask: fixed.mask | bit, value: fixed.value | (cut.value & bit) };
                }
            }
            _ => {}
        }
        rest
    }

    /// The value nearest to `wanted`: for bits, `wanted` with the fixed bits put right.
    pub fn nearest(&self, wanted: u128) -> u128 {
        match *self {
            Dim::Range(low, high) => wanted.clamp(low, high),
            Dim::Bits(cube) => (wanted & !cube.mask) | cube.value,
        }
    }

    /// The smallest value.
    pub fn first(&self) -> u128 {
        match *self {
            Dim::Range(low, _) => low,
            Dim::Bits(cube) => cube.value,
        }
    }

    /// Roughly the logarithm to base 2 of the number of values, for choosing the cut that keeps most. `width` is the
    /// field's.
    pub fn log2_size(&self, width: u32) -> f32 {
        match *self {
            Dim::Range(low, high) => (((high - low) as f32) + 1.0).log2(),
            Dim::Bits(cube) => width.saturating_sub(cube.mask.count_ones()) as f32,
        }
    }
}
