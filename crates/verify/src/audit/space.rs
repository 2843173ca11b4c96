//! How chains are reached: by which ways from which base chains, and which rules were written as one.

use super::bases::{Base, bases};
use firewarden_diagnostic::Span;
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{ChainId, Hook, MapData, Rule, RuleRef, Ruleset, Statement, Test, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The most ways into one chain that are told apart.
const MOST_WAYS: usize = 16;

/// A way from a base chain into a chain: the rules that call, outermost first.
#[derive(Clone, Debug)]
pub struct Way {
    /// The base chain.
    pub base: ChainId,
    /// Rules that jump or go, each in the chain that the one before it calls.
    pub calls: Vec<RuleRef>,
}

/// The ways into one chain.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// None for a chain that no base chain comes to.
    pub known: Vec<Way>,
    /// There are more.
    pub more: bool,
}

/// How the chains of a ruleset hang together.
#[derive(Debug)]
pub struct Space<'r> {
    pub(super) ruleset: &'r Ruleset,
    /// For each chain.
    ways: Vec<Ways>,
    /// For each chain, the rules that call it.
    callers: Vec<Vec<RuleRef>>,
    /// The base chains that some packet meets.
    pub(super) bases: BTreeMap<ChainId, Base>,
    /// Every chain after those that call it.
    order: Vec<ChainId>,
    /// For each chain and rule, the first rule of those that were written as one.
    units: Vec<Vec<u32>>,
}

/// For each rule of a chain, the first of the run of rules that were written as one: a condition that takes several
/// rules to say stands in one place of the text.
fn units(rules: &[Rule]) -> Vec<u32> {
    let mut firsts: Vec<u32> = Vec::with_capacity(rules.len());
    for (index, rule) in rules.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| Some((rules.get(at)?, firsts.get(at)?)));
        let first = match before {
            Some((before, first)) if before.span == rule.span && rule.span != Span::default() => *first,
            _ => index as u32,
        };
        firsts.push(first);
    }
    firsts
}

/// The chains that a rule calls.
pub fn called(rule: &Rule, ruleset: &Ruleset) -> Vec<ChainId> {
    let of = |verdict: &Verdict| match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => Some(*to),
        _ => None,
    };
    let mut found = Vec::new();
    for statement in &rule.statements {
        match statement {
            Statement::Verdict(verdict) => found.extend(of(verdict)),
            Statement::VerdictMap { map, .. } => {
                for entry in ruleset.map(*map).map_or(&[][..], |map| &map.entries) {
                    if let MapData::Verdict(verdict) = &entry.data {
                        found.extend(of(verdict));
                    }
                }
            }
            _ => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl<'r> Space<'r> {
    /// O(size of the ruleset).
    pub fn new(ruleset: &'r Ruleset) -> Space<'r> {
        let count = ruleset.chains.len();
        let mut callers: Vec<Vec<RuleRef>> = vec![Vec::new(); count];
        let mut calls: Vec<BTreeSet<ChainId>> = vec![BTreeSet::new(); count];
        for (number, chain) in ruleset.chains.iter().enumerate() {
            for (index, rule) in chain.rules.iter().enumerate() {
                for to in called(rule, ruleset) {
                    if let (Some(of), Some(out)) = (callers.get_mut(to.0 as usize), calls.get_mut(number)) {
                        of.push(RuleRef { chain: ChainId(number as u32), index: index as u32 });
                        out.insert(to);
                    }
                }
            }
        }
        let bases = bases(ruleset, &calls);
        let units = ruleset.chains.iter().map(|chain| units(&chain.rules)).collect();
        let mut space =
            Space { ruleset, ways: vec![Ways::default(); count], callers, bases, order: Vec::new(), units };
        space.find_ways(&calls);
        space
    }

    /// Callers before the called: jumps form no ring.
    fn find_ways(&mut self, calls: &[BTreeSet<ChainId>]) {
        let mut waiting: Vec<usize> = vec![0; calls.len()];
        for to in calls.iter().flatten() {
            if let Some(count) = waiting.get_mut(to.0 as usize) {
                *count += 1;
            }
        }
        let mut ready: Vec<usize> =
            (0..calls.len()).rev().filter(|&at| waiting.get(at) == Some(&0)).collect();
        while let Some(number) = ready.pop() {
            self.order.push(ChainId(number as u32));
            let ways = self.ways_into(ChainId(number as u32));
            if let Some(slot) = self.ways.get_mut(number) {
                *slot = ways;
            }
            for to in calls.get(number).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(to.0 as usize) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(to.0 as usize);
                    }
                }
            }
        }
    }

    fn ways_into(&self, chain: ChainId) -> Ways {
        let mut ways = Ways::default();
        if self.bases.contains_key(&chain) {
            ways.known.push(Way { base: chain, calls: Vec::new() });
        }
        for caller in self.callers.get(chain.0 as usize).into_iter().flatten() {
            let Some(outer) = self.ways.get(caller.chain.0 as usize) else { continue };
            ways.more |= outer.more;
            for way in &outer.known {
                if ways.known.len() == MOST_WAYS {
                    ways.more = true;
                    return ways;
                }
                let mut calls = way.calls.clone();
                calls.push(*caller);
                ways.known.push(Way { base: way.base, calls });
            }
        }
        ways
    }

    /// All chains, each after those that call it.
    pub fn order(&self) -> &[ChainId] {
        &self.order
    }

    /// The rules that were written as one with this rule, the first one first.
    pub fn unit(&self, at: RuleRef) -> impl Iterator<Item = RuleRef> + use<> {
        let firsts = self.units.get(at.chain.0 as usize).map_or(&[][..], Vec::as_slice);
        let first = firsts.get(at.index as usize).copied().unwrap_or(at.index);
        let rest = firsts.get(first as usize + 1..).unwrap_or_default();
        let end = first + 1 + rest.iter().take_while(|&&other| other == first).count() as u32;
        (first..end).map(move |index| RuleRef { chain: at.chain, index })
    }

    /// The first of the rules that were written as one with this rule.
    pub fn first(&self, at: RuleRef) -> RuleRef {
        let firsts = self.units.get(at.chain.0 as usize);
        let index = firsts.and_then(|firsts| firsts.get(at.index as usize)).copied().unwrap_or(at.index);
        RuleRef { chain: at.chain, index }
    }

    /// The ways into a chain.
    pub fn ways(&self, chain: ChainId) -> Option<&Ways> {
        self.ways.get(chain.0 as usize)
    }

    /// The rules that call a chain.
    pub fn callers(&self, chain: ChainId) -> &[RuleRef] {
        self.callers.get(chain.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The hook of a base chain, and the families that it sees.
    pub fn base(&self, chain: ChainId) -> Option<(Hook, &[u128])> {
        self.bases.get(&chain).map(|base| (base.hook, base.families.as_slice()))
    }

    /// True where some rule on the hook may change a packet.
    pub fn rewrites(&self, hook: Hook) -> bool {
        self.bases.values().any(|base| base.hook == hook && base.rewrites)
    }

    /// True where the hook has just one base chain.
    pub fn stands_alone(&self, hook: Hook) -> bool {
        self.bases.values().filter(|base| base.hook == hook).count() == 1
    }

    /// The base chains from which a chain is reached, where its ways are too many to tell apart.
    pub fn roots(&self, chain: ChainId) -> Vec<ChainId> {
        let mut seen = BTreeSet::from([chain]);
        let mut open = vec![chain];
        while let Some(next) = open.pop() {
            for caller in self.callers(next) {
                if seen.insert(caller.chain) {
                    open.push(caller.chain);
                }
            }
        }
        seen.into_iter().filter(|chain| self.bases.contains_key(chain)).collect()
    }
}

/// The atom table is asked whether a rule rolls dice or remembers packets.
pub fn remembers(rule: &Rule, atoms: &AtomTable) -> bool {
    rule.statements.iter().any(|statement| match statement {
        Statement::Test(Test::Atom { atom, .. }) => {
            atoms.get(*atom).is_some_and(|info| info.purity == firewarden_packet::Purity::Stateful)
        }
        _ => false,
    })
}
