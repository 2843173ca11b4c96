//! Following packets from host to host.

use crate::host::{Host, HostId, Interface, only};
use crate::path::{Path, Via};
use crate::view::HostView;
use firewarden_engine::{Decision, Detail, End, Engine, Fate, Flow, Origin, OutOfBudget, Step, Translation};
use firewarden_packet::{
    AtomTable, Dim, Field, InterfaceName, IntervalSet, Purity, ct_state, ct_status, fib_type, tcp_flag,
};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::ir::Hook;

/// Declared hosts with their rulesets, ready to be asked.
#[derive(Debug)]
pub struct Network<'n> {
    hosts: &'n [Host],
    known: Vec<HostView<'n>>,
    engines: Vec<Engine<'n>>,
    unknowns: Vec<Unknowns>,
}

/// For one host, the dynamic fields that stand for what the network decides and nobody declared.
#[derive(Clone, Copy, Debug)]
struct Unknowns {
    input: Field,
    output: Field,
    ether_source: Field,
    ether_destination: Field,
    packet_type: Field,
}

/// Where a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered to a declared host.
    Delivered(HostId),
    /// Passed on to an address that no declared host has.
    Left,
    /// Dropped or rejected by a host on a hook.
    Refused {
        /// The host.
        host: HostId,
        /// The hook.
        hook: Hook,
        /// Dropped or rejected; never accepted.
        fate: Fate,
    },
    /// A host that doesn't forward got a packet for somebody else.
    NotForwarded(HostId),
}

/// A rule on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JourneyStep {
    /// The host.
    pub host: HostId,
    /// The hook.
    pub hook: Hook,
    /// The rule and what it did.
    pub step: Step,
}

/// What a host did to the first packet of a connection: all that is needed to follow the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The host.
    pub host: HostId,
    /// The first hook the packet met there, and the last.
    pub hooks: (Hook, Hook),
    /// Source and destination as the packet came.
    entry: (End, End),
    /// As the forward, input or output chains saw them.
    middle: (End, End),
    /// As the packet left.
    exit: (End, End),
    state: Origin,
    connection_mark: Origin,
    status: Origin,
    input: Origin,
    output: Origin,
}

/// The way of one packet, with everything that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// Where it ended.
    pub outcome: Outcome,
    /// The rules on the way.
    pub steps: Vec<JourneyStep>,
    /// The hosts on the way.
    pub hops: Vec<Hop>,
}

impl<'n> Network<'n> {
    /// Prepares the hosts. For each, the fields that stand for undeclared interfaces and link addresses come from
    /// `atoms`; call it once for a table.
    pub fn new(hosts: &'n [Host], atoms: &mut AtomTable) -> Network<'n> {
        let unknowns = hosts
            .iter()
            .map(|host| {
                let mut choice = |text: &str, kind: &str, max: u128| {
                    let low = u128::from(kind == "interface");
                    atoms.choice(&host.name, kind, text, Purity::Pure, (low, max))
                };
                Unknowns {
                    input: choice("iifname", "interface", u128::MAX),
                    output: choice("oifname", "interface", u128::MAX),
                    ether_source: choice("ether saddr", "link address", Field::ETHER_SADDR.max_value()),
                    ether_destination: choice("ether daddr", "link address", Field::ETHER_DADDR.max_value()),
                    packet_type: choice("meta pkttype", "link", 3),
                }
            })
            .collect();
        let known = hosts.iter().map(HostView::new).collect();
        Network {
            hosts,
            known,
            engines: hosts.iter().map(|host| Engine::new(&host.ruleset)).collect(),
            unknowns,
        }
    }

    /// The hosts.
    pub fn hosts(&self) -> &'n [Host] {
        self.hosts
    }

    /// The engine of a host.
    pub fn engine(&self, id: HostId) -> Option<&Engine<'n>> {
        self.engines.get(id.0)
    }

    /// The dynamic field that stands for the interface a packet comes in by at a host, where the path doesn't say.
    pub fn unknown_input(&self, id: HostId) -> Option<Field> {
        self.unknowns.get(id.0).map(|unknowns| unknowns.input)
    }

    /// The dynamic field that stands for the interface a packet leaves by at a host, where the path doesn't say.
    pub fn unknown_output(&self, id: HostId) -> Option<Field> {
        self.unknowns.get(id.0).map(|unknowns| unknowns.output)
    }

    /// Follows the first packet of a connection (or one that belongs to none) along a path to whoever has its
    /// destination address in the end.
    ///
    /// # Errors
    /// [`OutOfBudget`], as [`Engine::run_hook`].
    pub fn send(
        &self,
        flow: &mut Flow<'_>,
        path: &Path,
        detail: Detail,
        budget: &mut u64,
    ) -> Result<Journey, OutOfBudget> {
        let mut travel = Travel { network: self, flow, detail, budget, steps: Vec::new(), hops: Vec::new() };
        let outcome = travel.run(path)?;
        Ok(Journey { outcome, steps: travel.steps, hops: travel.hops })
    }

    /// Follows the answer to a delivered packet back along the hosts it passed: SYN-ACK, a datagram back, echo reply.
    /// `None` for packets that have no answer (other ICMP messages).
    ///
    /// # Errors
    /// [`OutOfBudget`], as [`Engine::run_hook`].
    pub fn answer<'a>(
        &self,
        sent: &mut Flow<'a>,
        journey: &Journey,
        detail: Detail,
        budget: &mut u64,
    ) -> Result<Option<(Flow<'a>, Journey)>, OutOfBudget> {
        let Some(answer) = answer_fields(sent) else { return Ok(None) };
        let mut flow = sent.sibling();
        for (field, value) in answer {
            flow.put_value(field, value);
        }
        let mut steps = Vec::new();
        for hop in journey.hops.iter().rev() {
            let hooks: &[Hook] = match hop.hooks {
                (Hook::Prerouting, Hook::Input) => &[Hook::Output, Hook::Postrouting, Hook::Egress],
                (Hook::Output, _) => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
                _ => &[Hook::Ingress, Hook::Prerouting, Hook::Forward, Hook::Postrouting, Hook::Egress],
            };
            self.prepare_hop(&mut flow, hop, true);
            if let Some(refused) = self.run_hooks(&mut flow, hop, hooks, true, detail, budget, &mut steps)? {
                return Ok(Some((flow, Journey { outcome: refused, steps, hops: Vec::new() })));
            }
        }
        let outcome = match journey.hops.first() {
            Some(hop) if hop.hooks.0 == Hook::Output => Outcome::Delivered(hop.host),
            _ => Outcome::Left,
        };
        Ok(Some((flow, Journey { outcome, steps, hops: Vec::new() })))
    }

    /// Follows a later packet of the connection in the original direction.
    ///
    /// # Errors
    /// [`OutOfBudget`], as [`Engine::run_hook`].
    pub fn continue_original<'a>(
        &self,
        sent: &mut Flow<'a>,
        journey: &Journey,
        detail: Detail,
        budget: &mut u64,
    ) -> Result<(Flow<'a>, Journey), OutOfBudget> {
        let tcp = is_tcp(sent);
        let mut flow = sent.sibling();
        if tcp {
            flow.put_value(Field::TCP_FLAGS, tcp_flag::ACK);
        }
        let mut steps = Vec::new();
        for hop in &journey.hops {
            let hooks: &[Hook] = match hop.hooks {
                (Hook::Prerouting, Hook::Input) => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
                (Hook::Output, _) => &[Hook::Output, Hook::Postrouting, Hook::Egress],
                _ => &[Hook::Ingress, Hook::Prerouting, Hook::Forward, Hook::Postrouting, Hook::Egress],
            };
            self.prepare_hop(&mut flow, hop, false);
            if let Some(refused) = self.run_hooks(&mut flow, hop, hooks, false, detail, budget, &mut steps)? {
                return Ok((flow, Journey { outcome: refused, steps, hops: Vec::new() }));
            }
        }
        Ok((flow, Journey { outcome: journey.outcome, steps, hops: Vec::new() }))
    }

    /// Puts a later packet of a connection before a host that has seen the first one.
    fn prepare_hop(&self, flow: &mut Flow<'_>, hop: &Hop, reply: bool) {
        let (source, destination, translation) = if reply {
            (
                hop.exit.1.clone(),
                hop.exit.0.clone(),
                // The reply's destination is put back first, its source last.
                Translation { destination: Some(hop.middle.0.clone()), source: Some(hop.entry.1.clone()) },
            )
        } else {
            (
                hop.entry.0.clone(),
                hop.entry.1.clone(),
                Translation { destination: Some(hop.middle.1.clone()), source: Some(hop.exit.0.clone()) },
            )
        };
        flow.put(Field::SADDR, source.address);
        flow.put(Field::SPORT, source.port);
        flow.put(Field::DADDR, destination.address);
        flow.put(Field::DPORT, destination.port);
        let tracked = matches!(hop.state.value(), ct_state::NEW | ct_state::RELATED | ct_state::ESTABLISHED);
        if tracked {
            flow.set_translation(translation);
            flow.put_value(Field::CT_STATE, ct_state::ESTABLISHED);
            flow.put(Field::CT_MARK, hop.connection_mark.clone());
            flow.put(Field::CT_STATUS, hop.status.clone());
            flow.set_bits(
                Field::CT_STATUS,
                ct_status::SEEN_REPLY | ct_status::ASSURED | ct_status::CONFIRMED,
            );
            for (field, origin) in [
                (Field::CT_ORIGINAL_SADDR, &hop.entry.0.address),
                (Field::CT_ORIGINAL_SPORT, &hop.entry.0.port),
                (Field::CT_ORIGINAL_DADDR, &hop.entry.1.address),
                (Field::CT_ORIGINAL_DPORT, &hop.entry.1.port),
            ] {
                flow.put(field, origin.clone());
            }
        } else {
            flow.set_translation(Translation::default());
            // Conntrack hasn't seen the first packet: a datagram back starts a connection of its own, anything else
            // that is no first packet is invalid.
            flow.hold(Field::L4PROTO);
            let datagram = matches!(flow.now().get(Field::L4PROTO), 17 | 136);
            flow.put_value(Field::CT_STATE, if datagram { ct_state::NEW } else { ct_state::INVALID });
        }
        flow.put_value(Field::CT_DIRECTION, u128::from(reply));
        flow.put_value(Field::MARK, 0);
    }

    /// Runs a later packet through the hooks of one host. `Some` where it is refused.
    #[expect(clippy::too_many_arguments, reason = "private; the callers share all of it")]
    fn run_hooks(
        &self,
        flow: &mut Flow<'_>,
        hop: &Hop,
        hooks: &[Hook],
        reply: bool,
        detail: Detail,
        budget: &mut u64,
        steps: &mut Vec<JourneyStep>,
    ) -> Result<Option<Outcome>, OutOfBudget> {
        let (Some(engine), Some(host)) = (self.engines.get(hop.host.0), self.known.get(hop.host.0)) else {
            return Ok(None);
        };
        let (input, output) = if reply { (&hop.output, &hop.input) } else { (&hop.input, &hop.output) };
        let local_out = hooks.first() == Some(&Hook::Output);
        for &hook in hooks {
            let comes_in = !local_out;
            let leaves = matches!(hook, Hook::Output | Hook::Forward | Hook::Postrouting | Hook::Egress);
            flow.put(Field::IIFNAME, if comes_in { input.clone() } else { Origin::constant(0) });
            flow.put(Field::OIFNAME, if leaves { output.clone() } else { Origin::constant(0) });
            let to_here = hooks.last() == Some(&Hook::Input);
            flow.put_value(Field::FIB_DADDR_TYPE, if to_here { fib_type::LOCAL } else { fib_type::UNICAST });
            flow.put_value(
                Field::FIB_SADDR_TYPE,
                if local_out { fib_type::LOCAL } else { fib_type::UNICAST },
            );
            flow.put_value(Field::FIB_REVERSE_PATH, 1);
            let decision = engine.run_hook(hook, flow, host, detail, budget)?;
            push(steps, hop.host, hook, &decision);
            if decision.fate != Fate::Accepted {
                return Ok(Some(Outcome::Refused { host: hop.host, hook, fate: decision.fate }));
            }
        }
        Ok(None)
    }
}

fn push(steps: &mut Vec<JourneyStep>, host: HostId, hook: Hook, decision: &Decision) {
    steps.extend(decision.steps.iter().map(|&step| JourneyStep { host, hook, step }));
}

fn is_tcp(flow: &mut Flow<'_>) -> bool {
    let tcp = IntervalSet::single(6);
    let protocol = flow.now().get(Field::L4PROTO);
    let (low, high) = tcp.stretch(protocol);
    flow.restrict(Field::L4PROTO, Dim::Range(low, high));
    protocol == 6
}

/// The header fields in which an answer differs from what it answers, beside the swapped ends.
fn answer_fields(flow: &mut Flow<'_>) -> Option<Vec<(Field, u128)>> {
    if is_tcp(flow) {
        return Some(vec![(Field::TCP_FLAGS, tcp_flag::SYN | tcp_flag::ACK)]);
    }
    let protocol = flow.now().get(Field::L4PROTO);
    let icmp: IntervalSet = [(1, 1), (58, 58)].into_iter().collect();
    let (low, high) = icmp.stretch(protocol);
    flow.restrict(Field::L4PROTO, Dim::Range(low, high));
    if !icmp.contains(protocol) {
        return Some(Vec::new());
    }
    let (request, reply) = if protocol == 1 { (8, 0) } else { (128, 129) };
    let kind = flow.now().get(Field::ICMP_TYPE);
    let (low, high) = IntervalSet::single(request).stretch(kind);
    flow.restrict(Field::ICMP_TYPE, Dim::Range(low, high));
    (kind == request).then(|| vec![(Field::ICMP_TYPE, reply), (Field::ICMP_CODE, 0)])
}

struct Travel<'t, 'n, 'a> {
    network: &'t Network<'n>,
    flow: &'t mut Flow<'a>,
    detail: Detail,
    budget: &'t mut u64,
    steps: Vec<JourneyStep>,
    hops: Vec<Hop>,
}

impl Travel<'_, '_, '_> {
    fn run(&mut self, path: &Path) -> Result<Outcome, OutOfBudget> {
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let state = self.flow.take(Field::CT_STATE);
        let to_itself = path
            .source
            .and_then(|source| self.network.known.get(source.0))
            .is_some_and(|host| host.own(nfproto).contains(self.flow.now().get(Field::DADDR)));
        if let Some(source) = path.source {
            let Some(known) = self.network.known.get(source.0) else { return Ok(Outcome::Left) };
            self.restrict_destination(known.own(nfproto));
            let output = if to_itself { InterfaceName::new("lo").ok() } else { self.output_towards(source) };
            if let Some(refused) = self.leave(source, output)? {
                return Ok(refused);
            }
        }
        for via in &path.via {
            self.fresh(&state);
            if let Some(end) = self.pass(*via)? {
                return Ok(end);
            }
        }
        self.fresh(&state);
        self.arrive(&state, path.input, to_itself)
    }

    /// Each host starts anew: its own marks, its own idea of the connection.
    fn fresh(&mut self, state: &Origin) {
        self.flow.put(Field::CT_STATE, state.clone());
        for field in [Field::MARK, Field::CT_MARK, Field::CT_STATUS, Field::CT_DIRECTION] {
            self.flow.put_value(field, 0);
        }
        self.flow.start_host();
    }

    fn restrict_destination(&mut self, set: &IntervalSet) -> bool {
        let value = self.flow.now().get(Field::DADDR);
        let (low, high) = set.stretch(value);
        self.flow.restrict(Field::DADDR, Dim::Range(low, high));
        set.contains(value)
    }

    fn hook(&mut self, id: HostId, hook: Hook) -> Result<Option<Outcome>, OutOfBudget> {
        let (Some(engine), Some(host)) = (self.network.engines.get(id.0), self.network.known.get(id.0))
        else {
            return Ok(None);
        };
        let decision = engine.run_hook(hook, self.flow, host, self.detail, self.budget)?;
        push(&mut self.steps, id, hook, &decision);
        Ok((decision.fate != Fate::Accepted).then_some(Outcome::Refused {
            host: id,
            hook,
            fate: decision.fate,
        }))
    }

    fn ends(&self) -> (End, End) {
        (self.flow.end(Field::SADDR, Field::SPORT), self.flow.end(Field::DADDR, Field::DPORT))
    }

    /// What the link tells of a packet at a host, where nobody declared it.
    fn link(&mut self, id: HostId, interface: Option<InterfaceName>) {
        let Some(unknowns) = self.network.unknowns.get(id.0).copied() else { return };
        match interface {
            Some(name) => self.flow.put_value(Field::IIFNAME, name.0),
            None => self.flow.put_choice(Field::IIFNAME, unknowns.input),
        }
        self.flow.put_choice(Field::ETHER_SADDR, unknowns.ether_source);
        self.flow.put_choice(Field::ETHER_DADDR, unknowns.ether_destination);
        self.flow.put_choice(Field::PKTTYPE, unknowns.packet_type);
        self.flow.put_value(Field::OIFNAME, 0);
        self.flow.put_value(Field::FIB_REVERSE_PATH, 1);
        self.flow.put_value(Field::FIB_SADDR_TYPE, fib_type::UNICAST);
        self.address_types(id);
    }

    /// The interface by which a host sends the packet; the region keeps the destinations for which it is the same.
    fn output_towards(&mut self, id: HostId) -> Option<InterfaceName> {
        let (host, known) = (self.network.hosts.get(id.0)?, self.network.known.get(id.0)?);
        let (nfproto, address) = (self.flow.now().get(Field::NFPROTO), self.flow.now().get(Field::DADDR));
        let (low, high) = known.same_links(nfproto, address);
        self.flow.restrict(Field::DADDR, Dim::Range(low, high));
        host.interface_towards(nfproto, address).map(|found| found.name)
    }

    fn address_types(&mut self, id: HostId) {
        let Some(host) = self.network.known.get(id.0) else { return };
        let nfproto = self.flow.now().get(Field::NFPROTO);
        for (address, kind) in [(Field::SADDR, Field::FIB_SADDR_TYPE), (Field::DADDR, Field::FIB_DADDR_TYPE)]
        {
            if let Some((found, (low, high))) = host.address_type(nfproto, self.flow.now().get(address)) {
                self.flow.restrict(address, Dim::Range(low, high));
                self.flow.put_value(kind, found);
            }
        }
    }

    fn output(&mut self, id: HostId, interface: Option<InterfaceName>) {
        let Some(unknowns) = self.network.unknowns.get(id.0).copied() else { return };
        match interface {
            Some(name) => self.flow.put_value(Field::OIFNAME, name.0),
            None => self.flow.put_choice(Field::OIFNAME, unknowns.output),
        }
    }

    /// Made on a host: output and postrouting.
    fn leave(&mut self, id: HostId, output: Option<InterfaceName>) -> Result<Option<Outcome>, OutOfBudget> {
        let state = self.flow.take(Field::CT_STATE);
        self.fresh(&state);
        self.flow.put_value(Field::IIFNAME, 0);
        self.output(id, output);
        self.flow.put_value(Field::FIB_SADDR_TYPE, fib_type::LOCAL);
        self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        self.address_types(id);
        let entry = self.ends();
        if let Some(refused) = self.hook(id, Hook::Output)? {
            return Ok(Some(refused));
        }
        let middle = self.ends();
        for hook in [Hook::Postrouting, Hook::Egress] {
            if let Some(refused) = self.hook(id, hook)? {
                return Ok(Some(refused));
            }
        }
        self.record(id, (Hook::Output, Hook::Postrouting), entry, middle);
        Ok(None)
    }

    /// Through a host that passes packets on, or to it where the packet turns out to be for it.
    fn pass(&mut self, via: Via) -> Result<Option<Outcome>, OutOfBudget> {
        let id = via.host;
        self.link(id, via.input);
        let entry = self.ends();
        for hook in [Hook::Ingress, Hook::Prerouting] {
            if let Some(refused) = self.hook(id, hook)? {
                return Ok(Some(refused));
            }
        }
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let (Some(host), Some(known)) = (self.network.hosts.get(id.0), self.network.known.get(id.0)) else {
            return Ok(None);
        };
        if self.restrict_destination(known.own(nfproto)) || self.flow.redirected() {
            return self.input(id, entry).map(Some);
        }
        if !host.forwards {
            return Ok(Some(Outcome::NotForwarded(id)));
        }
        let output = self.output_towards(id).or(via.output);
        self.output(id, output);
        self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        let middle = self.ends();
        for hook in [Hook::Forward, Hook::Postrouting, Hook::Egress] {
            if let Some(refused) = self.hook(id, hook)? {
                return Ok(Some(refused));
            }
        }
        self.record(id, (Hook::Prerouting, Hook::Postrouting), entry, middle);
        Ok(None)
    }

    /// At whoever has the destination address.
    fn arrive(
        &mut self,
        state: &Origin,
        input: Option<InterfaceName>,
        to_itself: bool,
    ) -> Result<Outcome, OutOfBudget> {
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let network = self.network;
        let destination = self.flow.now().get(Field::DADDR);
        let Some(owner) = network.known.iter().position(|known| known.own(nfproto).contains(destination))
        else {
            for known in &network.known {
                self.restrict_destination(known.own(nfproto));
            }
            return Ok(Outcome::Left);
        };
        // The first host that has the address gets it, for the whole region.
        for known in network.known.iter().take(owner + 1) {
            self.restrict_destination(known.own(nfproto));
        }
        let id = HostId(owner);
        let Some(host) = network.hosts.get(owner) else { return Ok(Outcome::Left) };
        if host.interfaces.len() > 1 {
            // Each address may be on another interface.
            self.flow.hold(Field::DADDR);
        }
        let input = if to_itself {
            InterfaceName::new("lo").ok()
        } else {
            // A host gets a packet on the link where it has the address, unless the question says otherwise.
            let value = self.flow.now().get(Field::DADDR);
            let on = |interface: &&Interface| interface.addresses.iter().any(|own| own.value == value);
            input.or_else(|| {
                host.interfaces.iter().find(on).or(only(&host.interfaces)).map(|found| found.name)
            })
        };
        if let Some(end) = self.pass(Via { host: id, input, output: None })? {
            return Ok(end);
        }
        // Translated to another host and passed on; a translation back and forth ends here.
        if self.hops.len() > self.network.hosts.len() {
            return Ok(Outcome::NotForwarded(id));
        }
        self.fresh(state);
        self.arrive(state, None, false)
    }

    fn input(&mut self, id: HostId, entry: (End, End)) -> Result<Outcome, OutOfBudget> {
        self.flow.put_value(Field::OIFNAME, 0);
        self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::LOCAL);
        let middle = self.ends();
        if let Some(refused) = self.hook(id, Hook::Input)? {
            return Ok(refused);
        }
        self.record(id, (Hook::Prerouting, Hook::Input), entry, middle);
        Ok(Outcome::Delivered(id))
    }

    fn record(&mut self, host: HostId, hooks: (Hook, Hook), entry: (End, End), middle: (End, End)) {
        let exit = self.ends();
        self.hops.push(Hop {
            host,
            hooks,
            entry,
            middle,
            exit,
            state: self.flow.take(Field::CT_STATE),
            connection_mark: self.flow.take(Field::CT_MARK),
            status: self.flow.take(Field::CT_STATUS),
            input: self.flow.take(Field::IIFNAME),
            output: self.flow.take(Field::OIFNAME),
        });
    }
}
