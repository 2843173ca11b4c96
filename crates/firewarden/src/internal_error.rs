//! What happens when the program itself is wrong: a short message instead of a dump, and an exit code of its own.

use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

/// The exit code of an internal error.
pub const INTERNAL_ERROR: u8 = 4;

/// Runs the program; a panic becomes a message and exit code 4.
pub fn guarded(run: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(report));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(ExitCode::from(INTERNAL_ERROR))
}

fn report(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let what = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
    complain(&format!("{what}{place}"));
}

/// Tells of an internal error.
pub fn complain(what: &str) {
    // Nobody is left to be told where standard error is closed.
    let _ = std::io::stderr().lock().write_all(message(what).as_bytes());
}

fn message(what: &str) -> String {
    format!(
        "internal error: {what}\n\
         \x20 This is a fault of firewarden {}, not of your ruleset, and nothing has been proved.\n\
         \x20 Please report it at {}/issues with these lines,\n\
         \x20 the command, and the smallest ruleset that shows it (change addresses that are nobody's business).\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_to_report() {
        let text = message("index out of range at a.rs:1");
        assert!(text.starts_with("internal error: index out of range at a.rs:1\n"));
        assert!(text.contains("nothing has been proved") && text.contains("/issues"));
    }
}
