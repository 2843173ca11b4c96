//! Where this host's own state is, as documented in docs/journal.md.

use crate::cli::state::StateFolder;
use firewarden_diagnostic::Diagnostic;
use nix::unistd::Uid;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The environment variable that names the folder.
pub const VARIABLE: &str = "FIREWARDEN_STATE";

/// The folder of root.
const OF_ROOT: &str = "/var/lib/firewarden";

/// The bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// The state folder: `--state`, else the environment, else that of the user. It need not be there yet; whoever makes it
/// makes it for its owner only (mode 0700).
///
/// # Errors
/// A user without a home, and a folder that others may write to: they could put other rules in the place of the confirmed
/// ones.
pub fn state_folder(option: &StateFolder) -> Result<PathBuf, Diagnostic> {
    let folder = match &option.state {
        Some(folder) => folder.clone(),
        None => by_default(Uid::effective(), |name| std::env::var_os(name)).ok_or_else(|| {
            Diagnostic::error("state-folder", "no state folder: neither HOME nor XDG_STATE_HOME is set")
                .help(format!("name one with `--state` or {VARIABLE}"))
        })?,
    };
    safe(&folder)?;
    Ok(folder)
}

/// The folder of a user in an environment. XDG asks that relative names be ignored
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>).
fn by_default(user: Uid, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = path(VARIABLE) {
        return Some(named);
    }
    if user.is_root() {
        return Some(PathBuf::from(OF_ROOT));
    }
    let state = path("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
    Some(state.or_else(|| Some(path("HOME")?.join(".local/state")))?.join("firewarden"))
}

/// Refuses a folder that somebody else could have filled.
fn safe(folder: &Path) -> Result<(), Diagnostic> {
    let shown = folder.display();
    let unusable = |reason: String| Diagnostic::error("state-folder", reason);
    let metadata = match std::fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(format!("cannot use the state folder `{shown}`: {error}"))),
    };
    if !metadata.is_dir() {
        return Err(unusable(format!("the state folder `{shown}` isn't a folder")).help("name another one"));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != Uid::effective().as_raw() {
        let problem = format!("the state folder `{shown}` belongs to user {owner}");
        return Err(unusable(problem).help("run as that user, or name another folder with `--state`"));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        let problem = format!("others may write to the state folder `{shown}`");
        return Err(unusable(problem).help(format!("take that right away: `chmod 700 {shown}`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn of_each_user() {
        let folder = |user: u32, variables: &[(&str, &str)]| {
            let find = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            by_default(Uid::from_raw(user), find).map(|path| path.display().to_string())
        };
        let home = ("HOME", "/home/alice");
        let xdg = ("XDG_STATE_HOME", "/x");
        assert_eq!(folder(0, &[home, xdg]).as_deref(), Some("/var/lib/firewarden"));
        assert_eq!(folder(0, &[(VARIABLE, "here")]).as_deref(), Some("here"));
        assert_eq!(folder(0, &[(VARIABLE, "")]).as_deref(), Some("/var/lib/firewarden"));
        let of_home = Some("/home/alice/.local/state/firewarden");
        assert_eq!(folder(1000, &[home]).as_deref(), of_home);
        assert_eq!(folder(1000, &[home, xdg]).as_deref(), Some("/x/firewarden"));
        assert_eq!(folder(1000, &[home, ("XDG_STATE_HOME", "relative")]).as_deref(), of_home);
        assert_eq!(folder(1000, &[]), None);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path| safe(path).map_err(|problem| problem.message);
        assert_eq!(check(folder.path()), Ok(()));
        assert_eq!(check(&folder.path().join("not-there")), Ok(()));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(check(&file).unwrap_err().contains("isn't a folder"));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(check(folder.path()).unwrap_err().contains("others may write"));
    }
}
