//! From YAML nodes to values of the wanted shape, with diagnostics for those that aren't.

use super::{Data, Kind, Node, Scalar};
use crate::address::shorten;
use crate::located::Located;
use crate::suggest::nearest;
use firewarden_diagnostic::{Diagnostic, Severity, Span};

/// The most diagnostics of one file; one more says that there are others.
const MOST_DIAGNOSTICS: usize = 1000;

/// Collects what is wrong.
#[derive(Debug)]
pub struct Values {
    kind: Kind,
    diagnostics: Vec<Diagnostic>,
    /// Those that aren't kept.
    more: usize,
    /// An error is among them.
    hidden_error: bool,
}

/// A map whose keys are known by name. Keys are unique (the parser sees to it).
#[derive(Debug)]
pub struct Fields<'a> {
    entries: &'a [(Scalar, Node)],
    /// Of the map; its beginning.
    pub span: Span,
}

impl<'a> Fields<'a> {
    /// The value of a key, where it has one.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|(known, _)| known.text == key)
            .map(|(_, node)| node)
            .filter(|node| !matches!(node.data, Data::Null))
    }

    /// The place of a key.
    pub fn key_span(&self, key: &str) -> Span {
        self.entries.iter().find(|(known, _)| known.text == key).map_or(self.span, |(known, _)| known.span)
    }
}

impl Values {
    /// Nothing wrong yet.
    pub fn new(kind: Kind) -> Values {
        Values { kind, diagnostics: Vec::new(), more: 0, hidden_error: false }
    }

    /// Takes what is wrong; the first thousand are kept.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MOST_DIAGNOSTICS {
            self.diagnostics.push(diagnostic);
            return;
        }
        self.more += 1;
        self.hidden_error |= diagnostic.severity == Severity::Error;
    }

    /// How often something was reported.
    pub fn reported(&self) -> usize {
        self.diagnostics.len() + self.more
    }

    /// Everything reported, or the first of it and how much more there is.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        if self.more > 0 {
            let severity = if self.hidden_error { Severity::Error } else { Severity::Note };
            let message = format!("{} more about {} are not shown", self.more, self.kind.name);
            self.diagnostics.push(
                Diagnostic::new(severity, "more-diagnostics", message)
                    .help("correct those that are shown, then check again"),
            );
        }
        self.diagnostics
    }

    /// Tells that a key is needed.
    pub fn missing(&mut self, at: Span, what: &str, key: &str, help: &str) {
        let message = format!("{what} needs `{key}`");
        self.report(Diagnostic::error(self.kind.missing_key, message).at(at, "").help(help));
    }

    /// "expected X, found Y".
    pub fn mismatch(&mut self, node: &Node, what: &str, expected: &str) {
        let found = match &node.data {
            Data::Null => "nothing".to_owned(),
            Data::Scalar(scalar) => format!("`{}`", shorten(&scalar.text)),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
        };
        self.report(
            Diagnostic::error(self.kind.mismatch, format!("{what} is {expected}, not {found}"))
                .at(node.span, "")
                .help(format!("write {expected} here")),
        );
    }

    /// The entries of a map of any keys.
    pub fn entries<'a>(&mut self, node: &'a Node, what: &str, expected: &str) -> &'a [(Scalar, Node)] {
        match &node.data {
            Data::Map(entries) => entries,
            Data::Null => &[],
            _ => {
                self.mismatch(node, what, expected);
                &[]
            }
        }
    }

    /// A map with known keys. Unknown ones are told; `None` where the node is no map.
    pub fn fields<'a>(&mut self, node: &'a Node, what: &str, known: &[&str]) -> Option<Fields<'a>> {
        let Data::Map(entries) = &node.data else {
            self.mismatch(node, what, "a map with keys");
            return None;
        };
        for (key, _) in entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            let help = match nearest(&key.text, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys of {what} are {}", quoted(known)),
            };
            let message = format!("`{}` is not a key of {what}", shorten(&key.text));
            self.report(Diagnostic::error(self.kind.unknown_key, message).at(key.span, "").help(help));
        }
        Some(Fields { entries, span: node.span })
    }

    /// The items of a list.
    pub fn list<'a>(&mut self, node: &'a Node, what: &str, expected: &str) -> &'a [Node] {
        match &node.data {
            Data::List(items) => items,
            Data::Null => &[],
            _ => {
                self.mismatch(node, what, expected);
                &[]
            }
        }
    }

    /// The scalars of a list, or a single one.
    pub fn scalars<'a>(&mut self, node: &'a Node, what: &str, expected: &str) -> Vec<&'a Scalar> {
        match &node.data {
            Data::Scalar(scalar) => vec![scalar],
            Data::List(items) => {
                let mut scalars = Vec::new();
                for item in items {
                    match &item.data {
                        Data::Scalar(scalar) => scalars.push(scalar),
                        _ => self.mismatch(item, what, expected),
                    }
                }
                scalars
            }
            _ => {
                self.mismatch(node, what, expected);
                Vec::new()
            }
        }
    }

    /// One scalar.
    pub fn scalar<'a>(&mut self, node: &'a Node, what: &str, expected: &str) -> Option<&'a Scalar> {
        match &node.data {
            Data::Scalar(scalar) => Some(scalar),
            _ => {
                self.mismatch(node, what, expected);
                None
            }
        }
    }

    /// The text of a key, where it is there.
    pub fn text(&mut self, fields: &Fields<'_>, key: &str) -> Option<Located<String>> {
        let node = fields.get(key)?;
        let scalar = self.scalar(node, &format!("`{key}`"), "a text")?;
        Some(Located::new(scalar.text.clone(), scalar.span))
    }

    /// The truth value of a key, where it is there.
    pub fn truth(&mut self, fields: &Fields<'_>, key: &str) -> Option<bool> {
        let node = fields.get(key)?;
        let what = format!("`{key}`");
        match self.scalar(node, &what, "`true` or `false`")?.text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.mismatch(node, &what, "`true` or `false`");
                None
            }
        }
    }
}

/// Words in backticks with commas between.
pub fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
