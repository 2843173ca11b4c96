//! What is made from the program itself: completions, manual pages, schemas.

use crate::cli::{Cli, SchemaOf};
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;
use firewarden_diagnostic::Diagnostic;
use firewarden_diagnostic::render::report_schema;
use std::path::Path;

/// Prints a completion script.
pub fn completions(shell: Shell) -> Result<(), Diagnostic> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "firewarden", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes one for each command into a folder.
pub fn man(out: Option<&Path>) -> Result<(), Diagnostic> {
    let unwritable = |place: &Path, error: &std::io::Error| {
        Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", place.display()))
            .help("give a folder that you may write to")
    };
    let Some(folder) = out else {
        let mut page = Vec::new();
        // Writing to memory can't fail.
        let _ = clap_mangen::Man::new(Cli::command()).render(&mut page);
        return output::print(&String::from_utf8_lossy(&page));
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| unwritable(folder, &error))
}

/// Prints the JSON Schema of a format.
pub fn schema(of: SchemaOf) -> Result<(), Diagnostic> {
    let schema = match of {
        SchemaOf::Report => report_schema(),
        SchemaOf::Stack => firewarden_verify::stack::stack_schema(),
        SchemaOf::Exposed => super::exposed::schema(),
        SchemaOf::Trace => super::trace::schema(),
        SchemaOf::Diff => super::diff::schema(),
        #[cfg(feature = "apply")]
        SchemaOf::Change => firewarden_change::record::record_schema(),
        #[cfg(feature = "apply")]
        SchemaOf::Policy => firewarden_change::policy::policy_schema(),
        #[cfg(feature = "lab")]
        SchemaOf::Drill => firewarden_lab::scenario::scenario_schema(),
        #[cfg(feature = "lab")]
        SchemaOf::DrillReport => firewarden_lab::report::schema(),
        #[cfg(feature = "lab")]
        SchemaOf::Load => firewarden_lab::load::schema(),
        #[cfg(feature = "lab")]
        SchemaOf::MutationDrill => super::drill::mutations::schema(),
        #[cfg(feature = "lab")]
        SchemaOf::RestoreDrill => firewarden_lab::restore::schema(),
        #[cfg(feature = "apply")]
        SchemaOf::Journal => super::journal::schema(),
    };
    // A schema is made of strings, numbers and lists, which always serialize.
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    output::print(&format!("{text}\n"))
}
