//! What the kernel checks of chains when rules are loaded: jumps make no loop and aren't nested too deep, and some
//! statements work on some hooks only.

use crate::findings::Findings;
use crate::ir::{
    ChainId, ChainType, Family, Hook, MapData, NatAddress, NatDirection, Ruleset, Statement, Verdict,
};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{AtomTable, Purity};
use std::collections::{BTreeMap, BTreeSet};

/// The kernel's `NFT_JUMP_STACK_SIZE`: how many chains a packet can be in at once, one inside the other.
const MAX_NESTING: u32 = 16;

/// A jump from one chain to another, and the rule it is in.
type Edges = Vec<Vec<(ChainId, Span)>>;

/// Checks the chains and cuts jumps that can't be: they become atoms, so that jumps form no cycle. O(size).
pub(super) fn check(ruleset: &mut Ruleset, atoms: &mut AtomTable, scope: &str, diagnostics: &mut Findings) {
    let edges = edges(ruleset);
    let mut cut = BTreeSet::new();
    let order = find_loops(ruleset, &edges, &mut cut, diagnostics);
    find_depth(ruleset, &edges, &order, &mut cut, diagnostics);
    check_hooks(ruleset, &edges, &order, &cut, diagnostics);
    if !cut.is_empty() {
        cut_edges(ruleset, atoms, scope, &cut);
    }
}

fn edges(ruleset: &Ruleset) -> Edges {
    let mut by_map: BTreeMap<u32, Vec<ChainId>> = BTreeMap::new();
    ruleset
        .chains
        .iter()
        .map(|chain| {
            let mut list: Vec<(ChainId, Span)> = Vec::new();
            for rule in &chain.rules {
                for statement in &rule.statements {
                    match statement {
                        Statement::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                            list.push((*to, rule.span));
                        }
                        Statement::VerdictMap { map, .. } => {
                            let targets = by_map.entry(map.0).or_insert_with(|| {
                                let entries = ruleset.map(*map).map_or(&[][..], |map| &map.entries);
                                let targets: BTreeSet<ChainId> = entries
                                    .iter()
                                    .filter_map(|entry| match entry.data {
                                        MapData::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => Some(to),
                                        _ => None,
                                    })
                                    .collect();
                                targets.into_iter().collect()
                            });
                            list.extend(targets.iter().map(|to| (*to, rule.span)));
                        }
                        _ => {}
                    }
                }
            }
            // The first place of each target is enough.
            list.sort_by_key(|(to, _)| *to);
            list.dedup_by_key(|(to, _)| *to);
            list
        })
        .collect()
}

/// Depth-first search without recursion. Edges that close a loop are cut. Gives the chains so that callers come
/// before the chains they call.
fn find_loops(
    ruleset: &Ruleset,
    edges: &Edges,
    cut: &mut BTreeSet<(ChainId, ChainId)>,
    diagnostics: &mut Findings,
) -> Vec<ChainId> {
    let mut state = vec![0u8; edges.len()];
    let mut order = Vec::with_capacity(edges.len());
    for start in 0..edges.len() {
        if state.get(start) != Some(&0) {
            continue;
        }
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        set(&mut state, start, 1);
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some((to, span)) = edges.get(at).and_then(|list| list.get(*next)) else {
                set(&mut state, at, 2);
                order.push(ChainId(at as u32));
                path.pop();
                continue;
            };
            *next += 1;
            match state.get(to.0 as usize) {
                Some(0) => {
                    set(&mut state, to.0 as usize, 1);
                    path.push((to.0 as usize, 0));
                }
                Some(1) => {
                    cut.insert((ChainId(at as u32), *to));
                    let chain_path: Vec<usize> = path.iter().map(|(chain, _)| *chain).collect();
                    diagnostics.push(loop_found(ruleset, edges, &chain_path, *to, *span));
                }
                _ => {}
            }
        }
    }
    order.reverse();
    order
}

fn set(state: &mut [u8], at: usize, to: u8) {
    if let Some(slot) = state.get_mut(at) {
        *slot = to;
    }
}

fn loop_found(ruleset: &Ruleset, edges: &Edges, path: &[usize], to: ChainId, span: Span) -> Diagnostic {
    let start = path.iter().position(|chain| *chain == to.0 as usize).unwrap_or(0);
    let on_loop = path.get(start..).unwrap_or_default();
    let names: Vec<String> = on_loop
        .iter()
        .map(|chain| name(ruleset, ChainId(*chain as u32)))
        .chain([name(ruleset, to)])
        .collect();
    let mut diagnostic = Diagnostic::error("jump-loop", format!("jumps form a loop: {}", names.join(" → ")))
        .at(span, "this closes it");
    for pair in on_loop.windows(2).take(8) {
        let [from, next] = pair else { continue };
        let jump = edges.get(*from).and_then(|list| list.iter().find(|(to, _)| to.0 as usize == *next));
        if let Some((_, span)) = jump {
            let to = name(ruleset, ChainId(*next as u32));
            diagnostic = diagnostic.see(*span, format!("jumps to {to}"));
        }
    }
    diagnostic
        .because("`nft -c` doesn't see this; loading the file fails with \"Too many links\"")
        .help("remove one of the jumps")
}

fn name(ruleset: &Ruleset, id: ChainId) -> String {
    match ruleset.chain(id) {
        Some(chain) if chain.name.is_empty() => "an anonymous chain".to_owned(),
        Some(chain) => format!("`{}`", chain.name),
        None => "an unknown chain".to_owned(),
    }
}

fn find_depth(
    ruleset: &Ruleset,
    edges: &Edges,
    order: &[ChainId],
    cut: &mut BTreeSet<(ChainId, ChainId)>,
    diagnostics: &mut Findings,
) {
    let mut depth: Vec<Option<u32>> =
        ruleset.chains.iter().map(|chain| chain.base.as_ref().map(|_| 0)).collect();
    for from in order {
        let Some(own) = depth.get(from.0 as usize).copied().flatten() else { continue };
        for (to, span) in edges.get(from.0 as usize).into_iter().flatten() {
            if cut.contains(&(*from, *to)) {
                continue;
            }
            if own + 1 >= MAX_NESTING {
                cut.insert((*from, *to));
                diagnostics.push(
                    Diagnostic::error(
                        "jump-too-deep",
                        format!("jumps are nested more than {MAX_NESTING} chains deep"),
                    )
                    .at(*span, format!("jumps from {} to {}", name(ruleset, *from), name(ruleset, *to)))
                    .because("the kernel refuses to load such a ruleset")
                    .help("jump from an earlier chain, or use a verdict map instead of a chain of chains"),
                );
                continue;
            }
            if let Some(slot) = depth.get_mut(to.0 as usize) {
                *slot = Some(slot.map_or(own + 1, |known| known.max(own + 1)));
            }
        }
    }
}

/// The types and hooks of base chains that reach a chain, as bits.
fn bit(chain_type: ChainType, hook: Hook) -> u32 {
    let kind = match chain_type {
        ChainType::Filter => 0,
        ChainType::Nat => 1,
        ChainType::Route => 2,
    };
    let hook = match hook {
        Hook::Ingress => 0,
        Hook::Prerouting => 1,
        Hook::Input => 2,
        Hook::Forward => 3,
        Hook::Output => 4,
        Hook::Postrouting => 5,
        Hook::Egress => 6,
    };
    1 << (kind * 8 + hook)
}

fn hooks(hooks: &[Hook], types: &[ChainType]) -> u32 {
    let mut bits = 0;
    for hook in hooks {
        for chain_type in types {
            bits |= bit(*chain_type, *hook);
        }
    }
    bits
}

const ANY_TYPE: &[ChainType] = &[ChainType::Filter, ChainType::Nat, ChainType::Route];

fn check_hooks(
    ruleset: &Ruleset,
    edges: &Edges,
    order: &[ChainId],
    cut: &BTreeSet<(ChainId, ChainId)>,
    diagnostics: &mut Findings,
) {
    let mut reached: Vec<u32> = ruleset
        .chains
        .iter()
        .map(|chain| chain.base.as_ref().map_or(0, |base| bit(base.chain_type, base.hook)))
        .collect();
    for from in order {
        let own = reached.get(from.0 as usize).copied().unwrap_or(0);
        for (to, _) in edges.get(from.0 as usize).into_iter().flatten() {
            if !cut.contains(&(*from, *to))
                && let Some(slot) = reached.get_mut(to.0 as usize)
            {
                *slot |= own;
            }
        }
    }
    for (chain, reached) in ruleset.chains.iter().zip(reached) {
        let family = ruleset.table(chain.table).map_or(Family::Inet, |table| table.family);
        for rule in &chain.rules {
            for statement in &rule.statements {
                let Some((what, allowed, where_)) = restriction(statement, family) else { continue };
                if reached & !allowed != 0 {
                    let mut diagnostic =
                        Diagnostic::error("wrong-hook", format!("`{what}` works {where_} only"))
                            .at(rule.span, "");
                    if chain.base.is_some() {
                        diagnostic = diagnostic.see(chain.span, "this chain is called elsewhere");
                    } else {
                        diagnostic = diagnostic.see(chain.span, "this chain is also reached from elsewhere");
                    }
                    diagnostics.push(
                        diagnostic
                            .because("`nft -c` doesn't see this; loading the file fails")
                            .help("move the rule to a chain of that type and hook"),
                    );
                }
            }
        }
    }
}

/// The places where a statement works: its name, bits of types and hooks, and the same in words.
fn restriction(statement: &Statement, family: Family) -> Option<(&'static str, u32, &'static str)> {
    let nat: &[ChainType] = &[ChainType::Nat];
    match statement {
        Statement::Nat(nat_rule) => Some(match (&nat_rule.address, nat_rule.direction) {
            (NatAddress::OfOutputInterface, _) => {
                ("masquerade", hooks(&[Hook::Postrouting], nat), "in nat chains on postrouting")
            }
            (_, NatDirection::Source) => (
                "snat",
                hooks(&[Hook::Postrouting, Hook::Input], nat),
                "in nat chains on postrouting and input",
            ),
            (NatAddress::ThisHost, NatDirection::Destination) => (
                "redirect",
                hooks(&[Hook::Prerouting, Hook::Output], nat),
                "in nat chains on prerouting and output",
            ),
            (_, NatDirection::Destination) => (
                "dnat",
                hooks(&[Hook::Prerouting, Hook::Output], nat),
                "in nat chains on prerouting and output",
            ),
        }),
        Statement::Verdict(Verdict::Reject(_)) => Some(match family {
            Family::Bridge => (
                "reject",
                hooks(&[Hook::Prerouting, Hook::Input], ANY_TYPE),
                "on prerouting and input of bridges",
            ),
            Family::Netdev => ("reject", hooks(&[Hook::Ingress], ANY_TYPE), "on ingress of devices"),
            _ => (
                "reject",
                hooks(&[Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Ingress], ANY_TYPE),
                "on prerouting, input, forward and output",
            ),
        }),
        _ => None,
    }
}

/// Puts atoms in the place of jumps that can't be.
fn cut_edges(ruleset: &mut Ruleset, atoms: &mut AtomTable, scope: &str, cut: &BTreeSet<(ChainId, ChainId)>) {
    let mut by_map: BTreeSet<(u32, ChainId)> = BTreeSet::new();
    let mut opaque = || {
        let atom = atoms.atom(scope, "invalid statement", "a jump that can't be", Purity::Stateful);
        Verdict::Opaque { atom }
    };
    for (index, chain) in ruleset.chains.iter_mut().enumerate() {
        let from = ChainId(index as u32);
        if cut.range((from, ChainId(0))..=(from, ChainId(u32::MAX))).next().is_none() {
            continue;
        }
        for statement in chain.rules.iter_mut().flat_map(|rule| rule.statements.iter_mut()) {
            match statement {
                Statement::Verdict(verdict) => {
                    if let Verdict::Jump(to) | Verdict::Goto(to) = verdict
                        && cut.contains(&(from, *to))
                    {
                        *verdict = opaque();
                    }
                }
                Statement::VerdictMap { map, .. } => {
                    by_map.extend(
                        cut.range((from, ChainId(0))..=(from, ChainId(u32::MAX))).map(|(_, to)| (map.0, *to)),
                    );
                }
                _ => {}
            }
        }
    }
    for (map, target) in by_map {
        let Some(map) = ruleset.maps.get_mut(map as usize) else { continue };
        for entry in &mut map.entries {
            if matches!(entry.data, MapData::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) if to == target) {
                entry.data = MapData::Verdict(opaque());
            }
        }
    }
}
