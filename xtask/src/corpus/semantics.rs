//! A machine-verified analysis of iptables gives flat rules that surely accept less, and surely accept no less, than the
//! original chain: what we make of the original lies between them.
//!
//! The analysis speaks of packets that begin a connection: state new, and of the TCP flags that are ever looked at only
//! SYN. It takes unknown matches for true or false, as the bound demands, and was given the sources of some interfaces:
//! those of 127.0.0.0/8 come in by `lo` and by no other.

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
use firewarden_testkit::random::Random;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Regions that one file may take.
const MOST_REGIONS: u64 = 1_000_000;

/// Random packets for a file that isn't taken apart within the limit of regions.
const PACKETS: u64 = 100_000;

/// Rules that may be looked at for one file.
const MOST_RULES: u64 = 4_000_000_000;

/// Interfaces and their sources, read off the results: the analysis was given them, and the corpus doesn't have them.
const READ_OFF: &[(&str, &[(&str, &str)])] = &[
    ("rlworkman.net", &[("eth0", "192.168.13.0/24")]),
    ("openvpn.eu", &[("eth0", "192.168.0.0/24"), ("eth1", "192.168.2.0/24")]),
    ("medium-sized-company", &[("eth0", "172.16.2.0/24")]),
    (
        "config_home_user",
        &[
            ("eth0.10", "192.168.10.0/24"),
            ("eth0.11", "192.168.11.0/24"),
            ("eth0.12", "192.168.12.0/24"),
            ("eth0.13", "192.168.13.0/24"),
            ("eth0.14", "192.168.14.0/24"),
            ("eth0.19", "192.168.19.0/24"),
            ("eth0.20", "192.168.20.0/24"),
            ("eth0.21", "192.168.21.0/24"),
            ("eth0.22", "192.168.22.0/24"),
            ("eth0.23", "192.168.23.0/24"),
            ("eth0.24", "192.168.24.0/24"),
            ("eth1", "! 10.0.0.0/8 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
        ],
    ),
];

/// Why some files are too large. Counted once, with a version of this command that took one address for each class of
/// addresses that no rule tells apart.
const UNDETERMINED: &str = "
Those are upper bounds of one university's firewall, from 2013 to 2015, of up to 3,000 rules without chains. They and
the original tell 400,000 to 900,000 pairs of sources and destinations apart, and a pair takes hundreds of regions, some
more than a thousand: the original asks for interfaces on both sides, which the bound leaves out, so that each
combination of them must be shown to be refused.
";

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
            Some(original) => one(&original, &path, bound, assigned(&name, folder)),
            None => Err("its original isn't there".to_owned()),
        };
        let text = match answer {
            Ok(Answer::Holds(regions)) => {
                held += 1;
                section.details.push(format!("{short}: holds, {regions} regions"));
                continue;
            }
            Ok(Answer::Undetermined { regions, accepted }) => {
                undetermined += 1;
                format!(
                    "holds in the {regions} regions looked at, and for {PACKETS} random packets, of which the smaller side \
                     accepts {accepted}; the rest is undetermined"
                )
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
    if undetermined > 0 {
        section.text.push_str(UNDETERMINED);
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
    Undetermined {
        regions: u64,
        /// Random packets that the smaller side accepts; the larger one did too.
        accepted: u64,
    },
    Violated(String),
}

/// Both sides of the comparison: what the smaller one accepts, the larger one must accept too.
struct Sides<'s> {
    smaller: Engine<'s>,
    larger: Engine<'s>,
    hook: Hook,
    rules: u64,
}

impl Sides<'_> {
    /// Whether the smaller and then the larger side accept the point, with the region in which they do; `None` where
    /// the rules that may be looked at ended.
    fn ask(
        &mut self,
        piece: PacketBox,
        point: Point,
        atoms: &AtomTable,
    ) -> Option<(bool, bool, PacketBox, Point)> {
        let mut flow = Flow::new(piece, point, atoms);
        let mut run = |engine: &Engine<'_>, flow: &mut Flow<'_>| {
            let decision = engine.run_hook(self.hook, flow, &Unknown, Detail::Fate, &mut self.rules).ok()?;
            Some(decision.fate == Fate::Accepted)
        };
        let smaller = run(&self.smaller, &mut flow)?;
        // Where the smaller side refuses, nothing can go wrong.
        let larger = !smaller || run(&self.larger, &mut flow)?;
        Some((smaller, larger, flow.region().clone(), flow.origin().clone()))
    }

    /// Takes the whole question apart.
    fn peel(&mut self, question: &[PacketBox], atoms: &AtomTable) -> Option<Answer> {
        let mut peeler = Peeler::new(question.to_vec());
        let mut regions = 0;
        while let Some(piece) = peeler.piece().cloned() {
            if regions == MOST_REGIONS {
                return self.sample(question, atoms, regions);
            }
            regions += 1;
            let point = Point::in_box(&piece, &Point::default());
            let (_, holds, region, point) = self.ask(piece, point, atoms)?;
            if !holds {
                return Some(Answer::Violated(firewarden_packet::text::format(&point, atoms)));
            }
            peeler.cut(&region, atoms);
        }
        Some(Answer::Holds(regions))
    }

    /// Asks about random packets whose values are at the ends of what rules test.
    fn sample(&mut self, question: &[PacketBox], atoms: &AtomTable, regions: u64) -> Option<Answer> {
        let values = [values_of(self.smaller.ruleset()), values_of(self.larger.ruleset())];
        let mut random = Random::new(1);
        let mut accepted = 0;
        for _ in 0..PACKETS {
            let piece = question.get(random.below(question.len()))?.clone();
            let mut point = Point::default();
            for (field, list) in values.iter().flatten() {
                if random.chance(60) && !list.is_empty() {
                    point.set(*field, list.get(random.below(list.len())).copied().unwrap_or_default());
                }
            }
            for (atom, _) in atoms.iter() {
                point.set(atom, u128::from(random.chance(50)));
            }
            let point = Point::in_box(&piece, &point);
            let (smaller, holds, _, point) = self.ask(piece, point, atoms)?;
            if !holds {
                return Some(Answer::Violated(firewarden_packet::text::format(&point, atoms)));
            }
            accepted += u64::from(smaller);
        }
        Some(Answer::Undetermined { regions, accepted })
    }
}

/// The ends of the intervals that rules test, by field.
fn values_of(ruleset: &Ruleset) -> BTreeMap<Field, Vec<u128>> {
    let mut values: BTreeMap<Field, Vec<u128>> = BTreeMap::new();
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    for statement in rules.flat_map(|rule| &rule.statements) {
        if let Statement::Test(Test::Range { field, set }) = statement {
            let ends = set.ranges().iter().flat_map(|&(low, high)| [low, high]);
            values.entry(*field).or_default().extend(ends);
        }
    }
    values
}

fn one(
    original: &Path,
    listing: &Path,
    bound: Bound,
    assigned: Vec<(String, IntervalSet)>,
) -> Result<Answer, String> {
    let mut atoms = AtomTable::default();
    let mut ours = load(&read(original), Language::Iptables4, original, &mut atoms).ruleset;
    // The analysis looks at one chain of one table.
    for table in &mut ours.tables {
        table.dormant = &*table.name != "filter";
    }
    let input = listing.to_string_lossy().contains("INP");
    let hook = if input { Hook::Input } else { Hook::Forward };
    let flat = flat(&read(listing), hook)?;
    let (ours, flat) = (Engine::new(&ours), Engine::new(&flat));
    let (smaller, larger) = match bound {
        Bound::Upper => (ours, flat),
        Bound::Lower => (flat, ours),
    };
    let mut sides = Sides { smaller, larger, hook, rules: MOST_RULES };
    let answer = sides.peel(&question(hook, &assigned), &atoms);
    answer.ok_or_else(|| "more rules were looked at than may be".to_owned())
}

/// Packets that begin a connection, with the sources that the analysis took each interface to have.
fn question(hook: Hook, assigned: &[(String, IntervalSet)]) -> Vec<PacketBox> {
    let flags = tcp_flag::FIN | tcp_flag::SYN | tcp_flag::RST | tcp_flag::ACK;
    let mut all = firewarden_testkit::equivalence::packets(hook, 2)
        .with_value(Field::CT_STATE, ct_state::NEW)
        .with_value(Field::FRAGMENT_OFFSET, 0)
        .with(Field::TCP_FLAGS, Dim::Bits(Cube::new(flags, tcp_flag::SYN)));
    all.set(Field::CT_DIRECTION, Dim::Range(0, 0));
    let mut pieces = Vec::new();
    let mut add = |names: &IntervalSet, sources: &IntervalSet| {
        for name in names.ranges() {
            for source in sources.ranges() {
                let piece = all.clone().with(Field::IIFNAME, Dim::Range(name.0, name.1));
                pieces.push(piece.with(Field::SADDR, Dim::Range(source.0, source.1)));
            }
        }
    };
    let (mut names, mut sources) = (IntervalSet::single(0), IntervalSet::empty());
    for (name, set) in assigned {
        let Ok(InterfaceName(number)) = InterfaceName::new(name) else { continue };
        add(&IntervalSet::single(number), set);
        names = names.union(&IntervalSet::single(number));
        sources = sources.union(set);
    }
    add(&names.complement(u128::MAX), &sources.complement(u128::from(u32::MAX)));
    pieces
}

/// The sources of each interface that the analysis was given: loopback always; further ones in a file of the corpus, or
/// (for files marked so) read off its results.
fn assigned(listing: &str, folder: &Path) -> Vec<(String, IntervalSet)> {
    let mut all: Vec<(String, IntervalSet)> = Vec::new();
    if listing.contains("TUM_Net/iptables-save") {
        all = assignment_file(&read(&folder.join("iptables/semantics/other/ipassmt_tumi8")));
    }
    for (part, assignments) in READ_OFF {
        if listing.contains(part) {
            all.extend(
                assignments.iter().filter_map(|(name, net)| Some(((*name).to_owned(), networks(net)?))),
            );
        }
    }
    all.retain(|(name, _)| name != "lo");
    all.extend(network("127.0.0.0/8").map(|own| ("lo".to_owned(), own)));
    all
}

/// Networks with blanks between; all others after a `!`.
fn networks(text: &str) -> Option<IntervalSet> {
    let (list, others) = text.strip_prefix('!').map_or((text, false), |list| (list, true));
    let mut all = IntervalSet::empty();
    for net in list.split_whitespace() {
        all = all.union(&network(net)?);
    }
    Some(if others { all.complement(u128::from(u32::MAX)) } else { all })
}

/// Lines such as `eth0 = [10.0.0.0/8, …]` and `eth1 = all_but_those_ips […]`, over several lines.
fn assignment_file(text: &str) -> Vec<(String, IntervalSet)> {
    let mut all = Vec::new();
    for entry in text.split(']') {
        let Some((name, list)) = entry.split_once('=') else { continue };
        let Some((kind, list)) = list.split_once('[') else { continue };
        let mut set = IntervalSet::empty();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let range = match item.split_once('-') {
                Some((low, high)) => network(low)
                    .and_then(|low| Some(IntervalSet::range(low.hull()?.0, network(high)?.hull()?.1))),
                None => network(item),
            };
            set = set.union(&range.unwrap_or_default());
        }
        if kind.contains("all_but") {
            set = set.complement(u128::from(u32::MAX));
        }
        all.push((name.trim().to_owned(), set));
    }
    all
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
