//! Who is at work on the rules of a trial: while a guarded command runs, or while what it did is being judged, nobody can
//! say whether its rules are worth keeping.

use super::files;
use super::folder::Home;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// Its file in the trial's folder, which has its room on the disk.
pub(super) const FILE: &str = "work.json";
/// Room for two processes.
pub(super) const ROOM: usize = 256;

/// A process, which its number alone isn't: numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Worker {
    process: u32,
    /// When it started, in ticks of the clock since boot: field 22 of `/proc/PID/stat`, proc(5).
    started: u64,
}

impl Worker {
    /// The process of this number; `None` where it is over, or waits only for somebody to ask how it ended.
    fn of(process: u32) -> Option<Worker> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        if matches!(fields.next(), None | Some("Z" | "X")) {
            return None;
        }
        Some(Worker { process, started: fields.nth(18)?.parse().ok()? })
    }
}

/// Says that these processes are at work on the trial's rules: nobody confirms before they are done.
///
/// # Errors
/// The system's.
pub fn set_at_work(home: &Home, processes: &[u32]) -> io::Result<()> {
    write(&home.trial(), processes)
}

pub(super) fn write(folder: &Path, processes: &[u32]) -> io::Result<()> {
    let workers: Vec<Worker> = processes.iter().filter_map(|process| Worker::of(*process)).collect();
    files::fill_reserved(&folder.join(FILE), &serde_json::to_string(&workers)?)
}

/// Whether a process that [`set_at_work`] named still lives.
pub fn is_at_work(home: &Home) -> bool {
    let text = files::read_reserved(&home.trial().join(FILE)).unwrap_or_default();
    let workers: Vec<Worker> = serde_json::from_str(&text).unwrap_or_default();
    workers.iter().any(|worker| Worker::of(worker.process).as_ref() == Some(worker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_works_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        assert!(!is_at_work(&home));
        fs::create_dir(home.trial()).unwrap();
        fs::write(home.trial().join(FILE), files::reserved(ROOM)).unwrap();
        assert!(!is_at_work(&home));
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        set_at_work(&home, &[u32::MAX, child.id()]).unwrap();
        assert!(is_at_work(&home));
        child.kill().unwrap();
        while Worker::of(child.id()).is_some() {
            std::thread::yield_now();
        }
        // A process that ended, but whose parent hasn't asked for it.
        assert!(!is_at_work(&home));
        child.wait().unwrap();
        assert!(!is_at_work(&home));
        // Another process of the same number.
        let other = Worker { process: std::process::id(), started: 1 };
        let text = serde_json::to_string(&[other]).unwrap();
        files::fill_reserved(&home.trial().join(FILE), &text).unwrap();
        assert!(!is_at_work(&home));
        set_at_work(&home, &[std::process::id(), std::process::id()]).unwrap();
        assert!(is_at_work(&home));
        set_at_work(&home, &[]).unwrap();
        assert!(!is_at_work(&home));
    }
}
