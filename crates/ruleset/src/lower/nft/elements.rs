//! The elements of sets and maps: products of intervals, brought into order.

use super::state::{ElementChange, SetState};
use super::types::Type;
use super::value::{Fail, Want, each_element, each_key_value, interval, invalid};
use crate::ir::{MapEntry, Product, SetElement};
use crate::syntax::nft::ast::{Element, Expr, ExprKind};
use firewarden_diagnostic::Span;
use firewarden_packet::ct_state;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// Elements of products larger than this are refused: a concatenation of sets multiplies.
const PRODUCT_LIMIT: usize = 1 << 20;

/// The parts of a concatenation; the expression itself where it isn't one.
pub(super) fn parts(expr: &Expr) -> &[Expr] {
    let resolved = expr.resolved();
    match &resolved.kind {
        ExprKind::Concat(parts) => parts,
        _ => std::slice::from_ref(resolved),
    }
}

pub(super) fn elements_of_changes(
    state: &SetState<'_>,
    key: &[Want],
    out: &mut Vec<SetElement>,
) -> Result<(), Fail> {
    let mut changing = Changing::new(state);
    for change in &state.elements {
        match change {
            ElementChange::Add(elements) => {
                set_elements(elements, key, out)?;
                changing.added(out, |element| &element.key);
            }
            ElementChange::Delete(elements) => changing.delete(elements, key)?,
        }
    }
    changing.finish(out);
    Ok(())
}

/// Which elements were removed again: places in the list, found by key. Where nothing is ever removed, it does nothing.
pub(super) struct Changing {
    removes: bool,
    seen: usize,
    places: BTreeMap<Product, Vec<usize>>,
    gone: BTreeSet<usize>,
}

impl Changing {
    pub(super) fn new(state: &SetState<'_>) -> Changing {
        let removes = state.elements.iter().any(|change| matches!(change, ElementChange::Delete(_)));
        Changing { removes, seen: 0, places: BTreeMap::new(), gone: BTreeSet::new() }
    }

    /// Takes note of what was added to the end of the list.
    pub(super) fn added<T>(&mut self, list: &[T], key: impl Fn(&T) -> &Product) {
        if !self.removes {
            return;
        }
        for (place, item) in list.iter().enumerate().skip(self.seen) {
            self.places.entry(key(item).clone()).or_default().push(place);
        }
        self.seen = list.len();
    }

    pub(super) fn delete(&mut self, elements: &[Element], key: &[Want]) -> Result<(), Fail> {
        let mut deleted = Vec::new();
        set_elements(elements, key, &mut deleted)?;
        for element in deleted {
            self.gone.extend(self.places.remove(&element.key).into_iter().flatten());
        }
        Ok(())
    }

    pub(super) fn finish<T>(self, list: &mut Vec<T>) {
        if !self.gone.is_empty() {
            let mut place = 0;
            list.retain(|_| {
                place += 1;
                !self.gone.contains(&(place - 1))
            });
        }
    }
}

/// The elements of a set.
pub(super) fn set_elements(
    elements: &[Element],
    key: &[Want],
    out: &mut Vec<SetElement>,
) -> Result<(), Fail> {
    each_element(elements, &mut |expr, element| {
        let mut products = Vec::new();
        element_products(expr, key, &mut products)?;
        out.extend(products.into_iter().map(|key| SetElement { key, span: element.span }));
        Ok(())
    })
}

/// The products that an element's key stands for: one, but for parts that are sets, and for values that the model
/// codes otherwise.
pub(super) fn element_products(expr: &Expr, wants: &[Want], out: &mut Vec<Product>) -> Result<(), Fail> {
    if matches!(expr.resolved().kind, ExprKind::Wildcard) {
        out.push(wants.iter().map(|_| (0, u128::MAX)).collect());
        return Ok(());
    }
    let parts = parts(expr);
    if parts.len() != wants.len() {
        return wrong_arity(expr.span, wants.len(), parts.len());
    }
    if let ([part], [want]) = (parts, wants) {
        let (low, high) = interval(part, *want)?;
        out.extend(coded(want.ty, low, high).into_iter().map(|range| Product::from_slice(&[range])));
        return Ok(());
    }
    let mut products: Vec<Product> = vec![Product::new()];
    for (part, want) in parts.iter().zip(wants) {
        let mut ranges = SmallVec::<[(u128, u128); 1]>::new();
        each_key_value(part, &mut |value| {
            let (low, high) = interval(value, *want)?;
            ranges.extend(coded(want.ty, low, high));
            Ok(())
        })?;
        if products.len().saturating_mul(ranges.len()) > PRODUCT_LIMIT {
            return invalid(
                "too-large",
                expr.span,
                "this concatenation of sets has too many elements",
                "write the elements out, or use fewer",
            );
        }
        if let [only] = ranges.as_slice() {
            products.iter_mut().for_each(|product| product.push(*only));
        } else {
            products = products
                .iter()
                .flat_map(|product| {
                    ranges.iter().map(|range| {
                        let mut longer = product.clone();
                        longer.push(*range);
                        longer
                    })
                })
                .collect();
        }
    }
    out.append(&mut products);
    Ok(())
}

/// The values of the model for values of nft: they differ for conntrack states and for the protocol of the frame.
pub(super) fn coded(ty: Type, low: u128, high: u128) -> SmallVec<[(u128, u128); 1]> {
    match ty {
        Type::CtState => (0..=ct_state::MAX)
            .filter(|state| (low..=high).contains(&ct_state_word(*state)))
            .map(|state| (state, state))
            .collect(),
        Type::EtherType => ETHER_TYPES
            .iter()
            .filter(|(_, word)| (low..=high).contains(word))
            .map(|(protocol, _)| (*protocol, *protocol))
            .collect(),
        _ => SmallVec::from_slice(&[(low, high)]),
    }
}

/// Network protocols of the model, and their numbers in frames.
pub(super) const ETHER_TYPES: [(u128, u128); 2] = [(2, 0x0800), (10, 0x86dd)];

/// The kernel's word for a conntrack state of the model.
pub(super) fn ct_state_word(state: u128) -> u128 {
    match state {
        ct_state::INVALID => 1,
        ct_state::ESTABLISHED => 2,
        ct_state::RELATED => 4,
        ct_state::NEW => 8,
        _ => 64,
    }
}

pub(super) fn wrong_arity<T>(place: Span, wanted: usize, found: usize) -> Result<T, Fail> {
    invalid(
        "wrong-type",
        place,
        format!("this has {found} part{}, and {wanted} are needed", if found == 1 { "" } else { "s" }),
        "join the parts with ` . `, as many as the type has",
    )
}

pub(super) fn is_everything(product: &Product) -> bool {
    product.iter().all(|range| *range == (0, u128::MAX))
}

/// Sorts entries of one field and makes them disjoint: what overlaps an entry before it is told to `overlap` and cut.
/// O(n log n).
pub(super) fn disjoint<T>(
    entries: &mut Vec<T>,
    key: impl Fn(&mut T) -> &mut Product,
    mut overlap: impl FnMut(&T, &T),
) {
    let mut sorted: Vec<((u128, u128), T)> = std::mem::take(entries)
        .into_iter()
        .map(|mut entry| (key(&mut entry).first().copied().unwrap_or((0, 0)), entry))
        .collect();
    sorted.sort_by_key(|(range, _)| *range);
    let mut end: Option<u128> = None;
    for ((low, high), mut entry) in sorted {
        let Some(last) = end else {
            end = Some(high);
            entries.push(entry);
            continue;
        };
        if low > last {
            end = Some(high);
            entries.push(entry);
            continue;
        }
        if let Some(before) = entries.last() {
            overlap(before, &entry);
        }
        if high > last {
            if let Some(range) = key(&mut entry).first_mut() {
                *range = (last + 1, high);
            }
            end = Some(high);
            entries.push(entry);
        }
    }
}

/// Fills what no entry holds with the data of the entry for everything.
pub(super) fn fill_gaps(entries: &mut Vec<MapEntry>, rest: MapEntry) {
    let mut filled = Vec::with_capacity(entries.len() * 2 + 1);
    let mut next = Some(0u128);
    let gap = |low: u128, high: u128| MapEntry {
        key: Product::from_slice(&[(low, high)]),
        data: rest.data.clone(),
        span: rest.span,
    };
    for entry in entries.drain(..) {
        let (low, high) = entry.key.first().copied().unwrap_or((0, 0));
        if let Some(from) = next.filter(|from| *from < low) {
            filled.push(gap(from, low - 1));
        }
        next = high.checked_add(1);
        filled.push(entry);
    }
    if let Some(from) = next {
        filled.push(gap(from, u128::MAX));
    }
    *entries = filled;
}
