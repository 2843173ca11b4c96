//! The Debian packages that a lab needs.

use firewarden_diagnostic::Diagnostic;
use firewarden_lab::packages;
use std::process::{Command, Stdio};

/// Makes sure that every program is there; installs what is missing where that is asked for.
///
/// # Errors
/// What is missing, with the line that installs it; or why that failed.
pub fn packages(install: bool) -> Result<(), Diagnostic> {
    let missing = packages::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let named = missing.join(" ");
    // In this runlevel, the packages' scripts start no service.
    let line = format!("RUNLEVEL=1 apt-get install --no-install-recommends {named}");
    if !install {
        return Err(lacking(&named, &line));
    }
    let installed = Command::new("apt-get")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(&missing)
        .env("RUNLEVEL", "1")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        // What it writes is for people, and this command's own output is for programs, too.
        .stdout(std::io::stderr())
        .status();
    match installed {
        Ok(status) if status.success() && packages::missing().is_empty() => Ok(()),
        Ok(status) => Err(failed(&format!("apt-get ended with {status}"), &line)),
        Err(error) => Err(failed(&format!("apt-get can't be started: {error}"), &line)),
    }
}

fn lacking(named: &str, line: &str) -> Diagnostic {
    Diagnostic::error("packages-missing", format!("these Debian packages are missing: {named}"))
        .help(format!("install them with `sudo {line}`, or let `firewarden lab up --install` do it"))
}

fn failed(why: &str, line: &str) -> Diagnostic {
    Diagnostic::error("packages-missing", format!("the missing packages were not installed: {why}"))
        .help(format!("try `apt-get update`, then `{line}`"))
}
