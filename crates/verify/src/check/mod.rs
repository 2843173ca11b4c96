//! Check: does every intent hold, and if not, which packet shows it and which rule decides.

mod advice;
mod finding;
mod listening;
mod model;
mod prove;
mod replay;
mod route;
#[cfg(test)]
mod routed;
mod uses;
mod ways;

pub use model::{complete_hosts, single_host_stack};
pub use uses::RulesUsed;

pub(crate) use advice::{rule_text, table_and_chain};
pub(crate) use finding::{ending_text, steps};
pub(crate) use listening::deaf_port;
pub(crate) use model::Model;
pub(crate) use replay::{Ending, Happening, Replay, Trip};
pub(crate) use route::path_of;

use crate::address::Family;
use crate::intent::{
    Claim, Expectation, Names, Question, Resolved, Senders, Target, conflicts, questions, resolve,
};
use crate::stack::{Assumption, DeclaredIntent, StackFile};
use finding::Teller;
use firewarden_diagnostic::{Diagnostic, Finding, ResultItem, Severity, SourceMap, Verdict};
use firewarden_network::{Host, Network};
use firewarden_packet::{AtomTable, Field, InterfaceName};
use prove::{Answer, Budget, OwnAddresses, Prover};
use route::Routers;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What limits a check, and what it may take for granted.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Rules looked at for one intent, at most.
    pub steps: u64,
    /// Sets of packets decided for one intent, at most.
    pub regions: u64,
    /// Today as `2026-11-21`: assumptions that expired before are not relied on. `None` relies on all.
    pub today: Option<String>,
    /// Also find out which rules the packets of each intent meet.
    pub rules: bool,
}

impl Default for CheckOptions {
    fn default() -> CheckOptions {
        CheckOptions { steps: 50_000_000, regions: 200_000, today: None, rules: false }
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Contradictions between intents, assumptions that are void.
    pub diagnostics: Vec<Diagnostic>,
    /// One for each intent, in order.
    pub results: Vec<ResultItem>,
    /// The rules that the packets of each intent meet, in the same order; empty where nobody asked for it.
    pub rules: Vec<RulesUsed>,
}

/// The engine and the interpreter disagree about a witness: a mistake in Firewarden, never a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The intent that was asked about.
    pub intent: String,
    /// The packet, as `trace` reads it.
    pub packet: String,
    /// What the engine says of it.
    pub engine: String,
    /// What the interpreter says of it.
    pub interpreter: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "engine and interpreter disagree about `{}` (intent `{}`): the engine says {}, the interpreter {}",
            self.packet, self.intent, self.engine, self.interpreter
        )
    }
}

impl std::error::Error for Disagreement {}

/// Checks intents against hosts. `stack` is `None` for a bare ruleset: then there must be one host, and single addresses
/// in destinations are taken as its own.
///
/// Hosts are completed first (see [`complete_hosts`]); they must be in the order of the stack file.
///
/// # Errors
/// [`Disagreement`] where a witness isn't confirmed by the interpreter.
pub fn check(
    hosts: &mut [Host],
    stack: Option<&StackFile>,
    intents: &[DeclaredIntent],
    atoms: &mut AtomTable,
    sources: &SourceMap,
    options: &CheckOptions,
) -> Result<Checked, Disagreement> {
    let bare;
    let declarations = match stack {
        Some(stack) => stack,
        None => {
            let name = hosts.first().map_or("host", |host| host.name.as_str());
            bare = single_host_stack(name, intents);
            &bare
        }
    };
    complete_hosts(hosts, declarations, intents);
    let hosts: &[Host] = hosts;
    let network = Network::new(hosts, atoms);
    let model = Model { stack: declarations, hosts, single: stack.is_none() };
    let mut checker = Checker {
        translators: model.translators(),
        senders: model.senders(),
        own: OwnAddresses::new(hosts),
        routers: Routers::new(&model),
        model: &model,
        network: &network,
        atoms,
        sources,
        options,
        diagnostics: Vec::new(),
        used_ids: BTreeMap::new(),
        rules: Vec::new(),
    };
    let names = Names::new(declarations);
    let mut resolved: Vec<(usize, Resolved)> = Vec::with_capacity(intents.len());
    let mut errors: BTreeMap<usize, Vec<Diagnostic>> = BTreeMap::new();
    for (index, declared) in intents.iter().enumerate() {
        match resolve(declared, &names) {
            Ok(found) => resolved.push((index, found)),
            Err(found) => {
                errors.insert(index, found);
            }
        }
    }
    checker.diagnostics.extend(conflicts(intents, &resolved));
    let general = checker.assumptions(&declarations.assumptions);
    let mut results = Vec::with_capacity(intents.len());
    for (index, declared) in intents.iter().enumerate() {
        let mut item = checker.item(declared);
        if options.rules {
            checker.rules.push(RulesUsed::default());
        }
        let at = resolved.binary_search_by_key(&index, |(of, _)| *of).ok();
        match at.and_then(|at| resolved.get(at)) {
            Some((_, resolved)) => checker.intent(declared, resolved, &general, &mut item)?,
            None => {
                let found = errors.remove(&index).unwrap_or_default();
                item.findings = found.into_iter().map(Finding::from).collect();
            }
        }
        if declared.proposed && item.verdict != Verdict::Error {
            soften(&mut item.findings);
            let told = item.detail.take().map(|detail| format!("; {detail}")).unwrap_or_default();
            item.detail = Some(format!("proposed{told}"));
        }
        results.push(item);
    }
    Ok(Checked { diagnostics: checker.diagnostics, results, rules: checker.rules })
}

struct Checker<'c> {
    model: &'c Model<'c>,
    network: &'c Network<'c>,
    atoms: &'c AtomTable,
    sources: &'c SourceMap,
    options: &'c CheckOptions,
    translators: Vec<usize>,
    senders: Senders,
    own: OwnAddresses,
    routers: Routers<'c>,
    diagnostics: Vec<Diagnostic>,
    /// How often each id was given.
    used_ids: BTreeMap<String, usize>,
    /// Where they are asked for, the rules that the packets of each intent meet.
    rules: Vec<RulesUsed>,
}

/// An assumption with the fields it is about.
#[derive(Clone)]
struct Assumed {
    values: Vec<(Field, u128)>,
    text: String,
}

impl Checker<'_> {
    fn item(&mut self, declared: &DeclaredIntent) -> ResultItem {
        let text = declared.intent.full_text();
        let base = match &declared.name {
            Some(name) => name.value.clone(),
            None => slug(&text),
        };
        let count = self.used_ids.entry(base.clone()).or_insert(0);
        *count += 1;
        let id = if *count > 1 { format!("{base}-{count}") } else { base.clone() };
        let mut item = ResultItem::new(id, text, Verdict::Error);
        item.name = base;
        item.declared = Some(declared.intent.span);
        item.owner = declared.owner.clone();
        item.because = declared.because.clone();
        item.proposed = declared.proposed;
        item
    }

    /// Looks up the atoms of assumptions; those that expired or match nothing are told and left out.
    fn assumptions(&mut self, list: &[Assumption]) -> Vec<Assumed> {
        let mut assumed = Vec::new();
        for assumption in list {
            if let (Some(expires), Some(today)) = (&assumption.expires, &self.options.today)
                && expires.value < *today
            {
                self.diagnostics.push(
                    Diagnostic::warning(
                        "assumption-expired",
                        format!(
                            "the assumption about `{}` expired on {}",
                            assumption.atom.value, expires.value
                        ),
                    )
                    .at(assumption.atom.span, "not relied on any more")
                    .help(format!("ask {} to look at it again, then set a new date", assumption.owner.value)),
                );
                continue;
            }
            let wanted = single_spaces(&assumption.atom.value);
            let host = assumption.host.as_ref().map(|host| host.value.as_str());
            let values: Vec<(Field, u128)> = self
                .atoms
                .iter()
                .filter(|(_, info)| {
                    info.domain == (0, 1)
                        && single_spaces(&info.text) == wanted
                        && host.is_none_or(|host| *info.scope == *host)
                })
                .map(|(field, _)| (field, u128::from(assumption.holds)))
                .collect();
            if values.is_empty() {
                let texts = self.atoms.iter().map(|(_, info)| &*info.text);
                let help = match crate::nearest(&assumption.atom.value, texts) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write it as the ruleset does, or remove it".to_owned(),
                };
                self.diagnostics.push(
                    Diagnostic::warning(
                        "assumption-unused",
                        format!("no ruleset has an uninterpreted `{}`", assumption.atom.value),
                    )
                    .at(assumption.atom.span, "")
                    .help(help),
                );
                continue;
            }
            let matches = if assumption.holds { "matches" } else { "does not match" };
            let text =
                format!("`{}` {matches} (assumed by {})", assumption.atom.value, assumption.owner.value);
            assumed.push(Assumed { values, text });
        }
        assumed
    }

    fn intent(
        &mut self,
        declared: &DeclaredIntent,
        resolved: &Resolved,
        general: &[Assumed],
        item: &mut ResultItem,
    ) -> Result<(), Disagreement> {
        let mut assumed = general.to_vec();
        assumed.extend(self.assumptions(&declared.assumptions));
        let input = declared.input.as_ref().and_then(|name| InterfaceName::new(&name.value).ok());
        // What comes in by an interface was sent by somebody else.
        let nobody = Senders::default();
        let senders = if input.is_none() { &self.senders } else { &nobody };
        let mut asked = questions(resolved, self.model.stack, &self.translators, senders);
        if let Some(missing) = self.carve_out_sets(&mut asked, &mut assumed) {
            item.findings.push(Finding::from(missing));
            return Ok(());
        }
        let prover = Prover {
            model: self.model,
            network: self.network,
            atoms: self.atoms,
            own: &self.own,
            assumed: assumed.iter().flat_map(|one| one.values.iter().copied()).collect(),
        };
        let teller = Teller {
            model: self.model,
            atoms: self.atoms,
            sources: self.sources,
            declared,
            assumptions: assumed.iter().map(|one| one.text.clone()).collect(),
        };
        let mut budget = Budget { steps: self.options.steps, regions: self.options.regions };
        let mut verdict = Verdict::Vacuous;
        let mut told: BTreeSet<String> = BTreeSet::new();
        let mut unheard = BTreeSet::new();
        for question in &asked {
            let lanes = self.routers.of(question.family).lanes(question, &resolved.via, input);
            let answer = prover.answer(question, &lanes, &mut budget);
            if let Some(used) = self.rules.last_mut() {
                uses::collect(&prover, question, &lanes, used);
            }
            let warnings = listening::unheard(&prover, question, &lanes, declared.intent.span, &mut unheard);
            self.diagnostics.extend(warnings);
            let (own, finding) = match &answer {
                Answer::Vacuous => (Verdict::Vacuous, None),
                Answer::Holds => (Verdict::Pass, None),
                Answer::Undetermined => (Verdict::Undetermined, None),
                Answer::Broken(example) => (Verdict::Fail, Some(teller.broken(question, example)?)),
                Answer::Depends { breaks, holds, on } => {
                    (Verdict::Depends, Some(teller.depends(question, breaks, holds.as_deref(), on)?))
                }
            };
            verdict = worse(verdict, own);
            if let Some(finding) = finding {
                // The same rule for the other family or another address says nothing new.
                let key = format!("{:?} {}", finding.diagnostic.span(), finding.diagnostic.code);
                if told.insert(key) {
                    item.findings.push(finding);
                }
            }
        }
        item.verdict = verdict;
        item.detail = detail(verdict, resolved, &asked, self.model.stack);
        Ok(())
    }

    /// Takes the members of carved-out sets from the sources. Sets that change while packets flow are atoms: their
    /// memberships are assumed not to hold. A diagnostic where no ruleset has such a set.
    fn carve_out_sets(&self, asked: &mut [Question], assumed: &mut Vec<Assumed>) -> Option<Diagnostic> {
        let mut names = BTreeSet::new();
        for question in asked.iter_mut() {
            for set in &question.sets {
                let (members, found) = self.model.set_members(&set.value, question.family);
                question.sources = question.sources.subtract(&members);
                let atoms: Vec<(Field, u128)> = self.memberships(&set.value);
                if !found && atoms.is_empty() {
                    let known = self.model.hosts.iter().flat_map(|host| &host.ruleset.sets);
                    let help = match crate::nearest(&set.value, known.map(|set| &*set.name)) {
                        Some(near) => format!("did you mean `@{near}`?"),
                        None => "name a set that a ruleset of the stack declares".to_owned(),
                    };
                    return Some(
                        Diagnostic::error("intent-set", format!("no ruleset has a set `{}`", set.value))
                            .at(set.span, "")
                            .help(help),
                    );
                }
                if !atoms.is_empty() && names.insert(set.value.clone()) {
                    assumed.push(Assumed {
                        values: atoms,
                        text: format!("the source is not in the set `{}`, which is carved out", set.value),
                    });
                }
            }
        }
        None
    }

    /// The atoms of "the source is in this set".
    fn memberships(&self, name: &str) -> Vec<(Field, u128)> {
        let at_name = format!("@{name}");
        let is_it = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let has = |word: &str| words.contains(&word);
            (has(&at_name) && has("saddr")) || (has("--match-set") && has(name) && has("src"))
        };
        self.atoms
            .iter()
            .filter(|(_, info)| info.domain == (0, 1) && &*info.kind == "set membership" && is_it(&info.text))
            .map(|(field, _)| (field, 0))
            .collect()
    }
}

/// What is wrong with a flow that nobody has accepted yet is no error.
fn soften(findings: &mut [Finding]) {
    for finding in findings {
        finding.diagnostic.severity = finding.diagnostic.severity.max(Severity::Warning);
    }
}

/// The verdict of an intent with two questions.
fn worse(left: Verdict, right: Verdict) -> Verdict {
    let rank = |verdict: Verdict| match verdict {
        Verdict::Fail => 4,
        Verdict::Depends => 3,
        Verdict::Undetermined => 2,
        Verdict::Pass => 1,
        Verdict::Vacuous | Verdict::Error => 0,
    };
    if rank(right) > rank(left) { right } else { left }
}

/// What a person must know beside the verdict.
fn detail(verdict: Verdict, resolved: &Resolved, asked: &[Question], stack: &StackFile) -> Option<String> {
    let name = |index: usize| stack.hosts.get(index).map_or("?", |host| host.name.value.as_str());
    if asked.is_empty() || verdict == Verdict::Vacuous {
        let empty = |side: &crate::intent::Endpoint| side.all().is_empty();
        return Some(if empty(&resolved.source) {
            "the source has no addresses".to_owned()
        } else if empty(&resolved.destination) {
            "the destination has no addresses".to_owned()
        } else if asked.is_empty() {
            "no family has addresses on both sides that these services fit".to_owned()
        } else {
            "no declared host is on the way of these packets".to_owned()
        });
    }
    let claim = if resolved.expectation == Expectation::Deny { Claim::NeverArrives } else { Claim::Arrives };
    let mut missing = Vec::new();
    for family in Family::BOTH {
        for (index, _) in &resolved.destination.hosts {
            let covered = asked.iter().any(|question| {
                question.family == family
                    && question.claim == claim
                    && question.target == Target::Host(*index)
            });
            let has = resolved.destination.host(*index).is_some_and(|own| !own.get(family).is_empty());
            if !covered && !has {
                missing.push(format!("{family} not covered: {} has no {family} address", name(*index)));
            } else if !covered {
                missing.push(format!("{family} not covered: the source has no {family} address"));
            }
        }
    }
    missing.dedup();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn single_spaces(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An id from a text: letters and digits with single hyphens between.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars().take(80) {
        if letter.is_alphanumeric() {
            out.extend(letter.to_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}
