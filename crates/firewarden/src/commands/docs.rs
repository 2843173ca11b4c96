//! Pages that say who may talk to whom, and why, and whether the committed ones still do.

mod book;
mod git;
mod html;
mod markdown;
mod svg;

use super::Stopped;
use super::hosts;
use super::init::observed;
use crate::cli::Docs;
use crate::internal_error;
use crate::load::{self, Texts};
use crate::output::{self, Color};
use crate::progress::Progress;
use firewarden_diagnostic::Diagnostic;
use firewarden_verify::CheckOptions;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The folder beside the stack file.
const FOLDER: &str = "firewarden-docs";
/// What the pages are called. The folder's name isn't part of it: everybody's clone has another.
const TITLE: &str = "Who may talk to whom";
/// What marks a page that was made here.
const MADE: &str = "Made by `firewarden docs`; changes are lost when it is made again.";
/// The most lines of a page that differ and are shown.
const MOST_SHOWN: usize = 5;

/// Runs the command.
pub fn run(options: &Docs, color: Color) -> Result<ExitCode, Stopped> {
    let (base, out) = folders(options);
    let pages = match pages(options, color, &base, &out)? {
        Ok(pages) => pages,
        Err(disagreement) => {
            internal_error::complain(&disagreement.to_string());
            return Ok(ExitCode::from(internal_error::INTERNAL_ERROR));
        }
    };
    if options.check { check(&pages, &out) } else { write(&pages, &out) }
}

/// The folder of the stack file, and that of the pages.
fn folders(options: &Docs) -> (PathBuf, PathBuf) {
    let base = match options.path.parent() {
        _ if options.path.is_dir() => options.path.clone(),
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let out = options.out.clone().unwrap_or_else(|| base.join(FOLDER));
    (base, out)
}

type Pages = BTreeMap<String, String>;

fn pages(
    options: &Docs,
    color: Color,
    base: &Path,
    out: &Path,
) -> Result<Result<Pages, firewarden_verify::Disagreement>, Stopped> {
    let input = crate::cli::Input {
        paths: vec![options.path.clone()],
        host: None,
        include_paths: options.include_paths.clone(),
        renamed: None,
        texts: Texts::new(),
    };
    let mut loaded = hosts::load(&input)?;
    let Some(mut stack) = loaded.stack.take() else {
        let message = format!("`{}` declares no hosts and intents", options.path.display());
        return Err(Stopped::from(
            Diagnostic::error("no-stack-file", message)
                .help("give a folder with a firewarden.yaml, or snapshots; `firewarden init` makes one"),
        ));
    };
    if load::has_errors(&loaded.files.diagnostics) {
        return Err(Stopped { diagnostics: loaded.files.diagnostics, sources: loaded.files.sources });
    }
    if stack.intents.is_empty() {
        stack.intents = observed(&loaded.hosts, &mut loaded.files);
    }
    let progress = Progress::start("checking intents");
    // Assumptions are relied on whatever the date is: pages mustn't change by themselves.
    let limits = CheckOptions { rules: true, ..CheckOptions::default() };
    let checked = firewarden_verify::check(
        &mut loaded.hosts,
        Some(&stack),
        &stack.intents,
        &mut loaded.atoms,
        &loaded.files.sources,
        &limits,
    );
    drop(progress);
    let checked = match checked {
        Ok(checked) => checked,
        Err(disagreement) => return Ok(Err(disagreement)),
    };
    loaded.files.diagnostics.extend(checked.diagnostics.iter().cloned());
    output::complain(&loaded.files.diagnostics, &loaded.files.sources, color);
    Ok(Ok(made(&book::book(&loaded, &stack, &checked, base, out))))
}

fn made(book: &book::Book) -> Pages {
    let picture = svg::svg(&book.topology);
    let mut pages = Pages::new();
    pages.insert("matrix.html".to_owned(), html::page(book, &picture));
    pages.insert("matrix.md".to_owned(), markdown::matrix(book));
    pages.insert("topology.svg".to_owned(), picture);
    for host in &book.hosts {
        pages.insert(page_of(&host.name), markdown::host(book, host));
    }
    pages
}

/// The page of a host. Names of hosts have no slashes.
fn page_of(host: &str) -> String {
    format!("rules-{host}.md")
}

fn write(pages: &Pages, out: &Path) -> Result<ExitCode, Stopped> {
    let unwritable = |path: &Path, error: &std::io::Error| {
        Diagnostic::error("unwritable", format!("cannot write `{}`: {error}", path.display()))
            .help("give a folder with `--out` that you may write to")
    };
    fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
    for (name, text) in pages {
        let path = out.join(name);
        fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
    }
    for name in left_over(pages, out) {
        let path = out.join(name);
        fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
    }
    let names: Vec<&str> = pages.keys().map(String::as_str).collect();
    output::print(&format!("{}: {}\n", out.display(), names.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

/// Pages of hosts that aren't declared any more.
fn left_over(pages: &Pages, out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ours = |name: &String| {
        name.starts_with("rules-")
            && name.ends_with(".md")
            && !pages.contains_key(name)
            && fs::read_to_string(out.join(name))
                .is_ok_and(|text| text.starts_with(&format!("<!-- {MADE} -->")))
    };
    let mut found: Vec<String> = names.filter(ours).collect();
    found.sort_unstable();
    found
}

fn check(pages: &Pages, out: &Path) -> Result<ExitCode, Stopped> {
    let mut told = String::new();
    for (name, fresh) in pages {
        let path = out.join(name);
        // Writing to a string can't fail.
        match fs::read_to_string(&path) {
            Ok(committed) => {
                let differences = differences(&committed, fresh);
                if !differences.is_empty() {
                    let _ = writeln!(told, "{} is out of date:\n{differences}", path.display());
                }
            }
            Err(_) => {
                let _ = writeln!(told, "{} is missing", path.display());
            }
        }
    }
    for name in left_over(pages, out) {
        let _ = writeln!(told, "{} is of a host that isn't declared any more", out.join(name).display());
    }
    if told.is_empty() {
        output::print(&format!("{}: {} pages are up to date\n", out.display(), pages.len()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let _ = writeln!(told, "run `firewarden docs` and commit what it writes");
    output::print(&told)?;
    Ok(ExitCode::FAILURE)
}

/// What differs between two pages but for the changes of lines, briefly; empty where nothing does.
///
/// A page can't know the commit that it will be part of, and a merge that squashes or rebases makes others: who changed a
/// line last is brought up to date whenever the page is made, and isn't compared.
fn differences(committed: &str, fresh: &str) -> String {
    let (old, new) = (without_changes(committed), without_changes(fresh));
    if old == new {
        return String::new();
    }
    let same_start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let ends = || old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let same_end = ends().min(old.len().min(new.len()) - same_start);
    let mut out = String::new();
    for (sign, lines) in [('-', &old), ('+', &new)] {
        let changed = lines.get(same_start..lines.len() - same_end).unwrap_or_default();
        for line in changed.iter().take(MOST_SHOWN) {
            let line: String = line.chars().take(200).collect();
            let _ = writeln!(out, "  {sign} {line}");
        }
        if changed.len() > MOST_SHOWN {
            let _ = writeln!(out, "  {sign} … {} more lines", changed.len() - MOST_SHOWN);
        }
    }
    out
}

/// The lines of a page, with the last changes taken out.
fn without_changes(text: &str) -> Vec<String> {
    const CELL: &str = "<td class=\"change\">";
    let mut with_changes = false;
    text.lines()
        .map(|line| {
            if let Some((before, after)) = line.split_once(CELL) {
                let after = after.split_once("</td>").map_or(after, |(_, after)| after);
                return format!("{before}{CELL}</td>{after}");
            }
            if !line.starts_with("| ") {
                with_changes &= line.starts_with("|---");
                return line.to_owned();
            }
            if line.ends_with("| last change |") {
                with_changes = true;
            } else if with_changes && let Some((before, _)) = line.trim_end_matches(" |").rsplit_once(" | ") {
                return format!("{before} | |");
            }
            line.to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_lines_are_not_compared() {
        let page = |change: &str, rule: &str| {
            format!(
                "# Rules\n\n| rule | last change |\n|---|---|\n| `{rule}` | {change} |\n\n| a | b |\n|---|---|\n| c | d |\n"
            )
        };
        assert_eq!(
            differences(&page("not committed yet", "drop"), &page("2026-01-01 Ada: x (aa)", "drop")),
            ""
        );
        let shown = differences(&page("x", "drop"), &page("y", "accept"));
        assert_eq!(shown, "  - | `drop` | |\n  + | `accept` | |\n");
        let html = |change: &str| format!("<tr><td>a</td><td class=\"change\">{change}</td></tr>\n");
        assert_eq!(differences(&html("one"), &html("two")), "");
        assert!(!differences("| c | d |\n", "| c | e |\n").is_empty());
        assert_eq!(differences("a\nb\n", "a\nb\nc\n"), "  + c\n");
    }
}
