//! Names that iptables has for numbers.
//!
//! Protocols and services are those of the IANA registries that rules use; iptables itself asks /etc/protocols and
//! /etc/services, which differ between hosts, while iptables-save writes numbers.

use super::spec::Versions;

/// `ct state` words, the two that aren't states last.
pub(super) const CT_STATES: [&str; 7] =
    ["INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED", "SNAT", "DNAT"];

pub(super) const SCTP_CHUNKS: [&str; 25] = [
    "ALL",
    "NONE",
    "DATA",
    "INIT",
    "INIT_ACK",
    "SACK",
    "HEARTBEAT",
    "HEARTBEAT_ACK",
    "ABORT",
    "SHUTDOWN",
    "SHUTDOWN_ACK",
    "ERROR",
    "COOKIE_ECHO",
    "COOKIE_ACK",
    "ECN_ECNE",
    "ECN_CWR",
    "SHUTDOWN_COMPLETE",
    "ASCONF",
    "ASCONF_ACK",
    "FORWARD_TSN",
    "I_DATA",
    "RE_CONFIG",
    "PAD",
    "I_FORWARD_TSN",
    "AUTH",
];

pub(super) const DCCP_TYPES: [&str; 11] = [
    "REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK",
    "INVALID",
];

pub(super) const IPV6_HEADERS: [&str; 17] = [
    "hop-by-hop",
    "hop",
    "ipv6-opts",
    "dst",
    "ipv6-route",
    "route",
    "ipv6-frag",
    "frag",
    "ah",
    "auth",
    "esp",
    "ipv6-nonxt",
    "none",
    "prot",
    "proto",
    "protocol",
    "ipv6-icmp",
];

pub(super) const WEEKDAYS: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];

/// The number of a protocol. Matched in any case, as the callers of getprotobyname expect.
pub(crate) fn protocol(name: &str) -> Option<u8> {
    // What nearly every rule says, without a search.
    match name {
        "tcp" => return Some(6),
        "udp" => return Some(17),
        "icmp" => return Some(1),
        _ => {}
    }
    const NAMES: [(&str, u8); 52] = [
        ("all", 0),
        ("hopopt", 0),
        ("ip", 0),
        ("icmp", 1),
        ("igmp", 2),
        ("ggp", 3),
        ("ipencap", 4),
        ("ipip", 94),
        ("st", 5),
        ("tcp", 6),
        ("egp", 8),
        ("igp", 9),
        ("pup", 12),
        ("udp", 17),
        ("hmp", 20),
        ("xns-idp", 22),
        ("rdp", 27),
        ("iso-tp4", 29),
        ("dccp", 33),
        ("xtp", 36),
        ("ddp", 37),
        ("idpr-cmtp", 38),
        ("ipv6", 41),
        ("ipv6-route", 43),
        ("ipv6-frag", 44),
        ("idrp", 45),
        ("rsvp", 46),
        ("gre", 47),
        ("esp", 50),
        ("ipv6-crypt", 50),
        ("ah", 51),
        ("ipv6-auth", 51),
        ("skip", 57),
        ("ipv6-icmp", 58),
        ("icmpv6", 58),
        ("icmp6", 58),
        ("ipv6-nonxt", 59),
        ("ipv6-opts", 60),
        ("rspf", 73),
        ("vmtp", 81),
        ("eigrp", 88),
        ("ospf", 89),
        ("ospfigp", 89),
        ("etherip", 97),
        ("encap", 98),
        ("pim", 103),
        ("ipcomp", 108),
        ("vrrp", 112),
        ("l2tp", 115),
        ("sctp", 132),
        ("udplite", 136),
        ("mobility-header", 135),
    ];
    if name.eq_ignore_ascii_case("ipv6-mh") || name.eq_ignore_ascii_case("mh") {
        return Some(135);
    }
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| number)
}

/// The match that iptables loads by itself for the options of a protocol.
pub(super) fn match_of_protocol(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        50 => "esp",
        51 => "ah",
        58 => "icmp6",
        108 => "ipcomp",
        132 => "sctp",
        135 => "mh",
        _ => return None,
    })
}

/// The port of a service.
pub(crate) fn service(name: &str) -> Option<u16> {
    const NAMES: [(&str, u16); 138] = [
        ("tcpmux", 1),
        ("echo", 7),
        ("discard", 9),
        ("systat", 11),
        ("daytime", 13),
        ("netstat", 15),
        ("qotd", 17),
        ("chargen", 19),
        ("ftp-data", 20),
        ("ftp", 21),
        ("ssh", 22),
        ("telnet", 23),
        ("smtp", 25),
        ("mail", 25),
        ("time", 37),
        ("whois", 43),
        ("tacacs", 49),
        ("domain", 53),
        ("bootps", 67),
        ("bootpc", 68),
        ("tftp", 69),
        ("gopher", 70),
        ("finger", 79),
        ("http", 80),
        ("www", 80),
        ("kerberos", 88),
        ("iso-tsap", 102),
        ("acr-nema", 104),
        ("pop3", 110),
        ("pop-3", 110),
        ("sunrpc", 111),
        ("portmapper", 111),
        ("auth", 113),
        ("ident", 113),
        ("nntp", 119),
        ("ntp", 123),
        ("epmap", 135),
        ("netbios-ns", 137),
        ("netbios-dgm", 138),
        ("netbios-ssn", 139),
        ("imap2", 143),
        ("imap", 143),
        ("snmp", 161),
        ("snmp-trap", 162),
        ("snmptrap", 162),
        ("cmip-man", 163),
        ("xdmcp", 177),
        ("bgp", 179),
        ("irc", 194),
        ("smux", 199),
        ("qmtp", 209),
        ("z3950", 210),
        ("ipx", 213),
        ("ptp-event", 319),
        ("ptp-general", 320),
        ("pawserv", 345),
        ("zserv", 346),
        ("rpc2portmap", 369),
        ("codaauth2", 370),
        ("clearcase", 371),
        ("ldap", 389),
        ("svrloc", 427),
        ("https", 443),
        ("snpp", 444),
        ("microsoft-ds", 445),
        ("kpasswd", 464),
        ("submissions", 465),
        ("smtps", 465),
        ("urd", 465),
        ("saft", 487),
        ("isakmp", 500),
        ("exec", 512),
        ("biff", 512),
        ("login", 513),
        ("who", 513),
        ("shell", 514),
        ("syslog", 514),
        ("printer", 515),
        ("talk", 517),
        ("ntalk", 518),
        ("route", 520),
        ("router", 520),
        ("ripng", 521),
        ("gdomap", 538),
        ("uucp", 540),
        ("klogin", 543),
        ("kshell", 544),
        ("dhcpv6-client", 546),
        ("dhcpv6-server", 547),
        ("rtsp", 554),
        ("nntps", 563),
        ("nqs", 607),
        ("submission", 587),
        ("asf-rmcp", 623),
        ("qmqp", 628),
        ("ipp", 631),
        ("ldaps", 636),
        ("ldp", 646),
        ("tinc", 655),
        ("silc", 706),
        ("kerberos-adm", 749),
        ("domain-s", 853),
        ("rsync", 873),
        ("ftps-data", 989),
        ("ftps", 990),
        ("telnets", 992),
        ("imaps", 993),
        ("ircs", 994),
        ("pop3s", 995),
        ("socks", 1080),
        ("proofd", 1093),
        ("rootd", 1094),
        ("openvpn", 1194),
        ("ms-sql-s", 1433),
        ("ms-sql-m", 1434),
        ("l2f", 1701),
        ("l2tp", 1701),
        ("pptp", 1723),
        ("radius", 1812),
        ("radius-acct", 1813),
        ("nfs", 2049),
        ("cvspserver", 2401),
        ("mysql", 3306),
        ("svn", 3690),
        ("iscsi-target", 3260),
        ("ipsec-nat-t", 4500),
        ("sip", 5060),
        ("sip-tls", 5061),
        ("xmpp-client", 5222),
        ("xmpp-server", 5269),
        ("mdns", 5353),
        ("postgresql", 5432),
        ("amqp", 5672),
        ("x11", 6000),
        ("redis", 6379),
        ("http-alt", 8080),
        ("webcache", 8080),
        ("git", 9418),
    ];
    NAMES.iter().find(|(known, _)| *known == name).map(|&(_, port)| port)
}

/// A differentiated services class.
pub(crate) fn dscp_class(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    match upper.as_bytes() {
        b"BE" => Some(0),
        b"EF" => Some(0x2E),
        [b'C', b'S', class @ b'0'..=b'7'] => Some((class - b'0') * 8),
        [b'A', b'F', class @ b'1'..=b'4', drop @ b'1'..=b'3'] => Some((class - b'0') * 8 + (drop - b'0') * 2),
        _ => None,
    }
}

/// A type of service.
pub(super) fn tos(name: &str) -> Option<u8> {
    const NAMES: [(&str, u8); 5] = [
        ("Minimize-Delay", 0x10),
        ("Maximize-Throughput", 0x08),
        ("Maximize-Reliability", 0x04),
        ("Minimize-Cost", 0x02),
        ("Normal-Service", 0x00),
    ];
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
}

/// A type of address (RTN_* of linux/rtnetlink.h).
pub(crate) fn addr_type(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
        "THROW",
        "NAT",
        "XRESOLVE",
    ];
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)).map(|value| value as u8)
}

/// Bits of a list of TCP flags.
pub(crate) fn tcp_flags(list: &str) -> Option<u8> {
    let mut bits = 0;
    for flag in list.split(',') {
        bits |= match flag {
            _ if flag.eq_ignore_ascii_case("FIN") => 1,
            _ if flag.eq_ignore_ascii_case("SYN") => 2,
            _ if flag.eq_ignore_ascii_case("RST") => 4,
            _ if flag.eq_ignore_ascii_case("PSH") => 8,
            _ if flag.eq_ignore_ascii_case("ACK") => 16,
            _ if flag.eq_ignore_ascii_case("URG") => 32,
            _ if flag.eq_ignore_ascii_case("ALL") => 63,
            _ if flag.eq_ignore_ascii_case("NONE") => 0,
            _ => return None,
        };
    }
    Some(bits)
}

/// The answer of REJECT: true for a TCP reset, and the version whose errors have this name. Names may be cut short.
pub(crate) fn reject(name: &str) -> Option<(bool, Versions)> {
    const V4: [(&str, &str); 7] = [
        ("icmp-net-unreachable", "net-unreach"),
        ("icmp-host-unreachable", "host-unreach"),
        ("icmp-proto-unreachable", "proto-unreach"),
        ("icmp-port-unreachable", "port-unreach"),
        ("icmp-net-prohibited", "net-prohib"),
        ("icmp-host-prohibited", "host-prohib"),
        ("icmp-admin-prohibited", "admin-prohib"),
    ];
    const V6: [(&str, &str); 6] = [
        ("icmp6-no-route", "no-route"),
        ("icmp6-adm-prohibited", "adm-prohibited"),
        ("icmp6-addr-unreachable", "addr-unreach"),
        ("icmp6-port-unreachable", "port-unreach"),
        ("icmp6-policy-fail", "policy-fail"),
        ("icmp6-reject-route", "reject-route"),
    ];
    if name.is_empty() {
        return None;
    }
    let starts = |known: &str| known.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    if name.len() > 3 && (starts("tcp-reset") || starts("tcp-rst")) {
        return Some((true, Versions::NONE));
    }
    let v4 = V4.iter().any(|(long, short)| starts(long) || starts(short));
    let v6 = V6.iter().any(|(long, short)| starts(long) || starts(short));
    match (v4, v6) {
        (true, false) => Some((false, Versions::V4)),
        (false, true) => Some((false, Versions::V6)),
        (true, true) => Some((false, Versions::NONE)),
        (false, false) => None,
    }
}

/// ICMP type, and the codes that match: `None` for the type means any.
pub(crate) type IcmpType = (Option<u8>, u8, u8);

/// An ICMP type by number or name (unique beginnings of names count). In iptables type 255 means any.
pub(crate) fn icmp_type(text: &str, v6: bool) -> Option<IcmpType> {
    if text.bytes().next()?.is_ascii_digit() {
        let (kind, codes) = match text.split_once('/') {
            Some((kind, codes)) => (kind, Some(codes)),
            None => (text, None),
        };
        let kind = super::args::number(kind, 255)? as u8;
        let (low, high) = match codes {
            Some(codes) => super::args::range(codes, 255)?,
            None => (0, 255),
        };
        return Some(if kind == 255 && !v6 { (None, 0, 255) } else { (Some(kind), low as u8, high as u8) });
    }
    let names: &[(&str, IcmpType)] = if v6 { &ICMP6_NAMES } else { &ICMP_NAMES };
    if let Some(&(_, found)) = names.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
        return Some(found);
    }
    let mut begun = names
        .iter()
        .filter(|(known, _)| known.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text)));
    let found = begun.next()?.1;
    begun.all(|(_, other)| *other == found).then_some(found)
}

const fn whole(kind: u8) -> IcmpType {
    (Some(kind), 0, 255)
}

const fn code(kind: u8, code: u8) -> IcmpType {
    (Some(kind), code, code)
}

const ICMP_NAMES: [(&str, IcmpType); 40] = [
    ("any", (None, 0, 255)),
    ("echo-reply", whole(0)),
    ("pong", whole(0)),
    ("destination-unreachable", whole(3)),
    ("network-unreachable", code(3, 0)),
    ("host-unreachable", code(3, 1)),
    ("protocol-unreachable", code(3, 2)),
    ("port-unreachable", code(3, 3)),
    ("fragmentation-needed", code(3, 4)),
    ("source-route-failed", code(3, 5)),
    ("network-unknown", code(3, 6)),
    ("host-unknown", code(3, 7)),
    ("network-prohibited", code(3, 9)),
    ("host-prohibited", code(3, 10)),
    ("TOS-network-unreachable", code(3, 11)),
    ("TOS-host-unreachable", code(3, 12)),
    ("communication-prohibited", code(3, 13)),
    ("host-precedence-violation", code(3, 14)),
    ("precedence-cutoff", code(3, 15)),
    ("source-quench", code(4, 0)),
    ("redirect", whole(5)),
    ("network-redirect", code(5, 0)),
    ("host-redirect", code(5, 1)),
    ("TOS-network-redirect", code(5, 2)),
    ("TOS-host-redirect", code(5, 3)),
    ("echo-request", whole(8)),
    ("ping", whole(8)),
    ("router-advertisement", whole(9)),
    ("router-solicitation", whole(10)),
    ("time-exceeded", whole(11)),
    ("ttl-exceeded", whole(11)),
    ("ttl-zero-during-transit", code(11, 0)),
    ("ttl-zero-during-reassembly", code(11, 1)),
    ("parameter-problem", whole(12)),
    ("ip-header-bad", code(12, 0)),
    ("required-option-missing", code(12, 1)),
    ("timestamp-request", whole(13)),
    ("timestamp-reply", whole(14)),
    ("address-mask-request", whole(17)),
    ("address-mask-reply", whole(18)),
];

const ICMP6_NAMES: [(&str, IcmpType); 32] = [
    ("destination-unreachable", whole(1)),
    ("no-route", code(1, 0)),
    ("communication-prohibited", code(1, 1)),
    ("beyond-scope", code(1, 2)),
    ("address-unreachable", code(1, 3)),
    ("port-unreachable", code(1, 4)),
    ("failed-policy", code(1, 5)),
    ("reject-route", code(1, 6)),
    ("packet-too-big", whole(2)),
    ("time-exceeded", whole(3)),
    ("ttl-exceeded", whole(3)),
    ("ttl-zero-during-transit", code(3, 0)),
    ("ttl-zero-during-reassembly", code(3, 1)),
    ("parameter-problem", whole(4)),
    ("bad-header", code(4, 0)),
    ("unknown-header-type", code(4, 1)),
    ("unknown-option", code(4, 2)),
    ("echo-request", whole(128)),
    ("ping", whole(128)),
    ("echo-reply", whole(129)),
    ("pong", whole(129)),
    ("mld-listener-query", whole(130)),
    ("mld-listener-report", whole(131)),
    ("mld-listener-done", whole(132)),
    ("mld-listener-reduction", whole(132)),
    ("router-solicitation", whole(133)),
    ("router-advertisement", whole(134)),
    ("neighbour-solicitation", whole(135)),
    ("neighbor-solicitation", whole(135)),
    ("neighbour-advertisement", whole(136)),
    ("neighbor-advertisement", whole(136)),
    ("redirect", whole(137)),
];

/// Extensions that aren't part of Linux or iptables but exist (xtables-addons and others).
pub(super) const ADDONS: [&str; 36] = [
    "ACCOUNT",
    "CHAOS",
    "DELUDE",
    "DHCPMAC",
    "DNETMAP",
    "ECHO",
    "IMQ",
    "IPMARK",
    "LOGMARK",
    "PROTO",
    "RAWDNAT",
    "RAWSNAT",
    "ROUTE",
    "SYSRQ",
    "TARPIT",
    "XMARK",
    "condition",
    "connlabel",
    "dhcpmac",
    "fuzzy",
    "geoip",
    "gradm",
    "iface",
    "ipp2p",
    "ipv4options",
    "layer7",
    "length2",
    "lscan",
    "mport",
    "ndpi",
    "pknock",
    "psd",
    "quota2",
    "asn",
    "webstr",
    "web",
];
