//! Tables of iptables: from what iptables-save lists now and what it is to list, scripts for `iptables-restore --noflush`
//! that leave the chains of other programs, and the jumps to them, where they are.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The scripts for the tables of one address family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveDelta {
    /// What is loaded. Each table is one transaction.
    pub forward: String,
    /// What takes it back, for tables that were there.
    pub back: String,
    /// All tables of the candidate.
    pub tables: Vec<String>,
    /// Those that weren't there before.
    pub new_tables: Vec<String>,
    /// What the operator is told.
    pub notes: Vec<String>,
}

/// A table as iptables-save lists it.
#[derive(Clone, Debug, Default)]
struct Table<'a> {
    name: &'a str,
    /// Chains with their policies, `-` for those that only jumps lead to.
    chains: Vec<(&'a str, &'a str)>,
    /// Rules: their chain, and the whole line without counters.
    rules: Vec<(&'a str, &'a str)>,
}

fn read(text: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table { name, ..Table::default() });
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        // With `-c`, counters stand before a rule.
        let rule = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((_, rule)) => rule,
            None => line,
        };
        let mut words = rule.split_whitespace();
        match (words.next(), words.next()) {
            (Some("-A" | "--append"), Some(chain)) => table.rules.push((chain, rule)),
            (Some(chain), Some(policy)) if chain.starts_with(':') => {
                table.chains.push((chain.get(1..).unwrap_or_default(), policy));
            }
            _ => {}
        }
    }
    tables
}

impl<'a> Table<'a> {
    fn policy(&self, chain: &str) -> Option<&'a str> {
        self.chains.iter().find(|(name, _)| *name == chain).map(|(_, policy)| *policy)
    }

    fn rules_of(&self, chain: &str) -> Vec<&'a str> {
        self.rules.iter().filter(|(of, _)| *of == chain).map(|(_, rule)| *rule).collect()
    }
}

/// Where a rule jumps to.
fn target(rule: &str) -> Option<&str> {
    let mut words = rule.split_whitespace();
    while let Some(word) = words.next() {
        if matches!(word, "-j" | "-g" | "--jump" | "--goto") {
            return words.next();
        }
    }
    None
}

/// The scripts that make the candidate's tables of `running`, but for chains that belong to others. O(n) for the rules of
/// one chain, O(n m) for m chains.
pub fn save_delta(running: &str, candidate: &str, is_foreign: impl Fn(&str) -> bool) -> SaveDelta {
    let before = read(running);
    let mut delta = SaveDelta::default();
    for table in read(candidate) {
        let none = Table { name: table.name, ..Table::default() };
        let old = before.iter().find(|old| old.name == table.name);
        if old.is_none() {
            delta.new_tables.push(table.name.to_owned());
        }
        delta.tables.push(table.name.to_owned());
        let old = old.unwrap_or(&none);
        let kept: BTreeSet<&str> =
            old.chains.iter().map(|(name, _)| *name).filter(|name| is_foreign(name)).collect();
        if !kept.is_empty() {
            let names: Vec<&str> = kept.iter().copied().collect();
            delta.notes.push(format!(
                "chains of other programs in table `{}` and the jumps to them stay: {}",
                table.name,
                names.join(", ")
            ));
        }
        delta.forward.push_str(&lead(old, &table, &kept, true));
        if !delta.new_tables.iter().any(|name| name == table.name) {
            delta.back.push_str(&lead(&table, old, &kept, false));
        }
    }
    delta
}

/// The script from one version of a table to another one. Loads in both.
fn lead(from: &Table<'_>, to: &Table<'_>, kept: &BTreeSet<&str>, merge: bool) -> String {
    let mut text = format!("*{}\n", to.name);
    // Writing to a string doesn't fail. A chain that is declared and only jumps lead to is emptied, or made.
    for (chain, policy) in to.chains.iter().filter(|(chain, _)| !kept.contains(chain)) {
        let _ = writeln!(text, ":{chain} {policy} [0:0]");
    }
    let gone: Vec<(&str, &str)> = from
        .chains
        .iter()
        .copied()
        .filter(|(chain, _)| to.policy(chain).is_none() && !kept.contains(chain))
        .collect();
    for (chain, policy) in &gone {
        let _ = match *policy {
            "-" => writeln!(text, ":{chain} - [0:0]"),
            _ => writeln!(text, "-F {chain}"),
        };
    }
    for (chain, _) in to.chains.iter().filter(|(chain, policy)| *policy != "-" && !kept.contains(chain)) {
        let _ = writeln!(text, "-F {chain}");
    }
    for (chain, _) in to.chains.iter().filter(|(chain, _)| !kept.contains(chain)) {
        let own = to.rules_of(chain);
        let is_kept = |rule: &&str| target(rule).is_some_and(|target| kept.contains(target));
        let running = if merge { from.rules_of(chain) } else { Vec::new() };
        let at_start = running.iter().take_while(|rule| is_kept(rule)).count();
        let foreign = |rules: &[&str]| -> String {
            let rules = rules.iter().filter(|rule| is_kept(rule) && !own.contains(rule));
            rules.map(|rule| format!("{rule}\n")).collect()
        };
        text.push_str(&foreign(running.get(..at_start).unwrap_or_default()));
        own.iter().for_each(|rule| text.push_str(&format!("{rule}\n")));
        text.push_str(&foreign(running.get(at_start..).unwrap_or_default()));
    }
    for (chain, _) in gone.iter().filter(|(_, policy)| *policy == "-") {
        let _ = writeln!(text, "-X {chain}");
    }
    text.push_str("COMMIT\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = "# Generated\n*filter\n:INPUT ACCEPT [5:300]\n:DOCKER - [0:0]\n:f2b-sshd - [0:0]\n:old - [0:0]\n\
        -A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd\n-A INPUT -j old\n-A INPUT -j DOCKER\n\
        -A DOCKER -j RETURN\n-A f2b-sshd -s 192.0.2.7/32 -j REJECT\n-A old -j ACCEPT\nCOMMIT\n";
    const NEW: &str = "*filter\n:INPUT DROP [0:0]\n:new - [0:0]\n:DOCKER - [0:0]\n-A INPUT -j new\n\
        -A DOCKER -j DROP\n-A new -j ACCEPT\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";

    #[test]
    fn chains_of_others_and_jumps_to_them_stay() {
        let foreign = |name: &str| name.starts_with("f2b-") || name == "DOCKER";
        let found = save_delta(RUNNING, NEW, foreign);
        assert_eq!((found.tables.len(), found.new_tables.as_slice()), (2, &["nat".to_owned()][..]));
        assert_eq!(
            found.forward,
            "*filter\n:INPUT DROP [0:0]\n:new - [0:0]\n:old - [0:0]\n-F INPUT\n\
             -A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd\n-A INPUT -j new\n-A INPUT -j DOCKER\n-A new -j ACCEPT\n\
             -X old\nCOMMIT\n\
             *nat\n:POSTROUTING ACCEPT [0:0]\n-F POSTROUTING\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
        );
        assert_eq!(
            found.back,
            "*filter\n:INPUT ACCEPT [0:0]\n:old - [0:0]\n:new - [0:0]\n-F INPUT\n\
             -A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd\n-A INPUT -j old\n-A INPUT -j DOCKER\n-A old -j ACCEPT\n\
             -X new\nCOMMIT\n"
        );
    }
}
