//! What hosts load when they start, from their snapshots.

use crate::load::{self, Files, Subject, snapshot};
use firewarden_diagnostic::{Diagnostic, Severity, Span};
use firewarden_packet::AtomTable;
use firewarden_verify::audit::BootRules;
use firewarden_verify::stack::StackFile;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The rules that snapshots say are loaded at boot, by the names of the hosts.
///
/// # Errors
/// A diagnostic where a snapshot's file is there and can't be read.
pub fn rules(
    paths: &[PathBuf],
    stack: Option<&StackFile>,
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Result<BTreeMap<String, BootRules>, Diagnostic> {
    let mut all = BTreeMap::new();
    for (name, folder) in folders(paths, stack, files)? {
        let Some(boot) = snapshot::boot(&folder, files)? else { continue };
        let host = name.unwrap_or(boot.host);
        let before = files.diagnostics.len();
        let ruleset = boot.rulesets.map(|rulesets| load::ruleset(&host, &rulesets, files, atoms));
        // What isn't modelled has been told of the rules that run. A file that doesn't load is no reason to say nothing
        // of those.
        let said = files.diagnostics.split_off(before);
        let fails = load::has_errors(&said);
        files.diagnostics.extend(said.into_iter().filter(|one| one.severity == Severity::Error).map(|one| {
            Diagnostic { severity: Severity::Warning, ..one }
                .because("the file that is loaded when the host starts is refused")
        }));
        let ruleset = ruleset.filter(|_| !fails);
        let span = Span::new(boot.listing, 0, 0);
        all.insert(host, BootRules { services: boot.services, ruleset, span });
    }
    Ok(all)
}

/// The snapshots' folders, with the names that a stack file gives their hosts.
fn folders(
    paths: &[PathBuf],
    stack: Option<&StackFile>,
    files: &mut Files,
) -> Result<Vec<(Option<String>, PathBuf)>, Diagnostic> {
    let declared = stack.iter().flat_map(|stack| &stack.hosts).filter(|host| host.rules.is_empty());
    let mut found: Vec<(Option<String>, PathBuf)> = declared
        .filter_map(|host| {
            let named = host.snapshot.as_ref()?;
            Some((Some(host.name.value.clone()), files.folder(named.span.file).join(&named.value)))
        })
        .collect();
    if found.is_empty()
        && paths.iter().all(|path| path.is_dir())
        && let Subject::Snapshots(folders) = load::subject(paths, files)?
    {
        found.extend(folders.into_iter().map(|folder| (None, folder)));
    }
    Ok(found)
}
