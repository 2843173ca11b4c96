//! The key that signs checkpoints: a file of its own, readable by its owner only.

use crate::{Hash, StoreError};
use ed25519_dalek::SigningKey;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// Where the key of a state folder is.
pub fn path(state_folder: &Path) -> PathBuf {
    state_folder.join("keys").join("journal.key")
}

/// The key of a state folder, if it has one.
///
/// # Errors
/// A file that holds no key, or that others than its owner may read or write.
pub fn read(state_folder: &Path) -> Result<Option<SigningKey>, StoreError> {
    let path = path(state_folder);
    let unusable = |reason: &str| StoreError::Key { path: path.clone(), reason: reason.to_owned() };
    let mode = match fs::metadata(&path) {
        Ok(metadata) => metadata.mode(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(&error.to_string())),
    };
    if mode & OTHERS != 0 {
        return Err(unusable(&format!("its mode is {:o}, which lets others at it", mode & 0o7777)));
    }
    let text = fs::read_to_string(&path).map_err(|error| unusable(&error.to_string()))?;
    let secret: Hash = text.trim_end().parse().map_err(|_| unusable("it isn't 64 hexadecimal digits"))?;
    Ok(Some(SigningKey::from_bytes(&secret.0)))
}

/// The key of a state folder, which is made where there is none. Of several processes that make one at once, all get the
/// same.
///
/// # Errors
/// As [`read`], and where the folder can't be written to.
pub fn read_or_make(state_folder: &Path) -> Result<SigningKey, StoreError> {
    if let Some(key) = read(state_folder)? {
        return Ok(key);
    }
    let path = path(state_folder);
    make(&path).map_err(|error| match StoreError::from_io(&error, &path) {
        full @ StoreError::Full(_) => full,
        _ => StoreError::Key { path: path.clone(), reason: error.to_string() },
    })?;
    read(state_folder)?.ok_or_else(|| StoreError::Key { path, reason: "it was taken away".to_owned() })
}

/// Writes a new key, complete and durable before it has its name.
fn make(path: &Path) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", Hash::from(secret))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(folder)?.sync_all(),
        // Another process was faster.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}
