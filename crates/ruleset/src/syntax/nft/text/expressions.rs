//! Expressions: operators, values, ranges, concatenations, lists.

use super::super::ast::*;
use super::super::names;
use super::lexer::{self, Kind};
use super::mistakes;
use super::parser::{Parsed, Parser};
use firewarden_diagnostic::Diagnostic;
use std::net::Ipv6Addr;

/// Which expressions may stand somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Left of a test: something about the packet.
    Selector,
    /// Right of a test, and in sets: constants.
    Value,
    /// What a statement writes: either.
    Statement,
}

/// How strongly an operator binds; higher is stronger.
fn binding(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::Xor => 2,
        BinaryOp::And => 3,
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => 4,
    }
}

impl<'p> Parser<'_, '_, 'p> {
    fn binary_op(&self) -> Option<BinaryOp> {
        match self.token.kind {
            Kind::Ampersand => Some(BinaryOp::And),
            Kind::Pipe => Some(BinaryOp::Or),
            Kind::Caret => Some(BinaryOp::Xor),
            Kind::ShiftLeft => Some(BinaryOp::ShiftLeft),
            Kind::ShiftRight => Some(BinaryOp::ShiftRight),
            Kind::Word => match self.token_text() {
                "and" => Some(BinaryOp::And),
                "or" => Some(BinaryOp::Or),
                "xor" => Some(BinaryOp::Xor),
                "lshift" => Some(BinaryOp::ShiftLeft),
                "rshift" => Some(BinaryOp::ShiftRight),
                _ => None,
            },
            _ => None,
        }
    }

    /// Operators and their operands: no ranges, no concatenation.
    pub(super) fn basic(&mut self, mode: Mode) -> Parsed<Expr> {
        let first = self.primary(mode)?;
        if self.binary_op().is_none() {
            return Ok(first);
        }
        let operand = if mode == Mode::Selector { Mode::Value } else { mode };
        self.binary(first, operand, 1)
    }

    /// Goes on after `left` with operators that bind at least as strongly as `least`.
    fn binary(&mut self, mut left: Expr, mode: Mode, least: u8) -> Parsed<Expr> {
        // A chain of n operators is a tree of depth n, so each counts as a level.
        let mut levels = 0;
        let result = loop {
            let Some(op) = self.binary_op().filter(|op| binding(*op) >= least) else {
                break Ok(left);
            };
            self.bump();
            if let Err(abort) = self.enter() {
                break Err(abort);
            }
            levels += 1;
            let right = match self.primary(mode) {
                Ok(right) => right,
                Err(abort) => break Err(abort),
            };
            let right = match self.binary_op() {
                Some(next) if binding(next) > binding(op) => {
                    match self.binary(right, mode, binding(op) + 1) {
                        Ok(right) => right,
                        Err(abort) => break Err(abort),
                    }
                }
                _ => right,
            };
            let span = left.span.to(right.span);
            left = Expr { span, kind: ExprKind::Binary(Box::new(Binary { op, left, right })) };
        };
        for _ in 0..levels {
            self.leave();
        }
        result
    }

    fn primary(&mut self, mode: Mode) -> Parsed<Expr> {
        match self.token.kind {
            Kind::Word if mode != Mode::Value => {
                if let Some(expr) = self.selector(mode)? {
                    return Ok(expr);
                }
                if mode == Mode::Selector { self.unknown_selector() } else { self.literal(mode) }
            }
            Kind::At if mode != Mode::Value => self.raw_payload(),
            Kind::LParen => {
                let start = self.token.start;
                self.bump();
                let mut expr = self.nested(|parser| parser.basic(mode))?;
                self.expect(Kind::RParen, "`)`")?;
                expr.span = self.span_from(start);
                Ok(expr)
            }
            _ if mode == Mode::Selector => {
                self.refuse_glued()?;
                self.expected("something about the packet, such as `ip saddr`")
            }
            _ => self.literal(mode),
        }
    }

    /// A constant or a variable.
    fn literal(&mut self, mode: Mode) -> Parsed<Expr> {
        let text = self.token_text();
        let kind = match self.token.kind {
            Kind::Ipv4 => Some(ExprKind::Ipv4(self.token.address.to_be_bytes())),
            // Of more than 64 bits, as raw payload may have: kept as written.
            Kind::Number => Some(
                lexer::parse_number(text).map_or_else(|| ExprKind::Symbol(text.into()), ExprKind::Number),
            ),
            Kind::Word => match text {
                "exists" => Some(ExprKind::Bool(true)),
                "missing" => Some(ExprKind::Bool(false)),
                _ if names::reserved(text) => None,
                _ => Some(ExprKind::Symbol(text.into())),
            },
            Kind::Quoted => Some(ExprKind::String(self.unquoted().into())),
            Kind::StarWord => Some(ExprKind::String(text.into())),
            Kind::Time | Kind::ClassId => Some(ExprKind::Symbol(text.into())),
            Kind::Ipv6 => {
                let address = text.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>();
                address.ok().map(|address| ExprKind::Ipv6(address.octets()))
            }
            Kind::Mac => lexer::parse_mac(text).map(ExprKind::Mac),
            Kind::Dollar => return self.variable(),
            _ => None,
        };
        match kind {
            Some(kind) => {
                let span = self.token_span();
                self.bump();
                Ok(Expr { span, kind })
            }
            None if mode == Mode::Statement => self.expected("a value or an expression"),
            None => self.expected("a value"),
        }
    }

    /// A basic expression, or a prefix or range of them.
    pub(super) fn range(&mut self, mode: Mode) -> Parsed<Expr> {
        let low = self.basic(mode)?;
        self.range_from(low, mode)
    }

    /// Goes on after `low` with a prefix length or the end of a range.
    fn range_from(&mut self, low: Expr, mode: Mode) -> Parsed<Expr> {
        match self.token.kind {
            Kind::Slash if self.lexer.byte_ahead().is_ascii_digit() => {
                self.bump();
                if self.at(Kind::Ipv4) {
                    let mistake = mistakes::netmask(self.token_text(), self.token_span());
                    return self.fail(mistake);
                }
                let length = self.number("the length of a prefix")?;
                let span = low.span.to(self.span(self.end, self.end));
                let Ok(length) = u8::try_from(length) else {
                    return self.fail(
                        Diagnostic::error("bad-prefix", format!("`/{length}` is longer than any address"))
                            .at(span, "at most 32 for IPv4, 128 for IPv6")
                            .help("correct the length of the prefix"),
                    );
                };
                Ok(Expr { span, kind: ExprKind::Prefix(Box::new(low), length) })
            }
            Kind::Dash => {
                self.bump();
                let high = self.basic(mode)?;
                let span = low.span.to(high.span);
                Ok(Expr { span, kind: ExprKind::Range(Box::new([low, high])) })
            }
            _ => Ok(low),
        }
    }

    /// Goes on after `first` with `. b . c`.
    fn concat(&mut self, first: Expr, next: &mut dyn FnMut(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        if !self.at(Kind::Dot) {
            return Ok(first);
        }
        let mut span = first.span;
        let mut parts = vec![first];
        while self.eat(Kind::Dot) {
            let part = next(self)?;
            span = span.to(part.span);
            parts.push(part);
        }
        Ok(Expr { span, kind: ExprKind::Concat(parts.into()) })
    }

    /// Goes on after the first part of a key that a statement takes.
    pub(super) fn concat_statement(&mut self, first: Expr) -> Parsed<Expr> {
        self.concat(first, &mut |parser| parser.basic(Mode::Statement))
    }

    /// Left of a test, or the key of a map or set statement. After the first part, constants may stand between the
    /// others (`ip saddr . 80 @set`).
    pub(super) fn selector_concat(&mut self) -> Parsed<Expr> {
        let first = self.basic(Mode::Selector)?;
        self.concat(first, &mut |parser| match parser.token.kind {
            Kind::Word | Kind::At | Kind::LParen => parser.basic(Mode::Selector),
            _ => parser.range(Mode::Value),
        })
    }

    /// A constant: value, prefix or range, or a concatenation of these.
    pub(super) fn value_concat(&mut self) -> Parsed<Expr> {
        // Most constants are a single token: find that out before asking for every operator.
        let first = match self.token.kind {
            Kind::Number | Kind::Ipv4 | Kind::Word | Kind::Quoted => self.literal(Mode::Value)?,
            _ => self.primary(Mode::Value)?,
        };
        let first = match self.token.kind {
            Kind::Newline | Kind::Comma | Kind::RBrace | Kind::Colon | Kind::Semicolon => return Ok(first),
            Kind::Slash | Kind::Dash => self.range_from(first, Mode::Value)?,
            _ if self.binary_op().is_none() => first,
            _ => {
                let low = self.binary(first, Mode::Value, 1)?;
                self.range_from(low, Mode::Value)?
            }
        };
        self.concat(first, &mut |parser| parser.range(Mode::Value))
    }

    /// What a `define` gives: a value, list, set, or a negative number.
    pub(super) fn initializer(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        match self.token.kind {
            Kind::LBrace => self.set_literal(),
            Kind::At => self.set_ref(),
            Kind::Dash if self.peek_second().0 == Kind::Number => {
                self.bump();
                let number = self.number("a number")?;
                let kind = ExprKind::Symbol(format!("-{number}").into());
                Ok(Expr { span: self.span_from(start), kind })
            }
            _ => {
                let first = self.value_concat()?;
                self.list(first)
            }
        }
    }

    /// Goes on after `first` with `, b, c`.
    fn list(&mut self, first: Expr) -> Parsed<Expr> {
        if !self.at(Kind::Comma) {
            return Ok(first);
        }
        let mut span = first.span;
        let mut parts = vec![first];
        while self.eat(Kind::Comma) {
            let part = self.range(Mode::Value)?;
            span = span.to(part.span);
            parts.push(part);
        }
        Ok(Expr { span, kind: ExprKind::List(parts.into()) })
    }

    /// The right side of a test.
    pub(super) fn test_value(&mut self) -> Parsed<Expr> {
        match self.token.kind {
            Kind::LBrace => return self.set_literal(),
            Kind::At => return self.set_ref(),
            _ => {}
        }
        let first = self.value_concat()?;
        let value = self.list(first)?;
        if !self.eat(Kind::Slash) {
            return Ok(value);
        }
        let first = self.basic(Mode::Value)?;
        let mask = self.list(first)?;
        let span = value.span.to(mask.span);
        Ok(Expr { span, kind: ExprKind::Masked(Box::new([value, mask])) })
    }

    /// The operator of a test; [`Operator::Implicit`] where there is none.
    pub(super) fn operator(&mut self) -> Operator {
        let op = match self.token.kind {
            Kind::EqEq => Operator::Eq,
            Kind::Ne => Operator::Ne,
            Kind::Lt => Operator::Lt,
            Kind::Le => Operator::Le,
            Kind::Gt => Operator::Gt,
            Kind::Ge => Operator::Ge,
            Kind::Not => Operator::Not,
            Kind::Word => match self.token_text() {
                "eq" => Operator::Eq,
                "ne" => Operator::Ne,
                "lt" => Operator::Lt,
                "le" => Operator::Le,
                "gt" => Operator::Gt,
                "ge" => Operator::Ge,
                "not" => Operator::Not,
                _ => return Operator::Implicit,
            },
            _ => return Operator::Implicit,
        };
        self.bump();
        op
    }

    /// What a statement takes: an expression about the packet or a constant, a range, prefix, concatenation, a map
    /// lookup.
    pub(super) fn statement_expr(&mut self) -> Parsed<Expr> {
        let first = self.range(Mode::Statement)?;
        let key = self.concat(first, &mut |parser| parser.range(Mode::Statement))?;
        if self.word() != "map" {
            return Ok(key);
        }
        let lookup = self.map_lookup(key)?;
        let span = lookup.key.span.to(lookup.map.span);
        Ok(Expr { span, kind: ExprKind::Map(Box::new(lookup)) })
    }

    /// Like [`Parser::statement_expr`], or words with commas between them (`ct event set new,related`).
    pub(super) fn statement_list(&mut self) -> Parsed<Expr> {
        let first = self.statement_expr()?;
        if !self.at(Kind::Comma) {
            return Ok(first);
        }
        let mut span = first.span;
        let mut parts = vec![first];
        while self.eat(Kind::Comma) {
            let part = self.literal(Mode::Statement)?;
            span = span.to(part.span);
            parts.push(part);
        }
        Ok(Expr { span, kind: ExprKind::List(parts.into()) })
    }

    /// After the key: `map` or `vmap`, and a set, a reference or a variable.
    pub(super) fn map_lookup(&mut self, key: Expr) -> Parsed<MapLookup> {
        self.bump();
        let map = match self.token.kind {
            Kind::LBrace => self.set_literal()?,
            Kind::At => self.set_ref()?,
            Kind::Dollar => self.variable()?,
            _ => return self.expected("`{` or a map such as `@name`"),
        };
        Ok(MapLookup { key, map })
    }

    /// `@name`.
    pub(super) fn set_ref(&mut self) -> Parsed<Expr> {
        let start = self.token.start;
        let name = self.set_name()?;
        Ok(Expr { span: self.span_from(start), kind: ExprKind::SetRef(name.text) })
    }

    /// `@name`, as a name.
    pub(super) fn set_name(&mut self) -> Parsed<Name> {
        self.expect(Kind::At, "`@` and the name of a set")?;
        self.name("the name of a set")
    }
}
