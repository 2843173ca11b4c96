//! Small mistakes, planted in rulesets: a rule too few, a rule in the wrong place, a match too wide, too narrow or the
//! wrong way round. Each is one edit of the text, as somebody in a hurry would make it.

pub mod drill;
mod iptables;
mod nft;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// What kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A rule, or an element of a set, is gone.
    Delete,
    /// Two rules that follow each other change places.
    Swap,
    /// A match is gone, or admits more.
    Widen,
    /// A match admits less or something else, or there is one too many.
    Narrow,
    /// A match is the wrong way round.
    Negate,
    /// Another interface.
    Interface,
    /// A rule holds for one IP version, or for the other one.
    Family,
    /// Another set, variable or address.
    Set,
    /// Another policy.
    Policy,
    /// A translation to somewhere else.
    NatTarget,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Delete,
        Kind::Swap,
        Kind::Widen,
        Kind::Narrow,
        Kind::Negate,
        Kind::Interface,
        Kind::Family,
        Kind::Set,
        Kind::Policy,
        Kind::NatTarget,
    ];

    /// Its name, as people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Delete => "delete",
            Kind::Swap => "swap",
            Kind::Widen => "widen",
            Kind::Narrow => "narrow",
            Kind::Negate => "negate",
            Kind::Interface => "interface",
            Kind::Family => "family",
            Kind::Set => "set",
            Kind::Policy => "policy",
            Kind::NatTarget => "nat-target",
        }
    }
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore`.
    Iptables,
    /// For `ip6tables-restore`.
    Ip6tables,
}

/// A ruleset to plant mistakes in.
#[derive(Clone, Copy, Debug)]
pub struct RulesFile<'t> {
    /// Its name, for people.
    pub name: &'t str,
    /// Its text.
    pub text: &'t str,
    /// How it is written.
    pub format: Format,
    /// The interfaces that its host has.
    pub interfaces: &'t [&'t str],
}

/// Addresses that a mistake may name instead of the right ones.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Of IPv4.
    pub ipv4: Vec<Ipv4Addr>,
    /// Of IPv6.
    pub ipv6: Vec<Ipv6Addr>,
}

/// An edit of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which of the files.
    pub file: usize,
    /// What goes, in bytes.
    pub range: Range<usize>,
    /// What comes.
    pub text: String,
}

/// A mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Of which kind.
    pub kind: Kind,
    /// Which of the files.
    pub file: usize,
    /// The line that it is in, from 1.
    pub line: usize,
    /// What it is, such as `without "tcp dport 5432"`.
    pub what: String,
    /// In the order of the texts; they don't overlap.
    pub edits: Vec<Edit>,
}

impl Mutation {
    /// The text of one of the files with the mistake in it. O(length).
    pub fn apply(&self, file: usize, text: &str) -> String {
        let mut result = text.to_owned();
        let edits = self.edits.iter().filter(|edit| edit.file == file);
        for edit in edits.rev() {
            if result.get(edit.range.clone()).is_some() {
                result.replace_range(edit.range.clone(), &edit.text);
            }
        }
        result
    }

    /// The files that it changes.
    pub fn files(&self) -> impl Iterator<Item = usize> + '_ {
        let mut last = None;
        self.edits
            .iter()
            .filter_map(move |edit| (last.replace(edit.file) != Some(edit.file)).then_some(edit.file))
    }
}

/// Every mistake that is known for these rulesets, in the order of their texts, each once. A text with errors has none.
/// O(length of the texts * mistakes of a rule).
pub fn all(files: &[RulesFile], vocabulary: &Vocabulary) -> Vec<Mutation> {
    let mut found = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let mut plant = Plant { files, file: index, vocabulary, found: &mut found };
        match file.format {
            Format::Nft => nft::plant(&mut plant),
            Format::Iptables | Format::Ip6tables => iptables::plant(&mut plant),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|mutation: &Mutation| {
        let changes = mutation
            .edits
            .iter()
            .any(|edit| files[edit.file].text.get(edit.range.clone()).is_some_and(|text| text != edit.text));
        let edits: Vec<_> = mutation
            .edits
            .iter()
            .map(|edit| (edit.file, edit.range.start, edit.range.end, edit.text.clone()))
            .collect();
        changes && seen.insert(edits)
    });
    found
}

/// Draws mistakes, the same ones from the same seed: of every kind as many as there are, as far as that goes, and none
/// twice. Fewer than `count` where there aren't as many. O(n log n).
pub fn draw(seed: u64, count: usize, all: &[Mutation]) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kinds: BTreeMap<Kind, Vec<(u64, usize)>> = BTreeMap::new();
    for (index, mutation) in all.iter().enumerate() {
        kinds.entry(mutation.kind).or_default().push((random.u64(..), index));
    }
    for drawn in kinds.values_mut() {
        drawn.sort_unstable();
    }
    let mut result = Vec::new();
    while result.len() < count && kinds.values().any(|left| !left.is_empty()) {
        for left in kinds.values_mut() {
            if let Some((_, index)) = left.pop()
                && result.len() < count
            {
                result.push(index);
            }
        }
    }
    result
}

/// Where mistakes of one file are gathered.
struct Plant<'p> {
    files: &'p [RulesFile<'p>],
    file: usize,
    vocabulary: &'p Vocabulary,
    found: &'p mut Vec<Mutation>,
}

impl<'p> Plant<'p> {
    fn text(&self) -> &'p str {
        self.files[self.file].text
    }

    fn slice(&self, range: &Range<usize>) -> &'p str {
        self.text().get(range.clone()).unwrap_or_default()
    }

    /// One edit of this file.
    fn edit(&mut self, kind: Kind, range: Range<usize>, text: impl Into<String>, what: impl Into<String>) {
        let edit = Edit { file: self.file, range, text: text.into() };
        self.edits(kind, vec![edit], what.into());
    }

    fn edits(&mut self, kind: Kind, edits: Vec<Edit>, what: String) {
        let of_this = edits.iter().find(|edit| edit.file == self.file);
        let at = of_this.map_or(0, |edit| edit.range.start);
        let line = self.text().get(..at).unwrap_or_default().matches('\n').count() + 1;
        self.found.push(Mutation { kind, file: self.file, line, what, edits });
    }

    /// One value in the place of another.
    fn value(&mut self, kind: Kind, range: &Range<usize>, text: impl Into<String>) {
        let text = text.into();
        let what = format!("`{text}` in place of `{}`", self.slice(range));
        self.edit(kind, range.clone(), text, what);
    }

    /// The line around a place, with its end.
    fn whole_line(&self, range: &Range<usize>) -> Range<usize> {
        let text = self.text();
        let start = text.get(..range.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let end = text.get(range.end..).and_then(|after| after.find('\n'));
        start..end.map_or(text.len(), |at| range.end + at + 1)
    }

    /// Two pieces of the text change places.
    fn swap(&mut self, first: &Range<usize>, second: &Range<usize>) {
        let texts = [self.slice(first).to_owned(), self.slice(second).to_owned()];
        let what = format!("`{}` before `{}`", texts[1], texts[0]);
        let [one, two] = texts;
        let edit = |range: &Range<usize>, text| Edit { file: self.file, range: range.clone(), text };
        let edits = vec![edit(first, two), edit(second, one)];
        self.edits(Kind::Swap, edits, what);
    }

    /// Addresses of others, instead of this one.
    fn other_addresses(&self, address: std::net::IpAddr) -> Vec<String> {
        match address {
            std::net::IpAddr::V4(own) => {
                let others = self.vocabulary.ipv4.iter().filter(|other| **other != own);
                others.map(ToString::to_string).collect()
            }
            std::net::IpAddr::V6(own) => {
                let others = self.vocabulary.ipv6.iter().filter(|other| **other != own);
                others.map(ToString::to_string).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
