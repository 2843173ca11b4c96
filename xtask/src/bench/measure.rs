//! Whole commands: wall time and peak memory, through GNU time, which every Linux distribution packages.

use std::process::{Command, Stdio};
use std::time::Instant;

/// One figure of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Wall time.
    pub(super) seconds: f64,
    /// Peak of the resident set; 0 where GNU time isn't installed.
    pub(super) kibibytes: u64,
}

/// Runs a command several times and takes the median time and the largest memory.
///
/// # Errors
/// When the command can't be started, or ends in another way than with one of `codes`.
pub(super) fn median(command: &mut Command, runs: usize, codes: &[i32]) -> Result<Measured, String> {
    let mut seconds = Vec::new();
    let mut kibibytes = 0;
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{} can't be run: {error}", command.get_program().display()))?;
        seconds.push(start.elapsed().as_secs_f64());
        if !output.status.code().is_some_and(|code| codes.contains(&code)) {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("nothing on standard error").to_owned();
            return Err(format!("{} ended with {}: {said}", command.get_program().display(), output.status));
        }
    }
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    if let Ok(output) = timed.stdin(Stdio::null()).stdout(Stdio::null()).output() {
        let said = String::from_utf8_lossy(&output.stderr);
        kibibytes = said.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(Measured { seconds: seconds[seconds.len() / 2], kibibytes })
}
