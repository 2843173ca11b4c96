//! `-m set`: lookups in sets of ipset(8).
//!
//! A set without timeouts that no rule changes is data: a set of the intermediate representation, made once for each
//! use of other directions. Any other set is an atom.

use super::Lowerer;
use super::rule::{RuleContext, negate};
use crate::ir::{Product, Set, SetElement, SetId, TableId, Test, Uninterpreted};
use crate::syntax::ipset::{self, Component, Entry, Part};
use crate::syntax::iptables::{OptionUse, Save};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Cube, Field, InterfaceName, IntervalSet, Purity};
use smallvec::SmallVec;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

/// The most entries whose overlaps are cut away pair by pair.
const MAX_PAIRWISE: usize = 2000;
/// How deep lists of sets are followed.
const MAX_DEPTH: usize = 8;

/// All sets of a host, and what of them has been lowered.
pub(super) struct SetIndex<'a> {
    known: HashMap<&'a str, (&'a ipset::Sets<'a>, &'a ipset::Set<'a>)>,
    /// Sets that `-j SET` changes.
    changed: BTreeSet<String>,
    /// Lowered already: by name, directions, and whether the table is IPv6's.
    done: BTreeMap<(String, String, bool), Option<Keyed>>,
}

impl<'a> SetIndex<'a> {
    pub fn new(sets: &'a [ipset::Sets<'_>], saves: &[Save<'_>]) -> SetIndex<'a> {
        let mut known = HashMap::new();
        for text in sets {
            for set in &text.sets {
                known.insert(set.name, (text, set));
            }
        }
        let mut changed = BTreeSet::new();
        for save in saves {
            for option in save.options.iter().filter(|option| option.module.name == "SET") {
                if matches!(option.name(), "add-set" | "del-set") {
                    changed.insert(save.value(option.value).into_owned());
                }
            }
        }
        SetIndex { known, changed, done: BTreeMap::new() }
    }
}

/// The fields that make a key, and the set.
type Keyed = (SmallVec<[Field; 2]>, SetId);

/// Why a set's membership isn't known.
enum Unknown {
    Absent,
    Changing,
    NotModelled(&'static str),
}

impl<'a> Lowerer<'a, '_> {
    pub(super) fn set_match(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let Some(option) = context.get(instance, "match-set") else { return };
        let name = context.value(option).into_owned();
        let directions = context.second(option).to_ascii_lowercase();
        let counted = context
            .of(instance)
            .any(|option| option.name().starts_with("packets") || option.name().starts_with("bytes"));
        let mut tests = Vec::new();
        let known = if counted || context.get(instance, "return-nomatch").is_some() {
            Err(Unknown::NotModelled("its options ask for more than membership"))
        } else {
            self.memberships(context, &name, &directions, &mut tests, 0)
        };
        if let Err(why) = known {
            self.unknown_set(context, option, &name, &directions, why);
            return;
        }
        if option.negated {
            for test in &tests {
                context.test(negate(test, 0));
            }
            return;
        }
        let mut conditions: Vec<Vec<Test>> = Vec::new();
        let mut before: Vec<Test> = Vec::new();
        for test in tests {
            let mut condition = before.clone();
            before.push(negate(&test, 0));
            condition.push(test);
            conditions.push(condition);
        }
        match conditions.as_slice() {
            [] => context.never(),
            [only] => only.iter().for_each(|test| context.test(test.clone())),
            _ => self.any_or_atom(context, &conditions, instance),
        }
    }

    fn unknown_set(
        &mut self,
        context: &mut RuleContext<'_, '_>,
        option: &OptionUse,
        name: &str,
        directions: &str,
        why: Unknown,
    ) {
        self.declare_unknown(name);
        let span = context.table.save.span(option.value);
        let purity = match why {
            Unknown::Changing if self.sets.changed.contains(name) => Purity::Stateful,
            _ => Purity::Pure,
        };
        match why {
            Unknown::Absent => self.warn_once("unknown-set", name, || {
                Diagnostic::warning(
                    "unknown-set",
                    format!("the set `{name}` isn't given, so its members aren't known"),
                )
                .at(span, "a set of ipset")
                .help("give the output of `ipset save` as well")
            }),
            Unknown::NotModelled(reason) => self.warn_once("unmodelled-set", name, || {
                Diagnostic::warning(
                    "unmodelled-set",
                    format!("membership in the set `{name}` isn't modelled: {reason}"),
                )
                .at(span, "kept as an unknown condition")
            }),
            Unknown::Changing => {}
        }
        let atom = self.atom("set membership", &format!("-m set --match-set {name} {directions}"), purity);
        context.atom_test(atom, option.negated);
    }

    /// Keeps what is given of a set whose membership stays open, for those who compare rulesets.
    fn declare_unknown(&mut self, name: &str) {
        let Some(&(text, set)) = self.sets.known.get(name) else { return };
        if self.out.uninterpreted.iter().any(|known| known.table.is_none() && *known.name == *name) {
            return;
        }
        let mut members: Vec<Member<'_>> = set.entries.iter().map(|entry| member(entry, text.text)).collect();
        members.sort_unstable();
        members.dedup();
        let mut hasher = DefaultHasher::new();
        members.hash(&mut hasher);
        self.out.uninterpreted.push(Uninterpreted {
            table: None,
            kind: "ipset",
            name: name.into(),
            spans: vec![text.span(set.at)],
            fingerprint: hasher.finish(),
        });
    }

    /// Tests of which one holds for a member.
    fn memberships(
        &mut self,
        context: &RuleContext<'_, '_>,
        name: &str,
        directions: &str,
        tests: &mut Vec<Test>,
        depth: usize,
    ) -> Result<(), Unknown> {
        let Some(&(text, set)) = self.sets.known.get(name) else { return Err(Unknown::Absent) };
        if set.timeout || self.sets.changed.contains(name) {
            return Err(Unknown::Changing);
        }
        if set.incomplete {
            return Err(Unknown::NotModelled("some of it wasn't understood"));
        }
        if set.components.first() == Some(&Component::Set) {
            if depth >= MAX_DEPTH {
                return Err(Unknown::NotModelled("lists of sets are nested too deeply"));
            }
            for entry in &set.entries {
                if let Some(Part::Set(member)) = entry.parts.first() {
                    self.memberships(context, member.raw(text.text), directions, tests, depth + 1)?;
                }
            }
            return Ok(());
        }
        let has_addresses =
            set.components.iter().any(|c| matches!(c, Component::Address | Component::Network));
        if has_addresses && set.v6 != context.v6() {
            return Ok(());
        }
        let key = (name.to_owned(), directions.to_owned(), context.v6());
        let lowered = match self.sets.done.get(&key) {
            Some(done) => done.clone(),
            None => {
                let lowered = lower_set(text, set, directions, context.v6());
                let lowered = lowered.map(|(fields, elements)| {
                    let id = SetId(self.out.sets.len() as u32);
                    self.out.sets.push(Set {
                        table: context_table(context),
                        name: name.into(),
                        arity: fields.len(),
                        elements,
                        span: text.span(set.at),
                    });
                    (fields, id)
                });
                self.sets.done.insert(key, lowered.clone());
                lowered
            }
        };
        match lowered {
            Some((key, set)) => tests.push(Test::Lookup { key, set, negated: false }),
            None => return Err(Unknown::NotModelled("its type, its masks or its exceptions")),
        }
        Ok(())
    }
}

fn context_table(context: &RuleContext<'_, '_>) -> TableId {
    context.table.id
}

/// The fields of a set's key for some directions, and its elements; `None` where it can't be expressed.
fn lower_set(
    text: &ipset::Sets<'_>,
    set: &ipset::Set<'_>,
    directions: &str,
    v6: bool,
) -> Option<(SmallVec<[Field; 2]>, Vec<SetElement>)> {
    let mut fields: SmallVec<[Field; 2]> = SmallVec::new();
    let mut directions = directions.split(',');
    for component in &set.components {
        let source = directions.next()? == "src";
        let pick = |a, b| if source { a } else { b };
        match component {
            Component::Address | Component::Network => fields.push(pick(Field::SADDR, Field::DADDR)),
            Component::Port | Component::BarePort => {
                // The protocol once, even where the type has two ports.
                if !fields.contains(&Field::L4PROTO) {
                    fields.push(Field::L4PROTO);
                }
                fields.push(pick(Field::SPORT, Field::DPORT));
            }
            Component::Mac => fields.push(pick(Field::ETHER_SADDR, Field::ETHER_DADDR)),
            Component::Mark => fields.push(Field::MARK),
            Component::Interface => fields.push(pick(Field::IIFNAME, Field::OIFNAME)),
            Component::Set => return None,
        }
    }
    let distinct: BTreeSet<Field> = fields.iter().copied().collect();
    if distinct.len() != fields.len() || (set.mark_mask.is_some() && fields.contains(&Field::MARK)) {
        return None;
    }
    if set.address_mask != u128::MAX && set.entries.iter().any(|entry| entry.nomatch) {
        return None;
    }
    let mut products: Vec<(Product, Span)> = Vec::with_capacity(set.entries.len());
    if set.entries.iter().any(|entry| entry.nomatch) {
        if fields.len() != 1 {
            return None;
        }
        let span = text.span(set.at);
        let set = without_exceptions(&set.entries, if v6 { 128 } else { 32 });
        products.extend(set.ranges().iter().map(|&range| (SmallVec::from_slice(&[range]), span)));
    } else {
        for entry in &set.entries {
            let span = text.span(entry.at);
            product(text, entry, span, &mut products)?;
        }
    }
    let elements = if fields.len() == 1 { merge(products) } else { disjoint(products)? };
    Some((fields, elements))
}

/// The products of an entry: one, or one for each protocol.
fn product(text: &ipset::Sets<'_>, entry: &Entry, span: Span, out: &mut Vec<(Product, Span)>) -> Option<()> {
    let mut key: Product = SmallVec::new();
    let mut protocol = None;
    let mut both = false;
    for part in &entry.parts {
        match *part {
            Part::Addresses(low, high) => key.push((low, high)),
            Part::Ports(number, low, high) => {
                let number = u128::from(number);
                match protocol {
                    Some(other) if other != number => return None,
                    Some(_) => {}
                    None => key.push((number, number)),
                }
                protocol = Some(number);
                match number {
                    // A type and code, which are other fields.
                    1 | 58 => return None,
                    6 | 17 | 132 | 136 => key.push((low.into(), high.into())),
                    _ => key.push((0, 0xFFFF)),
                }
            }
            Part::BarePorts(low, high) => {
                both = true;
                key.push((6, 6));
                key.push((low.into(), high.into()));
            }
            Part::Mac(address) => key.push((address.into(), address.into())),
            Part::AnyMac => key.push((0, Field::ETHER_SADDR.max_value())),
            Part::Mark(mark) => key.push((mark.into(), mark.into())),
            Part::Interface(name, bridge_port) => {
                let name = name.raw(text.text);
                if bridge_port {
                    return None;
                }
                let range = match name.strip_suffix('+') {
                    Some(prefix) => InterfaceName::prefix(prefix).ok()?,
                    None => {
                        let name = InterfaceName::new(name).ok()?;
                        (name.0, name.0)
                    }
                };
                key.push(range);
            }
            Part::Set(_) => return None,
        }
    }
    if both {
        let mut udp = key.clone();
        if let Some(first) = udp.first_mut() {
            *first = (17, 17);
        }
        out.push((udp, span));
    }
    out.push((key, span));
    Some(())
}

/// `hash:net` looks the longest prefix up first: an exception counts inside of shorter prefixes, and an entry inside
/// of it counts again.
fn without_exceptions(entries: &[Entry], width: u32) -> IntervalSet {
    let full = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    let mut prefixes: Vec<(u32, bool, u128, u128)> = Vec::new();
    for entry in entries {
        let Some(&Part::Addresses(low, high)) = entry.parts.first() else { continue };
        for cube in Cube::of_range(low, high, width) {
            prefixes.push((
                cube.mask.count_ones(),
                entry.nomatch,
                cube.value,
                cube.value | (full & !cube.mask),
            ));
        }
    }
    prefixes.sort_unstable();
    // From short to long; of one length all entries are disjoint.
    let mut set = IntervalSet::empty();
    for group in prefixes.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let ranges: IntervalSet = group.iter().map(|&(_, _, low, high)| (low, high)).collect();
        set = if group.first().is_some_and(|first| first.1) {
            set.subtract(&ranges)
        } else {
            set.union(&ranges)
        };
    }
    set
}

/// Sorts the intervals of a set of one field and joins those that overlap. O(n log n).
fn merge(mut products: Vec<(Product, Span)>) -> Vec<SetElement> {
    products.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut elements: Vec<SetElement> = Vec::with_capacity(products.len());
    for (key, span) in products {
        let Some(&(low, high)) = key.first() else { continue };
        match elements.last_mut().and_then(|last| last.key.first_mut()) {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => elements.push(SetElement { key, span }),
        }
    }
    elements
}

fn overlap(a: &Product, b: &Product) -> bool {
    a.iter().zip(b).all(|(&(a_low, a_high), &(b_low, b_high))| a_low <= b_high && b_low <= a_high)
}

/// `a` without `b`, as disjoint products.
fn cut(a: &Product, b: &Product) -> Vec<Product> {
    let mut rest = Vec::new();
    let mut inside = a.clone();
    for (index, &(low, high)) in b.iter().enumerate() {
        let Some(&(from, to)) = inside.get(index) else { break };
        let mut piece = |range: (u128, u128)| {
            let mut part = inside.clone();
            if let Some(side) = part.get_mut(index) {
                *side = range;
            }
            rest.push(part);
        };
        if from < low {
            piece((from, low - 1));
        }
        if high < to {
            piece((high + 1, to));
        }
        if let Some(side) = inside.get_mut(index) {
            *side = (from.max(low), to.min(high));
        }
    }
    rest
}

/// Makes products disjoint, the earlier one keeping what two share. Entries whose keys differ in a first interval that
/// no other touches cost nothing; `None` where too many overlap.
fn disjoint(mut products: Vec<(Product, Span)>) -> Option<Vec<SetElement>> {
    let first = |product: &Product| product.first().copied().unwrap_or_default();
    products.sort_by_key(|(product, _)| first(product));
    let mut elements: Vec<SetElement> = Vec::with_capacity(products.len());
    let mut start = 0;
    while start < products.len() {
        // A group: products whose first intervals hang together.
        let mut end = start + 1;
        let mut reach = products.get(start).map_or(0, |(product, _)| first(product).1);
        while let Some((product, _)) = products.get(end) {
            if first(product).0 > reach {
                break;
            }
            reach = reach.max(first(product).1);
            end += 1;
        }
        let group = products.get(start..end).unwrap_or_default();
        if group.len() > MAX_PAIRWISE {
            return None;
        }
        let begin = elements.len();
        for (product, span) in group {
            let mut pieces = vec![product.clone()];
            let mut added = begin;
            while let Some(other) = elements.get(added) {
                if pieces.iter().any(|piece| overlap(piece, &other.key)) {
                    pieces = pieces
                        .iter()
                        .flat_map(|piece| {
                            if overlap(piece, &other.key) {
                                cut(piece, &other.key)
                            } else {
                                vec![piece.clone()]
                            }
                        })
                        .collect();
                }
                added += 1;
            }
            elements.extend(pieces.into_iter().map(|key| SetElement { key, span: *span }));
            if elements.len() - begin > 4 * MAX_PAIRWISE {
                return None;
            }
        }
        start = end;
    }
    Some(elements)
}

/// A member of a set by its values, wherever it stands: an exception or not, and for each part what it is, its values,
/// and a name.
type Member<'t> = (bool, SmallVec<[(u8, u128, u128, &'t str); 2]>);

fn member<'t>(entry: &Entry, text: &'t str) -> Member<'t> {
    let part = |part: &Part| match *part {
        Part::Addresses(low, high) => (0, low, high, ""),
        Part::Ports(protocol, low, high) => {
            let of = |port: u16| u128::from(protocol) << 16 | u128::from(port);
            (1, of(low), of(high), "")
        }
        Part::BarePorts(low, high) => (2, low.into(), high.into(), ""),
        Part::Mac(address) => (3, address.into(), address.into(), ""),
        Part::AnyMac => (4, 0, 0, ""),
        Part::Mark(mark) => (5, mark.into(), mark.into(), ""),
        Part::Interface(name, bridge_port) => (6, bridge_port.into(), 0, name.raw(text)),
        Part::Set(name) => (7, 0, 0, name.raw(text)),
    };
    (entry.nomatch, entry.parts.iter().map(part).collect())
}
