//! What a match or target looks like: its options, their arguments, and where it may stand.

use super::args::Check;

/// IP versions, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Versions(u8);

impl Versions {
    /// Neither.
    pub const NONE: Versions = Versions(0);
    /// iptables.
    pub const V4: Versions = Versions(1);
    /// ip6tables.
    pub const V6: Versions = Versions(2);
    /// Both.
    pub const BOTH: Versions = Versions(3);

    /// True where every version of `other` is in `self`.
    pub fn contains(self, other: Versions) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those in either.
    pub fn union(self, other: Versions) -> Versions {
        Versions(self.0 | other.0)
    }

    /// Those in both.
    pub fn intersect(self, other: Versions) -> Versions {
        Versions(self.0 & other.0)
    }
}

/// A bit for each hook: prerouting, input, forward, output, postrouting.
pub type Hooks = u8;
pub(super) const PRE: Hooks = 1;
pub(super) const IN: Hooks = 2;
pub(super) const FWD: Hooks = 4;
pub(super) const OUT: Hooks = 8;
pub(super) const POST: Hooks = 16;
pub(super) const ANYWHERE: Hooks = 31;

/// A bit for each table: filter, nat, mangle, raw, security.
pub type Tables = u8;
pub(super) const FILTER: Tables = 1;
pub(super) const NAT: Tables = 2;
pub(super) const MANGLE: Tables = 4;
pub(super) const RAW: Tables = 8;
pub(super) const SECURITY: Tables = 16;
pub(super) const ANY_TABLE: Tables = 31;

/// The argument of an option.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// How many words: 0, 1 or 2.
    pub words: u8,
    /// The word may be missing.
    pub optional: bool,
    /// Whether a first word is one of its values.
    pub(super) check: Check,
    /// The same of a second word.
    pub(super) second: Check,
    /// What a value is, for people: "a port from 0 to 65535".
    pub expects: &'static str,
    /// The value shows the IP version (an address, an ICMP error).
    pub(super) shows_version: bool,
}

/// An option of a match, of a target, or of a rule itself.
#[derive(Debug)]
pub struct OptSpec {
    /// The name that iptables-save writes, without `--`.
    pub name: &'static str,
    /// Another name; empty where there is none.
    pub(super) alias: &'static str,
    /// Its argument.
    pub arg: Arg,
    /// Whether `!` may stand before it.
    pub(super) negatable: bool,
    /// Whether it may be given several times.
    pub(super) repeatable: bool,
}

impl OptSpec {
    /// An option without argument.
    pub(super) const fn flag(name: &'static str) -> OptSpec {
        OptSpec { name, alias: "", arg: super::args::NOTHING, negatable: false, repeatable: false }
    }

    /// An option with an argument.
    pub(super) const fn with(name: &'static str, arg: Arg) -> OptSpec {
        OptSpec { name, alias: "", arg, negatable: false, repeatable: false }
    }

    /// Another name for it.
    pub(super) const fn or(mut self, alias: &'static str) -> OptSpec {
        self.alias = alias;
        self
    }

    /// `!` may stand before it.
    pub(super) const fn neg(mut self) -> OptSpec {
        self.negatable = true;
        self
    }

    /// It may be given several times.
    pub(super) const fn many(mut self) -> OptSpec {
        self.repeatable = true;
        self
    }
}

/// Whether a module is a match or a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Loaded by `-m`.
    Match,
    /// Loaded by `-j`.
    Target,
}

/// What a check of a whole module sees: its options as given.
pub(super) struct Given<'a> {
    /// Name, value, second value.
    pub options: &'a [(&'static str, &'a str, &'a str)],
}

impl Given<'_> {
    /// The value of an option; `None` where it isn't given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|option| option.0 == name).map(|option| option.1)
    }

    /// Whether an option is given.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// A match or target extension.
#[derive(Debug)]
pub struct Module {
    /// The name as in `-m NAME` or `-j NAME`.
    pub name: &'static str,
    /// Match or target.
    pub kind: Kind,
    /// Where it exists.
    pub(super) versions: Versions,
    /// Protocols of which the rule must name one; empty for any.
    pub(super) protocols: &'static [u8],
    /// Tables in which the kernel takes it.
    pub(super) tables: Tables,
    /// Hooks at which the kernel takes it.
    pub(super) hooks: Hooks,
    /// Its options.
    pub options: &'static [OptSpec],
    /// Of each group one must be given.
    pub(super) required: &'static [&'static [&'static str]],
    /// Of each group only one may be given.
    pub(super) exclusive: &'static [&'static [&'static str]],
    /// What else must hold; answers with what is wrong.
    pub(super) check: Option<fn(&Given<'_>) -> Option<&'static str>>,
}

impl Module {
    /// A match that may stand anywhere.
    pub(super) const fn new(name: &'static str, options: &'static [OptSpec]) -> Module {
        Module {
            name,
            kind: Kind::Match,
            versions: Versions::BOTH,
            protocols: &[],
            tables: ANY_TABLE,
            hooks: ANYWHERE,
            options,
            required: &[],
            exclusive: &[],
            check: None,
        }
    }

    /// A target that may stand anywhere.
    pub(super) const fn target(name: &'static str, options: &'static [OptSpec]) -> Module {
        let mut module = Module::new(name, options);
        module.kind = Kind::Target;
        module
    }

    /// Only in iptables, or only in ip6tables.
    pub(super) const fn only(mut self, versions: Versions) -> Module {
        self.versions = versions;
        self
    }

    /// Only with one of these protocols.
    pub(super) const fn protocols(mut self, protocols: &'static [u8]) -> Module {
        self.protocols = protocols;
        self
    }

    /// Only in these tables.
    pub(super) const fn tables(mut self, tables: Tables) -> Module {
        self.tables = tables;
        self
    }

    /// Only at these hooks.
    pub(super) const fn hooks(mut self, hooks: Hooks) -> Module {
        self.hooks = hooks;
        self
    }

    /// One of each group is needed.
    pub(super) const fn required(mut self, groups: &'static [&'static [&'static str]]) -> Module {
        self.required = groups;
        self
    }

    /// At most one of each group.
    pub(super) const fn exclusive(mut self, groups: &'static [&'static [&'static str]]) -> Module {
        self.exclusive = groups;
        self
    }

    /// A condition on all options together.
    pub(super) const fn check(mut self, check: fn(&Given<'_>) -> Option<&'static str>) -> Module {
        self.check = Some(check);
        self
    }

    /// The option of this exact name.
    pub(super) fn option(&self, name: &str) -> Option<&'static OptSpec> {
        self.options
            .iter()
            .find(|option| option.name == name || (!option.alias.is_empty() && option.alias == name))
    }
}

/// The known name nearest to a misspelt one: at most a third of its letters differ. O(names × length²).
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 40 {
        return None;
    }
    let limit = ((name.chars().count() + 1) / 3).clamp(1, 3);
    known
        .map(|other| (distance(name, other), other))
        .filter(|&(far, _)| far <= limit)
        .min()
        .map(|(_, other)| other)
}

/// Levenshtein distance, with letters of different case counted as equal.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = index;
        let mut left_cell = index + 1;
        for (cell, &b) in row.iter_mut().skip(1).zip(&right) {
            let here = (diagonal + usize::from(a != b)).min(*cell + 1).min(left_cell + 1);
            diagonal = *cell;
            *cell = here;
            left_cell = here;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
