//! What a ruleset does to sets of packets: decide and peel.
//!
//! One primitive: [`Engine::run_hook`] follows one packet through the base chains of a hook, and cuts the region that
//! the packet stands for ([`Flow::region`]) down to the packets that every rule on the way treats alike. Nothing is
//! built for the whole ruleset but an index for each long chain; sets are never expanded, jumps never flattened.
//! [`Peeler`] takes a question apart with it.
//!
//! Nothing here does I/O, and nothing depends on the order of a hash map: equal input gives equal output.

mod condition;
mod flow;
mod hook;
mod index;
mod lookup;
mod peel;
mod relation;
mod translate;

pub use flow::{End, Flow, Origin, Translation};
pub use hook::{Decision, Detail, Engine, Fate, Focus, OutOfBudget, Step, StepKind};
pub use peel::Peeler;
pub use relation::Relation;
