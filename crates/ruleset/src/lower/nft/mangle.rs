//! Statements that write marks and header fields.

use super::Lowerer;
use super::rule::RuleContext;
use super::selector::{Place, selector};
use super::types::Type;
use super::value::{Fail, Want, constant, invalid, kind_name};
use crate::ir::{Family, Hook, Neutral, Statement, Value};
use crate::syntax::nft::ast::{Expr, ExprKind, Mangle};
use firewarden_packet::Field;

impl Lowerer<'_, '_> {
    /// Lowers `target set value`.
    pub(super) fn mangle(&mut self, cx: &mut RuleContext, mangle: &Mangle) -> Result<(), Fail> {
        let target = mangle.target.resolved();
        let want = self.mangle_target(cx, target)?;
        if matches!(mangle.value.resolved().kind, ExprKind::Set(_) | ExprKind::SetRef(_)) {
            return invalid(
                "single-value-expected",
                mangle.value.span,
                "a set can't be written into a packet",
                "give one value, or a map: `ip saddr map { … }`",
            );
        }
        let place = selector(target, &cx.site())?.map(|found| found.place);
        let value = self.mangle_value(cx, &mangle.value, want)?;
        match place {
            Some(Place::Field { field, mask: u128::MAX }) if is_writable(field) => {
                cx.out.push(Statement::Assign { field, value });
            }
            Some(Place::Field { field, .. }) if is_writable(field) => {
                let forgotten = self.forget(target);
                cx.out.push(forgotten);
            }
            // Checksums, options, queueing priorities, labels: nothing that a rule of the model reads.
            _ => {
                if let Value::Map { key, map, .. } = value {
                    // Without an entry the rule ends.
                    if let Some(set) = self.keys_of(map) {
                        cx.out.push(Statement::Test(crate::ir::Test::Lookup { key, set, negated: false }));
                    }
                }
                cx.out.push(Statement::Neutral(Neutral::Other));
            }
        }
        Ok(())
    }

    fn mangle_target(&mut self, cx: &mut RuleContext, target: &Expr) -> Result<Want, Fail> {
        if let ExprKind::Inner(_) = target.kind {
            return invalid(
                "read-only",
                target.span,
                "packets inside a tunnel can't be changed",
                "remove the statement",
            );
        }
        if let ExprKind::Meta("broute") = target.kind
            && (cx.protocols.family != Family::Bridge || cx.hook.is_some_and(|hook| hook != Hook::Prerouting))
        {
            return invalid(
                "wrong-hook",
                target.span,
                "`meta broute` can be set on the prerouting hook of bridge tables only",
                "move the rule there",
            );
        }
        let Some(found) = selector(target, &cx.site())? else {
            return invalid(
                "read-only",
                target.span,
                format!("{} can't be set", kind_name(&target.kind)),
                "set a mark or a header field",
            );
        };
        cx.require(found.need, target.span)?;
        if let ExprKind::Ct { key: "zone", .. } = target.kind {
            return Ok(Want { ty: Type::Integer, bits: 16 });
        }
        Ok(Want { ty: found.ty, bits: found.bits })
    }

    fn mangle_value(&mut self, cx: &mut RuleContext, expr: &Expr, want: Want) -> Result<Value, Fail> {
        match &expr.resolved().kind {
            ExprKind::Map(_) => self.nat_value(cx, expr, want),
            ExprKind::List(_) if want.ty.is_flags() => Ok(Value::Const(constant(expr, want)?)),
            ExprKind::Range(_) | ExprKind::Prefix(..) => invalid(
                "single-value-expected",
                expr.span,
                "a range can't be written into a packet",
                "give one value",
            ),
            _ => match self.packet_value(cx, expr, want)? {
                Some(value) => Ok(value),
                None => match constant(expr, want) {
                    Ok(value) => Ok(Value::Const(value)),
                    Err(Fail::Unmodelled) => self.nat_value(cx, expr, want),
                    Err(other) => Err(other),
                },
            },
        }
    }
}

/// Fields that a statement may write.
fn is_writable(field: Field) -> bool {
    matches!(
        field,
        Field::MARK
            | Field::CT_MARK
            | Field::TTL
            | Field::DSCP
            | Field::ECN
            | Field::SADDR
            | Field::DADDR
            | Field::SPORT
            | Field::DPORT
            | Field::TCP_FLAGS
            | Field::ICMP_TYPE
            | Field::ICMP_CODE
            | Field::L4PROTO
            | Field::ETHER_SADDR
            | Field::ETHER_DADDR
            | Field::PKTTYPE
            | Field::FRAGMENT_OFFSET
    )
}
