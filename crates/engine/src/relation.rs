//! How two values of a field compare that two flows wrote for one question: the same packets, under two rulesets.

use crate::flow::{Expr, Flow, Origin};
use firewarden_packet::{Dim, Field, Point};

/// How two values compare, over all packets of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Equal at every packet.
    Same,
    /// Different at every packet.
    Apart,
    /// One is the same for every packet, so that intervals of the other tell where they differ.
    Cut,
    /// They are equal by coincidence only: both vary, or the kernel chooses one of them. No few boxes hold the packets for
    /// which that is so.
    Loose,
}

impl Flow<'_> {
    /// How two values of a field compare over the region. O(fields of the values).
    pub fn relation(&self, field: Field, left: &Origin, right: &Origin) -> Relation {
        if left.expr == right.expr {
            return Relation::Same;
        }
        let images = (self.image_of(&left.expr, field), self.image_of(&right.expr, field));
        match (only(&images.0, field), only(&images.1, field)) {
            (Some(one), Some(other)) if one == other => return Relation::Same,
            (Some(_), Some(_)) => return Relation::Apart,
            _ => {}
        }
        let chosen = |origin: &Origin| variables(&origin.expr).any(|(of, _)| of.is_dynamic());
        if left.always_differs(right) || are_disjoint(&images.0, &images.1) {
            Relation::Apart
        } else if chosen(left) || chosen(right) || !(left.is_constant() || right.is_constant()) {
            Relation::Loose
        } else {
            Relation::Cut
        }
    }

    /// A packet of the region for which two values differ that are equal at the followed one; `None` where changing one
    /// field doesn't part them. O(bits of the values).
    pub fn parting(&self, left: &Origin, right: &Origin) -> Option<Point> {
        for (of, mask) in variables(&left.expr).chain(variables(&right.expr)) {
            let value = self.origin().get(of);
            let others: Vec<u128> = match self.region().dim(of, self.atoms()) {
                Dim::Range(low, high) => [value.checked_add(1), value.checked_sub(1)]
                    .into_iter()
                    .flatten()
                    .filter(|other| (low..=high).contains(other))
                    .collect(),
                Dim::Bits(cube) => {
                    let free = mask & of.max_value() & !cube.mask;
                    (0..u128::BITS)
                        .map(|bit| 1 << bit)
                        .filter(|bit| free & bit != 0)
                        .map(|bit| value ^ bit)
                        .collect()
                }
            };
            for other in others {
                let mut point = self.origin().clone();
                point.set(of, other);
                if value_at(&left.expr, &point) != value_at(&right.expr, &point) {
                    return Some(point);
                }
            }
        }
        None
    }

    /// Keeps only the packets that are in the region of another flow of the same point too.
    pub fn keep_shared(&mut self, other: &Flow<'_>) {
        if let Some(shared) = self.region().intersect(other.region()) {
            self.set_region(shared);
        }
    }
}

/// The fields of the question that a value comes from, and which bits of them.
fn variables(expr: &Expr) -> impl Iterator<Item = (Field, u128)> {
    let (shifted, terms) = match expr {
        Expr::Const(_) => (None, None),
        Expr::Shift { of, .. } => (Some((*of, u128::MAX)), None),
        Expr::Bits(mix) => (None, Some(mix.terms.iter().copied())),
    };
    shifted.into_iter().chain(terms.into_iter().flatten())
}

fn value_at(expr: &Expr, point: &Point) -> u128 {
    match expr {
        Expr::Const(value) => *value,
        Expr::Shift { of, add } => point.get(*of).wrapping_add(*add),
        Expr::Bits(mix) => {
            mix.terms.iter().fold(mix.xor, |value, (of, mask)| value ^ (point.get(*of) & mask))
        }
    }
}

/// The value where there is only one.
fn only(dim: &Dim, field: Field) -> Option<u128> {
    match *dim {
        Dim::Range(low, high) => (low == high).then_some(low),
        Dim::Bits(cube) => (cube.mask & field.max_value() == field.max_value()).then_some(cube.value),
    }
}

fn are_disjoint(left: &Dim, right: &Dim) -> bool {
    match (*left, *right) {
        // A shifted range may wrap; then it is taken to be anywhere.
        (Dim::Range(low, high), Dim::Range(other_low, other_high)) => {
            low <= high && other_low <= other_high && (high < other_low || other_high < low)
        }
        (Dim::Bits(cube), Dim::Bits(other)) => !cube.overlaps(other),
        (Dim::Range(low, high), Dim::Bits(cube)) | (Dim::Bits(cube), Dim::Range(low, high)) => {
            low == high && !cube.contains(low)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Relation;
    use crate::flow::{Flow, Origin};
    use firewarden_packet::{AtomTable, Dim, Field, PacketBox, Point};

    #[test]
    fn values_compare_over_the_whole_region() {
        let atoms = AtomTable::default();
        let region = PacketBox::all()
            .with(Field::SADDR, Dim::Range(10, 19))
            .with(Field::DADDR, Dim::Range(15, 30))
            .with(Field::SPORT, Dim::Range(40, 50));
        let flow = Flow::new(region.clone(), Point::in_box(&region, &Point::default()), &atoms);
        let of = |field| flow.take(field);
        let relation = |left: &Origin, right: &Origin| flow.relation(Field::SADDR, left, right);
        assert_eq!(relation(&of(Field::SADDR), &of(Field::SADDR)), Relation::Same);
        assert_eq!(relation(&of(Field::SADDR), &of(Field::SPORT)), Relation::Apart);
        assert_eq!(relation(&of(Field::SADDR), &Origin::constant(5)), Relation::Apart);
        assert_eq!(relation(&of(Field::SADDR), &Origin::constant(12)), Relation::Cut);
        assert_eq!(relation(&of(Field::SADDR), &of(Field::DADDR)), Relation::Loose);
    }

    #[test]
    fn a_parting_packet_is_in_the_region_and_parts() {
        let atoms = AtomTable::default();
        let region =
            PacketBox::all().with(Field::SADDR, Dim::Range(7, 7)).with(Field::DADDR, Dim::Range(3, 7));
        let point = Point::default().with(Field::SADDR, 7).with(Field::DADDR, 7);
        let flow = Flow::new(region.clone(), point, &atoms);
        let other = flow.parting(&flow.take(Field::SADDR), &flow.take(Field::DADDR)).unwrap();
        assert!(region.contains(&other) && other.get(Field::SADDR) != other.get(Field::DADDR));
        let words = flow.parting(&flow.take(Field::MARK), &flow.take(Field::CT_MARK)).unwrap();
        assert_ne!(words.get(Field::MARK), words.get(Field::CT_MARK));
        assert_eq!(flow.parting(&flow.take(Field::MARK), &flow.take(Field::MARK)), None);
    }
}
