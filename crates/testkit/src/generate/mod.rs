//! Rulesets as text, from a seed: everything that the intermediate representation can say, in the words of nft and of
//! iptables-save, such that the kernel loads it.

mod iptables;
mod nft;
mod nft_match;
mod words;

use crate::random::Random;

/// Which language a generated text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Syntax {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore`.
    Iptables,
    /// For `ip6tables-restore`.
    Ip6tables,
}

/// A line of a generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Without the line end.
    pub text: String,
    /// A rule: the text stays valid without it.
    pub removable: bool,
}

/// A generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its language.
    pub syntax: Syntax,
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Generated {
    /// The text as one string.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }

    /// An arbitrary text that wasn't generated, such as a file: every line stays.
    pub fn fixed(syntax: Syntax, text: &str) -> Generated {
        let lines = text.lines().map(|line| Line { text: line.to_owned(), removable: false }).collect();
        Generated { syntax, lines }
    }
}

/// How large generated rulesets are, and what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// Most rules in a chain.
    pub rules: usize,
    /// Constructs that the model leaves open (`limit`, `time`, …), which the kernel can't be asked about.
    pub atoms: bool,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs { rules: 6, atoms: true }
    }
}

/// A ruleset from a seed: two of three in nft's language, else a dump for one address family.
pub fn ruleset(seed: u64, knobs: &Knobs) -> Generated {
    let mut random = Random::new(seed);
    match random.below(6) {
        0 => iptables::generate(&mut random, knobs, false),
        1 => iptables::generate(&mut random, knobs, true),
        _ => nft::generate(&mut random, knobs),
    }
}
