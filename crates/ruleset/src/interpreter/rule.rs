//! One rule: its statements from left to right.

use super::walk::{Event, Walk, What};
use super::{Interpreter, nat};
use crate::Surroundings;
use crate::ir::{MapData, MapId, Neutral, Product, Rule, RuleRef, SetId, Statement, Test, Value, Verdict};
use firewarden_packet::Field;

/// Fields of the connection. Without a connection they have no value, and whatever asks for it ends the rule
/// (nft_ct_get_eval). The state is not among them: it can always be told.
fn belongs_to_connection(field: Field) -> bool {
    [
        Field::CT_STATUS,
        Field::CT_DIRECTION,
        Field::CT_MARK,
        Field::CT_ORIGINAL_SADDR,
        Field::CT_ORIGINAL_DADDR,
        Field::CT_ORIGINAL_SPORT,
        Field::CT_ORIGINAL_DPORT,
    ]
    .contains(&field)
}

/// The value of a field; `None` where the packet has none and the rule ends.
fn read(walk: &Walk, field: Field) -> Option<u128> {
    if belongs_to_connection(field) && !walk.has_connection() {
        return None;
    }
    Some(walk.now.get(field))
}

/// True where each number is in its interval, and there is one for each.
fn within(values: &[u128], key: &Product) -> bool {
    values.len() == key.len()
        && values.iter().zip(key).all(|(value, (low, high))| low <= value && value <= high)
}

impl Interpreter<'_> {
    /// Carries out a rule. `Continue` where it decides nothing.
    pub(super) fn rule(
        &self,
        at: RuleRef,
        rule: &Rule,
        walk: &mut Walk,
        around: &dyn Surroundings,
        events: &mut Vec<Event>,
    ) -> Verdict {
        self.statements(at, rule, walk, around, events).unwrap_or(Verdict::Continue)
    }

    /// `None` where the rule ends early: a test fails, a key isn't in a map, a field has no value.
    fn statements(
        &self,
        at: RuleRef,
        rule: &Rule,
        walk: &mut Walk,
        around: &dyn Surroundings,
        events: &mut Vec<Event>,
    ) -> Option<Verdict> {
        let mut tell = |what| events.push(Event { rule: at, what });
        for statement in &rule.statements {
            match statement {
                Statement::Test(test) => {
                    if !self.test(test, walk)? {
                        return None;
                    }
                }
                Statement::Verdict(verdict) => return Some(verdict.clone()),
                Statement::VerdictMap { key, map } => match self.look_up(key, *map, walk)? {
                    MapData::Verdict(verdict) => return Some(verdict.clone()),
                    MapData::Values(_) => return None,
                },
                Statement::Assign { field, value } => {
                    let value = self.value(value, walk)?;
                    // Without a connection there is nothing to write to; the rule goes on (nft_ct_set_eval).
                    if !belongs_to_connection(*field) || walk.has_connection() {
                        walk.now.set(*field, value);
                        nat::learn_types(*field, walk, around);
                        tell(What::Wrote(*field, value));
                    }
                }
                Statement::Nat(nat) => {
                    let end = self.translate(nat, walk, around)?;
                    tell(What::Translated(nat.direction, end));
                    return Some(Verdict::Accept);
                }
                Statement::Notrack => {
                    if walk.notrack() {
                        tell(What::Untracked);
                    }
                }
                Statement::Neutral(Neutral::Log) => tell(What::Logged),
                Statement::Neutral(Neutral::Counter | Neutral::Other) => {}
                Statement::Opaque { fields } => {
                    for (field, choice) in fields {
                        let value = self.choice(*choice, walk);
                        walk.now.set(*field, value);
                        tell(What::Wrote(*field, value));
                    }
                }
            }
        }
        None
    }

    /// Whether a test holds; `None` where it can't be asked.
    fn test(&self, test: &Test, walk: &Walk) -> Option<bool> {
        Some(match test {
            Test::Range { field, set } => {
                let value = read(walk, *field)?;
                set.ranges().iter().any(|(low, high)| *low <= value && value <= *high)
            }
            Test::Bits { field, cubes, negated } => {
                let word = read(walk, *field)?;
                let inside = cubes.iter().any(|cube| word & cube.mask == cube.value);
                inside != *negated
            }
            Test::Masked { field, mask, set } => {
                let value = read(walk, *field)? & **mask;
                set.ranges().iter().any(|(low, high)| *low <= value && value <= *high)
            }
            Test::Lookup { key, set, negated } => self.is_member(key, *set, walk)? != *negated,
            Test::Atom { atom, negated } => (walk.now.get(*atom) != 0) != *negated,
        })
    }

    fn is_member(&self, key: &[Field], set: SetId, walk: &Walk) -> Option<bool> {
        let values: Vec<u128> = key.iter().map(|field| read(walk, *field)).collect::<Option<_>>()?;
        let set = self.ruleset.set(set)?;
        Some(set.elements.iter().any(|element| within(&values, &element.key)))
    }

    /// The datum of the first entry that holds the key.
    fn look_up(&self, key: &[Field], map: MapId, walk: &Walk) -> Option<&MapData> {
        let values: Vec<u128> = key.iter().map(|field| read(walk, *field)).collect::<Option<_>>()?;
        let map = self.ruleset.map(map)?;
        map.entries.iter().find(|entry| within(&values, &entry.key)).map(|entry| &entry.data)
    }

    /// What a value is for this packet; `None` where it has none.
    pub(super) fn value(&self, value: &Value, walk: &Walk) -> Option<u128> {
        match value {
            Value::Const(number) => Some(*number),
            Value::Mix { terms, xor } => {
                let mut number = **xor;
                for (field, mask) in terms {
                    number ^= read(walk, *field)? & mask;
                }
                Some(number)
            }
            Value::Choice(choice) => Some(self.choice(*choice, walk)),
            Value::Map { key, map, component } => match self.look_up(key, *map, walk)? {
                MapData::Values(values) => match values.get(usize::from(*component))? {
                    // Maps of maps don't exist.
                    Value::Map { .. } => None,
                    plain => self.value(plain, walk),
                },
                MapData::Verdict(_) => None,
            },
        }
    }

    /// What the packet's circumstances choose, within what may be chosen.
    pub(super) fn choice(&self, choice: Field, walk: &Walk) -> u128 {
        let (low, high) = self.atoms.domain(choice);
        walk.now.get(choice).clamp(low, high)
    }
}
