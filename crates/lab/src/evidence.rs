//! What connections through a lab show of its intents.

use crate::place::{Lab, LabError};
use crate::probe::{Attempt, Probers};
use crate::sample::{Expected, Sample};
use firewarden_verify::stack::StackFile;
use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;

/// How long a connection may take, in milliseconds. On wires inside of one machine, an answer takes less than one.
pub(crate) const PATIENCE: u64 = 250;
/// How long it may take when it is tried again, since something else may have kept the machine busy.
pub(crate) const MORE_PATIENCE: u64 = 1500;

/// Why connections can't be tried, or show nothing.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Something with the lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The system's words.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Its words.
        error: io::Error,
    },
    /// Before anything was planted, an intent doesn't hold in the lab.
    #[error("before anything was changed, the lab doesn't do what the stack file says: {}", .0.join("; "))]
    Unsteady(Vec<String>),
    /// The rules from before can't be loaded again.
    #[error("the lab's own rules can't be loaded again on {host}: {words}")]
    Lost {
        /// The machine.
        host: String,
        /// The loader's words.
        words: String,
    },
}

/// Samples that aren't as they should be, with their intents, in words. Those of some intents are tried again with more
/// patience before it is believed. Somebody else may answer in the target's place, so that one that should be lost counts
/// as arrived where the target's own connection tracking knows of it.
pub(crate) fn broken(
    lab: &Lab,
    stack: &StackFile,
    probers: &mut Probers,
    samples: &[Sample],
    again: impl Fn(usize) -> bool,
) -> Result<Vec<(usize, String)>, EvidenceError> {
    let mut make = |samples: &[Sample], patience| {
        let attempts: Vec<Attempt> = samples.iter().map(|sample| sample.attempt.clone()).collect();
        let seen = probers.make(&attempts, patience).map_err(|error| failed("the probers", error))?;
        let mut arrivals = Arrivals::new(lab);
        let mut broken = Vec::new();
        for (sample, ending) in
            samples.iter().zip(seen).filter(|(sample, ending)| !sample.expected.is(ending))
        {
            let host = sample.target.and_then(|index| stack.hosts.get(index));
            let is_elsewhere = sample.expected == Expected::Nothing
                && host.is_some_and(|host| {
                    arrivals.is_known_at(&host.name.value, &sample.attempt) == Some(false)
                });
            if !is_elsewhere {
                broken.push((sample.clone(), ending));
            }
        }
        Ok::<_, EvidenceError>(broken)
    };
    let (doubtful, mut found): (Vec<_>, Vec<_>) =
        make(samples, PATIENCE)?.into_iter().partition(|(sample, _)| again(sample.intent));
    if !doubtful.is_empty() {
        let doubtful: Vec<Sample> = doubtful.into_iter().map(|(sample, _)| sample).collect();
        found.extend(make(&doubtful, MORE_PATIENCE)?);
    }
    let words = found.into_iter().map(|(sample, ending)| {
        let Attempt { source, source_port, target, .. } = &sample.attempt;
        let port = source_port.map(|port| format!(" port {port}")).unwrap_or_default();
        (sample.intent, format!("{source}{port} -> {target}: {ending}"))
    });
    Ok(words.collect())
}

/// What the connection tracking of hosts knows, asked once for each host.
pub(crate) struct Arrivals<'l> {
    lab: &'l Lab,
    known: BTreeMap<String, Option<String>>,
}

impl<'l> Arrivals<'l> {
    pub(crate) fn new(lab: &'l Lab) -> Arrivals<'l> {
        Arrivals { lab, known: BTreeMap::new() }
    }

    /// Whether a host of the stack file knows of a connection from the attempt's port. `None` where it can't be told: the
    /// port is any, or nothing is tracked there.
    pub(crate) fn is_known_at(&mut self, host: &str, attempt: &Attempt) -> Option<bool> {
        let port = attempt.source_port?;
        let lab = self.lab;
        let listed = self.known.entry(host.to_owned()).or_insert_with(|| {
            let mut all = String::new();
            for machine in lab.layout().of_host(host) {
                for family in ["ipv4", "ipv6"] {
                    let mut command = lab.command(&machine.name, "conntrack").ok()?;
                    all.push_str(&String::from_utf8_lossy(
                        &command.args(["-L", "-f", family]).output().ok()?.stdout,
                    ));
                }
            }
            (!all.is_empty()).then_some(all)
        });
        let word = format!(" sport={port} ");
        // The first half of a line is what the sender wrote.
        listed.as_ref().map(|listed| {
            let mut firsts = listed.lines().filter_map(|line| line.split(" src=").nth(1));
            firsts.any(|first| format!("{first} ").contains(&word))
        })
    }
}

/// Makes every machine of the stack forget its connections: those of one mistake would be let through by the next.
pub(crate) fn forget_connections(lab: &Lab) -> Result<(), EvidenceError> {
    let mut running = Vec::new();
    for machine in &lab.layout().machines {
        let mut command = lab.command(&machine.name, "conntrack")?;
        let child = command.arg("-F").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        running.push(child.map_err(|error| failed("conntrack", error))?);
    }
    for mut child in running {
        let status = child.wait().map_err(|error| failed("conntrack", error))?;
        if !status.success() {
            let error = io::Error::other(format!("it ended with {status}"));
            return Err(failed("conntrack -F (package conntrack)", error));
        }
    }
    Ok(())
}

pub(crate) fn failed(what: &str, error: io::Error) -> EvidenceError {
    EvidenceError::Io { what: what.to_owned(), error }
}
