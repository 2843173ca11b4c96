//! One packet, hook by hook, rule by rule: through one host, or from host to host of a stack.

mod show;

use super::Stopped;
use super::hosts::{self, Loaded};
use crate::cli::Trace;
use crate::internal_error;
use crate::load;
use crate::output::{self, Color};
use firewarden_diagnostic::{Diagnostic, SourceMap, Span};
use firewarden_packet::{AtomTable, Point, text};
use std::process::ExitCode;

pub use show::schema;

/// Runs the command.
pub fn run(options: &Trace, color: Color) -> Result<ExitCode, Stopped> {
    let loaded = hosts::load(&options.input)?;
    if load::has_errors(&loaded.files.diagnostics) {
        return Err(Stopped { diagnostics: loaded.files.diagnostics, sources: loaded.files.sources });
    }
    let packet = packet(&options.packet, &loaded.atoms)?;
    let chosen = match (&options.input.host, &loaded.stack) {
        (Some(name), Some(_)) => Some(loaded.one_host(name)?),
        (_, Some(_)) => None,
        (_, None) => Some(0),
    };
    let Loaded { files, atoms, stack, mut hosts, .. } = loaded;
    output::complain(&files.diagnostics, &files.sources, color);
    let traced = match (chosen.and_then(|index| hosts.get(index)), &stack) {
        (Some(host), _) => match firewarden_verify::trace(host, &packet, &atoms, &files.sources) {
            Ok(traced) => traced,
            Err(disagreement) => {
                internal_error::complain(&disagreement.to_string());
                return Ok(ExitCode::from(internal_error::INTERNAL_ERROR));
            }
        },
        (None, Some(stack)) => {
            firewarden_verify::complete_hosts(&mut hosts, stack, &stack.intents);
            firewarden_verify::trace_stack(&hosts, stack, &packet, &atoms, &files.sources)
        }
        (None, None) => return Ok(ExitCode::SUCCESS),
    };
    if traced.out_unknown {
        let note =
            "the packet is passed on, and rules ask by which interface: none was named, so they don't match";
        let note = Diagnostic::note("no-output", note).help("name it in the packet, such as `out eth1`");
        output::complain(&[note], &files.sources, color);
    }
    output::print(&show::render(&traced, &files.sources, options.format, color.style()))?;
    Ok(ExitCode::SUCCESS)
}

/// The packet of the command line.
fn packet(written: &str, atoms: &AtomTable) -> Result<Point, Stopped> {
    text::parse_with_atoms(written, atoms).map_err(|error| {
        let mut sources = SourceMap::default();
        let file = sources.add("<packet>", written);
        let at = Span::new(file, error.offset, error.offset + 1);
        let problem = Diagnostic::error("packet-syntax", error.message).at(at, "").help(error.help);
        Stopped { diagnostics: vec![problem], sources }
    })
}
