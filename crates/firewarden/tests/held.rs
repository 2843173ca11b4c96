//! A change whose way back the kernel holds: with every process dead, the old rules count again when its time is over.
//!
//! Needs root; is skipped with the reason without it, and fails under `CI=true`.
#![cfg(feature = "apply")]

mod common;

use common::Folder;
use common::namespace::Pair;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OLD: &str = "
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    udp dport 7 counter accept
    udp dport 8 accept
  }
}
";

/// Two hosts on a wire, of which one changes its rules.
struct World {
    pair: Pair,
    folder: Folder,
}

impl World {
    /// `None` after saying why there is none here.
    fn new() -> Option<World> {
        let pair = Pair::new()?;
        let files = [("old.nft", OLD), ("new.nft", &new_rules())];
        let world = World { pair, folder: Folder::with(&files) };
        world.pair.host.shell(&format!("nft -f {}", world.folder.path().join("old.nft").display()));
        Some(world)
    }

    fn firewarden(&self, arguments: &[&str]) -> Command {
        let mut command = self.pair.host.command(env!("CARGO_BIN_EXE_firewarden"));
        command.args(arguments).env("FIREWARDEN_STATE", self.folder.path().join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.firewarden(arguments).output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Makes the plan and begins to carry it out; gives the client once the new rules are in force.
    fn apply(&self, window: &str) -> Child {
        let plan = self.path("plan.json");
        let (code, text) = self.run(&["plan", &self.path("new.nft"), "--window", window, "--out", &plan]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("held by the kernel"), "{text}");
        let client = self.firewarden(&["apply", &plan]).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while !self.list().contains(".fw-new") {
            assert!(Instant::now() < until, "the new rules don't come");
            std::thread::sleep(Duration::from_millis(5));
        }
        client
    }

    fn list(&self) -> String {
        self.pair.host.shell("nft -a list ruleset")
    }

    /// Kills every guard of this world's trial, until there is none.
    fn kill_guards(&self) -> usize {
        let mut killed = 0;
        loop {
            let guards = guards(&self.folder.path().join("state/trial"));
            if guards.is_empty() {
                return killed;
            }
            for guard in guards {
                killed += usize::from(kill(guard, Signal::SIGKILL).is_ok());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn new_rules() -> String {
    let rules = OLD.replace("udp dport 7 counter accept\n", "").replace("udp dport 8", "udp dport { 8, 9 }");
    format!("table inet filter\ndelete table inet filter\n{rules}")
}

/// The processes that live and were given this folder.
fn guards(trial: &Path) -> Vec<Pid> {
    let trial = trial.canonicalize().unwrap();
    let named = trial.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes
        .filter(|process: &i32| {
            let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == named)
        })
        .map(Pid::from_raw)
        .collect()
}

#[test]
fn the_kernel_goes_back_with_every_process_dead() {
    let Some(world) = World::new() else { return };
    assert!(world.pair.passes(7) && world.pair.passes(8) && !world.pair.passes(9));
    let old = world.list();
    let begun = Instant::now();
    let mut client = world.apply("2");
    // The guard has time to find its quick way back, which leaves the counters of old rules alone.
    let inverse = world.folder.path().join("state/trial/inverse.nft");
    while !std::fs::read(&inverse).unwrap().starts_with(b"# ") {
        assert!(begun.elapsed() < Duration::from_millis(1900), "no quick way back in time");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(world.kill_guards() >= 2, "a guard and its standby");
    assert!(!world.pair.passes(7) && world.pair.passes(8) && world.pair.passes(9), "the new rules count");
    // Two seconds of the guards that are dead, and three more of the kernel, from when the rules were loaded.
    std::thread::sleep(Duration::from_millis(5500));
    assert!(
        world.pair.passes(7) && world.pair.passes(8) && !world.pair.passes(9),
        "the old rules count again"
    );
    assert!(guards(&world.folder.path().join("state/trial")).is_empty());
    // Whoever comes by next starts a guard, which cleans up and says what happened.
    world.run(&["status"]);
    let until = Instant::now() + Duration::from_secs(10);
    let told = loop {
        let (code, text) = world.run(&["status"]);
        if code == Some(0) || Instant::now() > until {
            break text;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(told.contains("the old rules are back"), "{told}");
    let counted = |listing: &str| listing.replace(char::is_numeric, "");
    assert_eq!(counted(&world.list()), counted(&old), "nothing of the trial is left");
    assert!(!world.list().contains("counter packets 0"), "what was counted is counted still");
}

#[test]
fn what_is_confirmed_settles() {
    let Some(world) = World::new() else { return };
    let client = world.apply("10");
    let (code, text) = world.run(&["confirm"]);
    assert_eq!(code, Some(0), "{text}");
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let listed = world.list();
    assert!(!listed.contains("fw_trial") && !listed.contains(".fw-new"), "{listed}");
    assert!(!world.pair.passes(7) && world.pair.passes(8) && world.pair.passes(9));
}

#[test]
fn tables_of_others_may_change_meanwhile() {
    let Some(world) = World::new() else { return };
    let client = world.apply("2");
    world
        .pair
        .host
        .shell("nft add table ip docker; nft 'add chain ip docker c'; nft add rule ip docker c drop");
    let output = client.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the old rules are back") && told.contains("others changed tables"), "{told}");
    let listed = world.list();
    assert!(listed.contains("table ip docker") && !listed.contains("fw_trial"), "{listed}");
    assert!(world.pair.passes(7) && world.pair.passes(8) && !world.pair.passes(9));
}
