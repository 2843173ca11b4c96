//! The syntax tree of nftables rulesets: what is written, before anything is given a meaning.
//!
//! The text parser and the JSON reader make the same tree. It stays close to the source, so these are left to
//! lowering: the order and effect of commands, symbolic constants (`ssh`, `established`, `filter + 10`), types of
//! sets, implied protocol matches, and flattening of sets that stand inside sets. Two things are done here already:
//! variables are looked up ([`ExprKind::Variable`] carries the value), and names of headers, fields, options and keys
//! are checked, so that every `&'static str` below is one of the spellings of nft(8).
//!
//! Nothing is dropped: what can't be read is a [`StatementKind::Invalid`] or an [`Item::Invalid`] (there is a
//! diagnostic as well), and what is read without being understood is a [`StatementKind::Opaque`] or an
//! [`ExprKind::Opaque`], with its text.
//!
//! Limits that hold in every tree: nesting is at most [`MAX_DEPTH`], counted through variables too; all variables
//! together stand for at most [`MAX_EXPANSION`] nodes. So recursion over a tree is safe, and expanding it is bounded.

use firewarden_diagnostic::{FileId, Span};
use std::sync::Arc;

/// The deepest nesting of blocks and expressions, variables expanded.
pub const MAX_DEPTH: u32 = 64;

/// The most expression nodes that the uses of variables in one script may stand for.
pub const MAX_EXPANSION: u64 = 8_000_000;

/// An identifier or a quoted name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name without quotes.
    pub text: Box<str>,
    /// Where it stands.
    pub span: Span,
}

/// Something with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// What.
    pub value: T,
    /// Where.
    pub span: Span,
}

/// A whole script: the commands of a file and, in their place, those of the files it includes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// In the order in which they run.
    pub commands: Vec<Command>,
}

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The whole command.
    pub span: Span,
    /// What to do; [`Verb::Add`] where none is written (`table ip t { … }`).
    pub verb: Verb,
    /// What to do it to.
    pub target: Target,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Makes it, or adds to it where it exists. Rules go to the end of the chain.
    Add,
    /// Like `Add`, but refuses where it exists.
    Create,
    /// Rules only: goes to the start of the chain.
    Insert,
    /// Rules only: takes the place of the rule with this handle.
    Replace,
    /// Removes it; refuses where it doesn't exist.
    Delete,
    /// Removes it where it exists.
    Destroy,
    /// Removes its content.
    Flush,
    /// Chains only.
    Rename,
    /// Sets counters and quotas back; changes no rule.
    Reset,
    /// Only reads (`list`, `get`, `describe`, `monitor`, `export`); changes nothing.
    Show,
}

/// What a command acts on.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `flush ruleset [family]`; `None` is every family.
    Ruleset(Option<Family>),
    /// A table, with content when it is a block.
    Table(Box<Table>),
    /// A chain, set, map, object or flowtable outside of a table block. For commands that remove or flush, only its
    /// name or handle is meaningful (its name is empty when only the handle is given).
    Item {
        /// The table it is in.
        table: TableRef,
        /// What it is.
        item: Item,
    },
    /// A rule outside of a chain block.
    Rule(Box<RuleCommand>),
    /// `add element`, `delete element`, …
    Elements {
        /// The table of the set.
        table: TableRef,
        /// The set or map.
        set: Name,
        /// The elements; a key may be a variable that holds a set.
        elements: Vec<Element>,
    },
    /// `rename chain`.
    RenameChain {
        /// The table of the chain.
        table: TableRef,
        /// Its present name.
        from: Name,
        /// Its new name.
        to: Name,
    },
    /// `define` and `redefine`. Uses carry the value already; it is here for tools that show the source.
    Define(Arc<Definition>),
    /// `undefine`.
    Undefine(Name),
    /// `include`; the commands of the files follow this one in the script.
    Include {
        /// The pattern as written.
        pattern: Name,
        /// The files it stood for, in order.
        files: Vec<FileId>,
    },
    /// A command that changes nothing (`list`, `monitor`, …), or one that couldn't be read; in that case there is a
    /// diagnostic and `invalid` is set.
    Other {
        /// Its text, cut to [`OPAQUE_TEXT_MAX`] bytes.
        text: Box<str>,
        /// Whether it couldn't be read.
        invalid: bool,
    },
}

/// The longest text kept for something that isn't understood, in bytes; its span covers all of it.
pub const OPAQUE_TEXT_MAX: usize = 400;

/// `define name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The name without `$`.
    pub name: Name,
    /// The value; a [`ExprKind::List`] or a [`ExprKind::Set`] where several are given.
    pub value: Expr,
}

/// An address family (nft(8), "ADDRESS FAMILIES").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4; what is meant where no family is written.
    Ip,
    /// IPv6.
    Ip6,
    /// IPv4 and IPv6.
    Inet,
    /// ARP.
    Arp,
    /// Bridged frames.
    Bridge,
    /// Frames of a device, on ingress and egress.
    Netdev,
}

/// The table that something is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRef {
    /// Its family.
    pub family: Family,
    /// Its name; empty when the command gives a handle instead.
    pub name: Name,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// From its family to its closing brace.
    pub span: Span,
    /// Its family and name.
    pub id: TableRef,
    /// `# handle 5`, or the handle given in a command.
    pub handle: Option<u64>,
    /// `flags dormant`: it sees no packet.
    pub dormant: bool,
    /// Other flags (`owner`, `persist`).
    pub flags: Vec<Name>,
    /// Its comment.
    pub comment: Option<Name>,
    /// Its content in order of writing.
    pub items: Vec<Item>,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A chain.
    Chain(Chain),
    /// A set, a map or a meter.
    Set(Box<Set>),
    /// A flowtable.
    Flowtable(Box<Flowtable>),
    /// A named counter, quota, limit, helper, ….
    Object(Box<Object>),
    /// A line of a table that couldn't be read; there is a diagnostic.
    Invalid(Opaque),
}

/// Text that isn't understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// All of it.
    pub span: Span,
    /// Its text, cut to [`OPAQUE_TEXT_MAX`] bytes.
    pub text: Box<str>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// From `chain` to its closing brace.
    pub span: Span,
    /// Its name.
    pub name: Name,
    /// Its handle, if shown.
    pub handle: Option<u64>,
    /// Set for base chains.
    pub base: Option<Box<BaseChain>>,
    /// `policy accept;` or `policy drop;`.
    pub policy: Option<Spanned<Policy>>,
    /// `flags offload`.
    pub flags: Vec<Name>,
    /// Its comment.
    pub comment: Option<Name>,
    /// Its rules in order. A line that couldn't be read is a rule with one [`StatementKind::Invalid`].
    pub rules: Vec<Rule>,
}

/// `type … hook … priority …;`.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseChain {
    /// From `type` to the priority.
    pub span: Span,
    /// Its type.
    pub chain_type: Spanned<ChainType>,
    /// Its hook.
    pub hook: Spanned<Hook>,
    /// Devices (netdev, and inet ingress); names, or variables and sets of them.
    pub devices: Vec<Expr>,
    /// When it runs.
    pub priority: Priority,
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// `filter`.
    Filter,
    /// `nat`.
    Nat,
    /// `route`.
    Route,
}

/// Where a base chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// `ingress`.
    Ingress,
    /// `prerouting`.
    Prerouting,
    /// `input`.
    Input,
    /// `forward`.
    Forward,
    /// `output`.
    Output,
    /// `postrouting`.
    Postrouting,
    /// `egress`.
    Egress,
}

/// What becomes of packets that reach the end of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// `accept`.
    Accept,
    /// `drop`.
    Drop,
}

/// A priority: `name + offset`, or the number `offset` when there is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// All of it.
    pub span: Span,
    /// `raw`, `mangle`, `dstnat`, `filter`, `security`, `srcnat` or `out`; its number depends on the family.
    pub name: Option<&'static str>,
    /// Added to it.
    pub offset: i32,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// From its first to its last statement, comment included.
    pub span: Span,
    /// Its handle, if shown.
    pub handle: Option<u64>,
    /// Its comment.
    pub comment: Option<Box<str>>,
    /// In order; never empty in a chain (a rule of which only the comment is left has one `Invalid`).
    pub statements: Vec<Statement>,
}

/// A rule outside of a chain block.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleCommand {
    /// Its table.
    pub table: TableRef,
    /// Its chain.
    pub chain: Name,
    /// Where it goes, or which one is meant.
    pub position: Option<Position>,
    /// `None` for commands that remove or reset.
    pub rule: Option<Rule>,
}

/// Where in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// `handle N` (and the older `position N`): after this rule when adding, before it when inserting, this one
    /// when replacing or deleting.
    Handle(u64),
    /// `index N`, counted from 0.
    Index(u64),
}

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

/// A named set, map or meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// From `set` to its closing brace.
    pub span: Span,
    /// Which of them.
    pub kind: SetKind,
    /// Its name.
    pub name: Name,
    /// Its handle, if shown.
    pub handle: Option<u64>,
    /// The type of its keys.
    pub key: Option<SetType>,
    /// The type of its data, for maps.
    pub data: Option<SetType>,
    /// `flags`.
    pub flags: SetFlags,
    /// `timeout` in milliseconds.
    pub timeout: Option<u64>,
    /// `gc-interval` in milliseconds.
    pub gc_interval: Option<u64>,
    /// `size`, in elements.
    pub size: Option<u64>,
    /// `policy`: `performance` or `memory`.
    pub policy: Option<&'static str>,
    /// `auto-merge`.
    pub auto_merge: bool,
    /// `comment`.
    pub comment: Option<Name>,
    /// Statements each element gets, such as `counter`.
    pub statements: Vec<Statement>,
    /// `elements = …`. The key of an element may be a variable that holds a set.
    pub elements: Vec<Element>,
    /// Lines that couldn't be read.
    pub invalid: Vec<Opaque>,
}

/// Whether it has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// A set.
    Set,
    /// A map.
    Map,
    /// A meter (in listings and commands).
    Meter,
}

/// A type of keys or data.
#[derive(Clone, Debug, PartialEq)]
pub enum SetType {
    /// `type ipv4_addr . inet_service`: names of types. As map data also `verdict`, or the kind of an object.
    Named(Vec<Name>),
    /// `typeof ip saddr . tcp dport`: the type of an expression.
    TypeOf(Box<Expr>),
    /// `: counter`, `: limit`, …: data that are objects.
    Object(Spanned<ObjectKind>),
}

/// `flags constant, interval, timeout, dynamic`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFlags {
    /// `constant`: never changes while bound.
    pub constant: bool,
    /// `interval`: may hold prefixes and ranges.
    pub interval: bool,
    /// `timeout`: elements may end.
    pub timeout: bool,
    /// `dynamic`: rules may change it.
    pub dynamic: bool,
}

/// A flowtable.
#[derive(Clone, Debug, PartialEq)]
pub struct Flowtable {
    /// From `flowtable` to its closing brace.
    pub span: Span,
    /// Its name.
    pub name: Name,
    /// Its handle, if shown.
    pub handle: Option<u64>,
    /// `hook` and `priority`.
    pub hook: Option<(Spanned<Hook>, Priority)>,
    /// `devices`: names, or variables and sets of them.
    pub devices: Vec<Expr>,
    /// `counter`.
    pub counter: bool,
    /// `flags offload`.
    pub flags: Vec<Name>,
    /// Lines that couldn't be read.
    pub invalid: Vec<Opaque>,
}

/// A named object with state or settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// All of it.
    pub span: Span,
    /// Its name.
    pub name: Name,
    /// Its handle, if shown.
    pub handle: Option<u64>,
    /// What kind.
    pub kind: ObjectKind,
    /// Its comment.
    pub comment: Option<Name>,
    /// What it holds.
    pub body: ObjectBody,
}

/// Kinds of named objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `counter`.
    Counter,
    /// `quota`.
    Quota,
    /// `limit`.
    Limit,
    /// `ct helper`.
    CtHelper,
    /// `ct timeout`.
    CtTimeout,
    /// `ct expectation`.
    CtExpectation,
    /// `secmark`.
    Secmark,
    /// `synproxy`.
    Synproxy,
    /// `tunnel`.
    Tunnel,
}

/// What a named object holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectBody {
    /// Nothing is given.
    Empty,
    /// A counter.
    Counter(Counter),
    /// A quota.
    Quota(Quota),
    /// A limit.
    Limit(Limit),
    /// A synproxy.
    Synproxy(Synproxy),
    /// The body of a `ct helper`, `ct timeout`, `ct expectation`, `secmark` or `tunnel`: words and values that no
    /// packet's verdict depends on, as `key value` pairs in order of writing.
    Settings(Vec<(Box<str>, Box<str>)>),
}
