//! Disks that are full or can't be written.

use super::place::{NEW, OLD, Place, in_place_with};
use super::{SOON, applied, asker, outcome};
use firewarden_change::plan::Persist;
use firewarden_change::trial::{Outcome, Reason};
use firewarden_host::guard::{self, Change, ClientError, Wish};
use firewarden_host::state::State;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Puts a file system of so many bytes in memory over a folder.
fn memory(folder: &Path, options: &str, flags: MsFlags) {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("none"), folder, Some("tmpfs"), flags, Some(options)).unwrap();
}

/// Fills a file system until not a byte fits any more.
fn fill(folder: &Path) {
    for size in [1 << 20, 4096, 1] {
        let mut file = fs::File::create(folder.join(format!("fill-{size}"))).unwrap();
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let error = fs::write(folder.join("one more"), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ENOSPC as i32));
}

fn start(place: &Place, plan: &firewarden_change::plan::Plan) -> Result<guard::Status, ClientError> {
    guard::start(&place.home, Change::Plan { plan, before: None }, "t", &place.launcher)
}

/// The place with its state folder in memory: 4 MiB, which is more than a trial needs.
fn on_small_disk(work: impl FnOnce(&Place) + Send + 'static) {
    in_place_with(|folder| memory(folder, "size=4m,mode=0700", MsFlags::empty()), work);
}

#[test]
fn without_room_nothing_begins() {
    on_small_disk(|place| {
        let plan = place.plan();
        fill(place.home.path());
        let error = start(place, &plan).unwrap_err();
        assert!(
            matches!(&error, ClientError::Write { error, .. } if error.kind() == std::io::ErrorKind::StorageFull),
            "{error}"
        );
        assert_eq!(place.rules(), OLD);
        assert!(guard::status(&place.home).unwrap().is_none());
        let left: Vec<_> =
            fs::read_dir(place.home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("trial")), "{left:?}");
    });
}

#[test]
fn a_disk_that_fills_up_meanwhile_keeps_nobody_from_going_back() {
    on_small_disk(|place| {
        let plan = place.plan();
        start(place, &plan).unwrap();
        applied(place);
        fill(place.home.path());
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!((reason, place.rules().as_str()), (Reason::Deadline, OLD));
    });
}

#[test]
fn a_disk_that_fills_up_meanwhile_keeps_nobody_from_confirming() {
    on_small_disk(|place| {
        let mut plan = place.plan();
        plan.window_seconds = 20;
        let before = State::read().unwrap();
        let change = Change::Plan { plan: &plan, before: Some(&before) };
        guard::start(&place.home, change, "t", &place.launcher).unwrap();
        applied(place);
        fill(place.home.path());
        // What the kernel doesn't hold isn't confirmed; the second request needs no room either.
        let wrong = Wish::Confirm { ruleset: Some("0".repeat(64)) };
        guard::ask(&place.home, &wrong, asker()).unwrap();
        guard::wait_for(&place.home, SOON, |record| record.note.is_some()).unwrap();
        guard::ask(&place.home, &Wish::Confirm { ruleset: None }, asker()).unwrap();
        let Outcome::Confirmed { trouble, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!((trouble, place.rules().as_str()), (None, NEW));
        assert_eq!(guard::confirmed(&place.home).unwrap().unwrap().1.digest(), plan.result);
    });
}

#[test]
fn a_state_folder_that_cannot_be_written_begins_nothing() {
    in_place_with(
        |_| {},
        |place| {
            let plan = place.plan();
            memory(place.home.path(), "size=4m,mode=0700", MsFlags::MS_RDONLY);
            let error = start(place, &plan).unwrap_err();
            assert!(matches!(error, ClientError::Write { .. }), "{error}");
            assert_eq!(place.rules(), OLD);
        },
    );
}

#[test]
fn a_file_for_the_next_boot_that_cannot_be_written_begins_nothing() {
    in_place_with(
        |_| {},
        |place| {
            let etc = place.folder().join("etc");
            fs::create_dir(&etc).unwrap();
            memory(&etc, "size=1m", MsFlags::MS_RDONLY);
            let mut plan = place.plan();
            let path = etc.join("nftables.conf").to_string_lossy().into_owned();
            plan.persist = Some(Persist { path: path.clone(), text: "new\n".to_owned() });
            let error = start(place, &plan).unwrap_err();
            assert!(
                matches!(&error, ClientError::Write { path: of, .. } if of.to_string_lossy() == path),
                "{error}"
            );
            assert_eq!(place.rules(), OLD);
            assert!(guard::status(&place.home).unwrap().is_none());
        },
    );
}
