//! A change of rulesets, from proposal to confirmation. Nothing in here reads a clock, a file or the kernel: what happened
//! comes in as values, what is to be done goes out as values.

#[cfg(feature = "records")]
pub mod approval;
#[cfg(feature = "records")]
pub mod calendar;
pub mod delta;
pub mod plan;
#[cfg(feature = "records")]
pub mod policy;
#[cfg(feature = "records")]
pub mod record;
pub mod switch;
pub mod trial;
