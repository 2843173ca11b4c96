//! Intents that can't all hold, and intents that say the same.

use super::overlap::Overlaps;
use super::questions::{Claim, service_boxes};
use super::special::receivable;
use super::{Expectation, Resolved, Service};
use crate::address::{AddressRange, Family};
use crate::stack::DeclaredIntent;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, IntervalSet, PacketBox};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// What one intent demands, as far as it can clash with others.
struct Demand<'r> {
    index: usize,
    allowed: Vec<Flow<'r>>,
    denied: Vec<Flow<'r>>,
}

/// Packets by what both sides of a clash speak of: addresses, protocol, port or type. Has both sources and destinations.
struct Flow<'r> {
    family: Family,
    sources: IntervalSet,
    destinations: IntervalSet,
    claim: Claim,
    services: &'r [Service],
    /// The packets of the services; most flows are told apart by their addresses, and never asked.
    headers: OnceCell<Vec<PacketBox>>,
}

impl Flow<'_> {
    fn headers(&self) -> &[PacketBox] {
        self.headers.get_or_init(|| service_boxes(self.services, self.family, self.claim, true))
    }
}

/// Flows by where their sources, and where their destinations, begin and end.
#[derive(Default)]
struct Hulls {
    sources: Overlaps,
    destinations: Overlaps,
}

impl Hulls {
    /// Of the allowed flows of a family; numbers are places in `demands`.
    fn new(demands: &[Demand<'_>], family: Family) -> Hulls {
        let of = |side: fn(&Flow<'_>) -> Option<(u128, u128)>| {
            let flows = demands.iter().enumerate().flat_map(|(at, demand)| {
                demand.allowed.iter().filter(|flow| flow.family == family).map(move |flow| (at, flow))
            });
            Overlaps::new(
                flows.filter_map(|(at, flow)| side(flow).map(|(low, high)| (low, high, at))).collect(),
            )
        };
        Hulls { sources: of(|flow| flow.sources.hull()), destinations: of(|flow| flow.destinations.hull()) }
    }

    /// Adds the demands that a flow may clash with: by its sources or by its destinations, whichever leaves fewer.
    fn collect(&self, flow: &Flow<'_>, found: &mut Vec<usize>) {
        let (Some(from), Some(to)) = (flow.sources.hull(), flow.destinations.hull()) else { return };
        if self.sources.count(from.0, from.1) < self.destinations.count(to.0, to.1) {
            self.sources.collect(from.0, from.1, found);
        } else {
            self.destinations.collect(to.0, to.1, found);
        }
    }
}

/// Errors for pairs of intents of which one allows and the other denies the same packets, warnings for intents that are
/// written twice. `resolved` are the declared intents with their numbers in `declared`; those that couldn't be resolved
/// are left out.
///
/// Sets that are carved out are taken as empty, since what they hold changes. An intent that denies is compared with
/// those that allow and whose sources, or destinations, meet its own between their lowest and highest address: where
/// most intents share neither, O(n log n); where all of them share both, O(allowing × denying).
pub fn conflicts(declared: &[DeclaredIntent], resolved: &[(usize, Resolved)]) -> Vec<Diagnostic> {
    let mut diagnostics = duplicates(declared);
    let demands: Vec<Demand<'_>> = resolved.iter().map(|(index, intent)| demand(*index, intent)).collect();
    if demands.iter().all(|demand| demand.denied.is_empty()) {
        return diagnostics;
    }
    let hulls = Family::BOTH.map(|family| (family, Hulls::new(&demands, family)));
    let mut near = Vec::new();
    for deny in &demands {
        near.clear();
        for flow in &deny.denied {
            let of_family = hulls.iter().filter(|(family, _)| *family == flow.family);
            of_family.for_each(|(_, hulls)| hulls.collect(flow, &mut near));
        }
        near.sort_unstable();
        near.dedup();
        for allow in near.iter().filter_map(|&at| demands.get(at)).filter(|allow| allow.index != deny.index) {
            let (Some(denying), Some(allowing)) = (declared.get(deny.index), declared.get(allow.index))
            else {
                continue;
            };
            let different_input = match (&denying.input, &allowing.input) {
                (Some(left), Some(right)) => left.value != right.value,
                _ => false,
            };
            // Two `only` of the same flow clash both ways: said once, at the later one.
            let said = allowing.intent.expectation == Expectation::Only
                && denying.intent.expectation == Expectation::Only
                && deny.index < allow.index;
            if different_input || said {
                continue;
            }
            let clash = deny.denied.iter().find_map(|no| allow.allowed.iter().find_map(|yes| clash(no, yes)));
            if let Some(example) = clash {
                diagnostics.push(contradiction(allowing, denying, &example));
            }
        }
    }
    diagnostics
}

fn demand(index: usize, resolved: &Resolved) -> Demand<'_> {
    let mut demand = Demand { index, allowed: Vec::new(), denied: Vec::new() };
    let destinations = resolved.destination.all();
    let sources = resolved.source.all();
    // Mostly one family counts: room for more would be most of what thousands of demands take.
    for family in Family::BOTH {
        let (from, to) = (sources.get(family), destinations.get(family));
        if to.is_empty() {
            continue;
        }
        let flow = |sources: IntervalSet, claim: Claim| Flow {
            family,
            sources,
            destinations: to.clone(),
            claim,
            services: &resolved.services,
            headers: OnceCell::new(),
        };
        if resolved.expectation != Expectation::Deny && !from.is_empty() {
            demand.allowed.reserve_exact(1);
            demand.allowed.push(flow(from.clone(), Claim::Arrives));
        }
        if resolved.expectation != Expectation::Allow {
            let denied = match resolved.expectation {
                Expectation::Only => receivable(family).subtract(from),
                _ => from.clone(),
            };
            if !denied.is_empty() {
                demand.denied.reserve_exact(1);
                demand.denied.push(flow(denied, Claim::NeverArrives));
            }
        }
    }
    demand
}

/// A packet of both, in words.
fn clash(left: &Flow<'_>, right: &Flow<'_>) -> Option<String> {
    if left.family != right.family {
        return None;
    }
    let family = left.family;
    // Most pairs are told apart by where their addresses begin and end.
    let apart = |left: &IntervalSet, right: &IntervalSet| match (left.hull(), right.hull()) {
        (Some((low, high)), Some((other_low, other_high))) => high < other_low || other_high < low,
        _ => true,
    };
    if apart(&left.destinations, &right.destinations) || apart(&left.sources, &right.sources) {
        return None;
    }
    let first = |left: &IntervalSet, right: &IntervalSet| {
        let common = left.intersect(right);
        // A source and a destination that only meet in one address aren't a flow; that is for the check to see.
        common.hull().map(|(low, _)| AddressRange { family, low, high: low })
    };
    let source = first(&left.sources, &right.sources)?;
    let destination = first(&left.destinations, &right.destinations)?;
    let header = left
        .headers()
        .iter()
        .find_map(|own| right.headers().iter().find_map(|other| own.intersect(other)))?;
    let protocol = header.get(Field::L4PROTO).map_or(6, |dim| dim.nearest(6));
    let port = header.get(Field::DPORT).map(|dim| dim.nearest(443));
    let name = super::protocols::PROTOCOLS.iter().find(|(_, number)| u128::from(*number) == protocol);
    let name = name.map_or_else(|| format!("protocol {protocol}"), |(name, _)| (*name).to_owned());
    Some(match port {
        Some(port) => format!("{source} -> {destination} {name}/{port}"),
        None => format!("{source} -> {destination} {name}"),
    })
}

fn contradiction(allow: &DeclaredIntent, deny: &DeclaredIntent, example: &str) -> Diagnostic {
    let (later, earlier) = if allow.span.start > deny.span.start { (allow, deny) } else { (deny, allow) };
    let what = |intent: &DeclaredIntent| if std::ptr::eq(intent, allow) { "allows it" } else { "denies it" };
    let help = match (allow.intent.expectation, deny.intent.expectation) {
        (Expectation::Only, Expectation::Only) => "put the sources of both into one `only`".to_owned(),
        (_, Expectation::Only) => {
            format!("add the source to `{}`, or remove the other intent", deny.intent.full_text())
        }
        _ => format!(
            "carve one out of the other with `except`, as in `{} … except … -> …`",
            allow.intent.expectation.word()
        ),
    };
    Diagnostic::error(
        "intent-contradiction",
        format!("`{}` contradicts `{}`", later.intent.full_text(), earlier.intent.full_text()),
    )
    .at(later.intent.span, what(later))
    .see(earlier.intent.span, what(earlier))
    .because(format!("both speak of the packet {example}"))
    .help(help)
}

/// Intents with the same text.
fn duplicates(declared: &[DeclaredIntent]) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let mut diagnostics = Vec::new();
    for intent in declared {
        let mut key = intent.intent.full_text();
        if let Some(input) = &intent.input {
            key.push_str(" in ");
            key.push_str(&input.value);
        }
        for host in &intent.via {
            key.push_str(" via ");
            key.push_str(&host.value);
        }
        if !intent.intent.source.except.is_empty() {
            key.push_str(&format!(
                " {:?}",
                intent.intent.source.except.iter().map(|peer| &peer.value).collect::<Vec<_>>()
            ));
        }
        if let Some(&first) = seen.get(&key) {
            diagnostics.push(
                Diagnostic::warning(
                    "intent-duplicate",
                    format!("`{}` is declared twice", intent.intent.full_text()),
                )
                .at(intent.intent.span, "")
                .see(first, "first declared here")
                .help("remove one of the two"),
            );
        } else {
            seen.insert(key, intent.intent.span);
        }
    }
    diagnostics
}
