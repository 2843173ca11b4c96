//! Whether anything waits for a packet where it arrives, as far as a snapshot tells.

use super::prove::Prover;
use super::replay::{Ending, Replay};
use super::route::Lane;
use crate::intent::{Claim, Question};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_network::{Host, HostId};
use firewarden_packet::{Dim, Field, Point};
use std::collections::BTreeSet;

/// A port of a host that nothing listens on: `tcp/7070`. `None` where something does, where nobody looked, and for packets
/// without ports.
pub(crate) fn deaf_port(host: &Host, arrived: &Point) -> Option<String> {
    let listening = host.listening.as_ref()?;
    let protocol = u8::try_from(arrived.get(Field::L4PROTO)).ok()?;
    let word = match protocol {
        6 => "tcp",
        17 => "udp",
        _ => return None,
    };
    let port = u16::try_from(arrived.get(Field::DPORT)).ok()?;
    let (nfproto, address) = (arrived.get(Field::NFPROTO), arrived.get(Field::DADDR));
    let heard = listening.iter().any(|socket| socket.takes(protocol, nfproto, address, port));
    (!heard).then(|| format!("{word}/{port}"))
}

/// Warnings about single ports that an intent lets packets reach and that nothing listens on. The rules are as intended;
/// the service isn't there.
pub(super) fn unheard(
    prover: &Prover<'_>,
    question: &Question,
    lanes: &[Lane],
    intent: Span,
    told: &mut BTreeSet<(HostId, String)>,
) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let looked_at = prover.model.hosts.iter().any(|host| host.listening.is_some());
    if question.claim != Claim::Arrives || !looked_at {
        return warnings;
    }
    let replay = Replay { hosts: prover.model.hosts, atoms: prover.atoms };
    for part in prover.parts(question, lanes) {
        let single =
            matches!(part.region.dim(Field::DPORT, prover.atoms), Dim::Range(low, high) if low == high);
        if !single {
            continue;
        }
        let packet = Point::in_box(&part.region, &prover.preferred(&part.region));
        let trip = replay.send(&packet, &part.path);
        let Ending::Delivered(id) = trip.ending else { continue };
        let Some(host) = prover.model.hosts.get(id.0) else { continue };
        let Some(port) = deaf_port(host, &trip.last) else { continue };
        if !told.insert((id, port.clone())) {
            continue;
        }
        let message =
            format!("nothing listens on {port} of `{}`, where packets of this intent arrive", host.name);
        warnings.push(
            Diagnostic::warning("not-listening", message)
                .at(intent, "")
                .because("the snapshot lists the sockets that were open when it was taken")
                .help("start the service, or correct the intent's port"),
        );
    }
    warnings
}
