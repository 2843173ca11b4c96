//! `cargo xtask differential`: engine = interpreter = kernel, on rulesets and packets from a seed.

mod corpus;

use clap::Args;
use firewarden_testkit::differential::{Plan, Tally, engine_against_interpreter};
use firewarden_testkit::generate::Knobs;
use firewarden_testkit::kernel::Kernel;
use firewarden_testkit::kernel::changes::ChangeTally;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// How much is compared.
#[derive(Debug, Args)]
pub struct Options {
    /// Seed of the first ruleset; each further one adds 1. A run is repeated by giving it its seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many rulesets.
    #[arg(long, default_value_t = 1000)]
    rulesets: u64,
    /// How many packets for each ruleset.
    #[arg(long, default_value_t = 300)]
    packets: u64,
    /// Most rules in a chain.
    #[arg(long, default_value_t = 6)]
    rules: usize,
    /// Ask the kernel too, in a throwaway network namespace; it is an error where none can be made.
    #[arg(long)]
    kernel: bool,
    /// Compare what diff says of this many pairs of rulesets, the second one an edit of the first, with the kernel, and
    /// nothing else.
    #[arg(long, value_name = "PAIRS", conflicts_with = "corpus")]
    changes: Option<u64>,
    /// Compare on the real rulesets of a corpus folder as well.
    #[arg(long, value_name = "FOLDER")]
    corpus: Option<PathBuf>,
    /// Of the corpus, only files with this in their path; each has the seed that it has among all of them.
    #[arg(long, value_name = "PART", requires = "corpus")]
    only: Option<String>,
}

/// Compares, prints what was compared, and fails at the first disagreement.
pub fn run(options: &Options) -> ExitCode {
    if let Some(pairs) = options.changes {
        return changes(pairs, options);
    }
    println!("seed {}, {} rulesets, {} packets each", options.seed, options.rulesets, options.packets);
    let plan = |atoms| Plan {
        seed: options.seed,
        rulesets: options.rulesets,
        packets: options.packets,
        knobs: Knobs { rules: options.rules, atoms },
    };
    let mut tally = Tally::default();
    let start = Instant::now();
    let mut result = engine_against_interpreter(&plan(true), &mut tally);
    print!("{}", tally.coverage);
    let (reached, all) = tally.coverage.reached();
    println!("variants reached: {reached} of {all}{}", list(&tally.coverage.missing()));
    println!(
        "engine = interpreter: {} rulesets, {} packets, and {} more from the engine's regions, in {:.1} s",
        tally.rulesets,
        tally.packets,
        tally.in_regions,
        start.elapsed().as_secs_f64()
    );
    let mut complete = true;
    if options.kernel && result.is_ok() {
        let start = Instant::now();
        match Kernel::start() {
            Ok(mut kernel) => {
                result = kernel.compare(&plan(false), &mut tally);
                println!(
                    "interpreter = kernel: {} rulesets, {} packets ({} more that the kernel can't be asked about), in {:.1} s",
                    tally.kernel_rulesets,
                    tally.kernel_packets,
                    tally.kernel_skipped,
                    start.elapsed().as_secs_f64()
                );
            }
            Err(why) => println!("interpreter = kernel: {why}"),
        }
        if tally.kernel_packets == 0 {
            println!("no packet was given to the kernel");
            complete = false;
        }
        complete &= told("the kernel refused", &tally.kernel_refused);
    }
    complete &= told("the frontends refused", &tally.refused);
    match result {
        Err(disagreement) => {
            println!("{disagreement}");
            ExitCode::FAILURE
        }
        Ok(()) if !complete => ExitCode::FAILURE,
        Ok(()) => {
            options.corpus.as_deref().map_or(ExitCode::SUCCESS, |folder| real_rulesets(folder, options))
        }
    }
}

/// Diff against the kernel.
fn changes(pairs: u64, options: &Options) -> ExitCode {
    println!("seed {}, {pairs} pairs of rulesets, {} packets each", options.seed, options.packets);
    let knobs = Knobs { rules: options.rules, atoms: false };
    let plan = Plan { seed: options.seed, rulesets: pairs, packets: options.packets, knobs };
    let start = Instant::now();
    let mut tally = ChangeTally::default();
    let result = Kernel::start().and_then(|mut kernel| kernel.compare_changes(&plan, &mut tally));
    println!(
        "diff = kernel: {} pairs, {} of them with {} changes; {} packets, {} of which the diff tells \
         ({} more that can't be compared), in {:.1} s",
        tally.pairs,
        tally.meaningful,
        tally.changes,
        tally.packets,
        tally.told,
        tally.skipped,
        start.elapsed().as_secs_f64()
    );
    let complete = told("kernel or frontends refused", &tally.refused);
    match result {
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
        Ok(()) if tally.packets == 0 => {
            println!("no packet was given to the kernel");
            ExitCode::FAILURE
        }
        Ok(()) if !complete => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// The same for the rulesets of a corpus.
fn real_rulesets(folder: &Path, options: &Options) -> ExitCode {
    let mut kernel = None;
    if options.kernel {
        match Kernel::start() {
            Ok(started) => kernel = Some(started),
            Err(why) => {
                println!("interpreter = kernel: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    let start = Instant::now();
    let mut tally = Tally::default();
    let (outcome, disagreements) =
        corpus::compare(folder, options.only.as_deref(), options.packets, kernel.as_mut(), &mut tally);
    for (file, disagreement) in &disagreements {
        println!("{}: {disagreement}", file.display());
    }
    println!("{}", outcome.told(&tally));
    println!(
        "corpus: {} packets and {} from regions by engine and interpreter, {} by the kernel, in {:.1} s; \
         disagreements in {} files",
        tally.packets,
        tally.in_regions,
        tally.kernel_packets,
        start.elapsed().as_secs_f64(),
        disagreements.len()
    );
    if disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says which rulesets were refused; every generated one is meant to load. True where none was.
fn told(who: &str, refused: &[(u64, String)]) -> bool {
    for (seed, why) in refused.iter().take(10) {
        println!("{who} seed {seed}: {why}");
    }
    if refused.len() > 10 {
        println!("{who} {} more", refused.len() - 10);
    }
    refused.is_empty()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!(" (missing: {})", names.join(", ")) }
}
