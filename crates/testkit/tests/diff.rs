//! Diff against brute force: each point of a reported set fares differently in the interpreter, each point outside fares
//! alike.

use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, Point};
use firewarden_testkit::generate::{Generated, Knobs, Line, Syntax, ruleset};
use firewarden_testkit::host::{Way, World};
use firewarden_testkit::load::load;
use firewarden_testkit::packets::{Constants, packet};
use firewarden_testkit::random::Random;
use firewarden_verify::diff::{
    COMPARED, Compared, DiffOptions, Effect, Ending, HostPair, align_atoms, follow,
};

const PACKETS: usize = 150;

/// A few edits of rules: gone, doubled, exchanged with the next, or with another verdict.
fn edited(random: &mut Random, text: &Generated) -> Generated {
    let mut lines = text.lines.clone();
    for _ in 0..random.between(1, 6) {
        let rules: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].removable).collect();
        if rules.is_empty() {
            break;
        }
        let at = random.of(&rules);
        match random.below(5) {
            0 => {
                lines.remove(at);
            }
            1 => {
                let line = lines[at].clone();
                lines.insert(at, line);
            }
            2 if lines.get(at + 1).is_some_and(|next| next.removable) => lines.swap(at, at + 1),
            3 => lines[at] = reworded(&lines[at], "accept", "drop"),
            _ => lines[at] = reworded(&lines[at], "ACCEPT", "DROP"),
        }
    }
    Generated { syntax: text.syntax, lines }
}

fn reworded(line: &Line, from: &str, to: &str) -> Line {
    let text =
        if line.text.contains(from) { line.text.replace(from, to) } else { line.text.replace(to, from) };
    Line { text, removable: true }
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

struct Case {
    before: Host,
    after: Host,
    atoms: AtomTable,
}

fn case(before: &Generated, after: &Generated) -> Option<Case> {
    let mut atoms = AtomTable::default();
    let first = load(before, &mut atoms).ok()?;
    let mut second = load(after, &mut atoms).ok()?;
    align_atoms(&first, &mut second, &atoms);
    let host = |ruleset| Host { name: "host".into(), ruleset, forwards: true, ..Host::default() };
    Some(Case { before: host(first), after: host(second), atoms })
}

fn compare(case: &Case) -> Compared {
    let pair = HostPair::new(&case.before, &case.after, &case.atoms);
    pair.compare(&case.atoms, DiffOptions { regions: 3_000, steps: 20_000_000, split: 64 })
}

/// Returns how many packets were held against the answer.
fn hold_against_interpreter(seed: u64, text: &Generated, case: &Case, found: &Compared) -> usize {
    assert_eq!(found.unconfirmed, None, "seed {seed}");
    let mut random = Random::new(seed ^ 0x5eed);
    let both =
        |point: &Point| (follow(&case.before, point, &case.atoms), follow(&case.after, point, &case.atoms));
    let mut asked = 0;
    for change in &found.changes {
        for region in change.packets.iter().take(40) {
            for _ in 0..3 {
                let mut wanted = change.witness.clone();
                for (field, dim) in region.dims() {
                    wanted.set(*field, dim.nearest(random.wide() & field.max_value()));
                }
                let (before, after) = both(&wanted);
                assert!(
                    differs(&before, &after, change.effect),
                    "seed {seed}: {:?} doesn't hold for {}\nof {region:?}\n{before:?}\n{after:?}",
                    change.effect,
                    firewarden_packet::text::format(&wanted, &case.atoms)
                );
                asked += 1;
            }
        }
    }
    let constants = [Constants::of(&case.before.ruleset), Constants::of(&case.after.ruleset)];
    let world = World { text: text.clone(), ruleset: case.after.ruleset.clone(), atoms: case.atoms.clone() };
    for number in 0..PACKETS {
        let way = random.of(&[Way::Input, Way::Forward, Way::Output]);
        let mut point = packet(&mut random, &world, &constants[number % 2], way);
        if way == Way::Input {
            point.set(Field::OIFNAME, 0);
        }
        let (before, after) = both(&point);
        let told =
            found.changes.iter().any(|change| change.packets.iter().any(|region| region.contains(&point)));
        let open = found.undecided.iter().any(|region| region.contains(&point));
        if !open {
            assert_eq!(
                told,
                !same(&before, &after),
                "seed {seed}: {}\n{before:?}\n{after:?}",
                firewarden_packet::text::format(&point, &case.atoms)
            );
        }
        asked += 1;
    }
    asked
}

#[test]
fn differences_are_those_that_the_interpreter_sees() {
    let (mut cases, mut changes, mut asked) = (0, 0, 0);
    for seed in 0..400 {
        let knobs = Knobs { rules: 8, atoms: seed % 3 == 0 };
        let before = ruleset(seed, &knobs);
        let mut random = Random::new(seed);
        let after = edited(&mut random, &before);
        let Some(case) = case(&before, &after) else { continue };
        let found = compare(&case);
        cases += 1;
        changes += found.changes.len();
        asked += hold_against_interpreter(seed, &after, &case, &found);
    }
    println!("{cases} pairs, {changes} changes, {asked} packets");
    assert!(cases > 300 && changes > 200, "{cases} pairs with {changes} changes are too few to say anything");
}

#[test]
fn a_ruleset_equals_itself() {
    for seed in 0..100 {
        let text = ruleset(seed, &Knobs { rules: 8, atoms: true });
        let Some(case) = case(&text, &text) else { continue };
        let found = compare(&case);
        assert!(found.changes.is_empty() && found.undecided.is_empty() && found.regions == 0, "seed {seed}");
    }
}

#[test]
fn the_same_rules_under_other_names_mean_the_same() {
    // Nothing is paired here, so that everything is compared.
    let text = |table: &str, chain: &str| {
        format!(
            "table inet {table} {{\n set web {{ type inet_service; elements = {{ 80, 443 }}; }}\n \
             chain {chain} {{ type filter hook input priority 0; policy drop;\n \
             ct state established,related accept\n tcp dport @web accept\n ip saddr 10.0.0.0/8 tcp dport 22 accept\n \
             }}\n}}\n"
        )
    };
    let generated = |text: String| Generated::fixed(Syntax::Nft, &text);
    let case = case(&generated(text("one", "input")), &generated(text("other", "in"))).unwrap();
    let found = compare(&case);
    assert!(found.regions > 0);
    assert!(found.changes.is_empty(), "{:?}", found.changes);
    assert!(found.undecided.is_empty());
}
