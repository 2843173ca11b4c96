//! What goes into the oracle and what comes out: configuration, rulesets, verdicts, errors.

use std::net::IpAddr;

use crate::packet::Packet;

/// The path through the kernel that a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// From an interface to a local process: prerouting, input.
    Input,
    /// From one interface to another: prerouting, forward, postrouting.
    Forward,
    /// From a local process to an interface: output, postrouting.
    Output,
}

/// An interface of the simulated host. `lo` always exists and is not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Addresses with prefix lengths. Masquerading needs one on the outgoing interface.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// An interface without addresses.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), addresses: Vec::new() }
    }
}

/// A route of the simulated host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network address and prefix length; length 0 is the default route.
    pub destination: (IpAddr, u8),
    /// Interface to send by.
    pub interface: String,
    /// Next hop, none for a network on the link.
    pub via: Option<IpAddr>,
}

/// Who decides where a packet goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Destinations {
    /// The question: with [`Hook::Input`] every destination is local, with [`Hook::Forward`] and
    /// [`Hook::Output`] every destination (but the host's own addresses) is behind [`Packet::oif`], or behind
    /// the first interface. Routes of the configuration are ignored, prefixes of addresses too. For questions
    /// about rules. Rules that look up the *source* (`fib saddr`, `rpfilter`, `--src-type`) find it local or
    /// behind the same interface, which no real host would: leave them to [`Destinations::AsRouted`].
    #[default]
    AsAsked,
    /// The addresses and routes of the configuration, as on the real host. The verdict tells where the packet
    /// went. For questions about hosts.
    AsRouted,
}

/// The simulated host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// All interfaces but `lo`.
    pub interfaces: Vec<Interface>,
    /// Routes, used with [`Destinations::AsRouted`].
    pub routes: Vec<Route>,
    /// Who decides where a packet goes.
    pub destinations: Destinations,
    /// Sysctls as (dotted or slashed name below `net`, value), applied after the oracle's own: the oracle
    /// switches reverse path filtering off and forwarding on, and sets
    /// `netfilter.nf_conntrack_tcp_loose` to 0 and `netfilter.nf_conntrack_tcp_be_liberal` to 1.
    pub sysctls: Vec<(String, String)>,
}

impl Config {
    /// A host with these interfaces and nothing else.
    pub fn with_interfaces<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { interfaces: names.into_iter().map(Interface::named).collect(), ..Self::default() }
    }

    /// Whether a stray ACK starts a flow here (`net.netfilter.nf_conntrack_tcp_loose`; the oracle's default
    /// is no, Linux' default is yes).
    pub fn tcp_loose(&self) -> bool {
        self.sysctls
            .iter()
            .rev()
            .find(|(name, _)| name.ends_with("nf_conntrack_tcp_loose"))
            .is_some_and(|(_, value)| value.trim() != "0")
    }
}

/// What to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruleset {
    /// A script for `nft -f`.
    Nft(String),
    /// Commands for `nft -j -f`, or what `nft -j list ruleset` printed.
    NftJson(String),
    /// Dumps for the restore programs; an empty text loads nothing.
    Iptables {
        /// For `ipset restore`, loaded first.
        ipset: String,
        /// For `iptables-restore`.
        v4: String,
        /// For `ip6tables-restore`.
        v6: String,
    },
    /// Several, loaded one after the other; none of them such a list itself.
    Several(Vec<Ruleset>),
}

impl Ruleset {
    /// Whether sets of `ipset` are among it, which flushing nft's tables doesn't remove.
    pub(crate) fn has_ipsets(&self) -> bool {
        match self {
            Ruleset::Nft(_) | Ruleset::NftJson(_) => false,
            Ruleset::Iptables { ipset, .. } => !ipset.trim().is_empty(),
            Ruleset::Several(all) => all.iter().any(Ruleset::has_ipsets),
        }
    }
}

/// How a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectKind {
    /// A TCP segment with the RST flag.
    TcpReset,
    /// An ICMP "destination unreachable" with this code (RFC 792).
    Icmp(u8),
    /// An ICMPv6 "destination unreachable" with this code (RFC 4443).
    Icmpv6(u8),
}

/// What the kernel did with one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed every chain on its way.
    Accepted {
        /// Where it went, which with [`Destinations::AsRouted`], or for the host's own addresses, can differ
        /// from the hook in the question.
        hook: Hook,
        /// The packet after all rewriting: destination NAT and, unless it was delivered locally, source NAT;
        /// `ttl`, `dscp` as they leave; `oif` is the interface it left by.
        packet: Packet,
        /// Its mark at the end.
        mark: u32,
    },
    /// It was dropped with an answer to the sender.
    Rejected(RejectKind),
    /// It was dropped without an answer.
    Dropped,
    /// No rule decided.
    NotReached(Why),
}

/// Why no rule decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The oracle cannot give this packet the wanted connection tracking state; the text says why.
    State(&'static str),
    /// The kernel threw the packet away before the first hook (or, with netdev tables, at ingress).
    BeforeHooks,
    /// The kernel threw it away when it looked for a route: a martian address, no route, TTL used up.
    Routing,
    /// It is a fragment and was kept for reassembly.
    Reassembly,
}

/// What happened at one place on a packet's way through the ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepVerdict {
    /// The packet leaves this base chain.
    Accept,
    /// The packet is gone (a reject too).
    Drop,
    /// The rule matched and the next one follows.
    Continue,
    /// Back to the calling chain, by a rule or at the end; at the end of a base chain its policy follows.
    Return,
    /// On in this chain, then back.
    Jump(String),
    /// On in this chain.
    Goto(String),
    /// Another code of linux/netfilter.h or nf_tables.h, such as a queue.
    Other(i32),
}

/// One step of a [`trace`](crate::Oracle::traces): a rule that matched, a chain's end, or a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// Family of the table as nft names it, such as `ip` or `inet`.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Position in the chain, from 0, and handle of the rule; none for a chain's policy and for the return at
    /// its end.
    pub rule: Option<(u32, u64)>,
    /// What happened there.
    pub verdict: StepVerdict,
}

/// A ruleset that the kernel or its loader refused: unsupported here, which says nothing about packets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{program}` refused the ruleset: {message}")]
pub struct LoadError {
    /// Program that loads it: `nft`, `iptables-restore`, `ip6tables-restore`, `ipset`.
    pub program: String,
    /// What it wrote to standard error.
    pub message: String,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The oracle cannot run here; the text says what is missing.
    #[error("the kernel oracle cannot run here: {0}")]
    Unsupported(String),
    /// The ruleset does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The question is malformed.
    #[error("bad question to the kernel oracle: {0}")]
    Question(String),
    /// Events were lost, so that no verdict of the batch can be trusted.
    #[error("the kernel oracle lost events: {0}")]
    Lost(String),
    /// The helper ended or answered nonsense.
    #[error("the kernel oracle stopped: {0}")]
    Stopped(String),
}
