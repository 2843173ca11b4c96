//! Commands that change what the kernel runs: a guard carries the change out, they ask it for things and tell what it did.

mod apply;
mod ask;
mod command;
mod events;
mod flows;
mod gone;
mod link;
mod permit;
mod probes;
mod record;
mod recover;
mod reviews;
mod session;
mod ssh;

pub use apply::run as apply;
pub use ask::{confirm, revert, status};
pub use command::run as guard_command;
pub use recover::{recover, restore};

use super::outcome;
use super::state_folder::state_folder;
use crate::cli::state::StateFolder;
use crate::cli::trial::{GuardProcess, Place};
use events::Teller;
use firewarden_change::plan::{Evidence, Finding};
use firewarden_change::trial::{Asker, Outcome, Phase, Record};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::actor::Actor;
use firewarden_host::guard::{self, ClientError, Home, HomeError, Launcher, Status, Wish};
use firewarden_host::state::State;
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use std::process::ExitCode;
use std::time::Duration;

/// The old rules are back, or were never left.
const NOT_CHANGED: u8 = 1;
/// Something waits to be decided.
const OPEN: u8 = 3;
/// How long a guard that answers at all takes to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the way back of a large ruleset may take after the deadline.
const WAY_BACK: Duration = Duration::from_secs(300);

/// Serves as the guard: what the other commands start this program again for.
pub fn guard_process(options: &GuardProcess) -> ExitCode {
    guard::serve(&options.folder, options.detach)
}

/// The state folder, made where it isn't there.
fn home(option: &StateFolder) -> Result<Home, Diagnostic> {
    let folder = state_folder(option)?;
    Home::open(&folder).map_err(|error| match error {
        HomeError::Open(_) => Diagnostic::error("state-folder", error.to_string())
            .help("take the rights of others away: rules are loaded from there"),
        _ => Diagnostic::error("state-folder", error.to_string())
            .help("name a folder that you may write to with `--state`, or run it as root"),
    })
}

/// Enters the network namespace that was named, with this thread and all that it starts.
fn enter(place: &Place) -> Result<(), Diagnostic> {
    let Some(named) = &place.netns else { return Ok(()) };
    firewarden_host::enter(named).map_err(|error| {
        Diagnostic::error("namespace", format!("cannot enter the network namespace `{named}`: {error}")).help(
            "`ip netns list` names them; a process number or a path works too, and root rights are needed",
        )
    })
}

/// The rules that the kernel holds.
fn read_state() -> Result<State, Diagnostic> {
    State::read().map_err(|error| {
        Diagnostic::error("unreadable-rules", format!("the kernel's rules cannot be read: {error}"))
            .help("run it as root, with the programs that list the rules installed")
    })
}

/// Who asks the guard for something.
fn asker(why: &str) -> Asker {
    let actor = Actor::current();
    let who = match &actor.connection {
        Some(connection) => format!("{} over ssh {connection}", actor.name()),
        None => actor.name().to_owned(),
    };
    Asker::new(&who, &now(), why)
}

/// The time in UTC to the second, as `2026-11-21T08:00:00Z`.
fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

/// What is wrong with a trial, and what to do about it.
fn failed(error: &ClientError) -> Diagnostic {
    let problem = |code| Diagnostic::error(code, error.to_string());
    match error {
        ClientError::Busy(_) => problem("trial-busy")
            .help("see `firewarden status`; end it with `firewarden confirm` or `firewarden revert`"),
        ClientError::Idle => problem("no-trial").help("`firewarden apply` begins one"),
        ClientError::Write { .. } => problem("trial-unwritable")
            .help("nothing was changed: make room on that disk, or name another folder with `--state`"),
        ClientError::Read { .. } => {
            problem("trial-unreadable").help("run it as the user who began the trial")
        }
        ClientError::Nothing => problem("nothing-to-change").help("the kernel holds these rules already"),
        ClientError::Spawn(_) | ClientError::Silent => problem("no-guard")
            .help("nothing was changed, since without a guard nothing would bring the old rules back"),
    }
}

/// The program that serves as the guard.
fn launcher() -> Result<Launcher, Diagnostic> {
    Launcher::this_program().map_err(|error| {
        Diagnostic::error("no-guard", format!("the system does not tell which program this is: {error}"))
            .help("nothing was changed")
    })
}

/// Turns an interruption by the terminal into a request to revert, rather than a wait for the deadline. Signals that end
/// this program otherwise (a lost session) leave the trial to its guard. To be called before threads are started.
fn revert_on_interrupt(home: &Home) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    if signals.thread_block().is_err() {
        return;
    }
    let home = home.clone();
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            // Whether it was heard shows in the trial's record, which somebody else waits for.
            let _ = guard::ask(&home, &Wish::Revert, asker("interrupted"));
        }
    });
}

/// Waits until a trial is over, or a request was refused, which is told and waited for no longer. Gives the outcome where
/// there is one.
fn wait_for_end(home: &Home, status: &Status) -> Result<Option<Outcome>, Diagnostic> {
    let patience = status.left + WAY_BACK;
    let last = guard::wait_for(home, patience, |record| {
        record.phase.is_done() || matches!(record.phase, Phase::Stuck { .. })
    });
    match last.map_err(|error| failed(&error))? {
        Some(Record { phase: Phase::Done(outcome), .. }) => Ok(Some(outcome)),
        _ => Ok(None),
    }
}

/// Waits for the end of a trial that may be stuck already, since somebody gives it up.
fn wait_for_abandoned(home: &Home, status: &Status) -> Result<Option<Outcome>, Diagnostic> {
    let last = guard::wait_for(home, status.left + WAY_BACK, |record| record.phase.is_done());
    match last.map_err(|error| failed(&error))? {
        Some(Record { phase: Phase::Done(outcome), .. }) => Ok(Some(outcome)),
        _ => Ok(None),
    }
}

/// Tells how a trial ended, puts it into the journal, and gives the exit code.
fn conclude(home: &Home, teller: &Teller, outcome: Option<&Outcome>) -> ExitCode {
    match outcome {
        Some(outcome) => teller.ended(outcome),
        None => teller.stuck(),
    }
    if let Some(note) = remark(home) {
        teller.trouble(&note);
    }
    for problem in record::ingest(home) {
        teller.trouble(&problem);
    }
    match outcome {
        Some(Outcome::Confirmed { .. }) => ExitCode::SUCCESS,
        _ => ExitCode::from(NOT_CHANGED),
    }
}

/// What there is to know beside the outcome of a trial that is over.
fn remark(home: &Home) -> Option<String> {
    let record = guard::status(home).ok()??.record?;
    record.note.filter(|_| record.phase.is_done())
}

/// What speaks against carrying it out: intents that it breaks, or that hang on something else than before.
fn findings(evidence: &Evidence) -> Vec<Diagnostic> {
    let problem = |finding: Finding<'_>| {
        let code = match finding {
            Finding::Breaks(_) | Finding::Depends(_) => "plan-breaks-intent",
            Finding::CutsSession(_) => "plan-cuts-session",
        };
        Diagnostic::error(code, finding.to_string())
            .help("change the rules, or say why it has to be with `--accept-findings REASON`")
    };
    evidence.findings().into_iter().map(problem).collect()
}
