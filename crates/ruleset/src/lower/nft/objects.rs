//! Named objects: what nft and the kernel check of their settings.

use super::state::family_name;
use crate::syntax::nft::ast::{Family, Object, ObjectBody, ObjectKind};
use firewarden_diagnostic::Diagnostic;

/// States that a `ct timeout` policy may name, by protocol.
const TCP_STATES: &[&str] = &[
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait",
    "close_wait",
    "last_ack",
    "time_wait",
    "close",
    "syn_sent2",
    "retrans",
    "unack",
];
const UDP_STATES: &[&str] = &["unreplied", "replied"];

/// The word for a kind of object that has a say in where packets go; `None` for those that only count or label.
pub(super) fn word(kind: ObjectKind) -> Option<&'static str> {
    match kind {
        ObjectKind::Counter | ObjectKind::Secmark => None,
        ObjectKind::Quota => Some("quota"),
        ObjectKind::Limit => Some("limit"),
        ObjectKind::CtHelper => Some("ct helper"),
        ObjectKind::CtTimeout => Some("ct timeout"),
        ObjectKind::CtExpectation => Some("ct expectation"),
        ObjectKind::Synproxy => Some("synproxy"),
        ObjectKind::Tunnel => Some("tunnel"),
    }
}

/// What is wrong with an object of a table, if something is.
pub(super) fn check(object: &Object, family: Family) -> Option<Diagnostic> {
    let ObjectBody::Settings(settings) = &object.body else { return None };
    let setting = |name: &str| settings.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value);
    let refuse = |message: String, help: &str| {
        Some(Diagnostic::error("bad-object", message).at(object.span, "").help(help))
    };
    if let (Some(l3proto), Family::Ip | Family::Ip6) = (setting("l3proto"), family)
        && l3proto != family_name(family)
    {
        return refuse(
            format!(
                "`{}` is for {l3proto}, but its table is of the family {}",
                object.name.text,
                family_name(family)
            ),
            "use the family of the table, or move it to an inet table",
        );
    }
    match object.kind {
        ObjectKind::CtExpectation => {
            let missing =
                ["protocol", "dport", "timeout", "size"].into_iter().find(|name| setting(name).is_none())?;
            refuse(
                format!("the expectation `{}` has no `{missing}`", object.name.text),
                "an expectation needs `protocol`, `dport`, `timeout` and `size`",
            )
        }
        ObjectKind::CtTimeout => {
            let known = match setting("protocol") {
                Some("tcp") => TCP_STATES,
                Some("udp") => UDP_STATES,
                _ => return None,
            };
            let state = words(setting("policy")?).find(|word| !known.contains(word))?;
            refuse(
                format!("`{state}` is not a state of this protocol"),
                "see nft(8), section CT TIMEOUT, for the states of each protocol",
            )
        }
        _ => None,
    }
}

/// The words of a policy that are names of states, without their times.
fn words(policy: &str) -> impl Iterator<Item = &str> {
    policy
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()))
}
