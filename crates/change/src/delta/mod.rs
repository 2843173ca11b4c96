//! From two listings of nft to the scripts that lead from one to the other, and back.
//!
//! Rules that stay aren't touched: their counters, quotas and limits go on. Rules are compared by their words, which nft
//! prints alike for equal rules; those that go are deleted by handle, those that come are put beside one that stays. Sets
//! get and lose elements; elements that packets or a timeout govern belong to nobody who loads rules, and stay. What the
//! kernel can't change in place (hook, priority, the type of a set, ...) is deleted and made anew with the rules that name
//! it, all in one transaction.
//!
//! None of this has to be believed: whoever uses it loads the scripts into a throwaway namespace first.

mod compare;
mod listing;
mod saves;
mod script;

pub use listing::{Chain, Element, Listing, ListingError, Object, Rule, Set, Table, TableName, normal_form};

pub use saves::{SaveDelta, save_delta};

use crate::plan::Inverse;
use compare::Difference;
use script::{Direction, Step};
use std::collections::{BTreeMap, BTreeSet};

/// How much a forward script leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Only what differs is touched.
    Fine,
    /// Rules come only at the ends of chains: what follows the first difference goes and comes back, and loses what it
    /// counted. For programs that can't put a rule beside another one: nft 1.0.6 crashes on it for some rulesets, such as
    /// those with chains that stand within a rule.
    Ends,
    /// Chains with a difference are emptied and filled again, and so are sets. Their rules lose what they counted.
    Refill,
}

/// What leads from one ruleset to another one, and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// For `nft -f`, on a kernel that holds the first listing. Empty where nothing differs.
    pub forward: String,
    /// For `nft -f`: back to the first listing, from either of the two.
    pub rollback: String,
    /// Back to the first listing from exactly the second one, with nothing touched that the change left alone.
    pub inverse: Vec<Inverse>,
    /// The tables that differ.
    pub tables: BTreeSet<TableName>,
    /// What differs, for people, in the order of the listings.
    pub edits: Vec<Edit>,
    /// What is lost or stays behind, one sentence each.
    pub notes: Vec<String>,
}

/// What differs in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// `chain inet filter input`, `set ip nat hosts`, `table ip t`.
    pub place: String,
    /// What happens there.
    pub lines: Vec<EditLine>,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditLine {
    /// A rule, element, chain, ... comes.
    Added(String),
    /// It goes.
    Removed(String),
    /// It is another one.
    Changed(String),
}

impl Delta {
    /// True where the two listings say the same, as far as loading rules can make it so.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }
}

/// The delta between two listings of `nft -s -a list ruleset`, for those tables for which `touches` says yes.
/// O(n log n) for few edits; many edits cost no more than a constant factor, since the comparison of rules then settles
/// for more of them than needed.
pub fn delta(
    before: &Listing<'_>,
    after: &Listing<'_>,
    manner: Manner,
    touches: impl Fn(&TableName) -> bool,
) -> Delta {
    let touched = |table: &&Table<'_>| touches(&table.name);
    let mut pairs: Vec<Difference<'_, '_>> = Vec::new();
    let (mut gone, mut notes) = (Vec::new(), Vec::new());
    for table in before.tables.iter().filter(touched) {
        match after.table(&table.name) {
            None => gone.push(table),
            Some(other) => {
                let difference = Difference::between(table, other);
                notes.extend(difference.notes());
                if !difference.is_nothing() {
                    pairs.push(difference);
                }
            }
        }
    }
    let new = after.tables.iter().filter(touched).filter(|table| before.table(&table.name).is_none());
    let new: Vec<_> = new.collect();
    if manner == Manner::Ends {
        pairs.iter_mut().for_each(Difference::skip_to_end);
    }
    let mut delta = Delta { notes, ..Delta::default() };
    let (mut forward, mut back, mut inverse) = (Vec::new(), Vec::new(), Vec::new());
    for table in gone {
        script::remove(table, manner, &mut forward);
        script::create(table, Manner::Refill, &mut back);
        script::create(table, Manner::Fine, &mut inverse);
        delta.edits.push(whole_table(table, EditLine::Removed));
        delta.tables.insert(table.name.clone());
    }
    for there in pairs {
        delta.tables.insert(there.from.name.clone());
        delta.edits.extend(there.edits());
        if there.needs_new_table() {
            script::remove(there.from, manner, &mut forward);
            script::create(there.to, Manner::Fine, &mut forward);
            script::create(there.from, Manner::Refill, &mut back);
            script::remove(there.to, Manner::Fine, &mut inverse);
            script::create(there.from, Manner::Fine, &mut inverse);
            delta.notes.push(format!(
                "table `{}` is made anew, since its flags and its base chains can't change together: counters and \
                 elements that packets or timeouts brought are lost",
                there.from.name
            ));
            continue;
        }
        script::change(&there, manner, Direction::Forward, &mut forward);
        let here = there.inverted();
        script::change(&here, Manner::Refill, Direction::Back, &mut back);
        script::change(&here, Manner::Fine, Direction::Back, &mut inverse);
    }
    for table in new {
        script::create(table, manner, &mut forward);
        script::remove(table, Manner::Refill, &mut back);
        script::remove(table, Manner::Fine, &mut inverse);
        delta.edits.push(whole_table(table, EditLine::Added));
        delta.tables.insert(table.name.clone());
    }
    delta.forward = script::text(&forward);
    delta.rollback = script::text(&back);
    delta.inverse = inverse.into_iter().map(Step::into_inverse).collect();
    delta
}

/// The text for `nft -f` of a quick way back, given what `nft -a list ruleset` prints once the change is in. `None` where a
/// rule isn't where it should be: then only the whole rollback helps. O(n).
pub fn inverse_script(inverse: &[Inverse], now: &Listing<'_>) -> Option<String> {
    let mut text = String::new();
    for step in inverse {
        match step {
            Inverse::Command(command) => text.push_str(command),
            Inverse::DeleteRule { family, table, chain, index } => {
                let name = TableName { family: family.clone(), name: table.clone() };
                let rule = now.table(&name)?.chain(chain)?.rules.get(*index)?;
                text.push_str(&format!("delete rule {name} {chain} handle {}", rule.handle));
            }
        }
        text.push('\n');
    }
    Some(text)
}

/// The text for `nft -f` that makes these tables what they are in a listing, whatever was there before, and leaves every
/// other table alone: what a file for the next boot holds. O(n).
pub fn whole_text(listing: &Listing<'_>, tables: &BTreeSet<TableName>) -> String {
    let mut steps = Vec::new();
    for table in listing.tables.iter().filter(|table| tables.contains(&table.name)) {
        script::create(table, Manner::Refill, &mut steps);
    }
    script::text(&steps)
}

/// What names rules by their handles hangs on: the rules of these tables with their handles, one a line. Where it stayed
/// the same, a forward script names the rules that it was made for. O(n).
pub fn handles(listing: &Listing<'_>, tables: &BTreeSet<TableName>) -> String {
    let mut text = String::new();
    for table in listing.tables.iter().filter(|table| tables.contains(&table.name)) {
        for chain in &table.chains {
            for rule in &chain.rules {
                text.push_str(&format!(
                    "{} {} {} {}\n",
                    table.name,
                    chain.name,
                    rule.handle,
                    normal_form(rule.text)
                ));
            }
        }
    }
    text
}

/// nft prints some rules in other words once they were loaded from what it printed. Given the running rules, the same ones
/// replayed, and what became of the latter: that, with the running words for rules that stayed. `None` where running and
/// replayed rules don't stand in the same places. O(n log n).
pub fn in_running_words(running: &Listing<'_>, replayed: &Listing<'_>, text: &str) -> Option<String> {
    let reached = Listing::read(text).ok()?;
    let mut words: BTreeMap<(TableName, &str, u64), &str> = BTreeMap::new();
    for table in &running.tables {
        let other = replayed.table(&table.name)?;
        for chain in &table.chains {
            let copy = other.chain(chain.name)?;
            if copy.rules.len() != chain.rules.len() {
                return None;
            }
            for (own, copy) in chain.rules.iter().zip(&copy.rules).filter(|(own, copy)| own.text != copy.text)
            {
                words.insert((table.name.clone(), chain.name, copy.handle), own.text);
            }
        }
    }
    let (mut result, mut done) = (String::with_capacity(text.len()), 0);
    if words.is_empty() {
        return Some(text.to_owned());
    }
    for table in &reached.tables {
        for chain in &table.chains {
            for rule in &chain.rules {
                let Some(own) = words.get(&(table.name.clone(), chain.name, rule.handle)) else { continue };
                // A rule's text is a part of the listing's.
                let at = (rule.text.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
                result.push_str(text.get(done..at)?);
                result.push_str(own);
                done = at + rule.text.len();
            }
        }
    }
    result.push_str(text.get(done..)?);
    Some(result)
}

/// The edit of a table that comes or goes.
fn whole_table(table: &Table<'_>, kind: fn(String) -> EditLine) -> Edit {
    let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
    let counted = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    };
    let words = format!("{} with {}", counted(table.chains.len(), "chain"), counted(rules, "rule"));
    Edit { place: format!("table {}", table.name), lines: vec![kind(words)] }
}

#[cfg(test)]
mod tests;
