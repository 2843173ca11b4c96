//! Lowering of nftables scripts: the commands are run in order, and what is there in the end becomes the intermediate
//! representation.
//!
//! The steps, each in a module of its own: [`state`] runs the commands; [`sets`] gives sets and maps their types and
//! [`elements`]; [`matching`], [`statement`], [`nat`] and [`mangle`] turn statements into those of the representation,
//! with [`selector`] for what an expression reads, [`value`] for constants and [`context`] for the protocols that nft
//! tests without being told; [`checks`] refuses what the kernel refuses of chains (loops, statements on the wrong
//! hook).
//!
//! What can't be expressed becomes an atom; what nft refuses is reported, and its rule kept with an atom in the place
//! of the part that is wrong.

mod checks;
mod context;
mod elements;
mod linear;
mod mangle;
mod matching;
mod names;
mod nat;
mod objects;
mod rule;
mod selector;
mod sets;
mod state;
mod statement;
mod text;
mod types;
mod value;

use crate::findings::Findings;
use crate::ir::{
    BaseChain, Chain, ChainId, ChainType, Dialect, Family, Hook, Policy, Ruleset, Statement, Table, TableId,
    Uninterpreted,
};
use crate::syntax::nft::ast;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{AtomTable, InterfaceName};
use sets::SetInfo;
use state::{ChainState, State, TableState};
use std::collections::{BTreeMap, BTreeSet};
use value::closest;

/// What lowering needs to know beside the scripts.
#[derive(Clone, Copy, Debug, Default)]
pub struct LowerOptions<'s> {
    /// The host that the ruleset is on: the scope of its atoms.
    pub scope: &'s str,
}

/// Runs scripts in order, as `nft -f` would run one after the other on an empty kernel, and lowers what is there in
/// the end.
///
/// Always gives a ruleset. An error among the diagnostics means that nft or the kernel would refuse the scripts; a
/// warning, that they may mean something else than they seem to. The syntax trees are given back as they are lowered. O(n log n) in the size of the scripts.
pub fn lower(
    mut scripts: Vec<ast::Script>,
    options: &LowerOptions<'_>,
    atoms: &mut AtomTable,
) -> (Ruleset, Vec<Diagnostic>) {
    let mut diagnostics = Findings::default();
    let mut state = state::run(&mut scripts, &mut diagnostics);
    let mut lowerer = Lowerer {
        scope: options.scope,
        atoms,
        diagnostics,
        out: Ruleset::default(),
        tables: Vec::new(),
        scratch: Vec::new(),
    };
    lowerer.declare(&state);
    lowerer.fill(&mut state);
    checks::check(&mut lowerer.out, lowerer.atoms, options.scope, &mut lowerer.diagnostics);
    (lowerer.out, lowerer.diagnostics.finish())
}

/// What is known of a table while its rules are lowered.
struct TableInfo<'a> {
    family: Family,
    syntax_family: ast::Family,
    name: &'a str,
    id: TableId,
    chains: BTreeMap<&'a str, ChainId>,
    sets: BTreeMap<&'a str, SetInfo>,
    objects: BTreeSet<(ast::ObjectKind, &'a str)>,
    flowtables: BTreeSet<&'a str>,
}

struct Lowerer<'a, 's> {
    scope: &'s str,
    atoms: &'s mut AtomTable,
    diagnostics: Findings,
    out: Ruleset,
    tables: Vec<TableInfo<'a>>,
    /// A buffer for the statements of a rule.
    scratch: Vec<Statement>,
}

impl<'a> Lowerer<'a, '_> {
    /// Makes tables, chains and sets, so that everything can refer to everything.
    fn declare(&mut self, state: &State<'a>) {
        for table in state.tables() {
            let id = TableId(self.out.tables.len() as u32);
            let family = family(table.family);
            self.out.tables.push(Table {
                family,
                name: table.name.into(),
                dialect: Dialect::Nft,
                dormant: table.dormant,
                span: table.span,
            });
            let mut chains = BTreeMap::new();
            for chain in table.chains.iter() {
                let base = self.base_chain(table, chain);
                chains.insert(chain.name, ChainId(self.out.chains.len() as u32));
                self.push_chain(id, chain.name, base, chain.span);
            }
            let objects = table
                .objects
                .iter()
                .filter_map(|((kind, name), span)| Some((objects::word(*kind)?, *name, *span)));
            let flowtables = table.flowtables.iter().map(|(name, span)| ("flowtable", *name, *span));
            self.out.uninterpreted.extend(objects.chain(flowtables).map(|(kind, name, span)| {
                Uninterpreted { table: Some(id), kind, name: name.into(), spans: vec![span], fingerprint: 0 }
            }));
            self.tables.push(TableInfo {
                family,
                syntax_family: table.family,
                name: table.name,
                id,
                chains,
                sets: BTreeMap::new(),
                objects: table.objects.keys().copied().collect(),
                flowtables: table.flowtables.keys().copied().collect(),
            });
        }
    }

    fn fill(&mut self, state: &mut State<'a>) {
        for (index, table) in state.tables_mut().enumerate() {
            self.lower_sets(index, table);
            for chain in table.chains.iter_mut() {
                let Some(&id) = self.tables.get(index).and_then(|info| info.chains.get(chain.name)) else {
                    continue;
                };
                let rules = self.consume_rules(index, id, chain.rules.drain(..));
                if let Some(target) = self.out.chains.get_mut(id.0 as usize) {
                    target.rules = rules;
                }
            }
        }
    }

    fn push_chain(&mut self, table: TableId, name: &str, base: Option<BaseChain>, span: Span) -> ChainId {
        let id = ChainId(self.out.chains.len() as u32);
        self.out.chains.push(Chain { table, name: name.into(), base, rules: Vec::new(), span });
        id
    }

    fn base_chain(&mut self, table: &TableState<'a>, chain: &ChainState<'a>) -> Option<BaseChain> {
        let Some(base) = chain.base else {
            if let Some(policy) = chain.policy {
                self.diagnostics.push(
                    Diagnostic::error(
                        "policy-without-hook",
                        format!("the chain `{}` has a policy but no hook", chain.name),
                    )
                    .at(policy.span, "")
                    .help("give it a `type … hook … priority …;` line, or remove the policy"),
                );
            }
            return None;
        };
        self.check_base(table.family, base);
        let hook = hook(base.hook.value);
        let priority = match base.priority.name {
            None => base.priority.offset,
            Some(name) => match named_priority(table.family, hook, name) {
                Some(value) => value.saturating_add(base.priority.offset),
                None => {
                    self.diagnostics.push(
                        Diagnostic::error(
                            "unknown-priority",
                            format!(
                                "the priority `{name}` has no meaning for this hook in the family {}",
                                state::family_name(table.family)
                            ),
                        )
                        .at(base.priority.span, "")
                        .help("write the priority as a number"),
                    );
                    base.priority.offset
                }
            },
        };
        let chain_type = match base.chain_type.value {
            ast::ChainType::Filter => ChainType::Filter,
            ast::ChainType::Nat => ChainType::Nat,
            ast::ChainType::Route => ChainType::Route,
        };
        let devices = self.devices(&base.devices);
        let needs_device =
            table.family == ast::Family::Netdev || matches!(hook, Hook::Ingress | Hook::Egress);
        if needs_device && devices.is_empty() && hook == Hook::Ingress && table.family == ast::Family::Inet {
            self.diagnostics.push(
                Diagnostic::error("no-device", format!("the ingress chain `{}` names no device", chain.name))
                    .at(base.span, "")
                    .help("write `type filter hook ingress device eth0 priority 0;`"),
            );
        }
        Some(BaseChain {
            chain_type,
            hook,
            priority,
            policy: match chain.policy.map(|policy| policy.value) {
                Some(ast::Policy::Drop) => Policy::Drop,
                _ => Policy::Accept,
            },
            devices,
            policy_span: chain.policy.map_or(base.span, |policy| policy.span),
        })
    }

    /// Refuses combinations of family, type and hook that the kernel doesn't have.
    fn check_base(&mut self, family: ast::Family, base: &ast::BaseChain) {
        use ast::{ChainType as T, Family as F, Hook as H};
        let (chain_type, hook) = (base.chain_type.value, base.hook.value);
        let five = matches!(hook, H::Prerouting | H::Input | H::Forward | H::Output | H::Postrouting);
        let possible = match (family, chain_type) {
            (F::Ip | F::Ip6, T::Filter) | (F::Bridge, T::Filter) => five,
            (F::Inet, T::Filter) => five || hook == H::Ingress,
            (F::Ip | F::Ip6 | F::Inet, T::Nat) => five && hook != H::Forward,
            (F::Ip | F::Ip6 | F::Inet, T::Route) => hook == H::Output,
            (F::Arp, T::Filter) => matches!(hook, H::Input | H::Output),
            (F::Netdev, T::Filter) => matches!(hook, H::Ingress | H::Egress),
            _ => false,
        };
        if !possible {
            let (kind, at) = match chain_type {
                T::Filter => ("filter", base.hook.span),
                T::Nat => ("nat", base.hook.span),
                T::Route => ("route", base.hook.span),
            };
            self.diagnostics.push(
                Diagnostic::error(
                    "wrong-hook",
                    format!("the family {} has no {kind} chains on this hook", state::family_name(family)),
                )
                .at(at, "")
                .help("see the table of chain types and hooks in nft(8), section CHAINS"),
            );
        }
        if chain_type == T::Nat && base.priority.name.is_none() && base.priority.offset <= -200 {
            self.diagnostics.push(
                Diagnostic::error(
                    "bad-priority",
                    "a nat chain can't run before the connection tracking, which has the priority -200",
                )
                .at(base.priority.span, "")
                .help("use `dstnat` (-100) or `srcnat` (100)"),
            );
        }
    }

    fn devices(&mut self, exprs: &[ast::Expr]) -> Vec<Box<str>> {
        fn collect(expr: &ast::Expr, out: &mut Vec<Box<str>>, bad: &mut Vec<Span>) {
            match &expr.resolved().kind {
                ast::ExprKind::Symbol(name) | ast::ExprKind::String(name) => {
                    if InterfaceName::new(name).is_err() || name.is_empty() {
                        bad.push(expr.span);
                    }
                    out.push(name.clone());
                }
                ast::ExprKind::Set(set) => {
                    set.elements.iter().for_each(|element| collect(&element.key, out, bad));
                }
                ast::ExprKind::List(items) => items.iter().for_each(|item| collect(item, out, bad)),
                _ => bad.push(expr.span),
            }
        }
        let (mut names, mut bad) = (Vec::new(), Vec::new());
        for expr in exprs {
            collect(expr, &mut names, &mut bad);
        }
        for span in bad {
            self.diagnostics.push(
                Diagnostic::error("bad-name", "this is not the name of a device")
                    .at(span, "")
                    .help("write a name of 1 to 15 characters"),
            );
        }
        names
    }

    /// Where a jump goes; reports a name that isn't there.
    fn chain_named(&mut self, table: usize, name: &ast::Name) -> Option<ChainId> {
        let info = self.tables.get(table)?;
        let Some(&id) = info.chains.get(name.text.as_ref()) else {
            let known = info.chains.keys().copied().take_while(|_| !self.diagnostics.full());
            let help = match closest(&name.text, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it in the table: `chain {} {{ }}`", name.text),
            };
            self.diagnostics.push(
                Diagnostic::error(
                    "unknown-chain",
                    format!("the table `{}` has no chain `{}`", info.name, name.text),
                )
                .at(name.span, "")
                .help(help),
            );
            return None;
        };
        if let Some(chain) = self.out.chain(id).filter(|chain| chain.base.is_some()) {
            self.diagnostics.push(
                Diagnostic::error(
                    "jump-to-base-chain",
                    format!("`{}` is called by the kernel and can't be jumped to", name.text),
                )
                .at(name.span, "")
                .see(chain.span, "it has a hook")
                .help("move the rules to a chain without a hook, and jump there from both"),
            );
            return None;
        }
        Some(id)
    }
}

/// The family of the representation.
fn family(family: ast::Family) -> Family {
    match family {
        ast::Family::Ip => Family::Ip,
        ast::Family::Ip6 => Family::Ip6,
        ast::Family::Inet => Family::Inet,
        ast::Family::Arp => Family::Arp,
        ast::Family::Bridge => Family::Bridge,
        ast::Family::Netdev => Family::Netdev,
    }
}

fn hook(hook: ast::Hook) -> Hook {
    match hook {
        ast::Hook::Ingress => Hook::Ingress,
        ast::Hook::Prerouting => Hook::Prerouting,
        ast::Hook::Input => Hook::Input,
        ast::Hook::Forward => Hook::Forward,
        ast::Hook::Output => Hook::Output,
        ast::Hook::Postrouting => Hook::Postrouting,
        ast::Hook::Egress => Hook::Egress,
    }
}

/// The number of a named priority (nft(8), "Standard priority names").
fn named_priority(family: ast::Family, hook: Hook, name: &str) -> Option<i32> {
    if family == ast::Family::Bridge {
        return match name {
            "dstnat" if hook == Hook::Prerouting => Some(-300),
            "filter" => Some(-200),
            "out" if hook == Hook::Output => Some(100),
            "srcnat" if hook == Hook::Postrouting => Some(300),
            _ => None,
        };
    }
    if matches!(family, ast::Family::Arp | ast::Family::Netdev) {
        return (name == "filter").then_some(0);
    }
    match name {
        "raw" => Some(-300),
        "mangle" => Some(-150),
        // nft 1.0.6 and later take it on output as well.
        "dstnat" if matches!(hook, Hook::Prerouting | Hook::Output) => Some(-100),
        "filter" => Some(0),
        "security" => Some(50),
        "srcnat" if matches!(hook, Hook::Postrouting | Hook::Input) => Some(100),
        _ => None,
    }
}
