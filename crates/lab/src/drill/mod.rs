//! A scenario on a lab: users, the change as `apply` or `guard` carries it out, and what came of it.
//!
//! What brings the old rules back is always the guard process on the host itself: it needs neither the network nor this
//! process, which only starts it, listens and looks at the clock.

mod machine;
mod users;

use crate::load::LoadError;
use crate::place::{Lab, LabError};
use crate::report::{HEAD, Mode, Moment, Run, Verdict, What};
use crate::scenario::Scenario;
use crate::series::{Connections, Series};
use jiff::Timestamp;
use machine::{Heard, Machine, Made, Said};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use users::Users;

/// How long the new rules may last unconfirmed.
const WINDOW: u32 = 20;
/// A trial that lasts longer than this beyond its window is stopped, in seconds.
const BEYOND: u64 = 15;
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
}

/// What is known so far of a run.
struct Course<'c> {
    zero: Timestamp,
    moments: Vec<Moment>,
    findings: Vec<String>,
    tell: &'c mut dyn FnMut(&Moment),
}

impl Course<'_> {
    fn at(&mut self, when: Timestamp, what: What, detail: &str) {
        let at = u64::try_from(when.duration_since(self.zero).as_millis()).unwrap_or(0);
        let moment = Moment { at, what, detail: detail.to_owned() };
        (self.tell)(&moment);
        self.moments.push(moment);
    }

    fn first(&mut self, when: Timestamp, what: What, detail: &str) {
        if self.moments.iter().all(|moment| moment.what != what) {
            self.at(when, what, detail);
        }
    }

    fn when(&self, what: What) -> Option<u64> {
        self.moments.iter().filter(|moment| moment.what == what).map(|moment| moment.at).min()
    }
}

impl Live<'_> {
    /// Makes one run. `mode` is [`Mode::Apply`] or [`Mode::Observe`]. What goes wrong is in the run's verdict and findings.
    pub fn run(&self, mode: Mode, number: u32, tell: &mut dyn FnMut(&Moment)) -> Run {
        let start = Timestamp::now();
        let mut course = Course { zero: start, moments: Vec::new(), findings: Vec::new(), tell };
        let (verdict, series) = match self.make(mode, &mut course) {
            Ok((verdict, series)) => (verdict, Some(series)),
            Err(error) => {
                course.findings.push(error.to_string());
                (Verdict::Error, None)
            }
        };
        course.moments.sort_by_key(|moment| moment.at);
        Run {
            number,
            mode,
            start,
            end: Timestamp::now(),
            verdict,
            findings: course.findings,
            moments: course.moments,
            refusal: None,
            series,
        }
    }

    fn make(&self, mode: Mode, course: &mut Course<'_>) -> Result<(Verdict, Series), DrillError> {
        let Some(prepare) = &self.scenario.prepare else { return self.drill(mode, course) };
        let prepared = Made::make(self.lab, prepare)?;
        let run = self.drill(mode, course);
        prepared.mend()?;
        run
    }

    fn drill(&self, mode: Mode, course: &mut Course<'_>) -> Result<(Verdict, Series), DrillError> {
        let machines = self.machines()?;
        let users = Users::start(self.lab, self.users)?;
        course.zero = users.zero()?;
        users.steady()?;
        course.at(Timestamp::now(), What::Steady, "");
        let mut fault = None;
        let ended = self.trouble(mode, &machines, &mut fault, course);
        // Whatever became of it, the next run needs the rules and the service from before.
        let mended = self.mend(&machines, fault, course);
        let verdict = ended?;
        mended?;
        let restored = users.served_again();
        let series = users.stop()?;
        Ok((self.judge(mode, verdict, restored, &series, course), series))
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
        made: &mut Option<Made<'s>>,
        course: &mut Course<'_>,
    ) -> Result<Option<Verdict>, DrillError> {
        for machine in machines {
            machine.put(self.changed)?;
        }
        if let Some(fault) = &self.scenario.fault {
            *made = Some(Made::make(self.lab, fault)?);
            course.at(Timestamp::now(), What::Injected, &format!("on {}", fault.host));
        }
        let (heard, events) = channel();
        let mut running = Vec::new();
        match mode {
            Mode::Observe => {
                for machine in machines {
                    running.push(machine.load_for(self.changed, self.observed, heard.clone())?);
                }
            }
            _ => {
                course.at(Timestamp::now(), What::Proposed, "");
                for machine in machines {
                    machine.plan(self.changed, WINDOW)?;
                }
                let reason = format!("drill {}", self.scenario.name);
                for machine in machines {
                    running.push(machine.apply(&reason, heard.clone())?);
                }
            }
        }
        drop(heard);
        let seconds = if mode == Mode::Observe { self.observed } else { WINDOW };
        let until = Instant::now() + Duration::from_secs(u64::from(seconds) + BEYOND);
        let mut ended = BTreeMap::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(event) => self.heard(mode, event, &mut ended, course),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    course.at(Timestamp::now(), What::Stopped, "the change was still on trial");
                    for machine in machines {
                        machine.revert("the drill was stopped")?;
                    }
                    course.findings.push("the trial did not end in time, and was stopped".to_owned());
                    return Ok(Some(Verdict::Stopped));
                }
            }
        }
        for mut process in running {
            process.wait();
        }
        let good = machines.iter().all(|machine| ended.contains_key(&machine.name));
        if !good {
            course.findings.push("not every machine said how its trial ended".to_owned());
            return Ok(Some(Verdict::Error));
        }
        Ok(None)
    }

    fn heard(&self, mode: Mode, event: Heard, ended: &mut BTreeMap<String, bool>, course: &mut Course<'_>) {
        let on = format!("on {}", event.machine);
        match event.said {
            Said::Applied if mode == Mode::Observe => course.first(event.when, What::Injected, &on),
            Said::Applied => course.first(event.when, What::Committed, &on),
            Said::ProbeFailed(name) => {
                course.first(event.when, What::FirstFailingProbe, &format!("{name}, {on}"))
            }
            Said::Ended { reverted, text } => {
                ended.insert(event.machine, reverted);
                if reverted {
                    // The last machine counts.
                    course.moments.retain(|moment| moment.what != What::Reverted);
                    course.at(event.when, What::Reverted, &on);
                } else if mode == Mode::Apply && self.scenario.is_refused() {
                    course.findings.push(format!("not reverted {on}: {text}"));
                }
            }
            Said::Trouble(text) => course.findings.push(format!("{on}: {text}")),
        }
    }

    /// Brings back what isn't back by itself.
    fn mend(
        &self,
        machines: &[Machine],
        fault: Option<Made<'_>>,
        course: &mut Course<'_>,
    ) -> Result<(), DrillError> {
        if let Some(fault) = fault {
            fault.mend()?;
        }
        if course.when(What::Reverted).is_none() {
            for machine in machines {
                machine.load_original(self.changed)?;
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        mode: Mode,
        verdict: Option<Verdict>,
        restored: bool,
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
            (true, Some(at)) => {
                course.at(moment(at.max(course.when(What::Reverted).unwrap_or(0))), What::Restored, "");
            }
            (true, None) => {
                if let Some(reverted) = course.when(What::Reverted) {
                    course.at(moment(reverted), What::Restored, "no request failed");
                }
            }
            (false, _) => course.findings.push("not every user was served again".to_owned()),
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

/// Waits for something that comes soon.
fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
