//! Planted mistakes in a running lab: what the model says of every intent, against what new connections through the kernel
//! and the services show.

use super::{Kind, Mutation, RulesFile};
use crate::evidence::{Arrivals, EvidenceError, MORE_PATIENCE, PATIENCE, broken, failed, forget_connections};
use crate::layout::{Layout, Loader};
use crate::place::Lab;
use crate::probe::{Attempt, Ending, Probers};
use crate::sample::Sample;
use firewarden_verify::stack::StackFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the model says of a ruleset with a mistake in it.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// It can't be loaded; why.
    Refused(String),
    /// One for each intent of the stack file, in its order.
    Judged(Vec<Judged>),
}

/// What the model says of an intent.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `pass`, `fail`, `depends`, `undetermined` or `vacuous`.
    pub verdict: String,
    /// The packets that show it.
    pub shown: Vec<Shown>,
}

/// A packet that is said to break an intent.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As `trace` reads it.
    pub packet: String,
    /// The same as something that can be tried; `None` for packets that no socket sends.
    pub attempt: Option<Attempt>,
    /// The host that it breaks the intent at by arriving there; `None` where it does by being lost.
    pub arrives_at: Option<String>,
}

/// How the model's verdict on an intent compares with what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// It passes, and all connections are as they should be; or it fails, and the packet that shows it does so.
    Agrees,
    /// It passes, and a connection shows that it doesn't hold.
    Miss,
    /// It fails, and nothing of that is seen.
    FalseRefusal,
    /// It fails by a packet that no socket sends, and nothing else shows it.
    NotShown,
    /// It depends on something that the model has no value for, and no connection shows it broken.
    Undecided,
}

/// A mistake that was planted, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// Of which kind: `delete`, `swap`, `widen`, `narrow`, `negate`, `interface`, `family`, `set`, `policy`, `nat-target`.
    pub kind: String,
    /// The file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// What the mistake is.
    pub what: String,
    /// What came of it.
    pub result: CaseResult,
}

/// What came of a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseResult {
    /// It can't be loaded, and the model says so too.
    RefusedByBoth {
        /// The model's words.
        why: String,
    },
    /// The model says that it can't be loaded, and it can.
    RefusedByModel {
        /// The model's words.
        why: String,
    },
    /// It can't be loaded, which the model doesn't say.
    RefusedByKernel {
        /// The loader's words.
        why: String,
    },
    /// One for each intent, in the stack file's order.
    Compared(Vec<Compared>),
}

/// The model and the wires about one intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Which intent of the stack file, counted from 0.
    pub intent: usize,
    /// What the model says.
    pub verdict: String,
    /// How that compares.
    pub agreement: Agreement,
    /// Packets and connections that show it, in words.
    pub evidence: Vec<String>,
}

impl Case {
    /// Whether the gate would refuse it.
    pub fn is_refused(&self) -> bool {
        match &self.result {
            CaseResult::RefusedByBoth { .. } | CaseResult::RefusedByModel { .. } => true,
            CaseResult::RefusedByKernel { .. } => false,
            CaseResult::Compared(intents) => intents.iter().any(|intent| intent.verdict != "pass"),
        }
    }

    /// Whether some intent compares like that.
    pub fn has(&self, agreement: Agreement) -> bool {
        match &self.result {
            CaseResult::Compared(intents) => intents.iter().any(|intent| intent.agreement == agreement),
            CaseResult::RefusedByModel { .. } => agreement == Agreement::FalseRefusal,
            CaseResult::RefusedByBoth { .. } | CaseResult::RefusedByKernel { .. } => false,
        }
    }
}

/// A lab that mistakes are planted in.
#[derive(Debug)]
pub struct Drill<'l> {
    lab: &'l Lab,
    stack: &'l StackFile,
    probers: Probers,
    samples: Vec<Sample>,
}

impl<'l> Drill<'l> {
    /// Begins, and sees whether everything works before. `samples` are the connections that are tried each time.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn begin(
        lab: &'l Lab,
        stack: &'l StackFile,
        mut probers: Probers,
        samples: Vec<Sample>,
    ) -> Result<Drill<'l>, EvidenceError> {
        forget_connections(lab)?;
        let broken = broken(lab, stack, &mut probers, &samples, |_| true)?;
        if !broken.is_empty() {
            return Err(EvidenceError::Unsteady(
                broken.into_iter().map(|(_, words)| words).take(5).collect(),
            ));
        }
        Ok(Drill { lab, stack, probers, samples })
    }

    /// Plants a mistake, compares, and takes it out again. `files` are those that it was made for, at `paths` in the
    /// machines' layout; `judgement` is the model's.
    ///
    /// # Errors
    /// [`EvidenceError`]. Then the lab may be left with the mistake.
    pub fn plant(
        &mut self,
        mutation: &Mutation,
        files: &[RulesFile],
        paths: &[PathBuf],
        judgement: &Judgement,
    ) -> Result<CaseResult, EvidenceError> {
        let mut refused = None;
        for file in mutation.files() {
            let text = mutation.apply(file, files[file].text);
            if let Some(words) = load_everywhere(self.lab, &paths[file], &text)?.into_iter().next() {
                refused = Some(words.1);
                break;
            }
        }
        let result = match (refused, judgement) {
            (Some(_), Judgement::Refused(why)) => CaseResult::RefusedByBoth { why: why.clone() },
            (Some(why), Judgement::Judged(_)) => CaseResult::RefusedByKernel { why },
            (None, Judgement::Refused(why)) => CaseResult::RefusedByModel { why: why.clone() },
            (None, Judgement::Judged(intents)) => CaseResult::Compared(self.compare(intents)?),
        };
        for file in mutation.files() {
            let left = load_everywhere(self.lab, &paths[file], files[file].text)?;
            if let Some((host, words)) = left.into_iter().next() {
                return Err(EvidenceError::Lost { host, words });
            }
        }
        Ok(result)
    }

    fn compare(&mut self, intents: &[Judged]) -> Result<Vec<Compared>, EvidenceError> {
        forget_connections(self.lab)?;
        // Only where the model says that all is well, one that is lost has to be lost for certain.
        let passes = |intent: usize| intents.get(intent).is_some_and(|judged| judged.verdict == "pass");
        let broken = broken(self.lab, self.stack, &mut self.probers, &self.samples, passes)?;
        let shown: Vec<&Shown> = intents.iter().flat_map(|intent| &intent.shown).collect();
        let mut tried = self.confirm(&shown)?.into_iter();
        let mut compared = Vec::new();
        for (index, intent) in intents.iter().enumerate() {
            let of_samples =
                broken.iter().filter(|(intent, _)| *intent == index).map(|(_, words)| words.clone());
            let mut evidence: Vec<String> = of_samples.collect();
            let tried: Vec<Tried> = tried.by_ref().take(intent.shown.len()).collect();
            for (shown, tried) in intent.shown.iter().zip(&tried) {
                if let Tried::Confirmed(ending) = tried {
                    evidence.push(format!("{}: {ending}", shown.packet));
                }
            }
            let tried_all = !tried.contains(&Tried::Not);
            let agreement = match (intent.verdict.as_str(), evidence.is_empty()) {
                ("pass", true) => Agreement::Agrees,
                ("pass", false) => Agreement::Miss,
                (_, false) => Agreement::Agrees,
                ("fail", true) if tried_all => Agreement::FalseRefusal,
                ("fail", true) => Agreement::NotShown,
                (_, true) => Agreement::Undecided,
            };
            if evidence.is_empty() && agreement != Agreement::Agrees {
                evidence = intent.shown.iter().map(|shown| shown.packet.clone()).collect();
            }
            compared.push(Compared { intent: index, verdict: intent.verdict.clone(), agreement, evidence });
        }
        Ok(compared)
    }

    /// Tries the packets that are said to break intents; those that don't, once more with patience.
    fn confirm(&mut self, shown: &[&Shown]) -> Result<Vec<Tried>, EvidenceError> {
        let mut tried = vec![Tried::Not; shown.len()];
        for patience in [PATIENCE, MORE_PATIENCE] {
            let open = shown.iter().zip(&tried).enumerate().filter_map(|(index, (shown, tried))| {
                let is_open = !matches!(tried, Tried::Confirmed(_));
                is_open.then_some(())?;
                Some((index, shown.attempt.clone()?))
            });
            let (indexes, attempts): (Vec<usize>, Vec<Attempt>) = open.unzip();
            if attempts.is_empty() {
                break;
            }
            let seen =
                self.probers.make(&attempts, patience).map_err(|error| failed("the probers", error))?;
            let mut arrivals = Arrivals::new(self.lab);
            for (index, ending) in indexes.into_iter().zip(seen) {
                tried[index] = match shown[index].is_confirmed(&ending, &mut arrivals) {
                    true => Tried::Confirmed(ending),
                    false => Tried::Refuted,
                };
            }
        }
        Ok(tried)
    }
}

/// What came of a packet that is said to break an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tried {
    /// No socket sends it.
    Not,
    /// It does.
    Confirmed(Ending),
    /// It doesn't.
    Refuted,
}

impl Shown {
    /// Whether what came of it is what breaks the intent.
    fn is_confirmed(&self, ending: &Ending, arrivals: &mut Arrivals) -> bool {
        match (&self.arrives_at, &self.attempt) {
            (Some(host), Some(attempt)) => {
                ending.arrived() && arrivals.is_known_at(host, attempt) != Some(false)
            }
            _ => *ending != Ending::Answered,
        }
    }
}

/// Loads a text on every machine that loads the file. Gives the machines that refuse it, with their loaders' words.
fn load_everywhere(lab: &Lab, path: &Path, text: &str) -> Result<Vec<(String, String)>, EvidenceError> {
    let mut refused = Vec::new();
    for (machine, loader) in machines(lab.layout(), path) {
        let program = match loader {
            Loader::Nft => "nft",
            Loader::Iptables => "iptables-restore",
            Loader::Ip6tables => "ip6tables-restore",
            Loader::Ipset => "ipset",
        };
        let mut command = lab.command(machine, program)?;
        match loader {
            Loader::Nft => command.args(["-f", "-"]),
            Loader::Ipset => command.arg("restore"),
            Loader::Iptables | Loader::Ip6tables => &mut command,
        };
        let failed = |error| failed(program, error);
        let output = run(command, text).map_err(failed)?;
        if let Err(words) = output {
            refused.push((machine.to_owned(), words));
        }
    }
    Ok(refused)
}

/// The machines that load a file.
fn machines<'a>(layout: &'a Layout, path: &'a Path) -> impl Iterator<Item = (&'a str, Loader)> {
    layout.machines.iter().flat_map(move |machine| {
        let files = machine.rules.iter().filter(move |file| file.path == path);
        files.map(|file| (machine.name.as_str(), file.loader))
    })
}

/// Runs a program with a text to read; the inner error is its own words.
fn run(mut command: Command, text: &str) -> io::Result<Result<(), String>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .env("LC_ALL", "C")
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that stops reading says why itself.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Ok(Err(words.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// How many mistakes came to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Of which kind; empty for all.
    pub kind: String,
    /// How many were planted.
    pub planted: usize,
    /// Those that can't be loaded.
    pub unloadable: usize,
    /// Those that the gate refuses, unloadable ones aside.
    pub refused: usize,
    /// Those that break no intent and aren't refused.
    pub harmless: usize,
    /// Those with an intent that passes and is broken.
    pub misses: usize,
    /// Those with an intent that fails though it holds.
    pub false_refusals: usize,
    /// Those with an intent whose failing no socket can show, and nothing else does.
    pub not_shown: usize,
    /// Those with an intent that the model is undecided about, and that nothing shows broken.
    pub undecided: usize,
}

/// Counts, for each kind and for all. O(cases).
pub fn tally(cases: &[Case]) -> Vec<Tally> {
    let kinds = Kind::ALL.iter().map(|kind| kind.word());
    let of = |kind: &str| {
        let mut tally = Tally { kind: kind.to_owned(), ..Tally::default() };
        for case in cases.iter().filter(|case| kind.is_empty() || case.kind == kind) {
            tally.planted += 1;
            let has = |agreement| usize::from(case.has(agreement));
            match &case.result {
                CaseResult::RefusedByBoth { .. } | CaseResult::RefusedByKernel { .. } => {
                    tally.unloadable += 1
                }
                _ if case.is_refused() => tally.refused += 1,
                _ => tally.harmless += usize::from(!case.has(Agreement::Miss)),
            }
            tally.misses += has(Agreement::Miss);
            tally.false_refusals += has(Agreement::FalseRefusal);
            tally.not_shown += has(Agreement::NotShown);
            tally.undecided += has(Agreement::Undecided);
        }
        tally
    };
    kinds.chain([""]).map(of).filter(|tally| tally.planted > 0 || tally.kind.is_empty()).collect()
}

#[cfg(test)]
mod tests;
