//! A second opinion: each packet of a finding goes through the rulesets once more, in this machine's kernel.
//!
//! Host by host: the rulesets of one are loaded into a throwaway network namespace, the packet is sent as it comes in
//! there, and what the kernel does with it is held against what the interpreter says.

mod rules;

use super::hosts::Loaded;
use firewarden_diagnostic::{Diagnostic, ResultItem, Witness};
use firewarden_network::Host;
use firewarden_oracle::{self as oracle, Config, Interface, Launch, Oracle, Packet, State, Verdict};
use firewarden_packet::{Field, InterfaceName, Point, ct_state, text};
use firewarden_ruleset::ir::{Statement, Test};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interface of packets that come in by an unknown one.
const SOME_INTERFACE: &str = "eth0";

/// The code of findings about an answer that doesn't come back.
const ANSWER_LOST: &str = "reply-blocked";

/// What the kernel says about a packet on one host.
enum Opinion {
    Agrees(String),
    Differs(String),
    /// It wasn't asked, because of this.
    Silent(String),
}

/// Asks the kernel about every packet of every finding; what it says becomes a note of the finding, and a
/// disagreement a diagnostic.
pub fn confirm(results: &mut [ResultItem], loaded: &mut Loaded) -> Vec<Diagnostic> {
    let launch = match Launch::automatic().map_err(|error| error.to_string()).and_then(|launch| {
        oracle::supported(&launch)?;
        Ok(launch)
    }) {
        Ok(launch) => launch,
        Err(reason) => {
            return vec![
                Diagnostic::error(
                    "no-kernel",
                    format!("the kernel can't be asked here: {}", reason.replace('`', "'")),
                )
                .help("run as root, or allow user namespaces; leave `--confirm` out to do without"),
            ];
        }
    };
    let Loaded { hosts, inputs, files, .. } = &mut *loaded;
    let rules =
        hosts.iter().zip(inputs).map(|(host, inputs)| rules::of(inputs, &host.ruleset, files)).collect();
    let mut asker = Asker { loaded, rules, launch, oracles: BTreeMap::new() };
    let mut problems = Vec::new();
    for item in results {
        for finding in &mut item.findings {
            for witness in &finding.witnesses {
                let answered = finding.diagnostic.code == ANSWER_LOST;
                for (host, opinion) in if answered { asker.answer(witness) } else { asker.follow(witness) } {
                    let note = match opinion {
                        Opinion::Agrees(what) => format!("the kernel agrees: {what} on {host}"),
                        Opinion::Silent(why) => format!("the kernel was not asked about {host}: {why}"),
                        Opinion::Differs(what) => {
                            let packet = witness.packet.replace('`', "'");
                            problems.push(
                                Diagnostic::error(
                                    "kernel-differs",
                                    format!("the kernel disagrees about `{packet}`"),
                                )
                                .because(format!("on {host}: {what}"))
                                .help("don't rely on this answer; please report it with the ruleset"),
                            );
                            format!("the kernel disagrees: {what} on {host}")
                        }
                    };
                    if !finding.diagnostic.notes.contains(&note) {
                        finding.diagnostic.notes.push(note);
                    }
                }
            }
        }
    }
    problems
}

struct Asker<'l> {
    loaded: &'l Loaded,
    /// What to load for each host; why not where it can't be.
    rules: Vec<Result<oracle::Ruleset, String>>,
    launch: Launch,
    /// By host; the reason where there is none.
    oracles: BTreeMap<usize, Result<Oracle, String>>,
}

impl Asker<'_> {
    /// Follows a packet over the hosts of its way, until one refuses it.
    fn follow(&mut self, witness: &Witness) -> Vec<(String, Opinion)> {
        let Loaded { hosts, atoms, files, .. } = self.loaded;
        let mut opinions = Vec::new();
        let Ok(mut point) = text::parse_with_atoms(&witness.packet, atoms) else { return opinions };
        let mut seen = BTreeSet::new();
        for step in &witness.path {
            let Some(index) = hosts.iter().position(|host| host.name == step.host) else { continue };
            let Some(host) = hosts.get(index) else { continue };
            if !seen.insert(index) {
                continue;
            }
            if !witness.given.is_empty() {
                opinions.push((host.name.clone(), Opinion::Silent(hangs_on(witness))));
                return opinions;
            }
            let made_here = seen.len() == 1 && owns(host, &point, Field::SADDR);
            place(&mut point, host, made_here);
            let mut traced = firewarden_verify::trace(host, &point, atoms, &files.sources);
            // The interface to leave by follows from the destination after translation.
            if let Ok(first) = &traced {
                let after =
                    first.rewritten.as_ref().and_then(|text| text::parse_with_atoms(text, atoms).ok());
                let target = after.unwrap_or_else(|| point.clone());
                if !made_here && !owns(host, &target, Field::DADDR) && host.addresses_known {
                    let to = target.get(Field::DADDR);
                    let out =
                        host.interface_towards(target.get(Field::NFPROTO), to).map(|found| found.name.0);
                    point.set(Field::OIFNAME, out.unwrap_or(some_interface()));
                    traced = firewarden_verify::trace(host, &point, atoms, &files.sources);
                }
            }
            let Ok(traced) = traced else { return opinions };
            let opinion = match self.ask(index, &point) {
                Err(why) => Opinion::Silent(why),
                Ok(verdict) => compare(&verdict, traced.accepted),
            };
            opinions.push((host.name.clone(), opinion));
            if !traced.accepted {
                return opinions;
            }
            if let Some(next) = traced.rewritten.and_then(|text| text::parse_with_atoms(&text, atoms).ok()) {
                for field in [Field::SADDR, Field::DADDR, Field::SPORT, Field::DPORT] {
                    point.set(field, next.get(field));
                }
            }
        }
        opinions
    }

    /// Follows the answer to a packet, from the host that sends it.
    fn answer(&mut self, witness: &Witness) -> Vec<(String, Opinion)> {
        let Loaded { hosts, atoms, stack, .. } = self.loaded;
        let Ok(point) = text::parse_with_atoms(&witness.packet, atoms) else { return Vec::new() };
        let mut opinions = Vec::new();
        for arrival in firewarden_verify::answer(hosts, stack.as_ref(), &point, atoms) {
            let Some(host) = hosts.get(arrival.host) else { continue };
            let opinion = if !witness.given.is_empty() {
                Opinion::Silent(hangs_on(witness))
            } else if arrival.translated {
                Opinion::Silent(
                    "it translates the connection, of which only the answer would be sent".to_owned(),
                )
            } else {
                match self.ask(arrival.host, &placed(arrival.packet, host)) {
                    Err(why) => Opinion::Silent(why),
                    Ok(verdict) => compare(&verdict, arrival.accepted),
                }
            };
            opinions.push((host.name.clone(), opinion));
        }
        opinions
    }

    fn ask(&mut self, index: usize, point: &Point) -> Result<Verdict, String> {
        let (loaded, rules, launch) = (self.loaded, &self.rules, &self.launch);
        let oracle = self.oracles.entry(index).or_insert_with(|| {
            let (host, rules) = loaded.hosts.get(index).zip(rules.get(index)).ok_or("no such host")?;
            let rules = rules.as_ref().map_err(String::clone)?;
            Oracle::new(launch, &config(host), rules).map_err(|error| error.to_string())
        });
        let oracle = oracle.as_mut().map_err(|why| why.clone())?;
        let (input, output) = (point.get(Field::IIFNAME), point.get(Field::OIFNAME));
        let hook = match (input, output) {
            (0, _) => oracle::Hook::Output,
            (_, 0) => oracle::Hook::Input,
            _ => oracle::Hook::Forward,
        };
        let packet = packet(point).ok_or("such a packet can't be made")?;
        let verdicts = oracle.verdicts(hook, &[packet]).map_err(|error| error.to_string())?;
        match verdicts.into_iter().next() {
            Some(Verdict::NotReached(why)) => Err(format!("it got no answer from the rules: {why:?}")),
            Some(verdict) => Ok(verdict),
            None => Err("it gave no answer".to_owned()),
        }
    }
}

fn compare(verdict: &Verdict, accepted: bool) -> Opinion {
    let (kernel, word) = match verdict {
        Verdict::Accepted { .. } => (true, "accepted"),
        Verdict::Rejected(_) => (false, "rejected"),
        Verdict::Dropped | Verdict::NotReached(_) => (false, "dropped"),
    };
    if kernel == accepted { Opinion::Agrees(word.to_owned()) } else { Opinion::Differs(word.to_owned()) }
}

/// Why the kernel can't be asked about a packet whose fate other things decide.
fn hangs_on(witness: &Witness) -> String {
    format!("it can't be made to find that {}", witness.given.join(" and that "))
}

/// An answer with interfaces that the kernel's host has: a bare ruleset knows of none.
fn placed(mut packet: Point, host: &Host) -> Point {
    if host.interfaces.is_empty() {
        let made_here = owns(host, &packet, Field::SADDR);
        let side = if made_here { Field::OIFNAME } else { Field::IIFNAME };
        if packet.get(side) == 0 {
            packet.set(side, some_interface());
        }
    }
    packet
}

fn owns(host: &Host, point: &Point, field: Field) -> bool {
    host.own(point.get(Field::NFPROTO)).contains(point.get(field))
}

fn some_interface() -> u128 {
    InterfaceName::new(SOME_INTERFACE).unwrap_or(InterfaceName::NONE).0
}

/// Puts a packet before a host: the interfaces that its links tell.
fn place(point: &mut Point, host: &Host, made_here: bool) {
    let family = point.get(Field::NFPROTO);
    let towards = |field: Field| {
        let found = host.interface_towards(family, point.get(field)).map(|found| found.name.0);
        found.unwrap_or(some_interface())
    };
    let (input, output) = match made_here {
        true => (0, towards(Field::DADDR)),
        false => (towards(Field::SADDR), 0),
    };
    // A bare ruleset knows no links: what the packet says counts.
    let stated = point.get(Field::IIFNAME);
    let keep = !host.addresses_known && stated != 0 && !made_here;
    point.set(Field::IIFNAME, if keep { stated } else { input });
    point.set(Field::OIFNAME, output);
}

/// A host like the declared one: its interfaces, and those that its rules name.
fn config(host: &Host) -> Config {
    let mut interfaces: BTreeMap<String, Vec<(IpAddr, u8)>> = BTreeMap::new();
    interfaces.entry(SOME_INTERFACE.to_owned()).or_default();
    for interface in &host.interfaces {
        let addresses = interface
            .addresses
            .iter()
            .filter_map(|own| Some((address(own.nfproto, own.value)?, u8::try_from(own.prefix).ok()?)));
        interfaces.entry(interface.name.to_string()).or_default().extend(addresses);
    }
    let rules = host.ruleset.chains.iter().flat_map(|chain| &chain.rules);
    for statement in rules.flat_map(|rule| &rule.statements) {
        if let Statement::Test(Test::Range { field: Field::IIFNAME | Field::OIFNAME, set }) = statement {
            for &(low, high) in set.ranges() {
                let name = InterfaceName(low).to_string();
                if low == high && !name.is_empty() && name != "lo" {
                    interfaces.entry(name).or_default();
                }
            }
        }
    }
    let interfaces = interfaces.into_iter().map(|(name, addresses)| Interface { name, addresses });
    Config { interfaces: interfaces.collect(), ..Config::default() }
}

fn address(nfproto: u128, value: u128) -> Option<IpAddr> {
    match nfproto {
        2 => Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(value).ok()?))),
        _ => Some(IpAddr::V6(Ipv6Addr::from(value))),
    }
}

/// The packet as bytes are made of it. `None` for one that has no such bytes.
fn packet(point: &Point) -> Option<Packet> {
    let family = point.get(Field::NFPROTO);
    let small = |field: Field| u16::try_from(point.get(field)).ok();
    let byte = |field: Field| u8::try_from(point.get(field)).ok();
    let source = address(family, point.get(Field::SADDR))?;
    let destination = address(family, point.get(Field::DADDR))?;
    let name =
        |field: Field| Some(InterfaceName(point.get(field)).to_string()).filter(|name| !name.is_empty());
    let mut made = Packet::new(source, destination, byte(Field::L4PROTO)?);
    made.sport = small(Field::SPORT)?;
    made.dport = small(Field::DPORT)?;
    made.tcp_flags = byte(Field::TCP_FLAGS)?;
    made.icmp_type = byte(Field::ICMP_TYPE)?;
    made.icmp_code = byte(Field::ICMP_CODE)?;
    made.ttl = byte(Field::TTL)?;
    made.dscp = byte(Field::DSCP)?;
    made.iif = name(Field::IIFNAME).unwrap_or_else(|| SOME_INTERFACE.to_owned());
    made.oif = name(Field::OIFNAME);
    made.state = match point.get(Field::CT_STATE) {
        ct_state::NEW => State::New,
        ct_state::ESTABLISHED if point.get(Field::CT_DIRECTION) == 1 => State::EstablishedReply,
        ct_state::ESTABLISHED => State::Established,
        ct_state::RELATED => State::Related,
        ct_state::INVALID => State::Invalid,
        ct_state::UNTRACKED => State::Untracked,
        _ => return None,
    };
    if made.natural_state(false) == State::Untracked {
        // Neighbour discovery and its like: conntrack leaves them alone whatever a question calls them.
        made.state = State::Untracked;
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_what_they_say() {
        let point = text::parse("tcp 10.0.0.9:1234 -> 10.0.0.1:22 in wan ct new").unwrap();
        let made = packet(&point).unwrap();
        assert_eq!((made.sport, made.dport, made.iif.as_str(), made.state), (1234, 22, "wan", State::New));
        assert_eq!(made.tcp_flags, oracle::tcp_flag::SYN);
    }
}
