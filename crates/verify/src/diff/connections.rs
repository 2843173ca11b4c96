//! What a change does to the connections that a host has: which of them it cuts, by which rule.

use super::changed::Way;
use super::compare::Decider;
use super::cross::{Crossed, Ending};
use firewarden_network::{Connection, ConnectionPlace, Host};
use firewarden_packet::{AtomTable, Field, Point, ct_state, ct_status, tcp_flag};
use firewarden_ruleset::interpreter::{End, Translation};

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutConnection {
    /// The connection.
    pub connection: Connection,
    /// True where its packets don't pass any more; false where it goes on, but couldn't be opened again.
    pub now: bool,
    /// The rule that refuses.
    pub decider: Option<Decider>,
}

/// The connections of `connections` that pass before the change and not after it, or that couldn't be opened again. Each
/// is followed by the interpreter, as a first packet and as later packets in both directions: O(connections × rules).
pub fn cut_connections(
    before: &Host,
    after: &Host,
    connections: &[Connection],
    atoms: &AtomTable,
) -> Vec<CutConnection> {
    let sides = (Crossed::new(before), Crossed::new(after));
    let mut cut = Vec::new();
    for connection in connections {
        let later = |reply: bool| Packet::later(connection, before, reply);
        let first = Packet::first(connection, before);
        let lost = |packet: &Packet| -> Option<Option<Decider>> {
            let (was, _) = packet.follow(&sides.0, atoms);
            let (is, decider) = packet.follow(&sides.1, atoms);
            let passed = matches!(was, Ending::Passes(_));
            (passed && !matches!(is, Ending::Passes(_))).then_some(decider)
        };
        let now = lost(&later(false)).or_else(|| lost(&later(true)));
        let found = match now {
            Some(decider) => Some((true, decider)),
            None => lost(&first).map(|decider| (false, decider)),
        };
        if let Some((now, decider)) = found {
            cut.push(CutConnection { connection: *connection, now, decider });
        }
    }
    cut
}

/// A packet of a connection, as it comes to the host.
struct Packet {
    point: Point,
    way: Way,
    translation: Translation,
}

impl Packet {
    fn follow(&self, side: &Crossed<'_>, atoms: &AtomTable) -> (Ending, Option<Decider>) {
        side.replay_connection(self.way, &self.point, self.translation, atoms)
    }

    /// The packet that opened it.
    fn first(connection: &Connection, host: &Host) -> Packet {
        let mut packet = Packet::later(connection, host, false);
        packet.translation = Translation::default();
        packet.point.set(Field::CT_STATE, ct_state::NEW);
        packet.point.set(Field::CT_STATUS, 0);
        packet.point.set(Field::TCP_FLAGS, tcp_flag::SYN);
        packet
    }

    /// A packet of the connection as it is, in its first direction or as an answer.
    fn later(connection: &Connection, host: &Host, reply: bool) -> Packet {
        let (source, destination) = (connection.source, connection.destination);
        // Where nothing is translated, the answer comes from the destination and goes to the source.
        let (answers_from, answers_to) = connection.answered.unwrap_or((destination, source));
        let (from, to) = if reply { (answers_from, answers_to) } else { (source, destination) };
        let end = |(address, port): (u128, u16)| End { address, port: u128::from(port) };
        let translation = if reply {
            Translation {
                destination: (answers_to != source).then(|| end(source)),
                source: (answers_from != destination).then(|| end(destination)),
            }
        } else {
            Translation {
                destination: (answers_from != destination).then(|| end(answers_from)),
                source: (answers_to != source).then(|| end(answers_to)),
            }
        };
        let own = host.own(connection.nfproto);
        let leaves = match connection.place {
            ConnectionPlace::Outgoing => !reply,
            ConnectionPlace::Incoming => reply,
            ConnectionPlace::Tracked => own.contains(from.0),
        };
        let mut point = Point::default();
        for (field, value) in [
            (Field::NFPROTO, connection.nfproto),
            (Field::L4PROTO, u128::from(connection.protocol)),
            (Field::SADDR, from.0),
            (Field::SPORT, u128::from(from.1)),
            (Field::DADDR, to.0),
            (Field::DPORT, u128::from(to.1)),
            (Field::CT_STATE, ct_state::ESTABLISHED),
            (Field::CT_STATUS, status(&translation)),
            (Field::CT_DIRECTION, u128::from(reply)),
            (Field::TCP_FLAGS, tcp_flag::ACK),
            (Field::CT_ORIGINAL_SADDR, source.0),
            (Field::CT_ORIGINAL_SPORT, u128::from(source.1)),
            (Field::CT_ORIGINAL_DADDR, destination.0),
            (Field::CT_ORIGINAL_DPORT, u128::from(destination.1)),
        ] {
            point.set(field, value);
        }
        let device = |address: u128| {
            let found = host.interface_towards(connection.nfproto, address);
            found.map_or(UNKNOWN_DEVICE, |interface| interface.name.0)
        };
        let local = own.contains(from.0) && own.contains(to.0);
        let input = if local { loopback() } else { device(from.0) };
        point.set(Field::IIFNAME, if leaves { 0 } else { input });
        point.set(Field::OIFNAME, if local { loopback() } else { device(to.0) });
        Packet { point, way: if leaves { Way::Leaving } else { Way::Arriving }, translation }
    }
}

/// Some interface, where nothing is known of it.
const UNKNOWN_DEVICE: u128 = 1;

fn loopback() -> u128 {
    firewarden_packet::InterfaceName::new("lo").map_or(UNKNOWN_DEVICE, |name| name.0)
}

fn status(translation: &Translation) -> u128 {
    let mut status = ct_status::SEEN_REPLY | ct_status::ASSURED | ct_status::CONFIRMED;
    if translation.destination.is_some() {
        status |= ct_status::DNAT;
    }
    if translation.source.is_some() {
        status |= ct_status::SNAT;
    }
    status
}
