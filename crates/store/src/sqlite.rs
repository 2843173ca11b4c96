//! The journal in SQLite: one file in the state folder, and the write-ahead log beside it while somebody uses it.

use crate::rows::{self, APPLICATION_ID, FORMAT, SCHEMA};
use crate::{Appended, Bytes, Checkpoint, Entry, Hash, NewEntry, Store, StoreError, chain, key};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// After how many entries a checkpoint is signed, at the latest.
pub const CHECKPOINT_EVERY: u64 = 64;

/// How long to wait for other processes that add entries. SQLite's waiting isn't in turn: who comes by in a good moment is
/// first, so that on a slow disk it takes a while among many.
const PATIENCE: Duration = Duration::from_secs(30);

/// A journal in SQLite. Each process opens its own; several may be used at once.
pub struct Journal {
    path: PathBuf,
    id: Hash,
    /// Nothing where it was opened for reading only.
    key: Option<SigningKey>,
    /// The key that checkpoints should be of, as far as the state folder has one.
    public_key: Option<Hash>,
    /// Always there, until the value is dropped.
    connection: Option<SqliteConnection>,
    runtime: Runtime,
}

impl Journal {
    /// Where the journal of a state folder is.
    pub fn path_in(state_folder: &Path) -> PathBuf {
        state_folder.join("journal.sqlite")
    }

    /// Opens the journal of a state folder for adding to it. Folder, journal and key are made where they aren't there,
    /// readable by their owner only.
    ///
    /// # Errors
    /// A file that isn't a journal or is damaged, one of a later version, a key that isn't one, a full disk.
    pub fn open(state_folder: &Path) -> Result<Journal, StoreError> {
        let path = Journal::path_in(state_folder);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_folder)
            .map_err(|error| StoreError::from_io(&error, state_folder))?;
        let runtime = runtime(&path)?;
        if !path.exists() {
            runtime.block_on(make(state_folder, &path))?;
        }
        let (connection, id) = runtime.block_on(open(&path, false))?;
        let key = key::read_or_make(state_folder)?;
        let public_key = Some(Bytes(key.verifying_key().to_bytes()));
        Ok(Journal { path, id, key: Some(key), public_key, connection: Some(connection), runtime })
    }

    /// Opens the journal of a state folder for reading. Nothing is made.
    ///
    /// # Errors
    /// As [`Journal::open`], and where there is none.
    pub fn open_to_read(state_folder: &Path) -> Result<Journal, StoreError> {
        let path = Journal::path_in(state_folder);
        let runtime = runtime(&path)?;
        let (connection, id) = runtime.block_on(open(&path, true))?;
        let public_key = key::read(state_folder)?.map(|key| Bytes(key.verifying_key().to_bytes()));
        Ok(Journal { path, id, key: None, public_key, connection: Some(connection), runtime })
    }

    /// The public half of the state folder's key.
    pub fn public_key(&self) -> Option<Hash> {
        self.public_key
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// As [`Store::append_all`].
    pub fn append(&mut self, entry: NewEntry) -> Result<Appended, StoreError> {
        let appended = self.append_all(std::slice::from_ref(&entry))?;
        appended.into_iter().next().ok_or_else(|| self.damaged("an entry wasn't added"))
    }

    fn damaged(&self, reason: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// The parts that a transaction takes.
    fn parts(&mut self) -> Result<(&Runtime, &mut SqliteConnection, Writer<'_>), StoreError> {
        let path = self.path.as_path();
        let unusable =
            |reason: &str| StoreError::Unusable { path: path.to_owned(), reason: reason.to_owned() };
        let key = self.key.as_ref().ok_or_else(|| unusable("it was opened for reading only"))?;
        let connection = self.connection.as_mut().ok_or_else(|| unusable("it was closed"))?;
        Ok((&self.runtime, connection, Writer { path, id: self.id, key }))
    }

    /// Asks for rows and reads each.
    fn ask<T>(
        &mut self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        read: impl Fn(&sqlx::sqlite::SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let closed = || StoreError::Unusable { path: self.path.clone(), reason: "it was closed".to_owned() };
        let connection = self.connection.as_mut().ok_or_else(closed)?;
        let rows = self.runtime.block_on(query.fetch_all(connection));
        let read = rows.and_then(|rows| rows.iter().map(read).collect());
        read.map_err(|error| StoreError::from_sqlx(&error, &self.path))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Whoever comes next reads the log where it couldn't be closed.
            let _ = self.runtime.block_on(connection.close());
        }
    }
}

impl Store for Journal {
    fn id(&self) -> Hash {
        self.id
    }

    fn append_all(&mut self, entries: &[NewEntry]) -> Result<Vec<Appended>, StoreError> {
        let (runtime, connection, writer) = self.parts()?;
        runtime.block_on(writer.append_all(connection, entries))
    }

    fn entries_after(&mut self, sequence: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let query = sqlx::query("SELECT * FROM entry WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")
            .bind(rows::integer(sequence))
            .bind(i64::from(limit));
        self.ask(query, rows::entry)
    }

    fn add_checkpoint(&mut self, time: Timestamp) -> Result<Checkpoint, StoreError> {
        let (runtime, connection, writer) = self.parts()?;
        runtime.block_on(async {
            let failed = |error| StoreError::from_sqlx(&error, writer.path);
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
            let head = writer.head(&mut transaction).await?;
            let checkpoint = writer.sign(&mut transaction, &head, time).await?;
            transaction.commit().await.map_err(failed)?;
            Ok(checkpoint)
        })
    }

    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, StoreError> {
        self.ask(sqlx::query("SELECT * FROM checkpoint ORDER BY number"), rows::checkpoint)
    }

    fn faults(&mut self) -> Result<Vec<String>, StoreError> {
        let text = |row: &sqlx::sqlite::SqliteRow| row.try_get::<String, _>(0);
        // A handful says enough.
        let mut faults = self.ask(sqlx::query("PRAGMA integrity_check(8)"), text)?;
        faults.retain(|fault| fault != "ok");
        let schema = self.ask(sqlx::query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"), text)?;
        let there: BTreeSet<&str> = schema.iter().map(String::as_str).collect();
        let name = |statement: &str| statement.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        for statement in SCHEMA.iter().filter(|statement| !there.contains(*statement)) {
            faults.push(format!("it no longer has what `{}` made", name(statement)));
        }
        for statement in there.iter().filter(|statement| !SCHEMA.contains(statement)) {
            faults.push(format!("somebody added to it by `{}`", name(statement)));
        }
        Ok(faults)
    }
}

fn runtime(path: &Path) -> Result<Runtime, StoreError> {
    tokio::runtime::Builder::new_current_thread().build().map_err(|error| StoreError::from_io(&error, path))
}

/// What is needed to add to a journal.
struct Writer<'j> {
    path: &'j Path,
    id: Hash,
    key: &'j SigningKey,
}

/// How the journal ends at the beginning of a transaction.
struct Head {
    count: u64,
    hash: Hash,
    /// How many entries the last checkpoint counts.
    signed: u64,
}

impl Writer<'_> {
    fn failed(&self, error: &sqlx::Error) -> StoreError {
        StoreError::from_sqlx(error, self.path)
    }

    async fn append_all(
        &self,
        connection: &mut SqliteConnection,
        entries: &[NewEntry],
    ) -> Result<Vec<Appended>, StoreError> {
        // The lock for writing is taken at once: a lock for reading that turns into one can't be waited for.
        let begun = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(|error| self.failed(&error))?;
        let mut head = self.head(&mut transaction).await?;
        let mut appended = Vec::with_capacity(entries.len());
        let mut due = false;
        for new in entries {
            if let Some(known) = self.known(&mut transaction, new).await? {
                appended.push(Appended::Known(known));
                continue;
            }
            let entry = Entry::following(new, head.count.saturating_add(1), head.hash)?;
            insert(&mut transaction, &entry).await.map_err(|error| self.failed(&error))?;
            head = Head { count: entry.sequence, hash: entry.hash, ..head };
            due |= new.kind.ends_a_trial();
            appended.push(Appended::New(Box::new(entry)));
        }
        due |= head.count.saturating_sub(head.signed) >= CHECKPOINT_EVERY;
        if let Some(last) = entries.last().filter(|_| due) {
            self.sign(&mut transaction, &head, last.time).await?;
        }
        transaction.commit().await.map_err(|error| self.failed(&error))?;
        Ok(appended)
    }

    /// The entry that already tells what a new one is to tell.
    async fn known(
        &self,
        connection: &mut SqliteConnection,
        new: &NewEntry,
    ) -> Result<Option<u64>, StoreError> {
        let Some(source) = &new.source else { return Ok(None) };
        let row = sqlx::query("SELECT sequence FROM entry WHERE source = ?1")
            .bind(source)
            .fetch_optional(connection)
            .await
            .map_err(|error| self.failed(&error))?;
        let sequence = row.map(|row| rows::natural(&row, "sequence")).transpose();
        sequence.map_err(|error| self.failed(&error))
    }

    async fn head(&self, connection: &mut SqliteConnection) -> Result<Head, StoreError> {
        let read = async {
            let last = sqlx::query("SELECT sequence, hash FROM entry ORDER BY sequence DESC LIMIT 1");
            let last = last.fetch_optional(&mut *connection).await?;
            let signed = sqlx::query("SELECT count FROM checkpoint ORDER BY number DESC LIMIT 1");
            let signed = signed.fetch_optional(&mut *connection).await?;
            let signed = signed.map_or(Ok(0), |row| rows::natural(&row, "count"))?;
            Ok(match last {
                None => Head { count: 0, hash: chain::genesis(self.id), signed },
                Some(row) => {
                    Head { count: rows::natural(&row, "sequence")?, hash: rows::bytes(&row, "hash")?, signed }
                }
            })
        };
        read.await.map_err(|error| self.failed(&error))
    }

    async fn sign(
        &self,
        connection: &mut SqliteConnection,
        head: &Head,
        time: Timestamp,
    ) -> Result<Checkpoint, StoreError> {
        let checkpoint = Checkpoint::sign(self.key, self.id, head.count, head.hash, time);
        sqlx::query(
            "INSERT INTO checkpoint (number, journal, count, head, time, key, signature)
             VALUES ((SELECT coalesce(max(number), 0) + 1 FROM checkpoint), ?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(checkpoint.journal.0.as_slice())
        .bind(rows::integer(checkpoint.count))
        .bind(checkpoint.head.0.as_slice())
        .bind(checkpoint.time.as_microsecond())
        .bind(checkpoint.key.0.as_slice())
        .bind(checkpoint.signature.0.as_slice())
        .execute(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(checkpoint)
    }
}

async fn insert(connection: &mut SqliteConnection, entry: &Entry) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO entry (sequence, time, kind, trial, change, user, uid, session, process, generation, text, details,
                            source, previous, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )
    .bind(rows::integer(entry.sequence))
    .bind(entry.time.as_microsecond())
    .bind(&entry.kind)
    .bind(&entry.trial)
    .bind(&entry.change)
    .bind(&entry.actor.user)
    .bind(entry.actor.uid)
    .bind(&entry.actor.session)
    .bind(&entry.actor.process)
    .bind(&entry.generation)
    .bind(&entry.text)
    .bind(&entry.details)
    .bind(&entry.source)
    .bind(entry.previous.0.as_slice())
    .bind(entry.hash.0.as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

/// How the file is opened. What is committed is on the disk.
fn options(path: &Path) -> Result<SqliteConnectOptions, StoreError> {
    // Relative names could be taken for URIs.
    let absolute = std::path::absolute(path).map_err(|error| StoreError::from_io(&error, path))?;
    let options = SqliteConnectOptions::new()
        .filename(absolute)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging();
    Ok(options)
}

/// Makes a journal, complete before it has its name. Where several processes make one at once, the first one stays.
async fn make(folder: &Path, path: &Path) -> Result<(), StoreError> {
    let io = |error: &std::io::Error| StoreError::from_io(error, path);
    let file =
        tempfile::Builder::new().prefix(".journal.").tempfile_in(folder).map_err(|error| io(&error))?;
    let mut id = [0; 32];
    getrandom::fill(&mut id).map_err(|error| io(&std::io::Error::other(error)))?;
    let made = async {
        let mut connection = options(file.path())
            .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?
            .journal_mode(SqliteJournalMode::Delete)
            .connect()
            .await?;
        let mut transaction = connection.begin().await?;
        for statement in SCHEMA {
            transaction.execute(statement).await?;
        }
        sqlx::query("INSERT INTO journal (id) VALUES (?1)")
            .bind(id.as_slice())
            .execute(&mut *transaction)
            .await?;
        for (name, value) in [("application_id", APPLICATION_ID), ("user_version", FORMAT)] {
            transaction.execute(AssertSqlSafe(format!("PRAGMA {name} = {value}"))).await?;
        }
        transaction.commit().await?;
        // From here on it stays in this mode, whoever opens it.
        connection.execute("PRAGMA journal_mode = WAL").await?;
        connection.close().await
    };
    made.await.map_err(|error| StoreError::from_sqlx(&error, path))?;
    file.as_file().sync_all().map_err(|error| io(&error))?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io(&error)),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io(&error.error)),
    }
}

/// Opens a journal that is there, and reads its id.
async fn open(path: &Path, read_only: bool) -> Result<(SqliteConnection, Hash), StoreError> {
    let not_a_journal =
        |reason: &str| StoreError::NotAJournal { path: path.to_owned(), reason: reason.to_owned() };
    match fs::metadata(path) {
        Ok(file) if !file.is_file() => return Err(not_a_journal("it isn't a file")),
        Ok(file) if file.len() == 0 => return Err(not_a_journal("it is empty")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NoJournal(path.to_owned()));
        }
        Err(error) => return Err(StoreError::from_io(&error, path)),
    }
    let failed = |error| StoreError::from_sqlx(&error, path);
    let mut connection = options(path)?.read_only(read_only).connect().await.map_err(failed)?;
    let pragma = async |connection: &mut SqliteConnection, query: &'static str| {
        let row = sqlx::query(query).fetch_one(connection).await?;
        row.try_get::<i64, _>(0)
    };
    if pragma(&mut connection, "PRAGMA application_id").await.map_err(failed)? != APPLICATION_ID {
        return Err(not_a_journal("it is a database of something else"));
    }
    let found = pragma(&mut connection, "PRAGMA user_version").await.map_err(failed)?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if found < FORMAT {
        return Err(not_a_journal(&format!("there is no format {found}")));
    }
    let row =
        sqlx::query("SELECT id FROM journal LIMIT 1").fetch_one(&mut connection).await.map_err(failed)?;
    let id = rows::bytes(&row, "id").map_err(failed)?;
    Ok((connection, id))
}

#[cfg(test)]
#[path = "sqlite/tests.rs"]
mod tests;
