//! Diagnostics with places in source text, and their renderers.
//!
//! One model ([`Diagnostic`]) for everything that is said to a person about a piece of text, and one
//! renderer for each output format. This crate does no I/O: texts come in through [`SourceMap`].

mod model;
pub mod render;
mod report;
mod source;

pub use model::{Diagnostic, Label, Severity};
pub use report::{About, Dependency, Finding, Manager, Report, ResultItem, Step, Summary, Verdict, Witness};
pub use source::{FileId, LineColumn, SourceFile, SourceMap, Span};
