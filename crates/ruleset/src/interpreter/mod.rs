//! The interpreter: one packet, one hook, rule by rule. Slow and obvious.
//!
//! It is the second implementation of what rulesets mean: the engine answers for sets of packets and is fast, this one
//! answers for a single packet and does nothing clever, so that each can be tested against the other. It shares no
//! code with the engine, and follows nft(8) and the kernel's `nft_do_chain`, `nf_nat_inet_fn`, `nf_conntrack_in`.

mod nat;
mod rule;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::{End, Event, HookResult, Outcome, Translation, Walk, What};

use crate::Surroundings;
use crate::ir::{BaseChain, ChainId, ChainType, Hook, Policy, RuleRef, Ruleset, Verdict};
use firewarden_packet::{AtomTable, Field, InterfaceName, ct_state};

/// The priority of connection tracking in prerouting and output (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK_PRIORITY: i32 = -200;

/// How many chains a packet may enter in one base chain before it is taken to go round in a ring.
const MOST_CHAINS_ENTERED: u32 = 1_000_000;

/// A ruleset to be interpreted.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter<'r> {
    ruleset: &'r Ruleset,
    atoms: &'r AtomTable,
}

/// How a base chain ended.
enum ChainEnd {
    Accept,
    Refuse(Outcome),
}

impl<'r> Interpreter<'r> {
    /// Interprets a ruleset whose dynamic fields are from `atoms`.
    pub fn new(ruleset: &'r Ruleset, atoms: &'r AtomTable) -> Interpreter<'r> {
        Interpreter { ruleset, atoms }
    }

    /// Leads a packet through all base chains of a hook. `walk` is changed as the rules change the packet.
    /// O(rules × elements of their sets).
    pub fn run_hook(&self, hook: Hook, walk: &mut Walk, around: &dyn Surroundings) -> HookResult {
        let mut events = Vec::new();
        if matches!(hook, Hook::Ingress | Hook::Prerouting | Hook::Output) {
            walk.before_conntrack();
        }
        let mut connection_done = false;
        for id in self.ruleset.base_chains(hook, walk.now.get(Field::NFPROTO)) {
            let Some(base) = self.ruleset.chain(id).and_then(|chain| chain.base.as_ref()) else { continue };
            if tracks(hook) && base.effective_priority() >= CONNTRACK_PRIORITY {
                walk.conntrack();
            }
            if !connection_done && base.effective_priority() >= nat_priority(hook) {
                nat::follow_connection(hook, walk, around);
                connection_done = true;
            }
            if !sees(base, hook, walk) {
                continue;
            }
            if let ChainEnd::Refuse(outcome) = self.base_chain(id, base, walk, around, &mut events) {
                return HookResult { outcome, events };
            }
        }
        if tracks(hook) {
            walk.conntrack();
        }
        if !connection_done {
            nat::follow_connection(hook, walk, around);
        }
        HookResult { outcome: Outcome::Accepted, events }
    }

    fn base_chain(
        &self,
        id: ChainId,
        base: &BaseChain,
        walk: &mut Walk,
        around: &dyn Surroundings,
        events: &mut Vec<Event>,
    ) -> ChainEnd {
        // The rules still to be done, innermost last.
        let mut stack = vec![(id, 0)];
        let mut entered = 0u32;
        while let Some(&(chain, index)) = stack.last() {
            let at = RuleRef { chain, index };
            let Some(rule) = self.ruleset.rule(at) else {
                stack.pop();
                continue;
            };
            if let Some(top) = stack.last_mut() {
                top.1 += 1;
            }
            match self.rule(at, rule, walk, around, events) {
                Verdict::Continue => {}
                Verdict::Accept => {
                    events.push(Event { rule: at, what: What::Accepted });
                    return ChainEnd::Accept;
                }
                Verdict::Opaque { atom } if walk.now.get(atom) != 0 => {
                    events.push(Event { rule: at, what: What::Accepted });
                    return ChainEnd::Accept;
                }
                Verdict::Drop | Verdict::Opaque { .. } => {
                    events.push(Event { rule: at, what: What::Dropped });
                    return ChainEnd::Refuse(Outcome::Dropped);
                }
                Verdict::Reject(with) => {
                    events.push(Event { rule: at, what: What::Rejected(with) });
                    return ChainEnd::Refuse(Outcome::Rejected(with));
                }
                Verdict::Return => {
                    events.push(Event { rule: at, what: What::Returned });
                    stack.pop();
                }
                Verdict::Jump(to) | Verdict::Goto(to) if self.too_deep(&stack, &mut entered) => {
                    // Only a ring of chains gets here; the kernel drops where its jump stack ends.
                    events.push(Event { rule: at, what: What::Jumped(to) });
                    events.push(Event { rule: at, what: What::Dropped });
                    return ChainEnd::Refuse(Outcome::Dropped);
                }
                Verdict::Jump(to) => {
                    events.push(Event { rule: at, what: What::Jumped(to) });
                    stack.push((to, 0));
                }
                Verdict::Goto(to) => {
                    events.push(Event { rule: at, what: What::WentTo(to) });
                    // The new chain takes the place of the present one: its end is the end of both.
                    if let Some(top) = stack.last_mut() {
                        *top = (to, 0);
                    }
                }
            }
        }
        let end = self.ruleset.chain(id).map_or(0, |chain| chain.rules.len());
        let rule = RuleRef { chain: id, index: u32::try_from(end).unwrap_or(u32::MAX) };
        events.push(Event { rule, what: What::Policy(base.policy) });
        match base.policy {
            Policy::Accept => ChainEnd::Accept,
            Policy::Drop => ChainEnd::Refuse(Outcome::Dropped),
        }
    }

    /// Guards against rings of jumps and gotos, which lowering refuses. A path of calls without a ring is no deeper than
    /// there are chains; a ring of gotos isn't deep, so all entries are counted too.
    fn too_deep(&self, stack: &[(ChainId, u32)], entered: &mut u32) -> bool {
        *entered += 1;
        stack.len() > self.ruleset.chains.len() || *entered > MOST_CHAINS_ENTERED
    }
}

/// Hooks where the packet meets connection tracking.
fn tracks(hook: Hook) -> bool {
    matches!(hook, Hook::Prerouting | Hook::Output)
}

/// The fixed priority of address translation on a hook.
fn nat_priority(hook: Hook) -> i32 {
    if tracks(hook) { -100 } else { 100 }
}

/// Whether a base chain is run for the packet at all.
fn sees(base: &BaseChain, hook: Hook, walk: &Walk) -> bool {
    if base.chain_type == ChainType::Nat {
        let done = if tracks(hook) { walk.destination_done } else { walk.source_done };
        let state = walk.now.get(Field::CT_STATE);
        return !done && (state == ct_state::NEW || state == ct_state::RELATED);
    }
    let device = match hook {
        Hook::Ingress => walk.now.get(Field::IIFNAME),
        Hook::Egress => walk.now.get(Field::OIFNAME),
        _ => return true,
    };
    base.devices.is_empty()
        || base.devices.iter().any(|name| InterfaceName::new(name) == Ok(InterfaceName(device)))
}
