//! This Linux host: what it runs, and snapshots of it.
//!
//! [`capture()`] asks the kernel and its programs for everything that the meaning of a ruleset hangs on,
//! [`snapshot::write`] makes a folder of it, and [`parse`] reads such files. [`state`] reads the rules alone, with a digest
//! that tells whether two rulesets are the same. Beside `firewarden-oracle`, which has
//! namespaces of its own, this is the only crate that talks to Linux; [`parse`] is pure, and so is [`anonymize()`] but for
//! its key.

pub mod actor;
mod anonymize;
mod boot;
mod capture;
mod clock;
#[cfg(feature = "apply")]
pub mod connections;
#[cfg(feature = "apply")]
mod direct;
#[cfg(feature = "apply")]
pub mod folder;
mod generation;
#[cfg(feature = "apply")]
pub mod guard;
mod iptables;
#[cfg(feature = "apply")]
pub mod kernel;
pub mod parse;
#[cfg(feature = "apply")]
pub mod probe;
mod program;
#[cfg(feature = "apply")]
pub mod rehearsal;
#[cfg(feature = "apply")]
pub mod sandbox;
#[cfg(feature = "apply")]
pub mod signature;
pub mod snapshot;
pub mod state;
mod sysctl;
#[cfg(feature = "apply")]
pub mod trust;

pub use anonymize::anonymize;
pub use capture::{CaptureError, CaptureOptions, capture, host_name};
pub use clock::utc_now;
pub use generation::{enter, generation, namespace_file, within};
pub use iptables::LEGACY;
pub use program::ProgramError;
pub use snapshot::{Manifest, Snapshot};
