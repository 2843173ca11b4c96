//! `firewarden drill run`: on the model for everybody, on a lab with root.
//!
//! What needs a lab needs root and the packages; it is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "lab")]

mod common;

use common::Folder;
use std::path::Path;
use std::process::{Command, Stdio};

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
        std::fs::read_to_string(folder.path().join("out").join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(read("003.html").contains("ip saddr != $office drop"));
    assert!(read("junit.xml").contains("004"));
    let drill: serde_json::Value = serde_json::from_str(&read("004.json")).unwrap();
    assert_eq!(drill["runs"].as_array().unwrap().len(), 3);
    assert_eq!(drill["postmortem"]["began"], "2023-10-14T07:00:00Z");
    let journal: serde_json::Value = serde_json::from_str(&read("003-prevent-2.journal.json")).unwrap();
    assert_eq!(journal["status"], "completed");
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
    let folder = Folder::with(&[]);
    let Some(()) = lab_is_possible() else { return };
    let run = folder.run(&["drill", "run", "001", "--apply", "--report", "out"]);
    run.expect(
        0,
        &["committed", "first failing probe", "client to the site:443", "reverted", "apply 1: passed"],
    );
    let drill = std::fs::read_to_string(folder.path().join("out/001.json")).unwrap();
    let drill: serde_json::Value = serde_json::from_str(&drill).unwrap();
    assert_eq!(drill["runs"][0]["verdict"], "passed");
    assert!(!drill["runs"][0]["series"]["slots"].as_array().unwrap().is_empty());
    let run = folder.run(&["drill", "run", "innocent-firewall", "--apply"]);
    run.expect(0, &["fault injected", "committed", "apply 1: passed"]);
    assert!(!run.stdout.contains("reverted"), "{}", run.stdout);
    let mut command = Command::new(env!("CARGO_BIN_EXE_firewarden"));
    command.args(["drill", "run", "003", "--observe", "--seconds", "6"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lab = format!("drill-{}", child.id());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    for word in ["fault injected", "reverted", "restored", "observe 1: passed"] {
        assert!(told.contains(word), "{word}\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    // Nothing is left of the lab that was built.
    let left = folder.run(&["lab", "status"]);
    assert!(!left.stdout.contains(&lab), "{}", left.stdout);
}

/// `None`, with the reason on standard error, where labs can't be built here.
fn lab_is_possible() -> Option<()> {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let missing: Vec<&str> = ["/usr/sbin/haproxy", "/usr/sbin/nginx", "/usr/lib/postgresql", "/usr/sbin/nft"]
        .into_iter()
        .filter(|path| !Path::new(path).exists())
        .collect();
    let why = match (root, missing.as_slice()) {
        (true, []) => return Some(()),
        (false, _) => "root rights are needed".to_owned(),
        (_, missing) => format!("not installed: {}", missing.join(", ")),
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this has to be tested in CI: {why}");
    eprintln!("skipped: {why}");
    None
}
