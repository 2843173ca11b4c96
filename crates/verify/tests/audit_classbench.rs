//! The rules that never match in filter sets of ClassBench's kind, held against reference lists.
//! `FIREWARDEN_CORPUS` names the corpus folder.

mod support;

use firewarden_engine::Engine;
use firewarden_verify::audit::{AuditOptions, Ledger, Prober, Space, Standing};
use support::World;

/// A filter set in nft's words. Any port of a rule without a protocol is no condition.
fn text(csv: &str) -> String {
    let mut text =
        String::from("table ip t {\nchain f {\ntype filter hook forward priority 0; policy drop;\n");
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        text.push_str(&format!("ip saddr {} ip daddr {} ", fields[0], fields[1]));
        if !matches!(fields[2], "any" | "*" | "0" | "ip" | "0-255") {
            text.push_str(&format!("meta l4proto {} ", fields[2]));
        }
        for (word, ports) in [("sport", fields[3]), ("dport", fields[4])] {
            if ports != "0-65535" {
                text.push_str(&format!("th {word} {ports} "));
            }
        }
        text.push_str(if fields[5].trim() == "permit" { "accept\n" } else { "drop\n" });
    }
    text.push_str("}\n}\n");
    text
}

#[test]
fn the_unreachable_lines_are_those_of_the_reference() {
    let Ok(corpus) = std::env::var("FIREWARDEN_CORPUS") else {
        println!("skipped: FIREWARDEN_CORPUS isn't set, so there are no filter sets to ask");
        return;
    };
    let mut compared = 0;
    for name in ["acl1_1k", "fw1_1k", "ipc1_1k"] {
        let read = |suffix: &str| std::fs::read_to_string(format!("{corpus}/classbench/{name}{suffix}"));
        let Ok(csv) = read(".csv") else {
            println!("skipped: {name} isn't in the corpus");
            continue;
        };
        let world = World::bare(&text(&csv));
        let host = &world.hosts[0];
        let (engine, space) = (Engine::new(&host.ruleset), Space::new(&host.ruleset));
        let mut prober = Prober::new(host, &engine, &space, &world.atoms, AuditOptions::default());
        let ledger = Ledger::of(&mut prober);
        let dead: Vec<u32> = ledger
            .rules
            .iter()
            .filter(|(_, standing)| matches!(standing, Standing::Dead(_)))
            .map(|(at, _)| at.index)
            .collect();
        assert!(!ledger.rules.values().any(|standing| matches!(standing, Standing::Unknown)), "{name}");
        let Ok(reference) = read(".unreachable.txt") else {
            println!("{name}: {} dead, no reference", dead.len());
            continue;
        };
        let expected: Vec<u32> =
            reference.lines().filter_map(|line| line.split(':').next()?.trim().parse().ok()).collect();
        assert_eq!(dead, expected, "{name}");
        println!("{name}: {} dead, as in the reference", dead.len());
        compared += 1;
    }
    assert!(compared > 0, "FIREWARDEN_CORPUS has no reference");
}
