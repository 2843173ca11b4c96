//! What is wrong with rulesets, whatever they are for?

use super::Stopped;
use super::check::today;
use super::hosts::{self, Loaded};
use crate::cli::Audit;
use crate::internal_error;
use crate::load;
use crate::output::{self, Color};
use crate::progress::Progress;
use firewarden_diagnostic::{About, Diagnostic, Report, SourceMap};
use firewarden_verify::Disagreement;
use firewarden_verify::audit::{AuditOptions, Baseline, Subject, audit, read_baseline, write_baseline};
use firewarden_verify::exposed::one_family;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub fn run(options: &Audit, color: Color) -> Result<ExitCode, Stopped> {
    match answer(options) {
        Ok((report, sources)) => {
            output::print(&output::render(&report, &sources, options.format, color.style()))?;
            Ok(ExitCode::from(report.exit_code()))
        }
        Err(disagreement) => {
            internal_error::complain(&disagreement.to_string());
            Ok(ExitCode::from(internal_error::INTERNAL_ERROR))
        }
    }
}

/// The report, and the texts that it speaks of. Wrong input is in the report.
///
/// # Errors
/// What engine and interpreter don't agree about.
pub fn answer(options: &Audit) -> Result<(Report, SourceMap), Box<Disagreement>> {
    let subject: Vec<String> = options.input.paths.iter().map(|path| path.display().to_string()).collect();
    let mut report = Report::new(env!("CARGO_PKG_VERSION"), "audit", subject.join(" "));
    report.about = About::Checks;
    let sources = match examine(options, &mut report) {
        Ok(sources) => sources,
        Err(Failure::Input(stopped)) => {
            report.diagnostics = stopped.diagnostics;
            stopped.sources
        }
        Err(Failure::Internal(disagreement)) => return Err(disagreement),
    };
    Ok((report, sources))
}

/// Why there is no answer.
enum Failure {
    Input(Stopped),
    Internal(Box<Disagreement>),
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        Failure::Input(stopped)
    }
}

/// Fills the report; gives the texts that it speaks of.
fn examine(options: &Audit, report: &mut Report) -> Result<SourceMap, Failure> {
    let Loaded { mut files, atoms, stack, mut hosts, .. } = hosts::load(&options.input)?;
    if let (Some(name), Some(_)) = (&options.input.host, &stack) {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        if !known.contains(&name.as_str()) {
            files.diagnostics.push(hosts::unknown(name, &known));
        }
        hosts.retain(|host| host.name == *name);
    }
    if load::has_errors(&files.diagnostics) {
        return Err(Stopped { diagnostics: files.diagnostics, sources: files.sources }.into());
    }
    let baseline = match &options.baseline {
        Some(path) => Some(known(path, &mut files)?),
        None => None,
    };
    let mut limits = AuditOptions::default();
    if let Some(steps) = options.budget {
        limits.steps_for_rule = steps;
    }
    let progress = Progress::start("looking at every rule");
    let today = today();
    let subject = Subject {
        hosts: &hosts,
        stack: stack.as_ref(),
        atoms: &atoms,
        sources: &files.sources,
        today: today.as_deref(),
        baseline: baseline.as_ref(),
    };
    let answer = audit(subject, limits).map_err(Failure::Internal)?;
    drop(progress);
    if let Some(path) = &options.write_baseline {
        std::fs::write(path, write_baseline(&answer.found))
            .map_err(|error| {
                Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", path.display()))
                    .help("give a file that you may write to")
            })
            .map_err(Stopped::from)?;
    }
    report.results = answer.results;
    report.remarks = answer.summary;
    report.diagnostics = files.diagnostics;
    report.diagnostics.extend(hosts.iter().filter_map(one_family));
    Ok(files.sources)
}

/// The baseline in a file.
fn known(path: &Path, files: &mut load::Files) -> Result<Baseline, Stopped> {
    let file = files.open(path)?;
    read_baseline(file, files.text(file)).map_err(|problem| Stopped {
        diagnostics: vec![*problem],
        sources: std::mem::take(&mut files.sources),
    })
}
