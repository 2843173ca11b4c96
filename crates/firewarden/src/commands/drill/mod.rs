//! `firewarden drill`: outages as exercises, on the model and on a lab that is broken on purpose.

mod interrupt;
pub mod mutations;
mod place;
mod prevent;
mod reports;
mod restore;
mod run;
mod subject;

use super::{Stopped, lab};
use crate::cli::drill::{Drill, DrillCommand};
use crate::output::Color;
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::evidence::EvidenceError;
use std::process::ExitCode;

/// Runs it.
pub fn run(options: &Drill, color: Color) -> Result<ExitCode, Stopped> {
    match &options.command {
        DrillCommand::List => run::list(),
        DrillCommand::Run(options) => run::run(options, color),
        DrillCommand::Mutations(options) => mutations::run(options, color),
        DrillCommand::Restore(options) => restore::run(options, color),
        DrillCommand::Prober(prober) => {
            let served = firewarden_lab::probe::serve(
                std::io::stdin().lock(),
                std::io::stdout().lock(),
                &prober.ports,
            );
            served.map(|()| ExitCode::SUCCESS).map_err(|error| {
                Diagnostic::error("prober", format!("the prober can't go on: {error}"))
                    .help("it is started by `firewarden drill`, and by nobody else")
                    .into()
            })
        }
    }
}

/// What keeps a drill from going on.
fn problem(error: EvidenceError) -> Diagnostic {
    let help = match &error {
        EvidenceError::Lab(error) => return lab::problem(error),
        EvidenceError::Io { .. } => "see whether the lab is up with `firewarden lab status`",
        EvidenceError::Unsteady(_) => {
            "make the lab do what its stack file says first, or drill in one of its own (without `--name`)"
        }
        EvidenceError::Lost { .. } => "end this lab with `firewarden lab down`: a mistake is left in it",
    };
    Diagnostic::error("drill", error.to_string()).help(help)
}
