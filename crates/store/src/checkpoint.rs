//! Checkpoints: a signature under how long the journal is and how it ends.

use crate::{Bytes, Hash};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use jiff::Timestamp;

/// How many entries a journal has and the hash of the last one, signed by Ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The journal's id.
    pub journal: Hash,
    /// The number of entries.
    pub count: u64,
    /// The hash of the last one; of an empty journal, what its first entry would follow.
    pub head: Hash,
    /// When it was signed.
    pub time: Timestamp,
    /// The public key.
    pub key: Hash,
    /// The signature of [`Checkpoint::message`].
    pub signature: Bytes<64>,
}

/// The signature isn't that of the key over this checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature doesn't belong to the checkpoint")]
pub struct Forged;

impl Checkpoint {
    /// Signs a state of a journal.
    pub(crate) fn sign(
        key: &SigningKey,
        journal: Hash,
        count: u64,
        head: Hash,
        time: Timestamp,
    ) -> Checkpoint {
        let time = Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
        let public = Bytes(key.verifying_key().to_bytes());
        let mut checkpoint =
            Checkpoint { journal, count, head, time, key: public, signature: Bytes([0; 64]) };
        checkpoint.signature = Bytes(key.sign(checkpoint.message().as_bytes()).to_bytes());
        checkpoint
    }

    /// What is signed. Lines with one value each, none of which can contain a line break.
    pub fn message(&self) -> String {
        let Checkpoint { journal, count, head, time, .. } = self;
        format!(
            "firewarden journal checkpoint 1\njournal {journal}\ncount {count}\nhead {head}\ntime {time:.6}\n"
        )
    }

    /// Checks the signature by the key that the checkpoint names. Whose key that is has to be known otherwise.
    ///
    /// # Errors
    /// A signature of something else, or a key that is none.
    pub fn check(&self) -> Result<(), Forged> {
        let key = VerifyingKey::from_bytes(&self.key.0).map_err(|_| Forged)?;
        let signature = Signature::from_bytes(&self.signature.0);
        key.verify_strict(self.message().as_bytes(), &signature).map_err(|_| Forged)
    }
}
