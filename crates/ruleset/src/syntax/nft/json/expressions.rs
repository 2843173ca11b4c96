//! Expressions. What isn't known becomes [`ExprKind::Opaque`].

use super::super::ast::*;
use super::super::names;
use super::super::text::lexer;
use super::Walk;
use super::reader::{Node, Value};
use std::net::Ipv6Addr;

/// What the items of an array of two inside a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Key and data.
    Mapping,
    /// Two flags that are set together.
    Flags,
}

impl Walk<'_> {
    /// An expression.
    pub(super) fn expr(&mut self, node: &Node<'_>) -> Expr {
        self.depth += 1;
        let kind = if self.depth > MAX_DEPTH { None } else { self.kind(node) };
        self.depth -= 1;
        let kind = kind.unwrap_or_else(|| ExprKind::Opaque(self.opaque(node).text));
        Expr { span: node.span, kind }
    }

    fn kind(&mut self, node: &Node<'_>) -> Option<ExprKind> {
        match &node.value {
            Value::Null => None,
            Value::Bool(value) => Some(ExprKind::Bool(*value)),
            Value::Number(text) => {
                Some(text.parse().map_or_else(|_| ExprKind::Symbol((*text).into()), ExprKind::Number))
            }
            Value::String(text) => Some(literal(text)),
            Value::Array(items) => {
                let parts: Box<[Expr]> = items.iter().map(|item| self.expr(item)).collect();
                Some(ExprKind::List(parts))
            }
            Value::Object(_) => {
                let (key, body) = node.single()?;
                self.object(key, body)
            }
        }
    }

    fn object(&mut self, key: &str, body: &Node<'_>) -> Option<ExprKind> {
        Some(match key {
            "payload" => self.payload(body)?,
            "meta" => ExprKind::Meta(names::meta_key(body.text_of("key").or(body.string())?)?),
            "ct" => ct(body)?,
            "prefix" => {
                let length = u8::try_from(body.number_of("len")?).ok()?;
                ExprKind::Prefix(Box::new(self.expr(body.get("addr")?)), length)
            }
            "range" => match body.items() {
                [low, high] => ExprKind::Range(Box::new([self.expr(low), self.expr(high)])),
                _ => return None,
            },
            "concat" => ExprKind::Concat(body.items().iter().map(|item| self.expr(item)).collect()),
            "set" => self.set(body, Pairs::Flags),
            "map" => ExprKind::Map(Box::new(self.map_lookup(body)?)),
            "|" => return self.binary(BinaryOp::Or, body),
            "&" => return self.binary(BinaryOp::And, body),
            "^" => return self.binary(BinaryOp::Xor, body),
            "<<" => return self.binary(BinaryOp::ShiftLeft, body),
            ">>" => return self.binary(BinaryOp::ShiftRight, body),
            "accept" | "drop" | "continue" | "return" | "break" | "jump" | "goto" => {
                ExprKind::Verdict(Box::new(verdict(key, body)?))
            }
            "exthdr" => exthdr(body)?,
            "tcp option" => self.tcp_option(body)?,
            "ip option" => {
                let option = names::word(names::IP_OPTIONS, body.text_of("name")?)?;
                let field = match body.text_of("field") {
                    Some("type") | None => None,
                    Some(field) => Some(names::word(names::IP_OPTION_FIELDS, field)?),
                };
                option_kind(OptionHeader::Ip, option.into(), field, None)
            }
            "sctp chunk" => {
                let chunk = names::word(names::SCTP_CHUNKS, body.text_of("name")?)?;
                let field = match body.text_of("field") {
                    Some(field) => Some(names::word(names::sctp_fields(chunk), field)?),
                    None => None,
                };
                option_kind(OptionHeader::Sctp, chunk.into(), field, None)
            }
            "dccp option" => {
                option_kind(OptionHeader::Dccp, body.number_of("type")?.to_string().into(), None, None)
            }
            "rt" => ExprKind::Rt {
                key: names::word(names::RT_KEYS, body.text_of("key")?)?,
                family: family_of(body)?,
            },
            "socket" => ExprKind::Socket {
                key: names::word(names::SOCKET_KEYS, body.text_of("key")?)?,
                level: u32::try_from(body.number_of("level").unwrap_or(0)).ok()?,
            },
            "osf" => ExprKind::Osf(Box::new(Osf {
                key: names::word(&["name", "version"], body.text_of("key")?)?,
                ttl: match body.text_of("ttl") {
                    Some(ttl) => Some(names::word(&["loose", "skip"], ttl)?),
                    None => None,
                },
            })),
            "fib" => fib(body)?,
            "numgen" => ExprKind::Numgen(Box::new(Numgen {
                mode: names::word(&["inc", "random"], body.text_of("mode")?)?,
                modulus: body.number_of("mod")?,
                offset: body.number_of("offset").unwrap_or(0),
            })),
            "jhash" | "symhash" => {
                let expr = if key == "jhash" { Some(self.expr(body.get("expr")?)) } else { None };
                ExprKind::Hash(Box::new(Hash {
                    expr,
                    modulus: body.number_of("mod")?,
                    seed: body.number_of("seed"),
                    offset: body.number_of("offset").unwrap_or(0),
                }))
            }
            "ipsec" => ipsec(body)?,
            "tunnel" => ExprKind::Tunnel(names::word(&["id", "path"], body.text_of("key")?)?),
            // An element without need: `{"elem": {"val": x}}`.
            "elem" => match body.get("val") {
                Some(value) if only_key(body, "val") => return self.kind(value),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn payload(&mut self, body: &Node<'_>) -> Option<ExprKind> {
        if let Some(base) = body.text_of("base") {
            return Some(ExprKind::RawPayload(Box::new(RawPayload {
                base: names::word(&["ll", "nh", "th", "ih"], base)?,
                offset: u32::try_from(body.number_of("offset")?).ok()?,
                length: u32::try_from(body.number_of("len")?).ok()?,
            })));
        }
        let (protocol, fields) = names::header(body.text_of("protocol")?)?;
        let field = names::field(fields, names::field_spelling(protocol, body.text_of("field")?))?;
        let kind = ExprKind::Payload(field);
        match body.text_of("tunnel") {
            // The header of the tunnel itself also says which tunnel.
            Some(tunnel) if tunnel != protocol => {
                let tunnel = names::word(&["vxlan", "geneve", "gre", "gretap"], tunnel)?;
                Some(ExprKind::Inner(Box::new(Inner { tunnel, expr: Expr { span: body.span, kind } })))
            }
            _ => Some(kind),
        }
    }

    fn tcp_option(&mut self, body: &Node<'_>) -> Option<ExprKind> {
        if let Some(kind) = body.number_of("base") {
            let raw =
                (u32::try_from(body.number_of("offset")?).ok()?, u32::try_from(body.number_of("len")?).ok()?);
            return Some(option_kind(OptionHeader::Tcp, kind.to_string().into(), None, Some(raw)));
        }
        let name = body.get("name")?;
        let option: Box<str> = match (name.string(), name.number()) {
            (Some(name), _) => names::tcp_option(name)?.into(),
            (None, Some(number)) => number.to_string().into(),
            _ => return None,
        };
        let field = match body.text_of("field") {
            Some(field) => Some(names::word(names::tcp_option_fields(&option), field)?),
            None => None,
        };
        Some(option_kind(OptionHeader::Tcp, option, field, None))
    }

    /// `a op b op c`, from the left. A list of flags as an operand stands for their union.
    fn binary(&mut self, op: BinaryOp, body: &Node<'_>) -> Option<ExprKind> {
        let items = body.items();
        if items.len() < 2 || items.len() as u32 > MAX_DEPTH - self.depth.min(MAX_DEPTH) {
            return None;
        }
        let mut parts = items.iter().map(|item| {
            let expr = self.expr(item);
            union(expr)
        });
        let mut left = parts.next()?;
        for right in parts {
            left = Expr { span: body.span, kind: ExprKind::Binary(Box::new(Binary { op, left, right })) };
        }
        Some(left.kind)
    }

    /// `{"key": …, "data": …}`.
    pub(super) fn map_lookup(&mut self, body: &Node<'_>) -> Option<MapLookup> {
        let key = self.expr(body.get("key")?);
        let data = body.get("data")?;
        let map = match data.single() {
            Some(("set", elements)) => {
                self.depth += 1;
                let kind = self.set(elements, Pairs::Mapping);
                self.depth -= 1;
                Expr { span: data.span, kind }
            }
            _ => self.expr(data),
        };
        Some(MapLookup { key, map })
    }

    fn set(&mut self, body: &Node<'_>, pairs: Pairs) -> ExprKind {
        if let Some(name) = body.string().and_then(|name| name.strip_prefix('@')) {
            return ExprKind::SetRef(name.into());
        }
        let elements = body.items().iter().map(|item| self.element(item, pairs)).collect();
        ExprKind::Set(Box::new(SetLiteral { elements }))
    }

    /// An element: a value, a pair of key and data, or either with options.
    pub(super) fn element(&mut self, node: &Node<'_>, pairs: Pairs) -> Element {
        match (&node.value, pairs) {
            (Value::Array(items), Pairs::Mapping) if items.len() == 2 => {
                let (Some(key), Some(data)) = (items.first(), items.get(1)) else {
                    return self.key(node);
                };
                let mut element = self.key(key);
                element.span = node.span;
                element.data = Some(Box::new(self.expr(data)));
                element
            }
            _ => self.key(node),
        }
    }

    fn key(&mut self, node: &Node<'_>) -> Element {
        if let Some(("elem", body)) = node.single()
            && let Some(value) = body.get("val")
        {
            let key = union(self.expr(value));
            return Element { span: node.span, key, data: None, options: self.element_options(body) };
        }
        Element { span: node.span, key: union(self.expr(node)), data: None, options: None }
    }

    /// The options in an `elem` object. Times there are in seconds.
    pub(super) fn element_options(&mut self, body: &Node<'_>) -> Option<Box<ElementOptions>> {
        let Value::Object(entries) = &body.value else { return None };
        let mut options = ElementOptions::default();
        for (key, node) in entries {
            match key.as_ref() {
                "val" => {}
                "timeout" => options.timeout = node.number().map(|seconds| seconds.saturating_mul(1000)),
                "expires" => options.expires = node.number().map(|seconds| seconds.saturating_mul(1000)),
                "comment" => options.comment = node.string().map(Into::into),
                _ => {
                    let kind = self.statement_kind(key, node);
                    let kind = kind.unwrap_or_else(|| StatementKind::Opaque(Box::new(self.opaque(node))));
                    options.statements.push(Statement { span: node.span, kind });
                }
            }
        }
        (options != ElementOptions::default()).then(|| Box::new(options))
    }
}

/// A list of flags as one value: their union.
pub(super) fn union(expr: Expr) -> Expr {
    let span = expr.span;
    match expr.kind {
        ExprKind::List(parts) if (1..MAX_DEPTH as usize / 2).contains(&parts.len()) => {
            let or = |left, right| {
                let binary = Binary { op: BinaryOp::Or, left, right };
                Expr { span, kind: ExprKind::Binary(Box::new(binary)) }
            };
            let empty = Expr { span, kind: ExprKind::Number(0) };
            parts.into_vec().into_iter().reduce(or).unwrap_or(empty)
        }
        kind => Expr { span, kind },
    }
}

/// What a string stands for: a reference, an address, a wildcard, a word.
fn literal(text: &str) -> ExprKind {
    if let Some(name) = text.strip_prefix('@') {
        return ExprKind::SetRef(name.into());
    }
    if text == "*" {
        return ExprKind::Wildcard;
    }
    let first = text.as_bytes().first().copied().unwrap_or(0);
    if first.is_ascii_digit()
        && let Some(address) = lexer::parse_ipv4(text)
    {
        return ExprKind::Ipv4(address);
    }
    if (first.is_ascii_hexdigit() || first == b':') && text.contains(':') {
        if let Some(address) = lexer::parse_mac(text) {
            return ExprKind::Mac(address);
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return ExprKind::Ipv6(address.octets());
        }
    }
    if text.ends_with('*') || text.contains([' ', '\t']) {
        return ExprKind::String(text.into());
    }
    ExprKind::Symbol(text.into())
}

/// A verdict by its key.
pub(super) fn verdict(key: &str, body: &Node<'_>) -> Option<Verdict> {
    let target = || {
        let target = body.get("target")?;
        let name = Name { text: target.string()?.into(), span: target.span };
        Some(ChainTarget::Named(Box::new(name)))
    };
    Some(match key {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "return" => Verdict::Return,
        "break" => Verdict::Break,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        _ => return None,
    })
}

/// `family`, which may be missing; `None` where it is something else than `ip` or `ip6`.
pub(super) fn family_of(body: &Node<'_>) -> Option<Option<Family>> {
    match body.text_of("family") {
        None => Some(None),
        Some("ip") => Some(Some(Family::Ip)),
        Some("ip6") => Some(Some(Family::Ip6)),
        Some(_) => None,
    }
}

fn only_key(body: &Node<'_>, key: &str) -> bool {
    body.single().is_some_and(|(only, _)| only == key)
}

fn option_kind(
    header: OptionHeader,
    option: Box<str>,
    field: Option<&'static str>,
    raw: Option<(u32, u32)>,
) -> ExprKind {
    ExprKind::HeaderOption(Box::new(HeaderOption { header, option, field, raw }))
}

fn exthdr(body: &Node<'_>) -> Option<ExprKind> {
    let name = body.text_of("name")?;
    let Some(field) = body.text_of("field") else {
        return Some(ExprKind::ExthdrExists(names::word(names::EXTENSIONS, name)?));
    };
    let fields = names::extension(name)?;
    let field = match body.number_of("offset") {
        // `offset` counts the addresses of a type 0 routing header from 0.
        Some(index) if name == "rt0" => names::field(fields, &format!("addr[{}]", index.saturating_add(1))),
        _ => names::field(fields, field),
    };
    Some(ExprKind::Exthdr(field?))
}

fn ct(body: &Node<'_>) -> Option<ExprKind> {
    let key = body.text_of("key")?;
    let direction = match body.text_of("dir") {
        None => None,
        Some("original") => Some(Direction::Original),
        Some("reply") => Some(Direction::Reply),
        Some(_) => return None,
    };
    let known = if direction.is_some() { names::CT_DIRECTION_KEYS } else { names::CT_KEYS };
    let key = match body.text_of("family") {
        Some(family) => names::word(known, &format!("{family} {key}")),
        None => names::word(known, key),
    };
    Some(ExprKind::Ct { key: key?, direction })
}

fn fib(body: &Node<'_>) -> Option<ExprKind> {
    let mut selectors = Vec::new();
    let mut present = false;
    for flag in body.get("flags")?.items() {
        match flag.string()? {
            "present" => present = true,
            name => selectors.push(names::word(names::FIB_SELECTORS, name)?),
        }
    }
    let result = match body.text_of("result")? {
        "oif" if present => "check",
        result => names::word(names::FIB_RESULTS, result)?,
    };
    Some(ExprKind::Fib(Box::new(Fib { selectors, result })))
}

fn ipsec(body: &Node<'_>) -> Option<ExprKind> {
    let key = body.text_of("key")?;
    let key = match body.text_of("family") {
        Some(family) => names::word(names::IPSEC_KEYS, &format!("{family} {key}")),
        None => names::word(names::IPSEC_KEYS, key),
    };
    Some(ExprKind::Ipsec(Box::new(Ipsec {
        direction: names::word(&["in", "out"], body.text_of("dir")?)?,
        spnum: body.number_of("spnum").unwrap_or(0),
        key: key?,
    })))
}
