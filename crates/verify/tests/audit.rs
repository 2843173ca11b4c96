//! Each finding on a ruleset that has it, and its absence on one that hasn't.

mod support;

use firewarden_diagnostic::{Severity, Verdict};
use firewarden_network::{ListenAddress, Listener};
use firewarden_verify::audit::{
    Audit, AuditOptions, BootRules, CHECKS, Subject, audit, read_baseline, write_baseline,
};
use support::World;

static NO_BOOT: std::collections::BTreeMap<String, BootRules> = std::collections::BTreeMap::new();

fn subject(world: &World) -> Subject<'_> {
    Subject {
        hosts: &world.hosts,
        stack: world.stack.as_ref(),
        atoms: &world.atoms,
        sources: &world.sources,
        today: Some("2026-11-21"),
        boot: &NO_BOOT,
        baseline: None,
    }
}

fn ask(world: &World) -> Audit {
    audit(subject(world), AuditOptions::default()).unwrap()
}

/// The findings of a check that count, as `line: message`.
fn lines(world: &World, answer: &Audit, id: &str) -> Vec<u32> {
    assert!(CHECKS.iter().any(|check| check.id == id), "no check {id}");
    let found = answer.found.iter().filter(|found| found.check.id == id && found.settled.is_none());
    let line = |span: firewarden_diagnostic::Span| {
        world.sources.get(span.file).map_or(0, |file| file.line_column(span.start).line)
    };
    found.map(|found| found.finding.diagnostic.span().map_or(0, line)).collect()
}

/// Audits a text, and gives the lines of a check's findings.
fn found(text: &str, id: &str) -> Vec<u32> {
    let world = World::bare(text);
    let answer = ask(&world);
    lines(&world, &answer, id)
}

/// An input chain with these rules, from line 4 on.
fn input(rules: &[&str]) -> String {
    chain("policy drop", rules)
}

fn chain(policy: &str, rules: &[&str]) -> String {
    let mut text = format!("table inet f {{\nchain in {{\ntype filter hook input priority 0; {policy};\n");
    for rule in rules {
        text.push_str(rule);
        text.push('\n');
    }
    text.push_str("}\n}\n");
    text
}

#[test]
fn a_deny_behind_an_accept() {
    let text = input(&["tcp dport 1-1000 accept", "tcp dport 22 drop", "tcp dport 2000 drop"]);
    assert_eq!(found(&text, "shadowed-deny"), [5]);
    assert!(found(&input(&["tcp dport 22 drop", "tcp dport 1-1000 accept"]), "shadowed-deny").is_empty());
}

#[test]
fn an_accept_behind_denies_and_the_smallest_cover() {
    let rules = [
        "ip saddr 10.0.0.0/9 tcp dport 22 drop",
        "ip saddr 10.7.0.0/16 tcp dport 22 drop",
        "tcp dport 80 accept",
        "ip saddr 10.128.0.0/9 drop",
        "ip saddr 10.0.0.0/8 tcp dport 22 accept",
        "tcp dport 443 accept",
    ];
    let world = World::bare(&input(&rules));
    let answer = ask(&world);
    assert_eq!(lines(&world, &answer, "shadowed-accept"), [8]);
    let dead = answer.found.iter().find(|found| found.check.id == "shadowed-accept").unwrap();
    let covers: Vec<u32> = dead
        .finding
        .diagnostic
        .labels
        .iter()
        .filter(|label| !label.primary)
        .map(|label| world.sources.get(label.span.file).unwrap().line_column(label.span.start).line)
        .collect();
    assert_eq!(covers, [4, 7], "the second rule is inside the first, so it isn't needed");
    // The rule inside another one is itself a repetition.
    assert_eq!(lines(&world, &answer, "shadowed-duplicate"), [5]);
}

#[test]
fn limits_cover_nothing() {
    let rules = ["tcp dport 22 limit rate 5/second drop", "tcp dport 22 accept"];
    assert!(found(&input(&rules), "shadowed-accept").is_empty());
    let both = ["tcp dport 22 limit rate 5/second drop", "tcp dport 22 drop", "tcp dport 22 accept"];
    assert_eq!(found(&input(&both), "shadowed-accept"), [6]);
}

#[test]
fn conditions_that_exclude_each_other() {
    assert_eq!(found(&input(&["tcp dport 22 tcp dport 23 accept"]), "contradictory-rule"), [4]);
    let called = "table inet f {\nchain web {\nudp dport 53 accept\ntcp dport 80 accept\n}\nchain in {\ntype filter hook input priority 0; policy drop;\nmeta l4proto tcp jump web\n}\n}\n";
    assert_eq!(found(called, "contradictory-rule"), [3]);
    let nat = "table ip n {\nchain pre {\ntype nat hook prerouting priority -100;\nct state established accept\ntcp dport 80 dnat to 10.0.0.1\n}\n}\n";
    assert_eq!(found(nat, "contradictory-rule"), [4]);
}

#[test]
fn rules_behind_return_and_goto() {
    let text = "table inet f {\nchain a {\ntcp dport 22 return\ntcp dport 22 meta mark set 1\ngoto b\ntcp dport 80 accept\n}\nchain b {\ntcp dport 443 accept\n}\nchain in {\ntype filter hook input priority 0; policy drop;\njump a\n}\n}\n";
    assert_eq!(found(text, "unreachable-rule"), [4, 6]);
}

#[test]
fn marks_are_followed() {
    let text = chain("policy drop", &["meta mark set 1", "meta mark 2 accept", "meta mark 1 accept"]);
    assert_eq!(found(&text, "unreachable-rule"), [5]);
}

#[test]
fn sets_and_maps_are_not_expanded() {
    let rules =
        ["ip saddr @s drop", "ip saddr 10.0.3.0/24 tcp dport 22 accept", "ip saddr 10.0.4.0/24 accept"];
    let text = input(&rules).replacen(
        "chain in",
        "set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/22, 10.0.9.1 } }\nchain in",
        1,
    );
    assert_eq!(found(&text, "shadowed-accept"), [6]);
    let map = ["tcp dport vmap { 22 : drop, 80 : accept }", "tcp dport 22 accept", "tcp dport 443 accept"];
    assert_eq!(found(&input(&map), "shadowed-accept"), [5]);
}

#[test]
fn rules_that_change_nothing() {
    let rules =
        ["tcp dport 22 accept", "tcp dport 1-100 accept", "udp dport 53 drop", "udp dport 54 log drop"];
    assert_eq!(found(&input(&rules), "redundant-rule"), [4]);
    assert_eq!(found(&input(&rules), "repeats-default"), [6]);
    // Of two that are alike, the later one is told, and the earlier is needed.
    let twice = ["tcp dport 22 accept", "tcp dport 22 accept"];
    assert!(found(&input(&twice), "redundant-rule").is_empty());
    assert_eq!(found(&input(&twice), "shadowed-duplicate"), [5]);
    // A last drop is worth having.
    assert!(found(&input(&["tcp dport 22 accept", "drop"]), "repeats-default").is_empty());
    // Rejecting isn't dropping.
    assert!(found(&input(&["tcp dport 22 reject", "drop"]), "redundant-rule").is_empty());
}

#[test]
fn rules_written_as_one_are_judged_as_one() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate NEW,RELATED --ctproto 6 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let world = World::bare(text);
    let answer = ask(&world);
    for id in ["contradictory-rule", "unreachable-rule", "shadowed-accept", "redundant-rule"] {
        assert!(lines(&world, &answer, id).is_empty(), "{id}: {:#?}", answer.found);
    }
}

#[test]
fn chains_and_sets_that_nobody_uses() {
    let text = "table inet f {\nset old { type ipv4_addr; elements = { 10.0.0.1 } }\nset s { type ipv4_addr; elements = { 10.0.0.2 } }\nchain lost {\naccept\n}\nchain empty {\n}\nchain in {\ntype filter hook input priority 0; policy drop;\nip saddr @s jump empty\nip saddr @s accept\n}\n}\n";
    assert_eq!(found(text, "unused-chain"), [4]);
    assert_eq!(found(text, "unused-set"), [2]);
    assert_eq!(found(text, "empty-jump"), [11]);
}

#[test]
fn a_call_of_an_empty_chain_needs_no_search() {
    // As ufw has them: its packets are of more than one region.
    let text = "table inet f {\nchain before { }\nchain in {\ntype filter hook input priority 0; policy drop;\n\
                jump before\nct state established accept\ntcp dport 22 accept\n}\n}\n";
    let world = World::bare(text);
    let options = AuditOptions { regions: 1, ..AuditOptions::default() };
    let answer = audit(subject(&world), options).unwrap();
    assert_eq!(lines(&world, &answer, "empty-jump"), [5]);
}

#[test]
fn more_steps_for_a_rule_raise_the_other_limits_too() {
    let default = AuditOptions::default();
    let more = AuditOptions::with_steps_for_rule(10 * default.steps_for_rule);
    assert_eq!((more.regions, more.steps), (10 * default.regions, 10 * default.steps));
    let all = AuditOptions::with_steps_for_rule(u64::MAX);
    assert!(all.regions > more.regions && all.steps == u64::MAX);
}

const CLEAN: [&str; 8] = [
    "ct state established,related accept",
    "ct state invalid drop",
    "iifname \"lo\" accept",
    "ip saddr 127.0.0.0/8 drop",
    "ip6 saddr ::1 drop",
    "ip saddr 10.1.0.0/16 tcp dport 22 accept",
    "tcp dport { 80, 443 } accept",
    "limit rate 10/minute log prefix \"denied \"",
];

#[test]
fn a_clean_ruleset_has_no_findings_that_count() {
    let text = format!("flush ruleset\n{}", input(&[&CLEAN[..], &["drop"]].concat()));
    let world = World::bare(&text);
    let answer = ask(&world);
    assert!(answer.found.is_empty(), "{:#?}", answer.found);
    assert!(answer.results.iter().all(|result| result.verdict == Verdict::Pass));
}

#[test]
fn defaults_and_open_doors() {
    assert_eq!(found(&chain("policy accept", &["tcp dport 25 drop"]), "default-accept"), [3]);
    assert!(found(&input(&CLEAN), "default-accept").is_empty());
    assert_eq!(found(&input(&["tcp dport 25 drop", "accept"]), "any-any-accept"), [5]);
    assert_eq!(found(&input(&["tcp dport 22 accept"]), "open-management"), [4]);
    assert_eq!(found(&input(&["tcp dport 5432 accept"]), "open-database"), [4]);
    assert!(found(&input(&["ip saddr 192.0.2.0/24 tcp dport 22 accept"]), "open-management").is_empty());
    assert!(found(&input(&["iifname \"wg0\" tcp dport 22 accept"]), "open-management").is_empty());
    assert!(found(&input(&["tcp dport 443 accept"]), "open-database").is_empty());
}

#[test]
fn families_that_differ() {
    let six = input(&["meta nfproto ipv6 tcp dport 8443 accept", "tcp dport 443 accept"]);
    assert_eq!(found(&six, "open-by-ipv6-only"), [4]);
    assert!(found(&six, "open-by-ipv4-only").is_empty());
    let four = input(&["meta nfproto ipv4 tcp dport 8443 accept", "tcp dport 443 accept"]);
    assert_eq!(found(&four, "open-by-ipv4-only"), [4]);
    assert!(found(&input(&["tcp dport 443 accept"]), "open-by-ipv6-only").is_empty());
}

const DOCKER: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A INPUT -i lo -j ACCEPT\n-A FORWARD -o docker0 -j DOCKER\n-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";

#[test]
fn docker_publishes_past_the_input_chain() {
    assert_eq!(found(DOCKER, "docker-bypasses-input"), [13]);
    let local = DOCKER.replace("-A DOCKER ! -i docker0", "-A DOCKER -d 127.0.0.1/32 ! -i docker0");
    assert!(found(&local, "docker-bypasses-input").is_empty());
}

#[test]
fn translated_packets_that_nobody_looks_at() {
    let text = "table ip n {\nchain pre {\ntype nat hook prerouting priority -100;\ntcp dport 8080 dnat to 10.0.0.5:80\n}\nchain fwd {\ntype filter hook forward priority 0; policy drop;\nct state established accept\nct status dnat accept\n}\n}\n";
    assert_eq!(found(text, "nat-bypasses-filter"), [9]);
    let named = text.replace("ct status dnat accept", "ip daddr 10.0.0.5 tcp dport 80 accept");
    assert!(found(&named, "nat-bypasses-filter").is_empty());
}

#[test]
fn established_loopback_invalid_and_logs() {
    let bare = input(&["tcp dport 443 accept"]);
    assert_eq!(found(&bare, "no-established"), [2]);
    assert_eq!(found(&bare, "loopback-denied"), [2]);
    assert_eq!(found(&bare, "loopback-spoofing"), [4]);
    assert_eq!(found(&bare, "invalid-accepted"), [4]);
    assert_eq!(found(&bare, "drops-not-logged"), [2]);
    for id in
        ["no-established", "loopback-denied", "loopback-spoofing", "invalid-accepted", "drops-not-logged"]
    {
        assert!(found(&input(&CLEAN), id).is_empty(), "{id}");
    }
}

#[test]
fn private_sources_from_the_internet() {
    let nat = "table ip n {\nchain post {\ntype nat hook postrouting priority 100;\noifname \"wan0\" masquerade\n}\n}\n";
    assert_eq!(found(&format!("{nat}{}", input(&["tcp dport 443 accept"])), "spoofed-source"), [10]);
    let guarded = [
        "iifname \"wan0\" ip saddr { 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 } drop",
        "tcp dport 443 accept",
    ];
    assert!(found(&format!("{nat}{}", input(&guarded)), "spoofed-source").is_empty());
}

#[test]
fn loading() {
    let flushed = format!("flush ruleset\n{}", input(&CLEAN));
    assert_eq!(found(&flushed, "reload-leak"), [4]);
    assert!(found(&flushed, "doubled-on-reload").is_empty());
    assert!(found(&input(&CLEAN), "reload-leak").is_empty());
    assert_eq!(found(&input(&CLEAN), "doubled-on-reload"), [1]);
}

#[test]
fn exceptions_with_reason_and_date() {
    let rules = |comment: &str| input(&[comment, "tcp dport 22 accept"]);
    let good = rules("# firewarden: allow open-management reason=\"bastion\" until=2027-01-01");
    assert!(found(&good, "open-management").is_empty());
    let world = World::bare(&good);
    assert_eq!(ask(&world).found.iter().filter(|found| found.settled.is_some()).count(), 1);
    let expired = rules("# firewarden: allow open-management reason=\"bastion\" until=2026-01-01");
    assert_eq!(found(&expired, "open-management"), [5]);
    assert_eq!(found(&expired, "suppression-expired"), [4]);
    let bare = rules("# firewarden: allow open-management");
    assert_eq!((found(&bare, "open-management"), found(&bare, "suppression-invalid")), (vec![5], vec![4]));
    let misspelt = rules("# firewarden: allow open-managment reason=\"x\"");
    assert_eq!(found(&misspelt, "suppression-invalid"), [4]);
    let unused = rules("# firewarden: allow open-database reason=\"x\"");
    assert_eq!(found(&unused, "suppression-unused"), [4]);
    let own = input(&["tcp dport 22 accept comment \"firewarden: allow open-management reason='bastion'\""]);
    assert!(found(&own, "open-management").is_empty());
}

#[test]
fn exceptions_of_the_stack_file() {
    let stack = |entry: &str| {
        format!(
            "hosts:\n  edge: {{ address: 203.0.113.1, rules: edge.nft }}\naudit:\n  ignore:\n    - {entry}\n"
        )
    };
    let read = |_: &str| input(&["tcp dport 22 accept"]);
    let world = World::stack(
        &stack("{ id: open-management, where: tcp dport 22, reason: bastion, expires: 2027-01-01 }"),
        &read,
    );
    assert!(lines(&world, &ask(&world), "open-management").is_empty());
    let world = World::stack(&stack("{ id: open-management, where: tcp dport 23, reason: bastion }"), &read);
    assert_eq!(lines(&world, &ask(&world), "open-management"), [4]);
    assert_eq!(lines(&world, &ask(&world), "suppression-unused").len(), 1);
}

#[test]
fn a_baseline_survives_moved_lines() {
    let before = World::bare(&input(&["tcp dport 22 accept", "tcp dport 5432 accept"]));
    let text = write_baseline(&ask(&before).found);
    let baseline = read_baseline(firewarden_diagnostic::FileId(0), &text).unwrap();
    let after = World::bare(&input(&[
        "# moved",
        "",
        "tcp dport 22   accept",
        "tcp dport 3306 accept",
        "tcp dport 5432 accept",
    ]));
    let answer =
        audit(Subject { baseline: Some(&baseline), ..subject(&after) }, AuditOptions::default()).unwrap();
    assert!(lines(&after, &answer, "open-management").is_empty());
    assert_eq!(lines(&after, &answer, "open-database"), [7], "only the new rule counts");
}

#[test]
fn budgets_are_told() {
    let world = World::bare(&input(&["ip saddr 10.0.0.0/8 drop", "ip saddr 10.0.0.0/9 accept"]));
    let answer =
        audit(subject(&world), AuditOptions { steps_for_rule: 1, ..AuditOptions::default() }).unwrap();
    let open: Vec<_> =
        answer.results.iter().filter(|result| result.verdict == Verdict::Undetermined).collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].findings.last().unwrap().diagnostic.code, "audit-undetermined");
    assert!(open[0].findings.iter().any(|finding| finding.diagnostic.severity == Severity::Warning));
}

#[test]
fn listening_ports_that_no_rule_names() {
    let listener =
        |protocol, at, port| Listener { protocol, at, port, interface: None, programs: Vec::new() };
    let mut world = World::bare(&input(&["tcp dport { 22, 80 } accept", "udp dport 53 drop"]));
    assert!(ask(&world).found.iter().all(|found| found.check.id != "listening-unnamed"));
    world.hosts[0].listening = Some(vec![
        listener(6, ListenAddress::Any, 22),
        listener(17, ListenAddress::Family(2), 53),
        listener(6, ListenAddress::One(2, 0x7F00_0001), 5432),
    ]);
    assert!(ask(&world).found.iter().all(|found| found.check.id != "listening-unnamed"));
    world.hosts[0].listening.as_mut().unwrap().push(listener(6, ListenAddress::Any, 53));
    let answer = ask(&world);
    let told = answer.found.iter().find(|found| found.check.id == "listening-unnamed").unwrap();
    assert!(told.finding.diagnostic.message.ends_with(": tcp/53"), "{}", told.finding.diagnostic.message);
}

#[test]
fn where_the_internet_is_taken_to_be_is_said() {
    let world = World::bare(&input(&["iifname docker0 accept", "tcp dport 22 accept"]));
    let answer = ask(&world);
    let told = answer.found.iter().find(|found| found.check.id == "open-management").unwrap();
    assert!(told.finding.assumptions[0].contains("`docker0`"), "{:?}", told.finding.assumptions);
}

/// `nft list ruleset` prints nothing where nothing filters: that is the most open host there is.
#[test]
fn no_rules_at_all_are_no_clean_bill() {
    let world = World::bare("");
    let answer = ask(&world);
    let told: Vec<&str> =
        answer.found.iter().map(|found| found.finding.diagnostic.message.as_str()).collect();
    assert_eq!(told, ["nothing filters what comes to this host by IPv4 and IPv6"]);
    let declared = World::stack("hosts:\n  a: { address: 10.0.0.1 }\n", &|_| String::new());
    assert!(ask(&declared).found.is_empty(), "a host that is declared without rules has none to judge");
}

#[test]
fn what_docker_writes_needs_nothing_done() {
    let text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n\
        -A FORWARD -o docker0 -j DROP\n-A FORWARD -o docker0 -j DOCKER\n\
        -A DOCKER -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
    let world = World::bare(text);
    let answer = ask(&world);
    let told = answer.found.iter().find(|found| found.check.id == "unreachable-rule").unwrap();
    assert_eq!(told.finding.diagnostic.severity, Severity::Note);
    assert_eq!(told.finding.diagnostic.help.as_deref(), Some("Docker writes it; nothing to do"));
    assert_eq!(told.finding.manager.as_ref().map(|manager| manager.name.as_str()), Some("Docker"));
    let said = answer.summary.join("\n");
    assert!(said.contains("of these, 1 rule was written by Docker: nothing to do"), "{said}");
    // The same rules of nobody known.
    let own = text.replace("DOCKER", "OWN");
    let answer = ask(&World::bare(&own));
    let told = answer.found.iter().find(|found| found.check.id == "unreachable-rule").unwrap();
    assert_eq!(told.finding.diagnostic.severity, Severity::Warning);
    // A deny of Docker's that somebody else's rule makes idle is a hole.
    let hole = text
        .replace("-o docker0 -j DROP", "-o docker0 -j ACCEPT")
        .replace("-o docker0 -j DOCKER", "-o docker0 -p tcp -j DOCKER");
    let hole = hole.replace("-A FORWARD -o docker0 -p tcp -j DOCKER\n", "-A FORWARD -j DOCKER\n");
    let hole = hole.replace("-d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT", "-o docker0 -j DROP");
    assert_eq!(found(&hole, "shadowed-deny"), [7], "{hole}");
}

#[test]
fn rules_told_together_are_all_accounted_for() {
    let rules: Vec<String> = (1..=10).map(|port| format!("tcp dport {port} drop")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).chain(["tcp dport 22 accept"]).collect();
    let answer = ask(&World::bare(&input(&rules)));
    let told = answer.found.iter().find(|found| found.check.id == "repeats-default").unwrap();
    assert!(told.finding.diagnostic.message.starts_with("10 rules"), "{}", told.finding.diagnostic.message);
    assert_eq!(told.finding.diagnostic.labels.len(), 7);
    assert_eq!(told.finding.diagnostic.notes, ["3 more rules of the chain, from line 11 on"]);
    let said = answer.summary.join("\n");
    assert!(said.contains("10 change nothing") && said.contains("told together"), "{said}");
}

/// Lines of findings about what is loaded at boot, and the summary.
fn after_restart(running: &str, boot: Option<&str>, services: &[&str]) -> (Vec<Audit>, String) {
    let mut world = World::bare(running);
    let ruleset = boot.map(|text| world.ruleset("host", &[("boot.nft", text.to_owned())]));
    let rules = BootRules {
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        ruleset,
        span: firewarden_diagnostic::Span::default(),
    };
    let boot = std::collections::BTreeMap::from([("host".to_owned(), rules)]);
    let answer = audit(Subject { boot: &boot, ..subject(&world) }, AuditOptions::default()).unwrap();
    let said = answer.summary.join("\n");
    (vec![answer], said)
}

#[test]
fn what_is_loaded_at_boot_is_compared_by_meaning() {
    let told = |running: &str, boot: Option<&str>, services: &[&str]| -> Option<(String, Vec<String>)> {
        let (answers, _) = after_restart(running, boot, services);
        let found = answers[0].found.iter().find(|found| found.check.id == "boot-differs")?;
        let diagnostic = &found.finding.diagnostic;
        assert_eq!(diagnostic.severity, Severity::Warning);
        Some((diagnostic.message.clone(), diagnostic.notes.clone()))
    };
    let boot = input(&["ct state established accept", "tcp dport { 22, 443 } accept"]);
    let nft = ["nftables.service"];
    let alike = input(&["ct state established accept", "tcp dport 443 accept", "tcp dport 22 accept"]);
    assert_eq!(told(&alike, Some(&boot), &nft), None);
    let more = input(&["ct state established accept", "tcp dport { 22, 80, 443 } accept"]);
    let (message, notes) = told(&more, Some(&boot), &nft).unwrap();
    assert_eq!(message, "after a restart, packets fare otherwise than now: 1 difference");
    assert!(
        notes[0].contains(":80 ") && notes[0].contains("is accepted now, and dropped after"),
        "{notes:?}"
    );
    // What Docker and fail2ban add later is no difference, nor the policy that Docker sets.
    let saved = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let running = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:f2b-sshd - [0:0]\n\
        -A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n\
        -A FORWARD -o docker0 -j DOCKER\n-A DOCKER -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT\n\
        -A f2b-sshd -s 192.0.2.9/32 -j DROP\nCOMMIT\n";
    assert_eq!(told(running, Some(saved), &["netfilter-persistent.service"]), None);
    let (message, _) = told(&boot, Some("table inet none {}\n"), &[]).unwrap();
    assert!(message.starts_with("nothing loads these rules"), "{message}");
    // Where it isn't known, the summary says so.
    let (answers, said) = after_restart(&boot, None, &["ufw.service"]);
    assert!(answers[0].found.iter().all(|found| found.check.id != "boot-differs"));
    assert!(said.contains("wasn't compared: ufw.service writes the rules"), "{said}");
}
