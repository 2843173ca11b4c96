//! The processes of a guarded command: found by a mark in their environment and by who started them, held while the old
//! rules come back, and ended afterwards.
//!
//! Those that went into a session of their own and lost the one who started them look like services, and may be (`service
//! ssh restart` on a host without systemd leaves the very program behind that the operator comes in by). They are ended
//! only where the machine says so.

use super::work::{self, Worker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The variable in the environment of a guarded command, which names its trial.
pub const MARK: &str = "FIREWARDEN_TRIAL";
/// How long what was told to end may take to do so.
const ENDING: Duration = Duration::from_secs(5);
/// How long what was killed may take to be gone.
const GOING: Duration = Duration::from_secs(2);
/// How often it is looked whether they are gone.
const GLANCE: Duration = Duration::from_millis(20);
/// How often it is looked for new ones while they are being held. One that is held starts no other.
const LOOKS: u32 = 50;
/// The most processes that are named to the operator.
const NAMED: usize = 5;

/// What is told of what isn't ended.
const LIVES: &str = "what the command started runs on, and nobody watches the rules any more";

/// The processes of one trial's command.
pub struct Workers {
    folder: PathBuf,
    /// The entry in their environment.
    mark: Vec<u8>,
    /// Those that were seen and live.
    known: BTreeMap<u32, Process>,
}

/// A process of the command.
#[derive(Clone, Debug)]
struct Process {
    worker: Worker,
    name: String,
    /// Whether it looks like a service.
    is_detached: bool,
}

/// What `/proc` says of a process.
struct Entry {
    worker: Worker,
    name: String,
    parent: u32,
    session: u32,
    is_marked: bool,
}

impl Workers {
    /// For the trial in a folder, of this name.
    pub fn new(folder: &Path, id: &str) -> Workers {
        let mark = format!("{MARK}={id}").into_bytes();
        Workers { folder: folder.to_path_buf(), mark, known: BTreeMap::new() }
    }

    /// Keeps them from doing anything (SIGSTOP, which none of them can prevent).
    ///
    /// # Errors
    /// Those that can't be held, in words.
    pub fn hold(&mut self) -> Result<(), String> {
        let mut held = BTreeSet::new();
        for _ in 0..LOOKS {
            self.look();
            let fresh: Vec<Process> =
                self.known.values().filter(|process| held.insert(process.worker)).cloned().collect();
            if fresh.is_empty() {
                return Ok(());
            }
            fresh.iter().for_each(|process| process.signal(Signal::SIGSTOP));
        }
        Err(format!("new ones come all the time: {}", self.names()))
    }

    /// Ends them: SIGTERM and SIGHUP, after five seconds SIGKILL. Those that look like services only go on, unless `all`.
    ///
    /// # Errors
    /// Those that live on, in words.
    pub fn end(&mut self, all: bool) -> Result<(), String> {
        let (mut told, mut freed) = (BTreeSet::new(), BTreeSet::new());
        let begun = Instant::now();
        loop {
            self.look();
            let is_meant = |process: &&Process| all || !process.is_detached;
            for process in self.known.values().filter(is_meant) {
                if begun.elapsed() > ENDING {
                    process.signal(Signal::SIGKILL);
                } else if told.insert(process.worker) {
                    // Shells that somebody types into hear only the second.
                    process.signal(Signal::SIGTERM);
                    process.signal(Signal::SIGHUP);
                    process.signal(Signal::SIGCONT);
                }
            }
            for process in self.known.values().filter(|process| !is_meant(process)) {
                if freed.insert(process.worker) {
                    process.signal(Signal::SIGCONT);
                }
            }
            let is_over = !self.known.values().any(|process| is_meant(&process));
            if is_over || begun.elapsed() > ENDING + GOING {
                break;
            }
            std::thread::sleep(GLANCE);
        }
        if self.known.is_empty() { Ok(()) } else { Err(format!("{LIVES}: {}", self.names())) }
    }

    /// Whether one lives that is known.
    pub fn live(&mut self) -> bool {
        self.known.retain(|number, process| Worker::of(*number) == Some(process.worker));
        !self.known.is_empty()
    }

    /// Those that are known, for people.
    fn names(&self) -> String {
        let name = |process: &Process| format!("{} ({})", process.name, process.worker.process);
        let mut names: Vec<String> = self.known.values().take(NAMED).map(name).collect();
        if self.known.len() > NAMED {
            names.push(format!("{} more", self.known.len() - NAMED));
        }
        names.join(", ")
    }

    /// Looks who there is. O(processes of the system).
    fn look(&mut self) {
        let work = work::read(&self.folder);
        let own = std::process::id();
        let judge = work.as_ref().and_then(|work| work.judge);
        let is_other = |entry: &Entry| entry.worker.process != own && Some(entry.worker) != judge;
        let entries: Vec<Entry> = entries(&self.mark).into_iter().filter(is_other).collect();
        let command = work.as_ref().and_then(|work| work.command);
        // Without a note about the session, everything that bears the mark belongs to the command.
        let is_near = |entry: &Entry| work.as_ref().is_none_or(|work| work.session == entry.session);
        let known =
            |entry: &Entry| self.known.get(&entry.worker.process).filter(|p| p.worker == entry.worker);
        let near = entries.iter().filter(|entry| {
            Some(entry.worker) == command
                || (entry.is_marked && is_near(entry))
                || known(entry).is_some_and(|process| !process.is_detached)
        });
        let near = with_children(&entries, near.map(|entry| entry.worker.process).collect());
        let marked = entries.iter().filter(|entry| entry.is_marked || known(entry).is_some());
        let all =
            with_children(&entries, marked.map(|entry| entry.worker.process).chain(near.clone()).collect());
        let found = entries.into_iter().filter(|entry| all.contains(&entry.worker.process));
        self.known = found
            .map(|Entry { worker, name, .. }| {
                let is_detached = !near.contains(&worker.process);
                (worker.process, Process { worker, name, is_detached })
            })
            .collect();
    }
}

impl Process {
    /// Sends a signal. It may be over, or another user's; who lives on is looked at afterwards.
    fn signal(&self, signal: Signal) {
        if let Ok(number) = i32::try_from(self.worker.process)
            && Worker::of(self.worker.process) == Some(self.worker)
        {
            let _ = kill(Pid::from_raw(number), signal);
        }
    }
}

/// Processes and all that descend from them. O(n log n).
fn with_children(entries: &[Entry], roots: BTreeSet<u32>) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in entries {
        children.entry(entry.parent).or_default().push(entry.worker.process);
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<u32> = roots.into_iter().collect();
    while let Some(number) = open.pop() {
        if found.insert(number) {
            open.extend(children.get(&number).into_iter().flatten());
        }
    }
    found
}

/// The processes that live.
fn entries(mark: &[u8]) -> Vec<Entry> {
    let Ok(folders) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = folders.filter_map(|folder| folder.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(|number| entry(number, mark)).collect()
}

fn entry(number: u32, mark: &[u8]) -> Option<Entry> {
    let stat = work::Stat::of(number)?;
    // Those of kernel threads are empty; those of others' processes can't be read without rights.
    let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
    let is_marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark);
    Some(Entry {
        worker: Worker { process: number, started: stat.started },
        name: stat.name,
        parent: stat.parent,
        session: stat.session,
        is_marked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::files;
    use crate::guard::folder::Home;
    use std::process::Command;

    /// A trial's folder, and a command of the shell under its guard.
    fn begun(id: &str, script: &str) -> (tempfile::TempDir, Workers, std::process::Child) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        fs::create_dir(home.trial()).unwrap();
        fs::write(home.trial().join(work::FILE), files::reserved(work::ROOM)).unwrap();
        let child = Command::new("sh").args(["-c", script]).env(MARK, id).spawn().unwrap();
        work::begin_work(&home, child.id()).unwrap();
        let workers = Workers::new(&home.trial(), id);
        (folder, workers, child)
    }

    fn wait_for(mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never came about");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_command_and_its_children_are_held_and_ended() {
        // A child without the mark, one that doesn't hear, and the shell.
        let script = "env -i sleep 100 & sh -c 'trap \"\" TERM HUP; sleep 100; sleep 100' & wait";
        let (_folder, mut workers, mut child) = begun("held-and-ended", script);
        wait_for(|| {
            workers.look();
            workers.known.len() == 4 && workers.known.values().filter(|p| p.name == "sleep").count() == 2
        });
        workers.hold().unwrap();
        let is_held = |number: &u32| work::Stat::of(*number).is_some_and(|stat| stat.state == 'T');
        wait_for(|| workers.known.keys().all(is_held));
        let all: Vec<Worker> = workers.known.values().map(|process| process.worker).collect();
        workers.end(false).unwrap();
        assert!(all.iter().all(|worker| Worker::of(worker.process) != Some(*worker)));
        assert!(!workers.live());
        child.wait().unwrap();
    }

    #[test]
    fn what_looks_like_a_service_is_ended_only_where_all_are_meant() {
        let (_folder, mut workers, mut child) = begun("a-service", "setsid sleep 100 & sleep 0.1");
        child.wait().unwrap();
        workers.hold().unwrap();
        let words = workers.end(false).unwrap_err();
        assert!(words.starts_with(&format!("{LIVES}: sleep (")), "{words}");
        let state = |workers: &Workers| work::Stat::of(*workers.known.keys().next().unwrap()).unwrap().state;
        wait_for(|| state(&workers) == 'S');
        assert!(workers.live());
        workers.end(true).unwrap();
        assert!(!workers.live());
    }
}
