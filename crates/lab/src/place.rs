//! Labs that are up: which there are, and the way into their machines.
//!
//! Of a lab, nothing is on the machine that it runs on but a process, its supervisor, and a small record of that. All else
//! (network namespaces, mounts, files, services) hangs on the supervisor, and goes when that goes, however it ends.

use crate::layout::Layout;
use crate::outside;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Where the records are.
const RECORDS: &str = "/run/firewarden/labs";
/// The version of [`Record`].
pub const FORMAT_VERSION: u32 = 1;
/// The longest name.
const NAME_BYTES: usize = 32;
/// How long the kernel may take to end what is in a lab.
const END: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(5);

/// Where programs are in a lab; the first is its own.
pub(crate) const PATH: &str =
    "/run/firewarden/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The folder for temporary files in a lab, so that nothing of it stays behind.
pub(crate) const TEMPORARY: &str = "/run/firewarden/tmp";
/// The folder of the machines' state folders, in a lab.
pub(crate) const STATES: &str = "/run/firewarden/state";
/// The folder in which `ip netns` looks, in a lab.
pub(crate) const NETWORKS: &str = "/run/netns";
/// The folder of the machines' names, in a lab.
pub(crate) const NAMES: &str = "/run/firewarden/uts";
/// The services' certificate, in a lab.
pub(crate) const CERTIFICATE: &str = "/run/firewarden/tls/certificate.pem";
/// What a drill holds locked, in a lab.
const DRILL: &str = "/run/firewarden/drill.lock";
/// The list of services, in a lab.
pub(crate) const SERVICES: &str = "/run/firewarden/services.json";

/// Why a lab can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Only root can.
    #[error("labs need root rights")]
    NotRoot,
    /// A name that can't be a file's.
    #[error("`{0}` is no name of a lab: it takes 1 to {NAME_BYTES} lower-case letters, digits and `-`")]
    Name(String),
    /// There is none.
    #[error("there is no lab `{0}`")]
    Missing(String),
    /// There is one.
    #[error("there is a lab `{0}` already")]
    Taken(String),
    /// A machine that it doesn't have.
    #[error("the lab `{lab}` has no host `{host}`; it has {}", .hosts.join(", "))]
    Host {
        /// The lab.
        lab: String,
        /// The host.
        host: String,
        /// Its hosts.
        hosts: Vec<String>,
    },
    /// Its record can't be read or written.
    #[error("cannot use `{}`: {error}", .path.display())]
    Record {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Somebody drills in it.
    #[error("another drill is under way in the lab `{0}`")]
    Busy(String),
    /// It doesn't end.
    #[error("the lab `{0}` did not end")]
    Endless(String),
    /// It could not be built.
    #[error("{0}")]
    Failed(String),
}

/// What is known of a lab outside of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The lab's name.
    pub name: String,
    /// The supervisor's process.
    pub process: i32,
    /// When that began, in the kernel's ticks since boot: the number of a process is given again, this isn't.
    pub began: u64,
    /// When it was asked for, UTC, RFC 3339.
    pub since: String,
    /// The stack's folder; `None` for the web stack that the program brings along.
    pub folder: Option<PathBuf>,
    /// The machines of the stack.
    pub layout: Layout,
    /// Whether it is complete.
    pub ready: bool,
}

/// A service of a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What it is.
    pub name: String,
    /// The host that it runs on.
    pub host: String,
    /// Its process, as the lab numbers them.
    pub process: u32,
}

/// A lab that is up.
#[derive(Clone, Debug)]
pub struct Lab {
    record: Record,
}

/// A lab in which one drill is under way, and no other begins.
#[derive(Debug)]
pub struct Occupied {
    _lock: Flock<File>,
}

/// What [`Lab::stop`] and [`sweep`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was up.
    Running,
    /// Its supervisor was gone; only the record was left.
    Stale,
}

impl Lab {
    /// A lab by its name. The record of one that is gone is removed.
    ///
    /// # Errors
    /// [`LabError`]: no root rights, no such lab, or a record that can't be read.
    pub fn open(name: &str) -> Result<Lab, LabError> {
        let records = Records::lock()?;
        records.live(name)?.ok_or_else(|| LabError::Missing(name.to_owned()))
    }

    /// What is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The machines of the stack.
    pub fn layout(&self) -> &Layout {
        &self.record.layout
    }

    /// Whether its supervisor is there.
    pub fn is_up(&self) -> bool {
        began(self.record.process) == Some(self.record.began)
    }

    /// Its hosts: those outside first, then the edge and those behind it.
    pub fn hosts(&self) -> Vec<String> {
        let inside = self.record.layout.machines.iter().map(|machine| machine.name.clone());
        outside::MACHINES.iter().map(|name| (*name).to_owned()).chain(inside).collect()
    }

    /// A path of the lab as it is reached from outside, for root.
    pub fn path(&self, inside: &Path) -> PathBuf {
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        Path::new("/proc").join(self.record.process.to_string()).join("root").join(relative)
    }

    /// Keeps other drills out of it, until the value or this process ends.
    ///
    /// # Errors
    /// [`LabError::Busy`], and what keeps the lock from being made.
    pub fn occupy(&self) -> Result<Occupied, LabError> {
        let path = self.path(Path::new(DRILL));
        let failed = |error| LabError::Record { path: path.clone(), error };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Occupied { _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(LabError::Busy(self.name().to_owned())),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }

    /// A folder that goes with the lab, as it is reached from outside.
    pub fn temporary(&self) -> PathBuf {
        self.path(Path::new(TEMPORARY))
    }

    /// The folder of the stack, as it is reached from outside.
    pub fn folder(&self) -> PathBuf {
        match &self.record.folder {
            Some(folder) => folder.clone(),
            None => self.path(Path::new(crate::stack::BUILT_IN)),
        }
    }

    /// The file of a host's network namespace, for `firewarden_host::within` and `--netns`.
    ///
    /// # Errors
    /// [`LabError::Host`].
    pub fn network(&self, host: &str) -> Result<PathBuf, LabError> {
        self.known(host)?;
        Ok(self.path(&Path::new(NETWORKS).join(host)))
    }

    /// The folder of a host's state, as it is reached from outside.
    ///
    /// # Errors
    /// [`LabError::Host`].
    pub fn state(&self, host: &str) -> Result<PathBuf, LabError> {
        self.known(host)?;
        Ok(self.path(&Path::new(STATES).join(host)))
    }

    /// The services that were started, and whether each still runs; empty while the lab is built.
    pub fn services(&self) -> Vec<(Service, bool)> {
        let listed = fs::read(self.path(Path::new(SERVICES))).unwrap_or_default();
        let listed: Vec<Service> = serde_json::from_slice(&listed).unwrap_or_default();
        let runs = |service: &Service| {
            let process = Path::new("/proc").join(service.process.to_string());
            let runs = fs::read_to_string(self.path(&process.join("stat")))
                .is_ok_and(|stat| began_of(&stat).is_some());
            (service.clone(), runs)
        };
        listed.iter().map(runs).collect()
    }

    /// The certificate of the site, PEM, which signs itself.
    pub fn certificate(&self) -> PathBuf {
        self.path(Path::new(CERTIFICATE))
    }

    /// The address under which the internet reaches the site.
    pub fn site(&self, ipv6: bool) -> Option<IpAddr> {
        let machine = self.record.layout.machine(if ipv6 { "lb" } else { "edge" })?;
        machine.addresses().find(|address| address.is_ipv6() == ipv6)
    }

    /// A command on a host of the lab, in the present folder where the lab has that. It ends with the process that waits
    /// for it, and with the lab.
    ///
    /// `firewarden` is the supervisor's own program there, with a state folder for each host.
    ///
    /// # Errors
    /// [`LabError::Host`].
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command, LabError> {
        let network = self.network(host)?;
        let name = self.path(&Path::new(NAMES).join(host));
        let own = [format!("--net={}", network.display()), format!("--uts={}", name.display())];
        let mut command = self.entering(&own, program.as_ref());
        command.env("FIREWARDEN_STATE", Path::new(STATES).join(host));
        Ok(command)
    }

    /// A command in the namespace between the hosts, which is the internet and the switch behind the edge.
    pub fn command_between(&self, program: impl AsRef<OsStr>) -> Command {
        self.entering(&["--net".to_owned()], program.as_ref())
    }

    fn entering(&self, namespaces: &[String], program: &OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.record.process.to_string())
            .args(["--mount", "--pid"])
            .args(namespaces)
            .arg(format!("--wdns={}", self.working_folder().display()))
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .env("PATH", PATH)
            .env("TMPDIR", TEMPORARY)
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// The present folder, or the root where the lab hides it.
    fn working_folder(&self) -> PathBuf {
        let here = std::env::current_dir().unwrap_or_default();
        match here.is_absolute() && self.path(&here).is_dir() {
            true => here,
            false => PathBuf::from("/"),
        }
    }

    fn known(&self, host: &str) -> Result<(), LabError> {
        let hosts = self.hosts();
        match hosts.iter().any(|known| known == host) {
            true => Ok(()),
            false => Err(LabError::Host { lab: self.record.name.clone(), host: host.to_owned(), hosts }),
        }
    }

    /// Ends it: the kernel kills everything in it and takes its namespaces and files away.
    ///
    /// # Errors
    /// [`LabError::Endless`], and what keeps the record from being removed.
    pub fn stop(&self) -> Result<Ended, LabError> {
        let was = end(&self.record)?;
        let records = Records::lock()?;
        // Another one of the same name may be up by now.
        if records.read(&self.record.name)?.as_ref().is_some_and(|record| same(record, &self.record)) {
            records.remove(&self.record.name)?;
        }
        Ok(was)
    }
}

/// Every lab that is up, by name, and the names of those of which only a record was left; that is removed.
///
/// # Errors
/// [`LabError`].
pub fn sweep() -> Result<(Vec<Lab>, Vec<String>), LabError> {
    let records = Records::lock()?;
    let (mut up, mut stale) = (Vec::new(), Vec::new());
    for name in records.names()? {
        match records.live(&name)? {
            Some(lab) => up.push(lab),
            None => stale.push(name),
        }
    }
    Ok((up, stale))
}

/// Ends the lab of a name, or removes what is left of it.
///
/// # Errors
/// [`LabError`]; [`LabError::Missing`] where there is neither.
pub fn stop(name: &str) -> Result<Ended, LabError> {
    let record = Records::lock()?.read(name)?.ok_or_else(|| LabError::Missing(name.to_owned()))?;
    Lab { record }.stop()
}

/// The folder of the records, locked: what is looked at doesn't change before it is acted on.
pub(crate) struct Records {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Records {
    /// Locks it, made where it isn't there.
    pub fn lock() -> Result<Records, LabError> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(LabError::NotRoot);
        }
        let folder = PathBuf::from(RECORDS);
        let failed = |error: io::Error| LabError::Record { path: PathBuf::from(RECORDS), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let file = File::open(&folder).map_err(failed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
        Ok(Records { folder, _lock: lock })
    }

    /// The lab of a name, if it is up; a record that nothing belongs to any more is removed.
    pub fn live(&self, name: &str) -> Result<Option<Lab>, LabError> {
        let Some(record) = self.read(name)? else { return Ok(None) };
        let lab = Lab { record };
        if lab.is_up() {
            return Ok(Some(lab));
        }
        self.remove(name)?;
        Ok(None)
    }

    /// Writes a record in one go.
    pub fn write(&self, record: &Record) -> Result<(), LabError> {
        let path = self.file(&record.name)?;
        let fresh = path.with_extension("new");
        let failed = |error: io::Error| LabError::Record { path: fresh.clone(), error };
        let text = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        fs::write(&fresh, text).map_err(failed)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }

    fn read(&self, name: &str) -> Result<Option<Record>, LabError> {
        let path = self.file(name)?;
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Record>(&bytes) {
                Ok(record) => Ok(Some(record)),
                Err(error) => Err(LabError::Record { path, error: error.into() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LabError::Record { path, error }),
        }
    }

    pub fn remove(&self, name: &str) -> Result<(), LabError> {
        let path = self.file(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::Record { path, error }),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>, LabError> {
        let failed = |error: io::Error| LabError::Record { path: self.folder.clone(), error };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn file(&self, name: &str) -> Result<PathBuf, LabError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(fits) {
            true => Ok(self.folder.join(format!("{name}.json"))),
            false => Err(LabError::Name(name.to_owned())),
        }
    }
}

fn same(one: &Record, other: &Record) -> bool {
    (one.process, one.began) == (other.process, other.began)
}

/// Kills the supervisor, with which the kernel ends everything else, and waits until that is done.
pub(crate) fn end(record: &Record) -> Result<Ended, LabError> {
    if began(record.process) != Some(record.began) {
        return Ok(Ended::Stale);
    }
    match kill(Pid::from_raw(record.process), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(LabError::Failed(format!("the supervisor can't be ended: {errno}"))),
    }
    let deadline = Instant::now() + END;
    while began(record.process) == Some(record.began) {
        if Instant::now() > deadline {
            return Err(LabError::Endless(record.name.clone()));
        }
        thread::sleep(GLANCE);
    }
    Ok(Ended::Running)
}

/// When a process began, in ticks since boot; `None` where there is none, or nothing but its exit status.
///
/// The first thread of a process may have ended before the others, the last of which ends what is in its namespace
/// (pid_namespaces(7)): it is there as long as it has two threads.
pub(crate) fn began(process: i32) -> Option<u64> {
    let folder = Path::new("/proc").join(process.to_string());
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    began_of(&stat).or_else(|| {
        let threads = fs::read_dir(folder.join("task")).ok()?.count();
        (threads > 1).then(|| beginning(&stat)).flatten()
    })
}

/// The same from what `/proc/PID/stat` holds, as far as its first thread tells.
fn began_of(stat: &str) -> Option<u64> {
    let state = fields_of(stat)?.next()?;
    (state != "Z" && state != "X").then(|| beginning(stat)).flatten()
}

/// The field `starttime` (proc_pid_stat(5)).
fn beginning(stat: &str) -> Option<u64> {
    fields_of(stat)?.nth(19)?.parse().ok()
}

/// The fields from the state on. The name of the program, before it, may hold anything, parentheses too.
fn fields_of(stat: &str) -> Option<std::str::Split<'_, char>> {
    Some(stat.rsplit_once(") ")?.1.split(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(began(own).unwrap() > 0);
        assert_eq!(began(own), began(own));
        assert_eq!(began(i32::MAX), None);
        let mut ended = Command::new("true").spawn().unwrap();
        let process = i32::try_from(ended.id()).unwrap();
        thread::sleep(Duration::from_millis(50));
        // Ended and not waited for: nothing runs any more.
        assert_eq!(began(process), None);
        ended.wait().unwrap();
    }
}
