//! What a run found, independent of any output format.
//!
//! A [`Report`] holds one [`ResultItem`] for each question that was asked (usually one for each intent) and
//! the diagnostics about the inputs. The renderers in [`crate::render`] turn it into text. Nothing here
//! derives `Serialize`: the wire formats have their own types, so that they can be kept stable.

use std::borrow::Cow;

use crate::{Diagnostic, Severity, Span};

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Proved to hold.
    Pass,
    /// Proved not to hold; there is a witness.
    Fail,
    /// Named opaque atoms decide; there is a witness for each side.
    Depends,
    /// A budget ended before the answer was known.
    Undetermined,
    /// The question has no packets (or no route), so nothing was proved. Never counted as a pass.
    Vacuous,
    /// The question couldn't be asked, because an input is wrong.
    Error,
}

impl Verdict {
    /// All verdicts, in the order in which summaries count them.
    pub const ALL: [Verdict; 6] = [
        Verdict::Pass,
        Verdict::Fail,
        Verdict::Depends,
        Verdict::Undetermined,
        Verdict::Vacuous,
        Verdict::Error,
    ];

    /// The stable lower-case word for it, as in the JSON report.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Depends => "depends",
            Verdict::Undetermined => "undetermined",
            Verdict::Vacuous => "vacuous",
            Verdict::Error => "error",
        }
    }
}

/// Everything that one run has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The version of the tool that made it.
    pub tool_version: String,
    /// The command, such as `check`.
    pub command: String,
    /// What it was run on, as the person wrote it: a folder, a file, or `-`.
    pub subject: String,
    /// What is wrong with the inputs, or worth knowing about them.
    pub diagnostics: Vec<Diagnostic>,
    /// One for each question, in the order in which they were declared.
    pub results: Vec<ResultItem>,
    /// What the results are about.
    pub about: About,
    /// What there is to say about the run as a whole, one sentence each.
    pub remarks: Vec<String>,
}

/// What the results of a report are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// Intents that people have declared.
    #[default]
    Intents,
    /// Checks that the program knows by itself, of which only those that found something matter.
    Checks,
}

impl About {
    /// The word for one of them.
    pub fn word(self) -> &'static str {
        match self {
            About::Intents => "intent",
            About::Checks => "check",
        }
    }
}

/// How many results ended with each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    counts: [usize; Verdict::ALL.len()],
    /// Diagnostics about the inputs with severity error.
    pub input_errors: usize,
    /// Diagnostics about the inputs with severity warning.
    pub input_warnings: usize,
}

impl Summary {
    /// The number of results with this verdict.
    pub fn of(&self, verdict: Verdict) -> usize {
        Verdict::ALL.iter().zip(self.counts).filter(|(of, _)| **of == verdict).map(|(_, count)| count).sum()
    }

    /// The number of results.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl Report {
    /// An empty report of a command about a subject.
    pub fn new(
        tool_version: impl Into<String>,
        command: impl Into<String>,
        subject: impl Into<String>,
    ) -> Report {
        Report {
            tool_version: tool_version.into(),
            command: command.into(),
            subject: subject.into(),
            diagnostics: Vec::new(),
            results: Vec::new(),
            about: About::Intents,
            remarks: Vec::new(),
        }
    }

    /// Counts the results. O(results + diagnostics).
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for result in &self.results {
            for (verdict, count) in Verdict::ALL.iter().zip(&mut summary.counts) {
                *count += usize::from(*verdict == result.verdict);
            }
        }
        let of = |severity| self.diagnostics.iter().filter(|d| d.severity == severity).count();
        summary.input_errors = of(Severity::Error);
        summary.input_warnings = of(Severity::Warning);
        summary
    }

    /// The exit code of the run: 1 if anything fails; else 2 if an input is wrong; else 3 if anything
    /// depends, is undetermined or is vacuous; else 0. Nothing that wasn't proved gives 0, but for proposed
    /// questions, of which only an error counts.
    pub fn exit_code(&self) -> u8 {
        let summary = self.summary();
        let any = |verdicts: &[Verdict]| {
            self.results.iter().any(|result| !result.proposed && verdicts.contains(&result.verdict))
        };
        if any(&[Verdict::Fail]) {
            1
        } else if summary.of(Verdict::Error) + summary.input_errors > 0 {
            2
        } else if any(&[Verdict::Depends, Verdict::Undetermined, Verdict::Vacuous]) {
            3
        } else {
            0
        }
    }
}

/// The outcome of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultItem {
    /// Stable id, unique in the report: the name, or one made from the intent's text.
    pub id: String,
    /// What people call it; equal to `id` where nobody named it.
    pub name: String,
    /// The question in the intent grammar, such as `allow lb -> app tcp/8080`.
    pub intent: String,
    /// Where it was declared; `None` when it came from the command line.
    pub declared: Option<Span>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it was declared.
    pub because: Option<String>,
    /// Nobody has accepted the question yet: the answer is told, and counts for nothing.
    pub proposed: bool,
    /// The answer.
    pub verdict: Verdict,
    /// One sentence about the answer, lower case, such as `IPv6 not covered: lb has no IPv6 address`.
    pub detail: Option<String>,
    /// What shows the answer. A pass may have findings too (warnings and notes).
    pub findings: Vec<Finding>,
}

impl ResultItem {
    /// A result without findings yet. `id` and `name` are the same until set.
    pub fn new(id: impl Into<String>, intent: impl Into<String>, verdict: Verdict) -> ResultItem {
        let id = id.into();
        ResultItem {
            name: id.clone(),
            id,
            intent: intent.into(),
            declared: None,
            owner: None,
            because: None,
            proposed: false,
            verdict,
            detail: None,
            findings: Vec::new(),
        }
    }

    /// The findings to show: those it has or, for an answer other than pass that came without any, one made
    /// from the verdict, so that no renderer passes over it in silence.
    pub fn shown(&self) -> Cow<'_, [Finding]> {
        if !self.findings.is_empty() || self.verdict == Verdict::Pass {
            return Cow::Borrowed(&self.findings);
        }
        let intent = self.intent.replace('`', "'");
        let (severity, code, message, help) = match self.verdict {
            Verdict::Pass => return Cow::Borrowed(&self.findings),
            Verdict::Fail => (Severity::Error, "intent-fails", format!("`{intent}` does not hold"), None),
            Verdict::Depends => (
                Severity::Warning,
                "intent-depends",
                format!("`{intent}` depends on parts of the rulesets that are not interpreted"),
                None,
            ),
            Verdict::Undetermined => (
                Severity::Warning,
                "intent-undetermined",
                format!("`{intent}` was not decided before the budget ended"),
                Some("raise the budget, or split the intent into smaller ones"),
            ),
            Verdict::Vacuous => (
                Severity::Warning,
                "intent-vacuous",
                format!("`{intent}` has no packets to ask about, so nothing was proved"),
                Some("check the addresses, the interfaces and the routes of the hosts it names"),
            ),
            Verdict::Error => {
                (Severity::Error, "intent-error", format!("`{intent}` could not be checked"), None)
            }
        };
        let mut diagnostic = Diagnostic::new(severity, code, message);
        if let Some(span) = self.declared {
            diagnostic = diagnostic.at(span, "declared here");
        }
        if let Some(detail) = &self.detail {
            diagnostic = diagnostic.because(detail.clone());
        }
        if let Some(help) = help {
            diagnostic = diagnostic.help(help);
        }
        Cow::Owned(vec![Finding::from(diagnostic)])
    }
}

/// One thing found, with what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Code, severity, message and places; its notes say *why*, its help says *what to change*.
    pub diagnostic: Diagnostic,
    /// The packets that prove it: one for a failure, one for each side when it depends.
    pub witnesses: Vec<Witness>,
    /// Who manages the rule, where it isn't the person who wrote the file.
    pub manager: Option<Manager>,
    /// The atoms that decide.
    pub depends_on: Vec<Dependency>,
    /// What was taken for granted, one sentence each.
    pub assumptions: Vec<String>,
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Finding {
        Finding {
            diagnostic,
            witnesses: Vec::new(),
            manager: None,
            depends_on: Vec::new(),
            assumptions: Vec::new(),
        }
    }
}

/// One concrete packet, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The packet as `firewarden trace` reads it: `tcp 198.51.100.7:40000 -> 10.0.1.10:443 in wan ct new`.
    pub packet: String,
    /// Its fields, such as `("tcp.dport", "443")`, in the order in which they are shown.
    pub fields: Vec<(String, String)>,
    /// What becomes of it, one or a few words: `dropped`, `delivered to lb`, `reply dropped`.
    pub outcome: String,
    /// What the atoms are taken to be for it, such as `limit rate 5/second matches`; empty if none matter.
    pub given: Vec<String>,
    /// Every step on the way, in order.
    pub path: Vec<Step>,
}

/// One step of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The host it happens on.
    pub host: String,
    /// Hook and chain, such as `inet filter forward`; or `route` for the steps between.
    pub place: String,
    /// The rule (or the chain, for a policy).
    pub span: Option<Span>,
    /// The rule's text; empty where there is no rule.
    pub rule: String,
    /// What happens: `accept`, `drop`, `dnat to 10.0.1.10:443`, `jump lan-in`.
    pub action: String,
    /// Whether the finding comes down to this step.
    pub decides: bool,
}

/// Whoever manages a rule, and where it is to be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Docker, ufw, firewalld, fail2ban, kube-proxy, libvirt, ...
    pub name: String,
    /// Where to make the change, as one sentence without a full stop.
    pub edit: String,
}

/// An opaque atom that decides a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// What kind of construct it is, and whose where there are several hosts: `limit on lb`.
    pub name: String,
    /// Where it stands in the ruleset.
    pub span: Option<Span>,
    /// Its text in the ruleset.
    pub text: String,
    /// An assumption that the person can write down to settle it.
    pub assumption: Option<String>,
}
