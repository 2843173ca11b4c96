//! Running the programs that load rules.

use super::{clock, spawn};
use crate::iptables::program_of;
use crate::program::find;
use firewarden_change::plan::Loader;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the way back may take, in milliseconds. Loading 100,000 rules takes nft some seconds.
pub const PATIENCE: u64 = 180_000;
/// What is said of a loader that was stopped since its time was over: for new rules, at the deadline of the trial.
pub const TOO_SLOW: &str = "did not end in time";
/// How often a running loader is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// What a loader reads.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A file.
    File(&'a Path),
    /// A text, which needs no room on any disk.
    Text(&'a str),
}

/// The program and its arguments.
fn program(loader: Loader) -> Result<(String, &'static [&'static str]), String> {
    let of_iptables = |program: &str, kind: &str| {
        program_of(program, kind, "restore")
            .ok_or_else(|| format!("there is no program `{program}-{kind}-restore`"))
    };
    const RESTORE: &[&str] = &["--noflush"];
    // The old iptables has a lock of its own.
    const LEGACY: &[&str] = &["--noflush", "--wait=10"];
    Ok(match loader {
        Loader::Nft => ("nft".to_owned(), &["-f", "-"]),
        Loader::IptablesRestore => (of_iptables("iptables", "nft")?, RESTORE),
        Loader::Ip6tablesRestore => (of_iptables("ip6tables", "nft")?, RESTORE),
        Loader::IptablesLegacyRestore => (of_iptables("iptables", "legacy")?, LEGACY),
        Loader::Ip6tablesLegacyRestore => (of_iptables("ip6tables", "legacy")?, LEGACY),
        Loader::IpsetRestore => ("ipset".to_owned(), &["restore"]),
    })
}

/// Loads a script in the network namespace of the calling thread, which must live as long as the guard. The loader is
/// killed at `until` (milliseconds since boot).
///
/// # Errors
/// The loader's words, or why it wasn't run.
pub fn load(loader: Loader, input: Input, lock: &File, until: u64) -> Result<(), String> {
    let (name, arguments) = program(loader)?;
    let path = find(&name).ok_or_else(|| format!("there is no program `{name}`"))?;
    let failed = |error: std::io::Error| format!("`{name}` could not be run: {error}");
    let (input, writer) = match input {
        Input::File(path) => (Stdio::from(File::open(path).map_err(failed)?), None),
        Input::Text(text) => (Stdio::piped(), Some(text.to_owned())),
    };
    // What it says goes to a file in memory: nobody has to read along, and nothing blocks.
    let mut said = memory_file().map_err(failed)?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::from(said.try_clone().map_err(failed)?));
    let mut child = spawn::bound(&mut command, lock).map_err(failed)?;
    if let (Some(text), Some(mut pipe)) = (writer, child.stdin.take()) {
        std::thread::spawn(move || {
            // A loader that stops reading says why itself.
            let _ = pipe.write_all(text.as_bytes());
        });
    }
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if clock::since_boot() < until => std::thread::sleep(GLANCE),
            None => {
                // It may have ended by itself in the meantime; what it did is read back in any case.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("`{name}` {TOO_SLOW}"));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut words = String::new();
    // What it said is only for people.
    let _ = said.seek(SeekFrom::Start(0)).and_then(|_| said.read_to_string(&mut words));
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(format!("`{name}` failed: {}", if words.is_empty() { status.to_string() } else { words }))
}

fn memory_file() -> std::io::Result<File> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    Ok(File::from(nix::sys::memfd::memfd_create("said", flags)?))
}
