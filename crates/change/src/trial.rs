//! Commit-confirm: a change holds only if it is confirmed in time, whatever dies in between.
//!
//! A [`Trial`] is a state machine. It gives one [`Effect`] at a time; whoever runs it (the guard process, or a simulation)
//! carries that out and hands back the [`Event`] that came of it, with the time. Each [`Phase`] is saved before the action
//! that it announces, so that another guard can go on from what is on disk:
//!
//! ```text
//! armed -> applying -> applied -> confirmed -> done(confirmed)
//!                 \       \
//!                  -------- reverting(inverse, then whole) -> done(reverted)
//!                                    \-> stuck: tries again and again -> done(reverted | abandoned)
//! ```
//!
//! Before the rules from before a command are brought back, that command is held, and afterwards ended: otherwise it could
//! change them again. What it started and can't be told from a service of the system is left alone, but watched: where the
//! rules move, they are brought back once more, and then it is ended as well.
//!
//! After the deadline the kernel holds the old rules or the confirmed new ones, and the saved record says which. Where it
//! can't be brought to hold either, the trial is stuck and the record says what the kernel has.

mod back;
mod record;

pub use back::{LINGER_MILLISECONDS, ROUNDS, WATCH_MILLISECONDS};
pub use record::{Asker, Attempt, Outcome, Phase, Reading, Reason, Record, Rules, clip};

/// How long a stuck trial waits between two attempts to bring the old rules back, in milliseconds.
pub const RETRY_MILLISECONDS: u64 = 1000;
/// How often it is tried to make a confirmed change last, before the trial ends without.
pub const KEEP_ATTEMPTS: u32 = 5;

/// What kind of change is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The guard loads a plan's scripts.
    Scripts {
        /// Whether there is a quick way back.
        inverse: bool,
    },
    /// Somebody else changes the rules, with any program, once the trial is [`Phase::Applied`]. What comes of it isn't
    /// known beforehand.
    Command,
}

/// What somebody asks the guard for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Keep the new rules.
    Confirm {
        /// Who asks.
        asker: Asker,
        /// The digest of the rules that were looked at, where only these are to be kept.
        ruleset: Option<String>,
    },
    /// Go back to the old ones.
    Revert(Asker),
    /// Stop trying to get back to the old rules, which doesn't work. Means something only to a stuck trial.
    Abandon(Asker),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this durably, in place of the record before it. [`Event::Done`] or [`Event::Failed`].
    Save(Box<Record>),
    /// Read the rules back from the kernel. [`Event::Read`].
    ReadBack,
    /// Load the forward scripts, and be killed where it takes longer than until this time. [`Event::Done`] or
    /// [`Event::Failed`].
    LoadForward {
        /// Milliseconds since boot.
        until: u64,
    },
    /// Put the new rules in the place of the old ones that stand beside them. [`Event::Done`] or [`Event::Failed`].
    Settle,
    /// Find the handles that the quick way back needs, and save it. [`Event::Done`] or [`Event::Failed`].
    ResolveInverse,
    /// Go the quick way back. [`Event::Done`] or [`Event::Failed`].
    LoadInverse,
    /// Go the whole way back. [`Event::Done`] or [`Event::Failed`].
    LoadRollback,
    /// Keep a guarded command and all that it started from doing anything, until they are told to end or to go on. It is
    /// as good as done where it fails. [`Event::Done`] or [`Event::Failed`].
    HoldWorkers,
    /// End a guarded command and what it started; what went into a session of its own, as services do, only goes on.
    /// [`Event::Done`] where nothing of it lives any more, [`Event::Failed`] with what does.
    EndWorkers {
        /// Whether that is ended as well.
        all: bool,
    },
    /// Wait until this time, or until the rules move. [`Event::Done`] where it is over earlier since nothing lives any more
    /// that the command started, [`Event::Time`] otherwise.
    Watch {
        /// Milliseconds since boot.
        until: u64,
    },
    /// Write the rules that were read back last beside the confirmed ones, durably, without putting them into force for
    /// the next boot. [`Event::Done`] or [`Event::Failed`].
    Stage,
    /// Put what was staged into force for the next boot. Doing it twice is as good as once. [`Event::Done`] or
    /// [`Event::Failed`].
    Keep,
    /// Wait for a request, but not longer than until this time. [`Event::Asked`] or [`Event::Time`].
    Wait {
        /// Milliseconds since boot.
        until: u64,
    },
    /// Nothing is left to do.
    End,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was done.
    Done,
    /// Nothing was loaded, since the rules were not those any more that the plan was made from: what the kernel holds.
    Overtaken(Result<Reading, String>),
    /// It was not done, or not known to be; the reason.
    Failed(String),
    /// What the kernel holds, or why that can't be told.
    Read(Result<Reading, String>),
    /// Somebody asked for something.
    Asked(Request),
    /// Nobody asked for anything.
    Time,
}

/// Where a trial comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It begins now.
    New {
        /// How long the new rules may last unconfirmed, in milliseconds.
        window: u64,
    },
    /// Another guard began it.
    Saved {
        /// The last record it saved.
        record: Box<Record>,
        /// Whether it saved the quick way back.
        inverse: bool,
    },
}

/// What the effect that is being carried out is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Saving the phase.
    Saving,
    /// Reading whether the rules are still those that the plan was made from.
    Checking,
    Applying,
    /// Reading whether the forward scripts did what they should.
    Proving,
    Resolving,
    Waiting,
    /// Reading what is going to be confirmed.
    Confirming,
    /// Making the new rules the only ones.
    Settling,
    /// Reading whether they are.
    Settled,
    Staging,
    Keeping,
    /// Between two attempts to keep.
    Pausing,
    /// Reading whether there is anything to go back from.
    Looking,
    /// Seeing to it that the command doesn't get in the way.
    Holding,
    Reverting(Attempt),
    /// Ending the command.
    Ending,
    /// Seeing whether the old rules stay.
    Watching,
    /// Reading whether the way back led to the old rules.
    Verifying(Attempt),
    /// Between two attempts of a stuck trial.
    Stuck,
    /// Reading what a guard confirmed that died then.
    Recalling,
    /// Between two attempts to save that all is over.
    Repeating,
    Ended,
}

/// A change on trial.
#[derive(Clone, Debug)]
pub struct Trial {
    kind: Kind,
    record: Record,
    doing: Doing,
    /// Whether the quick way back is saved, and nothing has happened that it doesn't hold for.
    inverse: bool,
    /// Who asked for the confirmation that is being looked into.
    confirmation: Option<(Asker, Option<String>)>,
    /// The reading that a confirmation goes by.
    confirmable: Option<Reading>,
    /// How often it was tried to keep.
    kept: u32,
    /// What is known of the way back from a command.
    back: back::FromCommand,
}

impl Trial {
    /// Begins a trial, or goes on with one. `boot_id` is that of the system as it runs now, `now` the milliseconds since
    /// its boot, which go on while it sleeps (CLOCK_BOOTTIME).
    pub fn begin(kind: Kind, boot_id: &str, now: u64, origin: Origin) -> (Trial, Effect) {
        let (record, inverse, is_new) = match origin {
            Origin::New { window } => {
                let deadline = now.saturating_add(window);
                let record =
                    Record { boot_id: boot_id.to_owned(), deadline, phase: Phase::Armed, note: None };
                (record, false, true)
            }
            Origin::Saved { record, inverse } => (*record, inverse, false),
        };
        let rebooted = record.boot_id != boot_id;
        let mut trial = Trial {
            kind,
            record,
            doing: Doing::Ended,
            inverse,
            confirmation: None,
            confirmable: None,
            kept: 0,
            back: back::FromCommand::default(),
        };
        let effect = if is_new { trial.save() } else { trial.resume(rebooted) };
        (trial, effect)
    }

    /// What was saved last, or is being saved.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Goes on from what another guard saved.
    fn resume(&mut self, rebooted: bool) -> Effect {
        match self.record.phase.clone() {
            Phase::Done(_) => self.end(),
            Phase::Confirmed { .. } if rebooted => self.keep(),
            // The kernel forgot everything, and the boot loads nothing that isn't confirmed.
            _ if rebooted => self.finish(Outcome::Reverted { reason: Reason::Reboot, foreign: false }),
            Phase::Confirmed { .. } => self.read(Doing::Recalling),
            Phase::Armed => self.read(Doing::Checking),
            Phase::Applying => {
                self.record.phase = Phase::Reverting { reason: Reason::GuardDied, attempt: Attempt::Whole };
                self.read(Doing::Looking)
            }
            Phase::Applied { .. } => self.wait(),
            // The dead guard may have gone the quick way back already, and it isn't meant for going twice.
            Phase::Reverting { reason, .. } => {
                self.record.phase = Phase::Reverting { reason, attempt: Attempt::Whole };
                match self.kind {
                    Kind::Scripts { .. } => self.read(Doing::Looking),
                    // What the kernel holds says little as long as the command may run.
                    Kind::Command => self.go_back(Attempt::Whole),
                }
            }
            Phase::Stuck { .. } => self.go_back(Attempt::Whole),
        }
    }

    /// What comes next, now that this came of the last effect. `now` as for [`Trial::begin`]. An event that doesn't belong
    /// to the last effect counts as its failure.
    pub fn on(&mut self, now: u64, event: Event) -> Effect {
        match (self.doing, event) {
            (Doing::Saving, Event::Done) => self.saved(now),
            (Doing::Saving, event) => self.not_saved(now, words(event)),
            (Doing::Checking, Event::Read(Ok(reading))) if reading.rules == Rules::Old => {
                self.checked(now, &reading)
            }
            (Doing::Checking, event) => {
                let reason = Reason::Stale { holds: holds(event) };
                self.finish(Outcome::Reverted { reason, foreign: false })
            }
            (Doing::Applying, Event::Done) => self.read(Doing::Proving),
            (Doing::Applying, Event::Overtaken(holds)) => {
                self.finish(Outcome::Reverted { reason: Reason::Stale { holds }, foreign: false })
            }
            (Doing::Applying, event) => {
                let words = words(event);
                let reason = match now >= self.record.deadline {
                    true => Reason::TooSlow { words },
                    false => Reason::Refused { words },
                };
                self.revert(reason, Doing::Looking)
            }
            (Doing::Proving, Event::Read(Ok(reading)))
                if matches!(reading.rules, Rules::New | Rules::Staged) =>
            {
                if now >= self.record.deadline {
                    return self.revert(Reason::Deadline, Doing::Reverting(Attempt::Whole));
                }
                self.record.phase = Phase::Applied { holds: Some(reading.digest) };
                self.save()
            }
            (Doing::Proving, event) => {
                self.revert(Reason::Mismatch { holds: holds(event) }, Doing::Reverting(Attempt::Whole))
            }
            (Doing::Resolving, event) => {
                self.inverse = event == Event::Done;
                self.wait()
            }
            (Doing::Waiting, event) => self.waited(now, event),
            (Doing::Confirming | Doing::Settled, event) => self.confirm(now, event),
            (Doing::Settling, Event::Done) => {
                // It led back from both sides, which the kernel doesn't hold any more.
                self.inverse = false;
                self.read(Doing::Settled)
            }
            (Doing::Settling, event) => {
                self.refuse(now, format!("the old rules could not be taken away: {}", words(event)))
            }
            (Doing::Staging, Event::Done) => self.confirmed(now),
            (Doing::Staging, event) => {
                self.refuse(now, format!("the new rules could not be kept: {}", words(event)))
            }
            (Doing::Keeping, Event::Done) => self.finish_confirmed(None),
            (Doing::Keeping, event) => {
                self.kept += 1;
                if self.kept >= KEEP_ATTEMPTS {
                    return self.finish_confirmed(Some(words(event)));
                }
                self.doing = Doing::Pausing;
                Effect::Wait { until: now.saturating_add(RETRY_MILLISECONDS) }
            }
            (Doing::Pausing, _) => self.keep(),
            (Doing::Recalling, Event::Read(Ok(reading))) if self.is_old_after_all(&reading) => {
                self.finish(Outcome::Reverted { reason: Reason::NotRecorded, foreign: reading.foreign })
            }
            (Doing::Recalling, _) => self.keep(),
            (Doing::Looking, Event::Read(Ok(reading))) if reading.rules == Rules::Old => {
                self.finish_reverted(reading.foreign)
            }
            (Doing::Looking, _) => self.go_back(Attempt::Whole),
            // A quick way back that is refused has done nothing.
            (Doing::Reverting(Attempt::Inverse), Event::Failed(_)) => self.go_back(Attempt::Whole),
            (Doing::Holding, _) => self.roll_back(),
            (Doing::Reverting(Attempt::Whole), event) if self.kind == Kind::Command => {
                self.end_workers(event == Event::Done)
            }
            (Doing::Reverting(attempt), _) => self.read(Doing::Verifying(attempt)),
            (Doing::Ending, event) => self.ended_workers(event),
            (Doing::Watching, event) => self.watched(now, &event),
            (Doing::Verifying(_), Event::Read(Ok(reading))) if reading.rules == Rules::Old => {
                match self.kind {
                    Kind::Scripts { .. } => self.finish_reverted(reading.foreign),
                    Kind::Command => self.watch(now, reading.foreign),
                }
            }
            (Doing::Verifying(Attempt::Inverse), _) => self.go_back(Attempt::Whole),
            (Doing::Verifying(Attempt::Whole), event) if self.kind == Kind::Command => self.moved(now, event),
            (Doing::Verifying(Attempt::Whole), event) => self.stuck(now, event),
            (Doing::Stuck, Event::Asked(Request::Abandon(asker))) => {
                let Phase::Stuck { reason, holds } = self.record.phase.clone() else { return self.end() };
                self.finish(Outcome::Abandoned { asker, reason, holds })
            }
            (Doing::Stuck, Event::Asked(_)) => Effect::Wait { until: now.saturating_add(RETRY_MILLISECONDS) },
            (Doing::Stuck, _) => self.go_back(Attempt::Whole),
            (Doing::Repeating, _) => self.save(),
            (Doing::Ended, _) => Effect::End,
        }
    }

    /// What the phase announces, now that it is saved.
    fn saved(&mut self, now: u64) -> Effect {
        match &self.record.phase {
            Phase::Armed => self.read(Doing::Checking),
            Phase::Applying => {
                self.doing = Doing::Applying;
                Effect::LoadForward { until: self.record.deadline }
            }
            Phase::Applied { .. } if self.kind == (Kind::Scripts { inverse: true }) && !self.inverse => {
                // A foreign writer may come between proof and confirmation, so only a first wait is worth the search.
                if self.record.note.is_some() {
                    return self.wait();
                }
                self.doing = Doing::Resolving;
                Effect::ResolveInverse
            }
            Phase::Applied { .. } => self.wait(),
            Phase::Confirmed { .. } => self.keep(),
            Phase::Reverting { attempt, .. } => {
                let attempt = *attempt;
                self.act(attempt)
            }
            Phase::Stuck { .. } => self.pause(now),
            Phase::Done(_) => self.end(),
        }
    }

    /// What to do where the phase may not be on disk.
    fn not_saved(&mut self, now: u64, why: String) -> Effect {
        match self.record.phase.clone() {
            // Nothing was loaded yet.
            Phase::Armed | Phase::Applying => {
                self.finish(Outcome::Reverted { reason: Reason::NotRecorded, foreign: false })
            }
            // Before the first wait: without a record no other guard could take over.
            Phase::Applied { .. } if self.record.note.is_none() => {
                self.revert(Reason::NotRecorded, Doing::Reverting(Attempt::Whole))
            }
            Phase::Applied { .. } => self.wait(),
            Phase::Confirmed { .. } => {
                self.refuse(now, format!("the confirmation could not be recorded: {why}"))
            }
            // The way back needs no disk.
            Phase::Reverting { attempt, .. } => self.act(attempt),
            Phase::Stuck { .. } => self.pause(now),
            Phase::Done(_) => {
                self.doing = Doing::Repeating;
                Effect::Wait { until: now.saturating_add(RETRY_MILLISECONDS) }
            }
        }
    }

    /// Nothing was loaded yet: what the kernel holds isn't this trial's doing.
    fn checked(&mut self, now: u64, reading: &Reading) -> Effect {
        if now >= self.record.deadline {
            return self.finish(Outcome::Reverted { reason: Reason::Deadline, foreign: reading.foreign });
        }
        self.record.phase = match self.kind {
            Kind::Scripts { .. } => Phase::Applying,
            Kind::Command => Phase::Applied { holds: None },
        };
        self.save()
    }

    fn waited(&mut self, now: u64, event: Event) -> Effect {
        if now >= self.record.deadline {
            return self.revert_quickly(Reason::Deadline);
        }
        match event {
            Event::Asked(Request::Revert(asker)) => self.revert_quickly(Reason::Asked(asker)),
            Event::Asked(Request::Confirm { asker, ruleset }) => {
                self.confirmation = Some((asker, ruleset));
                self.read(Doing::Confirming)
            }
            // A second look, at what the kernel was told rather than asked.
            Event::Read(Ok(reading)) if !matches!(reading.rules, Rules::New | Rules::Staged) => {
                let reason = Reason::Mismatch { holds: Ok(reading) };
                self.revert(reason, Doing::Reverting(Attempt::Whole))
            }
            Event::Asked(Request::Abandon(_)) => {
                self.refuse(now, "only a trial that is stuck can be abandoned".to_owned())
            }
            _ => self.wait(),
        }
    }

    /// Looks at the rules that somebody wants to keep.
    fn confirm(&mut self, now: u64, event: Event) -> Effect {
        if now >= self.record.deadline {
            return self.revert_quickly(Reason::Deadline);
        }
        let reading = match event {
            Event::Read(Ok(reading)) => reading,
            event => return self.refuse(now, format!("the rules could not be read back: {}", words(event))),
        };
        let looked_at = self.confirmation.as_ref().and_then(|(_, ruleset)| ruleset.as_ref());
        let settles = reading.rules == Rules::Staged && self.doing == Doing::Confirming;
        let is_as_planned = self.kind == Kind::Command || settles || reading.rules == Rules::New;
        if !is_as_planned || looked_at.is_some_and(|digest| *digest != reading.digest) {
            let digest = reading.digest;
            return self.refuse(now, format!("somebody else changed the rules: the kernel holds {digest}"));
        }
        if settles {
            // What was looked at has had its look; from now on it must be the plan's result.
            if let Some((_, ruleset)) = &mut self.confirmation {
                *ruleset = None;
            }
            self.doing = Doing::Settling;
            return Effect::Settle;
        }
        self.confirmable = Some(reading);
        self.doing = Doing::Staging;
        Effect::Stage
    }

    /// Decides for the new rules, unless the deadline was first.
    fn confirmed(&mut self, now: u64) -> Effect {
        if now >= self.record.deadline {
            return self.revert_quickly(Reason::Deadline);
        }
        let (Some((asker, _)), Some(reading)) = (self.confirmation.take(), self.confirmable.take()) else {
            return self.wait();
        };
        self.record.note = None;
        self.record.phase = Phase::Confirmed { asker, ruleset: reading.digest, foreign: reading.foreign };
        self.save()
    }

    /// Says why there is no confirmation, and goes on waiting.
    fn refuse(&mut self, now: u64, why: String) -> Effect {
        if now >= self.record.deadline {
            return self.revert_quickly(Reason::Deadline);
        }
        self.confirmation = None;
        self.confirmable = None;
        self.record.note = Some(clip(&why));
        let holds = match &self.record.phase {
            Phase::Applied { holds } => holds.clone(),
            Phase::Confirmed { ruleset, .. } => Some(ruleset.clone()),
            _ => None,
        };
        self.record.phase = Phase::Applied { holds };
        self.save()
    }

    /// Whether a confirmation that is on disk was taken back: its guard couldn't tell that it got there.
    fn is_old_after_all(&self, reading: &Reading) -> bool {
        let confirmed = match &self.record.phase {
            Phase::Confirmed { ruleset, .. } => ruleset,
            _ => return false,
        };
        reading.rules == Rules::Old && reading.digest != *confirmed
    }

    fn finish_confirmed(&mut self, trouble: Option<String>) -> Effect {
        match self.record.phase.clone() {
            Phase::Confirmed { asker, ruleset, foreign } => {
                self.finish(Outcome::Confirmed { asker, ruleset, foreign, trouble })
            }
            _ => self.end(),
        }
    }

    fn finish(&mut self, outcome: Outcome) -> Effect {
        self.record.phase = Phase::Done(outcome);
        self.save()
    }

    fn save(&mut self) -> Effect {
        self.doing = Doing::Saving;
        Effect::Save(Box::new(self.record.clone()))
    }

    fn read(&mut self, doing: Doing) -> Effect {
        self.doing = doing;
        Effect::ReadBack
    }

    fn keep(&mut self) -> Effect {
        self.doing = Doing::Keeping;
        Effect::Keep
    }

    fn wait(&mut self) -> Effect {
        self.doing = Doing::Waiting;
        Effect::Wait { until: self.record.deadline }
    }

    fn end(&mut self) -> Effect {
        self.doing = Doing::Ended;
        Effect::End
    }
}

/// Why an effect didn't come about.
fn words(event: Event) -> String {
    match event {
        Event::Failed(words) | Event::Read(Err(words)) => clip(&words),
        other => clip(&format!("the guard was told {other:?} instead of an answer")),
    }
}

/// What the kernel holds, where it isn't what was expected.
fn holds(event: Event) -> Result<Reading, String> {
    match event {
        Event::Read(Ok(reading)) => Ok(reading),
        event => Err(words(event)),
    }
}
