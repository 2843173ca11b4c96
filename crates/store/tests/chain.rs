//! The chain by itself, without a database: whatever is done to a list of entries is found where it was done.

mod common;

use common::entry;
use firewarden_store::chain::{Chain, Checked, Problem, canonical, genesis, hash};
use firewarden_store::{Bytes, Entry, Hash};

const JOURNAL: Hash = Bytes([7; 32]);

/// A sound chain.
fn chain(count: u64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for sequence in 1..=count {
        let previous = entries.last().map_or(genesis(JOURNAL), |entry| entry.hash);
        let new = entry(i64::try_from(sequence).unwrap());
        entries.push(Entry::following(&new, sequence, previous).unwrap());
    }
    entries
}

fn check(entries: &[Entry]) -> Checked {
    let mut chain = Chain::new(JOURNAL);
    entries.iter().for_each(|entry| chain.push(entry));
    chain.finish()
}

fn noise(seed: &mut u64, below: usize) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    usize::try_from(*seed % u64::try_from(below).unwrap()).unwrap()
}

/// Puts numbers in order again, as somebody does who knows that they are looked at.
fn renumber(entries: &mut [Entry]) {
    for (sequence, entry) in (1..).zip(entries) {
        entry.sequence = sequence;
    }
}

#[test]
fn any_change_is_found_where_it_was_made() {
    let sound = chain(60);
    assert_eq!(check(&sound).findings, []);
    let mut seed = 0x1234_5678_9abc_def1;
    for round in 0..300 {
        let mut entries = sound.clone();
        let at = noise(&mut seed, 59);
        let to = noise(&mut seed, 59);
        let kind = round % 5;
        match kind {
            0 => entries[at].text.push('x'),
            1 => drop(entries.remove(at)),
            2 => {
                let moved = entries.remove(at);
                entries.insert(to, moved);
            }
            3 => {
                let copy = entries[at].clone();
                entries.insert(to, copy);
            }
            // Changed and hashed again.
            _ => {
                entries[at].text.push('x');
                entries[at].hash = hash(&entries[at]);
            }
        }
        if round % 2 == 0 {
            renumber(&mut entries);
        }
        let findings = check(&entries).findings;
        if kind == 2 && at == to {
            assert_eq!(findings, []);
            continue;
        }
        // By one it can be off: a copy or a new hash shows at the next entry.
        let near = |place: usize, sequence: u64| {
            (place..=place + 2).contains(&usize::try_from(sequence - 1).unwrap())
        };
        let places = if matches!(kind, 2 | 3) { [at, to] } else { [at, at] };
        let first = findings.first().unwrap_or_else(|| panic!("round {round}: nothing found"));
        assert!(
            places.iter().any(|&place| near(place, first.sequence)),
            "round {round}, {kind} at {at} to {to}: {findings:?}"
        );
    }
}

#[test]
fn a_journal_that_was_moved_far_is_told_in_one_line() {
    let mut entries = chain(1000);
    entries.drain(10..300);
    renumber(&mut entries);
    let findings = check(&entries).findings;
    let problems: Vec<_> =
        findings.iter().map(|finding| (finding.sequence, finding.problem.clone())).collect();
    assert_eq!(
        problems,
        [(11, Problem::Missing { through: 300 }), (11, Problem::Reordered { through: 710, written_as: 301 }),]
    );
}

#[test]
fn wild_numbers_are_no_trouble() {
    let mut entries = chain(5);
    entries[2].sequence = 0;
    entries[3].sequence = u64::MAX;
    assert!(!check(&entries).findings.is_empty());
    let nothing = check(&[]);
    assert_eq!((nothing.count, nothing.head, nothing.findings), (0, genesis(JOURNAL), vec![]));
}

#[test]
fn no_value_can_be_taken_for_another_field() {
    let mut one = chain(1).remove(0);
    let mut other = one.clone();
    one.trial = Some("1".to_owned());
    one.change = Some("2".to_owned());
    other.trial = Some("1\nchange 1:2".to_owned());
    assert_ne!(canonical(&one), canonical(&other));
    other.trial = None;
    one.change = None;
    other.change = Some("1".to_owned());
    assert_ne!(canonical(&one), canonical(&other));
    assert!(canonical(&one).starts_with("firewarden journal entry 1\nsequence 1:1\ntime 27:2026-"));
}
