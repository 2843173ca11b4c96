//! What is wrong with a ruleset, whatever it is for: rules that never match or change nothing, doors that stand open,
//! and what goes wrong when it is loaded.
//!
//! Whether a rule matches, and whether removing it changes anything, is found exactly: the packets that it could match
//! are taken apart by the engine (`reach`, `removal`), with sets as they are and through all jumps. What can be reached
//! from outside comes from [`crate::exposed`] (`open`); the defaults of base chains are asked as questions too
//! (`defaults`). What the representation doesn't hold, such as how a file is loaded, is read from the text (`lint`).
//! Everything found is a [`Found`], which `settle` may take for excused: by a comment, the stack file or a baseline.

mod bases;
mod boot;
mod boxes;
mod checks;
mod defaults;
mod lint;
mod listening;
mod open;
mod reach;
mod removal;
mod rules;
mod settle;
mod space;
mod summary;
mod words;

pub use bases::packets;
pub use boot::BootRules;
pub use checks::{ALL as CHECKS, Check};
pub use reach::{Deciders, Life, Met, Prober};
pub use removal::Removal;
pub use rules::{Ledger, Standing};
pub use settle::{Baseline, read_baseline, write_baseline};
pub use space::Space;
pub use words::Effect;

use crate::check::Disagreement;
use crate::stack::StackFile;
use firewarden_diagnostic::{Diagnostic, Finding, ResultItem, SourceMap};
use firewarden_engine::Engine;
use firewarden_network::Host;
use firewarden_packet::AtomTable;
use firewarden_ruleset::ir::{ChainId, RuleRef};
use std::collections::BTreeMap;

/// Where the search ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// The most parts into which the packets of one rule are taken apart.
    pub regions: usize,
    /// The most rules looked at for one rule.
    pub steps_for_rule: u64,
    /// The most rules looked at over all.
    pub steps: u64,
}

impl Default for AuditOptions {
    fn default() -> AuditOptions {
        AuditOptions { regions: 4_000, steps_for_rule: 4_000_000, steps: 2_000_000_000 }
    }
}

impl AuditOptions {
    /// With other steps for a rule, and as many more or fewer of the other limits.
    pub fn with_steps_for_rule(steps: u64) -> AuditOptions {
        let known = AuditOptions::default();
        let scaled = |limit: u64| {
            u64::try_from(u128::from(limit) * u128::from(steps) / u128::from(known.steps_for_rule))
                .unwrap_or(u64::MAX)
        };
        AuditOptions {
            regions: usize::try_from(scaled(known.regions as u64)).unwrap_or(usize::MAX),
            steps_for_rule: steps,
            steps: scaled(known.steps),
        }
    }
}

/// One thing that was found on one host.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is.
    pub check: &'static Check,
    /// What is told.
    pub finding: Finding,
    /// The host's name.
    pub host: String,
    /// Table and chain, or the file; with the rule's text it makes the fingerprint.
    pub place: String,
    /// The rule's text, or what else tells this finding from others in the same place.
    pub subject: String,
    /// Why it doesn't count.
    pub settled: Option<Settled>,
}

/// Why something found doesn't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Somebody has given a reason.
    Excused,
    /// It was there when the baseline was written.
    Known,
}

impl Found {
    fn new(check: &'static Check, diagnostic: Diagnostic) -> Found {
        Found {
            check,
            finding: Finding::from(diagnostic),
            host: String::new(),
            place: String::new(),
            subject: String::new(),
            settled: None,
        }
    }

    /// Says where it is, for fingerprints and exceptions.
    fn of(mut self, place: impl Into<String>, subject: impl Into<String>) -> Found {
        self.place = place.into();
        self.subject = subject.into();
        self
    }
}

/// What is audited, with what settles findings.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The hosts.
    pub hosts: &'a [Host],
    /// The stack file, where there is one.
    pub stack: Option<&'a StackFile>,
    /// The dynamic fields.
    pub atoms: &'a AtomTable,
    /// The texts.
    pub sources: &'a SourceMap,
    /// Today as `2026-11-21`; without it no exception expires.
    pub today: Option<&'a str>,
    /// What hosts load when they start, by their names, where that is known.
    pub boot: &'a BTreeMap<String, BootRules>,
    /// What was there before.
    pub baseline: Option<&'a Baseline>,
}

/// What came of an audit.
#[derive(Clone, Debug)]
pub struct Audit {
    /// One for each check, in the order of [`CHECKS`].
    pub results: Vec<ResultItem>,
    /// What was looked at, and what couldn't be decided, in a few sentences.
    pub summary: Vec<String>,
    /// Everything found, settled or not.
    pub found: Vec<Found>,
}

/// Audits hosts. The time is bounded by the options.
///
/// # Errors
/// [`Disagreement`] where the interpreter doesn't confirm the packet of a finding.
pub fn audit(subject: Subject<'_>, options: AuditOptions) -> Result<Audit, Box<Disagreement>> {
    let mut found = Vec::new();
    let mut tally = summary::Tally::default();
    for host in subject.hosts {
        let mut own = Vec::new();
        let (engine, space) = (Engine::new(&host.ruleset), Space::new(&host.ruleset));
        let mut context = Context { host, engine: &engine, space: &space, subject, found: &mut own };
        let ledger = rules::examine(&mut context, options, &mut tally);
        let open = open::examine(&mut context, &mut tally)?;
        defaults::examine(&mut context, &ledger, &open, &mut tally);
        lint::examine(&mut context);
        listening::examine(&mut context, &ledger);
        boot::examine(&mut context, &mut tally.boot_unknown);
        for entry in &mut own {
            entry.host.clone_from(&host.name);
        }
        found.append(&mut own);
    }
    settle::settle(&subject, &mut found);
    let results = summary::results(&found, &tally, subject.sources);
    let summary = summary::sentences(&found, &tally);
    Ok(Audit { results, summary, found })
}

/// One host under audit.
struct Context<'a, 'f> {
    host: &'a Host,
    /// Answers for its ruleset; made once, since its indexes take as long as many questions.
    engine: &'a Engine<'a>,
    space: &'a Space<'a>,
    subject: Subject<'a>,
    found: &'f mut Vec<Found>,
}

impl Context<'_, '_> {
    /// Takes a finding about a rule.
    fn report_rule(&mut self, check: &'static Check, at: RuleRef, diagnostic: Diagnostic) {
        let ruleset = &self.host.ruleset;
        let text = words::rule_text(self.subject.sources, words::span_of(ruleset, at));
        let mut found = Found::new(check, diagnostic).of(words::chain_text(ruleset, at.chain), text);
        found.finding.manager = crate::manager_of(ruleset, at);
        self.found.push(found);
    }

    /// Takes a finding about a chain.
    fn report_chain(&mut self, check: &'static Check, chain: ChainId, diagnostic: Diagnostic) {
        let place = words::chain_text(&self.host.ruleset, chain);
        let mut found = Found::new(check, diagnostic).of(place, "");
        found.finding.manager = crate::manager_of(&self.host.ruleset, RuleRef { chain, index: 0 });
        self.found.push(found);
    }
}
