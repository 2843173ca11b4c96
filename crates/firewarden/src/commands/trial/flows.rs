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
    let trial = State { nft: without_timeouts(&trial.nft), ..trial.clone() };
    match lost(&trial, color) {
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

/// A listing in which the set of a switch that the kernel holds ([`firewarden_change::switch`]) has its elements for good: as
/// long as the trial was on, they were there, and whether elements with a timeout are is nothing that a listing tells.
fn without_timeouts(nft: &str) -> String {
    let mut is_inside = false;
    let mut text = String::with_capacity(nft.len());
    for line in nft.lines() {
        let trimmed = line.trim();
        is_inside = match trimmed.strip_prefix("set ") {
            Some(set) => set.split(' ').next() == Some(firewarden_change::switch::SET),
            None => is_inside && trimmed != "}",
        };
        if is_inside && trimmed == "flags timeout" {
            continue;
        }
        match trimmed
            .strip_prefix("elements = {")
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|_| is_inside)
        {
            Some(elements) => {
                let names = elements.split(',').filter_map(|element| element.split_whitespace().next());
                let names: Vec<&str> = names.collect();
                text += &format!("elements = {{ {} }}", names.join(", "));
            }
            None => text += line,
        }
        text.push('\n');
    }
    text
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

#[cfg(test)]
mod tests {
    use super::without_timeouts;

    #[test]
    fn the_switch_of_the_kernel_is_on_for_good_and_other_sets_stay() {
        let listing = "table inet filter {\n\tset fw_trial { # handle 4\n\t\ttype nf_proto\n\t\tflags timeout\n\
             \t\telements = { ipv4 timeout 1m3s expires 1m2s912ms, ipv6 timeout 1m3s expires 1m2s912ms }\n\t}\n\
             \tset bans {\n\t\ttype ipv4_addr\n\t\tflags timeout\n\t\telements = { 192.0.2.1 timeout 1m expires 3s }\n\t}\n}\n";
        let told = without_timeouts(listing);
        assert!(told.contains("elements = { ipv4, ipv6 }\n"), "{told}");
        assert!(told.contains("flags timeout\n\t\telements = { 192.0.2.1 timeout 1m expires 3s }"), "{told}");
        assert_eq!(told.matches("flags timeout").count(), 1, "{told}");
    }
}
