//! The process that a lab hangs on: init of a process namespace, alone in a mount namespace, with a network namespace for
//! each machine.
//!
//! Everything that a lab is made of lives in these namespaces, so that the kernel takes it away when this process ends, by
//! whatever: a signal that nobody can handle included (pid_namespaces(7), mount_namespaces(7), network_namespaces(7)).

mod namespaces;
mod services;

use crate::up::{Event, Order, STAY, STAY_HERE};
use crate::wires;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::wait;
use nix::unistd::setsid;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Instant;

/// The word that begins its command line, after those that lead to the lab's commands.
pub const WORD: &str = "supervise";

/// Serves as a lab's supervisor. With `detach`, starts it in namespaces and a session of its own, says its number on
/// standard output, and ends; `words` are the arguments with which this program comes to the lab's commands.
pub fn serve(detach: bool, words: &[&str]) -> ExitCode {
    let done = if detach { launch(words) } else { supervise(words) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Whoever listened may have gone; then nobody is to be told.
            let _ = say(&Event::Failed(why));
            ExitCode::FAILURE
        }
    }
}

/// Says something to the one who asked for the lab.
fn say(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn launch(words: &[&str]) -> Result<(), String> {
    setsid().map_err(|errno| format!("no session of its own: {errno}"))?;
    let kinds = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET;
    unshare(kinds | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)
        .map_err(|errno| format!("namespaces can't be made: {errno}"))?;
    // Not by its path, which may be that of a newer build by now.
    let supervisor = Command::new("/proc/self/exe").args(words).arg(WORD).spawn();
    let supervisor = supervisor.map_err(|error| format!("the supervisor can't be started: {error}"))?;
    let process = i32::try_from(supervisor.id()).map_err(|error| error.to_string())?;
    say(&Event::Process(process)).map_err(|error| error.to_string())
}

/// Builds the lab that is asked for, and waits.
fn supervise(words: &[&str]) -> Result<(), String> {
    end_when_asked()?;
    let mut input = io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| error.to_string())?;
    let order: Order = serde_json::from_str(&line).map_err(|error| format!("no order: {error}"))?;
    let start = Instant::now();
    let told = |what: &str| {
        let at_milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        say(&Event::Done { what: what.to_owned(), at_milliseconds }).map_err(|error| error.to_string())
    };
    // Services run as users of their own and read what is made here, whatever the operator's mask is.
    umask(Mode::from_bits_truncate(0o022));
    namespaces::mounts(order.folder.as_deref())?;
    let database = services::prepare()?;
    namespaces::machines(&order.layout)?;
    for batch in wires::batches(&order.layout) {
        namespaces::ip(&batch)?;
    }
    told("network namespaces")?;
    for machine in &order.layout.machines {
        namespaces::load(machine)?;
    }
    told("rulesets")?;
    services::start(&order, words, database, &told)?;
    say(&Event::Ready { after: start.elapsed() }).map_err(|error| error.to_string())?;
    line.clear();
    // Its end without a word says that nobody knows of this lab.
    input.read_line(&mut line).map_err(|error| error.to_string())?;
    drop(input);
    match line.as_str() {
        STAY => {}
        STAY_HERE => end_with_asker()?,
        _ => return Err("nobody waits for this lab any more".to_owned()),
    }
    namespaces::let_go().map_err(|error| format!("the pipes can't be closed: {error}"))?;
    reap()
}

/// Ends at SIGTERM, as when the system goes down: an init that doesn't handle a signal isn't ended by it. Comes before there
/// are other threads, which all leave the signal to this one's.
fn end_when_asked() -> Result<(), String> {
    let asked = SigSet::from(Signal::SIGTERM);
    asked.thread_block().map_err(|errno| format!("signals can't be held back: {errno}"))?;
    thread::spawn(move || {
        // It fails for nothing but a set of signals that isn't one.
        let _ = asked.wait();
        std::process::exit(0)
    });
    Ok(())
}

/// Ends with the process that asked for the lab: nobody but that one holds the other end of this process's input, and
/// nothing more is written there.
fn end_with_asker() -> Result<(), String> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let mut input = File::from(input.map_err(|error| format!("the input can't be kept: {error}"))?);
    thread::spawn(move || {
        // An input that can't be read any more is nobody's either.
        let _ = io::copy(&mut input, &mut io::sink());
        std::process::exit(0)
    });
    Ok(())
}

/// Waits for whatever ends: processes whose parents are gone belong to init. Never ends by itself.
fn reap() -> ! {
    loop {
        // With no child at all there is nothing to wait for, and one may come.
        if wait().is_err() {
            thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
