//! From requests to slots. A request belongs to the slot in which it was due, so a slot can be told only when its last
//! request has ended; slots are told in order.

use super::Options;
use crate::series::{Cause, Connections, FORMAT_VERSION, Series, Slot, User, quantile};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How a request ended: after how long with a good answer, or why not.
pub type Outcome = Result<Duration, Cause>;

/// Gathers what becomes of requests.
#[derive(Debug)]
pub struct Collector {
    slot: Duration,
    users: Vec<User>,
    kinds: BTreeSet<Connections>,
    /// The slots that aren't told, the first one being number `told`.
    open: VecDeque<Open>,
    told: u64,
    slots: Vec<Slot>,
    latest: Duration,
}

#[derive(Debug, Default)]
struct Open {
    under_way: usize,
    ended: Vec<(Duration, u32, Outcome)>,
}

#[derive(Default)]
struct Part {
    requests: u32,
    users: BTreeSet<u32>,
    affected: BTreeSet<u32>,
    causes: BTreeMap<Cause, u32>,
    good: Vec<f64>,
}

impl Collector {
    /// Nothing yet.
    pub fn new(options: &Options) -> Collector {
        let users: Vec<User> = options
            .users
            .iter()
            .zip(0..)
            .map(|(user, number)| User {
                number,
                connections: user.connections,
                source: user.source,
                target: user.target.address,
                requests: 0,
                errors: 0,
                first_error: None,
                last_error: None,
                recovered: None,
            })
            .collect();
        Collector {
            slot: Duration::from_millis(options.slot_milliseconds.max(1)),
            kinds: users.iter().map(|user| user.connections).collect(),
            users,
            open: VecDeque::new(),
            told: 0,
            slots: Vec::new(),
            latest: Duration::ZERO,
        }
    }

    fn number(&self, at: Duration) -> u64 {
        (at.as_nanos() / self.slot.as_nanos()) as u64
    }

    /// The slot of a moment; `None` for one that was told already.
    fn slot_of(&mut self, at: Duration) -> Option<&mut Open> {
        let index = usize::try_from(self.number(at).checked_sub(self.told)?).ok()?;
        if self.open.len() <= index {
            self.open.resize_with(index + 1, Open::default);
        }
        self.open.get_mut(index)
    }

    /// A request that was due is sent now, `late` after it was due.
    pub fn begun(&mut self, at: Duration, late: Duration) {
        self.latest = self.latest.max(late);
        if let Some(open) = self.slot_of(at) {
            open.under_way += 1;
        }
    }

    /// A request that was begun has ended.
    pub fn ended(&mut self, at: Duration, user: u32, outcome: Outcome) {
        if let Some(open) = self.slot_of(at) {
            open.under_way = open.under_way.saturating_sub(1);
            open.ended.push((at, user, outcome));
        }
    }

    /// The slots that ended before `now` and have no request under way, behind none that has; each is given once. Every
    /// request due before `now` must have been told as begun. O(requests · log requests) over all calls.
    pub fn settle(&mut self, now: Duration) -> &[Slot] {
        let before = self.slots.len();
        while self.told < self.number(now) {
            if self.open.front().is_some_and(|open| open.under_way > 0) {
                break;
            }
            let open = self.open.pop_front().unwrap_or_default();
            self.tell(open);
        }
        self.slots.get(before..).unwrap_or_default()
    }

    fn tell(&mut self, mut open: Open) {
        let at = (self.slot * u32::try_from(self.told).unwrap_or(u32::MAX)).as_millis() as u64;
        self.told += 1;
        let mut parts: BTreeMap<Connections, Part> =
            self.kinds.iter().map(|&kind| (kind, Part::default())).collect();
        // In the order in which they were due, so that the last error and what follows are what they say.
        open.ended.sort_by_key(|&(at, user, _)| (at, user));
        for (due, number, outcome) in open.ended {
            let Some(user) = self.users.get_mut(number as usize) else { continue };
            let part = parts.entry(user.connections).or_default();
            part.requests += 1;
            part.users.insert(number);
            count(user, due.as_millis() as u64, outcome);
            match outcome {
                Ok(latency) => part.good.push(latency.as_secs_f64() * 1000.0),
                Err(cause) => {
                    part.affected.insert(number);
                    *part.causes.entry(cause).or_default() += 1;
                }
            }
        }
        self.slots.extend(parts.into_iter().map(|(kind, part)| slot(at, kind, part)));
    }

    /// The whole series; requests that are still under way are left out. Call [`Collector::settle`] with the end first.
    pub fn series(self, start: Timestamp) -> Series {
        Series {
            version: FORMAT_VERSION,
            start,
            slot_milliseconds: self.slot.as_millis() as u64,
            slots: self.slots,
            users: self.users,
            latest_milliseconds: rounded(self.latest.as_secs_f64() * 1000.0),
        }
    }
}

fn count(user: &mut User, due: u64, outcome: Outcome) {
    user.requests += 1;
    let answered = match outcome {
        Ok(latency) => due + latency.as_millis() as u64,
        Err(_) => {
            user.errors += 1;
            user.first_error.get_or_insert(due);
            user.last_error = Some(due);
            user.recovered = None;
            return;
        }
    };
    if user.last_error.is_some() {
        user.recovered = Some(user.recovered.map_or(answered, |before| before.min(answered)));
    }
}

fn slot(at: u64, connections: Connections, mut part: Part) -> Slot {
    part.good.sort_by(f64::total_cmp);
    Slot {
        at,
        connections,
        requests: part.requests,
        errors: part.causes.values().sum(),
        users: part.users.len() as u32,
        users_affected: part.affected.len() as u32,
        median_milliseconds: quantile(&part.good, 500).map(rounded),
        p99_milliseconds: quantile(&part.good, 990).map(rounded),
        causes: part.causes,
    }
}

/// To a thousandth: what a clock in a busy process can tell.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Target, UserOptions};

    fn options(kinds: &[Connections]) -> Options {
        let target = Target::new("127.0.0.1:1".parse().unwrap());
        let users = kinds
            .iter()
            .map(|&connections| UserOptions { connections, source: None, target: target.clone() })
            .collect();
        Options { users, slot_milliseconds: 100, ..Options::default() }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_request_counts_where_it_was_due_and_holds_back_the_slots_after_it() {
        let mut collector = Collector::new(&options(&[Connections::New, Connections::Kept]));
        for at in [10, 110, 210] {
            collector.begun(ms(at), ms(1));
        }
        collector.ended(ms(110), 1, Ok(ms(3)));
        collector.ended(ms(210), 0, Ok(ms(5)));
        // The first is still under way: nothing is told, however late it is.
        assert!(collector.settle(ms(2000)).is_empty());
        collector.ended(ms(10), 0, Err(Cause::Timeout));
        let slots = collector.settle(ms(300)).to_vec();
        assert_eq!(slots.len(), 6);
        let told: Vec<_> =
            slots.iter().map(|slot| (slot.at, slot.connections, slot.requests, slot.errors)).collect();
        assert_eq!(told[0], (0, Connections::New, 1, 1));
        assert_eq!(told[1], (0, Connections::Kept, 0, 0));
        assert_eq!(told[3], (100, Connections::Kept, 1, 0));
        assert_eq!(told[4], (200, Connections::New, 1, 0));
        assert_eq!(slots[0].causes, BTreeMap::from([(Cause::Timeout, 1)]));
        assert_eq!((slots[0].median_milliseconds, slots[4].median_milliseconds), (None, Some(5.0)));
        assert!(collector.settle(ms(300)).is_empty(), "each slot is told once");
    }

    #[test]
    fn answers_out_of_order_leave_first_and_last_error_in_order() {
        let mut collector = Collector::new(&options(&[Connections::New]));
        for at in [0, 20, 40, 60, 80] {
            collector.begun(ms(at), ms(0));
        }
        collector.ended(ms(80), 0, Ok(ms(1)));
        collector.ended(ms(0), 0, Ok(ms(1)));
        collector.ended(ms(60), 0, Ok(ms(1)));
        collector.ended(ms(40), 0, Err(Cause::Reset));
        collector.ended(ms(20), 0, Err(Cause::Timeout));
        collector.settle(ms(100));
        let series = collector.series(Timestamp::UNIX_EPOCH);
        let user = &series.users[0];
        assert_eq!((user.requests, user.errors), (5, 2));
        assert_eq!((user.first_error, user.last_error, user.recovered), (Some(20), Some(40), Some(61)));
        assert_eq!((series.first_error(), series.recovered()), (Some(20), Some(61)));
        assert_eq!(series.recovered_since(10_000), None, "nobody failed then");
    }

    #[test]
    fn many_users_with_few_errors_show_in_users_rather_than_in_requests() {
        let mut collector = Collector::new(&options(&[Connections::New; 20]));
        for user in 0..20 {
            for round in 0..10 {
                let at = ms(round * 10);
                collector.begun(at, ms(0));
                let fails = user < 15 && round == 3;
                collector.ended(at, user, if fails { Err(Cause::Timeout) } else { Ok(ms(2)) });
            }
        }
        let slots = collector.settle(ms(100)).to_vec();
        assert_eq!((slots[0].users, slots[0].users_affected, slots[0].errors), (20, 15, 15));
        let series = collector.series(Timestamp::UNIX_EPOCH);
        assert_eq!(series.users_affected(None), 15);
        assert_eq!(series.sum(None, 0, 100).error_rate(), 0.075);
        assert_eq!(series.recovered(), Some(42));
    }
}
