//! Reports of drills as files.

use super::subject::Subject;
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::report::{self, Drill, Mode};
use std::fs;
use std::path::Path;

/// The drill without runs.
pub fn drill(subject: &Subject) -> Drill {
    let scenario = &subject.scenario;
    Drill {
        version: report::FORMAT_VERSION,
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        about: scenario.about.clone(),
        firewall_to_blame: scenario.is_refused(),
        change: subject.difference(),
        postmortem: scenario.postmortem.clone(),
        stop: scenario.stop.map(|stop| stop.to_string()),
        place: place(),
        runs: Vec::new(),
    }
}

/// Kernel, processors, version.
fn place() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let processors =
        if processors == 1 { "1 processor".to_owned() } else { format!("{processors} processors") };
    let kernel = match kernel.trim() {
        "" => String::new(),
        release => format!("Linux {release}, "),
    };
    format!("{kernel}{processors}, firewarden {}", env!("CARGO_PKG_VERSION"))
}

/// Makes the folder, before anything is run for it. What an earlier call wrote there is replaced only where that is wanted.
pub fn folder(
    folder: &Path,
    names: &[&str],
    mode: Mode,
    runs: u32,
    replaces: bool,
) -> Result<(), Diagnostic> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let files = names.iter().flat_map(|name| {
        let journals = (1..=runs).map(|number| journal(name, mode, number));
        [page(name), data(name)].into_iter().chain(journals)
    });
    let there = files.chain([JUNIT.to_owned()]).map(|name| folder.join(name)).find(|path| path.exists());
    match there {
        Some(path) if !replaces => {
            Err(Diagnostic::error("report-exists", format!("`{}` is there already", path.display()))
                .help("name another folder with `--report`, or replace earlier reports with `--force`"))
        }
        _ => Ok(()),
    }
}

/// Writes page, data and journals of a drill.
pub fn write(folder: &Path, drill: &Drill) -> Result<(), Diagnostic> {
    let name = &drill.scenario;
    put(&folder.join(page(name)), &report::page(drill))?;
    put(&folder.join(data(name)), &drill.json())?;
    for run in &drill.runs {
        let text = serde_json::to_string_pretty(&report::journal(drill, run)).unwrap_or_default();
        put(&folder.join(journal(name, run.mode, run.number)), &(text + "\n"))?;
    }
    Ok(())
}

/// Writes all drills as JUnit.
pub fn junit(folder: &Path, drills: &[Drill]) -> Result<(), Diagnostic> {
    put(&folder.join(JUNIT), &report::junit(drills))
}

const JUNIT: &str = "junit.xml";

fn page(drill: &str) -> String {
    format!("{drill}.html")
}

fn data(drill: &str) -> String {
    format!("{drill}.json")
}

fn journal(drill: &str, mode: Mode, run: u32) -> String {
    format!("{drill}-{}-{run}.journal.json", mode.word())
}

fn put(path: &Path, text: &str) -> Result<(), Diagnostic> {
    fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", path.display()))
        .help("give a folder that you may write to")
}
