//! Interface names as numbers, so that a name and a wildcard are an interval like any other.

use std::fmt;

/// An interface name as the kernel compares it: 16 bytes, padded with zeros, as a big-endian number.
///
/// The order of the numbers is the order of the names, so `eth*` is the interval from `eth` to `eth\xff…`
/// (nft(8), "iifname"; IFNAMSIZ is 16 with the final zero).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(pub u128);

/// The name has more than 15 bytes, which no interface can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameTooLong;

impl InterfaceName {
    /// No interface (a packet made on this host has no input interface).
    pub const NONE: InterfaceName = InterfaceName(0);

    /// The number of a name.
    pub fn new(name: &str) -> Result<InterfaceName, NameTooLong> {
        if name.len() > 15 {
            return Err(NameTooLong);
        }
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Ok(InterfaceName(u128::from_be_bytes(bytes)))
    }

    /// The interval of all names that begin with `prefix`: what `prefix*` (nft) or `prefix+` (iptables) matches.
    pub fn prefix(prefix: &str) -> Result<(u128, u128), NameTooLong> {
        let InterfaceName(low) = InterfaceName::new(prefix)?;
        let free_bits = 128 - 8 * prefix.len() as u32;
        let mask = if free_bits == 128 { u128::MAX } else { (1 << free_bits) - 1 };
        Ok((low, low | mask))
    }
}

impl fmt::Display for InterfaceName {
    /// The name; bytes that can't be in a name end it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.to_be_bytes() {
            if !byte.is_ascii_graphic() {
                break;
            }
            write!(f, "{}", byte as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}
