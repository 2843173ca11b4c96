//! Files in YAML that people write, with the place of everything: the stack file, change records, policies.
//!
//! [`parse`] gives a tree, and [`Values`] takes values of the wanted shape from it and collects what is wrong. Unknown keys
//! are refused, with a suggestion.

mod tree;
mod values;

pub use tree::{Data, Node, Scalar, parse};
pub use values::{Fields, Values, quoted};

/// What kind of file is read: what people call it, and the codes of the diagnostics about its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Such as `the stack file`.
    pub name: &'static str,
    /// The file isn't YAML.
    pub syntax: &'static str,
    /// A value has another shape than it should.
    pub mismatch: &'static str,
    /// A key that has no meaning.
    pub unknown_key: &'static str,
    /// A key that is needed.
    pub missing_key: &'static str,
}
