//! Time that goes on while the system sleeps, and that nobody can set.

use nix::time::{ClockId, clock_gettime};
use std::io;

/// Milliseconds since the system started, with the time that it slept (CLOCK_BOOTTIME).
pub fn since_boot() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
    // Linux has had this clock since 2.6.39, and its readings need no rights.
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The kernel's name for this run of the system.
///
/// # Errors
/// The system's, where `/proc` can't be read.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
