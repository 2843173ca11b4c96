//! What is to be loaded: which files, in which language, and the tables that they name.

use crate::cli::plan::Plan as Options;
use crate::commands::Stopped;
use crate::load::{self, Files, Format, RulesetFile, Subject};
use firewarden_change::delta::{TableName, save_delta};
use firewarden_change::plan::{Loader, Script};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::rehearsal::Candidate;
use firewarden_host::state::State;
use firewarden_ruleset::syntax::nft::ast::{Command, Family, TableRef, Target};
use firewarden_ruleset::syntax::nft::text;
use firewarden_verify::chain_manager;
use firewarden_verify::stack::read_stack;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;

/// A candidate.
pub struct Given {
    /// What is loaded.
    pub candidate: Candidate,
    /// The tables that files of nft name.
    pub named: BTreeSet<TableName>,
    /// The tables of iptables that files of iptables-save hold, as nftables calls them.
    pub saved: BTreeSet<TableName>,
    /// The texts of those files, to be turned into scripts once the running rules are known.
    pub saves: Vec<String>,
}

/// Finds out what was given.
pub fn find(options: &Options, files: &mut Files) -> Result<Given, Stopped> {
    let mut paths = options.candidate.clone();
    let rulesets = match load::subject(&paths, files)? {
        Subject::Rulesets(rulesets) => rulesets,
        Subject::Stack(file) => {
            let host = options.host.clone().unwrap_or_else(firewarden_host::host_name);
            let (declared, found) = read_stack(file, files.text(file));
            files.diagnostics.extend(found);
            let names: Vec<&str> = declared.hosts.iter().map(|host| host.name.value.as_str()).collect();
            let Some(at) = declared.host(&host) else {
                return Err(crate::commands::hosts::unknown(&host, &names).into());
            };
            let rules = declared.hosts.get(at).map(|host| host.rules.as_slice()).unwrap_or_default();
            let folder = files.folder(file);
            paths = rules.iter().map(|rules| folder.join(&rules.value)).collect();
            rules.iter().filter_map(|rules| load::declared(&rules.value, rules.span, file, files)).collect()
        }
        Subject::Snapshots(_) => {
            let problem = Diagnostic::error("not-a-ruleset", "a snapshot can't be loaded");
            return Err(problem.help("give the file with the rules in it").into());
        }
    };
    let mut given = Given {
        candidate: Candidate { include_paths: options.include_paths.clone(), ..Candidate::default() },
        named: BTreeSet::new(),
        saved: BTreeSet::new(),
        saves: Vec::new(),
    };
    for (path, ruleset) in paths.iter().zip(&rulesets) {
        given.add(path, *ruleset, files)?;
    }
    Ok(given)
}

impl Given {
    fn add(&mut self, path: &Path, ruleset: RulesetFile, files: &mut Files) -> Result<(), Stopped> {
        let shown = path.display().to_string().replace('`', "'");
        match ruleset.format {
            Format::NftText | Format::Empty if path == Path::new("-") => {
                let problem = Diagnostic::error("candidate", "a candidate of nft has to be a file");
                Err(problem.help("write it into one: what it includes is looked for beside it").into())
            }
            Format::NftText | Format::Empty => {
                let source = files.shared_text(ruleset.file);
                let (script, found) = text::parse(ruleset.file, &source, files);
                files.diagnostics.extend(found);
                self.named.extend(script.commands.iter().filter_map(table_of));
                self.candidate.files.push(path.to_path_buf());
                Ok(())
            }
            Format::IptablesSave => {
                self.saves.push(files.text(ruleset.file).to_owned());
                Ok(())
            }
            Format::NftJson | Format::IpsetSave | Format::Stack => {
                let problem = format!("`{shown}` is neither a script of nft nor what iptables-save wrote");
                Err(Diagnostic::error("candidate", problem)
                    .help("give it as text that `nft -f` or iptables-restore takes")
                    .into())
            }
        }
    }

    /// The same with scripts for what iptables-save wrote, which depend on what runs; and what there is to say of them.
    pub fn with_iptables(mut self, running: &State) -> (Given, Vec<String>) {
        let mut notes = Vec::new();
        for save in std::mem::take(&mut self.saves) {
            let ipv6 = is_ipv6(&save);
            let (family, new, legacy) = match ipv6 {
                false => ("ip", &running.iptables, &running.legacy_iptables),
                true => ("ip6", &running.ip6tables, &running.legacy_ip6tables),
            };
            // The backend that is in use takes it.
            let old = new.is_empty() && !legacy.is_empty();
            let loader = match (old, ipv6) {
                (false, false) => Loader::IptablesRestore,
                (false, true) => Loader::Ip6tablesRestore,
                (true, false) => Loader::IptablesLegacyRestore,
                (true, true) => Loader::Ip6tablesLegacyRestore,
            };
            let delta =
                save_delta(if old { legacy } else { new }, &save, |chain| chain_manager(chain).is_some());
            let name = |table: &String| TableName { family: family.to_owned(), name: table.clone() };
            if !old {
                self.saved.extend(delta.tables.iter().map(name));
            }
            self.candidate.forward.push(Script { loader, text: delta.forward });
            if !delta.back.is_empty() {
                self.candidate.back.push(Script { loader, text: delta.back });
            }
            // What wasn't there goes as a whole; the old iptables keeps an empty table.
            for table in delta.new_tables.iter().filter(|_| !old).map(name) {
                let text = format!("add table {table}\ndelete table {table}\n");
                self.candidate.back.push(Script { loader: Loader::Nft, text });
            }
            notes.extend(delta.notes);
        }
        (self, notes)
    }
}

/// Whether a text is of ip6tables-save: it says so, or has words that IPv4 doesn't know.
pub fn is_ipv6(save: &str) -> bool {
    let header = save.lines().any(|line| line.starts_with('#') && line.contains("ip6tables"));
    let words = || save.lines().filter(|line| line.starts_with("-A")).flat_map(str::split_whitespace);
    header
        || words().any(|word| {
            matches!(word, "ipv6-icmp" | "icmpv6" | "icmp6")
                || word.parse::<Ipv6Addr>().is_ok()
                || word.split_once('/').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
        })
}

/// The table that a command names.
fn table_of(command: &Command) -> Option<TableName> {
    let of = |table: &TableRef| {
        let family = match table.family {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
            Family::Inet => "inet",
            Family::Arp => "arp",
            Family::Bridge => "bridge",
            Family::Netdev => "netdev",
        };
        Some(TableName { family: family.to_owned(), name: table.name.text.to_string() })
    };
    match &command.target {
        Target::Table(table) => of(&table.id),
        Target::Item { table, .. } | Target::Elements { table, .. } | Target::RenameChain { table, .. } => {
            of(table)
        }
        Target::Rule(rule) => of(&rule.table),
        Target::Ruleset(_)
        | Target::Define(_)
        | Target::Undefine(_)
        | Target::Include { .. }
        | Target::Other { .. } => None,
    }
}

/// What iptables-save of a loader's kind lists.
pub fn save_of(loader: Loader, state: &State) -> &str {
    match loader {
        Loader::IptablesRestore => &state.iptables,
        Loader::Ip6tablesRestore => &state.ip6tables,
        Loader::IptablesLegacyRestore => &state.legacy_iptables,
        Loader::Ip6tablesLegacyRestore => &state.legacy_ip6tables,
        Loader::Nft => &state.nft,
        Loader::IpsetRestore => &state.ipset,
    }
}
