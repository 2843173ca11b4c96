//! Where a change happens: a network namespace with rules, a state folder, a client, and somebody who kills.

use super::case::{Case, How, Kill, Moment, Target, Wish};
use super::{CLIENT, GUARD, RECOVER, processes};
use firewarden_change::delta::{self, Listing, TableName};
use firewarden_change::plan::{
    self, Evidence, FORMAT_VERSION, Inverse, Loader, Parent, Persist, Plan, Script, Switch,
};
use firewarden_change::trial::{Asker, Outcome, Phase, Reason};
use firewarden_host::guard::{self, Change, Home, Launcher, Status};
use firewarden_host::state::{State, canonical_nft};
use nix::mount::{MsFlags, mount};
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const OLD: &str = "table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr 1.1.1.1 accept\n\t}\n}\n";
const NEW: &str = "table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr 2.2.2.2 drop\n\t\tip saddr 1.1.1.1 accept\n\t}\n}\ntable ip u {\n\tchain d {\n\t}\n}\n";
/// What comes of [`FIRST`] alone.
const ONE_RULE: &str = "table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr 2.2.2.2 drop\n\t\tip saddr 1.1.1.1 accept\n\t}\n}\n";
const FIRST: &str = "insert rule ip t c ip saddr 2.2.2.2 drop\n";
const SECOND: &str = "add table ip u\nadd chain ip u d\n";
const BACK: &str = "add table ip u\ndelete table ip u\nadd table ip t\nflush chain ip t c\nadd rule ip t c ip saddr 1.1.1.1 accept\n";
/// Where the client says when its command ended, in milliseconds since boot.
const RAN: &str = "ran";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Between two changes of an endless command, in milliseconds.
const PAUSE: u64 = 100;
/// How long all of it may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time that a trial waits for its confirmation, in seconds.
const LONGEST: u32 = 20;
/// How often the guards' log is looked at: a step may be over quickly.
const WATCH: Duration = Duration::from_micros(300);
/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(5);
/// How long a loader is looked for.
const HUNT: Duration = Duration::from_millis(60);

/// A worker's place.
pub struct Scene {
    folder: tempfile::TempDir,
    boots: Cell<u64>,
    /// How long a trial waits for its confirmation, in seconds: 1, and more where this machine takes longer for a whole
    /// change that nobody disturbs.
    window: Cell<u32>,
}

/// How a change goes.
struct Course {
    client: i32,
    began: Instant,
    kills: Vec<Kill>,
    /// As in [`Scene`].
    window: u32,
    /// What was killed when, for the tally.
    done: Vec<String>,
    system: bool,
}

impl Scene {
    pub fn new() -> Result<Scene, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let scene = Scene { folder, boots: Cell::new(0), window: Cell::new(LONGEST) };
        scene.boot();
        let none: Option<&str> = None;
        mount(Some(&scene.boot_id()), BOOT_ID, none, MsFlags::MS_BIND, none)
            .map_err(|error| format!("{BOOT_ID}: {error}"))?;
        let start = Instant::now();
        scene.play(&Case::undisturbed())?;
        let seconds = u32::try_from(2 * start.elapsed().as_secs()).unwrap_or(LONGEST);
        scene.window.set(seconds.clamp(1, LONGEST));
        Ok(scene)
    }

    fn boot_id(&self) -> PathBuf {
        self.folder.path().join("boot_id")
    }

    /// The system starts.
    fn boot(&self) {
        self.boots.set(self.boots.get() + 1);
        let id = format!("00000000-0000-4000-8000-{:012}\n", self.boots.get());
        fs::write(self.boot_id(), id).expect("the worker's own folder can be written");
    }

    /// Plays one change, and judges what came of it.
    pub fn play(&self, case: &Case) -> Result<String, String> {
        let folder = self.folder.path().join("case");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).map_err(|error| error.to_string())?;
        fs::write(folder.join("nftables.conf"), OLD).map_err(|error| error.to_string())?;
        nft(&folder, &format!("flush ruleset\n{OLD}"))?;
        let home = Home::open(&folder.join("state")).map_err(|error| error.to_string())?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let client = Command::new(&program)
            .args([CLIENT.as_ref(), folder.as_os_str(), case.seed.to_string().as_ref()])
            .arg(self.window.get().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut course = Course {
            client: i32::try_from(client.id()).unwrap_or(i32::MAX),
            began: Instant::now(),
            kills: case.kills.clone(),
            window: self.window.get(),
            done: Vec::new(),
            system: false,
        };
        let result = self.follow(&folder, &home, &mut course);
        let log = fs::read_to_string(home.trial().join("guard.log")).unwrap_or_default();
        if case.how == How::Endless {
            // What would still be there would change rules by then.
            sleep(2 * Duration::from_millis(PAUSE));
        }
        processes::kill_all();
        let outcome = result
            .and_then(|status| judge(case, &folder, &home, &course, status))
            .map_err(|problem| format!("{problem}\n{case:?}\nkilled: {:?}\n{log}", course.done))?;
        course.done.insert(0, outcome);
        Ok(course.done.join("\t"))
    }

    /// Kills at the given moments, and does what the next client and the boot do, until all is over.
    fn follow(&self, folder: &Path, home: &Home, course: &mut Course) -> Result<Option<Status>, String> {
        let mut looked = Instant::now();
        loop {
            processes::reap();
            sleep(WATCH);
            let lines = log(home);
            let (due, later) =
                course.kills.drain(..).partition(|kill| is_due(kill, &lines, course.began, course.window));
            course.kills = later;
            for kill in due {
                self.kill(&kill, folder, home, course)?;
            }
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            let status = guard::status(home);
            let client_lives = processes::one(course.client).is_some();
            match status {
                // The folder is moved while it is looked at, or half there.
                Err(_) if course.began.elapsed() < PATIENCE => {}
                Err(error) => return Err(error.to_string()),
                Ok(None) if !client_lives => return Ok(None),
                Ok(Some(status)) if status.is_done() && processes::guards().is_empty() => {
                    return Ok(Some(status));
                }
                Ok(Some(status)) if !status.is_done() && !status.guarded => {
                    if status.record.is_some() || !client_lives {
                        let launcher = launcher().map_err(|error| error.to_string())?;
                        guard::take_over(home, &launcher).map_err(|error| error.to_string())?;
                        // It takes some time until it has the lock.
                        sleep(Duration::from_millis(30));
                    }
                }
                Ok(_) => {}
            }
            if course.began.elapsed() > PATIENCE {
                return Err(format!("it isn't over after {} s", PATIENCE.as_secs()));
            }
        }
    }

    fn kill(&self, kill: &Kill, folder: &Path, home: &Home, course: &mut Course) -> Result<(), String> {
        if let Moment::Step { after, .. } = kill.moment {
            sleep(Duration::from_micros(after));
        }
        let (guard, step) = log(home).pop().unwrap_or((0, "client before armed".to_owned()));
        let step = if step.starts_with("asked") { "wait".to_owned() } else { step };
        let killed = match kill.target {
            Target::Client => signal_one(Some(course.client), kill.signal),
            Target::Guard => signal_one(Some(guard), kill.signal),
            Target::Standby => {
                signal_one(processes::guards().into_iter().find(|pid| *pid != guard), kill.signal)
            }
            Target::Both => {
                let all = processes::guards();
                // The guard first, then those that take over, until there is none for a moment.
                signal_one(Some(guard), "KILL");
                for _ in 0..50 {
                    processes::guards().into_iter().for_each(|pid| processes::signal(pid, "KILL"));
                    processes::reap();
                }
                !all.is_empty()
            }
            Target::Loader => {
                let until = Instant::now() + HUNT;
                loop {
                    let is_loader = |process: &processes::Process| {
                        process.name == "nft" && process.arguments.iter().any(|argument| argument == "-f")
                    };
                    let loader = processes::all().into_iter().find(is_loader);
                    if loader.is_some() || Instant::now() > until {
                        break signal_one(loader.map(|loader| loader.pid), kill.signal);
                    }
                }
            }
            Target::All => {
                processes::kill_all();
                true
            }
            Target::System => {
                processes::kill_all();
                self.boot();
                // What the system itself loads, then what `recover` does.
                let conf =
                    fs::read_to_string(folder.join("nftables.conf")).map_err(|error| error.to_string())?;
                nft(folder, &format!("flush ruleset\n{conf}"))?;
                let program = std::env::current_exe().map_err(|error| error.to_string())?;
                let output = Command::new(program).arg(RECOVER).arg(folder).output();
                let output = output.map_err(|error| error.to_string())?;
                if !output.status.success() {
                    return Err(format!("recover: {}", String::from_utf8_lossy(&output.stderr)));
                }
                course.system = true;
                true
            }
        };
        if killed {
            let aim = match kill.moment {
                Moment::Step { step, .. } => step,
                Moment::Time(_) => "any time",
            };
            course.done.push(format!("{aim}={step}={:?} {}", kill.target, kill.signal));
        }
        Ok(())
    }
}

fn signal_one(pid: Option<i32>, signal: &str) -> bool {
    let living = pid.and_then(processes::one);
    if let Some(process) = &living {
        processes::signal(process.pid, signal);
    }
    living.is_some()
}

/// What guards announced: their number and the step.
fn log(home: &Home) -> Vec<(i32, String)> {
    let text = fs::read_to_string(home.trial().join("guard.log")).unwrap_or_default();
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let pid = i32::try_from(value.get("pid")?.as_i64()?).ok()?;
        Some((pid, value.get("says")?.as_str()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn is_due(kill: &Kill, lines: &[(i32, String)], began: Instant, window: u32) -> bool {
    match kill.moment {
        Moment::Time(after) => began.elapsed() >= Duration::from_micros(after * u64::from(window)),
        Moment::Step { step, nth, .. } => lines.iter().filter(|(_, said)| said == step).count() as u64 >= nth,
    }
}

/// What must hold in the end, whoever was killed.
fn judge(
    case: &Case,
    folder: &Path,
    home: &Home,
    course: &Course,
    status: Option<Status>,
) -> Result<String, String> {
    let state = State::read().map_err(|error| error.to_string())?;
    let holds = canonical_nft(&state.nft);
    let conf = fs::read_to_string(folder.join("nftables.conf")).map_err(|error| error.to_string())?;
    let kept = guard::confirmed(home).map_err(|error| error.to_string())?;
    let was_asked = folder.join("asked").exists();
    let record = status.and_then(|status| status.record);
    let deadline = record.as_ref().map_or(u64::MAX, |record| record.deadline);
    let (told, is_new) = match record.map(|record| record.phase) {
        None => ("never armed".to_owned(), false),
        Some(Phase::Done(Outcome::Confirmed { trouble, ruleset, .. })) => {
            if let Some(trouble) = trouble {
                return Err(format!("confirmed, and not kept: {trouble}"));
            }
            if !was_asked || case.wish != Wish::Confirm {
                return Err("confirmed, and nobody asked for it".to_owned());
            }
            if ruleset != state.digest() {
                return Err("other rules are said to be confirmed than the kernel holds".to_owned());
            }
            ("confirmed".to_owned(), true)
        }
        Some(Phase::Done(Outcome::Reverted { reason, foreign: false })) => {
            let reason = match reason {
                Reason::Deadline => "deadline".to_owned(),
                Reason::Asked(_) if was_asked && case.wish == Wish::Revert => "asked".to_owned(),
                Reason::GuardDied => "the guard died".to_owned(),
                Reason::Reboot if course.system => "reboot".to_owned(),
                Reason::Refused { .. } | Reason::TooSlow { .. }
                    if course.done.iter().any(|kill| kill.contains("Loader")) =>
                {
                    "the loader was killed".to_owned()
                }
                // A machine that does other things too may take longer than the window.
                Reason::TooSlow { words } if words.ends_with(guard::TOO_SLOW) => {
                    "the new rules took longer than the window".to_owned()
                }
                other => return Err(format!("reverted for no reason of this change: {other:?}")),
            };
            (format!("reverted: {reason}"), false)
        }
        Some(other) => return Err(format!("it ended otherwise: {other:?}")),
    };
    // This client runs the command itself, without the mark by which a guard finds what it has to hold.
    let ran = fs::read_to_string(folder.join(RAN)).ok().and_then(|at| at.parse::<u64>().ok());
    if !is_new && ran.is_some_and(|at| at >= deadline) {
        return Ok(format!("{told}, before its command had ended"));
    }
    let new = new_rules(case);
    let (rules, name) = if is_new { (new, "new") } else { (OLD, "old") };
    if holds != rules {
        return Err(format!("it says {told}, and the kernel doesn't hold the {name} rules:\n{holds}"));
    }
    if (conf == new) != (is_new && !case.how.is_command()) || (conf != new && conf != OLD) {
        return Err(format!("it says {told}, and the next boot loads something else:\n{conf}"));
    }
    if kept.is_some() != is_new {
        return Err(format!("it says {told}, and the confirmed rules say something else"));
    }
    Ok(told)
}

fn nft(folder: &Path, script: &str) -> Result<(), String> {
    let path = folder.join("script");
    fs::write(&path, script).map_err(|error| error.to_string())?;
    let output = Command::new("nft").arg("-f").arg(path).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn launcher() -> std::io::Result<Launcher> {
    Ok(Launcher { program: std::env::current_exe()?, arguments: vec![GUARD.into()] })
}

/// The operator's program.
pub fn client(folder: &Path, case: &Case, window: u32) -> ExitCode {
    match act(folder, case, window) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn act(folder: &Path, case: &Case, window: u32) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let home = Home::open(&folder.join("state")).map_err(|error| words(&error))?;
    let before = State::read().map_err(|error| words(&error))?;
    let plan = plan(folder, case, window, &before)?;
    let command = ["a".to_owned(), "command".to_owned()];
    let change = match case.how {
        How::Command | How::Endless => {
            Change::Command { words: &command, window: Duration::from_secs(window.into()), before: &before }
        }
        _ => Change::Plan { plan: &plan, before: Some(&before) },
    };
    let launcher = launcher().map_err(|error| words(&error))?;
    guard::start(&home, change, "trial", &launcher).map_err(|error| words(&error))?;
    let is_in = |phase: &Phase| matches!(phase, Phase::Applied { .. } | Phase::Done(_));
    let reached =
        guard::wait_for(&home, PATIENCE, |record| is_in(&record.phase)).map_err(|error| words(&error))?;
    let is_on = reached.is_some_and(|record| !record.phase.is_done());
    if case.how == How::Command && is_on {
        nft(folder, &format!("{FIRST}{SECOND}"))?;
        fs::write(folder.join(RAN), guard::since_boot().to_string()).map_err(|error| words(&error))?;
    }
    if case.how == How::Endless && is_on {
        fs::write(folder.join(RAN), guard::since_boot().to_string()).map_err(|error| words(&error))?;
        endless(case, &home).map_err(|error| words(&error))?;
    }
    sleep(Duration::from_millis(case.asks_after * u64::from(window)));
    let wish = match case.wish {
        Wish::Nothing => None,
        Wish::Confirm => Some(guard::Wish::Confirm { ruleset: Some(plan.result.clone()) }),
        Wish::Revert => Some(guard::Wish::Revert),
    };
    if let Some(wish) = wish {
        fs::write(folder.join("asked"), "").map_err(|error| words(&error))?;
        guard::ask(&home, &wish, Asker::new("operator", "", "a test")).map_err(|error| words(&error))?;
    }
    guard::wait_for(&home, PATIENCE, |record| record.phase.is_done()).map_err(|error| words(&error))?;
    Ok(())
}

/// Starts a command that goes on changing rules, in every second case as a service would.
fn endless(case: &Case, home: &Home) -> std::io::Result<()> {
    let script = format!(
        "trap '' TERM HUP; n=0; while sleep {}; do n=$((n+1)); nft add table ip x$n; done",
        Duration::from_millis(PAUSE).as_secs_f64()
    );
    let mut command = Command::new("sh");
    match case.seed % 2 {
        0 => command.args(["-c", &script]),
        _ => command.args(["-c", "setsid sh -c \"$0\" & exit", &script]),
    };
    let child = command
        .env(guard::MARK, "trial")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    guard::begin_work(home, child.id())
}

/// The rules after the change.
fn new_rules(case: &Case) -> &'static str {
    if case.how == How::Direct { ONE_RULE } else { NEW }
}

fn plan(folder: &Path, case: &Case, window: u32, before: &State) -> Result<Plan, String> {
    let script = |text: &str| Script { loader: Loader::Nft, text: text.to_owned() };
    let link = fs::read_link("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
    let delete = Inverse::DeleteRule { family: "ip".into(), table: "t".into(), chain: "c".into(), index: 0 };
    let result = State { nft: new_rules(case).to_owned(), ..State::default() };
    Ok(Plan {
        version: FORMAT_VERSION,
        host: "here".to_owned(),
        made: "2026-11-21T08:00:00Z".to_owned(),
        parent: Parent {
            boot_id: guard::boot_id().map_err(|error| error.to_string())?,
            namespace: link.to_string_lossy().into_owned(),
            generation: before.generation,
            ruleset: before.digest(),
            tables: vec!["ip t".to_owned()],
            handles: handles(&before.nft),
            parts: before.parts(),
        },
        result: result.digest(),
        parts: result.parts(),
        forward: match case.how {
            How::Quick => vec![script(&format!("{FIRST}{SECOND}"))],
            How::Direct => vec![script(FIRST)],
            How::Whole | How::Command | How::Endless => vec![script(FIRST), script(SECOND)],
        },
        inverse: match case.how {
            How::Quick => vec![Inverse::Command("delete table ip u".to_owned()), delete],
            How::Direct => vec![delete],
            How::Whole | How::Command | How::Endless => Vec::new(),
        },
        rollback: vec![script(BACK)],
        probes: Vec::new(),
        window_seconds: window,
        persist: Some(Persist {
            path: folder.join("nftables.conf").to_string_lossy().into_owned(),
            text: new_rules(case).to_owned(),
        }),
        switch: Switch::Guard("a test".to_owned()),
        evidence: Evidence::default(),
    })
}

/// What the system does when it starts.
pub fn recover(folder: &Path) -> ExitCode {
    let recovered = Home::open(&folder.join("state"))
        .map_err(|error| error.to_string())
        .and_then(|home| guard::recover(&home, guard::Extent::Touched).map_err(|error| error.to_string()));
    match recovered {
        Ok(_) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// What the plan's scripts rest on.
fn handles(listing: &str) -> String {
    let tables = [TableName { family: "ip".to_owned(), name: "t".to_owned() }].into();
    let listing = Listing::read(listing).expect("what nft prints is understood");
    plan::hex(&Sha256::digest(delta::handles(&listing, &tables).as_bytes()))
}
