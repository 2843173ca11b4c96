//! Connections that show on the wires of a lab whether an intent holds: a few of the many that it speaks of, drawn from a
//! seed. That a flow works, or doesn't, is one connection's evidence; a prover asks of all.

use crate::probe::{Attempt, Ending, Target};
use firewarden_packet::IntervalSet;
use firewarden_verify::address::{Family, address, number};
use firewarden_verify::intent::{
    Claim, Names, Question, Senders, Service, Target as End, questions, resolve,
};
use firewarden_verify::stack::StackFile;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The protocol number of TCP.
const TCP: u8 = 6;
/// Addresses that are drawn from a set for one question, beside those that exist in the lab.
const DRAWN: usize = 2;
/// Ports that are tried where an intent speaks of all: those that services of a web stack have, and one that none has.
const PORTS: [u16; 7] = [22, 80, 443, 5432, 8080, 8404, 47_111];
/// Blocks of the internet that are in use (IANA: 91/8, 5/8, 62/8, 2a00::/12), to draw addresses from.
const INTERNET: [(Family, u128, u128); 4] = [
    (Family::V4, 0x5B00_0001, 0x5BFF_FFFE),
    (Family::V4, 0x0500_0001, 0x05FF_FFFE),
    (Family::V4, 0x3E00_0001, 0x3EFF_FFFE),
    (Family::V6, 0x2A00_0000 << 96, (0x2A0F_FFFF << 96) | ((1 << 96) - 1)),
];

/// A connection, and what the intent wants of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// Which intent of the stack file.
    pub intent: usize,
    /// The connection.
    pub attempt: Attempt,
    /// Whether it has to come about; otherwise it mustn't arrive.
    pub expected: Expected,
    /// The host of the stack file that it is for; `None` for somebody outside.
    pub target: Option<usize>,
}

/// What is expected of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// A service answers.
    Service,
    /// It doesn't arrive.
    Nothing,
}

impl Expected {
    /// Whether this is what came of it.
    pub fn is(self, ending: &Ending) -> bool {
        match self {
            Expected::Service => *ending == Ending::Answered,
            Expected::Nothing => !ending.arrived(),
        }
    }
}

/// Draws connections for all intents of a stack that are accepted: of each question the addresses that are known to exist
/// and a few others, with source ports from all over the range. Only TCP is drawn. `known` are addresses outside of the
/// stack. O(questions * addresses of hosts * ports).
pub fn draw(stack: &StackFile, known: &[IpAddr], seed: u64) -> Vec<Sample> {
    let random = &mut fastrand::Rng::with_seed(seed);
    let names = Names::new(stack);
    let all: Vec<usize> = (0..stack.hosts.len()).collect();
    let senders = Senders::new(stack, &all);
    let mut found = BTreeSet::new();
    for (intent, declared) in stack.intents.iter().enumerate().filter(|(_, declared)| !declared.proposed) {
        // A name that isn't declared is told by whoever checks the intent.
        let Ok(resolved) = resolve(declared, &names) else { continue };
        let ports = ports(&resolved.services);
        for question in questions(&resolved, stack, &[], &senders) {
            let expected = match (question.claim, question.target) {
                (Claim::NeverArrives, _) => Expected::Nothing,
                (Claim::Arrives, _) => Expected::Service,
            };
            for (source, destination) in pairs(&question, stack, known, random) {
                for port in &ports {
                    let target = Target::Tcp(SocketAddr::new(destination, *port));
                    let source_port = Some(random.u16(1024..=65_535));
                    let attempt = Attempt { source, source_port, hops: None, target };
                    found.insert(Sample { intent, attempt, expected, target: host_of(question.target) });
                }
            }
        }
    }
    found.into_iter().collect()
}

fn host_of(target: End) -> Option<usize> {
    match target {
        End::Host(index) => Some(index),
        End::Elsewhere => None,
    }
}

/// Source and destination addresses of a question. What a host sends to itself isn't on a wire.
fn pairs(
    question: &Question,
    stack: &StackFile,
    known: &[IpAddr],
    random: &mut fastrand::Rng,
) -> Vec<(IpAddr, IpAddr)> {
    let owner = |address: IpAddr| {
        stack.hosts.iter().position(|host| host.addresses.iter().any(|own| own.value == address))
    };
    let target = host_of(question.target);
    let sources = addresses(question.family, &question.sources, stack, known, random);
    let destinations = addresses(question.family, &question.destinations, stack, known, random);
    let mut found = Vec::new();
    for source in sources {
        for destination in &destinations {
            let from = owner(source);
            if from.is_none() || (from != target && from != owner(*destination)) {
                found.push((source, *destination));
            }
        }
    }
    found
}

/// Addresses of a set: those of hosts, those that are known, and some that are drawn.
fn addresses(
    family: Family,
    set: &IntervalSet,
    stack: &StackFile,
    known: &[IpAddr],
    random: &mut fastrand::Rng,
) -> Vec<IpAddr> {
    let declared = stack.hosts.iter().flat_map(|host| host.addresses.iter().chain(&host.published));
    let declared = declared.map(|address| &address.value);
    let is_in = |candidate: &IpAddr| {
        let (of, value) = number(*candidate);
        of == family && set.contains(value)
    };
    let mut found: BTreeSet<IpAddr> = declared.filter(|candidate| is_in(candidate)).copied().collect();
    let mut known: Vec<IpAddr> = known.iter().filter(|candidate| is_in(candidate)).copied().collect();
    random.shuffle(&mut known);
    found.extend(known.into_iter().take(DRAWN));
    let public = IntervalSet::from_ranges(
        INTERNET.iter().filter(|(of, ..)| *of == family).map(|(_, low, high)| (*low, *high)),
    );
    let is_narrow = |(low, high): &(u128, u128)| high - low < 1 << 16;
    let narrow = IntervalSet::from_ranges(set.ranges().iter().filter(|range| is_narrow(range)).copied());
    for pool in [set.intersect(&public), narrow] {
        if pool.ranges().is_empty()
            || !found.is_empty() && pool.ranges().iter().all(|(low, high)| low == high)
        {
            continue;
        }
        for _ in 0..DRAWN {
            let (low, high) = pool.ranges()[random.usize(..pool.ranges().len())];
            found.insert(address(family, random.u128(low..=high)));
        }
    }
    found.into_iter().collect()
}

/// Ports of TCP that are meant, one of each range.
fn ports(services: &[Service]) -> Vec<u16> {
    let mut ports = BTreeSet::new();
    for service in services {
        match *service {
            Service::Ports { protocol: TCP, low, .. } => {
                ports.insert(low);
            }
            Service::Any | Service::Protocol(TCP) => ports.extend(PORTS),
            _ => {}
        }
    }
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_diagnostic::SourceMap;
    use firewarden_verify::stack::read_stack;

    const STACK: &str = "\
hosts:
  edge: { interfaces: { wan: 203.0.113.1/24, lan: 10.0.0.1/16 } }
  lb: { address: 10.0.1.10, published: 203.0.113.1 }
  app: { address: [10.0.2.20, 10.0.2.21] }
  db: { address: [10.0.3.30, \"2001:db8:0:1::30\"] }
groups:
  office: 198.51.100.0/24
intents:
  - allow: internet -> lb tcp/443
  - only: app -> db tcp/5432
  - only: office -> edge tcp/22
  - deny: internet -> db
  - { allow: lb -> db tcp/9, proposed: true }
  - allow: app -> internet tcp/443
";

    fn drawn(seed: u64) -> Vec<Sample> {
        let mut sources = SourceMap::default();
        let file = sources.add("firewarden.yaml", STACK);
        let (stack, found) = read_stack(file, STACK);
        assert!(found.is_empty(), "{found:?}");
        let known = ["91.20.30.10".parse().unwrap(), "198.51.100.10".parse().unwrap()];
        draw(&stack, &known, seed)
    }

    fn of(samples: &[Sample], intent: usize) -> Vec<(String, String, Expected)> {
        let of = samples.iter().filter(|sample| sample.intent == intent);
        of.map(|sample| {
            let Target::Tcp(target) = sample.attempt.target else { panic!("{sample:?}") };
            (sample.attempt.source.to_string(), target.to_string(), sample.expected)
        })
        .collect()
    }

    #[test]
    fn connections_are_those_that_intents_speak_of() {
        let samples = drawn(1);
        assert_eq!(samples, drawn(1));
        assert_ne!(samples, drawn(2));
        let has = |intent: usize, source: &str, target: &str, expected: Expected| {
            let wanted = (source.to_owned(), target.to_owned(), expected);
            assert!(of(&samples, intent).contains(&wanted), "{wanted:?} in {:#?}", of(&samples, intent));
        };
        has(0, "91.20.30.10", "203.0.113.1:443", Expected::Service);
        for source in ["10.0.2.20", "10.0.2.21"] {
            has(1, source, "10.0.3.30:5432", Expected::Service);
        }
        has(1, "10.0.1.10", "10.0.3.30:5432", Expected::Nothing);
        has(2, "198.51.100.10", "203.0.113.1:22", Expected::Service);
        has(2, "91.20.30.10", "203.0.113.1:22", Expected::Nothing);
        has(3, "91.20.30.10", "10.0.3.30:5432", Expected::Nothing);
        has(5, "10.0.2.20", "91.20.30.10:443", Expected::Service);
        assert!(of(&samples, 3).iter().any(|(_, target, _)| target == "[2001:db8:0:1::30]:22"));
        assert_eq!(of(&samples, 4), [], "nobody accepted it yet");
        // Nobody is said to reach the published address of the load balancer where others are denied the database.
        assert!(of(&samples, 1).iter().all(|(_, target, _)| target.ends_with(":5432")));
    }

    #[test]
    fn source_ports_are_from_all_over_the_range() {
        let samples = drawn(3);
        let ports: Vec<u16> = samples.iter().filter_map(|sample| sample.attempt.source_port).collect();
        assert!(ports.iter().any(|port| *port < 20_000) && ports.iter().any(|port| *port > 20_000));
        assert!(ports.iter().all(|port| *port >= 1024));
    }
}
