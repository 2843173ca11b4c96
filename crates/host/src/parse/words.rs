//! Addresses, prefixes, ports and interface names as the programs write them.

use firewarden_network::Address;
use firewarden_packet::InterfaceName;
use serde_json::Value;
use std::net::IpAddr;

/// The family and the number of an address.
pub(super) fn number(address: IpAddr) -> (u128, u128) {
    match address {
        IpAddr::V4(v4) => (2, u128::from(u32::from(v4))),
        IpAddr::V6(v6) => (10, u128::from(v6)),
    }
}

/// An address, with or without a prefix length.
pub(super) fn prefix(text: &str) -> Option<Address> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let (nfproto, value) = number(address.parse().ok()?);
    let width = if nfproto == 2 { 32 } else { 128 };
    let prefix = length.unwrap_or(width);
    (prefix <= width).then_some(Address { nfproto, value, prefix })
}

/// The destination of a route: `default` is everything of the family.
pub(super) fn destination(text: &str, nfproto: u128) -> Option<Address> {
    if text == "default" || text == "all" {
        return Some(Address { nfproto, value: 0, prefix: 0 });
    }
    prefix(text)
}

/// A text of a JSON map.
pub(super) fn text<'v>(entry: &'v Value, key: &str) -> Option<&'v str> {
    entry.get(key).and_then(Value::as_str)
}

/// An interface name of a JSON map: `Some(None)` where there is none, `None` where it can't be one.
pub(super) fn interface(entry: &Value, key: &str) -> Option<Option<InterfaceName>> {
    match entry.get(key) {
        None => Some(None),
        Some(value) => Some(Some(InterfaceName::new(value.as_str()?).ok()?)),
    }
}

/// A number of a JSON map, or of a text in it, in decimal or with `0x`.
pub(super) fn whole(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

/// An end of a connection, as `ss` writes it: `192.0.2.1:22`, `[2001:db8::1]:22`, `127.0.0.53%lo:53`, `*:80`.
pub(super) struct Socket<'t> {
    /// `None` for `*`, which is every address of both families.
    pub address: Option<(u128, u128)>,
    pub interface: Option<&'t str>,
    /// `None` for `*`.
    pub port: Option<u16>,
}

pub(super) fn socket(text: &str) -> Option<Socket<'_>> {
    let (host, port) = text.rsplit_once(':')?;
    let port = if port == "*" { None } else { Some(port.parse().ok()?) };
    let (host, after) = match host.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => (host, ""),
    };
    let (host, interface) = match host.split_once('%') {
        Some((host, interface)) => (host, Some(interface)),
        None => (host, after.strip_prefix('%')),
    };
    if host == "*" {
        return Some(Socket { address: None, interface, port });
    }
    // An IPv6 socket that speaks IPv4 has its peers in this form.
    let address = match host.parse().ok()? {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    Some(Socket { address: Some(number(address)), interface, port })
}
