//! What docs/integrations.md, the action and the hooks tell others to run does run.

mod common;

use common::{Folder, repository};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn read(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The blocks of docs/integrations.md.
fn snippets() -> Vec<Value> {
    let text = read("docs/integrations.md");
    let blocks = text.split("```yml\n").skip(1);
    blocks.map(|rest| yaml(rest.split("```").next().unwrap())).collect()
}

/// The example's files, in a folder of their own.
fn web_stack() -> Folder {
    let folder = Folder::with(&[]);
    for name in ["firewarden.yaml", "edge.nft", "lb.nft", "app.rules", "app6.rules", "db.nft"] {
        let text = std::fs::read(repository().join("examples/webstack").join(name)).unwrap();
        folder.write(name, &text);
    }
    folder
}

/// Runs a script with this build of the program on the path.
fn bash(script: &str, folder: &Path, environment: &[(&str, &str)]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_firewarden")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    Command::new("bash")
        .args(["-eo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", path)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

#[test]
fn ansible_s_validation_runs() {
    let folder = web_stack();
    // As Ansible names it: in another folder, without an ending.
    folder.write("tmp/ansible-tmp-1/source", &std::fs::read(folder.path().join("lb.nft")).unwrap());
    folder.write("tmp/ansible-tmp-1/broken", b"table ip t {\n\tchain c {\n\t\ttcp dport $x accept\n\t}\n}\n");
    let mut count = 0;
    for task in snippets().iter().filter_map(|snippet| snippet.as_array()).flatten() {
        let validate = task["ansible.builtin.template"]["validate"].as_str().expect("a validate");
        assert!(validate.contains("%s"), "{validate}");
        count += 1;
        let good = bash(&validate.replace("%s", "tmp/ansible-tmp-1/source"), folder.path(), &[]);
        assert_eq!(code(&good), 0, "{validate}\n{}", words(&good));
        let broken = bash(&validate.replace("%s", "tmp/ansible-tmp-1/broken"), folder.path(), &[]);
        assert_eq!(code(&broken), 2, "{validate}\n{}", words(&broken));
    }
    assert_eq!(count, 2);
}

#[test]
fn gitlab_s_job_runs() {
    let all = snippets();
    let job = all.iter().find_map(|snippet| snippet.get("firewall")).expect("the job");
    let folder = web_stack();
    folder.run(&["docs", "."]).expect(0, &[]);
    for line in job["script"].as_array().unwrap() {
        let done = bash(line.as_str().unwrap(), folder.path(), &[]);
        assert_eq!(code(&done), 0, "{line}\n{}", words(&done));
    }
    let report = job["artifacts"]["reports"]["junit"].as_str().unwrap();
    let junit = std::fs::read_to_string(folder.path().join(report)).unwrap();
    assert!(junit.contains("<testsuite") && junit.contains("tests=\"9\""), "{junit}");
}

#[test]
fn the_hooks_run() {
    let all = snippets();
    let wanted = all.iter().find_map(|snippet| snippet.get("repos")).expect("pre-commit's file");
    let hooks = yaml(&read(".pre-commit-hooks.yaml"));
    let hooks = hooks.as_array().unwrap();
    let folder = web_stack();
    folder.run(&["docs", "."]).expect(0, &[]);
    for hook in wanted[0]["hooks"].as_array().unwrap() {
        let known = hooks.iter().find(|known| known["id"] == hook["id"]).expect("a hook of that name");
        let arguments: Vec<&str> =
            known["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let command = format!("{} {}", known["entry"].as_str().unwrap(), arguments.join(" "));
        let done = bash(&command, folder.path(), &[]);
        assert_eq!(code(&done), 0, "{command}\n{}", words(&done));
        // The files that it runs for.
        let pattern = known["files"].as_str().unwrap();
        let matches = |name: &str| {
            let script = "printf '%s\\n' \"$NAME\" | grep -qE \"$PATTERN\"";
            code(&bash(script, folder.path(), &[("NAME", name), ("PATTERN", pattern)])) == 0
        };
        for name in ["edge.nft", "a/b.v4", "firewarden.yaml", "net/firewarden.yml"] {
            assert!(matches(name), "{pattern} {name}");
        }
        for name in ["README.md", "not-firewarden.yaml.txt", "main.rs"] {
            assert!(!matches(name), "{pattern} {name}");
        }
    }
}

/// The script of a step of the action.
fn step(name: &str) -> String {
    let action = yaml(&read("action.yml"));
    assert_eq!(action["runs"]["using"], "composite");
    let steps = action["runs"]["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(step["shell"], "bash", "{step}");
        // What comes from outside is an environment variable, and never part of a script.
        assert!(!step["run"].as_str().unwrap().contains("${{"), "{step}");
    }
    let step = steps.iter().find(|step| step["name"] == name).expect("a step of that name");
    step["run"].as_str().unwrap().to_owned()
}

#[test]
fn the_action_s_inputs_are_those_of_the_document() {
    let action = yaml(&read("action.yml"));
    let all = snippets();
    let job = all.iter().find_map(|snippet| snippet["jobs"].get("check")).expect("the job");
    let uses = job["steps"].as_array().unwrap().last().unwrap();
    for name in uses["with"].as_object().unwrap().keys() {
        assert!(action["inputs"].get(name).is_some(), "{name}");
    }
}

#[test]
fn the_action_s_check_runs() {
    let folder = web_stack();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |arguments: &str| {
        let environment = [
            ("CHECKED", "."),
            ("ARGUMENTS", arguments),
            ("GITHUB_STEP_SUMMARY", &at("summary")),
            ("GITHUB_OUTPUT", &at("output")),
        ];
        let done = bash(&step("Check"), folder.path(), &environment);
        let output = std::fs::read_to_string(at("output")).unwrap();
        (done, output.lines().last().unwrap_or_default().to_owned())
    };
    let (done, output) = run("");
    assert_eq!((code(&done), output.as_str()), (0, "code=0"), "{}", words(&done));
    let (done, output) = run("--deny\nlb -> app tcp/8080\n");
    assert_eq!((code(&done), output.as_str()), (0, "code=1"), "{}", words(&done));
    assert!(words(&done).contains("::error file=app.rules"), "{}", words(&done));
    assert!(std::fs::read_to_string(at("summary")).unwrap().contains("lb -> app"));
    let verdict = |value: &str| code(&bash(&step("Verdict"), folder.path(), &[("CODE", value)]));
    assert_eq!((verdict("0"), verdict("3")), (0, 3));
    let build = bash(&step("Build"), folder.path(), &[]);
    assert!(code(&build) == 0 && words(&build).contains("firewarden "), "{}", words(&build));
}

#[test]
fn the_action_s_comparison_runs() {
    let folder = web_stack();
    let git = "git init -q && git add -A && git -c user.name=a -c user.email=a@example.org -c commit.gpgsign=false commit -qm x";
    let made = bash(git, folder.path(), &[("GIT_CONFIG_GLOBAL", "/dev/null")]);
    assert_eq!(code(&made), 0, "{}", words(&made));
    let rules = std::fs::read_to_string(folder.path().join("db.nft")).unwrap();
    folder.write("db.nft", rules.replace("tcp dport 22 accept", "tcp dport { 22, 2222 } accept").as_bytes());
    // Stands for GitHub's program: keeps what it is given.
    folder.write("bin/gh", b"#!/bin/sh\necho \"$@\" > gh-arguments\n");
    let environment = [
        ("CHECKED", "."),
        ("REVISION", "HEAD"),
        ("COMMENT", "true"),
        ("PULL_REQUEST", "7"),
        ("GITHUB_REPOSITORY", "a/b"),
        ("RUNNER_TEMP", &folder.path().display().to_string()),
        ("GITHUB_STEP_SUMMARY", &folder.path().join("summary").display().to_string()),
    ];
    let script = format!("chmod +x bin/gh; export PATH=\"$PWD/bin:$PATH\"\n{}", step("Compare"));
    let done = bash(&script, folder.path(), &environment);
    assert_eq!(code(&done), 0, "{}", words(&done));
    let summary = std::fs::read_to_string(folder.path().join("summary")).unwrap();
    assert!(summary.contains("2222"), "{summary}");
    let said = std::fs::read_to_string(folder.path().join("gh-arguments")).unwrap();
    assert!(said.starts_with("pr comment 7 --repo a/b --body-file "), "{said}");
}
