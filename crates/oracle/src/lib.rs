//! What the Linux kernel does with a packet: throwaway network namespaces.
//!
//! An [`Oracle`] owns a worker (a thread, or a helper process that needs no root rights) which makes a network
//! namespace, gives it the interfaces of a host, loads a ruleset, sends packets and reads from NFLOG what
//! became of them. Nothing outside the namespace is touched, and the kernel removes it with the worker, even
//! when that is killed.
//!
//! ```no_run
//! use firewarden_oracle::{Config, Hook, Launch, Oracle, Packet, Ruleset, Verdict};
//!
//! let ruleset = "table ip t { chain c { type filter hook input priority 0; tcp dport 22 drop\n }\n }";
//! let config = Config::with_interfaces(["eth0"]);
//! let mut oracle = Oracle::new(&Launch::Thread, &config, &Ruleset::Nft(ruleset.into()))?;
//! let packet = Packet::tcp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 22);
//! assert_eq!(oracle.verdicts(Hook::Input, &[packet])?, [Verdict::Dropped]);
//! # Ok::<(), firewarden_oracle::Error>(())
//! ```
//!
//! What it cannot tell: rules with `limit`, `quota`, `numgen` or `time` give different answers at different
//! times; a rule that matches the IPv4 identification or the IPv6 flow label sees values of this crate; packets
//! of established and related flows pass NAT chains untouched, because their flow entry has no translation;
//! `socket`, `owner` and `cgroup` matches see the worker.

mod conntrack;
mod harness;
mod model;
mod namespace;
mod netlink;
mod oracle;
mod packet;
mod pieces;
#[expect(unsafe_code, reason = "system calls without a safe wrapper; nowhere else in this crate")]
mod sys;
mod trace;
mod wire;
mod worker;

pub use model::{
    Config, Destinations, Error, Hook, Interface, LoadError, RejectKind, Route, Ruleset, StepVerdict,
    TraceStep, Verdict, Why,
};
pub use oracle::{HELPER_ARGUMENT, Launch, Oracle, load_check, serve_helper, supported};
pub use packet::{Packet, State, protocol, tcp_flag};
