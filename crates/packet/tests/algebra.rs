//! The set algebra against brute force on small spaces.

use firewarden_packet::{AtomTable, Cube, Dim, Field, FieldKind, IntervalSet, PacketBox, Point};
use proptest::prelude::*;

/// Numbers near 0 and near the top, where overflow lives.
const EDGE: u128 = 40;

fn small() -> Vec<u128> {
    (0..EDGE).chain(u128::MAX - EDGE + 1..=u128::MAX).collect()
}

fn number() -> impl Strategy<Value = u128> {
    (0..EDGE, any::<bool>()).prop_map(|(value, top)| if top { u128::MAX - value } else { value })
}

fn ranges() -> impl Strategy<Value = Vec<(u128, u128)>> {
    proptest::collection::vec((number(), number()), 0..6)
}

fn is_canonical(set: &IntervalSet) -> bool {
    set.ranges().iter().all(|(low, high)| low <= high)
        && set.ranges().windows(2).all(|pair| pair[0].1 < u128::MAX && pair[0].1 + 1 < pair[1].0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn interval_sets(a in ranges(), b in ranges(), max in number(), low in number(), high in number()) {
        let (left, right) = (IntervalSet::from_ranges(a.clone()), IntervalSet::from_ranges(b.clone()));
        let member = |ranges: &[(u128, u128)], value| ranges.iter().any(|(l, h)| (*l..=*h).contains(&value));
        let (and, or) = (left.intersect(&right), left.union(&right));
        let (minus, not) = (left.subtract(&right), left.complement(max));
        for set in [&left, &right, &and, &or, &minus, &not] {
            prop_assert!(is_canonical(set), "{set:?}");
        }
        for value in small() {
            let (l, r) = (member(&a, value), member(&b, value));
            prop_assert_eq!(left.contains(value), l);
            prop_assert_eq!(and.contains(value), l && r);
            prop_assert_eq!(or.contains(value), l || r);
            prop_assert_eq!(minus.contains(value), l && !r);
            prop_assert_eq!(not.contains(value), !l && value <= max, "{}", value);
            let (from, to) = left.stretch(value);
            prop_assert!(from <= value && value <= to);
            for other in small() {
                if (from..=to).contains(&other) {
                    prop_assert_eq!(left.contains(other), l);
                }
            }
            if from > 0 {
                prop_assert_ne!(left.contains(from - 1), l);
            }
            if to < u128::MAX {
                prop_assert_ne!(left.contains(to + 1), l);
            }
        }
        if low <= high {
            let inside = IntervalSet::range(low, high);
            prop_assert_eq!(left.overlaps(low, high), !left.intersect(&inside).is_empty());
            prop_assert_eq!(left.covers(low, high), inside.subtract(&left).is_empty());
        }
        prop_assert_eq!(left.hull().is_none(), left.is_empty());
        if let Some((low, high)) = left.hull() {
            prop_assert!(left.contains(low) && left.contains(high));
            prop_assert!(left.intersect(&IntervalSet::range(low, high)) == left);
        }
    }

    #[test]
    fn cubes_of_a_range(low in 0u128..300, high in 0u128..300, width in 1u32..=8) {
        let cubes = Cube::of_range(low, high, width);
        for word in 0..1u128 << width {
            let holders = cubes.iter().filter(|cube| cube.contains(word)).count();
            prop_assert_eq!(holders, usize::from((low..=high).contains(&word)));
        }
        prop_assert!(cubes.len() <= 2 * width as usize);
    }

    #[test]
    fn cubes_of_a_wide_range(low in number(), high in number()) {
        let cubes = Cube::of_range(low, high, 128);
        for word in small() {
            let holders = cubes.iter().filter(|cube| cube.contains(word)).count();
            prop_assert_eq!(holders, usize::from((low..=high).contains(&word)));
        }
    }
}

fn dim(kind: FieldKind, max: u128) -> BoxedStrategy<Dim> {
    match kind {
        FieldKind::Range => (0..=max, 0..=max).prop_map(|(a, b)| Dim::Range(a.min(b), a.max(b))).boxed(),
        FieldKind::Bits => {
            (0..=max, 0..=max).prop_map(|(mask, value)| Dim::Bits(Cube::new(mask, value))).boxed()
        }
    }
}

fn two_dims() -> impl Strategy<Value = (Dim, Dim, u128)> {
    prop_oneof![
        (dim(FieldKind::Range, 31), dim(FieldKind::Range, 31), Just(31)),
        (dim(FieldKind::Bits, 31), dim(FieldKind::Bits, 31), Just(31)),
    ]
}

/// Fields with small domains, of both kinds, one of them dynamic.
fn space() -> (AtomTable, Vec<(Field, Vec<u128>)>) {
    let mut atoms = AtomTable::default();
    let atom = atoms.atom("", "limit", "limit", firewarden_packet::Purity::Stateful);
    let fields = vec![
        (Field::NFPROTO, (2..=10).collect()),
        (Field::TCP_FLAGS, (0..8).chain([0x80, 0xff]).collect()),
        (Field::CT_STATE, (0..=4).collect()),
        (atom, vec![0, 1]),
    ];
    (atoms, fields)
}

fn region() -> impl Strategy<Value = PacketBox> {
    let (_, fields) = space();
    // One past the domain on each side: boxes of values that no packet has must be harmless.
    let dims: Vec<_> = fields
        .into_iter()
        .map(|(field, _)| {
            let max = if field.kind() == FieldKind::Bits { 7 } else { 12 };
            (Just(field), proptest::option::of(dim(field.kind(), max)))
        })
        .collect();
    dims.prop_map(|dims| {
        let mut region = PacketBox::all();
        for (field, dim) in dims {
            if let Some(dim) = dim {
                region.set(field, dim);
            }
        }
        region
    })
}

fn points() -> Vec<Point> {
    let mut points = vec![Point::default()];
    for (field, values) in space().1 {
        points = points
            .iter()
            .flat_map(|point| values.iter().map(move |&value| point.clone().with(field, value)))
            .collect();
    }
    points
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn dims((a, b, max) in two_dims(), wanted in 0u128..=31) {
        let common = a.intersect(&b);
        let rest = a.subtract(&b);
        let mut covers = true;
        for value in 0..=max {
            let (l, r) = (a.contains(value), b.contains(value));
            prop_assert_eq!(common.is_some_and(|common| common.contains(value)), l && r);
            let holders = rest.iter().filter(|part| part.contains(value)).count();
            prop_assert_eq!(holders, usize::from(l && !r));
            covers &= l || !r;
        }
        prop_assert_eq!(a.covers(&b), covers);
        prop_assert!(a.contains(a.nearest(wanted)) && a.contains(a.first()));
        if a.contains(wanted) {
            prop_assert_eq!(a.nearest(wanted), wanted);
        }
        prop_assert_eq!((0..=max).find(|&value| a.contains(value)), Some(a.first()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn boxes(a in region(), b in region()) {
        let (atoms, _) = space();
        let common = a.intersect(&b);
        prop_assert_eq!(common.is_some(), a.overlaps(&b));
        let rest = a.subtract(&b, &atoms);
        let covers = a.covers(&b, &atoms);
        for point in points() {
            let (l, r) = (a.contains(&point), b.contains(&point));
            prop_assert_eq!(common.as_ref().is_some_and(|common| common.contains(&point)), l && r);
            let holders = rest.iter().filter(|part| part.contains(&point)).count();
            prop_assert_eq!(holders, usize::from(l && !r));
            prop_assert!(!covers || l || !r);
        }
        prop_assert!(a.covers(&a, &atoms) && PacketBox::all().covers(&a, &atoms));
        let nearest = Point::in_box(&a, &Point::default());
        prop_assert!(a.contains(&nearest));
    }
}
