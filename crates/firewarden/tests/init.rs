//! `init`: a first stack file, and what a later look adds to it.

mod common;

use common::{Folder, Run};

/// The files of a snapshot.
fn snapshot(
    folder: &Folder,
    host: &str,
    address: &str,
    sockets: &str,
    connections: &str,
    conntrack: &str,
    missing: &str,
) {
    let manifest = format!(
        r#"{{"format":1,"host":"{host}","taken":"2026-11-21T08:00:00Z","kernel":"6.1","missing":{{{missing}}}}}"#
    );
    let addresses = format!(
        r#"[{{"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{{"family":"inet","local":"127.0.0.1","prefixlen":8}}]}},
            {{"ifname":"eth0","flags":["BROADCAST","UP"],"addr_info":[{{"family":"inet","local":"{address}","prefixlen":24}}]}}]"#
    );
    let rules = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t\tct state established,related accept\n\t\ttcp dport { 443, 5432 } accept\n\t}\n}\n";
    for (name, text) in [
        ("snapshot.json", manifest.as_str()),
        ("addresses.json", &addresses),
        ("sysctls.json", r#"{"net.ipv4.ip_forward":"0"}"#),
        ("sockets.txt", sockets),
        ("connections.txt", connections),
        ("conntrack.txt", conntrack),
    ] {
        folder.write(&format!("snapshots/{host}/{name}"), text.as_bytes());
    }
    if missing.is_empty() {
        folder.write(&format!("snapshots/{host}/ruleset.nft"), rules.as_bytes());
    }
}

/// A web server, and the database behind it.
fn two_hosts() -> Folder {
    let folder = Folder::with(&[]);
    snapshot(
        &folder,
        "web",
        "10.0.0.1",
        "tcp LISTEN 0 128 0.0.0.0:443 0.0.0.0:* users:((\"nginx\",pid=9,fd=4))\n\
         tcp LISTEN 0 128 0.0.0.0:9100 0.0.0.0:* users:((\"node_exporter\",pid=9,fd=4))\n\
         tcp LISTEN 0 128 127.0.0.1:6379 0.0.0.0:* users:((\"redis\",pid=9,fd=4))\n",
        "tcp ESTAB 0 0 10.0.0.1:443 8.8.8.8:50000\n\
         tcp ESTAB 0 0 10.0.0.1:443 8.8.4.4:50000\n\
         tcp ESTAB 0 0 10.0.0.1:40000 10.0.0.2:5432\n\
         tcp ESTAB 0 0 127.0.0.1:40000 127.0.0.1:6379\n\
         tcp ESTAB 0 0 10.0.0.1:22000 10.0.0.77:60000\n",
        "",
        "",
    );
    snapshot(
        &folder,
        "db",
        "10.0.0.2",
        "tcp LISTEN 0 128 *:5432 *:* users:((\"postgres\",pid=9,fd=4))\n",
        "tcp ESTAB 0 0 10.0.0.2:5432 10.0.0.1:40000\ntcp ESTAB 0 0 10.0.0.2:5432 10.0.0.1:40001\n",
        "",
        "",
    );
    folder
}

fn stack(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path().join("firewarden.yaml")).unwrap()
}

const EXPECTED: &str = "
hosts:
  db:
    snapshot: snapshots/db
    # eth0: 10.0.0.2/24
    # listens on tcp/5432 (postgres)
  web:
    snapshot: snapshots/web
    # eth0: 10.0.0.1/24
    # listens on tcp/443 (nginx), tcp/9100 (node_exporter)

services:
  nginx: tcp/443
  node_exporter: tcp/9100
  postgres: tcp/5432

intents:
  - allow: internet -> web tcp/443
    proposed: true
    because: 2 connections were seen (nginx)
  - allow: web -> db tcp/5432
    proposed: true
    because: 2 connections were seen (postgres)
  # - allow: any -> web tcp/9100   # listens, and nobody was connected (node_exporter)
";

#[test]
fn snapshots_make_a_stack_file_that_check_takes() {
    let folder = two_hosts();
    let made = folder.run(&["init", "snapshots"]);
    made.expect(0, &["2 hosts, 2 proposed intents", "1 connection to ports of clients"]);
    let text = stack(&folder);
    assert!(text.ends_with(EXPECTED), "{text}");
    folder.run(&["check", "."]).expect(0, &["2 intents are proposed", "web -> db tcp/5432"]);
    // Accepted intents count.
    let accepted = text.replace("    proposed: true\n", "");
    folder.write("firewarden.yaml", accepted.as_bytes());
    let checked = folder.run(&["check", "."]);
    assert!(!checked.all().contains("proposed"), "{}", checked.all());
}

#[test]
fn nothing_is_overwritten() {
    let folder = two_hosts();
    folder.write("firewarden.yaml", b"mine");
    folder.run(&["init", "snapshots"]).expect(2, &["is there already", "--update"]);
    assert_eq!(stack(&folder), "mine");
    folder.run(&["init", "snapshots", "--out", "other.yaml"]).expect(0, &["other.yaml"]);
    folder.run(&["init", "nowhere", "--out", "x.yaml"]).expect(2, &["is no snapshot", "firewarden capture"]);
}

#[test]
fn rules_that_could_not_be_read_are_told() {
    let folder = Folder::with(&[]);
    snapshot(&folder, "web", "10.0.0.1", "", "", "", r#""ruleset.nft":"Operation not permitted""#);
    let told = ["1 host, 1 proposed intent", "no rules are known of `web`"];
    folder.run(&["init", "snapshots"]).expect(0, &told);
    let text = stack(&folder);
    assert!(text.contains("# Its rules aren't known (Operation not permitted)"), "{text}");
    assert!(text.contains("eth0: 10.0.0.1/24") && !text.contains("snapshot:"), "{text}");
    assert!(text.contains("- deny: internet -> web\n    proposed: true"), "{text}");
    // It fails, as nothing filters; nobody has accepted that it mustn't.
    folder.run(&["check", "."]).expect(0, &["1 intent: 1 fail"]);
}

#[test]
fn an_inventory_names_hosts_and_groups() {
    let folder = two_hosts();
    folder.write(
        "hosts.ini",
        b"[frontend]\nweb1.example.org ansible_host=10.0.0.1\ncache ansible_host=10.0.0.9\n10.0.0.10\n[backend]\ndb\nspare ansible_host=spare.example.org\n[backend:vars]\nx=y\n[all-of-it:children]\nfrontend\nbackend\nnothing\n[nothing]\n",
    );
    let made = folder.run(&["init", "snapshots", "--inventory", "hosts.ini"]);
    made.expect(0, &["4 hosts", "`spare` of the inventory is left out"]);
    let text = stack(&folder);
    for expected in [
        "  cache:\n    # Its rules aren't known (only the inventory knows it), so that nothing seems to be filtered:\n    # rules: FILE\n    address: 10.0.0.9\n",
        "  host-10.0.0.10:\n",
        "groups:\n  all-of-it: [backend, frontend]\n  backend: db\n  frontend: [host-10.0.0.10, cache, web]\n",
    ] {
        assert!(text.contains(expected), "{expected}\n\n{text}");
    }
    folder.run(&["check", "."]).expect(0, &["proposed"]);
    // The same as YAML, alone.
    folder.write(
        "hosts.yml",
        b"all:\n  children:\n    backend:\n      hosts:\n        db: { ansible_host: 10.0.0.2 }\n",
    );
    let alone = folder.run(&["init", "--inventory", "hosts.yml", "--out", "alone.yaml"]);
    alone.expect(0, &["1 host"]);
    folder.run(&["check", "alone.yaml"]).expect(0, &["deny internet -> db"]);
    folder.write("broken.yml", b"all: [1\n");
    folder.run(&["init", "--inventory", "broken.yml", "--out", "x.yaml"]).expect(2, &["isn't an inventory"]);
}

fn lines(run: &Run, sign: char) -> Vec<String> {
    let changed = run.stdout.lines().filter(|line| line.starts_with(sign) && !line.starts_with("+++"));
    changed.map(|line| line[1..].to_owned()).collect()
}

#[test]
fn an_update_only_adds() {
    let folder = two_hosts();
    let mine = "# what matters\nhosts:\n  web:            # the first one\n    snapshot: snapshots/web\n\nintents:\n  - allow: internet -> web tcp/443   # customers\n    owner: web-team\n";
    folder.write("firewarden.yaml", mine.as_bytes());
    let shown = folder.run(&["init", "--update", "snapshots"]);
    shown.expect(0, &["+++ firewarden.yaml", "+  db:", "+  - allow: web -> db tcp/5432"]);
    assert!(lines(&shown, '-').iter().all(|line| line == "-- firewarden.yaml"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("+  - allow: internet -> web tcp/443"), "{}", shown.stdout);
    assert_eq!(stack(&folder), mine, "nothing is written unasked");
    folder.run(&["init", "--update", "snapshots", "--write"]).expect(0, &["+  db:"]);
    let text = stack(&folder);
    for line in mine.lines() {
        assert!(text.contains(line), "{line}\n{text}");
    }
    folder.run(&["check", "."]).expect(0, &["1 intent is proposed"]);
    folder.run(&["init", "--update", "snapshots", "--write"]).expect(0, &["nothing to add"]);
    folder.run(&["init", "--update"]).expect(0, &["nothing to add"]);
    assert_eq!(stack(&folder), text);
}

#[test]
fn what_is_forbidden_is_not_proposed() {
    let folder = two_hosts();
    let mine = "hosts:\n  web: { snapshot: snapshots/web }\n  db: { snapshot: snapshots/db }\nservices: { nginx: tcp/443, postgres: tcp/5432, node_exporter: tcp/9100 }\nintents:\n  - allow: internet -> web tcp/443\n  - deny: web -> db\n";
    folder.write("firewarden.yaml", mine.as_bytes());
    let shown = folder.run(&["init", "--update"]);
    shown.expect(0, &["2 connections were seen although `deny web -> db` is there", "nothing to add"]);
    // A section that isn't in lines of its own is left to people.
    let flow = "hosts: { web: { snapshot: snapshots/web } }\nintents:\n  - allow: internet -> web tcp/443\n";
    folder.write("firewarden.yaml", flow.as_bytes());
    folder
        .run(&["init", "--update", "snapshots", "--write"])
        .expect(2, &["`hosts` aren't written one to a line", "hosts: db:"]);
    assert_eq!(stack(&folder), flow);
}

#[test]
fn pages_about_snapshots_tell_what_was_seen() {
    let folder = two_hosts();
    folder.run(&["docs", "snapshots", "--out", "pages"]).expect(0, &["rules-db.md"]);
    let matrix = std::fs::read_to_string(folder.path().join("pages/matrix.md")).unwrap();
    assert!(matrix.contains("| **web** | allow `tcp/5432` |"), "{matrix}");
    assert!(
        matrix.contains("| 2 connections were seen (postgres) | observed connections | not in git |"),
        "{matrix}"
    );
    folder.run(&["docs", "snapshots", "--out", "pages", "--check"]).expect(0, &["up to date"]);
    assert!(!folder.path().join("snapshots/firewarden-docs").exists());
}

/// On whatever machine this is, with whatever rights.
#[test]
fn the_live_host_makes_a_file_that_check_takes() {
    let folder = Folder::with(&[]);
    let made = folder.run(&["init", "--host", "here"]);
    if made.code == 2 {
        made.expect(2, &["help: "]);
        return;
    }
    made.expect(0, &["1 host"]);
    let text = stack(&folder);
    assert!(text.contains("  here:\n") && text.contains("proposed: true"), "{text}");
    folder.run(&["check", "."]).expect(0, &["proposed"]);
    folder.run(&["init", "--host", "here"]).expect(2, &["is there already"]);
}
