//! What became of a trial, in words.

use firewarden_change::trial::{Asker, Outcome, Phase, Reading, Reason};

/// How a trial ended, in a sentence.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Confirmed { asker, foreign, trouble, .. } => {
            let mut text = format!("the new rules stay: confirmed by {}", name(asker));
            if let Some(trouble) = trouble {
                text += &format!(
                    "; but they could not be written for the next boot, which loads older ones: {trouble}"
                );
            }
            text + foreign_words(*foreign)
        }
        Outcome::Reverted { reason, foreign } => {
            let rules = match reason {
                Reason::Stale { .. } => "nothing was changed",
                Reason::Reboot => "the system runs the rules that were confirmed last",
                _ => "the old rules are back, as read back from the kernel",
            };
            format!("{rules}: {}{}", why(reason), foreign_words(*foreign))
        }
        Outcome::Abandoned { asker, reason, holds } => format!(
            "given up by {}: the old rules did not come back ({}), and the kernel holds {}",
            name(asker),
            why(reason),
            held(holds)
        ),
    }
}

/// Why the old rules come back.
pub fn why(reason: &Reason) -> String {
    match reason {
        Reason::Deadline => "nobody confirmed in time".to_owned(),
        Reason::Asked(asker) if asker.why.is_empty() => format!("{} asked for it", name(asker)),
        Reason::Asked(asker) => format!("{} asked for it: {}", name(asker), asker.why),
        Reason::Stale { holds } => {
            format!("the kernel does not hold the rules that the plan was made from, but {}", held(holds))
        }
        Reason::Refused { words } => format!("the new rules were refused: {words}"),
        Reason::TooSlow { words } => format!(
            "the new rules were not loaded when the window ended ({words}): give them more time with `--window`"
        ),
        Reason::Mismatch { holds } => {
            format!("once loaded, the rules were not those of the plan, but {}", held(holds))
        }
        Reason::GuardDied => "the guard was killed while it loaded them".to_owned(),
        Reason::NotRecorded => "the trial could not be recorded on disk".to_owned(),
        Reason::Reboot => "the system was started anew".to_owned(),
    }
}

/// A phase that isn't the last one, in half a sentence.
pub fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Armed => "the guard stands, and the old rules are in force".to_owned(),
        Phase::Applying => "the new rules are being loaded".to_owned(),
        Phase::Applied { .. } => "the new rules are in force, unconfirmed".to_owned(),
        Phase::Confirmed { .. } => {
            "the new rules are confirmed, and are being written for the next boot".to_owned()
        }
        Phase::Reverting { reason, .. } => format!("the old rules are being brought back: {}", why(reason)),
        Phase::Stuck { reason, holds } => format!(
            "STUCK: the old rules do not come back ({}), the kernel holds {}, and it is tried again and again",
            why(reason),
            held(holds)
        ),
        Phase::Done(ended) => outcome(ended),
    }
}

fn name(asker: &Asker) -> &str {
    if asker.who.is_empty() { "somebody" } else { &asker.who }
}

fn held(holds: &Result<Reading, String>) -> String {
    match holds {
        Ok(reading) => {
            format!("rules with the digest {}", reading.digest.get(..16).unwrap_or(&reading.digest))
        }
        Err(why) => format!("rules that cannot be read: {why}"),
    }
}

fn foreign_words(foreign: bool) -> &'static str {
    if foreign { " (others changed tables that this change does not touch)" } else { "" }
}
