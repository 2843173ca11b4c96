//! Commands that go on after their time: what they or their children change when the old rules are back doesn't stay.

use super::{Host, finish, wait_for};
use std::time::Duration;

/// Seconds in which the commands here begin on a machine that does other things, too, and don't end.
const WINDOW: &str = "5";

/// How long after the end of a trial its rules are looked at: longer than any of the commands here waits.
const LATER: Duration = Duration::from_secs(4);

/// Guards a command of the shell for some seconds, waits for what it said, and looks whether it wrote when nobody looked.
#[track_caller]
fn nothing_stays_of(command: &str, code: i32, says: &[&str]) {
    let Some(host) = Host::with(&["nft", "setsid"]) else { return };
    host.namespace.shell("nft add table inet own");
    let before = host.rules().canonical();
    let written = host.folder.path().join("written");
    let command =
        command.replace("WRITE", &format!("nft add table inet late && touch {}", written.display()));
    let session = host.start(&["guard", "--window", WINDOW, "--", "sh", "-c", &command]);
    finish(session).expect(code, says);
    assert_eq!(host.rules().canonical(), before, "when it was said that it is over");
    std::thread::sleep(LATER);
    assert_eq!(host.rules().canonical(), before, "later; the command wrote: {}", written.exists());
    let left = "for process in /proc/[0-9]*; do [ \"$(cat $process/comm 2>/dev/null)\" != sleep ] || cat $process/cmdline; done";
    assert_eq!(host.namespace.shell(left), "", "processes of the command live on");
}

#[test]
fn a_command_that_sleeps_past_its_time_changes_nothing_any_more() {
    nothing_stays_of(
        "nft add table inet early; sleep 7; WRITE",
        1,
        &["the trial is over while the command still runs", "the old rules are back"],
    );
}

#[test]
fn a_command_that_does_not_hear_that_it_should_end_is_ended() {
    nothing_stays_of("trap '' TERM HUP; nft add table inet early; sleep 6; sleep 1; WRITE; sleep 1", 1, &[]);
}

#[test]
fn what_a_command_does_when_it_is_told_to_end_is_taken_back() {
    nothing_stays_of(
        "trap 'WRITE; exit' TERM; sleep 6 & wait; sleep 1; WRITE",
        1,
        &["the old rules are back"],
    );
}

#[test]
fn a_grandchild_in_a_session_of_its_own_is_ended_with_the_command() {
    nothing_stays_of(
        "setsid sh -c 'trap \"\" TERM HUP; sleep 7; WRITE' </dev/null >/dev/null 2>&1 & nft add table inet early; wait",
        1,
        &["the old rules are back"],
    );
}

#[test]
fn what_an_orphan_of_the_command_changes_later_is_taken_back() {
    // The command itself ends at once and changes nothing.
    nothing_stays_of(
        "setsid sh -c 'sleep 3; WRITE; sleep 20; WRITE' </dev/null >/dev/null 2>&1 &",
        1,
        &["rules changed again after the way back, and were brought back once more"],
    );
}

#[test]
fn the_guard_ends_the_command_where_its_client_is_dead() {
    let Some(host) = Host::with(&["nft", "setsid"]) else { return };
    let before = host.rules().canonical();
    let command = "nft add table inet early; (setsid sh -c 'sleep 7; nft add table inet late' &) ; sleep 7; nft add table inet later";
    let mut session = host.start(&["guard", "--window", WINDOW, "--", "sh", "-c", command]);
    wait_for("the command runs", || host.rules().nft.contains("early"));
    session.kill().unwrap();
    session.wait().unwrap();
    wait_for("the way back", || host.run(&["status"]).all().contains("the old rules are back"));
    assert_eq!(host.rules().canonical(), before);
    std::thread::sleep(LATER);
    assert_eq!(host.rules().canonical(), before);
}

#[test]
fn a_service_that_the_command_started_lives_on_and_is_told() {
    let Some(host) = Host::with(&["nft", "setsid"]) else { return };
    let command = "setsid sleep 60 </dev/null >/dev/null 2>&1 & nft add table inet early; false";
    let session = host.start(&["guard", "--window", "60", "--", "sh", "-c", command]);
    finish(session).expect(1, &["the old rules are back", "what the command started runs on", "sleep ("]);
    host.run(&["status"]).expect(0, &["what the command started runs on"]);
    assert!(host.namespace.shell("cat /proc/[0-9]*/comm").contains("sleep"));
}
