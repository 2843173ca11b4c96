//! `cargo xtask mutants`: are planted mistakes caught by the tests?
//!
//! All mistakes are planted at once in a copy of the workspace, each behind a switch that an environment variable sets,
//! so that the copy is built once. Then the tests run once without a mistake, when they must pass, and once with each,
//! when some test must fail (or go on for ever).

mod list;

use list::{MUTANTS, Mutant};
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What `cargo xtask mutants` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the copy of the workspace goes.
    #[arg(long, default_value = "target/mutants")]
    folder: PathBuf,
    /// Only the mutants with these numbers.
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
    /// How long the tests may take with one mistake, in seconds.
    #[arg(long, default_value_t = 180)]
    limit: u64,
}

/// The crates whose tests are asked, in order: those that catch most come first.
const TESTS: [&str; 6] = [
    "firewarden-ruleset",
    "firewarden-engine",
    "firewarden-packet",
    "firewarden-testkit",
    "firewarden-verify",
    "firewarden-change",
];

/// Plants, builds, runs, and prints a table.
pub fn run(options: &Options) -> ExitCode {
    match survey(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("mutants: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn survey(options: &Options) -> Result<bool, String> {
    let copy = &options.folder;
    copy_workspace(Path::new("."), copy)
        .map_err(|error| format!("the workspace can't be copied: {error}"))?;
    for (number, mutant) in MUTANTS.iter().enumerate() {
        plant(copy, number + 1, mutant)?;
    }
    let tests = build(copy)?;
    println!("{} mutants, {} test programs", MUTANTS.len(), tests.len());
    let limit = Duration::from_secs(options.limit);
    if let Some((test, how)) = first_failure(&tests, None, limit * 3)? {
        return Err(format!("without a mutant, {} {how}", test.name));
    }
    println!("without a mutant: all tests pass\n");
    println!("| | where | mistake | |\n|---:|---|---|---|");
    let mut missed = 0;
    for (index, mutant) in MUTANTS.iter().enumerate() {
        let number = index + 1;
        if !options.only.is_empty() && !options.only.contains(&number) {
            continue;
        }
        let result = match first_failure(&tests, Some(number), limit)? {
            Some((test, how)) => format!("caught: {} {how}", test.name),
            None => {
                missed += 1;
                "MISSED".to_owned()
            }
        };
        println!("| {number} | {} | {} | {result} |", mutant.file, mutant.mistake);
    }
    println!("\n{missed} missed");
    Ok(missed == 0)
}

/// Copies what is needed to build; files that haven't changed keep their times, so that a second run builds little.
fn copy_workspace(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_str(), Some("target" | ".git" | ".ci")) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            copy_workspace(&source, &target)?;
            continue;
        }
        let text = std::fs::read(&source)?;
        if std::fs::read(&target).ok().as_ref() != Some(&text) {
            std::fs::create_dir_all(to)?;
            std::fs::write(&target, text)?;
        }
    }
    Ok(())
}

/// Puts a mistake in, behind its switch.
fn plant(copy: &Path, number: usize, mutant: &Mutant) -> Result<(), String> {
    let path = copy.join(mutant.file);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let right = format!("{}{}{}", mutant.before, mutant.right, mutant.after);
    let count = text.matches(&right).count();
    if count != 1 {
        return Err(format!(
            "mutant {number}: `{right}` is {count} times in {}; it should be there once",
            mutant.file
        ));
    }
    let switched = format!(
        "{}(if crate::mutant({number}) {{ {} }} else {{ {} }}){}",
        mutant.before, mutant.wrong, mutant.right, mutant.after
    );
    std::fs::write(&path, text.replace(&right, &switched)).map_err(|error| error.to_string())?;
    let root = copy.join(mutant.file.split("/src/").next().unwrap_or_default()).join("src/lib.rs");
    let mut library = std::fs::read_to_string(&root).map_err(|error| error.to_string())?;
    if !library.contains("fn mutant(") {
        library.push_str(SWITCH);
        std::fs::write(&root, library).map_err(|error| error.to_string())?;
    }
    Ok(())
}

const SWITCH: &str = "
/// Whether a planted mistake is switched on.
pub(crate) fn mutant(number: u32) -> bool {
    static CHOSEN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let read = || std::env::var(\"FIREWARDEN_MUTANT\").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    *CHOSEN.get_or_init(read) == number
}
";

/// A test program.
struct TestProgram {
    name: String,
    program: PathBuf,
    folder: PathBuf,
}

/// Builds the tests; gives the programs in the order of [`TESTS`].
fn build(copy: &Path) -> Result<Vec<TestProgram>, String> {
    let mut command = Command::new("cargo");
    command.current_dir(copy).args(["test", "--no-run", "--lib", "--tests", "--message-format", "short"]);
    command.env("CARGO_TARGET_DIR", "target").env("RUSTFLAGS", "-A warnings");
    for package in TESTS {
        command.args(["--package", package]);
    }
    let mut child =
        command.stderr(Stdio::piped()).spawn().map_err(|error| format!("cargo can't be run: {error}"))?;
    let mut programs = Vec::new();
    let mut said = Vec::new();
    for line in io::BufReader::new(child.stderr.take().ok_or("no standard error")?).lines() {
        let line = line.map_err(|error| error.to_string())?;
        // `  Executable tests/regions.rs (target/debug/deps/regions-0123456789abcdef)`
        if let Some((_, rest)) = line.split_once("Executable ")
            && let Some((_, program)) = rest.rsplit_once('(')
        {
            programs.push(PathBuf::from(program.trim_end_matches(')')));
        }
        said.push(line);
    }
    if !child.wait().map_err(|error| error.to_string())?.success() {
        let tail: Vec<&str> = said.iter().rev().take(20).rev().map(String::as_str).collect();
        return Err(format!("the mutated copy doesn't build:\n{}", tail.join("\n")));
    }
    let copy = copy.canonicalize().map_err(|error| error.to_string())?;
    let mut tests: Vec<TestProgram> = Vec::new();
    for program in programs {
        let stem = program.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_owned());
        let package = package_of(&copy, &name);
        tests.push(TestProgram { name, program: copy.join(program), folder: package });
    }
    Ok(tests)
}

/// The folder of the crate that a test program belongs to: cargo runs tests there.
fn package_of(copy: &Path, name: &str) -> PathBuf {
    let crates = copy.join("crates");
    let by_library = name.strip_prefix("firewarden_").map(|krate| crates.join(krate.replace('_', "-")));
    if let Some(folder) = by_library.filter(|folder| folder.is_dir()) {
        return folder;
    }
    let has_test = |folder: &PathBuf| folder.join("tests").join(format!("{name}.rs")).is_file();
    let folders = std::fs::read_dir(&crates).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|folder| has_test(folder)).min().unwrap_or(crates)
}

/// Runs the programs until one fails. `None` where all pass.
fn first_failure(
    tests: &[TestProgram],
    mutant: Option<usize>,
    limit: Duration,
) -> Result<Option<(&TestProgram, String)>, String> {
    let start = Instant::now();
    for test in tests {
        let mut command = Command::new(&test.program);
        command.current_dir(&test.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("CARGO_MANIFEST_DIR", &test.folder).env_remove("FIREWARDEN_CORPUS");
        if let Some(number) = mutant {
            command.env("FIREWARDEN_MUTANT", number.to_string());
        }
        let mut child = command.spawn().map_err(|error| format!("{} can't be run: {error}", test.name))?;
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => break,
                Some(_) => return Ok(Some((test, "fails".to_owned()))),
                None if start.elapsed() > limit => {
                    // Ours by its handle, so nobody else's process can be hit.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Ok(Some((test, "doesn't end".to_owned())));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list is asked by hand, and code moves.
    #[test]
    fn every_mutant_has_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (index, mutant) in MUTANTS.iter().enumerate() {
            let text = std::fs::read_to_string(root.join(mutant.file)).unwrap();
            let right = format!("{}{}{}", mutant.before, mutant.right, mutant.after);
            let count = text.matches(&right).count();
            assert_eq!(count, 1, "mutant {}, {}: `{right}`", index + 1, mutant.file);
        }
    }
}
