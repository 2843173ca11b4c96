//! `firewarden apply`: carries a plan out.

use super::events::Teller;
use super::probes::Probes;
use super::{
    asker, conclude, enter, failed, findings, home, launcher, now, record, revert_on_interrupt, wait_for_end,
};
use crate::cli::trial::ApplyPlan;
use crate::commands::Stopped;
use crate::output::{self, Color};
use firewarden_change::plan::Plan;
use firewarden_change::trial::{Phase, Record};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::guard::{self, Change, Home, Status, Wish, boot_id, trial_name};
use firewarden_host::state::State;
use firewarden_store::Kind;
use serde_json::json;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long loading and reading back may take beyond the deadline before nobody waits for it any more.
const LOADING: Duration = Duration::from_secs(300);

/// Runs the command.
pub fn run(options: &ApplyPlan, color: Color) -> Result<ExitCode, Stopped> {
    let plan = read(&options.plan)?;
    enter(&options.place)?;
    let home = home(&options.place.state)?;
    let teller = Teller::new(options.format, color);
    for problem in record::ingest(&home) {
        teller.trouble(&problem);
    }
    let before = fresh(&plan)?;
    let findings = findings(&plan.evidence);
    if !findings.is_empty() && options.accept_findings.is_none() {
        output::complain(&findings, &SourceMap::default(), color);
        return Ok(ExitCode::from(super::NOT_CHANGED));
    }
    let patience = Duration::from_secs(u64::from(options.probing.probe_timeout));
    let probes = Probes::before(&plan.probes, patience)?;
    if options.auto_confirm && !probes.any_counts() {
        return Err(Diagnostic::error("nothing-probed", "no probe held before the change, so none can confirm it")
            .help("leave out `--auto-confirm` and use `firewarden confirm`, or declare intents of this host with TCP ports")
            .into());
    }
    revert_on_interrupt(&home);
    let id = trial_name(&now(), u64::from(std::process::id()));
    let accepted = options.accept_findings.as_deref();
    let details = json!({ "plan": plan.hash(), "accepted_findings": accepted, "evidence": plan.evidence });
    // Without a journal nothing begins: it is full, damaged or somebody else's.
    let text = format!("applying plan {} for {} s", short(&plan.hash()), plan.window_seconds);
    record::add(&home, "apply", Kind::Planned, &id, &text, details)?;
    let change = Change::Plan { plan: &plan, before: before.as_ref() };
    let status = guard::start(&home, change, &id, &launcher()?).map_err(|error| failed(&error))?;
    teller.armed(&id, Duration::from_secs(u64::from(plan.window_seconds)));
    let confirmed = attend(options, &home, &teller, &status, &probes)?;
    let exit = conclude(&home, &teller, confirmed.as_ref());
    Ok(exit)
}

/// From the armed guard to the end of the trial.
fn attend(
    options: &ApplyPlan,
    home: &Home,
    teller: &Teller,
    status: &Status,
    probes: &Probes<'_>,
) -> Result<Option<firewarden_change::trial::Outcome>, Diagnostic> {
    let loaded = guard::wait_for(home, status.left + LOADING, |record| {
        !matches!(record.phase, Phase::Armed | Phase::Applying)
    });
    let Some(Record { phase: Phase::Applied { holds }, .. }) = loaded.map_err(|error| failed(&error))? else {
        return wait_for_end(home, status);
    };
    teller.applied(holds.as_deref());
    let broken = probes.after(teller)?;
    if let Some(first) = broken.first() {
        let more = if broken.len() > 1 { format!(" and {} more", broken.len() - 1) } else { String::new() };
        let wish = asker(&format!("a probe fails: {first}{more}"));
        guard::ask(home, &Wish::Revert, wish).map_err(|error| failed(&error))?;
    } else if options.auto_confirm {
        let wish = Wish::Confirm { ruleset: holds };
        guard::ask(home, &wish, asker("every probe holds")).map_err(|error| failed(&error))?;
    } else {
        let left =
            guard::status(home).map_err(|error| failed(&error))?.map_or(Duration::ZERO, |status| status.left);
        teller.waiting(left);
    }
    wait_for_end(home, status)
}

/// Reads the plan.
fn read(path: &Path) -> Result<Plan, Diagnostic> {
    let shown = path.display();
    let mut text = String::new();
    let done = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    done.map_err(|error| {
        Diagnostic::error("unreadable", format!("cannot read `{shown}`: {error}"))
            .help("give the file that `firewarden plan --out` wrote")
    })?;
    Plan::read(&text).map_err(|error| {
        Diagnostic::error("no-plan", format!("`{shown}` cannot be used: {error}"))
            .help("make it anew with `firewarden plan NEW_RULES --out plan.json`")
    })
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
    let state = State::read().map_err(|error| {
        Diagnostic::error("unreadable-rules", format!("the kernel's rules cannot be read: {error}"))
            .help("run it as root, with the programs that list the rules installed")
    })?;
    if state.digest() != plan.parent.ruleset {
        return Err(stale("the rules were changed since the plan was made".to_owned()));
    }
    Ok(Some(state))
}

/// The beginning of a hash, enough to tell it from others.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
