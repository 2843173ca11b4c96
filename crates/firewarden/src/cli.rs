//! The commands and their options, with the text of `--help`.

#[cfg(not(feature = "lab"))]
pub mod absent;
#[cfg(feature = "apply")]
pub mod apply;
#[cfg(feature = "apply")]
pub mod change;
#[cfg(feature = "lab")]
pub mod drill;
#[cfg(feature = "apply")]
pub mod journal;
#[cfg(feature = "lab")]
pub mod lab;
#[cfg(feature = "lab")]
pub mod load;
#[cfg(feature = "apply")]
pub mod plan;
#[cfg(feature = "apply")]
pub mod state;
pub mod tour;
#[cfg(feature = "apply")]
pub mod trial;

use crate::load::Texts;
use crate::output::{AnswerFormat, Color, Format};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// Change a firewall without causing the next outage: prove that rulesets let the flows through that matter, and
/// nothing else.
#[derive(Debug, Parser)]
#[command(name = "firewarden", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 everything holds; 1 something doesn't; 2 wrong usage or input; 3 something \
depends on what isn't modelled, or wasn't decided; 4 internal error."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When to use colours.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, global = true)]
    pub color: Color,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Check(Check),
    Diff(Diff),
    Audit(Audit),
    Exposed(Exposed),
    Trace(Trace),
    Capture(Capture),
    Init(Init),
    Docs(Docs),
    Tour(tour::Tour),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  firewarden completions bash > /etc/bash_completion.d/firewarden")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each command.
    #[command(
        after_help = "Examples:\n  firewarden man | man -l -\n  firewarden man --out /usr/local/share/man/man1"
    )]
    Man {
        /// Write the pages into this folder.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print the JSON Schema of a format.
    #[command(
        after_help = "Example, for completion in an editor:\n  firewarden schema stack > stack-v1.json\n  \
and as first line of firewarden.yaml:\n  # yaml-language-server: $schema=stack-v1.json"
    )]
    Schema {
        /// The format.
        of: SchemaOf,
    },
    #[cfg(feature = "apply")]
    #[command(flatten)]
    Apply(apply::Deploy),
    #[cfg(feature = "lab")]
    Lab(lab::Lab),
    #[cfg(feature = "lab")]
    Drill(drill::Drill),
    #[cfg(not(feature = "lab"))]
    #[command(flatten)]
    Absent(absent::Absent),
}

/// A format that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// `check --format json`.
    Report,
    /// `firewarden.yaml`.
    Stack,
    /// `exposed --format json`.
    Exposed,
    /// `trace --format json`.
    Trace,
    /// `diff --format json`.
    Diff,
    /// `change.yaml`.
    #[cfg(feature = "apply")]
    Change,
    /// `policy.yaml`.
    #[cfg(feature = "apply")]
    Policy,
    /// A drill file.
    #[cfg(feature = "lab")]
    Drill,
    /// The page's data of a drill, `drill-report.json`.
    #[cfg(feature = "lab")]
    DrillReport,
    /// The lines of `lab load --format json`.
    #[cfg(feature = "lab")]
    Load,
    /// `drill mutations --format json`.
    #[cfg(feature = "lab")]
    MutationDrill,
    /// `drill restore --format json`.
    #[cfg(feature = "lab")]
    RestoreDrill,
    /// The lines of `journal export`, `journal show --format json` and `journal checkpoint`.
    #[cfg(feature = "apply")]
    Journal,
}

/// Prove that rulesets meet every intent; name packet, rule, file and line where they don't.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden check examples/webstack\n  \
firewarden check edge.nft --allow \"any -> 203.0.113.1 tcp/443\" --deny \"any -> 203.0.113.1 tcp/22\"\n  \
sudo nft list ruleset | firewarden check - --only \"10.0.0.0/8 -> 10.0.0.1 tcp/22\"\n  \
firewarden check --syntax edge.nft\n  \
firewarden check new/ --before old/ --expect \"allow lb -> app tcp/9000\"\n\n\
An intent is SOURCE -> DESTINATION [SERVICE]; docs/reference.md tells all of it.")]
pub struct Check {
    #[command(flatten)]
    pub input: Input,
    /// These packets must arrive, and their answers come back.
    #[arg(long, value_name = "INTENT")]
    pub allow: Vec<String>,
    /// None of these packets may arrive.
    #[arg(long, value_name = "INTENT")]
    pub deny: Vec<String>,
    /// These packets must arrive, and nobody else's.
    #[arg(long, value_name = "INTENT")]
    pub only: Vec<String>,
    /// Only read everything: is it free of mistakes? No intent is needed, and none is checked.
    #[arg(long, conflicts_with_all = ["allow", "deny", "only", "before", "confirm", "budget"])]
    pub syntax: bool,
    /// The version before the change; the change must do what `--expect` says, and nothing else.
    #[arg(long, value_name = "PATH", requires = "expect")]
    pub before: Option<PathBuf>,
    /// What the change is to bring about, such as "allow lb -> app tcp/9000".
    #[arg(long, value_name = "INTENT", requires = "before")]
    pub expect: Vec<String>,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Ask a second opinion on every packet that shows a finding: the kernel's, in a throwaway network namespace.
    #[arg(long, value_enum, value_name = "BY")]
    pub confirm: Option<Confirm>,
    /// The most steps for each intent, before it is called undetermined.
    #[arg(long, value_name = "STEPS")]
    pub budget: Option<u64>,
}

/// Who gives the second opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Confirm {
    /// The Linux kernel of this machine; needs root or user namespaces.
    Kernel,
}

/// Find rules that never match or change nothing, doors that stand open, and what goes wrong on loading.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden audit /etc/nftables.conf\n  \
sudo iptables-save | firewarden audit -\n  \
firewarden audit examples/webstack --write-baseline audit.baseline\n\n\
docs/audit.md tells what each finding means, and how to accept one.")]
pub struct Audit {
    #[command(flatten)]
    pub input: Input,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Don't count what this file knows.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write what is found now into this file, to be given as --baseline from now on.
    #[arg(long, value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,
    /// The most steps for each rule, before it is called undetermined.
    #[arg(long, value_name = "STEPS")]
    pub budget: Option<u64>,
}

/// Tell what a change of rules means: which packets fare differently, by which rules, and nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden diff old.nft new.nft\n  \
firewarden diff --git HEAD~1 examples/webstack --format markdown\n  \
sudo firewarden diff --running new.nft\n\n\
Exit codes: 0 same meaning; 1 something differs; 2 wrong usage or input; 3 a limit ended before all was compared.")]
pub struct Diff {
    /// BEFORE and AFTER: rulesets, folders with a firewarden.yaml, or snapshots. With `--git` or `--running` only what it
    /// will be.
    #[arg(value_name = "PATH", required = true, num_args = 1..=2)]
    pub paths: Vec<PathBuf>,
    /// Compare with this revision of git.
    #[arg(long, value_name = "REVISION", conflicts_with = "running")]
    pub git: Option<String>,
    /// Compare what this host runs with what it will run when the file is loaded.
    #[arg(long)]
    pub running: bool,
    /// The host that is meant, where there are several.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Look for included nft files here too, after the folder of the including file.
    #[arg(short = 'I', long = "include-path", value_name = "DIR")]
    pub include_paths: Vec<PathBuf>,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
    /// The most steps for each host, before the rest is called undecided.
    #[arg(long, value_name = "STEPS")]
    pub budget: Option<u64>,
}

/// List who may reach which port, IPv4 and IPv6 side by side.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
(sudo iptables-save; sudo ip6tables-save) | firewarden exposed -\n  \
firewarden exposed examples/webstack --host lb")]
pub struct Exposed {
    #[command(flatten)]
    pub input: Input,
    /// How to write the list.
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
}

/// Follow one packet, rule by rule.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden trace \"tcp 198.51.100.7:40000 -> 203.0.113.1:443 in wan out lan ct new\" examples/webstack/edge.nft\n  \
firewarden trace \"udp [2001:db8::7]:40000 -> [2001:db8::1]:53\" - < rules.nft\n\n\
The packet of any finding can be given as it was printed.")]
pub struct Trace {
    /// The packet: PROTOCOL SOURCE -> DESTINATION [in DEVICE] [out DEVICE] [ct STATE] ...
    pub packet: String,
    #[command(flatten)]
    pub input: Input,
    /// How to write the way.
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
}

/// Write a snapshot of this host: rules, addresses, routes, sockets, connections, as files in a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden capture --out snapshots\n  \
sudo firewarden capture --netns blue --host blue\n\n\
check, exposed and trace read the folder. What an ordinary user may not read is left out and told.")]
pub struct Capture {
    /// The folder in which the snapshot's folder is made.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// What to call the host; its own name by default.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// A network namespace of this host: a name of `ip netns`, a path, or the number of a process in it.
    #[arg(long, value_name = "NS")]
    pub netns: Option<String>,
    /// Replace an older snapshot of the same name.
    #[arg(long)]
    pub force: bool,
    /// Replace addresses and drop comments, so that it can be shown to others; the host is called `host` unless named.
    #[arg(long)]
    pub anonymize: bool,
}

/// Write a first firewarden.yaml: hosts, services, and intents proposed from observed connections.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sudo firewarden init\n  \
firewarden init snapshots --inventory hosts.ini\n  \
firewarden init --update snapshots --write\n\n\
Without a snapshot or an inventory, the host it is run on is captured. Nothing is overwritten.")]
pub struct Init {
    /// Snapshots that `firewarden capture` has written, or folders of them.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<PathBuf>,
    /// The stack file to write.
    #[arg(long, value_name = "FILE", default_value = "firewarden.yaml")]
    pub out: PathBuf,
    /// Take hosts, addresses and groups from this Ansible inventory (INI or YAML), too.
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// What to call the host it is run on; its own name by default.
    #[arg(long, value_name = "NAME", conflicts_with = "snapshots")]
    pub host: Option<String>,
    /// Show as a diff what would be added to a stack file that is there; without snapshots, from those it names.
    #[arg(long)]
    pub update: bool,
    /// Add it; what is there stays as it is, comments included.
    #[arg(long, requires = "update")]
    pub write: bool,
}

/// Write pages that tell who may talk to whom and why: a matrix, a picture, the rules of each host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
firewarden docs .\n  \
firewarden docs . --check\n  \
firewarden docs snapshots --out /tmp/pages\n\n\
The pages are made of nothing but the inputs and their history in git, so that they can be committed.")]
pub struct Docs {
    /// A folder with a firewarden.yaml, that file, or snapshots.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// The folder of the pages; `firewarden-docs` beside the stack file by default.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write nothing; fail where the pages that are there are out of date.
    #[arg(long)]
    pub check: bool,
    /// Look for included nft files here too, after the folder of the including file.
    #[arg(short = 'I', long = "include-path", value_name = "DIR")]
    pub include_paths: Vec<PathBuf>,
}

/// What is read.
#[derive(Debug, Args)]
pub struct Input {
    /// A folder with a firewarden.yaml, that file, or rulesets of one host; `-` is standard input.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// The host that is meant, where a firewarden.yaml has several.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Look for included nft files here too, after the folder of the including file.
    #[arg(short = 'I', long = "include-path", value_name = "DIR")]
    pub include_paths: Vec<PathBuf>,
    /// A folder whose files people know by another name: one made from a revision.
    #[arg(skip)]
    pub renamed: Option<(PathBuf, String)>,
    /// Texts that are read in place of files.
    #[arg(skip)]
    pub texts: Texts,
}
