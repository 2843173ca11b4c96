//! Whatever somebody does to the journal behind its back is found, and told with the number of the entry.

mod common;

use common::{entry, execute, filled, findings, folder, tamper, time};
use firewarden_store::{Bytes, Checkpoint, Journal, Kind, NewEntry, Store, verify};
use std::path::Path;

/// Columns of an entry but its number.
const COLUMNS: &str =
    "time, kind, trial, change, user, uid, session, process, generation, text, details, previous, hash";

#[track_caller]
fn check(sql: &str, expected: &[&str]) {
    let folder = folder();
    drop(filled(folder.path(), 10));
    tamper(folder.path(), sql);
    assert_eq!(findings(folder.path(), None), expected, "after {sql}");
}

#[test]
fn untouched() {
    check("", &[]);
}

#[test]
fn changed() {
    for column in
        ["time = time + 1", "kind = 'applied'", "user = 'mallory'", "uid = NULL", "text = ''", "trial = '1'"]
    {
        let sql = format!("UPDATE entry SET {column} WHERE sequence = 4");
        check(&sql, &["changed: entry 4 was changed: its hash is that of something else"]);
    }
    let moved = "UPDATE entry SET trial = text, text = '' WHERE sequence = 10";
    check(moved, &["changed: entry 10 was changed: its hash is that of something else"]);
}

#[test]
fn changed_with_a_new_hash() {
    // The attacker knows how to hash, but leaves the rest as it is.
    let folder = folder();
    let mut journal = filled(folder.path(), 10);
    let mut forged = journal.entries_after(3, 1).unwrap().remove(0);
    drop(journal);
    forged.text = "nothing happened".to_owned();
    let hash = firewarden_store::chain::hash(&forged);
    tamper(
        folder.path(),
        &format!("UPDATE entry SET text = '{}', hash = x'{hash}' WHERE sequence = 4", forged.text),
    );
    let expected = "unlinked: entry 5 was written after another entry 4 than the one that is there";
    assert_eq!(findings(folder.path(), None), [expected]);
}

#[test]
fn missing() {
    check("DELETE FROM entry WHERE sequence = 1", &["missing: missing: entry 1"]);
    check(
        "DELETE FROM entry WHERE sequence IN (4, 5, 8)",
        &["missing: missing: entries 4 to 5", "missing: missing: entry 8"],
    );
    // Closed up, so that no number is missing.
    let renumbered = "DELETE FROM entry WHERE sequence IN (4, 5);
        UPDATE entry SET sequence = sequence - 2 WHERE sequence > 5";
    let told =
        "reordered: reordered: where entries 4 to 8 should be stands what was written as entries 6 to 10";
    check(renumbered, &["missing: missing: entries 4 to 5", told]);
}

#[test]
fn reordered() {
    let swap = |one: u64, other: u64| {
        format!(
            "UPDATE entry SET sequence = 1000 WHERE sequence = {one};
             UPDATE entry SET sequence = {one} WHERE sequence = {other};
             UPDATE entry SET sequence = {other} WHERE sequence = 1000"
        )
    };
    let told = |place: u64, from: u64| {
        format!("reordered: reordered: where entry {place} should be stands what was written as entry {from}")
    };
    check(&swap(4, 5), &[&told(4, 5), &told(5, 4)]);
    check(&swap(2, 9), &[&told(2, 9), &told(9, 2)]);
}

#[test]
fn duplicated() {
    let copy = |of: u64, to: u64| {
        format!(
            "INSERT INTO entry (sequence, {COLUMNS}) SELECT {to}, {COLUMNS} FROM entry WHERE sequence = {of}"
        )
    };
    check(&copy(10, 11), &["duplicated: entry 11 is a copy of entry 10"]);
    check(&copy(3, 11), &["duplicated: entry 11 is a copy of entry 3"]);
    check(
        &format!("DELETE FROM entry WHERE sequence = 7; {}", copy(3, 7)),
        &["missing: missing: entry 7", "duplicated: entry 7 is a copy of entry 3"],
    );
}

#[test]
fn truncated() {
    let folder = folder();
    let mut journal = filled(folder.path(), 10);
    let exported = journal.add_checkpoint(time(11)).unwrap();
    drop(journal);
    tamper(folder.path(), "DELETE FROM entry WHERE sequence > 7");
    let told = "truncated: truncated: entries 8 to 10 are gone from the end; a checkpoint counts 10";
    assert_eq!(findings(folder.path(), None), [told], "by the journal's own checkpoint");
    execute(folder.path(), "DELETE FROM checkpoint").unwrap();
    assert!(findings(folder.path(), None).is_empty(), "nothing is left here that could tell");
    assert_eq!(findings(folder.path(), Some(&exported)), [told], "by the exported one");
}

#[test]
fn rewritten_from_the_beginning() {
    let folder = folder();
    let mut journal = filled(folder.path(), 10);
    let exported = journal.add_checkpoint(time(11)).unwrap();
    drop(journal);
    // Everything is taken out, and another story is told in a sound chain, by the same key.
    tamper(folder.path(), "DELETE FROM entry; DELETE FROM checkpoint");
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append_all(&(0..10).map(|number| entry(100 + number)).collect::<Vec<_>>()).unwrap();
    drop(journal);
    assert_eq!(findings(folder.path(), None), [""; 0]);
    let told = "rewritten: the checkpoint over 10 entries signed another entry 10: the journal was rewritten";
    assert_eq!(findings(folder.path(), Some(&exported)), [told]);
}

#[test]
fn another_journal_in_its_place() {
    let (folder, other) = (folder(), folder());
    let exported = filled(folder.path(), 3).add_checkpoint(time(4)).unwrap();
    drop(filled(other.path(), 3));
    std::fs::copy(Journal::path_in(other.path()), Journal::path_in(folder.path())).unwrap();
    let found = findings(folder.path(), Some(&exported));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("other-journal: the checkpoint over 3 entries is of another journal"),
        "{found:?}"
    );
}

#[test]
fn forged_checkpoints() {
    let folder = folder();
    let mut journal = filled(folder.path(), 10);
    let exported = journal.add_checkpoint(time(11)).unwrap();
    let key = journal.public_key();
    let forged = "forged-checkpoint: the checkpoint over 9 entries is forged: its signature doesn't fit";
    let mut other = Checkpoint { count: 9, ..exported.clone() };
    let named = |journal: &mut Journal, checkpoint: &Checkpoint| {
        let found = verify(journal, Some(checkpoint), key).unwrap().findings;
        found.iter().map(|finding| format!("{}: {finding}", finding.problem.name())).collect::<Vec<_>>()
    };
    assert_eq!(named(&mut journal, &other), [forged]);
    // Neither a key of no curve point nor the neutral element (which any signature fits under lax rules) is trusted.
    for key in [Bytes([0xff; 32]), Bytes(std::array::from_fn(|index| u8::from(index == 0)))] {
        other.key = key;
        assert_eq!(named(&mut journal, &other), [forged]);
    }
    drop(journal);
    tamper(folder.path(), "UPDATE checkpoint SET count = 9");
    assert_eq!(findings(folder.path(), None), [forged]);
}

#[test]
fn another_key() {
    let folder = folder();
    let mut journal = filled(folder.path(), 5);
    let exported = journal.add_checkpoint(time(6)).unwrap();
    drop(journal);
    std::fs::remove_file(folder.path().join("keys/journal.key")).unwrap();
    let found = findings(folder.path(), None);
    assert_eq!(
        found,
        ["fault: the database isn't sound: there is no key by which its checkpoints could be trusted"]
    );
    let mut journal = Journal::open(folder.path()).unwrap();
    let second = journal.add_checkpoint(time(7)).unwrap();
    assert_ne!(second.key, exported.key);
    drop(journal);
    let told = |key| {
        format!(
            "other-key: the checkpoint over 5 entries is signed by another key than the trusted one: `{key}`"
        )
    };
    assert_eq!(findings(folder.path(), None), [told(exported.key)]);
    assert_eq!(findings(folder.path(), Some(&exported)), [told(second.key)]);
}

#[test]
fn guards() {
    let folder = folder();
    drop(filled(folder.path(), 3));
    for (sql, why) in [
        ("UPDATE entry SET text = '' WHERE sequence = 2", "append-only"),
        ("DELETE FROM entry WHERE sequence = 3", "append-only"),
        ("UPDATE checkpoint SET count = 1", ""),
        ("INSERT OR REPLACE INTO entry SELECT * FROM entry WHERE sequence = 2", "follows the last one"),
        (
            "INSERT INTO entry SELECT 5, time, kind, trial, change, user, uid, session, process, generation, text, details, \
          source, hash, hash FROM entry WHERE sequence = 3",
            "follows the last one",
        ),
        (
            "INSERT INTO entry SELECT 4, time, kind, trial, change, user, uid, session, process, generation, text, details, \
          source, previous, hash FROM entry WHERE sequence = 3",
            "follows the last one",
        ),
    ] {
        match execute(folder.path(), sql) {
            Err(error) => assert!(error.to_string().contains(why), "{sql}: {error}"),
            Ok(()) => assert!(why.is_empty(), "{sql} went through"),
        }
    }
    assert_eq!(findings(folder.path(), None), [""; 0]);
    execute(folder.path(), "DROP TRIGGER entry_stays; CREATE VIEW x AS SELECT 1").unwrap();
    let mut journal = Journal::open_to_read(folder.path()).unwrap();
    let faults = journal.faults().unwrap();
    assert_eq!(
        faults,
        [
            "it no longer has what `CREATE TRIGGER entry_stays` made",
            "somebody added to it by `CREATE VIEW x`",
        ]
    );
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    check(
        "UPDATE entry SET hash = x'00' WHERE sequence = 4",
        &[
            "unreadable: what follows entry 3 can't be read: error occurred while decoding column hash: could not convert slice to array",
        ],
    );
    let folder = folder();
    drop(filled(folder.path(), 5));
    tamper(folder.path(), "UPDATE entry SET text = CAST(x'ff' AS TEXT) WHERE sequence = 5");
    let found = findings(folder.path(), None);
    assert!(found.len() == 1 && found[0].starts_with("unreadable: what follows entry 4 "), "{found:?}");
}

/// Flips bytes all over the file: whatever comes of it is a finding or an error, but never silence about an entry.
#[test]
fn flipped_bytes() {
    let folder = folder();
    let mut journal = filled(folder.path(), 40);
    journal.append_all(&[NewEntry { kind: Kind::Reverted, ..entry(41) }]).unwrap();
    let sound = journal.entries_after(0, 100).unwrap();
    drop(journal);
    let path = Journal::path_in(folder.path());
    let original = std::fs::read(&path).unwrap();
    let (mut found, mut refused) = (0, 0);
    for offset in (0..original.len()).step_by(211) {
        let mut bytes = original.clone();
        bytes[offset] ^= 0x41;
        std::fs::write(&path, &bytes).unwrap();
        match read(folder.path()) {
            Err(_) => refused += 1,
            Ok((true, _)) => found += 1,
            Ok((false, entries)) => assert_eq!(entries, sound, "byte {offset}"),
        }
        let _ = std::fs::remove_file(path.with_extension("sqlite-wal"));
        let _ = std::fs::remove_file(path.with_extension("sqlite-shm"));
    }
    assert!(found > 15, "{found} found, {refused} refused");
}

/// Whether there are findings, and the entries.
fn read(folder: &Path) -> Result<(bool, Vec<firewarden_store::Entry>), firewarden_store::StoreError> {
    let mut journal = Journal::open_to_read(folder)?;
    let key = journal.public_key();
    let found = !verify(&mut journal, None, key)?.findings.is_empty();
    Ok((found, if found { Vec::new() } else { journal.entries_after(0, 100)? }))
}
