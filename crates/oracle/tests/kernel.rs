//! The oracle against what nft(8) and RFCs say. Needs root rights or user namespaces; skips with a printed
//! reason without them, and fails under `CI=true`.

use std::net::IpAddr;
use std::path::Path;

use firewarden_oracle::{
    Config, Destinations, Error, Hook, Interface, Launch, Oracle, Packet, RejectKind, Route, Ruleset, State,
    StepVerdict, Verdict, Why, load_check, protocol, supported, tcp_flag,
};

fn helper() -> Launch {
    Launch::Process(env!("CARGO_BIN_EXE_oracle_helper").into(), Vec::new())
}

fn launch() -> Option<Launch> {
    let launch = if supported(&Launch::Thread).is_ok() { Launch::Thread } else { helper() };
    match supported(&launch) {
        Ok(()) => Some(launch),
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "the kernel oracle must run in CI: {why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host() -> Config {
    let with = |name: &str, v4: &str, v6: &str| Interface {
        name: name.into(),
        addresses: vec![(ip(v4), 24), (ip(v6), 64)],
    };
    Config {
        interfaces: vec![
            with("eth0", "203.0.113.1", "2001:db8:1::1"),
            with("eth1", "10.0.0.1", "2001:db8:2::1"),
        ],
        ..Config::default()
    }
}

fn oracle(ruleset: &str) -> Option<Oracle> {
    Some(Oracle::new(&launch()?, &host(), &Ruleset::Nft(ruleset.into())).unwrap())
}

/// The packet's verdict in a word or two.
fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted { hook, .. } => format!("accept {hook:?}"),
        Verdict::Rejected(kind) => format!("reject {kind:?}"),
        Verdict::Dropped => "drop".into(),
        Verdict::NotReached(why) => format!("not reached {why:?}"),
    }
}

fn both_families(port: u16) -> [Packet; 2] {
    [("198.51.100.7", "192.0.2.9"), ("2001:db8:9::7", "2001:db8:8::9")]
        .map(|(src, dst)| Packet { oif: Some("eth1".into()), ..Packet::tcp(ip(src), ip(dst), port) })
}

#[test]
fn accept_drop_and_reject_at_every_hook_and_family() {
    let rules = "tcp dport 1 accept
        tcp dport 2 drop
        tcp dport 3 reject with tcp reset
        tcp dport 4 reject with icmpx type admin-prohibited
        tcp dport 5 reject
        accept";
    for (hook, name) in [(Hook::Input, "input"), (Hook::Forward, "forward"), (Hook::Output, "output")] {
        let text =
            format!("table inet t {{ chain c {{ type filter hook {name} priority 0\n {rules}\n }}\n }}");
        let Some(mut oracle) = oracle(&text) else { return };
        for v6 in [false, true] {
            let packets: Vec<Packet> =
                (1..=6).map(|port| both_families(port)[usize::from(v6)].clone()).collect();
            let words: Vec<String> = oracle.verdicts(hook, &packets).unwrap().iter().map(word).collect();
            let accept = format!("accept {hook:?}");
            let (admin, port) = if v6 { ("Icmpv6(1)", "Icmpv6(4)") } else { ("Icmp(13)", "Icmp(3)") };
            let expected = [
                accept.clone(),
                "drop".into(),
                "reject TcpReset".into(),
                format!("reject {admin}"),
                format!("reject {port}"),
                accept,
            ];
            assert_eq!(words, expected, "{hook:?} v6 {v6}");
        }
    }
}

#[test]
fn ten_thousand_packets_all_answered() {
    let Some(mut oracle) = oracle(
        "table inet t { chain c { type filter hook forward priority 0; policy drop
            tcp dport 0-999 accept
            tcp dport 1000-1999 reject with tcp reset
            udp dport 0-999 reject
        }\n }",
    ) else {
        return;
    };
    let packets: Vec<Packet> = (0..10_000u16)
        .map(|n| {
            let mut packet = both_families(n % 3000)[usize::from(n % 2)].clone();
            packet.sport = 1024 + n;
            if n % 5 == 0 {
                packet.protocol = protocol::UDP;
            }
            packet
        })
        .collect();
    let start = std::time::Instant::now();
    let verdicts = oracle.verdicts(Hook::Forward, &packets).unwrap();
    eprintln!("{:.0} verdicts a second", 10_000.0 / start.elapsed().as_secs_f64());
    for (packet, verdict) in packets.iter().zip(&verdicts) {
        let udp = packet.protocol == protocol::UDP;
        match (udp, packet.dport) {
            (false, 0..1000) => assert!(matches!(verdict, Verdict::Accepted { hook: Hook::Forward, .. })),
            (false, 1000..2000) => assert_eq!(*verdict, Verdict::Rejected(RejectKind::TcpReset)),
            (true, 0..1000) => {
                let kind = if packet.src.is_ipv4() { RejectKind::Icmp(3) } else { RejectKind::Icmpv6(4) };
                assert_eq!(*verdict, Verdict::Rejected(kind));
            }
            _ => assert_eq!(*verdict, Verdict::Dropped, "{packet:?}"),
        }
    }
}

#[test]
fn interfaces_marks_and_loopback() {
    let Some(mut oracle) = oracle(
        "table inet t {
            chain i { type filter hook input priority 0; policy drop
                iif lo accept
                iifname eth1 meta mark set 7 accept
                ether saddr 02:11:22:33:44:55 accept
            }
            chain f { type filter hook forward priority 0; policy drop
                iifname eth0 oifname eth1 accept
            }
            chain o { type filter hook output priority 0; policy drop
                oif lo accept
                oifname eth1 accept
            }
        }",
    ) else {
        return;
    };
    let base = Packet::udp(ip("10.0.0.9"), ip("192.0.2.1"), 53);
    let from = |iif: &str| Packet { iif: iif.into(), ..base.clone() };
    let input = [
        from("lo"),
        from("eth1"),
        from("eth0"),
        Packet { mac: [2, 0x11, 0x22, 0x33, 0x44, 0x55], ..from("eth0") },
    ];
    let verdicts = oracle.verdicts(Hook::Input, &input).unwrap();
    let marks: Vec<Option<u32>> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Accepted { mark, .. } => Some(*mark),
            _ => None,
        })
        .collect();
    assert_eq!(marks, [Some(0), Some(7), None, Some(0)]);

    let through = |iif: &str, oif: &str| Packet { oif: Some(oif.into()), ..from(iif) };
    let forward = [through("eth0", "eth1"), through("eth1", "eth0"), through("eth1", "eth1")];
    let words: Vec<String> = oracle.verdicts(Hook::Forward, &forward).unwrap().iter().map(word).collect();
    assert_eq!(words, ["accept Forward", "drop", "drop"]);
    let output = [through("lo", "lo"), through("lo", "eth1"), through("lo", "eth0")];
    let words: Vec<String> = oracle.verdicts(Hook::Output, &output).unwrap().iter().map(word).collect();
    assert_eq!(words, ["accept Output", "accept Output", "drop"]);

    let unknown = oracle.verdicts(Hook::Input, &[from("eth7")]);
    assert!(matches!(unknown, Err(Error::Question(_))), "{unknown:?}");
}

#[test]
fn address_translation_is_reported() {
    let Some(mut oracle) = oracle(
        "table inet t {
            chain d { type nat hook prerouting priority dstnat
                tcp dport 80 dnat ip to 10.0.0.10:8080
                tcp dport 80 dnat ip6 to [2001:db8:2::10]:8080
                tcp dport 81 redirect to :8181
            }
            chain s { type nat hook postrouting priority srcnat
                tcp dport 8080 ip daddr 10.0.0.10 snat ip to 10.0.0.77
                tcp dport 82 masquerade
            }
        }",
    ) else {
        return;
    };
    let [v4, v6] = both_families(80);
    let to = |port| Packet { dport: port, ..v4.clone() };
    let verdicts = oracle.verdicts(Hook::Forward, &[v4.clone(), v6, to(81), to(82), to(83)]).unwrap();
    let ends: Vec<String> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Accepted { hook, packet: p, .. } => {
                format!("{hook:?} {} -> {} {} {:?}", p.src, p.dst, p.dport, p.oif.as_deref())
            }
            other => word(other),
        })
        .collect();
    assert_eq!(
        ends,
        [
            "Forward 10.0.0.77 -> 10.0.0.10 8080 Some(\"eth1\")",
            "Forward 2001:db8:9::7 -> 2001:db8:2::10 8080 Some(\"eth1\")",
            "Input 198.51.100.7 -> 203.0.113.1 8181 None",
            "Forward 10.0.0.1 -> 192.0.2.9 82 Some(\"eth1\")",
            "Forward 198.51.100.7 -> 192.0.2.9 83 Some(\"eth1\")",
        ]
    );
    let Verdict::Accepted { packet, .. } = &verdicts[4] else { panic!() };
    assert_eq!(packet.ttl, 63);
}

const STATES: &str = "table inet t {
    chain i { type filter hook input priority 0; policy drop
        ct state new meta mark set 1 accept
        ct state established ct direction original meta mark set 2 accept
        ct state established ct direction reply meta mark set 3 accept
        ct state related meta mark set 4 accept
        ct state invalid meta mark set 5 accept
        ct state untracked meta mark set 6 accept
    }
    chain f { type filter hook forward priority 0; jump i2\n }
    chain o { type filter hook output priority 0; jump i2\n }
    chain i2 {
        ct state vmap { new : jump m1, established : jump m23, related : jump m4, invalid : jump m5, untracked : jump m6 }
    }
    chain m1 { meta mark set 1 accept\n }
    chain m23 { ct direction original meta mark set 2 accept
        meta mark set 3 accept\n }
    chain m4 { meta mark set 4 accept\n }
    chain m5 { meta mark set 5 accept\n }
    chain m6 { meta mark set 6 accept\n }
}";

#[test]
fn connection_tracking_states() {
    let Some(mut oracle) = oracle(STATES) else { return };
    let states = [
        State::New,
        State::Established,
        State::EstablishedReply,
        State::Related,
        State::Invalid,
        State::Untracked,
    ];
    for hook in [Hook::Input, Hook::Forward, Hook::Output] {
        let mut packets = Vec::new();
        for pair in [("198.51.100.7", "192.0.2.9"), ("2001:db8:9::7", "2001:db8:8::9")] {
            let (src, dst) = (ip(pair.0), ip(pair.1));
            for number in [protocol::TCP, protocol::UDP, protocol::SCTP, protocol::ICMP, protocol::ICMPV6, 47]
            {
                for state in states {
                    for flags in [tcp_flag::SYN, tcp_flag::ACK, tcp_flag::RST, tcp_flag::SYN | tcp_flag::ACK]
                    {
                        for icmp_type in [8, 0, 128, 129] {
                            packets.push(Packet {
                                state,
                                icmp_type,
                                tcp_flags: flags,
                                dport: 80,
                                oif: Some("eth1".into()),
                                ..Packet::new(src, dst, number)
                            });
                        }
                    }
                }
            }
        }
        let verdicts = oracle.verdicts(hook, &packets).unwrap();
        let mut seen = [0; 6];
        for (packet, verdict) in packets.iter().zip(&verdicts) {
            match verdict {
                Verdict::Accepted { mark, .. } => {
                    let wanted = states.iter().position(|s| *s == packet.state).unwrap();
                    assert_eq!(*mark as usize, wanted + 1, "{hook:?} {packet:?}");
                    seen[wanted] += 1;
                }
                Verdict::NotReached(Why::State(_)) => {}
                other => panic!("{hook:?} {packet:?}: {other:?}"),
            }
        }
        assert!(seen.iter().all(|n| *n > 20), "{hook:?} {seen:?}");
    }
}

#[test]
fn icmp_types_have_the_state_that_the_oracle_expects() {
    let Some(mut oracle) = oracle(
        "table inet t { chain c { type filter hook input priority 0; policy drop;
         ct state untracked meta mark set 4 accept
         ct state new meta mark set 3 accept
         ct state invalid meta mark set 1 accept
         }
         }",
    ) else {
        return;
    };
    let mut packets = Vec::new();
    for (src, dst) in [("10.0.0.2", "10.0.0.1"), ("2001:db8::2", "2001:db8::1")] {
        for icmp_type in 0..=255 {
            let ping = Packet::ping(ip(src), ip(dst));
            let mut packet = Packet { icmp_type, ..ping };
            packet.state = packet.natural_state(false);
            packets.push(packet);
        }
    }
    let verdicts = oracle.verdicts(Hook::Input, &packets).unwrap();
    for (packet, verdict) in packets.iter().zip(verdicts) {
        let expected = match packet.state {
            State::Untracked => 4,
            State::New => 3,
            _ => 1,
        };
        let Verdict::Accepted { mark, .. } = verdict else { panic!("{packet:?}: {verdict:?}") };
        assert_eq!(mark, expected, "{packet:?}");
    }
}

#[test]
fn clamping_drops_tcp_headers_that_are_longer_than_the_packet() {
    let Some(launch) = launch() else { return };
    let v4 = |target: &str| {
        format!(
            "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --tcp-flags SYN,RST SYN {target}\nCOMMIT\n"
        )
    };
    for (target, expected) in [("-j TCPMSS --set-mss 1200", "drop"), ("-j LOG", "accept Output")] {
        let ruleset = Ruleset::Iptables { ipset: String::new(), v4: v4(target), v6: String::new() };
        let mut oracle = Oracle::new(&launch, &host(), &ruleset).unwrap();
        let whole = Packet::tcp(ip("10.0.0.1"), ip("10.0.0.9"), 80);
        let spoilt = Packet { state: State::Invalid, ..whole.clone() };
        let verdicts = oracle.verdicts(Hook::Output, &[whole, spoilt]).unwrap();
        assert_eq!(verdicts.iter().map(word).collect::<Vec<_>>(), ["accept Output", expected], "{target}");
    }
}

#[test]
fn a_stray_ack_is_new_where_tcp_loose_is_set() {
    let Some(launch) = launch() else { return };
    let mut config = host();
    config.sysctls.push(("net.netfilter.nf_conntrack_tcp_loose".into(), "1".into()));
    let mut oracle = Oracle::new(&launch, &config, &Ruleset::Nft(STATES.into())).unwrap();
    let ack = Packet { tcp_flags: tcp_flag::ACK, ..Packet::tcp(ip("198.51.100.7"), ip("192.0.2.9"), 80) };
    let stray = Packet { state: State::Invalid, ..ack.clone() };
    let verdicts = oracle.verdicts(Hook::Input, &[ack, stray]).unwrap();
    let marks: Vec<u32> = verdicts
        .iter()
        .map(|v| if let Verdict::Accepted { mark, .. } = v { *mark } else { panic!("{v:?}") })
        .collect();
    assert_eq!(marks, [1, 5]);
}

#[test]
fn packets_that_no_rule_decides_are_told_from_drops() {
    let Some(mut oracle) = oracle(
        "table inet t { chain c { type filter hook prerouting priority -150
            tcp dport 9 drop
        }\n }",
    ) else {
        return;
    };
    let good = Packet::tcp(ip("198.51.100.7"), ip("192.0.2.9"), 80);
    let packets = [
        good.clone(),
        Packet { dport: 9, ..good.clone() },
        Packet { src: ip("0.0.0.0"), ..good.clone() },
        Packet { src: ip("255.255.255.255"), ..good.clone() },
        Packet { ttl: 1, ..good.clone() },
        Packet { src: ip("::1"), dst: ip("ff05::1234"), ..good.clone() },
    ];
    let words: Vec<String> = oracle.verdicts(Hook::Forward, &packets).unwrap().iter().map(word).collect();
    assert_eq!(words[..2], ["accept Forward", "drop"]);
    assert!(words[2..].iter().all(|w| w.starts_with("not reached")), "{words:?}");
    let mixed = Packet { dst: ip("::1"), ..good };
    assert!(matches!(oracle.verdicts(Hook::Forward, &[mixed]), Err(Error::Question(_))));
}

#[test]
fn a_host_with_routes_decides_itself() {
    let Some(launch) = launch() else { return };
    let config = Config {
        destinations: Destinations::AsRouted,
        routes: vec![
            Route {
                destination: (ip("0.0.0.0"), 0),
                interface: "eth0".into(),
                via: Some(ip("203.0.113.254")),
            },
            Route { destination: (ip("10.9.0.0"), 16), interface: "eth1".into(), via: None },
        ],
        ..host()
    };
    let mut oracle = Oracle::new(&launch, &config, &Ruleset::Nft(String::new())).unwrap();
    let to = |dst: &str| Packet::tcp(ip("198.51.100.7"), ip(dst), 80);
    let packets = [to("203.0.113.1"), to("10.0.0.5"), to("10.9.1.1"), to("192.0.2.1")];
    let ends: Vec<(Hook, Option<String>)> = oracle
        .verdicts(Hook::Forward, &packets)
        .unwrap()
        .into_iter()
        .map(|v| match v {
            Verdict::Accepted { hook, packet, .. } => (hook, packet.oif),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (Hook::Input, None),
        (Hook::Forward, Some("eth1".to_owned())),
        (Hook::Forward, Some("eth1".to_owned())),
        (Hook::Forward, Some("eth0".to_owned())),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn iptables_dumps_load() {
    let Some(launch) = launch() else { return };
    let dump = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -p tcp -m multiport --dports 22,443 -m conntrack --ctstate NEW -j ACCEPT\n\
        -A INPUT -p tcp --dport 113 -j REJECT --reject-with tcp-reset\nCOMMIT\n";
    let both = Ruleset::Iptables { ipset: String::new(), v4: dump.into(), v6: dump.into() };
    let mut oracle = Oracle::new(&launch, &host(), &both).unwrap();
    for family in [0, 1] {
        let packets = [22, 80, 113].map(|port| both_families(port)[family].clone());
        let words: Vec<String> = oracle.verdicts(Hook::Input, &packets).unwrap().iter().map(word).collect();
        assert_eq!(words, ["accept Input", "drop", "reject TcpReset"]);
    }
    assert!(oracle.list().unwrap().contains("chain INPUT"));
    assert!(oracle.list_json().unwrap().starts_with('{'));
}

#[test]
fn rulesets_that_do_not_load_are_refused_with_the_reason() {
    let Some(launch) = launch() else { return };
    let check = |text: &str| load_check(&launch, &host(), &Ruleset::Nft(text.into())).unwrap();
    assert_eq!(check("table ip t { chain c { type filter hook input priority 0\n }\n }"), Ok(()));
    let refused = check("table ip t { chain c { tcp dport nonsense accept\n }\n }").unwrap_err();
    assert_eq!(refused.program, "nft");
    assert!(refused.message.contains("nonsense"), "{refused}");
    // `nft -c` lets both pass.
    let cycle = "table ip t { chain a { jump b\n }\n chain b { jump a\n }
        chain c { type filter hook input priority 0\n jump a\n }\n }";
    assert!(check(cycle).is_err());
    assert!(
        check("table ip t { chain c { type nat hook prerouting priority 0\n masquerade\n }\n }").is_err()
    );
    // A refused ruleset leaves no oracle behind that could be asked.
    let mut oracle = Oracle::start(&launch).unwrap();
    assert!(matches!(oracle.load(&host(), &Ruleset::Nft("nonsense".into())), Err(Error::Load(_))));
    let asked = oracle.verdicts(Hook::Input, &both_families(1));
    assert!(matches!(asked, Err(Error::Question(_))), "{asked:?}");
}

#[test]
fn a_ruleset_that_flushes_cannot_remove_the_harness_and_loads_are_independent() {
    let Some(launch) = launch() else { return };
    let mut oracle = Oracle::start(&launch).unwrap();
    for policy in ["drop", "accept", "drop"] {
        let text = format!(
            "flush ruleset\ntable inet t {{ chain c {{ type filter hook input priority 0; policy {policy}\n }}\n }}"
        );
        oracle.load(&host(), &Ruleset::Nft(text)).unwrap();
        let words: Vec<String> =
            oracle.verdicts(Hook::Input, &both_families(1)).unwrap().iter().map(word).collect();
        assert!(words.iter().all(|w| w.starts_with(policy)), "{words:?}");
    }
}

#[test]
fn a_helper_process_gives_the_same_verdicts() {
    if launch().is_none() {
        return;
    }
    let text = "table inet t { chain c { type filter hook input priority 0; tcp dport 2 drop\n }\n }";
    let mut oracle = Oracle::new(&helper(), &host(), &Ruleset::Nft(text.into())).unwrap();
    let packets = [1, 2].map(|port| both_families(port)[1].clone());
    let words: Vec<String> = oracle.verdicts(Hook::Input, &packets).unwrap().iter().map(word).collect();
    assert_eq!(words, ["accept Input", "drop"]);
}

/// The helper, copied into `folder`, as user "nobody", who gets rights in a user namespace only; `None` if
/// that can't be tried.
fn as_nobody(folder: &Path) -> Option<Launch> {
    std::fs::create_dir_all(folder).ok()?;
    let copy = folder.join("helper");
    std::fs::copy(env!("CARGO_BIN_EXE_oracle_helper"), &copy).ok()?;
    let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups", copy.to_str()?];
    let launch = Launch::Process("setpriv".into(), arguments.map(str::to_owned).to_vec());
    match supported(&launch) {
        Ok(()) => Some(launch),
        Err(why) => {
            eprintln!("skipped: {why}");
            None
        }
    }
}

#[test]
fn an_ordinary_user_gets_the_same_verdicts_from_large_rulesets() {
    let folder = std::env::temp_dir().join(format!("firewarden-oracle-{}", std::process::id()));
    let launch = as_nobody(&folder);
    let oracle = launch.map(|launch| Oracle::new(&launch, &host(), &Ruleset::Nft(String::new())));
    let _ = std::fs::remove_dir_all(&folder);
    let Some(oracle) = oracle else { return };
    let mut oracle = oracle.unwrap();
    let rules: String = (0..1500)
        .map(|n| format!("ip saddr 10.0.{}.{} tcp dport {n} ct state new counter accept\n", n / 250, n % 250))
        .collect();
    let members: Vec<String> = (0..3000).map(|n| format!("10.{}.{}.0/24", 1 + n / 250, n % 250)).collect();
    let text = format!(
        "table inet t {{
            set s {{ type ipv4_addr
                flags interval
                elements = {{ {} }}
            }}
            chain c {{
                type filter hook input priority 0; policy drop;
                {rules}
                ip saddr @s goto d
            }}
            chain d {{
                tcp dport 9000 reject with tcp reset
            }}
        }}",
        members.join(", ")
    );
    oracle.load(&host(), &Ruleset::Nft(text)).unwrap();
    let from = |src: &str, port| Packet::tcp(ip(src), ip("192.0.2.1"), port);
    let packets = [from("10.0.5.249", 1499), from("10.0.5.249", 1498), from("10.12.249.1", 9000)];
    let words: Vec<String> = oracle.verdicts(Hook::Input, &packets).unwrap().iter().map(word).collect();
    assert_eq!(words, ["accept Input", "drop", "reject TcpReset"]);

    let lines: String = (0..1500)
        .map(|n| format!("-A INPUT -s 10.0.{}.{}/32 -p tcp --dport {n} -j ACCEPT\n", n / 250, n % 250))
        .collect();
    let dump =
        format!("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{lines}COMMIT\n");
    let both = Ruleset::Iptables { ipset: String::new(), v4: dump, v6: String::new() };
    oracle.load(&host(), &both).unwrap();
    let words: Vec<String> = oracle.verdicts(Hook::Input, &packets).unwrap().iter().map(word).collect();
    assert_eq!(words, ["accept Input", "drop", "drop"]);
}

#[test]
fn traces_name_the_rules() {
    let Some(mut oracle) = oracle(
        "table inet t {
            chain c { type filter hook input priority 0; policy drop
                udp dport 1 drop
                tcp dport 1-9 jump d
                tcp dport 5 accept
            }
            chain d {
                tcp dport 1 counter
                tcp dport 2 reject with tcp reset
                tcp dport 3 return
                tcp dport 4 goto e
            }
            chain e {
                accept
            }
        }",
    ) else {
        return;
    };
    for family in [0, 1] {
        let packets: Vec<Packet> = (1..=6).map(|port| both_families(port)[family].clone()).collect();
        let traces = oracle.traces(Hook::Input, &packets).unwrap();
        let short = |trace: &Vec<firewarden_oracle::TraceStep>| -> String {
            let step = |s: &firewarden_oracle::TraceStep| {
                assert_eq!((s.family.as_str(), s.table.as_str()), ("inet", "t"));
                let rule = s.rule.map_or("-".into(), |(position, _)| position.to_string());
                let verdict = match &s.verdict {
                    StepVerdict::Jump(chain) => format!("jump {chain}"),
                    StepVerdict::Goto(chain) => format!("goto {chain}"),
                    other => format!("{other:?}").to_lowercase(),
                };
                format!("{}/{rule} {verdict}", s.chain)
            };
            trace.iter().map(step).collect::<Vec<_>>().join(", ")
        };
        let traces: Vec<String> = traces.iter().map(short).collect();
        assert_eq!(
            traces,
            [
                "c/1 jump d, d/0 continue, d/- return, c/- return, c/- drop",
                "c/1 jump d, d/1 drop",
                "c/1 jump d, d/2 return, c/- return, c/- drop",
                "c/1 jump d, d/3 goto e, e/0 accept",
                "c/1 jump d, d/- return, c/2 accept",
                "c/1 jump d, d/- return, c/- return, c/- drop",
            ]
        );
    }
    // Tracing leaves nothing behind that changes verdicts.
    let words: Vec<String> =
        oracle.verdicts(Hook::Input, &both_families(5)).unwrap().iter().map(word).collect();
    assert_eq!(words, ["accept Input", "accept Input"]);
}

#[test]
fn invalid_packets_can_be_rejected() {
    let Some(mut oracle) = oracle(
        "table inet t { chain c { type filter hook input priority 0
            meta l4proto tcp ct state invalid reject with tcp reset
            ct state invalid reject with icmpx type admin-prohibited
        }
        }",
    ) else {
        return;
    };
    for family in [0, 1] {
        let tcp = Packet { state: State::Invalid, ..both_families(80)[family].clone() };
        let udp = Packet { protocol: protocol::UDP, payload: 9, ..tcp.clone() };
        let words: Vec<String> =
            oracle.verdicts(Hook::Input, &[tcp, udp]).unwrap().iter().map(word).collect();
        assert_eq!(words[0], "reject TcpReset");
        assert!(words[1].starts_with("reject Icmp"), "{words:?}");
    }
}

#[test]
fn the_hosts_own_namespace_stays_as_it_is() {
    let Some(launch) = launch() else { return };
    let state = || {
        let links = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let names = links.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        let namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
        (names.collect::<Vec<_>>(), forwarding, namespace)
    };
    let before = state();
    // A name that is also a word of `ip`.
    let config = Config::with_interfaces(["fwtest0", "address", "dev"]);
    let mut oracle = Oracle::new(&launch, &config, &Ruleset::Nft(String::new())).unwrap();
    let packet = Packet { iif: "fwtest0".into(), ..both_families(80)[0].clone() };
    assert_eq!(word(&oracle.verdicts(Hook::Input, &[packet]).unwrap()[0]), "accept Input");
    assert_eq!(state(), before);
    for name in ["", "a/b", "eth%d", "lo", "sixteen-is-long.", "a b", ".."] {
        let config = Config::with_interfaces([name]);
        let refused = oracle.load(&config, &Ruleset::Nft(String::new()));
        assert!(matches!(refused, Err(Error::Question(_))), "{name}: {refused:?}");
    }
}

#[test]
fn fragments_are_told_apart() {
    let fragment = |offset, more| Packet {
        fragment_offset: offset,
        more_fragments: more,
        payload: 64,
        ..both_families(80)[0].clone()
    };
    let packets = [fragment(0, true), fragment(9, false), fragment(0, false)];
    let words = |rules: &str| -> Option<Vec<String>> {
        let text =
            format!("table inet t {{ chain c {{ type filter hook forward priority 0\n {rules}\n }}\n }}");
        Some(oracle(&text)?.verdicts(Hook::Forward, &packets).unwrap().iter().map(word).collect())
    };
    let Some(seen) = words("ip frag-off & 0x1fff != 0 drop") else { return };
    assert_eq!(seen[0], "accept Forward");
    assert_eq!(seen[2], "accept Forward");
    // Connection tracking collects fragments until the packet is whole.
    let tracked = words("ct state new accept").unwrap();
    assert_eq!(tracked, ["not reached Reassembly", "not reached Reassembly", "accept Forward"]);
}
