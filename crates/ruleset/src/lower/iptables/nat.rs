//! DNAT, SNAT, MASQUERADE, REDIRECT, NETMAP.

use super::Lowerer;
use super::rule::RuleContext;
use crate::ir::{Nat, NatAddress, NatDirection, Statement, Value};
use crate::syntax::iptables::args::{self, Address, Network};
use firewarden_diagnostic::Diagnostic;
use firewarden_packet::{Field, Purity};

/// Hooks at which NETMAP translates the source: input and postrouting.
const SOURCE_HOOKS: u8 = 2 | 16;

fn number(address: Address) -> u128 {
    match address {
        Address::V4(address) => address.into(),
        Address::V6(address) => address,
    }
}

impl Lowerer<'_, '_> {
    pub(super) fn nat(&mut self, context: &mut RuleContext<'_, '_>, name: &'static str, instance: u8) {
        if name == "NETMAP" {
            self.netmap(context, instance);
            return;
        }
        let text = context.text(instance);
        let target = context.get(instance, "to-destination").or(context.get(instance, "to-source"));
        let to = target.and_then(|option| args::nat_to(&context.value(option)));
        let own_ports = context
            .get(instance, "to-ports")
            .and_then(|option| args::nat_ports(&context.value(option), false));
        let ports = own_ports.or(to.and_then(|to| to.ports));
        let mut unknown_address = None;
        let (direction, address) = match name {
            "MASQUERADE" => {
                unknown_address = Some(self.own_address("masquerade address", context.v6()));
                (NatDirection::Source, NatAddress::OfOutputInterface)
            }
            "REDIRECT" => {
                unknown_address = Some(self.own_address("redirect address", context.v6()));
                (NatDirection::Destination, NatAddress::ThisHost)
            }
            _ => {
                let address = match to.and_then(|to| to.addresses) {
                    None => NatAddress::Keep,
                    Some((low, high)) if low == high => NatAddress::To(Value::Const(number(low))),
                    Some((low, high)) => {
                        NatAddress::To(self.choice("nat address", &text, (number(low), number(high))))
                    }
                };
                (if name == "SNAT" { NatDirection::Source } else { NatDirection::Destination }, address)
            }
        };
        let random = ["random", "random-fully"].iter().any(|name| context.get(instance, name).is_some());
        let port = match ports {
            Some((low, high, None)) if low == high => Some(Value::Const(low.into())),
            Some((low, high, _)) => Some(self.choice("nat port", &text, (low.into(), high.into()))),
            None if random && direction == NatDirection::Source => {
                Some(self.choice("nat port", &text, (1, 0xFFFF)))
            }
            None => None,
        };
        let nfproto = Some(if context.v6() { 10 } else { 2 });
        context.push(Statement::Nat(Box::new(Nat { direction, address, port, nfproto, unknown_address })));
    }

    /// A value that the kernel chooses for this rule.
    fn choice(&mut self, kind: &str, text: &str, domain: (u128, u128)) -> Value {
        Value::Choice(self.atoms.choice(self.scope, kind, text, Purity::Stateful, domain))
    }

    /// The host's own address, which the interface tells and not the rule: one for all rules, under the name that it has
    /// for rules of nft, so that the same rule in both languages means the same.
    fn own_address(&mut self, kind: &str, v6: bool) -> Field {
        let (family, max) = if v6 { ("IPv6", u128::MAX) } else { ("IPv4", u32::MAX.into()) };
        self.atoms.choice(self.scope, kind, &format!("{kind} ({family})"), Purity::Pure, (0, max))
    }

    /// Puts a prefix in place of another: of the source after routing, of the destination before it.
    fn netmap(&mut self, context: &mut RuleContext<'_, '_>, instance: u8) {
        let network = context.get(instance, "to").map(|option| context.value(option)).unwrap_or_default();
        let (address, mask) = match args::network(&network) {
            Some(Network::V4(address, mask)) => (u128::from(address), u128::from(mask)),
            Some(Network::V6(address, mask)) => (address, mask),
            _ => return,
        };
        let source = context.hooks & SOURCE_HOOKS != 0;
        if source && context.hooks & !SOURCE_HOOKS != 0 {
            let span = context.span;
            self.diagnostics.push(
                Diagnostic::warning(
                    "netmap-direction",
                    "the rule maps sources or destinations, depending on the way to its chain",
                )
                .at(span, "reached from both sides of routing")
                .help("use a chain for each side"),
            );
            let text = context.text(instance);
            let atom = self.atom("netmap", &text, Purity::Stateful);
            context.opaque_verdict(atom);
            return;
        }
        let (direction, field) = if source {
            (NatDirection::Source, Field::SADDR)
        } else {
            (NatDirection::Destination, Field::DADDR)
        };
        let keep = context.address_max() & !mask;
        let value = if keep == 0 {
            Value::Const(address)
        } else {
            Value::Mix { terms: Box::new([(field, keep)]), xor: Box::new(address) }
        };
        let nfproto = Some(if context.v6() { 10 } else { 2 });
        context.push(Statement::Nat(Box::new(Nat {
            direction,
            address: NatAddress::To(value),
            port: None,
            nfproto,
            unknown_address: None,
        })));
    }
}
