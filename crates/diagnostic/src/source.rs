//! Source texts and places in them.

use std::sync::{Arc, OnceLock};

/// A source text known to a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub u32);

/// A half-open range of bytes in one source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The text.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes `start..end` of `file`.
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span { file, start: clamp(start), end: clamp(end) }
    }

    /// The smallest span that covers both; `self` where they are in different files.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A place for people: both numbers start at 1; the column counts characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One source text. Where its lines are is found out when it is asked for first: most runs name few places.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name shown to people, as they gave it (`-` is shown as `<stdin>`).
    pub name: String,
    /// The text; shared, since parsers hold on to it while further texts are added.
    pub text: Arc<str>,
    lines: OnceLock<Lines>,
}

/// What finding places in a text takes.
#[derive(Clone, Debug)]
struct Lines {
    /// The offset of each line's first byte.
    starts: Vec<u32>,
    /// How many characters begin before each multiple of [`STRIDE`] bytes: a column far into a line of many
    /// megabytes is then found without reading the line again.
    checkpoints: Vec<u32>,
}

/// Bytes between two checkpoints of [`Lines`].
const STRIDE: usize = 1024;

/// Counts the characters that begin in some bytes: those that don't continue one. Right at any offset.
fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count() as u32
}

impl Lines {
    fn of(text: &str) -> Lines {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u32 + 1));
        let mut checkpoints = vec![0];
        let mut count = 0;
        for chunk in text.as_bytes().chunks(STRIDE) {
            count += characters(chunk);
            checkpoints.push(count);
        }
        Lines { starts, checkpoints }
    }
}

impl SourceFile {
    fn lines(&self) -> &Lines {
        self.lines.get_or_init(|| Lines::of(&self.text))
    }

    /// The place of a byte offset. O(log lines); the first call for a text reads all of it.
    pub fn line_column(&self, offset: u32) -> LineColumn {
        let offset = offset.min(self.text.len() as u32);
        let starts = &self.lines().starts;
        let line = starts.partition_point(|&start| start <= offset).max(1) - 1;
        let start = starts.get(line).copied().unwrap_or(0);
        let before = match self.text.as_bytes().get(start as usize..offset as usize) {
            Some(short) if short.len() < STRIDE => characters(short),
            _ => self.characters_before(offset) - self.characters_before(start),
        };
        let column = before + 1;
        LineColumn { line: line as u32 + 1, column }
    }

    /// How many characters begin before a byte offset. O(1).
    fn characters_before(&self, offset: u32) -> u32 {
        let index = offset as usize / STRIDE;
        let before = self.lines().checkpoints.get(index).copied().unwrap_or(0);
        let rest = self.text.as_bytes().get(index * STRIDE..offset as usize).unwrap_or_default();
        before + characters(rest)
    }

    /// The byte offset where a line (from 1) starts. `None` past the end.
    pub fn line_start(&self, line: u32) -> Option<u32> {
        self.lines().starts.get((line as usize).checked_sub(1)?).copied()
    }

    /// The text of a line (from 1), without its line end. `None` past the end.
    pub fn line(&self, line: u32) -> Option<&str> {
        let index = (line as usize).checked_sub(1)?;
        let starts = &self.lines().starts;
        let start = *starts.get(index)? as usize;
        let end = starts.get(index + 1).map_or(self.text.len(), |&next| next as usize);
        Some(self.text.get(start..end)?.trim_end_matches(['\n', '\r']))
    }
}

/// All source texts of a run. Texts are only ever added, so a [`Span`] stays valid.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text under the name that people know it by. O(length) where the text isn't an [`Arc`] yet.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        self.files.push(SourceFile { name: name.into(), text: text.into(), lines: OnceLock::new() });
        FileId(self.files.len() as u32 - 1)
    }

    /// The text of an id given by [`SourceMap::add`]; `None` for an id of another map.
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The bytes of a span; empty when the span isn't of this map.
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.file)
            .and_then(|file| file.text.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// `name:line:column` of a span's start, as compilers print it.
    pub fn place(&self, span: Span) -> String {
        match self.get(span.file) {
            Some(file) => {
                let at = file.line_column(span.start);
                format!("{}:{}:{}", file.name, at.line, at.column)
            }
            None => "<unknown>".to_owned(),
        }
    }

    /// All texts with their ids, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        self.files.iter().enumerate().map(|(index, file)| (FileId(index as u32), file))
    }
}
