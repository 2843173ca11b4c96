//! Rules and statements.

use super::super::ast::*;
use super::super::names;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};
use firewarden_diagnostic::Diagnostic;

impl<'p> Parser<'_, '_, 'p> {
    /// One rule, up to the end of its line, which isn't taken. It never fails: a statement that can't be read is the
    /// last one of its rule.
    pub(super) fn rule(&mut self) -> Rule {
        let start = self.token.start;
        let braces = self.braces;
        let base = self.scratch.len();
        let mut comment = None;
        while !self.at_end() {
            let at = self.token.start;
            let result = if self.eat_word("comment") {
                self.string("a comment").and_then(|text| {
                    comment = Some(text.text);
                    if self.at_end() {
                        Ok(())
                    } else {
                        self.expected("the end of the rule after its comment")
                    }
                })
            } else {
                self.statement().map(|statement| self.scratch.push(statement))
            };
            if result.is_err() {
                self.skip_to_end(braces);
                let opaque = self.opaque(at);
                self.scratch
                    .push(Statement { span: opaque.span, kind: StatementKind::Invalid(Box::new(opaque)) });
            }
        }
        if self.scratch.len() == base {
            let span = self.span_from(start);
            self.context.report(
                Diagnostic::error("empty-rule", "a rule needs a statement")
                    .at(span, "nothing to do")
                    .help("add a statement such as `accept`, or remove the rule"),
            );
            let opaque = self.opaque(start);
            self.scratch.push(Statement { span, kind: StatementKind::Invalid(Box::new(opaque)) });
        }
        let statements = self.scratch.drain(base..).collect();
        Rule { span: self.span_from(start), handle: self.lexer.take_handle(start), comment, statements }
    }

    /// `{ rule; rule; }` after `jump` or `goto`.
    fn anonymous_chain(&mut self) -> Parsed<AnonymousChain> {
        let start = self.token.start;
        let mut rules = Vec::new();
        self.context.open_scope();
        let result = {
            let mut invalid = Vec::new();
            let result = self.block(
                &mut |parser| {
                    rules.push(parser.rule());
                    Ok(())
                },
                &mut |opaque| invalid.push(opaque),
            );
            rules.extend(invalid.into_iter().map(invalid_rule));
            result
        };
        self.context.close_scope();
        result?;
        Ok(AnonymousChain { span: self.span_from(start), rules })
    }

    /// A verdict, if the word at hand is one.
    pub(super) fn verdict(&mut self) -> Parsed<Option<Verdict>> {
        let verdict = match self.word() {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "continue" => Verdict::Continue,
            "return" => Verdict::Return,
            word @ ("jump" | "goto") => {
                self.bump();
                let target = match self.token.kind {
                    Kind::LBrace => ChainTarget::Anonymous(Box::new(self.anonymous_chain()?)),
                    Kind::Dollar => ChainTarget::Named(Box::new(self.string("the name of a chain")?)),
                    _ => ChainTarget::Named(Box::new(self.name("the name of a chain")?)),
                };
                return Ok(Some(if word == "jump" { Verdict::Jump(target) } else { Verdict::Goto(target) }));
            }
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some(verdict))
    }

    /// One statement.
    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        let start = self.token.start;
        if self.at(Kind::XtComment) {
            let name = self.token_text().trim_start_matches(['#', ' ']).trim_start_matches("xt_").into();
            self.bump();
            let kind = StatementKind::Xt(Box::new(Xt { kind: None, name }));
            return Ok(Statement { span: self.span_from(start), kind });
        }
        let kind = match self.statement_by_word()? {
            Some(kind) => kind,
            None => self.test_or_write()?,
        };
        Ok(Statement { span: self.span_from(start), kind })
    }

    /// A statement that its first word gives away.
    fn statement_by_word(&mut self) -> Parsed<Option<StatementKind>> {
        let kind = match self.word() {
            // The words with which most statements begin, first.
            "ip" | "tcp" | "udp" | "ip6" | "iifname" | "oifname" | "iif" | "oif" | "meta" | "th" | "" => {
                return Ok(None);
            }
            "accept" | "drop" | "continue" | "return" | "jump" | "goto" => match self.verdict()? {
                Some(verdict) => StatementKind::Verdict(verdict),
                None => return Ok(None),
            },
            "counter" | "limit" | "quota" | "last" => match self.stateful()? {
                Some(statement) => statement.kind,
                None => return Ok(None),
            },
            "ct" => return self.ct_statement(),
            "log" => StatementKind::Log(Box::new(self.log()?)),
            "reject" => StatementKind::Reject(Box::new(self.reject()?)),
            "snat" | "dnat" => StatementKind::Nat(Box::new(self.nat()?)),
            "masquerade" | "redirect" => StatementKind::Nat(Box::new(self.nat_to_self()?)),
            "tproxy" => StatementKind::Tproxy(Box::new(self.tproxy()?)),
            "dup" | "fwd" => return self.redirection().map(Some),
            "queue" => StatementKind::Queue(Box::new(self.queue()?)),
            "notrack" => {
                self.bump();
                StatementKind::Notrack
            }
            "add" | "update" | "delete" | "set" => StatementKind::SetUpdate(Box::new(self.set_update()?)),
            "meter" => {
                self.bump();
                StatementKind::Meter(Box::new(self.meter()?))
            }
            "flow" => return self.flow().map(Some),
            "synproxy" => {
                self.bump();
                if self.eat_word("name") {
                    self.object_ref(ObjectKind::Synproxy)?
                } else {
                    StatementKind::Synproxy(Box::new(self.synproxy_options()?))
                }
            }
            "tunnel" if self.peek_second().1 == "name" => {
                self.bump();
                self.bump();
                self.object_ref(ObjectKind::Tunnel)?
            }
            "xt" => StatementKind::Xt(Box::new(self.xt()?)),
            "reset" => {
                self.bump();
                self.expect_word("tcp")?;
                self.expect_word("option")?;
                let start = self.token.start;
                let option = self.tcp_option_name()?;
                let option = HeaderOption { header: OptionHeader::Tcp, option, field: None, raw: None };
                let kind = ExprKind::HeaderOption(Box::new(option));
                StatementKind::ResetOption(Box::new(Expr { span: self.span_from(start), kind }))
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    /// A test, a lookup in a verdict map, or `… set …`.
    fn test_or_write(&mut self) -> Parsed<StatementKind> {
        let mut left = self.selector_concat()?;
        match self.word() {
            "vmap" => return Ok(StatementKind::Vmap(Box::new(self.map_lookup(left)?))),
            "set" => {
                self.bump();
                return self.write(left);
            }
            "map" => {
                let lookup = self.map_lookup(left)?;
                let span = lookup.key.span.to(lookup.map.span);
                left = Expr { span, kind: ExprKind::Map(Box::new(lookup)) };
            }
            _ => {}
        }
        let op = self.operator();
        let right = self.test_value()?;
        Ok(StatementKind::Match(Match { left, op, right }))
    }

    /// After `target set`.
    fn write(&mut self, target: Expr) -> Parsed<StatementKind> {
        let value = self.statement_list()?;
        let object = match (&target.kind, &value.kind) {
            (ExprKind::Meta("secmark"), ExprKind::Ct { .. }) => None,
            (ExprKind::Meta("secmark"), _) => Some(ObjectKind::Secmark),
            (ExprKind::Ct { key: "helper", .. }, _) => Some(ObjectKind::CtHelper),
            _ => None,
        };
        if let Some(kind) = object {
            return Ok(StatementKind::ObjectRef(Box::new(ObjectRef { kind, name: value })));
        }
        let writable = matches!(
            target.kind,
            ExprKind::Meta(_)
                | ExprKind::Ct { .. }
                | ExprKind::Payload(_)
                | ExprKind::RawPayload(_)
                | ExprKind::Exthdr(_)
                | ExprKind::HeaderOption(_)
        );
        if !writable {
            return self.fail(
                Diagnostic::error("not-writable", "nothing can be written there")
                    .at(target.span, "not a field of the packet, the connection or `meta`")
                    .help("use `set` only with `meta`, `ct` and header fields"),
            );
        }
        Ok(StatementKind::Mangle(Box::new(Mangle { target, value })))
    }

    /// Statements that begin with `ct` without being a test; `None` for tests.
    fn ct_statement(&mut self) -> Parsed<Option<StatementKind>> {
        let kind = match self.peek_second().1 {
            "count" => {
                self.bump();
                self.bump();
                self.connection_limit()?
            }
            word @ ("timeout" | "expectation") => {
                self.bump();
                self.bump();
                self.expect_word("set")?;
                self.object_ref(if word == "timeout" {
                    ObjectKind::CtTimeout
                } else {
                    ObjectKind::CtExpectation
                })?
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn connection_limit(&mut self) -> Parsed<StatementKind> {
        let over = self.eat_word("over");
        Ok(StatementKind::ConnectionLimit { over, count: self.number("a number of connections")? })
    }

    fn object_ref(&mut self, kind: ObjectKind) -> Parsed<StatementKind> {
        Ok(StatementKind::ObjectRef(Box::new(ObjectRef { kind, name: self.statement_expr()? })))
    }

    /// `counter`, `limit`, `quota`, `last`, `ct count`: what may stand in elements too. `None` for other words.
    pub(super) fn stateful(&mut self) -> Parsed<Option<Statement>> {
        let start = self.token.start;
        let word = self.word();
        match word {
            "counter" | "limit" | "quota" | "last" => self.bump(),
            "ct" if self.peek_second().1 == "count" => {
                self.bump();
                self.bump();
            }
            _ => return Ok(None),
        }
        let named = word != "last" && word != "ct" && self.eat_word("name");
        let kind = match word {
            "counter" if named => self.object_ref(ObjectKind::Counter)?,
            "limit" if named => self.object_ref(ObjectKind::Limit)?,
            "quota" if named => self.object_ref(ObjectKind::Quota)?,
            "counter" => StatementKind::Counter(self.counter_values()?),
            "limit" => {
                self.expect_word("rate")?;
                StatementKind::Limit(Box::new(self.limit_rate()?))
            }
            "quota" => StatementKind::Quota(Box::new(self.quota_values()?)),
            "last" => {
                let used = match self.eat_word("used") {
                    true if self.eat_word("never") => None,
                    true => Some(self.time()?),
                    false => None,
                };
                StatementKind::Last { used }
            }
            _ => self.connection_limit()?,
        };
        Ok(Some(Statement { span: self.span_from(start), kind }))
    }

    /// `packets N bytes N`, either or both or none.
    pub(super) fn counter_values(&mut self) -> Parsed<Counter> {
        let mut counter = Counter::default();
        loop {
            if self.eat_word("packets") {
                counter.packets = self.number("a number of packets")?;
            } else if self.eat_word("bytes") {
                counter.bytes = self.number("a number of bytes")?;
            } else {
                return Ok(counter);
            }
        }
    }

    /// `bytes`, `kbytes`, `mbytes`: how many bytes it is. `None` for other words.
    fn bytes_unit(&mut self) -> Option<u64> {
        let factor = bytes_factor(self.word())?;
        self.bump();
        Some(factor)
    }

    fn bytes(&mut self) -> Parsed<u64> {
        let number = self.number("a number of bytes")?;
        match self.bytes_unit() {
            Some(factor) => Ok(number.saturating_mul(factor)),
            None => self.unknown_word("a unit of bytes", &["bytes", "kbytes", "mbytes"]),
        }
    }

    /// After `limit rate`.
    pub(super) fn limit_rate(&mut self) -> Parsed<Limit> {
        let over = self.eat_word("over");
        if !over {
            self.eat_word("until");
        }
        let number = self.number("a rate")?;
        let mut factor = self.bytes_unit();
        let unit = match self.word().split_once('/') {
            // `kbytes/second` is one word.
            Some((bytes, time)) if factor.is_none() => {
                factor = bytes_factor(bytes);
                if factor.is_some() { time_unit(time) } else { None }
            }
            _ => {
                self.expect(Kind::Slash, "`/` and a unit of time")?;
                time_unit(self.word())
            }
        };
        let Some(unit) = unit else {
            return self.unknown_word("a unit of time", &["second", "minute", "hour", "day", "week"]);
        };
        self.bump();
        let mut burst = None;
        if self.eat_word("burst") {
            burst = Some(match factor {
                Some(_) => self.bytes()?,
                None => {
                    let number = self.number("a number of packets")?;
                    self.expect_word("packets")?;
                    number
                }
            });
        }
        let rate = number.saturating_mul(factor.unwrap_or(1));
        Ok(Limit { over, rate, per_byte: factor.is_some(), unit, burst })
    }

    /// After `quota`.
    pub(super) fn quota_values(&mut self) -> Parsed<Quota> {
        let over = self.eat_word("over");
        if !over {
            self.eat_word("until");
        }
        let bytes = self.bytes()?;
        let used = if self.eat_word("used") { self.bytes()? } else { 0 };
        Ok(Quota { over, bytes, used })
    }

    /// `mss 1460 wscale 7 timestamp sack-perm`, in any order; newlines between them in blocks are the caller's.
    pub(super) fn synproxy_options(&mut self) -> Parsed<Synproxy> {
        let mut options = Synproxy::default();
        while self.synproxy_option(&mut options)? {}
        Ok(options)
    }

    /// One option of `synproxy`. False where there is none.
    pub(super) fn synproxy_option(&mut self, options: &mut Synproxy) -> Parsed<bool> {
        match self.word() {
            "mss" | "maxseg" => {
                self.bump();
                options.mss = Some(self.number("a segment size")?);
            }
            "wscale" => {
                self.bump();
                options.wscale = Some(self.number("a window scale")?);
            }
            "timestamp" => {
                self.bump();
                options.timestamp = true;
            }
            "sack-perm" | "sack-permitted" => {
                self.bump();
                options.sack_perm = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn log(&mut self) -> Parsed<Log> {
        self.bump();
        let mut log = Log::default();
        loop {
            match self.word() {
                "prefix" => {
                    self.bump();
                    let prefix = self.string("a prefix in quotes")?;
                    log.prefix = Some(self.interpolated(prefix)?);
                }
                "level" => {
                    self.bump();
                    log.level = match names::log_level(self.word()) {
                        Some(level) => Some(level),
                        None => return self.unknown_word("a log level", names::LOG_LEVELS),
                    };
                    self.bump();
                }
                "group" => {
                    self.bump();
                    log.group = Some(self.number("the number of a group")?);
                }
                "snaplen" => {
                    self.bump();
                    log.snaplen = Some(self.number("a number of bytes")?);
                }
                "queue-threshold" => {
                    self.bump();
                    log.queue_threshold = Some(self.number("a number of packets")?);
                }
                "flags" => {
                    self.bump();
                    self.log_flags(&mut log.flags)?;
                }
                _ => return Ok(log),
            }
        }
    }

    fn log_flags(&mut self, flags: &mut Vec<&'static str>) -> Parsed<()> {
        let flag = match self.word() {
            "all" => "all",
            "skuid" => "skuid",
            "ether" => "ether",
            "ip" => {
                self.bump();
                self.expected_ahead("options")?;
                "ip options"
            }
            "tcp" => {
                self.bump();
                loop {
                    flags.push(match self.word() {
                        "sequence" => "tcp sequence",
                        "options" => "tcp options",
                        _ => return self.unknown_word("a log flag", &["sequence", "options"]),
                    });
                    self.bump();
                    if !self.eat(Kind::Comma) {
                        return Ok(());
                    }
                }
            }
            _ => return self.unknown_word("a log flag", &["tcp", "ip", "skuid", "ether", "all"]),
        };
        self.bump();
        flags.push(flag);
        Ok(())
    }

    /// Fails unless the present word is this one; doesn't take it.
    fn expected_ahead(&mut self, word: &str) -> Parsed<()> {
        if self.word() == word { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    /// A string with `$name` in it filled in.
    fn interpolated(&mut self, text: Name) -> Parsed<Name> {
        if !text.text.contains('$') {
            return Ok(text);
        }
        let mut result = String::with_capacity(text.text.len());
        let mut rest: &str = &text.text;
        while let Some(at) = rest.find('$') {
            result.push_str(rest.get(..at).unwrap_or_default());
            let after = rest.get(at + 1..).unwrap_or_default();
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let name = after.get(..end).unwrap_or_default();
            rest = after.get(end..).unwrap_or_default();
            if name.is_empty() {
                result.push('$');
                continue;
            }
            let value =
                self.context.lookup(name).map(|variable| variable.definition.value.word().map(str::to_owned));
            match value {
                Some(Some(value)) => result.push_str(&value),
                Some(None) => {
                    let message = format!("variable `{name}` is not a string");
                    return self
                        .fail(Diagnostic::error("syntax", message).at(text.span, "used inside this string"));
                }
                None => {
                    let diagnostic = self.context.undefined(&Name { text: name.into(), span: text.span });
                    return self.fail(diagnostic);
                }
            }
            if result.len() > 4096 {
                return self.fail(
                    Diagnostic::error("string-too-long", "a log prefix is too long")
                        .at(text.span, "variables filled in"),
                );
            }
        }
        result.push_str(rest);
        Ok(Name { text: result.into(), span: text.span })
    }

    fn reject(&mut self) -> Parsed<Reject> {
        self.bump();
        if !self.eat_word("with") {
            return Ok(Reject { with: None, code: None });
        }
        let with = match self.word() {
            "tcp" => {
                self.bump();
                self.expect_word("reset")?;
                return Ok(Reject { with: Some(RejectWith::TcpReset), code: None });
            }
            "icmp" => RejectWith::Icmp,
            "icmpv6" => RejectWith::Icmpv6,
            "icmpx" => RejectWith::Icmpx,
            _ => return self.unknown_word("a way to reject", &["icmp", "icmpv6", "icmpx", "tcp"]),
        };
        self.bump();
        self.eat_word("type");
        Ok(Reject { with: Some(with), code: Some(self.basic(super::expressions::Mode::Value)?) })
    }

    fn xt(&mut self) -> Parsed<Xt> {
        self.bump();
        let kind = match self.word() {
            "match" => XtKind::Match,
            "target" => XtKind::Target,
            "watcher" => XtKind::Watcher,
            _ => return self.unknown_word("a kind of extension", &["match", "target", "watcher"]),
        };
        self.bump();
        Ok(Xt { kind: Some(kind), name: self.string("the name of an extension")?.text })
    }

    fn flow(&mut self) -> Parsed<StatementKind> {
        self.bump();
        match self.word() {
            "add" | "offload" => {
                self.bump();
                Ok(StatementKind::Flow(self.set_name()?))
            }
            // Before nft 0.8.1 a meter was called a flow table.
            "table" => {
                self.bump();
                Ok(StatementKind::Meter(Box::new(self.meter()?)))
            }
            _ => self.unknown_word("a word that may follow `flow`", &["add", "offload", "table"]),
        }
    }

    fn meter(&mut self) -> Parsed<Meter> {
        let name = if self.at(Kind::LBrace) { None } else { Some(self.name("the name of a meter")?) };
        let size = if self.eat_word("size") { Some(self.number("a number of elements")?) } else { None };
        Ok(Meter { name, size, element: self.nested(|parser| parser.dynamic_element(true))? })
    }

    /// `add @s { … }`, or the older `set add … @s`.
    fn set_update(&mut self) -> Parsed<SetUpdate> {
        let older = self.eat_word("set");
        let op = match self.word() {
            "add" => SetOp::Add,
            "update" => SetOp::Update,
            "delete" => SetOp::Delete,
            _ => return self.unknown_word("a set statement", &["add", "update", "delete"]),
        };
        self.bump();
        if !older {
            let set = self.set_name()?;
            return Ok(SetUpdate { op, set, element: self.nested(|parser| parser.dynamic_element(false))? });
        }
        let start = self.token.start;
        let key = self.selector_concat()?;
        let mut options = None;
        if self.eat_word("timeout") {
            options =
                Some(Box::new(ElementOptions { timeout: Some(self.time()?), ..ElementOptions::default() }));
        }
        let element = Element { span: self.span_from(start), key, data: None, options };
        Ok(SetUpdate { op, set: self.set_name()?, element })
    }
}

/// How many bytes a unit is.
pub(in super::super) fn bytes_factor(word: &str) -> Option<u64> {
    match word {
        "bytes" => Some(1),
        "kbytes" => Some(1 << 10),
        "mbytes" => Some(1 << 20),
        _ => None,
    }
}

/// A unit of time by name.
pub(in super::super) fn time_unit(word: &str) -> Option<TimeUnit> {
    match word {
        "second" => Some(TimeUnit::Second),
        "minute" => Some(TimeUnit::Minute),
        "hour" => Some(TimeUnit::Hour),
        "day" => Some(TimeUnit::Day),
        "week" => Some(TimeUnit::Week),
        _ => None,
    }
}

/// A rule made of a line that couldn't be read.
pub(super) fn invalid_rule(opaque: Opaque) -> Rule {
    let span = opaque.span;
    let statements = vec![Statement { span, kind: StatementKind::Invalid(Box::new(opaque)) }];
    Rule { span, handle: None, comment: None, statements }
}
