//! The commands of scripts, run in order: which tables, chains, rules, sets and objects there are in the end.
//!
//! Nothing is copied: the state points into the syntax trees. It is the only one to point at a rule, so that whoever
//! lowers the rule can drop what it was made of.

use super::value::closest;
use crate::findings::Findings;
use crate::syntax::nft::ast::{
    BaseChain, Chain, Command, Element, Family, Item, Name, ObjectKind, Policy, Position, Rule, RuleCommand,
    Script, Set, Spanned, Table, TableRef, Target, Verb,
};
use firewarden_diagnostic::{Diagnostic, Span};
use std::collections::{BTreeMap, VecDeque};

/// Things with names in the order in which they were made; removed ones leave a gap.
#[derive(Debug)]
pub(super) struct Named<'a, T> {
    items: Vec<Option<T>>,
    index: BTreeMap<&'a str, usize>,
}

impl<T> Default for Named<'_, T> {
    fn default() -> Self {
        Named { items: Vec::new(), index: BTreeMap::new() }
    }
}

impl<'a, T> Named<'a, T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.items.get(*self.index.get(name)?)?.as_ref()
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.items.get_mut(*self.index.get(name)?)?.as_mut()
    }

    fn insert(&mut self, name: &'a str, item: T) -> Option<&mut T> {
        self.index.insert(name, self.items.len());
        self.items.push(Some(item));
        self.items.last_mut()?.as_mut()
    }

    fn remove(&mut self, name: &str) -> Option<T> {
        let at = self.index.remove(name)?;
        self.items.get_mut(at)?.take()
    }

    fn rename(&mut self, from: &str, to: &'a str) {
        if let Some(at) = self.index.remove(from) {
            self.index.insert(to, at);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.index.keys().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten()
    }
}

/// Everything at the end of the scripts.
#[derive(Debug, Default)]
pub(super) struct State<'a> {
    tables: Vec<Option<TableState<'a>>>,
    index: BTreeMap<(Family, &'a str), usize>,
}

/// A table.
#[derive(Debug)]
pub(super) struct TableState<'a> {
    pub(super) family: Family,
    pub(super) name: &'a str,
    pub(super) span: Span,
    pub(super) dormant: bool,
    handle: Option<u64>,
    pub(super) chains: Named<'a, ChainState<'a>>,
    pub(super) sets: Named<'a, SetState<'a>>,
    pub(super) objects: BTreeMap<(ObjectKind, &'a str), Span>,
    pub(super) flowtables: BTreeMap<&'a str, Span>,
}

/// A chain.
#[derive(Debug)]
pub(super) struct ChainState<'a> {
    pub(super) name: &'a str,
    pub(super) span: Span,
    pub(super) base: Option<&'a BaseChain>,
    pub(super) policy: Option<Spanned<Policy>>,
    handle: Option<u64>,
    pub(super) rules: VecDeque<&'a mut Rule>,
}

/// A set or map.
#[derive(Debug)]
pub(super) struct SetState<'a> {
    pub(super) declaration: &'a Set,
    pub(super) elements: Vec<ElementChange<'a>>,
}

/// What happened to the elements of a set, in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum ElementChange<'a> {
    Add(&'a [Element]),
    Delete(&'a [Element]),
}

impl<'a> State<'a> {
    /// The tables in the order in which they were made.
    pub(super) fn tables(&self) -> impl Iterator<Item = &TableState<'a>> {
        self.tables.iter().flatten()
    }

    pub(super) fn tables_mut(&mut self) -> impl Iterator<Item = &mut TableState<'a>> {
        self.tables.iter_mut().flatten()
    }

    fn table_mut(&mut self, family: Family, name: &str) -> Option<&mut TableState<'a>> {
        self.tables.get_mut(*self.index.get(&(family, name))?)?.as_mut()
    }
}

/// Runs the scripts. Commands that can't be run are reported and left out. O(size of the scripts), but for rules
/// placed by handle or index, which cost O(rules of the chain) each.
pub(super) fn run<'a>(scripts: &'a mut [Script], diagnostics: &mut Findings) -> State<'a> {
    let mut runner = Runner { state: State::default(), diagnostics };
    for script in scripts {
        for command in &mut script.commands {
            runner.command(command);
        }
    }
    runner.state
}

struct Runner<'a, 'd> {
    state: State<'a>,
    diagnostics: &'d mut Findings,
}

impl<'a> Runner<'a, '_> {
    fn command(&mut self, command: &'a mut Command) {
        if matches!(command.verb, Verb::Show | Verb::Reset) {
            return;
        }
        match &mut command.target {
            Target::Ruleset(family) => self.flush_ruleset(*family),
            Target::Table(table) => self.table(command.verb, table),
            Target::Item { table, item } => self.item_command(command.verb, table, item, command.span),
            Target::Rule(rule) => self.rule_command(command.verb, rule, command.span),
            Target::Elements { table, set, elements } => {
                self.elements(command.verb, table, set, elements);
            }
            Target::RenameChain { table, from, to } => self.rename(table, from, to),
            Target::Define(_) | Target::Undefine(_) | Target::Include { .. } | Target::Other { .. } => {}
        }
    }

    fn flush_ruleset(&mut self, family: Option<Family>) {
        for slot in &mut self.state.tables {
            if slot.as_ref().is_some_and(|table| family.is_none_or(|family| family == table.family)) {
                *slot = None;
            }
        }
        self.state.index.retain(|key, _| family.is_some_and(|family| family != key.0));
    }

    fn table(&mut self, verb: Verb, table: &'a mut Table) {
        let (span, handle, dormant) = (table.span, table.handle, table.dormant);
        let Table { id, items, .. } = table;
        let id: &'a TableRef = id;
        let key = (id.family, id.name.text.as_ref());
        match verb {
            Verb::Delete | Verb::Destroy => {
                let found = match handle.filter(|_| key.1.is_empty()) {
                    Some(handle) => self.state.tables().find_map(|known| {
                        (known.handle == Some(handle) && known.family == key.0)
                            .then_some((known.family, known.name))
                    }),
                    None => Some(key),
                };
                match found.and_then(|key| self.state.index.remove(&key)) {
                    Some(at) => {
                        if let Some(slot) = self.state.tables.get_mut(at) {
                            *slot = None;
                        }
                    }
                    None if verb == Verb::Delete => self.missing_table(id, true),
                    None => {}
                }
            }
            Verb::Flush => match self.state.table_mut(key.0, key.1) {
                Some(known) => known.chains.iter_mut().for_each(|chain| chain.rules.clear()),
                None => self.missing_table(id, true),
            },
            _ => {
                if let Some(known) = self.state.table_mut(key.0, key.1) {
                    if verb == Verb::Create {
                        let first = known.span;
                        self.exists("table", &id.name, first);
                        return;
                    }
                    known.dormant |= dormant;
                } else {
                    self.state.index.insert(key, self.state.tables.len());
                    self.state.tables.push(Some(TableState {
                        family: key.0,
                        name: key.1,
                        span,
                        dormant,
                        handle,
                        chains: Named::default(),
                        sets: Named::default(),
                        objects: BTreeMap::new(),
                        flowtables: BTreeMap::new(),
                    }));
                }
                for item in items {
                    self.add_item(verb, id, item);
                }
            }
        }
    }

    fn item_command(&mut self, verb: Verb, table: &'a TableRef, item: &'a mut Item, span: Span) {
        match verb {
            Verb::Delete | Verb::Destroy => self.delete_item(verb, table, item, span),
            Verb::Flush => {
                let Some(known) = self.state.table_mut(table.family, &table.name.text) else {
                    return self.missing_table(table, true);
                };
                match item {
                    Item::Chain(chain) => match known.chains.get_mut(&chain.name.text) {
                        Some(chain) => chain.rules.clear(),
                        None => self.missing(table, "chain", &chain.name, true),
                    },
                    Item::Set(set) => match known.sets.get_mut(&set.name.text) {
                        Some(set) => set.elements.clear(),
                        None => self.missing(table, "set", &set.name, true),
                    },
                    _ => {}
                }
            }
            _ => self.add_item(verb, table, item),
        }
    }

    fn add_item(&mut self, verb: Verb, table: &'a TableRef, item: &'a mut Item) {
        let Some(known) = self.state.table_mut(table.family, &table.name.text) else {
            return self.missing_table(table, false);
        };
        match item {
            Item::Chain(chain) => self.add_chain(verb, table, chain),
            Item::Set(set) => {
                let name = set.name.text.as_ref();
                if let Some(old) = known.sets.get_mut(name) {
                    if !set.elements.is_empty() {
                        old.elements.push(ElementChange::Add(&set.elements));
                    }
                    let first = old.declaration;
                    if verb == Verb::Create || !same_declaration(first, set) {
                        self.exists("set", &set.name, first.span);
                    }
                    return;
                }
                let elements = match set.elements.as_slice() {
                    [] => Vec::new(),
                    elements => vec![ElementChange::Add(elements)],
                };
                known.sets.insert(name, SetState { declaration: set, elements });
            }
            Item::Object(object) => {
                if let Some(diagnostic) = super::objects::check(object, table.family) {
                    self.diagnostics.push(diagnostic);
                }
                let first = *known.objects.entry((object.kind, &object.name.text)).or_insert(object.span);
                if verb == Verb::Create && first != object.span {
                    self.exists("object", &object.name, first);
                }
            }
            Item::Flowtable(flowtable) => {
                let first = *known.flowtables.entry(&flowtable.name.text).or_insert(flowtable.span);
                if verb == Verb::Create && first != flowtable.span {
                    self.exists("flowtable", &flowtable.name, first);
                }
            }
            Item::Invalid(_) => {}
        }
    }

    fn add_chain(&mut self, verb: Verb, table: &'a TableRef, chain: &'a mut Chain) {
        let (span, policy, handle) = (chain.span, chain.policy, chain.handle);
        let Chain { name: written, base, rules, .. } = chain;
        let (written, base): (&'a Name, Option<&'a BaseChain>) = (written, base.as_deref());
        let Some(known) = self.state.table_mut(table.family, &table.name.text) else { return };
        let name = written.text.as_ref();
        let mut clash = None;
        match known.chains.get_mut(name) {
            Some(old) => {
                let first = old.span;
                match (old.base, base) {
                    (Some(before), Some(now)) if !same_base(before, now) => clash = Some(first),
                    (None, Some(_)) => clash = Some(first),
                    _ => {}
                }
                if verb == Verb::Create {
                    clash = Some(first);
                }
                if clash.is_none() {
                    old.policy = policy.or(old.policy);
                }
                old.rules.extend(rules);
            }
            None => {
                known.chains.insert(
                    name,
                    ChainState { name, span, base, policy, handle, rules: rules.iter_mut().collect() },
                );
            }
        }
        if let Some(first) = clash {
            self.exists("chain", written, first);
        }
    }

    fn delete_item(&mut self, verb: Verb, table: &'a TableRef, item: &'a Item, span: Span) {
        let Some(known) = self.state.table_mut(table.family, &table.name.text) else {
            if verb == Verb::Delete {
                self.missing_table(table, true);
            }
            return;
        };
        let (kind, name, found) = match item {
            Item::Chain(chain) => {
                let by_handle = chain.handle.filter(|_| chain.name.text.is_empty()).and_then(|handle| {
                    known.chains.iter().find(|known| known.handle == Some(handle)).map(|known| known.name)
                });
                let name = by_handle.unwrap_or(&chain.name.text);
                ("chain", &chain.name, known.chains.remove(name).is_some())
            }
            Item::Set(set) => ("set", &set.name, known.sets.remove(&set.name.text).is_some()),
            Item::Object(object) => (
                "object",
                &object.name,
                known.objects.remove(&(object.kind, object.name.text.as_ref())).is_some(),
            ),
            Item::Flowtable(flowtable) => (
                "flowtable",
                &flowtable.name,
                known.flowtables.remove(flowtable.name.text.as_ref()).is_some(),
            ),
            Item::Invalid(_) => return,
        };
        if !found && verb == Verb::Delete {
            if name.text.is_empty() {
                self.warn("unknown-handle", span, format!("no {kind} here has this handle"));
            } else {
                self.missing(table, kind, name, true);
            }
        }
    }

    fn rule_command(&mut self, verb: Verb, command: &'a mut RuleCommand, span: Span) {
        let position = command.position;
        let RuleCommand { table: in_table, chain: in_chain, rule, .. } = command;
        let (in_table, in_chain): (&'a TableRef, &'a Name) = (in_table, in_chain);
        let rule = rule.as_mut();
        let Some(table) = self.state.table_mut(in_table.family, &in_table.name.text) else {
            return self.missing_table(in_table, false);
        };
        let Some(chain) = table.chains.get_mut(&in_chain.text) else {
            return self.missing(in_table, "chain", in_chain, false);
        };
        let rules = &mut chain.rules;
        let at = match position {
            None => None,
            Some(Position::Index(index)) => {
                usize::try_from(index).ok().filter(|at| *at < rules.len()).map(Ok).or(Some(Err(())))
            }
            Some(Position::Handle(handle)) => {
                Some(rules.iter().position(|rule| rule.handle == Some(handle)).ok_or(()))
            }
        };
        let Ok(at) = at.transpose() else {
            if verb != Verb::Destroy {
                self.warn("unknown-handle", span, "no rule of the chain has this handle or index".to_owned());
            }
            if let (Verb::Add | Verb::Insert | Verb::Create, Some(rule)) = (verb, rule) {
                self.place(in_table, in_chain, |rules| rules.push_back(rule));
            }
            return;
        };
        match (verb, rule, at) {
            (Verb::Insert, Some(rule), None) => rules.push_front(rule),
            (Verb::Insert, Some(rule), Some(at)) => rules.insert(at, rule),
            (Verb::Replace, Some(rule), Some(at)) => {
                if let Some(slot) = rules.get_mut(at) {
                    *slot = rule;
                }
            }
            (Verb::Delete | Verb::Destroy, _, Some(at)) => {
                rules.remove(at);
            }
            (Verb::Add | Verb::Create, Some(rule), None) => rules.push_back(rule),
            (Verb::Add | Verb::Create, Some(rule), Some(at)) => rules.insert(at + 1, rule),
            _ => {}
        }
    }

    fn place(&mut self, table: &TableRef, chain: &Name, put: impl FnOnce(&mut VecDeque<&'a mut Rule>)) {
        let table = self.state.table_mut(table.family, &table.name.text);
        if let Some(chain) = table.and_then(|table| table.chains.get_mut(&chain.text)) {
            put(&mut chain.rules);
        }
    }

    fn elements(&mut self, verb: Verb, table: &'a TableRef, set: &'a Name, elements: &'a [Element]) {
        let Some(known) = self.state.table_mut(table.family, &table.name.text) else {
            return self.missing_table(table, verb != Verb::Add && verb != Verb::Create);
        };
        match known.sets.get_mut(&set.text) {
            Some(known) => known.elements.push(match verb {
                Verb::Delete | Verb::Destroy => ElementChange::Delete(elements),
                _ => ElementChange::Add(elements),
            }),
            None => self.missing(table, "set", set, false),
        }
    }

    fn rename(&mut self, table: &'a TableRef, from: &'a Name, to: &'a Name) {
        let Some(known) = self.state.table_mut(table.family, &table.name.text) else {
            return self.missing_table(table, false);
        };
        if let Some(other) = known.chains.get(&to.text) {
            let first = other.span;
            return self.exists("chain", to, first);
        }
        match known.chains.get_mut(&from.text) {
            Some(chain) => {
                chain.name = &to.text;
                known.chains.rename(&from.text, &to.text);
            }
            None => self.missing(table, "chain", from, false),
        }
    }

    fn exists(&mut self, what: &str, name: &Name, first: Span) {
        self.diagnostics.push(
            Diagnostic::error("already-exists", format!("the {what} `{}` exists already", name.text))
                .at(name.span, "declared again, differently or with `create`")
                .see(first, "first declared here")
                .help("delete the first one before, or give this one another name"),
        );
    }

    fn warn(&mut self, code: &'static str, span: Span, message: String) {
        self.diagnostics.push(
            Diagnostic::warning(code, message)
                .at(span, "")
                .because("handles are those of a running kernel; a file can only know them from its listing")
                .help("read the ruleset with `nft -a list ruleset`, or name the rule in the file itself"),
        );
    }

    /// A table that isn't there. Removing what another file or the running kernel may hold is only a warning.
    fn missing_table(&mut self, table: &TableRef, may_be_elsewhere: bool) {
        let room = !self.diagnostics.full();
        let known: Vec<&str> = self.state.tables().map(|table| table.name).take_while(|_| room).collect();
        let mut diagnostic = severity(
            may_be_elsewhere,
            "unknown-table",
            format!("there is no table `{} {}`", family_name(table.family), table.name.text),
        )
        .at(table.name.span, "");
        diagnostic = match closest(&table.name.text, known) {
            Some(near) if near != &*table.name.text => diagnostic.help(format!("did you mean `{near}`?")),
            Some(_) => diagnostic.help("a table of this name exists in another family; write the family"),
            None => diagnostic.help(format!(
                "put `add table {} {}` before it",
                family_name(table.family),
                table.name.text
            )),
        };
        self.diagnostics.push(diagnostic);
    }

    fn missing(&mut self, table: &TableRef, what: &str, name: &Name, may_be_elsewhere: bool) {
        let room = !self.diagnostics.full();
        let known: Vec<&str> = match self.state.table_mut(table.family, &table.name.text) {
            Some(known) if what == "chain" => known.chains.names().take_while(|_| room).collect(),
            Some(known) if what == "set" => known.sets.names().take_while(|_| room).collect(),
            _ => Vec::new(),
        };
        let help = match closest(&name.text, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare the {what} in the table `{}` first", table.name.text),
        };
        self.diagnostics.push(
            severity(
                may_be_elsewhere,
                "unknown-name",
                format!("the table `{}` has no {what} `{}`", table.name.text, name.text),
            )
            .at(name.span, "")
            .help(help),
        );
    }
}

fn severity(warning: bool, code: &'static str, message: String) -> Diagnostic {
    if warning { Diagnostic::warning(code, message) } else { Diagnostic::error(code, message) }
}

/// nft's word for a family.
pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
        Family::Inet => "inet",
        Family::Arp => "arp",
        Family::Bridge => "bridge",
        Family::Netdev => "netdev",
    }
}

fn same_base(before: &BaseChain, now: &BaseChain) -> bool {
    before.chain_type.value == now.chain_type.value
        && before.hook.value == now.hook.value
        && (before.priority.name, before.priority.offset) == (now.priority.name, now.priority.offset)
}

/// Whether a second declaration says the same as the first, as far as the kernel compares them.
fn same_declaration(first: &Set, second: &Set) -> bool {
    let named = |set: &Set| match &set.key {
        Some(crate::syntax::nft::ast::SetType::Named(names)) => {
            Some(names.iter().map(|name| name.text.clone()).collect::<Vec<_>>())
        }
        _ => None,
    };
    let key_differs = match (named(first), named(second)) {
        (Some(first), Some(second)) => first != second,
        _ => false,
    };
    first.kind == second.kind && !key_differs
}
