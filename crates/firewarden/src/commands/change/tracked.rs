//! Tracked files: what they hold, as hashes.

use super::{Stopped, stop};
use firewarden_change::record::{FileRef, sha256};
use firewarden_verify::stack::StackFile;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// The hashes of the tracked files of a stack by their paths, as the stack file writes them; `None` where one is missing.
/// Paths are relative to the folder of the stack file.
pub fn hashes(stack: &StackFile, folder: &Path) -> Result<BTreeMap<String, Option<String>>, Stopped> {
    let mut found = BTreeMap::new();
    for tracked in &stack.tracked {
        let path = folder.join(&tracked.value);
        let hash = match std::fs::read(&path) {
            Ok(bytes) => Some(sha256(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(stop(
                    "tracked-file",
                    format!("the tracked file `{}` can't be read: {error}", path.display()),
                    "track plain files that you may read, each by its own name",
                ));
            }
        };
        found.insert(tracked.value.clone(), hash);
    }
    Ok(found)
}

/// The tracked files that differ.
pub fn changed(
    before: &BTreeMap<String, Option<String>>,
    after: &BTreeMap<String, Option<String>>,
) -> Vec<FileRef> {
    let mut files = Vec::new();
    for (path, sha256) in after {
        let was = before.get(path).cloned().flatten();
        if was != *sha256 {
            files.push(FileRef { path: path.clone(), before: was, sha256: sha256.clone() });
        }
    }
    files
}
