//! Whether packets that met the same rules before, and the same after, fare alike on both sides.

use super::compare::Effect;
use super::cross::{Crossing, Ending};
use firewarden_engine::{Flow, Origin, Relation};
use firewarden_packet::{Cube, Dim, Field, FieldKind, Point};

/// How two crossings compare.
pub(super) enum Seen {
    /// Alike.
    Same,
    /// Otherwise, at every packet of the region.
    Differs(Effect),
    /// A field is rewritten otherwise, but for packets whose two values happen to be equal.
    Mostly(Field),
    /// Alike at the followed packet by coincidence: this one of the same region shows the difference.
    At(Box<Point>),
}

/// How two crossings compare; the flows are cut to the packets of which the same is true. `is_settled` where no other
/// packet is to be asked for.
pub(super) fn seen<'a>(
    before: &Crossing,
    after: &Crossing,
    first: &mut Flow<'a>,
    second: &mut Flow<'a>,
    is_settled: bool,
) -> Seen {
    match (before.ending, after.ending) {
        // A packet that one side can't have is told of where both can.
        (Ending::Impossible, _) | (_, Ending::Impossible) => Seen::Same,
        (Ending::Passes(_), Ending::Refused { .. } | Ending::NotForwarded) => Seen::Differs(Effect::Blocked),
        (Ending::Refused { .. } | Ending::NotForwarded, Ending::Passes(_)) => Seen::Differs(Effect::Allowed),
        (Ending::NotForwarded, _) | (_, Ending::NotForwarded) => Seen::Same,
        (Ending::Refused { fate, .. }, Ending::Refused { fate: other, .. }) => match fate == other {
            true => Seen::Same,
            false => Seen::Differs(Effect::RefusedOtherwise),
        },
        (Ending::Passes(from), Ending::Passes(to)) if from != to => Seen::Differs(Effect::Rewritten(None)),
        (Ending::Passes(_), Ending::Passes(_)) => seen_values(first, second, is_settled),
    }
}

/// How the packets compare that two crossings let pass.
fn seen_values<'a>(first: &mut Flow<'a>, second: &mut Flow<'a>, is_settled: bool) -> Seen {
    for &field in COMPARED {
        second.keep_shared(first);
        let (left, right) = (first.take(field), second.take(field));
        let relation = second.relation(field, &left, &right);
        if left.value() != right.value() {
            if relation == Relation::Loose {
                return Seen::Mostly(field);
            }
            if relation == Relation::Cut {
                part(field, &left, &right, first, second);
            }
            return Seen::Differs(Effect::Rewritten(Some(field)));
        }
        if relation == Relation::Same {
            continue;
        }
        if relation == Relation::Loose
            && !is_settled
            && let Some(point) = second.parting(&left, &right)
        {
            return Seen::At(Box::new(point));
        }
        // Equal here, but by different ways: what is left is where it stays equal.
        first.hold(field);
        second.hold(field);
    }
    Seen::Same
}

/// Two values differ at the point, one of which is the same for all packets: cuts the flows to packets for which they
/// differ, whatever else they are.
fn part<'a>(field: Field, left: &Origin, right: &Origin, first: &mut Flow<'a>, second: &mut Flow<'a>) {
    let (varies, own, other) = match right.is_constant() {
        true => (first, left.value(), right.value()),
        false => (second, right.value(), left.value()),
    };
    let kept = match field.kind() {
        FieldKind::Bits => {
            let bits = own ^ other;
            Dim::Bits(Cube::new(bits & bits.wrapping_neg(), own))
        }
        FieldKind::Range if own < other => Dim::Range(0, other - 1),
        FieldKind::Range => Dim::Range(other + 1, u128::MAX),
    };
    varies.restrict(field, kept);
}

/// The fields that are compared of packets that pass, in the order in which a difference is told. What the routing decides isn't
/// among them: it follows from the addresses.
pub const COMPARED: &[Field] = &[
    Field::DADDR,
    Field::DPORT,
    Field::SADDR,
    Field::SPORT,
    Field::CT_STATE,
    Field::MARK,
    Field::CT_MARK,
    Field::TCP_FLAGS,
    Field::TTL,
    Field::DSCP,
    Field::ECN,
    Field::ETHER_SADDR,
    Field::ETHER_DADDR,
    Field::PKTTYPE,
];
