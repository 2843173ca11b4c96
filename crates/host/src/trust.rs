//! Whether a file's content is root's word: nobody else could have written it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The bits of a file's mode that let others than its owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The bit of a folder's mode that lets only owners remove and rename.
const STICKY: u32 = 0o1000;

/// Why a file isn't root's word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It isn't there.
    #[error("there is no `{}`", .0.display())]
    Missing(PathBuf),
    /// It can't be looked at.
    #[error("`{}` can't be read: {words}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// The system's words.
        words: String,
    },
    /// It is no plain file.
    #[error("`{}` is no plain file", .0.display())]
    NoFile(PathBuf),
    /// Somebody else owns it, or a folder on the way to it.
    #[error("`{}` belongs to the user {uid}, not to root", path.display())]
    Owner {
        /// What.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// Others may write to it, or to a folder on the way to it.
    #[error("others than root may write to `{}`", .0.display())]
    Writable(PathBuf),
}

/// Whether only root can have written a file: it and every folder on the way to it belong to root, and no other user may
/// write there. The file itself must not be a link; folders on the way are looked at where they really are.
///
/// # Errors
/// [`Distrust`]: the first reason against it, from the file upwards.
pub fn only_root_writes(path: &Path) -> Result<(), Distrust> {
    let unreadable = |path: &Path, error: &std::io::Error| Distrust::Unreadable {
        path: path.to_path_buf(),
        words: error.to_string(),
    };
    let entry = match path.symlink_metadata() {
        Ok(entry) => entry,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Distrust::Missing(path.to_path_buf()));
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    if !entry.is_file() {
        return Err(Distrust::NoFile(path.to_path_buf()));
    }
    let real = path.canonicalize().map_err(|error| unreadable(path, &error))?;
    for part in real.ancestors() {
        let entry = part.symlink_metadata().map_err(|error| unreadable(part, &error))?;
        if entry.uid() != 0 {
            return Err(Distrust::Owner { path: part.to_path_buf(), uid: entry.uid() });
        }
        // In a folder like /tmp, others can't touch what is root's.
        let shared = entry.is_dir() && entry.mode() & STICKY != 0;
        if entry.mode() & WRITABLE_BY_OTHERS != 0 && !shared {
            return Err(Distrust::Writable(part.to_path_buf()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_roots_word_only_where_nobody_else_writes() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("etc");
        std::fs::create_dir(&inner).unwrap();
        let file = inner.join("allowed_signers");
        assert_eq!(only_root_writes(&file), Err(Distrust::Missing(file.clone())));
        std::fs::write(&file, "").unwrap();
        if !nix::unistd::Uid::effective().is_root() {
            let found = only_root_writes(&file);
            assert!(matches!(found, Err(Distrust::Owner { .. })), "{found:?}");
            eprintln!("skipped the rest: it needs files of root");
            return;
        }
        mode(&inner, 0o755);
        mode(&file, 0o644);
        assert_eq!(only_root_writes(&file), Ok(()));
        for bits in [0o664, 0o646, 0o666] {
            mode(&file, bits);
            assert_eq!(only_root_writes(&file), Err(Distrust::Writable(file.clone())), "{bits:o}");
        }
        mode(&file, 0o644);
        mode(&inner, 0o777);
        assert_eq!(only_root_writes(&file), Err(Distrust::Writable(inner.clone())));
        mode(&inner, 0o755);
        chown(&file, Some(12345), None).unwrap();
        assert_eq!(only_root_writes(&file), Err(Distrust::Owner { path: file.clone(), uid: 12345 }));
        chown(&file, Some(0), None).unwrap();
        chown(&inner, Some(12345), None).unwrap();
        assert_eq!(only_root_writes(&file), Err(Distrust::Owner { path: inner.clone(), uid: 12345 }));
        chown(&inner, Some(0), None).unwrap();
        // Whoever may place a link could have chosen what it leads to.
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(only_root_writes(&link), Err(Distrust::NoFile(link)));
        assert_eq!(only_root_writes(&inner), Err(Distrust::NoFile(inner)));
    }
}
