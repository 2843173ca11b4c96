//! Verdicts against packets: what is proved must hold for every packet one tries, and what fails must fail for one.

mod support;
use firewarden_diagnostic::Verdict;
use firewarden_packet::{Field, Point, ct_state, tcp_flag};
use firewarden_verify::trace;
use support::World;

/// A small generator of numbers (Knuth's MMIX constants): the same seed gives the same rulesets everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn rule(dice: &mut Dice) -> String {
    let mut parts = Vec::new();
    if dice.below(2) == 0 {
        parts.push(dice.pick(&[
            "ip saddr 10.0.0.0/29",
            "ip saddr 10.0.0.4",
            "ip saddr != 10.0.0.0/30",
            "ip saddr { 10.0.0.1, 10.0.0.6-10.0.0.9 }",
            "ip saddr 10.0.0.8/29",
        ]));
    }
    if dice.below(2) == 0 {
        parts.push(dice.pick(&[
            "tcp dport 80",
            "tcp dport { 80, 82 }",
            "tcp dport 81-83",
            "tcp dport != 81",
            "tcp sport < 30000",
        ]));
    }
    if dice.below(4) == 0 {
        parts.push(dice.pick(&[
            "iifname eth0",
            "iifname != eth0",
            "limit rate 5/second",
            "limit rate over 9/second",
        ]));
    }
    parts.push(dice.pick(&["accept", "accept", "drop", "jump side", "return", "reject"]));
    parts.join(" ")
}

#[test]
fn verdicts_agree_with_packets() {
    let mut sometimes = 0;
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..300u64 {
        let mut dice = Dice(seed);
        let chain = |dice: &mut Dice, jumps: bool| -> String {
            let count = 1 + dice.below(5);
            let mut text = String::new();
            for _ in 0..count {
                let rule = rule(dice);
                text.push_str(&if jumps { rule } else { rule.replace("jump side", "continue") });
                text.push('\n');
            }
            text
        };
        let side = chain(&mut dice, false);
        let main = chain(&mut dice, true);
        let ruleset = format!(
            "table inet f {{\nchain side {{\n{side}}}\nchain i {{ type filter hook input priority 0; policy {};\nct state established accept\n{main}}}\n}}",
            dice.pick(&["accept", "drop"])
        );
        for expectation in ["allow", "deny"] {
            let mut world = World::bare(&ruleset);
            let intent = format!("{expectation} 10.0.0.0/28 -> 10.9.9.9 tcp/80-83");
            let checked = world.check(&[&intent]);
            let verdict = checked.results[0].verdict;
            *counts.entry((expectation, verdict)).or_insert(0) += 1;
            let shown = world.show(&checked.results[0]);
            let (mut good, mut bad) = (0, 0);
            for _ in 0..150 {
                let mut point = Point::default()
                    .with(Field::SADDR, 0x0A00_0000 + u128::from(dice.below(16)))
                    .with(Field::DADDR, 0x0A09_0909)
                    .with(Field::SPORT, u128::from(1024 + dice.below(64_000)))
                    .with(Field::DPORT, u128::from(80 + dice.below(4)))
                    .with(Field::TCP_FLAGS, tcp_flag::SYN)
                    .with(Field::CT_STATE, ct_state::NEW);
                let input = firewarden_packet::InterfaceName::new(dice.pick(&["eth0", "eth1"])).unwrap();
                point.set(Field::IIFNAME, input.0);
                let atoms: Vec<Field> = world
                    .atoms
                    .iter()
                    .filter(|(_, info)| info.domain == (0, 1))
                    .map(|(field, _)| field)
                    .collect();
                for field in atoms {
                    point.set(field, u128::from(dice.below(2)));
                }
                let accepted = trace(&world.hosts[0], &point, &world.atoms, &world.sources).unwrap().accepted;
                if accepted == (expectation == "allow") {
                    good += 1;
                } else {
                    bad += 1;
                }
            }
            match verdict {
                Verdict::Pass => assert_eq!(bad, 0, "seed {seed}\n{ruleset}\n{shown}"),
                // Its witness was replayed; of packets tried blindly, all may be good ones.
                Verdict::Fail => {}
                Verdict::Depends => sometimes += u32::from(good > 0 && bad > 0),
                other => panic!("seed {seed}: {other:?}\n{ruleset}\n{shown}"),
            }
        }
    }
    assert!(sometimes > 20, "{sometimes}");
    // All kinds of answers came up.
    assert!(counts.len() >= 6, "{counts:?}");
}

#[test]
fn a_failure_is_not_a_doubt() {
    // Where atoms decide for some packets and not for others, the packet for which they don't is the one to show.
    let ruleset = "table inet f {\nchain i { type filter hook input priority 0; policy drop;\nct state established accept\nip saddr 10.0.0.0/29 limit rate 5/second accept\nip saddr 10.0.0.8 drop\naccept\n}\n}";
    let mut world = World::bare(ruleset);
    let checked = world.check(&["allow 10.0.0.0/28 -> 10.9.9.9 tcp/80"]);
    let shown = world.show(&checked.results[0]);
    assert_eq!(checked.results[0].verdict, Verdict::Fail, "{shown}");
    assert!(shown.contains("tcp 10.0.0.8:40000"), "{shown}");
    // One limit or its opposite accepts: whatever the limit is, the packet gets in.
    let ruleset = "table inet f {\nchain i { type filter hook input priority 0; policy drop;\nct state established accept\niifname eth0 accept\niifname != eth0 accept\n}\n}";
    let mut world = World::bare(ruleset);
    let checked =
        world.check(&["allow 10.0.0.0/28 -> 10.9.9.9 tcp/80", "deny 10.0.0.0/28 -> 10.9.9.9 tcp/81"]);
    assert_eq!(support::verdicts(&checked), [Verdict::Pass, Verdict::Fail]);
    // Two limits in a row: a packet that both refuse is refused, one that neither refuses is accepted.
    let ruleset = "table inet f {\nchain i { type filter hook input priority 0; policy drop;\nct state established accept\nlimit rate 5/second accept\nlimit rate 9/second drop\n}\n}";
    let mut world = World::bare(ruleset);
    let checked =
        world.check(&["allow 10.0.0.0/28 -> 10.9.9.9 tcp/80", "deny 10.0.0.0/28 -> 10.9.9.9 tcp/81"]);
    assert_eq!(support::verdicts(&checked), [Verdict::Depends, Verdict::Depends]);
}
