//! The web stack as the model has it: which new connections come about, and what that is to its users.

use crate::commands::Stopped;
use crate::commands::examples;
use crate::commands::hosts::{self, Loaded};
use crate::load::{self, Texts};
use firewarden_diagnostic::Diagnostic;
use firewarden_packet::text;
use std::path::Path;

/// Users that make a request each.
pub const USERS: u32 = 1000;
/// One in so many of them has IPv6 and uses it.
pub const IPV6_EVERY: u32 = 5;
/// Source ports of Linux (`net.ipv4.ip_local_port_range`), and those of the load balancer, which has many connections.
const USUAL_PORTS: (u64, u64) = (32_768, 60_999);
const PROXY_PORTS: (u64, u64) = (1024, 65_535);

/// The application servers, over which the load balancer spreads requests in turn. A request goes on in the family in which
/// it came.
const SERVERS: [&str; 2] = ["10.0.2.20", "10.0.2.21"];
const SERVERS6: [&str; 2] = ["[2001:db8:0:1::20]", "[2001:db8:0:1::21]"];

/// What became of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It came about.
    About,
    /// Something answered that it won't.
    Refused,
    /// Nothing came back.
    Silent,
}

/// From where to where a new connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// A user's, over IPv4 or IPv6.
    Site { ipv6: bool, user: u32 },
    /// The load balancer's to one of the application servers.
    Server { ipv6: bool, server: usize },
    /// An application server's to the database.
    Database { ipv6: bool, server: usize },
}

/// One version of the web stack.
pub struct Site {
    loaded: Loaded,
}

impl Site {
    /// Loads a stack file among the texts.
    pub fn load(stack: &Path, texts: &Texts) -> Result<Site, Stopped> {
        let mut loaded = hosts::load(&examples::input(stack, texts))?;
        if load::has_errors(&loaded.files.diagnostics) {
            return Err(Stopped { diagnostics: loaded.files.diagnostics, sources: loaded.files.sources });
        }
        if let Some(stack) = &loaded.stack {
            firewarden_verify::complete_hosts(&mut loaded.hosts, stack, &stack.intents);
        }
        Ok(Site { loaded })
    }

    /// Has the model try a new connection: its first packet has to arrive, and the answer to come back.
    pub fn connects(&self, leg: Leg, ports: &mut Ports) -> Result<Came, Diagnostic> {
        let Loaded { files, atoms, stack: Some(stack), hosts, .. } = &self.loaded else {
            return Ok(Came::About);
        };
        let written = packet(leg, ports);
        let point = text::parse_with_atoms(&written, atoms).map_err(|error| {
            Diagnostic::error("packet-syntax", format!("`{written}`: {}", error.message)).help(error.help)
        })?;
        let sent = firewarden_verify::trace_stack(hosts, stack, &point, atoms, &files.sources);
        if !sent.accepted {
            return Ok(if sent.outcome.starts_with("rejected") { Came::Refused } else { Came::Silent });
        }
        let answer = firewarden_verify::answer(hosts, Some(stack), &point, atoms);
        Ok(match answer.last() {
            Some(last) if last.accepted => Came::About,
            _ => Came::Silent,
        })
    }

    /// How many of [`USERS`] get no answer to one request, each over new connections all the way.
    pub fn requests_failed(&self) -> Result<u32, Diagnostic> {
        let mut ports = Ports::default();
        let mut failed = 0;
        for user in 0..USERS {
            let server = user as usize % SERVERS.len();
            let ipv6 = user % IPV6_EVERY == IPV6_EVERY - 1;
            let way =
                [Leg::Site { ipv6, user }, Leg::Server { ipv6, server }, Leg::Database { ipv6, server }];
            for leg in way {
                if self.connects(leg, &mut ports)? != Came::About {
                    failed += 1;
                    break;
                }
            }
        }
        Ok(failed)
    }
}

/// The first packet of a connection, as `firewarden trace` reads it.
fn packet(leg: Leg, ports: &mut Ports) -> String {
    let server = |ipv6: bool, number: usize| {
        let servers = if ipv6 { SERVERS6 } else { SERVERS };
        servers.get(number % servers.len()).copied().unwrap_or_default()
    };
    match leg {
        Leg::Site { ipv6: false, user } => {
            let port = ports.next(USUAL_PORTS);
            format!("tcp 192.0.2.{}:{port} -> 203.0.113.1:443 in wan ct new", user % 254 + 1)
        }
        Leg::Site { ipv6: true, user } => {
            let port = ports.next(USUAL_PORTS);
            format!(
                "tcp [2001:db8:1000::{:x}]:{port} -> [2001:db8:0:1::10]:443 in wan ct new",
                user % 0xFFFF + 1
            )
        }
        Leg::Server { ipv6, server: number } => {
            let from = if ipv6 { "[2001:db8:0:1::10]" } else { "10.0.1.10" };
            format!("tcp {from}:{} -> {}:8080 ct new", ports.next(PROXY_PORTS), server(ipv6, number))
        }
        Leg::Database { ipv6, server: number } => {
            let to = if ipv6 { "[2001:db8:0:1::30]" } else { "10.0.3.30" };
            format!("tcp {}:{} -> {to}:5432 ct new", server(ipv6, number), ports.next(USUAL_PORTS))
        }
    }
}

/// Source ports in an order without order, the same in every run.
pub struct Ports(fastrand::Rng);

impl Default for Ports {
    fn default() -> Ports {
        Ports(fastrand::Rng::with_seed(1))
    }
}

impl Ports {
    fn next(&mut self, (low, high): (u64, u64)) -> u64 {
        self.0.u64(low..=high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::examples::{WEB_STACK, texts};

    fn failed(stack: &str) -> u32 {
        let Ok(site) = Site::load(Path::new(stack), &texts()) else { panic!("{stack} doesn't load") };
        site.requests_failed().unwrap()
    }

    #[test]
    fn users_see_of_the_outages_what_the_rules_make_of_them() {
        assert_eq!(failed(WEB_STACK), 0);
        let of = |outage: &str| failed(&format!("examples/outages/{outage}/firewarden.yaml"));
        let ipv4 = USERS - USERS / IPV6_EVERY;
        // Source ports 1024 to 19999 of 1024 to 65535: 29.4 % of those.
        let some = of("000");
        assert!((200..270).contains(&some), "{some}");
        assert_eq!(of("001"), USERS);
        // Every second one needs the server that is locked out.
        assert_eq!(of("002"), ipv4 / 2);
        assert_eq!(of("003"), ipv4);
        assert_eq!(of("004"), ipv4);
    }
}
