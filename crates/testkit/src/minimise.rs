//! Making a ruleset that shows a fault small.

use crate::generate::Generated;

/// Leaves rules out as long as `fails` still holds: halves first, then ever smaller parts, single rules last
/// (delta debugging). Calls `fails` O(rules²) times at worst, O(rules) usually.
pub fn minimise(text: &Generated, mut fails: impl FnMut(&Generated) -> bool) -> Generated {
    let mut best = text.clone();
    let mut part = removable(&best).len().max(1);
    loop {
        let mut from = 0;
        let mut shrunk = false;
        loop {
            let rules = removable(&best);
            if from >= rules.len() {
                break;
            }
            let to = (from + part).min(rules.len());
            let candidate = without(&best, rules.get(from..to).unwrap_or_default());
            if fails(&candidate) {
                best = candidate;
                shrunk = true;
            } else {
                from = to;
            }
        }
        if part == 1 && !shrunk {
            return best;
        }
        part = if part > 1 { part / 2 } else { 1 };
    }
}

fn removable(text: &Generated) -> Vec<usize> {
    text.lines.iter().enumerate().filter(|(_, line)| line.removable).map(|(at, _)| at).collect()
}

fn without(text: &Generated, lines: &[usize]) -> Generated {
    let mut text = text.clone();
    let mut at = 0;
    text.lines.retain(|_| {
        at += 1;
        !lines.contains(&(at - 1))
    });
    text
}

#[cfg(test)]
mod tests {
    use super::minimise;
    use crate::generate::{Generated, Line, Syntax};

    #[test]
    fn keeps_just_what_matters() {
        let lines = (0..50).map(|n| Line { text: n.to_string(), removable: n != 0 }).collect();
        let text = Generated { syntax: Syntax::Nft, lines };
        let small = minimise(&text, |text| {
            ["7", "31"].iter().all(|wanted| text.lines.iter().any(|line| line.text == *wanted))
        });
        let left: Vec<&str> = small.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(left, ["0", "7", "31"]);
    }
}
