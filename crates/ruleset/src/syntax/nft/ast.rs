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

mod expr;
mod statement;

pub use expr::*;
pub use statement::*;

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
