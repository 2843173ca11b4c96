//! Which rules the kernel holds, told from the digests of its tables.

use super::files;
use super::folder::{Job, Terms};
use crate::kernel::Fingerprint;
use crate::state::{State, is_generation};
use firewarden_change::delta::{Listing, TableName, handles};
use firewarden_change::plan::{Parent, hex};
use firewarden_change::trial::{Reading, Rules, clip};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Digests of tables by their names.
type Parts = BTreeMap<String, String>;

/// The room for the digests of the tables that a change touches, beside what is known beforehand, in bytes.
pub const ROOM: usize = 16 * 1024;

/// In place of the digest of a table that is touched, while what it will be hasn't been seen: no digest is this.
const UNKNOWN: &str = "?";

/// What reads the kernel for one trial.
pub struct Reader {
    before: String,
    before_parts: Option<Parts>,
    result: Option<String>,
    /// The digest of old and new rules side by side, where the kernel holds the way back.
    staged: Option<String>,
    /// What the first reading is held against, beside the rules' meaning.
    parent: Option<Parent>,
    /// The tables that the change touches, as they are after it; an empty digest is a table that is gone.
    touched: Option<Parts>,
    file: PathBuf,
    last: Option<(State, Reading)>,
    /// What the kernel looks like with the rules from before, and with the new ones: quicker to compare than listings.
    fingerprints: [Option<Parts>; 2],
}

impl Reader {
    /// For the trial in a folder. `boot_id` is that of the system as it runs now; `is_first` where the rules are read for
    /// the first time before anything is loaded.
    pub fn new(folder: &Path, terms: &Terms, boot_id: &str, is_first: bool) -> Reader {
        let file = folder.join("touched.json");
        let touched = files::read_reserved(&file).and_then(|text| serde_json::from_str(&text).ok());
        let (result, staged, parent) = match &terms.job {
            Job::Plan { result, settle, parent, .. } => {
                let here = parent.boot_id == boot_id && Some(&parent.namespace) == namespace().as_ref();
                let staged = settle.as_ref().map(|settle| settle.staged.clone());
                (Some(result.clone()), staged, (here && is_first).then(|| Parent::clone(parent)))
            }
            Job::Command { .. } => (None, None, None),
        };
        Reader {
            before: terms.before.clone(),
            before_parts: terms.parts.clone(),
            result,
            staged,
            parent,
            touched,
            file,
            last: None,
            fingerprints: [None, None],
        }
    }

    /// What was read last.
    pub fn last(&self) -> Option<&State> {
        self.last.as_ref().map(|(state, _)| state)
    }

    /// Reads the kernel. Only a ruleset that wasn't seen in this trial has to be listed.
    pub fn read(&mut self) -> Result<Reading, String> {
        if let Some((state, reading)) = &self.last
            && state.is_current()
        {
            return Ok(reading.clone());
        }
        let fingerprint = Fingerprint::read().ok().filter(|now| is_generation(now.generation));
        let parent = self.parent.take();
        if let Some(now) = &fingerprint {
            // A generation is used once: the rules are those that the plan was made from.
            let is_parents = parent.as_ref().is_some_and(|parent| parent.generation == now.generation);
            if is_parents || self.fingerprints[0].as_ref() == Some(&now.tables) {
                self.fingerprints[0] = Some(now.tables.clone());
                return Ok(Reading { digest: self.before.clone(), rules: Rules::Old, foreign: false });
            }
            if let (Some((_, reading)), true) =
                (&self.last, self.fingerprints[1].as_ref() == Some(&now.tables))
                && matches!(reading.rules, Rules::New | Rules::Staged)
            {
                return Ok(reading.clone());
            }
        }
        let state = State::read().map_err(|error| clip(&error.to_string()))?;
        let digest = state.digest();
        let parts = state.parts();
        self.learn(&digest, &parts);
        let mut reading = self.judge(digest, &parts);
        if let Some(now) = fingerprint.filter(|now| now.generation == state.generation) {
            if reading.digest == self.before {
                self.fingerprints[0] = Some(now.tables);
            } else if [&self.result, &self.staged].contains(&&Some(reading.digest.clone())) {
                self.fingerprints[1] = Some(now.tables);
            }
        }
        if parent.is_some_and(|parent| !has_handles(&parent, &state.nft)) {
            // The same rules, but loaded anew: the plan's scripts would name others.
            reading.rules = Rules::Other;
        }
        self.last = Some((state, reading.clone()));
        Ok(reading)
    }

    /// When the kernel holds exactly what the plan says, the tables that differ from before are those that it touches.
    fn learn(&mut self, digest: &str, parts: &Parts) {
        let Some(before) = &self.before_parts else { return };
        let is_result = self.result.as_deref() == Some(digest);
        let is_staged = self.staged.as_deref() == Some(digest);
        let is_known = self.touched.iter().flatten().next().is_some_and(|(_, digest)| digest != UNKNOWN);
        if is_known || !(is_result || is_staged) {
            return;
        }
        let names = before.keys().chain(parts.keys());
        let of = |parts: &Parts, name: &String| parts.get(name).cloned().unwrap_or_default();
        let touched: Parts = names
            .filter(|name| before.get(*name) != parts.get(*name))
            .map(|name| (name.clone(), if is_result { of(parts, name) } else { UNKNOWN.to_owned() }))
            .collect();
        // Without it on disk, a guard that takes over counts every table: it may be stuck, but says nothing wrong.
        if let Ok(text) = serde_json::to_string(&touched) {
            let _ = files::fill_reserved(&self.file, &text);
        }
        self.touched = Some(touched);
    }

    fn judge(&self, digest: String, parts: &Parts) -> Reading {
        if digest == self.before {
            return Reading { digest, rules: Rules::Old, foreign: false };
        }
        if self.result.as_ref() == Some(&digest) {
            return Reading { digest, rules: Rules::New, foreign: false };
        }
        if self.staged.as_ref() == Some(&digest) {
            return Reading { digest, rules: Rules::Staged, foreign: false };
        }
        let (Some(before), Some(touched)) = (&self.before_parts, &self.touched) else {
            return Reading { digest, rules: Rules::Other, foreign: false };
        };
        let of = |parts: &Parts, name: &String| parts.get(name).cloned().unwrap_or_default();
        let is_old = touched.keys().all(|name| of(parts, name) == of(before, name));
        let is_new = touched.iter().all(|(name, after)| of(parts, name) == *after);
        let mut names = before.keys().chain(parts.keys()).filter(|name| !touched.contains_key(*name));
        let foreign = names.any(|name| before.get(name) != parts.get(name));
        let rules = match (is_old, is_new) {
            (true, _) => Rules::Old,
            (_, true) => Rules::New,
            _ => Rules::Other,
        };
        Reading { digest, rules, foreign }
    }
}

/// Whether rules have the handles that the plan names them by.
fn has_handles(parent: &Parent, listing: &str) -> bool {
    let Ok(listing) = Listing::read(listing) else { return false };
    let names = parent.tables.iter().filter_map(|name| name.split_once(' '));
    let tables: BTreeSet<TableName> =
        names.map(|(family, name)| TableName { family: family.to_owned(), name: name.to_owned() }).collect();
    hex(&Sha256::digest(handles(&listing, &tables).as_bytes())) == parent.handles
}

/// The network namespace of the calling thread, as `net:[4026531833]`.
pub fn namespace() -> Option<String> {
    let link = std::fs::read_link("/proc/thread-self/ns/net").ok()?;
    Some(link.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pairs: &[(&str, &str)]) -> Parts {
        pairs.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect()
    }

    #[test]
    fn tables_that_the_change_does_not_touch_are_foreign() {
        let mut reader = Reader {
            before: "B".into(),
            before_parts: Some(parts(&[("ours", "1"), ("gone", "2"), ("docker", "3")])),
            result: Some("R".into()),
            staged: None,
            parent: None,
            fingerprints: [None, None],
            touched: None,
            file: PathBuf::from("/nonexistent/touched.json"),
            last: None,
        };
        let judge = |reader: &Reader, digest: &str, pairs: &[(&str, &str)]| {
            let reading = reader.judge(digest.into(), &parts(pairs));
            (reading.rules, reading.foreign)
        };
        let docker_changed = [("ours", "9"), ("docker", "4"), ("fresh", "7")];
        assert_eq!(judge(&reader, "B", &[]), (Rules::Old, false));
        assert_eq!(judge(&reader, "x", &docker_changed), (Rules::Other, false));
        let after = parts(&[("ours", "9"), ("docker", "3"), ("fresh", "7")]);
        reader.learn("x", &after);
        assert_eq!(reader.touched, None);
        reader.learn("R", &after);
        assert_eq!(reader.touched, Some(parts(&[("ours", "9"), ("gone", ""), ("fresh", "7")])));
        assert_eq!(judge(&reader, "R", &[]), (Rules::New, false));
        assert_eq!(judge(&reader, "x", &docker_changed), (Rules::New, true));
        assert_eq!(judge(&reader, "x", &[("ours", "1"), ("gone", "2"), ("docker", "4")]), (Rules::Old, true));
        assert_eq!(
            judge(&reader, "x", &[("ours", "1"), ("gone", "2"), ("fresh", "7")]),
            (Rules::Other, true)
        );
    }
}
