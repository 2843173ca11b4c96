//! `firewarden drill`: mistakes are planted and everything is wiped, in labs that go afterwards.
//!
//! Needs root and the packages; is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "lab")]

mod common;

use common::labs::{END, RECORDS, all_gone, fresh_name, processes_of};
use common::{Folder, Run, repository, run_in};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_firewarden");
/// What kinds of mistakes there are.
const KINDS: [&str; 10] =
    ["delete", "swap", "widen", "narrow", "negate", "interface", "family", "set", "policy", "nat-target"];

fn run(words: &[&str]) -> Run {
    run_in(&repository(), words, b"")
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.all()))
}

/// Fails where a report has a field that its schema doesn't know, or the other way round.
#[track_caller]
fn is_published(report: &Value, schema: &str) {
    let schema = json(&run(&["schema", schema]));
    let fields = report.as_object().unwrap();
    let required = schema["required"].as_array().unwrap();
    assert!(required.iter().all(|name| fields.contains_key(name.as_str().unwrap())), "{required:?}");
    let text = schema.to_string();
    let mut open: Vec<&Value> = vec![report];
    while let Some(value) = open.pop() {
        open.extend(value.as_array().into_iter().flatten());
        for (field, value) in value.as_object().into_iter().flatten() {
            assert!(text.contains(&format!("\"{field}\":{{")), "`{field}` is in no schema");
            // Its fields are names of hosts.
            open.extend((field != "journals").then_some(value));
        }
    }
}

/// A lab for several drills, which ends with the value.
struct Lab(String);

impl Lab {
    fn up() -> Option<Lab> {
        let lab = Lab(fresh_name()?);
        run(&["lab", "up", "--name", &lab.0]).expect(0, &["is up after"]);
        Some(lab)
    }

    fn rules(&self, host: &str, words: &[&str]) -> String {
        let listed = run(&[&["lab", "exec", "--name", &self.0, host, "--"], words].concat());
        listed.expect(0, &[]);
        // The programs' own comments have the time in them.
        listed.stdout.lines().filter(|line| !line.starts_with(['#', ':'])).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new(PROGRAM).args(["lab", "down", "--name", &self.0]).output();
    }
}

/// What a mistake is, without what came of it.
fn mistakes(report: &Value) -> Vec<[String; 4]> {
    let field = |case: &Value, name: &str| match &case[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cases = report["cases"].as_array().unwrap();
    cases.iter().map(|case| ["kind", "file", "line", "what"].map(|name| field(case, name))).collect()
}

#[test]
fn what_check_says_of_mistakes_is_what_connections_show() {
    let Some(lab) = Lab::up() else { return };
    let plant = |more: &[&str]| {
        let words = ["drill", "mutations", "--format", "json"];
        let done = run(&[&words, more].concat());
        done.expect(0, &[]);
        json(&done)
    };
    let report = plant(&["--count", "30", "--seed", "11"]);
    is_published(&report, "mutation-drill");
    let total = &report["total"];
    for (field, expected) in [("planted", 30), ("misses", 0), ("false_refusals", 0)] {
        assert_eq!(total[field], expected, "{field} of {total}");
    }
    assert!(total["refused"].as_u64() > Some(0) && total["harmless"].as_u64() > Some(0), "{total}");
    assert!(report["connections"].as_u64() > Some(100), "{}", report["connections"]);
    let drawn = mistakes(&report);
    assert_eq!(drawn.len(), 30);
    let kinds: Vec<&str> =
        report["kinds"].as_array().unwrap().iter().map(|kind| kind["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, KINDS);
    for kind in KINDS {
        assert!(drawn.iter().any(|mistake| mistake[0] == kind), "no {kind}");
    }

    // In a lab of somebody else, which is as it was afterwards; the first of the same mistakes.
    let look = || {
        [
            lab.rules("edge", &["nft", "--stateless", "list", "ruleset"]),
            lab.rules("app2", &["iptables-save"]),
            lab.rules("app2", &["ip6tables-save"]),
        ]
    };
    let before = look();
    let again = plant(&["--count", "12", "--seed", "11", "--name", &lab.0]);
    assert_eq!(mistakes(&again), drawn[..12]);
    let other = plant(&["--count", "2", "--seed", "12", "--name", &lab.0]);
    assert_ne!(mistakes(&other), drawn[..2]);
    assert_eq!(look(), before);
}

#[test]
fn wrong_input_is_told() {
    let Some(name) = fresh_name() else { return };
    for drill in ["mutations", "restore"] {
        run(&["drill", drill, "--name", &name]).expect(2, &["no-such-lab"]);
    }
    run(&["drill", "mutations", "--count", "0"]).expect(2, &["--count"]);
    let folder = Folder::with(&[("backup/yesterday", "kept")]);
    folder.run(&["drill", "restore", "--backup", "backup"]).expect(2, &["backup-folder", "isn't empty"]);
    folder.run(&["drill", "restore", "--backup", "backup/yesterday"]).expect(2, &["backup-folder"]);
    assert_eq!(fs::read_to_string(folder.path().join("backup/yesterday")).unwrap(), "kept");
}

#[test]
fn what_was_wiped_comes_back() {
    let Some(_) = fresh_name() else { return };
    let folder = Folder::with(&[]);
    let done = folder.run(&["drill", "restore", "--backup", "backup", "--format", "json"]);
    done.expect(0, &[]);
    let report = json(&done);
    is_published(&report, "restore-drill");
    let seconds = |name: &str| report[name].as_f64().unwrap();
    assert!(seconds("rto_seconds") > 0.0 && seconds("rpo_seconds") > 0.0, "{report}");
    // With no rules left, everybody gets to the database, and nobody to the site.
    assert!(report["broken"].as_array().unwrap().len() > 3, "{report}");
    let sums = &report["checksums"];
    assert_eq!(sums["backup"], sums["restored"], "{report}");
    assert_ne!(sums["backup"], sums["before_wipe"], "what is written after the backup is lost: {report}");
    assert!(sums["backup"].as_str().unwrap().starts_with("25|"), "{report}");
    assert_eq!(report["journals"]["edge"], "whole", "{report}");
    for empty in ["different", "not_green", "failed"] {
        assert_eq!(report[empty], Value::Array(Vec::new()), "{empty}");
    }
    let backup = folder.path().join("backup");
    let manifest: Value = serde_json::from_slice(&fs::read(backup.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_object().unwrap();
    assert_eq!(report["files"], files.len());
    assert!(files.keys().all(|name| backup.join(name).is_file()), "{manifest}");
    // The journal's keys are in it.
    for name in files.keys() {
        assert_eq!(fs::metadata(backup.join(name)).unwrap().mode() & 0o077, 0, "{name}");
    }
    for name in ["rules/edge.nft", "rules/app1.ip6tables", "state/edge/journal.sqlite", "data"] {
        assert!(files.contains_key(name), "{name} in {manifest}");
    }
    assert!(
        files.keys().any(|name| name.starts_with("changes/") && name.ends_with("/change.yaml")),
        "{manifest}"
    );
    folder.run(&["drill", "restore", "--backup", "backup"]).expect(2, &["backup-folder", "isn't empty"]);
}

#[test]
fn a_restore_that_does_not_bring_the_data_back_is_told() {
    let Some(_) = fresh_name() else { return };
    let done = run(&["drill", "restore", "--restore-command", "true"]);
    done.expect(
        1,
        &[
            "FAIL  data: 25|",
            "nothing now",
            "ok    rules, change records and state folders",
            "ok    every intent holds",
        ],
    );
    // One that says itself that it failed; and the data are wiped in a way that leaves them readable.
    let broken = "echo the tape is gone >&2; exit 3";
    let empty = "psql --username=postgres --no-psqlrc shop --command='TRUNCATE items'";
    let done = run(&["drill", "restore", "--restore-command", broken, "--wipe-command", empty]);
    done.expect(1, &["FAIL  data: 25|", "0| now", "the tape is gone"]);
}

#[test]
fn a_killed_restore_leaves_no_backup_behind() {
    let Some(_) = fresh_name() else { return };
    let folder = Folder::with(&[]);
    let mut drill = Command::new(PROGRAM);
    drill.args(["drill", "restore", "--backup-command", "sleep 1000"]).env("TMPDIR", folder.path());
    let drill = drill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut drill = drill.spawn().unwrap();
    let namespace = lab_of(&drill);
    // Until the backup is under way.
    let deadline = Instant::now() + 3 * END;
    while !processes_of(namespace).iter().any(|process| {
        fs::read(process.join("cmdline")).is_ok_and(|words| words.starts_with(b"sleep\x001000"))
    }) {
        assert!(Instant::now() < deadline, "no backup is made");
        thread::sleep(Duration::from_millis(20));
    }
    drill.kill().unwrap();
    drill.wait().unwrap();
    all_gone(namespace);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn record_of(drill: &Child) -> PathBuf {
    Path::new(RECORDS).join(format!("drill-{}.json", drill.id()))
}

/// Waits for the lab of a drill to be complete; gives its process namespace.
fn lab_of(drill: &Child) -> u64 {
    let record = record_of(drill);
    let deadline = Instant::now() + 3 * END;
    loop {
        let text = fs::read_to_string(&record).unwrap_or_default();
        let found: Option<Value> = serde_json::from_str(&text).ok();
        if let Some(found) = found.filter(|found| found["ready"] == true) {
            return fs::metadata(format!("/proc/{}/ns/pid", found["process"])).unwrap().ino();
        }
        assert!(Instant::now() < deadline, "no lab after {:?}: {text}", 3 * END);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_lab_of_a_drill_ends_with_it() {
    let Some(_) = fresh_name() else { return };
    for (signal, wait) in [("-KILL", 1500), ("-INT", 0)] {
        // What a shell starts in the background ignores SIGINT, and so do these tests then.
        let mut drill = Command::new("env");
        drill.args(["--default-signal=INT", PROGRAM, "drill", "mutations"]);
        drill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut drill = drill.spawn().unwrap();
        let namespace = lab_of(&drill);
        // Long enough for probers to run in it, and mistakes to be planted.
        thread::sleep(Duration::from_millis(wait));
        assert!(processes_of(namespace).len() > 7, "services run");
        assert!(Command::new("kill").args([signal, &drill.id().to_string()]).status().unwrap().success());
        drill.wait().unwrap();
        all_gone(namespace);
        // Whoever looks next takes its record away, as soon as the last thread of the supervisor has ended.
        let record = record_of(&drill);
        let deadline = Instant::now() + END;
        while record.exists() {
            assert!(Instant::now() < deadline, "{} is still there", record.display());
            run(&["lab", "status"]).expect(0, &[]);
        }
    }
}
