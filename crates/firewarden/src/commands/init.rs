//! A first stack file, from snapshots, from this host, or from an inventory; and what a later look would add to it.

mod draft;
mod flows;
mod inventory;
mod update;

use super::Stopped;
use super::capture::lacking;
use super::hosts;
use super::paths::relative;
use crate::cli::Init;
use crate::load::snapshot as folder;
use crate::load::{self, Files};
use crate::output::{self, Color};
use crate::progress::Progress;
use draft::{Draft, Origin};
use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_host::snapshot::{self, RULESET, read_manifest};
use firewarden_host::{CaptureOptions, capture};
use firewarden_network::Host;
use firewarden_packet::AtomTable;
use firewarden_verify::intent::{Expectation, Names, Resolved, Service, is_name, resolve};
use firewarden_verify::stack::{DeclaredIntent, StackFile, read_stack};
use flows::{Observed, Seen};
use inventory::Inventory;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The folder beside the stack file in which a snapshot of this host is kept.
const SNAPSHOTS: &str = "snapshots";

/// Runs the command.
pub fn run(options: &Init, color: Color) -> Result<ExitCode, Stopped> {
    if options.update { update(options, color) } else { create(options, color) }
}

/// What was found out about hosts.
#[derive(Default)]
struct Facts {
    hosts: Vec<Host>,
    origins: Vec<Origin>,
    inventory: Inventory,
    /// Where it comes from, in words.
    about: Vec<String>,
}

fn create(options: &Init, color: Color) -> Result<ExitCode, Stopped> {
    if options.out.symlink_metadata().is_ok() {
        return Err(Stopped::from(exists(&options.out)));
    }
    let mut files = Files::default();
    let facts = gather(options, &mut files, color)?;
    let draft = first_draft(&facts);
    if draft.hosts.is_empty() {
        return Err(Stopped::from(
            Diagnostic::error("nothing-found", "no host with an address was found")
                .help("give snapshots (`firewarden capture`), or an inventory with `ansible_host`"),
        ));
    }
    let text = draft.file(&facts.about.join(" and "));
    let (_, problems) = read_again(&text, &mut files);
    if load::has_errors(&problems) {
        return Err(Stopped { diagnostics: problems, sources: files.sources });
    }
    let mut opened = OpenOptions::new();
    let written = opened.write(true).create_new(true).open(&options.out);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| unwritable(&options.out, &error))?;
    say(&files, &draft, color);
    let count =
        draft.intents.iter().filter(|entry| entry.iter().any(|line| line.contains("proposed:"))).count();
    output::print(&format!(
        "{}: {}, {}; look at them, then run `firewarden check {0}`\n",
        options.out.display(),
        plural(draft.hosts.len(), "host"),
        plural(count, "proposed intent"),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Tells what is wrong with the inputs and what isn't in the file.
fn say(files: &Files, draft: &Draft, color: Color) {
    output::complain(&files.diagnostics, &files.sources, color);
    let remarks: Vec<Diagnostic> =
        draft.remarks.iter().map(|remark| Diagnostic::note("init", remark.clone())).collect();
    output::complain(&remarks, &SourceMap::default(), color);
}

fn exists(out: &Path) -> Diagnostic {
    let shown = out.display();
    Diagnostic::error("exists", format!("`{shown}` is there already, and nothing is overwritten")).help(
        format!("see what is new with `firewarden init --update --out {shown}`, or give another `--out`"),
    )
}

fn unwritable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", path.display()))
        .help("give a file with `--out` in a folder that you may write to")
}

/// Reads a stack file that was made here.
fn read_again(text: &str, files: &mut Files) -> (StackFile, Vec<Diagnostic>) {
    let file = files.sources.add("the new stack file", text);
    read_stack(file, text)
}

/// The folder of the stack file.
fn folder_of(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn gather(options: &Init, files: &mut Files, color: Color) -> Result<Facts, Stopped> {
    let mut facts = Facts::default();
    if let Some(path) = &options.inventory {
        let file = files.open(path)?;
        facts.inventory = inventory::read(files.text(file)).map_err(|why| {
            Diagnostic::error("inventory", format!("`{}` isn't an inventory: {why}", files.name(file)))
                .help("give an Ansible inventory in the INI or the YAML format; `ansible-inventory --list` makes one of any other")
        })?;
        facts.about.push(format!("the inventory {}", files.name(file)));
    }
    let mut folders = Vec::new();
    for path in &options.snapshots {
        let inside = if folder::is_snapshot(path) { vec![path.clone()] } else { folder::snapshots_in(path) };
        if inside.is_empty() {
            let message = format!("`{}` is no snapshot, and holds none", path.display());
            return Err(Stopped::from(
                Diagnostic::error("no-snapshot", message).help("take one with `firewarden capture`"),
            ));
        }
        folders.extend(inside);
    }
    for one in &folders {
        facts.add(one, &folder_of(&options.out), files)?;
    }
    if !folders.is_empty() {
        facts.about.push(plural(folders.len(), "snapshot"));
    } else if options.inventory.is_none() && !options.update {
        live(options, &mut facts, files, color)?;
        facts.about.push("the host it was run on".to_owned());
    }
    Ok(facts)
}

impl Facts {
    /// Adds what a snapshot says.
    fn add(&mut self, from: &Path, base: &Path, files: &mut Files) -> Result<(), Stopped> {
        let captured = folder::read_facts(from, files)?;
        if self.hosts.iter().any(|host| host.name == captured.host.name) {
            let message = format!("two snapshots are of `{}`", captured.host.name);
            return Err(Stopped::from(
                Diagnostic::error("snapshot-twice", message)
                    .help("give one of them, or capture one under another `--host`"),
            ));
        }
        let manifest = read_manifest(files.text(captured.manifest)).unwrap_or_default();
        let missing = manifest.missing.get(RULESET);
        self.origins.push(Origin {
            snapshot: missing.is_none().then(|| relative(base, from)),
            no_rules: missing.cloned(),
        });
        self.hosts.push(captured.host);
        Ok(())
    }
}

/// Captures this host. The snapshot is kept beside the stack file where it has the rules.
fn live(options: &Init, facts: &mut Facts, files: &mut Files, color: Color) -> Result<(), Stopped> {
    let name = options.host.clone().unwrap_or_else(firewarden_host::host_name);
    if !is_name(&name) {
        let message = format!("`{}` can't be the name of a host", name.replace('`', "'"));
        return Err(Stopped::from(
            Diagnostic::error("host-name", message)
                .help("give one with `--host`: letters, digits, `_`, `.` and `-`"),
        ));
    }
    let progress = Progress::start("reading this host");
    let wanted = CaptureOptions { host: Some(name.clone()), namespace: None, without_rules: false };
    let taken = capture(&wanted).map_err(|error| {
        Diagnostic::error("capture-failed", error.to_string().replace('\n', " "))
            .help("install iproute2 and nftables, or give a snapshot or an `--inventory`")
    })?;
    drop(progress);
    let missing: Vec<Diagnostic> =
        taken.manifest.missing.iter().map(|(file, why)| lacking(file, why)).collect();
    output::complain(&missing, &SourceMap::default(), color);
    let base = folder_of(&options.out);
    let not_kept = |error: &dyn std::fmt::Display| {
        Diagnostic::error("capture-unwritten", error.to_string())
            .help(format!("remove the old snapshot, or give it: `firewarden init {SNAPSHOTS}/{name}`"))
    };
    if taken.manifest.missing.contains_key(RULESET) {
        let short = tempfile::tempdir().map_err(|error| not_kept(&error))?;
        let at = snapshot::write(&taken, short.path(), false).map_err(|error| not_kept(&error))?;
        return facts.add(&at, &base, files);
    }
    let at = snapshot::write(&taken, &base.join(SNAPSHOTS), false).map_err(|error| not_kept(&error))?;
    facts.add(&at, &base, files)
}

/// Everything that is known, as a stack file's entries.
fn first_draft(facts: &Facts) -> Draft {
    let mut draft = Draft::default();
    let merged = draft::merge(&facts.inventory, &facts.hosts);
    let observed = flows::observe(&facts.hosts);
    let mut hosts = facts.hosts.clone();
    hosts.extend(merged.hosts.iter().cloned());
    for (index, host) in hosts.iter().enumerate() {
        let published: Vec<_> =
            observed.published.iter().filter(|(of, _)| *of == index).map(|(_, range)| *range).collect();
        let origin = facts.origins.get(index).cloned();
        let origin = origin.unwrap_or_else(|| Origin {
            snapshot: None,
            no_rules: Some("only the inventory knows it".to_owned()),
        });
        draft.hosts.push(draft::host(host, &origin, &published));
    }
    draft.groups = draft::groups(&facts.inventory, &merged, &|_| false);
    draft.services = draft::services(&hosts, &|_| false);
    let flows = flows::group(&observed.connections, &hosts);
    draft.intents = draft::intents(&flows, &hosts, &|_, _, _| false);
    if draft.intents.is_empty() {
        let names: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
        draft.intents.push(draft::nobody_from_outside(&names));
    }
    remarks(&mut draft, &observed, &merged.without_address);
    draft
}

/// The flows that connections show, as intents that nobody has accepted: for pages about snapshots alone.
pub fn observed(hosts: &[Host], files: &mut Files) -> Vec<DeclaredIntent> {
    let flows = flows::group(&flows::observe(hosts).connections, hosts);
    let entries = draft::intents(&flows, hosts, &|_, _, _| true);
    let text = Draft { intents: entries, ..Draft::default() }.file("observed connections");
    let file = files.sources.add("observed connections", text.as_str());
    read_stack(file, &text).0.intents
}

fn remarks(draft: &mut Draft, observed: &Observed, without_address: &[String]) {
    let unknown = draft.hosts.iter().filter(|entry| entry.iter().any(|line| line == draft::RULES_WANTED));
    let names: Vec<String> =
        unknown.filter_map(|entry| Some(format!("`{}`", entry.first()?.trim_end_matches(':')))).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        draft.remarks.push(format!(
            "no rules are known of {names}: until the file names them, nothing seems to be filtered there"
        ));
    }
    if observed.unclear > 0 {
        draft.remarks.push(format!(
            "{} to ports of clients are left out, since nobody is known to listen there",
            plural(observed.unclear, "connection")
        ));
    }
    if observed.moved > 0 {
        draft.remarks.push(format!(
            "{} are left out that a host translates to another port: write the intent for the port that is served",
            plural(observed.moved, "connection")
        ));
    }
    for name in without_address {
        let name = name.replace('`', "'");
        draft.remarks.push(format!(
            "`{name}` of the inventory is left out: it has no `ansible_host` that is an address"
        ));
    }
}

fn update(options: &Init, color: Color) -> Result<ExitCode, Stopped> {
    let mut files = Files::default();
    let mut atoms = AtomTable::default();
    let loaded = hosts::load_from(std::slice::from_ref(&options.out), None, &mut files, &mut atoms)?;
    let Some(stack) = loaded.stack else {
        let message = format!("`{}` is no stack file", options.out.display());
        return Err(Stopped::from(
            Diagnostic::error("no-stack-file", message).help("name it with `--out firewarden.yaml`"),
        ));
    };
    if load::has_errors(&files.diagnostics) {
        return Err(Stopped { diagnostics: files.diagnostics, sources: files.sources });
    }
    let facts = gather(options, &mut files, color)?;
    let draft = additions(&stack, ManuallyDrop::into_inner(loaded.hosts), facts);
    say(&files, &draft, color);
    let shown = options.out.display();
    if draft.is_empty() {
        output::print(&format!("{shown}: nothing to add\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let file = files.open(&options.out)?;
    let text = files.shared_text(file);
    let by_hand = |why: String| {
        let entries = draft.sections().map(|(section, entries)| {
            entries.iter().flatten().map(|line| format!("{section}: {line}")).collect::<Vec<_>>()
        });
        let mut problem = Diagnostic::error("not-added", format!("nothing can be added to `{shown}`: {why}"));
        problem.notes = entries.into_iter().flatten().collect();
        Stopped::from(problem.help("write the section in lines of its own, or add these by hand"))
    };
    let added = update::additions(&text, &draft)
        .map_err(|section| by_hand(format!("its `{section}` aren't written one to a line")))?;
    let fresh = update::apply(&text, &added);
    let (again, problems) = read_again(&fresh, &mut files);
    let proposed =
        draft.intents.iter().filter(|entry| entry.iter().any(|line| line.contains("proposed:"))).count();
    let complete = again.hosts.len() == stack.hosts.len() + draft.hosts.len()
        && again.intents.len() == stack.intents.len() + proposed
        && again.groups.len() == stack.groups.len() + draft.groups.len();
    if load::has_errors(&problems) || !complete {
        return Err(by_hand("the result would not read as it should".to_owned()));
    }
    output::print(&update::diff(&shown.to_string(), &text, &added))?;
    if options.write {
        replace(&options.out, &fresh).map_err(|error| unwritable(&options.out, &error))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a new text in the place of a file, completely or not at all, with the rights that the file has.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // Through links, so that the file is replaced and not the link.
    let path = path.canonicalize()?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder_of(&path))?;
    fresh.write_all(text.as_bytes())?;
    fs::set_permissions(fresh.path(), fs::metadata(&path)?.permissions())?;
    fresh.as_file().sync_all()?;
    fresh.persist(&path)?;
    Ok(())
}

/// What a stack file doesn't have yet.
fn additions(stack: &StackFile, mut known: Vec<Host>, facts: Facts) -> Draft {
    let mut draft = Draft::default();
    let first_new = known.len();
    for (host, origin) in facts.hosts.into_iter().zip(&facts.origins) {
        let same = known.iter().position(|other| {
            let shares = |nfproto| !other.own(nfproto).intersect(&host.own(nfproto)).is_empty();
            other.name == host.name || shares(2) || shares(10)
        });
        match same.and_then(|index| known.get_mut(index)) {
            Some(other) => {
                other.connections.extend(host.connections);
                let listening = other.listening.get_or_insert_with(Vec::new);
                listening.extend(host.listening.into_iter().flatten());
            }
            None => {
                draft.hosts.push(draft::host(&host, origin, &[]));
                known.push(host);
            }
        }
    }
    let merged = draft::merge(&facts.inventory, &known);
    for host in &merged.hosts {
        let origin = Origin { snapshot: None, no_rules: Some("only the inventory knows it".to_owned()) };
        draft.hosts.push(draft::host(host, &origin, &[]));
        known.push(host.clone());
    }
    let taken = |name: &str| stack.group(name).is_some() || stack.host(name).is_some();
    draft.groups = draft::groups(&facts.inventory, &merged, &taken);
    draft.services = draft::services(&known, &|name| stack.service(name).is_some());
    let mut observed = flows::observe(&known);
    let declared = Declared::of(stack);
    let mut denied: BTreeMap<String, usize> = BTreeMap::new();
    observed.connections.retain(|seen| match declared.about(seen) {
        Some(about) => {
            *denied.entry(about.to_owned()).or_default() += usize::from(about != COVERED);
            false
        }
        None => true,
    });
    for (intent, count) in denied.iter().filter(|(_, count)| **count > 0) {
        let connections = plural(*count, "connection");
        draft.remarks.push(format!(
            "{connections} were seen although `{intent}` is there, and nothing is proposed for them"
        ));
    }
    for (index, range) in &observed.published {
        if let Some(host) = stack.hosts.get(*index) {
            let own = firewarden_verify::address::address(range.family, range.low);
            if host.published.iter().all(|known| known.value != own) {
                draft.remarks.push(format!(
                    "`{}` is reached by way of {range}: add it to its `published`",
                    host.name.value
                ));
            }
        }
    }
    let flows = flows::group(&observed.connections, &known);
    let serves =
        |index: usize, protocol: u8, port: u16| index < first_new && declared.serves(index, protocol, port);
    // What listens and isn't asked about is proposed only with a host that is new.
    let entries = draft::intents(&flows, &known, &serves);
    draft.intents = match flows.is_empty() && draft.hosts.is_empty() {
        true => Vec::new(),
        false => entries,
    };
    remarks(&mut draft, &observed, &merged.without_address);
    draft
}

/// Stands for "an intent allows it".
const COVERED: &str = "";

/// The intents of a stack file, looked up.
struct Declared {
    intents: Vec<(String, Resolved)>,
}

impl Declared {
    fn of(stack: &StackFile) -> Declared {
        let names = Names::new(stack);
        let all = stack.intents.iter();
        let intents =
            all.filter_map(|one| Some((one.intent.full_text(), resolve(one, &names).ok()?))).collect();
        Declared { intents }
    }

    /// The intent that forbids a connection, or [`COVERED`] where one allows it. `None` where none speaks of it.
    fn about(&self, seen: &Seen) -> Option<&str> {
        let mut forbids = None;
        for (text, intent) in &self.intents {
            let to_host = seen.server.is_some_and(|index| intent.destination.host(index).is_some());
            let to = to_host || intent.destination.all().get(seen.family).contains(seen.destination.0);
            if !to || !covers(intent, seen.protocol, seen.destination.1) {
                continue;
            }
            let from = intent.source.all().get(seen.family).contains(seen.source.0);
            match (intent.expectation, from) {
                (Expectation::Allow | Expectation::Only, true) => return Some(COVERED),
                (Expectation::Deny, true) | (Expectation::Only, false) => {
                    forbids = forbids.or(Some(text.as_str()))
                }
                _ => {}
            }
        }
        forbids
    }

    /// Whether some intent is about a service of a host.
    fn serves(&self, index: usize, protocol: u8, port: u16) -> bool {
        let about = |(_, intent): &(String, Resolved)| {
            intent.destination.host(index).is_some() && covers(intent, protocol, port)
        };
        self.intents.iter().any(about)
    }
}

fn covers(intent: &Resolved, protocol: u8, port: u16) -> bool {
    intent.services.iter().any(|service| match service {
        Service::Any => true,
        Service::Protocol(own) => *own == protocol,
        Service::Ports { protocol: own, low, high } => *own == protocol && (*low..=*high).contains(&port),
        Service::Icmp { .. } | Service::Named(_) => false,
    })
}
