//! The first packet of a connection, from host to host.

use crate::host::{HostId, Interface, ReversePath, only};
use crate::journey::{Hop, JourneyStep, Network, Outcome, push};
use crate::path::{Path, Via, hop_limit};
use crate::routing::NextHop;
use crate::tables::{Found, Query};
use firewarden_engine::{Detail, End, Fate, Flow, Origin, OutOfBudget};
use firewarden_packet::{Dim, Field, InterfaceName, IntervalSet, fib_type};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::ir::Hook;

/// Where a packet goes from a host that lets it leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Where the path says: nothing is known of the host's routes.
    Planned,
    /// To the router with this family and address, over the interface.
    Router((u128, u128), Option<InterfaceName>),
    /// To whoever has its destination address, on a link of the host.
    Link,
}

/// What became of a packet at a host.
pub(crate) enum Passed {
    Ended(Outcome),
    On(Next),
}

pub(crate) struct Travel<'t, 'n, 'a> {
    pub network: &'t Network<'n>,
    pub flow: &'t mut Flow<'a>,
    pub detail: Detail,
    pub budget: &'t mut u64,
    pub steps: Vec<JourneyStep>,
    pub hops: Vec<Hop>,
}

impl Travel<'_, '_, '_> {
    /// From the path's beginning to whoever gets the packet. Hosts whose routes are known follow them, the others the
    /// path.
    pub fn run(&mut self, path: &Path) -> Result<Outcome, OutOfBudget> {
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let state = self.flow.take(Field::CT_STATE);
        let to_itself = path
            .source
            .and_then(|source| self.network.known.get(source.0))
            .is_some_and(|host| host.own(nfproto).contains(self.flow.now().get(Field::DADDR)));
        let mut next = Next::Planned;
        let mut at = path.source;
        if let Some(source) = path.source {
            let Some(known) = self.network.known.get(source.0) else { return Ok(Outcome::Left) };
            self.restrict_destination(known.own(nfproto));
            match self.leave(source, to_itself)? {
                Passed::Ended(outcome) => return Ok(outcome),
                Passed::On(found) => next = found,
            }
        }
        let mut planned: &[Via] = &path.via;
        let mut input = path.input;
        let mut to_itself = to_itself;
        loop {
            if let Some(last) = at.filter(|_| self.hops.len() > hop_limit(self.network.hosts.len())) {
                return Ok(Outcome::Loop(last));
            }
            self.fresh(&state);
            let via = match next {
                Next::Router(router, output) if !path.declared => {
                    match at.and_then(|at| self.network.router(at, output, router)) {
                        Some(via) => {
                            let known = planned.iter().position(|planned| planned.host == via.host);
                            planned = planned.get(known.map_or(0, |known| known + 1)..).unwrap_or_default();
                            Some(via)
                        }
                        None => step(&mut planned),
                    }
                }
                Next::Link if !path.declared => None,
                Next::Planned | Next::Router(..) | Next::Link => step(&mut planned),
            };
            let via = match via {
                Some(via) => via,
                None => {
                    planned = &[];
                    let Some(via) = self.arrival(input, to_itself) else { return Ok(Outcome::Left) };
                    (input, to_itself) = (None, false);
                    via
                }
            };
            at = Some(via.host);
            match self.pass(via)? {
                Passed::Ended(outcome) => return Ok(outcome),
                Passed::On(found) => next = found,
            }
        }
    }

    /// Each host starts anew: its own marks, its own idea of the connection.
    pub fn fresh(&mut self, state: &Origin) {
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

    /// What the host's routes say of the packet; without known routes its links tell the interface. The region keeps the
    /// packets of which the same is true.
    fn way(&mut self, id: HostId, local: bool) -> Result<(Option<InterfaceName>, Next), Found> {
        let query = Query { from: Field::SADDR, to: Field::DADDR, local, marked: true, answer: false };
        match self.network.way(id, self.flow, query) {
            None => Ok((self.output_towards(id), Next::Planned)),
            Some(Found::Out(way)) => Ok(self.network.leaving(id, way)),
            Some(other) => Err(other),
        }
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
    fn leave(&mut self, id: HostId, to_itself: bool) -> Result<Passed, OutOfBudget> {
        let state = self.flow.take(Field::CT_STATE);
        self.fresh(&state);
        self.flow.put_value(Field::IIFNAME, 0);
        let lo = InterfaceName::new("lo").ok();
        let way = if to_itself { Ok((lo, Next::Planned)) } else { self.way(id, true) };
        let Ok((output, _)) = way else { return Ok(Passed::Ended(Outcome::NoRoute(id))) };
        self.output(id, output);
        self.flow.put_value(Field::FIB_SADDR_TYPE, fib_type::LOCAL);
        self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        self.address_types(id);
        let entry = self.ends();
        if let Some(refused) = self.hook(id, Hook::Output)? {
            return Ok(Passed::Ended(refused));
        }
        let middle = self.ends();
        let mut next = Next::Planned;
        if self.network.has_routes(id) && !to_itself {
            // A packet that the output chains gave another destination or mark is routed anew; for any other one the
            // answer is the same.
            match self.way(id, true) {
                Ok((output, found)) => {
                    self.output(id, output);
                    next = found;
                }
                // Translated to the host itself.
                Err(Found::Here) => {
                    self.output(id, lo);
                    next = Next::Link;
                }
                Err(_) => return Ok(Passed::Ended(Outcome::NoRoute(id))),
            }
        }
        for hook in [Hook::Postrouting, Hook::Egress] {
            if let Some(refused) = self.hook(id, hook)? {
                return Ok(Passed::Ended(refused));
            }
        }
        self.record(id, (Hook::Output, Hook::Postrouting), entry, middle);
        Ok(Passed::On(next))
    }

    /// Through a host that passes packets on, or to it where the packet turns out to be for it.
    pub fn pass(&mut self, via: Via) -> Result<Passed, OutOfBudget> {
        let id = via.host;
        self.link(id, via.input);
        let entry = self.ends();
        for hook in [Hook::Ingress, Hook::Prerouting] {
            if let Some(refused) = self.hook(id, hook)? {
                return Ok(Passed::Ended(refused));
            }
        }
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let (Some(host), Some(known)) = (self.network.hosts.get(id.0), self.network.known.get(id.0)) else {
            return Ok(Passed::On(Next::Planned));
        };
        if self.network.refuses_source(id, self.flow) {
            return Ok(Passed::Ended(Outcome::ReversePath(id)));
        }
        if self.restrict_destination(known.own(nfproto)) || self.flow.redirected() {
            return self.input(id, entry).map(Passed::Ended);
        }
        let (output, next) = match self.way(id, false) {
            Ok(found) => found,
            Err(Found::Here) => return self.input(id, entry).map(Passed::Ended),
            Err(_) => return Ok(Passed::Ended(Outcome::NoRoute(id))),
        };
        if !host.passes_on(nfproto) {
            return Ok(Passed::Ended(Outcome::NotForwarded(id)));
        }
        self.output(id, output.or(via.output));
        self.flow.put_value(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        let middle = self.ends();
        for hook in [Hook::Forward, Hook::Postrouting, Hook::Egress] {
            if let Some(refused) = self.hook(id, hook)? {
                return Ok(Passed::Ended(refused));
            }
        }
        self.record(id, (Hook::Prerouting, Hook::Postrouting), entry, middle);
        Ok(Passed::On(next))
    }

    /// Whoever has the destination address, and by which interface it gets the packet; `None` where no declared host has
    /// it.
    fn arrival(&mut self, input: Option<InterfaceName>, to_itself: bool) -> Option<Via> {
        let nfproto = self.flow.now().get(Field::NFPROTO);
        let network = self.network;
        let destination = self.flow.now().get(Field::DADDR);
        let Some(owner) = network.known.iter().position(|known| known.own(nfproto).contains(destination))
        else {
            for known in &network.known {
                self.restrict_destination(known.own(nfproto));
            }
            return None;
        };
        // The first host that has the address gets it, for the whole region.
        for known in network.known.iter().take(owner + 1) {
            self.restrict_destination(known.own(nfproto));
        }
        let host = network.hosts.get(owner)?;
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
        Some(Via { host: HostId(owner), input, output: None })
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

/// Takes the next host of the plan.
fn step(planned: &mut &[Via]) -> Option<Via> {
    let (first, rest) = planned.split_first()?;
    *planned = rest;
    Some(*first)
}

impl Network<'_> {
    /// True where a host's routes are known.
    pub(crate) fn has_routes(&self, id: HostId) -> bool {
        self.tables.get(id.0).is_some_and(Option::is_some)
    }

    /// What a host's routes say of the packet; `None` where they aren't known.
    pub(crate) fn way(&self, id: HostId, flow: &mut Flow<'_>, query: Query) -> Option<Found> {
        Some(self.tables.get(id.0)?.as_ref()?.ask(flow, query))
    }

    /// The interface of a way out, and where it leads.
    pub(crate) fn leaving(&self, id: HostId, way: NextHop) -> (Option<InterfaceName>, Next) {
        let towards = |(nfproto, address)| {
            self.hosts.get(id.0)?.interface_towards(nfproto, address).map(|found| found.name)
        };
        let output = way.interface.or_else(|| way.gateway.and_then(towards));
        (output, way.gateway.map_or(Next::Link, |gateway| Next::Router(gateway, output)))
    }

    /// The declared host that has a router's address, seen from a host that sends by an interface: of several one on the
    /// same link. Link-local addresses say nothing beyond the link.
    pub(crate) fn router(
        &self,
        from: HostId,
        output: Option<InterfaceName>,
        (nfproto, address): (u128, u128),
    ) -> Option<Via> {
        let sender = self.hosts.get(from.0)?;
        let own = sender.interfaces.iter().find(|interface| Some(interface.name) == output);
        let mut elsewhere = None;
        for (index, host) in self.hosts.iter().enumerate().filter(|(index, _)| *index != from.0) {
            let has = |own: &crate::host::Address| (own.nfproto, own.value) == (nfproto, address);
            for interface in host.interfaces.iter().filter(|interface| interface.addresses.iter().any(has)) {
                let via = Via { host: HostId(index), input: Some(interface.name), output: None };
                let shared = own.is_some_and(|own| {
                    own.addresses.iter().any(|mine| {
                        interface.addresses.iter().any(|theirs| mine.reaches(theirs.nfproto, theirs.value))
                    })
                });
                if shared {
                    return Some(via);
                }
                elsewhere = elsewhere.or(Some(via));
            }
            if elsewhere.is_none() && host.addresses.iter().any(has) {
                elsewhere = Some(Via { host: HostId(index), input: None, output: None });
            }
        }
        elsewhere.filter(|_| nfproto == 2 || address >> 118 != 0xFE80 >> 6)
    }

    /// True where a host drops the packet because of its source: an address of its own, or one that isn't reached over the
    /// interface that the packet came in by (kernel documentation, ip-sysctl, `rp_filter`; IPv4 only). Asked after
    /// prerouting; a host without known routes is taken not to look.
    pub(crate) fn refuses_source(&self, id: HostId, flow: &mut Flow<'_>) -> bool {
        let (Some(host), Some(Some(tables)), Some(known)) =
            (self.hosts.get(id.0), self.tables.get(id.0), self.known.get(id.0))
        else {
            return false;
        };
        let lo = InterfaceName::new("lo").unwrap_or(InterfaceName::NONE);
        if flow.now().get(Field::NFPROTO) != 2 || flow.now().get(Field::IIFNAME) == lo.0 {
            return false;
        }
        let own = known.own(2);
        let source = flow.now().get(Field::SADDR);
        let (low, high) = own.stretch(source);
        flow.restrict(Field::SADDR, Dim::Range(low, high));
        if own.contains(source) {
            return !host.accepts_own_sources;
        }
        if host.reverse_path.is_empty() {
            return false;
        }
        flow.hold(Field::IIFNAME);
        let input = InterfaceName(flow.now().get(Field::IIFNAME));
        let Some(mode) = host.reverse_path.get(&input) else { return false };
        let query = Query { from: Field::DADDR, to: Field::SADDR, local: true, marked: false, answer: false };
        let ways = tables.ways(flow, query);
        match mode {
            ReversePath::Strict => ways.iter().all(|way| way.interface != Some(input)),
            ReversePath::Loose => ways.is_empty(),
        }
    }
}
