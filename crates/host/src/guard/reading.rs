//! Which rules the kernel holds, told from the digests of its tables.

use super::folder::{Job, Terms};
use crate::kernel::{Fingerprint, has_owned_tables};
use crate::state::{State, is_generation};
use firewarden_change::delta::{Listing, TableName, handles};
use firewarden_change::plan::{Parent, hex};
use firewarden_change::trial::{Reading, Rules, clip};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Digests of tables by their names.
type Parts = BTreeMap<String, String>;

/// Rules as a trial may hold them: the digest of all, and of each table.
struct Wanted {
    digest: String,
    parts: Parts,
}

/// What reads the kernel for one trial.
pub struct Reader {
    before: Wanted,
    result: Option<Wanted>,
    /// Old and new rules side by side, where the kernel holds the way back.
    staged: Option<Wanted>,
    /// The tables that the change touches; those of all others are foreign. `None` where that can't be told.
    touched: Option<BTreeSet<String>>,
    /// What the first reading is held against, beside the rules' meaning.
    parent: Option<Parent>,
    /// Whether nothing was loaded yet: a plan is for the rules that it was made from, those of others included.
    is_first: bool,
    last: Option<(State, Reading)>,
    /// A generation of the ruleset, and what the kernel holds at it: each is used once. Only where every change is counted.
    known: Option<(u32, Reading)>,
    /// Whether a generation is looked at before the rules are, since a transaction of the guard's own leads to the next.
    is_direct: bool,
    /// What the kernel looks like with the rules from before, and with the new ones: quicker to compare than listings.
    fingerprints: [Option<Parts>; 2],
}

impl Reader {
    /// For a trial. `boot_id` is that of the system as it runs now; `is_first` where the rules are read for the first time
    /// before anything is loaded.
    pub fn new(terms: &Terms, boot_id: &str, is_first: bool) -> Reader {
        let mut reader = Reader {
            before: Wanted { digest: terms.before.clone(), parts: terms.parts.clone().unwrap_or_default() },
            result: None,
            staged: None,
            touched: None,
            parent: None,
            is_first: false,
            last: None,
            known: None,
            is_direct: false,
            fingerprints: [None, None],
        };
        let Job::Plan { result, parts, settle, parent, direct, .. } = &terms.job else { return reader };
        let here = parent.boot_id == boot_id && Some(&parent.namespace) == namespace().as_ref();
        reader.parent = (here && is_first).then(|| Parent::clone(parent));
        reader.is_first = is_first;
        reader.is_direct = direct.is_some();
        reader.result = Some(Wanted { digest: result.clone(), parts: parts.clone() });
        reader.staged = settle
            .as_ref()
            .map(|settle| Wanted { digest: settle.staged.clone(), parts: settle.parts.clone() });
        reader.touched = terms.parts.as_ref().map(|_| reader.differing());
        reader
    }

    /// The tables that the change adds, changes or removes. O(tables).
    fn differing(&self) -> BTreeSet<String> {
        let before = &self.before.parts;
        let others = self.result.iter().chain(&self.staged).flat_map(|wanted| {
            let names = before.keys().chain(wanted.parts.keys());
            names.filter(|name| before.get(*name) != wanted.parts.get(*name))
        });
        others.cloned().collect()
    }

    /// The parts that the change touches; of a command, those that differ now. `None` where that can't be told.
    ///
    /// # Errors
    /// As for [`Reader::state`].
    pub fn touched(&mut self) -> Result<Option<BTreeSet<String>>, String> {
        if self.result.is_some() {
            return Ok(self.touched.clone());
        }
        let (before, now) = (self.before.parts.clone(), self.state()?.parts());
        let names = before.keys().chain(now.keys());
        Ok(Some(names.filter(|name| before.get(*name) != now.get(*name)).cloned().collect()))
    }

    /// The rules themselves, as they are now.
    ///
    /// # Errors
    /// They can't be read, or aren't those of the last reading.
    pub fn state(&mut self) -> Result<&State, String> {
        if !self.last.as_ref().is_some_and(|(state, _)| state.is_current()) {
            let expected = self.known.take().map(|(_, reading)| reading.rules);
            let state = State::read().map_err(|error| clip(&error.to_string()))?;
            let reading = self.judge(state.digest(), &state.parts());
            if expected.is_some_and(|expected| expected != reading.rules) {
                return Err(format!("the kernel holds other rules than it was told: {}", reading.digest));
            }
            self.listed(state, reading);
        }
        self.last.as_ref().map(|(state, _)| state).ok_or_else(|| "the rules were not read".to_owned())
    }

    /// Notes what a listing says.
    fn listed(&mut self, state: State, reading: Reading) {
        self.known = state.is_counted().then(|| (state.generation, reading.clone()));
        self.last = Some((state, reading));
    }

    /// The generation at which the kernel held these rules, and no others changed theirs, when it was read last.
    pub fn generation_of(&self, rules: Rules) -> Option<u32> {
        let known = self.known.as_ref().filter(|(_, reading)| reading.rules == rules && !reading.foreign);
        known.map(|(generation, _)| *generation)
    }

    /// Notes that a transaction which the kernel took only at a known generation led to these rules and this generation.
    pub fn moved(&mut self, generation: u32, rules: Rules) {
        let digest = match (rules, &self.result) {
            (Rules::New, Some(result)) => result.digest.clone(),
            _ => self.before.digest.clone(),
        };
        self.last = None;
        self.known = Some((generation, Reading { digest, rules, foreign: false }));
    }

    /// The generation of the ruleset that was read last.
    pub fn generation(&self) -> Option<u32> {
        let known = self.known.as_ref().map(|(generation, _)| *generation);
        known.or_else(|| self.last.as_ref().map(|(state, _)| state.generation))
    }

    /// Nothing is known any more of what the kernel holds.
    pub fn forget(&mut self) {
        (self.last, self.known) = (None, None);
    }

    /// Whether what the kernel holds is known by what it was told, and nobody has listed it yet.
    pub fn is_unproven(&self) -> bool {
        self.known.is_some() && self.last.is_none() && self.generation_of(Rules::New).is_some()
    }

    /// Holds a listing against what the kernel was told. Gives the reading where it isn't what the plan says; `None` also
    /// where others changed something meanwhile, so that the listing proves nothing.
    pub fn prove(&mut self, state: State) -> Option<Reading> {
        let (generation, _) = self.known.as_ref()?;
        if *generation != state.generation {
            return None;
        }
        let reading = self.judge(state.digest(), &state.parts());
        let is_new = reading.rules == Rules::New;
        self.listed(state, reading.clone());
        (!is_new).then_some(reading)
    }

    /// Reads the rules from before once more, as at the first time: somebody changed something before the new ones were
    /// loaded.
    pub fn read_anew(&mut self, parent: &Parent) -> Result<Reading, String> {
        self.parent = Some(parent.clone());
        self.is_first = true;
        self.known = None;
        self.read()
    }

    /// Reads the kernel. Only a ruleset that wasn't seen in this trial has to be listed.
    pub fn read(&mut self) -> Result<Reading, String> {
        if let Some((state, reading)) = &self.last
            && state.is_current()
        {
            return Ok(reading.clone());
        }
        if let Some((generation, reading)) = &self.known
            && is_generation(*generation)
        {
            return Ok(reading.clone());
        }
        if self.is_direct
            && let Some(parent) = &self.parent
            && is_generation(parent.generation)
            && has_owned_tables().is_ok_and(|has| !has)
        {
            let generation = parent.generation;
            let old = Reading { digest: self.before.digest.clone(), rules: Rules::Old, foreign: false };
            (self.parent, self.is_first) = (None, false);
            self.known = Some((generation, old.clone()));
            return Ok(old);
        }
        let is_counted = has_owned_tables().is_ok_and(|has| !has);
        let fingerprint = Fingerprint::read().ok().filter(|now| is_generation(now.generation));
        let (parent, is_first) = (self.parent.take(), std::mem::take(&mut self.is_first));
        if let Some(now) = &fingerprint {
            // A generation is used once: the rules are those that the plan was made from.
            let is_parents = parent.as_ref().is_some_and(|parent| parent.generation == now.generation);
            if is_parents || self.fingerprints[0].as_ref() == Some(&now.tables) {
                self.fingerprints[0] = Some(now.tables.clone());
                let old = Reading { digest: self.before.digest.clone(), rules: Rules::Old, foreign: false };
                self.known = is_counted.then(|| (now.generation, old.clone()));
                return Ok(old);
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
        let mut reading = self.judge(digest, &parts);
        if let Some(now) = fingerprint.filter(|now| now.generation == state.generation) {
            if reading.digest == self.before.digest {
                self.fingerprints[0] = Some(now.tables);
            } else if self.result.iter().chain(&self.staged).any(|wanted| wanted.digest == reading.digest) {
                self.fingerprints[1] = Some(now.tables);
            }
        }
        if parent.is_some_and(|parent| !has_handles(&parent, &state.nft)) {
            // The same rules, but loaded anew: the plan's scripts would name others.
            reading.rules = Rules::Other;
        }
        if is_first && reading.foreign {
            reading.rules = Rules::Other;
        }
        self.listed(state, reading.clone());
        Ok(reading)
    }

    fn judge(&self, digest: String, parts: &Parts) -> Reading {
        let known = [
            (Some(&self.before), Rules::Old),
            (self.result.as_ref(), Rules::New),
            (self.staged.as_ref(), Rules::Staged),
        ];
        let known = known.into_iter().filter_map(|(wanted, rules)| wanted.map(|wanted| (wanted, rules)));
        for (wanted, rules) in known.clone() {
            if wanted.digest == digest {
                return Reading { digest, rules, foreign: false };
            }
        }
        let Some(touched) = &self.touched else {
            return Reading { digest, rules: Rules::Other, foreign: false };
        };
        let is = |wanted: &Wanted| touched.iter().all(|name| parts.get(name) == wanted.parts.get(name));
        let rules = known.clone().find(|(wanted, _)| is(wanted)).map_or(Rules::Other, |(_, rules)| rules);
        let before = &self.before.parts;
        let mut names = before.keys().chain(parts.keys()).filter(|name| !touched.contains(*name));
        let foreign = names.any(|name| before.get(name) != parts.get(name));
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
        let wanted = |digest: &str, pairs| Wanted { digest: digest.into(), parts: parts(pairs) };
        let mut reader = Reader {
            before: wanted("B", &[("ours", "1"), ("gone", "2"), ("docker", "3")]),
            result: Some(wanted("R", &[("ours", "9"), ("docker", "3"), ("fresh", "7")])),
            staged: Some(wanted("S", &[("ours", "8"), ("gone", "2"), ("docker", "3"), ("fresh", "7")])),
            parent: None,
            is_first: false,
            fingerprints: [None, None],
            touched: None,
            last: None,
            known: None,
            is_direct: false,
        };
        let judge = |reader: &Reader, digest: &str, pairs: &[(&str, &str)]| {
            let reading = reader.judge(digest.into(), &parts(pairs));
            (reading.rules, reading.foreign)
        };
        assert_eq!(judge(&reader, "B", &[]), (Rules::Old, false));
        assert_eq!(judge(&reader, "R", &[]), (Rules::New, false));
        assert_eq!(judge(&reader, "S", &[]), (Rules::Staged, false));
        let docker_changed = [("ours", "9"), ("docker", "4"), ("fresh", "7")];
        assert_eq!(judge(&reader, "x", &docker_changed), (Rules::Other, false));
        reader.touched = Some(reader.differing());
        assert_eq!(judge(&reader, "x", &docker_changed), (Rules::New, true));
        assert_eq!(judge(&reader, "x", &[("ours", "1"), ("gone", "2"), ("docker", "4")]), (Rules::Old, true));
        assert_eq!(
            judge(&reader, "x", &[("ours", "8"), ("gone", "2"), ("fresh", "7")]),
            (Rules::Staged, true)
        );
        assert_eq!(
            judge(&reader, "x", &[("ours", "1"), ("gone", "2"), ("fresh", "7")]),
            (Rules::Other, true)
        );
    }
}
