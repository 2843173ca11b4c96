//! One packet, rule by rule, on one host: what the interpreter sees.

mod show;

use super::Stopped;
use super::hosts::{self, Loaded};
use crate::cli::Trace;
use crate::load;
use crate::output::{self, Color};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, Point, fib_type, text};
use firewarden_ruleset::interpreter::{Event, Interpreter, Outcome, Walk};
use firewarden_ruleset::ir::Hook;
use std::process::ExitCode;

pub use show::{chain_name, schema};

/// The most constructs that are tried out the other way, to see whether the answer hangs on them.
const MOST_TRIALS: usize = 1_000;

/// The exit code of an answer that something unknown decides.
const OPEN: u8 = 3;

/// A packet's way through one host.
pub(super) struct Way {
    /// Every hook with what happened there.
    hooks: Vec<(Hook, Vec<Event>)>,
    outcome: Outcome,
    /// The packet at the end.
    end: Point,
}

/// A construct that isn't modelled, whose value decides what becomes of the packet.
pub(super) struct Hinge {
    field: Field,
    /// The value it was taken to have.
    value: u128,
}

/// Runs the command.
pub fn run(options: &Trace, color: Color) -> Result<ExitCode, Stopped> {
    let loaded = hosts::load(&options.input)?;
    let Loaded { files, atoms, hosts, .. } = &loaded;
    if load::has_errors(&files.diagnostics) {
        return Err(Stopped { diagnostics: loaded.files.diagnostics, sources: loaded.files.sources });
    }
    let index = loaded.one_host(options.input.host.as_deref())?;
    let Some(host) = hosts.get(index) else { return Ok(ExitCode::SUCCESS) };
    let packet = match text::parse_with_atoms(&options.packet, atoms) {
        Ok(packet) => packet,
        Err(error) => {
            let mut sources = SourceMap::default();
            let file = sources.add("<packet>", options.packet.as_str());
            let at = firewarden_diagnostic::Span::new(file, error.offset, error.offset + 1);
            let problem = Diagnostic::error("packet-syntax", error.message).at(at, "").help(error.help);
            return Err(Stopped { diagnostics: vec![problem], sources });
        }
    };
    output::complain(&files.diagnostics, &files.sources, color);
    let way = follow(&packet, host, atoms);
    let hinges = hinges(&packet, host, atoms, &way);
    let answer =
        show::Answer { packet: &packet, host, way: &way, hinges: &hinges, atoms, sources: &files.sources };
    let text = answer.render(options.format, color.style());
    output::print(&text)?;
    Ok(if hinges.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(OPEN) })
}

/// Leads the packet through the hooks: by its interfaces, and by its destination once that is translated.
fn follow(packet: &Point, host: &Host, atoms: &AtomTable) -> Way {
    let interpreter = Interpreter::new(&host.ruleset, atoms);
    let (input, output) = (packet.get(Field::IIFNAME), packet.get(Field::OIFNAME));
    let mut walk = Walk::new(packet.clone());
    let mut hooks = Vec::new();
    let mut next = Some(if input == 0 && output != 0 { Hook::Output } else { Hook::Ingress });
    while let Some(hook) = next {
        let leaves = matches!(hook, Hook::Output | Hook::Forward | Hook::Postrouting | Hook::Egress);
        walk.now.set(Field::OIFNAME, if leaves { output } else { 0 });
        let result = interpreter.run_hook(hook, &mut walk, host);
        hooks.push((hook, result.events));
        if result.outcome != Outcome::Accepted {
            return Way { hooks, outcome: result.outcome, end: walk.now };
        }
        next = match hook {
            Hook::Ingress => Some(Hook::Prerouting),
            Hook::Prerouting => Some(route(packet, &mut walk, host)),
            Hook::Forward | Hook::Output => Some(Hook::Postrouting),
            Hook::Postrouting => Some(Hook::Egress),
            Hook::Input | Hook::Egress => None,
        };
    }
    Way { hooks, outcome: Outcome::Accepted, end: walk.now }
}

/// The routing decision: for this host, or to be passed on.
fn route(packet: &Point, walk: &mut Walk, host: &Host) -> Hook {
    let moved = walk.now.get(Field::DADDR) != packet.get(Field::DADDR);
    let own = host.own(walk.now.get(Field::NFPROTO)).contains(walk.now.get(Field::DADDR));
    let local = if host.addresses_known {
        own || walk.redirected
    } else {
        walk.redirected || (!moved && packet.get(Field::OIFNAME) == 0)
    };
    walk.now.set(Field::FIB_DADDR_TYPE, if local { fib_type::LOCAL } else { fib_type::UNICAST });
    if local { Hook::Input } else { Hook::Forward }
}

/// The constructs that the packet doesn't settle, and that would change its outcome alone. O(constructs × rules).
fn hinges(packet: &Point, host: &Host, atoms: &AtomTable, way: &Way) -> Vec<Hinge> {
    let settled: Vec<Field> = packet.dynamic().map(|(field, _)| field).collect();
    let open = atoms.iter().filter(|(field, info)| {
        *info.scope == *host.name && info.domain == (0, 1) && !settled.contains(field)
    });
    open.take(MOST_TRIALS)
        .filter(|(field, _)| {
            let other = follow(&packet.clone().with(*field, 1), host, atoms);
            refused(other.outcome) != refused(way.outcome)
        })
        .map(|(field, _)| Hinge { field, value: 0 })
        .collect()
}

fn refused(outcome: Outcome) -> bool {
    outcome != Outcome::Accepted
}
