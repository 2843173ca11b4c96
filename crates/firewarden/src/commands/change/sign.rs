//! What people add to a change: reviews, approvals, what became of it.

use super::book::{Book, Entry};
use super::rules::Rules;
use super::{FINDINGS, Stopped, now, person, stop};
use crate::cli::change::{Approve, Outcome, Review as Options};
use crate::output::{self, Color};
use firewarden_change::approval::{Approval, Standing, tally};
use firewarden_change::record::{Event, EvidenceVerdict, NAMESPACE, Review, ReviewKind, Role};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::signature::{self, SignatureError};
use jiff::Timestamp;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Adds a review.
pub fn review(options: &Options, changes: &Path) -> Result<ExitCode, Stopped> {
    let book = Book::open(changes)?;
    let entry = book.one(&options.id)?;
    let by = person(options.by.as_deref(), changes)?;
    let (kind, text) = match (&options.comment, &options.request_changes) {
        (_, Some(text)) => (ReviewKind::ChangesRequested, text),
        (Some(text), None) => (ReviewKind::Comment, text),
        (None, None) => {
            return Err(stop("change-review", "there is nothing to say", "give `--comment TEXT`"));
        }
    };
    if text.trim().is_empty() {
        return Err(stop("change-review", "the review is empty", "say what there is to say"));
    }
    let record = &entry.change.record;
    let at = milliseconds(Timestamp::now());
    let review = Review { by, at, kind, text: text.clone(), record: record.hash() };
    let held = entry.hold(&book)?;
    entry.add_review(&review)?;
    drop(held);
    let what = match kind {
        ReviewKind::Comment => "commented on",
        ReviewKind::ChangesRequested => "asked for another version of",
    };
    output::print(&format!("{} {what} {}\nnext: commit it\n", review.by, record.id))?;
    Ok(ExitCode::SUCCESS)
}

/// Adds what became of it.
pub fn outcome(options: &Outcome, changes: &Path) -> Result<ExitCode, Stopped> {
    let book = Book::open(changes)?;
    let entry = book.one(&options.id)?;
    let record = &entry.change.record;
    let event = Event {
        kind: options.kind.into(),
        at: milliseconds(Timestamp::now()),
        host: options.host.clone(),
        plan: record.plans.iter().find(|plan| plan.host == options.host).map(|plan| plan.hash.clone()),
        by: person(options.by.as_deref(), changes)?,
        why: options.why.clone(),
    };
    if event.plan.is_none() && record.files.is_empty() {
        let known: Vec<&str> = record.plans.iter().map(|plan| plan.host.as_str()).collect();
        let help = match firewarden_verify::nearest(&options.host, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("hosts are: {}", known.join(", ")),
        };
        let host = options.host.replace('`', "'");
        return Err(stop("change-host", format!("`{}` has no plan for the host `{host}`", record.id), help));
    }
    let held = entry.hold(&book)?;
    entry.add_event(&event)?;
    drop(held);
    output::print(&format!("{} {} on {}\nnext: commit it\n", record.id, event.kind.word(), event.host))?;
    Ok(ExitCode::SUCCESS)
}

/// Two reviews of one person within a second are two.
fn milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Adds an approval.
pub fn approve(options: &Approve, changes: &Path, color: Color) -> Result<ExitCode, Stopped> {
    let book = Book::open(changes)?;
    let entry = book.one(&options.id)?;
    let by = person(options.by.as_deref(), changes)?;
    let record = &entry.change.record;
    if by == record.author {
        return Err(stop(
            "change-self-approval",
            format!("{by} is the author of `{}`, and nobody approves their own change", record.id),
            "ask somebody else; `--by NAME` says who approves, if it isn't you",
        ));
    }
    if record.plans.is_empty() && record.files.is_empty() {
        return Err(stop(
            "change-draft",
            format!(
                "`{}` has neither a plan nor a tracked file, so there is nothing to approve yet",
                record.id
            ),
            format!(
                "make a plan on the host, and add it with `firewarden change propose --amend {} --plan FILE`",
                record.id
            ),
        ));
    }
    let rules = Rules::load(&options.rules, changes)?;
    output::complain(&warnings(&entry, &rules), &SourceMap::default(), color);
    add_signature(&book, &entry, &by, Role::Approver, &options.key)?;
    let entry = book.one(&options.id)?;
    let votes = rules.votes(&entry.change)?;
    let mut text = format!("{by} approved {}\n", record.id);
    let own =
        votes.iter().find(|vote| vote.by == by && vote.role == Role::Approver).map(|vote| &vote.standing);
    if let Some(Standing::Refused(why)) = own {
        let diagnostic = Diagnostic::warning("change-signer", format!("the approval of {by} doesn't count: {why}"))
            .help("have the key added to `allowed_signers`, with this name and for the namespace `firewarden-change`");
        output::complain(&[diagnostic], &SourceMap::default(), color);
    }
    let missing = rules.judge(&entry.change, &votes, None, &[], now()).err().unwrap_or_default();
    for refusal in &missing {
        // Appending to a string can't fail.
        let _ = writeln!(text, "  still: {refusal}");
    }
    text.push_str("next: commit it\n");
    output::print(&text)?;
    let counts = tally(&record.author, &votes).approvers.contains(&by);
    Ok(ExitCode::from(if counts { 0 } else { FINDINGS }))
}

/// What whoever approves should know.
fn warnings(entry: &Entry, rules: &Rules) -> Vec<Diagnostic> {
    let record = &entry.change.record;
    let mut found = Vec::new();
    for evidence in &record.evidence {
        let counts = rules.policy.must_pass.contains(&evidence.of);
        if counts && evidence.verdict != EvidenceVerdict::Pass {
            let message = format!(
                "the evidence of `{}` is {}: {}",
                evidence.of.word(),
                evidence.verdict.word(),
                evidence.summary
            );
            found.push(
                Diagnostic::warning("change-evidence", message)
                    .help(format!("read {}; the policy doesn't let it be applied like this", evidence.file)),
            );
        }
    }
    if let Some(why) = &record.emergency {
        found.push(
            Diagnostic::warning("change-emergency", format!("it is an emergency: {why}"))
                .help("it may be applied without the usual approvals, which are due afterwards"),
        );
    }
    found
}

/// Signs a change, and writes the signature down where nobody changed it in the meantime.
pub fn add_signature(book: &Book, entry: &Entry, by: &str, role: Role, key: &Path) -> Result<(), Stopped> {
    let statement = entry.change.record.statement(role);
    let signature = signature::sign(key, NAMESPACE, &statement).map_err(|error| {
        let help = match &error {
            SignatureError::Unavailable(_) => "install OpenSSH's client programs (`openssh-client`)",
            _ => "give a private key, or a public one whose private one ssh-agent holds",
        };
        stop("change-signature", format!("`{}` can't be signed: {error}", entry.change.record.id), help)
    })?;
    let held = entry.hold(book)?;
    entry.add_approval(&Approval {
        by: by.to_owned(),
        at: milliseconds(Timestamp::now()),
        role,
        statement,
        signature,
    })?;
    drop(held);
    Ok(())
}
