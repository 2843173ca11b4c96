//! Reading what `ip -j`, `ss` and conntrack print. Pure: texts come in, values and complaints go out.

mod addresses;
mod connections;
mod routes;
mod sockets;
mod words;

pub use addresses::{Link, addresses};
pub use connections::{conntrack, established};
pub use routes::{routes, rules};
pub use sockets::listening;

/// A line or entry of a listing that isn't understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} isn't understood: `{text}`")]
pub struct Unread {
    /// What was being read: `a route`.
    pub what: &'static str,
    /// The listing's words, shortened.
    pub text: String,
}

impl Unread {
    fn new(what: &'static str, text: &str) -> Unread {
        Unread { what, text: text.chars().take(120).collect::<String>().replace('`', "'") }
    }
}

/// A listing that isn't in its format at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no JSON as `ip -j` prints it: {0}")]
pub struct NotJson(String);

/// What was read, and what of it wasn't understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The values, in the listing's order.
    pub values: Vec<T>,
    /// The rest.
    pub unread: Vec<Unread>,
}

/// The entries of a JSON list; nothing at all stands for an empty list, as old versions of `ip` print it.
fn entries(text: &str) -> Result<Vec<serde_json::Value>, NotJson> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).map_err(|error| NotJson(error.to_string()))
}

/// Reads each entry of a JSON list.
fn each<T>(
    text: &str,
    what: &'static str,
    read: impl Fn(&serde_json::Value) -> Option<T>,
) -> Result<Read<T>, NotJson> {
    let mut found = Read { values: Vec::new(), unread: Vec::new() };
    for entry in entries(text)? {
        match read(&entry) {
            Some(value) => found.values.push(value),
            None => found.unread.push(Unread::new(what, &entry.to_string())),
        }
    }
    Ok(found)
}

/// Reads each line that isn't empty.
fn lines<T>(text: &str, what: &'static str, read: impl Fn(&str) -> Option<T>) -> Read<T> {
    let mut found = Read { values: Vec::new(), unread: Vec::new() };
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match read(line) {
            Some(value) => found.values.push(value),
            None => found.unread.push(Unread::new(what, line)),
        }
    }
    found
}
