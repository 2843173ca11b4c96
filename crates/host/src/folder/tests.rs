use super::*;
use std::os::unix::fs::symlink;
use std::sync::Barrier;

#[test]
fn what_is_written_is_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    folder.write("change.yaml", "a: 1\n").unwrap();
    folder.write("change.yaml", "a: 2\n").unwrap();
    folder.ensure("reviews").unwrap().write("x", "y").unwrap();
    folder.ensure("reviews").unwrap();
    assert_eq!(folder.text("change.yaml", 100).unwrap(), "a: 2\n");
    assert_eq!(folder.names().unwrap(), ["change.yaml", "reviews"]);
    assert_eq!(folder.make("reviews").unwrap_err(), FolderError::Present(place.path().join("reviews")));
    assert_eq!(folder.text("none", 100).unwrap_err(), FolderError::Missing(place.path().join("none")));
    assert!(matches!(folder.text("change.yaml", 4), Err(FolderError::TooLarge { .. })));
    std::fs::write(place.path().join("latin1"), b"\xe9").unwrap();
    assert!(matches!(folder.text("latin1", 4), Err(FolderError::NotText(_))));
    // No draft stays behind.
    assert!(
        std::fs::read_dir(place.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with('.'))
    );
}

#[test]
fn links_and_pipes_lead_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "root:x\n").unwrap();
    symlink(outside.path().join("secret"), place.path().join("change.yaml")).unwrap();
    symlink(outside.path(), place.path().join("reviews")).unwrap();
    nix::unistd::mkfifo(&place.path().join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
    let folder = Folder::open(place.path()).unwrap();
    for name in ["change.yaml", "pipe", "../secret", "", ".", ".."] {
        assert!(matches!(folder.text(name, 100), Err(FolderError::Special(_))), "{name}");
    }
    assert!(matches!(folder.folder("reviews"), Err(FolderError::Special(_))));
    assert!(matches!(folder.ensure("reviews"), Err(FolderError::Special(_))));
    // A link is replaced, and not written through.
    folder.write("change.yaml", "new").unwrap();
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "root:x\n");
    assert_eq!(folder.text("change.yaml", 100).unwrap(), "new");
    let link = place.path().join("link");
    symlink(outside.path(), &link).unwrap();
    assert!(matches!(Folder::open(&link), Err(FolderError::Special(_))));
}

#[test]
fn one_holds_it_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(place.path()).unwrap();
    folder.write("count", "0").unwrap();
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own = Folder::open(place.path()).unwrap();
                start.wait();
                for _ in 0..5 {
                    let _held = own.lock().unwrap();
                    let count: u32 = own.text("count", 100).unwrap().parse().unwrap();
                    own.write("count", &(count + 1).to_string()).unwrap();
                }
            });
        }
    });
    assert_eq!(folder.text("count", 100).unwrap(), "20");
}
