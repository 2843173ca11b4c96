//! Rules: one after the other, statement by statement.

use super::Lowerer;
use super::context::{Context, range_test};
use super::linear::Linear;
use super::selector::{Need, Place, Selector, Site, selector};
use super::value::{Fail, Want, constant};
use crate::ir::{ChainId, Family, Hook, Rule, Statement};
use crate::syntax::nft::ast::{self, BinaryOp, Expr, ExprKind};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, IntervalSet, ct_state};

/// A rule while it is lowered.
pub(super) struct RuleContext {
    /// The index of its table.
    pub(super) table: usize,
    /// What is known of the packet so far.
    pub(super) protocols: Context,
    /// The hook, in a base chain.
    pub(super) hook: Option<Hook>,
    /// What came out so far.
    pub(super) out: Vec<Statement>,
    /// The statement after which nothing else can be.
    pub(super) ended: Option<Span>,
}

/// The left side of a test: an expression about the packet with masks and shifts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) selector: Selector,
    pub(super) linear: Linear,
}

impl RuleContext {
    pub(super) fn site(&self) -> Site {
        Site {
            family: self.protocols.family,
            hook: self.hook,
            network: self.protocols.network,
            transport: self.protocols.transport,
        }
    }

    /// Adds the tests that reading a selector needs. Without a connection, what is asked about one has no value and ends the
    /// rule (nft_ct_get_eval); of known fields engine and interpreter see to that, of unknown ones a test does.
    pub(super) fn require_selector(
        &mut self,
        selector: &Selector,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        self.require(selector.need, span)?;
        if matches!(selector.place, Place::Unknown { kind: "connection", .. }) {
            let tracked = IntervalSet::range(ct_state::ESTABLISHED, ct_state::NEW);
            self.out.push(range_test(Field::CT_STATE, tracked));
        }
        Ok(())
    }

    /// Adds the tests of protocols that an expression needs.
    pub(super) fn require(&mut self, need: Need, span: Span) -> Result<(), Box<Diagnostic>> {
        self.protocols.require(need, span, &mut self.out)
    }

    /// Reads an expression about the packet; `None` where it isn't one.
    pub(super) fn left(&self, expr: &Expr) -> Result<Option<Left>, Fail> {
        left_of(expr, &self.site(), None)
    }

    /// The same for a value that is written to a wider word.
    pub(super) fn left_widened(&self, expr: &Expr, bits: u32) -> Result<Option<Left>, Fail> {
        left_of(expr, &self.site(), Some(bits))
    }
}

fn left_of(expr: &Expr, site: &Site, bits: Option<u32>) -> Result<Option<Left>, Fail> {
    let resolved = expr.resolved();
    let ExprKind::Binary(binary) = &resolved.kind else {
        return Ok(selector(resolved, site)?.map(|selector| {
            let linear = Linear::identity(selector.bits);
            Left { selector, linear: bits.map_or(linear, |bits| linear.widened(bits)) }
        }));
    };
    let Some(mut left) = left_of(&binary.left, site, bits)? else { return Ok(None) };
    match binary.op {
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => {
            let count = constant(&binary.right, Want { ty: super::types::Type::Integer, bits: 32 })?;
            let count = i32::try_from(count).unwrap_or(128).min(128);
            let by = if binary.op == BinaryOp::ShiftLeft { count } else { -count };
            left.linear = left.linear.shifted(by);
        }
        _ => {
            let width = bits.unwrap_or(left.selector.bits).max(left.selector.bits);
            let want = Want { ty: left.selector.ty, bits: width };
            let value = match constant(&binary.right, want) {
                // A mask may be given as a number for every type.
                Err(Fail::Invalid(_)) => {
                    constant(&binary.right, Want { ty: super::types::Type::Integer, bits: width })?
                }
                other => other?,
            };
            left.linear = left.linear.then(binary.op, value);
        }
    }
    Ok(Some(left))
}

impl Lowerer<'_, '_> {
    /// Lowers the rules of a chain.
    pub(super) fn lower_rules<'r>(
        &mut self,
        table: usize,
        chain: ChainId,
        rules: impl ExactSizeIterator<Item = &'r ast::Rule>,
    ) -> Vec<Rule> {
        let mut lowered = Vec::with_capacity(rules.len());
        for rule in rules {
            lowered.push(self.lower_rule(table, chain, rule));
        }
        lowered
    }

    /// The same, but gives the memory of each rule's syntax back before the next one is lowered: a ruleset's syntax and
    /// its representation are both several times its text, and are never there at the same time.
    pub(super) fn consume_rules<'r>(
        &mut self,
        table: usize,
        chain: ChainId,
        rules: impl ExactSizeIterator<Item = &'r mut ast::Rule>,
    ) -> Vec<Rule> {
        let mut lowered = Vec::with_capacity(rules.len());
        for rule in rules {
            lowered.push(self.lower_rule(table, chain, rule));
            rule.statements = Vec::new();
        }
        lowered
    }

    fn lower_rule(&mut self, table: usize, chain: ChainId, rule: &ast::Rule) -> Rule {
        let family = self.tables.get(table).map_or(Family::Inet, |info| info.family);
        let base = self.out.chain(chain).and_then(|chain| chain.base.as_ref());
        let mut cx = RuleContext {
            table,
            protocols: Context::new(family),
            hook: base.map(|base| base.hook),
            out: std::mem::take(&mut self.scratch),
            ended: None,
        };
        for (index, statement) in rule.statements.iter().enumerate() {
            if let Some(ended) = cx.ended {
                self.diagnostics.push(
                    Diagnostic::error("statement-after-end", "this statement is never reached")
                        .at(statement.span, "")
                        .see(ended, "the rule ends here")
                        .help("put it before the statement that ends the rule"),
                );
                break;
            }
            let last = index + 1 == rule.statements.len();
            let result = self.statement(&mut cx, statement, last);
            if let Err(fail) = result {
                self.failed(&mut cx, statement, fail);
            }
        }
        // One allocation of the right size; the buffer serves the next rule.
        let statements = cx.out.drain(..).collect();
        self.scratch = cx.out;
        Rule { statements, span: rule.span, handle: rule.handle.unwrap_or(0), comment: rule.comment.clone() }
    }

    /// Reports why something couldn't be lowered. True where there is nothing to report.
    pub(super) fn report_fail(&mut self, result: Result<(), Fail>) -> bool {
        match result {
            Ok(()) => true,
            Err(Fail::Invalid(diagnostic)) => {
                self.diagnostics.push(*diagnostic);
                false
            }
            Err(Fail::Unmodelled) => false,
        }
    }
}
