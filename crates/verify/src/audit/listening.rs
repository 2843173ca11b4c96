//! Ports that programs of the host listen on, and that no rule speaks of.

use super::rules::{Ledger, Standing};
use super::{Context, Found, checks};
use firewarden_diagnostic::Diagnostic;
use firewarden_network::{ListenAddress, Listener};
use firewarden_packet::{Field, InterfaceName};
use firewarden_ruleset::ir::{ChainId, Hook, Rule, Statement, Test};
use std::collections::{BTreeMap, BTreeSet};

/// The most ports shown.
const MOST_SHOWN: usize = 12;

/// Rules for more ports than this speak of none of them.
const MOST_PORTS: u128 = 4096;

/// Tells of ports that something listens on, as a snapshot has it, and that no rule for packets to the host names. A
/// policy may deny them all the same; but nobody has written down whether they are meant.
pub fn examine(context: &mut Context<'_, '_>, ledger: &Ledger) {
    let host = context.host;
    let Some(listening) = &host.listening else { return };
    if [2, 10].iter().all(|&nfproto| host.ruleset.base_chains(Hook::Input, nfproto).is_empty()) {
        return;
    }
    let mut input: BTreeMap<ChainId, bool> = BTreeMap::new();
    let mut comes_from_input = |chain: ChainId| {
        *input.entry(chain).or_insert_with(|| {
            let roots = context.space.roots(chain);
            roots.iter().any(|&base| context.space.base(base).is_some_and(|(hook, _)| hook == Hook::Input))
        })
    };
    let mut named: BTreeSet<(u128, u128)> = BTreeSet::new();
    for (&at, standing) in &ledger.rules {
        if matches!(standing, Standing::Dead(_) | Standing::CutOff) || !comes_from_input(at.chain) {
            continue;
        }
        for rule in context.space.unit(at).filter_map(|member| host.ruleset.rule(member)) {
            for socket in listening {
                let (protocol, port) = (u128::from(socket.protocol), u128::from(socket.port));
                if names(context, rule, protocol, port) {
                    named.insert((protocol, port));
                }
            }
        }
    }
    let unnamed: BTreeSet<String> = listening
        .iter()
        .filter(|socket| !is_local(socket))
        .filter(|socket| !named.contains(&(u128::from(socket.protocol), u128::from(socket.port))))
        .filter_map(words)
        .collect();
    if unnamed.is_empty() {
        return;
    }
    let unnamed: Vec<String> = unnamed.into_iter().collect();
    let (shown, rest) = unnamed.split_at(unnamed.len().min(MOST_SHOWN));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let message = format!("no rule names what programs of this host listen on: {}{more}", shown.join(", "));
    let diagnostic = Diagnostic::note(checks::LISTENING_UNNAMED.id, message).help(
        "write a rule that accepts or denies each of them, or stop the program, or bind it to the loopback",
    );
    context.found.push(Found::new(&checks::LISTENING_UNNAMED, diagnostic).of("", unnamed.join(",")));
}

/// True for sockets that only the host itself reaches.
fn is_local(socket: &Listener) -> bool {
    let loopback = match socket.at {
        ListenAddress::One(2, address) => address >> 24 == 127,
        ListenAddress::One(_, address) => address == 1,
        ListenAddress::Any | ListenAddress::Family(_) => false,
    };
    loopback || socket.interface == InterfaceName::new("lo").ok() && socket.interface.is_some()
}

/// `tcp/8080 (nginx)`.
fn words(socket: &Listener) -> Option<String> {
    let protocol = match socket.protocol {
        6 => "tcp",
        17 => "udp",
        _ => return None,
    };
    let programs: BTreeSet<&str> = socket.programs.iter().map(String::as_str).collect();
    let programs: Vec<&str> = programs.into_iter().collect();
    let by = if programs.is_empty() { String::new() } else { format!(" ({})", programs.join(", ")) };
    Some(format!("{protocol}/{}{by}", socket.port))
}

/// Whether a rule asks for this port.
fn names(context: &Context<'_, '_>, rule: &Rule, protocol: u128, port: u128) -> bool {
    let ruleset = &context.host.ruleset;
    let holds = |key: &[Field], product: &[(u128, u128)]| {
        key.iter().zip(product).any(|(&field, &(low, high))| {
            field == Field::DPORT && (low..=high).contains(&port) && high - low < MOST_PORTS
        })
    };
    let mut named = false;
    for statement in &rule.statements {
        match statement {
            Statement::Test(Test::Range { field: Field::L4PROTO, set }) if !set.contains(protocol) => {
                return false;
            }
            Statement::Test(Test::Range { field: Field::DPORT, set }) => {
                named |= set.ranges().iter().any(|&range| holds(&[Field::DPORT], &[range]));
            }
            Statement::Test(Test::Lookup { key, set, negated: false }) => {
                let elements = ruleset.set(*set).map_or(&[][..], |set| &set.elements);
                named |= elements.iter().any(|element| holds(key, &element.key));
            }
            Statement::VerdictMap { key, map } => {
                let entries = ruleset.map(*map).map_or(&[][..], |map| &map.entries);
                named |= entries.iter().any(|entry| holds(key, &entry.key));
            }
            _ => {}
        }
    }
    named
}
