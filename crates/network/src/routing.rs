//! Routing tables and the rules that choose among them, as `ip route` and `ip rule` list them (ip-route(8), ip-rule(8)).

use crate::host::Address;
use firewarden_packet::{InterfaceName, IntervalSet};

/// The number of the table that holds a host's own addresses.
pub const TABLE_LOCAL: u32 = 255;
/// The number of the table that `ip route` shows by itself.
pub const TABLE_MAIN: u32 = 254;
/// The number of the table that is asked last.
pub const TABLE_DEFAULT: u32 = 253;

/// How a host finds the way of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// In the order in which they are asked: by priority, equal ones as listed.
    pub rules: Vec<RoutingRule>,
    /// All tables together.
    pub routes: Vec<Route>,
}

/// One destination of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations; of the prefix's length, the longest that holds the destination wins.
    pub destination: Address,
    /// The table it is in.
    pub table: u32,
    /// Of several for the same prefix, the one with the smallest metric is used.
    pub metric: u32,
    /// Where the packets go.
    pub action: RouteAction,
    /// The listing's words where the route has a condition or an effect that isn't modelled (a type of service, an
    /// encapsulation): whether it is used is then an unknown of the packet.
    pub opaque: Option<String>,
}

/// What becomes of packets that a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// They leave by one of these, of which the kernel chooses one for each connection. Never empty.
    Forward(Vec<NextHop>),
    /// They are for this host.
    Local,
    /// For everybody on the link, or for a group: never passed on, taken in where somebody listens.
    Group,
    /// Refused: `blackhole`, `unreachable`, `prohibit`.
    Refuse,
    /// The table is left, and the next rule is asked.
    Throw,
}

/// One way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// The family and address of the next router; `None` where the destination is on the link.
    pub gateway: Option<(u128, u128)>,
    /// The interface it leaves by; `None` where the listing doesn't name one.
    pub interface: Option<InterfaceName>,
}

/// A rule of `ip rule`: which packets it is for, and the table it sends them to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingRule {
    /// The family: 2 for IPv4, 10 for IPv6.
    pub nfproto: u128,
    /// Smaller ones are asked first.
    pub priority: u32,
    /// It is for all packets but those that the conditions match.
    pub inverted: bool,
    /// Sources, both ends included; `None` for all.
    pub from: Option<(u128, u128)>,
    /// Destinations, both ends included; `None` for all.
    pub to: Option<(u128, u128)>,
    /// The packet's mark, looked at through the mask.
    pub mark: Option<(u32, u32)>,
    /// The interface that the packet came in by; `lo` stands for packets made on this host.
    pub input: Option<InterfaceName>,
    /// What it does.
    pub action: RuleAction,
    /// Routes with a prefix of at most this length don't count (`suppress_prefixlength`).
    pub suppressed: Option<u32>,
    /// The listing's words where the rule has a condition that isn't modelled: whether it matches is then an unknown of
    /// the packet.
    pub opaque: Option<String>,
}

/// What a rule of `ip rule` does with packets that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Looks into a table; where that has no route, the next rule is asked.
    Table(u32),
    /// Goes on with the rules from this priority.
    Goto(u32),
    /// Refuses them.
    Refuse,
    /// Nothing.
    Nothing,
}

impl Routing {
    /// The three rules of a kernel that nobody has given others.
    pub fn default_rules(nfproto: u128) -> Vec<RoutingRule> {
        [(0, TABLE_LOCAL), (32_766, TABLE_MAIN), (32_767, TABLE_DEFAULT)]
            .into_iter()
            .map(|(priority, table)| RoutingRule {
                nfproto,
                priority,
                inverted: false,
                from: None,
                to: None,
                mark: None,
                input: None,
                action: RuleAction::Table(table),
                suppressed: None,
                opaque: None,
            })
            .collect()
    }

    /// Addresses of a family that the table `local` calls the host's own, beside those of its interfaces. Loopback
    /// addresses are left out: every host has them.
    pub fn local(&self, nfproto: u128) -> IntervalSet {
        let loopback = if nfproto == 2 { (0x7F00_0000, 0x7FFF_FFFF) } else { (1, 1) };
        let own = self.routes.iter().filter(|route| {
            route.destination.nfproto == nfproto
                && route.table == TABLE_LOCAL
                && route.action == RouteAction::Local
        });
        let all: IntervalSet = own.map(|route| route.destination.subnet()).collect();
        all.subtract(&IntervalSet::range(loopback.0, loopback.1))
    }
}
