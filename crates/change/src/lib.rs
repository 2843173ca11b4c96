//! A change of rulesets, from proposal to confirmation. Nothing in here reads a clock, a file or the kernel: what happened
//! comes in as values, what is to be done goes out as values.

pub mod delta;
pub mod plan;
pub mod trial;
