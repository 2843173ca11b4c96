//! `ipset save`: what is accepted and refused, and ipset's own test lines.

use firewarden_diagnostic::{FileId, Severity};
use firewarden_ruleset::syntax::ipset::parse;
use std::collections::BTreeMap;
use std::path::Path;

fn errors(text: &str) -> Vec<String> {
    let (_, diagnostics) = parse(FileId(0), text);
    diagnostics.into_iter().filter(|d| d.severity == Severity::Error).map(|d| d.message).collect()
}

#[test]
fn entries_of_each_type() {
    for (kind, good, bad) in [
        ("hash:ip", "10.0.0.1 10.0.0.0/30 10.0.0.1-10.0.0.9", "10.0.0.300 ::1 10.0.0.1,80 x"),
        ("hash:ip family inet6", "::1 2001:db8::1-2001:db8::9", "10.0.0.1 ::g"),
        ("hash:net", "10.0.0.0/8 10.0.0.1", "10.0.0.0/33"),
        (
            "hash:ip,port",
            "10.0.0.1,80 10.0.0.1,tcp:80-90 10.0.0.1,udp:domain 10.0.0.1,icmp:echo-request 10.0.0.1,gre:0",
            "10.0.0.1 10.0.0.1,tcp:99999 10.0.0.1,gre:5 10.0.0.1,foo:80",
        ),
        ("hash:ip,port,net", "10.0.0.1,80,10.0.0.0/8", "10.0.0.1,80"),
        ("hash:net,net", "10.0.0.0/8,192.0.2.0/24", "10.0.0.0/8"),
        ("hash:net,port,net", "10.0.0.0/8,tcp:80,192.0.2.0/24", "10.0.0.0/8,80,80"),
        ("hash:net,iface", "10.0.0.0/8,eth0 10.0.0.0/8,physdev:eth0", "10.0.0.0/8,averylonginterfacename"),
        ("hash:ip,mark", "10.0.0.1,0x80 10.0.0.1,5", "10.0.0.1,0x1ffffffff"),
        ("hash:mac", "02:00:00:00:00:01", "02:00:00:00:00"),
        ("bitmap:ip range 10.0.0.0-10.0.0.255", "10.0.0.5 10.0.0.0/30", "10.0.1.0"),
        ("bitmap:ip,mac range 10.0.0.0/24", "10.0.0.5,02:00:00:00:00:01 10.0.0.6", "10.0.0.5,02"),
        ("bitmap:port range 0-1024", "22 80-90", "2000 x"),
        ("list:set size 8", "a", ""),
    ] {
        for entry in good.split_whitespace() {
            let text = format!("create a {kind}\nadd a {entry} timeout 5 comment \"x y\" nomatch\n");
            assert_eq!(errors(&text), Vec::<String>::new(), "{kind}: {entry}");
        }
        for entry in bad.split_whitespace() {
            assert_eq!(errors(&format!("create a {kind}\nadd a {entry}\n")).len(), 1, "{kind}: {entry}");
        }
    }
}

#[test]
fn commands_are_carried_out() {
    let text = "ipset create a hash:ip\nadd a 10.0.0.1\nadd a 10.0.0.2\ndel a 10.0.0.1\ncreate b hash:ip\nswap a b\nrename b c\nCOMMIT\n";
    let (sets, diagnostics) = parse(FileId(0), text);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let sizes: Vec<_> = sets.sets.iter().map(|set| (set.name, set.entries.len())).collect();
    assert_eq!(sizes, [("c", 1), ("a", 0)]);
}

#[test]
fn misspelt_lines_have_suggestions() {
    for (text, help) in [
        ("create a hash:nets\n", "did you mean `hash:net`?"),
        ("create a hash:net\nad a 10.0.0.1\n", "did you mean `add`?"),
        ("create blocklist hash:net\nadd bloklist 10.0.0.1\n", "did you mean `blocklist`?"),
    ] {
        let (_, diagnostics) = parse(FileId(0), text);
        assert_eq!(diagnostics[0].help.as_deref(), Some(help));
    }
}

/// Each `create` and `add` of ipset's own tests that succeeds there is accepted here. Those that fail there mostly do
/// so because of what the set holds at that time; they are only counted.
#[test]
fn upstream_lines_are_accepted() {
    let Some(folder) = std::env::var_os("FIREWARDEN_CORPUS")
        .map(|root| Path::new(&root).join("ipset"))
        .filter(|p| p.is_dir())
    else {
        println!("skipped: FIREWARDEN_CORPUS isn't set, or has no ipset");
        return;
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut accepted, mut total, mut refused_there, mut refused_here) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        if name.ends_with(".restore") || name.ends_with(".multi") || name.ends_with(".saved") {
            let found = errors(&text);
            total += 1;
            accepted += usize::from(found.is_empty());
            wrong.extend(found.iter().map(|error| format!("{name}: {error}")));
            continue;
        }
        if !name.ends_with(".t") {
            continue;
        }
        let mut creates: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines() {
            let Some((status, command)) = line.split_once(' ') else { continue };
            let Some(command) = command.strip_prefix("ipset ") else { continue };
            // Shell redirections, loops and the like aren't ipset's.
            if command.contains(['|', '>', '<', '$', '`', '&']) {
                continue;
            }
            let is_create = ["create ", "-N ", "n "].iter().any(|verb| command.starts_with(verb));
            let is_add = ["add ", "-A ", "a "].iter().any(|verb| command.starts_with(verb));
            if is_create {
                let name = command.split_whitespace().nth(1).unwrap_or_default();
                creates.insert(name.to_owned(), format!("{command}\n"));
            }
            if !(is_create || is_add) {
                continue;
            }
            let command = if is_add && command.starts_with("a ") {
                format!("add {}", &command[2..])
            } else {
                command.to_owned()
            };
            let create: String = creates.values().map(String::as_str).collect();
            let text = if is_create { create } else { format!("{create}{command}\n") };
            let found = errors(&text);
            if status == "0" {
                total += 1;
                accepted += usize::from(found.is_empty());
                wrong.extend(found.iter().map(|error| format!("{name}: {line}: {error}")));
            } else if is_add {
                refused_there += 1;
                refused_here += usize::from(!found.is_empty());
            }
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    println!(
        "ipset: {accepted} of {total} accepted; of {refused_there} refused there {refused_here} are refused here too"
    );
    assert!(accepted * 100 >= total * 97);
}
