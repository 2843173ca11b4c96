//! Trials in a simulated world: a kernel, a disk, guards that die, other writers, reboots, all from a seed.

mod world;

use firewarden_change::trial::{Attempt, Effect, Event, Kind, Origin, Phase, Reading, Reason, Rules, Trial};
use world::{Chances, World};

/// How many worlds each test makes. `FIREWARDEN_SEEDS` asks for another number.
fn seeds() -> u64 {
    std::env::var("FIREWARDEN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

fn run(name: &str, first: u64, chances: &Chances) -> [u64; 4] {
    let mut outcomes = [0; 4];
    for seed in first..first + seeds() {
        let mut world = World::new(seed, chances.clone());
        match world.run() {
            Ok(outcome) => outcomes[outcome as usize] += 1,
            Err(wrong) => panic!("{name}, seed {seed}: {wrong}\n{}", world.story.join("\n")),
        }
    }
    let [confirmed, reverted, stuck, abandoned] = outcomes;
    println!("{name}: {confirmed} confirmed, {reverted} reverted, {stuck} stuck, {abandoned} abandoned");
    outcomes
}

#[test]
fn a_quiet_world_does_what_is_asked() {
    let [confirmed, reverted, stuck, abandoned] = run("quiet", 0, &Chances::default());
    assert!(confirmed * 5 > seeds() && reverted * 5 > seeds());
    assert_eq!(stuck + abandoned, 0);
}

#[test]
fn guards_that_die_anywhere() {
    let chances = Chances { death: 8, ..Chances::default() };
    let [confirmed, reverted, stuck, _] = run("deaths", 1 << 32, &chances);
    assert!(confirmed * 10 > seeds() && reverted * 10 > seeds());
    assert_eq!(stuck, 0);
}

#[test]
fn reboots_anywhere() {
    let chances = Chances { death: 20, reboot: 12, ..Chances::default() };
    let [confirmed, reverted, stuck, _] = run("reboots", 2 << 32, &chances);
    assert!(confirmed * 20 > seeds() && reverted * 10 > seeds());
    assert_eq!(stuck, 0);
}

#[test]
fn disks_that_fail_or_are_full() {
    let chances = Chances { death: 12, disk: 6, ..Chances::default() };
    let [confirmed, reverted, ..] = run("disks", 3 << 32, &chances);
    assert!(confirmed * 20 > seeds() && reverted * 10 > seeds());
}

#[test]
fn loaders_that_refuse_and_rules_that_cannot_be_read() {
    let chances = Chances { death: 16, loader: 4, reading: 12, never_back: 20, ..Chances::default() };
    let [_, reverted, stuck, abandoned] = run("loaders", 4 << 32, &chances);
    assert!(reverted * 10 > seeds() && stuck > 0 && abandoned > 0);
}

#[test]
fn others_who_change_the_rules_meanwhile() {
    let chances = Chances { death: 16, writer: 6, ..Chances::default() };
    let [confirmed, reverted, ..] = run("writers", 5 << 32, &chances);
    assert!(confirmed * 20 > seeds() && reverted * 10 > seeds());
}

#[test]
fn commands_that_go_on_and_leave_others_behind() {
    let chances = Chances { worker: 1, ..Chances::default() };
    let [confirmed, reverted, stuck, abandoned] = run("workers", 7 << 32, &chances);
    assert!(confirmed * 10 > seeds() && reverted * 5 > seeds());
    assert_eq!(stuck + abandoned, 0);
    let chances = Chances { worker: 1, death: 8, reboot: 60, ..Chances::default() };
    let [confirmed, reverted, ..] = run("workers and deaths", 8 << 32, &chances);
    assert!(confirmed * 10 > seeds() && reverted * 5 > seeds());
}

#[test]
fn everything_at_once() {
    let chances = Chances {
        death: 12,
        reboot: 40,
        disk: 12,
        loader: 10,
        reading: 20,
        writer: 12,
        never_back: 60,
        worker: 2,
    };
    run("everything", 6 << 32, &chances);
}

#[test]
fn a_loader_that_is_stopped_at_the_deadline_is_not_told_as_a_refusal() {
    for (answered_at, is_late) in [(500, false), (1000, true)] {
        let (mut trial, effect) =
            Trial::begin(Kind::Scripts { inverse: false }, "boot", 0, Origin::New { window: 1000 });
        assert!(matches!(effect, Effect::Save(_)));
        assert_eq!(trial.on(0, Event::Done), Effect::ReadBack);
        let old = Reading { digest: "old".to_owned(), rules: Rules::Old, foreign: false };
        assert!(matches!(trial.on(0, Event::Read(Ok(old))), Effect::Save(_)));
        assert_eq!(trial.on(0, Event::Done), Effect::LoadForward { until: 1000 });
        assert_eq!(trial.on(answered_at, Event::Failed("stopped".to_owned())), Effect::ReadBack);
        let words = "stopped".to_owned();
        let reason = if is_late { Reason::TooSlow { words } } else { Reason::Refused { words } };
        let attempt = Attempt::Whole;
        assert_eq!(trial.record().phase, Phase::Reverting { reason, attempt });
    }
}
