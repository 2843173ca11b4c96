//! Probes around a change: what worked before it has to work after it.

use super::events::Teller;
use firewarden_change::plan::Probe;
use firewarden_diagnostic::Diagnostic;
use firewarden_host::probe::{Probed, probe_all};
use std::time::Duration;

/// Probes with how they went before the change.
pub struct Probes<'p> {
    probes: &'p [Probe],
    before: Vec<Probed>,
    patience: Duration,
}

impl<'p> Probes<'p> {
    /// Makes each probe once, so that what is broken already isn't blamed on the change.
    pub fn before(probes: &'p [Probe], patience: Duration) -> Result<Probes<'p>, Diagnostic> {
        let before = probe_all(probes, None, patience, &|_, _| ()).map_err(|error| failed(&error))?;
        Ok(Probes { probes, before, patience })
    }

    /// Makes them again, and tells how they go. Gives the intents that don't hold any more.
    pub fn after(&self, teller: &Teller) -> Result<Vec<String>, Diagnostic> {
        let endings =
            probe_all(self.probes, None, self.patience, &|_, _| ()).map_err(|error| failed(&error))?;
        let mut broken = Vec::new();
        for ((probe, before), after) in self.probes.iter().zip(&self.before).zip(&endings) {
            let (held, holds) = (before.holds(probe), after.holds(probe));
            teller.probed(probe, after, !holds && !held);
            if held && !holds {
                broken.push(probe.intent.clone());
            }
        }
        broken.dedup();
        Ok(broken)
    }

    /// Whether there is any probe that says something.
    pub fn any_counts(&self) -> bool {
        self.probes.iter().zip(&self.before).any(|(probe, before)| before.holds(probe))
    }
}

fn failed(error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("probe", format!("no probe can be made: {error}"))
}
