//! Options of `firewarden lab`.

use super::load::Load;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The web stack with real services, in network namespaces of this machine: for trying changes, outages and yourself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden lab up\n  \
sudo firewarden lab exec client -- curl -k https://203.0.113.1/items\n  \
sudo firewarden lab exec edge -- nft list ruleset\n  \
sudo firewarden lab down\n\n\
docs/lab.md tells what is in it. Nothing of it touches this machine's own network, and nothing stays behind.")]
pub struct Lab {
    #[command(subcommand)]
    pub command: LabCommand,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    Up(Up),
    Down(Down),
    Status(Status),
    Exec(Exec),
    Load(Load),
    /// The process that sends, which `lab load` and drills start on the client.
    #[command(hide = true)]
    Users,
    #[command(hide = true)]
    Supervise(Supervise),
    #[command(hide = true)]
    Application(Application),
}

/// Which lab.
#[derive(Debug, Args)]
pub struct Named {
    /// The lab's name: several can be up at once.
    #[arg(long, value_name = "NAME", default_value = "web")]
    pub name: String,
}

/// Build a lab and start its services.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden lab up\n  \
sudo firewarden lab up examples/webstack --name mine\n  \
sudo firewarden lab up --install\n\n\
It needs root rights, and says which Debian packages are missing.")]
pub struct Up {
    /// A folder with the web stack's firewarden.yaml and rulesets; those that firewarden brings along by default.
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    #[command(flatten)]
    pub lab: Named,
    /// How many connections to the database each application server keeps; 0 opens one for each request.
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub pool: u16,
    /// Install the Debian packages that are missing, without starting their services on this machine.
    #[arg(long)]
    pub install: bool,
}

/// End a lab, with everything in it.
#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    pub lab: Named,
    /// End all of them.
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
}

/// List the labs that are up.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this one.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Run a command on a host of a lab.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden lab exec edge -- nft list ruleset\n  \
sudo firewarden lab exec lb -- bash\n  \
sudo firewarden lab exec edge -- firewarden capture --out /tmp\n\n\
Hosts: client, office, partner (outside), edge, lb, app1, app2, db. The exit code is the command's.")]
pub struct Exec {
    #[command(flatten)]
    pub lab: Named,
    /// The host.
    pub host: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The process that a lab hangs on, which `lab up` starts.
#[derive(Debug, Args)]
pub struct Supervise {
    /// Start again in namespaces of its own.
    #[arg(long)]
    pub detach: bool,
}

/// The application of a lab's servers, which the supervisor starts.
#[derive(Debug, Args)]
pub struct Application {
    /// The database for requests by IPv4.
    pub database4: SocketAddr,
    /// The database for requests by IPv6.
    pub database6: SocketAddr,
    /// How many connections to keep.
    #[arg(long, default_value_t = 0)]
    pub pool: u16,
}
