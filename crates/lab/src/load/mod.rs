//! Users of a service: each sends requests when its schedule says so, whatever became of earlier ones (an *open loop*), from
//! an address of its own, on new, kept or pooled connections.
//!
//! The process that sends runs where the users are, in a network namespace of the lab; [`Running`] starts it from outside
//! and reads what it tells, [`send`] is what it does. They talk in lines of JSON: [`Options`] one way, [`Line`]s the other.

mod client;
mod collector;
mod connection;
mod run;
pub mod schedule;
mod users;
pub mod view;

pub use client::{LoadError, send};
pub use run::{Running, serve};
pub use users::{Crowd, users};

use crate::series::{Connections, Series, Slot};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The most users of one load.
pub const MAX_USERS: usize = 10_000;

/// What load to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The users, numbered from 0.
    pub users: Vec<UserOptions>,
    /// How many requests each user sends in a second.
    pub rate: f64,
    /// What the jitter of the schedule is made of.
    pub seed: u64,
    /// After how long a request without an answer has failed, from when it was due.
    pub timeout_milliseconds: u64,
    /// How long a slot of the series is.
    pub slot_milliseconds: u64,
    /// How long to send; until told to stop without it.
    pub duration_milliseconds: Option<u64>,
    /// How many connections the users of pooled connections share.
    pub pool: u32,
    /// The one certificate (PEM) that HTTPS servers may show; without it any is taken, as a lab's own is signed by nobody.
    pub certificate: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            users: Vec::new(),
            rate: 2.0,
            seed: 1,
            timeout_milliseconds: 2000,
            slot_milliseconds: 500,
            duration_milliseconds: None,
            pool: 4,
            certificate: None,
        }
    }
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserOptions {
    /// How it connects.
    pub connections: Connections,
    /// The address to send from, of the family of the target; the system's choice without it. Users who share a pool send
    /// from the address of the pool's first user.
    pub source: Option<IpAddr>,
    /// Where to send to.
    pub target: Target,
}

/// Where a user sends to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is HTTPS.
    pub https: bool,
    /// The name in the header `Host` and in TLS.
    pub host: String,
    /// The path, which begins with `/`.
    pub path: String,
}

impl Target {
    /// Plain HTTP for `/` of this address.
    pub fn new(address: SocketAddr) -> Target {
        Target { address, https: false, host: address.to_string(), path: "/".to_owned() }
    }

    /// The same by HTTPS, by this name.
    pub fn https(self, host: &str) -> Target {
        Target { https: true, host: host.to_owned(), ..self }
    }
}

/// One line that a load tells while it runs; as JSON, one on each line of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "line", rename_all = "kebab-case")]
#[schemars(title = "firewarden load line")]
pub enum Line {
    /// The first line.
    Start {
        /// The version of this format: 1.
        version: u32,
        /// When the first slot began, UTC, RFC 3339.
        start: Timestamp,
        /// How long a slot is, in milliseconds.
        slot_milliseconds: u64,
        /// How many users of new connections there are.
        new: u32,
        /// How many users of kept connections there are.
        kept: u32,
        /// How many users of pooled connections there are.
        pooled: u32,
    },
    /// A slot, as soon as its last request has ended.
    Slot(Slot),
    /// The last line: everything.
    End(Series),
}

impl Line {
    /// The line as JSON, without a line break.
    pub fn json(&self) -> String {
        // Made of strings, numbers and lists, which always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The JSON Schema of [`Line`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Line).to_value()
}
