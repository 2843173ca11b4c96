//! Base chains: the packets that come to their hooks, and what their rules may write.

use crate::address::packets_of;
use firewarden_packet::{Dim, Field, PacketBox};
use firewarden_ruleset::ir::{ChainId, Family, Hook, Rule, Ruleset, Statement};
use std::collections::{BTreeMap, BTreeSet};

/// All hooks.
pub const HOOKS: [Hook; 7] = [
    Hook::Ingress,
    Hook::Prerouting,
    Hook::Input,
    Hook::Forward,
    Hook::Output,
    Hook::Postrouting,
    Hook::Egress,
];

/// All packets of a family (2 or 10) that a hook can see: without an interface where there is none yet, or none any
/// more.
pub fn packets(hook: Hook, nfproto: u128) -> PacketBox {
    let mut packets = packets_of(nfproto);
    let present = Dim::Range(1, u128::MAX);
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Input => {
            packets.set(Field::IIFNAME, present);
            packets.set(Field::OIFNAME, Dim::Range(0, 0));
        }
        Hook::Forward => {
            packets.set(Field::IIFNAME, present);
            packets.set(Field::OIFNAME, present);
        }
        Hook::Output | Hook::Egress => {
            packets.set(Field::IIFNAME, Dim::Range(0, 0));
            packets.set(Field::OIFNAME, present);
        }
        // A forwarded packet has an input interface here, one made on the host has none.
        Hook::Postrouting => packets.set(Field::OIFNAME, present),
    }
    packets
}

/// What is worth knowing of a base chain.
#[derive(Clone, Debug)]
pub struct Base {
    /// Where it stands.
    pub hook: Hook,
    /// The families that it sees: 2, 10.
    pub families: Vec<u128>,
    /// All packets that the hook can see, for each of the families.
    pub packets: Vec<PacketBox>,
    /// The fields that may be written before or within it, one bit for each.
    written: u32,
    /// Some rule of it changes packets, if only as it ends the chain.
    pub rewrites: bool,
    before_tracking: bool,
}

impl Base {
    /// Nothing writes the field before or within the base chain.
    pub fn steady(&self, field: Field) -> bool {
        field.is_dynamic() || self.written & bit(field) == 0
    }

    /// Whether `ct state` reads as in the question for those packets that a test of it lets through.
    pub fn state_is_steady(&self, untracked: bool) -> bool {
        let tracks = matches!(self.hook, Hook::Prerouting | Hook::Output);
        self.steady(Field::CT_STATE) && !self.before_tracking && !(tracks && untracked)
    }
}

fn bit(field: Field) -> u32 {
    u32::try_from(field.index()).ok().and_then(|at| 1u32.checked_shl(at)).unwrap_or(0)
}

/// The base chains that some packet meets, with what may be written up to their end.
pub fn bases(ruleset: &Ruleset, calls: &[BTreeSet<ChainId>]) -> BTreeMap<ChainId, Base> {
    let own: Vec<(u32, u32)> = ruleset.chains.iter().map(|chain| writes(&chain.rules)).collect();
    let mut found: BTreeMap<ChainId, Base> = BTreeMap::new();
    for hook in HOOKS {
        // What earlier base chains of the hook have written, for each family.
        for nfproto in [2, 10] {
            let mut before = 0;
            let order = ruleset.base_chains(hook, nfproto);
            for id in order {
                let Some(base) = ruleset.chain(id).and_then(|chain| chain.base.as_ref()) else { continue };
                let (mut within, mut all) = (0, 0);
                for chain in below(id, calls) {
                    let (passing, ending) = own.get(chain.0 as usize).copied().unwrap_or_default();
                    within |= passing;
                    all |= passing | ending;
                }
                let mut written = before | within;
                if matches!(hook, Hook::Prerouting | Hook::Output) {
                    for field in [
                        Field::CT_DIRECTION,
                        Field::CT_ORIGINAL_SADDR,
                        Field::CT_ORIGINAL_DADDR,
                        Field::CT_ORIGINAL_SPORT,
                        Field::CT_ORIGINAL_DPORT,
                    ] {
                        written |= bit(field);
                    }
                }
                let known = found.entry(id).or_insert_with(|| Base {
                    hook,
                    families: Vec::new(),
                    packets: Vec::new(),
                    written: 0,
                    rewrites: false,
                    before_tracking: matches!(hook, Hook::Prerouting | Hook::Output | Hook::Ingress)
                        && base.effective_priority() < -200,
                });
                known.written |= written;
                known.rewrites |= all != 0;
                known.families.push(nfproto);
                known.packets.push(packets(hook, nfproto));
                before |= all;
            }
        }
    }
    // Conntrack hasn't seen a frame on ingress.
    for base in found.values_mut().filter(|base| base.hook == Hook::Ingress) {
        base.before_tracking = true;
    }
    found
}

/// A chain and all that it calls.
fn below(chain: ChainId, calls: &[BTreeSet<ChainId>]) -> BTreeSet<ChainId> {
    let mut seen = BTreeSet::from([chain]);
    let mut open = vec![chain];
    while let Some(next) = open.pop() {
        for &to in calls.get(next.0 as usize).into_iter().flatten() {
            if seen.insert(to) {
                open.push(to);
            }
        }
    }
    seen
}

/// The fields that rules write: those that later rules of the base chain see, and those that only later chains see.
fn writes(rules: &[Rule]) -> (u32, u32) {
    let (mut passing, mut ending) = (0, 0);
    let types = bit(Field::FIB_SADDR_TYPE) | bit(Field::FIB_DADDR_TYPE) | bit(Field::FIB_REVERSE_PATH);
    for statement in rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Assign { field, .. } => passing |= bit(*field) | types,
            Statement::Opaque { fields } => {
                passing |= fields.iter().fold(types, |all, (field, _)| all | bit(*field));
            }
            Statement::Notrack => passing |= bit(Field::CT_STATE),
            Statement::Nat(_) => {
                for field in [Field::SADDR, Field::DADDR, Field::SPORT, Field::DPORT, Field::CT_STATUS] {
                    ending |= bit(field);
                }
                ending |= types;
            }
            _ => {}
        }
    }
    (passing, ending)
}

/// True where a table's packets can be of the family.
pub fn sees(family: Family, nfproto: u128) -> bool {
    match family {
        Family::Ip => nfproto == 2,
        Family::Ip6 => nfproto == 10,
        Family::Inet | Family::Netdev => true,
        Family::Arp | Family::Bridge => false,
    }
}
