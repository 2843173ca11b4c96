//! Files that are still there after the power was cut.

use firewarden_change::plan::hex;
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// Writes a new file that only its owner can read, durably but for its name ([`sync_folder`]).
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a folder that only its owner can enter.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Removes a folder with all it holds; one that isn't there is removed already.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a file; one that isn't there is removed already.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Length and digest of a text, in hexadecimal, as a comment.
const HEADER: usize = 2 + 16 + 1 + 64 + 1;

/// The content of a file that has room for a text of so many bytes, which is known only later.
pub fn reserved(room: usize) -> Vec<u8> {
    vec![b'\n'; HEADER + room]
}

/// Saves a text durably, in place, where room was reserved for it.
pub fn fill_reserved(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() < (HEADER + text.len()) as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than its file"));
    }
    let digest = hex(&Sha256::digest(text.as_bytes()));
    file.write_all_at(format!("# {:016x} {digest}\n{text}", text.len()).as_bytes(), 0)?;
    file.sync_data()
}

/// The text that was saved by [`fill_reserved`], where it was saved whole.
pub fn read_reserved(path: &Path) -> Option<String> {
    let content = fs::read_to_string(path).ok()?;
    let (header, rest) = content.split_once('\n')?;
    let (length, digest) = header.strip_prefix("# ")?.split_once(' ')?;
    let text = rest.get(..usize::from_str_radix(length, 16).ok()?)?;
    (hex(&Sha256::digest(text.as_bytes())) == digest).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, reserved(20)).unwrap();
        assert_eq!(read_reserved(&path), None);
        fill_reserved(&path, "some text\n").unwrap();
        assert_eq!(read_reserved(&path).as_deref(), Some("some text\n"));
        assert_eq!(fs::metadata(&path).unwrap().len() as usize, HEADER + 20);
        let whole = fs::read(&path).unwrap();
        for cut in 0..HEADER + 10 {
            let mut torn = whole.clone();
            torn[cut..].fill(b'\n');
            fs::write(&path, torn).unwrap();
            assert!(read_reserved(&path).is_none_or(|text| text == "some text\n"), "{cut}");
        }
        assert!(fill_reserved(&path, &"x".repeat(21)).is_err());
    }
}
