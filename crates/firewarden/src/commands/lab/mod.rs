//! `firewarden lab`: labs are built, looked at, entered and ended.

mod install;
mod layout;
pub mod load;

pub use install::packages;

use super::Stopped;
use crate::cli::lab::{Application, Down, Exec, Lab as Options, LabCommand, Status, Up};
use crate::output::{self, Color};
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::application;
use firewarden_lab::place::{self, Ended, Lab, LabError};
use firewarden_lab::supervisor;
use firewarden_lab::up::{self, Event, Launcher, Services, Wanted};
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// The words after the program's name that lead here.
const WORDS: [&str; 1] = ["lab"];

/// Runs it.
pub fn run(options: &Options, color: Color) -> Result<ExitCode, Stopped> {
    match &options.command {
        LabCommand::Up(up) => bring_up(up, color),
        LabCommand::Down(down) => end(down),
        LabCommand::Status(status) => list(status),
        LabCommand::Exec(exec) => enter(exec).map_err(Stopped::from),
        LabCommand::Load(options) => load::run(options, color),
        LabCommand::Users => load::users(),
        LabCommand::Supervise(process) => Ok(supervisor::serve(process.detach, &WORDS)),
        LabCommand::Application(options) => serve(options).map_err(Stopped::from),
    }
}

/// What is wrong with labs, and what to do.
pub fn problem(error: &LabError) -> Diagnostic {
    let (code, help) = match error {
        LabError::NotRoot => {
            ("not-root", "run it with sudo: only root makes network namespaces for services".to_owned())
        }
        LabError::Name(_) => ("lab-name", "give another one with `--name`".to_owned()),
        LabError::Missing(_) => {
            ("no-such-lab", "`firewarden lab status` lists them; `firewarden lab up` builds one".to_owned())
        }
        LabError::Taken(name) => (
            "lab-exists",
            format!(
                "give the new one another name with `--name`, or end it with `firewarden lab down --name {name}`"
            ),
        ),
        LabError::Busy(_) => {
            ("lab-busy", "wait until it has ended, or drill in a lab of its own, without `--name`".to_owned())
        }
        LabError::Host { .. } => ("no-such-host", "name one of those".to_owned()),
        LabError::Record { path, .. } => (
            "lab-record",
            format!(
                "remove `{}` if it isn't of this version; a lab that belongs to it ends with its supervisor",
                path.display()
            ),
        ),
        LabError::Endless(_) => ("lab-stays", "look at its processes with `ps`, and try again".to_owned()),
        LabError::Failed(_) => {
            ("lab-failed", "nothing of it is left; mend what is said and try again".to_owned())
        }
    };
    Diagnostic::error(code, error.to_string()).help(help)
}

fn stopped(error: LabError) -> Stopped {
    Stopped::from(problem(&error))
}

/// How this program is started as a supervisor.
pub fn launcher() -> Result<Launcher, Diagnostic> {
    let program = std::env::current_exe().map_err(|error| {
        Diagnostic::error("own-program", format!("this program's own file can't be found: {error}"))
            .help("call it by its full path")
    })?;
    let words = WORDS.iter().chain(&[supervisor::WORD, "--detach"]);
    let arguments = words.map(|word| (*word).to_owned()).collect();
    Ok(Launcher { program, arguments })
}

fn bring_up(options: &Up, color: Color) -> Result<ExitCode, Stopped> {
    let wanted = wanted(&options.lab.name, options.folder.clone(), Services { pool: options.pool }, color)?;
    packages(options.install)?;
    let shown = std::io::stderr().is_terminal();
    let mut tell = |event: &Event| {
        if let (true, Event::Done { what, at_milliseconds }) = (shown, event) {
            // Nobody is left to be told where the terminal has gone.
            let _ = writeln!(std::io::stderr(), "{:>6.1} s  {what}", *at_milliseconds as f64 / 1000.0);
        }
    };
    let start = Instant::now();
    let lab = up::up(&wanted, &launcher()?, &mut tell).map_err(stopped)?;
    output::print(&format!(
        "lab `{}` is up after {:.1} s\n{}",
        lab.name(),
        start.elapsed().as_secs_f64(),
        first_steps(&lab)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What is asked for, from a folder or from what the program brings along.
pub fn wanted(
    name: &str,
    folder: Option<PathBuf>,
    services: Services,
    color: Color,
) -> Result<Wanted, Stopped> {
    let folder = folder
        .map(|folder| {
            std::path::absolute(&folder).and_then(|path| path.canonicalize()).map_err(|error| {
                Diagnostic::error("unreadable", format!("`{}` can't be read: {error}", folder.display()))
                    .help("name a folder with the web stack's firewarden.yaml, or none for the built-in one")
            })
        })
        .transpose()?;
    let layout = match &folder {
        Some(folder) => layout::of_folder(folder, color)?,
        None => layout::built_in(color)?,
    };
    Ok(Wanted { name: name.to_owned(), folder, layout, services })
}

/// What to type next.
fn first_steps(lab: &Lab) -> String {
    let name = match lab.name() {
        "web" => String::new(),
        name => format!(" --name {name}"),
    };
    let site = lab.site(false).map(|address| address.to_string()).unwrap_or_default();
    format!(
        "\n  a user's request     firewarden lab exec{name} client -- curl -k https://{site}/items\
         \n  a shell on a host    firewarden lab exec{name} edge -- bash\
         \n  its rules            firewarden lab exec{name} edge -- nft list ruleset\
         \n  the end              firewarden lab down{name}\n"
    )
}

fn end(options: &Down) -> Result<ExitCode, Stopped> {
    let start = Instant::now();
    if options.all {
        let (up, stale) = place::sweep().map_err(stopped)?;
        for lab in &up {
            lab.stop().map_err(stopped)?;
        }
        let names: Vec<&str> = up.iter().map(Lab::name).chain(stale.iter().map(String::as_str)).collect();
        let text = match names.is_empty() {
            true => "no lab is up\n".to_owned(),
            false => format!("ended after {:.2} s: {}\n", start.elapsed().as_secs_f64(), names.join(", ")),
        };
        output::print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = &options.lab.name;
    let text = match place::stop(name).map_err(stopped)? {
        Ended::Running => format!("lab `{name}` ended after {:.2} s\n", start.elapsed().as_secs_f64()),
        Ended::Stale => format!("lab `{name}` had ended by itself; its record is removed\n"),
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn list(options: &Status) -> Result<ExitCode, Stopped> {
    let (mut up, stale) = place::sweep().map_err(stopped)?;
    if let Some(name) = &options.name {
        up.retain(|lab| lab.name() == name);
        if up.is_empty() {
            return Err(stopped(LabError::Missing(name.clone())));
        }
    }
    let mut text = String::new();
    for name in &stale {
        text.push_str(&format!("lab `{name}` had ended by itself; its record is removed\n"));
    }
    if up.is_empty() {
        text.push_str("no lab is up\n");
    }
    for lab in &up {
        text.push_str(&described(lab));
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn described(lab: &Lab) -> String {
    let record = lab.record();
    let stack = match &record.folder {
        Some(folder) => folder.display().to_string(),
        None => "the built-in web stack".to_owned(),
    };
    let state = if record.ready { "up" } else { "being built" };
    let services = lab.services().into_iter().map(|(service, runs)| {
        let ended = if runs { "" } else { " (ended)" };
        format!("{} on {}{ended}", service.name, service.host)
    });
    format!(
        "{}: {state} since {}, process {}\n  stack: {stack}\n  hosts: {}\n  services: {}\n",
        record.name,
        record.since,
        record.process,
        lab.hosts().join(", "),
        services.collect::<Vec<_>>().join(", ")
    )
}

/// Becomes the command on the host.
fn enter(options: &Exec) -> Result<ExitCode, Diagnostic> {
    let lab = Lab::open(&options.lab.name).map_err(|error| problem(&error))?;
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(Diagnostic::error("no-command", "no command is given").help("give one after `--`"));
    };
    let mut command = lab.command(&options.host, program).map_err(|error| problem(&error))?;
    let error = command.args(arguments).exec();
    Err(Diagnostic::error("not-started", format!("nsenter can't be started: {error}"))
        .help("install the package util-linux"))
}

/// Serves as the application of a lab.
fn serve(options: &Application) -> Result<ExitCode, Diagnostic> {
    let options = application::Options {
        database4: options.database4,
        database6: options.database6,
        pool: options.pool,
    };
    match application::serve(&options) {
        Ok(never) => match never {},
        Err(error) => Err(Diagnostic::error("application", format!("the application can't serve: {error}"))
            .help("it is started by `firewarden lab up`, on a host of a lab")),
    }
}
