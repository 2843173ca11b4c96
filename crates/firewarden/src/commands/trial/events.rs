//! What is told while a trial goes on: a line for each event, for people or for programs.

use super::outcome;
use crate::cli::trial::EventFormat;
use crate::output::{self, Color};
use anstyle::{AnsiColor, Style as Ansi};
use firewarden_change::plan::Probe;
use firewarden_change::trial::Outcome;
use firewarden_diagnostic::render::Style;
use firewarden_host::probe::{CommandProbe, Probed, Ran};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The version of the events' JSON.
const VERSION: u32 = 1;
/// The width of an event's name.
const NAME: usize = 10;

/// Tells events, each with the time since the command began.
pub struct Teller {
    format: EventFormat,
    style: Style,
    begun: Instant,
}

impl Teller {
    pub fn new(format: EventFormat, color: Color) -> Teller {
        Teller { format, style: color.style(), begun: Instant::now() }
    }

    /// The new rules return to the old ones after `window`, unless confirmed.
    pub fn armed(&self, trial: &str, window: Duration) {
        let text =
            format!("the old rules return in {} s unless the new ones are confirmed", window.as_secs());
        self.tell(
            "armed",
            Mood::Plain,
            &text,
            json!({ "trial": trial, "window_seconds": window.as_secs_f64() }),
        );
    }

    /// The kernel holds the new rules, as read back.
    pub fn applied(&self, digest: Option<&str>) {
        self.tell(
            "applied",
            Mood::Plain,
            "the kernel holds the new rules, as read back",
            json!({ "ruleset": digest }),
        );
    }

    /// A guarded command ended.
    pub fn ran(&self, words: &str, status: &str, succeeded: bool) {
        let mood = if succeeded { Mood::Plain } else { Mood::Bad };
        self.tell(
            "command",
            mood,
            &format!("`{words}` ended with {status}"),
            json!({ "succeeded": succeeded }),
        );
    }

    /// A new connection was tried. `before` is how it went before the change, where that was no better.
    pub fn probed(&self, probe: &Probe, probed: &Probed, as_before: bool) {
        let holds = probed.holds(probe);
        let milliseconds = probed.took.as_secs_f64() * 1000.0;
        let target = match &probe.target {
            firewarden_change::plan::ProbeTarget::Tcp(address) => format!("tcp {address}"),
            firewarden_change::plan::ProbeTarget::Url(url) => url.clone(),
        };
        let remark = match (holds, as_before) {
            (true, _) => "",
            (false, true) => " (as before the change, so it does not count)",
            (false, false) => " NOT as the intent says",
        };
        let text = format!("{target} {} in {milliseconds:.1} ms: {}{remark}", probed.ending, probe.intent);
        let mood = if holds || as_before { Mood::Plain } else { Mood::Bad };
        let details = json!({
            "intent": probe.intent, "target": target, "ending": probed.ending.to_string(),
            "seconds": probed.took.as_secs_f64(), "holds": holds, "as_before": as_before,
        });
        self.tell("probe", mood, &text, details);
    }

    /// A command that probes was run. `as_before` where it failed already before the change.
    pub fn ran_probe(&self, probe: &CommandProbe, ran: &Ran, as_before: bool) {
        let milliseconds = ran.took.as_secs_f64() * 1000.0;
        let remark = match (ran.holds(), as_before) {
            (true, _) => "",
            (false, true) => " (as before the change, so it does not count)",
            (false, false) => " NOT as before the change",
        };
        let text = format!("{} {} in {milliseconds:.1} ms{remark}", probe.name, ran.ending);
        let mood = if ran.holds() || as_before { Mood::Plain } else { Mood::Bad };
        let details = json!({
            "name": probe.name, "command": probe.command, "ending": ran.ending.to_string(),
            "seconds": ran.took.as_secs_f64(), "holds": ran.holds(), "as_before": as_before,
        });
        self.tell("probe", mood, &text, details);
    }

    /// Somebody has to decide.
    pub fn waiting(&self, left: Duration) {
        let text = format!(
            "keep the new rules with `firewarden confirm` from a new connection within {} s; Ctrl-C takes them back",
            left.as_secs()
        );
        self.tell("waiting", Mood::Plain, &text, json!({ "left_seconds": left.as_secs_f64() }));
    }

    /// Something that the operator is told, whatever becomes of the trial.
    pub fn note(&self, text: &str) {
        self.tell("note", Mood::Plain, text, json!({}));
    }

    /// Something that went wrong beside the trial.
    pub fn trouble(&self, text: &str) {
        self.tell("trouble", Mood::Bad, text, json!({}));
    }

    /// It is over.
    pub fn ended(&self, ended: &Outcome) {
        let (name, mood) = match ended {
            Outcome::Confirmed { trouble: None, .. } => ("confirmed", Mood::Good),
            Outcome::Confirmed { trouble: Some(_), .. } => ("confirmed", Mood::Bad),
            Outcome::Reverted { .. } => ("reverted", Mood::Bad),
            Outcome::Abandoned { .. } => ("abandoned", Mood::Bad),
        };
        // What is saved for the next guard is what programs get: serializing plain data doesn't fail.
        let details = serde_json::to_value(ended).unwrap_or_default();
        self.tell(name, mood, &outcome::outcome(ended), json!({ "outcome": details }));
    }

    /// It isn't over, and the guard doesn't get on.
    pub fn stuck(&self) {
        let text = "the old rules do NOT come back, though the guard goes on trying: see `firewarden status`, and mend it \
                    by hand (`firewarden restore --last-confirmed`)";
        self.tell("stuck", Mood::Bad, text, json!({}));
    }

    /// An event of another host's Firewarden, in its words and with the time that it tells.
    pub fn retell(&self, event: Value) {
        let said = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, text) = (said("event"), said("text"));
        let mood = match name.as_str() {
            "confirmed" => Mood::Good,
            "reverted" | "abandoned" | "stuck" | "trouble" => Mood::Bad,
            _ => Mood::Plain,
        };
        self.tell(&name, mood, &text, event);
    }

    fn tell(&self, name: &str, mood: Mood, text: &str, details: Value) {
        let after = self.begun.elapsed().as_secs_f64();
        let line = match self.format {
            EventFormat::Json => {
                let mut event =
                    json!({ "version": VERSION, "event": name, "after_seconds": after, "text": text });
                if let (Some(event), Value::Object(details)) = (event.as_object_mut(), details) {
                    event.extend(details);
                }
                format!("{event}\n")
            }
            EventFormat::Human => {
                let painted = match (self.style, mood.ansi()) {
                    (Style::Color, Some(ansi)) => format!("{ansi}{name:NAME$}{ansi:#}"),
                    _ => format!("{name:NAME$}"),
                };
                format!("{after:8.3} s  {painted}  {text}\n")
            }
        };
        // Whoever reads may be gone, as when the session is cut; the trial goes on without.
        let _ = output::print(&line);
    }
}

/// How good an event is.
#[derive(Clone, Copy)]
enum Mood {
    Plain,
    Good,
    Bad,
}

impl Mood {
    fn ansi(self) -> Option<Ansi> {
        match self {
            Mood::Plain => None,
            Mood::Good => Some(AnsiColor::Green.on_default().bold()),
            Mood::Bad => Some(AnsiColor::Red.on_default().bold()),
        }
    }
}
