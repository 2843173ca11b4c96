//! One run as a journal in the fields of Chaos Toolkit (<https://chaostoolkit.org/reference/api/journal/>), for what reads
//! those. Times are RFC 3339 in UTC, durations seconds.

use super::{Drill, Run, Verdict, What};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The journal of a run. O(moments).
pub fn journal(drill: &Drill, run: &Run) -> Value {
    // The clock of the moments begins with the series, which may be later than the run.
    let zero = run.series.as_ref().map_or(run.start, |series| series.start);
    let status = match run.verdict {
        Verdict::Passed => "completed",
        Verdict::Failed => "failed",
        Verdict::Stopped => "interrupted",
        Verdict::Error => "aborted",
    };
    let steady = run.at(What::Steady);
    let restored = run.at(What::Restored);
    // A change that was refused deviates from nothing, and neither does a service that nobody looked at.
    let deviated = run.at(What::FirstUserError).is_some() && restored.is_none();
    let of = |kinds: &[What]| -> Vec<Value> {
        let chosen = run.moments.iter().filter(|moment| kinds.contains(&moment.what));
        chosen.map(|moment| activity("action", moment.what, zero, moment.at, &moment.detail)).collect()
    };
    let probes = [What::FirstFailingProbe, What::FirstUserError];
    let during: Vec<Value> = run
        .moments
        .iter()
        .filter(|moment| probes.contains(&moment.what))
        .map(|moment| activity("probe", moment.what, zero, moment.at, &moment.detail))
        .collect();
    json!({
        "platform": drill.place,
        "experiment": {
            "title": drill.title,
            "description": drill.about,
            "tags": [drill.scenario, run.mode.word()],
            "run": run.number,
            "stop_condition": drill.stop,
        },
        "status": status,
        "start": run.start,
        "end": run.end,
        "duration": run.end.duration_since(run.start).as_secs_f64(),
        "deviated": deviated,
        "steady_states": {
            "before": state(steady, "steady before the fault", zero),
            "during": during,
            "after": state(restored, "every user is served", zero),
        },
        "run": of(&[What::Proposed, What::Refused, What::Committed, What::Injected, What::Stopped]),
        "rollbacks": of(&[What::Reverted]),
        "findings": run.findings,
    })
}

fn time(zero: Timestamp, at: u64) -> Timestamp {
    let after = SignedDuration::from_millis(i64::try_from(at).unwrap_or(i64::MAX));
    zero.checked_add(after).unwrap_or(zero)
}

/// A moment as an activity that took no time.
fn activity(kind: &str, what: What, zero: Timestamp, at: u64, detail: &str) -> Value {
    let (when, probe) = (time(zero, at), kind == "probe");
    json!({
        "activity": { "type": kind, "name": what.words() },
        "status": if probe { "failed" } else { "succeeded" },
        "start": when,
        "end": when,
        "duration": 0.0,
        "output": detail,
    })
}

fn state(at: Option<u64>, name: &str, zero: Timestamp) -> Value {
    let probes: Vec<Value> = at
        .map(|at| json!({ "activity": { "type": "probe", "name": name }, "status": "succeeded", "start": time(zero, at) }))
        .into_iter()
        .collect();
    json!({ "steady_state_met": at.is_some(), "probes": probes })
}
