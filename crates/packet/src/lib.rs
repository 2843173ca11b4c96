//! Header fields, points, boxes and sets of packets.
//!
//! A *point* gives every [`Field`] a value; a [`PacketBox`] is a product of one [`Dim`] for each field. Questions
//! about rulesets are asked of boxes and answered at points (see `firewarden-engine`). Nothing here knows of
//! rules, hosts or files.

mod boxes;
mod dim;
mod field;
mod interval;
mod name;
mod point;
pub mod text;

pub use boxes::PacketBox;
pub use dim::{Cube, Dim};
pub use field::{
    AtomInfo, AtomTable, Field, FieldClass, FieldKind, Purity, ct_state, ct_status, fib_type, tcp_flag,
};
pub use interval::IntervalSet;
pub use name::{InterfaceName, NameTooLong};
pub use point::Point;
