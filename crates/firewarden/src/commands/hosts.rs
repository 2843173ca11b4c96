//! The hosts that a command is about, loaded.

use super::Stopped;
use crate::cli::Input;
use crate::load::snapshot::{self, Captured};
use crate::load::{self, Files, RulesetFile, Subject};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use firewarden_network::{Address, Host, Interface};
use firewarden_packet::{AtomTable, InterfaceName};
use firewarden_ruleset::ir::Ruleset;
use firewarden_verify::Located;
use firewarden_verify::stack::{self, StackFile, read_stack};
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What people call a host that they gave no name.
pub const BARE_HOST: &str = "host";

/// Everything that was read.
pub struct Loaded {
    /// The texts, and what is wrong with them.
    pub files: Files,
    /// All constructs that aren't modelled.
    pub atoms: AtomTable,
    /// The stack file, where there is one.
    pub stack: Option<StackFile>,
    /// The hosts, in the order of the stack file; a single one where there is none.
    /// They live as long as the program: taking millions of rules apart at the end would only cost time.
    pub hosts: ManuallyDrop<Vec<Host>>,
    /// The files of each host.
    pub inputs: Vec<Vec<RulesetFile>>,
}

/// The hosts of one version of a stack.
pub struct Hosts {
    /// The stack file, where there is one.
    pub stack: Option<StackFile>,
    /// As in [`Loaded`].
    pub hosts: ManuallyDrop<Vec<Host>>,
    /// The files of each host.
    pub inputs: Vec<Vec<RulesetFile>>,
}

/// Reads the stack file or the rulesets. The error is one that leaves nothing to go on with; others are among the
/// diagnostics.
pub fn load(input: &Input) -> Result<Loaded, Stopped> {
    let mut files = Files::with_include_paths(&input.include_paths);
    if let Some((folder, name)) = &input.renamed {
        files.rename(folder, name);
    }
    files.bring(&input.texts);
    let mut atoms = AtomTable::default();
    let Hosts { stack, hosts, inputs } =
        load_from(&input.paths, input.host.as_deref(), &mut files, &mut atoms)?;
    Ok(Loaded { files, atoms, stack, hosts, inputs })
}

/// The same for one of several versions, which share files and atoms.
pub fn load_from(
    paths: &[PathBuf],
    host: Option<&str>,
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Result<Hosts, Stopped> {
    match load::subject(paths, files)? {
        Subject::Rulesets(rulesets) => {
            let name = host.unwrap_or(BARE_HOST);
            let ruleset = load::ruleset(name, &rulesets, files, atoms);
            let host = Host { name: name.to_owned(), ruleset, forwards: true, ..Host::default() };
            Ok(Hosts { stack: None, hosts: ManuallyDrop::new(vec![host]), inputs: vec![rulesets] })
        }
        Subject::Stack(file) => Ok(of_stack(file, None, files, atoms)),
        Subject::Snapshots(folders) => of_snapshots(&folders, files, atoms),
    }
}

/// What a host of `live` becomes when a file is loaded on top of what it runs, as `nft -f` and iptables-restore do it: a
/// script of nft changes what is there, each table of iptables takes the place of its like.
pub fn on_top(
    live: &Hosts,
    paths: &[PathBuf],
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Result<Hosts, Stopped> {
    let added = match load::subject(paths, files)? {
        Subject::Rulesets(added) => added,
        Subject::Stack(_) | Subject::Snapshots(_) => {
            let problem = Diagnostic::error("not-a-ruleset", "the live ruleset is compared with a ruleset");
            let help =
                "give the file that is to be loaded; a stack is compared with `diff --git` or two folders";
            return Err(problem.help(help).into());
        }
    };
    let (Some(host), Some(listed)) = (live.hosts.first(), live.inputs.first()) else {
        return Err(Diagnostic::error("no-host", "there is no live host").into());
    };
    let ruleset = load::on_top(&host.name, listed, &added, files, atoms);
    let inputs = [listed.as_slice(), &added].concat();
    let after = Host { ruleset, ..host.clone() };
    Ok(Hosts { stack: live.stack.clone(), hosts: ManuallyDrop::new(vec![after]), inputs: vec![inputs] })
}

/// A captured host in place of what is declared of its rules.
#[cfg(feature = "apply")]
#[derive(Clone, Copy, Debug)]
pub struct Live<'l> {
    /// The stack file, or its folder; `None` for the host alone.
    pub stack: Option<&'l Path>,
    /// Its name there.
    pub host: &'l str,
    /// The snapshot's folder.
    pub folder: &'l Path,
}

/// The hosts of a stack, one of them as it was captured.
#[cfg(feature = "apply")]
pub fn with_live(live: Live<'_>, files: &mut Files, atoms: &mut AtomTable) -> Result<Hosts, Stopped> {
    let Some(stack) = live.stack else { return of_snapshots(&[live.folder.to_path_buf()], files, atoms) };
    let file = stack_file(stack, files)?;
    let hosts = of_stack(file, Some((live.host, live.folder)), files, atoms);
    let known: Vec<&str> = hosts.hosts.iter().map(|host| host.name.as_str()).collect();
    match known.contains(&live.host) {
        true => Ok(hosts),
        false => Err(unknown(live.host, &known).into()),
    }
}

#[cfg(feature = "apply")]
fn stack_file(path: &Path, files: &mut Files) -> Result<FileId, Diagnostic> {
    match load::subject(&[path.to_path_buf()], files)? {
        Subject::Stack(file) => Ok(file),
        _ => Err(Diagnostic::error("no-stack-file", format!("`{}` is no stack file", path.display()))
            .help("name a firewarden.yaml, or the folder that has one")),
    }
}

/// What a stack file declares, without the rulesets that it names.
///
/// # Errors
/// It can't be read, or something is wrong with it.
#[cfg(feature = "apply")]
pub fn declared_stack(path: &Path, files: &mut Files) -> Result<StackFile, Stopped> {
    let file = stack_file(path, files)?;
    let (stack, found) = read_stack(file, files.text(file));
    if load::has_errors(&found) {
        return Err(Stopped { diagnostics: found, sources: std::mem::take(&mut files.sources) });
    }
    Ok(stack)
}

fn of_stack(file: FileId, live: Option<(&str, &Path)>, files: &mut Files, atoms: &mut AtomTable) -> Hosts {
    let (mut stack, found) = read_stack(file, files.text(file));
    files.diagnostics.extend(found);
    let (mut hosts, mut inputs) = (Vec::new(), Vec::new());
    for declared in &mut stack.hosts {
        let is_live = live.filter(|(name, _)| *name == declared.name.value);
        let captured = match is_live {
            Some((_, folder)) => {
                declared.rules.clear();
                snapshot::read(folder, files).map_err(|problem| files.diagnostics.push(problem)).ok()
            }
            None => snapshot_of(declared, file, files),
        };
        let mut rulesets = rulesets_of(declared, file, files);
        if let Some(captured) = captured.as_ref().filter(|_| declared.rules.is_empty()) {
            rulesets.clone_from(&captured.rulesets);
        }
        let ruleset = load::ruleset(&declared.name.value, &rulesets, files, atoms);
        hosts.push(match captured {
            Some(captured) => completed(declared, captured, ruleset),
            None => host_of(declared, ruleset),
        });
        inputs.push(rulesets);
    }
    Hosts { stack: Some(stack), hosts: ManuallyDrop::new(hosts), inputs }
}

fn of_snapshots(folders: &[PathBuf], files: &mut Files, atoms: &mut AtomTable) -> Result<Hosts, Stopped> {
    let (mut stack, mut hosts, mut inputs) = (StackFile::default(), Vec::new(), Vec::new());
    for folder in folders {
        let captured = snapshot::read(folder, files)?;
        let name = captured.host.name.clone();
        if stack.host(&name).is_some() {
            let twice = Diagnostic::error("snapshot-twice", format!("two snapshots are of `{name}`"));
            return Err(Stopped {
                diagnostics: vec![twice.help("give them apart, or capture one under another `--host`")],
                sources: std::mem::take(&mut files.sources),
            });
        }
        let mut declared = stack::Host {
            name: Located::new(name.clone(), Span::new(captured.manifest, 0, 0)),
            rules: Vec::new(),
            snapshot: None,
            addresses: Vec::new(),
            interfaces: Vec::new(),
            published: Vec::new(),
            tcp_loose: true,
        };
        let rulesets = captured.rulesets.clone();
        let ruleset = load::ruleset(&name, &rulesets, files, atoms);
        hosts.push(completed(&mut declared, captured, ruleset));
        stack.hosts.push(declared);
        inputs.push(rulesets);
    }
    Ok(Hosts { stack: Some(stack), hosts: ManuallyDrop::new(hosts), inputs })
}

/// The snapshot that a stack file names for a host. `None` where there is none, or after saying what is wrong with it.
fn snapshot_of(declared: &stack::Host, file: FileId, files: &mut Files) -> Option<Captured> {
    let named = declared.snapshot.as_ref()?;
    let folder = files.folder(file).join(&named.value);
    // Declared rules take the place of captured ones, which may then be missing.
    let found = match declared.rules.as_slice() {
        [] => snapshot::read(&folder, files),
        _ => snapshot::read_facts(&folder, files),
    };
    match found {
        Ok(captured) => Some(captured),
        Err(problem) => {
            files.diagnostics.push(problem.at(named.span, "named here"));
            None
        }
    }
}

/// A captured host. What is declared of it counts more: its rules and interfaces take the place of the captured ones, its
/// addresses are added. The declaration gets the captured addresses, so that intents know them.
fn completed(declared: &mut stack::Host, captured: Captured, ruleset: Ruleset) -> Host {
    let mut host = captured.host;
    host.name.clone_from(&declared.name.value);
    host.ruleset = ruleset;
    let own = host_of(declared, Ruleset::default());
    if !own.interfaces.is_empty() {
        host.interfaces = own.interfaces;
    }
    host.addresses.extend(own.addresses);
    declared.tcp_loose &= captured.tcp_loose;
    let at = declared.snapshot.as_ref().map_or(declared.name.span, |named| named.span);
    for nfproto in [2, 10] {
        // What every link has, and whole ranges that are taken in, are no addresses to speak of in an intent.
        let single = host
            .own(nfproto)
            .ranges()
            .iter()
            .filter(|(low, high)| high - low < 256)
            .copied()
            .collect::<Vec<_>>();
        for value in single.into_iter().flat_map(|(low, high)| low..=high) {
            let address = match nfproto {
                2 => IpAddr::V4(u32::try_from(value).unwrap_or_default().into()),
                _ => IpAddr::V6(value.into()),
            };
            let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if !link_local && declared.addresses.iter().all(|known| known.value != address) {
                declared.addresses.push(Located::new(address, at));
            }
        }
    }
    host
}

impl Loaded {
    /// The host of that name.
    pub fn one_host(&self, name: &str) -> Result<usize, Diagnostic> {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        names.iter().position(|known| *known == name).ok_or_else(|| unknown(name, &names))
    }
}

/// The error for a name that no host has.
pub fn unknown(name: &str, known: &[&str]) -> Diagnostic {
    let problem = Diagnostic::error("unknown-host", format!("there is no host `{}`", name.replace('`', "'")));
    match firewarden_verify::nearest(name, known.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("hosts are: {}", known.join(", "))),
    }
}

fn rulesets_of(declared: &stack::Host, file: FileId, files: &mut Files) -> Vec<RulesetFile> {
    let mut rulesets = Vec::new();
    for path in &declared.rules {
        rulesets.extend(load::declared(&path.value, path.span, file, files));
    }
    rulesets
}

/// A declared host as the network knows it.
fn host_of(declared: &stack::Host, ruleset: Ruleset) -> Host {
    let interfaces: Vec<Interface> = declared
        .interfaces
        .iter()
        .map(|interface| Interface {
            // The stack file's reader refuses names that are too long.
            name: InterfaceName::new(&interface.name.value).unwrap_or(InterfaceName(0)),
            addresses: interface
                .addresses
                .iter()
                .map(|own| address(own.value.address, Some(own.value.prefix_length)))
                .collect(),
            uplink: interface.uplink,
        })
        .collect();
    Host {
        name: declared.name.value.clone(),
        ruleset,
        forwards: interfaces.len() > 1,
        interfaces,
        addresses: declared.addresses.iter().map(|own| address(own.value, None)).collect(),
        addresses_known: true,
        ..Host::default()
    }
}

fn address(address: IpAddr, prefix: Option<u32>) -> Address {
    match address {
        IpAddr::V4(v4) => {
            Address { nfproto: 2, value: u128::from(u32::from(v4)), prefix: prefix.unwrap_or(32) }
        }
        IpAddr::V6(v6) => Address { nfproto: 10, value: u128::from(v6), prefix: prefix.unwrap_or(128) },
    }
}
