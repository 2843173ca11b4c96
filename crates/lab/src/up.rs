//! Bringing a lab up: starting its supervisor, and listening to it until the lab is complete.

use crate::layout::Layout;
use crate::place::{FORMAT_VERSION, Lab, LabError, PATH, Record, Records, TEMPORARY, began, end};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The lab's name.
    pub name: String,
    /// The stack's folder; `None` for the built-in web stack.
    pub folder: Option<PathBuf>,
    /// Its machines. Files of the built-in stack are named as they will be in the lab.
    pub layout: Layout,
    /// How its services are run.
    pub services: Services,
}

/// How the services of a lab are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// How many connections to the database the application keeps on each server; 0 for one of its own for each request.
    pub pool: u16,
}

/// What the supervisor is told on its standard input, in one line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The machines.
    pub layout: Layout,
    /// The stack's folder; `None` for the built-in web stack.
    pub folder: Option<PathBuf>,
    /// How services are run.
    pub services: Services,
}

/// What the supervisor says on its standard output, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The number of the supervisor's process, as those see it who started it. Said by the process that starts it.
    Process(i32),
    /// Something is done.
    Done {
        /// What.
        what: String,
        /// How long after the beginning, in milliseconds.
        at_milliseconds: u64,
    },
    /// Everything is done.
    Ready {
        /// How long after the beginning.
        after: Duration,
    },
    /// It can't be done, and the lab ends.
    Failed(String),
}

/// The line that lets a lab live on without the one who asked for it.
pub(crate) const STAY: &str = "stay\n";
/// The line that lets it live on until this process ends.
pub(crate) const STAY_HERE: &str = "stay-here\n";

/// A program and its arguments that end in [`crate::supervisor::serve`] with `detach`.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Brings a lab up, and calls `tell` with what happens on the way. When this process ends before the lab is complete, or
/// anything fails, nothing is left of it.
///
/// # Errors
/// [`LabError`]: the name is taken, or what could not be done.
pub fn up(wanted: &Wanted, launcher: &Launcher, tell: &mut dyn FnMut(&Event)) -> Result<Lab, LabError> {
    come_up(wanted, launcher, tell, STAY)
}

/// The same for a lab that ends with this process at the latest, however that ends. Only the lab's record is left then.
///
/// # Errors
/// Those of [`up`].
pub fn up_for_this_process(
    wanted: &Wanted,
    launcher: &Launcher,
    tell: &mut dyn FnMut(&Event),
) -> Result<Lab, LabError> {
    come_up(wanted, launcher, tell, STAY_HERE)
}

fn come_up(
    wanted: &Wanted,
    launcher: &Launcher,
    tell: &mut dyn FnMut(&Event),
    how_long: &str,
) -> Result<Lab, LabError> {
    let records = Records::lock()?;
    if records.live(&wanted.name)?.is_some() {
        return Err(LabError::Taken(wanted.name.clone()));
    }
    let mut talk = Talk::start(launcher)?;
    let Some(Event::Process(process)) = talk.next() else {
        return Err(LabError::Failed(talk.last_words()));
    };
    let mut record = Record {
        version: FORMAT_VERSION,
        name: wanted.name.clone(),
        process,
        began: began(process).unwrap_or_default(),
        since: firewarden_host::utc_now(),
        folder: wanted.folder.clone(),
        layout: wanted.layout.clone(),
        ready: false,
    };
    // Nothing is built before the record is there: from now on, it can be found and ended.
    records.write(&record)?;
    drop(records);
    let outcome = talk.build(wanted, tell).and_then(|()| {
        record.ready = true;
        Records::lock()?.write(&record)?;
        talk.say(how_long)?;
        if how_long == STAY_HERE {
            talk.keep_line();
        }
        Lab::open(&wanted.name)
    });
    if outcome.is_err() {
        end(&record)?;
        Records::lock()?.remove(&wanted.name)?;
    }
    outcome
}

/// The supervisor, as long as it is spoken with.
struct Talk {
    launcher: Child,
    to: Option<ChildStdin>,
    from: Option<BufReader<ChildStdout>>,
}

impl Talk {
    fn start(launcher: &Launcher) -> Result<Talk, LabError> {
        let mut child = Command::new(&launcher.program)
            .args(&launcher.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .env("TMPDIR", TEMPORARY)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| LabError::Failed(format!("the supervisor can't be started: {error}")))?;
        let (to, from) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Talk { launcher: child, to, from })
    }

    fn say(&mut self, words: &str) -> Result<(), LabError> {
        let said = self.to.as_mut().map(|to| to.write_all(words.as_bytes()).and_then(|()| to.flush()));
        match said {
            Some(Ok(())) => Ok(()),
            _ => Err(LabError::Failed("the supervisor has ended".to_owned())),
        }
    }

    /// Leaves the pipe to the supervisor open: the kernel closes it when this process ends, which is what the supervisor
    /// then waits for. Programs that are started from here don't get it (the standard library closes it in them).
    fn keep_line(&mut self) {
        if let Some(to) = self.to.take() {
            let _ = to.into_raw_fd();
        }
    }

    /// What it says next; `None` where it has ended.
    fn next(&mut self) -> Option<Event> {
        let mut line = String::new();
        self.from.as_mut()?.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Why it ended at once.
    fn last_words(&mut self) -> String {
        match self.next() {
            Some(Event::Failed(why)) => why,
            _ => "the supervisor ended before it began; are namespaces allowed here?".to_owned(),
        }
    }

    fn build(&mut self, wanted: &Wanted, tell: &mut dyn FnMut(&Event)) -> Result<(), LabError> {
        let order =
            Order { layout: wanted.layout.clone(), folder: wanted.folder.clone(), services: wanted.services };
        let order = serde_json::to_string(&order).map_err(|error| LabError::Failed(error.to_string()))?;
        self.say(&order)?;
        self.say("\n")?;
        loop {
            match self.next() {
                Some(Event::Failed(why)) => return Err(LabError::Failed(why)),
                Some(event) => {
                    tell(&event);
                    if matches!(event, Event::Ready { .. }) {
                        return Ok(());
                    }
                }
                None => return Err(LabError::Failed("the supervisor has ended".to_owned())),
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It has long ended: it does nothing but start the supervisor.
        let _ = self.launcher.wait();
    }
}
