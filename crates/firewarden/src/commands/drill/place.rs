//! The lab that a drill is in.

use super::lab;
use crate::commands::{Stopped, examples, hosts};
use crate::load::{Files, Texts};
use crate::output::{self, Color};
use firewarden_diagnostic::Diagnostic;
use firewarden_lab::outside;
use firewarden_lab::place::{Lab, Occupied};
use firewarden_lab::up::{self, Services};
use firewarden_verify::stack::StackFile;
use std::net::IpAddr;
use std::path::PathBuf;

/// The words that lead to the prober.
pub const PROBER: [&str; 2] = ["drill", "prober"];

/// A lab, which goes again if it was made for the drill.
pub struct Place {
    /// The lab.
    pub lab: Lab,
    /// Whether it was made for the drill.
    pub is_own: bool,
    _alone: Occupied,
}

impl Place {
    /// The lab of this name, or one that is made.
    pub fn find(name: Option<&str>, color: Color) -> Result<Place, Stopped> {
        let problem = |error| Stopped::from(lab::problem(&error));
        if let Some(name) = name {
            let lab = Lab::open(name).map_err(problem)?;
            let alone = lab.occupy().map_err(problem)?;
            return Ok(Place { lab, is_own: false, _alone: alone });
        }
        let name = format!("drill-{}", std::process::id());
        let wanted = lab::wanted(&name, None, Services { pool: 0 }, color)?;
        lab::packages(false)?;
        let lab = up::up_for_this_process(&wanted, &lab::launcher()?, &mut |_| ()).map_err(problem)?;
        let alone = lab.occupy().map_err(problem)?;
        Ok(Place { lab, is_own: true, _alone: alone })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_own
            && let Err(error) = self.lab.stop()
        {
            output::complain(&[lab::problem(&error)], &Default::default(), Color::Auto);
        }
    }
}

/// The stack file of a lab, and the texts that are read in place of files: those of the built-in stack.
pub fn stack_file(lab: &Lab) -> (PathBuf, Texts) {
    match &lab.record().folder {
        Some(folder) => (folder.join("firewarden.yaml"), Texts::new()),
        None => (PathBuf::from(examples::WEB_STACK), examples::texts()),
    }
}

/// What the stack file of a lab declares.
pub fn stack(lab: &Lab) -> Result<StackFile, Stopped> {
    let (path, texts) = stack_file(lab);
    let mut files = Files::with_include_paths(&[]);
    files.bring(&texts);
    hosts::declared_stack(&path, &mut files)
}

/// Addresses that exist outside of the stack.
pub fn outside_addresses() -> Vec<IpAddr> {
    let both = [false, true];
    let users =
        both.into_iter().flat_map(|v6| (0..outside::USERS).map(move |number| outside::user(number, v6)));
    users.chain(both.map(outside::office)).chain(both.map(outside::partner)).collect()
}

/// The error of a lab without probers.
pub fn no_probers(error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("prober", format!("no connections can be tried in the lab: {error}"))
        .help("see whether the lab is up with `firewarden lab status`")
}
