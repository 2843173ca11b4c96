//! The options of `firewarden journal`.

use super::state::StateFolder;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use firewarden_store::Kind;
use std::path::PathBuf;

/// Show and check the record of what happened to this host's rules.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden journal show --since 2h\n  \
firewarden journal verify\n  \
ssh edge firewarden journal verify --checkpoint - < edge.checkpoint\n\n\
docs/journal.md tells what is in it, and what it protects against.")]
pub struct Journal {
    /// What to do.
    #[command(subcommand)]
    pub command: JournalCommand,
}

/// What can be done with the journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    Show(Show),
    Verify(Verify),
    Export(Export),
    Checkpoint(Checkpoint),
}

/// Show entries, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden journal show --since 2026-11-21 --kind reverted --kind stuck\n  \
firewarden journal show --change 2026-open-9000 --format json")]
pub struct Show {
    /// Only what happened from then on: a date, a time (2026-11-21T08:00:00Z), or how long ago (2h, 3 days). UTC.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only what belongs to this change or trial.
    #[arg(long, value_name = "ID")]
    pub change: Option<String>,
    /// Only this kind of entry; may be given several times.
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    pub kind: Vec<String>,
    /// How to write them.
    #[arg(long, value_enum, default_value_t)]
    pub format: EntryFormat,
    #[command(flatten)]
    pub state: StateFolder,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EntryFormat {
    /// For people: a line for each.
    #[default]
    Human,
    /// For programs: a JSON object in a line for each (`firewarden schema journal` prints its JSON Schema).
    Json,
}

/// Find entries that were changed, taken out, moved, copied or cut off, and checkpoints that were forged.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 sound; 1 somebody tampered with it, or it is damaged; 2 wrong usage, or no journal."
)]
pub struct Verify {
    /// A checkpoint that was kept on another host (`-`: standard input). Whatever it counts has to be there, unchanged.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub state: StateFolder,
}

/// Write all entries and checkpoints, a JSON object in a line for each.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub state: StateFolder,
}

/// Sign how many entries there are and the last one's hash, to be kept on another host.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
ssh edge firewarden journal checkpoint > edge.checkpoint")]
pub struct Checkpoint {
    /// Write it into this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub state: StateFolder,
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.iter().map(|kind| kind.name()))
}
