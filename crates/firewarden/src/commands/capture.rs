//! A snapshot of this host, as files in a folder.

use super::Stopped;
use crate::cli::Capture;
use crate::output::{self, Color};
use crate::progress::Progress;
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::snapshot::{self, WriteError};
use firewarden_host::{CaptureError, CaptureOptions};
use firewarden_verify::intent::is_name;
use std::process::ExitCode;

/// What an anonymized host is called if nobody says otherwise.
const HIDDEN_NAME: &str = "host";

/// Runs the command.
pub fn run(options: &Capture, color: Color) -> Result<ExitCode, Stopped> {
    let host = options.host.clone().unwrap_or_else(firewarden_host::host_name);
    if !is_name(&host) {
        let shown = host.replace('`', "'");
        return Err(Stopped::from(
            Diagnostic::error("host-name", format!("`{shown}` can't be the name of a host"))
                .help("give one with `--host`: letters, digits, `_`, `.` and `-`"),
        ));
    }
    let progress = Progress::start("reading this host");
    let wanted = CaptureOptions { host: Some(host), namespace: options.netns.clone(), without_rules: false };
    let mut taken = firewarden_host::capture(&wanted).map_err(|error| Stopped::from(not_taken(&error)))?;
    if options.anonymize {
        let known_as = [taken.manifest.host.clone(), firewarden_host::host_name()];
        taken = firewarden_host::anonymize(&taken, &known_as, options.host.as_deref().unwrap_or(HIDDEN_NAME));
    }
    drop(progress);
    let folder = snapshot::write(&taken, &options.out, options.force)
        .map_err(|error| Stopped::from(not_written(&error)))?;
    let missing: Vec<Diagnostic> =
        taken.manifest.missing.iter().map(|(file, why)| lacking(file, why)).collect();
    output::complain(&missing, &SourceMap::default(), color);
    let names: Vec<&str> = taken.files.keys().map(String::as_str).collect();
    output::print(&format!("{}: {}\n", folder.display(), names.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

fn not_taken(error: &CaptureError) -> Diagnostic {
    let problem = Diagnostic::error("capture-failed", error.to_string().replace('\n', " "));
    match error {
        CaptureError::Namespace { .. } => problem.help(
            "give a name that `ip netns` lists, a path, or the number of a process; entering needs root",
        ),
        CaptureError::Unstable => {
            problem.help("wait until whoever changes the rules is done, then capture again")
        }
        CaptureError::Nothing(_) => problem.help("install nftables and iproute2, or run as root"),
    }
}

fn not_written(error: &WriteError) -> Diagnostic {
    let problem = Diagnostic::error("capture-unwritten", error.to_string());
    match error {
        WriteError::Exists(_) => problem.help("replace the snapshot with `--force`, or give another `--out`"),
        WriteError::NotASnapshot(_) => problem.help("give another `--out`, or another `--host`"),
        WriteError::Io { .. } => problem.help("give a folder with `--out` that you may write to"),
    }
}

/// What a snapshot doesn't have.
pub(super) fn lacking(file: &str, why: &str) -> Diagnostic {
    let message = format!("the snapshot has no `{file}`: {}", why.replace('\n', " "));
    let problem = Diagnostic::warning("capture-incomplete", message);
    let denied = ["permitted", "ermission", "must be root", "Netlink"].iter().any(|word| why.contains(word));
    if denied { problem.help("run as root to have it") } else { problem }
}
