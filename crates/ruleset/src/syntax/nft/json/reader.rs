//! JSON with the place of every value (RFC 8259).
//!
//! Values borrow from the text. A listing of a whole host is an array of small objects, so callers read the outer
//! levels by hand ([`Reader::eat`], [`Reader::key`], [`Reader::next_item`]) and hold one object at a time.

use firewarden_diagnostic::{FileId, Span};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The deepest nesting of arrays and objects.
const MAX_JSON_DEPTH: u32 = 200;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) span: Span,
    pub(super) value: Value<'t>,
}

#[derive(Clone, Debug)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    /// As written.
    Number(&'t str),
    String(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    /// In order of writing; the first of equal keys counts.
    Object(Vec<(Cow<'t, str>, Node<'t>)>),
}

impl<'t> Node<'t> {
    /// The value of a key; `None` where there is none, where it is null, or where this isn't an object.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'t>> {
        let Value::Object(entries) = &self.value else { return None };
        let (_, node) = entries.iter().find(|(name, _)| name == key)?;
        if matches!(node.value, Value::Null) { None } else { Some(node) }
    }

    /// The only entry of an object.
    pub(super) fn single(&self) -> Option<(&str, &Node<'t>)> {
        match &self.value {
            Value::Object(entries) => match entries.as_slice() {
                [(key, node)] => Some((key, node)),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn string(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The items of an array, or this value alone: nft prints lists of one without brackets.
    pub(super) fn items(&self) -> &[Node<'t>] {
        match &self.value {
            Value::Array(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The text of the key, a string.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.string()
    }

    /// The number of the key.
    pub(super) fn number_of(&self, key: &str) -> Option<u64> {
        self.get(key)?.number()
    }
}

/// The value whose key stands there before. Programs differ in which of the two counts.
fn repeated(entries: &[(Cow<'_, str>, Node<'_>)]) -> Option<Span> {
    const FEW: usize = 8;
    if entries.len() <= FEW {
        let before = |at: usize, key: &str| entries.iter().take(at).any(|(other, _)| other == key);
        return entries
            .iter()
            .enumerate()
            .find(|(at, (key, _))| before(*at, key))
            .map(|(_, (_, node))| node.span);
    }
    let mut seen = BTreeSet::new();
    entries.iter().find(|(key, _)| !seen.insert(key)).map(|(_, node)| node.span)
}

/// Why and where the text isn't JSON.
#[derive(Clone, Debug)]
pub(super) struct Bad {
    pub(super) span: Span,
    pub(super) message: &'static str,
}

pub(super) struct Reader<'t> {
    file: FileId,
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    depth: u32,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: FileId, text: &'t str) -> Reader<'t> {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Reader { file, text, bytes: text.as_bytes(), at, depth: 0 }
    }

    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    /// The first character.
    pub(super) fn first(&self) -> Span {
        let start = if self.text.starts_with('\u{feff}') { 3 } else { 0 };
        let first = self.text.get(start..).and_then(|text| text.chars().next());
        self.span(start, start + first.map_or(0, char::len_utf8))
    }

    /// Where reading goes on, to the end of the text.
    pub(super) fn here(&self) -> Span {
        self.span(self.at, self.bytes.len())
    }

    fn bad<T>(&self, message: &'static str) -> Result<T, Bad> {
        let length = self.text.get(self.at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        Err(Bad { span: self.span(self.at, self.at + length), message })
    }

    /// The next byte that isn't blank; not taken. 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.peek() == 0 && self.at >= self.bytes.len()
    }

    /// Takes this byte if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let fits = self.peek() == byte && self.at < self.bytes.len();
        if fits {
            self.at += 1;
        }
        fits
    }

    /// After an item of an array or object: whether another follows. Takes the comma or the closing bracket.
    pub(super) fn next_item(&mut self, close: u8) -> Result<bool, Bad> {
        if self.eat(b',') {
            return Ok(true);
        }
        if self.eat(close) { Ok(false) } else { self.bad("expected `,` or the end of the list") }
    }

    /// Takes `"key":`.
    pub(super) fn key(&mut self) -> Result<Cow<'t, str>, Bad> {
        if self.peek() != b'"' {
            return self.bad("expected a key in quotes");
        }
        let key = self.string()?;
        if self.eat(b':') { Ok(key) } else { self.bad("expected `:`") }
    }

    /// The next value, whole.
    pub(super) fn value(&mut self) -> Result<Node<'t>, Bad> {
        let byte = self.peek();
        let start = self.at;
        let value = match byte {
            b'{' => {
                self.enter()?;
                let mut entries = Vec::new();
                if !self.eat(b'}') {
                    loop {
                        let key = self.key()?;
                        entries.push((key, self.value()?));
                        if !self.next_item(b'}')? {
                            break;
                        }
                    }
                }
                self.depth -= 1;
                if let Some(span) = repeated(&entries) {
                    return Err(Bad { span, message: "this key stands twice in one object" });
                }
                Value::Object(entries)
            }
            b'[' => {
                self.enter()?;
                let mut items = Vec::new();
                if !self.eat(b']') {
                    loop {
                        items.push(self.value()?);
                        if !self.next_item(b']')? {
                            break;
                        }
                    }
                }
                self.depth -= 1;
                Value::Array(items)
            }
            b'"' => Value::String(self.string()?),
            b'-' | b'0'..=b'9' => self.number(),
            b't' if self.word("true") => Value::Bool(true),
            b'f' if self.word("false") => Value::Bool(false),
            b'n' if self.word("null") => Value::Null,
            0 if self.at >= self.bytes.len() => return self.bad("the text ends too early"),
            _ => return self.bad("expected a value"),
        };
        Ok(Node { span: self.span(start, self.at), value })
    }

    /// Takes the bracket that opens an array or object.
    fn enter(&mut self) -> Result<(), Bad> {
        if self.depth >= MAX_JSON_DEPTH {
            return self.bad("nested too deep");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> bool {
        let fits = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if fits {
            self.at += word.len();
        }
        fits
    }

    fn number(&mut self) -> Value<'t> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let text = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        Value::Number(text)
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Bad> {
        let open = self.at;
        self.at += 1;
        let mut owned: Option<String> = None;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return Err(Bad { span: self.span(open, open + 1), message: "this string has no end" });
            };
            let part = self.text.get(self.at..self.at + length).unwrap_or_default();
            let closes = rest.get(length) == Some(&b'"');
            self.at += length + 1;
            match (&mut owned, closes) {
                (None, true) => return Ok(Cow::Borrowed(part)),
                (Some(text), true) => {
                    text.push_str(part);
                    return Ok(Cow::Owned(std::mem::take(text)));
                }
                (text, false) => {
                    let text = text.get_or_insert_default();
                    text.push_str(part);
                    let escaped = self.escape()?;
                    text.push(escaped);
                }
            }
        }
    }

    /// After a `\`.
    fn escape(&mut self) -> Result<char, Bad> {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        let escaped = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                let high = self.hex4()?;
                if (0xD800..0xDC00).contains(&high) && self.word("\\u") {
                    let low = self.hex4()?;
                    let code = 0x10000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return self.bad("not an escape of JSON"),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn hex4(&mut self) -> Result<u32, Bad> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.bad("expected four hexadecimal digits"),
        }
    }
}
