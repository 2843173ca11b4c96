//! What commands have in common whose answer is a report: wrong input is told in it, and where engine and interpreter
//! don't agree, there is none.

use super::Stopped;
use crate::internal_error;
use crate::output::{self, Color, Format};
use firewarden_diagnostic::{Report, SourceMap};
use firewarden_verify::Disagreement;
use std::process::ExitCode;

/// A report, and the texts that it speaks of; or what engine and interpreter don't agree about.
pub type Answer = Result<(Report, SourceMap), Box<Disagreement>>;

/// Why a report couldn't be filled.
pub enum Failure {
    /// The input is wrong.
    Input(Stopped),
    /// Engine and interpreter don't agree.
    Internal(Box<Disagreement>),
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        Failure::Input(stopped)
    }
}

impl From<Disagreement> for Failure {
    fn from(disagreement: Disagreement) -> Failure {
        Failure::Internal(Box::new(disagreement))
    }
}

/// The report that `examine` fills, about the paths of the command line.
pub fn answer(
    command: &str,
    paths: &[std::path::PathBuf],
    examine: impl FnOnce(&mut Report) -> Result<SourceMap, Failure>,
) -> Answer {
    let subject: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut report = Report::new(env!("CARGO_PKG_VERSION"), command, subject.join(" "));
    match examine(&mut report) {
        Ok(sources) => Ok((report, sources)),
        Err(Failure::Input(stopped)) => {
            report.diagnostics = stopped.diagnostics;
            Ok((report, stopped.sources))
        }
        Err(Failure::Internal(disagreement)) => Err(disagreement),
    }
}

/// Prints an answer.
pub fn print(answer: Answer, format: Format, color: Color) -> Result<ExitCode, Stopped> {
    match answer {
        Ok((report, sources)) => {
            output::print(&output::render(&report, &sources, format, color.style()))?;
            Ok(ExitCode::from(report.exit_code()))
        }
        Err(disagreement) => {
            internal_error::complain(&disagreement.to_string());
            Ok(ExitCode::from(internal_error::INTERNAL_ERROR))
        }
    }
}
