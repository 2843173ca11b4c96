//! A change is told by what its packets have in common, and by parts or exceptions: all of that together is exact.

use firewarden_packet::{AtomTable, Dim, Field, PacketBox, Point};
use firewarden_testkit::random::Random;
use firewarden_verify::diff::{Summary, products};

const FIELDS: [Field; 3] = [Field::L4PROTO, Field::DPORT, Field::IIFNAME];
const EDGE: usize = 6;

/// All points of a small space: values from 0 to [`EDGE`], where the last one stands for all that are larger.
fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for a in 0..=EDGE {
        for b in 0..=EDGE {
            for c in 0..=EDGE {
                points.push(
                    FIELDS
                        .into_iter()
                        .zip([a, b, c])
                        .fold(Point::default(), |point, (field, value)| point.with(field, value as u128)),
                );
            }
        }
    }
    points
}

/// Some boxes that don't overlap.
fn boxes(random: &mut Random) -> Vec<PacketBox> {
    let atoms = AtomTable::default();
    let mut boxes: Vec<PacketBox> = Vec::new();
    for _ in 0..random.between(1, 7) {
        let mut one = PacketBox::all();
        for field in FIELDS {
            let (low, high) = (random.between(0, EDGE) as u128, random.between(0, EDGE) as u128);
            if random.chance(50) && low <= high {
                let full = PacketBox::full(field, &atoms);
                let most = match full {
                    Dim::Range(_, most) => most,
                    Dim::Bits(_) => unreachable!("these fields are numbers"),
                };
                one.set(field, Dim::Range(low, if high == EDGE as u128 { most } else { high }));
            }
        }
        let mut pieces = vec![one];
        for other in &boxes {
            pieces = pieces.iter().flat_map(|piece| piece.subtract(other, &atoms)).collect();
        }
        boxes.extend(pieces);
    }
    boxes
}

#[test]
fn parts_are_the_set_and_hull_without_exceptions_is_too() {
    let atoms = AtomTable::default();
    let points = points();
    let mut random = Random::new(5);
    let (mut shortened, mut with_exceptions) = (0, 0);
    for _ in 0..400 {
        let boxes = boxes(&mut random);
        let sets = products(&boxes, &atoms);
        let summary = Summary::of(sets.clone(), &atoms);
        shortened += usize::from(summary.parts.len() < sets.len());
        with_exceptions += usize::from(!summary.except.is_empty());
        for point in &points {
            let inside = boxes.iter().any(|packets| packets.contains(point));
            let in_parts = summary.parts.iter().any(|part| part.contains(point));
            assert_eq!(inside, in_parts, "{boxes:?}\n{summary:?}\n{point:?}");
            assert!(!inside || summary.hull.contains(point), "{boxes:?}\n{summary:?}\n{point:?}");
            if !summary.except.is_empty() || summary.is_product() {
                let excepted = summary.except.iter().any(|part| part.contains(point));
                let told = summary.hull.contains(point) && !excepted;
                assert_eq!(inside, told, "{boxes:?}\n{summary:?}\n{point:?}");
            }
        }
    }
    assert!(shortened > 10 && with_exceptions > 20, "{shortened} {with_exceptions}");
}
