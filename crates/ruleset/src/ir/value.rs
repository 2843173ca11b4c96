//! What rules write into packets: values, map data, address translation.

use super::{MapId, Verdict};
use firewarden_packet::Field;
use smallvec::SmallVec;

/// A value that a statement writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Always the same.
    Const(u128),
    /// The exclusive or of `field & mask` for each term, and of `xor`: `meta mark set mark and 0xff or 0x100`,
    /// `CONNMARK --restore-mark`, `NETMAP` (a host part kept, a prefix put in front).
    Mix {
        /// Fields and the bits that are taken from them.
        terms: Box<[(Field, u128)]>,
        /// Bits that are flipped (or set, where no term reaches); elsewhere, so that a value is as small as it is in most rules.
        xor: Box<u128>,
    },
    /// Not determined by the packet: any value of the domain of this dynamic field, for which the atom table holds the
    /// bounds (a port range, an unknown value).
    Choice(Field),
    /// Looked up; where there is no entry, the rule ends.
    Map {
        /// The fields that make the key.
        key: SmallVec<[Field; 2]>,
        /// A map whose data are values.
        map: MapId,
        /// Which component of a concatenated datum (address . port), from 0.
        component: u8,
    },
}

/// What a map's key maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapData {
    /// In a verdict map.
    Verdict(Verdict),
    /// One value for each component: a mark, an address, or address . port. Never a `Value::Map`.
    Values(SmallVec<[Value; 1]>),
}

/// Which end of the packet is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatDirection {
    /// In postrouting and input.
    Source,
    /// In prerouting and output.
    Destination,
}

/// The address that a packet gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatAddress {
    /// It keeps its own (`dnat to :8080`).
    Keep,
    /// This one.
    To(Value),
    /// `masquerade`: the address of the interface it leaves by.
    OfOutputInterface,
    /// `redirect`: this host, by the address of the interface it came in by; loopback on output.
    ThisHost,
}

/// An address translation. It applies to the first packet of a connection; the connection tracking does the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which end.
    pub direction: NatDirection,
    /// The new address.
    pub address: NatAddress,
    /// The new port; `None` keeps it (the kernel changes it only to avoid a clash).
    pub port: Option<Value>,
    /// The family it applies to, as in [`Field::NFPROTO`] (2 or 10); the rule ends for packets of the other one.
    pub nfproto: Option<u128>,
    /// The dynamic field that stands for the address where the host's own addresses aren't known
    /// (`OfOutputInterface`, `ThisHost`).
    pub unknown_address: Option<Field>,
}
