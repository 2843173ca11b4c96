//! From an answer to a finding: replayed, with the rule that decides, the way, and what to change.

use super::Disagreement;
use super::advice::{Advice, Adviser, at_line, quoted, rule_text, table_and_chain, value_text};
use super::model::Model;
use super::prove::{Breach, Example};
use super::replay::{Ending, Happening, Replay, Trip};
use crate::intent::{Claim, Origin, Question, Target};
use crate::managers::manager_of;
use crate::stack::DeclaredIntent;
use firewarden_diagnostic::{Dependency, Diagnostic, Finding, Severity, SourceMap, Span, Step, Witness};
use firewarden_network::{Host, HostId, Outcome};
use firewarden_packet::{AtomTable, Field, Point, text};
use firewarden_ruleset::interpreter::What;
use firewarden_ruleset::ir::{
    ChainType, Hook, NatDirection, Policy, RejectWith, RuleRef, Ruleset, Statement, Test, Value, Verdict,
};

pub(super) struct Teller<'t> {
    pub model: &'t Model<'t>,
    pub atoms: &'t AtomTable,
    pub sources: &'t SourceMap,
    pub declared: &'t DeclaredIntent,
    pub assumptions: Vec<String>,
}

/// A witness that the interpreter has confirmed.
struct Confirmed {
    trip: Trip,
    /// The place in the trip that decides, if a rule or a policy does.
    decides: Option<usize>,
    breach: Option<Breach>,
}

impl Teller<'_> {
    /// The finding of a definite breach.
    pub fn broken(&self, question: &Question, example: &Example) -> Result<Finding, Disagreement> {
        let confirmed = self.confirm(question, example)?;
        let diagnostic = self.diagnostic(question, example, &confirmed, Severity::Error);
        Ok(self.finding(diagnostic, vec![self.witness(example, &confirmed, &[])], &confirmed, &[], None))
    }

    /// The finding of a breach that atoms decide.
    pub fn depends(
        &self,
        question: &Question,
        breaks: &Example,
        holds: Option<&Example>,
        on: &[Field],
    ) -> Result<Finding, Disagreement> {
        let confirmed = self.confirm(question, breaks)?;
        let mut diagnostic = self.diagnostic(question, breaks, &confirmed, Severity::Warning);
        diagnostic.code = "intent-depends";
        let names: Vec<String> = on.iter().map(|&field| self.atom_on_host(field)).collect();
        diagnostic.message =
            format!("{} depends on {}", quoted(&self.declared.intent.full_text()), names.join(" and "));
        diagnostic.help =
            Some(match self.telling(breaks, holds, on).find_map(|field| self.assumption(field, holds)) {
                Some(line) => format!("if it is as it should be, write down `{line}`"),
                None => "say by which interface the packets come in with `in: NAME`".to_owned(),
            });
        let mut witnesses = vec![self.witness(breaks, &confirmed, on)];
        if let Some(example) = holds {
            let confirmed = self.confirm(question, example)?;
            witnesses.push(self.witness(example, &confirmed, on));
        }
        Ok(self.finding(diagnostic, witnesses, &confirmed, on, holds))
    }

    /// Has the interpreter repeat a witness.
    fn confirm(&self, question: &Question, example: &Example) -> Result<Confirmed, Disagreement> {
        let replay = Replay { hosts: self.model.hosts, atoms: self.atoms };
        let single = self.model.single;
        let target = question.target;
        let reached = move |ending: Ending| match (target, ending) {
            (Target::Host(index), Ending::Delivered(HostId(to))) => index == to,
            (Target::Host(_), Ending::Left) => single,
            (Target::Elsewhere, Ending::Left) => true,
            _ => false,
        };
        let (breach, trip) = match question.claim {
            Claim::Arrives => replay.arrives(&example.point, &example.path, &reached),
            Claim::NeverArrives => {
                let trip = replay.send(&example.point, &example.path);
                let counts = !question.translated
                    || question.arriving.iter().any(|region| {
                        region.dims().iter().all(|(field, dim)| dim.contains(trip.last.get(*field)))
                    });
                ((reached(trip.ending) && counts).then_some(Breach::Arrives), trip)
            }
        };
        let first_packet = matches!(breach, None | Some(Breach::NotDelivered | Breach::Arrives));
        if breach != example.breach || (first_packet && !same_end(trip.ending, example.outcome)) {
            return Err(Disagreement {
                intent: self.declared.intent.full_text(),
                packet: self.packet_text(&example.point, example, &[]),
                engine: format!("{:?} ({:?})", example.outcome, example.breach),
                interpreter: format!("{:?} ({breach:?})", trip.ending),
            });
        }
        let decides = self.deciding(&trip, breach);
        Ok(Confirmed { trip, decides, breach })
    }

    /// Where in a trip the finding comes down: of a refused packet the last thing that happened; of one that arrives the
    /// last rule of a filter chain that accepted it on the last host, or else the last policy there.
    fn deciding(&self, trip: &Trip, breach: Option<Breach>) -> Option<usize> {
        if matches!(trip.ending, Ending::Refused(..)) {
            return trip.happenings.len().checked_sub(1);
        }
        if breach != Some(Breach::Arrives) {
            return None;
        }
        let last_host = trip.happenings.last()?.host;
        let ruleset = &self.model.host(last_host.0)?.ruleset;
        let of_filter = |happening: &Happening| {
            let hook = matches!(happening.hook, Hook::Input | Hook::Forward);
            let mut base = ruleset.chains.iter().filter_map(|chain| chain.base.as_ref());
            happening.host == last_host && hook && base.any(|base| base.chain_type == ChainType::Filter)
        };
        let place = |wanted: fn(&What) -> bool| {
            trip.happenings
                .iter()
                .rposition(|happening| of_filter(happening) && wanted(&happening.event.what))
        };
        place(|what| matches!(what, What::Accepted)).or_else(|| place(|what| matches!(what, What::Policy(_))))
    }

    fn diagnostic(
        &self,
        question: &Question,
        example: &Example,
        confirmed: &Confirmed,
        severity: Severity,
    ) -> Diagnostic {
        let intent = quoted(&self.declared.intent.full_text());
        let packet = self.short_packet(&example.point);
        let who = self.ending_text(confirmed.trip.ending);
        let (code, message) = match confirmed.breach {
            Some(Breach::Arrives) => (
                "flow-open",
                match question.target {
                    Target::Host(index) => format!(
                        "{intent} fails: {packet} reaches {}",
                        self.model.host(index).map_or("the host", |host| host.name.as_str())
                    ),
                    Target::Elsewhere => format!("{intent} fails: {packet} gets through"),
                },
            ),
            Some(Breach::AnswerLost) => {
                ("reply-blocked", format!("{intent} fails: the answer to {packet} is {who}"))
            }
            Some(Breach::LaterLost) => {
                ("connection-broken", format!("{intent} fails: the packets after {packet} are {who}"))
            }
            _ => ("flow-blocked", format!("{intent} fails: {packet} is {who}")),
        };
        let mut diagnostic = Diagnostic::new(severity, code, message);
        let happening = confirmed.decides.and_then(|at| confirmed.trip.happenings.get(at));
        let Some(happening) = happening else {
            return diagnostic
                .at(self.declared.intent.span, "declared here")
                .help(self.no_rule_help(confirmed.trip.ending));
        };
        let Some(host) = self.model.host(happening.host.0) else { return diagnostic };
        let span = rule_span(&host.ruleset, happening.event.rule);
        diagnostic = diagnostic.at(span, self.label(happening, &host.ruleset));
        let adviser = Adviser { ruleset: &host.ruleset, sources: self.sources, atoms: self.atoms };
        let seen = &confirmed.trip.before_last;
        let mut advice = match confirmed.breach {
            Some(Breach::Arrives) => {
                Advice { help: adviser.refuse_before(happening.event.rule, seen), ..Advice::default() }
            }
            Some(Breach::NotDelivered) => {
                adviser.refusal(happening.event.rule, seen, matches!(question.origin, Origin::Host(_)))
            }
            _ => Advice {
                help: format!(
                    "accept packets of established connections early, with `ct state established,related accept`, before {}",
                    at_line(self.sources, span)
                ),
                ..Advice::default()
            },
        };
        for (span, what) in advice.places.drain(..) {
            diagnostic = diagnostic.see(span, what);
        }
        diagnostic = diagnostic.see(self.declared.intent.span, "declared here");
        for note in advice.notes.drain(..) {
            diagnostic = diagnostic.because(note);
        }
        if let Some(manager) = manager_of(&host.ruleset, happening.event.rule) {
            return diagnostic.help(format!("the rule is {}'s: {}", manager.name, manager.edit));
        }
        diagnostic.help(advice.help)
    }

    fn finding(
        &self,
        diagnostic: Diagnostic,
        witnesses: Vec<Witness>,
        confirmed: &Confirmed,
        on: &[Field],
        holds: Option<&Example>,
    ) -> Finding {
        let manager = confirmed
            .decides
            .and_then(|at| confirmed.trip.happenings.get(at))
            .and_then(|at| manager_of(&self.model.host(at.host.0)?.ruleset, at.event.rule));
        let depends_on = on
            .iter()
            .map(|&field| Dependency {
                name: self.atom_name(field),
                span: self.atom_span(field),
                text: self.atom_text(field),
                assumption: self.assumption(field, holds),
            })
            .collect();
        Finding { diagnostic, witnesses, manager, depends_on, assumptions: self.assumptions.clone() }
    }

    fn witness(&self, example: &Example, confirmed: &Confirmed, on: &[Field]) -> Witness {
        let outcome = match confirmed.breach {
            Some(Breach::AnswerLost) => format!("the answer is {}", self.ending_text(confirmed.trip.ending)),
            Some(Breach::LaterLost) => {
                format!("later packets are {}", self.ending_text(confirmed.trip.ending))
            }
            _ => self.ending_text(confirmed.trip.ending),
        };
        let given = on.iter().map(|&field| self.given(field, example.point.get(field))).collect();
        Witness {
            packet: self.packet_text(&example.point, example, on),
            fields: fields_of(&example.point),
            outcome,
            given,
            path: steps(&confirmed.trip, self.model.hosts, self.sources, confirmed.decides),
        }
    }

    fn given(&self, field: Field, value: u128) -> String {
        let Some(info) = self.atoms.get(field) else { return String::new() };
        if info.domain == (0, 1) {
            return format!("`{}` {}", info.text, if value == 0 { "does not match" } else { "matches" });
        }
        let word = text::value(info, value);
        if &*info.kind == "interface" && word.starts_with("0x") {
            // Between two names that rules ask for: what no interface is called stands for all others.
            return format!("`{}` on {} is none that a rule names", info.text, info.scope);
        }
        if &*info.kind == "interface" && self.model.hosts.len() > 1 {
            return format!("`{}` on {} is `{word}`", info.text, info.scope);
        }
        format!("`{}` is `{word}`", info.text)
    }

    /// The packet as `trace` reads it, with the interface it first comes in by.
    fn packet_text(&self, point: &Point, example: &Example, on: &[Field]) -> String {
        let mut shown = Point::default();
        for &field in Field::ALL_FIXED {
            shown.set(field, point.get(field));
        }
        let input = example.path.via.first().map_or(example.path.input, |via| via.input);
        if let (Some(name), None) = (input, example.path.source) {
            shown.set(Field::IIFNAME, name.0);
        }
        for &field in on {
            shown.set(field, point.get(field));
        }
        text::format(&shown, self.atoms)
    }

    /// `tcp 10.0.1.10:40000 -> 10.0.2.20:8080`.
    fn short_packet(&self, point: &Point) -> String {
        let ports = matches!(point.get(Field::L4PROTO), 6 | 17 | 33 | 132 | 136);
        let end = |address: Field, port: Field| {
            let text = value_text(address, point);
            match (ports, point.get(Field::NFPROTO) == 10) {
                (true, true) => format!("[{text}]:{}", point.get(port)),
                (true, false) => format!("{text}:{}", point.get(port)),
                (false, _) => text,
            }
        };
        format!(
            "{} {} -> {}",
            value_text(Field::L4PROTO, point),
            end(Field::SADDR, Field::SPORT),
            end(Field::DADDR, Field::DPORT)
        )
    }

    fn ending_text(&self, ending: Ending) -> String {
        ending_text(ending, &|id| self.model.name(id).to_owned())
    }

    fn no_rule_help(&self, ending: Ending) -> String {
        match ending {
            Ending::NotForwarded(id) => format!(
                "{0} does not own the destination and does not forward: check the addresses, or declare the interfaces of {0}",
                self.model.name(id)
            ),
            Ending::NoRoute(id) => format!("add a route to the destination on {}", self.model.name(id)),
            Ending::ReversePath(id) => format!(
                "correct the route of {0} back to the source, or set `rp_filter` to 2 on the interface by which it comes in",
                self.model.name(id)
            ),
            Ending::Loop(id) => {
                format!("look at the routes of {} and of the next router", self.model.name(id))
            }
            Ending::Astray(id) => format!(
                "let answers take the way back that the connection came by: look at the routes on the way to {}",
                self.model.name(id)
            ),
            _ => "check the addresses of the intent, and the rules that translate them".to_owned(),
        }
    }

    fn label(&self, happening: &Happening, ruleset: &Ruleset) -> String {
        let chain = ruleset.chain(happening.event.rule.chain).map_or("", |chain| &*chain.name);
        match happening.event.what {
            What::Dropped => "drops it".to_owned(),
            What::Rejected(_) => "rejects it".to_owned(),
            What::Accepted => "lets it through".to_owned(),
            What::Policy(Policy::Drop) => {
                format!("no rule of `{chain}` accepts it, and the policy is drop")
            }
            What::Policy(Policy::Accept) => {
                format!("no rule of `{chain}` refuses it, and the policy is accept")
            }
            _ => String::new(),
        }
    }

    fn atom_text(&self, field: Field) -> String {
        self.atoms.get(field).map(|info| info.text.to_string()).unwrap_or_default()
    }

    /// What kind of construct it is, and whose where there are several hosts: `limit on lb`.
    fn atom_name(&self, field: Field) -> String {
        let Some(info) = self.atoms.get(field) else { return String::new() };
        if self.model.hosts.len() > 1 {
            return format!("{} on {}", info.kind, info.scope);
        }
        info.kind.to_string()
    }

    /// The atoms that differ between the two packets, then the others.
    fn telling<'a>(
        &self,
        breaks: &'a Example,
        holds: Option<&'a Example>,
        on: &'a [Field],
    ) -> impl Iterator<Item = Field> + 'a {
        let differs = move |field: &Field| {
            holds.is_some_and(|holds| holds.point.get(*field) != breaks.point.get(*field))
        };
        on.iter().copied().filter(differs).chain(on.iter().copied().filter(move |field| !differs(field)))
    }

    /// The atom's text, and whose it is where there are several hosts.
    fn atom_on_host(&self, field: Field) -> String {
        let Some(info) = self.atoms.get(field) else { return String::new() };
        let text = quoted(&info.text);
        if self.model.hosts.len() > 1 { format!("{text} on {}", info.scope) } else { text }
    }

    /// A line for the stack file that settles the atom as in the packet for which the claim holds.
    fn assumption(&self, field: Field, holds: Option<&Example>) -> Option<String> {
        let info = self.atoms.get(field).filter(|info| info.domain == (0, 1))?;
        let value = holds.is_none_or(|example| example.point.get(field) != 0);
        let host = if self.model.hosts.len() > 1 { format!("host: {}, ", info.scope) } else { String::new() };
        Some(format!(
            "assume: [{{ atom: {:?}, {host}is: {value}, owner: YOU, expires: YYYY-MM-DD }}]",
            info.text
        ))
    }

    /// The rule that an atom stands in. O(rules).
    fn atom_span(&self, field: Field) -> Option<Span> {
        let scope = &self.atoms.get(field)?.scope;
        let host = self.model.hosts.iter().find(|host| host.name == **scope)?;
        let rules = host.ruleset.chains.iter().flat_map(|chain| &chain.rules);
        rules
            .into_iter()
            .find(|rule| rule.statements.iter().any(|part| mentions(part, field)))
            .map(|rule| rule.span)
    }
}

fn mentions(statement: &Statement, field: Field) -> bool {
    let of_value = |value: &Value| matches!(value, Value::Choice(own) if *own == field);
    match statement {
        Statement::Test(Test::Atom { atom, .. }) | Statement::Verdict(Verdict::Opaque { atom }) => {
            *atom == field
        }
        Statement::Test(Test::Range { field: own, .. } | Test::Masked { field: own, .. }) => *own == field,
        Statement::Test(Test::Lookup { key, .. }) | Statement::VerdictMap { key, .. } => key.contains(&field),
        Statement::Assign { value, .. } => of_value(value),
        Statement::Nat(nat) => nat.unknown_address == Some(field) || nat.port.as_ref().is_some_and(of_value),
        Statement::Opaque { fields } => fields.iter().any(|(_, choice)| *choice == field),
        _ => false,
    }
}

pub(super) fn same_end(ending: Ending, outcome: Outcome) -> bool {
    match (ending, outcome) {
        (Ending::Delivered(left), Outcome::Delivered(right)) => left == right,
        (Ending::Left, Outcome::Left) => true,
        (Ending::Refused(left, hook, with), Outcome::Refused { host, hook: other, fate }) => {
            let rejected = matches!(fate, firewarden_engine::Fate::Rejected(_));
            left == host && hook == other && with.is_some() == rejected
        }
        (Ending::NotForwarded(left), Outcome::NotForwarded(right))
        | (Ending::NoRoute(left), Outcome::NoRoute(right))
        | (Ending::ReversePath(left), Outcome::ReversePath(right))
        | (Ending::Loop(left), Outcome::Loop(right))
        | (Ending::Astray(left), Outcome::Astray(right)) => left == right,
        _ => false,
    }
}

/// `dropped by lb`, `delivered to app`.
pub(crate) fn ending_text(ending: Ending, name: &dyn Fn(HostId) -> String) -> String {
    match ending {
        Ending::Delivered(id) => format!("delivered to {}", name(id)),
        Ending::Left => "passed on".to_owned(),
        Ending::Refused(id, _, None) => format!("dropped by {}", name(id)),
        Ending::Refused(id, _, Some(RejectWith::TcpReset)) => {
            format!("rejected by {} with a reset", name(id))
        }
        Ending::Refused(id, _, Some(RejectWith::Icmp)) => format!("rejected by {}", name(id)),
        Ending::NotForwarded(id) => format!("not forwarded by {}", name(id)),
        Ending::NoRoute(id) => format!("{} has no route to it", name(id)),
        Ending::ReversePath(id) => {
            format!("dropped by {}, whose way back to the source is another one (rp_filter)", name(id))
        }
        Ending::Loop(id) => format!("going round, past {} again", name(id)),
        Ending::Astray(id) => {
            format!("an answer that takes another way, and belongs to no connection at {}", name(id))
        }
    }
}

/// The place of a rule, or of the policy where the index is behind the rules.
pub(crate) fn rule_span(ruleset: &Ruleset, at: RuleRef) -> Span {
    match (ruleset.rule(at), ruleset.chain(at.chain)) {
        (Some(rule), _) => rule.span,
        (None, Some(chain)) => chain.base.as_ref().map_or(chain.span, |base| base.policy_span),
        (None, None) => Span::default(),
    }
}

/// The steps of a trip.
pub(crate) fn steps(trip: &Trip, hosts: &[Host], sources: &SourceMap, decides: Option<usize>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, happening) in trip.happenings.iter().enumerate() {
        let Some(host) = hosts.get(happening.host.0) else { continue };
        let rule = happening.event.rule;
        let before = index.checked_sub(1).and_then(|at| trip.happenings.get(at));
        let translated = before.is_some_and(|before| {
            before.event.rule == rule && matches!(before.event.what, What::Translated(..))
        });
        if translated && happening.event.what == What::Accepted && decides != Some(index) {
            // A translation accepts by itself: that goes without saying.
            continue;
        }
        let span = rule_span(&host.ruleset, rule);
        let text = match host.ruleset.rule(rule) {
            Some(rule) => rule_text(sources, rule.span),
            None => String::new(),
        };
        steps.push(Step {
            host: host.name.clone(),
            place: table_and_chain(&host.ruleset, rule.chain),
            span: Some(span),
            rule: text,
            action: action(happening, &host.ruleset, trip),
            decides: decides == Some(index),
        });
    }
    steps
}

fn action(happening: &Happening, ruleset: &Ruleset, trip: &Trip) -> String {
    let chain = |id| ruleset.chain(id).map_or(String::new(), |chain| chain.name.to_string());
    match happening.event.what {
        What::Jumped(to) => format!("jump {}", chain(to)),
        What::WentTo(to) => format!("goto {}", chain(to)),
        What::Returned => "return".to_owned(),
        What::Wrote(field, value) => format!("set {} to {value:#x}", field.name()),
        What::Translated(direction, end) => {
            let family = trip.last.get(Field::NFPROTO);
            let point = Point::default().with(Field::NFPROTO, family).with(Field::DADDR, end.address);
            let what = if direction == NatDirection::Source { "snat" } else { "dnat" };
            let address = value_text(Field::DADDR, &point);
            if family == 10 {
                format!("{what} to [{address}]:{}", end.port)
            } else {
                format!("{what} to {address}:{}", end.port)
            }
        }
        What::Untracked => "notrack".to_owned(),
        What::Logged => "log".to_owned(),
        What::Accepted => "accept".to_owned(),
        What::Dropped => "drop".to_owned(),
        What::Rejected(RejectWith::TcpReset) => "reject with tcp reset".to_owned(),
        What::Rejected(RejectWith::Icmp) => "reject".to_owned(),
        What::Policy(Policy::Accept) => "policy accept".to_owned(),
        What::Policy(Policy::Drop) => "policy drop".to_owned(),
    }
}

/// The fields of a packet that people look at.
fn fields_of(point: &Point) -> Vec<(String, String)> {
    let protocol = point.get(Field::L4PROTO);
    let family = if point.get(Field::NFPROTO) == 10 { "ip6" } else { "ip" };
    let mut fields = vec![
        (format!("{family}.saddr"), value_text(Field::SADDR, point)),
        (format!("{family}.daddr"), value_text(Field::DADDR, point)),
        ("l4proto".to_owned(), value_text(Field::L4PROTO, point)),
    ];
    if matches!(protocol, 6 | 17 | 33 | 132 | 136) {
        let name = value_text(Field::L4PROTO, point);
        fields.push((format!("{name}.sport"), value_text(Field::SPORT, point)));
        fields.push((format!("{name}.dport"), value_text(Field::DPORT, point)));
    }
    if matches!(protocol, 1 | 58) {
        fields.push(("icmp.type".to_owned(), value_text(Field::ICMP_TYPE, point)));
    }
    fields.push(("ct.state".to_owned(), value_text(Field::CT_STATE, point)));
    fields
}
