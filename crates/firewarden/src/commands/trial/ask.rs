//! `firewarden confirm`, `revert` and `status`: what people ask of a trial that is on.

use super::events::Teller;
use super::{
    ANSWER, NOT_CHANGED, OPEN, asker, conclude, failed, home, outcome, permit, record, wait_for_abandoned,
    wait_for_end,
};
use crate::cli::trial::{Confirm, EventFormat, Revert, Status as StatusOptions};
use crate::commands::Stopped;
use crate::output::{self, Color};
use firewarden_change::trial::{Outcome, Phase};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::actor::Actor;
use firewarden_host::guard::{self, Home, Status, Wish};
use serde_json::json;
use std::process::ExitCode;

/// Runs `confirm`.
pub fn confirm(options: &Confirm, color: Color) -> Result<ExitCode, Stopped> {
    let home = home(&options.state)?;
    settle(&home, color)?;
    let status = open_trial(&home)?;
    let own = Actor::current().connection;
    if !options.this_session
        && let Some(own) = &own
        && status.terms.session.as_ref() == Some(own)
    {
        let message = "this session is older than the new rules, so it does not prove that a new one gets in";
        return Err(Diagnostic::error("old-session", message)
            .help("confirm over a connection that you open now, or insist with `--this-session`")
            .into());
    }
    if guard::is_at_work(&home) {
        let message = "the guarded command still runs, or what it did is being judged";
        return Err(Diagnostic::error("at-work", message)
            .help("confirm once `firewarden guard` says that it waits, or take it back with `firewarden revert`")
            .into());
    }
    let wish = Wish::Confirm { ruleset: None };
    guard::ask(&home, &wish, asker("")).map_err(|error| failed(&error))?;
    // A refusal is a note in a record that isn't over.
    let answered = guard::wait_for(&home, ANSWER, |record| record.phase.is_done() || record.note.is_some());
    let answered = answered.map_err(|error| failed(&error))?;
    let teller = Teller::new(EventFormat::Human, color);
    match answered {
        Some(record) if !record.phase.is_done() => {
            let why = record.note.unwrap_or_else(|| "the guard does not answer".to_owned());
            Err(Diagnostic::error("not-confirmed", format!("not confirmed: {why}"))
                .help("see `firewarden status`; the old rules return at the deadline")
                .into())
        }
        Some(record) => {
            let Phase::Done(outcome) = record.phase else { return Ok(ExitCode::from(NOT_CHANGED)) };
            Ok(conclude(&home, &teller, Some(&outcome)))
        }
        None => Ok(conclude(&home, &teller, None)),
    }
}

/// Runs `revert`.
pub fn revert(options: &Revert, color: Color) -> Result<ExitCode, Stopped> {
    let home = home(&options.state)?;
    settle(&home, color)?;
    let status = open_trial(&home)?;
    let wish = if options.abandon { Wish::Abandon } else { Wish::Revert };
    guard::ask(&home, &wish, asker(&options.because)).map_err(|error| failed(&error))?;
    let outcome = match options.abandon {
        true => wait_for_abandoned(&home, &status)?,
        false => wait_for_end(&home, &status)?,
    };
    conclude(&home, &Teller::new(EventFormat::Human, color), outcome.as_ref());
    // What was asked for came about.
    Ok(match (outcome, options.abandon) {
        (Some(Outcome::Reverted { .. }), _) | (Some(Outcome::Abandoned { .. }), true) => ExitCode::SUCCESS,
        _ => ExitCode::from(NOT_CHANGED),
    })
}

/// Runs `status`.
pub fn status(options: &StatusOptions, color: Color) -> Result<ExitCode, Stopped> {
    let home = home(&options.state)?;
    let mut problems = record::settle(&home)?;
    problems.extend(permit::reviews_owed(&home));
    let Some(status) = guard::status(&home).map_err(|error| failed(&error))? else {
        let text = match options.format {
            EventFormat::Human => {
                let problems: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
                format!("nothing is on trial, and nothing ever was\n{problems}")
            }
            EventFormat::Json => {
                format!("{}\n", json!({ "version": 1, "trial": null, "problems": problems }))
            }
        };
        output::print(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    let phase = status.record.as_ref().map(|record| &record.phase);
    let mut words = phase.map_or("the guard has not said anything yet".to_owned(), outcome::phase);
    let at_work = !status.is_done() && guard::is_at_work(&home);
    if at_work {
        words = "the command runs, or what it did is being judged".to_owned();
    }
    let text = match options.format {
        EventFormat::Json => {
            let trial = json!({
                "id": status.terms.id, "about": record::about(&status), "guarded": status.guarded, "at_work": at_work,
                "left_seconds": status.left.as_secs_f64(), "record": status.record, "text": words, "problems": problems,
            });
            format!("{}\n", json!({ "version": 1, "trial": trial }))
        }
        EventFormat::Human => {
            let left = match status.is_done() {
                true => String::new(),
                false => format!("\nthe old rules return in {} s unless confirmed", status.left.as_secs()),
            };
            problems.extend(status.record.as_ref().and_then(|record| record.note.clone()));
            let problems: String = problems.iter().map(|problem| format!("\n{problem}")).collect();
            format!("trial {}, {}: {words}{left}{problems}\n", status.terms.id, record::about(&status))
        }
    };
    output::print(&text)?;
    let _ = color;
    Ok(match phase {
        Some(Phase::Done(Outcome::Abandoned { .. }) | Phase::Stuck { .. }) => ExitCode::from(NOT_CHANGED),
        Some(Phase::Done(_)) => ExitCode::SUCCESS,
        _ if !status.guarded => ExitCode::from(NOT_CHANGED),
        _ => ExitCode::from(OPEN),
    })
}

/// Looks after a trial that nobody guards, and tells what there is to tell of that.
fn settle(home: &Home, color: Color) -> Result<(), Diagnostic> {
    let teller = Teller::new(EventFormat::Human, color);
    record::settle(home)?.iter().for_each(|told| teller.trouble(told));
    Ok(())
}

/// The trial that is on.
fn open_trial(home: &Home) -> Result<Status, Diagnostic> {
    let status = guard::status(home).map_err(|error| failed(&error))?;
    match status {
        Some(status) if !status.is_done() => Ok(status),
        Some(status) => {
            let ended = status.record.map(|record| outcome::phase(&record.phase)).unwrap_or_default();
            Err(Diagnostic::error("no-trial", "no change is on trial")
                .because(format!("the last one is over: {ended}")))
        }
        None => {
            Err(Diagnostic::error("no-trial", "no change is on trial").help("`firewarden apply` begins one"))
        }
    }
}
