//! YAML as a tree with places: the only module that knows which YAML library is used.
//!
//! Everything is kept as text: whether `no` or `10.10` is a word or a number is for the reader of the tree to say.

use super::Kind;
use crate::address::shorten;
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};
use std::fmt;

/// Lists and maps inside one another, at most.
const DEPTH_LIMIT: usize = 32;

/// Nodes that aliases (`*name`) may add, at most: a small file must not become a large tree.
const ALIAS_LIMIT: usize = 20_000;

/// Nodes of a document, at most.
const NODE_LIMIT: usize = 2_000_000;

/// A value of the document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands. Of a list or a map only the beginning is known.
    pub span: Span,
    /// What it is.
    pub data: Data,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Data {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar of any kind.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map in the order written; keys are unique.
    Map(Vec<(Scalar, Node)>),
}

/// A scalar as text.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The text, without quotes.
    pub text: String,
    /// Where it stands, without quotes where `exact`.
    pub span: Span,
    /// True where the text stands in the file byte for byte, so that a place inside it can be told.
    pub exact: bool,
}

/// Reads one document. An empty text is [`Data::Null`].
///
/// # Errors
/// What is wrong with the text, ready for people. Linear in the text, within the limits of depth, nodes and aliases.
pub fn parse(kind: Kind, file: FileId, text: &str) -> Result<Node, Box<Diagnostic>> {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = DEPTH_LIMIT;
    budget.flow_nesting_limit = DEPTH_LIMIT;
    budget.max_nodes = NODE_LIMIT;
    let limits = serde_saphyr::alias_limits! { max_total_replayed_events: ALIAS_LIMIT };
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: Some(budget),
        alias_limits: limits,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => Ok(raw.into_node(file, text)),
        Err(error) => Err(Box::new(explain(kind, file, text, error.without_snippet()))),
    }
}

/// A node as the library hands it over.
struct Raw(Spanned<RawData>);

enum RawData {
    Null,
    /// A plain scalar that could be a boolean or a number: its text is read from the source, since `10.10` as a
    /// number is no longer `10.10`.
    Plain,
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawData, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawData;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawData, E> {
        Ok(RawData::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<RawData, E> {
        Ok(RawData::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawData, E> {
        Ok(RawData::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawData, E> {
        Ok(RawData::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawData, E> {
        Ok(RawData::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<RawData, E> {
        Ok(RawData::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<RawData, E> {
        Ok(RawData::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawData, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(RawData::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawData, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(RawData::Map(map))
    }
}

impl Raw {
    fn into_node(self, file: FileId, source: &str) -> Node {
        let (referenced, defined) = (self.0.referenced, self.0.defined);
        let span = span_of(file, source, referenced);
        let data = match self.0.value {
            RawData::Null => Data::Null,
            RawData::Plain => {
                let text = slice(source, span_of(file, source, defined)).to_owned();
                Data::Scalar(locate(source, span, text))
            }
            RawData::Text(text) => Data::Scalar(locate(source, span, text)),
            RawData::List(list) => {
                Data::List(list.into_iter().map(|raw| raw.into_node(file, source)).collect())
            }
            RawData::Map(map) => Data::Map(
                map.into_iter()
                    .map(|(key, value)| {
                        let span = span_of(file, source, key.referenced);
                        (locate(source, span, key.value), value.into_node(file, source))
                    })
                    .collect(),
            ),
        };
        Node { span, data }
    }
}

/// Finds the text of a scalar in its span, without quotes.
fn locate(source: &str, span: Span, text: String) -> Scalar {
    let written = slice(source, span);
    if written == text {
        return Scalar { text, span, exact: true };
    }
    let inner = Span { start: span.start.saturating_add(1), end: span.end.saturating_sub(1), ..span };
    let quoted = written.starts_with(['"', '\'']) && inner.start <= inner.end && slice(source, inner) == text;
    Scalar { text, span: if quoted { inner } else { span }, exact: quoted }
}

fn slice(source: &str, span: Span) -> &str {
    source.get(span.start as usize..span.end as usize).unwrap_or_default()
}

/// The bytes of a location. Where the library knows only line and column, one character.
fn span_of(file: FileId, source: &str, location: Location) -> Span {
    let span = location.span();
    if let (Some(start), Some(length)) = (span.byte_offset(), span.byte_len()) {
        let start = (start as usize).min(source.len());
        return Span::new(file, start, start.saturating_add(length as usize).min(source.len()));
    }
    let line_number = (location.line() as usize).saturating_sub(1);
    let line_start = match line_number {
        0 => 0,
        n => source.match_indices('\n').nth(n - 1).map_or(source.len(), |(at, _)| at + 1),
    };
    let line = source.get(line_start..).unwrap_or_default().split('\n').next().unwrap_or_default();
    let column = (location.column() as usize).saturating_sub(1);
    let offset = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let width = line.get(offset..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    Span::new(file, line_start + offset, line_start + offset + width)
}

/// The library's error in our words.
fn explain(kind: Kind, file: FileId, source: &str, error: &Error) -> Diagnostic {
    let span = error.location().map(|location| span_of(file, source, location));
    let (message, help) = match error {
        Error::DuplicateMappingKey { key, .. } => {
            let message = match key {
                Some(key) => format!("the key `{}` is written twice", shorten(key)),
                None => "a key is written twice".to_owned(),
            };
            (message, "remove or rename one of the two".to_owned())
        }
        Error::MultipleDocuments { .. } => {
            ("the file holds more than one YAML document".to_owned(), "remove the line `---`".to_owned())
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => (
            "the file is nested too deeply or expands to too much".to_owned(),
            format!("write it with less nesting (at most {DEPTH_LIMIT} levels) and fewer aliases"),
        ),
        other => explain_syntax(source, span, &plain_message(other)),
    };
    let diagnostic = Diagnostic::error(kind.syntax, message).help(help);
    match span {
        Some(span) => diagnostic.at(span, ""),
        None => diagnostic,
    }
}

/// A syntax error, with the remedy for the mistakes that people make most.
fn explain_syntax(source: &str, span: Option<Span>, text: &str) -> (String, String) {
    let here = span.map(|span| slice(source, span)).unwrap_or_default();
    let line = span.map(|span| line_around(source, span.start as usize)).unwrap_or_default();
    if text.contains("recursion limit") || text.contains("nesting") {
        return (
            "the file is nested too deeply".to_owned(),
            format!("write it with at most {DEPTH_LIMIT} levels"),
        );
    }
    if text.contains("tab") || here == "\t" || line.starts_with('\t') {
        return (
            "a tab is used for indentation, which YAML does not allow".to_owned(),
            "indent with spaces".to_owned(),
        );
    }
    if here == "@" {
        return (
            "a value can't begin with `@` in YAML".to_owned(),
            "put quotes around it: `\"@name\"`".to_owned(),
        );
    }
    (format!("not valid YAML: {}", shorten(text)), "correct the YAML syntax here".to_owned())
}

/// The line that holds a byte.
fn line_around(source: &str, at: usize) -> &str {
    let before = source.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    source.get(start..).unwrap_or_default().split('\n').next().unwrap_or_default()
}

/// The library's message without its place, which the diagnostic tells itself.
fn plain_message(error: &Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text.get(..at).unwrap_or_default().to_owned(),
        None => text,
    }
}
