//! The web stack that the program brings along: `examples/webstack`, for labs of which nobody named another folder.

use std::fs;
use std::io;
use std::path::Path;

/// Where it is in a lab.
pub const BUILT_IN: &str = "/run/firewarden/webstack";

/// The files of the folder, by name.
const FILES: [(&str, &str); 6] = [
    ("firewarden.yaml", include_str!("../../../examples/webstack/firewarden.yaml")),
    ("edge.nft", include_str!("../../../examples/webstack/edge.nft")),
    ("lb.nft", include_str!("../../../examples/webstack/lb.nft")),
    ("app.rules", include_str!("../../../examples/webstack/app.rules")),
    ("app6.rules", include_str!("../../../examples/webstack/app6.rules")),
    ("db.nft", include_str!("../../../examples/webstack/db.nft")),
];

/// Writes it into a folder, which is made where it isn't there.
///
/// # Errors
/// The system's.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    FILES.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}
