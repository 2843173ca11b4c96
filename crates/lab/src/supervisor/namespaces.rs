//! What the supervisor makes of the kernel: mounts, machines, their wires and their rules.

use crate::layout::{Layout, Loader, Machine, RulesFile};
use crate::outside;
use crate::place::{NAMES, NETWORKS, STATES, TEMPORARY};
use crate::stack;
use crate::wires::Batch;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Folders that are the lab's own: services write there, and must neither find nor leave anything.
const OWN: [&str; 3] = ["/run", "/var/log", "/var/lib/nginx"];

/// Makes the mounts private, and puts folders of the lab's own over those that are written to.
pub fn mounts(folder: Option<&Path>) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno: nix::Error| format!("{what} can't be mounted: {errno}")
    };
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("/"))?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).map_err(failed("/proc"))?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::MS_RDONLY, none).map_err(failed("/sys"))?;
    // The stack's folder may be in one of those that are covered.
    let stack = folder.filter(|folder| OWN.iter().any(|own| folder.starts_with(own)));
    let stack = stack.map(|folder| File::open(folder).map(|open| (folder, open))).transpose();
    let stack = stack.map_err(|error| format!("the stack's folder can't be opened: {error}"))?;
    for own in OWN.into_iter().filter(|own| Path::new(own).is_dir()) {
        mount(Some("lab"), own, Some("tmpfs"), MsFlags::MS_NODEV, Some("mode=0755")).map_err(failed(own))?;
    }
    let made = |error: io::Error| format!("a folder of the lab can't be made: {error}");
    for folder in [NETWORKS, NAMES, STATES, "/run/firewarden/bin", "/run/lock"] {
        fs::create_dir_all(folder).map_err(made)?;
    }
    DirBuilder::new().mode(0o1777).create(TEMPORARY).map_err(made)?;
    fs::set_permissions(TEMPORARY, fs::Permissions::from_mode(0o1777)).map_err(made)?;
    symlink("/proc/1/exe", "/run/firewarden/bin/firewarden").map_err(made)?;
    match stack {
        Some((folder, open)) => {
            fs::create_dir_all(folder).map_err(made)?;
            let below = format!("/proc/self/fd/{}", open.as_raw_fd());
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(below.as_str()), folder, none, bind, none).map_err(failed("the stack's folder"))
        }
        None if folder.is_none() => stack::write(Path::new(stack::BUILT_IN)).map_err(made),
        None => Ok(()),
    }
}

/// Makes a network namespace with a name of its own for each machine, where `ip netns` finds them.
pub fn machines(layout: &Layout) -> Result<(), String> {
    let inside = layout.machines.iter().map(|machine| machine.name.as_str());
    for name in outside::MACHINES.into_iter().chain(inside) {
        machine(name).map_err(|error| format!("the machine `{name}` can't be made: {error}"))?;
        within(name, || sysctls(name)).and_then(|done| done).map_err(|error| format!("`{name}`: {error}"))?;
    }
    // The supervisor's own namespace routes between those outside and the edge.
    sysctls("internet").map_err(|error| format!("the network can't be set up: {error}"))
}

fn machine(name: &str) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(Path::new(STATES).join(name))?;
    let made = move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)?;
        fs::write("/proc/sys/kernel/hostname", name)?;
        for (folder, kind) in [(NETWORKS, "net"), (NAMES, "uts")] {
            let file = Path::new(folder).join(name);
            File::create(&file)?;
            let namespace = format!("/proc/thread-self/ns/{kind}");
            let none: Option<&str> = None;
            mount(Some(namespace.as_str()), &file, none, MsFlags::MS_BIND, none)?;
        }
        Ok(())
    };
    thread::scope(|scope| scope.spawn(made).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Does something on a machine, on a thread of its own; processes that it starts are there, too.
pub fn within<T: Send>(machine: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(File::open(Path::new(NETWORKS).join(machine))?, CloneFlags::CLONE_NEWNET)?;
            setns(File::open(Path::new(NAMES).join(machine))?, CloneFlags::CLONE_NEWUTS)?;
            Ok(work())
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Settings of a machine's network. What isn't the kernel's default for everybody is said: a new namespace takes some of
/// these from the machine that it is made on.
fn sysctls(machine: &str) -> io::Result<()> {
    let forwards = matches!(machine, "edge" | "internet");
    let mut settings = vec![
        ("ipv4/conf/all/forwarding", forwards.into()),
        ("ipv6/conf/all/forwarding", forwards.into()),
        ("ipv4/conf/all/rp_filter", 0),
        ("ipv4/conf/default/rp_filter", 0),
        ("ipv6/conf/all/accept_ra", 0),
        ("ipv6/conf/default/accept_ra", 0),
        ("ipv6/conf/default/accept_dad", 0),
        ("ipv6/conf/all/disable_ipv6", 0),
        ("ipv6/conf/default/disable_ipv6", 0),
    ];
    let text = |value: u8| value.to_string();
    // The load balancer opens a connection for nearly every request, as do the users: they need many ports.
    let ports = matches!(machine, "lb" | outside::CLIENT);
    if ports {
        settings.push(("ipv4/tcp_tw_reuse", 1));
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")?;
    }
    for (name, value) in settings {
        fs::write(Path::new("/proc/sys/net").join(name), text(value))?;
    }
    Ok(())
}

/// Runs commands of `ip` on a machine.
pub fn ip(batch: &Batch) -> Result<(), String> {
    let mut command = Command::new("ip");
    if let Some(machine) = &batch.machine {
        command.args(["-netns", machine]);
    }
    let place = batch.machine.as_deref().unwrap_or("the network between the machines");
    run(command.args(["-batch", "-"]), &batch.commands).map_err(|words| format!("{place}: {words}"))
}

/// Loads a machine's rules as its administrator would.
pub fn load(machine: &Machine) -> Result<(), String> {
    for rules in &machine.rules {
        within(&machine.name, || run(&mut loader(rules), ""))
            .map_err(|error| error.to_string())
            .and_then(|loaded| loaded)
            .map_err(|words| {
                format!("`{}` does not load `{}`: {words}", machine.name, rules.path.display())
            })?;
    }
    Ok(())
}

fn loader(rules: &RulesFile) -> Command {
    let mut command = match rules.loader {
        Loader::Nft => Command::new("nft"),
        Loader::Iptables => Command::new("iptables-restore"),
        Loader::Ip6tables => Command::new("ip6tables-restore"),
        Loader::Ipset => Command::new("ipset"),
    };
    match rules.loader {
        Loader::Nft => command.arg("-f"),
        Loader::Iptables | Loader::Ip6tables => &mut command,
        Loader::Ipset => command.args(["restore", "-file"]),
    };
    command.arg(&rules.path);
    // nft looks for what a file includes from the folder that it is run in.
    if let Some(folder) = rules.path.parent() {
        command.current_dir(folder);
    }
    command
}

/// Runs a program with a text to read, until it ends.
///
/// # Errors
/// What it wrote to standard error, in one line.
pub fn run(command: &mut Command, input: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{program}` can't be started: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that stops reading says why when it ends.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = words.split_whitespace().collect();
    Err(format!("`{program}` failed: {}", words.join(" ")))
}

/// Lets go of the pipes to the one who asked for the lab, who would wait for their end.
pub fn let_go() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    Ok(())
}
