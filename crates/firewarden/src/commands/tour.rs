//! One outage from start to end, simulated: as an ordinary user, without a service, in less than a minute.
//!
//! Rules, packets and verdicts are real: what the change means is what `diff` says, what refuses it is `check`, what brings
//! the old rules back is the machine that guards run. Users, kernel and clock are simulated, and every figure is counted in
//! the run.

mod outages;
mod site;
mod stage;
mod trial;

use super::Stopped;
use super::examples::{self, WEB_STACK};
use super::outcome;
use crate::cli::tour::Tour;
use crate::internal_error;
use crate::load::Texts;
use crate::output::{AnswerFormat, Color};
use firewarden_change::plan::sha256;
use firewarden_diagnostic::render::{HumanOptions, Style, render_human};
use firewarden_diagnostic::{Report, SourceMap, Verdict};
use outages::{Postmortem, postmortem};
use site::{IPV6_EVERY, Site, USERS};
use stage::Stage;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trial::Course;

/// Runs the command.
pub fn run(options: &Tour, color: Color) -> Result<ExitCode, Stopped> {
    let told = postmortem(options.outage);
    let texts = examples::texts();
    let before = PathBuf::from(WEB_STACK);
    let after = PathBuf::from(format!("examples/outages/{}/firewarden.yaml", told.number));
    let style = color.style();
    let (report, sources) = match examples::checked(&after, &texts) {
        Ok(answer) => answer,
        Err(disagreement) => {
            internal_error::complain(&disagreement.to_string());
            return Ok(ExitCode::from(internal_error::INTERNAL_ERROR));
        }
    };
    let sites = [Site::load(&before, &texts)?, Site::load(&after, &texts)?];
    let stage = Stage::new(options.fast, style);
    stage.open(&format!("Outage {}: {}", told.number, told.title))?;
    stage.part("what happened, as its postmortem tells it", &happened(told))?;
    stage.part("the change", &change(told, &after, &texts))?;
    let comparison = examples::compared(&before, &after, &texts, color)?;
    stage.part("what it means (`firewarden diff`)", &comparison.render(AnswerFormat::Human, style))?;
    stage.part("refused before it is loaded (`firewarden check`)", &refused(&report, &sources, style))?;
    let lost = [sites[0].requests_failed()?, sites[1].requests_failed()?];
    stage.part("let through all the same: the old rules return", &let_through(lost))?;
    let digests = [WEB_STACK, after.to_str().unwrap_or_default()].map(|stack| digest(told, stack));
    let [old, new] = &digests;
    let course = trial::run([old, new], &trial::probes(&sites[1])?);
    stage.course(&course.told)?;
    let unwatched = trial::run([old, new], &[]);
    stage.part("what the record says", &recorded(&course))?;
    stage.part("then and now", &then_and_now(told, &course, &unwatched))?;
    Ok(ExitCode::SUCCESS)
}

/// The number of an outage, and how many minutes it lasted.
#[cfg(all(test, feature = "lab"))]
pub fn lasted(outage: crate::cli::tour::Outage) -> (&'static str, u32) {
    let told = postmortem(outage);
    (told.number, told.minutes())
}

fn happened(told: &Postmortem) -> String {
    let mut text = format!(
        "{}, {} to {} ({}): {}; {}.\n\n",
        told.date,
        told.begun.words(),
        told.ended.words(),
        told.zone,
        duration(told.minutes()),
        told.impact
    );
    for (at, what) in told.timeline {
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {:<16}  {what}", at.words());
    }
    text
}

/// The rules that come and go.
fn change(told: &Postmortem, after: &Path, texts: &Texts) -> String {
    let new = after.with_file_name(told.file);
    let old = Path::new(WEB_STACK).with_file_name(told.file);
    examples::difference(&old, &new, texts)
}

/// The first finding as `check` shows it, and how many there are.
fn refused(report: &Report, sources: &SourceMap, style: Style) -> String {
    let mut shown = report.clone();
    let failing = |verdict: Verdict| verdict == Verdict::Fail;
    shown.results.retain(|result| failing(result.verdict));
    let count = shown.results.len();
    shown.results.truncate(1);
    if let Some(first) = shown.results.first_mut() {
        first.findings.truncate(1);
    }
    let mut text = render_human(&shown, sources, HumanOptions { style, passes: false });
    // Its last line counts what is shown rather than what was found.
    text.truncate(text.trim_end().rfind('\n').map_or(0, |end| end + 1));
    let intents = report.results.len();
    let _ = writeln!(
        text,
        "{count} of {intents} intents {}: exit code {}, so a pipeline stops here, and `apply` refuses the plan.",
        if count == 1 { "fails" } else { "fail" },
        report.exit_code()
    );
    text
}

fn let_through([before, after]: [u32; 2]) -> String {
    format!(
        "Suppose that somebody insists (`apply --accept-findings`). Of {USERS} simulated users, one in {IPV6_EVERY} with IPv6, \
         each with one request\nover new connections, the model leaves {before} without an answer before, and {after} now \
         ({:.0} %). Clock and kernel are\nsimulated; probes are answered by the model, decisions are those of the guard:\n",
        f64::from(after) * 100.0 / f64::from(USERS)
    )
}

fn recorded(course: &Course) -> String {
    let outcome = course.outcome().map(outcome::outcome).unwrap_or_default();
    // What guards save is plain data, which always serializes.
    let record = serde_json::to_string(&course.record.phase).unwrap_or_default();
    format!(
        "{}\n\nPhases: {}. Each was saved before what it announces was done, so that another guard could have gone on.\n\
         The last one, as saved:\n\n{record}\n",
        capitalized(&outcome),
        course.phases.join(", ")
    )
}

fn then_and_now(told: &Postmortem, course: &Course, unwatched: &Course) -> String {
    let seconds = |milliseconds: u64| format!("{:.2} s", milliseconds as f64 / 1000.0);
    let since = |at: u64| seconds(at.saturating_sub(course.loaded));
    let mut text = String::new();
    let mut row = |what: &str, how: String| {
        let _ = writeln!(text, "  {what:<42}  {how}");
    };
    row("the outage, by its postmortem", duration(told.minutes()));
    row("with `check` before the change", "no outage: refused".to_owned());
    if let Some(failed) = course.failed {
        row("with `apply`: first failing probe after", format!("{} (simulated)", since(failed)));
        row("              old rules back after", format!("{} (simulated)", since(course.restored)));
    }
    let back = seconds(unwatched.restored.saturating_sub(unwatched.loaded));
    row("without any probe: old rules back after", format!("{back} (simulated): nobody confirmed"));
    let _ = write!(
        text,
        "\nThe same with your rules: `firewarden diff OLD NEW`, `firewarden check NEW`. The other outages: `firewarden tour \
         001` to `004`.\n"
    );
    text
}

/// The digest of a host's rules.
fn digest(told: &Postmortem, stack: &str) -> String {
    let file = Path::new(stack).with_file_name(told.file);
    sha256(examples::text(file.to_str().unwrap_or_default()).as_bytes())
}

fn duration(minutes: u32) -> String {
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
