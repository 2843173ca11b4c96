//! The fields of a packet as a firewall sees it: header fields, what the kernel knows about the packet, and opaque
//! atoms.

use std::collections::BTreeMap;
use std::fmt;

/// One dimension of the packet space.
///
/// Fields below [`Field::FIXED`] are known to every ruleset; the rest are handed out by an [`AtomTable`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(u32);

/// How values of a field are cut when a set of packets is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An ordered number: parts are intervals.
    Range,
    /// A word of flag bits that rules test under masks: parts are cubes (some bits fixed, the others free).
    Bits,
}

/// Who decides the value of a field, which says what a question about "every packet" quantifies over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldClass {
    /// The sender chooses it: an intent speaks of all values.
    Packet,
    /// The host or the network decides it and the question may not know it (interface, MAC address): where an answer
    /// differs with it, the answer is `depends`.
    Environment,
    /// The connection tracking or an earlier rule decides it.
    State,
    /// An opaque atom or a choice of the kernel (see [`AtomTable`]).
    Dynamic,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal, $width:literal, $kind:ident, $class:ident;)*) => {
        impl Field {
            $($(#[$doc])* pub const $name: Field = Field($id);)*

            /// The fixed fields in their order.
            pub const ALL_FIXED: &'static [Field] = &[$(Field::$name),*];

            /// The name in nft's words. Dynamic fields have none of their own.
            pub fn name(self) -> &'static str {
                match self.0 { $($id => $text,)* _ => "atom" }
            }

            /// Width in bits of a fixed field; 128 for dynamic ones, whose domain the [`AtomTable`] tells.
            pub fn width(self) -> u32 {
                match self.0 { $($id => $width,)* _ => 128 }
            }

            /// How its values are cut.
            pub fn kind(self) -> FieldKind {
                match self.0 { $($id => FieldKind::$kind,)* _ => FieldKind::Range }
            }

            /// Who decides its value.
            pub fn class(self) -> FieldClass {
                match self.0 { $($id => FieldClass::$class,)* _ => FieldClass::Dynamic }
            }
        }
    };
}

fields! {
    /// Layer 3 protocol by its NFPROTO number: 2 is IPv4, 10 is IPv6.
    NFPROTO = 0, "meta nfproto", 8, Range, Packet;
    /// Source address; an IPv4 address is in the low 32 bits.
    SADDR = 1, "saddr", 128, Range, Packet;
    /// Destination address; an IPv4 address is in the low 32 bits.
    DADDR = 2, "daddr", 128, Range, Packet;
    /// Transport protocol (IANA number), behind any IPv6 extension headers.
    L4PROTO = 3, "meta l4proto", 8, Range, Packet;
    /// Source port: the first 16 bits of the transport header.
    SPORT = 4, "sport", 16, Range, Packet;
    /// Destination port: the second 16 bits of the transport header.
    DPORT = 5, "dport", 16, Range, Packet;
    /// TCP flags, FIN is bit 0, CWR is bit 7 (see [`tcp_flag`]).
    TCP_FLAGS = 6, "tcp flags", 8, Bits, Packet;
    /// ICMP or ICMPv6 type.
    ICMP_TYPE = 7, "icmp type", 8, Range, Packet;
    /// ICMP or ICMPv6 code.
    ICMP_CODE = 8, "icmp code", 8, Range, Packet;
    /// Input interface by name (see [`crate::InterfaceName`]); 0 where there is none.
    IIFNAME = 9, "iifname", 128, Range, Environment;
    /// Output interface by name; 0 where there is none.
    OIFNAME = 10, "oifname", 128, Range, Environment;
    /// Connection tracking state, one of [`ct_state`].
    CT_STATE = 11, "ct state", 8, Range, State;
    /// Connection tracking status bits (see [`ct_status`]).
    CT_STATUS = 12, "ct status", 32, Bits, State;
    /// Direction within the connection: 0 original, 1 reply.
    CT_DIRECTION = 13, "ct direction", 1, Range, State;
    /// Mark of the connection.
    CT_MARK = 14, "ct mark", 32, Bits, State;
    /// Mark of the packet.
    MARK = 15, "meta mark", 32, Bits, State;
    /// Source MAC address.
    ETHER_SADDR = 16, "ether saddr", 48, Range, Environment;
    /// Destination MAC address.
    ETHER_DADDR = 17, "ether daddr", 48, Range, Environment;
    /// Link-layer packet type: 0 host (unicast), 1 broadcast, 2 multicast, 3 other.
    PKTTYPE = 18, "meta pkttype", 8, Range, Environment;
    /// Type of the source address in the host's routing table, one of [`fib_type`].
    FIB_SADDR_TYPE = 19, "fib saddr type", 8, Range, Environment;
    /// Type of the destination address in the host's routing table, one of [`fib_type`].
    FIB_DADDR_TYPE = 20, "fib daddr type", 8, Range, Environment;
    /// Reverse path: 1 where the route back to the source leaves by the input interface.
    FIB_REVERSE_PATH = 21, "fib saddr . iif oif", 1, Range, Environment;
    /// Length of the network packet in bytes.
    LENGTH = 22, "meta length", 16, Range, Packet;
    /// IPv4 time to live or IPv6 hop limit.
    TTL = 23, "ip ttl", 8, Range, Packet;
    /// Differentiated services code point.
    DSCP = 24, "ip dscp", 6, Range, Packet;
    /// Explicit congestion notification bits.
    ECN = 25, "ip ecn", 2, Range, Packet;
    /// Fragment offset in units of 8 bytes; 0 for a first fragment or a whole packet.
    FRAGMENT_OFFSET = 26, "ip frag-off", 13, Range, Packet;
    /// Source address of the connection's first packet, before any translation.
    CT_ORIGINAL_SADDR = 27, "ct original saddr", 128, Range, State;
    /// Destination address of the connection's first packet, before any translation.
    CT_ORIGINAL_DADDR = 28, "ct original daddr", 128, Range, State;
    /// Source port of the connection's first packet, before any translation.
    CT_ORIGINAL_SPORT = 29, "ct original proto-src", 16, Range, State;
    /// Destination port of the connection's first packet, before any translation.
    CT_ORIGINAL_DPORT = 30, "ct original proto-dst", 16, Range, State;
}

impl Field {
    /// How many field numbers are set aside for the fixed fields.
    pub const FIXED: usize = 32;

    /// The number of the field: an index into dense tables for fixed fields.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// True for fields handed out by an [`AtomTable`].
    pub fn is_dynamic(self) -> bool {
        self.0 as usize >= Field::FIXED
    }

    /// The largest value of a fixed field (all ones in its width). Dynamic fields: see [`AtomTable::domain`].
    pub fn max_value(self) -> u128 {
        match self.width() {
            128 => u128::MAX,
            width => (1 << width) - 1,
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_dynamic() {
            write!(f, "atom#{}", self.0 as usize - Field::FIXED)
        } else {
            f.write_str(self.name())
        }
    }
}

/// NFPROTO numbers and the other small enumerations of the space.
pub mod ct_state {
    /// The packet belongs to no connection and can't start one.
    pub const INVALID: u128 = 0;
    /// Part of a connection that has seen packets in both directions.
    pub const ESTABLISHED: u128 = 1;
    /// Starts a connection that belongs to an existing one, or an ICMP error about it.
    pub const RELATED: u128 = 2;
    /// Starts a connection.
    pub const NEW: u128 = 3;
    /// Exempted from tracking by `notrack`.
    pub const UNTRACKED: u128 = 4;
    /// The largest of them.
    pub const MAX: u128 = 4;
    /// Names by value.
    pub const NAMES: [&str; 5] = ["invalid", "established", "related", "new", "untracked"];
}

/// Bits of `ct status`, as in `linux/netfilter/nf_conntrack_common.h`.
pub mod ct_status {
    /// The connection was expected by a helper.
    pub const EXPECTED: u128 = 1;
    /// Packets were seen in both directions.
    pub const SEEN_REPLY: u128 = 2;
    /// Won't be dropped early when the table is full.
    pub const ASSURED: u128 = 4;
    /// The first packet has left the host.
    pub const CONFIRMED: u128 = 8;
    /// The source is translated.
    pub const SNAT: u128 = 16;
    /// The destination is translated.
    pub const DNAT: u128 = 32;
    /// The connection is being removed.
    pub const DYING: u128 = 512;
}

/// Address types of the routing table (RTN_* of `linux/rtnetlink.h`).
pub mod fib_type {
    /// No route.
    pub const UNSPEC: u128 = 0;
    /// A unicast address of another host.
    pub const UNICAST: u128 = 1;
    /// An address of this host.
    pub const LOCAL: u128 = 2;
    /// A broadcast address.
    pub const BROADCAST: u128 = 3;
    /// An anycast address.
    pub const ANYCAST: u128 = 4;
    /// A multicast address.
    pub const MULTICAST: u128 = 5;
    /// A blackhole route.
    pub const BLACKHOLE: u128 = 6;
    /// An unreachable route.
    pub const UNREACHABLE: u128 = 7;
    /// A prohibited route.
    pub const PROHIBIT: u128 = 8;
    /// Names by value, as nft spells them.
    pub const NAMES: [&str; 9] = [
        "unspec",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
    ];
}

/// Bits of the TCP flags.
pub mod tcp_flag {
    /// No more data.
    pub const FIN: u128 = 1;
    /// Starts a connection.
    pub const SYN: u128 = 2;
    /// Resets a connection.
    pub const RST: u128 = 4;
    /// Push.
    pub const PSH: u128 = 8;
    /// The acknowledgement number counts.
    pub const ACK: u128 = 16;
    /// Urgent.
    pub const URG: u128 = 32;
    /// ECN echo.
    pub const ECN: u128 = 64;
    /// Congestion window reduced.
    pub const CWR: u128 = 128;
    /// Names from bit 0 up.
    pub const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
}

/// Whether two occurrences of an atom's text mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purity {
    /// A function of the packet and its circumstances (`time`, `owner`, `cgroup`): equal text on one host is one atom.
    Pure,
    /// Remembers earlier packets or rolls dice (`limit`, `recent`, `numgen`): each occurrence is an atom of its own.
    Stateful,
}

/// What is known of a dynamic field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomInfo {
    /// Whose ruleset it is in (a host's name, or empty).
    pub scope: Box<str>,
    /// The construct as written, with white space made single: `limit rate 5/second`.
    pub text: Box<str>,
    /// What kind of construct (`limit`, `recent`, `set membership`, `masquerade address`).
    pub kind: Box<str>,
    /// Whether equal texts are equal atoms.
    pub purity: Purity,
    /// Smallest and largest value: `(0, 1)` for an opaque condition, more for a choice such as a NAT port.
    pub domain: (u128, u128),
}

/// Hands out dynamic fields: opaque atoms (0 is false, 1 is true) and choices that the packet doesn't determine.
///
/// One table serves all rulesets of a question, so that fields of two hosts never clash, and the same pure atom on
/// the same host before and after a change is the same field.
#[derive(Clone, Debug, Default)]
pub struct AtomTable {
    atoms: Vec<AtomInfo>,
    pure: BTreeMap<(Box<str>, Box<str>), Field>,
}

impl AtomTable {
    /// The field of an opaque condition. O(log n) for pure atoms, O(1) for stateful ones.
    pub fn atom(&mut self, scope: &str, kind: &str, text: &str, purity: Purity) -> Field {
        self.choice(scope, kind, text, purity, (0, 1))
    }

    /// The field of a value that isn't determined by the packet, within `domain` (both ends included).
    pub fn choice(
        &mut self,
        scope: &str,
        kind: &str,
        text: &str,
        purity: Purity,
        domain: (u128, u128),
    ) -> Field {
        let key = (Box::from(scope), Box::from(text));
        if purity == Purity::Pure
            && let Some(&field) = self.pure.get(&key)
        {
            return field;
        }
        let field = Field((Field::FIXED + self.atoms.len()) as u32);
        self.atoms.push(AtomInfo {
            scope: scope.into(),
            text: text.into(),
            kind: kind.into(),
            purity,
            domain,
        });
        if purity == Purity::Pure {
            self.pure.insert(key, field);
        }
        field
    }

    /// What is known of a dynamic field; `None` for fixed fields and fields of another table.
    pub fn get(&self, field: Field) -> Option<&AtomInfo> {
        self.atoms.get(field.index().checked_sub(Field::FIXED)?)
    }

    /// Smallest and largest value of any field.
    pub fn domain(&self, field: Field) -> (u128, u128) {
        match field {
            Field::CT_STATE => (0, ct_state::MAX),
            Field::NFPROTO => (2, 10),
            Field::PKTTYPE => (0, 3),
            Field::FIB_SADDR_TYPE | Field::FIB_DADDR_TYPE => (0, fib_type::PROHIBIT),
            _ if field.is_dynamic() => self.get(field).map_or((0, 1), |info| info.domain),
            _ => (0, field.max_value()),
        }
    }

    /// All dynamic fields in the order they were handed out.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &AtomInfo)> {
        self.atoms.iter().enumerate().map(|(index, info)| (Field((Field::FIXED + index) as u32), info))
    }
}
