//! The options of `firewarden plan`.

use crate::output::AnswerFormat;
use clap::Args;
use std::path::PathBuf;

/// Plan a change of the running rules: what it means, how it is loaded, how it is taken back. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden plan new.nft --out plan.json\n  \
sudo firewarden plan new.nft --stack . --host edge --window 120 --persist /etc/nftables.conf --out plan.json\n  \
firewarden plan new.nft --state live.nft --format markdown\n\n\
Everything is loaded in throwaway network namespaces first: the running rules, the candidate, and both ways back.\n\n\
Exit codes: 0 nothing breaks; 1 an intent newly fails, or your own session is cut; 2 wrong usage or input, or there \
is no way back; 3 an intent newly depends on what isn't modelled, or isn't decided.")]
pub struct Plan {
    /// What is to be loaded: files of nft, or what iptables-save wrote; or a folder with a firewarden.yaml, for the rules
    /// that it declares for the host.
    #[arg(value_name = "CANDIDATE", required = true)]
    pub candidate: Vec<PathBuf>,
    /// The running rules, from files rather than from this host: what `nft list ruleset` or iptables-save wrote.
    #[arg(long, value_name = "FILE", conflicts_with = "netns")]
    pub state: Vec<PathBuf>,
    /// Ask the intents of this stack file before and after.
    #[arg(long, value_name = "PATH")]
    pub stack: Option<PathBuf>,
    /// The host that is changed, as the stack file calls it; this host's own name by default.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// How long the change is on trial before the old rules come back, unless it is confirmed.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub window: u32,
    /// Write the new rules into this file for the next boot, once they are confirmed.
    #[arg(long, value_name = "FILE")]
    pub persist: Option<PathBuf>,
    /// Leave tables alone that the candidate removes without naming them (`flush ruleset`).
    #[arg(long, conflicts_with = "flush_foreign")]
    pub keep_foreign: bool,
    /// Remove them.
    #[arg(long)]
    pub flush_foreign: bool,
    /// A network namespace of this host: a name of `ip netns`, a path, or the number of a process in it.
    #[arg(long, value_name = "NS")]
    pub netns: Option<String>,
    /// Write the plan into this file, for `firewarden apply`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Look for included nft files here too, after the folder of the including file.
    #[arg(short = 'I', long = "include-path", value_name = "DIR")]
    pub include_paths: Vec<PathBuf>,
    /// How to write the answer; as JSON it is the plan itself.
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
    /// The most steps for comparing, before the rest is called undecided.
    #[arg(long, value_name = "STEPS")]
    pub budget: Option<u64>,
}
