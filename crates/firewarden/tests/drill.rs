//! `firewarden drill run`: on the model for everybody, on a lab with root.
//!
//! What needs a lab needs root and the packages; it is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "lab")]

mod common;

use common::labs::{END, fresh_name};
use common::{Folder, Run, repository, run_in};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_firewarden");

/// The drills, with what has to be named where they are refused.
const DRILLS: [(&str, &str); 13] = [
    ("000", "drills/000/app.rules:11:1"),
    ("001", "drills/001/lb.nft:39:9"),
    ("002", "drills/002/db.nft:30:9"),
    ("003", "drills/003/edge.nft:63:9"),
    ("004", "drills/004/app.rules:7:1"),
    ("ipv6-only", "drills/ipv6-only/edge.nft:50:51  policy drop"),
    ("conntrack-hides-it", "drills/conntrack-hides-it/lb.nft:11:49  policy drop"),
    ("two-managers", "drills/two-managers/lb.nft:41:9  reject with icmpx admin-prohibited"),
    ("reload-at-boot", "drills/reload-at-boot/db.nft:20:49  policy drop"),
    ("wrong-interface", "drills/wrong-interface/edge.nft:50:51  policy drop"),
    ("rule-order-after-insert", "drills/rule-order-after-insert/db.nft:29:9  tcp dport 5432 drop"),
    ("docker-published-port", "fib daddr type local tcp dport 443 dnat to 172.17.0.2:8443"),
    ("innocent-firewall", "nothing is refused"),
];

#[test]
fn each_drill_is_refused_with_its_line_and_the_innocent_one_is_not() {
    // Anywhere, and with whatever rights.
    let folder = Folder::with(&[]);
    let listed = folder.run(&["drill", "list"]);
    for (name, place) in DRILLS {
        assert!(listed.stdout.contains(name), "{}", listed.stdout);
        folder.run(&["drill", "run", name, "--prevent"]).expect(0, &["prevent 1: passed", place]);
    }
    assert!(listed.stdout.contains("the firewall is innocent"), "{}", listed.stdout);
}

#[test]
fn a_report_of_several_runs_is_written() {
    let folder = Folder::with(&[]);
    let run = folder.run(&["drill", "run", "003", "004", "--prevent", "--runs", "3", "--report", "out"]);
    run.expect(0, &["3 of 3 as expected", "(medians)"]);
    let read = |name: &str| {
        fs::read_to_string(folder.path().join("out").join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(read("003.html").contains("ip saddr != $office drop"));
    assert!(read("junit.xml").contains("004"));
    let drill: serde_json::Value = serde_json::from_str(&read("004.json")).unwrap();
    assert_eq!(drill["runs"].as_array().unwrap().len(), 3);
    assert_eq!(drill["postmortem"]["began"], "2023-10-14T07:00:00Z");
    let journal: serde_json::Value = serde_json::from_str(&read("003-prevent-2.journal.json")).unwrap();
    assert_eq!(journal["status"], "completed");
    // Reports are kept.
    let before = fs::read(folder.path().join("out/junit.xml")).unwrap();
    let again = ["drill", "run", "002", "--prevent", "--report", "out"];
    folder.run(&again).expect(2, &["report-exists", "out/junit.xml", "--force"]);
    assert_eq!(fs::read(folder.path().join("out/junit.xml")).unwrap(), before);
    assert!(!folder.path().join("out/002.html").exists());
    folder.run(&[&again[..], &["--force"]].concat()).expect(0, &["passed"]);
    assert!(read("junit.xml").contains("002") && read("003.html").contains("drop"));
    folder.run(&["drill", "run", "002", "--prevent", "--force"]).expect(2, &["--report"]);
}

const MINE: &str = "\
name: mine
title: the office is kept out
change:
  host: edge
  edits:
    - { file: edge.nft, find: 'iifname $wan ip saddr $office tcp dport 22 accept', put: 'iifname $wan ip saddr $office tcp dport 22 drop' }
expect: { breaks: [ssh] }
";

#[test]
fn own_drill_files_are_run_and_their_mistakes_told() {
    let wrong = MINE.replace("breaks: [ssh]", "breaks: [partners]");
    let folder = Folder::with(&[
        ("mine.yaml", MINE),
        ("wrong.yaml", &wrong),
        ("host.yaml", &MINE.replace("host: edge", "host: egde")),
        ("intent.yaml", &MINE.replace("breaks: [ssh]", "breaks: [shs]")),
        ("unread.yaml", &MINE.replace("title", "titel")),
        ("unfound.yaml", &MINE.replace("$wan ip", "$wan  ip")),
    ]);
    let run = |name: &str| folder.run(&["drill", "run", name, "--prevent"]);
    run("mine.yaml").expect(0, &["prevent 1: passed", "tcp dport 22 drop"]);
    let named = [
        "prevent 1: failed",
        "expected to break, and doesn't: partners",
        "breaks, which isn't expected: ssh",
    ];
    run("wrong.yaml").expect(1, &named);
    run("host.yaml").expect(2, &["the web stack has no host `egde`", "did you mean `edge`?", "host.yaml:"]);
    run("intent.yaml").expect(2, &["the web stack has no intent `shs`", "did you mean `ssh`?"]);
    folder.run(&["drill", "run", "000", "--prevent", "--name", "web"]).expect(2, &["--prevent", "--name"]);
    run("unread.yaml")
        .expect(2, &["`titel` is not a key of the drill file", "did you mean `title`?", "unread.yaml:2:1"]);
    run("unfound.yaml").expect(2, &["`edge.nft` does not have what is to be replaced", "unfound.yaml:6"]);
    run("005").expect(2, &["there is no drill `005`", "did you mean `00"]);
    folder.run(&["drill", "run", "000"]).expect(2, &["--prevent"]);
}

#[test]
fn on_a_lab_the_change_is_taken_back_and_the_innocent_one_stays() {
    let _turn = turn();
    let folder = Folder::with(&[]);
    let Some(_) = fresh_name() else { return };
    let run = folder.run(&["drill", "run", "001", "--apply", "--report", "out"]);
    run.expect(
        0,
        &["committed", "first failing probe", "client to the site:443", "reverted", "apply 1: passed"],
    );
    let drill = fs::read_to_string(folder.path().join("out/001.json")).unwrap();
    let drill: serde_json::Value = serde_json::from_str(&drill).unwrap();
    assert_eq!(drill["runs"][0]["verdict"], "passed");
    assert!(!drill["runs"][0]["series"]["slots"].as_array().unwrap().is_empty());
    let run = folder.run(&["drill", "run", "innocent-firewall", "--apply"]);
    run.expect(0, &["fault injected", "committed", "apply 1: passed"]);
    assert!(!run.stdout.contains("reverted"), "{}", run.stdout);
    let run = folder.run(&["drill", "run", "003", "--observe", "--seconds", "6"]);
    run.expect(0, &["fault injected", "first user error", "reverted", "restored", "observe 1: passed"]);
    in_order(&run.stdout);
}

/// Fails where moments aren't printed in the order of time.
#[track_caller]
fn in_order(told: &str) {
    let at = |line: &str| line.trim_start().split_once(" s  ")?.0.parse::<f64>().ok();
    let times: Vec<f64> = told.lines().filter_map(at).collect();
    assert!(times.len() > 3 && times.is_sorted(), "{told}");
}

/// Drills with users take turns: two at once on a slow machine are slower than one after the other.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // One that failed doesn't keep the others from theirs.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab for several drills, which ends with the value.
struct Lab(String);

impl Lab {
    fn up() -> Option<Lab> {
        let lab = Lab(fresh_name()?);
        run_in(&repository(), &["lab", "up", "--name", &lab.0], b"").expect(0, &["is up after"]);
        Some(lab)
    }

    fn exec(&self, host: &str, words: &[&str]) -> Run {
        run_in(&repository(), &[&["lab", "exec", "--name", &self.0, host, "--"], words].concat(), b"")
    }

    /// The rules of a host, without counters and comments; tables come in whatever order they were made in.
    fn rules(&self, host: &str) -> String {
        let words: &[&str] = match host {
            "app1" | "app2" => &["iptables-save"],
            _ => &["nft", "--stateless", "list", "ruleset"],
        };
        let listed = self.exec(host, words);
        listed.expect(0, &[]);
        let mut lines: Vec<&str> =
            listed.stdout.lines().filter(|line| !line.starts_with(['#', ':'])).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new(PROGRAM).args(["lab", "down", "--name", &self.0]).output();
    }
}

/// A drill that runs; ended with the value, if it is still there.
struct Drill {
    child: Child,
    told: BufReader<ChildStdout>,
    so_far: String,
}

impl Drill {
    fn start(folder: &Folder, words: &[&str]) -> Drill {
        let mut command = Command::new(PROGRAM);
        command.args(["drill", "run"]).args(words).current_dir(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        Drill { child, told, so_far: String::new() }
    }

    /// Waits until it has told something.
    #[track_caller]
    fn until(&mut self, words: &str) {
        while !self.so_far.contains(words) {
            let read = self.told.read_line(&mut self.so_far).unwrap();
            assert!(read > 0, "it ended without `{words}`: {}", self.so_far);
        }
    }

    fn signal(&self, name: &str) {
        let number = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &number]).status().unwrap().success());
    }

    /// What it told, and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        self.told.read_to_string(&mut self.so_far).unwrap();
        let status = self.child.wait().unwrap();
        (std::mem::take(&mut self.so_far), status.code())
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both application servers keep their connections and admit no new ones, over IPv4.
const SERVERS: &str = "\
name: NAME
title: the servers admit nobody
change:
  host: app
  edits:
    - { file: app.rules, find: 'haproxy\" -j ACCEPT', put: 'haproxy\" -j DROP' }
stop: { errors: 40, seconds: 2, connections: new }
expect: { breaks: [lb-to-app] }
";

#[test]
fn a_drill_ends_early_by_its_own_condition_or_a_signal_and_brings_everything_back() {
    let _turn = turn();
    let Some(lab) = Lab::up() else { return };
    let name = format!("mine-{}", std::process::id());
    let patient =
        SERVERS.replace("NAME", &name).replace("stop: { errors: 40, seconds: 2, connections: new }\n", "");
    let folder = Folder::with(&[("mine.yaml", &SERVERS.replace("NAME", &name)), ("patient.yaml", &patient)]);
    let long = |file: &'static str| vec![file, "--observe", "--seconds", "300", "--name", &lab.0];
    let before = ["edge", "app1", "app2"].map(|host| lab.rules(host));

    // Its own condition.
    let (told, code) = Drill::start(&folder, &[long("mine.yaml"), vec!["--report", "out"]].concat()).end();
    let why = "more than 40 % of requests over new connections fail for 2 s";
    for word in ["stopped", why, "observe 1: stopped", "the old rules are back on app2"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(code, Some(1), "{told}");
    in_order(&told);
    let read = |file: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.path().join("out").join(file)).unwrap()).unwrap()
    };
    let journal = read(&format!("{name}-observe-1.journal.json"));
    assert_eq!(journal["status"], "interrupted");
    assert_eq!(journal["experiment"]["stop_condition"], why);
    assert_eq!(journal["rollbacks"][0]["activity"]["name"], "reverted", "{journal}");
    let run = &read(&format!("{name}.json"))["runs"][0];
    let at = |what: &str| {
        let found = run["moments"].as_array().unwrap().iter().find(|moment| moment["what"] == what);
        found.unwrap_or_else(|| panic!("{what}: {told}"))["at"].as_u64().unwrap()
    };
    assert!(at("reverted") - at("injected") < 150_000, "{told}");
    assert_eq!(["edge", "app1", "app2"].map(|host| lab.rules(host)), before);

    // Signals; and meanwhile nobody else drills there.
    let outage = vec!["003", "--observe", "--seconds", "300", "--name", &lab.0];
    for (signal, number) in [("-INT", 130), ("-TERM", 143)] {
        let mut drill = Drill::start(&folder, &outage);
        drill.until("fault injected");
        for other in [&["run", "003", "--apply"][..], &["mutations"], &["restore"]] {
            let words = [&["drill"], other, &["--name", &lab.0]].concat();
            folder
                .run(&words)
                .expect(2, &["lab-busy", "another drill is under way", &lab.0, "without `--name`"]);
        }
        drill.signal(signal);
        let (told, code) = drill.end();
        for word in ["stopped: interrupted", "the old rules are back on edge", "is as before"] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert_eq!(code, Some(number), "{told}");
        assert_eq!(lab.rules("edge"), before[0]);
    }

    // One of two machines is back, and nothing is heard of the other.
    let mut drill = Drill::start(&folder, &long("patient.yaml"));
    drill.until("fault injected");
    // The machines get their rules one after the other.
    let deadline = Instant::now() + END;
    while lab.rules("app2") == before[2] {
        assert!(Instant::now() < deadline, "app2 has its old rules");
    }
    silence(&format!("/{name}/app2/"));
    assert_ne!(lab.rules("app2"), before[2]);
    while lab.exec("app1", &["firewarden", "revert", "--because", "enough"]).code != 0 {
        assert!(Instant::now() < deadline, "app1 isn't on trial");
        thread::sleep(Duration::from_millis(100));
    }
    let (told, code) = drill.end();
    assert!(code == Some(1) && told.contains("not every machine said how its trial ended"), "{told}");
    assert_eq!(["edge", "app1", "app2"].map(|host| lab.rules(host)), before);

    // Nothing answers any more.
    let kill = "kill -KILL $(pidof haproxy)";
    lab.exec("lb", &["sh", "-c", kill]).expect(0, &[]);
    let unsteady = folder.run(&["drill", "run", "003", "--apply", "--name", &lab.0]);
    let named = [
        "not steady",
        "over new connections 20 of 20 users, 16 by IPv4 and 4 by IPv6",
        "over kept connections 20 of 20",
        " UTC: ",
        "times the connection refused",
    ];
    unsteady.expect(1, &named);
}

/// Ends what the drill listens to on one machine, and leaves what guards that.
fn silence(of: &str) {
    let deadline = Instant::now() + END;
    loop {
        let found: Vec<String> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|entry| {
                let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let words = String::from_utf8_lossy(&words).replace('\0', " ");
                words.contains(of) && words.contains(" guard --window ")
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        if !found.is_empty() {
            // Some are gone with the others.
            let _ = Command::new("kill").arg("-KILL").args(&found).stderr(Stdio::null()).status();
            return;
        }
        assert!(Instant::now() < deadline, "nothing guards {of}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_drill_takes_its_own_lab_with_it() {
    let _turn = turn();
    let Some(_) = fresh_name() else { return };
    let folder = Folder::with(&[]);
    let mut drill = Drill::start(&folder, &["innocent-firewall", "--apply"]);
    drill.until("fault injected");
    let lab = format!("drill-{}", drill.child.id());
    drill.signal("-INT");
    let (told, code) = drill.end();
    assert_eq!(code, Some(130), "{told}");
    for word in ["what was broken on db is mended", "its lab has ended"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(!Path::new(common::labs::RECORDS).join(format!("{lab}.json")).exists());
}

#[test]
fn what_a_killed_drill_broke_is_mended() {
    let _turn = turn();
    let Some(lab) = Lab::up() else { return };
    let folder = Folder::with(&[]);
    let words = ["innocent-firewall", "--observe", "--seconds", "300", "--name", &lab.0];
    let mut drill = Drill::start(&folder, &words);
    drill.until("fault injected");
    let items = || lab.exec("client", &["curl", "-sk", "https://203.0.113.1/items"]).stdout;
    let until = |words: &str| {
        let deadline = Instant::now() + END;
        while !items().contains(words) {
            assert!(Instant::now() < deadline, "no `{words}`: {}", items());
            thread::sleep(Duration::from_millis(100));
        }
    };
    until("rejects connection");
    drill.signal("-KILL");
    drop(drill);
    until("{\"items\":");
}
