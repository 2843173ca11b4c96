//! The rules that a change starts from, and the hosts that they make.

use super::candidate::Given;
use crate::cli::plan::Plan as Options;
use crate::commands::Stopped;
use crate::commands::rules::with_rules;
use crate::load::{Files, Format, Subject, subject};
use firewarden_change::plan::{Loader, Script};
use firewarden_diagnostic::Diagnostic;
use firewarden_host::rehearsal::Running;
use firewarden_host::sandbox::{Rules, Sandbox, named_interfaces};
use firewarden_host::snapshot::{self, Manifest, Snapshot};
use firewarden_host::state::State;
use firewarden_host::{CaptureOptions, capture, host_name, namespace_file, within};
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
    let snapshot = live.snapshot.clone().unwrap_or_else(|| Snapshot {
        manifest: Manifest {
            format: snapshot::FORMAT_VERSION,
            host: live.host.clone(),
            ..Manifest::default()
        },
        files: BTreeMap::new(),
    });
    snapshot::write(&with_rules(snapshot, state), folder, true).map_err(|error| {
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
