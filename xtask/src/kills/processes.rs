//! The processes of a worker's namespace.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;

/// A process that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
    /// Its arguments, from the program on.
    pub arguments: Vec<String>,
}

/// Those that live, but for the worker itself.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| *pid != 1).filter_map(one).collect()
}

/// A process; `None` where it is dead.
pub fn one(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut words = after.split_whitespace();
    if matches!(words.next(), Some("Z" | "X") | None) {
        return None;
    }
    let parent = words.next()?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Some(Process { pid, parent, name, arguments })
}

/// The guards and standbys that live.
pub fn guards() -> Vec<i32> {
    let is_guard = |process: &Process| {
        process.arguments.iter().any(|argument| argument == super::GUARD)
            && !process.arguments.iter().any(|argument| argument == "--detach")
    };
    all().into_iter().filter(is_guard).map(|process| process.pid).collect()
}

/// Sends a signal.
pub fn signal(pid: i32, name: &str) {
    let signal = match name {
        "HUP" => Signal::SIGHUP,
        "TERM" => Signal::SIGTERM,
        _ => Signal::SIGKILL,
    };
    // It may be gone.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Kills everything but the worker, also what is being started meanwhile.
pub fn kill_all() {
    for _ in 0..1000 {
        let living = all();
        if living.is_empty() {
            break;
        }
        living.iter().for_each(|process| signal(process.pid, "KILL"));
        reap();
    }
}

/// Takes notice of dead processes: the first process of a namespace inherits the orphans.
pub fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
