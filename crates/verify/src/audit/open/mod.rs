//! What stands open to the internet: management ports, databases, everything; by one family only; past the input chain.
//!
//! Asked port by port with the machinery of [`crate::exposed`]: new packets from public addresses that come in by an
//! interface which may lead to the internet. A rule opens a port where it lets in a sixteenth of all public addresses.

mod outside;
mod report;

use super::Context;
use super::bases::sees;
use super::checks;
use super::summary::Tally;
use super::words::{Effect, effect_of};
use crate::check::Disagreement;
use crate::exposed::ask::{self, Asker, Exposure};
use crate::exposed::{ExposedOptions, Kind, Way};
use firewarden_diagnostic::Severity;
use firewarden_packet::{Dim, Field, IntervalSet, PacketBox};
use firewarden_ruleset::ir::{Dialect, Hook, Rule, RuleRef, Ruleset, Statement, Test};
use outside::{Outside, from_outside, public, size, whole};
use report::Reporter;
use std::collections::{BTreeMap, BTreeSet};

/// Ports that machines are managed by.
const MANAGEMENT: [(Kind, u128); 13] = [
    (Kind::Tcp, 22),
    (Kind::Tcp, 23),
    (Kind::Udp, 161),
    (Kind::Tcp, 445),
    (Kind::Udp, 623),
    (Kind::Tcp, 2375),
    (Kind::Tcp, 3389),
    (Kind::Tcp, 5900),
    (Kind::Tcp, 5985),
    (Kind::Tcp, 6443),
    (Kind::Tcp, 8006),
    (Kind::Tcp, 10_000),
    (Kind::Tcp, 10_250),
];

/// Ports of databases, caches and queues.
const DATABASES: [(Kind, u128); 15] = [
    (Kind::Tcp, 1433),
    (Kind::Tcp, 1521),
    (Kind::Tcp, 2379),
    (Kind::Tcp, 3306),
    (Kind::Tcp, 5432),
    (Kind::Tcp, 5672),
    (Kind::Tcp, 5984),
    (Kind::Tcp, 6379),
    (Kind::Tcp, 8086),
    (Kind::Tcp, 9042),
    (Kind::Tcp, 9092),
    (Kind::Tcp, 9200),
    (Kind::Tcp, 11_211),
    (Kind::Udp, 11_211),
    (Kind::Tcp, 27_017),
];

/// Ports that nobody opens on purpose: where one of them is open, everything is.
const UNUSUAL: [u128; 3] = [4, 21_845, 47_001];

/// The most ports named by rules that are asked about beside those above.
const MOST_PORTS: usize = 48;

/// The part of all public addresses to which a port is open that counts as open to the internet.
const ENOUGH: f64 = 1.0 / 16.0;

/// What stands open.
#[derive(Debug, Default)]
pub struct Open {
    /// Ways and families on which whatever nobody named is let in.
    pub general: BTreeSet<(Way, u128)>,
    /// Families that nothing is known about: only the other one's listing was given.
    pub unlisted: BTreeSet<u128>,
    /// For each way, family, protocol and port that is open: what lets it in.
    ports: BTreeMap<(Way, u128, Kind, u128), Vec<Exposure>>,
}

/// Looks at what is open on a host.
///
/// # Errors
/// [`Disagreement`] where the interpreter doesn't confirm the packet of a finding.
pub fn examine(context: &mut Context<'_, '_>, tally: &mut Tally) -> Result<Open, Box<Disagreement>> {
    let host = context.host;
    let outside = Outside::of(host);
    let open = ask_all(context, &outside, tally);
    let mut reporter = Reporter { context, outside: &outside, open: &open, disagreement: None };
    reporter.general();
    reporter.sensitive(&checks::OPEN_MANAGEMENT, &MANAGEMENT, Severity::Warning);
    reporter.sensitive(&checks::OPEN_DATABASE, &DATABASES, Severity::Error);
    reporter.families();
    reporter.past_input();
    reporter.spoofed(tally);
    match reporter.disagreement {
        Some(disagreement) => Err(disagreement),
        None => Ok(open),
    }
}

/// Families of which no listing was given. A file in nft's words holds whatever the kernel has for both, and so does an
/// empty one; a host that is declared without rules has none to look at.
fn unlisted(context: &Context<'_, '_>) -> BTreeSet<u128> {
    let ruleset = &context.host.ruleset;
    if ruleset.tables.is_empty() {
        let hosts = context.subject.stack.map(|stack| stack.hosts.as_slice()).unwrap_or_default();
        let declared = hosts.iter().find(|host| host.name.value == context.host.name);
        let without = declared.is_some_and(|host| host.rules.is_empty() && host.snapshot.is_none());
        return if without { BTreeSet::from([2, 10]) } else { BTreeSet::new() };
    }
    let saved = |nfproto: u128| ruleset.tables.iter().any(|table| sees(table.family, nfproto));
    let all_saved = ruleset.tables.iter().all(|table| table.dialect == Dialect::Iptables);
    [2, 10].into_iter().filter(|&nfproto| all_saved && !saved(nfproto)).collect()
}

/// True for rules whose sources are too few to open a port. `enough` are the sizes, for IPv4 and for IPv6, from which
/// they aren't.
fn for_few(rule: &Rule, [enough_v4, enough_v6]: [f64; 2]) -> bool {
    let few = |set: &IntervalSet| {
        let short = set.hull().is_none_or(|(_, high)| high <= u128::from(u32::MAX));
        size(set) < if short { enough_v4 } else { enough_v6 }
    };
    rule.statements.iter().any(|statement| match statement {
        Statement::Test(Test::Range { field: Field::SADDR, set }) => few(set),
        _ => false,
    })
}

/// The ports that rules name one by one, NAT's first.
fn named_ports(ruleset: &Ruleset) -> Vec<(Kind, u128)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let translates =
        |rule: &Rule| rule.statements.iter().any(|statement| matches!(statement, Statement::Nat(_)));
    let enough = [2, 10].map(|nfproto| size(&public(nfproto)) * ENOUGH);
    for nat in [true, false] {
        for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
            if translates(rule) != nat || !nat && effect_of(rule) != Effect::Accepts || for_few(rule, enough)
            {
                continue;
            }
            let kind = rule.statements.iter().find_map(|statement| match statement {
                Statement::Test(Test::Range { field: Field::L4PROTO, set }) if set.contains(6) => {
                    Some(Kind::Tcp)
                }
                Statement::Test(Test::Range { field: Field::L4PROTO, set }) if set.contains(17) => {
                    Some(Kind::Udp)
                }
                _ => None,
            });
            for statement in &rule.statements {
                let (Statement::Test(Test::Range { field: Field::DPORT, set }), Some(kind)) =
                    (statement, kind)
                else {
                    continue;
                };
                for &(low, _) in set.ranges().iter().take(16) {
                    if seen.insert((kind, low)) {
                        found.push((kind, low));
                    }
                }
            }
            if found.len() >= MOST_PORTS {
                return found;
            }
        }
    }
    found
}

fn ask_all(context: &mut Context<'_, '_>, outside: &Outside, tally: &mut Tally) -> Open {
    let host = context.host;
    let mut interfaces = None;
    let options = ExposedOptions { regions: 2_000, steps: 20_000_000 };
    let mut open = Open { unlisted: unlisted(context), ..Open::default() };
    let mut ports: Vec<(Kind, u128)> = UNUSUAL.iter().map(|&port| (Kind::Tcp, port)).collect();
    ports.extend(MANAGEMENT.iter().chain(&DATABASES));
    ports.extend(named_ports(&host.ruleset));
    ports.sort_unstable();
    ports.dedup();
    for way in [Way::Input, Way::Forward] {
        for nfproto in [2, 10] {
            let hook = if way == Way::Input { Hook::Input } else { Hook::Forward };
            let filtered = !host.ruleset.base_chains(hook, nfproto).is_empty();
            if open.unlisted.contains(&nfproto)
                || way == Way::Forward && !(host.passes_on(nfproto) && filtered)
            {
                continue;
            }
            for kind in [Kind::Tcp, Kind::Udp] {
                let asker = Asker {
                    host,
                    engine: context.engine,
                    atoms: context.subject.atoms,
                    options: &options,
                    way,
                    kind,
                    nfproto,
                };
                let interfaces = interfaces.get_or_insert_with(|| outside.sides(&asker.interfaces()));
                let question = from_outside(&asker.question_by(interfaces), outside, &whole(nfproto));
                let hulls = hulls(&question);
                for &(_, port) in ports.iter().filter(|(of, _)| *of == kind) {
                    let found = explore(&asker, &hulls, &question, port);
                    tally.open_incomplete |= !found.complete();
                    for exposure in found.exposures {
                        open.ports.entry((exposure.way, nfproto, kind, port)).or_default().push(exposure);
                    }
                }
            }
        }
    }
    open.ports.retain(|(_, nfproto, ..), exposures| {
        *exposures = by_the_world(exposures, *nfproto);
        !exposures.is_empty()
    });
    for &(way, nfproto, _, port) in open.ports.keys() {
        if UNUSUAL.contains(&port) {
            open.general.insert((way, nfproto));
        }
    }
    open
}

/// What is open on a port. Most ports are shut to everybody, which one question for all of them tells.
fn explore(asker: &Asker<'_>, hulls: &[PacketBox], question: &[PacketBox], port: u128) -> ask::Found {
    let mut found = ask::Found::new(false);
    let on_port = |parts: &[PacketBox]| -> Vec<PacketBox> {
        parts.iter().map(|part| part.clone().with_value(Field::DPORT, port)).collect()
    };
    asker.explore(on_port(hulls), &mut found);
    if found.complete() && found.exposures.is_empty() {
        return found;
    }
    found = ask::Found::new(false);
    asker.explore(on_port(question), &mut found);
    found
}

/// For parts that differ in their addresses only, a box around them.
fn hulls(question: &[PacketBox]) -> Vec<PacketBox> {
    let mut hulls: Vec<(PacketBox, PacketBox)> = Vec::new();
    for part in question {
        let mut rest = part.clone();
        rest.clear(Field::SADDR);
        rest.clear(Field::DADDR);
        let known = hulls.iter_mut().find(|(of, _)| *of == rest);
        let Some((_, hull)) = known else {
            hulls.push((rest, part.clone()));
            continue;
        };
        for field in [Field::SADDR, Field::DADDR] {
            if let (Some(&Dim::Range(low, high)), Some(&Dim::Range(from, to))) =
                (hull.get(field), part.get(field))
            {
                hull.set(field, Dim::Range(low.min(from), high.max(to)));
            }
        }
    }
    hulls.into_iter().map(|(_, hull)| hull).collect()
}

/// The exposures by rules that each let in a good part of the internet: a sixteenth or more of its addresses.
fn by_the_world(exposures: &[Exposure], nfproto: u128) -> Vec<Exposure> {
    let mut sources: BTreeMap<Option<RuleRef>, Vec<(u128, u128)>> = BTreeMap::new();
    for exposure in exposures {
        if let Some(Dim::Range(low, high)) = exposure.region.get(Field::SADDR) {
            sources.entry(exposure.rule).or_default().push((*low, *high));
        }
    }
    let world = public(nfproto);
    let enough = size(&world) * ENOUGH;
    let wide: BTreeSet<Option<RuleRef>> = sources
        .into_iter()
        .filter(|(_, ranges)| {
            size(&IntervalSet::from_ranges(ranges.iter().copied()).intersect(&world)) >= enough
        })
        .map(|(rule, _)| rule)
        .collect();
    exposures.iter().filter(|exposure| wide.contains(&exposure.rule)).cloned().collect()
}
