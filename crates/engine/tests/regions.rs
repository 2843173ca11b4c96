//! A decision holds for its whole region: random rulesets of every statement, and for each decided region random other
//! points of it, which must meet the same rules and be rewritten alike.

mod random;

use firewarden_engine::{Detail, Engine, Fate, Flow, Peeler};
use firewarden_packet::{Dim, Field, FieldKind, PacketBox, Point};
use firewarden_ruleset::Unknown;
use firewarden_ruleset::ir::Hook;
use random::{Dice, World};

const FIELDS: [Field; 9] = [
    Field::SADDR,
    Field::DADDR,
    Field::L4PROTO,
    Field::SPORT,
    Field::DPORT,
    Field::TCP_FLAGS,
    Field::CT_MARK,
    Field::CT_STATUS,
    Field::TTL,
];

/// A random point of a box, with values near the constants of the rules.
fn point_in(dice: &mut Dice, region: &PacketBox, world: &World) -> Point {
    let mut point = Point::default();
    for field in FIELDS.into_iter().chain(world.atoms.iter().map(|(field, _)| field)) {
        let dim = region.dim(field, &world.atoms);
        let wanted = match dim {
            Dim::Range(low, high) => match dice.below(4) {
                0 => low,
                1 => high,
                _ => dice.value(field),
            },
            Dim::Bits(_) => dice.value(field),
        };
        point.set(field, dim.nearest(wanted));
    }
    for (field, dim) in region.dims() {
        point.set(*field, dim.nearest(point.get(*field)));
    }
    point
}

fn question(dice: &mut Dice) -> PacketBox {
    let mut question = PacketBox::all().with_value(Field::NFPROTO, 2).with_value(Field::CT_STATE, 3);
    for field in [Field::MARK, Field::IIFNAME, Field::OIFNAME] {
        question.set(field, Dim::single(field.kind(), field.max_value(), 0));
    }
    if dice.below(2) == 0 {
        let (a, b) = (dice.value(Field::DPORT), dice.value(Field::DPORT));
        question.set(Field::DPORT, Dim::Range(a.min(b), a.max(b)));
    }
    question
}

fn regions_hold(detail: Detail, seeds: std::ops::Range<u64>) -> u64 {
    let mut compared = 0;
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let world = World::random(&mut dice);
        let engine = Engine::new(&world.ruleset);
        let mut peeler = Peeler::new([question(&mut dice)]);
        for _ in 0..30 {
            let Some(piece) = peeler.piece().cloned() else { break };
            let point = point_in(&mut dice, &piece, &world);
            let mut flow = Flow::new(piece.clone(), point, &world.atoms);
            let mut budget = 1_000_000;
            let decision =
                engine.run_hook(Hook::Prerouting, &mut flow, &Unknown, detail, &mut budget).unwrap();
            let region = flow.region().clone();
            assert!(piece.covers(&region, &world.atoms), "seed {seed}: the region leaves the question");
            assert!(region.contains(flow.origin()), "seed {seed}: the region lost its point");
            for _ in 0..20 {
                let other = point_in(&mut dice, &region, &world);
                assert!(region.contains(&other));
                let mut alone = Flow::new(region.clone(), other.clone(), &world.atoms);
                let again =
                    engine.run_hook(Hook::Prerouting, &mut alone, &Unknown, detail, &mut budget).unwrap();
                if detail == Detail::Rules {
                    assert_eq!(decision, again, "seed {seed}: other rules at {other:?}\nin {region:?}");
                }
                let accepted = |fate| fate == Fate::Accepted;
                assert_eq!(
                    accepted(decision.fate),
                    accepted(again.fate),
                    "seed {seed}: another fate at {other:?}\nin {region:?}"
                );
                for field in
                    [Field::SADDR, Field::DADDR, Field::DPORT, Field::MARK, Field::CT_MARK, Field::CT_STATUS]
                {
                    let (image, value) = (flow.image(field), alone.now().get(field));
                    assert!(
                        image.contains(value),
                        "seed {seed}: {field:?} is {value:#x}, outside of {image:?}"
                    );
                    if let (FieldKind::Range, Dim::Range(low, high)) = (field.kind(), image) {
                        assert!(low <= high, "seed {seed}: {field:?} has an image of nothing");
                    }
                }
                compared += 1;
            }
            peeler.cut(&region, &world.atoms);
        }
    }
    compared
}

#[test]
fn every_point_of_a_region_meets_the_same_rules() {
    assert!(regions_hold(Detail::Rules, 0..400) > 50_000);
}

#[test]
fn every_point_of_a_coarse_region_shares_the_fate() {
    assert!(regions_hold(Detail::Fate, 1000..1400) > 50_000);
}

#[test]
fn peeling_ends_and_leaves_nothing_out() {
    let mut ended = 0;
    for seed in 5000..5060 {
        let mut dice = Dice::new(seed);
        let world = World::random_small(&mut dice);
        let engine = Engine::new(&world.ruleset);
        let whole = question(&mut dice);
        let mut peeler = Peeler::new([whole.clone()]);
        let mut regions: Vec<PacketBox> = Vec::new();
        while let Some(piece) = peeler.piece().cloned() {
            let point = point_in(&mut dice, &piece, &world);
            let mut flow = Flow::new(piece, point, &world.atoms);
            let mut budget = 1_000_000;
            engine.run_hook(Hook::Prerouting, &mut flow, &Unknown, Detail::Fate, &mut budget).unwrap();
            let region = flow.region().clone();
            assert!(!regions.iter().any(|other| other.overlaps(&region)), "seed {seed}: decided twice");
            peeler.cut(&region, &world.atoms);
            regions.push(region);
            if regions.len() > 10_000 {
                break;
            }
        }
        if peeler.piece().is_some() {
            continue;
        }
        ended += 1;
        for _ in 0..200 {
            let point = point_in(&mut dice, &whole, &world);
            assert_eq!(
                regions.iter().filter(|region| region.contains(&point)).count(),
                1,
                "seed {seed}: {point:?}"
            );
        }
    } // A few questions fall apart into too many regions, which is what budgets are for.
    assert!(ended >= 50, "only {ended} of 60 questions were taken apart");
    println!("{ended} of 60 questions taken apart");
}
