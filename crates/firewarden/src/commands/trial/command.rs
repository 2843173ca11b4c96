//! `firewarden guard -- COMMAND`: the protection of a trial around anything that changes rules.

use super::events::Teller;
use super::gone::gone;
use super::probes::Probes;
use super::record::About;
use super::{
    asker, conclude, enter, failed, findings, home, launcher, now, read_state, record, remark,
    revert_on_interrupt, wait_for_end,
};
use crate::cli::trial::Guard;
use crate::commands::Stopped;
use crate::commands::meaning::Subject;
use crate::output::{self, Color};
use firewarden_change::plan::Evidence;
use firewarden_change::trial::{Outcome, Phase, Record};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::guard::{self, Change, Home, MARK, Status, Wish, trial_name};
use firewarden_host::rehearsal::{RehearsalError, load_again};
use firewarden_host::state::State;
use firewarden_store::Kind;
use serde_json::json;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

/// How often the command and the guard are looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs the command.
pub fn run(options: &Guard, color: Color) -> Result<ExitCode, Stopped> {
    enter(&options.place)?;
    let home = home(&options.place.state)?;
    let teller = Teller::new(options.format, color);
    for problem in record::settle(&home)? {
        teller.trouble(&problem);
    }
    let before = read_state()?;
    rehearse(&before, &teller)?;
    let subject = Subject::of(options.stack.as_deref(), options.host.as_deref())?;
    let probes = Probes::before(subject.probes(), &options.probing)?;
    let id = trial_name(&now(), u64::from(std::process::id()));
    let words = options.command.join(" ");
    let details = json!({ "command": options.command, "before": before.digest(), "accepted_findings": options.accept_findings, "probes": probes.commands() });
    record::add(
        &home,
        "guard",
        Kind::Planned,
        About::trial(&id),
        &format!("guarding `{words}` for {} s", options.window),
        details,
    )?;
    let window = Duration::from_secs(u64::from(options.window));
    let change = Change::Command { words: &options.command, window, before: &before };
    let status = guard::start(&home, change, &id, &launcher()?).map_err(|error| failed(&error))?;
    // The guard looks first whether the rules are still those to go back to; the command must not get in its way.
    let ready = guard::wait_for(&home, window, |record| record.phase != Phase::Armed);
    if !matches!(ready.map_err(|error| failed(&error))?, Some(Record { phase: Phase::Applied { .. }, .. })) {
        let outcome = wait_for_end(&home, &status)?;
        return Ok(conclude(&home, &teller, outcome.as_ref()));
    }
    teller.armed(&id, window);
    let outcome = Guarded { options, home: &home, teller: &teller, status: &status, color }
        .attend(&before, &subject, &probes)?;
    match outcome {
        End::Trial(outcome) => {
            let exit = conclude(&home, &teller, outcome.as_ref());
            if !matches!(outcome, Some(Outcome::Confirmed { .. })) {
                teller.note("files that the command wrote, and what running programs think of their rules, are not brought back");
            }
            Ok(exit)
        }
        End::NothingChanged(outcome) => {
            let exit = conclude(&home, &teller, outcome.as_ref());
            let is_quiet = matches!(outcome, Some(Outcome::Reverted { .. })) && remark(&home).is_none();
            if !is_quiet {
                return Ok(exit);
            }
            teller.note("the command changed no rule");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// How it ended.
enum End {
    Trial(Option<Outcome>),
    NothingChanged(Option<Outcome>),
}

struct Guarded<'g> {
    options: &'g Guard,
    home: &'g Home,
    teller: &'g Teller,
    status: &'g Status,
    color: Color,
}

impl Guarded<'_> {
    /// From the armed guard to the end of the trial.
    fn attend(&self, before: &State, subject: &Subject, probes: &Probes<'_>) -> Result<End, Diagnostic> {
        let Some(status) = self.run_command()? else { return Ok(End::Trial(self.end()?)) };
        let words = self.options.command.join(" ");
        self.teller.ran(&words, &status.to_string(), status.success());
        revert_on_interrupt(self.home);
        if !status.success() {
            return self.revert(&format!("the command ended with {status}")).map(End::Trial);
        }
        let after = match read_state() {
            Ok(after) => after,
            Err(problem) => return self.revert(&problem.message).map(End::Trial),
        };
        let digest = after.digest();
        if digest == before.digest() {
            return self.revert("the command changed no rule").map(End::NothingChanged);
        }
        for what in gone(before, &after) {
            self.teller.note(&format!("gone, and it may be another program's: {what}"));
        }
        let evidence = match subject.evidence(before, &after, self.color) {
            Ok(evidence) => evidence,
            Err(stopped) => {
                stopped.tell(self.color);
                return self.revert("the new rules cannot be judged").map(End::Trial);
            }
        };
        self.tell(&evidence);
        let found = findings(&evidence);
        if !found.is_empty() {
            output::complain(&found, &SourceMap::default(), self.color);
            if self.options.accept_findings.is_none() {
                let first = found.first().map(|problem| problem.message.clone()).unwrap_or_default();
                return self.revert(&first).map(End::Trial);
            }
        }
        let broken = probes.after(self.teller, |first| self.ask_back(&format!("a probe fails: {first}")))?;
        if broken {
            return Ok(End::Trial(self.end()?));
        }
        let proved = probes.any_counts() || evidence.intents.iter().any(|intent| intent.after == "pass");
        if self.options.auto_confirm && proved {
            let wish = Wish::Confirm { ruleset: Some(digest) };
            guard::ask(self.home, &wish, asker("proved, and every probe holds"))
                .map_err(|error| failed(&error))?;
        } else {
            if self.options.auto_confirm {
                self.teller.note("nothing was proved or probed, so nothing confirms it by itself: declare intents with `--stack`, or give commands with `--probe`");
            }
            if let Err(error) = guard::end_work(self.home) {
                return self.revert(&format!("nobody could confirm it: {error}")).map(End::Trial);
            }
            let left = guard::status(self.home).map_err(|error| failed(&error))?;
            self.teller.waiting(left.map_or(Duration::ZERO, |status| status.left));
        }
        Ok(End::Trial(self.end()?))
    }

    /// Runs the command to its end; `None` where the trial was over before that, and the guard ends the command.
    fn run_command(&self) -> Result<Option<ExitStatus>, Diagnostic> {
        let Some((program, arguments)) = self.options.command.split_first() else { return Ok(None) };
        let mut child = match Command::new(program).args(arguments).env(MARK, &self.status.terms.id).spawn() {
            Ok(child) => child,
            Err(error) => {
                let why = format!("`{program}` cannot be run: {error}");
                self.revert(&why)?;
                return Err(Diagnostic::error("not-run", why)
                    .help("nothing was changed; check the command after `--`"));
            }
        };
        // A confirmation that came too early would keep a part of the rules.
        if let Err(error) = guard::begin_work(self.home, child.id()) {
            self.teller.trouble(&format!("that the command runs cannot be written: {error}"));
        }
        loop {
            let ended = match child.try_wait() {
                Ok(ended) => ended,
                Err(error) => {
                    self.revert(&format!("the command cannot be waited for: {error}"))?;
                    return Ok(None);
                }
            };
            // Asked after that, since the guard says that it goes back before it ends the command: how it ended is the
            // guard's doing then.
            let over = guard::status(self.home).map_err(|error| failed(&error))?.is_none_or(|status| {
                status
                    .record
                    .is_some_and(|record| !matches!(record.phase, Phase::Armed | Phase::Applied { .. }))
            });
            if let (Some(status), false) = (ended, over) {
                return Ok(Some(status));
            }
            if over {
                // The guard ends it, as it does where nobody waits here.
                self.teller.trouble("the trial is over while the command still runs: it is told to end");
                self.see_off(&mut child)?;
                return Ok(None);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Sees to it that a command is over when its trial is: one that began only then is no guard's any more.
    fn see_off(&self, child: &mut Child) -> Result<(), Diagnostic> {
        self.end()?;
        if matches!(child.try_wait(), Ok(None)) {
            // It may have ended by itself in the meantime.
            let _ = child.kill();
            let _ = child.wait();
            self.teller
                .trouble("the command began when its time was over, and was killed: look at the rules");
        }
        Ok(())
    }

    /// What the new rules mean.
    fn tell(&self, evidence: &Evidence) {
        for line in evidence.changes.iter().chain(&evidence.notes) {
            self.teller.note(line);
        }
        for connection in &evidence.cut {
            self.teller.note(&format!("cut: {connection}"));
        }
    }

    fn revert(&self, why: &str) -> Result<Option<Outcome>, Diagnostic> {
        self.ask_back(why)?;
        self.end()
    }

    fn ask_back(&self, why: &str) -> Result<(), Diagnostic> {
        guard::ask(self.home, &Wish::Revert, asker(why)).map_err(|error| failed(&error)).map(|_| ())
    }

    fn end(&self) -> Result<Option<Outcome>, Diagnostic> {
        wait_for_end(self.home, self.status)
    }
}

/// Refuses to begin where the rules that run couldn't be brought back.
fn rehearse(before: &State, teller: &Teller) -> Result<(), Diagnostic> {
    match load_again(before) {
        Ok(()) => Ok(()),
        Err(RehearsalError::Sandbox(why)) => {
            teller
                .trouble(&format!("whether the rules that run can be loaded again was not tried out: {why}"));
            Ok(())
        }
        Err(error) => Err(Diagnostic::error("no-way-back", error.to_string()).help(
            "nothing was changed; mend these rules first, so that what is listed of them can be loaded",
        )),
    }
}
