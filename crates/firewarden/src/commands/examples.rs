//! The web stack and the outages of `examples/`, which this program brings along, and what the other commands say of such
//! texts.

use super::check;
use super::diff::{self, Comparison, Versions};
use super::reported::Answer;
use super::{Stopped, internal};
use crate::cli::{Check, Diff, Input};
use crate::load::Texts;
use crate::output::{AnswerFormat, Color, Format};
use imara_diff::{Algorithm, Diff as Compared, InternedInput};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lines around a change that are shown.
const CONTEXT: usize = 1;

/// The stack file of the web stack.
pub const WEB_STACK: &str = "examples/webstack/firewarden.yaml";

/// A file of `examples/`, with its path in the repository.
macro_rules! example {
    ($path:literal) => {
        (concat!("examples/", $path), include_str!(concat!("../../../../examples/", $path)))
    };
}

const TEXTS: [(&str, &str); 16] = [
    example!("webstack/firewarden.yaml"),
    example!("webstack/edge.nft"),
    example!("webstack/lb.nft"),
    example!("webstack/app.rules"),
    example!("webstack/app6.rules"),
    example!("webstack/db.nft"),
    example!("outages/000/firewarden.yaml"),
    example!("outages/000/app.rules"),
    example!("outages/001/firewarden.yaml"),
    example!("outages/001/lb.nft"),
    example!("outages/002/firewarden.yaml"),
    example!("outages/002/db.nft"),
    example!("outages/003/firewarden.yaml"),
    example!("outages/003/edge.nft"),
    example!("outages/004/firewarden.yaml"),
    example!("outages/004/app.rules"),
];

/// The texts with their paths.
pub fn texts() -> Texts {
    TEXTS.iter().map(|(path, text)| (PathBuf::from(path), Arc::from(*text))).collect()
}

/// The text with this path; empty where there is none.
pub fn text(path: &str) -> &'static str {
    TEXTS.iter().find(|(known, _)| *known == path).map_or("", |(_, text)| text)
}

/// What `check` says of a stack file among the texts.
pub fn checked(stack: &Path, texts: &Texts) -> Answer {
    check::answer(&Check {
        input: input(stack, texts),
        allow: Vec::new(),
        deny: Vec::new(),
        only: Vec::new(),
        syntax: false,
        before: None,
        expect: Vec::new(),
        format: Format::Human,
        confirm: None,
        budget: None,
    })
}

/// What is loaded for a stack file among the texts.
pub fn input(stack: &Path, texts: &Texts) -> Input {
    Input {
        paths: vec![stack.to_path_buf()],
        host: None,
        include_paths: Vec::new(),
        renamed: None,
        texts: texts.clone(),
    }
}

/// What `diff` says of two stack files among the texts.
pub fn compared(before: &Path, after: &Path, texts: &Texts, color: Color) -> Result<Comparison, Stopped> {
    let versions = Versions::brought(before.to_path_buf(), after.to_path_buf(), texts.clone());
    let options = Diff {
        paths: Vec::new(),
        git: None,
        running: false,
        host: None,
        include_paths: Vec::new(),
        format: AnswerFormat::Human,
        budget: None,
    };
    diff::compare(&options, &versions, color)?.map_err(|what| internal(&what))
}

/// How a text of rules became another one, as a diff with a line of context. Both are known by their paths.
pub fn difference(old: &Path, new: &Path, texts: &Texts) -> String {
    let text = |path: &Path| texts.get(path).map(|text| text.to_string()).unwrap_or_default();
    // What iptables-save says of the day isn't a rule.
    let said = |line: &&str| !line.starts_with("# Generated") && !line.starts_with("# Completed");
    let (before, after) = (text(old), text(new));
    let before: Vec<&str> = before.lines().filter(said).collect();
    let after: Vec<&str> = after.lines().filter(said).collect();
    let mut input = InternedInput::default();
    input.update_before(before.iter().copied());
    input.update_after(after.iter().copied());
    let mut out = format!("--- {}\n+++ {}\n", old.display(), new.display());
    for hunk in Compared::compute(Algorithm::Histogram, &input).hunks() {
        let (from, to) = (hunk.before.start as usize, hunk.before.end as usize);
        let lines = |mark: char, lines: &[&str], range: Range<usize>| -> String {
            lines.get(range).unwrap_or_default().iter().map(|line| format!("{mark}{line}\n")).collect()
        };
        out += &lines(' ', &before, from.saturating_sub(CONTEXT)..from);
        out += &lines('-', &before, from..to);
        out += &lines('+', &after, hunk.after.start as usize..hunk.after.end as usize);
        out += &lines(' ', &before, to..(to + CONTEXT).min(before.len()));
    }
    out
}
