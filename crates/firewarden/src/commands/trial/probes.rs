//! Probes around a change: what worked before it has to work after it.

use super::events::Teller;
use crate::cli::trial::Probing;
use firewarden_change::plan::Probe;
use firewarden_diagnostic::Diagnostic;
use firewarden_host::probe::{CommandProbe, Probed, Ran, probe_all};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Probes with how they went before the change: connections of this host, and commands that were given.
pub struct Probes<'p> {
    probes: &'p [Probe],
    before: Vec<Probed>,
    commands: &'p [CommandProbe],
    ran_before: Vec<Ran>,
    patience: Duration,
}

/// A probe that ended, with its number among its like.
enum Ended {
    Connection(usize, Probed),
    Command(usize, Ran),
    /// No connection can be tried.
    Impossible(std::io::Error),
}

impl<'p> Probes<'p> {
    /// Makes each probe once, so that what is broken already isn't blamed on the change.
    pub fn before(probes: &'p [Probe], options: &'p Probing) -> Result<Probes<'p>, Diagnostic> {
        let patience = Duration::from_secs(u64::from(options.probe_timeout));
        let commands = options.probe.as_slice();
        let never = AtomicBool::new(false);
        let (before, ran_before) = thread::scope(|scope| {
            let started: Vec<_> =
                commands.iter().map(|command| scope.spawn(|| command.run(patience, &never))).collect();
            let before = probe_all(probes, None, patience, &|_, _| ()).map_err(|error| failed(&error));
            (before, started.into_iter().map(joined).collect())
        });
        Ok(Probes { probes, before: before?, commands, ran_before, patience })
    }

    /// Makes them again, all side by side, and tells how they go. As soon as one fails that held before, `broken` is called
    /// with its name; what the others say after that may be of either rules, and isn't told. Gives whether one failed.
    pub fn after(
        &self,
        teller: &Teller,
        mut broken: impl FnMut(&str) -> Result<(), Diagnostic>,
    ) -> Result<bool, Diagnostic> {
        let given_up = &AtomicBool::new(false);
        let (sender, ended) = mpsc::channel();
        self.connect(sender.clone());
        thread::scope(|scope| {
            for (number, command) in self.commands.iter().enumerate() {
                let sender = sender.clone();
                scope.spawn(move || {
                    let ran = command.run(self.patience, given_up);
                    // Nobody listens any more once a probe has failed.
                    let _ = sender.send(Ended::Command(number, ran));
                });
            }
            drop(sender);
            for ended in ended {
                if let Ended::Impossible(error) = &ended {
                    return Err(failed(error));
                }
                if let Some(name) = self.tell(&ended, teller) {
                    given_up.store(true, Ordering::Relaxed);
                    return broken(&name).map(|()| true);
                }
            }
            Ok(false)
        })
    }

    /// Makes the connections on a thread that nobody has to wait for: one that mustn't come about takes all of its time.
    fn connect(&self, sender: mpsc::Sender<Ended>) {
        let (probes, patience) = (self.probes.to_vec(), self.patience);
        thread::spawn(move || {
            // As above.
            let each = |number: usize, probed: &Probed| {
                let _ = sender.send(Ended::Connection(number, probed.clone()));
            };
            if let Err(error) = probe_all(&probes, None, patience, &each) {
                let _ = sender.send(Ended::Impossible(error));
            }
        });
    }

    /// Tells how a probe went, and gives its name where it failed and held before.
    fn tell(&self, ended: &Ended, teller: &Teller) -> Option<String> {
        let (held, holds, name) = match ended {
            Ended::Impossible(_) => return None,
            Ended::Connection(number, probed) => {
                let (probe, before) = (self.probes.get(*number)?, self.before.get(*number)?);
                let (held, holds) = (before.holds(probe), probed.holds(probe));
                teller.probed(probe, probed, !holds && !held);
                (held, holds, &probe.intent)
            }
            Ended::Command(number, ran) => {
                let (command, before) = (self.commands.get(*number)?, self.ran_before.get(*number)?);
                teller.ran_probe(command, ran, !ran.holds() && !before.holds());
                (before.holds(), ran.holds(), &command.name)
            }
        };
        (held && !holds).then(|| name.clone())
    }

    /// Whether there is any probe that says something.
    pub fn any_counts(&self) -> bool {
        self.probes.iter().zip(&self.before).any(|(probe, before)| before.holds(probe))
            || self.ran_before.iter().any(Ran::holds)
    }

    /// The commands and how they went before the change, for the record.
    pub fn commands(&self) -> Value {
        let commands = self.commands.iter().zip(&self.ran_before);
        commands
            .map(|(probe, before)| {
                json!({ "name": probe.name, "command": probe.command, "before": before.ending.to_string() })
            })
            .collect()
    }
}

/// What a thread gave; its panic goes on here.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn failed(error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("probe", format!("no probe can be made: {error}"))
}
