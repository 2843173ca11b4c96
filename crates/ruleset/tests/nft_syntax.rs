//! The nftables frontend up to the syntax tree: text, errors and recovery, JSON, and the corpus where there is one.

mod nft_syntax {
    mod corpus;
    mod json;
    mod normal;
    pub mod support;
    mod text;
}
