//! One rule: its own options, and the statements that its matches and target add.

use super::{Lowerer, TableContext};
use crate::ir;
use crate::ir::{Statement, Test, Verdict};
use crate::syntax::iptables::args::{self, Network};
use crate::syntax::iptables::{Kind, OptionUse, Rule};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Cube, Field, InterfaceName, IntervalSet, Purity};
use smallvec::SmallVec;
use std::borrow::Cow;

/// The most rules that one rule becomes, for conditions of the form "this or that" on several fields.
const MAX_ALTERNATIVES: usize = 16;

/// A rule while it is lowered.
pub(super) struct RuleContext<'a, 't> {
    pub table: &'a TableContext<'a, 't>,
    pub options: &'a [OptionUse],
    pub span: Span,
    /// Bits of the hooks that lead here.
    pub hooks: u8,
    /// Statement lists of which at most one applies to a packet.
    pub alternatives: SmallVec<[Vec<Statement>; 1]>,
    pub comment: Option<Box<str>>,
}

impl<'a, 't> RuleContext<'a, 't> {
    pub fn value(&self, option: &OptionUse) -> Cow<'t, str> {
        self.table.save.value(option.value)
    }

    pub fn second(&self, option: &OptionUse) -> Cow<'t, str> {
        self.table.save.value(option.second)
    }

    pub fn v6(&self) -> bool {
        self.table.v6
    }

    /// The largest address.
    pub fn address_max(&self) -> u128 {
        if self.table.v6 { u128::MAX } else { u128::from(u32::MAX) }
    }

    /// The options of one loading of an extension.
    pub fn of(&self, instance: u8) -> impl Iterator<Item = &'a OptionUse> + use<'a, 't> {
        self.options.iter().filter(move |option| option.instance == instance && option.spec.is_some())
    }

    /// The option of that name of one loading.
    pub fn get(&self, instance: u8, name: &str) -> Option<&'a OptionUse> {
        self.of(instance).find(|option| option.name() == name)
    }

    pub fn push(&mut self, statement: Statement) {
        let last = self.alternatives.len().saturating_sub(1);
        for list in self.alternatives.iter_mut().take(last) {
            list.push(statement.clone());
        }
        if let Some(list) = self.alternatives.last_mut() {
            list.push(statement);
        }
    }

    pub fn test(&mut self, test: Test) {
        self.push(Statement::Test(test));
    }

    /// A condition that no packet meets.
    pub fn never(&mut self) {
        self.test(Test::Range { field: Field::L4PROTO, set: IntervalSet::empty() });
    }

    /// A field of numbers; an unrestricted set makes no test.
    pub fn range(&mut self, field: Field, max: u128, set: IntervalSet, negated: bool) {
        let set = if negated { set.complement(max) } else { set };
        if !set.covers(0, max) {
            self.test(Test::Range { field, set });
        }
    }

    /// A field of bits: `word & mask == value`.
    pub fn bits(&mut self, field: Field, mask: u128, value: u128, negated: bool) {
        if value & !mask != 0 {
            if !negated {
                self.never();
            }
        } else if mask == 0 {
            if negated {
                self.never();
            }
        } else {
            let cubes = SmallVec::from_slice(&[Cube::new(mask, value)]);
            self.test(Test::Bits { field, cubes, negated });
        }
    }

    pub fn atom_test(&mut self, atom: Field, negated: bool) {
        self.test(Test::Atom { atom, negated });
    }

    /// Any of several conditions, each a list of tests, of which no two hold together. False where that would make
    /// too many rules; then nothing is added.
    pub fn any_of(&mut self, conditions: &[Vec<Test>]) -> bool {
        if self.alternatives.len() * conditions.len() > MAX_ALTERNATIVES {
            return false;
        }
        let mut all = SmallVec::with_capacity(self.alternatives.len() * conditions.len());
        for list in &self.alternatives {
            for condition in conditions {
                let mut joined = list.clone();
                joined.extend(condition.iter().cloned().map(Statement::Test));
                all.push(joined);
            }
        }
        self.alternatives = all;
        true
    }

    /// The rule also applies where `others` and the statement do, of which no packet meets another alternative. False
    /// where that would make too many rules; then nothing is added.
    pub fn or_else(&mut self, others: &[Vec<Statement>], statement: &Statement) -> bool {
        if self.alternatives.len() + others.len() > MAX_ALTERNATIVES {
            return false;
        }
        for list in others {
            let mut joined = list.clone();
            joined.push(statement.clone());
            self.alternatives.push(joined);
        }
        true
    }

    /// The options of a loading as iptables-save writes them, for an atom's text.
    pub fn text(&self, instance: u8) -> String {
        let module = self.options.iter().find(|option| option.instance == instance);
        let dash = if module.is_some_and(|option| option.module.kind == Kind::Target) { "-j" } else { "-m" };
        let name = module.map_or("", |option| {
            if option.module.name == "?" {
                option.value.raw(self.table.save.text)
            } else {
                option.module.name
            }
        });
        let mut text = format!("{dash} {name}");
        for option in self.of(instance) {
            text.push(' ');
            text.push_str(&self.option_text(option, option.negated));
        }
        text
    }

    /// `[! ]--name value`.
    pub fn option_text(&self, option: &OptionUse, negated: bool) -> String {
        let mut text = if negated { "! ".to_owned() } else { String::new() };
        text.push_str("--");
        text.push_str(option.name());
        for value in [option.value, option.second] {
            if !value.is_empty() {
                text.push(' ');
                text.push_str(&self.table.save.value(value));
            }
        }
        text
    }
}

impl<'a> Lowerer<'a, '_> {
    /// Lowers a rule into one rule, or into several of which at most one applies to a packet.
    pub(super) fn rule(
        &mut self,
        table: &TableContext<'_, '_>,
        rule: &Rule,
        hooks: u8,
        out: &mut Vec<ir::Rule>,
    ) {
        let options = table.save.options(rule);
        let span = table.save.span(rule.at);
        let mut context = RuleContext {
            table,
            options,
            span,
            hooks,
            alternatives: SmallVec::from_buf([Vec::with_capacity(options.len() + 1)]),
            comment: None,
        };
        for option in options.iter().filter(|option| option.instance == 0) {
            self.own(&mut context, option);
        }
        for loading in options.iter().filter(|option| option.instance > 0 && option.spec.is_none()) {
            if loading.module.kind == Kind::Match {
                self.match_module(&mut context, loading);
            }
        }
        if rule.incomplete {
            let text = rule.at.raw(table.save.text);
            let atom = self.atom("unknown", text, Purity::Stateful);
            context.atom_test(atom, false);
        }
        self.target(&mut context);
        if context.alternatives.len() > 1 {
            self.keep_apart(&mut context);
        }
        for statements in context.alternatives {
            out.push(ir::Rule {
                statements: statements.into_boxed_slice(),
                span,
                handle: 0,
                comment: context.comment.clone(),
            });
        }
    }

    /// Where a target writes a field in which the alternatives differ, a packet might pass a second one: then what it
    /// writes is left open. Tests that all alternatives share keep none of them apart.
    fn keep_apart(&mut self, context: &mut RuleContext<'_, '_>) {
        let mut written: Vec<Field> = Vec::new();
        for statement in context.alternatives.iter().flatten() {
            if let Statement::Assign { field, .. } = statement {
                written.push(*field);
            }
        }
        let shared = |test: &Test| {
            let same = |statement: &Statement| matches!(statement, Statement::Test(other) if other == test);
            context.alternatives.iter().all(|list| list.iter().any(same))
        };
        written.retain(|field| {
            context.alternatives.iter().flatten().any(|statement| match statement {
                Statement::Test(test) => tests_field(test, *field) && !shared(test),
                _ => false,
            })
        });
        written.sort_unstable();
        written.dedup();
        let text = context.text_of_rule().to_owned();
        for field in written {
            let domain = (0, field.max_value());
            let choice = self.atoms.choice(self.scope, "written value", &text, Purity::Stateful, domain);
            context.push(Statement::Opaque { fields: vec![(field, choice)] });
        }
    }

    /// `-s`, `-d`, `-p`, `-i`, `-o`, `-f`.
    fn own(&mut self, context: &mut RuleContext<'_, '_>, option: &OptionUse) {
        match option.name() {
            "source" => self.network(context, Field::SADDR, option),
            "destination" => self.network(context, Field::DADDR, option),
            "protocol" => {
                let number = args::protocol(&context.value(option)).unwrap_or(0);
                if number != 0 {
                    context.range(
                        Field::L4PROTO,
                        255,
                        IntervalSet::single(u128::from(number)),
                        option.negated,
                    );
                }
            }
            "in-interface" => interface(context, Field::IIFNAME, option),
            "out-interface" => interface(context, Field::OIFNAME, option),
            "fragment" => {
                let set = IntervalSet::range(1, Field::FRAGMENT_OFFSET.max_value());
                context.range(
                    Field::FRAGMENT_OFFSET,
                    Field::FRAGMENT_OFFSET.max_value(),
                    set,
                    option.negated,
                );
            }
            _ => {}
        }
    }

    /// An address field against networks; host names become an atom.
    pub(super) fn network(&mut self, context: &mut RuleContext<'_, '_>, field: Field, option: &OptionUse) {
        let text = context.value(option);
        let max = context.address_max();
        let mut ranges: Vec<(u128, u128)> = Vec::new();
        let mut masked: Vec<(u128, u128)> = Vec::new();
        let mut unknown = false;
        for network in args::networks(&text).unwrap_or_default() {
            let (address, mask) = match network {
                Network::V4(address, mask) if !context.v6() => (u128::from(address), u128::from(mask)),
                Network::V6(address, mask) if context.v6() => (address, mask),
                Network::Name(name) => {
                    unknown = true;
                    let span = context.table.save.span(option.value);
                    self.warn_once("host-name", name, || {
                        Diagnostic::warning(
                            "host-name",
                            format!(
                                "`{name}` is resolved when the rule is loaded, so its addresses aren't known"
                            ),
                        )
                        .at(span, "a host name")
                        .help("write its addresses: rules should not depend on a name server")
                    });
                    continue;
                }
                // The parser has told that the versions don't fit.
                _ => continue,
            };
            let free = max & !mask;
            if free & (free.wrapping_add(1)) == 0 {
                ranges.push((address, address | free));
            } else {
                masked.push((mask, address));
            }
        }
        if unknown {
            let text = context.option_text(option, false);
            let atom = self.atom("host name", &text, Purity::Pure);
            context.atom_test(atom, option.negated);
            return;
        }
        let ranges = IntervalSet::from_ranges(ranges);
        if masked.is_empty() {
            context.range(field, max, ranges, option.negated);
            return;
        }
        // Masks that aren't prefixes: each is a condition of its own.
        let one = |(mask, value): (u128, u128), negated: bool| {
            let set = IntervalSet::single(value);
            let set = if negated { set.complement(mask) } else { set };
            Test::Masked { field, mask: Box::new(mask), set }
        };
        if option.negated {
            for part in masked {
                context.test(one(part, true));
            }
            context.range(field, max, ranges, true);
            return;
        }
        let mut conditions = Vec::new();
        let mut before: Vec<Test> = Vec::new();
        if !ranges.is_empty() {
            conditions.push(vec![Test::Range { field, set: ranges.clone() }]);
            before.push(Test::Range { field, set: ranges.complement(max) });
        }
        for part in masked {
            let mut condition = before.clone();
            condition.push(one(part, false));
            conditions.push(condition);
            before.push(one(part, true));
        }
        if !context.any_of(&conditions) {
            let text = context.option_text(option, false);
            let atom = self.atom("list of masks", &text, Purity::Pure);
            context.atom_test(atom, false);
        }
    }
}

/// `eth0`, or `eth+` for all names that begin so.
fn interface(context: &mut RuleContext<'_, '_>, field: Field, option: &OptionUse) {
    let name = context.value(option);
    let set = match name.strip_suffix('+') {
        Some(prefix) => InterfaceName::prefix(prefix).ok(),
        None => InterfaceName::new(&name).ok().map(|name| (name.0, name.0)),
    };
    let Some((low, high)) = set else { return };
    context.range(field, u128::MAX, IntervalSet::range(low, high), option.negated);
}

/// The condition that doesn't hold where `test` does; for fields with the given largest value.
pub(super) fn negate(test: &Test, max: u128) -> Test {
    match test.clone() {
        Test::Range { field, set } => Test::Range { field, set: set.complement(max) },
        Test::Masked { field, mask, set } => Test::Masked { field, set: set.complement(*mask), mask },
        Test::Bits { field, cubes, negated } => Test::Bits { field, cubes, negated: !negated },
        Test::Lookup { key, set, negated } => Test::Lookup { key, set, negated: !negated },
        Test::Atom { atom, negated } => Test::Atom { atom, negated: !negated },
    }
}

/// Whether a test asks for the field.
fn tests_field(test: &Test, field: Field) -> bool {
    match test {
        Test::Range { field: tested, .. }
        | Test::Bits { field: tested, .. }
        | Test::Masked { field: tested, .. } => *tested == field,
        Test::Lookup { key, .. } => key.contains(&field),
        Test::Atom { .. } => false,
    }
}

impl RuleContext<'_, '_> {
    /// The rule as written.
    pub fn text_of_rule(&self) -> &str {
        self.table.save.text.get(self.span.start as usize..self.span.end as usize).unwrap_or_default()
    }

    /// Ends the rule with something that the model doesn't decide.
    pub fn opaque_verdict(&mut self, atom: Field) {
        self.push(Statement::Verdict(Verdict::Opaque { atom }));
    }
}
