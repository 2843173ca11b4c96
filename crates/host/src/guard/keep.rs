//! What outlives a trial: the confirmed rules, and the file that the next boot loads.

use super::files;
use super::folder::StagedFile;
use crate::state::State;
use firewarden_change::plan::{Persist, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const STAGED: &str = "confirmed.staged";
const CONFIRMED: &str = "confirmed";
const BEFORE: &str = "confirmed.before";

/// What the folder of a ruleset says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The trial that it comes from.
    pub trial: String,
    /// The plan's hash, where a plan was carried out.
    pub plan: Option<String>,
    /// SHA-256 of the canonical text of the ruleset.
    pub ruleset: String,
    /// The parts that changes confirmed here have touched ([`State::parts`]); the others are other programs', and only
    /// stand beside them. `None` where that isn't known: then all of them count.
    #[serde(default)]
    pub touched: Option<BTreeSet<String>>,
    /// SHA-256 of each file.
    pub files: BTreeMap<String, String>,
}

/// The files of a ruleset: `ruleset.nft` as `nft -f` takes it, the others as the `-save` programs print them.
fn contents(state: &State) -> [(&'static str, &str); 6] {
    [
        ("ruleset.nft", &state.nft),
        ("iptables.rules", &state.iptables),
        ("ip6tables.rules", &state.ip6tables),
        ("iptables-legacy.rules", &state.legacy_iptables),
        ("ip6tables-legacy.rules", &state.legacy_ip6tables),
        ("ipset.save", &state.ipset),
    ]
}

/// Where a ruleset comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The trial.
    pub trial: &'a str,
    /// The plan's hash, where one was carried out.
    pub plan: Option<&'a str>,
    /// As in [`Manifest`].
    pub touched: Option<&'a BTreeSet<String>>,
}

/// Writes a ruleset into a new folder, durably; the manifest comes last.
pub fn write_ruleset(folder: &Path, state: &State, source: Source<'_>) -> io::Result<()> {
    let Source { trial, plan, touched } = source;
    files::make_folder(folder)?;
    let mut digests = BTreeMap::new();
    for (name, text) in contents(state).into_iter().filter(|(_, text)| !text.is_empty()) {
        files::write_new(&folder.join(name), text.as_bytes())?;
        digests.insert(name.to_owned(), hex(&Sha256::digest(text.as_bytes())));
    }
    let manifest = Manifest {
        trial: trial.to_owned(),
        plan: plan.map(str::to_owned),
        ruleset: state.digest(),
        touched: touched.cloned(),
        files: digests,
    };
    files::write_new(&folder.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    files::sync_folder(folder)
}

/// Reads what [`write_ruleset`] wrote; a file that was changed since is an error.
pub fn read_ruleset(folder: &Path) -> io::Result<(Manifest, State)> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join("manifest.json"))?)?;
    let read = |name: &str| -> io::Result<String> {
        let Some(said) = manifest.files.get(name) else { return Ok(String::new()) };
        let bytes = fs::read(folder.join(name))?;
        if hex(&Sha256::digest(&bytes)) != *said {
            let words = format!("`{}` was changed since it was written", folder.join(name).display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    let state = State {
        nft: read("ruleset.nft")?,
        iptables: read("iptables.rules")?,
        ip6tables: read("ip6tables.rules")?,
        legacy_iptables: read("iptables-legacy.rules")?,
        legacy_ip6tables: read("ip6tables-legacy.rules")?,
        ipset: read("ipset.save")?,
        generation: 0,
    };
    Ok((manifest, state))
}

/// The folder of the rules that were confirmed last.
pub fn confirmed_folder(home: &Path) -> PathBuf {
    home.join(CONFIRMED)
}

/// Writes rules beside the confirmed ones. What changes confirmed before have touched stays touched.
pub fn stage(home: &Path, state: &State, source: Source<'_>) -> io::Result<()> {
    let folder = home.join(STAGED);
    files::remove_folder(&folder)?;
    let before = read_ruleset(&home.join(CONFIRMED)).ok();
    let earlier = before
        .map(|(manifest, rules)| manifest.touched.unwrap_or_else(|| rules.parts().into_keys().collect()));
    let touched = source.touched.map(|own| own.union(&earlier.unwrap_or_default()).cloned().collect());
    write_ruleset(&folder, state, Source { touched: touched.as_ref(), ..source })?;
    files::sync_folder(home)
}

/// Puts what was staged in the place of the confirmed rules, and the file for the next boot in its place. Doing it twice
/// is as good as once.
pub fn keep(home: &Path, trial: &str, persist: Option<&StagedFile>) -> io::Result<()> {
    let of = |folder: PathBuf| -> Option<String> {
        let manifest: Manifest =
            serde_json::from_slice(&fs::read(folder.join("manifest.json")).ok()?).ok()?;
        Some(manifest.trial)
    };
    let (staged, confirmed) = (home.join(STAGED), home.join(CONFIRMED));
    if of(staged.clone()).as_deref() == Some(trial) {
        if confirmed.exists() {
            files::remove_folder(&home.join(BEFORE))?;
            fs::rename(&confirmed, home.join(BEFORE))?;
        }
        fs::rename(&staged, &confirmed)?;
        files::sync_folder(home)?;
    } else if of(confirmed).as_deref() != Some(trial) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the rules to keep are gone"));
    }
    persist.map_or(Ok(()), place)
}

/// Removes what was staged for a trial that didn't hold.
pub fn discard(home: &Path, persist: Option<&StagedFile>) -> io::Result<()> {
    files::remove_folder(&home.join(STAGED))?;
    persist.map_or(Ok(()), |file| files::remove_file(&file.staged))
}

/// Where the file for the next boot goes, and where it waits: beside the one that it will replace, so that only a name has
/// to be changed later. Links are followed.
pub fn plan_file(persist: &Persist, trial: &str) -> io::Result<StagedFile> {
    let named = PathBuf::from(&persist.path);
    let path = match named.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => named,
        other => other?,
    };
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path of a file"));
    };
    let staged = folder.join(format!(".{}.firewarden-{trial}", name.to_string_lossy()));
    Ok(StagedFile { path, staged, digest: hex(&Sha256::digest(persist.text.as_bytes())) })
}

/// Writes the file for the next boot, with owner and rights of the one that it will replace, where it waits.
pub fn stage_file(file: &StagedFile, text: &str) -> io::Result<()> {
    files::write_new(&file.staged, text.as_bytes())?;
    if let Ok(entry) = file.path.metadata() {
        std::os::unix::fs::chown(&file.staged, Some(entry.uid()), Some(entry.gid()))?;
        fs::set_permissions(&file.staged, fs::Permissions::from_mode(entry.mode() & 0o7777))?;
    }
    file.staged.parent().map_or(Ok(()), files::sync_folder)
}

/// Gives the file for the next boot its name. The one before stays as `PATH.before`.
fn place(file: &StagedFile) -> io::Result<()> {
    let is_in_place = || fs::read(&file.path).is_ok_and(|text| hex(&Sha256::digest(&text)) == file.digest);
    if !file.staged.exists() && is_in_place() {
        return Ok(());
    }
    let Some(folder) = file.path.parent() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path of a file"));
    };
    if file.path.exists() {
        let beside = |suffix: &str| {
            let mut name = file.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        // A second name for the old file, so that there is one at every moment.
        let link = beside(".before.firewarden");
        files::remove_file(&link)?;
        fs::hard_link(&file.path, &link)?;
        fs::rename(&link, beside(".before"))?;
    }
    fs::rename(&file.staged, &file.path)?;
    files::sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> State {
        State { nft: format!("table ip {text} {{\n}}\n"), ..State::default() }
    }

    fn source(trial: &str) -> Source<'_> {
        Source { trial, plan: None, touched: None }
    }

    #[test]
    fn what_was_touched_once_stays_touched() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let touched =
            |names: &[&str]| -> BTreeSet<String> { names.iter().map(|&name| name.to_owned()).collect() };
        let confirm = |trial, names: Option<&[&str]>| {
            let own = names.map(touched);
            stage(home, &state("t"), Source { touched: own.as_ref(), ..source(trial) }).unwrap();
            keep(home, trial, None).unwrap();
            read_ruleset(&home.join(CONFIRMED)).unwrap().0.touched
        };
        assert_eq!(confirm("a", Some(&["nft ip x"])), Some(touched(&["nft ip x"])));
        assert_eq!(confirm("b", Some(&["nft ip y"])), Some(touched(&["nft ip x", "nft ip y"])));
        assert_eq!(confirm("c", None), None);
        assert_eq!(confirm("d", Some(&["nft ip y"])), Some(touched(&["nft ip t", "nft ip y"])));
    }

    fn staged(home: &Path) -> bool {
        home.join(STAGED).exists()
    }

    #[test]
    fn confirmed_rules_are_swapped_once_and_the_ones_before_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        for (trial, before) in [("a", None), ("b", Some("a")), ("c", Some("b"))] {
            stage(home, &state(trial), source(trial)).unwrap();
            for _ in 0..2 {
                keep(home, trial, None).unwrap();
                let (manifest, read) = read_ruleset(&home.join(CONFIRMED)).unwrap();
                assert_eq!((manifest.trial.as_str(), &read), (trial, &state(trial)));
                assert_eq!(manifest.ruleset, read.digest());
                let kept = read_ruleset(&home.join(BEFORE)).ok().map(|(manifest, _)| manifest.trial);
                assert_eq!(kept.as_deref(), before);
            }
        }
        assert!(keep(home, "never staged", None).is_err());
        // Died between the two renames.
        stage(home, &state("d"), source("d")).unwrap();
        fs::remove_dir_all(home.join(BEFORE)).unwrap();
        fs::rename(home.join(CONFIRMED), home.join(BEFORE)).unwrap();
        keep(home, "d", None).unwrap();
        assert_eq!(read_ruleset(&home.join(CONFIRMED)).unwrap().0.trial, "d");
        assert_eq!(read_ruleset(&home.join(BEFORE)).unwrap().0.trial, "c");
        stage(home, &state("e"), source("e")).unwrap();
        discard(home, None).unwrap();
        assert!(!staged(home));
        fs::write(home.join(CONFIRMED).join("ruleset.nft"), "table ip x {\n}\n").unwrap();
        assert!(read_ruleset(&home.join(CONFIRMED)).is_err());
    }

    #[test]
    fn the_file_for_the_next_boot_keeps_its_rights_and_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (home, path) = (folder.path().join("home"), folder.path().join("nftables.conf"));
        fs::create_dir(&home).unwrap();
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let persist = Persist { path: path.to_string_lossy().into_owned(), text: "new".to_owned() };
        let file = plan_file(&persist, "t").unwrap();
        stage_file(&file, &persist.text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        stage(&home, &state("t"), Source { plan: Some("hash"), ..source("t") }).unwrap();
        for _ in 0..2 {
            keep(&home, "t", Some(&file)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
            assert_eq!(fs::read_to_string(folder.path().join("nftables.conf.before")).unwrap(), "old");
        }
        let file = plan_file(&persist, "u").unwrap();
        stage_file(&file, &persist.text).unwrap();
        discard(&home, Some(&file)).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
}
