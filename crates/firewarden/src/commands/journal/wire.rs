//! Entries and checkpoints as JSON: one object in each line, so that a journal of any length can be read line by line.

use firewarden_store::{Checkpoint, Entry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the format.
const VERSION: u32 = 1;

/// The JSON Schema of a line.
pub fn schema() -> Value {
    schemars::schema_for!(WireLine).to_value()
}

/// A line of `journal export`, of `journal show --format json`, or what `journal checkpoint` writes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Firewarden journal, version 1")]
#[serde(tag = "record", rename_all = "lowercase")]
enum WireLine {
    /// Something that happened.
    Entry(Box<WireEntry>),
    /// A signature under how many entries there are and the hash of the last one.
    Checkpoint(WireCheckpoint),
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct WireEntry {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// Its number, from 1.
    sequence: u64,
    /// When it happened: UTC with microseconds, as `2026-11-21T08:00:00.000000Z`.
    time: String,
    /// What happened, such as `applied`, `confirmed` or `reverted`.
    kind: String,
    /// The trial that it belongs to.
    trial: Option<String>,
    /// The change that it belongs to.
    change: Option<String>,
    /// Who did it.
    actor: WireActor,
    /// The state of the kernel's rules.
    generation: Option<String>,
    /// One sentence for people.
    text: String,
    /// Everything else. What is hashed is this as JSON without spaces and with sorted keys; where the journal holds
    /// something else, it is a string with that.
    details: Option<Value>,
    /// The name of what is told, by which it isn't recorded twice.
    source: Option<String>,
    /// The hash of the entry before, or what the journal begins with: SHA-256 in hexadecimal.
    previous: String,
    /// The hash of `previous` and this entry.
    hash: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct WireActor {
    /// The user's name.
    user: String,
    /// The number of the user that the process ran as.
    uid: Option<u32>,
    /// Where the user came from, such as the connection of ssh.
    session: Option<String>,
    /// The process.
    process: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct WireCheckpoint {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    schema_version: u32,
    /// The journal's id: 64 hexadecimal digits.
    journal: String,
    /// How many entries there are.
    count: u64,
    /// The hash of the last one.
    head: String,
    /// When it was signed: UTC with microseconds.
    time: String,
    /// The public key: Ed25519, 64 hexadecimal digits.
    key: String,
    /// The signature: 128 hexadecimal digits.
    signature: String,
}

/// An entry as a line.
pub fn entry_line(entry: &Entry) -> String {
    let details = entry.details.as_deref().map(|stored| {
        let read: Option<Value> = serde_json::from_str(stored).ok();
        // What was written otherwise would have another hash when it is written again.
        let same = read.filter(|value| value.to_string().as_str() == stored);
        same.unwrap_or_else(|| Value::String(stored.to_owned()))
    });
    line(&WireLine::Entry(Box::new(WireEntry {
        schema_version: VERSION,
        sequence: entry.sequence,
        time: format!("{:.6}", entry.time),
        kind: entry.kind.clone(),
        trial: entry.trial.clone(),
        change: entry.change.clone(),
        actor: WireActor {
            user: entry.actor.user.clone(),
            uid: entry.actor.uid,
            session: entry.actor.session.clone(),
            process: entry.actor.process.clone(),
        },
        generation: entry.generation.clone(),
        text: entry.text.clone(),
        details,
        source: entry.source.clone(),
        previous: entry.previous.to_string(),
        hash: entry.hash.to_string(),
    })))
}

/// A checkpoint as a line.
pub fn checkpoint_line(checkpoint: &Checkpoint) -> String {
    line(&WireLine::Checkpoint(WireCheckpoint {
        schema_version: VERSION,
        journal: checkpoint.journal.to_string(),
        count: checkpoint.count,
        head: checkpoint.head.to_string(),
        time: format!("{:.6}", checkpoint.time),
        key: checkpoint.key.to_string(),
        signature: checkpoint.signature.to_string(),
    }))
}

fn line(line: &WireLine) -> String {
    // Strings, numbers and lists always serialize.
    let text = serde_json::to_string(line).unwrap_or_default();
    format!("{text}\n")
}

/// Reads a checkpoint; why it is none where it can't be read.
pub fn parse_checkpoint(text: &str) -> Result<Checkpoint, String> {
    let wire = match serde_json::from_str::<WireLine>(text.trim()).map_err(|error| error.to_string())? {
        WireLine::Checkpoint(wire) => wire,
        WireLine::Entry(_) => return Err("it is an entry".to_owned()),
    };
    if wire.schema_version != VERSION {
        return Err(format!("it has version {}, and {VERSION} is known", wire.schema_version));
    }
    let field = |name: &str, error: &dyn std::fmt::Display| format!("its `{name}`: {error}");
    Ok(Checkpoint {
        journal: wire.journal.parse().map_err(|error| field("journal", &error))?,
        count: wire.count,
        head: wire.head.parse().map_err(|error| field("head", &error))?,
        time: wire.time.parse().map_err(|error| field("time", &error))?,
        key: wire.key.parse().map_err(|error| field("key", &error))?,
        signature: wire.signature.parse().map_err(|error| field("signature", &error))?,
    })
}
