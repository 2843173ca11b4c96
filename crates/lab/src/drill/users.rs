//! The users of a drill: steady before it, served again after it.

use super::{DrillError, wait_until};
use crate::load::{Crowd, Line, Options, Running};
use crate::place::Lab;
use crate::series::{Series, Slot};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The users: one in five by IPv6, each with two requests in a second.
const CROWD: Crowd = Crowd { new: 20, kept: 20, pooled: 0, ipv6_percent: 20 };
const RATE: f64 = 2.0;
/// A request without an answer has failed after this: before the first packet of a connection that was dropped is sent again.
const TIMEOUT: u64 = 1000;
/// How long nothing may fail for the service to count as steady, and as served again; milliseconds.
const STEADY: u64 = 2000;
const SERVED: u64 = 1500;
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long until the first line of the load.
const STARTING: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Seen {
    zero: Option<Timestamp>,
    slots: Vec<Slot>,
}

/// Users that are at it.
pub struct Users {
    running: Running,
    seen: Arc<Mutex<Seen>>,
}

impl Users {
    pub fn start(lab: &Lab, words: &[&str]) -> Result<Users, DrillError> {
        let options = Options { rate: RATE, timeout_milliseconds: TIMEOUT, ..Options::of_lab(lab, CROWD) };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let taken = Arc::clone(&seen);
        let running = Running::in_lab(lab, words, &options, move |line| {
            let mut seen = taken.lock().unwrap_or_else(PoisonError::into_inner);
            match line {
                Line::Start { start, .. } => seen.zero = Some(*start),
                Line::Slot(slot) => seen.slots.push(slot.clone()),
                Line::End(_) => {}
            }
        })?;
        Ok(Users { running, seen })
    }

    fn seen<T>(&self, look: impl Fn(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the first slot began.
    pub fn zero(&self) -> Result<Timestamp, DrillError> {
        wait_until(STARTING, || self.seen(|seen| seen.zero.is_some()));
        self.seen(|seen| seen.zero).ok_or_else(|| DrillError::Failed("the users don't begin".to_owned()))
    }

    /// Waits until nobody's request has failed for a while.
    pub fn steady(&self) -> Result<(), DrillError> {
        match wait_until(PATIENCE, || self.seen(|seen| quiet(&seen.slots, 0, STEADY))) {
            true => Ok(()),
            false => {
                let errors: u32 = self.seen(|seen| seen.slots.iter().map(|slot| slot.errors).sum());
                Err(DrillError::Failed(format!(
                    "the service is not steady before the drill: {errors} requests failed"
                )))
            }
        }
    }

    /// Waits until nobody's request fails any more, as of now.
    pub fn served_again(&self) -> bool {
        let now = self.seen(|seen| {
            seen.zero.map_or(0, |zero| {
                u64::try_from(Timestamp::now().duration_since(zero).as_millis()).unwrap_or(0)
            })
        });
        wait_until(PATIENCE, || self.seen(|seen| quiet(&seen.slots, now, SERVED)))
    }

    pub fn stop(self) -> Result<Series, DrillError> {
        Ok(self.running.stop()?)
    }
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
    use crate::series::Connections;
    use std::collections::BTreeMap;

    #[test]
    fn quiet_is_a_while_without_errors() {
        let slot = |at: u64, errors: u32| Slot {
            at,
            connections: Connections::New,
            requests: 10,
            errors,
            users: 10,
            users_affected: errors,
            median_milliseconds: None,
            p99_milliseconds: None,
            causes: BTreeMap::new(),
        };
        let slots: Vec<Slot> = (0..12).map(|number| slot(number * 250, u32::from(number == 3))).collect();
        assert!(!quiet(&[], 0, 0));
        assert!(quiet(&slots, 0, 1750) && !quiet(&slots, 0, 2000));
        assert!(!quiet(&slots, 1500, 1750) && quiet(&slots, 1500, 1250));
    }
}
