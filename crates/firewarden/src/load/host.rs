//! The rulesets of one host: every file parsed, lowered, and put together as the kernel has them.

use super::{Files, Format, RulesetFile, sections};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Dialect, Hook, Ruleset, Table};
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::{ipset, iptables, nft};
use std::borrow::Cow;

/// Reads the files of one host. What is wrong with them goes to the diagnostics; there is always a ruleset. Atoms get the
/// host's name as their scope.
pub fn ruleset(host: &str, inputs: &[RulesetFile], files: &mut Files, atoms: &mut AtomTable) -> Ruleset {
    put_together(host, inputs, false, files, atoms)
}

/// The same for files that are loaded on top of what runs, as `nft -f` and iptables-restore do it: a script of nft changes
/// what is there, and a table of iptables takes the place of the one that is there, in whichever words that is listed.
pub fn on_top(
    host: &str,
    live: &[RulesetFile],
    added: &[RulesetFile],
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Ruleset {
    put_together(host, &[live, added].concat(), true, files, atoms)
}

fn put_together(
    host: &str,
    inputs: &[RulesetFile],
    later_replaces: bool,
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Ruleset {
    let mut scripts = Vec::new();
    for input in inputs {
        // The parser asks for further files while it reads this one.
        let text = files.shared_text(input.file);
        let (script, found) = match input.format {
            Format::NftJson => nft::json::parse(input.file, &text),
            Format::NftText => match files.parsed.remove(&input.file) {
                Some(parsed) => parsed,
                None => nft::text::parse(input.file, &text, files),
            },
            _ => continue,
        };
        scripts.push(script);
        files.diagnostics.extend(found);
    }
    let (mut ruleset, found) = lower::nft::lower(scripts, &lower::nft::LowerOptions { scope: host }, atoms);
    files.diagnostics.extend(found);
    let (tables, legacy, found) = listings(host, inputs, later_replaces, files, atoms);
    files.diagnostics.extend(found);
    let twice = same_tables(&mut ruleset, &tables, &legacy);
    if !later_replaces {
        files.diagnostics.extend(twice);
    }
    ruleset.append(tables);
    if ruleset.tables.is_empty() {
        for input in inputs.iter().filter(|input| input.format == Format::Empty) {
            files.diagnostics.push(empty(input.file, files));
        }
    }
    ruleset
}

/// What iptables-save, ip6tables-save and ipset save listed, and the places of tables that are known to be the old
/// iptables'.
fn listings(
    host: &str,
    inputs: &[RulesetFile],
    later_replaces: bool,
    files: &Files,
    atoms: &mut AtomTable,
) -> (Ruleset, Vec<Span>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut set_texts: Vec<(FileId, Cow<'_, str>)> = Vec::new();
    let mut table_texts: Vec<(FileId, Cow<'_, str>)> = Vec::new();
    for input in inputs {
        let text = files.text(input.file);
        match input.format {
            Format::IptablesSave | Format::IpsetSave => {}
            Format::NftText | Format::NftJson | Format::Stack | Format::Empty => continue,
        }
        if input.format == Format::IpsetSave || sections::has_sets(text) {
            set_texts.push((input.file, sections::only(text, true)));
        }
        if input.format == Format::IptablesSave || sections::has_tables(text) {
            table_texts.push((input.file, sections::only(text, false)));
        }
    }
    let mut saves = Vec::new();
    for (file, text) in &table_texts {
        let (save, found) = iptables::parse(*file, text);
        saves.push(save);
        diagnostics.extend(found);
    }
    let mut sets = Vec::new();
    for (file, text) in &set_texts {
        let (found_sets, found) = ipset::parse(*file, text);
        sets.push(found_sets);
        diagnostics.extend(found);
    }
    let options = lower::iptables::LowerOptions { scope: host, later_replaces };
    let (ruleset, found) = lower::iptables::lower(&saves, &sets, &options, atoms);
    diagnostics.extend(found);
    let legacy = saves.iter().flat_map(|save| {
        let old = save.tables.iter().filter(|table| table.backend == Some(iptables::Backend::Legacy));
        old.map(|table| save.span(table.at))
    });
    (ruleset, legacy.collect(), diagnostics)
}

/// Tables of iptables-nft are in `nft list ruleset` as well, with whatever nft can't print replaced. Where both
/// listings are there, iptables-save has the better one, and the other must not count a second time. A table of the old
/// iptables isn't in `nft list ruleset`: one of the same name there is another one, and both see packets.
fn same_tables(listed: &mut Ruleset, saved: &Ruleset, legacy: &[Span]) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    for index in 0..listed.tables.len() {
        let built_in = listed.chains.iter().any(|chain| {
            chain.table.0 as usize == index
                && chain.base.as_ref().is_some_and(|base| &*chain.name == built_in_name(base.hook))
        });
        let Some(table) = listed.tables.get_mut(index) else { continue };
        let same = |other: &&Table| {
            other.family == table.family && other.name == table.name && !legacy.contains(&other.span)
        };
        let Some(other) = saved.tables.iter().find(same).filter(|other| other.dialect == Dialect::Iptables)
        else {
            continue;
        };
        if built_in && !table.dormant {
            table.dormant = true;
            notes.push(
                Diagnostic::note(
                    "same-table",
                    format!(
                        "the table `{}` is listed by nft and by iptables-save; the latter counts",
                        table.name
                    ),
                )
                .at(table.span, "left out")
                .see(other.span, "used")
                .help("give only one of the two listings, or rename the table where they are different ones"),
            );
        }
    }
    notes
}

/// The name of iptables' chain on a hook.
fn built_in_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Input => "INPUT",
        Hook::Forward => "FORWARD",
        Hook::Output => "OUTPUT",
        Hook::Postrouting => "POSTROUTING",
        Hook::Ingress | Hook::Egress => "",
    }
}

fn empty(file: FileId, files: &Files) -> Diagnostic {
    let name = files.name(file).replace('`', "'");
    Diagnostic::warning("empty-ruleset", format!("`{name}` holds no rules, so everything is accepted"))
        .because("it has nothing but white space and comments")
        .help("check that it is the right file")
}
