//! Intents that nobody has accepted yet, and rulesets that are only read.

mod common;

use common::{Folder, Run, repository, run_in};

const RULES: &str = "table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		tcp dport 443 accept
		tcp dport 80 limit rate 5/second accept
	}
}
";

fn stack(intents: &str) -> Folder {
    let stack = format!("hosts:\n  web: {{ rules: web.nft, address: 10.0.0.1 }}\nintents:\n{intents}");
    Folder::with(&[("web.nft", RULES), ("firewarden.yaml", &stack)])
}

fn json(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.all()))
}

#[test]
fn a_proposed_intent_that_fails_is_a_warning() {
    let folder = stack(
        "  - { allow: any -> web tcp/22, proposed: true, name: ssh }\n\
         \x20 - { allow: any -> web tcp/80, proposed: true, name: plain }\n\
         \x20 - { allow: any -> web tcp/443, name: https }\n",
    );
    let found = folder.run(&["check", "."]);
    found.expect(0, &["warning[flow-blocked]", "2 intents are proposed", "1 pass, 1 fail, 1 depends"]);
    assert!(!found.stdout.contains("error["), "{}", found.stdout);
    let report = json(&folder.run(&["check", ".", "--format", "json"]));
    assert_eq!(report["results"][0]["proposed"], true);
    assert_eq!(report["results"][0]["verdict"], "fail");
    assert_eq!(report["results"][2]["proposed"], false);
    let junit = folder.run(&["check", ".", "--format", "junit"]);
    junit.expect(0, &["skipped=\"2\"", "failures=\"0\"", "proposed, and not accepted yet"]);
    folder.run(&["check", ".", "--format", "github"]).expect(0, &["::warning file=web.nft,line=3"]);
}

#[test]
fn others_fail_as_ever() {
    let folder = stack(
        "  - { allow: any -> web tcp/443, proposed: true }\n  - { allow: any -> web tcp/22, proposed: false }\n",
    );
    folder.run(&["check", "."]).expect(1, &["error[flow-blocked]", "1 intent is proposed"]);
    // A proposed intent that can't be asked is a mistake of the file.
    let wrong = stack("  - { allow: any -> nobody, proposed: true }\n");
    wrong.run(&["check", "."]).expect(2, &["no host or group is called `nobody`"]);
    let strange = stack("  - { allow: any -> web, proposed: maybe }\n");
    strange.run(&["check", "."]).expect(2, &["maybe"]);
}

#[test]
fn syntax_needs_no_intent() {
    // As Ansible gives it: a file without an ending.
    let folder = Folder::with(&[
        ("source", RULES),
        ("broken", "table ip t {\n\tchain c {\n\t\ttcp dport $x accept\n\t}\n}\n"),
    ]);
    folder.run(&["check", "--syntax", "source"]).expect(0, &["host was read without error: 1 table"]);
    folder.run(&["check", "--syntax", "broken"]).expect(2, &["undefined", "broken:3"]);
    folder.run(&["check", "source"]).expect(2, &["--syntax"]);
    folder.run(&["check", "--syntax", "source", "--allow", "any -> 10.0.0.1"]).expect(2, &["cannot be used"]);
    run_in(&repository(), &["check", "--syntax", "examples/webstack"], b"").expect(0, &["lb was read"]);
    folder.pipe(&["check", "--syntax", "-"], RULES.as_bytes()).expect(0, &["3 rules"]);
}
