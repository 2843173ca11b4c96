//! Who may reach which port of a host, or through it, IPv4 and IPv6 side by side.

mod show;

use super::Stopped;
use super::hosts::{self, Loaded};
use crate::cli::Exposed;
use crate::load;
use crate::output::{self, Color};
use crate::progress::Progress;
use firewarden_diagnostic::Diagnostic;
use firewarden_verify::exposed::{ExposedOptions, exposed, one_family};
use std::process::ExitCode;

pub use show::schema;

/// The exit code of an answer that isn't complete.
const OPEN: u8 = 3;

/// Runs the command.
pub fn run(options: &Exposed, color: Color) -> Result<ExitCode, Stopped> {
    let loaded = hosts::load(&options.input)?;
    if load::has_errors(&loaded.files.diagnostics) {
        return Err(Stopped { diagnostics: loaded.files.diagnostics, sources: loaded.files.sources });
    }
    let chosen = match (&options.input.host, &loaded.stack) {
        (Some(name), Some(_)) => Some(loaded.one_host(name)?),
        _ => None,
    };
    let Loaded { files, atoms, hosts, .. } = &loaded;
    output::complain(&files.diagnostics, &files.sources, color);
    let notes: Vec<Diagnostic> = hosts.iter().filter_map(one_family).collect();
    output::complain(&notes, &files.sources, color);
    let progress = Progress::start("looking at what can be reached");
    let mut answers = Vec::new();
    let mut complete = true;
    for (index, host) in hosts.iter().enumerate() {
        if chosen.is_some_and(|chosen| chosen != index) {
            continue;
        }
        let answer = exposed(host, atoms, &files.sources, &ExposedOptions::default());
        complete &= answer.complete();
        answers.push(answer);
    }
    drop(progress);
    output::print(&show::render(&answers, options.format, color.style()))?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(OPEN) })
}
