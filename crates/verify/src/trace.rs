//! Trace: one packet, hook by hook, rule by rule.

use crate::address::Family;
use crate::check::{
    Disagreement, Ending, Happening, Model, Replay, Trip, deaf_port, ending_text, path_of, single_host_stack,
    steps,
};
use crate::stack::StackFile;
use firewarden_diagnostic::{SourceMap, Step};
use firewarden_engine::{Detail, Engine, Fate, Flow, OutOfBudget};
use firewarden_network::{Host, HostId};
use firewarden_packet::{AtomTable, Field, PacketBox, Point, fib_type, text};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::interpreter::{Event, Interpreter, Outcome, Walk, What};
use firewarden_ruleset::ir::{Hook, Policy, Ruleset, Statement, Test};

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The packet as it came.
    pub packet: String,
    /// The packet as it was in the end, where rules changed it.
    pub rewritten: Option<String>,
    /// `accepted`, `dropped by lb`, `delivered to app`.
    pub outcome: String,
    /// True where nothing refused it.
    pub accepted: bool,
    /// Every rule that did something, in order; the one that decides is marked.
    pub steps: Vec<Step>,
    /// What was taken for granted of constructs that aren't interpreted and that matter: `limit rate 5/second does not
    /// match`. Say otherwise with `where` in the packet's text.
    pub given: Vec<String>,
    /// The packet was passed on by an interface that nobody named, and rules ask for it: `out` in the packet's text names
    /// it.
    pub out_unknown: bool,
}

/// Rules looked at in one trace, at most.
const STEPS: u64 = 100_000_000;

/// Follows a packet through the hooks of one host. Which hooks: with an output interface and no input interface it is
/// made on the host; with both, or to an address that is known not to be the host's, or translated to another address,
/// it is passed on; else it is for the host.
///
/// The interpreter tells the way, and the engine is asked as well.
///
/// # Errors
/// [`Disagreement`] where the two differ.
pub fn trace(
    host: &Host,
    packet: &Point,
    atoms: &AtomTable,
    sources: &SourceMap,
) -> Result<Traced, Box<Disagreement>> {
    trace_by(&Engine::new(&host.ruleset), host, packet, atoms, sources)
}

/// As [`trace`], by an engine that is at hand.
pub(crate) fn trace_by(
    engine: &Engine<'_>,
    host: &Host,
    packet: &Point,
    atoms: &AtomTable,
    sources: &SourceMap,
) -> Result<Traced, Box<Disagreement>> {
    let mut tracer = Tracer {
        host,
        atoms,
        engine,
        walk: Walk::new(packet.clone()),
        flow: Some(Flow::new(PacketBox::all(), packet.clone(), atoms)),
        happenings: Vec::new(),
        budget: STEPS,
        disagrees: None,
        leaves_unnamed: false,
    };
    let ending = tracer.run(packet);
    if let Some((hook, engine)) = tracer.disagrees {
        return Err(Box::new(Disagreement {
            intent: "trace".to_owned(),
            packet: text::format(packet, atoms),
            engine: format!("{engine:?} on {hook:?}"),
            interpreter: format!("{ending:?}"),
        }));
    }
    let unnamed = tracer.leaves_unnamed && names_outputs(&host.ruleset);
    let region = tracer.flow.map(|flow| flow.region().clone());
    let trip = Trip::made(ending.unwrap_or(Ending::Left), tracer.happenings, tracer.walk.now);
    let decides = deciding(&trip);
    let accepted = ending.is_none();
    Ok(Traced {
        packet: text::format(packet, atoms),
        rewritten: rewritten(packet, &trip.last, atoms),
        outcome: match ending {
            None => "accepted".to_owned(),
            Some(ending) => ending_text(ending, &|_| host.name.clone()),
        },
        accepted,
        steps: steps(&trip, std::slice::from_ref(host), sources, decides),
        given: region.map(|region| given(&region, packet, atoms)).unwrap_or_default(),
        out_unknown: unnamed,
    })
}

/// Whether rules ask for the interface that a packet leaves by.
fn names_outputs(ruleset: &Ruleset) -> bool {
    let mut statements =
        ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    statements
        .any(|statement| matches!(statement, Statement::Test(Test::Range { field: Field::OIFNAME, .. })))
}

/// Follows a packet from host to host, by the links that a stack file declares. The hosts must be complete (see
/// [`crate::complete_hosts`]).
pub fn trace_stack(
    hosts: &[Host],
    stack: &StackFile,
    packet: &Point,
    atoms: &AtomTable,
    sources: &SourceMap,
) -> Traced {
    let model = Model { stack, hosts, single: false };
    let family = if packet.get(Field::NFPROTO) == 10 { Family::V6 } else { Family::V4 };
    let path = path_of(&model, family, packet.get(Field::SADDR), packet.get(Field::DADDR));
    let trip = Replay { hosts, atoms }.send(packet, &path);
    let decides = deciding(&trip);
    let name = |id: HostId| hosts.get(id.0).map_or_else(|| "?".to_owned(), |host| host.name.clone());
    Traced {
        packet: text::format(packet, atoms),
        rewritten: rewritten(packet, &trip.last, atoms),
        outcome: match (trip.ending, unheard(hosts, &trip)) {
            (ending, Some(port)) => {
                format!("{}, where nothing listens on {port}", ending_text(ending, &name))
            }
            (ending, None) => ending_text(ending, &name),
        },
        accepted: matches!(trip.ending, Ending::Delivered(_) | Ending::Left),
        steps: steps(&trip, hosts, sources, decides),
        given: Vec::new(),
        out_unknown: false,
    }
}

/// The port that nothing listens on at the host that got the packet, where a snapshot tells.
fn unheard(hosts: &[Host], trip: &Trip) -> Option<String> {
    let Ending::Delivered(id) = trip.ending else { return None };
    deaf_port(hosts.get(id.0)?, &trip.last)
}

/// A later packet of a connection before one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The host's place among the hosts.
    pub host: usize,
    /// The packet with its interfaces (0 where there is none), as conntrack sees it there.
    pub packet: Point,
    /// Whether the host translates the connection.
    pub translated: bool,
    /// Whether the packet gets further.
    pub accepted: bool,
}

/// The answer to a packet, from the host that sends it up to the first that refuses it. Empty where the packet isn't
/// delivered, or has no answer. A bare ruleset has no stack file; its host must know its addresses.
pub fn answer(hosts: &[Host], stack: Option<&StackFile>, packet: &Point, atoms: &AtomTable) -> Vec<Arrival> {
    let bare = single_host_stack("host", &[]);
    let model = Model { stack: stack.unwrap_or(&bare), hosts, single: stack.is_none() };
    let family = if packet.get(Field::NFPROTO) == 10 { Family::V6 } else { Family::V4 };
    let path = path_of(&model, family, packet.get(Field::SADDR), packet.get(Field::DADDR));
    let replay = Replay { hosts, atoms };
    let trip = replay.send(packet, &path);
    if !matches!(trip.ending, Ending::Delivered(_) | Ending::Left) {
        return Vec::new();
    }
    let Some(back) = replay.answer(packet, &trip) else { return Vec::new() };
    let refused = matches!(back.ending, Ending::Refused(..));
    let last = back.arrivals.len();
    let arrivals = back.arrivals.into_iter().enumerate();
    let arrivals = arrivals.map(|(index, arrival)| Arrival {
        host: arrival.host.0,
        packet: arrival.packet,
        translated: arrival.translated,
        accepted: !(refused && index + 1 == last),
    });
    arrivals.collect()
}

/// The last thing that refused, or accepted by a rule.
fn deciding(trip: &Trip) -> Option<usize> {
    if matches!(trip.ending, Ending::Refused(..)) {
        return trip.happenings.len().checked_sub(1);
    }
    let filter = |happening: &Happening| matches!(happening.hook, Hook::Input | Hook::Forward | Hook::Output);
    let at = |wanted: fn(&What) -> bool| {
        trip.happenings.iter().rposition(|happening| filter(happening) && wanted(&happening.event.what))
    };
    at(|what| matches!(what, What::Accepted))
        .or_else(|| at(|what| matches!(what, What::Policy(Policy::Accept))))
}

fn rewritten(before: &Point, after: &Point, atoms: &AtomTable) -> Option<String> {
    let ends = [Field::SADDR, Field::DADDR, Field::SPORT, Field::DPORT, Field::MARK];
    if ends.iter().all(|&field| before.get(field) == after.get(field)) {
        return None;
    }
    let mut shown = before.clone();
    for field in ends {
        shown.set(field, after.get(field));
    }
    Some(text::format(&shown, atoms))
}

/// The atoms that the way hangs on, with the packet's values.
fn given(region: &PacketBox, packet: &Point, atoms: &AtomTable) -> Vec<String> {
    let mut lines = Vec::new();
    for (field, _) in region.dims() {
        let Some(info) = atoms.get(*field) else { continue };
        let value = packet.get(*field);
        lines.push(if info.domain == (0, 1) {
            format!("`{}` {}", info.text, if value == 0 { "does not match" } else { "matches" })
        } else {
            let value = value.clamp(info.domain.0, info.domain.1);
            format!("`{}` is `{}`", info.text, text::value(info, value))
        });
    }
    lines
}

struct Tracer<'t> {
    host: &'t Host,
    atoms: &'t AtomTable,
    engine: &'t Engine<'t>,
    walk: Walk,
    /// `None` when the engine's budget ended.
    flow: Option<Flow<'t>>,
    happenings: Vec<Happening>,
    budget: u64,
    disagrees: Option<(Hook, Fate)>,
    /// It was passed on, and nobody said by which interface.
    leaves_unnamed: bool,
}

impl Tracer<'_> {
    fn run(&mut self, packet: &Point) -> Option<Ending> {
        let (input, output) = (packet.get(Field::IIFNAME), packet.get(Field::OIFNAME));
        if output != 0 && input == 0 {
            self.put(Field::FIB_SADDR_TYPE, fib_type::LOCAL);
            return self.hooks(&[Hook::Output, Hook::Postrouting, Hook::Egress]);
        }
        self.put(Field::OIFNAME, 0);
        if let Some(kind) = self.type_of(packet.get(Field::DADDR)) {
            self.put(Field::FIB_DADDR_TYPE, kind);
        }
        let ending = self.hooks(&[Hook::Ingress, Hook::Prerouting]);
        if ending.is_some() {
            return ending;
        }
        let destination = self.walk.now.get(Field::DADDR);
        let known = self.type_of(destination).map(|kind| kind == fib_type::LOCAL);
        let moved = destination != packet.get(Field::DADDR) && !self.walk.redirected;
        let stays = known.unwrap_or(!moved && output == 0) || self.walk.redirected;
        if stays {
            self.put(Field::FIB_DADDR_TYPE, fib_type::LOCAL);
            return self.hooks(&[Hook::Input]);
        }
        self.put(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        self.put(Field::OIFNAME, output);
        self.leaves_unnamed = output == 0;
        self.hooks(&[Hook::Forward, Hook::Postrouting, Hook::Egress])
    }

    fn type_of(&self, address: u128) -> Option<u128> {
        self.host.address_type(self.walk.now.get(Field::NFPROTO), address).map(|(kind, _)| kind)
    }

    fn put(&mut self, field: Field, value: u128) {
        self.walk.now.set(field, value);
        if let Some(flow) = &mut self.flow {
            flow.put_value(field, value);
        }
    }

    fn hooks(&mut self, hooks: &[Hook]) -> Option<Ending> {
        for &hook in hooks {
            let result =
                Interpreter::new(&self.host.ruleset, self.atoms).run_hook(hook, &mut self.walk, self.host);
            self.happenings.extend(result.events.iter().map(|&event: &Event| Happening {
                host: HostId(0),
                hook,
                event,
            }));
            let ending = match result.outcome {
                Outcome::Accepted => None,
                Outcome::Dropped => Some(Ending::Refused(HostId(0), hook, None)),
                Outcome::Rejected(with) => Some(Ending::Refused(HostId(0), hook, Some(with))),
            };
            self.ask_engine(hook, result.outcome);
            if ending.is_some() {
                return ending;
            }
        }
        None
    }

    fn ask_engine(&mut self, hook: Hook, expected: Outcome) {
        let Some(mut flow) = self.flow.take() else { return };
        match self.engine.run_hook(hook, &mut flow, self.host, Detail::Rules, &mut self.budget) {
            Ok(decision) => {
                let same = match (decision.fate, expected) {
                    (Fate::Accepted, Outcome::Accepted) | (Fate::Dropped, Outcome::Dropped) => true,
                    (Fate::Rejected(left), Outcome::Rejected(right)) => left == right,
                    _ => false,
                };
                if !same && self.disagrees.is_none() {
                    self.disagrees = Some((hook, decision.fate));
                }
                self.flow = Some(flow);
            }
            Err(OutOfBudget) => self.flow = None,
        }
    }
}
