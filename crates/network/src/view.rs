//! What is asked of a host for every packet, prepared once.

use crate::host::Host;
use firewarden_packet::{InterfaceName, IntervalSet};
use firewarden_ruleset::Surroundings;

/// A host with its addresses in a form that is quick to ask.
#[derive(Debug)]
pub struct HostView<'n> {
    host: &'n Host,
    /// IPv4 and IPv6.
    families: [Family; 2],
}

#[derive(Debug, Default)]
struct Family {
    own: IntervalSet,
    /// The last address of each segment of the address space, with the type that all addresses of the segment have.
    segments: Vec<(u128, Option<u128>)>,
    /// The first addresses of the parts into which the links cut the address space.
    link_starts: Vec<u128>,
}

impl<'n> HostView<'n> {
    /// O(addresses²).
    pub fn new(host: &'n Host) -> HostView<'n> {
        let family = |nfproto| Family {
            own: host.own(nfproto),
            segments: segments(host, nfproto),
            link_starts: link_starts(host, nfproto),
        };
        HostView { host, families: [2, 10].map(family) }
    }

    fn family(&self, nfproto: u128) -> &Family {
        let [v4, v6] = &self.families;
        if nfproto == 2 { v4 } else { v6 }
    }

    /// All own addresses of one family.
    pub fn own(&self, nfproto: u128) -> &IntervalSet {
        &self.family(nfproto).own
    }
}

impl HostView<'_> {
    /// The addresses around one that are on the same links, so that the way to them is the same
    /// ([`Host::interface_towards`]). O(log addresses).
    pub fn same_links(&self, nfproto: u128, address: u128) -> (u128, u128) {
        let starts = &self.family(nfproto).link_starts;
        let at = starts.partition_point(|&start| start <= address);
        let low = at.checked_sub(1).and_then(|before| starts.get(before)).copied().unwrap_or(0);
        (low, starts.get(at).map_or(u128::MAX, |&start| start - 1))
    }
}

impl Surroundings for HostView<'_> {
    fn interface_address(&self, interface: InterfaceName, nfproto: u128) -> Option<u128> {
        self.host.interface_address(interface, nfproto)
    }

    /// O(log addresses).
    fn address_type(&self, nfproto: u128, address: u128) -> Option<(u128, (u128, u128))> {
        let segments = &self.family(nfproto).segments;
        let at = segments.partition_point(|(last, _)| *last < address);
        let (last, kind) = *segments.get(at)?;
        let first = at.checked_sub(1).and_then(|before| segments.get(before)).map_or(0, |(last, _)| last + 1);
        Some((kind?, (first, last)))
    }
}

/// The address space cut where [`Host::address_type`] changes.
fn segments(host: &Host, nfproto: u128) -> Vec<(u128, Option<u128>)> {
    let mut segments = Vec::new();
    // Where a type is known, it comes with the segment's ends; a segment of unknown type ends where a known one begins.
    let mut starts: Vec<u128> = host.own(nfproto).ranges().iter().map(|(low, _)| *low).collect();
    starts.extend(if nfproto == 2 { [0x7F00_0000, 0xE000_0000] } else { [1, 0xFF << 120] });
    starts.sort_unstable();
    let mut next = Some(0);
    while let Some(address) = next {
        let (last, kind) = match host.address_type(nfproto, address) {
            Some((kind, (_, last))) => (last, Some(kind)),
            None => {
                let after = starts.iter().find(|&&start| start > address);
                (after.map_or(u128::MAX, |start| start - 1), None)
            }
        };
        segments.push((last, kind));
        next = last.checked_add(1);
    }
    segments
}

fn link_starts(host: &Host, nfproto: u128) -> Vec<u128> {
    let addresses = host.interfaces.iter().flat_map(|interface| &interface.addresses);
    let mut starts: Vec<u128> = addresses
        .filter(|address| address.nfproto == nfproto)
        .flat_map(|address| {
            let (low, high) = address.subnet();
            [Some(low), high.checked_add(1)]
        })
        .flatten()
        .collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Interface};

    #[test]
    fn segments_say_what_the_host_says() {
        let address = |nfproto, value, prefix| Address { nfproto, value, prefix };
        let v4 = address(2, 0x0A00_0105, 24);
        let v6 = address(10, (0x2001_0db8 << 96) | 5, 64);
        for addresses_known in [false, true] {
            let host = Host {
                interfaces: vec![Interface {
                    name: InterfaceName::new("eth0").unwrap(),
                    addresses: vec![v4, v6],
                    uplink: false,
                }],
                addresses: vec![address(2, 0x0A00_0106, 32)],
                addresses_known,
                ..Host::default()
            };
            let known = HostView::new(&host);
            for nfproto in [2, 10] {
                let base = if nfproto == 2 { v4.value } else { v6.value };
                let near = (0..300).map(|step| base - 10 + step);
                let special = [0, 1, 2, 0x7F00_0001, 0xE000_0001, 0xFFFF_FFFF, u128::MAX, 0xFF << 120];
                for address in near.chain(special) {
                    let (quick, plain) =
                        (known.address_type(nfproto, address), host.address_type(nfproto, address));
                    assert_eq!(
                        quick.map(|found| found.0),
                        plain.map(|found| found.0),
                        "{nfproto} {address:#x}"
                    );
                    let (low, high) = known.same_links(nfproto, address);
                    assert!(low <= address && address <= high);
                    for other in [low, high] {
                        let on = |address| v4.reaches(nfproto, address) || v6.reaches(nfproto, address);
                        assert_eq!(on(address), on(other), "{nfproto} {address:#x} {other:#x}");
                    }
                    let inside = quick.is_none_or(|(_, (low, high))| low <= address && address <= high);
                    assert!(inside, "{nfproto} {address:#x}: {quick:?}");
                }
            }
        }
    }
}
