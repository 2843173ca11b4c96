//! The trials of a run: one on each machine of the host whose rules are changed, from the fault to their end.

use super::machine::{Heard, Machine, Said};
use super::users::Users;
use super::{Course, DrillError, Live};
use crate::report::{Mode, Verdict, What};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long the new rules may last unconfirmed.
const WINDOW: u32 = 60;
/// A trial that lasts longer than this beyond its window is stopped.
const BEYOND: Duration = Duration::from_secs(40);
/// How long a trial that was asked for the old rules may take until it says that they are back.
const WAY_BACK: Duration = Duration::from_secs(60);
/// Where one machine has its old rules back, the others are asked for theirs after this.
const ALONE: Duration = Duration::from_secs(1);
/// How often it is looked whether something ends the run early.
const GLANCE: Duration = Duration::from_millis(100);

/// How the trials ended, by the machines' names: whether the old rules are back.
pub type Ends = BTreeMap<String, bool>;

impl Live<'_> {
    /// Begins a trial on each machine, and waits for their ends. `None` is a verdict that the users' figures decide.
    pub(super) fn trials(
        &self,
        mode: Mode,
        machines: &[Machine],
        users: &Users,
        ends: &mut Option<Ends>,
        course: &mut Course<'_>,
    ) -> Result<Option<Verdict>, DrillError> {
        let (heard, events) = channel();
        let mut running = Vec::new();
        if mode == Mode::Observe {
            self.go_on()?;
            *ends = Some(Ends::new());
            for machine in machines {
                running.push(machine.load_for(self.changed, self.observed, heard.clone())?);
            }
        } else {
            course.at(Timestamp::now(), What::Proposed, "");
            for machine in machines {
                machine.plan(self.changed, WINDOW)?;
            }
            self.go_on()?;
            *ends = Some(Ends::new());
            let reason = format!("drill {}", self.scenario.name);
            for machine in machines {
                running.push(machine.apply(&reason, heard.clone())?);
            }
        }
        drop(heard);
        let ends = ends.get_or_insert_default();
        if self.listen(mode, machines, &events, users, ends, course) {
            return Ok(Some(Verdict::Stopped));
        }
        for mut process in running {
            process.wait();
        }
        if machines.iter().all(|machine| ends.contains_key(&machine.name)) {
            return Ok(None);
        }
        course.findings.push("not every machine said how its trial ended".to_owned());
        Ok(Some(Verdict::Error))
    }

    /// Listens until every trial has ended by itself, or was ended early, which is true.
    fn listen(
        &self,
        mode: Mode,
        machines: &[Machine],
        events: &Receiver<Heard>,
        users: &Users,
        ends: &mut Ends,
        course: &mut Course<'_>,
    ) -> bool {
        let seconds = if mode == Mode::Observe { self.observed } else { WINDOW };
        let mut until = Instant::now() + Duration::from_secs(u64::from(seconds)) + BEYOND;
        let (mut stopped, mut first_back) = (false, None);
        loop {
            match events.recv_timeout(GLANCE) {
                Ok(event) => self.heard(mode, event, ends, course),
                Err(RecvTimeoutError::Disconnected) => return stopped,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if stopped {
                if Instant::now() >= until {
                    return stopped;
                }
                continue;
            }
            if let Some(why) = self.why_stop(users, course, until) {
                course.at(Timestamp::now(), What::Stopped, &why);
                course.findings.push(format!("stopped: {why}"));
                ask_back(machines, ends, "the drill was stopped");
                (stopped, until) = (true, Instant::now() + WAY_BACK);
            } else if ends.values().any(|&is_back| is_back) {
                let since = *first_back.get_or_insert_with(Instant::now);
                if since.elapsed() >= ALONE {
                    ask_back(machines, ends, "another machine of the host has its old rules back");
                    first_back = Some(Instant::now() + BEYOND);
                }
            }
        }
    }

    /// What ends the trials before they end by themselves.
    fn why_stop(&self, users: &Users, course: &Course<'_>, until: Instant) -> Option<String> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some("interrupted".to_owned());
        }
        if Instant::now() >= until {
            return Some("the change was still on trial".to_owned());
        }
        // What users saw before the fault isn't its doing.
        let fault = course.when(What::Injected).or_else(|| course.when(What::Committed))?;
        let stop = self.scenario.stop.filter(|stop| users.see_more_than(stop, fault))?;
        Some(stop.to_string())
    }

    fn heard(&self, mode: Mode, event: Heard, ends: &mut Ends, course: &mut Course<'_>) {
        let on = format!("on {}", event.machine);
        match event.said {
            Said::Applied if mode == Mode::Observe => course.first(event.when, What::Injected, &on),
            Said::Applied => course.first(event.when, What::Committed, &on),
            Said::ProbeFailed(name) => {
                course.first(event.when, What::FirstFailingProbe, &format!("{name}, {on}"))
            }
            Said::Ended { reverted, text } => {
                ends.insert(event.machine, reverted);
                if reverted {
                    // The last machine counts.
                    course.last(event.when, What::Reverted, &on);
                } else if mode == Mode::Apply && self.scenario.is_refused() {
                    course.findings.push(format!("not reverted {on}: {text}"));
                }
            }
            Said::Trouble(text) => course.findings.push(format!("{on}: {text}")),
        }
    }
}

/// Asks every machine for its old rules that hasn't said how its trial ended. Whether one was heard shows in what it says
/// then; one whose trial is over by now has nothing to revert.
fn ask_back(machines: &[Machine], ends: &Ends, why: &str) {
    for machine in machines.iter().filter(|machine| !ends.contains_key(&machine.name)) {
        let _ = machine.revert(why);
    }
}
