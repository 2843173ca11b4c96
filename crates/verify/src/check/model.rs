//! Hosts with their rulesets and declarations side by side.

use crate::address::Family;
use crate::intent::Senders;
use crate::located::Located;
use crate::stack::{self, DeclaredIntent, StackFile};
use firewarden_network::{Address, Host, HostId};
use firewarden_packet::{Field, InterfaceName, IntervalSet};
use firewarden_ruleset::ir::{NatDirection, Statement};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a question is asked of.
#[derive(Debug)]
pub struct Model<'m> {
    /// The declarations; host numbers are places in `hosts` too.
    pub stack: &'m StackFile,
    /// The hosts with their rulesets, in the order of the stack file.
    pub hosts: &'m [Host],
    /// Just a ruleset, without a stack file: nothing is known of the host's other addresses and of its links.
    pub single: bool,
}

/// The stack of a bare ruleset: one host, whose addresses are taken from the intents. A single address as a destination
/// is the host's own; anything else lies behind it.
pub fn single_host_stack(name: &str, intents: &[DeclaredIntent]) -> StackFile {
    let mut addresses: Vec<Located<IpAddr>> = Vec::new();
    for peer in intents.iter().flat_map(|declared| &declared.intent.destination.include) {
        let crate::intent::Peer::Range(range) = &peer.value else { continue };
        let address = crate::address::address(range.family, range.low);
        if range.low == range.high && addresses.iter().all(|known| known.value != address) {
            addresses.push(Located::new(address, peer.span));
        }
    }
    let host = stack::Host {
        name: Located::new(name.to_owned(), firewarden_diagnostic::Span::default()),
        rules: Vec::new(),
        snapshot: None,
        addresses,
        interfaces: Vec::new(),
        published: Vec::new(),
        tcp_loose: true,
    };
    StackFile { hosts: vec![host], ..StackFile::default() }
}

/// Completes the network's hosts from the declarations: addresses of a bare ruleset, hosts named in `via` forward, and
/// the uplink of a router that declares none.
///
/// The uplink is the only interface without declared hosts on its links; of several such the only one with a public
/// address.
pub fn complete_hosts(hosts: &mut [Host], stack: &StackFile, intents: &[DeclaredIntent]) {
    let via: BTreeSet<&str> =
        intents.iter().flat_map(|declared| &declared.via).map(|host| host.value.as_str()).collect();
    let everyone: Vec<(usize, Address)> = stack
        .hosts
        .iter()
        .enumerate()
        .flat_map(|(index, host)| host.addresses.iter().map(move |own| (index, network_address(own.value))))
        .collect();
    for (index, (host, declared)) in hosts.iter_mut().zip(&stack.hosts).enumerate() {
        for own in &declared.addresses {
            let address = network_address(own.value);
            let known =
                host.interfaces.iter().flat_map(|interface| &interface.addresses).chain(&host.addresses);
            if known.into_iter().all(|known| (known.nfproto, known.value) != (address.nfproto, address.value))
            {
                host.addresses.push(address);
            }
        }
        host.forwards |= via.contains(declared.name.value.as_str());
        if host.interfaces.len() < 2 || host.interfaces.iter().any(|interface| interface.uplink) {
            continue;
        }
        let empty_link = |interface: &firewarden_network::Interface| {
            everyone.iter().all(|(other, address)| {
                *other == index
                    || interface.addresses.iter().all(|own| !own.reaches(address.nfproto, address.value))
            })
        };
        let candidates: Vec<usize> = (0..host.interfaces.len())
            .filter(|&at| host.interfaces.get(at).is_some_and(empty_link))
            .collect();
        let public: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|&at| host.interfaces.get(at).is_some_and(|own| own.addresses.iter().any(is_public)))
            .collect();
        let chosen = match (candidates.as_slice(), public.as_slice()) {
            ([only], _) | (_, [only]) => *only,
            _ => continue,
        };
        if let Some(interface) = host.interfaces.get_mut(chosen) {
            interface.uplink = true;
        }
    }
}

fn network_address(address: IpAddr) -> Address {
    let (family, value) = crate::address::number(address);
    Address { nfproto: family.nfproto(), value, prefix: family.width() }
}

/// Not in private space (RFC 1918, RFC 6598, RFC 4193, link local). Documentation addresses count as public here:
/// examples use them as such.
fn is_public(address: &Address) -> bool {
    match crate::address::address(if address.nfproto == 2 { Family::V4 } else { Family::V6 }, address.value) {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            !(v4.is_private() || v4.is_link_local() || v4.is_loopback() || (a == 100 && b & 0xC0 == 64))
        }
        IpAddr::V6(v6) => !v6.is_unique_local() && !v6.is_unicast_link_local() && !v6.is_loopback(),
    }
}

impl Model<'_> {
    /// A host by its number.
    pub(crate) fn host(&self, index: usize) -> Option<&Host> {
        self.hosts.get(index)
    }

    /// The name of a host.
    pub(crate) fn name(&self, id: HostId) -> &str {
        self.hosts.get(id.0).map_or("?", |host| host.name.as_str())
    }

    /// Hosts whose rules rewrite destinations.
    pub(crate) fn translators(&self) -> Vec<usize> {
        let translates = |host: &Host| {
            host.ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements).any(
                |statement| match statement {
                    Statement::Nat(nat) => nat.direction == NatDirection::Destination,
                    Statement::Assign { field, .. } => *field == Field::DADDR || *field == Field::DPORT,
                    Statement::Opaque { fields } => fields.iter().any(|(field, _)| *field == Field::DADDR),
                    _ => false,
                },
            )
        };
        (0..self.hosts.len()).filter(|&index| self.host(index).is_some_and(translates)).collect()
    }

    /// The hosts whose own packets may fare otherwise than packets with their addresses from elsewhere: they have rules,
    /// forward (so that the latter would pass them), or are on several links.
    pub(crate) fn senders(&self) -> Senders {
        let tells = |host: &Host| {
            let has_rules = host.ruleset.chains.iter().any(|chain| chain.base.is_some());
            has_rules || host.forwards || host.interfaces.len() > 1
        };
        let found: Vec<usize> =
            (0..self.hosts.len()).filter(|&index| self.host(index).is_some_and(tells)).collect();
        Senders::new(self.stack, &found)
    }

    /// The static members of the sets called `name` on any host, as addresses of a family, and whether any host has such
    /// a set.
    pub(crate) fn set_members(&self, name: &str, family: Family) -> (IntervalSet, bool) {
        let mut members = IntervalSet::empty();
        let mut found = false;
        for host in self.hosts {
            for set in host.ruleset.sets.iter().filter(|set| &*set.name == name && set.arity == 1) {
                found = true;
                let own = set.elements.iter().filter_map(|element| element.key.first().copied());
                let fits = own.filter(|(_, high)| match family {
                    Family::V4 => *high <= Family::V4.max(),
                    Family::V6 => *high > Family::V4.max(),
                });
                members = members.union(&fits.collect());
            }
        }
        (members, found)
    }
}

/// The interface `lo`, by which nothing comes in from elsewhere.
pub(crate) fn loopback() -> InterfaceName {
    InterfaceName::new("lo").unwrap_or(InterfaceName::NONE)
}
