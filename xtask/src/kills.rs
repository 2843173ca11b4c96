//! `cargo xtask kills`: changes on trial in which clients, guards and loaders are killed, with the real kernel.
//!
//! Each worker has namespaces of its own for the network, processes and mounts; it is their first process, so everything
//! in them dies with it, and it dies with the command that started it. What is killed when comes from a seed.

mod case;
mod processes;
mod scene;

use case::Case;
use clap::Args;
use scene::Scene;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

/// What is killed.
#[derive(Debug, Args)]
pub struct Options {
    /// How many changes.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// Seed of the first one; each further one adds 1. One is repeated by giving it its seed, with `--count 1`.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 32)]
    jobs: u64,
    /// Print each.
    #[arg(long)]
    verbose: bool,
}

/// Steps at which something has to be killed for a run of some size to count.
const STEPS: [&str; 17] = [
    "client before armed",
    "save armed",
    "read back",
    "save applying",
    "load forward",
    "save applied",
    "resolve inverse",
    "wait",
    "stage",
    "save confirmed",
    "keep",
    "save reverting",
    "load inverse",
    "load rollback",
    "hold workers",
    "end workers",
    "watch",
];
/// The size from which on.
const ENOUGH: u64 = 200;

/// Runs all of them, and prints what was killed when.
pub fn run(options: &Options) -> ExitCode {
    let start = Instant::now();
    let jobs = options.jobs.clamp(1, options.count.max(1));
    let workers: Vec<std::io::Result<Child>> = (0..jobs).map(|job| worker(options, job, jobs)).collect();
    let readers: Vec<_> = workers
        .into_iter()
        .map(|worker| {
            std::thread::spawn(move || {
                let mut worker = worker.map_err(|error| format!("no worker: {error}"))?;
                // Its end tells the worker that this command ended.
                let stdin = worker.stdin.take();
                let lines: Vec<String> = worker
                    .stdout
                    .take()
                    .map(|out| BufReader::new(out).lines().map_while(Result::ok).collect())
                    .unwrap_or_default();
                let status = worker.wait().map_err(|error| error.to_string())?;
                drop(stdin);
                if status.success() { Ok(lines) } else { Err(format!("{}\n{status}", lines.join("\n"))) }
            })
        })
        .collect();
    let mut tally = Tally::default();
    for reader in readers {
        match reader.join().unwrap_or_else(|_| Err("a reader panicked".to_owned())) {
            Ok(lines) => lines.iter().for_each(|line| tally.count(line, options.verbose)),
            Err(problem) => tally.problems.push(problem),
        }
    }
    tally.report(options, start)
}

/// What came of the changes.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<String, u64>,
    kills: BTreeMap<String, BTreeMap<String, u64>>,
    /// The steps that were aimed at, or hit.
    reached: BTreeSet<String>,
    problems: Vec<String>,
}

impl Tally {
    /// `ok TAB outcome TAB aim=step=target TAB ...`, or a problem.
    fn count(&mut self, line: &str, verbose: bool) {
        if verbose {
            println!("{line}");
        }
        let mut words = line.split('\t');
        if words.next() != Some("ok") {
            self.problems.push(line.to_owned());
            return;
        }
        *self.outcomes.entry(words.next().unwrap_or_default().to_owned()).or_default() += 1;
        for kill in words {
            let (aim, kill) = kill.split_once('=').unwrap_or((kill, ""));
            let (step, target) = kill.split_once('=').unwrap_or((kill, ""));
            // A step that is over quickly is often over when the signal comes.
            self.reached.extend([aim.to_owned(), step.to_owned()]);
            *self.kills.entry(step.to_owned()).or_default().entry(target.to_owned()).or_default() += 1;
        }
    }

    fn report(&self, options: &Options, start: Instant) -> ExitCode {
        for (outcome, count) in &self.outcomes {
            println!("{count:>6} {outcome}");
        }
        println!("killed while the guard was at:");
        for (step, targets) in &self.kills {
            let targets: Vec<String> =
                targets.iter().map(|(target, count)| format!("{target} {count}")).collect();
            println!("  {step:<20} {}", targets.join(", "));
        }
        let done: u64 = self.outcomes.values().sum();
        let kills: u64 = self.kills.values().flat_map(BTreeMap::values).sum();
        let seconds = start.elapsed().as_secs();
        println!("{done} changes from seed {}, {kills} kills, {seconds} s", options.seed);
        for problem in &self.problems {
            println!("{problem}");
        }
        let missed: Vec<&str> = STEPS.into_iter().filter(|step| !self.reached.contains(*step)).collect();
        if options.count >= ENOUGH && !missed.is_empty() {
            println!("nothing was killed at: {}", missed.join(", "));
            return ExitCode::FAILURE;
        }
        if self.problems.is_empty() && done == options.count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Starts a worker in namespaces of its own.
fn worker(options: &Options, job: u64, jobs: u64) -> std::io::Result<Child> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]);
    if !nix::unistd::Uid::effective().is_root() {
        command.arg("--map-root-user");
    }
    command.arg(std::env::current_exe()?).arg(WORKER);
    command.args([options.seed, options.count, job, jobs].map(|number| number.to_string()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

const WORKER: &str = "kills-worker";
const CLIENT: &str = "kills-client";
const RECOVER: &str = "kills-recover";
const GUARD: &str = "guard-process";

/// What this program does when it was started as a helper of `kills`.
pub fn serve_as_helper() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    Some(match words.as_slice() {
        [GUARD, "--detach", folder] => firewarden_host::guard::serve(Path::new(folder), true),
        [GUARD, folder] => firewarden_host::guard::serve(Path::new(folder), false),
        [CLIENT, folder, seed, window] => {
            scene::client(Path::new(folder), &Case::new(seed.parse().ok()?), window.parse().ok()?)
        }
        [RECOVER, folder] => scene::recover(Path::new(folder)),
        [WORKER, seed, count, job, jobs] => {
            let numbers = [seed, count, job, jobs].map(|word| word.parse::<u64>().unwrap_or_default());
            work(numbers)
        }
        _ => return None,
    })
}

/// Every `jobs`-th change, beginning with number `job`.
fn work([seed, count, job, jobs]: [u64; 4]) -> ExitCode {
    std::thread::spawn(|| {
        // It ends when the command does that started this worker; then everything here ends.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let scene = match Scene::new() {
        Ok(scene) => scene,
        Err(problem) => {
            println!("no place for tests: {problem}");
            return ExitCode::FAILURE;
        }
    };
    for number in (job..count).step_by(usize::try_from(jobs).unwrap_or(1).max(1)) {
        let case = Case::new(seed + number);
        match scene.play(&case) {
            Ok(line) => println!("ok\t{line}"),
            Err(problem) => println!("seed {}: {problem}", seed + number),
        }
    }
    ExitCode::SUCCESS
}
