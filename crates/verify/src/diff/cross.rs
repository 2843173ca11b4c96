//! One host, one packet: through prerouting to the host itself or through it, or out of it.
//!
//! Done twice, by the engine for sets of packets and by the interpreter for one, so that each difference that is told was
//! seen by both.

use super::changed::Way;
use super::compare::Decider;
use firewarden_engine::{Detail, Engine, Fate, Flow, Origin, OutOfBudget, Relation, Step};
use firewarden_network::{Host, HostView};
use firewarden_packet::{AtomTable, Dim, Field, IntervalSet, Point, fib_type};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::interpreter::{Interpreter, Outcome, Translation, Walk};
use firewarden_ruleset::ir::Hook;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the host itself.
    Input,
    /// Through the host.
    Forward,
    /// Made on the host.
    Output,
}

impl Direction {
    /// The word for it: the name of the hook that filters there.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Input => "input",
            Direction::Forward => "forward",
            Direction::Output => "output",
        }
    }
}

/// How a packet's way across a host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Delivered, passed on or sent.
    Passes(Direction),
    /// Dropped or rejected.
    Refused {
        /// Where it was going; before the routing decision, to the host.
        direction: Direction,
        /// The hook.
        hook: Hook,
        /// Dropped or rejected; never accepted.
        fate: Fate,
    },
    /// For somebody else, at a host that doesn't pass packets on.
    NotForwarded,
    /// No such packet: it would leave by no interface, or its destination is nobody's.
    Impossible,
}

/// The rules on a packet's way across a host.
#[derive(Clone, Debug)]
pub(super) struct Crossing {
    pub ending: Ending,
    pub steps: Vec<(Hook, Step)>,
}

/// A host with its ruleset, ready to be crossed.
#[derive(Debug)]
pub(super) struct Crossed<'c> {
    pub host: &'c Host,
    pub view: HostView<'c>,
    pub engine: Engine<'c>,
    /// True where the host's addresses are known, so that the destination tells whether a packet is for it.
    pub known: bool,
}

/// Destinations that a host takes for itself, by type of address.
fn for_the_host() -> IntervalSet {
    IntervalSet::range(fib_type::LOCAL, fib_type::MULTICAST)
}

impl<'c> Crossed<'c> {
    pub fn new(host: &'c Host) -> Crossed<'c> {
        let known = host.addresses_known && (!host.addresses.is_empty() || !host.interfaces.is_empty());
        Crossed { host, view: HostView::new(host), engine: Engine::new(&host.ruleset), known }
    }

    fn passes_on(&self, packet: &Point) -> bool {
        self.host.passes_on(packet.get(Field::NFPROTO))
    }

    /// Follows the flow's packet, and cuts the flow's region to the packets that fare alike.
    ///
    /// # Errors
    /// [`OutOfBudget`], as [`Engine::run_hook`].
    pub fn cross(
        &self,
        way: Way,
        flow: &mut Flow<'_>,
        detail: Detail,
        budget: &mut u64,
    ) -> Result<Crossing, OutOfBudget> {
        let mut run = Run { crossed: self, flow, detail, budget, steps: Vec::new() };
        let ending = match way {
            Way::Arriving => run.arrive()?,
            Way::Leaving => run.leave()?,
        };
        Ok(Crossing { ending, steps: run.steps })
    }

    /// The same by the interpreter, for one packet. Gives the packet as it is in the end.
    pub fn replay(&self, way: Way, packet: &Point, atoms: &AtomTable) -> (Ending, Point) {
        let mut replay = Replay { crossed: self, atoms, walk: Walk::new(packet.clone()), last: None };
        let ending = replay.run(way, packet);
        (ending, replay.walk.now)
    }

    /// The same for a packet of a connection that exists, with what the connection tracking does to it; and the last rule
    /// on the way.
    pub fn replay_connection(
        &self,
        way: Way,
        packet: &Point,
        translation: Translation,
        atoms: &AtomTable,
    ) -> (Ending, Option<Decider>) {
        let mut replay = Replay { crossed: self, atoms, walk: Walk::new(packet.clone()), last: None };
        replay.walk.translation = translation;
        let ending = replay.run(way, packet);
        (ending, replay.last)
    }
}

struct Run<'r, 'a> {
    crossed: &'r Crossed<'r>,
    flow: &'r mut Flow<'a>,
    detail: Detail,
    budget: &'r mut u64,
    steps: Vec<(Hook, Step)>,
}

impl Run<'_, '_> {
    fn arrive(&mut self) -> Result<Ending, OutOfBudget> {
        let output = self.flow.take(Field::OIFNAME);
        let destination = self.flow.take(Field::DADDR);
        self.flow.put_value(Field::OIFNAME, 0);
        self.address_type(Field::SADDR, Field::FIB_SADDR_TYPE);
        self.address_type(Field::DADDR, Field::FIB_DADDR_TYPE);
        let kind = self.flow.take(Field::FIB_DADDR_TYPE);
        let early = self.hooks(&[Hook::Ingress, Hook::Prerouting], Direction::Input)?;
        if let Some(refused) = early {
            return Ok(refused);
        }
        if self.is_for_the_host(destination, kind) {
            let refused = self.hooks(&[Hook::Input], Direction::Input)?;
            return Ok(refused.unwrap_or(Ending::Passes(Direction::Input)));
        }
        if !self.restrict_to(Field::FIB_DADDR_TYPE, &single(fib_type::UNICAST)) {
            return Ok(Ending::Impossible);
        }
        if !self.crossed.passes_on(self.flow.now()) {
            return Ok(Ending::NotForwarded);
        }
        if !self.output(output) {
            return Ok(Ending::Impossible);
        }
        let refused = self.hooks(&[Hook::Forward, Hook::Postrouting, Hook::Egress], Direction::Forward)?;
        Ok(refused.unwrap_or(Ending::Passes(Direction::Forward)))
    }

    fn leave(&mut self) -> Result<Ending, OutOfBudget> {
        let output = self.flow.take(Field::OIFNAME);
        self.flow.put_value(Field::IIFNAME, 0);
        self.flow.put_value(Field::FIB_SADDR_TYPE, fib_type::LOCAL);
        self.address_type(Field::DADDR, Field::FIB_DADDR_TYPE);
        if !self.output(output) {
            return Ok(Ending::Impossible);
        }
        let refused = self.hooks(&[Hook::Output, Hook::Postrouting, Hook::Egress], Direction::Output)?;
        Ok(refused.unwrap_or(Ending::Passes(Direction::Output)))
    }

    fn hooks(&mut self, hooks: &[Hook], direction: Direction) -> Result<Option<Ending>, OutOfBudget> {
        for &hook in hooks {
            let decision = self.crossed.engine.run_hook(
                hook,
                self.flow,
                &self.crossed.view,
                self.detail,
                self.budget,
            )?;
            self.steps.extend(decision.steps.into_iter().map(|step| (hook, step)));
            if decision.fate != Fate::Accepted {
                return Ok(Some(Ending::Refused { direction, hook, fate: decision.fate }));
            }
        }
        Ok(None)
    }

    /// Tells the rules what an address is, where that is known.
    fn address_type(&mut self, address: Field, kind: Field) {
        if !self.crossed.known {
            return;
        }
        let nfproto = self.flow.now().get(Field::NFPROTO);
        if let Some((found, (low, high))) =
            self.crossed.view.address_type(nfproto, self.flow.now().get(address))
        {
            self.flow.restrict(address, Dim::Range(low, high));
            self.flow.put_value(kind, found);
        }
    }

    /// Whether the destination is another one than it was; the region keeps the packets with the same answer. A packet
    /// may be translated to the address it has; where the kernel chooses, that is no case of its own.
    fn is_moved(&mut self, before: Origin) -> bool {
        if self.flow.destination_chosen() {
            return true;
        }
        let present = self.flow.take(Field::DADDR);
        match self.flow.relation(Field::DADDR, &present, &before) {
            Relation::Same => return false,
            Relation::Apart => return true,
            Relation::Cut | Relation::Loose => {}
        }
        if self.flow.part_from_image(Field::DADDR, &before) {
            return true;
        }
        let moved = IntervalSet::single(present.value());
        self.flow.hold(Field::DADDR);
        self.flow.put(Field::DADDR, before);
        let stayed = self.restrict_to(Field::DADDR, &moved);
        self.flow.put(Field::DADDR, present);
        !stayed
    }

    /// The routing decision, as far as it says who gets the packet. `sent_to` is the destination as the packet came,
    /// `kind` what the question says of it.
    fn is_for_the_host(&mut self, sent_to: Origin, kind: Origin) -> bool {
        if self.flow.redirected() {
            self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::LOCAL);
            return true;
        }
        self.flow.put(Field::FIB_DADDR_TYPE, kind);
        if self.crossed.known {
            self.address_type(Field::DADDR, Field::FIB_DADDR_TYPE);
        } else if self.is_moved(sent_to) {
            // Of a host without addresses, whoever it translates to is another one.
            self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        }
        self.restrict_to(Field::FIB_DADDR_TYPE, &for_the_host())
    }

    /// The interface by which the packet leaves: by the destination where that is known, else the question's.
    fn output(&mut self, question: Origin) -> bool {
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let destination = self.flow.now().get(Field::DADDR);
        if self.crossed.known
            && let Some(found) = self.crossed.host.interface_towards(nfproto, destination)
        {
            let (low, high) = self.crossed.view.same_links(nfproto, destination);
            self.flow.restrict(Field::DADDR, Dim::Range(low, high));
            self.flow.put_value(Field::OIFNAME, found.name.0);
            return true;
        }
        self.flow.put(Field::OIFNAME, question);
        self.restrict_to(Field::OIFNAME, &IntervalSet::range(1, u128::MAX))
    }

    /// Whether the present value of a field is in a set; the region keeps the packets with the same answer.
    fn restrict_to(&mut self, field: Field, set: &IntervalSet) -> bool {
        let value = self.flow.now().get(field);
        let (low, high) = set.stretch(value);
        self.flow.restrict(field, Dim::Range(low, high));
        set.contains(value)
    }
}

fn single(value: u128) -> IntervalSet {
    IntervalSet::single(value)
}

struct Replay<'r> {
    crossed: &'r Crossed<'r>,
    atoms: &'r AtomTable,
    walk: Walk,
    last: Option<Decider>,
}

impl Replay<'_> {
    fn run(&mut self, way: Way, packet: &Point) -> Ending {
        match way {
            Way::Arriving => self.arrive(packet),
            Way::Leaving => self.leave(),
        }
    }

    fn arrive(&mut self, packet: &Point) -> Ending {
        self.walk.now.set(Field::OIFNAME, 0);
        for (address, kind) in [(Field::SADDR, Field::FIB_SADDR_TYPE), (Field::DADDR, Field::FIB_DADDR_TYPE)]
        {
            if let Some(found) = self.type_of(packet.get(address)) {
                self.walk.now.set(kind, found);
            }
        }
        let kind = self.walk.now.get(Field::FIB_DADDR_TYPE);
        if let Some(refused) = self.hooks(&[Hook::Ingress, Hook::Prerouting], Direction::Input) {
            return refused;
        }
        let destination = self.walk.now.get(Field::DADDR);
        let is_moved = self.walk.destination_chosen || destination != packet.get(Field::DADDR);
        let kind = match self.type_of(destination) {
            _ if self.walk.redirected => fib_type::LOCAL,
            Some(found) => found,
            None if !self.crossed.known && is_moved => fib_type::UNICAST,
            None => kind,
        };
        self.walk.now.set(Field::FIB_DADDR_TYPE, kind);
        if for_the_host().contains(kind) {
            return self.hooks(&[Hook::Input], Direction::Input).unwrap_or(Ending::Passes(Direction::Input));
        }
        if kind != fib_type::UNICAST {
            return Ending::Impossible;
        }
        if !self.crossed.passes_on(packet) {
            return Ending::NotForwarded;
        }
        if !self.output(packet) {
            return Ending::Impossible;
        }
        self.hooks(&[Hook::Forward, Hook::Postrouting, Hook::Egress], Direction::Forward)
            .unwrap_or(Ending::Passes(Direction::Forward))
    }

    fn leave(&mut self) -> Ending {
        let packet = self.walk.now.clone();
        self.walk.now.set(Field::IIFNAME, 0);
        self.walk.now.set(Field::FIB_SADDR_TYPE, fib_type::LOCAL);
        if let Some(found) = self.type_of(packet.get(Field::DADDR)) {
            self.walk.now.set(Field::FIB_DADDR_TYPE, found);
        }
        if !self.output(&packet) {
            return Ending::Impossible;
        }
        self.hooks(&[Hook::Output, Hook::Postrouting, Hook::Egress], Direction::Output)
            .unwrap_or(Ending::Passes(Direction::Output))
    }

    fn type_of(&self, address: u128) -> Option<u128> {
        let known = self.crossed.known.then_some(self.crossed.host)?;
        known.address_type(self.walk.now.get(Field::NFPROTO), address).map(|(kind, _)| kind)
    }

    fn output(&mut self, packet: &Point) -> bool {
        let host = self.crossed.host;
        let towards =
            host.interface_towards(self.walk.now.get(Field::NFPROTO), self.walk.now.get(Field::DADDR));
        let name = match towards.filter(|_| self.crossed.known) {
            Some(found) => found.name.0,
            None => packet.get(Field::OIFNAME),
        };
        self.walk.now.set(Field::OIFNAME, name);
        name != 0
    }

    fn hooks(&mut self, hooks: &[Hook], direction: Direction) -> Option<Ending> {
        for &hook in hooks {
            let host = self.crossed.host;
            let result = Interpreter::new(&host.ruleset, self.atoms).run_hook(hook, &mut self.walk, host);
            self.last = result.events.last().map(|event| Decider { hook, rule: event.rule }).or(self.last);
            let fate = match result.outcome {
                Outcome::Accepted => continue,
                Outcome::Dropped => Fate::Dropped,
                Outcome::Rejected(with) => Fate::Rejected(with),
            };
            return Some(Ending::Refused { direction, hook, fate });
        }
        None
    }
}
