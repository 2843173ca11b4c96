//! What is known so far of a run.

use crate::report::{Moment, What};
use jiff::Timestamp;

/// What is known so far of a run.
pub struct Course<'c> {
    /// When the clock of the moments began.
    pub zero: Timestamp,
    /// Why the run isn't as its scenario expects.
    pub findings: Vec<String>,
    /// What was brought back at its end.
    pub undone: Vec<String>,
    moments: Vec<Moment>,
    /// So many of the moments were told, the first ones.
    told: usize,
    tell: &'c mut dyn FnMut(&Moment),
}

impl<'c> Course<'c> {
    /// Of a run that begins.
    pub fn new(zero: Timestamp, tell: &'c mut dyn FnMut(&Moment)) -> Course<'c> {
        Course { zero, findings: Vec::new(), undone: Vec::new(), moments: Vec::new(), told: 0, tell }
    }

    /// Something happened. What leads to the fault is told at once. What comes after it is known only later, and in another
    /// order than it happens: it is told by [`Course::end`].
    pub fn at(&mut self, when: Timestamp, what: What, detail: &str) {
        let at = u64::try_from(when.duration_since(self.zero).as_millis()).unwrap_or(0);
        self.moments.push(Moment { at, what, detail: detail.to_owned() });
        let leads_there = matches!(what, What::Steady | What::Proposed | What::Injected | What::Committed);
        if leads_there && let [moment] = self.moments.get(self.told..).unwrap_or_default() {
            (self.tell)(moment);
            self.told += 1;
        }
    }

    /// The same of what counts when it happens first.
    pub fn first(&mut self, when: Timestamp, what: What, detail: &str) {
        if self.when(what).is_none() {
            self.at(when, what, detail);
        }
    }

    /// The same of what comes after the fault and counts when it happens last.
    pub fn last(&mut self, when: Timestamp, what: What, detail: &str) {
        self.moments.retain(|moment| moment.what != what);
        self.at(when, what, detail);
    }

    /// When something first happened, in milliseconds.
    pub fn when(&self, what: What) -> Option<u64> {
        self.moments.iter().filter(|moment| moment.what == what).map(|moment| moment.at).min()
    }

    /// Tells the rest; the moments in the order of time, and the findings.
    pub fn end(mut self) -> (Vec<Moment>, Vec<String>) {
        let rest = self.moments.get_mut(self.told..).unwrap_or_default();
        rest.sort_by_key(|moment| moment.at);
        for moment in rest {
            (self.tell)(moment);
        }
        self.moments.sort_by_key(|moment| moment.at);
        (self.moments, self.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_told_in_the_order_of_time() {
        let mut told = Vec::new();
        let mut tell = |moment: &Moment| told.push((moment.at, moment.what));
        let zero = Timestamp::UNIX_EPOCH;
        let mut course = Course::new(zero, &mut tell);
        // As they become known.
        let known = [
            (5, What::Steady),
            (6, What::Committed),
            (9, What::FirstFailingProbe),
            (12, What::Reverted),
            (15, What::Reverted),
            (8, What::FirstUserError),
            (14, What::Restored),
        ];
        for (at, what) in known {
            let when = zero + Duration::from_millis(at);
            match what {
                What::Reverted => course.last(when, what, ""),
                _ => course.at(when, what, ""),
            }
        }
        let (moments, _) = course.end();
        let times: Vec<u64> = told.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [5, 6, 8, 9, 14, 15]);
        assert_eq!(told, moments.iter().map(|moment| (moment.at, moment.what)).collect::<Vec<_>>());
    }
}
