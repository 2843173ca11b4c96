//! Connections that a host can try, to see on the wire what its intents say.

use crate::address::{Family, address, number};
use crate::intent::{Addresses, Endpoint, Names, Resolved, resolve};
use crate::intent::{Expectation, Service};
use crate::stack::StackFile;
use std::net::{IpAddr, SocketAddr};

/// Connections of one intent, and addresses of one range, at most: a probe stands for many.
const MOST: usize = 8;
/// The protocol number of TCP.
const TCP: u8 = 6;

/// A connection to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The intent, as written.
    pub intent: String,
    /// What to connect to.
    pub target: Target,
    /// Whether it has to come about; otherwise it mustn't.
    pub expected: bool,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP port.
    Tcp(SocketAddr),
    /// What the intent's `probe` says.
    Url(String),
}

/// What a host can try: TCP connections of intents that it is a source of, and those that `only` keeps it from; URLs of
/// intents that it has a part in. Intents that nobody accepted yet are left out. Each intent gives a few connections, not
/// all that it stands for. O(intents).
pub fn attempts(stack: &StackFile, host: &str) -> Vec<Attempt> {
    let Some(own) = stack.hosts.iter().position(|declared| declared.name.value == host) else {
        return Vec::new();
    };
    let names = Names::new(stack);
    let mut found = Vec::new();
    for declared in stack.intents.iter().filter(|declared| !declared.proposed) {
        // A name that isn't declared is told by whoever checks the intent.
        let Ok(resolved) = resolve(declared, &names) else { continue };
        let is_part = |end: &Endpoint| end.hosts.iter().any(|(index, _)| *index == own);
        let is_source = is_part(&resolved.source);
        let expected = match (resolved.expectation, is_source) {
            (Expectation::Allow, true) | (Expectation::Only, true) => true,
            (Expectation::Deny, true) | (Expectation::Only, false) => false,
            _ => {
                found.extend(url(declared, &resolved, own));
                continue;
            }
        };
        let intent = declared.intent.full_text();
        let targets = connections(&resolved, own, stack);
        found.extend(targets.into_iter().take(MOST).map(|address| Attempt {
            intent: intent.clone(),
            target: Target::Tcp(address),
            expected,
        }));
        found.extend(url(declared, &resolved, own));
    }
    found
}

/// The `probe` of an intent that the host has a part in: a URL, or `tcp://ADDRESS:PORT`.
fn url(declared: &crate::stack::DeclaredIntent, resolved: &Resolved, own: usize) -> Option<Attempt> {
    let has_part = |end: &Endpoint| end.hosts.iter().any(|(index, _)| *index == own);
    let is_near =
        has_part(&resolved.source) || has_part(&resolved.destination) || resolved.via.contains(&own);
    let text = declared.probe.as_ref().filter(|_| is_near)?;
    let text = text.value.trim();
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    let address = || text.strip_prefix("tcp://").unwrap_or(text).parse().ok().map(Target::Tcp);
    Some(Attempt {
        intent: declared.intent.full_text(),
        target: if is_url { Target::Url(text.to_owned()) } else { address()? },
        expected: resolved.expectation != Expectation::Deny,
    })
}

/// TCP connections to the destinations of an intent, but for the host's own addresses.
fn connections(resolved: &Resolved, own: usize, stack: &StackFile) -> Vec<SocketAddr> {
    let ports = resolved.services.iter().filter_map(|service| match *service {
        Service::Ports { protocol: TCP, low, .. } => Some(low),
        _ => None,
    });
    let ports: Vec<u16> = ports.collect();
    let mut found = Vec::new();
    let others = resolved.destination.hosts.iter().filter(|(index, _)| *index != own);
    for addresses in others.map(|(_, addresses)| addresses).chain([&resolved.destination.other]) {
        for address in single(addresses) {
            let is_own = stack
                .hosts
                .get(own)
                .is_some_and(|host| host.addresses.iter().any(|one| one.value == address));
            if !is_own {
                found.extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
            }
        }
    }
    found
}

/// Addresses that stand alone; of a range, nobody knows which are in use.
fn single(addresses: &Addresses) -> Vec<IpAddr> {
    let of = |family: Family| {
        let ranges =
            addresses.get(family).ranges().iter().filter(|(low, high)| high - low < MOST as u128).copied();
        ranges
            .flat_map(move |(low, high)| (low..=high).map(move |value| address(family, value)))
            .collect::<Vec<_>>()
    };
    let mut all = of(Family::V4);
    all.extend(of(Family::V6));
    all.sort_by_key(|address| number(*address));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_diagnostic::SourceMap;

    fn told(host: &str) -> Vec<String> {
        let text = "\
hosts:
  lb: { address: 10.0.1.10 }
  app: { address: [10.0.2.20, 10.0.2.21] }
  db: { address: 10.0.3.30 }
intents:
  - { allow: internet -> lb tcp/443, probe: https://www.example.org/healthz }
  - { allow: lb -> app tcp/8080, probe: tcp://10.0.2.20:8081 }
  - only: app -> db tcp/5432
  - deny: lb -> db tcp/22
  - { allow: lb -> db tcp/9, proposed: true }
  - allow: app -> 192.0.2.0/24 tcp/25
";
        let mut sources = SourceMap::default();
        let file = sources.add("firewarden.yaml", text);
        let (stack, found) = crate::stack::read_stack(file, text);
        assert!(found.is_empty(), "{found:?}");
        let word = |attempt: &Attempt| match &attempt.target {
            Target::Tcp(address) => format!("{address} {}", attempt.expected),
            Target::Url(url) => format!("{url} {}", attempt.expected),
        };
        attempts(&stack, host).iter().map(word).collect()
    }

    #[test]
    fn a_host_tries_what_it_may_and_what_it_may_not() {
        assert_eq!(
            told("lb"),
            [
                "https://www.example.org/healthz true",
                "10.0.2.20:8080 true",
                "10.0.2.21:8080 true",
                "10.0.2.20:8081 true",
                "10.0.3.30:5432 false",
                "10.0.3.30:22 false",
            ]
        );
        assert_eq!(told("app"), ["10.0.2.20:8081 true", "10.0.3.30:5432 true"]);
        assert_eq!(told("db"), Vec::<String>::new());
        assert_eq!(told("nobody"), Vec::<String>::new());
    }
}
