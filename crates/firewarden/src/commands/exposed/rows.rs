//! From boxes of packets to lines that people read: ports on the left, who may reach them on the right.

use super::ask::{Exposure, Found, Kind, Way};
use crate::commands::trace::chain_name;
use firewarden_diagnostic::SourceMap;
use firewarden_diagnostic::render::text::one_line;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Dim, Field, InterfaceName, IntervalSet, PacketBox};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most prefixes that are listed for one line.
const MOST_PREFIXES: usize = 8;

/// One host's answer.
pub struct HostRows {
    pub name: String,
    pub complete: bool,
    pub open_forward: bool,
    pub rows: Vec<Row>,
}

/// Ports that the same packets reach.
pub struct Row {
    pub way: Way,
    pub kind: Kind,
    /// Ports, or protocol numbers of [`Kind::Other`].
    pub ports: Vec<(u128, u128)>,
    pub ipv4: Vec<Who>,
    pub ipv6: Vec<Who>,
}

/// Who gets through, by one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// `anyone`, prefixes, or `anyone but …`.
    pub sources: String,
    /// The interfaces; empty for any.
    pub interfaces: String,
    /// The destination addresses; empty for any.
    pub destinations: String,
    /// Where they are translated to; empty where they aren't.
    pub translated: String,
    /// What else decides, such as `limit rate 5/second matches`.
    pub conditions: Vec<String>,
    /// The rule that lets them through.
    pub rule: String,
    pub file: String,
    pub line: u32,
}

/// Everything about a part but its sources.
type Key = (Option<firewarden_ruleset::ir::RuleRef>, String, String, String, Vec<String>);

impl HostRows {
    /// Puts the parts together. O(parts × different ports).
    pub fn of(host: &Host, found: Found, atoms: &AtomTable, sources: &SourceMap) -> HostRows {
        let context = Context { host, atoms, sources };
        let mut rows = Vec::new();
        for way in [Way::Input, Way::Forward] {
            for kind in Kind::ALL {
                let parts: Vec<&Exposure> =
                    found.exposures.iter().filter(|part| part.way == way && part.kind == kind).collect();
                context.rows(way, kind, &parts, &mut rows);
            }
        }
        HostRows { name: host.name.clone(), complete: found.complete, open_forward: found.open_forward, rows }
    }
}

struct Context<'a> {
    host: &'a Host,
    atoms: &'a AtomTable,
    sources: &'a SourceMap,
}

/// The field that a row's left side is about, with its highest value.
fn axis(kind: Kind) -> (Field, u128) {
    match kind {
        Kind::Tcp | Kind::Udp => (Field::DPORT, 65_535),
        Kind::Echo | Kind::Other => (Field::L4PROTO, 255),
    }
}

fn interval(region: &PacketBox, field: Field, max: u128) -> (u128, u128) {
    match region.get(field) {
        Some(Dim::Range(low, high)) => (*low.min(&max), *high.min(&max)),
        _ => (0, max),
    }
}

impl Context<'_> {
    fn rows(&self, way: Way, kind: Kind, parts: &[&Exposure], rows: &mut Vec<Row>) {
        let (field, max) = axis(kind);
        let mut cuts = BTreeSet::new();
        for part in parts {
            let (low, high) = interval(&part.region, field, max);
            cuts.insert(low);
            cuts.insert(high + 1);
        }
        let cuts: Vec<u128> = cuts.into_iter().collect();
        let first = rows.len();
        for pair in cuts.windows(2) {
            let &[low, next] = pair else { continue };
            let here: Vec<&&Exposure> = parts
                .iter()
                .filter(|part| {
                    let (from, to) = interval(&part.region, field, max);
                    from <= low && low <= to
                })
                .collect();
            if here.is_empty() {
                continue;
            }
            let (ipv4, ipv6) = (self.who(&here, 2), self.who(&here, 10));
            let own = rows.iter_mut().skip(first).find(|row| row.ipv4 == ipv4 && row.ipv6 == ipv6);
            match own {
                Some(row) => match row.ports.last_mut() {
                    Some(last) if last.1 + 1 == low => last.1 = next - 1,
                    _ => row.ports.push((low, next - 1)),
                },
                None => rows.push(Row { way, kind, ports: vec![(low, next - 1)], ipv4, ipv6 }),
            }
        }
    }

    fn who(&self, parts: &[&&Exposure], nfproto: u128) -> Vec<Who> {
        let max = if nfproto == 2 { u128::from(u32::MAX) } else { u128::MAX };
        // Interfaces first: the same packets by several interfaces are one line.
        let mut by_rest: BTreeMap<(Key, (u128, u128)), Vec<(u128, u128)>> = BTreeMap::new();
        for part in parts.iter().filter(|part| part.nfproto == nfproto) {
            let region = &part.region;
            let key: Key = (
                part.rule,
                String::new(),
                self.destinations(region, nfproto, max),
                part.translated.map(|(address, port)| end(address, port, nfproto)).unwrap_or_default(),
                self.conditions(region),
            );
            let entry = by_rest.entry((key, interval(region, Field::SADDR, max))).or_default();
            entry.push(interval(region, Field::IIFNAME, u128::MAX));
        }
        let mut by_key: BTreeMap<Key, Vec<(u128, u128)>> = BTreeMap::new();
        for ((mut key, sources), interfaces) in by_rest {
            key.1 = interface_words(&interfaces.into_iter().collect());
            by_key.entry(key).or_default().push(sources);
        }
        let mut found: Vec<Who> = by_key
            .into_iter()
            .map(|((rule, interfaces, destinations, translated, conditions), sources)| {
                let (text, file, line) = self.rule(rule);
                let sources = source_words(&sources.into_iter().collect(), nfproto, max);
                Who { sources, interfaces, destinations, translated, conditions, rule: text, file, line }
            })
            .collect();
        found.sort_by(|a, b| (&a.file, a.line, a).cmp(&(&b.file, b.line, b)));
        found
    }

    fn destinations(&self, region: &PacketBox, nfproto: u128, max: u128) -> String {
        let (low, high) = interval(region, Field::DADDR, max);
        if (low, high) == (0, max) {
            return String::new();
        }
        let own = self.host.own(nfproto);
        if self.host.addresses_known && own.ranges() == [(low, high)] {
            return String::new();
        }
        source_words(&IntervalSet::range(low, high), nfproto, max)
    }

    /// What else the packets need.
    fn conditions(&self, region: &PacketBox) -> Vec<String> {
        let mut words = Vec::new();
        for (field, dim) in region.dims() {
            if let Some(info) = self.atoms.get(*field) {
                let text = one_line(&info.text).into_owned();
                match (info.domain, dim) {
                    ((0, 1), Dim::Range(1, _)) => words.push(format!("{text} matches")),
                    ((0, 1), Dim::Range(..)) => words.push(format!("{text} doesn't match")),
                    _ => words.push(format!("{text} is in a part of its values")),
                }
                continue;
            }
            let whole = PacketBox::full(*field, self.atoms);
            let named = [
                Field::NFPROTO,
                Field::L4PROTO,
                Field::SADDR,
                Field::DADDR,
                Field::DPORT,
                Field::IIFNAME,
                Field::CT_STATE,
                Field::CT_DIRECTION,
                Field::TCP_FLAGS,
                Field::ICMP_TYPE,
            ];
            if named.contains(field) || *dim == whole {
                continue;
            }
            words.push(match (*field, dim) {
                (Field::SPORT, Dim::Range(low, high)) => format!("source port {}", range(*low, *high)),
                (Field::OIFNAME, Dim::Range(low, high)) => {
                    format!("out {}", interface_words(&IntervalSet::range(*low, *high)))
                }
                (_, Dim::Range(low, high)) => format!("{} {}", field.name(), range(*low, *high)),
                (_, Dim::Bits(cube)) => format!("{} & {:#x} == {:#x}", field.name(), cube.mask, cube.value),
            });
        }
        words
    }

    fn rule(&self, rule: Option<firewarden_ruleset::ir::RuleRef>) -> (String, String, u32) {
        let ruleset = &self.host.ruleset;
        let Some(at) = rule else { return ("no chain".to_owned(), String::new(), 0) };
        let Some(chain) = ruleset.chain(at.chain) else { return Default::default() };
        let (span, text) = match ruleset.rule(at) {
            Some(rule) => (rule.span, one_line(self.sources.slice(rule.span)).into_owned()),
            None => {
                let policy = chain.base.as_ref().map(|base| base.policy_span).unwrap_or(chain.span);
                (policy, format!("the policy of {}", one_line(&chain_name(chain, ruleset))))
            }
        };
        match self.sources.get(span.file) {
            Some(file) => (text, file.name.clone(), file.line_column(span.start).line),
            None => (text, String::new(), 0),
        }
    }
}

fn range(low: u128, high: u128) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn ip(value: u128, nfproto: u128) -> String {
    match u32::try_from(value) {
        Ok(short) if nfproto == 2 => Ipv4Addr::from(short).to_string(),
        _ => Ipv6Addr::from(value).to_string(),
    }
}

fn end(address: u128, port: u128, nfproto: u128) -> String {
    match nfproto {
        2 => format!("{}:{port}", ip(address, nfproto)),
        _ => format!("[{}]:{port}", ip(address, nfproto)),
    }
}

/// Addresses as prefixes, or as those that are missing, whichever is shorter.
fn source_words(set: &IntervalSet, nfproto: u128, max: u128) -> String {
    let rest = set.complement(max);
    if rest.is_empty() {
        return "anyone".to_owned();
    }
    let (own, other) = (prefixes(set, nfproto), prefixes(&rest, nfproto));
    if other.len() < own.len() { format!("anyone but {}", listed(&other)) } else { listed(&own) }
}

fn listed(words: &[String]) -> String {
    let shown = words.iter().take(MOST_PREFIXES).cloned().collect::<Vec<String>>().join(", ");
    match words.len().checked_sub(MOST_PREFIXES) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// The prefixes whose union a set is; an interval that takes more than two is written as such.
fn prefixes(set: &IntervalSet, nfproto: u128) -> Vec<String> {
    let width: u32 = if nfproto == 2 { 32 } else { 128 };
    let mut words = Vec::new();
    for &(low, high) in set.ranges() {
        let cubes = firewarden_packet::Cube::of_range(low, high, width);
        if cubes.len() > 2 {
            words.push(format!("{}-{}", ip(low, nfproto), ip(high, nfproto)));
            continue;
        }
        for cube in cubes {
            let length = cube.mask.count_ones();
            let address = ip(cube.value, nfproto);
            words.push(if length == width { address } else { format!("{address}/{length}") });
        }
    }
    words
}

/// Interfaces by name. Intervals between names are what is left when rules name others.
fn interface_words(set: &IntervalSet) -> String {
    let loopback = InterfaceName::new("lo").unwrap_or(InterfaceName::NONE).0;
    let whole = IntervalSet::from_ranges([(1, loopback - 1), (loopback + 1, u128::MAX)]);
    if whole.subtract(set).is_empty() {
        return String::new();
    }
    let word = |low: u128, high: u128| -> Option<String> {
        let name = InterfaceName(low).to_string();
        if low == high {
            return Some(name);
        }
        (InterfaceName::prefix(&name) == Ok((low, high))).then(|| format!("{name}*"))
    };
    let named: Option<Vec<String>> = set.ranges().iter().map(|&(low, high)| word(low, high)).collect();
    if let Some(named) = named {
        return listed(&named);
    }
    let rest = whole.subtract(set);
    let missing: Option<Vec<String>> = rest.ranges().iter().map(|&(low, high)| word(low, high)).collect();
    match missing {
        Some(missing) => format!("any but {}", listed(&missing)),
        None => "some interfaces".to_owned(),
    }
}
