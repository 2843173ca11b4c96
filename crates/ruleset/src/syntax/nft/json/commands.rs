//! Commands and the objects they act on.

use super::super::ast::*;
use super::super::names;
use super::super::text;
use super::Walk;
use super::expressions::Pairs;
use super::reader::{Node, Value};
use super::statements::{counter, limit, name, object_kind, quota, synproxy};
use firewarden_diagnostic::Diagnostic;

/// Something in an object is missing or isn't what it should be: the key.
type Read<T> = Result<T, &'static str>;

impl Walk<'_> {
    /// A command, or an object of a listing. `None` for what says nothing about the ruleset.
    pub(super) fn command(&mut self, node: &Node<'_>) -> Option<Command> {
        let Some((key, body)) = node.single() else {
            return Some(self.invalid(node, "this is not a command"));
        };
        if key == "metainfo" {
            return None;
        }
        let verb = match key {
            "add" => Verb::Add,
            "create" => Verb::Create,
            "insert" => Verb::Insert,
            "replace" => Verb::Replace,
            "delete" => Verb::Delete,
            "destroy" => Verb::Destroy,
            "flush" => Verb::Flush,
            "rename" => Verb::Rename,
            "reset" | "list" => {
                let verb = if key == "reset" { Verb::Reset } else { Verb::Show };
                let target = Target::Other { text: self.opaque(node).text, invalid: false };
                return Some(Command { span: node.span, verb, target });
            }
            _ => return Some(self.target_command(Verb::Add, node, node)),
        };
        Some(self.target_command(verb, node, body))
    }

    fn target_command(&mut self, verb: Verb, node: &Node<'_>, object: &Node<'_>) -> Command {
        let Some((key, body)) = object.single() else {
            return self.invalid(node, "this command acts on nothing");
        };
        match self.target(verb, key, body) {
            Ok(Some(target)) => Command { span: node.span, verb, target },
            Ok(None) => {
                self.invalid(node, &format!("`{}` is not a command or an object", key.replace('`', "'")))
            }
            Err(missing) => {
                self.invalid(node, &format!("this {} needs a `{missing}`", key.replace('`', "'")))
            }
        }
    }

    fn invalid(&mut self, node: &Node<'_>, message: &str) -> Command {
        let opaque = self.opaque(node);
        self.report(
            Diagnostic::error("json-object", message)
                .at(opaque.span, "cannot be read")
                .help("compare it with libnftables-json(5)"),
        );
        Command {
            span: node.span,
            verb: Verb::Show,
            target: Target::Other { text: opaque.text, invalid: true },
        }
    }

    fn target(&mut self, verb: Verb, key: &str, body: &Node<'_>) -> Read<Option<Target>> {
        let item = match key {
            "ruleset" => return Ok(Some(Target::Ruleset(family(body)?))),
            "table" => return Ok(Some(Target::Table(Box::new(table(verb, body)?)))),
            "rule" => return self.rule(verb, body).map(|rule| Some(Target::Rule(Box::new(rule)))),
            "element" => {
                let table = table_ref(body)?;
                let set = name_of(verb, body)?;
                // Whether pairs are mappings isn't said; a list of flags isn't an element that nft prints.
                let elements = self.elements(body, Pairs::Mapping);
                return Ok(Some(Target::Elements { table, set, elements }));
            }
            "chain" if verb == Verb::Rename => {
                let new = body.get("newname").ok_or("newname")?;
                let to = name(new.string().ok_or("newname")?, new.span);
                return Ok(Some(Target::RenameChain {
                    table: table_ref(body)?,
                    from: name_of(verb, body)?,
                    to,
                }));
            }
            "chain" => Item::Chain(chain(verb, body)?),
            "set" => Item::Set(Box::new(self.set_object(SetKind::Set, verb, body)?)),
            "map" => Item::Set(Box::new(self.set_object(SetKind::Map, verb, body)?)),
            "meter" => Item::Set(Box::new(self.set_object(SetKind::Meter, verb, body)?)),
            "flowtable" => Item::Flowtable(Box::new(flowtable(verb, body)?)),
            _ => match object_kind(key) {
                Some(kind) => Item::Object(Box::new(self.object_item(kind, verb, body)?)),
                None => return Ok(None),
            },
        };
        Ok(Some(Target::Item { table: table_ref(body)?, item }))
    }

    fn rule(&mut self, verb: Verb, body: &Node<'_>) -> Read<RuleCommand> {
        let chain = body.get("chain").ok_or("chain")?;
        let chain = name(chain.string().ok_or("chain")?, chain.span);
        let table = table_ref(body)?;
        let handle = body.number_of("handle");
        let removes = matches!(verb, Verb::Delete | Verb::Destroy | Verb::Flush);
        let index = body.number_of("index").map(Position::Index);
        let position = body.number_of("position").map(Position::Handle).or(index);
        if removes {
            return Ok(RuleCommand {
                table,
                chain,
                position: handle.map(Position::Handle).or(position),
                rule: None,
            });
        }
        let statements = self.statements(Some(body.get("expr").ok_or("expr")?));
        let comment = body.text_of("comment").map(Into::into);
        // In a listing the handle is the rule's own; with `replace` it says which rule.
        let replaced = if verb == Verb::Replace { handle.map(Position::Handle) } else { None };
        let rule = Rule { span: body.span, handle, comment, statements };
        Ok(RuleCommand { table, chain, position: replaced.or(position), rule: Some(rule) })
    }

    fn elements(&mut self, body: &Node<'_>, pairs: Pairs) -> Vec<Element> {
        let items = body.get("elem").map_or(&[][..], Node::items);
        items.iter().map(|item| self.element(item, pairs)).collect()
    }

    fn set_object(&mut self, kind: SetKind, verb: Verb, body: &Node<'_>) -> Read<Set> {
        let mut set = text::empty_set(kind, body.span, name_of(verb, body)?);
        set.handle = body.number_of("handle");
        set.key = body.get("type").and_then(|node| self.set_type(node));
        set.data = body.get("map").and_then(|node| self.set_type(node));
        if set.data.is_some() {
            set.kind = SetKind::Map;
        }
        for flag in body.get("flags").map_or(&[][..], Node::items) {
            match flag.string() {
                Some("constant") => set.flags.constant = true,
                Some("interval") => set.flags.interval = true,
                Some("timeout") => set.flags.timeout = true,
                Some("dynamic") => set.flags.dynamic = true,
                _ => set.invalid.push(self.opaque(flag)),
            }
        }
        let milliseconds = |key: &str| body.number_of(key).map(|seconds| seconds.saturating_mul(1000));
        set.timeout = milliseconds("timeout");
        set.gc_interval = milliseconds("gc-interval");
        set.size = body.number_of("size");
        set.policy =
            body.text_of("policy").and_then(|policy| names::word(&["performance", "memory"], policy));
        set.auto_merge = body.get("auto-merge").and_then(Node::boolean).unwrap_or(false);
        set.comment = comment(body);
        set.statements = self.statements(body.get("stmt"));
        let pairs = if set.kind == SetKind::Map { Pairs::Mapping } else { Pairs::Flags };
        set.elements = self.elements(body, pairs);
        Ok(set)
    }

    fn set_type(&mut self, node: &Node<'_>) -> Option<SetType> {
        if let Some(("typeof", expr)) = node.single() {
            return Some(SetType::TypeOf(Box::new(self.expr(expr))));
        }
        if let Some(kind) = node.string().and_then(object_kind) {
            return Some(SetType::Object(Spanned { value: kind, span: node.span }));
        }
        let names = node.items().iter().map(|item| Some(name(item.string()?, item.span)));
        Some(SetType::Named(names.collect::<Option<Vec<_>>>()?))
    }

    fn object_item(&mut self, kind: ObjectKind, verb: Verb, body: &Node<'_>) -> Read<Object> {
        let object_body = match kind {
            ObjectKind::Counter => ObjectBody::Counter(counter(body)),
            ObjectKind::Quota => quota(body).map_or(ObjectBody::Empty, ObjectBody::Quota),
            ObjectKind::Limit => limit(body).map_or(ObjectBody::Empty, ObjectBody::Limit),
            ObjectKind::Synproxy => synproxy(body).map_or(ObjectBody::Empty, ObjectBody::Synproxy),
            _ => self.settings(body),
        };
        Ok(Object {
            span: body.span,
            name: name_of(verb, body)?,
            handle: body.number_of("handle"),
            kind,
            comment: comment(body),
            body: object_body,
        })
    }

    /// All other keys of an object, as text.
    fn settings(&mut self, body: &Node<'_>) -> ObjectBody {
        let Value::Object(entries) = &body.value else { return ObjectBody::Empty };
        let mut settings = Vec::new();
        for (key, node) in entries {
            if matches!(key.as_ref(), "family" | "table" | "name" | "handle" | "comment") {
                continue;
            }
            let value = node.string().map_or_else(|| self.opaque(node).text, Into::into);
            settings.push((key.as_ref().into(), value));
        }
        if settings.is_empty() { ObjectBody::Empty } else { ObjectBody::Settings(settings) }
    }
}

/// `family`; `None` where there is none.
fn family(body: &Node<'_>) -> Read<Option<Family>> {
    match body.text_of("family") {
        Some(word) => text::family(word).map(Some).ok_or("family"),
        None => Ok(None),
    }
}

fn table_ref(body: &Node<'_>) -> Read<TableRef> {
    let table = body.get("table").ok_or("table")?;
    let family = family(body)?.unwrap_or(Family::Ip);
    Ok(TableRef { family, name: name(table.string().ok_or("table")?, table.span) })
}

/// `name`, which may be missing where something is removed by its handle.
fn name_of(verb: Verb, body: &Node<'_>) -> Read<Name> {
    let removes = matches!(verb, Verb::Delete | Verb::Destroy | Verb::Flush);
    match body.get("name") {
        Some(node) => Ok(name(node.string().ok_or("name")?, node.span)),
        None if removes && body.number_of("handle").is_some() => Ok(name("", body.span)),
        None => Err("name"),
    }
}

fn comment(body: &Node<'_>) -> Option<Name> {
    let node = body.get("comment")?;
    Some(name(node.string()?, node.span))
}

fn table(verb: Verb, body: &Node<'_>) -> Read<Table> {
    let family = family(body)?.unwrap_or(Family::Ip);
    let mut table = text::empty_table(body.span, TableRef { family, name: name_of(verb, body)? });
    table.handle = body.number_of("handle");
    table.comment = comment(body);
    for flag in body.get("flags").map_or(&[][..], Node::items) {
        match flag.string() {
            Some("dormant") => table.dormant = true,
            Some(word) => table.flags.push(name(word, flag.span)),
            None => return Err("flags"),
        }
    }
    Ok(table)
}

fn chain(verb: Verb, body: &Node<'_>) -> Read<Chain> {
    let mut chain = text::empty_chain(body.span, name_of(verb, body)?);
    chain.handle = body.number_of("handle");
    chain.comment = comment(body);
    if let Some(node) = body.get("policy") {
        let value = match node.string() {
            Some("accept") => Policy::Accept,
            Some("drop") => Policy::Drop,
            _ => return Err("policy"),
        };
        chain.policy = Some(Spanned { value, span: node.span });
    }
    let Some(node) = body.get("type") else { return Ok(chain) };
    let chain_type = match node.string() {
        Some("filter") => ChainType::Filter,
        Some("nat") => ChainType::Nat,
        Some("route") => ChainType::Route,
        _ => return Err("type"),
    };
    chain.base = Some(Box::new(BaseChain {
        span: body.span,
        chain_type: Spanned { value: chain_type, span: node.span },
        hook: hook(body)?.ok_or("hook")?,
        devices: devices(body)?,
        priority: priority(body)?.ok_or("prio")?,
    }));
    Ok(chain)
}

fn hook(body: &Node<'_>) -> Read<Option<Spanned<Hook>>> {
    let Some(node) = body.get("hook") else { return Ok(None) };
    let value = node.string().and_then(text::hook).ok_or("hook")?;
    Ok(Some(Spanned { value, span: node.span }))
}

fn devices(body: &Node<'_>) -> Read<Vec<Expr>> {
    let devices = body.get("dev").map_or(&[][..], Node::items).iter();
    let device = |node: &Node<'_>| {
        let name = node.string().ok_or("dev")?;
        Ok(Expr { span: node.span, kind: ExprKind::String(name.into()) })
    };
    devices.map(device).collect()
}

fn priority(body: &Node<'_>) -> Read<Option<Priority>> {
    let Some(node) = body.get("prio") else { return Ok(None) };
    let text = match &node.value {
        Value::Number(number) => number,
        Value::String(text) => text.as_ref(),
        _ => return Err("prio"),
    };
    let (name, offset) = text::priority_text(text).ok_or("prio")?;
    Ok(Some(Priority { span: node.span, name, offset }))
}

fn flowtable(verb: Verb, body: &Node<'_>) -> Read<Flowtable> {
    Ok(Flowtable {
        span: body.span,
        name: name_of(verb, body)?,
        handle: body.number_of("handle"),
        hook: match (hook(body)?, priority(body)?) {
            (Some(hook), Some(priority)) => Some((hook, priority)),
            _ => None,
        },
        devices: devices(body)?,
        counter: false,
        flags: Vec::new(),
        invalid: Vec::new(),
    })
}
