//! Texts out of bytes: valid snippets, cut up, repeated and mixed with words of the language.
//!
//! Random bytes are refused by the first token of a parser; these texts get far into it. Equal bytes make equal texts,
//! and every byte string makes one, so that engines which mutate bytes can mutate recipes.

use crate::language::Language;

/// Bytes of text at which a recipe ends.
const TEXT_LIMIT: usize = 16 * 1024;

/// Values at the edges of what a number, an address or a name may be.
const EDGES: &[&str] = &[
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "0x",
    "0xffffffffffffffffff",
    "340282366920938463463374607431768211456",
    "0.0.0.0/0",
    "10.0.0.256",
    "10.0.0.9-10.0.0.1",
    "1.2.3.4/33",
    "::/0",
    "::ffff:1.2.3.4",
    "1:2:3:4:5:6:7:8:9",
    "\"",
    "\\",
    "{",
    "}",
    "(",
    ")",
    "!",
    "-",
    "--",
    ":",
    ";",
    ",",
    "@",
    "$",
    "#",
    "\n",
    "\\\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{1b}[31m",
    "é",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

struct Bytes<'b> {
    rest: &'b [u8],
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<usize> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(usize::from(first))
    }

    /// A number below `end`, of two bytes; 0 where the bytes have run out.
    fn below(&mut self, end: usize) -> usize {
        let number = self.next().unwrap_or(0) * 256 + self.next().unwrap_or(0);
        number.checked_rem(end).unwrap_or(0)
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        let index = self.below(from.len());
        from.get(index).copied().unwrap_or_default()
    }
}

/// The text of a recipe. A first byte of zero means that the rest is the text itself.
pub fn text(language: &Language, recipe: &[u8]) -> String {
    let mut bytes = Bytes { rest: recipe };
    if bytes.next() == Some(0) {
        return String::from_utf8_lossy(bytes.rest).into_owned();
    }
    let mut tokens: Vec<&str> = cut(bytes.pick(language.snippets));
    let mut length: usize = tokens.iter().map(|token| token.len()).sum();
    while let Some(step) = bytes.next() {
        let at = bytes.below(tokens.len().max(1));
        let before = tokens.len();
        match step % 12 {
            0 | 1 => {
                let more = cut(bytes.pick(language.snippets));
                tokens.splice(at.min(before)..at.min(before), more);
            }
            2 => tokens.extend(cut(bytes.pick(language.snippets))),
            3 | 4 => replace(&mut tokens, at, bytes.pick(language.words)),
            5 => replace(&mut tokens, at, bytes.pick(EDGES)),
            6 => insert(&mut tokens, at, bytes.pick(language.words)),
            7 => insert(&mut tokens, at, bytes.pick(EDGES)),
            8 => {
                let end = (at + 1 + bytes.below(4)).min(before);
                tokens.drain(at.min(end)..end);
            }
            9 => tokens.truncate(at),
            10 => {
                let end = (at + 1 + bytes.below(12)).min(before);
                let copy: Vec<&str> = tokens.get(at..end).unwrap_or_default().to_vec();
                for _ in 0..1 + bytes.below(40) {
                    let place = at.min(tokens.len());
                    tokens.splice(place..place, copy.iter().copied());
                }
            }
            _ => {
                let other = bytes.below(before);
                if at < before && other < before {
                    tokens.swap(at, other);
                }
            }
        }
        if tokens.len() != before {
            length = tokens.iter().map(|token| token.len()).sum();
        }
        if length > TEXT_LIMIT {
            break;
        }
    }
    tokens.concat()
}

fn replace<'t>(tokens: &mut [&'t str], at: usize, by: &'t str) {
    if let Some(token) = tokens.get_mut(at) {
        *token = by;
    }
}

fn insert<'t>(tokens: &mut Vec<&'t str>, at: usize, token: &'t str) {
    let at = at.min(tokens.len());
    tokens.splice(at..at, [" ", token, " "]);
}

/// Words, runs of spaces, and single other characters.
fn cut(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        ' ' => 0,
        c if c.is_alphanumeric() || c == '_' => 1,
        _ => 2,
    };
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match class(first) {
            2 => first.len_utf8(),
            kind => rest.find(|c| class(c) != kind).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}
