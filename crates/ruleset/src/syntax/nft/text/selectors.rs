//! Expressions about the packet: `ip saddr`, `meta mark`, `ct state`, ….

use super::super::ast::*;
use super::super::names;
use super::expressions::Mode;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};
use firewarden_diagnostic::Diagnostic;

const MAX_RAW_BITS: u64 = 512;

impl<'p> Parser<'_, '_, 'p> {
    /// An expression about the packet, if the word at hand begins one. In [`Mode::Statement`] a word such as `ip`
    /// that no field follows is a constant, and `None`.
    pub(super) fn selector(&mut self, mode: Mode) -> Parsed<Option<Expr>> {
        let start = self.token.start;
        let word = self.word();
        if let Some((protocol, fields)) = names::header(word) {
            if mode == Mode::Statement && self.peek_second().0 != Kind::Word {
                return Ok(None);
            }
            if mode == Mode::Statement && !self.field_follows(protocol, fields) {
                return Ok(None);
            }
            self.bump();
            let kind = self.header(protocol, fields)?;
            return Ok(Some(Expr { span: self.span_from(start), kind }));
        }
        let kind = match word {
            "ct" => {
                self.bump();
                self.ct()?
            }
            "meta" => {
                self.bump();
                match names::meta_key(self.word()) {
                    Some(key) => {
                        self.bump();
                        ExprKind::Meta(key)
                    }
                    None => return self.unknown_meta(),
                }
            }
            "ipsec" if matches!(self.peek_second().1, "in" | "out") => {
                self.bump();
                self.ipsec()?
            }
            "fib" => {
                self.bump();
                self.fib()?
            }
            "rt" => {
                self.bump();
                self.rt()?
            }
            "socket" => {
                self.bump();
                let key = self.expect_one_of("a key of `socket`", names::SOCKET_KEYS)?;
                let mut level = 0;
                if key == "cgroupv2" {
                    self.expect_word("level")?;
                    level = u32::try_from(self.number("a level")?).unwrap_or(u32::MAX);
                }
                ExprKind::Socket { key, level }
            }
            "numgen" => {
                self.bump();
                let mode = self.expect_one_of("`inc` or `random`", &["inc", "random"])?;
                self.expect_word("mod")?;
                let modulus = self.number("a number")?;
                ExprKind::Numgen(Box::new(Numgen { mode, modulus, offset: self.offset()? }))
            }
            "jhash" => {
                self.bump();
                let expr = Some(self.nested(|parser| parser.selector_concat())?);
                self.expect_word("mod")?;
                let modulus = self.number("a number")?;
                let seed = if self.eat_word("seed") { Some(self.number("a number")?) } else { None };
                ExprKind::Hash(Box::new(Hash { expr, modulus, seed, offset: self.offset()? }))
            }
            "symhash" => {
                self.bump();
                self.expect_word("mod")?;
                let modulus = self.number("a number")?;
                ExprKind::Hash(Box::new(Hash { expr: None, modulus, seed: None, offset: self.offset()? }))
            }
            "osf" => {
                self.bump();
                let ttl = if self.eat_word("ttl") {
                    Some(self.expect_one_of("`loose` or `skip`", &["loose", "skip"])?)
                } else {
                    None
                };
                let key = self.expect_one_of("`name` or `version`", &["name", "version"])?;
                ExprKind::Osf(Box::new(Osf { key, ttl }))
            }
            "exthdr" => {
                self.bump();
                ExprKind::ExthdrExists(self.expect_one_of("an extension header", names::EXTENSIONS)?)
            }
            "tunnel" => {
                self.bump();
                ExprKind::Tunnel(self.expect_one_of("a key of `tunnel`", &["id", "path"])?)
            }
            _ => match names::extension(word) {
                Some(fields) => {
                    self.bump();
                    self.extension(word, fields)?
                }
                None => match names::word(names::META_BARE, word) {
                    Some(key) => {
                        self.bump();
                        ExprKind::Meta(key)
                    }
                    None => return Ok(None),
                },
            },
        };
        Ok(Some(Expr { span: self.span_from(start), kind }))
    }

    /// Whether the word after the present one is a field, an option or a header inside this header.
    fn field_follows(&self, protocol: &str, fields: &[HeaderField]) -> bool {
        let word = names::field_spelling(protocol, self.peek_second().1);
        let known = |field: &HeaderField| field.name.split(' ').next() == Some(word);
        fields.iter().any(known)
            || matches!((protocol, word), ("tcp" | "ip" | "dccp", "option") | ("sctp", "chunk"))
            || (matches!(protocol, "vxlan" | "geneve" | "gre" | "gretap") && names::header(word).is_some())
    }

    /// A test starts with a word that begins no expression.
    pub(super) fn unknown_selector<T>(&mut self) -> Parsed<T> {
        self.refuse_glued()?;
        let word = self.token_text();
        let span = self.token_span();
        let what = "an expression or statement";
        let mut diagnostic = Diagnostic::error("unknown-word", format!("`{word}` is not {what}"))
            .at(span, format!("not {what}"));
        let known = names::SELECTORS.iter().chain(names::STATEMENTS).chain(names::META_BARE).copied();
        if names::META_QUALIFIED.contains(&word) {
            diagnostic = diagnostic.help(format!("write `meta {word}`"));
        } else if matches!(word, "saddr" | "daddr") {
            diagnostic = diagnostic.help(format!("write `ip {word}` or `ip6 {word}`"));
        } else if matches!(word, "dport" | "sport") {
            diagnostic = diagnostic.help(format!("write `tcp {word}`, `udp {word}` or `th {word}`"));
        } else if word == "state" {
            diagnostic = diagnostic.help("write `ct state`");
        } else if let Some(near) = self.context.nearest(word, known) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.fail(diagnostic)
    }

    fn unknown_meta<T>(&mut self) -> Parsed<T> {
        let known: Vec<&'static str> =
            names::META_BARE.iter().chain(names::META_QUALIFIED).copied().collect();
        self.unknown_word("a key of `meta`", &known)
    }

    fn offset(&mut self) -> Parsed<u64> {
        if self.eat_word("offset") { self.number("a number") } else { Ok(0) }
    }

    /// After the name of a header: its field, an option, or a header inside it.
    fn header(&mut self, protocol: &'static str, fields: &'static [HeaderField]) -> Parsed<ExprKind> {
        let word = self.word();
        match (protocol, word) {
            ("arp", "saddr" | "daddr") => {
                let inner = self.peek_second().1;
                let name = format!("{word} {inner}");
                return match names::field(fields, &name) {
                    Some(field) => {
                        self.bump();
                        self.bump();
                        Ok(ExprKind::Payload(field))
                    }
                    None => {
                        self.bump();
                        self.unknown_word("`ether` or `ip`", &["ether", "ip"])
                    }
                };
            }
            ("tcp", "option") => {
                self.bump();
                return self.tcp_option();
            }
            ("ip", "option") => {
                self.bump();
                let option = self.expect_one_of("an IP option", names::IP_OPTIONS)?.into();
                let field = names::word(names::IP_OPTION_FIELDS, self.word());
                if field.is_some() {
                    self.bump();
                }
                // `ip option lsrr type` asks whether the option is there, as `ip option lsrr` does.
                let field = field.filter(|field| *field != "type");
                return Ok(header_option(OptionHeader::Ip, option, field));
            }
            ("sctp", "chunk") => {
                self.bump();
                let chunk = self.expect_one_of("an SCTP chunk", names::SCTP_CHUNKS)?;
                let field = names::word(names::sctp_fields(chunk), self.word());
                if field.is_some() {
                    self.bump();
                }
                return Ok(header_option(OptionHeader::Sctp, chunk.into(), field));
            }
            ("dccp", "option") => {
                self.bump();
                let option = self.option_number()?;
                return Ok(header_option(OptionHeader::Dccp, option, None));
            }
            _ => {}
        }
        if let Some(field) = names::field(fields, names::field_spelling(protocol, word)) {
            self.bump();
            return Ok(ExprKind::Payload(field));
        }
        let tunnels = match protocol {
            "vxlan" | "geneve" | "gretap" => Some(true),
            "gre" => Some(false),
            _ => None,
        };
        if let (Some(ethernet), Some((inner, inner_fields))) = (tunnels, names::header(word)) {
            let allowed = match word {
                "ether" | "vlan" | "arp" => ethernet,
                "vxlan" | "geneve" | "gre" | "gretap" => false,
                _ => true,
            };
            if allowed {
                let start = self.token.start;
                self.bump();
                let kind = self.nested(|parser| parser.header(inner, inner_fields))?;
                let expr = Expr { span: self.span_from(start), kind };
                return Ok(ExprKind::Inner(Box::new(Inner { tunnel: protocol, expr })));
            }
        }
        let mut known: Vec<&'static str> = fields.iter().map(|field| field.name).collect();
        if matches!(protocol, "tcp" | "ip" | "dccp") {
            known.push("option");
        }
        self.unknown_word(&format!("a field of `{protocol}`"), &known)
    }

    /// The number of an option, as text.
    fn option_number(&mut self) -> Parsed<Box<str>> {
        let span = self.token_span();
        let number = self.number("the number of an option")?;
        if number > 255 {
            return self.fail(
                Diagnostic::error("number-too-large", format!("there is no option {number}"))
                    .at(span, "at most 255"),
            );
        }
        Ok(number.to_string().into())
    }

    /// A TCP option by name or number, and its fields.
    pub(super) fn tcp_option_name(&mut self) -> Parsed<Box<str>> {
        if self.at(Kind::Number) {
            return self.option_number();
        }
        match names::tcp_option(self.word()) {
            Some(name) => {
                self.bump();
                Ok(name.into())
            }
            None => self.unknown_word(
                "a TCP option",
                &[
                    "maxseg",
                    "window",
                    "sack-perm",
                    "sack",
                    "timestamp",
                    "eol",
                    "nop",
                    "echo",
                    "fastopen",
                    "mptcp",
                    "md5sig",
                ],
            ),
        }
    }

    fn tcp_option(&mut self) -> Parsed<ExprKind> {
        if self.eat(Kind::At) {
            let option = self.tcp_option_name()?;
            let raw = Some(self.raw_range()?);
            return Ok(ExprKind::HeaderOption(Box::new(HeaderOption {
                header: OptionHeader::Tcp,
                option,
                field: None,
                raw,
            })));
        }
        let option = self.tcp_option_name()?;
        let field = names::word(names::tcp_option_fields(&option), self.word());
        if field.is_some() {
            self.bump();
        }
        Ok(header_option(OptionHeader::Tcp, option, field))
    }

    /// `,offset,length` in bits.
    fn raw_range(&mut self) -> Parsed<(u32, u32)> {
        self.expect(Kind::Comma, "`,`")?;
        let offset = self.number("an offset in bits")?;
        self.expect(Kind::Comma, "`,`")?;
        let span = self.token_span();
        let length = self.number("a length in bits")?;
        if length == 0 || length > MAX_RAW_BITS {
            return self.fail(
                Diagnostic::error("bad-length", format!("{length} bits can't be read from a packet"))
                    .at(span, format!("between 1 and {MAX_RAW_BITS}")),
            );
        }
        match u32::try_from(offset) {
            Ok(offset) => Ok((offset, length as u32)),
            Err(_) => self.number_too_large(),
        }
    }

    /// `@nh,offset,length`.
    pub(super) fn raw_payload(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        self.expect(Kind::At, "`@`")?;
        let base = self.expect_one_of("a header: `ll`, `nh`, `th` or `ih`", &["ll", "nh", "th", "ih"])?;
        let (offset, length) = self.raw_range()?;
        let kind = ExprKind::RawPayload(Box::new(RawPayload { base, offset, length }));
        Ok(Expr { span: self.span_from(start), kind })
    }

    /// After the name of an IPv6 extension header.
    fn extension(&mut self, protocol: &str, fields: &'static [HeaderField]) -> Parsed<ExprKind> {
        let word = self.word();
        if matches!((protocol, word), ("rt0", "addr") | ("srh", "sid")) {
            self.bump();
            self.expect(Kind::LBracket, "`[`")?;
            let span = self.token_span();
            let index = self.number("an index from 1")?;
            self.expect(Kind::RBracket, "`]`")?;
            return match names::field(fields, &format!("{word}[{index}]")) {
                Some(field) => Ok(ExprKind::Exthdr(field)),
                None => self.fail(
                    Diagnostic::error("number-too-large", format!("`{word}[{index}]` can't be read"))
                        .at(span, "between 1 and 16"),
                ),
            };
        }
        match names::field(fields, word) {
            Some(field) => {
                self.bump();
                Ok(ExprKind::Exthdr(field))
            }
            None => {
                let known: Vec<&'static str> = fields.iter().map(|field| field.name).collect();
                self.unknown_word(&format!("a field of `{protocol}`"), &known)
            }
        }
    }

    /// After `rt`: the routing header, or the route.
    fn rt(&mut self) -> Parsed<ExprKind> {
        let family = match self.word() {
            "ip" => Some(Family::Ip),
            "ip6" => Some(Family::Ip6),
            _ => None,
        };
        if family.is_some() {
            self.bump();
        }
        if let Some(key) = names::word(names::RT_KEYS, self.word()) {
            self.bump();
            return Ok(ExprKind::Rt { key, family });
        }
        match names::extension("rt") {
            Some(fields) if family.is_none() => self.extension("rt", fields),
            _ => self.unknown_word("a key of `rt`", names::RT_KEYS),
        }
    }

    /// After `ct`.
    fn ct(&mut self) -> Parsed<ExprKind> {
        let direction = match self.word() {
            "original" => Some(Direction::Original),
            "reply" => Some(Direction::Reply),
            _ => None,
        };
        if direction.is_none() {
            let key = self.expect_one_of("a key of `ct`", names::CT_KEYS)?;
            return Ok(ExprKind::Ct { key, direction });
        }
        self.bump();
        let word = self.word();
        let key = if matches!(word, "ip" | "ip6") {
            let key = names::word(names::CT_DIRECTION_KEYS, &format!("{word} {}", self.peek_second().1));
            self.bump();
            key
        } else {
            names::word(names::CT_DIRECTION_KEYS, word)
        };
        match key {
            Some(key) => {
                self.bump();
                Ok(ExprKind::Ct { key, direction })
            }
            None => self.unknown_word("a key of `ct` with a direction", names::CT_DIRECTION_KEYS),
        }
    }

    /// After `ipsec`.
    fn ipsec(&mut self) -> Parsed<ExprKind> {
        let direction = self.expect_one_of("`in` or `out`", &["in", "out"])?;
        let mut spnum = 0;
        if self.eat_word("spnum") {
            let span = self.token_span();
            spnum = self.number("a number")?;
            if spnum > 255 {
                return self.fail(
                    Diagnostic::error("number-too-large", "`spnum` is too large").at(span, "at most 255"),
                );
            }
        }
        let word = self.word();
        let key = if matches!(word, "ip" | "ip6") {
            let key = names::word(names::IPSEC_KEYS, &format!("{word} {}", self.peek_second().1));
            self.bump();
            key
        } else {
            names::word(names::IPSEC_KEYS, word)
        };
        match key {
            Some(key) => {
                self.bump();
                Ok(ExprKind::Ipsec(Box::new(Ipsec { direction, spnum, key })))
            }
            None => self.unknown_word("a key of `ipsec`", names::IPSEC_KEYS),
        }
    }

    /// After `fib`.
    fn fib(&mut self) -> Parsed<ExprKind> {
        let start = self.token.start;
        let mut selectors = Vec::new();
        loop {
            let selector = self.expect_one_of("a selector of `fib`", names::FIB_SELECTORS)?;
            if !selectors.contains(&selector) {
                selectors.push(selector);
            }
            if !self.eat(Kind::Dot) {
                break;
            }
        }
        let span = self.span_from(start);
        let has = |name| selectors.contains(&name);
        let wrong = if has("saddr") == has("daddr") {
            Some("`fib` needs either `saddr` or `daddr`")
        } else if has("iif") && has("oif") {
            Some("`fib` takes either `iif` or `oif`")
        } else {
            None
        };
        if let Some(message) = wrong {
            return self.fail(
                Diagnostic::error("bad-fib", message)
                    .at(span, "exactly one of them")
                    .help("write one of them"),
            );
        }
        let result = self.expect_one_of("a result of `fib`", names::FIB_RESULTS)?;
        Ok(ExprKind::Fib(Box::new(Fib { selectors, result })))
    }
}

fn header_option(header: OptionHeader, option: Box<str>, field: Option<&'static str>) -> ExprKind {
    ExprKind::HeaderOption(Box::new(HeaderOption { header, option, field, raw: None }))
}
