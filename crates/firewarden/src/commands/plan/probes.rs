//! New connections that show whether intents hold, for those intents that this host is a source of.

use crate::commands::diff::IntentChange;
use firewarden_change::plan::{Probe, ProbeTarget};
use firewarden_diagnostic::Verdict;
use firewarden_verify::Located;
use firewarden_verify::address::address;
use firewarden_verify::intent::{Expectation, Peer, Service};
use firewarden_verify::stack::{DeclaredIntent, StackFile};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// TCP.
const TCP: u8 = 6;
/// Groups inside one another, at most.
const GROUP_DEPTH: u32 = 16;
/// Connections for one intent, at most: one for each address and port would be a port scan.
const MOST: usize = 4;

/// The probes, in the order of the intents. Those of an intent that the change breaks are made too: whoever goes on with it
/// all the same sees what it does.
pub fn of(stack: &StackFile, host: &str, asked: &[IntentChange]) -> Vec<Probe> {
    let mut probes = Vec::new();
    for declared in &stack.intents {
        let source = &declared.intent.source.include;
        let text = declared.intent.full_text();
        let is_empty = asked.iter().any(|asked| asked.intent == text && asked.after == Verdict::Vacuous);
        if declared.proposed || is_empty || !source.iter().any(|peer| is_in(&peer.value, host, stack, 0)) {
            continue;
        }
        let expected = declared.intent.expectation != Expectation::Deny;
        for target in targets(declared, stack).into_iter().take(MOST) {
            probes.push(Probe { intent: declared.intent.full_text(), target, expected });
        }
    }
    probes
}

fn is_in(peer: &Peer, host: &str, stack: &StackFile, depth: u32) -> bool {
    match peer {
        Peer::Name(name) if **name == *host => true,
        Peer::Name(name) if depth < GROUP_DEPTH => stack.group(name).is_some_and(|group| {
            group.members.iter().any(|member| is_in(&member.value, host, stack, depth + 1))
        }),
        _ => false,
    }
}

/// What to connect to: what the intent's `probe` says, or its addresses with its TCP ports.
fn targets(declared: &DeclaredIntent, stack: &StackFile) -> Vec<ProbeTarget> {
    if let Some(probe) = &declared.probe {
        let text = probe.value.trim();
        if text.starts_with("http://") || text.starts_with("https://") {
            return vec![ProbeTarget::Url(text.to_owned())];
        }
        if let Ok(address) = text.trim_start_matches("tcp://").parse::<SocketAddr>() {
            return vec![ProbeTarget::Tcp(address.to_string())];
        }
    }
    let mut addresses = BTreeSet::new();
    for peer in &declared.intent.destination.include {
        addresses_of(&peer.value, stack, 0, &mut addresses);
    }
    let mut ports = BTreeSet::new();
    for service in &declared.intent.services {
        ports_of(service, stack, &mut ports);
    }
    let pair = |port: &u16| {
        let port = *port;
        addresses.iter().map(move |address| ProbeTarget::Tcp(SocketAddr::new(*address, port).to_string()))
    };
    ports.iter().flat_map(pair).collect()
}

fn addresses_of(peer: &Peer, stack: &StackFile, depth: u32, found: &mut BTreeSet<IpAddr>) {
    match peer {
        Peer::Name(name) => {
            if let Some(host) = stack.host(name).and_then(|at| stack.hosts.get(at)) {
                found.extend(host.addresses.iter().map(|address| address.value));
            }
            if let Some(group) = stack.group(name).filter(|_| depth < GROUP_DEPTH) {
                for member in &group.members {
                    addresses_of(&member.value, stack, depth + 1, found);
                }
            }
        }
        Peer::Range(range) if range.low == range.high => {
            found.insert(address(range.family, range.low));
        }
        Peer::Any | Peer::Internet | Peer::Range(_) | Peer::Set(_) => {}
    }
}

fn ports_of(service: &Located<Service>, stack: &StackFile, found: &mut BTreeSet<u16>) {
    match &service.value {
        // The ends of a range stand for it.
        Service::Ports { protocol: TCP, low, high } => found.extend([*low, *high]),
        Service::Named(name) => {
            for service in stack.service(name).map(|service| service.services.as_slice()).unwrap_or_default()
            {
                // What a named service stands for is never a named service.
                if let Service::Ports { protocol: TCP, low, high } = &service.value {
                    found.extend([*low, *high]);
                }
            }
        }
        _ => {}
    }
}
