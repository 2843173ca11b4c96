//! Tables, chains, sets and flowtables: declarations with their blocks.

use super::super::ast::*;
use super::super::names;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};
use super::statements::invalid_rule;
use firewarden_diagnostic::{Diagnostic, Span};

/// The words with which a line of a table begins.
const TABLE_LINES: &[&str] = &[
    "chain",
    "set",
    "map",
    "meter",
    "flowtable",
    "counter",
    "quota",
    "limit",
    "ct",
    "secmark",
    "synproxy",
    "tunnel",
    "flags",
    "comment",
    "include",
    "define",
    "redefine",
    "undefine",
];

const SET_LINES: &[&str] = &[
    "type",
    "typeof",
    "flags",
    "timeout",
    "gc-interval",
    "size",
    "policy",
    "auto-merge",
    "elements",
    "counter",
    "limit",
    "quota",
    "last",
    "comment",
];

impl<'p> Parser<'_, '_, 'p> {
    /// The block of a table, into `table`.
    pub(super) fn table_block(&mut self, table: &mut Table) -> Parsed<()> {
        self.context.open_scope();
        let start = table.span.start;
        let mut invalid = Vec::new();
        let mut items = Vec::new();
        let result = self.block(
            &mut |parser| {
                if let Some(handle) = parser.lexer.take_handle(start) {
                    table.handle = table.handle.or(Some(handle));
                }
                parser.table_line(table, &mut items)
            },
            &mut |opaque| invalid.push(Item::Invalid(opaque)),
        );
        self.context.close_scope();
        table.handle = table.handle.or(self.lexer.take_handle(start));
        items.append(&mut invalid);
        table.items = items;
        table.span = self.span_from(start);
        result
    }

    fn table_line(&mut self, table: &mut Table, items: &mut Vec<Item>) -> Parsed<()> {
        match self.word() {
            "flags" => {
                self.bump();
                loop {
                    let name = self.name("a flag of a table")?;
                    match &*name.text {
                        "dormant" => table.dormant = true,
                        _ => table.flags.push(name),
                    }
                    if !self.eat(Kind::Comma) {
                        break;
                    }
                }
                self.expect_end()
            }
            "comment" => {
                self.bump();
                table.comment = Some(self.string("a comment")?);
                self.expect_end()
            }
            _ => match self.item_kind() {
                Some(kind) => {
                    let start = self.token.start;
                    self.bump_item_kind(kind);
                    let name = self.name("a name")?;
                    items.push(self.item(kind, start, name)?);
                    self.expect_end()
                }
                None => self.unknown_word("a line of a table", TABLE_LINES),
            },
        }
    }

    /// What kind of item the words at hand declare; `None` for other words.
    pub(super) fn item_kind(&self) -> Option<ItemKind> {
        Some(match self.word() {
            "chain" => ItemKind::Chain,
            "set" => ItemKind::Set(SetKind::Set),
            "map" => ItemKind::Set(SetKind::Map),
            "meter" => ItemKind::Set(SetKind::Meter),
            "flowtable" => ItemKind::Flowtable,
            "counter" => ItemKind::Object(ObjectKind::Counter),
            "quota" => ItemKind::Object(ObjectKind::Quota),
            "limit" => ItemKind::Object(ObjectKind::Limit),
            "secmark" => ItemKind::Object(ObjectKind::Secmark),
            "synproxy" => ItemKind::Object(ObjectKind::Synproxy),
            "tunnel" => ItemKind::Object(ObjectKind::Tunnel),
            "ct" => match self.peek_second().1 {
                "helper" => ItemKind::Object(ObjectKind::CtHelper),
                "timeout" => ItemKind::Object(ObjectKind::CtTimeout),
                "expectation" => ItemKind::Object(ObjectKind::CtExpectation),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Takes the words that gave the kind.
    pub(super) fn bump_item_kind(&mut self, kind: ItemKind) {
        self.bump();
        let two_words = [ObjectKind::CtHelper, ObjectKind::CtTimeout, ObjectKind::CtExpectation];
        if matches!(kind, ItemKind::Object(object) if two_words.contains(&object)) {
            self.bump();
        }
    }

    /// What follows the name of an item: its block, or its settings.
    pub(super) fn item(&mut self, kind: ItemKind, start: u32, name: Name) -> Parsed<Item> {
        match kind {
            ItemKind::Chain => self.chain(start, name).map(Item::Chain),
            ItemKind::Set(kind) => self.set(kind, start, name).map(|set| Item::Set(Box::new(set))),
            ItemKind::Flowtable => {
                self.flowtable(start, name).map(|flowtable| Item::Flowtable(Box::new(flowtable)))
            }
            ItemKind::Object(kind) => {
                self.object(kind, start, name).map(|object| Item::Object(Box::new(object)))
            }
        }
    }

    fn chain(&mut self, start: u32, name: Name) -> Parsed<Chain> {
        let mut chain = empty_chain(self.span_from(start), name);
        if !self.at(Kind::LBrace) {
            return Ok(chain);
        }
        self.context.open_scope();
        let mut invalid = Vec::new();
        let result = {
            let chain = &mut chain;
            self.block(
                &mut |parser| {
                    if chain.handle.is_none() && chain.rules.is_empty() {
                        chain.handle = parser.lexer.take_handle(start);
                    }
                    parser.chain_line(chain)
                },
                &mut |opaque| invalid.push(invalid_rule(opaque)),
            )
        };
        self.context.close_scope();
        // What couldn't be read stands where it was written.
        if !invalid.is_empty() {
            chain.rules.append(&mut invalid);
            let file = self.file;
            let same_file = chain.rules.iter().all(|rule| rule.span.file == file);
            if same_file {
                chain.rules.sort_by_key(|rule| rule.span.start);
            }
        }
        if chain.handle.is_none() && chain.rules.is_empty() {
            chain.handle = self.lexer.take_handle(start);
        }
        chain.rules.shrink_to_fit();
        chain.span = self.span_from(start);
        // A chain without its closing brace was reported; what was read of it is kept.
        let _ = result;
        Ok(chain)
    }

    fn chain_line(&mut self, chain: &mut Chain) -> Parsed<()> {
        match self.word() {
            "type" => {
                let base = self.base_chain()?;
                chain.base = Some(Box::new(base));
                self.expect_end()
            }
            "policy" => {
                let start = self.token.start;
                self.bump();
                let word = match self.token.kind {
                    Kind::Dollar => self.string("`accept` or `drop`")?.text,
                    _ => self.word().into(),
                };
                let policy = match &*word {
                    "accept" => Policy::Accept,
                    "drop" => Policy::Drop,
                    _ => return self.unknown_word("a policy", &["accept", "drop"]),
                };
                if matches!(self.word(), "accept" | "drop") {
                    self.bump();
                }
                let span = self.span_from(start);
                if let Some(first) = chain.policy {
                    return self.fail(
                        Diagnostic::error("duplicate-policy", "a chain has two policies")
                            .at(span, "the second one")
                            .see(first.span, "the first one")
                            .help("remove one of them"),
                    );
                }
                chain.policy = Some(Spanned { value: policy, span });
                self.expect_end()
            }
            "flags" => {
                self.bump();
                chain.flags.push(self.name("a flag of a chain")?);
                self.expect_end()
            }
            "devices" => {
                let devices = self.devices()?;
                if let Some(base) = &mut chain.base {
                    base.devices.extend(devices);
                }
                self.expect_end()
            }
            "comment" => {
                self.bump();
                chain.comment = Some(self.string("a comment")?);
                self.expect_end()
            }
            _ => {
                let rule = self.rule();
                chain.rules.push(rule);
                Ok(())
            }
        }
    }

    /// `type filter hook input [device eth0] priority 0`.
    fn base_chain(&mut self) -> Parsed<BaseChain> {
        let start = self.token.start;
        self.bump();
        let span = self.token_span();
        let chain_type = match self.word() {
            "filter" => ChainType::Filter,
            "nat" => ChainType::Nat,
            "route" => ChainType::Route,
            _ => return self.unknown_word("a type of chain", &["filter", "nat", "route"]),
        };
        self.bump();
        let chain_type = Spanned { value: chain_type, span };
        self.expect_word("hook")?;
        let hook = self.hook()?;
        let devices = match self.word() {
            "device" => {
                self.bump();
                vec![self.device()?]
            }
            "devices" => self.devices()?,
            _ => Vec::new(),
        };
        let priority = self.priority()?;
        Ok(BaseChain { span: self.span_from(start), chain_type, hook, devices, priority })
    }

    fn hook(&mut self) -> Parsed<Spanned<Hook>> {
        let span = self.token_span();
        let value = match hook(self.word()) {
            Some(hook) => hook,
            None => {
                return self.unknown_word(
                    "a hook",
                    &["ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"],
                );
            }
        };
        self.bump();
        Ok(Spanned { value, span })
    }

    /// The name of a device, or a variable.
    fn device(&mut self) -> Parsed<Expr> {
        if self.at(Kind::Dollar) {
            return self.variable();
        }
        let name = self.string("the name of a device")?;
        Ok(Expr { span: name.span, kind: ExprKind::String(name.text) })
    }

    /// `devices = { a, b }`, or a variable.
    fn devices(&mut self) -> Parsed<Vec<Expr>> {
        self.expect_word("devices")?;
        self.expect(Kind::Assign, "`=`")?;
        if self.at(Kind::Dollar) {
            return Ok(vec![self.variable()?]);
        }
        self.expect(Kind::LBrace, "`{`")?;
        let mut devices = Vec::new();
        loop {
            self.skip_newlines();
            if self.eat(Kind::RBrace) {
                return Ok(devices);
            }
            devices.push(self.device()?);
            self.skip_newlines();
            if !self.eat(Kind::Comma) && !self.at(Kind::RBrace) {
                return self.expected("`,` or `}`");
            }
        }
    }

    /// `priority filter + 10`, `priority -5`, `priority $p`.
    fn priority(&mut self) -> Parsed<Priority> {
        let start = self.token.start;
        self.expect_word("priority")?;
        let what = "a priority: a number or a name such as `filter`";
        if self.at(Kind::Dollar) {
            let expr = self.variable()?;
            let text = match &expr.resolved().kind {
                ExprKind::Number(number) => number.to_string(),
                ExprKind::Symbol(text) | ExprKind::String(text) => text.to_string(),
                _ => String::new(),
            };
            return match priority_text(&text) {
                Some((name, offset)) => Ok(Priority { span: self.span_from(start), name, offset }),
                None => self.fail(
                    Diagnostic::error("syntax", "this variable is not a priority")
                        .at(expr.span, format!("expected {what}")),
                ),
            };
        }
        let negative = self.eat(Kind::Dash);
        if self.at(Kind::Number) || negative {
            let offset = self.priority_number(negative)?;
            return Ok(Priority { span: self.span_from(start), name: None, offset });
        }
        let Some(name) = names::word(names::PRIORITIES, self.word()) else {
            return self.unknown_word(what, names::PRIORITIES);
        };
        self.bump();
        let offset = match self.token.kind {
            Kind::Plus | Kind::Dash => {
                let negative = self.at(Kind::Dash);
                self.bump();
                self.priority_number(negative)?
            }
            _ => 0,
        };
        Ok(Priority { span: self.span_from(start), name: Some(name), offset })
    }

    fn priority_number(&mut self, negative: bool) -> Parsed<i32> {
        let span = self.token_span();
        let number = self.number("a number")?;
        let signed = i64::try_from(number).map(|number| if negative { -number } else { number });
        match signed.ok().and_then(|number| i32::try_from(number).ok()) {
            Some(number) => Ok(number),
            None => self.fail(
                Diagnostic::error("number-too-large", "this priority is out of range")
                    .at(span, "a priority has 32 bits")
                    .help("use a priority between -300 and 300"),
            ),
        }
    }

    fn flowtable(&mut self, start: u32, name: Name) -> Parsed<Flowtable> {
        let mut flowtable = Flowtable {
            span: self.span_from(start),
            name,
            handle: None,
            hook: None,
            devices: Vec::new(),
            counter: false,
            flags: Vec::new(),
            invalid: Vec::new(),
        };
        if !self.at(Kind::LBrace) {
            return Ok(flowtable);
        }
        let mut invalid = Vec::new();
        let result = self.block(
            &mut |parser| {
                match parser.word() {
                    "hook" => {
                        parser.bump();
                        let hook = parser.hook()?;
                        let priority = parser.priority()?;
                        flowtable.hook = Some((hook, priority));
                    }
                    "devices" => flowtable.devices.extend(parser.devices()?),
                    "counter" => {
                        parser.bump();
                        flowtable.counter = true;
                    }
                    "flags" => {
                        parser.bump();
                        flowtable.flags.push(parser.name("a flag of a flowtable")?);
                    }
                    _ => {
                        return parser
                            .unknown_word("a line of a flowtable", &["hook", "devices", "counter", "flags"]);
                    }
                }
                parser.expect_end()
            },
            &mut |opaque| invalid.push(opaque),
        );
        flowtable.handle = self.lexer.take_handle(start);
        flowtable.invalid = invalid;
        flowtable.span = self.span_from(start);
        result.map(|()| flowtable)
    }

    fn set(&mut self, kind: SetKind, start: u32, name: Name) -> Parsed<Set> {
        let mut set = empty_set(kind, self.span_from(start), name);
        if !self.at(Kind::LBrace) {
            return Ok(set);
        }
        let mut invalid = Vec::new();
        let result = {
            let set = &mut set;
            self.block(
                &mut |parser| {
                    if set.handle.is_none() {
                        set.handle = parser.lexer.take_handle(start);
                    }
                    parser.set_line(set)
                },
                &mut |opaque| invalid.push(opaque),
            )
        };
        set.handle = set.handle.or(self.lexer.take_handle(start));
        set.invalid = invalid;
        set.span = self.span_from(start);
        result.map(|()| set)
    }

    fn set_line(&mut self, set: &mut Set) -> Parsed<()> {
        match self.word() {
            word @ ("type" | "typeof") => {
                self.bump();
                set.key = Some(self.set_type(word == "typeof")?);
                if self.eat(Kind::Colon) {
                    set.data = Some(self.data_type(word == "typeof")?);
                }
            }
            "flags" => {
                self.bump();
                loop {
                    match self.word() {
                        "constant" => set.flags.constant = true,
                        "interval" => set.flags.interval = true,
                        "timeout" => set.flags.timeout = true,
                        "dynamic" => set.flags.dynamic = true,
                        _ => {
                            return self.unknown_word(
                                "a flag of a set",
                                &["constant", "interval", "timeout", "dynamic"],
                            );
                        }
                    }
                    self.bump();
                    if !self.eat(Kind::Comma) {
                        break;
                    }
                }
            }
            "timeout" => {
                self.bump();
                set.timeout = Some(self.time()?);
            }
            "gc-interval" => {
                self.bump();
                set.gc_interval = Some(self.time()?);
            }
            "size" => {
                self.bump();
                set.size = Some(self.number("a number of elements")?);
            }
            "policy" => {
                self.bump();
                set.policy = Some(self.expect_one_of("a policy of a set", &["performance", "memory"])?);
            }
            "auto-merge" => {
                // nft wants no line end after this word.
                self.bump();
                set.auto_merge = true;
                return Ok(());
            }
            "elements" => {
                self.bump();
                self.expect(Kind::Assign, "`=`")?;
                // Neither after this.
                let mut elements = self.elements_or_variable()?;
                if set.elements.is_empty() {
                    set.elements = elements
                } else {
                    set.elements.append(&mut elements)
                }
                return Ok(());
            }
            "comment" => {
                self.bump();
                set.comment = Some(self.string("a comment")?);
            }
            _ => match self.stateful()? {
                Some(statement) => {
                    set.statements.push(statement);
                    while let Some(statement) = self.stateful()? {
                        set.statements.push(statement);
                    }
                }
                None => return self.unknown_word("a line of a set", SET_LINES),
            },
        }
        self.expect_end()
    }

    /// The type of a key: names with dots between them, or expressions.
    fn set_type(&mut self, type_of: bool) -> Parsed<SetType> {
        if type_of {
            return Ok(SetType::TypeOf(Box::new(self.selector_concat()?)));
        }
        let mut names = Vec::new();
        loop {
            names.push(self.name("the name of a type")?);
            if !self.eat(Kind::Dot) {
                return Ok(SetType::Named(names));
            }
        }
    }

    /// The type of data: as a key, or `interval` and such, a verdict, or a kind of object.
    fn data_type(&mut self, type_of: bool) -> Parsed<SetType> {
        let span = self.token_span();
        let object = match self.word() {
            "counter" => Some(ObjectKind::Counter),
            "quota" => Some(ObjectKind::Quota),
            "limit" => Some(ObjectKind::Limit),
            "secmark" => Some(ObjectKind::Secmark),
            "synproxy" => Some(ObjectKind::Synproxy),
            "ct" => match self.peek_second().1 {
                "helper" => Some(ObjectKind::CtHelper),
                "timeout" => Some(ObjectKind::CtTimeout),
                "expectation" => Some(ObjectKind::CtExpectation),
                _ => None,
            },
            _ => None,
        };
        if let Some(value) = object {
            self.bump_item_kind(ItemKind::Object(value));
            return Ok(SetType::Object(Spanned { value, span }));
        }
        self.eat_word("interval");
        if type_of && matches!(self.word(), "verdict" | "queue") {
            return Ok(SetType::Named(vec![self.name("the name of a type")?]));
        }
        self.set_type(type_of)
    }
}

/// What can be declared in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    Chain,
    Set(SetKind),
    Flowtable,
    Object(ObjectKind),
}

/// A hook by name.
pub(in super::super) fn hook(word: &str) -> Option<Hook> {
    Some(match word {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        "egress" => Hook::Egress,
        _ => return None,
    })
}

/// `filter`, `-10`, `filter - 10`.
pub(in super::super) fn priority_text(text: &str) -> Option<(Option<&'static str>, i32)> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some((None, number));
    }
    let end = text.find([' ', '+', '-']).unwrap_or(text.len());
    let name = names::word(names::PRIORITIES, text.get(..end)?)?;
    let rest: String = text.get(end..)?.chars().filter(|c| *c != ' ').collect();
    let offset = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    Some((Some(name), offset))
}

/// A chain without content.
pub(in super::super) fn empty_chain(span: Span, name: Name) -> Chain {
    Chain {
        span,
        name,
        handle: None,
        base: None,
        policy: None,
        flags: Vec::new(),
        comment: None,
        rules: Vec::new(),
    }
}

/// A set without content.
pub(in super::super) fn empty_set(kind: SetKind, span: Span, name: Name) -> Set {
    Set {
        span,
        kind,
        name,
        handle: None,
        key: None,
        data: None,
        flags: SetFlags::default(),
        timeout: None,
        gc_interval: None,
        size: None,
        policy: None,
        auto_merge: false,
        comment: None,
        statements: Vec::new(),
        elements: Vec::new(),
        invalid: Vec::new(),
    }
}
