//! Diagnostics with places in source text, and their renderers.
//!
//! One model ([`Diagnostic`]) for everything that is said to a person about a piece of text, and one
//! renderer for each output format. This crate does no I/O: texts come in through [`SourceMap`].

mod model;
mod source;

pub use model::{Diagnostic, Label, Severity};
pub use source::{FileId, LineColumn, SourceFile, SourceMap, Span};
