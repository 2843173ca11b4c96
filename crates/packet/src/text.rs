//! Packets as text, the way people write and read them.
