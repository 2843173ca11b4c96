//! When changes may be made: weekly windows, and freezes.
//!
//! Days and hours are those of a time zone, whose rules come with the program: a calendar means the same on every host.
//! Where clocks go back, an hour belongs to a window both times; where they go forward, one that would begin in the missing
//! hour begins after it.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, ToSpan};

/// How many days ahead an opening is looked for.
const HORIZON_DAYS: i64 = 400;

/// A zone with its windows and freezes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Whose days and hours are meant.
    pub zone: TimeZone,
    /// When changes may be made; any time where there are none.
    pub windows: Vec<Window>,
    /// When they may not, whatever the windows say.
    pub freezes: Vec<Freeze>,
}

/// Hours of some days of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days on which it begins.
    pub days: Vec<Weekday>,
    /// When it begins.
    pub from: Time,
    /// When it ends: on the next day, where that isn't after `from`.
    pub to: Time,
}

/// A time without changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// From this moment of the zone.
    pub from: DateTime,
    /// Before this moment of the zone.
    pub to: DateTime,
    /// Why.
    pub reason: String,
}

/// What a calendar says of a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Season {
    /// Changes may be made.
    Open,
    /// Outside all windows; when the next begins, where one does.
    Closed {
        /// The first moment from now on at which changes may be made.
        next: Option<Timestamp>,
    },
    /// In a freeze.
    Frozen {
        /// Why.
        reason: String,
        /// The first moment from now on at which changes may be made.
        next: Option<Timestamp>,
    },
}

impl Default for Calendar {
    fn default() -> Calendar {
        Calendar { zone: TimeZone::UTC, windows: Vec::new(), freezes: Vec::new() }
    }
}

/// The zone of that name (`Europe/Berlin`), from the database that is part of the program.
pub fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" => Some(TimeZone::UTC),
        _ => TimeZoneDatabase::bundled().get(name).ok(),
    }
}

impl Window {
    /// Whether it goes on past midnight.
    fn wraps(&self) -> bool {
        self.to <= self.from
    }

    fn contains(&self, at: DateTime) -> bool {
        let begins = |day: Date| self.days.contains(&day.weekday());
        if !self.wraps() {
            return begins(at.date()) && at.time() >= self.from && at.time() < self.to;
        }
        let yesterday = at.date().yesterday();
        (begins(at.date()) && at.time() >= self.from) || (at.time() < self.to && yesterday.is_ok_and(begins))
    }
}

impl Calendar {
    /// What it says of a moment. O(days ahead × (windows + freezes)²) where it is closed.
    pub fn season(&self, now: Timestamp) -> Season {
        if let Some(freeze) = self.freeze_at(now) {
            return Season::Frozen { reason: freeze.reason.clone(), next: self.next_opening(now) };
        }
        match self.in_window(now) {
            true => Season::Open,
            false => Season::Closed { next: self.next_opening(now) },
        }
    }

    fn civil(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }

    fn freeze_at(&self, at: Timestamp) -> Option<&Freeze> {
        let civil = self.civil(at);
        self.freezes.iter().find(|freeze| freeze.from <= civil && civil < freeze.to)
    }

    fn in_window(&self, at: Timestamp) -> bool {
        let civil = self.civil(at);
        self.windows.is_empty() || self.windows.iter().any(|window| window.contains(civil))
    }

    /// The first moment from `now` on that is in a window and in no freeze: windows begin it, or ends of freezes.
    fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.civil(now).date();
        let instant = |civil: DateTime| self.zone.to_timestamp(civil).ok();
        let ends = self.freezes.iter().filter_map(|freeze| instant(freeze.to));
        let begins = (0..=HORIZON_DAYS).filter_map(|days| {
            let day = today.checked_add(Span::new().try_days(days).ok()?).ok()?;
            let of_day = self.windows.iter().filter(|window| window.days.contains(&day.weekday()));
            of_day
                .filter_map(|window| instant(day.to_datetime(window.from)))
                .filter(|at| *at >= now && self.freeze_at(*at).is_none())
                .min()
        });
        let open = |at: &Timestamp| *at >= now && self.freeze_at(*at).is_none() && self.in_window(*at);
        ends.filter(open).min().into_iter().chain(begins.take(1)).min()
    }

    /// A moment as people of the zone write it: `Monday 2026-11-23 09:00 CET`.
    pub fn told(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%A %Y-%m-%d %H:%M %Z").to_string()
    }
}

/// The end of a freeze that is given as a day: the day counts.
pub fn end_of(day: Date) -> Option<DateTime> {
    day.checked_add(1.day()).ok().map(|next| next.to_datetime(Time::midnight()))
}

#[cfg(test)]
mod tests;
