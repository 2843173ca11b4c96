//! The policy as a JSON Schema, for editors. A test holds its keys against the reader's.

use crate::record::Risk;
use schemars::{JsonSchema, schema_for};
use std::collections::BTreeMap;

/// The JSON Schema of version 1 of `policy.yaml`.
pub fn policy_schema() -> serde_json::Value {
    schema_for!(Policy).to_value()
}

/// Who has to approve changes, and when they may be made.
#[derive(JsonSchema)]
#[schemars(title = "policy.yaml", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Policy {
    /// Only approved changes are applied; true if not given.
    required: Option<bool>,
    /// How many people beside the author have to approve; 1 if not given.
    approvers: Option<u32>,
    /// The author has to sign the proposal; false if not given.
    signed_author: Option<bool>,
    /// A ticket has to be named; false if not given.
    ticket: Option<bool>,
    /// Evidence that has to pass; `[check]` if not given.
    must_pass: Option<Vec<Evidence>>,
    /// People by group, named as in `allowed_signers`.
    #[schemars(default)]
    groups: BTreeMap<String, Vec<String>>,
    /// Approvals of certain groups for certain changes.
    #[schemars(default)]
    require: Vec<Requirement>,
    /// The time zone of windows and freezes, such as `Europe/Berlin`; UTC if not given.
    zone: Option<String>,
    /// When changes may be made; any time if not given.
    #[schemars(default)]
    windows: Vec<Window>,
    /// When they may not.
    #[schemars(default)]
    freezes: Vec<Freeze>,
    /// Changes that can't wait.
    emergency: Option<Emergency>,
}

/// A command whose answer is evidence.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
enum Evidence {
    Check,
    Diff,
    Audit,
}

/// Approvals that certain changes need of a group. Every condition that is given has to hold.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Requirement {
    /// Where an intent of this owner is touched.
    owner: Option<String>,
    /// Where rules of this host change.
    host: Option<String>,
    /// Where the risk is at least this.
    risk: Option<Risk>,
    /// Whose approval it takes.
    group: String,
    /// How many of them; 1 if not given.
    approvers: Option<u32>,
}

/// Hours of some days of the week.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Window {
    /// The days on which it begins: `mon` to `sun`.
    days: Vec<String>,
    /// When it begins, such as `"09:00"`.
    from: String,
    /// When it ends; on the next day, where that isn't after `from`.
    to: String,
}

/// A time without changes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Freeze {
    /// The first day, or day and time.
    from: String,
    /// The last day, or day and time.
    to: String,
    /// Why.
    reason: String,
}

/// What holds for changes that can't wait.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Emergency {
    /// How many people beside the author have to approve; 0 if not given.
    approvers: Option<u32>,
    /// Within so many hours it has to have the approvals that it would have needed; 48 if not given.
    review_hours: Option<u32>,
    /// Where it hasn't: `refuse` (if not given) or `warn` about other changes.
    overdue: Option<String>,
}
