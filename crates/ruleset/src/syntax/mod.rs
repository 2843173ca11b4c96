//! The frontends: text in, syntax trees with spans and diagnostics out. They never fail as a whole.

pub mod ipset;
pub mod iptables;
pub mod nft;
