//! The syntax tree: tables, chains, rules and their options, all as places in the text.

use super::spec::{Module, OptSpec, Versions};
use super::words::Text;
use firewarden_diagnostic::{FileId, Span};
use std::borrow::Cow;

/// One text of iptables-save, ip6tables-save, or iptables commands, with all commands carried out: chains hold the
/// rules that are there at the end.
#[derive(Debug)]
pub struct Save<'t> {
    /// The text's id.
    pub file: FileId,
    /// The text.
    pub text: &'t str,
    /// In the order in which they first appear.
    pub tables: Vec<Table<'t>>,
    /// All rules of all tables; chains hold indexes.
    pub rules: Vec<Rule>,
    /// All options of all rules; rules hold ranges.
    pub options: Vec<OptionUse>,
}

/// A table.
#[derive(Debug)]
pub struct Table<'t> {
    /// `filter`, `nat`, `mangle`, `raw`, `security`.
    pub name: &'t str,
    /// The line that opens it, or the first command on it.
    pub at: Text,
    /// Whom it is for; both for a file that serves iptables-restore and ip6tables-restore alike (`-4`, `-6`).
    pub versions: Versions,
    /// Which of the kernel's two packet filters holds it, where a comment says so: a host may have tables in both.
    pub backend: Option<Backend>,
    /// In the order of declaration; built-in ones that aren't mentioned come last.
    pub chains: Vec<Chain<'t>>,
    /// Its `COMMIT` was there. Always true for commands.
    pub committed: bool,
}

impl Table<'_> {
    /// True where the other table is known to be in the kernel's other packet filter: then both see packets.
    pub fn is_elsewhere(&self, other: &Table<'_>) -> bool {
        matches!((self.backend, other.backend), (Some(one), Some(two)) if one != two)
    }
}

/// Who carries a table out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// nf_tables, which `iptables-nft` writes to.
    Nft,
    /// x_tables, which `iptables-legacy` writes to.
    Legacy,
}

/// A chain.
#[derive(Debug)]
pub struct Chain<'t> {
    /// Its name.
    pub name: &'t str,
    /// Where it is declared.
    pub at: Text,
    /// `ACCEPT` or `DROP` of a built-in chain, with its place; `None` where it isn't said, and for other chains.
    pub policy: Option<(Policy, Text)>,
    /// The kernel's own chains.
    pub builtin: bool,
    /// Indexes into [`Save::rules`].
    pub rules: Vec<u32>,
}

/// What happens to a packet that no rule of a built-in chain decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
}

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The line, without white space around it.
    pub at: Text,
    /// Where its options begin in [`Save::options`].
    pub first: u32,
    /// How many it has.
    pub count: u32,
    /// `-4`, `-6`, or both.
    pub versions: Versions,
    /// Some of it wasn't understood (a diagnostic says what): it means more than its options say.
    pub incomplete: bool,
    /// Packets and bytes counted, where the text says so.
    pub counters: Option<(u64, u64)>,
    /// IP versions that its addresses, errors and extensions show.
    pub(super) shows: Versions,
}

/// An option of a rule, or (without [`OptionUse::spec`]) the loading of an extension.
#[derive(Clone, Copy, Debug)]
pub struct OptionUse {
    /// The extension it belongs to, or [`super::rule_module`] for the rule's own.
    pub module: &'static Module,
    /// The option; `None` for the loading of the extension itself (`-m tcp`, also when implied by `-p tcp --dport`).
    pub spec: Option<&'static OptSpec>,
    /// Which loading in this rule it belongs to: 0 for the rule's own, then counted from 1.
    pub instance: u8,
    /// `!` stood before it.
    pub negated: bool,
    /// Its value; for the loading of an unknown extension, the name.
    pub value: Text,
    /// Its second value.
    pub second: Text,
    /// Where it begins.
    pub at: u32,
}

impl OptionUse {
    /// The option's name as iptables-save writes it; empty for the loading of an extension.
    pub fn name(&self) -> &'static str {
        self.spec.map_or("", |spec| spec.name)
    }
}

impl<'t> Save<'t> {
    /// A place as a span.
    pub fn span(&self, at: Text) -> Span {
        Span { file: self.file, start: at.start, end: at.end }
    }

    /// The value of a word.
    pub fn value(&self, at: Text) -> Cow<'t, str> {
        at.value(self.text)
    }

    /// The options of a rule in the order written.
    pub fn options(&self, rule: &Rule) -> &[OptionUse] {
        let first = rule.first as usize;
        self.options.get(first..first + rule.count as usize).unwrap_or_default()
    }

    /// The rules of a chain in order.
    pub fn rules<'s>(&'s self, chain: &'s Chain<'t>) -> impl Iterator<Item = &'s Rule> {
        chain.rules.iter().filter_map(|&index| self.rules.get(index as usize))
    }
}
