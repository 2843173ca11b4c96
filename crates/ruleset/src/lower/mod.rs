//! Lowering: from the syntax trees of the frontends to the one intermediate representation.

pub mod iptables;
pub mod nft;
