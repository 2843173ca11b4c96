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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Worker {
    pub process: u32,
    /// When it started, in ticks of the clock since boot.
    pub started: u64,
}

impl Worker {
    /// The process of this number; `None` where it is over, or waits only for somebody to ask how it ended.
    pub fn of(process: u32) -> Option<Worker> {
        Stat::of(process).map(|stat| Worker { process, started: stat.started })
    }
}

/// What `/proc/PID/stat` says, proc(5).
pub(super) struct Stat {
    pub name: String,
    #[cfg(test)]
    pub state: char,
    pub parent: u32,
    pub session: u32,
    pub started: u64,
}

impl Stat {
    /// Of the process of this number; `None` where it is over.
    pub fn of(process: u32) -> Option<Stat> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let (before, rest) = stat.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let state = fields.first()?.chars().next()?;
        let small = |index| number(index).and_then(|number| u32::try_from(number).ok());
        let stat = Stat {
            name: name.to_owned(),
            #[cfg(test)]
            state,
            parent: small(1)?,
            session: small(3)?,
            started: number(19)?,
        };
        (!matches!(state, 'Z' | 'X')).then_some(stat)
    }
}

/// Who is at work on a trial's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Work {
    /// Who runs the command, and says what its rules mean.
    pub judge: Option<Worker>,
    pub command: Option<Worker>,
    /// The session that the command begins in.
    pub session: u32,
}

/// Says that this process runs a command: nobody confirms before it is over, and [`end_work`] was called.
///
/// # Errors
/// The system's.
pub fn begin_work(home: &Home, command: u32) -> io::Result<()> {
    write(&home.trial(), Worker::of(std::process::id()), Worker::of(command))
}

/// Says that the command is over, and its rules were judged.
///
/// # Errors
/// The system's.
pub fn end_work(home: &Home) -> io::Result<()> {
    write(&home.trial(), None, None)
}

/// Says that this process is going to run a command.
pub(super) fn announce(folder: &Path) -> io::Result<()> {
    write(folder, Worker::of(std::process::id()), None)
}

fn write(folder: &Path, judge: Option<Worker>, command: Option<Worker>) -> io::Result<()> {
    let session = Stat::of(std::process::id()).map_or(0, |stat| stat.session);
    let text = serde_json::to_string(&Work { judge, command, session })?;
    files::fill_reserved(&folder.join(FILE), &text)
}

/// What was written last.
pub(super) fn read(folder: &Path) -> Option<Work> {
    serde_json::from_str(&files::read_reserved(&folder.join(FILE))?).ok()
}

/// Whether a command runs, or what it did is being judged.
pub fn is_at_work(home: &Home) -> bool {
    let Some(work) = read(&home.trial()) else { return false };
    let both = [work.judge, work.command];
    both.into_iter().flatten().any(|worker| Worker::of(worker.process) == Some(worker))
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
        write(&home.trial(), Worker::of(u32::MAX), Worker::of(child.id())).unwrap();
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
        write(&home.trial(), Some(other), None).unwrap();
        assert!(!is_at_work(&home));
        begin_work(&home, std::process::id()).unwrap();
        assert!(is_at_work(&home));
        end_work(&home).unwrap();
        assert!(!is_at_work(&home));
        // The longest numbers have their room.
        let longest = Worker { process: u32::MAX, started: u64::MAX };
        write(&home.trial(), Some(longest), Some(longest)).unwrap();
        assert_eq!(read(&home.trial()).unwrap().command, Some(longest));
    }
}
