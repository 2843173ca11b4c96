use super::*;
use firewarden_change::plan::Loader;

const LISTING: &str = "\
table inet filter { # handle 1
\tcomment \"hello, {world} # handle 5\"
\tcounter c1 { # handle 3
\t\tcomment \"foo\"
\t\tpackets 5 bytes 10
\t}

\tquota q1 { # handle 4
\t\tover 25 mbytes used 3 mbytes
\t}

\tset dyn { # handle 7
\t\ttype ipv4_addr
\t\tsize 65535
\t\tflags dynamic,timeout
\t\ttimeout 1h
\t\telements = { 1.2.3.4 expires 59m59s952ms, 5.6.7.8 timeout 10m expires 9m59s952ms }
\t}

\tset st { # handle 8
\t\ttype ipv4_addr
\t\tflags timeout
\t\telements = { 9.9.9.9, 1.2.3.4 comment \"a, timeout b }\",
\t\t\t     7.7.7.7 timeout 5m expires 3m, 8.8.8.8 counter packets 3 bytes 9 }
\t}

\tchain b { # handle 2
\t\ttype filter hook input priority filter; policy drop;
\t\ttcp dport { 22, 23 } counter packets 4 bytes 8 quota over 5 mbytes used 1 mbytes accept comment \"hi # handle 3 packets 1 bytes 1\" # handle 13
\t\tjump a # handle 14
\t}

\tchain a { # handle 1
\t\ttype filter hook input priority filter; policy accept;
\t\tcounter name \"c1\" # handle 18
\t}
}
table ip x { # handle 2 progname nft
\tflags dormant
}
";

const CANONICAL: &str = "\
table inet filter {
\tchain a {
\t\ttype filter hook input priority filter; policy accept;
\t\tcounter name \"c1\"
\t}
\tchain b {
\t\ttype filter hook input priority filter; policy drop;
\t\ttcp dport { 22, 23 } counter quota over 5 mbytes accept comment \"hi # handle 3 packets 1 bytes 1\"
\t\tjump a
\t}
\tcomment \"hello, {world} # handle 5\"
\tcounter c1 {
\t\tcomment \"foo\"
\t}
\tquota q1 {
\t\tover 25 mbytes
\t}
\tset dyn {
\t\ttype ipv4_addr
\t\tsize 65535
\t\tflags dynamic,timeout
\t\ttimeout 1h
\t}
\tset st {
\t\ttype ipv4_addr
\t\tflags timeout
\t\telement 1.2.3.4 comment \"a, timeout b }\"
\t\telement 8.8.8.8 counter
\t\telement 9.9.9.9
\t}
\t# type filter hook input priority filter: chain b, chain a
}
table ip x {
\tflags dormant
}
";

#[test]
fn what_packets_and_time_change_is_gone_and_the_rest_is_there() {
    assert_eq!(canonical_nft(LISTING), CANONICAL);
}

#[test]
fn a_changed_rule_element_policy_or_order_of_hooks_shows() {
    for (from, to) in [
        ("{ 22, 23 }", "{ 22 }"),
        ("9.9.9.9", "9.9.9.8"),
        ("policy drop", "policy accept"),
        ("chain b {", "chain 0 {"),
        ("over 25", "over 26"),
        ("dormant", "owner"),
        ("jump a", "goto a"),
    ] {
        let changed = canonical_nft(&LISTING.replace(from, to));
        assert_ne!(changed, CANONICAL, "{from} -> {to}");
    }
    // The two base chains in the other order.
    let (b, a) = (LISTING.find("\tchain b").unwrap(), LISTING.find("\tchain a").unwrap());
    let end = LISTING.find("}\ntable ip x").unwrap();
    let swapped = [&LISTING[..b], &LISTING[a..end], &LISTING[b..a], &LISTING[end..]].concat();
    assert_eq!(canonical_nft(&swapped), CANONICAL.replace("chain b, chain a", "chain a, chain b"));
}

#[test]
fn texts_that_end_anywhere_are_read() {
    for end in 0..LISTING.len() {
        canonical_nft(&LISTING[..end]);
    }
}

#[test]
fn saves_of_iptables_and_ipset() {
    let one = "# then\n*nat\n:POSTROUTING DROP [3:4]\nCOMMIT\n*filter\n:INPUT DROP [1:2]\n:own - [0:0]\n-A own -j ACCEPT\n-A INPUT -j own\n-A INPUT -s 1.2.3.4 -j DROP\nCOMMIT\n";
    let other = "*filter\n:own - [0:0]\n:INPUT DROP [7:2]\n[5:6] -A INPUT -j own\n-A INPUT -s 1.2.3.4 -j DROP\n-A own -j ACCEPT\nCOMMIT\n# now\n*nat\n:POSTROUTING DROP [9:9]\nCOMMIT\n";
    assert_eq!(canonical_iptables(one), canonical_iptables(other));
    assert_ne!(canonical_iptables(one), canonical_iptables(&one.replace("DROP", "ACCEPT")));
    let emptied = format!("{one}*raw\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n");
    assert_eq!(canonical_iptables(one), canonical_iptables(&emptied));
    assert_ne!(canonical_iptables(one), canonical_iptables(&emptied.replace("OUTPUT ACCEPT", "own -")));
    let rules = "-A INPUT -s 1.2.3.4 -j DROP\n-A INPUT -j own\n";
    let order = one.replace("-A INPUT -j own\n-A INPUT -s 1.2.3.4 -j DROP\n", rules);
    assert_ne!(canonical_iptables(one), canonical_iptables(&order));

    let sets = "create h hash:ip family inet hashsize 1024 maxelem 65536 timeout 5 counters initval 0x6\nadd h 1.2.3.4 timeout 4 packets 0 bytes 0\ncreate g hash:net family inet hashsize 64 maxelem 65536\nadd g 1.0.0.0/8\n";
    let later = sets.replace("hashsize 64", "hashsize 128").replace("add h 1.2.3.4", "add h 2.2.2.2");
    assert_eq!(canonical_ipset(sets), canonical_ipset(&later));
    assert_ne!(canonical_ipset(sets), canonical_ipset(&sets.replace("1.0.0.0/8", "2.0.0.0/8")));
}

#[test]
fn rules_of_iptables_that_nft_has_no_words_for_count_with_their_save() {
    let mut state = State {
        nft: "table ip filter {\n\tchain c {\n\t\txt match recent\n\t}\n}\n".to_owned(),
        iptables: "*filter\n-A c -m recent --name x\nCOMMIT\n".to_owned(),
        ..State::default()
    };
    let before = state.digest();
    assert_eq!(before.len(), 64);
    state.iptables = state.iptables.replace("--name x", "--name y");
    assert_ne!(state.digest(), before);
    state.nft = state.nft.replace("xt match recent", "accept");
    let plain = state.digest();
    state.iptables.clear();
    assert_eq!(state.digest(), plain);
}

/// What `nft` would make of them, iptables wouldn't take for its own.
#[test]
fn tables_of_iptables_are_brought_back_by_it_and_others_by_nft() {
    let listed = "\
table ip filter { # handle 1
\tchain INPUT { # handle 1
\t\ttype filter hook input priority filter; policy accept;
\t\tmeta l4proto tcp tcp dport 22 counter packets 0 bytes 0 accept # handle 2
\t}
}
table ip nat { # handle 2
\tset own { # handle 3
\t\ttype ipv4_addr
\t}
\tchain PREROUTING { # handle 1
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t}
}
table inet filter { # handle 3
\tchain INPUT { # handle 1
\t}
}
";
    let filter = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let wanted = State {
        nft: listed.to_owned(),
        iptables: format!("{filter}*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"),
        ip6tables: filter.to_owned(),
        ..State::default()
    };
    let scripts = restore::scripts(&wanted, &State::default(), restore::Others::Remove);
    let [nft, iptables] = scripts.as_slice() else { panic!("{scripts:?}") };
    assert_eq!((nft.loader, iptables.loader), (Loader::Nft, Loader::IptablesRestore));
    assert!(nft.text.contains("delete table ip filter\n") && !nft.text.contains("dport 22"), "{}", nft.text);
    assert!(nft.text.contains("set own {") && nft.text.contains("table inet filter {"), "{}", nft.text);
    // A hook that the table doesn't have isn't made.
    assert_eq!(iptables.text, filter.replace(":OUTPUT ACCEPT [0:0]\n", ""));
    assert_eq!(restore::scripts(&wanted, &wanted, restore::Others::Remove), []);
}

#[cfg(feature = "apply")]
#[test]
fn counters_are_taken_out_as_nft_does() {
    use crate::kernel::tests::{in_namespace, load, nft};
    in_namespace(|| {
        load(
            "table inet t {
  set s { type ipv4_addr; flags interval; counter; elements = { 10.0.0.0/8 counter packets 3 bytes 4, 192.0.2.1 counter packets 5 bytes 6 } }
  chain c {
    type filter hook input priority 0; policy drop;
    tcp dport 22 counter packets 7 bytes 99 accept comment \"counter packets 1 bytes 2\"
    ip saddr @s counter packets 18446744073709551615 bytes 0 jump d
    meta mark 0x10 counter packets 1 bytes 2 log prefix \"say counter packets 3 bytes 4\" counter packets 5 bytes 6
  }
  chain d { ct state vmap { established : accept, invalid : drop }; limit rate 5/second accept; }
}
",
        );
        let wanted = nft(&["-s", "-a", "list", "ruleset"], "");
        assert_eq!(stateless_listing(&nft(&["-a", "list", "ruleset"], "")).unwrap(), wanted);
        for other in [
            "add set inet t x { type ipv4_addr; flags dynamic,timeout; }",
            "add quota inet t x { over 5 mbytes used 1 mbytes }",
            "add counter inet t x { packets 4 bytes 5 }",
            "add set inet t x { type ipv4_addr; timeout 1h; elements = { 192.0.2.7 } }",
            "add rule inet t c quota over 5 mbytes used 1 mbytes drop",
        ] {
            load(&format!("{other}\n"));
            assert_eq!(stateless_listing(&nft(&["-a", "list", "ruleset"], "")), None, "{other}");
            load("flush ruleset; add table inet t; add chain inet t c\n");
        }
    });
}
