//! What needs a hand inside: a database that may not grow.

use super::*;
use crate::{Actor, Kind, verify};

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let entry = |number: usize| {
        let time = Timestamp::from_second(1_790_000_000).unwrap();
        NewEntry::new(time, Kind::Applied, Actor::default(), format!("{number} {}", "x".repeat(3000)))
    };
    journal.append_all(&[entry(0), entry(1)]).unwrap();
    let limit = |journal: &mut Journal, pages: u32| {
        let sql = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        journal.runtime.block_on(journal.connection.as_mut().unwrap().execute(sql)).unwrap();
    };
    limit(&mut journal, 20);
    let mut added = 2;
    let full = loop {
        match journal.append_all(&[entry(added), entry(added + 1)]) {
            Ok(_) => added += 2,
            Err(error) => break error,
        }
        assert!(added < 100);
    };
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    assert!(added > 2);
    let verified = verify(&mut journal, None, None).unwrap();
    assert_eq!((verified.count, verified.findings), (added as u64, vec![]));
    limit(&mut journal, 1000);
    journal.append_all(&[entry(added)]).unwrap();
    assert_eq!(verify(&mut journal, None, None).unwrap().count, added as u64 + 1);
}
