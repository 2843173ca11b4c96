//! The tables of a drill's page: all runs with the median, the moments of one, the curve of one.

use super::figures::{Figures, Spread, users_affected};
use super::words::{duration, percent, seconds};
use super::{Drill, Mode, Run, Verdict, What};
use crate::series::{Connections, Series, median, share};
use firewarden_diagnostic::render::text::html;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The most rows of the table of a curve.
const ROWS: u64 = 240;

/// What users of one kind saw in the time of a row.
#[derive(Clone, Copy, Default)]
struct Cell {
    errors: u64,
    requests: u64,
    p99: f64,
    users: u64,
}

/// The runs of each mode, with the median.
pub fn runs(drill: &Drill, figures: &BTreeMap<Mode, Figures>, out: &mut String) {
    out.push_str("<h2>All runs</h2>\n");
    for (mode, figures) in figures {
        let columns: Vec<(&str, &Spread)> = match mode {
            Mode::Prevent => vec![("refused after", &figures.refused)],
            Mode::Apply => vec![
                ("first failing probe", &figures.noticed),
                ("reverted", &figures.reverted),
                ("restored", &figures.restored),
            ],
            Mode::Observe => vec![("reverted", &figures.reverted), ("restored", &figures.restored)],
        };
        table(drill, *mode, &columns, figures, out);
    }
}

fn table(drill: &Drill, mode: Mode, columns: &[(&str, &Spread)], figures: &Figures, out: &mut String) {
    let about = match mode {
        Mode::Prevent => "prevent: the gate has to decide; from the proposal",
        Mode::Apply => "apply: let through on purpose; from the commit",
        Mode::Observe => "observe: nothing protects the service; from the fault",
    };
    let load = drill.runs_of(mode).any(|run| run.series.is_some());
    let kinds = kinds(drill, mode);
    let _ = write!(
        out,
        "<div class=\"wide\"><table>\n<caption>{about}</caption>\n<thead><tr><th scope=\"col\">run</th>\
         <th scope=\"col\">verdict</th>"
    );
    for (name, _) in columns {
        let _ = write!(out, "<th scope=\"col\" class=\"n\">{name}</th>");
    }
    if load {
        out.push_str("<th scope=\"col\" class=\"n\">users hit</th>");
        for kind in &kinds {
            let _ = write!(out, "<th scope=\"col\" class=\"n\">errors, {}</th>", kind.word());
        }
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for run in drill.runs_of(mode) {
        row(run, mode, load, &kinds, out);
    }
    out.push_str("<tr class=\"median\"><th scope=\"row\">median</th><td></td>");
    for (_, spread) in columns {
        let missing =
            if spread.missing > 0 { format!(" ({} without)", spread.missing) } else { String::new() };
        let middle = spread.median().map_or("–".to_owned(), duration);
        let _ = write!(out, "<td class=\"n\">{middle}{missing}</td>");
    }
    if load {
        let _ =
            write!(out, "<td class=\"n\">{}</td>", figures.users.median().map_or("–".to_owned(), percent));
        for &kind in &kinds {
            let rates: Vec<f64> = drill.runs_of(mode).filter_map(|run| rate(run, kind)).collect();
            let middle = median(&rates).map_or("–".to_owned(), percent);
            let _ = write!(out, "<td class=\"n\">{middle}</td>");
        }
    }
    out.push_str("</tr>\n</tbody>\n</table></div>\n");
}

/// The kinds of connections that users of these runs have.
fn kinds(drill: &Drill, mode: Mode) -> Vec<Connections> {
    let has = |kind| {
        let series = drill.runs_of(mode).filter_map(|run| run.series.as_ref());
        series.flat_map(|series| &series.slots).any(|slot| slot.connections == kind)
    };
    Connections::ALL.into_iter().filter(|&kind| has(kind)).collect()
}

fn row(run: &Run, mode: Mode, load: bool, kinds: &[Connections], out: &mut String) {
    let times = match mode {
        Mode::Prevent => vec![run.to_refused()],
        Mode::Apply => vec![run.to_noticed(), run.to_reverted(), run.to_restored()],
        Mode::Observe => vec![run.to_reverted(), run.to_restored()],
    };
    let class = if run.verdict == Verdict::Passed { "good" } else { "bad" };
    let _ = write!(
        out,
        "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{}</td>",
        run.number,
        run.verdict.word()
    );
    for time in times {
        let text = time.map_or("–".to_owned(), |time| duration(time as f64));
        let _ = write!(out, "<td class=\"n\">{text}</td>");
    }
    if load {
        let users = users_affected(run, None)
            .map(|(hit, all)| format!("{hit} of {all} ({})", percent(share(hit, all))));
        let _ = write!(out, "<td class=\"n\">{}</td>", users.unwrap_or_else(|| "–".to_owned()));
        for &kind in kinds {
            let text = rate(run, kind).map_or("–".to_owned(), percent);
            let _ = write!(out, "<td class=\"n\">{text}</td>");
        }
    }
    out.push_str("</tr>\n");
}

/// The share of a kind's requests that failed while the fault lasted; `None` where nobody sends so, or nothing failed to be.
fn rate(run: &Run, kind: Connections) -> Option<f64> {
    let series = run.series.as_ref()?;
    let from = run.fault()?;
    let until = run.at(What::Restored).unwrap_or(u64::MAX);
    let sum = series.sum(Some(kind), from, until);
    (sum.requests > 0).then(|| sum.error_rate())
}

/// What happened when in a run.
pub fn moments(run: &Run, out: &mut String) {
    let zero = run.fault().unwrap_or(0) as f64;
    out.push_str("<div class=\"wide\"><table>\n<caption>The moments of this run</caption>\n<thead><tr><th scope=\"col\" class=\"n\">since the fault</th><th scope=\"col\">what</th><th scope=\"col\">more</th></tr></thead>\n<tbody>\n");
    for moment in &run.moments {
        let _ = writeln!(
            out,
            "<tr><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            seconds(moment.at as f64 - zero),
            moment.what.words(),
            html(&moment.detail)
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// The curve as a table, of whole steps of so many slots that it stays readable.
pub fn curve(run: &Run, series: &Series, out: &mut String) {
    let zero = run.fault().unwrap_or(0) as f64;
    let slot = series.slot_milliseconds.max(1);
    let end = series.slots.last().map_or(0, |last| last.at + slot);
    let step = slot * (end / slot).div_ceil(ROWS).max(1);
    let kinds = series.kinds();
    out.push_str("<details><summary>The curve as a table</summary>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\" class=\"n\">since the fault</th>");
    for kind in &kinds {
        let _ = write!(
            out,
            "<th scope=\"col\" class=\"n\">{0}: failed of due</th><th scope=\"col\" class=\"n\">{0}: p99</th>",
            kind.word()
        );
    }
    out.push_str("<th scope=\"col\" class=\"n\">users hit</th></tr></thead>\n<tbody>\n");
    let mut rows: BTreeMap<u64, BTreeMap<Connections, Cell>> = BTreeMap::new();
    for slot in &series.slots {
        let cells = rows.entry(slot.at / step * step).or_default();
        let cell = cells.entry(slot.connections).or_default();
        cell.errors += u64::from(slot.errors);
        cell.requests += u64::from(slot.requests);
        cell.p99 = cell.p99.max(slot.p99_milliseconds.unwrap_or(0.0));
        cell.users = cell.users.max(u64::from(slot.users_affected));
    }
    for (at, cells) in rows {
        let _ = write!(out, "<tr><td class=\"n\">{}</td>", seconds(at as f64 - zero));
        for kind in &kinds {
            let Cell { errors, requests, p99, .. } = cells.get(kind).copied().unwrap_or_default();
            let p99 = if p99 > 0.0 { duration(p99) } else { "–".to_owned() };
            let _ = write!(out, "<td class=\"n\">{errors} of {requests}</td><td class=\"n\">{p99}</td>");
        }
        let users: u64 = cells.values().map(|cell| cell.users).sum();
        let _ = writeln!(out, "<td class=\"n\">{users}</td></tr>");
    }
    out.push_str("</tbody>\n</table></div></details>\n");
}
