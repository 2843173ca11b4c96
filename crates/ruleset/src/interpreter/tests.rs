//! The interpreter against nft(8) and the kernel's sources, on rulesets built by hand.

use super::{End, HookResult, Interpreter, Outcome, Translation, Walk, What};
use crate::ir::*;
use crate::{Surroundings, Unknown};
use firewarden_diagnostic::Span;
use firewarden_packet::{
    AtomTable, Cube, Field, InterfaceName, IntervalSet, Point, Purity, ct_state, ct_status, fib_type,
};
use smallvec::smallvec;

/// Builds a ruleset: chains are added by name, rules as lists of statements.
#[derive(Default)]
struct Build {
    ruleset: Ruleset,
    atoms: AtomTable,
}

impl Build {
    fn new() -> Build {
        let mut build = Build::default();
        build.ruleset.tables.push(Table {
            family: Family::Inet,
            name: "t".into(),
            dialect: Dialect::Nft,
            dormant: false,
            span: Span::default(),
        });
        build
    }

    fn chain(&mut self, base: Option<BaseChain>, rules: Vec<Vec<Statement>>) -> ChainId {
        let rules = rules
            .into_iter()
            .map(|statements| Rule {
                statements: statements.into(),
                span: Span::default(),
                handle: 0,
                comment: None,
            })
            .collect();
        self.ruleset.chains.push(Chain {
            table: TableId(0),
            name: "c".into(),
            base,
            rules,
            span: Span::default(),
        });
        ChainId(self.ruleset.chains.len() as u32 - 1)
    }

    fn base(
        &mut self,
        chain_type: ChainType,
        hook: Hook,
        priority: i32,
        policy: Policy,
        rules: Vec<Vec<Statement>>,
    ) -> ChainId {
        let base = BaseChain {
            chain_type,
            hook,
            priority,
            policy,
            devices: Vec::new(),
            policy_span: Span::default(),
        };
        self.chain(Some(base), rules)
    }

    fn map(&mut self, entries: Vec<((u128, u128), MapData)>) -> MapId {
        let entries = entries
            .into_iter()
            .map(|(key, data)| MapEntry { key: smallvec![key], data, span: Span::default() })
            .collect();
        self.ruleset.maps.push(Map {
            table: TableId(0),
            name: "m".into(),
            arity: 1,
            entries,
            span: Span::default(),
        });
        MapId(self.ruleset.maps.len() as u32 - 1)
    }

    fn run(&self, hook: Hook, walk: &mut Walk) -> HookResult {
        Interpreter::new(&self.ruleset, &self.atoms).run_hook(hook, walk, &Here)
    }

    /// The outcome for a packet on one hook, and what it looks like afterwards.
    fn outcome(&self, hook: Hook, packet: &Point) -> (Outcome, Point) {
        let mut walk = Walk::new(packet.clone());
        let result = self.run(hook, &mut walk);
        (result.outcome, walk.now)
    }
}

/// A host with 10.0.0.1 on `lan`.
struct Here;

impl Surroundings for Here {
    fn interface_address(&self, interface: InterfaceName, nfproto: u128) -> Option<u128> {
        (interface == InterfaceName::new("lan").unwrap() && nfproto == 2).then_some(0x0a00_0001)
    }

    fn address_type(&self, _: u128, address: u128) -> Option<(u128, (u128, u128))> {
        let kind = if address == 0x0a00_0001 { fib_type::LOCAL } else { fib_type::UNICAST };
        Some((kind, (address, address)))
    }
}

fn is(field: Field, value: u128) -> Statement {
    Statement::Test(Test::Range { field, set: IntervalSet::single(value) })
}

fn set(field: Field, value: u128) -> Statement {
    Statement::Assign { field, value: Value::Const(value) }
}

const ACCEPT: Statement = Statement::Verdict(Verdict::Accept);
const DROP: Statement = Statement::Verdict(Verdict::Drop);
const RETURN: Statement = Statement::Verdict(Verdict::Return);

fn jump(chain: ChainId) -> Statement {
    Statement::Verdict(Verdict::Jump(chain))
}

fn goto(chain: ChainId) -> Statement {
    Statement::Verdict(Verdict::Goto(chain))
}

fn filter(build: &mut Build, policy: Policy, rules: Vec<Vec<Statement>>) -> ChainId {
    build.base(ChainType::Filter, Hook::Input, 0, policy, rules)
}

fn nat(direction: NatDirection, address: NatAddress, port: Option<u128>) -> Statement {
    Statement::Nat(Box::new(Nat {
        direction,
        address,
        port: port.map(Value::Const),
        nfproto: None,
        unknown_address: None,
    }))
}

fn to(address: u128) -> NatAddress {
    NatAddress::To(Value::Const(address))
}

#[test]
fn accept_ends_one_base_chain_and_drop_all() {
    let mut build = Build::new();
    filter(&mut build, Policy::Drop, vec![vec![ACCEPT]]);
    build.base(
        ChainType::Filter,
        Hook::Input,
        10,
        Policy::Accept,
        vec![vec![is(Field::DPORT, 22), DROP], vec![set(Field::MARK, 7)]],
    );
    let web = build.outcome(Hook::Input, &Point::default());
    assert_eq!((web.0, web.1.get(Field::MARK)), (Outcome::Accepted, 7));
    let ssh = build.outcome(Hook::Input, &Point::default().with(Field::DPORT, 22));
    assert_eq!((ssh.0, ssh.1.get(Field::MARK)), (Outcome::Dropped, 0));
}

#[test]
fn the_policy_is_for_packets_that_reach_the_end() {
    let mut build = Build::new();
    let base = filter(&mut build, Policy::Drop, vec![vec![is(Field::DPORT, 22), ACCEPT], vec![RETURN]]);
    let mut walk = Walk::new(Point::default());
    let result = build.run(Hook::Input, &mut walk);
    assert_eq!(result.outcome, Outcome::Dropped);
    let last = result.events.last().unwrap();
    assert_eq!(last.what, What::Policy(Policy::Drop));
    assert_eq!((last.rule.chain, last.rule.index), (base, 2));
}

#[test]
fn a_called_chain_comes_back_and_a_goto_does_not() {
    for (way, mark) in [(jump as fn(ChainId) -> Statement, 3), (goto, 1)] {
        let mut build = Build::new();
        let leaf = build.chain(None, vec![vec![set(Field::MARK, 1)]]);
        filter(&mut build, Policy::Accept, vec![vec![way(leaf)], vec![set(Field::MARK, 3)]]);
        let (outcome, packet) = build.outcome(Hook::Input, &Point::default());
        assert_eq!((outcome, packet.get(Field::MARK)), (Outcome::Accepted, mark));
    }
}

#[test]
fn the_end_of_a_chain_one_went_to_is_the_end_of_the_one_that_went() {
    // base jumps to a; a goes to b; b ends, so base goes on behind its jump, not a behind its goto.
    for last in [vec![], vec![vec![RETURN]]] {
        let mut build = Build::new();
        let b = build.chain(None, last);
        let a = build.chain(None, vec![vec![goto(b)], vec![DROP]]);
        filter(&mut build, Policy::Drop, vec![vec![jump(a)], vec![ACCEPT]]);
        assert_eq!(build.outcome(Hook::Input, &Point::default()).0, Outcome::Accepted);
    }
}

#[test]
fn effects_stay_where_a_later_test_fails() {
    let mut build = Build::new();
    filter(&mut build, Policy::Accept, vec![vec![set(Field::MARK, 5), is(Field::DPORT, 22), DROP]]);
    let (outcome, packet) = build.outcome(Hook::Input, &Point::default());
    assert_eq!((outcome, packet.get(Field::MARK)), (Outcome::Accepted, 5));
}

#[test]
fn a_key_that_is_not_in_the_map_ends_the_rule() {
    let mut build = Build::new();
    let verdicts = build.map(vec![((80, 443), MapData::Verdict(Verdict::Drop))]);
    let marks = build.map(vec![((22, 22), MapData::Values(smallvec![Value::Const(9)]))]);
    let rules = vec![
        vec![Statement::VerdictMap { key: smallvec![Field::DPORT], map: verdicts }],
        vec![
            Statement::Assign {
                field: Field::MARK,
                value: Value::Map { key: smallvec![Field::DPORT], map: marks, component: 0 },
            },
            ACCEPT,
        ],
    ];
    filter(&mut build, Policy::Drop, rules);
    assert_eq!(build.outcome(Hook::Input, &Point::default()).0, Outcome::Dropped);
    let (outcome, packet) = build.outcome(Hook::Input, &Point::default().with(Field::DPORT, 22));
    assert_eq!((outcome, packet.get(Field::MARK)), (Outcome::Accepted, 9));
    assert_eq!(build.outcome(Hook::Input, &Point::default().with(Field::DPORT, 25)).0, Outcome::Dropped);
}

#[test]
fn flags_are_tested_under_a_mask_or_exactly() {
    let syn = Cube { mask: 2, value: 0 };
    let only_syn = Cube { mask: 0xff, value: 2 };
    for (cube, negated, flags, passes) in [
        (syn, true, 0x12, true),
        (syn, true, 0x10, false),
        (only_syn, false, 0x12, false),
        (only_syn, false, 2, true),
    ] {
        let mut build = Build::new();
        let test = Test::Bits { field: Field::TCP_FLAGS, cubes: smallvec![cube], negated };
        filter(&mut build, Policy::Accept, vec![vec![Statement::Test(test), DROP]]);
        let dropped = build.outcome(Hook::Input, &Point::default().with(Field::TCP_FLAGS, flags)).0;
        assert_eq!(dropped == Outcome::Dropped, passes, "{cube:?} {negated} {flags}");
    }
}

#[test]
fn before_conntrack_every_packet_is_invalid_and_has_no_connection() {
    let mut build = Build::new();
    let not_marked = Statement::Test(Test::Bits {
        field: Field::CT_MARK,
        cubes: smallvec![Cube { mask: 1, value: 1 }],
        negated: true,
    });
    let rules = vec![
        vec![is(Field::CT_STATE, ct_state::INVALID), set(Field::MARK, 1)],
        vec![not_marked, set(Field::MARK, 2)],
        vec![set(Field::CT_MARK, 4)],
    ];
    build.base(ChainType::Filter, Hook::Prerouting, -300, Policy::Accept, rules);
    let rules = vec![vec![is(Field::CT_STATE, ct_state::NEW), set(Field::TTL, 1)]];
    build.base(ChainType::Filter, Hook::Prerouting, -150, Policy::Accept, rules);
    let (_, packet) = build.outcome(Hook::Prerouting, &Point::default());
    let seen = [Field::MARK, Field::TTL, Field::CT_MARK, Field::CT_ORIGINAL_DPORT].map(|f| packet.get(f));
    assert_eq!(seen, [1, 1, 0, 443]);
}

#[test]
fn neighbour_discovery_is_never_tracked() {
    let mut build = Build::new();
    let rules = vec![vec![is(Field::CT_STATE, ct_state::UNTRACKED), set(Field::MARK, 1)]];
    build.base(ChainType::Filter, Hook::Prerouting, 0, Policy::Accept, rules);
    let icmp = Point::default().with(Field::NFPROTO, 10).with(Field::L4PROTO, 58);
    for (kind, mark) in [(129, 0), (130, 1), (135, 1), (136, 1), (137, 0), (143, 1), (151, 1), (153, 0)] {
        let (_, packet) = build.outcome(Hook::Prerouting, &icmp.clone().with(Field::ICMP_TYPE, kind));
        assert_eq!(packet.get(Field::MARK), mark, "type {kind}");
    }
    let ipv4 = Point::default().with(Field::L4PROTO, 58).with(Field::ICMP_TYPE, 135);
    assert_eq!(build.outcome(Hook::Prerouting, &ipv4).1.get(Field::MARK), 0);
}

#[test]
fn a_redirect_within_a_link_ends_at_an_unknown_address() {
    let mut build = Build::new();
    let unknown = build.atoms.choice("", "address", "redirect", Purity::Pure, (100, 200));
    let rule = Statement::Nat(Box::new(Nat {
        direction: NatDirection::Destination,
        address: NatAddress::ThisHost,
        port: None,
        nfproto: None,
        unknown_address: Some(unknown),
    }));
    build.base(ChainType::Nat, Hook::Prerouting, -100, Policy::Accept, vec![vec![rule]]);
    let lan = InterfaceName::new("lan").unwrap().0;
    let here = Point::default().with(Field::IIFNAME, lan).with(unknown, 150);
    assert_eq!(build.outcome(Hook::Prerouting, &here).1.get(Field::DADDR), 0x0a00_0001);
    let link = here.with(Field::NFPROTO, 10).with(Field::DADDR, 0xfe80 << 112 | 1);
    assert_eq!(build.outcome(Hook::Prerouting, &link).1.get(Field::DADDR), 150);
}

#[test]
fn notrack_counts_only_before_conntrack() {
    for (priority, state) in [(-300, ct_state::UNTRACKED), (0, ct_state::NEW)] {
        let mut build = Build::new();
        let rules = vec![vec![Statement::Notrack], vec![is(Field::CT_STATE, state), set(Field::MARK, 1)]];
        build.base(ChainType::Filter, Hook::Prerouting, priority, Policy::Accept, rules);
        let (_, packet) = build.outcome(Hook::Prerouting, &Point::default());
        assert_eq!((packet.get(Field::CT_STATE), packet.get(Field::MARK)), (state, 1));
    }
}

#[test]
fn the_first_translation_of_an_end_is_the_last() {
    let mut build = Build::new();
    let rule = |address| vec![nat(NatDirection::Destination, to(address), Some(8080))];
    build.base(ChainType::Nat, Hook::Prerouting, -100, Policy::Accept, vec![rule(0x0a00_0001), vec![DROP]]);
    build.base(ChainType::Nat, Hook::Prerouting, -90, Policy::Accept, vec![rule(2)]);
    let rules = vec![vec![is(Field::DPORT, 8080), set(Field::MARK, 1)]];
    build.base(ChainType::Filter, Hook::Prerouting, 0, Policy::Accept, rules);
    let mut walk = Walk::new(Point::default().with(Field::FIB_DADDR_TYPE, fib_type::UNICAST));
    let result = build.run(Hook::Prerouting, &mut walk);
    assert_eq!(result.outcome, Outcome::Accepted);
    let now = |field| walk.now.get(field);
    assert_eq!(now(Field::DADDR), 0x0a00_0001);
    assert_eq!(now(Field::MARK), 1);
    assert_eq!(now(Field::CT_STATUS), ct_status::DNAT);
    assert_eq!(now(Field::FIB_DADDR_TYPE), fib_type::LOCAL);
    assert_eq!(now(Field::CT_ORIGINAL_DADDR), Point::default().get(Field::DADDR));
    assert!(walk.destination_done && !walk.source_done);
}

#[test]
fn packets_of_a_connection_skip_nat_chains_and_follow_it() {
    let mut build = Build::new();
    let rule = nat(NatDirection::Source, to(1), None);
    build.base(ChainType::Nat, Hook::Postrouting, 100, Policy::Accept, vec![vec![rule]]);
    let mut walk = Walk::new(Point::default().with(Field::CT_STATE, ct_state::ESTABLISHED));
    walk.translation = Translation { source: Some(End { address: 7, port: 70 }), destination: None };
    let result = build.run(Hook::Postrouting, &mut walk);
    assert!(result.events.is_empty());
    assert_eq!((walk.now.get(Field::SADDR), walk.now.get(Field::SPORT)), (7, 70));
}

#[test]
fn translations_of_all_kinds() {
    let lan = InterfaceName::new("lan").unwrap().0;
    let packet = Point::default().with(Field::IIFNAME, lan).with(Field::OIFNAME, lan);
    let icmp = packet.clone().with(Field::L4PROTO, 1);
    let own = packet.get(Field::SADDR);
    let (source, destination) = (NatDirection::Source, NatDirection::Destination);
    let cases = [
        (&packet, source, NatAddress::OfOutputInterface, None, (0x0a00_0001, 40_000), ct_status::SNAT),
        (&packet, source, to(own), None, (own, 40_000), 0),
        (&packet, source, NatAddress::Keep, Some(5), (own, 5), ct_status::SNAT),
        (&packet, destination, NatAddress::ThisHost, Some(1), (0x0a00_0001, 1), ct_status::DNAT),
        (&icmp, destination, to(9), Some(1), (9, 443), ct_status::DNAT),
    ];
    for (packet, direction, address, port, expected, status) in cases {
        let mut build = Build::new();
        let hook = if direction == source { Hook::Postrouting } else { Hook::Prerouting };
        let rule = nat(direction, address.clone(), port);
        build.base(ChainType::Nat, hook, 0, Policy::Accept, vec![vec![rule]]);
        let (_, now) = build.outcome(hook, packet);
        let (address_field, port_field) = match direction {
            NatDirection::Source => (Field::SADDR, Field::SPORT),
            NatDirection::Destination => (Field::DADDR, Field::DPORT),
        };
        assert_eq!((now.get(address_field), now.get(port_field)), expected, "{address:?}");
        assert_eq!(now.get(Field::CT_STATUS), status, "{address:?}");
    }
}

#[test]
fn an_unknown_address_is_the_choice_of_the_question() {
    let mut build = Build::new();
    let unknown = build.atoms.choice("", "address", "masquerade", Purity::Pure, (100, 200));
    let rule = Statement::Nat(Box::new(Nat {
        direction: NatDirection::Source,
        address: NatAddress::OfOutputInterface,
        port: None,
        nfproto: Some(2),
        unknown_address: Some(unknown),
    }));
    build.base(ChainType::Nat, Hook::Postrouting, 100, Policy::Accept, vec![vec![rule]]);
    for (value, expected) in [(150, 150), (0, 100), (999, 200)] {
        let mut walk = Walk::new(Point::default().with(unknown, value));
        Interpreter::new(&build.ruleset, &build.atoms).run_hook(Hook::Postrouting, &mut walk, &Unknown);
        assert_eq!(walk.now.get(Field::SADDR), expected);
    }
    let ipv6 = Point::default().with(Field::NFPROTO, 10);
    assert_eq!(build.outcome(Hook::Postrouting, &ipv6).1.get(Field::SADDR), ipv6.get(Field::SADDR));
}

#[test]
fn values_are_mixed_bit_by_bit() {
    let mut build = Build::new();
    let netmap = Value::Mix { terms: Box::new([(Field::DADDR, 0xff)]), xor: Box::new(0x0a00_0000) };
    let mark =
        Value::Mix { terms: Box::new([(Field::MARK, 0xf0), (Field::CT_MARK, 0x0f)]), xor: Box::new(0x100) };
    let rules = vec![
        vec![Statement::Assign { field: Field::MARK, value: mark }],
        vec![Statement::Assign { field: Field::DADDR, value: netmap }],
    ];
    filter(&mut build, Policy::Accept, rules);
    let packet = Point::default().with(Field::MARK, 0xab).with(Field::CT_MARK, 0xcd);
    let (_, now) = build.outcome(Hook::Input, &packet);
    assert_eq!((now.get(Field::MARK), now.get(Field::DADDR)), (0x1ad, 0x0a00_0001));
    let untracked = packet.with(Field::CT_STATE, ct_state::UNTRACKED);
    assert_eq!(build.outcome(Hook::Input, &untracked).1.get(Field::MARK), 0xab);
}

#[test]
fn opaque_verdicts_and_tests_follow_their_atoms() {
    let mut build = Build::new();
    let limit = build.atoms.atom("", "limit", "limit rate 5/second", Purity::Stateful);
    let queue = build.atoms.atom("", "queue", "queue num 1", Purity::Pure);
    let rules = vec![
        vec![Statement::Test(Test::Atom { atom: limit, negated: true }), DROP],
        vec![Statement::Verdict(Verdict::Opaque { atom: queue })],
    ];
    filter(&mut build, Policy::Accept, rules);
    for (limit_holds, queue_accepts, outcome) in
        [(0, 1, Outcome::Dropped), (1, 1, Outcome::Accepted), (1, 0, Outcome::Dropped)]
    {
        let packet = Point::default().with(limit, limit_holds).with(queue, queue_accepts);
        assert_eq!(build.outcome(Hook::Input, &packet).0, outcome);
    }
}

#[test]
fn rings_of_chains_end() {
    for way in [jump, goto] {
        let mut build = Build::new();
        let ring = build.chain(None, vec![vec![way(ChainId(0))]]);
        filter(&mut build, Policy::Accept, vec![vec![way(ring)]]);
        assert_eq!(build.outcome(Hook::Input, &Point::default()).0, Outcome::Dropped);
    }
}

#[test]
fn nat_chains_run_at_their_fixed_priority() {
    for (hook, direction, field) in [
        (Hook::Prerouting, NatDirection::Destination, Field::DPORT),
        (Hook::Output, NatDirection::Destination, Field::DPORT),
        (Hook::Postrouting, NatDirection::Source, Field::SPORT),
    ] {
        let mut build = Build::new();
        let rules = vec![vec![is(field, 8080), set(Field::MARK, 1)]];
        build.base(ChainType::Filter, hook, 150, Policy::Accept, rules);
        let rule = nat(direction, NatAddress::Keep, Some(8080));
        build.base(ChainType::Nat, hook, 300, Policy::Accept, vec![vec![rule]]);
        assert_eq!(build.outcome(hook, &Point::default()).1.get(Field::MARK), 1, "{hook:?}");
    }
}
