//! Plans: what is going to be loaded, how it is undone, and what was known when that was decided.
//!
//! A plan leaves no choice to execution. It is written once, is named by the hash of its content, and holds only for the
//! state of the kernel that it was made from ([`Parent`]).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// The version of the format that is written.
pub const FORMAT_VERSION: u32 = 1;

/// A program that loads rules from standard input or a file, in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// `nft -f`: one transaction for the whole script.
    Nft,
    /// `iptables-restore --noflush` of iptables-nft: one transaction for each table.
    IptablesRestore,
    /// The same for IPv6.
    Ip6tablesRestore,
    /// `iptables-legacy-restore --noflush`: one transaction for each table.
    IptablesLegacyRestore,
    /// The same for IPv6.
    Ip6tablesLegacyRestore,
    /// `ipset restore`: one step for each line.
    IpsetRestore,
}

/// What one run of a loader gets to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The program.
    pub loader: Loader,
    /// Its input.
    pub text: String,
}

/// One step of the quick way back, which touches nothing but what the change touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inverse {
    /// A command of nft(8), as it is.
    Command(String),
    /// Delete the rule that stands at `index` (from 0) of a chain once the change is in. Its handle is known only then.
    DeleteRule {
        /// `ip`, `inet`, ...
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// Its place among the chain's rules after the change.
        index: usize,
    },
}

/// The state of the kernel that a plan was made from. A generation means something only within one run of the system
/// and one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The network namespace, as `net:[4026531833]`.
    pub namespace: String,
    /// The generation of nftables.
    pub generation: u32,
    /// SHA-256 of the canonical text of the ruleset (no counters, no handles, no elements that rules add), in hexadecimal.
    pub ruleset: String,
    /// The tables of nftables that the scripts touch, as `inet filter`.
    pub tables: Vec<String>,
    /// SHA-256 of [`crate::delta::handles`] of these tables: the forward scripts name rules by handles, which another
    /// ruleset of the same meaning needn't have.
    pub handles: String,
    /// The digest of each table, in the words of whoever reads the kernel: what others do to tables that the change doesn't
    /// touch is told by them from what becomes of its own.
    pub parts: BTreeMap<String, String>,
}

/// A new connection that has to come about once the change is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The intent that it is of, as written.
    pub intent: String,
    /// What is connected to.
    pub target: ProbeTarget,
    /// False for `deny` intents: the connection must not come about.
    pub expected: bool,
}

/// What a probe connects to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeTarget {
    /// A TCP handshake with an address and port, written `192.0.2.1:443` or `[2001:db8::1]:443`.
    Tcp(String),
    /// An HTTP or HTTPS request that is answered with a status below 500.
    Url(String),
}

/// A file that is to hold the new rules for the next boot, once the change is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persist {
    /// Its absolute path.
    pub path: String,
    /// What it will hold.
    pub text: String,
}

/// What a plan was decided on. Readable by people; execution doesn't ask it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What the change means, as `diff` tells it in one line each.
    pub changes: Vec<String>,
    /// Each intent with its verdict before and after (`pass`, `fail`, `depends`, `undetermined`, `vacuous`).
    pub intents: Vec<IntentVerdicts>,
    /// Connections that are cut, or couldn't be opened again.
    pub cut: Vec<String>,
    /// The one of them that the operator's own session came over.
    pub own_session: Option<String>,
    /// Things that the operator is told: not atomic, foreign tables kept, ...
    pub notes: Vec<String>,
}

/// What speaks against carrying a plan out. In words: half a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'e> {
    /// An intent fails for certain, and didn't.
    Breaks(&'e IntentVerdicts),
    /// An intent held, and isn't known to hold any more.
    Depends(&'e IntentVerdicts),
    /// The operator's own session is cut, or couldn't be opened again.
    CutsSession(&'e str),
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Breaks(intent) | Finding::Depends(intent) => {
                write!(f, "`{}`: {} before, {} after", intent.intent, intent.before, intent.after)
            }
            Finding::CutsSession(connection) => {
                write!(f, "the new rules would cut this session: {connection}")
            }
        }
    }
}

impl Evidence {
    /// What speaks against the plan: first the session, then intents in their order.
    pub fn findings(&self) -> Vec<Finding<'_>> {
        let session = self.own_session.as_deref().map(Finding::CutsSession);
        let worse = self.intents.iter().filter(|intent| intent.is_worse());
        let intents = worse.map(|intent| match intent.after.as_str() {
            "depends" | "undetermined" | "vacuous" => Finding::Depends(intent),
            _ => Finding::Breaks(intent),
        });
        session.into_iter().chain(intents).collect()
    }
}

/// An intent before and after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentVerdicts {
    /// As written.
    pub intent: String,
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
}

impl IntentVerdicts {
    /// Whether the change makes it worse: what held doesn't any more for certain, or what wasn't known to fail does.
    pub fn is_worse(&self) -> bool {
        let rank = |verdict: &str| match verdict {
            "pass" => 0,
            "depends" | "undetermined" | "vacuous" => 1,
            _ => 2,
        };
        rank(&self.after) > rank(&self.before)
    }
}

/// Whether the kernel itself can hold the way back (deploy.md: the dead-man switch).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// The forward script puts old and new rules side by side, and the kernel goes back by itself ([`crate::switch`]).
    Kernel {
        /// SHA-256 of the canonical text of the ruleset with both, as in [`Parent::ruleset`].
        staged: String,
        /// The digest of each table with both, as in [`Parent::parts`].
        parts: BTreeMap<String, String>,
        /// What makes it [`Plan::result`] once it is confirmed.
        settle: Vec<Inverse>,
    },
    /// The guard process has to do it; why.
    Guard(String),
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The host it is for.
    pub host: String,
    /// When it was made, UTC, as `2026-11-21T08:00:00Z`.
    pub made: String,
    /// What it was made from.
    pub parent: Parent,
    /// SHA-256 of the canonical text of the ruleset afterwards, as in [`Parent::ruleset`].
    pub result: String,
    /// The digest of each table afterwards, as in [`Parent::parts`]: what others do meanwhile to tables that the change
    /// doesn't touch is told from the change by them.
    pub parts: BTreeMap<String, String>,
    /// What is loaded, in this order.
    pub forward: Vec<Script>,
    /// The quick way back. Empty where there is none.
    pub inverse: Vec<Inverse>,
    /// The whole way back, which holds whatever state the change left.
    pub rollback: Vec<Script>,
    /// What has to work afterwards.
    pub probes: Vec<Probe>,
    /// Seconds from arming to the return of the old rules, unless confirmed.
    pub window_seconds: u32,
    /// Written once it is confirmed.
    pub persist: Option<Persist>,
    /// Who holds the way back.
    pub switch: Switch,
    /// What it was decided on.
    pub evidence: Evidence,
}

/// Why a text isn't a plan.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It isn't what a plan looks like.
    #[error("it is no plan: {0}")]
    Malformed(String),
    /// It was made by another version.
    #[error("it has version {0} of the format, and only version {FORMAT_VERSION} is read here")]
    Version(u32),
    /// Its content isn't what its name says.
    #[error("its content was changed after it was made: it says {said}, and it is {is}")]
    Hash {
        /// What it says.
        said: String,
        /// What it is.
        is: String,
    },
}

/// A plan's text: the plan with its hash.
#[derive(Serialize, Deserialize)]
struct Sealed {
    hash: String,
    plan: Plan,
}

impl Plan {
    /// The hash that names it: SHA-256 of its JSON without white space, in hexadecimal. O(n) in its size.
    pub fn hash(&self) -> String {
        // A plan holds only texts, numbers and lists, which JSON has words for.
        hex(&Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// The text of its file.
    pub fn write(&self) -> String {
        let sealed = Sealed { hash: self.hash(), plan: self.clone() };
        let mut text = serde_json::to_string_pretty(&sealed).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ReadError`]; a plan whose content isn't what its hash says is one.
    pub fn read(text: &str) -> Result<Plan, ReadError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| ReadError::Malformed(error.to_string()))?;
        let version = value.pointer("/plan/version").and_then(serde_json::Value::as_u64);
        match version.and_then(|version| u32::try_from(version).ok()) {
            Some(FORMAT_VERSION) => {}
            Some(other) => return Err(ReadError::Version(other)),
            None => return Err(ReadError::Malformed("it has no version".to_owned())),
        }
        let sealed: Sealed =
            serde_json::from_value(value).map_err(|error| ReadError::Malformed(error.to_string()))?;
        let is = sealed.plan.hash();
        if is != sealed.hash {
            return Err(ReadError::Hash { said: sealed.hash, is });
        }
        Ok(sealed.plan)
    }
}

/// The SHA-256 of bytes, in lower-case hexadecimal. O(n).
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string doesn't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            version: FORMAT_VERSION,
            host: "edge".to_owned(),
            made: "2026-11-21T08:00:00Z".to_owned(),
            parent: Parent {
                boot_id: "b".to_owned(),
                namespace: "net:[1]".to_owned(),
                generation: 7,
                ruleset: "00".to_owned(),
                tables: Vec::new(),
                handles: String::new(),
                parts: BTreeMap::new(),
            },
            result: "11".to_owned(),
            parts: BTreeMap::new(),
            forward: vec![Script { loader: Loader::Nft, text: "add rule ip t c drop\n".to_owned() }],
            inverse: Vec::new(),
            rollback: vec![Script { loader: Loader::Nft, text: "flush chain ip t c\n".to_owned() }],
            probes: Vec::new(),
            window_seconds: 60,
            persist: None,
            switch: Switch::Guard("the table isn't ours".to_owned()),
            evidence: Evidence::default(),
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_and_not_when_it_was_changed() {
        let text = plan().write();
        assert_eq!(Plan::read(&text).unwrap(), plan());
        let changed = text.replace("add rule ip t c drop", "add rule ip t c accept");
        assert!(matches!(Plan::read(&changed), Err(ReadError::Hash { .. })));
        assert!(matches!(
            Plan::read(&text.replace("\"version\": 1", "\"version\": 2")),
            Err(ReadError::Version(2))
        ));
        for end in 0..text.trim_end().len() {
            assert!(Plan::read(&text[..end]).is_err());
        }
    }

    #[test]
    fn findings_are_what_gets_worse() {
        let intent = |before: &str, after: &str| IntentVerdicts {
            intent: "allow a -> b".to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        let mut evidence = Evidence {
            intents: vec![intent("fail", "pass"), intent("pass", "depends"), intent("depends", "fail")],
            ..Evidence::default()
        };
        let told = |evidence: &Evidence| -> Vec<String> {
            evidence.findings().iter().map(ToString::to_string).collect()
        };
        let worse =
            ["`allow a -> b`: pass before, depends after", "`allow a -> b`: depends before, fail after"];
        assert_eq!(told(&evidence), worse);
        assert!(matches!(evidence.findings()[..], [Finding::Depends(_), Finding::Breaks(_)]));
        evidence.own_session = Some("1.2.3.4:5".to_owned());
        assert_eq!(told(&evidence)[0], "the new rules would cut this session: 1.2.3.4:5");
    }

    #[test]
    fn what_depended_and_would_fail_is_worse_too() {
        let is_worse = |before: &str, after: &str| {
            let [intent, before, after] = ["allow a -> b", before, after].map(str::to_owned);
            IntentVerdicts { intent, before, after }.is_worse()
        };
        for (before, after) in
            [("pass", "fail"), ("pass", "depends"), ("pass", "vacuous"), ("depends", "fail")]
        {
            assert!(is_worse(before, after) && !is_worse(after, before), "{before} -> {after}");
        }
        assert!(!is_worse("depends", "depends") && !is_worse("fail", "fail") && !is_worse("fail", "pass"));
    }
}
