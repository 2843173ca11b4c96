//! Who may talk to whom, as the intents of a stack say it: a matrix of parties, and a picture of hosts, links and flows.
//!
//! Nothing here asks the rulesets; `check` with [`crate::CheckOptions::rules`] says whether an intent holds, and which rules
//! its packets meet.

mod layout;
mod topology;

pub use layout::{Drawn, Placed, Routed, layout};
pub use topology::{Edge, EdgeKind, Node, NodeKind, Topology, topology};

use crate::check::{rule_text, table_and_chain};
use crate::intent::{Intent, Peer, Peers};
use crate::stack::StackFile;
use firewarden_diagnostic::SourceMap;
use firewarden_ruleset::ir::{ChainId, Policy, Rule, Ruleset};
use std::collections::{BTreeMap, BTreeSet};

/// The most words of one side of an intent that are parties of their own.
const MOST_WORDS: usize = 16;

/// Sources by destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matrix {
    /// The rows: parties that intents name as sources.
    pub sources: Vec<String>,
    /// The columns: parties that intents name as destinations.
    pub destinations: Vec<String>,
    /// The numbers of the intents of a row and a column. Pairs that no intent speaks of aren't there.
    pub cells: BTreeMap<(usize, usize), Vec<usize>>,
}

/// The matrix of a stack's intents. A row is a word that an intent has as a source (a host, a group, `internet`, an
/// address), a column one that it has as a destination; hosts come in the order in which they are declared, after the
/// others in rows and before them in columns. O(pairs that intents name · log).
pub fn matrix(stack: &StackFile) -> Matrix {
    let sources = stack.intents.iter().map(|declared| &declared.intent.source);
    let destinations = stack.intents.iter().map(|declared| &declared.intent.destination);
    let (hosts, others) = parties(stack, sources);
    let sources = [others, hosts].concat();
    let (hosts, others) = parties(stack, destinations);
    let destinations = [hosts, others].concat();
    let numbers = |names: &[String]| -> BTreeMap<String, usize> {
        names.iter().enumerate().map(|(number, name)| (name.clone(), number)).collect()
    };
    let (rows, columns) = (numbers(&sources), numbers(&destinations));
    let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, declared) in stack.intents.iter().enumerate() {
        let of = |peers: &Peers, numbers: &BTreeMap<String, usize>| -> BTreeSet<usize> {
            words(peers).iter().filter_map(|name| numbers.get(name).copied()).collect()
        };
        let to = of(&declared.intent.destination, &columns);
        for row in of(&declared.intent.source, &rows) {
            for &column in &to {
                cells.entry((row, column)).or_default().push(index);
            }
        }
    }
    Matrix { sources, destinations, cells }
}

/// The words of one side of all intents, each once: declared hosts in their order, and the others as they come.
fn parties<'p>(stack: &StackFile, sides: impl Iterator<Item = &'p Peers>) -> (Vec<String>, Vec<String>) {
    let declared: BTreeSet<&str> = stack.hosts.iter().map(|host| host.name.value.as_str()).collect();
    let (mut named, mut others) = (BTreeSet::new(), Vec::new());
    for name in sides.flat_map(words) {
        let is_host = declared.contains(name.as_str());
        if named.insert(name.clone()) && !is_host {
            others.push(name);
        }
    }
    let hosts = stack.hosts.iter().map(|host| &host.name.value).filter(|name| named.contains(*name));
    (hosts.cloned().collect(), others)
}

/// What people call a chain, and what a base chain is: `inet filter input`, `filter chain on input, policy drop`.
pub fn chain_title(ruleset: &Ruleset, id: ChainId) -> (String, Option<String>) {
    let base = ruleset.chain(id).and_then(|chain| chain.base.as_ref());
    let about = base.map(|base| {
        let policy = match base.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        format!("{:?} chain on {:?}, policy {policy}", base.chain_type, base.hook).to_ascii_lowercase()
    });
    (table_and_chain(ruleset, id), about)
}

/// A rule as it is written, with white space made single; cut to 200 characters.
pub fn rule_line(sources: &SourceMap, rule: &Rule) -> String {
    rule_text(sources, rule.span)
}

/// One side of an intent as its words, each a party. A long list is one party: a table with a row for each of thousands of
/// addresses tells nobody anything.
fn words(peers: &Peers) -> Vec<String> {
    let all = peers.include.iter().map(|peer| word(&peer.value));
    match peers.include.len() {
        0..=MOST_WORDS => all.collect(),
        more => vec![format!("{} and {} more", all.take(2).collect::<Vec<_>>().join(", "), more - 2)],
    }
}

/// A peer as the intent has it.
fn word(peer: &Peer) -> String {
    match peer {
        Peer::Any => "any".to_owned(),
        Peer::Internet => "internet".to_owned(),
        Peer::Name(name) => name.to_string(),
        Peer::Range(range) => range.to_string(),
        Peer::Set(name) => format!("@{name}"),
    }
}

/// The services of an intent as it has them: `tcp/80,443`; `any` where it names none.
pub fn services(intent: &Intent) -> String {
    // The text is SOURCE -> DESTINATION SERVICES, and destinations have no white space but after commas and `except`.
    let Some((_, rest)) = intent.text.split_once("-> ") else { return "any".to_owned() };
    let mut words = rest.split(' ').peekable();
    while let Some(word) = words.next() {
        let goes_on = word.ends_with(',') || word == "except" || words.peek() == Some(&"except");
        if !goes_on {
            break;
        }
    }
    let services: Vec<&str> = words.collect();
    if services.is_empty() { "any".to_owned() } else { services.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::read_stack;
    use firewarden_diagnostic::FileId;

    pub(super) const STACK: &str = "hosts:
  edge:
    interfaces:
      wan: { address: 203.0.113.1/24, uplink: true }
      lan: 10.0.0.1/16
  lb: { address: 10.0.1.10 }
  db: { address: 10.0.3.30 }
groups: { office: 198.51.100.0/24 }
intents:
  - allow: internet except 192.0.2.0/24 -> lb tcp/80,443
  - only: lb, office -> db tcp/5432, icmp
  - deny: internet -> db
";

    pub(super) fn stack() -> StackFile {
        let (stack, problems) = read_stack(FileId(0), STACK);
        assert!(problems.is_empty(), "{problems:#?}");
        stack
    }

    #[test]
    fn rows_and_columns() {
        let matrix = matrix(&stack());
        assert_eq!(matrix.sources, ["internet", "office", "lb"]);
        assert_eq!(matrix.destinations, ["lb", "db"]);
        let cells: Vec<_> = matrix.cells.into_iter().collect();
        assert_eq!(cells, [((0, 0), vec![0]), ((0, 1), vec![2]), ((1, 1), vec![1]), ((2, 1), vec![1])]);
    }

    #[test]
    fn a_long_list_is_one_party() {
        let list: Vec<String> = (1..=20).map(|last| format!("192.0.2.{last}")).collect();
        let text = format!(
            "hosts: {{ db: {{ address: 10.0.0.1 }} }}\nintents:\n  - allow: {} -> db tcp/1\n",
            list.join(", ")
        );
        let matrix = matrix(&read_stack(FileId(0), &text).0);
        assert_eq!(matrix.sources, ["192.0.2.1, 192.0.2.2 and 18 more"]);
        assert_eq!(matrix.cells.len(), 1);
    }

    #[test]
    fn services_as_written() {
        let said: Vec<String> = stack().intents.iter().map(|one| services(&one.intent)).collect();
        assert_eq!(said, ["tcp/80,443", "tcp/5432, icmp", "any"]);
    }
}
