//! Intents: declared flows with an expectation, and the questions they ask of rulesets.
//!
//! ```text
//! [allow|deny|only] SOURCE -> DESTINATION [SERVICE, …]
//! allow internet except @banned -> lb tcp/443
//! deny 10.0.9.0/24, 2001:db8:9::/48 -> db
//! only office -> edge, lb tcp/22
//! ```
//!
//! - SOURCE and DESTINATION: names of hosts and groups, `internet`, `any`, addresses, prefixes, ranges (`a-b`), in a
//!   list with commas, and `except` with a list of what is carved out (`@name` is a set of the rulesets).
//! - SERVICE: `tcp/443`, `udp/8000-8010`, `tcp/80,443`, `tcp`, `icmp`, `icmp/echo-request`, `icmpv6`, a named service,
//!   `any`; nothing means `any`.

mod conflict;
mod overlap;
mod parse;
mod protocols;
mod questions;
mod resolve;
mod senders;
mod special;

pub use conflict::conflicts;
pub(crate) use parse::{RESERVED, parse_peer, parse_service};
pub use parse::{is_name, parse_intent};
pub(crate) use protocols::protocol_name;
pub use questions::{Claim, Origin, Question, Target, questions};
pub(crate) use questions::{arriving_boxes, service_boxes};
pub use resolve::{Addresses, Endpoint, Names, Resolved, resolve};
pub use senders::Senders;
pub use special::{internet, receivable};

use crate::Located;
use crate::address::AddressRange;
use firewarden_diagnostic::Span;

/// What an intent expects of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expectation {
    /// Every new packet arrives, and its replies come back.
    Allow,
    /// No packet that could start anything arrives.
    Deny,
    /// Allow these sources, deny everybody else.
    Only,
}

impl Expectation {
    /// All of them.
    pub const ALL: [Expectation; 3] = [Expectation::Allow, Expectation::Deny, Expectation::Only];

    /// The word for it: `allow`, `deny`, `only`.
    pub fn word(self) -> &'static str {
        match self {
            Expectation::Allow => "allow",
            Expectation::Deny => "deny",
            Expectation::Only => "only",
        }
    }
}

/// An intent as written; names are not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// What it expects.
    pub expectation: Expectation,
    /// Who sends.
    pub source: Peers,
    /// Who is to receive.
    pub destination: Peers,
    /// Of which services; empty means any.
    pub services: Vec<Located<Service>>,
    /// Everything from the source to the last service as written, with white space made single.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

impl Intent {
    /// The intent in the grammar, expectation included: `allow lb -> app tcp/8080`.
    pub fn full_text(&self) -> String {
        format!("{} {}", self.expectation.word(), self.text)
    }
}

/// One side of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peers {
    /// At least one.
    pub include: Vec<Located<Peer>>,
    /// What is carved out.
    pub except: Vec<Located<Peer>>,
}

/// Whom a word of an intent means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Every address that can be on the wire.
    Any,
    /// Public unicast addresses without the declared hosts.
    Internet,
    /// A host or a group.
    Name(Box<str>),
    /// Addresses.
    Range(AddressRange),
    /// The members of a set of the rulesets; only after `except`.
    Set(Box<str>),
}

/// What a word of an intent's services means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Every protocol.
    Any,
    /// Every packet of a protocol (IANA number).
    Protocol(u8),
    /// Destination ports of a protocol that has ports, both ends included.
    Ports {
        /// IANA number.
        protocol: u8,
        /// The lowest.
        low: u16,
        /// The highest.
        high: u16,
    },
    /// One type of ICMP (protocol 1) or ICMPv6 (58).
    Icmp {
        /// 1 or 58.
        protocol: u8,
        /// The type's number.
        icmp_type: u8,
    },
    /// A service that the stack file declares.
    Named(Box<str>),
}
