//! Running the system's own programs: found where root finds them, in plain English, with an end.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where programs are that an ordinary user's PATH often lacks.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// How long a program may take. Listing 100,000 rules takes nft about 20 seconds.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// Why a program's output is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// It isn't installed.
    #[error("there is no program `{0}`")]
    Missing(String),
    /// It couldn't be started.
    #[error("`{program}` could not be started: {reason}")]
    NotStarted {
        /// The program.
        program: String,
        /// The system's words.
        reason: String,
    },
    /// It ended with an error.
    #[error("`{command}` failed: {words}")]
    Failed {
        /// The program with its arguments.
        command: String,
        /// What it wrote to standard error, in one line.
        words: String,
    },
    /// It didn't end.
    #[error("`{command}` did not end within {seconds} seconds")]
    Endless {
        /// The program with its arguments.
        command: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

/// The path of a program, from PATH and the system's folders.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    folders
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|entry| entry.is_file() && entry.permissions().mode() & 0o111 != 0)
}

/// Runs a program in the network namespace of the calling thread and gives what it wrote to standard output. Bytes that
/// aren't UTF-8 are replaced.
///
/// # Errors
/// [`ProgramError`]; a program that writes to standard error but ends well is no error.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, ProgramError> {
    run_with(program, arguments, |_| {}, "")
}

/// The same with something to read on standard input, and what else a command can be told.
pub(crate) fn run_with(
    program: &str,
    arguments: &[&str],
    prepare: impl FnOnce(&mut Command),
    input: &str,
) -> Result<String, ProgramError> {
    let path = find(program).ok_or_else(|| ProgramError::Missing(program.to_owned()))?;
    let not_started = |error: &std::io::Error| ProgramError::NotStarted {
        program: program.to_owned(),
        reason: error.to_string(),
    };
    let mut command = Command::new(path.as_os_str());
    command
        .args(arguments.iter().map(OsStr::new))
        .env("LC_ALL", "C")
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    prepare(&mut command);
    let mut child = command.spawn().map_err(|error| not_started(&error))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_owned();
        // A program that stops reading says why when it ends.
        thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    }
    let out = thread::spawn(move || read_all(out));
    let err = thread::spawn(move || read_all(err));
    let command = std::iter::once(program).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(GLANCE),
            Ok(None) => {
                // Nobody waits for what it might still say; it may have ended by itself in the meantime.
                let _ = child.kill();
                let _ = child.wait();
                return Err(ProgramError::Endless { command, seconds: PATIENCE.as_secs() });
            }
            Err(error) => return Err(not_started(&error)),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = if words.is_empty() { status.to_string() } else { words.chars().take(300).collect() };
    Err(ProgramError::Failed { command, words })
}

fn read_all(source: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        // What was read before an error is what there is.
        let _ = source.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_failure_and_absence() {
        assert_eq!(run("echo", &["a", "b"]).unwrap(), "a b\n");
        let failed = run("ls", &["/no/such/folder"]).unwrap_err();
        assert!(
            matches!(&failed, ProgramError::Failed { words, .. } if words.contains("No such file")),
            "{failed}"
        );
        assert_eq!(
            run("no-such-program-here", &[]),
            Err(ProgramError::Missing("no-such-program-here".to_owned()))
        );
    }

    #[test]
    fn a_large_output_is_read_while_it_runs() {
        let text = run("seq", &["300000"]).unwrap();
        assert_eq!(text.lines().count(), 300_000);
    }
}
