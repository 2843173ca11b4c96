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
mod script;

pub use listing::{Chain, Element, Listing, ListingError, Object, Rule, Set, Table, TableName};

use crate::plan::Inverse;
use compare::Difference;
use script::{Direction, Step};
use std::collections::BTreeSet;

/// How much a forward script leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Only what differs is touched.
    Fine,
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
    let mut delta = Delta::default();
    let (mut back, mut inverse) = (Vec::new(), Vec::new());
    let mut forward = Vec::new();
    for table in before.tables.iter().filter(|table| touches(&table.name)) {
        let Some(other) = after.table(&table.name) else {
            script::remove(table, manner, &mut forward);
            script::create(table, Manner::Refill, &mut back);
            script::create(table, Manner::Fine, &mut inverse);
            delta.tables.insert(table.name.clone());
            delta.edits.push(whole(table, EditLine::Removed));
            continue;
        };
        let there = Difference::between(table, other);
        if there.is_nothing() {
            delta.notes.extend(there.notes());
            continue;
        }
        let here = Difference::between(other, table);
        script::change(&there, manner, Direction::Forward, &mut forward);
        script::change(&here, Manner::Refill, Direction::Back, &mut back);
        script::change(&here, Manner::Fine, Direction::Back, &mut inverse);
        delta.tables.insert(table.name.clone());
        delta.edits.extend(there.edits());
        delta.notes.extend(there.notes());
    }
    for table in after.tables.iter().filter(|table| touches(&table.name)) {
        if before.table(&table.name).is_none() {
            script::create(table, manner, &mut forward);
            script::remove(table, Manner::Refill, &mut back);
            script::remove(table, Manner::Fine, &mut inverse);
            delta.tables.insert(table.name.clone());
            delta.edits.push(whole(table, EditLine::Added));
        }
    }
    delta.forward = script::text(&forward);
    delta.rollback = script::text(&back);
    delta.inverse = inverse.into_iter().map(Step::into_inverse).collect();
    delta
}

/// The edit of a table that comes or goes.
fn whole(table: &Table<'_>, kind: fn(String) -> EditLine) -> Edit {
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
