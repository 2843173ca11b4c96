//! Who may reach which port of a host, or through it, IPv4 and IPv6 side by side.

mod ask;
mod rows;
mod show;

use super::Stopped;
use super::hosts::{self, Loaded};
use crate::cli::Exposed;
use crate::load;
use crate::output::{self, Color};
use crate::progress::Progress;
use firewarden_diagnostic::Diagnostic;
use firewarden_network::Host;
use firewarden_ruleset::ir::Family;
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
    output::complain(&one_family(hosts), &files.sources, color);
    let progress = Progress::start("looking at what can be reached");
    let mut answers = Vec::new();
    let mut complete = true;
    for (index, host) in hosts.iter().enumerate() {
        if chosen.is_some_and(|chosen| chosen != index) {
            continue;
        }
        let found = ask::exposures(host, atoms);
        complete &= found.complete;
        answers.push(rows::HostRows::of(host, found, atoms, &files.sources));
    }
    drop(progress);
    output::print(&show::render(&answers, options.format, color.style()))?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(OPEN) })
}

/// Hosts of which only one of iptables and ip6tables was listed: the other family looks as if nothing filtered it.
fn one_family(hosts: &[Host]) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    for host in hosts {
        let tables = &host.ruleset.tables;
        let sees = |family: Family| {
            tables.iter().any(|table| table.family == family || table.family == Family::Inet)
        };
        let (missing, listing) = match (sees(Family::Ip), sees(Family::Ip6)) {
            (true, false) => ("IPv6", "ip6tables-save"),
            (false, true) => ("IPv4", "iptables-save"),
            _ => continue,
        };
        let note = format!("{}: nothing here filters {missing}, which is shown as open to anyone", host.name);
        notes.push(Diagnostic::note("one-family", note).help(format!(
            "if the host has other rules for {missing}, give them as well, such as the output of `{listing}`"
        )));
    }
    notes
}
