//! Intents that can't all hold, and intents that say the same.

use super::questions::{Claim, service_boxes};
use super::special::receivable;
use super::{Addresses, Expectation, Resolved};
use crate::address::{AddressRange, Family};
use crate::stack::DeclaredIntent;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_packet::{Field, PacketBox};
use std::collections::BTreeMap;

/// What one intent demands, as far as it can clash with others.
struct Demand {
    index: usize,
    allowed: Vec<Flow>,
    denied: Vec<Flow>,
}

/// Packets by what both sides of a clash speak of: addresses, protocol, port or type.
struct Flow {
    family: Family,
    sources: Addresses,
    destinations: Addresses,
    headers: Vec<PacketBox>,
}

/// Errors for pairs of intents of which one allows and the other denies the same packets, warnings for intents that are
/// written twice. `resolved` are the declared intents with their numbers in `declared`; those that couldn't be resolved
/// are left out.
///
/// Sets that are carved out are taken as empty, since what they hold changes. Each pair of an intent that allows and
/// one that denies is compared: O(allowing × denying).
pub fn conflicts(declared: &[DeclaredIntent], resolved: &[(usize, Resolved)]) -> Vec<Diagnostic> {
    let mut diagnostics = duplicates(declared);
    let demands: Vec<Demand> = resolved.iter().map(|(index, intent)| demand(*index, intent)).collect();
    for deny in demands.iter().filter(|demand| !demand.denied.is_empty()) {
        for allow in demands.iter().filter(|demand| !demand.allowed.is_empty() && demand.index != deny.index)
        {
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

fn demand(index: usize, resolved: &Resolved) -> Demand {
    let mut demand = Demand { index, allowed: Vec::new(), denied: Vec::new() };
    let headers = |family: Family, claim: Claim| service_boxes(&resolved.services, family, claim, true);
    for family in Family::BOTH {
        let destinations = resolved.destination.all();
        let sources = resolved.source.all();
        if resolved.expectation != Expectation::Deny {
            demand.allowed.push(Flow {
                family,
                sources: sources.clone(),
                destinations: destinations.clone(),
                headers: headers(family, Claim::Arrives),
            });
        }
        if resolved.expectation != Expectation::Allow {
            let sources = match resolved.expectation {
                Expectation::Only => Addresses::of(receivable).subtract(&sources),
                _ => sources,
            };
            demand.denied.push(Flow {
                family,
                sources,
                destinations,
                headers: headers(family, Claim::NeverArrives),
            });
        }
    }
    demand
}

/// A packet of both, in words.
fn clash(left: &Flow, right: &Flow) -> Option<String> {
    if left.family != right.family {
        return None;
    }
    let family = left.family;
    // Most pairs are told apart by where their addresses begin and end.
    let apart =
        |left: &Addresses, right: &Addresses| match (left.get(family).hull(), right.get(family).hull()) {
            (Some((low, high)), Some((other_low, other_high))) => high < other_low || other_high < low,
            _ => true,
        };
    if apart(&left.destinations, &right.destinations) || apart(&left.sources, &right.sources) {
        return None;
    }
    let first = |left: &Addresses, right: &Addresses| {
        let common = left.get(family).intersect(right.get(family));
        // A source and a destination that only meet in one address aren't a flow; that is for the check to see.
        common.hull().map(|(low, _)| AddressRange { family, low, high: low })
    };
    let source = first(&left.sources, &right.sources)?;
    let destination = first(&left.destinations, &right.destinations)?;
    let header =
        left.headers.iter().find_map(|own| right.headers.iter().find_map(|other| own.intersect(other)))?;
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
