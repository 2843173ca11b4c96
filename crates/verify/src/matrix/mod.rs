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
use std::collections::BTreeMap;

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
/// others in rows and before them in columns. O(intents · words).
pub fn matrix(stack: &StackFile) -> Matrix {
    let mut matrix = Matrix::default();
    let words = |peers: &Peers| peers.include.iter().map(|peer| word(&peer.value)).collect::<Vec<_>>();
    let hosts = || stack.hosts.iter().map(|host| host.name.value.clone());
    let is_host = |name: &String| stack.host(name).is_some();
    for (of_sources, side) in [(true, &mut matrix.sources), (false, &mut matrix.destinations)] {
        let mut others: Vec<String> = Vec::new();
        let mut named: Vec<String> = Vec::new();
        for declared in &stack.intents {
            let peers = if of_sources { &declared.intent.source } else { &declared.intent.destination };
            for name in words(peers) {
                let list = if is_host(&name) { &mut named } else { &mut others };
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
        let known: Vec<String> = hosts().filter(|name| named.contains(name)).collect();
        *side = if of_sources { [others, known].concat() } else { [known, others].concat() };
    }
    for (index, declared) in stack.intents.iter().enumerate() {
        for source in words(&declared.intent.source) {
            for destination in words(&declared.intent.destination) {
                let row = matrix.sources.iter().position(|name| *name == source);
                let column = matrix.destinations.iter().position(|name| *name == destination);
                if let (Some(row), Some(column)) = (row, column) {
                    matrix.cells.entry((row, column)).or_default().push(index);
                }
            }
        }
    }
    matrix
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

/// A peer as the intent has it.
pub(crate) fn word(peer: &Peer) -> String {
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
    fn services_as_written() {
        let said: Vec<String> = stack().intents.iter().map(|one| services(&one.intent)).collect();
        assert_eq!(said, ["tcp/80,443", "tcp/5432, icmp", "any"]);
    }
}
