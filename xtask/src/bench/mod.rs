//! `cargo xtask bench`: whole commands on rulesets of growing size, beside peers on the same file in the same run:
//! `nft -c -f`, and with `--z3` Z3 from PyPI.

mod classbench;
mod generate;
mod measure;

use measure::Measured;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Sizes of the rulesets, in rules.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    rules: Vec<usize>,
    /// How many intents are checked.
    #[arg(long, default_value_t = 1000)]
    intents: usize,
    /// How often each command runs; the median is printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Ask Z3 the same (`pip install z3-solver`), of rulesets of up to this many rules.
    #[arg(long, value_name = "RULES")]
    z3: Option<usize>,
    /// Compare ClassBench filter sets with themselves after fifty edits too: the corpus folder `classbench`.
    #[arg(long, value_name = "FOLDER")]
    classbench: Option<PathBuf>,
    /// Where rulesets are written.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// Builds the release binary, generates the rulesets, runs everything and prints one table.
pub fn run(options: &Options) -> ExitCode {
    match compare(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let built = Command::new("cargo").args(["build", "--release", "--package", "firewarden"]).status();
    if !built.map_err(|error| format!("cargo can't be run: {error}"))?.success() {
        return Err("firewarden doesn't build".to_owned());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let firewarden = target.join("release/firewarden");
    println!(
        "Medians of {} runs of the whole command, one thread (`diff` parses on two); memory is the peak of the process.\n",
        options.runs
    );
    println!(
        "| rules | file | parse | check of {} intents | memory | diff, 10 edits | memory | diff, 50 edits | audit | memory | `nft -c -f` | memory |",
        options.intents
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut peers = Vec::new();
    for &rules in &options.rules {
        let folder = options.folder.join(rules.to_string());
        let size = generate::write(&folder, rules, options.intents)
            .map_err(|error| format!("{} can't be written: {error}", folder.display()))?;
        let ruleset = folder.join("input.nft");
        let run = |arguments: &[&Path], codes: &[i32]| {
            let mut command = Command::new(&firewarden);
            command.args(arguments).args(["--format", "json"]);
            measure::median(&mut command, options.runs, codes)
        };
        let (check, diff, audit) = (Path::new("check"), Path::new("diff"), Path::new("audit"));
        let parse = run(&[check, &folder.join("one.yaml")], &[0])?;
        let full = run(&[check, &folder.join("firewarden.yaml")], &[0])?;
        let differs = run(&[diff, &ruleset, &folder.join("edited.nft")], &[1])?;
        let many = run(&[diff, &ruleset, &folder.join("edited50.nft")], &[1])?;
        let audited = run(&[audit, &ruleset], &[0, 1, 3])?;
        let mut nft = Command::new("nft");
        nft.args(["-c", "-f"]).arg(&ruleset);
        let (nft_time, nft_memory) = match measure::median(&mut nft, options.runs, &[0]) {
            Ok(Measured { seconds, kibibytes }) => (time(seconds), memory(kibibytes)),
            Err(why) => (format!("not measured: {why}"), "-".to_owned()),
        };
        println!(
            "| {rules} | {:.1} MB | {} | {} | {} | {} | {} | {} | {} | {} | {nft_time} | {nft_memory} |",
            size as f64 / 1e6,
            time(parse.seconds),
            time(full.seconds),
            memory(full.kibibytes),
            time(differs.seconds),
            memory(differs.kibibytes),
            time(many.seconds),
            time(audited.seconds),
            memory(audited.kibibytes),
        );
        if options.z3.is_some_and(|most| rules <= most) {
            peers.push(z3(&folder, rules));
        }
    }
    if let Some(corpus) = &options.classbench {
        println!("\n| ClassBench set, 50 edits | diff | memory |\n|---|---:|---:|");
        for pair in classbench::write(corpus, &options.folder.join("classbench"))? {
            let mut command = Command::new(&firewarden);
            command.arg("diff").args([&pair.before, &pair.after]).args(["--format", "json"]);
            let Measured { seconds, kibibytes } = measure::median(&mut command, options.runs, &[1])?;
            println!("| {} | {} | {} |", pair.name, time(seconds), memory(kibibytes));
        }
    }
    println!("\n`parse` is the same command with one intent: reading, lowering, indexing and one proof.");
    if !peers.is_empty() {
        println!("\nZ3 (solving only, without its start):\n");
        println!("| rules | 100 intents | is each rule reached? |\n|---:|---:|---:|");
        peers.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// The same questions by Z3, once each.
fn z3(folder: &Path, rules: usize) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/z3_peer.py");
    let ask = |what: &str| {
        let output =
            Command::new("python3").arg(&script).arg(what).arg(folder.join("rules.csv")).arg("100").output();
        match output {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                format!("not measured: {}", said.lines().last().unwrap_or("no reason given"))
            }
            Err(error) => format!("not measured: {error}"),
        }
    };
    format!("| {rules} | {} | {} |", ask("check"), ask("audit"))
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

fn memory(kibibytes: u64) -> String {
    format!("{:.0} MiB", kibibytes as f64 / 1024.0)
}
