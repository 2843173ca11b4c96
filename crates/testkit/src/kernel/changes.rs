//! Diff against kernel: packets that go through the kernel with the ruleset before and after must fare differently where
//! the diff says so, and nowhere else.

use super::{Askable, Failure, Kernel, Question, unanswerable};
use crate::change::Change;
use crate::edit::edited;
use crate::generate::{Generated, ruleset};
use crate::host::{Around, INTERFACES, Passage, WAYS, Way, World, interpret, number};
use crate::packets::{Constants, packet, sendable};
use crate::random::Random;
use firewarden_oracle::{Packet, RejectKind, Verdict, Why};
use firewarden_packet::{Dim, Field, InterfaceName, PacketBox, Point, text};
use firewarden_ruleset::Surroundings as _;
use firewarden_ruleset::interpreter::Outcome;
use firewarden_verify::diff::{COMPARED, Change as Told, Compared, DiffOptions, Effect, Ending};

pub use crate::differential::Plan;

/// Boxes of one change of which packets are sent, at most.
const MOST_BOXES: usize = 12;

/// Packets of each box.
const PACKETS_OF_BOX: usize = 3;

/// Tries at a packet of one box that the oracle can send.
const TRIES: usize = 6;

const LIMITS: DiffOptions = DiffOptions { regions: 3_000, steps: 20_000_000, split: 64 };

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct ChangeTally {
    /// Pairs of rulesets that the kernel took.
    pub pairs: u64,
    /// Pairs that change anything, by what the diff says.
    pub meaningful: u64,
    /// Changes that the diff tells of.
    pub changes: u64,
    /// Packets that were sent with the ruleset before and after, and whose two verdicts were compared.
    pub packets: u64,
    /// Those among them that the diff says fare differently.
    pub told: u64,
    /// Packets whose two verdicts can't be compared: the oracle can't make them, or doesn't see what differs.
    pub skipped: u64,
    /// Rulesets that kernel or frontends refused.
    pub refused: Vec<(u64, String)>,
}

/// What the kernel shows of a packet's two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Same,
    Blocked,
    Allowed,
    Rewritten,
    RefusedOtherwise,
    /// Nothing that can be compared.
    Unclear,
}

impl Kernel {
    /// Compares what diff says of generated rulesets and edits of them with what the kernel does.
    ///
    /// # Errors
    /// The first packet of which they disagree, with both rulesets, in words; or how the oracle broke down.
    pub fn compare_changes(&mut self, plan: &Plan, tally: &mut ChangeTally) -> Result<(), String> {
        for seed in plan.seed..plan.seed + plan.rulesets {
            let before = ruleset(seed, &plan.knobs);
            let after = edited(&mut Random::new(seed), &before);
            let problem = |why: String| {
                format!("seed {seed}: {why}\n--- before\n{}\n--- after\n{}", before.text(), after.text())
            };
            match self.compare_change(seed, &before, &after, plan.packets, tally) {
                Ok(()) => {}
                Err(Failure::Refused(why)) => tally.refused.push((seed, why)),
                Err(Failure::Broken(why)) => return Err(problem(why)),
            }
        }
        Ok(())
    }

    /// Compares what diff says of two rulesets with what the kernel does.
    ///
    /// # Errors
    /// The first packet of which they disagree, in words; or why there is no answer.
    pub fn hold_change(
        &mut self,
        before: &Generated,
        after: &Generated,
        packets: u64,
        tally: &mut ChangeTally,
    ) -> Result<(), String> {
        self.compare_change(1, before, after, packets, tally).map_err(|failure| match failure {
            Failure::Refused(why) | Failure::Broken(why) => why,
        })
    }

    fn compare_change(
        &mut self,
        seed: u64,
        before: &Generated,
        after: &Generated,
        packets: u64,
        tally: &mut ChangeTally,
    ) -> Result<(), Failure> {
        let change = Change::of(before, after).map_err(Failure::Refused)?;
        let found = change.compare(LIMITS);
        if let Some(unconfirmed) = found.unconfirmed {
            return Err(Failure::Broken(unconfirmed));
        }
        let world = |text: &Generated, ruleset: &firewarden_ruleset::ir::Ruleset| World {
            text: text.clone(),
            ruleset: ruleset.clone(),
            atoms: change.atoms.clone(),
        };
        let worlds = [world(before, &change.before.ruleset), world(after, &change.after.ruleset)];
        let askable = Askable::of(&worlds[0]).and(Askable::of(&worlds[1]));
        let mut asker = Asker { random: Random::new(seed ^ 0x6469_6666), worlds: &worlds, askable };
        let mut questions = asker.inside(&found);
        questions.extend(asker.anywhere(packets));
        let all = questions.len();
        questions.retain(|question| !(askable.source_types && question.way == Way::Output));
        if askable.translates {
            questions.retain(|question| independent_of_addresses(&change, &worlds, question));
        }
        questions.retain(|question| !found.undecided.iter().any(|region| region.contains(&question.point)));
        tally.skipped += (all - questions.len()) as u64;
        let answers = self.both(before, after, &questions)?;
        tally.pairs += 1;
        tally.meaningful += u64::from(!found.changes.is_empty());
        tally.changes += found.changes.len() as u64;
        for (question, answers) in questions.iter().zip(answers) {
            let told = told(&found, &question.point);
            match fits(told, question, &answers) {
                None => tally.skipped += 1,
                Some(fits) => {
                    tally.packets += 1;
                    tally.told += u64::from(told.is_some());
                    if !fits {
                        self.alone(before, after, question, told, &change)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The kernel's verdicts on each packet, before and after.
    fn both(
        &mut self,
        before: &Generated,
        after: &Generated,
        questions: &[Question],
    ) -> Result<Vec<(Verdict, Verdict)>, Failure> {
        self.load(before)?;
        let first = self.ask(questions)?;
        self.load(after)?;
        let second = self.ask(questions)?;
        Ok(first.into_iter().zip(second).collect())
    }

    /// Asks once more about one packet alone, in case an entry of another packet's connection stood in its way.
    fn alone(
        &mut self,
        before: &Generated,
        after: &Generated,
        question: &Question,
        told: Option<&Told>,
        change: &Change,
    ) -> Result<(), Failure> {
        let answers = self.both(before, after, std::slice::from_ref(question))?;
        let Some(answers) = answers.first() else { return Ok(()) };
        if fits(told, question, answers) != Some(false) {
            return Ok(());
        }
        Err(Failure::Broken(format!(
            "{:?}, `{}`: the diff says {}, the kernel {:?} before and {:?} after",
            question.way,
            text::format(&question.point, &change.atoms),
            told.map_or("nothing".to_owned(), |told| format!("{:?}", told.effect)),
            answers.0,
            answers.1
        )))
    }
}

struct Asker<'a> {
    random: Random,
    worlds: &'a [World; 2],
    askable: Askable,
}

impl Asker<'_> {
    /// Packets near the constants of the two rulesets.
    fn anywhere(&mut self, packets: u64) -> Vec<Question> {
        let constants = self.worlds.each_ref().map(|world| Constants::of(&world.ruleset));
        (0..packets as usize)
            .filter_map(|count| {
                let way = WAYS[count % WAYS.len()];
                let side = (count / WAYS.len()) % 2;
                let point = packet(&mut self.random, &self.worlds[side], &constants[side], way);
                self.askable.question(&mut self.random, way, point)
            })
            .collect()
    }

    /// Packets of the boxes that the diff tells of, as far as the oracle can send any.
    fn inside(&mut self, found: &Compared) -> Vec<Question> {
        let constants = Constants::of(&self.worlds[1].ruleset);
        let mut questions = Vec::new();
        let boxes = found.changes.iter().flat_map(|change| change.packets.iter().take(MOST_BOXES));
        for region in boxes.flat_map(|region| std::iter::repeat_n(region, PACKETS_OF_BOX)) {
            let question = (0..TRIES).find_map(|_| {
                let way = self.random.of(&WAYS);
                let usual = packet(&mut self.random, &self.worlds[1], &constants, way);
                let point = drawn_into(region, way, usual)?;
                let question = self.askable.question(&mut self.random, way, point)?;
                region.contains(&question.point).then_some(question)
            });
            questions.extend(question);
        }
        questions
    }
}

/// Fields that a packet of the oracle has from the point.
const CARRIED: [Field; 15] = [
    Field::NFPROTO,
    Field::SADDR,
    Field::DADDR,
    Field::L4PROTO,
    Field::SPORT,
    Field::DPORT,
    Field::TCP_FLAGS,
    Field::ICMP_TYPE,
    Field::ICMP_CODE,
    Field::CT_STATE,
    Field::CT_DIRECTION,
    Field::ETHER_SADDR,
    Field::LENGTH,
    Field::TTL,
    Field::DSCP,
];

/// A usual packet, changed until it is in a box; `None` where nobody can send such a packet that way.
fn drawn_into(region: &PacketBox, way: Way, usual: Point) -> Option<Point> {
    let mut point = usual;
    for (field, dim) in region.dims() {
        let value = point.get(*field);
        if CARRIED.contains(field) {
            point.set(*field, dim.nearest(value));
        } else if matches!(*field, Field::IIFNAME | Field::OIFNAME) && !dim.contains(value) {
            let fitting = INTERFACES.iter().filter_map(|name| InterfaceName::new(name).ok());
            let none = (way == Way::Input && *field == Field::OIFNAME)
                || (way == Way::Output && *field == Field::IIFNAME);
            let name = fitting.map(|name| name.0).find(|name| dim.contains(*name));
            point.set(*field, if none { 0 } else { name? });
        }
    }
    let ipv4 = point.get(Field::NFPROTO) == 2;
    let around = Around(way);
    for (field, of) in [(Field::FIB_SADDR_TYPE, Field::SADDR), (Field::FIB_DADDR_TYPE, Field::DADDR)] {
        let address = point.get(of);
        let fits = (address >> 32 == 0) == ipv4;
        if !fits || !sendable(address, ipv4) {
            return None;
        }
        point.set(field, around.address_type(point.get(Field::NFPROTO), address)?.0);
    }
    (point.get(Field::TTL) >= 2 && region_allows_length(region, &point)).then_some(point)
}

/// The length is made by a payload, which has at least the headers before it.
fn region_allows_length(region: &PacketBox, point: &Point) -> bool {
    region.get(Field::LENGTH).is_none_or(|dim: &Dim| dim.contains(point.get(Field::LENGTH)))
}

fn told<'f>(found: &'f Compared, point: &Point) -> Option<&'f Told> {
    found.changes.iter().find(|change| change.packets.iter().any(|region| region.contains(point)))
}

/// False for packets that are translated to addresses of the host, or to others that may be its own: the diff is of a
/// host of which nothing is known, and the oracle's has addresses.
fn independent_of_addresses(change: &Change, worlds: &[World; 2], question: &Question) -> bool {
    let (before, after) = change.both(&question.point);
    [before, after].iter().zip(worlds).all(|((ending, last), world)| {
        let Passage { outcome, hook, packet, .. } = interpret(world, question.way, &question.point);
        match (ending, outcome) {
            (Ending::Passes(_), Outcome::Accepted) => {
                COMPARED.iter().all(|field| *field == Field::TTL || last.get(*field) == packet.get(*field))
            }
            (Ending::Refused { hook: refused_at, .. }, Outcome::Dropped | Outcome::Rejected(_)) => {
                *refused_at == hook
            }
            _ => false,
        }
    })
}

/// Whether the kernel shows what the diff says of a packet; `None` where it shows nothing that can be compared.
fn fits(told: Option<&Told>, question: &Question, answers: &(Verdict, Verdict)) -> Option<bool> {
    let shown = shown(question, &answers.0, &answers.1);
    let coincidences = told.is_some_and(|told| told.coincidences);
    match (told.map(|told| told.effect), shown) {
        (_, Shown::Unclear) => None,
        (None, shown) => Some(shown == Shown::Same),
        (Some(Effect::Blocked), shown) => Some(shown == Shown::Blocked),
        (Some(Effect::Allowed), shown) => Some(shown == Shown::Allowed),
        (Some(Effect::RefusedOtherwise), shown) => Some(shown == Shown::RefusedOtherwise),
        (Some(Effect::Rewritten(_)), Shown::Rewritten) => Some(true),
        (Some(Effect::Rewritten(Some(field))), Shown::Same)
            if coincidences || !is_seen(field, &question.packet) =>
        {
            None
        }
        (Some(Effect::Rewritten(_)), _) => Some(false),
    }
}

/// Fields that the oracle shows of a packet that passed.
fn is_seen(field: Field, packet: &Packet) -> bool {
    match field {
        Field::SADDR | Field::DADDR | Field::MARK | Field::TTL | Field::DSCP => true,
        Field::SPORT | Field::DPORT => has_ports(packet),
        _ => false,
    }
}

fn has_ports(packet: &Packet) -> bool {
    matches!(packet.protocol, 6 | 17 | 33 | 132 | 136)
}

fn shown(question: &Question, before: &Verdict, after: &Verdict) -> Shown {
    match (before, after) {
        (Verdict::NotReached(Why::State(_) | Why::BeforeHooks | Why::Routing | Why::Reassembly), _)
        | (_, Verdict::NotReached(_)) => Shown::Unclear,
        (
            Verdict::Accepted { hook, packet, mark },
            Verdict::Accepted { hook: other_hook, packet: other, mark: other_mark },
        ) => match (hook, mark) == (other_hook, other_mark) && seen_fields(packet) == seen_fields(other) {
            true => Shown::Same,
            false => Shown::Rewritten,
        },
        (Verdict::Accepted { .. }, _) => Shown::Blocked,
        (_, Verdict::Accepted { .. }) => Shown::Allowed,
        // A reject may leave these without an answer, so that it looks like a drop.
        _ if unanswerable(&question.packet) => Shown::Unclear,
        (Verdict::Dropped, Verdict::Dropped) => Shown::Same,
        (Verdict::Rejected(kind), Verdict::Rejected(other)) if is_reset(*kind) == is_reset(*other) => {
            Shown::Same
        }
        _ => Shown::RefusedOtherwise,
    }
}

fn is_reset(kind: RejectKind) -> bool {
    kind == RejectKind::TcpReset
}

fn seen_fields(packet: &Packet) -> [u128; 6] {
    let ports = if has_ports(packet) { (packet.sport, packet.dport) } else { (0, 0) };
    [
        number(packet.src),
        number(packet.dst),
        u128::from(packet.ttl),
        u128::from(packet.dscp),
        u128::from(ports.0),
        u128::from(ports.1),
    ]
}
