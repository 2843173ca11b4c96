//! From generated text to the intermediate representation.

use crate::generate::{Generated, Syntax};
use firewarden_diagnostic::{Diagnostic, Severity, SourceMap};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::Ruleset;
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::{iptables, nft};

/// Parses and lowers a text.
///
/// # Errors
/// What the frontends found wrong with it, as `place: message` lines.
pub fn load(generated: &Generated, atoms: &mut AtomTable) -> Result<Ruleset, Vec<String>> {
    let mut sources = SourceMap::default();
    let text = generated.text();
    let file = sources.add("generated", text.as_str());
    let (ruleset, diagnostics) = match generated.syntax {
        Syntax::Nft => {
            let (script, mut diagnostics) = nft::text::parse(file, &text, &mut nft::text::NoIncludes);
            let (ruleset, more) =
                lower::nft::lower(vec![script], &lower::nft::LowerOptions::default(), atoms);
            diagnostics.extend(more);
            (ruleset, diagnostics)
        }
        Syntax::Iptables | Syntax::Ip6tables => {
            let versions = match generated.syntax {
                Syntax::Ip6tables => iptables::Versions::V6,
                _ => iptables::Versions::V4,
            };
            let (save, mut diagnostics) = iptables::parse_as(file, &text, Some(versions));
            let (ruleset, more) =
                lower::iptables::lower(&[save], &[], &lower::iptables::LowerOptions::default(), atoms);
            diagnostics.extend(more);
            (ruleset, diagnostics)
        }
    };
    let errors: Vec<String> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| told(diagnostic, &sources))
        .collect();
    if errors.is_empty() { Ok(ruleset) } else { Err(errors) }
}

fn told(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    match diagnostic.span() {
        Some(span) => format!("{}: {}", sources.place(span), diagnostic.message),
        None => diagnostic.message.clone(),
    }
}
