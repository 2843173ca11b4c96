//! Rulesets: syntax trees with spans, one intermediate representation, and the interpreter.

pub mod interpreter;
pub mod ir;
pub mod lower;
pub mod syntax;

mod findings;
mod surroundings;
pub use surroundings::{Surroundings, Unknown};
