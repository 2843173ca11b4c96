//! What a trial's saved record tells, as entries. The guard never opens the journal: whoever reads the trial's state next
//! puts it in, as often as they like.

use crate::{Actor, Bytes, Hash, Kind, NewEntry};
use firewarden_change::trial::{Asker, Outcome, Phase, Reading, Reason, Record, Rules};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Who acts where nobody asked for it.
const GUARD: &str = "firewarden";

/// The entries of a trial's record: its phase, and the request that was refused last, if one was. Each has a
/// [`NewEntry::source`] made of the trial and of what is told, so that telling the same record again adds nothing.
///
/// `seen` is when the record was read, UTC; it stands in for the time of everything that the record has no time of.
pub fn of_trial(trial: &str, change: Option<&str>, record: &Record, seen: Timestamp) -> Vec<NewEntry> {
    let bare = Record { note: None, ..record.clone() };
    // Who read it only at its end missed who decided.
    let decided = match &record.phase {
        Phase::Done(Outcome::Confirmed { asker, ruleset, foreign, trouble: None }) => {
            let (asker, ruleset, foreign) = (asker.clone(), ruleset.clone(), *foreign);
            Some(Record { phase: Phase::Confirmed { asker, ruleset, foreign }, ..bare.clone() })
        }
        _ => None,
    };
    let decided = decided.as_ref().map(|record| (told(&record.phase), record));
    let (kind, mut text, asker) = told(&record.phase);
    // Of a trial that was taken back, the note is part of what became of it.
    let is_back = matches!(record.phase, Phase::Done(Outcome::Reverted { .. }));
    if let Some(note) = record.note.as_ref().filter(|_| is_back) {
        text = format!("{text}; {note}");
    }
    let refused = record.note.as_ref().filter(|_| !is_back);
    let refused = refused.map(|note| (Kind::Refused, format!("a request was refused: {note}"), None));
    let refused = refused.map(|told| (told, record));
    let own = if is_back { record } else { &bare };
    let entries = [decided, Some(((kind, text, asker), own)), refused];
    entries
        .into_iter()
        .flatten()
        .map(|((kind, text, asker), record)| entry(trial, change, record, seen, (kind, text, asker)))
        .collect()
}

fn entry(
    trial: &str,
    change: Option<&str>,
    record: &Record,
    seen: Timestamp,
    (kind, text, asker): (Kind, String, Option<&Asker>),
) -> NewEntry {
    let details = serde_json::to_value(record).unwrap_or_default();
    let digest: Hash = Bytes(Sha256::digest(details.to_string()).into());
    let actor = Actor {
        user: asker.map_or(GUARD, |asker| &asker.who).to_owned(),
        uid: None,
        session: None,
        process: Some("firewarden guard".to_owned()),
    };
    let time = asker.and_then(|asker| asker.when.parse().ok()).unwrap_or(seen);
    NewEntry {
        trial: Some(trial.to_owned()),
        change: change.map(str::to_owned),
        details: Some(details),
        source: Some(format!("trial {trial} {kind} {digest}")),
        ..NewEntry::new(time, kind, actor, text)
    }
}

/// What a phase is called, what it says, and who asked for it.
fn told(phase: &Phase) -> (Kind, String, Option<&Asker>) {
    match phase {
        Phase::Armed => (Kind::Armed, "the guard stands by; the kernel holds the old rules".to_owned(), None),
        Phase::Applying => (Kind::Applying, "new rules are being loaded".to_owned(), None),
        Phase::Applied { .. } => {
            (Kind::Applied, "the kernel holds the new rules, until they are confirmed".to_owned(), None)
        }
        Phase::Confirmed { asker, foreign, .. } => (
            Kind::Confirmed,
            format!("the new rules stay: {}{}", words(asker), others(*foreign)),
            Some(asker),
        ),
        Phase::Reverting { reason, .. } => {
            (Kind::Reverting, format!("the old rules are being loaded: {}", why(reason)), asked(reason))
        }
        Phase::Stuck { reason, holds } => {
            let text = format!("the old rules could not be brought back ({}): {}", why(reason), held(holds));
            (Kind::Stuck, text, None)
        }
        Phase::Done(Outcome::Confirmed { foreign, trouble: None, .. }) => {
            (Kind::Persisted, format!("the next boot loads the new rules{}", others(*foreign)), None)
        }
        Phase::Done(Outcome::Confirmed { asker, trouble: Some(trouble), .. }) => {
            let text = format!("the new rules stay, but the next boot loads older ones: {trouble}");
            (Kind::Confirmed, text, Some(asker))
        }
        Phase::Done(Outcome::Reverted { reason, foreign }) => (
            Kind::Reverted,
            format!("the kernel holds the old rules: {}{}", why(reason), others(*foreign)),
            asked(reason),
        ),
        Phase::Done(Outcome::Abandoned { asker, reason, holds }) => {
            let text = format!(
                "the way back was given up, by {}; the old rules should have come back ({}): {}",
                words(asker),
                why(reason),
                held(holds)
            );
            (Kind::Stuck, text, Some(asker))
        }
    }
}

fn asked(reason: &Reason) -> Option<&Asker> {
    match reason {
        Reason::Asked(asker) => Some(asker),
        _ => None,
    }
}

fn words(asker: &Asker) -> String {
    if asker.why.is_empty() { asker.who.clone() } else { format!("{} ({})", asker.who, asker.why) }
}

fn others(foreign: bool) -> &'static str {
    if foreign { "; others changed tables that the change doesn't touch" } else { "" }
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::Deadline => "nobody confirmed in time".to_owned(),
        Reason::Asked(asker) => format!("asked for by {}", words(asker)),
        Reason::Stale { holds } => {
            format!("before anything was loaded, it wasn't what the plan was made from: {}", held(holds))
        }
        Reason::Refused { words } => format!("the new ones were refused: {words}"),
        Reason::TooSlow { words } => format!("the new ones took longer than the window: {words}"),
        Reason::Mismatch { holds } => format!("what was loaded isn't what the plan says: {}", held(holds)),
        Reason::GuardDied => "the guard died while it loaded the new ones".to_owned(),
        Reason::NotRecorded => "the state of the trial could not be written".to_owned(),
        Reason::Reboot => "the system was started anew".to_owned(),
    }
}

fn held(holds: &Result<Reading, String>) -> String {
    let reading = match holds {
        Ok(reading) => reading,
        Err(why) => return format!("what the kernel holds can't be told, {why}"),
    };
    let rules = match reading.rules {
        Rules::Old => "the old rules",
        Rules::New => "the new rules",
        Rules::Staged => "the new rules beside the old ones",
        Rules::Other => "neither the old nor the new rules",
    };
    format!("the kernel holds {rules}{}", others(reading.foreign))
}
