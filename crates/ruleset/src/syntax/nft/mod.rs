//! nftables: the syntax tree, the text parser (`nft -f`, `nft list ruleset`) and the JSON reader (`nft -j`).

pub mod ast;
pub mod json;
mod names;
pub mod text;
