//! Places of spans, as the renderers write them.

use crate::render::text::one_line;
use crate::{SourceMap, Span};

/// A span in numbers for people, resolved against its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The name of the text, verbatim.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Line of the last character.
    pub end_line: u32,
    /// Column one past the last character.
    pub end_column: u32,
}

impl Place {
    /// Resolves a span; `None` when it isn't of this map. O(log lines).
    pub fn of(span: Span, sources: &SourceMap) -> Option<Place> {
        let file = sources.get(span.file)?;
        let start = file.line_column(span.start);
        let mut end = file.line_column(span.end.max(span.start));
        // A span that takes in its line's end would otherwise end in the line after it.
        if end.column == 1 && end.line > start.line {
            end = file.line_column(span.end - 1);
            end.column += 1;
        }
        Some(Place {
            file: file.name.clone(),
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
        })
    }

    /// `file:line`, safe to show.
    pub fn short(&self) -> String {
        format!("{}:{}", one_line(&self.file), self.line)
    }
}
