//! May a plan be carried out? What the policy of this host says, and the reviews that are owed.

use super::reviews::{self, Owed};
use crate::cli::change::Rules as RuleOptions;
use crate::cli::trial::OfChange;
use crate::commands::Stopped;
use crate::commands::change::{Book, POLICY, Rules, SIGNERS, SYSTEM_FOLDER, may_apply};
use firewarden_change::plan::Plan;
use firewarden_change::policy::Trust;
use firewarden_diagnostic::Diagnostic;
use firewarden_host::guard::Home;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;

/// How long a review may be owed where no policy says, in hours.
const REVIEW_HOURS: u32 = 72;

/// What is asked before anything is changed, and what the answer was.
#[derive(Default)]
pub struct Permission {
    /// What the operator is told although it may go on.
    pub told: Vec<String>,
    /// What speaks against it; empty where nothing does.
    pub refusals: Vec<Diagnostic>,
    /// The change, where one was named.
    pub change: Option<String>,
    /// It goes an emergency's way; the words for the journal.
    pub emergency: Option<String>,
}

/// Asks policy, approvals and reviews. `accepted` is whether the operator goes on in spite of a review that is overdue.
///
/// # Errors
/// Policy, signers or changes can't be read.
pub fn ask(home: &Home, options: &OfChange, plan: &Plan, accepted: bool) -> Result<Permission, Stopped> {
    of_this_host(&options.rules)?;
    let now = Timestamp::now();
    let mut found = Permission { change: options.change.clone(), ..Permission::default() };
    let rules = match options.change {
        Some(_) => Rules::load(&options.rules, &options.changes)?,
        None => Rules::load(&options.rules, Path::new(SYSTEM_FOLDER))?,
    };
    owed(home, &rules, accepted, now, &mut found);
    let Some(id) = &options.change else {
        if rules.policy.required {
            let file =
                rules.policy_file.as_ref().map_or(POLICY.to_owned(), |path| path.display().to_string());
            found.refusals.push(
                Diagnostic::error("change-required", format!("`{file}` takes only approved changes, and none is named"))
                    .help("propose this plan with `firewarden change propose --plan FILE`, have it approved, and name it with `--change ID --changes DIR`; in need, `firewarden restore --last-confirmed` asks nobody"),
            );
        }
        return Ok(found);
    };
    let book = Book::open(&options.changes)?;
    let entry = book.one(id)?;
    let hash = plan.hash();
    match may_apply(&book, &rules, &entry, Some((&plan.host, &hash)), now)? {
        Err(refusals) => {
            let told = refusals.iter();
            found.refusals.extend(told.map(|refusal| {
                Diagnostic::error(refusal.code(), refusal.to_string()).help(refusal.help(id))
            }));
        }
        Ok(permit) => {
            let by = match permit.approvers.as_slice() {
                [] => "nobody".to_owned(),
                some => some.join(", "),
            };
            found.told.push(format!("the change `{id}` is approved by {by}"));
            found.told.extend(permit.warnings);
            if let Some(due) = permit.review_by {
                let why = entry.change.record.emergency.clone().unwrap_or_default();
                found.emergency =
                    Some(format!("`{id}` is applied as an emergency, to be reviewed by {due}: {why}"));
            }
        }
    }
    // What the permit says of it is the same.
    if let Trust::Advisory(why) = &rules.trust {
        found.told.push(format!("approvals are advice here, nothing enforces them: {why}"));
    }
    Ok(found)
}

/// A policy that is named takes the place of none: where root has put one, it is the one that counts.
fn of_this_host(options: &RuleOptions) -> Result<(), Diagnostic> {
    let named = [(&options.policy, POLICY), (&options.signers, SIGNERS)];
    for (option, name) in named {
        let own = Path::new(SYSTEM_FOLDER).join(name);
        if option.as_ref().is_some_and(|path| *path != own) && own.symlink_metadata().is_ok() {
            let message = format!("this host has `{}`, which counts whatever else is named", own.display());
            return Err(Diagnostic::error("host-policy", message)
                .help("leave out `--policy` and `--signers`; `firewarden change verify` takes them, to try things out"));
        }
    }
    Ok(())
}

/// Reviews of what was restored without asking anybody.
fn owed(home: &Home, rules: &Rules, accepted: bool, now: Timestamp, found: &mut Permission) {
    let hours = rules.policy_file.as_ref().map_or(REVIEW_HOURS, |_| rules.policy.emergency.review_hours);
    for (id, owed) in reviews::all(home) {
        let late = is_overdue(&owed, hours, now);
        let text = told(&id, &owed, late);
        if late && !accepted && rules.policy.emergency.overdue_refuses {
            found.refusals.push(Diagnostic::error("review-overdue", text).help(format!(
                "have somebody else look at it and run `firewarden restore --review {id} --because WHAT_WAS_FOUND`, or say why this can't wait with `--accept-findings REASON`"
            )));
        } else {
            found.told.push(text);
        }
    }
}

/// The reviews that are owed, in words.
pub fn reviews_owed(home: &Home) -> Vec<String> {
    reviews::all(home).iter().map(|(id, owed)| told(id, owed, false)).collect()
}

fn told(id: &str, owed: &Owed, late: bool) -> String {
    let state = if late { "is overdue" } else { "is owed" };
    format!("the review of restore {id}, by {} on {} ({}), {state}", owed.who, owed.when, owed.because)
}

/// A time that can't be read is long ago: nobody gets out of a review by spoiling its file.
fn is_overdue(owed: &Owed, hours: u32, now: Timestamp) -> bool {
    let limit = SignedDuration::from_hours(i64::from(hours));
    owed.when.parse::<Timestamp>().map_or(true, |when| now.duration_since(when) > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_are_overdue_after_their_hours_and_where_the_time_is_unknown() {
        let now = "2026-11-21T08:00:00Z".parse().unwrap();
        let owed = |when: &str| Owed { who: String::new(), when: when.to_owned(), because: String::new() };
        assert!(!is_overdue(&owed("2026-11-18T08:00:00Z"), 72, now));
        assert!(is_overdue(&owed("2026-11-18T07:59:59Z"), 72, now));
        assert!(is_overdue(&owed("2026-11-19T07:59:59Z"), 48, now));
        assert!(is_overdue(&owed("soon"), 72, now));
    }
}
