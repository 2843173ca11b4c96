//! The hosts that a command is about, loaded.

use super::Stopped;
use crate::cli::Input;
use crate::load::{self, Files, RulesetFile, Subject};
use firewarden_diagnostic::{Diagnostic, FileId};
use firewarden_network::{Address, Host, Interface};
use firewarden_packet::{AtomTable, InterfaceName};
use firewarden_ruleset::ir::Ruleset;
use firewarden_verify::stack::{self, StackFile, read_stack};
use std::net::IpAddr;

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
    pub hosts: Vec<Host>,
    /// The files of each host.
    pub inputs: Vec<Vec<RulesetFile>>,
}

/// Reads the stack file or the rulesets. The error is one that leaves nothing to go on with; others are among the
/// diagnostics.
pub fn load(input: &Input) -> Result<Loaded, Stopped> {
    let mut files = Files::with_include_paths(&input.include_paths);
    let subject = load::subject(&input.paths, &mut files)?;
    let mut atoms = AtomTable::default();
    match subject {
        Subject::Rulesets(rulesets) => {
            let name = input.host.as_deref().unwrap_or(BARE_HOST);
            let ruleset = load::ruleset(name, &rulesets, &mut files, &mut atoms);
            let host = Host { name: name.to_owned(), ruleset, forwards: true, ..Host::default() };
            Ok(Loaded { files, atoms, stack: None, hosts: vec![host], inputs: vec![rulesets] })
        }
        Subject::Stack(file) => {
            let (stack, found) = read_stack(file, files.text(file));
            files.diagnostics.extend(found);
            let (mut hosts, mut inputs) = (Vec::new(), Vec::new());
            for declared in &stack.hosts {
                let rulesets = rulesets_of(declared, file, &mut files);
                let ruleset = load::ruleset(&declared.name.value, &rulesets, &mut files, &mut atoms);
                hosts.push(host_of(declared, ruleset));
                inputs.push(rulesets);
            }
            Ok(Loaded { files, atoms, stack: Some(stack), hosts, inputs })
        }
    }
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
