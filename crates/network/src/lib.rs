//! Hosts, hook traversal, NAT, replies and hops.
