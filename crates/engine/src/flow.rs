//! A packet on its way, together with the set of packets that have shared its fate so far.

use firewarden_packet::{AtomTable, Cube, Dim, Field, FieldKind, IntervalSet, PacketBox, Point};
use smallvec::SmallVec;

/// How the present value of a field comes from the packet of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    /// The same for all packets of the region.
    Const(u128),
    /// The value of a field of the question, plus a number (wrapping).
    Shift { of: Field, add: u128 },
    /// A mix of words of the question. Elsewhere, so that the others are as small as they can be.
    Bits(Box<Mix>),
}

/// The exclusive or of masked words of the question, and of `xor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) terms: Terms,
    pub(crate) xor: u128,
}

/// Words of the question under masks; rarely more than one.
type Terms = SmallVec<[(Field, u128); 1]>;

/// Which fields were written since the question, and with what.
#[derive(Clone, Debug, Default)]
struct Written {
    /// The fixed fields that hold a value which doesn't come from the question: the present one. One bit for each.
    constants: u32,
    /// The fixed fields that are among `others`. One bit for each.
    listed: u32,
    /// All other written fields, in no order.
    others: SmallVec<[(Field, Expr); 6]>,
}

impl Written {
    /// The bit of a fixed field.
    fn bit(field: Field) -> Option<u32> {
        (field.index() < Field::FIXED).then(|| 1 << field.index())
    }

    fn is_constant(&self, field: Field) -> bool {
        Written::bit(field).is_some_and(|bit| self.constants & bit != 0)
    }

    fn place(&self, field: Field) -> Option<usize> {
        if Written::bit(field).is_some_and(|bit| self.listed & bit == 0) {
            return None;
        }
        self.others.iter().position(|(of, _)| *of == field)
    }

    /// What a field was written with; `None` for constants of fixed fields and for fields that weren't written.
    fn other(&self, field: Field) -> Option<&Expr> {
        self.place(field).and_then(|at| self.others.get(at)).map(|(_, expr)| expr)
    }

    /// A fixed field now holds a value that doesn't come from the question. `bit` is the field's.
    fn put_constant(&mut self, field: Field, bit: u32) {
        if let Some(at) = self.place(field) {
            self.others.swap_remove(at);
        }
        self.constants |= bit;
        self.listed &= !bit;
    }

    fn put(&mut self, field: Field, expr: Expr) {
        if let (Expr::Const(_), Some(bit)) = (&expr, Written::bit(field)) {
            self.put_constant(field, bit);
            return;
        }
        let known = self.place(field);
        if let Some(bit) = Written::bit(field) {
            self.constants &= !bit;
            self.listed |= bit;
        }
        match known.and_then(|at| self.others.get_mut(at)) {
            Some(entry) => entry.1 = expr,
            None => self.others.push((field, expr)),
        }
    }
}

/// A present value and where it comes from; what [`Flow::take`] hands to another flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    value: u128,
    pub(crate) expr: Expr,
}

impl Origin {
    /// The present value at the followed point.
    pub fn value(&self) -> u128 {
        self.value
    }

    /// True where it is the same for every packet of the question.
    pub fn is_constant(&self) -> bool {
        matches!(self.expr, Expr::Const(_))
    }

    /// True where the two surely differ at every packet: the same field of the question, shifted differently.
    pub fn always_differs(&self, other: &Origin) -> bool {
        match (&self.expr, &other.expr) {
            (Expr::Shift { of, add }, Expr::Shift { of: other_of, add: other_add }) => {
                of == other_of && add != other_add
            }
            _ => false,
        }
    }

    /// A value that doesn't come from the question.
    pub fn constant(value: u128) -> Origin {
        Origin { value, expr: Expr::Const(value) }
    }
}

/// The two ends of a packet: address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub address: Origin,
    /// The port.
    pub port: Origin,
}

/// A packet on its way: the followed point with its present values, and the *region*: the packets of the question that
/// have met the same decisions. Every decision that depends on a field cuts the region down to the packets that decide
/// alike; cuts are made in the question's coordinates, through whatever rewrote the field on the way.
///
/// The region always contains the point. All operations keep that.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    pub(crate) atoms: &'a AtomTable,
    /// The followed packet as the question has it.
    origin: Point,
    /// The followed packet as it is now.
    pub(crate) now: Point,
    written: Written,
    region: PacketBox,
    /// The connection's translations, for packets that aren't its first: applied where the kernel applies them.
    pub(crate) translation: Translation,
    pub(crate) source_done: bool,
    pub(crate) destination_done: bool,
    pub(crate) redirected: bool,
    pub(crate) destination_chosen: bool,
    /// The state that conntrack will give the packet when it reaches it; meanwhile `ct state` reads as invalid.
    pub(crate) tracked_later: Option<Origin>,
}

/// What the connection tracking does to a packet of a connection that exists already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The new destination, in prerouting or output.
    pub destination: Option<End>,
    /// The new source, in postrouting or input.
    pub source: Option<End>,
}

impl<'a> Flow<'a> {
    /// Starts to follow `point` within `region`, which must contain it (see [`Point::in_box`]).
    pub fn new(region: PacketBox, point: Point, atoms: &'a AtomTable) -> Flow<'a> {
        debug_assert!(region.contains(&point), "the followed point is not in the region");
        Flow {
            atoms,
            now: point.clone(),
            origin: point,
            written: Written::default(),
            region,
            translation: Translation::default(),
            source_done: false,
            destination_done: false,
            redirected: false,
            destination_chosen: false,
            tracked_later: None,
        }
    }

    /// Another packet of the same connection (a reply, a later one): the same question, point and region, with nothing
    /// written yet. The caller writes what differs.
    #[must_use]
    pub fn sibling(&self) -> Flow<'a> {
        Flow::new(self.region.clone(), self.origin.clone(), self.atoms)
    }

    /// The packets of the question that share the fate of the point so far.
    pub fn region(&self) -> &PacketBox {
        &self.region
    }

    /// The followed packet as the question has it.
    pub fn origin(&self) -> &Point {
        &self.origin
    }

    /// The followed packet as it is now.
    pub fn now(&self) -> &Point {
        &self.now
    }

    /// The table of the question's dynamic fields.
    pub fn atoms(&self) -> &'a AtomTable {
        self.atoms
    }

    /// The present value of a field and where it comes from.
    pub fn take(&self, field: Field) -> Origin {
        Origin { value: self.now.get(field), expr: self.expr(field) }
    }

    /// The source or destination end.
    pub fn end(&self, address: Field, port: Field) -> End {
        End { address: self.take(address), port: self.take(port) }
    }

    /// Writes a field.
    pub fn put(&mut self, field: Field, origin: Origin) {
        self.now.set(field, origin.value);
        self.written.put(field, origin.expr);
    }

    /// Writes a constant to a field.
    pub fn put_value(&mut self, field: Field, value: u128) {
        self.now.set(field, value);
        match Written::bit(field) {
            Some(bit) => self.written.put_constant(field, bit),
            None => self.written.put(field, Expr::Const(value)),
        }
    }

    /// What later packets of the connection are to undergo.
    pub fn set_translation(&mut self, translation: Translation) {
        self.translation = translation;
    }

    fn expr(&self, field: Field) -> Expr {
        if self.written.is_constant(field) {
            return Expr::Const(self.now.get(field));
        }
        if let Some(expr) = self.written.other(field) {
            return expr.clone();
        }
        match field.kind() {
            FieldKind::Range => Expr::Shift { of: field, add: 0 },
            FieldKind::Bits => {
                Expr::Bits(Box::new(Mix { terms: Terms::from_buf([(field, field.max_value())]), xor: 0 }))
            }
        }
    }

    /// The values that a field may have now, over the region.
    pub fn image(&self, field: Field) -> Dim {
        if self.written.is_constant(field) {
            return Dim::single(field.kind(), field.max_value(), self.now.get(field));
        }
        match self.written.other(field) {
            Some(expr) => self.image_of(expr, field),
            None => self.region.dim(field, self.atoms),
        }
    }

    /// The values of an expression over the region, as values of `field`.
    pub(crate) fn image_of(&self, expr: &Expr, field: Field) -> Dim {
        match expr {
            Expr::Const(value) => Dim::single(field.kind(), field.max_value(), *value),
            Expr::Shift { of, add } => match self.region.dim(*of, self.atoms) {
                Dim::Range(low, high) => Dim::Range(low.wrapping_add(*add), high.wrapping_add(*add)),
                bits => bits,
            },
            Expr::Bits(mix) => {
                let (mut unknown, mut value) = (0, mix.xor);
                for (of, mask) in &mix.terms {
                    match self.region.dim(*of, self.atoms) {
                        Dim::Bits(cube) => {
                            unknown |= mask & !cube.mask;
                            value ^= cube.value & mask;
                        }
                        Dim::Range(low, high) if low == high => value ^= low & mask,
                        Dim::Range(..) => unknown |= mask,
                    }
                }
                Dim::Bits(Cube::new(field.max_value() & !unknown, value))
            }
        }
    }

    /// Cuts the region down to the packets whose present value of `field` is in `dim`, which must hold the point's.
    pub fn restrict(&mut self, field: Field, dim: Dim) {
        debug_assert!(dim.contains(self.now.get(field)), "{field:?}: the point is not in {dim:?}");
        if self.written.is_constant(field) {
            return;
        }
        match self.written.other(field).cloned() {
            Some(expr) => self.restrict_expr(&expr, field, dim),
            None => {
                let kept = self.region.restrict(field, dim);
                debug_assert!(kept, "the region lost the point");
                self.forget_full(field);
            }
        }
    }

    /// Cuts the region down to the packets for which the expression, as a value of `field`, is in `dim`.
    fn restrict_expr(&mut self, expr: &Expr, field: Field, dim: Dim) {
        match (expr, dim) {
            (Expr::Const(_), _) => {}
            (Expr::Shift { of, add }, Dim::Range(low, high)) => {
                let Dim::Range(image_low, image_high) = self.image_of(expr, field) else { return };
                let (low, high) = (low.max(image_low), high.min(image_high));
                if low <= high {
                    let kept = self
                        .region
                        .restrict(*of, Dim::Range(low.wrapping_sub(*add), high.wrapping_sub(*add)));
                    debug_assert!(kept, "the region lost the point");
                    self.forget_full(*of);
                }
            }
            (Expr::Shift { of, .. }, Dim::Bits(_)) => self.pin(*of),
            (Expr::Bits(mix), Dim::Bits(cube)) => self.restrict_bits(&mix.terms, mix.xor, cube),
            (Expr::Bits(mix), Dim::Range(..)) => mix.terms.iter().for_each(|(of, _)| self.pin(*of)),
        }
    }

    /// Holds a value that isn't written to `field` yet at what it is for the point.
    pub(crate) fn hold_origin(&mut self, field: Field, origin: &Origin) {
        let dim = Dim::single(field.kind(), field.max_value(), origin.value);
        self.restrict_expr(&origin.expr, field, dim);
    }

    /// Where one of two values (the present one of `field`, and one that isn't written yet) is outside of what the other
    /// may be, keeps it there, so that they differ at every packet. False where both are inside.
    pub fn part_from_image(&mut self, field: Field, new: &Origin) -> bool {
        let (Dim::Range(low, high), Dim::Range(new_low, new_high)) =
            (self.image(field), self.image_of(&new.expr, field))
        else {
            return false;
        };
        let old = self.now.get(field);
        if new.value < low || high < new.value {
            let (low, high) = IntervalSet::range(low, high).stretch(new.value);
            self.restrict_expr(&new.expr, field, Dim::Range(low, high));
            return true;
        }
        if old < new_low || new_high < old {
            let (low, high) = IntervalSet::range(new_low, new_high).stretch(old);
            self.restrict(field, Dim::Range(low, high));
            return true;
        }
        false
    }

    /// Keeps only packets for which a value that isn't written to `field` yet differs from `value`, as it does for the
    /// point.
    pub(crate) fn exclude_value(&mut self, field: Field, origin: &Origin, value: u128) {
        let (low, high) = IntervalSet::single(value).stretch(origin.value);
        self.restrict_expr(&origin.expr, field, Dim::Range(low, high));
    }

    fn restrict_bits(&mut self, terms: &[(Field, u128)], xor: u128, cube: Cube) {
        for (index, (of, mask)) in terms.iter().enumerate() {
            let wanted = mask & cube.mask;
            if wanted == 0 {
                continue;
            }
            let shared = terms
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .fold(0, |shared, (_, (_, other))| shared | (other & wanted));
            if of.kind() == FieldKind::Range {
                self.pin(*of);
                continue;
            }
            // Where two words meet in one bit, both are held at the point's bits.
            let own = self.origin.get(*of);
            let value = ((cube.value ^ xor) & wanted & !shared) | (own & shared);
            let kept = self.region.restrict(*of, Dim::Bits(Cube::new(wanted, value)));
            debug_assert!(kept, "the region lost the point");
        }
    }

    /// Holds a field of the question at the point's value.
    fn pin(&mut self, field: Field) {
        let value = self.origin.get(field);
        let max = if field.kind() == FieldKind::Bits { field.max_value() } else { u128::MAX };
        let kept = self.region.restrict(field, Dim::single(field.kind(), max, value));
        debug_assert!(kept, "the region lost the point");
    }

    /// A dynamic field whose whole domain is allowed is not a restriction.
    fn forget_full(&mut self, field: Field) {
        if field.is_dynamic() && self.region.get(field) == Some(&PacketBox::full(field, self.atoms)) {
            self.region.clear(field);
        }
    }

    pub(crate) fn set_region(&mut self, region: PacketBox) {
        self.region = region;
    }

    /// Holds the present value of a field at the point's.
    pub fn hold(&mut self, field: Field) {
        let value = self.now.get(field);
        let max = if field.kind() == FieldKind::Bits { field.max_value() } else { u128::MAX };
        self.restrict(field, Dim::single(field.kind(), max, value));
    }

    /// The value of a choice of the kernel: the point's, put into the choice's domain.
    pub(crate) fn choice(&mut self, choice: Field) -> Origin {
        let (low, high) = self.atoms.domain(choice);
        let value = self.origin.get(choice).clamp(low, high);
        self.origin.set(choice, value);
        self.now.set(choice, value);
        Origin { value, expr: Expr::Shift { of: choice, add: 0 } }
    }

    /// The exclusive or of masked present values and a constant, for a field of `kind`.
    pub(crate) fn mix(&mut self, kind: FieldKind, terms: &[(Field, u128)], xor: u128) -> Origin {
        let value = terms.iter().fold(xor, |value, (field, mask)| value ^ (self.now.get(*field) & mask));
        match (kind, terms) {
            (_, []) => Origin::constant(xor),
            (FieldKind::Range, [(field, mask)]) if field.kind() == FieldKind::Range => {
                self.prefix(*field, *mask, value)
            }
            (FieldKind::Bits, _) => {
                let mut sum = Terms::new();
                let mut constant = xor;
                for (field, mask) in terms {
                    match self.expr(*field) {
                        Expr::Const(known) => constant ^= known & mask,
                        Expr::Shift { of, .. } => {
                            self.pin(of);
                            constant ^= self.now.get(*field) & mask;
                        }
                        Expr::Bits(mix) => {
                            constant ^= mix.xor & mask;
                            for (of, inner) in mix.terms {
                                match sum.iter_mut().find(|entry| entry.0 == of) {
                                    Some(entry) => entry.1 ^= inner & mask,
                                    None => sum.push((of, inner & mask)),
                                }
                            }
                        }
                    }
                }
                sum.retain(|entry| entry.1 != 0);
                // In one order, so that equal sums are equal values.
                sum.sort_unstable_by_key(|entry| entry.0);
                if sum.is_empty() {
                    return Origin::constant(constant);
                }
                Origin { value, expr: Expr::Bits(Box::new(Mix { terms: sum, xor: constant })) }
            }
            _ => {
                for (field, _) in terms {
                    self.hold(*field);
                }
                Origin::constant(value)
            }
        }
    }

    /// A host part kept behind another prefix: within one block of the mask, a shift. Any other mask holds the field.
    fn prefix(&mut self, field: Field, mask: u128, value: u128) -> Origin {
        if mask & mask.wrapping_add(1) != 0 || value & mask != self.now.get(field) & mask {
            self.hold(field);
            return Origin::constant(value);
        }
        let now = self.now.get(field);
        self.restrict(field, Dim::Range(now & !mask, now | mask));
        match self.expr(field) {
            Expr::Shift { of, add } => {
                Origin { value, expr: Expr::Shift { of, add: add.wrapping_add(value.wrapping_sub(now)) } }
            }
            _ => {
                self.hold(field);
                Origin::constant(value)
            }
        }
    }
}

impl Flow<'_> {
    /// Puts the packet before the next host: nothing is translated there yet.
    pub fn start_host(&mut self) {
        self.source_done = false;
        self.destination_done = false;
        self.tracked_later = None;
        self.redirected = false;
        self.destination_chosen = false;
        self.translation = Translation::default();
    }

    /// Writes a choice that the packet doesn't determine (a dynamic field of the atom table) to a field.
    pub fn put_choice(&mut self, field: Field, choice: Field) {
        let origin = self.choice(choice);
        self.put(field, origin);
    }

    /// Sets bits of a word, whatever they were.
    pub fn set_bits(&mut self, field: Field, bits: u128) {
        let word = self.mix(field.kind(), &[(field, field.max_value() & !bits)], bits);
        self.put(field, word);
    }

    /// True where a rule of the present host redirected the packet to the host itself.
    pub fn redirected(&self) -> bool {
        self.redirected
    }

    /// True where a rule of the present host left the new destination to the kernel, out of several addresses.
    pub fn destination_chosen(&self) -> bool {
        self.destination_chosen
    }
}
