//! Masks, shifts and exclusive ors in front of a field, and the way back from what comes out to what went in.

use crate::syntax::nft::ast::BinaryOp;
use firewarden_packet::{Cube, IntervalSet};
use smallvec::SmallVec;

/// A word made of the bits of another: `(word shifted by shift) & and ^ xor`, within `bits` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Linear {
    /// Bits that come from the word, where they are after the shift.
    pub(super) and: u128,
    /// Bits that are flipped, or set where none comes through.
    pub(super) xor: u128,
    /// To the left where positive.
    pub(super) shift: i32,
    full: u128,
}

impl Linear {
    /// The word itself.
    pub(super) fn identity(bits: u32) -> Linear {
        let full = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        Linear { and: full, xor: 0, shift: 0, full }
    }

    /// True where nothing was done to the word.
    pub(super) fn is_identity(&self) -> bool {
        self.and == self.full && self.xor == 0 && self.shift == 0
    }

    /// The word for a wider target: bits that don't fit `bits` are lost only there.
    pub(super) fn widened(mut self, bits: u32) -> Linear {
        let wider = Linear::identity(bits).full;
        self.full |= wider;
        self
    }

    /// One more operation with a constant.
    pub(super) fn then(mut self, op: BinaryOp, constant: u128) -> Linear {
        let constant = constant & self.full;
        match op {
            BinaryOp::And => {
                self.and &= constant;
                self.xor &= constant;
            }
            BinaryOp::Or => {
                self.and &= !constant;
                self.xor |= constant;
            }
            BinaryOp::Xor => self.xor ^= constant,
            BinaryOp::ShiftLeft | BinaryOp::ShiftRight => {}
        }
        self
    }

    /// One more shift, to the left where positive.
    pub(super) fn shifted(mut self, by: i32) -> Linear {
        let by = by.clamp(-128, 128);
        self.and = shift(self.and, by) & self.full;
        self.xor = shift(self.xor, by) & self.full;
        self.shift = (self.shift + by).clamp(-128, 128);
        self
    }

    /// What comes out for a word.
    pub(super) fn apply(&self, word: u128) -> u128 {
        shift(word, self.shift) & self.and ^ self.xor
    }

    /// The mask of the bits of the word that matter.
    pub(super) fn word_mask(&self) -> u128 {
        shift(self.and, -self.shift)
    }

    /// The words for which a value between `low` and `high` comes out, as cubes under [`Linear::word_mask`].
    pub(super) fn preimage(&self, low: u128, high: u128, out: &mut SmallVec<[Cube; 1]>) {
        let width = 128 - self.full.leading_zeros();
        for cube in Cube::of_range(low, high, width) {
            let wanted = cube.value ^ (self.xor & cube.mask);
            if wanted & !self.and != 0 {
                // A bit that is always the same would have to be the other one.
                continue;
            }
            let mask = cube.mask & self.and;
            out.push(Cube::new(shift(mask, -self.shift), shift(wanted & mask, -self.shift)));
        }
    }
}

fn shift(word: u128, by: i32) -> u128 {
    let count = by.unsigned_abs();
    let shifted = if by >= 0 { word.checked_shl(count) } else { word.checked_shr(count) };
    shifted.unwrap_or(0)
}

/// Cubes as intervals of `width` bits, where each of them fixes its upper bits and leaves the lower ones free.
pub(super) fn as_intervals(cubes: &[Cube], width: u32) -> Option<IntervalSet> {
    let full = Linear::identity(width).full;
    let mut ranges = Vec::with_capacity(cubes.len());
    for cube in cubes {
        let free = full & !cube.mask;
        if free & free.wrapping_add(1) != 0 {
            return None;
        }
        ranges.push((cube.value, cube.value | free));
    }
    Some(IntervalSet::from_ranges(ranges))
}

/// Cubes as intervals of words under `mask`.
pub(super) fn as_masked(cubes: &[Cube], mask: u128) -> IntervalSet {
    cubes.iter().map(|cube| (cube.value, cube.value | (mask & !cube.mask))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preimages_are_exact_on_small_words() {
        let bits = 6;
        for (op, constant) in [
            (BinaryOp::And, 0b11_0000),
            (BinaryOp::And, 0b00_0111),
            (BinaryOp::Or, 0b01_0010),
            (BinaryOp::Xor, 0b10_1010),
        ] {
            for by in [-2, 0, 1] {
                let linear = Linear::identity(bits).then(op, constant).shifted(by);
                for (low, high) in [(0, 0), (3, 17), (16, 16), (5, 63)] {
                    let mut cubes = SmallVec::new();
                    linear.preimage(low, high, &mut cubes);
                    for word in 0..64 {
                        let value = linear.apply(word);
                        let expected = low <= value && value <= high;
                        assert_eq!(
                            cubes.iter().any(|cube| cube.contains(word)),
                            expected,
                            "{op:?} {by} {word}"
                        );
                        let mask = linear.word_mask();
                        assert_eq!(as_masked(&cubes, mask).contains(word & mask), expected);
                    }
                }
            }
        }
    }
}
