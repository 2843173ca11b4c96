//! This Linux host: what it runs, and snapshots of it.
//!
//! [`capture()`] asks the kernel and its programs for everything that the meaning of a ruleset hangs on, [`write()`]
//! makes a folder of it, and [`parse`] reads such files. Beside `firewarden-oracle`, which has namespaces of its own, this
//! is the only crate that talks to Linux; [`parse`] and [`anonymize()`] are pure.

pub mod parse;
