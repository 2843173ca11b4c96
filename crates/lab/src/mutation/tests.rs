use super::*;

const NFT: &str = "define office = 198.51.100.0/24
define other = 203.0.113.0/24
table inet filter {
    set app4 {
        type ipv4_addr
        elements = { 10.0.2.20, 10.0.2.21 }
    }
    chain input {
        type filter hook input priority filter; policy drop;
        iif \"lo\" accept
        iifname \"wan\" ip saddr $office tcp dport 22 accept comment \"ssh\"
        ip saddr @app4 tcp dport { 80, 443 } accept
    }
}
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        iifname \"wan\" tcp dport 80 dnat to 10.0.1.10
    }
}
";

const SAVE: &str = "*filter
:INPUT DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.1.10/32 -p tcp -m tcp --dport 8080 -m comment --comment \"from the proxy\" -j ACCEPT
COMMIT
";

const SAVE6: &str = "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n";

fn files() -> [RulesFile<'static>; 3] {
    let file = |name, text, format| RulesFile { name, text, format, interfaces: &["lo", "wan", "lan"] };
    [
        file("edge.nft", NFT, Format::Nft),
        file("app.rules", SAVE, Format::Iptables),
        file("app6.rules", SAVE6, Format::Ip6tables),
    ]
}

fn vocabulary() -> Vocabulary {
    Vocabulary { ipv4: vec![[10, 0, 1, 10].into(), [10, 0, 3, 30].into()], ipv6: Vec::new() }
}

#[test]
fn every_kind_of_mistake_is_known_and_changes_something() {
    let files = files();
    let all = all(&files, &vocabulary());
    for kind in Kind::ALL {
        assert!(all.iter().any(|mutation| mutation.kind == kind), "{}", kind.word());
    }
    for mutation in &all {
        let changed: Vec<usize> = mutation.files().collect();
        assert!(changed.contains(&mutation.file), "{mutation:?}");
        for (index, file) in files.iter().enumerate() {
            let text = mutation.apply(index, file.text);
            assert_eq!(text != file.text, changed.contains(&index), "{mutation:?}");
        }
    }
}

#[test]
fn mistakes_say_what_they_are_and_where() {
    let files = files();
    let all = all(&files, &vocabulary());
    let find = |kind: Kind, file: usize, what: &str| {
        let mut found = all.iter().filter(|mutation| (mutation.kind, mutation.file) == (kind, file));
        let found = found.find(|mutation| mutation.what.contains(what));
        found.unwrap_or_else(|| panic!("no {} of `{what}` in {all:#?}", kind.word()))
    };
    let of = |mutation: &Mutation| mutation.apply(mutation.file, files[mutation.file].text);
    let negated = find(Kind::Negate, 0, "ip saddr $office");
    assert_eq!(negated.line, 11);
    assert!(of(negated).contains("iifname \"wan\" ip saddr != $office tcp dport 22 accept"));
    assert!(of(find(Kind::Widen, 0, "without `tcp dport { 80, 443 }`")).contains("ip saddr @app4 accept\n"));
    assert!(of(find(Kind::Set, 0, "$other")).contains("ip saddr $other tcp dport 22"));
    assert!(of(find(Kind::Interface, 0, "\"lan\"")).contains("iif \"lan\" accept"));
    assert!(of(find(Kind::NatTarget, 0, "10.0.3.30")).contains("dnat to 10.0.3.30\n"));
    assert!(of(find(Kind::Policy, 0, "accept")).contains("filter; policy accept;"));
    assert!(of(find(Kind::Delete, 0, "10.0.2.21")).contains("elements = { 10.0.2.20 }"));
    assert!(of(find(Kind::Narrow, 0, "without `80`")).contains("tcp dport { 443 } accept"));
    let swapped = of(find(Kind::Swap, 1, "--ctstate"));
    assert!(swapped.find("-A INPUT -m conntrack") < swapped.find("-A INPUT -i lo"));
    assert!(of(find(Kind::Negate, 1, "-s 10.0.1.10/32")).contains("-A INPUT ! -s 10.0.1.10/32 -p tcp"));
    assert!(of(find(Kind::Narrow, 1, "--sport")).contains("-m tcp --sport 20000:65535 --dport 8080"));
    let moved = find(Kind::Family, 1, "--ctstate");
    assert_eq!(moved.files().collect::<Vec<_>>(), [1, 2]);
    assert!(!moved.apply(1, SAVE).contains("conntrack") && moved.apply(2, SAVE6).contains("conntrack"));
}

#[test]
fn the_same_seed_draws_the_same_mistakes_and_none_twice() {
    let files = files();
    let all = all(&files, &vocabulary());
    let drawn = draw(7, 30, &all);
    assert_eq!(drawn, draw(7, 30, &all));
    assert_ne!(drawn, draw(8, 30, &all));
    assert_eq!(drawn.iter().collect::<std::collections::BTreeSet<_>>().len(), 30);
    for kind in Kind::ALL {
        assert!(drawn.iter().any(|index| all[*index].kind == kind), "{}", kind.word());
    }
    assert_eq!(draw(7, usize::MAX, &all).len(), all.len());
}

#[test]
fn texts_with_errors_have_no_mistakes() {
    for text in ["table inet filter {", "}", "-A INPUT", "\u{1f525}", ""] {
        let file = RulesFile { name: "x", text, format: Format::Nft, interfaces: &[] };
        assert_eq!(all(&[file], &vocabulary()), []);
    }
    for text in ["-A", "-A INPUT -s", "-A INPUT ! -s 1.1.1.1 \"", ":INPUT", "COMMIT"] {
        let file = RulesFile { name: "x", text, format: Format::Iptables, interfaces: &[] };
        for mutation in all(&[file], &vocabulary()) {
            mutation.apply(0, text);
        }
    }
}
