//! The change that a trial carries out, noted beside it, so that any later command can write into the change's folder what
//! became of it.

use crate::commands::Stopped;
use crate::commands::change::Book;
use firewarden_change::record::{Event, EventKind, is_person};
use firewarden_change::trial::{Asker, Outcome, Phase, Reason};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::guard::Home;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Who acts where nobody asked for it.
const GUARD: &str = "firewarden";

/// What joins a trial and a change.
#[derive(Debug, Serialize, Deserialize)]
pub struct Link {
    /// The change.
    pub change: String,
    /// The folder of the changes.
    pub folder: PathBuf,
    /// The host, as the plan calls it.
    pub host: String,
    /// The plan's hash.
    pub plan: String,
    /// Who applied it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub begun: i64,
}

impl Link {
    /// Notes it, before the trial begins.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, home: &Home, trial: &str) -> Result<(), Diagnostic> {
        let path = path(home, trial);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let folder = path.parent().unwrap_or(home.path());
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).map_err(|error| {
            Diagnostic::error("unwritable", format!("`{}` cannot be written: {error}", path.display()))
                .help("nothing was changed: make room on that disk")
        })
    }

    /// The one of a trial, where it is of a change.
    pub fn read(home: &Home, trial: &str) -> Option<Link> {
        serde_json::from_str(&fs::read_to_string(path(home, trial)).ok()?).ok()
    }

    /// Writes what a phase says into the change's folder, where that doesn't have it already.
    ///
    /// # Errors
    /// The folder can't be read or written.
    pub fn tell(&self, phase: &Phase) -> Result<(), Stopped> {
        let events = self.events(phase);
        if events.is_empty() {
            return Ok(());
        }
        let book = Book::open(&self.folder)?;
        let _held = book.one(&self.change)?.hold(&book)?;
        // Whoever else tells it has done so by now.
        let entry = book.one(&self.change)?;
        for event in events {
            let is_there = entry.change.events.iter().any(|known| {
                known.kind == event.kind
                    && known.host == event.host
                    && known.plan == event.plan
                    && known.at.as_millisecond() >= self.begun
            });
            if !is_there {
                entry.add_event(&event)?;
            }
        }
        Ok(())
    }

    fn events(&self, phase: &Phase) -> Vec<Event> {
        let begun = Timestamp::from_millisecond(self.begun).unwrap_or_default();
        let event = |kind, at, by: &str, why: Option<String>| Event {
            kind,
            at,
            host: self.host.clone(),
            plan: Some(self.plan.clone()),
            by: if is_person(by) { by.to_owned() } else { GUARD.to_owned() },
            why,
        };
        let now = Timestamp::now();
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let applied = event(EventKind::Applied, begun, &self.by, None);
        match phase {
            Phase::Armed | Phase::Applying | Phase::Reverting { .. } => Vec::new(),
            Phase::Applied { .. } => vec![applied],
            Phase::Confirmed { asker, .. } | Phase::Done(Outcome::Confirmed { asker, .. }) => {
                vec![applied, event(EventKind::Confirmed, now, person(asker), why(asker))]
            }
            Phase::Done(Outcome::Reverted { reason, .. }) => {
                let by = match reason {
                    Reason::Asked(asker) => person(asker),
                    _ => GUARD,
                };
                let reverted = event(EventKind::Reverted, now, by, Some(super::outcome::why(reason)));
                match reason {
                    Reason::Deadline | Reason::Asked(_) => vec![applied, reverted],
                    _ => vec![reverted],
                }
            }
            Phase::Stuck { reason, .. } | Phase::Done(Outcome::Abandoned { reason, .. }) => {
                vec![event(EventKind::Stuck, now, GUARD, Some(super::outcome::why(reason)))]
            }
        }
    }
}

/// `alice over ssh ...` is alice.
fn person(asker: &Asker) -> &str {
    asker.who.split(' ').next().unwrap_or_default()
}

fn why(asker: &Asker) -> Option<String> {
    (!asker.why.is_empty()).then(|| asker.why.clone())
}

fn path(home: &Home, trial: &str) -> PathBuf {
    home.path().join("changes").join(Path::new(trial).file_name().unwrap_or_default()).with_extension("json")
}
