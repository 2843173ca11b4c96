//! The check of a whole journal.

use crate::chain::{Chain, Checked, Finding, Problem};
use crate::{Checkpoint, Hash, Store, StoreError};

/// How many entries are read at once.
const PAGE: u32 = 512;

/// What the check of a journal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The journal's id.
    pub journal: Hash,
    /// How many entries there are.
    pub count: u64,
    /// The hash of the last one.
    pub head: Hash,
    /// How many checkpoints were compared, an exported one included.
    pub checkpoints: usize,
    /// What is wrong, by sequence number. Nothing where the journal is sound.
    pub findings: Vec<Finding>,
}

/// Checks the database, the chain of its entries, and its checkpoints. Takes time linear in the number of entries, and
/// some hundred bytes of memory for each.
///
/// `exported` is a checkpoint that was kept somewhere else: its key is trusted, and entries behind it that are gone are
/// found even where the journal's own checkpoints went with them. Without one, `key` is the key to be trusted.
///
/// # Errors
/// A database that can't be asked at all. One that is damaged is a finding.
pub fn verify(
    store: &mut impl Store,
    exported: Option<&Checkpoint>,
    key: Option<Hash>,
) -> Result<Verified, StoreError> {
    let journal = store.id();
    let mut chain = Chain::new(journal);
    let mut findings = Vec::new();
    let fault = |fault| Finding { sequence: 0, problem: Problem::Fault(fault) };
    match store.faults() {
        Ok(faults) => findings.extend(faults.into_iter().map(fault)),
        Err(StoreError::Damaged { reason, .. }) => findings.push(fault(reason)),
        Err(error) => return Err(error),
    }
    // Before the entries: those that others add meanwhile may be signed, too.
    let mut checkpoints = match store.checkpoints() {
        Ok(checkpoints) => checkpoints,
        Err(StoreError::Damaged { reason, .. }) => {
            findings.push(fault(format!("its checkpoints can't be read: {reason}")));
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let pinned = exported.filter(|exported| exported.journal == journal && exported.check().is_ok());
    let trusted = pinned.map(|exported| exported.key).or(key);
    if trusted.is_none() && !checkpoints.is_empty() {
        let untrusted = "there is no key by which its checkpoints could be trusted";
        findings.push(fault(untrusted.to_owned()));
    }
    checkpoints.extend(exported.cloned());
    let compared = checkpoints.len();
    let whole = match read_entries(store, &mut chain)? {
        None => true,
        Some(unreadable) => {
            findings.push(unreadable);
            false
        }
    };
    // Of entries that can't be read nobody knows whether they are gone.
    for checkpoint in checkpoints.into_iter().filter(|_| whole) {
        chain.expect(checkpoint, trusted);
    }
    let Checked { count, head, findings: of_chain } = chain.finish();
    findings.extend(of_chain);
    Ok(Verified { journal, count, head, checkpoints: compared, findings })
}

/// Hands all entries to the check; what stopped it where one can't be read.
fn read_entries(store: &mut impl Store, chain: &mut Chain) -> Result<Option<Finding>, StoreError> {
    let mut last = 0;
    loop {
        // One by one where a page can't be read, so that the entries before the first bad one are checked.
        let page = match store.entries_after(last, PAGE) {
            Err(StoreError::Damaged { .. }) => store.entries_after(last, 1),
            page => page,
        };
        let entries = match page {
            Ok(entries) => entries,
            Err(StoreError::Damaged { reason, .. }) => {
                return Ok(Some(Finding { sequence: last, problem: Problem::Unreadable(reason) }));
            }
            Err(error) => return Err(error),
        };
        let Some(end) = entries.last() else { return Ok(None) };
        last = end.sequence;
        entries.iter().for_each(|entry| chain.push(entry));
    }
}
