//! The intermediate representation: what a ruleset says, whichever syntax said it.
//!
//! One meaning for nft and iptables. A rule is a list of statements evaluated from left to right: a test that fails
//! ends the rule, effects before it stay (nft(8), "STATEMENTS"). Whatever isn't modelled is in here as an atom
//! (a dynamic [`Field`]), never left out.
//!
//! Invariants that lowering establishes and everybody else relies on:
//! - implied conditions are explicit: `tcp dport 22` in an `inet` table has the tests `meta l4proto tcp` before it,
//!   `ip saddr …` has `meta nfproto ipv4`; a rule of an `ip` table needs no such test, its table's family says it;
//! - jumps form no cycle; every id is valid; elements of a set of one field are sorted and disjoint;
//! - a set whose members can change while packets flow (dynamic, with timeouts) is not looked up: it is an atom.

mod append;
pub mod dump;
mod index;
mod value;

pub use index::{ChainId, MapId, RuleRef, SetId, TableId};
pub use value::{MapData, Nat, NatAddress, NatDirection, Value};

use firewarden_diagnostic::Span;
use firewarden_packet::{Cube, Field, IntervalSet};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Everything one kernel network namespace holds, from one or more files.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// In the order in which they were created.
    pub tables: Vec<Table>,
    /// All chains of all tables in the order in which they were created, which decides between base chains on one hook
    /// and priority (see [`Ruleset::base_chains`]).
    pub chains: Vec<Chain>,
    /// Named and anonymous sets.
    pub sets: Vec<Set>,
    /// Named and anonymous maps, verdict maps included.
    pub maps: Vec<Map>,
    /// What rules may name and the model doesn't look into, for those who compare rulesets.
    pub uninterpreted: Vec<Uninterpreted>,
}

/// Something declared whose content stays open: a limit or another object with a state, a flowtable, a set whose members
/// change while packets flow. Rules that use it have an atom in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uninterpreted {
    /// Its table; `None` for sets of ipset, which belong to none.
    pub table: Option<TableId>,
    /// `limit`, `set`, `flowtable`, …
    pub kind: &'static str,
    /// Its name.
    pub name: Box<str>,
    /// Where it is declared, and where members are added to it.
    pub spans: Vec<Span>,
    /// Tells contents apart that have no place of their own; 0 where the texts at `spans` are all there is.
    pub fingerprint: u64,
}

/// Which language the table was written in; it decides what people are told to edit, not what rules mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// nft text or JSON.
    Nft,
    /// iptables-save or ip6tables-save.
    Iptables,
}

/// The packets that a table sees (nft(8), "ADDRESS FAMILIES").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// IPv4 and IPv6.
    Inet,
    /// ARP; never sees an IP packet.
    Arp,
    /// Frames that pass a bridge.
    Bridge,
    /// Frames as they enter or leave a device.
    Netdev,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// The packets it sees.
    pub family: Family,
    /// Its name.
    pub name: Box<str>,
    /// Its language.
    pub dialect: Dialect,
    /// Dormant tables see no packet.
    pub dormant: bool,
    /// Where it is declared.
    pub span: Span,
}

/// Where the kernel calls a base chain (nft(8), "Chains").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// As a frame enters a device.
    Ingress,
    /// Before the routing decision.
    Prerouting,
    /// Delivered to this host.
    Input,
    /// Routed through this host.
    Forward,
    /// Made on this host.
    Output,
    /// About to leave.
    Postrouting,
    /// As a frame leaves a device.
    Egress,
}

impl Hook {
    /// All of them, in the order in which a packet may meet them.
    pub const ALL: [Hook; 7] = [
        Hook::Ingress,
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
        Hook::Egress,
    ];

    /// As nft writes it.
    pub fn word(self) -> &'static str {
        match self {
            Hook::Ingress => "ingress",
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
            Hook::Egress => "egress",
        }
    }
}

impl Family {
    /// As nft writes it.
    pub fn word(self) -> &'static str {
        match self {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
            Family::Inet => "inet",
            Family::Arp => "arp",
            Family::Bridge => "bridge",
            Family::Netdev => "netdev",
        }
    }
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// Filters every packet.
    Filter,
    /// Sees only the first packet of a connection, and may translate it. The kernel runs all of them at the fixed
    /// priorities -100 (prerouting, output) and 100 (input, postrouting); their own priority only orders them among
    /// themselves.
    Nat,
    /// Output only: routes anew when a mark changes.
    Route,
}

/// What happens to a packet that no rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Goes on to the next base chain.
    Accept,
    /// Ends here.
    Drop,
}

/// What makes a chain a base chain.
#[derive(Clone, Debug)]
pub struct BaseChain {
    /// Its type.
    pub chain_type: ChainType,
    /// Its hook.
    pub hook: Hook,
    /// Lower runs earlier; conntrack is at -200.
    pub priority: i32,
    /// For packets that reach its end.
    pub policy: Policy,
    /// Devices of an ingress or egress chain; empty means all.
    pub devices: Vec<Box<str>>,
    /// Where the policy is written; the chain's declaration where it isn't.
    pub policy_span: Span,
}

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its table.
    pub table: TableId,
    /// Its name; empty for an anonymous chain (`jump { … }`).
    pub name: Box<str>,
    /// Set for base chains.
    pub base: Option<BaseChain>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
    /// Where it is declared.
    pub span: Span,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// From left to right.
    pub statements: Box<[Statement]>,
    /// The rule as written, without line end.
    pub span: Span,
    /// The kernel's handle, where the text had it; 0 otherwise.
    pub handle: u64,
    /// The user's comment.
    pub comment: Option<Box<str>>,
}

/// One step of a rule.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Goes on where it holds, ends the rule where it doesn't.
    Test(Test),
    /// Ends the rule (except `continue`, which only ends this rule without a decision).
    Verdict(Verdict),
    /// Looks the key up: the verdict of the entry, or the end of the rule where there is none.
    VerdictMap {
        /// The fields that make the key.
        key: SmallVec<[Field; 2]>,
        /// A map whose data are verdicts.
        map: MapId,
    },
    /// Sets a mark or a header field. Where the value is a map without an entry for the packet, the rule ends.
    Assign {
        /// What is set.
        field: Field,
        /// To what.
        value: Value,
    },
    /// Translates addresses or ports, and accepts the packet in this chain.
    Nat(Box<Nat>),
    /// Exempts the packet from connection tracking.
    Notrack,
    /// Known to have no influence on where packets go (`counter`, `log`, `meta nftrace set`, …).
    Neutral(Neutral),
    /// Not modelled, and able to change the packet in ways that later rules see; `fields` may have any value after it.
    Opaque {
        /// One choice for each field that may change, with that field's domain.
        fields: Vec<(Field, Field)>,
    },
}

/// Statements without influence on where packets go, as far as people want to see them in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neutral {
    /// Counts.
    Counter,
    /// Logs: worth showing, since operators look for it in their logs.
    Log,
    /// Anything else.
    Other,
}

/// A condition on the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The value of a field of [`firewarden_packet::FieldKind::Range`] is in the set. Negation is folded in.
    Range {
        /// The field.
        field: Field,
        /// The values that pass.
        set: IntervalSet,
    },
    /// The word of a field of [`firewarden_packet::FieldKind::Bits`] is in one of the cubes (or in none).
    Bits {
        /// The field.
        field: Field,
        /// `tcp flags syn` is "not in the cube with mask syn, value 0"; `tcp flags == syn` is one cube with a full mask.
        cubes: SmallVec<[Cube; 1]>,
        /// Passes where the word is in none of the cubes.
        negated: bool,
    },
    /// `value & mask` is in the set, for a mask on a `Range` field that isn't a prefix (a prefix is a `Range` test).
    Masked {
        /// The field.
        field: Field,
        /// The bits that count; elsewhere, since these tests are rare and all tests are as large as the largest.
        mask: Box<u128>,
        /// Of masked values. Negation is folded in.
        set: IntervalSet,
    },
    /// The key made of the fields is in the set.
    Lookup {
        /// As many fields as the set's keys have.
        key: SmallVec<[Field; 2]>,
        /// The set.
        set: SetId,
        /// Passes where it isn't.
        negated: bool,
    },
    /// An opaque condition.
    Atom {
        /// A dynamic field with the domain (0, 1).
        atom: Field,
        /// Passes where the atom is false.
        negated: bool,
    },
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ends this base chain; the packet goes on to the next one.
    Accept,
    /// The packet is gone.
    Drop,
    /// The packet is gone, and the sender is told.
    Reject(RejectWith),
    /// Calls a chain; its end or `return` comes back to the next rule.
    Jump(ChainId),
    /// Goes on in a chain; its end comes back to where the current chain would have come back.
    Goto(ChainId),
    /// Ends this chain.
    Return,
    /// Ends this rule only.
    Continue,
    /// Something outside the model decides (`queue`, `synproxy`, an unknown target): accept where the atom is true,
    /// drop where it is false.
    Opaque {
        /// A dynamic field with the domain (0, 1).
        atom: Field,
    },
}

/// The answer to a rejected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectWith {
    /// A TCP reset.
    TcpReset,
    /// An ICMP, ICMPv6 or ICMPx error; the kernel limits how many it sends.
    Icmp,
}

/// A set: keys of one or several fields.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its table.
    pub table: TableId,
    /// Its name; empty for an anonymous set.
    pub name: Box<str>,
    /// How many fields make a key.
    pub arity: usize,
    /// Of one field: sorted and disjoint. Of several: products, disjoint, in the order written.
    pub elements: Vec<SetElement>,
    /// Where it is declared or written.
    pub span: Span,
}

/// A product of intervals, one for each field of the key.
pub type Product = SmallVec<[(u128, u128); 1]>;

/// An element of a set.
#[derive(Clone, Debug)]
pub struct SetElement {
    /// One interval for each field of the key.
    pub key: Product,
    /// Where it is written.
    pub span: Span,
}

/// A map: keys of one or several fields to data.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its table.
    pub table: TableId,
    /// Its name; empty for an anonymous map.
    pub name: Box<str>,
    /// How many fields make a key.
    pub arity: usize,
    /// Of one field: sorted and disjoint. A lookup takes the first entry whose key holds the packet.
    pub entries: Vec<MapEntry>,
    /// Where it is declared or written.
    pub span: Span,
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub struct MapEntry {
    /// One interval for each field of the key.
    pub key: Product,
    /// What the key maps to.
    pub data: MapData,
    /// Where it is written.
    pub span: Span,
}

impl Ruleset {
    /// A chain by id; `None` for an id of another ruleset.
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(id.0 as usize)
    }

    /// A table by id.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.get(id.0 as usize)
    }

    /// A set by id.
    pub fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id.0 as usize)
    }

    /// A map by id.
    pub fn map(&self, id: MapId) -> Option<&Map> {
        self.maps.get(id.0 as usize)
    }

    /// A rule by its place.
    pub fn rule(&self, at: RuleRef) -> Option<&Rule> {
        self.chain(at.chain)?.rules.get(at.index as usize)
    }

    /// The table of a chain.
    pub fn table_of(&self, id: ChainId) -> Option<&Table> {
        self.table(self.chain(id)?.table)
    }

    /// The base chains that a packet of this family (2 or 10, as in [`Field::NFPROTO`]) meets on a hook, in the order
    /// in which the kernel runs them: by priority, nat chains together at their fixed one. At equal priorities the one
    /// created last runs first, since the kernel puts it in front (measured on 6.x; `nf_hook_entries_grow`); nat
    /// chains count as one that was created with the first of them.
    pub fn base_chains(&self, hook: Hook, nfproto: u128) -> Vec<ChainId> {
        let mut found: Vec<(i32, Reverse<u32>, i32, Reverse<u32>)> = Vec::new();
        let mut first_nat = None;
        for (index, chain) in self.chains.iter().enumerate() {
            let (Some(base), Some(table)) = (&chain.base, self.table(chain.table)) else { continue };
            let sees = match table.family {
                Family::Ip => nfproto == 2,
                Family::Ip6 => nfproto == 10,
                Family::Inet => true,
                Family::Netdev => matches!(hook, Hook::Ingress | Hook::Egress),
                Family::Arp | Family::Bridge => false,
            };
            if base.hook == hook && sees && !table.dormant {
                let index = index as u32;
                let created = match base.chain_type {
                    ChainType::Nat => *first_nat.get_or_insert(index),
                    _ => index,
                };
                found.push((base.effective_priority(), Reverse(created), base.priority, Reverse(index)));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, _, Reverse(index))| ChainId(index)).collect()
    }
}

impl BaseChain {
    /// The priority at which the kernel really runs the chain (see [`ChainType::Nat`]).
    pub fn effective_priority(&self) -> i32 {
        match (self.chain_type, self.hook) {
            (ChainType::Nat, Hook::Prerouting | Hook::Output) => -100,
            (ChainType::Nat, _) => 100,
            _ => self.priority,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rule, Statement};

    /// Rulesets have a million rules with seven statements each; what doesn't fit belongs into a box.
    #[test]
    fn statements_stay_small() {
        assert_eq!(size_of::<Statement>(), 64);
        assert_eq!(size_of::<Rule>(), 56);
    }
}
