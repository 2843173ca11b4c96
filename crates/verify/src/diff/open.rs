//! What a comparison leaves open: declarations whose content isn't interpreted, and tables that never see an IP packet.

use super::HostPair;
use firewarden_diagnostic::{SourceMap, Span};
use firewarden_ruleset::ir::{ChainId, Family, Ruleset, TableId, Uninterpreted};
use std::collections::BTreeMap;

/// Something that differs and isn't compared by meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCompared {
    /// What it is: `limit ssh of inet filter`, `3 rules of bridge filter`.
    pub what: String,
    /// Why its meaning isn't compared.
    pub why: &'static str,
    /// Where it stands, after the change if it is still there.
    pub span: Option<Span>,
}

impl HostPair<'_> {
    /// What differs and isn't compared. O(size of the rulesets).
    pub fn not_compared(&self, sources: &SourceMap) -> Vec<NotCompared> {
        let mut found = self.declarations(sources);
        found.extend(self.other_families());
        found
    }

    /// Declarations with another text, or on one side only.
    fn declarations(&self, sources: &SourceMap) -> Vec<NotCompared> {
        let sides = [&self.before.ruleset, &self.after.ruleset].map(|ruleset| {
            let named = ruleset.uninterpreted.iter().map(|declared| (name(declared, ruleset), declared));
            named.collect::<BTreeMap<String, &Uninterpreted>>()
        });
        let [before, after] = &sides;
        let mut found = Vec::new();
        for (name, declared) in
            before.iter().chain(after.iter().filter(|(name, _)| !before.contains_key(*name)))
        {
            let other = if before.contains_key(name) { after.get(name) } else { None };
            let same = other.is_some_and(|other| {
                content(declared, sources) == content(other, sources)
                    && declared.fingerprint == other.fingerprint
            });
            if !same {
                found.push(NotCompared {
                    what: name.clone(),
                    why: "its content isn't interpreted; rules that use it have an unknown condition in its place",
                    span: other.unwrap_or(declared).spans.first().copied(),
                });
            }
        }
        found
    }

    /// Rules of tables for frames and for ARP.
    fn other_families(&self) -> Vec<NotCompared> {
        let mut rules: BTreeMap<String, (usize, Option<Span>)> = BTreeMap::new();
        let mut add = |ruleset: &Ruleset, chain: ChainId, count: usize| {
            let Some(table) = ruleset.table_of(chain) else { return };
            if count > 0 && matches!(table.family, Family::Bridge | Family::Arp) {
                let name = format!("{} {}", table.family.word(), table.name);
                let entry = rules.entry(name).or_insert((0, Some(table.span)));
                entry.0 += count;
            }
        };
        for pair in &self.pairing.chains {
            let base = |ruleset: &Ruleset, id: ChainId| {
                ruleset
                    .chain(id)
                    .and_then(|chain| chain.base.as_ref())
                    .map(|base| (base.priority, base.policy))
            };
            let moved = base(&self.before.ruleset, pair.before) != base(&self.after.ruleset, pair.after);
            add(&self.before.ruleset, pair.before, pair.removed.len());
            add(&self.after.ruleset, pair.after, pair.added.len() + usize::from(moved));
        }
        for (ruleset, chains) in [
            (&self.before.ruleset, &self.pairing.only_before),
            (&self.after.ruleset, &self.pairing.only_after),
        ] {
            for &chain in chains {
                let count = ruleset.chain(chain).map_or(0, |chain| chain.rules.len());
                add(ruleset, chain, count.max(1));
            }
        }
        let told = rules.into_iter().map(|(table, (count, span))| NotCompared {
            what: format!("{count} changed or new rules or chains of {table}"),
            why: "frames of a bridge and ARP aren't modelled",
            span,
        });
        told.collect()
    }
}

fn name(declared: &Uninterpreted, ruleset: &Ruleset) -> String {
    let table =
        |id: TableId| ruleset.table(id).map(|table| format!(" of {} {}", table.family.word(), table.name));
    let of = declared.table.and_then(table).unwrap_or_default();
    format!("{} {}{of}", declared.kind, declared.name)
}

/// The words of a declaration, without comments and white space.
fn content(declared: &Uninterpreted, sources: &SourceMap) -> Vec<String> {
    let mut words = Vec::new();
    for span in &declared.spans {
        for line in sources.slice(*span).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let parts =
                line.split(|at: char| at.is_whitespace() || at == ';').filter(|word| !word.is_empty());
            words.extend(parts.map(str::to_owned));
        }
    }
    words
}
