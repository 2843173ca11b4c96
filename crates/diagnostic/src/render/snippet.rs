//! A diagnostic with its lines of source, underlined. Lines are cut around what is underlined before they
//! reach the layout, so that its work doesn't grow with the length of a line.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::renderer::Renderer;
use annotate_snippets::{Annotation, AnnotationKind, Element, Level, Snippet};

use crate::render::text::{one_line, quote, visible};
use crate::{Diagnostic, FileId, Label, Severity, SourceFile, SourceMap};

/// The most characters of a source line that are shown.
const LINE_WIDTH: usize = 160;
/// How many of them stand before the first underlined one, when the line is cut.
const LEAD: usize = 40;
/// The longest message shown, in characters.
const LONGEST_MESSAGE: usize = 600;
/// The most labels of a diagnostic that are shown.
const MOST_LABELS: usize = 16;
/// Labels at most this many lines apart are shown in one piece of source.
const NEAR_LINES: u32 = 6;

/// Lines of a file by number, with the labels that begin there.
type Lines<'a> = Vec<(u32, Vec<&'a Label>)>;

/// Which of the notes and help to show below the source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Footer {
    /// As notes and help of the compiler style.
    Shown,
    /// Left to the caller.
    Left,
}

/// Renders one diagnostic, without a line end after it. O(length of what is shown · labels).
pub(crate) fn render(
    diagnostic: &Diagnostic,
    sources: &SourceMap,
    renderer: &Renderer,
    footer: Footer,
) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(quote(&diagnostic.message, LONGEST_MESSAGE)).id(diagnostic.code);
    let pieces = pieces(diagnostic, sources);
    let places: Vec<(String, String)> =
        pieces.iter().filter(|piece| piece.wrong != piece.right).map(Piece::places).collect();
    let mut elements: Vec<Element<'static>> = pieces.into_iter().map(|piece| piece.snippet.into()).collect();
    if footer == Footer::Shown {
        let notes =
            diagnostic.notes.iter().map(|note| Level::NOTE.message(quote(note, LONGEST_MESSAGE)).into());
        elements.extend(notes);
        let help = diagnostic.help.as_ref();
        elements.extend(help.map(|help| Level::HELP.message(quote(help, LONGEST_MESSAGE)).into()));
    }
    let mut out = renderer.render(&[title.elements(elements)]);
    // The layout counts columns in the cut line; the place must say them as they are in the file.
    let mut from = out.find('\n').unwrap_or(out.len());
    for (wrong, right) in places {
        if let Some(at) = out.get(from..).and_then(|rest| rest.find(&wrong)) {
            out.replace_range(from + at..from + at + wrong.len(), &right);
            from += at + right.len();
        }
    }
    out
}

/// Some lines of one file with their underlines.
struct Piece {
    snippet: Snippet<'static, Annotation<'static>>,
    file: String,
    line: u32,
    /// The column that the layout will write for the piece, and the one in the file.
    wrong: u32,
    right: u32,
}

impl Piece {
    /// The place as the layout will write it, and as it should be.
    fn places(&self) -> (String, String) {
        let with = |column| format!("{}:{}:{column}", self.file, self.line);
        (with(self.wrong), with(self.right))
    }
}

/// The pieces of source of a diagnostic: those with the primary label first, then by file and line.
fn pieces(diagnostic: &Diagnostic, sources: &SourceMap) -> Vec<Piece> {
    let primary = diagnostic.span();
    let mut by_line: BTreeMap<(bool, FileId, u32), Vec<&Label>> = BTreeMap::new();
    for label in diagnostic.labels.iter().take(MOST_LABELS) {
        if let Some(file) = sources.get(label.span.file) {
            let line = file.line_column(label.span.start).line;
            let other_file = primary.is_some_and(|span| span.file != label.span.file);
            by_line.entry((other_file, label.span.file, line)).or_default().push(label);
        }
    }
    // Lines that are near one another become one piece.
    let mut pieces: Vec<(FileId, Lines<'_>)> = Vec::new();
    for ((_, file, line), labels) in by_line {
        match pieces.last_mut() {
            Some((of, lines))
                if *of == file && lines.last().is_some_and(|(last, _)| line - last <= NEAR_LINES) =>
            {
                lines.push((line, labels));
            }
            _ => pieces.push((file, vec![(line, labels)])),
        }
    }
    // Where the piece of the primary label isn't the first of its file, it is moved to the front.
    let holds_primary = |lines: &[(u32, Vec<&Label>)]| {
        lines.iter().flat_map(|(_, labels)| labels).any(|label| Some(label.span) == primary)
    };
    pieces.sort_by_key(|(_, lines)| !holds_primary(lines));
    pieces.into_iter().filter_map(|(file, lines)| piece(sources.get(file)?, &lines)).collect()
}

fn piece(file: &SourceFile, lines: &[(u32, Vec<&Label>)]) -> Option<Piece> {
    let (first, last) = (lines.first()?.0, lines.last()?.0);
    // The layout names the place of the first primary label, or else of the first one.
    let all = || lines.iter().flat_map(|(_, labels)| labels);
    let head = all().find(|label| label.primary).or(all().next())?;
    let at = file.line_column(head.span.start);

    let mut wrong = at.column;
    let mut text = String::new();
    let mut annotations = Vec::new();
    for number in first..=last {
        let none = Vec::new();
        let labels = lines.iter().find(|(line, _)| *line == number).map_or(&none, |(_, labels)| labels);
        let line = file.line(number).unwrap_or_default();
        let line_start = file.line_start(number).unwrap_or(0) as usize;
        let within = |at: u32| (at as usize).saturating_sub(line_start).min(line.len());
        let spans: Vec<Range<usize>> = labels
            .iter()
            .map(|label| within(label.span.start)..within(label.span.end.max(label.span.start)))
            .collect();
        let (cut, moved) = cut(line, &spans);
        for (label, span) in labels.iter().zip(moved) {
            if label.span == head.span {
                let before = cut.get(..span.start).unwrap_or_default();
                wrong = before.chars().count() as u32 + 1;
            }
            let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let span = text.len() + span.start..text.len() + span.end;
            annotations.push(kind.span(span).label(quote(&label.message, LONGEST_MESSAGE)));
        }
        text.push_str(&cut);
        text.push('\n');
    }
    let name = one_line(&file.name).into_owned();
    let snippet =
        Snippet::source(text).path(name.clone()).line_start(first as usize).annotations(annotations);
    Some(Piece { snippet, file: name, line: at.line, wrong, right: at.column })
}

/// The part of a line around its first underlined place, made visible, and where the underlined places are
/// in it. O([`LINE_WIDTH`] + places), however long the line is.
fn cut(line: &str, spans: &[Range<usize>]) -> (String, Vec<Range<usize>>) {
    let from = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let from = floor(line, from);
    let long = line.char_indices().nth(LINE_WIDTH).is_some();
    let window_start = if long {
        let before = line.get(..from).unwrap_or_default();
        before.char_indices().rev().nth(LEAD - 1).map_or(0, |(at, _)| at)
    } else {
        0
    };
    let rest = line.get(window_start..).unwrap_or_default();
    let window_end = rest.char_indices().nth(LINE_WIDTH).map_or(line.len(), |(at, _)| window_start + at);

    let mut shown = String::new();
    if window_start > 0 {
        shown.push('…');
    }
    // Where each character of the window begins in the line and in what is shown.
    let mut starts = Vec::new();
    for (at, c) in line.get(window_start..window_end).unwrap_or_default().char_indices() {
        starts.push((window_start + at, shown.len()));
        shown.push(visible(c).unwrap_or(c));
    }
    let end = shown.len();
    if window_end < line.len() {
        shown.push('…');
    }
    // Replaced byte for byte, so no place moves; the marker is acted on anywhere in a line of a log.
    let shown = shown.replace("##[", "# [");
    let place = |at: usize| {
        let index = starts.partition_point(|(from, _)| *from < at);
        starts.get(index).map_or(end, |(_, to)| *to)
    };
    let moved = spans.iter().map(|span| place(span.start)..place(span.end)).collect();
    (shown, moved)
}

/// The nearest character boundary at or before a byte offset.
fn floor(line: &str, at: usize) -> usize {
    (0..=at.min(line.len())).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn cuts_a_long_line_around_the_place() {
        let line = format!("{}drop{}", "é".repeat(1_000_000), "x".repeat(1_000_000));
        let (shown, spans) = cut(&line, from_ref(&(2_000_000..2_000_004)));
        assert!(shown.chars().count() <= LINE_WIDTH + 2);
        assert_eq!(shown.get(spans[0].clone()), Some("drop"));
        assert!(shown.starts_with("…é") && shown.ends_with("x…"));
    }

    #[test]
    fn survives_places_inside_characters() {
        let line = "ééé";
        for start in 0..8 {
            for end in start..9 {
                let (shown, spans) = cut(line, from_ref(&(start..end)));
                assert!(shown.get(spans[0].clone()).is_some());
            }
        }
    }
}
