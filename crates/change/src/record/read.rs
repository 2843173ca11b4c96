//! `change.yaml` from its text.

use super::{
    EvidenceOf, EvidenceRef, EvidenceVerdict, FileRef, Owner, PlanRef, Record, Risk, Slot, is_hash, is_id,
    is_person,
};
use firewarden_diagnostic::{Diagnostic, FileId, Span};
use firewarden_verify::Located;
use firewarden_verify::address::shorten;
use firewarden_verify::yaml::{self, Fields, Kind, Node, Values, quoted};
use jiff::Timestamp;
use jiff::civil::Date;

/// The kind of file.
pub const RECORD: Kind = Kind {
    name: "the change record",
    syntax: "change-syntax",
    mismatch: "change-type",
    unknown_key: "change-unknown-key",
    missing_key: "change-missing-key",
};

pub(super) const RECORD_KEYS: [&str; 19] = [
    "id",
    "author",
    "created",
    "reason",
    "ticket",
    "impact",
    "expect",
    "risk",
    "base",
    "hosts",
    "plans",
    "owners",
    "window",
    "expires",
    "ends",
    "emergency",
    "files",
    "evidence",
    "back_out",
];
pub(super) const PLAN_KEYS: [&str; 2] = ["host", "hash"];
pub(super) const OWNER_KEYS: [&str; 2] = ["owner", "intents"];
pub(super) const SLOT_KEYS: [&str; 2] = ["from", "to"];
pub(super) const FILE_KEYS: [&str; 3] = ["path", "before", "sha256"];
pub(super) const EVIDENCE_KEYS: [&str; 5] = ["of", "verdict", "summary", "file", "sha256"];

/// Reads `change.yaml`. A record with anything wrong in it is none: what is signed must be whole. Linear in the text.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn read_record(file: FileId, text: &str) -> Result<Record, Vec<Diagnostic>> {
    let root = yaml::parse(RECORD, file, text).map_err(|problem| vec![*problem])?;
    let mut reader = Reader::new(RECORD);
    let record = reader.record(&root);
    match (record, reader.finish()) {
        (Some(record), problems) if problems.is_empty() => Ok(record),
        (_, problems) => Err(problems),
    }
}

/// Takes values from a tree, and remembers what is wrong.
pub(crate) struct Reader {
    pub values: Values,
}

impl Reader {
    pub(crate) fn new(kind: Kind) -> Reader {
        Reader { values: Values::new(kind) }
    }

    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        self.values.finish()
    }

    /// A text that has to be there and not be blank. `None` after saying so.
    pub(crate) fn needed(
        &mut self,
        fields: &Fields<'_>,
        what: &str,
        key: &str,
        example: &str,
    ) -> Option<Located<String>> {
        if fields.get(key).is_none() {
            self.values.missing(fields.span, what, key, &format!("write it as `{key}: {example}`"));
            return None;
        }
        let text = self.values.text(fields, key)?;
        if text.value.trim().is_empty() {
            self.values.missing(text.span, what, key, &format!("write it as `{key}: {example}`"));
            return None;
        }
        Some(text)
    }

    /// The value, where a test holds for it; otherwise it is told that it isn't `expected`.
    pub(crate) fn valid(
        &mut self,
        text: Option<Located<String>>,
        holds: impl Fn(&str) -> bool,
        expected: &str,
        help: &str,
    ) -> Option<String> {
        let text = text?;
        if holds(&text.value) {
            return Some(text.value);
        }
        self.wrong(text.span, &text.value, expected, help);
        None
    }

    pub(crate) fn wrong(&mut self, at: Span, text: &str, expected: &str, help: &str) {
        self.values.report(
            Diagnostic::error("change-value", format!("`{}` is not {expected}", shorten(text)))
                .at(at, "")
                .help(help),
        );
    }

    /// A moment.
    pub(crate) fn moment(&mut self, text: Option<Located<String>>) -> Option<Timestamp> {
        let text = text?;
        let moment = timestamp(&text.value);
        if moment.is_none() {
            self.wrong(text.span, &text.value, "a moment", "write it in UTC: `2026-11-21T08:00:00Z`");
        }
        moment
    }

    /// A day.
    pub(crate) fn day(&mut self, text: Option<Located<String>>) -> Option<Date> {
        let text = text?;
        let day = text.value.parse::<Date>().ok().filter(|day| day.to_string() == text.value);
        if day.is_none() {
            self.wrong(text.span, &text.value, "a date", "write it as year, month and day: `2027-03-31`");
        }
        day
    }

    /// One of some words.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        text: Option<Located<String>>,
        all: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = text?;
        let found = all.iter().copied().find(|candidate| word(*candidate) == text.value);
        if found.is_none() {
            let words: Vec<&str> = all.iter().map(|candidate| word(*candidate)).collect();
            let help = match firewarden_verify::nearest(&text.value, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of {}", quoted(&words)),
            };
            self.wrong(text.span, &text.value, &format!("one of {}", quoted(&words)), &help);
        }
        found
    }

    /// The texts of a list.
    pub(crate) fn texts(&mut self, fields: &Fields<'_>, key: &str) -> Vec<Located<String>> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let scalars = self.values.scalars(node, &format!("`{key}`"), "a text or a list of texts");
        scalars.into_iter().map(|scalar| Located::new(scalar.text.clone(), scalar.span)).collect()
    }

    /// The items of a list, each read by `read`; those that can't be are told.
    pub(crate) fn items<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let items = self.values.list(node, &format!("`{key}`"), "a list");
        items.iter().filter_map(|item| read(self, item)).collect()
    }

    fn hash(&mut self, text: Option<Located<String>>) -> Option<String> {
        self.valid(
            text,
            is_hash,
            "a SHA-256",
            "write 64 hexadecimal digits in lower case, as sha256sum prints them",
        )
    }

    fn record(&mut self, root: &Node) -> Option<Record> {
        const WHAT: &str = "a change record";
        let fields = self.values.fields(root, WHAT, &RECORD_KEYS)?;
        let id = self.needed(&fields, WHAT, "id", "2026-11-21-allow-metrics");
        let id = self.valid(
            id,
            is_id,
            "the id of a change",
            "write a day and lower-case words: `2026-11-21-allow-metrics`",
        );
        let author = self.needed(&fields, WHAT, "author", "alice@example.org");
        let author = self.person(author);
        let created = self.needed(&fields, WHAT, "created", "2026-11-21T08:00:00Z");
        let created = self.moment(created);
        let reason = self.needed(&fields, WHAT, "reason", "Prometheus reads the node exporters");
        let impact = self.needed(
            &fields,
            WHAT,
            "impact",
            "the monitoring host reaches tcp/9100 of the application servers",
        );
        let risk = self.needed(&fields, WHAT, "risk", "low");
        let risk = self.one_of(risk, &Risk::ALL, Risk::word);
        let back_out = self.needed(&fields, WHAT, "back_out", "the plan's rollback");
        let base = self.values.text(&fields, "base");
        let base = self.valid(
            base,
            is_commit,
            "a commit",
            "write the whole hash, as `git rev-parse HEAD` prints it",
        );
        let ticket = self.values.text(&fields, "ticket").map(|text| text.value);
        let emergency = match fields.get("emergency") {
            Some(_) => self.needed(&fields, WHAT, "emergency", "customers can't reach the site"),
            None => None,
        };
        let expires = self.values.text(&fields, "expires");
        let expires = self.day(expires);
        let values =
            |texts: Vec<Located<String>>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
        let expect = values(self.texts(&fields, "expect"));
        let hosts = values(self.texts(&fields, "hosts"));
        let ends = self.texts(&fields, "ends");
        let ends = ends
            .into_iter()
            .filter_map(|text| {
                self.valid(Some(text), is_id, "the id of a change", "see `firewarden change list`")
            })
            .collect();
        let plans = self.items(&fields, "plans", Reader::plan);
        let owners = self.items(&fields, "owners", Reader::owner);
        let files = self.items(&fields, "files", Reader::file);
        let evidence = self.items(&fields, "evidence", Reader::evidence);
        let window = match fields.get("window") {
            Some(node) => self.slot(node),
            None => None,
        };
        Some(Record {
            id: id?,
            author: author?,
            created: created?,
            reason: reason?.value,
            ticket,
            impact: impact?.value,
            expect,
            risk: risk?,
            base,
            hosts,
            plans,
            owners,
            window,
            expires,
            ends,
            emergency: emergency.map(|text| text.value),
            files,
            evidence,
            back_out: back_out?.value,
        })
    }

    pub(crate) fn person(&mut self, text: Option<Located<String>>) -> Option<String> {
        self.valid(
            text,
            is_person,
            "the name of a person",
            "write it as `allowed_signers` does, with letters, digits and `._+-@`: `alice@example.org`",
        )
    }

    fn plan(&mut self, node: &Node) -> Option<PlanRef> {
        let fields = self.values.fields(node, "a plan", &PLAN_KEYS)?;
        let host = self.needed(&fields, "a plan", "host", "edge");
        let hash = self.needed(&fields, "a plan", "hash", "…");
        let hash = self.hash(hash);
        Some(PlanRef { host: host?.value, hash: hash? })
    }

    fn owner(&mut self, node: &Node) -> Option<Owner> {
        let fields = self.values.fields(node, "an owner", &OWNER_KEYS)?;
        let owner = self.needed(&fields, "an owner", "owner", "web-team");
        let intents = self.texts(&fields, "intents").into_iter().map(|text| text.value).collect();
        Some(Owner { owner: owner?.value, intents })
    }

    fn slot(&mut self, node: &Node) -> Option<Slot> {
        let fields = self.values.fields(node, "a window", &SLOT_KEYS)?;
        let from = self.needed(&fields, "a window", "from", "2026-11-21T20:00:00Z");
        let from = self.moment(from);
        let to = self.needed(&fields, "a window", "to", "2026-11-21T22:00:00Z");
        let end = to.clone();
        let (from, to) = (from?, self.moment(to)?);
        if from >= to {
            let end = end?;
            self.wrong(end.span, &end.value, "after the window's begin", "give a later moment");
            return None;
        }
        Some(Slot { from, to })
    }

    fn file(&mut self, node: &Node) -> Option<FileRef> {
        let fields = self.values.fields(node, "a file", &FILE_KEYS)?;
        let path = self.needed(&fields, "a file", "path", "haproxy.cfg");
        let before = self.values.text(&fields, "before");
        let sha256 = self.values.text(&fields, "sha256");
        Some(FileRef { path: path?.value, before: self.hash(before), sha256: self.hash(sha256) })
    }

    fn evidence(&mut self, node: &Node) -> Option<EvidenceRef> {
        const WHAT: &str = "a piece of evidence";
        let fields = self.values.fields(node, WHAT, &EVIDENCE_KEYS)?;
        let of = self.needed(&fields, WHAT, "of", "check");
        let of = self.one_of(of, &EvidenceOf::ALL, EvidenceOf::word);
        let verdict = self.needed(&fields, WHAT, "verdict", "pass");
        let verdict = self.one_of(verdict, &EvidenceVerdict::ALL, EvidenceVerdict::word);
        let summary = self.needed(&fields, WHAT, "summary", "9 pass");
        let file = self.needed(&fields, WHAT, "file", "evidence/check.json");
        let file = self.valid(
            file,
            is_evidence_path,
            "a file of the change's evidence",
            "name a file in `evidence/`",
        );
        let sha256 = self.needed(&fields, WHAT, "sha256", "…");
        let sha256 = self.hash(sha256);
        Some(EvidenceRef {
            of: of?,
            verdict: verdict?,
            summary: summary?.value,
            file: file?,
            sha256: sha256?,
        })
    }
}

/// A file directly in `evidence/`: a record must not make anybody read anything else.
fn is_evidence_path(text: &str) -> bool {
    text.strip_prefix("evidence/").is_some_and(|name| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    })
}

/// A commit of git: 40 or 64 hexadecimal digits, and no option of git.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A moment as RFC 3339 writes it.
fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
