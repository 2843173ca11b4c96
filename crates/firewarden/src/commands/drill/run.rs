//! `firewarden drill run`: scenarios, on the model and on a lab.

use super::interrupt::Interrupt;
use super::place::Place;
use super::subject::Subject;
use super::{prevent, reports};
use crate::cli::drill::Run as Options;
use crate::commands::Stopped;
use crate::commands::lab::load::USERS;
use crate::output::{self, Color};
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::render::Style;
use firewarden_lab::drill::Live;
use firewarden_lab::report::{self, Drill, Figures, Mode, Moment, Run, Spread, Verdict, What};
use firewarden_lab::scenario::BUILT_IN;
use std::process::ExitCode;

/// A run didn't end as its drill expects.
const OTHERWISE: u8 = 1;

/// Lists the drills that come along.
pub fn list() -> Result<ExitCode, Stopped> {
    let mut text = String::new();
    for built_in in BUILT_IN {
        let subject = Subject::find(built_in.name)?;
        let breaks = match subject.scenario.expect.breaks.as_slice() {
            [] => "nothing: the firewall is innocent".to_owned(),
            names => names.join(", "),
        };
        text += &format!("{:<24}  {}\n{:<24}  breaks {breaks}\n", built_in.name, subject.scenario.title, "");
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs drills.
pub fn run(options: &Options, color: Color) -> Result<ExitCode, Stopped> {
    let names: Vec<&str> = match options.all {
        true => BUILT_IN.iter().map(|known| known.name).collect(),
        false => options.drills.iter().map(String::as_str).collect(),
    };
    let subjects = names.into_iter().map(Subject::find).collect::<Result<Vec<_>, _>>()?;
    let mode = match (options.mode.prevent, options.mode.apply) {
        (true, _) => Mode::Prevent,
        (false, true) => Mode::Apply,
        _ => Mode::Observe,
    };
    if let Some(folder) = &options.report {
        let names: Vec<&str> = subjects.iter().map(|subject| subject.scenario.name.as_str()).collect();
        reports::folder(folder, &names, mode, options.runs, options.force)?;
    }
    let place = match mode {
        Mode::Prevent => None,
        _ => Some(Place::find(options.name.as_deref(), color)?),
    };
    // The model needs no care: it ends by a signal as any program does.
    let signal = place.as_ref().map(|_| Interrupt::heed());
    let is_over = || signal.as_ref().is_some_and(Interrupt::came);
    let teller = Teller { style: color.style() };
    let mut drills = Vec::new();
    for subject in &subjects {
        if is_over() {
            break;
        }
        teller.title(subject)?;
        let mut drill = reports::drill(subject);
        for number in 1..=options.runs {
            let run = match (&place, &signal) {
                (Some(place), Some(signal)) => {
                    live(place, subject, mode, number, options.seconds, signal, &teller)
                }
                _ => prevent::run(subject, number)?,
            };
            teller.ended(&run)?;
            drill.runs.push(run);
            if is_over() {
                break;
            }
        }
        teller.figures(&drill, mode)?;
        if let Some(folder) = &options.report {
            reports::write(folder, &drill)?;
        }
        drills.push(drill);
    }
    if let Some(folder) = &options.report {
        reports::junit(folder, &drills)?;
    }
    if let (Some(signal), Some(place)) = (&signal, place)
        && let Some(code) = signal.code()
    {
        let (name, is_own) = (place.lab.name().to_owned(), place.is_own);
        drop(place);
        let left =
            if is_own { "its lab has ended".to_owned() } else { format!("the lab `{name}` is as before") };
        output::print(&format!("interrupted: {left}\n"))?;
        return Ok(ExitCode::from(code));
    }
    let all = drills.iter().all(Drill::passed);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(OTHERWISE) })
}

fn live(
    place: &Place,
    subject: &Subject,
    mode: Mode,
    number: u32,
    seconds: u32,
    signal: &Interrupt,
    teller: &Teller,
) -> Run {
    let live = Live {
        lab: &place.lab,
        scenario: &subject.scenario,
        changed: &subject.changed,
        users: &USERS,
        observed: seconds,
        interrupted: signal.flag(),
    };
    // Whoever reads may be gone; the drill goes on to its end.
    live.run(mode, number, &mut |moment| {
        let _ = teller.moment(moment);
    })
}

struct Teller {
    style: Style,
}

impl Teller {
    fn title(&self, subject: &Subject) -> Result<(), Stopped> {
        let title = format!("{}: {}", subject.scenario.name, subject.scenario.title);
        Ok(output::print(&format!("{}\n", self.painted(&title, Ansi::new().bold())))?)
    }

    fn moment(&self, moment: &Moment) -> Result<(), Stopped> {
        let color = match moment.what {
            What::FirstFailingProbe | What::FirstUserError | What::Stopped => AnsiColor::Red,
            What::Reverted | What::Restored | What::Steady => AnsiColor::Green,
            _ => AnsiColor::Yellow,
        };
        let word = self.painted(&format!("{:<20}", moment.what.words()), color.on_default().bold());
        let detail = if moment.detail.is_empty() { String::new() } else { format!("  {}", moment.detail) };
        Ok(output::print(&format!("  {:8.3} s  {word}{detail}\n", moment.at as f64 / 1000.0))?)
    }

    fn ended(&self, run: &Run) -> Result<(), Stopped> {
        let color = if run.verdict == Verdict::Passed { AnsiColor::Green } else { AnsiColor::Red };
        let word = self.painted(run.verdict.word(), color.on_default().bold());
        let mut text = format!("  {} {}: {word}", run.mode.word(), run.number);
        let mut time = |what: &str, value: Option<u64>| {
            if let Some(value) = value {
                text += &format!(", {what} {}", report::duration(value as f64));
            }
        };
        time("refused after", run.to_refused());
        time("first failing probe after", run.to_noticed());
        time("old rules back after", run.to_reverted());
        time("users served again after", run.to_restored());
        text.push('\n');
        match &run.refusal {
            Some(refusal) => {
                let place = refusal.place.as_deref().unwrap_or_default();
                text += &format!(
                    "    {}\n    {place}  {}\n",
                    refusal.message,
                    refusal.rule.as_deref().unwrap_or_default()
                );
            }
            None if run.mode == Mode::Prevent => text += "    nothing is refused\n",
            None => {}
        }
        for finding in &run.findings {
            text += &format!("    {finding}\n");
        }
        Ok(output::print(&text)?)
    }

    /// The medians, where there are several runs.
    fn figures(&self, drill: &Drill, mode: Mode) -> Result<(), Stopped> {
        if drill.runs.len() < 2 {
            return Ok(());
        }
        let figures = Figures::of(drill, mode);
        let passed = drill.runs.iter().filter(|run| run.verdict == Verdict::Passed).count();
        let mut text = format!("  {passed} of {} as expected", drill.runs.len());
        let mut median = |what: &str, spread: &Spread| {
            if let Some(value) = spread.median() {
                text += &format!(", {what} {}", report::duration(value));
            }
        };
        median("refused after", &figures.refused);
        median("first failing probe after", &figures.noticed);
        median("old rules back after", &figures.reverted);
        median("users served again after", &figures.restored);
        Ok(output::print(&format!("{text} (medians)\n"))?)
    }

    fn painted(&self, text: &str, ansi: Ansi) -> String {
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Color => format!("{ansi}{text}{ansi:#}"),
        }
    }
}
