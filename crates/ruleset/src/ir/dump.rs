//! A ruleset as compact text, for tests and debugging: one line for each rule, statements separated by `; `.
//!
//! The text shows meaning only: no spans, no handles, no comments. Two rulesets with equal dumps mean the same; the
//! opposite doesn't hold.

use super::{
    BaseChain, ChainId, ChainType, Map, MapData, Nat, NatAddress, NatDirection, Neutral, Policy, Product,
    RejectWith, Rule, Ruleset, Set, Statement, Test, Value, Verdict,
};
use firewarden_packet::{
    AtomTable, Cube, Field, FieldKind, InterfaceName, IntervalSet, ct_state, ct_status, fib_type, tcp_flag,
};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The whole ruleset. O(size).
pub fn dump(ruleset: &Ruleset, atoms: &AtomTable) -> String {
    let mut out = String::new();
    let writer = Dumper { ruleset, atoms };
    for (index, table) in ruleset.tables.iter().enumerate() {
        let dormant = if table.dormant { " dormant" } else { "" };
        let _ = writeln!(out, "table {:?} {}{dormant}", table.family, table.name);
        for chain in ruleset.chains.iter().filter(|chain| chain.table.0 as usize == index) {
            let _ = writeln!(out, "  chain {}{}", chain.name, base_text(chain.base.as_ref()));
            for rule in &chain.rules {
                let _ = writeln!(out, "    {}", writer.rule(rule));
            }
        }
    }
    out
}

/// One rule of a ruleset on one line. O(size of the rule and of the sets that it names).
pub fn dump_rule(rule: &Rule, ruleset: &Ruleset, atoms: &AtomTable) -> String {
    Dumper { ruleset, atoms }.rule(rule)
}

fn base_text(base: Option<&BaseChain>) -> String {
    let Some(base) = base else { return String::new() };
    let kind = match base.chain_type {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
        ChainType::Route => "route",
    };
    let hook = base.hook.word();
    let policy = match base.policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    };
    let mut text = format!(" {kind} {hook} {} {policy}", base.priority);
    for device in &base.devices {
        let _ = write!(text, " {device}");
    }
    text
}

struct Dumper<'a> {
    ruleset: &'a Ruleset,
    atoms: &'a AtomTable,
}

impl Dumper<'_> {
    fn rule(&self, rule: &Rule) -> String {
        let parts: Vec<String> = rule.statements.iter().map(|statement| self.statement(statement)).collect();
        parts.join("; ")
    }

    fn statement(&self, statement: &Statement) -> String {
        match statement {
            Statement::Test(test) => self.test(test),
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::VerdictMap { key, map } => {
                format!("{} vmap {}", self.key(key), self.map(self.ruleset.map(*map), key))
            }
            Statement::Assign { field, value } => {
                format!("{} := {}", self.field(*field), self.value(*field, value))
            }
            Statement::Nat(nat) => self.nat(nat),
            Statement::Notrack => "notrack".to_owned(),
            Statement::Neutral(Neutral::Counter) => "counter".to_owned(),
            Statement::Neutral(Neutral::Log) => "log".to_owned(),
            Statement::Neutral(Neutral::Other) => "neutral".to_owned(),
            Statement::Opaque { fields } => {
                let parts: Vec<String> = fields
                    .iter()
                    .map(|(field, choice)| format!("{} := {}", self.field(*field), self.field(*choice)))
                    .collect();
                format!("opaque({})", parts.join(", "))
            }
        }
    }

    fn test(&self, test: &Test) -> String {
        match test {
            Test::Range { field, set } => format!("{} {}", self.field(*field), intervals(*field, set)),
            Test::Bits { field, cubes, negated } => {
                let parts: Vec<String> = cubes.iter().map(|cube| bits(*field, *cube)).collect();
                let not = if *negated { "not " } else { "" };
                let shown = if parts.is_empty() { "nothing".to_owned() } else { parts.join(" | ") };
                format!("{} {not}{shown}", self.field(*field))
            }
            Test::Masked { field, mask, set } => {
                format!("{} & {:#x} {}", self.field(*field), **mask, plain_intervals(set))
            }
            Test::Lookup { key, set, negated } => {
                let not = if *negated { "not " } else { "" };
                format!("{} {not}in {}", self.key(key), self.set(self.ruleset.set(*set), key))
            }
            Test::Atom { atom, negated } => {
                format!("{}{}", if *negated { "not " } else { "" }, self.field(*atom))
            }
        }
    }

    fn verdict(&self, verdict: &Verdict) -> String {
        match verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Drop => "drop".to_owned(),
            Verdict::Reject(RejectWith::TcpReset) => "reject tcp-reset".to_owned(),
            Verdict::Reject(RejectWith::Icmp) => "reject icmp".to_owned(),
            Verdict::Jump(to) => format!("jump {}", self.chain(*to)),
            Verdict::Goto(to) => format!("goto {}", self.chain(*to)),
            Verdict::Return => "return".to_owned(),
            Verdict::Continue => "continue".to_owned(),
            Verdict::Opaque { atom } => format!("verdict {}", self.field(*atom)),
        }
    }

    fn nat(&self, nat: &Nat) -> String {
        let (name, address_field, port_field) = match nat.direction {
            NatDirection::Source => ("snat", Field::SADDR, Field::SPORT),
            NatDirection::Destination => ("dnat", Field::DADDR, Field::DPORT),
        };
        let mut text = name.to_owned();
        match nat.nfproto {
            Some(2) => text.push_str(" ip"),
            Some(10) => text.push_str(" ip6"),
            _ => {}
        }
        match &nat.address {
            NatAddress::Keep => text.push_str(" keep"),
            NatAddress::To(value) => {
                let _ = write!(text, " {}", self.value(address_field, value));
            }
            NatAddress::OfOutputInterface => text.push_str(" masquerade"),
            NatAddress::ThisHost => text.push_str(" redirect"),
        }
        if let Some(port) = &nat.port {
            let _ = write!(text, " port {}", self.value(port_field, port));
        }
        text
    }

    fn value(&self, target: Field, value: &Value) -> String {
        match value {
            Value::Const(value) => single(target, *value),
            Value::Mix { terms, xor } => {
                let mut parts: Vec<String> =
                    terms.iter().map(|(field, mask)| format!("{} & {mask:#x}", self.field(*field))).collect();
                if **xor != 0 || parts.is_empty() {
                    parts.push(format!("{:#x}", **xor));
                }
                parts.join(" ^ ")
            }
            Value::Choice(field) => {
                let (low, high) = self.atoms.domain(*field);
                format!("choice {}", span_text(target, low, high))
            }
            Value::Map { key, map, component } => {
                let part = if *component == 0 { String::new() } else { format!(" part {component}") };
                format!("{} map {}{part}", self.key(key), self.map(self.ruleset.map(*map), key))
            }
        }
    }

    fn key(&self, key: &[Field]) -> String {
        key.iter().map(|field| self.field(*field)).collect::<Vec<_>>().join(" . ")
    }

    fn set(&self, set: Option<&Set>, key: &[Field]) -> String {
        let Some(set) = set else { return "?".to_owned() };
        let parts: Vec<String> = set.elements.iter().map(|element| product(key, &element.key)).collect();
        format!("@{}{{{}}}", set.name, parts.join(", "))
    }

    fn map(&self, map: Option<&Map>, key: &[Field]) -> String {
        let Some(map) = map else { return "?".to_owned() };
        let parts: Vec<String> = map
            .entries
            .iter()
            .map(|entry| format!("{}: {}", product(key, &entry.key), self.data(&entry.data)))
            .collect();
        format!("@{}{{{}}}", map.name, parts.join(", "))
    }

    fn data(&self, data: &MapData) -> String {
        match data {
            MapData::Verdict(verdict) => self.verdict(verdict),
            MapData::Values(values) => {
                let parts: Vec<String> = values
                    .iter()
                    .map(|value| match value {
                        Value::Const(value) => format!("{value:#x}"),
                        Value::Choice(field) => {
                            let (low, high) = self.atoms.domain(*field);
                            format!("choice {low:#x}-{high:#x}")
                        }
                        other => self.value(Field::MARK, other),
                    })
                    .collect();
                parts.join(" . ")
            }
        }
    }

    fn chain(&self, id: ChainId) -> String {
        match self.ruleset.chain(id) {
            Some(chain) if !chain.name.is_empty() => chain.name.to_string(),
            Some(chain) => {
                let rules: Vec<String> = chain.rules.iter().map(|rule| self.rule(rule)).collect();
                format!("{{ {} }}", rules.join(" / "))
            }
            None => "?".to_owned(),
        }
    }

    fn field(&self, field: Field) -> String {
        match self.atoms.get(field) {
            Some(info) => format!("<{}>", info.text),
            None => field.name().to_owned(),
        }
    }
}

fn product(key: &[Field], product: &Product) -> String {
    product
        .iter()
        .enumerate()
        .map(|(at, &(low, high))| span_text(key.get(at).copied().unwrap_or(Field::LENGTH), low, high))
        .collect::<Vec<_>>()
        .join(" . ")
}

/// A set of values of a field; the larger half of a field is shown as what it leaves out.
fn intervals(field: Field, set: &IntervalSet) -> String {
    let max = field.max_value();
    let holes = set.complement(max);
    let (not, shown) = if set.contains(max) && !holes.is_empty() && holes.ranges().len() <= set.ranges().len()
    {
        ("not ", &holes)
    } else {
        ("", set)
    };
    if shown.is_empty() {
        return "nothing".to_owned();
    }
    let parts: Vec<String> = shown.ranges().iter().map(|&(low, high)| span_text(field, low, high)).collect();
    format!("{not}{}", parts.join(","))
}

fn plain_intervals(set: &IntervalSet) -> String {
    let parts: Vec<String> = set
        .ranges()
        .iter()
        .map(|&(low, high)| if low == high { format!("{low:#x}") } else { format!("{low:#x}-{high:#x}") })
        .collect();
    parts.join(",")
}

/// An interval of a field: a value, a prefix, a name with a star, or two ends.
fn span_text(field: Field, low: u128, high: u128) -> String {
    if low == high {
        return single(field, low);
    }
    if low == 0 && high == field.max_value() {
        return "any".to_owned();
    }
    match field {
        Field::IIFNAME | Field::OIFNAME => {
            let name = InterfaceName(low).to_string();
            if InterfaceName::prefix(&name) == Ok((low, high)) {
                return format!("{name}*");
            }
        }
        Field::SADDR | Field::DADDR | Field::CT_ORIGINAL_SADDR | Field::CT_ORIGINAL_DADDR => {
            let free = low ^ high;
            let bits = 128 - free.leading_zeros();
            let width = if high <= u128::from(u32::MAX) { 32 } else { 128 };
            if free.count_ones() == bits && low & free == 0 && bits <= width {
                return format!("{}/{}", single(field, low), width - bits);
            }
        }
        _ => {}
    }
    format!("{}-{}", single(field, low), single(field, high))
}

fn single(field: Field, value: u128) -> String {
    let named = |names: &[&str]| names.get(value as usize).map(|name| (*name).to_owned());
    let text = match field {
        Field::SADDR | Field::DADDR | Field::CT_ORIGINAL_SADDR | Field::CT_ORIGINAL_DADDR => {
            Some(match u32::try_from(value) {
                Ok(v4) => Ipv4Addr::from(v4).to_string(),
                Err(_) => Ipv6Addr::from(value).to_string(),
            })
        }
        Field::NFPROTO if value == 2 => Some("ipv4".to_owned()),
        Field::NFPROTO if value == 10 => Some("ipv6".to_owned()),
        Field::L4PROTO => match value {
            1 => Some("icmp".to_owned()),
            6 => Some("tcp".to_owned()),
            17 => Some("udp".to_owned()),
            58 => Some("icmpv6".to_owned()),
            _ => None,
        },
        Field::IIFNAME | Field::OIFNAME => Some(format!("\"{}\"", InterfaceName(value))),
        Field::CT_STATE => named(&ct_state::NAMES),
        Field::CT_DIRECTION => named(&["original", "reply"]),
        Field::FIB_SADDR_TYPE | Field::FIB_DADDR_TYPE => named(&fib_type::NAMES),
        Field::PKTTYPE => named(&["host", "broadcast", "multicast", "other"]),
        Field::MARK | Field::CT_MARK | Field::ETHER_SADDR | Field::ETHER_DADDR => Some(format!("{value:#x}")),
        _ => None,
    };
    text.unwrap_or_else(|| value.to_string())
}

/// A cube of a flag word: `syn,!ack`; of a mark: `0x10/0xff`.
fn bits(field: Field, cube: Cube) -> String {
    let names: Vec<(&str, u128)> = match field {
        Field::TCP_FLAGS => tcp_flag::NAMES.iter().enumerate().map(|(bit, name)| (*name, 1 << bit)).collect(),
        Field::CT_STATUS => vec![
            ("expected", ct_status::EXPECTED),
            ("seen-reply", ct_status::SEEN_REPLY),
            ("assured", ct_status::ASSURED),
            ("confirmed", ct_status::CONFIRMED),
            ("snat", ct_status::SNAT),
            ("dnat", ct_status::DNAT),
            ("dying", ct_status::DYING),
        ],
        _ => Vec::new(),
    };
    let known: u128 = names.iter().map(|(_, bit)| bit).sum();
    if field.kind() == FieldKind::Bits && !names.is_empty() && cube.mask & !known == 0 {
        let parts: Vec<String> = names
            .iter()
            .filter(|(_, bit)| cube.mask & bit != 0)
            .map(|(name, bit)| format!("{}{name}", if cube.value & bit == 0 { "!" } else { "" }))
            .collect();
        return if parts.is_empty() { "any".to_owned() } else { parts.join(",") };
    }
    if cube.mask == field.max_value() {
        format!("{:#x}", cube.value)
    } else {
        format!("{:#x}/{:#x}", cube.value, cube.mask)
    }
}
