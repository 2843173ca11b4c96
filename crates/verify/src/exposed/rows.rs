//! From boxes of packets to lines that people read: ports on the left, who may reach them on the right.

use super::ask::Exposure;
use super::words::{Words, address_words, end, interface_words, range};
use super::{Kind, Row, Way, Who};
use firewarden_diagnostic::SourceMap;
use firewarden_diagnostic::render::text::one_line;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Dim, Field, IntervalSet, PacketBox, text};
use firewarden_ruleset::ir::{Chain, RuleRef, Ruleset};
use std::collections::{BTreeMap, BTreeSet};

/// The sides of a part that are merged, in this order.
const SIDES: [Field; 5] = [Field::SADDR, Field::DADDR, Field::SPORT, Field::OIFNAME, Field::IIFNAME];

/// Everything about a part but its sides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    rule: Option<RuleRef>,
    translated: String,
    conditions: Vec<String>,
}

/// A part with the values of each side.
type Sides = [Vec<(u128, u128)>; SIDES.len()];

/// Puts the parts together. O(parts × different ports).
pub fn rows(host: &Host, exposures: &[Exposure], atoms: &AtomTable, sources: &SourceMap) -> Vec<Row> {
    let context = Context { host, atoms, sources };
    let mut rows = Vec::new();
    for way in [Way::Input, Way::Forward] {
        for kind in Kind::ALL {
            let parts: Vec<&Exposure> =
                exposures.iter().filter(|part| part.way == way && part.kind == kind).collect();
            context.rows(way, kind, &parts, &mut rows);
        }
    }
    rows
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
        Kind::Other => (Field::L4PROTO, 255),
        // Both ICMPs make one row: the code is the same for all pings that are sent.
        Kind::Echo => (Field::ICMP_CODE, 255),
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
        let mut groups: BTreeMap<Rest, Vec<Sides>> = BTreeMap::new();
        for part in parts.iter().filter(|part| part.nfproto == nfproto) {
            let rest = Rest {
                rule: part.rule,
                translated: part.translated.map(|(to, port)| end(to, port, nfproto)).unwrap_or_default(),
                conditions: self.conditions(&part.region),
            };
            let sides = SIDES.map(|field| vec![interval(&part.region, field, highest(field, nfproto))]);
            groups.entry(rest).or_default().push(sides);
        }
        let mut found = Vec::new();
        for (rest, mut sides) in groups {
            merge(&mut sides);
            found.extend(sides.into_iter().map(|sides| self.words(&rest, sides, nfproto)));
        }
        found.sort_by(|a, b| (&a.file, a.line, a).cmp(&(&b.file, b.line, b)));
        found
    }

    fn words(&self, rest: &Rest, sides: Sides, nfproto: u128) -> Who {
        let [sources, destinations, ports, output, input] = sides.map(IntervalSet::from_ranges);
        let (rule, file, line) = self.rule(rest.rule);
        let mut conditions = rest.conditions.clone();
        if !ports.covers(1024, 65_535) {
            let words: Vec<String> = ports.ranges().iter().map(|&(low, high)| range(low, high)).collect();
            conditions.push(format!("the source port is {}", words.join(" or ")));
        }
        let own = self.host.own(nfproto);
        let all_own = self.host.addresses_known && own.subtract(&destinations).is_empty();
        Who {
            sources: address_words(&sources, nfproto),
            interfaces: interface_words(&input),
            leaves_by: interface_words(&output),
            destinations: if all_own {
                Words { except: true, list: Vec::new() }
            } else {
                address_words(&destinations, nfproto)
            },
            translated: rest.translated.clone(),
            conditions,
            rule,
            file,
            line,
        }
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
                    (_, &Dim::Range(low, high)) if low == high => {
                        words.push(format!("{text} is {}", text::value(info, low)));
                    }
                    (_, &Dim::Range(low, high)) => {
                        let (low, high) = (text::value(info, low), text::value(info, high));
                        words.push(format!("{text} is from {low} to {high}"));
                    }
                    _ => words.push(format!("{text} has some bits")),
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
                Field::ICMP_CODE,
                Field::SPORT,
                Field::FRAGMENT_OFFSET,
                Field::OIFNAME,
            ];
            if named.contains(field) || *dim == whole {
                continue;
            }
            words.push(match (*field, dim) {
                (_, Dim::Range(low, high)) => format!("{} {}", field.name(), range(*low, *high)),
                (_, Dim::Bits(cube)) => format!("{} & {:#x} == {:#x}", field.name(), cube.mask, cube.value),
            });
        }
        words
    }

    fn rule(&self, rule: Option<RuleRef>) -> (String, String, u32) {
        let ruleset = &self.host.ruleset;
        let Some(at) = rule else { return ("no chain filters them".to_owned(), String::new(), 0) };
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

/// Family, table and chain as nft writes them.
fn chain_name(chain: &Chain, ruleset: &Ruleset) -> String {
    let Some(table) = ruleset.table(chain.table) else { return chain.name.to_string() };
    format!("{} {} {}", table.family.word(), table.name, chain.name)
}

/// The largest value of a side.
fn highest(field: Field, nfproto: u128) -> u128 {
    match field {
        Field::SADDR | Field::DADDR if nfproto == 2 => u128::from(u32::MAX),
        Field::SPORT => 65_535,
        _ => u128::MAX,
    }
}

/// Unites parts that differ on one side only, until there are none. O(parts · log parts) a round, and a round makes
/// parts fewer.
fn merge(parts: &mut Vec<Sides>) {
    loop {
        let before = parts.len();
        for side in 0..SIDES.len() {
            let mut by_others: BTreeMap<Sides, Vec<(u128, u128)>> = BTreeMap::new();
            for mut sides in parts.drain(..) {
                let Some(own) = sides.get_mut(side).map(std::mem::take) else { continue };
                by_others.entry(sides).or_default().extend(own);
            }
            for (mut sides, own) in by_others {
                if let Some(place) = sides.get_mut(side) {
                    *place = IntervalSet::from_ranges(own).ranges().to_vec();
                }
                parts.push(sides);
            }
        }
        if parts.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_differ_on_one_side_are_united() {
        let all = vec![(0, 9)];
        let part = |input: (u128, u128), source: (u128, u128)| -> Sides {
            [vec![source], all.clone(), all.clone(), all.clone(), vec![input]]
        };
        let mut parts = vec![part((0, 4), (0, 1)), part((5, 9), (0, 1)), part((0, 9), (2, 3))];
        merge(&mut parts);
        assert_eq!(parts, [part((0, 9), (0, 3))]);
    }
}
