//! The world that a trial lives in.

use firewarden_change::trial::{
    Asker, Effect, Event, Kind, LINGER_MILLISECONDS, Origin, Outcome, Phase, Reading, Reason, Record,
    Request, Rules, Trial, WATCH_MILLISECONDS,
};

/// How long the new rules may last, in milliseconds.
const WINDOW: u64 = 1000;
/// When the world stops being hostile.
const PEACE: u64 = 6000;
/// When all must be over.
const END: u64 = 30_000;

/// One in how many effects goes wrong in which way; 0 is never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chances {
    /// The guard dies before, in or after the effect.
    pub death: u64,
    /// The system is started anew.
    pub reboot: u64,
    /// Saving, staging or keeping fails.
    pub disk: u64,
    /// A loader refuses, or leaves a part.
    pub loader: u64,
    /// The rules can't be read.
    pub reading: u64,
    /// Somebody else changes rules, ours or others.
    pub writer: u64,
    /// In one of so many worlds, the way back is refused for ever.
    pub never_back: u64,
    /// In one of so many worlds with a command, it goes on changing rules, or what it started does.
    pub worker: u64,
}

/// A process of the command.
#[derive(Clone, Debug)]
struct Worker {
    /// When it changes rules; the last first.
    writes: Vec<u64>,
    /// Whether it is in a session of its own, as a service is.
    detached: bool,
    held: bool,
    /// Whether it changes rules when it is told to end.
    stubborn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    Old,
    New,
    /// Old and new side by side; the kernel leaves the new ones by itself.
    Staged,
    Other(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Confirmed,
    Reverted,
    Stuck,
    Abandoned,
}

pub struct World {
    random: u64,
    chances: Chances,
    kind: Kind,
    /// Milliseconds since the first boot, for the order of things; guards see the time since the last.
    now: u64,
    booted: u64,
    boot: u64,
    ours: Ours,
    foreign: u64,
    slots: [Option<(u64, Record)>; 2],
    inverse_file: bool,
    staged: Option<Ours>,
    /// What the next boot loads.
    kept: Ours,
    requests: Vec<(u64, Request)>,
    taken: bool,
    never_back: bool,
    /// Whether the kernel holds the way back.
    switch: bool,
    /// Whether somebody else changed the rules that the trial changes.
    ours_written: bool,
    /// What the kernel held when it was read last, and whether anybody else wrote since.
    last_read: Option<(Ours, u64)>,
    written_since: bool,
    commanded: bool,
    /// What the command will start, then what lives of it.
    workers: Vec<Worker>,
    /// Whether one of them changed rules since they were read last.
    worker_wrote: bool,
    /// What could not be saved last.
    unsaved: Option<Record>,
    recovered: bool,
    pub story: Vec<String>,
}

/// What became of a guard.
enum Fate {
    Ended,
    Died,
    Rebooted,
}

impl World {
    pub fn new(seed: u64, chances: Chances) -> World {
        let mut world = World {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D,
            chances,
            kind: Kind::Command,
            now: 0,
            booted: 0,
            boot: 0,
            ours: Ours::Old,
            foreign: 0,
            slots: [None, None],
            inverse_file: false,
            staged: None,
            kept: Ours::Old,
            requests: Vec::new(),
            taken: false,
            never_back: false,
            switch: false,
            ours_written: false,
            last_read: None,
            written_since: false,
            commanded: false,
            workers: Vec::new(),
            worker_wrote: false,
            unsaved: None,
            recovered: true,
            story: Vec::new(),
        };
        world.kind = match world.below(4) {
            0 => Kind::Command,
            1 => Kind::Scripts { inverse: false },
            _ => Kind::Scripts { inverse: true },
        };
        world.switch = world.kind == Kind::Scripts { inverse: true } && world.one_in(2);
        world.never_back = world.one_in(world.chances.never_back);
        world.plan_client();
        if world.kind == Kind::Command && world.one_in(world.chances.worker) {
            for _ in 0..1 + world.below(3) {
                let mut writes: Vec<u64> =
                    (0..world.below(4)).map(|_| world.below(WINDOW + LINGER_MILLISECONDS)).collect();
                writes.sort_by(|one, other| other.cmp(one));
                let (detached, stubborn) = (world.one_in(2), world.one_in(3));
                world.workers.push(Worker { writes, detached, held: false, stubborn });
            }
        }
        world
    }

    /// A client that confirms, reverts, both, or dies before it does either; around the deadline too.
    fn plan_client(&mut self) {
        let asker = || Asker::new("operator", "then", "because");
        let at = if self.one_in(4) { WINDOW - 30 + self.below(60) } else { self.below(WINDOW + 500) };
        let ruleset = self.one_in(4).then(|| digest(Ours::New, 0));
        let confirm = Request::Confirm { asker: asker(), ruleset };
        match self.below(6) {
            0 => {}
            1 => self.requests.push((at, Request::Revert(asker()))),
            2 => {
                self.requests.push((at, confirm));
                let later = at + self.below(100);
                self.requests.push((later, Request::Revert(asker())));
            }
            _ => self.requests.push((at, confirm)),
        }
        if self.one_in(3) {
            let at = PEACE + self.below(5000);
            self.requests.push((at, Request::Abandon(asker())));
        }
        self.requests.sort_by_key(|(at, _)| *at);
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    fn one_in(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(chance) == 0
    }

    /// Like [`World::one_in`], as long as there is no peace.
    fn hostile(&mut self, chance: u64) -> bool {
        self.now < PEACE && self.one_in(chance)
    }

    fn since_boot(&self) -> u64 {
        self.now - self.booted
    }

    fn told(&self) -> Option<&Record> {
        self.slots.iter().flatten().max_by_key(|(sequence, _)| *sequence).map(|(_, record)| record)
    }

    fn tell(&mut self, what: String) {
        self.story.push(format!("{:>6} {what} [kernel {:?}/{}]", self.now, self.ours, self.foreign));
    }

    /// Runs guards until all is over.
    pub fn run(&mut self) -> Result<End, String> {
        loop {
            let origin = match self.told().cloned() {
                Some(record) => Origin::Saved { record: Box::new(record), inverse: self.inverse_file },
                None => Origin::New { window: WINDOW },
            };
            match self.guard(origin)? {
                Fate::Ended => {
                    // `recover` finishes what was confirmed, then loads what is to last.
                    if !std::mem::replace(&mut self.recovered, true) && !self.written_since {
                        self.ours = self.kept;
                    }
                    return self.judge();
                }
                // A guard that died before it was armed has no standby.
                Fate::Died | Fate::Rebooted if self.told().is_none() => return self.judge(),
                Fate::Died => {
                    // A standby is quick; where that was killed too, the next client has to come by.
                    let gap = if self.one_in(8) { self.below(3000) } else { self.below(20) };
                    self.pass(gap);
                }
                Fate::Rebooted => {}
            }
            if self.now > END {
                return self.judge();
            }
        }
    }

    fn guard(&mut self, origin: Origin) -> Result<Fate, String> {
        self.tell(format!("a guard starts with {origin:?}"));
        self.taken = false;
        self.unsaved = None;
        let boot = self.boot.to_string();
        let (mut trial, mut effect) = Trial::begin(self.kind, &boot, self.since_boot(), origin);
        loop {
            if effect == Effect::End || self.now > END {
                return Ok(Fate::Ended);
            }
            if self.hostile(self.chances.reboot) {
                self.tell(format!("reboot before {effect:?}"));
                self.reboot();
                return Ok(Fate::Rebooted);
            }
            let dies = self.hostile(self.chances.death);
            if dies && self.one_in(2) {
                self.tell(format!("death before {effect:?}"));
                return Ok(Fate::Died);
            }
            let event = self.carry_out(&effect, dies)?;
            if dies {
                self.tell(format!("death after {effect:?}"));
                return Ok(Fate::Died);
            }
            self.tell(format!("{effect:?} -> {event:?}"));
            effect = trial.on(self.since_boot(), event);
        }
    }

    fn reboot(&mut self) {
        self.pass(50);
        self.boot += 1;
        self.booted = self.now;
        self.foreign = 0;
        self.written_since = false;
        self.workers.clear();
        self.ours = self.kept;
        self.recovered = false;
    }

    /// Lets time pass; others may write meanwhile.
    fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        if self.hostile(self.chances.writer) {
            if self.one_in(3) {
                self.ours = Ours::Other(self.below(1 << 32));
                self.ours_written = true;
            } else {
                self.foreign = 1 + self.below(1 << 32);
            }
            self.written_since = true;
            self.tell("somebody else writes".to_owned());
        }
        // The command that the client runs.
        let applied = matches!(self.told().map(|record| &record.phase), Some(Phase::Applied { .. }));
        if self.kind == Kind::Command && applied && !self.commanded {
            self.commanded = true;
            self.ours = Ours::New;
            self.tell("the command ran".to_owned());
        }
        if self.commanded {
            for number in 0..self.workers.len() {
                let now = self.now;
                let worker = &mut self.workers[number];
                if !worker.held && worker.writes.last().is_some_and(|at| *at <= now) {
                    worker.writes.pop();
                    self.worker_writes(number);
                }
            }
        }
    }

    fn worker_writes(&mut self, number: usize) {
        self.ours = Ours::Other(self.below(1 << 32));
        self.worker_wrote = true;
        self.tell(format!("worker {number} of the command writes"));
    }

    /// Tells workers to end, those in sessions of their own only where all are meant.
    fn end_workers(&mut self, all: bool) -> Event {
        for number in 0..self.workers.len() {
            let Worker { detached, stubborn, .. } = self.workers[number];
            if (all || !detached) && stubborn {
                self.worker_writes(number);
            }
        }
        self.workers.retain(|worker| worker.detached && !all);
        self.workers.iter_mut().for_each(|worker| worker.held = false);
        match self.workers.len() {
            0 => Event::Done,
            some => Event::Failed(format!("{some} live on")),
        }
    }

    /// Watches whether rules move.
    fn watch(&mut self, until: u64) -> Event {
        let (begun, had) = ((self.ours, self.foreign), !self.workers.is_empty());
        while self.since_boot() < until {
            self.pass((until - self.since_boot()).min(20));
            if (self.ours, self.foreign) != begun {
                return Event::Time;
            }
            // What has nothing left to do ends now and then.
            if self.one_in(50) {
                self.workers.retain(|worker| !worker.writes.is_empty());
            }
            if had && self.workers.is_empty() {
                return Event::Done;
            }
        }
        Event::Time
    }

    fn carry_out(&mut self, effect: &Effect, dying: bool) -> Result<Event, String> {
        let duration = if self.one_in(10) { self.below(400) } else { self.below(10) };
        Ok(match effect {
            Effect::Save(record) => {
                self.judge_announcement(record)?;
                if self.unsaved.as_ref() == Some(record) && matches!(record.phase, Phase::Reverting { .. }) {
                    return Err("the way back waits for the disk".to_owned());
                }
                self.pass(duration);
                let event = self.save(record, dying);
                self.unsaved = (event != Event::Done).then(|| Record::clone(record));
                event
            }
            Effect::ReadBack => {
                self.pass(duration);
                self.read()
            }
            Effect::LoadForward { until } => {
                self.pass(duration);
                if self.since_boot() >= *until {
                    return Ok(Event::Failed("killed".to_owned()));
                }
                if self.kept == Ours::New {
                    return Err("it applies what is confirmed".to_owned());
                }
                // The kernel may be told to change only what the guard looked at.
                if self.ours != Ours::Old
                    && self.one_in(2)
                    && let Event::Read(holds) = self.read()
                {
                    return Ok(Event::Overtaken(holds));
                }
                let loaded = if self.switch { Ours::Staged } else { Ours::New };
                let to = if self.ours == Ours::Old { loaded } else { Ours::Other(self.below(1 << 32)) };
                self.load(to, dying)
            }
            Effect::LoadInverse => {
                self.pass(duration);
                if !self.inverse_file {
                    return Err("there is no quick way back".to_owned());
                }
                let from = if self.switch { Ours::Staged } else { Ours::New };
                if self.switch && self.ours == Ours::New {
                    return Ok(Event::Failed("there is nothing beside the new rules".to_owned()));
                }
                let to = if self.ours == from { Ours::Old } else { Ours::Other(self.below(1 << 32)) };
                self.load(to, dying)
            }
            Effect::Settle => {
                self.pass(duration);
                match self.ours {
                    Ours::Staged => self.load(Ours::New, dying),
                    _ => Event::Failed("there is nothing to settle".to_owned()),
                }
            }
            Effect::LoadRollback => {
                self.pass(duration);
                if self.never_back {
                    return Ok(Event::Failed("refused".to_owned()));
                }
                self.load(Ours::Old, dying)
            }
            Effect::ResolveInverse => {
                self.pass(duration);
                if self.hostile(self.chances.disk) {
                    return Ok(Event::Failed("no".to_owned()));
                }
                self.inverse_file = true;
                Event::Done
            }
            Effect::Stage => {
                self.pass(duration);
                if self.hostile(self.chances.disk) {
                    return Ok(Event::Failed("disk full".to_owned()));
                }
                self.staged = self.last_read.map(|(ours, _)| ours);
                Event::Done
            }
            Effect::Keep => {
                self.pass(duration);
                if self.hostile(self.chances.disk) {
                    return Ok(Event::Failed("disk full".to_owned()));
                }
                self.keep()?;
                Event::Done
            }
            Effect::HoldWorkers => {
                if self.one_in(2) {
                    self.pass(duration);
                }
                if self.commanded {
                    self.workers.iter_mut().for_each(|worker| worker.held = true);
                }
                Event::Done
            }
            Effect::EndWorkers { all } => {
                let event = if self.commanded { self.end_workers(*all) } else { Event::Done };
                self.pass(duration);
                event
            }
            Effect::Watch { until } => self.watch(*until),
            Effect::Wait { until } => self.wait(*until)?,
            Effect::End => Event::Done,
        })
    }

    fn save(&mut self, record: &Record, dying: bool) -> Event {
        // The slot that was written last is still the newest, and isn't written over.
        let sequence = 1 + self.slots.iter().flatten().map(|(sequence, _)| *sequence).max().unwrap_or(0);
        let slot = (sequence % 2) as usize;
        let fails = self.hostile(self.chances.disk);
        if dying && self.one_in(2) {
            self.tell("the slot is torn".to_owned());
            self.slots[slot] = None;
        } else if !fails || self.one_in(2) {
            self.slots[slot] = Some((sequence, record.clone()));
        }
        if fails { Event::Failed("I/O error".to_owned()) } else { Event::Done }
    }

    fn load(&mut self, to: Ours, dying: bool) -> Event {
        if self.hostile(self.chances.loader) {
            if self.one_in(2) {
                self.ours = Ours::Other(self.below(1 << 32));
            }
            return Event::Failed("refused".to_owned());
        }
        // Several tables of iptables aren't one step.
        self.ours = if dying && self.one_in(3) { Ours::Other(self.below(1 << 32)) } else { to };
        Event::Done
    }

    fn read(&mut self) -> Event {
        if self.hostile(self.chances.reading) {
            return Event::Read(Err("unstable".to_owned()));
        }
        self.last_read = Some((self.ours, self.foreign));
        self.written_since = false;
        self.worker_wrote = false;
        let rules = match self.ours {
            Ours::Old => Rules::Old,
            // Nobody knows beforehand what a command will do.
            Ours::New if self.kind != Kind::Command => Rules::New,
            Ours::Staged => Rules::Staged,
            _ => Rules::Other,
        };
        Event::Read(Ok(Reading {
            digest: digest(self.ours, self.foreign),
            rules,
            foreign: self.foreign != 0,
        }))
    }

    fn keep(&mut self) -> Result<(), String> {
        if !matches!(self.told().map(|record| &record.phase), Some(Phase::Confirmed { .. })) {
            return Err("it makes last what isn't confirmed on disk".to_owned());
        }
        let Some(staged) = self.staged else { return Err("nothing was staged".to_owned()) };
        self.kept = staged;
        Ok(())
    }

    fn wait(&mut self, until: u64) -> Result<Event, String> {
        if self.taken {
            self.requests.remove(0);
            self.taken = false;
        }
        while self.since_boot() < until {
            if self.requests.first().is_some_and(|(at, _)| *at <= self.now) {
                self.taken = true;
                return Ok(Event::Asked(self.requests[0].1.clone()));
            }
            let step = (until - self.since_boot()).min(20);
            self.pass(step);
        }
        Ok(Event::Time)
    }

    /// What may not be told.
    fn judge_announcement(&mut self, record: &Record) -> Result<(), String> {
        let is_late = self.since_boot() >= record.deadline && record.boot_id == self.boot.to_string();
        let was_confirmed = matches!(
            self.told().map(|record| &record.phase),
            Some(Phase::Confirmed { .. } | Phase::Done(Outcome::Confirmed { .. }))
        );
        let is_over = matches!(record.phase, Phase::Confirmed { .. } | Phase::Done(_));
        if record.boot_id != self.boot.to_string() && !is_over {
            return Err("it goes on after a reboot".to_owned());
        }
        match &record.phase {
            Phase::Applying if is_late => Err("it applies after the deadline".to_owned()),
            Phase::Confirmed { ruleset, .. } => {
                let Some((ours, foreign)) = self.last_read else {
                    return Err("it confirms unread".to_owned());
                };
                if is_late {
                    Err("it confirms after the deadline".to_owned())
                } else if *ruleset != digest(ours, foreign) || self.staged != Some(ours) {
                    Err("it confirms something else than was read".to_owned())
                } else if self.kind != Kind::Command && ours != Ours::New {
                    Err("it confirms what was not planned".to_owned())
                } else {
                    Ok(())
                }
            }
            Phase::Done(Outcome::Confirmed { .. }) if !was_confirmed => {
                Err("it says confirmed, and the disk doesn't".to_owned())
            }
            Phase::Done(Outcome::Reverted { reason, .. }) => {
                let untouched = matches!(
                    reason,
                    Reason::Stale { .. } | Reason::Reboot | Reason::NotRecorded | Reason::Deadline
                ) && self.kept == Ours::Old;
                match self.last_read {
                    Some((Ours::Old, _)) => Ok(()),
                    _ if untouched && (self.ours == Ours::Old || self.written_since) => Ok(()),
                    _ if matches!(reason, Reason::Stale { .. }) && self.ours_written => Ok(()),
                    _ => Err("it says reverted, and the kernel isn't".to_owned()),
                }
            }
            _ => Ok(()),
        }
    }

    /// What must hold in the end.
    fn judge(&mut self) -> Result<End, String> {
        let watched = if self.kind == Kind::Command { WATCH_MILLISECONDS } else { 0 };
        if self.chances == Chances::default() && self.now > WINDOW + 2000 + watched {
            return Err("nothing went wrong, and it took that long".to_owned());
        }
        let note = self.told().and_then(|record| record.note.clone());
        let unarmed = self.told().is_none();
        if unarmed {
            return match self.ours {
                Ours::Old | Ours::Other(_) if self.kept == Ours::Old => Ok(End::Reverted),
                _ => Err("a trial that never was armed changed the rules".to_owned()),
            };
        }
        let phase = self.told().map(|record| record.phase.clone());
        let foreign_hand = self.written_since;
        match phase {
            Some(Phase::Done(Outcome::Confirmed { trouble, .. })) => {
                let holds = foreign_hand
                    || self.kind == Kind::Command
                    || self.ours == Ours::New
                    || (self.boot > 0 && trouble.is_some());
                let lasts = trouble.is_some() || self.kept == self.staged.unwrap_or(Ours::Old);
                match (holds || self.last_read.is_some_and(|(ours, _)| ours == self.ours), lasts) {
                    (true, true) => Ok(End::Confirmed),
                    (false, _) => Err("confirmed, and the kernel holds something else".to_owned()),
                    (_, false) => Err("confirmed, and the next boot loads something else".to_owned()),
                }
            }
            Some(Phase::Done(Outcome::Reverted { reason, .. })) => {
                let stale = matches!(reason, Reason::Stale { .. }) && self.ours_written;
                let told = self.worker_wrote && note.is_some();
                if self.ours != Ours::Old && !foreign_hand && !stale && !told {
                    return Err("reverted, and the kernel holds something else".to_owned());
                }
                let is_told = note.as_ref().is_some_and(|note| note.contains("live on"));
                if self.commanded && !self.workers.is_empty() && !is_told {
                    return Err("what the command started lives on, and nobody is told".to_owned());
                }
                if self.commanded && self.workers.iter().any(|worker| !worker.detached || worker.held) {
                    return Err("the command lives on, or is held for ever".to_owned());
                }
                if self.kept != Ours::Old {
                    return Err("reverted, and the next boot loads something else".to_owned());
                }
                Ok(End::Reverted)
            }
            Some(Phase::Done(Outcome::Abandoned { holds, .. })) => {
                self.judge_told(&holds).map(|()| End::Abandoned)
            }
            Some(Phase::Stuck { holds, .. }) if self.never_back => {
                self.judge_told(&holds).map(|()| End::Stuck)
            }
            other => Err(format!("it isn't over in the end: {other:?}")),
        }
    }

    /// Whether what a stuck trial says is what the kernel held when it was read last.
    fn judge_told(&self, holds: &Result<Reading, String>) -> Result<(), String> {
        match (holds, self.last_read) {
            (Ok(reading), Some((ours, foreign))) if reading.digest == digest(ours, foreign) => Ok(()),
            (Ok(_), _) => Err("the operator is told of other rules than the kernel holds".to_owned()),
            (Err(_), _) => Ok(()),
        }
    }
}

fn digest(ours: Ours, foreign: u64) -> String {
    format!("{ours:?}/{foreign}")
}
