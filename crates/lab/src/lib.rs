//! The web stack in network namespaces of one machine: real services behind real rulesets, users that measure them, faults,
//! and the report of what the users saw.

pub mod load;
pub mod mutation;
pub mod probe;
pub mod report;
pub mod sample;
pub mod series;
