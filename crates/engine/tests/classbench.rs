//! ClassBench filter sets: for each of 100 boxes, whether all, some or none of it is permitted, held against a plain
//! scan of the file's lines at random packets of the box. (The `expected` column of the corpus isn't used: it doesn't
//! agree with its own filter set by first match.) Runs where `FIREWARDEN_CORPUS` names the corpus folder.

#[allow(dead_code, reason = "shared with the other tests, which use more of it")]
mod random;

use firewarden_diagnostic::Span;
use firewarden_engine::{Detail, Engine, Fate, Flow, Peeler};
use firewarden_packet::{AtomTable, Dim, Field, IntervalSet, PacketBox, Point};
use firewarden_ruleset::Unknown;
use firewarden_ruleset::ir::{
    BaseChain, Chain, ChainType, Dialect, Family, Hook, Policy, Rule, Ruleset, Statement, Table, TableId,
    Test, Verdict,
};
use random::Dice;
use std::time::Instant;

type Ranges = [(Field, u128, u128); 5];

fn prefix(text: &str) -> (u128, u128) {
    let (address, length) = text.split_once('/').expect("a prefix");
    let address: std::net::Ipv4Addr = address.parse().expect("an address");
    let free = (1u128 << (32 - length.parse::<u32>().expect("a length"))) - 1;
    let low = u128::from(u32::from(address)) & !free;
    (low, low | free)
}

fn ports(text: &str) -> (u128, u128) {
    let (low, high) = text.split_once('-').expect("a range");
    (low.parse().expect("a port"), high.parse().expect("a port"))
}

fn line(line: &str) -> (Ranges, String) {
    let fields: Vec<&str> = line.split(',').collect();
    let (saddr, daddr) = (prefix(fields[0]), prefix(fields[1]));
    let protocol = match fields[2] {
        "any" | "*" | "0" | "ip" => (0, 255),
        number if number.contains('-') => ports(number),
        number => (number.parse().expect("a protocol"), number.parse().expect("a protocol")),
    };
    let (sport, dport) = (ports(fields[3]), ports(fields[4]));
    let ranges = [
        (Field::SADDR, saddr.0, saddr.1),
        (Field::DADDR, daddr.0, daddr.1),
        (Field::L4PROTO, protocol.0, protocol.1),
        (Field::SPORT, sport.0, sport.1),
        (Field::DPORT, dport.0, dport.1),
    ];
    (ranges, fields[5].trim().to_owned())
}

fn ruleset(text: &str) -> Ruleset {
    let rules = text.lines().skip(1).map(|text| {
        let (ranges, action) = line(text);
        let mut statements: Vec<Statement> = ranges
            .into_iter()
            .filter(|(field, low, high)| {
                (*low, *high) != (0, field.max_value()) && (*low, *high) != (0, 0xFFFF_FFFF)
            })
            .map(|(field, low, high)| {
                Statement::Test(Test::Range { field, set: IntervalSet::range(low, high) })
            })
            .collect();
        statements.push(Statement::Verdict(if action == "permit" { Verdict::Accept } else { Verdict::Drop }));
        Rule { statements: statements.into(), span: Span::default(), handle: 0, comment: None }
    });
    let base = BaseChain {
        chain_type: ChainType::Filter,
        hook: Hook::Forward,
        priority: 0,
        policy: Policy::Drop,
        devices: Vec::new(),
        policy_span: Span::default(),
    };
    let chain = Chain {
        table: TableId(0),
        name: "forward".into(),
        base: Some(base),
        rules: rules.collect(),
        span: Span::default(),
    };
    let table = Table {
        family: Family::Ip,
        name: "t".into(),
        dialect: Dialect::Nft,
        dormant: false,
        span: Span::default(),
    };
    Ruleset {
        tables: vec![table],
        chains: vec![chain],
        sets: Vec::new(),
        maps: Vec::new(),
        uninterpreted: Vec::new(),
    }
}

/// All, some or none of a box: peeled until both answers were seen.
fn answer(engine: &Engine<'_>, question: PacketBox, atoms: &AtomTable) -> &'static str {
    let mut peeler = Peeler::new([question]);
    let (mut permitted, mut denied) = (false, false);
    let mut budget = 100_000_000;
    while let Some(piece) = peeler.piece().cloned() {
        let point = Point::in_box(&piece, &Point::default());
        let mut flow = Flow::new(piece, point, atoms);
        let decision = engine
            .run_hook(Hook::Forward, &mut flow, &Unknown, Detail::Fate, &mut budget)
            .expect("within budget");
        if decision.fate == Fate::Accepted {
            permitted = true
        } else {
            denied = true
        }
        if permitted && denied {
            return "some-permitted";
        }
        peeler.cut(&flow.region().clone(), atoms);
    }
    if permitted { "all-permitted" } else { "none-permitted" }
}

/// First match over the lines, as plain as can be.
fn permits(lines: &[(Ranges, String)], packet: [u128; 5]) -> bool {
    let matches = |ranges: &Ranges| {
        ranges.iter().zip(packet).all(|(&(_, low, high), value)| low <= value && value <= high)
    };
    lines.iter().find(|(ranges, _)| matches(ranges)).is_some_and(|(_, action)| action == "permit")
}

#[test]
fn answers_agree_with_a_plain_scan() {
    let Ok(corpus) = std::env::var("FIREWARDEN_CORPUS") else {
        println!("skipped: FIREWARDEN_CORPUS isn't set, so there are no filter sets to ask");
        return;
    };
    let mut sets = 0;
    for name in ["acl1_1k", "fw1_1k", "ipc1_1k", "acl1_10k", "fw1_10k", "ipc1_10k"] {
        let read = |suffix: &str| std::fs::read_to_string(format!("{corpus}/classbench/{name}{suffix}.csv"));
        let (Ok(rules), Ok(intents)) = (read(""), read(".intents")) else {
            println!("skipped: {name} isn't in the corpus");
            continue;
        };
        let ruleset = ruleset(&rules);
        let atoms = AtomTable::default();
        let lines: Vec<(Ranges, String)> = rules.lines().skip(1).map(line).collect();
        let engine = Engine::new(&ruleset);
        let mut dice = Dice::new(7);
        let mut boxes = 0;
        let mut asked = std::time::Duration::ZERO;
        for text in intents.lines().skip(1) {
            let (ranges, _) = line(text);
            let mut question = PacketBox::all()
                .with_value(Field::NFPROTO, 2)
                .with_value(Field::CT_STATE, 3)
                .with_value(Field::MARK, 0);
            for (field, low, high) in ranges {
                question.set(field, Dim::Range(low, high));
            }
            let before = Instant::now();
            let answer = answer(&engine, question, &atoms);
            asked += before.elapsed();
            for _ in 0..300 {
                let packet =
                    ranges.map(|(_, low, high)| low + u128::from(dice.below((high - low + 1) as u64)));
                let permitted = permits(&lines, packet);
                let fits = match answer {
                    "all-permitted" => permitted,
                    "none-permitted" => !permitted,
                    _ => true,
                };
                assert!(fits, "{name}: {answer} of {text}, but {packet:?} is permitted: {permitted}");
            }
            boxes += 1;
        }
        println!("{name}: {} rules, {boxes} boxes, index and answers in {asked:?}", lines.len());
        sets += 1;
    }
    assert!(sets > 0, "FIREWARDEN_CORPUS has no filter set");
}
