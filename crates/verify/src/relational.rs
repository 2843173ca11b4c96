//! The relational check: a change does what it is expected to do, and nothing else.
//!
//! What is expected is written as intents. Each must hold after the change and not before it, and whatever else begins or
//! ceases to pass on a host is a finding. Only packets that can occur count: new ones, to the host's own addresses or
//! through it, from senders that can be. Differences among others (packets of existing connections, loopback, martians)
//! are left to `diff`.

use crate::address::Family;
use crate::check::{CheckOptions, Disagreement, check};
use crate::diff::{
    Arrival, Change, Compared, DiffOptions, Direction, Effect, Ending, HostPair, Names, Telling, ToldChange,
    follow,
};
use crate::intent::{self, Claim, Expectation, Resolved, Service, resolve, service_boxes};
use crate::stack::{DeclaredIntent, StackFile};
use firewarden_diagnostic::{Diagnostic, Finding, ResultItem, SourceMap, Verdict, Witness};
use firewarden_network::Host;
use firewarden_packet::{
    AtomTable, Dim, Field, InterfaceName, IntervalSet, PacketBox, Point, ct_state, text,
};

/// One of the two sides.
#[derive(Debug)]
pub struct Version<'v> {
    /// The hosts, with their atoms aligned (see [`crate::diff::align_atoms`]).
    pub hosts: &'v mut [Host],
    /// The stack file, where there is one.
    pub stack: Option<&'v StackFile>,
}

/// Checks a change against what is expected of it. One result for each expectation, and one for all the rest.
///
/// # Errors
/// [`Disagreement`] where engine and interpreter differ about a packet.
pub fn relational(
    before: &mut Version<'_>,
    after: &mut Version<'_>,
    expected: &[DeclaredIntent],
    atoms: &mut AtomTable,
    sources: &SourceMap,
    names: &Names,
) -> Result<Vec<ResultItem>, Disagreement> {
    let options = CheckOptions::default();
    let was = check(before.hosts, before.stack, expected, atoms, sources, &options)?;
    let is = check(after.hosts, after.stack, expected, atoms, sources, &options)?;
    let mut results: Vec<ResultItem> =
        was.results.into_iter().zip(is.results).map(|(was, is)| effect_of(&was, is)).collect();
    let bare;
    let declarations = match after.stack {
        Some(stack) => stack,
        None => {
            let name = after.hosts.first().map_or("host", |host| host.name.as_str());
            bare = crate::check::single_host_stack(name, expected);
            &bare
        }
    };
    let known = intent::Names::new(declarations);
    // Those that can't be resolved have been told of by the checks.
    let resolved: Vec<Resolved> =
        expected.iter().filter_map(|declared| resolve(declared, &known).ok()).collect();
    results.push(the_rest(before.hosts, after.hosts, &resolved, atoms, sources, names)?);
    Ok(results)
}

/// The result of one expectation: it must hold now, and not have held before.
fn effect_of(was: &ResultItem, is: ResultItem) -> ResultItem {
    let mut item = is;
    item.id = format!("expect-{}", item.id);
    item.name = format!("expected: {}", item.intent);
    if was.verdict == Verdict::Pass && item.verdict == Verdict::Pass {
        item.verdict = Verdict::Fail;
        let mut diagnostic = Diagnostic::error(
            "no-effect",
            format!("`{}` held before already, so the change doesn't bring it about", item.intent),
        )
        .help("leave the expectation out, or compare with another version");
        if let Some(span) = item.declared {
            diagnostic = diagnostic.at(span, "expected here");
        }
        item.findings.push(Finding::from(diagnostic));
    }
    item
}

/// The result for everything that wasn't expected.
fn the_rest(
    before: &[Host],
    after: &[Host],
    expected: &[Resolved],
    atoms: &AtomTable,
    sources: &SourceMap,
    names: &Names,
) -> Result<ResultItem, Disagreement> {
    let mut item = ResultItem::new("nothing-else", "nothing else begins or ceases to pass", Verdict::Pass);
    let mut open = 0;
    let mut not_compared = 0;
    for host in after {
        let Some(old) = before.iter().find(|other| other.name == host.name) else {
            item.verdict = Verdict::Fail;
            item.findings.push(lonely(&host.name, "after"));
            continue;
        };
        let pair = HostPair::new(old, host, atoms);
        for left_open in pair.not_compared(sources) {
            not_compared += 1;
            let mut diagnostic = Diagnostic::warning(
                "not-compared",
                format!("{} differs on {}, and isn't compared", left_open.what, host.name),
            )
            .because(left_open.why)
            .help("look at it yourself, or change it apart from the rest");
            if let Some(span) = left_open.span {
                diagnostic = diagnostic.at(span, "");
            }
            item.findings.push(Finding::from(diagnostic));
        }
        let compared = pair.compare(atoms, DiffOptions::default());
        if let Some(what) = &compared.unconfirmed {
            return Err(Disagreement {
                intent: item.intent,
                packet: what.clone(),
                engine: "a difference".to_owned(),
                interpreter: "none".to_owned(),
            });
        }
        open += compared.undecided.len();
        let telling = Telling { before: old, after: host, atoms, sources, names };
        for change in unexpected(old, host, &compared, expected, atoms)? {
            item.verdict = Verdict::Fail;
            item.findings.push(finding(&host.name, &telling.change(&change)));
        }
    }
    for host in before.iter().filter(|host| after.iter().all(|other| other.name != host.name)) {
        item.verdict = Verdict::Fail;
        item.findings.push(lonely(&host.name, "before"));
    }
    if not_compared > 0 && item.verdict == Verdict::Pass {
        item.verdict = Verdict::Undetermined;
    }
    if open > 0 && item.verdict == Verdict::Pass {
        item.verdict = Verdict::Undetermined;
        item.detail = Some(format!("{open} sets of packets weren't compared, because a limit ended"));
    }
    Ok(item)
}

fn lonely(host: &str, side: &str) -> Finding {
    Finding::from(
        Diagnostic::error("host-on-one-side", format!("`{host}` is in the version {side} only"))
            .help("compare two versions of the same hosts"),
    )
}

/// The changes of one host that no expectation covers, each cut down to the packets that aren't covered.
fn unexpected(
    before: &Host,
    after: &Host,
    compared: &Compared,
    expected: &[Resolved],
    atoms: &AtomTable,
) -> Result<Vec<Change>, Disagreement> {
    let mut found = Vec::new();
    for change in &compared.changes {
        if change.effect == Effect::RefusedOtherwise {
            continue;
        }
        let mut rest: Vec<PacketBox> = Vec::new();
        for (packets, arrival) in change.packets.iter().zip(&change.arrivals) {
            let Some(family) = family(packets) else { continue };
            for universe in deliverable(after, family, change.direction) {
                let Some(packets) = packets.intersect(&universe) else { continue };
                rest.extend(uncovered(&packets, *arrival, family, change.effect, expected, atoms));
            }
        }
        let Some(first) = rest.first() else { continue };
        let witness = Point::in_box(first, &change.witness);
        let (was, is) = (follow(before, &witness, atoms), follow(after, &witness, atoms));
        if !is_effect(change.effect, was.0, is.0) {
            return Err(Disagreement {
                intent: "nothing else begins or ceases to pass".to_owned(),
                packet: text::format(&witness, atoms),
                engine: format!("{:?}", change.effect),
                interpreter: format!("{:?} before, {:?} after", was.0, is.0),
            });
        }
        found.push(Change {
            endings: (was.0, is.0),
            results: (was.1, is.1),
            witness,
            arrivals: vec![Arrival::AsSent; rest.len()],
            packets: rest,
            ..change.clone()
        });
    }
    Ok(found)
}

fn is_effect(effect: Effect, was: Ending, is: Ending) -> bool {
    let passes = |ending: Ending| matches!(ending, Ending::Passes(_));
    match effect {
        Effect::Blocked => passes(was) && !passes(is),
        Effect::Allowed => !passes(was) && passes(is),
        Effect::Rewritten(_) => passes(was) && passes(is),
        Effect::RefusedOtherwise => !passes(was) && !passes(is),
    }
}

fn family(packets: &PacketBox) -> Option<Family> {
    match packets.get(Field::NFPROTO)? {
        Dim::Range(2, 2) => Some(Family::V4),
        Dim::Range(10, 10) => Some(Family::V6),
        _ => None,
    }
}

/// Packets that can occur: new ones, from senders that can be, to the host itself where they are for it.
fn deliverable(host: &Host, family: Family, direction: Direction) -> Vec<PacketBox> {
    let own = host.own(family.nfproto());
    let InterfaceName(lo) = InterfaceName::new("lo").unwrap_or(InterfaceName::NONE);
    let sources = match direction {
        Direction::Output => IntervalSet::range(0, family.max()),
        Direction::Input | Direction::Forward => intent::receivable(family).subtract(&own),
    };
    let destinations = match direction {
        Direction::Input if !own.is_empty() => own,
        _ => intent::receivable(family),
    };
    let inputs = match direction {
        Direction::Output => vec![(0, 0)],
        Direction::Input | Direction::Forward => vec![(1, lo - 1), (lo + 1, u128::MAX)],
    };
    // Whatever can begin a connection in the eyes of the connection tracking, of any service.
    let mut begins = service_boxes(&[Service::Any], family, Claim::NeverArrives, true);
    begins.retain_mut(|packets| packets.restrict(Field::CT_STATE, Dim::Range(ct_state::NEW, ct_state::NEW)));
    let mut boxes = Vec::new();
    for packets in &begins {
        for source in sources.ranges() {
            for destination in destinations.ranges() {
                for input in &inputs {
                    let between = packets
                        .clone()
                        .with(Field::SADDR, Dim::Range(source.0, source.1))
                        .with(Field::DADDR, Dim::Range(destination.0, destination.1))
                        .with(Field::IIFNAME, Dim::Range(input.0, input.1));
                    boxes.push(between);
                }
            }
        }
    }
    boxes
}

/// What no expectation covers of packets that arrive somewhere.
fn uncovered(
    packets: &PacketBox,
    arrival: Arrival,
    family: Family,
    effect: Effect,
    expected: &[Resolved],
    atoms: &AtomTable,
) -> Vec<PacketBox> {
    let mut arriving = packets.clone();
    let translated = match arrival {
        Arrival::AsSent => Vec::new(),
        Arrival::At { address, port } => {
            let ends = [(Field::DADDR, address), (Field::DPORT, port)];
            ends.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
        }
        // Nobody can say that it is where it is expected.
        Arrival::Several => return vec![packets.clone()],
    };
    for (field, value) in &translated {
        arriving.set(*field, Dim::Range(*value, *value));
    }
    let mut rest = vec![arriving];
    for cover in expected.iter().flat_map(|resolved| covers(resolved, family, effect)) {
        rest = rest.iter().flat_map(|piece| piece.subtract(&cover, atoms)).collect();
    }
    // Back to the packets as they were sent.
    for piece in &mut rest {
        for (field, _) in &translated {
            match packets.get(*field) {
                Some(dim) => piece.set(*field, *dim),
                None => piece.clear(*field),
            }
        }
    }
    rest
}

/// The packets of which an expectation says that they begin, or cease, to pass.
fn covers(resolved: &Resolved, family: Family, effect: Effect) -> Vec<PacketBox> {
    let sources = match (effect, resolved.expectation) {
        (Effect::Allowed, Expectation::Allow | Expectation::Only) => resolved.source.all(),
        (Effect::Blocked, Expectation::Deny) => resolved.source.all(),
        (Effect::Blocked, Expectation::Only) => {
            intent::Addresses::of(intent::receivable).subtract(&resolved.source.all())
        }
        _ => return Vec::new(),
    };
    let destinations = resolved.destination.all();
    let services = service_boxes(&resolved.services, family, Claim::NeverArrives, true);
    let mut boxes = Vec::new();
    for source in sources.get(family).ranges() {
        for destination in destinations.get(family).ranges() {
            for service in &services {
                boxes.push(
                    service
                        .clone()
                        .with(Field::SADDR, Dim::Range(source.0, source.1))
                        .with(Field::DADDR, Dim::Range(destination.0, destination.1)),
                );
            }
        }
    }
    boxes
}

fn finding(host: &str, change: &ToldChange) -> Finding {
    let what = match change.effect {
        Effect::Blocked => "newly blocks",
        Effect::Allowed => "newly allows",
        _ => "treats otherwise",
    };
    let code = match change.effect {
        Effect::Blocked => "unexpected-block",
        Effect::Allowed => "unexpected-allow",
        _ => "unexpected-rewrite",
    };
    let mut diagnostic = Diagnostic::error(
        code,
        format!("{host} {what} {} ({}), which isn't expected", change.headline, change.direction.word()),
    );
    if let Some(span) = change.after.span {
        diagnostic = diagnostic.at(span, format!("decides now: {}", change.outcome_after));
    }
    if let Some(span) = change.before.span {
        let label = format!("decided before: {}", change.outcome_before);
        diagnostic = if change.after.span.is_some() {
            diagnostic.see(span, label)
        } else {
            diagnostic.at(span, label)
        };
    }
    let word = if change.effect == Effect::Blocked { "deny" } else { "allow" };
    let diagnostic = diagnostic
        .because("no `--expect` covers these packets")
        .help(format!("take it out of the change, or name it with `--expect \"{word} …\"`"));
    let mut finding = Finding::from(diagnostic);
    finding.manager = change.after.manager.clone();
    finding.witnesses.push(Witness {
        packet: change.witness.clone(),
        fields: Vec::new(),
        outcome: format!("{} before, {} after", change.outcome_before, change.outcome_after),
        given: Vec::new(),
        path: Vec::new(),
    });
    finding
}
