//! The page of a drill: everything in one file, no script, nothing loaded from elsewhere, light and dark.

use super::chart::{bars, chart};
use super::figures::{Figures, Spread};
use super::words::{count, duration, percent, seconds};
use super::{Drill, Mode, Run, Verdict, tables};
use firewarden_diagnostic::render::text::html;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The figures of each mode that was run.
struct Told<'a> {
    drill: &'a Drill,
    figures: BTreeMap<Mode, Figures>,
}

/// The page. O(runs · slots).
pub fn page(drill: &Drill) -> String {
    let modes = Mode::ALL.into_iter().filter(|&mode| drill.runs_of(mode).next().is_some());
    let told = Told { drill, figures: modes.map(|mode| (mode, Figures::of(drill, mode))).collect() };
    let headline = html(&headline(drill));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{headline}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<p class=\"kicker\">Firewarden drill · {}</p>\n\
         <h1>{headline}</h1>\n<p class=\"lead\"><b>{}.</b> {}</p>\n",
        html(&drill.scenario),
        html(&capitalised(&drill.title)),
        html(&drill.about)
    );
    told.otherwise(&mut out);
    told.tiles(&mut out);
    out += "</header>\n<main>\n";
    told.then_and_now(&mut out);
    told.refusal(&mut out);
    for mode in [Mode::Apply, Mode::Observe] {
        told.curve(mode, &mut out);
    }
    tables::runs(drill, &told.figures, &mut out);
    if !drill.change.is_empty() {
        let _ = writeln!(
            out,
            "<h2>The change</h2>\n<pre class=\"change\">{}</pre>",
            preformatted(drill.change.trim_end())
        );
    }
    let _ = writeln!(
        out,
        "</main>\n<footer><p class=\"soft\">{}. {} between {} and {}. Durations are computed from the moments of each run; \
         a median leaves out runs that have no value, and the table says which. Requests count where they were due, \
         however late they ended.{}</p></footer>\n</body>\n</html>",
        html(&drill.place),
        count(drill.runs.len(), "run"),
        drill.runs.iter().map(|run| run.start).min().map(moment).unwrap_or_default(),
        drill.runs.iter().map(|run| run.end).max().map(moment).unwrap_or_default(),
        drill.stop.as_ref().map(|stop| format!(" A run ends early when {}.", html(stop))).unwrap_or_default()
    );
    out
}

/// What the drill showed, in one line: what it was like then, and what it is now.
pub fn headline(drill: &Drill) -> String {
    let name = match drill.scenario.bytes().all(|letter| letter.is_ascii_digit()) {
        true => format!("Outage {}", drill.scenario),
        false => drill.title.clone(),
    };
    let mut text = match &drill.postmortem {
        Some(postmortem) => format!("{name}: {} then.", duration(postmortem.lasted())),
        None => format!("{name}."),
    };
    let prevent = refused(drill);
    let apply = Figures::of(drill, Mode::Apply).restored;
    let observed = Figures::of(drill, Mode::Observe);
    match prevent {
        Some((0, _)) if !drill.firewall_to_blame => text += " Not the firewall, and not refused.",
        Some((refused, of)) if !drill.firewall_to_blame => {
            let _ = write!(text, " Not the firewall, but refused in {refused} of {of} runs.");
        }
        Some((refused, of)) if refused == of => text += " Refused now",
        Some((refused, of)) => {
            let _ = write!(text, " Refused now in {refused} of {of} runs");
        }
        None => {}
    }
    let open = prevent.is_some() && drill.firewall_to_blame;
    match apply.median() {
        Some(time) => {
            text += if open { "; if let through, back in " } else { " Let through on purpose, back in " };
            text += &duration(time);
            if apply.missing > 0 {
                let _ =
                    write!(text, " in {} of {} runs", apply.values.len(), apply.values.len() + apply.missing);
            }
        }
        None if apply.missing > 0 => {
            text +=
                if open { "; let through, it didn't come back" } else { " Let through, it didn't come back" };
        }
        None => {}
    }
    let alone = prevent.is_none() && apply.values.is_empty() && apply.missing == 0;
    if let Some(users) = observed.users.median().filter(|_| alone) {
        let _ = write!(text, " Without protection, it hits {} of users", percent(users));
    }
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// How many of the runs that try to prevent were refused; `None` without any.
fn refused(drill: &Drill) -> Option<(usize, usize)> {
    let all = drill.runs_of(Mode::Prevent).count();
    let refused = drill.runs_of(Mode::Prevent).filter(|run| run.refusal.is_some()).count();
    (all > 0).then_some((refused, all))
}

impl Told<'_> {
    fn median(&self, mode: Mode, of: fn(&Figures) -> &Spread) -> Option<f64> {
        self.figures.get(&mode).and_then(|figures| of(figures).median())
    }

    /// Runs that didn't go as expected come first.
    fn otherwise(&self, out: &mut String) {
        let other: Vec<&Run> = self.drill.runs.iter().filter(|run| run.verdict != Verdict::Passed).collect();
        if other.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "<p class=\"bad\"><b>{} of {} went otherwise than the scenario expects.</b></p>\n<ul>",
            other.len(),
            count(self.drill.runs.len(), "run")
        );
        for run in other {
            let findings = if run.findings.is_empty() {
                "no reason was given".to_owned()
            } else {
                run.findings.join("; ")
            };
            let (mode, number, verdict) = (run.mode.word(), run.number, run.verdict.word());
            let _ = writeln!(out, "<li>{mode} run {number} {verdict}: {}</li>", html(&findings));
        }
        out.push_str("</ul>\n");
    }

    fn tiles(&self, out: &mut String) {
        let mut tiles = Vec::new();
        if let Some(postmortem) = &self.drill.postmortem {
            let lost = if postmortem.lost_on.is_empty() { "" } else { "; " };
            let about = format!("the outage then: {}{lost}{}", postmortem.impact, postmortem.lost_on);
            tiles.push(("bad", duration(postmortem.lasted()), about));
        }
        if let Some((refused, of)) = refused(self.drill) {
            let right = (refused > 0) == self.drill.firewall_to_blame && (refused == of || refused == 0);
            let took = self.median(Mode::Prevent, |figures| &figures.refused);
            let about = match took {
                Some(time) if refused > 0 => {
                    format!("refused before it was loaded, after {}", duration(time))
                }
                _ if refused > 0 => "refused before it was loaded".to_owned(),
                _ => "refused".to_owned(),
            };
            tiles.push((if right { "good" } else { "bad" }, format!("{refused} of {of}"), about));
        }
        if let Some(time) = self.median(Mode::Apply, |figures| &figures.noticed) {
            tiles.push(("good", duration(time), "from the commit to the first failing probe".to_owned()));
        }
        if let Some(time) = self.median(Mode::Apply, |figures| &figures.restored) {
            tiles.push((
                "good",
                duration(time),
                "until every user was served again, let through on purpose".to_owned(),
            ));
        }
        if let Some(users) = self.median(Mode::Observe, |figures| &figures.users) {
            tiles.push(("bad", percent(users), "of users hit here, with nothing to protect them".to_owned()));
        }
        if tiles.is_empty() {
            return;
        }
        out.push_str("<div class=\"tiles\">\n");
        for (class, value, about) in tiles {
            let _ = writeln!(
                out,
                "<div class=\"tile\"><b class=\"{class}\">{}</b><span>{}</span></div>",
                html(&value),
                html(&about)
            );
        }
        out.push_str("</div>\n");
    }

    fn then_and_now(&self, out: &mut String) {
        let Some(postmortem) = &self.drill.postmortem else { return };
        let prevented =
            refused(self.drill).filter(|(refused, of)| refused == of && self.drill.firewall_to_blame);
        let restored = self.median(Mode::Apply, |figures| &figures.restored);
        // A column of a mode that was not run would say nothing.
        let (refused_ran, through_ran) =
            (self.figures.contains_key(&Mode::Prevent), self.figures.contains_key(&Mode::Apply));
        if !refused_ran && !through_ran {
            return;
        }
        out.push_str("<h2>Then and now</h2>\n<figure>\n");
        let mut rows = vec![("then", "bad", postmortem.lasted())];
        rows.extend(restored.map(|time| ("now, let through", "good", time)));
        rows.extend(prevented.map(|_| ("now, refused", "good", 0.0)));
        *out += &bars(&rows, "bars");
        out.push_str("<figcaption>How long until every user was served again, on a logarithmic scale.");
        if let Some(restored) = restored.filter(|time| *time > 0.0) {
            let _ = write!(out, " Then it took {} times as long.", thousands(postmortem.lasted() / restored));
        }
        out.push_str("</figcaption>\n</figure>\n");
        let told = |time: Option<f64>| match time {
            Some(time) if time <= 0.0 => "at once".to_owned(),
            Some(time) => duration(time),
            None => "not told".to_owned(),
        };
        let measured = |of: fn(&Figures) -> &Spread| self.median(Mode::Apply, of).map(duration);
        let place = self.drill.runs.iter().filter_map(|run| run.refusal.as_ref()?.place.clone()).next();
        let named = place.map(|place| format!("at once: {place}"));
        let users = self.median(Mode::Apply, |figures| &figures.users);
        let held = |words: &str| prevented.map(|_| words.to_owned());
        let rows = [
            (
                "noticed after",
                told(postmortem.to_detected()),
                held("before it was loaded"),
                measured(|figures| &figures.noticed),
            ),
            ("cause known after", told(postmortem.to_cause()), prevented.and(named), None),
            (
                "back after",
                told(Some(postmortem.lasted())),
                held("never gone"),
                measured(|figures| &figures.restored),
            ),
            ("users hit", postmortem.impact.clone(), held("none"), users.map(percent)),
        ];
        let columns = [(refused_ran, "now, refused"), (through_ran, "now, let through on purpose")];
        out.push_str(
            "<div class=\"wide\"><table>\n<caption>Then: by the postmortem's own times. Now: the median of the runs.</caption>\n\
             <thead><tr><th></th><th scope=\"col\">then</th>",
        );
        for (_, title) in columns.into_iter().filter(|(ran, _)| *ran) {
            let _ = write!(out, "<th scope=\"col\">{title}</th>");
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for (name, then, refused, through) in rows {
            let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td>", html(&then));
            for (ran, text) in [(refused_ran, refused), (through_ran, through)] {
                if ran {
                    let _ = write!(out, "<td>{}</td>", html(&text.unwrap_or_else(|| "–".to_owned())));
                }
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table></div>\n");
    }

    fn refusal(&self, out: &mut String) {
        let Some(refusal) = self.drill.runs.iter().find_map(|run| run.refusal.as_ref()) else { return };
        let _ = writeln!(out, "<h2>Why it is refused</h2>\n<p>{}</p>", html(&refusal.message));
        let lines = [("", &refusal.place), ("rule    ", &refusal.rule), ("packet  ", &refusal.packet)];
        let lines: Vec<String> = lines
            .into_iter()
            .filter_map(|(name, text)| text.as_ref().map(|text| format!("{name}{}", preformatted(text))))
            .collect();
        if !lines.is_empty() {
            let _ = writeln!(out, "<pre>{}</pre>", lines.join("\n"));
        }
        if !refusal.intents.is_empty() {
            let names: Vec<String> =
                refusal.intents.iter().map(|name| format!("<code>{}</code>", html(name))).collect();
            let _ = writeln!(out, "<p>It would break {}.</p>", names.join(", "));
        }
    }

    /// The curve of the run in the middle.
    fn curve(&self, mode: Mode, out: &mut String) {
        let mut runs: Vec<&Run> = self.drill.runs_of(mode).filter(|run| run.series.is_some()).collect();
        runs.sort_by_key(|run| (run.to_restored().is_none(), run.to_restored(), run.number));
        let with = runs.iter().filter(|run| run.to_restored().is_some()).count();
        let shown = if with > 0 { with } else { runs.len() };
        let Some(run) = shown.checked_sub(1).and_then(|last| runs.get(last / 2)) else { return };
        let id = mode.word();
        let Some(svg) = chart(run, id) else { return };
        let title = match mode {
            Mode::Apply => "Let through on purpose: what users saw until it was undone",
            _ => "Without protection: what users saw",
        };
        let which = if runs.len() > 1 {
            format!("Run {}, the one in the middle of {}.", run.number, runs.len())
        } else {
            format!("Run {}.", run.number)
        };
        let _ = writeln!(
            out,
            "<h2>{title}</h2>\n<figure>\n{svg}<figcaption>{which} Each step is {}. Requests count where they \
             were due: some due shortly before the end were answered after it.</figcaption>\n</figure>",
            seconds(run.series.as_ref().map_or(0.0, |series| series.slot_milliseconds as f64))
        );
        tables::moments(run, out);
        if let Some(series) = &run.series {
            tables::curve(run, series, out);
        }
    }
}

/// A number of two digits that count, with commas: 43,000.
fn thousands(number: f64) -> String {
    let digits = (number.max(1.0).log10().floor() as i32 - 1).max(0);
    let unit = 10f64.powi(digits);
    let text = format!("{:.0}", (number / unit).round() * unit);
    let mut out = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Date and time, to the second.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A sentence's beginning.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// A text of lines.
fn preformatted(text: &str) -> String {
    text.lines().map(html).collect::<Vec<_>>().join("\n")
}
