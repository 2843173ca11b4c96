//! Exposure and traces of bare rulesets.

mod support;
use firewarden_packet::text;
use firewarden_verify::{ExposureOptions, exposed, trace};
use support::World;

/// `service [-> place]: IPv4 | IPv6`, one line each.
fn list(ruleset: &str) -> Vec<String> {
    let mut world = World::bare(ruleset);
    let exposure = exposed(&world.hosts[0], &mut world.atoms, &ExposureOptions::default());
    assert!(exposure.complete);
    let side = |list: &[firewarden_verify::Access]| {
        let parts: Vec<String> = list
            .iter()
            .map(|access| {
                let lines: Vec<String> = access
                    .rules
                    .iter()
                    .map(|&span| world.sources.place(span).split(':').nth(1).unwrap_or_default().to_owned())
                    .collect();
                let conditions = access.conditions.iter().map(|one| format!(", {one}")).collect::<String>();
                format!("{}{conditions} (line {})", access.sources, lines.join(","))
            })
            .collect();
        if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
    };
    exposure
        .services
        .iter()
        .map(|service| {
            let to = service.published_to.as_ref().map(|to| format!(" -> {to}")).unwrap_or_default();
            format!("{}{to}: {} | {}", service.service, side(&service.v4), side(&service.v6))
        })
        .collect()
}

#[test]
fn services_with_sources_side_by_side() {
    let ruleset = "table inet f {\nchain i { type filter hook input priority 0; policy drop;\nct state established,related accept\niif lo accept\ntcp dport { 80, 443 } accept\nip saddr 10.0.0.0/8 tcp dport 22 accept\nip6 saddr 2001:db8::/32 tcp dport 22 accept\niifname eth1 udp dport 53 accept\nip saddr 192.0.2.0/24 udp dport 53 accept\nicmp type echo-request limit rate 1/second accept\nmeta l4proto esp accept\n}\n}";
    assert_eq!(
        list(ruleset),
        [
            "tcp/22: 10.0.0.0/8 (line 6) | 2001:db8::/32 (line 7)",
            "tcp/80: anywhere (line 5) | anywhere (line 5)",
            "tcp/443: anywhere (line 5) | anywhere (line 5)",
            "udp/53: 192.0.2.0/24 (line 9); anywhere except 192.0.2.0/24, in eth1 (line 8) | anywhere, in eth1 (line 8)",
            "icmp/echo-request: anywhere, `limit rate 1/second` matches (line 10) | -",
            "protocol/50: anywhere (line 11) | anywhere (line 11)",
        ]
    );
}

#[test]
fn published_services() {
    let ruleset = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A FORWARD -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
    let lines = list(ruleset);
    assert!(lines.iter().any(|line| line.starts_with("tcp/22: anywhere (line 10) | ")), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line
            .starts_with("tcp/8080 -> 172.17.0.2:80: anywhere, in another interface, out docker0 (line 11)")),
        "{lines:#?}"
    );
}

#[test]
fn a_packet_is_followed() {
    let ruleset = "table inet f {\nchain pre { type nat hook prerouting priority -100; tcp dport 8080 redirect to :80\n}\nchain i { type filter hook input priority 0; policy drop;\ntcp dport 80 jump web\n}\nchain web {\nip saddr 192.0.2.0/24 accept\nlog prefix \"no\"\nlimit rate 1/second reject\n}\nchain o { type filter hook output priority 0; policy accept;\nip daddr 192.0.2.9 drop\n}\nchain fw { type filter hook forward priority 0; policy drop;\n} }";
    for (packet, outcome, steps) in [
        (
            "tcp 192.0.2.1:40000 -> 10.0.0.1:80 in eth0 ct new",
            "accepted",
            &["policy accept", "jump web", "accept*"][..],
        ),
        (
            "tcp 10.9.9.9:40000 -> 10.0.0.1:80 in eth0",
            "dropped by host",
            &["policy accept", "jump web", "log", "policy drop*"],
        ),
        ("tcp 10.0.0.1:40000 -> 192.0.2.9:80 out eth0", "dropped by host", &["drop*"]),
        (
            "tcp 10.0.0.1:40000 -> 192.0.2.9:81 in eth0 out eth1",
            "dropped by host",
            &["policy accept", "policy drop*"],
        ),
    ] {
        let world = World::bare(ruleset);
        let point = text::parse_with_atoms(packet, &world.atoms).unwrap();
        let traced = trace(&world.hosts[0], &point, &world.atoms, &world.sources).unwrap();
        let actions: Vec<String> = traced
            .steps
            .iter()
            .map(|step| format!("{}{}", step.action, if step.decides { "*" } else { "" }))
            .collect();
        assert_eq!(
            (traced.outcome.as_str(), actions),
            (outcome, steps.iter().map(|s| (*s).to_owned()).collect()),
            "{packet}"
        );
    }
    let world = World::bare(ruleset);
    let point = text::parse("tcp 10.9.9.9:40000 -> 10.0.0.1:8080 in eth0").unwrap();
    let traced = trace(&world.hosts[0], &point, &world.atoms, &world.sources).unwrap();
    assert!(traced.given.iter().any(|line| line == "`limit rate 1/second` does not match"), "{traced:#?}");
    assert!(traced.steps.iter().any(|step| step.action.starts_with("dnat to ")), "{traced:#?}");
}
