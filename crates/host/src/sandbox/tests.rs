use super::*;

/// A sandbox, or `None` after saying why there can't be one here.
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

const RULES: &str = "table inet t { # handle 1
	set dyn { # handle 3
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 1m
		elements = { 192.0.2.7 expires 31s }
	}

	chain in { # handle 2
		type filter hook input priority filter; policy drop;
		iif \"eth77\" counter packets 3 bytes 180 accept # handle 9
		drop comment \"three { four\" # handle 12
	}
}
";

#[test]
fn a_state_is_loaded_once_more() {
    let Some(sandbox) = sandbox() else { return };
    let state = State { nft: RULES.to_owned(), ..State::default() };
    sandbox.replay(&Rules::of(&state)).unwrap();
    let listed = sandbox.state().unwrap();
    assert_eq!(listed.canonical(), state.canonical());
    assert!(sandbox.list().unwrap().contains("iif \"eth77\" counter accept # handle"));
    let refused = sandbox.load(&Script { loader: Loader::Nft, text: "add rule ip nix c drop\n".to_owned() });
    assert!(
        matches!(&refused, Err(ProgramError::Failed { words, .. }) if words.contains("No such file")),
        "{refused:?}"
    );
}

#[test]
fn rules_that_nft_has_no_words_for_come_from_iptables() {
    let Some(first) = sandbox() else { return };
    let save = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -m string --string \"x\" --algo bm -j DROP\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let script = Script { loader: Loader::IptablesRestore, text: save.to_owned() };
    if let Err(error) = first.load(&script) {
        println!("skipped: {error}");
        return;
    }
    let state = first.state().unwrap();
    assert!(state.nft.contains("xt match"), "{}", state.nft);
    let rules = Rules::of(&state);
    assert!(rules.nft.is_empty() && rules.scripts.len() == 1, "{rules:?}");
    let second = sandbox().unwrap();
    second.replay(&rules).unwrap();
    assert_eq!(second.state().unwrap().digest(), state.digest());
}

#[test]
fn an_ordinary_user_has_a_sandbox_too() {
    let held = match user_namespace() {
        Ok(child) => child,
        Err(why) => return println!("skipped: {why}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox { holder: Holder::Process(held), folder };
    let state = State { nft: RULES.to_owned(), ..State::default() };
    sandbox.replay(&Rules::of(&state)).unwrap();
    assert_eq!(sandbox.state().unwrap().canonical(), state.canonical());
    let script = Script {
        loader: Loader::IptablesLegacyRestore,
        text: "*filter\n:INPUT DROP [0:0]\nCOMMIT\n".to_owned(),
    };
    if sandbox.load(&script).is_ok() {
        assert!(sandbox.state().unwrap().legacy_iptables.contains(":INPUT DROP"));
    }
}
