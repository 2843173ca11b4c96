//! What a stack file says about the machines of a lab.

use crate::commands::Stopped;
use crate::commands::hosts::declared_stack;
use crate::commands::plan::is_ipv6;
use crate::load::{self, Files, Format, RulesetFile, Subject};
use crate::output::Color;
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::layout::{Declared, Interface, Layout, Loader, Prefix, RulesFile};
use firewarden_lab::stack;
use firewarden_verify::stack::Host;
use std::path::Path;

/// The machines of a folder's stack file.
pub fn of_folder(folder: &Path, color: Color) -> Result<Layout, Stopped> {
    let mut files = Files::with_include_paths(&[]);
    let declared = declared_stack(folder, &mut files)?;
    let mut hosts = Vec::new();
    for host in &declared.hosts {
        hosts.push(of_host(host, folder, &mut files)?);
    }
    if load::has_errors(&files.diagnostics) {
        return Err(Stopped { diagnostics: files.diagnostics, sources: files.sources });
    }
    crate::output::complain(&files.diagnostics, &files.sources, color);
    Layout::new(&hosts).map_err(|error| {
        Diagnostic::error("no-web-stack", format!("`{}`: {error}", folder.display()))
            .help("a lab is built of hosts `edge` (interfaces `wan` and `lan`), `lb`, `app` and `db`, as in examples/webstack")
            .into()
    })
}

/// The machines of the web stack that comes along, with its files as they will be in the lab.
pub fn built_in(color: Color) -> Result<Layout, Stopped> {
    let unwritable = |error: std::io::Error| {
        Diagnostic::error("temporary-folder", format!("the web stack can't be unpacked: {error}"))
            .help("make room in the folder for temporary files, or name another one in TMPDIR")
    };
    let folder = tempfile::tempdir().map_err(unwritable)?;
    stack::write(folder.path()).map_err(unwritable)?;
    let mut layout = of_folder(folder.path(), color)?;
    for rules in layout.rules_mut() {
        if let Ok(inside) = rules.path.strip_prefix(folder.path()) {
            rules.path = Path::new(stack::BUILT_IN).join(inside);
        }
    }
    Ok(layout)
}

fn of_host(host: &Host, folder: &Path, files: &mut Files) -> Result<Declared, Diagnostic> {
    let name = &host.name.value;
    if host.snapshot.is_some() {
        let message = format!("the host `{name}` is declared by a snapshot, which can't be loaded");
        return Err(
            Diagnostic::error("not-a-ruleset", message).help("name the files with its rules under `rules`")
        );
    }
    let mut rules = Vec::new();
    for declared in &host.rules {
        let path = folder.join(&declared.value);
        let loader = match load::subject(std::slice::from_ref(&path), files)? {
            Subject::Rulesets(rulesets) => rulesets.first().and_then(|ruleset| loader(*ruleset, files)),
            Subject::Stack(_) | Subject::Snapshots(_) => None,
        };
        let Some(loader) = loader else {
            let message = format!("`{}` is no file that a host loads", declared.value.replace('`', "'"));
            return Err(Diagnostic::error("not-a-ruleset", message)
                .help("give it as text that `nft -f` or iptables-restore takes"));
        };
        let path = path.canonicalize().unwrap_or(path);
        rules.push(RulesFile { path, loader });
    }
    let prefix = |address: &firewarden_verify::stack::InterfaceAddress| Prefix {
        address: address.address,
        length: u8::try_from(address.prefix_length).unwrap_or(u8::MAX),
    };
    let interfaces = host.interfaces.iter().map(|interface| Interface {
        name: interface.name.value.clone(),
        addresses: interface.addresses.iter().map(|address| prefix(&address.value)).collect(),
    });
    Ok(Declared {
        name: name.clone(),
        interfaces: interfaces.collect(),
        addresses: host.addresses.iter().map(|address| address.value).collect(),
        rules,
    })
}

/// What loads a file.
fn loader(ruleset: RulesetFile, files: &Files) -> Option<Loader> {
    match ruleset.format {
        Format::NftText | Format::Empty => Some(Loader::Nft),
        Format::IptablesSave if is_ipv6(files.text(ruleset.file)) => Some(Loader::Ip6tables),
        Format::IptablesSave => Some(Loader::Iptables),
        Format::IpsetSave => Some(Loader::Ipset),
        Format::NftJson | Format::Stack => None,
    }
}
