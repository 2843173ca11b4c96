//! The rules that the kernel holds right now, and a text of them that two equal rulesets share.

mod canonical;
pub mod restore;

use crate::generation::generation;
use crate::iptables;
use crate::program::{self, ProgramError, run};
use firewarden_change::plan::hex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use canonical::{
    canonical_ipset, canonical_iptables, canonical_nft, nft_tables, save_tables, stateless_listing,
};

/// How often the rules are read anew because they changed in the meantime.
const ATTEMPTS: u32 = 5;

/// The rules of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `nft -a list ruleset`, with handles, counters and the elements that rules added.
    pub nft: String,
    /// `iptables-save` of iptables-nft, where `nft` holds tables of its; empty elsewhere.
    pub iptables: String,
    /// The same for IPv6.
    pub ip6tables: String,
    /// `iptables-legacy-save`; empty where the kernel has no tables of the old iptables.
    pub legacy_iptables: String,
    /// The same for IPv6.
    pub legacy_ip6tables: String,
    /// `ipset save`; empty where there are no sets.
    pub ipset: String,
    /// The generation of nftables at which all of this was read.
    pub generation: u32,
}

/// Why the rules couldn't be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A program that lists them failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The kernel doesn't tell its generation.
    #[error("the kernel does not tell the generation of its ruleset: {0}")]
    Generation(io::Error),
    /// The kernel has rules of the old iptables that no program here can list.
    #[error("{0}")]
    Legacy(String),
    /// The rules never stayed the same for as long as it takes to read them.
    #[error("the ruleset changed while it was read, {ATTEMPTS} times in a row")]
    Unstable,
}

impl State {
    /// Reads the rules of the calling thread's network namespace, again and again until they were the same before and
    /// after. Changes nothing.
    ///
    /// # Errors
    /// [`StateError`]: what can't be read is never taken for empty.
    pub fn read() -> Result<State, StateError> {
        for _ in 0..ATTEMPTS {
            let before = generation().map_err(StateError::Generation)?;
            let nft = run("nft", &["-a", "list", "ruleset"])?;
            let [iptables, ip6tables] = iptables::new_saves(&nft)?;
            let legacy = iptables::legacy_saves().map_err(StateError::Legacy)?;
            let ipset = sets(&legacy)?;
            let generation = generation().map_err(StateError::Generation)?;
            // The old iptables counts no generations: it is asked again instead.
            let same = |again: [String; 2]| {
                again
                    .iter()
                    .zip(&legacy)
                    .all(|(now, then)| canonical_iptables(now) == canonical_iptables(then))
            };
            if before == generation && same(iptables::legacy_saves().map_err(StateError::Legacy)?) {
                let [legacy_iptables, legacy_ip6tables] = legacy;
                return Ok(State {
                    nft,
                    iptables,
                    ip6tables,
                    legacy_iptables,
                    legacy_ip6tables,
                    ipset,
                    generation,
                });
            }
        }
        Err(StateError::Unstable)
    }

    /// The text that rulesets share which do the same in the same words: without handles, counters, elements that rules
    /// or a timeout govern, and the order of tables, chains and sets (but for base chains of one place and priority, whose
    /// order tells). O(n log n).
    pub fn canonical(&self) -> String {
        let mut text = canonical_nft(&self.nft);
        for (name, save) in self.saves() {
            let save = canonical_iptables(save);
            if !save.is_empty() {
                text.push_str(&format!("# {name}\n{save}"));
            }
        }
        let sets = canonical_ipset(&self.ipset);
        if !sets.is_empty() {
            text.push_str(&format!("# ipset\n{sets}"));
        }
        text
    }

    /// The digest of each table, by its name, as in [`State::canonical`]: what tells tables that a change touches from
    /// others. The sets of ipset count as one.
    pub fn parts(&self) -> BTreeMap<String, String> {
        let mut parts = BTreeMap::new();
        let mut add = |name: String, canonical: &str| {
            parts.insert(name, hex(&Sha256::digest(canonical.as_bytes())));
        };
        for (name, text) in nft_tables(&self.nft) {
            add(format!("nft {name}"), &canonical_nft(&text));
        }
        for (program, save) in self.saves() {
            for (name, text) in save_tables(save) {
                let canonical = canonical_iptables(&text);
                if !canonical.is_empty() {
                    add(format!("{program} {name}"), &canonical);
                }
            }
        }
        let sets = canonical_ipset(&self.ipset);
        if !sets.is_empty() {
            add("ipset".to_owned(), &sets);
        }
        parts
    }

    /// What of it belongs to these parts ([`State::parts`]). Sets of ipset stay with rules that name them. O(n · parts).
    pub fn only(&self, parts: &BTreeSet<String>) -> State {
        let save = |program: &str, family: Option<&str>, save: &str| -> String {
            let is_kept = |table: &str| {
                parts.contains(&format!("{program} {table}"))
                    || family.is_some_and(|family| parts.contains(&format!("nft {family} {table}")))
            };
            save_tables(save).into_iter().filter(|(table, _)| is_kept(table)).map(|(_, text)| text).collect()
        };
        let nft = nft_tables(&self.nft).into_iter().filter(|(name, _)| {
            let of_iptables = name.split_once(' ').is_some_and(|(family, table)| match family {
                "ip" => parts.contains(&format!("iptables-nft {table}")),
                "ip6" => parts.contains(&format!("ip6tables-nft {table}")),
                _ => false,
            });
            of_iptables || parts.contains(&format!("nft {name}"))
        });
        let mut kept = State {
            nft: nft.map(|(_, text)| text).collect(),
            iptables: save("iptables-nft", Some("ip"), &self.iptables),
            ip6tables: save("ip6tables-nft", Some("ip6"), &self.ip6tables),
            legacy_iptables: save("iptables-legacy", None, &self.legacy_iptables),
            legacy_ip6tables: save("ip6tables-legacy", None, &self.legacy_ip6tables),
            ipset: String::new(),
            generation: self.generation,
        };
        let saves = [&kept.iptables, &kept.ip6tables, &kept.legacy_iptables, &kept.legacy_ip6tables];
        if parts.contains("ipset") || saves.iter().any(|save| save.contains("--match-set")) {
            kept.ipset = self.ipset.clone();
        }
        kept
    }

    /// The saves that say more than nft does, with the program whose they are.
    fn saves(&self) -> [(&'static str, &str); 4] {
        // Where nft has words for every rule, the save says nothing more.
        let opaque = iptables::has_opaque_rules(&self.nft);
        [
            ("iptables-nft", if opaque { &self.iptables } else { "" }),
            ("ip6tables-nft", if opaque { &self.ip6tables } else { "" }),
            ("iptables-legacy", &self.legacy_iptables),
            ("ip6tables-legacy", &self.legacy_ip6tables),
        ]
    }

    /// Whether the kernel still holds this, as far as that can be told without reading it again: nftables counts its
    /// changes, and nothing else holds rules. False doesn't say that it changed. O(n) where it is true.
    pub fn is_current(&self) -> bool {
        self.is_counted() && is_generation(self.generation)
    }

    /// Whether each change of this raises the generation. O(n).
    pub fn is_counted(&self) -> bool {
        // A table that a process owns goes with that process, which isn't counted.
        let is_owned = |line: &str| line.starts_with("table ") && line.contains(" progname ");
        // Neither are changes of the old iptables and of ipset.
        let others = [&self.legacy_iptables, &self.legacy_ip6tables, &self.ipset];
        others.iter().all(|text| text.is_empty()) && !self.nft.lines().any(is_owned)
    }

    /// SHA-256 of [`State::canonical`], in hexadecimal.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.canonical().as_bytes()))
    }
}

/// Whether nftables is at this generation, and nothing but nftables holds rules.
pub fn is_generation(number: u32) -> bool {
    generation().is_ok_and(|now| now == number)
        && iptables::legacy_saves().is_ok_and(|saves| saves.iter().all(String::is_empty))
        && sets(&Default::default()).is_ok_and(|sets| sets.is_empty())
}

/// Sets of ipset. Only rules of the old iptables and opaque ones of the new use them, so a kernel without them isn't
/// made to load the module by asking.
fn sets(legacy: &[String; 2]) -> Result<String, ProgramError> {
    let used = legacy.iter().any(|save| save.contains("--match-set"));
    if !used && (program::find("ipset").is_none() || !std::fs::exists("/sys/module/ip_set").unwrap_or(true)) {
        return Ok(String::new());
    }
    match run("ipset", &["save"]) {
        // Without the kernel's module there are no sets.
        Err(ProgramError::Failed { .. }) if !used => Ok(String::new()),
        printed => printed,
    }
}

#[cfg(test)]
mod tests;
