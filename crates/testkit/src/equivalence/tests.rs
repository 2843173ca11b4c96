use super::{Equivalence, Limits, Question, Reason, compare, packets, questions};
use firewarden_diagnostic::FileId;
use firewarden_engine::{Detail, Fate};
use firewarden_packet::{AtomTable, Dim, Field};
use firewarden_ruleset::ir::{Hook, Ruleset};
use firewarden_ruleset::lower::nft::{LowerOptions, lower};
use firewarden_ruleset::syntax::nft::text::{NoIncludes, parse};
use firewarden_verify::diff::align;

const LIMITS: Limits = Limits { regions: 10_000, rules: 1_000_000, detail: Detail::Rules };

fn ruleset(chain: &str, rules: &[&str], atoms: &mut AtomTable) -> Ruleset {
    let text = format!("table inet t {{ chain c {{ {chain}\n{}\n }}\n }}", rules.join("\n"));
    let (script, diagnostics) = parse(FileId(0), &text, &mut NoIncludes);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let (ruleset, diagnostics) = lower(vec![script], &LowerOptions::default(), atoms);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    ruleset
}

fn filters(left: &[&str], right: &[&str]) -> Equivalence {
    let chain = "type filter hook input priority 0; policy drop;";
    let mut atoms = AtomTable::default();
    let left = ruleset(chain, left, &mut atoms);
    let mut right = ruleset(chain, right, &mut atoms);
    align(&left, &mut right, &atoms, |atoms, field| Some(atoms.get(field)?.kind.clone()));
    compare(&left, &right, &atoms, &questions(&[&left, &right]), LIMITS)
}

#[test]
fn a_set_is_what_its_members_are() {
    let answer = filters(
        &["tcp dport { 22, 80-90 } accept", "ip saddr 10.0.0.0/8 udp dport 53 accept"],
        &["ip saddr 10.0.0.0/8 udp dport 53 accept", "tcp dport 80-90 accept", "tcp dport 22 accept"],
    );
    assert!(matches!(answer, Equivalence::Equivalent { .. }), "{answer:?}");
}

#[test]
fn a_difference_names_a_packet_that_shows_it() {
    let answer = filters(&["tcp dport 22 accept"], &["tcp dport 22 ip saddr != 192.0.2.7 accept"]);
    let Equivalence::Differs(difference) = answer else { panic!("{answer:?}") };
    assert_eq!(difference.left.fate, Fate::Accepted);
    assert_eq!(difference.right.fate, Fate::Dropped);
    assert_eq!(difference.packet.get(Field::DPORT), 22);
    assert!(
        difference.packet.get(Field::SADDR) == 0xC000_0207 || difference.packet.get(Field::NFPROTO) == 10,
        "{difference:?}"
    );
    assert_eq!(difference.left.rules.len(), 1);
}

#[test]
fn flags_are_tested_or_compared() {
    let answer = filters(&["tcp flags syn accept"], &["tcp flags == syn accept"]);
    let Equivalence::Differs(difference) = answer else { panic!("{answer:?}") };
    assert_eq!(difference.packet.get(Field::TCP_FLAGS) & 2, 2);
    assert_ne!(difference.packet.get(Field::TCP_FLAGS), 2);
}

#[test]
fn a_ruleset_with_a_limit_equals_itself() {
    let rules = ["limit rate 5/second accept", "tcp dport 22 limit rate 1/second accept"];
    let answer = filters(&rules, &rules);
    assert!(matches!(answer, Equivalence::Equivalent { .. }), "{answer:?}");
    let answer = filters(&rules, &[rules[1], rules[0]]);
    assert!(matches!(answer, Equivalence::Differs(_)), "{answer:?}");
}

#[test]
fn marks_count_though_the_fate_is_the_same() {
    let answer = filters(
        &["meta mark set 0x10", "accept"],
        &["meta mark set meta mark and 0xffffff00", "meta mark set meta mark or 0x10", "accept"],
    );
    let Equivalence::Differs(difference) = answer else { panic!("{answer:?}") };
    assert_eq!(difference.field, Some(Field::MARK));
    assert_eq!(difference.left.after.get(Field::MARK), 0x10);
}

#[test]
fn translations_count() {
    let chain = "type nat hook prerouting priority -100;";
    let mut atoms = AtomTable::default();
    let left = ruleset(chain, &["tcp dport 80 dnat ip to 10.0.0.1:8080"], &mut atoms);
    let same = ruleset(chain, &["tcp dport 80 ip daddr 0.0.0.0/0 dnat ip to 10.0.0.1:8080"], &mut atoms);
    let other = ruleset(chain, &["tcp dport 80 dnat ip to 10.0.0.1"], &mut atoms);
    let asked = questions(&[&left, &other]);
    let answer = compare(&left, &same, &atoms, &asked, LIMITS);
    assert!(matches!(answer, Equivalence::Equivalent { .. }), "{answer:?}");
    let answer = compare(&left, &other, &atoms, &asked, LIMITS);
    let Equivalence::Differs(difference) = answer else { panic!("{answer:?}") };
    assert_eq!(difference.field, Some(Field::DPORT));
    assert_eq!(difference.right.after.get(Field::DPORT), 80);
}

#[test]
fn limits_end_the_comparison() {
    let mut atoms = AtomTable::default();
    let chain = "type filter hook input priority 0; policy drop;";
    let left = ruleset(chain, &["tcp dport { 1, 3, 5, 7, 9 } accept"], &mut atoms);
    let right = ruleset(chain, &["tcp dport { 1, 3, 5, 7, 9, 11 } accept"], &mut atoms);
    let mut packets = packets(Hook::Input, 2);
    packets.set(Field::DPORT, Dim::Range(0, 10));
    let asked = [Question { hook: Hook::Input, packets }];
    let answer = compare(&left, &right, &atoms, &asked, LIMITS);
    assert!(matches!(answer, Equivalence::Equivalent { .. }), "{answer:?}");
    let few = Limits { regions: 3, ..LIMITS };
    let answer = compare(&left, &right, &atoms, &asked, few);
    assert!(matches!(answer, Equivalence::Undetermined(Reason::Regions(3))), "{answer:?}");
}
