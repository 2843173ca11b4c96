//! `firewarden apply`: carries a plan out.

use super::events::Teller;
use super::flows;
use super::link::Link;
use super::permit::{self, Permission};
use super::probes::Probes;
use super::record::About;
use super::session::OwnSession;
use super::{
    asker, conclude, enter, failed, findings, home, launcher, now, read_state, record, revert_on_interrupt,
    wait_for_end,
};
use crate::cli::trial::ApplyPlan;
use crate::commands::Stopped;
use crate::output::{self, Color};
use firewarden_change::plan::{Plan, ReadError};
use firewarden_change::trial::{Outcome, Phase, Record};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::actor::Actor;
use firewarden_host::guard::{self, Change, Home, Status, Wish, boot_id, trial_name};
use firewarden_host::state::State;
use firewarden_store::Kind;
use jiff::Timestamp;
use serde_json::json;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long loading and reading back may take beyond the deadline before nobody waits for it any more.
const LOADING: Duration = Duration::from_secs(300);

/// Runs the command.
pub fn run(options: &ApplyPlan, color: Color) -> Result<ExitCode, Stopped> {
    if let Some(target) = &options.ssh {
        return super::ssh::run(options, target, color);
    }
    let plan = read(&options.plan)?;
    enter(&options.place)?;
    let home = home(&options.place.state)?;
    let teller = Teller::new(options.format, color);
    for told in record::settle(&home)? {
        teller.trouble(&told);
    }
    let mut before = match fresh(&plan)? {
        // What the old rules admitted has to be known once they are gone.
        None if options.cut => Some(read_state()?),
        before => before,
    };
    let id = trial_name(&now(), u64::from(std::process::id()));
    let permission = permit::ask(&home, &options.of, &plan, options.accept_findings.is_some())?;
    let mut against = permission.refusals.clone();
    if options.accept_findings.is_none() {
        against.extend(findings(&plan.evidence));
    }
    if !against.is_empty() {
        return refuse(&home, &id, &permission, &against, color);
    }
    for told in &permission.told {
        teller.note(told);
    }
    let probes = Probes::before(&plan.probes, &options.probing)?;
    if options.auto_confirm && !probes.any_counts() {
        return Err(Diagnostic::error("nothing-probed", "no probe held before the change, so none can confirm it")
            .help("leave out `--auto-confirm` and use `firewarden confirm`, declare intents of this host with TCP ports, or give commands with `--probe`")
            .into());
    }
    let own = OwnSession::of(&plan, options, &mut before, color)?;
    revert_on_interrupt(&home);
    let accepted = options.accept_findings.as_deref();
    let details = json!({ "plan": plan.hash(), "accepted_findings": accepted, "evidence": record::evidence(&plan.evidence), "probes": probes.commands() });
    // Without a journal nothing begins: it is full, damaged or somebody else's.
    let text = format!("applying plan {} for {} s", short(&plan.hash()), plan.window_seconds);
    let about = About { trial: &id, change: permission.change.as_deref() };
    record::add(&home, "apply", Kind::Planned, about, &text, details)?;
    if let Some(why) = &permission.emergency {
        record::add(&home, "apply", Kind::Emergency, about, why, json!({ "plan": plan.hash() }))?;
    }
    join(&home, options, &plan, &id)?;
    let change = Change::Plan { plan: &plan, before: before.as_ref() };
    let status = guard::start(&home, change, &id, &launcher()?).map_err(|error| failed(&error))?;
    teller.armed(&id, Duration::from_secs(u64::from(plan.window_seconds)));
    let (outcome, trial) = attend(options, &home, &teller, &status, &probes, own.as_ref())?;
    let exit = conclude(&home, &teller, outcome.as_ref());
    match (&outcome, &before, &trial) {
        (Some(Outcome::Confirmed { .. }), Some(before), _) if options.cut => {
            flows::end(before, &teller, color)
        }
        (Some(Outcome::Confirmed { .. }), ..) => {
            for connection in &plan.evidence.cut {
                teller.note(&format!(
                    "not admitted any more, as of the plan (`--cut` ends such): {connection}"
                ));
            }
        }
        (Some(Outcome::Reverted { .. }), _, Some(trial)) => flows::left_over(trial, &teller, color),
        _ => {}
    }
    Ok(exit)
}

/// From the armed guard to the end of the trial. Gives the rules on trial, where there was time to read them.
fn attend(
    options: &ApplyPlan,
    home: &Home,
    teller: &Teller,
    status: &Status,
    probes: &Probes<'_>,
    own: Option<&OwnSession>,
) -> Result<(Option<Outcome>, Option<State>), Diagnostic> {
    let loaded = guard::wait_for(home, status.left + LOADING, |record| {
        !matches!(record.phase, Phase::Armed | Phase::Applying)
    });
    let Some(Record { phase: Phase::Applied { holds }, .. }) = loaded.map_err(|error| failed(&error))? else {
        return Ok((wait_for_end(home, status)?, None));
    };
    teller.applied(holds.as_deref());
    for problem in record::ingest(home) {
        teller.trouble(&problem);
    }
    if let Some(cut) = own.and_then(|own| own.cut(teller)) {
        let why = format!("the new rules would cut this session: {cut}");
        guard::ask(home, &Wish::Revert, asker(&why)).map_err(|error| failed(&error))?;
        return Ok((wait_for_end(home, status)?, None));
    }
    let broken = probes.after(teller, |first| {
        let wish = asker(&format!("a probe fails: {first}"));
        guard::ask(home, &Wish::Revert, wish).map_err(|error| failed(&error)).map(|_| ())
    })?;
    if broken {
        return Ok((wait_for_end(home, status)?, None));
    }
    if options.auto_confirm {
        let wish = Wish::Confirm { ruleset: holds };
        guard::ask(home, &wish, asker("every probe holds")).map_err(|error| failed(&error))?;
    } else {
        let left =
            guard::status(home).map_err(|error| failed(&error))?.map_or(Duration::ZERO, |status| status.left);
        teller.waiting(left);
        // Whoever waits has the time. The trial may be over already.
        let trial =
            State::read().ok().filter(|state| holds.as_ref().is_none_or(|holds| state.digest() == *holds));
        return Ok((wait_for_end(home, status)?, trial));
    }
    Ok((wait_for_end(home, status)?, None))
}

/// Tells what speaks against it, and records that it was refused.
fn refuse(
    home: &Home,
    id: &str,
    permission: &Permission,
    against: &[Diagnostic],
    color: Color,
) -> Result<ExitCode, Stopped> {
    output::complain(against, &SourceMap::default(), color);
    let why: Vec<&str> = against.iter().map(|problem| problem.message.as_str()).collect();
    let codes: Vec<&str> = against.iter().map(|problem| problem.code).collect();
    let about = About { trial: id, change: permission.change.as_deref() };
    let text = format!("apply was refused: {}", why.join("; "));
    record::add(home, "apply", Kind::Refused, about, &text, json!({ "codes": codes }))?;
    Ok(ExitCode::from(super::NOT_CHANGED))
}

/// Notes which change the trial carries out, before it begins.
fn join(home: &Home, options: &ApplyPlan, plan: &Plan, id: &str) -> Result<(), Diagnostic> {
    let Some(change) = &options.of.change else { return Ok(()) };
    let folder = &options.of.changes;
    let link = Link {
        change: change.clone(),
        // Whoever reads it may be in another folder.
        folder: std::path::absolute(folder).unwrap_or_else(|_| folder.clone()),
        host: plan.host.clone(),
        plan: plan.hash(),
        by: Actor::current().name().to_owned(),
        begun: Timestamp::now().as_millisecond(),
    };
    link.write(home, id)
}

/// Reads the plan.
///
/// # Errors
/// It can't be read, or isn't one.
pub fn read(path: &Path) -> Result<Plan, Diagnostic> {
    let shown = path.display();
    if path.is_dir() {
        return Err(no_plan(path, format!("`{shown}` is a folder, not a plan")));
    }
    let mut text = String::new();
    let done = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    done.map_err(|error| {
        Diagnostic::error("unreadable", format!("cannot read `{shown}`: {error}"))
            .help("give the file that `firewarden plan --out` wrote")
    })?;
    Plan::read(&text).map_err(|error| match error {
        ReadError::Malformed(_) => no_plan(path, format!("`{shown}` is not a plan")),
        error => Diagnostic::error("no-plan", format!("`{shown}` cannot be used: {error}"))
            .help("make it anew with `firewarden plan NEW_RULES --out plan.json`"),
    })
}

/// Rules were given where a plan has to be: what to run instead.
fn no_plan(path: &Path, message: String) -> Diagnostic {
    let rules = match path.as_os_str() == "-" {
        true => "NEW_RULES".to_owned(),
        false => shlex::try_quote(&path.to_string_lossy())
            .map_or_else(|_| "NEW_RULES".to_owned(), |quoted| quoted.into_owned()),
    };
    Diagnostic::error("no-plan", message).help(format!(
        "if these are new rules, make a plan of them, look at it, and apply that: `firewarden plan {rules} --out plan.json`, then `firewarden apply plan.json`"
    ))
}

/// Refuses a plan that was made from other rules than the kernel holds. Gives the rules where they had to be read to know
/// that: where the generation is the same, nothing changed.
fn fresh(plan: &Plan) -> Result<Option<State>, Diagnostic> {
    let stale = |why: String| {
        Diagnostic::error("stale-plan", why)
            .help("make the plan anew: it says what this change means to other rules")
    };
    let boot_id =
        boot_id().map_err(|error| stale(format!("the system does not say when it started: {error}")))?;
    if boot_id != plan.parent.boot_id {
        return Err(stale("the plan was made before the system started anew, or on another one".to_owned()));
    }
    let namespace = guard::namespace();
    if namespace.as_deref() != Some(plan.parent.namespace.as_str()) {
        return Err(stale("the plan was made in another network namespace".to_owned()));
    }
    if firewarden_host::generation().is_ok_and(|generation| generation == plan.parent.generation) {
        return Ok(None);
    }
    let state = read_state()?;
    if state.digest() != plan.parent.ruleset {
        return Err(stale("the rules were changed since the plan was made".to_owned()));
    }
    Ok(Some(state))
}

/// The beginning of a hash, enough to tell it from others.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
