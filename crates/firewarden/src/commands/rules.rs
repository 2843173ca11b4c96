//! The rules that a host holds, or would hold, as files of a snapshot.

use firewarden_host::snapshot::{IP6TABLES, IPSET, IPTABLES, RULESET};
use firewarden_host::state::{State, nft_tables, save_tables};
use firewarden_host::{LEGACY, Snapshot};
use std::collections::BTreeMap;

/// A host with other rules than it was captured with.
pub fn with_rules(mut snapshot: Snapshot, state: &State) -> Snapshot {
    for file in [RULESET, IPTABLES, IP6TABLES, IPSET, LEGACY[0], LEGACY[1]] {
        snapshot.files.remove(file);
        snapshot.manifest.missing.remove(file);
    }
    snapshot.files.extend(rule_files(state));
    snapshot
}

/// The files of a snapshot that hold rules: iptables' own listing where nft lacks words for its rules.
fn rule_files(state: &State) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut saved = Vec::new();
    let of_iptables = ["iptables-nft", "xt match", "xt target"].iter().any(|word| state.nft.contains(word));
    for (family, new, legacy, own, other) in [
        ("ip", &state.iptables, &state.legacy_iptables, IPTABLES, LEGACY[0]),
        ("ip6", &state.ip6tables, &state.legacy_ip6tables, IP6TABLES, LEGACY[1]),
    ] {
        let there = of_iptables && !new.is_empty();
        if there {
            saved.extend(save_tables(new).into_iter().map(|(table, _)| format!("{family} {table}")));
            files.insert(own.to_owned(), new.clone());
        }
        if !legacy.is_empty() {
            files.insert(if there { other } else { own }.to_owned(), legacy.clone());
        }
    }
    if !state.ipset.is_empty() {
        files.insert(IPSET.to_owned(), state.ipset.clone());
    }
    // A table that is in both counts as iptables says it.
    let tables = nft_tables(&state.nft).into_iter().filter(|(name, _)| !saved.contains(name));
    let nft = match saved.is_empty() {
        true => state.nft.clone(),
        false => tables.map(|(_, text)| text).collect(),
    };
    files.insert(RULESET.to_owned(), without_expiry(&nft));
    files
}

/// A listing without what is left of the time of elements: it passes while a plan is made, and changes nothing.
fn without_expiry(listing: &str) -> String {
    let mut parts = listing.split(" expires ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // What follows is a duration such as `1h2m3s456ms`.
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        text.push_str(part.get(end..).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without_expiry;

    #[test]
    fn time_that_is_left_is_left_out() {
        let listed = "elements = { 192.0.2.1 timeout 1h expires 59m3s123ms, 192.0.2.2 expires 5s }";
        assert_eq!(without_expiry(listed), "elements = { 192.0.2.1 timeout 1h, 192.0.2.2 }");
    }
}
