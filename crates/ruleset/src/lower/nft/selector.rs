//! What an expression reads from the packet: its type, the field of the model that holds it, and the protocols that
//! must be there for it to mean anything.

use super::context::Known;
use super::types::Type;
use crate::ir::{Family, Hook};
use crate::syntax::nft::ast::{
    Direction, Expr, ExprKind, Family as SyntaxFamily, Fib, HeaderField, Inner, OptionHeader, RawPayload,
};
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, Purity};

/// Where the value of an expression is in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this field; the bits of `mask` of nft's word are the field, the others aren't modelled.
    Field { field: Field, mask: u128 },
    /// Nowhere: tests of it are atoms of this kind.
    Unknown { kind: &'static str, purity: Purity },
}

/// A protocol that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// This network protocol (2 or 10).
    Network(u128),
    /// This transport protocol.
    Transport(u128),
    /// This transport protocol, which in turn stands for a network protocol where nothing else is known: ICMP.
    TransportOver { transport: u128, network: u128 },
    /// A VLAN tag.
    Vlan,
    /// ARP: no packet of the model has it.
    Arp,
}

/// An expression that reads something from a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selector {
    pub(super) ty: Type,
    pub(super) bits: u32,
    pub(super) place: Place,
    pub(super) need: Need,
}

/// Where a rule stands, as far as reading its expressions depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) family: Family,
    pub(super) hook: Option<Hook>,
    pub(super) network: Known,
    pub(super) transport: Known,
}

impl Site {
    /// No place in particular: `typeof` in a set's declaration.
    pub(super) fn anywhere(family: Family) -> Site {
        Site { family, hook: None, network: Known::Any, transport: Known::One(17) }
    }
}

impl Selector {
    fn field(field: Field, ty: Type, need: Need) -> Selector {
        Selector::part(field, ty, ty.bits(), u128::MAX, need)
    }

    fn part(field: Field, ty: Type, bits: u32, mask: u128, need: Need) -> Selector {
        Selector { ty, bits, place: Place::Field { field, mask }, need }
    }

    fn unknown(kind: &'static str, ty: Type, bits: u32, need: Need) -> Selector {
        Selector { ty, bits, place: Place::Unknown { kind, purity: Purity::Pure }, need }
    }

    fn stateful(kind: &'static str, ty: Type, bits: u32) -> Selector {
        Selector { ty, bits, place: Place::Unknown { kind, purity: Purity::Stateful }, need: Need::Nothing }
    }
}

/// Reads the selector of an expression: `Ok(None)` where it isn't one (a constant, a set, …).
pub(super) fn selector(expr: &Expr, site: &Site) -> Result<Option<Selector>, Box<Diagnostic>> {
    let expr = expr.resolved();
    let span = expr.span;
    Ok(Some(match &expr.kind {
        ExprKind::Payload(field) => {
            check_tunnel(field.protocol, site, span)?;
            payload(field, site)
        }
        ExprKind::RawPayload(raw) => raw_payload(raw, site, span)?,
        ExprKind::Inner(inner) => tunnelled(inner, site, span)?,
        ExprKind::Exthdr(field) => exthdr(field),
        ExprKind::ExthdrExists(_) => {
            Selector::unknown("extension header", Type::Boolean, 1, Need::Network(10))
        }
        ExprKind::HeaderOption(option) => {
            let (kind, need) = match option.header {
                OptionHeader::Tcp => ("tcp option", Need::Transport(6)),
                OptionHeader::Ip => ("ip option", Need::Network(2)),
                OptionHeader::Sctp => ("sctp chunk", Need::Transport(132)),
                OptionHeader::Dccp => ("dccp option", Need::Transport(33)),
            };
            match (option.field, option.raw) {
                (_, Some((_, length))) => Selector::unknown(kind, Type::Integer, length.min(128), need),
                (None, None) => Selector::unknown(kind, Type::Boolean, 1, need),
                (Some(name), None) => Selector::unknown(kind, Type::Integer, option_bits(name), need),
            }
        }
        ExprKind::Meta(key) => meta(key, site, span)?,
        ExprKind::Ct { key, direction } => ct(key, *direction, site, span)?,
        ExprKind::Rt { key, family } => rt(key, *family, site, span)?,
        ExprKind::Socket { key, .. } => match *key {
            "transparent" | "wildcard" => Selector::unknown("socket", Type::Boolean, 1, Need::Nothing),
            "mark" => Selector::unknown("socket", Type::Mark, 32, Need::Nothing),
            _ => Selector::unknown("socket", Type::Cgroup, 64, Need::Nothing),
        },
        ExprKind::Osf(_) => Selector::unknown("os fingerprint", Type::Text, 128, Need::Nothing),
        ExprKind::Fib(fib) => self::fib(fib, site, span)?,
        ExprKind::Tunnel("path") => Selector::unknown("tunnel", Type::Boolean, 1, Need::Nothing),
        ExprKind::Tunnel(_) => Selector::unknown("tunnel", Type::Integer, 32, Need::Nothing),
        ExprKind::Numgen(_) => Selector::stateful("numgen", Type::Integer, 32),
        ExprKind::Hash(_) => Selector::unknown("hash", Type::Integer, 32, Need::Nothing),
        ExprKind::Ipsec(ipsec) => match ipsec.key {
            "ip saddr" | "ip daddr" => Selector::unknown("ipsec", Type::Ipv4, 32, Need::Nothing),
            "ip6 saddr" | "ip6 daddr" => Selector::unknown("ipsec", Type::Ipv6, 128, Need::Nothing),
            _ => Selector::unknown("ipsec", Type::Integer, 32, Need::Nothing),
        },
        _ => return Ok(None),
    }))
}

/// A field of a header.
fn payload(at: &HeaderField, site: &Site) -> Selector {
    let unknown = |ty: Type, bits: u32, need| Selector::unknown("header field", ty, bits, need);
    let number = |bits: u32, need| Selector::unknown("header field", Type::Integer, bits, need);
    match at.protocol {
        "ether" => match at.name {
            "saddr" => Selector::field(Field::ETHER_SADDR, Type::Ether, Need::Nothing),
            "daddr" => Selector::field(Field::ETHER_DADDR, Type::Ether, Need::Nothing),
            _ => ether_type(site),
        },
        "vlan" => match at.name {
            "id" => number(12, Need::Vlan),
            "pcp" => number(3, Need::Vlan),
            "dei" | "cfi" => number(1, Need::Vlan),
            _ => unknown(Type::EtherType, 16, Need::Vlan),
        },
        "arp" => match at.name {
            "htype" => number(16, Need::Arp),
            "ptype" => unknown(Type::EtherType, 16, Need::Arp),
            "operation" => unknown(Type::ArpOperation, 16, Need::Arp),
            name if name.ends_with(" ip") => unknown(Type::Ipv4, 32, Need::Arp),
            name if name.ends_with(" ether") => unknown(Type::Ether, 48, Need::Arp),
            _ => number(8, Need::Arp),
        },
        "ip" => ipv4(at.name),
        "ip6" => ipv6(at.name),
        "icmp" | "icmpv6" => icmp(at),
        "igmp" => {
            let need = Need::TransportOver { transport: 2, network: 2 };
            match at.name {
                "type" => unknown(Type::IgmpType, 8, need),
                "mrt" => number(8, need),
                "group" => unknown(Type::Ipv4, 32, need),
                _ => number(16, need),
            }
        }
        "tcp" => tcp(at.name),
        "udp" => ports(at.name, Need::Transport(17)).unwrap_or_else(|| number(16, Need::Transport(17))),
        "udplite" => ports(at.name, Need::Transport(136)).unwrap_or_else(|| number(16, Need::Transport(136))),
        "sctp" => ports(at.name, Need::Transport(132)).unwrap_or_else(|| number(32, Need::Transport(132))),
        "dccp" => ports(at.name, Need::Transport(33))
            .unwrap_or_else(|| unknown(Type::DccpType, 4, Need::Transport(33))),
        "th" => ports(at.name, Need::Nothing).unwrap_or_else(|| number(16, Need::Nothing)),
        "ah" => match at.name {
            "nexthdr" => unknown(Type::Protocol, 8, Need::Transport(51)),
            "hdrlength" => number(8, Need::Transport(51)),
            "reserved" => number(16, Need::Transport(51)),
            _ => number(32, Need::Transport(51)),
        },
        "esp" => number(32, Need::Transport(50)),
        "comp" => match at.name {
            "nexthdr" => unknown(Type::Protocol, 8, Need::Transport(108)),
            "flags" => number(8, Need::Transport(108)),
            _ => number(16, Need::Transport(108)),
        },
        "gre" => match at.name {
            "protocol" => unknown(Type::EtherType, 16, Need::Transport(47)),
            "flags" => number(5, Need::Transport(47)),
            _ => number(3, Need::Transport(47)),
        },
        "geneve" | "vxlan" => match at.name {
            "vni" => number(24, Need::Transport(17)),
            "type" => unknown(Type::EtherType, 16, Need::Transport(17)),
            _ => number(8, Need::Transport(17)),
        },
        _ => number(32, Need::Nothing),
    }
}

/// The protocol in the link-layer header, or of the packet as the kernel tells it. Packets of the model are IPv4 or
/// IPv6. Where frames pass (bridge, netdev) an IP packet may be inside a VLAN tag, and then the type is another.
fn ether_type(site: &Site) -> Selector {
    match site.family {
        Family::Ip | Family::Ip6 | Family::Inet | Family::Bridge | Family::Netdev | Family::Arp => {
            Selector::field(Field::NFPROTO, Type::EtherType, Need::Nothing)
        }
    }
}

fn ipv4(name: &str) -> Selector {
    let need = Need::Network(2);
    let number = |bits: u32| Selector::unknown("header field", Type::Integer, bits, need);
    match name {
        "saddr" => Selector::field(Field::SADDR, Type::Ipv4, need),
        "daddr" => Selector::field(Field::DADDR, Type::Ipv4, need),
        "protocol" => Selector::field(Field::L4PROTO, Type::Protocol, need),
        "ttl" => Selector::part(Field::TTL, Type::Integer, 8, u128::MAX, need),
        "dscp" => Selector::field(Field::DSCP, Type::Dscp, need),
        "ecn" => Selector::field(Field::ECN, Type::Ecn, need),
        "length" => Selector::part(Field::LENGTH, Type::Integer, 16, u128::MAX, need),
        // The upper three bits of nft's word are flags.
        "frag-off" => Selector::part(Field::FRAGMENT_OFFSET, Type::Integer, 16, 0x1fff, need),
        "version" | "hdrlength" => number(4),
        _ => number(16),
    }
}

fn ipv6(name: &str) -> Selector {
    let need = Need::Network(10);
    let number = |bits: u32| Selector::unknown("header field", Type::Integer, bits, need);
    match name {
        "saddr" => Selector::field(Field::SADDR, Type::Ipv6, need),
        "daddr" => Selector::field(Field::DADDR, Type::Ipv6, need),
        // The same for packets without extension headers; the model has none.
        "nexthdr" => Selector::field(Field::L4PROTO, Type::Protocol, need),
        "hoplimit" => Selector::part(Field::TTL, Type::Integer, 8, u128::MAX, need),
        "dscp" => Selector::field(Field::DSCP, Type::Dscp, need),
        "ecn" => Selector::field(Field::ECN, Type::Ecn, need),
        "version" => number(4),
        "flowlabel" => number(20),
        _ => number(16),
    }
}

fn icmp(at: &HeaderField) -> Selector {
    let (need, type_type, code_type) = match at.protocol {
        "icmp" => (Need::TransportOver { transport: 1, network: 2 }, Type::IcmpType, Type::IcmpCode),
        _ => (Need::TransportOver { transport: 58, network: 10 }, Type::Icmpv6Type, Type::Icmpv6Code),
    };
    match at.name {
        "type" => Selector::field(Field::ICMP_TYPE, type_type, need),
        "code" => Selector::field(Field::ICMP_CODE, code_type, need),
        "taddr" | "daddr" => Selector::unknown("header field", Type::Ipv6, 128, need),
        "gateway" | "parameter-problem" | "packet-too-big" => {
            Selector::unknown("header field", Type::Integer, 32, need)
        }
        "mtu" if at.protocol == "icmpv6" => Selector::unknown("header field", Type::Integer, 32, need),
        _ => Selector::unknown("header field", Type::Integer, 16, need),
    }
}

fn tcp(name: &str) -> Selector {
    let need = Need::Transport(6);
    if let Some(port) = ports(name, need) {
        return port;
    }
    match name {
        "flags" => Selector::field(Field::TCP_FLAGS, Type::TcpFlags, need),
        "sequence" | "ackseq" => Selector::unknown("header field", Type::Integer, 32, need),
        "doff" | "reserved" => Selector::unknown("header field", Type::Integer, 4, need),
        _ => Selector::unknown("header field", Type::Integer, 16, need),
    }
}

fn ports(name: &str, need: Need) -> Option<Selector> {
    match name {
        "sport" => Some(Selector::field(Field::SPORT, Type::Service, need)),
        "dport" => Some(Selector::field(Field::DPORT, Type::Service, need)),
        _ => None,
    }
}

fn exthdr(at: &HeaderField) -> Selector {
    let (ty, bits) = match (at.protocol, at.name) {
        ("mh", "type") => (Type::MobilityType, 8),
        (_, "nexthdr") => (Type::Protocol, 8),
        ("frag", "frag-off") => (Type::Integer, 13),
        ("frag", "reserved2") => (Type::Integer, 2),
        ("frag", "more-fragments") => (Type::Integer, 1),
        ("frag", "id") => (Type::Integer, 32),
        ("srh", "tag") | ("mh", "checksum") => (Type::Integer, 16),
        (_, name) if name.starts_with("sid") || name.starts_with("addr") => (Type::Ipv6, 128),
        _ => (Type::Integer, 8),
    };
    Selector::unknown("extension header", ty, bits, Need::Network(10))
}

fn option_bits(name: &str) -> u32 {
    match name {
        "kind" | "length" | "count" | "flags" | "type" | "ptr" | "value" => 8,
        "subtype" => 4,
        "size" | "stream" | "ssn" | "num-outbound-streams" | "num-inbound-streams" => 16,
        _ => 32,
    }
}

fn raw_payload(raw: &RawPayload, site: &Site, span: Span) -> Result<Selector, Box<Diagnostic>> {
    if raw.length == 0 || raw.length > 128 {
        return Err(Box::new(
            Diagnostic::error(
                "bad-payload",
                format!("a raw payload expression reads 1 to 128 bits, not {}", raw.length),
            )
            .at(span, "")
            .help("give the number of bits as the last of the three parts: `@th,16,16`"),
        ));
    }
    let known = match (raw.base, raw.offset, raw.length) {
        ("th", 0, 16) => Some((Field::SPORT, 16)),
        ("th", 16, 16) => Some((Field::DPORT, 16)),
        ("nh", 96, 32) if site.network == Known::One(2) => Some((Field::SADDR, 32)),
        ("nh", 128, 32) if site.network == Known::One(2) => Some((Field::DADDR, 32)),
        ("nh", 72, 8) if site.network == Known::One(2) => Some((Field::L4PROTO, 8)),
        ("nh", 64, 8) if site.network == Known::One(2) => Some((Field::TTL, 8)),
        _ => None,
    };
    Ok(match known {
        Some((field, bits)) => Selector::part(field, Type::Integer, bits, u128::MAX, Need::Nothing),
        None => Selector::unknown("raw payload", Type::Integer, raw.length, Need::Nothing),
    })
}

fn tunnelled(inner: &Inner, site: &Site, span: Span) -> Result<Selector, Box<Diagnostic>> {
    let need = match inner.tunnel {
        "vxlan" | "geneve" => Need::Transport(17),
        _ => Need::Transport(47),
    };
    check_tunnel(inner.tunnel, site, span)?;
    let read = selector(&inner.expr, &Site { network: Known::Any, transport: Known::Any, ..*site })?;
    if let ExprKind::Payload(field) = &inner.expr.resolved().kind
        && inner.tunnel == "gre"
        && matches!(field.protocol, "ether" | "vlan")
    {
        return Err(Box::new(
            Diagnostic::error("no-protocol", "a GRE tunnel carries no Ethernet header")
                .at(span, "")
                .help("use `gretap` for Ethernet over GRE"),
        ));
    }
    let (ty, bits) = read.map_or((Type::Integer, 128), |read| (read.ty, read.bits));
    Ok(Selector::unknown("tunnel", ty, bits, need))
}

/// Tunnels over UDP have no protocol number that could be tested for them.
fn check_tunnel(protocol: &str, site: &Site, span: Span) -> Result<(), Box<Diagnostic>> {
    if !matches!(protocol, "vxlan" | "geneve") || site.transport == Known::One(17) {
        return Ok(());
    }
    Err(Box::new(
        Diagnostic::error("no-protocol", format!("`{protocol}` needs a match on UDP before it"))
            .at(span, "")
            .help("put a test of the port first: `udp dport 4789`"),
    ))
}

fn meta(key: &str, site: &Site, span: Span) -> Result<Selector, Box<Diagnostic>> {
    let field = |field, ty| Selector::field(field, ty, Need::Nothing);
    let unknown = |kind, ty: Type| Selector::unknown(kind, ty, ty.bits(), Need::Nothing);
    Ok(match key {
        "length" => Selector::part(Field::LENGTH, Type::Integer, 32, u128::MAX, Need::Nothing),
        "protocol" => ether_type(site),
        "nfproto" => field(Field::NFPROTO, Type::NfProto),
        "l4proto" => field(Field::L4PROTO, Type::Protocol),
        "mark" => field(Field::MARK, Type::Mark),
        "iif" => field(Field::IIFNAME, Type::InterfaceIndex),
        "oif" => field(Field::OIFNAME, Type::InterfaceIndex),
        "iifname" => field(Field::IIFNAME, Type::InterfaceName),
        "oifname" => field(Field::OIFNAME, Type::InterfaceName),
        "pkttype" => field(Field::PKTTYPE, Type::PacketType),
        "priority" => unknown("priority", Type::ClassId),
        "iiftype" | "oiftype" => unknown("interface", Type::InterfaceType),
        "iifgroup" | "oifgroup" => unknown("interface", Type::DeviceGroup),
        "iifkind" | "oifkind" => unknown("interface", Type::Text),
        "sdif" => unknown("interface", Type::InterfaceIndex),
        "sdifname" => unknown("interface", Type::InterfaceName),
        "skuid" => unknown("owner", Type::User),
        "skgid" => unknown("owner", Type::Group),
        "rtclassid" => unknown("routing", Type::Realm),
        "cpu" => Selector::unknown("cpu", Type::Integer, 32, Need::Nothing),
        "cgroup" => Selector::unknown("cgroup", Type::Integer, 32, Need::Nothing),
        "nftrace" => Selector::unknown("trace", Type::Integer, 1, Need::Nothing),
        "random" => Selector::stateful("random", Type::Integer, 32),
        "ipsec" | "secpath" => unknown("ipsec", Type::Boolean),
        "time" => unknown("time", Type::Time),
        "day" => unknown("time", Type::Day),
        "hour" => unknown("time", Type::Hour),
        "ibrname" | "ibridgename" | "obrname" | "obridgename" | "ibrpvid" | "ibrvproto" | "ibrhwaddr"
            if site.family != Family::Bridge =>
        {
            return Err(Box::new(
                Diagnostic::error(
                    "wrong-family",
                    format!("`meta {key}` works in tables of the bridge family only"),
                )
                .at(span, "")
                .help("use `iifname` or `oifname`, or move the rule to a bridge table"),
            ));
        }
        "ibrname" | "ibridgename" | "obrname" | "obridgename" => unknown("interface", Type::InterfaceName),
        "ibrpvid" => Selector::unknown("interface", Type::Integer, 16, Need::Nothing),
        "ibrvproto" => unknown("interface", Type::EtherType),
        "ibrhwaddr" => unknown("interface", Type::Ether),
        _ => Selector::unknown("meta", Type::Integer, 32, Need::Nothing),
    })
}

fn ct(key: &str, direction: Option<Direction>, site: &Site, span: Span) -> Result<Selector, Box<Diagnostic>> {
    let needs_direction =
        matches!(key, "saddr" | "daddr" | "ip saddr" | "ip daddr" | "ip6 saddr" | "ip6 daddr")
            || key.starts_with("proto-");
    let may_have_direction =
        needs_direction || matches!(key, "bytes" | "packets" | "avgpkt" | "zone" | "protocol" | "l3proto");
    if needs_direction && direction.is_none() {
        return Err(Box::new(
            Diagnostic::error("no-direction", format!("`ct {key}` needs a direction"))
                .at(span, "")
                .help(format!("write `ct original {key}` or `ct reply {key}`")),
        ));
    }
    if !may_have_direction && direction.is_some() {
        return Err(Box::new(
            Diagnostic::error("no-direction", format!("`ct {key}` has no direction"))
                .at(span, "")
                .help(format!("write `ct {key}`")),
        ));
    }
    let original = direction == Some(Direction::Original);
    let address = |name: &str, family: u128| {
        let ty = if family == 2 { Type::Ipv4 } else { Type::Ipv6 };
        let need = Need::Network(family);
        match name {
            "saddr" if original => Selector::field(Field::CT_ORIGINAL_SADDR, ty, need),
            "daddr" if original => Selector::field(Field::CT_ORIGINAL_DADDR, ty, need),
            _ => Selector::unknown("connection", ty, ty.bits(), need),
        }
    };
    let unknown = |ty: Type| Selector::unknown("connection", ty, ty.bits(), Need::Nothing);
    Ok(match key {
        "state" => Selector::field(Field::CT_STATE, Type::CtState, Need::Nothing),
        "direction" => Selector::field(Field::CT_DIRECTION, Type::CtDirection, Need::Nothing),
        "status" => Selector::field(Field::CT_STATUS, Type::CtStatus, Need::Nothing),
        "mark" => Selector::field(Field::CT_MARK, Type::Mark, Need::Nothing),
        "expiration" => unknown(Type::Duration),
        "helper" => unknown(Type::Text),
        "l3proto" => unknown(Type::NfProto),
        "protocol" => unknown(Type::Protocol),
        "label" => unknown(Type::CtLabel),
        "event" => unknown(Type::CtEvent),
        // Of other protocols, the kernel gives what it keeps in the place of ports: type and code of ICMP, the key of GRE.
        "proto-src" | "proto-dst" if original && may_have_ports(site.transport) => {
            let field = if key == "proto-src" { Field::CT_ORIGINAL_SPORT } else { Field::CT_ORIGINAL_DPORT };
            Selector::field(field, Type::Service, Need::Nothing)
        }
        "proto-src" | "proto-dst" => unknown(Type::Service),
        "bytes" | "packets" | "avgpkt" => Selector::stateful("connection", Type::Integer, 64),
        "zone" => Selector::unknown("connection", Type::Integer, 16, Need::Nothing),
        "ip saddr" => address("saddr", 2),
        "ip daddr" => address("daddr", 2),
        "ip6 saddr" => address("saddr", 10),
        "ip6 daddr" => address("daddr", 10),
        "saddr" | "daddr" => match site.network {
            Known::One(family) => address(key, family),
            _ => {
                return Err(Box::new(
                    Diagnostic::error(
                        "no-protocol",
                        format!("`ct {key}` doesn't say whether it is an IPv4 or an IPv6 address"),
                    )
                    .at(span, "")
                    .help(format!("write `ct original ip {key}` or `ct original ip6 {key}`")),
                ));
            }
        },
        _ => Selector::unknown("connection", Type::Integer, 32, Need::Nothing),
    })
}

/// False where connections of the protocol have no ports. DCCP has none, since kernels from 6.16 on don't track them.
fn may_have_ports(transport: Known) -> bool {
    matches!(transport, Known::Any | Known::Several | Known::One(6 | 17 | 132 | 136))
}

fn rt(key: &str, family: Option<SyntaxFamily>, site: &Site, span: Span) -> Result<Selector, Box<Diagnostic>> {
    let unknown = |ty: Type, bits: u32, need| Selector::unknown("routing", ty, bits, need);
    Ok(match key {
        "classid" => unknown(Type::Realm, 32, Need::Nothing),
        "ipsec" => unknown(Type::Boolean, 1, Need::Nothing),
        "nexthop" => {
            let wanted = match family {
                Some(SyntaxFamily::Ip) => Some(2),
                Some(SyntaxFamily::Ip6) => Some(10),
                _ => None,
            };
            match (wanted, site.network) {
                (Some(2), _) | (None, Known::One(2)) => unknown(Type::Ipv4, 32, Need::Network(2)),
                (Some(_), _) | (None, Known::One(_)) => unknown(Type::Ipv6, 128, Need::Network(10)),
                (None, _) => {
                    return Err(Box::new(
                        Diagnostic::error(
                            "no-protocol",
                            "`rt nexthop` doesn't say whether it is an IPv4 or an IPv6 address",
                        )
                        .at(span, "")
                        .help("write `rt ip nexthop` or `rt ip6 nexthop`"),
                    ));
                }
            }
        }
        _ => unknown(Type::Integer, 16, Need::Nothing),
    })
}

fn fib(fib: &Fib, site: &Site, span: Span) -> Result<Selector, Box<Diagnostic>> {
    let has = |name: &str| fib.selectors.contains(&name);
    let refuse = |message: &str, help: &str| {
        Err(Box::new(Diagnostic::error("bad-fib", message).at(span, "").help(help)))
    };
    if has("saddr") == has("daddr") {
        return refuse(
            "a fib expression looks up either the source or the destination address",
            "write `fib saddr …` or `fib daddr …`",
        );
    }
    let by_address_type = fib.result == "type";
    if has("iif") && has("oif") || has("oif") && !by_address_type {
        return refuse("`oif` can't be used in this fib expression", "leave `oif` out");
    }
    let late = matches!(site.hook, Some(Hook::Output | Hook::Postrouting));
    let early = matches!(site.hook, Some(Hook::Prerouting | Hook::Input | Hook::Ingress));
    if has("iif") && late || has("oif") && early {
        return refuse(
            "this hook doesn't know the interface that the fib expression uses",
            "use `iif` in prerouting, input and forward, `oif` in output, forward and postrouting",
        );
    }
    let selectors = fib.selectors.as_slice();
    let reverse =
        has("saddr") && has("iif") && selectors.iter().all(|name| matches!(*name, "saddr" | "iif" | "mark"));
    Ok(match fib.result {
        "type" if selectors == ["saddr"] => {
            Selector::field(Field::FIB_SADDR_TYPE, Type::AddressType, Need::Nothing)
        }
        "type" if selectors == ["daddr"] => {
            Selector::field(Field::FIB_DADDR_TYPE, Type::AddressType, Need::Nothing)
        }
        "type" => Selector::unknown("routing", Type::AddressType, 32, Need::Nothing),
        // Only its existence is modelled; see the test of it.
        "oif" if reverse => Selector::field(Field::FIB_REVERSE_PATH, Type::InterfaceIndex, Need::Nothing),
        "check" if reverse => Selector::field(Field::FIB_REVERSE_PATH, Type::Boolean, Need::Nothing),
        "check" => Selector::unknown("routing", Type::Boolean, 1, Need::Nothing),
        "oifname" => Selector::unknown("routing", Type::InterfaceName, 128, Need::Nothing),
        _ => Selector::unknown("routing", Type::InterfaceIndex, 32, Need::Nothing),
    })
}
