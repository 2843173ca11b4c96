//! `firewarden apply` with what belongs to it: approved changes, reviews, the journal, connections that are cut, ssh. In
//! network namespaces that end with the test.
//!
//! Needs root and the programs; is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "apply")]

mod common;

use common::namespace::{Namespace, PLAIN_SESSIONS};
use common::{Folder, Run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that has to come about.
const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_firewarden");
const ID: &str = "2026-11-21-no-http";
const OLD: &str = "\
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    tcp dport 22 accept
  }
}
";
const NEW: &str = "\
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    tcp dport 22 accept
    tcp dport 80 drop
  }
}
";

/// A host with rules, and new ones to apply.
struct Host {
    namespace: Namespace,
    /// Outlives the namespace, whose processes write into it.
    folder: Folder,
}

impl Host {
    /// `None` after saying why there is none here.
    fn new(programs: &[&str]) -> Option<Host> {
        let is_there = |program: &str| {
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .iter()
                .any(|folder| std::path::Path::new(folder).join(program).exists())
        };
        let made = match programs.iter().find(|program| !is_there(program)) {
            None => Namespace::with_processes(),
            Some(missing) => Err(format!("`{missing}` is not installed")),
        };
        match made {
            Ok(namespace) => {
                let folder = Folder::with(&[("old.nft", OLD), ("new.nft", NEW)]);
                let host = Host { namespace, folder };
                host.namespace.shell(&format!("ip link set lo up; nft -f {}", host.path("old.nft")));
                Some(host)
            }
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "this has to be tested in CI: {why}");
                eprintln!("skipped: {why}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Firewarden on the host, in the folder.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.namespace.command("env");
        command.arg("--chdir").arg(self.folder.path()).arg(PROGRAM).args(arguments);
        command.env("FIREWARDEN_STATE", self.path("state")).env_remove("SSH_CONNECTION");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        ended(self.command(arguments).output().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Makes `plan.json`.
    #[track_caller]
    fn plan(&self, window: &str) {
        let run = self.run(&["plan", "new.nft", "--window", window, "--out", "plan.json"]);
        run.expect(0, &[]);
    }

    fn rules(&self) -> String {
        self.namespace.shell("nft list ruleset")
    }

    /// Waits until the new rules are in force and somebody has to decide.
    #[track_caller]
    fn wait_until_asked(&self) {
        wait_for("the trial", || self.run(&["status"]).all().contains("in force, unconfirmed"));
    }
}

fn ended(output: Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn finish(child: Child) -> Run {
    ended(child.wait_with_output().unwrap())
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came about: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn rules_in_the_place_of_a_plan_are_told_what_to_run() {
    let folder = Folder::with(&[("new rules.nft", NEW), ("rules/new.nft", NEW)]);
    folder.run(&["apply", "new rules.nft"]).expect(
        2,
        &["error[no-plan]", "firewarden plan 'new rules.nft' --out plan.json", "firewarden apply plan.json"],
    );
    folder
        .run(&["apply", "rules"])
        .expect(2, &["error[no-plan]", "is a folder", "firewarden plan rules --out plan.json"]);
}

/// Succeeds under the old rules only.
const PAGE: &str = "page=nft list ruleset | grep -q 'dport 80' && { echo 'no page' >&2; exit 7; }; true";
/// Takes for ever under the new rules.
const SLOW: &str = "slow=if nft list ruleset | grep -q 'dport 80'; then sleep 600; fi";

#[test]
fn a_probe_that_a_command_makes_brings_the_old_rules_back() {
    let Some(host) = Host::new(&["nft"]) else { return };
    host.plan("60");
    let begun = Instant::now();
    let probes = ["--probe", PAGE, "--probe", SLOW, "--probe", "never=false", "--probe-timeout", "20"];
    let run = host.run(&[&["apply", "plan.json"], probes.as_slice()].concat());
    run.expect(
        1,
        &[
            "page failed with status 7 (no page)",
            "NOT as before",
            "a probe fails: page",
            "the old rules are back",
        ],
    );
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "nobody waits for what the other probes say: {}",
        run.all()
    );
    assert!(!host.rules().contains("dport 80"), "{}", host.rules());
    let journal = host.run(&["journal", "show", "--format", "json"]);
    journal.expect(0, &["a probe fails: page", "grep -q 'dport 80'", "failed with status 1"]);

    // One that takes too long fails as well, and is killed.
    host.plan("60");
    let begun = Instant::now();
    let run = host.run(&["apply", "plan.json", "--probe", SLOW]);
    run.expect(1, &["slow took too long", "a probe fails: slow"]);
    assert!(begun.elapsed() < Duration::from_secs(15), "{}", run.all());
}

#[test]
fn probes_that_commands_make_confirm_where_they_hold_and_count_only_where_they_held() {
    let Some(host) = Host::new(&["nft"]) else { return };
    host.plan("60");
    let run = host.run(&["apply", "plan.json", "--auto-confirm", "--probe", "never=false"]);
    run.expect(2, &["no probe held before the change"]);
    for wrong in ["true", "=true", "name="] {
        host.run(&["apply", "plan.json", "--probe", wrong]).expect(2, &["write a name and a command"]);
    }
    assert!(!host.rules().contains("dport 80"));
    let probes = ["--probe", "ever=true", "--probe", "never=false"];
    let run = host.run(&[&["apply", "plan.json", "--auto-confirm"], probes.as_slice()].concat());
    run.expect(0, &["ever succeeded", "as before the change, so it does not count", "the new rules stay"]);
    assert!(host.rules().contains("dport 80"));
}

#[test]
fn guarded_commands_are_probed_as_well() {
    let Some(host) = Host::new(&["nft"]) else { return };
    let run = host.run(&["guard", "--probe", PAGE, "--", "nft", "-f", "new.nft"]);
    run.expect(1, &["page failed with status 7", "a probe fails: page"]);
    assert!(!host.rules().contains("dport 80"), "{}", host.rules());
    let run = host.run(&["guard", "--auto-confirm", "--probe", "ever=true", "--", "nft", "-f", "new.nft"]);
    run.expect(0, &["ever succeeded", "the new rules stay"]);
}

#[test]
fn only_an_approved_change_is_applied_where_the_policy_says_so() {
    let Some(host) = Host::new(&["nft", "ssh-keygen"]) else { return };
    host.folder.write("policy.yaml", b"required: true\napprovers: 1\nmust_pass: []\n");
    host.namespace.shell(&format!("cd {}; ssh-keygen -q -t ed25519 -N '' -f bob", host.path("")));
    let key = std::fs::read_to_string(host.path("bob.pub")).unwrap();
    host.folder.write("allowed_signers", format!("bob {key}").as_bytes());
    host.plan("60");
    let rules = ["--policy", "policy.yaml", "--signers", "allowed_signers"];
    let apply = |more: &[&'static str]| [&["apply", "plan.json"], more, &rules].concat();

    host.run(&apply(&[]))
        .expect(1, &["error[change-required]", "takes only approved changes", "--change ID"]);
    let propose = ["change", "propose", "new.nft", "--before", "old.nft", "--reason", "no plain HTTP"];
    let details = ["--id", ID, "--author", "alice@example.org", "--plan", "plan.json"];
    let proposed = host.run(&[propose.as_slice(), &details].concat());
    assert!(proposed.code < 2, "{}", proposed.all());
    host.run(&apply(&["--change", "nothing"])).expect(2, &["error[unknown-change]"]);
    host.run(&apply(&["--change", ID])).expect(1, &["error[change-approvals]", "0 of 1 approvals"]);
    assert!(!host.rules().contains("dport 80"));
    let approve = ["change", "approve", ID, "--by", "bob", "--key", "bob"];
    host.run(&[approve.as_slice(), &rules].concat()).expect(0, &["bob approved"]);

    // Another plan, even where it is made within the same second.
    host.plan("61");
    host.run(&apply(&["--change", ID])).expect(1, &["error[change-other-plan]", "--amend"]);
    let amend = ["change", "propose", "new.nft", "--before", "old.nft", "--amend", ID, "--plan", "plan.json"];
    assert!(host.run(&amend).code < 2);
    host.run(&[approve.as_slice(), &rules].concat()).expect(0, &["bob approved"]);
    // Nobody confirms: the record says so, whoever looks next.
    let mut client = host.start(&apply(&["--change", ID]));
    host.wait_until_asked();
    client.kill().unwrap();
    client.wait().unwrap();
    host.run(&["revert", "--because", "a drill"]).expect(0, &["the old rules are back"]);
    host.run(&["change", "log", ID]).expect(0, &["applied", "reverted", "a drill"]);

    let client = host.start(&apply(&["--change", ID]));
    host.wait_until_asked();
    host.run(&["confirm"]).expect(0, &["the new rules stay"]);
    finish(client).expect(0, &["is approved by bob", "the new rules stay"]);
    assert!(host.rules().contains("dport 80"));
    host.run(&["change", "log", ID]).expect(0, &["confirmed"]);
    let told = host.run(&["journal", "export"]);
    for kind in ["refused", "planned", "applied", "reverted", "confirmed", "persisted"] {
        let word = format!("\"kind\":\"{kind}\"");
        let of_change = format!("\"change\":\"{ID}\"");
        let found = told.stdout.lines().any(|line| line.contains(&word) && line.contains(&of_change));
        assert!(found, "{kind} of the change is missing in\n{}", told.stdout);
    }
    host.run(&["journal", "verify"]).expect(0, &[]);
    let events = std::fs::read_dir(host.path(&format!("changes/{ID}/events"))).unwrap().count();
    assert_eq!(events, 4, "applied and reverted, applied and confirmed, each told once");
}

#[test]
fn a_review_that_is_overdue_stops_the_next_change() {
    let Some(host) = Host::new(&["nft"]) else { return };
    host.plan("2");
    let owed = r#"{ "who": "carol", "when": "2020-01-01T08:00:00Z", "because": "nobody reached the site" }"#;
    std::fs::create_dir(host.path("state")).unwrap();
    host.folder.write("state/reviews/20200101T080000Z-1.json", owed.as_bytes());
    let id = "restore 20200101T080000Z-1";
    host.run(&["status"]).expect(0, &["the review of", id, "by carol", "is owed"]);
    let help = "firewarden restore --review 20200101T080000Z-1 --because";
    host.run(&["apply", "plan.json"]).expect(1, &["error[review-overdue]", id, "is overdue", help]);
    assert!(!host.rules().contains("dport 80"));
    let late = ["apply", "plan.json", "--accept-findings", "the site is down"];
    host.run(&late).expect(1, &["is overdue", "nobody confirmed in time"]);
    host.run(&["restore", "--review", "20200101T080000Z-1", "--because", "a rule too many"]).expect(0, &[]);
    let run = host.run(&["apply", "plan.json"]);
    run.expect(1, &["nobody confirmed in time"]);
    assert!(!run.all().contains("review"), "{}", run.all());
}

/// A server with a real sshd, and a machine whose operator applies plans there.
struct Lab {
    server: Host,
    operator: Namespace,
}

impl Lab {
    fn new() -> Option<Lab> {
        let server = Host::new(&["nft", "sshd", "ssh", "ssh-keygen"])?;
        let lab = Lab { server, operator: Namespace::new().unwrap() };
        let folder = lab.server.folder.path().display().to_string();
        let programs = std::path::Path::new(PROGRAM).parent().unwrap().display();
        let config = format!(
            "HostKey {folder}/host\nAuthorizedKeysFile {folder}/operator.pub\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nListenAddress 10.99.0.2\n\
             SetEnv FIREWARDEN_STATE={folder}/state PATH={programs}:/usr/sbin:/usr/bin:/sbin:/bin\n"
        );
        lab.server.folder.write("sshd_config", config.as_bytes());
        // ssh as the operator has set it up.
        let options = format!(
            "-F none -q -o IdentitiesOnly=yes -i {folder}/operator -o StrictHostKeyChecking=no -o UserKnownHostsFile={folder}/known"
        );
        let wrapper = format!("#!/bin/sh\nexec /usr/bin/ssh {options} \"$@\"\n");
        lab.server.folder.write("bin/ssh", wrapper.as_bytes());
        lab.operator.shell(&format!(
            "ip link add eth0 type veth peer name eth0 netns {}
             ip address add 10.99.0.1/24 dev eth0
             ip link set eth0 up
             chmod +x {folder}/bin/ssh",
            lab.server.namespace.id()
        ));
        lab.server.namespace.shell(&format!(
            "ssh-keygen -q -t ed25519 -N '' -f {folder}/host
             ssh-keygen -q -t ed25519 -N '' -f {folder}/operator
             ip address add 10.99.0.2/24 dev eth0
             ip link set eth0 up
             mkdir -p /run/sshd
             {PLAIN_SESSIONS}
             PATH=$PATH:/usr/sbin:/sbin; $(command -v sshd) -f {folder}/sshd_config -E {folder}/sshd.log"
        ));
        Some(lab)
    }

    /// Applies `plan.json` from the operator's machine, who answers so when asked.
    fn apply(&self, more: &[&str], answer: &str) -> Run {
        let path = format!("{}:{}", self.server.path("bin"), std::env::var("PATH").unwrap());
        let mut command = self.operator.command(PROGRAM);
        command.args(["apply", &self.server.path("plan.json"), "--ssh", "root@10.99.0.2"]).args(more);
        command.env("PATH", path).env_remove("SSH_CONNECTION").env_remove("FIREWARDEN_STATE");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(answer.as_bytes()).unwrap();
        drop(input);
        finish(child)
    }
}

#[test]
fn over_ssh_a_new_connection_confirms() {
    let Some(lab) = Lab::new() else { return };
    lab.server.plan("60");
    let run = lab.apply(&["--auto-confirm"], "");
    run.expect(
        0,
        &[
            "applied",
            "waiting",
            "asking for it over a new connection",
            "confirmed by root over ssh 10.99.0.1",
        ],
    );
    assert!(lab.server.rules().contains("dport 80"));
    lab.server.run(&["journal", "show"]).expect(0, &["root over ssh 10.99.0.1", "the new rules stay"]);

    lab.server.namespace.shell(&format!("nft flush ruleset; nft -f {}", lab.server.path("old.nft")));
    lab.server.plan("60");
    lab.apply(&[], "n\n")
        .expect(1, &["keep the new rules? [y/n]", "the operator said no", "the old rules are back"]);
    lab.server.plan("60");
    lab.apply(&["--format", "json"], "y\n")
        .expect(0, &["\"event\":\"confirmed\"", "\"event\":\"armed\"", "keep the new rules?"]);
    assert!(lab.server.rules().contains("dport 80"));
    // What the other host refuses is told here.
    lab.apply(&[], "").expect(2, &["error[stale-plan]"]);
}

#[test]
fn over_ssh_without_a_new_connection_the_deadline_decides() {
    let Some(lab) = Lab::new() else { return };
    let rules = OLD.replace("tcp dport 22 accept", "ct state established accept; tcp dport 22 drop");
    lab.server.folder.write("new.nft", format!("flush ruleset\n{rules}").as_bytes());
    lab.server.plan("8");
    let run = lab.apply(&["--auto-confirm", "--accept-findings", "a drill"], "");
    run.expect(1, &["no new connection gets in", "nobody confirmed in time", "the old rules are back"]);
    assert!(!lab.server.rules().contains("drop;") && !lab.server.rules().contains("dport 22 drop"));
    // Nor does the session that carries it live: what became of it is asked over another one.
    let rules = OLD.replace("tcp dport 22 accept", "tcp dport 22 drop");
    lab.server.folder.write("new.nft", format!("flush ruleset\n{rules}").as_bytes());
    lab.server.plan("5");
    let run = lab.apply(&["--auto-confirm", "--accept-findings", "a drill"], "");
    run.expect(1, &["nobody confirmed in time", "the old rules are back"]);
    lab.server.run(&["status"]).expect(0, &["nobody confirmed in time"]);
}

/// A client with a connection to port 80 of a host whose rules let open connections go on.
struct Open {
    host: Host,
    client: Namespace,
    near: TcpStream,
    far: TcpStream,
}

impl Open {
    fn new() -> Option<Open> {
        let host = Host::new(&["nft", "conntrack", "ss"])?;
        let client = Namespace::new().unwrap();
        client.shell(&format!(
            "ip link add eth0 type veth peer name eth0 netns {}
             ip address add 10.98.0.1/24 dev eth0
             ip link set eth0 up",
            host.namespace.id()
        ));
        let rules = |last: &str| {
            let last = format!("ct state established accept; tcp dport 80 {last}");
            OLD.replace("tcp dport 22 accept", &last)
        };
        host.folder.write("old.nft", rules("accept").as_bytes());
        host.folder.write("new.nft", format!("flush ruleset\n{}", rules("drop")).as_bytes());
        host.namespace.shell(&format!(
            "ip address add 10.98.0.2/24 dev eth0
             ip link set eth0 up
             nft flush ruleset
             nft -f {}",
            host.path("old.nft")
        ));
        let (near, far) = connect(&host, &client);
        Some(Open { host, client, near, far })
    }

    /// Whether what the client says arrives.
    fn is_alive(&mut self) -> bool {
        self.far.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        self.near.write_all(b"x").is_ok() && matches!(self.far.read(&mut [0]), Ok(1))
    }
}

/// Both ends of a connection of a client to port 80.
fn connect(host: &Host, client: &Namespace) -> (TcpStream, TcpStream) {
    let listener = host.namespace.listen("10.98.0.2:80");
    let near = client.within(|| TcpStream::connect("10.98.0.2:80").unwrap());
    (near, listener.accept().unwrap().0)
}

#[test]
fn connections_that_the_new_rules_do_not_admit_are_told_and_cut_on_request() {
    let Some(mut open) = Open::new() else { return };
    assert!(open.is_alive());
    for (more, cut) in [(vec![], false), (vec!["--cut"], true)] {
        open.host.namespace.shell(&format!("nft flush ruleset; nft -f {}", open.host.path("old.nft")));
        open.host.plan("60");
        let client = open.host.start(&[&["apply", "plan.json"], more.as_slice()].concat());
        open.host.wait_until_asked();
        assert!(open.is_alive());
        open.host.run(&["confirm"]).expect(0, &[]);
        let run = finish(client);
        run.expect(0, &["the new rules stay", "10.98.0.1 -> "]);
        assert_eq!(run.all().contains("cut: 10.98.0.1 -> "), cut, "{}", run.all());
        assert_eq!(open.is_alive(), !cut, "{}", run.all());
    }
}

#[test]
fn connections_that_only_the_trial_admitted_are_told_after_it() {
    let Some(Open { host, client, .. }) = Open::new() else { return };
    // The other way round: the rules on trial let port 80 in.
    let open = std::fs::read_to_string(host.path("old.nft")).unwrap();
    host.namespace.shell(&format!("nft -f {}", host.path("new.nft")));
    host.folder.write("new.nft", format!("flush ruleset\n{open}").as_bytes());
    host.plan("60");
    let apply = host.start(&["apply", "plan.json"]);
    host.wait_until_asked();
    let _connection = connect(&host, &client);
    // The rules on trial are read meanwhile.
    std::thread::sleep(Duration::from_secs(1));
    host.run(&["revert", "--because", "a drill"]).expect(0, &[]);
    finish(apply)
        .expect(1, &["the old rules are back", "10.98.0.1 -> ", "was admitted by the rules on trial only"]);
}
