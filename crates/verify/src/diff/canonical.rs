//! Rules as bytes that are equal where the rules mean the same, wherever they stand.
//!
//! Spans, handles, comments and statements without influence are left out; ids are replaced by what they stand for: sets,
//! maps and chains without a name by their content, those with a name by the name, atoms by kind and text. What a named
//! set holds, and what a named chain does, is compared by itself.

use firewarden_packet::{AtomTable, Field, IntervalSet};
use firewarden_ruleset::ir::{
    ChainId, Map, MapData, MapId, Nat, NatAddress, NatDirection, RejectWith, Rule, Ruleset, SetId, Statement,
    Test, Value, Verdict,
};

/// How deep chains without a name are followed; nft allows 16 levels of jumps.
const DEEPEST: usize = 32;

/// Writes rules of one ruleset as bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canonical<'c> {
    pub ruleset: &'c Ruleset,
    pub atoms: &'c AtomTable,
}

impl Canonical<'_> {
    /// Appends a rule. O(size of the rule and of the sets and chains without a name that it uses).
    pub fn rule(&self, rule: &Rule, out: &mut Vec<u8>) {
        self.rule_at(rule, 0, out);
    }

    fn rule_at(&self, rule: &Rule, depth: usize, out: &mut Vec<u8>) {
        for statement in &rule.statements {
            self.statement(statement, depth, out);
        }
        out.push(0xFF);
    }

    fn statement(&self, statement: &Statement, depth: usize, out: &mut Vec<u8>) {
        match statement {
            Statement::Neutral(_) => {}
            Statement::Test(test) => self.test(test, out),
            Statement::Verdict(verdict) => {
                out.push(10);
                self.verdict(verdict, depth, out);
            }
            Statement::VerdictMap { key, map } => {
                out.push(11);
                self.fields(key, out);
                self.map(*map, depth, out);
            }
            Statement::Assign { field, value } => {
                out.push(12);
                self.field(*field, out);
                self.value(value, depth, out);
            }
            Statement::Nat(nat) => {
                out.push(13);
                self.nat(nat, depth, out);
            }
            Statement::Notrack => out.push(14),
            Statement::Opaque { fields } => {
                out.push(15);
                number(fields.len() as u128, out);
                for (field, choice) in fields {
                    self.field(*field, out);
                    self.field(*choice, out);
                }
            }
        }
    }

    fn test(&self, test: &Test, out: &mut Vec<u8>) {
        match test {
            Test::Range { field, set } => {
                out.push(1);
                self.field(*field, out);
                intervals(set, out);
            }
            Test::Bits { field, cubes, negated } => {
                out.extend([2, u8::from(*negated)]);
                self.field(*field, out);
                number(cubes.len() as u128, out);
                for cube in cubes {
                    number(cube.mask, out);
                    number(cube.value, out);
                }
            }
            Test::Masked { field, mask, set } => {
                out.push(3);
                self.field(*field, out);
                number(**mask, out);
                intervals(set, out);
            }
            Test::Lookup { key, set, negated } => {
                out.extend([4, u8::from(*negated)]);
                self.fields(key, out);
                self.set(*set, out);
            }
            Test::Atom { atom, negated } => {
                out.extend([5, u8::from(*negated)]);
                self.field(*atom, out);
            }
        }
    }

    fn verdict(&self, verdict: &Verdict, depth: usize, out: &mut Vec<u8>) {
        match verdict {
            Verdict::Accept => out.push(1),
            Verdict::Drop => out.push(2),
            Verdict::Reject(RejectWith::TcpReset) => out.push(3),
            Verdict::Reject(RejectWith::Icmp) => out.push(4),
            Verdict::Return => out.push(5),
            Verdict::Continue => out.push(6),
            Verdict::Jump(chain) => {
                out.push(7);
                self.chain(*chain, depth, out);
            }
            Verdict::Goto(chain) => {
                out.push(8);
                self.chain(*chain, depth, out);
            }
            Verdict::Opaque { atom } => {
                out.push(9);
                self.field(*atom, out);
            }
        }
    }

    fn chain(&self, id: ChainId, depth: usize, out: &mut Vec<u8>) {
        let Some(chain) = self.ruleset.chain(id) else { return };
        text(&chain.name, out);
        if chain.name.is_empty() && depth < DEEPEST {
            number(chain.rules.len() as u128, out);
            for rule in &chain.rules {
                self.rule_at(rule, depth + 1, out);
            }
        }
    }

    fn set(&self, id: SetId, out: &mut Vec<u8>) {
        let Some(set) = self.ruleset.set(id) else { return };
        text(&set.name, out);
        if set.name.is_empty() {
            number(set.elements.len() as u128, out);
            for element in &set.elements {
                product(&element.key, out);
            }
        }
    }

    fn map(&self, id: MapId, depth: usize, out: &mut Vec<u8>) {
        let Some(map) = self.ruleset.map(id) else { return };
        text(&map.name, out);
        if map.name.is_empty() {
            self.entries(map, depth, out);
        }
    }

    fn entries(&self, map: &Map, depth: usize, out: &mut Vec<u8>) {
        number(map.entries.len() as u128, out);
        for entry in &map.entries {
            product(&entry.key, out);
            self.data_at(&entry.data, depth, out);
        }
    }

    /// Appends what a map's key maps to.
    pub fn data(&self, data: &MapData, out: &mut Vec<u8>) {
        self.data_at(data, 0, out);
    }

    fn data_at(&self, data: &MapData, depth: usize, out: &mut Vec<u8>) {
        match data {
            MapData::Verdict(verdict) => {
                out.push(1);
                self.verdict(verdict, depth, out);
            }
            MapData::Values(values) => {
                out.push(2);
                number(values.len() as u128, out);
                values.iter().for_each(|value| self.value(value, depth, out));
            }
        }
    }

    fn value(&self, value: &Value, depth: usize, out: &mut Vec<u8>) {
        match value {
            Value::Const(value) => {
                out.push(1);
                number(*value, out);
            }
            Value::Mix { terms, xor } => {
                out.push(2);
                number(terms.len() as u128, out);
                for (field, mask) in terms {
                    self.field(*field, out);
                    number(*mask, out);
                }
                number(**xor, out);
            }
            Value::Choice(choice) => {
                out.push(3);
                self.field(*choice, out);
            }
            Value::Map { key, map, component } => {
                out.extend([4, *component]);
                self.fields(key, out);
                self.map(*map, depth, out);
            }
        }
    }

    fn nat(&self, nat: &Nat, depth: usize, out: &mut Vec<u8>) {
        out.push(match nat.direction {
            NatDirection::Source => 1,
            NatDirection::Destination => 2,
        });
        match &nat.address {
            NatAddress::Keep => out.push(1),
            NatAddress::To(value) => {
                out.push(2);
                self.value(value, depth, out);
            }
            NatAddress::OfOutputInterface => out.push(3),
            NatAddress::ThisHost => out.push(4),
        }
        match &nat.port {
            None => out.push(0),
            Some(port) => {
                out.push(1);
                self.value(port, depth, out);
            }
        }
        number(nat.nfproto.unwrap_or(0), out);
        if let Some(field) = nat.unknown_address {
            self.field(field, out);
        }
    }

    fn fields(&self, fields: &[Field], out: &mut Vec<u8>) {
        number(fields.len() as u128, out);
        fields.iter().for_each(|field| self.field(*field, out));
    }

    fn field(&self, field: Field, out: &mut Vec<u8>) {
        match self.atoms.get(field) {
            None => {
                out.push(0);
                number(field.index() as u128, out);
            }
            Some(info) => {
                out.push(1);
                text(&info.kind, out);
                text(&info.text, out);
                number(info.domain.0, out);
                number(info.domain.1, out);
            }
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u128, out);
    out.extend_from_slice(text.as_bytes());
}

/// Small numbers take few bytes: the length, then the bytes.
fn number(value: u128, out: &mut Vec<u8>) {
    let length = (128 - value.leading_zeros()).div_ceil(8) as usize;
    out.push(length as u8);
    out.extend_from_slice(&value.to_le_bytes()[..length]);
}

fn intervals(set: &IntervalSet, out: &mut Vec<u8>) {
    product(set.ranges(), out);
}

fn product(ranges: &[(u128, u128)], out: &mut Vec<u8>) {
    number(ranges.len() as u128, out);
    for (low, high) in ranges {
        number(*low, out);
        number(*high, out);
    }
}
