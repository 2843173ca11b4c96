//! Commands that this build lacks, so that they say what they need rather than that nobody knows them.

use clap::{Args, Subcommand};
use std::ffi::OsString;

/// Commands of the features `apply` and `lab`. None is listed by `--help`.
#[derive(Debug, Subcommand)]
pub enum Absent {
    #[command(hide = true)]
    Lab(Rest),
    #[command(hide = true)]
    Drill(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Plan(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Apply(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Guard(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Confirm(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Revert(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Status(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Recover(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Restore(Rest),
    #[cfg(not(feature = "apply"))]
    #[command(hide = true)]
    Change(Rest),
    #[cfg(not(feature = "apply"))]
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
    /// The command's name, and the feature that it needs.
    pub fn name_and_feature(&self) -> (&'static str, &'static str) {
        match self {
            Absent::Lab(_) => ("lab", "lab"),
            Absent::Drill(_) => ("drill", "lab"),
            #[cfg(not(feature = "apply"))]
            Absent::Plan(_) => ("plan", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Apply(_) => ("apply", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Guard(_) => ("guard", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Confirm(_) => ("confirm", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Revert(_) => ("revert", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Status(_) => ("status", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Recover(_) => ("recover", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Restore(_) => ("restore", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Change(_) => ("change", "apply"),
            #[cfg(not(feature = "apply"))]
            Absent::Journal(_) => ("journal", "apply"),
        }
    }
}
