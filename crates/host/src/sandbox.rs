//! Throwaway network namespaces, in which rules are loaded to see what comes of it.
//!
//! Root gets a namespace that lives as long as the value. An ordinary user gets one inside a user namespace, held by a
//! process that ends with the value, or with this program, however that ends.

mod interfaces;
mod replay;

pub use interfaces::{interfaces_of, named_interfaces};
pub use replay::{Rules, split_save};

use crate::generation::{generation, within};
use crate::kernel::{ChainName, RawRule, RuleEdit};
use crate::program::{ProgramError, find, run_with};
use crate::state::{State, StateError, stateless_listing};
use firewarden_change::plan::{Loader, Script};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use tempfile::TempDir;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Neither root nor user namespaces.
    #[error("no throwaway network namespace can be made: {0}")]
    Unsupported(String),
    /// A program that is needed isn't there, or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// What was loaded can't be read back.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A network namespace with nothing in it but loopback, which goes away with the value.
#[derive(Debug)]
pub struct Sandbox {
    holder: Holder,
    /// For files of its own, such as the lock that iptables takes.
    folder: TempDir,
}

/// What keeps the namespace there.
#[derive(Debug)]
enum Holder {
    /// An open namespace, of which the path is `/proc/self/fd/N`.
    Namespace(File),
    /// A process in it that waits for the end of its input, and owns the user namespace as well.
    Process(Child),
}

impl Sandbox {
    /// Makes a namespace.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] without root rights where user namespaces aren't there for everybody.
    pub fn new() -> Result<Sandbox, SandboxError> {
        let folder = tempfile::tempdir()
            .map_err(|error| SandboxError::Unsupported(format!("no temporary folder: {error}")))?;
        let holder = match fresh_namespace() {
            Ok(namespace) => Holder::Namespace(namespace),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Holder::Process(user_namespace().map_err(SandboxError::Unsupported)?)
            }
            Err(error) => return Err(SandboxError::Unsupported(error.to_string())),
        };
        let sandbox = Sandbox { holder, folder };
        sandbox.run("ip", &["link", "set", "lo", "up"], "")?;
        Ok(sandbox)
    }

    /// Runs a program in the namespace, with a text to read.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, ProgramError> {
        self.run_in(program, arguments, input, None)
    }

    fn run_in(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
        folder: Option<&Path>,
    ) -> Result<String, ProgramError> {
        // The host's own lock isn't taken: nothing of the host is changed.
        let lock = self.folder.path().join("xtables.lock");
        let prepare = |command: &mut Command| {
            command.env("XTABLES_LOCKFILE", &lock);
            if let Some(folder) = folder {
                command.current_dir(folder);
            }
        };
        match &self.holder {
            Holder::Namespace(_) => {
                self.inside(|| run_with(program, arguments, prepare, input)).map_err(|error| {
                    ProgramError::NotStarted { program: program.to_owned(), reason: error.to_string() }
                })?
            }
            Holder::Process(child) => {
                let path = find(program).ok_or_else(|| ProgramError::Missing(program.to_owned()))?;
                let (process, path) = (child.id().to_string(), path.display().to_string());
                let mut all = vec!["--preserve-credentials", "-U", "-n", "-t", &process, &path];
                all.extend(arguments);
                run_with("nsenter", &all, prepare, input)
            }
        }
    }

    /// Does something on a thread in the namespace. Only for root.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        within(Some(&self.path()), work)
    }

    /// The namespace's file.
    pub fn path(&self) -> PathBuf {
        match &self.holder {
            Holder::Namespace(file) => PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            Holder::Process(child) => PathBuf::from(format!("/proc/{}/ns/net", child.id())),
        }
    }

    /// Loads a script as the guard would.
    ///
    /// # Errors
    /// [`ProgramError::Failed`] with the loader's words where it refuses.
    pub fn load(&self, script: &Script) -> Result<(), ProgramError> {
        let (program, arguments): (&str, &[&str]) = match script.loader {
            Loader::Nft => ("nft", &["-f", "-"]),
            Loader::IptablesRestore => (restore("iptables", "nft"), &["--noflush", "--wait"]),
            Loader::Ip6tablesRestore => (restore("ip6tables", "nft"), &["--noflush", "--wait"]),
            Loader::IptablesLegacyRestore => (restore("iptables", "legacy"), &["--noflush", "--wait"]),
            Loader::Ip6tablesLegacyRestore => (restore("ip6tables", "legacy"), &["--noflush", "--wait"]),
            Loader::IpsetRestore => ("ipset", &["restore", "-exist"]),
        };
        if script.text.is_empty() {
            return Ok(());
        }
        self.run(program, arguments, &script.text).map(drop)
    }

    /// Loads an nft file as `nft -f FILE` does, with includes from its folder and from these.
    ///
    /// # Errors
    /// As for [`Sandbox::load`].
    pub fn load_nft_file(&self, path: &Path, include_paths: &[PathBuf]) -> Result<(), ProgramError> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let folder = path.parent().unwrap_or(Path::new("/"));
        let text = |path: &Path| path.display().to_string();
        let folders: Vec<String> = std::iter::once(folder.to_path_buf())
            .chain(include_paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())))
            .map(|path| text(&path))
            .collect();
        let file = text(&path);
        let mut arguments: Vec<&str> = folders.iter().flat_map(|folder| ["-I", folder]).collect();
        arguments.extend(["-f", &file]);
        self.run_in("nft", &arguments, "", Some(folder)).map(drop)
    }

    /// `nft -s -a list ruleset`.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn list(&self) -> Result<String, ProgramError> {
        self.run("nft", &["-s", "-a", "list", "ruleset"], "")
    }

    /// The rules of a chain, in the kernel's bytes.
    ///
    /// # Errors
    /// The system's; `Unsupported` for an ordinary user, whose process can't enter the namespace.
    pub fn rules(&self, chain: &ChainName) -> io::Result<Vec<RawRule>> {
        match &self.holder {
            Holder::Namespace(_) => self.inside(|| crate::kernel::rules(chain))?,
            Holder::Process(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes edits of rules in one transaction.
    ///
    /// # Errors
    /// As for [`Sandbox::rules`].
    pub fn carry_out(&self, edits: &[RuleEdit]) -> io::Result<()> {
        match &self.holder {
            Holder::Namespace(_) => {
                self.inside(|| crate::kernel::carry_out(edits, generation()?).map(drop))?
            }
            Holder::Process(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Everything that was loaded, as it is read of the host.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn state(&self) -> Result<State, SandboxError> {
        match &self.holder {
            Holder::Namespace(_) => {
                let read = self.inside(State::read);
                Ok(read.map_err(|error| SandboxError::Unsupported(error.to_string()))??)
            }
            Holder::Process(_) => self.state_of_user(),
        }
    }

    /// Everything that was loaded, and `nft -s -a list ruleset`, listed once where that is enough.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn listed(&self) -> Result<(State, String), SandboxError> {
        let state = self.state()?;
        let listing = match stateless_listing(&state.nft) {
            Some(listing) => listing,
            None => self.list()?,
        };
        Ok((state, listing))
    }

    /// An ordinary user's process can't enter its own user namespace with threads running: the programs do.
    fn state_of_user(&self) -> Result<State, SandboxError> {
        let mut state = State { nft: self.run("nft", &["-a", "list", "ruleset"], "")?, ..State::default() };
        for (text, program) in [
            (&mut state.iptables, save("iptables", "nft")),
            (&mut state.ip6tables, save("ip6tables", "nft")),
            (&mut state.legacy_iptables, save("iptables", "legacy")),
            (&mut state.legacy_ip6tables, save("ip6tables", "legacy")),
        ] {
            // What was never loaded in here isn't there; nobody else loads anything.
            *text = match self.run(program, &[], "") {
                Ok(text) if text.lines().any(|line| line.starts_with("-A ") || line.contains(" DROP [")) => {
                    text
                }
                _ => String::new(),
            };
        }
        state.ipset = self.run("ipset", &["save"], "").unwrap_or_default();
        Ok(state)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Holder::Process(child) = &mut self.holder {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program that loads rules of iptables; the plain name where there is only one kind.
fn restore(program: &'static str, kind: &str) -> &'static str {
    let own = match (program, kind) {
        ("iptables", "nft") => "iptables-nft-restore",
        ("ip6tables", "nft") => "ip6tables-nft-restore",
        ("iptables", _) => "iptables-legacy-restore",
        _ => "ip6tables-legacy-restore",
    };
    match (find(own), program) {
        (Some(_), _) => own,
        (None, "iptables") => "iptables-restore",
        (None, _) => "ip6tables-restore",
    }
}

/// The program that lists rules of iptables.
fn save(program: &'static str, kind: &str) -> &'static str {
    match (program, kind) {
        ("iptables", "nft") => "iptables-nft-save",
        ("ip6tables", "nft") => "ip6tables-nft-save",
        ("iptables", _) => "iptables-legacy-save",
        _ => "ip6tables-legacy-save",
    }
}

/// A new network namespace, made on a thread that ends at once.
fn fresh_namespace() -> io::Result<File> {
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A process in a user namespace and a network namespace of its own, where this user is root.
fn user_namespace() -> Result<Child, String> {
    let help = "run it as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, \
                kernel.apparmor_restrict_unprivileged_userns)";
    let unshare = find("unshare").ok_or(format!("there is no program `unshare`; {help}"))?;
    let mut child = Command::new(unshare)
        .args(["--user", "--map-root-user", "--net", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // It answers once it is where it should be.
    let asked = child.stdin.as_mut().map(|pipe| pipe.write_all(b"\n").and_then(|()| pipe.flush()));
    let mut answer = [0];
    let answered = child.stdout.as_mut().map(|pipe| pipe.read_exact(&mut answer));
    if matches!((asked, answered), (Some(Ok(())), Some(Ok(())))) {
        return Ok(child);
    }
    let mut words = String::new();
    if let Some(pipe) = child.stderr.as_mut() {
        // Whatever it said is better than nothing.
        let _ = pipe.read_to_string(&mut words);
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("{}; {help}", words.trim().replace('\n', " ")))
}

#[cfg(test)]
mod tests;
