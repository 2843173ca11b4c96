//! When each user sends: a plan made before anything is sent, so that a slow service can't slow down its own measurement.

use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The least and the most requests of a user in a second.
pub const RATES: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// Requests of all users in the order in which they are due, without end. Each user has one request in each interval of its
/// rate, at a moment of the interval that the seed decides. Equal seeds give equal schedules.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    next: BinaryHeap<Reverse<(Duration, u32)>>,
    users: Vec<(Rng, u64)>,
}

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Since the start.
    pub at: Duration,
    /// The user's number.
    pub user: u32,
}

impl Schedule {
    /// A schedule for users who each send `rate` requests a second, which is taken into [`RATES`]. O(users).
    pub fn new(users: u32, rate: f64, seed: u64) -> Schedule {
        let rate = if rate.is_nan() { *RATES.start() } else { rate.clamp(*RATES.start(), *RATES.end()) };
        let mut seeds = Rng::with_seed(seed);
        let users = (0..users).map(|_| (Rng::with_seed(seeds.u64(..)), 0)).collect();
        let mut schedule =
            Schedule { interval: Duration::from_secs_f64(1.0 / rate), next: BinaryHeap::new(), users };
        for user in 0..schedule.users.len() as u32 {
            schedule.plan(user);
        }
        schedule
    }

    /// Plans the next request of a user.
    fn plan(&mut self, user: u32) {
        let Some((rng, count)) = self.users.get_mut(user as usize) else { return };
        let at = self.interval.mul_f64(*count as f64 + rng.f64());
        *count += 1;
        self.next.push(Reverse((at, user)));
    }

    /// When the next request is due.
    pub fn peek(&self) -> Option<Duration> {
        self.next.peek().map(|Reverse((at, _))| *at)
    }
}

impl Iterator for Schedule {
    type Item = Due;

    /// The next request; `None` without users. O(log users).
    fn next(&mut self) -> Option<Due> {
        let Reverse((at, user)) = self.next.pop()?;
        self.plan(user);
        Some(Due { at, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_sends_once_an_interval_in_order_and_equally_for_equal_seeds() {
        let first: Vec<Due> = Schedule::new(3, 4.0, 7).take(120).collect();
        assert_eq!(first, Schedule::new(3, 4.0, 7).take(120).collect::<Vec<_>>());
        assert_ne!(first, Schedule::new(3, 4.0, 8).take(120).collect::<Vec<_>>());
        assert!(first.windows(2).all(|pair| pair[0].at <= pair[1].at));
        for user in 0..3 {
            let intervals: Vec<u128> =
                first.iter().filter(|due| due.user == user).map(|due| due.at.as_millis() / 250).collect();
            assert!(intervals.len() >= 38, "{intervals:?}");
            assert_eq!(intervals, (0..intervals.len() as u128).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_rate_that_is_no_rate_is_taken_into_the_range() {
        for rate in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
            assert_eq!(Schedule::new(1, rate, 1).take(5).count(), 5);
        }
        assert_eq!(Schedule::new(0, 1.0, 1).next(), None);
    }
}
