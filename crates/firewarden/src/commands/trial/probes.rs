//! Probes around a change: what worked before it has to work after it.

use super::events::Teller;
use firewarden_change::plan::Probe;
use firewarden_diagnostic::Diagnostic;
use firewarden_host::probe::{Probed, probe_all};
use std::time::Duration;

/// How often a probe that doesn't hold is made before that counts: one lost packet is no broken rule.
const TRIES: usize = 2;

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
        let mut open: Vec<usize> = (0..self.probes.len()).collect();
        let mut broken = Vec::new();
        for attempt in 1..=TRIES {
            let asked: Vec<Probe> =
                open.iter().filter_map(|number| self.probes.get(*number).cloned()).collect();
            let endings =
                probe_all(&asked, None, self.patience, &|_, _| ()).map_err(|error| failed(&error))?;
            let mut again = Vec::new();
            for ((number, probe), probed) in open.iter().zip(&asked).zip(&endings) {
                let held_before = self.before.get(*number).is_some_and(|before| before.holds(probe));
                let holds = probed.holds(probe);
                if !holds && held_before && attempt < TRIES {
                    again.push(*number);
                    continue;
                }
                teller.probed(probe, probed, !holds && !held_before);
                if !holds && held_before {
                    broken.push(probe.intent.clone());
                }
            }
            open = again;
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
