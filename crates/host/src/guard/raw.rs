//! Single rules, and the quick way back, in the kernel's own bytes. `nft` reads a whole chain before it puts a rule beside another one, which
//! takes it 20 seconds for 100,000 rules; the kernel needs a handle, and gives the rule back with everything it counted.

use super::clock;
use super::process::say;
use super::reading::Reader;
use crate::kernel::{
    ChainName, RawRule, RuleEdit, carry_out, edited, is_overtaken, next, rules, transact, undo,
};
use crate::state::is_generation;
use firewarden_change::plan::{Inverse, Parent, hex};
use firewarden_change::trial::{Reading, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What a saved way back of this kind begins with, so that it isn't taken for a script of nft.
const PREFIX: &str = "# messages for the kernel\n";
/// Room that a rule which comes back may need, in bytes of hexadecimal.
pub const ROOM: usize = 4096;

/// A way back that is being prepared.
pub enum WayBack {
    /// The rules of chains before a change.
    Before(Vec<(ChainName, Vec<RawRule>)>),
    /// It is known already, as text.
    Known(String),
}

impl WayBack {
    /// Reads the chains that steps speak of, before a change; `None` where these do something else than adding and deleting
    /// rules, or the kernel can't be asked. O(rules of the chains).
    pub fn from_now(steps: &[Inverse]) -> Option<WayBack> {
        let chains = chains(steps)?.into_iter();
        let read: Option<Vec<_>> =
            chains.map(|chain| rules(&chain).ok().map(|rules| (chain, rules))).collect();
        read.map(WayBack::Before)
    }

    /// The way back from the rules that the kernel holds now, as text; `None` where only nft can make a rule anew.
    pub fn into_text(self) -> Option<String> {
        let chains = match self {
            WayBack::Known(text) => return Some(text),
            WayBack::Before(chains) => chains.into_iter(),
        };
        let now = chains.map(|(chain, before)| {
            let now = rules(&chain).ok()?;
            Some((chain, before, now))
        });
        text(&now.collect::<Option<Vec<_>>>()?)
    }
}

/// A way back as text.
fn text(chains: &[(ChainName, Vec<RawRule>, Vec<RawRule>)]) -> Option<String> {
    undo(chains).map(|messages| format!("{PREFIX}{}", hex(&messages)))
}

/// The rules of those chains that edits delete rules of, by chain. Others needn't be known to take the edits back. O(rules
/// of the chains).
///
/// # Errors
/// The system's.
pub fn before(edits: &[RuleEdit]) -> io::Result<BTreeMap<ChainName, Vec<RawRule>>> {
    let mut before = BTreeMap::new();
    for edit in edits {
        if let RuleEdit::Delete { chain, .. } = edit
            && !before.contains_key(chain)
        {
            before.insert(chain.clone(), rules(chain)?);
        }
    }
    Ok(before)
}

/// The way back from edits, given what [`before`] read and the rules that they made, without asking the kernel again.
pub fn back_from(
    edits: &[RuleEdit],
    mut before: BTreeMap<ChainName, Vec<RawRule>>,
    new: &[RawRule],
) -> Option<WayBack> {
    let (mut sides, mut new_rules) = (Vec::new(), new.iter());
    let mut others: BTreeMap<ChainName, Vec<RawRule>> = BTreeMap::new();
    for edit in edits {
        if let RuleEdit::Add { chain, .. } = edit {
            let rule = new_rules.next()?;
            if !before.contains_key(chain) {
                others.entry(chain.clone()).or_default().push(rule.clone());
            }
        }
    }
    // Where no rule went, those that came are all that there is to take back.
    sides.extend(others.into_iter().map(|(chain, rules)| (chain, Vec::new(), rules)));
    while let Some((chain, rules)) = before.pop_first() {
        let now = edited(&chain, &rules, edits, new)?;
        sides.push((chain, rules, now));
    }
    text(&sides).map(WayBack::Known)
}

/// Why a change wasn't told to the kernel directly.
pub enum NotLoaded {
    /// Somebody else changed the rules. Nothing was loaded, and nothing should be.
    Overtaken(Result<Reading, String>),
    /// It can't be told so. Nothing was loaded.
    Refused(String),
}

/// Makes edits on exactly the rules that the plan was made from. Where others changed something in between that means
/// nothing to these (as when fail2ban adds an element), it is tried again. Gives the way back.
pub fn load_directly(
    edits: &[RuleEdit],
    parent: &Parent,
    reader: &mut Reader,
    until: u64,
) -> Result<Option<WayBack>, NotLoaded> {
    let refused = |error: io::Error| NotLoaded::Refused(error.to_string());
    loop {
        let generation = reader
            .generation_of(Rules::Old)
            .ok_or_else(|| NotLoaded::Refused("the generation is not known".to_owned()))?;
        let old = before(edits).map_err(refused)?;
        match carry_out(edits, generation) {
            Ok(Some(new)) => {
                reader.moved(next(generation), Rules::New);
                return Ok(back_from(edits, old, &new));
            }
            Ok(None) => {
                reader.forget();
                return Ok(None);
            }
            Err(error) if is_overtaken(&error) && clock::since_boot() < until => {
                say("somebody else changed the rules meanwhile");
                match reader.read_anew(parent) {
                    Ok(reading) if reading.rules == Rules::Old => {}
                    other => return Err(NotLoaded::Overtaken(other)),
                }
            }
            Err(error) if is_generation(generation) => return Err(refused(error)),
            // There was no answer. What came of it has to be read.
            Err(error) => {
                say(&format!("the kernel did not answer: {error}"));
                reader.forget();
                return Ok(None);
            }
        }
    }
}

/// The chains whose rules steps add and delete; `None` where they do anything else.
fn chains(steps: &[Inverse]) -> Option<BTreeSet<ChainName>> {
    let mut chains = BTreeSet::new();
    for step in steps {
        match step {
            Inverse::DeleteRule { family, table, chain, .. } => {
                chains.insert(ChainName {
                    family: family.clone(),
                    table: table.clone(),
                    chain: chain.clone(),
                });
            }
            Inverse::Command(command) => {
                for line in command.lines() {
                    let mut words = line.split_whitespace();
                    let verb = (words.next()?, words.next()?);
                    let named =
                        (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.to_owned());
                    if !matches!(verb, ("add" | "insert", "rule")) {
                        return None;
                    }
                    let (family, table, chain) = named;
                    chains.insert(ChainName { family, table, chain });
                }
            }
        }
    }
    Some(chains)
}

/// Goes a saved way back of this kind, where a generation is given only from that one; `None` where it is of another kind.
pub fn go_back(saved: &str, generation: Option<u32>) -> Option<io::Result<()>> {
    let digits = saved.strip_prefix(PREFIX)?.trim();
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    Some(match bytes {
        Some(messages) => transact(&messages, generation),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the quick way back is damaged")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_that_add_and_delete_rules_are_for_the_kernel() {
        let named = |chain: &str| ChainName { family: "ip".into(), table: "t".into(), chain: chain.into() };
        let delete =
            Inverse::DeleteRule { family: "ip".into(), table: "t".into(), chain: "a".into(), index: 3 };
        let add = Inverse::Command("add rule ip t b position 5 accept\ninsert rule ip t c drop\n".into());
        let found = chains(&[delete.clone(), add]).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [named("a"), named("b"), named("c")]);
        for other in [
            "flush chain ip t a",
            "add element ip t s { 1.1.1.1 }",
            "add rule ip t",
            "delete rule ip t a handle 5",
        ] {
            assert_eq!(chains(&[delete.clone(), Inverse::Command(other.into())]), None, "{other}");
        }
    }

    #[test]
    fn a_saved_way_back_is_told_from_a_script() {
        assert!(go_back("delete rule ip t c handle 5\n", None).is_none());
        assert!(go_back(&format!("{PREFIX}zz"), None).unwrap().is_err());
        assert!(go_back(&format!("{PREFIX}0"), None).unwrap().is_err());
        assert!(go_back(PREFIX, None).unwrap().is_ok(), "nothing to do is done");
    }
}
