//! Approvals: who signed which statement, and which of the signatures count.
//!
//! Nothing in here checks a signature; that needs ssh-keygen(1), and is done on the host. What it found comes in as
//! [`Standing`].

use crate::record::{Change, RECORD, Role, read_whole, yaml};
use firewarden_diagnostic::{Diagnostic, FileId};
use firewarden_verify::yaml::Kind;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

const APPROVAL: Kind = Kind { name: "the approval", ..RECORD };

/// A signature under a change, as a file in `approvals/` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Who says to have signed, as `allowed_signers` names them.
    pub by: String,
    /// When they say they did, UTC.
    pub at: Timestamp,
    /// As what.
    pub role: Role,
    /// What they signed (see [`crate::record::Record::statement`]).
    pub statement: String,
    /// The signature as ssh-keygen writes it.
    pub signature: String,
}

impl Approval {
    /// The text of its file.
    pub fn write(&self) -> String {
        yaml(self)
    }

    /// The name of its file in `approvals/`. Who approves once more, after a new version, replaces their own.
    pub fn file_name(&self) -> String {
        format!("{}-{}.yaml", self.by, self.role.word())
    }
}

/// Reads an approval.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn read_approval(file: FileId, text: &str) -> Result<Approval, Vec<Diagnostic>> {
    read_whole(APPROVAL, file, text, |reader, root| {
        const WHAT: &str = "an approval";
        let fields = reader.values.fields(root, WHAT, &["by", "at", "role", "statement", "signature"])?;
        let by = reader.needed(&fields, WHAT, "by", "bob@example.org");
        let by = reader.person(by);
        let at = reader.needed(&fields, WHAT, "at", "2026-11-21T08:00:00Z");
        let at = reader.moment(at);
        let role = reader.needed(&fields, WHAT, "role", "approver");
        let role = reader.one_of(role, &Role::ALL, Role::word);
        let statement = reader.needed(&fields, WHAT, "statement", "firewarden change …");
        let signature = reader.needed(&fields, WHAT, "signature", "-----BEGIN SSH SIGNATURE-----…");
        Some(Approval {
            by: by?,
            at: at?,
            role: role?,
            statement: statement?.value,
            signature: signature?.value,
        })
    })
}

/// What is known of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is theirs, and of this version; by the key with this fingerprint.
    Good {
        /// As ssh-keygen prints it: `SHA256:…`.
        key: String,
    },
    /// It is of another version of the record or of other plans.
    Void,
    /// It isn't theirs, or their key isn't valid (any more); why.
    Refused(String),
    /// Nobody could say, since there is no `allowed_signers`.
    Unchecked,
}

/// An approval with what is known of its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Who.
    pub by: String,
    /// When they say they signed.
    pub at: Timestamp,
    /// As what.
    pub role: Role,
    /// What is known.
    pub standing: Standing,
}

impl Vote {
    /// Whether nothing speaks against the signature.
    pub fn may_count(&self) -> bool {
        matches!(self.standing, Standing::Good { .. } | Standing::Unchecked)
    }

    fn key(&self) -> Option<&str> {
        match &self.standing {
            Standing::Good { key } => Some(key),
            _ => None,
        }
    }
}

/// The approvals of a change with what is known of them: those of another version are void, for the others `check` is
/// asked (with the approval and the statement that it must be of). In the order of the approvals.
pub fn votes(change: &Change, mut check: impl FnMut(&Approval, &str) -> Standing) -> Vec<Vote> {
    let statements = Role::ALL.map(|role| (role, change.record.statement(role)));
    let standing = |approval: &Approval| {
        let current =
            statements.iter().find(|(role, _)| *role == approval.role).map(|(_, text)| text.as_str());
        match current {
            // YAML may take the line break at the end away.
            Some(text) if text.trim_end() == approval.statement.trim_end() => check(approval, text),
            _ => Standing::Void,
        }
    };
    let standings: Vec<Standing> = change.approvals.iter().map(standing).collect();
    change
        .approvals
        .iter()
        .zip(standings)
        .map(|(approval, standing)| Vote {
            by: approval.by.clone(),
            at: approval.at,
            role: approval.role,
            standing,
        })
        .collect()
}

/// Which approvals count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those who approve: different people with different keys, none of them the author.
    pub approvers: Vec<String>,
    /// Approvals that don't count, each with the reason.
    pub ignored: Vec<(String, String)>,
    /// The author signed.
    pub author_signed: bool,
}

/// Counts the approvals of a change. A key counts once, whatever names it is used under, and never where it is the author's.
pub fn tally(author: &str, votes: &[Vote]) -> Tally {
    let of_author = |vote: &&Vote| vote.role == Role::Author && vote.by == author && vote.may_count();
    let author_key = votes.iter().find(of_author).and_then(Vote::key);
    let mut result = Tally { author_signed: votes.iter().any(|vote| of_author(&vote)), ..Tally::default() };
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for vote in votes.iter().filter(|vote| vote.role == Role::Approver) {
        let against = match &vote.standing {
            Standing::Void => Some("it is void: the plan or the record changed since".to_owned()),
            Standing::Refused(why) => Some(why.clone()),
            _ if vote.by == author => Some("nobody approves their own change".to_owned()),
            Standing::Good { key } if author_key == Some(key) => {
                Some("it is signed with the author's key".to_owned())
            }
            Standing::Good { key } if keys.contains(key.as_str()) => {
                Some("its key already counts under another name".to_owned())
            }
            _ if result.approvers.contains(&vote.by) => Some("they already count".to_owned()),
            Standing::Good { .. } | Standing::Unchecked => None,
        };
        match against {
            Some(why) => result.ignored.push((vote.by.clone(), why)),
            None => {
                keys.extend(vote.key());
                result.approvers.push(vote.by.clone());
            }
        }
    }
    result
}
