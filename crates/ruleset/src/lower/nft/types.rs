//! The data types of nft expressions, and the symbols that each of them knows (nft(8), "DATA TYPES").

use super::names;

/// The type of an expression: it says how words and numbers beside it are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "the fields of packets are called so: ICMP type, EtherType")]
pub(super) enum Type {
    Integer,
    Text,
    LinkAddress,
    Ipv4,
    Ipv6,
    Ether,
    EtherType,
    ArpOperation,
    Protocol,
    Service,
    IcmpType,
    Icmpv6Type,
    IcmpCode,
    Icmpv6Code,
    IcmpxCode,
    IgmpType,
    TcpFlags,
    DccpType,
    MobilityType,
    Duration,
    Mark,
    InterfaceIndex,
    InterfaceName,
    InterfaceType,
    Realm,
    ClassId,
    User,
    Group,
    CtState,
    CtDirection,
    CtStatus,
    CtLabel,
    CtEvent,
    PacketType,
    AddressType,
    Boolean,
    Day,
    Hour,
    Time,
    DeviceGroup,
    Dscp,
    Ecn,
    NfProto,
    Cgroup,
}

/// nft's name, width in bits.
const TYPES: &[(Type, &str, u32)] = &[
    (Type::Integer, "integer", 32),
    (Type::Text, "string", 128),
    (Type::LinkAddress, "ll_addr", 48),
    (Type::Ipv4, "ipv4_addr", 32),
    (Type::Ipv6, "ipv6_addr", 128),
    (Type::Ether, "ether_addr", 48),
    (Type::EtherType, "ether_type", 16),
    (Type::ArpOperation, "arp_op", 16),
    (Type::Protocol, "inet_proto", 8),
    (Type::Service, "inet_service", 16),
    (Type::IcmpType, "icmp_type", 8),
    (Type::Icmpv6Type, "icmpv6_type", 8),
    (Type::IcmpCode, "icmp_code", 8),
    (Type::Icmpv6Code, "icmpv6_code", 8),
    (Type::IcmpxCode, "icmpx_code", 8),
    (Type::IgmpType, "igmp_type", 8),
    (Type::TcpFlags, "tcp_flag", 8),
    (Type::DccpType, "dccp_pkttype", 4),
    (Type::MobilityType, "mh_type", 8),
    (Type::Duration, "time", 64),
    (Type::Mark, "mark", 32),
    (Type::InterfaceIndex, "iface_index", 32),
    (Type::InterfaceName, "ifname", 128),
    (Type::InterfaceType, "iface_type", 16),
    (Type::Realm, "realm", 32),
    (Type::ClassId, "classid", 32),
    (Type::User, "uid", 32),
    (Type::Group, "gid", 32),
    (Type::CtState, "ct_state", 32),
    (Type::CtDirection, "ct_dir", 8),
    (Type::CtStatus, "ct_status", 32),
    (Type::CtLabel, "ct_label", 128),
    (Type::CtEvent, "ct_event", 32),
    (Type::PacketType, "pkt_type", 8),
    (Type::AddressType, "fib_addrtype", 32),
    (Type::Boolean, "boolean", 1),
    (Type::Day, "day", 8),
    (Type::Hour, "hour", 32),
    (Type::Time, "time", 64),
    (Type::DeviceGroup, "devgroup", 32),
    (Type::Dscp, "dscp", 6),
    (Type::Ecn, "ecn", 2),
    (Type::NfProto, "nf_proto", 8),
    (Type::Cgroup, "cgroupsv2", 64),
];

impl Type {
    /// The type that nft calls so.
    pub(super) fn from_name(name: &str) -> Option<Type> {
        let known = TYPES.iter().find(|(_, own, _)| *own == name).map(|(ty, _, _)| *ty);
        known.or(match name {
            "nfproto" => Some(Type::NfProto),
            _ => None,
        })
    }

    /// All names, for suggestions.
    pub(super) fn all_names() -> impl Iterator<Item = &'static str> {
        TYPES.iter().map(|(_, name, _)| *name)
    }

    /// nft's name.
    pub(super) fn name(self) -> &'static str {
        TYPES.iter().find(|(ty, _, _)| *ty == self).map_or("integer", |(_, name, _)| name)
    }

    /// Width in bits.
    pub(super) fn bits(self) -> u32 {
        TYPES.iter().find(|(ty, _, _)| *ty == self).map_or(32, |(_, _, bits)| *bits)
    }

    /// Words of flag bits, where a bare value is a bit test.
    pub(super) fn is_flags(self) -> bool {
        matches!(self, Type::TcpFlags | Type::CtState | Type::CtStatus | Type::CtLabel | Type::CtEvent)
    }

    /// Values that are words, not numbers: they can't be computed with.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Type::Text | Type::Cgroup | Type::Time | Type::Hour)
    }

    /// The value of a symbol of this type.
    pub(super) fn symbol(self, word: &str) -> Option<u128> {
        match self {
            Type::Service => names::service(word),
            Type::Protocol => names::protocol(word),
            // nft compares the names of days without case.
            Type::Day => self.table().iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|e| e.1),
            _ => self.table().iter().find(|(name, _)| *name == word).map(|(_, value)| *value),
        }
    }

    /// The symbols of this type, for suggestions.
    pub(super) fn symbols(self) -> Vec<&'static str> {
        match self {
            Type::Service => names::service_names().collect(),
            Type::Protocol => names::protocol_names().collect(),
            _ => self.table().iter().map(|(name, _)| *name).collect(),
        }
    }

    fn table(self) -> &'static [(&'static str, u128)] {
        match self {
            Type::EtherType => ETHER_TYPES,
            Type::ArpOperation => ARP_OPERATIONS,
            Type::IcmpType => ICMP_TYPES,
            Type::Icmpv6Type => ICMPV6_TYPES,
            Type::IcmpCode => ICMP_CODES,
            Type::Icmpv6Code => ICMPV6_CODES,
            Type::IcmpxCode => ICMPX_CODES,
            Type::IgmpType => IGMP_TYPES,
            Type::TcpFlags => TCP_FLAGS,
            Type::DccpType => DCCP_TYPES,
            Type::MobilityType => MOBILITY_TYPES,
            Type::InterfaceType => INTERFACE_TYPES,
            Type::Realm => &[("cosmos", 0)],
            Type::DeviceGroup => &[("default", 0)],
            Type::User => &[("root", 0)],
            Type::Group => &[("root", 0)],
            Type::CtState => CT_STATES,
            Type::CtDirection => &[("original", 0), ("reply", 1)],
            Type::CtStatus => CT_STATUS,
            Type::CtEvent => CT_EVENTS,
            Type::PacketType => PACKET_TYPES,
            Type::AddressType => ADDRESS_TYPES,
            Type::Boolean => &[("exists", 1), ("missing", 0)],
            Type::Day => DAYS,
            Type::Dscp => DSCP,
            Type::Ecn => &[("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)],
            Type::NfProto => &[("ipv4", 2), ("ipv6", 10)],
            Type::ClassId => &[("none", 0), ("root", 0xffff_ffff)],
            _ => &[],
        }
    }
}

const ETHER_TYPES: &[(&str, u128)] = &[
    ("ip", 0x0800),
    ("arp", 0x0806),
    ("ip6", 0x86dd),
    ("8021q", 0x8100),
    ("8021ad", 0x88a8),
    ("vlan", 0x8100),
];

const ARP_OPERATIONS: &[(&str, u128)] = &[
    ("request", 1),
    ("reply", 2),
    ("rrequest", 3),
    ("rreply", 4),
    ("inrequest", 8),
    ("inreply", 9),
    ("nak", 10),
];

const ICMP_TYPES: &[(&str, u128)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

const ICMPV6_TYPES: &[(&str, u128)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];

const ICMP_CODES: &[(&str, u128)] = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];

const ICMPV6_CODES: &[(&str, u128)] = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];

const ICMPX_CODES: &[(&str, u128)] =
    &[("no-route", 0), ("port-unreachable", 1), ("host-unreachable", 2), ("admin-prohibited", 3)];

const IGMP_TYPES: &[(&str, u128)] = &[
    ("membership-query", 17),
    ("membership-report-v1", 18),
    ("membership-report-v2", 22),
    ("leave-group", 23),
    ("membership-report-v3", 34),
];

const TCP_FLAGS: &[(&str, u128)] =
    &[("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ecn", 64), ("cwr", 128)];

const DCCP_TYPES: &[(&str, u128)] = &[
    ("request", 0),
    ("response", 1),
    ("data", 2),
    ("ack", 3),
    ("dataack", 4),
    ("closereq", 5),
    ("close", 6),
    ("reset", 7),
    ("sync", 8),
    ("syncack", 9),
];

const MOBILITY_TYPES: &[(&str, u128)] = &[
    ("binding-refresh-request", 0),
    ("home-test-init", 1),
    ("careof-test-init", 2),
    ("home-test", 3),
    ("careof-test", 4),
    ("binding-update", 5),
    ("binding-acknowledgement", 6),
    ("binding-error", 7),
    ("fast-binding-update", 8),
    ("fast-binding-acknowledgement", 9),
    ("fast-binding-advertisement", 10),
    ("experimental-mobility-header", 11),
    ("home-agent-switch-message", 12),
];

const INTERFACE_TYPES: &[(&str, u128)] = &[
    ("ether", 1),
    ("ppp", 512),
    ("ipip", 768),
    ("ipip6", 769),
    ("loopback", 772),
    ("sit", 776),
    ("ipgre", 778),
];

/// The kernel's word for each conntrack state (`NF_CT_STATE_BIT`).
const CT_STATES: &[(&str, u128)] =
    &[("invalid", 1), ("established", 2), ("related", 4), ("new", 8), ("untracked", 64)];

const CT_STATUS: &[(&str, u128)] = &[
    ("expected", 1),
    ("seen-reply", 2),
    ("assured", 4),
    ("confirmed", 8),
    ("snat", 16),
    ("dnat", 32),
    ("dying", 512),
];

const CT_EVENTS: &[(&str, u128)] = &[
    ("new", 1),
    ("related", 2),
    ("destroy", 4),
    ("reply", 8),
    ("assured", 16),
    ("protoinfo", 32),
    ("helper", 64),
    ("mark", 128),
    ("seqadj", 256),
    ("secmark", 512),
    ("label", 1024),
];

const PACKET_TYPES: &[(&str, u128)] =
    &[("host", 0), ("unicast", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)];

const ADDRESS_TYPES: &[(&str, u128)] = &[
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];

const DAYS: &[(&str, u128)] = &[
    ("Sunday", 0),
    ("Monday", 1),
    ("Tuesday", 2),
    ("Wednesday", 3),
    ("Thursday", 4),
    ("Friday", 5),
    ("Saturday", 6),
];

const DSCP: &[(&str, u128)] = &[
    ("cs0", 0x00),
    ("cs1", 0x08),
    ("cs2", 0x10),
    ("cs3", 0x18),
    ("cs4", 0x20),
    ("cs5", 0x28),
    ("cs6", 0x30),
    ("cs7", 0x38),
    ("df", 0x00),
    ("be", 0x00),
    ("lephb", 0x01),
    ("af11", 0x0a),
    ("af12", 0x0c),
    ("af13", 0x0e),
    ("af21", 0x12),
    ("af22", 0x14),
    ("af23", 0x16),
    ("af31", 0x1a),
    ("af32", 0x1c),
    ("af33", 0x1e),
    ("af41", 0x22),
    ("af42", 0x24),
    ("af43", 0x26),
    ("va", 0x2c),
    ("ef", 0x2e),
];
