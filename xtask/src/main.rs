//! Commands for the people who build Firewarden.
fn main() {}
