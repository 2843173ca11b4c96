//! What a backup holds, and the way there and back.

use super::{CHANGES, Data, checksum, command_of, on};
use crate::evidence::{EvidenceError, failed};
use crate::layout::{Layout, Loader};
use crate::place::Lab;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of rules in a backup.
const RULES: &str = "rules";
/// The file with the user's own data.
const DATA: &str = "data";
/// The list of what a backup holds, with its digests.
const MANIFEST: &str = "manifest.json";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// SHA-256 of each file, by its path in the backup.
    pub files: BTreeMap<String, String>,
    /// What the checksum command printed.
    pub data: String,
}

/// Puts everything into the folder.
pub fn back_up(lab: &Lab, data: &Data, folder: &Path) -> Result<Manifest, EvidenceError> {
    let mut files = BTreeMap::new();
    for (name, text) in rules(lab)? {
        put(folder, &format!("{RULES}/{name}"), text.as_bytes(), &mut files)?;
    }
    for (name, content) in kept(lab)? {
        put(folder, &name, &content, &mut files)?;
    }
    let dump = command_of(lab, data, &data.backup, "")?;
    put(folder, DATA, dump.as_bytes(), &mut files)?;
    let manifest = Manifest { files, data: checksum(lab, data)? };
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    write_for_root(&folder.join(MANIFEST), text.as_bytes())
        .map_err(|error| failed("the backup's list", error))?;
    Ok(manifest)
}

fn put(
    folder: &Path,
    name: &str,
    content: &[u8],
    files: &mut BTreeMap<String, String>,
) -> Result<(), EvidenceError> {
    let path = folder.join(name);
    write_for_root(&path, content).map_err(|error| failed(&format!("`{}`", path.display()), error))?;
    files.insert(name.to_owned(), digest(content));
    Ok(())
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The loaders that a machine's rules are saved for, as its files are.
fn loaders<'l>(layout: &'l Layout, machine: &'l str) -> impl Iterator<Item = Loader> + 'l {
    let found = layout.machines.iter().find(move |candidate| candidate.name == machine);
    found.into_iter().flat_map(|machine| machine.rules.iter().map(|file| file.loader))
}

/// What lists the rules that a loader takes, and what takes them.
fn programs(loader: Loader) -> (&'static [&'static str], &'static [&'static str], &'static str) {
    match loader {
        Loader::Nft => (&["nft", "--stateless", "list", "ruleset"], &["nft", "-f", "-"], "nft"),
        Loader::Iptables => (&["iptables-save"], &["iptables-restore"], "iptables"),
        Loader::Ip6tables => (&["ip6tables-save"], &["ip6tables-restore"], "ip6tables"),
        Loader::Ipset => (&["ipset", "save"], &["ipset", "restore"], "ipset"),
    }
}

/// The rules that run on each machine, by `HOST.KIND`. The programs' comments have the time in them.
fn rules(lab: &Lab) -> Result<BTreeMap<String, String>, EvidenceError> {
    let mut found = BTreeMap::new();
    for machine in &lab.layout().machines {
        for loader in loaders(lab.layout(), &machine.name) {
            let (list, _, kind) = programs(loader);
            let text = on(lab, &machine.name, list, "")?;
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let text: String = lines.map(|line| without_counters(line, loader) + "\n").collect();
            found.insert(format!("{}.{kind}", machine.name), text);
        }
    }
    Ok(found)
}

/// `:INPUT DROP [12:345]` without what it counted, which goes on while the digest is made.
fn without_counters(line: &str, loader: Loader) -> String {
    match (loader, line.split_once(" [")) {
        (Loader::Iptables | Loader::Ip6tables, Some((chain, _))) if line.starts_with(':') => {
            format!("{chain} [0:0]")
        }
        _ => line.to_owned(),
    }
}

/// The folders that are kept, by their names in the backup: each machine's state (confirmed rules, trials, the journal and
/// its keys), and the change records.
fn folders(lab: &Lab) -> Result<BTreeMap<String, PathBuf>, EvidenceError> {
    let mut found = BTreeMap::from([("changes".to_owned(), lab.path(Path::new(CHANGES)))]);
    for machine in &lab.layout().machines {
        found.insert(format!("state/{}", machine.name), lab.state(&machine.name)?);
    }
    Ok(found)
}

/// The files in these folders.
fn kept(lab: &Lab) -> Result<BTreeMap<String, Vec<u8>>, EvidenceError> {
    let mut found = BTreeMap::new();
    for (name, folder) in folders(lab)? {
        let mut open = vec![folder.clone()];
        while let Some(path) = open.pop() {
            let Ok(entries) = fs::read_dir(&path) else { continue };
            for entry in entries {
                let entry = entry.map_err(|error| failed("a folder that is kept", error))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|error| failed("a folder that is kept", error))?;
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_file() {
                    let content =
                        fs::read(&path).map_err(|error| failed(&path.display().to_string(), error))?;
                    let inside = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
                    found.insert(format!("{name}/{inside}"), content);
                }
            }
        }
    }
    Ok(found)
}

/// Takes rules, folders and data away.
pub fn wipe(lab: &Lab, data: &Data) -> Result<(), EvidenceError> {
    for machine in &lab.layout().machines {
        on(lab, &machine.name, &["nft", "flush", "ruleset"], "")?;
    }
    for folder in folders(lab)?.values() {
        match fs::remove_dir_all(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&folder.display().to_string(), error)),
        }
    }
    command_of(lab, data, &data.wipe, "").map(drop)
}

/// Loads rules, folders and data out of the backup. The inner error is that of the data's own command.
pub fn bring_back(lab: &Lab, data: &Data, folder: &Path) -> Result<Result<(), EvidenceError>, EvidenceError> {
    let read = |path: &Path| fs::read(path).map_err(|error| failed(&path.display().to_string(), error));
    // Rules first: until they are back, everybody gets everywhere.
    for machine in &lab.layout().machines {
        for loader in loaders(lab.layout(), &machine.name) {
            let (_, load, kind) = programs(loader);
            let text = read(&folder.join(RULES).join(format!("{}.{kind}", machine.name)))?;
            on(lab, &machine.name, load, &String::from_utf8_lossy(&text))?;
        }
    }
    let manifest = read(&folder.join(MANIFEST))?;
    let manifest: Manifest = serde_json::from_slice(&manifest)
        .map_err(|error| failed("the backup's list", io::Error::from(error)))?;
    for (kept, place) in folders(lab)? {
        let inside = |name: &String| Some(name.strip_prefix(&kept)?.strip_prefix('/')?.to_owned());
        for inside in manifest.files.keys().filter_map(inside) {
            let content = read(&folder.join(&kept).join(&inside))?;
            let path = place.join(inside);
            write_for_root(&path, &content).map_err(|error| failed(&path.display().to_string(), error))?;
        }
    }
    let dump = read(&folder.join(DATA))?;
    Ok(command_of(lab, data, &data.restore, &String::from_utf8_lossy(&dump)).map(drop))
}

/// State folders are root's own, and a backup has the same in it: the journal's key to sign with, for one.
fn write_for_root(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)
}

/// What isn't as the backup's list says: rules as the kernel has them, and files.
pub fn differing(lab: &Lab, manifest: &Manifest) -> Result<Vec<String>, EvidenceError> {
    let rules =
        rules(lab)?.into_iter().map(|(name, text)| (format!("{RULES}/{name}"), digest(text.as_bytes())));
    let kept = kept(lab)?.into_iter().map(|(name, content)| (name, digest(&content)));
    let now: BTreeMap<String, String> = rules.chain(kept).collect();
    let wanted = manifest.files.iter().filter(|(name, _)| *name != DATA);
    Ok(wanted.filter(|(name, digest)| now.get(*name) != Some(digest)).map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chains_counted_is_left_out() {
        assert_eq!(without_counters(":INPUT DROP [12:345]", Loader::Iptables), ":INPUT DROP [0:0]");
        assert_eq!(without_counters("-A INPUT -m x \" [y\"", Loader::Iptables), "-A INPUT -m x \" [y\"");
    }
}
