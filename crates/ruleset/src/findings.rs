//! What is said about one text, within bounds.

use firewarden_diagnostic::{Diagnostic, Severity};

/// Diagnostics of one severity that are kept.
const LIMIT: usize = 100;

/// Bytes of one message: input that it shows may be megabytes long.
const MESSAGE_LIMIT: usize = 500;

/// Shortens what shows too much of the input.
pub(crate) fn clamp(diagnostic: &mut Diagnostic) {
    let labels = diagnostic.labels.iter_mut().map(|label| &mut label.message);
    let texts =
        labels.chain(&mut diagnostic.notes).chain(&mut diagnostic.help).chain([&mut diagnostic.message]);
    for text in texts.filter(|text| text.len() > MESSAGE_LIMIT) {
        let end = (0..=MESSAGE_LIMIT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
}

/// Diagnostics of one step. Of each severity only the first [`LIMIT`] are kept, so that memory is bounded and an error
/// isn't lost behind warnings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    notes: usize,
}

impl Findings {
    /// Adds one, if there is room.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
            Severity::Note => &mut self.notes,
        };
        *count += 1;
        if *count <= LIMIT {
            clamp(&mut diagnostic);
            self.kept.push(diagnostic);
        }
    }

    /// True where no further error is kept, so that the words for it needn't be searched for.
    pub fn full(&self) -> bool {
        self.errors >= LIMIT
    }

    /// The diagnostics in the order in which they came, and one that says how many are missing. It is an error where
    /// errors are missing.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let more = |count: usize, one: &str| match count.saturating_sub(LIMIT) {
            0 => None,
            1 => Some(format!("1 more {one} is not shown")),
            more => Some(format!("{more} more {one}s are not shown")),
        };
        let last = self.kept.last().and_then(Diagnostic::span);
        let hidden = [
            more(self.errors, "error").map(|message| Diagnostic::error("too-many-errors", message)),
            more(self.warnings, "warning").map(|message| Diagnostic::warning("too-many-warnings", message)),
            more(self.notes, "note").map(|message| Diagnostic::note("too-many-notes", message)),
        ];
        for diagnostic in hidden.into_iter().flatten() {
            let diagnostic = diagnostic.help("deal with the first ones and run again");
            self.kept.push(match last {
                Some(span) => diagnostic.at(span, "the last one shown"),
                None => diagnostic,
            });
        }
        self.kept
    }
}
