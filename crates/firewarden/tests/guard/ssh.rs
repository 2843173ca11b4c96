//! Operators who change the firewall that their own ssh session goes through.

use super::{Host, PROGRAM, finish, wait_for};
use crate::common::Run;
use crate::common::namespace::{Namespace, PLAIN_SESSIONS};
use std::process::{Child, Command, Stdio};

/// A rule that cuts the sessions that are open, and keeps new ones out.
const LOCKOUT: &[&str] = &["nft", "insert", "rule", "inet", "filter", "input", "tcp", "dport", "22", "drop"];
const RULES: &str = "\
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    tcp dport 22 accept
  }
}
";

/// A server with a real sshd, and where its operator sits.
struct Lab {
    server: Host,
    operator: Namespace,
}

impl Lab {
    fn new() -> Option<Lab> {
        let server = Host::with(&["sshd", "ssh", "ssh-keygen", "nft"])?;
        let operator = Namespace::new().unwrap();
        let lab = Lab { server, operator };
        let folder = lab.server.folder.path().display().to_string();
        let config = format!(
            "HostKey {folder}/host\nAuthorizedKeysFile {folder}/operator.pub\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nListenAddress 10.99.0.2\nSetEnv FIREWARDEN_STATE={}\n",
            lab.server.state_folder()
        );
        lab.server.folder.write("sshd_config", config.as_bytes());
        lab.server.folder.write("rules.nft", RULES.as_bytes());
        // From this side, where the numbers of processes are those that this process knows.
        lab.operator.shell(&format!(
            "ip link add eth0 type veth peer name eth0 netns {}
             ip address add 10.99.0.1/24 dev eth0
             ip link set eth0 up",
            lab.server.namespace.id()
        ));
        lab.server.namespace.shell(&format!(
            "ssh-keygen -q -t ed25519 -N '' -f {folder}/host
             ssh-keygen -q -t ed25519 -N '' -f {folder}/operator
             ip address add 10.99.0.2/24 dev eth0
             ip link set eth0 up
             nft -f {folder}/rules.nft
             mkdir -p /run/sshd
             {PLAIN_SESSIONS}"
        ));
        // With an absolute path, as it starts itself again for each session.
        let sshd = "PATH=$PATH:/usr/sbin:/sbin; $(command -v sshd)";
        lab.server.namespace.shell(&format!("{sshd} -f {folder}/sshd_config -E {folder}/sshd.log"));
        Some(lab)
    }

    /// An ssh client that runs a script on the server.
    fn ssh(&self, options: &[&str], script: &str) -> Command {
        let folder = self.server.folder.path().display();
        let mut command = self.operator.command("ssh");
        command
            .args([
                "-n",
                "-q",
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=1",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            // A client whose test failed doesn't stay for ever.
            .args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"])
            .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-i", &format!("{folder}/operator")])
            .args(["-o", &format!("UserKnownHostsFile={folder}/known")])
            .args(options)
            .args(["root@10.99.0.2", script])
            .env_remove("SSH_CONNECTION")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs Firewarden on the server, over a connection of its own.
    fn over_ssh(&self, arguments: &[&str]) -> Run {
        finish(self.start(&[], arguments))
    }

    fn start(&self, options: &[&str], arguments: &[&str]) -> Child {
        self.ssh(options, &format!("{PROGRAM} {}", arguments.join(" "))).spawn().unwrap()
    }

    fn is_locked_out(&self) -> bool {
        self.server.rules().nft.contains("tcp dport 22 drop")
    }

    /// The lockout is there: a session that is opened now doesn't come about. It ends by itself, and leaves words.
    #[track_caller]
    fn lives_through_lockout(&self, begun: &str) {
        wait_for("the lockout", || self.is_locked_out());
        let outside = finish(self.ssh(&[], "true").spawn().unwrap());
        assert!(self.is_locked_out(), "the window was too short for this machine");
        assert_eq!(outside.code, 255, "{}", outside.all());
        wait_for("the way back", || !self.is_locked_out());
        wait_for("a new connection", || finish(self.ssh(&[], "true").spawn().unwrap()).code == 0);
        // The rules are watched for some time before the trial is over.
        wait_for("the end", || self.over_ssh(&["status"]).code == 0);
        self.over_ssh(&["status"]).expect(0, &["the old rules are back", "nobody confirmed in time"]);
        self.over_ssh(&["journal", "show"]).expect(0, &[begun, "nobody confirmed in time"]);
        assert_eq!(self.server.rules().canonical(), self.before());
    }

    /// The rules as they were loaded first.
    fn before(&self) -> String {
        let fresh = Host::with(&["nft"]).unwrap();
        fresh.namespace.shell(&format!("nft -f {}/rules.nft", self.server.folder.path().display()));
        fresh.rules().canonical()
    }
}

fn guard(options: &[&'static str], command: &[&'static str]) -> Vec<&'static str> {
    [&["guard"], options, &["--"], command].concat()
}

#[test]
fn a_rule_that_cuts_the_operators_session_goes_at_the_deadline() {
    let Some(lab) = Lab::new() else { return };
    let command = guard(&["--window", "6", "--accept-findings", "drill"], LOCKOUT);
    let mut session = lab.start(&[], &command);
    wait_for("the lockout", || lab.is_locked_out());
    assert!(session.try_wait().unwrap().is_none(), "the session ended, rather than hang");
    lab.lives_through_lockout("guarding `nft insert rule");
    // TCP sends again what was lost, so the session that hung hears how it ended.
    finish(session).expect(
        1,
        &["would cut this session: ", "10.99.0.1 -> ", "(1 connection)", "nobody confirmed in time"],
    );
}

#[test]
fn it_goes_as_well_when_the_operators_client_is_killed() {
    let Some(lab) = Lab::new() else { return };
    let command = guard(&["--window", "6", "--accept-findings", "drill"], LOCKOUT);
    let mut session = lab.start(&[], &command);
    wait_for("the lockout", || lab.is_locked_out());
    session.kill().unwrap();
    session.wait().unwrap();
    lab.lives_through_lockout("guarding `nft insert rule");
}

/// The server sends SIGHUP to what runs on a terminal that is gone.
#[test]
fn a_hung_up_terminal_confirms_nothing() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.server.rules().digest();
    let command = guard(
        &["--window", "8"],
        &["nft", "insert", "rule", "inet", "filter", "input", "tcp", "dport", "80", "accept"],
    );
    let mut session = lab.start(&["-tt"], &command);
    lab.server.wait_until_asked();
    session.kill().unwrap();
    session.wait().unwrap();
    assert_ne!(lab.server.rules().digest(), before);
    wait_for("the way back", || lab.server.rules().digest() == before);
    wait_for("the end", || lab.over_ssh(&["status"]).code == 0);
    lab.over_ssh(&["status"]).expect(0, &["nobody confirmed in time"]);
}

#[test]
fn without_accepting_it_the_lockout_goes_at_once() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.server.rules().digest();
    let run = lab.over_ssh(&guard(&["--window", "600"], LOCKOUT));
    run.expect(
        1,
        &[
            "error[plan-cuts-session]",
            "would cut this session: 10.99.0.1 -> ",
            "tcp/22 (1 connection): cut by `tcp dport 22 drop`",
        ],
    );
    run.expect(1, &["the old rules are back, as read back from the kernel"]);
    assert_eq!(lab.server.rules().digest(), before);
}

/// A client that shares the connection of the first (`ControlMaster`) proves as little as the first session itself.
#[test]
fn only_a_new_connection_confirms() {
    let Some(lab) = Lab::new() else { return };
    let shared = format!("ControlPath={}/shared", lab.server.folder.path().display());
    let command = guard(
        &["--window", "120"],
        &["nft", "insert", "rule", "inet", "filter", "input", "tcp", "dport", "80", "accept"],
    );
    let session = lab.start(&["-o", "ControlMaster=yes", "-o", &shared], &command);
    lab.server.wait_until_asked();
    let again = finish(lab.start(&["-o", &shared], &["confirm"]));
    again.expect(2, &["error[old-session]", "does not prove that a new one gets in"]);
    lab.over_ssh(&["confirm"]).expect(0, &["the new rules stay: confirmed by root over ssh 10.99.0.1"]);
    finish(session).expect(0, &["the new rules stay: confirmed by root over ssh 10.99.0.1"]);
    assert!(lab.server.rules().nft.contains("tcp dport 80 accept"));
    lab.over_ssh(&["confirm"]).expect(2, &["error[no-trial]", "the last one is over"]);
}

/// What a command has done by half isn't there to be confirmed.
#[test]
fn nobody_confirms_while_the_command_runs() {
    let Some(lab) = Lab::new() else { return };
    let script = "'nft insert rule inet filter input tcp dport 80 accept; sleep 30; nft flush ruleset'";
    let before = lab.server.rules().digest();
    let session = lab.start(&[], &["guard", "--window", "120", "--", "sh", "-c", script]);
    wait_for("the first half", || lab.server.rules().nft.contains("tcp dport 80"));
    lab.over_ssh(&["status"]).expect(3, &["the command runs, or what it did is being judged"]);
    lab.over_ssh(&["confirm"]).expect(2, &["error[at-work]"]);
    lab.over_ssh(&["revert", "--because", "enough"]).expect(0, &["the old rules are back"]);
    finish(session).expect(1, &["it is told to end", "root over ssh", "asked for it: enough"]);
    assert_eq!(lab.server.rules().digest(), before);
}

impl Lab {
    /// A plan for the rules with another one in front; where it is made, and what is said of it.
    fn plan(&self, rule: &str, window: &str, over_ssh: bool) -> (String, Run) {
        let rules = RULES.replace("ct state", &format!("{rule}\n    ct state"));
        let text = format!("table inet filter\ndelete table inet filter\n{rules}");
        self.server.folder.write("candidate.nft", text.as_bytes());
        let place = |name: &str| self.server.folder.path().join(name).display().to_string();
        let (candidate, plan) = (place("candidate.nft"), place("plan.json"));
        let arguments = ["plan", &candidate, "--window", window, "--out", &plan];
        let run = if over_ssh { self.over_ssh(&arguments) } else { self.server.run(&arguments) };
        (plan, run)
    }
}

#[test]
fn a_plan_that_locks_out_is_refused_or_goes_at_the_deadline() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.server.rules().digest();
    let (plan, made) = lab.plan("tcp dport 22 drop", "6", true);
    made.expect(1, &["your own session", "10.99.0.1"]);
    lab.over_ssh(&["apply", &plan])
        .expect(1, &["error[plan-cuts-session]", "10.99.0.1 -> ", "your own session among them"]);
    lab.over_ssh(&["status"]).expect(0, &["nothing is on trial"]);
    assert_eq!(lab.server.rules().digest(), before);
    for is_killed in [false, true] {
        let (plan, _) = lab.plan("tcp dport 22 drop", "6", true);
        let mut session = lab.start(&[], &["apply", &plan, "--accept-findings", "drill"]);
        wait_for("the lockout", || lab.is_locked_out());
        assert!(session.try_wait().unwrap().is_none(), "the session ended, rather than hang");
        if is_killed {
            session.kill().unwrap();
        }
        lab.lives_through_lockout("applying plan");
        let ended = finish(session);
        if !is_killed {
            ended.expect(1, &["the old rules are back", "nobody confirmed in time"]);
        }
    }
}

#[test]
fn a_plan_is_confirmed_over_a_new_connection_only() {
    let Some(lab) = Lab::new() else { return };
    let (plan, made) = lab.plan("tcp dport 80 accept", "120", true);
    made.expect(0, &["newly allowed"]);
    let shared = format!("ControlPath={}/shared", lab.server.folder.path().display());
    let session = lab.start(&["-o", "ControlMaster=yes", "-o", &shared], &["apply", &plan]);
    lab.server.wait_until_asked();
    let again = finish(lab.start(&["-o", &shared], &["confirm"]));
    again.expect(2, &["error[old-session]"]);
    lab.over_ssh(&["confirm"]).expect(0, &["the new rules stay: confirmed by root over ssh 10.99.0.1"]);
    finish(session).expect(0, &["the new rules stay"]);
    assert!(lab.server.rules().nft.contains("tcp dport 80 accept"));
}

/// Made on the console or by a pipeline, a plan knows nothing of the session that it is applied over.
#[test]
fn a_plan_of_somebody_else_does_not_cut_the_session_it_is_applied_over() {
    let Some(lab) = Lab::new() else { return };
    let before = lab.server.rules().digest();
    let (plan, made) = lab.plan("tcp dport 22 drop", "600", false);
    made.expect(0, &["newly blocked"]);
    let run = lab.over_ssh(&["apply", &plan]);
    run.expect(1, &["would cut this session: 10.99.0.1 -> ", "the old rules are back"]);
    assert_eq!(lab.server.rules().digest(), before);
}
