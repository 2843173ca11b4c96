//! A trial that the kernel itself ends, tried out.

use super::{Candidate, Loaded, Rehearsed, Running, list, load_script, replay};
use crate::sandbox::Sandbox;
use firewarden_change::delta::{Listing, Manner, delta, in_running_words, inverse_script};
use firewarden_change::plan::{Inverse, Loader, Script, Switch};
use firewarden_change::switch::{Staged, stage};
use std::fmt::Display;

/// Tries out a trial that the kernel ends by itself ([`firewarden_change::switch`]), `seconds` after it began, and changes
/// what was rehearsed to that. The deadline of the guard should come first.
///
/// # Errors
/// Why the kernel can't hold this one, in half a sentence; then nothing was changed.
pub fn hold_by_kernel(
    running: &Running,
    candidate: &Candidate,
    loaded: &Loaded,
    rehearsed: &mut Rehearsed,
    seconds: u32,
) -> Result<Switch, String> {
    if !candidate.forward.is_empty() {
        return Err("iptables loads a part of it".to_owned());
    }
    let live = stage(&read(&running.listing)?, &read(&loaded.after)?, seconds)?;
    let room = Room { sandbox: replay(running).map_err(words)?, after: &loaded.after };
    let start = room.list()?;
    let before = room.sandbox.state().map_err(words)?;
    let trial = stage(&read(&start)?, &read(&loaded.after)?, seconds)?;
    room.put(&trial.forward)?;
    let mut both = room.sandbox.state().map_err(words)?;
    room.go_back(&trial, &start)?;
    room.settle(&trial)?;
    // As the running kernel will print it, which replayed rules may differ from.
    let told = in_running_words(&read(&running.state.nft)?, &read(&before.nft)?, &both.nft);
    if let Some(told) = told {
        both.nft = told;
    }
    let script = |text: String| Script { loader: Loader::Nft, text };
    let mut settle = vec![Inverse::Command(rehearsed.delta.forward.clone())];
    settle.extend(live.settle);
    rehearsed.forward = vec![script(live.forward)];
    rehearsed.inverse = live.inverse;
    rehearsed.back.push(script(live.clean));
    Ok(Switch::Kernel { staged: both.digest(), parts: both.parts(), settle })
}

/// The running rules in a sandbox, and where they shall lead.
struct Room<'r> {
    sandbox: Sandbox,
    after: &'r str,
}

impl Room<'_> {
    fn list(&self) -> Result<String, String> {
        list(&self.sandbox).map_err(words)
    }

    fn put(&self, script: &str) -> Result<(), String> {
        load_script(&self.sandbox, script).map_err(words)
    }

    fn holds(&self, wanted: &str, what: &str) -> Result<(), String> {
        let found = self.list()?;
        match delta(&read(&found)?, &read(wanted)?, Manner::Fine, |_| true).is_empty() {
            true => Ok(()),
            false => Err(format!("{what} leads elsewhere")),
        }
    }

    /// Both ways back, from a trial that is on; the whole one also where there is nothing to take away.
    fn go_back(&self, trial: &Staged, start: &str) -> Result<(), String> {
        let both = self.list()?;
        let back = inverse_script(&trial.inverse, &read(&both)?).ok_or("its way back isn't found")?;
        self.put(&back)?;
        self.holds(start, "its way back")?;
        self.put(&trial.forward)?;
        for _ in 0..2 {
            self.put(&trial.clean)?;
            self.holds(start, "its whole way back")?;
        }
        Ok(())
    }

    /// The end of a trial that was confirmed.
    fn settle(&self, trial: &Staged) -> Result<(), String> {
        // Rules were loaded anew meanwhile, and have other handles than at the start.
        let old = self.list()?;
        self.put(&trial.forward)?;
        let both = self.list()?;
        let change = delta(&read(&old)?, &read(self.after)?, Manner::Fine, |_| true);
        let settle = inverse_script(&trial.settle, &read(&both)?).ok_or("its end isn't found")?;
        self.put(&format!("{}{settle}", change.forward))?;
        self.holds(self.after, "its end")
    }
}

fn read(text: &str) -> Result<Listing<'_>, String> {
    Listing::read(text).map_err(words)
}

fn words(error: impl Display) -> String {
    error.to_string()
}
