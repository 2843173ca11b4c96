//! Several listings in one text, such as `(ipset save; iptables-save; ip6tables-save) | firewarden check -`.

use std::borrow::Cow;

/// A text with only the lines of `ipset save` (`sets`), or only the others; blanks stand for the rest, so that every
/// byte keeps its place. O(length).
pub fn only(text: &str, sets: bool) -> Cow<'_, str> {
    if text.lines().all(|line| is_ipset(line) == sets || line.trim().is_empty()) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if is_ipset(line) == sets {
            kept.push_str(line);
        } else {
            kept.extend(line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
    }
    Cow::Owned(kept)
}

/// True where a text has lines of `ipset save`.
pub fn has_sets(text: &str) -> bool {
    text.lines().any(is_ipset)
}

/// True where a text has lines of iptables-save.
pub fn has_tables(text: &str) -> bool {
    text.lines().any(|line| line.starts_with('*') || line.starts_with("-A ") || line.starts_with(':'))
}

/// Neither iptables-save nor its commands begin a line with these words.
fn is_ipset(line: &str) -> bool {
    ["create ", "add ", "ipset "].iter().any(|word| line.trim_start().starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_keeps_its_place() {
        let text =
            "create é hash:ip\nadd é 192.0.2.1\n*filter\n-A INPUT -m set --match-set é src -j DROP\nCOMMIT\n";
        let (sets, tables) = (only(text, true), only(text, false));
        assert_eq!((sets.len(), tables.len()), (text.len(), text.len()));
        assert_eq!(sets.find("add"), text.find("add"));
        assert_eq!(tables.find("-A"), text.find("-A"));
        assert!(!sets.contains("filter") && !tables.contains("create"));
        assert!(matches!(only("*filter\nCOMMIT\n", false), Cow::Borrowed(_)));
        assert!(has_sets(text) && has_tables(text));
    }
}
