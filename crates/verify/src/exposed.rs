//! Exposure: who may open which service of a host, from its ruleset alone.

use crate::address::{Family, format_set};
use crate::check::{finding_rule_span, loopback};
use crate::intent::receivable;
use firewarden_diagnostic::Span;
use firewarden_engine::{Detail, Engine, Fate, Flow, OutOfBudget, Peeler, StepKind};
use firewarden_network::Host;
use firewarden_packet::{
    AtomTable, Cube, Dim, Field, InterfaceName, IntervalSet, PacketBox, Point, Purity, ct_state, fib_type,
    tcp_flag,
};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::ir::{Hook, RuleRef};
use std::collections::{BTreeMap, BTreeSet};

/// What limits the search.
#[derive(Clone, Copy, Debug)]
pub struct ExposureOptions {
    /// Rules looked at, at most.
    pub steps: u64,
    /// Sets of packets decided, at most.
    pub regions: u64,
}

impl Default for ExposureOptions {
    fn default() -> ExposureOptions {
        ExposureOptions { steps: 100_000_000, regions: 200_000 }
    }
}

/// Everything that can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// By protocol, then port; services of the host before published ones.
    pub services: Vec<ExposedService>,
    /// False where the budget ended: there may be more.
    pub complete: bool,
}

/// A service, and who may open connections to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposedService {
    /// `tcp/443`, `udp/60000-61000`, `icmp/echo-request`, `protocol/50`.
    pub service: String,
    /// Where it is translated to; `None` for services of the host itself.
    pub published_to: Option<String>,
    /// By IPv4.
    pub v4: Vec<Access>,
    /// By IPv6.
    pub v6: Vec<Access>,
}

/// Sources that reach a service under the same conditions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// The sources in words: `anywhere`, `10.0.0.0/8`.
    pub sources: String,
    /// What must hold beside: `in eth0`, `to 10.0.0.1`, `limit rate 5/second matches`. Empty where nothing must.
    pub conditions: Vec<String>,
    /// The rules (or policies) that let the packets in.
    pub rules: Vec<Span>,
}

/// A part of the packet space that shares how services are told apart.
struct Class {
    name: &'static str,
    axis: Field,
    base: PacketBox,
}

/// One accepted set of packets.
struct Reached {
    axis: (u128, u128),
    sources: (u128, u128),
    conditions: Vec<String>,
    published_to: Option<String>,
    rule: Span,
}

/// Lists what can be reached on a host by new packets from elsewhere: its own services through input, and those that its
/// rules translate and pass on. Packets come in by any interface but `lo`.
///
/// The sets of packets are peeled one after the other: the time grows with how finely the rules cut sources and ports.
pub fn exposed(host: &Host, atoms: &mut AtomTable, options: &ExposureOptions) -> Exposure {
    let mut interface =
        |text: &str| atoms.choice(&host.name, "interface", text, Purity::Pure, (1, u128::MAX));
    let (input, output) = (interface("iifname"), interface("oifname"));
    let mut search = Search {
        host,
        engine: Engine::new(&host.ruleset),
        atoms,
        input,
        output,
        steps: options.steps,
        regions: options.regions,
    };
    let mut rows: BTreeMap<(usize, Option<String>), [Vec<Reached>; 2]> = BTreeMap::new();
    let mut complete = true;
    for (of_family, family) in Family::BOTH.into_iter().enumerate() {
        for (number, class) in classes(family).iter().enumerate() {
            let mut found = Vec::new();
            complete &= search.class(family, class, &mut found).is_ok();
            for reached in found {
                let row = rows.entry((number, reached.published_to.clone())).or_default();
                if let Some(list) = row.get_mut(of_family) {
                    list.push(reached);
                }
            }
        }
    }
    let names = classes(Family::V4);
    let mut services = Vec::new();
    for ((number, published_to), reached) in &rows {
        let Some(class) = names.get(*number) else { continue };
        services.extend(rows_of(class, published_to.as_deref(), reached));
    }
    services.sort_by_key(|service| service.published_to.is_some());
    Exposure { services, complete }
}

fn classes(family: Family) -> Vec<Class> {
    let base = |protocols: (u128, u128)| {
        PacketBox::all()
            .with_value(Field::NFPROTO, family.nfproto())
            .with(Field::L4PROTO, Dim::Range(protocols.0, protocols.1))
            .with_value(Field::CT_STATE, ct_state::NEW)
            .with_value(Field::FRAGMENT_OFFSET, 0)
    };
    let syn = Cube::new(tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST | tcp_flag::FIN, tcp_flag::SYN);
    let ports = Dim::Range(1024, 65535);
    let (icmp, echo) = if family == Family::V4 { (1, 8) } else { (58, 128) };
    let other = |low, high| Class { name: "protocol", axis: Field::L4PROTO, base: base((low, high)) };
    vec![
        Class {
            name: "tcp",
            axis: Field::DPORT,
            base: base((6, 6)).with(Field::TCP_FLAGS, Dim::Bits(syn)).with(Field::SPORT, ports),
        },
        Class { name: "udp", axis: Field::DPORT, base: base((17, 17)).with(Field::SPORT, ports) },
        Class {
            name: "icmp",
            axis: Field::ICMP_TYPE,
            base: base((icmp, icmp)).with_value(Field::ICMP_TYPE, echo),
        },
        other(2, 5),
        other(7, 16),
        other(18, 57),
        other(59, 255),
    ]
}

struct Search<'s> {
    host: &'s Host,
    engine: Engine<'s>,
    atoms: &'s AtomTable,
    input: Field,
    output: Field,
    steps: u64,
    regions: u64,
}

/// What became of a packet.
struct Decided {
    region: PacketBox,
    /// Where it was passed on to, for translated packets.
    published_to: Option<String>,
    /// The rule or policy that let it in; `None` where it was refused.
    rule: Option<RuleRef>,
}

impl Search<'_> {
    fn class(&mut self, family: Family, class: &Class, found: &mut Vec<Reached>) -> Result<(), OutOfBudget> {
        let InterfaceName(lo) = loopback();
        let mut question = Vec::new();
        for &(low, high) in receivable(family).ranges() {
            for side in [Dim::Range(1, lo.saturating_sub(1)), Dim::Range(lo.saturating_add(1), u128::MAX)] {
                let base =
                    class.base.clone().with(Field::SADDR, Dim::Range(low, high)).with(self.input, side);
                match self.destinations(family).as_slice() {
                    [] => question.push(base.with(Field::DADDR, Dim::Range(0, family.max()))),
                    own => question.extend(
                        own.iter().map(|&(low, high)| base.clone().with(Field::DADDR, Dim::Range(low, high))),
                    ),
                }
            }
        }
        let mut peeler = Peeler::new(question);
        while let Some(piece) = peeler.piece() {
            let piece = piece.clone();
            self.regions = self.regions.checked_sub(1).ok_or(OutOfBudget)?;
            let decided = self.decide(&piece)?;
            if let Some(rule) = decided.rule {
                let range = |field: Field| match decided.region.dim(field, self.atoms) {
                    Dim::Range(low, high) => (low, high),
                    Dim::Bits(_) => (0, u128::MAX),
                };
                found.push(Reached {
                    axis: range(class.axis),
                    sources: range(Field::SADDR),
                    conditions: self.conditions(family, &decided.region),
                    published_to: decided.published_to,
                    rule: finding_rule_span(&self.host.ruleset, rule),
                });
            }
            peeler.cut(&decided.region, self.atoms);
        }
        Ok(())
    }

    /// The host's own addresses of a family, without loopback; empty where none is known.
    fn destinations(&self, family: Family) -> Vec<(u128, u128)> {
        self.host.own(family.nfproto()).ranges().to_vec()
    }

    fn decide(&mut self, piece: &PacketBox) -> Result<Decided, OutOfBudget> {
        let point = Point::in_box(piece, &Point::default());
        let mut flow = Flow::new(piece.clone(), point, self.atoms);
        flow.put_choice(Field::IIFNAME, self.input);
        for (field, value) in [
            (Field::OIFNAME, 0),
            (Field::PKTTYPE, 0),
            (Field::MARK, 0),
            (Field::CT_MARK, 0),
            (Field::CT_STATUS, 0),
            (Field::CT_DIRECTION, 0),
            (Field::FIB_SADDR_TYPE, fib_type::UNICAST),
            (Field::FIB_DADDR_TYPE, fib_type::LOCAL),
            (Field::FIB_REVERSE_PATH, 1),
        ] {
            flow.put_value(field, value);
        }
        let mut translated = false;
        for hook in [Hook::Ingress, Hook::Prerouting] {
            let decision =
                self.engine.run_hook(hook, &mut flow, self.host, Detail::Rules, &mut self.steps)?;
            if decision.fate != Fate::Accepted {
                return Ok(refused(&flow));
            }
            translated |= decision.steps.iter().any(|step| step.kind == StepKind::Translated);
        }
        let nfproto = flow.now().get(Field::NFPROTO);
        let still_here = self
            .host
            .address_type(nfproto, flow.now().get(Field::DADDR))
            .is_some_and(|(kind, _)| kind == fib_type::LOCAL);
        if !translated || flow.redirected() || still_here {
            let decision =
                self.engine.run_hook(Hook::Input, &mut flow, self.host, Detail::Rules, &mut self.steps)?;
            if decision.fate != Fate::Accepted {
                return Ok(refused(&flow));
            }
            let rule = self.letting_in(&decision.steps);
            return Ok(Decided { region: flow.region().clone(), published_to: None, rule });
        }
        flow.put_value(Field::FIB_DADDR_TYPE, fib_type::UNICAST);
        flow.put_choice(Field::OIFNAME, self.output);
        let mut rule = None;
        for hook in [Hook::Forward, Hook::Postrouting, Hook::Egress] {
            let decision =
                self.engine.run_hook(hook, &mut flow, self.host, Detail::Rules, &mut self.steps)?;
            if decision.fate != Fate::Accepted {
                return Ok(refused(&flow));
            }
            if hook == Hook::Forward {
                rule = self.letting_in(&decision.steps);
            }
        }
        let family = if nfproto == 10 { Family::V6 } else { Family::V4 };
        let to = crate::address::address(family, flow.now().get(Field::DADDR));
        let port = flow.now().get(Field::DPORT);
        let ports = matches!(flow.now().get(Field::L4PROTO), 6 | 17);
        let text = match (ports, family) {
            (false, _) => to.to_string(),
            (true, Family::V4) => format!("{to}:{port}"),
            (true, Family::V6) => format!("[{to}]:{port}"),
        };
        // Where a whole range of ports is passed on, each to itself, the port isn't part of the place.
        let text = if ports && port == flow.origin().get(Field::DPORT) { to.to_string() } else { text };
        Ok(Decided {
            region: flow.region().clone(),
            published_to: Some(text),
            rule: rule.or(Some(no_rule())),
        })
    }

    /// The last rule that accepted, else the last policy.
    fn letting_in(&self, steps: &[firewarden_engine::Step]) -> Option<RuleRef> {
        let last = |wanted: fn(&StepKind) -> bool| {
            steps.iter().rev().find(|step| wanted(&step.kind)).map(|step| step.rule)
        };
        last(|kind| matches!(kind, StepKind::Accepted))
            .or_else(|| last(|kind| matches!(kind, StepKind::Policy(_))))
            .or(Some(no_rule()))
    }

    /// What must hold for a region beside its sources and ports.
    fn conditions(&self, family: Family, region: &PacketBox) -> Vec<String> {
        let InterfaceName(lo) = loopback();
        let mut conditions = BTreeSet::new();
        for (field, dim) in region.dims() {
            let Dim::Range(low, high) = *dim else { continue };
            if *field == self.input || *field == self.output {
                let word = if *field == self.input { "in" } else { "out" };
                let side = (low <= 1 && high == lo.saturating_sub(1))
                    || (low == lo.saturating_add(1) && high == u128::MAX);
                if low == high {
                    conditions.insert(format!("{word} {}", InterfaceName(low)));
                } else if !side && (low > 1 || high < u128::MAX) {
                    conditions.insert(match wildcard(low, high) {
                        Some(prefix) => format!("{word} {prefix}*"),
                        None => format!("{word} another interface"),
                    });
                }
                continue;
            }
            if *field == Field::DADDR
                && self.destinations(family).len() != 1
                && !(low == 0 && high == family.max())
            {
                let set = IntervalSet::range(low, high);
                conditions.insert(format!("to {}", format_set(family, &set, 1)));
            }
            if *field == Field::SPORT && (low, high) != (1024, 65535) {
                conditions.insert(format!("from port {low}-{high}"));
            }
            if matches!(*field, Field::TTL | Field::LENGTH | Field::DSCP | Field::ECN) {
                conditions.insert(format!("{} {low}-{high}", field.name()));
            }
            let Some(info) = self.atoms.get(*field) else { continue };
            if info.domain == (0, 1) {
                let matches = if low == 1 { "matches" } else { "does not match" };
                conditions.insert(format!("`{}` {matches}", info.text));
            } else if !matches!(&*info.kind, "nat port" | "nat range" | "nat address") {
                conditions.insert(format!("`{}` is {low}-{high}", info.text));
            }
        }
        conditions.into_iter().collect()
    }
}

fn refused(flow: &Flow<'_>) -> Decided {
    Decided { region: flow.region().clone(), published_to: None, rule: None }
}

/// No base chain on the hook: nothing refuses.
fn no_rule() -> RuleRef {
    RuleRef { chain: firewarden_ruleset::ir::ChainId(u32::MAX), index: 0 }
}

/// The beginning that all interface names of an interval share, where the interval is all such names.
fn wildcard(low: u128, high: u128) -> Option<String> {
    let name = InterfaceName(low).to_string();
    (InterfaceName::prefix(&name).ok()? == (low, high) && !name.is_empty()).then_some(name)
}

/// A range of ports, and who reaches it by IPv4 and by IPv6.
type Row = ((u128, u128), [Vec<Access>; 2]);

/// Conditions, rules, and the sources under them.
type Entry = (Vec<String>, BTreeSet<Span>, IntervalSet);

/// The rows of one class: elementary ranges of ports, neighbours with the same access put together.
fn rows_of(class: &Class, published_to: Option<&str>, reached: &[Vec<Reached>; 2]) -> Vec<ExposedService> {
    let mut cuts = BTreeSet::new();
    for one in reached.iter().flatten() {
        cuts.insert(one.axis.0);
        cuts.extend(one.axis.1.checked_add(1));
    }
    // ICMP types differ by family, and only echo requests are asked for.
    let icmp = class.axis == Field::ICMP_TYPE;
    let starts: Vec<u128> = cuts.iter().copied().collect();
    let mut rows: Vec<Row> = Vec::new();
    for (index, &low) in starts.iter().enumerate() {
        let high = starts.get(index + 1).map_or(low, |next| next - 1);
        let access = [Family::V4, Family::V6].map(|family| {
            let list = reached.get(usize::from(family == Family::V6)).map_or(&[][..], Vec::as_slice);
            access_of(family, list.iter().filter(|one| icmp || (one.axis.0 <= low && low <= one.axis.1)))
        });
        if access.iter().all(Vec::is_empty) {
            continue;
        }
        match rows.last_mut() {
            Some(last) if icmp || (last.0.1.checked_add(1) == Some(low) && last.1 == access) => {
                last.0.1 = high
            }
            _ => rows.push(((low, high), access)),
        }
    }
    rows.into_iter()
        .map(|((low, high), [v4, v6])| ExposedService {
            service: match (icmp, low == high) {
                (true, _) => "icmp/echo-request".to_owned(),
                (_, true) => format!("{}/{low}", class.name),
                _ => format!("{}/{low}-{high}", class.name),
            },
            published_to: published_to.map(str::to_owned),
            v4,
            v6,
        })
        .collect()
}

fn access_of<'r>(family: Family, reached: impl Iterator<Item = &'r Reached>) -> Vec<Access> {
    let mut entries: Vec<Entry> = Vec::new();
    for one in reached {
        let sources = IntervalSet::range(one.sources.0, one.sources.1);
        match entries.iter_mut().find(|(conditions, ..)| *conditions == one.conditions) {
            Some((_, rules, known)) => {
                rules.insert(one.rule);
                *known = known.union(&sources);
            }
            None => entries.push((one.conditions.clone(), [one.rule].into_iter().collect(), sources)),
        }
    }
    // What is reached without a condition needs no condition.
    let free = entries
        .iter()
        .find(|(conditions, ..)| conditions.is_empty())
        .map_or_else(IntervalSet::empty, |(_, _, sources)| sources.clone());
    let mut access: Vec<Access> = entries
        .into_iter()
        .filter_map(|(conditions, rules, sources)| {
            let own = if conditions.is_empty() { sources } else { sources.subtract(&free) };
            (!own.is_empty()).then(|| Access {
                sources: sources_text(family, &own),
                conditions,
                rules: rules.into_iter().filter(|span| *span != Span::default()).collect(),
            })
        })
        .collect();
    access.sort();
    access
}

fn sources_text(family: Family, sources: &IntervalSet) -> String {
    let all = receivable(family);
    if all.ranges().iter().all(|&(low, high)| sources.covers(low, high)) {
        return "anywhere".to_owned();
    }
    let missing = all.subtract(sources);
    if missing.ranges().len() < sources.ranges().len() && missing.ranges().len() <= 4 {
        return format!("anywhere except {}", format_set(family, &missing, 4));
    }
    format_set(family, sources, 8)
}
