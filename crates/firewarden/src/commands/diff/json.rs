//! A diff for programs: everything, with the packets exactly.

use super::names::Cut;
use super::show::place;
use super::{Answer, HostAnswer};
use firewarden_diagnostic::SourceMap;
use firewarden_packet::{AtomTable, Dim, PacketBox};
use firewarden_verify::diff::{Effect, ToldChange, ToldRule};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The JSON Schema of the answer.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(WireDiff).to_value()
}

/// What a change of rulesets means.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Firewarden diff, version 1")]
struct WireDiff {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// What was compared.
    before: String,
    /// With what.
    after: String,
    /// True where every packet of every host fares alike.
    same_meaning: bool,
    /// The hosts by name.
    hosts: Vec<WireHost>,
    /// Intents whose verdict changes.
    intents: Vec<WireIntent>,
    /// Intents that only the version before declares.
    withdrawn: Vec<String>,
}

/// What differs on one host.
#[derive(Serialize, JsonSchema)]
struct WireHost {
    /// Its name.
    name: String,
    /// `before` or `after` where only that version has the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<String>,
    /// Rules that are gone or stand elsewhere.
    rules_removed: usize,
    /// Rules that are new or stood elsewhere.
    rules_added: usize,
    /// The changes, those that matter most first.
    changes: Vec<WireChange>,
    /// Packets that were not compared, because a limit ended; empty where the answer is complete.
    undecided: Vec<WireBox>,
    /// What differs and isn't compared by meaning, one sentence each.
    not_compared: Vec<String>,
    /// Live connections that the change cuts, where connections are known.
    connections: Vec<WireCut>,
}

/// Packets whose fate changes alike, by the same rules.
#[derive(Serialize, JsonSchema)]
struct WireChange {
    /// `blocked`, `allowed`, `rewritten` or `refused_otherwise`.
    effect: &'static str,
    /// The field that is rewritten differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// `input`, `forward` or `output`.
    direction: &'static str,
    /// Whether packets that begin connections are among them.
    new_connections: bool,
    /// What decides before.
    before: WireSide,
    /// What decides after.
    after: WireSide,
    /// The sockets that wait for the packets, where they are known: `tcp/5432 (postgres)`.
    listeners: Vec<String>,
    /// What isn't modelled and decides whether it is so, for all the packets.
    given: Vec<String>,
    /// One of the packets, as `firewarden trace` reads it.
    witness: String,
    /// What all the packets have in common, in words.
    hull: BTreeMap<String, String>,
    /// The packets as products of sets, in words; they may overlap.
    sets: Vec<BTreeMap<String, String>>,
    /// Products of sets that are in the hull and not among the packets, and nothing else is, where that is shorter to read
    /// than the sets; otherwise empty.
    except: Vec<BTreeMap<String, String>>,
    /// The same packets exactly: their union, boxes that don't overlap.
    packets: Vec<WireBox>,
    /// True where the value varies with the packet or the kernel's choice, so that some of the packets may happen to get
    /// the same one before and after; they are among the packets.
    coincidences: bool,
}

/// The rule that decides.
#[derive(Serialize, JsonSchema)]
struct WireSide {
    /// What becomes of the witness.
    outcome: String,
    /// File and line; empty where no rule decides.
    place: String,
    /// The rule as written.
    rule: String,
    /// The program that manages the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<String>,
}

/// A box: for each field that is restricted, `[first, last]`, or `{mask, value}` for flag words. Numbers are decimal
/// strings, since they may have 128 bits; interface names are big-endian numbers of 16 bytes.
type WireBox = BTreeMap<String, WireDim>;

/// The values of one field.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum WireDim {
    /// From the first to the last, both included.
    Range([String; 2]),
    /// The bits of `mask` are those of `value`.
    Bits {
        /// The bits that count, hexadecimal.
        mask: String,
        /// Their values, hexadecimal.
        value: String,
    },
}

/// An intent whose verdict changes.
#[derive(Serialize, JsonSchema)]
struct WireIntent {
    /// In the intent grammar.
    intent: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The verdict before.
    before: &'static str,
    /// The verdict after.
    after: &'static str,
    /// Why it is so after.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Connections that are cut.
#[derive(Serialize, JsonSchema)]
struct WireCut {
    /// Source, destination and service.
    flow: String,
    /// How many.
    count: usize,
    /// False where they go on, but couldn't be opened again.
    cut_now: bool,
    /// The operator's own session is among them.
    own_session: bool,
    /// The rule that refuses.
    by: String,
}

/// The answer as JSON.
pub fn render(answer: &Answer, atoms: &AtomTable, sources: &SourceMap) -> String {
    let wire = WireDiff {
        schema_version: 1,
        before: answer.before.clone(),
        after: answer.after.clone(),
        same_meaning: answer
            .hosts
            .iter()
            .all(|host| host.changes.is_empty() && host.is_complete() && host.only.is_none()),
        hosts: answer.hosts.iter().map(|host| host_of(host, atoms, sources)).collect(),
        intents: answer
            .changed_intents()
            .map(|change| WireIntent {
                intent: change.intent.clone(),
                owner: change.owner.clone(),
                before: change.before.word(),
                after: change.after.word(),
                why: change.why.clone(),
            })
            .collect(),
        withdrawn: answer.withdrawn.clone(),
    };
    // Maps have text for keys, so this can't fail.
    serde_json::to_string_pretty(&wire).map(|text| text + "\n").unwrap_or_default()
}

fn host_of(host: &HostAnswer, atoms: &AtomTable, sources: &SourceMap) -> WireHost {
    WireHost {
        name: host.name.clone(),
        only: host.only.map(str::to_owned),
        rules_removed: host.touched.removed,
        rules_added: host.touched.added,
        changes: host
            .changes
            .iter()
            .zip(&host.listeners)
            .map(|(change, listeners)| change_of(change, listeners, atoms, sources))
            .collect(),
        undecided: host.undecided.iter().map(|packets| box_of(packets, atoms)).collect(),
        not_compared: host
            .not_compared
            .iter()
            .map(|open| format!("{} ({}): {}", open.what, place(open.span, sources), open.why))
            .collect(),
        connections: host.cuts.iter().map(|cut| cut_of(cut, sources)).collect(),
    }
}

fn change_of(
    change: &ToldChange,
    listeners: &[String],
    atoms: &AtomTable,
    sources: &SourceMap,
) -> WireChange {
    let (effect, field) = match change.effect {
        Effect::Blocked => ("blocked", None),
        Effect::Allowed => ("allowed", None),
        Effect::Rewritten(field) => ("rewritten", field.map(|field| field.name())),
        Effect::RefusedOtherwise => ("refused_otherwise", None),
    };
    WireChange {
        effect,
        field,
        direction: change.direction.word(),
        new_connections: change.new,
        before: side_of(&change.before, &change.outcome_before, sources),
        after: side_of(&change.after, &change.outcome_after, sources),
        listeners: listeners.to_vec(),
        given: change.given.clone(),
        witness: change.witness.clone(),
        hull: change.hull.iter().cloned().collect(),
        sets: change.sets.iter().map(|set| set.iter().cloned().collect()).collect(),
        except: change.except.iter().map(|set| set.iter().cloned().collect()).collect(),
        packets: change.packets.iter().map(|packets| box_of(packets, atoms)).collect(),
        coincidences: change.coincidences,
    }
}

fn side_of(rule: &ToldRule, outcome: &str, sources: &SourceMap) -> WireSide {
    WireSide {
        outcome: outcome.to_owned(),
        place: place(rule.span, sources),
        rule: rule.text.clone(),
        manager: rule.manager.as_ref().map(|manager| manager.name.clone()),
    }
}

fn box_of(packets: &PacketBox, atoms: &AtomTable) -> WireBox {
    let dims = packets.dims().iter().map(|(field, dim)| {
        let name = match atoms.get(*field) {
            Some(info) => format!("atom {}: {}", field.index(), info.text),
            None => field.name().to_owned(),
        };
        let dim = match dim {
            Dim::Range(low, high) => WireDim::Range([low.to_string(), high.to_string()]),
            Dim::Bits(cube) => {
                WireDim::Bits { mask: format!("{:#x}", cube.mask), value: format!("{:#x}", cube.value) }
            }
        };
        (name, dim)
    });
    dims.collect()
}

fn cut_of(cut: &Cut, sources: &SourceMap) -> WireCut {
    WireCut {
        flow: cut.flow.clone(),
        count: cut.count,
        cut_now: cut.now,
        own_session: cut.own_session,
        by: format!("{} {}", place(cut.rule.span, sources), cut.rule.text).trim().to_owned(),
    }
}
