//! Mistakes in texts of nft.

use super::{Kind, Plant};
use firewarden_diagnostic::{SourceMap, Span};
use firewarden_ruleset::syntax::nft::ast::{
    BinaryOp, Chain, Command, Definition, Expr, ExprKind, Family, Item, Match, Operator, Policy, Rule,
    Script, Set, Statement, StatementKind, Table, Target, Verdict,
};
use firewarden_ruleset::syntax::nft::text::{NoIncludes, parse};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

pub fn plant(plant: &mut Plant) {
    let mut sources = SourceMap::default();
    let file = sources.add("rules", plant.text());
    let (script, problems) = parse(file, plant.text(), &mut NoIncludes);
    if !problems.is_empty() {
        return;
    }
    for command in &script.commands {
        if let Target::Table(table) = &command.target {
            in_table(plant, table, &script);
        }
    }
}

fn in_table(plant: &mut Plant, table: &Table, script: &Script) {
    let sets: Vec<&Set> = table
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Set(set) => Some(&**set),
            _ => None,
        })
        .collect();
    for set in &sets {
        in_set(plant, set);
    }
    for item in &table.items {
        if let Item::Chain(chain) = item {
            in_chain(plant, chain, &Around { family: table.id.family, sets: &sets, script });
        }
    }
}

/// What a rule can speak of.
struct Around<'a> {
    family: Family,
    sets: &'a [&'a Set],
    script: &'a Script,
}

fn range(span: Span) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// Each element may be missing.
fn in_set(plant: &mut Plant, set: &Set) {
    for element in &set.elements {
        let what = format!("set {} without `{}`", set.name.text, plant.slice(&range(element.span)));
        let gone = with_comma(plant, &range(element.span));
        plant.edit(Kind::Delete, gone, "", what);
    }
    if let [first, ..] = set.elements.as_slice() {
        let place = range(first.key.span);
        for other in addresses_for(plant, &first.key) {
            plant.value(Kind::Set, &place, other);
        }
    }
}

/// An element of a list with the comma that follows it, or else the one before it.
fn with_comma(plant: &Plant, element: &Range<usize>) -> Range<usize> {
    let after = plant.text().get(element.end..).unwrap_or_default();
    if let Some(rest) = after.trim_start().strip_prefix(',') {
        return element.start..plant.text().len() - rest.trim_start_matches(' ').len();
    }
    let before = plant.text().get(..element.start).unwrap_or_default().trim_end();
    match before.strip_suffix(',') {
        Some(rest) => rest.len()..element.end,
        None => element.clone(),
    }
}

fn in_chain(plant: &mut Plant, chain: &Chain, around: &Around) {
    if let Some(policy) = &chain.policy {
        let (other, now) = match policy.value {
            Policy::Accept => ("drop", "accept"),
            Policy::Drop => ("accept", "drop"),
        };
        // The place is that of the word, or of all of `policy drop`.
        let place = range(policy.span);
        let text = plant.slice(&place).replacen(now, other, 1);
        plant.value(Kind::Policy, &place, text);
    }
    for rule in &chain.rules {
        let place = range(rule.span);
        let what = format!("without `{}`", plant.slice(&place));
        let line = plant.whole_line(&place);
        plant.edit(Kind::Delete, line, "", what);
        in_rule(plant, rule, around);
    }
    for pair in chain.rules.windows(2) {
        if let [first, second] = pair {
            plant.swap(&range(first.span), &range(second.span));
        }
    }
}

fn in_rule(plant: &mut Plant, rule: &Rule, around: &Around) {
    let start = rule.span.start as usize;
    let add = |plant: &mut Plant, kind, text: &str| {
        plant.edit(kind, start..start, format!("{text} "), format!("`{text}` in front of the rule"));
    };
    if around.family == Family::Inet {
        add(plant, Kind::Family, "meta nfproto ipv4");
        add(plant, Kind::Family, "meta nfproto ipv6");
    }
    if rule.statements.iter().any(|statement| is_test_of(statement, "dport")) {
        add(plant, Kind::Narrow, "tcp sport 20000-65535");
    }
    for (at, statement) in rule.statements.iter().enumerate() {
        let next = rule.statements.get(at + 1).map_or(rule.span.end, |next| next.span.start);
        match &statement.kind {
            StatementKind::Match(test) => {
                let what = format!("without `{}`", plant.slice(&range(statement.span)));
                plant.edit(Kind::Widen, statement.span.start as usize..next as usize, "", what);
                in_match(plant, test, around);
            }
            StatementKind::Nat(nat) => {
                if let Some(address) = &nat.address {
                    let place = range(address.span);
                    for other in addresses_for(plant, address) {
                        plant.value(Kind::NatTarget, &place, other);
                    }
                    let port = place.end..place.end;
                    if nat.port.is_none() {
                        plant.edit(Kind::NatTarget, port, ":8081", "translated to port 8081");
                    }
                }
            }
            StatementKind::Verdict(Verdict::Jump(_)) => {
                let place = range(statement.span);
                let text = plant.slice(&place).replacen("jump", "goto", 1);
                plant.value(Kind::Widen, &place, text);
            }
            _ => {}
        }
    }
}

fn is_test_of(statement: &Statement, field: &str) -> bool {
    match &statement.kind {
        StatementKind::Match(test) => {
            matches!(&test.left.kind, ExprKind::Payload(header) if header.name == field && header.protocol == "tcp")
        }
        _ => false,
    }
}

fn in_match(plant: &mut Plant, test: &Match, around: &Around) {
    negate(plant, test);
    let place = range(test.right.span);
    let is_interface =
        matches!(&test.left.kind, ExprKind::Meta(key) if ["iif", "oif", "iifname", "oifname"].contains(key));
    if is_interface {
        let interfaces = plant.files[plant.file].interfaces;
        for other in interfaces.iter().filter(|other| test.right.word() != Some(*other)) {
            plant.value(Kind::Interface, &place, format!("\"{other}\""));
        }
        return;
    }
    match &test.right.kind {
        ExprKind::SetRef(name) => {
            for other in around.sets.iter().filter(|set| *set.name.text != **name) {
                plant.value(Kind::Set, &place, format!("@{}", other.name.text));
            }
        }
        ExprKind::Variable(used) => {
            for other in variables(around.script).filter(|other| is_alike(used, other)) {
                plant.value(Kind::Set, &place, format!("${}", other.name.text));
            }
        }
        ExprKind::Set(literal) if literal.elements.len() > 1 => {
            for element in &literal.elements {
                let what = format!("without `{}`", plant.slice(&range(element.span)));
                let gone = with_comma(plant, &range(element.span));
                plant.edit(Kind::Narrow, gone, "", what);
            }
        }
        _ => {}
    }
    values(plant, test, &place);
}

/// Wider and narrower values.
fn values(plant: &mut Plant, test: &Match, place: &Range<usize>) {
    let is_port =
        matches!(&test.left.kind, ExprKind::Payload(field) if ["dport", "sport"].contains(&field.name));
    match &test.right.resolved().kind {
        ExprKind::Number(port) if is_port => {
            plant.value(Kind::Narrow, place, (port + 1).to_string());
            plant.value(Kind::Widen, place, format!("{}-{}", port.saturating_sub(100), port + 100));
        }
        ExprKind::Set(literal) if is_port => {
            let numbers = literal.elements.iter().filter_map(|element| match element.key.kind {
                ExprKind::Number(number) => Some(number),
                _ => None,
            });
            let numbers: Vec<u64> = numbers.collect();
            if let (Some(least), Some(most)) = (numbers.iter().min(), numbers.iter().max())
                && least < most
            {
                plant.value(Kind::Widen, place, format!("{least}-{most}"));
            }
        }
        ExprKind::Prefix(address, length) => {
            if let Some(address) = literal(address) {
                for (kind, length) in [(Kind::Widen, length.saturating_sub(6)), (Kind::Narrow, length + 2)] {
                    if let Some(text) = prefix(address, length) {
                        plant.value(kind, place, text);
                    }
                }
            }
        }
        ExprKind::Ipv4(_) | ExprKind::Ipv6(_) => {
            for other in addresses_for(plant, &test.right) {
                plant.value(Kind::Set, place, other);
            }
            let wide = literal(test.right.resolved())
                .and_then(|address| prefix(address, if address.is_ipv4() { 23 } else { 123 }));
            if let Some(wide) = wide {
                plant.value(Kind::Widen, place, wide);
            }
        }
        _ => {}
    }
}

fn negate(plant: &mut Plant, test: &Match) {
    let between = test.left.span.end as usize..test.right.span.start as usize;
    // A test of an expression with a mask stands in other words.
    if matches!(&test.left.kind, ExprKind::Binary(binary) if binary.op != BinaryOp::And) {
        return;
    }
    let text = match test.op {
        Operator::Implicit | Operator::Eq => " != ",
        Operator::Ne => " == ",
        _ => return,
    };
    let tested = plant.slice(&(test.left.span.start as usize..test.right.span.end as usize)).to_owned();
    plant.edit(Kind::Negate, between, text, format!("`{}` the wrong way round", tested));
}

fn variables(script: &Script) -> impl Iterator<Item = &Definition> {
    script.commands.iter().filter_map(|command: &Command| match &command.target {
        Target::Define(definition) => Some(&**definition),
        _ => None,
    })
}

/// Whether one variable may stand where the other does: both hold IPv4 addresses, or IPv6 ones.
fn is_alike(one: &Definition, other: &Definition) -> bool {
    let family = |definition: &Definition| match &definition.value.resolved().kind {
        ExprKind::Prefix(address, _) => literal(address).map(|address| address.is_ipv4()),
        _ => literal(definition.value.resolved()).map(|address| address.is_ipv4()),
    };
    one.name.text != other.name.text && family(one).is_some() && family(one) == family(other)
}

fn literal(expr: &Expr) -> Option<IpAddr> {
    match expr.resolved().kind {
        ExprKind::Ipv4(bytes) => Some(Ipv4Addr::from(bytes).into()),
        ExprKind::Ipv6(bytes) => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// Addresses that may stand in the place of an expression; none where that holds no address.
fn addresses_for(plant: &Plant, expr: &Expr) -> Vec<String> {
    literal(expr).map(|address| plant.other_addresses(address)).unwrap_or_default()
}

/// `address/length` with the host part cleared; `None` for a length that there isn't.
fn prefix(address: IpAddr, length: u8) -> Option<String> {
    match address {
        IpAddr::V4(address) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Some(format!("{}/{length}", Ipv4Addr::from(u32::from(address) & mask)))
        }
        IpAddr::V6(address) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Some(format!("{}/{length}", Ipv6Addr::from(u128::from(address) & mask)))
        }
        _ => None,
    }
}
