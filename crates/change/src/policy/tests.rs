use super::*;
use crate::approval::{Standing, Vote};
use crate::record::{Change, Event, EventKind, EvidenceVerdict, Review, ReviewKind, Role, Status};
use firewarden_diagnostic::SourceMap;
use jiff::Timestamp;

const POLICY: &str = r#"
required: true
approvers: 2
ticket: true
must_pass: [check]
groups:
  dba: [carol, dave]
  platform: erin
require:
  - owner: data-team
    group: dba
  - host: edge
    risk: high
    group: platform
zone: Europe/Berlin
windows:
  - days: [mon, tue, wed, thu]
    from: "09:00"
    to: "16:00"
freezes:
  - from: 2026-12-18
    to: 2027-01-04
    reason: year-end trade
emergency:
  approvers: 1
  review_hours: 24
"#;

fn read(text: &str) -> Result<Policy, Vec<String>> {
    let mut sources = SourceMap::default();
    let file = sources.add("policy.yaml", text);
    read_policy(file, text).map_err(|problems| {
        problems
            .iter()
            .map(|problem| {
                format!(
                    "{}: {} ({})",
                    problem.code,
                    problem.message,
                    problem.help.clone().unwrap_or_default()
                )
            })
            .collect()
    })
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A Monday morning.
const OPEN: &str = "2026-11-23T09:00:00Z";

fn record() -> Record {
    Record { emergency: None, window: None, ..crate::record::tests::record() }
}

fn vote(by: &str, key: &str) -> Vote {
    Vote {
        by: by.to_owned(),
        at: at("2026-11-21T09:00:00Z"),
        role: Role::Approver,
        standing: Standing::Good { key: format!("SHA256:{key}") },
    }
}

/// What is said of a change with these votes, at a time: the codes, or who approved.
fn codes(policy: &Policy, record: &Record, votes: &[Vote], now: &str) -> Vec<String> {
    let change = crate::record::tests::change(record.clone(), &[]);
    judged(policy, &change, votes, now, &[])
}

fn judged(policy: &Policy, change: &Change, votes: &[Vote], now: &str, overdue: &[String]) -> Vec<String> {
    let question =
        Question { change, votes, policy, trust: &Trust::Enforced, now: at(now), plan: None, overdue };
    match judge(&question) {
        Ok(permit) => permit.approvers,
        Err(refusals) => refusals.iter().map(|refusal| refusal.code().to_owned()).collect(),
    }
}

#[test]
fn a_policy_is_read() {
    let policy = read(POLICY).unwrap();
    assert!(policy.required && policy.ticket && !policy.signed_author);
    assert_eq!((policy.approvers, policy.require.len()), (2, 2));
    assert_eq!(policy.groups["platform"], ["erin"]);
    assert_eq!(policy.calendar.windows.len(), 1);
    assert_eq!(policy.emergency, Emergency { approvers: 1, review_hours: 24, overdue_refuses: true });
    // A file that is there asks for approved changes, unless it says otherwise.
    assert!(read("{}").unwrap().required);
    assert!(!read("required: false").unwrap().required);
}

#[test]
fn a_policy_with_a_mistake_is_none() {
    for (text, code, words) in [
        ("aprovers: 2", "policy-unknown-key", "did you mean `approvers`?"),
        ("approvers: two", "change-value", "a number from 0 to 100"),
        ("approvers: -1", "change-value", "a number from 0 to 100"),
        ("approvers: 4294967296", "change-value", "a number from 0 to 100"),
        ("required: maybe", "policy-type", "`true` or `false`"),
        ("must_pass: [chekc]", "change-value", "did you mean `check`?"),
        ("require: [{group: dba}]", "change-value", "declare it under `groups`"),
        ("groups: {dba: [a]}\nrequire: [{group: dbb}]", "change-value", "did you mean `dba`?"),
        ("groups: {dba: [a]}\nrequire: [{group: dba, approvers: 2}]", "policy-group", "has 1 people"),
        ("groups: {dba: [a, a]}\nrequire: [{group: dba, approvers: 2}]", "policy-group", "has 1 people"),
        ("groups: {dba: [-x]}", "change-value", "is not the name of a person"),
        ("require: [{host: edge}]", "policy-missing-key", "needs `group`"),
        ("zone: Europe/Berln", "change-value", "is not a time zone"),
        ("windows: [{days: [mon], from: 9, to: 16}]", "change-value", "hours and minutes in quotes"),
        ("windows: [{days: [mon], from: '25:00', to: '16:00'}]", "change-value", "is not a time of day"),
        ("windows: [{days: [monday], from: '09:00', to: '16:00'}]", "change-value", "is not one of `mon`"),
        ("windows: [{from: '09:00', to: '16:00'}]", "policy-missing-key", "needs `days`"),
        (
            "freezes: [{from: 2026-12-18, to: 2026-12-01, reason: x}]",
            "change-value",
            "after the freeze's begin",
        ),
        ("freezes: [{from: 2026-12-18, to: 2026-12-32, reason: x}]", "change-value", "is not a day"),
        ("freezes: [{from: 2026-12-18, to: 2026-12-19}]", "policy-missing-key", "needs `reason`"),
        ("emergency: {overdue: ignore}", "change-value", "is not one of `refuse`, `warn`"),
        ("- a", "policy-type", "a policy is a map"),
    ] {
        let said = read(text).err().unwrap_or_default();
        assert!(said.iter().any(|line| line.contains(code) && line.contains(words)), "{text}: {said:#?}");
    }
}

#[test]
fn enough_people_of_the_right_groups_approve() {
    let policy = read(POLICY).unwrap();
    let (bob, carol, erin) = (vote("bob", "b"), vote("carol", "c"), vote("erin", "e"));
    let of_data = Record {
        owners: vec![crate::record::Owner { owner: "data-team".to_owned(), intents: Vec::new() }],
        ..record()
    };
    let on_edge = Record { hosts: vec!["edge".to_owned()], risk: Risk::High, ..record() };
    let on_edge_low = Record { risk: Risk::Low, ..on_edge.clone() };
    let table: [(&Record, &[Vote], &[&str]); 10] = [
        (&record(), &[], &["change-approvals"]),
        (&record(), std::slice::from_ref(&bob), &["change-approvals"]),
        (&record(), &[bob.clone(), erin.clone()], &["bob", "erin"]),
        (&of_data, &[bob.clone(), erin.clone()], &["change-group"]),
        (&of_data, std::slice::from_ref(&bob), &["change-approvals", "change-group"]),
        (&of_data, &[bob.clone(), carol.clone()], &["bob", "carol"]),
        (&on_edge, &[bob.clone(), carol.clone()], &["change-group"]),
        (&on_edge, &[erin.clone(), carol.clone()], &["erin", "carol"]),
        (&on_edge_low, &[bob.clone(), carol.clone()], &["bob", "carol"]),
        (&Record { ticket: None, ..record() }, &[bob.clone(), carol.clone()], &["change-ticket"]),
    ];
    for (number, (record, votes, expected)) in table.into_iter().enumerate() {
        assert_eq!(codes(&policy, record, votes, OPEN), expected, "{number}");
    }
}

#[test]
fn four_eyes_are_four_eyes() {
    let policy = Policy { approvers: 1, ..Policy::default() };
    let author = Vote { role: Role::Author, by: "alice@example.org".to_owned(), ..vote("", "a") };
    let with = |standing: Standing, by: &str| Vote { standing, ..vote(by, "") };
    let refused = ["change-approvals".to_owned()];
    for votes in [
        // The author's own name, and the author's key under another name.
        vec![vote("alice@example.org", "x")],
        vec![author.clone(), vote("bob", "a")],
        vec![with(Standing::Void, "bob")],
        vec![with(Standing::Refused("no key of bob made it".to_owned()), "bob")],
        // To have proposed it isn't to approve it.
        vec![author.clone()],
    ] {
        assert_eq!(codes(&policy, &record(), &votes, OPEN), refused, "{votes:?}");
    }
    assert_eq!(codes(&policy, &record(), &[author, vote("bob", "b")], OPEN), ["bob"]);
    // One key is one person, whatever names it is given.
    let two = Policy { approvers: 2, ..Policy::default() };
    assert_eq!(codes(&two, &record(), &[vote("bob", "b"), vote("carol", "b")], OPEN), refused);
    assert_eq!(codes(&two, &record(), &[vote("bob", "b"), vote("bob", "c")], OPEN), refused);
    assert_eq!(codes(&two, &record(), &[vote("bob", "b"), vote("carol", "c")], OPEN), ["bob", "carol"]);
}

#[test]
fn the_author_signs_where_the_policy_says_so() {
    let policy = Policy { signed_author: true, ..Policy::default() };
    let signed = Vote { role: Role::Author, by: "alice@example.org".to_owned(), ..vote("", "a") };
    let other = Vote { by: "mallory".to_owned(), ..signed.clone() };
    assert_eq!(codes(&policy, &record(), &[vote("bob", "b")], OPEN), ["change-author"]);
    assert_eq!(codes(&policy, &record(), &[vote("bob", "b"), other], OPEN), ["change-author"]);
    assert_eq!(codes(&policy, &record(), &[vote("bob", "b"), signed], OPEN), ["bob"]);
}

#[test]
fn windows_freezes_and_days() {
    let policy = read(POLICY).unwrap();
    let votes = [vote("bob", "b"), vote("carol", "c")];
    let slot = Record {
        window: Some(crate::record::Slot {
            from: at("2026-11-23T10:00:00Z"),
            to: at("2026-11-23T11:00:00Z"),
        }),
        ..record()
    };
    for (record, now, expected) in [
        (record(), OPEN, ["bob", "carol"].as_slice()),
        (record(), "2026-11-22T09:00:00Z", &["change-closed"]),
        (record(), "2026-12-21T09:00:00Z", &["change-frozen"]),
        (slot.clone(), OPEN, &["change-window"]),
        (slot.clone(), "2026-11-23T10:00:00Z", &["bob", "carol"]),
        (slot, "2026-11-23T11:00:00Z", &["change-window"]),
        // Its rules were to be there until 2026-12-31.
        (record(), "2027-01-05T09:00:00Z", &["change-expired"]),
    ] {
        assert_eq!(codes(&policy, &record, &votes, now), expected, "{now}");
    }
    let change = crate::record::tests::change(record(), &[]);
    let question = Question {
        change: &change,
        votes: &votes,
        policy: &policy,
        trust: &Trust::Enforced,
        now: at("2026-11-22T09:00:00Z"),
        plan: None,
        overdue: &[],
    };
    let refusals = judge(&question).unwrap_err();
    assert!(
        refusals[0].to_string().ends_with("the next time is Monday 2026-11-23 09:00 CET"),
        "{}",
        refusals[0]
    );
    assert!(refusals[0].help("x").contains("--emergency"));
}

#[test]
fn evidence_counts_where_the_policy_says_so() {
    let policy = Policy { approvers: 0, ..Policy::default() };
    let with = |verdict: EvidenceVerdict| {
        let mut record = record();
        record.evidence[0].verdict = verdict;
        record
    };
    let nobody: [String; 0] = [];
    assert_eq!(codes(&policy, &with(EvidenceVerdict::Pass), &[], OPEN), nobody);
    assert_eq!(codes(&policy, &with(EvidenceVerdict::Fail), &[], OPEN), ["change-evidence"]);
    // What isn't decided isn't passed.
    assert_eq!(codes(&policy, &with(EvidenceVerdict::Open), &[], OPEN), ["change-evidence"]);
    let none = Record { evidence: Vec::new(), ..record() };
    assert_eq!(codes(&policy, &none, &[], OPEN), ["change-no-evidence"]);
    let careless = Policy { must_pass: Vec::new(), ..policy.clone() };
    assert_eq!(codes(&careless, &none, &[], OPEN), nobody);
    let files_only = Record { plans: Vec::new(), hosts: Vec::new(), ..none };
    assert_eq!(codes(&policy, &files_only, &[], OPEN), nobody);
    let nothing = Record { files: Vec::new(), ..files_only };
    assert_eq!(codes(&policy, &nothing, &[], OPEN), ["change-draft"]);
}

#[test]
fn the_plan_has_to_be_the_records() {
    let policy = Policy { approvers: 0, ..Policy::default() };
    let change = crate::record::tests::change(record(), &[]);
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    for (host, plan, allowed) in [("app", &a, true), ("app", &b, false), ("db", &a, false)] {
        let question = Question {
            change: &change,
            votes: &[],
            policy: &policy,
            trust: &Trust::Enforced,
            now: at(OPEN),
            plan: Some((host, plan)),
            overdue: &[],
        };
        assert_eq!(judge(&question).is_ok(), allowed, "{host} {plan}");
    }
}

#[test]
fn advice_is_no_permission_where_approvals_are_required() {
    let trust = Trust::Advisory("there is no `allowed_signers`".to_owned());
    let change = crate::record::tests::change(record(), &[]);
    let unchecked = [Vote { standing: Standing::Unchecked, ..vote("bob", "") }];
    let optional = Policy::default();
    let question = Question {
        change: &change,
        votes: &unchecked,
        policy: &optional,
        trust: &trust,
        now: at(OPEN),
        plan: None,
        overdue: &[],
    };
    let permit = judge(&question).unwrap();
    assert_eq!(permit.advisory.as_deref(), Some("there is no `allowed_signers`"));
    let required = Policy { required: true, ..optional.clone() };
    let refusals = judge(&Question { policy: &required, ..question }).unwrap_err();
    assert_eq!(refusals[0].code(), "change-unenforceable");
}

#[test]
fn an_emergency_goes_first_and_is_reviewed_later() {
    let policy = read(POLICY).unwrap();
    let night = "2026-12-20T02:00:00Z";
    let mut urgent = Record { emergency: Some("the site is down".to_owned()), ticket: None, ..record() };
    urgent.evidence[0].verdict = EvidenceVerdict::Fail;
    let (bob, carol) = (vote("bob", "b"), vote("carol", "c"));
    assert_eq!(codes(&policy, &urgent, &[], night), ["change-approvals"]);
    assert_eq!(codes(&policy, &urgent, std::slice::from_ref(&bob), night), ["bob"]);

    let mut change = crate::record::tests::change(urgent, &[]);
    assert_eq!(later_review(&change, &[], &policy, at(night)), Later::NotNeeded);
    let question = Question {
        change: &change,
        votes: std::slice::from_ref(&bob),
        policy: &policy,
        trust: &Trust::Enforced,
        now: at(night),
        plan: None,
        overdue: &[],
    };
    let permit = judge(&question).unwrap();
    assert_eq!(permit.review_by, Some(at("2026-12-21T02:00:00Z")));
    assert_eq!(permit.warnings.len(), 3, "{:?}", permit.warnings);

    let applied = |kind: EventKind, when: &str| Event {
        kind,
        at: at(when),
        host: "app".to_owned(),
        plan: Some("a".repeat(64)),
        by: "root".to_owned(),
        why: None,
    };
    change.events =
        vec![applied(EventKind::Applied, night), applied(EventKind::Confirmed, "2026-12-20T02:01:00Z")];
    assert_eq!(change.status(&[], false), Status::Confirmed);
    let due = at("2026-12-21T02:00:00Z");
    let votes = [bob.clone()];
    assert_eq!(later_review(&change, &votes, &policy, at("2026-12-20T10:00:00Z")), Later::Due(due));
    assert_eq!(later_review(&change, &votes, &policy, due), Later::Overdue(due));
    // The review is the approvals that it would have needed; those that nobody checked don't count.
    let unchecked = Vote { standing: Standing::Unchecked, ..carol.clone() };
    assert_eq!(later_review(&change, &[bob.clone(), unchecked], &policy, due), Later::Overdue(due));
    assert_eq!(later_review(&change, &[bob.clone(), carol.clone()], &policy, due), Later::Done);

    // Until then other changes wait, and other emergencies don't.
    let overdue = [change.record.id.clone()];
    let both = [bob, carol];
    let other = crate::record::tests::change(record(), &[]);
    assert_eq!(judged(&policy, &other, &both, OPEN, &overdue), ["change-overdue-review"]);
    assert_eq!(judged(&policy, &change, &both, night, &overdue), ["bob", "carol"]);
    let lenient =
        Policy { emergency: Emergency { overdue_refuses: false, ..policy.emergency.clone() }, ..policy };
    assert_eq!(judged(&lenient, &other, &both, OPEN, &overdue), ["bob", "carol"]);
}

#[test]
fn whoever_asks_for_another_version_is_heard() {
    let mut change = crate::record::tests::change(record(), &[]);
    change.reviews.push(Review {
        by: "erin".to_owned(),
        at: at("2026-11-21T10:00:00Z"),
        kind: ReviewKind::ChangesRequested,
        text: "one source is enough".to_owned(),
        record: change.record.hash(),
    });
    assert_eq!(judged(&Policy::default(), &change, &[vote("bob", "b")], OPEN, &[]), ["change-requested"]);
    change.reviews[0].kind = ReviewKind::Comment;
    assert_eq!(judged(&Policy::default(), &change, &[vote("bob", "b")], OPEN, &[]), ["bob"]);
}

#[test]
fn every_refusal_has_a_code_of_its_own_and_a_remedy() {
    let text = || "x".to_owned();
    let all = [
        Refusal::OtherPlan { host: text(), plan: text() },
        Refusal::Draft,
        Refusal::Unenforceable(text()),
        Refusal::Approvals { have: 0, need: 1, ignored: vec![(text(), text())] },
        Refusal::Group { group: text(), have: 0, need: 1, why: text() },
        Refusal::Author(text()),
        Refusal::ChangesRequested { by: text(), text: text() },
        Refusal::Evidence { of: "check", verdict: "fail", summary: text() },
        Refusal::NoEvidence("check"),
        Refusal::Ticket,
        Refusal::Closed { next: None },
        Refusal::Frozen { reason: text(), next: Some(text()) },
        Refusal::OutsideSlot { from: at(OPEN), to: at(OPEN) },
        Refusal::Expired("2026-12-31".parse().unwrap()),
        Refusal::OverdueReview(vec![text()]),
    ];
    let mut codes: Vec<&str> = all.iter().map(Refusal::code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all.len());
    for refusal in &all {
        let words = refusal.to_string();
        assert!(!refusal.help("2026-11-21-x").is_empty() && !words.ends_with('.'), "{words}");
    }
}

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = policy_schema();
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
    assert_eq!(keys(&schema), sorted(&read::POLICY_KEYS));
    for (name, expected) in [
        ("Requirement", read::REQUIRE_KEYS.as_slice()),
        ("Window", &read::WINDOW_KEYS),
        ("Freeze", &read::FREEZE_KEYS),
        ("Emergency", &read::EMERGENCY_KEYS),
    ] {
        assert_eq!(keys(&schema["$defs"][name]), sorted(expected), "{name}");
    }
}
