//! Statements: the parts of a rule.

use super::*;

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// All of it.
    pub span: Span,
    /// What it does.
    pub kind: StatementKind,
}

/// What a statement does (nft(8), "STATEMENTS").
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// A test; the rule ends where it fails.
    Match(Match),
    /// `accept`, `jump x`, ….
    Verdict(Verdict),
    /// `key vmap map`: the verdict comes from a map.
    Vmap(Box<MapLookup>),
    /// `counter`.
    Counter(Counter),
    /// `quota`: a test with state.
    Quota(Box<Quota>),
    /// `limit`: a test with state.
    Limit(Box<Limit>),
    /// `last`.
    Last {
        /// Milliseconds since a packet came by; `None` is never, or not shown.
        used: Option<u64>,
    },
    /// `ct count`: a test with state.
    ConnectionLimit {
        /// `over`: true when there are more.
        over: bool,
        /// The number of connections.
        count: u64,
    },
    /// `reject`.
    Reject(Box<Reject>),
    /// `log`.
    Log(Box<Log>),
    /// `snat`, `dnat`, `masquerade`, `redirect`.
    Nat(Box<Nat>),
    /// `tproxy`.
    Tproxy(Box<Tproxy>),
    /// `queue`.
    Queue(Box<Queue>),
    /// `notrack`.
    Notrack,
    /// `meta mark set 1`, `ct mark set …`, `ip dscp set …`: writes `value` to `target`.
    Mangle(Box<Mangle>),
    /// `add @s { … }`, `update @s { … }`, `delete @s { … }`.
    SetUpdate(Box<SetUpdate>),
    /// `meter m { key limit … }`: passes where its statements pass for this key.
    Meter(Box<Meter>),
    /// `dup`.
    Dup(Box<Redirection>),
    /// `fwd`.
    Fwd(Box<Redirection>),
    /// `flow add @f`: offloads the connection to a flowtable.
    Flow(Name),
    /// `synproxy`.
    Synproxy(Box<Synproxy>),
    /// `counter name x`, `limit name x`, `ct helper set x`: a named object, given by name or looked up in a map.
    ObjectRef(Box<ObjectRef>),
    /// An iptables extension that nft shows but can't read: `xt match "recent"`, or `# xt_recent` in older versions.
    Xt(Box<Xt>),
    /// `reset tcp option x`.
    ResetOption(Box<Expr>),
    /// Well formed (JSON), but not one of the above: a test, an effect, a verdict, nobody knows.
    Opaque(Box<Opaque>),
    /// Couldn't be read; there is a diagnostic. It covers the rest of its rule.
    Invalid(Box<Opaque>),
}

/// A test of an expression against a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// What is tested.
    pub left: Expr,
    /// How.
    pub op: Operator,
    /// Against what: a value, prefix, range, list, set, reference to a set, ….
    pub right: Expr,
}

/// How the two sides of a test are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// None written (or `in` in JSON): a bit test for flags (`tcp flags syn`, `ct state new,established`), membership
    /// for sets, else equality. For `tcp flags syn / syn,ack` see [`ExprKind::Masked`].
    Implicit,
    /// `==` or `eq`.
    Eq,
    /// `!=`, `ne`. With a list of flags: none of these bits.
    Ne,
    /// `<`, `lt`.
    Lt,
    /// `<=`, `le`.
    Le,
    /// `>`, `gt`.
    Gt,
    /// `>=`, `ge`.
    Ge,
    /// `!`: for flags, none of these bits.
    Not,
}

/// What happens to the packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// `accept`.
    Accept,
    /// `drop`.
    Drop,
    /// `continue`.
    Continue,
    /// `return`.
    Return,
    /// `break` (JSON): ends the rule.
    Break,
    /// `jump`.
    Jump(ChainTarget),
    /// `goto`.
    Goto(ChainTarget),
}

/// Where a jump goes.
#[derive(Clone, Debug, PartialEq)]
pub enum ChainTarget {
    /// To a chain of the same table.
    Named(Box<Name>),
    /// `jump { … }`.
    Anonymous(Box<AnonymousChain>),
}

/// A chain without a name.
#[derive(Clone, Debug, PartialEq)]
pub struct AnonymousChain {
    /// With its braces.
    pub span: Span,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// `key map m`, `key vmap m`.
#[derive(Clone, Debug, PartialEq)]
pub struct MapLookup {
    /// What is looked up.
    pub key: Expr,
    /// A [`ExprKind::Set`] whose elements have data, a [`ExprKind::SetRef`], or a variable that holds one.
    pub map: Expr,
}

/// `counter packets N bytes N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets counted; 0 if not shown.
    pub packets: u64,
    /// Bytes counted; 0 if not shown.
    pub bytes: u64,
}

/// `quota over 10 mbytes used 5 mbytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `over`: true once more than this was seen; else (`until`) true until then.
    pub over: bool,
    /// The quota in bytes.
    pub bytes: u64,
    /// Bytes used up.
    pub used: u64,
}

/// `limit rate over 10/second burst 5 packets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `over`: true above the rate; else true up to it.
    pub over: bool,
    /// Packets, or bytes if `per_byte`, in each `unit`.
    pub rate: u64,
    /// Whether bytes are counted.
    pub per_byte: bool,
    /// The unit of time.
    pub unit: TimeUnit,
    /// Packets or bytes that may come at once; `None` if not written.
    pub burst: Option<u64>,
}

/// A unit of time of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    /// `second`.
    Second,
    /// `minute`.
    Minute,
    /// `hour`.
    Hour,
    /// `day`.
    Day,
    /// `week`.
    Week,
}

/// `reject with …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// How; `None` if not written.
    pub with: Option<RejectWith>,
    /// The code of an ICMP error: a symbol or a number, as in `icmp port-unreachable`.
    pub code: Option<Expr>,
}

/// How a packet is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectWith {
    /// `tcp reset`.
    TcpReset,
    /// `icmp`.
    Icmp,
    /// `icmpv6`.
    Icmpv6,
    /// `icmpx`: whichever fits the packet.
    Icmpx,
}

/// `log`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// `prefix "…"`, variables inside it expanded.
    pub prefix: Option<Name>,
    /// `level`: `emerg` to `debug`, or `audit`.
    pub level: Option<&'static str>,
    /// `group`.
    pub group: Option<u64>,
    /// `snaplen`.
    pub snaplen: Option<u64>,
    /// `queue-threshold`.
    pub queue_threshold: Option<u64>,
    /// `flags`: `tcp sequence`, `tcp options`, `ip options`, `skuid`, `ether`, `all`.
    pub flags: Vec<&'static str>,
}

/// `snat`, `dnat`, `masquerade`, `redirect`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nat {
    /// Which.
    pub kind: NatKind,
    /// `ip` or `ip6` before `to`.
    pub family: Option<Family>,
    /// The new address: a literal, range, prefix or map. A map's data may be a concatenation address . port, or a
    /// range or prefix of addresses.
    pub address: Option<Expr>,
    /// The new port or range of ports, after `:`; it may be a map.
    pub port: Option<Expr>,
    /// `ip addr . port to`: the address expression gives both address and port.
    pub addr_port: bool,
    /// `ip prefix to` (older: `interval`): the host part is kept.
    pub prefix: bool,
    /// `random`.
    pub random: bool,
    /// `fully-random`.
    pub fully_random: bool,
    /// `persistent`.
    pub persistent: bool,
}

/// Which translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatKind {
    /// `snat`.
    Snat,
    /// `dnat`.
    Dnat,
    /// `masquerade`.
    Masquerade,
    /// `redirect`.
    Redirect,
}

/// `tproxy [ip|ip6] to address:port`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tproxy {
    /// `ip` or `ip6`.
    pub family: Option<Family>,
    /// The address of the proxy.
    pub address: Option<Expr>,
    /// Its port.
    pub port: Option<Expr>,
}

/// `queue flags bypass to 1-3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Number, range, or an expression; `None` is 0.
    pub number: Option<Expr>,
    /// `bypass`: accept when nobody listens.
    pub bypass: bool,
    /// `fanout`.
    pub fanout: bool,
}

/// `target set value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mangle {
    /// A meta, ct, payload, exthdr or option expression.
    pub target: Expr,
    /// What is written.
    pub value: Expr,
}

/// `add @s { key timeout 5m : data }`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetUpdate {
    /// What is done.
    pub op: SetOp,
    /// The set or map, without `@`.
    pub set: Name,
    /// The element: its key is an expression about the packet; its options hold timeout and statements.
    pub element: Element,
}

/// What a set statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetOp {
    /// `add`.
    Add,
    /// `update`.
    Update,
    /// `delete`.
    Delete,
}

/// `meter name size N { key statements }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// Its name; `None` in the oldest syntax (`flow { … }`).
    pub name: Option<Name>,
    /// `size`.
    pub size: Option<u64>,
    /// Key, timeout, statements.
    pub element: Element,
}

/// `dup to address device dev`, `fwd to dev`.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirection {
    /// `ip` or `ip6` (only `fwd`).
    pub family: Option<Family>,
    /// The address.
    pub address: Option<Expr>,
    /// The device.
    pub device: Option<Expr>,
}

/// `synproxy mss 1460 wscale 7 timestamp sack-perm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synproxy {
    /// `mss`.
    pub mss: Option<u64>,
    /// `wscale`.
    pub wscale: Option<u64>,
    /// `timestamp`.
    pub timestamp: bool,
    /// `sack-perm`.
    pub sack_perm: bool,
}

/// The use of a named object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRef {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Its name (a [`ExprKind::Symbol`] or [`ExprKind::String`]) or a map lookup that gives it.
    pub name: Expr,
}

/// An iptables extension that nft can't read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xt {
    /// Match, target or watcher; `None` where the listing doesn't say (`# xt_recent`).
    pub kind: Option<XtKind>,
    /// Its name, such as `recent`.
    pub name: Box<str>,
}

/// What kind of iptables extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XtKind {
    /// A match.
    Match,
    /// A target.
    Target,
    /// A watcher (ebtables).
    Watcher,
}
