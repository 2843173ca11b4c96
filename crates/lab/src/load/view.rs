//! What a person sees of a load: a picture of the last slots while it runs, and a summary at its end.

use super::Line;
use crate::report::{duration, percent};
use crate::series::{Connections, Series, Slot, share};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// How many slots are shown side by side; with the figures beside them a line has less than 80 letters.
const SLOTS: usize = 30;
/// From no error to errors only.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// More than this is too late, in milliseconds.
const LATE: f64 = 50.0;
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// What was told so far.
#[derive(Debug, Default)]
pub struct View {
    colour: bool,
    kinds: BTreeMap<Connections, Row>,
    seconds: f64,
}

#[derive(Debug, Default)]
struct Row {
    users: u32,
    last: VecDeque<Slot>,
    requests: u64,
    errors: u64,
}

impl View {
    /// Nothing yet; with colours or without.
    pub fn new(colour: bool) -> View {
        View { colour, ..View::default() }
    }

    /// Takes a line of a load.
    pub fn take(&mut self, line: &Line) {
        match line {
            Line::Start { new, kept, pooled, .. } => {
                for (kind, users) in Connections::ALL.into_iter().zip([*new, *kept, *pooled]) {
                    if users > 0 {
                        self.kinds.insert(kind, Row { users, ..Row::default() });
                    }
                }
            }
            Line::Slot(slot) => {
                self.seconds = self.seconds.max(slot.at as f64 / 1000.0);
                let row = self.kinds.entry(slot.connections).or_default();
                row.requests += u64::from(slot.requests);
                row.errors += u64::from(slot.errors);
                row.last.push_back(slot.clone());
                if row.last.len() > SLOTS {
                    row.last.pop_front();
                }
            }
            Line::End(_) => {}
        }
    }

    /// The picture, as lines of text that end with a line break. O(slots shown).
    pub fn frame(&self) -> String {
        let mut out = format!(
            "{:<8}{:<SLOTS$} {:>6} {:>6} {:>9} {:>7} {:>7}\n",
            format!("{:.0} s", self.seconds),
            "errors",
            "now",
            "all",
            "users hit",
            "p50",
            "p99"
        );
        for (kind, row) in &self.kinds {
            let now = row.last.back();
            let rate = |slot: &Slot| share(u64::from(slot.errors), u64::from(slot.requests));
            let bad = now.is_some_and(|slot| slot.errors > 0);
            let line: String = row.last.iter().map(|slot| step(rate(slot), slot.requests)).collect();
            let time = |of: fn(&Slot) -> Option<f64>| {
                row.last.iter().rev().find_map(of).map_or("–".to_owned(), duration)
            };
            let figures = format!(
                "{:>6} {:>6} {:>9}",
                now.map(rate).map_or("–".to_owned(), percent),
                percent(share(row.errors, row.requests)),
                format!("{} of {}", now.map_or(0, |slot| slot.users_affected), row.users)
            );
            // Writing to a string can't fail.
            let _ = writeln!(
                out,
                "{:<8}{line:<SLOTS$} {} {:>7} {:>7}",
                kind.word(),
                self.red(&figures, bad),
                time(|slot| slot.median_milliseconds),
                time(|slot| slot.p99_milliseconds)
            );
        }
        out
    }

    fn red(&self, text: &str, bad: bool) -> String {
        if self.colour && bad { format!("{RED}{text}{PLAIN}") } else { text.to_owned() }
    }
}

fn step(rate: f64, requests: u32) -> char {
    if requests == 0 {
        return ' ';
    }
    // Some errors never look like none, and some answers never like none.
    let highest = STEPS.len() - 1;
    let index = match rate {
        rate if rate <= 0.0 => 0,
        rate if rate >= 1.0 => highest,
        rate => ((rate * highest as f64).round() as usize).clamp(1, highest - 1),
    };
    STEPS.get(index).copied().unwrap_or(' ')
}

/// What a load saw over all. O(slots).
pub fn summary(series: &Series) -> String {
    let mut out = format!(
        "{:<8}{:>6} {:>9} {:>8} {:>7}   {:<12}{}\n",
        "", "users", "requests", "errors", "share", "users hit", "why"
    );
    for kind in series.kinds() {
        let sum = series.sum(Some(kind), 0, u64::MAX);
        let mut causes: BTreeMap<&str, u32> = BTreeMap::new();
        for slot in series.slots.iter().filter(|slot| slot.connections == kind) {
            for (cause, count) in &slot.causes {
                *causes.entry(cause.word()).or_default() += count;
            }
        }
        let causes: Vec<String> = causes.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let users = series.users_of(Some(kind)).count();
        let line = format!(
            "{:<8}{users:>6} {:>9} {:>8} {:>7}   {:<12}{}",
            kind.word(),
            sum.requests,
            sum.errors,
            percent(sum.error_rate()),
            format!("{} of {users}", series.users_affected(Some(kind))),
            causes.join(", ")
        );
        out += line.trim_end();
        out.push('\n');
    }
    if let Some(first) = series.first_error() {
        let after = |at: u64| format!("{:.2} s", at as f64 / 1000.0);
        let _ = match series.recovered() {
            Some(good) => {
                writeln!(
                    out,
                    "\nfirst error after {}, every user served again after {}",
                    after(first),
                    after(good)
                )
            }
            None => {
                writeln!(out, "\nfirst error after {}, and not every user was served again", after(first))
            }
        };
    }
    if series.latest_milliseconds > LATE {
        let _ = writeln!(
            out,
            "\nrequests were sent up to {} after they were due: this machine is too busy, and the figures tell about it too",
            duration(series.latest_milliseconds)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Cause, User};

    fn slot(number: u64, connections: Connections, errors: u32) -> Slot {
        Slot {
            at: number * 250,
            connections,
            requests: 20,
            errors,
            users: 20,
            users_affected: errors,
            median_milliseconds: (errors < 20).then_some(4.2),
            p99_milliseconds: (errors < 20).then_some(1200.0),
            causes: (errors > 0).then_some((Cause::Timeout, errors)).into_iter().collect(),
        }
    }

    fn start() -> Line {
        let start = "2026-11-21T10:00:00Z".parse().unwrap();
        Line::Start { version: 1, start, slot_milliseconds: 250, new: 20, kept: 20, pooled: 0 }
    }

    #[test]
    fn the_picture_shows_the_last_slots_in_less_than_80_columns() {
        for colour in [false, true] {
            let mut view = View::new(colour);
            view.take(&start());
            for number in 0..40 {
                view.take(&Line::Slot(slot(number, Connections::New, if number < 30 { 0 } else { 17 })));
                view.take(&Line::Slot(slot(number, Connections::Kept, 0)));
            }
            let frame = view.frame();
            if colour {
                assert_eq!((frame.matches(RED).count(), frame.matches(PLAIN).count()), (1, 1));
            } else {
                assert!(frame.lines().all(|line| line.chars().count() < 80), "{frame}");
                insta::assert_snapshot!(frame);
            }
        }
    }

    #[test]
    fn the_summary_tells_why_when_and_whether_the_client_was_too_slow() {
        let user = |number, connections, errors| User {
            number,
            connections,
            source: None,
            target: "203.0.113.1:443".parse().unwrap(),
            requests: 80,
            errors,
            first_error: (errors > 0).then_some(7510),
            last_error: (errors > 0).then_some(9000),
            recovered: (errors > 0).then_some(9260),
        };
        let series = Series {
            version: 1,
            start: "2026-11-21T10:00:00Z".parse().unwrap(),
            slot_milliseconds: 250,
            slots: vec![slot(0, Connections::New, 5), slot(0, Connections::Kept, 0)],
            users: vec![user(0, Connections::New, 5), user(1, Connections::Kept, 0)],
            latest_milliseconds: 120.0,
        };
        insta::assert_snapshot!(summary(&series));
    }
}
