//! Intents and the questions asked of rulesets: check, exposed, trace; findings.
//!
//! A stack file ([`stack`]) declares hosts and intents; [`intent`] turns an intent into questions, sets of packets with
//! a claim about what becomes of them; [`check`](check()) answers them, and [`matrix`] shows them as a whole. [`exposed`] lists who may reach what, and
//! [`trace`](trace()) follows one packet; both need only a ruleset.

pub mod address;
pub mod audit;
mod check;
pub mod diff;
pub mod exposed;
pub mod intent;
mod located;
mod managers;
pub mod matrix;
pub mod probes;
pub mod relational;
pub mod stack;
mod suggest;
pub mod touched;
mod trace;
pub mod yaml;

pub use check::{CheckOptions, Checked, Disagreement, RulesUsed, check, complete_hosts, single_host_stack};
pub use located::{Located, Place};
pub use managers::{chain_manager, manager_of};
pub use suggest::nearest;
pub use trace::{Arrival, Traced, answer, trace, trace_stack};
