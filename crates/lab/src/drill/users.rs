//! The users of a drill: steady before it, served again after it.

use super::{DrillError, Live};
use crate::load::{Crowd, Line, Options, Running};
use crate::scenario::Stop;
use crate::series::{Cause, Connections, Series, Slot, Sum, median};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The users: one in five by IPv6.
const CROWD: Crowd = Crowd { new: 20, kept: 20, pooled: 0, ipv6_percent: 20 };
/// How many requests each of them sends in a second: as many as the machine that the lab is on can serve, of these.
const RATES: [f64; 4] = [2.0, 1.0, 0.5, 0.25];
/// Answers that take so long, in milliseconds, as the median of a slot, tell of a machine that is too slow for so many: with no
/// time to spare, what the drill itself does would make users fail, and those would keep it from coming round.
const SLOW: f64 = 100.0;
/// A request without an answer has failed after this: before the first packet of a connection that was dropped is sent again.
const TIMEOUT: u64 = 1000;
/// How long nothing may fail for the service to count as steady, and as served again; milliseconds.
const STEADY: u64 = 2000;
const SERVED: u64 = 1500;
/// How long to wait for the first of these, and for the second.
const PATIENCE: Duration = Duration::from_secs(12);
const WAY_BACK: Duration = Duration::from_secs(90);
/// How long until the first line of the load.
const STARTING: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    zero: Option<Timestamp>,
    slots: Vec<Slot>,
}

/// Users that are at it.
pub struct Users {
    /// When the first slot began.
    pub zero: Timestamp,
    rate: f64,
    running: Running,
    seen: Arc<Mutex<Seen>>,
}

impl Users {
    /// Users whom the service serves: none of their requests has failed for a while.
    pub fn steady(live: &Live<'_>) -> Result<Users, DrillError> {
        let mut told = None;
        for rate in RATES {
            let users = Users::start(live, rate)?;
            let fewest = RATES.last() == Some(&rate);
            let steady = users.wait(PATIENCE, live.interrupted, |seen| {
                quiet(&seen.slots, 0, STEADY) && (fewest || with_ease(&seen.slots))
            });
            match steady {
                Some(true) => return Ok(users),
                Some(false) => {
                    let series = users.stop()?;
                    told = Some(unsteady(&series));
                    // Fewer requests don't help where it isn't for the machine that some fail.
                    if !quiet(&series.slots, 0, STEADY) && !is_slow(&series) {
                        break;
                    }
                }
                None => return Err(DrillError::Interrupted),
            }
        }
        Err(DrillError::Failed(told.unwrap_or_default()))
    }

    fn start(live: &Live<'_>, rate: f64) -> Result<Users, DrillError> {
        let options = Options { rate, timeout_milliseconds: TIMEOUT, ..Options::of_lab(live.lab, CROWD) };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let taken = Arc::clone(&seen);
        let running = Running::in_lab(live.lab, live.users, &options, move |line| {
            let mut seen = taken.lock().unwrap_or_else(PoisonError::into_inner);
            match line {
                Line::Start { start, .. } => seen.zero = Some(*start),
                Line::Slot(slot) => seen.slots.push(slot.clone()),
                Line::End(_) => {}
            }
        })?;
        let mut users = Users { zero: Timestamp::now(), rate, running, seen };
        let begun = users.wait(STARTING, live.interrupted, |seen| seen.zero.is_some());
        match (begun, users.seen(|seen| seen.zero)) {
            (None, _) => Err(DrillError::Interrupted),
            (_, None) => Err(DrillError::Failed("the users don't begin".to_owned())),
            (_, Some(zero)) => {
                users.zero = zero;
                Ok(users)
            }
        }
    }

    fn seen<T>(&self, look: impl Fn(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for something that comes soon; `None` where that was interrupted.
    fn wait(
        &self,
        patience: Duration,
        interrupted: &AtomicBool,
        is_so: impl Fn(&Seen) -> bool,
    ) -> Option<bool> {
        let until = Instant::now() + patience;
        loop {
            if self.seen(&is_so) {
                return Some(true);
            }
            if interrupted.load(Ordering::Relaxed) {
                return None;
            }
            if Instant::now() >= until {
                return Some(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many requests they send.
    pub fn pace(&self) -> String {
        let users = CROWD.new + CROWD.kept + CROWD.pooled;
        let few = if self.rate < RATES[0] { ": the machine is too slow for more" } else { "" };
        let plural = if self.rate == 1.0 { "" } else { "s" };
        format!("{users} users, each with {} request{plural} a second{few}", self.rate)
    }

    /// Whether they see more errors than they may, as of now; of requests due at `from` or after, in milliseconds.
    pub fn see_more_than(&self, stop: &Stop, from: u64) -> bool {
        self.seen(|seen| is_exceeded(&seen.slots, stop, from))
    }

    /// Waits until nobody's request fails any more, as of now; `None` where that was interrupted.
    pub fn served_again(&self, interrupted: &AtomicBool) -> Option<bool> {
        let now = u64::try_from(Timestamp::now().duration_since(self.zero).as_millis()).unwrap_or(0);
        self.wait(WAY_BACK, interrupted, |seen| quiet(&seen.slots, now, SERVED))
    }

    pub fn stop(self) -> Result<Series, DrillError> {
        Ok(self.running.stop()?)
    }
}

/// Whether what was due last was answered soon.
fn with_ease(slots: &[Slot]) -> bool {
    let from = slots.last().map_or(0, |slot| slot.at.saturating_sub(STEADY));
    let last = slots.iter().rev().take_while(|slot| slot.at >= from);
    last.filter_map(|slot| slot.median_milliseconds).all(|median| median <= SLOW)
}

/// Whether it may be the machine that keeps users from being served: what is answered takes long, or nothing is in time.
fn is_slow(series: &Series) -> bool {
    let answers: Vec<f64> = series.slots.iter().filter_map(|slot| slot.median_milliseconds).collect();
    let late = |slot: &Slot| slot.causes.keys().any(|cause| *cause == Cause::Timeout);
    median(&answers).map_or_else(|| series.slots.iter().any(late), |median| median > SLOW)
}

/// Why a service isn't steady: which users saw what, and since when. O(slots + users).
fn unsteady(series: &Series) -> String {
    let all = series.sum(None, 0, u64::MAX);
    let mut text = format!(
        "the service is not steady before the drill: {} of {} requests failed",
        all.errors, all.requests
    );
    for kind in Connections::ALL {
        let mut causes = BTreeMap::new();
        for slot in series.slots.iter().filter(|slot| slot.connections == kind) {
            for (cause, count) in &slot.causes {
                *causes.entry(cause).or_insert(0) += count;
            }
        }
        let hit: Vec<_> = series.users_of(Some(kind)).filter(|user| user.errors > 0).collect();
        let times = |of: fn(&crate::series::User) -> Option<u64>| hit.iter().filter_map(move |user| of(user));
        let (Some(first), Some(last)) =
            (times(|user| user.first_error).min(), times(|user| user.last_error).max())
        else {
            continue;
        };
        let ipv6 = hit.iter().filter(|user| user.target.is_ipv6()).count();
        let causes: Vec<String> = causes
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| format!("{count} times {}", cause.meaning()))
            .collect();
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "; over {} connections {} of {} users, {} by IPv4 and {ipv6} by IPv6, from {:.1} s to {:.1} s after {}: {}",
            kind.word(),
            hit.len(),
            series.users_of(Some(kind)).count(),
            hit.len() - ipv6,
            first as f64 / 1000.0,
            last as f64 / 1000.0,
            series.start.strftime("%H:%M:%S UTC"),
            causes.join(", ")
        );
    }
    text
}

/// Whether of the requests of the last seconds that are known, all due at `from` or after, more failed than may. O(slots).
fn is_exceeded(slots: &[Slot], stop: &Stop, from: u64) -> bool {
    // The slots of the last moment may not all be there.
    let until = slots.last().map_or(0, |slot| slot.at);
    let Some(begin) = until.checked_sub(u64::from(stop.seconds) * 1000).filter(|begin| *begin >= from) else {
        return false;
    };
    let counted = slots
        .iter()
        .rev()
        .take_while(|slot| slot.at >= begin)
        .filter(|slot| slot.at < until && stop.connections.is_none_or(|kind| slot.connections == kind));
    let sum = counted.fold(Sum::default(), |sum, slot| Sum {
        requests: sum.requests + u64::from(slot.requests),
        errors: sum.errors + u64::from(slot.errors),
    });
    sum.requests > 0 && sum.error_rate() * 100.0 > stop.errors
}

/// Whether the slots end with so many milliseconds without an error, all of them after `from`.
fn quiet(slots: &[Slot], from: u64, milliseconds: u64) -> bool {
    let Some(last) = slots.last().map(|slot| slot.at) else { return false };
    let begin = slots.iter().rev().find(|slot| slot.errors > 0).map_or(0, |slot| slot.at + 1).max(from);
    last >= begin + milliseconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{FORMAT_VERSION, User};

    fn slot(at: u64, connections: Connections, errors: u32) -> Slot {
        Slot {
            at,
            connections,
            requests: 10,
            errors,
            users: 10,
            users_affected: errors,
            median_milliseconds: None,
            p99_milliseconds: None,
            causes: BTreeMap::from([(Cause::Timeout, errors), (Cause::Status, 0)]),
        }
    }

    #[test]
    fn quiet_is_a_while_without_errors() {
        let slot = |at, errors| slot(at, Connections::New, errors);
        let slots: Vec<Slot> = (0..12).map(|number| slot(number * 250, u32::from(number == 3))).collect();
        assert!(!quiet(&[], 0, 0));
        assert!(quiet(&slots, 0, 1750) && !quiet(&slots, 0, 2000));
        assert!(!quiet(&slots, 1500, 1750) && quiet(&slots, 1500, 1250));
    }

    #[test]
    fn a_machine_with_no_time_to_spare_gets_fewer_requests() {
        let slot = |at: u64, median| Slot { median_milliseconds: median, ..slot(at, Connections::New, 0) };
        let mut slots = vec![slot(0, Some(900.0)), slot(500, Some(SLOW + 1.0)), slot(1000, None)];
        slots.extend((3..6).map(|number| slot(number * 500, Some(20.0))));
        assert!(!with_ease(&slots), "the slots of the last two seconds count");
        slots.push(slot(3000, Some(SLOW)));
        assert!(with_ease(&slots));
    }

    #[test]
    fn a_run_is_stopped_by_a_share_that_lasts() {
        // Kept connections fail from second 2 on, 4 of 10; new ones never.
        let slots: Vec<Slot> = (0..24)
            .flat_map(|number| {
                let failed = if number >= 8 { 4 } else { 0 };
                [slot(number * 250, Connections::New, 0), slot(number * 250, Connections::Kept, failed)]
            })
            .collect();
        let after = |seconds: u64, stop: Stop, from: u64| {
            let known: Vec<Slot> = slots.iter().filter(|slot| slot.at <= seconds * 1000).cloned().collect();
            is_exceeded(&known, &stop, from)
        };
        let kept = Stop { errors: 39.0, seconds: 2, connections: Some(Connections::Kept) };
        assert!(!after(3, kept, 0), "it has to last");
        assert!(after(4, kept, 0));
        assert!(!after(4, Stop { errors: 40.0, ..kept }, 0), "it has to be more");
        assert!(!after(5, Stop { connections: None, ..kept }, 0), "two of ten over all");
        assert!(after(5, Stop { connections: None, errors: 19.0, ..kept }, 0));
        assert!(!after(5, Stop { connections: Some(Connections::New), errors: 0.0, ..kept }, 0));
        assert!(!after(5, kept, 3500), "what came before the drill isn't part of it");
        assert!(!is_exceeded(&[], &kept, 0));
    }

    #[test]
    fn what_is_not_steady_is_told_with_who_what_and_when() {
        let user = |number: u32, target: &str, errors: u32| User {
            number,
            connections: Connections::New,
            source: None,
            target: target.parse().unwrap(),
            requests: 8,
            errors,
            first_error: (errors > 0).then_some(500 * u64::from(number + 1)),
            last_error: (errors > 0).then_some(9000),
            recovered: None,
        };
        let kept = User { connections: Connections::Kept, ..user(3, "203.0.113.1:443", 0) };
        let series = Series {
            version: FORMAT_VERSION,
            start: "2026-11-21T10:00:00Z".parse().unwrap(),
            slot_milliseconds: 500,
            slots: vec![slot(0, Connections::New, 3), slot(500, Connections::Kept, 0)],
            users: vec![user(0, "203.0.113.1:443", 2), user(1, "[2001:db8::1]:443", 1), kept],
            latest_milliseconds: 1.0,
        };
        assert_eq!(
            unsteady(&series),
            "the service is not steady before the drill: 3 of 20 requests failed; over new connections 2 of 2 users, \
             1 by IPv4 and 1 by IPv6, from 0.5 s to 9.0 s after 10:00:00 UTC: 3 times no answer in time"
        );
        assert!(is_slow(&series), "nothing was answered");
    }
}
