//! What goes wrong with a journal.

use crate::Invalid;
use std::path::{Path, PathBuf};

/// A journal can't be opened, read or added to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no journal.
    #[error("there is no journal at `{}`", .0.display())]
    NoJournal(PathBuf),
    /// The file is something else.
    #[error("`{}` isn't a journal of firewarden: {reason}", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// A later version wrote it.
    #[error("`{}` has format {found}, and this version of firewarden knows formats up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The last format that is known.
        known: i64,
    },
    /// The disk is full. Nothing was added.
    #[error("cannot add to the journal `{}`: the disk is full", .0.display())]
    Full(PathBuf),
    /// Another process kept it locked for too long.
    #[error("the journal `{}` is locked by another process", .0.display())]
    Busy(PathBuf),
    /// The file is damaged, or holds what can't be read.
    #[error("the journal `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// The key that signs checkpoints can't be used.
    #[error("cannot use the key of the journal `{}`: {reason}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system refused something.
    #[error("cannot use `{}`: {reason}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An entry isn't valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl StoreError {
    /// What SQLite or the library around it says about a file. Result codes: <https://sqlite.org/rescode.html>.
    pub(crate) fn from_sqlx(error: &sqlx::Error, path: &Path) -> StoreError {
        let path = path.to_owned();
        let extended = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        let reason = match error.as_database_error() {
            Some(error) => error.message().to_owned(),
            None => error.to_string(),
        };
        // The lowest byte is the primary code.
        match extended.map(|code| code & 0xff) {
            Some(5 | 6) => StoreError::Busy(path),
            Some(13) => StoreError::Full(path),
            Some(26) => StoreError::NotAJournal { path, reason: "it isn't an SQLite database".to_owned() },
            Some(3 | 8 | 10 | 14) => StoreError::Unusable { path, reason },
            Some(_) => StoreError::Damaged { path, reason },
            None => match error {
                sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Configuration(_) => {
                    StoreError::Unusable { path, reason }
                }
                _ => StoreError::Damaged { path, reason },
            },
        }
    }

    /// What the operating system says about a file.
    pub(crate) fn from_io(error: &std::io::Error, path: &Path) -> StoreError {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return StoreError::Full(path.to_owned());
        }
        StoreError::Unusable { path: path.to_owned(), reason: error.to_string() }
    }
}
