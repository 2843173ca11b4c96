//! "Did you mean …?"

/// The candidate nearest to a misspelt word, where one is near enough to be meant: at most a third of its letters
/// differ. Of equally near ones the first. O(candidates × length²) for words up to 64 bytes; longer ones have none.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let wanted = word.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let allowed = (candidate.len().max(word.len()) / 3).max(1);
        if candidate.len() > LONGEST || candidate.len().abs_diff(word.len()) > allowed {
            continue;
        }
        let distance = distance(&wanted, &candidate.to_lowercase());
        if distance <= allowed && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(0);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut least =
                (at(&last, j) + usize::from(a != b)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(b) && right.get(j - 1) == Some(a);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        let words = ["hosts", "groups", "services", "intents", "tracked", "lb", "app"];
        for (word, expected) in [
            ("host", Some("hosts")),
            ("intnets", Some("intents")),
            ("Groups", Some("groups")),
            ("ap", Some("app")),
            ("bl", Some("lb")),
            ("zzzzzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }
}
