//! From findings to a report: one result for each check, and a few honest sentences.

use super::checks::{self, Check};
use super::rules::Standing;
use super::words::count;
use super::{Found, Settled};
use firewarden_diagnostic::{Diagnostic, Finding, ResultItem, Severity, SourceMap, Span, Verdict};
use std::collections::BTreeMap;

/// The most rules without an answer that are shown with their lines.
const MOST_SHOWN: usize = 5;

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Rules that were looked at.
    pub rules: usize,
    /// Rules that some packet meets.
    pub live: usize,
    /// Rules that change nothing.
    pub redundant: usize,
    /// Rules that no packet meets.
    pub dead: usize,
    /// How many of the rules that never match or change nothing other programs have written, by their names.
    pub managed: BTreeMap<String, usize>,
    /// Rules in chains that no packet comes to.
    pub cut_off: usize,
    /// Rules in chains that nobody calls, and in tables that see no packet of IP.
    pub unseen: usize,
    /// Rules without an answer.
    pub undecided: Vec<Span>,
    /// False where what can be reached isn't known completely.
    pub open_incomplete: bool,
    /// Why what hosts load when they start wasn't compared with what runs.
    pub boot_unknown: Vec<String>,
    /// Questions about defaults that weren't decided.
    pub defaults_undecided: usize,
}

impl Tally {
    /// Counts a rule.
    pub fn count(&mut self, standing: &Standing) {
        self.rules += 1;
        match standing {
            Standing::Needed(_) | Standing::Open(_) => self.live += 1,
            Standing::Redundant(..) => {
                self.live += 1;
                self.redundant += 1;
            }
            Standing::Dead(_) => self.dead += 1,
            Standing::CutOff => self.cut_off += 1,
            Standing::Unknown => {}
        }
    }
}

/// One result for each check, in their order.
pub fn results(found: &[Found], tally: &Tally, sources: &SourceMap) -> Vec<ResultItem> {
    checks::ALL.iter().map(|check| result(check, found, tally, sources)).collect()
}

fn result(check: &'static Check, found: &[Found], tally: &Tally, sources: &SourceMap) -> ResultItem {
    let mut result = ResultItem::new(check.id, check.claim, Verdict::Pass);
    let mut settled = 0;
    for found in found.iter().filter(|found| found.check == check) {
        if found.settled.is_some() {
            settled += 1;
            continue;
        }
        if found.finding.diagnostic.severity != Severity::Note {
            result.verdict = Verdict::Fail;
        }
        let mut finding = found.finding.clone();
        if !check.controls.is_empty() {
            finding.diagnostic =
                finding.diagnostic.because(format!("asked for by {}", check.controls.join(", ")));
        }
        result.findings.push(finding);
    }
    // In the order of the text, whichever question came first.
    result.findings.sort_by_key(|finding| finding.diagnostic.span().map(|span| (span.file, span.start)));
    if settled > 0 {
        result.detail = Some(format!("{} not counted", count(settled, "finding")));
    }
    if let Some(open) = undetermined(check, tally, sources) {
        if result.verdict == Verdict::Pass {
            result.verdict = Verdict::Undetermined;
        }
        result.findings.push(Finding::from(open));
    }
    result
}

/// What couldn't be decided about a check.
fn undetermined(check: &Check, tally: &Tally, sources: &SourceMap) -> Option<Diagnostic> {
    let help = "give more steps with `--budget`, or look at them yourself";
    if *check == checks::UNREACHABLE_RULE && !tally.undecided.is_empty() {
        let many = tally.undecided.len();
        let message =
            format!("the search ended before it was known whether {} can be removed", count(many, "rule"));
        let mut diagnostic = Diagnostic::warning("audit-undetermined", message).help(help);
        for (index, &span) in tally.undecided.iter().take(MOST_SHOWN).enumerate() {
            if !sources.slice(span).is_empty() {
                diagnostic = if index == 0 { diagnostic.at(span, "") } else { diagnostic.see(span, "") };
            }
        }
        return Some(diagnostic);
    }
    if *check == checks::OPEN_MANAGEMENT && tally.open_incomplete {
        let message = "the search ended before everything that can be reached was found";
        return Some(
            Diagnostic::warning("audit-undetermined", message)
                .help("ask about single ports with `firewarden check`"),
        );
    }
    if *check == checks::DEFAULT_ACCEPT && tally.defaults_undecided > 0 {
        let message =
            format!("{} about defaults weren't decided", count(tally.defaults_undecided, "question"));
        return Some(Diagnostic::warning("audit-undetermined", message).help(help));
    }
    None
}

/// What was looked at and found.
pub fn sentences(found: &[Found], tally: &Tally) -> Vec<String> {
    let mut sentences = vec![format!(
        "{}: {} never match, {} change nothing, {} of which the answer isn't known",
        count(tally.rules, "rule"),
        tally.dead,
        tally.redundant,
        tally.undecided.len()
    )];
    for (name, &many) in &tally.managed {
        let verb = if many == 1 { "was" } else { "were" };
        sentences.push(format!("of these, {} {verb} written by {name}: nothing to do", count(many, "rule")));
    }
    let together = checks::REPEATS_DEFAULT.id;
    if found.iter().any(|found| found.check.id == together && found.finding.diagnostic.labels.len() > 1) {
        sentences
            .push(format!("rules of one chain that only repeat its end are told together, as `{together}`"));
    }
    if tally.cut_off > 0 {
        sentences.push(format!(
            "{} in chains that are called only by rules that never match",
            count(tally.cut_off, "rule")
        ));
    }
    if tally.unseen > 0 {
        sentences.push(format!(
            "{} not looked at: in chains that nothing calls, or in tables that see no IP packets",
            count(tally.unseen, "rule")
        ));
    }
    for why in &tally.boot_unknown {
        sentences.push(format!("what is loaded when the host starts wasn't compared: {why}"));
    }
    let open: Vec<&Found> = found.iter().filter(|found| found.settled.is_none()).collect();
    let of = |severity| open.iter().filter(|found| found.finding.diagnostic.severity == severity).count();
    sentences.push(format!(
        "{}, {}, {}",
        count(of(Severity::Error), "error"),
        count(of(Severity::Warning), "warning"),
        count(of(Severity::Note), "note")
    ));
    let settled = |how| found.iter().filter(|found| found.settled == Some(how)).count();
    let (excused, known) = (settled(Settled::Excused), settled(Settled::Known));
    if excused + known > 0 {
        sentences.push(format!("not counted: {excused} excused with a reason, {known} of the baseline"));
    }
    sentences.push(
        "each hook is asked by itself: what other hooks or hosts drop before isn't taken into account"
            .to_owned(),
    );
    sentences
}
