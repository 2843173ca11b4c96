//! Reports of drills as files.

use super::subject::Subject;
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::report::{self, Drill};
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

/// Makes the folder, before anything is run for it.
pub fn folder(folder: &Path) -> Result<(), Diagnostic> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))
}

/// Writes page, data and journals of a drill.
pub fn write(folder: &Path, drill: &Drill) -> Result<(), Diagnostic> {
    let name = &drill.scenario;
    put(&folder.join(format!("{name}.html")), &report::page(drill))?;
    put(&folder.join(format!("{name}.json")), &drill.json())?;
    for run in &drill.runs {
        let path = folder.join(format!("{name}-{}-{}.journal.json", run.mode.word(), run.number));
        let text = serde_json::to_string_pretty(&report::journal(drill, run)).unwrap_or_default();
        put(&path, &(text + "\n"))?;
    }
    Ok(())
}

/// Writes all drills as JUnit.
pub fn junit(folder: &Path, drills: &[Drill]) -> Result<(), Diagnostic> {
    put(&folder.join("junit.xml"), &report::junit(drills))
}

fn put(path: &Path, text: &str) -> Result<(), Diagnostic> {
    fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", path.display()))
        .help("give a folder that you may write to")
}
