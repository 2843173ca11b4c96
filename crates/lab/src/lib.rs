//! The web stack in network namespaces of one machine: real services behind real rulesets, users that measure them, faults,
//! and the report of what the users saw.
//!
//! [`up`] starts a lab's [`supervisor`], which everything else of it hangs on; [`place`] finds labs that are up and enters
//! their machines. [`layout`], [`outside`] and [`wires`] say what is built, and do nothing; [`stack`] is the web stack that
//! comes along, [`application`] what runs on its servers.

pub mod application;
pub mod drill;
pub mod evidence;
pub mod layout;
pub mod load;
pub mod mutation;
pub mod outside;
pub mod packages;
pub mod place;
pub mod probe;
pub mod report;
pub mod restore;
pub mod sample;
pub mod scenario;
pub mod series;
pub mod stack;
pub mod supervisor;
pub mod up;
pub mod wires;
