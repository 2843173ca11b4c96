//! What stands open to the internet: management ports, databases, everything; by one family only; past the input chain.
//!
//! Asked port by port with the machinery of [`crate::exposed`]: new packets from public addresses that come in by an
//! interface which may lead to the internet. A rule opens a port where it lets in a sixteenth of all public addresses.

use super::checks::{self, Check};
use super::summary::Tally;
use super::words::{self, Effect, count, effect_of, interface, is_policy, span_of};
use super::{Context, Found};
use crate::exposed::ask::{self, Asker, Exposure, senders};
use crate::exposed::{ExposedOptions, Kind, Way};
use crate::manager_of;
use firewarden_diagnostic::{Diagnostic, Severity, Witness};
use firewarden_engine::Engine;
use firewarden_network::Host;
use firewarden_packet::{Dim, Field, InterfaceName, IntervalSet, PacketBox, Point};
use firewarden_ruleset::ir::{
    ChainType, Dialect, Hook, NatAddress, NatDirection, Rule, RuleRef, Ruleset, Statement, Test,
};
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

/// The most places shown for one finding.
const MOST_SHOWN: usize = 6;

/// Beginnings of names of interfaces that don't lead to the internet.
const INSIDE: [&str; 18] = [
    "lo",
    "docker",
    "br-",
    "virbr",
    "veth",
    "cni",
    "cali",
    "flannel",
    "kube",
    "tun",
    "tap",
    "wg",
    "lan",
    "int",
    "vmbr",
    "lxc",
    "podman",
    "tailscale",
];

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

/// Where packets of the internet may come in.
struct Outside {
    /// By these interfaces; `None` where all but some are taken for it.
    only: Option<Vec<u128>>,
    /// How that is known.
    assumption: Option<String>,
    /// Nothing was guessed.
    certain: bool,
}

/// Looks at what is open on a host.
pub fn examine(context: &mut Context<'_, '_>, tally: &mut Tally) -> Open {
    let host = context.host;
    let outside = Outside::of(host);
    let open = ask_all(context, &outside, tally);
    let mut reporter = Reporter { context, outside: &outside, open: &open };
    reporter.general();
    reporter.sensitive(&checks::OPEN_MANAGEMENT, &MANAGEMENT, Severity::Warning);
    reporter.sensitive(&checks::OPEN_DATABASE, &DATABASES, Severity::Error);
    reporter.families();
    reporter.past_input();
    reporter.spoofed(tally);
    open
}

impl Outside {
    fn of(host: &Host) -> Outside {
        let uplinks: Vec<u128> =
            host.interfaces.iter().filter(|own| own.uplink).map(|own| own.name.0).collect();
        if !uplinks.is_empty() {
            return Outside { only: Some(uplinks), assumption: None, certain: true };
        }
        let masquerading = masqueraded(&host.ruleset);
        if !masquerading.is_empty() {
            let names: Vec<String> =
                masquerading.iter().map(|&name| format!("`{}`", InterfaceName(name))).collect();
            let assumption =
                format!("{} leads to the internet, since addresses are masqueraded there", names.join(", "));
            return Outside { only: Some(masquerading), assumption: Some(assumption), certain: true };
        }
        Outside { only: None, assumption: None, certain: false }
    }

    /// Whether packets that come in by these interfaces may come from the internet.
    fn may_be(&self, interfaces: &Dim) -> bool {
        if let Some(only) = &self.only {
            return only.iter().any(|&name| interfaces.contains(name));
        }
        match interfaces {
            Dim::Range(low, high) if low == high => !inside(&InterfaceName(*low).to_string()),
            // Everything between the names that rules tell apart, or all names with a beginning.
            Dim::Range(low, high) => !INSIDE.iter().any(|prefix| {
                InterfaceName::prefix(prefix).is_ok_and(|(from, to)| from <= *low && *high <= to)
            }),
            Dim::Bits(_) => true,
        }
    }
}

fn inside(name: &str) -> bool {
    INSIDE.iter().any(|prefix| name.starts_with(prefix))
}

/// The interfaces by which source addresses are translated as packets leave, where rules name them.
fn masqueraded(ruleset: &Ruleset) -> Vec<u128> {
    let mut names = BTreeSet::new();
    for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
        let source = rule.statements.iter().any(|statement| match statement {
            Statement::Nat(nat) => {
                nat.direction == NatDirection::Source
                    && matches!(nat.address, NatAddress::OfOutputInterface | NatAddress::To(_))
            }
            _ => false,
        });
        if !source {
            continue;
        }
        for statement in &rule.statements {
            if let Statement::Test(Test::Range { field: Field::OIFNAME, set }) = statement {
                names.extend(set.ranges().iter().filter(|(low, high)| low == high).map(|(low, _)| *low));
            }
        }
    }
    names.into_iter().filter(|&name| !inside(&InterfaceName(name).to_string())).collect()
}

/// Addresses that are routed on the internet, documentation included: it is what examples are written with.
fn public(nfproto: u128) -> IntervalSet {
    if nfproto == 10 {
        return IntervalSet::range(0x2 << 124, (0x4 << 124) - 1);
    }
    senders(2).subtract(&private())
}

/// All public addresses in as few intervals as can be, with some private ones between them.
fn whole(nfproto: u128) -> IntervalSet {
    if nfproto == 10 {
        return public(10);
    }
    IntervalSet::from_ranges([(0x0100_0000, 0x7EFF_FFFF), (0x8000_0000, 0xDFFF_FFFF)])
}

fn private() -> IntervalSet {
    IntervalSet::from_ranges([
        (0x0A00_0000, 0x0AFF_FFFF),
        (0x6440_0000, 0x647F_FFFF),
        (0x7F00_0000, 0x7FFF_FFFF),
        (0xA9FE_0000, 0xA9FE_FFFF),
        (0xAC10_0000, 0xAC1F_FFFF),
        (0xC0A8_0000, 0xC0A8_FFFF),
    ])
}

/// How many values a set has, about.
fn size(set: &IntervalSet) -> f64 {
    set.ranges().iter().map(|&(low, high)| (high - low) as f64 + 1.0).sum()
}

/// Families of which a listing was given. A file in nft's words holds whatever the kernel has for both.
fn unlisted(ruleset: &Ruleset) -> BTreeSet<u128> {
    let saved = |nfproto: u128| ruleset.tables.iter().any(|table| super::space::sees(table.family, nfproto));
    let all_saved = ruleset.tables.iter().all(|table| table.dialect == Dialect::Iptables);
    [2, 10].into_iter().filter(|&nfproto| all_saved && !saved(nfproto)).collect()
}

/// The ports that rules name one by one, NAT's first.
fn named_ports(ruleset: &Ruleset) -> Vec<(Kind, u128)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let translates =
        |rule: &Rule| rule.statements.iter().any(|statement| matches!(statement, Statement::Nat(_)));
    for nat in [true, false] {
        for rule in ruleset.chains.iter().flat_map(|chain| &chain.rules) {
            if translates(rule) != nat || !nat && effect_of(rule) != Effect::Accepts {
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
    let engine = Engine::new(&host.ruleset);
    let options = ExposedOptions { regions: 2_000, steps: 20_000_000 };
    let mut open = Open { unlisted: unlisted(&host.ruleset), ..Open::default() };
    let mut ports: Vec<(Kind, u128)> = UNUSUAL.iter().map(|&port| (Kind::Tcp, port)).collect();
    ports.extend(MANAGEMENT.iter().chain(&DATABASES));
    ports.extend(named_ports(&host.ruleset));
    ports.sort_unstable();
    ports.dedup();
    for way in [Way::Input, Way::Forward] {
        for nfproto in [2, 10] {
            let hook = if way == Way::Input { Hook::Input } else { Hook::Forward };
            let filtered = !host.ruleset.base_chains(hook, nfproto).is_empty();
            if open.unlisted.contains(&nfproto) || way == Way::Forward && !(host.forwards && filtered) {
                continue;
            }
            for kind in [Kind::Tcp, Kind::Udp] {
                let asker = Asker {
                    host,
                    engine: &engine,
                    atoms: context.subject.atoms,
                    options: &options,
                    way,
                    kind,
                    nfproto,
                };
                let question = from_outside(&asker.question(), outside, &whole(nfproto));
                for &(_, port) in ports.iter().filter(|(of, _)| *of == kind) {
                    let here =
                        question.iter().map(|part| part.clone().with_value(Field::DPORT, port)).collect();
                    let mut found = ask::Found { exposures: Vec::new(), complete: true, open_forward: false };
                    asker.explore(here, &mut found);
                    tally.open_incomplete |= !found.complete;
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

/// The parts of a question that come from the internet.
fn from_outside(question: &[PacketBox], outside: &Outside, sources: &IntervalSet) -> Vec<PacketBox> {
    let mut parts = Vec::new();
    for part in question {
        if part.get(Field::IIFNAME).is_some_and(|interfaces| !outside.may_be(interfaces)) {
            continue;
        }
        for &(low, high) in sources.ranges() {
            let mut part = part.clone();
            if part.restrict(Field::SADDR, Dim::Range(low, high)) {
                parts.push(part);
            }
        }
    }
    parts
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
    let enough = size(&world) / 16.0;
    let wide: BTreeSet<Option<RuleRef>> = sources
        .into_iter()
        .filter(|(_, ranges)| {
            size(&IntervalSet::from_ranges(ranges.iter().copied()).intersect(&world)) >= enough
        })
        .map(|(rule, _)| rule)
        .collect();
    exposures.iter().filter(|exposure| wide.contains(&exposure.rule)).cloned().collect()
}

/// A packet as people know them, near an exposure.
fn readable(exposure: &Exposure) -> Point {
    let mut packet = Point::default();
    if exposure.nfproto == 10 {
        packet.set(Field::NFPROTO, 10);
        packet.set(Field::SADDR, 0x2001_0db8 << 96 | 7);
        packet.set(Field::DADDR, 0x2001_0db8 << 96 | 1);
    }
    let named = |field: Field, names: &[&str]| {
        let fits = |name: &&&str| exposure.region.get(field).is_none_or(|dim| dim.contains(interface(name)));
        names.iter().find(fits).or(names.first()).map_or(0, |name| interface(name))
    };
    packet.set(Field::IIFNAME, named(Field::IIFNAME, &["eth0", "wan", "ens3", "bond0", "ppp0", "a"]));
    if exposure.way == Way::Forward && exposure.translated.is_none() {
        packet.set(Field::OIFNAME, named(Field::OIFNAME, &["eth1", "lan", "ens4", "bond1", "b"]));
    }
    packet
}

/// How many fields of the readable packet an exposure holds: the more, the better an example it is.
fn readability(exposure: &Exposure) -> usize {
    let packet = readable(exposure);
    exposure.region.dims().iter().filter(|(field, dim)| dim.contains(packet.get(*field))).count()
        + Field::FIXED
        - exposure.region.dims().len()
}

/// Keeps the better of two examples.
fn keep_better(kept: &mut Exposure, other: &Exposure) {
    if readability(other) > readability(kept) {
        *kept = other.clone();
    }
}

struct Reporter<'c, 'a, 'f> {
    context: &'c mut Context<'a, 'f>,
    outside: &'c Outside,
    open: &'c Open,
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
    fn witness(&self, exposure: &Exposure) -> Option<Witness> {
        let packet = Point::in_box(&exposure.region, &readable(exposure));
        let Context { host, subject, .. } = &*self.context;
        let traced = crate::trace(host, &packet, subject.atoms, subject.sources).ok()?;
        traced.accepted.then(|| Witness {
            packet: traced.packet,
            fields: Vec::new(),
            outcome: traced.outcome,
            given: traced.given,
            path: traced.steps,
        })
    }

    fn finish(&mut self, check: &'static Check, diagnostic: Diagnostic, example: &Exposure, subject: String) {
        let witness = self.witness(example);
        let place = match example.rule {
            Some(rule) => words::chain_text(self.ruleset(), rule.chain),
            None => String::new(),
        };
        let mut found = Found::new(check, diagnostic).of(place, subject);
        found.finding.witnesses.extend(witness);
        found.finding.assumptions.extend(self.outside.assumption.clone());
        found.finding.manager = example.rule.and_then(|rule| manager_of(self.ruleset(), rule));
        self.context.found.push(found);
    }

    /// Everything is let in: by a policy, by a rule, or because nothing filters.
    fn general(&mut self) {
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
    fn sensitive(&mut self, check: &'static Check, ports: &[(Kind, u128)], severity: Severity) {
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
    fn families(&mut self) {
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
    fn past_input(&mut self) {
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
    fn spoofed(&mut self, tally: &mut Tally) {
        if !self.outside.certain {
            return;
        }
        let host = self.context.host;
        let engine = Engine::new(&host.ruleset);
        let options = ExposedOptions { regions: 2_000, steps: 20_000_000 };
        let asker = Asker {
            host,
            engine: &engine,
            atoms: self.context.subject.atoms,
            options: &options,
            way: Way::Input,
            kind: Kind::Tcp,
            nfproto: 2,
        };
        let question = from_outside(&asker.question(), self.outside, &private());
        let mut found = ask::Found { exposures: Vec::new(), complete: true, open_forward: false };
        asker.explore(question, &mut found);
        tally.open_incomplete |= !found.complete;
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
