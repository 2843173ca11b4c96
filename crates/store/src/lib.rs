//! The journal: what happened to a host's rules, who did it, and when, in a form that tells whether somebody changed it.
//!
//! Entries are only ever added. Each is bound to the one before by a hash ([`chain`]), and signed checkpoints of how many
//! there are and of the last hash ([`Checkpoint`]) show what a hash alone can't: that the end is missing, or that all of it
//! was written anew. A checkpoint that was copied to another host shows it even to those who don't trust this one.
//!
//! [`chain`] and [`Checkpoint`] are pure. [`Store`] is what a database has to offer, [`Journal`] is SQLite; time comes from
//! the caller. The calls block, and must not be made from within an async runtime. An open journal has a thread of its own:
//! whoever forks does so before.

pub mod chain;
mod checkpoint;
mod entry;
mod error;
mod hash;
mod key;
mod rows;
mod sqlite;
mod trial;
mod verify;

pub use checkpoint::{Checkpoint, Forged};
pub use entry::{Actor, Entry, Invalid, Kind, NewEntry, UnknownKind};
pub use error::StoreError;
pub use hash::{Bytes, Hash, NotHexadecimal};
pub use jiff::Timestamp;
pub use sqlite::{CHECKPOINT_EVERY, Journal};
pub use trial::of_trial;
pub use verify::{Verified, verify};

/// What became of an entry that was to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was added.
    New(Box<Entry>),
    /// An entry with the same [`NewEntry::source`] was there already, under this sequence number. Nothing was added.
    Known(u64),
}

impl Appended {
    /// The entry's sequence number.
    pub fn sequence(&self) -> u64 {
        match self {
            Appended::New(entry) => entry.sequence,
            Appended::Known(sequence) => *sequence,
        }
    }
}

/// A journal in some database. Every method is one transaction.
pub trait Store {
    /// The random number that tells this journal from every other one.
    fn id(&self) -> Hash;

    /// Adds entries: all of them or none, and durably before it returns. A signed checkpoint is added with them where they
    /// end a trial ([`Kind::ends_a_trial`]), and from time to time ([`CHECKPOINT_EVERY`]).
    ///
    /// # Errors
    /// An entry that isn't valid, a disk that is full, a database that is damaged or stays locked. Nothing was added then.
    fn append_all(&mut self, entries: &[NewEntry]) -> Result<Vec<Appended>, StoreError>;

    /// At most `limit` entries with greater sequence numbers, in their order.
    ///
    /// # Errors
    /// A database that is damaged or stays locked.
    fn entries_after(&mut self, sequence: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// Signs how many entries there are and the last one's hash, now.
    ///
    /// # Errors
    /// As [`Store::append_all`].
    fn add_checkpoint(&mut self, time: Timestamp) -> Result<Checkpoint, StoreError>;

    /// All checkpoints, oldest first.
    ///
    /// # Errors
    /// A database that is damaged or stays locked.
    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, StoreError>;

    /// What is wrong with the database itself, apart from what it holds: damaged pages, guards that somebody took away.
    ///
    /// # Errors
    /// A database that can't even be asked.
    fn faults(&mut self) -> Result<Vec<String>, StoreError>;
}
