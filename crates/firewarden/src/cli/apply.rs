//! The commands of the feature `apply`, with their options.

use super::change::Change;
use super::journal::Journal;
use super::plan::Plan;
use super::trial::{ApplyPlan, Confirm, Guard, GuardProcess, Recover, Restore, Revert, Status};
use clap::Subcommand;

/// Commands that change what a host runs, or prepare and record that.
#[derive(Debug, Subcommand)]
pub enum Deploy {
    Change(Change),
    Apply(ApplyPlan),
    Confirm(Confirm),
    Revert(Revert),
    Status(Status),
    Guard(Guard),
    Recover(Recover),
    Restore(Restore),
    #[command(hide = true)]
    GuardProcess(GuardProcess),
    Journal(Journal),
    Plan(Plan),
}
