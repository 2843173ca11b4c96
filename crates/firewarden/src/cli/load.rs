//! Options of `firewarden lab load`.

use super::lab::Named;
use clap::{Args, ValueEnum};

/// Let users use the site of a lab, and tell what they see: errors, users hit, how long answers take.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden lab load\n  \
sudo firewarden lab load --seconds 30 --new 20 --kept 0\n  \
sudo firewarden lab load --seconds 60 --format json > load.jsonl\n\n\
Requests are sent when they are due, whatever became of earlier ones, and count where they were due. \
Without --seconds it goes on until it is interrupted.\n\
Exit codes: 0 every request was answered; 1 some failed; 2 wrong usage or input.")]
pub struct Load {
    #[command(flatten)]
    pub lab: Named,
    /// Users who open a connection for each request.
    #[arg(long, value_name = "USERS", default_value_t = 20)]
    pub new: u32,
    /// Users who keep their connection.
    #[arg(long, value_name = "USERS", default_value_t = 20)]
    pub kept: u32,
    /// Users who share a few connections.
    #[arg(long, value_name = "USERS", default_value_t = 0)]
    pub pooled: u32,
    /// How many of a hundred users come by IPv6.
    #[arg(long, value_name = "PERCENT", default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub ipv6: u32,
    /// How many requests each user sends in a second.
    #[arg(long, value_name = "REQUESTS", default_value_t = 2.0, value_parser = rate)]
    pub rate: f64,
    /// How long, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// After how long a request without an answer has failed, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub timeout: u64,
    /// What the moments of requests are drawn from: equal seeds give equal schedules.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// How to tell it.
    #[arg(long, value_enum, default_value_t)]
    pub format: LoadFormat,
}

/// How a load is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoadFormat {
    /// For people: a picture while it runs, on a terminal, and a summary.
    #[default]
    Human,
    /// For programs: a line for each slot as it ends, then everything (`firewarden schema load` prints its JSON Schema).
    Json,
}

fn rate(text: &str) -> Result<f64, String> {
    let range = firewarden_lab::load::schedule::RATES;
    match text.parse::<f64>() {
        Ok(rate) if range.contains(&rate) => Ok(rate),
        _ => Err(format!("give a number from {} to {}", range.start(), range.end())),
    }
}
