//! The folder of a trial: everything that it needs, on disk before anything changes.

use super::client::{Change, ClientError, REQUEST_BYTES, REQUESTS};
use super::folder::{Home, Job, Settling, StagedFile, Terms, read_terms, script};
use super::process::INVERSE;
use super::{files, keep, raw, slots, work};
use crate::direct;
use crate::state::State;
use firewarden_change::plan::{Inverse, Script, Switch};
use std::io;
use std::path::{Path, PathBuf};

/// The most digits that a handle has.
const HANDLE_DIGITS: usize = 20;
/// Room for confirmed rules, beside what is known of them beforehand, in bytes.
const SPARE_ROOM: usize = 1 << 20;

/// Writes all that a trial needs into a new folder, durably.
pub(super) fn prepare(folder: &Path, change: Change, id: &str) -> Result<(), ClientError> {
    let failed = |path: &Path, error| ClientError::Write { path: path.to_path_buf(), error };
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        files::write_new(&path, content).map_err(|error| failed(&path, error))
    };
    files::make_folder(folder).map_err(|error| failed(folder, error))?;
    let mut room = SPARE_ROOM;
    let (terms, persist) = match change {
        Change::Plan { plan, before } => {
            put("plan.json", plan.write().as_bytes())?;
            for (direction, scripts) in [("forward", &plan.forward), ("rollback", &plan.rollback)] {
                for (index, Script { text, .. }) in scripts.iter().enumerate() {
                    let path = script(folder, direction, index);
                    files::write_new(&path, text.as_bytes()).map_err(|error| failed(&path, error))?;
                    room += text.len();
                }
            }
            let direct = direct::compile(&plan.forward);
            let own = direct.iter().flatten().count() * raw::ROOM;
            put(INVERSE, &files::reserved(inverse_room(&plan.inverse).max(own)))?;
            room += before.map_or(0, |state| state.nft.len() + state.iptables.len() + state.ip6tables.len());
            let terms = Terms {
                id: id.to_owned(),
                session: crate::actor::Actor::current().connection,
                window_milliseconds: u64::from(plan.window_seconds) * 1000,
                before: plan.parent.ruleset.clone(),
                parts: before.map(State::parts).or_else(|| Some(plan.parent.parts.clone())),
                job: Job::Plan {
                    hash: plan.hash(),
                    parent: Box::new(plan.parent.clone()),
                    result: plan.result.clone(),
                    parts: plan.parts.clone(),
                    forward: plan.forward.iter().map(|script| script.loader).collect(),
                    direct,
                    rollback: plan.rollback.iter().map(|script| script.loader).collect(),
                    inverse: plan.inverse.clone(),
                    settle: match &plan.switch {
                        Switch::Kernel { staged, parts, settle } => Some(Box::new(Settling {
                            staged: staged.clone(),
                            parts: parts.clone(),
                            steps: settle.clone(),
                        })),
                        Switch::Guard(_) => None,
                    },
                    persist: None,
                },
            };
            (terms, plan.persist.as_ref())
        }
        Change::Command { words, window, before } => {
            let path = folder.join("before");
            let source = keep::Source { trial: id, plan: None, touched: None };
            keep::write_ruleset(&path, before, source).map_err(|error| failed(&path, error))?;
            room += before.nft.len() + before.iptables.len() + before.ip6tables.len();
            let terms = Terms {
                id: id.to_owned(),
                session: crate::actor::Actor::current().connection,
                window_milliseconds: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
                before: before.digest(),
                parts: Some(before.parts()),
                job: Job::Command { words: words.to_vec() },
            };
            (terms, None)
        }
    };
    for (_, spare) in REQUESTS {
        put(spare, &vec![b' '; REQUEST_BYTES])?;
    }
    put("reserve", &vec![b' '; room])?;
    if matches!(change, Change::Command { .. }) {
        put(work::FILE, &files::reserved(work::ROOM))?;
        work::announce(folder).map_err(|error| failed(&folder.join(work::FILE), error))?;
    }
    put("lock", b"")?;
    put("guard.log", b"")?;
    put("state", &slots::empty())?;
    let mut terms = terms;
    if let (Some(persist), Job::Plan { persist: staged, .. }) = (persist, &mut terms.job) {
        let path = PathBuf::from(&persist.path);
        *staged = Some(Box::new(keep::plan_file(persist, id).map_err(|error| failed(&path, error))?));
    }
    // First where the file will be, then the file: whoever cleans up knows of it.
    put("terms.json", &serde_json::to_vec_pretty(&terms).unwrap_or_default())?;
    files::sync_folder(folder).map_err(|error| failed(folder, error))?;
    if let (Some(persist), Some(file)) = (persist, staged(&terms)) {
        keep::stage_file(file, &persist.text).map_err(|error| failed(&file.path, error))?;
    }
    Ok(())
}

/// The file for the next boot.
pub(super) fn staged(terms: &Terms) -> Option<&StagedFile> {
    match &terms.job {
        Job::Plan { persist, .. } => persist.as_deref(),
        Job::Command { .. } => None,
    }
}

/// Removes a trial's folder that no guard knows of, and the file that waits for the next boot.
pub(super) fn remove(home: &Home, folder: &Path) -> io::Result<()> {
    let terms = read_terms(folder).ok();
    keep::discard(home.path(), terms.as_ref().and_then(staged))?;
    files::remove_folder(folder)
}

/// The room that the script of the quick way back may need, in bytes.
fn inverse_room(steps: &[Inverse]) -> usize {
    let step = |step: &Inverse| match step {
        Inverse::Command(command) => command.len() + 1 + raw::ROOM * command.lines().count(),
        Inverse::DeleteRule { family, table, chain, .. } => {
            let script =
                family.len() + table.len() + chain.len() + HANDLE_DIGITS + "delete rule    handle \n".len();
            script + raw::ROOM
        }
    };
    steps.iter().map(step).sum()
}
