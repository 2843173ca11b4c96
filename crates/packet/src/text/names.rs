//! Names of numbers: protocols, ICMP types, link-layer packet types.

/// Protocols by IANA number, under the names that nft and iptables know.
const PROTOCOLS: [(u128, &str); 16] = [
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (89, "ospf"),
    (108, "comp"),
    (112, "vrrp"),
    (132, "sctp"),
    (136, "udplite"),
];

/// ICMP types (RFC 792 and later), in nft's words.
const ICMP_TYPES: [(u128, &str); 15] = [
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (8, "echo-request"),
    (9, "router-advertisement"),
    (10, "router-solicitation"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
    (15, "info-request"),
    (16, "info-reply"),
    (17, "address-mask-request"),
    (18, "address-mask-reply"),
];

/// ICMPv6 types (RFC 4443 and later), in nft's words.
const ICMPV6_TYPES: [(u128, &str); 18] = [
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
    (138, "router-renumbering"),
    (141, "ind-neighbor-solicit"),
    (142, "ind-neighbor-advert"),
    (143, "mld2-listener-report"),
];

/// Other names that people use for the same protocols.
const PROTOCOL_ALIASES: [(u128, &str); 3] = [(58, "ipv6-icmp"), (58, "icmp6"), (4, "ipencap")];

/// Link-layer packet types by number.
pub(super) const PACKET_TYPES: [&str; 4] = ["host", "broadcast", "multicast", "other"];

/// Names of the `ct status` bits, with their bits.
pub(super) const STATUS_BITS: [(u128, &str); 7] = [
    (crate::ct_status::EXPECTED, "expected"),
    (crate::ct_status::SEEN_REPLY, "seen-reply"),
    (crate::ct_status::ASSURED, "assured"),
    (crate::ct_status::CONFIRMED, "confirmed"),
    (crate::ct_status::SNAT, "snat"),
    (crate::ct_status::DNAT, "dnat"),
    (crate::ct_status::DYING, "dying"),
];

fn name_of(table: &[(u128, &'static str)], number: u128) -> Option<&'static str> {
    table.iter().find(|entry| entry.0 == number).map(|entry| entry.1)
}

fn number_of(table: &[(u128, &'static str)], name: &str) -> Option<u128> {
    table.iter().find(|entry| entry.1 == name).map(|entry| entry.0)
}

/// The name of a protocol.
pub(super) fn protocol_name(number: u128) -> Option<&'static str> {
    name_of(&PROTOCOLS, number)
}

/// The number of a protocol.
pub(super) fn protocol_number(name: &str) -> Option<u128> {
    number_of(&PROTOCOLS, name).or_else(|| number_of(&PROTOCOL_ALIASES, name))
}

fn types_of(l4proto: u128) -> &'static [(u128, &'static str)] {
    if l4proto == 58 { &ICMPV6_TYPES } else { &ICMP_TYPES }
}

/// The name of a type of ICMP (protocol 1) or ICMPv6 (protocol 58).
pub(super) fn icmp_name(l4proto: u128, number: u128) -> Option<&'static str> {
    name_of(types_of(l4proto), number)
}

/// The number of a type of ICMP (protocol 1) or ICMPv6 (protocol 58).
pub(super) fn icmp_number(l4proto: u128, name: &str) -> Option<u128> {
    number_of(types_of(l4proto), name)
}
