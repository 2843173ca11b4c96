//! Trees in one form, so that those of a listing as text and as JSON can be compared.
//!
//! The two print the same ruleset with small differences that mean nothing: quotes, handles, an operator where text
//! has none, types where text has `typeof`, unions of flags as lists. Lowering treats each pair alike.

use super::support::without_places;
use firewarden_ruleset::syntax::nft::ast::*;
use std::collections::BTreeMap;

/// A ruleset by table, and in it by kind and name, as text.
pub type Normal = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// All that the commands of a listing declare.
pub fn normal(script: Script) -> Normal {
    let mut tables = Normal::new();
    for command in script.commands {
        assert_eq!(command.verb, Verb::Add, "{command:?}");
        match command.target {
            Target::Table(table) => {
                let id = table_name(&table.id);
                let entries = tables.entry(id.clone()).or_default();
                let mut flags: Vec<&str> = table.flags.iter().map(|flag| &*flag.text).collect();
                flags.sort();
                let comment = table.comment.as_ref().map(|comment| &*comment.text);
                entries.insert("table".into(), vec![format!("{} {flags:?} {comment:?}", table.dormant)]);
                for item in table.items {
                    add(&mut tables, &id, table.id.family, item);
                }
            }
            Target::Item { table, item } => add(&mut tables, &table_name(&table), table.family, item),
            Target::Rule(rule) => {
                let entries = tables.entry(table_name(&rule.table)).or_default();
                let lines = entries.entry(format!("chain {}", rule.chain.text)).or_default();
                lines.push(rule_text(rule.rule.unwrap()));
            }
            other => panic!("not in a listing: {other:?}"),
        }
    }
    tables
}

fn table_name(table: &TableRef) -> String {
    format!("{:?} {}", table.family, table.name.text)
}

fn add(tables: &mut Normal, table: &str, family: Family, item: Item) {
    let entries = tables.entry(table.to_owned()).or_default();
    let (key, lines) = match item {
        Item::Chain(mut chain) => {
            let rules = std::mem::take(&mut chain.rules);
            chain.handle = None;
            if let Some(base) = &mut chain.base {
                priority(&mut base.priority, family);
                base.devices.iter_mut().for_each(expr);
            }
            let mut lines = vec![without_places(&chain)];
            lines.extend(rules.into_iter().map(rule_text));
            (format!("chain {}", chain.name.text), lines)
        }
        Item::Set(mut set) => {
            set.handle = None;
            set.flags.timeout |= set.timeout.is_some();
            set.elements.iter_mut().for_each(element);
            set.statements.iter_mut().for_each(statement);
            // Text may say `typeof` where JSON says the type.
            set.key = None;
            set.data = None;
            // Sets of the kernel have no order; nft sorts each of the two in its own way.
            let mut elements: Vec<String> =
                set.elements.drain(..).map(|element| without_places(&element)).collect();
            elements.sort();
            let mut lines = vec![without_places(&set)];
            lines.extend(elements);
            (format!("set {}", set.name.text), lines)
        }
        Item::Flowtable(mut flowtable) => {
            flowtable.handle = None;
            // Not in JSON.
            flowtable.counter = false;
            flowtable.flags.clear();
            if let Some((_, at)) = &mut flowtable.hook {
                priority(at, family);
            }
            flowtable.devices.iter_mut().for_each(expr);
            (format!("flowtable {}", flowtable.name.text), vec![without_places(&flowtable)])
        }
        Item::Object(mut object) => {
            object.handle = None;
            match &mut object.body {
                ObjectBody::Settings(_) => object.body = ObjectBody::Empty,
                ObjectBody::Limit(body) => limit(body),
                _ => {}
            }
            (format!("{:?} {}", object.kind, object.name.text), vec![without_places(&object)])
        }
        Item::Invalid(opaque) => panic!("invalid: {opaque:?}"),
    };
    entries.insert(key, lines);
}

fn priority(priority: &mut Priority, family: Family) {
    let number = match (priority.name.take(), family) {
        (Some("dstnat"), Family::Bridge) => -300,
        (Some("filter"), Family::Bridge) => -200,
        (Some("srcnat"), Family::Bridge) => 300,
        (Some("out"), _) => 100,
        (Some("raw"), _) => -300,
        (Some("mangle"), _) => -150,
        (Some("dstnat"), _) => -100,
        (Some("security"), _) => 50,
        (Some("srcnat"), _) => 100,
        _ => 0,
    };
    priority.offset += number;
}

fn rule_text(mut rule: Rule) -> String {
    rule.handle = None;
    rule.statements.iter_mut().for_each(statement);
    without_places(&rule)
}

fn limit(limit: &mut Limit) {
    let default = if limit.per_byte { 0 } else { 5 };
    limit.burst = Some(limit.burst.unwrap_or(default));
}

fn statement(statement: &mut Statement) {
    match &mut statement.kind {
        StatementKind::Match(test) => {
            expr(&mut test.left);
            expr(&mut test.right);
            if let ExprKind::Masked(pair) = &test.right.kind {
                let [value, mask] = (**pair).clone();
                let left = std::mem::replace(&mut test.left, value.clone());
                let binary = Binary { op: BinaryOp::And, left, right: union(mask) };
                test.left.kind = ExprKind::Binary(Box::new(binary));
                test.right = union(value);
            }
            // Flags have two meanings; elsewhere no operator is the same as `==`.
            let flags = matches!(&test.left.kind, ExprKind::Payload(field) if field.name == "flags")
                || matches!(test.left.kind, ExprKind::Ct { key: "state" | "status" | "label", .. });
            let set = matches!(test.right.kind, ExprKind::Set(_) | ExprKind::SetRef(_));
            if test.op == Operator::Implicit && (!flags || set) {
                test.op = Operator::Eq;
            }
        }
        StatementKind::Vmap(lookup) => {
            expr(&mut lookup.key);
            expr(&mut lookup.map);
        }
        StatementKind::Limit(body) => limit(body),
        StatementKind::Reject(reject) => reject.code.iter_mut().for_each(expr),
        StatementKind::Nat(nat) => nat.address.iter_mut().chain(&mut nat.port).for_each(expr),
        StatementKind::Tproxy(tproxy) => tproxy.address.iter_mut().chain(&mut tproxy.port).for_each(expr),
        StatementKind::Queue(queue) => {
            queue.number.iter_mut().for_each(expr);
            if matches!(queue.number, Some(Expr { kind: ExprKind::Number(0), .. })) {
                queue.number = None;
            }
        }
        StatementKind::Mangle(mangle) => {
            expr(&mut mangle.target);
            expr(&mut mangle.value);
        }
        StatementKind::SetUpdate(update) => element(&mut update.element),
        StatementKind::Meter(meter) => element(&mut meter.element),
        StatementKind::Dup(to) | StatementKind::Fwd(to) => {
            to.address.iter_mut().chain(&mut to.device).for_each(expr)
        }
        StatementKind::ObjectRef(object) => expr(&mut object.name),
        StatementKind::ResetOption(option) => expr(option),
        StatementKind::Verdict(target) => verdict(target),
        StatementKind::Opaque(_) | StatementKind::Invalid(_) => panic!("not understood: {statement:?}"),
        _ => {}
    }
}

fn verdict(verdict: &mut Verdict) {
    if let Verdict::Jump(ChainTarget::Anonymous(chain)) | Verdict::Goto(ChainTarget::Anonymous(chain)) =
        verdict
    {
        for rule in &mut chain.rules {
            rule.handle = None;
            rule.statements.iter_mut().for_each(statement);
        }
    }
}

fn element(element: &mut Element) {
    expr(&mut element.key);
    element.data.iter_mut().for_each(|data| expr(data));
    if let Some(options) = &mut element.options {
        // JSON has only the first of them.
        options.statements.truncate(1);
        options.statements.iter_mut().for_each(statement);
    }
}

fn union(list: Expr) -> Expr {
    let span = list.span;
    match list.kind {
        ExprKind::List(parts) => parts
            .into_vec()
            .into_iter()
            .reduce(|left, right| {
                let binary = Binary { op: BinaryOp::Or, left, right };
                Expr { span, kind: ExprKind::Binary(Box::new(binary)) }
            })
            .unwrap(),
        kind => Expr { span, kind },
    }
}

fn expr(node: &mut Expr) {
    match &mut node.kind {
        ExprKind::String(text) => node.kind = ExprKind::Symbol(std::mem::take(text)),
        ExprKind::Prefix(address, _) => expr(address),
        ExprKind::Range(pair) | ExprKind::Masked(pair) => pair.iter_mut().for_each(expr),
        ExprKind::Concat(parts) | ExprKind::List(parts) => parts.iter_mut().for_each(expr),
        ExprKind::Set(set) => set.elements.iter_mut().for_each(element),
        ExprKind::Map(lookup) => {
            expr(&mut lookup.key);
            expr(&mut lookup.map);
        }
        ExprKind::Binary(binary) => {
            expr(&mut binary.left);
            expr(&mut binary.right);
        }
        ExprKind::Verdict(target) => verdict(target),
        ExprKind::Inner(inner) => expr(&mut inner.expr),
        ExprKind::Hash(hash) => hash.expr.iter_mut().for_each(expr),
        ExprKind::Opaque(text) => panic!("not understood: {text}"),
        _ => {}
    }
}
