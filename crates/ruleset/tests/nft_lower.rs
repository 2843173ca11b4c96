//! nft text and the statements it lowers to, as one table: what is written on the left is the rule, below it the
//! compact dump of its lowered form.

use firewarden_diagnostic::{Diagnostic, Severity, SourceMap};
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{Ruleset, dump};
use firewarden_ruleset::lower::nft::{LowerOptions, lower};
use firewarden_ruleset::syntax::nft::text::{NoIncludes, parse};

fn lowered(text: &str) -> (Ruleset, AtomTable, Vec<Diagnostic>) {
    let mut sources = SourceMap::default();
    let file = sources.add("test.nft", text);
    let (script, mut diagnostics) = parse(file, text, &mut NoIncludes);
    let mut atoms = AtomTable::default();
    let (ruleset, more) = lower(&[script], &LowerOptions { scope: "host" }, &mut atoms);
    diagnostics.extend(more);
    (ruleset, atoms, diagnostics)
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| format!("{}: {}", diagnostic.code, diagnostic.message))
        .collect()
}

/// The dump of the rules of one chain, one line for each.
fn rules(text: &str) -> String {
    let (ruleset, atoms, diagnostics) = lowered(text);
    let chain = ruleset.chains.iter().find(|chain| &*chain.name == "c").expect("a chain `c`");
    let mut lines: Vec<String> =
        chain.rules.iter().map(|rule| dump::dump_rule(rule, &ruleset, &atoms)).collect();
    lines.extend(errors(&diagnostics).into_iter().map(|error| format!("! {error}")));
    lines.join("\n")
}

/// A table of a family with a chain `c` on a hook, and what else the table holds.
fn in_chain(family: &str, kind: &str, hook: &str, rest: &str, rule: &str) -> String {
    format!(
        "table {family} t {{\n {rest}\n chain other {{ }}\n chain c {{ type {kind} hook {hook} priority 0;\n {rule}\n }}\n}}\n"
    )
}

fn check_all(family: &str, kind: &str, hook: &str, rest: &str, cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (rule, expected) in cases {
        let found = rules(&in_chain(family, kind, hook, rest, rule));
        if found != *expected {
            wrong.push_str(&format!("\n{rule}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn tests_of_fields() {
    check_all(
        "inet",
        "filter",
        "input",
        "",
        &[("tcp dport 22 accept", "meta l4proto tcp; dport 22; accept")],
    );
}
