//! Paths: which hosts a packet passes, as far as its sender and the declared links tell. Hosts whose routes are known
//! follow those.

use crate::host::{Host, HostId};
use firewarden_packet::InterfaceName;

/// A host that passes the packet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// The host.
    pub host: HostId,
    /// Where the packet comes in; `None` where it isn't known.
    pub input: Option<InterfaceName>,
    /// Where it leaves; `None` where it isn't known.
    pub output: Option<InterfaceName>,
}

/// The way of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The declared host that makes the packet; `None` where it comes from elsewhere.
    pub source: Option<HostId>,
    /// Hosts that pass it on, in order.
    pub via: Vec<Via>,
    /// The interface it comes in by at its destination, where the question says so.
    pub input: Option<InterfaceName>,
    /// The hosts in between were named by whoever asks, so that routes don't overrule them.
    pub declared: bool,
}

/// How many hosts a packet may pass among so many declared ones: each twice, since translation may send a packet back.
pub fn hop_limit(hosts: usize) -> usize {
    2 * hosts + 2
}

impl Path {
    /// The way from an address to another, by links: straight where both are on a link of some host or nothing is known
    /// of the destination's link, else through the host that has a leg on the destination's link.
    pub fn between(hosts: &[Host], source: Option<HostId>, nfproto: u128, from: u128, to: u128) -> Path {
        let mut path = Path { source, via: Vec::new(), input: None, declared: false };
        let links = |host: &Host| -> Vec<crate::host::Address> {
            host.interfaces.iter().flat_map(|interface| interface.addresses.iter().copied()).collect()
        };
        let share_a_link = hosts
            .iter()
            .any(|host| links(host).iter().any(|own| own.reaches(nfproto, from) && own.reaches(nfproto, to)));
        if share_a_link {
            return path;
        }
        for (index, host) in hosts.iter().enumerate() {
            let id = HostId(index);
            if Some(id) == source || !host.forwards {
                continue;
            }
            let own = host.own(nfproto).contains(to);
            let leads_there = own || links(host).iter().any(|own| own.reaches(nfproto, to));
            if leads_there {
                path.via.push(Path::through(hosts, id, nfproto, from, to));
                break;
            }
        }
        path
    }

    /// A hop through a host, with the interfaces that its links tell.
    pub fn through(hosts: &[Host], host: HostId, nfproto: u128, from: u128, to: u128) -> Via {
        let known = hosts.get(host.0);
        let towards =
            |address| known.and_then(|host| host.interface_towards(nfproto, address)).map(|found| found.name);
        Via { host, input: towards(from), output: towards(to) }
    }
}
