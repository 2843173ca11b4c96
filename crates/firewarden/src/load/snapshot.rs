//! A snapshot's folder: the rules and the facts of one host.

use super::{Files, Format, RulesetFile, detect};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use firewarden_host::parse::{self, NotJson, Read, Unread};
use firewarden_host::snapshot::{self as format, Manifest};
use firewarden_network::{Address, Host, Interface, ReversePath, RouteAction, Routing, TABLE_MAIN};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a snapshot says.
#[derive(Debug)]
pub struct Captured {
    /// The host with everything but its ruleset; its name is the one that it was captured under.
    pub host: Host,
    /// The files with its rules.
    pub rulesets: Vec<RulesetFile>,
    /// `net.netfilter.nf_conntrack_tcp_loose`.
    pub tcp_loose: bool,
    /// The file that describes the snapshot.
    pub manifest: FileId,
}

/// True where a folder is a snapshot.
pub fn is_snapshot(folder: &Path) -> bool {
    folder.join(format::MANIFEST).is_file()
}

/// The snapshots in a folder of them, by name.
pub fn snapshots_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    // What is being written has a name that begins with a dot.
    let visible = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let mut found: Vec<PathBuf> =
        visible.map(|entry| entry.path()).filter(|path| is_snapshot(path)).collect();
    found.sort_unstable();
    found
}

/// Reads a snapshot. What it lacks is told among the diagnostics.
///
/// # Errors
/// A diagnostic where the folder isn't a snapshot that can be read, or has no rules.
pub fn read(folder: &Path, files: &mut Files) -> Result<Captured, Diagnostic> {
    read_parts(folder, files, true)
}

/// The same without the rules, which may be missing.
///
/// # Errors
/// A diagnostic where the folder isn't a snapshot that can be read.
pub fn read_facts(folder: &Path, files: &mut Files) -> Result<Captured, Diagnostic> {
    read_parts(folder, files, false)
}

fn read_parts(folder: &Path, files: &mut Files, with_rules: bool) -> Result<Captured, Diagnostic> {
    let manifest = files.open(&folder.join(format::MANIFEST))?;
    let about = format::read_manifest(files.text(manifest)).map_err(|why| {
        Diagnostic::error("snapshot-manifest", format!("`{}` can't be read: {why}", files.name(manifest)))
            .help("take the snapshot again with `firewarden capture`")
    })?;
    let mut reader = Reader { folder, files, about: &about, manifest };
    let rulesets = if with_rules { reader.rulesets()? } else { Vec::new() };
    let mut host = Host { name: about.host.clone(), addresses_known: true, ..Host::default() };
    reader.addresses(&mut host);
    reader.routing(&mut host);
    let tcp_loose = reader.sysctls(&mut host);
    reader.sockets(&mut host);
    Ok(Captured { host, rulesets, tcp_loose, manifest })
}

/// What a host loads when it starts.
#[derive(Debug)]
pub struct Boot {
    /// The host.
    pub host: String,
    /// The enabled services that load rules.
    pub services: Vec<String>,
    /// The files of those whose file is known; `None` where one of them couldn't be read.
    pub rulesets: Option<Vec<RulesetFile>>,
    /// The file that names the services.
    pub listing: FileId,
}

/// What the host of a snapshot loads when it starts; `None` where the snapshot doesn't say.
///
/// # Errors
/// A diagnostic where a file is there and can't be read.
pub fn boot(folder: &Path, files: &mut Files) -> Result<Option<Boot>, Diagnostic> {
    #[derive(serde::Deserialize)]
    struct Listing {
        services: Vec<String>,
    }
    let path = folder.join(format::BOOT);
    if !path.is_file() {
        return Ok(None);
    }
    let manifest = files.open(&folder.join(format::MANIFEST))?;
    let Ok(about) = format::read_manifest(files.text(manifest)) else { return Ok(None) };
    let listing = files.open(&path)?;
    let Listing { services } = serde_json::from_str(files.text(listing)).map_err(|why| {
        Diagnostic::error("snapshot-file", format!("`{}` can't be read: {why}", files.name(listing)))
            .at(Span::new(listing, 0, 0), "")
            .help("take the snapshot again with `firewarden capture`")
    })?;
    let names = [format::BOOT_RULESET, format::BOOT_IPTABLES, format::BOOT_IP6TABLES];
    let mut rulesets = Vec::new();
    for name in names {
        let path = folder.join(name);
        if path.is_file() {
            let file = files.open(&path)?;
            let format = detect::detect(files.text(file), files.name(file))?;
            if !matches!(format, Format::Stack | Format::Empty) {
                rulesets.push(RulesetFile { file, format });
            }
        }
    }
    let complete = !names.iter().any(|name| about.missing.contains_key(*name));
    Ok(Some(Boot { host: about.host, services, rulesets: complete.then_some(rulesets), listing }))
}

struct Reader<'r> {
    folder: &'r Path,
    files: &'r mut Files,
    about: &'r Manifest,
    manifest: FileId,
}

impl Reader<'_> {
    fn warn(&mut self, code: &'static str, message: String, help: &str) {
        let at = Span::new(self.manifest, 0, 0);
        self.files.diagnostics.push(Diagnostic::warning(code, message).at(at, "").help(help.to_owned()));
    }

    /// A file's text; `None` where the snapshot doesn't have it.
    fn text(&mut self, name: &str) -> Option<String> {
        let path = self.folder.join(name);
        if !path.is_file() {
            return None;
        }
        match self.files.open(&path) {
            Ok(file) => Some(self.files.text(file).to_owned()),
            Err(problem) => {
                self.files.diagnostics.push(problem);
                None
            }
        }
    }

    fn rulesets(&mut self) -> Result<Vec<RulesetFile>, Diagnostic> {
        let mut found = Vec::new();
        let [legacy, legacy6] = firewarden_host::LEGACY;
        let names = [format::RULESET, format::IPTABLES, format::IP6TABLES, legacy, legacy6, format::IPSET];
        for name in names {
            let path = self.folder.join(name);
            if path.is_file() {
                let file = self.files.open(&path)?;
                let format = detect::detect(self.files.text(file), self.files.name(file))?;
                // No rules are nothing strange in a snapshot, and no stack file is one's rules.
                if !matches!(format, Format::Stack | Format::Empty) {
                    found.push(RulesetFile { file, format });
                }
            } else if let Some(why) = self.about.missing.get(name) {
                let message = format!(
                    "the snapshot of `{}` has no `{name}`: {}",
                    self.about.host,
                    why.replace('`', "'")
                );
                if name == format::RULESET {
                    // Without it every packet would seem to be accepted.
                    return Err(Diagnostic::error("snapshot-rules", message)
                        .help("capture it as root, or declare its rules in a firewarden.yaml"));
                }
                self.warn(
                    "snapshot-rules",
                    message,
                    "answers are about the other rules only; capture it as root",
                );
            }
        }
        Ok(found)
    }

    /// The values of a listing; what isn't understood is told.
    fn told<T>(&mut self, name: &str, read: Result<Read<T>, NotJson>) -> Vec<T> {
        let read = match read {
            Ok(read) => read,
            Err(why) => {
                let message = format!("`{name}` of `{}` can't be read: {why}", self.about.host);
                self.warn("snapshot-file", message, "take the snapshot again with `firewarden capture`");
                return Vec::new();
            }
        };
        for Unread { what, text } in &read.unread {
            let message = format!("{what} of `{}` isn't understood: `{text}`", self.about.host);
            self.warn("snapshot-entry", message, "answers don't take it into account");
        }
        read.values
    }

    fn addresses(&mut self, host: &mut Host) {
        let Some(text) = self.text(format::ADDRESSES) else {
            host.addresses_known = false;
            let message = format!("the snapshot of `{}` has no addresses", host.name);
            self.warn("snapshot-file", message, "declare them in a firewarden.yaml, or capture it again");
            return;
        };
        for link in self.told(format::ADDRESSES, parse::addresses(&text)) {
            let mut interface = Interface { name: link.name, addresses: Vec::new(), uplink: false };
            let mut link_local = Vec::new();
            for own in link.addresses {
                let width = if own.nfproto == 2 { 32 } else { 128 };
                let linkless = Address { prefix: width, ..own };
                match own {
                    _ if is_loopback(&own) => {}
                    // Every link has link-local addresses, so that they connect no two hosts.
                    _ if is_link_local(&own) && !link.loopback && link.up => link_local.push(linkless),
                    _ if link.loopback || !link.up => host.addresses.push(linkless),
                    _ => interface.addresses.push(own),
                }
            }
            interface.addresses.extend(link_local);
            if !link.loopback {
                host.interfaces.push(interface);
            }
        }
    }

    /// Routes and rules, for IPv4 and IPv6. A listing of one family alone is as good as none.
    fn routing(&mut self, host: &mut Host) {
        let (Some(routes), Some(rules)) = (self.text(format::ROUTES), self.text(format::RULES)) else {
            return;
        };
        let mut routing = Routing::default();
        for (family, nfproto) in [("ipv4", 2), ("ipv6", 10)] {
            let found = parse::routes(&part(&routes, family), nfproto);
            routing.routes.extend(self.told(format::ROUTES, found));
            let found = parse::rules(&part(&rules, family), nfproto);
            routing.rules.extend(self.told(format::RULES, found));
        }
        let leads_out = |interface: &Interface| {
            routing.routes.iter().any(|route| {
                route.table == TABLE_MAIN
                    && route.destination.prefix == 0
                    && matches!(&route.action, RouteAction::Forward(hops)
                        if hops.iter().any(|hop| hop.interface == Some(interface.name)))
            })
        };
        for interface in &mut host.interfaces {
            interface.uplink = leads_out(interface);
        }
        host.routing = Some(routing);
    }

    /// Gives whether conntrack takes up TCP connections in the middle.
    fn sysctls(&mut self, host: &mut Host) -> bool {
        let text = self.text(format::SYSCTLS).unwrap_or_default();
        let values: BTreeMap<String, String> = match serde_json::from_str(&text) {
            Ok(values) => values,
            Err(_) => {
                let message = format!("the snapshot of `{}` has no sysctls", host.name);
                let help =
                    "it is taken to forward if it has several interfaces, and not to look at return paths";
                self.warn("snapshot-file", message, help);
                host.forwards = host.interfaces.len() > 1;
                return true;
            }
        };
        let on = |name: &str| values.get(name).map(|value| value != "0");
        host.forwards = on("net.ipv4.ip_forward").unwrap_or(host.interfaces.len() > 1);
        host.forwards_ipv6 = on("net.ipv6.conf.all.forwarding");
        let level = |interface: &str| {
            let name = format!("net.ipv4.conf.{interface}.rp_filter");
            values.get(&name).and_then(|value| value.parse::<u8>().ok()).unwrap_or(0)
        };
        for interface in &host.interfaces {
            // The larger of the two counts (kernel documentation, ip-sysctl).
            let mode = match level("all").max(level(&interface.name.to_string())) {
                0 => continue,
                1 => ReversePath::Strict,
                _ => ReversePath::Loose,
            };
            host.reverse_path.insert(interface.name, mode);
        }
        host.accepts_own_sources =
            values.iter().any(|(name, value)| name.ends_with(".accept_local") && value != "0");
        on("net.netfilter.nf_conntrack_tcp_loose").unwrap_or(true)
    }

    fn sockets(&mut self, host: &mut Host) {
        if let Some(text) = self.text(format::SOCKETS) {
            let listening = self.told(format::SOCKETS, Ok(parse::listening(&text)));
            host.listening = Some(listening);
        }
        let listening = host.listening.clone().unwrap_or_default();
        if let Some(text) = self.text(format::CONNECTIONS) {
            let found = parse::established(&text, &listening);
            host.connections.extend(self.told(format::CONNECTIONS, Ok(found)));
        }
        if let Some(text) = self.text(format::CONNTRACK) {
            let found = parse::conntrack(&text);
            host.connections.extend(self.told(format::CONNTRACK, Ok(found)));
        }
        host.connections.sort_unstable();
        host.connections.dedup();
    }
}

/// The listing of one family out of a map of both.
fn part(text: &str, family: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(map)) => map.get(family).map(Value::to_string).unwrap_or_default(),
        // The listing's reader says what is wrong with it.
        _ => text.to_owned(),
    }
}

fn is_loopback(address: &Address) -> bool {
    if address.nfproto == 2 { address.value >> 24 == 127 } else { address.value == 1 }
}

fn is_link_local(address: &Address) -> bool {
    address.nfproto == 10 && address.value >> 118 == 0xFE80 >> 6
}
