//! Unpublished: generators of rulesets and packets, and the differential harness.
//!
//! Everything is a function of a seed: the same seed gives the same rulesets, packets and findings.

pub mod change;
pub mod coverage;
pub mod differential;
pub mod edit;
pub mod equivalence;
pub mod generate;
pub mod host;
pub mod kernel;
pub mod load;
pub mod minimise;
pub mod packets;
pub mod random;
