//! A load in a process of its own, as drills start it: options in, lines out, an end when it is told to.
#![cfg(feature = "lab")]

use firewarden_lab::load::{Line, LoadError, Options, Running, Target, UserOptions};
use firewarden_lab::series::Connections;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than a load that is told to stop takes on any machine, and less than for ever.
const LONG: Duration = Duration::from_secs(25);

/// A server that answers everything.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut answers = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if line.is_empty() {
                        let _ = answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    address
}

fn options(milliseconds: Option<u64>) -> Options {
    let target = Target::new(server());
    let user = |connections| UserOptions { connections, source: None, target: target.clone() };
    Options {
        users: Connections::ALL.map(user).to_vec(),
        rate: 20.0,
        slot_milliseconds: 100,
        // Nothing of this is about how fast the machine is.
        timeout_milliseconds: 30_000,
        duration_milliseconds: milliseconds,
        ..Options::default()
    }
}

fn users() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firewarden"));
    command.args(["lab", "users"]);
    command
}

#[test]
fn lines_come_while_it_runs_and_everything_at_its_end() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let hear = move |line: &Line| heard.lock().unwrap().push(line.clone());
    let series = Running::start(users(), &options(Some(500)), hear).unwrap().wait().unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.last(), Some(&Line::End(series.clone())));
    assert!(matches!(lines.first(), Some(Line::Start { new: 1, kept: 1, pooled: 1, .. })), "{lines:?}");
    let told: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Slot(slot) => Some(slot.clone()),
            _ => None,
        })
        .collect();
    assert_eq!((told.len(), &told), (15, &series.slots));
    assert_eq!(series.sum(None, 0, 500).requests, 30);
    assert_eq!(series.users_affected(None), 0, "{series:?}");
}

#[test]
fn it_stops_when_told_and_ends_when_dropped() {
    let (told, lines) = channel();
    let hear = move |line: &Line| {
        // Nobody listens when the first requests have been seen.
        let _ = told.send(matches!(line, Line::Slot(slot) if slot.requests > 0));
    };
    let running = Running::start(users(), &options(None), hear).unwrap();
    assert!(lines.iter().any(|has_requests| has_requests), "nothing was sent");
    // Without an end of its own it would go on for ever.
    let start = Instant::now();
    let series = running.stop().unwrap();
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    assert!(series.sum(None, 0, u64::MAX).requests > 0);

    let running = Running::start(users(), &options(None), |_| {}).unwrap();
    let start = Instant::now();
    drop(running);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn a_process_that_is_no_load_or_dies_is_told() {
    let error = Running::start(Command::new("true"), &options(None), |_| {}).map(Running::wait);
    assert!(
        matches!(error, Ok(Err(LoadError::Ended(_))) | Err(LoadError::Process { .. })),
        "a program that says nothing"
    );
    let mut echo = Command::new("echo");
    echo.arg("hello");
    let error = Running::start(echo, &options(None), |_| {}).map(Running::wait);
    assert!(matches!(error, Ok(Err(LoadError::Line { .. })) | Err(LoadError::Process { .. })), "nonsense");
    let empty = Options { users: Vec::new(), ..options(None) };
    let error = Running::start(users(), &empty, |_| {}).unwrap().wait();
    assert!(matches!(error, Err(LoadError::Ended(_))), "{error:?}");
}
