//! The chain of hashes: what an entry's hash covers, and what is wrong with a sequence of entries. Pure.
//!
//! The hash of an entry is SHA-256 over the previous entry's hash (32 bytes) and the entry's [`canonical`] text; before the
//! first entry stands [`genesis`]. The order of the fields never changes, and a field that isn't there is left out.

use crate::{Bytes, Checkpoint, Entry, Hash};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// How many entries that don't fit their hash anywhere near are compared with the places of one another.
const COMPARED_WITH_ALL: usize = 64;

/// How far from its place an entry is looked for.
const REACH: u64 = 512;

/// How many bytes are hashed in looking for the places of entries, all in all.
const SEARCH_BUDGET: usize = 64 << 20;

/// What the first entry of a journal follows.
pub fn genesis(journal: Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"firewarden journal 1\n");
    hash.update(journal.0);
    Bytes(hash.finalize().into())
}

/// The text that is hashed: a line `NAME LENGTH:VALUE` for each field, with the length in bytes, so that no value can be
/// taken for another field.
pub fn canonical(entry: &Entry) -> String {
    canonical_at(entry, entry.sequence)
}

fn canonical_at(entry: &Entry, sequence: u64) -> String {
    let mut text = String::from("firewarden journal entry 1\n");
    let mut field = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!("{name} {}:{value}\n", value.len()));
        }
    };
    field("sequence", Some(&sequence.to_string()));
    field("time", Some(&format!("{:.6}", entry.time)));
    field("kind", Some(&entry.kind));
    field("trial", entry.trial.as_deref());
    field("change", entry.change.as_deref());
    field("user", Some(&entry.actor.user));
    field("uid", entry.actor.uid.map(|uid| uid.to_string()).as_deref());
    field("session", entry.actor.session.as_deref());
    field("process", entry.actor.process.as_deref());
    field("generation", entry.generation.as_deref());
    field("text", Some(&entry.text));
    field("details", entry.details.as_deref());
    field("source", entry.source.as_deref());
    text
}

/// The hash that an entry should have, given the one before it.
pub fn hash(entry: &Entry) -> Hash {
    hash_at(entry, entry.sequence)
}

fn hash_at(entry: &Entry, sequence: u64) -> Hash {
    let mut hash = Sha256::new();
    hash.update(entry.previous.0);
    hash.update(canonical_at(entry, sequence));
    Bytes(hash.finalize().into())
}

/// What is wrong at a place of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The entry's number; of a checkpoint, the number of entries that it counts.
    pub sequence: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The database isn't sound in itself.
    Fault(String),
    /// What the database holds there can't be read.
    Unreadable(String),
    /// The entry isn't what its hash was made of.
    Changed,
    /// Entries from here on are gone from the midst.
    Missing {
        /// The last one that is missing.
        through: u64,
    },
    /// Entries from here on stand where others belong.
    Reordered {
        /// The last one of which this is so.
        through: u64,
        /// The number under which the first of them was written.
        written_as: u64,
    },
    /// The entry comes after one with a greater number.
    Disordered {
        /// That number.
        after: u64,
    },
    /// The entry is a copy.
    Duplicated {
        /// Of this one.
        of: u64,
    },
    /// The entry is sound, but was written after another one than stands before it.
    Unlinked,
    /// Entries from here on are gone from the end: a checkpoint counts them.
    Truncated {
        /// The last one that is known to have been there.
        through: u64,
    },
    /// The checkpoint's signature isn't that of its key.
    ForgedCheckpoint,
    /// The checkpoint is signed by another key than the one that is trusted.
    OtherKey {
        /// The key.
        key: Hash,
    },
    /// The checkpoint is that of another journal: this one took its place.
    OtherJournal {
        /// The id of the other one.
        journal: Hash,
    },
    /// The last entry that the checkpoint counts isn't the one that it signed: the journal was written anew up to there.
    Rewritten,
}

impl Problem {
    /// A short name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Problem::Fault(_) => "fault",
            Problem::Unreadable(_) => "unreadable",
            Problem::Changed => "changed",
            Problem::Missing { .. } => "missing",
            Problem::Reordered { .. } | Problem::Disordered { .. } => "reordered",
            Problem::Duplicated { .. } => "duplicated",
            Problem::Unlinked => "unlinked",
            Problem::Truncated { .. } => "truncated",
            Problem::ForgedCheckpoint => "forged-checkpoint",
            Problem::OtherKey { .. } => "other-key",
            Problem::OtherJournal { .. } => "other-journal",
            Problem::Rewritten => "rewritten",
        }
    }
}

/// `entry 5`, or `entries 5 to 7`.
fn entries(first: u64, last: u64) -> String {
    if first >= last { format!("entry {first}") } else { format!("entries {first} to {last}") }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequence = self.sequence;
        match &self.problem {
            Problem::Fault(fault) => write!(formatter, "the database isn't sound: {fault}"),
            Problem::Unreadable(why) => {
                write!(formatter, "what follows entry {sequence} can't be read: {why}")
            }
            Problem::Changed => {
                write!(formatter, "entry {sequence} was changed: its hash is that of something else")
            }
            Problem::Missing { through } => write!(formatter, "missing: {}", entries(sequence, *through)),
            Problem::Reordered { through, written_as } => write!(
                formatter,
                "reordered: where {} should be stands what was written as {}",
                entries(sequence, *through),
                entries(*written_as, (*written_as).saturating_add(through.saturating_sub(sequence))),
            ),
            Problem::Disordered { after } => {
                write!(formatter, "reordered: entry {sequence} comes after entry {after}")
            }
            Problem::Duplicated { of } if *of == sequence => {
                write!(formatter, "entry {sequence} is there twice")
            }
            Problem::Duplicated { of } => write!(formatter, "entry {sequence} is a copy of entry {of}"),
            Problem::Unlinked if sequence == 1 => {
                write!(formatter, "entry 1 isn't the beginning of this journal: others stood before it")
            }
            Problem::Unlinked => write!(
                formatter,
                "entry {sequence} was written after another entry {} than the one that is there",
                sequence.saturating_sub(1)
            ),
            Problem::Truncated { through } => write!(
                formatter,
                "truncated: {} {} gone from the end; a checkpoint counts {through}",
                entries(sequence, *through),
                if sequence >= *through { "is" } else { "are" },
            ),
            Problem::ForgedCheckpoint => {
                write!(
                    formatter,
                    "the checkpoint over {sequence} entries is forged: its signature doesn't fit"
                )
            }
            Problem::OtherKey { key } => write!(
                formatter,
                "the checkpoint over {sequence} entries is signed by another key than the trusted one: `{key}`"
            ),
            Problem::OtherJournal { journal } => write!(
                formatter,
                "the checkpoint over {sequence} entries is of another journal, `{journal}`: this one took its place"
            ),
            Problem::Rewritten => write!(
                formatter,
                "the checkpoint over {sequence} entries signed another entry {sequence}: the journal was rewritten"
            ),
        }
    }
}

/// An entry as far as the end of the check needs it.
struct Seen {
    sequence: u64,
    previous: Hash,
    hash: Hash,
    /// The number under which it was written; nothing where its hash fits none.
    written_as: Option<u64>,
}

/// Checks entries one by one, in the order in which they are stored. Takes time and memory linear in their number.
pub struct Chain {
    journal: Hash,
    checkpoints: Vec<(Checkpoint, Option<Hash>)>,
    seen: Vec<Seen>,
    /// Entries that don't fit their hash at a place near by.
    stray: Vec<Entry>,
    /// By how much the number under which the last entry was written differs from its place.
    shift: i128,
    /// What is left of [`SEARCH_BUDGET`].
    budget: usize,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many entries there are.
    pub count: u64,
    /// The hash of the last one.
    pub head: Hash,
    /// What is wrong, by sequence number.
    pub findings: Vec<Finding>,
}

impl Chain {
    /// Begins the check of a journal.
    pub fn new(journal: Hash) -> Chain {
        Chain {
            journal,
            checkpoints: Vec::new(),
            seen: Vec::new(),
            stray: Vec::new(),
            shift: 0,
            budget: SEARCH_BUDGET,
        }
    }

    /// A checkpoint that the entries have to agree with, and the key that it must be of where one is trusted.
    pub fn expect(&mut self, checkpoint: Checkpoint, trusted: Option<Hash>) {
        self.checkpoints.push((checkpoint, trusted));
    }

    /// The next entry.
    pub fn push(&mut self, entry: &Entry) {
        let written_as = self.place(entry);
        match written_as {
            Some(place) => self.shift = i128::from(place) - i128::from(entry.sequence),
            None if self.stray.len() < COMPARED_WITH_ALL => self.stray.push(entry.clone()),
            None => {}
        }
        self.seen.push(Seen {
            sequence: entry.sequence,
            previous: entry.previous,
            hash: entry.hash,
            written_as,
        });
    }

    /// The number under which an entry was written, if it is one near by: that under which its hash fits.
    fn place(&mut self, entry: &Entry) -> Option<u64> {
        let fits = |place: u64| (hash_at(entry, place) == entry.hash).then_some(place);
        if let Some(place) = fits(entry.sequence) {
            return Some(place);
        }
        // Where several were moved together, the next one was moved as far as the one before.
        let shifted = u64::try_from(i128::from(entry.sequence) + self.shift).ok();
        if let Some(place) = shifted.and_then(fits) {
            return Some(place);
        }
        let length = canonical(entry).len();
        for by in 1..=REACH {
            self.budget = self.budget.checked_sub(2 * length)?;
            let near = [entry.sequence.checked_add(by), entry.sequence.checked_sub(by)];
            if let Some(place) = near.into_iter().flatten().find_map(fits) {
                return Some(place);
            }
        }
        None
    }

    /// What is wrong with all of it.
    pub fn finish(mut self) -> Checked {
        self.place_strays();
        let mut findings = self.misplaced();
        findings.extend(self.missing());
        findings.extend(self.unlinked());
        let last = self.seen.last();
        let head = last.map_or_else(|| genesis(self.journal), |entry| entry.hash);
        let end = self.seen.iter().map(|entry| entry.sequence).max().unwrap_or(0);
        findings.extend(self.against_checkpoints(end));
        findings.sort();
        findings.dedup();
        Checked { count: u64::try_from(self.seen.len()).unwrap_or(u64::MAX), head, findings }
    }

    /// Finds out from where entries are that stand far from their place: the place after the entry whose hash they
    /// follow, or the place of another stray.
    fn place_strays(&mut self) {
        if self.stray.is_empty() {
            return;
        }
        let after: HashMap<Hash, u64> =
            self.seen.iter().map(|entry| (entry.hash, entry.sequence.saturating_add(1))).collect();
        let places: BTreeSet<u64> = self.stray.iter().map(|entry| entry.sequence).collect();
        let mut found = BTreeMap::new();
        for entry in &self.stray {
            let follows = after.get(&entry.previous).copied();
            let first = (entry.previous == genesis(self.journal)).then_some(1);
            let candidates = follows.into_iter().chain(first).chain(places.iter().copied());
            let place = candidates.into_iter().find(|&place| hash_at(entry, place) == entry.hash);
            if let Some(place) = place {
                found.insert(entry.sequence, place);
            }
        }
        for entry in &mut self.seen {
            if entry.written_as.is_none() {
                entry.written_as = found.get(&entry.sequence).copied();
            }
        }
    }

    /// Changed, copied and moved entries.
    fn misplaced(&self) -> Vec<Finding> {
        let at_home: BTreeSet<u64> = self
            .seen
            .iter()
            .filter(|entry| entry.written_as == Some(entry.sequence))
            .map(|entry| entry.sequence)
            .collect();
        let mut told = BTreeSet::new();
        let mut findings: Vec<Finding> = Vec::new();
        let mut highest = 0;
        for entry in &self.seen {
            let sequence = entry.sequence;
            if sequence < highest {
                findings.push(Finding { sequence, problem: Problem::Disordered { after: highest } });
            }
            highest = highest.max(sequence);
            let Some(written_as) = entry.written_as else {
                findings.push(Finding { sequence, problem: Problem::Changed });
                continue;
            };
            let copy = !told.insert(written_as) || (written_as != sequence && at_home.contains(&written_as));
            if copy {
                findings.push(Finding { sequence, problem: Problem::Duplicated { of: written_as } });
            } else if written_as != sequence && !extends(findings.last_mut(), sequence, written_as) {
                let problem = Problem::Reordered { through: sequence, written_as };
                findings.push(Finding { sequence, problem });
            }
        }
        findings
    }

    /// Numbers up to the last one under which nothing is there, neither in its place nor in another.
    fn missing(&self) -> Vec<Finding> {
        let there: BTreeSet<u64> =
            self.seen.iter().map(|entry| entry.written_as.unwrap_or(entry.sequence)).collect();
        let mut findings = Vec::new();
        let mut next: u64 = 1;
        for &number in &there {
            if number > next {
                findings.push(Finding { sequence: next, problem: Problem::Missing { through: number - 1 } });
            }
            next = next.max(number.saturating_add(1));
        }
        findings
    }

    /// Entries in their place that follow another one than stands there.
    fn unlinked(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut before: Option<&Seen> = None;
        for entry in &self.seen {
            let at_home = |entry: &Seen| entry.written_as.is_none_or(|place| place == entry.sequence);
            let follows = match before {
                None => (entry.sequence == 1).then(|| genesis(self.journal)),
                Some(before) if at_home(before) && before.sequence.checked_add(1) == Some(entry.sequence) => {
                    Some(before.hash)
                }
                Some(_) => None,
            };
            if entry.written_as == Some(entry.sequence) && follows.is_some_and(|hash| hash != entry.previous)
            {
                findings.push(Finding { sequence: entry.sequence, problem: Problem::Unlinked });
            }
            before = Some(entry);
        }
        findings
    }

    fn against_checkpoints(&self, end: u64) -> Vec<Finding> {
        let hashes: BTreeMap<u64, Hash> =
            self.seen.iter().map(|entry| (entry.sequence, entry.hash)).collect();
        let mut findings = Vec::new();
        let mut truncated = None;
        for (checkpoint, trusted) in &self.checkpoints {
            let count = checkpoint.count;
            let mut find = |problem| findings.push(Finding { sequence: count, problem });
            if checkpoint.journal != self.journal {
                find(Problem::OtherJournal { journal: checkpoint.journal });
                continue;
            }
            if checkpoint.check().is_err() {
                find(Problem::ForgedCheckpoint);
                continue;
            }
            if trusted.is_some_and(|key| key != checkpoint.key) {
                find(Problem::OtherKey { key: checkpoint.key });
            }
            let there = if count == 0 { Some(genesis(self.journal)) } else { hashes.get(&count).copied() };
            match there {
                None if count > end => truncated = truncated.max(Some(count)),
                // It is missing from the midst, and told as that.
                None => {}
                Some(hash) if hash != checkpoint.head => find(Problem::Rewritten),
                Some(_) => {}
            }
        }
        findings.extend(truncated.map(|through| Finding {
            sequence: end.saturating_add(1),
            problem: Problem::Truncated { through },
        }));
        findings
    }
}

/// Lengthens the finding before where the entry was moved by as much as those that it tells.
fn extends(before: Option<&mut Finding>, sequence: u64, written_as: u64) -> bool {
    let Some(Finding { sequence: first, problem: Problem::Reordered { through, written_as: start } }) =
        before
    else {
        return false;
    };
    let moved = sequence.checked_sub(*first).and_then(|by| start.checked_add(by));
    let goes_on = through.checked_add(1) == Some(sequence) && moved == Some(written_as);
    if goes_on {
        *through = sequence;
    }
    goes_on
}
