//! Rules that never match, rules that change nothing, and chains and sets that nobody uses.

use super::checks::{self, Check};
use super::reach::{Cover, Deciders, Life, Met, Prober};
use super::removal::{Removal, has_other_purpose};
use super::space::{Space, called, remembers};
use super::summary::Tally;
use super::words::{Effect, chain_text, count, effect_of, is_policy, rule_text, span_of};
use super::{AuditOptions, Context};
use crate::manager_of;
use firewarden_diagnostic::{Diagnostic, Severity};
use firewarden_ruleset::ir::{
    ChainId, MapId, Nat, NatAddress, Neutral, Rule, RuleRef, Ruleset, SetId, Statement, Test, Value, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most covering rules that are shown with their lines.
const MOST_SHOWN: usize = 6;

/// The most packets that are tried before a call is compared with its absence everywhere.
const MOST_PROBES: usize = 24;

/// What is known of a rule in the end.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Some packet meets it, and fares differently without it.
    Needed(Box<Met>),
    /// Some packet meets it; all fare alike without it. These decide instead.
    Redundant(Box<Met>, Vec<RuleRef>),
    /// Some packet meets it; a limit ended the search before it was known whether removing it changes anything.
    Open(Box<Met>),
    /// No packet meets it.
    Dead(Deciders),
    /// No packet comes to its chain.
    CutOff,
    /// A limit ended the search before it was known whether any packet meets it.
    Unknown,
}

/// The standing of every rule that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By the first of those that were written as one. Rules of tables that see no packets of IP aren't in it.
    pub rules: BTreeMap<RuleRef, Standing>,
}

/// Looks at all rules of a host.
pub fn examine(context: &mut Context<'_, '_>, options: AuditOptions, tally: &mut Tally) -> Ledger {
    let host = context.host;
    let space = context.space;
    let mut prober = Prober::new(host, context.engine, space, context.subject.atoms, options);
    let ledger = Ledger::of(&mut prober);
    for (&at, standing) in &ledger.rules {
        tally.count(standing);
        if matches!(standing, Standing::Dead(_) | Standing::Redundant(..))
            && let Some(manager) = manager_of(&host.ruleset, at)
        {
            *tally.managed.entry(manager.name).or_default() += 1;
        }
        match standing {
            Standing::Dead(deciders) => {
                let cover = prober.cover(at, deciders.clone());
                dead(context, at, &cover);
            }
            Standing::Unknown | Standing::Open(_) => tally.undecided.push(span_of(&host.ruleset, at)),
            _ => {}
        }
    }
    redundant(context, &ledger);
    unused_chains(context, space);
    unused_sets(context);
    tally.unseen += unseen(&host.ruleset, space, &ledger);
    ledger
}

impl Ledger {
    /// Finds the standing of every rule. Rules that are found to change nothing, or never match, are left out of the
    /// comparison for later ones, so that all of them together can be removed.
    pub fn of(prober: &mut Prober<'_>) -> Ledger {
        let ruleset = &prober.host.ruleset;
        let mut ledger = Ledger::default();
        let mut gone = BTreeSet::new();
        let nothing = BTreeSet::new();
        // Callers come first, so that a chain whose callers never match is known to be cut off.
        for chain in prober.space.order().to_vec() {
            let Some(rules) = ruleset.chain(chain).map(|chain| &chain.rules) else { continue };
            if prober.space.ways(chain).is_none_or(|ways| ways.known.is_empty()) {
                continue;
            }
            let called = prober.space.base(chain).is_some()
                || prober.space.callers(chain).iter().any(|caller| ledger.calls(prober.space.first(*caller)));
            for index in 0..rules.len() as u32 {
                let at = RuleRef { chain, index };
                if prober.space.first(at) != at {
                    continue;
                }
                let standing = match called {
                    false => Standing::CutOff,
                    true => match prober.life(at, &nothing) {
                        Life::Dead(deciders) => {
                            gone.extend(prober.space.unit(at));
                            Standing::Dead(deciders)
                        }
                        Life::Unknown => Standing::Unknown,
                        Life::Live(met) => Standing::Needed(met),
                    },
                };
                ledger.rules.insert(at, standing);
            }
        }
        ledger.find_redundant(prober, gone);
        ledger
    }

    fn calls(&self, caller: RuleRef) -> bool {
        matches!(
            self.rules.get(&caller),
            Some(Standing::Needed(_) | Standing::Redundant(..) | Standing::Open(_) | Standing::Unknown)
        )
    }

    fn find_redundant(&mut self, prober: &mut Prober<'_>, mut gone: BTreeSet<RuleRef>) {
        let ruleset = &prober.host.ruleset;
        let mut mets: BTreeMap<ChainId, Vec<Met>> = BTreeMap::new();
        for (at, standing) in &self.rules {
            // Chains that are entered: what their rules do is what the call does.
            if let (Standing::Needed(met), false) = (standing, prober.space.callers(at.chain).is_empty()) {
                let of = mets.entry(at.chain).or_default();
                if of.len() < MOST_PROBES {
                    of.push((**met).clone());
                }
            }
        }
        for (&at, standing) in &mut self.rules {
            let Standing::Needed(met) = &*standing else { continue };
            let kept = |member: RuleRef| {
                ruleset.rule(member).is_none_or(|rule| {
                    !could_be_redundant(rule, member, ruleset) || remembers(rule, prober.atoms)
                })
            };
            if prober.space.unit(at).any(kept) {
                continue;
            }
            let probes = inside(at, met, &mets, prober);
            match prober.removal(at, &probes, &mut gone) {
                Removal::ChangesNothing(instead) => {
                    gone.extend(prober.space.unit(at));
                    *standing = Standing::Redundant(met.clone(), instead.into_iter().collect());
                }
                Removal::Matters => {}
                Removal::Unknown => *standing = Standing::Open(met.clone()),
            }
        }
    }
}

/// Packets that show what a rule does: one that meets it, and, where it calls chains, those that meet their rules.
fn inside(at: RuleRef, met: &Met, mets: &BTreeMap<ChainId, Vec<Met>>, prober: &Prober<'_>) -> Vec<Met> {
    let ruleset = &prober.host.ruleset;
    let mut probes = vec![met.clone()];
    let mut open: Vec<ChainId> = prober
        .space
        .unit(at)
        .filter_map(|at| ruleset.rule(at))
        .flat_map(|rule| called(rule, ruleset))
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(chain) = open.pop() {
        if probes.len() >= MOST_PROBES || !seen.insert(chain) {
            continue;
        }
        probes.extend(mets.get(&chain).into_iter().flatten().cloned());
        let rules = ruleset.chain(chain).map_or(&[][..], |chain| &chain.rules);
        open.extend(rules.iter().flat_map(|rule| called(rule, ruleset)));
    }
    probes.truncate(MOST_PROBES);
    probes
}

/// How many rules aren't in the ledger.
fn unseen(ruleset: &Ruleset, space: &Space<'_>, ledger: &Ledger) -> usize {
    let mut count = 0;
    for (number, chain) in ruleset.chains.iter().enumerate() {
        for index in 0..chain.rules.len() as u32 {
            let at = RuleRef { chain: ChainId(number as u32), index };
            count += usize::from(space.first(at) == at && !ledger.rules.contains_key(&at));
        }
    }
    count
}

/// Whether removing a rule is worth a question. A last rule that denies everything repeats the policy on purpose: it
/// holds while a ruleset is being replaced, when the policy doesn't yet. Rules that log or count are there for that.
fn could_be_redundant(rule: &Rule, at: RuleRef, ruleset: &Ruleset) -> bool {
    let acts = rule.statements.iter().any(|statement| {
        !matches!(
            statement,
            Statement::Test(_) | Statement::Neutral(_) | Statement::Verdict(Verdict::Continue)
        )
    });
    let last_word = ends_chain(rule, at, ruleset) && effect_of(rule) == Effect::Denies;
    let logging = has_other_purpose(rule) || called(rule, ruleset).iter().any(|&chain| logs(ruleset, chain));
    acts && !logging && !last_word
}

/// True for chains that log or do what isn't modelled, in rules of their own.
fn logs(ruleset: &Ruleset, chain: ChainId) -> bool {
    ruleset.chain(chain).is_some_and(|chain| chain.rules.iter().any(has_other_purpose))
}

/// True for the last rule of a chain where it acts on every packet that comes there.
fn ends_chain(rule: &Rule, at: RuleRef, ruleset: &Ruleset) -> bool {
    let last = ruleset.chain(at.chain).map_or(0, |chain| chain.rules.len());
    at.index as usize + 1 == last && unconditional(rule)
}

/// True where a rule has no condition.
pub fn unconditional(rule: &Rule) -> bool {
    rule.statements.iter().all(|statement| {
        matches!(
            statement,
            Statement::Verdict(_) | Statement::Neutral(Neutral::Counter | Neutral::Log | Neutral::Other)
        )
    })
}

/// What an iptables rule does, as written; nothing for rules in nft's words, which have no such mark.
fn target_text(text: String) -> String {
    text.split_once(" -j ").map(|(_, target)| target.to_owned()).unwrap_or_default()
}

fn verdict_words(effect: Effect) -> &'static str {
    match effect {
        Effect::Accepts => "accepts",
        Effect::Denies => "denies",
        Effect::Other => "takes",
    }
}

/// Tells of a rule that no packet meets.
fn dead(context: &mut Context<'_, '_>, at: RuleRef, cover: &Cover) {
    let ruleset = &context.host.ruleset;
    let Some(rule) = ruleset.rule(at) else { return };
    let own = effect_of(rule);
    let effects: Vec<Effect> = cover.rules.iter().map(|&(_, effect)| effect).collect();
    let sources = context.subject.sources;
    let target = target_text(rule_text(sources, rule.span));
    let repeated = !target.is_empty()
        && cover.rules.iter().all(|&(by, _)| target_text(rule_text(sources, span_of(ruleset, by))) == target);
    let (check, severity, message, help): (&'static Check, _, _, _) = if cover.rules.is_empty() {
        (
            &checks::CONTRADICTORY_RULE,
            Severity::Warning,
            "this rule never matches: no packet that comes here meets its conditions",
            "correct the condition that can't hold here, or remove the rule",
        )
    } else if own == Effect::Denies && effects.contains(&Effect::Accepts) {
        (
            &checks::SHADOWED_DENY,
            Severity::Error,
            "this rule denies nothing: its packets were accepted before they come here",
            "move it before the rules that accept its packets, or remove it if they are meant to pass",
        )
    } else if own == Effect::Accepts && effects.contains(&Effect::Denies) {
        (
            &checks::SHADOWED_ACCEPT,
            Severity::Warning,
            "this rule accepts nothing: its packets were denied before they come here",
            "move it before the rules that deny its packets, or remove it if they are meant to be denied",
        )
    } else if repeated || own != Effect::Other && effects.iter().all(|&effect| effect == own) {
        (
            &checks::SHADOWED_DUPLICATE,
            Severity::Note,
            "this rule never matches: earlier rules decide alike about all of its packets",
            "remove it",
        )
    } else {
        (
            &checks::UNREACHABLE_RULE,
            Severity::Warning,
            "this rule never matches: earlier rules leave it no packet",
            "move it before the rules that take its packets, or remove it",
        )
    };
    // A deny that somebody else's rule makes idle is a hole, whoever wrote it.
    let writer = manager_of(ruleset, at).filter(|writer| {
        *check != checks::SHADOWED_DENY
            || cover.rules.iter().all(|&(by, _)| manager_of(ruleset, by).as_ref() == Some(writer))
    });
    let (severity, help) = match &writer {
        Some(_) if severity == Severity::Note => return,
        Some(writer) => (Severity::Note, format!("{} writes it; nothing to do", writer.name)),
        None => (severity, help.to_owned()),
    };
    let mut diagnostic =
        Diagnostic::new(severity, check.id, message).at(rule.span, "never reached").help(help);
    for &(by, effect) in cover.rules.iter().take(MOST_SHOWN) {
        diagnostic = diagnostic.see(span_of(ruleset, by), format!("{} them", verdict_words(effect)));
    }
    if let Some(more @ 1..) = cover.rules.len().checked_sub(MOST_SHOWN) {
        diagnostic = diagnostic.because(format!("{} more take part", count(more, "rule")));
    }
    match (cover.rules.len(), cover.minimal) {
        (0 | 1, _) => {}
        (_, true) => {
            diagnostic =
                diagnostic.because("without any one of the rules shown, some packet would come here");
        }
        (_, false) => diagnostic = diagnostic.because("not all of these rules may be needed to cover it"),
    }
    context.report_rule(check, at, diagnostic);
}

/// Tells of rules that change nothing; those that only repeat the end of their chain, together.
fn redundant(context: &mut Context<'_, '_>, ledger: &Ledger) {
    let ruleset = &context.host.ruleset;
    let mut at_the_end: BTreeMap<ChainId, Vec<RuleRef>> = BTreeMap::new();
    let mut found = Vec::new();
    for (&at, standing) in &ledger.rules {
        let Standing::Redundant(_, instead) = standing else { continue };
        let Some(rule) = ruleset.rule(at).filter(|_| manager_of(ruleset, at).is_none()) else { continue };
        let returns = matches!(rule.statements.last(), Some(Statement::Verdict(Verdict::Return)));
        if returns || instead.iter().all(|&by| is_policy(ruleset, by)) && called(rule, ruleset).is_empty() {
            at_the_end.entry(at.chain).or_default().push(at);
            continue;
        }
        let empty = called(rule, ruleset);
        if !empty.is_empty() && empty.iter().all(|&chain| does_nothing(ruleset, chain)) {
            let message = "this rule changes nothing: the chain that it calls does nothing";
            let mut diagnostic = Diagnostic::note(checks::EMPTY_JUMP.id, message)
                .at(rule.span, "")
                .help("remove it, or fill the chain");
            for chain in empty.iter().take(MOST_SHOWN).filter_map(|&chain| ruleset.chain(chain)) {
                diagnostic = diagnostic.see(chain.span, "called here");
            }
            found.push((&checks::EMPTY_JUMP, at, diagnostic));
            continue;
        }
        let message = "this rule changes nothing: without it, later ones do the same to all of its packets";
        let mut diagnostic = Diagnostic::note(checks::REDUNDANT_RULE.id, message)
            .at(rule.span, "not needed")
            .help("remove it");
        for &by in instead.iter().take(MOST_SHOWN) {
            diagnostic = diagnostic.see(span_of(ruleset, by), "decides instead");
        }
        if let Some(more @ 1..) = instead.len().checked_sub(MOST_SHOWN) {
            diagnostic = diagnostic.because(format!("{} more take part", count(more, "rule")));
        }
        found.push((&checks::REDUNDANT_RULE, at, diagnostic));
    }
    for (check, at, diagnostic) in found {
        context.report_rule(check, at, diagnostic);
    }
    for (chain, rules) in at_the_end {
        repeats_default(context, chain, &rules);
    }
}

fn repeats_default(context: &mut Context<'_, '_>, chain: ChainId, rules: &[RuleRef]) {
    let ruleset = &context.host.ruleset;
    let Some(&first) = rules.first() else { return };
    let (subject, verb) = match rules.len() {
        1 => ("this rule does".to_owned(), "it"),
        many => (format!("{many} rules of `{}` do", chain_text(ruleset, chain)), "them"),
    };
    let message = format!("{subject} only what happens at the end of the chain anyway");
    let mut diagnostic = Diagnostic::note(checks::REPEATS_DEFAULT.id, message)
        .at(span_of(ruleset, first), "")
        .help(format!("keep {verb} if the repetition is meant, for later rules or for their counters; else remove {verb}"));
    for &at in rules.iter().skip(1).take(MOST_SHOWN) {
        diagnostic = diagnostic.see(span_of(ruleset, at), "");
    }
    if let Some(&[from, ..]) = rules.get(MOST_SHOWN + 1..) {
        let line = |at: RuleRef| {
            let span = span_of(ruleset, at);
            context.subject.sources.get(span.file).map_or(0, |file| file.line_column(span.start).line)
        };
        let more = count(rules.len() - MOST_SHOWN - 1, "more rule");
        diagnostic = diagnostic.because(format!("{more} of the chain, from line {} on", line(from)));
    }
    context.report_rule(&checks::REPEATS_DEFAULT, first, diagnostic);
}

fn does_nothing(ruleset: &Ruleset, chain: ChainId) -> bool {
    let inert = |statement: &Statement| {
        matches!(
            statement,
            Statement::Test(_)
                | Statement::Neutral(Neutral::Counter)
                | Statement::Verdict(Verdict::Continue | Verdict::Return)
        )
    };
    ruleset.chain(chain).is_some_and(|chain| {
        chain.base.is_none() && chain.rules.iter().all(|rule| rule.statements.iter().all(inert))
    })
}

/// Tells of chains that no rule calls.
fn unused_chains(context: &mut Context<'_, '_>, space: &Space<'_>) {
    let ruleset = &context.host.ruleset;
    let mut found = Vec::new();
    for (number, chain) in ruleset.chains.iter().enumerate() {
        let id = ChainId(number as u32);
        let at = RuleRef { chain: id, index: 0 };
        let dormant = ruleset.table(chain.table).is_none_or(|table| table.dormant);
        let unused = chain.base.is_none() && space.callers(id).is_empty();
        if !unused || dormant || chain.name.is_empty() || manager_of(ruleset, at).is_some() {
            continue;
        }
        let rules = match chain.rules.len() {
            0 => "it has no rules".to_owned(),
            many => format!("its {} have no effect", count(many, "rule")),
        };
        let message = format!("no rule calls the chain `{}`", chain_text(ruleset, id));
        let severity = if chain.rules.is_empty() { Severity::Note } else { Severity::Warning };
        let diagnostic = Diagnostic::new(severity, checks::UNUSED_CHAIN.id, message)
            .at(chain.span, "")
            .because(rules)
            .help("call it from where it is meant to work, or remove it");
        found.push((id, diagnostic));
    }
    for (chain, diagnostic) in found {
        context.report_chain(&checks::UNUSED_CHAIN, chain, diagnostic);
    }
}

/// The sets and maps that rules name.
#[derive(Default)]
struct Used {
    sets: BTreeSet<SetId>,
    maps: BTreeSet<MapId>,
}

impl Used {
    fn of(ruleset: &Ruleset) -> Used {
        let mut used = Used::default();
        for statement in
            ruleset.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements)
        {
            match statement {
                Statement::Test(Test::Lookup { set, .. }) => {
                    used.sets.insert(*set);
                }
                Statement::VerdictMap { map, .. } => {
                    used.maps.insert(*map);
                }
                Statement::Assign { value, .. } => used.value(value),
                Statement::Nat(nat) => used.nat(nat),
                _ => {}
            }
        }
        used
    }

    fn value(&mut self, value: &Value) {
        if let Value::Map { map, .. } = value {
            self.maps.insert(*map);
        }
    }

    fn nat(&mut self, nat: &Nat) {
        if let NatAddress::To(value) = &nat.address {
            self.value(value);
        }
        if let Some(port) = &nat.port {
            self.value(port);
        }
    }
}

/// Tells of named sets and maps that nothing names. Sets that change while packets flow aren't looked up in the
/// representation, so that the texts are searched for their names too.
fn unused_sets(context: &mut Context<'_, '_>) {
    let ruleset = &context.host.ruleset;
    let used = Used::of(ruleset);
    let sets =
        ruleset.sets.iter().enumerate().filter(|(number, _)| !used.sets.contains(&SetId(*number as u32)));
    let maps =
        ruleset.maps.iter().enumerate().filter(|(number, _)| !used.maps.contains(&MapId(*number as u32)));
    let unused: Vec<_> = sets
        .map(|(_, set)| ("set", &set.name, set.table, set.span))
        .chain(maps.map(|(_, map)| ("map", &map.name, map.table, map.span)))
        .filter(|(_, name, ..)| !name.is_empty())
        .collect();
    if unused.is_empty() {
        return;
    }
    let mut named = BTreeSet::new();
    for (_, file) in context.subject.sources.iter() {
        names_in(&file.text, &mut named);
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (what, name, table, span) in unused {
        if named.contains(&**name) || !seen.insert((span.file, span.start)) {
            continue;
        }
        let message = format!("no rule uses the {what} `{}`", name.replace('`', "'"));
        let diagnostic = Diagnostic::note(checks::UNUSED_SET.id, message).at(span, "").help(format!(
            "use it where it was meant to be used, or remove it; a rule names it as `@{name}`"
        ));
        let table = ruleset.table(table).map(|table| table.name.to_string()).unwrap_or_default();
        found.push(super::Found::new(&checks::UNUSED_SET, diagnostic).of(table, name.to_string()));
    }
    context.found.extend(found);
}

/// The words of a text that may name sets: behind `@` (nft), behind `--match-set` and the options of the SET target,
/// and members of sets of sets (`add LIST SET`).
fn names_in<'t>(text: &'t str, named: &mut BTreeSet<&'t str>) {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '\\');
    for (at, _) in text.match_indices('@') {
        let rest = text.get(at + 1..).unwrap_or_default();
        named.insert(rest.split(|c| !is_name(c)).next().unwrap_or_default());
    }
    for option in ["--match-set ", "--add-set ", "--del-set ", "--map-set ", "--set "] {
        for (at, _) in text.match_indices(option) {
            named.extend(text.get(at + option.len()..).unwrap_or_default().split_whitespace().next());
        }
    }
    for line in text.lines().filter(|line| line.starts_with("add ")) {
        named.extend(line.split_whitespace().nth(2));
    }
}
