//! `cargo xtask bench`: whole commands on rulesets of growing size, beside `nft -c -f` on the same file in the same run.

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
        "Medians of {} runs of the whole command, one thread; memory is the peak of the process.\n",
        options.runs
    );
    println!(
        "| rules | file | parse | parse + check of {} intents | memory | `nft -c -f` | memory |",
        options.intents
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for &rules in &options.rules {
        let folder = options.folder.join(rules.to_string());
        let size = generate::write(&folder, rules, options.intents)
            .map_err(|error| format!("{} can't be written: {error}", folder.display()))?;
        let ruleset = folder.join("input.nft");
        let one = folder.join("one.yaml");
        let all = folder.join("firewarden.yaml");
        let check = |stack: &Path| {
            let mut command = Command::new(&firewarden);
            command.arg("check").arg(stack).args(["--format", "json"]);
            measure::median(&mut command, options.runs)
        };
        let parse = check(&one)?;
        let full = check(&all)?;
        let mut nft = Command::new("nft");
        nft.args(["-c", "-f"]).arg(&ruleset);
        let nft = measure::median(&mut nft, options.runs);
        let (nft_time, nft_memory) = match nft {
            Ok(Measured { seconds, kibibytes }) => (time(seconds), memory(kibibytes)),
            Err(why) => (format!("not measured: {why}"), "-".to_owned()),
        };
        println!(
            "| {rules} | {:.1} MB | {} | {} | {} | {nft_time} | {nft_memory} |",
            size as f64 / 1e6,
            time(parse.seconds),
            time(full.seconds),
            memory(full.kibibytes)
        );
    }
    println!("\n`parse` is the same command with one intent: reading, lowering, indexing and one proof.");
    Ok(())
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

fn memory(kibibytes: u64) -> String {
    format!("{:.0} MiB", kibibytes as f64 / 1024.0)
}
