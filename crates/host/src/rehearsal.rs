//! A change of the running rules, tried out in throwaway namespaces before it touches anything: there, and back.

mod kernel_held;

pub use kernel_held::hold_by_kernel;

use crate::direct;
use crate::generation::generation;
use crate::program::{ProgramError, run};
use crate::sandbox::{Rules, Sandbox, SandboxError, interfaces_of};
use crate::state::restore::{Others, scripts};
use crate::state::{State, StateError, stateless_listing};
use firewarden_change::delta::{
    Delta, Listing, ListingError, Manner, TableName, delta, in_running_words, inverse_script,
};
use firewarden_change::plan::{Inverse, Loader, Script};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::{self, ScopedJoinHandle};

/// How often the rules are read anew because they changed in the meantime.
const ATTEMPTS: u32 = 5;

/// The rules that a change starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// All of them.
    pub state: State,
    /// `nft -s -a list ruleset`, of the same generation.
    pub listing: String,
    /// The interfaces that are there.
    pub interfaces: BTreeSet<String>,
}

impl Running {
    /// Reads the rules of the calling thread's network namespace. Changes nothing.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read() -> Result<Running, StateError> {
        for _ in 0..ATTEMPTS {
            let state = State::read()?;
            let listing = match stateless_listing(&state.nft) {
                Some(listing) => listing,
                None => run("nft", &["-s", "-a", "list", "ruleset"])?,
            };
            if generation().map_err(StateError::Generation)? == state.generation {
                return Ok(Running { state, listing, interfaces: interfaces_of()? });
            }
        }
        Err(StateError::Unstable)
    }
}

/// What is to be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Files of nft, in this order.
    pub files: Vec<PathBuf>,
    /// Where they look for others, beside their own folders.
    pub include_paths: Vec<PathBuf>,
    /// Then scripts of iptables, which keep what they don't name.
    pub forward: Vec<Script>,
    /// What takes those back.
    pub back: Vec<Script>,
}

/// Why a change can't be made.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// There is no sandbox here.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The candidate isn't taken.
    #[error("the candidate doesn't load: {0}")]
    Candidate(ProgramError),
    /// Rules that run can't be loaded again: there would be no way back.
    #[error("the running rules can't be loaded again, so there would be no way back: {0}")]
    Running(String),
    /// The way back doesn't load, or leads elsewhere.
    #[error("there is no way back: {0}")]
    Rollback(String),
    /// The way forward doesn't load, or leads elsewhere.
    #[error("no script leads to the candidate's rules: {0}")]
    Forward(String),
    /// A listing isn't understood.
    #[error(transparent)]
    Listing(#[from] ListingError),
}

/// The running rules in a sandbox, with the candidate loaded on top.
#[derive(Debug)]
pub struct Loaded {
    /// `nft -s -a list ruleset` of the running rules, replayed.
    pub before: String,
    /// The replayed rules themselves.
    pub start: State,
    /// The listing with the candidate.
    pub after: String,
    /// Where nft prints running rules in other words once it has read what it printed, as `chain ip t c`.
    pub reworded: Vec<String>,
    /// Where the candidate is loaded.
    sandbox: Sandbox,
}

/// A change that was tried out.
#[derive(Debug)]
pub struct Rehearsed {
    /// The difference, with the handles of the running rules.
    pub delta: Delta,
    /// What is loaded, in this order.
    pub forward: Vec<Script>,
    /// The whole way back.
    pub back: Vec<Script>,
    /// The quick way back; empty where there is none.
    pub inverse: Vec<Inverse>,
    /// What the kernel holds afterwards, in the words that it will be read back in.
    pub result: State,
    /// What loading the candidate once more would change; `None` where it is refused the second time.
    pub twice: Option<Delta>,
    /// What the operator is told.
    pub notes: Vec<String>,
}

/// Loads the running rules in sandboxes and the candidate on top, as it would be loaded here. What doesn't hang on each other
/// is done side by side: listing a long chain takes the kernel a time that grows with its square.
///
/// # Errors
/// [`RehearsalError`].
pub fn load(running: &Running, candidate: &Candidate) -> Result<Loaded, RehearsalError> {
    let (start, loaded) = thread::scope(|scope| {
        let start = scope.spawn(|| Ok(replay(running)?.listed()?));
        let with_candidate = || {
            let sandbox = replay(running)?;
            load_candidate(&sandbox, candidate).map_err(RehearsalError::Candidate)?;
            let after = list(&sandbox)?;
            Ok((sandbox, after))
        };
        let loaded: Result<(Sandbox, String), RehearsalError> = with_candidate();
        (joined(start), loaded)
    });
    let ((start, before), (sandbox, after)) = (start?, loaded?);
    let differs = delta(&Listing::read(&running.listing)?, &Listing::read(&before)?, Manner::Fine, |_| true);
    let reworded = differs.edits.into_iter().map(|edit| edit.place).collect();
    Ok(Loaded { before, start, after, reworded, sandbox })
}

impl Loaded {
    /// What loading the candidate once more would change; `None` where it is refused the second time.
    fn load_again(&self, candidate: &Candidate) -> Result<Option<Delta>, RehearsalError> {
        if load_candidate(&self.sandbox, candidate).is_err() {
            return Ok(None);
        }
        let again = list(&self.sandbox)?;
        Ok(Some(delta(&Listing::read(&self.after)?, &Listing::read(&again)?, Manner::Fine, |_| true)))
    }
}

/// What a thread found out.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, RehearsalError>>) -> Result<T, RehearsalError> {
    // It ends with a panic only where this program has a fault, which is told as one.
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Tries out whether rules can be loaded again as they are: whatever is done to them, this is the way back to them.
///
/// # Errors
/// [`RehearsalError::Running`] where they can't; [`RehearsalError::Sandbox`] where it can't be tried.
pub fn load_again(rules: &State) -> Result<(), RehearsalError> {
    let sandbox = Sandbox::new()?;
    sandbox.add_interfaces(&Rules::of(rules).interfaces());
    for script in scripts(rules, &State::default(), Others::Remove) {
        sandbox.load(&script).map_err(|error| RehearsalError::Running(error.to_string()))?;
    }
    let (wanted, held) = (rules.parts(), sandbox.state()?.parts());
    let names: BTreeSet<&String> = wanted.keys().chain(held.keys()).collect();
    let differ: Vec<&str> =
        names.into_iter().filter(|name| wanted.get(*name) != held.get(*name)).map(String::as_str).collect();
    if differ.is_empty() {
        return Ok(());
    }
    Err(RehearsalError::Running(format!(
        "loaded anew, the kernel holds something else in {}",
        differ.join(", ")
    )))
}

fn load_candidate(sandbox: &Sandbox, candidate: &Candidate) -> Result<(), ProgramError> {
    for file in &candidate.files {
        sandbox.load_nft_file(file, &candidate.include_paths)?;
    }
    candidate.forward.iter().try_for_each(|script| sandbox.load(script))
}

/// Finds scripts that lead from the running rules to those of the candidate, touching only these tables of nft, and tries
/// them out with their ways back.
///
/// # Errors
/// [`RehearsalError`].
pub fn rehearse(
    running: &Running,
    candidate: &Candidate,
    loaded: &Loaded,
    touches: impl Fn(&TableName) -> bool + Sync,
    manners: &[Manner],
) -> Result<Rehearsed, RehearsalError> {
    thread::scope(|scope| {
        let twice = scope.spawn(|| loaded.load_again(candidate));
        let tried = first_that_leads_there(manners, |manner| {
            Trial { running, candidate, loaded, touches: &touches, manner }.run()
        });
        let twice = joined(twice);
        tried.and_then(|rehearsed| Ok(Rehearsed { twice: twice?, ..rehearsed }))
    })
}

/// Tries manners until one does: what nft can't do in one way it may do in a plainer one.
fn first_that_leads_there(
    manners: &[Manner],
    attempt: impl Fn(Manner) -> Result<Rehearsed, RehearsalError>,
) -> Result<Rehearsed, RehearsalError> {
    let mut problem = RehearsalError::Forward("there is none to try".to_owned());
    for manner in manners {
        match attempt(*manner) {
            Err(error @ (RehearsalError::Forward(_) | RehearsalError::Rollback(_))) => problem = error,
            other => return other,
        }
    }
    Err(problem)
}

struct Trial<'t> {
    running: &'t Running,
    candidate: &'t Candidate,
    loaded: &'t Loaded,
    touches: &'t (dyn Fn(&TableName) -> bool + Sync),
    manner: Manner,
}

impl Trial<'_> {
    fn run(&self) -> Result<Rehearsed, RehearsalError> {
        // Loaded in the same way, rules get the same handles; where they didn't, the way there or back would lead elsewhere.
        let Loaded { before: start, start: start_state, .. } = self.loaded;
        let there = self.between(start, &self.loaded.after)?;
        let (reached, back) = thread::scope(|scope| {
            let back = scope.spawn(|| {
                let sandbox = self.go_there(&there)?;
                // From the candidate's rules, and once more from where it leads.
                (0..2).try_for_each(|_| self.roll_back(&sandbox, &there, start, start_state))
            });
            (self.prove(&there, start), joined(back))
        });
        let (mut result, inverse) = reached?;
        back?;
        let mut notes = there.notes.clone();
        if !inverse && self.candidate.forward.is_empty() && !there.is_empty() {
            notes.push("there is no quick way back: the whole rollback does it".to_owned());
        }
        let live = self.between(&self.running.listing, &self.loaded.after)?;
        let script = |text: &str| Script { loader: Loader::Nft, text: text.to_owned() };
        let nft = |text: &str| Some(script(text)).filter(|script| !script.text.is_empty());
        let words = in_running_words(
            &Listing::read(&self.running.state.nft)?,
            &Listing::read(&start_state.nft)?,
            &result.nft,
        );
        if let Some(words) = words {
            result.nft = words;
        }
        Ok(Rehearsed {
            forward: nft(&live.forward).into_iter().chain(self.candidate.forward.iter().cloned()).collect(),
            back: self.candidate.back.iter().cloned().chain(nft(&live.rollback)).collect(),
            inverse: if inverse { live.inverse.clone() } else { Vec::new() },
            delta: live,
            result,
            twice: None,
            notes,
        })
    }

    /// The running rules in a sandbox, with the forward scripts loaded.
    fn go_there(&self, there: &Delta) -> Result<Sandbox, RehearsalError> {
        let sandbox = replay(self.running)?;
        let failed = |error: ProgramError| RehearsalError::Forward(error.to_string());
        load_forward(&sandbox, &there.forward).map_err(failed)?;
        self.candidate.forward.iter().try_for_each(|script| sandbox.load(script)).map_err(failed)?;
        Ok(sandbox)
    }

    /// Whether the forward scripts lead to the candidate's rules. Gives these, and whether the quick way back leads back.
    fn prove(&self, there: &Delta, start: &str) -> Result<(State, bool), RehearsalError> {
        let sandbox = self.go_there(there)?;
        let (result, reached) = sandbox.listed()?;
        if let Some(differs) = self.differs(&reached, &self.loaded.after)? {
            return Err(RehearsalError::Forward(differs));
        }
        let inverse = self.try_inverse(&sandbox, there, start, &reached)?;
        Ok((result, inverse))
    }

    fn between(&self, from: &str, to: &str) -> Result<Delta, RehearsalError> {
        Ok(delta(&Listing::read(from)?, &Listing::read(to)?, self.manner, self.touches))
    }

    /// What differs between two listings, in those tables, in one sentence. Rules that nft prints in other words once it
    /// has read what it printed are the same.
    fn differs(&self, found: &str, wanted: &str) -> Result<Option<String>, RehearsalError> {
        let differs = self.between(found, wanted)?;
        let Some(edit) = differs.edits.first() else { return Ok(None) };
        let again = Sandbox::new()?;
        again.add_interfaces(&self.running.interfaces);
        let replayed = again.replay(&Rules { nft: wanted.to_owned(), scripts: Vec::new() }).is_ok();
        if replayed && self.between(found, &list(&again)?)?.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!("{} is not what was wanted: {:?}", edit.place, edit.lines.first())))
    }

    /// Whether the quick way back leads back.
    fn try_inverse(
        &self,
        sandbox: &Sandbox,
        there: &Delta,
        start: &str,
        reached: &str,
    ) -> Result<bool, RehearsalError> {
        if !self.candidate.forward.is_empty() || self.manner == Manner::Refill {
            return Ok(false);
        }
        let script = inverse_script(&there.inverse, &Listing::read(reached)?);
        let Some(script) = script.filter(|script| load_script(sandbox, script).is_ok()) else {
            return Ok(false);
        };
        Ok(self.differs(&list(sandbox)?, start)?.is_none() && !script.is_empty())
    }

    fn roll_back(
        &self,
        sandbox: &Sandbox,
        there: &Delta,
        start: &str,
        start_state: &State,
    ) -> Result<(), RehearsalError> {
        let refused = |error: ProgramError| RehearsalError::Rollback(error.to_string());
        for script in &self.candidate.back {
            sandbox.load(script).map_err(refused)?;
        }
        load_script(sandbox, &there.rollback).map_err(refused)?;
        if let Some(differs) = self.differs(&list(sandbox)?, start)? {
            return Err(RehearsalError::Rollback(differs));
        }
        if !self.candidate.back.is_empty() && !self.is_as_before(&sandbox.state()?, start_state) {
            return Err(RehearsalError::Rollback("iptables lists other rules than before".to_owned()));
        }
        Ok(())
    }

    /// Whether every part is in the words from before the change: those of the sandbox, into which nft loaded the rules, or
    /// those of the host, where iptables may have loaded them, as it did on the way back. nft has other words for what
    /// iptables made (`ct state related,established`).
    fn is_as_before(&self, found: &State, start: &State) -> bool {
        let (found, start, own) = (found.parts(), start.parts(), self.running.state.parts());
        let names: BTreeSet<&String> = found.keys().chain(start.keys()).collect();
        names.into_iter().all(|name| match found.get(name) {
            Some(part) => start.get(name) == Some(part) || own.get(name) == Some(part),
            None => !start.contains_key(name),
        })
    }
}

/// The running rules in a sandbox.
fn replay(running: &Running) -> Result<Sandbox, RehearsalError> {
    let sandbox = Sandbox::new()?;
    sandbox.add_interfaces(&running.interfaces);
    sandbox.replay(&Rules::of(&running.state)).map_err(|error| RehearsalError::Running(error.to_string()))?;
    Ok(sandbox)
}

fn list(sandbox: &Sandbox) -> Result<String, RehearsalError> {
    sandbox.list().map_err(|error| RehearsalError::Sandbox(error.into()))
}

/// Loads a forward script as the guard does: single rules in the kernel's own words, everything else by nft.
fn load_forward(sandbox: &Sandbox, text: &str) -> Result<(), ProgramError> {
    let script = Script { loader: Loader::Nft, text: text.to_owned() };
    match direct::compile(std::slice::from_ref(&script)) {
        Some(edits) if !edits.is_empty() && sandbox.carry_out(&edits).is_ok() => Ok(()),
        _ => sandbox.load(&script),
    }
}

fn load_script(sandbox: &Sandbox, text: &str) -> Result<(), ProgramError> {
    sandbox.load(&Script { loader: Loader::Nft, text: text.to_owned() })
}
