//! A host's routing, prepared to be asked for every packet, and what it says of one.

use crate::host::Host;
use crate::routing::{NextHop, Route, RouteAction, Routing, RoutingRule, RuleAction};
use firewarden_engine::Flow;
use firewarden_packet::{AtomTable, Cube, Dim, Field, InterfaceName, IntervalSet, Purity};
use std::collections::BTreeMap;

/// What the routing says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It leaves.
    Out(NextHop),
    /// It is for this host, or for everybody on a link.
    Here,
    /// No route leads to the destination, or one that refuses.
    Nowhere,
}

/// What the rules and tables say, before one of several ways is chosen.
enum Looked<'n> {
    Ways(&'n [NextHop]),
    Here,
    Nowhere,
}

/// Which of a packet's fields a way is looked for by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// Where the packet to be routed comes from.
    pub from: Field,
    /// Where it goes.
    pub to: Field,
    /// It is made on this host.
    pub local: bool,
    /// Its mark counts.
    pub marked: bool,
    /// It is an answer, for which one of several equal ways is chosen anew.
    pub answer: bool,
}

/// The routing of a host.
#[derive(Debug)]
pub(crate) struct Tables<'n> {
    routing: &'n Routing,
    /// Whether a rule or route with conditions that aren't modelled applies, by its number.
    opaque_rules: BTreeMap<usize, Field>,
    opaque_routes: BTreeMap<usize, Field>,
    /// Which of several equal ways the kernel chooses for a packet, and for its answer.
    choices: Option<[Field; 2]>,
    /// By family and number.
    tables: BTreeMap<(u128, u32), Vec<Segment>>,
}

/// Addresses for which a table has the same routes.
#[derive(Debug)]
struct Segment {
    first: u128,
    /// The route that is used, behind those that would be used before it and aren't modelled.
    routes: Vec<usize>,
}

/// The names under which replays find what the kernel chooses.
pub(crate) const WAY_KIND: &str = "next hop";
const WAY_TEXTS: [&str; 2] = ["next hop", "next hop of answers"];

impl<'n> Tables<'n> {
    /// O(routes log routes). Unknowns of the routing become fields of `atoms`.
    pub fn new(host: &'n Host, routing: &'n Routing, atoms: &mut AtomTable) -> Tables<'n> {
        let mut unknown =
            |kind: &str, text: &str, max: u128| atoms.choice(&host.name, kind, text, Purity::Pure, (0, max));
        let rules = routing.rules.iter().enumerate();
        let opaque_rules = rules
            .filter_map(|(at, rule)| Some((at, unknown("routing rule", rule.opaque.as_deref()?, 1))))
            .collect();
        let routes = routing.routes.iter().enumerate();
        let opaque_routes = routes
            .filter_map(|(at, route)| Some((at, unknown("route", route.opaque.as_deref()?, 1))))
            .collect();
        let most = routing.routes.iter().map(|route| ways(route).len()).max().unwrap_or(0);
        let choices = (most > 1).then(|| WAY_TEXTS.map(|text| unknown(WAY_KIND, text, most as u128 - 1)));
        let mut by_table: BTreeMap<(u128, u32), Vec<usize>> = BTreeMap::new();
        for (at, route) in routing.routes.iter().enumerate() {
            by_table.entry((route.destination.nfproto, route.table)).or_default().push(at);
        }
        let tables =
            by_table.into_iter().map(|(key, numbers)| (key, segments(&routing.routes, numbers))).collect();
        Tables { routing, opaque_rules, opaque_routes, choices, tables }
    }

    /// What becomes of the flow's packet, whose region is cut to those of which the same is true.
    pub fn ask(&self, flow: &mut Flow<'_>, query: Query) -> Found {
        match self.look(flow, query) {
            Looked::Ways(ways) => self.choose(flow, ways, query.answer),
            Looked::Here => Found::Here,
            Looked::Nowhere => Found::Nowhere,
        }
    }

    /// All ways out that [`Tables::ask`] may choose for the packet; empty where it doesn't leave.
    pub fn ways(&self, flow: &mut Flow<'_>, query: Query) -> &'n [NextHop] {
        match self.look(flow, query) {
            Looked::Ways(ways) => ways,
            Looked::Here | Looked::Nowhere => &[],
        }
    }

    /// The rules are asked in order, each table by the longest prefix (ip-rule(8), ip-route(8)).
    fn look(&self, flow: &mut Flow<'_>, query: Query) -> Looked<'n> {
        let nfproto = flow.now().get(Field::NFPROTO);
        let mut from_priority = 0;
        for (at, rule) in self.routing.rules.iter().enumerate() {
            let passed = rule.nfproto != nfproto || rule.priority < from_priority;
            if passed || self.conditions(at, rule, flow, query) == rule.inverted {
                continue;
            }
            let table = match rule.action {
                RuleAction::Table(table) => table,
                RuleAction::Goto(priority) => {
                    from_priority = priority;
                    continue;
                }
                RuleAction::Refuse => return Looked::Nowhere,
                RuleAction::Nothing => continue,
            };
            let Some(route) = self.route(flow, (nfproto, table), query.to) else { continue };
            if rule.suppressed.is_some_and(|most| route.destination.prefix <= most) {
                continue;
            }
            return match &route.action {
                RouteAction::Throw => continue,
                RouteAction::Refuse => Looked::Nowhere,
                RouteAction::Local | RouteAction::Group => Looked::Here,
                RouteAction::Forward(ways) => Looked::Ways(ways),
            };
        }
        Looked::Nowhere
    }

    fn conditions(&self, at: usize, rule: &RoutingRule, flow: &mut Flow<'_>, query: Query) -> bool {
        for (field, range) in [(query.from, rule.from), (query.to, rule.to)] {
            if let Some((low, high)) = range
                && !within(flow, field, &IntervalSet::range(low, high))
            {
                return false;
            }
        }
        if let Some((value, mask)) = rule.mark {
            let (value, mask) = (u128::from(value), u128::from(mask));
            let has = if query.marked { flow.now().get(Field::MARK) } else { 0 };
            if query.marked {
                flow.restrict(Field::MARK, Dim::Bits(Cube::new(mask, has & mask)));
            }
            if has & mask != value & mask {
                return false;
            }
        }
        if let Some(InterfaceName(wanted)) = rule.input {
            let matched = if query.local {
                InterfaceName::new("lo").is_ok_and(|InterfaceName(lo)| lo == wanted)
            } else {
                within(flow, Field::IIFNAME, &IntervalSet::single(wanted))
            };
            if !matched {
                return false;
            }
        }
        self.opaque_rules.get(&at).is_none_or(|&field| unknown_holds(flow, field))
    }

    /// The route of a table for an address.
    fn route(&self, flow: &mut Flow<'_>, table: (u128, u32), to: Field) -> Option<&'n Route> {
        let segments = self.tables.get(&table)?;
        let address = flow.now().get(to);
        let at = segments.partition_point(|segment| segment.first <= address);
        let end = segments.get(at).map_or(u128::MAX, |next| next.first - 1);
        let segment = segments.get(at.checked_sub(1)?)?;
        flow.restrict(to, Dim::Range(segment.first, end));
        for number in &segment.routes {
            let used = self.opaque_routes.get(number).is_none_or(|&field| unknown_holds(flow, field));
            if used {
                return self.routing.routes.get(*number);
            }
        }
        None
    }

    /// One of several equal ways: each is chosen for some packets.
    fn choose(&self, flow: &mut Flow<'_>, ways: &[NextHop], answer: bool) -> Found {
        let last = ways.len().saturating_sub(1);
        let number = match self.choices {
            Some([first, back]) if last > 0 => {
                let field = if answer { back } else { first };
                // Whatever is beyond the ways of this route stands for the last of them.
                let (_, most) = flow.atoms().domain(field);
                let chosen = flow.now().get(field);
                let number = usize::try_from(chosen).unwrap_or(last).min(last);
                let high = if number == last { most.max(chosen) } else { chosen };
                flow.restrict(field, Dim::Range(number as u128, high));
                number
            }
            _ => 0,
        };
        ways.get(number).map_or(Found::Nowhere, |&way| Found::Out(way))
    }
}

fn ways(route: &Route) -> &[NextHop] {
    match &route.action {
        RouteAction::Forward(ways) => ways,
        _ => &[],
    }
}

/// Whether a field's value is in a set; the region keeps the values for which the answer is the same.
fn within(flow: &mut Flow<'_>, field: Field, set: &IntervalSet) -> bool {
    let value = flow.now().get(field);
    let (low, high) = set.stretch(value);
    flow.restrict(field, Dim::Range(low, high));
    set.contains(value)
}

/// Whether something unknown is the case.
fn unknown_holds(flow: &mut Flow<'_>, field: Field) -> bool {
    flow.hold(field);
    flow.now().get(field) == 1
}

/// A table cut into segments. Prefixes are either apart or one within the other, so that a stack of those that are open
/// tells the longest.
fn segments(routes: &[Route], mut numbers: Vec<usize>) -> Vec<Segment> {
    let range = |number: usize| routes.get(number).map_or((0, 0), |route| route.destination.subnet());
    let prefix = |number: usize| routes.get(number).map_or(0, |route| route.destination.prefix);
    let metric = |number: usize| routes.get(number).map_or(0, |route| route.metric);
    // Of the same prefix, the largest metric first: the last one opened is looked at first.
    numbers.sort_by_key(|&number| {
        (range(number).0, prefix(number), std::cmp::Reverse(metric(number)), std::cmp::Reverse(number))
    });
    let mut found = vec![Segment { first: 0, routes: Vec::new() }];
    let mut open: Vec<usize> = Vec::new();
    let mut begin = |first: u128, open: &[usize]| {
        let opaque = |number: &usize| routes.get(*number).is_some_and(|route| route.opaque.is_some());
        let mut candidates = Vec::new();
        for number in open.iter().rev() {
            candidates.push(*number);
            if !opaque(number) {
                break;
            }
        }
        match found.last_mut() {
            Some(last) if last.first == first => last.routes = candidates,
            _ => found.push(Segment { first, routes: candidates }),
        }
    };
    for number in numbers {
        let (low, _) = range(number);
        while let Some(&last) = open.last()
            && range(last).1 < low
        {
            open.pop();
            if let Some(after) = range(last).1.checked_add(1) {
                begin(after, &open);
            }
        }
        open.push(number);
        begin(low, &open);
    }
    while let Some(last) = open.pop() {
        if let Some(after) = range(last).1.checked_add(1) {
            begin(after, &open);
        }
    }
    found
}
