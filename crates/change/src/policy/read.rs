//! `policy.yaml` from its text.

use super::{Emergency, Policy, Requirement};
use crate::calendar::{Calendar, Freeze, Window, end_of, zone};
use crate::record::{EvidenceOf, Reader, Risk, is_person, read_whole};
use firewarden_diagnostic::{Diagnostic, FileId};
use firewarden_verify::Located;
use firewarden_verify::address::shorten;
use firewarden_verify::yaml::{Fields, Kind, Node};
use jiff::civil::{Date, DateTime, Time, Weekday};
use std::collections::BTreeMap;

const POLICY: Kind = Kind {
    name: "the policy",
    syntax: "policy-syntax",
    mismatch: "policy-type",
    unknown_key: "policy-unknown-key",
    missing_key: "policy-missing-key",
};

pub(super) const POLICY_KEYS: [&str; 11] = [
    "required",
    "approvers",
    "signed_author",
    "ticket",
    "must_pass",
    "groups",
    "require",
    "zone",
    "windows",
    "freezes",
    "emergency",
];
pub(super) const REQUIRE_KEYS: [&str; 5] = ["owner", "host", "risk", "group", "approvers"];
pub(super) const WINDOW_KEYS: [&str; 3] = ["days", "from", "to"];
pub(super) const FREEZE_KEYS: [&str; 3] = ["from", "to", "reason"];
pub(super) const EMERGENCY_KEYS: [&str; 3] = ["approvers", "review_hours", "overdue"];

/// The days of the week as a policy writes them.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
/// More approvers than this are a mistake.
const MOST_APPROVERS: u32 = 100;
/// A later review than a year is none.
const MOST_HOURS: u32 = 366 * 24;

/// Reads a policy. One with anything wrong in it is none: a rule that is left out would be a permission.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn read_policy(file: FileId, text: &str) -> Result<Policy, Vec<Diagnostic>> {
    read_whole(POLICY, file, text, |reader, root| reader.policy(root))
}

impl Reader {
    fn policy(&mut self, root: &Node) -> Option<Policy> {
        let fields = self.values.fields(root, "a policy", &POLICY_KEYS)?;
        let usual = Policy::default();
        let mut policy = Policy {
            required: self.values.truth(&fields, "required").unwrap_or(true),
            approvers: self.number(&fields, "approvers", MOST_APPROVERS).unwrap_or(usual.approvers),
            signed_author: self.values.truth(&fields, "signed_author").unwrap_or(usual.signed_author),
            ticket: self.values.truth(&fields, "ticket").unwrap_or(usual.ticket),
            ..usual
        };
        if fields.get("must_pass").is_some() {
            let texts = self.texts(&fields, "must_pass");
            policy.must_pass = texts
                .into_iter()
                .filter_map(|text| self.one_of(Some(text), &EvidenceOf::ALL, EvidenceOf::word))
                .collect();
        }
        policy.groups = self.groups(&fields);
        let groups: Vec<String> = policy.groups.keys().cloned().collect();
        policy.require = self.items(&fields, "require", |reader, node| reader.requirement(node, &groups));
        self.reachable(&fields, &policy);
        policy.calendar = self.calendar(&fields);
        if let Some(node) = fields.get("emergency") {
            policy.emergency = self.emergency(node, &policy.emergency)?;
        }
        Some(policy)
    }

    fn number(&mut self, fields: &Fields<'_>, key: &str, most: u32) -> Option<u32> {
        let text = self.values.text(fields, key)?;
        let number = text.value.parse::<u32>().ok().filter(|number| *number <= most);
        if number.is_none() {
            self.wrong(
                text.span,
                &text.value,
                "a number that fits",
                &format!("write a number from 0 to {most}"),
            );
        }
        number
    }

    fn groups(&mut self, fields: &Fields<'_>) -> BTreeMap<String, Vec<String>> {
        let mut groups = BTreeMap::new();
        let Some(node) = fields.get("groups") else { return groups };
        for (name, members) in self.values.entries(node, "`groups`", "a map from names to people") {
            let what = format!("group `{}`", shorten(&name.text));
            let scalars = self.values.scalars(members, &what, "a person or a list of people");
            let texts: Vec<Located<String>> =
                scalars.into_iter().map(|scalar| Located::new(scalar.text.clone(), scalar.span)).collect();
            let mut people: Vec<String> = texts
                .into_iter()
                .filter_map(|text| self.person(Some(text)))
                .filter(|who| is_person(who))
                .collect();
            people.sort_unstable();
            people.dedup();
            groups.insert(name.text.clone(), people);
        }
        groups
    }

    fn requirement(&mut self, node: &Node, groups: &[String]) -> Option<Requirement> {
        const WHAT: &str = "a requirement";
        let fields = self.values.fields(node, WHAT, &REQUIRE_KEYS)?;
        let group = self.needed(&fields, WHAT, "group", "dba")?;
        if !groups.contains(&group.value) {
            let help = match firewarden_verify::nearest(&group.value, groups.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `groups`".to_owned(),
            };
            self.wrong(group.span, &group.value, "a group of this policy", &help);
        }
        let risk = self.values.text(&fields, "risk");
        Some(Requirement {
            owner: self.values.text(&fields, "owner").map(|text| text.value),
            host: self.values.text(&fields, "host").map(|text| text.value),
            risk: self.one_of(risk, &Risk::ALL, Risk::word),
            group: group.value,
            approvers: self.number(&fields, "approvers", MOST_APPROVERS).unwrap_or(1),
        })
    }

    /// A group that is too small for what is asked of it would refuse every change.
    fn reachable(&mut self, fields: &Fields<'_>, policy: &Policy) {
        for requirement in &policy.require {
            let members = policy.groups.get(&requirement.group).map_or(0, Vec::len);
            if members < requirement.approvers as usize && policy.groups.contains_key(&requirement.group) {
                let message = format!(
                    "the group `{}` has {members} people, and {} of them have to approve",
                    shorten(&requirement.group),
                    requirement.approvers
                );
                self.values.report(
                    Diagnostic::error("policy-group", message)
                        .at(fields.key_span("require"), "")
                        .help("add people to the group, or ask for fewer"),
                );
            }
        }
    }

    fn calendar(&mut self, fields: &Fields<'_>) -> Calendar {
        let mut calendar = Calendar::default();
        if let Some(name) = self.values.text(fields, "zone") {
            match zone(&name.value) {
                Some(zone) => calendar.zone = zone,
                None => self.wrong(
                    name.span,
                    &name.value,
                    "a time zone",
                    "write it like `Europe/Berlin` or `UTC`",
                ),
            }
        }
        calendar.windows = self.items(fields, "windows", Reader::window);
        calendar.freezes = self.items(fields, "freezes", Reader::freeze);
        calendar
    }

    fn window(&mut self, node: &Node) -> Option<Window> {
        const WHAT: &str = "a window";
        let fields = self.values.fields(node, WHAT, &WINDOW_KEYS)?;
        if fields.get("days").is_none() {
            self.values.missing(fields.span, WHAT, "days", "write it as `days: [mon, tue, wed, thu]`");
        }
        let texts = self.texts(&fields, "days");
        let words = DAYS.map(|(word, _)| word);
        let days: Vec<Weekday> = texts
            .into_iter()
            .filter_map(|text| self.one_of(Some(text), &words, |word| word))
            .filter_map(|word| DAYS.iter().find(|(known, _)| *known == word).map(|(_, day)| *day))
            .collect();
        let from = self.needed(&fields, WHAT, "from", "\"09:00\"");
        let to = self.needed(&fields, WHAT, "to", "\"16:00\"");
        let from = self.time(from);
        let to = self.time(to);
        Some(Window { days, from: from?, to: to? })
    }

    fn time(&mut self, text: Option<Located<String>>) -> Option<Time> {
        let text = text?;
        let time = time(&text.value);
        if time.is_none() {
            self.wrong(
                text.span,
                &text.value,
                "a time of day",
                "write hours and minutes in quotes: `\"09:00\"`",
            );
        }
        time
    }

    fn freeze(&mut self, node: &Node) -> Option<Freeze> {
        const WHAT: &str = "a freeze";
        let fields = self.values.fields(node, WHAT, &FREEZE_KEYS)?;
        let from = self.needed(&fields, WHAT, "from", "2026-12-18");
        let to = self.needed(&fields, WHAT, "to", "2027-01-04");
        let reason = self.needed(&fields, WHAT, "reason", "year-end trade");
        let end = to.clone();
        let from = self.bound(from, |day| Some(day.to_datetime(Time::midnight())));
        let to = self.bound(to, end_of);
        let (from, to) = (from?, to?);
        if from >= to {
            let end = end?;
            self.wrong(end.span, &end.value, "after the freeze's begin", "give a later day or moment");
            return None;
        }
        Some(Freeze { from, to, reason: reason?.value })
    }

    /// A day, or a day with a time.
    fn bound(
        &mut self,
        text: Option<Located<String>>,
        of_day: impl Fn(Date) -> Option<DateTime>,
    ) -> Option<DateTime> {
        let text = text?;
        let bound = match text.value.split_once(['T', ' ']) {
            Some((day, of_day)) => date(day).zip(time(of_day)).map(|(day, at)| day.to_datetime(at)),
            None => date(&text.value).and_then(of_day),
        };
        if bound.is_none() {
            self.wrong(text.span, &text.value, "a day", "write it like `2026-12-18` or `2026-12-18 12:00`");
        }
        bound
    }

    fn emergency(&mut self, node: &Node, usual: &Emergency) -> Option<Emergency> {
        let fields = self.values.fields(node, "`emergency`", &EMERGENCY_KEYS)?;
        let overdue = self.values.text(&fields, "overdue");
        let overdue = self.one_of(overdue, &["refuse", "warn"], |word| word);
        Some(Emergency {
            approvers: self.number(&fields, "approvers", MOST_APPROVERS).unwrap_or(usual.approvers),
            review_hours: self.number(&fields, "review_hours", MOST_HOURS).unwrap_or(usual.review_hours),
            overdue_refuses: overdue.map_or(usual.overdue_refuses, |word| word == "refuse"),
        })
    }
}

fn date(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|day| day.to_string() == text)
}

/// Hours and minutes; `24:00` is the midnight that ends the day.
fn time(text: &str) -> Option<Time> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| {
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse::<i8>().ok())
            .flatten()
    };
    match (number(hours)?, number(minutes)?) {
        (24, 0) => Some(Time::midnight()),
        (hours, minutes) => Time::new(hours, minutes, 0, 0).ok(),
    }
}
