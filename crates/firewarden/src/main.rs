//! The `firewarden` command: reads files and standard input, asks the other crates, and writes what they found.
//!
//! Everything that touches the system is in here, in `firewarden-host`, and, for the kernel's second opinion, in
//! `firewarden-oracle`.

mod cli;
mod commands;
mod internal_error;
mod load;
mod output;
mod progress;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The second opinion may need a process of its own without threads, which is this program once more.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == firewarden_oracle::HELPER_ARGUMENT) {
        return firewarden_oracle::serve_helper();
    }
    internal_error::guarded(|| commands::run(&cli::Cli::parse()))
}
