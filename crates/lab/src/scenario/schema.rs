//! The drill file as a JSON Schema, for editors. A test holds its keys against the reader's.

use crate::report::Postmortem;
use schemars::{JsonSchema, schema_for};

/// The JSON Schema of version 1 of a drill file.
pub fn scenario_schema() -> serde_json::Value {
    let mut schema = schema_for!(Drill).to_value();
    // The report has the same keys in its own spelling.
    let keys = schema.pointer_mut("/$defs/Postmortem/properties").and_then(|keys| keys.as_object_mut());
    if let Some(keys) = keys {
        for (report, file) in [("cause_known", "cause-known"), ("lost_on", "lost-on")] {
            if let Some(value) = keys.remove(report) {
                keys.insert(file.to_owned(), value);
            }
        }
    }
    schema
}

/// What is drilled: a change of one host's rules, and what has to come of it.
#[derive(JsonSchema)]
#[schemars(title = "firewarden drill", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Drill {
    /// What it is called in commands, such as `003`: lower-case letters, digits and `-`.
    name: String,
    /// What happens, in a few words.
    title: String,
    /// What happens, in a sentence or some.
    about: Option<String>,
    /// The outage that it is made from.
    postmortem: Option<Postmortem>,
    /// What the outage needs of a lab beside its own: made before users come, taken away at the end.
    prepare: Option<Fault>,
    /// What is done to the rules.
    change: Change,
    /// What breaks beside the rules.
    fault: Option<Fault>,
    /// What ends the experiment early: everything is taken back, and the run counts as stopped.
    stop: Option<Stop>,
    /// What has to come of it.
    expect: Expect,
}

/// A change of one host's rules.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Change {
    /// The host of the stack file.
    host: String,
    /// What is done to its files, in order.
    edits: Vec<Edit>,
}

/// A change of a file: `from`, or `find` with `put`, or `append`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Edit {
    /// The file, by its name in the stack's folder.
    file: String,
    /// Another file takes its place: a path from the drill's own folder.
    from: Option<String>,
    /// A piece of its text, which is there once.
    find: Option<String>,
    /// What comes in the place of `find`; may be empty.
    put: Option<String>,
    /// Text that is added at its end.
    append: Option<String>,
}

/// What is no change of rules: commands of a shell on a host of the lab.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Fault {
    /// The host, as the lab calls it.
    host: String,
    /// What makes the fault.
    make: String,
    /// What takes it away.
    mend: String,
}

/// More than a share of requests fails for some time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Stop {
    /// Of how many percent of the requests more have to fail.
    #[schemars(range(min = 0, max = 99.999))]
    errors: f64,
    /// The seconds in which these requests were due.
    #[schemars(range(min = 1, max = 600))]
    seconds: u32,
    /// Whose requests: those over one kind of connections; without it, all.
    connections: Option<Kind>,
}

/// Kinds of connections that the users of drills have.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
enum Kind {
    /// A connection of its own for each request.
    New,
    /// One connection, which is kept.
    Kept,
}

/// What has to come of it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Expect {
    /// The names of the intents that the change breaks. None: the firewall is innocent, and nothing may be refused.
    breaks: Vec<String>,
    /// The rule that decides: its text, or a piece of it.
    rule: Option<String>,
    /// Which share of requests fails while the fault is there.
    errors: Option<Errors>,
}

/// Ranges of percentages of requests, by how users connect.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Errors {
    /// A connection of its own for each request.
    new: Option<[f64; 2]>,
    /// One connection, which is kept.
    kept: Option<[f64; 2]>,
    /// One of a few connections that users share.
    pooled: Option<[f64; 2]>,
}
