//! The gate: whether `check` refuses a change, by the model alone.

use super::subject::Subject;
use crate::commands::Stopped;
use crate::commands::examples::{self, WEB_STACK};
use firewarden_diagnostic::{Report, ResultItem, SourceMap, Step, Verdict as Answer, Witness};
use firewarden_lab::report::{Mode, Moment, Refusal, Run, Verdict, What};
use jiff::Timestamp;
use std::path::Path;
use std::time::Instant;

/// Makes one run.
pub fn run(subject: &Subject, number: u32) -> Result<Run, Stopped> {
    let start = Timestamp::now();
    let (before, _) = asked(Path::new(WEB_STACK), subject)?;
    let steady = failing(&before).next().is_none();
    let since = Instant::now();
    let proposed = milliseconds(start);
    let (after, sources) = asked(&subject.after, subject)?;
    let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let refusal = refusal(&after, &sources);
    let mut findings = Vec::new();
    let mut verdict = Verdict::Passed;
    if !steady {
        findings.push("intents of the web stack fail before the change".to_owned());
        verdict = Verdict::Error;
    }
    let broken: Vec<&str> = failing(&after).map(|result| result.name.as_str()).collect();
    let expected: Vec<&str> = subject.scenario.expect.breaks.iter().map(String::as_str).collect();
    let mut differs = |what: &str, some: &[&str], others: &[&str]| {
        let only: Vec<&str> = some.iter().filter(|name| !others.contains(name)).copied().collect();
        if !only.is_empty() {
            findings.push(format!("{what}: {}", only.join(", ")));
        }
    };
    differs("expected to break, and doesn't", &expected, &broken);
    differs("breaks, which isn't expected", &broken, &expected);
    let undecided =
        after.results.iter().filter(|result| !matches!(result.verdict, Answer::Pass | Answer::Fail));
    findings.extend(undecided.map(|result| format!("{} is {}", result.name, result.verdict.word())));
    if let (Some(rule), Some(refusal)) = (&subject.scenario.expect.rule, &refusal) {
        let named = refusal.rule.as_deref().unwrap_or_default();
        if !named.contains(rule.as_str()) {
            findings.push(format!("the rule that is named is `{named}`, not `{rule}`"));
        }
    }
    if verdict == Verdict::Passed && !findings.is_empty() {
        verdict = Verdict::Failed;
    }
    let mut moments = vec![Moment { at: proposed, what: What::Proposed, detail: String::new() }];
    if let Some(refusal) = &refusal {
        let detail = refusal.place.clone().unwrap_or_default();
        moments.push(Moment { at: proposed + took, what: What::Refused, detail });
    }
    Ok(Run {
        number,
        mode: Mode::Prevent,
        start,
        end: Timestamp::now(),
        verdict,
        findings,
        moments,
        refusal,
        series: None,
    })
}

fn milliseconds(since: Timestamp) -> u64 {
    u64::try_from(Timestamp::now().duration_since(since).as_millis()).unwrap_or(0)
}

fn asked(stack: &Path, subject: &Subject) -> Result<(Report, SourceMap), Stopped> {
    let (report, sources) = examples::checked(stack, &subject.texts)
        .map_err(|disagreement| crate::commands::internal(&disagreement.to_string()))?;
    // Without results, something is wrong with the texts.
    match report.results.is_empty() {
        true => Err(Stopped { diagnostics: report.diagnostics, sources }),
        false => Ok((report, sources)),
    }
}

fn failing(report: &Report) -> impl Iterator<Item = &ResultItem> {
    report.results.iter().filter(|result| result.verdict == Answer::Fail)
}

/// What refuses the change: the first finding, and every intent that fails.
fn refusal(report: &Report, sources: &SourceMap) -> Option<Refusal> {
    let first = failing(report).next()?.findings.first()?;
    let step = first.witnesses.first().and_then(deciding);
    // Where no rule decides, as with a translation to nowhere, the last rule that did something is the one to look at.
    let span = step.and_then(|step| step.span).or(first.diagnostic.span());
    let rule = match step.map(|step| step.rule.clone()).filter(|rule| !rule.is_empty()) {
        Some(rule) => Some(rule),
        None => span.map(|span| sources.slice(span).trim().to_owned()),
    };
    Some(Refusal {
        message: first.diagnostic.message.clone(),
        place: span.map(|span| sources.place(span)),
        rule,
        packet: first.witnesses.first().map(|witness| witness.packet.clone()),
        intents: failing(report).map(|result| result.intent.clone()).collect(),
    })
}

/// The step of a packet's way that decides.
fn deciding(witness: &Witness) -> Option<&Step> {
    witness.path.iter().find(|step| step.decides).or(witness.path.last())
}
