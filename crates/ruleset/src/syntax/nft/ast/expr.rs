//! Expressions, and the elements of sets.

use super::*;
use std::sync::Arc;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// All of it.
    pub span: Span,
    /// What it is.
    pub kind: ExprKind,
}

/// What an expression is (nft(8), "EXPRESSIONS").
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number: decimal, `0x…`, or octal with a leading 0. Its span has the digits.
    Number(u64),
    /// `exists` or `missing`, and booleans in JSON.
    Bool(bool),
    /// An unquoted word that isn't a number or an address: `ssh`, `established`, `eth0`, `10s`, `1:1234`. Also numbers
    /// of more than 64 bits (`0x…`, compared with raw payload) and, in definitions, negative numbers.
    Symbol(Box<str>),
    /// A quoted string, without its quotes; a trailing `*` makes it a prefix (`"ppp*"`), `\*` is the character.
    String(Box<str>),
    /// An IPv4 address.
    Ipv4([u8; 4]),
    /// An IPv6 address.
    Ipv6([u8; 16]),
    /// A hardware address of six bytes.
    Mac([u8; 6]),
    /// `*` in a set: everything.
    Wildcard,
    /// `a/24`.
    Prefix(Box<Expr>, u8),
    /// `a-b`, both ends included.
    Range(Box<[Expr; 2]>),
    /// `a . b . c`.
    Concat(Box<[Expr]>),
    /// `a, b` without braces: flags that are set together.
    List(Box<[Expr]>),
    /// `syn / syn,ack` on the right of a flags test: value and mask, which means `field & mask == value`.
    Masked(Box<[Expr; 2]>),
    /// `{ … }`.
    Set(Box<SetLiteral>),
    /// `@name`.
    SetRef(Box<str>),
    /// `key map m`.
    Map(Box<MapLookup>),
    /// `a & b`, `a | b`, `a ^ b`, `a << n`, `a >> n`.
    Binary(Box<Binary>),
    /// A verdict, as map data.
    Verdict(Box<Verdict>),
    /// `$name`; see [`Expr::resolved`].
    Variable(Arc<Definition>),
    /// A field of a header: `ip saddr`, `tcp flags`, `th dport`, `icmpv6 type`, `ether type`.
    Payload(&'static HeaderField),
    /// `@nh,offset,length`: bits from the start of a header.
    RawPayload(Box<RawPayload>),
    /// `vxlan ip saddr`: an expression about the packet inside a tunnel.
    Inner(Box<Inner>),
    /// A field of an IPv6 extension header: `frag id`, `rt type`, `srh tag`, `mh type`.
    Exthdr(&'static HeaderField),
    /// `exthdr frag`: whether this extension header exists.
    ExthdrExists(&'static str),
    /// An option of a header, `tcp option maxseg size`, or only whether it exists.
    HeaderOption(Box<HeaderOption>),
    /// `meta key`, and the bare words such as `iifname`: the key without `meta`.
    Meta(&'static str),
    /// `ct [direction] key`.
    Ct {
        /// The key; `ip saddr` and the like with the family in it, where it is written.
        key: &'static str,
        /// `original` or `reply`.
        direction: Option<Direction>,
    },
    /// `rt [ip|ip6] key`.
    Rt {
        /// `classid`, `nexthop`, `mtu` or `ipsec`.
        key: &'static str,
        /// `ip` or `ip6`.
        family: Option<Family>,
    },
    /// `socket key`: `transparent`, `mark`, `wildcard`, `cgroupv2`.
    Socket {
        /// The key.
        key: &'static str,
        /// `level` of `cgroupv2`.
        level: u32,
    },
    /// `osf [ttl loose|skip] name|version`.
    Osf(Box<Osf>),
    /// `fib saddr . iif oif`.
    Fib(Box<Fib>),
    /// `numgen inc mod 4 offset 1`.
    Numgen(Box<Numgen>),
    /// `jhash …` and `symhash …`.
    Hash(Box<Hash>),
    /// `ipsec in ip saddr`.
    Ipsec(Box<Ipsec>),
    /// `tunnel id`, `tunnel path`: what the tunnel device that brought the packet says.
    Tunnel(&'static str),
    /// Well formed (JSON), but not one of the above; its text.
    Opaque(Box<str>),
}

impl Expr {
    /// The expression with variables looked through: never a [`ExprKind::Variable`]. Its own span is then that of the
    /// definition, and that of `self` is the place of use.
    pub fn resolved(&self) -> &Expr {
        let mut expr = self;
        while let ExprKind::Variable(definition) = &expr.kind {
            expr = &definition.value;
        }
        expr
    }

    /// The text of a symbol or string, variables looked through.
    pub fn word(&self) -> Option<&str> {
        match &self.resolved().kind {
            ExprKind::Symbol(text) | ExprKind::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A field of a protocol header, by the names that nft uses. Compare the names.
#[derive(Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// `ether`, `vlan`, `arp`, `ip`, `ip6`, `icmp`, `icmpv6`, `igmp`, `tcp`, `udp`, `udplite`, `sctp`, `dccp`, `ah`,
    /// `esp`, `comp`, `th`, `gre`, `geneve`, `vxlan`; for extension headers `hbh`, `dst`, `frag`, `rt`, `rt0`, `rt2`,
    /// `srh`, `mh`, `auth`.
    pub protocol: &'static str,
    /// Its field.
    pub name: &'static str,
}

/// `{ a, b : c, … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetLiteral {
    /// In order of writing. The key of an element may itself be a set, or a variable that holds one.
    pub elements: Vec<Element>,
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// All of it.
    pub span: Span,
    /// A value, prefix, range, concatenation of these, or [`ExprKind::Wildcard`].
    pub key: Expr,
    /// What it maps to.
    pub data: Option<Box<Expr>>,
    /// Its options.
    pub options: Option<Box<ElementOptions>>,
}

/// Options of an element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ElementOptions {
    /// `timeout` in milliseconds.
    pub timeout: Option<u64>,
    /// `expires` in milliseconds.
    pub expires: Option<u64>,
    /// `comment`.
    pub comment: Option<Box<str>>,
    /// `counter`, `limit`, … for each element.
    pub statements: Vec<Statement>,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Its left side.
    pub left: Expr,
    /// Its right side.
    pub right: Expr,
}

/// Which binary operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BinaryOp {
    /// `&`, `and`.
    And,
    /// `|`, `or`.
    Or,
    /// `^`, `xor`.
    Xor,
    /// `<<`, `lshift`.
    ShiftLeft,
    /// `>>`, `rshift`.
    ShiftRight,
}

/// Bits of a packet by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPayload {
    /// `ll`, `nh`, `th` or `ih`.
    pub base: &'static str,
    /// First bit.
    pub offset: u32,
    /// Number of bits.
    pub length: u32,
}

/// An expression about the packet inside a tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct Inner {
    /// `vxlan`, `geneve`, `gre` or `gretap`.
    pub tunnel: &'static str,
    /// A payload or meta expression.
    pub expr: Expr,
}

/// An option of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderOption {
    /// Of which header.
    pub header: OptionHeader,
    /// The option by name (`maxseg`, `lsrr`, `data`) or number (`255`).
    pub option: Box<str>,
    /// Its field; `None` asks whether the option exists.
    pub field: Option<&'static str>,
    /// `@kind,offset,length` for TCP options: bits by position.
    pub raw: Option<(u32, u32)>,
}

/// Which header has the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionHeader {
    /// `tcp option`.
    Tcp,
    /// `ip option`.
    Ip,
    /// `sctp chunk`.
    Sctp,
    /// `dccp option`.
    Dccp,
}

/// Which direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// `original`.
    Original,
    /// `reply`.
    Reply,
}

/// The operating system by its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Osf {
    /// `name` or `version`.
    pub key: &'static str,
    /// `loose` or `skip`.
    pub ttl: Option<&'static str>,
}

/// A query of the forwarding information base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fib {
    /// `saddr`, `daddr`, `mark`, `iif`, `oif`, in the order in which they are written.
    pub selectors: Vec<&'static str>,
    /// `oif`, `oifname`, `type`, or `check`.
    pub result: &'static str,
}

/// A generator of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numgen {
    /// `inc` or `random`.
    pub mode: &'static str,
    /// `mod`.
    pub modulus: u64,
    /// `offset`.
    pub offset: u64,
}

/// A hash of an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Hash {
    /// What is hashed; `None` for `symhash`.
    pub expr: Option<Expr>,
    /// `mod`.
    pub modulus: u64,
    /// `seed`.
    pub seed: Option<u64>,
    /// `offset`.
    pub offset: u64,
}

/// A property of an IPsec state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipsec {
    /// `in` or `out`.
    pub direction: &'static str,
    /// `spnum`.
    pub spnum: u64,
    /// `reqid`, `spi`, `ip saddr`, `ip daddr`, `ip6 saddr`, `ip6 daddr`.
    pub key: &'static str,
}
