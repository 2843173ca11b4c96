//! Drill files: what is changed on which host, what that breaks, and what users should see of it.
//!
//! [`read_scenario`] reads one, [`BUILT_IN`] are those of `examples/drills`, [`Scenario::changed`] gives the texts that the
//! change makes of a stack's files. Nothing in here reads a file.

mod built_in;
mod read;
mod schema;

pub use built_in::{BUILT_IN, BuiltIn, by_name};
pub use read::read_scenario;
pub use schema::scenario_schema;

use crate::report::Postmortem;
use crate::series::Connections;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_verify::Located;
use std::collections::BTreeMap;
use std::fmt;

/// What is drilled.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called in commands, such as `003`.
    pub name: String,
    /// What happens, in a few words.
    pub title: String,
    /// What happens, in a sentence or some.
    pub about: String,
    /// The outage that it is made from.
    pub postmortem: Option<Postmortem>,
    /// What the outage needs of a lab beside its own: made before users come, taken away at the end.
    pub prepare: Option<Fault>,
    /// What is done to the rules.
    pub change: Change,
    /// What breaks beside the rules.
    pub fault: Option<Fault>,
    /// What ends the experiment early.
    pub stop: Option<Stop>,
    /// What has to come of it.
    pub expect: Expect,
}

/// What users may not see more of: where they do, the experiment ends early and everything is taken back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// The share of requests, in percent, of which more have to fail.
    pub errors: f64,
    /// The time in which the requests were due, in seconds.
    pub seconds: u32,
    /// Whose requests: those of one kind of connections, or of all.
    pub connections: Option<Connections>,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} % of requests", self.errors)?;
        if let Some(connections) = self.connections {
            write!(f, " over {} connections", connections.word())?;
        }
        write!(f, " fail for {} s", self.seconds)
    }
}

/// A change of one host's rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The host of the stack file.
    pub host: Located<String>,
    /// What is done to its files, in order.
    pub edits: Vec<Edit>,
}

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The file, by its name in the stack's folder.
    pub file: Located<String>,
    /// What is done to it.
    pub how: How,
}

/// What is done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Another file takes its place: a path, from the scenario's own folder.
    From(Located<String>),
    /// A piece of its text, which is there once, becomes another one.
    Put {
        /// What is there.
        find: Located<String>,
        /// What comes in its place.
        put: String,
    },
    /// Text is added at its end.
    Append(String),
}

/// What is no change of rules: commands of a shell on a host of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The host, as the lab calls it.
    pub host: String,
    /// What makes it.
    pub make: String,
    /// What takes it away.
    pub mend: String,
}

/// What has to come of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// The names of the intents that the change breaks. None: the firewall is innocent, and nothing may be refused.
    pub breaks: Vec<String>,
    /// The text of the rule that decides, or the beginning of it.
    pub rule: Option<String>,
    /// Which share of requests fails while the fault is there, in percent, by the kind of connections.
    pub errors: BTreeMap<Connections, Percent>,
}

/// A range of percentages, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Percent {
    /// Whether a share, from 0 to 1, is in it.
    pub fn holds(self, share: f64) -> bool {
        (self.low..=self.high).contains(&(share * 100.0))
    }
}

impl Scenario {
    /// Whether the gate has to refuse the change.
    pub fn is_refused(&self) -> bool {
        !self.expect.breaks.is_empty()
    }

    /// The texts that the change makes, by the names of the files; only those that it touches. `old` gives the text of a file
    /// of the stack, `other` that of a file beside the scenario. O(n) in the texts for each edit.
    ///
    /// # Errors
    /// A file that isn't there, or a text that isn't there once.
    pub fn changed(
        &self,
        old: &dyn Fn(&str) -> Option<String>,
        other: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, Box<Diagnostic>> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for edit in &self.change.edits {
            let name = &edit.file.value;
            let missing = |path: &str, span: Span| {
                Diagnostic::error("drill-file", format!("there is no file `{path}`"))
                    .at(span, "")
                    .help("name a file that the stack file names for this host; `from` is a path from the drill's folder")
            };
            let text = match texts.remove(name).or_else(|| old(name)) {
                Some(text) => text,
                None => return Err(Box::new(missing(name, edit.file.span))),
            };
            let text = match &edit.how {
                How::From(path) => match other(&path.value) {
                    Some(text) => text,
                    None => return Err(Box::new(missing(&path.value, path.span))),
                },
                How::Append(more) => text + more,
                How::Put { find, put } => replaced(&text, find, put, name)?,
            };
            texts.insert(name.clone(), text);
        }
        Ok(texts)
    }
}

fn replaced(text: &str, find: &Located<String>, put: &str, file: &str) -> Result<String, Box<Diagnostic>> {
    let count = text.matches(find.value.as_str()).count();
    if count == 1 {
        return Ok(text.replacen(find.value.as_str(), put, 1));
    }
    let found = if count == 0 { "does not have".to_owned() } else { format!("has {count} times") };
    let message = format!("`{file}` {found} what is to be replaced");
    let help = "write a piece of the file, letter by letter, that is there once";
    Err(Box::new(Diagnostic::error("drill-find", message).at(find.span, "").help(help)))
}

#[cfg(test)]
mod tests;
