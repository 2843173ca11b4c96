//! Address translation: what a nat rule does to the first packet, and the connection tracking to the others.

use crate::flow::{Flow, Origin};
use crate::hook::{Engine, direction_of};
use firewarden_packet::{Dim, Field, InterfaceName, IntervalSet, ct_state, ct_status, fib_type};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::ir::{Hook, Nat, NatAddress, NatDirection, Value};

/// What became of a nat statement.
pub(crate) enum Translated {
    /// The packet is translated, or was found to need no change.
    Done,
    /// A map had no entry, or the packet is of the other family: the rule ends.
    NoEntry,
}

/// Protocols whose first four bytes are ports (tcp, udp, dccp, sctp, udplite).
fn has_ports() -> IntervalSet {
    [6, 17, 33, 132, 136].into_iter().map(|protocol| (protocol, protocol)).collect()
}

/// 127.0.0.1 and ::1.
fn loopback(nfproto: u128) -> u128 {
    if nfproto == 2 { 0x7F00_0001 } else { 1 }
}

impl Engine<'_> {
    /// Translates the first packet of a connection.
    pub(crate) fn translate(&self, nat: &Nat, flow: &mut Flow<'_>, around: &dyn Surroundings) -> Translated {
        let nfproto = flow.now().get(Field::NFPROTO);
        if nat.nfproto.is_some_and(|wanted| wanted != nfproto) {
            return Translated::NoEntry;
        }
        let (address, port) = match nat.direction {
            NatDirection::Source => (Field::SADDR, Field::SPORT),
            NatDirection::Destination => (Field::DADDR, Field::DPORT),
        };
        let new_address = match &nat.address {
            NatAddress::Keep => None,
            NatAddress::To(value) => match self.value(address, value, flow) {
                Some(origin) => Some(origin),
                None => return Translated::NoEntry,
            },
            NatAddress::OfOutputInterface => {
                Some(interface_address(nat, flow, around, Field::OIFNAME, nfproto))
            }
            NatAddress::ThisHost if flow.now().get(Field::IIFNAME) == 0 => {
                flow.hold(Field::IIFNAME);
                Some(Origin::constant(loopback(nfproto)))
            }
            NatAddress::ThisHost => {
                let unknown = if nfproto == 10 { redirected_within_scope(nat, flow) } else { None };
                Some(unknown.unwrap_or_else(|| interface_address(nat, flow, around, Field::IIFNAME, nfproto)))
            }
        };
        let ports = has_ports();
        let new_port = match &nat.port {
            None => None,
            Some(value) => {
                let (low, high) = ports.stretch(flow.now().get(Field::L4PROTO));
                flow.restrict(Field::L4PROTO, Dim::Range(low, high));
                if ports.contains(flow.now().get(Field::L4PROTO)) {
                    match self.value(port, value, flow) {
                        Some(origin) => Some(origin),
                        None => return Translated::NoEntry,
                    }
                } else {
                    None
                }
            }
        };
        let bit = match nat.direction {
            NatDirection::Source => ct_status::SNAT,
            NatDirection::Destination => ct_status::DNAT,
        };
        let mut changed = false;
        for (field, origin) in [(address, new_address), (port, new_port)] {
            if let Some(origin) = origin {
                // Telling whether an address that isn't known differs from the packet's own cuts packets into many small
                // parts, so it is asked only for a bit that somebody looks at.
                if self.status_asked & bit != 0 {
                    changed = keep_change(flow, field, &origin, changed);
                }
                flow.put(field, origin);
            }
        }
        if changed {
            flow.set_bits(Field::CT_STATUS, bit);
        }
        match nat.direction {
            NatDirection::Source => {
                flow.source_done = true;
                if !matches!(nat.address, NatAddress::Keep) {
                    learn_type(Field::SADDR, flow, around);
                }
            }
            NatDirection::Destination => {
                flow.destination_done = true;
                flow.destination_chosen = matches!(nat.address, NatAddress::To(Value::Choice(_)));
                if nat.address == NatAddress::ThisHost {
                    flow.redirected = true;
                    flow.put_value(Field::FIB_DADDR_TYPE, fib_type::LOCAL);
                } else if !matches!(nat.address, NatAddress::Keep) {
                    learn_type(Field::DADDR, flow, around);
                }
            }
        }
        Translated::Done
    }
}

/// Cuts the region so that the field changes, or doesn't, for all of its packets as it does for the point; only needed
/// until some field is known to change. Returns whether the tuple changes so far.
fn keep_change(flow: &mut Flow<'_>, field: Field, new: &Origin, changed: bool) -> bool {
    let old = flow.now().get(field);
    if changed || flow.take(field).always_differs(new) {
        return true;
    }
    if flow.take(field) == *new {
        return false;
    }
    if old == new.value() {
        // Equal only at some packets: this one stands for those with these very values.
        flow.hold(field);
        flow.hold_origin(field, new);
        return false;
    }
    if new.is_constant() {
        let (low, high) = IntervalSet::single(new.value()).stretch(old);
        flow.restrict(field, Dim::Range(low, high));
    } else if !flow.part_from_image(field, new) {
        flow.hold(field);
        flow.exclude_value(field, new, old);
    }
    true
}

/// Where an IPv6 packet is redirected that goes to an address of narrower scope than global (loopback, link-local and
/// site-local, multicast): to one of the interface's addresses of that scope, which are unknown.
fn redirected_within_scope(nat: &Nat, flow: &mut Flow<'_>) -> Option<Origin> {
    let choice = nat.unknown_address?;
    let narrow: IntervalSet = [(1, 1), (0xfe80 << 112, u128::MAX)].into_iter().collect();
    let destination = flow.now().get(Field::DADDR);
    let (low, high) = narrow.stretch(destination);
    flow.restrict(Field::DADDR, Dim::Range(low, high));
    narrow.contains(destination).then(|| flow.choice(choice))
}

fn interface_address(
    nat: &Nat,
    flow: &mut Flow<'_>,
    around: &dyn Surroundings,
    interface: Field,
    nfproto: u128,
) -> Origin {
    let name = InterfaceName(flow.now().get(interface));
    match around.interface_address(name, nfproto) {
        Some(address) => {
            flow.hold(interface);
            Origin::constant(address)
        }
        None => match nat.unknown_address {
            Some(choice) => flow.choice(choice),
            // Without a name for the unknown, the packet keeps its address; lowering always gives one.
            None => flow.take(if interface == Field::OIFNAME { Field::SADDR } else { Field::DADDR }),
        },
    }
}

/// After an address was written: its type in the routing table, as far as the host's addresses are known.
pub(crate) fn learn_type(written: Field, flow: &mut Flow<'_>, around: &dyn Surroundings) {
    let of_type = match written {
        Field::SADDR => Field::FIB_SADDR_TYPE,
        Field::DADDR => Field::FIB_DADDR_TYPE,
        _ => return,
    };
    let nfproto = flow.now().get(Field::NFPROTO);
    if let Some((kind, (low, high))) = around.address_type(nfproto, flow.now().get(written)) {
        flow.restrict(written, Dim::Range(low, high));
        flow.put_value(of_type, kind);
    }
}

impl Flow<'_> {
    /// What the connection tracking does on this hook to packets of a connection that exists already.
    pub(crate) fn translate_established(&mut self, hook: Hook, around: &dyn Surroundings) {
        let state = self.now().get(Field::CT_STATE);
        if state != ct_state::ESTABLISHED && state != ct_state::RELATED {
            return;
        }
        let (end, address, port) = match (hook, direction_of(hook)) {
            (Hook::Forward | Hook::Ingress | Hook::Egress, _) => return,
            (_, NatDirection::Source) => (self.translation.source.clone(), Field::SADDR, Field::SPORT),
            (_, NatDirection::Destination) => {
                (self.translation.destination.clone(), Field::DADDR, Field::DPORT)
            }
        };
        let Some(end) = end else { return };
        self.put(address, end.address);
        self.put(port, end.port);
        if address == Field::DADDR {
            learn_type(Field::DADDR, self, around);
        }
    }
}
