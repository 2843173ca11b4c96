//! Random rulesets, built directly in the intermediate representation, with few distinct values so that rules overlap.

use firewarden_diagnostic::Span;
use firewarden_packet::{AtomTable, Cube, Field, FieldKind, IntervalSet, Purity};
use firewarden_ruleset::ir::{
    BaseChain, Chain, ChainId, ChainType, Dialect, Family, Hook, Map, MapData, MapEntry, MapId, Nat,
    NatAddress, NatDirection, Policy, Product, RejectWith, Rule, Ruleset, Set, SetElement, SetId, Statement,
    Table, TableId, Test, Value, Verdict,
};
use firewarden_testkit::random::Random;
use smallvec::{SmallVec, smallvec};

/// Values that rules and packets are made of, from a seed.
pub struct Dice(Random);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Random::new(seed))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.bits() % limit
    }

    /// A value of a field, one of few.
    pub fn value(&mut self, field: Field) -> u128 {
        let small = u128::from(self.below(24));
        match field {
            Field::SADDR | Field::DADDR => 0x0A00_0000 + small,
            Field::L4PROTO => [6, 17, 1][self.below(3) as usize],
            Field::SPORT | Field::DPORT | Field::TTL => small,
            Field::MARK | Field::CT_MARK | Field::CT_STATUS | Field::TCP_FLAGS => u128::from(self.below(64)),
            _ if field.is_dynamic() => u128::from(self.below(2)),
            _ => 0,
        }
    }
}

pub struct World {
    pub ruleset: Ruleset,
    pub atoms: AtomTable,
}

const RANGE_FIELDS: [Field; 6] =
    [Field::SADDR, Field::DADDR, Field::L4PROTO, Field::SPORT, Field::DPORT, Field::TTL];
const BIT_FIELDS: [Field; 4] = [Field::TCP_FLAGS, Field::MARK, Field::CT_MARK, Field::CT_STATUS];

struct Builder<'d> {
    /// Masks that aren't prefixes take a field apart into single values: too many regions for a test that wants all.
    masks: bool,
    dice: &'d mut Dice,
    atoms: AtomTable,
    ruleset: Ruleset,
    chains: u32,
}

impl World {
    pub fn random(dice: &mut Dice) -> World {
        let rules = [3, 8, 60, 120][dice.below(4) as usize];
        Builder { masks: true, dice, atoms: AtomTable::default(), ruleset: Ruleset::default(), chains: 0 }
            .build(rules)
    }

    pub fn random_small(dice: &mut Dice) -> World {
        Builder { masks: false, dice, atoms: AtomTable::default(), ruleset: Ruleset::default(), chains: 0 }
            .build(3)
    }
}

impl Builder<'_> {
    fn build(mut self, rules: u64) -> World {
        self.ruleset.tables.push(Table {
            family: Family::Inet,
            name: "t".into(),
            dialect: Dialect::Nft,
            dormant: false,
            span: Span::default(),
        });
        for arity in [1, 2, 2] {
            let mut elements: Vec<SetElement> = (0..self.dice.below(8))
                .map(|_| SetElement { key: self.product(arity), span: Span::default() })
                .collect();
            if arity == 1 {
                let set: IntervalSet = elements.iter().map(|element| element.key[0]).collect();
                elements = set
                    .ranges()
                    .iter()
                    .map(|&r| SetElement { key: smallvec![r], span: Span::default() })
                    .collect();
            }
            self.ruleset.sets.push(Set {
                table: TableId(0),
                name: "s".into(),
                arity,
                elements,
                span: Span::default(),
            });
        }
        for (arity, verdicts) in [(1, true), (2, true), (1, false)] {
            let entries = (0..self.dice.below(5) + 1)
                .map(|number| {
                    let mut key = self.product(arity);
                    if arity == 1 {
                        key = smallvec![(
                            u128::from(number) * 5,
                            u128::from(number) * 5 + u128::from(self.dice.below(5))
                        )];
                    }
                    let data = if verdicts {
                        MapData::Verdict(
                            [Verdict::Accept, Verdict::Drop, Verdict::Return][self.dice.below(3) as usize]
                                .clone(),
                        )
                    } else {
                        MapData::Values(smallvec![Value::Const(self.dice.value(Field::MARK))])
                    };
                    MapEntry { key, data, span: Span::default() }
                })
                .collect();
            self.ruleset.maps.push(Map {
                table: TableId(0),
                name: "m".into(),
                arity,
                entries,
                span: Span::default(),
            });
        }
        self.chains = 5;
        for chain in 0..self.chains {
            let base = match chain {
                0 => Some((ChainType::Filter, -300)),
                1 => Some((ChainType::Filter, -150)),
                2 => Some((ChainType::Nat, -100)),
                3 => Some((ChainType::Filter, 0)),
                _ => None,
            };
            let nat = chain == 2;
            let count = if nat { self.dice.below(4) } else { self.dice.below(rules) };
            let rules = (0..count).map(|_| self.rule(chain, nat)).collect();
            let policy = if self.dice.below(4) == 0 { Policy::Drop } else { Policy::Accept };
            self.ruleset.chains.push(Chain {
                table: TableId(0),
                name: "c".into(),
                base: base.map(|(chain_type, priority)| BaseChain {
                    chain_type,
                    hook: Hook::Prerouting,
                    priority,
                    policy,
                    devices: Vec::new(),
                    policy_span: Span::default(),
                }),
                rules,
                span: Span::default(),
            });
        }
        World { ruleset: self.ruleset, atoms: self.atoms }
    }

    fn product(&mut self, arity: usize) -> Product {
        (0..arity)
            .map(|_| {
                let low = u128::from(self.dice.below(24));
                (low, low + u128::from(self.dice.below(6)))
            })
            .collect()
    }

    fn rule(&mut self, chain: u32, nat: bool) -> Rule {
        let mut statements: Vec<Statement> = Vec::new();
        for _ in 0..self.dice.below(3) + 1 {
            statements.push(Statement::Test(self.test()));
        }
        if self.dice.below(6) == 0 {
            statements.push(self.effect());
            if self.dice.below(2) == 0 {
                statements.push(Statement::Test(self.test()));
            }
        }
        statements.push(if nat { self.nat() } else { self.last(chain) });
        Rule { statements: statements.into(), span: Span::default(), handle: 0, comment: None }
    }

    fn test(&mut self) -> Test {
        match self.dice.below(10) {
            0..=4 => {
                let field = RANGE_FIELDS[self.dice.below(6) as usize];
                let ranges = (0..self.dice.below(3) + 1).map(|_| {
                    let (a, b) = (self.dice.value(field), self.dice.value(field));
                    (a.min(b), a.max(b))
                });
                let set: IntervalSet = ranges.collect();
                let set = if self.dice.below(4) == 0 { set.complement(field.max_value()) } else { set };
                Test::Range { field, set }
            }
            5 => {
                let field = BIT_FIELDS[self.dice.below(4) as usize];
                let cubes: SmallVec<[Cube; 1]> = (0..self.dice.below(2) + 1)
                    .map(|_| Cube::new(u128::from(self.dice.below(64)), self.dice.value(field)))
                    .collect();
                Test::Bits { field, cubes, negated: self.dice.below(2) == 0 }
            }
            6 if self.masks => {
                let field = [Field::L4PROTO, Field::TTL][self.dice.below(2) as usize];
                let mask = u128::from(self.dice.below(8)) << self.dice.below(3);
                let set = IntervalSet::single(u128::from(self.dice.below(8)) & mask);
                Test::Masked { field, mask: Box::new(mask), set }
            }
            6..=8 => {
                let set = self.dice.below(3) as u32;
                let key =
                    if set == 0 { smallvec![Field::DPORT] } else { smallvec![Field::SPORT, Field::DPORT] };
                Test::Lookup { key, set: SetId(set), negated: self.dice.below(3) == 0 }
            }
            _ => {
                let name = format!("atom {}", self.dice.below(3));
                let atom = self.atoms.atom("", "test", &name, Purity::Pure);
                Test::Atom { atom, negated: self.dice.below(2) == 0 }
            }
        }
    }

    fn value(&mut self, field: Field) -> Value {
        let terms = if field.kind() == FieldKind::Bits { BIT_FIELDS } else { [field; 4] };
        match self.dice.below(4) {
            0 => Value::Const(self.dice.value(field)),
            1 => Value::Map { key: smallvec![Field::TTL], map: MapId(2), component: 0 },
            2 if field.kind() == FieldKind::Bits => Value::Mix {
                terms: Box::new([
                    (terms[1], u128::from(self.dice.below(64))),
                    (terms[2], u128::from(self.dice.below(64))),
                ]),
                xor: Box::new(u128::from(self.dice.below(64))),
            },
            2 if self.masks => Value::Mix { terms: Box::new([(field, 7)]), xor: Box::new(0x0A00_0100) },
            _ => {
                let base = self.dice.value(field);
                let name = format!("choice {field:?} {base}");
                Value::Choice(self.atoms.choice("", "choice", &name, Purity::Pure, (base, base + 3)))
            }
        }
    }

    fn effect(&mut self) -> Statement {
        match self.dice.below(5) {
            0 => Statement::Notrack,
            1 => Statement::Assign { field: Field::CT_MARK, value: self.value(Field::CT_MARK) },
            2 => Statement::Assign { field: Field::TTL, value: Value::Const(self.dice.value(Field::TTL)) },
            _ => Statement::Assign { field: Field::MARK, value: self.value(Field::MARK) },
        }
    }

    fn last(&mut self, chain: u32) -> Statement {
        match self.dice.below(12) {
            0..=3 => Statement::Verdict(Verdict::Accept),
            4 => Statement::Verdict(Verdict::Drop),
            5 => Statement::Verdict(Verdict::Reject(RejectWith::Icmp)),
            6 => Statement::Verdict(Verdict::Return),
            7 | 8 if chain + 1 < self.chains => {
                let to = ChainId(4);
                let jump = if self.dice.below(3) == 0 { Verdict::Goto(to) } else { Verdict::Jump(to) };
                Statement::Verdict(jump)
            }
            9 => Statement::VerdictMap { key: smallvec![Field::SPORT], map: MapId(0) },
            10 => Statement::VerdictMap { key: smallvec![Field::SPORT, Field::DPORT], map: MapId(1) },
            _ => self.effect(),
        }
    }

    fn nat(&mut self) -> Statement {
        let port = (self.dice.below(2) == 0).then(|| self.value(Field::DPORT));
        let address = match self.dice.below(4) {
            0 => NatAddress::Keep,
            _ => NatAddress::To(self.value(Field::DADDR)),
        };
        Statement::Nat(Box::new(Nat {
            direction: NatDirection::Destination,
            address,
            port,
            nfproto: None,
            unknown_address: None,
        }))
    }
}
