//! A change of single rules in the kernel's own bytes.
//!
//! `nft` reads a whole chain before it puts a rule beside another one, and lists everything to say what the kernel holds:
//! many seconds for 100,000 rules, since the kernel gives out a long chain in time that grows with its square. A change of
//! a few rules needs none of that. nft compiles them once, in a throwaway namespace that holds nothing else; the guard
//! sends what came of it, with the generation that the rules from before were known at. The kernel refuses it where anybody
//! else changed anything meanwhile (compare-and-swap), and tells the rules back that it made.

use crate::kernel::{ChainName, Content, Place, RuleEdit};
use crate::sandbox::Sandbox;
use firewarden_change::plan::{Loader, Script};
use std::collections::BTreeSet;

/// The most edits of rules that are made by themselves. Each makes the kernel walk along its chain.
const MAX_DIRECT: usize = 64;
/// What makes a line more than one rule, or a rule something that hangs on others: sets, chains without a name, variables.
const NOT_ALONE: &[char] = &[';', '{', '}', '@', '$', '\\', '#'];

/// One line of a script.
enum Line<'a> {
    Delete { chain: ChainName, handle: u64 },
    Add { chain: ChainName, place: Place, rule: &'a str },
}

/// The edits that scripts make, where these do nothing but add and delete single rules that name nothing else, no
/// interface by its number, and no set. `None` for all others, and where there is no throwaway namespace for the compiler:
/// then nft has to load them. Takes as long as nft needs to start twice; changes nothing.
pub fn compile(scripts: &[Script]) -> Option<Vec<RuleEdit>> {
    let [Script { loader: Loader::Nft, text }] = scripts else { return None };
    if text.lines().nth(MAX_DIRECT).is_some() {
        return None;
    }
    let lines: Vec<Line<'_>> = text.lines().map(line).collect::<Option<_>>()?;
    let mut compiled = compile_rules(&lines)?.into_iter();
    let edits = lines.into_iter().map(|line| match line {
        Line::Delete { chain, handle } => Some(RuleEdit::Delete { chain, handle }),
        Line::Add { chain, place, .. } => {
            compiled.next().map(|content| RuleEdit::Add { chain, place, content })
        }
    });
    edits.collect()
}

/// The contents of the rules that come, in their order.
fn compile_rules(lines: &[Line<'_>]) -> Option<Vec<Content>> {
    let rules: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Add { chain, rule, .. } => Some((chain, *rule)),
            Line::Delete { .. } => None,
        })
        .collect();
    if rules.is_empty() {
        return Some(Vec::new());
    }
    // Each in a chain of its own, so that they are told apart whatever they are; and the chains that they lead to.
    let mut script = String::new();
    let mut chains = BTreeSet::new();
    for (ChainName { family, table, .. }, rule) in &rules {
        chains.insert((family, table, None));
        let words: Vec<&str> = rule.split_whitespace().collect();
        chains.extend(words.windows(2).filter_map(|pair| match pair {
            ["jump" | "goto", to] => Some((family, table, Some(*to))),
            _ => None,
        }));
    }
    for (family, table, chain) in chains {
        script += &match chain {
            None => format!("add table {family} {table}\n"),
            Some(chain) => format!("add chain {family} {table} {chain}\n"),
        };
    }
    let mut names = Vec::new();
    for (number, (ChainName { family, table, .. }, rule)) in rules.iter().enumerate() {
        let chain = format!("firewarden-compiles-{number}");
        script += &format!("add chain {family} {table} {chain}\nadd rule {family} {table} {chain} {rule}\n");
        names.push(ChainName { family: (*family).clone(), table: (*table).clone(), chain });
    }
    let sandbox = Sandbox::new().ok()?;
    sandbox.load(&Script { loader: Loader::Nft, text: script }).ok()?;
    let content = |name| match sandbox.rules(name).ok()?.as_slice() {
        [rule] if rule.content.stands_alone() => Some(rule.content.clone()),
        _ => None,
    };
    names.iter().map(content).collect()
}

/// Understands `delete rule FAMILY TABLE CHAIN handle N`, `add rule FAMILY TABLE CHAIN RULE`, and `insert rule FAMILY TABLE
/// CHAIN position N RULE`, which is what [`firewarden_change::delta`] writes.
fn line(text: &str) -> Option<Line<'_>> {
    let mut words = text.splitn(6, ' ');
    let (verb, object) = (words.next()?, words.next()?);
    let (family, table, chain) = (words.next()?, words.next()?, words.next()?);
    let chain = ChainName { family: family.to_owned(), table: table.to_owned(), chain: chain.to_owned() };
    let rest = words.next()?;
    if object != "rule" || text.contains(NOT_ALONE) {
        return None;
    }
    let (place, rule) = match (verb, rest.split_once(' ')) {
        ("delete", Some(("handle", handle))) => {
            return Some(Line::Delete { chain, handle: handle.parse().ok()? });
        }
        ("insert", Some(("position", rest))) => {
            let (handle, rule) = rest.split_once(' ')?;
            (Place::Before(handle.parse().ok()?), rule)
        }
        ("add", Some(("position", rest))) => {
            let (handle, rule) = rest.split_once(' ')?;
            (Place::After(handle.parse().ok()?), rule)
        }
        (_, Some(("index" | "handle" | "position", _))) => return None,
        ("insert", _) => (Place::First, rest),
        ("add", _) => (Place::Last, rest),
        _ => return None,
    };
    Some(Line::Add { chain, place, rule })
}

#[cfg(test)]
mod tests;
