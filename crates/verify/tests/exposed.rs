//! Who may reach what, on rulesets where the answer is plain.

mod support;

use firewarden_diagnostic::SourceMap;
use firewarden_network::Host;
use firewarden_verify::exposed::{Exposed, ExposedOptions, Kind, Row, Way, Words, exposed, one_family};
use support::World;

fn ask(text: &str) -> Exposed {
    let world = World::bare(text);
    exposed(&world.hosts[0], &world.atoms, &world.sources, &ExposedOptions::default())
}

/// The row with a port, to the host itself.
fn row(answer: &Exposed, kind: Kind, port: u128) -> &Row {
    let has = |row: &&Row| {
        row.way == Way::Input
            && row.kind == kind
            && row.ports.iter().any(|&(low, high)| low <= port && port <= high)
    };
    answer.rows.iter().find(has).unwrap_or_else(|| panic!("no row of {kind:?} {port}: {answer:#?}"))
}

fn list(words: &[&str]) -> Words {
    Words { except: false, list: words.iter().map(|&word| word.to_owned()).collect() }
}

const HOST: &str = "table inet f {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname \"lo\" accept
        ip saddr 10.1.0.0/16 tcp dport 22 accept
        tcp dport { 80, 443 } accept
        iifname \"wan*\" udp dport 53 limit rate 5/second accept
    }
}
";

#[test]
fn sources_ports_interfaces_and_rules() {
    let answer = ask(HOST);
    assert!(answer.complete() && answer.open_forward);
    let ssh = row(&answer, Kind::Tcp, 22);
    assert_eq!(ssh.ports, [(22, 22)]);
    assert_eq!(ssh.ipv4.len(), 1);
    assert_eq!(ssh.ipv4[0].sources, list(&["10.1.0.0/16"]));
    assert_eq!((ssh.ipv4[0].file.as_str(), ssh.ipv4[0].line), ("rules", 6));
    assert!(ssh.ipv4[0].rule.contains("tcp dport 22 accept"));
    assert!(ssh.ipv6.is_empty(), "the rule is about IPv4 only");
    let web = row(&answer, Kind::Tcp, 443);
    assert_eq!(web.ports, [(80, 80), (443, 443)], "ports with one answer share a row");
    assert!(web.ipv4[0].sources.is_all() && web.ipv6[0].sources.is_all());
    let dns = row(&answer, Kind::Udp, 53);
    assert_eq!(dns.ipv4[0].interfaces, list(&["wan*"]));
    assert_eq!(dns.ipv4[0].conditions, ["limit rate 5/second matches"]);
    assert_eq!(answer.rows.len(), 3, "{answer:#?}");
}

#[test]
fn an_accepting_policy_is_named() {
    let answer =
        ask("table ip f {\n chain i {\n type filter hook input priority 0; tcp dport 22 drop\n }\n}\n");
    let rest = row(&answer, Kind::Tcp, 80);
    assert_eq!(rest.ports, [(0, 21), (23, 65_535)]);
    assert_eq!(rest.ipv4[0].rule, "the policy of ip f i");
    assert_eq!(rest.ipv6[0].rule, "no chain filters them");
}

#[test]
fn a_port_behind_dnat_passes_through() {
    let answer = ask("table ip n {
 chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 172.17.0.2:80; }
 chain fwd { type filter hook forward priority filter; policy drop; ct status dnat accept; }
 chain in { type filter hook input priority filter; policy drop; }
}
table ip6 n {
 chain in { type filter hook input priority filter; policy drop; }
 chain fwd { type filter hook forward priority filter; policy drop; }
}
");
    assert!(!answer.open_forward);
    let [row] = answer.rows.as_slice() else { panic!("{answer:#?}") };
    assert_eq!(
        (row.way, row.kind, row.ports.as_slice()),
        (Way::Forward, Kind::Tcp, [(8080, 8080)].as_slice())
    );
    assert_eq!(row.ipv4[0].translated, "172.17.0.2:80");
    assert!(row.ipv6.is_empty());
}

#[test]
fn a_limit_makes_it_incomplete() {
    let world = World::bare(HOST);
    for options in [
        ExposedOptions { regions: 1, ..Default::default() },
        ExposedOptions { steps: 3, ..Default::default() },
    ] {
        assert!(!exposed(&world.hosts[0], &world.atoms, &world.sources, &options).complete(), "{options:?}");
    }
    let nobody = exposed(&Host::default(), &world.atoms, &SourceMap::default(), &ExposedOptions::default());
    assert!(nobody.complete() && nobody.open_forward);
}

#[test]
fn a_family_without_tables_is_pointed_out() {
    let note = |text: &str| one_family(&World::bare(text).hosts[0]).map(|note| note.message);
    assert!(
        note("*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.1/32 -j ACCEPT\nCOMMIT\n")
            .unwrap()
            .contains("IPv6")
    );
    assert!(note("table ip6 t {\n}\n").unwrap().contains("IPv4"));
    assert_eq!(note(HOST), None);
    assert_eq!(note("table ip t {\n}\ntable ip6 t {\n}\n"), None);
}

/// A router at home: translations of both ends, and a rule that asks whether the destination was translated.
#[test]
fn a_masquerading_router_is_known_completely() {
    let answer = ask("table inet f {
 chain in { type filter hook input priority filter; policy drop; iifname \"lan\" tcp dport 22 accept; }
 chain fwd { type filter hook forward priority filter; policy drop; iifname \"lan\" oifname \"wan\" accept; ct status dnat accept; }
}
table ip n {
 chain pre { type nat hook prerouting priority dstnat; iifname \"wan\" tcp dport 8022 dnat to 192.168.1.10:22; }
 chain post { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }
}
");
    assert!(answer.complete(), "{:?}", answer.unfinished);
    let forwarded: Vec<&Row> =
        answer.rows.iter().filter(|row| row.way == Way::Forward && row.kind == Kind::Tcp).collect();
    assert_eq!(forwarded.len(), 2, "{forwarded:#?}");
    let published = forwarded.iter().find(|row| row.ports == [(8022, 8022)]).unwrap();
    let by_translation = published.ipv4.iter().find(|who| !who.translated.is_empty()).unwrap();
    assert_eq!(by_translation.interfaces, list(&["wan"]));
    assert!(by_translation.sources.is_all() && by_translation.conditions.is_empty(), "{by_translation:#?}");
}

#[test]
fn each_family_is_passed_on_by_its_own_sysctl() {
    let mut world = World::bare(
        "table inet f {\n chain fwd { type filter hook forward priority filter; policy accept; }\n}\n",
    );
    let forwarded = |world: &World| {
        let answer = exposed(&world.hosts[0], &world.atoms, &world.sources, &ExposedOptions::default());
        let rows: Vec<Row> = answer.rows.into_iter().filter(|row| row.way == Way::Forward).collect();
        (rows.iter().any(|row| !row.ipv4.is_empty()), rows.iter().any(|row| !row.ipv6.is_empty()))
    };
    assert_eq!(forwarded(&world), (true, true));
    world.hosts[0].forwards_ipv6 = Some(false);
    assert_eq!(forwarded(&world), (true, false));
    (world.hosts[0].forwards, world.hosts[0].forwards_ipv6) = (false, Some(true));
    assert_eq!(forwarded(&world), (false, true));
}

#[test]
fn neither_icmp_counts_among_the_other_protocols() {
    let answer = ask("table ip f {\n chain o { type filter hook output priority 0; }\n}\n");
    let other: Vec<&Row> = answer.rows.iter().filter(|row| row.kind == Kind::Other).collect();
    assert_eq!(other.len(), 1, "{other:#?}");
    assert_eq!(other[0].ports, [(0, 0), (2, 5), (7, 16), (18, 57), (59, 255)]);
    assert!(!other[0].ipv4.is_empty() && !other[0].ipv6.is_empty());
}

#[test]
fn nobody_is_not_said_where_it_is_not_known() {
    let world = World::bare(HOST);
    let options = ExposedOptions { regions: 1, ..ExposedOptions::default() };
    let answer = exposed(&world.hosts[0], &world.atoms, &world.sources, &options);
    assert!(!answer.decided(Way::Input, Kind::Tcp, 2));
    assert!(!answer.decided(Way::Forward, Kind::Tcp, 2), "what is translated may pass through");
    let whole = exposed(&world.hosts[0], &world.atoms, &world.sources, &ExposedOptions::default());
    assert!(whole.decided(Way::Input, Kind::Tcp, 2) && whole.decided(Way::Forward, Kind::Tcp, 10));
}
