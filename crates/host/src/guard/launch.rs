//! Starting a guard out of reach of what ends its client: as a unit of systemd, or detached.

use super::client::ClientError;
use super::process::DETACH;
use super::workers;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program that is started as the guard. What it does then is [`super::serve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// Its path.
    pub program: PathBuf,
    /// The arguments that come before `--detach` and the trial's folder.
    pub arguments: Vec<OsString>,
}

impl Launcher {
    /// This program, with `guard-process`.
    ///
    /// # Errors
    /// The system's, where it doesn't tell which program runs.
    pub fn this_program() -> io::Result<Launcher> {
        Ok(Launcher { program: std::env::current_exe()?, arguments: vec!["guard-process".into()] })
    }
}

/// Starts a guard for the trial in a folder, out of reach of what ends this process and its session.
pub(super) fn spawn(trial: &Path, launcher: &Launcher) -> Result<(), ClientError> {
    let mut errors = Vec::new();
    if has_systemd() {
        match run(systemd_run(trial, launcher)) {
            Ok(()) => return Ok(()),
            Err(words) => errors.push(words),
        }
    }
    let log = OpenOptions::new().append(true).open(trial.join("guard.log"));
    let detached = log.and_then(|log| Ok((log.try_clone()?, log))).map_err(|error| error.to_string());
    let started = detached.and_then(|(out, err)| {
        let mut command = Command::new(&launcher.program);
        command.args(&launcher.arguments).arg(DETACH).arg(trial).stdin(Stdio::null()).stdout(out).stderr(err);
        // A guarded shell may start it, and is no reason to end it.
        command.env_remove(workers::MARK);
        run(command)
    });
    started.map_err(|words| {
        errors.push(words);
        ClientError::Spawn(errors.join("; "))
    })
}

fn run(mut command: Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", command.get_program().display())),
        Err(error) => Err(format!("`{}`: {error}", command.get_program().display())),
    }
}

/// Whether systemd can start a guard in the network namespace of this process.
fn has_systemd() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    Path::new("/run/systemd/system").is_dir()
        && nix::unistd::Uid::effective().is_root()
        && namespace("1").is_some_and(|of_systemd| namespace("thread-self") == Some(of_systemd))
}

/// A guard as a transient unit, which is started again where it fails. Its standby must not die with it.
fn systemd_run(trial: &Path, launcher: &Launcher) -> Command {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--description=Firewarden: guard of a change on trial"]);
    command.args(["--property=KillMode=process", "--property=Restart=on-failure", "--property=RestartSec=1"]);
    // A guard hears no signal, and a system that goes down shall not wait for it: the boot loads what was confirmed.
    command.arg("--property=TimeoutStopSec=5");
    command.arg(format!("--property=StandardError=append:{}", trial.join("guard.log").display()));
    command.arg(&launcher.program).args(&launcher.arguments).arg(trial);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
