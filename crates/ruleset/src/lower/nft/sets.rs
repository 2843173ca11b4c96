//! Sets and maps: the types of their keys and data, their elements, and how a key of the packet is looked up in them.

use super::elements::{
    Changing, disjoint, element_products, elements_of_changes, fill_gaps, is_everything, parts, set_elements,
    wrong_arity,
};
use super::rule::RuleContext;
use super::selector::{Place, Selector, Site, selector};
use super::state::{ElementChange, SetState, TableState};
use super::types::Type;
use super::value::{Fail, Want, closest, each_element, interval, invalid};
use super::{Lowerer, text};
use crate::ir::{
    Map, MapData, MapEntry, MapId, Product, Set, SetElement, SetId, Statement, TableId, Test, Uninterpreted,
    Value,
};
use crate::syntax::nft::ast::{
    self, Element, Expr, ExprKind, ObjectKind, SetKind, SetLiteral, SetType, StatementKind,
};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, Purity};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a key, at most, each part in whole words of four (NFT_DATA_VALUE_MAXLEN of the kernel).
const KEY_BYTES: u32 = 64;

/// What is known of a named set or map.
#[derive(Clone, Debug)]
pub(super) struct SetInfo {
    pub(super) key: Vec<Want>,
    pub(super) data: Option<DataType>,
    /// Where its elements are.
    pub(super) content: Content,
    pub(super) span: Span,
}

/// The elements of a named set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// They can't change by packets.
    Set(SetId),
    /// The same, with data.
    Map(MapId),
    /// They change while packets flow, or can't be expressed: membership is an atom.
    Unknown,
}

/// What a map gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    Verdict,
    Values(Vec<Want>),
    Object(ObjectKind),
}

/// A key that is looked up.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) fields: SmallVec<[Field; 2]>,
    pub(super) wants: Vec<Want>,
    /// A part is a choice that stands for something outside the model.
    pub(super) has_choice: bool,
}

/// Where a set is declared, and where members are added to it or taken out of it.
fn places(set: &SetState<'_>) -> Vec<Span> {
    let mut places = vec![set.declaration.span];
    for change in &set.elements {
        let (ElementChange::Add(elements) | ElementChange::Delete(elements)) = change;
        if let (Some(first), Some(last)) = (elements.first(), elements.last()) {
            places.push(first.key.span.to(last.key.span));
        }
    }
    places
}

impl<'a> Lowerer<'a, '_> {
    /// Lowers the named sets and maps of a table.
    pub(super) fn lower_sets(&mut self, index: usize, table: &TableState<'a>) {
        let mut changed: BTreeSet<&str> = BTreeSet::new();
        for chain in table.chains.iter() {
            for rule in &chain.rules {
                updated_sets(&rule.statements, &mut changed);
            }
        }
        for set in table.sets.iter() {
            let info = self.lower_named_set(index, set, changed.contains(set.declaration.name.text.as_ref()));
            if matches!(info.content, Content::Unknown) {
                self.out.uninterpreted.push(Uninterpreted {
                    table: self.tables.get(index).map(|table| table.id),
                    kind: if set.declaration.data.is_some() { "map" } else { "set" },
                    name: set.declaration.name.text.as_ref().into(),
                    spans: places(set),
                    fingerprint: 0,
                });
            }
            if let Some(table) = self.tables.get_mut(index) {
                table.sets.insert(&set.declaration.name.text, info);
            }
        }
    }

    fn lower_named_set(&mut self, table: usize, state: &SetState<'a>, changed: bool) -> SetInfo {
        let set = state.declaration;
        let span = set.span;
        let key = match &set.key {
            Some(ty) => self.types_of(ty),
            None if set.kind == SetKind::Meter => None,
            None => {
                self.report_fail(invalid::<()>(
                    "no-type",
                    set.name.span,
                    format!("the set `{}` has no type", set.name.text),
                    "add a line such as `type ipv4_addr;`",
                ));
                None
            }
        };
        let data = match (&set.data, set.kind) {
            (Some(SetType::Named(names)), _) => match names.as_slice() {
                [single] if &*single.text == "verdict" => Some(DataType::Verdict),
                [single] => match object_kind(&single.text) {
                    Some(kind) => Some(DataType::Object(kind)),
                    None => set.data.as_ref().and_then(|ty| self.types_of(ty)).map(DataType::Values),
                },
                _ => set.data.as_ref().and_then(|ty| self.types_of(ty)).map(DataType::Values),
            },
            (Some(SetType::Object(kind)), _) => Some(DataType::Object(kind.value)),
            (Some(ty), _) => self.types_of(ty).map(DataType::Values),
            (None, SetKind::Map) if set.key.is_some() => {
                self.report_fail(invalid::<()>(
                    "no-type",
                    set.name.span,
                    format!("the map `{}` doesn't say what it maps to", set.name.text),
                    "write `type ipv4_addr : verdict;`",
                ));
                None
            }
            (None, _) => None,
        };
        let Some(key) = key else {
            return SetInfo { key: Vec::new(), data, content: Content::Unknown, span };
        };
        let mut info = SetInfo { key, data, content: Content::Unknown, span };
        let has_timeouts = set.timeout.is_some()
            || state.elements.iter().any(|change| {
                matches!(change, ElementChange::Add(elements) if elements.iter().any(|element| {
                    element.options.as_ref().is_some_and(|options| options.timeout.is_some())
                }))
            });
        let dynamic = changed || set.flags.dynamic || set.flags.timeout || has_timeouts;
        let Some(table_id) = self.tables.get(table).map(|table| table.id) else { return info };
        let is_object = matches!(info.data, Some(DataType::Object(_)));
        // The elements of a set that changes are checked as well: a wrong one is refused.
        let conflicts = if set.auto_merge || !set.flags.interval { Overlap::Merge } else { Overlap::Refuse };
        match &info.data {
            Some(data) if !is_object => {
                let mut entries = Vec::new();
                let result = self.entries_of_changes(table, state, &info.key, data, &mut entries);
                if let (true, false) = (self.report_fail(result), dynamic) {
                    let id = self.push_map(table_id, &set.name.text, info.key.len(), entries, span);
                    info.content = Content::Map(id);
                }
            }
            _ => {
                let mut elements = Vec::new();
                let result = elements_of_changes(state, &info.key, &mut elements);
                if let (true, false) = (self.report_fail(result), dynamic) {
                    let id =
                        self.push_set(table_id, &set.name.text, info.key.len(), elements, span, conflicts);
                    info.content = Content::Set(id);
                }
            }
        }
        info
    }

    /// The types that a `type` or `typeof` line names. Reports and gives `None` where one isn't known.
    fn types_of(&mut self, ty: &SetType) -> Option<Vec<Want>> {
        match ty {
            SetType::Named(names) => {
                let mut wants = Vec::with_capacity(names.len());
                for name in names {
                    match Type::from_name(&name.text) {
                        Some(ty) => wants.push(Want { ty, bits: ty.bits() }),
                        None => {
                            let mut diagnostic =
                                Diagnostic::error("unknown-type", format!("`{}` is not a type", name.text))
                                    .at(name.span, "");
                            diagnostic = match closest(&name.text, Type::all_names()) {
                                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                                None => diagnostic.help("see nft(8), section DATA TYPES"),
                            };
                            self.diagnostics.push(diagnostic);
                            return None;
                        }
                    }
                }
                let bytes: u32 = wants.iter().map(|want| want.bits.div_ceil(32) * 4).sum();
                if let (true, Some((first, last))) = (bytes > KEY_BYTES, names.first().zip(names.last())) {
                    self.diagnostics.push(
                        Diagnostic::error("key-too-long", format!("these types together have {bytes} bytes"))
                            .at(first.span.to(last.span), "")
                            .help(format!(
                                "the kernel takes keys of at most {KEY_BYTES} bytes; leave parts out"
                            )),
                    );
                    return None;
                }
                Some(wants)
            }
            SetType::TypeOf(expr) => {
                let parts = parts(expr);
                // A type is a type in every family.
                let site = Site::anywhere(crate::ir::Family::Bridge);
                let mut wants = Vec::with_capacity(parts.len());
                for part in parts {
                    match typeof_part(part, &site) {
                        Ok(Some(want)) => wants.push(want),
                        Ok(None) => return None,
                        Err(diagnostic) => {
                            self.diagnostics.push(*diagnostic);
                            return None;
                        }
                    }
                }
                Some(wants)
            }
            SetType::Object(_) => None,
        }
    }

    fn entries_of_changes(
        &mut self,
        table: usize,
        state: &SetState<'a>,
        key: &[Want],
        data: &DataType,
        out: &mut Vec<MapEntry>,
    ) -> Result<(), Fail> {
        let mut changing = Changing::new(state);
        for change in &state.elements {
            match change {
                ElementChange::Add(elements) => {
                    self.map_entries(table, elements, key, data, out)?;
                    changing.added(out, |entry| &entry.key);
                }
                ElementChange::Delete(elements) => changing.delete(elements, key)?,
            }
        }
        changing.finish(out);
        Ok(())
    }

    /// The entries of a map.
    pub(super) fn map_entries(
        &mut self,
        table: usize,
        elements: &[Element],
        key: &[Want],
        data: &DataType,
        out: &mut Vec<MapEntry>,
    ) -> Result<(), Fail> {
        let mut all: Vec<(&Expr, &Element)> = Vec::with_capacity(elements.len());
        each_element(elements, &mut |key, element| {
            all.push((key, element));
            Ok(())
        })?;
        for (expr, element) in all {
            let Some(value) = &element.data else {
                return invalid(
                    "no-data",
                    element.span,
                    "this entry of a map has no value",
                    "write `key : value`",
                );
            };
            let data = self.map_data(table, value, data)?;
            let mut products = Vec::new();
            element_products(expr, key, &mut products)?;
            let last = products.pop();
            for product in products {
                out.push(MapEntry { key: product, data: data.clone(), span: element.span });
            }
            if let Some(product) = last {
                out.push(MapEntry { key: product, data, span: element.span });
            }
        }
        Ok(())
    }

    fn map_data(&mut self, table: usize, value: &Expr, data: &DataType) -> Result<MapData, Fail> {
        let resolved = value.resolved();
        match data {
            DataType::Verdict => match &resolved.kind {
                ExprKind::Verdict(verdict) => Ok(MapData::Verdict(self.verdict(table, verdict, value.span)?)),
                _ => invalid(
                    "wrong-type",
                    value.span,
                    "the value of a verdict map is a verdict",
                    "write `accept`, `drop`, `jump chain` and the like",
                ),
            },
            DataType::Object(_) => Ok(MapData::Values(SmallVec::new())),
            DataType::Values(wants) => {
                let parts = parts(value);
                if parts.len() != wants.len() {
                    return wrong_arity(value.span, wants.len(), parts.len());
                }
                let mut values = SmallVec::new();
                for (part, want) in parts.iter().zip(wants) {
                    values.push(self.data_value(part, *want)?);
                }
                Ok(MapData::Values(values))
            }
        }
    }

    /// One component of a map's data: a value, or a range of which the kernel chooses.
    fn data_value(&mut self, part: &Expr, want: Want) -> Result<Value, Fail> {
        let (low, high) = interval(part, want)?;
        if low == high {
            return Ok(Value::Const(low));
        }
        let what = format!("one of {}", text::values(want, &[(low, high)]));
        Ok(Value::Choice(self.atoms.choice(self.scope, "nat range", &what, Purity::Stateful, (low, high))))
    }

    /// Adds a set; its elements are brought into order.
    pub(super) fn push_set(
        &mut self,
        table: TableId,
        name: &str,
        arity: usize,
        mut elements: Vec<SetElement>,
        span: Span,
        overlap: Overlap,
    ) -> SetId {
        if let Some(everything) = elements.iter().position(|element| is_everything(&element.key)) {
            elements.swap(0, everything);
            elements.truncate(1);
        }
        if arity == 1 {
            let mut conflict = None;
            disjoint(
                &mut elements,
                |element| &mut element.key,
                |before, after| {
                    if before.key != after.key {
                        conflict = conflict.or(Some((before.span, after.span)));
                    }
                },
            );
            if let (Some((first, second)), Overlap::Refuse) = (conflict, overlap) {
                self.overlapping(first, second);
            }
        } else {
            let mut seen = BTreeSet::new();
            elements.retain(|element| seen.insert(element.key.clone()));
        }
        let id = SetId(self.out.sets.len() as u32);
        self.out.sets.push(Set { table, name: name.into(), arity, elements, span });
        id
    }

    /// Adds a map; its entries are brought into order, and what `*` stands for is filled in.
    pub(super) fn push_map(
        &mut self,
        table: TableId,
        name: &str,
        arity: usize,
        entries: Vec<MapEntry>,
        span: Span,
    ) -> MapId {
        let (rest, mut entries): (Vec<MapEntry>, Vec<MapEntry>) =
            entries.into_iter().partition(|entry| is_everything(&entry.key));
        if arity == 1 {
            let mut conflict = None;
            disjoint(
                &mut entries,
                |entry| &mut entry.key,
                |before, after| {
                    if before.key != after.key || before.data != after.data {
                        conflict = conflict.or(Some((before.span, after.span)));
                    }
                },
            );
            if let Some((first, second)) = conflict {
                self.overlapping(first, second);
            }
            if let Some(rest) = rest.into_iter().next() {
                fill_gaps(&mut entries, rest);
            }
        } else {
            let mut seen: BTreeMap<Product, usize> = BTreeMap::new();
            let mut conflict = None;
            let mut kept: Vec<MapEntry> = Vec::with_capacity(entries.len());
            for entry in entries {
                match seen.get(&entry.key) {
                    None => {
                        seen.insert(entry.key.clone(), kept.len());
                        kept.push(entry);
                    }
                    Some(&at) => {
                        let before = kept.get(at);
                        if before.is_some_and(|before| before.data != entry.data) {
                            conflict = conflict.or(before.map(|before| (before.span, entry.span)));
                        }
                    }
                }
            }
            if let Some((first, second)) = conflict {
                self.overlapping(first, second);
            }
            entries = kept;
            entries.extend(rest.into_iter().take(1));
        }
        let id = MapId(self.out.maps.len() as u32);
        self.out.maps.push(Map { table, name: name.into(), arity, entries, span });
        id
    }

    fn overlapping(&mut self, first: Span, second: Span) {
        self.diagnostics.push(
            Diagnostic::error("overlapping-elements", "two elements overlap")
                .at(second, "this one")
                .see(first, "and this one")
                .help("remove one of them, or add `auto-merge` to a named set"),
        );
    }

    /// The key that an expression of a rule makes, with the protocols it needs tested before.
    pub(super) fn key(&mut self, cx: &mut RuleContext, expr: &Expr) -> Result<Key, Fail> {
        let mut key = Key { fields: SmallVec::new(), wants: Vec::new(), has_choice: false };
        for part in parts(expr) {
            let Some(left) = cx.left(part)? else {
                return invalid(
                    "not-a-packet-expression",
                    part.span,
                    "this says nothing about the packet",
                    "look up an expression such as `ip saddr`",
                );
            };
            if let ExprKind::Ct { key: name @ ("saddr" | "daddr"), .. } = &part.kind {
                return invalid(
                    "no-protocol",
                    part.span,
                    format!("`ct {name}` in a key doesn't say whether it is an IPv4 or an IPv6 address"),
                    format!("write `ct original ip {name}` or `ct original ip6 {name}`"),
                );
            }
            cx.require_selector(&left.selector, part.span)?;
            key.wants.push(Want { ty: left.selector.ty, bits: left.selector.bits });
            let field = match left.selector.place {
                Place::Field { field, mask } if left.linear.is_identity() && mask == u128::MAX => field,
                _ => {
                    key.has_choice = true;
                    self.choice_for(part, &left.selector)
                }
            };
            key.fields.push(field);
        }
        Ok(key)
    }

    /// A field of its own for an expression that the model doesn't have.
    pub(super) fn choice_for(&mut self, expr: &Expr, selector: &Selector) -> Field {
        let want = Want { ty: selector.ty, bits: selector.bits };
        let (kind, purity) = match selector.place {
            Place::Unknown { kind, purity } => (kind, purity),
            Place::Field { .. } => ("computed value", Purity::Stateful),
        };
        let domain = match &expr.resolved().kind {
            ExprKind::Numgen(numgen) => counted(numgen.offset, numgen.modulus),
            ExprKind::Hash(hash) => counted(hash.offset, hash.modulus),
            _ => (0, want.max()),
        };
        let name = text::bounded(text::expr(expr));
        self.atoms.choice(self.scope, kind, &name, purity, domain)
    }

    /// The test that a key is, or isn't, in a named set.
    pub(super) fn named_lookup(
        &mut self,
        cx: &RuleContext,
        expr: &Expr,
        key: &Key,
        name: &str,
        place: Span,
        negated: bool,
    ) -> Result<Statement, Fail> {
        let info = self.set_info(cx.table, name, place)?;
        check_types(key, &info.key, name, place, info.span)?;
        let id = match info.content {
            Content::Set(id) => Some(id),
            Content::Map(id) => self.keys_of(id),
            Content::Unknown => None,
        };
        let coded = info.key.iter().any(|want| want.ty == Type::EtherType) && key.has_choice;
        Ok(match id.filter(|_| !coded) {
            Some(set) => Statement::Test(Test::Lookup { key: key.fields.clone(), set, negated }),
            None => Statement::Test(Test::Atom { atom: self.membership(cx.table, expr, name), negated }),
        })
    }

    /// The atom of "this key is in that set".
    pub(super) fn membership(&mut self, table: usize, expr: &Expr, name: &str) -> Field {
        let (family, table) = self
            .tables
            .get(table)
            .map_or(("", ""), |info| (super::state::family_name(info.syntax_family), info.name));
        let name = text::bounded(format!("{} @{name} in table {family} {table}", text::expr(expr)));
        self.atoms.atom(self.scope, "set membership", &name, Purity::Pure)
    }

    /// A set of the keys of a map, for rules that ask only whether there is an entry.
    pub(super) fn keys_of(&mut self, id: MapId) -> Option<SetId> {
        let map = self.out.map(id)?;
        let elements =
            map.entries.iter().map(|entry| SetElement { key: entry.key.clone(), span: entry.span }).collect();
        let (table, name, arity, span) = (map.table, map.name.clone(), map.arity, map.span);
        Some(self.push_set(table, &name, arity, elements, span, Overlap::Merge))
    }

    /// A named set or map of the table; reports a name that isn't there.
    pub(super) fn set_info(&mut self, table: usize, name: &str, place: Span) -> Result<SetInfo, Fail> {
        let Some(info) = self.tables.get(table) else { return Err(Fail::Unmodelled) };
        if let Some(set) = info.sets.get(name) {
            return Ok(set.clone());
        }
        let help = match closest(name, info.sets.keys().copied().take_while(|_| !self.diagnostics.full())) {
            Some(near) => format!("did you mean `@{near}`?"),
            None => format!("declare it in the table: `set {name} {{ type …; }}`"),
        };
        invalid("unknown-set", place, format!("the table `{}` has no set `{name}`", info.name), help)
    }

    /// An anonymous set of the elements of a literal.
    pub(super) fn anonymous_set(
        &mut self,
        table: usize,
        literal: &SetLiteral,
        wants: &[Want],
        span: Span,
    ) -> Result<SetId, Fail> {
        let mut elements = Vec::with_capacity(literal.elements.len());
        set_elements(&literal.elements, wants, &mut elements)?;
        let table = self.tables.get(table).map_or(TableId(0), |info| info.id);
        Ok(self.push_set(table, "", wants.len(), elements, span, Overlap::Merge))
    }

    /// The map that a lookup names or writes, with its type; `None` where its entries aren't known.
    pub(super) fn map_of(
        &mut self,
        cx: &RuleContext,
        map: &Expr,
        key: &Key,
        expected: &Expected<'_>,
    ) -> Result<(Option<MapId>, DataType), Fail> {
        match &map.resolved().kind {
            ExprKind::SetRef(name) => {
                let info = self.set_info(cx.table, name, map.span)?;
                check_types(key, &info.key, name, map.span, info.span)?;
                let Some(data) = info.data else {
                    return invalid(
                        "not-a-map",
                        map.span,
                        format!("`{name}` is a set, and a map is needed here"),
                        "declare it with `map` and `type key : data`",
                    );
                };
                expected.check(&data, map.span)?;
                let coded = info.key.iter().any(|want| want.ty == Type::EtherType) && key.has_choice;
                let id = match info.content {
                    Content::Map(id) if !coded => Some(id),
                    _ => None,
                };
                Ok((id, data))
            }
            ExprKind::Set(literal) => {
                let data = expected.of_literal(literal);
                let mut entries = Vec::with_capacity(literal.elements.len());
                self.map_entries(cx.table, &literal.elements, &key.wants, &data, &mut entries)?;
                let table = self.tables.get(cx.table).map_or(TableId(0), |info| info.id);
                let id = self.push_map(table, "", key.wants.len(), entries, map.span);
                Ok((Some(id), data))
            }
            _ => invalid(
                "not-a-map",
                map.span,
                "a map is needed here",
                "write `{ key : value, … }` or `@name`",
            ),
        }
    }
}

/// What the place of a map lookup needs.
#[derive(Clone, Debug)]
pub(super) enum Expected<'w> {
    Verdict,
    Object(ObjectKind),
    /// One of these lists of types, the first that has as many parts as the literal's data.
    Values(&'w [&'w [Want]]),
}

impl Expected<'_> {
    fn of_literal(&self, literal: &SetLiteral) -> DataType {
        match self {
            Expected::Verdict => DataType::Verdict,
            Expected::Object(kind) => DataType::Object(*kind),
            Expected::Values(lists) => {
                let arity = literal
                    .elements
                    .iter()
                    .find_map(|element| element.data.as_deref())
                    .map_or(1, |data| parts(data).len());
                let list = lists.iter().find(|list| list.len() == arity).or(lists.first());
                DataType::Values(list.map(|list| list.to_vec()).unwrap_or_default())
            }
        }
    }

    fn check(&self, data: &DataType, place: Span) -> Result<(), Fail> {
        let fits = match (self, data) {
            (Expected::Verdict, DataType::Verdict) => true,
            (Expected::Object(wanted), DataType::Object(kind)) => wanted == kind,
            (Expected::Values(lists), DataType::Values(wants)) => lists.iter().any(|list| {
                list.len() == wants.len() && list.iter().zip(wants).all(|(a, b)| same_type(*a, *b))
            }),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        invalid(
            "wrong-type",
            place,
            "the values of this map are of another type than is needed here",
            "declare the map with the type that this statement writes",
        )
    }
}

/// What to do with elements that overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// They become one.
    Merge,
    /// nft refuses them.
    Refuse,
}

fn typeof_part(expr: &Expr, site: &Site) -> Result<Option<Want>, Box<Diagnostic>> {
    match &expr.resolved().kind {
        ExprKind::Binary(binary) => typeof_part(&binary.left, site),
        ExprKind::Ct { key: "saddr" | "daddr", .. } => Ok(None),
        _ => Ok(selector(expr, site)?.map(|found| Want { ty: found.ty, bits: found.bits })),
    }
}

fn object_kind(name: &str) -> Option<ObjectKind> {
    Some(match name {
        "counter" => ObjectKind::Counter,
        "quota" => ObjectKind::Quota,
        "limit" => ObjectKind::Limit,
        "secmark" => ObjectKind::Secmark,
        "synproxy" => ObjectKind::Synproxy,
        _ => return None,
    })
}

/// The names of sets that rules change as packets pass.
fn updated_sets<'a>(statements: &'a [ast::Statement], out: &mut BTreeSet<&'a str>) {
    for statement in statements {
        match &statement.kind {
            StatementKind::SetUpdate(update) => {
                out.insert(&update.set.text);
            }
            StatementKind::Verdict(ast::Verdict::Jump(target) | ast::Verdict::Goto(target)) => {
                if let ast::ChainTarget::Anonymous(chain) = target {
                    for rule in &chain.rules {
                        updated_sets(&rule.statements, out);
                    }
                }
            }
            _ => {}
        }
    }
}

fn counted(offset: u64, modulus: u64) -> (u128, u128) {
    (u128::from(offset), u128::from(offset) + u128::from(modulus.saturating_sub(1)))
}

/// Whether values of the two types can be compared. Numbers whose type says nothing fit everything.
pub(super) fn same_type(left: Want, right: Want) -> bool {
    let plain = |want: Want| want.ty == Type::Integer;
    let link = |want: Want| matches!(want.ty, Type::Ether | Type::LinkAddress);
    left.ty == right.ty || plain(left) || plain(right) || link(left) && link(right)
}

fn check_types(key: &Key, wants: &[Want], name: &str, place: Span, declared: Span) -> Result<(), Fail> {
    if wants.is_empty() {
        // A meter, or a set whose type was refused already.
        return Ok(());
    }
    let fits = key.wants.len() == wants.len()
        && key.wants.iter().zip(wants).all(|(left, right)| same_type(*left, *right));
    if fits {
        return Ok(());
    }
    let names = |wants: &[Want]| wants.iter().map(|want| want.ty.name()).collect::<Vec<_>>().join(" . ");
    Err(Fail::Invalid(Box::new(
        Diagnostic::error(
            "wrong-type",
            format!("`@{name}` holds {}, not {}", names(wants), names(&key.wants)),
        )
        .at(place, "looked up here")
        .see(declared, "declared here")
        .help("use a set of the type of the expression"),
    )))
}
