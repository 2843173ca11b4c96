//! Sets of numbers as sorted intervals.

use smallvec::SmallVec;

/// A set of numbers: sorted, disjoint, non-adjacent intervals with both ends included.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
pub struct IntervalSet {
    parts: SmallVec<[(u128, u128); 1]>,
}

// Copies the intervals as they are; the derived one would go through them one by one.
impl Clone for IntervalSet {
    fn clone(&self) -> IntervalSet {
        IntervalSet { parts: SmallVec::from_slice(&self.parts) }
    }
}

impl IntervalSet {
    /// No number.
    pub fn empty() -> IntervalSet {
        IntervalSet::default()
    }

    /// Every number from 0 to `max`.
    pub fn up_to(max: u128) -> IntervalSet {
        IntervalSet::range(0, max)
    }

    /// One number.
    #[inline]
    pub fn single(value: u128) -> IntervalSet {
        IntervalSet::range(value, value)
    }

    /// The numbers from `low` to `high`, both included; empty when `low > high`.
    #[inline]
    pub fn range(low: u128, high: u128) -> IntervalSet {
        let mut parts = SmallVec::new();
        if low <= high {
            parts.push((low, high));
        }
        IntervalSet { parts }
    }

    /// The union of any intervals, in any order. O(n log n).
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u128, u128)>) -> IntervalSet {
        let mut parts: SmallVec<[(u128, u128); 1]> =
            ranges.into_iter().filter(|(low, high)| low <= high).collect();
        parts.sort_unstable();
        let mut merged: SmallVec<[(u128, u128); 1]> = SmallVec::new();
        for (low, high) in parts {
            match merged.last_mut() {
                Some(last) if last.1 == u128::MAX || low <= last.1 + 1 => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        merged.shrink_to_fit();
        IntervalSet { parts: merged }
    }

    /// The intervals in ascending order.
    #[inline]
    pub fn ranges(&self) -> &[(u128, u128)] {
        &self.parts
    }

    /// True where there is no number in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Membership. O(log n).
    #[inline]
    pub fn contains(&self, value: u128) -> bool {
        let at = self.parts.partition_point(|&(_, high)| high < value);
        self.parts.get(at).is_some_and(|&(low, _)| low <= value)
    }

    /// True where some number of `low..=high` is in the set. O(log n).
    pub fn overlaps(&self, low: u128, high: u128) -> bool {
        let at = self.parts.partition_point(|&(_, part_high)| part_high < low);
        self.parts.get(at).is_some_and(|&(part_low, _)| part_low <= high)
    }

    /// True where every number of `low..=high` is in the set. O(log n).
    pub fn covers(&self, low: u128, high: u128) -> bool {
        let at = self.parts.partition_point(|&(_, part_high)| part_high < low);
        self.parts.get(at).is_some_and(|&(part_low, part_high)| part_low <= low && high <= part_high)
    }

    /// The largest interval around `value` whose numbers are all in the set, or all out of it, as `value` is; within
    /// `0..=u128::MAX`. O(log n).
    pub fn stretch(&self, value: u128) -> (u128, u128) {
        let at = self.parts.partition_point(|&(_, high)| high < value);
        match self.parts.get(at) {
            Some(&(low, high)) if low <= value => (low, high),
            next => {
                let low = match at.checked_sub(1).and_then(|before| self.parts.get(before)) {
                    Some(&(_, high)) => high + 1,
                    None => 0,
                };
                (low, next.map_or(u128::MAX, |&(next_low, _)| next_low - 1))
            }
        }
    }

    /// The smallest interval that holds the set; `None` for the empty set.
    #[inline]
    pub fn hull(&self) -> Option<(u128, u128)> {
        Some((self.parts.first()?.0, self.parts.last()?.1))
    }

    /// The numbers from 0 to `max` that aren't in the set. O(n).
    pub fn complement(&self, max: u128) -> IntervalSet {
        let mut parts = SmallVec::new();
        let mut next = Some(0);
        for &(low, high) in &self.parts {
            let Some(from) = next else { break };
            if low > max {
                break;
            }
            if from < low {
                parts.push((from, low - 1));
            }
            next = high.checked_add(1);
        }
        if let Some(from) = next.filter(|&from| from <= max) {
            parts.push((from, max));
        }
        IntervalSet { parts }
    }

    /// The numbers in both. O(n + m).
    pub fn intersect(&self, other: &IntervalSet) -> IntervalSet {
        if let (&[(low, high)], &[(other_low, other_high)]) = (self.ranges(), other.ranges()) {
            return IntervalSet::range(low.max(other_low), high.min(other_high));
        }
        let (mut left, mut right) = (self.parts.iter().peekable(), other.parts.iter().peekable());
        let mut parts = SmallVec::new();
        while let (Some(&&(a_low, a_high)), Some(&&(b_low, b_high))) = (left.peek(), right.peek()) {
            let (low, high) = (a_low.max(b_low), a_high.min(b_high));
            if low <= high {
                parts.push((low, high));
            }
            if a_high < b_high {
                left.next()
            } else {
                right.next()
            };
        }
        IntervalSet { parts }
    }

    /// The numbers in either. O((n + m) log (n + m)).
    pub fn union(&self, other: &IntervalSet) -> IntervalSet {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        IntervalSet::from_ranges(self.parts.iter().chain(&other.parts).copied())
    }

    /// The numbers of `self` that aren't in `other`. O(n + m).
    pub fn subtract(&self, other: &IntervalSet) -> IntervalSet {
        match (self.hull(), other.hull()) {
            (Some((low, high)), Some((other_low, other_high))) if low <= other_high && other_low <= high => {}
            _ => return self.clone(),
        }
        self.intersect(&other.complement(u128::MAX))
    }
}

impl FromIterator<(u128, u128)> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = (u128, u128)>>(ranges: I) -> IntervalSet {
        IntervalSet::from_ranges(ranges)
    }
}
