//! Commands for the people who build Firewarden.

mod bench;
mod corpus;
mod differential;
mod figures;
mod kills;
mod mutants;
mod schemas;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure whole commands on rulesets of growing size, beside `nft -c -f`.
    Bench(bench::Options),
    /// Run the frontends and the engine over a corpus of real rulesets, and write docs/corpus.md.
    Corpus(corpus::Options),
    /// Compare engine, interpreter and kernel on generated rulesets and packets.
    Differential(differential::Options),
    /// Kill clients, guards and loaders of changes on trial, and see what the kernel holds in the end.
    Kills(kills::Options),
    /// Measure how long a change takes, from arming to the return of the old rules.
    Figures(figures::Options),
    /// Plant mistakes in a copy of the workspace and see whether the tests catch them.
    Mutants(mutants::Options),
    /// Write the schemas and the help texts under docs/.
    Schemas {
        /// Write nothing; fail where a file is out of date.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    if let Some(code) = firewarden_testkit::kernel::serve_as_helper() {
        return code;
    }
    if let Some(code) = kills::serve_as_helper() {
        return code;
    }
    match Cli::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Corpus(options) => corpus::run(&options),
        Command::Differential(options) => differential::run(&options),
        Command::Kills(options) => kills::run(&options),
        Command::Figures(options) => figures::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Schemas { check } => schemas::run(check),
    }
}
