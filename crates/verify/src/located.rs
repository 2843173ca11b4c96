//! Values with the place where they were written.

use firewarden_diagnostic::Span;

/// A value with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

impl<T> Located<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Located<T> {
        Located { value, span }
    }
}

/// The place of a text that is read further, such as an intent's.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The text's place.
    pub span: Span,
    /// True where the text stands there byte for byte, so that places inside it can be told. False for folded or
    /// escaped text, of which only the whole can be shown.
    pub exact: bool,
}

impl Place {
    /// The place of a text that stands there byte for byte.
    pub fn exact(span: Span) -> Place {
        Place { span, exact: true }
    }

    /// The place of the bytes `start..end` of the text.
    pub fn inside(self, start: usize, end: usize) -> Span {
        if !self.exact {
            return self.span;
        }
        let base = self.span.start as usize;
        Span::new(self.span.file, base.saturating_add(start), base.saturating_add(end))
    }
}
