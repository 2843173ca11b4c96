//! How the tour is shown: in parts, with time to read each on a terminal.

use super::trial::Told;
use crate::output;
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_diagnostic::Diagnostic;
use firewarden_diagnostic::render::Style;
use std::cell::Cell;
use std::io::IsTerminal;
use std::thread::sleep;
use std::time::Duration;

/// Parts of a tour.
const PARTS: u32 = 7;
/// What reading takes: for each part and for each of its lines. Seven parts of a dozen lines are half a minute.
const PART: Duration = Duration::from_millis(1500);
const LINE: Duration = Duration::from_millis(220);
/// Reading one part takes no longer, and nobody waits longer for the simulated clock.
const LONGEST: Duration = Duration::from_secs(6);

/// Where the tour is shown.
pub struct Stage {
    paced: bool,
    style: Style,
    part: Cell<u32>,
}

impl Stage {
    pub fn new(fast: bool, style: Style) -> Stage {
        Stage { paced: !fast && std::io::stdout().is_terminal(), style, part: Cell::new(0) }
    }

    /// The title.
    pub fn open(&self, title: &str) -> Result<(), Diagnostic> {
        output::print(&format!("{}\n", self.painted(title, Ansi::new().bold())))
    }

    /// A part, with the time that it takes to read the one before.
    pub fn part(&self, title: &str, text: &str) -> Result<(), Diagnostic> {
        let number = self.part.get() + 1;
        self.part.set(number);
        let head = format!("[{number}/{PARTS}] {title}");
        let head = self.painted(&head, AnsiColor::Cyan.on_default().bold());
        output::print(&format!("\n{head}\n\n{text}"))?;
        let lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
        self.wait((PART + LINE.saturating_mul(lines)).min(LONGEST));
        Ok(())
    }

    /// What happened by the simulated clock, at its pace.
    pub fn course(&self, told: &[Told]) -> Result<(), Diagnostic> {
        output::print("\n")?;
        let mut last = 0;
        for moment in told {
            self.wait(Duration::from_millis(moment.at.saturating_sub(last)).min(LONGEST));
            last = moment.at;
            let bad = moment.text.starts_with("FAILS") || matches!(moment.what, "reverting");
            let name = format!("{:<9}", moment.what);
            let name = if bad { self.painted(&name, AnsiColor::Red.on_default().bold()) } else { name };
            output::print(&format!("{:8.3} s  {name}  {}\n", moment.at as f64 / 1000.0, moment.text))?;
        }
        self.wait(PART);
        Ok(())
    }

    fn wait(&self, time: Duration) {
        if self.paced {
            sleep(time);
        }
    }

    fn painted(&self, text: &str, ansi: Ansi) -> String {
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Color => format!("{ansi}{text}{ansi:#}"),
        }
    }
}
