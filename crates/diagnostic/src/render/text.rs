//! Making untrusted text safe to show.

use std::borrow::Cow;
use std::fmt::Write;

/// The longest rule or packet, in characters, that a machine format repeats.
pub(crate) const LONGEST_QUOTE: usize = 2000;

/// What to show instead of a character that a terminal, an editor or a log viewer would act on rather than
/// show; `None` for harmless ones. Covers C0 and C1 controls (terminal escapes), the direction controls of
/// Unicode, line and paragraph separators, and characters without width.
pub fn visible(c: char) -> Option<char> {
    match c {
        '\t' => Some(' '),
        // The control pictures block mirrors C0 in order.
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32),
        '\x7f' => Some('\u{2421}'),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some('\u{fffd}'),
        _ => None,
    }
}

/// `text` as one line of visible characters, each replaced character by exactly one. The legacy workflow
/// command marker of GitHub, which is acted on anywhere in a line, is taken apart too. O(length).
pub fn one_line(text: &str) -> Cow<'_, str> {
    // Nearly all texts are printable ASCII; those are seen through byte by byte.
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if (plain || !text.chars().any(|c| visible(c).is_some())) && !text.contains("##[") {
        return Cow::Borrowed(text);
    }
    let shown: String = text.chars().map(|c| visible(c).unwrap_or(c)).collect();
    Cow::Owned(shown.replace("##[", "#\u{ff03}["))
}

/// The first `limit` characters of `text`, ending with `…` where something was left out. O(limit).
pub fn clip(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let end = text.char_indices().nth(limit.saturating_sub(1)).map_or(0, |(at, _)| at);
            Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
        }
    }
}

/// [`clip`], then [`one_line`]: for a rule or a packet inside a line.
pub fn quote(text: &str, limit: usize) -> String {
    one_line(&clip(text.trim(), limit)).into_owned()
}

/// A text that means nothing to HTML and SVG, in elements and in attributes with double quotes; of one line, as controls
/// become blanks. O(length).
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// Rewrites valid JSON so that no raw character in it is one that [`visible`] would replace; the value stays
/// the same. Outside strings JSON has none of them but line ends and blanks, which stay. O(length).
pub(crate) fn escape_json(json: String) -> String {
    if json.is_ascii() && !json.as_bytes().contains(&0x7f) {
        return json;
    }
    let acted_on = |c: char| !c.is_ascii() && visible(c).is_some() || c == '\x7f';
    if !json.chars().any(acted_on) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if acted_on(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_left_without_meaning() {
        assert_eq!(html("a<b c=\"d\">&amp;\n\u{1b}é"), "a&lt;b c=&quot;d&quot;&gt;&amp;amp;  é");
    }

    #[test]
    fn replaces_one_for_one() {
        let hostile = "a\x1b[31mb\u{202e}c\nd\u{9b}e##[error]";
        let shown = one_line(hostile);
        assert_eq!(shown.chars().count(), hostile.chars().count());
        assert_eq!(shown, "a␛[31mb�c␊d�e#＃[error]");
    }

    #[test]
    fn clips_on_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
        assert_eq!(clip("", 0), "");
        assert_eq!(clip("a", 0), "…");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "k": "a\u{202e}\u{9b}\x1b\x7f\u{e0041}ä" });
        let json = escape_json(value.to_string());
        assert!(!json.chars().any(|c| visible(c).is_some()), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
