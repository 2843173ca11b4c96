//! Which intents a change of rules touches: those whose packets, or the answers to them, are among the packets that fare
//! differently. Their owners have to be told, whether or not a verdict changes.
//!
//! It errs on the side of telling: states of connections count only for answers, interfaces and names of sets not at all.

use crate::address::Family;
use crate::intent::{self, Addresses, Expectation, Resolved, arriving_boxes, resolve};
use crate::stack::{DeclaredIntent, StackFile};
use firewarden_packet::{Dim, Field, PacketBox, ct_state};

/// For each intent, whether it is touched by a change whose packets these are, as they are sent. Intents that can't be
/// resolved are taken to be touched. O(intents × their boxes × packets).
pub fn touched(intents: &[DeclaredIntent], stack: &StackFile, changed: &[PacketBox]) -> Vec<bool> {
    let names = intent::Names::new(stack);
    intents
        .iter()
        .map(|declared| match resolve(declared, &names) {
            Ok(resolved) => Family::BOTH.into_iter().any(|family| meets(&resolved, stack, family, changed)),
            Err(_) => true,
        })
        .collect()
}

fn meets(resolved: &Resolved, stack: &StackFile, family: Family, changed: &[PacketBox]) -> bool {
    let everyone = Addresses::of(intent::receivable);
    // Of `only`, those who mustn't are meant as well.
    let sources = match resolved.expectation {
        Expectation::Only => everyone,
        Expectation::Allow | Expectation::Deny => resolved.source.all(),
    };
    let destinations = resolved.destination.all();
    let hosts = stack.hosts.iter().enumerate();
    let published = Addresses::from_ips(
        hosts
            .filter(|(index, _)| resolved.destination.host(*index).is_some())
            .flat_map(|(_, host)| &host.published)
            .map(|address| &address.value),
    );
    let services = arriving_boxes(&resolved.services, family);
    // Whichever port it is that is translated to the service's.
    let translated: Vec<PacketBox> = services.iter().map(without_ports).collect();
    let between = |services: &[PacketBox], from: &Addresses, to: &Addresses| {
        changed.iter().any(|packets| {
            services.iter().filter_map(|service| packets.intersect(service)).any(|packets| {
                within(&packets, Field::SADDR, from, family) && within(&packets, Field::DADDR, to, family)
            })
        })
    };
    let answers: Vec<PacketBox> = services.iter().map(answering).collect();
    between(&services, &sources, &destinations)
        || between(&translated, &sources, &published)
        || between(&answers, &destinations, &sources)
}

/// Whether a box has packets with an address of these.
fn within(packets: &PacketBox, field: Field, addresses: &Addresses, family: Family) -> bool {
    addresses.get(family).ranges().iter().any(|(low, high)| match packets.get(field) {
        Some(dim) => dim.intersect(&Dim::Range(*low, *high)).is_some(),
        None => true,
    })
}

fn without_ports(packets: &PacketBox) -> PacketBox {
    let mut packets = packets.clone();
    packets.clear(Field::DPORT);
    packets
}

/// The packets that answer those of a service.
fn answering(service: &PacketBox) -> PacketBox {
    let mut packets = without_ports(service);
    if let Some(port) = service.get(Field::DPORT) {
        packets.set(Field::SPORT, *port);
    }
    packets.with(Field::CT_STATE, Dim::Range(ct_state::ESTABLISHED, ct_state::ESTABLISHED))
}
