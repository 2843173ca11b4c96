//! Changes of generated rulesets, as people make them: rules that go, come twice, move, or decide otherwise.

use crate::generate::{Generated, Line, Syntax};
use crate::random::Random;

/// A text with one to five edits of its rules. A kernel takes it wherever it takes the first one.
pub fn edited(random: &mut Random, text: &Generated) -> Generated {
    let mut lines = text.lines.clone();
    for _ in 0..random.between(1, 6) {
        let rules: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].removable).collect();
        if rules.is_empty() {
            break;
        }
        let at = random.of(&rules);
        match random.below(6) {
            0 => {
                lines.remove(at);
            }
            1 => {
                let line = lines[at].clone();
                lines.insert(at, line);
            }
            2 => {
                let line = lines.remove(at);
                lines.insert(first_beside(&lines, at), line);
            }
            _ => {
                let reworded = |at: &usize| Some((*at, reworded(text.syntax, &lines, *at)?));
                let deciding: Vec<(usize, Line)> = rules.iter().filter_map(reworded).collect();
                if !deciding.is_empty() {
                    let (at, line) = deciding[random.below(deciding.len())].clone();
                    lines[at] = line;
                }
            }
        }
    }
    Generated { syntax: text.syntax, lines }
}

/// The first of the rules that stand together right before a place.
fn first_beside(lines: &[Line], at: usize) -> usize {
    at - lines.iter().take(at).rev().take_while(|line| line.removable).count()
}

/// A rule with the other verdict; `None` for rules that neither accept nor drop, and where nothing may be dropped.
fn reworded(syntax: Syntax, lines: &[Line], at: usize) -> Option<Line> {
    let (accept, drop) = match syntax {
        Syntax::Nft => ("accept", "drop"),
        Syntax::Iptables | Syntax::Ip6tables => ("ACCEPT", "DROP"),
    };
    let line = lines.get(at)?;
    let table = lines.iter().take(at).rev().find(|line| line.text.starts_with('*'));
    let text = if line.text.contains(accept) && table.is_none_or(|table| table.text != "*nat") {
        line.text.replace(accept, drop)
    } else if line.text.contains(drop) {
        line.text.replace(drop, accept)
    } else {
        return None;
    };
    Some(Line { text, removable: true })
}
