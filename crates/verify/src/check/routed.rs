//! Random networks with routes: every packet of a region that the engine decided fares as the replay says, there and back.

use super::finding::same_end;
use super::model::Model;
use super::replay::{Ending, Replay};
use super::route::path_of;
use crate::Located;
use crate::address::Family;
use crate::stack::{self, StackFile};
use firewarden_diagnostic::{SourceMap, Span};
use firewarden_engine::{Detail, Flow};
use firewarden_network::{
    Address, Host, Interface, Network, NextHop, Outcome, ReversePath, Route, RouteAction, Routing,
    RoutingRule, RuleAction, TABLE_MAIN,
};
use firewarden_packet::{AtomTable, Dim, Field, InterfaceName, PacketBox, Point, ct_state, tcp_flag};
use firewarden_ruleset::ir::Ruleset;
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::nft;
use std::collections::BTreeMap;

/// A small generator of numbers (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// An address of one of six small networks, two of which nobody is on.
    fn address(&mut self) -> u128 {
        0x0A00_0000 + u128::from(self.below(6)) * 256 + u128::from(self.below(8))
    }
}

struct NoFiles;

impl nft::text::SourceProvider for NoFiles {
    fn open(
        &mut self,
        _: firewarden_diagnostic::FileId,
        _: &str,
    ) -> Result<Vec<(firewarden_diagnostic::FileId, std::sync::Arc<str>)>, String> {
        Err("there are none".to_owned())
    }
}

fn dotted(address: u128) -> String {
    std::net::Ipv4Addr::from(u32::try_from(address).unwrap()).to_string()
}

fn ruleset(dice: &mut Dice, name: &str, atoms: &mut AtomTable) -> Ruleset {
    let mut chains = BTreeMap::from([
        ("type filter hook prerouting priority mangle", Vec::new()),
        ("type filter hook forward priority filter", vec!["ct state established accept".to_owned()]),
        ("type filter hook input priority filter", Vec::new()),
        ("type route hook output priority mangle", Vec::new()),
        ("type nat hook prerouting priority dstnat", Vec::new()),
        ("type nat hook postrouting priority srcnat", Vec::new()),
    ]);
    for _ in 0..dice.below(9) {
        let (one, other, port) = (dotted(dice.address()), dotted(dice.address()), 80 + dice.below(4));
        let (hook, rule) = match dice.below(9) {
            0 => ("type filter hook prerouting priority mangle", format!("tcp dport {port} meta mark set 1")),
            1 => {
                ("type filter hook prerouting priority mangle", format!("ip saddr {one}/30 meta mark set 1"))
            }
            2 => ("type filter hook forward priority filter", "ct state invalid drop".to_owned()),
            3 => {
                ("type filter hook forward priority filter", format!("ip daddr {one} tcp dport {port} drop"))
            }
            4 => ("type filter hook input priority filter", "ct state invalid drop".to_owned()),
            5 => ("type route hook output priority mangle", format!("tcp dport {port} meta mark set 1")),
            6 => (
                "type nat hook prerouting priority dstnat",
                format!("ip daddr {one} tcp dport {port} dnat to {other}:81"),
            ),
            7 => ("type nat hook postrouting priority srcnat", format!("ip saddr {one}/30 snat to {other}")),
            _ => ("type nat hook postrouting priority srcnat", "oifname eth1 masquerade".to_owned()),
        };
        chains.get_mut(hook).unwrap().push(rule);
    }
    let mut text = "table ip t {\n".to_owned();
    for (number, (hook, rules)) in chains.iter().enumerate().filter(|(_, (_, rules))| !rules.is_empty()) {
        text += &format!("chain c{number} {{\n{hook}\n{}\n}}\n", rules.join("\n"));
    }
    text += "}\n";
    let mut sources = SourceMap::default();
    let file = sources.add("rules", text.clone());
    let (script, said) = nft::text::parse(file, &text, &mut NoFiles);
    assert!(said.is_empty(), "{text}\n{said:?}");
    let options = lower::nft::LowerOptions { scope: name };
    let (ruleset, said) = lower::nft::lower(vec![script], &options, atoms);
    assert!(said.is_empty(), "{text}\n{said:?}");
    ruleset
}

fn network_of(value: u128, prefix: u32) -> Address {
    let (low, _) = Address { nfproto: 2, value, prefix }.subnet();
    Address { nfproto: 2, value: low, prefix }
}

fn routing(dice: &mut Dice, interfaces: &[Interface]) -> Routing {
    let mut routing = Routing { rules: Routing::default_rules(2), routes: Vec::new() };
    for interface in interfaces {
        let own = interface.addresses[0];
        let ways = vec![NextHop { gateway: None, interface: Some(interface.name) }];
        routing.routes.push(Route {
            destination: network_of(own.value, 24),
            table: TABLE_MAIN,
            metric: 0,
            action: RouteAction::Forward(ways),
            opaque: None,
        });
    }
    for _ in 0..2 + dice.below(5) {
        let prefix = [0, 0, 0, 22, 24, 24, 30, 32][dice.below(8) as usize];
        let mut ways = Vec::new();
        for _ in 0..1 + dice.below(3) / 2 {
            let by = &interfaces[dice.below(interfaces.len() as u64) as usize];
            let router = (by.addresses[0].value & !0xFF) + u128::from(1 + dice.below(4));
            ways.push(NextHop { gateway: Some((2, router)), interface: Some(by.name) });
        }
        let action = match dice.below(12) {
            0 => RouteAction::Refuse,
            1 => RouteAction::Throw,
            _ => RouteAction::Forward(ways),
        };
        routing.routes.push(Route {
            destination: network_of(dice.address(), prefix),
            table: if dice.one_in(3) { 100 } else { TABLE_MAIN },
            metric: dice.below(3) as u32,
            action,
            opaque: dice.one_in(8).then(|| format!("tos {}", dice.below(3))),
        });
    }
    for priority in 100..100 + dice.below(3) as u32 {
        let block = network_of(dice.address(), 30).subnet();
        let input = interfaces[dice.below(interfaces.len() as u64) as usize].name;
        routing.rules.push(RoutingRule {
            nfproto: 2,
            priority,
            inverted: dice.one_in(5),
            from: dice.one_in(3).then_some(block),
            to: dice.one_in(4).then_some(block),
            mark: dice.one_in(2).then_some((1, if dice.one_in(2) { u32::MAX } else { 3 })),
            input: dice.one_in(4).then_some(input),
            action: match dice.below(8) {
                0 => RuleAction::Refuse,
                1 => RuleAction::Goto(32_766),
                2 => RuleAction::Table(TABLE_MAIN),
                _ => RuleAction::Table(100),
            },
            suppressed: dice.one_in(3).then_some(0),
            opaque: dice.one_in(8).then(|| "dport 80".to_owned()),
        });
    }
    routing.rules.sort_by_key(|rule| rule.priority);
    routing
}

fn host(dice: &mut Dice, index: u64, atoms: &mut AtomTable) -> Host {
    // Neighbours share a network, so that most packets must be passed on.
    let mut networks = vec![index, (index + 1) % 4];
    networks.truncate(1 + dice.below(4).min(1) as usize);
    let interfaces: Vec<Interface> = networks
        .iter()
        .enumerate()
        .map(|(at, network)| Interface {
            name: InterfaceName::new(&format!("eth{at}")).unwrap(),
            addresses: vec![Address {
                nfproto: 2,
                value: 0x0A00_0000 + u128::from(network * 256 + index + 1),
                prefix: 24,
            }],
            uplink: false,
        })
        .collect();
    let mut reverse_path = BTreeMap::new();
    for interface in &interfaces {
        match dice.below(6) {
            0 => reverse_path.insert(interface.name, ReversePath::Strict),
            1 => reverse_path.insert(interface.name, ReversePath::Loose),
            _ => None,
        };
    }
    let name = format!("h{index}");
    Host {
        ruleset: ruleset(dice, &name, atoms),
        name,
        forwards: !dice.one_in(6),
        accepts_own_sources: dice.one_in(4),
        routing: (!dice.one_in(6)).then(|| routing(dice, &interfaces)),
        interfaces,
        addresses_known: true,
        reverse_path,
        ..Host::default()
    }
}

fn random_point(dice: &mut Dice, hosts: &[Host], atoms: &AtomTable) -> Point {
    // Mostly from one declared host to another.
    let mut end = || {
        let host = &hosts[dice.below(hosts.len() as u64) as usize];
        let interface = &host.interfaces[dice.below(host.interfaces.len() as u64) as usize];
        if dice.one_in(5) { dice.address() } else { interface.addresses[0].value }
    };
    let (from, to) = (end(), end());
    let mut point = Point::default()
        .with(Field::SADDR, from)
        .with(Field::DADDR, to)
        .with(Field::SPORT, 40_000)
        .with(Field::DPORT, u128::from(80 + dice.below(4)))
        .with(Field::L4PROTO, if dice.one_in(3) { 17 } else { 6 })
        .with(Field::TCP_FLAGS, tcp_flag::SYN)
        .with(Field::CT_STATE, ct_state::NEW);
    for (field, info) in atoms.iter().filter(|(_, info)| info.domain.1 <= 3) {
        point.set(
            field,
            info.domain.0 + u128::from(dice.below(info.domain.1 as u64 - info.domain.0 as u64 + 1)),
        );
    }
    point
}

/// Where the three packets end, as far as they get.
fn replayed(replay: &Replay<'_>, point: &Point, path: &firewarden_network::Path) -> Vec<Ending> {
    let trip = replay.send(point, path);
    let mut endings = vec![trip.ending];
    if matches!(trip.ending, Ending::Delivered(_) | Ending::Left)
        && let Some(back) = replay.answer(point, &trip)
    {
        endings.push(back.ending);
        if matches!(back.ending, Ending::Delivered(_) | Ending::Left) {
            endings.push(replay.later(point, &trip, &back).ending);
        }
    }
    endings
}

#[test]
fn regions_fare_as_their_packets() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let mut atoms = AtomTable::default();
        let hosts: Vec<Host> = (0..4).map(|index| host(&mut dice, index, &mut atoms)).collect();
        let declared = |host: &Host| stack::Host {
            name: Located::new(host.name.clone(), Span::default()),
            rules: Vec::new(),
            snapshot: None,
            addresses: Vec::new(),
            interfaces: Vec::new(),
            published: Vec::new(),
            tcp_loose: true,
        };
        let stack = StackFile { hosts: hosts.iter().map(declared).collect(), ..StackFile::default() };
        let network = Network::new(&hosts, &mut atoms);
        let model = Model { stack: &stack, hosts: &hosts, single: false };
        let replay = Replay { hosts: &hosts, atoms: &atoms };
        for _ in 0..25 {
            let point = random_point(&mut dice, &hosts, &atoms);
            let path = path_of(&model, Family::V4, point.get(Field::SADDR), point.get(Field::DADDR));
            let whole = PacketBox::all()
                .with_value(Field::NFPROTO, 2)
                .with_value(Field::SPORT, 40_000)
                .with(Field::DPORT, Dim::Range(80, 83))
                .with_value(Field::TCP_FLAGS, tcp_flag::SYN)
                .with_value(Field::CT_STATE, ct_state::NEW);
            let point = Point::in_box(&whole, &point);
            let mut budget = 10_000_000;
            let mut flow = Flow::new(whole, point.clone(), &atoms);
            let journey = network.send(&mut flow, &path, Detail::Fate, &mut budget).unwrap();
            let mut outcomes = vec![journey.outcome];
            *seen.entry(format!("{} hosts", journey.hops.len())).or_default() += 1;
            let mut region = flow.region().clone();
            let arrived = |outcome: Outcome| matches!(outcome, Outcome::Delivered(_) | Outcome::Left);
            if arrived(journey.outcome)
                && let Some((mut answer, back)) =
                    network.answer(&mut flow, &journey, Detail::Fate, &mut budget).unwrap()
            {
                outcomes.push(back.outcome);
                region = answer.region().clone();
                if arrived(back.outcome) {
                    let (later, on) = network
                        .continue_original(&mut answer, &journey, &back, Detail::Fate, &mut budget)
                        .unwrap();
                    outcomes.push(on.outcome);
                    region = later.region().clone();
                }
            }
            for outcome in &outcomes {
                *seen
                    .entry(format!("{outcome:?}").split(['(', ' ']).next().unwrap().to_owned())
                    .or_default() += 1;
            }
            for sample in 0..8 {
                let other = match sample {
                    0 => point.clone(),
                    _ => Point::in_box(&region, &random_point(&mut dice, &hosts, &atoms)),
                };
                let (from, to) = (other.get(Field::SADDR), other.get(Field::DADDR));
                if path_of(&model, Family::V4, from, to) != path {
                    continue;
                }
                let endings = replayed(&replay, &other, &path);
                let alike = endings.len() == outcomes.len()
                    && endings.iter().zip(&outcomes).all(|(ending, outcome)| same_end(*ending, *outcome));
                assert!(
                    alike,
                    "seed {seed}: {} of the region of {}:\n{endings:?}\n{outcomes:?}\n{path:?}\n{region:?}",
                    firewarden_packet::text::format(&other, &atoms),
                    firewarden_packet::text::format(&point, &atoms),
                );
            }
        }
    }
    for kind in [
        "Delivered",
        "Left",
        "Refused",
        "NotForwarded",
        "NoRoute",
        "ReversePath",
        "Loop",
        "Astray",
        "3 hosts",
    ] {
        assert!(seen.get(kind).is_some_and(|&count| count > 1), "{kind} is too rare: {seen:?}");
    }
}
