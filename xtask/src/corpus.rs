//! `cargo xtask corpus`: what the frontends and the engine make of real rulesets, as a table under `docs/`.
//!
//! The corpus is no part of the project. Where it is absent, the command says so and succeeds.

mod changes;
mod dumps;
mod goldens;
mod lines;
mod load;
mod semantics;
mod stats;
mod translate;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Write nothing; fail where docs/corpus.md is out of date.
    #[arg(long)]
    check: bool,
    /// Print every error, and every rule that isn't modelled.
    #[arg(long)]
    list: bool,
    /// The corpus [default: $FIREWARDEN_CORPUS, or ../shared/corpus]
    folder: Option<PathBuf>,
}

/// What a part of the corpus showed.
#[derive(Debug, Default)]
struct Section {
    /// For the document.
    text: String,
    /// Wanted, and not so: the command fails.
    failures: Vec<String>,
    /// For whoever runs the command with `--list`.
    details: Vec<String>,
}

/// Runs everything over the corpus; prints the document, and writes or compares it.
pub fn run(options: &Options) -> ExitCode {
    let folder = options
        .folder
        .clone()
        .or_else(|| std::env::var_os("FIREWARDEN_CORPUS").map(PathBuf::from))
        .unwrap_or_else(|| root().join("../shared/corpus"));
    if !folder.join("iptables").is_dir() && !folder.join("nft").is_dir() {
        println!(
            "skipped: there is no corpus in {}; set FIREWARDEN_CORPUS or name its folder",
            folder.display()
        );
        return ExitCode::SUCCESS;
    }
    let mut document = String::from(HEAD);
    let mut failures = Vec::new();
    for part in
        [stats::run, lines::run, dumps::run, translate::run, semantics::run, goldens::run, changes::run]
    {
        let section = part(&folder);
        let _ = write!(document, "\n{}", section.text);
        failures.extend(section.failures);
        if options.list {
            section.details.iter().for_each(|line| println!("{line}"));
        }
    }
    print!("{document}");
    for failure in &failures {
        eprintln!("not as wanted: {failure}");
    }
    let settled = settle(&document, options.check);
    if failures.is_empty() && settled { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const HEAD: &str = "# The corpus

Made by `cargo xtask corpus`; checked in CI where the corpus is present. The corpus itself is not part of the
repository: rulesets that people run, and the test suites of nftables, iptables and ipset. An *atom* is a condition
that isn't interpreted: it may be true or false, and an answer that rests on it says so.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes the document, or says that it is out of date. True where all is well.
fn settle(document: &str, check: bool) -> bool {
    let path = root().join("docs/corpus.md");
    if std::fs::read_to_string(&path).is_ok_and(|present| present == document) {
        return true;
    }
    if check {
        eprintln!("docs/corpus.md is out of date: run `cargo xtask corpus` and commit what it writes");
        return false;
    }
    match std::fs::write(&path, document) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("cannot write docs/corpus.md: {error}");
            false
        }
    }
}

/// A share in percent with two digits.
fn percent(part: usize, whole: usize) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.2} %", 100.0 * part as f64 / whole as f64),
    }
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// A path below the corpus, as it is shown.
fn shown(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}
