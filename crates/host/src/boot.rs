//! What this host loads its rules from when it starts: the services of systemd that do it, and their files.

use crate::capture::Collected;
use crate::snapshot::{BOOT, BOOT_IP6TABLES, BOOT_IPTABLES, BOOT_RULESET};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Services that load rules. The files of the first three are known; the others have a configuration of their own.
const SERVICES: [&str; 7] = [
    "nftables.service",
    "netfilter-persistent.service",
    "iptables.service",
    "ip6tables.service",
    "ufw.service",
    "firewalld.service",
    "shorewall.service",
];

/// For each file of a snapshot: the service, and where its file is with the distributions. The first that is there counts.
const FILES: [(&str, &str, &[&str]); 5] = [
    (BOOT_RULESET, "nftables.service", &["etc/nftables.conf", "etc/sysconfig/nftables.conf"]),
    (BOOT_IPTABLES, "netfilter-persistent.service", &["etc/iptables/rules.v4"]),
    (BOOT_IP6TABLES, "netfilter-persistent.service", &["etc/iptables/rules.v6"]),
    (BOOT_IPTABLES, "iptables.service", &["etc/sysconfig/iptables", "etc/iptables/iptables.rules"]),
    (BOOT_IP6TABLES, "ip6tables.service", &["etc/sysconfig/ip6tables", "etc/iptables/ip6tables.rules"]),
];

/// How deep files may include others, as with nft.
const MAX_DEPTH: u32 = 16;
/// The most bytes that all of them have together.
const MAX_BYTES: usize = 64 << 20;

/// Adds the names of the enabled services and the files that they load. Nothing where systemd has no folder of units
/// below `root`.
pub(crate) fn collect(root: &Path, collected: &mut Collected) {
    let Ok(units) = fs::read_dir(root.join("etc/systemd/system")) else { return };
    let wants = units.filter_map(Result::ok).map(|entry| entry.path());
    let mut enabled = BTreeSet::new();
    for folder in wants.filter(|path| path.extension().is_some_and(|end| end == "wants" || end == "requires"))
    {
        let links = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let names = links.filter_map(|entry| entry.file_name().into_string().ok());
        enabled.extend(names.filter(|name| SERVICES.contains(&name.as_str())));
    }
    let listing = serde_json::to_string_pretty(&json!({ "services": enabled })).unwrap_or_default();
    collected.files.insert(BOOT.to_owned(), listing + "\n");
    for (file, service, places) in FILES {
        if !enabled.contains(service) {
            continue;
        }
        let Some(place) = places.iter().map(|place| root.join(place)).find(|place| place.exists()) else {
            continue;
        };
        let mut text = String::new();
        let read = match file {
            BOOT_RULESET => with_includes(root, &place, MAX_DEPTH, &mut text),
            _ => append(&place, &mut text),
        };
        match read {
            Ok(()) => {
                collected.files.insert(file.to_owned(), text);
            }
            Err(why) => collected.lack(file, why),
        }
    }
}

fn append(path: &Path, text: &mut String) -> Result<(), String> {
    let problem = |why: &dyn std::fmt::Display| format!("`{}` can't be read: {why}", path.display());
    let own = fs::read_to_string(path).map_err(|error| problem(&error))?;
    if text.len() + own.len() > MAX_BYTES {
        return Err(problem(&"it is too large"));
    }
    text.push_str(&own);
    Ok(())
}

/// A file for nft with what it includes in the place of the includes.
fn with_includes(root: &Path, path: &Path, depth: u32, text: &mut String) -> Result<(), String> {
    let mut own = String::new();
    append(path, &mut own)?;
    for line in own.lines() {
        let Some(named) = included(line) else {
            text.push_str(line);
            text.push('\n');
            if text.len() > MAX_BYTES {
                return Err(format!("`{}` and what it includes are too large", path.display()));
            }
            continue;
        };
        if depth == 0 {
            return Err(format!("`{}` is included by too many others in turn", path.display()));
        }
        for place in places(root, named)? {
            with_includes(root, &place, depth - 1, text)?;
        }
    }
    Ok(())
}

/// The path of a line that includes a file.
fn included(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("include")?.trim_start();
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    rest.get(1..)?.split(quote).next()
}

/// The files that an include names: below /etc where the path is relative, as nft(8) has it, and in the order of their
/// names where there is a `*` in the last part of it.
fn places(root: &Path, named: &str) -> Result<Vec<PathBuf>, String> {
    let below = Path::new("etc").join(named);
    let path = root.join(named.strip_prefix('/').map(Path::new).unwrap_or(&below));
    let (Some(folder), Some(last)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(format!("the include of `{named}` isn't understood"));
    };
    if folder.to_string_lossy().contains(['*', '?', '[']) || last.contains(['?', '[']) {
        return Err(format!("the pattern `{named}` of an include isn't understood"));
    }
    let Some((before, after)) = last.split_once('*') else { return Ok(vec![path]) };
    if after.contains('*') {
        return Err(format!("the pattern `{named}` of an include isn't understood"));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        let hidden = name.starts_with('.') && !before.starts_with('.');
        let rest = name.strip_prefix(before);
        !hidden && rest.is_some_and(|rest| rest.ends_with(after))
    });
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::collect;
    use crate::capture::Collected;
    use crate::snapshot::{BOOT, BOOT_IPTABLES, BOOT_RULESET};
    use std::fs;

    #[test]
    fn enabled_services_and_their_files_with_includes() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let mut nothing = Collected::default();
        collect(root.path(), &mut nothing);
        assert!(nothing.files.is_empty() && nothing.missing.is_empty());
        put("etc/systemd/system/sysinit.target.wants/nftables.service", "");
        put("etc/systemd/system/multi-user.target.wants/ssh.service", "");
        put("etc/nftables.conf", "flush ruleset\ninclude \"/etc/nft.d/*.nft\"\ninclude \"last.nft\"\n");
        put("etc/nft.d/b.nft", "# b\n");
        put("etc/nft.d/a.nft", "# a\n");
        put("etc/nft.d/other.txt", "# no\n");
        put("etc/last.nft", "table inet t {}\n");
        put("etc/iptables/rules.v4", "*filter\nCOMMIT\n");
        let mut found = Collected::default();
        collect(root.path(), &mut found);
        assert!(found.files[BOOT].contains("nftables.service") && !found.files[BOOT].contains("ssh"));
        assert_eq!(found.files[BOOT_RULESET], "flush ruleset\n# a\n# b\ntable inet t {}\n");
        assert!(!found.files.contains_key(BOOT_IPTABLES), "nobody loads it");
        put("etc/last.nft", "include \"last.nft\"\n");
        let mut circle = Collected::default();
        collect(root.path(), &mut circle);
        assert!(circle.missing[BOOT_RULESET].contains("too many"), "{:?}", circle.missing);
    }
}
