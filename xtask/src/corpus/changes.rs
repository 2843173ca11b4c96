//! What successive versions of real rulesets changed, held against the interpreter.

use super::load::{Language, load, read};
use super::{Section, files, shown};
use firewarden_packet::AtomTable;
use firewarden_testkit::change::Change;
use firewarden_verify::diff::DiffOptions;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const LIMITS: DiffOptions = DiffOptions { steps: 20_000_000, regions: 20_000, split: 64 };

/// Random packets for each pair.
const PACKETS: usize = 200;

#[derive(Default)]
struct Tally {
    pairs: usize,
    unreadable: usize,
    same: usize,
    differ: usize,
    incomplete: usize,
    packets: usize,
}

/// Compares each version with the next one of its history.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let mut text = String::from(
        "## Change histories\n\n`changes/`: each version of a ruleset compared with the next one by `diff`. Points of \
         every box that it tells of are followed by the interpreter and must fare differently; of random packets those in \
         no box must fare alike.\n\n| | pairs | a version has errors | same meaning | differ | not complete within the \
         limits | packets asked |\n|---|---|---|---|---|---|---|\n",
    );
    for (kind, language) in [("nft", Language::Nft), ("iptables", Language::Iptables)] {
        let mut tally = Tally::default();
        for (before, after) in pairs(&folder.join("changes").join(kind)) {
            tally.pairs += 1;
            one(&before, &after, language, folder, &mut tally, &mut section);
        }
        let Tally { pairs, unreadable, same, differ, incomplete, packets } = tally;
        let _ = writeln!(
            text,
            "| {kind} | {pairs} | {unreadable} | {same} | {differ} | {incomplete} | {packets} |"
        );
    }
    section.text = text;
    section
}

fn one(
    before: &Path,
    after: &Path,
    language: Language,
    folder: &Path,
    tally: &mut Tally,
    section: &mut Section,
) {
    let name = shown(after, folder);
    let mut atoms = AtomTable::default();
    let first = load(&read(before), language, before, &mut atoms);
    let second = load(&read(after), language, after, &mut atoms);
    if first.errors().chain(second.errors()).next().is_some() {
        tally.unreadable += 1;
        section.details.push(format!("{name}: this version or the one before has errors"));
        return;
    }
    let change = Change::new(first.ruleset, second.ruleset, atoms);
    let found = change.compare(LIMITS);
    match change.hold(&found, tally.pairs as u64, PACKETS) {
        Ok(packets) => tally.packets += packets,
        Err(problem) => section.failures.push(format!("{name}: {problem}")),
    }
    let complete = found.undecided.is_empty();
    tally.incomplete += usize::from(!complete);
    tally.differ += usize::from(!found.changes.is_empty());
    tally.same += usize::from(found.changes.is_empty() && complete);
    section.details.push(format!(
        "{name}: {} changes in {} regions, {} undecided",
        found.changes.len(),
        found.regions,
        found.undecided.len()
    ));
}

/// Successive versions of each history.
fn pairs(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut all = files(folder);
    all.sort_unstable();
    let next = all.iter().skip(1);
    let together = |(one, other): &(&PathBuf, &PathBuf)| one.parent() == other.parent();
    all.iter().zip(next).filter(together).map(|(one, other)| (one.clone(), other.clone())).collect()
}
