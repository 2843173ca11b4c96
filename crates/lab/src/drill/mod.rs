//! A scenario on a lab: users, the change as `apply` or `guard` carries it out, and what came of it.
//!
//! What brings the old rules back is always the guard process on the host itself: it needs neither the network nor this
//! process, which only starts it, listens and looks at the clock.

mod course;
mod machine;
mod trial;
mod users;

use crate::load::LoadError;
use crate::place::{Lab, LabError};
use crate::report::{HEAD, Mode, Moment, Run, Verdict, What};
use crate::scenario::Scenario;
use crate::series::{Connections, Series};
use course::Course;
use jiff::Timestamp;
use machine::{Machine, Made};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use trial::Ends;
use users::Users;

/// Connections that time out when the rules have returned were refused by the others: what is due so shortly before the end
/// of the fault isn't counted as seen during it, in milliseconds. The first packet is sent again after a second.
const TAIL: u64 = 1200;

/// Why a run couldn't be made or ended otherwise than by a verdict.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The users.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file or a process of the lab.
    #[error("{what}: {error}")]
    System {
        /// What was being done.
        what: String,
        /// The system's words.
        error: io::Error,
    },
    /// Something in the lab doesn't do what it has to.
    #[error("{0}")]
    Failed(String),
    /// [`Live::interrupted`] was set early.
    #[error("interrupted before the rules were changed")]
    Interrupted,
}

/// A scenario on a lab.
pub struct Live<'l> {
    /// Where.
    pub lab: &'l Lab,
    /// What.
    pub scenario: &'l Scenario,
    /// The texts that the change makes, by the names of the files.
    pub changed: &'l BTreeMap<String, String>,
    /// The words after the program's name that lead to the process of the users.
    pub users: &'l [&'l str],
    /// How long the fault lasts where nothing protects the service, in seconds.
    pub observed: u32,
    /// Set by whoever wants the run to end: what was changed is brought back at once.
    pub interrupted: &'l AtomicBool,
}

impl Live<'_> {
    /// Makes one run. `mode` is [`Mode::Apply`] or [`Mode::Observe`]. What goes wrong is in the run's verdict and findings.
    pub fn run(&self, mode: Mode, number: u32, tell: &mut dyn FnMut(&Moment)) -> Run {
        let start = Timestamp::now();
        let mut course = Course::new(start, tell);
        let (verdict, series) = match self.make(mode, &mut course) {
            Ok((verdict, series)) => (verdict, Some(series)),
            Err(error) => {
                course.findings.push(error.to_string());
                let stopped = matches!(error, DrillError::Interrupted);
                (if stopped { Verdict::Stopped } else { Verdict::Error }, None)
            }
        };
        if verdict == Verdict::Stopped {
            let undone = std::mem::take(&mut course.undone);
            course.findings.extend(undone);
        }
        let (moments, findings) = course.end();
        let end = Timestamp::now();
        Run { number, mode, start, end, verdict, findings, moments, refusal: None, series }
    }

    fn make(&self, mode: Mode, course: &mut Course<'_>) -> Result<(Verdict, Series), DrillError> {
        let Some(prepare) = &self.scenario.prepare else { return self.drill(mode, course) };
        let prepared = Made::make(self.lab, prepare)?;
        let run = self.drill(mode, course);
        prepared.mend()?;
        course.undone.push(format!("what was prepared on {} is undone", prepare.host));
        run
    }

    fn drill(&self, mode: Mode, course: &mut Course<'_>) -> Result<(Verdict, Series), DrillError> {
        let machines = self.machines()?;
        let users = Users::steady(self)?;
        course.zero = users.zero;
        course.at(Timestamp::now(), What::Steady, &users.pace());
        let (mut fault, mut ends) = (None, None);
        let ended = self.trouble(mode, &machines, &users, &mut fault, &mut ends, course);
        // Whatever became of it, the next run needs the rules and the service from before.
        let mended = self.mend(&machines, ends, fault, course);
        let verdict = ended?;
        mended?;
        let restored = users.served_again(self.interrupted);
        let series = users.stop()?;
        Ok((self.judge(mode, verdict, restored, &series, course), series))
    }

    /// An error where the run was interrupted.
    fn go_on(&self) -> Result<(), DrillError> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(DrillError::Interrupted),
            false => Ok(()),
        }
    }

    fn machines(&self) -> Result<Vec<Machine>, DrillError> {
        let host = &self.scenario.change.host.value;
        let found: Vec<Machine> = self
            .lab
            .layout()
            .of_host(host)
            .map(|machine| Machine::new(self.lab, machine, host, &self.scenario.name))
            .collect::<Result<_, _>>()?;
        match found.is_empty() {
            true => Err(DrillError::Failed(format!("the lab has no machine of the host `{host}`"))),
            false => Ok(found),
        }
    }

    /// From the fault to its end. `None` is a verdict that the users' figures decide.
    fn trouble<'s>(
        &'s self,
        mode: Mode,
        machines: &[Machine],
        users: &Users,
        made: &mut Option<Made<'s>>,
        ends: &mut Option<Ends>,
        course: &mut Course<'_>,
    ) -> Result<Option<Verdict>, DrillError> {
        for machine in machines {
            machine.put(self.changed)?;
        }
        if let Some(fault) = &self.scenario.fault {
            *made = Some(Made::make(self.lab, fault)?);
            course.at(Timestamp::now(), What::Injected, &format!("on {}", fault.host));
        }
        self.trials(mode, machines, users, ends, course)
    }

    /// Brings back what isn't back by itself, on every machine, whatever goes wrong on another one. `ends` is nothing where
    /// no trial has begun.
    fn mend(
        &self,
        machines: &[Machine],
        ends: Option<Ends>,
        fault: Option<Made<'_>>,
        course: &mut Course<'_>,
    ) -> Result<(), DrillError> {
        let mut outcome = Ok(());
        for machine in machines {
            let Some(ends) = &ends else { break };
            let end = ends.get(&machine.name);
            if end != Some(&true) {
                if end.is_none() {
                    // Its guard may still wait. Where it doesn't answer, or there is none, the files are loaded all the same.
                    let _ = machine.revert("the drill has ended");
                }
                let loaded = machine.load_original(self.changed);
                if loaded.is_err() {
                    outcome = outcome.and(loaded);
                    continue;
                }
            }
            course.undone.push(format!("the old rules are back on {}", machine.name));
        }
        if let Some(fault) = fault {
            let host = fault.host().to_owned();
            match fault.mend() {
                Ok(()) => course.undone.push(format!("what was broken on {host} is mended")),
                error => outcome = outcome.and(error),
            }
        }
        outcome
    }

    fn judge(
        &self,
        mode: Mode,
        verdict: Option<Verdict>,
        restored: Option<bool>,
        series: &Series,
        course: &mut Course<'_>,
    ) -> Verdict {
        let fault = course.when(What::Committed).or_else(|| course.when(What::Injected));
        let zero = course.zero;
        let moment = |at: u64| zero + Duration::from_millis(at);
        let failing = series.users_of(None).filter_map(|user| user.first_error);
        if let Some(first) = failing.filter(|at| fault.is_some_and(|fault| at + HEAD >= fault)).min() {
            // A request that was due shortly before may have been sent after.
            course.at(moment(first.max(fault.unwrap_or(0))), What::FirstUserError, "");
        }
        // Whoever failed at the start only has nothing to recover from.
        let from = fault.unwrap_or(0).saturating_sub(HEAD);
        match (restored, series.recovered_since(from)) {
            // Before the fault is over, chance may serve everybody.
            (Some(true), Some(at)) => {
                course.at(moment(at.max(course.when(What::Reverted).unwrap_or(0))), What::Restored, "");
            }
            (Some(true), None) => {
                if let Some(reverted) = course.when(What::Reverted) {
                    course.at(moment(reverted), What::Restored, "no request failed");
                }
            }
            (Some(false), _) => course.findings.push("not every user was served again".to_owned()),
            (None, _) => {}
        }
        if let Some(verdict) = verdict {
            return verdict;
        }
        match mode {
            Mode::Observe => self.symptom(series, course),
            _ => self.reverted(course),
        }
        if course.findings.is_empty() { Verdict::Passed } else { Verdict::Failed }
    }

    /// Whether the change was taken back where it has to be, and only there.
    fn reverted(&self, course: &mut Course<'_>) {
        let was = course.when(What::Reverted).is_some();
        let noticed = course.when(What::FirstFailingProbe).is_some();
        match (self.scenario.is_refused(), was, noticed) {
            (true, true, false) => course.findings.push("reverted, but no probe failed".to_owned()),
            (true, false, _) => course.findings.push("not reverted".to_owned()),
            (false, true, _) => course.findings.push("reverted, though the firewall is innocent".to_owned()),
            _ => {}
        }
    }

    /// Whether users saw what the scenario says.
    fn symptom(&self, series: &Series, course: &mut Course<'_>) {
        let from = course.when(What::Injected).unwrap_or(0) + HEAD;
        let ended = course.when(What::Reverted);
        let lasted = u64::from(self.observed) * 1000;
        let until = ended.unwrap_or(from + lasted).saturating_sub(TAIL);
        for kind in Connections::ALL {
            let Some(expected) = self.scenario.expect.errors.get(&kind) else { continue };
            let seen = series.sum(Some(kind), from, until);
            let text = format!(
                "{:.1} % of {} requests over {} connections failed, expected are {} to {} %",
                seen.error_rate() * 100.0,
                seen.requests,
                kind.word(),
                expected.low,
                expected.high
            );
            if !expected.holds(seen.error_rate()) || seen.requests == 0 {
                course.findings.push(text);
            }
        }
    }
}
