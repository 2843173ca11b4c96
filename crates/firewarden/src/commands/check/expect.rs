//! A change that must do what is expected of it, and nothing else: `--before` and `--expect`.

use super::from_text;
use crate::cli::Check;
use crate::commands::{Stopped, diff, hosts};
use crate::load::Files;
use firewarden_diagnostic::{Diagnostic, ResultItem, SourceMap};
use firewarden_network::Host;
use firewarden_packet::AtomTable;
use firewarden_verify::Disagreement;
use firewarden_verify::diff::align_atoms;
use firewarden_verify::relational::{Version, relational};
use firewarden_verify::stack::{DeclaredIntent, StackFile};
use std::path::Path;

/// The version before, and what is expected.
pub struct Change {
    before: hosts::Hosts,
    expected: Vec<DeclaredIntent>,
}

/// Reads the version before, and makes the atoms of both the same where they stand in the same rule.
pub fn load(
    path: &Path,
    options: &Check,
    hosts: &mut [Host],
    files: &mut Files,
    atoms: &mut AtomTable,
) -> Result<Change, Stopped> {
    let before = hosts::load_from(&[path.to_path_buf()], options.input.host.as_deref(), files, atoms)?;
    if hosts.is_empty() || before.hosts.is_empty() {
        let problem = Diagnostic::error("no-host", "one of the two versions has no host");
        return Err(problem.help("give two versions of one ruleset or of one stack").into());
    }
    for host in hosts {
        if let Some(old) = before.hosts.iter().find(|old| old.name == host.name) {
            align_atoms(&old.ruleset, &mut host.ruleset, atoms);
        }
    }
    let expected =
        options.expect.iter().filter_map(|text| from_text("--expect", None, text, files)).collect();
    Ok(Change { before, expected })
}

impl Change {
    /// One result for each expectation, and one for everything else.
    pub fn examine(
        mut self,
        hosts: &mut [Host],
        stack: Option<&StackFile>,
        atoms: &mut AtomTable,
        sources: &SourceMap,
    ) -> Result<Vec<ResultItem>, Disagreement> {
        let names = diff::names_of(hosts, &self.before.hosts);
        let mut before = Version { hosts: &mut self.before.hosts, stack: self.before.stack.as_ref() };
        let mut after = Version { hosts, stack };
        relational(&mut before, &mut after, &self.expected, atoms, sources, &names)
    }
}
