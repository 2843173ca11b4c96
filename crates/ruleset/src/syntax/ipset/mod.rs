//! `ipset save`: sets of addresses, ports, MAC addresses, marks, interfaces, and lists of sets (ipset(8)).
//!
//! [`parse`] reads what `ipset save` writes and what `ipset restore` takes, also as `ipset …` commands, and carries
//! the commands out. An entry that isn't understood is told, and marks its set incomplete.

mod entry;
mod lines;

pub use entry::{Entry, Part};
pub use lines::parse;

use super::iptables::Text;
use firewarden_diagnostic::{FileId, Span};
use smallvec::SmallVec;

/// The sets of one text.
#[derive(Debug)]
pub struct Sets<'t> {
    /// The text's id.
    pub file: FileId,
    /// The text.
    pub text: &'t str,
    /// In the order in which they were created.
    pub sets: Vec<Set<'t>>,
}

/// A set.
#[derive(Debug)]
pub struct Set<'t> {
    /// Its name.
    pub name: &'t str,
    /// Where it is created.
    pub at: Text,
    /// What its entries are made of.
    pub components: SmallVec<[Component; 4]>,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// It was created with a timeout: entries vanish by themselves.
    pub timeout: bool,
    /// A mask on marks other than all bits.
    pub mark_mask: Option<u32>,
    /// A mask that addresses are compared under (`netmask`); all bits where there is none.
    pub address_mask: u128,
    /// First and last value of a bitmap.
    pub range: Option<(u128, u128)>,
    /// Its entries, in the order in which they were added.
    pub entries: Vec<Entry>,
    /// An entry or an option wasn't understood (a diagnostic says which).
    pub incomplete: bool,
}

/// A component of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// An address.
    Address,
    /// A network.
    Network,
    /// A protocol with a port (or ICMP type and code).
    Port,
    /// A port of any protocol that has ports (`bitmap:port`).
    BarePort,
    /// A MAC address.
    Mac,
    /// A mark.
    Mark,
    /// An interface.
    Interface,
    /// A set.
    Set,
}

impl<'t> Sets<'t> {
    /// A place as a span.
    pub fn span(&self, at: Text) -> Span {
        Span { file: self.file, start: at.start, end: at.end }
    }

    /// The set of that name. O(sets).
    pub fn get(&self, name: &str) -> Option<&Set<'t>> {
        self.sets.iter().find(|set| set.name == name)
    }
}

/// The components of a type; `None` for a type that ipset doesn't have. Names of old versions of ipset count.
fn components(name: &str) -> Option<SmallVec<[Component; 4]>> {
    use Component::{Address, BarePort, Interface, Mac, Mark, Network, Port};
    let known: &[Component] = match name {
        "bitmap:ip" | "ipmap" | "hash:ip" | "iphash" | "iptree" | "iptreemap" => &[Address],
        "bitmap:ip,mac" | "macipmap" | "hash:ip,mac" => &[Address, Mac],
        "bitmap:port" | "portmap" => &[BarePort],
        "hash:net" | "nethash" => &[Network],
        "hash:mac" | "machash" => &[Mac],
        "hash:ip,port" | "ipporthash" => &[Address, Port],
        "hash:ip,port,ip" | "ipportiphash" => &[Address, Port, Address],
        "hash:ip,port,net" | "ipportnethash" => &[Address, Port, Network],
        "hash:ip,port,ip,port" | "ipportipporthash" => &[Address, Port, Address, Port],
        "hash:ip,port,net,port" | "ipportnetporthash" => &[Address, Port, Network, Port],
        "hash:net,port" | "netporthash" => &[Network, Port],
        "hash:net,port,net" | "netportnethash" => &[Network, Port, Network],
        "hash:net,port,net,port" | "netportnetporthash" => &[Network, Port, Network, Port],
        "hash:net,net" | "netnethash" => &[Network, Network],
        "hash:net,iface" | "netifacehash" => &[Network, Interface],
        "hash:ip,mark" | "ipmarkhash" => &[Address, Mark],
        "list:set" | "setlist" => &[Component::Set],
        _ => return None,
    };
    Some(SmallVec::from_slice(known))
}
