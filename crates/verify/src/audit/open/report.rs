//! Findings about what stands open, each with a packet that gets in.

use super::super::checks::{self, Check};
use super::super::summary::Tally;
use super::super::words::{self, count, interface, is_policy, span_of};
use super::super::{Context, Found};
use super::outside::{Outside, from_outside, private};
use super::{Open, UNUSUAL};
use crate::check::Disagreement;
use crate::exposed::ask::{self, Asker, Exposure};
use crate::exposed::{ExposedOptions, Kind, Way};
use crate::manager_of;
use crate::trace::trace_by;
use firewarden_diagnostic::{Diagnostic, Severity, Witness};
use firewarden_packet::{Field, Point, fib_type};
use firewarden_ruleset::ir::{ChainType, Hook, RuleRef, Ruleset, Statement, Test};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The most places shown for one finding.
const MOST_SHOWN: usize = 6;

/// Sources for examples: public ones from both halves of IPv4, then private ones.
const SENDERS: [u128; 6] = [0xC633_6407, 0xCB00_7107, 0x0808_0808, 0xC0A8_0007, 0x0A00_0007, 0xAC10_0007];

/// Names of interfaces for examples, the most usual first.
const INPUTS: [&str; 6] = ["eth0", "wan", "ens3", "bond0", "ppp0", "a"];

/// The same for where packets leave.
const OUTPUTS: [&str; 5] = ["eth1", "lan", "ens4", "bond1", "b"];

/// A packet as people know them, near an exposure.
fn readable(exposure: &Exposure) -> Point {
    let mut packet = Point::default();
    if exposure.nfproto == 10 {
        packet.set(Field::NFPROTO, 10);
        packet.set(Field::SADDR, 0x2001_0db8 << 96 | 7);
        packet.set(Field::DADDR, 0x2001_0db8 << 96 | 1);
    }
    let holds = |address: &&u128| exposure.region.get(Field::SADDR).is_none_or(|dim| dim.contains(**address));
    if let (2, Some(&source)) = (exposure.nfproto, SENDERS.iter().find(holds)) {
        packet.set(Field::SADDR, source);
    }
    packet.set(Field::IIFNAME, named(exposure, Field::IIFNAME, &INPUTS).1);
    if exposure.way == Way::Forward && exposure.translated.is_none() {
        packet.set(Field::OIFNAME, named(exposure, Field::OIFNAME, &OUTPUTS).1);
        packet.set(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
    }
    packet
}

/// The first of some names that an exposure holds, with its place among them; the first of all where it holds none.
fn named(exposure: &Exposure, field: Field, names: &[&str]) -> (usize, u128) {
    let holds = |name: &str| exposure.region.get(field).is_none_or(|dim| dim.contains(interface(name)));
    let at = names.iter().position(|name| holds(name));
    (at.unwrap_or(names.len()), names.get(at.unwrap_or(0)).map_or(0, |name| interface(name)))
}

/// How many fields of the readable packet an exposure holds, then how usual its interface is: the more, the better an
/// example it is.
fn readability(exposure: &Exposure) -> (usize, Reverse<usize>) {
    let packet = readable(exposure);
    let dims = exposure.region.dims();
    let held = dims.iter().filter(|(field, dim)| dim.contains(packet.get(*field))).count();
    (held + Field::FIXED - dims.len(), Reverse(named(exposure, Field::IIFNAME, &INPUTS).0))
}

/// Keeps the better of two examples.
fn keep_better(kept: &mut Exposure, other: &Exposure) {
    if readability(other) > readability(kept) {
        *kept = other.clone();
    }
}

pub struct Reporter<'c, 'a, 'f> {
    /// The host.
    pub context: &'c mut Context<'a, 'f>,
    /// Where the internet is.
    pub outside: &'c Outside,
    /// What is open.
    pub open: &'c Open,
    /// The first packet that the interpreter doesn't confirm.
    pub disagreement: Option<Box<Disagreement>>,
}

fn way_words(way: Way) -> &'static str {
    match way {
        Way::Input => "to this host",
        Way::Forward => "through this host",
    }
}

fn family_words(families: &BTreeSet<u128>) -> &'static str {
    match (families.contains(&2), families.contains(&10)) {
        (true, true) => "IPv4 and IPv6",
        (false, true) => "IPv6",
        _ => "IPv4",
    }
}

fn port_text(kind: Kind, port: u128) -> String {
    format!("{}/{port}", if kind == Kind::Udp { "udp" } else { "tcp" })
}

impl Reporter<'_, '_, '_> {
    fn ruleset(&self) -> &Ruleset {
        &self.context.host.ruleset
    }

    /// One packet of an exposure with its way, followed by the interpreter.
    fn witness(&mut self, check: &Check, exposure: &Exposure) -> Option<Witness> {
        let packet = Point::in_box(&exposure.region, &readable(exposure));
        let Context { host, engine, subject, .. } = &*self.context;
        let disagreement = match trace_by(engine, host, &packet, subject.atoms, subject.sources) {
            Ok(traced) if traced.accepted => {
                return Some(Witness {
                    packet: traced.packet,
                    fields: Vec::new(),
                    outcome: traced.outcome,
                    given: traced.given,
                    path: traced.steps,
                });
            }
            Ok(traced) => Box::new(Disagreement {
                intent: check.id.to_owned(),
                packet: traced.packet,
                engine: "accepted".to_owned(),
                interpreter: traced.outcome,
            }),
            Err(disagreement) => disagreement,
        };
        self.disagreement.get_or_insert(disagreement);
        None
    }

    fn finish(&mut self, check: &'static Check, diagnostic: Diagnostic, example: &Exposure, subject: String) {
        let witness = self.witness(check, example);
        let place = match example.rule {
            Some(rule) => words::chain_text(self.ruleset(), rule.chain),
            None => String::new(),
        };
        let mut found = Found::new(check, diagnostic).of(place, subject);
        found.finding.witnesses.extend(witness);
        found.finding.assumptions.push(self.outside.assumption.clone());
        found.finding.manager = example.rule.and_then(|rule| manager_of(self.ruleset(), rule));
        self.context.found.push(found);
    }

    /// Everything is let in: by a policy, by a rule, or because nothing filters.
    pub fn general(&mut self) {
        let mut by_rule: BTreeMap<(Way, Option<RuleRef>), (BTreeSet<u128>, Exposure)> = BTreeMap::new();
        for (&(way, nfproto, _, port), exposures) in &self.open.ports {
            if !UNUSUAL.contains(&port) {
                continue;
            }
            for exposure in exposures {
                let rule = exposure.rule.filter(|rule| self.hook_of(*rule).is_none_or(filters));
                let entry = by_rule.entry((way, rule)).or_insert_with(|| (BTreeSet::new(), exposure.clone()));
                entry.0.insert(nfproto);
                keep_better(&mut entry.1, exposure);
            }
        }
        for ((way, rule), (families, example)) in by_rule {
            let ruleset = self.ruleset();
            let by = family_words(&families);
            let (check, diagnostic, subject) = match rule {
                Some(rule) if !is_policy(ruleset, rule) => {
                    // A rule for one destination opens a machine, not everything.
                    let (severity, what) = match self.tests(rule, Field::DADDR) {
                        true => (Severity::Warning, "every port of its destinations"),
                        false => (Severity::Error, "everything"),
                    };
                    let message =
                        format!("this rule lets the internet reach {what} {} by {by}", way_words(way));
                    let diagnostic = Diagnostic::new(severity, checks::ANY_ANY_ACCEPT.id, message)
                        .at(span_of(ruleset, rule), "asks for no port")
                        .help("name the sources, destinations and ports that are meant");
                    (
                        &checks::ANY_ANY_ACCEPT,
                        diagnostic,
                        words::rule_text(self.context.subject.sources, span_of(ruleset, rule)),
                    )
                }
                Some(rule) => {
                    let message = format!("what no rule names is let {} by {by}", way_words(way));
                    // Hosts that pass nothing on often leave this open; whether this one does isn't known.
                    let severity = match way {
                        Way::Forward if !self.passes_on() => Severity::Note,
                        _ => Severity::Warning,
                    };
                    let diagnostic = Diagnostic::new(severity, checks::DEFAULT_ACCEPT.id, message)
                        .at(span_of(ruleset, rule), "this policy accepts the rest")
                        .help("end the chain with a rule that drops, or set the policy to drop, after the rules for what is meant");
                    (&checks::DEFAULT_ACCEPT, diagnostic, format!("policy {}", way_words(way)))
                }
                None => {
                    let message = format!("nothing filters what comes {} by {by}", way_words(way));
                    let diagnostic = Diagnostic::warning(checks::DEFAULT_ACCEPT.id, message)
                        .help("add a base chain on the hook that denies by default");
                    (&checks::DEFAULT_ACCEPT, diagnostic, format!("no chain {} {by}", way_words(way)))
                }
            };
            self.finish(check, diagnostic, &example, subject);
        }
    }

    /// True where something says that the host forwards: interfaces of a stack file, or translated addresses.
    fn passes_on(&self) -> bool {
        self.context.host.interfaces.len() > 1
            || self
                .ruleset()
                .chains
                .iter()
                .flat_map(|chain| &chain.rules)
                .any(|rule| rule.statements.iter().any(|statement| matches!(statement, Statement::Nat(_))))
    }

    fn hook_of(&self, rule: RuleRef) -> Option<Hook> {
        let base = self.ruleset().chain(rule.chain)?.base.as_ref()?;
        (base.chain_type != ChainType::Nat).then_some(base.hook)
    }

    /// Ports that shouldn't be open, one finding for each rule that opens some.
    pub fn sensitive(&mut self, check: &'static Check, ports: &[(Kind, u128)], severity: Severity) {
        type Opened = (BTreeSet<(Kind, u128)>, BTreeSet<u128>, Exposure);
        let mut by_rule: BTreeMap<(Way, RuleRef), Opened> = BTreeMap::new();
        for (&(way, nfproto, kind, port), exposures) in &self.open.ports {
            if !ports.contains(&(kind, port)) || self.open.general.contains(&(way, nfproto)) {
                continue;
            }
            for exposure in exposures {
                let Some(rule) = exposure.rule else { continue };
                let entry = by_rule
                    .entry((way, rule))
                    .or_insert_with(|| (BTreeSet::new(), BTreeSet::new(), exposure.clone()));
                entry.0.insert((kind, port));
                entry.1.insert(nfproto);
                keep_better(&mut entry.2, exposure);
            }
        }
        for ((way, rule), (ports, families, example)) in by_rule {
            let names: Vec<String> =
                ports.iter().map(|&(kind, port)| format!("`{}`", port_text(kind, port))).collect();
            let verb = if names.len() == 1 { "is" } else { "are" };
            let message = format!(
                "{} {verb} open to the internet {} by {}",
                names.join(", "),
                way_words(way),
                family_words(&families)
            );
            let span = span_of(self.ruleset(), rule);
            let diagnostic = Diagnostic::new(severity, check.id, message)
                .at(span, "lets it in from anywhere")
                .help("let in only the addresses that need it, or put it behind a VPN");
            let subject = words::rule_text(self.context.subject.sources, span);
            self.finish(check, diagnostic, &example, subject);
        }
    }

    /// Ports of the host that are open by one family only.
    pub fn families(&mut self) {
        let general = |nfproto| self.open.general.contains(&(Way::Input, nfproto));
        if !self.open.unlisted.is_empty() || general(2) || general(10) {
            return;
        }
        for (more, less, check, severity) in [
            (10, 2, &checks::OPEN_BY_IPV6_ONLY, Severity::Warning),
            (2, 10, &checks::OPEN_BY_IPV4_ONLY, Severity::Note),
        ] {
            let only: Vec<_> = self
                .open
                .ports
                .iter()
                .filter(|((way, nfproto, kind, port), _)| {
                    *way == Way::Input
                        && *nfproto == more
                        && !self.open.ports.contains_key(&(Way::Input, less, *kind, *port))
                })
                .collect();
            let Some(example) = only.first().and_then(|(_, exposures)| exposures.first()).cloned() else {
                continue;
            };
            let names: Vec<String> =
                only.iter().map(|((_, _, kind, port), _)| port_text(*kind, *port)).collect();
            let (shown, rest) = names.split_at(names.len().min(12));
            let rest = if rest.is_empty() {
                String::new()
            } else {
                format!(" and {}", count(rest.len(), "more port"))
            };
            let (has, lacks) = if more == 10 { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
            let message =
                format!("open to the internet by {has}, but not by {lacks}: {}{rest}", shown.join(", "));
            let mut diagnostic = Diagnostic::new(severity, check.id, message).help(format!(
                "if both are meant alike, write the same rules for {lacks}, or one rule in an `inet` table"
            ));
            let rules: BTreeSet<RuleRef> = only
                .iter()
                .flat_map(|(_, exposures)| exposures.iter())
                .filter_map(|exposure| exposure.rule)
                .collect();
            for (index, &rule) in rules.iter().take(MOST_SHOWN).enumerate() {
                let span = span_of(self.ruleset(), rule);
                diagnostic = match index {
                    0 => diagnostic.at(span, format!("lets {has} in")),
                    _ => diagnostic.see(span, format!("lets {has} in")),
                };
            }
            self.finish(check, diagnostic, &example, names.join(","));
        }
    }

    /// Ports that are translated to another machine or container, and reached although the input chain denies them.
    pub fn past_input(&mut self) {
        type Passed = (BTreeSet<(Kind, u128)>, BTreeSet<RuleRef>, Exposure);
        let mut docker: Option<Passed> = None;
        let mut unfiltered: BTreeMap<RuleRef, Passed> = BTreeMap::new();
        for (&(way, nfproto, kind, port), exposures) in &self.open.ports {
            let translated = exposures.iter().filter(|exposure| exposure.translated.is_some());
            for exposure in translated {
                let Some(rule) = exposure.rule else { continue };
                if way != Way::Forward {
                    continue;
                }
                let manager = manager_of(self.ruleset(), rule);
                let slot = match manager.as_ref().map(|manager| manager.name.as_str()) {
                    Some("Docker") if !self.open.general.contains(&(Way::Input, nfproto)) => &mut docker,
                    None if !self.open.general.contains(&(Way::Forward, nfproto)) && !self.looks(rule) => {
                        let entry = unfiltered
                            .entry(rule)
                            .or_insert_with(|| (BTreeSet::new(), BTreeSet::new(), exposure.clone()));
                        entry.0.insert((kind, port));
                        keep_better(&mut entry.2, exposure);
                        continue;
                    }
                    _ => continue,
                };
                let entry = slot.get_or_insert_with(|| (BTreeSet::new(), BTreeSet::new(), exposure.clone()));
                entry.0.insert((kind, port));
                entry.1.insert(rule);
                keep_better(&mut entry.2, exposure);
            }
        }
        if let Some((ports, rules, example)) = docker {
            self.docker(&ports, &rules, &example);
        }
        for (rule, (ports, _, example)) in unfiltered {
            let names: Vec<String> = ports.iter().map(|&(kind, port)| port_text(kind, port)).collect();
            let message = format!("whatever is translated is let through, such as {}", names.join(", "));
            let span = span_of(self.ruleset(), rule);
            let diagnostic = Diagnostic::warning(checks::NAT_BYPASSES_FILTER.id, message)
                .at(span, "looks at neither port nor destination")
                .help("name the destination and the port that the translation is for");
            let subject = words::rule_text(self.context.subject.sources, span);
            self.finish(&checks::NAT_BYPASSES_FILTER, diagnostic, &example, subject);
        }
    }

    fn docker(&mut self, ports: &BTreeSet<(Kind, u128)>, rules: &BTreeSet<RuleRef>, example: &Exposure) {
        let names: Vec<String> = ports.iter().map(|&(kind, port)| port_text(kind, port)).collect();
        let message =
            format!("Docker publishes {} to the internet, whatever the input chain says", names.join(", "));
        let mut diagnostic = Diagnostic::warning(checks::DOCKER_BYPASSES_INPUT.id, message)
            .because("published ports are translated before the routing decision, so that their packets are forwarded and never pass the input hook")
            .help("publish them on an address, as in `-p 127.0.0.1:8080:80`, or add rules to the chain DOCKER-USER");
        for (index, &rule) in rules.iter().take(MOST_SHOWN).enumerate() {
            let span = span_of(self.ruleset(), rule);
            diagnostic =
                if index == 0 { diagnostic.at(span, "lets them through") } else { diagnostic.see(span, "") };
        }
        self.finish(&checks::DOCKER_BYPASSES_INPUT, diagnostic, example, names.join(","));
    }

    fn tests(&self, rule: RuleRef, field: Field) -> bool {
        self.ruleset().rule(rule).is_some_and(|rule| {
            rule.statements.iter().any(|statement| match statement {
                Statement::Test(Test::Range { field: of, .. } | Test::Masked { field: of, .. }) => {
                    *of == field
                }
                Statement::Test(Test::Lookup { key, negated: false, .. }) => key.contains(&field),
                _ => false,
            })
        })
    }

    /// Whether a rule looks at where a packet goes.
    fn looks(&self, rule: RuleRef) -> bool {
        let Some(rule) = self.ruleset().rule(rule) else { return true };
        rule.statements.iter().any(|statement| match statement {
            Statement::Test(Test::Range { field, .. } | Test::Masked { field, .. }) => {
                about_destination(*field)
            }
            Statement::Test(Test::Lookup { key, .. }) | Statement::VerdictMap { key, .. } => {
                key.iter().any(|field| about_destination(*field))
            }
            _ => false,
        })
    }

    /// Private addresses that come in from the internet, where it is known where that is.
    pub fn spoofed(&mut self, tally: &mut Tally) {
        if !self.outside.certain {
            return;
        }
        let host = self.context.host;
        let options = ExposedOptions { regions: 2_000, steps: 20_000_000 };
        let asker = Asker {
            host,
            engine: self.context.engine,
            atoms: self.context.subject.atoms,
            options: &options,
            way: Way::Input,
            kind: Kind::Tcp,
            nfproto: 2,
        };
        let question = from_outside(&asker.question(), self.outside, &private());
        let mut found = ask::Found::new(false);
        asker.explore(question, &mut found);
        tally.open_incomplete |= !found.complete();
        let Some(example) = found.exposures.iter().max_by_key(|exposure| readability(exposure)) else {
            return;
        };
        let message = "packets that come from the internet with a private source address are let in";
        let mut diagnostic = Diagnostic::note(checks::SPOOFED_SOURCE.id, message).help(
            "drop private and loopback sources that come in there, or have the kernel do it (`rp_filter=1`)",
        );
        if let Some(rule) = example.rule {
            diagnostic = diagnostic.at(span_of(self.ruleset(), rule), "lets some of them in");
        }
        self.finish(&checks::SPOOFED_SOURCE, diagnostic, example, String::new());
    }
}

fn filters(hook: Hook) -> bool {
    matches!(hook, Hook::Input | Hook::Forward)
}

fn about_destination(field: Field) -> bool {
    matches!(
        field,
        Field::DADDR | Field::DPORT | Field::CT_ORIGINAL_DADDR | Field::CT_ORIGINAL_DPORT | Field::OIFNAME
    )
}
