//! `firewarden lab load`: users of a lab's site, and what they see.

use super::problem;
use crate::cli::load::{Load, LoadFormat};
use crate::commands::Stopped;
use crate::output::{self, Color};
use firewarden_diagnostic::Diagnostic;
use firewarden_diagnostic::render::Style;
use firewarden_lab::load::view::{View, summary};
use firewarden_lab::load::{Crowd, Line, LoadError, MAX_USERS, Options, Running, serve};
use firewarden_lab::place::Lab;
use nix::sys::signal::{SigSet, Signal};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The words after the program's name that lead to the process which sends.
pub const USERS: [&str; 2] = ["lab", "users"];

/// What the load waits for.
enum Event {
    Line(Line),
    Interrupted,
    /// Nothing more will come, in a good way or a bad one.
    Over,
}

/// Tells lines, and at its end that there are no more.
struct Teller(Sender<Event>);

impl Drop for Teller {
    fn drop(&mut self) {
        // Nobody listens only when the load is over.
        let _ = self.0.send(Event::Over);
    }
}

/// Runs it.
pub fn run(options: &Load, color: Color) -> Result<ExitCode, Stopped> {
    let lab = Lab::open(&options.lab.name).map_err(|error| problem(&error))?;
    let crowd =
        Crowd { new: options.new, kept: options.kept, pooled: options.pooled, ipv6_percent: options.ipv6 };
    let users = [crowd.new, crowd.kept, crowd.pooled].map(u64::from).iter().sum::<u64>();
    if users == 0 || users > MAX_USERS as u64 {
        return Err(wrong(&LoadError::Users(users as usize)).into());
    }
    let wanted = Options {
        rate: options.rate,
        seed: options.seed,
        timeout_milliseconds: options.timeout,
        duration_milliseconds: options.seconds.map(|seconds| seconds * 1000),
        ..Options::of_lab(&lab, crowd)
    };
    let (told, events) = channel();
    interrupts(told.clone());
    let teller = Teller(told);
    let running = Running::in_lab(&lab, &USERS, &wanted, move |line| {
        // As above.
        let _ = teller.0.send(Event::Line(line.clone()));
    });
    follow(running.map_err(|error| wrong(&error))?, &events, options.format, color)
}

/// Tells what comes until the end or an interrupt.
fn follow(
    running: Running,
    events: &Receiver<Event>,
    format: LoadFormat,
    color: Color,
) -> Result<ExitCode, Stopped> {
    let live = format == LoadFormat::Human && std::io::stdout().is_terminal() && capable();
    let mut view = View::new(color.style() != Style::Plain);
    let mut shown = 0;
    let mut interrupted = false;
    while let Ok(event) = events.recv() {
        let line = match event {
            Event::Interrupted => {
                interrupted = true;
                break;
            }
            Event::Line(Line::End(_)) | Event::Over => break,
            Event::Line(line) => line,
        };
        view.take(&line);
        if format == LoadFormat::Json {
            output::print(&(line.json() + "\n"))?;
        } else if live {
            shown = redraw(&view, shown)?;
        }
    }
    let series = if interrupted { running.stop() } else { running.wait() };
    let series = series.map_err(|error| wrong(&error))?;
    match format {
        LoadFormat::Json => output::print(&(Line::End(series.clone()).json() + "\n"))?,
        LoadFormat::Human => {
            output::print(&format!("{}{}", if shown > 0 { "\n" } else { "" }, summary(&series)))?
        }
    }
    let failed = series.users_affected(None) > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Draws over what was drawn; gives back how many lines that is now.
fn redraw(view: &View, shown: usize) -> Result<usize, Diagnostic> {
    let frame = view.frame();
    let over = if shown > 0 { format!("\u{1b}[{shown}A\u{1b}[J") } else { String::new() };
    output::print(&(over + &frame))?;
    Ok(frame.lines().count())
}

/// Whether the terminal can move its cursor.
fn capable() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// The process that sends, on the lab's client.
pub fn users() -> Result<ExitCode, Stopped> {
    serve().map_err(|error| wrong(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Tells of interrupts rather than ending by them: the load has something to say at its end.
fn interrupts(told: Sender<Event>) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    if signals.thread_block().is_err() {
        return;
    }
    let waiting = std::thread::Builder::new().name("interrupts".to_owned());
    // Without the thread, an interrupt doesn't end the load; its time does.
    let _ = waiting.spawn(move || {
        while signals.wait().is_ok() {
            if told.send(Event::Interrupted).is_err() {
                return;
            }
        }
    });
}

/// What is wrong with a load, and what to do.
pub fn wrong(error: &LoadError) -> Diagnostic {
    let help = match error {
        LoadError::Users(_) => "give other numbers with `--new`, `--kept` and `--pooled`",
        LoadError::Family { .. } => "give users addresses of the family of what they reach",
        LoadError::Certificate { .. } => "bring the lab up again: it makes its certificate",
        LoadError::Tls(_) | LoadError::Line { .. } => {
            "bring the lab up again with this version of firewarden; if it stays, report it"
        }
        LoadError::Process { .. } => "install the package util-linux, and run it with sudo",
        LoadError::Ended(_) => "look whether the lab is up, with `firewarden lab status`",
    };
    Diagnostic::error("load-failed", error.to_string()).help(help)
}
