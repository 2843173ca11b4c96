//! Tables and chains that a command removed: often those of another program, which finds them gone only when it needs
//! them (Docker's and fail2ban's chains, once a file with `flush ruleset` is loaded).

use firewarden_host::state::{State, nft_tables, save_tables};
use std::collections::BTreeMap;

/// The most chains of a table that are named.
const NAMED: usize = 6;

/// What `before` has and `after` hasn't, a line for each table. O(n log n).
pub fn gone(before: &State, after: &State) -> Vec<String> {
    let (before, after) = (tables(before), tables(after));
    let lines = before.iter().filter_map(|(table, chains)| {
        let Some(left) = after.get(table) else { return Some(format!("{table}{}", of(chains))) };
        let lost: Vec<String> = chains.iter().filter(|chain| !left.contains(chain)).cloned().collect();
        (!lost.is_empty()).then(|| format!("{table}, of it only{}", of(&lost)))
    });
    lines.collect()
}

/// ` (chains a, b and 4 more)`.
fn of(chains: &[String]) -> String {
    let word = match chains.len() {
        0 => return String::new(),
        1 => "chain",
        _ => "chains",
    };
    let named: Vec<&str> = chains.iter().take(NAMED).map(String::as_str).collect();
    let more = match chains.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(" ({word} {}{more})", named.join(", "))
}

/// The names of all chains, by the names of their tables.
fn tables(state: &State) -> BTreeMap<String, Vec<String>> {
    let mut tables = BTreeMap::new();
    for (name, text) in nft_tables(&state.nft) {
        let chain = |line: &str| line.strip_prefix("\tchain ")?.split(' ').next().map(str::to_owned);
        tables.insert(format!("table {name}"), text.lines().filter_map(chain).collect());
    }
    for (program, save) in
        [("iptables-legacy", &state.legacy_iptables), ("ip6tables-legacy", &state.legacy_ip6tables)]
    {
        for (name, text) in save_tables(save) {
            let chain = |line: &str| line.strip_prefix(':')?.split(' ').next().map(str::to_owned);
            tables.insert(format!("table {name} of {program}"), text.lines().filter_map(chain).collect());
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_chains_that_are_gone_are_named() {
        let state = |nft: &str, legacy: &str| State {
            nft: nft.to_owned(),
            legacy_iptables: legacy.to_owned(),
            ..State::default()
        };
        let before = state(
            "table ip nat { # handle 1\n\tchain DOCKER { # handle 2\n\t}\n\tchain POSTROUTING { # handle 3\n\t}\n}\n\
             table inet filter { # handle 2\n\tchain input { # handle 1\n\t\ttcp dport 22 accept # handle 9\n\t}\n\tchain f2b-sshd { # handle 4\n\t}\n}\n\
             table inet empty { # handle 3\n}\n",
            "*filter\n:INPUT ACCEPT [0:0]\n:own - [0:0]\nCOMMIT\n",
        );
        let after = state(
            "table inet filter { # handle 7\n\tchain input { # handle 1\n\t}\n}\n",
            "*filter\n:INPUT DROP [0:0]\nCOMMIT\n",
        );
        assert_eq!(
            gone(&before, &after),
            [
                "table filter of iptables-legacy, of it only (chain own)",
                "table inet empty",
                "table inet filter, of it only (chain f2b-sshd)",
                "table ip nat (chains DOCKER, POSTROUTING)",
            ]
        );
        assert!(gone(&after, &after).is_empty());
        assert!(gone(&State::default(), &before).is_empty());
    }
}
