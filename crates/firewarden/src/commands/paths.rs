//! Paths from one place to another.

use std::path::{Component, Path, PathBuf};

/// The path of a file as seen from a folder: with `..` where it isn't inside. Links are resolved, so that the text doesn't
/// depend on where the program is run; a path that doesn't exist stays as it is.
pub fn relative(from: &Path, to: &Path) -> String {
    let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize()) else {
        return to.display().to_string();
    };
    let common = from.components().zip(to.components()).take_while(|(left, right)| left == right).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(common)).collect();
    if path == Path::new("") { ".".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::relative;
    use std::path::Path;

    #[test]
    fn up_and_down() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at("c")).unwrap();
        assert_eq!(relative(&at("a"), &at("a/b")), "b");
        assert_eq!(relative(&at("a/b"), &at("c")), "../../c");
        assert_eq!(relative(&at("a"), &at("a")), ".");
        assert_eq!(relative(&at("a"), Path::new("nowhere/file")), "nowhere/file");
    }
}
