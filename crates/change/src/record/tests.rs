use super::*;
use crate::approval::{Approval, Standing, read_approval, tally, votes};
use firewarden_diagnostic::SourceMap;
use std::collections::BTreeMap;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A record with everything in it.
pub(crate) fn record() -> Record {
    Record {
        id: "2026-11-21-allow-metrics".to_owned(),
        author: "alice@example.org".to_owned(),
        created: at("2026-11-21T08:00:00Z"),
        reason: "Prometheus reads the node exporters".to_owned(),
        ticket: Some("OPS-1234".to_owned()),
        impact: "newly allowed: mon -> app tcp/9100".to_owned(),
        expect: vec!["allow mon -> app tcp/9100".to_owned()],
        risk: Risk::Medium,
        base: Some("9".repeat(40)),
        hosts: vec!["app".to_owned()],
        plans: vec![PlanRef { host: "app".to_owned(), hash: "a".repeat(64) }],
        owners: vec![Owner { owner: "web-team".to_owned(), intents: vec!["lb -> app tcp/8080".to_owned()] }],
        window: Some(Slot { from: at("2026-11-21T20:00:00Z"), to: at("2026-11-21T22:00:00Z") }),
        expires: Some("2026-12-31".parse().unwrap()),
        ends: vec!["2026-10-01-try-metrics".to_owned()],
        emergency: Some("nobody sees the load".to_owned()),
        files: vec![FileRef {
            path: "haproxy.cfg".to_owned(),
            before: Some("b".repeat(64)),
            sha256: Some("c".repeat(64)),
        }],
        evidence: vec![EvidenceRef {
            of: EvidenceOf::Check,
            verdict: EvidenceVerdict::Pass,
            summary: "10 pass".to_owned(),
            file: "evidence/check.json".to_owned(),
            sha256: "d".repeat(64),
        }],
        back_out: "the plan's rollback".to_owned(),
    }
}

/// What is wrong with a text, one line each.
fn complaints(text: &str) -> Vec<String> {
    let mut sources = SourceMap::default();
    let file = sources.add("change.yaml", text);
    let problems = read_record(file, text).err().unwrap_or_default();
    problems
        .iter()
        .map(|problem| {
            let place = problem.span().map(|span| sources.place(span)).unwrap_or_default();
            format!(
                "{place} {}: {} ({})",
                problem.code,
                problem.message,
                problem.help.clone().unwrap_or_default()
            )
        })
        .collect()
}

fn reread(record: &Record) -> Record {
    let mut sources = SourceMap::default();
    let text = record.write();
    let file = sources.add("change.yaml", text.as_str());
    read_record(file, &text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

#[test]
fn a_record_is_read_as_it_was_written() {
    assert_eq!(reread(&record()), record());
    let bare = Record {
        ticket: None,
        base: None,
        expect: Vec::new(),
        hosts: Vec::new(),
        plans: Vec::new(),
        owners: Vec::new(),
        window: None,
        expires: None,
        ends: Vec::new(),
        emergency: None,
        files: Vec::new(),
        evidence: Vec::new(),
        ..record()
    };
    assert_eq!(reread(&bare), bare);
}

#[test]
fn texts_of_any_kind_survive_the_file() {
    for text in [
        "no",
        "~",
        "null",
        "1.10",
        "0x1f",
        "- a",
        "a: b",
        "a #b",
        "'",
        "\"",
        "`",
        "{",
        "[x]",
        "&a",
        "*a",
        "!x",
        "%x",
        "@x",
        "two\nlines\n",
        "  spaces  ",
        "tab\tinside",
        "é ü 漢",
        "back\\slash",
        "---",
        "...",
        "? x",
        "|",
        ">",
        "a\r\nb",
        "\u{85}",
        "\u{2028}",
        "2026-11-21",
        "true",
        "\n\n",
        "x\u{0}y",
    ] {
        let written = Record {
            back_out: format!("x{text}"),
            impact: format!("{text}x"),
            reason: text.to_owned(),
            ..record()
        };
        if text.trim().is_empty() {
            continue;
        }
        assert_eq!(reread(&written), written, "{text:?}");
    }
}

#[test]
fn the_hash_is_of_what_is_said_and_not_of_the_layout() {
    let text = record().write();
    let mut sources = SourceMap::default();
    let laid_out =
        format!("# a comment\n\n{}", text.replace("risk: medium", "risk:   'medium'  # as agreed"));
    let file = sources.add("change.yaml", laid_out.as_str());
    assert_eq!(read_record(file, &laid_out).unwrap().hash(), record().hash());
    assert!(is_hash(&record().hash()));
    // Whatever is said differently is another record.
    let others = [
        Record { author: "mallory".to_owned(), ..record() },
        Record { expires: None, ..record() },
        Record { emergency: None, ..record() },
        Record { risk: Risk::Low, ..record() },
        Record { owners: Vec::new(), ..record() },
        Record { files: Vec::new(), ..record() },
        Record { plans: vec![PlanRef { host: "app".to_owned(), hash: "e".repeat(64) }], ..record() },
    ];
    for other in others {
        assert_ne!(other.hash(), record().hash());
        assert_ne!(other.statement(Role::Approver), record().statement(Role::Approver));
    }
}

#[test]
fn the_statement_names_change_plan_and_record() {
    let statement = record().statement(Role::Approver);
    let expected = format!(
        "firewarden change 2026-11-21-allow-metrics plan {} record {}\n",
        "a".repeat(64),
        record().hash()
    );
    assert_eq!(statement, expected);
    assert!(record().statement(Role::Author).starts_with("firewarden proposal "));
    assert!(
        Record { plans: Vec::new(), ..record() }.statement(Role::Approver).contains(" plan none record ")
    );
}

#[test]
fn mistakes_are_told_with_place_and_remedy() {
    let good = record().write();
    let cases = [
        (good.replace("reason:", "raeson:"), "change-unknown-key", "did you mean `reason`?"),
        (
            good.replace("back_out: the plan's rollback", "back_out: ''"),
            "change-missing-key",
            "a change record needs `back_out`",
        ),
        (good.replace("risk: medium", "risk: hihg"), "change-value", "did you mean `high`?"),
        (good.replace("2026-12-31", "2026-02-30"), "change-value", "is not a date"),
        (
            good.replace("author: alice@example.org", "author: ../../etc"),
            "change-value",
            "is not the name of a person",
        ),
        (
            good.replace("id: 2026-11-21-allow-metrics", "id: ../x"),
            "change-value",
            "is not the id of a change",
        ),
        (good.replace(&"a".repeat(64), "abc"), "change-value", "is not a SHA-256"),
        (
            good.replace("evidence/check.json", "evidence/../../x"),
            "change-value",
            "name a file in `evidence/`",
        ),
        (good.replace("evidence/check.json", "/etc/shadow"), "change-value", "name a file in `evidence/`"),
        (
            good.replace("2026-11-21T22:00:00Z", "2026-11-21T19:00:00Z"),
            "change-value",
            "after the window's begin",
        ),
        (good.replace("2026-11-21T22:00:00Z", "tonight"), "change-value", "is not a moment"),
        (format!("{good}\nid: x\n"), "change-syntax", "written twice"),
        ("- a\n".to_owned(), "change-type", "a change record is a map with keys"),
        (String::new(), "change-type", "not nothing"),
        (good.replace(&"9".repeat(40), "--upload-pack=x"), "change-value", "is not a commit"),
        ("{".to_owned(), "change-syntax", ""),
    ];
    for (text, code, words) in cases {
        let said = complaints(&text);
        assert!(
            said.iter().any(|line| line.contains(code) && line.contains(words)),
            "{code} {words}: {said:#?}\n{text}"
        );
    }
    assert!(complaints(&good).is_empty());
    // The beginning of a file is never taken for the whole: its last key is one that has to be there.
    for end in (0..good.trim_end().len() - 20).filter(|end| good.is_char_boundary(*end)) {
        assert!(!complaints(&good[..end]).is_empty(), "{}", &good[..end]);
    }
}

#[test]
fn ids_are_names_of_folders() {
    for good in ["2026-11-21-allow-metrics", "2026-11-21-a", "2026-02-28-x9-y"] {
        assert!(is_id(good), "{good}");
    }
    let long = format!("2026-11-21-{}", "a".repeat(80));
    for bad in [
        "",
        "2026-11-21",
        "2026-11-21-",
        "2026-11-21-a/b",
        "2026-11-21-..",
        "2026-13-21-a",
        "2026-11-21-A",
        "x",
        "2026-11-21-a-",
        "2026-11-21a",
        &long,
        "２026-11-21-a",
    ] {
        assert!(!is_id(bad), "{bad}");
    }
    let day: Date = "2026-11-21".parse().unwrap();
    assert_eq!(id_of(day, "Allow metrics: Prometheus!"), "2026-11-21-allow-metrics-prometheus");
    assert_eq!(id_of(day, "漢字"), "2026-11-21-change");
    assert!(is_id(&id_of(day, &"word ".repeat(50))));
    assert!(is_id(&id_of(day, &"w".repeat(500))));
    for bad in ["", "-x", "a b", "a/b", "a\n", "ü", &"a".repeat(65)] {
        assert!(!is_person(bad), "{bad}");
    }
}

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = record_schema();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = value["properties"].as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&schema), sorted(&read::RECORD_KEYS));
    for (name, expected) in [
        ("PlanRef", read::PLAN_KEYS.as_slice()),
        ("Owner", &read::OWNER_KEYS),
        ("Slot", &read::SLOT_KEYS),
        ("FileRef", &read::FILE_KEYS),
        ("EvidenceRef", &read::EVIDENCE_KEYS),
    ] {
        assert_eq!(keys(&schema["$defs"][name]), sorted(expected), "{name}");
    }
}

pub(crate) fn approval(record: &Record, by: &str, role: Role) -> Approval {
    Approval {
        by: by.to_owned(),
        at: at("2026-11-21T09:00:00Z"),
        role,
        statement: record.statement(role),
        signature: "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n".to_owned(),
    }
}

pub(crate) fn change(record: Record, approvers: &[&str]) -> Change {
    let approvals = approvers.iter().map(|by| approval(&record, by, Role::Approver)).collect();
    Change { record, reviews: Vec::new(), approvals, events: Vec::new() }
}

fn event(kind: EventKind, host: &str, plan: &str, when: &str) -> Event {
    Event {
        kind,
        at: at(when),
        host: host.to_owned(),
        plan: Some(plan.to_owned()),
        by: "root".to_owned(),
        why: None,
    }
}

#[test]
fn entries_are_read_as_they_were_written() {
    let mut sources = SourceMap::default();
    let file = sources.add("x", "");
    let approval = approval(&record(), "bob", Role::Approver);
    assert_eq!(read_approval(file, &approval.write()).unwrap(), approval);
    let review = Review {
        by: "bob".to_owned(),
        at: at("2026-11-21T09:00:00.123Z"),
        kind: ReviewKind::ChangesRequested,
        text: "narrow it: one source\nis enough".to_owned(),
        record: record().hash(),
    };
    assert_eq!(read_review(file, &review.write()).unwrap(), review);
    assert_eq!(review.file_name(), "20261121T090000.123Z-bob.yaml");
    let event = event(EventKind::Reverted, "app/1", &"a".repeat(64), "2026-11-21T20:01:00Z");
    assert_eq!(read_event(file, &event.write()).unwrap(), event);
    assert_eq!(event.file_name(), "20261121T200100.000Z-app-1-reverted.yaml");
    assert!(read_event(file, &event.write().replace("reverted", "done")).is_err());
    assert!(read_review(file, &format!("{}extra: 1\n", review.write())).is_err());
    assert!(read_approval(file, &approval.write().replace("by: bob", "by: bob/../x")).is_err());
}

#[test]
fn an_approval_is_void_once_plan_or_record_change() {
    let good = |_: &Approval, _: &str| Standing::Good { key: "SHA256:bob".to_owned() };
    let mut change = change(record(), &["bob"]);
    assert_eq!(tally("alice@example.org", &votes(&change, good)).approvers, ["bob"]);
    change.record.plans = vec![PlanRef { host: "app".to_owned(), hash: "f".repeat(64) }];
    let found = votes(&change, |_, _| panic!("a void one isn't checked"));
    assert_eq!(found[0].standing, Standing::Void);
    assert!(tally("alice@example.org", &found).approvers.is_empty());
    change.record = Record { author: "bob".to_owned(), ..record() };
    assert_eq!(votes(&change, good)[0].standing, Standing::Void);
    // An author's signature is no approval, even under the right name.
    change.record = record();
    change.approvals[0].role = Role::Author;
    assert_eq!(votes(&change, good)[0].standing, Standing::Void);
}

#[test]
fn the_state_follows_the_hosts() {
    let plan = |host: &str, letter: &str| PlanRef { host: host.to_owned(), hash: letter.repeat(64) };
    let two = Record { plans: vec![plan("app", "a"), plan("db", "b")], emergency: None, ..record() };
    let mut change = change(two, &[]);
    assert_eq!(change.status(&[], false), Status::Proposed);
    assert_eq!(change.status(&[], true), Status::Approved);
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let steps = [
        (EventKind::Applied, "app", &a, Status::Applied),
        (EventKind::Confirmed, "app", &a, Status::Applied),
        (EventKind::Applied, "db", &b, Status::Applied),
        (EventKind::Reverted, "db", &b, Status::Reverted),
        (EventKind::Applied, "db", &b, Status::Applied),
        (EventKind::Confirmed, "db", &b, Status::Confirmed),
        (EventKind::Stuck, "db", &b, Status::Stuck),
    ];
    for (minute, (kind, host, plan, expected)) in steps.into_iter().enumerate() {
        change.events.push(event(kind, host, plan, &format!("2026-11-21T20:{minute:02}:00Z")));
        assert_eq!(change.status(&[], true), expected, "{kind:?} {host}");
    }
    // A new version hasn't been applied anywhere.
    change.record.plans = vec![plan("app", "c")];
    assert_eq!(change.status(&[], false), Status::Proposed);
    change.record.plans.clear();
    change.record.files.clear();
    assert_eq!(change.status(&[], false), Status::Draft);
}

#[test]
fn another_version_is_wanted_until_there_is_one_or_they_approve() {
    let mut change = change(Record { emergency: None, ..record() }, &["bob"]);
    change.reviews.push(Review {
        by: "bob".to_owned(),
        at: at("2026-11-21T08:30:00Z"),
        kind: ReviewKind::ChangesRequested,
        text: "narrow it".to_owned(),
        record: change.record.hash(),
    });
    assert_eq!(change.status(&[], true), Status::ChangesRequested);
    let good = |_: &Approval, _: &str| Standing::Good { key: "SHA256:bob".to_owned() };
    let votes = votes(&change, good);
    assert_eq!(change.status(&votes, true), Status::Approved);
    // An approval from before the review doesn't settle it.
    change.reviews[0].at = at("2026-11-21T09:30:00Z");
    assert_eq!(change.status(&votes, true), Status::ChangesRequested);
    change.record.risk = Risk::High;
    assert_eq!(change.status(&[], false), Status::Proposed);
}

#[test]
fn temporary_rules_expire_until_a_change_ends_them() {
    let a = "a".repeat(64);
    let mut first = change(record(), &[]);
    let last: Date = "2026-12-31".parse().unwrap();
    let after: Date = "2027-01-01".parse().unwrap();
    // What was never applied can't expire.
    assert!(expired(std::slice::from_ref(&first), after).is_empty());
    first.events.push(event(EventKind::Confirmed, "app", &a, "2026-11-21T20:00:00Z"));
    assert!(expired(std::slice::from_ref(&first), last).is_empty());
    assert_eq!(expired(std::slice::from_ref(&first), after).len(), 1);
    let mut second = change(
        Record {
            id: "2027-01-01-end-metrics".to_owned(),
            ends: vec![first.record.id.clone()],
            expires: None,
            ..record()
        },
        &[],
    );
    // To propose the end isn't the end.
    assert_eq!(expired(&[first.clone(), second.clone()], after).len(), 1);
    second.events.push(event(EventKind::Confirmed, "app", &a, "2027-01-01T20:00:00Z"));
    assert!(expired(&[first, second], after).is_empty());
}

#[test]
fn tracked_files_hold_what_some_change_says() {
    let (b, c, d) = ("b".repeat(64), "c".repeat(64), "d".repeat(64));
    let a = "a".repeat(64);
    let watch = |now: Option<&String>, changes: &[Change]| {
        unrecorded(&BTreeMap::from([("haproxy.cfg".to_owned(), now.cloned())]), changes)
    };
    let mut change = change(record(), &[]);
    // A proposal alone explains nothing.
    assert_eq!(watch(Some(&c), std::slice::from_ref(&change)).len(), 1);
    change.events.push(event(EventKind::Confirmed, "app", &a, "2026-11-21T20:00:00Z"));
    let changes = [change.clone()];
    assert!(watch(Some(&c), &changes).is_empty());
    let found = watch(Some(&d), &changes);
    assert_eq!(found[0].last.as_deref(), Some("2026-11-21-allow-metrics"));
    assert_eq!(watch(None, &changes).len(), 1);
    change.events.push(event(EventKind::Reverted, "app", &a, "2026-11-21T20:01:00Z"));
    let changes = [change];
    assert!(watch(Some(&b), &changes).is_empty());
    assert_eq!(watch(Some(&c), &changes)[0].last, None);
}
