//! Diff: what a change of rulesets means. Which packets fare differently, by which rules, and nothing else.
//!
//! Rules that are the same before and after are paired first ([`pairing`]); outside of the boxes of the others every
//! packet meets the same rules in the same order ([`changed`]). What is inside is peeled with both engines at once
//! ([`compare`]), and each packet that is shown is replayed by the interpreter. So the cost follows the change, and not the
//! size of the ruleset.

mod atoms;
mod canonical;
mod changed;
mod compare;
mod connections;
mod cover;
mod cross;
mod open;
mod pairing;
mod seen;
mod sets;
mod tell;

pub use atoms::align;
pub use compare::{Arrival, Change, Compared, Decider, DiffOptions, Effect};
pub use connections::{CutConnection, cut_connections};
pub use cover::Summary;
pub use cross::{Direction, Ending};
pub use open::NotCompared;
pub use seen::COMPARED;
pub use sets::{Names, PacketSet, products};
pub use tell::{Telling, ToldChange, ToldRule, Words};

use changed::Way;
use compare::Comparison;
use cross::Crossed;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, Point, Purity};
use firewarden_ruleset::ir::Ruleset;
use pairing::Pairing;
use std::collections::BTreeMap;

/// A host before and after a change, prepared for comparison.
#[derive(Debug)]
pub struct HostPair<'h> {
    before: &'h Host,
    after: &'h Host,
    pairing: Pairing,
}

/// How many rules a change touches, by place, whatever it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Rules that are gone, or stand elsewhere.
    pub removed: usize,
    /// Rules that are new, or stood elsewhere.
    pub added: usize,
}

/// Makes stateful atoms and choices of `after` those of `before` where they stand in the same rule: a `limit` in a rule
/// that didn't change is the same `limit`. Both hosts have their dynamic fields from `atoms`, in one scope.
/// O(n log n) in the size of the rulesets.
pub fn align_atoms(before: &Ruleset, after: &mut Ruleset, atoms: &AtomTable) {
    // Pure ones with the same text are the same field already.
    if atoms.iter().all(|(_, info)| info.purity == Purity::Pure) {
        return;
    }
    let pairing = pairing::pair(before, after, atoms);
    atoms::align_pairs(before, after, atoms, &pairing);
    align(before, after, atoms, |atoms, field| {
        atoms.get(field).map(|info| (info.kind.clone(), info.text.clone()))
    });
}

impl<'h> HostPair<'h> {
    /// Prepares a host whose atoms are aligned (see [`align_atoms`]). O(n log n) in the size of the rulesets.
    pub fn new(before: &'h Host, after: &'h Host, atoms: &AtomTable) -> HostPair<'h> {
        HostPair { before, after, pairing: pairing::pair(&before.ruleset, &after.ruleset, atoms) }
    }

    /// Rules that only one side has at their place.
    pub fn touched(&self) -> Touched {
        let count = |ruleset: &Ruleset, ids: &[firewarden_ruleset::ir::ChainId]| -> usize {
            ids.iter().filter_map(|id| ruleset.chain(*id)).map(|chain| chain.rules.len()).sum()
        };
        let chains = &self.pairing.chains;
        Touched {
            removed: chains.iter().map(|pair| pair.removed.len()).sum::<usize>()
                + count(&self.before.ruleset, &self.pairing.only_before),
            added: chains.iter().map(|pair| pair.added.len()).sum::<usize>()
                + count(&self.after.ruleset, &self.pairing.only_after),
        }
    }

    /// The packets that fare differently. The cost follows the rules that changed: each set of packets that fares alike
    /// on both sides costs two runs through the hooks.
    pub fn compare(&self, atoms: &AtomTable, options: DiffOptions) -> Compared {
        let questions = changed::changed(&self.before.ruleset, &self.after.ruleset, atoms, &self.pairing);
        if questions.is_empty() {
            return Compared::default();
        }
        let (before, after) = (Crossed::new(self.before), Crossed::new(self.after));
        let mut comparison = Comparison {
            before: &before,
            after: &after,
            atoms,
            options,
            budget: options.steps,
            found: Compared::default(),
            groups: BTreeMap::new(),
        };
        comparison.run(questions);
        comparison.found
    }
}

/// Leads one packet across one host, by the interpreter: a packet with an input interface comes from outside, one without
/// is made on the host. Gives where it ended, and the packet as it was then. O(rules).
pub fn follow(host: &Host, packet: &Point, atoms: &AtomTable) -> (Ending, Point) {
    let way = if packet.get(Field::IIFNAME) == 0 { Way::Leaving } else { Way::Arriving };
    Crossed::new(host).replay(way, packet, atoms)
}
