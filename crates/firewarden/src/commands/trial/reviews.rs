//! Reviews that are owed: whoever restored rules without asking anybody has it looked at by somebody else afterwards.

use super::now;
use firewarden_diagnostic::Diagnostic;
use firewarden_host::actor::Actor;
use firewarden_host::guard::Home;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// Something that was done without approval.
#[derive(Debug, Serialize, Deserialize)]
pub struct Owed {
    /// Who did it.
    pub who: String,
    /// When, UTC.
    pub when: String,
    /// Why.
    pub because: String,
}

fn folder(home: &Home) -> PathBuf {
    home.path().join("reviews")
}

/// Notes that a review is owed.
///
/// # Errors
/// It can't be written.
pub fn owe(home: &Home, id: &str, actor: &Actor, because: &str) -> Result<(), Diagnostic> {
    let owed = Owed { who: actor.name().to_owned(), when: now(), because: because.to_owned() };
    let text = serde_json::to_string_pretty(&owed).unwrap_or_default();
    let written = fs::create_dir_all(folder(home))
        .and_then(|()| fs::write(folder(home).join(format!("{id}.json")), text));
    written.map_err(|error| {
        Diagnostic::error("review-unwritable", format!("that a review is owed cannot be written: {error}"))
            .help("the rules are restored all the same; make room, and tell a colleague")
    })
}

/// Closes a review.
///
/// # Errors
/// There is none of that name, or the reviewer is the one whose deed it is about.
pub fn close(home: &Home, id: &str, reviewer: &Actor, found: &str) -> Result<(), Diagnostic> {
    let path = folder(home).join(format!("{id}.json"));
    let known = !id.contains('/');
    let text = fs::read_to_string(&path).ok().filter(|_| known);
    let owed = text.and_then(|text| serde_json::from_str::<Owed>(&text).ok()).ok_or_else(|| {
        let open: Vec<String> = all(home).into_iter().map(|(id, _)| id).collect();
        let problem = Diagnostic::error("no-review", format!("no review of `{id}` is owed"));
        match open.is_empty() {
            true => problem.help("none is owed at all"),
            false => problem.help(format!("owed are: {}", open.join(", "))),
        }
    })?;
    if owed.who == reviewer.name() {
        let message = format!("{} did it, so somebody else has to review it", owed.who);
        return Err(
            Diagnostic::error("own-review", message).help("have a colleague run this under their own name")
        );
    }
    if found.trim().is_empty() {
        return Err(Diagnostic::error("empty-review", "the review says nothing")
            .help("tell what was found with `--because`"));
    }
    fs::remove_file(&path).map_err(|error| {
        Diagnostic::error("review-unwritable", format!("`{}` cannot be removed: {error}", path.display()))
    })
}

/// What is owed, oldest first. One whose file was spoilt is owed all the same.
pub fn all(home: &Home) -> Vec<(String, Owed)> {
    let entries = fs::read_dir(folder(home)).into_iter().flatten().filter_map(|entry| {
        let path = entry.ok()?.path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let unreadable = || Owed {
            who: "somebody".to_owned(),
            when: String::new(),
            because: format!("`{}` can't be read", path.display()),
        };
        let owed = serde_json::from_str(&text).unwrap_or_else(|_| unreadable());
        Some((path.file_stem()?.to_str()?.to_owned(), owed))
    });
    let mut owed: Vec<(String, Owed)> = entries.collect();
    owed.sort_by(|(one, _), (other, _)| one.cmp(other));
    owed
}
