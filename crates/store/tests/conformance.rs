//! What every store has to do, whatever the database.

mod common;

use common::{entry, folder, time};
use firewarden_change::trial::{Asker, Attempt, Outcome, Phase, Reading, Reason, Record, Rules};
use firewarden_store::chain::genesis;
use firewarden_store::of_trial;
use firewarden_store::{
    Actor, Appended, CHECKPOINT_EVERY, Entry, Journal, Kind, NewEntry, Store, StoreError, verify,
};
use std::path::Path;

/// The suite. `open` opens the store of a folder, and makes it the first time.
fn conforms<S: Store>(open: impl Fn(&Path) -> S) {
    starts_empty(&open);
    keeps_every_field(&open);
    adds_all_or_nothing(&open);
    knows_sources(&open);
    pages(&open);
    signs(&open);
    takes_trials(&open);
    tells_journals_apart(&open);
}

fn all(store: &mut impl Store) -> Vec<Entry> {
    store.entries_after(0, 10_000).unwrap()
}

fn assert_sound(store: &mut impl Store) {
    let key = store.checkpoints().unwrap().first().map(|checkpoint| checkpoint.key);
    let verified = verify(store, None, key).unwrap();
    assert_eq!(verified.findings, [], "of {} entries", verified.count);
}

fn starts_empty<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let mut store = open(folder.path());
    assert_eq!(all(&mut store), []);
    let checkpoint = store.add_checkpoint(time(0)).unwrap();
    assert_eq!((checkpoint.count, checkpoint.head), (0, genesis(store.id())));
    assert_sound(&mut store);
}

fn keeps_every_field<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let full = NewEntry {
        time: "2026-11-21T08:00:00.123456789Z".parse().unwrap(),
        kind: Kind::ProbeFailed,
        trial: Some("7".to_owned()),
        change: Some("2026-open-9000".to_owned()),
        actor: Actor {
            user: "älice\n\"x\"".to_owned(),
            uid: Some(u32::MAX),
            session: Some("192.0.2.1 50000 192.0.2.2 22".to_owned()),
            process: Some("firewarden apply [4711]".to_owned()),
        },
        generation: Some("42".to_owned()),
        text: "`any -> lb tcp/443` didn't come about; 1 of 3".to_owned(),
        details: Some(serde_json::json!({"b": [1, 2.5, null], "a": "ü\n"})),
        source: Some("trial 7 phase 3".to_owned()),
    };
    let bare = NewEntry::new(time(1), Kind::Planned, Actor::default(), "");
    let added = open(folder.path()).append_all(&[full.clone(), bare]).unwrap();
    let mut store = open(folder.path());
    let stored = all(&mut store);
    let [first, second] = stored.as_slice() else { panic!("{stored:?}") };
    assert_eq!(added, [Appended::New(Box::new(first.clone())), Appended::New(Box::new(second.clone()))]);
    assert_eq!(first.time.to_string(), "2026-11-21T08:00:00.123456Z");
    assert_eq!((first.sequence, first.kind.as_str()), (1, "probe-failed"));
    assert_eq!((&first.trial, &first.change, &first.actor), (&full.trial, &full.change, &full.actor));
    assert_eq!((&first.generation, &first.text, &first.source), (&full.generation, &full.text, &full.source));
    assert_eq!(first.details.as_deref(), Some(r#"{"a":"ü\n","b":[1,2.5,null]}"#));
    assert_eq!((second.sequence, second.previous, &second.actor), (2, first.hash, &Actor::default()));
    assert_sound(&mut store);
}

fn adds_all_or_nothing<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let mut store = open(folder.path());
    store.append_all(&[entry(1)]).unwrap();
    for (bad, why) in [
        (NewEntry { text: "x".repeat((1 << 20) + 1), ..entry(3) }, "mebibyte"),
        (NewEntry { trial: Some("a\0b".to_owned()), ..entry(3) }, "NUL"),
    ] {
        let refused = store.append_all(&[entry(2), bad, entry(4)]).unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)) && refused.to_string().contains(why), "{refused}");
        assert_eq!(all(&mut store).len(), 1);
    }
    assert_eq!(store.append_all(&[]).unwrap(), []);
    store.append_all(&[entry(2), entry(3)]).unwrap();
    assert_eq!(all(&mut store).iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_sound(&mut store);
}

fn knows_sources<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let mut store = open(folder.path());
    let phase = |number: i64| NewEntry { source: Some(format!("trial 1 phase {number}")), ..entry(number) };
    let first = store.append_all(&[phase(1), phase(2)]).unwrap();
    assert!(first.iter().all(|appended| matches!(appended, Appended::New(_))));
    let again = store.append_all(&[phase(1), phase(2), phase(3), phase(3)]).unwrap();
    assert_eq!(again.iter().map(Appended::sequence).collect::<Vec<_>>(), [1, 2, 3, 3]);
    let new = again.iter().filter(|appended| matches!(appended, Appended::New(_))).count();
    assert_eq!(new, 1);
    assert_eq!(all(&mut store).len(), 3);
    assert_sound(&mut store);
}

fn pages<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let mut store = open(folder.path());
    store.append_all(&(1..=1100).map(entry).collect::<Vec<_>>()).unwrap();
    let page = store.entries_after(1097, 2).unwrap();
    assert_eq!(page.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1098, 1099]);
    assert_eq!(store.entries_after(1100, 2).unwrap(), []);
    assert_eq!(store.entries_after(u64::MAX, 2).unwrap(), []);
    assert_sound(&mut store);
}

fn signs<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let mut store = open(folder.path());
    store.append_all(&[entry(1)]).unwrap();
    assert_eq!(store.checkpoints().unwrap(), []);
    store.append_all(&[NewEntry { kind: Kind::Reverted, ..entry(2) }]).unwrap();
    let at_end = store.checkpoints().unwrap();
    assert_eq!(at_end.iter().map(|checkpoint| checkpoint.count).collect::<Vec<_>>(), [2]);
    for number in 0..CHECKPOINT_EVERY {
        store.append_all(&[entry(i64::try_from(number).unwrap())]).unwrap();
    }
    let by_count = store.checkpoints().unwrap();
    assert_eq!(
        by_count.iter().map(|checkpoint| checkpoint.count).collect::<Vec<_>>(),
        [2, CHECKPOINT_EVERY + 2]
    );
    for checkpoint in &by_count {
        checkpoint.check().unwrap();
        assert_eq!(checkpoint.journal, store.id());
    }
    assert_sound(&mut store);
}

/// The same state of a trial may be told as often as anybody likes.
fn takes_trials<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = folder();
    let mut store = open(folder.path());
    let asker = Asker::new("alice", "2026-11-21T08:00:00Z", "looks good");
    let reading = Reading { digest: "d1".to_owned(), rules: Rules::Other, foreign: true };
    let (phases, expected): (Vec<Phase>, Vec<&str>) = [
        (Phase::Armed, "armed firewarden: the guard stands by; the kernel holds the old rules"),
        (Phase::Applying, "applying firewarden: new rules are being loaded"),
        (
            Phase::Applied { holds: Some("d1".to_owned()) },
            "applied firewarden: the kernel holds the new rules, until they are confirmed",
        ),
        (
            Phase::Confirmed { asker: asker.clone(), ruleset: "d1".to_owned(), foreign: false },
            "confirmed alice: the new rules stay: alice (looks good)",
        ),
        (
            Phase::Reverting { reason: Reason::Deadline, attempt: Attempt::Inverse },
            "reverting firewarden: the old rules are being loaded: nobody confirmed in time",
        ),
        (
            Phase::Stuck { reason: Reason::GuardDied, holds: Ok(reading) },
            "stuck firewarden: the old rules could not be brought back (the guard died while it loaded the new ones): the \
             kernel holds neither the old nor the new rules; others changed tables that the change doesn't touch",
        ),
        (
            Phase::Done(Outcome::Reverted { reason: Reason::Asked(asker), foreign: false }),
            "reverted alice: the kernel holds the old rules: asked for by alice (looks good)",
        ),
    ]
    .into_iter()
    .unzip();
    let record = |phase: &Phase, note: Option<&str>| Record {
        boot_id: "b".to_owned(),
        deadline: 1000,
        phase: phase.clone(),
        note: note.map(str::to_owned),
    };
    for _ in 0..2 {
        for (second, phase) in (0..).zip(&phases) {
            store.append_all(&of_trial("7", Some("c1"), &record(phase, None), time(second))).unwrap();
        }
    }
    let told = |entry: &Entry| format!("{} {}: {}", entry.kind, entry.actor.user, entry.text);
    assert_eq!(all(&mut store).iter().map(told).collect::<Vec<_>>(), expected);
    // A refusal is told beside the phase in which it was, once.
    for _ in 0..2 {
        store
            .append_all(&of_trial("7", None, &record(&phases[2], Some("the digest differs")), time(9)))
            .unwrap();
    }
    let stored = all(&mut store);
    assert_eq!(
        stored.iter().skip(expected.len()).map(told).collect::<Vec<_>>(),
        ["refused firewarden: a request was refused: the digest differs"]
    );
    // Another trial of the same phases is another one.
    store.append_all(&of_trial("8", None, &record(&phases[0], None), time(10))).unwrap();
    assert_eq!(all(&mut store).len(), expected.len() + 2);
    assert_eq!((stored[3].time.to_string().as_str(), stored[4].time), ("2026-11-21T08:00:00Z", time(4)));
    assert_sound(&mut store);
}

fn tells_journals_apart<S: Store>(open: impl Fn(&Path) -> S) {
    let (one, other) = (folder(), folder());
    assert_ne!(open(one.path()).id(), open(other.path()).id());
    assert_eq!(open(one.path()).id(), open(one.path()).id());
}

#[test]
fn sqlite_conforms() {
    conforms(|folder: &Path| Journal::open(folder).unwrap());
}
