//! What doesn't count: exceptions in comments and in the stack file, and what a baseline knows.
//!
//! A comment `firewarden: allow ID reason="…" until=2027-01-01` is about the rule on its line, or on the next line that
//! isn't a comment. A baseline holds fingerprints of check, place and rule text, which don't change when lines move.

use super::words::digest;
use super::{Found, Settled, Subject, checks};
use crate::suggest::nearest;
use firewarden_diagnostic::{Diagnostic, FileId, SourceFile, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What begins an exception in a comment.
const MARK: &str = "firewarden: allow ";

/// The first line of a baseline file.
const HEAD: &str = "# firewarden audit baseline, version 1";

/// Somebody's word that a finding is accepted.
struct Exception {
    ids: Vec<String>,
    reason: Option<String>,
    until: Option<String>,
    scope: Scope,
    /// Where it is written.
    span: Span,
    used: bool,
}

/// What an exception is about.
enum Scope {
    /// Findings that begin on these lines of a file.
    Lines { file: FileId, first: u32, last: u32 },
    /// Findings whose place or rule contains the text.
    Text { place: Option<String>, host: Option<String> },
}

/// Marks what is excused or known, and adds findings about exceptions themselves.
pub fn settle(subject: &Subject<'_>, found: &mut Vec<Found>) {
    let mut exceptions = Vec::new();
    for (id, file) in subject.sources.iter() {
        in_comments(id, file, &mut exceptions);
    }
    for declared in subject.stack.iter().flat_map(|stack| &stack.exceptions) {
        exceptions.push(Exception {
            ids: vec![declared.id.value.clone()],
            reason: Some(declared.reason.value.clone()),
            until: declared.expires.as_ref().map(|date| date.value.clone()),
            scope: Scope::Text {
                place: declared.place.as_ref().map(|place| place.value.clone()),
                host: declared.host.as_ref().map(|host| host.value.clone()),
            },
            span: declared.span,
            used: false,
        });
    }
    let mut about = Vec::new();
    for exception in &mut exceptions {
        if let Some(problem) = problem(exception) {
            about.push(Found::new(&checks::SUPPRESSION_INVALID, problem));
            continue;
        }
        let expired =
            exception.until.as_deref().is_some_and(|until| subject.today.is_some_and(|today| until < today));
        for found in found.iter_mut() {
            if !applies(exception, found, subject) {
                continue;
            }
            exception.used = true;
            if !expired {
                found.settled = Some(Settled::Excused);
            }
        }
        let ids = exception.ids.join(", ");
        if expired {
            let until = exception.until.clone().unwrap_or_default();
            let diagnostic = Diagnostic::warning(
                checks::SUPPRESSION_EXPIRED.id,
                format!("the exception for {ids} expired on {until}"),
            )
            .at(exception.span, "")
            .help("do what it was put off for, or give it a new date");
            about.push(Found::new(&checks::SUPPRESSION_EXPIRED, diagnostic));
        } else if !exception.used {
            let diagnostic = Diagnostic::note(
                checks::SUPPRESSION_UNUSED.id,
                format!("nothing is found that the exception for {ids} is about"),
            )
            .at(exception.span, "")
            .help("remove it");
            about.push(Found::new(&checks::SUPPRESSION_UNUSED, diagnostic));
        }
    }
    for found in &mut about {
        let span = found.finding.diagnostic.span().unwrap_or_default();
        found.place = subject.sources.get(span.file).map(|file| file.name.clone()).unwrap_or_default();
        found.subject = subject.sources.slice(span).to_owned();
    }
    found.append(&mut about);
    if let Some(baseline) = subject.baseline {
        for (found, print) in fingerprints(found) {
            if found.settled.is_none() && baseline.prints.contains(&print) {
                found.settled = Some(Settled::Known);
            }
        }
    }
}

/// What is wrong with an exception itself.
fn problem(exception: &Exception) -> Option<Diagnostic> {
    let at = |diagnostic: Diagnostic| diagnostic.at(exception.span, "");
    if let Some(unknown) = exception.ids.iter().find(|id| checks::by_id(id).is_none()) {
        let shown = unknown.replace('`', "'");
        let diagnostic =
            at(Diagnostic::warning(checks::SUPPRESSION_INVALID.id, format!("there is no check `{shown}`")));
        return Some(match nearest(unknown, checks::ALL.iter().map(|check| check.id)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help("docs/audit.md lists them"),
        });
    }
    if exception.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        let message = "this exception gives no reason, so it isn't one";
        return Some(
            at(Diagnostic::warning(checks::SUPPRESSION_INVALID.id, message))
                .help("write one: `firewarden: allow ID reason=\"why\" until=2027-01-31`"),
        );
    }
    if let Some(until) = exception.until.as_ref().filter(|until| !is_date(until)) {
        let message = format!("`{}` is not a date", until.replace('`', "'"));
        return Some(
            at(Diagnostic::warning(checks::SUPPRESSION_INVALID.id, message))
                .help("write it as year, month and day: `2027-01-31`"),
        );
    }
    None
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

fn applies(exception: &Exception, found: &Found, subject: &Subject<'_>) -> bool {
    if !exception.ids.iter().any(|id| id == found.check.id) {
        return false;
    }
    match &exception.scope {
        Scope::Lines { file, first, last } => {
            let Some(span) = found.finding.diagnostic.span().filter(|span| span.file == *file) else {
                return false;
            };
            let Some(file) = subject.sources.get(*file) else { return false };
            (*first..=*last).contains(&file.line_column(span.start).line)
        }
        Scope::Text { place, host } => {
            let contains = |part: &String| found.place.contains(part) || found.subject.contains(part);
            place.as_ref().is_none_or(contains) && host.as_ref().is_none_or(|host| *host == found.host)
        }
    }
}

/// The exceptions in a text.
fn in_comments(id: FileId, file: &SourceFile, exceptions: &mut Vec<Exception>) {
    for (at, _) in file.text.match_indices(MARK) {
        let line = file.line_column(at as u32).line;
        let start = file.line_start(line).unwrap_or(0) as usize;
        let before = file.text.get(start..at).unwrap_or_default();
        let rest = file.text.get(at..).unwrap_or_default();
        let body = rest.lines().next().unwrap_or_default();
        let alone = before.trim_start().starts_with('#') || before.trim().is_empty();
        let mut last = line;
        if alone {
            // The next line that says something.
            let mut next = line + 1;
            while let Some(text) = file.line(next) {
                last = next;
                if !text.trim().is_empty() && !text.trim_start().starts_with('#') {
                    break;
                }
                next += 1;
            }
        }
        let (ids, reason, until) = parse(body.get(MARK.len()..).unwrap_or_default());
        exceptions.push(Exception {
            ids,
            reason,
            until,
            scope: Scope::Lines { file: id, first: line, last },
            span: Span::new(id, at, at + body.trim_end().len()),
            used: false,
        });
    }
}

/// `ID[,ID] reason="…" until=DATE`, in any order behind the ids; the quotes may be single or escaped.
fn parse(text: &str) -> (Vec<String>, Option<String>, Option<String>) {
    let value = |key: &str| -> Option<String> {
        let at = text.find(key)?;
        let rest = text.get(at + key.len()..)?.trim_start_matches('\\');
        match rest.chars().next()? {
            quote @ ('"' | '\'') => {
                let inner = rest.get(1..)?;
                Some(inner.split(quote).next().unwrap_or_default().trim_end_matches('\\').to_owned())
            }
            _ => Some(rest.split([' ', '"', '\'', '\\', '\t']).next().unwrap_or_default().to_owned()),
        }
    };
    let ids = text.split_whitespace().next().unwrap_or_default();
    let ids = ids.trim_matches(['"', '\'', '\\']).split(',').filter(|id| !id.is_empty());
    (ids.map(str::to_owned).collect(), value("reason="), value("until="))
}

/// Fingerprints that were known at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    prints: BTreeSet<String>,
}

/// Each finding with its fingerprint; the second of two alike gets another one.
fn fingerprints(found: &mut [Found]) -> Vec<(&mut Found, String)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for found in found {
        let print = digest(&[found.check.id, &found.host, &found.place, &found.subject]);
        let count = seen.entry(print.clone()).or_insert(0);
        *count += 1;
        let print = if *count == 1 { print } else { format!("{print}-{count}") };
        all.push((found, print));
    }
    all
}

/// Reads a baseline file: one fingerprint on each line, before whatever is there for people. Lines with `#` are
/// comments.
///
/// # Errors
/// A diagnostic with the place of the first line that isn't one.
pub fn read_baseline(file: FileId, text: &str) -> Result<Baseline, Box<Diagnostic>> {
    let mut baseline = Baseline::default();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let word = content.split_whitespace().next().unwrap_or_default();
        let digits = word.split('-').next().unwrap_or_default();
        if digits.len() != 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Box::new(
                Diagnostic::error("baseline-line", "this is not a line of a baseline")
                    .at(Span::new(file, start, start + line.trim_end().len()), "")
                    .help("write the file with `firewarden audit --write-baseline FILE`"),
            ));
        }
        baseline.prints.insert(word.to_owned());
    }
    Ok(baseline)
}

/// A baseline file of everything that isn't excused.
pub fn write_baseline(found: &[Found]) -> String {
    let mut found = found.to_vec();
    let mut lines: Vec<String> = fingerprints(&mut found)
        .into_iter()
        .filter(|(found, _)| found.settled != Some(Settled::Excused))
        .map(|(found, print)| {
            let subject: String = found.subject.chars().filter(|c| !c.is_control()).take(120).collect();
            format!("{print} {} {} {} {subject}", found.check.id, found.host, found.place)
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.sort_unstable();
    let mut text = format!("{HEAD}\n");
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{parse, read_baseline};
    use firewarden_diagnostic::FileId;

    #[test]
    fn comments_with_ids_reasons_and_dates() {
        let (ids, reason, until) = parse("a-b,c reason=\"the old one\" until=2027-01-01");
        assert_eq!(ids, ["a-b", "c"]);
        assert_eq!((reason.as_deref(), until.as_deref()), (Some("the old one"), Some("2027-01-01")));
        let (ids, reason, until) = parse("a reason=\\\"x y\\\"\" -j ACCEPT");
        assert_eq!(ids, ["a"]);
        assert_eq!((reason.as_deref(), until), (Some("x y"), None));
        let (_, reason, _) = parse("a reason='x' until=2027-01-01\" accept");
        assert_eq!(reason.as_deref(), Some("x"));
    }

    #[test]
    fn a_baseline_is_read_line_by_line() {
        let text = "# head\n\n0123456789abcdef unused-set host\n0123456789abcdef-2 x\n";
        assert_eq!(read_baseline(FileId(0), text).unwrap().prints.len(), 2);
        assert!(read_baseline(FileId(0), "tcp dport 22 accept\n").is_err());
    }
}
