//! Boxes: products of one dim for each field.

use crate::{AtomTable, Cube, Dim, Field, FieldKind, Point};
use smallvec::SmallVec;

/// A set of packets: for each field an interval or a cube of values. Fields that aren't named are unrestricted.
/// Never empty: operations that could make it so return `None` or nothing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PacketBox {
    /// Sorted by field. Room for what most questions restrict, so that copies need no memory of their own.
    dims: SmallVec<[(Field, Dim); 12]>,
    /// The fixed fields in `dims`, one bit for each: where a field stands is the number of bits below its own.
    named: u32,
}

// Copies the entries as they are; the derived one would go through them one by one.
impl Clone for PacketBox {
    fn clone(&self) -> PacketBox {
        PacketBox { dims: SmallVec::from_slice(&self.dims), named: self.named }
    }
}

impl PacketBox {
    /// Every packet.
    pub fn all() -> PacketBox {
        PacketBox::default()
    }

    /// The restricted fields in ascending order.
    #[inline]
    pub fn dims(&self) -> &[(Field, Dim)] {
        &self.dims
    }

    /// Where a field stands in `dims`, or would. O(1), of a dynamic field O(log fields).
    #[inline]
    fn place(&self, field: Field) -> Result<usize, usize> {
        if field.is_dynamic() {
            return self.dims.binary_search_by_key(&field, |entry| entry.0);
        }
        let bit = 1u32 << field.index();
        let before = (self.named & (bit - 1)).count_ones() as usize;
        if self.named & bit == 0 { Err(before) } else { Ok(before) }
    }

    /// The restriction of a field; `None` where it is unrestricted. O(1), of a dynamic field O(log fields).
    #[inline]
    pub fn get(&self, field: Field) -> Option<&Dim> {
        self.place(field).ok().and_then(|at| self.dims.get(at)).map(|entry| &entry.1)
    }

    /// The values of a field, from the atom table's domain where the box doesn't restrict it.
    pub fn dim(&self, field: Field, atoms: &AtomTable) -> Dim {
        self.get(field).copied().unwrap_or_else(|| PacketBox::full(field, atoms))
    }

    /// All values of a field.
    pub fn full(field: Field, atoms: &AtomTable) -> Dim {
        match field.kind() {
            FieldKind::Range => {
                let (low, high) = atoms.domain(field);
                Dim::Range(low, high)
            }
            FieldKind::Bits => Dim::Bits(Cube { mask: 0, value: 0 }),
        }
    }

    /// Sets the values of a field, whatever they were.
    pub fn set(&mut self, field: Field, dim: Dim) {
        match self.place(field) {
            Ok(at) => {
                if let Some(entry) = self.dims.get_mut(at) {
                    entry.1 = dim;
                }
            }
            Err(at) => self.insert(at, field, dim),
        }
    }

    fn insert(&mut self, at: usize, field: Field, dim: Dim) {
        if !field.is_dynamic() {
            self.named |= 1 << field.index();
        }
        self.dims.insert(at, (field, dim));
    }

    /// The box with a field set; for building.
    #[must_use]
    pub fn with(mut self, field: Field, dim: Dim) -> PacketBox {
        self.set(field, dim);
        self
    }

    /// The box with a field set to one value; for building.
    #[must_use]
    pub fn with_value(self, field: Field, value: u128) -> PacketBox {
        self.with(field, Dim::single(field.kind(), field.max_value(), value))
    }

    /// Lifts the restriction of a field.
    pub fn clear(&mut self, field: Field) {
        if let Ok(at) = self.place(field) {
            self.dims.remove(at);
            if !field.is_dynamic() {
                self.named &= !(1 << field.index());
            }
        }
    }

    /// Keeps only the values of `field` that are in `dim`. False, and unchanged, where none are left.
    #[must_use]
    pub fn restrict(&mut self, field: Field, dim: Dim) -> bool {
        match self.place(field) {
            Ok(at) => {
                let Some(entry) = self.dims.get_mut(at) else { return false };
                let Some(common) = entry.1.intersect(&dim) else { return false };
                entry.1 = common;
            }
            Err(at) => self.insert(at, field, dim),
        }
        true
    }

    /// Membership. O(fields).
    pub fn contains(&self, point: &Point) -> bool {
        self.dims.iter().all(|(field, dim)| dim.contains(point.get(*field)))
    }

    /// The packets in both; `None` where there are none. O(fields).
    pub fn intersect(&self, other: &PacketBox) -> Option<PacketBox> {
        let mut common = self.clone();
        for (field, dim) in &other.dims {
            if !common.restrict(*field, *dim) {
                return None;
            }
        }
        Some(common)
    }

    /// True where some packet is in both. O(fields).
    pub fn overlaps(&self, other: &PacketBox) -> bool {
        other.dims.iter().all(|(field, dim)| self.get(*field).is_none_or(|own| own.intersect(dim).is_some()))
    }

    /// True where every packet of `other` is in `self`. O(fields).
    pub fn covers(&self, other: &PacketBox, atoms: &AtomTable) -> bool {
        self.dims.iter().all(|(field, dim)| dim.covers(&other.dim(*field, atoms)))
    }

    /// `self` without `other`, as disjoint boxes, a few for each field that `other` restricts. O(fields²).
    pub fn subtract(&self, other: &PacketBox, atoms: &AtomTable) -> Vec<PacketBox> {
        if !self.overlaps(other) {
            return vec![self.clone()];
        }
        let mut pieces = Vec::new();
        let mut rest = self.clone();
        for (field, cut) in &other.dims {
            let own = rest.dim(*field, atoms);
            let Some(common) = own.intersect(cut) else {
                // `cut` is outside of the field's domain, so `other` holds no packet of `self`.
                return vec![self.clone()];
            };
            if common == own {
                continue;
            }
            for part in own.subtract(cut) {
                let mut piece = rest.clone();
                piece.set(*field, part);
                pieces.push(piece);
            }
            rest.set(*field, common);
        }
        pieces
    }
}
