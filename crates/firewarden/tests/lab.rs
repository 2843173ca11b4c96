//! `firewarden lab`: a lab comes up, real requests go through it, and nothing of it stays behind.
//!
//! Needs root and the packages; is skipped with the reason without them, and fails under `CI=true`.
#![cfg(feature = "lab")]

mod common;

use common::labs::{END, RECORDS, all_gone, fresh_name, processes_of};
use common::{Folder, Run, repository, run_in};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_firewarden");

/// A lab that ends with the value.
struct Lab {
    name: String,
}

impl Lab {
    /// `None`, with the reason on standard error, where labs can't be built here.
    fn up(folder: Option<&Path>) -> Option<Lab> {
        let lab = Lab { name: fresh_name()? };
        let mut arguments = vec!["lab", "up", "--name", &lab.name];
        let folder = folder.map(|folder| folder.display().to_string());
        arguments.extend(folder.as_deref());
        run_in(&repository(), &arguments, b"").expect(0, &["is up after"]);
        Some(lab)
    }

    fn command(&self, host: &str, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["lab", "exec", "--name", &self.name, host, "--"]).args(words).stdin(Stdio::null());
        command
    }

    /// What a command on a host writes, and whether it ended well.
    fn exec(&self, host: &str, words: &[&str]) -> (bool, String) {
        let output = self.command(host, words).output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// The body and the status of a request.
    fn curl(&self, host: &str, more: &[&str], url: &str) -> (String, u16) {
        let mut words =
            vec!["curl", "--silent", "--insecure", "--max-time", "30", "--write-out", "\n%{http_code}"];
        words.extend(more);
        words.push(url);
        let (_, text) = self.exec(host, &words);
        let (body, status) = text.trim_end().rsplit_once('\n').unwrap_or_default();
        (body.trim().to_owned(), status.parse().unwrap_or(0))
    }

    /// Whether a new connection of TCP comes about, within so many seconds.
    fn connects_in(&self, seconds: &str, host: &str, address: &str, port: u16) -> bool {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        self.exec(host, &["timeout", seconds, "bash", "-c", &script]).0
    }

    /// Whether it does, however slow this machine is.
    fn connects(&self, host: &str, address: &str, port: u16) -> bool {
        self.connects_in("30", host, address, port)
    }

    /// Whether nothing comes back, which is waited for long enough that an answer would have come.
    fn is_silent(&self, host: &str, address: &str, port: u16) -> bool {
        !self.connects_in("2", host, address, port)
    }

    /// The supervisor's process.
    fn process(&self) -> u32 {
        let status = run_in(&repository(), &["lab", "status", "--name", &self.name], b"");
        status.expect(0, &[&self.name, "postgresql on db"]);
        let (_, rest) = status.stdout.split_once("process ").unwrap();
        rest.lines().next().unwrap().parse().unwrap()
    }

    fn down(&self) -> Run {
        run_in(&repository(), &["lab", "down", "--name", &self.name], b"")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new(PROGRAM).args(["lab", "down", "--name", &self.name]).output();
    }
}

/// What a lab could leave on this machine: mounts, interfaces, named network namespaces.
fn traces() -> (String, String, Vec<PathBuf>) {
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap();
    let names = interfaces.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let mut named: Vec<PathBuf> =
        fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    named.sort();
    (fs::read_to_string("/proc/self/mountinfo").unwrap(), names.collect(), named)
}

#[test]
fn every_intent_of_the_web_stack_is_true() {
    let Some(lab) = Lab::up(Some(&repository().join("examples/webstack"))) else { return };
    // public-web: what is added is there for the next one, whatever family and server it comes by.
    for (added, site) in ["https://203.0.113.1/items", "https://[2001:db8:0:1::10]/items"].iter().enumerate()
    {
        let (body, status) = lab.curl("client", &["--request", "POST"], site);
        assert_eq!(status, 201, "{site}: {body}");
        for _ in 0..2 {
            let (body, status) = lab.curl("client", &[], site);
            assert_eq!(status, 200, "{site}: {body}");
            assert!(body.contains(&format!("\"items\":{}", added + 1)), "{body}");
        }
    }
    let (page, status) = lab.curl("client", &[], "https://203.0.113.1/");
    assert!(status == 200 && page.contains("2 items"), "{status} {page}");
    // redirect-to-https
    for site in ["http://203.0.113.1/", "http://[2001:db8:0:1::10]/"] {
        assert_eq!(lab.curl("client", &[], site).1, 301, "{site}");
    }
    // lb-to-app, and nobody else
    for app in ["10.0.2.20", "10.0.2.21", "2001:db8:0:1::20", "2001:db8:0:1::21"] {
        assert!(lab.connects("lb", app, 8080), "lb to {app}");
    }
    assert!(lab.is_silent("db", "10.0.2.20", 8080));
    // app-to-db, and nobody else
    for (app, db) in [("app1", "10.0.3.30"), ("app2", "2001:db8:0:1::30")] {
        let (well, text) =
            lab.exec(app, &["psql", "-h", db, "-U", "shop", "-Atc", "SELECT count(*) FROM items"]);
        assert!(well && text.trim() == "2", "{app} to {db}: {text}");
    }
    assert!(lab.is_silent("lb", "10.0.3.30", 5432));
    // ssh, haproxy-statistics
    for port in [22, 8404] {
        assert!(lab.connects("office", "203.0.113.1", port), "office to {port}");
        assert!(lab.is_silent("client", "203.0.113.1", port), "client to {port}");
    }
    // partners
    for partner in ["https://185.10.20.30/", "https://[2a02:820::30]/"] {
        assert_eq!(lab.curl("app1", &[], partner), ("paid".to_owned(), 200), "{partner}");
    }
    // app-is-internal, db-is-internal
    assert!(lab.is_silent("client", "2001:db8:0:1::20", 8080));
    assert!(lab.is_silent("client", "2001:db8:0:1::30", 5432));
}

#[test]
fn what_the_lab_runs_means_what_the_files_say() {
    let Some(lab) = Lab::up(None) else { return };
    let folder = Folder::with(&[]);
    let out = folder.path().join("captured").display().to_string();
    fs::create_dir(&out).unwrap();
    let stack = repository().join("examples/webstack").canonicalize().unwrap();
    let mut yaml = String::from("hosts:\n");
    for (host, files, interfaces) in [
        (
            "edge",
            &["edge.nft"][..],
            "wan: [203.0.113.1/24, \"2001:db8:ff::1/64\"], lan: [10.0.0.1/16, \"2001:db8:0:1::1/64\"]",
        ),
        ("lb", &["lb.nft"], "eth0: [10.0.1.10/16, \"2001:db8:0:1::10/64\"]"),
        ("app1", &["app.rules", "app6.rules"], "eth0: [10.0.2.20/16, \"2001:db8:0:1::20/64\"]"),
        ("app2", &["app.rules", "app6.rules"], "eth0: [10.0.2.21/16, \"2001:db8:0:1::21/64\"]"),
        ("db", &["db.nft"], "eth0: [10.0.3.30/16, \"2001:db8:0:1::30/64\"]"),
    ] {
        let (well, text) = lab.exec(host, &["firewarden", "capture", "--out", &out]);
        assert!(well && text.contains(host), "{host}: {text}");
        let files: Vec<String> = files.iter().map(|file| format!("{}/{file}", stack.display())).collect();
        let rules = files.join(", ");
        yaml.push_str(&format!("  {host}:\n    rules: [{rules}]\n    interfaces: {{ {interfaces} }}\n"));
    }
    folder.write("declared/firewarden.yaml", yaml.as_bytes());
    folder.run(&["diff", "declared", "captured"]).expect(0, &["same meaning: app1, app2, db, edge, lb"]);
}

#[test]
fn a_broken_stack_fails_as_it_would_for_its_users() {
    // One of two servers may not talk to the database, by IPv4.
    let Some(lab) = Lab::up(Some(&repository().join("examples/outages/002"))) else { return };
    let statuses = |site: &str| -> Vec<u16> { (0..4).map(|_| lab.curl("client", &[], site).1).collect() };
    let (v4, v6) = (statuses("https://203.0.113.1/items"), statuses("https://[2001:db8:0:1::10]/items"));
    assert!(v4.contains(&503) && v4.contains(&200), "{v4:?}");
    assert_eq!(v6, [200; 4]);
}

#[test]
fn two_labs_know_nothing_of_each_other() {
    let (Some(one), Some(other)) = (Lab::up(None), Lab::up(None)) else { return };
    assert_eq!(one.curl("client", &["--request", "POST"], "https://203.0.113.1/items").1, 201);
    let count = |lab: &Lab| lab.curl("client", &[], "https://203.0.113.1/items").0;
    assert!(count(&one).contains("\"items\":1") && count(&other).contains("\"items\":0"));
    run_in(&repository(), &["lab", "up", "--name", &one.name], b"")
        .expect(2, &["lab-exists", &one.name, "--name"]);
    // Nothing of the refused one has touched the one that is there.
    assert!(count(&one).contains("\"items\":1"));
    one.down().expect(0, &["ended after"]);
    assert!(count(&other).contains("\"items\":0"));
}

#[test]
fn nothing_stays_behind() {
    let Some(name) = fresh_name() else { return };
    let lab = Lab { name };
    let record = Path::new(RECORDS).join(format!("{}.json", lab.name));
    for signal in [None, Some("-KILL"), Some("-TERM")] {
        run_in(&repository(), &["lab", "up", "--name", &lab.name], b"").expect(0, &[]);
        let process = lab.process();
        let namespace = fs::metadata(format!("/proc/{process}/ns/pid")).unwrap().ino();
        assert!(processes_of(namespace).len() > 7, "services run");
        assert_eq!(fs::metadata(&record).unwrap().mode() & 0o777, 0o600);
        // Programs of users run there, too.
        let mut shell = lab.command("edge", &["sh", "-c", "echo here; sleep 1000"]);
        let mut shell = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        shell.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        let before = traces();
        assert!(!before.0.contains("/run/netns") || before.2.is_empty(), "{}", before.0);
        if let Some(signal) = signal {
            assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
            all_gone(namespace);
            assert!(record.exists(), "the record is all that is left");
            let status = run_in(&repository(), &["lab", "status"], b"");
            status.expect(0, &[&format!("lab `{}` had ended by itself", lab.name)]);
        } else {
            let start = Instant::now();
            lab.down().expect(0, &["ended after"]);
            assert!(start.elapsed() < END, "{:?}", start.elapsed());
            assert_eq!(processes_of(namespace), Vec::<PathBuf>::new());
        }
        assert!(!shell.wait().unwrap().success());
        assert!(!record.exists());
        assert_eq!(traces(), before);
    }
    lab.down().expect(2, &["no-such-lab"]);
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    let Some(name) = fresh_name() else { return };
    let lab = Lab { name };
    let mut client =
        Command::new(PROGRAM).args(["lab", "up", "--name", &lab.name]).stdout(Stdio::null()).spawn().unwrap();
    let record = Path::new(RECORDS).join(format!("{}.json", lab.name));
    let deadline = Instant::now() + END;
    while !record.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
    let text = fs::read_to_string(&record).unwrap();
    let (_, rest) = text.split_once("\"process\":").unwrap();
    let process = rest.split(',').next().unwrap();
    let namespace = fs::metadata(format!("/proc/{process}/ns/pid")).unwrap().ino();
    client.kill().unwrap();
    client.wait().unwrap();
    all_gone(namespace);
    // The name is free again.
    run_in(&repository(), &["lab", "up", "--name", &lab.name], b"").expect(0, &["is up"]);
}

#[test]
fn what_can_not_be_built_is_said_and_leaves_nothing() {
    let Some(name) = fresh_name() else { return };
    let up = |folder: &Folder| folder.run(&["lab", "up", ".", "--name", &name]);
    up(&Folder::with(&[("notes.txt", "nothing")])).expect(2, &["no-stack-file", "firewarden.yaml"]);
    up(&Folder::with(&[("firewarden.yaml", "hosts:\n  edge: { address: 10.0.0.1 }\n")]))
        .expect(2, &["no-web-stack", "no host `lb`"]);
    run_in(&repository(), &["lab", "up", "no/such/folder"], b"")
        .expect(2, &["no/such/folder", "can't be read"]);
    // The kernel refuses what reads well: a chain of this kind can't translate sources.
    let stack = repository().join("examples/webstack");
    let folder = Folder::with(&[(
        "edge.nft",
        "table ip n { chain c { type nat hook prerouting priority 0; masquerade; }; }\n",
    )]);
    for file in ["firewarden.yaml", "lb.nft", "app.rules", "app6.rules", "db.nft"] {
        folder.write(file, &fs::read(stack.join(file)).unwrap());
    }
    up(&folder).expect(2, &["lab-failed", "`edge` does not load", "edge.nft"]);
    assert!(!Path::new(RECORDS).join(format!("{name}.json")).exists());
    for command in [&["down", "--name"][..], &["status", "--name"]] {
        run_in(&repository(), &[&["lab"], command, &[&name]].concat(), b"").expect(2, &["no-such-lab"]);
    }
    run_in(&repository(), &["lab", "exec", "--name", &name, "edge", "--", "true"], b"")
        .expect(2, &["no-such-lab"]);
    run_in(&repository(), &["lab", "up", "--name", "../x"], b"").expect(2, &["lab-name"]);
}

#[test]
fn hosts_and_exit_codes() {
    let Some(lab) = Lab::up(None) else { return };
    let unknown = run_in(&repository(), &["lab", "exec", "--name", &lab.name, "cache", "--", "true"], b"");
    unknown.expect(2, &["no-such-host", "client, office, partner, edge, lb, app1, app2, db"]);
    assert_eq!(lab.command("edge", &["sh", "-c", "exit 7"]).status().unwrap().code(), Some(7));
    let (_, text) = lab.exec("app2", &["sh", "-c", "hostname; echo $FIREWARDEN_STATE; pwd"]);
    let here = std::env::current_dir().unwrap();
    assert_eq!(text, format!("app2\n/run/firewarden/state/app2\n{}\n", here.display()));
}

#[test]
fn the_application_keeps_connections_where_that_is_asked_for() {
    let Some(name) = fresh_name() else { return };
    let lab = Lab { name };
    // What root keeps to itself doesn't keep the services from their files.
    let up = Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" lab up --pool 2 --name \"$1\"", PROGRAM, &lab.name])
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    for _ in 0..6 {
        assert_eq!(lab.curl("client", &[], "https://203.0.113.1/items").1, 200);
    }
    let kept = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop'";
    let (_, text) = lab.exec("db", &["psql", "-U", "postgres", "-Atc", kept]);
    assert_eq!(text.trim(), "2", "one for each server, as requests came one after the other");
    assert_eq!(lab.curl("client", &["--request", "DELETE"], "https://203.0.113.1/items").1, 405);
    assert_eq!(lab.curl("client", &[], "https://203.0.113.1/no-such-page").1, 404);
    // A service that has ended is told.
    let (well, text) =
        lab.exec("lb", &["sh", "-c", "kill -KILL $(pidof haproxy | tr ' ' '\\n' | sort -n | head -1)"]);
    assert!(well, "{text}");
    let deadline = Instant::now() + END;
    loop {
        let status = run_in(&repository(), &["lab", "status", "--name", &lab.name], b"");
        status.expect(0, &["haproxy on lb"]);
        if status.stdout.contains("haproxy on lb (ended)") {
            break;
        }
        assert!(Instant::now() < deadline, "{}", status.stdout);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_missing_is_named() {
    let Some(name) = fresh_name() else { return };
    // The programs are hidden from this run only.
    let hide = "for program in haproxy nginx; do mount --bind /dev/null /usr/sbin/$program; done; exec \"$0\" lab up --name \"$1\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", hide, PROGRAM, &name])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("haproxy nginx-light") && text.contains("RUNLEVEL=1 apt-get install"), "{text}");
    // Somebody else than root, who may read the program all the same.
    let output = Command::new("unshare")
        .args(["--user", "--map-user=1000", PROGRAM, "lab", "status"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("not-root"), "{text}");
}
