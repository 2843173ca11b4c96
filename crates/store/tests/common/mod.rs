//! Folders, entries, and a hand in the database that doesn't ask the journal.
#![allow(dead_code, reason = "each test file uses a part of it")]

use firewarden_store::chain::Finding;
use firewarden_store::{Actor, Checkpoint, Journal, Kind, NewEntry, Store, Timestamp, verify};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::path::Path;
use tempfile::TempDir;

/// A state folder that is removed with the value.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("firewarden-journal-").tempdir().unwrap()
}

pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

/// An entry that tells its number.
pub fn entry(number: i64) -> NewEntry {
    let actor = Actor { user: "alice".to_owned(), uid: Some(1000), session: None, process: None };
    NewEntry::new(time(number), Kind::Planned, actor, format!("entry {number}"))
}

/// A journal of so many entries.
pub fn filled(folder: &Path, count: i64) -> Journal {
    let mut journal = Journal::open(folder).unwrap();
    let entries: Vec<NewEntry> = (1..=count).map(entry).collect();
    journal.append_all(&entries).unwrap();
    journal
}

/// Runs SQL on the database of a folder, after taking away its guards.
pub fn tamper(folder: &Path, sql: &str) {
    let guards = "DROP TRIGGER entry_follows; DROP TRIGGER entry_stays; DROP TRIGGER entry_is_kept; \
                  DROP TRIGGER checkpoint_follows; DROP TRIGGER checkpoint_stays; DROP TRIGGER checkpoint_is_kept;";
    execute(folder, &format!("{guards} {sql}")).unwrap();
}

/// Runs SQL on the database of a folder.
pub fn execute(folder: &Path, sql: &str) -> Result<(), sqlx::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(Journal::path_in(folder));
        let mut connection = options.connect().await.unwrap();
        let done = connection.execute(AssertSqlSafe(sql.to_owned())).await;
        connection.close().await.unwrap();
        done.map(|_| ())
    })
}

/// What `verify` finds, without what it says about guards that the test itself took away.
pub fn findings(folder: &Path, exported: Option<&Checkpoint>) -> Vec<String> {
    let mut journal = Journal::open_to_read(folder).unwrap();
    let key = journal.public_key();
    let found = verify(&mut journal, exported, key).unwrap().findings;
    let shown = |finding: &Finding| format!("{}: {finding}", finding.problem.name());
    found.iter().map(shown).filter(|line| !line.contains("no longer has what `CREATE TRIGGER")).collect()
}
