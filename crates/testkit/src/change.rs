//! A change of a ruleset, with what a diff says of it held against the interpreter.

use crate::generate::{Generated, Syntax};
use crate::host::{Way, World};
use crate::load::load;
use crate::packets::{Constants, packet};
use crate::random::Random;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, Point, ct_state, text};
use firewarden_ruleset::ir::Ruleset;
use firewarden_verify::diff::{
    COMPARED, Compared, DiffOptions, Effect, Ending, HostPair, align_atoms, follow,
};

/// Boxes of one change of which points are taken, at most.
const MOST_BOXES: usize = 40;

/// Two versions of a ruleset on one host of which nothing else is known.
#[derive(Debug)]
pub struct Change {
    pub(crate) before: Host,
    pub(crate) after: Host,
    pub(crate) atoms: AtomTable,
}

impl Change {
    /// The dynamic fields of both are from `atoms`.
    pub fn new(before: Ruleset, after: Ruleset, atoms: AtomTable) -> Change {
        let mut after = after;
        align_atoms(&before, &mut after, &atoms);
        let host = |ruleset| Host { name: "host".into(), ruleset, forwards: true, ..Host::default() };
        Change { before: host(before), after: host(after), atoms }
    }

    /// Two texts.
    ///
    /// # Errors
    /// What the frontends found wrong with one of them.
    pub fn of(before: &Generated, after: &Generated) -> Result<Change, String> {
        let mut atoms = AtomTable::default();
        let first = load(before, &mut atoms).map_err(|errors| errors.join("; "))?;
        let second = load(after, &mut atoms).map_err(|errors| errors.join("; "))?;
        Ok(Change::new(first, second, atoms))
    }

    /// What the diff says.
    pub fn compare(&self, limits: DiffOptions) -> Compared {
        HostPair::new(&self.before, &self.after, &self.atoms).compare(&self.atoms, limits)
    }

    /// Holds what the diff says against the interpreter: points of each box that is told of must fare differently, as
    /// it says; of `packets` others, those in no box must fare alike. Gives how many points were asked.
    ///
    /// # Errors
    /// The first point of which the two disagree, in words.
    pub fn hold(&self, found: &Compared, seed: u64, packets: usize) -> Result<usize, String> {
        if let Some(unconfirmed) = &found.unconfirmed {
            return Err(unconfirmed.clone());
        }
        let mut random = Random::new(seed ^ 0x5eed);
        Ok(self.inside(found, &mut random)? + self.anywhere(found, &mut random, packets)?)
    }

    pub(crate) fn both(&self, point: &Point) -> ((Ending, Point), (Ending, Point)) {
        (follow(&self.before, point, &self.atoms), follow(&self.after, point, &self.atoms))
    }

    fn inside(&self, found: &Compared, random: &mut Random) -> Result<usize, String> {
        let mut asked = 0;
        for change in &found.changes {
            for region in change.packets.iter().take(MOST_BOXES) {
                for _ in 0..3 {
                    let mut point = change.witness.clone();
                    for (field, dim) in region.dims() {
                        point.set(*field, dim.nearest(random.wide() & field.max_value()));
                    }
                    let (before, after) = self.both(&point);
                    let by_chance = change.coincidences && equal_by_chance(&before, &after, change.effect);
                    if !by_chance && !differs(&before, &after, change.effect) {
                        let packet = text::format(&point, &self.atoms);
                        return Err(format!(
                            "{:?} doesn't hold for `{packet}` of {region:?}: {:?} before, {:?} after",
                            change.effect, before.0, after.0
                        ));
                    }
                    asked += 1;
                }
            }
        }
        Ok(asked)
    }

    fn anywhere(&self, found: &Compared, random: &mut Random, packets: usize) -> Result<usize, String> {
        let constants = [Constants::of(&self.before.ruleset), Constants::of(&self.after.ruleset)];
        let world = World {
            text: Generated { syntax: Syntax::Nft, lines: Vec::new() },
            ruleset: self.after.ruleset.clone(),
            atoms: self.atoms.clone(),
        };
        for number in 0..packets {
            let way = random.of(&[Way::Input, Way::Forward, Way::Output]);
            let mut point = packet(random, &world, &constants[number % 2], way);
            match way {
                Way::Input => point.set(Field::OIFNAME, 0),
                Way::Output => point.set(Field::IIFNAME, 0),
                Way::Forward => {}
            }
            // Conntrack doesn't look at these messages of IPv6, so that no other state of theirs exists.
            let neighbours = matches!(point.get(Field::ICMP_TYPE), 130..=136 | 143 | 151 | 152);
            if point.get(Field::L4PROTO) == 58 && neighbours {
                point.set(Field::CT_STATE, ct_state::UNTRACKED);
            }
            let (before, after) = self.both(&point);
            let told = found
                .changes
                .iter()
                .find(|change| change.packets.iter().any(|region| region.contains(&point)));
            let open = found.undecided.iter().any(|region| region.contains(&point));
            let by_chance = told
                .is_some_and(|change| change.coincidences && equal_by_chance(&before, &after, change.effect));
            let told = told.is_some();
            if !open && !by_chance && told == same(&before, &after) {
                let packet = text::format(&point, &self.atoms);
                let told = if told { "told of" } else { "not told of" };
                return Err(format!("`{packet}` is {told}: {:?} before, {:?} after", before.0, after.0));
            }
        }
        Ok(packets)
    }
}

/// What differs between two endings, if anything that a diff tells.
fn differs(before: &(Ending, Point), after: &(Ending, Point), effect: Effect) -> bool {
    match effect {
        Effect::Blocked => {
            matches!((before.0, after.0), (Ending::Passes(_), Ending::Refused { .. } | Ending::NotForwarded))
        }
        Effect::Allowed => {
            matches!((before.0, after.0), (Ending::Refused { .. } | Ending::NotForwarded, Ending::Passes(_)))
        }
        Effect::RefusedOtherwise => match (before.0, after.0) {
            (Ending::Refused { fate, .. }, Ending::Refused { fate: other, .. }) => fate != other,
            _ => false,
        },
        Effect::Rewritten(None) => match (before.0, after.0) {
            (Ending::Passes(from), Ending::Passes(to)) => from != to,
            _ => false,
        },
        Effect::Rewritten(Some(field)) => {
            matches!((before.0, after.0), (Ending::Passes(_), Ending::Passes(_)))
                && before.1.get(field) != after.1.get(field)
        }
    }
}

/// Whether a packet gets the same value on both sides, of those that mostly get different ones.
fn equal_by_chance(before: &(Ending, Point), after: &(Ending, Point), effect: Effect) -> bool {
    match (effect, before.0, after.0) {
        (Effect::Rewritten(Some(field)), Ending::Passes(from), Ending::Passes(to)) => {
            from == to && before.1.get(field) == after.1.get(field)
        }
        _ => false,
    }
}

fn same(before: &(Ending, Point), after: &(Ending, Point)) -> bool {
    match (before.0, after.0) {
        (Ending::Impossible, _) | (_, Ending::Impossible) => true,
        (Ending::Passes(from), Ending::Passes(to)) => {
            from == to && COMPARED.iter().all(|field| before.1.get(*field) == after.1.get(*field))
        }
        (Ending::Refused { fate, .. }, Ending::Refused { fate: other, .. }) => fate == other,
        (Ending::NotForwarded, Ending::Refused { .. } | Ending::NotForwarded)
        | (Ending::Refused { .. }, Ending::NotForwarded) => true,
        _ => false,
    }
}
