//! The structure of what `nft -s -a list ruleset` prints: tables, and in them chains, sets and named objects, with the
//! words of each as nft wrote them.
//!
//! Nothing in here knows what a rule means. nft prints equal rules in equal words, so that words are enough to compare,
//! and it reads what it prints, so that they are enough to load again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The family and the name of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// `ip`, `ip6`, `inet`, `arp`, `bridge` or `netdev`.
    pub family: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.family, self.name)
    }
}

/// A listing, by tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing<'a> {
    /// The tables in the order of the listing.
    pub tables: Vec<Table<'a>>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its name.
    pub name: TableName,
    /// `flags dormant` and the like, without `flags`.
    pub flags: Option<&'a str>,
    /// Everything else that is said of the table itself, such as its comment.
    pub other: Vec<&'a str>,
    /// Chains in their order.
    pub chains: Vec<Chain<'a>>,
    /// Sets and maps in their order.
    pub sets: Vec<Set<'a>>,
    /// Counters, quotas, limits, helpers, flowtables, ...
    pub objects: Vec<Object<'a>>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// `type filter hook input priority filter`; `None` where packets come only by jumps.
    pub base: Option<&'a str>,
    /// `accept` or `drop`, of a base chain.
    pub policy: Option<&'a str>,
    /// Everything else that is said of the chain itself, such as its comment.
    pub other: Vec<&'a str>,
    /// Its rules.
    pub rules: Vec<Rule<'a>>,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Its words.
    pub text: &'a str,
    /// The kernel's number for it.
    pub handle: u64,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// `set` or `map`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Type, flags and so on, one statement each, without the comment.
    pub header: Vec<&'a str>,
    /// Its comment, with the word.
    pub comment: Option<&'a str>,
    /// Its elements by their key.
    pub elements: BTreeMap<&'a str, Element<'a>>,
}

/// An element of a set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// All its words.
    pub text: &'a str,
    /// True where it goes away by itself.
    pub timed: bool,
}

/// A named object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// `counter`, `quota`, `limit`, `ct helper`, `ct timeout`, `ct expectation`, `synproxy`, `secmark`, `flowtable`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it is, one statement each, without the comment.
    pub body: Vec<&'a str>,
    /// Its comment, with the word.
    pub comment: Option<&'a str>,
}

/// Why a listing isn't understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the listing isn't understood: `{text}`")]
pub struct ListingError {
    /// The line's number, from 1.
    pub line: usize,
    /// Its words.
    pub text: String,
}

impl<'a> Listing<'a> {
    /// Reads what `nft -s -a list ruleset` printed. O(n).
    ///
    /// # Errors
    /// [`ListingError`] for anything that nft 0.9 to 1.1 doesn't print.
    pub fn read(text: &'a str) -> Result<Listing<'a>, ListingError> {
        let mut lines = Lines { text, at: 0, number: 0 };
        let mut tables = Vec::new();
        while let Some(line) = lines.next() {
            let words = line.text.trim();
            if words.is_empty() || words.starts_with('#') {
                continue;
            }
            let (words, _) = split_handle(words);
            let named = words.strip_prefix("table ").and_then(|rest| rest.strip_suffix('{'));
            let Some((family, name)) = named.and_then(|named| named.trim().split_once(' ')) else {
                return Err(line.strange());
            };
            let name = TableName { family: family.to_owned(), name: name.to_owned() };
            tables.push(table(name, &mut lines)?);
        }
        Ok(Listing { tables })
    }

    /// The table of that name.
    pub fn table(&self, name: &TableName) -> Option<&Table<'a>> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

impl<'a> Table<'a> {
    /// The chain of that name.
    pub fn chain(&self, name: &str) -> Option<&Chain<'a>> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// Names of the sets that rules of this table add to, or delete from.
    pub fn written_sets(&self) -> BTreeSet<&'a str> {
        let mut written = BTreeSet::new();
        for rule in self.chains.iter().flat_map(|chain| &chain.rules) {
            for word in ["add @", "update @", "delete @"] {
                written.extend(rule.text.match_indices(word).filter_map(|(at, _)| {
                    let rest = rule.text.get(at + word.len()..)?;
                    rest.split([' ', '{', '"']).next()
                }));
            }
        }
        written
    }
}

impl Set<'_> {
    /// True where the flags or the header say that elements come and go without anybody loading rules.
    pub fn is_dynamic(&self) -> bool {
        self.header.iter().any(|line| {
            line.strip_prefix("flags ").is_some_and(|flags| flags.contains("dynamic"))
                || line.starts_with("timeout ")
        })
    }
}

/// A line, which may hold line breaks within quotes.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// Where it begins, in bytes.
    from: usize,
    number: usize,
}

impl Line<'_> {
    fn strange(&self) -> ListingError {
        ListingError { line: self.number, text: self.text.trim().chars().take(120).collect() }
    }
}

/// The lines of a listing.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    /// The next line. A comment or prefix in quotes may go on over several; nft escapes nothing, so a quote too many
    /// (from iptables) is told apart by the handle that ends every rule.
    fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        self.number += 1;
        let number = self.number;
        let (mut end, mut quotes) = (0, 0);
        loop {
            let line = rest.get(end..).unwrap_or_default();
            let length = line.find('\n').unwrap_or(line.len());
            let line = line.get(..length).unwrap_or_default();
            quotes += line.bytes().filter(|byte| *byte == b'"').count();
            end += length;
            if quotes.is_multiple_of(2) || split_handle(line).1.is_some() || end >= rest.len() {
                break;
            }
            end += 1;
            self.number += 1;
        }
        let from = self.at;
        self.at += (end + 1).min(rest.len());
        Some(Line { text: rest.get(..end)?, from, number })
    }
}

/// A line without ` # handle 5`, and that number. A table that a process owns has its name there too:
/// ` # handle 5 progname nft`.
fn split_handle(line: &str) -> (&str, Option<u64>) {
    let line = match line.rsplit_once(" progname ") {
        Some((before, _)) if line.starts_with("table ") => before.strip_suffix(" #").unwrap_or(before),
        _ => line,
    };
    if let Some((before, digits)) = line.rsplit_once(" # handle ")
        && let Ok(handle) = digits.parse()
    {
        return (before.trim_end(), Some(handle));
    }
    (line, None)
}

fn table<'a>(name: TableName, lines: &mut Lines<'a>) -> Result<Table<'a>, ListingError> {
    let mut table = Table {
        name,
        flags: None,
        other: Vec::new(),
        chains: Vec::new(),
        sets: Vec::new(),
        objects: Vec::new(),
    };
    loop {
        let Some(line) = lines.next() else {
            return Err(ListingError { line: lines.number, text: "the end".to_owned() });
        };
        let (words, _) = split_handle(line.text.trim());
        if words == "}" {
            return Ok(table);
        }
        if words.is_empty() {
            continue;
        }
        let Some(opened) = words.strip_suffix('{').map(str::trim) else {
            match words.strip_prefix("flags ") {
                Some(flags) => table.flags = Some(flags),
                None => table.other.push(words),
            }
            continue;
        };
        let Some((kind, name)) = opened.rsplit_once(' ') else { return Err(line.strange()) };
        match kind {
            "chain" => table.chains.push(chain(name, lines)?),
            "set" | "map" => table.sets.push(set(kind, name, lines)?),
            "counter" | "quota" | "limit" | "ct helper" | "ct timeout" | "ct expectation" | "synproxy"
            | "secmark" | "flowtable" => {
                let mut object = Object { kind, name, body: Vec::new(), comment: None };
                for statement in body(lines)? {
                    match statement.starts_with("comment ") {
                        true => object.comment = Some(statement),
                        false => object.body.push(statement),
                    }
                }
                table.objects.push(object);
            }
            _ => return Err(line.strange()),
        }
    }
}

fn chain<'a>(name: &'a str, lines: &mut Lines<'a>) -> Result<Chain<'a>, ListingError> {
    let mut chain = Chain { name, base: None, policy: None, other: Vec::new(), rules: Vec::new() };
    while let Some(line) = lines.next() {
        let mut words = line.text.trim();
        if words == "}" {
            return Ok(chain);
        }
        // A chain without a name stands within the rule that leads to it, over several lines.
        let mut open = depth(words);
        while open > 0 && split_handle(words).1.is_none() {
            let Some(more) = lines.next() else { return Err(line.strange()) };
            open += depth(more.text);
            words = lines.text.get(line.from..lines.at).unwrap_or_default().trim();
        }
        match split_handle(words) {
            ("", _) => {}
            (text, Some(handle)) => chain.rules.push(Rule { text, handle }),
            (text, None) if text.starts_with("type ") => {
                let (base, rest) = text.split_once(';').unwrap_or((text, ""));
                chain.base = Some(base);
                for part in rest.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                    match part.strip_prefix("policy ") {
                        Some(policy) => chain.policy = Some(policy),
                        None => chain.other.push(part),
                    }
                }
            }
            (text, None) if text.starts_with("comment ") => chain.other.push(text),
            _ => return Err(line.strange()),
        }
    }
    Err(ListingError { line: lines.number, text: "the end".to_owned() })
}

fn set<'a>(kind: &'a str, name: &'a str, lines: &mut Lines<'a>) -> Result<Set<'a>, ListingError> {
    let mut set = Set { kind, name, header: Vec::new(), comment: None, elements: BTreeMap::new() };
    for statement in body(lines)? {
        if let Some(list) = statement.strip_prefix("elements = {") {
            let list = list.strip_suffix('}').unwrap_or(list);
            for text in split(list, b',') {
                let (key, timed) = key_of(text);
                set.elements.insert(key, Element { text, timed });
            }
        } else if statement.starts_with("comment ") {
            set.comment = Some(statement);
        } else {
            set.header.push(statement);
        }
    }
    Ok(set)
}

/// The statements up to the closing brace; what is in braces is one, over however many lines.
fn body<'a>(lines: &mut Lines<'a>) -> Result<Vec<&'a str>, ListingError> {
    let mut statements = Vec::new();
    while let Some(line) = lines.next() {
        let words = line.text.trim();
        if words == "}" {
            return Ok(statements);
        }
        let mut open = depth(words);
        if open == 0 {
            statements.extend(split(words, b';'));
            continue;
        }
        while open > 0 {
            let Some(more) = lines.next() else { return Err(line.strange()) };
            open += depth(more.text);
        }
        statements.push(lines.text.get(line.from..lines.at).unwrap_or_default().trim());
    }
    Err(ListingError { line: lines.number, text: "the end".to_owned() })
}

/// How many braces a text opens beyond those it closes, not counting what is in quotes.
fn depth(text: &str) -> i64 {
    let (mut depth, mut quoted) = (0, false);
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth
}

/// The parts of a text between separators that are neither in quotes nor in braces.
fn split(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut from, mut depth, mut quoted) = (Vec::new(), 0, 0_i64, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ if byte == separator && depth == 0 => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// The words of a rule such that rules which nft prints in two ways become equal. The kernel lists the elements of some
/// anonymous sets (such as `tcp flags { syn | ack, syn }`) by a hash that is another one each time they are loaded: here
/// they are in order. And nft makes a plain match of a set with one element when it loads it, which an interval that was
/// merged of several becomes only the second time: here it has no braces. O(n log n); for comparing, not for loading.
pub fn normal_form(rule: &str) -> Cow<'_, str> {
    if !rule.contains('{') {
        return Cow::Borrowed(rule);
    }
    // For each open brace, the parts before a comma, and the text before the brace.
    let mut open: Vec<(Vec<String>, String)> = Vec::new();
    let (mut text, mut quoted) = (String::with_capacity(rule.len()), false);
    for character in rule.chars() {
        match (character, open.last_mut()) {
            ('"', _) => {
                quoted = !quoted;
                text.push('"');
            }
            ('{', _) if !quoted => open.push((Vec::new(), std::mem::take(&mut text))),
            (',', Some((parts, _))) if !quoted => parts.push(std::mem::take(&mut text)),
            ('}', Some(_)) if !quoted => {
                let Some((parts, before)) = open.pop() else { continue };
                text = before + &closed(parts, text);
            }
            _ => text.push(character),
        }
    }
    // A brace too many stays as it was.
    for (mut parts, before) in open.into_iter().rev() {
        parts.push(text);
        text = before + "{" + &parts.join(",");
    }
    Cow::Owned(text)
}

/// What stood in braces. A chain within a rule has line breaks, and its rules keep their order.
fn closed(mut parts: Vec<String>, last: String) -> String {
    if parts.is_empty() {
        return if last.contains('\n') { format!("{{{last}}}") } else { last.trim().to_owned() };
    }
    parts.push(last);
    let mut parts: Vec<&str> = parts.iter().map(|part| part.trim()).collect();
    parts.sort_unstable();
    format!("{{ {} }}", parts.join(", "))
}

/// What names an element: everything before its options and its value; and whether it goes away by itself.
fn key_of(text: &str) -> (&str, bool) {
    let mut key = text.len();
    let (mut quoted, mut timed) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b' ' if !quoted => {
                let rest = text.get(at + 1..).unwrap_or_default();
                let word = rest.split([' ', '\n', '\t']).next().unwrap_or_default();
                timed |= matches!(word, "timeout" | "expires");
                // The words that begin an option or a statement of an element (nft(8), SET STATEMENT and elements).
                let ends = matches!(
                    word,
                    ":" | "timeout" | "expires" | "comment" | "counter" | "limit" | "quota" | "last" | "ct"
                );
                if ends && key == text.len() {
                    key = at;
                }
            }
            _ => {}
        }
    }
    (text.get(..key).unwrap_or(text).trim(), timed)
}

#[cfg(test)]
mod tests;
