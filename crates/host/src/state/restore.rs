//! Scripts that bring a ruleset back that was read before, table by table.

use super::{State, canonical_ipset, canonical_iptables, canonical_nft, nft_tables, save_tables};
use crate::iptables::has_opaque_rules;
use firewarden_change::plan::{Loader, Script};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to tables that the wanted ruleset doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They go.
    Remove,
    /// They stay as they are.
    Keep,
}

/// What is to be loaded so that a kernel that holds `now` holds `wanted`, in this order. Tables that are equal already
/// aren't touched, so their counters, and the elements that rules added, stay. All of nftables is one transaction; each
/// table of iptables is one of its own. O(n log n).
pub fn scripts(wanted: &State, now: &State, others: Others) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut add = |loader, text: String| {
        if !text.is_empty() {
            scripts.push(Script { loader, text });
        }
    };
    // Rules refer to sets, so sets come first.
    if canonical_ipset(&wanted.ipset) != canonical_ipset(&now.ipset) {
        add(Loader::IpsetRestore, sets(&wanted.ipset));
    }
    let (nft, of_iptables) = tables(wanted, now, others);
    add(Loader::Nft, nft);
    for (family, loader, save) in [
        ("ip", Loader::IptablesRestore, &wanted.iptables),
        ("ip6", Loader::Ip6tablesRestore, &wanted.ip6tables),
    ] {
        let tables = save_tables(save);
        let text = tables.iter().filter_map(|(name, text)| {
            let listed = of_iptables.get(&format!("{family} {name}"))?;
            Some(
                text.lines()
                    .filter(|line| is_there(line, listed))
                    .map(|line| format!("{line}\n"))
                    .collect::<String>(),
            )
        });
        add(loader, text.collect());
    }
    for (loader, wanted, now) in [
        (Loader::IptablesLegacyRestore, &wanted.legacy_iptables, &now.legacy_iptables),
        (Loader::Ip6tablesLegacyRestore, &wanted.legacy_ip6tables, &now.legacy_ip6tables),
    ] {
        add(loader, legacy(wanted, now, others));
    }
    // And what no rule refers to any more goes last.
    if others == Others::Remove {
        let names = |save: &str| -> Vec<String> {
            let lines = save.lines().filter_map(|line| line.strip_prefix("create ")?.split(' ').next());
            lines.map(str::to_owned).collect()
        };
        let listed = names(&wanted.ipset);
        let more = names(&now.ipset).into_iter().filter(|name| !listed.contains(name));
        add(Loader::IpsetRestore, more.map(|name| format!("destroy {name}\n")).collect());
    }
    scripts
}

/// Whether a line of a save is about something that the table has, given what nft lists of it: every hook that a table may
/// have is in its save, and would be made by it.
fn is_there(line: &str, listed: &str) -> bool {
    match line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
        Some(chain) => listed.contains(&format!("\tchain {chain} {{")),
        None => true,
    }
}

/// Whether iptables made a table, going by its save, and nothing is in it that iptables doesn't know. Loaded in nft's words,
/// its rules would mean the same, but in expressions that iptables doesn't take for its own: it would refuse to list them.
fn is_of_iptables(listed: &str, save: &str) -> bool {
    let declared = |line| str::strip_prefix(line, ':').and_then(|rest| rest.split(' ').next());
    let chains: BTreeSet<&str> = save.lines().filter_map(declared).collect();
    let is_known = |line: &str| {
        let Some(declared) = line.strip_prefix('\t').filter(|rest| !rest.starts_with(['\t', '}'])) else {
            return true;
        };
        let chain = declared.strip_prefix("chain ").and_then(|rest| rest.split(' ').next());
        chain.is_some_and(|chain| chains.contains(chain))
    };
    !save.is_empty() && listed.lines().all(is_known)
}

/// The script for nft, and the tables that iptables has to fill, with what nft lists of them.
fn tables(wanted: &State, now: &State, others: Others) -> (String, BTreeMap<String, String>) {
    let saves = |state: &State, name: &str| -> String {
        let (family, table) = name.split_once(' ').unwrap_or_default();
        let save = match family {
            "ip" => &state.iptables,
            "ip6" => &state.ip6tables,
            _ => "",
        };
        let tables = save_tables(save);
        tables.iter().filter(|(of, _)| of == table).map(|(_, text)| canonical_iptables(text)).collect()
    };
    let there: BTreeMap<String, String> = nft_tables(&now.nft).into_iter().collect();
    let mut script = String::new();
    let mut of_iptables = BTreeMap::new();
    let listed = nft_tables(&wanted.nft);
    for (name, text) in &listed {
        let same = there.get(name).is_some_and(|now| canonical_nft(now) == canonical_nft(text));
        if same && !(has_opaque_rules(text) && saves(wanted, name) != saves(now, name)) {
            continue;
        }
        // Adding a table that is there does nothing, so that it can be deleted in any case.
        script.push_str(&format!("add table {name}\ndelete table {name}\n"));
        if has_opaque_rules(text) || is_of_iptables(text, &saves(wanted, name)) {
            of_iptables.insert(name.clone(), text.clone());
        } else {
            script.push_str(text);
        }
    }
    if others == Others::Remove {
        for name in there.keys().filter(|name| !listed.iter().any(|(listed, _)| listed == *name)) {
            script.push_str(&format!("delete table {name}\n"));
        }
    }
    (script, of_iptables)
}

/// The script for the old iptables.
fn legacy(wanted: &str, now: &str, others: Others) -> String {
    let there: BTreeMap<String, String> = save_tables(now).into_iter().collect();
    let listed: BTreeMap<String, String> = save_tables(wanted).into_iter().collect();
    let mut script = String::new();
    for (name, text) in &listed {
        if there.get(name).is_some_and(|now| canonical_iptables(now) == canonical_iptables(text)) {
            continue;
        }
        // Everything in the table goes first, within the same transaction.
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        script.push_str(&format!("*{name}\n-F\n-X\n{rest}"));
    }
    if others == Others::Remove {
        // A table of the old iptables can't be deleted, only emptied.
        for (name, text) in there.iter().filter(|(name, _)| !listed.contains_key(*name)) {
            let policies = text.lines().filter(|line| line.starts_with(':') && !line.contains(" - "));
            let policies: String = policies
                .filter_map(|line| line.split(' ').next())
                .map(|chain| format!("{chain} ACCEPT [0:0]\n"))
                .collect();
            script.push_str(&format!("*{name}\n-F\n-X\n{policies}COMMIT\n"));
        }
    }
    script
}

/// The script for ipset: each set emptied and filled again.
fn sets(save: &str) -> String {
    let mut script = String::new();
    for line in save.lines() {
        if let Some(rest) = line.strip_prefix("create ") {
            let name = rest.split(' ').next().unwrap_or_default();
            script.push_str(&format!("{line} -exist\nflush {name}\n"));
        } else if !line.is_empty() {
            script.push_str(&format!("{line} -exist\n"));
        }
    }
    script
}
