//! iptables-save, ip6tables-save, and pasted `iptables` commands.
//!
//! [`parse`] reads what iptables-save writes and what iptables-restore(8) takes, several outputs one after another
//! included, and lines such as `iptables -A INPUT …`. It carries the commands out, so that chains hold the rules that
//! are there at the end. A rule that isn't understood stays, marked incomplete, with a diagnostic.
//!
//! What each match and target takes is in tables (`matches`, `targets`), after iptables-extensions(8).

pub(crate) mod args;
mod lines;
mod matches;
pub(crate) mod names;
pub(crate) mod rule;
pub(crate) mod spec;
mod state;
mod targets;
mod tree;
pub(crate) mod words;

pub(crate) use lines::more;
pub use lines::{parse, parse_as};
pub use spec::{Arg, Kind, Module, OptSpec, Versions};
pub use tree::{Backend, Chain, OptionUse, Policy, Rule, Save, Table};
pub use words::Text;

/// The pseudo-extension that a rule's own options (`-s`, `-p`, `-j`) belong to.
pub fn rule_module() -> &'static Module {
    &targets::RULE
}
