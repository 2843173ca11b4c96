//! Statements. What isn't known becomes [`StatementKind::Opaque`].

use super::super::ast::*;
use super::super::names;
use super::super::text;
use super::Walk;
use super::expressions::{Pairs, family_of, verdict};
use super::reader::{Node, Value};
use firewarden_diagnostic::Span;

impl Walk<'_> {
    /// The statements of a rule.
    pub(super) fn statements(&mut self, node: Option<&Node<'_>>) -> Vec<Statement> {
        let mut statements = Vec::new();
        for item in node.map_or(&[][..], Node::items) {
            self.statement(item, &mut statements);
        }
        statements
    }

    fn statement(&mut self, node: &Node<'_>, statements: &mut Vec<Statement>) {
        // A statement that nft can't print as JSON, an anonymous chain, comes as text in a string.
        if let Some(source) = node.string()
            && let Some(found) = text::parse_statements(source, node.span)
        {
            statements.extend(found);
            return;
        }
        let kind = match node.single() {
            Some((key, body)) => self.statement_kind(key, body),
            None => None,
        };
        let kind = kind.unwrap_or_else(|| StatementKind::Opaque(Box::new(self.opaque(node))));
        statements.push(Statement { span: node.span, kind });
    }

    /// The statement of a key; `None` where it isn't known.
    pub(super) fn statement_kind(&mut self, key: &str, body: &Node<'_>) -> Option<StatementKind> {
        if let Some(kind) = object_kind(key)
            && let Some(kind) = self.object_ref(kind, body)
        {
            return Some(kind);
        }
        Some(match key {
            "match" => StatementKind::Match(self.test(body)?),
            "accept" | "drop" | "continue" | "return" | "break" | "jump" | "goto" => {
                StatementKind::Verdict(verdict(key, body)?)
            }
            "counter" => StatementKind::Counter(counter(body)),
            "limit" => StatementKind::Limit(Box::new(limit(body)?)),
            "quota" => StatementKind::Quota(Box::new(quota(body)?)),
            "ct count" => StatementKind::ConnectionLimit {
                over: body.get("inv").and_then(Node::boolean).unwrap_or(false),
                count: body.number_of("val")?,
            },
            "last" => StatementKind::Last { used: body.number_of("used") },
            "log" => StatementKind::Log(Box::new(log(body)?)),
            "reject" => StatementKind::Reject(Box::new(self.reject(body)?)),
            "snat" => StatementKind::Nat(Box::new(self.nat(NatKind::Snat, body)?)),
            "dnat" => StatementKind::Nat(Box::new(self.nat(NatKind::Dnat, body)?)),
            "masquerade" => StatementKind::Nat(Box::new(self.nat(NatKind::Masquerade, body)?)),
            "redirect" => StatementKind::Nat(Box::new(self.nat(NatKind::Redirect, body)?)),
            "mangle" => self.mangle(body)?,
            "vmap" => StatementKind::Vmap(Box::new(self.map_lookup(body)?)),
            "set" | "map" => StatementKind::SetUpdate(Box::new(self.set_update(key, body)?)),
            "meter" => StatementKind::Meter(Box::new(self.meter(body)?)),
            "notrack" => StatementKind::Notrack,
            "tproxy" => StatementKind::Tproxy(Box::new(Tproxy {
                family: family_of(body)?,
                address: body.get("addr").map(|node| self.expr(node)),
                port: body.get("port").map(|node| self.expr(node)),
            })),
            "dup" | "fwd" => {
                let redirection = Box::new(Redirection {
                    family: family_of(body)?,
                    address: body.get("addr").map(|node| self.expr(node)),
                    device: body.get("dev").map(|node| self.expr(node)),
                });
                if key == "dup" { StatementKind::Dup(redirection) } else { StatementKind::Fwd(redirection) }
            }
            "queue" => StatementKind::Queue(Box::new(self.queue(body)?)),
            "flow" => {
                let flowtable = body.get("flowtable")?;
                let text = flowtable.string()?;
                let name = Name { text: text.strip_prefix('@').unwrap_or(text).into(), span: flowtable.span };
                StatementKind::Flow(name)
            }
            "synproxy" => StatementKind::Synproxy(Box::new(synproxy(body)?)),
            "reset" | "optstrip" => StatementKind::ResetOption(Box::new(self.expr(body))),
            "xt" => xt(body),
            _ => return None,
        })
    }

    fn test(&mut self, body: &Node<'_>) -> Option<Match> {
        let left = self.expr(body.get("left")?);
        let op = match body.text_of("op")? {
            "==" => Operator::Eq,
            "!=" => Operator::Ne,
            "<" => Operator::Lt,
            "<=" => Operator::Le,
            ">" => Operator::Gt,
            ">=" => Operator::Ge,
            "in" => Operator::Implicit,
            "!" => Operator::Not,
            _ => return None,
        };
        let right = body.get("right")?;
        // With `in`, a union of flags is a list of them: any is enough.
        let right = match (op, right.single()) {
            (Operator::Implicit, Some(("|", flags))) => {
                let parts = flags.items().iter().map(|flag| self.expr(flag)).collect();
                Expr { span: right.span, kind: ExprKind::List(parts) }
            }
            _ => self.expr(right),
        };
        Some(Match { left, op, right })
    }

    /// A named object in the place of settings: its name, or a map that gives it.
    fn object_ref(&mut self, kind: ObjectKind, body: &Node<'_>) -> Option<StatementKind> {
        let refers = body.string().is_some() || matches!(body.single(), Some(("map", _)));
        if !refers {
            return None;
        }
        Some(StatementKind::ObjectRef(Box::new(ObjectRef { kind, name: self.expr(body) })))
    }

    fn reject(&mut self, body: &Node<'_>) -> Option<Reject> {
        let with = match body.text_of("type") {
            None => None,
            Some("tcp reset") => Some(RejectWith::TcpReset),
            Some("icmp") => Some(RejectWith::Icmp),
            Some("icmpv6") => Some(RejectWith::Icmpv6),
            Some("icmpx") => Some(RejectWith::Icmpx),
            Some(_) => return None,
        };
        Some(Reject { with, code: body.get("expr").map(|node| self.expr(node)) })
    }

    fn nat(&mut self, kind: NatKind, body: &Node<'_>) -> Option<Nat> {
        let mut nat = Nat {
            kind,
            family: family_of(body)?,
            address: body.get("addr").map(|node| self.expr(node)),
            port: body.get("port").map(|node| self.expr(node)),
            addr_port: false,
            prefix: false,
            random: false,
            fully_random: false,
            persistent: false,
        };
        for flag in flags(body, "flags") {
            match flag? {
                "random" => nat.random = true,
                "fully-random" => nat.fully_random = true,
                "persistent" => nat.persistent = true,
                "netmap" => nat.prefix = true,
                _ => return None,
            }
        }
        for flag in flags(body, "type_flags") {
            match flag? {
                "prefix" => nat.prefix = true,
                "concat" => nat.addr_port = true,
                "interval" => {}
                _ => return None,
            }
        }
        Some(nat)
    }

    fn mangle(&mut self, body: &Node<'_>) -> Option<StatementKind> {
        let target = self.expr(body.get("key")?);
        let value = self.expr(body.get("value")?);
        Some(StatementKind::Mangle(Box::new(Mangle { target, value })))
    }

    fn set_update(&mut self, key: &str, body: &Node<'_>) -> Option<SetUpdate> {
        let op = match body.text_of("op")? {
            "add" => SetOp::Add,
            "update" => SetOp::Update,
            "delete" => SetOp::Delete,
            _ => return None,
        };
        let name = body.get(key)?;
        let text = name.string()?;
        let set = Name { text: text.strip_prefix('@').unwrap_or(text).into(), span: name.span };
        let mut element = self.element(body.get("elem")?, Pairs::Flags);
        element.data = body.get("data").map(|data| Box::new(self.expr(data)));
        let statements = self.statements(body.get("stmt"));
        if !statements.is_empty() {
            element.options.get_or_insert_default().statements.extend(statements);
        }
        Some(SetUpdate { op, set, element })
    }

    fn meter(&mut self, body: &Node<'_>) -> Option<Meter> {
        let mut element = self.element(body.get("key")?, Pairs::Flags);
        let statements = self.statements(body.get("stmt"));
        if !statements.is_empty() {
            element.options.get_or_insert_default().statements.extend(statements);
        }
        let name =
            body.get("name").and_then(|node| Some(Name { text: node.string()?.into(), span: node.span }));
        Some(Meter { name, size: body.number_of("size"), element })
    }

    fn queue(&mut self, body: &Node<'_>) -> Option<Queue> {
        let number = body.get("num").map(|node| self.expr(node));
        let mut queue = Queue { number, bypass: false, fanout: false };
        for flag in flags(body, "flags") {
            match flag? {
                "bypass" => queue.bypass = true,
                "fanout" => queue.fanout = true,
                _ => return None,
            }
        }
        Some(queue)
    }
}

/// The flags of a key: one string or several. `Some(None)` for one that isn't a string.
fn flags<'a>(body: &'a Node<'_>, key: &str) -> impl Iterator<Item = Option<&'a str>> {
    body.get(key).map_or(&[][..], Node::items).iter().map(Node::string)
}

/// The kind of object of a key.
pub(super) fn object_kind(key: &str) -> Option<ObjectKind> {
    Some(match key {
        "counter" => ObjectKind::Counter,
        "quota" => ObjectKind::Quota,
        "limit" => ObjectKind::Limit,
        "ct helper" => ObjectKind::CtHelper,
        "ct timeout" => ObjectKind::CtTimeout,
        "ct expectation" => ObjectKind::CtExpectation,
        "secmark" => ObjectKind::Secmark,
        "synproxy" => ObjectKind::Synproxy,
        "tunnel" => ObjectKind::Tunnel,
        _ => return None,
    })
}

/// `packets` and `bytes`.
pub(super) fn counter(body: &Node<'_>) -> Counter {
    Counter { packets: body.number_of("packets").unwrap_or(0), bytes: body.number_of("bytes").unwrap_or(0) }
}

/// Rate, burst and their units.
pub(super) fn limit(body: &Node<'_>) -> Option<Limit> {
    let factor = |key: &str| match body.text_of(key) {
        None | Some("packets") => Some(None),
        Some(unit) => text::bytes_factor(unit).map(Some),
    };
    let rate_factor = factor("rate_unit")?;
    let burst_factor = factor("burst_unit")?;
    Some(Limit {
        over: body.get("inv").and_then(Node::boolean).unwrap_or(false),
        rate: body.number_of("rate")?.saturating_mul(rate_factor.unwrap_or(1)),
        per_byte: rate_factor.is_some(),
        unit: text::time_unit(body.text_of("per").unwrap_or("second"))?,
        burst: body.number_of("burst").map(|burst| burst.saturating_mul(burst_factor.unwrap_or(1))),
    })
}

/// In a rule `val` and `used` with units; in an object `bytes` and `used`.
pub(super) fn quota(body: &Node<'_>) -> Option<Quota> {
    let amount = |key: &str, unit: &str| {
        let factor = body.text_of(unit).map_or(Some(1), text::bytes_factor);
        Some(body.number_of(key)?.saturating_mul(factor?))
    };
    Some(Quota {
        over: body.get("inv").and_then(Node::boolean).unwrap_or(false),
        bytes: amount("val", "val_unit").or_else(|| body.number_of("bytes"))?,
        used: amount("used", "used_unit").unwrap_or(0),
    })
}

/// `mss`, `wscale` and flags.
pub(super) fn synproxy(body: &Node<'_>) -> Option<Synproxy> {
    let mut options =
        Synproxy { mss: body.number_of("mss"), wscale: body.number_of("wscale"), ..Synproxy::default() };
    for flag in flags(body, "flags") {
        match flag? {
            "timestamp" => options.timestamp = true,
            "sack-perm" => options.sack_perm = true,
            _ => return None,
        }
    }
    Some(options)
}

fn log(body: &Node<'_>) -> Option<Log> {
    let prefix =
        body.get("prefix").and_then(|node| Some(Name { text: node.string()?.into(), span: node.span }));
    let level = match body.text_of("level") {
        Some(level) => Some(names::log_level(level)?),
        None => None,
    };
    let known = ["tcp sequence", "tcp options", "ip options", "skuid", "ether", "all"];
    let flags = flags(body, "flags").map(|flag| names::word(&known, flag?)).collect::<Option<Vec<_>>>()?;
    Some(Log {
        prefix,
        level,
        group: body.number_of("group"),
        snaplen: body.number_of("snaplen"),
        queue_threshold: body.number_of("queue-threshold"),
        flags,
    })
}

fn xt(body: &Node<'_>) -> StatementKind {
    let kind = match body.text_of("type") {
        Some("match") => Some(XtKind::Match),
        Some("target") => Some(XtKind::Target),
        Some("watcher") => Some(XtKind::Watcher),
        _ => None,
    };
    let name = match &body.value {
        Value::String(name) => name,
        _ => body.text_of("name").unwrap_or_default(),
    };
    StatementKind::Xt(Box::new(Xt { kind, name: name.into() }))
}

/// A name with its place.
pub(super) fn name(text: &str, span: Span) -> Name {
    Name { text: text.into(), span }
}
