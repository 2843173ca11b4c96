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
//! # How to use it
//!
//! - *Differential tests*: one [`Oracle`] per thread, [`Oracle::load`] for each ruleset (20 to 40 ms; quicker when
//!   the [`Config`] stays the same), then [`Oracle::verdicts`] with batches of thousands of packets per hook.
//!   List all interfaces that rules name in the configuration. Skip packets that are [`Verdict::NotReached`], and
//!   rulesets that are [`Error::Load`]: neither says anything about rules. [`Oracle::traces`] gives the rule.
//! - *Confirming a witness*: the host's addresses and routes with [`Destinations::AsRouted`]; the verdict tells
//!   where the packet went and how it was rewritten.
//! - *Programs*: `main` looks for [`HELPER_ARGUMENT`] first and calls [`serve_helper`]; then [`Launch::automatic`]
//!   works for root and for ordinary users. [`supported`] says why not, where it doesn't.
//!
//! # What it cannot tell
//!
//! Rules with `limit`, `quota`, `numgen` or `time` give different answers at different times. A rule that matches
//! the IPv4 identification, the IPv6 flow label or TCP sequence numbers sees values of this crate; one that
//! changes the first two ends in [`Error::Lost`]. Packets of established and related flows pass NAT chains
//! untouched, because their flow entry has no translation. `socket`, `owner` and `cgroup` matches see the worker.
//! Packets arrive with mark 0. A rule that logs to NFLOG group 61234 or a table called `zz_firewarden_oracle`
//! gets in the way.

mod conntrack;
mod harness;
mod model;
mod namespace;
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
