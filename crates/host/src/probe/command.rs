//! Probes that are made from elsewhere: commands that say by their exit status whether something works.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a command is looked at.
const GLANCE: Duration = Duration::from_millis(3);
/// How much of what a command says at its end is read, in bytes.
const LAST_WORDS: i64 = 512;

/// A command that has to succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProbe {
    /// What people call it.
    pub name: String,
    /// What `sh -c` runs.
    pub command: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnding {
    /// With exit status 0.
    Succeeded,
    /// With another one, or by a signal; what it wrote to standard error last.
    Failed(String, String),
    /// It took too long, and was killed with all that it had started.
    TimedOut,
    /// It was killed because nobody wanted to know any more.
    GivenUp,
    /// It could not be run.
    NotRun(String),
}

/// A command that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub ending: CommandEnding,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Whether it succeeded.
    pub fn holds(&self) -> bool {
        self.ending == CommandEnding::Succeeded
    }
}

impl fmt::Display for CommandEnding {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandEnding::Succeeded => text.write_str("succeeded"),
            CommandEnding::Failed(status, words) if words.is_empty() => write!(text, "failed with {status}"),
            CommandEnding::Failed(status, words) => write!(text, "failed with {status} ({words})"),
            CommandEnding::TimedOut => text.write_str("took too long"),
            CommandEnding::GivenUp => text.write_str("was given up"),
            CommandEnding::NotRun(why) => write!(text, "could not be run: {why}"),
        }
    }
}

impl CommandProbe {
    /// Runs it with `sh -c` in a process group of its own, in the namespaces of the calling thread, and waits for its end.
    /// Where it takes longer than `patience`, or `given_up` becomes true, the whole group is killed.
    pub fn run(&self, patience: Duration, given_up: &AtomicBool) -> Ran {
        let from = Instant::now();
        let ending = self.ending(from + patience, given_up).unwrap_or_else(CommandEnding::NotRun);
        Ran { ending, took: from.elapsed() }
    }

    fn ending(&self, until: Instant, given_up: &AtomicBool) -> Result<CommandEnding, String> {
        let words = |error: std::io::Error| error.to_string();
        // A file rather than a pipe: nobody waits for those who hold on to it.
        let mut said = tempfile::tempfile().map_err(words)?;
        let errors = said.try_clone().map_err(words)?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let mut child = command.spawn().map_err(words)?;
        loop {
            if let Some(status) = child.try_wait().map_err(words)? {
                return Ok(match status.success() {
                    true => CommandEnding::Succeeded,
                    false => CommandEnding::Failed(status_words(status), last_line(&mut said)),
                });
            }
            let over = Instant::now() >= until;
            if over || given_up.load(Ordering::Relaxed) {
                end(&mut child);
                return Ok(if over { CommandEnding::TimedOut } else { CommandEnding::GivenUp });
            }
            thread::sleep(GLANCE);
        }
    }
}

/// Kills a command and what it started, as far as that stayed in its process group.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // It may have ended meanwhile, which is as good.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

fn status_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("status {code}"),
        None => status.to_string(),
    }
}

/// The last line that isn't empty.
fn last_line(said: &mut std::fs::File) -> String {
    let length = said.metadata().map_or(0, |found| i64::try_from(found.len()).unwrap_or(0));
    let mut bytes = Vec::new();
    let read = said.seek(SeekFrom::End(-length.min(LAST_WORDS))).and_then(|_| said.read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn run(command: &str, patience: Duration) -> Ran {
        let probe = CommandProbe { name: "x".to_owned(), command: command.to_owned() };
        probe.run(patience, &AtomicBool::new(false))
    }

    #[test]
    fn the_exit_status_decides() {
        assert!(run("true && test 1 = 1", PATIENCE).holds());
        let failed = run("echo first >&2; printf 'no \\033route\\n\\n' >&2; exit 7", PATIENCE);
        assert_eq!(failed.ending.to_string(), "failed with status 7 (no route)");
        assert_eq!(run("kill -9 $$", PATIENCE).ending.to_string(), "failed with signal: 9 (SIGKILL)");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("late");
        // The child of the shell would write after the time is over; it also holds standard error open.
        let command = format!("(sleep 1; touch {}) & wait", marker.display());
        let ran = run(&command, Duration::from_millis(200));
        assert_eq!(ran.ending, CommandEnding::TimedOut);
        assert!(ran.took < Duration::from_millis(900), "{:?}", ran.took);
        thread::sleep(Duration::from_millis(1200));
        assert!(!marker.exists());
    }

    #[test]
    fn what_nobody_wants_to_know_is_given_up() {
        let probe = CommandProbe { name: "x".to_owned(), command: "sleep 20".to_owned() };
        let ran = probe.run(PATIENCE, &AtomicBool::new(true));
        assert_eq!(ran.ending, CommandEnding::GivenUp);
        assert!(ran.took < Duration::from_secs(5));
    }
}
