//! Wildcards of `include`, as glob(7) tells: `*`, `?`, `[…]`; a name that begins with a dot needs a written dot.

use std::path::{Path, PathBuf};

/// The most files that one pattern stands for.
const MOST_FILES: usize = 10_000;

/// True where a pattern has a wildcard.
pub fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// The files that a pattern below a folder stands for, sorted by name as nft sorts them. Folders that can't be read
/// have no files. O(entries of the folders the pattern names).
pub fn expand(base: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { base.to_path_buf() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            if !has_wildcard(part) {
                next.push(folder.join(part));
                continue;
            }
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut names: Vec<String> = names.filter(|name| matches(part, name)).collect();
            names.sort_unstable();
            next.extend(names.into_iter().map(|name| folder.join(name)));
            if next.len() > MOST_FILES {
                break;
            }
        }
        next.truncate(MOST_FILES);
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}

/// Whether a name fits one part of a pattern. O(pattern · name).
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    // Where to go back to: behind the last star, and the name's next character.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match one(&pattern, at, name.get(in_name).copied()) {
            One::Star => {
                at += 1;
                star = Some((at, in_name));
            }
            One::Fits(width) => {
                at += width;
                in_name += 1;
            }
            One::Differs => match star {
                Some((behind, from)) => {
                    at = behind;
                    in_name = from + 1;
                    star = Some((behind, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|&letter| letter == '*')
}

enum One {
    Star,
    Fits(usize),
    Differs,
}

/// Compares one element of a pattern with a character.
fn one(pattern: &[char], at: usize, letter: Option<char>) -> One {
    let fits = |fits: bool, width: usize| if fits { One::Fits(width) } else { One::Differs };
    match pattern.get(at) {
        Some('*') => One::Star,
        Some('?') => One::Fits(1),
        Some('[') => match class(pattern.get(at + 1..).unwrap_or_default(), letter) {
            Some((inside, width)) => fits(inside, width + 1),
            None => fits(letter == Some('['), 1),
        },
        Some('\\') => fits(letter.as_ref() == pattern.get(at + 1), 2),
        own => fits(own.copied() == letter, 1),
    }
}

/// A bracket expression behind its `[`: whether it holds the character, and how long it is with its `]`. `None` where
/// it isn't closed.
fn class(rest: &[char], letter: Option<char>) -> Option<(bool, usize)> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // A `]` in first place is a member.
    let close = rest.iter().skip(start + 1).position(|&c| c == ']')? + start + 1;
    let (mut at, mut inside) = (start, false);
    while at < close {
        let low = *rest.get(at)?;
        let is_range = rest.get(at + 1) == Some(&'-') && at + 2 < close;
        let high = if is_range { *rest.get(at + 2)? } else { low };
        inside |= letter.is_some_and(|letter| low <= letter && letter <= high);
        at += if is_range { 3 } else { 1 };
    }
    Some((inside != negated, close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("*.nft", "a.nft", true),
            ("*.nft", ".a.nft", false),
            ("*.nft", "a.nft.bak", false),
            ("[0-9]?-*", "10-web", true),
            ("[!0-9]*", "10-web", false),
            ("[]x]", "]", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("[a", "[a", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*", "anything", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        let long = "a".repeat(2_000);
        assert!(!matches(&"*a".repeat(20).replace("aa", "a*"), &format!("{long}b")));
    }
}
