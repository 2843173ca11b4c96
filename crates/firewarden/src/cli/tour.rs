//! Options of `tour`.

use clap::{Args, ValueEnum};

/// Follow one outage from start to end, simulated: what it cost, what the change means, how it is refused, how it is undone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden tour\n  \
firewarden tour 003 --fast\n\n\
Nothing is changed, and nothing but this program is needed. The rules, the packets and every verdict are real; users and \
clock are simulated.")]
pub struct Tour {
    /// Which outage.
    #[arg(value_enum, default_value_t)]
    pub outage: Outage,
    /// Don't pause between the parts, as where the output isn't a terminal.
    #[arg(long)]
    pub fast: bool,
}

/// An outage of `examples/outages`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Outage {
    /// A third of the requests gets no answer.
    #[default]
    #[value(name = "000")]
    SourcePorts,
    /// Nobody reaches the web server.
    #[value(name = "001")]
    Hardening,
    /// One application server loses its database.
    #[value(name = "002")]
    Retired,
    /// An "only" that became a "deny".
    #[value(name = "003")]
    OfficeOnly,
    /// The maintenance rule that stayed.
    #[value(name = "004")]
    Maintenance,
}
