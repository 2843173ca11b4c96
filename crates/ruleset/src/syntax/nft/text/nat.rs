//! Statements that send a packet elsewhere: address translation, proxies, queues, copies.

use super::super::ast::*;
use super::expressions::Mode;
use super::lexer::Kind;
use super::parser::{Parsed, Parser};
use firewarden_diagnostic::Diagnostic;

impl<'p> Parser<'_, '_, 'p> {
    /// `ip` or `ip6`, where `to` or another word of the statement follows.
    fn family_before(&mut self, follow: &[&str]) -> Option<Family> {
        let family = match self.word() {
            "ip" => Family::Ip,
            "ip6" => Family::Ip6,
            _ => return None,
        };
        if !follow.contains(&self.peek_second().1) {
            return None;
        }
        self.bump();
        Some(family)
    }

    /// `snat` and `dnat`.
    pub(super) fn nat(&mut self) -> Parsed<Nat> {
        let kind = if self.word() == "snat" { NatKind::Snat } else { NatKind::Dnat };
        let mut nat = empty(kind);
        self.bump();
        nat.family = self.family_before(&["to", "addr", "prefix", "interval"]);
        match self.word() {
            "addr" => {
                self.bump();
                self.expect(Kind::Dot, "`. port`")?;
                self.expect_word("port")?;
                nat.addr_port = true;
            }
            "prefix" => {
                self.bump();
                nat.prefix = true;
            }
            "interval" => self.bump(),
            _ => {}
        }
        let to = self.eat_word("to");
        if !to && (nat.family.is_some() || nat.addr_port || nat.prefix) {
            return self.expected("`to`");
        }
        if !self.at(Kind::Colon) {
            nat.address = Some(self.statement_expr()?);
        }
        if self.eat(Kind::Colon) {
            nat.port = Some(self.statement_expr()?);
        }
        self.nat_flags(&mut nat)?;
        Ok(nat)
    }

    /// `masquerade` and `redirect`.
    pub(super) fn nat_to_self(&mut self) -> Parsed<Nat> {
        let kind = if self.word() == "redirect" { NatKind::Redirect } else { NatKind::Masquerade };
        let mut nat = empty(kind);
        self.bump();
        if self.eat_word("to") {
            if !self.eat(Kind::Colon) && kind == NatKind::Masquerade {
                return self.expected("`:` and a port");
            }
            nat.port = Some(self.statement_expr()?);
        }
        self.nat_flags(&mut nat)?;
        Ok(nat)
    }

    fn nat_flags(&mut self, nat: &mut Nat) -> Parsed<()> {
        if !matches!(self.word(), "random" | "fully-random" | "persistent") {
            return Ok(());
        }
        loop {
            match self.word() {
                "random" => nat.random = true,
                "fully-random" => nat.fully_random = true,
                "persistent" => nat.persistent = true,
                _ => {
                    return self
                        .unknown_word("a flag of a translation", &["random", "fully-random", "persistent"]);
                }
            }
            self.bump();
            if !self.eat(Kind::Comma) {
                return Ok(());
            }
        }
    }

    pub(super) fn tproxy(&mut self) -> Parsed<Tproxy> {
        self.bump();
        let family = self.family_before(&["to"]);
        self.expect_word("to")?;
        let mut tproxy = Tproxy { family, address: None, port: None };
        if !self.at(Kind::Colon) {
            tproxy.address = Some(self.statement_expr()?);
        }
        if self.eat(Kind::Colon) {
            tproxy.port = Some(self.statement_expr()?);
        }
        Ok(tproxy)
    }

    /// `dup` and `fwd`.
    pub(super) fn redirection(&mut self) -> Parsed<StatementKind> {
        let fwd = self.word() == "fwd";
        self.bump();
        let family = if fwd { self.family_before(&["to"]) } else { None };
        self.expect_word("to")?;
        let to = self.statement_expr()?;
        let mut statement = Redirection { family, address: None, device: None };
        if fwd && family.is_none() {
            statement.device = Some(to);
            return Ok(StatementKind::Fwd(Box::new(statement)));
        }
        statement.address = Some(to);
        if fwd {
            self.expect_word("device")?;
            statement.device = Some(self.statement_expr()?);
            return Ok(StatementKind::Fwd(Box::new(statement)));
        }
        if self.eat_word("device") {
            statement.device = Some(self.statement_expr()?);
        }
        Ok(StatementKind::Dup(Box::new(statement)))
    }

    pub(super) fn queue(&mut self) -> Parsed<Queue> {
        self.bump();
        let mut queue = Queue { number: None, bypass: false, fanout: false };
        loop {
            match self.word() {
                "flags" => {
                    self.bump();
                    self.queue_flags(&mut queue)?;
                }
                "bypass" | "fanout" => self.queue_flags(&mut queue)?,
                "num" => {
                    self.bump();
                    queue.number = Some(self.queue_numbers()?);
                }
                "to" => {
                    self.bump();
                    queue.number = Some(self.queue_target()?);
                }
                _ => return Ok(queue),
            }
        }
    }

    fn queue_flags(&mut self, queue: &mut Queue) -> Parsed<()> {
        loop {
            match self.word() {
                "bypass" => queue.bypass = true,
                "fanout" => queue.fanout = true,
                _ => return self.unknown_word("a flag of `queue`", &["bypass", "fanout"]),
            }
            self.bump();
            if !self.eat(Kind::Comma) {
                return Ok(());
            }
        }
    }

    /// A number, or a range of them.
    fn queue_numbers(&mut self) -> Parsed<Expr> {
        if !matches!(self.token.kind, Kind::Number | Kind::Dollar) {
            return self.expected("the number of a queue");
        }
        self.range(Mode::Value)
    }

    /// A number, a range of them, `numgen`, a hash, or a map lookup.
    fn queue_target(&mut self) -> Parsed<Expr> {
        if matches!(self.token.kind, Kind::Number | Kind::Dollar) {
            return self.range(Mode::Value);
        }
        let expr = self.statement_expr()?;
        match expr.kind {
            ExprKind::Numgen(_) | ExprKind::Hash(_) | ExprKind::Map(_) => Ok(expr),
            _ => self.fail(
                Diagnostic::error("syntax", "this does not give the number of a queue")
                    .at(expr.span, "expected a number, `numgen`, a hash, or a map")
                    .help("look the number up in a map, for example `queue to oifname map { ... }`"),
            ),
        }
    }
}

fn empty(kind: NatKind) -> Nat {
    Nat {
        kind,
        family: None,
        address: None,
        port: None,
        addr_port: false,
        prefix: false,
        random: false,
        fully_random: false,
        persistent: false,
    }
}
