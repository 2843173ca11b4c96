//! Changes tried out in throwaway namespaces: what is found before anything is touched.

use firewarden_change::delta::{Manner, TableName};
use firewarden_change::plan::{Loader, Script};
use firewarden_host::rehearsal::{Candidate, RehearsalError, Rehearsed, Running, load, rehearse};
use firewarden_host::sandbox::Sandbox;
use firewarden_host::state::State;
use std::path::Path;

const MANNERS: [Manner; 3] = [Manner::Fine, Manner::Ends, Manner::Refill];

/// What would run after these scripts, or `None` after saying why nothing can be loaded here.
fn running(scripts: &[(Loader, &str)]) -> Option<Running> {
    let sandbox = match Sandbox::new() {
        Ok(sandbox) => sandbox,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            println!("skipped: {error}");
            return None;
        }
    };
    for (loader, text) in scripts {
        sandbox.load(&Script { loader: *loader, text: (*text).to_owned() }).unwrap();
    }
    let listing = sandbox.list().unwrap();
    Some(Running { state: sandbox.state().unwrap(), listing, interfaces: ["lo".to_owned()].into() })
}

fn try_out(running: &Running, folder: &Path, text: &str) -> Result<Rehearsed, RehearsalError> {
    let file = folder.join("candidate.nft");
    std::fs::write(&file, text).unwrap();
    let candidate = Candidate { files: vec![file], ..Candidate::default() };
    let loaded = load(running, &candidate)?;
    rehearse(running, &candidate, &loaded, |_| true, &MANNERS)
}

const TABLE: &str = "table inet t {
	chain in {
		type filter hook input priority 0; policy drop;
		ct state established accept
		tcp dport 22 counter accept
		ip6 saddr 2001:db8::1 reject with tcp reset
	}
}
";

#[test]
fn one_rule_more_is_one_rule_more() {
    let Some(running) = running(&[(Loader::Nft, TABLE)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ports.nft"), "define ports = { 80, 443 }\n").unwrap();
    let text = "include \"ports.nft\"\nadd rule inet t in tcp dport $ports accept\n";
    let found = try_out(&running, folder.path(), text).unwrap();
    assert_eq!(found.forward.len(), 1);
    assert_eq!(found.forward[0].text, "add rule inet t in tcp dport { 80, 443 } accept\n");
    assert_eq!(found.inverse.len(), 1, "{:?}", found.inverse);
    // The digest is that of what a real namespace holds after the same scripts.
    let real = running_after(&running, &found.forward);
    assert_eq!(found.result.digest(), real.digest());
    let back = running_after(&Running { state: real, ..running.clone() }, &found.back);
    assert_eq!(back.digest(), running.state.digest());
}

/// The state after loading scripts where the running rules are.
fn running_after(running: &Running, scripts: &[Script]) -> State {
    let sandbox = Sandbox::new().unwrap();
    sandbox.replay(&firewarden_host::sandbox::Rules::of(&running.state)).unwrap();
    scripts.iter().for_each(|script| sandbox.load(script).unwrap());
    sandbox.state().unwrap()
}

#[test]
fn what_nft_checks_and_doesnt_load_is_refused() {
    let Some(running) = running(&[(Loader::Nft, TABLE)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for text in [
        // `nft -c` lets chains in a ring pass.
        "table inet t { chain a { }\nchain b { jump a\n}\n}\nadd rule inet t a jump b\nadd rule inet t in jump a\n",
        // An interface that isn't there.
        "add rule inet t in iif \"ppp77\" accept\n",
        "add rule inet nix in accept\n",
    ] {
        let found = try_out(&running, folder.path(), text);
        assert!(matches!(found, Err(RehearsalError::Candidate(_))), "{text}{found:?}");
    }
}

#[test]
fn a_rollback_that_wouldnt_load_is_found_before() {
    let save = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -m string --string \"x\" --algo bm -j DROP\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let sandbox = Sandbox::new();
    let script = Script { loader: Loader::IptablesRestore, text: save.to_owned() };
    if sandbox.is_ok_and(|sandbox| sandbox.load(&script).is_err()) {
        return println!("skipped: this kernel has no string match");
    }
    let Some(running) = running(&[(Loader::IptablesRestore, save)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    // nft has no words for the string match, so what it prints of this chain can't be loaded again.
    let found = try_out(&running, folder.path(), "flush chain ip filter INPUT\n");
    assert!(matches!(found, Err(RehearsalError::Rollback(_))), "{found:?}");
    // Another table isn't in its way.
    let found = try_out(&running, folder.path(), TABLE).unwrap();
    assert_eq!(found.delta.tables.len(), 1);
}

#[test]
fn loading_twice_is_found() {
    let Some(running) = running(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let twice = |text: &str| try_out(&running, folder.path(), text).unwrap().twice.unwrap();
    let doubled = twice(TABLE);
    assert_eq!(doubled.edits.len(), 1, "{:?}", doubled.edits);
    assert_eq!(doubled.edits[0].lines.len(), 3);
    assert!(twice(&format!("table inet t\ndelete table inet t\n{TABLE}")).is_empty());
}

#[test]
fn tables_of_others_stay() {
    let foreign = "table ip f2b { set banned { type ipv4_addr\n elements = { 192.0.2.7 }\n}\n}\n";
    let Some(running) = running(&[(Loader::Nft, TABLE), (Loader::Nft, foreign)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("candidate.nft");
    std::fs::write(&file, format!("flush ruleset\n{}", TABLE.replace("22", "2222"))).unwrap();
    let candidate = Candidate { files: vec![file], ..Candidate::default() };
    let loaded = load(&running, &candidate).unwrap();
    assert!(!loaded.after.contains("f2b"));
    let ours = TableName { family: "inet".to_owned(), name: "t".to_owned() };
    let found = rehearse(&running, &candidate, &loaded, |table| *table == ours, &MANNERS).unwrap();
    assert!(found.result.nft.contains("f2b") && found.result.nft.contains("2222"));
    // One rule goes and one comes; the others keep their counters.
    assert_eq!(found.forward[0].text.lines().count(), 2, "{}", found.forward[0].text);
}
