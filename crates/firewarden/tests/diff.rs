//! `diff` and `check --before --expect` from the shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn firewarden(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_firewarden"))
        .args(arguments)
        .env_remove("SSH_CONNECTION")
        .output()
        .expect("the program runs")
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn examples(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    root.join(name).display().to_string()
}

/// A folder with two versions of a ruleset.
fn versions(before: &str, after: &str) -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.nft"), folder.path().join("new.nft"));
    fs::write(&old, before).unwrap();
    fs::write(&new, after).unwrap();
    let name = |path: PathBuf| path.display().to_string();
    (folder, name(old), name(new))
}

fn filter(rules: &str) -> String {
    format!(
        "table inet filter {{\n  set office {{ type ipv4_addr; flags interval; elements = {{ 192.0.2.0/24 }}; }}\n  \
         chain input {{\n    type filter hook input priority filter; policy drop;\n{rules}\n  }}\n}}\n"
    )
}

#[test]
fn what_is_written_otherwise_means_the_same() {
    for (before, after) in [
        (
            "tcp dport { 80, 443 } accept",
            "tcp dport 443 accept comment \"web\"\n tcp dport 80 counter accept",
        ),
        ("tcp dport 22 accept\n tcp dport 80 accept", "tcp dport 80 accept\n tcp dport 22 accept"),
        ("ip saddr @office accept", "ip saddr 192.0.2.0/25 accept\n ip saddr 192.0.2.128/25 accept"),
        ("limit rate 5/second accept", "counter limit rate 5/second accept"),
    ] {
        let (_folder, old, new) = versions(&filter(before), &filter(after));
        let output = firewarden(&["diff", &old, &new]);
        assert!(text_of(&output).contains("same meaning"), "{before} -> {after}\n{}", text_of(&output));
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    }
}

#[test]
fn a_change_is_told_with_both_rules_and_a_packet() {
    let (_folder, old, new) =
        versions(&filter("tcp dport 22 accept"), &filter("ip saddr @office tcp dport 22 accept"));
    let output = firewarden(&["diff", &old, &new]);
    let told = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in ["newly blocked", "old.nft:5", "new.nft:4", "any but 192.0.2.0/24", "tcp/22", "policy drop"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    // The packet is one that trace follows to the same end.
    let packet = told.lines().find_map(|line| line.trim().strip_prefix("example")).unwrap().trim();
    let traced = text_of(&firewarden(&["trace", packet, &new]));
    assert!(traced.contains("dropped"), "{packet}\n{traced}");
    let traced = text_of(&firewarden(&["trace", packet, &old]));
    assert!(traced.contains("accepted"), "{packet}\n{traced}");
}

#[test]
fn a_member_of_a_set_is_the_whole_difference() {
    let before = filter("ip saddr @office tcp dport 22 accept");
    let (_folder, old, new) =
        versions(&before, &before.replace("192.0.2.0/24", "192.0.2.0/24, 198.51.100.9"));
    let told = text_of(&firewarden(&["diff", &old, &new]));
    assert!(told.contains("newly allowed  198.51.100.9 -> any tcp/22"), "{told}");
    assert!(told.contains("1 change: 1 newly allowed"), "{told}");
}

#[test]
fn a_limit_stays_itself_where_another_goes() {
    let (first, second) =
        ("limit rate 5/second udp dport 53 accept", "limit rate 5/second tcp dport 22 accept");
    let (_folder, old, new) = versions(&filter(&format!("{first}\n{second}")), &filter(first));
    let told = text_of(&firewarden(&["diff", &old, &new]));
    assert!(told.contains("1 change: 1 newly blocked") && told.contains("tcp/22"), "{told}");
    assert!(!told.contains("udp"), "{told}");
}

#[test]
fn the_languages_are_compared_by_meaning() {
    let (folder, old, new) = versions(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n",
        "table ip other {\n chain in { type filter hook input priority filter; policy drop; tcp dport 22 accept\n }\n \
         chain fw { type filter hook forward priority filter; policy drop; }\n}\n",
    );
    let output = firewarden(&["diff", &old, &new]);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    drop(folder);
}

#[test]
fn every_outage_breaks_an_intent_and_names_the_rule() {
    for (outage, place) in [
        ("000", "app.rules:11"),
        ("001", "lb.nft:39"),
        ("002", "db.nft:30"),
        ("003", "edge.nft:63"),
        ("004", "app.rules:7"),
    ] {
        let after = examples(&format!("outages/{outage}"));
        let output = firewarden(&["diff", &examples("webstack"), &after]);
        let told = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("breaks `"), "{told}");
        assert!(told.contains(&format!("{outage}/{place}")), "{place} is missing in\n{told}");
    }
}

#[test]
fn json_has_the_packets_exactly_and_markdown_a_table() {
    let (_folder, old, new) = versions(&filter("tcp dport 22 accept"), &filter("tcp dport 23 accept"));
    let output = firewarden(&["diff", &old, &new, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["same_meaning"], false);
    let changes = json["hosts"][0]["changes"].as_array().unwrap();
    let ports: Vec<_> = changes.iter().map(|change| change["packets"][0]["dport"].clone()).collect();
    assert!(ports.contains(&serde_json::json!(["22", "22"])), "{ports:?}");
    assert!(ports.contains(&serde_json::json!(["23", "23"])), "{ports:?}");
    let markdown = text_of(&firewarden(&["diff", &old, &new, "--format", "markdown"]));
    assert!(markdown.contains("| **newly blocked** |"), "{markdown}");
}

#[test]
fn a_revision_of_git_is_compared_with_the_files_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").arg("-C").arg(folder.path()).args(arguments).output().expect("git runs");
        assert!(output.status.success(), "{}", text_of(&output));
    };
    git(&["init", "-q"]);
    fs::create_dir(folder.path().join("fw")).unwrap();
    fs::write(folder.path().join("common.nft"), "define web = { 80, 443 }\n").unwrap();
    let rules = folder.path().join("fw/rules.nft");
    let main = format!("include \"../common.nft\"\n{}", filter("tcp dport $web accept"));
    fs::write(&rules, &main).unwrap();
    git(&["add", "."]);
    git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"]);
    fs::write(folder.path().join("common.nft"), "define web = { 443 }\n").unwrap();
    let output = firewarden(&["diff", "--git", "HEAD", &rules.display().to_string()]);
    let told = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("tcp/80") && told.contains("HEAD:fw/rules.nft"), "{told}");
    let wrong = firewarden(&["diff", "--git", "nowhere", &rules.display().to_string()]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text_of(&wrong).contains("no revision `nowhere`"), "{}", text_of(&wrong));
}

#[test]
fn what_is_not_compared_is_never_the_same_meaning() {
    let text = "table inet f {\n limit lim { rate 5/second }\n \
        set bad { type ipv4_addr; flags dynamic,timeout; timeout 1h; elements = { 192.0.2.1 } }\n \
        chain input { type filter hook input priority 0; policy drop; limit name \"lim\" accept\n \
        ip saddr @bad drop\n }\n}\n\
        table bridge b {\n chain c { type filter hook forward priority 0; policy drop; ip saddr 10.0.0.1 accept\n }\n}\n";
    for (from, to, told) in [
        ("5/second", "50/second", "limit lim of inet f"),
        ("192.0.2.1", "192.0.2.2", "set bad of inet f"),
        ("10.0.0.1", "10.0.0.2", "of bridge b"),
    ] {
        let (_folder, old, new) = versions(text, &text.replace(from, to));
        let output = firewarden(&["diff", &old, &new]);
        assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
        assert!(text_of(&output).contains(told), "{}", text_of(&output));
        assert!(!text_of(&output).contains("same meaning ("), "{}", text_of(&output));
    }
    let (_folder, old, new) = versions(text, &text.replace("5/second", "5/second # handle 4\n"));
    assert_eq!(firewarden(&["diff", &old, &new]).status.code(), Some(0));
}

#[test]
fn connections_of_a_snapshot_that_are_cut_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = |name: &str, rules: &str| -> String {
        let host = folder.path().join(name).join("db");
        fs::create_dir_all(&host).unwrap();
        let write = |file: &str, text: &str| fs::write(host.join(file), text).unwrap();
        write(
            "snapshot.json",
            r#"{"format": 1, "host": "db", "taken": "2026-11-21T08:00:00Z", "kernel": "6.18", "anonymized": false, "missing": {}}"#,
        );
        write("ruleset.nft", rules);
        write(
            "addresses.json",
            r#"[{"ifindex": 2, "ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.3.30", "prefixlen": 24}]}]"#,
        );
        write(
            "connections.txt",
            "tcp ESTAB 0 0 10.0.3.30:5432 10.0.2.20:50001\ntcp ESTAB 0 0 10.0.3.30:5432 10.0.2.20:50002\n",
        );
        write("sockets.txt", "tcp LISTEN 0 128 0.0.0.0:5432 0.0.0.0:*\n");
        folder.path().join(name).display().to_string()
    };
    let before = snapshot("before", &filter("tcp dport 5432 accept"));
    let after = snapshot("after", &filter("tcp dport 5433 accept"));
    let output = firewarden(&["diff", &before, &after]);
    let told = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("cuts 2 live connections 10.0.2.20 -> db tcp/5432"), "{told}");
    assert!(told.contains("listens  tcp/5432"), "{told}");
    // With established connections accepted they go on, but can't be opened again.
    let keep = "ct state established accept\n";
    let before = snapshot("before2", &filter(&format!("{keep}tcp dport 5432 accept")));
    let after = snapshot("after2", &filter(&format!("{keep}tcp dport 5433 accept")));
    let told = text_of(&firewarden(&["diff", &before, &after]));
    assert!(told.contains("2 live connections 10.0.2.20 -> db tcp/5432 go on"), "{told}");
}

#[test]
fn wrong_input_is_told_with_a_remedy() {
    let (_folder, old, new) =
        versions(&filter("accept"), "table inet filter {\n chain input { tcp dport }\n}\n");
    for arguments in [
        vec!["diff", old.as_str()],
        vec!["diff", old.as_str(), "/nowhere/at/all.nft"],
        vec!["diff", old.as_str(), new.as_str()],
        vec!["diff", old.as_str(), old.as_str(), "--host", "x", "--git", "HEAD"],
    ] {
        let output = firewarden(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{}", text_of(&output));
        assert!(!text_of(&output).contains("panicked"), "{}", text_of(&output));
    }
}

/// The example stack with rules added for the application servers.
fn changed_stack(ipv4: &str, ipv6: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(examples("webstack")).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().is_file() {
            continue;
        }
        let mut content = fs::read_to_string(entry.path()).unwrap();
        let added = match entry.file_name().to_str() {
            Some("app.rules") => ipv4,
            Some("app6.rules") => ipv6,
            _ => "",
        };
        content = content.replace("COMMIT\n", &format!("{added}COMMIT\n"));
        fs::write(folder.path().join(entry.file_name()), content).unwrap();
    }
    folder
}

#[test]
fn a_change_does_what_is_expected_and_nothing_else() {
    let expect = |folder: &TempDir, expected: &str| {
        let after = folder.path().display().to_string();
        let output = firewarden(&[
            "check",
            &after,
            "--before",
            &examples("webstack"),
            "--expect",
            expected,
            "--format",
            "concise",
        ]);
        (output.status.code(), text_of(&output))
    };
    let v4 = "-A INPUT -s 10.0.1.10/32 -p tcp -m tcp --dport 9000 -j ACCEPT\n";
    let v6 = "-A INPUT -s 2001:db8:0:1::10/128 -p tcp -m tcp --dport 9000 -j ACCEPT\n";
    let (code, told) = expect(&changed_stack(v4, v6), "allow lb -> app tcp/9000");
    assert_eq!(code, Some(0), "{told}");
    // Only for IPv4: half of what is expected.
    let (code, told) = expect(&changed_stack(v4, ""), "allow lb -> app tcp/9000");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("flow-blocked"), "{told}");
    // More ports, and more sources.
    for (more, part) in [
        (v4.replace("9000", "9000:9001"), "lb -> app tcp/9001"),
        (v4.replace("10.0.1.10/32", "10.0.1.10/31"), "10.0.1.11 -> app tcp/9000"),
        (v4.replace("-p tcp -m tcp --dport 9000 ", ""), "unexpected-allow"),
    ] {
        let (code, told) = expect(&changed_stack(&more, v6), "allow lb -> app tcp/9000");
        assert_eq!(code, Some(1), "{more}\n{told}");
        assert!(told.contains("unexpected-allow") && told.contains(part), "{part} is missing in\n{told}");
    }
    // Nothing at all.
    let (code, told) = expect(&changed_stack("", ""), "allow lb -> app tcp/8080");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no-effect"), "{told}");
}

#[test]
fn an_intent_that_is_taken_back_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rules = filter("tcp dport 22 accept");
    for (name, intents) in [
        ("old", "  - allow: any -> web tcp/22\n  - deny: any -> web tcp/23\n"),
        ("new", "  - allow: any -> web tcp/22\n"),
    ] {
        let version = folder.path().join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("web.nft"), &rules).unwrap();
        let stack = format!("hosts:\n  web: {{ rules: web.nft, address: 10.0.0.1 }}\nintents:\n{intents}");
        fs::write(version.join("firewarden.yaml"), stack).unwrap();
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    for format in ["human", "markdown", "json"] {
        let told = text_of(&firewarden(&["diff", &at("old"), &at("new"), "--format", format]));
        assert!(told.contains("deny any -> web tcp/23"), "{told}");
        let back = text_of(&firewarden(&["diff", &at("new"), &at("old"), "--format", format]));
        assert!(!back.contains("no longer declared"), "{back}");
    }
}

#[test]
fn standard_input_is_not_two_versions() {
    let output = firewarden(&["diff", "-", "-"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    let output = firewarden(&["check", "-", "-", "--allow", "any -> 10.0.0.1 tcp/22"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    let output = firewarden(&["check", "-", "--before", "-", "--expect", "allow any -> 10.0.0.1 tcp/22"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
}

#[test]
fn one_table_in_two_files_is_a_mistake_unless_both_filter() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let drops = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let open = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";
    let (first, bare) = (write("rules.v4", drops), write("rules.v6", open));
    let output = firewarden(&["exposed", &first, &bare]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(text_of(&output).contains("ip6tables-save"), "{}", text_of(&output));

    // The same with the comment, under each name that the program has.
    for program in ["ip6tables-save", "ip6tables-nft-save", "/sbin/ip6tables-legacy-save"] {
        let named =
            write("named.v6", &format!("# Generated by {program} v1.8.9 (nf_tables) on Monday\n{open}"));
        let output = firewarden(&["exposed", &first, &named, "--format", "json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = answer["hosts"][0]["exposed"].as_array().unwrap();
        let by_ipv4: Vec<_> =
            rows.iter().filter(|row| row["ipv4"].as_array().is_some_and(|who| !who.is_empty())).collect();
        assert_eq!(by_ipv4[0]["ports"][0]["first"], 22, "{program}: IPv4 keeps its rules: {rows:#?}");
    }

    // Tables of the old and the new iptables are two, and a packet needs the leave of both.
    let old = write("legacy", &format!("# Generated by iptables-save v1.8.9 on Monday\n{open}"));
    let new = write("nft", &format!("# Generated by iptables-save v1.8.9 (nf_tables) on Monday\n{drops}"));
    for files in [[&old, &new], [&new, &old]] {
        let output = firewarden(&["check", files[0], files[1], "--deny", "any -> 10.0.0.1 tcp/23"]);
        assert!(text_of(&output).contains("1 intent: 1 pass"), "{}", text_of(&output));
    }
}

#[test]
fn a_folder_without_stack_file_is_offered_a_ruleset_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.conf"), "[Unit]\nDescription=a service\n").unwrap();
    let path = folder.path().display().to_string();
    let output = text_of(&firewarden(&["audit", &path]));
    assert!(!output.contains("a.conf"), "{output}");
    fs::write(folder.path().join("b.conf"), filter("")).unwrap();
    let output = text_of(&firewarden(&["audit", &path]));
    assert!(output.contains("b.conf"), "{output}");
}
