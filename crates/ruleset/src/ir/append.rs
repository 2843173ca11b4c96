//! Rulesets of one host put together, such as nft tables beside those of iptables.

use super::{
    ChainId, Map, MapData, MapId, Nat, NatAddress, Ruleset, Set, SetId, Statement, TableId, Test, Value,
    Verdict,
};

/// How many tables, chains, sets and maps come before those that are added.
#[derive(Clone, Copy)]
struct Offset {
    tables: u32,
    chains: u32,
    sets: u32,
    maps: u32,
}

impl Ruleset {
    /// Adds the tables of another ruleset behind the own ones, as if they had been created later. Their ids change by
    /// the number of what is there already. O(size of `other`).
    pub fn append(&mut self, other: Ruleset) {
        let offset = Offset {
            tables: self.tables.len() as u32,
            chains: self.chains.len() as u32,
            sets: self.sets.len() as u32,
            maps: self.maps.len() as u32,
        };
        self.tables.extend(other.tables);
        self.sets.extend(other.sets.into_iter().map(|set| Set { table: offset.table(set.table), ..set }));
        self.maps.extend(other.maps.into_iter().map(|map| offset.map_content(map)));
        self.uninterpreted.extend(other.uninterpreted.into_iter().map(|mut declared| {
            declared.table = declared.table.map(|table| offset.table(table));
            declared
        }));
        self.chains.extend(other.chains.into_iter().map(|mut chain| {
            chain.table = offset.table(chain.table);
            for rule in &mut chain.rules {
                rule.statements.iter_mut().for_each(|statement| offset.statement(statement));
            }
            chain
        }));
    }
}

impl Offset {
    fn table(self, id: TableId) -> TableId {
        TableId(id.0 + self.tables)
    }

    fn map_content(self, mut map: Map) -> Map {
        map.table = self.table(map.table);
        for entry in &mut map.entries {
            match &mut entry.data {
                MapData::Verdict(verdict) => self.verdict(verdict),
                MapData::Values(values) => values.iter_mut().for_each(|value| self.value(value)),
            }
        }
        map
    }

    fn statement(self, statement: &mut Statement) {
        match statement {
            Statement::Test(Test::Lookup { set, .. }) => *set = SetId(set.0 + self.sets),
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::VerdictMap { map, .. } => *map = MapId(map.0 + self.maps),
            Statement::Assign { value, .. } => self.value(value),
            Statement::Nat(nat) => {
                let Nat { address, port, .. } = &mut **nat;
                if let NatAddress::To(value) = address {
                    self.value(value);
                }
                port.iter_mut().for_each(|value| self.value(value));
            }
            Statement::Test(
                Test::Range { .. } | Test::Bits { .. } | Test::Masked { .. } | Test::Atom { .. },
            )
            | Statement::Notrack
            | Statement::Neutral(_)
            | Statement::Opaque { .. } => {}
        }
    }

    fn verdict(self, verdict: &mut Verdict) {
        match verdict {
            Verdict::Jump(chain) | Verdict::Goto(chain) => *chain = ChainId(chain.0 + self.chains),
            Verdict::Accept
            | Verdict::Drop
            | Verdict::Reject(_)
            | Verdict::Return
            | Verdict::Continue
            | Verdict::Opaque { .. } => {}
        }
    }

    fn value(self, value: &mut Value) {
        match value {
            Value::Map { map, .. } => *map = MapId(map.0 + self.maps),
            Value::Const(_) | Value::Mix { .. } | Value::Choice(_) => {}
        }
    }
}
