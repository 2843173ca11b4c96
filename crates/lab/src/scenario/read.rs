//! Drill files from YAML.

use super::{Change, Edit, Expect, Fault, How, Percent, Scenario, Stop};
use crate::report::Postmortem;
use crate::series::Connections;
use firewarden_diagnostic::{Diagnostic, FileId};
use firewarden_verify::Located;
use firewarden_verify::yaml::{self, Fields, Kind, Node, Values, quoted};
use jiff::Timestamp;
use std::collections::BTreeMap;

pub(super) const KEYS: [&str; 9] =
    ["name", "title", "about", "postmortem", "prepare", "change", "fault", "stop", "expect"];
pub(super) const POSTMORTEM_KEYS: [&str; 6] =
    ["began", "detected", "cause-known", "resolved", "impact", "lost-on"];
pub(super) const CHANGE_KEYS: [&str; 2] = ["host", "edits"];
pub(super) const EDIT_KEYS: [&str; 5] = ["file", "from", "find", "put", "append"];
pub(super) const FAULT_KEYS: [&str; 3] = ["host", "make", "mend"];
pub(super) const STOP_KEYS: [&str; 3] = ["errors", "seconds", "connections"];
pub(super) const EXPECT_KEYS: [&str; 3] = ["breaks", "rule", "errors"];

/// The longest name, in bytes.
const NAME_BYTES: usize = 48;

/// The kind of file.
const DRILL: Kind = Kind {
    name: "the drill file",
    syntax: "drill-syntax",
    mismatch: "drill-type",
    unknown_key: "drill-unknown-key",
    missing_key: "drill-missing-key",
};

/// Reads a drill file. `None` where something is wrong that leaves nothing to drill; everything wrong is in the diagnostics.
/// Linear in the text.
pub fn read_scenario(file: FileId, text: &str) -> (Option<Scenario>, Vec<Diagnostic>) {
    let root = match yaml::parse(DRILL, file, text) {
        Ok(root) => root,
        Err(diagnostic) => return (None, vec![*diagnostic]),
    };
    let mut reader = Reader { values: Values::new(DRILL) };
    let scenario = reader.scenario(&root);
    let wrong = reader.values.reported() > 0;
    (scenario.filter(|_| !wrong), reader.values.finish())
}

struct Reader {
    values: Values,
}

impl Reader {
    fn scenario(&mut self, root: &Node) -> Option<Scenario> {
        let fields = self.values.fields(root, "the drill file", &KEYS)?;
        let name = self.needed(&fields, "a drill", "name", "what it is called in commands, such as `003`");
        let title = self.needed(&fields, "a drill", "title", "what happens, in a few words");
        let about = self.values.text(&fields, "about").map(|about| about.value.trim().to_owned());
        let postmortem = fields.get("postmortem").and_then(|node| self.postmortem(node));
        let change = match fields.get("change") {
            Some(node) => self.change(node),
            None => {
                let help = "say what is done to which host's rules: `change: { host: …, edits: … }`";
                self.values.missing(fields.span, "a drill", "change", help);
                None
            }
        };
        let prepare = fields.get("prepare").and_then(|node| self.fault(node, "`prepare`"));
        let fault = fields.get("fault").and_then(|node| self.fault(node, "`fault`"));
        let stop = fields.get("stop").and_then(|node| self.stop(node));
        let expect = match fields.get("expect") {
            Some(node) => self.expect(node),
            None => {
                let help = "say what has to come of it: `expect: { breaks: [INTENT] }`; `breaks: []` where the firewall is innocent";
                self.values.missing(fields.span, "a drill", "expect", help);
                None
            }
        };
        let name = name.filter(|name| self.is_name(name))?;
        Some(Scenario {
            name: name.value,
            title: title?.value,
            about: about.unwrap_or_default(),
            postmortem,
            prepare,
            change: change?,
            fault,
            stop,
            expect: expect?,
        })
    }

    /// Reports become folders and files of this name.
    fn is_name(&mut self, name: &Located<String>) -> bool {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=NAME_BYTES).contains(&name.value.len()) && name.value.bytes().all(letters);
        if !good {
            self.values.report(
                Diagnostic::error("drill-name", "this can't be the name of a drill")
                    .at(name.span, "")
                    .help("use lower-case letters, digits and `-`"),
            );
        }
        good
    }

    fn needed(&mut self, fields: &Fields<'_>, what: &str, key: &str, help: &str) -> Option<Located<String>> {
        if fields.get(key).is_none() {
            self.values.missing(fields.span, what, key, &format!("say {help}: `{key}: …`"));
            return None;
        }
        self.values.text(fields, key)
    }

    fn postmortem(&mut self, node: &Node) -> Option<Postmortem> {
        let what = "`postmortem`";
        let fields = self.values.fields(node, what, &POSTMORTEM_KEYS)?;
        for key in ["began", "resolved"] {
            if fields.get(key).is_none() {
                self.values.missing(fields.span, what, key, &format!("write `{key}: 2024-02-18T10:00:00Z`"));
            }
        }
        let impact = self.needed(&fields, what, "impact", "whom it hit");
        let mut time = |key: &str| self.time(&fields, key);
        let (began, resolved) = (time("began"), time("resolved"));
        let (detected, cause_known) = (time("detected"), time("cause-known"));
        let lost_on = self.values.text(&fields, "lost-on").map(|text| text.value).unwrap_or_default();
        let told = Postmortem {
            began: began?,
            detected,
            cause_known,
            resolved: resolved?,
            impact: impact?.value,
            lost_on,
        };
        let times = [Some(told.began), told.detected, told.cause_known, Some(told.resolved)];
        if !times.into_iter().flatten().is_sorted() {
            self.values.report(
                Diagnostic::error("drill-times", "the times of the postmortem are out of order")
                    .at(fields.span, "")
                    .help("`began`, `detected`, `cause-known` and `resolved` come one after the other"),
            );
        }
        Some(told)
    }

    fn time(&mut self, fields: &Fields<'_>, key: &str) -> Option<Timestamp> {
        let text = self.values.text(fields, key)?;
        match text.value.parse() {
            Ok(time) => Some(time),
            Err(_) => {
                self.values.report(
                    Diagnostic::error("drill-time", format!("`{key}` is no time"))
                        .at(text.span, "")
                        .help("write date, time and zone, as in `2024-02-18T10:00:00Z` or `2024-05-10T08:00:00-05:00`"),
                );
                None
            }
        }
    }

    fn change(&mut self, node: &Node) -> Option<Change> {
        let fields = self.values.fields(node, "`change`", &CHANGE_KEYS)?;
        let host = self.needed(&fields, "`change`", "host", "whose rules are changed");
        let Some(node) = fields.get("edits") else {
            let help =
                "list what is done to the host's files, such as `edits: [{ file: lb.nft, append: … }]`";
            self.values.missing(fields.span, "`change`", "edits", help);
            return None;
        };
        let items = self.values.list(node, "`edits`", "a list of edits");
        let edits: Vec<Edit> = items.iter().filter_map(|item| self.edit(item)).collect();
        if items.is_empty() {
            self.values.mismatch(node, "`edits`", "a list with an edit at least");
        }
        Some(Change { host: host?, edits })
    }

    fn edit(&mut self, node: &Node) -> Option<Edit> {
        let fields = self.values.fields(node, "an edit", &EDIT_KEYS)?;
        let file = self.needed(&fields, "an edit", "file", "which file of the stack is changed");
        let mut text = |key: &str| self.values.text(&fields, key);
        let (from, find, put, append) = (text("from"), text("find"), text("put"), text("append"));
        // What is put may be nothing, which YAML reads as no value.
        let puts = fields.key_span("put") != fields.span;
        let how = match (from, find, append) {
            (Some(from), None, None) if !puts => How::From(from),
            (None, Some(find), None) if puts && !find.value.is_empty() => {
                How::Put { find, put: put.map(|put| put.value).unwrap_or_default() }
            }
            (None, None, Some(more)) if !puts => How::Append(more.value),
            _ => {
                self.values.report(
                    Diagnostic::error("drill-edit", "an edit does one thing")
                        .at(node.span, "")
                        .help("give `from: PATH`, or `find: TEXT` with `put: TEXT`, or `append: TEXT`"),
                );
                return None;
            }
        };
        Some(Edit { file: file?, how })
    }

    fn fault(&mut self, node: &Node, what: &str) -> Option<Fault> {
        let fields = self.values.fields(node, what, &FAULT_KEYS)?;
        let mut needed = |key: &str, help: &str| self.needed(&fields, what, key, help);
        let host = needed("host", "where it is made, as the lab calls the host");
        let make = needed("make", "the command of a shell that makes it");
        let mend = needed("mend", "the command that takes it away");
        Some(Fault { host: host?.value, make: make?.value, mend: mend?.value })
    }

    fn stop(&mut self, node: &Node) -> Option<Stop> {
        let fields = self.values.fields(node, "`stop`", &STOP_KEYS)?;
        let errors =
            self.needed(&fields, "`stop`", "errors", "of how many percent of requests more have to fail");
        let seconds = self.needed(&fields, "`stop`", "seconds", "for how long, in seconds");
        let connections = self.values.text(&fields, "connections");
        let percent = |text: &str| text.parse().ok().filter(|percent| (0.0..100.0).contains(percent));
        let errors = self.fitting(errors?, percent, "`errors` of `stop`", "a percentage below 100");
        let time = |text: &str| text.parse().ok().filter(|seconds| (1..=600).contains(seconds));
        let seconds = self.fitting(seconds?, time, "`seconds` of `stop`", "a number from 1 to 600");
        // The users of drills share none.
        let kinds = [Connections::New, Connections::Kept];
        let kind = |text: &str| kinds.into_iter().find(|kind| kind.word() == text);
        let connections = match connections {
            Some(text) => Some(self.fitting(text, kind, "`connections` of `stop`", "`new` or `kept`")?),
            None => None,
        };
        Some(Stop { errors: errors?, seconds: seconds?, connections })
    }

    /// The value of a text, which is reported where it has none.
    fn fitting<T>(
        &mut self,
        text: Located<String>,
        read: impl Fn(&str) -> Option<T>,
        what: &str,
        expected: &str,
    ) -> Option<T> {
        let value = read(&text.value);
        if value.is_none() {
            let found = text.value.replace('`', "'");
            self.values.report(
                Diagnostic::error(DRILL.mismatch, format!("{what} is {expected}, not `{found}`"))
                    .at(text.span, "")
                    .help("such as `stop: { errors: 50, seconds: 3, connections: kept }`"),
            );
        }
        value
    }

    fn expect(&mut self, node: &Node) -> Option<Expect> {
        let fields = self.values.fields(node, "`expect`", &EXPECT_KEYS)?;
        let Some(breaks) = fields.get("breaks") else {
            let help = "list the names of the intents that break; `breaks: []` where none does";
            self.values.missing(fields.span, "`expect`", "breaks", help);
            return None;
        };
        let breaks = self.values.scalars(breaks, "`breaks`", "a list of names of intents");
        let breaks = breaks.into_iter().map(|name| name.text.clone()).collect();
        let rule = self.values.text(&fields, "rule").map(|rule| rule.value);
        let errors = fields.get("errors").map(|node| self.errors(node)).unwrap_or_default();
        Some(Expect { breaks, rule, errors })
    }

    fn errors(&mut self, node: &Node) -> BTreeMap<Connections, Percent> {
        let words = Connections::ALL.map(Connections::word);
        let Some(fields) = self.values.fields(node, "`errors`", &words) else { return BTreeMap::new() };
        let mut errors = BTreeMap::new();
        for kind in Connections::ALL {
            let Some(node) = fields.get(kind.word()) else { continue };
            let expected = "a range of percentages, the lower one first, such as `[20, 45]`";
            let what = format!("`{}`", kind.word());
            let ends = self.values.scalars(node, &what, expected);
            let numbers: Vec<f64> = ends.iter().filter_map(|end| end.text.parse().ok()).collect();
            match numbers.as_slice() {
                [low, high] if 0.0 <= *low && low <= high && *high <= 100.0 && ends.len() == 2 => {
                    errors.insert(kind, Percent { low: *low, high: *high });
                }
                _ => self.values.mismatch(node, &format!("{what} of {}", quoted(&["errors"])), expected),
            }
        }
        errors
    }
}
