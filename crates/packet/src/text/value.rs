//! Values of choices in words: what an unknown interface, address or packet type may turn out to be.

use super::{format, names, parse};
use crate::{AtomInfo, InterfaceName};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the values of a choice are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Interface,
    LinkAddress,
    PacketType,
    Ipv4,
    Ipv6,
    /// An address whose family isn't known.
    Address,
    Number,
}

impl Meaning {
    /// By the construct's kind, as those name it who hand choices out, and by how far its values reach.
    fn of(info: &AtomInfo) -> Meaning {
        let most = info.domain.1;
        let address = |known: bool| match most {
            ..=0xFFFF if !known => Meaning::Number,
            ..=0xFFFF_FFFF => Meaning::Ipv4,
            u128::MAX if !info.text.ends_with("(IPv6)") && known => Meaning::Address,
            _ => Meaning::Ipv6,
        };
        match &*info.kind {
            "interface" if most == u128::MAX => Meaning::Interface,
            "link address" => Meaning::LinkAddress,
            "link" if most == 3 => Meaning::PacketType,
            "masquerade address" | "redirect address" | "nat address" => address(true),
            "nat range" => address(false),
            _ => Meaning::Number,
        }
    }
}

/// A value of a choice or condition as [`super::parse_with_atoms`] reads it back: `eth0`, `192.0.2.1`, `broadcast`,
/// `true`; a number where it has no better name.
pub fn value(info: &AtomInfo, value: u128) -> String {
    let short = u32::try_from(value).ok().map(Ipv4Addr::from);
    match (Meaning::of(info), short) {
        _ if info.domain == (0, 1) && value <= 1 => (value == 1).to_string(),
        (Meaning::Interface, _) => format::interface(value),
        (Meaning::LinkAddress, _) => format::mac(value),
        (Meaning::PacketType, _) => format::named(value, &names::PACKET_TYPES),
        (Meaning::Ipv4 | Meaning::Address, Some(address)) => address.to_string(),
        (Meaning::Ipv6 | Meaning::Address, _) => Ipv6Addr::from(value).to_string(),
        (Meaning::Ipv4 | Meaning::Number, _) => value.to_string(),
    }
}

/// The value that a word stands for; `None` where it is no value of the choice.
pub(super) fn read(info: &AtomInfo, word: &str) -> Option<u128> {
    let number = || parse::number(word, u128::MAX);
    let value = match (info.domain, Meaning::of(info)) {
        ((0, 1), _) if word == "true" => Some(1),
        ((0, 1), _) if word == "false" => Some(0),
        (_, Meaning::Interface) if !word.starts_with("0x") => {
            InterfaceName::new(word).ok().map(|name| name.0)
        }
        (_, Meaning::LinkAddress) if word.contains(':') => parse::mac_number(word),
        (_, Meaning::PacketType) => {
            let known = names::PACKET_TYPES.iter().position(|name| *name == word);
            known.map(|at| at as u128).or_else(number)
        }
        (_, Meaning::Ipv4 | Meaning::Ipv6 | Meaning::Address) => {
            let short = word.parse().map(|address: Ipv4Addr| u128::from(u32::from(address)));
            short.or_else(|_| word.parse().map(|address: Ipv6Addr| u128::from(address))).ok().or_else(number)
        }
        _ => number(),
    };
    value.filter(|value| (info.domain.0..=info.domain.1).contains(value))
}

#[cfg(test)]
mod tests {
    use super::{read, value};
    use crate::{AtomTable, InterfaceName, Purity};

    #[test]
    fn values_have_names_that_read_back() {
        let mut atoms = AtomTable::default();
        let mut say = |kind: &str, text: &str, domain: (u128, u128), given: u128| {
            let field = atoms.choice("host", kind, text, Purity::Pure, domain);
            let info = atoms.get(field).unwrap();
            let word = value(info, given);
            assert_eq!(read(info, &word), Some(given), "{word}");
            word
        };
        let eth0 = InterfaceName::new("eth0").unwrap().0;
        assert_eq!(say("interface", "iifname", (1, u128::MAX), eth0), "eth0");
        assert_eq!(say("interface", "oifname", (1, u128::MAX), eth0 + 1), format!("{:#x}", eth0 + 1));
        assert_eq!(say("interface", "meta iiftype", (0, 0xFFFF), 772), "772");
        let mac = 0x0200_0000_0001;
        assert_eq!(say("link address", "ether saddr", (0, (1 << 48) - 1), mac), "02:00:00:00:00:01");
        assert_eq!(say("link", "meta pkttype", (0, 3), 1), "broadcast");
        let short = u128::from(u32::MAX);
        assert_eq!(
            say("masquerade address", "masquerade address (IPv4)", (0, short), 0xC000_0201),
            "192.0.2.1"
        );
        assert_eq!(say("masquerade address", "masquerade address (IPv6)", (0, u128::MAX), 1), "::1");
        assert_eq!(say("masquerade address", "masquerade address", (0, u128::MAX), 1), "0.0.0.1");
        assert_eq!(say("nat port", "random port", (1, 0xFFFF), 4000), "4000");
        assert_eq!(say("nat range", "one of 80-90", (80, 90), 81), "81");
        assert_eq!(say("limit", "limit rate 5/second", (0, 1), 1), "true");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let mut atoms = AtomTable::default();
        let field = atoms.choice("", "nat port", "port", Purity::Pure, (1, 0xFFFF));
        let info = atoms.get(field).unwrap();
        assert_eq!((read(info, "0"), read(info, "eth0"), read(info, "70000")), (None, None, None));
        let field = atoms.choice("", "interface", "iifname", Purity::Pure, (1, u128::MAX));
        let info = atoms.get(field).unwrap();
        assert_eq!((read(info, "a-name-that-is-too-long"), read(info, "0x0")), (None, None));
    }
}
