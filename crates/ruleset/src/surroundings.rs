//! What a ruleset's meaning needs to know of the host it runs on.

use firewarden_packet::InterfaceName;

/// The host around a ruleset: its addresses, as far as they are known. `None` always means "not known", and whoever
/// asks must then allow for every possibility.
pub trait Surroundings {
    /// The address that `masquerade` (of the output interface) and `redirect` (of the input interface) use.
    /// `nfproto` is 2 or 10.
    fn interface_address(&self, interface: InterfaceName, nfproto: u128) -> Option<u128>;

    /// The type of an address in the host's routing table (see `firewarden_packet::fib_type`), and the largest
    /// interval around it that is known to be of the same type.
    fn address_type(&self, nfproto: u128, address: u128) -> Option<(u128, (u128, u128))>;
}

/// A host of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

impl Surroundings for Unknown {
    fn interface_address(&self, _: InterfaceName, _: u128) -> Option<u128> {
        None
    }

    fn address_type(&self, _: u128, _: u128) -> Option<(u128, (u128, u128))> {
        None
    }
}
