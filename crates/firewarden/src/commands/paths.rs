//! Paths from one place to another.

use std::path::{Component, Path, PathBuf};

/// The path of a file as seen from a folder: with `..` where it isn't inside. Links are resolved, so that the text doesn't
/// depend on where the program is run.
pub fn relative(from: &Path, to: &Path) -> String {
    let (from, to) = (whole(from), whole(to));
    let common = from.components().zip(to.components()).take_while(|(left, right)| left == right).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(common)).collect();
    if path == Path::new("") { ".".to_owned() } else { path.display().to_string() }
}

/// The path from the root, with links resolved as far as there is something.
pub fn whole(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => whole(parent).join(name),
        (None, Some(name)) => whole(Path::new(".")).join(name),
        _ => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn up_and_down() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at("c")).unwrap();
        assert_eq!(relative(&at("a"), &at("a/b")), "b");
        assert_eq!(relative(&at("a/b"), &at("c")), "../../c");
        assert_eq!(relative(&at("a"), &at("a")), ".");
        assert_eq!(relative(&at("a/new"), &at("c/file")), "../../c/file");
    }
}
