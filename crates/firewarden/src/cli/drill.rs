//! Options of `firewarden drill`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Break the lab on purpose, and see what that does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo firewarden drill mutations --count 60\n\ndocs/drills.md tells more."
)]
pub struct Drill {
    #[command(subcommand)]
    pub command: DrillCommand,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    Mutations(Mutations),
    Restore(Restore),
    #[command(hide = true)]
    Prober(Prober),
}

/// Plant small mistakes in a lab's rulesets, one after the other: what `check` says of each intent has to be what new
/// connections through the kernel and the services show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden drill mutations\n  \
sudo firewarden drill mutations --count 60 --seed 7 --format json\n\n\
Exit codes: 0 the verdicts are those of the lab; 1 some aren't; 2 wrong usage or input.")]
pub struct Mutations {
    /// How many mistakes are planted; fewer where there aren't as many.
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Which mistakes are drawn, and from where connections come.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// A lab that is up; one is made for the drill otherwise.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: DrillFormat,
}

/// Back a lab up, wipe its rules, state and data, and restore them: how long that takes, what is lost, and whether all of it
/// is back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden drill restore\n  \
sudo firewarden drill restore --backup /var/backups/drill --format json\n\n\
Commands are run by `sh -c` on the host with the data. Exit codes: 0 everything is back; 1 something isn't; 2 wrong usage or \
input.")]
pub struct Restore {
    /// A lab that is up; one is made for the drill otherwise.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// An empty folder for the backup, which stays; it goes with the drill otherwise.
    #[arg(long, value_name = "DIR")]
    pub backup: Option<PathBuf>,
    /// The host of the lab that has the data.
    #[arg(long, value_name = "HOST", default_value = "db")]
    pub data_host: String,
    /// Writes the data to standard output; a PostgreSQL dump by default.
    #[arg(long, value_name = "COMMAND")]
    pub backup_command: Option<String>,
    /// Reads the data from standard input.
    #[arg(long, value_name = "COMMAND")]
    pub restore_command: Option<String>,
    /// Removes the data.
    #[arg(long, value_name = "COMMAND")]
    pub wipe_command: Option<String>,
    /// Prints a few words that are the same for the same data.
    #[arg(long, value_name = "COMMAND")]
    pub checksum_command: Option<String>,
    /// Adds something to the data, as users do between backup and disaster.
    #[arg(long, value_name = "COMMAND")]
    pub write_command: Option<String>,
    /// From where connections come that show whether intents hold.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: DrillFormat,
}

/// The process that tries connections in a namespace of a lab.
#[derive(Debug, Args)]
pub struct Prober {
    /// Ports on which it takes connections.
    pub ports: Vec<u16>,
}

/// How the result of a drill is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DrillFormat {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}
