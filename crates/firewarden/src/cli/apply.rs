//! The commands of the feature `apply`, with their options.

use super::change::Change;
use super::journal::Journal;
use clap::Subcommand;

/// Commands that change what a host runs, or prepare and record that.
#[derive(Debug, Subcommand)]
pub enum Apply {
    Change(Change),
    Journal(Journal),
}
