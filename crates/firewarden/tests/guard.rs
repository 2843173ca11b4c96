//! `firewarden guard` around what operators really run, and over the sessions that they really have: ssh, ufw, firewalld,
//! the reload of nftables.service, both iptables. Each in network, mount and process namespaces that end with the test;
//! the machine's own rules and files stay untouched.
//!
//! Needs root and the programs; is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "apply")]

mod common;
#[path = "guard/firewalld.rs"]
mod firewalld;
#[path = "guard/foreign.rs"]
mod foreign;
#[path = "guard/ssh.rs"]
mod ssh;
#[path = "guard/ufw.rs"]
mod ufw;
#[path = "guard/workers.rs"]
mod workers;

use common::namespace::Namespace;
use common::{Folder, Run};
use firewarden_host::state::State;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that has to come about.
const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_firewarden");

/// A host whose firewall is changed.
struct Host {
    namespace: Namespace,
    /// Outlives the namespace, whose processes write into it.
    folder: Folder,
}

impl Host {
    /// One, where these programs are there; `None` after saying why not.
    fn with(programs: &[&str]) -> Option<Host> {
        let is_missing = |program: &&&str| {
            let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
            !folders.iter().any(|folder| std::path::Path::new(folder).join(program).exists())
        };
        let missing: Vec<&str> = programs.iter().filter(is_missing).copied().collect();
        let made = match missing.as_slice() {
            [] => Namespace::with_processes(),
            some => Err(format!("not installed: {}", some.join(", "))),
        };
        match made {
            Ok(namespace) => {
                namespace.shell("ip link set lo up");
                Some(Host { namespace, folder: Folder::with(&[]) })
            }
            Err(why) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "this has to be tested in CI: {why}");
                eprintln!("skipped: {why}");
                None
            }
        }
    }

    /// The folder for Firewarden's state.
    fn state_folder(&self) -> String {
        self.folder.path().join("state").display().to_string()
    }

    /// A command on the host.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.namespace.command(program);
        command.args(arguments).env("FIREWARDEN_STATE", self.state_folder()).stdin(Stdio::null());
        command.env_remove("SSH_CONNECTION").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs Firewarden on the host.
    fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(PROGRAM, arguments).spawn().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(PROGRAM, arguments).spawn().unwrap()
    }

    /// The rules that the kernel holds.
    fn rules(&self) -> State {
        self.namespace.within(|| State::read().unwrap())
    }

    /// Waits until the guard waits to be asked, with the new rules in force and judged.
    #[track_caller]
    fn wait_until_asked(&self) {
        wait_for("the guard waits", || self.run(&["status"]).all().contains("in force, unconfirmed"));
    }
}

/// Waits for something.
#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came about: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits for the end of a program and gives what it wrote. It may be a short text only.
#[track_caller]
fn finish(mut child: Child) -> Run {
    let mut code = None;
    wait_for("a program ends", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    let text = |pipe: Option<&mut dyn Read>| {
        let mut text = String::new();
        if let Some(pipe) = pipe {
            pipe.read_to_string(&mut text).unwrap();
        }
        text
    };
    let stdout = text(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
    let stderr = text(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read));
    Run { code: code.and_then(|status| status.code()).unwrap_or(-1), stdout, stderr }
}
