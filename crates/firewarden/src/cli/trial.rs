//! Options of the commands that change what the kernel runs.

use super::change::Rules;
use super::state::StateFolder;
use clap::{Args, ValueEnum};
use firewarden_host::probe::CommandProbe;
use std::path::PathBuf;

/// Carry out a plan, with a way back that needs nobody: confirm it in time, or the old rules return.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden plan new.nft --out plan.json\n  \
sudo firewarden apply plan.json\n  \
sudo firewarden apply plan.json --auto-confirm\n  \
sudo firewarden apply plan.json --probe \"site=ssh web1 curl -sf https://www.example.org\"\n  \
sudo firewarden apply plan.json --change 2026-11-21-metrics --changes /srv/network/changes\n  \
firewarden apply plan.json --ssh admin@edge\n\n\
Confirm over a new connection with `firewarden confirm`. Exit codes: 0 confirmed; 1 refused, or the old rules are \
back; 2 wrong usage or input.")]
pub struct ApplyPlan {
    /// The plan, as `firewarden plan --out` wrote it; `-` is standard input.
    pub plan: PathBuf,
    /// Confirm as soon as every probe holds.
    #[arg(long)]
    pub auto_confirm: bool,
    /// Go on although the plan breaks intents or cuts this session; why, for the record.
    #[arg(long, value_name = "REASON")]
    pub accept_findings: Option<String>,
    /// Once confirmed, end the connections that the new rules don't admit any more.
    #[arg(long)]
    pub cut: bool,
    /// Apply it on another host, where firewarden is installed too, and confirm it over a connection of its own: when the
    /// operator says so, or unasked with `--auto-confirm`. Paths of other options are that host's.
    #[arg(long, value_name = "USER@HOST", conflicts_with_all = ["netns", "state"])]
    pub ssh: Option<String>,
    #[command(flatten)]
    pub of: OfChange,
    #[command(flatten)]
    pub probing: Probing,
    #[command(flatten)]
    pub place: Place,
    /// How to write what happens.
    #[arg(long, value_enum, default_value_t)]
    pub format: EventFormat,
}

/// The change that a plan is of, and what is asked of it.
#[derive(Debug, Args)]
pub struct OfChange {
    /// The change that has this plan. Where the policy asks for approved changes, nothing is applied without.
    #[arg(long, value_name = "ID")]
    pub change: Option<String>,
    /// The folder of the changes.
    #[arg(long, value_name = "DIR", default_value = "changes")]
    pub changes: PathBuf,
    #[command(flatten)]
    pub rules: Rules,
}

/// How probes are made.
#[derive(Debug, Args)]
pub struct Probing {
    /// How long a probe may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=60))]
    pub probe_timeout: u16,
    /// Also run this command (by `sh -c`), before the change and after it; where it succeeded before and doesn't after, the
    /// old rules return at once. For probes that are made from elsewhere; can be given several times.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named)]
    pub probe: Vec<CommandProbe>,
}

/// A command with a name.
fn named(text: &str) -> Result<CommandProbe, String> {
    match text.split_once('=') {
        Some((name, command)) if !name.trim().is_empty() && !command.trim().is_empty() => {
            Ok(CommandProbe { name: name.trim().to_owned(), command: command.to_owned() })
        }
        _ => Err("write a name and a command, such as `site='ssh web curl -sf https://www.example.org'`"
            .to_owned()),
    }
}

/// Run a command that changes the firewall, with the same protection: ansible-playbook, ufw, firewall-cmd, docker, apt.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden guard -- ufw enable\n  \
sudo firewarden guard --window 600 --auto-confirm -- ansible-playbook firewall.yml\n  \
sudo firewarden guard --stack firewarden.yaml -- sh\n\n\
Exit codes: 0 confirmed, or nothing changed; 1 the old rules are back; 2 wrong usage or input.")]
pub struct Guard {
    /// Seconds until the old rules return, the command's own time included.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub window: u32,
    /// Confirm as soon as the new rules are proved and every probe holds.
    #[arg(long)]
    pub auto_confirm: bool,
    /// Go on although the new rules break intents or cut this session; why, for the record.
    #[arg(long, value_name = "REASON")]
    pub accept_findings: Option<String>,
    /// The stack file with the intents that have to hold afterwards.
    #[arg(long, value_name = "FILE")]
    pub stack: Option<PathBuf>,
    /// The host of the stack file that this is; the one with its name by default.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    #[command(flatten)]
    pub probing: Probing,
    #[command(flatten)]
    pub place: Place,
    /// How to write what happens.
    #[arg(long, value_enum, default_value_t)]
    pub format: EventFormat,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Where the rules are.
#[derive(Debug, Args)]
pub struct Place {
    #[command(flatten)]
    pub state: StateFolder,
    /// A network namespace of this host: a name of `ip netns`, a path, or the number of a process in it.
    #[arg(long, value_name = "NS")]
    pub netns: Option<String>,
}

/// Keep the rules that are on trial. Ask for it over a connection that was opened after them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ssh edge sudo firewarden confirm")]
pub struct Confirm {
    /// Even from a session that is older than the rules, and so proves nothing about new connections.
    #[arg(long)]
    pub this_session: bool,
    #[command(flatten)]
    pub state: StateFolder,
}

/// Bring the old rules back at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo firewarden revert --because \"checkout fails\"")]
pub struct Revert {
    /// Why, for the record.
    #[arg(long, value_name = "REASON", default_value = "")]
    pub because: String,
    /// Give up a trial that is stuck: leave the rules as they are, whatever they are.
    #[arg(long)]
    pub abandon: bool,
    #[command(flatten)]
    pub state: StateFolder,
}

/// Tell what is on trial, or how the last trial ended.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo firewarden status\n\n\
Exit codes: 0 nothing is on trial, and the last one was confirmed or reverted; 1 one is stuck or without a guard; \
3 one waits to be confirmed.")]
pub struct Status {
    #[command(flatten)]
    pub state: StateFolder,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: EventFormat,
}

/// At boot: load the rules that were confirmed last, never those of a change that was on trial.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden recover --print-unit > /etc/systemd/system/firewarden-recover.service\n  \
systemctl enable firewarden-recover")]
pub struct Recover {
    /// Print a unit for systemd that runs this at boot, and do nothing else.
    #[arg(long)]
    pub print_unit: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Go back to the rules that were confirmed last. Needs nobody's approval, and a review afterwards.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden restore --last-confirmed --because \"nobody reaches the site\"\n  \
sudo firewarden restore --review 20261121T080000Z-00001267 --because \"a drop rule too many, see change 12\"")]
pub struct Restore {
    /// Which rules.
    #[arg(long, required_unless_present = "review")]
    pub last_confirmed: bool,
    /// Close the review of an earlier restore, which somebody else did.
    #[arg(long, value_name = "ID", conflicts_with = "last_confirmed")]
    pub review: Option<String>,
    /// Why, for the record.
    #[arg(long, value_name = "REASON", required = true)]
    pub because: String,
    #[command(flatten)]
    pub place: Place,
}

/// The guard itself, which other commands start.
#[derive(Debug, Args)]
pub struct GuardProcess {
    /// Start again in a session of its own.
    #[arg(long)]
    pub detach: bool,
    /// The trial's folder.
    pub folder: PathBuf,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// For people, a line each.
    #[default]
    Human,
    /// For programs, an object a line.
    Json,
}
