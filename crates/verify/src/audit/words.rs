//! Rules and chains in words, and fingerprints that survive reordering of lines.

use firewarden_diagnostic::{SourceMap, Span};
use firewarden_packet::InterfaceName;
use firewarden_ruleset::ir::{ChainId, Rule, RuleRef, Ruleset, Statement, Verdict};

/// What a rule does to the packets that it acts on, as far as two rules can contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Accepts.
    Accepts,
    /// Drops or rejects.
    Denies,
    /// Anything else.
    Other,
}

/// The effect of a rule.
pub fn effect_of(rule: &Rule) -> Effect {
    match rule.statements.last() {
        Some(Statement::Verdict(Verdict::Accept)) => Effect::Accepts,
        Some(Statement::Verdict(Verdict::Drop | Verdict::Reject(_))) => Effect::Denies,
        _ => Effect::Other,
    }
}

/// Family, table and chain as nft writes them: `inet filter input`.
pub fn chain_text(ruleset: &Ruleset, id: ChainId) -> String {
    let Some(chain) = ruleset.chain(id) else { return String::new() };
    let name = if chain.name.is_empty() { "(anonymous)" } else { &chain.name };
    let Some(table) = ruleset.table(chain.table) else { return name.to_owned() };
    format!("{} {} {name}", table.family.word(), table.name)
}

/// The place of a rule, or of the policy behind a chain's last rule.
pub fn span_of(ruleset: &Ruleset, at: RuleRef) -> Span {
    if let Some(rule) = ruleset.rule(at) {
        return rule.span;
    }
    let chain = ruleset.chain(at.chain);
    let policy = chain.and_then(|chain| chain.base.as_ref()).map(|base| base.policy_span);
    policy.or(chain.map(|chain| chain.span)).unwrap_or_default()
}

/// True where the rule reference stands for the policy.
pub fn is_policy(ruleset: &Ruleset, at: RuleRef) -> bool {
    ruleset.chain(at.chain).is_some_and(|chain| at.index as usize >= chain.rules.len())
}

/// `1 rule`, `2 rules`.
pub fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// A rule's text without what changes when nothing does: white space, counters, handles.
pub fn normalised(text: &str) -> String {
    let text = text.split(" # handle ").next().unwrap_or_default();
    let mut words = text.split_whitespace().peekable();
    let mut out: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        let counted = word.starts_with('[') && word.ends_with(']') && word.contains(':');
        if counted && out.is_empty() {
            continue;
        }
        if (word == "packets" || word == "bytes") && out.last() == Some(&"counter") {
            words.next();
            continue;
        }
        out.push(word);
    }
    out.join(" ")
}

/// A rule as written, on one line.
pub fn rule_text(sources: &SourceMap, span: Span) -> String {
    normalised(sources.slice(span))
}

/// FNV-1a of 64 bits, as 16 hexadecimal digits: the same everywhere and for good.
pub fn digest(parts: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// The number of an interface's name.
pub fn interface(name: &str) -> u128 {
    InterfaceName::new(name).unwrap_or(InterfaceName::NONE).0
}

#[cfg(test)]
mod tests {
    use super::{digest, normalised};

    #[test]
    fn counters_and_handles_are_not_part_of_a_rule() {
        assert_eq!(
            normalised("tcp dport 22  counter packets 12 bytes 700 accept # handle 7"),
            normalised("tcp dport 22 counter packets 0 bytes 0\taccept")
        );
        assert_eq!(normalised("[3:180] -A INPUT -j DROP"), "-A INPUT -j DROP");
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
