//! Taking a snapshot of this host, or of a network namespace on it.

use crate::generation::{generation, namespace_file, within};
use crate::program::{self, ProgramError, run};
use crate::snapshot::{
    ADDRESSES, CONNECTIONS, CONNTRACK, FORMAT_VERSION, IPSET, Manifest, ROUTES, RULES, RULESET, SOCKETS,
    SYSCTLS, Snapshot,
};
use crate::{boot, clock, iptables, sysctl};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// How often the rules are read anew because they changed in the meantime.
const ATTEMPTS: u32 = 5;

/// What is captured.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// What to call the host; its own name where this is `None`.
    pub host: Option<String>,
    /// A network namespace: its name as `ip netns` keeps it, its path, or the number of a process in it.
    pub namespace: Option<String>,
    /// Whether the rules are left out, as somebody reads them anyway.
    pub without_rules: bool,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The network namespace can't be entered.
    #[error("cannot enter the network namespace `{named}`: {error}")]
    Namespace {
        /// As it was given.
        named: String,
        /// The system's words.
        error: io::Error,
    },
    /// The rules never stayed the same for as long as it takes to read them.
    #[error("the ruleset changed while it was read, {ATTEMPTS} times in a row")]
    Unstable,
    /// Nothing at all could be read.
    #[error("nothing of this host could be read: {0}")]
    Nothing(String),
}

/// Takes a snapshot. What can't be read is left out, with the reason in the manifest's `missing`; rules are read again
/// until they were the same before and after.
///
/// # Errors
/// [`CaptureError`].
pub fn capture(options: &CaptureOptions) -> Result<Snapshot, CaptureError> {
    let path = options.namespace.as_deref().map(namespace_file);
    within(path.as_deref(), || collect(options)).unwrap_or_else(|error| {
        Err(CaptureError::Namespace { named: options.namespace.clone().unwrap_or_default(), error })
    })
}

/// The files read so far, and why others weren't.
#[derive(Default)]
pub(crate) struct Collected {
    pub files: BTreeMap<String, String>,
    pub missing: BTreeMap<String, String>,
}

impl Collected {
    /// Takes what a program printed as a file.
    pub fn take(&mut self, file: &str, printed: Result<String, ProgramError>) {
        match printed {
            Ok(text) => {
                self.files.insert(file.to_owned(), text);
            }
            Err(error) => self.lack(file, error.to_string()),
        }
    }

    /// Says why a file isn't there.
    pub fn lack(&mut self, file: &str, why: String) {
        self.missing.insert(file.to_owned(), why);
    }
}

fn collect(options: &CaptureOptions) -> Result<Snapshot, CaptureError> {
    let (mut collected, generation) = match options.without_rules {
        false => rules()?,
        true => (Collected::default(), generation().ok()),
    };
    collected.take(ADDRESSES, run("ip", &["-j", "address"]));
    let families = |of: &[&str]| -> Result<String, ProgramError> {
        let mut listings = serde_json::Map::new();
        for (family, option) in [("ipv4", "-4"), ("ipv6", "-6")] {
            let arguments: Vec<&str> = ["-N", "-j", option].iter().chain(of).copied().collect();
            let text = match run("ip", &arguments) {
                // A kernel without IPv6 has no IPv6 routes.
                Err(ProgramError::Failed { .. })
                    if family == "ipv6" && !fs::exists("/proc/sys/net/ipv6").unwrap_or(true) =>
                {
                    String::new()
                }
                other => other?,
            };
            let listing: Value = match text.trim() {
                "" => json!([]),
                text => serde_json::from_str(text).map_err(|error| ProgramError::Failed {
                    command: format!("ip {}", arguments.join(" ")),
                    words: format!("it printed no JSON: {error}"),
                })?,
            };
            listings.insert(family.to_owned(), listing);
        }
        Ok(pretty(&Value::Object(listings)))
    };
    collected.take(ROUTES, families(&["route", "show", "table", "all"]));
    collected.take(RULES, families(&["rule"]));
    collected.take(SOCKETS, run("ss", &["-Htunlp"]));
    collected.take(CONNECTIONS, run("ss", &["-Htun", "state", "established"]).map(with_state));
    collected.take(CONNTRACK, tracked());
    if collected.files.is_empty() {
        let why: Vec<&str> = collected.missing.values().map(String::as_str).collect();
        return Err(CaptureError::Nothing(why.join("; ")));
    }
    match sysctl::relevant() {
        Ok(values) => {
            collected.files.insert(SYSCTLS.to_owned(), pretty(&json!(values)));
        }
        Err(error) => collected.lack(SYSCTLS, error.to_string()),
    }
    if options.namespace.is_none() {
        // What another namespace is given when the host starts, nobody knows.
        boot::collect(Path::new("/"), &mut collected);
    }
    let manifest = Manifest {
        format: FORMAT_VERSION,
        host: options.host.clone().unwrap_or_else(host_name),
        taken: clock::utc_now(),
        kernel: kernel("sys/kernel/osrelease"),
        nft: run("nft", &["--version"]).ok().map(|text| text.trim().to_owned()),
        generation,
        boot_id: Some(kernel("sys/kernel/random/boot_id")).filter(|id| !id.is_empty()),
        namespace: fs::read_link("/proc/thread-self/ns/net")
            .ok()
            .map(|target| target.to_string_lossy().into_owned()),
        anonymized: false,
        missing: collected.missing,
    };
    Ok(Snapshot { manifest, files: collected.files })
}

/// The name that the system has.
pub fn host_name() -> String {
    kernel("sys/kernel/hostname")
}

fn kernel(file: &str) -> String {
    fs::read_to_string(format!("/proc/{file}")).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    // A value that came from JSON, or from texts, is always JSON again.
    serde_json::to_string_pretty(value).map(|text| text + "\n").unwrap_or_default()
}

/// `ss` leaves the state out where it was asked for one.
fn with_state(listing: String) -> String {
    let mut text = String::with_capacity(listing.len());
    for line in listing.lines() {
        let (protocol, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line, ""));
        text += &format!("{protocol} ESTAB {}\n", rest.trim());
    }
    text
}

/// The rules, read until they didn't change in the meantime; the generation where it could be asked.
fn rules() -> Result<(Collected, Option<u32>), CaptureError> {
    for _ in 0..ATTEMPTS {
        let before = generation();
        let mut collected = Collected::default();
        collected.take(RULESET, run("nft", &["-a", "list", "ruleset"]));
        let legacy = iptables::collect(&mut collected);
        sets(&mut collected);
        let after = generation();
        let same = match (&before, &after) {
            (Ok(before), Ok(after)) => before == after,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        // The old iptables counts no generations, so what it says is asked for again.
        if same && legacy == iptables::legacy_rules() {
            return Ok((collected, before.ok()));
        }
    }
    Err(CaptureError::Unstable)
}

/// Sets of ipset, which only rules of iptables use.
fn sets(collected: &mut Collected) {
    let used = collected.files.values().any(|text| text.contains("--match-set"));
    if program::find("ipset").is_none() && !used {
        return;
    }
    match run("ipset", &["save"]) {
        Ok(text) if text.trim().is_empty() => {}
        Err(error) if !used && matches!(error, ProgramError::Failed { .. }) => {
            collected.lack(IPSET, error.to_string())
        }
        printed => collected.take(IPSET, printed),
    }
}

/// Tracked connections, from conntrack's own program or the kernel's file.
fn tracked() -> Result<String, ProgramError> {
    if program::find("conntrack").is_some() {
        let v4 = run("conntrack", &["-L", "-f", "ipv4"])?;
        return Ok(v4 + &run("conntrack", &["-L", "-f", "ipv6"])?);
    }
    fs::read_to_string("/proc/thread-self/net/nf_conntrack").map_err(|error| ProgramError::Failed {
        command: "reading /proc/net/nf_conntrack".to_owned(),
        words: format!("{error}; there is no program `conntrack` either"),
    })
}

#[cfg(test)]
mod tests {
    use super::with_state;
    use crate::parse;

    #[test]
    fn the_state_that_was_asked_for_is_written_again() {
        let text = with_state("tcp   0      0      192.0.2.2:2024      192.0.2.1:43028\n".to_owned());
        assert_eq!(text, "tcp ESTAB 0      0      192.0.2.2:2024      192.0.2.1:43028\n");
        assert_eq!(parse::established(&text, &[]).values.len(), 1);
    }
}
