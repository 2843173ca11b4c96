//! The documentation is true: its examples run, its YAML is valid, its links lead somewhere.

mod common;

use common::{Folder, repository, run_in};
use firewarden_diagnostic::SourceMap;
use firewarden_verify::stack::read_stack;
use std::path::{Path, PathBuf};

/// A fenced block.
struct Block {
    language: String,
    text: String,
    /// The line of its fence, from 1.
    line: usize,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { language: language.to_owned(), text: String::new(), line: index + 1 });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "an open fence");
    found
}

fn documents() -> Vec<PathBuf> {
    let root = repository();
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].iter().map(|name| root.join(name)).collect();
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_example_of_the_semantics_holds() {
    let text = read(&repository().join("docs/semantics.md"));
    let (mut ruleset, mut checked, mut wrong) = (None, 0, Vec::new());
    for block in blocks(&text) {
        match block.language.as_str() {
            "nft" | "iptables" => ruleset = Some(block.text),
            "verdicts" => {
                let rules = ruleset.as_deref().expect("a ruleset before the verdicts");
                let folder = Folder::with(&[("rules", rules)]);
                for (index, line) in block.text.lines().enumerate() {
                    checked += 1;
                    let (question, expected) = line.rsplit_once(' ').expect("a question and its answer");
                    let answer = answer(&folder, question.trim());
                    if answer != expected {
                        wrong.push(format!(
                            "docs/semantics.md:{}: {} is {answer}, not {expected}",
                            block.line + index + 1,
                            question.trim()
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 50, "only {checked} examples");
}

/// The verdict of an intent, or what becomes of a packet.
fn answer(folder: &Folder, question: &str) -> String {
    let expectation = question.split(' ').next().unwrap_or_default();
    let value = if ["allow", "deny", "only"].contains(&expectation) {
        let option = format!("--{expectation}");
        let run = folder.run(&["check", "rules", &option, question, "--format", "json"]);
        let report = json(&run.stdout, &run.stderr);
        report["results"][0]["verdict"].clone()
    } else {
        let run = folder.run(&["trace", question, "rules", "--format", "json"]);
        let traced = json(&run.stdout, &run.stderr);
        let refused = if traced["outcome"].as_str().is_some_and(|text| text.starts_with("reject")) {
            "reject"
        } else {
            "drop"
        };
        serde_json::Value::from(if traced["accepted"] == true { "accept" } else { refused })
    };
    value.as_str().unwrap_or("nothing").to_owned()
}

fn json(text: &str, errors: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"))
}

#[cfg(feature = "apply")]
#[test]
fn every_policy_of_the_documents_is_valid() {
    let text = read(&repository().join("docs/changes.md"));
    let policies: Vec<Block> = blocks(&text).into_iter().filter(|block| block.language == "yaml").collect();
    assert!(!policies.is_empty());
    for block in policies {
        let mut sources = SourceMap::default();
        let file = sources.add("block", block.text.as_str());
        let policy = firewarden_change::policy::read_policy(file, &block.text);
        assert!(policy.is_ok(), "docs/changes.md:{}: {policy:#?}", block.line);
    }
}

#[cfg(feature = "lab")]
#[test]
fn every_drill_of_the_documents_is_valid() {
    let text = read(&repository().join("docs/drills.md"));
    let drills: Vec<Block> = blocks(&text).into_iter().filter(|block| block.language == "yaml").collect();
    assert!(!drills.is_empty());
    for block in drills {
        let mut sources = SourceMap::default();
        let file = sources.add("block", block.text.as_str());
        let (drill, diagnostics) = firewarden_lab::scenario::read_scenario(file, &block.text);
        assert!(drill.is_some() && diagnostics.is_empty(), "docs/drills.md:{}: {diagnostics:#?}", block.line);
    }
}

#[test]
fn every_stack_file_of_the_documents_is_valid() {
    let mut count = 0;
    // Those of changes are policies, and those of drills are drills.
    let others = ["changes.md", "drills.md"];
    for path in documents().into_iter().filter(|path| !others.iter().any(|other| path.ends_with(other))) {
        for block in blocks(&read(&path)).into_iter().filter(|block| block.language == "yaml") {
            count += 1;
            let mut sources = SourceMap::default();
            let file = sources.add("block", block.text.as_str());
            let (stack, diagnostics) = read_stack(file, &block.text);
            assert!(diagnostics.is_empty(), "{}:{}: {diagnostics:#?}", path.display(), block.line);
            let says = !stack.intents.is_empty() || !stack.exceptions.is_empty();
            assert!(says, "{}:{}: nothing is said", path.display(), block.line);
        }
    }
    assert!(count >= 3, "only {count} stack files");
}

#[test]
fn links_lead_to_files() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = read(&path);
        let folder = path.parent().unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') && !folder.join(target).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let shown: Vec<Block> = blocks(&read(&repository().join("README.md")))
        .into_iter()
        .filter(|block| block.language == "text")
        .collect();
    let commands: [&[&str]; 4] = [
        &["check", "examples/webstack"],
        &["check", "examples/outages/003"],
        &["diff", "examples/webstack", "examples/outages/002"],
        &["exposed", "examples/webstack", "--host", "lb"],
    ];
    assert_eq!(shown.len(), commands.len());
    for (block, command) in shown.iter().zip(commands) {
        let printed = run_in(&repository(), command, b"").stdout;
        for line in block.text.lines() {
            assert!(
                printed.lines().any(|own| own == line),
                "{command:?} doesn't print this line of the README: {line}"
            );
        }
    }
}
