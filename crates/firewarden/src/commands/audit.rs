//! What is wrong with rulesets, whatever they are for?

mod boot;

use super::Stopped;
use super::check::today;
use super::hosts::{self, Loaded};
use super::reported::{self, Answer, Failure};
use crate::cli::Audit;
use crate::load;
use crate::output::Color;
use crate::progress::Progress;
use firewarden_diagnostic::{About, Diagnostic, Report, SourceMap};
use firewarden_verify::audit::{AuditOptions, Baseline, Subject, audit, read_baseline, write_baseline};
use firewarden_verify::exposed::one_family;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub fn run(options: &Audit, color: Color) -> Result<ExitCode, Stopped> {
    reported::print(answer(options), options.format, color)
}

/// The report, and the texts that it speaks of. Wrong input is in the report.
///
/// # Errors
/// What engine and interpreter don't agree about.
pub fn answer(options: &Audit) -> Answer {
    reported::answer("audit", &options.input.paths, |report| {
        report.about = About::Checks;
        examine(options, report)
    })
}

/// Fills the report; gives the texts that it speaks of.
fn examine(options: &Audit, report: &mut Report) -> Result<SourceMap, Failure> {
    let Loaded { mut files, mut atoms, stack, mut hosts, .. } = hosts::load(&options.input)?;
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
    let boot =
        boot::rules(&options.input.paths, stack.as_ref(), &mut files, &mut atoms).map_err(Stopped::from)?;
    let baseline = match &options.baseline {
        Some(path) => Some(known(path, &mut files)?),
        None => None,
    };
    let limits = options.budget.map_or_else(AuditOptions::default, AuditOptions::with_steps_for_rule);
    let progress = Progress::start("looking at every rule");
    let today = today();
    let subject = Subject {
        hosts: &hosts,
        stack: stack.as_ref(),
        atoms: &atoms,
        sources: &files.sources,
        today: today.as_deref(),
        boot: &boot,
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
