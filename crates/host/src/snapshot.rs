//! The files of a snapshot: what they are called, and how a folder of them comes into being.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the format that is written.
pub const FORMAT_VERSION: u32 = 1;

/// The file that makes a folder a snapshot.
pub const MANIFEST: &str = "snapshot.json";
/// `nft -a list ruleset`.
pub const RULESET: &str = "ruleset.nft";
/// `iptables-save`.
pub const IPTABLES: &str = "iptables.rules";
/// `ip6tables-save`.
pub const IP6TABLES: &str = "ip6tables.rules";
/// `ipset save`.
pub const IPSET: &str = "ipset.save";
/// `ip -j address`.
pub const ADDRESSES: &str = "addresses.json";
/// `ip -j route show table all` for each family: a map with `ipv4` and `ipv6`.
pub const ROUTES: &str = "routes.json";
/// `ip -j rule` for each family: a map with `ipv4` and `ipv6`.
pub const RULES: &str = "rules.json";
/// `ss -Htunlp`.
pub const SOCKETS: &str = "sockets.txt";
/// `ss -Htun state established`.
pub const CONNECTIONS: &str = "connections.txt";
/// The connections that the kernel tracks.
pub const CONNTRACK: &str = "conntrack.txt";
/// Sysctls, a map from names to values.
pub const SYSCTLS: &str = "sysctls.json";

/// The services that load rules when the host starts: a map with a list `services`.
pub const BOOT: &str = "boot.json";
/// What nft loads when the host starts, with the files that are included in place.
pub const BOOT_RULESET: &str = "boot.nft";
/// What iptables-restore loads when the host starts.
pub const BOOT_IPTABLES: &str = "boot-iptables.rules";
/// What ip6tables-restore loads when the host starts.
pub const BOOT_IP6TABLES: &str = "boot-ip6tables.rules";

/// What a snapshot says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format: [`FORMAT_VERSION`].
    pub format: u32,
    /// The host's name.
    pub host: String,
    /// When it was taken, in UTC, as `2026-11-21T08:00:00Z`.
    pub taken: String,
    /// The kernel's release.
    pub kernel: String,
    /// What `nft --version` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nft: Option<String>,
    /// The generation of the nftables ruleset, the same before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The kernel's number for this run of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The network namespace, as `net:[4026531833]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// True where addresses and names were replaced.
    #[serde(default)]
    pub anonymized: bool,
    /// Files that aren't there, and why.
    #[serde(default)]
    pub missing: BTreeMap<String, String>,
}

/// A snapshot in memory: its manifest, and its other files by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The texts.
    pub files: BTreeMap<String, String>,
}

/// Why a snapshot wasn't written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something is there already.
    #[error("`{0}` exists already")]
    Exists(PathBuf),
    /// What is there isn't a snapshot, and so isn't replaced by one.
    #[error("`{0}` exists and is no snapshot")]
    NotASnapshot(PathBuf),
    /// The system refused.
    #[error("cannot write `{path}`: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

/// Writes a snapshot to the folder `into/HOST`, which is there completely or not at all. Only its owner can read it: rules,
/// connections and programs are nobody else's business. An older snapshot of the same name is replaced if `replace` says
/// so; anything else is left alone.
///
/// # Errors
/// [`WriteError`].
pub fn write(snapshot: &Snapshot, into: &Path, replace: bool) -> Result<PathBuf, WriteError> {
    let refused = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| WriteError::Io { path, error }
    };
    let target = into.join(&snapshot.manifest.host);
    let exists = target.symlink_metadata().is_ok();
    if exists && !replace {
        return Err(WriteError::Exists(target));
    }
    if exists && !target.join(MANIFEST).is_file() {
        return Err(WriteError::NotASnapshot(target));
    }
    fs::create_dir_all(into).map_err(refused(into))?;
    let hidden = |what: &str| into.join(format!(".{}.{what}-{}", snapshot.manifest.host, std::process::id()));
    let (fresh, old) = (hidden("new"), hidden("old"));
    let made = fill(snapshot, &fresh);
    if let Err((path, error)) = made {
        // Whatever was made is of no use; the first error is the one to tell.
        let _ = fs::remove_dir_all(&fresh);
        return Err(WriteError::Io { path, error });
    }
    if exists {
        fs::rename(&target, &old).map_err(refused(&target))?;
    }
    if let Err(error) = fs::rename(&fresh, &target) {
        let _ = fs::remove_dir_all(&fresh);
        if exists {
            // Better the old one than none.
            let _ = fs::rename(&old, &target);
        }
        return Err(WriteError::Io { path: target, error });
    }
    if exists {
        fs::remove_dir_all(&old).map_err(refused(&old))?;
    }
    Ok(target)
}

fn fill(snapshot: &Snapshot, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    DirBuilder::new().mode(0o700).create(folder).map_err(|error| (folder.to_path_buf(), error))?;
    let manifest = serde_json::to_string_pretty(&snapshot.manifest)
        .map_err(|error| (folder.join(MANIFEST), io::Error::other(error)))?;
    let manifest = (MANIFEST, format!("{manifest}\n"));
    let files = snapshot.files.iter().map(|(name, text)| (name.as_str(), text.clone()));
    for (name, text) in files.chain([manifest]) {
        let path = folder.join(name);
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
        written.map_err(|error| (path, error))?;
    }
    Ok(())
}

/// What a manifest's text says.
///
/// # Errors
/// A sentence saying what is wrong with it.
pub fn read_manifest(text: &str) -> Result<Manifest, String> {
    let manifest: Manifest = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if manifest.format != FORMAT_VERSION {
        return Err(format!(
            "it has version {} of the format, and only version {FORMAT_VERSION} is read here",
            manifest.format
        ));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(taken: &str) -> Snapshot {
        Snapshot {
            manifest: Manifest {
                format: FORMAT_VERSION,
                host: "edge".to_owned(),
                taken: taken.to_owned(),
                ..Manifest::default()
            },
            files: BTreeMap::from([(RULESET.to_owned(), "table ip t {\n}\n".to_owned())]),
        }
    }

    #[test]
    fn a_folder_is_there_completely_and_isnt_replaced_unasked() {
        let folder = std::env::temp_dir().join(format!("firewarden-snapshot-{}", std::process::id()));
        let target = write(&sample("a"), &folder, false).unwrap();
        let taken =
            |target: &Path| read_manifest(&fs::read_to_string(target.join(MANIFEST)).unwrap()).unwrap().taken;
        assert_eq!(taken(&target), "a");
        assert!(matches!(write(&sample("b"), &folder, false), Err(WriteError::Exists(_))));
        assert_eq!(taken(&target), "a");
        write(&sample("c"), &folder, true).unwrap();
        assert_eq!(taken(&target), "c");
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["edge"], "nothing else is left behind");
        fs::remove_file(target.join(MANIFEST)).unwrap();
        assert!(matches!(write(&sample("d"), &folder, true), Err(WriteError::NotASnapshot(_))));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn other_versions_are_refused() {
        assert!(read_manifest("{").is_err());
        let later = r#"{"format":2,"host":"a","taken":"","kernel":""}"#;
        assert!(read_manifest(later).unwrap_err().contains("version 2"));
    }
}
