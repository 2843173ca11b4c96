//! Makes dynamic fields of two rulesets the same where they stand for the same thing.

use super::pairing::Pairing;
use firewarden_packet::{AtomTable, Field, Purity};
use firewarden_ruleset::ir::{MapData, Nat, NatAddress, Rule, Ruleset, Statement, Test, Value, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Gives dynamic fields of `right` the numbers of those of `left` that `name` calls by the same name, in the order in
/// which the rulesets first name them: the first `limit` of one is the first `limit` of the other. Fields for which
/// `name` has no name, and those that both have already, stay. Returns how many were given another number.
/// O(n log n) in the size of the rulesets.
pub fn align<N: Ord>(
    left: &Ruleset,
    right: &mut Ruleset,
    atoms: &AtomTable,
    name: impl Fn(&AtomTable, Field) -> Option<N>,
) -> usize {
    let in_left = fields(&mut left.clone());
    let in_right = fields(right);
    let (left_set, right_set): (BTreeSet<Field>, BTreeSet<Field>) =
        (in_left.iter().copied().collect(), in_right.iter().copied().collect());
    // What both have already is the same.
    let shared = |field: &Field| left_set.contains(field);
    let mut free: BTreeMap<(N, (u128, u128)), VecDeque<Field>> = BTreeMap::new();
    for &field in in_left.iter().filter(|field| !right_set.contains(field)) {
        if let Some(name) = name(atoms, field) {
            free.entry((name, atoms.domain(field))).or_default().push_back(field);
        }
    }
    let mut new = BTreeMap::new();
    for &field in in_right.iter().filter(|field| !shared(field)) {
        let Some(name) = name(atoms, field) else { continue };
        if let Some(other) = free.get_mut(&(name, atoms.domain(field))).and_then(VecDeque::pop_front) {
            new.insert(field, other);
        }
    }
    each_field(right, &mut |field| {
        if let Some(other) = new.get(field) {
            *field = *other;
        }
    });
    new.len()
}

/// Gives dynamic fields of `right` the numbers of those that stand at the same place of a rule that is in both.
pub(super) fn align_pairs(left: &Ruleset, right: &mut Ruleset, atoms: &AtomTable, pairing: &Pairing) {
    if atoms.iter().all(|(_, info)| info.purity == Purity::Pure) {
        return;
    }
    let mut new: BTreeMap<Field, Field> = BTreeMap::new();
    let mut taken: BTreeSet<Field> = BTreeSet::new();
    for pair in &pairing.chains {
        let (Some(first), Some(second)) = (left.chain(pair.before), right.chain(pair.after)) else {
            continue;
        };
        for (at, to) in &pair.kept {
            let rules = (first.rules.get(*at as usize), second.rules.get(*to as usize));
            let (Some(one), Some(other)) = rules else { continue };
            for (own, theirs) in rule_fields(one).into_iter().zip(rule_fields(other)) {
                let stateful = |field| atoms.get(field).is_some_and(|info| info.purity == Purity::Stateful);
                if own != theirs && stateful(own) && stateful(theirs) && taken.insert(own) {
                    new.insert(theirs, own);
                }
            }
        }
    }
    each_field(right, &mut |field| {
        if let Some(other) = new.get(field) {
            *field = *other;
        }
    });
}

/// The dynamic fields of a rule from left to right.
fn rule_fields(rule: &Rule) -> Vec<Field> {
    let mut found = Vec::new();
    if rule.statements.iter().all(is_plain) {
        return found;
    }
    for statement in &mut rule.statements.to_vec() {
        in_statement(statement, &mut |field| {
            if field.is_dynamic() {
                found.push(*field);
            }
        });
    }
    found
}

/// True for what has no dynamic field, at a glance.
fn is_plain(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Neutral(_)
            | Statement::Test(
                Test::Range { .. } | Test::Bits { .. } | Test::Masked { .. } | Test::Lookup { .. }
            )
            | Statement::Verdict(Verdict::Accept | Verdict::Drop | Verdict::Reject(_) | Verdict::Jump(_))
    )
}

/// The dynamic fields of a ruleset in the order in which they are first named.
fn fields(ruleset: &mut Ruleset) -> Vec<Field> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    each_field(ruleset, &mut |field| {
        if field.is_dynamic() && seen.insert(*field) {
            found.push(*field);
        }
    });
    found
}

fn each_field(ruleset: &mut Ruleset, visit: &mut impl FnMut(&mut Field)) {
    for rule in ruleset.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        rule.statements.iter_mut().for_each(|statement| in_statement(statement, visit));
    }
    for entry in ruleset.maps.iter_mut().flat_map(|map| &mut map.entries) {
        match &mut entry.data {
            MapData::Verdict(verdict) => in_verdict(verdict, visit),
            MapData::Values(values) => values.iter_mut().for_each(|value| in_value(value, visit)),
        }
    }
}

fn in_statement(statement: &mut Statement, visit: &mut impl FnMut(&mut Field)) {
    match statement {
        Statement::Test(Test::Atom { atom, .. }) => visit(atom),
        Statement::Test(
            Test::Range { field, .. } | Test::Bits { field, .. } | Test::Masked { field, .. },
        ) => {
            visit(field);
        }
        Statement::Test(Test::Lookup { key, .. }) | Statement::VerdictMap { key, .. } => {
            key.iter_mut().for_each(&mut *visit);
        }
        Statement::Verdict(verdict) => in_verdict(verdict, visit),
        Statement::Assign { field, value } => {
            visit(field);
            in_value(value, visit);
        }
        Statement::Nat(nat) => in_nat(nat, visit),
        Statement::Opaque { fields } => {
            for (field, choice) in fields {
                visit(field);
                visit(choice);
            }
        }
        Statement::Notrack | Statement::Neutral(_) => {}
    }
}

fn in_verdict(verdict: &mut Verdict, visit: &mut impl FnMut(&mut Field)) {
    if let Verdict::Opaque { atom } = verdict {
        visit(atom);
    }
}

fn in_value(value: &mut Value, visit: &mut impl FnMut(&mut Field)) {
    match value {
        Value::Const(_) => {}
        Value::Mix { terms, .. } => terms.iter_mut().for_each(|(field, _)| visit(field)),
        Value::Choice(choice) => visit(choice),
        Value::Map { key, .. } => key.iter_mut().for_each(visit),
    }
}

fn in_nat(nat: &mut Nat, visit: &mut impl FnMut(&mut Field)) {
    if let NatAddress::To(value) = &mut nat.address {
        in_value(value, visit);
    }
    if let Some(port) = &mut nat.port {
        in_value(port, visit);
    }
    if let Some(address) = &mut nat.unknown_address {
        visit(address);
    }
}
