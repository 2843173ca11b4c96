//! Files under `docs/` that the program itself knows best: the schemas of its formats and the text of `--help`.
//! They are committed, so that they can be read and linked to, and CI checks that they are current.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The formats that have a schema, with the version in the file's name.
const SCHEMAS: [(&str, u32); 13] = [
    ("report", 1),
    ("stack", 1),
    ("diff", 1),
    ("exposed", 1),
    ("trace", 1),
    ("journal", 1),
    ("change", 1),
    ("policy", 1),
    ("load", 1),
    ("drill", 1),
    ("drill-report", 1),
    ("mutation-drill", 1),
    ("restore-drill", 1),
];

/// The commands in the order of the documentation.
const COMMANDS: [&str; 45] = [
    "check",
    "diff",
    "audit",
    "exposed",
    "trace",
    "capture",
    "init",
    "docs",
    "tour",
    "plan",
    "apply",
    "confirm",
    "revert",
    "status",
    "guard",
    "recover",
    "restore",
    "change",
    "change propose",
    "change review",
    "change approve",
    "change verify",
    "change outcome",
    "change list",
    "change show",
    "change log",
    "journal",
    "journal show",
    "journal verify",
    "journal export",
    "journal checkpoint",
    "lab",
    "lab up",
    "lab down",
    "lab status",
    "lab exec",
    "lab load",
    "drill",
    "drill list",
    "drill run",
    "drill mutations",
    "drill restore",
    "completions",
    "man",
    "schema",
];

/// Writes the generated files, or with `check` says which are out of date.
pub fn run(check: bool) -> ExitCode {
    match generated() {
        Ok(files) => settle(&files, check),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn settle(files: &[(PathBuf, String)], check: bool) -> ExitCode {
    let mut stale = 0;
    for (path, text) in files {
        if std::fs::read_to_string(path).is_ok_and(|present| present == *text) {
            continue;
        }
        stale += 1;
        if check {
            eprintln!("{} is out of date", path.display());
            continue;
        }
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = made.and_then(|()| std::fs::write(path, text)) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("wrote {}", path.display());
    }
    match (check, stale) {
        (true, 1..) => {
            eprintln!("run `cargo xtask schemas` and commit what it writes");
            ExitCode::FAILURE
        }
        _ => {
            println!("{} generated files are current", files.len());
            ExitCode::SUCCESS
        }
    }
}

/// All generated files with what they should hold.
fn generated() -> Result<Vec<(PathBuf, String)>, String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut files = Vec::new();
    for (format, version) in SCHEMAS {
        files.push((docs.join(format!("schema/{format}-v{version}.json")), firewarden(&["schema", format])?));
    }
    files.push((docs.join("commands.md"), commands()?));
    Ok(files)
}

/// `--help` of every command as one document.
fn commands() -> Result<String, String> {
    let mut text = String::from(
        "# Commands\n\nMade by `cargo xtask schemas` from the program's own help; [reference.md](reference.md) tells what \
         the words mean.\n",
    );
    let all = std::iter::once(None).chain(COMMANDS.into_iter().map(Some));
    for command in all {
        let arguments: Vec<&str> =
            command.into_iter().flat_map(str::split_whitespace).chain(["--help"]).collect();
        let help = firewarden(&arguments)?;
        let title = command.map_or("firewarden".to_owned(), |command| format!("firewarden {command}"));
        // Appending to a string can't fail.
        let _ = write!(text, "\n## {title}\n\n```text\n{}\n```\n", help.trim_end());
    }
    Ok(text)
}

/// What the program prints.
fn firewarden(arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "firewarden", "--all-features", "--"])
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "firewarden {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("firewarden {} printed bytes", arguments.join(" ")))
}
