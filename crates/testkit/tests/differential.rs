//! A small differential test in the ordinary test suite; `cargo xtask differential` does the large one.
//!
//! `FIREWARDEN_SEED` sets the first seed.

use firewarden_testkit::differential::{Plan, Tally, engine_against_interpreter};
use firewarden_testkit::generate::Knobs;
use firewarden_testkit::kernel::Kernel;
use firewarden_testkit::kernel::changes::ChangeTally;

fn plan(rulesets: u64, packets: u64, atoms: bool) -> Plan {
    let seed = std::env::var("FIREWARDEN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("seed {seed}");
    Plan { seed, rulesets, packets, knobs: Knobs { atoms, ..Knobs::default() } }
}

#[test]
fn the_engine_is_the_interpreter() {
    let mut tally = Tally::default();
    let result = engine_against_interpreter(&plan(400, 60, true), &mut tally);
    if let Err(disagreement) = result {
        panic!("{disagreement}");
    }
    assert!(tally.refused.is_empty(), "{:?}", tally.refused);
    assert_eq!(tally.coverage.missing(), Vec::<&str>::new());
    eprintln!("{} packets, {} in regions", tally.packets, tally.in_regions);
}

#[test]
fn the_interpreter_is_the_kernel() {
    let mut kernel = match Kernel::start() {
        Ok(kernel) => kernel,
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "the kernel oracle must run in CI: {why}");
            eprintln!("skipped: {why}");
            return;
        }
    };
    let mut tally = Tally::default();
    if let Err(disagreement) = kernel.compare(&plan(60, 300, false), &mut tally) {
        panic!("{disagreement}");
    }
    eprintln!("{} kernel packets", tally.kernel_packets);
    assert!(tally.kernel_packets > 0, "no packet was given to the kernel");
    assert!(tally.refused.is_empty(), "{:?}", tally.refused);
    assert!(tally.kernel_refused.is_empty(), "{:?}", tally.kernel_refused);
}

#[test]
fn the_diff_is_the_kernels_difference() {
    let mut kernel = match Kernel::start() {
        Ok(kernel) => kernel,
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "the kernel oracle must run in CI: {why}");
            eprintln!("skipped: {why}");
            return;
        }
    };
    let mut tally = ChangeTally::default();
    if let Err(problem) = kernel.compare_changes(&plan(PAIRS, 120, false), &mut tally) {
        panic!("{problem}");
    }
    eprintln!(
        "{} pairs, {} with {} changes, {} kernel packets, {} of which the diff tells, {} skipped",
        tally.pairs, tally.meaningful, tally.changes, tally.packets, tally.told, tally.skipped
    );
    assert!(tally.refused.is_empty(), "{:?}", tally.refused);
    assert!(tally.packets > PAIRS * 40 && tally.told > 100, "too few packets were given to the kernel");
}

/// Pairs of rulesets for the kernel: about a minute's work.
const PAIRS: u64 = 150;
