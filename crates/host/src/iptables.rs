//! Rules that `nft list ruleset` doesn't show as they are: those of the old iptables, which lives beside nftables, and
//! those of iptables-nft, for which nft has other words or none.

use crate::capture::Collected;
use crate::program::{ProgramError, find, run};
use crate::snapshot::{IP6TABLES, IPTABLES, RULESET};
use std::fs;
use std::io::ErrorKind;

/// A family of iptables.
struct Family {
    /// The names of the old iptables' tables, one a line; there if its module is loaded.
    names: &'static str,
    program: &'static str,
    file: &'static str,
    /// Where the old rules go if there are new ones too.
    legacy_file: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        names: "/proc/thread-self/net/ip_tables_names",
        program: "iptables",
        file: IPTABLES,
        legacy_file: LEGACY[0],
    },
    Family {
        names: "/proc/thread-self/net/ip6_tables_names",
        program: "ip6tables",
        file: IP6TABLES,
        legacy_file: LEGACY[1],
    },
];

/// The files for rules of the old iptables, where the new one has rules too.
pub const LEGACY: [&str; 2] = ["iptables-legacy.rules", "ip6tables-legacy.rules"];

/// Adds what iptables lists and nft doesn't; gives what the old iptables has, without counters.
pub(crate) fn collect(collected: &mut Collected) -> Vec<String> {
    let listed = collected.files.get(RULESET);
    // nft marks tables of iptables-nft, and names the matches it has no words for. Where it has words for all of them, it
    // marks nothing, and only the chains' names tell; those who load such rules again, or compare them, want their own words.
    let of_iptables = |text: &String| {
        text.contains("iptables-nft") || has_opaque_rules(text) || text.lines().any(is_chain_of_iptables)
    };
    let new_rules = listed.is_none_or(of_iptables);
    let mut legacy_rules = Vec::new();
    for family in &FAMILIES {
        let mut there = false;
        if new_rules && let Some(program) = variant(family.program, "nft") {
            match run(&program, &[]) {
                Ok(text) if has_rules(&text) => {
                    there = true;
                    collected.files.insert(family.file.to_owned(), text);
                }
                Ok(_) => {}
                Err(error) => collected.lack(family.file, error.to_string()),
            }
        }
        let file = if there { family.legacy_file } else { family.file };
        match legacy(family) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                legacy_rules.push(without_counters(&text));
                collected.missing.remove(file);
                collected.files.insert(file.to_owned(), text);
            }
            Err(why) => collected.lack(file, why),
        }
    }
    legacy_rules
}

/// The rules of the old iptables, without counters.
pub(crate) fn legacy_rules() -> Vec<String> {
    let texts = FAMILIES.iter().filter_map(|family| legacy(family).ok());
    texts.filter(|text| !text.is_empty()).map(|text| without_counters(&text)).collect()
}

/// Whether a listing of nft has rules that nft has no words for.
pub(crate) fn has_opaque_rules(listing: &str) -> bool {
    ["xt match", "xt target"].iter().any(|words| listing.contains(words))
}

/// Whether a line of a listing begins a chain that has the name of one of iptables' own. A table of nft's own may have such
/// chains; iptables-nft lists nothing of a table that it wouldn't have made so.
fn is_chain_of_iptables(line: &str) -> bool {
    let name = line.trim_start().strip_prefix("chain ").and_then(|rest| rest.split(' ').next());
    matches!(name, Some("INPUT" | "FORWARD" | "OUTPUT" | "PREROUTING" | "POSTROUTING"))
}

/// What `iptables-save` and `ip6tables-save` of iptables-nft print, given what nft lists; empty where no table there has
/// a name that iptables uses.
pub(crate) fn new_saves(listing: &str) -> Result<[String; 2], ProgramError> {
    let tables: Vec<&str> = listing.lines().filter(|line| line.starts_with("table ")).collect();
    let save = |family: &Family, word: &str| {
        let is_of_iptables = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(word)
                && matches!(words.next(), Some("filter" | "nat" | "mangle" | "raw" | "security"))
        };
        if !tables.iter().any(is_of_iptables) {
            return Ok(String::new());
        }
        match variant(family.program, "nft") {
            Some(program) => match run(&program, &[]) {
                // A table of that name that isn't iptables' own: nft lists all of it.
                Err(ProgramError::Failed { .. }) if !has_opaque_rules(listing) => Ok(String::new()),
                printed => printed,
            },
            None if has_opaque_rules(listing) => {
                Err(ProgramError::Missing(format!("{}-nft-save", family.program)))
            }
            None => Ok(String::new()),
        }
    };
    let [v4, v6] = &FAMILIES;
    Ok([save(v4, "ip")?, save(v6, "ip6")?])
}

/// What `iptables-legacy-save` and `ip6tables-legacy-save` print; empty where the kernel has no tables of theirs.
pub(crate) fn legacy_saves() -> Result<[String; 2], String> {
    let [v4, v6] = &FAMILIES;
    Ok([legacy(v4)?, legacy(v6)?])
}

/// What the old iptables of a family has; empty where it isn't in use.
fn legacy(family: &Family) -> Result<String, String> {
    let names = match fs::read_to_string(family.names) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(format!("whether there are rules of the old iptables isn't known: {error}"));
        }
    };
    if names.trim().is_empty() {
        return Ok(String::new());
    }
    let Some(program) = variant(family.program, "legacy") else {
        return Err(format!(
            "the kernel has tables of the old iptables ({}), but there is no program `{}-legacy-save`",
            names.split_whitespace().collect::<Vec<_>>().join(", "),
            family.program
        ));
    };
    run(&program, &[]).map_err(|error| error.to_string())
}

/// The program that lists the rules of the new (`nft`) or the old (`legacy`) iptables.
fn variant(program: &str, kind: &str) -> Option<String> {
    program_of(program, kind, "save")
}

/// The program of `iptables` or `ip6tables` that does something (`save`, `restore`) with the rules of the new (`nft`) or
/// the old (`legacy`) iptables.
pub(crate) fn program_of(program: &str, kind: &str, verb: &str) -> Option<String> {
    let own = format!("{program}-{kind}-{verb}");
    if find(&own).is_some() {
        return Some(own);
    }
    let plain = format!("{program}-{verb}");
    let version = run(&plain, &["--version"]).ok()?;
    let is_new = version.contains("nf_tables");
    (is_new == (kind == "nft")).then_some(plain)
}

fn has_rules(text: &str) -> bool {
    text.lines().any(|line| line.starts_with('*'))
}

/// Without comments, which hold the time, and without `[packets:bytes]`.
fn without_counters(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(" [").map_or(line, |(before, _)| before)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_iptables() {
        assert!(is_chain_of_iptables("\tchain INPUT { # handle 1"));
        assert!(is_chain_of_iptables("\tchain POSTROUTING {"));
        for other in ["\tchain input {", "\tchain INPUT_WEB {", "table ip INPUT {", "\t\tjump INPUT", ""] {
            assert!(!is_chain_of_iptables(other), "{other}");
        }
    }

    #[test]
    fn counters_and_times_are_no_change() {
        let first = "# Generated on Monday\n*filter\n:INPUT DROP [1:60]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        let second = "# Generated on Tuesday\n*filter\n:INPUT DROP [9:540]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        assert_eq!(without_counters(first), without_counters(second));
        assert_ne!(without_counters(first), without_counters(&second.replace("DROP", "ACCEPT")));
    }
}
