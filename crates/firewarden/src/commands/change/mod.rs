//! Changes as files for git: proposed, reviewed, approved, verified, followed.

mod book;
mod evidence;
mod propose;
mod rules;
mod sign;
mod tell;
mod tracked;
mod verify;

pub use book::Book;
pub use rules::{POLICY, Rules, SIGNERS, SYSTEM_FOLDER, may_apply};

use super::Stopped;
use crate::cli::change::{Action, Change as Options};
use crate::output::Color;
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::actor::Actor;
use jiff::Timestamp;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Something doesn't hold.
const FINDINGS: u8 = 1;
/// It is advice, or hangs on what isn't modelled.
const OPEN: u8 = 3;

/// Runs the command.
pub fn run(options: &Options, color: Color) -> Result<ExitCode, Stopped> {
    match &options.action {
        Action::Propose(action) => propose::run(action, &options.changes, color),
        Action::Review(action) => sign::review(action, &options.changes),
        Action::Approve(action) => sign::approve(action, &options.changes, color),
        Action::Verify(action) => verify::run(action, &options.changes, color),
        Action::Outcome(action) => sign::outcome(action, &options.changes),
        Action::List(action) => tell::list(action, &options.changes, color),
        Action::Show(action) => tell::show(action, &options.changes),
        Action::Log(action) => tell::log(action, &options.changes, color),
    }
}

/// An error with what it is about.
fn stop(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Stopped {
    Diagnostic::error(code, message).help(help).into()
}

/// Diagnostics about a text.
fn stopped(diagnostics: Vec<Diagnostic>, sources: SourceMap) -> Stopped {
    Stopped { diagnostics, sources }
}

/// Now, to the second: what people write and read.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Who acts: as told, or as git knows them, or as the system does.
fn person(told: Option<&str>, folder: &Path) -> Result<String, Stopped> {
    let name = match told {
        Some(name) => name.to_owned(),
        None => git_email(folder).unwrap_or_else(|| Actor::current().name().to_owned()),
    };
    match firewarden_change::record::is_person(&name) {
        true => Ok(name),
        false => Err(stop(
            "change-person",
            format!("`{}` can't be the name of a person", name.replace('`', "'")),
            "name yourself as `allowed_signers` does, with letters, digits and `._+-@`: `--by alice@example.org` (`--author` when proposing)",
        )),
    }
}

fn git_email(folder: &Path) -> Option<String> {
    let folder = if folder.is_dir() { folder } else { Path::new(".") };
    let output = Command::new("git").arg("-C").arg(folder).args(["config", "user.email"]).output().ok()?;
    let email = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !email.is_empty()).then_some(email)
}
