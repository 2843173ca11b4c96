//! Running rules, loaded once more in a sandbox.

use super::Sandbox;
use super::interfaces::named_interfaces;
use crate::iptables::has_opaque_rules;
use crate::program::ProgramError;
use crate::state::State;
use firewarden_change::delta::TableName;
use firewarden_change::plan::{Loader, Script};
use std::collections::BTreeSet;

/// nft takes more than linear time for one script of very many rules; nothing here has to be atomic.
const CHUNK_BYTES: usize = 4 << 20;

/// Rules to load in a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What `nft list ruleset` printed, in any form.
    pub nft: String,
    /// Further scripts, which come before it.
    pub scripts: Vec<Script>,
}

impl Rules {
    /// The rules of a state. Tables of iptables-nft that nft has no words for come from iptables-save.
    pub fn of(state: &State) -> Rules {
        let mut rules = Rules::default();
        let mut scripts = vec![(Loader::IpsetRestore, state.ipset.clone())];
        scripts.push((Loader::IptablesLegacyRestore, state.legacy_iptables.clone()));
        scripts.push((Loader::Ip6tablesLegacyRestore, state.legacy_ip6tables.clone()));
        for (listed, text) in tables(&state.nft) {
            let save = match listed.family.as_str() {
                "ip" => Some((Loader::IptablesRestore, &state.iptables)),
                "ip6" => Some((Loader::Ip6tablesRestore, &state.ip6tables)),
                _ => None,
            };
            // What iptables loaded is loaded by it again, so that it goes on understanding it.
            let warning = format!("# Warning: table {listed} is managed by iptables-nft");
            let by_iptables = has_opaque_rules(text) || state.nft.contains(&warning);
            let saved = save.filter(|_| by_iptables).and_then(|(loader, save)| {
                let found = split_save(save).into_iter().find(|(name, _)| *name == listed.name)?;
                Some((loader, found.1))
            });
            match saved {
                Some(script) => scripts.push(script),
                None => rules.nft.push_str(text),
            }
        }
        let scripts = scripts.into_iter().filter(|(_, text)| !text.is_empty());
        rules.scripts = scripts.map(|(loader, text)| Script { loader, text }).collect();
        rules
    }

    /// The interfaces that have to be there.
    pub fn interfaces(&self) -> BTreeSet<String> {
        named_interfaces(&self.nft)
    }
}

impl Sandbox {
    /// Loads rules, with the interfaces that they need.
    ///
    /// # Errors
    /// [`ProgramError`]: not every listing can be loaded (nft prints matches of iptables that it can't read).
    pub fn replay(&self, rules: &Rules) -> Result<(), ProgramError> {
        self.add_interfaces(&rules.interfaces());
        for script in &rules.scripts {
            self.load(script)?;
        }
        let mut chunk = String::new();
        for (_, text) in tables(&rules.nft) {
            chunk.push_str(text);
            if chunk.len() > CHUNK_BYTES {
                self.load(&Script { loader: Loader::Nft, text: std::mem::take(&mut chunk) })?;
            }
        }
        self.load(&Script { loader: Loader::Nft, text: chunk })
    }
}

/// The tables of a listing, each with its text; lines before the first one are left out.
fn tables(listing: &str) -> Vec<(TableName, &str)> {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(listing.match_indices("\ntable ").map(|(at, _)| at + 1))
        .filter(|at| listing.get(*at..).is_some_and(|rest| rest.starts_with("table ")))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([listing.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| {
            let text = listing.get(*start..end)?;
            let mut words = text.split([' ', '\n']).skip(1);
            let name = TableName { family: words.next()?.to_owned(), name: words.next()?.to_owned() };
            Some((name, text))
        })
        .collect()
}

/// The tables of a text of iptables-save, each with its lines from `*TABLE` to `COMMIT`.
pub fn split_save(text: &str) -> Vec<(String, String)> {
    let mut tables: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('*') {
            tables.push((name.trim().to_owned(), String::new()));
            open = true;
        }
        if let Some((_, text)) = tables.last_mut().filter(|_| open) {
            text.push_str(line);
            text.push('\n');
        }
        open &= line != "COMMIT";
    }
    tables
}
