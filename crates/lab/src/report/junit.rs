//! Drills as JUnit XML: one suite for each scenario, one test case for each run.

use super::figures::users_affected;
use super::{Drill, Run, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};
use std::time::Duration;

/// The drills as JUnit XML. A run that was stopped or couldn't be made isn't a success either. O(runs).
pub fn junit(drills: &[Drill]) -> String {
    let mut report = Report::new("firewarden drill");
    for drill in drills {
        let mut suite = TestSuite::new(clean(&format!("{} {}", drill.scenario, drill.title)));
        suite.add_test_cases(drill.runs.iter().map(|run| case(drill, run)));
        report.add_test_suite(suite);
    }
    // Writing to memory doesn't fail, and every string was made valid for XML.
    report.to_string().unwrap_or_else(|error| format!("<!-- {} -->\n", error.to_string().replace("--", "- ")))
}

fn case(drill: &Drill, run: &Run) -> TestCase {
    let kind = match run.verdict {
        Verdict::Passed => None,
        Verdict::Failed | Verdict::Stopped => Some(NonSuccessKind::Failure),
        Verdict::Error => Some(NonSuccessKind::Error),
    };
    let mut status = TestCaseStatus::success();
    if let Some(kind) = kind {
        status = TestCaseStatus::non_success(kind);
        status.set_type(run.verdict.word());
        status.set_message(clean(run.findings.first().map_or(run.verdict.word(), String::as_str)));
        status.set_description(clean(&run.findings.join("\n")));
    }
    let mut case =
        TestCase::new(clean(&format!("{} {} run {}", drill.scenario, run.mode.word(), run.number)), status);
    case.set_classname(format!("firewarden.drill.{}", run.mode.word()));
    let lasted = run.end.duration_since(run.start);
    case.set_time(Duration::try_from(lasted).unwrap_or_default());
    let times = [
        ("refused_milliseconds", run.to_refused()),
        ("first_failing_probe_milliseconds", run.to_noticed()),
        ("reverted_milliseconds", run.to_reverted()),
        ("restored_milliseconds", run.to_restored()),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            case.add_property((name, time.to_string().as_str()));
        }
    }
    if let Some((hit, all)) = users_affected(run, None) {
        case.add_property(("users_affected", hit.to_string().as_str()));
        case.add_property(("users", all.to_string().as_str()));
    }
    case
}

/// Without what XML can't hold: controls, which the type leaves out, and what is no character of XML 1.0.
fn clean(text: &str) -> XmlString {
    XmlString::new(text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}
