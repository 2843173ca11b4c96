//! Diff against brute force: each point of a reported set fares differently in the interpreter, each point outside fares
//! alike.

use firewarden_network::{Connection, ConnectionPlace, Host};
use firewarden_packet::AtomTable;
use firewarden_testkit::change::Change;
use firewarden_testkit::edit::edited;
use firewarden_testkit::generate::{Generated, Knobs, Syntax, ruleset};
use firewarden_testkit::load::load;
use firewarden_testkit::random::Random;
use firewarden_verify::diff::{DiffOptions, HostPair, cut_connections};

const PACKETS: usize = 150;

const LIMITS: DiffOptions = DiffOptions { regions: 3_000, steps: 20_000_000, split: 64 };

#[test]
fn differences_are_those_that_the_interpreter_sees() {
    let (mut cases, mut changes, mut asked) = (0, 0, 0);
    for seed in 0..400 {
        let knobs = Knobs { rules: 8, atoms: seed % 3 == 0 };
        let before = ruleset(seed, &knobs);
        let mut random = Random::new(seed);
        let after = edited(&mut random, &before);
        let Ok(case) = Change::of(&before, &after) else { continue };
        let found = case.compare(LIMITS);
        cases += 1;
        changes += found.changes.len();
        asked += case.hold(&found, seed, PACKETS).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    }
    println!("{cases} pairs, {changes} changes, {asked} packets");
    assert!(cases > 300 && changes > 200, "{cases} pairs with {changes} changes are too few to say anything");
}

#[test]
fn a_ruleset_equals_itself() {
    for seed in 0..100 {
        let text = ruleset(seed, &Knobs { rules: 8, atoms: true });
        let Ok(case) = Change::of(&text, &text) else { continue };
        let found = case.compare(LIMITS);
        assert!(found.changes.is_empty() && found.undecided.is_empty() && found.regions == 0, "seed {seed}");
    }
}

#[test]
fn the_same_rules_under_other_names_mean_the_same() {
    // Nothing is paired here, so that everything is compared.
    let text = |table: &str, chain: &str| {
        format!(
            "table inet {table} {{\n set web {{ type inet_service; elements = {{ 80, 443 }}; }}\n \
             chain {chain} {{ type filter hook input priority 0; policy drop;\n \
             ct state established,related accept\n tcp dport @web accept\n ip saddr 10.0.0.0/8 tcp dport 22 accept\n \
             }}\n}}\n"
        )
    };
    let generated = |text: String| Generated::fixed(Syntax::Nft, &text);
    let case = Change::of(&generated(text("one", "input")), &generated(text("other", "in"))).unwrap();
    let found = case.compare(LIMITS);
    assert!(found.regions > 0);
    assert!(found.changes.is_empty(), "{:?}", found.changes);
    assert!(found.undecided.is_empty());
}

#[test]
fn a_connection_is_cut_where_only_its_answers_are_refused() {
    let text = |policy: &str| {
        let chain = |hook: &str, policy: &str| {
            format!("chain {hook} {{ type filter hook {hook} priority 0; policy {policy}; }}\n")
        };
        Generated::fixed(
            Syntax::Nft,
            &format!("table inet t {{\n{}{}}}\n", chain("input", "accept"), chain("output", policy)),
        )
    };
    let host = |policy: &str, atoms: &mut AtomTable| Host {
        ruleset: load(&text(policy), atoms).unwrap(),
        ..Host::default()
    };
    let mut atoms = AtomTable::default();
    let (before, after) = (host("accept", &mut atoms), host("drop", &mut atoms));
    let connection = Connection {
        nfproto: 2,
        protocol: 6,
        source: (0xc633_6407, 40000),
        destination: (0xc000_0201, 22),
        answered: None,
        place: ConnectionPlace::Incoming,
    };
    let cut = cut_connections(&before, &after, &[connection], &atoms);
    assert!(matches!(cut.as_slice(), [found] if found.now), "{cut:?}");
    assert!(cut_connections(&before, &before, &[connection], &atoms).is_empty());
}

#[test]
fn values_that_the_kernel_or_the_packet_chooses_take_few_sets() {
    let nft = |rules: [&str; 3]| {
        let [prerouting, mangle, postrouting] = rules;
        let text = format!(
            "table ip t {{\n chain mangle {{ type filter hook prerouting priority mangle; {mangle} }}\n \
             chain before {{ type nat hook prerouting priority dstnat; {prerouting} }}\n \
             chain after {{ type nat hook postrouting priority srcnat; {postrouting} }}\n}}\n"
        );
        Generated::fixed(Syntax::Nft, &text)
    };
    let masquerade = ["", "", "oifname wan masquerade"];
    for (before, after) in [
        (masquerade, ["", "", ""]),
        (masquerade, ["", "", "oifname { wan, ppp0 } masquerade"]),
        (masquerade, ["", "", "ip saddr 10.0.0.0/8 oifname wan masquerade random"]),
        (masquerade, ["", "", "oifname wan snat to 192.0.2.1-192.0.2.9"]),
        (["", "", "snat to 192.0.2.1-192.0.2.200"], ["", "", "snat to 192.0.2.100-192.0.3.200"]),
        (["tcp dport 80 dnat to 10.0.0.1", "", ""], ["tcp dport 80 dnat to 10.0.0.0/16", "", ""]),
        (["tcp dport 80 redirect to :8080", "", ""], ["tcp dport { 80, 81 } redirect to :8080-8090", "", ""]),
        (
            ["", "", "meta l4proto udp masquerade to :1024-2048"],
            ["", "", "meta l4proto udp masquerade to :2000-4000"],
        ),
        (["", "meta mark set ct mark", ""], ["", "", ""]),
        (["", "ct mark set meta mark", "masquerade"], ["", "ct mark set meta mark xor 7", ""]),
    ] {
        let case = Change::of(&nft(before), &nft(after)).unwrap();
        let found = case.compare(LIMITS);
        println!("{before:?} {after:?}: {} regions", found.regions);
        assert!(found.undecided.is_empty() && found.regions < 400, "{before:?}: {} regions", found.regions);
        assert!(!found.changes.is_empty(), "{before:?}");
        case.hold(&found, 1, 200).unwrap_or_else(|problem| panic!("{before:?} {after:?}: {problem}"));
    }
}

#[test]
fn a_value_that_happens_to_be_equal_is_said_to_be_so() {
    let text = |rule: &str| {
        Generated::fixed(
            Syntax::Nft,
            &format!("table ip t {{\n chain c {{ type nat hook postrouting priority srcnat; {rule} }}\n}}\n"),
        )
    };
    let compared =
        |before: &str, after: &str| Change::of(&text(before), &text(after)).unwrap().compare(LIMITS).changes;
    let chance = compared("masquerade", "");
    assert!(!chance.is_empty() && chance.iter().all(|change| change.coincidences), "{chance:?}");
    let apart = compared("snat to 192.0.2.1-192.0.2.9", "snat to 198.51.100.1-198.51.100.9");
    assert!(!apart.is_empty() && apart.iter().all(|change| !change.coincidences), "{apart:?}");
}

#[test]
fn only_rules_that_changed_or_moved_are_taken_for_changed() {
    let text = |rules: &[String]| {
        Generated::fixed(
            Syntax::Nft,
            &format!(
                "table inet t {{\n chain c {{ type filter hook input priority 0; policy drop;\n{}\n}}\n}}\n",
                rules.join("\n")
            ),
        )
    };
    let rules: Vec<String> = (0..200)
        .map(|number| match number % 3 {
            0 => format!("ip saddr 10.0.{number}.0/24 tcp dport {number} accept"),
            1 => format!("udp dport {{ {number}, {} }} counter accept", number + 500),
            _ => format!("meta skuid {number} meta mark set {number}"),
        })
        .collect();
    let mut edited = rules.clone();
    edited.swap(170, 171);
    edited.splice(150..150, ["tcp dport 1 accept".to_owned(), "tcp dport 2 accept".to_owned()]);
    edited[100] = "tcp dport 100 drop".to_owned();
    edited.remove(50);
    let moved = edited.remove(10);
    edited.push(moved);
    let mut atoms = AtomTable::default();
    let host = |rules: &[String], atoms: &mut AtomTable| Host {
        ruleset: load(&text(rules), atoms).unwrap(),
        ..Host::default()
    };
    let (before, after) = (host(&rules, &mut atoms), host(&edited, &mut atoms));
    let touched = HostPair::new(&before, &after, &atoms).touched();
    assert_eq!((touched.removed, touched.added), (4, 5));
    let backwards: Vec<String> = rules.iter().rev().cloned().collect();
    let backwards = host(&backwards, &mut atoms);
    let touched = HostPair::new(&before, &backwards, &atoms).touched();
    assert_eq!((touched.removed, touched.added), (199, 199));
}
