//! Targets that decide, and the way to those that change packets.

use super::Lowerer;
use super::rule::RuleContext;
use crate::ir::{Neutral, RejectWith, Statement, Verdict};
use crate::syntax::iptables::{Kind, names};
use firewarden_diagnostic::Diagnostic;
use firewarden_packet::Purity;

impl Lowerer<'_, '_> {
    /// The target of a rule; a rule without one only counts.
    pub(super) fn target(&mut self, context: &mut RuleContext<'_, '_>) {
        let goes = context
            .options
            .iter()
            .find(|option| option.instance == 0 && matches!(option.name(), "jump" | "goto"));
        let Some(goes) = goes else { return };
        let loading = context.options.iter().find(|option| {
            option.instance > 0 && option.spec.is_none() && option.module.kind == Kind::Target
        });
        if let Some(loading) = loading {
            self.extension(context, loading.module.name, loading.instance);
            return;
        }
        let name = context.value(goes);
        let verdict = match &*name {
            "ACCEPT" => Verdict::Accept,
            "DROP" => Verdict::Drop,
            "RETURN" => Verdict::Return,
            other => match context.table.chains.get(other) {
                Some(&chain) if goes.name() == "goto" => Verdict::Goto(chain),
                Some(&chain) => Verdict::Jump(chain),
                None => {
                    let kind = if other == "QUEUE" { "queue" } else { "unknown target" };
                    let atom = self.atom(kind, &format!("-j {other}"), Purity::Stateful);
                    Verdict::Opaque { atom }
                }
            },
        };
        context.push(Statement::Verdict(verdict));
    }

    fn extension(&mut self, context: &mut RuleContext<'_, '_>, name: &'static str, instance: u8) {
        match name {
            "REJECT" => {
                let reset = context
                    .get(instance, "reject-with")
                    .and_then(|option| names::reject(&context.value(option)))
                    .is_some_and(|(reset, _)| reset);
                let with = if reset { RejectWith::TcpReset } else { RejectWith::Icmp };
                context.push(Statement::Verdict(Verdict::Reject(with)));
            }
            "LOG" | "NFLOG" | "ULOG" => context.push(Statement::Neutral(Neutral::Log)),
            "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => self.nat(context, name, instance),
            "MARK" | "CONNMARK" => self.mark_target(context, name, instance),
            "NOTRACK" => context.push(Statement::Notrack),
            "CT" => self.ct(context, instance),
            "DSCP" | "TOS" | "TTL" | "HL" | "ECN" | "HMARK" | "SNPT" | "DNPT" => {
                self.header(context, name, instance)
            }
            "SET" => self.set_target(context, instance),
            "TRACE" | "AUDIT" | "CHECKSUM" | "TCPMSS" | "TCPOPTSTRIP" | "CLASSIFY" | "SECMARK"
            | "CONNSECMARK" | "TEE" | "LED" | "IDLETIMER" | "RATEEST" => {
                context.push(Statement::Neutral(Neutral::Other))
            }
            "TPROXY" => {
                self.tproxy_mark(context, instance);
                self.undecided(context, name, instance);
            }
            _ => self.undecided(context, name, instance),
        }
    }

    /// NFQUEUE, SYNPROXY, CLUSTERIP and others: something outside of the rules decides.
    fn undecided(&mut self, context: &mut RuleContext<'_, '_>, name: &'static str, instance: u8) {
        let text = context.text(instance);
        let atom = self.atom(name, &text, Purity::Stateful);
        context.opaque_verdict(atom);
    }

    fn ct(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        if context.get(instance, "notrack").is_some() {
            context.push(Statement::Notrack);
            return;
        }
        if let Some(zone) = context.of(instance).find(|option| option.name().starts_with("zone")) {
            let span = context.table.save.span(zone.value);
            self.diagnostics.push(
                Diagnostic::warning("conntrack-zone", "connection tracking zones aren't modelled")
                    .at(span, "all zones count as one")
                    .help("check the rules of each zone by themselves"),
            );
        }
        context.push(Statement::Neutral(Neutral::Other));
    }
}
