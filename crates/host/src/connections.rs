//! Ends connections that are open: their entries of conntrack, so that rules see their next packet as one of a new connection,
//! and this host's own sockets.

use crate::program::{ProgramError, run};
use firewarden_network::{Connection, ConnectionPlace};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Entries of conntrack that are gone.
    pub tracked: usize,
    /// Sockets that are closed.
    pub sockets: usize,
    /// What couldn't be done, in sentences.
    pub problems: BTreeSet<String>,
}

/// Ends connections in the network namespace of the calling thread: two programs for each.
pub fn end(connections: &[Connection]) -> Ended {
    let mut ended = Ended::default();
    for connection in connections {
        match forget(connection) {
            Ok(true) => ended.tracked += 1,
            // Nobody tracks it, or it ended meanwhile.
            Ok(false) => {}
            Err(problem) => drop(ended.problems.insert(problem)),
        }
        match close(connection) {
            Ok(number) => ended.sockets += number,
            Err(problem) => drop(ended.problems.insert(problem)),
        }
    }
    ended
}

/// Deletes the entry of conntrack, by the addresses and ports of its first packet: conntrack(8).
fn forget(connection: &Connection) -> Result<bool, String> {
    let protocol = match connection.protocol {
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        132 => "sctp",
        other => {
            return Err(format!("connections of protocol {other} have no ports to name them by, and go on"));
        }
    };
    let (source, destination) =
        (address(connection.nfproto, connection.source), address(connection.nfproto, connection.destination));
    let family = if source.is_ipv4() { "ipv4" } else { "ipv6" };
    let (from, to) = (source.ip().to_string(), destination.ip().to_string());
    let (sport, dport) = (source.port().to_string(), destination.port().to_string());
    let arguments = [
        "-D",
        "-f",
        family,
        "-p",
        protocol,
        "--orig-src",
        &from,
        "--orig-dst",
        &to,
        "--orig-port-src",
        &sport,
        "--orig-port-dst",
        &dport,
    ];
    match run("conntrack", &arguments) {
        Ok(_) => Ok(true),
        Err(ProgramError::Failed { words, .. }) if words.contains(" 0 flow entries") => Ok(false),
        Err(ProgramError::Missing(_)) => {
            Err("there is no program `conntrack`, so tracked connections go on; install it (`conntrack`, `conntrack-tools`)".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Closes the host's own sockets of it: ss(8), `-K`. Gives how many.
fn close(connection: &Connection) -> Result<usize, String> {
    let flag = match connection.protocol {
        6 => "-t",
        17 => "-u",
        _ => return Ok(0),
    };
    let (own, peer) = match (connection.place, connection.answered) {
        (ConnectionPlace::Outgoing, _) => (connection.source, connection.destination),
        (ConnectionPlace::Incoming, Some((answers, to))) => (answers, to),
        (ConnectionPlace::Incoming, None) => (connection.destination, connection.source),
        (ConnectionPlace::Tracked, _) => return Ok(0),
    };
    let (own, peer) =
        (address(connection.nfproto, own).to_string(), address(connection.nfproto, peer).to_string());
    match run("ss", &["-K", "-H", "-n", flag, "src", &own, "dst", &peer]) {
        Ok(closed) => Ok(closed.lines().filter(|line| !line.trim().is_empty()).count()),
        Err(error) => Err(error.to_string()),
    }
}

fn address(nfproto: u128, (address, port): (u128, u16)) -> SocketAddr {
    let ip = match u32::try_from(address) {
        Ok(short) if nfproto == 2 => IpAddr::V4(Ipv4Addr::from(short)),
        _ => IpAddr::V6(Ipv6Addr::from(address)),
    };
    SocketAddr::new(ip, port)
}
