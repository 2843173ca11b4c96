//! A change in words: what becomes of which packets, by which rules, with one packet that shows it.

use super::compare::{Change, Compared, Decider, Effect};
use super::cover::Summary;
use super::cross::{Direction, Ending};
use super::sets::{Names, PacketSet, products};
use crate::managers::manager_of;
use firewarden_diagnostic::{Manager, SourceMap, Span};
use firewarden_engine::Fate;
use firewarden_network::Host;
use firewarden_packet::{AtomTable, Dim, Field, InterfaceName, PacketBox, Point, ct_state, tcp_flag, text};
use firewarden_ruleset::ir::{Hook, Policy, Ruleset};

/// Members of a set that are written out in a line.
const SHOWN_MEMBERS: usize = 6;

/// The rule that decides on one side of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldRule {
    /// Where it stands; `None` where no rule has a say.
    pub span: Option<Span>,
    /// The rule as written, or what decides in its place: `policy drop of inet filter input`.
    pub text: String,
    /// Who manages it, where it isn't the person who wrote the file.
    pub manager: Option<Manager>,
}

/// Fields with their values in words.
pub type Words = Vec<(String, String)>;

/// A change, ready to be shown.
#[derive(Clone, Debug)]
pub struct ToldChange {
    /// What becomes of the packets.
    pub effect: Effect,
    /// The effect in words: `newly blocked`, `destination rewritten differently`.
    pub title: String,
    /// Where they were going.
    pub direction: Direction,
    /// True where packets that begin connections are among them.
    pub new: bool,
    /// True where one of the ends has a name.
    pub named: bool,
    /// Source, destination and service of all the packets, on one line, and whether it is all of that.
    pub headline: String,
    /// What isn't modelled and decides whether it is so, for all the packets: `limit rate 5/second matches`.
    pub given: Vec<String>,
    /// What all the packets have in common: fields with their values in words.
    pub hull: Words,
    /// The packets as products of sets, which may overlap: for each, the fields with their values in words. The one of
    /// the witness is first.
    pub sets: Vec<Words>,
    /// What of the hull isn't among the packets, where that is shorter to read than the sets; where it is empty, and there
    /// are several sets, these count.
    pub except: Vec<Words>,
    /// What a reader of the hull still has to know: of the exceptions where there are some, otherwise of the sets, what
    /// the hull doesn't say already.
    pub beside_hull: Vec<Words>,
    /// The same packets, exactly: boxes that don't overlap.
    pub packets: Vec<PacketBox>,
    /// True where some of them may happen to get the same value before and after.
    pub coincidences: bool,
    /// The rule that decided before.
    pub before: ToldRule,
    /// What became of the witness before: `accepted`, `dropped`.
    pub outcome_before: String,
    /// The rule that decides after.
    pub after: ToldRule,
    /// What becomes of the witness after.
    pub outcome_after: String,
    /// One of the packets, as `firewarden trace` reads it.
    pub witness: String,
    /// The same as a point.
    pub point: Point,
}

/// Writes changes of one host.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'t> {
    /// The host before.
    pub before: &'t Host,
    /// The host after.
    pub after: &'t Host,
    /// The dynamic fields.
    pub atoms: &'t AtomTable,
    /// The texts of the rules.
    pub sources: &'t SourceMap,
    /// What people call addresses, by their text.
    pub names: &'t Names,
}

impl Telling<'_> {
    /// All changes, those that matter most first: new connections before other packets, those that programs send before
    /// those that only scanners do, those from outside before those of the host with itself; what is newly blocked, then
    /// what is newly allowed, then the rest; hosts that have a name before others, then large sets.
    pub fn changes(&self, compared: &Compared) -> Vec<ToldChange> {
        let mut told: Vec<(ToldChange, f32)> = compared
            .changes
            .iter()
            .map(|change| (self.change(change), size(&change.packets, self.atoms)))
            .collect();
        told.sort_by(|(one, size), (other, other_size)| {
            let key = |change: &ToldChange| {
                (
                    !change.new,
                    !change.packets.iter().any(|packets| ordinary(packets, change.new)),
                    is_local(&change.packets),
                    rank(change.effect),
                    change.direction,
                    !change.named,
                )
            };
            key(one).cmp(&key(other)).then_with(|| other_size.total_cmp(size))
        });
        told.into_iter().map(|(change, _)| change).collect()
    }

    /// One change in words.
    pub fn change(&self, change: &Change) -> ToldChange {
        let mut summary = Summary::of(products(&change.packets, self.atoms), self.atoms);
        let witness = self.witness(change);
        // The set of the example first, then those that say most.
        summary
            .parts
            .sort_by_key(|set| (!set.contains(&change.witness), usize::MAX - set.spread(self.atoms)));
        let told = if summary.except.is_empty() { &summary.parts } else { &summary.except };
        let beside: Vec<PacketSet> = match summary.is_product() {
            true => Vec::new(),
            false => told.iter().map(|part| summary.beside_hull(part)).collect(),
        };
        let words = |set: &PacketSet| set.words(self.atoms, SHOWN_MEMBERS, self.names);
        ToldChange {
            effect: change.effect,
            title: title(change.effect),
            direction: change.direction,
            new: change.packets.iter().any(begins),
            named: summary.hull.is_named(self.names),
            headline: self.headline(&summary),
            given: summary.hull.conditions(self.atoms),
            hull: words(&summary.hull),
            sets: summary.parts.iter().map(words).collect(),
            except: summary.except.iter().map(words).collect(),
            beside_hull: beside.iter().map(words).collect(),
            packets: change.packets.clone(),
            coincidences: change.coincidences,
            before: self.rule(change.deciders.0, self.before),
            outcome_before: self.outcome(change.endings.0, change, &change.results.0),
            after: self.rule(change.deciders.1, self.after),
            outcome_after: self.outcome(change.endings.1, change, &change.results.1),
            witness: text::format(&witness, self.atoms),
            point: witness,
        }
    }

    /// Never less than all of the packets: who reads nothing else must not take a part for the whole.
    fn headline(&self, summary: &Summary) -> String {
        let text = summary.hull.headline(self.atoms, SHOWN_MEMBERS, self.names);
        match (summary.parts.len(), summary.except.as_slice()) {
            (0 | 1, _) => text,
            (parts, []) => format!("{text}, {parts} parts of it"),
            (_, [except]) => self.but_for(&text, summary, except),
            (_, several) => format!("{text}, with {} exceptions", several.len()),
        }
    }

    /// The headline of a hull with one exception. That of addresses fits into it: it is of one family, and the hull is of
    /// both, since the hull without it were a product otherwise.
    fn but_for(&self, text: &str, summary: &Summary, except: &PacketSet) -> String {
        let words = summary.beside_hull(except).words(self.atoms, SHOWN_MEMBERS, self.names);
        match (words.as_slice(), text.strip_prefix("any -> any")) {
            ([(name, value)], Some(rest)) if name == "source" => format!("any but {value} -> any{rest}"),
            ([(name, value)], Some(rest)) if name == "destination" => format!("any -> any but {value}{rest}"),
            _ => format!("{text}, with 1 exception"),
        }
    }

    /// The packet as people write it: without an output interface where it isn't forwarded.
    fn witness(&self, change: &Change) -> Point {
        let mut point = change.witness.clone();
        if change.direction == Direction::Input {
            point.set(Field::OIFNAME, 0);
        }
        // What only a later packet of a connection has is not part of what people know a packet by.
        if point.get(Field::CT_STATE) == ct_state::NEW {
            for (original, own) in [
                (Field::CT_ORIGINAL_SADDR, Field::SADDR),
                (Field::CT_ORIGINAL_DADDR, Field::DADDR),
                (Field::CT_ORIGINAL_SPORT, Field::SPORT),
                (Field::CT_ORIGINAL_DPORT, Field::DPORT),
            ] {
                point.set(original, point.get(own));
            }
        }
        point
    }

    fn outcome(&self, ending: Ending, change: &Change, last: &Point) -> String {
        match ending {
            Ending::Passes(_) => match change.effect {
                Effect::Rewritten(Some(field)) => self.rewritten(field, last),
                _ => passes(ending).to_owned(),
            },
            Ending::Refused { fate: Fate::Rejected(_), .. } => "rejected".to_owned(),
            Ending::Refused { .. } => "dropped".to_owned(),
            Ending::NotForwarded => "lost: the host doesn't forward".to_owned(),
            Ending::Impossible => "no such packet".to_owned(),
        }
    }

    fn rewritten(&self, field: Field, last: &Point) -> String {
        let value = last.get(field);
        let shown = match field {
            Field::SADDR | Field::DADDR => {
                let mut only = Point::default().with(Field::NFPROTO, last.get(Field::NFPROTO));
                only.set(Field::SADDR, value);
                let set = PacketBox::all()
                    .with_value(Field::NFPROTO, last.get(Field::NFPROTO))
                    .with(Field::SADDR, Dim::Range(value, value));
                let words = products(&[set], self.atoms);
                let words = words.first().map(|set| set.words(self.atoms, 1, self.names)).unwrap_or_default();
                words.first().map(|(_, text)| text.clone()).unwrap_or_default()
            }
            Field::CT_STATE => ct_state::NAMES.get(value as usize).copied().unwrap_or("?").to_owned(),
            Field::MARK | Field::CT_MARK => format!("{value:#x}"),
            _ => value.to_string(),
        };
        format!("{} {shown}", field_words(field))
    }

    /// A rule of one of the two hosts in words.
    pub fn rule(&self, decider: Option<Decider>, host: &Host) -> ToldRule {
        let Some(Decider { hook, rule: at }) = decider else {
            return ToldRule { span: None, text: "no rule".to_owned(), manager: None };
        };
        let ruleset = &host.ruleset;
        let manager = manager_of(ruleset, at);
        match ruleset.rule(at) {
            Some(rule) => ToldRule {
                span: Some(rule.span),
                text: self.sources.slice(rule.span).split_whitespace().collect::<Vec<_>>().join(" "),
                manager,
            },
            None => policy(ruleset, hook, at.chain, manager),
        }
    }
}

fn policy(
    ruleset: &Ruleset,
    hook: Hook,
    chain: firewarden_ruleset::ir::ChainId,
    manager: Option<Manager>,
) -> ToldRule {
    let found = ruleset.chain(chain);
    let base = found.and_then(|chain| chain.base.as_ref());
    let word = match base.map(|base| base.policy) {
        Some(Policy::Drop) => "drop",
        _ => "accept",
    };
    let name = found.map_or("?", |chain| &chain.name);
    let table = ruleset.table_of(chain).map_or("?", |table| &table.name);
    ToldRule {
        span: base.map(|base| base.policy_span).or(found.map(|chain| chain.span)),
        text: format!("policy {word} of {table} {name} ({})", hook.word()),
        manager,
    }
}

fn passes(ending: Ending) -> &'static str {
    match ending {
        Ending::Passes(Direction::Input) => "accepted",
        Ending::Passes(Direction::Forward) => "forwarded",
        _ => "sent",
    }
}

fn title(effect: Effect) -> String {
    match effect {
        Effect::Blocked => "newly blocked".to_owned(),
        Effect::Allowed => "newly allowed".to_owned(),
        Effect::Rewritten(Some(field)) => format!("{} rewritten differently", field_words(field)),
        Effect::Rewritten(None) => "delivered elsewhere".to_owned(),
        Effect::RefusedOtherwise => "refused otherwise".to_owned(),
    }
}

fn field_words(field: Field) -> &'static str {
    match field {
        Field::SADDR => "source",
        Field::DADDR => "destination",
        Field::SPORT => "source port",
        Field::DPORT => "destination port",
        Field::CT_STATE => "connection state",
        Field::MARK => "mark",
        Field::CT_MARK => "connection mark",
        other => other.name(),
    }
}

fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Blocked => 0,
        Effect::Allowed => 1,
        Effect::Rewritten(_) => 2,
        Effect::RefusedOtherwise => 3,
    }
}

/// True where all packets come in by the loopback interface.
fn is_local(packets: &[PacketBox]) -> bool {
    let lo = InterfaceName::new("lo").map_or(0, |name| name.0);
    packets.iter().all(|packets| packets.get(Field::IIFNAME) == Some(&Dim::Range(lo, lo)))
}

/// True where packets that begin a connection are in the box.
fn begins(packets: &PacketBox) -> bool {
    packets.get(Field::CT_STATE).is_none_or(|dim| dim.contains(ct_state::NEW))
}

/// True where packets are in the box as programs send them: a SYN alone, an ACK, no later fragment.
fn ordinary(packets: &PacketBox, new: bool) -> bool {
    let has = |field: Field, value: u128| packets.get(field).is_none_or(|dim| dim.contains(value));
    let is_tcp = packets.get(Field::L4PROTO) == Some(&Dim::Range(6, 6));
    let flags = if new { tcp_flag::SYN } else { tcp_flag::ACK };
    let state = if new { ct_state::NEW } else { ct_state::ESTABLISHED };
    has(Field::CT_STATE, state) && has(Field::FRAGMENT_OFFSET, 0) && (!is_tcp || has(Field::TCP_FLAGS, flags))
}

/// Roughly how many packets, as a logarithm.
fn size(boxes: &[PacketBox], atoms: &AtomTable) -> f32 {
    const FIELDS: [Field; 4] = [Field::SADDR, Field::DADDR, Field::DPORT, Field::L4PROTO];
    let one = |packets: &PacketBox| -> f32 {
        FIELDS.iter().map(|field| packets.dim(*field, atoms).log2_size(field.width())).sum()
    };
    boxes.iter().map(one).fold(0.0, f32::max)
}

impl PacketSet {
    /// How far it spreads, for the order in which sets are shown: the fewer fields are restricted the farther.
    fn spread(&self, atoms: &AtomTable) -> usize {
        64_usize.saturating_sub(self.words(atoms, 1, &Names::new()).len())
    }
}
