//! The error-rate curve of one run as SVG: share of failed requests of each kind of connections, users affected, and the
//! moments of the run. It has no colours of its own: the page's style gives them by class, light and dark.

use super::figures::users_affected;
use super::words::{duration, percent, seconds};
use super::{Run, What};
use crate::series::{Connections, Series, Slot, share};
use firewarden_diagnostic::render::text::html;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 58.0;
/// Room for the label of a moment near the end.
const RIGHT: f64 = 168.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
const LEGEND: f64 = 30.0;
const LANE: f64 = 19.0;
const RATE: f64 = 190.0;
const USERS: f64 = 80.0;
const GAP: f64 = 34.0;
/// How much is shown before the fault and after the last moment, in milliseconds.
const BEFORE: f64 = 3000.0;
const AFTER: f64 = 3000.0;

/// What a drawing is made of.
struct Frame<'a> {
    series: &'a Series,
    /// The moment that is called 0.
    zero: f64,
    from: f64,
    until: f64,
    top: f64,
}

/// The chart; `None` where the run has no series. O(slots + moments²).
pub fn chart(run: &Run, id: &str) -> Option<String> {
    let series = run.series.as_ref().filter(|series| !series.slots.is_empty())?;
    let frame = Frame::of(run, series);
    let marks = marks(run, &frame);
    let lanes = marks.iter().map(|mark| mark.lane + 1).max().unwrap_or(0);
    let frame = Frame { top: LEGEND + LANE * lanes as f64 + 30.0, ..frame };
    let height = frame.top + RATE + GAP + USERS + 48.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
         <title id=\"{id}-title\">Errors and users affected, run {}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
        run.number,
        html(&described(run, series, &frame))
    );
    frame.hit(run, &mut out);
    frame.grid(&mut out);
    frame.users(&mut out);
    for (index, kind) in series.kinds().into_iter().enumerate() {
        frame.rate(kind, &mut out);
        legend(kind, index, &mut out);
    }
    for mark in &marks {
        frame.mark(mark, &mut out);
    }
    frame.heads(&mut out);
    out += "</svg>\n";
    Some(out)
}

/// The curve in words, for those who don't see it.
fn described(run: &Run, series: &Series, frame: &Frame) -> String {
    let mut text = String::new();
    let (from, until) = (run.fault().unwrap_or(0), run.at(What::Restored).unwrap_or(u64::MAX));
    for kind in series.kinds() {
        let sum = series.sum(Some(kind), from, until);
        let (hit, all) = users_affected(run, Some(kind)).unwrap_or_default();
        let _ = write!(
            text,
            "While the fault lasted {} of requests on {} connections failed; {hit} of {all} users were affected. ",
            percent(sum.error_rate()),
            kind.word()
        );
    }
    for moment in &run.moments {
        let _ = write!(text, "{}: {}. ", seconds(moment.at as f64 - frame.zero), moment.what.words());
    }
    text.trim_end().to_owned()
}

/// A moment with the place of its label.
struct Mark {
    x: f64,
    lane: usize,
    what: What,
    time: String,
}

/// The moments that are shown. A label starts at its line, in the first lane where neither it nor its line meets what is
/// there: the line goes down through all lanes below.
fn marks(run: &Run, frame: &Frame) -> Vec<Mark> {
    let mut moments: Vec<_> = run.moments.iter().collect();
    moments.sort_by_key(|moment| (moment.at, moment.what));
    let mut ends: Vec<f64> = Vec::new();
    let mut marks = Vec::new();
    for moment in moments {
        let at = moment.at as f64;
        if at < frame.from || at > frame.until {
            continue;
        }
        let (x, time) = (frame.x(at), seconds(at - frame.zero));
        let lane = ends.iter().rposition(|end| *end > x).map_or(0, |taken| taken + 1);
        // Letters of the 12 pixels that the style gives are at most seven wide on average.
        let end = x + 16.0 + 6.8 * (moment.what.words().chars().count() + time.chars().count() + 1) as f64;
        ends.resize(ends.len().max(lane + 1), 0.0);
        if let Some(place) = ends.get_mut(lane) {
            *place = end;
        }
        marks.push(Mark { x, lane, what: moment.what, time });
    }
    marks
}

impl<'a> Frame<'a> {
    fn of(run: &Run, series: &'a Series) -> Frame<'a> {
        let slot = series.slot_milliseconds as f64;
        let end = series.slots.last().map_or(slot, |last| last.at as f64 + slot);
        let fault = run.fault().or_else(|| run.at(What::Proposed)).map(|at| at as f64);
        let last = run.moments.iter().map(|moment| moment.at as f64).fold(0.0, f64::max);
        let from = fault.map_or(0.0, |fault| (fault - BEFORE).max(0.0));
        let until = fault.map_or(end, |_| (last + AFTER).min(end)).max(from + slot);
        Frame { series, zero: fault.unwrap_or(0.0), from, until, top: 0.0 }
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (at.clamp(self.from, self.until) - self.from) / (self.until - self.from) * PLOT
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let slot = self.series.slot_milliseconds as f64;
        self.series
            .slots
            .iter()
            .filter(move |entry| entry.at as f64 + slot > self.from && (entry.at as f64) < self.until)
    }

    /// The time of the fault, shaded.
    fn hit(&self, run: &Run, out: &mut String) {
        let Some(fault) = run.fault() else { return };
        let (from, until) =
            (self.x(fault as f64), self.x(run.at(What::Restored).map_or(self.until, |at| at as f64)));
        let _ = writeln!(
            out,
            "<rect class=\"hit\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            self.top,
            (until - from).max(0.0),
            RATE + GAP + USERS
        );
    }

    fn grid(&self, out: &mut String) {
        let (right, users, all) = (LEFT + PLOT, self.top + RATE + GAP, self.series.users.len());
        let mut line = |y: f64, label: String| {
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        };
        for quarter in 0..=4u32 {
            let share = f64::from(quarter) / 4.0;
            line(self.top + RATE * (1.0 - share), percent(share));
        }
        line(users, all.to_string());
        line(users + USERS, "0".to_owned());
        self.time(users + USERS, out);
    }

    /// What the two parts show; over the lines of the moments.
    fn heads(&self, out: &mut String) {
        let (users, all) = (self.top + RATE + GAP, self.series.users.len());
        let _ = writeln!(
            out,
            "<text class=\"axis head\" x=\"{LEFT}\" y=\"{:.1}\">failed requests, share of those due</text>\n\
             <text class=\"axis head\" x=\"{LEFT}\" y=\"{:.1}\">users with a failed request, of {all}</text>",
            self.top - 9.0,
            users - 9.0
        );
    }

    /// The axis of time, 0 at the fault.
    fn time(&self, y: f64, out: &mut String) {
        let span = self.until - self.from;
        let steps = [100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5];
        let step = steps.into_iter().find(|step| span / step <= 12.0).unwrap_or(span);
        let first = ((self.from - self.zero) / step).ceil();
        let mut at = first * step;
        while self.zero + at <= self.until {
            let x = self.x(self.zero + at);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {y:.1}v6\"/><text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                y + 20.0,
                seconds(at)
            );
            at += step;
        }
        let _ = writeln!(
            out,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">since the fault</text>",
            LEFT + PLOT + 22.0,
            y + 20.0
        );
    }

    /// Users with a failed request, of all kinds, as bars.
    fn users(&self, out: &mut String) {
        let mut affected: BTreeMap<u64, u64> = BTreeMap::new();
        for slot in self.slots() {
            *affected.entry(slot.at).or_default() += u64::from(slot.users_affected);
        }
        let bottom = self.top + RATE + GAP + USERS;
        let mut path = String::new();
        for (at, users) in affected.into_iter().filter(|(_, users)| *users > 0) {
            let (from, until) = self.edges(at);
            let height = USERS * share(users, self.series.users.len() as u64).min(1.0);
            let _ = write!(path, "M{from:.1} {bottom:.1}v-{height:.1}H{until:.1}V{bottom:.1}z");
        }
        let _ = writeln!(out, "<path class=\"users\" d=\"{path}\"/>");
    }

    fn edges(&self, at: u64) -> (f64, f64) {
        (self.x(at as f64), self.x((at + self.series.slot_milliseconds) as f64))
    }

    /// The share of failed requests of one kind, level over each slot. Slots without a request leave a gap.
    fn rate(&self, kind: Connections, out: &mut String) {
        let mut path = String::new();
        let mut reached = None;
        for slot in self.slots().filter(|slot| slot.connections == kind && slot.requests > 0) {
            let (from, until) = self.edges(slot.at);
            let failed = share(u64::from(slot.errors), u64::from(slot.requests));
            let y = self.top + RATE * (1.0 - failed);
            let _ = match reached == Some(slot.at) {
                true => write!(path, "V{y:.1}H{until:.1}"),
                false => write!(path, "M{from:.1} {y:.1}H{until:.1}"),
            };
            reached = Some(slot.at + self.series.slot_milliseconds);
        }
        let _ = writeln!(out, "<path class=\"rate {}\" d=\"{path}\"/>", kind.word());
    }

    fn mark(&self, mark: &Mark, out: &mut String) {
        let Mark { x, lane, what, time } = mark;
        let y = LEGEND + LANE * (*lane as f64) + 14.0;
        let bottom = self.top + RATE + GAP + USERS;
        let class = match what {
            What::Refused | What::Reverted | What::Restored => "good",
            What::FirstUserError | What::FirstFailingProbe | What::Stopped => "bad",
            _ => "plain",
        };
        let _ = writeln!(
            out,
            "<g class=\"mark {class}\"><path d=\"M{x:.1} {:.1}V{bottom:.1}\"/><circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{} <tspan class=\"when\">{time}</tspan></text></g>",
            y - 4.0,
            y - 4.0,
            x + 8.0,
            what.words()
        );
    }
}

fn legend(kind: Connections, index: usize, out: &mut String) {
    let x = LEFT + 170.0 * index as f64;
    let _ = writeln!(
        out,
        "<path class=\"rate {0}\" d=\"M{x:.1} 12h28\"/><text class=\"axis\" x=\"{1:.1}\" y=\"16\">{0} connections</text>",
        kind.word(),
        x + 36.0
    );
}

/// Durations side by side on a logarithmic scale, as SVG: then, and now. Each is a name, its class, and milliseconds; those
/// of no time are told in words. O(bars).
pub fn bars(bars: &[(&str, &str, f64)], id: &str) -> String {
    const ROW: f64 = 34.0;
    const NAMES: f64 = 190.0;
    let width = WIDTH - NAMES - 120.0;
    // From a tenth of a second to four days.
    let x = |milliseconds: f64| {
        let share = (milliseconds.max(100.0) / 100.0).log10() / (4.0f64 * 86_400_000.0 / 100.0).log10();
        NAMES + width * share.min(1.0)
    };
    let bottom = ROW * bars.len() as f64 + 6.0;
    let words: Vec<String> = bars.iter().map(|(name, _, time)| format!("{name}: {}", told(*time))).collect();
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
         <title id=\"{id}-title\">How long until every user was served again, on a logarithmic scale</title>\n\
         <desc id=\"{id}-desc\">{}.</desc>\n",
        bottom + 30.0,
        html(&words.join("; "))
    );
    for (time, name) in
        [(1e3, "1 s"), (1e4, "10 s"), (6e4, "1 min"), (6e5, "10 min"), (36e5, "1 h"), (864e5, "1 day")]
    {
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{0:.1} 2V{bottom:.1}\"/><text class=\"axis\" x=\"{0:.1}\" y=\"{1:.1}\" \
             text-anchor=\"middle\">{name}</text>",
            x(time),
            bottom + 20.0
        );
    }
    for (row, (name, class, time)) in bars.iter().enumerate() {
        let y = ROW * row as f64 + 6.0;
        let length = if *time > 0.0 { x(*time) - NAMES } else { 0.0 };
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar {class}\" x=\"{NAMES}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"22\" rx=\"3\"/>\
             <text class=\"value {class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAMES - 12.0,
            y + 16.0,
            html(name),
            NAMES + length + 8.0,
            y + 16.0,
            told(*time)
        );
    }
    out + "</svg>\n"
}

fn told(milliseconds: f64) -> String {
    if milliseconds > 0.0 { duration(milliseconds) } else { "never gone".to_owned() }
}
