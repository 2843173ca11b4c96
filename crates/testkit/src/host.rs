//! The simulated host: interfaces with an address each, and the hooks that a packet meets on its way through.

use crate::generate::Generated;
use firewarden_engine::{Decision, Detail, Engine, Fate, Flow, OutOfBudget, Step, StepKind};
use firewarden_packet::{AtomTable, Dim, Field, InterfaceName, PacketBox, Point, fib_type};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::interpreter::{Event, HookResult, Interpreter, Outcome, Walk, What};
use firewarden_ruleset::ir::{Hook, Ruleset};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interfaces, in the order of their addresses.
pub const INTERFACES: [&str; 4] = ["eth0", "eth1", "lan0", "wan0"];

/// Which way a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the host: every destination is local.
    Input,
    /// Through the host: no destination is local but the host's own addresses.
    Forward,
    /// From the host.
    Output,
}

/// All ways.
pub const WAYS: [Way; 3] = [Way::Input, Way::Forward, Way::Output];

/// A ruleset with what it was made from.
#[derive(Debug)]
pub struct World {
    /// The text.
    pub text: Generated,
    /// Its meaning.
    pub ruleset: Ruleset,
    /// Its dynamic fields.
    pub atoms: AtomTable,
}

/// The addresses of an interface, which no generated rule names.
pub fn addresses(interface: usize) -> [IpAddr; 2] {
    let number = interface as u16 + 1;
    [
        IpAddr::V4(Ipv4Addr::new(172, 31, 0, number as u8)),
        IpAddr::V6(Ipv6Addr::new(0xfdff, 0, 0, 0, 0, 0, 0, number)),
    ]
}

/// An address as the packet space has it.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(short) => u128::from(u32::from(short)),
        IpAddr::V6(long) => u128::from(long),
    }
}

/// What the host knows about addresses on a way.
#[derive(Clone, Copy, Debug)]
pub struct Around(pub Way);

impl Around {
    fn is_own(self, nfproto: u128, address: u128) -> bool {
        (0..INTERFACES.len())
            .flat_map(addresses)
            .any(|own| number(own) == address && own.is_ipv4() == (nfproto == 2))
    }

    fn is_loopback(nfproto: u128, address: u128) -> bool {
        if nfproto == 2 { address >> 24 == 127 } else { address == 1 }
    }
}

impl Surroundings for Around {
    fn interface_address(&self, interface: InterfaceName, nfproto: u128) -> Option<u128> {
        let named = |name: &str| InterfaceName::new(name) == Ok(interface);
        if named("lo") {
            // Masquerading on loopback takes an address that others can reach, where there is one.
            return Some(if nfproto == 2 { number(addresses(0)[0]) } else { 1 });
        }
        let at = INTERFACES.iter().position(|name| named(name))?;
        addresses(at).into_iter().find(|own| own.is_ipv4() == (nfproto == 2)).map(number)
    }

    fn address_type(&self, nfproto: u128, address: u128) -> Option<(u128, (u128, u128))> {
        let local =
            self.0 == Way::Input || self.is_own(nfproto, address) || Around::is_loopback(nfproto, address);
        let kind = if local { fib_type::LOCAL } else { fib_type::UNICAST };
        Some((kind, (address, address)))
    }
}

/// What happened to a packet on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Accepted, or how the last hook refused it.
    pub outcome: Outcome,
    /// The last hook.
    pub hook: Hook,
    /// The rules on the way, with the hook.
    pub events: Vec<(Hook, Event)>,
    /// The packet at the end.
    pub packet: Point,
}

/// What follows a hook where the packet was accepted.
enum Next {
    Hook(Hook),
    End,
}

fn first_hook(way: Way) -> Hook {
    if way == Way::Output { Hook::Output } else { Hook::Prerouting }
}

/// The hook after one, and what the host changes in between. `set` writes a field.
fn next(way: Way, hook: Hook, now: &Point, oif: u128, mut set: impl FnMut(Field, u128)) -> Next {
    let local = Around(way).address_type(now.get(Field::NFPROTO), now.get(Field::DADDR));
    let local = local.is_some_and(|(kind, _)| kind == fib_type::LOCAL);
    match (hook, way) {
        (Hook::Prerouting, _) if local => Next::Hook(Hook::Input),
        (Hook::Prerouting, _) => {
            set(Field::OIFNAME, oif);
            set(Field::TTL, now.get(Field::TTL).saturating_sub(1));
            Next::Hook(Hook::Forward)
        }
        (Hook::Forward, _) => Next::Hook(Hook::Postrouting),
        (Hook::Output, _) => {
            if local {
                set(Field::OIFNAME, InterfaceName::new("lo").map_or(0, |name| name.0));
            }
            Next::Hook(Hook::Postrouting)
        }
        _ => Next::End,
    }
}

/// A packet as it stands before the first hook, and the interface that it is going to leave by.
fn start(way: Way, packet: &Point) -> (Point, u128) {
    let oif = packet.get(Field::OIFNAME);
    let mut packet = packet.clone();
    match way {
        Way::Input | Way::Forward => packet.set(Field::OIFNAME, 0),
        Way::Output => packet.set(Field::IIFNAME, 0),
    }
    (packet, oif)
}

/// Leads a packet through the host with the interpreter.
pub fn interpret(world: &World, way: Way, packet: &Point) -> Passage {
    let interpreter = Interpreter::new(&world.ruleset, &world.atoms);
    let (packet, oif) = start(way, packet);
    let mut walk = Walk::new(packet);
    let mut events = Vec::new();
    let mut hook = first_hook(way);
    loop {
        let HookResult { outcome, events: more } = interpreter.run_hook(hook, &mut walk, &Around(way));
        events.extend(more.into_iter().map(|event| (hook, event)));
        let mut changes = Vec::new();
        let then = next(way, hook, &walk.now, oif, |field, value| changes.push((field, value)));
        match then {
            Next::Hook(following) if outcome == Outcome::Accepted => {
                changes.into_iter().for_each(|(field, value)| walk.now.set(field, value));
                hook = following;
            }
            _ => return Passage { outcome, hook, events, packet: walk.now },
        }
    }
}

/// Leads a packet through the host with the engine. The passage, and the packets that share it by what the engine says:
/// in the terms of `packet`, whose output interface and time to live are held where the host changes them.
///
/// # Errors
/// [`OutOfBudget`], as [`Engine::run_hook`].
pub fn decide(
    world: &World,
    engine: &Engine<'_>,
    way: Way,
    packet: &Point,
    detail: Detail,
    question: PacketBox,
) -> Result<(Passage, PacketBox), OutOfBudget> {
    let (start, oif) = start(way, packet);
    let mut flow = Flow::new(question, start, &world.atoms);
    for field in [Field::IIFNAME, Field::OIFNAME] {
        flow.hold(field);
    }
    let mut budget = 10_000_000;
    let mut events = Vec::new();
    let mut hook = first_hook(way);
    loop {
        let Decision { fate, steps, .. } =
            engine.run_hook(hook, &mut flow, &Around(way), detail, &mut budget)?;
        let now = flow.now().clone();
        events.extend(steps.into_iter().map(|step| (hook, event_of(&step, &now))));
        let outcome = match fate {
            Fate::Accepted => Outcome::Accepted,
            Fate::Dropped => Outcome::Dropped,
            Fate::Rejected(with) => Outcome::Rejected(with),
        };
        let mut changes = Vec::new();
        let then = next(way, hook, &now, oif, |field, value| changes.push((field, value)));
        match then {
            Next::Hook(following) if outcome == Outcome::Accepted => {
                // Where the packet goes depends on its destination, which the region must agree in.
                flow.hold(Field::DADDR);
                for (field, value) in changes {
                    flow.hold(field);
                    flow.put_value(field, value);
                }
                hook = following;
            }
            _ => {
                // In the question's words again: the packet's output interface is the one it is going to leave by.
                let mut region = flow.region().clone();
                region
                    .set(Field::OIFNAME, Dim::Range(packet.get(Field::OIFNAME), packet.get(Field::OIFNAME)));
                return Ok((Passage { outcome, hook, events, packet: flow.now().clone() }, region));
            }
        }
    }
}

/// A step of the engine as an event of the interpreter, without the values that the engine doesn't tell.
fn event_of(step: &Step, _now: &Point) -> Event {
    let what = match step.kind {
        StepKind::Jumped(chain) => What::Jumped(chain),
        StepKind::Returned => What::Returned,
        StepKind::Wrote(field) => What::Wrote(field, 0),
        StepKind::Translated => What::Translated(
            firewarden_ruleset::ir::NatDirection::Source,
            firewarden_ruleset::interpreter::End { address: 0, port: 0 },
        ),
        StepKind::Untracked => What::Untracked,
        StepKind::Accepted => What::Accepted,
        StepKind::Dropped => What::Dropped,
        StepKind::Rejected(with) => What::Rejected(with),
        StepKind::Policy(policy) => What::Policy(policy),
    };
    Event { rule: step.rule, what }
}

/// The events in the terms that engine and interpreter share: logging and written values left out.
pub fn comparable(events: &[(Hook, Event)]) -> Vec<(Hook, Event)> {
    events
        .iter()
        .filter(|(_, event)| event.what != What::Logged)
        .map(|&(hook, event)| {
            let what = match event.what {
                What::WentTo(chain) => What::Jumped(chain),
                What::Wrote(field, _) => What::Wrote(field, 0),
                What::Translated(..) => What::Translated(
                    firewarden_ruleset::ir::NatDirection::Source,
                    firewarden_ruleset::interpreter::End { address: 0, port: 0 },
                ),
                other => other,
            };
            (hook, Event { rule: event.rule, what })
        })
        .collect()
}
