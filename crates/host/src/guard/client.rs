//! What the operator's program does: it arms a guard, asks it for things, and looks at what it says.

use super::folder::{self, Home, Terms, read_terms};
use super::launch::{Launcher, spawn};
use super::prepare::{prepare, remove, staged};
use super::{clock, files, keep, slots};
use crate::state::State;
use firewarden_change::plan::Plan;
use firewarden_change::trial::{Asker, Record};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The files of requests, in the order that they count in if there are several, with the files that wait to become one.
/// These have their room on the disk already.
pub(super) const REQUESTS: [(&str, &str); 3] = [
    ("revert.request", "revert.spare"),
    ("abandon.request", "abandon.spare"),
    ("confirm.request", "confirm.spare"),
];
/// Room for a request.
pub(super) const REQUEST_BYTES: usize = 4096;
/// How long a guard may take to stand.
const ARMING: Duration = Duration::from_secs(10);
/// How often somebody who waits looks at the state.
const GLANCE: Duration = Duration::from_millis(10);
/// What is changed.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The guard carries out a plan.
    Plan {
        /// The plan.
        plan: &'a Plan,
        /// The rules that the kernel holds, where they were read anyway. With them, what others do to tables that the plan
        /// doesn't touch is told from what is done to its own.
        before: Option<&'a State>,
    },
    /// Somebody else runs a command once the guard is armed ([`firewarden_change::trial::Phase::Applied`]).
    Command {
        /// The command, for people.
        words: &'a [String],
        /// How long what it does may last unconfirmed.
        window: Duration,
        /// The rules to go back to: what the kernel holds now.
        before: &'a State,
    },
}

/// Why a trial doesn't begin, or can't be asked for something.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Another trial is on.
    #[error("another change is on trial already: {0}")]
    Busy(String),
    /// No trial is on.
    #[error("no change is on trial")]
    Idle,
    /// Something can't be written that has to be there before anything changes.
    #[error("`{path}` cannot be written: {error}")]
    Write {
        /// What.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// What the trial's folder says can't be read.
    #[error("`{path}` cannot be read: {error}")]
    Read {
        /// What.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The guard doesn't start.
    #[error("the guard cannot be started: {0}")]
    Spawn(String),
    /// The guard was started and didn't say that it stands.
    #[error("the guard did not stand within {} seconds, and was told to go back", ARMING.as_secs())]
    Silent,
    /// The plan changes nothing.
    #[error("the plan changes nothing")]
    Nothing,
}

/// What is known of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is about.
    pub terms: Terms,
    /// What the guard saved last; `None` before it stands.
    pub record: Option<Record>,
    /// Whether a guard lives.
    pub guarded: bool,
    /// How long until the deadline; zero after it, and after a reboot.
    pub left: Duration,
}

impl Status {
    /// Whether nothing comes any more.
    pub fn is_done(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.phase.is_done())
    }
}

/// What somebody asks of the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Keep the new rules.
    Confirm {
        /// The digest of the rules that were looked at, where only these are to be kept.
        ruleset: Option<String>,
    },
    /// Go back to the old ones.
    Revert,
    /// Give up going back, where the trial is stuck.
    Abandon,
}

/// The content of a request's file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestFile {
    pub asker: Asker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruleset: Option<String>,
}

/// Writes the trial's folder and starts its guard, then waits until that stands. Nothing in the kernel changes before
/// everything that the way back needs is on disk. A trial that is over is archived first.
///
/// # Errors
/// [`ClientError`]; then nothing was changed, or it is being taken back.
pub fn start(home: &Home, change: Change, id: &str, launcher: &Launcher) -> Result<Status, ClientError> {
    let write = |path: &Path| {
        let path = path.to_path_buf();
        move |error| ClientError::Write { path: path.clone(), error }
    };
    let _clients = lock(home)?;
    if let Some(status) = status(home)? {
        if status.is_done() {
            folder::archive(home, &status.terms.id).map_err(write(&home.path().join("trials")))?;
        } else if status.guarded || !discard_unarmed(home, &status)? {
            return Err(ClientError::Busy(status.terms.id));
        }
    }
    if let Change::Plan { plan, .. } = change
        && plan.result == plan.parent.ruleset
    {
        return Err(ClientError::Nothing);
    }
    let fresh = home.path().join("trial.new");
    remove(home, &fresh).map_err(write(&fresh))?;
    prepare(&fresh, change, id).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = remove(home, &fresh);
    })?;
    let placed = fs::rename(&fresh, home.trial()).and_then(|()| files::sync_folder(home.path()));
    let spawned = placed.map_err(write(&home.trial())).and_then(|()| spawn(&home.trial(), launcher));
    if let Err(error) = spawned {
        // No guard, no trial.
        let _ = remove(home, &fresh).and_then(|()| remove(home, &home.trial()));
        return Err(error);
    }
    let until = Instant::now() + ARMING;
    loop {
        if let Some(status) = status(home)?.filter(|status| status.record.is_some()) {
            return Ok(status);
        }
        if Instant::now() > until {
            let asker = Asker::new("firewarden", "", "the guard did not stand in time");
            ask(home, &Wish::Revert, asker)?;
            return Err(ClientError::Silent);
        }
        sleep(GLANCE);
    }
}

/// What is known of the trial that is on or ended last; `None` where there is none.
///
/// # Errors
/// [`ClientError::Read`].
pub fn status(home: &Home) -> Result<Option<Status>, ClientError> {
    let folder = home.trial();
    if !folder.exists() {
        return Ok(None);
    }
    let failed = |name: &str| {
        let path = folder.join(name);
        move |error| ClientError::Read { path: path.clone(), error }
    };
    let terms = read_terms(&folder).map_err(failed("terms.json"))?;
    let record = slots::read(&folder.join("state")).map_err(failed("state"))?;
    let guarded = match File::open(folder.join("lock")).map_err(failed("lock"))?.try_lock() {
        Ok(()) => false,
        Err(fs::TryLockError::WouldBlock) => true,
        Err(fs::TryLockError::Error(error)) => return Err(failed("lock")(error)),
    };
    let deadline = record.as_ref().map_or(0, |record| {
        let is_now = clock::boot_id().is_ok_and(|boot_id| boot_id == record.boot_id);
        if is_now { record.deadline } else { 0 }
    });
    let left = Duration::from_millis(deadline.saturating_sub(clock::since_boot()));
    Ok(Some(Status { terms, record, guarded, left }))
}

/// Asks the guard for something. It answers by what it saves ([`wait_for`]): a confirmation that it can't follow stands in
/// the record's `note`.
///
/// # Errors
/// [`ClientError`].
pub fn ask(home: &Home, wish: &Wish, asker: Asker) -> Result<(), ClientError> {
    let folder = home.trial();
    if !folder.exists() {
        return Err(ClientError::Idle);
    }
    let (index, ruleset) = match wish {
        Wish::Revert => (0, None),
        Wish::Abandon => (1, None),
        Wish::Confirm { ruleset } => (2, ruleset.clone()),
    };
    let [(request, spare), ..] = REQUESTS.split_at(index).1 else { return Err(ClientError::Idle) };
    let own = folder.join(format!("{request}.{}", std::process::id()));
    let place = || -> io::Result<()> {
        let mut text = serde_json::to_vec(&RequestFile { asker, ruleset })?;
        text.resize(text.len().max(REQUEST_BYTES), b' ');
        // Only one can have the spare file; others need room.
        if fs::rename(folder.join(spare), &own).is_ok() {
            let file = OpenOptions::new().write(true).open(&own)?;
            std::os::unix::fs::FileExt::write_all_at(&file, &text, 0)?;
            file.sync_data()?;
        } else {
            files::remove_file(&own)?;
            files::write_new(&own, &text)?;
        }
        fs::rename(&own, folder.join(request))
    };
    place().map_err(|error| ClientError::Write { path: folder.join(request), error })
}

/// Waits until the trial's record is one that is waited for, or the time is over; gives the last one there was.
///
/// # Errors
/// [`ClientError`].
pub fn wait_for(
    home: &Home,
    patience: Duration,
    mut wanted: impl FnMut(&Record) -> bool,
) -> Result<Option<Record>, ClientError> {
    let until = Instant::now() + patience;
    let path = home.trial().join("state");
    loop {
        let record = slots::read(&path).map_err(|error| ClientError::Read { path: path.clone(), error })?;
        if record.as_ref().is_some_and(&mut wanted) || Instant::now() > until {
            return Ok(record);
        }
        sleep(GLANCE);
    }
}

/// What [`take_over`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenOver {
    /// There is no trial, or it is over, or its guard lives.
    Nothing,
    /// The guards of a trial were all dead, and a new one was started.
    Guard,
    /// The client died before the guard stood. Nothing was changed, and the trial's folder went to the others.
    Discarded,
}

/// Looks after a trial whose guards are all dead: what every client does first.
///
/// # Errors
/// [`ClientError`].
pub fn take_over(home: &Home, launcher: &Launcher) -> Result<TakenOver, ClientError> {
    let _clients = lock(home)?;
    match status(home)? {
        Some(status) if status.guarded || status.is_done() => Ok(TakenOver::Nothing),
        Some(status) if discard_unarmed(home, &status)? => Ok(TakenOver::Discarded),
        Some(_) => spawn(&home.trial(), launcher).map(|()| TakenOver::Guard),
        None => Ok(TakenOver::Nothing),
    }
}

/// Puts a trial aside that never had a guard. The caller keeps other clients out.
pub(super) fn discard_unarmed(home: &Home, status: &Status) -> Result<bool, ClientError> {
    let failed = |error| ClientError::Write { path: home.trial(), error };
    let guards = File::open(home.trial().join("lock")).map_err(failed)?;
    if status.record.is_some() || guards.try_lock().is_err() {
        return Ok(false);
    }
    // A guard that still comes finds that the lock isn't that of a trial which is on.
    keep::discard(home.path(), staged(&status.terms))
        .and_then(|()| folder::archive(home, &status.terms.id))
        .map_err(failed)?;
    Ok(true)
}

/// Keeps other clients out.
pub(super) fn lock(home: &Home) -> Result<File, ClientError> {
    home.lock().map_err(|error| ClientError::Write { path: home.path().join("lock"), error })
}

/// Puts a trial that is over with the others; gives its name and where it is now.
///
/// # Errors
/// [`ClientError`]; one that isn't over stays.
pub fn archive(home: &Home) -> Result<(String, PathBuf), ClientError> {
    let _clients =
        home.lock().map_err(|error| ClientError::Write { path: home.path().join("lock"), error })?;
    let status = status(home)?.ok_or(ClientError::Idle)?;
    if !status.is_done() {
        return Err(ClientError::Busy(status.terms.id));
    }
    let id = status.terms.id;
    folder::archive(home, &id)
        .map_err(|error| ClientError::Write { path: home.path().join("trials"), error })?;
    let path = home.archived(&id);
    Ok((id, path))
}
