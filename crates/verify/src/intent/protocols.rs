//! Names of protocols and of ICMP types (IANA "Protocol Numbers", "ICMP Parameters", "ICMPv6 Parameters").

/// ICMP.
pub(super) const ICMP: u8 = 1;
/// TCP.
pub(super) const TCP: u8 = 6;
/// UDP.
pub(super) const UDP: u8 = 17;
/// ICMPv6.
pub(super) const ICMPV6: u8 = 58;

/// Protocols by the names that nft and iptables use for them.
pub(super) const PROTOCOLS: [(&str, u8); 14] = [
    ("tcp", TCP),
    ("udp", UDP),
    ("icmp", ICMP),
    ("icmpv6", ICMPV6),
    ("ipv6-icmp", ICMPV6),
    ("sctp", 132),
    ("dccp", 33),
    ("udplite", 136),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
    ("igmp", 2),
    ("ospf", 89),
    ("vrrp", 112),
];

/// ICMP types by nft's names.
const ICMP_TYPES: [(&str, u8); 14] = [
    ("echo-request", 8),
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
    ("router-advertisement", 9),
];

/// ICMPv6 types by nft's names.
const ICMPV6_TYPES: [(&str, u8); 14] = [
    ("echo-request", 128),
    ("echo-reply", 129),
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
];

/// The number of a protocol by its name.
pub(super) fn protocol(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Protocols whose packets have ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | 33 | 132 | 136)
}

/// The type names of ICMP or ICMPv6.
pub(super) fn icmp_types(protocol: u8) -> &'static [(&'static str, u8)] {
    match protocol {
        ICMP => &ICMP_TYPES,
        _ => &ICMPV6_TYPES,
    }
}

/// The types of ICMP packets that can begin a conversation in the connection tracking's eyes (Linux
/// `nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c`): echo, timestamp, information and address mask
/// requests; of ICMPv6 echo requests and node information queries.
pub(super) fn opening_types(protocol: u8) -> &'static [u8] {
    match protocol {
        ICMP => &[8, 13, 15, 17],
        _ => &[128, 139],
    }
}

/// The name that intents use for a protocol.
pub(crate) fn protocol_name(number: u128) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, known)| u128::from(*known) == number).map(|(name, _)| *name)
}
