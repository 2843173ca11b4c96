//! Going back to the old rules, and seeing to it that they stay.

use super::{
    Attempt, Doing, Effect, Event, Kind, Outcome, Phase, RETRY_MILLISECONDS, Reason, Trial, clip, holds,
    words,
};

/// How long the rules are watched after the way back from a command, in milliseconds.
pub const WATCH_MILLISECONDS: u64 = 1000;
/// How long at most where something lives on that the command started, in milliseconds.
pub const LINGER_MILLISECONDS: u64 = 10_000;
/// How often a command's doings are taken back before the trial counts as stuck.
pub const ROUNDS: u32 = 3;

/// What is told of a command that didn't leave the old rules alone.
const MOVED: &str = "rules changed again after the way back, and were brought back once more";

/// What is known of the way back from a command.
#[derive(Clone, Debug, Default)]
pub(super) struct FromCommand {
    /// How often the old rules weren't there after it.
    rounds: u32,
    /// Whether the loaders took it, the last time.
    loaded: bool,
    /// Whether everything is ended that the command started.
    ends_all: bool,
    /// Whether rules changed that had come back.
    moved: bool,
    /// What lives on, in words.
    lives: Option<String>,
    /// Until when the rules are watched, in milliseconds since boot.
    watched_until: Option<u64>,
}

impl Trial {
    pub(super) fn revert_quickly(&mut self, reason: Reason) -> Effect {
        let attempt = if self.inverse { Attempt::Inverse } else { Attempt::Whole };
        self.revert(reason, Doing::Reverting(attempt))
    }

    pub(super) fn revert(&mut self, reason: Reason, first: Doing) -> Effect {
        self.record.note = None;
        let attempt =
            if first == Doing::Reverting(Attempt::Inverse) { Attempt::Inverse } else { Attempt::Whole };
        self.record.phase = Phase::Reverting { reason, attempt };
        if first == Doing::Looking {
            return self.read(first);
        }
        self.save()
    }

    /// Starts an attempt, saved first where that isn't what the record says.
    pub(super) fn go_back(&mut self, next: Attempt) -> Effect {
        match &mut self.record.phase {
            Phase::Reverting { attempt, .. } if *attempt != next => {
                *attempt = next;
                self.save()
            }
            _ => self.act(next),
        }
    }

    pub(super) fn act(&mut self, attempt: Attempt) -> Effect {
        // Whatever comes of it, the quick way back held for what was before.
        self.inverse = false;
        if self.kind == Kind::Command {
            self.doing = Doing::Holding;
            return Effect::HoldWorkers;
        }
        self.doing = Doing::Reverting(attempt);
        match attempt {
            Attempt::Inverse => Effect::LoadInverse,
            Attempt::Whole => Effect::LoadRollback,
        }
    }

    /// The whole way back, now that the command is held.
    pub(super) fn roll_back(&mut self) -> Effect {
        self.doing = Doing::Reverting(Attempt::Whole);
        Effect::LoadRollback
    }

    /// Ends the command, after a way back that was loaded or not.
    pub(super) fn end_workers(&mut self, loaded: bool) -> Effect {
        self.back.loaded = loaded;
        self.doing = Doing::Ending;
        Effect::EndWorkers { all: self.back.ends_all }
    }

    /// Looks at the rules once more: whoever was told to end may have changed them while it did.
    pub(super) fn ended_workers(&mut self, event: Event) -> Effect {
        self.back.lives = match event {
            Event::Done => None,
            event => Some(words(event)),
        };
        self.read(Doing::Verifying(Attempt::Whole))
    }

    /// Sees to it that the old rules stay for some time, longer where something lives that the command started.
    pub(super) fn watch(&mut self, now: u64, foreign: bool) -> Effect {
        let long = if self.back.lives.is_some() { LINGER_MILLISECONDS } else { WATCH_MILLISECONDS };
        let until = *self.back.watched_until.get_or_insert(now.saturating_add(long));
        if now >= until {
            return self.finish_reverted(foreign);
        }
        self.doing = Doing::Watching;
        Effect::Watch { until }
    }

    pub(super) fn watched(&mut self, now: u64, event: &Event) -> Effect {
        if *event == Event::Done {
            self.back.lives = None;
            self.back.watched_until = Some(now);
        }
        self.read(Doing::Verifying(Attempt::Whole))
    }

    /// Goes back once more, since the old rules weren't there or didn't stay, but not for ever.
    pub(super) fn moved(&mut self, now: u64, event: Event) -> Effect {
        // Whoever changed rules that had come back is no innocent service.
        if self.back.loaded && matches!(event, Event::Read(Ok(_))) {
            (self.back.moved, self.back.ends_all) = (true, true);
        }
        self.back.watched_until = None;
        self.back.rounds += 1;
        if self.back.rounds < ROUNDS { self.go_back(Attempt::Whole) } else { self.stuck(now, event) }
    }

    pub(super) fn stuck(&mut self, now: u64, event: Event) -> Effect {
        let now_holds = holds(event);
        let (reason, told) = match &self.record.phase {
            Phase::Reverting { reason, .. } => (reason.clone(), None),
            Phase::Stuck { reason, holds } => (reason.clone(), Some(holds.clone())),
            _ => (Reason::GuardDied, None),
        };
        if told.as_ref() == Some(&now_holds) {
            return self.pause(now);
        }
        self.record.phase = Phase::Stuck { reason, holds: now_holds };
        self.save()
    }

    pub(super) fn pause(&mut self, now: u64) -> Effect {
        self.doing = Doing::Stuck;
        Effect::Wait { until: now.saturating_add(RETRY_MILLISECONDS) }
    }

    pub(super) fn finish_reverted(&mut self, foreign: bool) -> Effect {
        let reason = match &self.record.phase {
            Phase::Reverting { reason, .. } | Phase::Stuck { reason, .. } => reason.clone(),
            _ => Reason::GuardDied,
        };
        if self.kind == Kind::Command {
            let moved = self.back.moved.then_some(MOVED);
            let told: Vec<&str> = moved.into_iter().chain(self.back.lives.as_deref()).collect();
            self.record.note = (!told.is_empty()).then(|| clip(&told.join("; ")));
        }
        self.finish(Outcome::Reverted { reason, foreign })
    }
}
