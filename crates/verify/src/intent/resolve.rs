//! From names to addresses.

use super::special::{internet, receivable};
use super::{Expectation, Intent, Peer, Peers, Service};
use crate::address::{AddressRange, Family, number, shorten};
use crate::located::Located;
use crate::stack::{DeclaredIntent, Host, StackFile};
use crate::suggest::nearest;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::IntervalSet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Groups inside one another, at most.
const GROUP_DEPTH: usize = 64;

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    v4: IntervalSet,
    v6: IntervalSet,
}

impl Addresses {
    /// The addresses that a function gives for each family.
    pub fn of(set: impl Fn(Family) -> IntervalSet) -> Addresses {
        Addresses { v4: set(Family::V4), v6: set(Family::V6) }
    }

    /// Single addresses.
    pub fn from_ips<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> Addresses {
        let numbers: Vec<(Family, u128)> = addresses.into_iter().map(|&address| number(address)).collect();
        Addresses::of(|family| {
            numbers.iter().filter(|(of, _)| *of == family).map(|&(_, value)| (value, value)).collect()
        })
    }

    /// Those of one family.
    pub fn get(&self, family: Family) -> &IntervalSet {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// True where there are none of either family.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Those in either.
    #[must_use]
    pub fn union(&self, other: &Addresses) -> Addresses {
        Addresses::of(|family| self.get(family).union(other.get(family)))
    }

    /// Those of `self` that aren't in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Addresses) -> Addresses {
        Addresses::of(|family| self.get(family).subtract(other.get(family)))
    }

    /// Those in both.
    #[must_use]
    pub fn intersect(&self, other: &Addresses) -> Addresses {
        Addresses::of(|family| self.get(family).intersect(other.get(family)))
    }

    fn add(&mut self, range: AddressRange) {
        let more = IntervalSet::range(range.low, range.high);
        match range.family {
            Family::V4 => self.v4 = self.v4.union(&more),
            Family::V6 => self.v6 = self.v6.union(&more),
        }
    }
}

/// One side of an intent as addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Declared hosts by their number, and which of their addresses are meant. Each host once, in ascending order.
    pub hosts: Vec<(usize, Addresses)>,
    /// Addresses that stand for no declared host. Of a source written as a prefix, a range, `any` or `internet` they may
    /// contain addresses of declared hosts: packets with that source, whoever sends them.
    pub other: Addresses,
    /// Sets of the rulesets whose members are carved out.
    pub sets: Vec<Located<Box<str>>>,
}

impl Endpoint {
    /// All addresses.
    pub fn all(&self) -> Addresses {
        self.hosts.iter().fold(self.other.clone(), |all, (_, addresses)| all.union(addresses))
    }

    /// The addresses of one declared host that are meant by its name.
    pub fn host(&self, index: usize) -> Option<&Addresses> {
        self.hosts.iter().find(|(host, _)| *host == index).map(|(_, addresses)| addresses)
    }

    fn add_host(&mut self, index: usize, addresses: &Addresses) {
        match self.hosts.binary_search_by_key(&index, |(host, _)| *host) {
            Ok(at) => {
                if let Some((_, known)) = self.hosts.get_mut(at) {
                    *known = known.union(addresses);
                }
            }
            Err(at) => {
                // Mostly it is the only one, and thousands of intents are in memory together.
                if self.hosts.is_empty() {
                    self.hosts.reserve_exact(1);
                }
                self.hosts.insert(at, (index, addresses.clone()));
            }
        }
    }

    fn carve_out(&mut self, addresses: &Addresses) {
        for (_, own) in &mut self.hosts {
            *own = own.subtract(addresses);
        }
        self.hosts.retain(|(_, own)| !own.is_empty());
        self.other = self.other.subtract(addresses);
    }
}

/// An intent with every name looked up.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What it expects.
    pub expectation: Expectation,
    /// Who sends.
    pub source: Endpoint,
    /// Who receives.
    pub destination: Endpoint,
    /// Of which services, named ones replaced; never empty.
    pub services: Vec<Service>,
    /// Hosts on the way, by number.
    pub via: Vec<usize>,
}

/// The addresses of a host.
pub(crate) fn own_addresses(host: &Host) -> Addresses {
    Addresses::from_ips(host.addresses.iter().map(|address| &address.value))
}

/// Every address that is declared for some host, published ones included.
pub fn declared_addresses(stack: &StackFile) -> Addresses {
    let all = stack.hosts.iter().flat_map(|host| host.addresses.iter().chain(&host.published));
    Addresses::from_ips(all.map(|address| &address.value))
}

/// The names of a stack, ready to be looked up.
#[derive(Debug)]
pub struct Names<'s> {
    stack: &'s StackFile,
    /// Every declared address.
    declared: Addresses,
    /// Those of each host.
    own: Vec<Addresses>,
    hosts: BTreeMap<&'s str, usize>,
    /// Which hosts have an address, and which those are.
    owners: BTreeMap<(Family, u128), Vec<usize>>,
}

impl<'s> Names<'s> {
    /// Prepares the names of a stack. O(addresses).
    pub fn new(stack: &'s StackFile) -> Names<'s> {
        let mut owners: BTreeMap<(Family, u128), Vec<usize>> = BTreeMap::new();
        for (index, host) in stack.hosts.iter().enumerate() {
            for address in &host.addresses {
                owners.entry(number(address.value)).or_default().push(index);
            }
        }
        Names {
            stack,
            declared: declared_addresses(stack),
            own: stack.hosts.iter().map(own_addresses).collect(),
            hosts: stack
                .hosts
                .iter()
                .enumerate()
                .map(|(index, host)| (host.name.value.as_str(), index))
                .collect(),
            owners,
        }
    }
}

/// Looks up all names of an intent.
///
/// # Errors
/// One diagnostic for each name that isn't declared, each group inside itself, each set out of place.
pub fn resolve(declared: &DeclaredIntent, names: &Names<'_>) -> Result<Resolved, Vec<Diagnostic>> {
    let intent = &declared.intent;
    let mut resolver = Resolver { names, diagnostics: Vec::new(), visiting: BTreeSet::new() };
    let source = resolver.endpoint(&intent.source, true);
    let destination = resolver.endpoint(&intent.destination, false);
    let services = resolver.services(intent);
    let mut via = Vec::new();
    for host in &declared.via {
        match names.hosts.get(host.value.as_str()) {
            Some(&index) => via.push(index),
            None => resolver.unknown("host", &host.value, host.span),
        }
    }
    if resolver.diagnostics.is_empty() {
        Ok(Resolved { expectation: intent.expectation, source, destination, services, via })
    } else {
        Err(resolver.diagnostics)
    }
}

struct Resolver<'s> {
    names: &'s Names<'s>,
    diagnostics: Vec<Diagnostic>,
    /// Groups that are being looked up.
    visiting: BTreeSet<String>,
}

impl<'s> Resolver<'s> {
    fn endpoint(&mut self, peers: &'s Peers, is_source: bool) -> Endpoint {
        let mut endpoint = Endpoint::default();
        for peer in &peers.include {
            self.peer(peer, is_source, &mut endpoint);
        }
        let mut carved = Endpoint::default();
        for peer in &peers.except {
            match &peer.value {
                Peer::Set(name) if is_source => {
                    endpoint.sets.push(Located::new(name.clone(), peer.span));
                }
                Peer::Set(name) => self.diagnostics.push(
                    Diagnostic::error(
                        "intent-set",
                        format!("`@{}` can't be carved out of a destination", shorten(name)),
                    )
                    .at(peer.span, "")
                    .help("sets can be carved out of sources only; name the addresses instead"),
                ),
                _ => self.peer(peer, is_source, &mut carved),
            }
        }
        endpoint.carve_out(&carved.all());
        endpoint
    }

    fn peer(&mut self, peer: &'s Located<Peer>, is_source: bool, endpoint: &mut Endpoint) {
        let addresses = match &peer.value {
            Peer::Name(name) => return self.name(name, peer.span, is_source, endpoint),
            Peer::Any => Addresses::of(receivable),
            Peer::Internet => Addresses::of(internet).subtract(&self.names.declared),
            Peer::Range(range) => {
                let mut addresses = Addresses::default();
                addresses.add(*range);
                addresses
            }
            // Only `except` can hold one; see `endpoint`.
            Peer::Set(_) => return,
        };
        if let Peer::Range(range) = &peer.value
            && range.low == range.high
        {
            let owners = self.names.owners.get(&(range.family, range.low));
            for &index in owners.into_iter().flatten() {
                endpoint.add_host(index, &addresses);
            }
            if owners.is_none() {
                endpoint.other = endpoint.other.union(&addresses);
            }
            return;
        }
        if is_source {
            endpoint.other = endpoint.other.union(&addresses);
            return;
        }
        let mut rest = addresses.clone();
        for (index, own) in self.names.own.iter().enumerate() {
            let meant = own.intersect(&addresses);
            if !meant.is_empty() {
                endpoint.add_host(index, &meant);
                rest = rest.subtract(own);
            }
        }
        endpoint.other = endpoint.other.union(&rest);
    }

    fn name(&mut self, name: &'s str, span: Span, is_source: bool, endpoint: &mut Endpoint) {
        if let Some(&index) = self.names.hosts.get(name) {
            if let Some(own) = self.names.own.get(index) {
                endpoint.add_host(index, own);
            }
            return;
        }
        let Some(group) = self.names.stack.group(name) else {
            return self.unknown("host or group", name, span);
        };
        if self.visiting.len() >= GROUP_DEPTH || !self.visiting.insert(name.to_owned()) {
            self.diagnostics.push(
                Diagnostic::error("intent-group", format!("group `{}` contains itself", shorten(name)))
                    .at(group.name.span, "")
                    .see(span, "used here")
                    .help("remove the group from its own members, or nest less than 64 deep"),
            );
            return;
        }
        for member in &group.members {
            self.peer(member, is_source, endpoint);
        }
        self.visiting.remove(name);
    }

    fn unknown(&mut self, what: &str, name: &str, span: Span) {
        let hosts = self.names.stack.hosts.iter().map(|host| host.name.value.as_str());
        let groups = self.names.stack.groups.iter().map(|group| group.name.value.as_str());
        let words = ["internet", "any"].into_iter();
        let near = if what == "host" {
            nearest(name, hosts.clone())
        } else {
            nearest(name, hosts.clone().chain(groups).chain(words))
        };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.names.stack.hosts.is_empty() => {
                "write an address, a prefix, `internet` or `any`; names need a stack file that declares them"
                    .to_owned()
            }
            None => {
                let some: Vec<String> = hosts.take(8).map(|name| format!("`{name}`")).collect();
                format!("declared hosts are {}", some.join(", "))
            }
        };
        self.diagnostics.push(
            Diagnostic::error("intent-unknown-name", format!("no {what} is called `{}`", shorten(name)))
                .at(span, "")
                .help(help),
        );
    }

    fn services(&mut self, intent: &Intent) -> Vec<Service> {
        let mut services = Vec::with_capacity(intent.services.len());
        for service in &intent.services {
            let Service::Named(name) = &service.value else {
                services.push(service.value.clone());
                continue;
            };
            match self.names.stack.service(name) {
                Some(named) => services.extend(named.services.iter().map(|service| service.value.clone())),
                None => {
                    let known = self.names.stack.services.iter().map(|service| service.name.value.as_str());
                    let near =
                        nearest(name, known.chain(super::protocols::PROTOCOLS.iter().map(|(name, _)| *name)));
                    let help = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "write it like `tcp/443`, or declare it under `services`".to_owned(),
                    };
                    self.diagnostics.push(
                        Diagnostic::error(
                            "intent-unknown-service",
                            format!("no service is called `{}`", shorten(name)),
                        )
                        .at(service.span, "")
                        .help(help),
                    );
                }
            }
        }
        if intent.services.is_empty() {
            services.push(Service::Any);
        }
        services
    }
}
