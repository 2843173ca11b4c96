//! The tables, and what their rows mean.

use crate::{Actor, Bytes, Checkpoint, Entry, Hash};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// `FWJL`: marks the file as a journal (<https://sqlite.org/pragma.html#pragma_application_id>).
pub const APPLICATION_ID: i64 = 0x4657_4a4c;

/// The version of the tables.
pub const FORMAT: i64 = 1;

/// What makes the tables and guards them. SQLite keeps these texts as they are, so that a guard that was taken away shows.
pub const SCHEMA: [&str; 9] = [
    "CREATE TABLE journal (id BLOB NOT NULL) STRICT",
    "CREATE TABLE entry (
  sequence INTEGER PRIMARY KEY,
  time INTEGER NOT NULL, -- microseconds since 1970, UTC
  kind TEXT NOT NULL,
  trial TEXT,
  change TEXT,
  user TEXT NOT NULL,
  uid INTEGER,
  session TEXT,
  process TEXT,
  generation TEXT,
  text TEXT NOT NULL,
  details TEXT,
  source TEXT UNIQUE,
  previous BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT",
    "CREATE TABLE checkpoint (
  number INTEGER PRIMARY KEY,
  journal BLOB NOT NULL,
  count INTEGER NOT NULL,
  head BLOB NOT NULL,
  time INTEGER NOT NULL,
  key BLOB NOT NULL,
  signature BLOB NOT NULL
) STRICT",
    // `INSERT OR REPLACE` deletes without asking the triggers of DELETE, but it can't get past this one.
    "CREATE TRIGGER entry_follows BEFORE INSERT ON entry
WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM entry)
  OR NEW.previous IS NOT coalesce((SELECT hash FROM entry ORDER BY sequence DESC LIMIT 1), NEW.previous)
BEGIN SELECT RAISE(ABORT, 'an entry follows the last one'); END",
    "CREATE TRIGGER entry_stays BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "CREATE TRIGGER checkpoint_follows BEFORE INSERT ON checkpoint
WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM checkpoint)
BEGIN SELECT RAISE(ABORT, 'a checkpoint follows the last one'); END",
    "CREATE TRIGGER checkpoint_stays BEFORE UPDATE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "CREATE TRIGGER checkpoint_is_kept BEFORE DELETE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
];

/// A number as SQLite keeps it. Sequence numbers never come near the end of either.
pub fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that can't be negative.
pub fn natural(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|error| decode(column, error))
}

/// Bytes of a fixed length.
pub fn bytes<const N: usize>(row: &SqliteRow, column: &str) -> Result<Bytes<N>, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    Bytes::try_from(bytes).map_err(|error| decode(column, error))
}

fn time(row: &SqliteRow) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_microsecond(row.try_get("time")?).map_err(|error| decode("time", error))
}

fn decode(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
}

/// An entry from all columns of its table.
pub fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let uid: Option<i64> = row.try_get("uid")?;
    let previous: Hash = bytes(row, "previous")?;
    Ok(Entry {
        sequence: natural(row, "sequence")?,
        time: time(row)?,
        kind: row.try_get("kind")?,
        trial: row.try_get("trial")?,
        change: row.try_get("change")?,
        actor: Actor {
            user: row.try_get("user")?,
            uid: uid.map(u32::try_from).transpose().map_err(|error| decode("uid", error))?,
            session: row.try_get("session")?,
            process: row.try_get("process")?,
        },
        generation: row.try_get("generation")?,
        text: row.try_get("text")?,
        details: row.try_get("details")?,
        source: row.try_get("source")?,
        previous,
        hash: bytes(row, "hash")?,
    })
}

/// A checkpoint from all columns of its table.
pub fn checkpoint(row: &SqliteRow) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint {
        journal: bytes(row, "journal")?,
        count: natural(row, "count")?,
        head: bytes(row, "head")?,
        time: time(row)?,
        key: bytes(row, "key")?,
        signature: bytes(row, "signature")?,
    })
}
