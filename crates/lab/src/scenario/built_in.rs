//! The drills of `examples/drills`, which the program brings along.

/// A drill file that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// The scenario's name.
    pub name: &'static str,
    /// Its path in the repository.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! drill {
    ($name:literal) => {
        BuiltIn {
            name: $name,
            path: concat!("examples/drills/", $name, ".yaml"),
            text: include_str!(concat!("../../../../examples/drills/", $name, ".yaml")),
        }
    };
}

/// All of them, in the order in which they are listed.
pub const BUILT_IN: [BuiltIn; 13] = [
    drill!("000"),
    drill!("001"),
    drill!("002"),
    drill!("003"),
    drill!("004"),
    drill!("ipv6-only"),
    drill!("conntrack-hides-it"),
    drill!("two-managers"),
    drill!("reload-at-boot"),
    drill!("wrong-interface"),
    drill!("rule-order-after-insert"),
    drill!("docker-published-port"),
    drill!("innocent-firewall"),
];

/// The one of this name.
pub fn by_name(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|known| known.name == name)
}
