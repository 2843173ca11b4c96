//! The dead-man switch that the kernel itself holds: old and new rules side by side, and a set that says which of them
//! count.
//!
//! While a change is on trial, each base chain that it touches begins with `meta nfproto @fw_trial goto CHAIN.fw-new`, and
//! the elements of that set have a timeout. When it is over, nothing matches any more, and packets meet the old rules,
//! which were never taken away: counters, handles and all. No process is needed for that. A base chain looks the set up
//! once for a packet, so that no packet sees half of either side.

use crate::delta::{Chain, Listing, Table, TableName};
use crate::plan::Inverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The set that says whether the new rules count.
pub const SET: &str = "fw_trial";
/// What the names of chains with new rules end with.
const NEW: &str = ".fw-new";
/// The most rules that are written a second time. Loading as many takes nft about a fifth of a second.
const RULES_AT_MOST: usize = 5_000;

/// How a change is put on trial, and how that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Puts the new rules beside the old ones. A script of nft.
    pub forward: String,
    /// Takes them away again.
    pub inverse: Vec<Inverse>,
    /// What remains of the trial goes away, to be loaded in one transaction with the change itself: `inverse` for the
    /// rules, without which the rest can't go.
    pub settle: Vec<Inverse>,
    /// Takes everything of the trial away, whether it is there or not: what the whole way back ends with. A script of nft.
    pub clean: String,
}

/// Stages a change for `seconds`. `before` and `after` are what nft lists without and with it.
///
/// # Errors
/// Why the kernel can't hold this one, in half a sentence. O(n) in the size of the listings.
pub fn stage(before: &Listing<'_>, after: &Listing<'_>, seconds: u32) -> Result<Staged, String> {
    let mut staged =
        Staged { forward: String::new(), inverse: Vec::new(), settle: Vec::new(), clean: String::new() };
    let names: BTreeSet<&TableName> =
        before.tables.iter().chain(&after.tables).map(|table| &table.name).collect();
    for name in names {
        match (before.table(name), after.table(name)) {
            (Some(old), Some(new)) => Sides::of(old, new)?.stage(seconds, &mut staged),
            (None, _) => return Err(format!("the table {name} is new")),
            (_, None) => return Err(format!("the table {name} goes away")),
        }
    }
    if staged.forward.is_empty() {
        return Err("no rule changes".to_owned());
    }
    Ok(staged)
}

/// One table before and after a change.
struct Sides<'l> {
    old: &'l Table<'l>,
    new: &'l Table<'l>,
    /// Chains of the new side that get a name of their own on trial.
    doubled: BTreeSet<&'l str>,
}

impl<'l> Sides<'l> {
    fn of(old: &'l Table<'l>, new: &'l Table<'l>) -> Result<Sides<'l>, String> {
        let rules = |chain: &Chain<'l>| chain.rules.iter().map(|rule| rule.text).collect::<Vec<_>>();
        let differs = |chain: &&Chain<'l>| {
            old.chain(chain.name).is_none_or(|was| rules(was) != rules(chain) || was.policy != chain.policy)
        };
        let mut doubled: BTreeSet<&str> = new.chains.iter().filter(differs).map(|chain| chain.name).collect();
        same_but_chains(old, new)?;
        same_base_chains(old, new)?;
        if doubled.is_empty() {
            return Ok(Sides { old, new, doubled });
        }
        if !matches!(old.name.family.as_str(), "ip" | "ip6" | "inet") {
            return Err(format!("the family {} has no key that every packet of it has", old.name.family));
        }
        unused_names(new)?;
        // Who calls a doubled chain has to call the new one, up to the base chains.
        let callers = callers(new);
        let mut open: Vec<&str> = doubled.iter().copied().collect();
        while let Some(called) = open.pop() {
            for caller in callers.get(called).into_iter().flatten() {
                if doubled.insert(caller) {
                    open.push(caller);
                }
            }
        }
        for set in &new.sets {
            let mut targets = set.elements.values().flat_map(|element| targets(element.text));
            if let Some((_, chain)) = targets.find(|(_, chain)| doubled.contains(chain)) {
                return Err(format!("the map {} leads to the chain {chain}, which changes", set.name));
            }
        }
        let sides = Sides { old, new, doubled };
        sides.policies()?;
        let count: usize = sides.chains().map(|chain| chain.rules.len()).sum();
        if count > RULES_AT_MOST {
            return Err(format!("{count} rules would be written a second time, more than {RULES_AT_MOST}"));
        }
        Ok(sides)
    }

    /// The doubled chains.
    fn chains(&self) -> impl Iterator<Item = &'l Chain<'l>> {
        self.new.chains.iter().filter(|chain| self.doubled.contains(chain.name))
    }

    /// A base chain has one policy, the old one. A new one can be said by a last rule, but not to packets that leave
    /// the chain before it.
    fn policies(&self) -> Result<(), String> {
        for chain in self.chains() {
            let Some(was) = self.old.chain(chain.name).filter(|was| was.policy != chain.policy) else {
                continue;
            };
            let leaves = |text: &str| words(text).any(|(_, word)| matches!(word, "return" | "goto"));
            if chain.rules.iter().any(|rule| leaves(rule.text)) {
                return Err(format!(
                    "the policy of {} changes from {} to {}, and rules lead to it by `return` or `goto`",
                    chain.name,
                    was.policy.unwrap_or("accept"),
                    chain.policy.unwrap_or("accept"),
                ));
            }
        }
        Ok(())
    }

    fn stage(&self, seconds: u32, staged: &mut Staged) {
        let table = &self.new.name;
        let forward = &mut staged.forward;
        if self.doubled.is_empty() {
            return;
        }
        // Every packet of the table has one of these; the two families leave a trial in the same moment.
        let (kind, key, all) = match table.family.as_str() {
            "inet" => ("nf_proto", "meta nfproto", ["ipv4", "ipv6"]),
            _ => ("ether_type", "meta protocol", ["ip", "ip6"]),
        };
        let set = format!("{table} {SET}");
        let elements = all.map(|one| format!("{one} timeout {seconds}s")).join(", ");
        let made = format!("add set {set} {{ type {kind}; flags timeout; }}\n");
        put(forward, format_args!("{made}add element {set} {{ {elements} }}\n"));
        for chain in self.chains() {
            put(forward, format_args!("add chain {table} {}{NEW}\n", chain.name));
        }
        let mut rules = Vec::new();
        for chain in self.chains() {
            for rule in &chain.rules {
                put(
                    forward,
                    format_args!("add rule {table} {}{NEW} {}\n", chain.name, self.renamed(rule.text)),
                );
            }
            let was = self.old.chain(chain.name);
            if let Some(policy) = chain.policy.filter(|_| was.is_some_and(|was| was.policy != chain.policy)) {
                put(forward, format_args!("add rule {table} {}{NEW} {policy}\n", chain.name));
            }
            if chain.base.is_some() {
                rules.push(Inverse::DeleteRule {
                    family: table.family.clone(),
                    table: table.name.clone(),
                    chain: chain.name.to_owned(),
                    index: 0,
                });
            }
        }
        for chain in self.chains().filter(|chain| chain.base.is_some()) {
            let name = chain.name;
            put(forward, format_args!("insert rule {table} {name} {key} @{SET} goto {name}{NEW}\n"));
        }
        let chains = |verb: &str| {
            self.chains()
                .map(|chain| format!("{verb} chain {table} {}{NEW}\n", chain.name))
                .collect::<String>()
        };
        let gone = format!("{}{}delete set {set}\n", chains("flush"), chains("delete"));
        for way in [&mut staged.inverse, &mut staged.settle] {
            way.extend(rules.iter().cloned());
            way.push(Inverse::Command(gone.clone()));
        }
        self.refill(&mut staged.clean);
        put(&mut staged.clean, format_args!("{}{made}{gone}", chains("add")));
    }

    /// Takes the rule that leads to the new side out of base chains, by filling them anew.
    fn refill(&self, script: &mut String) {
        let table = &self.old.name;
        for chain in self.chains().filter(|chain| chain.base.is_some()) {
            let Some(was) = self.old.chain(chain.name) else { continue };
            put(script, format_args!("flush chain {table} {}\n", chain.name));
            for rule in &was.rules {
                put(script, format_args!("add rule {table} {} {}\n", chain.name, rule.text));
            }
        }
    }

    /// A rule that leads to doubled chains by their new names.
    fn renamed(&self, text: &str) -> String {
        let mut renamed = String::with_capacity(text.len() + NEW.len());
        let mut from = 0;
        for (end, chain) in targets(text) {
            if self.doubled.contains(chain) {
                renamed.push_str(text.get(from..end).unwrap_or_default());
                renamed.push_str(NEW);
                from = end;
            }
        }
        renamed.push_str(text.get(from..).unwrap_or_default());
        renamed
    }
}

fn put(script: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string doesn't fail.
    let _ = script.write_fmt(line);
}

/// What both sides share, they must agree on.
fn same_but_chains(old: &Table<'_>, new: &Table<'_>) -> Result<(), String> {
    let table = &new.name;
    if old.flags != new.flags || old.other != new.other {
        return Err(format!("flags or comment of the table {table} change"));
    }
    let written = old.written_sets().into_iter().chain(new.written_sets()).collect::<BTreeSet<_>>();
    for set in old.sets.iter().chain(&new.sets) {
        let of = |table: &Table<'_>| {
            let found = table.sets.iter().find(|other| other.name == set.name)?;
            let moving = found.is_dynamic() || written.contains(found.name);
            let elements = found.elements.values().filter(|element| !moving && !element.timed);
            let elements: BTreeSet<String> = elements.map(|element| element.text.to_owned()).collect();
            Some((found.kind.to_owned(), found.header.join("\n"), found.comment.map(str::to_owned), elements))
        };
        if of(old) != of(new) {
            return Err(format!("the set {} of the table {table} changes, which both sides use", set.name));
        }
    }
    if let Some(object) = old
        .objects
        .iter()
        .chain(&new.objects)
        .find(|object| !old.objects.contains(object) || !new.objects.contains(object))
    {
        return Err(format!("the {} {} of the table {table} changes", object.kind, object.name));
    }
    Ok(())
}

/// Base chains come and go as a whole; nothing in them could tell the sides apart.
fn same_base_chains(old: &Table<'_>, new: &Table<'_>) -> Result<(), String> {
    let base =
        |table: &Table<'_>, name: &str| table.chain(name).and_then(|chain| chain.base.map(str::to_owned));
    for chain in old.chains.iter().chain(&new.chains) {
        if base(old, chain.name) != base(new, chain.name) {
            return Err(format!("{} is a base chain on one side only, or at another place", chain.name));
        }
    }
    Ok(())
}

/// The names that a trial uses are free.
fn unused_names(table: &Table<'_>) -> Result<(), String> {
    let chains = table.chains.iter().map(|chain| chain.name).filter(|name| name.ends_with(NEW));
    let sets = table.sets.iter().map(|set| set.name).filter(|name| *name == SET);
    match chains.chain(sets).next() {
        Some(name) => Err(format!("the table {} has a {name} already", table.name)),
        None => Ok(()),
    }
}

/// The chains whose rules lead to a chain.
fn callers<'l>(table: &'l Table<'l>) -> BTreeMap<&'l str, BTreeSet<&'l str>> {
    let mut callers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for chain in &table.chains {
        for rule in &chain.rules {
            for (_, called) in targets(rule.text) {
                callers.entry(called).or_default().insert(chain.name);
            }
        }
    }
    callers
}

/// The chains that a rule, or an element of a map, leads to, each with the place where its name ends.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut before = "";
    words(text).filter(move |(_, word)| {
        let leads = matches!(before, "jump" | "goto");
        before = word;
        leads
    })
}

/// The words of a text that aren't in quotes, each with the place where it ends.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut at, mut quoted) = (0, false);
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let length = rest.find([' ', '\t', '\n', ',', '{', '}', ';', '"']).unwrap_or(rest.len());
            let word = rest.get(..length).unwrap_or_default();
            let end = at + length;
            // Every separator is one byte.
            at = end + 1;
            let outside = !quoted;
            if rest.as_bytes().get(length) == Some(&b'"') {
                quoted = !quoted;
            }
            if outside && !word.is_empty() {
                return Some((end, word));
            }
        }
    })
}

#[cfg(test)]
mod tests;
