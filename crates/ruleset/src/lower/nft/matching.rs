//! Tests: an expression about the packet against values, sets or flags.

use super::Lowerer;
use super::context::{Known, is_vlan, range_test};
use super::elements::{ETHER_TYPES, ct_state_word, element_products, parts};
use super::linear::{as_intervals, as_masked};
use super::rule::{Left, RuleContext};
use super::selector::Place;
use super::sets::{Content, Key};
use super::text;
use super::types::Type;
use super::value::{Fail, Want, constant, each_element, interval, invalid};
use crate::ir::{Statement, Test};
use crate::syntax::nft::ast::{Expr, ExprKind, Match, Operator};
use firewarden_diagnostic::Diagnostic;
use firewarden_packet::{Cube, Field, FieldKind, InterfaceName, IntervalSet, Purity, ct_state};
use smallvec::{SmallVec, smallvec};

/// Intervals; most tests have one, which then needs no memory of its own.
type Ranges = SmallVec<[(u128, u128); 1]>;

/// The right side of a test.
enum Values {
    /// The word is in one of the intervals.
    Plain(Ranges),
    /// The word has one of these bits.
    AnyBit(u128),
    /// The word under the first is the second.
    Masked(u128, u128),
}

impl Lowerer<'_, '_> {
    /// Lowers a test.
    pub(super) fn matching(&mut self, cx: &mut RuleContext, test: &Match) -> Result<(), Fail> {
        let negated = matches!(test.op, Operator::Ne);
        if parts(&test.left).len() > 1 {
            return self.concatenation(cx, test, negated);
        }
        let Some(left) = cx.left(&test.left)? else {
            return invalid(
                "not-a-packet-expression",
                test.left.span,
                "the left side of this test says nothing about the packet",
                "begin the test with an expression such as `ip saddr` or `tcp dport`",
            );
        };
        if let ExprKind::SetRef(name) = &test.right.resolved().kind {
            return self.named_set(cx, test, &left, name, negated);
        }
        let result = self.values(&left, test);
        cx.require_selector(&left.selector, test.left.span)?;
        let values = match result {
            Ok(values) => values,
            Err(Fail::Unmodelled) => return self.opaque_test(cx, test, &left, negated),
            Err(other) => return Err(other),
        };
        let negated = negated || test.op == Operator::Not;
        self.warn_about_flags(test, &left, &values);
        if let (Some(field), Values::Plain(ranges)) = (loopback_field(test, &left), &values)
            && ranges.as_slice() == [(ARPHRD_LOOPBACK, ARPHRD_LOOPBACK)]
        {
            let InterfaceName(lo) = InterfaceName::new("lo").unwrap_or(InterfaceName::NONE);
            cx.out.push(range_test(field, signed(field, IntervalSet::single(lo), negated)));
            return Ok(());
        }
        let Place::Field { field, mask } = left.selector.place else {
            self.atom_test(cx, test, &left, &values, negated);
            return Ok(());
        };
        if mask & left.linear.word_mask() != left.linear.word_mask() {
            // Some of the bits that are tested aren't modelled.
            self.atom_test(cx, test, &left, &values, negated);
            return Ok(());
        }
        let exact = single_values(&values);
        if let (Type::EtherType, Values::Plain(ranges)) = (left.selector.ty, &values) {
            if ranges.iter().any(|(low, high)| (*low..=*high).any(is_vlan)) {
                // An IP packet may be inside the tag.
                self.frame_known(cx, ranges, negated);
                self.atom_test(cx, test, &left, &values, negated);
                return Ok(());
            }
            self.frame_known(cx, ranges, negated);
        }
        let statement = field_test(field, &left, values, negated);
        if let Statement::Test(Test::Range { field, set }) = &statement {
            if cx.protocols.implies(*field, set) {
                return Ok(());
            }
            if left.selector.ty == Type::NfProto
                && exact
                && !negated
                && let (Known::One(known), [(other, _)]) = (cx.protocols.network, set.ranges())
            {
                // Says that they conflict.
                if known != *other {
                    cx.protocols.require_network(*other, test.left.span, &mut Vec::new())?;
                }
            }
            if exact && !negated {
                cx.protocols.learn(*field, set);
            }
        }
        cx.out.push(statement);
        Ok(())
    }

    /// Takes note of a test of the type of the frame.
    fn frame_known(&mut self, cx: &mut RuleContext, ranges: &[(u128, u128)], negated: bool) {
        if let ([(low, high)], false) = (ranges, negated)
            && low == high
        {
            cx.protocols.frame = Some(*low);
        }
    }

    /// `ip saddr . tcp dport { … }`.
    fn concatenation(&mut self, cx: &mut RuleContext, test: &Match, negated: bool) -> Result<(), Fail> {
        if !matches!(test.op, Operator::Implicit | Operator::Eq | Operator::Ne) {
            return invalid(
                "bad-operator",
                test.left.span,
                "a concatenation can only be equal or not equal to something",
                "use `==`, `!=` or a set",
            );
        }
        if let ExprKind::SetRef(name) = &test.right.resolved().kind
            && self.has_constant(cx, &test.left)?
        {
            // The set is asked for keys of which a part is fixed.
            self.set_info(cx.table, name, test.right.span)?;
            self.require_all(cx, &test.left)?;
            let atom = self.membership(cx.table, &test.left, name);
            cx.out.push(Statement::Test(Test::Atom { atom, negated }));
            return Ok(());
        }
        let key = self.key(cx, &test.left)?;
        let statement = match &test.right.resolved().kind {
            ExprKind::SetRef(name) => {
                self.named_lookup(cx, &test.left, &key, name, test.right.span, negated)?
            }
            ExprKind::Set(literal) => {
                match self.anonymous_set(cx.table, literal, &key.wants, test.right.span) {
                    Ok(set) => Statement::Test(Test::Lookup { key: key.fields, set, negated }),
                    Err(Fail::Unmodelled) => return self.opaque_concatenation(cx, test, negated),
                    Err(other) => return Err(other),
                }
            }
            _ => {
                let mut products = Vec::new();
                match element_products(&test.right, &key.wants, &mut products) {
                    Ok(()) => {}
                    Err(Fail::Unmodelled) => return self.opaque_concatenation(cx, test, negated),
                    Err(other) => return Err(other),
                }
                let elements = products
                    .into_iter()
                    .map(|key| crate::ir::SetElement { key, span: test.right.span })
                    .collect();
                let table = self.tables.get(cx.table).map_or(crate::ir::TableId(0), |info| info.id);
                let arity = key.fields.len();
                let set =
                    self.push_set(table, "", arity, elements, test.right.span, super::sets::Overlap::Merge);
                Statement::Test(Test::Lookup { key: key.fields, set, negated })
            }
        };
        cx.out.push(statement);
        Ok(())
    }

    fn has_constant(&self, cx: &RuleContext, expr: &Expr) -> Result<bool, Fail> {
        for part in parts(expr) {
            if cx.left(part)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn opaque_concatenation(
        &mut self,
        cx: &mut RuleContext,
        test: &Match,
        negated: bool,
    ) -> Result<(), Fail> {
        let name = text::bounded(format!("{} {}", text::expr(&test.left), text::expr(&test.right)));
        // Named by the part that isn't modelled.
        let unknown = parts(&test.left).iter().find_map(|part| match cx.left(part) {
            Ok(Some(left)) => match left.selector.place {
                Place::Unknown { kind, .. } => Some(kind),
                Place::Field { .. } => None,
            },
            _ => None,
        });
        let kind = unknown.unwrap_or("lookup");
        let atom = self.atoms.atom(self.scope, kind, &name, Purity::Pure);
        cx.out.push(Statement::Test(Test::Atom { atom, negated }));
        Ok(())
    }

    /// `ip saddr @set`.
    fn named_set(
        &mut self,
        cx: &mut RuleContext,
        test: &Match,
        left: &Left,
        name: &str,
        negated: bool,
    ) -> Result<(), Fail> {
        if !matches!(test.op, Operator::Implicit | Operator::Eq | Operator::Ne) {
            return invalid(
                "bad-operator",
                test.left.span,
                "a set can't be compared by size",
                "write `expression @set` or `expression != @set`",
            );
        }
        if let (Place::Field { field, mask }, false) = (left.selector.place, left.linear.is_identity()) {
            // The set's keys are of what comes out of the mask; the test is of what goes in.
            let want = Want { ty: left.selector.ty, bits: left.selector.bits };
            let key = Key { fields: smallvec![field], wants: vec![want], has_choice: false };
            let info = self.set_info(cx.table, name, test.right.span)?;
            // Checks the type.
            self.named_lookup(cx, &test.left, &key, name, test.right.span, negated)?;
            cx.require_selector(&left.selector, test.left.span)?;
            let elements = match info.content {
                Content::Set(id) => self.out.set(id).map(|set| {
                    set.elements.iter().filter_map(|element| element.key.first().copied()).collect()
                }),
                _ => None,
            };
            let plain = mask == u128::MAX && !matches!(want.ty, Type::CtState | Type::EtherType);
            cx.out.push(match elements.filter(|_| plain) {
                Some(ranges) => field_test(field, left, Values::Plain(ranges), negated),
                None => {
                    let atom = self.membership(cx.table, &test.left, name);
                    Statement::Test(Test::Atom { atom, negated })
                }
            });
            return Ok(());
        }
        // Types are compared before protocols, as that error says more.
        let want = Want { ty: left.selector.ty, bits: left.selector.bits };
        let placeholder = Key { fields: SmallVec::new(), wants: vec![want], has_choice: false };
        self.named_lookup(cx, &test.left, &placeholder, name, test.right.span, negated)?;
        if matches!(left.selector.place, Place::Unknown { .. }) {
            cx.require_selector(&left.selector, test.left.span)?;
            let atom = self.membership(cx.table, &test.left, name);
            cx.out.push(Statement::Test(Test::Atom { atom, negated }));
            return Ok(());
        }
        let key = self.key(cx, &test.left)?;
        let statement = self.named_lookup(cx, &test.left, &key, name, test.right.span, negated)?;
        cx.out.push(statement);
        Ok(())
    }

    /// Reads the right side.
    fn values(&mut self, left: &Left, test: &Match) -> Result<Values, Fail> {
        let want = Want { ty: left.selector.ty, bits: left.selector.bits };
        let right = test.right.resolved();
        let place = test.right.span;
        if is_route_lookup(left) {
            // `fib … oif` is compared with "there is none", however that is written.
            return match &right.kind {
                ExprKind::Bool(found) => {
                    Ok(Values::Plain(smallvec![(u128::from(*found), u128::from(*found))]))
                }
                ExprKind::Number(0) => Ok(Values::Plain(smallvec![(0, 0)])),
                ExprKind::Number(1) if want.ty == Type::Boolean => Ok(Values::Plain(smallvec![(1, 1)])),
                ExprKind::Symbol(word) if &**word == "exists" => Ok(Values::Plain(smallvec![(1, 1)])),
                ExprKind::Symbol(word) if &**word == "missing" => Ok(Values::Plain(smallvec![(0, 0)])),
                _ => Err(Fail::Unmodelled),
            };
        }
        if let (ExprKind::Bool(_), Type::InterfaceIndex | Type::InterfaceName) = (&right.kind, want.ty) {
            return Err(Fail::Unmodelled);
        }
        match test.op {
            Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => {
                let bound = constant(&test.right, want)?;
                let ranges = match test.op {
                    Operator::Lt => bound.checked_sub(1).map(|high| (0, high)),
                    Operator::Le => Some((0, bound)),
                    Operator::Gt => bound.checked_add(1).map(|low| (low, want.max())),
                    _ => Some((bound, want.max())),
                };
                return Ok(Values::Plain(ranges.filter(|(low, high)| low <= high).into_iter().collect()));
            }
            Operator::Not => {
                if !want.ty.is_flags() || !left.linear.is_identity() {
                    return invalid(
                        "bad-operator",
                        place,
                        "`!` tests that none of some flags is set, and this isn't a bare word of flags",
                        "use `!=`",
                    );
                }
                return Ok(Values::AnyBit(constant(&test.right, want)?));
            }
            Operator::Implicit | Operator::Eq | Operator::Ne => {}
        }
        match &right.kind {
            ExprKind::Set(set) => {
                let mut ranges = Ranges::with_capacity(set.elements.len());
                each_element(&set.elements, &mut |key, element| {
                    if element.data.is_some() {
                        return invalid(
                            "wrong-type",
                            element.span,
                            "this set has values beside its keys",
                            "write `vmap` or `map` before it, or leave the values out",
                        );
                    }
                    ranges.push(interval(key, want)?);
                    Ok(())
                })?;
                Ok(Values::Plain(ranges))
            }
            ExprKind::Masked(pair) => {
                let (value, mask) = (constant(&pair[0], want)?, constant(&pair[1], want)?);
                Ok(Values::Masked(mask, value))
            }
            ExprKind::Prefix(..) | ExprKind::Range(_) | ExprKind::Wildcard => {
                Ok(Values::Plain(smallvec![interval(&test.right, want)?]))
            }
            _ => {
                let (low, high) = interval(&test.right, want)?;
                let bit_test = test.op == Operator::Implicit
                    && want.ty.is_flags()
                    && left.linear.is_identity()
                    && low == high;
                Ok(if bit_test { Values::AnyBit(low) } else { Values::Plain(smallvec![(low, high)]) })
            }
        }
    }

    /// `ct state != established,related` compares with both bits at once, which no packet has.
    fn warn_about_flags(&mut self, test: &Match, left: &Left, values: &Values) {
        let Values::Plain(ranges) = values else { return };
        let ([(low, high)], Type::CtState) = (ranges.as_slice(), left.selector.ty) else { return };
        if low == high && low.count_ones() > 1 && left.linear.is_identity() {
            let result = if test.op == Operator::Ne { "always true" } else { "never true" };
            self.diagnostics.push(
                Diagnostic::warning("constant-test", format!("this test is {result}"))
                    .at(test.right.span, "")
                    .because(
                        "with an operator the state is compared with all the bits at once, \
                         and a packet has one state only",
                    )
                    .help("use a set: `ct state != { established, related }`"),
            );
        }
    }

    /// A test of something outside the model whose value isn't a number.
    fn opaque_test(
        &mut self,
        cx: &mut RuleContext,
        test: &Match,
        left: &Left,
        negated: bool,
    ) -> Result<(), Fail> {
        let op = match test.op {
            Operator::Lt => "< ",
            Operator::Le => "<= ",
            Operator::Gt => "> ",
            Operator::Ge => ">= ",
            _ => "",
        };
        let name = text::bounded(format!("{} {op}{}", text::expr(&test.left), text::expr(&test.right)));
        let (kind, purity) = kind_of(left);
        let atom = self.atoms.atom(self.scope, kind, &name, purity);
        cx.out.push(Statement::Test(Test::Atom { atom, negated: negated || test.op == Operator::Not }));
        Ok(())
    }

    /// The same with values that are numbers: written in one way, so that a test and its opposite are one atom.
    fn atom_test(&mut self, cx: &mut RuleContext, test: &Match, left: &Left, values: &Values, negated: bool) {
        let want = Want { ty: left.selector.ty, bits: left.selector.bits };
        let mut negated = negated;
        let right = match values {
            Values::AnyBit(bits) => text::values(want, &[(*bits, *bits)]),
            Values::Masked(mask, value) => format!("& {mask:#x} == {value:#x}"),
            Values::Plain(ranges) => {
                let mut set: IntervalSet = ranges.iter().copied().collect();
                let upside_down = match want.bits {
                    1 => set.ranges() == [(0, 0)],
                    _ => set.contains(want.max()) && set.ranges() != [(0, want.max())],
                };
                if upside_down {
                    set = set.complement(want.max());
                    negated = !negated;
                }
                let exact = if want.ty.is_flags() { "== " } else { "" };
                format!("{exact}{}", text::values(want, set.ranges()))
            }
        };
        let name = text::bounded(format!("{} {right}", text::expr(&test.left)));
        let (kind, purity) = kind_of(left);
        let atom = self.atoms.atom(self.scope, kind, &name, purity);
        cx.out.push(Statement::Test(Test::Atom { atom, negated }));
    }
}

/// `ARPHRD_LOOPBACK` of `linux/if_arp.h`; only the device `lo` is of this type.
const ARPHRD_LOOPBACK: u128 = 772;

/// The interface whose type a test asks for.
fn loopback_field(test: &Match, left: &Left) -> Option<Field> {
    if !left.linear.is_identity() {
        return None;
    }
    match test.left.resolved().kind {
        ExprKind::Meta("iiftype") => Some(Field::IIFNAME),
        ExprKind::Meta("oiftype") => Some(Field::OIFNAME),
        _ => None,
    }
}

fn kind_of(left: &Left) -> (&'static str, Purity) {
    match left.selector.place {
        Place::Unknown { kind, purity } => (kind, purity),
        Place::Field { field: Field::FIB_REVERSE_PATH, .. } => ("routing", Purity::Pure),
        Place::Field { .. } => ("header field", Purity::Pure),
    }
}

fn is_route_lookup(left: &Left) -> bool {
    matches!(left.selector.place, Place::Field { field: Field::FIB_REVERSE_PATH, .. })
}

fn single_values(values: &Values) -> bool {
    matches!(values, Values::Plain(ranges) if ranges.iter().all(|(low, high)| low == high))
}

/// The test of a field of the model.
fn field_test(field: Field, left: &Left, values: Values, negated: bool) -> Statement {
    let coding: Option<Vec<(u128, u128)>> = match left.selector.ty {
        Type::CtState => Some((0..=ct_state::MAX).map(|state| (state, ct_state_word(state))).collect()),
        Type::EtherType => Some(ETHER_TYPES.to_vec()),
        _ => None,
    };
    if let Some(coding) = coding {
        let set = coding
            .into_iter()
            .filter(|(_, word)| holds(&values, left.linear.apply(*word)) != negated)
            .map(|(value, _)| (value, value))
            .collect();
        return Statement::Test(Test::Range { field, set });
    }
    let identity = left.linear.is_identity();
    let (cubes, negated) = match values {
        Values::AnyBit(bits) if identity => (smallvec![Cube::new(bits, 0)], !negated),
        Values::Masked(mask, value) if identity => {
            (if value & !mask == 0 { smallvec![Cube::new(mask, value)] } else { SmallVec::new() }, negated)
        }
        Values::Plain(ranges) if identity && field.kind() == FieldKind::Range => {
            return Statement::Test(Test::Range { field, set: signed(field, set_of(ranges), negated) });
        }
        other => {
            let mut cubes = SmallVec::new();
            let bits = left.selector.bits;
            match other {
                Values::Plain(ranges) => {
                    let merged = set_of(ranges);
                    for (low, high) in merged.ranges() {
                        left.linear.preimage(*low, *high, &mut cubes);
                    }
                    (cubes, negated)
                }
                Values::AnyBit(wanted) => {
                    let inner = left.linear.then(crate::syntax::nft::ast::BinaryOp::And, wanted);
                    inner.preimage(0, 0, &mut cubes);
                    (cubes, !negated)
                }
                Values::Masked(mask, value) => {
                    let _ = bits;
                    let inner = left.linear.then(crate::syntax::nft::ast::BinaryOp::And, mask);
                    inner.preimage(value, value, &mut cubes);
                    (cubes, negated)
                }
            }
        }
    };
    if field.kind() == FieldKind::Bits {
        return Statement::Test(Test::Bits { field, cubes, negated });
    }
    let width = width_of(field, left);
    match as_intervals(&cubes, width) {
        Some(set) => Statement::Test(Test::Range { field, set: signed(field, set, negated) }),
        None => {
            let mask = cubes.iter().fold(left.linear.word_mask(), |mask, cube| mask | cube.mask);
            let set = as_masked(&cubes, mask);
            let max = mask;
            Statement::Test(Test::Masked {
                field,
                mask: Box::new(mask),
                set: if negated { set.complement(max) } else { set },
            })
        }
    }
}

/// The bits of nft's word that the field holds.
fn width_of(field: Field, left: &Left) -> u32 {
    match left.selector.place {
        Place::Field { mask, .. } if mask != u128::MAX => field.width(),
        _ => left.selector.bits.min(field.width()),
    }
}

/// The numbers of some intervals.
fn set_of(ranges: Ranges) -> IntervalSet {
    match ranges.as_slice() {
        [(low, high)] => IntervalSet::range(*low, *high),
        _ => ranges.into_iter().collect(),
    }
}

fn signed(field: Field, set: IntervalSet, negated: bool) -> IntervalSet {
    if negated { set.complement(field.max_value()) } else { set }
}

fn holds(values: &Values, word: u128) -> bool {
    match values {
        Values::Plain(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&word)),
        Values::AnyBit(bits) => word & bits != 0,
        Values::Masked(mask, value) => word & mask == *value,
    }
}
