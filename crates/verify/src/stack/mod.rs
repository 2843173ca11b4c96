//! The stack file, `firewarden.yaml`: hosts, groups, services, and the intents about them.
//!
//! [`read_stack`] turns text into a [`StackFile`] and diagnostics: whatever is wrong is told with its place and left
//! out, the rest is kept. [`stack_schema`] is the same format as a JSON Schema, for editors.

mod model;
mod read;
mod schema;

pub use model::{
    Assumption, DeclaredIntent, Exception, Group, Host, Interface, InterfaceAddress, NamedService, StackFile,
};
pub use read::read_stack;
pub use schema::stack_schema;
