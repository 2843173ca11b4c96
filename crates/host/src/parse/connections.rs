//! Connections, as `ss -Htun` and conntrack list them.

use super::sockets::protocol;
use super::words::{number, socket};
use super::{Read, lines};
use firewarden_network::{Connection, ConnectionPlace, Listener};
use std::net::IpAddr;

/// Connected sockets, from `ss -Htun`. A connection to a port that the host listens on came in, any other went out.
pub fn established(listing: &str, listening: &[Listener]) -> Read<Connection> {
    let read = lines(listing, "a socket", |line| {
        let mut words = line.split_ascii_whitespace();
        let protocol = protocol(words.next()?)?;
        let state = words.next()?;
        let (own, peer) = (socket(words.nth(2)?)?, socket(words.next()?)?);
        if state != "ESTAB" {
            return Some(None);
        }
        let ((nfproto, own_address), (_, peer_address)) = (own.address?, peer.address?);
        let (own_port, peer_port) = (own.port?, peer.port?);
        let came_in = listening.iter().any(|socket| socket.takes(protocol, nfproto, own_address, own_port));
        let (own, peer) = ((own_address, own_port), (peer_address, peer_port));
        Some(Some(Connection {
            nfproto,
            protocol,
            source: if came_in { peer } else { own },
            destination: if came_in { own } else { peer },
            answered: None,
            place: if came_in { ConnectionPlace::Incoming } else { ConnectionPlace::Outgoing },
        }))
    });
    Read { values: read.values.into_iter().flatten().collect(), unread: read.unread }
}

/// Connections that the kernel tracks, from `conntrack -L` or `/proc/net/nf_conntrack`. Those of protocols without ports
/// (ICMP, GRE) are left out, and so are TCP connections that aren't open.
pub fn conntrack(listing: &str) -> Read<Connection> {
    let read = lines(listing, "a tracked connection", |line| {
        // The file begins with `ipv4 2`, the program doesn't.
        let mut words = line.split_ascii_whitespace().peekable();
        if words.peek().is_some_and(|word| word.starts_with("ipv")) {
            words.next();
            words.next();
        }
        let name = words.next()?;
        let values = |wanted: &str| -> Vec<&str> {
            line.split_ascii_whitespace()
                .filter_map(|word| word.split_once('=').filter(|(key, _)| *key == wanted))
                .map(|(_, value)| value)
                .collect()
        };
        let (sources, destinations) = (values("src"), values("dst"));
        let ([source, answer_source], [destination, answer_destination]) =
            (sources.as_slice(), destinations.as_slice())
        else {
            return None;
        };
        let address = |text: &str| text.parse::<IpAddr>().ok().map(number);
        let (nfproto, source) = address(source)?;
        let (_, destination) = address(destination)?;
        let ((_, answer_source), (_, answer_destination)) =
            (address(answer_source)?, address(answer_destination)?);
        let (source_ports, destination_ports) = (values("sport"), values("dport"));
        let ([source_port, answer_source_port], [destination_port, answer_destination_port]) =
            (source_ports.as_slice(), destination_ports.as_slice())
        else {
            return Some(None);
        };
        let closed = ["TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "FIN_WAIT", "SYN_SENT", "SYN_RECV"];
        if name == "tcp" && line.split_ascii_whitespace().any(|word| closed.contains(&word)) {
            return Some(None);
        }
        let Some(protocol) = protocol(name) else { return Some(None) };
        Some(Some(Connection {
            nfproto,
            protocol,
            source: (source, source_port.parse().ok()?),
            destination: (destination, destination_port.parse().ok()?),
            answered: Some((
                (answer_source, answer_source_port.parse().ok()?),
                (answer_destination, answer_destination_port.parse().ok()?),
            )),
            place: ConnectionPlace::Tracked,
        }))
    });
    Read { values: read.values.into_iter().flatten().collect(), unread: read.unread }
}

#[cfg(test)]
mod tests {
    use super::super::listening;
    use super::*;

    #[test]
    fn who_began_a_connection() {
        let listening = listening("tcp LISTEN 0 5 *:5432 *:*\n").values;
        let read = established(
            "tcp ESTAB 0 0 10.0.3.30:5432 10.0.2.20:41000\n\
             tcp ESTAB 0 0 [::ffff:10.0.3.30]:5432 [::ffff:10.0.2.21]:41001\n\
             tcp TIME-WAIT 0 0 10.0.3.30:5432 10.0.2.20:41002\n\
             tcp ESTAB 0 0 [2001:db8::30]:50000 [2001:db8::1]:443\n",
            &listening,
        );
        assert_eq!(read.unread, []);
        let (first, second, third) = (read.values[0], read.values[1], read.values[2]);
        assert_eq!((first.source, first.destination), ((0x0A00_0214, 41000), (0x0A00_031E, 5432)));
        assert_eq!(first.place, ConnectionPlace::Incoming);
        assert_eq!((second.nfproto, second.source), (2, (0x0A00_0215, 41001)));
        assert_eq!((third.place, third.destination.1), (ConnectionPlace::Outgoing, 443));
        assert_eq!(read.values.len(), 3);
    }

    #[test]
    fn connections_of_conntrack() {
        let read = conntrack(
            "ipv4     2 tcp      6 431999 ESTABLISHED src=198.51.100.7 dst=203.0.113.1 sport=40000 dport=443 \
             src=10.0.1.10 dst=198.51.100.7 sport=8443 dport=40000 [ASSURED] mark=0 use=1\n\
             udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=53000 dport=53 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=53 dport=53000 mark=0 use=1\n\
             icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=0 use=1\n\
             tcp      6 100 TIME_WAIT src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 use=1\n\
             gre      47 src=broken\n",
        );
        assert_eq!(read.values.len(), 2);
        assert_eq!(read.unread.len(), 1);
        let web = read.values[0];
        assert_eq!(web.destination, (0xCB00_7101, 443));
        assert_eq!(web.answered, Some(((0x0A00_010A, 8443), (0xC633_6407, 40000))));
    }
}
