//! Whatever ends a writer, and wherever a write was torn: the journal holds what was acknowledged, whole batches only, in
//! a sound chain, and can be added to.

mod common;

use common::{entry, folder};
use firewarden_store::{Journal, Kind, NewEntry, Store, StoreError, verify};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the writer process, which is this program once more, finds its journal.
const WRITER: &str = "FIREWARDEN_TEST_JOURNAL_WRITER";

/// How many entries the writer adds at once.
const BATCH: u64 = 3;

/// Makes a writer rest between batches. Who never does keeps others out for as long as chance has it, as waiting isn't in
/// turn.
const PAUSE: &str = "FIREWARDEN_TEST_WRITER_PAUSE";

/// Not a test by itself: adds entries for ever, and prints a line after each batch, until it is killed or stopped by an
/// error.
#[test]
fn writer() {
    let Some(state) = std::env::var_os(WRITER) else { return };
    let mut out = std::io::stdout().lock();
    let mut write = || -> Result<(), StoreError> {
        let mut journal = Journal::open(Path::new(&state))?;
        let batch: Vec<NewEntry> = (1..=3)
            .map(|number| NewEntry {
                kind: if number == 3 { Kind::Reverted } else { Kind::Applied },
                ..entry(number)
            })
            .collect();
        loop {
            let added = journal.append_all(&batch)?;
            writeln!(out, "added {}", added.last().unwrap().sequence()).unwrap();
            out.flush().unwrap();
            if std::env::var_os(PAUSE).is_some() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    let error = write().unwrap_err();
    println!("stopped: {error}");
}

fn start(command: &mut Command, state: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.env(WRITER, state).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn writer_command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["writer", "--exact", "--nocapture"]);
    command
}

/// The last number that was acknowledged in the output of a writer.
fn acknowledged(output: impl BufRead) -> u64 {
    let lines = output.lines().map_while(Result::ok);
    let numbers =
        lines.filter_map(|line| line.rsplit_once("added ").and_then(|(_, number)| number.parse().ok()));
    numbers.max().unwrap_or(0)
}

/// The number of entries of a journal, which has to be sound and hold whole batches.
#[track_caller]
fn sound(state: &Path) -> u64 {
    let mut journal = Journal::open(state).unwrap();
    let key = journal.public_key();
    let verified = verify(&mut journal, None, key).unwrap();
    assert_eq!(verified.findings, []);
    assert_eq!(verified.count % BATCH, 0, "a batch was torn");
    verified.count
}

/// Numbers that look random, the same in every run.
fn noise(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// How often writers are killed; more by `FIREWARDEN_TEST_KILLS`.
fn kills() -> u64 {
    std::env::var("FIREWARDEN_TEST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(200)
}

#[test]
fn killed_at_any_moment() {
    let folder = folder();
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let (mut known, mut early, mut added) = (0, 0, 0);
    for round in 0..kills() {
        // From time to time from the beginning, so that the making of journal and key is cut short, too.
        let state = folder.path().join(format!("state-{}", round / 8));
        if round % 8 == 0 {
            known = 0;
        }
        let (mut child, mut output) = start(&mut writer_command(), &state);
        let mut first = String::new();
        if round % 4 == 0 {
            std::thread::sleep(Duration::from_micros(noise(&mut seed) % 60_000));
        } else {
            // At work, however slow this machine is today.
            while !first.contains("added ") {
                first.clear();
                assert_ne!(
                    output.read_line(&mut first).unwrap(),
                    0,
                    "the writer of round {round} ended by itself"
                );
            }
            std::thread::sleep(Duration::from_micros(noise(&mut seed) % 15_000));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let told = acknowledged(first.as_bytes()).max(acknowledged(output));
        early += u64::from(told == 0);
        known = known.max(told);
        let there = sound(&state);
        assert!(there >= known, "round {round}: {known} entries were acknowledged, {there} are there");
        added += there.saturating_sub(known);
        known = there;
    }
    println!(
        "{} kills, {early} before the first entry, {added} entries more than were acknowledged",
        kills()
    );
    assert!(early <= kills() / 4 + 1);
}

#[test]
fn several_writers_at_once() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut writers: Vec<_> = (0..4).map(|_| start(writer_command().env(PAUSE, "1"), &state)).collect();
    let until = Instant::now() + Duration::from_secs(60);
    // Until every one of them had its turn at least twice, whatever the machine does.
    let mut turns = Vec::new();
    for (_, output) in &mut writers {
        let lines = output.lines().map_while(Result::ok).filter(|line| line.contains("added ")).take(2);
        turns.push(lines.count());
        assert!(Instant::now() < until, "writers wait for ever");
    }
    for (child, _) in &mut writers {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(turns, [2; 4]);
    assert!(sound(&state) >= 4 * 2 * BATCH);
}

/// A journal of two transactions, as a crash leaves it after each: the database and its log.
struct Crashed {
    database: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
    key: Vec<u8>,
}

/// What is on the disk while a writer is at work.
fn crashed(state: &Path) -> Crashed {
    let batch: Vec<NewEntry> = (1..=3).map(entry).collect();
    let mut journal = Journal::open(state).unwrap();
    journal.append_all(&batch).unwrap();
    let log = log(state);
    let before = std::fs::read(&log).unwrap();
    journal.append_all(&batch).unwrap();
    let crashed = Crashed {
        database: std::fs::read(Journal::path_in(state)).unwrap(),
        before,
        after: std::fs::read(&log).unwrap(),
        key: std::fs::read(key(state)).unwrap(),
    };
    drop(journal);
    crashed
}

fn log(state: &Path) -> PathBuf {
    state.join("journal.sqlite-wal")
}

fn key(state: &Path) -> PathBuf {
    state.join("keys/journal.key")
}

/// Puts a crashed state there, and counts what is left of it.
#[track_caller]
fn reopened(state: &Path, database: &[u8], wal: Option<&[u8]>) -> u64 {
    let _ = std::fs::remove_file(state.join("journal.sqlite-shm"));
    std::fs::write(Journal::path_in(state), database).unwrap();
    match wal {
        Some(wal) => std::fs::write(log(state), wal).unwrap(),
        None => drop(std::fs::remove_file(log(state))),
    }
    sound(state)
}

#[test]
fn the_log_torn_at_every_byte_of_the_last_transaction() {
    let folder = folder();
    let Crashed { database, before, after, .. } = crashed(folder.path());
    assert!(after.len() > before.len() && after.starts_with(&before), "the log only grows");
    let (mut old, mut new) = (0, 0);
    // Every byte of frame headers and near the edges of sectors, and one in a few of the others.
    let frame = 24 + 4096;
    let lengths = (before.len()..=after.len()).filter(|length| {
        let in_frame = (length - 32) % frame;
        in_frame < 26 || length % 512 < 2 || length % 61 == 0 || *length == after.len()
    });
    for length in lengths {
        let mut forms = vec![after[..length].to_vec()];
        if length % 512 == 0 || length == after.len() {
            // The file has its length, but not all of its content: zeroes, or what was there before.
            let mut zeroes = forms[0].clone();
            zeroes.resize(after.len(), 0);
            let mut rubbish = forms[0].clone();
            rubbish.resize(after.len(), 0xa5);
            forms.extend([zeroes, rubbish]);
        }
        for wal in forms {
            match reopened(folder.path(), &database, Some(&wal)) {
                3 => old += 1,
                6 => new += 1,
                other => panic!("{other} entries with {length} bytes"),
            }
        }
    }
    println!("{old} times the old content, {new} times the new one");
    assert!(old > 100 && new >= 1, "{old} old, {new} new");
}

#[test]
fn sectors_of_the_log_that_were_not_written() {
    let folder = folder();
    let Crashed { database, before, after, .. } = crashed(folder.path());
    for sector in (before.len() / 512)..after.len().div_ceil(512) {
        let range = (sector * 512).max(before.len())..((sector + 1) * 512).min(after.len());
        let mut wal = after.clone();
        wal[range.clone()].fill(0);
        let changed = wal != after;
        let count = reopened(folder.path(), &database, Some(&wal));
        assert!(count == 3 || (!changed && count == 6), "{count} entries without sector {sector}");
    }
}

#[test]
fn the_database_torn_while_the_log_is_moved_into_it() {
    let folder = folder();
    let Crashed { database, after, .. } = crashed(folder.path());
    // Closing moved the log into the database.
    let moved = std::fs::read(Journal::path_in(folder.path())).unwrap();
    assert_ne!(moved, database);
    let mut seed = 0x0123_4567_89ab_cdef;
    for round in 0..200 {
        let mut mixed = database.clone();
        mixed.resize(moved.len(), 0);
        let upto = moved.len() / 512 * round / 200;
        for sector in 0..moved.len() / 512 {
            let range = sector * 512..(sector + 1) * 512;
            // In order in every other round, in any order otherwise.
            let written = if round % 2 == 0 { sector < upto } else { noise(&mut seed).is_multiple_of(2) };
            if written {
                mixed[range.clone()].copy_from_slice(&moved[range]);
            }
        }
        assert_eq!(reopened(folder.path(), &mixed, Some(&after)), 6, "round {round}");
    }
}

#[test]
fn a_torn_database_without_its_log_is_told() {
    let folder = folder();
    let Crashed { key: secret, .. } = crashed(folder.path());
    assert_eq!(std::fs::read(key(folder.path())).unwrap(), secret);
    // Closing moved the log into the database.
    let database = std::fs::read(Journal::path_in(folder.path())).unwrap();
    for length in (0..database.len()).step_by(509) {
        if database[length..].iter().all(|&byte| byte == 0) {
            // SQLite reads zeroes behind the end of a file.
            continue;
        }
        let _ = std::fs::remove_file(folder.path().join("journal.sqlite-shm"));
        let _ = std::fs::remove_file(log(folder.path()));
        std::fs::write(Journal::path_in(folder.path()), &database[..length]).unwrap();
        let opened = Journal::open(folder.path());
        let added = opened.and_then(|mut journal| {
            let found = verify(&mut journal, None, None)?.findings.len();
            Ok((found, journal.append(entry(1)).is_ok()))
        });
        assert!(!matches!(added, Ok((0, _))), "{length} bytes of {} are taken for a journal", database.len());
    }
}

/// A disk that is full for real. Needs a mount namespace, which root and most other users may make.
#[test]
fn a_full_disk() {
    let folder = folder();
    let script = "mount -t tmpfs -o size=192k,mode=0700 tmpfs \"$0\" && \"$@\"; echo; \
                  cp \"$0\"/state/journal.sqlite* \"$0\"/state/keys/journal.key \"$SAVED\" 2>/dev/null";
    let saved = folder.path().join("saved");
    let mounted = folder.path().join("mounted");
    for made in [&saved, &mounted] {
        std::fs::create_dir(made).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(&mounted);
    command
        .arg(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--nocapture"])
        .env("SAVED", &saved);
    let (mut child, output) = start(&mut command, &mounted.join("state"));
    let lines: Vec<String> = output.lines().map_while(Result::ok).collect();
    child.wait().unwrap();
    let Some(stopped) = lines.iter().find_map(|line| Some(line.split_once("stopped: ")?.1)) else {
        assert!(std::env::var_os("CI").is_none(), "cannot mount a file system of a fixed size: {lines:?}");
        println!("skipped: cannot mount a file system of a fixed size");
        return;
    };
    assert!(stopped.ends_with("the disk is full"), "{stopped}");
    let known = acknowledged(lines.join("\n").as_bytes());
    assert!(known > 10, "{lines:?}");
    // What is on the full disk is what was acknowledged.
    std::fs::create_dir(saved.join("keys")).unwrap();
    std::fs::rename(saved.join("journal.key"), key(&saved)).unwrap();
    assert_eq!(sound(&saved), known);
}
