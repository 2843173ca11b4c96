//! Hosts, hook traversal, NAT, replies and hops.
//!
//! [`Network::send`] follows the first packet of a connection from host to host, [`Network::answer`] and
//! [`Network::continue_original`] the packets that come after it. Each cuts the flow's region to the packets that fare
//! alike, so that peeling a question with them is exact.

mod answer;
mod host;
mod journey;
mod path;
mod routing;
mod sockets;
mod tables;
mod travel;
mod view;

pub use host::{Address, Host, HostId, Interface, ReversePath};
pub use journey::{Hop, Journey, JourneyStep, Network, Outcome};
pub use path::{Path, Via, hop_limit};
pub use routing::{
    NextHop, Route, RouteAction, Routing, RoutingRule, RuleAction, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN,
};
pub use sockets::{Connection, ConnectionPlace, ListenAddress, Listener};
pub use view::HostView;
