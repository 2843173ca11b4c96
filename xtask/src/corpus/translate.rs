//! iptables' own translations to nft: both sides of each pair mean the same.

use super::dumps::tell;
use super::load::{Language, Loaded, load};
use super::{Section, files, shown};
use firewarden_engine::Detail;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Field, text};
use firewarden_ruleset::ir::dump::dump_rule;
use firewarden_ruleset::ir::{Ruleset, Statement, Test, Verdict};
use firewarden_testkit::equivalence::{Equivalence, Limits, compare, questions};
use firewarden_verify::diff::{DiffOptions, HostPair, align};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const LIMITS: Limits = Limits { regions: 100_000, rules: 10_000_000, detail: Detail::Rules };

/// Pairs whose two sides don't mean the same, or that one side's language doesn't have, and why.
const EXPLAINED: &[(&str, &str)] = &[
    ("FORWARD ! -i +", "No interface can have that name, so neither side matches anything"),
    ("-m icmp ", NO_PROTOCOL),
    ("-m icmp6 ", NO_PROTOCOL),
    ("-m mh ", NO_PROTOCOL),
    ("-m ipcomp ", NO_PROTOCOL),
    ("-m tcpmss ", NO_PROTOCOL),
    ("-m ecn ! --ecn-tcp-ece", NO_PROTOCOL),
    ("-m ecn --ecn-tcp-cwr", NO_PROTOCOL),
    (
        "-m realm ",
        "The kernel has no routing class yet in this chain, and refuses the rule; the translator doesn't ask it",
    ),
    ("-m ah --ahspi 0:4294967295", NOT_NFT),
    ("--espspi 0:4294967295", NOT_NFT),
    ("[fec0::1234-fec0::2000]:1-20", NOT_NFT),
    ("only SHUTDOWN_COMPLETE", NOT_NFT),
    ("! --rt-segsleft 0:4294967295", NOT_NFT),
    ("ip6tables-translate -A INPUT -m ah ", HEADER_ANYWHERE),
    ("-p mh ", HEADER_ANYWHERE),
    (
        "--set-xmark 0x16/0x12",
        "The translation clears the mask's bits after it has set them, iptables before",
    ),
    ("--right-shift-mark", "Not read here"),
    (
        "ip6tables-translate -A INPUT -j TOS ",
        "iptables writes the two congestion bits as well, the translation doesn't",
    ),
    ("-j TPROXY ", "Where no socket listens, iptables drops, and the translation goes on with the next rule"),
    (
        "-m cluster ",
        "The translation makes every frame a unicast one, iptables only some multicast frames, which isn't modelled",
    ),
    (
        "--ctproto ",
        "Of packets other than ICMP errors, iptables' match is taken for the packet's own protocol; nft's is opaque, which \
         is coarser and never wrong",
    ),
    ("! --helper ftp", UNCONNECTED),
    ("! --label 40 --set", UNCONNECTED),
];

const UNCONNECTED: &str =
    "Of a packet without a connection, iptables' negated match holds, and nft's ends the rule";
const NO_PROTOCOL: &str = "The kernel refuses the rule without `-p`; the translator doesn't ask it";
const NOT_NFT: &str = "nft refuses its own side of the pair";
const HEADER_ANYWHERE: &str =
    "One side asks for the packet's protocol, the other one for a header anywhere in it";

#[derive(Default)]
struct Count {
    pairs: usize,
    equivalent: usize,
    without_effect: usize,
    one_opaque: usize,
    opaque: usize,
    differ: usize,
    refused: usize,
}

/// Compares each pair of the `.txlate` files.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let mut count = Count::default();
    let (mut listed, mut opaque) = (String::new(), BTreeSet::new());
    for path in files(&folder.join("iptables/matches")) {
        let name = shown(&path, folder);
        if !name.ends_with(".txlate") {
            continue;
        }
        for pair in pairs(&std::fs::read_to_string(&path).unwrap_or_default()) {
            count.pairs += 1;
            match one(&pair, &path, &mut count) {
                Answer::Fine => {}
                Answer::Opaque(kinds) => {
                    section.details.push(format!("{name}: opaque ({}): {}", kinds.join(", "), pair.command));
                    opaque.extend(kinds);
                }
                Answer::Wrong(why) => {
                    let explained = EXPLAINED.iter().find(|(part, _)| pair.command.contains(part));
                    let explanation = explained.map_or("", |(_, explanation)| explanation);
                    if explained.is_none() {
                        section.failures.push(format!("{name}: `{}`: {why}", pair.command));
                    }
                    let _ = writeln!(
                        listed,
                        "- `{}`: {why}{}{explanation}",
                        pair.command,
                        if explanation.is_empty() { "" } else { ". " }
                    );
                }
            }
        }
    }
    let opaque: Vec<String> = opaque.into_iter().collect();
    let _ = write!(
        section.text,
        "## Translations\n\niptables' own pairs of an iptables command and the nft rule that means the same, each put \
         into a chain of its own and compared by the engine.\n\n\
         | | pairs |\n|---|---|\n| IPv4 and IPv6 rules | {} |\n| equivalent | {} |\n\
         | of these, with one opaque part on each side, taken to be the same | {} |\n\
         | of these, without effect in the model (logging, classes) | {} |\n\
         | opaque parts that can't be paired: not compared | {} |\n| different | {} |\n| refused by a frontend | {} |\n\n\
         Opaque and not compared: {}.\n",
        count.pairs,
        count.equivalent,
        count.one_opaque,
        count.without_effect,
        count.opaque,
        count.differ,
        count.refused,
        if opaque.is_empty() { "none".to_owned() } else { opaque.join(", ") },
    );
    if !listed.is_empty() {
        let _ = write!(section.text, "\nDifferent or refused:\n\n{listed}");
    }
    section
}

/// A command and its translation.
struct Pair {
    command: String,
    nft: Vec<String>,
}

/// The pairs of a file that are IPv4 or IPv6 rules.
fn pairs(text: &str) -> Vec<Pair> {
    let mut all: Vec<Pair> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("iptables-translate") || line.starts_with("ip6tables-translate") {
            all.push(Pair { command: line.to_owned(), nft: Vec::new() });
            open = true;
        } else if let Some(command) = line.strip_prefix("nft ").filter(|_| open) {
            if let Some(pair) = all.last_mut() {
                pair.nft.push(command.trim().trim_matches('\'').to_owned());
            }
        } else {
            open = false;
        }
    }
    all.retain(|pair| {
        !pair.nft.is_empty()
            && pair.nft.iter().any(|command| command.contains(" rule "))
            && rule_of(&pair.command).is_some()
    });
    all
}

/// The parts of an iptables command.
struct Command {
    v6: bool,
    table: String,
    chain: String,
    target: Option<String>,
    rule: String,
}

/// Words of a shell line, quotes kept.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (None, ' ' | '\t') => {
                if words.last().is_some_and(|word| !word.is_empty()) {
                    words.push(String::new());
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn rule_of(line: &str) -> Option<Command> {
    let mut words = words(line).into_iter();
    let v6 = words.next()?.starts_with("ip6");
    let mut command =
        Command { v6, table: "filter".to_owned(), chain: String::new(), target: None, rule: String::new() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "-t" | "--table" => command.table = words.next()?,
            "-A" | "-I" | "--append" | "--insert" => command.chain = words.next()?.to_uppercase(),
            "-j" | "-g" | "--jump" | "--goto" => {
                let target = words.next()?;
                let _ = write!(command.rule, "{word} {target} ");
                command.target = Some(target);
            }
            _ => {
                let _ = write!(command.rule, "{word} ");
            }
        }
    }
    if command.table == "filter" && matches!(command.chain.as_str(), "PREROUTING" | "POSTROUTING") {
        command.table = "mangle".to_owned();
    }
    // The translator doesn't ask the kernel, which has these targets in one table only.
    if matches!(command.target.as_deref(), Some("DSCP" | "TOS")) {
        command.table = "mangle".to_owned();
    }
    (!command.chain.is_empty()).then_some(command)
}

impl Command {
    /// The target is a chain of the user.
    fn called(&self) -> Option<&str> {
        self.target.as_deref().filter(|target| *target == "LONGNACCEPT")
    }

    /// What a chain does with packets that the rule leaves alone: the opposite of what the rule does, where one can tell.
    fn policy(&self) -> &'static str {
        match self.target.as_deref() {
            None | Some("ACCEPT" | "LONGNACCEPT") if self.table != "nat" => "DROP",
            _ => "ACCEPT",
        }
    }

    fn iptables(&self) -> String {
        let mut text = format!("*{}\n:{} {} [0:0]\n", self.table, self.chain, self.policy());
        if let Some(called) = self.called() {
            let _ = write!(text, ":{called} - [0:0]\n-A {called} -j ACCEPT\n");
        }
        let accept = if self.target.is_none() { "-j ACCEPT" } else { "" };
        let _ = write!(text, "-A {} {}{accept}\nCOMMIT\n", self.chain, self.rule);
        text
    }

    /// The nft side: the same chain, and the translation with its names put right.
    fn nft(&self, commands: &[String]) -> String {
        let family = if self.v6 { "ip6" } else { "ip" };
        let (hook, source) = match self.chain.as_str() {
            "PREROUTING" => ("prerouting", false),
            "INPUT" => ("input", true),
            "FORWARD" => ("forward", false),
            "OUTPUT" => ("output", false),
            _ => ("postrouting", true),
        };
        let (kind, priority) = match self.table.as_str() {
            "raw" => ("filter", "-300"),
            "mangle" if hook == "output" => ("route", "-150"),
            "mangle" => ("filter", "-150"),
            "nat" if source => ("nat", "100"),
            "nat" => ("nat", "-100"),
            "security" => ("filter", "50"),
            _ => ("filter", "0"),
        };
        let mut text = format!(
            "add table {family} t\nadd chain {family} t c {{ type {kind} hook {hook} priority {priority}; policy {}; }}\n",
            self.policy().to_lowercase()
        );
        if let Some(called) = self.called() {
            let _ = writeln!(text, "add chain {family} t {called}\nadd rule {family} t {called} accept");
        }
        for command in commands {
            let words: Vec<&str> = command.splitn(6, ' ').collect();
            match words.as_slice() {
                ["add" | "insert", "rule", _, _, _, rule] => {
                    let rule = if self.target.is_none() { with_accept(rule) } else { (*rule).to_owned() };
                    let _ = writeln!(text, "add rule {family} t c {rule}");
                }
                ["add", object, _, _, name, rest] => {
                    let _ = writeln!(text, "add {object} {family} t {name} {rest}");
                }
                _ => {
                    let _ = writeln!(text, "{command}");
                }
            }
        }
        text
    }
}

fn with_accept(rule: &str) -> String {
    match rule.find(" comment \"") {
        Some(at) => {
            format!("{} accept{}", rule.get(..at).unwrap_or(rule), rule.get(at..).unwrap_or_default())
        }
        None => format!("{rule} accept"),
    }
}

enum Answer {
    Fine,
    Opaque(Vec<String>),
    Wrong(String),
}

fn one(pair: &Pair, path: &Path, count: &mut Count) -> Answer {
    let Some(command) = rule_of(&pair.command) else { return Answer::Fine };
    let mut atoms = AtomTable::default();
    let language = if command.v6 { Language::Iptables6 } else { Language::Iptables4 };
    let left = load(&command.iptables(), language, path, &mut atoms);
    let nft = command.nft(&pair.nft);
    let mut right = load(&nft, Language::Nft, path, &mut atoms);
    let first_error =
        |loaded: &Loaded| loaded.errors().next().map(|error| format!("{} [{}]", error.message, error.code));
    for (side, loaded) in [("iptables", &left), ("nft", &right)] {
        if let Some(error) = first_error(loaded) {
            count.refused += 1;
            return Answer::Wrong(format!("refused as {side}: {error}"));
        }
    }
    let left = left.ruleset;
    align(&left, &mut right.ruleset, &atoms, |atoms, field| {
        let atom = atoms.get(field)?;
        Some(if atom.domain == (0, 1) { atom.kind.to_string() } else { String::new() })
    });
    let right = &mut right.ruleset;
    let (in_left, in_right) = (opaque(&left), opaque(right));
    let (only_left, only_right): (Vec<Field>, Vec<Field>) =
        (in_left.difference(&in_right).copied().collect(), in_right.difference(&in_left).copied().collect());
    match (only_left.as_slice(), only_right.as_slice()) {
        ([], []) => {}
        ([_], [_]) => {
            align(&left, right, &atoms, |atoms, field| (atoms.get(field)?.domain == (0, 1)).then_some(()));
        }
        _ => {
            count.opaque += 1;
            let kind = |field: &Field| atoms.get(*field).map(|atom| atom.kind.to_string());
            return Answer::Opaque(only_left.iter().chain(&only_right).filter_map(kind).collect());
        }
    }
    let same_form = opaque(right).is_empty() && form(&left, &atoms) == form(right, &atoms);
    let mut answer = match same_form {
        true => Equivalence::Equivalent { regions: 0 },
        false => compare(&left, right, &atoms, &questions(&[&left, right]), LIMITS),
    };
    let mut meant = right.clone();
    // Which way round an opaque condition is named is anyone's choice.
    if !in_left.is_empty() && matches!(answer, Equivalence::Differs(_)) {
        let mut other = right.clone();
        negate(&mut other);
        let second = compare(&left, &other, &atoms, &questions(&[&left, &other]), LIMITS);
        if matches!(second, Equivalence::Equivalent { .. }) {
            answer = second;
            meant = other;
        }
    }
    match answer {
        Equivalence::Equivalent { .. } => {
            if let Some(change) = diffed(&left, &meant, &atoms) {
                count.differ += 1;
                return Answer::Wrong(change);
            }
            count.equivalent += 1;
            count.one_opaque += usize::from(!in_left.is_empty());
            count.without_effect += usize::from(inert(&left) && inert(right));
            Answer::Fine
        }
        other => {
            count.differ += 1;
            Answer::Wrong(tell(&other, &left, right, &atoms))
        }
    }
}

/// What diff tells of two rulesets of which the comparison hook by hook found nothing; `None` where it tells nothing
/// either. They are compared as they are, without another alignment of their opaque conditions.
fn diffed(left: &Ruleset, right: &Ruleset, atoms: &AtomTable) -> Option<String> {
    let host = |ruleset: &Ruleset| Host { ruleset: ruleset.clone(), forwards: true, ..Host::default() };
    let (before, after) = (host(left), host(right));
    let options = DiffOptions { regions: 20_000, steps: 20_000_000, split: 16 };
    let found = HostPair::new(&before, &after, atoms).compare(atoms, options);
    if let Some(unconfirmed) = found.unconfirmed {
        return Some(unconfirmed);
    }
    let change = found.changes.first()?;
    Some(format!("diff says {:?} of `{}`", change.effect, text::format(&change.witness, atoms)))
}

/// The opaque conditions of a ruleset.
fn opaque(ruleset: &Ruleset) -> BTreeSet<Field> {
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    let statements = rules.flat_map(|rule| &rule.statements);
    statements
        .flat_map(|statement| match statement {
            Statement::Test(Test::Atom { atom, .. }) | Statement::Verdict(Verdict::Opaque { atom }) => {
                vec![*atom]
            }
            Statement::Test(Test::Lookup { key, .. }) => {
                key.iter().copied().filter(|field| field.is_dynamic()).collect()
            }
            Statement::Opaque { fields } => fields.iter().map(|(_, choice)| *choice).collect(),
            _ => Vec::new(),
        })
        .collect()
}

/// The rules as text, without counters: one side has them and the other needs no mention.
fn form(ruleset: &Ruleset, atoms: &AtomTable) -> Vec<String> {
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    let texts = rules.map(|rule| dump_rule(rule, ruleset, atoms));
    texts
        .map(|text| text.split("; ").filter(|part| *part != "counter").collect::<Vec<_>>().join("; "))
        .collect()
}

/// Turns the opaque conditions round.
fn negate(ruleset: &mut Ruleset) {
    for rule in ruleset.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        for statement in &mut rule.statements {
            if let Statement::Test(Test::Atom { negated, .. }) = statement {
                *negated = !*negated;
            }
        }
    }
}

/// No rule does anything that the model sees.
fn inert(ruleset: &Ruleset) -> bool {
    let mut rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    rules.all(|rule| {
        rule.statements
            .iter()
            .all(|statement| matches!(statement, Statement::Test(_) | Statement::Neutral(_)))
    })
}
