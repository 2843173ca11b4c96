//! The packets of a connection after the first: the answer, and what follows it.

use crate::host::HostId;
use crate::journey::{Hop, Journey, JourneyStep, Network, Outcome, push};
use crate::path::{Via, hop_limit};
use crate::tables::{Found, Query};
use crate::travel::{Next, Passed, Travel};
use firewarden_engine::{Detail, Fate, Flow, Origin, OutOfBudget, Translation};
use firewarden_packet::{Dim, Field, IntervalSet, ct_state, ct_status, fib_type, tcp_flag};
use firewarden_ruleset::ir::Hook;

impl Network<'_> {
    /// Follows the answer to a delivered packet back: SYN-ACK, a datagram back, echo reply. Hosts whose routes are known
    /// send it where those lead, the others where the first packet came from. `None` for packets that have no answer (other
    /// ICMP messages). The hops are those that the answer met of the first packet's.
    ///
    /// # Errors
    /// [`OutOfBudget`], as [`firewarden_engine::Engine::run_hook`].
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
        let mut back =
            Back { network: self, flow: &mut flow, detail, budget, steps: Vec::new(), met: Vec::new() };
        let outcome = back.run(&journey.hops)?;
        let (steps, hops) = (back.steps, back.met);
        Ok(Some((flow, Journey { outcome, steps, hops })))
    }

    /// Follows a later packet of the connection in the original direction, after the answer: hosts that the answer didn't
    /// meet have seen one direction only, so that a TCP packet is invalid to them and any other one is still the first.
    ///
    /// # Errors
    /// [`OutOfBudget`], as [`firewarden_engine::Engine::run_hook`].
    pub fn continue_original<'a>(
        &self,
        sent: &mut Flow<'a>,
        journey: &Journey,
        back: &Journey,
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
            prepare_hop(&mut flow, hop, false);
            if !back.hops.contains(hop) && flow.now().get(Field::CT_STATE) == ct_state::ESTABLISHED {
                if tcp {
                    flow.set_translation(Translation::default());
                }
                flow.put_value(Field::CT_STATE, if tcp { ct_state::INVALID } else { ct_state::NEW });
                flow.put(Field::CT_STATUS, hop.status.clone());
            }
            let ends = Ends { input: hop.input.clone(), output: hop.output.clone() };
            let (to_here, local) = (hop.hooks.1 == Hook::Input, hop.hooks.0 == Hook::Output);
            let place = Place { host: hop.host, to_here, local };
            let refused = self.run_hooks(&mut flow, place, hooks, &ends, detail, budget, &mut steps)?;
            if let Some(refused) = refused {
                return Ok((flow, Journey { outcome: refused, steps, hops: Vec::new() }));
            }
        }
        Ok((flow, Journey { outcome: journey.outcome, steps, hops: Vec::new() }))
    }

    /// Runs a later packet through hooks of one host. `Some` where it is refused.
    #[expect(clippy::too_many_arguments, reason = "private; the callers share all of it")]
    fn run_hooks(
        &self,
        flow: &mut Flow<'_>,
        place: Place,
        hooks: &[Hook],
        ends: &Ends,
        detail: Detail,
        budget: &mut u64,
        steps: &mut Vec<JourneyStep>,
    ) -> Result<Option<Outcome>, OutOfBudget> {
        let (Some(engine), Some(host)) = (self.engines.get(place.host.0), self.known.get(place.host.0))
        else {
            return Ok(None);
        };
        let kind = |local: bool| if local { fib_type::LOCAL } else { fib_type::UNICAST };
        for &hook in hooks {
            let leaves = matches!(hook, Hook::Output | Hook::Forward | Hook::Postrouting | Hook::Egress);
            flow.put(Field::IIFNAME, if place.local { Origin::constant(0) } else { ends.input.clone() });
            flow.put(Field::OIFNAME, if leaves { ends.output.clone() } else { Origin::constant(0) });
            flow.put_value(Field::FIB_DADDR_TYPE, kind(place.to_here));
            flow.put_value(Field::FIB_SADDR_TYPE, kind(place.local));
            flow.put_value(Field::FIB_REVERSE_PATH, 1);
            let decision = engine.run_hook(hook, flow, host, detail, budget)?;
            push(steps, place.host, hook, &decision);
            if decision.fate != Fate::Accepted {
                return Ok(Some(Outcome::Refused { host: place.host, hook, fate: decision.fate }));
            }
        }
        Ok(None)
    }
}

/// Where a later packet is.
#[derive(Clone, Copy)]
struct Place {
    host: HostId,
    /// It is for the host.
    to_here: bool,
    /// The host made it.
    local: bool,
}

/// The interfaces of a later packet.
struct Ends {
    input: Origin,
    output: Origin,
}

/// The answer on its way.
struct Back<'t, 'n, 'a> {
    network: &'t Network<'n>,
    flow: &'t mut Flow<'a>,
    detail: Detail,
    budget: &'t mut u64,
    steps: Vec<JourneyStep>,
    met: Vec<Hop>,
}

impl Back<'_, '_, '_> {
    fn run(&mut self, hops: &[Hop]) -> Result<Outcome, OutOfBudget> {
        let Some(mut at) = hops.len().checked_sub(1) else { return Ok(Outcome::Left) };
        let mut input = None;
        let mut passed = 0;
        while let Some(hop) = hops.get(at) {
            prepare_hop(self.flow, hop, true);
            let came_by = input.take().unwrap_or_else(|| hop.output.clone());
            let mut next = match self.cross(hop, came_by)? {
                Passed::Ended(outcome) => return Ok(outcome),
                Passed::On(next) => next,
            };
            self.met.push(hop.clone());
            let mut from = hop.host;
            // Past hosts that haven't seen the first packet, to the next one that has.
            loop {
                passed += 1;
                if passed > hop_limit(self.network.hosts.len()) {
                    return Ok(Outcome::Loop(from));
                }
                let earlier = hops.get(..at).unwrap_or_default();
                let found = match next {
                    Next::Planned => earlier.len().checked_sub(1).map(|before| (before, None)),
                    Next::Link => self.owner(earlier).map(|found| (found, None)),
                    Next::Router(router, output) => match self.network.router(from, output, router) {
                        None => earlier.len().checked_sub(1).map(|before| (before, None)),
                        Some(via) => match earlier.iter().rposition(|hop| hop.host == via.host) {
                            Some(found) => Some((found, via.input.map(|name| Origin::constant(name.0)))),
                            None => {
                                from = via.host;
                                match self.stranger(via)? {
                                    Passed::Ended(Outcome::Delivered(host)) => {
                                        return Ok(Outcome::Astray(host));
                                    }
                                    Passed::Ended(outcome) => return Ok(outcome),
                                    Passed::On(found) => next = found,
                                }
                                continue;
                            }
                        },
                    },
                };
                let whole = self.met.len() == hops.len() - earlier.len();
                match found {
                    // At the end of the way, whoever sent the first packet must know the answer as one to it.
                    None => {
                        let first = hops.first().map(|first| &first.entry);
                        let known = earlier.is_empty() && whole && from == hop.host
                            || first.is_none_or(|(source, destination)| {
                                self.is_at(&destination.address, &source.address)
                            });
                        return Ok(if known { Outcome::Left } else { Outcome::Astray(from) });
                    }
                    Some((before, by)) => {
                        let skipped = before + 1 != at || !whole || from != hop.host;
                        let expected = hops.get(before).map(|hop| &hop.exit);
                        let fits = !skipped
                            || expected.is_some_and(|(source, destination)| {
                                self.is_at(&destination.address, &source.address)
                            });
                        if !fits {
                            return Ok(Outcome::Astray(from));
                        }
                        at = before;
                        input = by;
                        break;
                    }
                }
            }
        }
        Ok(Outcome::Left)
    }

    /// True where the answer goes from one address to another, for the whole region.
    fn is_at(&mut self, from: &Origin, to: &Origin) -> bool {
        let same = |flow: &mut Flow<'_>, field: Field, wanted: &Origin| {
            let now = flow.take(field);
            if now != *wanted {
                // Different origins with equal values are equal for this packet only.
                flow.hold(field);
                flow.put(field, wanted.clone());
                flow.hold(field);
                flow.put(field, now.clone());
            }
            now.value() == wanted.value()
        };
        same(self.flow, Field::SADDR, from) && same(self.flow, Field::DADDR, to)
    }

    /// Which of the hosts before has the answer's destination address.
    fn owner(&mut self, earlier: &[Hop]) -> Option<usize> {
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let address = self.flow.now().get(Field::DADDR);
        for (index, hop) in earlier.iter().enumerate().rev() {
            let Some(known) = self.network.known.get(hop.host.0) else { continue };
            let (low, high) = known.own(nfproto).stretch(address);
            self.flow.restrict(Field::DADDR, Dim::Range(low, high));
            if known.own(nfproto).contains(address) {
                return Some(index);
            }
        }
        None
    }

    /// Through a host that has seen the first packet.
    fn cross(&mut self, hop: &Hop, came_by: Origin) -> Result<Passed, OutOfBudget> {
        let id = hop.host;
        let made_here = hop.hooks == (Hook::Prerouting, Hook::Input);
        let to_here = hop.hooks.0 == Hook::Output;
        let place = Place { host: id, to_here, local: made_here };
        let mut ends = Ends { input: came_by, output: hop.input.clone() };
        if made_here {
            match self.way(hop, true) {
                Ok((output, _)) => ends.output = output,
                Err(outcome) => return Ok(Passed::Ended(outcome)),
            }
            if let Some(refused) = self.hooks(place, &[Hook::Output], &ends)? {
                return Ok(Passed::Ended(refused));
            }
        } else {
            if let Some(refused) = self.hooks(place, &[Hook::Ingress, Hook::Prerouting], &ends)? {
                return Ok(Passed::Ended(refused));
            }
            if self.network.refuses_source(id, self.flow) {
                return Ok(Passed::Ended(Outcome::ReversePath(id)));
            }
        }
        if to_here {
            let refused = self.hooks(place, &[Hook::Input], &ends)?;
            if refused.is_none() {
                self.met.push(hop.clone());
            }
            return Ok(Passed::Ended(refused.unwrap_or(Outcome::Delivered(id))));
        }
        // After the output chains it is routed anew, in case that they gave it another mark.
        let next = match self.way(hop, made_here) {
            Ok((output, next)) => {
                ends.output = output;
                next
            }
            Err(outcome) => return Ok(Passed::Ended(outcome)),
        };
        let forward: &[Hook] = if made_here { &[] } else { &[Hook::Forward] };
        for hooks in [forward, &[Hook::Postrouting, Hook::Egress]] {
            if let Some(refused) = self.hooks(place, hooks, &ends)? {
                return Ok(Passed::Ended(refused));
            }
        }
        Ok(Passed::On(next))
    }

    /// The interface by which the answer leaves and where it goes; without known routes, where the first packet came from.
    fn way(&mut self, hop: &Hop, local: bool) -> Result<(Origin, Next), Outcome> {
        let query = Query { from: Field::SADDR, to: Field::DADDR, local, marked: true, answer: true };
        match self.network.way(hop.host, self.flow, query) {
            None => Ok((hop.input.clone(), Next::Planned)),
            Some(Found::Out(way)) => {
                let (output, next) = self.network.leaving(hop.host, way);
                Ok((output.map_or_else(|| hop.input.clone(), |name| Origin::constant(name.0)), next))
            }
            Some(Found::Here) => Err(Outcome::Astray(hop.host)),
            Some(Found::Nowhere) => Err(Outcome::NoRoute(hop.host)),
        }
    }

    fn hooks(&mut self, place: Place, hooks: &[Hook], ends: &Ends) -> Result<Option<Outcome>, OutOfBudget> {
        self.network.run_hooks(self.flow, place, hooks, ends, self.detail, self.budget, &mut self.steps)
    }

    /// A host that hasn't seen the first packet: to it a datagram begins a connection, anything else belongs to none.
    fn stranger(&mut self, via: Via) -> Result<Passed, OutOfBudget> {
        self.flow.hold(Field::L4PROTO);
        let datagram = matches!(self.flow.now().get(Field::L4PROTO), 17 | 136);
        let state = Origin::constant(if datagram { ct_state::NEW } else { ct_state::INVALID });
        let mut travel = Travel {
            network: self.network,
            flow: self.flow,
            detail: self.detail,
            budget: self.budget,
            steps: std::mem::take(&mut self.steps),
            hops: Vec::new(),
        };
        travel.fresh(&state);
        let passed = travel.pass(via);
        self.steps = travel.steps;
        passed
    }
}

/// Puts a later packet of a connection before a host that has seen the first one.
fn prepare_hop(flow: &mut Flow<'_>, hop: &Hop, reply: bool) {
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
        flow.set_bits(Field::CT_STATUS, ct_status::SEEN_REPLY | ct_status::ASSURED | ct_status::CONFIRMED);
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
