//! `firewarden change` and its options.

use clap::{Args, Subcommand, ValueEnum};
use firewarden_change::record::{EventKind, Risk};
use std::path::PathBuf;

/// Propose, review, approve and follow changes, as files for git.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden change propose --reason \"Prometheus reads the node exporters\" --expect \"allow mon -> app tcp/9100\"\n  \
firewarden change approve 2026-11-21-allow-metrics --key ~/.ssh/id_ed25519\n  \
firewarden change verify 2026-11-21-allow-metrics\n\n\
docs/changes.md is a guide for a team.")]
pub struct Change {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
    /// The folder of the changes.
    #[arg(long, value_name = "DIR", default_value = "changes", global = true)]
    pub changes: PathBuf,
}

/// What is done with changes.
#[derive(Debug, Subcommand)]
pub enum Action {
    Propose(Box<Propose>),
    Review(Review),
    Approve(Approve),
    Verify(Verify),
    Outcome(Outcome),
    List(List),
    Show(Show),
    Log(Log),
}

/// Write a change down, with the evidence of check, diff and audit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden change propose --reason \"metrics\" --expect \"allow mon -> app tcp/9100\" --plan plan.json\n  \
firewarden change propose --amend 2026-11-21-metrics --plan plan.json\n  \
firewarden change propose --reason \"the site is down\" --emergency \"a rule blocks every customer\" --plan plan.json\n\n\
Exit codes: 0 the evidence passes; 1 it doesn't; 2 wrong usage or input, and nothing is written; 3 it hangs on what isn't modelled.")]
pub struct Propose {
    /// What it will be: a folder with a firewarden.yaml, that file, or a ruleset.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// What it was; a revision of git if not given.
    #[arg(long, value_name = "PATH", conflicts_with = "git")]
    pub before: Option<PathBuf>,
    /// The revision of git that it is compared with; HEAD if not given, or the one that an amended change was compared with.
    #[arg(long, value_name = "REVISION")]
    pub git: Option<String>,
    /// Why it is needed.
    #[arg(long, value_name = "TEXT", required_unless_present = "amend")]
    pub reason: Option<String>,
    /// Where it is asked for.
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<String>,
    /// What it means for those who use the network; what `diff` says, if not given.
    #[arg(long, value_name = "TEXT")]
    pub impact: Option<String>,
    /// What it is to bring about, such as "allow lb -> app tcp/9000"; nothing else may change.
    #[arg(long, value_name = "INTENT")]
    pub expect: Vec<String>,
    /// How much can go wrong; low if not given.
    #[arg(long, value_enum, value_name = "RISK")]
    pub risk: Option<RiskOption>,
    /// A plan that `firewarden plan` has made, for each host one.
    #[arg(long, value_name = "FILE")]
    pub plan: Vec<PathBuf>,
    /// It is to be applied not before this moment, such as 2026-11-21T20:00:00Z.
    #[arg(long, value_name = "MOMENT", requires = "to")]
    pub from: Option<String>,
    /// It is to be applied before this moment.
    #[arg(long, value_name = "MOMENT", requires = "from")]
    pub to: Option<String>,
    /// The last day of rules that are temporary, such as 2026-12-31.
    #[arg(long, value_name = "DATE")]
    pub expires: Option<String>,
    /// An earlier change whose temporary rules this one takes out.
    #[arg(long, value_name = "ID")]
    pub ends: Vec<String>,
    /// Why it can't wait: it needs the approvals of an emergency only, and the others afterwards.
    #[arg(long, value_name = "REASON")]
    pub emergency: Option<String>,
    /// How it is undone; by the plan's rollback, if not given.
    #[arg(long, value_name = "TEXT")]
    pub back_out: Option<String>,
    /// Who proposes it; git's user.email if not given.
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Sign the proposal with this key.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// What to call it; the day and the reason's first words if not given.
    #[arg(long, value_name = "ID", conflicts_with = "amend")]
    pub id: Option<String>,
    /// Write another version of this change; what isn't given stays, and its approvals become void.
    #[arg(long, value_name = "ID")]
    pub amend: Option<String>,
    /// Look for included nft files here too, after the folder of the including file.
    #[arg(short = 'I', long = "include-path", value_name = "DIR")]
    pub include_paths: Vec<PathBuf>,
}

/// How much can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RiskOption {
    /// Little.
    Low,
    /// Something.
    Medium,
    /// Much.
    High,
}

impl From<RiskOption> for Risk {
    fn from(option: RiskOption) -> Risk {
        match option {
            RiskOption::Low => Risk::Low,
            RiskOption::Medium => Risk::Medium,
            RiskOption::High => Risk::High,
        }
    }
}

/// Say something about a change, or ask for another version.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden change review 2026-11-21-metrics --comment \"tested on staging\"\n  \
firewarden change review 2026-11-21-metrics --request-changes \"one source is enough\"")]
pub struct Review {
    /// The change.
    pub id: String,
    /// What there is to say.
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "request_changes",
        required_unless_present = "request_changes"
    )]
    pub comment: Option<String>,
    /// What another version should do; until there is one, it isn't applied.
    #[arg(long, value_name = "TEXT")]
    pub request_changes: Option<String>,
    /// Who says it; git's user.email if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Sign a change with an SSH key.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
firewarden change approve 2026-11-21-metrics --key ~/.ssh/id_ed25519\n\n\
What is signed is one line, for the namespace `firewarden-change`:\n  \
firewarden change ID plan HASH record HASH")]
pub struct Approve {
    /// The change.
    pub id: String,
    /// The private key, or a public one whose private one ssh-agent holds.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Who approves, as `allowed_signers` names them; git's user.email if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    #[command(flatten)]
    pub rules: Rules,
}

/// Whom to believe, and what is asked for.
#[derive(Clone, Debug, Default, Args)]
pub struct Rules {
    /// The policy; /etc/firewarden/policy.yaml if not given, else policy.yaml among the changes.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Whose signatures count; /etc/firewarden/allowed_signers if not given, else allowed_signers among the changes.
    #[arg(long, value_name = "FILE")]
    pub signers: Option<PathBuf>,
    /// Keys that don't count any more; /etc/firewarden/revoked_keys if not given and there.
    #[arg(long, value_name = "FILE")]
    pub revoked: Option<PathBuf>,
}

/// Check signatures, evidence and tracked files, and say whether it may be applied now.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it may be applied; 1 it may not; 2 wrong usage or input; 3 it may, but this is advice: \
others than root can write the policy or the signers."
)]
pub struct Verify {
    /// The change.
    pub id: String,
    #[command(flatten)]
    pub rules: Rules,
    /// The stack whose tracked files are looked at.
    #[arg(long, value_name = "PATH", default_value = ".")]
    pub stack: PathBuf,
}

/// Write down what became of a change that wasn't applied by firewarden, such as one of tracked files.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
firewarden change outcome 2026-11-21-haproxy-timeouts confirmed --host lb --why \"rolled out by Ansible\"\n\n\
`apply` and `guard` write it down themselves.")]
pub struct Outcome {
    /// The change.
    pub id: String,
    /// What became of it.
    #[arg(value_enum)]
    pub kind: OutcomeOption,
    /// On which host.
    #[arg(long, value_name = "NAME")]
    pub host: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Who did it; git's user.email if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeOption {
    /// It is in, and on trial.
    Applied,
    /// It stays.
    Confirmed,
    /// What was before it is back.
    Reverted,
}

impl From<OutcomeOption> for EventKind {
    fn from(option: OutcomeOption) -> EventKind {
        match option {
            OutcomeOption::Applied => EventKind::Applied,
            OutcomeOption::Confirmed => EventKind::Confirmed,
            OutcomeOption::Reverted => EventKind::Reverted,
        }
    }
}

/// List changes with how far they have come.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing is due; 1 temporary rules have expired, or the review of an emergency is \
overdue; 2 wrong usage or input."
)]
pub struct List {
    /// Only changes whose temporary rules should be gone.
    #[arg(long)]
    pub expired: bool,
    #[command(flatten)]
    pub rules: Rules,
}

/// Show a change with everything that was added to it.
#[derive(Debug, Args)]
pub struct Show {
    /// The change.
    pub id: String,
    #[command(flatten)]
    pub rules: Rules,
}

/// Tell what happened to a change, or to all of them, in the order of time.
#[derive(Debug, Args)]
pub struct Log {
    /// The change.
    pub id: Option<String>,
}
