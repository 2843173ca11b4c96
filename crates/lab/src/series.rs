//! What users of a service saw, second by second.

use serde::{Deserialize, Serialize};

/// The version of [`Series`] as JSON.
pub const FORMAT_VERSION: u32 = 1;

/// How a user connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// A connection of its own for each request.
    New,
    /// One connection, which is kept and opened again only when it is lost.
    Kept,
    /// One of a few connections that users share.
    Pooled,
}

/// What a load of users saw: of each kind of connections, the slots of time one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// When the first slot began, UTC, RFC 3339.
    pub start: String,
    /// How long a slot is, in milliseconds.
    pub slot_milliseconds: u64,
    /// How many users there were of each kind.
    pub users: Vec<(Connections, u32)>,
    /// The slots, in the order of time; those of one moment in the order of [`Connections`].
    pub slots: Vec<Slot>,
}

/// What users of one kind saw in one slot. Requests count where they were *sent*, by the schedule, however late they end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// When it began, in milliseconds since the start of the series.
    pub at: u64,
    /// Whose.
    pub connections: Connections,
    /// Requests that were due.
    pub requests: u32,
    /// Those that failed: no connection, no answer in time, or an answer of 500 or more.
    pub errors: u32,
    /// The users with a failed request.
    pub users_affected: u32,
    /// Half of the answers were quicker than this, in milliseconds; `None` without answers.
    pub median_milliseconds: Option<f64>,
    /// 99 of 100 answers were quicker than this, in milliseconds; `None` without answers.
    pub p99_milliseconds: Option<f64>,
}
