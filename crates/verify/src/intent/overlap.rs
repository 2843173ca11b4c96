//! Which of many intervals meet a given one.

/// Intervals with a number each, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    /// Lowest value, highest value and number, sorted.
    spans: Vec<(u128, u128, usize)>,
    /// The highest values, sorted.
    ends: Vec<u128>,
    /// The largest highest value of each subtree. The tree is implied: the middle of a run of `spans` is its root, the
    /// halves beside it are the subtrees.
    reach: Vec<u128>,
}

impl Overlaps {
    /// O(n log n).
    pub fn new(mut spans: Vec<(u128, u128, usize)>) -> Overlaps {
        spans.sort_unstable();
        let mut ends: Vec<u128> = spans.iter().map(|span| span.1).collect();
        ends.sort_unstable();
        let mut reach = vec![0; spans.len()];
        fill(&spans, &mut reach);
        Overlaps { spans, ends, reach }
    }

    /// How many intervals meet `low..=high`. O(log n).
    pub fn count(&self, low: u128, high: u128) -> usize {
        let begun = self.spans.partition_point(|span| span.0 <= high);
        let over = self.ends.partition_point(|&end| end < low);
        begun.saturating_sub(over)
    }

    /// Adds the numbers of the intervals that meet `low..=high` to `found`. O(log n + found).
    pub fn collect(&self, low: u128, high: u128, found: &mut Vec<usize>) {
        collect(&self.spans, &self.reach, low, high, found);
    }
}

/// Recursion halves the run, so its depth is the logarithm of the number of intervals.
fn fill(spans: &[(u128, u128, usize)], reach: &mut [u128]) -> u128 {
    let middle = spans.len() / 2;
    let (Some(root), Some((left, rest))) = (spans.get(middle), spans.split_at_checked(middle)) else {
        return 0;
    };
    let Some((left_reach, rest_reach)) = reach.split_at_mut_checked(middle) else { return 0 };
    let Some((own, right_reach)) = rest_reach.split_first_mut() else { return 0 };
    let right = rest.get(1..).unwrap_or_default();
    *own = root.1.max(fill(left, left_reach)).max(fill(right, right_reach));
    *own
}

fn collect(spans: &[(u128, u128, usize)], reach: &[u128], low: u128, high: u128, found: &mut Vec<usize>) {
    let middle = spans.len() / 2;
    let (Some(&(from, to, number)), Some(&end)) = (spans.get(middle), reach.get(middle)) else { return };
    if end < low {
        return;
    }
    let left = (spans.get(..middle).unwrap_or_default(), reach.get(..middle).unwrap_or_default());
    collect(left.0, left.1, low, high, found);
    if from > high {
        return;
    }
    if to >= low {
        found.push(number);
    }
    let right = (spans.get(middle + 1..).unwrap_or_default(), reach.get(middle + 1..).unwrap_or_default());
    collect(right.0, right.1, low, high, found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_scan_finds() {
        // A linear congruential generator: nested, equal, touching and far intervals.
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u128::from((state >> 33) % below)
        };
        for size in [0usize, 1, 2, 3, 50, 257] {
            let mut spans: Vec<(u128, u128, usize)> = Vec::new();
            for number in 0..size {
                let (low, length) = (next(400), [0, 3, 100, 1_000][next(4) as usize]);
                spans.push((low, low + length, number));
            }
            let overlaps = Overlaps::new(spans.clone());
            for _ in 0..200 {
                let low = next(500);
                let high = low + next(60);
                let mut found = Vec::new();
                overlaps.collect(low, high, &mut found);
                found.sort_unstable();
                let meets = |span: &&(u128, u128, usize)| span.0 <= high && low <= span.1;
                let scanned: Vec<usize> = spans.iter().filter(meets).map(|span| span.2).collect();
                assert_eq!(found, scanned, "{low}..={high} among {spans:?}");
                assert_eq!(overlaps.count(low, high), scanned.len());
            }
        }
        let whole = Overlaps::new(vec![(0, u128::MAX, 0)]);
        assert_eq!(whole.count(u128::MAX, u128::MAX), 1);
    }
}
