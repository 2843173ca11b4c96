//! Check, on the examples and on small rulesets.

mod support;
use firewarden_diagnostic::Verdict;
use support::{World, verdicts};

/// The findings of an example that fail, as `intent: place, packet, outcome`.
fn failures(folder: &str) -> Vec<String> {
    let mut world = World::folder(folder);
    let checked = world.check(&[]);
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    let mut lines = Vec::new();
    for item in checked.results.iter().filter(|item| item.verdict == Verdict::Fail) {
        for finding in &item.findings {
            let place = finding.diagnostic.span().map(|span| world.sources.place(span)).unwrap();
            let witness = &finding.witnesses[0];
            lines.push(format!("{}: {place}, {}, {}", item.name, witness.packet, witness.outcome));
        }
    }
    lines
}

#[test]
fn the_web_stack_has_no_failure() {
    assert_eq!(failures("examples/webstack"), Vec::<String>::new());
}

#[test]
fn each_outage_names_its_rule() {
    for (outage, first) in [
        ("000", "lb-to-app: app.rules:11:1, tcp 10.0.1.10:19999 -> 10.0.2.20:8080 ct new, dropped by app"),
        ("001", "public-web: lb.nft:39:9, tcp 8.8.8.8:40000 -> 203.0.113.1:443 in wan ct new, dropped by lb"),
        ("002", "app-to-db: db.nft:30:9, tcp 10.0.2.20:40000 -> 10.0.3.30:5432 ct new, dropped by db"),
        (
            "003",
            "public-web: edge.nft:63:9, tcp 8.8.8.8:40000 -> 203.0.113.1:443 in wan ct new, dropped by edge",
        ),
        ("004", "lb-to-app: app.rules:7:1, tcp 10.0.1.10:40000 -> 10.0.2.20:8080 ct new, dropped by app"),
    ] {
        assert_eq!(failures(&format!("examples/outages/{outage}"))[0], first, "{outage}");
    }
}

/// A bare nft ruleset with an input chain of these rules and policy drop.
fn input(rules: &str) -> String {
    format!(
        "table inet filter {{\n chain input {{\n type filter hook input priority 0; policy drop;\n{rules}\n }}\n}}\n"
    )
}

/// Checks one intent against a bare ruleset: verdict, and words of what is said.
fn asks(ruleset: &str, intent: &str, verdict: Verdict, words: &[&str]) {
    let mut world = World::bare(ruleset);
    let checked = world.check(&[intent]);
    let shown = world.show(&checked.results[0]);
    assert_eq!(checked.results[0].verdict, verdict, "{ruleset}\n{shown}");
    for word in words {
        assert!(shown.contains(word), "{ruleset}\nexpected `{word}` in\n{shown}");
    }
}

#[test]
fn bare_rulesets() {
    use Verdict::{Depends, Fail, Pass, Vacuous};
    let established = "ct state established,related accept\n";
    let web = "any -> 10.0.0.1 tcp/443";
    let allow = format!("allow {web}");
    let deny = format!("deny {web}");
    for (rules, intent, verdict, words) in [
        ("ct state new tcp dport 443 accept", &*allow, Fail, &["connection-broken"][..]),
        ("ct state established,related accept\ntcp dport 443 accept", &allow, Pass, &[]),
        (
            "ct state established,related accept\ntcp dport 443 accept",
            &deny,
            Fail,
            &["reaches host", "rules:5:1"],
        ),
        ("ct state established,related accept", &deny, Pass, &[]),
        (
            "ct state established,related accept",
            &allow,
            Fail,
            &["policy is drop", "add `tcp dport 443 accept`"],
        ),
        (
            "ct state established,related accept\nip saddr 10.0.0.0/8 tcp dport 443 accept",
            "allow 10.0.0.0/7 -> 10.0.0.1 tcp/443",
            Fail,
            &["rules:5 would accept it, but its source addresses lack 11.0.0.7"],
        ),
        (
            "ct state established,related accept\ndrop\ntcp dport 443 accept",
            &allow,
            Fail,
            &["rules:5:1: [flow-blocked]", "move the rule of rules:6 before rules:5"],
        ),
        (
            "ct state established,related accept\ntcp dport 443 limit rate 5/second accept",
            &allow,
            Depends,
            &["depends on `limit rate 5/second`", "does not match", "is: true"],
        ),
        ("tcp dport 443 limit rate 5/second accept", &deny, Depends, &["is: false"]),
        ("iifname lo accept", &deny, Pass, &[]),
        ("iifname eth0 tcp dport 443 accept", &deny, Depends, &["iifname", "in: NAME"]),
        ("iifname != lo tcp dport 443 accept", &deny, Fail, &[]),
        (
            "ct state established,related accept\nlimit rate 5/second accept\ntcp dport 443 accept",
            &allow,
            Pass,
            &[],
        ),
        ("ct state established,related accept\nct state new accept", "allow any -> 10.0.0.1", Pass, &[]),
        (
            "ct state invalid drop\nip protocol icmp accept",
            "deny any -> 10.0.0.1 icmp",
            Fail,
            &["icmp echo-request"],
        ),
        ("ct state new tcp flags & (fin|syn|rst|ack) != syn accept", &deny, Fail, &["flags ack"]),
        (
            "accept",
            "allow 10.0.0.0/8 except 10.0.0.0/8 -> 10.0.0.1",
            Vacuous,
            &["the source has no addresses"],
        ),
        ("accept", "allow 2001:db8::/32 -> 10.0.0.1", Vacuous, &[]),
        ("ip saddr 192.0.2.0/24 drop\naccept", "allow any -> 10.0.0.1 udp/53", Fail, &["192.0.2.7"]),
        (
            "ct state established,related accept\nip saddr 192.0.2.0/24 tcp dport 22 accept",
            "only 192.0.2.0/24 -> 10.0.0.1 tcp/22",
            Pass,
            &["IPv6 not covered"],
        ),
        (
            "ct state established,related accept\nip saddr 192.0.0.0/16 tcp dport 22 accept",
            "only 192.0.2.0/24 -> 10.0.0.1 tcp/22",
            Fail,
            &["flow-open", "tcp 192.0.0.7:40000 -> 10.0.0.1:22 reaches host"],
        ),
    ] {
        asks(&input(rules), intent, verdict, words);
    }
    asks(
        &format!(
            "table inet f {{\n set banned {{ type ipv4_addr; flags interval; elements = {{ 192.0.2.0/24 }} }}\n chain i {{ type filter hook input priority 0; policy drop;\n{established}ip saddr @banned drop\ntcp dport 443 accept\n}}\n}}"
        ),
        "allow any except @banned -> 10.0.0.1 tcp/443",
        Pass,
        &[],
    );
    asks(
        &format!(
            "table inet f {{\n set banned {{ type ipv4_addr; flags dynamic,timeout; timeout 1h; }}\n chain i {{ type filter hook input priority 0; policy drop;\n{established}ip saddr @banned drop\ntcp dport 443 accept\n}}\n}}"
        ),
        "allow any except @banned -> 10.0.0.1 tcp/443",
        Pass,
        &[],
    );
    asks(
        &input("accept"),
        "allow any except @nobody -> 10.0.0.1",
        Verdict::Error,
        &["no ruleset has a set `nobody`"],
    );
    asks(&input("accept"), "allow web -> 10.0.0.1", Verdict::Error, &["no host or group is called `web`"]);
}

#[test]
fn managers_are_named() {
    let docker = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd\n-A f2b-sshd -s 192.0.2.7/32 -j REJECT --reject-with icmp-port-unreachable\n-A f2b-sshd -j RETURN\nCOMMIT\n";
    asks(
        docker,
        "allow 192.0.2.0/24 -> 10.0.0.1 tcp/22",
        Verdict::Fail,
        &["the rule is fail2ban's", "unbanip", "rejected by host"],
    );
}

#[test]
fn routed_stacks() {
    let stack = "hosts:\n  fw: {rules: fw, interfaces: {wan: {address: 198.51.100.1/24, uplink: true}, dmz: 10.1.0.1/24, lan: 10.2.0.1/24}}\n  web: {address: 10.1.0.10, rules: web}\n  pc: {address: 10.2.0.20}\nintents:\n  - allow: pc -> web tcp/80\n  - deny: internet -> pc\n  - deny: web -> pc tcp/22\n  - allow: pc -> internet tcp/443\n  - {allow: internet -> web tcp/80, in: wan}\n";
    let fw = "table inet f { chain fwd { type filter hook forward priority 0; policy drop;\nct state established,related accept\niifname lan oifname { dmz, wan } accept\niifname wan oifname dmz ip daddr 10.1.0.10 tcp dport 80 accept\n} }";
    let web = "table inet f { chain i { type filter hook input priority 0; policy drop;\nct state established,related accept\ntcp dport 80 accept\n} }";
    let read = |broken: bool| {
        move |name: &str| match name {
            "fw" if broken => {
                fw.replace("iifname lan oifname { dmz, wan } accept", "iifname lan oifname wan accept")
            }
            "fw" => fw.to_owned(),
            _ => web.to_owned(),
        }
    };
    use Verdict::{Fail, Pass};
    assert_eq!(verdicts(&World::stack(stack, &read(false)).check(&[])), [Pass; 5]);
    let mut world = World::stack(stack, &read(true));
    let checked = world.check(&[]);
    assert_eq!(verdicts(&checked), [Fail, Pass, Pass, Pass, Pass]);
    let shown = world.show(&checked.results[0]);
    assert!(
        shown.contains("tcp 10.2.0.20:40000 -> 10.1.0.10:80") && shown.contains("dropped by fw"),
        "{shown}"
    );
}

#[test]
fn answers_come_back_through_translations() {
    let stack = "hosts:\n  fw: {rules: fw, interfaces: {wan: {address: 198.51.100.1/24, uplink: true}, lan: 10.2.0.1/24}}\n  web: {address: 10.2.0.30, published: 198.51.100.1}\nintents:\n  - allow: internet -> web tcp/443\n";
    let nat = "table ip n { chain pre { type nat hook prerouting priority -100; iifname wan tcp dport 443 dnat to 10.2.0.30:8443\n} }\n";
    let forward = |rules: &str| {
        format!(
            "{nat}table ip f {{ chain fwd {{ type filter hook forward priority 0; policy drop;\n{rules}\n}} }}"
        )
    };
    for (rules, verdict, word) in [
        // The status belongs to the connection, so answers have it too.
        ("ct status dnat accept", Verdict::Pass, ""),
        ("iifname wan ip daddr 10.2.0.30 tcp dport 8443 accept", Verdict::Fail, "reply-blocked"),
        ("iifname wan tcp dport 443 accept\nct state established accept", Verdict::Fail, "flow-blocked"),
        ("iifname wan tcp dport 8443 accept\nct state established accept", Verdict::Pass, ""),
        ("iifname wan ct original proto-dst 443 accept\nct state established accept", Verdict::Pass, ""),
    ] {
        let mut world = World::stack(stack, &|_| forward(rules));
        let checked = world.check(&[]);
        let shown = world.show(&checked.results[0]);
        assert_eq!(checked.results[0].verdict, verdict, "{rules}\n{shown}");
        assert!(shown.contains(word), "{rules}\n{shown}");
    }
}

#[test]
fn undeclared_translations_are_found() {
    // Somebody publishes the database: not its address, but the firewall's.
    let stack = "hosts:\n  fw: {rules: fw, interfaces: {wan: {address: 198.51.100.1/24, uplink: true}, lan: 10.2.0.1/24}}\n  db: {address: 10.2.0.30}\nintents:\n  - deny: internet -> db tcp/5432\n";
    let fw = "table ip n { chain pre { type nat hook prerouting priority -100; ip daddr 198.51.100.1 tcp dport 15432 dnat to 10.2.0.30:5432\n} }\ntable ip f { chain fwd { type filter hook forward priority 0; policy drop;\nct state established,related accept\nct status dnat accept\n} }";
    let mut world = World::stack(stack, &|_| fw.to_owned());
    let checked = world.check(&[]);
    let shown = world.show(&checked.results[0]);
    assert_eq!(checked.results[0].verdict, Verdict::Fail, "{shown}");
    assert!(shown.contains("-> 198.51.100.1:15432"), "{shown}");
}

#[test]
fn assumptions_settle_and_expire() {
    let rules = "table inet f { chain i { type filter hook input priority 0; policy drop;\nct state established accept\ntcp dport 443 limit rate 5/second accept\n} }";
    let stack = "hosts: {a: {rules: a, address: 10.0.0.1}}\nintents:\n  - allow: 192.0.2.0/24 -> a tcp/443\n    assume: [{atom: limit rate 5/second, is: true, owner: me, expires: 2020-01-01}]\n";
    let mut world = World::stack(stack, &|_| rules.to_owned());
    let checked = world.check(&[]);
    assert_eq!(verdicts(&checked), [Verdict::Pass]);
    let declared = world.stack.clone().unwrap().intents;
    let options =
        firewarden_verify::CheckOptions { today: Some("2026-11-21".to_owned()), ..Default::default() };
    let checked = firewarden_verify::check(
        &mut world.hosts,
        world.stack.as_ref(),
        &declared,
        &mut world.atoms,
        &world.sources,
        &options,
    )
    .unwrap();
    assert_eq!(verdicts(&checked), [Verdict::Depends]);
    assert_eq!(checked.diagnostics[0].code, "assumption-expired");
}

#[test]
fn declared_hosts_of_a_prefix_send_by_their_own_rules() {
    use Verdict::{Depends, Fail, Pass};
    let established = "ct state established,related accept\n";
    let open = "table inet f { chain i { type filter hook input priority 0; policy accept;\n} }";
    let mute = format!(
        "table inet f {{ chain o {{ type filter hook output priority 0; policy drop;\n{established}ip daddr != 10.0.0.30 accept\n}} }}"
    );
    let sometimes = format!(
        "table inet f {{ chain o {{ type filter hook output priority 0; policy drop;\n{established}limit rate 5/second accept\n}} }}"
    );
    let stack = |intents: &str| {
        format!(
            "hosts:\n  app: {{address: 10.0.0.20, rules: app}}\n  db: {{address: [10.0.0.30, 10.0.0.31], rules: db}}\n  idle: {{address: 10.0.0.40}}\ngroups: {{near: 10.0.0.0/24}}\nintents:\n{intents}"
        )
    };
    for (app, intent, verdict, words) in [
        (&*mute, "allow: app -> db tcp/5432", Fail, &["dropped by app"][..]),
        (
            &mute,
            "allow: 10.0.0.0/24 -> db tcp/5432",
            Fail,
            &["tcp 10.0.0.20:40000", "dropped by app", "app:1"],
        ),
        (&mute, "allow: any -> db tcp/5432", Fail, &["dropped by app"]),
        (&mute, "allow: near -> db tcp/5432", Fail, &["dropped by app"]),
        (&mute, "allow: 10.0.0.16-10.0.0.23 -> db tcp/5432", Fail, &["dropped by app"]),
        (&mute, "only: 10.0.0.0/24 -> db tcp/5432", Fail, &["dropped by app"]),
        (&mute, "allow: 10.0.0.0/24 except app -> db tcp/5432", Pass, &[]),
        (&mute, "allow: internet -> db tcp/5432", Pass, &[]),
        (&mute, "{allow: any -> db tcp/5432, in: eth0}", Pass, &[]),
        // The mute host is no proof that nobody arrives: others can write its address into a packet.
        (&mute, "deny: 10.0.0.20/31 -> db tcp/5432", Fail, &["reaches db"]),
        (&sometimes, "allow: 10.0.0.0/24 -> db tcp/5432", Depends, &["limit rate 5/second"]),
        (open, "allow: 10.0.0.0/24 -> db tcp/5432", Pass, &[]),
    ] {
        let read = |name: &str| if name == "app" { app.to_owned() } else { open.to_owned() };
        let mut world = World::stack(&stack(&format!("  - {intent}\n")), &read);
        let checked = world.check(&[]);
        let shown = world.show(&checked.results[0]);
        assert_eq!(checked.results[0].verdict, verdict, "{intent}\n{shown}");
        for word in words {
            assert!(shown.contains(word), "{intent}\nexpected `{word}` in\n{shown}");
        }
    }
}

#[test]
fn a_router_sends_past_its_forward_chain() {
    use Verdict::{Fail, Pass};
    let stack = "hosts:\n  fw: {rules: fw, interfaces: {wan: {address: 198.51.100.1/24, uplink: true}, lan: 10.2.0.1/24}}\n  db: {address: 10.2.0.30, published: 198.51.100.1}\nintents:\n  - deny: 198.51.100.0/24 -> db tcp/22\n  - allow: 198.51.100.0/24 -> db tcp/443\n";
    // The router doesn't translate what it sends itself: it reaches the server under the server's own address.
    for (output, expected, who) in
        [("accept", [Fail, Pass], "tcp 198.51.100.1:"), ("drop", [Pass, Fail], "dropped by fw")]
    {
        let fw = format!(
            "table ip n {{ chain pre {{ type nat hook prerouting priority -100; iifname wan tcp dport 443 dnat to 10.2.0.30\n}} }}\ntable inet f {{ chain fwd {{ type filter hook forward priority 0; policy drop;\nct state established,related accept\ntcp dport 443 accept\n}}\n chain out {{ type filter hook output priority 0; policy {output};\n}} }}"
        );
        let mut world = World::stack(stack, &|_| fw.clone());
        let checked = world.check(&[]);
        let shown: Vec<String> = checked.results.iter().map(|item| world.show(item)).collect();
        assert_eq!(verdicts(&checked), expected, "{}", shown.join("\n"));
        assert!(shown.iter().any(|text| text.contains(who)), "{}", shown.join("\n"));
    }
}
