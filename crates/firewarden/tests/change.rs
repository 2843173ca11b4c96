//! `firewarden change` as a team uses it: with git, ssh-keygen, and files that somebody tampered with.
#![cfg(feature = "apply")]

mod common;

use common::{Folder, Run, repository, run_in};
use firewarden_change::plan::{Evidence, Parent, Plan, Switch};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;

const METRICS: &str =
    "-A INPUT -s 10.0.1.10/32 -p tcp -m tcp --dport 9100 -m comment --comment metrics -j ACCEPT\n";
const METRICS6: &str =
    "-A INPUT -s 2001:db8:0:1::10/128 -p tcp -m tcp --dport 9100 -m comment --comment metrics -j ACCEPT\n";
const ID: &str = "2026-11-21-metrics";

/// A checkout of the web stack, with keys of people and their `allowed_signers`.
struct Team(Folder);

impl Team {
    /// `None` where ssh-keygen or git is missing, which CI doesn't allow.
    fn new(people: &[&str]) -> Option<Team> {
        for program in ["ssh-keygen", "git"] {
            if Command::new(program).arg("--help").output().is_err() {
                assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
                eprintln!("skipped: {program} is not installed");
                return None;
            }
        }
        let team = Team(Folder::with(&[]));
        for name in ["app.rules", "app6.rules", "db.nft", "edge.nft", "firewarden.yaml", "lb.nft"] {
            std::fs::copy(repository().join("examples/webstack").join(name), team.path(name)).unwrap();
        }
        team.0.write("haproxy.cfg", b"timeout client 30s\n");
        let stack = team.read("firewarden.yaml");
        team.0.write("firewarden.yaml", format!("{stack}\ntracked: [haproxy.cfg]\n").as_bytes());
        team.0.write(".gitignore", b"keys/\netc/\n");
        team.sh("git", &["init", "-q", "."]);
        team.sh("git", &["config", "user.email", "alice@example.org"]);
        team.sh("git", &["config", "user.name", "Alice"]);
        team.sh("git", &["add", "-A"]);
        team.sh("git", &["commit", "-q", "-m", "as it is"]);
        let mut signers = String::new();
        for person in people {
            let key = team.key(person);
            std::fs::create_dir_all(key.parent().unwrap()).unwrap();
            team.sh(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-C", person, "-f", key.to_str().unwrap()],
            );
            signers.push_str(&format!("{person} {}", team.read(&format!("keys/{person}.pub"))));
        }
        team.0.write("etc/allowed_signers", signers.as_bytes());
        team.0.write("etc/policy.yaml", b"required: false\napprovers: 1\n");
        Some(team)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn key(&self, person: &str) -> PathBuf {
        self.path("keys").join(person)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Replaces words in a file, which must be there.
    #[track_caller]
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "`{from}` is not in {name}:\n{text}");
        self.0.write(name, text.replace(from, to).as_bytes());
    }

    fn sh(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn commit(&self) {
        self.sh("git", &["add", "-A"]);
        self.sh("git", &["commit", "-q", "-m", "a change"]);
    }

    fn change(&self, arguments: &[&str]) -> Run {
        self.0.run(&[&["change"], arguments].concat())
    }

    /// The same for what knows policy and signers.
    fn ruled(&self, arguments: &[&str]) -> Run {
        let rules = ["--policy", "etc/policy.yaml", "--signers", "etc/allowed_signers"];
        self.change(&[arguments, &rules].concat())
    }

    fn approve(&self, id: &str, person: &str) -> Run {
        let key = self.key(person);
        self.ruled(&["approve", id, "--by", person, "--key", key.to_str().unwrap()])
    }

    /// A plan for a host, told from others by `mark`.
    fn plan(&self, name: &str, host: &str, mark: &str) -> String {
        let plan = Plan {
            version: firewarden_change::plan::FORMAT_VERSION,
            host: host.to_owned(),
            made: "2026-11-21T08:00:00Z".to_owned(),
            parent: Parent {
                boot_id: mark.to_owned(),
                namespace: "net:[1]".to_owned(),
                generation: 7,
                ruleset: "00".to_owned(),
                handles: "00".to_owned(),
                parts: Default::default(),
                tables: Vec::new(),
            },
            result: "11".to_owned(),
            parts: Default::default(),
            forward: Vec::new(),
            inverse: Vec::new(),
            rollback: Vec::new(),
            probes: Vec::new(),
            window_seconds: 60,
            persist: None,
            switch: Switch::Guard("a test".to_owned()),
            evidence: Evidence::default(),
        };
        self.0.write(name, plan.write().as_bytes());
        plan.hash()
    }

    /// Metrics are let through to the application servers, IPv4 and IPv6.
    fn allow_metrics(&self) {
        let to_haproxy = |text: String, rule: &str| -> String {
            let at = text
                .find("-A INPUT -s 10.0.1.10")
                .or_else(|| text.find("-A INPUT -s 2001:db8:0:1::10"))
                .unwrap();
            format!("{}{rule}{}", &text[..at], &text[at..])
        };
        self.0.write("app.rules", to_haproxy(self.read("app.rules"), METRICS).as_bytes());
        self.0.write("app6.rules", to_haproxy(self.read("app6.rules"), METRICS6).as_bytes());
    }

    /// A proposal with a plan and evidence that passes.
    fn proposed(&self) {
        self.allow_metrics();
        self.plan("plan.json", "app", "one");
        let reason = "Prometheus reads the node exporters";
        let run = self.change(&[
            "propose",
            "--id",
            ID,
            "--reason",
            reason,
            "--expect",
            "allow lb -> app tcp/9100",
            "--plan",
            "plan.json",
        ]);
        run.expect(0, &["check: pass", "newly allowed on app: lb -> app tcp/9100"]);
        self.commit();
    }

    fn record(&self) -> String {
        format!("changes/{ID}/change.yaml")
    }
}

/// What an answer is worth on this machine: files that the test wrote are root's word where the test is root.
fn allowed() -> i32 {
    if is_root() { 0 } else { 3 }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn from_proposal_to_permission() {
    let Some(team) = Team::new(&["alice@example.org", "bob", "carol"]) else { return };
    // IPv6 is forgotten: the proposal is a draft with evidence against it.
    let text = team.read("app.rules");
    team.allow_metrics();
    team.0.write(
        "app6.rules",
        std::fs::read(repository().join("examples/webstack/app6.rules")).unwrap().as_slice(),
    );
    assert_ne!(team.read("app.rules"), text);
    let propose =
        ["propose", "--id", ID, "--reason", "Prometheus reads the node exporters", "--ticket", "OPS-1"];
    let run = team.change(&[&propose, ["--expect", "allow lb -> app tcp/9100"].as_slice()].concat());
    run.expect(1, &["check: fail (10 pass, 1 fail)", "flow-blocked", "--amend", "make a plan on the host"]);
    team.approve(ID, "bob").expect(2, &["change-draft", "neither a plan nor a tracked file"]);
    team.change(&[&propose, ["--expect", "allow lb -> app tcp/9100"].as_slice()].concat())
        .expect(2, &["there is a change `2026-11-21-metrics` already", "--amend"]);
    // With IPv6 and a plan it passes.
    team.allow_metrics();
    team.0.write(
        "app.rules",
        text.replacen("-A INPUT -s 10.0.1.10", &format!("{METRICS}-A INPUT -s 10.0.1.10"), 1).as_bytes(),
    );
    let hash = team.plan("plan.json", "app", "one");
    team.change(&["propose", "--amend", ID, "--plan", "plan.json"])
        .expect(0, &["amended", "check: pass (11 pass)"]);
    let record = team.read(&team.record());
    for words in
        ["ticket: OPS-1", "allow lb -> app tcp/9100", &hash, "author: alice@example.org", "plan's rollback"]
    {
        assert!(record.contains(words), "{words}\n{record}");
    }
    // Evidence is for people: no temporary folder is named in it.
    for name in ["check", "diff", "audit"] {
        let text = team.read(&format!("changes/{ID}/evidence/{name}.md"));
        assert!(!text.contains("/tmp") && text.len() > 100, "{text}");
    }
    team.commit();

    team.ruled(&["verify", ID]).expect(1, &["change-approvals", "0 of 1 approvals"]);
    team.approve(ID, "alice@example.org")
        .expect(2, &["change-self-approval", "nobody approves their own change"]);
    team.change(&["review", ID, "--by", "carol", "--request-changes", "one source is enough"])
        .expect(0, &["asked for another"]);
    team.ruled(&["list"]).expect(0, &[ID, "changes requested", "0/1"]);
    team.approve(ID, "bob")
        .expect(0, &["bob approved", "still: carol asked for another version: one source is enough"]);
    team.ruled(&["verify", ID]).expect(1, &["change-requested", "approver bob: good, by SHA256:"]);
    team.approve(ID, "carol").expect(0, &["carol approved"]);
    let said = team.ruled(&["verify", ID]);
    said.expect(
        allowed(),
        &["it may be applied now; approved by bob, carol", &format!("plan {hash} record ")],
    );
    assert_eq!(said.all().contains("advisory"), !is_root());
    team.ruled(&["show", ID])
        .expect(0, &["approved", "OPS-1", "newly allowed on app", "lb -> app tcp/9100", "back-out"]);
    team.ruled(&["list"]).expect(0, &["approved", "2/1"]);

    // Another plan: whoever approved didn't approve this.
    team.plan("plan.json", "app", "two");
    team.change(&["propose", "--amend", ID, "--plan", "plan.json"]).expect(0, &["amended"]);
    team.ruled(&["verify", ID]).expect(1, &["approver bob: void", "change-approvals"]);
    team.approve(ID, "bob").expect(0, &[]);
    team.ruled(&["verify", ID]).expect(allowed(), &["approved by bob"]);
    let log = team.change(&["log", ID]);
    log.expect(0, &["proposed it", "changes-requested: one source is enough", "bob signed it as approver"]);
}

#[test]
fn without_signers_it_is_advice() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.proposed();
    let key = team.key("bob");
    team.change(&["approve", ID, "--by", "bob", "--key", key.to_str().unwrap()]).expect(0, &["bob approved"]);
    team.change(&["verify", ID])
        .expect(3, &["advisory: there is no `/etc/firewarden/allowed_signers`", "not checked"]);
    // Those of the checkout are anybody's.
    team.0.write("changes/allowed_signers", team.read("etc/allowed_signers").as_bytes());
    std::fs::set_permissions(
        team.path("changes/allowed_signers"),
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    team.change(&["verify", ID]).expect(3, &["advisory: ", "good, by SHA256:"]);
    // A policy that wants approved changes doesn't take advice.
    team.0.write("changes/policy.yaml", b"approvers: 1\n");
    team.change(&["verify", ID]).expect(1, &["change-unenforceable", "approvals can't be relied on"]);
}

#[test]
fn what_was_tampered_with_does_not_count() {
    let Some(team) = Team::new(&["bob", "mallory"]) else { return };
    team.proposed();
    team.approve(ID, "bob").expect(0, &[]);
    team.commit();
    let verify = || team.ruled(&["verify", ID]);
    let restore = || team.sh("git", &["checkout", "-q", "--", "changes"]);
    verify().expect(allowed(), &["approved by bob"]);

    // The record: any word of it.
    for (from, to) in [
        ("author: alice@example.org", "author: mallory"),
        ("risk: low", "risk: high"),
        ("reason: Prometheus reads", "reason: Prometheus writes"),
    ] {
        team.edit(&team.record(), from, to);
        verify().expect(1, &["approver bob: void", "change-approvals"]);
        restore();
    }
    // A comment isn't a word of it.
    team.edit(&team.record(), "risk: low", "risk: 'low' # we talked about it");
    verify().expect(allowed(), &["approved by bob"]);
    restore();
    // The evidence, and the plan beside the record.
    team.edit(&format!("changes/{ID}/evidence/check.md"), "pass", "PASS");
    verify().expect(1, &["change-evidence-changed", "was changed afterwards"]);
    restore();
    std::fs::remove_file(team.path(&format!("changes/{ID}/evidence/diff.md"))).unwrap();
    verify().expect(1, &["change-evidence-changed", "there is no"]);
    restore();
    team.plan(&format!("changes/{ID}/plans/app.json"), "app", "other");
    verify().expect(1, &["change-plan", "isn't the one that the record names"]);
    restore();

    // The approval: in another's name, with another's key, of another statement.
    let approval = format!("changes/{ID}/approvals/bob-approver.yaml");
    team.edit(&approval, "by: bob", "by: mallory");
    verify().expect(2, &["change-entry", "says that it is `mallory-approver.yaml`"]);
    restore();
    let key = team.key("mallory");
    team.ruled(&["approve", ID, "--by", "bob", "--key", key.to_str().unwrap()])
        .expect(1, &["the approval of bob doesn't count"]);
    verify().expect(1, &["approver bob: refused", "change-signature"]);
    restore();
    let text = team.read(&approval);
    let line = text.lines().find(|line| line.contains("U1NIU0lH")).unwrap().to_owned();
    let cut = line.replace("U1NIU0lH", "U1NIU0lI");
    team.edit(&approval, &line, &cut);
    verify().expect(1, &["approver bob: refused"]);
    restore();

    // Another namespace: a signature that was made for something else.
    let statement = format!("{}\n", verify().stdout.lines().next().unwrap());
    team.0.write("statement", statement.as_bytes());
    let bob = team.key("bob");
    team.sh("ssh-keygen", &["-q", "-Y", "sign", "-f", bob.to_str().unwrap(), "-n", "file", "statement"]);
    let lines: Vec<String> = team.read("statement.sig").lines().map(|line| format!("  {line}\n")).collect();
    let (head, _) = text.split_once("signature:").unwrap();
    team.0.write(&approval, format!("{head}signature: |\n{}", lines.concat()).as_bytes());
    verify().expect(1, &["approver bob: refused", "namespace"]);
    // The same with the right one counts, so that it is the namespace that was wrong.
    std::fs::remove_file(team.path("statement.sig")).unwrap();
    team.sh(
        "ssh-keygen",
        &["-q", "-Y", "sign", "-f", bob.to_str().unwrap(), "-n", "firewarden-change", "statement"],
    );
    let lines: Vec<String> = team.read("statement.sig").lines().map(|line| format!("  {line}\n")).collect();
    team.0.write(&approval, format!("{head}signature: |\n{}", lines.concat()).as_bytes());
    verify().expect(allowed(), &["approved by bob"]);
}

#[test]
fn signers_expire_and_are_revoked() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.proposed();
    team.approve(ID, "bob").expect(0, &[]);
    let public = team.read("keys/bob.pub");
    for (options, counts) in [
        ("valid-before=\"20200101\" ", false),
        ("namespaces=\"git\" ", false),
        ("valid-before=\"21000101\",namespaces=\"firewarden-change\" ", true),
    ] {
        team.0.write("etc/allowed_signers", format!("bob {options}{public}").as_bytes());
        team.ruled(&["verify", ID]).expect(if counts { allowed() } else { 1 }, &["bob"]);
    }
    team.0.write("etc/revoked", public.as_bytes());
    team.ruled(&["verify", ID, "--revoked", "etc/revoked"]).expect(1, &["approver bob: refused"]);
    // One key under two names is one person.
    team.0.write("etc/allowed_signers", format!("bob,carol {public}").as_bytes());
    team.0.write("etc/policy.yaml", b"required: false\napprovers: 2\n");
    let key = team.key("bob");
    team.ruled(&["approve", ID, "--by", "carol", "--key", key.to_str().unwrap()])
        .expect(1, &["1 of 2 approvals", "already counts under another name"]);
}

#[test]
fn only_what_root_wrote_is_enforced() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.proposed();
    team.approve(ID, "bob").expect(0, &[]);
    team.0.write("etc/policy.yaml", b"approvers: 1\n");
    if !is_root() {
        team.ruled(&["verify", ID]).expect(1, &["change-unenforceable", "not to root"]);
        return;
    }
    team.ruled(&["verify", ID]).expect(0, &["it may be applied now"]);
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(team.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
    };
    for name in ["etc/allowed_signers", "etc/policy.yaml"] {
        mode(name, 0o666);
        team.ruled(&["verify", ID]).expect(1, &["change-unenforceable", "others than root may write", name]);
        mode(name, 0o644);
        std::os::unix::fs::chown(team.path(name), Some(12345), None).unwrap();
        team.ruled(&["verify", ID]).expect(1, &["change-unenforceable", "belongs to the user 12345"]);
        std::os::unix::fs::chown(team.path(name), Some(0), None).unwrap();
    }
    mode("etc", 0o777);
    team.ruled(&["verify", ID]).expect(1, &["change-unenforceable"]);
}

#[test]
fn links_and_misplaced_folders_are_refused() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.proposed();
    let record = team.path(&team.record());
    team.0.write("secret", b"root:$6$secret\n");
    let text = team.read(&team.record());
    std::fs::remove_file(&record).unwrap();
    symlink(team.path("secret"), &record).unwrap();
    for command in ["verify", "show"] {
        let run = team.ruled(&[command, ID]);
        run.expect(2, &["change-file", "links in records aren't followed"]);
        assert!(!run.all().contains("$6$"), "{}", run.all());
    }
    team.ruled(&["list"]).expect(2, &["no changes", "change-file"]);
    std::fs::remove_file(&record).unwrap();
    team.0.write(&team.record(), text.as_bytes());
    // A folder of entries that leads elsewhere.
    symlink("/etc", team.path(&format!("changes/{ID}/reviews"))).unwrap();
    team.ruled(&["verify", ID]).expect(2, &["change-file"]);
    std::fs::remove_file(team.path(&format!("changes/{ID}/reviews"))).unwrap();
    // A change in the folder of another.
    let other = team.path("changes/2026-11-21-other");
    std::fs::rename(team.path(&format!("changes/{ID}")), &other).unwrap();
    team.ruled(&["verify", "2026-11-21-other"])
        .expect(2, &["change-id", "holds the change `2026-11-21-metrics`"]);
    std::fs::rename(&other, team.path(&format!("changes/{ID}"))).unwrap();
    // A folder without a record, and mistakes with their remedies.
    std::fs::create_dir(&other).unwrap();
    team.ruled(&["list"]).expect(2, &["there is no `changes/2026-11-21-other/change.yaml`", ID]);
    std::fs::remove_dir(&other).unwrap();
    team.edit(&team.record(), "reason:", "raeson:");
    team.ruled(&["show", ID]).expect(2, &["did you mean `reason`?", "change.yaml:4:1"]);
    team.ruled(&["show", "2026-11-21-metric"]).expect(2, &["did you mean `2026-11-21-metrics`?"]);
    for id in ["../secret", "..", "", "/etc/passwd"] {
        team.ruled(&["show", id]).expect(2, &["unknown-change"]);
    }
}

#[test]
fn freezes_and_emergencies() {
    let Some(team) = Team::new(&["bob", "carol"]) else { return };
    team.proposed();
    let policy = "required: false\napprovers: 2\nfreezes: [{from: 2020-01-01, to: 2100-01-01, reason: year-end trade}]\n\
                  emergency: {approvers: 1, review_hours: 1}\n";
    team.0.write("etc/policy.yaml", policy.as_bytes());
    for person in ["bob", "carol"] {
        team.approve(ID, person).expect(0, &[]);
    }
    team.ruled(&["verify", ID])
        .expect(1, &["change-frozen", "changes are frozen: year-end trade", "--emergency"]);
    team.change(&["propose", "--amend", ID, "--emergency", "nobody sees the load"]).expect(0, &["amended"]);
    team.approve(ID, "bob").expect(0, &["it is an emergency: nobody sees the load"]);
    team.ruled(&["verify", ID]).expect(allowed(), &["beware: 1 of 2 approvals", "its review is due by"]);
    team.change(&["outcome", ID, "confirmed", "--host", "app"]).expect(0, &["confirmed on app"]);
    team.change(&["outcome", ID, "confirmed", "--host", "ap"]).expect(2, &["did you mean `app`?"]);
    team.ruled(&["list"]).expect(0, &["review due by", "confirmed"]);
    // As if it had been two days ago.
    let events = team.path(&format!("changes/{ID}/events"));
    for entry in std::fs::read_dir(&events).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let hash = Plan::read(&team.read("plan.json")).unwrap().hash();
    team.0.write(
        &format!("changes/{ID}/events/20261101T080000.000Z-app-confirmed.yaml"),
        format!("kind: confirmed\nat: 2026-11-01T08:00:00Z\nhost: app\nplan: {hash}\nby: root\n").as_bytes(),
    );
    team.ruled(&["list"]).expect(1, &["change-overdue-review", "is overdue since 2026-11-01T09:00:00Z"]);
    team.commit();
    // Until it is reviewed, nothing else goes.
    team.0.write("etc/policy.yaml", policy.replace("2100", "2021").as_bytes());
    team.edit("haproxy.cfg", "30s", "40s");
    team.change(&["propose", "--id", "2026-11-21-timeouts", "--reason", "slow customers"])
        .expect(0, &["tracked file: haproxy.cfg"]);
    for person in ["bob", "carol"] {
        team.approve("2026-11-21-timeouts", person).expect(0, &[]);
    }
    team.ruled(&["verify", "2026-11-21-timeouts"]).expect(1, &["change-overdue-review", ID]);
    team.approve(ID, "carol").expect(0, &[]);
    team.ruled(&["list"]).expect(0, &[]);
    team.ruled(&["verify", "2026-11-21-timeouts"]).expect(allowed(), &["it may be applied now"]);
}

#[test]
fn temporary_rules_run_out() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.allow_metrics();
    team.plan("plan.json", "app", "one");
    let propose = [
        "propose",
        "--id",
        ID,
        "--reason",
        "metrics",
        "--expect",
        "allow lb -> app tcp/9100",
        "--plan",
        "plan.json",
    ];
    team.change(&[propose.as_slice(), &["--expires", "2020-01-01"]].concat())
        .expect(2, &["`2020-01-01` is past"]);
    team.change(&[propose.as_slice(), &["--expires", "2099-02-30"]].concat()).expect(2, &["is not a date"]);
    team.change(&[propose.as_slice(), &["--expires", "2099-12-31"]].concat()).expect(0, &[]);
    team.change(&["outcome", ID, "confirmed", "--host", "app"]).expect(0, &[]);
    team.ruled(&["list"]).expect(0, &["until 2099-12-31"]);
    team.ruled(&["list", "--expired"]).expect(0, &["no changes"]);
    team.edit(&team.record(), "2099-12-31", "2020-01-01");
    team.ruled(&["list", "--expired"]).expect(1, &[ID, "expired 2020-01-01", "--ends 2026-11-21-metrics"]);
    team.commit();
    // Taken out, and that confirmed.
    team.sh("git", &["checkout", "-q", "HEAD~1", "--", "app.rules", "app6.rules"]);
    team.plan("plan.json", "app", "two");
    team.change(&[
        "propose",
        "--id",
        "2026-11-22-no-metrics",
        "--reason",
        "over",
        "--expect",
        "deny lb -> app tcp/9100",
        "--ends",
        ID,
        "--plan",
        "plan.json",
    ])
    .expect(0, &["newly blocked on app"]);
    team.ruled(&["list", "--expired"]).expect(1, &[ID]);
    team.change(&["outcome", "2026-11-22-no-metrics", "confirmed", "--host", "app"]).expect(0, &[]);
    team.ruled(&["list", "--expired"]).expect(0, &["no changes"]);
}

#[test]
fn tracked_files_are_watched() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.edit("haproxy.cfg", "30s", "40s");
    let id = "2026-11-21-timeouts";
    team.change(&["propose", "--id", id, "--reason", "slow customers"])
        .expect(0, &["tracked file: haproxy.cfg"]);
    assert!(team.read(&format!("changes/{id}/change.yaml")).contains("path: haproxy.cfg"));
    team.approve(id, "bob").expect(0, &[]);
    team.ruled(&["verify", id]).expect(allowed(), &["it may be applied now"]);
    team.change(&["outcome", id, "confirmed", "--host", "lb", "--why", "rolled out by Ansible"])
        .expect(0, &[]);
    team.commit();
    team.ruled(&["verify", id]).expect(allowed(), &[]);
    team.edit("haproxy.cfg", "40s", "50s");
    team.ruled(&["verify", id])
        .expect(1, &["tracked-file", "`haproxy.cfg` holds something else than `2026-11-21-timeouts`"]);
    std::fs::remove_file(team.path("haproxy.cfg")).unwrap();
    team.ruled(&["verify", id]).expect(1, &["tracked-file"]);
    // Its way back is a change as well.
    team.change(&["propose", "--id", "2026-11-22-gone", "--reason", "no haproxy"])
        .expect(0, &["tracked file: haproxy.cfg"]);
    team.ruled(&["verify", "2026-11-22-gone"]).expect(1, &["change-approvals"]);
}

#[test]
fn whose_intents_are_touched_is_told() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.edit("db.nft", "tcp dport 5432 accept", "tcp dport { 5432, 6432 } accept");
    let run = team.change(&[
        "propose",
        "--id",
        ID,
        "--reason",
        "pgbouncer",
        "--expect",
        "allow app -> db tcp/6432",
    ]);
    run.expect(0, &["newly allowed on db"]);
    assert!(!run.all().contains("tell "), "{}", run.all());
    team.commit();
    // One address less: the owner of the intent hears of it, and the check fails.
    let run = {
        team.edit("db.nft", "10.0.2.21", "10.0.2.22");
        team.change(&[
            "propose",
            "--id",
            "2026-11-21-less",
            "--reason",
            "less",
            "--expect",
            "deny 10.0.2.21 -> db tcp/5432",
        ])
    };
    run.expect(1, &["tell data-team: it touches 1 intent of theirs: only app -> db tcp/5432", "app -> db"]);
}

#[test]
fn two_at_once() {
    let Some(team) = Team::new(&["bob", "carol", "dave", "erin"]) else { return };
    team.proposed();
    std::thread::scope(|scope| {
        for person in ["bob", "carol", "dave", "erin"] {
            let team = &team;
            scope.spawn(move || team.approve(ID, person).expect(0, &["approved"]));
        }
    });
    team.ruled(&["verify", ID]).expect(allowed(), &["approved by bob, carol, dave, erin"]);
    // Of two that propose under one name, one does.
    team.edit("haproxy.cfg", "30s", "40s");
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let team = &team;
        let run = move || team.change(&["propose", "--id", "2026-11-21-same", "--reason", "slow"]).code;
        let both = [scope.spawn(run), scope.spawn(run)];
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(codes == [0, 2] || codes == [2, 0], "{codes:?}");
}

#[test]
fn wrong_usage_says_what_to_do() {
    let Some(team) = Team::new(&["bob"]) else { return };
    team.change(&["list"]).expect(0, &["no changes"]);
    team.change(&["show", ID]).expect(2, &["there is no folder `changes`"]);
    team.change(&["propose", "--reason", "nothing"]).expect(2, &["change-nothing", "nothing differs"]);
    team.change(&["propose"]).expect(2, &["--reason"]);
    team.allow_metrics();
    // Nothing that is expected: whatever changes is too much.
    team.change(&["propose", "--reason", "metrics"]).expect(1, &["unexpected-allow"]);
    let day = |text: &str| {
        team.change(&[
            "propose",
            "--id",
            "2026-11-21-x",
            "--reason",
            "x",
            "--from",
            text,
            "--to",
            "2026-11-21T20:00:00Z",
        ])
    };
    day("tonight").expect(2, &["`tonight` is not a moment"]);
    day("2026-11-21T21:00:00Z").expect(2, &["ends before it begins"]);
    team.change(&["propose", "--id", "x", "--reason", "x"]).expect(2, &["can't be the id of a change"]);
    team.change(&["propose", "--reason", "x", "--author", "a b"])
        .expect(2, &["can't be the name of a person"]);
    team.change(&["propose", "--reason", "x", "--plan", "app.rules"])
        .expect(2, &["`app.rules` can't be taken"]);
    team.change(&["propose", "--reason", "x", "--git", "nowhere"])
        .expect(2, &["there is no revision `nowhere`"]);
    team.change(&["propose", "--reason", "x", "--expect", "lb -> app"]).expect(2, &["--expect"]);
    team.ruled(&["list", "--policy", "none"]).expect(2, &[]);
}

/// The example is a proposal as the command writes it: read, with its evidence, under a policy that is read.
#[test]
fn the_examples_hold() {
    let folder = repository().join("examples");
    let run = run_in(&folder, &["change", "verify", "2026-11-21-allow-metrics"], b"");
    run.expect(1, &["policy: changes/policy.yaml", "change-draft", "change-group"]);
    assert!(!run.all().contains("change-evidence"), "{}", run.all());
    run_in(&folder, &["change", "list"], b"")
        .expect(0, &["2026-11-21-allow-metrics", "draft", "until 2027-03-31"]);
    let log = run_in(&folder, &["change", "log"], b"");
    log.expect(0, &["alice@example.org proposed it", "bob@example.org comment: tested on staging"]);
    for (of, file) in
        [("change", "changes/2026-11-21-allow-metrics/change.yaml"), ("policy", "changes/policy.yaml")]
    {
        let schema: serde_json::Value =
            serde_json::from_str(&run_in(&folder, &["schema", of], b"").stdout).unwrap();
        let keys = schema["properties"].as_object().unwrap();
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        for key in text.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key) {
            let top = key.starts_with(|letter: char| letter.is_ascii_lowercase());
            assert!(!top || keys.contains_key(key), "{file}: {key}");
        }
    }
}
