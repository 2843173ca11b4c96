//! Commands that this build lacks, so that they say what they need rather than that nobody knows them.

use clap::{Args, Subcommand};
use std::ffi::OsString;

/// Commands of the feature `apply`. None is listed by `--help`.
#[derive(Debug, Subcommand)]
pub enum Absent {
    #[command(hide = true)]
    Plan(Rest),
    #[command(hide = true)]
    Apply(Rest),
    #[command(hide = true)]
    Guard(Rest),
    #[command(hide = true)]
    Confirm(Rest),
    #[command(hide = true)]
    Revert(Rest),
    #[command(hide = true)]
    Status(Rest),
    #[command(hide = true)]
    Recover(Rest),
    #[command(hide = true)]
    Restore(Rest),
    #[command(hide = true)]
    Change(Rest),
    #[command(hide = true)]
    Journal(Rest),
}

/// Whatever else was given.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Rest {
    /// Anything.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    pub rest: Vec<OsString>,
}

impl Absent {
    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            Absent::Plan(_) => "plan",
            Absent::Apply(_) => "apply",
            Absent::Guard(_) => "guard",
            Absent::Confirm(_) => "confirm",
            Absent::Revert(_) => "revert",
            Absent::Status(_) => "status",
            Absent::Recover(_) => "recover",
            Absent::Restore(_) => "restore",
            Absent::Change(_) => "change",
            Absent::Journal(_) => "journal",
        }
    }
}
