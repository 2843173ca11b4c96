//! Real rulesets through engine, interpreter and kernel.

use firewarden_diagnostic::Span;
use firewarden_packet::Field;
use firewarden_ruleset::ir::{NatAddress, Rule, Statement, Test, Value, Verdict};
use firewarden_testkit::differential::{Disagreement, Tally, compare_engine, world};
use firewarden_testkit::generate::{Generated, Syntax};
use firewarden_testkit::kernel::Kernel;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folders whose files are rulesets.
const FOLDERS: [&str; 5] = ["nft/real", "nft/goldens", "iptables/real", "changes/nft", "changes/iptables"];

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    files: usize,
    /// Files with an error for Firewarden: templates, fragments, missing includes.
    unread: usize,
    /// Lines of rules that the kernel can't be asked about, left out.
    lines_left_out: usize,
    compared: usize,
}

impl Outcome {
    pub(super) fn told(&self, tally: &Tally) -> String {
        format!(
            "corpus: {} files, {} without a ruleset that loads alone, {} compared by engine and interpreter, {} of them \
             by the kernel, which refused {}; {} lines left out that the kernel can't be asked about",
            self.files,
            self.unread,
            self.compared,
            tally.kernel_rulesets,
            tally.kernel_refused.len(),
            self.lines_left_out
        )
    }
}

/// Compares every file of the corpus, or those with `only` in their path; gives the first disagreement of each file that has one.
pub(super) fn compare(
    corpus: &Path,
    only: Option<&str>,
    packets: u64,
    mut kernel: Option<&mut Kernel>,
    tally: &mut Tally,
) -> (Outcome, Vec<(PathBuf, Box<Disagreement>)>) {
    let mut disagreements = Vec::new();
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&corpus.join(folder), &mut files);
    }
    files.sort();
    let mut outcome = Outcome { files: files.len(), ..Outcome::default() };
    for (seed, file) in (1..).zip(&files) {
        if only.is_some_and(|part| !file.to_string_lossy().contains(part)) {
            continue;
        }
        let Some(text) = std::fs::read(file).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            outcome.unread += 1;
            continue;
        };
        let Some((text, left_out)) = askable(&text) else {
            outcome.unread += 1;
            continue;
        };
        let Ok(asked) = world(&text) else {
            outcome.unread += 1;
            continue;
        };
        outcome.lines_left_out += left_out;
        outcome.compared += 1;
        let mut result = compare_engine(seed, &asked, packets, tally);
        if let (Ok(()), Some(kernel)) = (&result, kernel.as_deref_mut()) {
            result = kernel.compare_text(seed, &text, packets, tally);
        }
        if let Err(found) = result {
            disagreements.push((file.clone(), found));
        }
    }
    (outcome, disagreements)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// The text without the lines of rules that hang on what the kernel can't be asked about, and how many these are.
/// `None` for texts that aren't a ruleset.
fn askable(text: &str) -> Option<(Generated, usize)> {
    // Hardware addresses are masked in the corpus.
    let text = text.replace("XX:XX:XX", "02:00:00");
    let iptables = text.lines().any(|line| line.starts_with("*filter") || line.starts_with("-A "));
    let ipv6 = ["ip6tables", "ipv6-icmp", "icmp6", "::/"].iter().any(|sign| text.contains(sign));
    let syntax = match (iptables, ipv6) {
        (false, _) => Syntax::Nft,
        (true, false) => Syntax::Iptables,
        (true, true) => Syntax::Ip6tables,
    };
    let whole = world(&Generated::fixed(syntax, &text)).ok()?;
    let rules = whole.ruleset.chains.iter().flat_map(|chain| &chain.rules);
    let mut left_out = BTreeSet::new();
    for Span { start, end, .. } in rules.filter(|rule| !is_askable(rule)).map(|rule| rule.span) {
        let line_of =
            |offset: u32| text.as_bytes().iter().take(offset as usize).filter(|&&byte| byte == b'\n').count();
        left_out.extend(line_of(start)..=line_of(end.saturating_sub(1).max(start)));
    }
    let kept: String = text
        .lines()
        .enumerate()
        .filter(|(line, _)| !left_out.contains(line))
        .flat_map(|(_, line)| [line, "\n"])
        .collect();
    Some((Generated::fixed(syntax, &kept), left_out.len()))
}

/// False for rules with an atom or a value that the kernel rolls dice for, and for rules that look the source up in the routing table: the oracle routes by what
/// is asked, so that no source is where a real host has it.
fn is_askable(rule: &Rule) -> bool {
    rule.statements.iter().all(|statement| match statement {
        Statement::Test(Test::Atom { .. })
        | Statement::Verdict(Verdict::Opaque { .. })
        | Statement::Opaque { .. } => false,
        Statement::Test(Test::Range { field, .. }) => {
            !matches!(*field, Field::FIB_SADDR_TYPE | Field::FIB_REVERSE_PATH)
        }
        Statement::Assign { value: Value::Choice(_), .. } => false,
        Statement::Nat(nat) => {
            let address_chosen = matches!(nat.address, NatAddress::To(Value::Choice(_)));
            !address_chosen && !matches!(nat.port, Some(Value::Choice(_)))
        }
        _ => true,
    })
}
