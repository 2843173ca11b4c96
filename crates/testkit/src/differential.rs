//! Engine against interpreter, over generated or given rulesets.

use crate::coverage::Coverage;
use crate::generate::{Generated, Knobs, ruleset};
use crate::host::{Passage, WAYS, Way, World, comparable, decide, interpret};
use crate::load::load;
use crate::minimise::minimise;
use crate::packets::{Constants, packet, variant};
use crate::random::Random;
use firewarden_engine::{Detail, Engine};
use firewarden_packet::{AtomTable, Field, PacketBox, Point, text};
use firewarden_ruleset::interpreter::Outcome;
use std::fmt;

/// Two answers that should be one.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// Whose answers.
    pub between: &'static str,
    /// The seed of the ruleset.
    pub seed: u64,
    /// The ruleset's text, made small.
    pub ruleset: Generated,
    /// Where the packet goes.
    pub way: Way,
    /// The packet, as text.
    pub packet: String,
    /// The interpreter's answer.
    pub left: String,
    /// The other answer.
    pub right: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "disagreement between {} (seed {}, {:?}):",
            self.between, self.seed, self.ruleset.syntax
        )?;
        writeln!(f, "{}", self.ruleset.text())?;
        writeln!(f, "packet, {:?}: {}", self.way, self.packet)?;
        writeln!(f, "interpreter: {}", self.left)?;
        writeln!(f, "other:       {}", self.right)
    }
}

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Rulesets that were loaded.
    pub rulesets: u64,
    /// Rulesets that the frontends refused, with what they said, for generated texts that a kernel takes.
    pub refused: Vec<(u64, String)>,
    /// Packets given to engine and interpreter.
    pub packets: u64,
    /// Further packets of the engine's regions given to the interpreter.
    pub in_regions: u64,
    /// Packets given to the kernel.
    pub kernel_packets: u64,
    /// Rulesets given to the kernel.
    pub kernel_rulesets: u64,
    /// Packets among them that the oracle can't make, or that no rule decides.
    pub kernel_skipped: u64,
    /// Rulesets that the kernel refused.
    pub kernel_refused: Vec<(u64, String)>,
    /// Variants of the representation.
    pub coverage: Coverage,
}

/// The rulesets of consecutive seeds, and how they are asked.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed of the first ruleset.
    pub seed: u64,
    /// How many rulesets.
    pub rulesets: u64,
    /// How many packets for each of them, over all ways.
    pub packets: u64,
    /// What the rulesets are like.
    pub knobs: Knobs,
}

/// Makes the world of a text.
///
/// # Errors
/// What the frontends found wrong, as one text.
pub fn world(text: &Generated) -> Result<World, String> {
    let mut atoms = AtomTable::default();
    let ruleset = load(text, &mut atoms).map_err(|errors| errors.join("; "))?;
    Ok(World { text: text.clone(), ruleset, atoms })
}

/// Compares engine and interpreter until they disagree.
///
/// # Errors
/// The first disagreement, made small.
pub fn engine_against_interpreter(plan: &Plan, tally: &mut Tally) -> Result<(), Box<Disagreement>> {
    for seed in plan.seed..plan.seed + plan.rulesets {
        let text = ruleset(seed, &plan.knobs);
        match world(&text) {
            Ok(world) => {
                tally.rulesets += 1;
                tally.coverage.add(&world.ruleset);
                compare_engine(seed, &world, plan.packets, tally)?;
            }
            Err(why) => tally.refused.push((seed, why)),
        }
    }
    Ok(())
}

/// Compares engine and interpreter on one ruleset.
///
/// # Errors
/// The first disagreement, made small.
pub fn compare_engine(
    seed: u64,
    world: &World,
    packets: u64,
    tally: &mut Tally,
) -> Result<(), Box<Disagreement>> {
    match first_fault(seed, world, packets, tally) {
        None => Ok(()),
        Some(fault) => {
            let mut nothing = Tally::default();
            let small = minimise(&world.text, |text| {
                crate::differential::world(text)
                    .is_ok_and(|world| first_fault(seed, &world, packets.max(300), &mut nothing).is_some())
            });
            let shown = crate::differential::world(&small).ok().and_then(|world| {
                let fault = first_fault(seed, &world, packets.max(300), &mut nothing)?;
                Some(disagreement(seed, &world, fault))
            });
            Err(Box::new(shown.unwrap_or_else(|| disagreement(seed, world, fault))))
        }
    }
}

struct Fault {
    between: &'static str,
    way: Way,
    packet: Point,
    left: String,
    right: String,
}

fn disagreement(seed: u64, world: &World, fault: Fault) -> Disagreement {
    Disagreement {
        between: fault.between,
        seed,
        ruleset: world.text.clone(),
        way: fault.way,
        packet: text::format(&fault.packet, &world.atoms),
        left: fault.left,
        right: fault.right,
    }
}

fn first_fault(seed: u64, world: &World, packets: u64, tally: &mut Tally) -> Option<Fault> {
    let engine = Engine::new(&world.ruleset);
    let constants = Constants::of(&world.ruleset);
    let mut random = Random::new(seed ^ 0x7061_636b);
    for number in 0..packets {
        let way = WAYS[(number % 3) as usize];
        let point = packet(&mut random, world, &constants, way);
        let point = in_own_words(way, point);
        tally.packets += 1;
        let expected = interpret(world, way, &point);
        let detail = random.of(&[Detail::Rules, Detail::Verdict, Detail::Fate]);
        let fault = |between, packet, left: &Passage, right: String| {
            Some(Fault { between, way, packet, left: shown(left), right })
        };
        let (found, region) = match decide(world, &engine, way, &point, detail, PacketBox::all()) {
            Ok(decided) => decided,
            Err(_) => return fault("interpreter and engine", point, &expected, "out of budget".to_owned()),
        };
        let same = found.outcome == expected.outcome
            && found.hook == expected.hook
            && final_fields(&found.packet) == final_fields(&expected.packet)
            && comparable(&found.events) == comparable(&expected.events);
        if !same {
            return fault("interpreter and engine", point, &expected, shown(&found));
        }
        if !region.contains(&point) {
            return fault("a point and its region", point, &expected, format!("{region:?}"));
        }
        for _ in 0..3 {
            let other = packet(&mut random, world, &constants, way);
            let wanted = variant(&mut random, world, &constants, &point, &other);
            let inside = Point::in_box(&region, &wanted);
            tally.in_regions += 1;
            let answer = interpret(world, way, &inside);
            let alike = match detail {
                Detail::Rules => comparable(&answer.events) == comparable(&expected.events),
                Detail::Verdict => kind_of(answer.outcome) == kind_of(expected.outcome),
                Detail::Fate => {
                    (answer.outcome == Outcome::Accepted) == (expected.outcome == Outcome::Accepted)
                }
            };
            if !alike {
                let why = format!(
                    "{detail:?} region of {}\n{region:?}\nwhere the engine says {}",
                    text::format(&point, &world.atoms),
                    shown(&expected)
                );
                return fault("a region and a point in it", inside, &answer, why);
            }
        }
    }
    None
}

/// Accepted, dropped or rejected, whatever the sender is told.
fn kind_of(outcome: Outcome) -> std::mem::Discriminant<Outcome> {
    std::mem::discriminant(&outcome)
}

/// A packet at its end, without the facts that the engine keeps only where a rule asks for them: the status bits of the
/// connection and the types of addresses. Where a rule does ask, the rules on the way tell.
fn final_fields(packet: &Point) -> Point {
    let mut packet = packet.clone();
    for field in [Field::CT_STATUS, Field::FIB_SADDR_TYPE, Field::FIB_DADDR_TYPE] {
        packet.set(field, 0);
    }
    packet
}

/// The packet as the host sees it: without an interface that it hasn't.
fn in_own_words(way: Way, mut point: Point) -> Point {
    match way {
        Way::Input => point.set(Field::OIFNAME, 0),
        Way::Output => point.set(Field::IIFNAME, 0),
        Way::Forward => {}
    }
    point
}

/// A passage in a line or two.
pub fn shown(passage: &Passage) -> String {
    let mut line = format!("{:?} at {:?}", passage.outcome, passage.hook);
    for (hook, event) in &passage.events {
        line += &format!(
            "\n    {hook:?} chain {} rule {}: {:?}",
            event.rule.chain.0, event.rule.index, event.what
        );
    }
    line + &format!("\n    {}", text::format(&passage.packet, &AtomTable::default()))
}
