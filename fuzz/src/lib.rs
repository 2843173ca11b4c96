//! Fuzz targets: text in, no panic, no hang, bounded memory, and diagnostics that can be shown.
//!
//! [`recipe`] makes texts out of bytes, [`targets`] runs the parsers on a text and checks what holds for every input,
//! [`memory`] and [`watch`] bound what a run may take. The bolero targets themselves are in `tests/targets.rs`.

pub mod language;
pub mod memory;
pub mod recipe;
pub mod targets;
pub mod watch;
