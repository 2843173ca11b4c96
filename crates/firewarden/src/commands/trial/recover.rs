//! `firewarden recover` and `restore`: back to the rules that were confirmed last.

use super::events::Teller;
use super::record::About;
use super::{asker, enter, failed, home, now, outcome, record, reviews, wait_for_abandoned, wait_for_end};
use crate::cli::trial::{EventFormat, Recover, Restore};
use crate::commands::Stopped;
use crate::output::{self, Color};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::actor::Actor;
use firewarden_host::guard::{self, Extent, Home, RecoverError, Recovered, Wish, trial_name};
use firewarden_store::Kind;
use serde_json::json;
use std::process::ExitCode;

/// The unit that systemd runs at boot; `@PROGRAM@` is where this program is.
const UNIT: &str = include_str!("firewarden-recover.service");

/// Runs `recover`.
pub fn recover(options: &Recover, color: Color) -> Result<ExitCode, Stopped> {
    if options.print_unit {
        let program = std::env::current_exe().map(|path| path.display().to_string());
        let program = program.unwrap_or_else(|_| "/usr/bin/firewarden".to_owned());
        output::print(&UNIT.replace("@PROGRAM@", &program))?;
        return Ok(ExitCode::SUCCESS);
    }
    enter(&options.place)?;
    let home = home(&options.place.state)?;
    let teller = Teller::new(EventFormat::Human, color);
    let recovered = guard::recover(&home, Extent::Touched).map_err(|error| unrecovered(&error))?;
    // Before the journal can say it, the kernel holds it: a boot must not hang on a database.
    for problem in record::ingest(&home) {
        teller.trouble(&problem);
    }
    let text = told(&recovered);
    let id = trial_name(&now(), u64::from(std::process::id()));
    if recovered.confirmed.is_some()
        && let Err(problem) =
            record::add(&home, "recover", Kind::Recovered, About::trial(&id), &text, details(&recovered))
    {
        teller.trouble(&format!("this is not in the journal: {}", problem.message));
    }
    teller.note(&text);
    Ok(ExitCode::SUCCESS)
}

/// Runs `restore`.
pub fn restore(options: &Restore, color: Color) -> Result<ExitCode, Stopped> {
    enter(&options.place)?;
    let home = home(&options.place.state)?;
    let teller = Teller::new(EventFormat::Human, color);
    if let Some(id) = &options.review {
        let reviewer = Actor::current();
        reviews::close(&home, id, &reviewer, &options.because)?;
        let text = format!("restore {id} was reviewed by {}: {}", reviewer.name(), options.because);
        record::add(&home, "restore", Kind::Reviewed, About::trial(id), &text, json!({}))?;
        teller.note(&text);
        return Ok(ExitCode::SUCCESS);
    }
    let id = trial_name(&now(), u64::from(std::process::id()));
    end_trial(&home, &teller, &options.because)?;
    let recovered = guard::recover(&home, Extent::Whole).map_err(|error| unrecovered(&error))?;
    if recovered.confirmed.is_none() {
        return Err(Diagnostic::error("nothing-confirmed", "no rules were ever confirmed on this host")
            .help("rules are confirmed by `firewarden apply` or `firewarden guard`")
            .into());
    }
    let actor = Actor::current();
    let text = format!("{} restored the rules that were confirmed last: {}", actor.name(), options.because);
    reviews::owe(&home, &id, &actor, &options.because)?;
    let told = told(&recovered);
    let mut details = details(&recovered);
    details["because"] = json!(options.because);
    for kind in [Kind::Restored, Kind::Emergency] {
        if let Err(problem) = record::add(&home, "restore", kind, About::trial(&id), &text, details.clone()) {
            teller.trouble(&format!("this is not in the journal: {}", problem.message));
        }
    }
    teller.note(&told);
    teller.note(&format!(
        "somebody else has to review it: `firewarden restore --review {id} --because WHAT_WAS_FOUND`"
    ));
    Ok(ExitCode::SUCCESS)
}

/// Calls off a trial that is on.
fn end_trial(home: &Home, teller: &Teller, because: &str) -> Result<(), Diagnostic> {
    let status = guard::status(home).map_err(|error| failed(&error))?;
    let Some(status) = status.filter(|status| !status.is_done() && status.guarded) else { return Ok(()) };
    guard::ask(home, &Wish::Revert, asker(because)).map_err(|error| failed(&error))?;
    match wait_for_end(home, &status)? {
        Some(outcome) => teller.ended(&outcome),
        // It goes on trying while the confirmed rules are loaded, which is no use.
        None => {
            guard::ask(home, &Wish::Abandon, asker(because)).map_err(|error| failed(&error))?;
            wait_for_abandoned(home, &status)?;
        }
    }
    for problem in record::ingest(home) {
        teller.trouble(&problem);
    }
    Ok(())
}

fn told(recovered: &Recovered) -> String {
    let rules = match (&recovered.confirmed, recovered.loaded) {
        (None, _) => "no rules were ever confirmed, and nothing was loaded".to_owned(),
        (Some(_), true) => {
            "the rules that were confirmed last are loaded, as read back from the kernel".to_owned()
        }
        (Some(_), false) => "the kernel holds the rules that were confirmed last".to_owned(),
    };
    let others = match recovered.others.as_slice() {
        [] => String::new(),
        some => format!("; left alone, since they are no part of them: {}", some.join(", ")),
    };
    let trial = recovered
        .trial
        .as_ref()
        .map(|record| format!("; the trial that was on: {}", outcome::phase(&record.phase)));
    rules + &others + &trial.unwrap_or_default()
}

fn details(recovered: &Recovered) -> serde_json::Value {
    json!({ "ruleset": recovered.confirmed, "loaded": recovered.loaded, "others": recovered.others })
}

fn unrecovered(error: &RecoverError) -> Diagnostic {
    let problem = Diagnostic::error("not-recovered", error.to_string());
    match error {
        RecoverError::Guarded(_) => problem.help("wait for its end, or call it off with `firewarden revert`"),
        RecoverError::Load(_) | RecoverError::State(_) => {
            problem.help("run it as root; the rules are in `confirmed/` of the state folder, for `nft -f` and iptables-restore")
        }
        _ => problem.help("the rules before them are in `confirmed.before/` of the state folder"),
    }
}
