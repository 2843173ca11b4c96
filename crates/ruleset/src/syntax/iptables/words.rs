//! Lines into words: quotes and escapes of iptables-save, and the little of a shell's that pasted commands need.

use std::borrow::Cow;

/// A piece of the source text, as byte offsets. Quotes around a wholly quoted word are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Text {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// The piece still holds quotes or backslashes, so that its value differs from its bytes.
    pub escaped: bool,
}

impl Text {
    /// The bytes as written; empty where the offsets aren't of this text.
    pub fn raw(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The value: without quotes and backslashes.
    pub fn value(self, text: &str) -> Cow<'_, str> {
        if self.escaped { Cow::Owned(unescape(self.raw(text))) } else { Cow::Borrowed(self.raw(text)) }
    }

    /// True for the value of an option that has none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Which quotes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// iptables-restore: double quotes, backslash inside them.
    Restore,
    /// A shell: single quotes too, backslash outside as well, `#`, `;`, `&` and `|` end the command.
    Shell,
}

/// The most words on a line; iptables-restore itself stops at 255 arguments.
pub(crate) const MAX_WORDS: usize = 4096;

/// What was wrong with a line as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordsError {
    /// A quote that opens at this offset isn't closed.
    OpenQuote(u32),
    /// More than [`MAX_WORDS`].
    TooMany,
}

/// What a byte means in a word: 0 nothing, 1 its end, 2 a quote or escape, 3 the same in a shell only.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    class[b' ' as usize] = 1;
    class[b'\t' as usize] = 1;
    class[b'\n' as usize] = 1;
    class[b'\r' as usize] = 1;
    class[0x0C] = 1;
    class[b'"' as usize] = 2;
    class[b'\\' as usize] = 2;
    class[b'\'' as usize] = 3;
    class[b';' as usize] = 3;
    class
};

/// The words of `text[start..end]`, appended to `words`. O(length).
pub(crate) fn split(
    text: &str,
    start: usize,
    end: usize,
    quoting: Quoting,
    words: &mut Vec<Text>,
) -> Result<(), WordsError> {
    let bytes = text.as_bytes().get(..end).unwrap_or_default();
    let mut at = start;
    loop {
        loop {
            match bytes.get(at) {
                Some(byte) if byte.is_ascii_whitespace() => at += 1,
                Some(b'\\') if quoting == Quoting::Shell && continues(bytes, at) => at += 1,
                _ => break,
            }
        }
        let Some(&first) = bytes.get(at) else { return Ok(()) };
        if quoting == Quoting::Shell && matches!(first, b'#' | b';' | b'&' | b'|') {
            return Ok(());
        }
        if words.len() >= MAX_WORDS {
            return Err(WordsError::TooMany);
        }
        let begin = at;
        let mut special = false;
        // Plain words are nearly all there is.
        for &byte in bytes.get(at..).unwrap_or_default() {
            match CLASS.get(byte as usize) {
                Some(0) => {}
                Some(1) => break,
                Some(3) if quoting == Quoting::Restore => {}
                _ => {
                    special = true;
                    break;
                }
            }
            at += 1;
        }
        if !special {
            words.push(Text { start: begin as u32, end: at as u32, escaped: false });
            continue;
        }
        let word = quoted_word(bytes, begin, at, quoting)?;
        at = word.1;
        words.push(word.0);
    }
}

/// A backslash at the end of a line.
fn continues(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at + 1), Some(b'\n')) || matches!(bytes.get(at + 1..at + 3), Some(b"\r\n"))
}

/// A word from `begin` whose first special byte is at `at`, and the offset behind it.
fn quoted_word(
    bytes: &[u8],
    begin: usize,
    mut at: usize,
    quoting: Quoting,
) -> Result<(Text, usize), WordsError> {
    let mut escapes = false;
    let mut quotes = 0;
    let mut open: Option<(u8, usize)> = None;
    while let Some(&byte) = bytes.get(at) {
        match open {
            Some((quote, _)) => {
                if byte == b'\\' && quote == b'"' {
                    escapes = true;
                    at += 1;
                } else if byte == quote {
                    open = None;
                }
            }
            None if byte.is_ascii_whitespace() => break,
            None if byte == b'\\' && quoting == Quoting::Shell && continues(bytes, at) => break,
            None if byte == b'"' || (byte == b'\'' && quoting == Quoting::Shell) => {
                quotes += 1;
                open = Some((byte, at));
            }
            None if byte == b'\\' && quoting == Quoting::Shell => {
                escapes = true;
                at += 1;
            }
            None if byte == b';' && quoting == Quoting::Shell => break,
            None => {}
        }
        at += 1;
    }
    let at = at.min(bytes.len());
    if let Some((_, position)) = open {
        return Err(WordsError::OpenQuote(position as u32));
    }
    let wholly_quoted = !escapes
        && quotes == 1
        && at >= begin + 2
        && matches!(
            (bytes.get(begin), bytes.get(at - 1)),
            (Some(b'"'), Some(b'"')) | (Some(b'\''), Some(b'\''))
        );
    let word = if wholly_quoted {
        Text { start: begin as u32 + 1, end: at as u32 - 1, escaped: false }
    } else {
        Text { start: begin as u32, end: at as u32, escaped: escapes || quotes > 0 }
    };
    Ok((word, at))
}

/// The value of a word with quotes or backslashes in it.
fn unescape(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut open = None;
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        match (open, character) {
            (None, '"' | '\'') => open = Some(character),
            (Some(quote), _) if character == quote => open = None,
            (None | Some('"'), '\\') => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str, quoting: Quoting) -> Result<Vec<String>, WordsError> {
        let mut found = Vec::new();
        split(line, 0, line.len(), quoting, &mut found)?;
        Ok(found.iter().map(|word| word.value(line).into_owned()).collect())
    }

    #[test]
    fn quotes_and_escapes() {
        let check =
            |line: &str, quoting, expected: &[&str]| assert_eq!(words(line, quoting).unwrap(), expected);
        check(
            r#"-m comment --comment "a \"b\" c" x"#,
            Quoting::Restore,
            &["-m", "comment", "--comment", "a \"b\" c", "x"],
        );
        check(r#"--log-prefix "a: " "#, Quoting::Restore, &["--log-prefix", "a: "]);
        check("--comment don't", Quoting::Restore, &["--comment", "don't"]);
        check("--comment 'a b';ls", Quoting::Shell, &["--comment", "a b"]);
        check(r#"a\ b # c"#, Quoting::Shell, &["a b"]);
        check(r#"-c "" "#, Quoting::Restore, &["-c", ""]);
        assert_eq!(words(r#"x "abc"#, Quoting::Restore), Err(WordsError::OpenQuote(2)));
    }
}
