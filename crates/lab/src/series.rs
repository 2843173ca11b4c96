//! What users of a service saw, slot of time by slot of time.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The version of [`Series`] as JSON.
pub const FORMAT_VERSION: u32 = 1;

/// How a user connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// A connection of its own for each request.
    New,
    /// One connection, which is kept and opened again only when it is lost.
    Kept,
    /// One of a few connections that users share.
    Pooled,
}

impl Connections {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Connections; 3] = [Connections::New, Connections::Kept, Connections::Pooled];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Connections::New => "new",
            Connections::Kept => "kept",
            Connections::Pooled => "pooled",
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No answer in time: what a dropped packet looks like.
    Timeout,
    /// Nobody listens, or a firewall says so with a reset.
    Refused,
    /// The connection ended before the answer did.
    Reset,
    /// A router or a firewall said that there is no way.
    Unreachable,
    /// TLS couldn't be agreed on.
    Tls,
    /// An answer with a status of 500 or more.
    Status,
    /// An answer that is no HTTP.
    Protocol,
    /// This client couldn't send: no port was left, or the address to send from isn't its own.
    Local,
}

impl Cause {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Timeout => "timeout",
            Cause::Refused => "refused",
            Cause::Reset => "reset",
            Cause::Unreachable => "unreachable",
            Cause::Tls => "tls",
            Cause::Status => "status",
            Cause::Protocol => "protocol",
            Cause::Local => "local",
        }
    }

    /// What happened, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Cause::Timeout => "no answer in time",
            Cause::Refused => "the connection refused",
            Cause::Reset => "the connection ended before the answer",
            Cause::Unreachable => "no way to the site",
            Cause::Tls => "no agreement on TLS",
            Cause::Status => "an answer with a status of 500 or more",
            Cause::Protocol => "an answer that is no HTTP",
            Cause::Local => "nothing sent, for want of a port or an address",
        }
    }
}

/// What a load of users saw: of each kind of connections, the slots of time one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "firewarden load series")]
pub struct Series {
    /// The version of this format: 1.
    pub version: u32,
    /// When the first slot began, UTC, RFC 3339.
    pub start: Timestamp,
    /// How long a slot is, in milliseconds.
    pub slot_milliseconds: u64,
    /// The slots, in the order of time; those of one moment in the order new, kept, pooled.
    pub slots: Vec<Slot>,
    /// What each user saw over all.
    pub users: Vec<User>,
    /// The most that a request was sent after it was due, in milliseconds. More than a few tens mean that the client was too
    /// slow for this load, and that its figures tell about itself.
    pub latest_milliseconds: f64,
}

/// What users of one kind saw in one slot. Requests count where they were *due* by the schedule, however late they end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The users with a request due.
    pub users: u32,
    /// The users with a failed request.
    pub users_affected: u32,
    /// Half of the good answers were at least as quick as this, in milliseconds; null without any.
    pub median_milliseconds: Option<f64>,
    /// 99 of 100 good answers were at least as quick as this, in milliseconds; null without any.
    pub p99_milliseconds: Option<f64>,
    /// Why requests failed, and how many for that reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub causes: BTreeMap<Cause, u32>,
}

/// What one user saw over all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The user's number, from 0.
    pub number: u32,
    /// How it connects.
    pub connections: Connections,
    /// The address it sends from; null where the system chooses.
    pub source: Option<IpAddr>,
    /// Where it sends to.
    #[schemars(with = "String")]
    pub target: SocketAddr,
    /// Requests that were due.
    pub requests: u32,
    /// Those that failed.
    pub errors: u32,
    /// When its first failed request was due, in milliseconds since the start.
    pub first_error: Option<u64>,
    /// When its last failed request was due.
    pub last_error: Option<u64>,
    /// When the first good answer to a request that was due after that came; null where none did.
    pub recovered: Option<u64>,
}

/// Requests, errors, users: of a kind of connections, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests that were due.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
}

impl Sum {
    /// The share of requests that failed, from 0 to 1; 0 without requests.
    pub fn error_rate(self) -> f64 {
        share(self.errors, self.requests)
    }
}

/// `part` of `whole`, from 0 to 1; 0 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Series {
    /// The kinds of connections that users have, in order. O(users).
    pub fn kinds(&self) -> Vec<Connections> {
        Connections::ALL.into_iter().filter(|&kind| self.users_of(Some(kind)).next().is_some()).collect()
    }

    /// The users of a kind, or all.
    pub fn users_of(&self, kind: Option<Connections>) -> impl Iterator<Item = &User> {
        self.users.iter().filter(move |user| kind.is_none_or(|kind| user.connections == kind))
    }

    /// The sum of the slots that began from `from` to before `until`, in milliseconds, of a kind or of all. O(slots).
    pub fn sum(&self, kind: Option<Connections>, from: u64, until: u64) -> Sum {
        let chosen = self.slots.iter().filter(|slot| {
            kind.is_none_or(|kind| slot.connections == kind) && slot.at >= from && slot.at < until
        });
        chosen.fold(Sum::default(), |sum, slot| Sum {
            requests: sum.requests + u64::from(slot.requests),
            errors: sum.errors + u64::from(slot.errors),
        })
    }

    /// How many users of a kind, or of all, ever had a failed request. O(users).
    pub fn users_affected(&self, kind: Option<Connections>) -> u64 {
        self.users_of(kind).filter(|user| user.errors > 0).count() as u64
    }

    /// How many users of a kind, or of all, had a failed request that was due at `from` or after, in milliseconds since the
    /// start. O(users).
    pub fn users_affected_since(&self, kind: Option<Connections>, from: u64) -> u64 {
        self.users_of(kind).filter(|user| user.last_error.is_some_and(|at| at >= from)).count() as u64
    }

    /// When the first failed request was due, in milliseconds since the start. O(users).
    pub fn first_error(&self) -> Option<u64> {
        self.users.iter().filter_map(|user| user.first_error).min()
    }

    /// When every user that had a failed request was served again, in milliseconds since the start; `None` where none
    /// failed, or one still does. O(users).
    pub fn recovered(&self) -> Option<u64> {
        self.recovered_since(0)
    }

    /// The same of users with a failed request that was due at `from` or after.
    pub fn recovered_since(&self, from: u64) -> Option<u64> {
        let affected = self.users.iter().filter(|user| user.last_error.is_some_and(|at| at >= from));
        affected.map(|user| user.recovered).collect::<Option<Vec<u64>>>()?.into_iter().max()
    }
}

/// The value that `of_thousand` of 1,000 values are not above, by nearest rank; `None` of no values.
/// The values must be in order. O(1).
pub fn quantile(ordered: &[f64], of_thousand: usize) -> Option<f64> {
    let rank = (ordered.len() * of_thousand).div_ceil(1000).max(1);
    ordered.get(rank - 1).copied()
}

/// The middle value; of an even number of them the mean of the middle two. O(n log n).
pub fn median(values: &[f64]) -> Option<f64> {
    let mut ordered = values.to_vec();
    ordered.sort_by(f64::total_cmp);
    let (low, high) = (ordered.get(ordered.len().checked_sub(1)? / 2)?, ordered.get(ordered.len() / 2)?);
    Some((low + high) / 2.0)
}
