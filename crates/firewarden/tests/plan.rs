//! Plans, made in network namespaces that end with the test.
#![cfg(feature = "apply")]

mod common;

use common::namespace::Namespace;
use common::{Folder, Run, run_in};
use firewarden_change::delta::{Listing, inverse_script};
use firewarden_change::plan::{Inverse, Plan, ProbeTarget, Switch};
use std::process::Stdio;

/// A namespace with rules, or `None` after saying why there is none.
fn namespace(rules: &str) -> Option<Namespace> {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            println!("skipped: {why}");
            return None;
        }
    };
    namespace.shell(
        "ip link set lo up\nip link add eth0 type veth peer name other\nip address add 203.0.113.1/24 dev eth0\n\
         ip link set eth0 up\nip link set other up\nip route add default via 203.0.113.254",
    );
    load(&namespace, rules);
    Some(namespace)
}

fn load(namespace: &Namespace, rules: &str) {
    use std::io::Write;
    let mut nft = namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{rules}");
}

fn plan(namespace: &Namespace, folder: &Folder, arguments: &[&str]) -> Run {
    let id = namespace.id();
    let all: Vec<&str> = ["plan", "--netns", &id].into_iter().chain(arguments.iter().copied()).collect();
    run_in(folder.path(), &all, b"")
}

fn read(folder: &Folder) -> Plan {
    Plan::read(&std::fs::read_to_string(folder.path().join("plan.json")).unwrap()).unwrap()
}

const RUNNING: &str = "table inet fw {
	set bans { type ipv4_addr; flags dynamic,timeout; timeout 1h; elements = { 192.0.2.66 } }
	chain in {
		type filter hook input priority 0; policy drop;
		ct state established,related accept
		iif lo accept
		tcp dport 22 counter accept
		tcp dport 80 accept
		ip saddr @bans drop
	}
}
table ip f2b {
	set banned { type ipv4_addr
		elements = { 192.0.2.7 }
	}
	chain in { type filter hook input priority -1; policy accept;
		ip saddr @banned drop
	}
}
";

const STACK: &str = "hosts:
  edge: { rules: new.nft, address: 203.0.113.1 }
  db: { rules: db.nft, address: 203.0.113.9 }
intents:
  - allow: 198.51.100.0/24 -> edge tcp/80
  - deny: any -> edge tcp/23
  - allow: edge -> db tcp/5432
  - deny: edge -> db tcp/22
";

const DB: &str = "table inet t { chain in { type filter hook input priority 0; policy drop;
 ct state established accept
 tcp dport 5432 accept
}
}
";

#[test]
fn a_rule_more_with_everything_around_it() {
    let Some(namespace) = namespace(RUNNING) else { return };
    let candidate = "add rule inet fw in tcp dport 443 accept\n";
    let folder = Folder::with(&[("new.nft", candidate), ("firewarden.yaml", STACK), ("db.nft", DB)]);
    let found = plan(
        &namespace,
        &folder,
        &[
            "new.nft",
            "--stack",
            ".",
            "--host",
            "edge",
            "--window",
            "30",
            "--persist",
            "boot.nft",
            "--out",
            "plan.json",
        ],
    );
    found.expect(
        0,
        &[
            "+ tcp dport 443 accept",
            "newly allowed",
            "4 asked before and after",
            "quick inverse",
            "after 30 s",
        ],
    );
    let made = read(&folder);
    // The kernel holds the way back: the new rules come beside the old ones first.
    let Switch::Kernel { staged, settle, .. } = &made.switch else { panic!("{:?}", made.switch) };
    assert!(made.forward[0].text.ends_with("insert rule inet fw in meta nfproto @fw_trial goto in.fw-new\n"));
    assert_eq!(settle[0], Inverse::Command("add rule inet fw in tcp dport 443 accept\n".to_owned()));
    assert_eq!(made.window_seconds, 30);
    assert!(matches!(&made.inverse[..], [Inverse::DeleteRule { index: 0, .. }, _]), "{:?}", made.inverse);
    assert_eq!(made.parent.tables, ["inet fw"]);
    let probes: Vec<(ProbeTarget, bool)> =
        made.probes.iter().map(|probe| (probe.target.clone(), probe.expected)).collect();
    let tcp = |port: u16| ProbeTarget::Tcp(format!("203.0.113.9:{port}"));
    assert_eq!(probes, [(tcp(5432), true), (tcp(22), false)]);
    let persist = made.persist.as_ref().unwrap();
    assert!(
        persist.path.ends_with("/boot.nft") && persist.text.contains("443") && !persist.text.contains("f2b")
    );
    // What it says of the kernel is what the kernel says after loading it; nothing was touched by planning.
    let state = namespace.within(firewarden_host::state::State::read).unwrap();
    assert_eq!(state.digest(), made.parent.ruleset);
    load(&namespace, &made.forward[0].text);
    let state = namespace.within(firewarden_host::state::State::read).unwrap();
    assert_eq!(state.digest(), *staged);
    load(&namespace, &inverse_script(settle, &Listing::read(&state.nft).unwrap()).unwrap());
    let state = namespace.within(firewarden_host::state::State::read).unwrap();
    assert_eq!(state.digest(), made.result);
    assert!(!found.stdout.contains("not compared"), "{}", found.stdout);
    made.rollback.iter().for_each(|script| load(&namespace, &script.text));
    let state = namespace.within(firewarden_host::state::State::read).unwrap();
    assert_eq!(state.digest(), made.parent.ruleset);
    // The file for the next boot loads beside the tables of others, once and again.
    for _ in 0..2 {
        load(&namespace, &persist.text);
    }
    let listed = namespace.shell("nft list ruleset");
    assert!(listed.contains("f2b") && listed.matches("443").count() == 1, "{listed}");
}

#[test]
fn an_intent_that_breaks_is_a_finding() {
    let Some(namespace) = namespace(RUNNING) else { return };
    let candidate = "insert rule inet fw in tcp dport 80 drop\n";
    let folder = Folder::with(&[("new.nft", candidate), ("firewarden.yaml", STACK), ("db.nft", DB)]);
    let found = plan(&namespace, &folder, &["new.nft", "--stack", ".", "--host", "edge"]);
    found.expect(1, &["breaks", "`allow 198.51.100.0/24 -> edge tcp/80`: pass before, fail after"]);
    let markdown =
        plan(&namespace, &folder, &["new.nft", "--stack", ".", "--host", "edge", "--format", "markdown"]);
    markdown.expect(
        1,
        &["- **breaks**", "| `allow 198.51.100.0/24 -> edge tcp/80` | pass | fail |", "+ tcp dport 80 drop"],
    );
    let candidate = "insert rule inet fw in meta cgroup 7 tcp dport 80 drop\n";
    folder.write("new.nft", candidate.as_bytes());
    plan(&namespace, &folder, &["new.nft", "--stack", ".", "--host", "edge"]).expect(3, &["newly depends"]);
}

#[test]
fn tables_of_others_are_not_wiped_unasked() {
    let Some(namespace) = namespace(RUNNING) else { return };
    let own = RUNNING.split("table ip f2b").next().unwrap();
    let candidate = format!(
        "flush ruleset\n{}",
        own.replace("dport 80", "dport 8080").replace("elements = { 192.0.2.66 }", "")
    );
    let folder = Folder::with(&[("new.nft", &candidate)]);
    plan(&namespace, &folder, &["new.nft"]).expect(2, &["`ip f2b`", "--keep-foreign"]);
    plan(&namespace, &folder, &["new.nft", "--keep-foreign", "--out", "plan.json"])
        .expect(0, &["tables of others stay as they are: ip f2b"]);
    // Bans and counters stay: one rule goes, one comes.
    let made = read(&folder);
    assert_eq!(made.forward[0].text.lines().count(), 2, "{}", made.forward[0].text);
    plan(&namespace, &folder, &["new.nft", "--flush-foreign", "--out", "plan.json"])
        .expect(0, &["table ip f2b"]);
    assert!(read(&folder).forward[0].text.contains("delete table ip f2b"));
}

#[test]
fn what_would_not_load_is_refused_and_what_loads_badly_is_told() {
    let Some(namespace) = namespace(RUNNING) else { return };
    let folder = Folder::with(&[
        ("iif.nft", "add rule inet fw in iif ppp9 accept\n"),
        (
            "ring.nft",
            "table inet fw { chain a { }\nchain b { jump a\n}\n}\nadd rule inet fw a jump b\nadd rule inet fw in jump a\n",
        ),
        ("twice.nft", "table inet fw { chain in { tcp dport 443 accept\n}\n}\n"),
        ("same.nft", "table inet fw\n"),
    ]);
    plan(&namespace, &folder, &["iif.nft"])
        .expect(2, &["the candidate doesn't load", "Interface does not exist"]);
    plan(&namespace, &folder, &["ring.nft"]).expect(2, &["the candidate doesn't load"]);
    plan(&namespace, &folder, &["twice.nft"]).expect(0, &["rules come twice"]);
    plan(&namespace, &folder, &["same.nft"]).expect(0, &["Nothing to do"]);
    plan(&namespace, &folder, &["missing.nft"]).expect(2, &["missing.nft"]);
}

#[test]
fn files_in_place_of_a_host() {
    if namespace("").is_none() {
        return;
    }
    let folder = Folder::with(&[("live.nft", RUNNING), ("new.nft", "add rule inet fw in iif ppp9 accept\n")]);
    let found = run_in(folder.path(), &["plan", "new.nft", "--state", "live.nft", "--out", "plan.json"], b"");
    found.expect(0, &["made from files", "only if these interfaces are there: ppp9", "no quick inverse"]);
    let made = read(&folder);
    assert!(made.parent.boot_id.is_empty() && made.inverse.is_empty());
    assert!(!made.forward[0].text.contains("handle"), "{}", made.forward[0].text);
}

#[test]
fn rules_of_the_old_iptables_are_told() {
    let Some(namespace) = namespace(RUNNING) else { return };
    let old = namespace
        .command("iptables-legacy")
        .args(["-A", "INPUT", "-p", "tcp", "--dport", "80", "-j", "DROP"])
        .output();
    if !old.is_ok_and(|output| output.status.success()) {
        return println!("skipped: no old iptables here");
    }
    let folder = Folder::with(&[("new.nft", "add rule inet fw in tcp dport 443 accept\n")]);
    plan(&namespace, &folder, &["new.nft"]).expect(0, &["two backends are in use", "newly allowed"]);
}

#[test]
fn iptables_keeps_the_chains_of_others() {
    let Some(namespace) = namespace("") else { return };
    let running = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n\
        -A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n\
        -A f2b-sshd -s 192.0.2.7/32 -j REJECT --reject-with icmp-port-unreachable\n-A f2b-sshd -j RETURN\nCOMMIT\n";
    let folder = Folder::with(&[("running.rules", running)]);
    let file = folder.path().join("running.rules").display().to_string();
    namespace.shell(&format!("iptables-nft-restore {file}"));
    let candidate = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n\
        *nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    folder.write("new.rules", candidate.as_bytes());
    let found = plan(&namespace, &folder, &["new.rules", "--out", "plan.json"]);
    found.expect(0, &["f2b-sshd", "not atomic: 2 tables", "newly blocked"]);
    let made = read(&folder);
    let digest = || namespace.within(firewarden_host::state::State::read).unwrap().digest();
    assert_eq!(digest(), made.parent.ruleset);
    let load = |scripts: &[firewarden_change::plan::Script]| {
        for script in scripts {
            folder.write("script", script.text.as_bytes());
            let program = match script.loader {
                firewarden_change::plan::Loader::Nft => "nft -f",
                _ => "iptables-nft-restore --noflush",
            };
            namespace.shell(&format!("{program} {}", folder.path().join("script").display()));
        }
    };
    load(&made.forward);
    let listed = namespace.shell("iptables-nft-save");
    assert!(
        listed.contains("-j f2b-sshd") && listed.contains("192.0.2.7") && listed.contains("443"),
        "{listed}"
    );
    assert_eq!(digest(), made.result);
    load(&made.rollback);
    assert_eq!(digest(), made.parent.ruleset);
}

/// nft has other words for states, protocols and comments that iptables loaded, once it has read its own listing.
#[test]
fn rules_of_iptables_in_the_words_of_iptables_have_a_way_back() {
    let Some(namespace) = namespace("") else { return };
    let example = |path: &str| common::repository().join("examples").join(path).display().to_string();
    let (old, new) = (example("webstack/app.rules"), example("outages/000/app.rules"));
    namespace.shell(&format!(
        "iptables-nft-restore {old}\nip6tables-nft-restore {}",
        example("webstack/app6.rules")
    ));
    let folder = Folder::with(&[]);
    plan(&namespace, &folder, &[&new, "--out", "plan.json"])
        .expect(0, &["newly blocked", "rollback by 1 script"]);
    let made = read(&folder);
    let digest = || namespace.within(firewarden_host::state::State::read).unwrap().digest();
    let load = |scripts: &[firewarden_change::plan::Script]| {
        for script in scripts {
            folder.write("script", script.text.as_bytes());
            let file = folder.path().join("script").display().to_string();
            namespace.shell(&format!("iptables-nft-restore --noflush {file}"));
        }
    };
    assert_eq!(digest(), made.parent.ruleset);
    load(&made.forward);
    assert_eq!(digest(), made.result);
    load(&made.rollback);
    assert_eq!(digest(), made.parent.ruleset);
}
