//! The guard process: carries out what the machine of [`firewarden_change::trial`] decides.

use super::client::{REQUESTS, RequestFile};
use super::folder::{Job, Terms, read_terms, script};
use super::loader::{Input, PATIENCE, load};
use super::reading::Reader;
use super::slots::Slots;
use super::workers::Workers;
use super::{clock, files, keep, raw};
use crate::generation::generation;
use crate::kernel::{is_overtaken, next};
use crate::state::State;
use crate::state::restore::{Others, scripts};
use firewarden_change::delta::{Listing, inverse_script};
use firewarden_change::plan::{Loader, Script};
use firewarden_change::trial::{Effect, Event, Kind, Origin, Outcome, Phase, Reading, Request, Rules, Trial};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::setsid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// How often a waiting guard looks for requests.
const GLANCE: Duration = Duration::from_millis(20);
/// How long after one standby another is started at the earliest, in milliseconds.
const STANDBY_PAUSE: u64 = 100;
/// Makes the guard leave its parent and session first.
pub(super) const DETACH: &str = "--detach";

/// Guards the trial in a folder until it is over: what the program does when it is started with the arguments of
/// [`super::Launcher`]. The arguments end in the folder; with `detach`, the process starts itself again in a session of
/// its own, without that argument, and ends. Must be called on the main thread, which the loaders' lives hang on.
pub fn serve(folder: &Path, detach: bool) -> ExitCode {
    let served = if detach { leave() } else { guard(folder, true) };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the guard gives up: {error}"));
            ExitCode::from(4)
        }
    }
}

/// Starts this program again, in a session of its own and without anybody who waits for it.
fn leave() -> io::Result<()> {
    setsid()?;
    again()?.spawn().map(|_| ())
}

/// This program with its arguments, but for [`DETACH`]. It is the same program even if its file was replaced.
fn again() -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    let arguments: Vec<OsString> =
        std::env::args_os().skip(1).filter(|argument| argument != DETACH).collect();
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// A line in the guard's log, which nothing depends on.
pub(super) fn say(line: &str) {
    let line =
        format!("{{\"at\":{},\"pid\":{},\"says\":{line:?}}}\n", clock::since_boot(), std::process::id());
    // The disk may be full.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Goes on with a trial whose guards are all dead, in this process and without a standby.
pub(super) fn finish(folder: &Path) -> io::Result<()> {
    guard(folder, false)
}

fn guard(folder: &Path, has_standby: bool) -> io::Result<()> {
    // Only SIGKILL ends a guard before its trial is over.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGPIPE] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let path = folder.join("lock");
    let lock = File::open(&path)?;
    lock.lock()?;
    // Meanwhile, the folder may have been archived, and another trial begun in its place.
    let is_own = match (lock.metadata(), path.metadata()) {
        (Ok(held), Ok(there)) => held.ino() == there.ino() && held.dev() == there.dev(),
        _ => false,
    };
    if !is_own {
        return Ok(());
    }
    let slots = Slots::open(&folder.join("state"))?;
    let saved = slots.last()?.map(|(_, record)| record);
    if saved.as_ref().is_some_and(|record| record.phase.is_done()) {
        return Ok(());
    }
    let terms = read_terms(folder)?;
    let boot_id = clock::boot_id()?;
    let home = folder.parent().unwrap_or(folder).to_path_buf();
    let kind = match &terms.job {
        Job::Plan { inverse, direct, .. } => {
            Kind::Scripts { inverse: !inverse.is_empty() || direct.is_some() }
        }
        Job::Command { .. } => Kind::Command,
    };
    let is_first = saved.as_ref().is_none_or(|record| record.phase == Phase::Armed);
    let origin = match saved {
        Some(record) => {
            let inverse = files::read_reserved(&folder.join(INVERSE)).is_some();
            Origin::Saved { record: Box::new(record), inverse }
        }
        None => Origin::New { window: terms.window_milliseconds },
    };
    let mut guard = Guard {
        reader: Reader::new(&terms, &boot_id, is_first),
        back: Back::read(folder, &terms)?,
        workers: Workers::new(folder, &terms.id),
        folder: folder.to_path_buf(),
        home,
        terms,
        lock,
        slots,
        has_standby,
        standby: None,
        standby_since: 0,
        asked: None,
        raw: None,
        proof: None,
    };
    guard.keep_standby();
    let (mut trial, mut effect) = Trial::begin(kind, &boot_id, clock::since_boot(), origin);
    while effect != Effect::End {
        say(&name(&effect));
        let event = guard.carry_out(effect);
        if let Event::Failed(words) | Event::Read(Err(words)) = &event {
            say(words);
        }
        effect = trial.on(clock::since_boot(), event);
        // Whoever took the folder away took the way back away too; there is nobody to tell.
        if matches!(trial.record().phase, Phase::Stuck { .. }) && !path.exists() {
            say("the trial's folder is gone");
            return Ok(());
        }
    }
    guard.end(&trial.record().phase);
    Ok(())
}

/// The file of the quick way back.
pub(super) const INVERSE: &str = "inverse.nft";

/// An effect in two words.
fn name(effect: &Effect) -> String {
    match effect {
        Effect::Save(record) => format!("save {}", record.phase.name()),
        Effect::ReadBack => "read back".to_owned(),
        Effect::LoadForward { .. } => "load forward".to_owned(),
        Effect::Settle => "settle".to_owned(),
        Effect::ResolveInverse => "resolve inverse".to_owned(),
        Effect::LoadInverse => "load inverse".to_owned(),
        Effect::LoadRollback => "load rollback".to_owned(),
        Effect::HoldWorkers => "hold workers".to_owned(),
        Effect::EndWorkers { .. } => "end workers".to_owned(),
        Effect::Watch { .. } => "watch".to_owned(),
        Effect::Stage => "stage".to_owned(),
        Effect::Keep => "keep".to_owned(),
        Effect::Wait { .. } => "wait".to_owned(),
        Effect::End => "end".to_owned(),
    }
}

/// What a guard has in its hands.
struct Guard {
    folder: PathBuf,
    home: PathBuf,
    terms: Terms,
    lock: File,
    slots: Slots,
    reader: Reader,
    back: Back,
    workers: Workers,
    has_standby: bool,
    standby: Option<Child>,
    /// When the last standby was started, in milliseconds since boot.
    standby_since: u64,
    /// The request that is being dealt with.
    asked: Option<PathBuf>,
    /// The quick way back, as far as it is known while the change is being made.
    raw: Option<raw::WayBack>,
    /// The listing that is being made of rules which were told to the kernel directly.
    proof: Option<Receiver<Result<State, String>>>,
}

impl Guard {
    fn carry_out(&mut self, effect: Effect) -> Event {
        match effect {
            Effect::Save(record) => event(self.slots.save(&record).map_err(|error| error.to_string())),
            Effect::ReadBack => Event::Read(self.reader.read()),
            Effect::LoadForward { until } => self.load_forward(until),
            Effect::ResolveInverse => event(self.resolve_inverse()),
            Effect::Settle => event(self.settle()),
            Effect::LoadInverse => event(self.load_inverse()),
            Effect::LoadRollback => event(self.load_rollback()),
            Effect::HoldWorkers => event(self.workers.hold()),
            Effect::EndWorkers { all } => event(self.workers.end(all)),
            Effect::Watch { until } => self.watch(until),
            Effect::Stage => event(self.stage()),
            Effect::Keep => {
                let kept = keep::keep(&self.home, &self.terms.id, self.persist());
                event(kept.map_err(|error| error.to_string()))
            }
            Effect::Wait { until } => self.wait(until),
            Effect::End => Event::Done,
        }
    }

    fn persist(&self) -> Option<&super::folder::StagedFile> {
        match &self.terms.job {
            Job::Plan { persist, .. } => persist.as_deref(),
            Job::Command { .. } => None,
        }
    }

    fn load_forward(&mut self, until: u64) -> Event {
        if let Job::Plan { direct: Some(edits), parent, .. } = &self.terms.job {
            match raw::load_directly(edits, parent, &mut self.reader, until) {
                Ok(back) => {
                    self.raw = back;
                    return Event::Done;
                }
                Err(raw::NotLoaded::Overtaken(holds)) => return Event::Overtaken(holds),
                Err(raw::NotLoaded::Refused(words)) => say(&format!("not loaded directly: {words}")),
            }
        }
        event(self.load_scripts(until))
    }

    fn load_scripts(&mut self, until: u64) -> Result<(), String> {
        let Job::Plan { forward, inverse, .. } = &self.terms.job else {
            return Err("there is nothing to load".to_owned());
        };
        self.raw = raw::WayBack::from_now(inverse);
        for (index, loader) in forward.iter().enumerate() {
            load(*loader, Input::File(&script(&self.folder, "forward", index)), &self.lock, until)?;
        }
        Ok(())
    }

    fn load_rollback(&self) -> Result<(), String> {
        let until = clock::since_boot().saturating_add(PATIENCE);
        let made;
        let scripts = match &self.back {
            Back::Scripts(scripts) => scripts,
            Back::Rules(before) => {
                let now = State::read().map_err(|error| error.to_string())?;
                made = scripts(before, &now, Others::Remove);
                &made
            }
        };
        // Several tables of iptables: one that can't be brought back doesn't keep the others from it.
        let load = |Script { loader, text }: &Script| load(*loader, Input::Text(text), &self.lock, until);
        scripts.iter().map(load).fold(Ok(()), Result::and)
    }

    fn resolve_inverse(&mut self) -> Result<(), String> {
        let Job::Plan { inverse, .. } = &self.terms.job else {
            return Err("there is no quick way back".to_owned());
        };
        if let Some(messages) = self.raw.take().and_then(raw::WayBack::into_text)
            && files::fill_reserved(&self.folder.join(INVERSE), &messages).is_ok()
        {
            return Ok(());
        }
        let listing = Listing::read(&self.reader.state()?.nft).map_err(|error| error.to_string())?;
        let script = inverse_script(inverse, &listing)
            .ok_or_else(|| "a rule of the quick way back was not found".to_owned())?;
        files::fill_reserved(&self.folder.join(INVERSE), &script).map_err(|error| error.to_string())
    }

    /// Leaves the new rules alone of those that stand side by side.
    fn settle(&mut self) -> Result<(), String> {
        let Job::Plan { settle: Some(settle), .. } = &self.terms.job else {
            return Err("there is nothing to settle".to_owned());
        };
        let listing = Listing::read(&self.reader.state()?.nft).map_err(|error| error.to_string())?;
        let script = inverse_script(&settle.steps, &listing)
            .ok_or_else(|| "a rule that leads to the new ones was not found".to_owned())?;
        let until = clock::since_boot().saturating_add(PATIENCE);
        load(Loader::Nft, Input::Text(&script), &self.lock, until)
    }

    fn load_inverse(&mut self) -> Result<(), String> {
        let script = files::read_reserved(&self.folder.join(INVERSE))
            .ok_or_else(|| "the quick way back was not saved".to_owned())?;
        let generation = self.reader.generation_of(Rules::New);
        if let Some(gone) = raw::go_back(&script, generation) {
            let gone = match (gone, generation) {
                (Ok(()), Some(generation)) => {
                    self.reader.moved(next(generation), Rules::Old);
                    Ok(())
                }
                // Others may change their own rules; whether they changed ours is read back.
                (Err(error), Some(_)) if is_overtaken(&error) => {
                    raw::go_back(&script, None).unwrap_or(Err(error))
                }
                (gone, _) => gone,
            };
            return gone.map_err(|error| format!("the kernel refuses the quick way back: {error}"));
        }
        let until = clock::since_boot().saturating_add(PATIENCE);
        load(Loader::Nft, Input::Text(&script), &self.lock, until)
    }

    fn stage(&mut self) -> Result<(), String> {
        let touched = self.reader.touched()?;
        let state = self.reader.state()?;
        let plan = match &self.terms.job {
            Job::Plan { hash, .. } => Some(hash.as_str()),
            Job::Command { .. } => None,
        };
        // The room was kept free for this.
        files::remove_file(&self.folder.join("reserve")).map_err(|error| error.to_string())?;
        let source = keep::Source { trial: &self.terms.id, plan, touched: touched.as_ref() };
        keep::stage(&self.home, state, source).map_err(|error| error.to_string())
    }

    /// Waits for a request; the first in the order of [`REQUESTS`] counts.
    fn wait(&mut self, until: u64) -> Event {
        self.put_back();
        if self.proof.is_none() && self.reader.is_unproven() {
            self.proof = Some(list_aside());
        }
        loop {
            self.keep_standby();
            if let Some(reading) = self.disproof() {
                return Event::Read(Ok(reading));
            }
            for (file, spare) in REQUESTS {
                let path = self.folder.join(file);
                let Ok(text) = std::fs::read(&path) else { continue };
                self.asked = Some(self.folder.join(spare));
                match RequestFile::read(file, &text) {
                    Some(request) => {
                        say(&format!("asked: {file}"));
                        return Event::Asked(request);
                    }
                    None => {
                        say(&format!("`{file}` is not understood"));
                        self.put_back();
                    }
                }
            }
            let now = clock::since_boot();
            if now >= until {
                return Event::Time;
            }
            std::thread::sleep(GLANCE.min(Duration::from_millis(until - now)));
        }
    }

    /// Waits, but not when the rules move. Changes that the kernel doesn't count are seen when they are read again.
    fn watch(&mut self, until: u64) -> Event {
        let (before, had) = (self.reader.generation(), self.workers.live());
        loop {
            self.keep_standby();
            let now = clock::since_boot();
            let moved = before.is_some_and(|before| generation().is_ok_and(|now| now != before));
            if moved || now >= until {
                return Event::Time;
            }
            if had && !self.workers.live() {
                return Event::Done;
            }
            std::thread::sleep(GLANCE.min(Duration::from_millis(until - now)));
        }
    }

    /// What the kernel holds, where a listing shows that it isn't what it was told.
    fn disproof(&mut self) -> Option<Reading> {
        let listed = match self.proof.as_ref()?.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("it was not made".to_owned()),
            Ok(listed) => listed,
        };
        self.proof = None;
        match listed {
            Ok(state) => self.reader.prove(state),
            Err(words) => {
                // It is made again before anything is confirmed.
                say(&format!("no listing: {words}"));
                None
            }
        }
    }

    /// Takes a request away that was dealt with. Its file serves the next one, which needs no room then.
    fn put_back(&mut self) {
        let Some(spare) = self.asked.take() else { return };
        let request = REQUESTS.iter().find(|(_, of)| spare.ends_with(of));
        if let Some((file, _)) = request {
            // Where that fails, the request is dealt with again, which does no harm.
            let _ = std::fs::rename(self.folder.join(file), spare);
        }
    }

    /// Sees to it that there is another guard that waits for this one's end.
    fn keep_standby(&mut self) {
        let lives = self.standby.as_mut().is_some_and(|standby| matches!(standby.try_wait(), Ok(None)));
        let now = clock::since_boot();
        if !self.has_standby || lives {
            return;
        }
        if self.standby.is_some() && now < self.standby_since + STANDBY_PAUSE {
            return;
        }
        self.standby_since = now;
        match again().and_then(|mut command| command.spawn()) {
            Ok(child) => self.standby = Some(child),
            Err(error) => say(&format!("there is no standby: {error}")),
        }
    }

    /// Cleans up what a trial leaves that is over.
    fn end(&mut self, phase: &Phase) {
        self.put_back();
        // Nothing depends on any of it.
        if !matches!(phase, Phase::Done(Outcome::Confirmed { .. })) {
            let _ = keep::discard(&self.home, self.persist());
        }
        let _ = files::remove_file(&self.folder.join("reserve"));
        say("end");
    }
}

/// Lists the rules on a thread of its own, which ends with the process at the latest.
fn list_aside() -> Receiver<Result<State, String>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more where the trial went on.
        let _ = sender.send(State::read().map_err(|error| error.to_string()));
    });
    receiver
}

fn event(result: Result<(), String>) -> Event {
    match result {
        Ok(()) => Event::Done,
        Err(words) => Event::Failed(words),
    }
}

/// The whole way back, read before anything is loaded: it needs no disk then.
enum Back {
    /// A plan's scripts.
    Scripts(Vec<Script>),
    /// The rules from before; the scripts hang on what a command makes of them.
    Rules(Box<State>),
}

impl Back {
    fn read(folder: &Path, terms: &Terms) -> io::Result<Back> {
        match &terms.job {
            Job::Plan { rollback, .. } => {
                let text = |index| std::fs::read_to_string(script(folder, "rollback", index));
                let scripts = rollback.iter().enumerate();
                let scripts =
                    scripts.map(|(index, loader)| Ok(Script { loader: *loader, text: text(index)? }));
                Ok(Back::Scripts(scripts.collect::<io::Result<_>>()?))
            }
            Job::Command { .. } => {
                let (_, before) = keep::read_ruleset(&folder.join("before"))?;
                Ok(Back::Rules(Box::new(before)))
            }
        }
    }
}

impl RequestFile {
    /// What the text of a request's file asks for.
    fn read(file: &str, text: &[u8]) -> Option<Request> {
        let RequestFile { asker, ruleset } = serde_json::from_slice(text).ok()?;
        match file {
            "revert.request" => Some(Request::Revert(asker)),
            "confirm.request" => Some(Request::Confirm { asker, ruleset }),
            "abandon.request" => Some(Request::Abandon(asker)),
            _ => None,
        }
    }
}
