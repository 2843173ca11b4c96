//! Changes on trial: the guard process that makes them, waits for a confirmation and brings the old rules back without one,
//! and what others tell it through the trial's folder.
//!
//! The operator's program [`start`]s a guard, which lives in a session of its own and alone changes the kernel from then on
//! ([`serve`]). A second guard, the standby, waits for the lock of the first and goes on from the saved state when that
//! dies; the lock is free only when no loader of the dead guard runs any more. What a guard does next is decided by
//! [`firewarden_change::trial`]; here is what its effects mean on Linux.
//!
//! In the state folder ([`Home`]):
//!
//! - `trial/`: the trial that is on: `terms.json`, `plan.json` or the rules from before a command, `lock`, `state`, scripts,
//!   requests, `guard.log`
//! - `trials/ID/`: those that are over
//! - `confirmed/`, `confirmed.before/`: the rules that were confirmed last, and those confirmed before them

mod client;
mod clock;
mod files;
mod folder;
mod keep;
mod launch;
mod loader;
mod prepare;
mod process;
pub(crate) mod raw;
mod reading;
mod recover;
mod slots;
#[expect(unsafe_code, reason = "what a child does between fork and exec has no safe interface")]
mod spawn;
mod work;
mod workers;

pub use client::{
    Change, ClientError, Status, TakenOver, Wish, archive, ask, start, status, take_over, wait_for,
};
pub use clock::{boot_id, since_boot};
pub use folder::{Home, HomeError, Job, Terms, trial_name};
pub use launch::Launcher;
pub use loader::TOO_SLOW;
pub use process::serve;
pub use reading::namespace;
pub use recover::{Extent, Manifest, RecoverError, Recovered, confirmed, recover};
pub use work::{begin_work, end_work, is_at_work};
pub use workers::MARK;
