//! Following packets from host to host.

use crate::host::{Host, HostId};
use crate::path::Path;
use crate::tables::Tables;
use crate::travel::Travel;
use crate::view::HostView;
use firewarden_engine::{Decision, Detail, End, Engine, Fate, Flow, Origin, OutOfBudget, Step};
use firewarden_packet::{AtomTable, Field, Purity};
use firewarden_ruleset::ir::Hook;

/// Declared hosts with their rulesets, ready to be asked.
#[derive(Debug)]
pub struct Network<'n> {
    pub(crate) hosts: &'n [Host],
    pub(crate) known: Vec<HostView<'n>>,
    pub(crate) engines: Vec<Engine<'n>>,
    pub(crate) unknowns: Vec<Unknowns>,
    /// The routing of the hosts of which it is known.
    pub(crate) tables: Vec<Option<Tables<'n>>>,
}

/// For one host, the dynamic fields that stand for what the network decides and nobody declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknowns {
    pub input: Field,
    pub output: Field,
    pub ether_source: Field,
    pub ether_destination: Field,
    pub packet_type: Field,
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
    /// A host has no route to the destination, or one that refuses.
    NoRoute(HostId),
    /// A host dropped it because a packet back to its source would leave by another interface, or because the source is
    /// an address of the host itself.
    ReversePath(HostId),
    /// It went round, past this host for the last time.
    Loop(HostId),
    /// An answer that came to a host, or left one, as no part of its connection: by another way than the first packet, and
    /// without being translated back.
    Astray(HostId),
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
    pub(crate) entry: (End, End),
    /// As the forward, input or output chains saw them.
    pub(crate) middle: (End, End),
    /// As the packet left.
    pub(crate) exit: (End, End),
    pub(crate) state: Origin,
    pub(crate) connection_mark: Origin,
    pub(crate) status: Origin,
    pub(crate) input: Origin,
    pub(crate) output: Origin,
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
        let tables =
            hosts.iter().map(|host| Some(Tables::new(host, host.routing.as_ref()?, atoms))).collect();
        Network {
            hosts,
            known,
            engines: hosts.iter().map(|host| Engine::new(&host.ruleset)).collect(),
            unknowns,
            tables,
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
}

pub(crate) fn push(steps: &mut Vec<JourneyStep>, host: HostId, hook: Hook, decision: &Decision) {
    steps.extend(decision.steps.iter().map(|&step| JourneyStep { host, hook, step }));
}
