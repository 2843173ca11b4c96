//! Lowering of iptables: tables, chains and rules as the kernel has them, in the intermediate representation.
//!
//! Built-in chains become base chains at the priorities of linux/netfilter_ipv4.h. The tests of a rule come in the
//! order in which the kernel makes them: its own first (`-s`, `-p`, `-i`), then its matches, then the target. What
//! isn't modelled becomes an atom; what iptables would refuse was told by the parser, and its rule has an atom too.

mod conntrack;
mod effects;
mod matches;
mod nat;
mod rule;
mod sets;
mod targets;

use crate::findings::Findings;
use crate::ir::{
    BaseChain, Chain, ChainId, ChainType, Dialect, Family, Hook, Policy, Ruleset, Statement, Table, TableId,
    Verdict,
};
use crate::syntax::ipset;
use crate::syntax::iptables as syntax;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{AtomTable, Purity};
use std::collections::{BTreeSet, HashMap};

/// What lowering needs to know beside the texts.
#[derive(Clone, Copy, Debug, Default)]
pub struct LowerOptions<'s> {
    /// The host that the ruleset is on: the scope of its atoms.
    pub scope: &'s str,
    /// The texts are loaded one after the other, so that a table takes the place of the same one in an earlier text.
    /// Otherwise they are parts of one ruleset, and a table that is in two of them is a mistake.
    pub later_replaces: bool,
}

/// Lowers what iptables-restore and ip6tables-restore would load, with the sets that `ipset restore` would make.
///
/// Always gives a ruleset. An error among the diagnostics means that the kernel would refuse a table; a warning, that
/// something isn't modelled and has become an atom. O(rules × options), and O(n log n) in the size of the sets.
pub fn lower(
    saves: &[syntax::Save<'_>],
    sets: &[ipset::Sets<'_>],
    options: &LowerOptions<'_>,
    atoms: &mut AtomTable,
) -> (Ruleset, Vec<Diagnostic>) {
    let mut lowerer = Lowerer {
        scope: options.scope,
        later_replaces: options.later_replaces,
        atoms,
        out: Ruleset::default(),
        diagnostics: Findings::default(),
        sets: sets::SetIndex::new(sets, saves),
        warned: BTreeSet::new(),
    };
    lowerer.run(saves);
    lowerer.break_loops();
    (lowerer.out, lowerer.diagnostics.finish())
}

struct Lowerer<'a, 's> {
    scope: &'s str,
    later_replaces: bool,
    atoms: &'s mut AtomTable,
    out: Ruleset,
    diagnostics: Findings,
    sets: sets::SetIndex<'a>,
    /// Warnings given already, so that each is given once.
    warned: BTreeSet<(&'static str, String)>,
}

/// A table of one IP version while it is lowered.
struct TableContext<'a, 't> {
    save: &'a syntax::Save<'t>,
    id: TableId,
    v6: bool,
    /// Chains by name; only for looking up.
    chains: &'a HashMap<&'t str, ChainId>,
}

impl<'a> Lowerer<'a, '_> {
    fn run<'t>(&mut self, saves: &'a [syntax::Save<'t>]) {
        // Which table of which text has a name and version, the last one first; with several texts that are loaded one
        // after the other, the later one's replaces the earlier one's. O(tables²), and there are few.
        let mut order: Vec<(usize, usize, bool)> = Vec::new();
        for (save_index, save) in saves.iter().enumerate() {
            for (table_index, table) in save.tables.iter().enumerate() {
                for v6 in [false, true] {
                    let version = if v6 { syntax::Versions::V6 } else { syntax::Versions::V4 };
                    if !table.versions.contains(version) {
                        continue;
                    }
                    let known = order.iter().position(|&(at, index, of_v6)| {
                        let other = saves.get(at).and_then(|save| save.tables.get(index));
                        of_v6 == v6
                            && other
                                .is_some_and(|other| other.name == table.name && !other.is_elsewhere(table))
                    });
                    if let Some(known) = known {
                        let (at, index, _) = order.remove(known);
                        if at == save_index || !self.later_replaces {
                            self.repeated(saves, (at, index), (save_index, table_index), v6);
                        }
                    }
                    order.push((save_index, table_index, v6));
                }
            }
        }
        for (save_index, table_index, v6) in order {
            let Some((save, table)) =
                saves.get(save_index).and_then(|save| Some((save, save.tables.get(table_index)?)))
            else {
                continue;
            };
            self.table(save, table, v6);
        }
    }

    /// The same table is there twice, in one text or in two. One of them would be left out, and with it maybe half of the rules.
    fn repeated(
        &mut self,
        saves: &[syntax::Save<'_>],
        first: (usize, usize),
        second: (usize, usize),
        v6: bool,
    ) {
        let place = |(save, table): (usize, usize)| {
            let save = saves.get(save)?;
            let table = save.tables.get(table)?;
            Some((table.name, save.span(table.at)))
        };
        let (Some((name, earlier)), Some((_, later))) = (place(first), place(second)) else { return };
        let (version, help) = if v6 {
            ("IPv6", "give each table once")
        } else {
            (
                "IPv4",
                "give each table once; where one of them is for IPv6, keep the comment that ip6tables-save begins with: \
                 `# Generated by ip6tables-save`",
            )
        };
        self.diagnostics.push(
            Diagnostic::error("repeated-table", format!("the table `{name}` of {version} is there twice"))
                .at(later, "this one")
                .see(earlier, "and this one")
                .help(help),
        );
    }

    fn table<'t>(&mut self, save: &'a syntax::Save<'t>, table: &'a syntax::Table<'t>, v6: bool) {
        let id = TableId(self.out.tables.len() as u32);
        self.out.tables.push(Table {
            family: if v6 { Family::Ip6 } else { Family::Ip },
            name: table.name.into(),
            dialect: Dialect::Iptables,
            dormant: false,
            span: save.span(table.at),
        });
        let first = self.out.chains.len();
        let mut chains = HashMap::with_capacity(table.chains.len());
        for chain in &table.chains {
            chains.insert(chain.name, ChainId(self.out.chains.len() as u32));
            let base = if chain.builtin { base_chain(save, table.name, chain) } else { None };
            let span = save.span(chain.at);
            self.out.chains.push(Chain { table: id, name: chain.name.into(), base, rules: Vec::new(), span });
        }
        let hooks = reaching(save, table, &chains, first);
        let context = TableContext { save, id, v6, chains: &chains };
        let version = if v6 { syntax::Versions::V6 } else { syntax::Versions::V4 };
        for (index, chain) in table.chains.iter().enumerate() {
            let mut rules = Vec::with_capacity(chain.rules.len());
            for rule in save.rules(chain).filter(|rule| rule.versions.contains(version)) {
                self.rule(&context, rule, hooks.get(index).copied().unwrap_or(0), &mut rules);
            }
            if let Some(chain) = self.out.chains.get_mut(first + index) {
                chain.rules = rules;
            }
        }
    }

    /// An opaque condition.
    fn atom(&mut self, kind: &str, text: &str, purity: Purity) -> firewarden_packet::Field {
        self.atoms.atom(self.scope, kind, text, purity)
    }

    /// A warning that is given once for each `about`.
    fn warn_once(&mut self, code: &'static str, about: &str, make: impl FnOnce() -> Diagnostic) {
        if self.warned.insert((code, about.to_owned())) {
            self.diagnostics.push(make());
        }
    }

    /// The kernel refuses jumps in a circle; the one that closes it becomes opaque. O(rules).
    fn break_loops(&mut self) {
        // 0 is unseen, 1 on the way, 2 done.
        let mut color = vec![0u8; self.out.chains.len()];
        let mut bad: Vec<(usize, usize, usize)> = Vec::new();
        for start in 0..self.out.chains.len() {
            let mut stack: Vec<(usize, usize, usize)> = vec![(start, 0, 0)];
            if color.get(start) != Some(&0) {
                continue;
            }
            while let Some(&mut (chain, ref mut rule, ref mut statement)) = stack.last_mut() {
                if let Some(mark) = color.get_mut(chain) {
                    *mark = 1;
                }
                let rules = self.out.chains.get(chain).map_or(&[][..], |chain| &chain.rules);
                let Some(current) = rules.get(*rule) else {
                    if let Some(mark) = color.get_mut(chain) {
                        *mark = 2;
                    }
                    stack.pop();
                    continue;
                };
                let (at_rule, at_statement) = (*rule, *statement);
                match current.statements.get(at_statement) {
                    None => {
                        *rule += 1;
                        *statement = 0;
                    }
                    Some(Statement::Verdict(Verdict::Jump(target) | Verdict::Goto(target))) => {
                        *statement += 1;
                        let target = target.0 as usize;
                        match color.get(target) {
                            Some(0) => stack.push((target, 0, 0)),
                            Some(1) => bad.push((chain, at_rule, at_statement)),
                            _ => {}
                        }
                    }
                    Some(_) => *statement += 1,
                }
            }
        }
        for (chain, rule, statement) in bad {
            let Some(rule) = self.out.chains.get(chain).and_then(|chain| chain.rules.get(rule)) else {
                continue;
            };
            let span = rule.span;
            let atom = self.atoms.atom(self.scope, "jump loop", "jump loop", Purity::Stateful);
            let name = self.out.chains.get(chain).map(|chain| chain.name.clone()).unwrap_or_default();
            self.diagnostics.push(
                Diagnostic::error("jump-loop", format!("a jump in the chain `{name}` leads back to it"))
                    .at(span, "closes the circle")
                    .help("remove one of the jumps: the kernel refuses the table"),
            );
            let place = self
                .out
                .chains
                .get_mut(chain)
                .and_then(|chain| chain.rules.iter_mut().find(|rule| rule.span == span));
            if let Some(place) = place.and_then(|rule| rule.statements.get_mut(statement)) {
                *place = Statement::Verdict(Verdict::Opaque { atom });
            }
        }
    }
}

/// Type, hook and priority of a built-in chain.
fn base_chain(save: &syntax::Save<'_>, table: &str, chain: &syntax::Chain<'_>) -> Option<BaseChain> {
    let hook = match chain.name {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let (chain_type, priority) = match (table, hook) {
        ("raw", _) => (ChainType::Filter, -300),
        ("mangle", Hook::Output) => (ChainType::Route, -150),
        ("mangle", _) => (ChainType::Filter, -150),
        ("nat", Hook::Prerouting | Hook::Output) => (ChainType::Nat, -100),
        ("nat", _) => (ChainType::Nat, 100),
        ("security", _) => (ChainType::Filter, 50),
        _ => (ChainType::Filter, 0),
    };
    let (policy, policy_span): (Policy, Span) = match chain.policy {
        Some((syntax::Policy::Drop, at)) => (Policy::Drop, save.span(at)),
        Some((syntax::Policy::Accept, at)) => (Policy::Accept, save.span(at)),
        None => (Policy::Accept, save.span(chain.at)),
    };
    Some(BaseChain { chain_type, hook, priority, policy, devices: Vec::new(), policy_span })
}

/// The hooks from which each chain can be reached, as bits of prerouting, input, forward, output, postrouting.
/// O(chains + rules): bits only ever get added.
fn reaching<'t>(
    save: &syntax::Save<'t>,
    table: &syntax::Table<'t>,
    chains: &HashMap<&'t str, ChainId>,
    first: usize,
) -> Vec<u8> {
    let mut hooks = vec![0u8; table.chains.len()];
    let mut targets: Vec<Vec<usize>> = Vec::with_capacity(table.chains.len());
    for chain in &table.chains {
        let mut own = Vec::new();
        for rule in save.rules(chain) {
            for option in save.options(rule).iter().filter(|option| matches!(option.name(), "jump" | "goto"))
            {
                if let Some(id) = chains.get(option.value.raw(save.text)) {
                    own.push((id.0 as usize).saturating_sub(first));
                }
            }
        }
        own.sort_unstable();
        own.dedup();
        targets.push(own);
    }
    let names = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let mut queue: Vec<usize> = Vec::new();
    for (index, chain) in table.chains.iter().enumerate() {
        if let (true, Some(bit)) = (chain.builtin, names.iter().position(|name| *name == chain.name)) {
            if let Some(mask) = hooks.get_mut(index) {
                *mask = 1 << bit;
            }
            queue.push(index);
        }
    }
    while let Some(index) = queue.pop() {
        let from = hooks.get(index).copied().unwrap_or(0);
        for &target in targets.get(index).map_or(&[][..], Vec::as_slice) {
            if let Some(mask) = hooks.get_mut(target).filter(|mask| **mask | from != **mask) {
                *mask |= from;
                queue.push(target);
            }
        }
    }
    hooks
}
