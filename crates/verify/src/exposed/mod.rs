//! Who may reach which port of a host, or through it, IPv4 and IPv6 side by side.
//!
//! Every new packet that can come in from elsewhere is one question, which is taken apart until it is known which parts
//! are let through and by which rule (`ask`); parts that differ in one side only are put together again, and turned into
//! rows of ports and sources (`rows`).

pub(crate) mod ask;
mod rows;
pub(crate) mod words;

use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_network::Host;
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::Family;

pub use words::Words;

/// Where the search ends. For each of the four protocols, the two families, and both ways.
#[derive(Clone, Copy, Debug)]
pub struct ExposedOptions {
    /// The most parts into which packets are taken apart.
    pub regions: usize,
    /// The most rules looked at for them, about.
    pub steps: u64,
}

impl Default for ExposedOptions {
    fn default() -> ExposedOptions {
        ExposedOptions { regions: 20_000, steps: 200_000_000 }
    }
}

/// Where packets are let through to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the host itself.
    Input,
    /// Through it to somebody else.
    Forward,
}

/// What is asked of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// First packets of TCP connections.
    Tcp,
    /// Datagrams.
    Udp,
    /// Pings.
    Echo,
    /// All other protocols.
    Other,
}

impl Kind {
    /// In the order in which they are shown.
    pub const ALL: [Kind; 4] = [Kind::Tcp, Kind::Udp, Kind::Echo, Kind::Other];
}

/// One host's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The host's name.
    pub name: String,
    /// Where a limit ended the search, so that there may be more; empty where the answer is complete.
    pub unfinished: Vec<Unfinished>,
    /// No chain on the forward hook: whatever the host routes passes, and isn't listed.
    pub open_forward: bool,
    /// Ports that somebody reaches.
    pub rows: Vec<Row>,
}

/// New packets of which a limit left open what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfinished {
    /// Those to the host, or to others. What is for the host may be translated and pass through, too.
    pub way: Way,
    /// Of which protocol.
    pub kind: Kind,
    /// 2 or 10.
    pub nfproto: u128,
}

impl Exposed {
    /// Whether everything was looked at.
    pub fn complete(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Whether an empty list of a row means that nobody gets through.
    pub fn decided(&self, way: Way, kind: Kind, nfproto: u128) -> bool {
        // What is asked about packets to the host tells of some that pass through as well.
        !self.unfinished.iter().any(|open| {
            open.kind == kind && open.nfproto == nfproto && (open.way == way || open.way == Way::Input)
        })
    }
}

/// Ports that the same packets reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// To the host or through it.
    pub way: Way,
    /// Of which protocol.
    pub kind: Kind,
    /// Ports, or protocol numbers of [`Kind::Other`]; first and last, ascending.
    pub ports: Vec<(u128, u128)>,
    /// Who reaches them by IPv4.
    pub ipv4: Vec<Who>,
    /// Who reaches them by IPv6.
    pub ipv6: Vec<Who>,
}

/// Who gets through, by one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// The sources.
    pub sources: Words,
    /// The interfaces they come in by.
    pub interfaces: Words,
    /// The interfaces they leave by.
    pub leaves_by: Words,
    /// The destination addresses.
    pub destinations: Words,
    /// Where they are translated to; empty where they aren't.
    pub translated: String,
    /// What else decides, such as `limit rate 5/second matches`.
    pub conditions: Vec<String>,
    /// The rule that lets them through.
    pub rule: String,
    /// Its file; empty where there is none.
    pub file: String,
    /// Its line, from 1; 0 where there is none.
    pub line: u32,
}

/// Everything new that a host lets in, and through. The time is bounded by the options.
pub fn exposed(host: &Host, atoms: &AtomTable, sources: &SourceMap, options: &ExposedOptions) -> Exposed {
    let found = ask::ask(host, atoms, options);
    Exposed {
        name: host.name.clone(),
        unfinished: found.unfinished,
        open_forward: found.open_forward,
        rows: rows::rows(host, &found.exposures, atoms, sources),
    }
}

/// A note where only one of iptables and ip6tables was listed: the other family looks as if nothing filtered it.
pub fn one_family(host: &Host) -> Option<Diagnostic> {
    let tables = &host.ruleset.tables;
    let sees =
        |family: Family| tables.iter().any(|table| table.family == family || table.family == Family::Inet);
    let (missing, listing) = match (sees(Family::Ip), sees(Family::Ip6)) {
        (true, false) => ("IPv6", "ip6tables-save"),
        (false, true) => ("IPv4", "iptables-save"),
        _ => return None,
    };
    let note = format!("{}: nothing here filters {missing}, which is shown as open to anyone", host.name);
    Some(Diagnostic::note("one-family", note).help(format!(
        "if the host has other rules for {missing}, give them as well, such as the output of `{listing}`"
    )))
}
