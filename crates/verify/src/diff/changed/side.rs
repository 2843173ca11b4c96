//! One of two rulesets that are compared: what its rules can tell of the packets as they came.

use crate::diff::canonical::Canonical;
use firewarden_packet::{AtomTable, Dim, Field, PacketBox, ct_state};
use firewarden_ruleset::ir::{
    BaseChain, ChainId, ChainType, Hook, MapData, NatDirection, Product, Rule, RuleRef, Ruleset, Statement,
    Test, Verdict,
};
use std::collections::BTreeSet;

/// What the rules of both rulesets write.
#[derive(Clone, Default)]
pub(super) struct Written {
    /// Fields that some rule writes, NAT aside.
    fields: BTreeSet<Field>,
    /// Whether some rule translates destinations, or sources.
    translates: (bool, bool),
}

impl Written {
    fn add(&mut self, statement: &Statement) {
        match statement {
            Statement::Assign { field, .. } => {
                self.fields.insert(*field);
            }
            Statement::Opaque { fields } => self.fields.extend(fields.iter().map(|(field, _)| *field)),
            Statement::Notrack => {
                self.fields.insert(Field::CT_STATE);
            }
            Statement::Nat(nat) => match nat.direction {
                NatDirection::Destination => self.translates.0 = true,
                NatDirection::Source => self.translates.1 = true,
            },
            Statement::Test(_)
            | Statement::Verdict(_)
            | Statement::VerdictMap { .. }
            | Statement::Neutral(_) => {}
        }
    }
}

/// For each chain, the rules that may call it, once for each way in which they do.
struct Calls(Vec<Vec<RuleRef>>);

impl Calls {
    /// Goes through all rules once, and adds what they write to `written`.
    fn of(ruleset: &Ruleset, written: &mut Written) -> Calls {
        let mut calls: Vec<Vec<RuleRef>> = vec![Vec::new(); ruleset.chains.len()];
        for (number, chain) in ruleset.chains.iter().enumerate() {
            for (index, rule) in chain.rules.iter().enumerate() {
                let caller = RuleRef { chain: ChainId(number as u32), index: index as u32 };
                for statement in &rule.statements {
                    written.add(statement);
                    each_call(statement, ruleset, &mut |target| {
                        if let Some(callers) = calls.get_mut(target.0 as usize) {
                            callers.push(caller);
                        }
                    });
                }
            }
        }
        Calls(calls)
    }

    fn callers(&self, chain: ChainId) -> &[RuleRef] {
        self.0.get(chain.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// For each chain, those that it calls.
    fn called(&self) -> Vec<BTreeSet<ChainId>> {
        let mut called = vec![BTreeSet::new(); self.0.len()];
        for (number, callers) in self.0.iter().enumerate() {
            for caller in callers {
                if let Some(called) = called.get_mut(caller.chain.0 as usize) {
                    called.insert(ChainId(number as u32));
                }
            }
        }
        called
    }
}

/// One of the two rulesets, with what is asked of it again and again.
pub(super) struct Side<'s> {
    pub ruleset: &'s Ruleset,
    pub canonical: Canonical<'s>,
    /// For each chain, the base chains from which it can be reached.
    pub bases: Vec<BTreeSet<ChainId>>,
    /// For each chain, a box around the packets that are sent there, in fields that nothing writes.
    pub callers: Vec<PacketBox>,
    written: Written,
}

impl<'s> Side<'s> {
    /// Both sides. O(size of the rulesets), and chains × calls.
    pub fn both(before: &'s Ruleset, after: &'s Ruleset, atoms: &'s AtomTable) -> [Side<'s>; 2] {
        let mut written = Written::default();
        let calls = [before, after].map(|ruleset| Calls::of(ruleset, &mut written));
        let [old, new] = calls;
        [(before, old), (after, new)].map(|(ruleset, calls)| {
            let mut side = Side {
                ruleset,
                canonical: Canonical { ruleset, atoms },
                bases: vec![BTreeSet::new(); ruleset.chains.len()],
                callers: Vec::new(),
                written: written.clone(),
            };
            side.find_bases(&calls);
            side.find_callers(&calls);
            side
        })
    }

    /// O(chains × calls), since a chain may come before those that call it.
    fn find_bases(&mut self, calls: &Calls) {
        let called = calls.called();
        let mut waiting: Vec<(ChainId, ChainId)> = Vec::new();
        let chains = self.ruleset.chains.iter().enumerate();
        waiting.extend(
            chains
                .filter(|(_, chain)| chain.base.is_some())
                .map(|(index, _)| (ChainId(index as u32), ChainId(index as u32))),
        );
        while let Some((chain, base)) = waiting.pop() {
            let Some(known) = self.bases.get_mut(chain.0 as usize) else { continue };
            if !known.insert(base) {
                continue;
            }
            let called = called.get(chain.0 as usize).into_iter().flatten();
            waiting.extend(called.map(|&target| (target, base)));
        }
    }

    /// Chains that one rule calls, from a chain whose own callers are known: the box of that rule. Others: all packets.
    fn find_callers(&mut self, calls: &Calls) {
        let count = self.ruleset.chains.len();
        self.callers = vec![PacketBox::all(); count];
        for index in 0..count {
            // From the chain up to its base chain, as long as there is one caller; calls make no ring.
            let mut at = ChainId(index as u32);
            let mut around = PacketBox::all();
            for _ in 0..count {
                let [caller] = calls.callers(at) else { break };
                let Some(rule) = self.ruleset.rule(*caller) else { break };
                let Some(hull) = self.hull(rule, caller.chain) else { break };
                let Some(common) = around.intersect(&hull) else { break };
                around = common;
                at = caller.chain;
            }
            if let Some(slot) = self.callers.get_mut(index) {
                *slot = around;
            }
        }
    }

    /// Whether a rule of this chain that asks for these values of a field is met only by packets that came with them.
    pub fn tells(&self, field: Field, dim: &Dim, chain: ChainId) -> bool {
        // Conntrack calls packets of neighbour discovery untracked, whatever they came as.
        let set_by_conntrack = field == Field::CT_STATE && dim.contains(ct_state::UNTRACKED);
        !set_by_conntrack && self.is_original(field, chain)
    }

    /// Fields whose value at a rule of this chain is the one the packet came with.
    fn is_original(&self, field: Field, chain: ChainId) -> bool {
        if field.is_dynamic() {
            return !self.written.fields.contains(&field);
        }
        if self.written.fields.contains(&field) {
            return false;
        }
        let bases = self.bases.get(chain.0 as usize).into_iter().flatten();
        let mut bases = bases.filter_map(|id| self.ruleset.chain(*id)?.base.as_ref());
        bases.all(|base| match field {
            Field::NFPROTO | Field::L4PROTO | Field::TCP_FLAGS | Field::ICMP_TYPE | Field::ICMP_CODE => true,
            Field::IIFNAME => true,
            Field::OIFNAME => {
                matches!(base.hook, Hook::Forward | Hook::Output | Hook::Postrouting | Hook::Egress)
            }
            Field::DADDR | Field::DPORT => {
                !self.written.translates.0 || before_translation(base, NatDirection::Destination)
            }
            Field::SADDR | Field::SPORT => {
                !self.written.translates.1 || before_translation(base, NatDirection::Source)
            }
            Field::CT_STATE => match base.hook {
                Hook::Prerouting | Hook::Output => base.effective_priority() >= -200,
                Hook::Ingress => false,
                _ => true,
            },
            _ => false,
        })
    }

    /// A box around the packets on which a rule of a chain may act, in fields that nothing writes before. `None` where
    /// there are none.
    pub fn hull(&self, rule: &Rule, chain: ChainId) -> Option<PacketBox> {
        let mut hull = PacketBox::all();
        for statement in &rule.statements {
            match statement {
                Statement::Test(test) => {
                    if !self.narrow(&mut hull, test, chain) {
                        return None;
                    }
                }
                Statement::Neutral(_) => {}
                // Tests behind an effect don't keep the effect away.
                _ => break,
            }
        }
        Some(hull)
    }

    pub fn narrow(&self, hull: &mut PacketBox, test: &Test, chain: ChainId) -> bool {
        let mut keep = |field: Field, dim: Dim| !self.tells(field, &dim, chain) || hull.restrict(field, dim);
        match test {
            Test::Range { field, set } => match set.hull() {
                Some((low, high)) => keep(*field, Dim::Range(low, high)),
                None => false,
            },
            Test::Bits { field, cubes, negated: false } => match cubes.as_slice() {
                [cube] => keep(*field, Dim::Bits(*cube)),
                _ => true,
            },
            Test::Lookup { key, set, negated: false } => {
                let Some(set) = self.ruleset.set(*set) else { return true };
                let members: Vec<&Product> = set.elements.iter().map(|element| &element.key).collect();
                match hull_of(&members) {
                    Some(sides) => key.iter().zip(sides).all(|(field, side)| keep(*field, side)),
                    None => false,
                }
            }
            Test::Atom { atom, negated } => {
                let value = u128::from(!negated);
                keep(*atom, Dim::Range(value, value))
            }
            Test::Bits { .. } | Test::Masked { .. } | Test::Lookup { .. } => true,
        }
    }
}

fn before_translation(base: &BaseChain, direction: NatDirection) -> bool {
    let priority = base.effective_priority();
    match (direction, base.hook) {
        (_, Hook::Ingress) => true,
        (NatDirection::Destination, Hook::Prerouting | Hook::Output) => {
            priority < -100 || base.chain_type == ChainType::Nat
        }
        (NatDirection::Destination, _) => false,
        (NatDirection::Source, Hook::Postrouting | Hook::Input) => {
            priority < 100 || base.chain_type == ChainType::Nat
        }
        (NatDirection::Source, Hook::Egress) => false,
        (NatDirection::Source, _) => true,
    }
}

/// The smallest product around others, one dim for each field; `None` where there is none.
pub(super) fn hull_of(members: &[&Product]) -> Option<Vec<Dim>> {
    let mut sides: Vec<(u128, u128)> = members.first()?.to_vec();
    for member in members {
        for (side, (low, high)) in sides.iter_mut().zip(member.iter()) {
            *side = (side.0.min(*low), side.1.max(*high));
        }
    }
    Some(sides.into_iter().map(|(low, high)| Dim::Range(low, high)).collect())
}

/// Visits the chains that a statement may call.
fn each_call(statement: &Statement, ruleset: &Ruleset, visit: &mut dyn FnMut(ChainId)) {
    match statement {
        Statement::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => visit(*chain),
        Statement::VerdictMap { map, .. } => {
            for entry in ruleset.map(*map).map_or(&[][..], |map| &map.entries) {
                if let MapData::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) = &entry.data {
                    visit(*chain);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Product, hull_of};
    use firewarden_packet::Dim;

    #[test]
    fn the_hull_holds_every_member() {
        let members: Vec<Product> =
            vec![[(5, 6), (80, 80)].into_iter().collect(), [(1, 2), (443, 443)].into_iter().collect()];
        let refs: Vec<&Product> = members.iter().collect();
        assert_eq!(hull_of(&refs), Some(vec![Dim::Range(1, 6), Dim::Range(80, 443)]));
        assert_eq!(hull_of(&[]), None);
    }
}
