//! Whom to believe and what is asked for: policy, signers, and the decision about a change.

use super::book::{Book, Entry};
use super::{Stopped, stop, stopped};
use crate::cli::change::Rules as Options;
use crate::load::Files;
use firewarden_change::approval::{Approval, Standing, Vote, votes};
use firewarden_change::policy::{
    Later, Permit, Policy, Question, Refusal, Trust, judge, later_review, read_policy,
};
use firewarden_change::record::{Change, NAMESPACE, Status};
use firewarden_host::signature::{self, SignatureError};
use firewarden_host::trust::only_root_writes;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// Where root keeps them.
pub const SYSTEM_FOLDER: &str = "/etc/firewarden";
pub const POLICY: &str = "policy.yaml";
pub const SIGNERS: &str = "allowed_signers";
const REVOKED: &str = "revoked_keys";

/// What decides about changes.
pub struct Rules {
    pub policy: Policy,
    /// How far policy and signers can be relied on.
    pub trust: Trust,
    /// Where the policy is from; `None` where there is none.
    pub policy_file: Option<PathBuf>,
    signers: Option<PathBuf>,
    revoked: Option<PathBuf>,
}

impl Rules {
    /// Finds policy and signers.
    pub fn load(options: &Options, changes: &Path) -> Result<Rules, Stopped> {
        let policy_file = find(options.policy.as_deref(), POLICY, changes)?;
        let signers = find(options.signers.as_deref(), SIGNERS, changes)?;
        let revoked = match &options.revoked {
            Some(path) => Some(present(path)?),
            None => Some(Path::new(SYSTEM_FOLDER).join(REVOKED)).filter(|path| path.exists()),
        };
        let policy = match &policy_file {
            Some(path) => read(path)?,
            None => Policy::default(),
        };
        let trust = trust(policy_file.as_deref(), signers.as_deref(), revoked.as_deref());
        Ok(Rules { policy, trust, policy_file, signers, revoked })
    }

    /// The approvals of a change with what is known of their signatures.
    ///
    /// # Errors
    /// ssh-keygen can't be run.
    pub fn votes(&self, change: &Change) -> Result<Vec<Vote>, Stopped> {
        let mut unavailable = None;
        let found = votes(change, |approval, statement| match self.standing(approval, statement) {
            Ok(standing) => standing,
            Err(error) => {
                unavailable = Some(error);
                Standing::Unchecked
            }
        });
        match unavailable {
            Some(error) => Err(stop(
                "ssh-keygen",
                format!("signatures can't be checked: {error}"),
                "install OpenSSH's client programs (`openssh-client`)",
            )),
            None => Ok(found),
        }
    }

    fn standing(&self, approval: &Approval, statement: &str) -> Result<Standing, SignatureError> {
        let Some(signers) = &self.signers else { return Ok(Standing::Unchecked) };
        let revoked = self.revoked.as_deref();
        let found =
            signature::verify(signers, revoked, &approval.by, NAMESPACE, statement, &approval.signature);
        match found {
            Ok(key) => Ok(Standing::Good { key }),
            Err(SignatureError::Unavailable(why)) => Err(SignatureError::Unavailable(why)),
            Err(SignatureError::Refused(why) | SignatureError::Unsigned(why)) => Ok(Standing::Refused(why)),
        }
    }

    /// May it be applied now?
    pub fn judge(
        &self,
        change: &Change,
        votes: &[Vote],
        plan: Option<(&str, &str)>,
        overdue: &[String],
        now: Timestamp,
    ) -> Result<Permit, Vec<Refusal>> {
        judge(&Question { change, votes, policy: &self.policy, trust: &self.trust, now, plan, overdue })
    }

    /// How far a change has come.
    pub fn status(&self, change: &Change, votes: &[Vote], now: Timestamp) -> Status {
        let refusals = self.judge(change, votes, None, &[], now).err().unwrap_or_default();
        let missing = |refusal: &Refusal| {
            matches!(refusal, Refusal::Approvals { .. } | Refusal::Group { .. } | Refusal::Author(_))
        };
        change.status(votes, !refusals.iter().any(missing))
    }

    /// Emergencies whose review is overdue, but for the change `but`. Whoever can't be read doesn't count.
    pub fn overdue(&self, entries: &[Entry], but: &str, now: Timestamp) -> Result<Vec<String>, Stopped> {
        let mut found = Vec::new();
        for Entry { change, .. } in entries {
            if change.record.id == but || change.record.emergency.is_none() {
                continue;
            }
            let votes = self.votes(change)?;
            if matches!(later_review(change, &votes, &self.policy, now), Later::Overdue(_)) {
                found.push(change.record.id.clone());
            }
        }
        Ok(found)
    }
}

/// May this plan of this change be applied to this host now? The inner error tells everything that speaks against it.
pub fn may_apply(
    book: &Book,
    rules: &Rules,
    entry: &Entry,
    plan: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<Result<Permit, Vec<Refusal>>, Stopped> {
    let mut sources = firewarden_diagnostic::SourceMap::default();
    let (entries, problems) = book.all(&mut sources)?;
    if !problems.is_empty() {
        // An emergency that can't be read can't be told from one that was reviewed.
        return Err(stopped(problems, sources));
    }
    let overdue = rules.overdue(&entries, &entry.change.record.id, now)?;
    let votes = rules.votes(&entry.change)?;
    Ok(rules.judge(&entry.change, &votes, plan, &overdue, now))
}

/// The file that is named, or root's, or the one among the changes.
fn find(named: Option<&Path>, name: &str, changes: &Path) -> Result<Option<PathBuf>, Stopped> {
    if let Some(path) = named {
        return present(path).map(Some);
    }
    let usual = [Path::new(SYSTEM_FOLDER).join(name), changes.join(name)];
    Ok(usual.into_iter().find(|path| path.symlink_metadata().is_ok()))
}

fn present(path: &Path) -> Result<PathBuf, Stopped> {
    match path.symlink_metadata() {
        Ok(_) => Ok(path.to_path_buf()),
        Err(error) => {
            Err(stop("unreadable", format!("cannot read `{}`: {error}", path.display()), "check the path"))
        }
    }
}

fn read(path: &Path) -> Result<Policy, Stopped> {
    let mut files = Files::default();
    let file = files.open(path)?;
    match read_policy(file, files.text(file)) {
        Ok(policy) => Ok(policy),
        Err(problems) => Err(stopped(problems, files.sources)),
    }
}

/// All that decides must be root's word.
fn trust(policy: Option<&Path>, signers: Option<&Path>, revoked: Option<&Path>) -> Trust {
    let Some(signers) = signers else {
        return Trust::Advisory(format!("there is no `{SYSTEM_FOLDER}/{SIGNERS}`"));
    };
    for path in [Some(signers), policy, revoked].into_iter().flatten() {
        if let Err(distrust) = only_root_writes(path) {
            return Trust::Advisory(distrust.to_string());
        }
    }
    Trust::Enforced
}
