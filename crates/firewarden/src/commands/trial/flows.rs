//! Connections that outlive the rules which let them in: told, and ended where that was asked for.

use super::events::Teller;
use crate::commands::Stopped;
use crate::commands::diff::Cut;
use crate::commands::meaning::Subject;
use crate::output::Color;
use firewarden_diagnostic::Diagnostic;
use firewarden_host::connections;
use firewarden_host::state::State;

/// Ends the connections that `before` admitted and the rules of now don't. The operator's own session is left alone.
pub fn end(before: &State, teller: &Teller, color: Color) {
    let cuts = match lost(before, color) {
        Ok(cuts) => cuts,
        Err(stopped) => return unknown(teller, &stopped),
    };
    if cuts.is_empty() {
        teller.note("no connection is open that the new rules don't admit");
    }
    for cut in &cuts {
        if cut.own_session {
            teller.note(&format!("{} is left alone: this session is one of them", cut.flow));
            continue;
        }
        let ended = connections::end(&cut.connections);
        teller.note(&format!(
            "cut: {} ({} of conntrack, {} sockets, of {})",
            cut.flow, ended.tracked, ended.sockets, cut.count
        ));
        ended.problems.iter().for_each(|problem| teller.trouble(problem));
    }
}

/// Tells which connections only the rules on trial admitted.
pub fn left_over(trial: &State, teller: &Teller, color: Color) {
    match lost(trial, color) {
        Ok(cuts) => {
            for cut in cuts {
                teller.note(&format!(
                    "{} was admitted by the rules on trial only, and is open still ({})",
                    cut.flow, cut.count
                ));
            }
        }
        Err(stopped) => unknown(teller, &stopped),
    }
}

/// The open connections that other rules admitted and those of now don't.
fn lost(other: &State, color: Color) -> Result<Vec<Cut>, Stopped> {
    let now = State::read().map_err(|error| {
        Diagnostic::error("unreadable-rules", format!("the kernel's rules cannot be read: {error}"))
    })?;
    Subject::of(None, None)?.cuts(other, &now, color)
}

fn unknown(teller: &Teller, stopped: &Stopped) {
    let why = stopped.diagnostics.first().map(|problem| problem.message.as_str()).unwrap_or_default();
    teller.trouble(&format!("which connections are left over is not known: {why}"));
}
