//! Targets that change marks and header fields.

use super::Lowerer;
use super::matches::dscp;
use super::rule::RuleContext;
use crate::ir::{Neutral, Statement, Value};
use crate::syntax::iptables::args;
use firewarden_packet::{Field, Purity, tcp_flag};

const MARK_MAX: u64 = u32::MAX as u64;

/// `(field & keep) ^ flip`.
fn mix(field: Field, keep: u128, flip: u128) -> Value {
    if keep == 0 {
        Value::Const(flip)
    } else {
        Value::Mix { terms: Box::new([(field, keep)]), xor: Box::new(flip) }
    }
}

/// The mask and value of the `set-xmark` that a mark option stands for.
fn xmark(name: &str, value: u64, mask: Option<u64>) -> (u128, u128) {
    let (mask, value) = match name {
        "set-xmark" => (mask.unwrap_or(MARK_MAX), value),
        "set-mark" => (mask.unwrap_or(MARK_MAX) | value, value),
        "and-mark" => (MARK_MAX & !value, 0),
        "or-mark" => (value, value),
        // xor-mark.
        _ => (0, value),
    };
    (mask.into(), value.into())
}

impl Lowerer<'_, '_> {
    /// MARK and CONNMARK.
    pub(super) fn mark_target(&mut self, context: &mut RuleContext<'_, '_>, name: &str, instance: u8) {
        let field = if name == "MARK" { Field::MARK } else { Field::CT_MARK };
        let full = u128::from(u32::MAX);
        if field == Field::CT_MARK {
            // Without a connection the target does nothing.
            super::conntrack::tracked(context);
        }
        if ["left-shift-mark", "right-shift-mark"].iter().any(|name| context.get(instance, name).is_some()) {
            // No value of the representation moves bits to other places.
            let restores = context.get(instance, "restore-mark").is_some();
            self.anything(context, instance, &[if restores { Field::MARK } else { Field::CT_MARK }]);
            return;
        }
        let masked = |context: &RuleContext<'_, '_>, name: &str| {
            let option = context.get(instance, name).or(context.get(instance, "mask"));
            option.and_then(|option| args::number(&context.value(option), MARK_MAX)).map_or(full, u128::from)
        };
        for option in context.of(instance) {
            match option.name() {
                "save-mark" | "restore-mark" => {
                    let (packet_mask, connection_mask) =
                        (masked(context, "nfmask"), masked(context, "ctmask"));
                    let save = option.name() == "save-mark";
                    let (to, from, clear, take) = if save {
                        (Field::CT_MARK, Field::MARK, connection_mask, packet_mask)
                    } else {
                        (Field::MARK, Field::CT_MARK, packet_mask, connection_mask)
                    };
                    let terms = [(to, full & !clear), (from, take)]
                        .into_iter()
                        .filter(|(_, mask)| *mask != 0)
                        .collect();
                    context
                        .push(Statement::Assign { field: to, value: Value::Mix { terms, xor: Box::new(0) } });
                }
                "nfmask" | "ctmask" | "mask" => {}
                name => {
                    let Some((value, mask)) = args::masked(&context.value(option), MARK_MAX) else {
                        continue;
                    };
                    let (mask, value) = xmark(name, value, mask);
                    context.push(Statement::Assign { field, value: mix(field, full & !mask, value) });
                }
            }
        }
    }

    /// The mark that TPROXY sets.
    pub(super) fn tproxy_mark(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let Some(option) = context.get(instance, "tproxy-mark") else { return };
        let Some((value, mask)) = args::masked(&context.value(option), MARK_MAX) else { return };
        let keep = u128::from(u32::MAX) & !u128::from(mask.unwrap_or(MARK_MAX));
        context.push(Statement::Assign { field: Field::MARK, value: mix(Field::MARK, keep, value.into()) });
    }

    /// DSCP, TOS, TTL, HL, ECN, HMARK, SNPT, DNPT.
    pub(super) fn header(&mut self, context: &mut RuleContext<'_, '_>, name: &str, instance: u8) {
        match name {
            "DSCP" => {
                for option in context.of(instance) {
                    let value = Value::Const(dscp(option.name(), &context.value(option)).into());
                    context.push(Statement::Assign { field: Field::DSCP, value });
                }
            }
            "TOS" => tos(context, instance),
            "TTL" | "HL" => {
                for option in context.of(instance) {
                    if option.name().ends_with("-set") {
                        let value = Value::Const(
                            args::number(&context.value(option), 255).unwrap_or_default().into(),
                        );
                        context.push(Statement::Assign { field: Field::TTL, value });
                    } else {
                        self.anything(context, instance, &[Field::TTL]);
                    }
                }
            }
            "ECN" if context.get(instance, "ecn-tcp-remove").is_some() => {
                let keep = Field::TCP_FLAGS.max_value() & !(tcp_flag::ECN | tcp_flag::CWR);
                let value = mix(Field::TCP_FLAGS, keep, 0);
                context.push(Statement::Assign { field: Field::TCP_FLAGS, value });
            }
            "ECN" => self.anything(context, instance, &[Field::TCP_FLAGS, Field::ECN]),
            "HMARK" => self.anything(context, instance, &[Field::MARK]),
            "SNPT" => self.anything(context, instance, &[Field::SADDR]),
            _ => self.anything(context, instance, &[Field::DADDR]),
        }
    }

    /// Fields that may have any value afterwards.
    fn anything(&mut self, context: &mut RuleContext<'_, '_>, instance: u8, fields: &[Field]) {
        let text = context.text(instance);
        let mut choices = Vec::with_capacity(fields.len());
        for &field in fields {
            let max = if field.width() == 128 { context.address_max() } else { field.max_value() };
            let kind = format!("new {}", field.name());
            choices.push((field, self.atoms.choice(self.scope, &kind, &text, Purity::Stateful, (0, max))));
        }
        context.push(Statement::Opaque { fields: choices });
    }

    /// Adding to and deleting from sets changes what later packets find there; `--map-set` takes marks from a set.
    pub(super) fn set_target(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        if context.get(instance, "map-mark").is_some() {
            self.anything(context, instance, &[Field::MARK]);
        } else {
            context.push(Statement::Neutral(Neutral::Other));
        }
    }
}

/// TOS writes the bits of DSCP and of ECN.
fn tos(context: &mut RuleContext<'_, '_>, instance: u8) {
    for option in context.of(instance) {
        let text = context.value(option);
        let number = args::number(&text, 255).unwrap_or_default() as u8;
        let (mask, value) = match option.name() {
            "set-tos" => args::tos(&text).map_or((0, 0), |(value, mask)| (mask, value)),
            "and-tos" => (!number, 0),
            "or-tos" => (number, number),
            _ => (0, number),
        };
        for (field, shift, full) in [(Field::DSCP, 2, 63u8), (Field::ECN, 0, 3)] {
            let (mask, value) = (mask >> shift & full, value >> shift & full);
            if mask != 0 || value != 0 {
                let value = mix(field, (full & !mask).into(), value.into());
                context.push(Statement::Assign { field, value });
            }
        }
    }
}
