//! What a stack file says, with the place of everything.

use crate::intent::{Intent, Peer, Service};
use crate::located::Located;
use firewarden_diagnostic::Span;
use std::net::IpAddr;

/// A stack: hosts, groups, services and the intents about them. Names are unique among hosts and groups.
#[derive(Clone, Debug, Default)]
pub struct StackFile {
    /// In the order declared.
    pub hosts: Vec<Host>,
    /// In the order declared.
    pub groups: Vec<Group>,
    /// In the order declared.
    pub services: Vec<NamedService>,
    /// In the order declared.
    pub intents: Vec<DeclaredIntent>,
    /// Assumptions that every intent may rest on.
    pub assumptions: Vec<Assumption>,
    /// Files that are recorded and reviewed along, without meaning here.
    pub tracked: Vec<Located<String>>,
    /// Findings of the audit that are known and accepted.
    pub exceptions: Vec<Exception>,
}

/// A finding of the audit that somebody accepts, with a reason.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The id of the check, such as `open-management`.
    pub id: Located<String>,
    /// A part of the rule's text, or of table and chain (`inet filter input`); any place where it is `None`.
    pub place: Option<Located<String>>,
    /// Only on this host; on all where it is `None`.
    pub host: Option<Located<String>>,
    /// Why it is accepted.
    pub reason: Located<String>,
    /// Who answers for it.
    pub owner: Option<Located<String>>,
    /// The last day on which it is accepted, as `2027-03-31`.
    pub expires: Option<Located<String>>,
    /// The whole entry.
    pub span: Span,
}

impl StackFile {
    /// The number of a host by its name.
    pub fn host(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name.value == name)
    }

    /// A group by its name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name.value == name)
    }

    /// A service by its name.
    pub fn service(&self, name: &str) -> Option<&NamedService> {
        self.services.iter().find(|service| service.name.value == name)
    }
}

/// A machine, or several that share rules.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: Located<String>,
    /// Files with its rules, relative to the stack file; empty where nothing filters.
    pub rules: Vec<Located<String>>,
    /// A folder that `firewarden capture` has written, relative to the stack file: what isn't declared is taken from it.
    pub snapshot: Option<Located<String>>,
    /// Its addresses, those of interfaces included, without repetition.
    pub addresses: Vec<Located<IpAddr>>,
    /// Its interfaces; empty where the topology isn't told.
    pub interfaces: Vec<Interface>,
    /// Addresses under which it is reached from outside through address translation.
    pub published: Vec<Located<IpAddr>>,
    /// `net.netfilter.nf_conntrack_tcp_loose`: whether a TCP packet in the middle of an unknown connection counts as
    /// new. The kernel's default is true.
    pub tcp_loose: bool,
}

/// An interface of a host.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: Located<String>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<Located<InterfaceAddress>>,
    /// True for the side of the internet: the default route leaves here.
    pub uplink: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's; all of them where no length was written.
    pub prefix_length: u32,
}

/// A name for several hosts, groups and addresses.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: Located<String>,
    /// Its members.
    pub members: Vec<Located<Peer>>,
}

/// A name for services.
#[derive(Clone, Debug)]
pub struct NamedService {
    /// Its name.
    pub name: Located<String>,
    /// What it stands for; never a named service.
    pub services: Vec<Located<Service>>,
}

/// An intent of the stack file or of the command line.
#[derive(Clone, Debug)]
pub struct DeclaredIntent {
    /// What it says; the `except` key is part of its source.
    pub intent: Intent,
    /// What people call it.
    pub name: Option<Located<String>>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it is there.
    pub because: Option<String>,
    /// The hosts that its packets pass on the way, in order.
    pub via: Vec<Located<String>>,
    /// The interface by which its packets come in at the first host that filters them.
    pub input: Option<Located<String>>,
    /// How to try it out on the network; kept as text.
    pub probe: Option<Located<String>>,
    /// Assumptions for this intent only.
    pub assumptions: Vec<Assumption>,
    /// Made by `firewarden init` and not accepted by anybody yet: it is checked, but counts for nothing.
    pub proposed: bool,
    /// The whole entry, or the option of the command line.
    pub span: Span,
}

impl DeclaredIntent {
    /// An intent without anything else, such as the command line gives.
    pub fn bare(intent: Intent) -> DeclaredIntent {
        let span = intent.span;
        DeclaredIntent {
            intent,
            name: None,
            owner: None,
            because: None,
            via: Vec::new(),
            input: None,
            probe: None,
            assumptions: Vec::new(),
            proposed: false,
            span,
        }
    }
}

/// What somebody takes upon themselves about a construct that isn't interpreted.
#[derive(Clone, Debug)]
pub struct Assumption {
    /// The construct as written in the ruleset: `limit rate 5/second`.
    pub atom: Located<String>,
    /// Whether it is taken to match.
    pub holds: bool,
    /// Only on this host; on all where it is `None`.
    pub host: Option<Located<String>>,
    /// Who answers for it.
    pub owner: Located<String>,
    /// The last day on which it may be relied on, as `2027-03-31`.
    pub expires: Option<Located<String>>,
}
