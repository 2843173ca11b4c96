//! What happens when the system starts: the rules that were confirmed last are loaded, never pending ones.

use super::folder::Home;
use super::loader::{Input, PATIENCE, load};
use super::process::finish;
use super::{client, clock, keep};
use crate::state::restore::{Others, scripts};
use crate::state::{State, StateError};
use firewarden_change::trial::Record;
use std::fs::File;
use std::io;

pub use super::keep::Manifest;

/// Why the confirmed rules aren't loaded.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A trial is on, and its guard lives.
    #[error("a change is on trial, and its guard lives: {0}")]
    Guarded(String),
    /// What the state folder says can't be read or written.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// The pending trial can't be ended.
    #[error("the change on trial cannot be ended: {0}")]
    Trial(io::Error),
    /// The confirmed rules can't be read.
    #[error("the confirmed rules cannot be read: {0}")]
    Confirmed(io::Error),
    /// The kernel's rules can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A loader refused the confirmed rules, or the kernel doesn't hold them then.
    #[error("the confirmed rules could not be loaded: {0}")]
    Load(String),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// How the trial ended that was pending, where there was one.
    pub trial: Option<Record>,
    /// Why that trial could not be ended.
    pub trouble: Option<String>,
    /// The digest of the confirmed rules; `None` where none were ever confirmed, and nothing was loaded.
    pub confirmed: Option<String>,
    /// Whether anything had to be loaded.
    pub loaded: bool,
    /// Tables that the kernel holds beside the confirmed ones. They are left alone.
    pub others: Vec<String>,
}

/// The rules that were confirmed last, and where they come from.
///
/// # Errors
/// The system's, or a file that was changed since.
pub fn confirmed(home: &Home) -> io::Result<Option<(Manifest, State)>> {
    match keep::read_ruleset(&keep::confirmed_folder(home.path())) {
        Ok(ruleset) => Ok(Some(ruleset)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Which of the confirmed rules are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The tables that confirmed changes have touched: at boot, those of Docker and others are theirs to make.
    Touched,
    /// Every table that the kernel held when they were confirmed.
    Whole,
}

/// Ends a trial that was pending, and loads the rules that were confirmed last where the kernel doesn't hold them. Tables
/// that these don't have are left alone. Must be called on the main thread.
///
/// # Errors
/// [`RecoverError`].
pub fn recover(home: &Home, extent: Extent) -> Result<Recovered, RecoverError> {
    let (trial, trouble) = match end_pending(home) {
        Ok(trial) => (trial, None),
        Err(guarded @ RecoverError::Guarded(_)) => return Err(guarded),
        // Whatever became of the trial: a host that starts needs its rules.
        Err(error) => (None, Some(error.to_string())),
    };
    let Some((manifest, wanted)) = confirmed(home).map_err(RecoverError::Confirmed)? else {
        return Ok(Recovered { trial, trouble, confirmed: None, loaded: false, others: Vec::new() });
    };
    let wanted = match (extent, &manifest.touched) {
        (Extent::Touched, Some(touched)) => wanted.only(touched),
        _ => wanted,
    };
    let now = State::read()?;
    let scripts = scripts(&wanted, &now, Others::Keep);
    let loaded = !scripts.is_empty();
    let lock = File::open(home.path()).map_err(RecoverError::Confirmed)?;
    let until = clock::since_boot().saturating_add(PATIENCE);
    for script in &scripts {
        load(script.loader, Input::Text(&script.text), &lock, until).map_err(RecoverError::Load)?;
    }
    let (parts, held) = (wanted.parts(), State::read()?.parts());
    let missing: Vec<&str> = parts
        .iter()
        .filter(|(name, digest)| held.get(*name) != Some(digest))
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        let words = format!("the kernel holds something else in {}", missing.join(", "));
        return Err(RecoverError::Load(words));
    }
    let others = held.into_keys().filter(|name| !parts.contains_key(name)).collect();
    Ok(Recovered { trial, trouble, confirmed: Some(manifest.ruleset), loaded, others })
}

/// Ends a trial that was pending; gives how.
fn end_pending(home: &Home) -> Result<Option<Record>, RecoverError> {
    let Some(status) = client::status(home)?.filter(|status| !status.is_done()) else { return Ok(None) };
    if status.guarded {
        return Err(RecoverError::Guarded(status.terms.id));
    }
    let clients = client::lock(home)?;
    let unarmed = client::discard_unarmed(home, &status)?;
    drop(clients);
    if unarmed {
        return Ok(None);
    }
    // After a reboot this only writes down what is so; otherwise it is what a standby would do.
    finish(&home.trial()).map_err(RecoverError::Trial)?;
    Ok(client::status(home)?.and_then(|status| status.record))
}
