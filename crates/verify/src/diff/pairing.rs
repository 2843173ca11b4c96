//! Which rules of two rulesets are the same rule, kept in the same order.
//!
//! Chains go together by family, table and name. Within two chains, rules go together where they are canonically equal,
//! as many as keep their order: a packet that meets none of the other rules meets the same rules in the same order
//! before and after, and so the same fate.

use super::canonical::Canonical;
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Chain, ChainId, Family, Rule, Ruleset, Statement, Test, Verdict};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher;
use std::ops::Range;

/// Two chains that go together, and their rules.
#[derive(Debug)]
pub(super) struct ChainPair {
    pub before: ChainId,
    pub after: ChainId,
    /// Rules that are in both, in order.
    pub kept: Vec<(u32, u32)>,
    /// Rules of the first chain that the second one doesn't have at their place.
    pub removed: Vec<u32>,
    /// Rules of the second chain that the first one doesn't have at their place.
    pub added: Vec<u32>,
}

/// What goes together in two rulesets.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    pub chains: Vec<ChainPair>,
    /// Chains with a name that only one of them has.
    pub only_before: Vec<ChainId>,
    pub only_after: Vec<ChainId>,
}

type Key<'k> = (Family, &'k str, &'k str);

/// O(n log n) in the size of the rulesets. Both have their dynamic fields from `atoms`.
pub(super) fn pair(before: &Ruleset, after: &Ruleset, atoms: &AtomTable) -> Pairing {
    let keys = (chains_by_name(before), chains_by_name(after));
    let canonical = (Canonical { ruleset: before, atoms }, Canonical { ruleset: after, atoms });
    let mut pairing = Pairing::default();
    let mut waiting = Vec::new();
    for (key, &id) in &keys.0 {
        match keys.1.get(key) {
            Some(&other) => waiting.push((id, other)),
            None => pairing.only_before.push(id),
        }
    }
    pairing.only_after =
        keys.1.iter().filter(|(key, _)| !keys.0.contains_key(*key)).map(|(_, id)| *id).collect();
    let mut seen: BTreeSet<(ChainId, ChainId)> = waiting.iter().copied().collect();
    while let Some((first, second)) = waiting.pop() {
        let (Some(left), Some(right)) = (before.chain(first), after.chain(second)) else { continue };
        let found = pair_rules(left, right, first, second, &canonical);
        // A chain without a name goes with the rule that calls it.
        for &(at, other) in &found.kept {
            let rules = (left.rules.get(at as usize), right.rules.get(other as usize));
            for called in anonymous(rules, before, after) {
                if seen.insert(called) {
                    waiting.push(called);
                }
            }
        }
        pairing.chains.push(found);
    }
    pairing
}

fn chains_by_name(ruleset: &Ruleset) -> BTreeMap<Key<'_>, ChainId> {
    let mut chains = BTreeMap::new();
    for (index, chain) in ruleset.chains.iter().enumerate().filter(|(_, chain)| !chain.name.is_empty()) {
        let id = ChainId(index as u32);
        if let Some(table) = ruleset.table_of(id).filter(|table| !table.dormant) {
            chains.insert((table.family, &*table.name, &*chain.name), id);
        }
    }
    chains
}

/// Of how many rules on both sides together the next common one is looked for, before the rest is paired by hashes.
const WINDOW: usize = 12;

/// So many rules in a row say that two chains go on alike.
const IN_STEP: usize = 3;

/// Two chains whose rules are to be paired. Rules are compared as they stand; bytes are only made of those that need it.
struct Chains<'p> {
    rules: (&'p [Rule], &'p [Rule]),
    canonical: &'p (Canonical<'p>, Canonical<'p>),
}

impl Chains<'_> {
    fn same(&self, at: usize, to: usize) -> bool {
        let (Some(rule), Some(partner)) = (self.rules.0.get(at), self.rules.1.get(to)) else { return false };
        same_as_written(rule, partner).unwrap_or_else(|| {
            let (mut own, mut other) = (Vec::new(), Vec::new());
            self.canonical.0.rule(rule, &mut own);
            self.canonical.1.rule(partner, &mut other);
            own == other
        })
    }

    /// Pairs the rules of two ranges: in step as long as they are the same; where they aren't, from the nearest place on
    /// where they are again. Where there is none near, the rest is paired by hashes.
    fn pair(&self, left: Range<usize>, right: Range<usize>, kept: &mut Vec<(u32, u32)>) {
        let (mut at, mut to) = (left.start, right.start);
        while at < left.end && to < right.end {
            if self.same(at, to) {
                kept.push((at as u32, to as u32));
                (at, to) = (at + 1, to + 1);
                continue;
            }
            let Some((next_at, next_to)) = self.in_step_again((at, left.end), (to, right.end)) else {
                return self.pair_by_hash(at..left.end, to..right.end, kept);
            };
            self.pair_by_hash(at..next_at, to..next_to, kept);
            (at, to) = (next_at, next_to);
        }
    }

    /// The nearest places from which on both sides have the same rules.
    fn in_step_again(&self, left: (usize, usize), right: (usize, usize)) -> Option<(usize, usize)> {
        let in_step = |at: usize, to: usize| {
            let count = IN_STEP.min(left.1.saturating_sub(at)).min(right.1.saturating_sub(to));
            count > 0 && (0..count).all(|step| self.same(at + step, to + step))
        };
        let mut places =
            (1..=WINDOW).flat_map(|both| (0..=both).map(move |skipped| (skipped, both - skipped)));
        places
            .find(|(skipped, added)| in_step(left.0 + skipped, right.0 + added))
            .map(|(skipped, added)| (left.0 + skipped, right.0 + added))
    }

    fn pair_by_hash(&self, left: Range<usize>, right: Range<usize>, kept: &mut Vec<(u32, u32)>) {
        if left.is_empty() || right.is_empty() {
            return;
        }
        let hashes = |rules: &[Rule], canonical: &Canonical<'_>, range: &Range<usize>| -> Vec<u64> {
            let mut bytes = Vec::new();
            let hash = |rule: &Rule| {
                bytes.clear();
                canonical.rule(rule, &mut bytes);
                let mut hasher = DefaultHasher::new();
                hasher.write(&bytes);
                hasher.finish()
            };
            rules.get(range.clone()).unwrap_or_default().iter().map(hash).collect()
        };
        let first = hashes(self.rules.0, &self.canonical.0, &left);
        let second = hashes(self.rules.1, &self.canonical.1, &right);
        for (at, to) in common_subsequence(&first, &second) {
            let (at, to) = (at + left.start, to + right.start);
            // Equal hashes aren't proof.
            if self.same(at, to) {
                kept.push((at as u32, to as u32));
            }
        }
    }
}

/// Whether two rules are canonically equal, as far as that can be told without writing them as bytes: `None` where one
/// of them uses something that is known by an id or a name.
fn same_as_written(rule: &Rule, partner: &Rule) -> Option<bool> {
    let effective = |statement: &&Statement| !matches!(statement, Statement::Neutral(_));
    let (mut own, mut others) =
        (rule.statements.iter().filter(effective), partner.statements.iter().filter(effective));
    loop {
        match (own.next(), others.next()) {
            (None, None) => return Some(true),
            (Some(Statement::Test(test)), Some(Statement::Test(other))) => {
                if !(is_plain(test) && is_plain(other)) {
                    return None;
                }
                if test != other {
                    return Some(false);
                }
            }
            (Some(Statement::Verdict(verdict)), Some(Statement::Verdict(other))) => {
                if !(is_final(verdict) && is_final(other)) {
                    return None;
                }
                if verdict != other {
                    return Some(false);
                }
            }
            (
                Some(Statement::Test(_) | Statement::Verdict(_)) | None,
                Some(Statement::Test(_) | Statement::Verdict(_)),
            )
            | (Some(Statement::Test(_) | Statement::Verdict(_)), None) => return Some(false),
            _ => return None,
        }
    }
}

/// Tests of the packet's own fields by values that stand in the test.
fn is_plain(test: &Test) -> bool {
    match test {
        Test::Range { field, .. } | Test::Bits { field, .. } | Test::Masked { field, .. } => {
            !field.is_dynamic()
        }
        Test::Lookup { .. } | Test::Atom { .. } => false,
    }
}

fn is_final(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Accept | Verdict::Drop | Verdict::Reject(_) | Verdict::Return | Verdict::Continue => true,
        Verdict::Jump(_) | Verdict::Goto(_) | Verdict::Opaque { .. } => false,
    }
}

fn pair_rules(
    left: &Chain,
    right: &Chain,
    first: ChainId,
    second: ChainId,
    canonical: &(Canonical<'_>, Canonical<'_>),
) -> ChainPair {
    let chains = Chains { rules: (&left.rules, &right.rules), canonical };
    let (left_count, right_count) = (left.rules.len(), right.rules.len());
    let shorter = left_count.min(right_count);
    let head = (0..shorter).take_while(|&at| chains.same(at, at)).count();
    let tail =
        (1..=shorter - head).take_while(|&back| chains.same(left_count - back, right_count - back)).count();
    let mut kept: Vec<(u32, u32)> = (0..head as u32).map(|at| (at, at)).collect();
    chains.pair(head..left_count - tail, head..right_count - tail, &mut kept);
    let ends = (1..=tail).rev().map(|back| ((left_count - back) as u32, (right_count - back) as u32));
    kept.extend(ends);
    let missing = |count: usize, kept: &mut dyn Iterator<Item = u32>| -> Vec<u32> {
        let mut there = vec![false; count];
        kept.for_each(|at| {
            if let Some(mark) = there.get_mut(at as usize) {
                *mark = true;
            }
        });
        (0..count as u32).filter(|at| there.get(*at as usize) == Some(&false)).collect()
    };
    let removed = missing(left_count, &mut kept.iter().map(|pair| pair.0));
    let added = missing(right_count, &mut kept.iter().map(|pair| pair.1));
    ChainPair { before: first, after: second, kept, removed, added }
}

/// Pairs of places with equal values, ascending on both sides, as many as the k-th occurrence of each value on one side
/// going with its k-th on the other allows: the longest ascending run through those pairs. O(n log n).
fn common_subsequence(left: &[u64], right: &[u64]) -> Vec<(usize, usize)> {
    let mut places: HashMap<(u64, u32), usize> = HashMap::new();
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for (at, value) in right.iter().enumerate() {
        let count = counts.entry(*value).or_insert(0);
        places.insert((*value, *count), at);
        *count += 1;
    }
    counts.clear();
    // Patience sorting: the last pair of the best run of each length, and each pair's predecessor.
    let mut pairs: Vec<(usize, usize, Option<usize>)> = Vec::new();
    let mut ends: Vec<usize> = Vec::new();
    for (at, value) in left.iter().enumerate() {
        let count = counts.entry(*value).or_insert(0);
        let place = places.get(&(*value, *count));
        *count += 1;
        let Some(&to) = place else { continue };
        let length = ends.partition_point(|&end| pairs.get(end).is_some_and(|pair| pair.1 < to));
        let previous = length.checked_sub(1).and_then(|shorter| ends.get(shorter)).copied();
        pairs.push((at, to, previous));
        match ends.get_mut(length) {
            Some(end) => *end = pairs.len() - 1,
            None => ends.push(pairs.len() - 1),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(&(at, to, previous)) = next.and_then(|index| pairs.get(index)) {
        run.push((at, to));
        next = previous;
    }
    run.reverse();
    run
}

/// The chains without a name that two equal rules call.
fn anonymous(
    rules: (Option<&Rule>, Option<&Rule>),
    before: &Ruleset,
    after: &Ruleset,
) -> Vec<(ChainId, ChainId)> {
    let called = |rule: Option<&Rule>, ruleset: &Ruleset| -> Vec<ChainId> {
        let statements = rule.map(|rule| rule.statements.iter()).into_iter().flatten();
        let targets = statements.filter_map(|statement| match statement {
            Statement::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => Some(*chain),
            _ => None,
        });
        targets.filter(|id| ruleset.chain(*id).is_some_and(|chain| chain.name.is_empty())).collect()
    };
    called(rules.0, before).into_iter().zip(called(rules.1, after)).collect()
}

#[cfg(test)]
mod tests {
    use super::common_subsequence;

    #[test]
    fn the_longest_run_that_keeps_the_order() {
        for (left, right, expected) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], &[(0, 0), (1, 1), (2, 2)][..]),
            (&[1, 2, 3], &[2, 3, 1], &[(1, 0), (2, 1)]),
            (&[1, 1, 1], &[1, 1], &[(0, 0), (1, 1)]),
            (&[5, 1, 2, 3], &[1, 2, 5, 3], &[(1, 0), (2, 1), (3, 3)]),
            (&[1], &[2], &[]),
            (&[], &[2], &[]),
        ] {
            assert_eq!(common_subsequence(left, right), expected, "{left:?} {right:?}");
        }
    }
}
