//! Rules that nft has no words for, and those of the old iptables.

use super::place::{Place, in_place};
use super::{applied, asker, outcome};
use firewarden_change::trial::Outcome;
use firewarden_host::guard::{self, Change, Extent, Wish};
use firewarden_host::state::State;
use std::process::Command;
use std::time::Duration;

/// Runs a command; false, and why, where the programs or the kernel's modules aren't there.
fn shell(script: &str) -> bool {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let there = output.status.success();
    if !there {
        println!("`{script}`: {}", String::from_utf8_lossy(&output.stderr));
    }
    there
}

fn begin(place: &Place, before: &State, id: &str) {
    let words = ["a command".to_owned()];
    let change = Change::Command { words: &words, window: Duration::from_secs(600), before };
    guard::start(&place.home, change, id, &place.launcher).unwrap();
    applied(place);
}

fn revert(place: &Place) {
    guard::ask(&place.home, &Wish::Revert, asker()).unwrap();
    let outcome = outcome(place);
    assert!(matches!(outcome, Outcome::Reverted { .. }), "{outcome:?}\n{}", place.log());
}

/// What a command may do to these rules.
fn spoil(program: &str) -> [String; 3] {
    [
        format!("{program} -F INPUT; {program} -P INPUT DROP"),
        format!(
            "{program} -I INPUT -j DROP; {program} -N more; {program} -t nat -A POSTROUTING -j MASQUERADE"
        ),
        format!("{program} -F; {program} -X; {program} -A FORWARD -j ACCEPT"),
    ]
}

fn goes_back(program: &'static str) {
    in_place(move |place| {
        let rules = format!(
            "{program} -N own; {program} -A own -s 192.0.2.0/24 -m statistic --mode random --probability 0.5 -j RETURN;
             {program} -A INPUT -p tcp --dport 22 -m recent --name ssh --set -j ACCEPT;
             {program} -A INPUT -j own; {program} -P FORWARD DROP"
        );
        if !shell(&rules) {
            assert!(std::env::var_os("CI").is_none(), "{program} can't be used");
            println!("skipped: {program} can't be used");
            return;
        }
        let before = State::read().unwrap();
        for (number, command) in spoil(program).iter().enumerate() {
            begin(place, &before, &number.to_string());
            assert!(shell(command));
            assert_ne!(State::read().unwrap().digest(), before.digest(), "{command}");
            revert(place);
            assert_eq!(State::read().unwrap().canonical(), before.canonical(), "{command}");
        }
        // Confirmed, forgotten by the kernel, and recovered.
        let now = State::read().unwrap();
        begin(place, &now, "last");
        assert!(shell(&format!("{program} -A INPUT -s 198.51.100.1 -m recent --name x --set -j DROP")));
        guard::ask(&place.home, &Wish::Confirm { ruleset: None }, asker()).unwrap();
        assert!(matches!(outcome(place), Outcome::Confirmed { .. }), "{}", place.log());
        let confirmed = State::read().unwrap();
        assert!(shell(&format!(
            "{program} -F; {program} -X; {program} -P FORWARD ACCEPT; nft flush ruleset"
        )));
        assert!(guard::recover(&place.home, Extent::Whole).unwrap().loaded);
        assert_eq!(State::read().unwrap().canonical(), confirmed.canonical());
    });
}

#[test]
fn rules_of_iptables_that_nft_has_no_words_for_go_back() {
    goes_back("iptables-nft");
}

#[test]
fn rules_of_the_old_iptables_go_back() {
    goes_back("iptables-legacy");
}

#[test]
fn sets_of_ipset_go_back() {
    in_place(|place| {
        let rules = "ipset create friends hash:net; ipset add friends 192.0.2.0/24; ipset create bans hash:ip timeout 600;
                     ipset add bans 198.51.100.1; iptables-nft -A INPUT -m set --match-set friends src -j ACCEPT";
        if !shell(rules) {
            assert!(std::env::var_os("CI").is_none(), "ipset can't be used");
            println!("skipped: ipset can't be used");
            return;
        }
        let before = State::read().unwrap();
        begin(place, &before, "t");
        assert!(shell(
            "ipset flush friends; ipset add friends 0.0.0.0/1; iptables-nft -F INPUT; ipset create more hash:ip"
        ));
        revert(place);
        assert!(shell("ipset test friends 192.0.2.7 && ! ipset test friends 1.2.3.4"));
    });
}
