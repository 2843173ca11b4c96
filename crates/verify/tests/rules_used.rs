//! Which rules an intent needs, held against the interpreter's own way of packets.

mod support;

use firewarden_diagnostic::Span;
use firewarden_packet::text;
use firewarden_verify::{CheckOptions, check, trace_stack};
use std::collections::BTreeSet;
use support::World;

/// The web stack, and for each intent its name and the places of the rules it needs.
fn used(world: &mut World) -> Vec<(String, BTreeSet<Span>)> {
    let stack = world.stack.clone().unwrap();
    let options = CheckOptions { rules: true, ..CheckOptions::default() };
    let checked =
        check(&mut world.hosts, Some(&stack), &stack.intents, &mut world.atoms, &world.sources, &options)
            .unwrap();
    assert_eq!(checked.rules.len(), stack.intents.len());
    let spans = checked.rules.iter().map(|used| {
        assert!(!used.more);
        let span = |&(host, at): &(usize, firewarden_ruleset::ir::RuleRef)| {
            let ruleset = &world.hosts[host].ruleset;
            let chain = ruleset.chain(at.chain).unwrap();
            let policy = || chain.base.as_ref().map_or(chain.span, |base| base.policy_span);
            ruleset.rule(at).map_or_else(policy, |rule| rule.span)
        };
        used.rules.iter().map(span).collect()
    });
    checked.results.iter().map(|result| result.name.clone()).zip(spans).collect()
}

#[test]
fn every_rule_that_a_packet_meets_is_needed() {
    let mut world = World::folder("examples/webstack");
    let used = used(&mut world);
    let stack = world.stack.clone().unwrap();
    let mut steps = 0;
    for (name, template) in [
        ("public-web", "tcp 8.8.PORT:40000 -> 203.0.113.1:443 in wan ct new"),
        ("public-web", "tcp [2a00::7]:PORT -> [2001:db8:0:1::10]:443 in wan ct new"),
        ("lb-to-app", "tcp 10.0.1.10:PORT -> 10.0.2.20:8080 ct new"),
        ("lb-to-app", "tcp [2001:db8:0:1::10]:PORT -> [2001:db8:0:1::21]:8080 ct new"),
        ("app-to-db", "tcp 10.0.2.21:PORT -> 10.0.3.30:5432 ct new"),
        ("ssh", "tcp 198.51.100.9:PORT -> 203.0.113.1:22 in wan ct new"),
        ("haproxy-statistics", "tcp 198.51.100.9:PORT -> 203.0.113.1:8404 in wan ct new"),
        ("partners", "tcp 10.0.2.20:PORT -> 1.1.1.1:443 ct new"),
        ("db-is-internal", "tcp [2a00::7]:PORT -> [2001:db8:0:1::30]:5432 in wan ct new"),
    ] {
        let (_, rules) = used.iter().find(|(of, _)| of == name).unwrap();
        for port in [1, 1023, 1024, 40_000, 65_535] {
            let octets = format!("{}.{}", port / 256, port % 256);
            let packet = match template.contains("8.8.PORT") {
                true => template.replace("PORT", &octets),
                false => template.replace("PORT", &port.to_string()),
            };
            let point = text::parse(&packet).unwrap_or_else(|error| panic!("{packet}: {error:?}"));
            let traced = trace_stack(&world.hosts, &stack, &point, &world.atoms, &world.sources);
            let refuses = name == "db-is-internal";
            assert_eq!(traced.accepted, !refuses, "{packet}: {}", traced.outcome);
            // Of what mustn't arrive only the rule that refuses counts.
            for step in traced.steps.iter().filter(|step| !refuses || step.decides) {
                let Some(span) = step.span else { continue };
                steps += 1;
                assert!(rules.contains(&span), "{name}: {packet} meets {}", world.sources.place(span));
            }
        }
    }
    assert!(steps > 60, "only {steps} steps");
}

#[test]
fn no_rule_of_another_service_is_needed() {
    let mut world = World::folder("examples/webstack");
    let used = used(&mut world);
    let lines = |name: &str, file: &str| -> Vec<u32> {
        let (_, rules) = used.iter().find(|(of, _)| of == name).unwrap();
        let of_file = rules.iter().filter_map(|span| {
            let source = world.sources.get(span.file)?;
            (source.name == file).then(|| source.line_column(span.start).line)
        });
        of_file.collect()
    };
    // The answers' rule, both rules for the service, and the policy that keeps everybody else out.
    assert_eq!(lines("app-to-db", "db.nft"), [20, 23, 29, 30]);
    assert!(lines("public-web", "db.nft").is_empty());
    assert!(!lines("public-web", "lb.nft").contains(&21), "statistics");
}
