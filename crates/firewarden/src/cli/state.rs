//! The option that names the state folder.

use clap::Args;
use std::path::PathBuf;

/// Where this host's own state is: the trial, the last confirmed rules, the journal.
#[derive(Clone, Debug, Default, Args)]
pub struct StateFolder {
    /// The state folder, instead of FIREWARDEN_STATE, /var/lib/firewarden (root) or ~/.local/state/firewarden.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}
