//! The state folder, and what a trial's folder says of its trial.

use super::files;
use crate::kernel::RuleEdit;
use firewarden_change::plan::{Inverse, Loader, Parent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder that Firewarden keeps its state of this host in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

/// Why a state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It can't be made.
    #[error("the state folder `{path}` cannot be made: {error}")]
    Make {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Somebody else could put words into the guard's ears there.
    #[error("the state folder `{0}` can be written by others than its owner")]
    Open(PathBuf),
}

impl Home {
    /// A folder, made where it isn't there, for its owner only.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn open(path: &Path) -> Result<Home, HomeError> {
        let failed = |error| HomeError::Make { path: path.to_path_buf(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let entry = path.metadata().map_err(failed)?;
        let is_own = entry.uid() == nix::unistd::Uid::effective().as_raw();
        if !is_own || entry.permissions().mode() & 0o022 != 0 {
            return Err(HomeError::Open(path));
        }
        Ok(Home(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of the trial that is on, or ended last.
    pub fn trial(&self) -> PathBuf {
        self.0.join("trial")
    }

    /// The folder of a trial that was archived.
    pub fn archived(&self, id: &str) -> PathBuf {
        self.0.join("trials").join(id)
    }

    /// Keeps other clients out, as long as the file lives.
    pub(super) fn lock(&self) -> io::Result<File> {
        let file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.0.join("lock"))?;
        file.lock()?;
        Ok(file)
    }
}

/// What a trial is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What names it.
    pub id: String,
    /// The ssh connection of whoever began it, where there is one: older than the new rules.
    pub session: Option<String>,
    /// How long the new rules may last unconfirmed, in milliseconds.
    pub window_milliseconds: u64,
    /// SHA-256 of the canonical text of the rules from before.
    pub before: String,
    /// The digest of each table from before, where it is known.
    pub parts: Option<BTreeMap<String, String>>,
    /// What is changed.
    pub job: Job,
}

/// What is changed in a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// A plan is carried out (`plan.json`).
    Plan {
        /// Its hash.
        hash: String,
        /// What it was made from.
        parent: Box<Parent>,
        /// The digest of the rules afterwards.
        result: String,
        /// The digest of each table afterwards.
        parts: BTreeMap<String, String>,
        /// The programs that load the forward scripts.
        forward: Vec<Loader>,
        /// The same in the kernel's own bytes, where that is possible: then it is tried first, and only on the very
        /// generation that the rules from before were seen at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direct: Option<Vec<RuleEdit>>,
        /// The programs that load the whole way back.
        rollback: Vec<Loader>,
        /// The quick way back.
        inverse: Vec<Inverse>,
        /// How the new rules take the place of the old ones, where the kernel holds both.
        settle: Option<Box<Settling>>,
        /// The file for the next boot.
        persist: Option<Box<StagedFile>>,
    },
    /// Somebody runs a command.
    Command {
        /// The command and its arguments.
        words: Vec<String>,
    },
}

/// What ends a trial that the kernel holds the way back of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settling {
    /// The digest of old and new rules side by side.
    pub staged: String,
    /// The digest of each table with both.
    pub parts: BTreeMap<String, String>,
    /// What leaves only the new ones.
    pub steps: Vec<Inverse>,
}

/// A file that is written already, beside the one whose place it will take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// What it will be.
    pub path: PathBuf,
    /// Where it is now.
    pub staged: PathBuf,
    /// SHA-256 of its content.
    pub digest: String,
}

/// A new name for a trial, from the time.
pub fn trial_name(now: &str, salt: u64) -> String {
    let digits: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{digits}-{:08x}", salt & 0xFFFF_FFFF)
}

/// The path of a script.
pub(super) fn script(folder: &Path, direction: &str, index: usize) -> PathBuf {
    folder.join(format!("{direction}.{index}"))
}

/// Reads what a trial is about.
pub(super) fn read_terms(folder: &Path) -> io::Result<Terms> {
    let text = fs::read(folder.join("terms.json"))?;
    serde_json::from_slice(&text).map_err(io::Error::from)
}

/// Moves the folder of a trial that is over to the others.
pub(super) fn archive(home: &Home, id: &str) -> io::Result<()> {
    let all = home.path().join("trials");
    if !all.exists() {
        files::make_folder(&all)?;
    }
    fs::rename(home.trial(), home.archived(id))?;
    files::sync_folder(&all)?;
    files::sync_folder(home.path())
}
