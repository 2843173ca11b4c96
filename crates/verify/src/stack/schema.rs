//! The stack file as a JSON Schema, for editors. A test holds its keys against the reader's.

use schemars::{JsonSchema, schema_for};
use std::collections::BTreeMap;

/// The JSON Schema of version 1 of the stack file.
pub fn stack_schema() -> serde_json::Value {
    schema_for!(Stack).to_value()
}

/// A stack: hosts with their rules and addresses, and the flows that are intended between them.
#[derive(JsonSchema)]
#[schemars(title = "firewarden.yaml", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Stack {
    /// The machines, by name.
    #[schemars(default)]
    hosts: BTreeMap<String, Host>,
    /// Names for several hosts, groups and addresses.
    #[schemars(default)]
    groups: BTreeMap<String, OneOrMany>,
    /// Names for services, such as `web: [tcp/80, tcp/443]`.
    #[schemars(default)]
    services: BTreeMap<String, OneOrMany>,
    /// The intended flows.
    #[schemars(default)]
    intents: Vec<Intent>,
    /// Assumptions that every intent may rest on.
    #[schemars(default)]
    assume: Vec<Assumption>,
    /// Files that are recorded and reviewed along, without meaning here.
    tracked: Option<OneOrMany>,
    /// What `firewarden audit` is told.
    audit: Option<Audit>,
}

/// What `firewarden audit` is told.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Audit {
    /// Findings that are known and accepted.
    #[schemars(default)]
    ignore: Vec<Exception>,
}

/// A finding that somebody accepts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Exception {
    /// The id of the check, such as `open-management`.
    id: String,
    /// A part of the rule's text, or of table and chain such as `inet filter input`. Any place if not given.
    r#where: Option<String>,
    /// Only on this host.
    host: Option<String>,
    /// Why it is accepted.
    reason: String,
    /// Who answers for it.
    owner: Option<String>,
    /// The last day on which it is accepted, such as `2027-03-31`.
    expires: Option<String>,
}

/// One text or a list of texts.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A machine, or several that share rules. It needs an address: in `address`, in `interfaces`, or in a `snapshot`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Host {
    /// Files with its rules (nft text or JSON, iptables-save), relative to this file. Without rules nothing filters.
    rules: Option<OneOrMany>,
    /// A folder that `firewarden capture` has written, relative to this file: what isn't declared here is taken from it.
    snapshot: Option<String>,
    /// Its addresses.
    address: Option<OneOrMany>,
    /// Its interfaces by name. A host with two or more of them forwards.
    #[schemars(default)]
    interfaces: BTreeMap<String, Interface>,
    /// Addresses under which it is reached from outside through address translation.
    published: Option<OneOrMany>,
    /// The sysctl `net.netfilter.nf_conntrack_tcp_loose`; true if not given, as in the kernel.
    tcp_loose: Option<bool>,
}

/// An interface: its addresses with prefix lengths, or a map that says more.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
enum Interface {
    /// Addresses with prefix lengths, such as `10.0.0.1/16`.
    Addresses(OneOrMany),
    /// Addresses and more.
    Map(InterfaceMap),
    /// No address.
    Nothing(()),
}

/// An interface in detail.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct InterfaceMap {
    /// Addresses with prefix lengths.
    address: Option<OneOrMany>,
    /// True for the side of the internet: the default route leaves here.
    uplink: Option<bool>,
}

/// An intent: a text that begins with `allow`, `deny` or `only`, or a map.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
enum Intent {
    /// Such as `allow lb -> app tcp/8080`.
    Text(String),
    /// With an owner, a reason and so on.
    Map(Box<IntentMap>),
}

/// An intended flow. Exactly one of `allow`, `deny` and `only`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct IntentMap {
    /// Every new packet of the flow arrives, and its replies come back: `lb -> app tcp/8080`.
    allow: Option<String>,
    /// No packet of the flow arrives: `internet -> db`.
    deny: Option<String>,
    /// These sources, and nobody else: `office -> edge tcp/22`.
    only: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// Who answers for it.
    owner: Option<String>,
    /// Why it is there.
    because: Option<String>,
    /// The hosts that its packets pass on the way, in order.
    via: Option<OneOrMany>,
    /// Sources that are carved out: hosts, groups, addresses, or sets of the rulesets as `"@name"`.
    except: Option<OneOrMany>,
    /// The interface by which its packets come in.
    r#in: Option<String>,
    /// How to try it out on the network, such as a URL.
    probe: Option<String>,
    /// Assumptions for this intent only.
    #[schemars(default)]
    assume: Vec<Assumption>,
    /// True until somebody accepts it: it is checked, but where it doesn't hold, that is a warning.
    proposed: Option<bool>,
}

/// What somebody takes upon themselves about a construct that isn't interpreted.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts, the reader has spans")]
struct Assumption {
    /// The construct as written in the ruleset, such as `limit rate 5/second`.
    atom: String,
    /// Whether it is taken to match.
    is: bool,
    /// Only on this host.
    host: Option<String>,
    /// Who answers for it.
    owner: String,
    /// The last day on which it may be relied on, such as `2027-03-31`.
    expires: Option<String>,
}
