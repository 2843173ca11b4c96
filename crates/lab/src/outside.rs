//! Who is on the other side of the edge: the internet as far as the lab needs it.
//!
//! Addresses of the internet are public ones, so that intents about `internet` speak of them. They exist in the lab's
//! namespaces only; nothing is ever sent to those who own them.

use crate::layout::{Interface, ONLY, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The machine of the users.
pub const CLIENT: &str = "client";
/// The machine of the administrators.
pub const OFFICE: &str = "office";
/// The machine that the application servers call.
pub const PARTNER: &str = "partner";
/// All of them.
pub const MACHINES: [&str; 3] = [CLIENT, OFFICE, PARTNER];

/// How many users have an address of their own.
pub const USERS: u8 = 20;
/// The network of the users.
const USERS_V4: Ipv4Addr = Ipv4Addr::new(91, 20, 30, 0);
/// See [`USERS_V4`].
const USERS_V6: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x810, 0, 0, 0, 0, 0, 0);
/// Administrators; the group `office` of the web stack.
const OFFICE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const OFFICE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfe, 0, 0, 0, 0, 0x10);
/// A partner's interface.
const PARTNER_V4: Ipv4Addr = Ipv4Addr::new(185, 10, 20, 30);
const PARTNER_V6: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x820, 0, 0, 0, 0, 0, 0x30);

/// The address of a user, from 0 to [`USERS`] - 1: spread evenly over a /24, so that a range of it is a share of the users.
pub fn user(number: u8, ipv6: bool) -> IpAddr {
    let host = 10_u8.saturating_add(number.saturating_mul(12));
    match ipv6 {
        false => Ipv4Addr::from_bits(USERS_V4.to_bits() | u32::from(host)).into(),
        true => Ipv6Addr::from_bits(USERS_V6.to_bits() | u128::from(host)).into(),
    }
}

/// The partner's address.
pub fn partner(ipv6: bool) -> IpAddr {
    if ipv6 { PARTNER_V6.into() } else { PARTNER_V4.into() }
}

/// The office's address.
pub fn office(ipv6: bool) -> IpAddr {
    if ipv6 { OFFICE_V6.into() } else { OFFICE_V4.into() }
}

/// The interface of a machine outside; `None` for a name that none has.
pub fn interface(machine: &str) -> Option<Interface> {
    let both =
        |v4: IpAddr, v6: IpAddr| [Prefix { address: v4, length: 24 }, Prefix { address: v6, length: 64 }];
    let addresses = match machine {
        CLIENT => (0..USERS).flat_map(|number| both(user(number, false), user(number, true))).collect(),
        OFFICE => both(office(false), office(true)).to_vec(),
        PARTNER => both(partner(false), partner(true)).to_vec(),
        _ => return None,
    };
    Some(Interface { name: ONLY.to_owned(), addresses })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn users_have_addresses_of_their_own() {
        let all: BTreeSet<IpAddr> =
            interface(CLIENT).unwrap().addresses.iter().map(|prefix| prefix.address).collect();
        assert_eq!(all.len(), usize::from(USERS) * 2);
        assert_eq!(user(0, false).to_string(), "91.20.30.10");
        assert_eq!(user(19, false).to_string(), "91.20.30.238");
        assert_eq!(user(19, true).to_string(), "2a02:810::ee");
        assert!(interface("edge").is_none());
    }
}
