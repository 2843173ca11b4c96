//! `firewarden drill`: the lab is broken on purpose.

mod mutations;

use super::{Stopped, lab};
use crate::cli::drill::{Drill, DrillCommand};
use crate::output::Color;
use firewarden_diagnostic::Diagnostic;
use std::process::ExitCode;

/// Runs it.
pub fn run(options: &Drill, color: Color) -> Result<ExitCode, Stopped> {
    match &options.command {
        DrillCommand::Mutations(options) => mutations::run(options, color),
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
