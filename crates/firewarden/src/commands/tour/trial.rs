//! A change on trial with a simulated clock and kernel: the machine that decides is the one that guards run.

use super::site::{Came, Leg, Ports, Site};
use firewarden_change::trial::{
    Asker, Effect, Event, Kind, Origin, Outcome, Phase, Reading, Record, Request, Rules, Trial,
};
use firewarden_diagnostic::Diagnostic;

/// How long the new rules may last unconfirmed, in milliseconds.
pub const WINDOW: u64 = 120_000;
/// New connections that each probe makes, one after the other.
pub const TRIES: u32 = 20;
/// What things take, in milliseconds: about what nft needs for rules of this size, and what `apply` gives a probe.
const SAVING: u64 = 3;
const READING: u64 = 25;
const LOADING: u64 = 30;
const UNDOING: u64 = 20;
const ANSWER: u64 = 1;
const PATIENCE: u64 = 1000;
/// Effects of one trial, at most: it has about a dozen.
const MOST: usize = 100;

/// A probe made from elsewhere, as `apply --probe` runs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// From where to where.
    pub name: String,
    /// Connections that came about.
    pub answered: u32,
    /// What became of the one after these, where it didn't.
    pub failed: Option<Came>,
    /// How long it took, in milliseconds.
    pub took: u64,
}

/// Makes the probes of the web stack: users to the site, load balancer to servers, servers to database.
pub fn probes(site: &Site) -> Result<Vec<Probed>, Diagnostic> {
    let legs = [
        ("internet -> lb:443, IPv4", Leg::Site { ipv6: false, user: 1 }),
        ("internet -> lb:443, IPv6", Leg::Site { ipv6: true, user: 1 }),
        ("lb -> first server:8080", Leg::Server { ipv6: false, server: 0 }),
        ("lb -> second server:8080", Leg::Server { ipv6: false, server: 1 }),
        ("first server -> db:5432", Leg::Database { ipv6: false, server: 0 }),
        ("second server -> db:5432", Leg::Database { ipv6: false, server: 1 }),
    ];
    let mut ports = Ports::default();
    let mut made = Vec::new();
    for (name, leg) in legs {
        let mut probed = Probed { name: name.to_owned(), answered: 0, failed: None, took: 0 };
        for _ in 0..TRIES {
            let came = site.connects(leg, &mut ports)?;
            probed.took += if came == Came::Silent { PATIENCE } else { ANSWER };
            if came != Came::About {
                probed.failed = Some(came);
                break;
            }
            probed.answered += 1;
        }
        made.push(probed);
    }
    Ok(made)
}

/// What is told of a moment of the trial.
pub struct Told {
    /// Simulated milliseconds after its beginning.
    pub at: u64,
    pub what: &'static str,
    pub text: String,
}

/// A trial from its beginning to its end.
pub struct Course {
    pub told: Vec<Told>,
    /// The names of the phases that were saved, in order.
    pub phases: Vec<&'static str>,
    /// The last record.
    pub record: Record,
    /// When the kernel held the new rules, a probe failed first, and it held the old ones again; simulated milliseconds.
    pub loaded: u64,
    pub failed: Option<u64>,
    pub restored: u64,
}

impl Course {
    /// How the trial ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.record.phase {
            Phase::Done(outcome) => Some(outcome),
            _ => None,
        }
    }
}

struct World<'w> {
    at: u64,
    holds: Rules,
    digests: [&'w str; 2],
    /// Probes that are under way, from when the new rules are in force.
    probes: &'w [Probed],
    asked: bool,
    course: Course,
}

/// Runs a trial. `digests` are those of the old and the new rules; without probes, nobody says anything.
pub fn run(digests: [&str; 2], probes: &[Probed]) -> Course {
    let (mut trial, mut effect) =
        Trial::begin(Kind::Scripts { inverse: true }, "simulated", 0, Origin::New { window: WINDOW });
    let course = Course {
        told: Vec::new(),
        phases: Vec::new(),
        record: trial.record().clone(),
        loaded: 0,
        failed: None,
        restored: 0,
    };
    let mut world = World { at: 0, holds: Rules::Old, digests, probes, asked: false, course };
    for _ in 0..MOST {
        if effect == Effect::End {
            break;
        }
        let event = world.carry_out(effect);
        effect = trial.on(world.at, event);
    }
    world.course
}

impl World<'_> {
    fn carry_out(&mut self, effect: Effect) -> Event {
        match effect {
            Effect::Save(record) => {
                self.at += SAVING;
                self.saved(*record);
                Event::Done
            }
            Effect::ReadBack => {
                self.at += READING;
                let [old, new] = self.digests;
                let digest = if self.holds == Rules::Old { old } else { new };
                Event::Read(Ok(Reading { digest: digest.to_owned(), rules: self.holds, foreign: false }))
            }
            Effect::LoadForward { .. } => {
                self.at += LOADING;
                self.holds = Rules::New;
                self.course.loaded = self.at;
                Event::Done
            }
            Effect::LoadInverse | Effect::LoadRollback => {
                self.at += UNDOING;
                self.holds = Rules::Old;
                self.course.restored = self.at;
                Event::Done
            }
            Effect::ResolveInverse => {
                self.at += READING;
                Event::Done
            }
            Effect::Settle | Effect::Stage | Effect::Keep => Event::Done,
            // It isn't a command that is tried here.
            Effect::HoldWorkers | Effect::EndWorkers { .. } => Event::Done,
            Effect::Wait { until } => self.wait(until),
            Effect::Watch { .. } | Effect::End => Event::Time,
        }
    }

    fn saved(&mut self, record: Record) {
        let name = record.phase.name();
        if self.course.phases.last() != Some(&name) {
            self.course.phases.push(name);
            let text = match &record.phase {
                Phase::Armed => format!("the old rules return in {} s unless confirmed", WINDOW / 1000),
                Phase::Applied { .. } => "the kernel holds the new rules, as read back".to_owned(),
                phase => crate::commands::outcome::phase(phase),
            };
            self.tell(name, text);
        }
        self.course.record = record;
    }

    /// Nobody confirms; whoever sees a probe fail asks for the old rules.
    fn wait(&mut self, until: u64) -> Event {
        let first = self.probes.iter().filter(|probe| probe.failed.is_some()).min_by_key(|probe| probe.took);
        let Some(first) = first.filter(|_| !self.asked) else {
            self.at = self.at.max(until);
            return Event::Time;
        };
        self.asked = true;
        let began = self.at;
        self.tell("probing", format!("{} probes, {TRIES} new connections each", self.probes.len()));
        let mut endings: Vec<&Probed> = self.probes.iter().filter(|probe| probe.took <= first.took).collect();
        endings.sort_by_key(|probe| probe.took);
        for probe in endings {
            self.at = began + probe.took;
            let text = match probe.failed {
                None => format!("holds  {}: {} answered", probe.name, probe.answered),
                Some(came) => {
                    let then = match came {
                        Came::Refused => "one refused".to_owned(),
                        _ => format!("nothing for {} s", PATIENCE / 1000),
                    };
                    format!("FAILS  {}: {} answered, then {then}", probe.name, probe.answered)
                }
            };
            self.tell("probe", text);
        }
        self.at = began + first.took;
        self.course.failed = Some(self.at);
        let when = format!("{:.3} s after its beginning (simulated)", self.at as f64 / 1000.0);
        Event::Asked(Request::Revert(Asker::new("apply", &when, &format!("a probe fails: {}", first.name))))
    }

    fn tell(&mut self, what: &'static str, text: String) {
        self.course.told.push(Told { at: self.at, what, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_change::trial::Reason;

    fn failing(took: u64) -> Probed {
        Probed { name: "a -> b".to_owned(), answered: 2, failed: Some(Came::Silent), took }
    }

    #[test]
    fn a_failing_probe_brings_the_old_rules_back() {
        let course = run(["old", "new"], &[failing(1002)]);
        assert!(matches!(course.outcome(), Some(Outcome::Reverted { reason: Reason::Asked(_), .. })));
        let failed = course.failed.unwrap();
        assert!(course.loaded < failed && failed < course.restored && course.restored < failed + 100);
        assert_eq!(course.phases, ["armed", "applying", "applied", "reverting", "done"]);
        assert!(course.told.is_sorted_by_key(|told| told.at));
    }

    #[test]
    fn without_probes_the_deadline_does() {
        let course = run(["old", "new"], &[]);
        assert!(matches!(course.outcome(), Some(Outcome::Reverted { reason: Reason::Deadline, .. })));
        assert!((WINDOW..WINDOW + 100).contains(&course.restored), "{}", course.restored);
    }
}
