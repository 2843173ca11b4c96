//! The `firewarden` command.
fn main() {}
