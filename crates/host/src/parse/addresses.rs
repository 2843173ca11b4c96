//! `ip -j address`.

use super::words::{prefix, text};
use super::{NotJson, Read, each};
use firewarden_network::Address;
use firewarden_packet::InterfaceName;
use serde_json::Value;

/// An interface as `ip -j address` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: InterfaceName,
    /// It is the loopback interface.
    pub loopback: bool,
    /// It is switched on.
    pub up: bool,
    /// Its addresses, with the prefixes that are on the link.
    pub addresses: Vec<Address>,
}

/// Interfaces and their addresses, from `ip -j address`.
///
/// # Errors
/// [`NotJson`] where the text is something else.
pub fn addresses(listing: &str) -> Result<Read<Link>, NotJson> {
    each(listing, "an interface", |entry| {
        let flags = entry.get("flags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let flag = |name: &str| flags.iter().any(|flag| flag == name);
        let mut addresses = Vec::new();
        for own in entry.get("addr_info").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
            // A point-to-point address has its peer's prefix on the link (ip-address(8)).
            let length = own.get("prefixlen").and_then(Value::as_u64)?;
            let local = text(own, "local")?;
            addresses.push(match own.get("address") {
                Some(_) => prefix(local)?,
                None => prefix(&format!("{local}/{length}"))?,
            });
        }
        // `ifname` is cut off at `@` by ip itself.
        Some(Link {
            name: InterfaceName::new(text(entry, "ifname")?).ok()?,
            loopback: flag("LOOPBACK"),
            up: flag("UP"),
            addresses,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_with_their_addresses() {
        let read = addresses(
            r#"[{"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8}]},
                {"link":"va","ifname":"vb","flags":["BROADCAST"],"addr_info":[
                  {"family":"inet","local":"10.9.9.1","address":"10.9.9.2","prefixlen":32},
                  {"family":"inet6","local":"2001:db8::5","prefixlen":64}]},
                {"ifname":"a name that is too long","addr_info":[]}]"#,
        )
        .unwrap();
        assert_eq!(read.unread.len(), 1);
        let [lo, vb] = read.values.as_slice() else { panic!() };
        assert!(lo.loopback && lo.up && !vb.loopback && !vb.up);
        assert_eq!(vb.addresses[0], Address { nfproto: 2, value: 0x0A09_0901, prefix: 32 });
        assert_eq!(vb.addresses[1], Address { nfproto: 10, value: (0x2001_0DB8 << 96) | 5, prefix: 64 });
    }
}
