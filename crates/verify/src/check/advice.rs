//! What to change: rules that almost accept a packet, rules that come too late, and the rule to add.

use crate::address::{AddressRange, Family, shorten};
use firewarden_diagnostic::{SourceMap, Span};
use firewarden_packet::{AtomTable, Field, InterfaceName, Point, ct_state};
use firewarden_ruleset::ir::{self, ChainId, Dialect, Rule, RuleRef, Ruleset, Statement, Test, Verdict};

/// The text of a rule on one line.
pub(crate) fn rule_text(sources: &SourceMap, span: Span) -> String {
    let text = sources.slice(span);
    let head: String = text.chars().take(400).collect();
    shorten_to(&head.split_whitespace().collect::<Vec<_>>().join(" "), 200)
}

fn shorten_to(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `edge.nft:17`.
pub(crate) fn at_line(sources: &SourceMap, span: Span) -> String {
    match sources.get(span.file) {
        Some(file) => format!("{}:{}", file.name, file.line_column(span.start).line),
        None => "an unknown place".to_owned(),
    }
}

/// `inet filter input`, or `filter INPUT` of iptables.
pub(crate) fn table_and_chain(ruleset: &Ruleset, id: ChainId) -> String {
    let Some(chain) = ruleset.chain(id) else { return String::new() };
    let Some(table) = ruleset.table(chain.table) else { return chain.name.to_string() };
    let name = if chain.name.is_empty() { "(anonymous)" } else { &chain.name };
    match table.dialect {
        Dialect::Iptables => {
            let program = if table.family == ir::Family::Ip6 { "ip6tables" } else { "iptables" };
            format!("{program} {} {name}", table.name)
        }
        Dialect::Nft => {
            format!("{} {} {name}", table.family.word(), table.name)
        }
    }
}

/// Why a refused packet is refused, and what would let it through.
#[derive(Default)]
pub(super) struct Advice {
    /// Facts, one line each.
    pub notes: Vec<String>,
    /// The remedy.
    pub help: String,
    /// Rules worth showing, with what to say there.
    pub places: Vec<(Span, String)>,
}

pub(super) struct Adviser<'a> {
    pub ruleset: &'a Ruleset,
    pub sources: &'a SourceMap,
    pub atoms: &'a AtomTable,
}

impl Adviser<'_> {
    /// Advice for a packet that a rule or a policy refused. `at` is the rule, `seen` the packet before the hook, and
    /// `name_source` says whether a rule to be added should name its source.
    pub fn refusal(&self, at: RuleRef, seen: &Point, name_source: bool) -> Advice {
        let mut advice = Advice::default();
        let Some(chain) = self.ruleset.chain(at.chain) else { return advice };
        let rules: &[Rule] = &chain.rules;
        let deciding = rules.get(at.index as usize);
        if let (Some(rule), Some(later)) = (deciding, self.accepts_later(rules, at.index, seen)) {
            let (here, there) = (at_line(self.sources, rule.span), at_line(self.sources, later.span));
            advice.places.push((later.span, "would accept it, but comes too late".to_owned()));
            advice.help = format!("move the rule of {there} before {here}, or narrow the rule of {here}");
            return advice;
        }
        if let Some((rule, test)) = self.almost_accepts(rules, at.index, seen) {
            let why = self.why_not(test, seen);
            advice.places.push((rule.span, format!("would accept it, but {why}")));
            advice.notes.push(format!("{} would accept it, but {why}", at_line(self.sources, rule.span)));
        }
        let snippet = self.snippet(chain.table, seen, name_source);
        advice.help = match deciding {
            Some(rule) if rule.statements.iter().any(|part| matches!(part, Statement::Test(_))) => {
                format!(
                    "narrow or remove the rule of {0}, or add `{snippet}` before {0}",
                    at_line(self.sources, rule.span)
                )
            }
            Some(rule) => format!("add `{snippet}` before {}", at_line(self.sources, rule.span)),
            None => format!("add `{snippet}` to the chain `{}`", chain.name),
        };
        advice
    }

    /// The rule that would keep a packet out, before the rule that lets it in.
    pub fn refuse_before(&self, at: RuleRef, seen: &Point) -> String {
        let Some(chain) = self.ruleset.chain(at.chain) else { return String::new() };
        let iptables =
            self.ruleset.table(chain.table).is_some_and(|table| table.dialect == Dialect::Iptables);
        match chain.rules.get(at.index as usize) {
            Some(rule) => format!(
                "narrow the rule of {0}, or add a rule that drops the packet before {0}",
                at_line(self.sources, rule.span)
            ),
            None if iptables => {
                format!("set the policy with `-P {} DROP`, and accept what is wanted before", chain.name)
            }
            None => format!(
                "end the chain `{}` with `drop`, and accept what is wanted before ({} is let in by the policy)",
                chain.name,
                if seen.get(Field::CT_STATE) == ct_state::NEW { "everything new" } else { "everything" }
            ),
        }
    }

    /// A rule behind `index` of the same chain that accepts the packet.
    fn accepts_later<'r>(&self, rules: &'r [Rule], index: u32, seen: &Point) -> Option<&'r Rule> {
        let later = rules.iter().skip(index as usize + 1);
        later
            .filter(|rule| is_accept(rule) && has_tests(rule))
            .find(|rule| self.failing(rule, seen).is_some_and(|failing| failing.is_empty()))
    }

    /// An accepting rule before `index` of which one test fails, the one whose failing test is most telling.
    fn almost_accepts<'r>(
        &self,
        rules: &'r [Rule],
        index: u32,
        seen: &Point,
    ) -> Option<(&'r Rule, &'r Test)> {
        let mut best: Option<(u8, &Rule, &Test)> = None;
        for rule in rules.iter().take(index as usize).filter(|rule| is_accept(rule)) {
            let Some(failing) = self.failing(rule, seen) else { continue };
            let [test] = failing.as_slice() else { continue };
            let Some(rank) = rank(test, rule) else { continue };
            if best.is_none_or(|(known, ..)| rank < known) {
                best = Some((rank, rule, *test));
            }
        }
        best.map(|(_, rule, test)| (rule, test))
    }

    /// The tests of a rule that fail; `None` where the rule has statements beyond tests that rewrite the packet.
    fn failing<'r>(&self, rule: &'r Rule, seen: &Point) -> Option<Vec<&'r Test>> {
        let mut failing = Vec::new();
        for statement in &rule.statements {
            match statement {
                Statement::Test(test) if !self.holds(test, seen) => failing.push(test),
                Statement::Assign { .. } | Statement::Nat(_) | Statement::Opaque { .. } => return None,
                _ => {}
            }
        }
        Some(failing)
    }

    fn holds(&self, test: &Test, seen: &Point) -> bool {
        match test {
            Test::Range { field, set } => set.contains(seen.get(*field)),
            Test::Bits { field, cubes, negated } => {
                cubes.iter().any(|cube| cube.contains(seen.get(*field))) != *negated
            }
            Test::Masked { field, mask, set } => set.contains(seen.get(*field) & **mask),
            Test::Lookup { key, set, negated } => {
                let found = self.ruleset.set(*set).is_some_and(|set| {
                    set.elements.iter().any(|element| {
                        element.key.iter().zip(key).all(|(&(low, high), &field)| {
                            let value = seen.get(field);
                            low <= value && value <= high
                        })
                    })
                });
                found != *negated
            }
            Test::Atom { atom, negated } => (seen.get(*atom) != 0) != *negated,
        }
    }

    /// `its source addresses lack 10.0.1.10`.
    fn why_not(&self, test: &Test, seen: &Point) -> String {
        let (field, set_name) = match test {
            Test::Lookup { key, set, .. } => {
                let name = self.ruleset.set(*set).map(|set| set.name.to_string()).unwrap_or_default();
                (key.first().copied(), name)
            }
            Test::Range { field, .. } | Test::Bits { field, .. } | Test::Masked { field, .. } => {
                (Some(*field), String::new())
            }
            Test::Atom { atom, .. } => {
                let text = self.atoms.get(*atom).map(|info| info.text.to_string()).unwrap_or_default();
                return format!("`{text}` decides");
            }
        };
        let Some(field) = field else { return "one of its conditions fails".to_owned() };
        let value = value_text(field, seen);
        let set = if set_name.is_empty() { String::new() } else { format!(" (set `{set_name}`)") };
        match field {
            Field::SADDR => format!("its source addresses{set} lack {value}"),
            Field::DADDR => format!("its destination addresses{set} lack {value}"),
            Field::DPORT => format!("its ports{set} lack {value}"),
            Field::IIFNAME => format!("it wants another input interface than {value}"),
            Field::OIFNAME => format!("it wants another output interface than {value}"),
            Field::CT_STATE => format!("it wants another state than {value}"),
            other => format!("its condition on {} fails", other.name()),
        }
    }

    /// A rule that accepts the packet.
    fn snippet(&self, table: ir::TableId, seen: &Point, name_source: bool) -> String {
        let table = self.ruleset.table(table);
        let v6 = seen.get(Field::NFPROTO) == 10;
        let source = value_text(Field::SADDR, seen);
        let (protocol, port) = (seen.get(Field::L4PROTO), seen.get(Field::DPORT));
        let name = protocol_name(protocol);
        let ports = matches!(protocol, 6 | 17 | 33 | 132 | 136);
        if table.is_some_and(|table| table.dialect == Dialect::Iptables) {
            let mut rule = String::new();
            if name_source {
                rule.push_str(&format!("-s {source} "));
            }
            rule.push_str(&format!("-p {name} "));
            if ports {
                rule.push_str(&format!("--dport {port} "));
            }
            rule.push_str("-j ACCEPT");
            return rule;
        }
        let mut rule = String::new();
        if name_source {
            rule.push_str(&format!("{} saddr {source} ", if v6 { "ip6" } else { "ip" }));
        }
        match protocol {
            _ if ports => rule.push_str(&format!("{name} dport {port} ")),
            1 => rule.push_str(&format!("icmp type {} ", seen.get(Field::ICMP_TYPE))),
            58 => rule.push_str(&format!("icmpv6 type {} ", seen.get(Field::ICMP_TYPE))),
            _ => rule.push_str(&format!("meta l4proto {name} ")),
        }
        rule.push_str("accept");
        rule
    }
}

fn is_accept(rule: &Rule) -> bool {
    rule.statements.iter().any(|statement| matches!(statement, Statement::Verdict(Verdict::Accept)))
}

fn has_tests(rule: &Rule) -> bool {
    rule.statements.iter().any(|statement| matches!(statement, Statement::Test(_)))
}

/// How telling it is that this test fails, 0 most; `None` where it tells nothing. A rule that names neither a service
/// nor a source is not about this packet.
fn rank(test: &Test, rule: &Rule) -> Option<u8> {
    let field = match test {
        Test::Lookup { key, .. } => *key.first()?,
        Test::Range { field, .. } => *field,
        Test::Bits { .. } | Test::Masked { .. } | Test::Atom { .. } => return None,
    };
    let about = |field: Field| {
        rule.statements.iter().any(|statement| match statement {
            Statement::Test(Test::Range { field: own, .. }) => *own == field,
            Statement::Test(Test::Lookup { key, .. }) => key.contains(&field),
            _ => false,
        })
    };
    match field {
        Field::SADDR if about(Field::DPORT) => Some(0),
        Field::DADDR if about(Field::DPORT) => Some(1),
        Field::IIFNAME | Field::OIFNAME if about(Field::DPORT) => Some(2),
        Field::DPORT if about(Field::SADDR) => Some(3),
        _ => None,
    }
}

pub(super) fn protocol_name(number: u128) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        47 => "gre".to_owned(),
        50 => "esp".to_owned(),
        51 => "ah".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// A value of a packet for people.
pub(super) fn value_text(field: Field, point: &Point) -> String {
    let value = point.get(field);
    match field {
        Field::SADDR | Field::DADDR => {
            let family = if point.get(Field::NFPROTO) == 10 { Family::V6 } else { Family::V4 };
            AddressRange { family, low: value, high: value }.to_string()
        }
        Field::IIFNAME | Field::OIFNAME => format!("`{}`", InterfaceName(value)),
        Field::CT_STATE => {
            let name = usize::try_from(value).ok().and_then(|at| ct_state::NAMES.get(at).copied());
            name.unwrap_or("?").to_owned()
        }
        Field::L4PROTO => protocol_name(value),
        _ => value.to_string(),
    }
}

/// Something of the user's in backticks.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shorten(text))
}
