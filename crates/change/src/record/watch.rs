//! The hash watch: a tracked file holds what some applied change says, or it was changed past the records.

use super::{Change, Status};
use std::collections::BTreeMap;

/// A tracked file that holds something else than any applied change says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrecorded {
    /// As the stack file names it.
    pub path: String,
    /// SHA-256 of what it holds now; `None` where it is gone.
    pub sha256: Option<String>,
    /// The last change that speaks of it and is in, where there is one.
    pub last: Option<String>,
}

/// Compares tracked files with the changes: `files` gives the present hash of each by its path. A file holds what a change
/// that is in brought about, or, where one was reverted, what it had before; anything else is told. A file that no change
/// speaks of is told as well. O(files × changes).
pub fn unrecorded(files: &BTreeMap<String, Option<String>>, changes: &[Change]) -> Vec<Unrecorded> {
    let mut found = Vec::new();
    for (path, now) in files {
        let (mut known, mut last) = (false, None);
        for change in changes {
            let Some(file) = change.record.files.iter().find(|file| file.path == *path) else { continue };
            match change.outcome() {
                Some(Status::Confirmed | Status::Applied) => {
                    known |= file.sha256 == *now;
                    last = Some(change.record.id.clone());
                }
                Some(Status::Reverted) => known |= file.before == *now,
                _ => {}
            }
        }
        if !known {
            found.push(Unrecorded { path: path.clone(), sha256: now.clone(), last });
        }
    }
    found
}
