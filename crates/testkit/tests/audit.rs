//! What the audit says of generated rulesets, held against the interpreter and random packets: dead rules are never on a
//! packet's way, all rules that change nothing can be removed together, and each live rule's packet meets it.
//!
//! `FIREWARDEN_SEED` sets the first seed.

use firewarden_engine::Engine;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, PacketBox, Point};
use firewarden_ruleset::interpreter::{Interpreter, Outcome, Walk};
use firewarden_ruleset::ir::{ChainId, Hook, Rule, RuleRef, Ruleset, Statement, Verdict};
use firewarden_testkit::generate::{Knobs, ruleset};
use firewarden_testkit::host::{WAYS, World};
use firewarden_testkit::load::load;
use firewarden_testkit::packets::{Constants, packet};
use firewarden_testkit::random::Random;
use firewarden_verify::audit::{AuditOptions, Ledger, Prober, Space, Standing, packets};
use std::collections::BTreeSet;

const RULESETS: u64 = 40;
const PACKETS: usize = 150;

/// What a hook does to a packet, with the rules on the way.
fn run(host: &Host, atoms: &AtomTable, hook: Hook, packet: &Point) -> (Outcome, Point, Vec<RuleRef>) {
    let mut walk = Walk::new(packet.clone());
    let result = Interpreter::new(&host.ruleset, atoms).run_hook(hook, &mut walk, host);
    (result.outcome, walk.now, result.events.iter().map(|event| event.rule).collect())
}

fn without(ruleset: &Ruleset, gone: &BTreeSet<RuleRef>) -> Ruleset {
    let mut rest = ruleset.clone();
    for (number, chain) in rest.chains.iter_mut().enumerate() {
        let mut index = 0;
        chain.rules.retain(|_| {
            let at = RuleRef { chain: ChainId(number as u32), index };
            index += 1;
            !gone.contains(&at)
        });
    }
    rest
}

/// True for rules that leave an event wherever they act.
fn decides(rule: &Rule) -> bool {
    let effect = rule
        .statements
        .iter()
        .find(|statement| !matches!(statement, Statement::Test(_) | Statement::Neutral(_)));
    matches!(effect, Some(Statement::Verdict(verdict)) if *verdict != Verdict::Continue)
}

#[derive(Default)]
struct Seen {
    dead: usize,
    redundant: usize,
    live: usize,
    unknown: usize,
    packets: usize,
}

fn examine(seed: u64, seen: &mut Seen) {
    let generated = ruleset(seed, &Knobs { rules: 8, ..Knobs::default() });
    let mut atoms = AtomTable::default();
    let ruleset = load(&generated, &mut atoms).unwrap();
    let host = Host { ruleset, ..Host::default() };
    let (engine, space) = (Engine::new(&host.ruleset), Space::new(&host.ruleset));
    let options = AuditOptions { regions: 400, steps_for_rule: 200_000, ..AuditOptions::default() };
    let mut prober = Prober::new(&host, &engine, &space, &atoms, options);
    let ledger = Ledger::of(&mut prober);
    let (mut dead, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let text = || generated.text();
    for (&at, standing) in &ledger.rules {
        match standing {
            Standing::Dead(_) | Standing::CutOff => {
                dead.extend(space.unit(at));
                seen.dead += 1;
            }
            Standing::Redundant(..) => {
                gone.extend(space.unit(at));
                seen.redundant += 1;
            }
            Standing::Needed(_) => seen.live += 1,
            Standing::Unknown | Standing::Open(_) => seen.unknown += 1,
        }
        if let Standing::Needed(met) | Standing::Redundant(met, _) = standing {
            let members: Vec<RuleRef> = space.unit(at).collect();
            if members.iter().all(|&member| host.ruleset.rule(member).is_some_and(decides)) {
                let (.., events) = run(&host, &atoms, met.hook, &met.packet);
                let met_it = events.iter().any(|event| members.contains(event));
                assert!(met_it, "seed {seed}: {at:?} isn't on the way of {:?}\n{}", met.packet, text());
            }
        }
    }
    gone.extend(&dead);
    let smaller = Host { ruleset: without(&host.ruleset, &gone), ..Host::default() };
    let constants = Constants::of(&host.ruleset);
    let world = World { text: generated.clone(), ruleset: host.ruleset.clone(), atoms: atoms.clone() };
    let mut random = Random::new(seed);
    let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    for _ in 0..PACKETS {
        let hook = random.of(&hooks);
        let raw = packet(&mut random, &world, &constants, random_way(seen.packets));
        let question: PacketBox = packets(hook, raw.get(Field::NFPROTO));
        let mut point = Point::in_box(&question, &raw);
        for (field, info) in atoms.iter() {
            let span = (info.domain.1 - info.domain.0).min(1_000_000) as usize;
            point.set(field, info.domain.0 + random.below(span + 1) as u128);
        }
        let (outcome, now, events) = run(&host, &atoms, hook, &point);
        if let Some(hit) = events.iter().find(|event| dead.contains(event)) {
            panic!("seed {seed}: {hit:?} was called dead, but {point:?} meets it on {hook:?}\n{}", text());
        }
        let (other, other_now, _) = run(&smaller, &atoms, hook, &point);
        assert_eq!(outcome, other, "seed {seed}: without {gone:?}, on {hook:?}: {point:?}\n{}", text());
        if outcome == Outcome::Accepted {
            assert_eq!(now, other_now, "seed {seed}: without {gone:?}, on {hook:?}\n{}", text());
        }
        seen.packets += 1;
    }
}

fn random_way(number: usize) -> firewarden_testkit::host::Way {
    WAYS[number % WAYS.len()]
}

#[test]
fn the_audit_is_right_about_random_packets() {
    let first = std::env::var("FIREWARDEN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("seed {first}");
    let mut seen = Seen::default();
    for seed in first..first + RULESETS {
        examine(seed, &mut seen);
    }
    eprintln!(
        "{} live, {} dead, {} redundant, {} unknown, {} packets",
        seen.live, seen.dead, seen.redundant, seen.unknown, seen.packets
    );
    assert!(seen.dead > 20 && seen.redundant > 20 && seen.live > 200, "the rulesets hold too little of each");
    assert!(seen.unknown < seen.live, "too many rules without an answer");
}
