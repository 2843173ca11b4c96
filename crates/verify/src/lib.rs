//! Intents and the questions asked of rulesets: check, exposure, trace; findings.
//!
//! A stack file ([`stack`]) declares hosts and intents; [`intent`] turns an intent into questions, sets of packets with
//! a claim about what becomes of them.

pub mod address;
pub mod intent;
mod located;
pub mod stack;
mod suggest;

pub use located::{Located, Place};
pub use suggest::nearest;
