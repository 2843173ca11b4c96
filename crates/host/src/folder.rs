//! Folders of small files that other users may write to: reading without being led elsewhere, writing without halves.
//!
//! Whoever runs as root reads change records from a checkout that belongs to somebody else. A link in it must not make root
//! read or write another file, and a pipe must not make it wait.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why a folder or a file in it can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// It isn't there.
    #[error("there is no `{}`", .0.display())]
    Missing(PathBuf),
    /// It is there already.
    #[error("`{}` is there already", .0.display())]
    Present(PathBuf),
    /// It is a link, a device or a pipe.
    #[error("`{}` is no plain file or folder", .0.display())]
    Special(PathBuf),
    /// It is too large.
    #[error("`{}` is larger than {most} bytes", path.display())]
    TooLarge {
        /// What.
        path: PathBuf,
        /// The limit in bytes.
        most: u64,
    },
    /// A file isn't UTF-8, or a name isn't.
    #[error("`{}` is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// Whatever else the system says.
    #[error("`{}` can't be used: {words}", path.display())]
    System {
        /// What.
        path: PathBuf,
        /// The system's words.
        words: String,
    },
}

/// An open folder. Everything in it is reached from it, and no name in it is followed if it is a link.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// Keeps others who ask for it out of a folder while it lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held")] Flock<OwnedFd>);

const OF_FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// A pipe is opened without waiting for its other end.
const OF_FILE: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens a folder; links on the way to it are followed, it must not be one itself.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Folder, FolderError> {
        let fd = openat(AT_FDCWD, path, OF_FOLDER, Mode::empty()).map_err(|errno| failed(path, errno))?;
        Ok(Folder { fd, path: path.to_path_buf() })
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn folder(&self, name: &str) -> Result<Folder, FolderError> {
        let path = self.place(name)?;
        let fd =
            openat(self.fd.as_fd(), name, OF_FOLDER, Mode::empty()).map_err(|errno| failed(&path, errno))?;
        Ok(Folder { fd, path })
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// [`FolderError::Present`] where there is one, and others.
    pub fn make(&self, name: &str) -> Result<Folder, FolderError> {
        let path = self.place(name)?;
        mkdirat(self.fd.as_fd(), name, Mode::from_bits_truncate(0o777))
            .map_err(|errno| failed(&path, errno))?;
        self.folder(name)
    }

    /// A folder in it, made where it is missing.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn ensure(&self, name: &str) -> Result<Folder, FolderError> {
        match self.make(name) {
            Err(FolderError::Present(_)) => self.folder(name),
            made => made,
        }
    }

    /// The names in it, sorted, without those that begin with a dot.
    ///
    /// # Errors
    /// [`FolderError`]; a name that isn't UTF-8 is one.
    pub fn names(&self) -> Result<Vec<String>, FolderError> {
        let failed = |errno| failed(&self.path, errno);
        let fd = openat(self.fd.as_fd(), ".", OF_FOLDER, Mode::empty()).map_err(failed)?;
        let mut folder = Dir::from_fd(fd).map_err(failed)?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str().map_err(|_| FolderError::NotText(self.path.clone()))?;
            if !name.starts_with('.') {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The bytes of a file of at most `most` bytes.
    ///
    /// # Errors
    /// [`FolderError`]; a link is one.
    pub fn bytes(&self, name: &str, most: u64) -> Result<Vec<u8>, FolderError> {
        let path = self.place(name)?;
        let fd =
            openat(self.fd.as_fd(), name, OF_FILE, Mode::empty()).map_err(|errno| failed(&path, errno))?;
        let kind = SFlag::from_bits_truncate(fstat(&fd).map_err(|errno| failed(&path, errno))?.st_mode);
        if kind & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(FolderError::Special(path));
        }
        let mut bytes = Vec::new();
        File::from(fd)
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| system(&path, &error))?;
        match bytes.len() as u64 > most {
            true => Err(FolderError::TooLarge { path, most }),
            false => Ok(bytes),
        }
    }

    /// The same as text.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn text(&self, name: &str, most: u64) -> Result<String, FolderError> {
        String::from_utf8(self.bytes(name, most)?).map_err(|_| FolderError::NotText(self.path.join(name)))
    }

    /// Writes a file as a whole, in place of one that is there: a reader sees the one or the other, and after a crash, one
    /// of them is there.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.place(name)?;
        let draft = format!(".{name}.{}.new", std::process::id());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // One that a killed process of this number left behind.
        let _ = unlinkat(self.fd.as_fd(), draft.as_str(), UnlinkatFlags::NoRemoveDir);
        let fd = openat(self.fd.as_fd(), draft.as_str(), flags, Mode::from_bits_truncate(0o666))
            .map_err(|errno| failed(&path, errno))?;
        let mut file = File::from(fd);
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| system(&path, &error))
            .and_then(|()| {
                renameat(self.fd.as_fd(), draft.as_str(), self.fd.as_fd(), name)
                    .map_err(|errno| failed(&path, errno))
            });
        if written.is_err() {
            let _ = unlinkat(self.fd.as_fd(), draft.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Waits until nobody else holds the folder, and holds it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn lock(&self) -> Result<Lock, FolderError> {
        let fd = openat(self.fd.as_fd(), ".", OF_FOLDER, Mode::empty())
            .map_err(|errno| failed(&self.path, errno))?;
        Flock::lock(fd, FlockArg::LockExclusive).map(Lock).map_err(|(_, errno)| failed(&self.path, errno))
    }

    /// The place of a name, which must be one and no path.
    fn place(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.path.join(name);
        match name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            true => Err(FolderError::Special(path)),
            false => Ok(path),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn failed(path: &Path, errno: Errno) -> FolderError {
    let path = path.to_path_buf();
    match errno {
        Errno::ENOENT => FolderError::Missing(path),
        Errno::EEXIST => FolderError::Present(path),
        // Of a link: ELOOP where a file is wanted, ENOTDIR where a folder is. A socket is ENXIO.
        Errno::ELOOP | Errno::ENOTDIR | Errno::ENXIO => FolderError::Special(path),
        errno => FolderError::System { path, words: errno.desc().to_lowercase() },
    }
}

fn system(path: &Path, error: &std::io::Error) -> FolderError {
    FolderError::System { path: path.to_path_buf(), words: error.to_string() }
}

#[cfg(test)]
mod tests;
