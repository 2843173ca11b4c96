//! One module for each command.

mod audit;
mod capture;
#[cfg(feature = "apply")]
mod change;
mod check;
mod confirm;
mod diff;
mod docs;
#[cfg(feature = "lab")]
mod drill;
mod examples;
mod exposed;
mod generate;
mod hosts;
mod init;
#[cfg(feature = "apply")]
mod journal;
#[cfg(feature = "lab")]
mod lab;
#[cfg(feature = "apply")]
mod meaning;
mod outcome;
mod paths;
#[cfg(feature = "apply")]
mod plan;
mod reported;
#[cfg(feature = "apply")]
mod rules;
#[cfg(feature = "apply")]
mod state_folder;
mod tour;
mod trace;
#[cfg(feature = "apply")]
mod trial;

#[cfg(feature = "apply")]
use crate::cli::apply::Deploy;
use crate::cli::{Cli, Command};
use crate::output;
use firewarden_diagnostic::{Diagnostic, SourceMap};
use std::process::ExitCode;

/// The exit code of wrong usage or input.
const INPUT_ERROR: u8 = 2;

/// What stops a command: what is wrong, and the texts that it is wrong in.
pub struct Stopped {
    diagnostics: Vec<Diagnostic>,
    sources: SourceMap,
}

#[cfg(feature = "apply")]
impl Stopped {
    /// Tells it, where something else goes on.
    fn tell(&self, color: output::Color) {
        output::complain(&self.diagnostics, &self.sources, color);
    }
}

impl From<Diagnostic> for Stopped {
    fn from(problem: Diagnostic) -> Stopped {
        Stopped { diagnostics: vec![problem], sources: SourceMap::default() }
    }
}

/// Runs a command.
pub fn run(cli: &Cli) -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result: Result<ExitCode, Stopped> = match &cli.command {
        Command::Check(options) => check::run(options, cli.color),
        Command::Audit(options) => audit::run(options, cli.color),
        Command::Diff(options) => diff::run(options, cli.color),
        Command::Exposed(options) => exposed::run(options, cli.color),
        Command::Trace(options) => trace::run(options, cli.color),
        Command::Capture(options) => capture::run(options, cli.color),
        Command::Init(options) => init::run(options, cli.color),
        Command::Docs(options) => docs::run(options, cli.color),
        Command::Tour(options) => tour::run(options, cli.color),
        Command::Completions { shell } => generate::completions(*shell).map(done).map_err(Stopped::from),
        Command::Man { out } => generate::man(out.as_deref()).map(done).map_err(Stopped::from),
        Command::Schema { of } => generate::schema(*of).map(done).map_err(Stopped::from),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Change(options)) => change::run(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Apply(options)) => trial::apply(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Confirm(options)) => trial::confirm(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Revert(options)) => trial::revert(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Status(options)) => trial::status(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Guard(options)) => trial::guard_command(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Recover(options)) => trial::recover(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Restore(options)) => trial::restore(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::GuardProcess(options)) => Ok(trial::guard_process(options)),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Plan(options)) => plan::run(options, cli.color),
        #[cfg(feature = "apply")]
        Command::Apply(Deploy::Journal(options)) => journal::run(options, cli.color),
        #[cfg(feature = "lab")]
        Command::Lab(options) => lab::run(options, cli.color),
        #[cfg(feature = "lab")]
        Command::Drill(options) => drill::run(options, cli.color),
        #[cfg(not(feature = "lab"))]
        Command::Absent(absent) => {
            let (name, feature) = absent.name_and_feature();
            Err(lacking(name, feature).into())
        }
    };
    result.unwrap_or_else(|stopped| {
        output::complain(&stopped.diagnostics, &stopped.sources, cli.color);
        ExitCode::from(INPUT_ERROR)
    })
}

/// The error of an answer that engine and interpreter don't agree about, where it isn't the command's own.
fn internal(what: &str) -> Stopped {
    Diagnostic::error("internal-error", format!("there is no answer: {what}"))
        .help("please report this")
        .into()
}

/// The error of a command that this build was made without.
#[cfg(not(feature = "lab"))]
fn lacking(command: &str, feature: &str) -> Diagnostic {
    let message = format!("`firewarden {command}` is not in this build: it needs the feature `{feature}`");
    Diagnostic::error("feature-missing", message).help(format!(
        "build it with `cargo install --path crates/firewarden --features {feature}`, or use a release"
    ))
}
