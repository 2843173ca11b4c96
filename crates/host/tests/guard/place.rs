//! A network namespace with some rules, and a state folder.

use firewarden_change::delta::{self, Listing, TableName};
use firewarden_change::plan::{
    self, Evidence, FORMAT_VERSION, Inverse, Loader, Parent, Plan, Script, Switch,
};
use firewarden_host::guard::{Home, Launcher};
use firewarden_host::state::{State, canonical_nft};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;

/// The rules from before.
pub const OLD: &str = "table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr 1.1.1.1 accept\n\t}\n}\n";
/// The rules of the plan.
pub const NEW: &str = "table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr 2.2.2.2 drop\n\t\tip saddr 1.1.1.1 accept\n\t}\n}\n";

pub struct Place {
    pub home: Home,
    pub launcher: Launcher,
    folder: tempfile::TempDir,
}

/// Does something on a thread with a network namespace of its own; it vanishes with the thread and its guards, which
/// live no longer than their windows.
pub fn in_place(work: impl FnOnce(&Place) + Send + 'static) {
    in_place_with(|_| {}, work);
}

/// Like [`in_place`], with something done to the state folder before it is used. Mounts are the thread's own too.
pub fn in_place_with(
    prepare: impl FnOnce(&Path) + Send + 'static,
    work: impl FnOnce(&Place) + Send + 'static,
) {
    let thread = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            assert!(std::env::var_os("CI").is_none(), "no namespaces: {error}");
            println!("skipped: no namespaces: {error}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        prepare(&state);
        let place = Place {
            home: Home::open(&state).unwrap(),
            launcher: Launcher {
                program: env!("CARGO_BIN_EXE_firewarden-guard-helper").into(),
                arguments: Vec::new(),
            },
            folder,
        };
        place.nft(OLD);
        work(&place);
        // Folders that something is mounted on can't be removed.
        for folder in [state, place.folder().join("etc")] {
            let _ = umount2(&folder, MntFlags::MNT_DETACH);
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Place {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn nft(&self, script: &str) {
        let path = self.folder.path().join("script");
        std::fs::write(&path, script).unwrap();
        let output = Command::new("nft").arg("-f").arg(path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn rules(&self) -> String {
        canonical_nft(&State::read().unwrap().nft)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.trial().join("guard.log")).unwrap_or_default()
    }

    /// From [`OLD`] to [`NEW`], with a second to confirm.
    pub fn plan(&self) -> Plan {
        let now = State::read().unwrap();
        let result = State { nft: NEW.to_owned(), ..State::default() };
        let script = |text: &str| vec![Script { loader: Loader::Nft, text: text.to_owned() }];
        Plan {
            version: FORMAT_VERSION,
            host: "here".to_owned(),
            made: "2026-11-21T08:00:00Z".to_owned(),
            parent: Parent {
                boot_id: firewarden_host::guard::boot_id().unwrap(),
                namespace: std::fs::read_link("/proc/thread-self/ns/net")
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                generation: now.generation,
                ruleset: now.digest(),
                tables: vec!["ip t".to_owned()],
                handles: handles(&now.nft),
                parts: now.parts(),
            },
            result: result.digest(),
            parts: result.parts(),
            forward: script("insert rule ip t c ip saddr 2.2.2.2 drop\n"),
            inverse: vec![Inverse::DeleteRule {
                family: "ip".to_owned(),
                table: "t".to_owned(),
                chain: "c".to_owned(),
                index: 0,
            }],
            rollback: script("add table ip t\nflush chain ip t c\nadd rule ip t c ip saddr 1.1.1.1 accept\n"),
            probes: Vec::new(),
            window_seconds: 1,
            persist: None,
            switch: Switch::Guard("a test".to_owned()),
            evidence: Evidence::default(),
        }
    }
}

/// What the plan's scripts rest on.
fn handles(listing: &str) -> String {
    let tables = [TableName { family: "ip".to_owned(), name: "t".to_owned() }].into();
    let listing = Listing::read(listing).expect("what nft prints is understood");
    plan::hex(&Sha256::digest(delta::handles(&listing, &tables).as_bytes()))
}
