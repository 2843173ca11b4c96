//! Tables while commands are carried out on them.

use super::rule::find_module;
use super::spec::{self, Hooks, Tables, Versions, nearest};
use super::targets::TARGETS;
use super::tree::{Chain, Rule, Table};
use super::words::Text;
use super::{names, rule::shorten};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Unknown chains for which a known one is suggested: finding one takes longer than reading a rule.
const MAX_SUGGESTIONS: u32 = 100;

/// A table while it is being read.
pub(super) struct TableState<'t> {
    pub table: Table<'t>,
    /// Chains by name; only for looking up.
    pub index: HashMap<&'t str, u32>,
    /// The version that the command or the caller says, beyond doubt.
    pub declared: Option<Versions>,
    /// The version that a comment above says.
    pub header: Option<Versions>,
    /// A line had `-4` or `-6`.
    pub prefixed: bool,
    /// Rules that show IPv4, and IPv6.
    pub strong: [u32; 2],
    /// Rules that hint at them.
    pub weak: [u32; 2],
    /// Chains that rules go to: rule, and the name's place.
    pub targets: Vec<(u32, Text)>,
    /// Made by commands, not by `*table`.
    pub script: bool,
    /// What inserting and deleting has cost so far, in moved rules.
    pub moved: u64,
    /// The chain looked up last: rules of a chain mostly stand together.
    recent: Option<(&'t str, u32)>,
}

/// The tables of the kernel with their built-in chains.
const BUILTIN: [(&str, Tables, &[&str]); 5] = [
    ("filter", spec::FILTER, &["INPUT", "FORWARD", "OUTPUT"]),
    ("nat", spec::NAT, &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("mangle", spec::MANGLE, &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("raw", spec::RAW, &["PREROUTING", "OUTPUT"]),
    ("security", spec::SECURITY, &["INPUT", "FORWARD", "OUTPUT"]),
];

/// The built-in chains of a table; none for a table that iptables doesn't have.
pub(super) fn builtin_chains(table: &str) -> &'static [&'static str] {
    BUILTIN.iter().find(|known| known.0 == table).map_or(&[], |known| known.2)
}

/// The names of the tables.
pub(super) fn table_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|known| known.0)
}

/// The bit of a table; all bits for an unknown one.
pub(super) fn table_bit(table: &str) -> Tables {
    BUILTIN.iter().find(|known| known.0 == table).map_or(spec::ANY_TABLE, |known| known.1)
}

/// The bit of a built-in chain's hook; all bits for other chains.
pub(super) fn hook_bit(chain: &str) -> Hooks {
    match chain {
        "PREROUTING" => spec::PRE,
        "INPUT" => spec::IN,
        "FORWARD" => spec::FWD,
        "OUTPUT" => spec::OUT,
        "POSTROUTING" => spec::POST,
        _ => spec::ANYWHERE,
    }
}

impl<'t> TableState<'t> {
    pub fn new(name: &'t str, at: Text) -> TableState<'t> {
        TableState {
            table: Table {
                name,
                at,
                versions: Versions::V4,
                backend: None,
                chains: Vec::new(),
                committed: false,
            },
            index: HashMap::new(),
            declared: None,
            header: None,
            prefixed: false,
            strong: [0; 2],
            weak: [0; 2],
            targets: Vec::new(),
            script: false,
            moved: 0,
            recent: None,
        }
    }

    /// The chain of that name, if it is there; built-in chains always are. O(1).
    pub fn chain(&mut self, name: &'t str, at: Text) -> Option<u32> {
        if let Some((_, index)) = self.recent.filter(|(recent, _)| *recent == name) {
            return Some(index);
        }
        if let Some(&index) = self.index.get(name) {
            self.recent = Some((name, index));
            return Some(index);
        }
        builtin_chains(self.table.name).contains(&name).then(|| self.add_chain(name, at))
    }

    /// Adds a chain that isn't there yet.
    pub fn add_chain(&mut self, name: &'t str, at: Text) -> u32 {
        let index = self.table.chains.len() as u32;
        let builtin = builtin_chains(self.table.name).contains(&name);
        self.table.chains.push(Chain { name, at, policy: None, builtin, rules: Vec::new() });
        self.index.insert(name, index);
        index
    }

    /// Removes a chain; O(chains).
    pub fn remove_chain(&mut self, name: &str) {
        self.recent = None;
        if let Some(index) = self.index.remove(name) {
            self.table.chains.remove(index as usize);
            for place in self.index.values_mut() {
                *place -= u32::from(*place > index);
            }
        }
    }

    /// Counts what a rule shows of the IP version.
    pub fn tally(&mut self, rule: &Rule, weak: Versions) {
        // A rule for one version only says nothing of the others.
        if rule.versions != Versions::BOTH {
            self.prefixed = true;
            return;
        }
        for (index, version) in [Versions::V4, Versions::V6].into_iter().enumerate() {
            if let (Some(strong), Some(hints)) = (self.strong.get_mut(index), self.weak.get_mut(index)) {
                *strong += u32::from(rule.shows == version);
                *hints += u32::from(weak == version);
            }
        }
    }

    /// Decides whom the table is for: the command, then what its rules show, then the comment above, then hints, then
    /// the table before.
    pub fn decide(&mut self, before: Option<Versions>) -> Versions {
        // A version that one of two counts speaks for alone, or more often.
        let majority = |[v4, v6]: [u32; 2]| match v4.cmp(&v6) {
            Ordering::Less => Some(Versions::V6),
            Ordering::Greater => Some(Versions::V4),
            Ordering::Equal => None,
        };
        let alone = |[v4, v6]: [u32; 2]| if v4 == 0 || v6 == 0 { majority([v4, v6]) } else { None };
        let versions = self
            .declared
            .or(self.prefixed.then_some(Versions::BOTH))
            .or(alone(self.strong))
            .or(self.header)
            .or(majority(self.strong))
            .or(alone(self.weak))
            .or(before)
            .unwrap_or(Versions::V4);
        self.table.versions = versions;
        versions
    }

    /// Adds the built-in chains that nobody mentioned.
    pub fn complete(&mut self) {
        let at = self.table.at;
        for name in builtin_chains(self.table.name) {
            if !self.index.contains_key(name) {
                self.add_chain(name, at);
            }
        }
    }

    /// Tells of rules that go to chains that aren't there, or show another IP version than the table's.
    pub fn check(&self, file: FileId, text: &'t str, rules: &mut [Rule], report: &mut dyn FnMut(Diagnostic)) {
        let span = |at: Text| Span { file, start: at.start, end: at.end };
        let mut suggestions = MAX_SUGGESTIONS;
        for &(rule, at) in &self.targets {
            let name = at.raw(text);
            match self.index.get(name).and_then(|&index| self.table.chains.get(index as usize)) {
                Some(chain) if !chain.builtin => continue,
                Some(_) => {
                    report(
                        Diagnostic::error(
                            "jump-to-builtin",
                            format!("a rule can't jump to the built-in chain `{name}`"),
                        )
                        .at(span(at), "built in")
                        .help("move the rules that both need to a chain of their own"),
                    );
                }
                None if names::ADDONS.contains(&name) => {
                    report(
                        Diagnostic::warning(
                            "unmodelled-target",
                            format!("the target `{name}` is not part of Linux and not modelled"),
                        )
                        .at(span(at), "what it decides is unknown"),
                    );
                }
                None => {
                    let shown = shorten(name);
                    let known = self.table.chains.iter().map(|chain| chain.name).take(1000);
                    let room = suggestions > 0;
                    suggestions = suggestions.saturating_sub(1);
                    let known = known
                        .chain(["ACCEPT", "DROP", "RETURN"])
                        .chain(TARGETS.iter().map(|target| target.name))
                        .take_while(|_| room);
                    let mut diagnostic =
                        Diagnostic::error("unknown-chain", format!("there is no chain or target `{shown}`"))
                            .at(span(at), "unknown");
                    diagnostic.help = Some(match nearest(name, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if find_module(TARGETS, &name.to_ascii_uppercase()).is_some() => {
                            "targets are written in capitals".to_owned()
                        }
                        None => format!("declare the chain with `:{shown} - [0:0]` in this table"),
                    });
                    report(diagnostic);
                }
            }
            if let Some(rule) = rules.get_mut(rule as usize) {
                rule.incomplete = true;
            }
        }
        for chain in &self.table.chains {
            for &index in &chain.rules {
                let Some(rule) = rules.get_mut(index as usize) else { continue };
                let wanted = rule.versions.intersect(self.table.versions);
                if rule.shows == Versions::NONE || rule.shows == wanted {
                    continue;
                }
                rule.incomplete = true;
                let message = match wanted {
                    Versions::V6 => "the rule needs IPv4, which ip6tables doesn't take",
                    Versions::V4 => "the rule needs IPv6, which iptables doesn't take",
                    _ => "the rule is for one IP version, but the table is for both",
                };
                report(
                    Diagnostic::error("wrong-family", message)
                        .at(span(rule.at), "refused when loaded")
                        .help("move the rule to the tables of its version, or put `-4` or `-6` before it"),
                );
            }
        }
    }
}
