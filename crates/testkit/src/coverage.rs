//! How often each variant of the intermediate representation occurs in rulesets.

use firewarden_ruleset::ir::{
    ChainType, Family, Hook, MapData, Nat, NatAddress, NatDirection, Neutral, Policy, Ruleset, Statement,
    Test, Value, Verdict,
};
use std::collections::BTreeMap;
use std::fmt;

/// Variants that generated rulesets are expected to have. One that is missing here still shows once it occurs.
const EXPECTED: [&str; 71] = [
    "Family::Ip",
    "Family::Ip6",
    "Family::Inet",
    "Hook::Prerouting",
    "Hook::Input",
    "Hook::Forward",
    "Hook::Output",
    "Hook::Postrouting",
    "ChainType::Filter",
    "ChainType::Nat",
    "Policy::Accept",
    "Policy::Drop",
    "table dormant",
    "anonymous chain",
    "anonymous set",
    "named set",
    "anonymous map",
    "named map",
    "set of one field",
    "set of several fields",
    "set without elements",
    "map of one field",
    "Statement::Assign",
    "Statement::Notrack",
    "Statement::VerdictMap",
    "Test::Range",
    "Test::Bits",
    "Test::Bits negated",
    "Test::Masked",
    "Test::Lookup",
    "Test::Lookup negated",
    "Test::Atom",
    "test behind an effect",
    "Neutral::Counter",
    "Neutral::Log",
    "Neutral::Other",
    "Verdict::Accept",
    "Verdict::Drop",
    "Verdict::Reject(TcpReset)",
    "Verdict::Reject(Icmp)",
    "Verdict::Jump",
    "Verdict::Goto",
    "Verdict::Return",
    "Verdict::Continue",
    "MapData::Verdict",
    "MapData::Values(1)",
    "MapData::Values(2)",
    "Value::Const",
    "Value::Mix",
    "Value::Map",
    "Nat::Source",
    "Nat::Destination",
    "NatAddress::To",
    "NatAddress::OfOutputInterface",
    "NatAddress::ThisHost",
    "nat with port",
    "nat for one family",
    "field saddr",
    "field daddr",
    "field dport",
    "field tcp flags",
    "field icmp type",
    "field iifname",
    "field oifname",
    "field ct state",
    "field ct status",
    "field ct mark",
    "field meta mark",
    "field meta length",
    "field ip ttl",
    "field fib daddr type",
];

/// A histogram of variants.
#[derive(Clone, Debug)]
pub struct Coverage {
    counts: BTreeMap<String, u64>,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage { counts: EXPECTED.iter().map(|name| ((*name).to_owned(), 0)).collect() }
    }
}

impl Coverage {
    /// How many of the expected variants occurred, and of how many.
    pub fn reached(&self) -> (usize, usize) {
        (EXPECTED.len() - self.missing().len(), EXPECTED.len())
    }

    /// Expected variants that didn't occur.
    pub fn missing(&self) -> Vec<&str> {
        self.counts.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name.as_str()).collect()
    }

    fn note(&mut self, name: impl Into<String>) {
        *self.counts.entry(name.into()).or_default() += 1;
    }

    /// Counts everything in a ruleset.
    pub fn add(&mut self, ruleset: &Ruleset) {
        for table in &ruleset.tables {
            self.note(match table.family {
                Family::Ip => "Family::Ip",
                Family::Ip6 => "Family::Ip6",
                Family::Inet => "Family::Inet",
                Family::Arp => "Family::Arp",
                Family::Bridge => "Family::Bridge",
                Family::Netdev => "Family::Netdev",
            });
            if table.dormant {
                self.note("table dormant");
            }
        }
        for set in &ruleset.sets {
            self.note(if set.name.is_empty() { "anonymous set" } else { "named set" });
            self.note(if set.arity == 1 { "set of one field" } else { "set of several fields" });
            if set.elements.is_empty() {
                self.note("set without elements");
            }
        }
        for map in &ruleset.maps {
            self.note(if map.name.is_empty() { "anonymous map" } else { "named map" });
            self.note(if map.arity == 1 { "map of one field" } else { "map of several fields" });
            for entry in &map.entries {
                match &entry.data {
                    MapData::Verdict(verdict) => {
                        self.note("MapData::Verdict");
                        self.verdict(verdict);
                    }
                    MapData::Values(values) => {
                        self.note(format!("MapData::Values({})", values.len()));
                        values.iter().for_each(|value| self.value(value));
                    }
                }
            }
        }
        for chain in &ruleset.chains {
            match &chain.base {
                Some(base) => {
                    self.note(match base.hook {
                        Hook::Ingress => "Hook::Ingress",
                        Hook::Prerouting => "Hook::Prerouting",
                        Hook::Input => "Hook::Input",
                        Hook::Forward => "Hook::Forward",
                        Hook::Output => "Hook::Output",
                        Hook::Postrouting => "Hook::Postrouting",
                        Hook::Egress => "Hook::Egress",
                    });
                    self.note(match base.chain_type {
                        ChainType::Filter => "ChainType::Filter",
                        ChainType::Nat => "ChainType::Nat",
                        ChainType::Route => "ChainType::Route",
                    });
                    self.note(if base.policy == Policy::Accept { "Policy::Accept" } else { "Policy::Drop" });
                }
                None if chain.name.is_empty() => self.note("anonymous chain"),
                None => self.note("named chain without a hook"),
            }
            for rule in &chain.rules {
                let mut effect = false;
                for statement in &rule.statements {
                    if effect && matches!(statement, Statement::Test(_)) {
                        self.note("test behind an effect");
                    }
                    effect |= matches!(statement, Statement::Assign { .. } | Statement::Opaque { .. });
                    self.statement(statement);
                }
            }
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Test(test) => self.test(test),
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::VerdictMap { key, .. } => {
                self.note("Statement::VerdictMap");
                key.iter().for_each(|field| self.note(format!("field {field:?}")));
            }
            Statement::Assign { field, value } => {
                self.note("Statement::Assign");
                self.note(format!("assigned {field:?}"));
                self.value(value);
            }
            Statement::Nat(nat) => self.nat(nat),
            Statement::Notrack => self.note("Statement::Notrack"),
            Statement::Neutral(Neutral::Counter) => self.note("Neutral::Counter"),
            Statement::Neutral(Neutral::Log) => self.note("Neutral::Log"),
            Statement::Neutral(Neutral::Other) => self.note("Neutral::Other"),
            Statement::Opaque { .. } => self.note("Statement::Opaque"),
        }
    }

    fn test(&mut self, test: &Test) {
        let (name, negated, fields) = match test {
            Test::Range { field, .. } => ("Test::Range", false, std::slice::from_ref(field)),
            Test::Bits { field, negated, .. } => ("Test::Bits", *negated, std::slice::from_ref(field)),
            Test::Masked { field, .. } => ("Test::Masked", false, std::slice::from_ref(field)),
            Test::Lookup { key, negated, .. } => ("Test::Lookup", *negated, key.as_slice()),
            Test::Atom { negated, .. } => ("Test::Atom", *negated, &[][..]),
        };
        self.note(if negated { format!("{name} negated") } else { name.to_owned() });
        fields.iter().for_each(|field| self.note(format!("field {field:?}")));
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let name = match verdict {
            Verdict::Accept => "Verdict::Accept",
            Verdict::Drop => "Verdict::Drop",
            Verdict::Reject(with) => return self.note(format!("Verdict::Reject({with:?})")),
            Verdict::Jump(_) => "Verdict::Jump",
            Verdict::Goto(_) => "Verdict::Goto",
            Verdict::Return => "Verdict::Return",
            Verdict::Continue => "Verdict::Continue",
            Verdict::Opaque { .. } => "Verdict::Opaque",
        };
        self.note(name);
    }

    fn value(&mut self, value: &Value) {
        self.note(match value {
            Value::Const(_) => "Value::Const",
            Value::Mix { .. } => "Value::Mix",
            Value::Choice(_) => "Value::Choice",
            Value::Map { .. } => "Value::Map",
        });
    }

    fn nat(&mut self, nat: &Nat) {
        self.note(match nat.direction {
            NatDirection::Source => "Nat::Source",
            NatDirection::Destination => "Nat::Destination",
        });
        match &nat.address {
            NatAddress::Keep => self.note("NatAddress::Keep"),
            NatAddress::To(value) => {
                self.note("NatAddress::To");
                self.value(value);
            }
            NatAddress::OfOutputInterface => self.note("NatAddress::OfOutputInterface"),
            NatAddress::ThisHost => self.note("NatAddress::ThisHost"),
        }
        if let Some(port) = &nat.port {
            self.note("nat with port");
            self.value(port);
        }
        if nat.nfproto.is_some() {
            self.note("nat for one family");
        }
    }
}

impl fmt::Display for Coverage {
    /// A line for each variant: how often, and its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "{count:>9}  {name}")?;
        }
        Ok(())
    }
}
