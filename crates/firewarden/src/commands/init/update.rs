//! Adding to a stack file without touching what is there.

use super::draft::Draft;
use std::fmt::Write;

/// Lines shown around an addition.
const CONTEXT: usize = 3;

/// Lines to put into a text, after so many of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    after: usize,
    lines: Vec<String>,
}

/// Where a draft's entries go. Each is put behind the last line of its section, with the indentation that its entries have;
/// a section that isn't there comes at the end.
///
/// # Errors
/// The name of a section that isn't written in lines of its own (`hosts: { web: … }`).
pub fn additions(text: &str, draft: &Draft) -> Result<Vec<Addition>, &'static str> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at_end = Vec::new();
    for (section, entries) in draft.sections() {
        if entries.is_empty() {
            continue;
        }
        let head = format!("{section}:");
        let Some(start) = lines.iter().position(|line| line.starts_with(&head)) else {
            at_end.push(String::new());
            at_end.push(head);
            at_end.extend(entries.iter().flatten().map(|line| format!("  {line}")));
            continue;
        };
        let rest = lines.get(start).and_then(|line| line.get(head.len()..)).unwrap_or_default().trim();
        if !(rest.is_empty() || rest.starts_with('#')) {
            return Err(section);
        }
        let inside = |line: &str| {
            line.starts_with([' ', '\t']) || (section == "intents" && (line.starts_with("- ") || line == "-"))
        };
        let said = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let mut last = start;
        let mut indent = None;
        for (index, line) in lines.iter().enumerate().skip(start + 1) {
            if said(line) {
                if !inside(line) {
                    break;
                }
                indent = indent.or(Some(line.len() - line.trim_start().len()));
                last = index;
            } else if inside(line) && !line.trim().is_empty() {
                // An indented comment belongs to what is above it.
                last = index;
            }
        }
        let indent = " ".repeat(indent.unwrap_or(2));
        let lines = entries.iter().flatten().map(|line| format!("{indent}{line}")).collect();
        found.push(Addition { after: last + 1, lines });
    }
    found.sort_by_key(|addition| addition.after);
    if !at_end.is_empty() {
        found.push(Addition { after: lines.len(), lines: at_end });
    }
    Ok(found)
}

/// The text with the additions.
pub fn apply(text: &str, additions: &[Addition]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n');
    let mut taken = 0;
    for addition in additions {
        for line in lines.by_ref().take(addition.after.saturating_sub(taken)) {
            out.push_str(line);
        }
        taken = taken.max(addition.after);
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        for line in &addition.lines {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.extend(lines);
    out
}

/// The additions as a unified diff (diff(1), `-u`).
pub fn diff(name: &str, text: &str, additions: &[Addition]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = format!("--- {name}\n+++ {name}\n");
    let mut added = 0;
    let mut rest = additions;
    while let Some(first) = rest.first() {
        // Additions whose context touches make one hunk.
        let mut count = 1;
        while let (Some(one), Some(next)) = (rest.get(count - 1), rest.get(count))
            && next.after <= one.after + 2 * CONTEXT
        {
            count += 1;
        }
        let (hunk, after) = rest.split_at(count);
        rest = after;
        let from = first.after.saturating_sub(CONTEXT);
        let to = hunk.last().map_or(from, |last| last.after + CONTEXT).min(lines.len());
        let more: usize = hunk.iter().map(|addition| addition.lines.len()).sum();
        let start = |lines: usize, count: usize| if count == 0 { lines } else { lines + 1 };
        let (old, new) = (to - from, to - from + more);
        // Writing to a string can't fail.
        let _ = writeln!(out, "@@ -{},{old} +{},{new} @@", start(from, old), start(from + added, new));
        let mut next = hunk.iter().peekable();
        for index in from..=to {
            while let Some(addition) = next.next_if(|addition| addition.after == index) {
                out.extend(addition.lines.iter().map(|line| format!("+{line}\n")));
            }
            if let Some(line) = lines.get(index).filter(|_| index < to) {
                let _ = writeln!(out, " {line}");
            }
        }
        added += more;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a stack\nhosts:\n    web: { address: 10.0.0.1 }   # the first\n    # more to come\n\nintents:\n- allow: any -> web tcp/443\n  owner: me\n# the end\n";

    fn draft() -> Draft {
        let one = |line: &str| vec![vec![line.to_owned()]];
        Draft {
            hosts: one("db: { address: 10.0.0.2 }"),
            groups: one("all-of-them: [web, db]"),
            intents: one("- deny: any -> db"),
            ..Draft::default()
        }
    }

    #[test]
    fn nothing_that_was_there_changes() {
        let additions = additions(TEXT, &draft()).unwrap();
        let text = apply(TEXT, &additions);
        assert_eq!(
            text,
            "# a stack\nhosts:\n    web: { address: 10.0.0.1 }   # the first\n    # more to come\n    db: { address: 10.0.0.2 }\n\nintents:\n- allow: any -> web tcp/443\n  owner: me\n- deny: any -> db\n# the end\n\ngroups:\n  all-of-them: [web, db]\n"
        );
        let shown = diff("firewarden.yaml", TEXT, &additions);
        assert_eq!(
            shown,
            "--- firewarden.yaml\n+++ firewarden.yaml\n@@ -2,8 +2,13 @@\n hosts:\n     web: { address: 10.0.0.1 }   # the first\n     # more to come\n+    db: { address: 10.0.0.2 }\n \n intents:\n - allow: any -> web tcp/443\n   owner: me\n+- deny: any -> db\n # the end\n+\n+groups:\n+  all-of-them: [web, db]\n"
        );
        assert_eq!(super::additions("hosts: { web: 10.0.0.1 }\n", &draft()), Err("hosts"));
    }

    #[test]
    fn far_apart_additions_are_hunks_of_their_own() {
        let text =
            format!("hosts:\n  a: {{ address: 10.0.0.1 }}\n{}intents:\n  - allow any -> a", "\n".repeat(20));
        let draft = Draft { groups: Vec::new(), ..draft() };
        let additions = additions(&text, &draft).unwrap();
        let shown = diff("f", &text, &additions);
        assert_eq!(shown.matches("@@ -").count(), 2);
        assert!(shown.contains("@@ -1,5 +1,6 @@") && shown.contains("@@ -22,3 +23,4 @@"), "{shown}");
        assert!(apply(&text, &additions).ends_with("  - allow any -> a\n  - deny: any -> db\n"));
    }
}
