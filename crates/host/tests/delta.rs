//! Deltas in the kernel: forward leads from one generated ruleset to another one, the inverse and the rollback lead back,
//! and rules that stay aren't touched.

use firewarden_change::delta::{Delta, Listing, Manner, delta, inverse_script};
use firewarden_change::plan::{Loader, Script};
use firewarden_host::sandbox::Sandbox;
use firewarden_testkit::edit::edited;
use firewarden_testkit::generate::{Generated, Knobs, Syntax, ruleset};
use firewarden_testkit::random::Random;
use std::collections::BTreeSet;

fn sandbox() -> Option<Sandbox> {
    match Sandbox::new() {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

/// A script loads, or it is shown with what nft said.
fn load(sandbox: &Sandbox, text: &str, what: &str) {
    let script = Script { loader: Loader::Nft, text: text.to_owned() };
    if let Err(error) = sandbox.load(&script) {
        panic!("{what} doesn't load: {error}\n{text}\non\n{}", sandbox.list().unwrap());
    }
}

fn of(before: &str, after: &str, manner: Manner) -> Delta {
    delta(&Listing::read(before).unwrap(), &Listing::read(after).unwrap(), manner, |_| true)
}

/// Fails where two listings differ in what loading can change.
fn same(found: &str, wanted: &str, what: &str, script: &str) {
    let differs = of(found, wanted, Manner::Fine);
    assert!(
        differs.is_empty(),
        "after {what}: {:#?}\n{script}\nleads to\n{found}\nwanted\n{wanted}",
        differs.edits
    );
}

/// What the kernel lists after loading a text, in a namespace with interfaces. nft prints some rules in other words once
/// they were loaded from what it printed (`reject with tcp reset` gets `meta l4proto tcp` before it): those are taken.
fn listed(text: &str) -> Option<String> {
    let once = listed_once(text)?;
    listed_once(&without_handles(&once))
}

fn without_handles(listing: &str) -> String {
    let line = |line: &str| format!("{}\n", line.rsplit_once(" # handle ").map_or(line, |(words, _)| words));
    listing.lines().map(line).collect()
}

fn listed_once(text: &str) -> Option<String> {
    let sandbox = sandbox()?;
    sandbox.add_interfaces(&interfaces());
    let loaded = sandbox.load(&Script { loader: Loader::Nft, text: text.to_owned() });
    loaded.inspect_err(|error| println!("not loaded: {error}")).ok()?;
    Some(sandbox.list().unwrap())
}

fn interfaces() -> BTreeSet<String> {
    ["eth0", "eth1", "wan", "lan"].map(str::to_owned).into()
}

/// There and back, in every way. Gives how many rules were left alone.
fn hold(first: &str, second: &str, wanted: &str) -> usize {
    let sandbox = sandbox().unwrap();
    sandbox.add_interfaces(&interfaces());
    load(&sandbox, first, "the first ruleset");
    let start = sandbox.list().unwrap();
    let handles = |listing: &str| -> BTreeSet<(String, u64, String)> {
        let listing = Listing::read(listing).unwrap();
        let rule = |table: &firewarden_change::delta::Table<'_>| {
            let name = table.name.to_string();
            let rules = table.chains.iter().flat_map(|chain| chain.rules.clone());
            rules.map(|rule| (name.clone(), rule.handle, rule.text.to_owned())).collect::<Vec<_>>()
        };
        listing.tables.iter().flat_map(rule).collect()
    };
    let mut there = of(&start, wanted, Manner::Fine);
    // Some rulesets make nft crash when a rule is put beside another one; only a crash is let pass, and nothing is loaded.
    let crashes = |text: &str| {
        let loaded = sandbox.load(&Script { loader: Loader::Nft, text: text.to_owned() });
        loaded.inspect_err(|error| assert!(error.to_string().contains("SIGSEGV"), "{error}\n{text}")).is_err()
    };
    if crashes(&there.forward) {
        there = of(&start, wanted, Manner::Ends);
        load(&sandbox, &there.forward, "forward at the ends");
    }
    let reached = sandbox.list().unwrap();
    same(&reached, wanted, "forward", &there.forward);
    let kept = handles(&start).intersection(&handles(&reached)).count();
    let inverse = |delta: &Delta| {
        inverse_script(&delta.inverse, &Listing::read(&reached).unwrap()).expect("every rule is where it was")
    };
    let mut back = inverse(&there);
    if crashes(&back) {
        // Where the inverse can't be loaded there is none: the rollback does it.
        back.clone_from(&there.rollback);
        load(&sandbox, &back, "the rollback in place of the inverse");
    }
    let returned = sandbox.list().unwrap();
    same(&returned, &start, "the inverse", &back);
    // Nothing that the change left alone was touched on the way back either.
    let (start_rules, reached_rules) = (handles(&start), handles(&reached));
    let untouched = || start_rules.intersection(&reached_rules).all(|rule| handles(&returned).contains(rule));
    assert!(back == there.rollback || untouched(), "{second}");
    let again = of(&returned, wanted, Manner::Refill);
    load(&sandbox, &again.forward, "the forward script that fills again");
    same(&sandbox.list().unwrap(), wanted, "filling again", &again.forward);
    for state in ["the change", "the first ruleset"] {
        load(&sandbox, &there.rollback, &format!("the rollback from {state}"));
        same(&sandbox.list().unwrap(), &start, &format!("the rollback from {state}"), &there.rollback);
    }
    kept
}

fn generated(seed: u64) -> Option<Generated> {
    Some(ruleset(seed, &Knobs::default())).filter(|text| text.syntax == Syntax::Nft)
}

/// Pairs of rulesets; the environment gives more of them than a usual run has.
fn pairs() -> u64 {
    std::env::var("FIREWARDEN_DELTA_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn edited_rulesets() {
    if sandbox().is_none() {
        return;
    }
    let (mut held, mut kept) = (0, 0);
    for seed in 0..pairs() * 3 {
        let Some(first) = generated(seed) else { continue };
        let second = edited(&mut Random::new(seed ^ 0xed17), &first);
        let Some(wanted) = listed(&second.text()) else { continue };
        let Some(first) = listed(&first.text()) else { continue };
        kept += hold(&without_handles(&first), &second.text(), &wanted);
        held += 1;
    }
    println!("{held} pairs, {kept} rules left alone");
    assert!(held * 2 >= pairs() && kept > held as usize, "{held} pairs, {kept} rules left alone");
}

#[test]
fn rulesets_that_share_only_names() {
    if sandbox().is_none() {
        return;
    }
    let mut held = 0;
    for seed in 0..pairs() * 3 {
        let (Some(first), Some(second)) = (generated(seed * 7 + 1), generated(seed * 11 + 5)) else {
            continue;
        };
        let (Some(first), Some(wanted)) = (listed(&first.text()), listed(&second.text())) else { continue };
        hold(&without_handles(&first), &second.text(), &wanted);
        held += 1;
    }
    assert!(held * 4 >= pairs(), "{held} pairs");
}

/// Everything that a table may hold, in one of two versions.
const FIRST: &str = r#"table inet t {
	comment "first"
	counter c { comment "hits"; }
	counter gone { }
	quota q { over 10 mbytes; }
	limit l { rate 10/second burst 7 packets; }
	ct helper h { type "ftp" protocol tcp; }
	ct timeout to { protocol tcp; l3proto ip; policy = { established: 100, close: 4 }; }
	ct expectation e { protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip; }
	synproxy s { mss 1460; wscale 7; timestamp sack-perm; }
	set dyn { type ipv4_addr; flags dynamic,timeout; timeout 1m; elements = { 192.0.2.77 } }
	set st { type ipv4_addr; flags timeout; counter; elements = { 1.1.1.1 timeout 5m comment "x, y", 2.2.2.2, 3.3.3.3 timeout 1h } }
	set iv { type ipv4_addr . inet_service; flags interval; auto-merge; comment "my set"; elements = { 10.0.0.0/8 . 1-5, 1.2.3.4 . 7 } }
	set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.0/24 } }
	set merged { type inet_service; flags interval; auto-merge; elements = { 1-10, 20 } }
	set retyped { type ipv4_addr; elements = { 1.1.1.1 } }
	set old { type inet_service; }
	map vm { type inet_service : verdict; elements = { 22 : accept, 80 : jump other, 81 : goto leaving } }
	map cm { type ipv4_addr : counter; elements = { 1.1.1.1 : "c" } }
	map dm { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 443 : 10.0.0.1 } }
	chain other { comment "a chain"
		counter name "gone"
	}
	chain leaving { drop; }
	chain in { type filter hook input priority filter; policy drop;
		ct state established accept comment "one; two"
		tcp dport vmap @vm
		tcp dport @merged ip saddr @nets counter name "c" accept
		counter name ip saddr map @cm
		ip saddr @retyped drop
		update @dyn { ip saddr limit rate 10/second } accept
		quota name "q" drop
		limit name "l" log prefix "{ # handle 5 " accept
		ip saddr . tcp dport @iv counter
		tcp dport 21 ct helper set "h"
	}
	chain twin1 { type filter hook forward priority 5; policy accept; accept; }
	chain twin2 { type filter hook forward priority 5; policy accept; }
	chain moved { type filter hook output priority 0; policy accept; counter accept; }
}
table netdev nd { chain ing { type filter hook ingress device "eth0" priority 0; policy accept; drop; } }
table ip asleep { flags dormant; chain c { type filter hook input priority 0; policy drop; } }
table ip same { chain c { accept; } }
table ip only_first { set s { type ipv4_addr; elements = { 1.1.1.1 } }
	chain c { type filter hook input priority 1; ip saddr @s drop; }
}
"#;
const SECOND: &str = r#"table inet t {
	comment "second"
	counter c { comment "hits"; }
	counter come { }
	quota q { over 20 mbytes; }
	limit l { rate 20/second burst 7 packets; }
	ct helper h { type "sip" protocol udp; }
	ct timeout to { protocol tcp; l3proto ip; policy = { established: 200, close: 4 }; }
	ct expectation e { protocol tcp; dport 9877; timeout 2m; size 12; l3proto ip; }
	synproxy s { mss 1400; wscale 7; timestamp sack-perm; }
	set dyn { type ipv4_addr; flags dynamic,timeout; timeout 1m; }
	set st { type ipv4_addr; flags timeout; counter; elements = { 1.1.1.1 timeout 6m comment "x, y", 4.4.4.4 timeout 1m, 5.5.5.5 } }
	set iv { type ipv4_addr . inet_service; flags interval; auto-merge; comment "my set"; elements = { 10.0.0.0/9 . 1-5, 1.2.3.4 . 7, 1.2.3.4 . 8 } }
	set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/9, 10.128.0.0/9, 198.51.100.0/24 } }
	set merged { type inet_service; flags interval; auto-merge; elements = { 1-5, 7-20, 30 } }
	set retyped { type ipv6_addr; elements = { ::1 } }
	set new { type inet_service; elements = { 1, 2 } }
	map vm { type inet_service : verdict; elements = { 22 : drop, 80 : jump coming, 82 : goto other } }
	map cm { type ipv4_addr : counter; elements = { 1.1.1.1 : "come", 1.1.1.2 : "c" } }
	map dm { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.2, 443 : 10.0.0.1 } }
	chain other { comment "another comment"
		counter name "come"
	}
	chain coming { tcp dport @new accept; }
	chain in { type filter hook input priority filter; policy accept;
		ct state invalid drop
		ct state established accept comment "one; two"
		tcp dport vmap @vm
		tcp dport @merged ip saddr @nets counter name "c" accept
		counter name ip saddr map @cm
		ip6 saddr @retyped drop
		update @dyn { ip saddr limit rate 10/second } accept
		quota name "q" drop
		limit name "l" log prefix "{ # handle 5 " accept
		ip saddr . tcp dport @iv counter
		udp dport 5060 ct helper set "h"
		goto coming
	}
	chain twin2 { type filter hook forward priority 5; policy accept; }
	chain twin1 { type filter hook forward priority 5; policy accept; accept; }
	chain moved { type filter hook output priority 10; policy accept; counter accept; jump other; }
}
table netdev nd { chain ing { type filter hook ingress device "eth1" priority 0; policy accept; drop; } }
table ip asleep { chain c { type filter hook input priority 0; policy drop; accept; } }
table ip same { chain c { accept; } }
table ip only_second { map m { type ipv4_addr : verdict; elements = { 1.1.1.1 : jump d } }
	chain d { drop; }
	chain c { type filter hook input priority 1; ip saddr vmap @m; }
}
"#;

/// One statement for each line, as older versions of nft want it.
fn spread(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        // A table or chain on one line, but no set or object.
        let block = line.trim_start().starts_with("table ") || line.trim_start().starts_with("chain ");
        lines.push_str(&if block {
            line.replace("; }", "\n}\n").replace(" }\n }", "}\n}")
        } else {
            line.to_owned()
        });
        lines.push('\n');
    }
    lines.replace("}\n }", "}\n}")
}

#[test]
fn everything_that_a_table_may_hold() {
    if sandbox().is_none() {
        return;
    }
    let [first, second] = [FIRST, SECOND].map(spread);
    for (from, to) in [(&first, &second), (&second, &first)] {
        let wanted = listed(to).expect("it loads");
        let kept = hold(from, to, &wanted);
        assert!(kept >= 5, "{kept} rules are left alone");
    }
}
