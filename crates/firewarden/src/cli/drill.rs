//! Options of `firewarden drill`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Outages as exercises: whether a change that causes one is refused, undone in seconds, and what it is like without.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden drill list\n  \
firewarden drill run 000 --prevent\n  \
sudo firewarden drill run 003 --apply --runs 10 --report reports\n  \
sudo firewarden drill mutations --count 60\n\n\
docs/drills.md tells how to write one.")]
pub struct Drill {
    #[command(subcommand)]
    pub command: DrillCommand,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// List the drills that come along.
    List,
    Run(Run),
    Mutations(Mutations),
    Restore(Restore),
    #[command(hide = true)]
    Prober(Prober),
}

/// Run drills.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden drill run --all --prevent\n  \
sudo firewarden drill run 001 --apply\n  \
sudo firewarden drill run mine.yaml --observe --name web --report reports\n\n\
Exit codes: 0 every run ended as its drill expects; 1 one didn't; 2 wrong usage or input; 130 interrupted, 143 terminated:
what was changed is brought back first.")]
pub struct Run {
    /// Names of drills that come along, or drill files.
    #[arg(value_name = "NAME|FILE", required_unless_present = "all")]
    pub drills: Vec<String>,
    /// All drills that come along.
    #[arg(long, conflicts_with = "drills")]
    pub all: bool,
    #[command(flatten)]
    pub mode: Modes,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// A lab that is up; by default, one is built for these runs.
    #[arg(long, value_name = "LAB", conflicts_with = "prevent")]
    pub name: Option<String>,
    /// How long the fault lasts with `--observe`, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(3..=600))]
    pub seconds: u32,
    /// Write a report into this folder: page, JUnit, JSON, and a journal of each run.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Replace the report of an earlier call in that folder.
    #[arg(long, requires = "report")]
    pub force: bool,
}

/// How.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Modes {
    /// The change has to be refused, with the line. Needs neither root nor a lab.
    #[arg(long)]
    pub prevent: bool,
    /// The change is let through on purpose: probes have to fail, and the old rules to return.
    #[arg(long)]
    pub apply: bool,
    /// Nothing protects the service for some seconds: what its users see.
    #[arg(long)]
    pub observe: bool,
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
