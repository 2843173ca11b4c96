//! `firewarden journal`: what is shown, found, written out and refused.
#![cfg(feature = "apply")]

mod common;

use common::{Folder, Run};
use firewarden_store::{Actor, Journal, Kind, NewEntry, Store, Timestamp};
use serde_json::Value;
use std::path::PathBuf;

/// A folder with a state folder in it, whose journal has a trial that was reverted and a change that was approved.
struct Host(Folder);

impl Host {
    fn new() -> Host {
        let host = Host(Folder::with(&[]));
        let actor = |user: &str| Actor {
            user: user.to_owned(),
            uid: Some(0),
            session: Some("192.0.2.1 50000 192.0.2.2 22".to_owned()),
            process: None,
        };
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let trial = |time: &str, kind: Kind, text: &str| NewEntry {
            trial: Some("7".to_owned()),
            details: Some(serde_json::json!({"rules": 3})),
            ..NewEntry::new(at(time), kind, actor("alice"), text)
        };
        let entries = [
            NewEntry {
                change: Some("open-9000".to_owned()),
                ..NewEntry::new(at("2026-11-20T08:00:00Z"), Kind::Approved, actor("bob"), "approved by bob")
            },
            trial("2026-11-21T08:00:00Z", Kind::Applied, "the kernel runs the new rules"),
            trial(
                "2026-11-21T08:00:05Z",
                Kind::ProbeFailed,
                "`any -> lb tcp/443`: no \x1b[31manswer\nat all",
            ),
            trial("2026-11-21T08:00:06Z", Kind::Reverted, "the kernel runs the old rules"),
        ];
        Journal::open(&host.state()).unwrap().append_all(&entries).unwrap();
        host
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.pipe(arguments, b"")
    }

    fn pipe(&self, arguments: &[&str], input: &[u8]) -> Run {
        self.0.pipe(&[&["journal"], arguments, &["--state", "state"]].concat(), input)
    }

    /// Turns a byte of a text around, wherever it is in the file.
    fn tamper(&self, text: &str) {
        let path = Journal::path_in(&self.state());
        let mut bytes = std::fs::read(&path).unwrap();
        let found: Vec<usize> = bytes
            .windows(text.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == text.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!found.is_empty());
        for at in found {
            bytes[at] ^= 0x20;
        }
        std::fs::write(path, bytes).unwrap();
    }
}

fn lines(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn show() {
    let host = Host::new();
    let all = host.run(&["show"]);
    insta::assert_snapshot!(all.stdout, @r"
         1  2026-11-20T08:00:00Z  approved        bob · change open-9000 · approved by bob
         2  2026-11-21T08:00:00Z  applied         alice · trial 7 · the kernel runs the new rules
         3  2026-11-21T08:00:05Z  probe-failed    alice · trial 7 · `any -> lb tcp/443`: no ␛[31manswer␊at all
         4  2026-11-21T08:00:06Z  reverted        alice · trial 7 · the kernel runs the old rules
    ");
    all.expect(0, &[]);
    for (arguments, count) in [
        (&["--since", "2026-11-21"][..], 3),
        (&["--since", "2026-11-21T08:00:05Z"], 2),
        (&["--since", "2999-01-01"], 0),
        (&["--change", "open-9000"], 1),
        (&["--change", "7"], 3),
        (&["--kind", "reverted", "--kind", "approved"], 2),
        (&["--kind", "reverted", "--change", "open-9000"], 0),
    ] {
        let run = host.run(&[&["show", "--format", "json"], arguments].concat());
        run.expect(0, &[]);
        assert_eq!(lines(&run).len(), count, "{arguments:?}");
    }
    host.run(&["show", "--since", "long ago"])
        .expect(2, &["`long ago` is neither a time nor how long ago", "3 days"]);
    host.run(&["show", "--kind", "nonsense"]).expect(2, &["nonsense", "probe-failed"]);
}

#[test]
fn export_and_its_schema() {
    let host = Host::new();
    let run = host.run(&["export"]);
    run.expect(0, &[]);
    let lines = lines(&run);
    let records: Vec<&str> = lines.iter().map(|line| line["record"].as_str().unwrap()).collect();
    assert_eq!(records, ["entry", "entry", "entry", "entry", "checkpoint"]);
    assert!(lines.iter().all(|line| line["schema_version"] == 1));
    assert_eq!(lines[2]["text"], "`any -> lb tcp/443`: no \u{1b}[31manswer\nat all");
    assert_eq!(lines[2]["details"]["rules"], 3);
    assert_eq!(lines[2]["time"], "2026-11-21T08:00:05.000000Z");
    assert_eq!(lines[3]["previous"], lines[2]["hash"]);
    assert_eq!((&lines[4]["count"], &lines[4]["head"]), (&Value::from(4), &lines[3]["hash"]));
    // Every field that is written is in the schema.
    let schema: Value = serde_json::from_str(&host.0.run(&["schema", "journal"]).stdout).unwrap();
    let schema = schema.to_string();
    for line in &lines {
        for field in line.as_object().unwrap().keys() {
            assert!(schema.contains(&format!("\"{field}\":")), "{field}");
        }
    }
}

/// The hash of an entry can be made from an export alone, as docs/journal.md tells.
#[test]
fn hashes_are_those_of_the_documentation() {
    let host = Host::new();
    let page = std::fs::read_to_string(common::repository().join("docs/journal.md")).unwrap();
    let (_, script) = page.split_once("```python\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let export = host.run(&["export"]).stdout;
    let mut python = match std::process::Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    {
        Ok(python) => python,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "cannot run python3: {error}");
            println!("skipped: cannot run python3: {error}");
            return;
        }
    };
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), export.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\n3\n4\n");
}

#[test]
fn verify_and_tampering() {
    let host = Host::new();
    host.run(&["verify"]).expect(0, &["sound: 4 entries, 1 checkpoint; the last hash is "]);
    host.tamper("the kernel runs the new rules");
    host.run(&["verify"]).expect(1, &["entry 2 was changed", "not sound: 4 entries, 1 checkpoint"]);
    host.run(&["show"]).expect(0, &["The kernel runs the new rules"]);
}

#[test]
fn checkpoints_that_were_kept_elsewhere() {
    let host = Host::new();
    let out = host.run(&["checkpoint"]);
    out.expect(0, &[]);
    host.run(&["checkpoint", "--out", "kept"]).expect(0, &[]);
    let kept = std::fs::read_to_string(host.0.path().join("kept")).unwrap();
    for (checkpoint, count) in [(&out.stdout, 5), (&kept, 6)] {
        let line: Value = serde_json::from_str(checkpoint).unwrap();
        assert_eq!((&line["record"], &line["count"]), (&Value::from("checkpoint"), &Value::from(count)));
    }
    host.run(&["show", "--kind", "checkpoint"])
        .expect(0, &["to be written to standard output", "to be written to `kept`"]);
    host.run(&["verify", "--checkpoint", "kept"]).expect(0, &["sound: 6 entries, 4 checkpoints"]);
    host.pipe(&["verify", "--checkpoint", "-"], kept.as_bytes()).expect(0, &["sound: 6 entries"]);
    // Somebody puts an earlier copy in its place, and writes on.
    let other = Host::new();
    std::fs::copy(host.state().join("keys/journal.key"), other.state().join("keys/journal.key")).unwrap();
    other.0.write("kept", kept.as_bytes());
    other.run(&["verify", "--checkpoint", "kept"]).expect(1, &["of another journal"]);
    let forged = kept.replace("\"count\":6", "\"count\":5");
    host.0.write("forged", forged.as_bytes());
    host.run(&["verify", "--checkpoint", "forged"]).expect(1, &["the checkpoint over 5 entries is forged"]);
    let later = kept.replace("\"schema_version\":1", "\"schema_version\":2");
    for (text, why) in [
        ("", "isn't a checkpoint"),
        ("{}", "isn't a checkpoint"),
        (later.as_str(), "it has version 2, and 1 is known"),
        (kept.replace("\"head\":\"", "\"head\":\"x").as_str(), "its `head`: expected 64 hexadecimal digits"),
        (host.run(&["export"]).stdout.lines().next().unwrap(), "it is an entry"),
    ] {
        host.0.write("bad", text.as_bytes());
        host.run(&["verify", "--checkpoint", "bad"]).expect(2, &[why, "firewarden journal checkpoint"]);
    }
    host.run(&["verify", "--checkpoint", "nowhere"]).expect(2, &["cannot read `nowhere`"]);
    host.run(&["checkpoint", "--out", "no/such/folder"]).expect(2, &["cannot write `no/such/folder`"]);
}

#[test]
fn truncation_behind_an_exported_checkpoint() {
    let host = Host::new();
    std::fs::copy(Journal::path_in(&host.state()), host.0.path().join("earlier")).unwrap();
    host.run(&["checkpoint", "--out", "kept"]).expect(0, &[]);
    std::fs::rename(host.0.path().join("earlier"), Journal::path_in(&host.state())).unwrap();
    host.run(&["verify"]).expect(0, &["sound: 4 entries"]);
    let told = "truncated: entry 5 is gone from the end; a checkpoint counts 5";
    host.run(&["verify", "--checkpoint", "kept"]).expect(1, &[told]);
}

#[test]
fn what_is_no_journal() {
    let folder = Folder::with(&[]);
    let journal = |arguments: &[&str]| folder.run(&[&["journal"], arguments, &["--state", "state"]].concat());
    for command in ["show", "verify", "export", "checkpoint"] {
        journal(&[command]).expect(2, &["there is no journal at `state/journal.sqlite`", "--state"]);
        assert!(!folder.path().join("state").exists(), "{command} makes nothing");
    }
    let mut newer = Vec::new();
    {
        let host = Host::new();
        newer.extend(std::fs::read(Journal::path_in(&host.state())).unwrap());
        // The version of the tables: `user_version` in the header of the file.
        newer[60..64].copy_from_slice(&7u32.to_be_bytes());
    }
    let mut foreign = newer.clone();
    foreign[68..72].copy_from_slice(&1u32.to_be_bytes());
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"some notes, long enough for a header of a database, but not one. ", "it isn't an SQLite database"),
        (&foreign, "it is a database of something else"),
        (&newer, "has format 7, and this version of firewarden knows formats up to 1"),
        (&newer[..1000], ""),
    ] {
        folder.write("state/journal.sqlite", bytes);
        for command in ["show", "verify", "export", "checkpoint"] {
            let run = journal(&[command]);
            assert!((1..=2).contains(&run.code), "{}", run.all());
            run.expect(run.code, &[why]);
        }
    }
}

#[test]
fn the_key_is_kept_from_others() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    let key = host.state().join("keys/journal.key");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&host.state()), mode(&host.state().join("keys")), mode(&key)), (0o700, 0o700, 0o600));
    assert_eq!(mode(&Journal::path_in(&host.state())), 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    host.run(&["checkpoint"]).expect(2, &["its mode is 644, which lets others at it"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "nonsense").unwrap();
    host.run(&["verify"]).expect(2, &["it isn't 64 hexadecimal digits"]);
    std::fs::set_permissions(host.state(), std::fs::Permissions::from_mode(0o777)).unwrap();
    host.run(&["verify"]).expect(2, &["others may write to the state folder `state`"]);
}
