//! The quick way back in the kernel's own bytes. `nft` reads a whole chain before it puts a rule beside another one, which
//! takes it 20 seconds for 100,000 rules; the kernel needs a handle, and gives the rule back with everything it counted.

use crate::kernel::{ChainName, RawRule, rules, transact, undo};
use firewarden_change::plan::{Inverse, hex};
use std::collections::BTreeSet;
use std::io;

/// What a saved way back of this kind begins with, so that it isn't taken for a script of nft.
const PREFIX: &str = "# messages for the kernel\n";
/// Room that a rule which comes back may need, in bytes of hexadecimal.
pub const ROOM: usize = 4096;

/// The rules of chains before a change.
pub struct Before(Vec<(ChainName, Vec<RawRule>)>);

impl Before {
    /// Reads the chains that steps speak of; `None` where these do something else than adding and deleting rules, or the
    /// kernel can't be asked. O(rules of the chains).
    pub fn read(steps: &[Inverse]) -> Option<Before> {
        let chains = chains(steps)?.into_iter();
        let read: Option<Vec<_>> =
            chains.map(|chain| rules(&chain).ok().map(|rules| (chain, rules))).collect();
        read.map(Before)
    }

    /// The way back from the rules that the kernel holds now, as text; `None` where only nft can make a rule anew.
    pub fn way_back(self) -> Option<String> {
        let now = self.0.into_iter().map(|(chain, before)| {
            let now = rules(&chain).ok()?;
            Some((chain, before, now))
        });
        let chains: Option<Vec<_>> = now.collect();
        undo(&chains?).map(|messages| format!("{PREFIX}{}", hex(&messages)))
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

/// Goes a saved way back of this kind; `None` where it is of another kind.
pub fn go_back(saved: &str) -> Option<io::Result<()>> {
    let digits = saved.strip_prefix(PREFIX)?.trim();
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    Some(match bytes {
        Some(messages) => transact(&messages),
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
        assert!(go_back("delete rule ip t c handle 5\n").is_none());
        assert!(go_back(&format!("{PREFIX}zz")).unwrap().is_err());
        assert!(go_back(&format!("{PREFIX}0")).unwrap().is_err());
        assert!(go_back(PREFIX).unwrap().is_ok(), "nothing to do is done");
    }
}
