//! A machine-verified analysis of iptables gives flat rules that surely accept less, and surely accept no less, than the
//! original chain: what we make of the original lies between them.
//!
//! The analysis speaks of packets that begin a connection: state new, and of the TCP flags that are ever looked at only
//! SYN. It takes unknown matches for true or false, as the bound demands, and knows that the loopback interface has the
//! sources of 127.0.0.0/8, and no other interface has them.

use super::load::{Language, load, read};
use super::{Section, files, shown};
use firewarden_diagnostic::Span;
use firewarden_engine::{Detail, Engine, Fate, Flow, Peeler};
use firewarden_packet::{
    AtomTable, Cube, Dim, Field, InterfaceName, IntervalSet, PacketBox, Point, ct_state, tcp_flag,
};
use firewarden_ruleset::Unknown;
use firewarden_ruleset::ir::{
    BaseChain, Chain, ChainType, Dialect, Family, Hook, Policy, Rule, Ruleset, Statement, Table, TableId,
    Test, Verdict,
};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Regions that one file may take.
const MOST_REGIONS: u64 = 150_000;

/// Rules that may be looked at for one file.
const MOST_RULES: u64 = 400_000_000;

/// Files where our answer isn't between the bounds, and why.
const EXPLAINED: &[(&str, &str)] = &[];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Accepts all that the original may accept.
    Upper,
    /// Accepts only what the original surely accepts.
    Lower,
}

/// Checks each listing of `iptables/semantics` against its original.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let mut lines = String::new();
    let (mut listings, mut held, mut undetermined) = (0, 0, 0);
    for path in files(&folder.join("iptables/semantics")) {
        let name = shown(&path, folder);
        let bound = match path.extension().and_then(|extension| extension.to_str()) {
            Some("upper") => Bound::Upper,
            Some("lower") => Bound::Lower,
            _ => continue,
        };
        listings += 1;
        let short = name.trim_start_matches("iptables/semantics/");
        let answer = match original_of(&path) {
            Some(original) => one(&original, &path, bound, name.contains("INP")),
            None => Err("its original isn't there".to_owned()),
        };
        let text = match answer {
            Ok(Answer::Holds(regions)) => {
                held += 1;
                section.details.push(format!("{short}: holds, {regions} regions"));
                continue;
            }
            Ok(Answer::Undetermined(regions)) => {
                undetermined += 1;
                format!("holds in the {regions} regions looked at; the rest is undetermined")
            }
            Ok(Answer::Violated(packet)) => violation(short, bound, &packet, &mut section),
            Err(problem) => {
                section.failures.push(format!("{short}: {problem}"));
                problem
            }
        };
        let _ = writeln!(lines, "- `{short}`: {text}");
    }
    let _ = write!(
        section.text,
        "## Between proven bounds\n\n{listings} listings of `iptables/semantics`, each an upper or a lower bound of what \
         a chain accepts of packets that begin a connection, proven by others: our exact answer keeps within {held} of \
         them everywhere; {undetermined} are too large to be taken apart within the limits.\n",
    );
    if !lines.is_empty() {
        let _ = write!(section.text, "\n{lines}");
    }
    section
}

fn violation(short: &str, bound: Bound, packet: &str, section: &mut Section) -> String {
    let what = match bound {
        Bound::Upper => "accepted here, and not by the upper bound",
        Bound::Lower => "accepted by the lower bound, and not surely here",
    };
    match EXPLAINED.iter().find(|(name, _)| short.starts_with(name)) {
        Some((_, why)) => format!("`{packet}` is {what}. {why}"),
        None => {
            section.failures.push(format!("{short}: {packet} is {what}"));
            format!("`{packet}` is {what}")
        }
    }
}

/// The iptables-save file beside a listing: the only one, or the one with the longest common beginning.
fn original_of(listing: &Path) -> Option<PathBuf> {
    let name = listing.file_name()?.to_string_lossy().into_owned();
    let mut candidates: Vec<PathBuf> = files(listing.parent()?);
    candidates.retain(|path| {
        path.extension().is_none_or(|extension| extension != "upper" && extension != "lower")
            && read(path).lines().any(|line| line.starts_with('*'))
    });
    candidates.into_iter().max_by_key(|path| {
        let other = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
    })
}

enum Answer {
    Holds(u64),
    Undetermined(u64),
    Violated(String),
}

fn one(original: &Path, listing: &Path, bound: Bound, input: bool) -> Result<Answer, String> {
    let mut atoms = AtomTable::default();
    let mut ours = load(&read(original), Language::Iptables4, original, &mut atoms).ruleset;
    // The analysis looks at one chain of one table.
    for table in &mut ours.tables {
        table.dormant = &*table.name != "filter";
    }
    let hook = if input { Hook::Input } else { Hook::Forward };
    let flat = flat(&read(listing), hook)?;
    let (ours, flat) = (Engine::new(&ours), Engine::new(&flat));
    let mut peeler = Peeler::new(question(hook, &atoms));
    let (mut regions, mut rules) = (0, MOST_RULES);
    while let Some(piece) = peeler.piece().cloned() {
        if regions == MOST_REGIONS {
            return Ok(Answer::Undetermined(regions));
        }
        regions += 1;
        let point = Point::in_box(&piece, &Point::default());
        let mut flow = Flow::new(piece, point, &atoms);
        let mut run = |engine: &Engine<'_>, flow: &mut Flow<'_>| {
            let decision = engine.run_hook(hook, flow, &Unknown, Detail::Fate, &mut rules).ok()?;
            Some(decision.fate == Fate::Accepted)
        };
        let Some(in_bound) = run(&flat, &mut flow) else { return Ok(Answer::Undetermined(regions)) };
        // Within an upper bound, and outside of a lower one, nothing can go wrong.
        if in_bound != (bound == Bound::Upper) {
            let Some(accepted) = run(&ours, &mut flow) else { return Ok(Answer::Undetermined(regions)) };
            if accepted != in_bound {
                return Ok(Answer::Violated(firewarden_packet::text::format(flow.origin(), &atoms)));
            }
        }
        peeler.cut(&flow.region().clone(), &atoms);
    }
    Ok(Answer::Holds(regions))
}

/// Packets that begin a connection, with sources of 127.0.0.0/8 on `lo` and only there.
fn question(hook: Hook, atoms: &AtomTable) -> Vec<PacketBox> {
    let flags = tcp_flag::FIN | tcp_flag::SYN | tcp_flag::RST | tcp_flag::ACK;
    let mut all = firewarden_testkit::equivalence::packets(hook, 2)
        .with_value(Field::CT_STATE, ct_state::NEW)
        .with_value(Field::FRAGMENT_OFFSET, 0)
        .with(Field::TCP_FLAGS, Dim::Bits(Cube::new(flags, tcp_flag::SYN)));
    all.set(Field::CT_DIRECTION, Dim::Range(0, 0));
    let Ok(InterfaceName(lo)) = InterfaceName::new("lo") else { return Vec::new() };
    let own = (
        u128::from(u32::from(Ipv4Addr::new(127, 0, 0, 0))),
        u128::from(u32::from(Ipv4Addr::new(127, 255, 255, 255))),
    );
    let from_own = all.clone().with(Field::SADDR, Dim::Range(own.0, own.1));
    let mut pieces = vec![from_own.clone().with(Field::IIFNAME, Dim::Range(lo, lo))];
    for rest in all.subtract(&from_own, atoms) {
        let on_lo = rest.clone().with(Field::IIFNAME, Dim::Range(lo, lo));
        pieces.extend(rest.subtract(&on_lo, atoms));
    }
    pieces
}

/// A listing as `iptables -L -n` prints it, of protocols, addresses and ports only, as a ruleset.
fn flat(text: &str, hook: Hook) -> Result<Ruleset, String> {
    let wanted = if hook == Hook::Input { "INPUT" } else { "FORWARD" };
    let mut base = BaseChain {
        chain_type: ChainType::Filter,
        hook,
        priority: 0,
        policy: Policy::Accept,
        devices: Vec::new(),
        policy_span: Span::default(),
    };
    let mut rules = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["target", ..] => {}
            ["Chain", name, "(policy", policy] => {
                inside = *name == wanted;
                if inside && policy.starts_with("DROP") {
                    base.policy = Policy::Drop;
                }
            }
            [target, protocol, _, source, destination, ports @ ..] if inside => {
                let rule = rule(target, protocol, source, destination, ports);
                rules.push(rule.ok_or_else(|| format!("the line `{line}` can't be read"))?);
            }
            _ => {}
        }
    }
    let table = Table {
        family: Family::Ip,
        name: "filter".into(),
        dialect: Dialect::Iptables,
        dormant: false,
        span: Span::default(),
    };
    let chain =
        Chain { table: TableId(0), name: wanted.into(), base: Some(base), rules, span: Span::default() };
    Ok(Ruleset { tables: vec![table], chains: vec![chain], ..Ruleset::default() })
}

fn rule(target: &str, protocol: &str, source: &str, destination: &str, ports: &[&str]) -> Option<Rule> {
    let mut statements = Vec::new();
    let mut test = |field: Field, set: IntervalSet| {
        statements.push(Statement::Test(Test::Range { field, set }));
    };
    let number = match protocol {
        "all" => None,
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "esp" => Some(50),
        other => Some(other.parse().ok()?),
    };
    if let Some(number) = number {
        test(Field::L4PROTO, IntervalSet::single(number));
    }
    test(Field::SADDR, network(source)?);
    test(Field::DADDR, network(destination)?);
    for word in ports.iter().skip(1) {
        let (name, value) = word.split_once(':')?;
        let (low, high) = value.split_once(':').unwrap_or((value, value));
        let field = match name {
            "spt" | "spts" => Field::SPORT,
            "dpt" | "dpts" => Field::DPORT,
            _ => return None,
        };
        test(field, IntervalSet::range(low.parse().ok()?, high.parse().ok()?));
    }
    statements.push(Statement::Verdict(match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" => Verdict::Drop,
        _ => return None,
    }));
    Some(Rule { statements: statements.into(), span: Span::default(), handle: 0, comment: None })
}

fn network(text: &str) -> Option<IntervalSet> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let address = u128::from(u32::from(address.parse::<Ipv4Addr>().ok()?));
    let free = 32u32.checked_sub(length.parse().ok()?)?;
    let host = (1u128 << free) - 1;
    Some(IntervalSet::range(address & !host, address | host))
}
