//! Taking a question apart: one decided region after the other, until nothing is left.

use firewarden_packet::{AtomTable, PacketBox};

/// The part of a question that isn't decided yet.
///
/// ```text
/// while let Some(piece) = peeler.next() { decide a point of piece; peeler.cut(&decided_region) }
/// ```
#[derive(Clone, Debug)]
pub struct Peeler {
    /// The last one is the current piece.
    pieces: Vec<PacketBox>,
}

impl Peeler {
    /// A question as boxes that don't overlap.
    pub fn new(question: impl IntoIterator<Item = PacketBox>) -> Peeler {
        let mut pieces: Vec<PacketBox> = question.into_iter().collect();
        pieces.reverse();
        Peeler { pieces }
    }

    /// A piece that isn't decided yet, `None` when all is. The same piece until [`Peeler::cut`] takes from it.
    pub fn piece(&self) -> Option<&PacketBox> {
        self.pieces.last()
    }

    /// Takes a decided region, which must be inside the current piece, out of it. O(fields²).
    pub fn cut(&mut self, decided: &PacketBox, atoms: &AtomTable) {
        if let Some(piece) = self.pieces.pop() {
            self.pieces.extend(piece.subtract(decided, atoms));
        }
    }

    /// Gives the rest of the current piece up, for a caller that knows enough about it.
    pub fn skip(&mut self) {
        self.pieces.pop();
    }

    /// How many pieces are waiting.
    pub fn waiting(&self) -> usize {
        self.pieces.len()
    }
}
