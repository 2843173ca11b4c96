//! Labs in tests: whether they can be built here, and what is left of one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where labs are recorded.
pub const RECORDS: &str = "/run/firewarden/labs";
/// How long something may take that comes soon on any machine, such as the end of everything that was in a lab.
pub const END: Duration = Duration::from_secs(60);

/// A name that nobody else uses; `None`, with the reason on standard error, where labs can't be built here.
pub fn fresh_name() -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let missing = firewarden_lab::packages::missing();
    let why = match (is_root(), missing.is_empty()) {
        (false, _) => "labs need root rights".to_owned(),
        (true, false) => format!("packages are missing: {}", missing.join(" ")),
        (true, true) => {
            return Some(format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        }
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this has to be tested in CI: {why}");
    eprintln!("skipped: {why}");
    None
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The processes in a process namespace, by the inode of it. Those that only wait for somebody to read their exit status
/// hold nothing any more.
pub fn processes_of(namespace: u64) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let inside = |path: &PathBuf| {
        let ended = fs::read_to_string(path.join("stat")).is_ok_and(|stat| stat.contains(") Z "));
        !ended && fs::metadata(path.join("ns/pid")).is_ok_and(|found| found.ino() == namespace)
    };
    entries.filter(inside).collect()
}

#[track_caller]
pub fn all_gone(namespace: u64) {
    let deadline = Instant::now() + END;
    while !processes_of(namespace).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", processes_of(namespace));
        thread::sleep(Duration::from_millis(10));
    }
}
