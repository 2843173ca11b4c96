//! The rules that a change starts from, and the hosts that they make.

use super::candidate::Given;
use crate::cli::plan::Plan as Options;
use crate::commands::Stopped;
use crate::load::{Files, Format, Subject, subject};
use firewarden_change::plan::{Loader, Script};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::rehearsal::Running;
use firewarden_host::sandbox::{Rules, Sandbox, named_interfaces};
use firewarden_host::snapshot::{self, IP6TABLES, IPSET, IPTABLES, Manifest, RULESET, Snapshot};
use firewarden_host::state::State;
use firewarden_host::{CaptureOptions, LEGACY, capture, host_name, namespace_file, within};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often the host is looked at anew because its rules changed in the meantime.
const ATTEMPTS: u32 = 5;

/// Where a change starts.
pub struct Live {
    /// What the host is called.
    pub host: String,
    /// Its rules.
    pub running: Running,
    /// Everything else of it; `None` where the rules come from files.
    pub snapshot: Option<Snapshot>,
}

/// Reads the running rules, of this host or of files.
pub fn read(options: &Options, given: &Given) -> Result<Live, Stopped> {
    let host = options.host.clone().unwrap_or_else(host_name);
    if !options.state.is_empty() {
        return of_files(options, given, host);
    }
    let unreadable = |why: String| {
        Diagnostic::error("running-ruleset", format!("the running rules can't be read: {why}"))
            .help("run it as root, or give files with --state that `nft list ruleset` or iptables-save wrote")
    };
    let namespace = options.netns.as_deref().map(namespace_file);
    for _ in 0..ATTEMPTS {
        let running = within(namespace.as_deref(), Running::read)
            .map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(error.to_string()))?;
        let snapshot = capture(&CaptureOptions {
            host: Some(host.clone()),
            namespace: options.netns.clone(),
            without_rules: true,
        })
        .map_err(|error| unreadable(error.to_string()))?;
        if snapshot.manifest.generation == Some(running.state.generation) {
            return Ok(Live { host, running, snapshot: Some(snapshot) });
        }
    }
    Err(unreadable("they changed each time".to_owned()).into())
}

/// Rules of files, loaded in a sandbox to learn how the kernel lists them.
fn of_files(options: &Options, given: &Given, host: String) -> Result<Live, Stopped> {
    let refused = |why: String| {
        Diagnostic::error("state-refused", format!("what --state gives can't be loaded: {why}"))
            .help("give what `nft list ruleset` or iptables-save wrote")
    };
    let mut files = Files::with_include_paths(&options.include_paths);
    let Subject::Rulesets(rulesets) = subject(&options.state, &mut files)? else {
        return Err(refused("it is no ruleset".to_owned()).into());
    };
    let mut rules = Rules::default();
    for ruleset in rulesets {
        let text = files.text(ruleset.file);
        match ruleset.format {
            Format::NftText => rules.nft.push_str(text),
            Format::IptablesSave => {
                rules.scripts.push(Script { loader: Loader::IptablesRestore, text: text.to_owned() });
            }
            Format::IpsetSave => {
                rules.scripts.insert(0, Script { loader: Loader::IpsetRestore, text: text.to_owned() });
            }
            Format::Empty => {}
            Format::NftJson | Format::Stack => return Err(refused("it is no listing".to_owned()).into()),
        }
    }
    let sandbox = Sandbox::new().map_err(|error| refused(error.to_string()))?;
    let mut interfaces = rules.interfaces();
    // Nobody knows which interfaces that host has: those that the candidate names are taken to be there.
    for file in &given.candidate.files {
        interfaces.extend(named_interfaces(&std::fs::read_to_string(file).unwrap_or_default()));
    }
    sandbox.replay(&rules).map_err(|error| refused(error.to_string()))?;
    let listing = sandbox.list().map_err(|error| refused(error.to_string()))?;
    let state = sandbox.state().map_err(|error| refused(error.to_string()))?;
    Ok(Live { host, running: Running { state, listing, interfaces }, snapshot: None })
}

/// Writes what is known of the host into a folder, with these rules; gives the snapshot's own folder.
pub fn snapshot(live: &Live, state: &State, folder: &Path) -> Result<PathBuf, Diagnostic> {
    let mut snapshot = live.snapshot.clone().unwrap_or_else(|| Snapshot {
        manifest: Manifest {
            format: snapshot::FORMAT_VERSION,
            host: live.host.clone(),
            ..Manifest::default()
        },
        files: BTreeMap::new(),
    });
    for file in [RULESET, IPTABLES, IP6TABLES, IPSET, LEGACY[0], LEGACY[1]] {
        snapshot.files.remove(file);
        snapshot.manifest.missing.remove(file);
    }
    snapshot.files.extend(rule_files(state));
    snapshot::write(&snapshot, folder, true).map_err(|error| {
        Diagnostic::error("temporary-folder", error.to_string())
            .help("set TMPDIR to a folder that can be written")
    })
}

/// The stack file: the one that is named, or the one that the candidate comes from.
pub fn stack(options: &Options) -> Option<&Path> {
    options.stack.as_deref().or_else(|| given_stack(options))
}

/// The folder with a stack file that was given as candidate.
fn given_stack(options: &Options) -> Option<&Path> {
    let only = options.candidate.first().filter(|_| options.candidate.len() == 1)?;
    let is_stack = only.is_dir() || only.extension().is_some_and(|end| end == "yaml" || end == "yml");
    is_stack.then_some(only.as_path())
}

/// The files of a snapshot that hold rules: iptables' own listing where nft lacks words for its rules.
fn rule_files(state: &State) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([(RULESET.to_owned(), without_expiry(&state.nft))]);
    let of_iptables = ["iptables-nft", "xt match", "xt target"].iter().any(|word| state.nft.contains(word));
    for (new, legacy, own, other) in [
        (&state.iptables, &state.legacy_iptables, IPTABLES, LEGACY[0]),
        (&state.ip6tables, &state.legacy_ip6tables, IP6TABLES, LEGACY[1]),
    ] {
        let there = of_iptables && !new.is_empty();
        if there {
            files.insert(own.to_owned(), new.clone());
        }
        if !legacy.is_empty() {
            files.insert(if there { other } else { own }.to_owned(), legacy.clone());
        }
    }
    if !state.ipset.is_empty() {
        files.insert(IPSET.to_owned(), state.ipset.clone());
    }
    files
}

/// A listing without what is left of the time of elements: it passes while a plan is made, and changes nothing.
fn without_expiry(listing: &str) -> String {
    let mut parts = listing.split(" expires ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // What follows is a duration such as `1h2m3s456ms`.
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        text.push_str(part.get(end..).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without_expiry;

    #[test]
    fn time_that_is_left_is_left_out() {
        let listed = "elements = { 192.0.2.1 timeout 1h expires 59m3s123ms, 192.0.2.2 expires 5s }";
        assert_eq!(without_expiry(listed), "elements = { 192.0.2.1 timeout 1h, 192.0.2.2 }");
    }
}
