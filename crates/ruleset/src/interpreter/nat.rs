//! Address translation.

use super::Interpreter;
use super::walk::{End, Walk};
use crate::Surroundings;
use crate::ir::{Hook, Nat, NatAddress, NatDirection, Value};
use firewarden_packet::{Field, InterfaceName, ct_state, ct_status, fib_type};

/// Protocols that have ports to translate: TCP, UDP, DCCP, SCTP, UDP-Lite. (An ICMP id is translated too; nothing
/// can ask for it.)
const WITH_PORTS: [u128; 5] = [6, 17, 33, 132, 136];

fn fields_of(direction: NatDirection) -> (Field, Field) {
    match direction {
        NatDirection::Source => (Field::SADDR, Field::SPORT),
        NatDirection::Destination => (Field::DADDR, Field::DPORT),
    }
}

/// IPv6 addresses that mean something on a link or site only: link-local, site-local, loopback, multicast.
fn is_of_narrow_scope(address: u128) -> bool {
    address == 1 || address >> 112 >= 0xfe80
}

impl Interpreter<'_> {
    /// Translates the first packet of a connection and settles this end of it. `None` where the rule ends: the packet
    /// is of another family, or a map has no entry for it.
    pub(super) fn translate(&self, nat: &Nat, walk: &mut Walk, around: &dyn Surroundings) -> Option<End> {
        let nfproto = walk.now.get(Field::NFPROTO);
        if nat.nfproto.is_some_and(|family| family != nfproto) {
            return None;
        }
        let (address_field, port_field) = fields_of(nat.direction);
        let old = End { address: walk.now.get(address_field), port: walk.now.get(port_field) };
        let address = match &nat.address {
            NatAddress::Keep => old.address,
            NatAddress::To(value) => self.value(value, walk)?,
            NatAddress::OfOutputInterface => {
                self.interface_address(nat, Field::OIFNAME, old.address, walk, around)
            }
            NatAddress::ThisHost if walk.now.get(Field::IIFNAME) == 0 => match nfproto {
                2 => u128::from(u32::from(std::net::Ipv4Addr::LOCALHOST)),
                _ => u128::from(std::net::Ipv6Addr::LOCALHOST),
            },
            // The kernel takes an address of the same scope, which nobody declares (nf_nat_redirect_ipv6).
            NatAddress::ThisHost if nfproto == 10 && is_of_narrow_scope(old.address) => {
                nat.unknown_address.map_or(old.address, |choice| self.choice(choice, walk))
            }
            NatAddress::ThisHost => self.interface_address(nat, Field::IIFNAME, old.address, walk, around),
        };
        let has_port = WITH_PORTS.contains(&walk.now.get(Field::L4PROTO));
        let port = match &nat.port {
            Some(value) if has_port => self.value(value, walk)?,
            _ => old.port,
        };
        let new = End { address, port };
        walk.now.set(address_field, new.address);
        walk.now.set(port_field, new.port);
        let bit = match nat.direction {
            NatDirection::Source => ct_status::SNAT,
            NatDirection::Destination => ct_status::DNAT,
        };
        if new != old {
            walk.now.set(Field::CT_STATUS, walk.now.get(Field::CT_STATUS) | bit);
        }
        match nat.direction {
            NatDirection::Source => walk.source_done = true,
            NatDirection::Destination => {
                walk.destination_done = true;
                walk.destination_chosen = matches!(nat.address, NatAddress::To(Value::Choice(_)));
            }
        }
        if nat.address == NatAddress::ThisHost {
            walk.redirected = true;
            walk.now.set(Field::FIB_DADDR_TYPE, fib_type::LOCAL);
        } else if nat.address != NatAddress::Keep {
            learn_types(address_field, walk, around);
        }
        Some(new)
    }

    fn interface_address(
        &self,
        nat: &Nat,
        interface: Field,
        present: u128,
        walk: &Walk,
        around: &dyn Surroundings,
    ) -> u128 {
        let name = InterfaceName(walk.now.get(interface));
        let known = around.interface_address(name, walk.now.get(Field::NFPROTO));
        known.or_else(|| nat.unknown_address.map(|choice| self.choice(choice, walk))).unwrap_or(present)
    }
}

/// After an address changed: its type in the routing table, where the host's addresses are known.
pub(super) fn learn_types(changed: Field, walk: &mut Walk, around: &dyn Surroundings) {
    let of_type = match changed {
        Field::SADDR => Field::FIB_SADDR_TYPE,
        Field::DADDR => Field::FIB_DADDR_TYPE,
        _ => return,
    };
    let address = walk.now.get(changed);
    if let Some((kind, _)) = around.address_type(walk.now.get(Field::NFPROTO), address) {
        walk.now.set(of_type, kind);
    }
}

/// Gives a packet of a connection that exists already its ends, as the connection tracking remembers them.
pub(super) fn follow_connection(hook: Hook, walk: &mut Walk, around: &dyn Surroundings) {
    let state = walk.now.get(Field::CT_STATE);
    if state != ct_state::ESTABLISHED && state != ct_state::RELATED {
        return;
    }
    let (direction, end) = match hook {
        Hook::Prerouting | Hook::Output => (NatDirection::Destination, walk.translation.destination),
        Hook::Input | Hook::Postrouting => (NatDirection::Source, walk.translation.source),
        Hook::Ingress | Hook::Forward | Hook::Egress => return,
    };
    if let Some(end) = end {
        let (address, port) = fields_of(direction);
        walk.now.set(address, end.address);
        walk.now.set(port, end.port);
        // Nobody asks for the type of a source that is put back in postrouting.
        if direction == NatDirection::Destination {
            learn_types(address, walk, around);
        }
    }
}
